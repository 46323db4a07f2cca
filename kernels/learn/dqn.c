/* gst-pirl: the agent of AdaCompress (He et al., MM'19), repaired.
 *
 * Q (s, .) = W4 relu (W3 relu (W2 relu (W1 s + b1) + b2) + b3) + b4, Glorot-uniform W, zero b
 * loss = mean over a batch and over all actions of (Q - t)^2 with t = Q but for the action taken,
 *        where t = r + gamma max Q'(s')
 * A learning is one batch, drawn with replacement, and @epochs steps of Adam on it.
 *
 * Repaired, against the authors' code:
 * - gamma 0. The action does not influence the next picture, so that the return of later pictures
 *   is noise that no choice can change; with .95 values near 10 had to be told apart by
 *   differences of .1.
 * - targets are computed when they are used. Computed once, when stored, they mix what the network
 *   thought at that time with the action that was taken at that time.
 * - a target network (for gamma > 0), copied every @target_every learnings: without one the
 *   targets chase the values.
 * - a restart begins epsilon anew. The published counter never went back, so that the second and
 *   later retrainings did not explore.
 * Learning uses the network room; choosing uses a copy of the weights and plain sums, so that it
 * waits for nothing: 85,312 multiplications for 1280 features.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/dqn-private.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

#define BETA1 0.9
#define BETA2 0.999
#define ADAM_EPSILON 1e-7

static const guint hidden[PIRL_DQN_LAYERS - 1] = { 64, 32, 32 };

static const gchar *const layer_names[PIRL_DQN_LAYERS] = { "q.0", "q.1", "q.2", "q.3" };

void
pirl_dqn_config_defaults (PirlDqnConfig *config)
{
  *config = (PirlDqnConfig) {.features = 1280,.actions = 10,.learning_rate = 0.002,.gamma = 0,
    .epsilon_decay = 0.99,.epsilon_min = 0.02,.start = 128,.learn_every = 5,.batch = 256,
    .epochs = 5,.replay = 2000,.target_every = 20
  };
}

/* --- the published network --- */

static DqnWeights *
weights_new (const PirlDqnConfig *config)
{
  gsize total = 0;
  DqnWeights *weights;
  gfloat *at;
  guint width[PIRL_DQN_LAYERS + 1] = { config->features };

  memcpy (width + 1, hidden, sizeof hidden);
  width[PIRL_DQN_LAYERS] = config->actions;
  for (guint i = 0; i < PIRL_DQN_LAYERS; i++)
    total += (gsize) width[i + 1] * (width[i] + 1);
  weights = g_malloc0 (sizeof *weights + sizeof (gfloat) * total);
  g_atomic_ref_count_init (&weights->references);
  memcpy (weights->width, width, sizeof width);
  at = weights->data;
  for (guint i = 0; i < PIRL_DQN_LAYERS; i++) {
    weights->weight[i] = at;
    weights->bias[i] = at + (gsize) width[i + 1] * width[i];
    at = weights->bias[i] + width[i + 1];
  }
  return weights;
}

