/* adacompressenc: the controller: inference, estimate, retrain.
 *
 * The state is INFERENCE or RETRAIN; ESTIMATE is what a single frame is when it is asked about in
 * inference. Everything that both threads touch is under @lock, which is held for microseconds: the
 * streaming thread never waits for learning, which the policies do on memory of their own.
 *
 * estimator=budget: p_est from the byte budget; a retraining begins when the e-detector on
 * agreement has its alarm (FALSE_ALARM_RUN outcomes between false ones, mean, at least, were the
 * agreement at the edge of what is tolerated). When features move, or the evidence grows, the
 * savings of the budget are spent. Another model of the service is an alarm as well, whatever the
 * estimator.
 *
 * estimator=paper: as published, section 2.4 of the authors' code: p_est starts at .2, falls by
 * omega times the last change of the running mean of ten, is kept in [.2, .95]; a retraining
 * begins when more than ten were asked about and the last ten agree by less than .8. Named, not
 * repaired, since they are the rule: a floor of .2 whatever it costs, a threshold that is
 * absolute, and that ten draws of a good agent often miss. Repaired: epsilon restarts with each
 * retraining; an answer that did not come changes nothing.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "controller-private.h"

#include <base/rng.h>
#include <learn/bandit.h>
#include <math.h>
#include <string.h>

#define TOLERANCE 0.02
#define FALSE_ALARM_RUN 700
/* log10 R from which it is worth asking more often. */
#define SUSPICIOUS 1.0
/* log10 R up to which the scenery passes for the same, and the agent for worth remembering. */
#define QUIET 0.5
/* Answers between two times that the present agent is remembered. */
#define REMEMBER_EVERY 100
/* Levels asked about in an estimate, the reference not counted. */
#define ESTIMATE_TRIALS 2
/* Frames until one is asked about again though nothing moves. */
#define STILL_RETRAIN 8
#define STILL_ESTIMATE 64
/* The paper's agent has no target: what it defends is what it reached on its first estimates. */
#define BASELINE_ANSWERS 60
#define BASELINE_SLACK 0.05
/* References in a row that another model answers before it is the service's. */
#define MODEL_ANSWERS 8
#define Z95 1.959963984540054

void
ada_controller_config_defaults (AdaControllerConfig * config)
{
  *config = (AdaControllerConfig) {.policy = ADA_POLICY_BANDIT,.estimator = ADA_ESTIMATOR_BUDGET,
    .target = 0.95,.alpha = 1,.epsilon = -1,.budget = 0.05,.reference_output = TRUE,.trials = 3
  };
}

/* --- states --- */

void
ada_controller_defend (AdaController * controller, gdouble baseline)
{
  pirl_drift_defend (controller->drift, baseline, TOLERANCE);
  controller->baseline = baseline;
}

static void
paper_reset (AdaPaperEstimator * paper)
{
  *paper = (AdaPaperEstimator) {.p = ADA_PAPER_RATE };
}

/* With the lock held. */
static void
enter (AdaController * controller, AdaState state)
{
  controller->state = state;
  controller->agreed = controller->judged = 0;
  controller->learnt = 0;
  paper_reset (&controller->paper);
  ada_controller_defend (controller, controller->config.target);
  /* What is usual in a new scenery is learnt from its first frame on, through the retraining. */
  if (state == ADA_STATE_RETRAIN)
    pirl_drift_reset (controller->drift);
}

/* A change of state, to be told when no lock is held any more. */
typedef struct {
  AdaState from, to;
  gchar reason[2 * ADA_MODEL_LENGTH + 48];      /* "" = nothing happened */
} Change;

static void
note (Change * change, AdaState from, AdaState to, const gchar * reason)
{
  change->from = from;
  change->to = to;
  g_strlcpy (change->reason, reason, sizeof change->reason);
}

