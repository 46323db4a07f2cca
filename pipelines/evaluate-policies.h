/* gst-pirl: policies judged on halves of a folder.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For each of @halves random halves a policy learns from one and is judged on the other. Sizes are
 * means of bytes / the picture's reference bytes. Where a table lacks cells (recordings) only those
 * that exist can be chosen and count.
 */
#pragma once

#include "evaluate-table.h"

typedef struct {
  const EvalTable *table;
  guint halves;
  guint64 seed;
  gdouble target;
  gdouble alpha, beta;          /* of the dqn's reward */
  guint dqn_steps;              /* transitions it learns from, a half */
} EvalTrial;

typedef struct {
  gdouble agreement;            /* mean over halves */
  gdouble agreement_error;      /* standard error over halves */
  gdouble low, high;            /* Wilson 95 % for the pictures judged in one half */
  gdouble size, size_error;
  gdouble to_fixed, to_fixed_error;     /* size / that of the best fixed quality, interpolated at the
                                         * agreement that the half reached */
  gdouble wire;                 /* references and trials of the learning half, and the other half's choices,
                                 * over the references of all */
  gdouble labels;               /* answers a learning picture, the reference's not counted */
  gdouble judged;               /* pictures a half */
  gdouble shares[101];          /* of the qualities chosen */
} EvalOutcome;

EvalOutcome eval_fixed (const EvalTrial *trial, guint level);
/** The cheapest agreeing quality of each picture; the reference's where none agrees. @share < 1: the
 * dearest pictures are sent at the lowest quality instead, as many as that allows. */
EvalOutcome eval_oracle (const EvalTrial *trial, gdouble share);
/** @labels: answers asked for a learning picture, chosen by the bandit itself; 0 = all. @grid: the
 * levels to choose from (the last is the reference). */
EvalOutcome eval_bandit (const EvalTrial *trial, const EvalLook *look, const guint *grid,
    guint n_grid, guint labels);
gboolean eval_dqn (const EvalTrial *trial, const guint *grid, guint n_grid, EvalOutcome *outcome,
    GError **error);

/** Bytes of the best fixed quality (of all levels) at @agreement, interpolated, over all pictures. */
gdouble eval_fixed_at (const EvalTable *table, gdouble agreement);
/** @x of @outcomes (by ascending target) at @agreement, interpolated; NaN when it is not reached. */
gdouble eval_at (const EvalOutcome *outcomes, guint n, gdouble agreement, gsize offset);
