/* gst-pirl: how far apart does a network put a picture and its transformed self?
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   pirl-distances MODEL.safetensors LOCATION [--transform jigsaw|rotation|both] [--output FILE]
 *
 * For pictures I of LOCATION (as pirldatasetsrc takes it) and their transformed selves I^t, neither
 * with other augmentations: the trunk's pooled features of I, and those of I^t, which of a jigsaw
 * are the mean over its patches, in the size that they are trained in; both made unit length.
 * Writes the distances |I - I^t| ("same") and those between a picture and the transformed self of
 * another ("other") as JSON. What comes behind the trunk in training has no part in it, so that
 * networks of all objectives can be compared.
 */
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>
#include <math.h>
#include <string.h>

#include "net/embedder.h"
#include "vision/pretext.h"

enum { GRID = 3 };

static gchar *transform_name = (gchar *) "jigsaw", *output;
static gint limit = 2000, seed;

static const GOptionEntry entries[] = {
  { "transform", 0, 0, G_OPTION_ARG_STRING, &transform_name, "jigsaw, rotation or both (jigsaw)",
    "NAME" },
  { "limit", 0, 0, G_OPTION_ARG_INT, &limit, "At most so many pictures (2000)", "N" },
  { "seed", 0, 0, G_OPTION_ARG_INT, &seed, "Of the pictures and their transforms (0)", "SEED" },
  { "output", 'o', 0, G_OPTION_ARG_FILENAME, &output, "Where to write to (else it is printed)",
    "FILE" },
  { NULL }
};

/* The network at both sizes, and the features that it gave. */
typedef struct {
  PirlEmbedder *whole, *part;
  PirlPretextConfig pretext;
  PirlResizer *resizer;
  guint8 *patches;              /* packed, of one picture */
  guint dim, parts;
  gfloat *row;                  /* [parts][dim] */
  GArray *pictures, *transformed;       /* gfloat, rows of dim, unit length */
} Comparison;

static void
comparison_clear (Comparison *c)
{
  g_clear_pointer (&c->whole, pirl_embedder_free);
  g_clear_pointer (&c->part, pirl_embedder_free);
  g_clear_pointer (&c->resizer, pirl_resizer_free);
  g_clear_pointer (&c->patches, g_free);
  g_clear_pointer (&c->row, g_free);
  g_clear_pointer (&c->pictures, g_array_unref);
  g_clear_pointer (&c->transformed, g_array_unref);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Comparison, comparison_clear)

static gboolean
comparison_open (Comparison *c, const gchar *model, PirlTransform transform, GError **error)
{
  gint side;

  c->whole = pirl_embedder_new (model, "features", "auto", "f32", 0, 1, error);
  if (!c->whole)
    return FALSE;
  pirl_pretext_config_defaults (&c->pretext, pirl_embedder_crop (c->whole), GRID);
  pirl_pretext_config_transform (&c->pretext, transform);
  memset (&c->pretext.augment, 0, sizeof c->pretext.augment);
  c->pretext.flip = FALSE;
  c->pretext.crop_scale_min = c->pretext.crop_scale_max = c->pretext.patch_crop_scale_min = 1;
  side = c->pretext.patch_size;
  c->parts = (guint) (c->pretext.grid * c->pretext.grid);
  c->part = pirl_embedder_new_at (model, side, "features", "auto", "f32", 0, c->parts, error);
  if (!c->part)
    return FALSE;
  c->dim = pirl_embedder_size (c->whole);
  c->resizer = pirl_resizer_new ();
  c->patches = g_malloc ((gsize) c->parts * side * side * 3);
  c->row = g_new (gfloat, (gsize) c->parts * c->dim);
  c->pictures = g_array_new (FALSE, FALSE, sizeof (gfloat));
  c->transformed = g_array_new (FALSE, FALSE, sizeof (gfloat));
  return TRUE;
}

/* Appends the mean of the @n first rows, at unit length. */
static void
add_mean (Comparison *c, guint n, GArray *to)
{
  gdouble square = 0;
  gfloat scale;

  for (guint i = 1; i < n; i++)
    for (guint d = 0; d < c->dim; d++)
      c->row[d] += c->row[i * c->dim + d];
  for (guint d = 0; d < c->dim; d++)
    square += (gdouble) c->row[d] * c->row[d];
  scale = (gfloat) (1 / MAX (sqrt (square), 1e-12));
  for (guint d = 0; d < c->dim; d++)
    c->row[d] *= scale;
  g_array_append_vals (to, c->row, c->dim);
}

static gboolean
add_picture (Comparison *c, const PirlImage *image, guint index, GError **error)
{
  const gint side = c->pretext.patch_size;
  PirlImage parts[PIRL_MAX_PATCHES];
  const PirlImage *pointers[PIRL_MAX_PATCHES];
  PirlPretext draws;

  if (!pirl_embedder_run (c->whole, &image, 1, c->row, error))
    return FALSE;
  add_mean (c, 1, c->pictures);
  pirl_pretext_draw (&c->pretext, NULL, -1, image->width, image->height, (guint64) seed, 0, index,
      &draws);
  pirl_pretext_render_patches (&c->pretext, &draws, c->resizer, image, c->patches);
  for (guint i = 0; i < c->parts; i++) {
    parts[i] = (PirlImage) { side, side, 3 * (gsize) side,
      c->patches + (gsize) i * side * side * 3 };
    pointers[i] = &parts[i];
  }
  if (!pirl_embedder_run (c->part, pointers, c->parts, c->row, error))
    return FALSE;
  add_mean (c, c->parts, c->transformed);
  return TRUE;
}

