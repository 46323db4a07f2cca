/* gst-pirl: the linear probe (see probe.h).
 *
 * One network for both solvers, on any device: rows -> [batch norm of each channel over its places]
 * -> linear. Rows are gathered from the set, which may be a mapped file, so that a batch is all
 * that is in memory of it. SGD's optimiser and, for single labels, its loss run on the device; the
 * loss of several labels and that of EXACT are computed on the host from the logits.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/probe-private.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "learn/lbfgs.h"
#include "net/plan.h"

#define EVALUATION_BATCH 256
/* Of the gradient of the mean loss: scikit-learn's is 1e-4. */
#define EXACT_TOLERANCE 1e-5

typedef struct {
  const PirlProbeConfig *config;
  guint dim, positions, channels, batch;
  PirlDevice *device;
  PirlGraph *graph;
  PirlParams *params;
  PirlPool *pool;
  PirlPlan *train, *infer;
  PirlValue logits;
  gfloat *mean, *scale;         /* [channels] EXACT: of the features; NULL: as they are */
  gfloat *rows;                 /* [batch][dim] */
  gfloat *output;               /* [batch][classes] logits, then their gradient */
  gint *labels;                 /* [batch] */
} Network;

/* ---- the network ---------------------------------------------------------------------------- */

static void
network_clear (Network *network)
{
  g_clear_pointer (&network->infer, pirl_plan_free);
  g_clear_pointer (&network->train, pirl_plan_free);
  g_clear_pointer (&network->pool, pirl_pool_free);
  g_clear_pointer (&network->params, pirl_params_free);
  g_clear_pointer (&network->graph, pirl_graph_free);
  g_clear_pointer (&network->device, pirl_device_close);
  g_free (network->mean);
  g_free (network->scale);
  g_free (network->rows);
  g_free (network->output);
  g_free (network->labels);
}

static void
network_build (Network *network, gboolean batch_norm)
{
  PirlGraph *graph = network->graph = pirl_graph_new ();
  PirlValue x = pirl_graph_vectors (graph, (gint) (network->batch * network->positions),
      (gint) network->channels);

  if (batch_norm)
    x = pirl_graph_batchnorm (graph, x, "bn", PIRL_ACT_NONE);
  if (network->positions > 1)
    x = pirl_graph_group (graph, x, (gint) network->positions);
  network->logits = pirl_graph_linear (graph, x, "fc", (gint) network->config->classes,
      PIRL_ACT_NONE);
}

static PirlPlan *
network_plan (Network *network, PirlMode mode, GError **error)
{
  return pirl_plan_new (network->graph, network->params, network->pool, mode, PIRL_DTYPE_F32,
      &network->logits, 1, error);
}

static gboolean
network_init (Network *network, const PirlProbeConfig *config, const PirlProbeSet *set,
    guint batch, gboolean batch_norm, GError **error)
{
  *network = (Network) { .config = config, .dim = set->dim, .positions = set->positions,
    .channels = set->dim / set->positions, .batch = batch };
  network->device = pirl_device_open (config->device ? config->device : "auto", config->n_threads,
      TRUE, error);
  if (!network->device)
    return FALSE;
  network_build (network, batch_norm);
  network->rows = g_new (gfloat, (gsize) batch * set->dim);
  network->output = g_new (gfloat, (gsize) batch * config->classes);
  network->labels = g_new (gint, batch);
  network->params = pirl_params_new (network->device, &network->graph, 1, TRUE, error);
  if (!network->params || !pirl_params_init (network->params, config->seed, error))
    return FALSE;
  network->pool = pirl_pool_new (network->device);
  network->train = network_plan (network, PIRL_MODE_TRAIN, error);
  return network->train != NULL;
}

/* ---- rows ----------------------------------------------------------------------------------- */

static void
standardise (const Network *network, gfloat *row)
{
  for (guint p = 0; p < network->positions; p++, row += network->channels)
    for (guint c = 0; c < network->channels; c++)
      row[c] = (row[c] - network->mean[c]) * network->scale[c];
}

/* Brings @n rows of @set together; the places of the batch behind them become zero. */
static void
gather (Network *network, const PirlProbeSet *set, const guint32 *rows, guint n)
{
  for (guint i = 0; i < n; i++) {
    gfloat *row = network->rows + (gsize) i * network->dim;

    memcpy (row, pirl_probe_row (set, rows[i]), network->dim * sizeof *row);
    if (network->mean)
      standardise (network, row);
  }
  memset (network->rows + (gsize) n * network->dim, 0,
      (gsize) (network->batch - n) * network->dim * sizeof *network->rows);
}

