/* gst-pirl: probes: figures worked by hand, optima with known answers, errors, files of features.
 * What scikit-learn says is in learn-probe-sklearn.py.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/probe-metrics.h"
#include "learn/probe-store.h"

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define assert_near(a, b) g_assert_cmpfloat_with_epsilon ((a), (b), 1e-9)

/* ---- metrics -------------------------------------------------------------------------------- */

/* Of equal scores the larger class stands first: sklearn.metrics.top_k_accuracy_score. */
static void
test_rank (void)
{
  const gfloat score[5] = { 1, 3, 3, 0, NAN };
  const guint rank[5] = { 2, 1, 0, 3, 4 };
  const gfloat same[4] = { 0, 0, 0, 0 };

  for (guint c = 0; c < 5; c++)
    g_assert_cmpuint (pirl_score_rank (score, 5, c), ==, rank[c]);
  for (guint c = 0; c < 4; c++)
    g_assert_cmpuint (pirl_score_rank (same, 4, c), ==, 3 - c);
}

static gdouble
precision_of (PirlPrecisionKind kind, const gfloat *score, const gint8 *target, guint n)
{
  guint order[16];

  pirl_score_order (score, order, n);
  return pirl_average_precision (kind, score, target, order, NULL, n);
}

/*
 * By falling score: yes no yes no. Precision at the two hits: 1 and 2/3.
 * Steps: (1 + 2/3) / 2 = 5/6; interpolated the same.
 * no yes yes no: precision 1/2, 2/3; steps 7/12, interpolated 2/3 for both = 2/3.
 * Ties: yes and no share the first place: one point of precision 1/2, then yes: 2/3.
 */
static void
test_precision (void)
{
  const gfloat score[5] = { 9, 8, 7, 6, 100 }, tied[3] = { 9, 9, 7 };
  const gint8 first[5] = { 1, 0, 1, 0, -1 }, second[4] = { 0, 1, 1, 0 };
  const gint8 all[3] = { 1, 1, 1 }, none[3] = { 0, 0, 0 }, left_out[3] = { -1, 0, -1 };
  const gint8 tie[3] = { 1, 0, 1 };
  const guint weight[4] = { 0, 2, 1, 1 };
  guint order[4];

  assert_near (precision_of (PIRL_PRECISION_STEPS, score, first, 5), 5. / 6);
  assert_near (precision_of (PIRL_PRECISION_INTERPOLATED, score, first, 5), 5. / 6);
  assert_near (precision_of (PIRL_PRECISION_STEPS, score, second, 4), 7. / 12);
  assert_near (precision_of (PIRL_PRECISION_INTERPOLATED, score, second, 4), 2. / 3);
  assert_near (precision_of (PIRL_PRECISION_STEPS, score, all, 3), 1);
  assert_near (precision_of (PIRL_PRECISION_STEPS, tied, tie, 3), (1. / 2 + 2. / 3) / 2);
  g_assert_true (isnan (precision_of (PIRL_PRECISION_STEPS, score, none, 3)));
  g_assert_true (isnan (precision_of (PIRL_PRECISION_INTERPOLATED, score, left_out, 3)));
  g_assert_true (isnan (precision_of (PIRL_PRECISION_STEPS, score, all, 0)));
  /* Weights are repetitions: no no yes no. */
  pirl_score_order (score, order, 4);
  assert_near (pirl_average_precision (PIRL_PRECISION_STEPS, score, (gint8[]) {1, 0, 1, 0}, order,
          weight, 4), 1. / 3);
}

/* Three classes of 6, 2 and no samples, one sample without a label. Of class 0 all are right, of
 * class 1 none: top-1 6/8, balanced 1/2. */
