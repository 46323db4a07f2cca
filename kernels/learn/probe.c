/* gst-pirl: probes of features: settings, checks, kNN, subsets (see probe.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "learn/probe-private.h"

#include <gio/gio.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "learn/knn.h"

/* Queries whose neighbours are in memory at once. */
#define KNN_QUERIES 4096

static const gchar *const probe_names[PIRL_N_PROBES] = { "linear", "knn", "svm" };

const gchar *
pirl_probe_name (PirlProbe probe)
{
  return probe_names[probe];
}

gboolean
pirl_probe_from_name (const gchar *name, PirlProbe *probe, GError **error)
{
  for (guint i = 0; i < PIRL_N_PROBES; i++)
    if (g_strcmp0 (name, probe_names[i]) == 0) {
      *probe = (PirlProbe) i;
      return TRUE;
    }
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "unknown probe \"%s\"; there are linear, knn and svm", name ? name : "");
  return FALSE;
}

gboolean
pirl_probe_available (PirlProbe probe, const gchar **reason)
{
  const gchar *missing = NULL;

#ifndef HAVE_LIBLINEAR
  if (probe == PIRL_PROBE_SVM)
    missing = "this build has no liblinear (Debian: liblinear-dev)";
#endif
  if (reason)
    *reason = missing;
  return missing == NULL;
}

void
pirl_probe_config_defaults (PirlProbeConfig *config)
{
  static const gdouble costs[] = { .01, .1, 1, 2, 5, 10, 15, 20, 50, 100, 1000 };

  *config = (PirlProbeConfig) {
    .epochs = 28, .batch = 256, .learning_rate = .01, .momentum = .9, .weight_decay = 5e-4,
    .milestones = { 8, 16, 24 }, .rate_factor = .1, .c = 1, .max_iterations = 1000,
    .k = 200, .sigma = .1,
    .costs = costs, .n_costs = G_N_ELEMENTS (costs), .folds = 3, .positive_weight = 2,
    .bootstrap = 1000, .confidence = .95, .device = "auto",
  };
}

void
pirl_probe_result_clear (PirlProbeResult *result)
{
  g_clear_pointer (&result->accuracy, g_free);
  g_clear_pointer (&result->precision, g_free);
  g_clear_pointer (&result->cost, g_free);
}

/* ---- what the probes share ------------------------------------------------------------------ */

guint32 *
pirl_probe_rows (const PirlProbeSet *set, gsize *n)
{
  guint32 *rows = g_new (guint32, MAX (set->n, 1));

  *n = 0;
  for (gsize i = 0; i < set->n; i++)
    if (!set->labels || set->labels[i] >= 0)
      rows[(*n)++] = (guint32) i;
  return rows;
}

gboolean
pirl_probe_step (const PirlProbeConfig *config, gdouble done, GError **error)
{
  if ((!config->progress || config->progress (done, config->user_data))
      && (!config->cancel || !g_atomic_int_get (config->cancel)))
    return TRUE;
  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "the probe was cancelled");
  return FALSE;
}

guint
pirl_probe_threads (const PirlProbeConfig *config)
{
  return config->n_threads ? config->n_threads : g_get_num_processors ();
}

/* ---- checks --------------------------------------------------------------------------------- */

static gboolean
invalid (GError **error, const gchar *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
invalid (GError **error, const gchar *format, ...)
{
  g_autofree gchar *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, text);
  return FALSE;
}

static gboolean
check_config (const PirlProbeConfig *config, GError **error)
{
  if (config->classes < 2)
    return invalid (error, "a probe tells classes apart and needs two or more, not %u",
        config->classes);
  if (config->epochs < 1 || config->batch < 1 || config->learning_rate <= 0
      || config->momentum < 0 || config->momentum >= 1 || config->weight_decay < 0
      || config->rate_factor <= 0 || config->c <= 0 || config->max_iterations < 1)
    return invalid (error, "linear probe: %u epochs, batch %u, learning rate %g, momentum %g, "
        "weight decay %g, C %g; needed: 1 or more epochs, batch and learning rate above 0, "
        "momentum from 0 to below 1, no negative decay, C above 0", config->epochs, config->batch,
        config->learning_rate, config->momentum, config->weight_decay, config->c);
  if (config->k < 1 || config->sigma <= 0)
    return invalid (error, "knn probe: k %u and sigma %g; both must be above 0", config->k,
        config->sigma);
  if (config->n_costs < 1 || config->folds < 2 || config->positive_weight <= 0)
    return invalid (error, "svm probe: %u costs, %u folds, positive weight %g; needed: a cost, two "
        "folds, a weight above 0", config->n_costs, config->folds, config->positive_weight);
  for (guint i = 0; i < config->n_costs; i++)
    if (!(config->costs[i] > 0))
      return invalid (error, "svm probe: a cost of %g; it must be above 0", config->costs[i]);
  if (config->confidence <= 0 || config->confidence >= 1)
    return invalid (error, "a confidence of %g; it must be between 0 and 1", config->confidence);
  return TRUE;
}