/* ---- losses on the host --------------------------------------------------------------------- */

/* Softmax cross-entropy of one row; the logits become @factor times the gradient. */
static gdouble
softmax_loss (gfloat *z, guint classes, guint label, gdouble factor)
{
  gfloat most = z[0];
  gdouble sum = 0, loss;

  for (guint c = 1; c < classes; c++)
    most = MAX (most, z[c]);
  for (guint c = 0; c < classes; c++)
    sum += exp ((gdouble) z[c] - most);
  loss = log (sum) + most - z[label];
  for (guint c = 0; c < classes; c++)
    z[c] = (gfloat) (factor * (exp ((gdouble) z[c] - most) / sum - (c == label)));
  return loss;
}

/* The logistic losses of one row's classes; likewise. */
static gdouble
logistic_loss (gfloat *z, guint classes, const PirlProbeSet *set, gsize row, gdouble factor)
{
  gdouble loss = 0;

  for (guint c = 0; c < classes; c++) {
    const gboolean shows = pirl_probe_target (set, classes, row, c) > 0;
    const gdouble x = z[c];

    /* log (1 + e^x) - x y, with the exponential of what is not positive. */
    loss += MAX (x, 0) - x * shows + log1p (exp (-fabs (x)));
    z[c] = (gfloat) (factor * (1 / (1 + exp (-x)) - shows));
  }
  return loss;
}

/* Forward with @n rows, loss, gradient of @factor times their sum, backward. */
static gboolean
pass_on_host (Network *network, const PirlProbeSet *set, const guint32 *rows, guint n,
    gdouble factor, gdouble *loss, GError **error)
{
  const guint classes = network->config->classes;
  const gsize all = (gsize) network->batch * classes;

  gather (network, set, rows, n);
  if (!pirl_plan_forward_floats (network->train, network->rows, TRUE, NULL, error)
      || !pirl_plan_read (network->train, network->logits, network->output, error))
    return FALSE;
  for (guint i = 0; i < n; i++) {
    gfloat *z = network->output + (gsize) i * classes;

    *loss += set->labels ? softmax_loss (z, classes, (guint) set->labels[rows[i]], factor)
        : logistic_loss (z, classes, set, rows[i], factor);
  }
  memset (network->output + (gsize) n * classes, 0,
      (all - (gsize) n * classes) * sizeof *network->output);
  return network->device->backend->upload (network->device,
      pirl_plan_gradient (network->train, network->logits), network->output,
      all * sizeof *network->output, error)
      && pirl_plan_backward (network->train, NULL, error);
}

/* The same of a whole batch of single labels, on the device: mean loss. */
static gboolean
pass_on_device (Network *network, const PirlProbeSet *set, const guint32 *rows, gdouble *loss,
    GError **error)
{
  PirlEntropyStats stats;

  gather (network, set, rows, network->batch);
  for (guint i = 0; i < network->batch; i++)
    network->labels[i] = set->labels[rows[i]];
  if (!pirl_plan_forward_floats (network->train, network->rows, TRUE, NULL, error)
      || !network->device->backend->cross_entropy (network->device, network->batch,
          network->config->classes, pirl_plan_data (network->train, network->logits),
          network->labels, pirl_plan_gradient (network->train, network->logits), &stats, error)
      || !pirl_plan_backward (network->train, NULL, error))
    return FALSE;
  *loss += stats.loss;
  return TRUE;
}

/* ---- judging -------------------------------------------------------------------------------- */

static gboolean
score_rows (Network *network, const PirlProbeSet *test, PirlScores *scores, GError **error)
{
  g_autofree guint32 *rows = NULL;
  gsize n;

  network->infer = network_plan (network, PIRL_MODE_INFER, error);
  if (!network->infer || !pirl_plan_prepare (network->infer, error))
    return FALSE;
  rows = pirl_probe_rows (test, &n);
  for (gsize first = 0; first < n; first += network->batch) {
    const guint m = (guint) MIN (network->batch, n - first);

    if (!pirl_probe_step (network->config, 1, error))
      return FALSE;
    gather (network, test, rows + first, m);
    if (!pirl_plan_forward_floats (network->infer, network->rows, FALSE, NULL, error)
        || !pirl_plan_read (network->infer, network->logits, network->output, error))
      return FALSE;
    for (guint i = 0; i < m; i++)
      pirl_scores_set (scores, rows[first + i],
          network->output + (gsize) i * network->config->classes);
  }
  return TRUE;
}

