/* adacompressenc: policy=dqn: the paper's agent (kernels/learn/dqn.h).
 *
 * State: E(x). Reward: alpha A - size / reference + beta, of the chosen level only. It learns
 * while it is retrained, from every frame asked about. A retraining ends, as published, when the
 * last ten have a mean reward above r_th, a mean agreement above .8, and epsilon is below .2. The
 * published r_th is .45 at alpha 1 and beta 0, that is full agreement at .55 of the bytes; for
 * other rewards it is what full agreement at that size is worth.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include <learn/dqn.h>
#include <math.h>
#include <string.h>

#define RECENT 10
#define SETTLED_SIZE 0.55
#define SETTLED_AGREEMENT 0.8
#define SETTLED_EPSILON 0.2

typedef struct {
  AdaPolicy base;
  PirlDqnConfig config;
  PirlDqn *dqn;
  gdouble alpha, beta;
  gdouble reward[RECENT], agreement[RECENT];
  guint n;                      /* since the last restart */
} DqnPolicy;

static gboolean
dqn_trained (AdaPolicy * policy)
{
  return pirl_dqn_trained (((DqnPolicy *) policy)->dqn);
}

static guint
dqn_choose (AdaPolicy * policy, const AdaObservation * observation, gboolean explore,
    gdouble * agreement)
{
  DqnPolicy *self = (DqnPolicy *) policy;

  if (agreement != NULL)
    *agreement = NAN;
  /* While it means nothing the reference is sent; to learn it must explore all the same. */
  if (observation->features == NULL || (!explore && !dqn_trained (policy)))
    return self->config.actions - 1;
  return pirl_dqn_choose (self->dqn, observation->features, explore);
}

static gboolean
dqn_learn (AdaPolicy * policy, const AdaObservation * observation, guint level,
    const gfloat * outcome, GError ** error)
{
  DqnPolicy *self = (DqnPolicy *) policy;
  const gdouble agreement = level + 1 == self->config.actions ? 1 : outcome[level];
  const gdouble reward = self->alpha * agreement - observation->sizes[level] + self->beta;

  if (agreement < 0 || observation->features == NULL)
    return TRUE;
  self->reward[self->n % RECENT] = reward;
  self->agreement[self->n++ % RECENT] = agreement;
  /* The next frame is not this action's doing; a discount above 0 is for comparison, and then
   * takes the same scenery's next state to be this one. */
  return pirl_dqn_learn (self->dqn, observation->features, level, reward, observation->features,
      error);
}

static void
dqn_restart (AdaPolicy * policy)
{
  DqnPolicy *self = (DqnPolicy *) policy;

  pirl_dqn_restart (self->dqn);
  self->n = 0;
}

static gboolean
dqn_settled (AdaPolicy * policy)
{
  const DqnPolicy *self = (DqnPolicy *) policy;
  gdouble reward = 0, agreement = 0;

  for (guint i = 0; i < RECENT; i++) {
    reward += self->reward[i] / RECENT;
    agreement += self->agreement[i] / RECENT;
  }
  return self->n >= RECENT && reward > self->alpha - SETTLED_SIZE + self->beta
      && agreement > SETTLED_AGREEMENT && pirl_dqn_epsilon (self->dqn) < SETTLED_EPSILON;
}

static void
dqn_recall (AdaPolicy * policy, AdaPolicy * other)
{
  /* Weights of one shape into the host's own memory: cannot fail. */
  pirl_dqn_adopt (((DqnPolicy *) policy)->dqn, ((DqnPolicy *) other)->dqn, NULL);
}

static gdouble
dqn_epsilon (AdaPolicy * policy)
{
  return pirl_dqn_epsilon (((DqnPolicy *) policy)->dqn);
}

static void
dqn_save (AdaPolicy * policy, PirlSafetensorsWriter * writer, const gchar * prefix,
    GPtrArray * keep)
{
  pirl_dqn_save (((DqnPolicy *) policy)->dqn, writer, prefix, keep);
}

static gboolean
dqn_load (AdaPolicy * policy, const PirlSafetensors * file, const gchar * prefix, GError ** error)
{
  return pirl_dqn_load (((DqnPolicy *) policy)->dqn, file, prefix, error);
}

static void
dqn_free (AdaPolicy * policy)
{
  pirl_dqn_free (((DqnPolicy *) policy)->dqn);
  g_free (policy);
}

static AdaPolicy *dqn_remember (AdaPolicy * policy);

static const AdaPolicyClass dqn_class = {
  .trained = dqn_trained,.choose = dqn_choose,.learn = dqn_learn,.restart = dqn_restart,
  .settled = dqn_settled,.remember = dqn_remember,.recall = dqn_recall,.epsilon = dqn_epsilon,
  .save = dqn_save,.load = dqn_load,.free = dqn_free,
};

static AdaPolicy *
make (const PirlDqnConfig * config, gdouble alpha, gdouble beta, GError ** error)
{
  g_autofree DqnPolicy *self = g_new0 (DqnPolicy, 1);

  self->base.class = &dqn_class;
  g_atomic_ref_count_init (&self->base.references);
  self->config = *config;
  self->alpha = alpha;
  self->beta = beta;
  self->dqn = pirl_dqn_new (config, error);
  return self->dqn != NULL ? (AdaPolicy *) g_steal_pointer (&self) : NULL;
}

/* Its weights; it will not learn, so it needs no replay. */
static AdaPolicy *
dqn_remember (AdaPolicy * policy)
{
  DqnPolicy *self = (DqnPolicy *) policy;
  PirlDqnConfig config = self->config;
  AdaPolicy *copy;

  config.replay = config.batch = 1;
  copy = make (&config, self->alpha, self->beta, NULL);
  if (copy != NULL)
    dqn_recall (copy, policy);
  return copy;
}

AdaPolicy *
ada_policy_dqn_new (const AdaControllerConfig * config, GError ** error)
{
  PirlDqnConfig dqn;

  if (config->n_features == 0) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "policy dqn looks at a network's features: it needs an extractor");
    return NULL;
  }
  pirl_dqn_config_defaults (&dqn);
  dqn.features = config->n_features;
  dqn.actions = config->levels;
  dqn.gamma = config->gamma;
  dqn.seed = config->seed;
  if (config->epsilon >= 0) {
    dqn.epsilon_decay = 0;
    dqn.epsilon_min = config->epsilon;
  }
  return make (&dqn, config->alpha, config->beta, error);
}
