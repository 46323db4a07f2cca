/* gst-pirl: the SVM probe (see probe.h).
 *
 * For each class liblinear's L2-regularised, squared hinge loss SVM in its primal form, which has
 * the same optimum as the dual one of the protocol, draws no random numbers and can begin where the
 * one with the next smaller C ended. The bias is a feature that is always 1, regularised like the
 * others, as in scikit-learn's LinearSVC. Folds are those of scikit-learn's StratifiedKFold without
 * shuffling; a fold's figure is its average precision (steps).
 *
 * liblinear wants every value that is not 0 as 16 bytes. Classes run side by side and share them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "learn/probe-private.h"

#ifndef HAVE_LIBLINEAR

gboolean
pirl_probe_svm (const PirlProbeConfig *config, const PirlProbeSet *train, const PirlProbeSet *test,
    PirlScores *scores, PirlProbeResult *result, GError **error)
{
  const gchar *reason;

  pirl_probe_available (PIRL_PROBE_SVM, &reason);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "svm probe: %s", reason);
  return FALSE;
}

#else

#include <linear.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The protocol's. */
#define NORM_FLOOR 1e-5
#define TOLERANCE 1e-4

typedef struct {
  const PirlProbeConfig *config;
  const PirlProbeSet *train;
  guint dim;
  guint32 *rows;                /* of the training set */
  guint n;
  struct feature_node *nodes;   /* of all rows */
  struct feature_node **row;    /* [n] where each begins */
  gdouble *weights;             /* [classes][dim + 1] the models; the last is the bias */
  gdouble *cost;                /* [classes] theirs; NaN = none */
  gint fits;                    /* done so far, of all classes */
  gboolean failed;              /* or shall end: @error says */
  GError *error;
} Svm;

/* ---- rows ----------------------------------------------------------------------------------- */

static gdouble
inverse_length (const gfloat *row, guint dim)
{
  gdouble sum = 0;

  for (guint d = 0; d < dim; d++)
    sum += (gdouble) row[d] * row[d];
  return 1 / (sqrt (sum) + NORM_FLOOR);
}

static gsize
count_nodes (const Svm *svm)
{
  gsize nodes = 0;

  for (guint i = 0; i < svm->n; i++) {
    const gfloat *row = pirl_probe_row (svm->train, svm->rows[i]);

    for (guint d = 0; d < svm->dim; d++)
      nodes += row[d] != 0;
    nodes += 2;                 /* the bias and the end */
  }
  return nodes;
}

static gboolean
make_nodes (Svm *svm, GError **error)
{
  const gsize count = count_nodes (svm);
  struct feature_node *node;

  svm->nodes = node = g_try_new (struct feature_node, count);
  if (!node) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "svm probe: %u samples of %u features "
        "need %.1f GiB, which there are not; take fewer samples or a layer with fewer features",
        svm->n, svm->dim, (gdouble) count * sizeof *node / (1 << 30));
    return FALSE;
  }
  svm->row = g_new (struct feature_node *, svm->n);
  for (guint i = 0; i < svm->n; i++) {
    const gfloat *row = pirl_probe_row (svm->train, svm->rows[i]);
    const gdouble scale = inverse_length (row, svm->dim);

    svm->row[i] = node;
    for (guint d = 0; d < svm->dim; d++)
      if (row[d] != 0)
        *node++ = (struct feature_node) { (gint) d + 1, row[d] * scale };
    *node++ = (struct feature_node) { (gint) svm->dim + 1, 1 };
    *node++ = (struct feature_node) { -1, 0 };
  }
  return TRUE;
}

/* ---- one model ------------------------------------------------------------------------------ */

/* Fits the samples of @target (+1, -1, 0 = not this one) with @cost, from @weights on, which become
 * the model. Returns whether there are both kinds. */
