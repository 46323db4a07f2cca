/* gst-pirl: which regions of a picture does the agent fear for?
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Region by region, what the probes leave of a picture is replaced by the picture itself; how much
 * the predicted agreement rises at the chosen quality is what compression takes from that region.
 */
#pragma once

#include "evaluate-table.h"

/** Explains @n pictures, evenly spaced over @table, as PNG files "@path-NAME.png".
 * The bandit learns from all of the table first. */
gboolean eval_explain (const EvalTable *table, const EvalTableConfig *config, gdouble target,
    const guint *grid, guint n_grid, const gchar *path, guint n, GError **error);
