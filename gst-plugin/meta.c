/* gst-pirl: metas, events, queries and caps that several elements share (see meta.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "meta.h"
#include "crop.h"

#include <string.h>

/* ---- metas ------------------------------------------------------------------------------ */

void
gst_pirl_meta_init (void)
{
  static const gchar *names[] = { GST_PIRL_SAMPLE_META, GST_PIRL_PRETEXT_META,
    GST_PIRL_EMBEDDING_META, GST_PIRL_COMPRESS_META, GST_PIRL_LABELS_META, GST_PIRL_REGION_META
  };
  /* Not NULL: 1.22 reads the array. No tags: converters, scalers and decoders keep the meta. */
  static const gchar *no_tags[] = { NULL };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    /* A second registration of a name is a critical warning, and several shared objects of one
     * process may hold this file. */
    if (gst_meta_get_info (names[i]) == NULL)
      gst_meta_register_custom (names[i], no_tags, NULL, NULL, NULL);
  }
}

/* The structure of the meta called @name, of a new one where the buffer has none. */
static GstStructure *
ensure_structure (GstBuffer * buffer, const gchar * name)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, name);

  if (meta == NULL)
    meta = gst_buffer_add_custom_meta (buffer, name);
  return gst_custom_meta_get_structure (meta);
}

void
gst_pirl_sample_add (GstBuffer * buffer, const GstPirlSample * sample)
{
  gst_structure_set (ensure_structure (buffer, GST_PIRL_SAMPLE_META),
      "index", G_TYPE_UINT64, sample->index, "count", G_TYPE_UINT64, sample->count,
      "epoch", G_TYPE_UINT, sample->epoch, "label", G_TYPE_INT, sample->label,
      "split", G_TYPE_STRING, sample->split ? sample->split : "",
      "name", G_TYPE_STRING, sample->name ? sample->name : "",
      "position", G_TYPE_UINT64, sample->position, NULL);
}

gboolean
gst_pirl_sample_get (GstBuffer * buffer, GstPirlSample * sample)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_SAMPLE_META);
  const GstStructure *s;

  if (meta == NULL)
    return FALSE;
  s = gst_custom_meta_get_structure (meta);
  memset (sample, 0, sizeof (*sample));
  sample->label = -1;
  if (!gst_structure_get_uint64 (s, "index", &sample->index))
    return FALSE;
  gst_structure_get_uint64 (s, "count", &sample->count);
  gst_structure_get_uint (s, "epoch", &sample->epoch);
  gst_structure_get_int (s, "label", &sample->label);
  gst_structure_get_uint64 (s, "position", &sample->position);
  sample->split = gst_structure_get_string (s, "split");
  sample->name = gst_structure_get_string (s, "name");
  if (sample->split == NULL)
    sample->split = "";
  if (sample->name == NULL)
    sample->name = "";
  return TRUE;
}

void
gst_pirl_embedding_add (GstBuffer * buffer, GBytes * data, const gchar * layers,
    const gchar * dimensions, const gchar * model, GstClockTime age)
{
  gst_structure_set (ensure_structure (buffer, GST_PIRL_EMBEDDING_META),
      "data", G_TYPE_BYTES, data,
      "size", G_TYPE_UINT, (guint) (g_bytes_get_size (data) / sizeof (gfloat)),
      "layer", G_TYPE_STRING, layers, "model", G_TYPE_STRING, model,
      "age", G_TYPE_UINT64, (guint64) age, "dimensions", G_TYPE_STRING, dimensions, NULL);
}

gboolean
gst_pirl_embedding_get (GstBuffer * buffer, GstPirlEmbedding * embedding)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_EMBEDDING_META);
  const GstStructure *s;
  const GValue *data;

  if (meta == NULL)
    return FALSE;
  s = gst_custom_meta_get_structure (meta);
  data = gst_structure_get_value (s, "data");
  if (data == NULL || !G_VALUE_HOLDS (data, G_TYPE_BYTES)
      || !gst_structure_get_uint64 (s, "age", &embedding->age))
    return FALSE;
  embedding->data = g_value_get_boxed (data);
  embedding->layer = gst_structure_get_string (s, "layer");
  embedding->model = gst_structure_get_string (s, "model");
  embedding->dimensions = gst_structure_get_string (s, "dimensions");
  return embedding->data != NULL;
}

void
gst_pirl_compress_add (GstBuffer * buffer, gint quality, gdouble agreement, const gchar * state)
{
  gst_structure_set (ensure_structure (buffer, GST_PIRL_COMPRESS_META),
      "quality", G_TYPE_INT, quality, "agreement", G_TYPE_DOUBLE, agreement,
      "state", G_TYPE_STRING, state, NULL);
}

gboolean
gst_pirl_compress_get (GstBuffer * buffer, gint * quality, gdouble * agreement,
    const gchar ** state)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_COMPRESS_META);
  const GstStructure *s;

  if (meta == NULL)
    return FALSE;
  s = gst_custom_meta_get_structure (meta);
  *state = gst_structure_get_string (s, "state");
  return *state != NULL && gst_structure_get_int (s, "quality", quality)
      && gst_structure_get_double (s, "agreement", agreement);
}