static void
test_imbalance (void)
{
  const gint labels[9] = { 0, 0, 0, 0, 0, 0, 1, 1, -1 };
  const gfloat right[3] = { 2, 1, 0 };
  const PirlProbeSet test = {.n = 9,.dim = 1,.positions = 1,.labels = labels };
  g_autoptr (PirlScores) scores = pirl_scores_new (&test, 3, FALSE);
  PirlProbeResult result = { .loss = NAN }, again = { .loss = NAN };
  PirlProbeConfig config;

  pirl_probe_config_defaults (&config);
  config.classes = 3;
  config.confidence = .9;
  config.n_threads = 2;
  for (guint i = 0; i < 9; i++)
    pirl_scores_set (scores, i, right);
  pirl_scores_judge (scores, &config, &result);
  g_assert_cmpuint (result.n_test, ==, 8);
  assert_near (result.top1.value, .75);
  assert_near (result.top5.value, 1);
  assert_near (result.balanced.value, .5);
  assert_near (result.accuracy[0], 1);
  assert_near (result.accuracy[1], 0);
  g_assert_true (isnan (result.accuracy[2]));
  g_assert_true (isnan (result.map.value));
  g_assert_null (result.precision);
  /* The share of class 0 in eight draws: binomial (8, 3/4) / 8. Below 4/8 lie 2.7 % of it, up to
   * there 11 %; 10 % are at 1. */
  assert_near (result.top1.low, .5);
  assert_near (result.top1.high, 1);
  assert_near (result.top5.low, 1);
  {
    g_autoptr (PirlScores) same = pirl_scores_new (&test, 3, FALSE);

    config.n_threads = 1;
    for (guint i = 0; i < 9; i++)
      pirl_scores_set (same, 8 - i, right);
    pirl_scores_judge (same, &config, &again);
  }
  g_assert_cmpfloat (again.balanced.low, ==, result.balanced.low);
  g_assert_cmpfloat (again.top1.high, ==, result.top1.high);
  pirl_probe_result_clear (&result);
  pirl_probe_result_clear (&again);
}

/* Two classes of three; -1 counts for neither side of its class. Class 0: yes, no, (left out) by
 * falling score = 1; class 1: scores .1 .2 .3, targets 1 0 1: 1, then 2/3 -> 5/6; class 2 is
 * empty. */
static void
test_several_labels (void)
{
  const gint8 targets[9] = { 1, 1, 0, 0, 0, 0, -1, 1, 0 };
  const gfloat score[3][3] = { {3, .1f, 0}, {2, .2f, 0}, {9, .3f, 0} };
  const PirlProbeSet test = {.n = 3,.dim = 1,.positions = 1,.targets = targets };
  g_autoptr (PirlScores) scores = pirl_scores_new (&test, 3, FALSE);
  PirlProbeResult result = { .loss = NAN };
  PirlProbeConfig config;

  pirl_probe_config_defaults (&config);
  config.classes = 3;
  for (guint i = 0; i < 3; i++)
    pirl_scores_set (scores, i, score[i]);
  pirl_scores_judge (scores, &config, &result);
  assert_near (result.precision[0], 1);
  assert_near (result.precision[1], 5. / 6);
  g_assert_true (isnan (result.precision[2]));
  assert_near (result.map.value, 11. / 12);
  g_assert_true (isnan (result.top1.value));
  g_assert_cmpfloat (result.map.low, <=, result.map.value);
  g_assert_cmpfloat (result.map.high, >=, result.map.value);
  pirl_probe_result_clear (&result);
}

/* ---- sets ----------------------------------------------------------------------------------- */

typedef struct {
  gfloat *features;
  gint *labels;
  PirlProbeSet set;
} Cloud;

/* @n samples of @classes clouds whose centres are @apart deviations from one another; features of
 * different size, as those of networks are. Maps: each place sees the centre again. */
static void
cloud_init (Cloud *cloud, guint64 seed, guint n, guint classes, guint channels, guint positions,
    gfloat apart)
{
  const guint dim = channels * positions;

  cloud->features = g_new (gfloat, (gsize) n * dim);
  cloud->labels = g_new (gint, n);
  for (guint i = 0; i < n; i++) {
    PirlRng rng;

    pirl_rng_init (&rng, seed, 1, i, PIRL_PURPOSE_TEST);
    cloud->labels[i] = (gint) (i % classes);
    for (guint d = 0; d < dim; d++) {
      const guint c = d % channels;
      const gfloat centre = c % classes == (guint) cloud->labels[i] ? apart : 0;

      cloud->features[(gsize) i * dim + d] = (centre + pirl_rng_normal (&rng)) * (1 + c % 7) + 2;
    }
  }
  cloud->set = (PirlProbeSet) { cloud->features, n, dim, positions, cloud->labels, NULL };
}

static void
cloud_clear (Cloud *cloud)
{
  g_free (cloud->features);
  g_free (cloud->labels);
}

static PirlProbeConfig
config_for (guint classes)
{
  PirlProbeConfig config;
  const gchar *device = g_getenv ("PIRL_TEST_DEVICE");

  pirl_probe_config_defaults (&config);
  config.classes = classes;
  config.device = device ? device : "cpu";
  config.n_threads = 1;
  config.bootstrap = 50;
  config.batch = 32;
  return config;
}