static gboolean
check_finite (const PirlProbeSet *set, const gchar *name, GError **error)
{
  for (gsize i = 0; i < set->n; i++) {
    const gfloat *row = pirl_probe_row (set, i);

    for (guint d = 0; d < set->dim; d++)
      if (!isfinite (row[d])) {
        g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE, "%s sample %" G_GSIZE_FORMAT
            " has a feature (number %u) that is not finite; are the network's weights damaged?",
            name, i, d);
        return FALSE;
      }
  }
  return TRUE;
}

/* Shapes, and labels that are classes. */
static gboolean
check_set (const PirlProbeSet *set, const gchar *name, guint classes, GError **error)
{
  if (set->dim < 1 || set->positions < 1 || set->dim % set->positions)
    return invalid (error, "%s features of %u numbers at %u positions; the numbers must be a "
        "multiple of the positions", name, set->dim, set->positions);
  if (set->n >= G_MAXINT32)
    return invalid (error, "%" G_GSIZE_FORMAT " %s samples; a probe takes fewer than 2^31",
        set->n, name);
  if (!set->labels && !set->targets)
    return invalid (error, "the %s samples have no labels", name);
  for (gsize i = 0; set->labels && i < set->n; i++)
    if (set->labels[i] >= (gint) classes)
      return invalid (error, "%s sample %" G_GSIZE_FORMAT " has the label %d; there are %u "
          "classes, 0 to %u", name, i, set->labels[i], classes, classes - 1);
  return check_finite (set, name, error);
}

/* A classifier needs two classes to tell apart. */
static gboolean
check_classes (const PirlProbeSet *train, guint classes, GError **error)
{
  gint first = -1;

  if (!train->labels)
    return TRUE;
  for (gsize i = 0; i < train->n; i++) {
    if (train->labels[i] < 0)
      continue;
    if (first < 0)
      first = train->labels[i];
    else if (train->labels[i] != first)
      return TRUE;
  }
  return invalid (error, first < 0 ? "no training sample has a label"
      : "all training samples have the same label; a probe needs two classes or more");
}

static gboolean
check (const PirlProbeConfig *config, const PirlProbeSet *train, const PirlProbeSet *test,
    GError **error)
{
  if (!check_config (config, error) || !check_set (train, "training", config->classes, error)
      || !check_set (test, "test", config->classes, error)
      || !check_classes (train, config->classes, error))
    return FALSE;
  if (train->dim != test->dim || train->positions != test->positions)
    return invalid (error, "training features have %u numbers at %u positions, test features %u at "
        "%u; they must be of the same layer", train->dim, train->positions, test->dim,
        test->positions);
  if ((train->labels == NULL) != (test->labels == NULL))
    return invalid (error, "one of the two sets has one label a sample, the other several");
  return TRUE;
}

/* ---- kNN ------------------------------------------------------------------------------------ */

/* Votes of @k neighbours; factors that all have in common keep small sigmas within range. */
static void
vote (const PirlProbeConfig *config, const PirlProbeSet *train, const gsize *index,
    const gfloat *similarity, gfloat *score)
{
  memset (score, 0, config->classes * sizeof *score);
  for (guint i = 0; i < config->k && index[i] != G_MAXSIZE; i++) {
    const gfloat weight = (gfloat) exp ((similarity[i] - similarity[0]) / config->sigma);

    if (train->labels) {
      score[train->labels[index[i]]] += weight;
      continue;
    }
    for (guint c = 0; c < config->classes; c++)
      if (train->targets[index[i] * config->classes + c] > 0)
        score[c] += weight;
  }
}

/* Of several labels a share of the votes: sums of different samples must be comparable. */
static void
share (guint classes, const gfloat *weights, gfloat *score)
{
  for (guint c = 0; c < classes; c++)
    score[c] /= *weights;
}

static gfloat
sum_of_weights (const PirlProbeConfig *config, const gsize *index, const gfloat *similarity)
{
  gdouble sum = 0;

  for (guint i = 0; i < config->k && index[i] != G_MAXSIZE; i++)
    sum += exp ((similarity[i] - similarity[0]) / config->sigma);
  return (gfloat) MAX (sum, G_MINFLOAT);
}

