/* gst-pirl: the features that a buffer brings (see features.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "features.h"

#include <string.h>

void
gst_pirl_feature_layers_clear (GstPirlFeatureLayers * layers)
{
  for (guint i = 0; i < layers->count; i++)
    g_free (layers->layers[i].name);
  g_free (layers->model);
  memset (layers, 0, sizeof *layers);
}

static gboolean
no_features (GError ** error)
{
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "the frames have no features; put pirlembed before the probe");
  return FALSE;
}

/* The names of @list where there are @n of them, else numbers. */
static void
name_layers (GstPirlFeatureLayers * layers, const gchar * list, guint n)
{
  g_auto (GStrv) names = g_strsplit (list ? list : "", ",", -1);
  const gboolean named = g_strv_length (names) == n;

  for (guint i = 0; i < n; i++)
    layers->layers[i].name = named && *g_strstrip (names[i]) ? g_strdup (names[i])
        : g_strdup_printf ("tensor %u", i);
  layers->count = n;
}

gboolean
gst_pirl_feature_layers_find (GstPirlFeatureLayers * layers, const GstPirlFeatureCaps * caps,
    GstBuffer * buffer, GError ** error)
{
  GstPirlFeatures from_meta[GST_PIRL_MAX_TENSORS];
  const GstPirlFeatures *features = caps->tensors;
  GstPirlEmbedding embedding = { 0 };
  const gboolean has_meta = gst_pirl_embedding_get (buffer, &embedding);
  guint n = caps->count;

  memset (layers, 0, sizeof *layers);
  if (n == 0) {
    n = has_meta ? gst_pirl_dimensions_parse (embedding.dimensions, from_meta) : 0;
    features = from_meta;
  }
  if (n == 0)
    return no_features (error);
  name_layers (layers, has_meta ? embedding.layer : NULL, n);
  layers->model = g_strdup (has_meta && embedding.model ? embedding.model : "");
  for (guint i = 0; i < n; i++) {
    layers->layers[i].dim = features[i].channels * features[i].positions;
    layers->layers[i].positions = features[i].positions;
  }
  return TRUE;
}

/* The layers lie one behind the other. */
static gboolean
cut (GstPirlFeatureRows * rows, const GstPirlFeatureLayers * layers, const guint8 * data,
    gsize size, GError ** error)
{
  gsize need = 0;

  for (guint i = 0; i < layers->count; i++) {
    rows->rows[i] = (const gfloat *) (gpointer) (data + need);
    need += layers->layers[i].dim * sizeof (gfloat);
  }
  if (need == size)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH, "a sample has %" G_GSIZE_FORMAT " bytes of "
      "features, those before had %" G_GSIZE_FORMAT "; all must be of one model and one layer",
      size, need);
  return FALSE;
}

/* A model that took over in mid-stream gives features that mean something else. */
static gboolean
check_model (const GstPirlFeatureLayers * layers, const GstPirlEmbedding * embedding,
    GError ** error)
{
  if (g_strcmp0 (layers->model, embedding->model ? embedding->model : "") == 0)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH, "the model changed in mid-stream from "
      "\"%s\" to \"%s\"; a probe is of one", layers->model,
      embedding->model ? embedding->model : "");
  return FALSE;
}

gboolean
gst_pirl_feature_rows_map (GstPirlFeatureRows * rows, const GstPirlFeatureLayers * layers,
    const GstPirlFeatureCaps * caps, GstBuffer * buffer, gboolean * stale, GError ** error)
{
  GstPirlEmbedding embedding;
  const gboolean has_meta = gst_pirl_embedding_get (buffer, &embedding);
  gsize size;

  memset (rows, 0, sizeof *rows);
  *stale = has_meta && embedding.age != 0;
  if (has_meta && !check_model (layers, &embedding, error))
    return FALSE;
  if (caps->count == 0) {
    gconstpointer data = has_meta ? g_bytes_get_data (embedding.data, &size) : NULL;

    return data ? cut (rows, layers, data, size, error) : no_features (error);
  }
  if (!gst_buffer_map (buffer, &rows->map, GST_MAP_READ)) {
    g_set_error_literal (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ,
        "a buffer of features cannot be read");
    return FALSE;
  }
  rows->buffer = buffer;
  rows->mapped = TRUE;
  if (cut (rows, layers, rows->map.data, rows->map.size, error))
    return TRUE;
  gst_pirl_feature_rows_unmap (rows);
  return FALSE;
}

void
gst_pirl_feature_rows_unmap (GstPirlFeatureRows * rows)
{
  if (rows->mapped)
    gst_buffer_unmap (rows->buffer, &rows->map);
  rows->mapped = FALSE;
}