void
gst_pirl_service_labels_add (GstBuffer * buffer, const GstPirlServiceLabels * labels)
{
  GstStructure *s = ensure_structure (buffer, GST_PIRL_LABELS_META);

  gst_structure_set_value (s, "labels", labels->labels);
  gst_structure_set_value (s, "texts", labels->texts);
  gst_structure_set_value (s, "scores", labels->scores);
  gst_structure_set (s, "frame", G_TYPE_UINT64, labels->frame,
      "age", G_TYPE_UINT64, (guint64) labels->age, NULL);
}

gboolean
gst_pirl_service_labels_get (GstBuffer * buffer, GstPirlServiceLabels * labels)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_LABELS_META);
  const GstStructure *s;

  if (meta == NULL)
    return FALSE;
  s = gst_custom_meta_get_structure (meta);
  labels->labels = gst_structure_get_value (s, "labels");
  labels->texts = gst_structure_get_value (s, "texts");
  labels->scores = gst_structure_get_value (s, "scores");
  return labels->labels != NULL && labels->texts != NULL && labels->scores != NULL
      && gst_structure_get_uint64 (s, "frame", &labels->frame)
      && gst_structure_get_uint64 (s, "age", &labels->age);
}

/* ---- the data set event ------------------------------------------------------------------- */

GstEvent *
gst_pirl_dataset_event_new (const GstPirlDataset * dataset)
{
  GstStructure *s = gst_structure_new (GST_PIRL_DATASET_EVENT,
      "count", G_TYPE_UINT64, dataset->count,
      "total", G_TYPE_UINT64, dataset->total > 0 ? dataset->total : dataset->count,
      "n-classes", G_TYPE_UINT, dataset->n_classes,
      "epochs", G_TYPE_UINT, dataset->epochs, "seed", G_TYPE_UINT64, dataset->seed,
      "hash", G_TYPE_STRING, dataset->hash ? dataset->hash : "", NULL);
  GValue names = G_VALUE_INIT;

  gst_value_array_init (&names, dataset->n_classes);
  for (guint i = 0; dataset->class_names && dataset->class_names[i]; i++) {
    GValue name = G_VALUE_INIT;

    g_value_init (&name, G_TYPE_STRING);
    g_value_set_string (&name, dataset->class_names[i]);
    gst_value_array_append_and_take_value (&names, &name);
  }
  gst_structure_take_value (s, "class-names", &names);
  return gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_STICKY, s);
}

/* The strings of an array as a NULL-terminated vector; NULL when it is empty. */
static gchar **
strings_of_array (const GValue * array)
{
  guint n = array && GST_VALUE_HOLDS_ARRAY (array) ? gst_value_array_get_size (array) : 0;
  gchar **strings;

  if (n == 0)
    return NULL;
  strings = g_new0 (gchar *, n + 1);
  for (guint i = 0; i < n; i++) {
    const GValue *v = gst_value_array_get_value (array, i);

    strings[i] = g_strdup (G_VALUE_HOLDS_STRING (v) && g_value_get_string (v)
        ? g_value_get_string (v) : "");
  }
  return strings;
}

gboolean
gst_pirl_dataset_parse (GstEvent * event, GstPirlDataset * dataset)
{
  const GstStructure *s;

  if (GST_EVENT_TYPE (event) != GST_EVENT_CUSTOM_DOWNSTREAM_STICKY
      || !gst_event_has_name (event, GST_PIRL_DATASET_EVENT))
    return FALSE;
  s = gst_event_get_structure (event);
  memset (dataset, 0, sizeof (*dataset));
  gst_structure_get_uint64 (s, "count", &dataset->count);
  dataset->total = dataset->count;
  gst_structure_get_uint64 (s, "total", &dataset->total);
  gst_structure_get_uint (s, "n-classes", &dataset->n_classes);
  gst_structure_get_uint (s, "epochs", &dataset->epochs);
  gst_structure_get_uint64 (s, "seed", &dataset->seed);
  dataset->hash = g_strdup (gst_structure_get_string (s, "hash"));
  dataset->class_names = strings_of_array (gst_structure_get_value (s, "class-names"));
  return TRUE;
}

void
gst_pirl_dataset_clear (GstPirlDataset * dataset)
{
  g_clear_pointer (&dataset->class_names, g_strfreev);
  g_clear_pointer (&dataset->hash, g_free);
}

/* ---- the resume query --------------------------------------------------------------------- */

GstQuery *
gst_pirl_resume_query_new (void)
{
  return gst_query_new_custom (GST_QUERY_CUSTOM, gst_structure_new_empty (GST_PIRL_RESUME_QUERY));
}

gboolean
gst_pirl_is_resume_query (GstQuery * query)
{
  const GstStructure *s;

  if (GST_QUERY_TYPE (query) != GST_QUERY_CUSTOM)
    return FALSE;
  s = gst_query_get_structure (query);
  return s != NULL && gst_structure_has_name (s, GST_PIRL_RESUME_QUERY);
}