static gboolean
probe_knn (const PirlProbeConfig *settings, const PirlProbeSet *train, const PirlProbeSet *test,
    PirlScores *scores, GError **error)
{
  PirlProbeConfig config = *settings;
  g_autofree gfloat *score = g_new (gfloat, config.classes);
  g_autofree gfloat *similarity = NULL;
  g_autofree gsize *index = NULL;

  config.k = (guint) MIN (config.k, train->n);
  similarity = g_new (gfloat, (gsize) KNN_QUERIES * config.k);
  index = g_new (gsize, (gsize) KNN_QUERIES * config.k);
  for (gsize first = 0; first < test->n; first += KNN_QUERIES) {
    const gsize n = MIN (KNN_QUERIES, test->n - first);

    if (!pirl_probe_step (&config, (gdouble) first / (gdouble) test->n, error))
      return FALSE;
    if (!pirl_knn_search (train->features, train->labels, train->n,
            pirl_probe_row (test, first), n, test->dim, config.k, pirl_probe_threads (&config),
            config.cancel, index, similarity))
      return pirl_probe_step (&config, 0, error);
    for (gsize q = 0; q < n; q++) {
      const gsize *neighbours = index + q * config.k;
      const gfloat *similarities = similarity + q * config.k;
      const gfloat sum = sum_of_weights (&config, neighbours, similarities);

      vote (&config, train, neighbours, similarities, score);
      share (config.classes, &sum, score);
      pirl_scores_set (scores, first + q, score);
    }
  }
  return TRUE;
}

/* ---- running -------------------------------------------------------------------------------- */

static gboolean
run (PirlProbe probe, const PirlProbeConfig *config, const PirlProbeSet *train,
    const PirlProbeSet *test, PirlScores *scores, PirlProbeResult *result, GError **error)
{
  switch (probe) {
    case PIRL_PROBE_LINEAR:
      return pirl_probe_linear (config, train, test, scores, result, error);
    case PIRL_PROBE_KNN:
      return probe_knn (config, train, test, scores, error);
    case PIRL_PROBE_SVM:
      return pirl_probe_svm (config, train, test, scores, result, error);
    case PIRL_N_PROBES:
      break;
  }
  return invalid (error, "probe number %d does not exist", probe);
}

gboolean
pirl_probe_run (PirlProbe probe, const PirlProbeConfig *config, const PirlProbeSet *train,
    const PirlProbeSet *test, PirlProbeResult *result, GError **error)
{
  const gint64 begin = g_get_monotonic_time ();
  g_autoptr (PirlScores) scores = NULL;
  gsize n_test;

  *result = (PirlProbeResult) { .loss = NAN };
  if (!check (config, train, test, error))
    return FALSE;
  g_free (pirl_probe_rows (train, &result->n_train));
  g_free (pirl_probe_rows (test, &n_test));
  if (result->n_train == 0 || n_test == 0)
    return invalid (error, "%" G_GSIZE_FORMAT " training and %" G_GSIZE_FORMAT " test samples "
        "have labels; a probe needs some of both", result->n_train, n_test);
  scores = pirl_scores_new (test, config->classes, probe == PIRL_PROBE_SVM);
  if (!run (probe, config, train, test, scores, result, error)) {
    pirl_probe_result_clear (result);
    return FALSE;
  }
  pirl_scores_judge (scores, config, result);
  if (!pirl_probe_step (config, 1, error)) {
    pirl_probe_result_clear (result);
    return FALSE;
  }
  result->seconds = (gdouble) (g_get_monotonic_time () - begin) / G_USEC_PER_SEC;
  return TRUE;
}

/* ---- subsets -------------------------------------------------------------------------------- */

/* Keeps the first ones of an order of @rows that depends on seed and class only. */
static gsize
keep_of_class (const GArray *rows, guint class, gdouble fraction, guint64 seed, gboolean *keep)
{
  const guint n = rows->len;
  const guint wanted = CLAMP ((guint) floor (fraction * n + .5), 1, n);
  g_autofree guint32 *order = g_new (guint32, n);
  PirlRng rng;

  pirl_rng_init (&rng, seed, 0, class, PIRL_PURPOSE_PROBE_SUBSET);
  pirl_rng_permutation (&rng, order, n);
  for (guint i = 0; i < wanted; i++)
    keep[g_array_index (rows, gsize, order[i])] = TRUE;
  return wanted;
}

gsize
pirl_probe_subset (const gint *labels, gsize n, gdouble fraction, guint64 seed, gboolean *keep)
{
  g_autoptr (GPtrArray) classes = g_ptr_array_new_with_free_func ((GDestroyNotify) g_array_unref);
  gsize kept = 0;

  memset (keep, 0, n * sizeof *keep);
  for (gsize i = 0; i < n; i++) {
    if (labels[i] < 0)
      continue;
    while (classes->len <= (guint) labels[i])
      g_ptr_array_add (classes, g_array_new (FALSE, FALSE, sizeof (gsize)));
    g_array_append_val (g_ptr_array_index (classes, labels[i]), i);
  }
  for (guint c = 0; c < classes->len; c++) {
    const GArray *rows = g_ptr_array_index (classes, c);

    if (rows->len > 0)
      kept += keep_of_class (rows, c, fraction, seed, keep);
  }
  return kept;
}
