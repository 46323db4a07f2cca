/* gst-pirl: the drift test's false alarms and delays, by simulation.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * PIRL_LONG=1 takes ten times as many runs. */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "learn/drift.h"

#define TARGET 0.95
#define TOLERANCE 0.02
#define RUN 1000

static guint
runs (void)
{
  return g_getenv ("PIRL_LONG") != NULL ? 2000 : 200;
}

/* Outcomes until the alarm, at most @limit. */
static guint
run_length (PirlDrift *drift, PirlRng *rng, gdouble agreement, guint limit)
{
  for (guint n = 1; n < limit; n++)
    if (pirl_drift_outcome (drift, pirl_rng_uniform (rng) < agreement ? 1 : 0))
      return n;
  return limit;
}

static gint
compare (const void *a, const void *b)
{
  return (*(const guint *) a > *(const guint *) b) - (*(const guint *) a < *(const guint *) b);
}

/* At the boundary of what is allowed the mean time to a false alarm is at least A (Shin, Ramdas,
 * Rinaldo 2023). Runs are cut at 20 A, which only lowers the mean. */
static void
test_false_alarms_are_as_rare_as_promised (void)
{
  static const gdouble tolerances[] = { 0.02, 0.05 };
  const guint n = runs ();

  for (guint t = 0; t < G_N_ELEMENTS (tolerances); t++) {
    gdouble sum = 0, squares = 0, mean, error;

    for (guint i = 0; i < n; i++) {
      g_autoptr (PirlDrift) drift = pirl_drift_new (TARGET, tolerances[t], RUN);
      gdouble length;
      PirlRng rng;

      pirl_rng_init (&rng, i, t, 0, PIRL_PURPOSE_TEST);
      length = run_length (drift, &rng, TARGET - tolerances[t], 20 * RUN);
      sum += length;
      squares += length * length;
    }
    mean = sum / n;
    error = sqrt ((squares / n - mean * mean) / n);
    g_test_message ("tolerance %g: %.0f +- %.0f outcomes to a false alarm, promised %d",
        tolerances[t], mean, error, RUN);
    g_assert_cmpfloat (mean + 3 * error, >=, RUN);
  }
}

/* With the agreement where it should be they are several times rarer: less than one in four runs
 * of 2 A means more than 6.9 A from one to the next. */
static void
test_on_target_it_is_quiet (void)
{
  const guint n = runs (), limit = 2 * RUN;
  guint alarms = 0;

  for (guint i = 0; i < n; i++) {
    g_autoptr (PirlDrift) drift = pirl_drift_new (TARGET, TOLERANCE, RUN);
    PirlRng rng;

    pirl_rng_init (&rng, i, 9, 0, PIRL_PURPOSE_TEST);
    alarms += run_length (drift, &rng, TARGET, limit) < limit;
  }
  g_test_message ("%u of %u runs of %u outcomes at %g had a false alarm", alarms, n, limit,
      TARGET);
  g_assert_cmpfloat (alarms, <, 0.25 * n);
}

/* After 500 outcomes on target. From nothing, and with the best bet, it would be log A / KL (q ||
 * q0): 182, 77, 29, 16 outcomes (q = .15, .2, .3, .4; q0 = .07; A = 1000). */
static void
test_drops_are_noticed (void)
{
  static const struct {
    gdouble agreement;
    guint median, late;         /* at most, 95 % */
  } cases[] = { {0.85, 100, 320}, {0.8, 70, 180}, {0.7, 35, 80}, {0.6, 25, 50} };
  const guint n = runs ();

  g_test_message ("agreement  median  95 %%   outcomes from %g until the alarm", TARGET);
  for (guint c = 0; c < G_N_ELEMENTS (cases); c++) {
    g_autofree guint *delay = g_new (guint, n);

    for (guint i = 0; i < n; i++) {
      g_autoptr (PirlDrift) drift = pirl_drift_new (TARGET, TOLERANCE, RUN);
      PirlRng rng;

      pirl_rng_init (&rng, i, 20 + c, 0, PIRL_PURPOSE_TEST);
      if (run_length (drift, &rng, TARGET, 500) < 500)
        pirl_drift_reset (drift);
      delay[i] = run_length (drift, &rng, cases[c].agreement, 5000);
    }
    qsort (delay, n, sizeof *delay, compare);
    g_test_message ("%9g  %6u  %4u", cases[c].agreement, delay[n / 2], delay[n * 95 / 100]);
    g_assert_cmpuint (delay[n / 2], <=, cases[c].median);
    g_assert_cmpuint (delay[n * 95 / 100], <=, cases[c].late);
  }
}

/* R by hand for one outcome: every bet f gives (1 + 0) (1 + f / (1 - m) (m - x)); their mean.
 * With x = 1 the factor is 1 - f, with x = 0 it is 1 + f m / (1 - m). */