void
gst_pirl_resume_answer (GstQuery * query, guint64 epoch, guint64 index, guint64 seed,
    const gchar * hash)
{
  gst_structure_set (gst_query_writable_structure (query),
      "epoch", G_TYPE_UINT64, epoch, "index", G_TYPE_UINT64, index,
      "seed", G_TYPE_UINT64, seed, "hash", G_TYPE_STRING, hash ? hash : "", NULL);
}

gboolean
gst_pirl_resume_parse (GstQuery * query, guint64 * epoch, guint64 * index, guint64 * seed,
    const gchar ** hash)
{
  const GstStructure *s;

  if (!gst_pirl_is_resume_query (query))
    return FALSE;
  s = gst_query_get_structure (query);
  *hash = gst_structure_get_string (s, "hash");
  return *hash != NULL && gst_structure_get_uint64 (s, "epoch", epoch)
      && gst_structure_get_uint64 (s, "index", index)
      && gst_structure_get_uint64 (s, "seed", seed);
}

/* ---- tensor caps -------------------------------------------------------------------------- */

/* NNStreamer wants a framerate always; 0/1 stands for an unknown one. */
GstCaps *
gst_pirl_tensors_caps (gint n, const gchar * types, const gchar * dimensions, gint fps_n,
    gint fps_d)
{
  return gst_caps_new_simple ("other/tensors", "format", G_TYPE_STRING, "static",
      "num_tensors", G_TYPE_INT, n, "types", G_TYPE_STRING, types,
      "dimensions", G_TYPE_STRING, dimensions,
      "framerate", GST_TYPE_FRACTION, fps_d > 0 ? fps_n : 0, fps_d > 0 ? fps_d : 1, NULL);
}

GstCaps *
gst_pirl_features_caps (const gchar * dimensions, gint fps_n, gint fps_d)
{
  g_autoptr (GString) types = g_string_new ("float32");
  gint n = 1;

  for (const gchar * c = dimensions; *c; c++)
    if (*c == ',') {
      g_string_append (types, ",float32");
      n++;
    }
  return gst_pirl_tensors_caps (n, types->str, dimensions, fps_n, fps_d);
}

gboolean
gst_pirl_dimension_parse (const gchar * text, gint dim[4])
{
  g_auto (GStrv) parts = g_strsplit (text, ":", -1);
  guint n = g_strv_length (parts);

  if (n < 1 || n > 4)
    return FALSE;
  for (guint i = 0; i < 4; i++) {
    guint64 value = 1;

    if (i < n && !g_ascii_string_to_unsigned (g_strstrip (parts[i]), 10, 1, G_MAXINT, &value, NULL))
      return FALSE;
    dim[i] = (gint) value;
  }
  return TRUE;
}

gboolean
gst_pirl_same_list (const gchar * list, const gchar * want)
{
  g_autofree gchar *copy = g_strdup (list);

  return g_strcmp0 (copy ? g_strdelimit (copy, ".", ',') : NULL, want) == 0;
}

guint
gst_pirl_dimensions_parse (const gchar * dimensions,
    GstPirlFeatures features[GST_PIRL_MAX_TENSORS])
{
  g_auto (GStrv) lists = g_strsplit_set (dimensions ? dimensions : "", ",.", -1);
  const guint n = g_strv_length (lists);

  for (guint i = 0; i < n; i++) {
    guint64 positions = 1;
    gint dim[4];

    if (n > GST_PIRL_MAX_TENSORS || !gst_pirl_dimension_parse (lists[i], dim))
      return 0;
    for (guint d = 1; d < 4; d++)
      if (!g_uint64_checked_mul (&positions, positions, dim[d]))
        return 0;
    if (positions > G_MAXINT / (guint64) dim[0])
      return 0;
    features[i] = (GstPirlFeatures) { dim[0], (guint) positions };
  }
  return n;
}

guint
gst_pirl_features_caps_parse (const GstCaps * caps,
    GstPirlFeatures features[GST_PIRL_MAX_TENSORS], gchar ** reason)
{
  const GstStructure *s = gst_caps_get_size (caps) > 0 ? gst_caps_get_structure (caps, 0) : NULL;
  guint count = 0;
  gint n;

  if (s != NULL && gst_structure_has_name (s, "other/tensors")
      && g_strcmp0 (gst_structure_get_string (s, "format"), "static") == 0
      && gst_structure_get_int (s, "num_tensors", &n)) {
    const gchar *dimensions = gst_structure_get_string (s, "dimensions");
    g_autoptr (GString) types = g_string_new (NULL);

    count = gst_pirl_dimensions_parse (dimensions, features);
    for (guint i = 0; i < count; i++)
      g_string_append (types, i ? ",float32" : "float32");
    if ((gint) count != n || !gst_pirl_same_list (gst_structure_get_string (s, "types"), types->str))
      count = 0;
  }
  if (count == 0 && reason) {
    g_autofree gchar *got = gst_caps_to_string (caps);

    *reason = g_strdup_printf ("caps %s are not features; pirlembed sends other/tensors,"
        "format=static,num_tensors=N,types=\"float32,...\",dimensions=\"C:H:W:1,...\", 1 to %d of "
        "them", got, GST_PIRL_MAX_TENSORS);
  }
  return count;
}
