/* gst-pirl: what the scores of a classifier are worth.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Top-k: a sample is right when fewer than k classes stand before its own; of equal scores the
 * class with the larger number stands first (scikit-learn's top_k_accuracy_score), so that scores
 * which are all the same are not called right. What is no number stands last.
 *
 * Average precision of a class: its test samples by falling score, samples of equal score enter
 * together; INTERPOLATED is the area under the curve whose precision is the largest at that recall
 * or beyond (VOC from 2010 on), STEPS the sum of precision times gain of recall (scikit-learn's
 * average_precision_score). A class without a positive sample has none, and does not count in
 * means.
 */
#pragma once

#include "learn/probe.h"

typedef enum { PIRL_PRECISION_STEPS, PIRL_PRECISION_INTERPOLATED } PirlPrecisionKind;

/** @weight (may be NULL: 1): how often each sample counts. @order: samples by falling score, of
 * pirl_score_order(). Targets below 0 do not count. NaN without a positive. */
PIRL_API gdouble pirl_average_precision (PirlPrecisionKind kind, const gfloat *score,
    const gint8 *target, const guint *order, const guint *weight, guint n);
/** @order [n]: by falling score; of equal scores the earlier sample first. */
PIRL_API void pirl_score_order (const gfloat *score, guint *order, guint n);
/** How many classes stand before class @label; see above. */
PIRL_API guint pirl_score_rank (const gfloat *score, guint classes, guint label);

/** Takes the scores of a test set row by row. */
typedef struct _PirlScores PirlScores;

/** @keep_scores: for average precision of single labels, too. */
PIRL_API PirlScores *pirl_scores_new (const PirlProbeSet *test, guint classes,
    gboolean keep_scores);
PIRL_API void pirl_scores_free (PirlScores *scores);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlScores, pirl_scores_free)
/** Row @row of the test set: @score [classes]. Rows in any order, from several threads. */
PIRL_API void pirl_scores_set (PirlScores *scores, gsize row, const gfloat *score);
/** The figures of @result, with intervals by config->bootstrap draws of as many test samples. Once
 * config->cancel is set, no more are drawn. */
PIRL_API void pirl_scores_judge (PirlScores *scores, const PirlProbeConfig *config,
    PirlProbeResult *result);