static void
weights_unref (DqnWeights *weights)
{
  if (g_atomic_ref_count_dec (&weights->references))
    g_free (weights);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (DqnWeights, weights_unref)

static DqnWeights *
weights_get (PirlDqn *dqn)
{
  DqnWeights *weights;

  g_mutex_lock (&dqn->publishing);
  weights = dqn->weights;
  g_atomic_ref_count_inc (&weights->references);
  g_mutex_unlock (&dqn->publishing);
  return weights;
}

static void
run_layer (const DqnWeights *weights, guint layer, const gfloat *restrict in, gfloat *restrict out)
{
  const guint n = weights->width[layer];

  for (guint o = 0; o < weights->width[layer + 1]; o++) {
    const gfloat *row = weights->weight[layer] + (gsize) o * n;
    /* Sixteen sums side by side: a single one may not be reordered, so not be vectorised. */
    gfloat sum[16] = { 0 }, total = weights->bias[layer][o];
    guint i = 0;

    for (; i + 16 <= n; i += 16)
      for (guint j = 0; j < 16; j++)
        sum[j] += row[i + j] * in[i + j];
    for (; i < n; i++)
      total += row[i] * in[i];
    for (guint j = 0; j < 16; j++)
      total += sum[j];
    out[o] = layer + 1 < PIRL_DQN_LAYERS && total < 0 ? 0 : total;
  }
}

static void
evaluate (const DqnWeights *weights, const gfloat *state, gfloat *q)
{
  gfloat a[64], b[64];

  run_layer (weights, 0, state, a);
  run_layer (weights, 1, a, b);
  run_layer (weights, 2, b, a);
  run_layer (weights, 3, a, q);
}

static guint
argmax (const gfloat *q, guint n)
{
  guint best = 0;

  for (guint i = 1; i < n; i++)
    if (q[i] > q[best])
      best = i;
  return best;
}

void
pirl_dqn_q (PirlDqn *dqn, const gfloat *state, gfloat *q)
{
  g_autoptr (DqnWeights) weights = weights_get (dqn);

  evaluate (weights, state, q);
}

guint
pirl_dqn_choose (PirlDqn *dqn, const gfloat *state, gboolean explore)
{
  g_autofree gfloat *q = g_new (gfloat, dqn->config.actions);

  if (explore) {
    PirlRng rng;
    gdouble epsilon;

    g_mutex_lock (&dqn->publishing);
    epsilon = dqn->epsilon;
    pirl_rng_init (&rng, dqn->config.seed, 0, dqn->choices++, PIRL_PURPOSE_EXPLORE);
    g_mutex_unlock (&dqn->publishing);
    if (pirl_rng_chance (&rng, (gfloat) epsilon))
      return pirl_rng_below (&rng, dqn->config.actions);
  }
  pirl_dqn_q (dqn, state, q);
  return argmax (q, dqn->config.actions);
}

gboolean
pirl_dqn_publish (PirlDqn *dqn, gboolean trained, GError **error)
{
  g_autoptr (DqnWeights) weights = weights_new (&dqn->config);
  DqnWeights *old;

  for (guint layer = 0; layer < PIRL_DQN_LAYERS; layer++) {
    gfloat *const dst[] = { weights->weight[layer], weights->bias[layer] };
    static const gchar *const kinds[] = { "weight", "bias" };

    for (guint k = 0; k < 2; k++) {
      g_autofree gchar *name = g_strconcat (layer_names[layer], ".", kinds[k], NULL);

      if (!pirl_params_read (dqn->params, PIRL_ARENA_VALUE, pirl_params_find (dqn->params, name),
              dst[k], error))
        return FALSE;
    }
  }
  g_mutex_lock (&dqn->publishing);
  old = dqn->weights;
  dqn->weights = g_steal_pointer (&weights);
  dqn->trained |= trained;
  g_mutex_unlock (&dqn->publishing);
  if (old != NULL)
    weights_unref (old);
  return TRUE;
}

/* --- learning --- */

static void
refresh_target (PirlDqn *dqn)
{
  g_clear_pointer (&dqn->target, weights_unref);
  dqn->target = weights_get (dqn);
}

/* A batch of the replay: states one after the other, actions, targets. */
static void
draw_batch (PirlDqn *dqn, gfloat *states, guint *actions, gfloat *targets)
{
  const gsize features = dqn->config.features;
  g_autofree gfloat *q = g_new (gfloat, dqn->config.actions);
  PirlRng rng;

  pirl_rng_init (&rng, dqn->config.seed, 0, dqn->learnings, PIRL_PURPOSE_REPLAY);
  for (guint i = 0; i < dqn->config.batch; i++) {
    const guint at = pirl_rng_below (&rng, dqn->stored);

    memcpy (states + i * features, dqn->states + at * features, sizeof (gfloat) * features);
    actions[i] = dqn->actions[at];
    targets[i] = dqn->rewards[at];
    if (dqn->nexts != NULL) {
      evaluate (dqn->target, dqn->nexts + at * features, q);
      targets[i] += (gfloat) dqn->config.gamma * q[argmax (q, dqn->config.actions)];
    }
  }
}

/* One step of Adam on a batch. */
static gboolean
train_step (PirlDqn *dqn, const gfloat *states, const guint *actions, const gfloat *targets,
    GError **error)
{
  const guint n = dqn->config.actions;
  const gsize count = (gsize) dqn->config.batch * n;
  g_autofree gfloat *q = g_new (gfloat, count);
  g_autofree gfloat *gradient = g_new0 (gfloat, count);

  if (!pirl_plan_forward_floats (dqn->plan, states, TRUE, NULL, error)
      || !pirl_plan_read (dqn->plan, dqn->output, q, error))
    return FALSE;
  for (guint i = 0; i < dqn->config.batch; i++) {
    const gsize at = (gsize) i * n + actions[i];

    gradient[at] = 2 * (q[at] - targets[i]) / count;
    if (!isfinite (gradient[at])) {
      g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
          "dqn: Q left the finite numbers; is the learning rate too high?");
      return FALSE;
    }
  }
  return pirl_params_zero_gradients (dqn->params, error)
      && dqn->device->backend->upload (dqn->device, pirl_plan_gradient (dqn->plan, dqn->output),
      gradient, sizeof (gfloat) * count, error)
      && pirl_plan_backward (dqn->plan, NULL, error)
      && pirl_params_adam (dqn->params, ++dqn->adam_steps, dqn->config.learning_rate, BETA1, BETA2,
      ADAM_EPSILON, 0, error);
}