/* Without locks. */
static void
tell (const AdaController * controller, const Change * change)
{
  if (change->reason[0] && controller->func != NULL)
    controller->func (change->from, change->to, change->reason, controller->user_data);
}

static gboolean
has_agent (const AdaController * controller)
{
  return controller->policy == NULL || controller->policy->class->trained (controller->policy);
}

/* --- deciding --- */

static void
add_trial (AdaDecision * decision, guint most, guint level)
{
  if (decision->n_trials >= most)
    return;
  for (guint i = 0; i < decision->n_trials; i++)
    if (decision->trials[i] == level)
      return;
  decision->trials[decision->n_trials++] = level;
}

/* While retraining: first what remembered agents would have sent, then the policy's own choice,
 * then what it would like to know of. The reference is asked about anyway. */
static void
pick_trials (AdaController * controller, const AdaObservation * observation,
    AdaPolicy ** candidates, guint n_candidates, AdaDecision * decision)
{
  AdaPolicy *policy = controller->policy;
  const guint reference = controller->config.levels - 1;
  guint most = CLAMP (controller->config.trials, 1, ADA_MAX_TRIALS), wanted[ADA_MAX_TRIALS], n = 0;

  if (decision->state == ADA_STATE_ESTIMATE)
    most = MIN (most, ESTIMATE_TRIALS);
  for (guint i = 0; i < n_candidates; i++) {
    const guint level = candidates[i]->class->choose (candidates[i], observation, FALSE, NULL);

    if (level < reference)
      add_trial (decision, most, level);
  }
  if (decision->level < reference)
    add_trial (decision, most, decision->level);
  if (policy->class->trials != NULL)
    n = policy->class->trials (policy, observation, most, wanted);
  for (guint i = 0; i < n; i++)
    add_trial (decision, most, wanted[i]);
}

/* With the lock held, in inference: the estimator's coin. */
static gboolean
toss (AdaController * controller)
{
  gdouble p = ada_budget_frame (&controller->budget);
  PirlRng rng;

  pirl_rng_init (&rng, controller->config.seed, 0, controller->frames, PIRL_PURPOSE_ESTIMATE);
  if (controller->config.estimator == ADA_ESTIMATOR_PAPER)
    p = controller->paper.p;
  return pirl_rng_chance (&rng, (gfloat) p);
}

/* With the lock held: is this frame asked about? One that is like the last one asked about would
 * tell little; the paper's rule does not look. */
static gboolean
draw (AdaController * controller, const AdaObservation * observation, gboolean can_ask)
{
  const gboolean retrain = controller->state == ADA_STATE_RETRAIN;
  const gboolean new = ada_novelty_frame (&controller->novelty, observation->features,
      observation->n_features, retrain ? STILL_RETRAIN : STILL_ESTIMATE);
  const gboolean wanted = retrain || toss (controller);

  if (!can_ask || !wanted || (!new && controller->config.estimator == ADA_ESTIMATOR_BUDGET))
    return FALSE;
  ada_novelty_asked (&controller->novelty, observation->features, observation->n_features);
  if (!retrain && controller->config.estimator == ADA_ESTIMATOR_BUDGET)
    ada_budget_reserve (&controller->budget);
  return TRUE;
}

/* With the lock held: what every frame brings, asked about or not. */
static void
watch (AdaController * controller, const AdaObservation * observation)
{
  controller->frames++;
  if (observation->features != NULL
      && pirl_drift_features (controller->drift, observation->features, observation->n_features))
    ada_budget_suspect (&controller->budget);
}

void
ada_controller_pass (AdaController * controller)
{
  g_mutex_lock (&controller->lock);
  ada_budget_pass (&controller->budget);
  g_mutex_unlock (&controller->lock);
}