static gboolean
fit (const Svm *svm, const gint8 *target, gdouble cost, gdouble *weights)
{
  gint labels[2] = { 1, -1 };
  gdouble class_weights[2] = { svm->config->positive_weight, 1 };
  g_autofree gdouble *y = g_new (gdouble, svm->n);
  g_autofree struct feature_node **x = g_new (struct feature_node *, svm->n);
  struct problem problem = { .n = (gint) svm->dim + 1, .y = y, .x = x, .bias = 1 };
  struct parameter parameter = {
    .solver_type = L2R_L2LOSS_SVC, .eps = TOLERANCE, .C = cost, .nr_weight = 2,
    .weight_label = labels, .weight = class_weights, .init_sol = weights,
  };
  struct model *model;
  guint positives = 0;

  /* liblinear's first class is the one that comes first: positives go there. */
  for (gint sign = 1; sign >= -1; sign -= 2)
    for (guint i = 0; i < svm->n; i++)
      if (target[i] == sign) {
        y[problem.l] = sign;
        x[problem.l++] = svm->row[i];
        positives += sign > 0;
      }
  if (positives == 0 || positives == (guint) problem.l)
    return FALSE;
  model = train (&problem, &parameter);
  memcpy (weights, model->w, (svm->dim + 1) * sizeof *weights);
  free_and_destroy_model (&model);
  return TRUE;
}

static gfloat
decide (const struct feature_node *x, const gdouble *weights)
{
  gdouble sum = 0;

  for (; x->index > 0; x++)
    sum += weights[x->index - 1] * x->value;
  return (gfloat) sum;
}

/* ---- choosing C ----------------------------------------------------------------------------- */

/* The fold of each sample: as many of each kind in each fold as possible, in the order of the
 * samples. As scikit-learn does it, the kinds are laid one behind the other, the first sample's
 * first, and dealt out in turn, which says how many of a kind a fold gets. */
static void
assign_folds (const gint8 *target, guint n, guint folds, guint *fold)
{
  guint n_first = 0;

  for (guint i = 0; i < n; i++)
    n_first += target[i] == target[0];
  for (guint kind = 0; kind < 2; kind++) {
    const guint begin = kind ? n_first : 0, end = kind ? n : n_first;
    guint next = 0, left = 0;

    for (guint i = 0; i < n; i++) {
      if ((target[i] != target[0]) != (gboolean) kind)
        continue;
      for (; left == 0; next++) {
        /* Places of this kind whose remainder is the fold. */
        const guint first = begin + (next + folds - begin % folds) % folds;

        left = first < end ? (end - first + folds - 1) / folds : 0;
      }
      fold[i] = next - 1;
      left--;
    }
  }
}

/* Average precision of fold @fold with a model of the others; NaN where there is none. */
static gdouble
judge_fold (const Svm *svm, const gint8 *target, const guint *folds, guint fold, gdouble cost,
    gdouble *weights)
{
  g_autofree gint8 *others = g_new (gint8, svm->n);
  g_autofree gint8 *own = g_new (gint8, svm->n);
  g_autofree gfloat *score = g_new0 (gfloat, svm->n);
  g_autofree guint *order = g_new (guint, svm->n);

  for (guint i = 0; i < svm->n; i++) {
    others[i] = folds[i] == fold ? 0 : target[i];
    own[i] = folds[i] == fold ? target[i] > 0 : -1;
  }
  if (!fit (svm, others, cost, weights))
    return NAN;
  for (guint i = 0; i < svm->n; i++)
    if (own[i] >= 0)
      score[i] = decide (svm->row[i], weights);
  pirl_score_order (score, order, svm->n);
  return pirl_average_precision (PIRL_PRECISION_STEPS, score, own, order, NULL, svm->n);
}

/* Another fit of a fold is done: looks whether to go on, one thread at a time. */
static gboolean
step (Svm *svm)
{
  const PirlProbeConfig *config = svm->config;
  const gdouble all = (gdouble) config->classes * config->folds * config->n_costs;
  gboolean ok;

#pragma omp critical (pirl_probe_svm)
  {
    svm->fits++;
    ok = svm->failed == 0 && pirl_probe_step (config, svm->fits / all, &svm->error);
    svm->failed |= !ok;
  }
  return ok;
}

/* The cost with the best mean over the folds, the first of equals, and where no fold can be judged:
 * a class with one sample has a model, too. 0 when step() says to end. */
