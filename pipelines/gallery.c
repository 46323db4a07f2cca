/* gst-pirl: pictures with their embeddings, for quickstart.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gallery.h"

#include <gst/app/gstappsink.h>
#include <gst/video/video.h>

#include "base/base.h"
#include "learn/knn.h"
#include "plot.h"

enum { THUMBNAIL = 72 };

static void
clear_image (gpointer image)
{
  pirl_image_clear (image);
}

static void
gallery_init (PirlGallery *gallery)
{
  *gallery = (PirlGallery) { 0 };
  gallery->embeddings = g_array_new (FALSE, FALSE, sizeof (gfloat));
  gallery->labels = g_array_new (FALSE, FALSE, sizeof (gint));
  gallery->thumbnails = g_array_new (FALSE, TRUE, sizeof (PirlImage));
  g_array_set_clear_func (gallery->thumbnails, clear_image);
}

void
pirl_gallery_clear (PirlGallery *gallery)
{
  g_clear_pointer (&gallery->embeddings, g_array_unref);
  g_clear_pointer (&gallery->labels, g_array_unref);
  g_clear_pointer (&gallery->thumbnails, g_array_unref);
  g_clear_pointer (&gallery->classes, g_strfreev);
  gallery->n = 0;
}

static void
add_thumbnail (PirlGallery *gallery, GstSample *sample, PirlResizer *resizer)
{
  GstVideoInfo info;
  GstVideoFrame frame;
  PirlImage thumbnail = { 0 };

  if (gst_video_info_from_caps (&info, gst_sample_get_caps (sample))
      && gst_video_frame_map (&frame, &info, gst_sample_get_buffer (sample), GST_MAP_READ)) {
    const PirlImage image = { GST_VIDEO_FRAME_WIDTH (&frame), GST_VIDEO_FRAME_HEIGHT (&frame),
      GST_VIDEO_FRAME_PLANE_STRIDE (&frame, 0), GST_VIDEO_FRAME_PLANE_DATA (&frame, 0) };
    pirl_resize_center_crop (resizer, &image, THUMBNAIL, THUMBNAIL, &thumbnail);
    gst_video_frame_unmap (&frame);
  } else {
    pirl_image_init (&thumbnail, THUMBNAIL, THUMBNAIL);
  }
  g_array_append_val (gallery->thumbnails, thumbnail);
}

static void
add_sample (PirlGallery *gallery, GstSample *sample, PirlResizer *resizer)
{
  GstBuffer *buffer = gst_sample_get_buffer (sample);
  GstCustomMeta *embedding = gst_buffer_get_custom_meta (buffer, "pirl-embedding");
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "pirl-sample");
  g_autoptr (GBytes) data = NULL;
  gint label = -1;
  gsize size;
  const gfloat *values;

  if (!embedding || !gst_structure_get (gst_custom_meta_get_structure (embedding), "data",
          G_TYPE_BYTES, &data, NULL))
    return;
  if (meta)
    gst_structure_get_int (gst_custom_meta_get_structure (meta), "label", &label);
  values = g_bytes_get_data (data, &size);
  gallery->dim = size / sizeof (gfloat);
  g_array_append_vals (gallery->embeddings, values, gallery->dim);
  g_array_append_val (gallery->labels, label);
  add_thumbnail (gallery, sample, resizer);
  gallery->n++;
}

/* The names of the classes, from the event that pirldatasetsrc sends first. */
static gboolean
take_classes (GstPad *pad, GstEvent **event, gpointer gallery)
{
  const GstStructure *s = gst_event_get_structure (*event);
  const GValue *names = s ? gst_structure_get_value (s, "class-names") : NULL;
  const guint n = names ? gst_value_array_get_size (names) : 0;
  GStrv classes;

  (void) pad;
  if (!gst_event_has_name (*event, "pirl-dataset") || n == 0)
    return TRUE;
  classes = g_new0 (gchar *, n + 1);
  for (guint i = 0; i < n; i++)
    classes[i] = g_value_dup_string (gst_value_array_get_value (names, i));
  ((PirlGallery *) gallery)->classes = classes;
  return FALSE;
}

static gboolean
take_error (GstElement *pipeline, GError **error)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  g_autoptr (GstMessage) message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);

  if (!message)
    return FALSE;
  gst_message_parse_error (message, error, NULL);
  return TRUE;
}

static GstElement *
gallery_pipeline (const PirlGallerySource *source, const gchar *model_file, const gchar *layer,
    GError **error)
{
  GstElement *pipeline = gst_parse_launch ("pirldatasetsrc name=src epochs=1 shuffle=true ! "
      "pirlembed name=embed interval=1 ! appsink name=sink sync=false max-buffers=8", error);
  g_autoptr (GstElement) src = NULL, embed = NULL;

  if (!pipeline)
    return NULL;
  src = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  embed = gst_bin_get_by_name (GST_BIN (pipeline), "embed");
  g_object_set (src, "location", source->location, "seed", source->seed, "start-index",
      source->start, "num-buffers", source->limit, NULL);
  if (source->stop != G_MAXUINT64)
    g_object_set (src, "stop-index", source->stop, NULL);
  if (source->labels_in_folders)
    gst_util_set_object_arg (G_OBJECT (src), "labels", "folder");
  g_object_set (embed, "model-file", model_file, "layer", layer, "n-threads", source->threads,
      NULL);
  return pipeline;
}

