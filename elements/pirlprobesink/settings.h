/* gst-pirl: the settings of pirlprobesink: its properties, and what they mean for a probe.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/gst.h>

#include "properties.h"
#include "learn/probe.h"

G_BEGIN_DECLS

/** One field a property. */
typedef struct {
  gchar *probe, *cache_file, *report_file, *labels_file, *device;
  guint64 seed;
  gint solver;
  guint epochs, batch_size, k, bootstrap, n_threads;
  gdouble learning_rate, momentum, weight_decay, c, sigma, train_fraction;
} GstPirlProbeSettings;

/** The rows of GstPirlProbeSettings; defaults are those of pirl_probe_config_defaults(). */
extern const GstPirlProperties gst_pirl_probe_properties;

/** The probes of a list like "linear,knn", each once; 0 with @error. Says also what can be said
 * before any data: what the build lacks, folders that are not there. */
guint gst_pirl_probe_settings_check (const GstPirlProbeSettings * settings,
    PirlProbe probes[PIRL_N_PROBES], GError ** error);
/** Its strings belong to @settings. */
void gst_pirl_probe_settings_resolve (const GstPirlProbeSettings * settings, guint classes,
    PirlProbeConfig * config);

G_END_DECLS