static gboolean
learn_batch (PirlDqn *dqn, GError **error)
{
  g_autofree gfloat *states = g_new (gfloat, (gsize) dqn->config.batch * dqn->config.features);
  g_autofree gfloat *targets = g_new (gfloat, dqn->config.batch);
  g_autofree guint *actions = g_new (guint, dqn->config.batch);

  if (dqn->nexts != NULL && dqn->learnings % dqn->config.target_every == 0)
    refresh_target (dqn);
  draw_batch (dqn, states, actions, targets);
  for (guint epoch = 0; epoch < dqn->config.epochs; epoch++)
    if (!train_step (dqn, states, actions, targets, error))
      return FALSE;
  dqn->learnings++;
  g_mutex_lock (&dqn->publishing);
  dqn->epsilon = MAX (dqn->epsilon * dqn->config.epsilon_decay, dqn->config.epsilon_min);
  g_mutex_unlock (&dqn->publishing);
  return pirl_dqn_publish (dqn, TRUE, error);
}

static void
store (PirlDqn *dqn, const gfloat *state, guint action, gdouble reward, const gfloat *next)
{
  const gsize features = dqn->config.features, at = dqn->cursor;

  memcpy (dqn->states + at * features, state, sizeof (gfloat) * features);
  if (dqn->nexts != NULL)
    memcpy (dqn->nexts + at * features, next, sizeof (gfloat) * features);
  dqn->actions[at] = action;
  dqn->rewards[at] = (gfloat) reward;
  dqn->cursor = (dqn->cursor + 1) % dqn->config.replay;
  dqn->stored = MAX (dqn->stored, at + 1);
  dqn->steps++;
}

static gboolean
is_finite (const gfloat *values, guint n)
{
  for (guint i = 0; i < n; i++)
    if (!isfinite (values[i]))
      return FALSE;
  return TRUE;
}