void
ada_controller_decide (AdaController * controller, const AdaObservation * observation,
    gboolean can_ask, AdaDecision * decision)
{
  const guint reference = controller->config.levels - 1;
  AdaPolicy *candidates[ADA_SCENERIES];
  guint n_candidates = 0;

  *decision = (AdaDecision) {.state = ADA_STATE_INFERENCE,.level = reference,.agreement = NAN };
  decision->quality = controller->config.qualities[reference];
  if (controller->policy == NULL)
    return;
  can_ask = can_ask && controller->config.cloud;
  g_mutex_lock (&controller->lock);
  watch (controller, observation);
  decision->state = controller->state;
  decision->ask = draw (controller, observation, can_ask);
  if (decision->ask && decision->state == ADA_STATE_RETRAIN)
    n_candidates = ada_sceneries_candidates (&controller->sceneries, observation->features,
        controller->config.trials, candidates);
  g_mutex_unlock (&controller->lock);

  if (decision->ask && decision->state == ADA_STATE_INFERENCE)
    decision->state = ADA_STATE_ESTIMATE;
  decision->level = controller->policy->class->choose (controller->policy, observation,
      decision->ask && decision->state == ADA_STATE_RETRAIN, &decision->agreement);
  if (decision->state == ADA_STATE_RETRAIN && controller->config.reference_output)
    decision->agreement = 1;
  else
    decision->quality = controller->config.qualities[decision->level];
  if (decision->ask)
    pick_trials (controller, observation, candidates, n_candidates, decision);
  for (guint i = 0; i < n_candidates; i++)
    ada_policy_unref (candidates[i]);
}

/* --- answers --- */

/* What was said of the level that the decision chose; negative = nothing. */
static gdouble
outcome_of_choice (const AdaController * controller, const AdaDecision * decision,
    const gfloat * outcome)
{
  return decision->level + 1 == controller->config.levels ? 1 : outcome[decision->level];
}

/* With the lock held. TRUE = the paper's rule asks for a retraining. */
static gboolean
paper_take (AdaPaperEstimator * paper, gdouble agreed)
{
  const gdouble before = paper->mean;
  const guint n = MIN (paper->n + 1, ADA_PAPER_WINDOW);
  gdouble sum = 0;

  paper->outcome[paper->n++ % ADA_PAPER_WINDOW] = agreed;
  for (guint i = 0; i < n; i++)
    sum += paper->outcome[i];
  paper->mean = sum / n;
  if (paper->n > 1)
    paper->p = CLAMP (paper->p - ADA_PAPER_OMEGA * (paper->mean - before), ADA_PAPER_RATE,
        ADA_PAPER_RATE_MAX);
  return paper->n > ADA_PAPER_WINDOW && paper->mean < ADA_PAPER_THRESHOLD;
}

/* With the lock held. The paper's agent: defends what it reached, once that is known. */
static void
find_baseline (AdaController * controller)
{
  const gdouble reached = controller->agreed / controller->judged;

  if (controller->config.policy == ADA_POLICY_DQN && controller->judged == BASELINE_ANSWERS)
    ada_controller_defend (controller, CLAMP (reached - BASELINE_SLACK, 0.1,
            controller->config.target));
}

/* With the lock held: an estimate's outcome. TRUE = alarm. */
static gboolean
judge_estimate (AdaController * controller, gdouble agreed)
{
  gboolean alarm;

  controller->agreed += agreed;
  controller->judged++;
  if (controller->config.estimator == ADA_ESTIMATOR_PAPER)
    return paper_take (&controller->paper, agreed);
  if (controller->config.policy == ADA_POLICY_DQN && controller->judged <= BASELINE_ANSWERS) {
    find_baseline (controller);
    return FALSE;
  }
  alarm = pirl_drift_outcome (controller->drift, agreed);
  if (pirl_drift_evidence (controller->drift) > SUSPICIOUS)
    ada_budget_suspect (&controller->budget);
  return alarm;
}