static gdouble
top1_of (PirlProbe probe, const PirlProbeConfig *config, const Cloud *train, const Cloud *test)
{
  g_autoptr (GError) error = NULL;
  PirlProbeResult result;
  gdouble top1;

  pirl_probe_run (probe, config, &train->set, &test->set, &result, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (result.n_train, ==, train->set.n);
  g_assert_cmpuint (result.n_test, ==, test->set.n);
  g_assert_cmpfloat (result.top1.low, <=, result.top1.value);
  g_assert_cmpfloat (result.top1.high, >=, result.top1.value);
  top1 = result.top1.value;
  pirl_probe_result_clear (&result);
  return top1;
}

/* Every probe tells clouds apart that lie apart, and not those that lie on one another; twice the
 * same to the last bit. */
static void
test_learns (gconstpointer data)
{
  const PirlProbe probe = GPOINTER_TO_UINT (data) & 15;
  const guint positions = GPOINTER_TO_UINT (data) >> 4 & 15;
  PirlProbeConfig config = config_for (4);
  Cloud train, test, noise;

  config.solver = GPOINTER_TO_UINT (data) >> 8 ? PIRL_PROBE_EXACT : PIRL_PROBE_SGD;
  cloud_init (&train, 1, 201, 4, 12, positions, 3);
  cloud_init (&test, 2, 101, 4, 12, positions, 3);
  cloud_init (&noise, 3, 400, 4, 12, positions, 0);
  if (!pirl_probe_available (probe, NULL)) {
    g_test_skip ("this build has no such probe");
  } else {
    const gdouble top1 = top1_of (probe, &config, &train, &test);

    g_assert_cmpfloat (top1, >, .9);
    g_assert_cmpfloat (top1, ==, top1_of (probe, &config, &train, &test));
    g_assert_cmpfloat (top1_of (probe, &config, &train, &noise), <, .4);
  }
  cloud_clear (&train);
  cloud_clear (&test);
  cloud_clear (&noise);
}

/* Four samples on a line, two classes at -1 and 1, standardised as they are. Logistic regression
 * with one coefficient w has the loss log (1 + e^-w) + w^2 / (2 C n), whose derivative, w / (C n)
 * - 1 / (1 + e^w), is 0 at the optimum: C n = 4. */
static void
test_optimum (void)
{
  const gfloat features[4] = { -1, 1, -1, 1 };
  const gint labels[4] = { 0, 1, 0, 1 };
  const PirlProbeSet set = { features, 4, 1, 1, labels, NULL };
  PirlProbeConfig config = config_for (2);
  g_autoptr (GError) error = NULL;
  PirlProbeResult result;
  gdouble w = .5, loss;

  for (guint i = 0; i < 200; i++)
    w += 1 / (1 + exp (w)) - w / 4;
  loss = log1p (exp (-w)) + w * w / 8;
  config.solver = PIRL_PROBE_EXACT;
  pirl_probe_run (PIRL_PROBE_LINEAR, &config, &set, &set, &result, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat_with_epsilon (result.loss, loss, 1e-6);
  assert_near (result.top1.value, 1);
  pirl_probe_result_clear (&result);
}

/* Five classes in the test; training shows the last never and the fourth once. The others are told
 * apart as well as where there is no fifth, and of the fourth there is a model. */
static void
test_rare_classes (void)
{
  PirlProbeConfig five = config_for (5), four = config_for (4);
  g_autoptr (GError) error = NULL;
  PirlProbeResult a, b;
  Cloud train, test;
  guint shown = 0;

  if (!pirl_probe_available (PIRL_PROBE_SVM, NULL)) {
    g_test_skip ("this build has no liblinear");
    return;
  }
  cloud_init (&train, 8, 150, 5, 12, 1, 1);
  cloud_init (&test, 9, 250, 5, 12, 1, 1);
  for (guint i = 0; i < 150; i++)
    if (train.labels[i] == 4 || (train.labels[i] == 3 && shown++ > 0))
      train.labels[i] = -1;
  pirl_probe_run (PIRL_PROBE_SVM, &five, &train.set, &test.set, &a, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (a.cost[3], ==, .01);
  g_assert_true (isnan (a.cost[4]));
  assert_near (a.accuracy[4], 0);
  for (guint i = 0; i < 250; i++)
    if (test.labels[i] == 4)
      test.labels[i] = -1;
  pirl_probe_run (PIRL_PROBE_SVM, &four, &train.set, &test.set, &b, &error);
  g_assert_no_error (error);
  for (guint c = 0; c < 4; c++)
    g_assert_cmpfloat (a.accuracy[c], ==, b.accuracy[c]);
  g_assert_cmpfloat (a.accuracy[0] + a.accuracy[1] + a.accuracy[2], >, 1);
  pirl_probe_result_clear (&a);
  pirl_probe_result_clear (&b);
  cloud_clear (&train);
  cloud_clear (&test);
}

/* Samples without a label change nothing, wherever they stand. */
static void
test_unlabelled (void)
{
  PirlProbeConfig config = config_for (3);
  g_autoptr (GError) error = NULL;
  Cloud all, some, test;

  cloud_init (&all, 4, 90, 3, 9, 1, 2);
  cloud_init (&some, 4, 90, 3, 9, 1, 2);
  cloud_init (&test, 5, 60, 3, 9, 1, 2);
  /* The last thirty of one are without labels, of the other not there. */
  all.set.n = 60;
  for (guint i = 60; i < 90; i++)
    some.labels[i] = -1;
  for (guint probe = 0; probe < PIRL_N_PROBES; probe++) {
    PirlProbeResult a, b;

    if (!pirl_probe_available (probe, NULL))
      continue;
    pirl_probe_run (probe, &config, &all.set, &test.set, &a, &error);
    g_assert_no_error (error);
    pirl_probe_run (probe, &config, &some.set, &test.set, &b, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (b.n_train, ==, 60);
    g_assert_cmpfloat (a.top1.value, ==, b.top1.value);
    g_assert_cmpfloat (a.balanced.low, ==, b.balanced.low);
    pirl_probe_result_clear (&a);
    pirl_probe_result_clear (&b);
  }
  cloud_clear (&all);
  cloud_clear (&some);
  cloud_clear (&test);
}

/* ---- errors --------------------------------------------------------------------------------- */

static void
expect_error (PirlProbe probe, const PirlProbeConfig *config, const PirlProbeSet *train,
    const PirlProbeSet *test, gint code, const gchar *text)
{
  g_autoptr (GError) error = NULL;
  PirlProbeResult result;

  g_assert_false (pirl_probe_run (probe, config, train, test, &result, &error));
  g_assert_error (error, PIRL_ERROR, code);
  if (!strstr (error->message, text))
    g_error ("\"%s\" does not say \"%s\"", error->message, text);
}

static void
test_errors (void)
{
  const PirlProbeConfig good = config_for (3);
  PirlProbeConfig config = good;
  PirlProbeSet set;
  PirlProbe probe;
  g_autoptr (GError) error = NULL;
  Cloud cloud;

  cloud_init (&cloud, 6, 30, 3, 4, 1, 1);
  set = cloud.set;
  g_assert_false (pirl_probe_from_name ("liner", &probe, &error));
  g_assert_nonnull (strstr (error->message, "linear, knn and svm"));
  config.classes = 2;
  expect_error (PIRL_PROBE_KNN, &config, &set, &set, PIRL_ERROR_INVALID, "label 2; there are 2");
  config = good;
  config.learning_rate = 0;
  expect_error (PIRL_PROBE_LINEAR, &config, &set, &set, PIRL_ERROR_INVALID, "learning rate 0");
  config = good;
  config.learning_rate = 1e30;
  expect_error (PIRL_PROBE_LINEAR, &config, &set, &set, PIRL_ERROR_NOT_FINITE, "too high");
  set.positions = 3;
  expect_error (PIRL_PROBE_KNN, &good, &set, &set, PIRL_ERROR_INVALID, "multiple");
  set = cloud.set;
  set.dim = 2;
  expect_error (PIRL_PROBE_KNN, &good, &cloud.set, &set, PIRL_ERROR_INVALID, "same layer");
  set = cloud.set;
  set.n = 0;
  expect_error (PIRL_PROBE_KNN, &good, &cloud.set, &set, PIRL_ERROR_INVALID, "0 test");
  expect_error (PIRL_PROBE_KNN, &good, &set, &cloud.set, PIRL_ERROR_INVALID, "no training");
  cloud.features[5] = INFINITY;
  expect_error (PIRL_PROBE_KNN, &good, &cloud.set, &cloud.set, PIRL_ERROR_NOT_FINITE,
      "sample 1 has a feature (number 1)");
  cloud.features[5] = 0;
  for (guint i = 0; i < 30; i++)
    cloud.labels[i] = 1;
  expect_error (PIRL_PROBE_LINEAR, &good, &cloud.set, &cloud.set, PIRL_ERROR_INVALID,
      "the same label");
  cloud_clear (&cloud);
}

static gboolean
stop_at_second (gdouble done, gpointer calls)
{
  g_assert_cmpfloat (done, >=, 0);
  g_assert_cmpfloat (done, <=, 1);
  return ++*(guint *) calls < 2;
}

/* Whatever says so, the probe ends with G_IO_ERROR_CANCELLED, after the step under way. */
static void
test_cancel (void)
{
  Cloud cloud;

  cloud_init (&cloud, 7, 300, 3, 6, 1, 1);
  for (guint i = 0; i < 2 * PIRL_N_PROBES; i++) {
    PirlProbeConfig config = config_for (3);
    const gint set = 1;
    guint calls = 0;
    g_autoptr (GError) error = NULL;
    PirlProbeResult result;

    if (!pirl_probe_available (i / 2, NULL))
      continue;
    config.user_data = &calls;
    if (i % 2)
      config.cancel = &set;
    else
      config.progress = stop_at_second;
    g_assert_false (pirl_probe_run (i / 2, &config, &cloud.set, &cloud.set, &result, &error));
    g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    if (i % 2 == 0)
      g_assert_cmpuint (calls, ==, 2);
  }
  cloud_clear (&cloud);
}

/* ---- subsets -------------------------------------------------------------------------------- */

static void
test_subset (void)
{
  gint labels[1000];
  gboolean tenth[1000], more[1000], other[1000];
  guint count[4] = { 0 }, differ = 0;

  for (guint i = 0; i < 1000; i++)
    labels[i] = i < 600 ? 0 : i < 900 ? 1 : i < 903 ? 2 : i < 990 ? 3 : -1;
  g_assert_cmpuint (pirl_probe_subset (labels, 1000, .1, 5, tenth), ==, 60 + 30 + 1 + 9);
  pirl_probe_subset (labels, 1000, .3, 5, more);
  pirl_probe_subset (labels, 1000, .1, 6, other);
  for (guint i = 0; i < 1000; i++) {
    g_assert_true (!tenth[i] || (more[i] && labels[i] >= 0));
    if (tenth[i])
      count[labels[i]]++;
    differ += tenth[i] != other[i];
  }
  g_assert_cmpuint (count[0], ==, 60);
  g_assert_cmpuint (count[1], ==, 30);
  g_assert_cmpuint (count[2], ==, 1);
  g_assert_cmpuint (count[3], ==, 9);
  g_assert_cmpuint (differ, >, 50);
}

/* ---- files of features ---------------------------------------------------------------------- */

static PirlProbeStore *
fill_store (const gchar *path, guint targets)
{
  const PirlProbeLayer layers[2] = { {(gchar *) "res4", 6, 2}, {(gchar *) "res5", 2, 1} };
  const PirlProbeStoreInfo info = { 3, (gchar *) "key", (gchar *) "model", (gchar *) "a\nb\nc" };
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlProbeStore) store = pirl_probe_store_new (path, layers, 2, targets, &error);

  g_assert_no_error (error);
  for (gint i = 0; i < 5; i++) {
    const gfloat first[6] = { i, i + 1, i + 2, i + 3, i + 4, i + 5 }, second[2] = { -i, i };
    const gfloat *const rows[2] = { first, second };
    const gint8 target[3] = { i == 0, -1, i & 1 };

    g_assert_true (pirl_probe_store_add (store, i < 3 ? PIRL_SPLIT_TRAIN : PIRL_SPLIT_TEST, rows,
            i % 3, targets ? target : NULL, &error));
  }
  pirl_probe_store_finish (store, &info, NULL, &error);
  g_assert_no_error (error);
  return g_steal_pointer (&store);
}

static void
check_store (const PirlProbeStore *store, guint targets)
{
  PirlProbeSet set;

  g_assert_cmpuint (pirl_probe_store_layers (store), ==, 2);
  g_assert_cmpstr (pirl_probe_store_layer (store, 1)->name, ==, "res5");
  g_assert_cmpstr (pirl_probe_store_info (store)->key, ==, "key");
  g_assert_cmpuint (pirl_probe_store_info (store)->classes, ==, 3);
  pirl_probe_store_set (store, 0, PIRL_SPLIT_TRAIN, &set);
  g_assert_cmpuint (set.n, ==, 3);
  g_assert_cmpuint (set.dim, ==, 6);
  g_assert_cmpuint (set.positions, ==, 2);
  g_assert_cmpfloat (set.features[2 * 6 + 5], ==, 7);
  pirl_probe_store_set (store, 1, PIRL_SPLIT_TEST, &set);
  g_assert_cmpuint (set.n, ==, 2);
  g_assert_cmpfloat (set.features[3], ==, 4);
  if (targets) {
    g_assert_null (set.labels);
    g_assert_cmpint (set.targets[0], ==, 0);
    g_assert_cmpint (set.targets[1], ==, -1);
    g_assert_cmpint (set.targets[2], ==, 1);
  } else {
    g_assert_cmpint (set.labels[0], ==, 0);
    g_assert_cmpint (set.labels[1], ==, 1);
  }
}

static void
test_store (void)
{
  g_autofree gchar *folder = g_dir_make_tmp ("learn-probe-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "features", NULL);
  g_autoptr (GError) error = NULL;

  for (guint targets = 0; targets <= 3; targets += 3) {
    g_autoptr (PirlProbeStore) nameless = fill_store (NULL, targets);
    g_autoptr (PirlProbeStore) named = fill_store (path, targets);
    g_autoptr (PirlProbeStore) opened = pirl_probe_store_open (path, &error);

    g_assert_no_error (error);
    check_store (nameless, targets);
    check_store (named, targets);
    check_store (opened, targets);
  }
  g_assert_cmpint (g_unlink (path), ==, 0);
  /* Nothing else was left in the folder. */
  g_assert_cmpint (g_rmdir (folder), ==, 0);
}

static void
test_store_errors (void)
{
  g_autofree gchar *folder = g_dir_make_tmp ("learn-probe-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "features", NULL);
  const PirlProbeLayer layer = { (gchar *) "x", 1, 1 };
  const PirlProbeStoreInfo info = { 1, NULL, NULL, NULL };
  const gint cancel = 1;
  g_autoptr (GError) error = NULL;
  PirlProbeStore *store;

  g_assert_null (pirl_probe_store_new ("/nowhere/at/all", &layer, 1, 0, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_clear_error (&error);
  g_assert_null (pirl_probe_store_open (path, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_clear_error (&error);
  store = pirl_probe_store_new (path, &layer, 1, 0, &error);
  g_assert_no_error (error);
  {
    const gfloat value = 1;
    const gfloat *const row = &value;

    pirl_probe_store_add (store, PIRL_SPLIT_TRAIN, &row, 0, NULL, &error);
    g_assert_no_error (error);
  }
  g_assert_false (pirl_probe_store_finish (store, &info, &cancel, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
  pirl_probe_store_free (store);
  g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
  g_assert_cmpint (g_rmdir (folder), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/probe/rank", test_rank);
  g_test_add_func ("/probe/average-precision", test_precision);
  g_test_add_func ("/probe/imbalance", test_imbalance);
  g_test_add_func ("/probe/several-labels", test_several_labels);
  g_test_add_data_func ("/probe/linear", GUINT_TO_POINTER (PIRL_PROBE_LINEAR | 1 << 4),
      test_learns);
  g_test_add_data_func ("/probe/linear-map", GUINT_TO_POINTER (PIRL_PROBE_LINEAR | 4 << 4),
      test_learns);
  g_test_add_data_func ("/probe/exact", GUINT_TO_POINTER (PIRL_PROBE_LINEAR | 1 << 4 | 1 << 8),
      test_learns);
  g_test_add_data_func ("/probe/exact-map", GUINT_TO_POINTER (PIRL_PROBE_LINEAR | 4 << 4 | 1 << 8),
      test_learns);
  g_test_add_data_func ("/probe/knn", GUINT_TO_POINTER (PIRL_PROBE_KNN | 1 << 4), test_learns);
  g_test_add_data_func ("/probe/svm", GUINT_TO_POINTER (PIRL_PROBE_SVM | 1 << 4), test_learns);
  g_test_add_func ("/probe/optimum", test_optimum);
  g_test_add_func ("/probe/rare-classes", test_rare_classes);
  g_test_add_func ("/probe/unlabelled", test_unlabelled);
  g_test_add_func ("/probe/errors", test_errors);
  g_test_add_func ("/probe/cancel", test_cancel);
  g_test_add_func ("/probe/subset", test_subset);
  g_test_add_func ("/probe/store", test_store);
  g_test_add_func ("/probe/store-errors", test_store_errors);
  return g_test_run ();
}
