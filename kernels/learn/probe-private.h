/* gst-pirl: what the probes share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "learn/probe-metrics.h"

/** Rows of @set that have labels; transfer full. */
guint32 *pirl_probe_rows (const PirlProbeSet *set, gsize *n);
/** Whether row @row shows @class: 1, 0, or -1 = hard to say. */
static inline gint
pirl_probe_target (const PirlProbeSet *set, guint classes, gsize row, guint class)
{
  return set->labels ? set->labels[row] == (gint) class : set->targets[row * classes + class];
}
static inline const gfloat *
pirl_probe_row (const PirlProbeSet *set, gsize row)
{
  return set->features + row * set->dim;
}

/** A step has been done; FALSE with G_IO_ERROR_CANCELLED when the probe shall end. */
gboolean pirl_probe_step (const PirlProbeConfig *config, gdouble done, GError **error);
guint pirl_probe_threads (const PirlProbeConfig *config);

/** The probes themselves: fill @scores with all rows of @test that count. */
gboolean pirl_probe_linear (const PirlProbeConfig *config, const PirlProbeSet *train,
    const PirlProbeSet *test, PirlScores *scores, PirlProbeResult *result, GError **error);
gboolean pirl_probe_svm (const PirlProbeConfig *config, const PirlProbeSet *train,
    const PirlProbeSet *test, PirlScores *scores, PirlProbeResult *result, GError **error);