static void
test_evidence_by_hand (void)
{
  g_autoptr (PirlDrift) drift = pirl_drift_new (0.9, 0.1, 1e6);
  const gdouble fractions[] = { 0.02, 0.06, 0.12, 0.25, 0.45 };
  gdouble expected = 0, state[PIRL_DRIFT_STATE];

  pirl_drift_outcome (drift, 0);
  pirl_drift_outcome (drift, 1);
  pirl_drift_outcome (drift, 0);
  for (guint i = 0; i < 5; i++) {
    const gdouble f = fractions[i], lost = 1 + f * 0.8 / 0.2;

    expected += (1 + (1 + lost) * (1 - f)) * lost / 5;
  }
  g_assert_cmpfloat_with_epsilon (pirl_drift_evidence (drift), log10 (expected), 1e-9);
  {
    g_autoptr (PirlDrift) other = pirl_drift_new (0.9, 0.1, 1e6);

    pirl_drift_get (drift, state);
    pirl_drift_set (other, state);
    g_assert_cmpfloat (pirl_drift_evidence (other), ==, pirl_drift_evidence (drift));
  }
  pirl_drift_outcome (drift, NAN);
  pirl_drift_outcome (drift, -1);
  g_assert_cmpfloat_with_epsilon (pirl_drift_evidence (drift), log10 (expected), 1e-9);
  pirl_drift_reset (drift);
  g_assert_cmpfloat (pirl_drift_evidence (drift), ==, 0);
}

/* --- features --- */

enum { FEATURES = 24 };

/* Neighbouring frames are alike: each feature is a first-order autoregression around its centre. */
typedef struct {
  PirlRng rng;
  gdouble state[FEATURES], centre[FEATURES], memory;
} Scenery;

static void
scenery_init (Scenery *scenery, guint64 seed, gdouble memory)
{
  pirl_rng_init (&scenery->rng, seed, 40, 0, PIRL_PURPOSE_TEST);
  scenery->memory = memory;
  for (guint i = 0; i < FEATURES; i++) {
    scenery->state[i] = 0;
    scenery->centre[i] = 5 * pirl_rng_normal (&scenery->rng);
  }
}

static void
scenery_next (Scenery *scenery, gfloat *features)
{
  const gdouble fresh = sqrt (1 - scenery->memory * scenery->memory);

  for (guint i = 0; i < FEATURES; i++) {
    scenery->state[i] = scenery->memory * scenery->state[i]
        + fresh * pirl_rng_normal (&scenery->rng);
    features[i] = (gfloat) (scenery->centre[i] + scenery->state[i] * (1 + i % 3));
  }
}

static guint
frames_to_alarm (PirlDrift *drift, Scenery *scenery, guint limit)
{
  gfloat features[FEATURES];

  for (guint n = 0; n < limit; n++) {
    scenery_next (scenery, features);
    if (pirl_drift_features (drift, features, FEATURES))
      return n;
  }
  return limit;
}

static void
test_features_that_move_are_noticed (void)
{
  static const gdouble memories[] = { 0, 0.9 };

  for (guint m = 0; m < G_N_ELEMENTS (memories); m++) {
    guint late = 0, early = 0;

    for (guint64 seed = 0; seed < 40; seed++) {
      g_autoptr (PirlDrift) drift = pirl_drift_new (TARGET, TOLERANCE, RUN);
      Scenery scenery;
      guint n;

      scenery_init (&scenery, seed, memories[m]);
      early += frames_to_alarm (drift, &scenery, 4000) < 4000;
      for (guint i = 0; i < FEATURES; i++)
        scenery.centre[i] += 1.0 * pirl_rng_normal (&scenery.rng) * (1 + i % 3);
      n = frames_to_alarm (drift, &scenery, 1500);
      late += n == 1500;
    }
    g_test_message ("memory %g: of 40 sceneries of 4,000 frames %u had a false alarm; %u of 40 moves "
        "were missed for 1,500 frames", memories[m], early, late);
    g_assert_cmpuint (early, <=, 12);
    g_assert_cmpuint (late, <=, 4);
  }
}

static void
test_features_centre_and_other_lengths (void)
{
  g_autoptr (PirlDrift) drift = pirl_drift_new (TARGET, TOLERANCE, RUN);
  const gfloat features[3] = { 1, -2, 5 }, wrong[3] = { NAN, 0, 0 };
  const gdouble *centre;
  guint n;

  g_assert_null (pirl_drift_centre (drift, &n));
  for (guint i = 0; i < 64; i++) {
    g_assert_false (pirl_drift_features (drift, features, 3));
    g_assert_false (pirl_drift_features (drift, features, 2));
    g_assert_false (pirl_drift_features (drift, wrong, 3));
    g_assert_false (pirl_drift_features (drift, NULL, 0));
  }
  centre = pirl_drift_centre (drift, &n);
  g_assert_cmpuint (n, ==, 3);
  for (guint i = 0; i < 3; i++)
    g_assert_cmpfloat_with_epsilon (centre[i], features[i], 1e-9);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/drift/false-alarms", test_false_alarms_are_as_rare_as_promised);
  g_test_add_func ("/drift/quiet", test_on_target_it_is_quiet);
  g_test_add_func ("/drift/delay", test_drops_are_noticed);
  g_test_add_func ("/drift/evidence", test_evidence_by_hand);
  g_test_add_func ("/drift/features", test_features_that_move_are_noticed);
  g_test_add_func ("/drift/centre", test_features_centre_and_other_lengths);
  return g_test_run ();
}