gboolean
pirl_gallery_load (PirlGallery *gallery, const PirlGallerySource *source,
    const gchar *model_file, const gchar *layer, GError **error)
{
  g_autoptr (GstElement) pipeline = gallery_pipeline (source, model_file, layer, error);
  g_autoptr (GstElement) sink = NULL;
  g_autoptr (PirlResizer) resizer = NULL;
  g_autoptr (GstPad) pad = NULL;
  GstSample *sample;
  gboolean failed;

  if (!pipeline)
    return FALSE;
  gallery_init (gallery);
  resizer = pirl_resizer_new ();
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  /* A model that cannot be used stops it here, and no sample would ever come. */
  if (gst_element_set_state (pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE)
    while ((sample = gst_app_sink_pull_sample (GST_APP_SINK (sink)))) {
      add_sample (gallery, sample, resizer);
      gst_sample_unref (sample);
    }
  pad = gst_element_get_static_pad (sink, "sink");
  gst_pad_sticky_events_foreach (pad, take_classes, gallery);
  failed = take_error (pipeline, error);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  return !failed;
}

static const gfloat *
embeddings (const PirlGallery *gallery)
{
  return (const gfloat *) (void *) gallery->embeddings->data;
}

static const gint *
labels (const PirlGallery *gallery)
{
  return (const gint *) (void *) gallery->labels->data;
}

void
pirl_gallery_number_like (PirlGallery *gallery, const PirlGallery *like)
{
  const guint n = gallery->classes ? g_strv_length (gallery->classes) : 0;
  g_autofree gint *number = g_new (gint, MAX (n, 1));

  if (n == 0 || !like->classes)
    return;
  for (guint i = 0; i < n; i++) {
    guint at = 0;

    while (like->classes[at] && strcmp (like->classes[at], gallery->classes[i]) != 0)
      at++;
    number[i] = (gint) (like->classes[at] ? at : at + i);
  }
  for (guint i = 0; i < gallery->n; i++) {
    gint *label = &g_array_index (gallery->labels, gint, i);

    if (*label >= 0)
      *label = number[*label];
  }
}

gdouble
pirl_gallery_knn (const PirlGallery *references, const PirlGallery *queries, guint k,
    gdouble sigma)
{
  const PirlGallery *q = queries ? queries : references;

  return pirl_knn_accuracy (embeddings (references), labels (references), references->n,
      embeddings (q), labels (q), q->n, references->dim, k, sigma);
}

/* The @n pictures nearest to query @q. */
static void
nearest_tiles (const PirlGallery *references, const PirlGallery *queries, gsize q,
    gboolean leave_out, guint n, PirlTile *tiles)
{
  g_autofree gsize *index = g_new (gsize, n);
  g_autofree gfloat *similarity = g_new (gfloat, n);
  const gint label = labels (queries)[q];

  pirl_knn_nearest (embeddings (references), references->n, embeddings (queries)
      + q * queries->dim, references->dim, n, leave_out ? q : G_MAXSIZE, index, similarity);
  for (guint i = 0; i < n; i++) {
    tiles[i].image = &g_array_index (references->thumbnails, PirlImage, index[i]);
    tiles[i].agrees = label < 0 ? -1 : labels (references)[index[i]] == label;
  }
}

gboolean
pirl_gallery_mosaic (const gchar *path, const PirlGallery references[2],
    const PirlGallery *queries, guint rows, guint n, GError **error)
{
  static const gchar *const names[] = { "nearest before training", "nearest after training" };
  const PirlGallery *q = queries ? queries : references;
  g_autofree PirlMosaicRow *mosaic = NULL;
  g_autofree PirlTile *tiles = NULL;

  rows = MIN (rows, q[0].n);
  if (references[0].n <= n) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "%u pictures are too few to show %u neighbours of each", references[0].n, n);
    return FALSE;
  }
  mosaic = g_new0 (PirlMosaicRow, rows);
  tiles = g_new0 (PirlTile, (gsize) rows * 2 * n);
  for (guint r = 0; r < rows; r++) {
    const gsize query = (gsize) r * q[0].n / rows;
    mosaic[r].query = &g_array_index (q[0].thumbnails, PirlImage, query);
    mosaic[r].tiles = tiles + (gsize) r * 2 * n;
    for (guint m = 0; m < 2; m++)
      nearest_tiles (&references[m], &q[m], query, !queries, n, tiles + ((gsize) r * 2 + m) * n);
  }
  return pirl_plot_neighbours (path, mosaic, rows, names, 2, n, error);
}
