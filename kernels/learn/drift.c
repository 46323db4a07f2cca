/* gst-pirl: has the scenery changed?
 *
 * Agreement. Null: every outcome X has, given the past, a mean of at least m = target - tolerance.
 * Then e = 1 + b (m - X) has a mean of at most 1 for any bet b in [0, 1 / (1 - m)), and
 * R_n = (1 + R_{n-1}) e_n - n is a supermartingale: E[time until R >= A] >= A. The average of
 * several R, each with a bet of its own, has the same property. A bet is written as the fraction
 * f = b (1 - m) of the wealth that an agreement costs; the best one is (q - q0) / (1 - q0) for a
 * rate q of refusals where q0 = 1 - m is allowed: the fractions cover q = 9 % to 60 % for m = .93.
 *
 * Features. Frames are taken in blocks, since neighbours are alike. The first WARM blocks give
 * the mean and the variance of each feature; the next JUDGE blocks give the usual distance of a
 * block's mean to that (the EXCEED quantile of their standardised distances); then "farther than
 * that" is the refusal of an e-detector whose null is a rate of ALLOWED.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/drift.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 32
#define WARM 16
#define JUDGE 20
#define EXCEED 0.9
#define ALLOWED 0.25
/* Blocks between false alarms of the features test, mean, at least. */
#define FEATURES_RUN 200
/* Share of a new block in the mean, once it is judged usual. */
#define FORGET 0.01

#define BETS PIRL_DRIFT_STATE
static const gdouble fractions[BETS] = { 0.02, 0.06, 0.12, 0.25, 0.45 };

/* An e-detector for "the mean is at least m". */
typedef struct {
  gdouble m, run;
  gdouble r[BETS];
} Detector;

typedef struct {
  guint n;                      /* features; 0 = none seen yet */
  guint frames, blocks;         /* of the present block; done */
  gdouble *sum;                 /* of the present block */
  gdouble *mean, *variance;     /* over blocks' frames; the variance is of block means */
  gdouble distances[JUDGE], usual;
} Usual;

struct _PirlDrift {
  Detector outcomes, features;
  Usual usual;
};

static gdouble
detector_value (const Detector *detector)
{
  gdouble sum = 0;

  for (guint i = 0; i < BETS; i++)
    sum += detector->r[i];
  return sum / BETS;
}

static gboolean
detector_take (Detector *detector, gdouble x)
{
  for (guint i = 0; i < BETS; i++) {
    const gdouble bet = fractions[i] / (1 - detector->m);

    detector->r[i] = (1 + detector->r[i]) * (1 + bet * (detector->m - x));
  }
  return detector_value (detector) >= detector->run;
}

static void
detector_reset (Detector *detector)
{
  memset (detector->r, 0, sizeof detector->r);
}

PirlDrift *
pirl_drift_new (gdouble target, gdouble tolerance, gdouble run)
{
  PirlDrift *drift = g_new0 (PirlDrift, 1);

  pirl_drift_defend (drift, target, tolerance);
  drift->outcomes.run = MAX (run, 1);
  drift->features.m = 1 - ALLOWED;
  drift->features.run = FEATURES_RUN;
  return drift;
}

static void
usual_reset (Usual *usual)
{
  g_clear_pointer (&usual->sum, g_free);
  g_clear_pointer (&usual->mean, g_free);
  g_clear_pointer (&usual->variance, g_free);
  usual->n = usual->frames = usual->blocks = 0;
}

void
pirl_drift_free (PirlDrift *drift)
{
  if (drift == NULL)
    return;
  usual_reset (&drift->usual);
  g_free (drift);
}

void
pirl_drift_defend (PirlDrift *drift, gdouble target, gdouble tolerance)
{
  drift->outcomes.m = CLAMP (target - tolerance, 0.01, 0.999);
  detector_reset (&drift->outcomes);
}

void
pirl_drift_reset (PirlDrift *drift)
{
  detector_reset (&drift->outcomes);
  detector_reset (&drift->features);
  usual_reset (&drift->usual);
}

gboolean
pirl_drift_outcome (PirlDrift *drift, gdouble agreement)
{
  if (!(agreement >= 0 && agreement <= 1))
    return FALSE;
  return detector_take (&drift->outcomes, agreement);
}

