/* gst-pirl: has the scenery changed?
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Agreement: a Shiryaev-Roberts e-detector. Under "the agreement is at least @target - @tolerance"
 * each outcome multiplies a betting martingale; R_n = (1 + R_{n-1}) e_n; an alarm at R >= A comes
 * on average not before A outcomes (E[time to false alarm] >= A, whatever the distribution: Shin,
 * Ramdas, Rinaldo 2023). Bets of several sizes are averaged.
 * Features: the distance of E(x) to the running mean of its scenery, in units of its usual spread,
 * tested likewise on blocks of frames (neighbouring frames are alike): free of requests, so it only
 * asks for estimates, it never starts a retraining.
 */
#pragma once

#include "base/base.h"

typedef struct _PirlDrift PirlDrift;

/** @run: A, outcomes between false alarms (mean, at least). */
PIRL_API PirlDrift *pirl_drift_new (gdouble target, gdouble tolerance, gdouble run);
PIRL_API void pirl_drift_free (PirlDrift *drift);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlDrift, pirl_drift_free)
/** One outcome (0..1); TRUE = alarm. */
PIRL_API gboolean pirl_drift_outcome (PirlDrift *drift, gdouble agreement);
/** One frame's features; TRUE = they left what was usual (the features test then learns anew what
 * is usual). @n is the same in all calls; other numbers, and 0, are ignored. */
PIRL_API gboolean pirl_drift_features (PirlDrift *drift, const gfloat *features, guint n);
/** Another null for the outcomes, whose test starts again; the features' goes on. */
PIRL_API void pirl_drift_defend (PirlDrift *drift, gdouble target, gdouble tolerance);
/** A new scenery: both tests start again. */
PIRL_API void pirl_drift_reset (PirlDrift *drift);
/** log10 R, for reports: alarm at log10 A. */
PIRL_API gdouble pirl_drift_evidence (const PirlDrift *drift);
/** The R of the bets on outcomes, %PIRL_DRIFT_STATE numbers: to be kept in a file. What
 * the features test has learnt is not among them: it learns again. */
#define PIRL_DRIFT_STATE 5
PIRL_API void pirl_drift_get (const PirlDrift *drift, gdouble state[PIRL_DRIFT_STATE]);
PIRL_API void pirl_drift_set (PirlDrift *drift, const gdouble state[PIRL_DRIFT_STATE]);
/** The mean of the features since the last reset (@n = their number), or NULL before the first
 * block. */
PIRL_API const gdouble *pirl_drift_centre (const PirlDrift *drift, guint *n);
