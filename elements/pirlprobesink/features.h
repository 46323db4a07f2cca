/* gst-pirl: the features that a buffer brings, as tensors or in its meta.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "meta.h"
#include "learn/probe-store.h"

G_BEGIN_DECLS

/** What is known of a stream from its caps; count 0: features are in the meta `pirl-embedding`. */
typedef struct {
  guint count;
  GstPirlFeatures tensors[GST_PIRL_MAX_TENSORS];
} GstPirlFeatureCaps;

/** The layers of a stream; names are owned. */
typedef struct {
  guint count;
  PirlProbeLayer layers[GST_PIRL_MAX_TENSORS];
  gchar *model;                 /* "" where nobody says */
} GstPirlFeatureLayers;

void gst_pirl_feature_layers_clear (GstPirlFeatureLayers * layers);
/** From caps and the first buffer. */
gboolean gst_pirl_feature_layers_find (GstPirlFeatureLayers * layers,
    const GstPirlFeatureCaps * caps, GstBuffer * buffer, GError ** error);

/** One buffer's features, while it is mapped. */
typedef struct {
  GstBuffer *buffer;
  GstMapInfo map;
  gboolean mapped;
  const gfloat *rows[GST_PIRL_MAX_TENSORS];     /* not aligned */
} GstPirlFeatureRows;

/** FALSE with @error when they are not those of @layers; @stale: they are of an earlier frame. */
gboolean gst_pirl_feature_rows_map (GstPirlFeatureRows * rows,
    const GstPirlFeatureLayers * layers, const GstPirlFeatureCaps * caps, GstBuffer * buffer,
    gboolean * stale, GError ** error);
void gst_pirl_feature_rows_unmap (GstPirlFeatureRows * rows);

G_END_DECLS