/* The present agent among the remembered ones, for the day that its scenery returns. */
static void
remember (AdaController * controller)
{
  AdaPolicy *copy = controller->policy->class->remember (controller->policy);
  const gdouble *centre;
  guint n;

  if (copy == NULL)
    return;
  g_mutex_lock (&controller->lock);
  centre = pirl_drift_centre (controller->drift, &n);
  controller->scenery = ada_sceneries_put (&controller->sceneries, controller->scenery, copy,
      centre, n);
  controller->learnt = 0;
  g_mutex_unlock (&controller->lock);
}

static void
start_retraining (AdaController * controller, const gchar * reason, Change * change)
{
  AdaState before;

  g_mutex_lock (&controller->lock);
  before = controller->state;
  enter (controller, ADA_STATE_RETRAIN);
  controller->retrains++;
  controller->scenery = 0;
  ada_sceneries_begin (&controller->sceneries);
  g_mutex_unlock (&controller->lock);
  controller->policy->class->restart (controller->policy);
  note (change, before, ADA_STATE_RETRAIN, reason);
}

static void
end_retraining (AdaController * controller, const gchar * reason, Change * change)
{
  g_mutex_lock (&controller->lock);
  enter (controller, ADA_STATE_INFERENCE);
  g_mutex_unlock (&controller->lock);
  note (change, ADA_STATE_RETRAIN, ADA_STATE_INFERENCE, reason);
}

/* Of an agent of an earlier scenery that proved itself. */
static void
recall (AdaController * controller, guint number, Change * change)
{
  g_autoptr (AdaPolicy) agent = NULL;
  g_autofree gchar *reason = g_strdup_printf ("remembered agent %u", number);

  g_mutex_lock (&controller->lock);
  agent = ada_policy_ref (ada_sceneries_find (&controller->sceneries, number)->agent);
  controller->scenery = number;
  g_mutex_unlock (&controller->lock);
  controller->policy->class->recall (controller->policy, agent);
  end_retraining (controller, reason, change);
}

/* The worker, an answer to a frame decided while retraining. */
static void
answered_in_retraining (AdaController * controller, const AdaObservation * observation,
    const gfloat * outcome, gdouble agreed, Change * change)
{
  guint proven;

  g_mutex_lock (&controller->lock);
  if (agreed >= 0) {
    controller->agreed += agreed;
    controller->judged++;
  }
  proven = ada_sceneries_judge (&controller->sceneries, observation, outcome,
      controller->config.target);
  g_mutex_unlock (&controller->lock);
  if (proven > 0) {
    recall (controller, proven, change);
  } else if (controller->policy->class->settled (controller->policy)) {
    end_retraining (controller, "agent settled", change);
    remember (controller);
  }
}

/* The worker, an answer to an estimate. */
static void
answered_in_inference (AdaController * controller, gdouble agreed, Change * change)
{
  gboolean alarm, keep;

  if (agreed < 0)
    return;
  g_mutex_lock (&controller->lock);
  alarm = judge_estimate (controller, agreed);
  controller->learnt++;
  keep = !alarm && controller->learnt >= REMEMBER_EVERY
      && pirl_drift_evidence (controller->drift) < QUIET;
  g_mutex_unlock (&controller->lock);
  if (alarm)
    start_retraining (controller, "drift of agreement", change);
  else if (keep)
    remember (controller);
}

