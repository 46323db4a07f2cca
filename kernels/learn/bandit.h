/* gst-pirl: which quality is just good enough? A contextual bandit that knows the price.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A picture x has, for each level l of a list of ascending qualities, a vector phi(x, l) and a
 * price s(x, l) (its bytes over the reference's). Whether the service agrees at l is what must be
 * learnt:
 *
 *   p(agree | x, l) = sigmoid (w . phi(x, l)),  w ~ N(w0, Sigma0)
 *
 * one Bayesian logistic regression over all levels (Laplace: w = mode, Sigma = inverse Hessian),
 * made monotone in l. An answer at one level is credit for others: agreed at l counts (with weight
 * @credit) for all dearer levels, refused at l counts for all cheaper ones.
 *
 *   choice = argmin_l s(x, l) - lambda p(x, l)
 *
 * with lambda such that the agreement that the choices had, or would have had, on what was answered
 * lately meets @target.
 *
 * Threads: one thread may learn while another chooses; choosing waits for nothing longer than a
 * copy of the weights.
 */
#pragma once

#include "base/base.h"
#include "base/safetensors.h"

typedef struct {
  guint levels;                 /* L; the last is the reference: it agrees always */
  guint inputs;                 /* D = length of phi; phi[0] should be 1 */
  gdouble target;               /* agreement to be kept, .95 */
  gdouble prior_precision;      /* of each weight but the first; 1 */
  gdouble credit;               /* weight of an implied outcome against an observed one, 0..1 */
  guint capacity;               /* answered pictures remembered */
} PirlBanditConfig;

PIRL_API void pirl_bandit_config_defaults (PirlBanditConfig *config);

typedef struct _PirlBandit PirlBandit;
PIRL_API PirlBandit *pirl_bandit_new (const PirlBanditConfig *config, GError **error);
PIRL_API void pirl_bandit_free (PirlBandit *bandit);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlBandit, pirl_bandit_free)

/** @phi: L rows of D. @p (L): monotone probabilities, p[L-1] = 1; @deviation (L, may be NULL): the
 * posterior's standard deviation of the logit. */
PIRL_API void pirl_bandit_predict (PirlBandit *bandit, const gfloat *phi, gdouble *p,
    gdouble *deviation);
/** The level to send; @agreement (may be NULL): its predicted probability. @sizes: L. */
PIRL_API guint pirl_bandit_choose (PirlBandit *bandit, const gfloat *phi, const gdouble *sizes,
    gdouble *agreement);
/** At most @n levels worth asking about beside the chosen one, most informative a byte first, all
 * below the reference (downward: the reference is on its way anyway). Returns how many. */
PIRL_API guint pirl_bandit_explore (PirlBandit *bandit, const gfloat *phi, const gdouble *sizes,
    guint n, guint *levels);
/** What the service said of one picture: @outcome[l] in 0..1, negative = not asked. Refits, at
 * every answer while there are few, later when their number has grown by a few per cent. */
PIRL_API void pirl_bandit_learn (PirlBandit *bandit, const gfloat *phi, const gdouble *sizes,
    const gfloat *outcome);
/** Forgets the pictures; keeps the weights as the prior of what comes, its precision scaled by
 * @trust (0 = start from nothing). */
PIRL_API void pirl_bandit_forget (PirlBandit *bandit, gdouble trust);
/** TRUE when the lower confidence bound (one-sided 90 %) of the agreement of the choices on the
 * answered pictures reaches target - @slack. */
PIRL_API gboolean pirl_bandit_settled (PirlBandit *bandit, gdouble slack);
/** Refits now when answers came since the last time. */
PIRL_API void pirl_bandit_refit (PirlBandit *bandit);
/** TRUE when it has learnt from a picture, or was loaded; else it chooses the reference. */
PIRL_API gboolean pirl_bandit_trained (PirlBandit *bandit);
/** An agent of its own, with at most @pictures of the latest pictures: to be remembered. */
PIRL_API PirlBandit *pirl_bandit_copy (PirlBandit *bandit, guint pictures);
/** Takes over what @other knows, its pictures put before the own ones, and refits. Both are of one
 * shape. */
PIRL_API void pirl_bandit_adopt (PirlBandit *bandit, PirlBandit *other);
PIRL_API gdouble pirl_bandit_lambda (PirlBandit *bandit);
PIRL_API guint pirl_bandit_answered (PirlBandit *bandit);

/** What was answered of a picture at level @l (@outcome as in pirl_bandit_learn()), or must have
 * been by monotony, or, between a refused and an agreed level, is to be expected with
 * probabilities @p (L, monotone). @known (may be NULL): it was answered, or follows. */
PIRL_API gdouble pirl_bandit_expected (const gfloat *outcome, const gdouble *p, guint levels,
    guint l, gboolean *known);

/** Adds weights, precision, pictures and lambda to a file as "@prefix.*"; loading checks shapes
 * (%PIRL_ERROR_MISMATCH). The writer borrows: *@keep (transfer full) must outlive the write. */
PIRL_API void pirl_bandit_save (PirlBandit *bandit, PirlSafetensorsWriter *writer,
    const gchar *prefix, GPtrArray *keep);
PIRL_API gboolean pirl_bandit_load (PirlBandit *bandit, const PirlSafetensors *file,
    const gchar *prefix, GError **error);