gboolean
pirl_dqn_learn (PirlDqn *dqn, const gfloat *state, guint action, gdouble reward,
    const gfloat *next, GError **error)
{
  const PirlDqnConfig *config = &dqn->config;
  gboolean good = TRUE;

  if (action >= config->actions || (dqn->nexts != NULL && next == NULL)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "dqn: action %u of %u%s", action,
        config->actions, next == NULL ? "; with gamma above 0 the next state is needed" : "");
    return FALSE;
  }
  if (!is_finite (state, config->features) || !isfinite (reward)
      || (dqn->nexts != NULL && !is_finite (next, config->features))) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
        "dqn: a state or reward (%g) that is not finite", reward);
    return FALSE;
  }
  g_mutex_lock (&dqn->learning);
  store (dqn, state, action, reward, next);
  if (dqn->steps >= config->start && dqn->steps % config->learn_every == 0)
    good = learn_batch (dqn, error);
  g_mutex_unlock (&dqn->learning);
  return good;
}

void
pirl_dqn_restart (PirlDqn *dqn)
{
  g_mutex_lock (&dqn->learning);
  dqn->stored = dqn->cursor = 0;
  dqn->steps = 0;
  g_mutex_lock (&dqn->publishing);
  dqn->epsilon = 1;
  g_mutex_unlock (&dqn->publishing);
  g_mutex_unlock (&dqn->learning);
}

/* --- what it says of itself --- */

gboolean
pirl_dqn_trained (PirlDqn *dqn)
{
  gboolean trained;

  g_mutex_lock (&dqn->publishing);
  trained = dqn->trained;
  g_mutex_unlock (&dqn->publishing);
  return trained;
}

gdouble
pirl_dqn_epsilon (PirlDqn *dqn)
{
  gdouble epsilon;

  g_mutex_lock (&dqn->publishing);
  epsilon = dqn->epsilon;
  g_mutex_unlock (&dqn->publishing);
  return epsilon;
}

guint64
pirl_dqn_steps (PirlDqn *dqn)
{
  guint64 steps;

  g_mutex_lock (&dqn->learning);
  steps = dqn->steps;
  g_mutex_unlock (&dqn->learning);
  return steps;
}

/* --- making --- */

static gboolean
check_config (const PirlDqnConfig *config, GError **error)
{
  if (config->features >= 1 && config->actions >= 2 && config->batch >= 1 && config->epochs >= 1
      && config->replay >= 1 && config->learn_every >= 1 && config->target_every >= 1
      && config->learning_rate > 0 && config->gamma >= 0 && config->gamma < 1
      && config->epsilon_decay >= 0 && config->epsilon_decay <= 1 && config->epsilon_min >= 0
      && config->epsilon_min <= 1)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "dqn: %u features, %u actions, batch %u, epochs %u, replay %u, learn-every %u, learning rate "
      "%g, gamma %g, epsilon decay %g to %g; needed: at least one of each (two actions), a learning "
      "rate above 0, gamma from 0 to below 1, epsilons from 0 to 1", config->features,
      config->actions, config->batch, config->epochs, config->replay, config->learn_every,
      config->learning_rate, config->gamma, config->epsilon_decay, config->epsilon_min);
  return FALSE;
}

/* Glorot, Bengio 2010: U (+-sqrt (6 / (in + out))); a parameter's stream is named by the CRC-32
 * of its name in pirl_params_init(), here by its number. */