void
ada_controller_answered (AdaController * controller, const AdaObservation * observation,
    const AdaDecision * decision, const gfloat * outcome, gsize bytes, gsize reference_bytes)
{
  const gboolean estimate = decision->state == ADA_STATE_ESTIMATE;
  Change change = { 0 };
  gdouble agreed;
  AdaState state;

  if (controller->policy == NULL)
    return;
  agreed = outcome_of_choice (controller, decision, outcome);
  g_mutex_lock (&controller->worker);
  g_mutex_lock (&controller->lock);
  state = controller->state;
  controller->estimates++;
  ada_budget_settle (&controller->budget, bytes, reference_bytes,
      estimate && controller->config.estimator == ADA_ESTIMATOR_BUDGET);
  g_mutex_unlock (&controller->lock);
  /* An answer that was asked for before an alarm says nothing of the new agent, but of its
   * picture. A learning that fails leaves the agent as it was. */
  if (state == ADA_STATE_RETRAIN || controller->policy->class->learns_always)
    controller->policy->class->learn (controller->policy, observation, decision->level, outcome,
        NULL);
  if (state == ADA_STATE_RETRAIN)
    answered_in_retraining (controller, observation, outcome, estimate ? -1 : agreed,
        &change);
  else if (estimate)
    answered_in_inference (controller, agreed, &change);
  g_mutex_unlock (&controller->worker);
  tell (controller, &change);
}

/* --- the service's model --- */

void
ada_controller_copy_model (gchar model[ADA_MODEL_LENGTH], const gchar * version)
{
  g_autofree gchar *valid = g_utf8_make_valid (version, -1);
  const gchar *end;

  g_strlcpy (model, valid, ADA_MODEL_LENGTH);
  if (!g_utf8_validate (model, -1, &end))
    model[end - model] = '\0';
}

/* The worker: @version answered. TRUE when it is now the service's, and another was before. */
static gboolean
take_model (AdaController * controller, const gchar * version, gchar before[ADA_MODEL_LENGTH])
{
  gchar now[ADA_MODEL_LENGTH];

  ada_controller_copy_model (now, version);
  memcpy (before, controller->model, ADA_MODEL_LENGTH);
  if (before[0] == '\0' || strcmp (now, before) == 0) {
    memcpy (controller->model, now, ADA_MODEL_LENGTH);
    controller->next_answers = 0;
    return FALSE;
  }
  if (strcmp (now, controller->next_model) != 0)
    controller->next_answers = 0;
  memcpy (controller->next_model, now, ADA_MODEL_LENGTH);
  if (++controller->next_answers < MODEL_ANSWERS)
    return FALSE;
  memcpy (controller->model, now, ADA_MODEL_LENGTH);
  controller->next_answers = 0;
  return TRUE;
}

/* What was learnt of the old model was right then, and is remembered. */
static void
leave_model (AdaController * controller, const gchar * before, Change * change)
{
  g_autofree gchar *reason = g_strdup_printf ("the service's model changed from %s to %s", before,
      controller->model);
  gboolean keep;

  g_mutex_lock (&controller->lock);
  keep = controller->state == ADA_STATE_INFERENCE
      && pirl_drift_evidence (controller->drift) < QUIET;
  g_mutex_unlock (&controller->lock);
  if (keep)
    remember (controller);
  start_retraining (controller, reason, change);
}

void
ada_controller_model (AdaController * controller, const gchar * version)
{
  gchar before[ADA_MODEL_LENGTH];
  Change change = { 0 };

  if (controller->policy == NULL || version == NULL || *version == '\0')
    return;
  g_mutex_lock (&controller->worker);
  if (take_model (controller, version, before))
    leave_model (controller, before, &change);
  g_mutex_unlock (&controller->worker);
  tell (controller, &change);
}

void
ada_controller_failed (AdaController * controller, const AdaDecision * decision, gsize bytes)
{
  g_mutex_lock (&controller->lock);
  if (decision->state == ADA_STATE_ESTIMATE
      && controller->config.estimator == ADA_ESTIMATOR_BUDGET)
    ada_budget_settle (&controller->budget, bytes, 0, TRUE);
  g_mutex_unlock (&controller->lock);
}

/* --- reports --- */

/* Wilson's interval of @agreed of @n. */
static void
interval (gdouble agreed, gdouble n, gdouble * mean, gdouble * low, gdouble * high)
{
  const gdouble z2 = Z95 * Z95, p = agreed / n;
  const gdouble middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const gdouble half = Z95 * sqrt (p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n);

  *mean = p;
  *low = MAX (middle - half, 0);
  *high = MIN (middle + half, 1);
}

