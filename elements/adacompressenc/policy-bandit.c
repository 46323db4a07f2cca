/* adacompressenc: policy=bandit: kernels/learn/bandit.h behind the controller's table.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include <learn/bandit.h>
#include <math.h>

/* What the posterior of one scenery counts as prior of the next. */
#define TRUST 0.02
/* A retraining ends when the agreement is at least target - SLACK with 90 % confidence, and no
 * earlier than after this many answers: below, lambda is judged on too few. */
#define SLACK 0.02
#define LEAST_ANSWERS 200
/* Pictures that a remembered agent keeps. */
#define REMEMBERED_PICTURES 400

typedef struct {
  AdaPolicy base;
  PirlBandit *bandit;
} BanditPolicy;

static PirlBandit *
bandit_of (AdaPolicy * policy)
{
  return ((BanditPolicy *) policy)->bandit;
}

static AdaPolicy *wrap (PirlBandit * bandit);

static gboolean
bandit_trained (AdaPolicy * policy)
{
  return pirl_bandit_trained (bandit_of (policy));
}

/* It explores by what it asks, never by what leaves. */
static guint
bandit_choose (AdaPolicy * policy, const AdaObservation * observation, gboolean explore,
    gdouble * agreement)
{
  return pirl_bandit_choose (bandit_of (policy), observation->phi, observation->sizes, agreement);
}

static guint
bandit_trials (AdaPolicy * policy, const AdaObservation * observation, guint n, guint * levels)
{
  return pirl_bandit_explore (bandit_of (policy), observation->phi, observation->sizes, n, levels);
}

static gboolean
bandit_learn (AdaPolicy * policy, const AdaObservation * observation, guint level,
    const gfloat * outcome, GError ** error)
{
  pirl_bandit_learn (bandit_of (policy), observation->phi, observation->sizes, outcome);
  return TRUE;
}

static void
bandit_restart (AdaPolicy * policy)
{
  pirl_bandit_forget (bandit_of (policy), TRUST);
}

static gboolean
bandit_settled (AdaPolicy * policy)
{
  return pirl_bandit_answered (bandit_of (policy)) >= LEAST_ANSWERS
      && pirl_bandit_settled (bandit_of (policy), SLACK);
}

static AdaPolicy *
bandit_remember (AdaPolicy * policy)
{
  return wrap (pirl_bandit_copy (bandit_of (policy), REMEMBERED_PICTURES));
}

static void
bandit_recall (AdaPolicy * policy, AdaPolicy * other)
{
  pirl_bandit_adopt (bandit_of (policy), bandit_of (other));
}

static gdouble
bandit_lambda (AdaPolicy * policy)
{
  return pirl_bandit_lambda (bandit_of (policy));
}

static void
bandit_save (AdaPolicy * policy, PirlSafetensorsWriter * writer, const gchar * prefix,
    GPtrArray * keep)
{
  pirl_bandit_save (bandit_of (policy), writer, prefix, keep);
}

static gboolean
bandit_load (AdaPolicy * policy, const PirlSafetensors * file, const gchar * prefix,
    GError ** error)
{
  return pirl_bandit_load (bandit_of (policy), file, prefix, error);
}

static void
bandit_free (AdaPolicy * policy)
{
  pirl_bandit_free (bandit_of (policy));
  g_free (policy);
}

static const AdaPolicyClass bandit_class = {
  .trained = bandit_trained,.choose = bandit_choose,.trials = bandit_trials,
  .learn = bandit_learn,.learns_always = TRUE,.restart = bandit_restart,
  .settled = bandit_settled,.remember = bandit_remember,.recall = bandit_recall,
  .lambda = bandit_lambda,.save = bandit_save,.load = bandit_load,.free = bandit_free,
};

static AdaPolicy *
wrap (PirlBandit * bandit)
{
  BanditPolicy *self = g_new0 (BanditPolicy, 1);

  self->base.class = &bandit_class;
  g_atomic_ref_count_init (&self->base.references);
  self->bandit = bandit;
  return &self->base;
}

AdaPolicy *
ada_policy_bandit_new (const AdaControllerConfig * config, GError ** error)
{
  PirlBanditConfig bandit;
  PirlBandit *made;

  pirl_bandit_config_defaults (&bandit);
  bandit.levels = config->levels;
  bandit.inputs = config->inputs;
  bandit.target = config->target;
  made = pirl_bandit_new (&bandit, error);
  return made != NULL ? wrap (made) : NULL;
}

AdaPolicy *
ada_policy_ref (AdaPolicy * policy)
{
  g_atomic_ref_count_inc (&policy->references);
  return policy;
}

void
ada_policy_unref (AdaPolicy * policy)
{
  if (policy != NULL && g_atomic_ref_count_dec (&policy->references))
    policy->class->free (policy);
}