/* ---- the protocol --------------------------------------------------------------------------- */

static gdouble
rate_of_epoch (const PirlProbeConfig *config, guint epoch)
{
  gdouble rate = config->learning_rate;

  for (guint i = 0; i < PIRL_PROBE_MAX_STEPS && config->milestones[i]; i++)
    if (epoch >= config->milestones[i])
      rate *= config->rate_factor;
  return rate;
}

static gboolean
sgd_step (Network *network, const PirlProbeSet *set, const guint32 *rows, gdouble rate,
    gdouble *loss, GError **error)
{
  const PirlProbeConfig *config = network->config;
  gdouble sum = 0;

  if (!pirl_params_zero_gradients (network->params, error))
    return FALSE;
  if (set->labels ? !pass_on_device (network, set, rows, &sum, error)
      : !pass_on_host (network, set, rows, network->batch, 1.0 / network->batch, &sum, error))
    return FALSE;
  *loss += set->labels ? sum : sum / network->batch;
  return pirl_params_sgd (network->params, rate, config->momentum, config->weight_decay, TRUE,
      error);
}

/* One epoch over @n rows, in an order of its own; @loss: their mean. */
static gboolean
sgd_epoch (Network *network, const PirlProbeSet *set, const guint32 *rows, guint n, guint epoch,
    gdouble *loss, GError **error)
{
  const PirlProbeConfig *config = network->config;
  const guint steps = n / network->batch;
  g_autofree guint32 *order = g_new (guint32, n);
  PirlRng rng;

  pirl_rng_init (&rng, config->seed, epoch, 0, PIRL_PURPOSE_PROBE_ORDER);
  pirl_rng_permutation (&rng, order, n);
  for (guint i = 0; i < n; i++)
    order[i] = rows[order[i]];
  *loss = 0;
  for (guint i = 0; i < steps; i++) {
    if (!sgd_step (network, set, order + (gsize) i * network->batch,
            rate_of_epoch (config, epoch), loss, error)
        || !pirl_probe_step (config, (epoch + (i + 1.0) / steps) / config->epochs, error))
      return FALSE;
  }
  *loss /= steps;
  if (isfinite (*loss))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE, "the linear probe's loss left the finite "
      "numbers in epoch %u; is the learning rate, %g, too high?", epoch, config->learning_rate);
  return FALSE;
}

static gboolean
train_by_protocol (Network *network, const PirlProbeSet *train, PirlProbeResult *result,
    GError **error)
{
  g_autofree guint32 *rows = NULL;
  gsize n;

  rows = pirl_probe_rows (train, &n);
  for (guint epoch = 0; epoch < network->config->epochs; epoch++)
    if (!sgd_epoch (network, train, rows, (guint) n, epoch, &result->loss, error))
      return FALSE;
  return TRUE;
}

/* ---- the optimum ---------------------------------------------------------------------------- */

typedef struct {
  Network *network;
  const PirlProbeSet *set;
  guint32 *rows;
  gsize n;
  gint weight, bias;            /* parameters */
  gsize n_weights;
  gfloat *values;               /* of all parameters */
  guint evaluations;
} Exact;

/* Mean and deviation of each channel. */
static void
measure (Network *network, const Exact *exact)
{
  const guint channels = network->channels;
  const gdouble n = (gdouble) exact->n * network->positions;
  g_autofree gdouble *sum = g_new0 (gdouble, channels);
  g_autofree gdouble *squares = g_new0 (gdouble, channels);

  network->mean = g_new (gfloat, channels);
  network->scale = g_new (gfloat, channels);
  for (gsize i = 0; i < exact->n; i++)
    for (guint d = 0; d < network->dim; d++)
      sum[d % channels] += pirl_probe_row (exact->set, exact->rows[i])[d];
  for (guint c = 0; c < channels; c++)
    sum[c] /= n;
  for (gsize i = 0; i < exact->n; i++)
    for (guint d = 0; d < network->dim; d++) {
      const gdouble x = pirl_probe_row (exact->set, exact->rows[i])[d] - sum[d % channels];

      squares[d % channels] += x * x;
    }
  for (guint c = 0; c < channels; c++) {
    const gdouble deviation = sqrt (squares[c] / n);

    network->mean[c] = (gfloat) sum[c];
    network->scale[c] = (gfloat) (deviation > 1e-12 ? 1 / deviation : 1);
  }
}