gdouble
pirl_drift_evidence (const PirlDrift *drift)
{
  return log10 (MAX (detector_value (&drift->outcomes), 1));
}

void
pirl_drift_get (const PirlDrift *drift, gdouble state[PIRL_DRIFT_STATE])
{
  memcpy (state, drift->outcomes.r, sizeof drift->outcomes.r);
}

void
pirl_drift_set (PirlDrift *drift, const gdouble state[PIRL_DRIFT_STATE])
{
  for (guint i = 0; i < BETS; i++)
    drift->outcomes.r[i] = isfinite (state[i]) && state[i] > 0 ? state[i] : 0;
}

/* --- features --- */

/* Welford's update of mean and variance by a block's mean @x. */
static void
learn_block (Usual *usual, const gdouble *x)
{
  for (guint i = 0; i < usual->n; i++) {
    const gdouble off = x[i] - usual->mean[i];

    usual->mean[i] += off / (usual->blocks + 1);
    usual->variance[i] += off * (x[i] - usual->mean[i]);
  }
}

/* Mean squared standardised distance of a block's mean. Features that barely vary are weighed as if
 * they varied by a tenth of the average. */
static gdouble
block_distance (const Usual *usual, const gdouble *x)
{
  gdouble average = 0, sum = 0;

  for (guint i = 0; i < usual->n; i++)
    average += usual->variance[i] / usual->n;
  if (!(average > 0))
    average = 1e-12;
  for (guint i = 0; i < usual->n; i++) {
    const gdouble off = x[i] - usual->mean[i];

    sum += off * off / (usual->variance[i] + 0.1 * average);
  }
  return sum / usual->n;
}

static gint
compare (const void *a, const void *b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

/* TRUE = alarm. */
static gboolean
take_block (PirlDrift *drift, const gdouble *x)
{
  Usual *usual = &drift->usual;
  gdouble distance;
  gboolean alarm = FALSE;

  if (usual->blocks < WARM) {
    learn_block (usual, x);
    if (++usual->blocks == WARM)
      for (guint i = 0; i < usual->n; i++)
        usual->variance[i] /= WARM - 1;
    return FALSE;
  }
  distance = block_distance (usual, x);
  if (usual->blocks < WARM + JUDGE) {
    usual->distances[usual->blocks - WARM] = distance;
    if (++usual->blocks == WARM + JUDGE) {
      qsort (usual->distances, JUDGE, sizeof distance, compare);
      usual->usual = usual->distances[(gint) (EXCEED * (JUDGE - 1) + 0.5)];
    }
    return FALSE;
  }
  if (distance <= usual->usual)
    for (guint i = 0; i < usual->n; i++)
      usual->mean[i] += FORGET * (x[i] - usual->mean[i]);
  alarm = detector_take (&drift->features, distance <= usual->usual);
  if (alarm) {
    detector_reset (&drift->features);
    usual_reset (usual);
  }
  return alarm;
}

static void
usual_start (Usual *usual, guint n)
{
  usual->n = n;
  usual->sum = g_new0 (gdouble, n);
  usual->mean = g_new0 (gdouble, n);
  usual->variance = g_new0 (gdouble, n);
}

gboolean
pirl_drift_features (PirlDrift *drift, const gfloat *features, guint n)
{
  Usual *usual = &drift->usual;
  gboolean alarm;

  if (usual->n == 0 && n > 0)
    usual_start (usual, n);
  if (n == 0 || n != usual->n)
    return FALSE;
  for (guint i = 0; i < n; i++)
    if (!isfinite (features[i]))
      return FALSE;
  for (guint i = 0; i < n; i++)
    usual->sum[i] += features[i];
  if (++usual->frames < BLOCK)
    return FALSE;
  for (guint i = 0; i < n; i++)
    usual->sum[i] /= BLOCK;
  usual->frames = 0;
  alarm = take_block (drift, usual->sum);
  if (usual->sum != NULL)
    memset (usual->sum, 0, sizeof (gdouble) * usual->n);
  return alarm;
}

const gdouble *
pirl_drift_centre (const PirlDrift *drift, guint *n)
{
  *n = drift->usual.blocks > 0 ? drift->usual.n : 0;
  return *n > 0 ? drift->usual.mean : NULL;
}