void
ada_controller_stats (AdaController * controller, AdaControllerStats * stats)
{
  AdaPolicy *policy = controller->policy;

  *stats = (AdaControllerStats) {.agreement = NAN,.agreement_low = NAN,.agreement_high = NAN };
  g_mutex_lock (&controller->lock);
  stats->state = controller->state;
  if (policy != NULL && controller->config.cloud)
    stats->p_est = controller->state == ADA_STATE_RETRAIN ? 1
        : controller->config.estimator == ADA_ESTIMATOR_PAPER ? controller->paper.p
        : ada_budget_probability (&controller->budget);
  stats->estimates = controller->estimates;
  stats->retrains = controller->retrains;
  if (controller->judged > 0)
    interval (controller->agreed, controller->judged, &stats->agreement, &stats->agreement_low,
        &stats->agreement_high);
  stats->evidence = pirl_drift_evidence (controller->drift);
  stats->remembered = controller->sceneries.count;
  g_mutex_unlock (&controller->lock);
  if (policy != NULL && policy->class->lambda != NULL)
    stats->lambda = policy->class->lambda (policy);
  if (policy != NULL && policy->class->epsilon != NULL)
    stats->epsilon = policy->class->epsilon (policy);
}

/* --- making --- */

static gboolean
check_config (const AdaControllerConfig * config, GError ** error)
{
  if (config->levels < 1 || config->levels > ADA_MAX_LEVELS
      || (config->policy != ADA_POLICY_FIXED && config->levels < 2)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "controller: %u qualities; an agent needs 2 to %d", config->levels, ADA_MAX_LEVELS);
    return FALSE;
  }
  for (guint l = 1; l < config->levels; l++) {
    if (config->qualities[l] <= config->qualities[l - 1]) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "controller: quality %d does not come after %d; they have to ascend",
          config->qualities[l], config->qualities[l - 1]);
      return FALSE;
    }
  }
  if (!(config->target > 0 && config->target < 1) || !(config->budget >= 0)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "controller: target agreement %g, estimate "
        "budget %g; needed: between 0 and 1, and 0 or more", config->target, config->budget);
    return FALSE;
  }
  return TRUE;
}

AdaController *
ada_controller_new (const AdaControllerConfig * config, GError ** error)
{
  AdaPolicy *policy = NULL;
  AdaController *controller;

  if (!check_config (config, error))
    return NULL;
  if (config->policy == ADA_POLICY_BANDIT)
    policy = ada_policy_bandit_new (config, error);
  else if (config->policy == ADA_POLICY_DQN)
    policy = ada_policy_dqn_new (config, error);
  if (policy == NULL && config->policy != ADA_POLICY_FIXED)
    return NULL;
  controller = g_new0 (AdaController, 1);
  controller->config = *config;
  controller->policy = policy;
  g_mutex_init (&controller->worker);
  g_mutex_init (&controller->lock);
  ada_budget_init (&controller->budget, config->budget);
  controller->drift = pirl_drift_new (config->target, TOLERANCE, FALSE_ALARM_RUN);
  enter (controller, config->cloud && !has_agent (controller) ? ADA_STATE_RETRAIN
      : ADA_STATE_INFERENCE);
  return controller;
}

void
ada_controller_free (AdaController * controller)
{
  if (controller == NULL)
    return;
  g_clear_pointer (&controller->policy, ada_policy_unref);
  ada_sceneries_clear (&controller->sceneries);
  ada_novelty_clear (&controller->novelty);
  g_clear_pointer (&controller->drift, pirl_drift_free);
  g_mutex_clear (&controller->worker);
  g_mutex_clear (&controller->lock);
  g_free (controller);
}

void
ada_controller_set_state_func (AdaController * controller, AdaStateFunc func, gpointer user_data)
{
  controller->func = func;
  controller->user_data = user_data;
}