/* ---- pictures ------------------------------------------------------------------------------- */

static gboolean
add_sample (Comparison *c, GstSample *sample, guint index, GError **error)
{
  GstVideoInfo info;
  GstVideoFrame frame;
  gboolean ok;

  if (!gst_video_info_from_caps (&info, gst_sample_get_caps (sample))
      || !gst_video_frame_map (&frame, &info, gst_sample_get_buffer (sample), GST_MAP_READ)) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "a frame cannot be read");
    return FALSE;
  }
  const PirlImage image = { GST_VIDEO_FRAME_WIDTH (&frame), GST_VIDEO_FRAME_HEIGHT (&frame),
    GST_VIDEO_FRAME_PLANE_STRIDE (&frame, 0), GST_VIDEO_FRAME_PLANE_DATA (&frame, 0) };
  ok = add_picture (c, &image, index, error);
  gst_video_frame_unmap (&frame);
  return ok;
}

static GstElement *
source_pipeline (const gchar *location, GError **error)
{
  GstElement *pipeline = gst_parse_launch ("pirldatasetsrc name=src decode=whole ! "
      "appsink name=sink sync=false max-buffers=4", error);
  g_autoptr (GstElement) src = NULL;

  if (!pipeline)
    return NULL;
  src = gst_bin_get_by_name (GST_BIN (pipeline), "src");
  g_object_set (src, "location", location, "seed", (guint64) seed, "num-buffers", limit, NULL);
  return pipeline;
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

static gboolean
add_location (Comparison *c, const gchar *location, GError **error)
{
  g_autoptr (GstElement) pipeline = source_pipeline (location, error);
  g_autoptr (GstElement) sink = NULL;
  GstSample *sample;
  gboolean ok = TRUE;

  if (!pipeline)
    return FALSE;
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  if (gst_element_set_state (pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE)
    for (guint n = 0; ok && (sample = gst_app_sink_pull_sample (GST_APP_SINK (sink))); n++) {
      ok = add_sample (c, sample, n, error);
      gst_sample_unref (sample);
    }
  ok = ok && !take_error (pipeline, error);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  return ok;
}

/* ---- distances ------------------------------------------------------------------------------ */

static gdouble
distance (const Comparison *c, guint picture, guint transformed)
{
  const gfloat *a = &g_array_index (c->pictures, gfloat, (gsize) picture * c->dim);
  const gfloat *b = &g_array_index (c->transformed, gfloat, (gsize) transformed * c->dim);
  gdouble sum = 0;

  for (guint d = 0; d < c->dim; d++)
    sum += ((gdouble) a[d] - b[d]) * ((gdouble) a[d] - b[d]);
  return sqrt (sum);
}

static void
add_distances (const Comparison *c, const gchar *name, guint n, guint shift, GString *text)
{
  g_string_append_printf (text, "\"%s\": [", name);
  for (guint i = 0; i < n; i++) {
    gchar number[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_formatd (number, sizeof number, "%.5f", distance (c, i, (i + shift) % n));
    g_string_append_printf (text, "%s%s", i ? ", " : "", number);
  }
  g_string_append_c (text, ']');
}

static gboolean
write_distances (const Comparison *c, guint n, GError **error)
{
  g_autoptr (GString) text = g_string_new ("{");

  add_distances (c, "same", n, 0, text);
  g_string_append (text, ",\n");
  add_distances (c, "other", n, n / 2, text);
  g_string_append (text, "}\n");
  if (output)
    return g_file_set_contents (output, text->str, (gssize) text->len, error);
  g_print ("%s", text->str);
  return TRUE;
}

static gboolean
compare (const gchar *model, const gchar *location, GError **error)
{
  g_auto (Comparison) c = { 0 };
  PirlTransform transform;
  guint n;

  if (!pirl_transform_from_name (transform_name, &transform)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "there is no transform \"%s\"; there are jigsaw, rotation and both", transform_name);
    return FALSE;
  }
  if (!comparison_open (&c, model, transform, error) || !add_location (&c, location, error))
    return FALSE;
  n = c.pictures->len / c.dim;
  if (n < 2) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "\"%s\" has %u pictures; two are needed to compare with another's", location, n);
    return FALSE;
  }
  return write_distances (&c, n, error);
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("MODEL.safetensors LOCATION");
  g_autoptr (GError) error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error) || argc != 3) {
    g_printerr ("%s\n", error ? error->message :
        "usage: pirl-distances MODEL.safetensors LOCATION");
    return 2;
  }
  if (compare (argv[1], argv[2], &error))
    return 0;
  g_printerr ("pirl-distances: %s\n", error->message);
  return 1;
}