static gboolean
initialise (PirlDqn *dqn, GError **error)
{
  for (guint i = 0; i < pirl_params_count (dqn->params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (dqn->params, i);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gfloat *values = g_new0 (gfloat, n);

    if (spec->slot == PIRL_SLOT_WEIGHT) {
      const gfloat limit = sqrtf (6.0f / (spec->shape.dim[0] + spec->shape.dim[1]));
      PirlRng rng;

      pirl_rng_init (&rng, dqn->config.seed, 0, i, PIRL_PURPOSE_WEIGHTS);
      for (gsize j = 0; j < n; j++)
        values[j] = pirl_rng_range (&rng, -limit, limit);
    }
    if (!pirl_params_write (dqn->params, PIRL_ARENA_VALUE, i, values, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
build (PirlDqn *dqn, GError **error)
{
  PirlValue value;

  /* One thread: the stream has the others. */
  dqn->device = pirl_device_open ("cpu", 1, TRUE, error);
  if (dqn->device == NULL)
    return FALSE;
  dqn->graph = pirl_graph_new ();
  value = pirl_graph_vectors (dqn->graph, dqn->config.batch, dqn->config.features);
  for (guint i = 0; i < PIRL_DQN_LAYERS; i++)
    value = pirl_graph_linear (dqn->graph, value, layer_names[i],
        i + 1 < PIRL_DQN_LAYERS ? hidden[i] : dqn->config.actions,
        i + 1 < PIRL_DQN_LAYERS ? PIRL_ACT_RELU : PIRL_ACT_NONE);
  dqn->output = value;
  dqn->params = pirl_params_new (dqn->device, &dqn->graph, 1, TRUE, error);
  if (dqn->params == NULL || !initialise (dqn, error))
    return FALSE;
  dqn->pool = pirl_pool_new (dqn->device);
  dqn->plan = pirl_plan_new (dqn->graph, dqn->params, dqn->pool, PIRL_MODE_TRAIN, PIRL_DTYPE_F32,
      &dqn->output, 1, error);
  return dqn->plan != NULL && pirl_plan_prepare (dqn->plan, error)
      && pirl_dqn_publish (dqn, FALSE, error);
}

PirlDqn *
pirl_dqn_new (const PirlDqnConfig *config, GError **error)
{
  g_autoptr (PirlDqn) dqn = NULL;
  gsize values;

  if (!check_config (config, error))
    return NULL;
  dqn = g_new0 (PirlDqn, 1);
  dqn->config = *config;
  dqn->epsilon = 1;
  g_mutex_init (&dqn->publishing);
  g_mutex_init (&dqn->learning);
  values = (gsize) config->replay * config->features;
  dqn->states = g_new0 (gfloat, values);
  dqn->nexts = config->gamma > 0 ? g_new0 (gfloat, values) : NULL;
  dqn->actions = g_new0 (guint32, config->replay);
  dqn->rewards = g_new0 (gfloat, config->replay);
  if (!build (dqn, error))
    return NULL;
  return g_steal_pointer (&dqn);
}

void
pirl_dqn_free (PirlDqn *dqn)
{
  if (dqn == NULL)
    return;
  g_clear_pointer (&dqn->target, weights_unref);
  g_clear_pointer (&dqn->weights, weights_unref);
  g_clear_pointer (&dqn->plan, pirl_plan_free);
  g_clear_pointer (&dqn->pool, pirl_pool_free);
  g_clear_pointer (&dqn->params, pirl_params_free);
  g_clear_pointer (&dqn->graph, pirl_graph_free);
  g_clear_pointer (&dqn->device, pirl_device_close);
  g_free (dqn->states);
  g_free (dqn->nexts);
  g_free (dqn->actions);
  g_free (dqn->rewards);
  g_mutex_clear (&dqn->publishing);
  g_mutex_clear (&dqn->learning);
  g_free (dqn);
}

gboolean
pirl_dqn_adopt (PirlDqn *dqn, PirlDqn *other, GError **error)
{
  g_autoptr (DqnWeights) weights = weights_get (other);
  const gboolean trained = pirl_dqn_trained (other);
  gboolean good = TRUE;

  g_return_val_if_fail (dqn->config.features == other->config.features
      && dqn->config.actions == other->config.actions, FALSE);
  g_mutex_lock (&dqn->learning);
  for (guint layer = 0; good && layer < PIRL_DQN_LAYERS; layer++) {
    g_autofree gchar *weight = g_strconcat (layer_names[layer], ".weight", NULL);
    g_autofree gchar *bias = g_strconcat (layer_names[layer], ".bias", NULL);

    good = pirl_params_write (dqn->params, PIRL_ARENA_VALUE,
        pirl_params_find (dqn->params, weight), weights->weight[layer], error)
        && pirl_params_write (dqn->params, PIRL_ARENA_VALUE,
        pirl_params_find (dqn->params, bias), weights->bias[layer], error);
  }
  good = good && pirl_dqn_publish (dqn, trained, error);
  g_mutex_unlock (&dqn->learning);
  return good;
}
