/* gst-pirl: policies judged on halves of a folder.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For each of @halves random halves a policy learns from one and is judged on the other. Sizes are
 * means of bytes / the picture's reference bytes. Where a table lacks cells (recordings) only those
 * that exist can be chosen and count; what a policy is compared with is then, for each picture, the
 * next quality that was recorded.
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

/** Agreements at which sizes are compared, .90, .95 and .98. */
#define EVAL_POINTS 3
extern const gdouble eval_points[EVAL_POINTS];

/** Where a policy's curve over lambda passes one of these: on each half's judged pictures,
 * interpolated, then averaged over halves. */
typedef struct {
  gdouble size, size_error;
  gdouble to_fixed, to_fixed_error;     /* size / the fixed qualities' at the same agreement */
} EvalPoint;

typedef struct {
  gdouble agreement;            /* mean over halves */
  gdouble agreement_error;      /* standard error over halves */
  gdouble low, high;            /* Wilson 95 % for the pictures judged in one half */
  gdouble size, size_error;
  gdouble to_fixed, to_fixed_error;     /* size / that of the best fixed quality, at the
                                         * agreement that the half reached */
  gdouble wire;                 /* references and trials of the learning half, and the other half's
                                 * choices, over the references of all */
  gdouble labels;               /* answers a learning picture, the reference's not counted */
  gdouble judged;               /* pictures a half */
  gdouble shares[101];          /* of the qualities chosen */
  EvalPoint points[EVAL_POINTS];        /* of the bandit */
} EvalOutcome;

EvalOutcome eval_fixed (const EvalTrial *trial, guint level);
/** The cheapest quality that reaches the target on the learning half. */
EvalOutcome eval_fixed_learnt (const EvalTrial *trial);
/** The cheapest agreeing quality of each picture; the reference's where none agrees. @share < 1:
 * the dearest pictures are sent at the lowest quality instead, as many as that allows. */
EvalOutcome eval_oracle (const EvalTrial *trial, gdouble share);
/** @labels: answers asked for a learning picture, chosen by the bandit itself; 0 = all. @grid: the
 * levels to choose from (the last is the reference). */
EvalOutcome eval_bandit (const EvalTrial *trial, const EvalLook *look, const guint *grid,
    guint n_grid, guint labels);
gboolean eval_dqn (const EvalTrial *trial, const guint *grid, guint n_grid, EvalOutcome *outcome,
    GError **error);