/* Parameters of the network from and to one row of doubles: weights, then biases. */
static gboolean
exact_write (Exact *exact, const gdouble *x, GError **error)
{
  PirlParams *params = exact->network->params;
  const gsize n = exact->n_weights + exact->network->config->classes;

  for (gsize i = 0; i < n; i++)
    exact->values[i] = (gfloat) x[i];
  return pirl_params_write (params, PIRL_ARENA_VALUE, (guint) exact->weight, exact->values, error)
      && pirl_params_write (params, PIRL_ARENA_VALUE, (guint) exact->bias,
      exact->values + exact->n_weights, error);
}

static gboolean
exact_read_gradient (Exact *exact, gdouble *gradient, GError **error)
{
  PirlParams *params = exact->network->params;
  const gsize n = exact->n_weights + exact->network->config->classes;

  if (!pirl_params_read (params, PIRL_ARENA_GRADIENT, (guint) exact->weight, exact->values, error)
      || !pirl_params_read (params, PIRL_ARENA_GRADIENT, (guint) exact->bias,
          exact->values + exact->n_weights, error))
    return FALSE;
  for (gsize i = 0; i < n; i++)
    gradient[i] = exact->values[i];
  return TRUE;
}

static gboolean
exact_function (const gdouble *x, gdouble *value, gdouble *gradient, gpointer user_data,
    GError **error)
{
  Exact *exact = user_data;
  Network *network = exact->network;
  const PirlProbeConfig *config = network->config;
  /* The two columns of two classes, w and -w, are scikit-learn's one, 2 w, whose square is twice
   * that of both. */
  const gdouble columns = exact->set->labels && config->classes == 2 ? 2 : 1;
  const gdouble penalty = columns / (config->c * (gdouble) exact->n);
  gdouble loss = 0;

  if (!pirl_probe_step (config, MIN (1, (gdouble) exact->evaluations++ / config->max_iterations),
          error)
      || !exact_write (exact, x, error) || !pirl_params_zero_gradients (network->params, error))
    return FALSE;
  for (gsize first = 0; first < exact->n; first += network->batch)
    if (!pass_on_host (network, exact->set, exact->rows + first,
            (guint) MIN (network->batch, exact->n - first), 1.0 / (gdouble) exact->n, &loss, error))
      return FALSE;
  if (!exact_read_gradient (exact, gradient, error))
    return FALSE;
  *value = loss / (gdouble) exact->n;
  for (gsize i = 0; i < exact->n_weights; i++) {
    *value += penalty / 2 * x[i] * x[i];
    gradient[i] += penalty * x[i];
  }
  return TRUE;
}

static gboolean
train_to_optimum (Network *network, const PirlProbeSet *train, PirlProbeResult *result,
    GError **error)
{
  Exact exact = { .network = network, .set = train };
  const guint classes = network->config->classes;
  g_autofree gdouble *x = NULL;
  gboolean ok;

  exact.rows = pirl_probe_rows (train, &exact.n);
  exact.weight = pirl_params_find (network->params, "fc.weight");
  exact.bias = pirl_params_find (network->params, "fc.bias");
  exact.n_weights = (gsize) classes * network->dim;
  exact.values = g_new (gfloat, exact.n_weights + classes);
  x = g_new0 (gdouble, exact.n_weights + classes);
  measure (network, &exact);
  ok = pirl_lbfgs (exact.n_weights + classes, x, exact_function, &exact,
      network->config->max_iterations, EXACT_TOLERANCE, &result->loss, error)
      && exact_write (&exact, x, error);
  g_free (exact.rows);
  g_free (exact.values);
  return ok;
}

/* --------------------------------------------------------------------------------------------- */

gboolean
pirl_probe_linear (const PirlProbeConfig *config, const PirlProbeSet *train,
    const PirlProbeSet *test, PirlScores *scores, PirlProbeResult *result, GError **error)
{
  const gboolean exact = config->solver == PIRL_PROBE_EXACT;
  const guint batch = exact ? EVALUATION_BATCH : (guint) MIN (config->batch, result->n_train);
  Network network;
  gboolean ok;

  ok = network_init (&network, config, train, batch, !exact, error)
      && (exact ? train_to_optimum (&network, train, result, error)
      : train_by_protocol (&network, train, result, error))
      && score_rows (&network, test, scores, error);
  network_clear (&network);
  return ok;
}
