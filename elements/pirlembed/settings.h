/* gst-pirl: the settings of pirlembed: its properties, and what they mean for the network.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "embedengine.h"
#include "properties.h"

G_BEGIN_DECLS

/** `interval` where upstream decides. */
#define GST_PIRL_INTERVAL_AUTO -1

/** One field a property. */
typedef struct {
  EmbedSettings network;        /* its timeout is no property: gst_pirl_embed_settings_resolve() */
  guint64 batch_timeout;        /* nanoseconds */
  gint interval;
} GstPirlEmbedSettings;

/** The rows of GstPirlEmbedSettings. */
extern const GstPirlProperties gst_pirl_embed_properties;

/** Completes what an engine is made with; FALSE with @error when there is no model to load. */
gboolean gst_pirl_embed_settings_resolve (GstPirlEmbedSettings * settings, GError ** error);

G_END_DECLS