static gdouble
choose_cost (Svm *svm, const gint8 *target)
{
  const PirlProbeConfig *config = svm->config;
  g_autofree guint *folds = g_new (guint, svm->n);
  g_autofree gdouble *sum = g_new0 (gdouble, config->n_costs);
  g_autofree guint *count = g_new0 (guint, config->n_costs);
  gdouble best = -1, chosen = config->costs[0];

  assign_folds (target, svm->n, config->folds, folds);
  for (guint fold = 0; fold < config->folds; fold++) {
    g_autofree gdouble *weights = g_new0 (gdouble, svm->dim + 1);

    for (guint i = 0; i < config->n_costs; i++) {
      gdouble precision;

      precision = judge_fold (svm, target, folds, fold, config->costs[i], weights);
      if (!step (svm))
        return 0;
      if (!isnan (precision)) {
        sum[i] += precision;
        count[i]++;
      }
    }
  }
  for (guint i = 0; i < config->n_costs; i++)
    if (count[i] && sum[i] / count[i] > best) {
      best = sum[i] / count[i];
      chosen = config->costs[i];
    }
  return chosen;
}

/* The model of @class; a class that no training sample shows, or all of them, has none. */
static void
train_class (Svm *svm, guint class)
{
  gdouble *weights = svm->weights + (gsize) class * (svm->dim + 1);
  g_autofree gint8 *target = g_new (gint8, svm->n);
  gdouble chosen;

  svm->cost[class] = NAN;
  for (guint i = 0; i < svm->n; i++)
    target[i] = pirl_probe_target (svm->train, svm->config->classes, svm->rows[i], class) > 0
        ? 1 : -1;
  chosen = choose_cost (svm, target);
  if (chosen > 0 && fit (svm, target, chosen, weights))
    svm->cost[class] = chosen;
}

/* ---- all classes ---------------------------------------------------------------------------- */

static void
score_row (const Svm *svm, const PirlProbeSet *test, gsize row, PirlScores *scores)
{
  const gfloat *x = pirl_probe_row (test, row);
  const gdouble scale = inverse_length (x, svm->dim);
  g_autofree gfloat *score = g_new (gfloat, svm->config->classes);

  for (guint c = 0; c < svm->config->classes; c++) {
    const gdouble *w = svm->weights + (gsize) c * (svm->dim + 1);
    gdouble sum = 0;

    for (guint d = 0; d < svm->dim; d++)
      sum += w[d] * x[d];
    /* Without a model it would be 0: more than most models give. */
    score[c] = isnan (svm->cost[c]) ? -INFINITY : (gfloat) (sum * scale + w[svm->dim]);
  }
  pirl_scores_set (scores, row, score);
}

static void
print_nothing (const char *text)
{
}

static gboolean
run (Svm *svm, const PirlProbeSet *test, PirlScores *scores, PirlProbeResult *result,
    GError **error)
{
  const guint classes = svm->config->classes, threads = pirl_probe_threads (svm->config);

  if (!make_nodes (svm, error))
    return FALSE;
  set_print_string_function (print_nothing);
  result->cost = svm->cost = g_new (gdouble, classes);
#pragma omp parallel for schedule (dynamic) num_threads (threads) if (threads > 1)
  for (guint c = 0; c < classes; c++)
    train_class (svm, c);
  if (svm->failed) {
    g_propagate_error (error, svm->error);
    return FALSE;
  }
#pragma omp parallel for schedule (dynamic) num_threads (threads) if (threads > 1)
  for (gsize row = 0; row < test->n; row++)
    score_row (svm, test, row, scores);
  return TRUE;
}

gboolean
pirl_probe_svm (const PirlProbeConfig *config, const PirlProbeSet *train, const PirlProbeSet *test,
    PirlScores *scores, PirlProbeResult *result, GError **error)
{
  Svm svm = {.config = config,.train = train,.dim = train->dim };
  gsize n;
  gboolean ok;

  svm.rows = pirl_probe_rows (train, &n);
  svm.n = (guint) n;
  svm.weights = g_new0 (gdouble, (gsize) config->classes * (svm.dim + 1));
  ok = run (&svm, test, scores, result, error);
  g_free (svm.rows);
  g_free (svm.nodes);
  g_free (svm.row);
  g_free (svm.weights);
  return ok;
}

#endif
