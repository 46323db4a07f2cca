/* adacompressenc: the controller in a safetensors file.
 *
 * "agent.*": the policy (kernels/learn/bandit-file.c, dqn-file.c). "scenery.I.*": remembered
 * agents, with "scenery.I.centre" [n] (F64). "controller.numbers" [n] (F64): the numbers below;
 * "controller.drift" [5] (F64). Metadata: "agent.policy", "agent.extractor", "agent.qualities"
 * say whom it fits, "cloud.model" (may be missing) whom it has learnt from, "agent.state" is for
 * people.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "controller-private.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define FORMAT "adacompress-agent-1"

static const gchar *const policy_names[] = { "fixed", "dqn", "bandit" };

/* What is kept as numbers. */
enum { NUMBER_STATE, NUMBER_PAPER_N, NUMBER_PAPER_MEAN, NUMBER_PAPER_P, NUMBER_TOKENS, NUMBER_COST,
  NUMBER_REFERENCE, NUMBER_SCENERY, NUMBER_LEARNT, NUMBER_FRAMES, NUMBER_ESTIMATES, NUMBER_RETRAINS,
  NUMBER_AGREED, NUMBER_JUDGED, NUMBER_BASELINE, NUMBER_SCENERIES, NUMBER_NUMBERED, NUMBER_CLOCK,
  NUMBER_WINDOW, N_NUMBERS = NUMBER_WINDOW + ADA_PAPER_WINDOW };

/* Of a remembered agent, in "scenery.I.numbers". */
enum { SCENERY_NUMBER, SCENERY_USED, SCENERY_TRIED, SCENERY_AGREED, SCENERY_SIZE, N_SCENERY };

static gchar *
list_qualities (const AdaControllerConfig * config)
{
  GString *text = g_string_new (NULL);

  for (guint l = 0; l < config->levels; l++)
    g_string_append_printf (text, l > 0 ? " %d" : "%d", config->qualities[l]);
  return g_string_free (text, FALSE);
}

static void
add_doubles (PirlSafetensorsWriter * writer, GPtrArray * keep, const gchar * name,
    const gdouble * values, gsize n)
{
  const PirlShape shape = {.rank = 1,.dim = { n } };
  GBytes *copy = g_bytes_new (values, sizeof (gdouble) * n);

  g_ptr_array_add (keep, copy);
  pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F64, &shape,
      g_bytes_get_data (copy, NULL));
}

/* With the lock held. */
static void
collect (const AdaController * controller, gdouble numbers[N_NUMBERS])
{
  numbers[NUMBER_STATE] = controller->state;
  numbers[NUMBER_PAPER_N] = controller->paper.n;
  numbers[NUMBER_PAPER_MEAN] = controller->paper.mean;
  numbers[NUMBER_PAPER_P] = controller->paper.p;
  numbers[NUMBER_TOKENS] = controller->budget.tokens;
  numbers[NUMBER_COST] = controller->budget.cost;
  numbers[NUMBER_REFERENCE] = controller->budget.reference;
  numbers[NUMBER_SCENERY] = controller->scenery;
  numbers[NUMBER_LEARNT] = controller->learnt;
  numbers[NUMBER_FRAMES] = controller->frames;
  numbers[NUMBER_ESTIMATES] = controller->estimates;
  numbers[NUMBER_RETRAINS] = controller->retrains;
  numbers[NUMBER_AGREED] = controller->agreed;
  numbers[NUMBER_JUDGED] = controller->judged;
  numbers[NUMBER_BASELINE] = controller->baseline;
  numbers[NUMBER_SCENERIES] = controller->sceneries.count;
  numbers[NUMBER_NUMBERED] = controller->sceneries.numbers;
  numbers[NUMBER_CLOCK] = controller->sceneries.clock;
  memcpy (numbers + NUMBER_WINDOW, controller->paper.outcome, sizeof controller->paper.outcome);
}

/* A remembered agent never changes, so that it is saved without the lock. */
static void
save_scenery (const AdaScenery * scenery, guint i, PirlSafetensorsWriter * writer,
    GPtrArray * keep)
{
  g_autofree gchar *prefix = g_strdup_printf ("scenery.%u", i);
  g_autofree gchar *numbers_name = g_strconcat (prefix, ".numbers", NULL);
  g_autofree gchar *centre_name = g_strconcat (prefix, ".centre", NULL);
  gdouble numbers[N_SCENERY];

  numbers[SCENERY_NUMBER] = scenery->number;
  numbers[SCENERY_USED] = scenery->used;
  numbers[SCENERY_TRIED] = scenery->tried;
  numbers[SCENERY_AGREED] = scenery->agreed;
  numbers[SCENERY_SIZE] = scenery->size;
  add_doubles (writer, keep, numbers_name, numbers, N_SCENERY);
  if (scenery->centre != NULL)
    add_doubles (writer, keep, centre_name, scenery->centre, scenery->n);
  scenery->agent->class->save (scenery->agent, writer, prefix, keep);
}

gboolean
ada_controller_save (AdaController * controller, const gchar * path, const gchar * extractor,
    GError ** error)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) keep = g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref);
  g_autofree gchar *qualities = list_qualities (&controller->config);
  gdouble numbers[N_NUMBERS], drift[PIRL_DRIFT_STATE];
  gboolean good;

  /* The worker's lock keeps the remembered agents, and what belongs together, as they are. */
  g_mutex_lock (&controller->worker);
  g_mutex_lock (&controller->lock);
  collect (controller, numbers);
  pirl_drift_get (controller->drift, drift);
  g_mutex_unlock (&controller->lock);
  pirl_safetensors_writer_metadata (writer, "format", FORMAT);
  pirl_safetensors_writer_metadata (writer, "agent.policy",
      policy_names[controller->config.policy]);
  pirl_safetensors_writer_metadata (writer, "agent.extractor", extractor != NULL ? extractor : "");
  pirl_safetensors_writer_metadata (writer, "agent.qualities", qualities);
  pirl_safetensors_writer_metadata (writer, "agent.state",
      numbers[NUMBER_STATE] == ADA_STATE_RETRAIN ? "retrain" : "inference");
  if (controller->model[0] != '\0')
    pirl_safetensors_writer_metadata (writer, "cloud.model", controller->model);
  add_doubles (writer, keep, "controller.numbers", numbers, N_NUMBERS);
  add_doubles (writer, keep, "controller.drift", drift, PIRL_DRIFT_STATE);
  if (controller->policy != NULL)
    controller->policy->class->save (controller->policy, writer, "agent", keep);
  for (guint i = 0; i < controller->sceneries.count; i++)
    save_scenery (&controller->sceneries.scenery[i], i, writer, keep);
  good = pirl_safetensors_writer_write (writer, path, error);
  g_mutex_unlock (&controller->worker);
  return good;
}

/* --- loading --- */

/* @n doubles, or any number of them (@n 0; *@count); transfer full. */
static gdouble *
read_doubles (const PirlSafetensors * file, const gchar * name, gsize n, gsize * count,
    GError ** error)
{
  const PirlTensor *tensor = pirl_safetensors_lookup (file, name);
  g_autofree gdouble *values = NULL;

  if (tensor == NULL || tensor->dtype != PIRL_DTYPE_F64 || tensor->shape.rank != 1
      || (n > 0 && tensor->shape.dim[0] != (gint64) n)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT,
        "agent \"%s\": tensor %s is missing, or not F64 of the length that this version writes",
        pirl_safetensors_name (file), name);
    return NULL;
  }
  n = tensor->shape.dim[0];
  values = g_new (gdouble, n);
  memcpy (values, tensor->data, sizeof (gdouble) * n);
  for (gsize i = 0; i < n; i++) {
    if (!isfinite (values[i])) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
          "agent \"%s\": tensor %s has a value that is not finite", pirl_safetensors_name (file),
          name);
      return NULL;
    }
  }
  if (count != NULL)
    *count = n;
  return g_steal_pointer (&values);
}

static gboolean
check_fit (const AdaController * controller, const PirlSafetensors * file,
    const gchar * extractor, GError ** error)
{
  g_autofree gchar *qualities = list_qualities (&controller->config);
  const struct {
    const gchar *key, *what, *needed;
  } checks[] = {
    {"format", "format", FORMAT},
    {"agent.policy", "policy", policy_names[controller->config.policy]},
    {"agent.extractor", "extractor", extractor != NULL ? extractor : ""},
    {"agent.qualities", "list of qualities", qualities},
  };

  for (guint i = 0; i < G_N_ELEMENTS (checks); i++) {
    const gchar *has = pirl_safetensors_metadata (file, checks[i].key);

    if (g_strcmp0 (has, checks[i].needed) != 0) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH, "agent \"%s\": its %s is \"%s\", here it is "
          "\"%s\"; choose another agent-file, or the settings that it was trained with",
          pirl_safetensors_name (file), checks[i].what, has != NULL ? has : "(none)",
          checks[i].needed);
      return FALSE;
    }
  }
  return TRUE;
}

/* A number that has to be whole and in [0, most]. */
static guint64
whole (gdouble value, guint64 most)
{
  return value >= 0 && value <= (gdouble) most ? (guint64) value : 0;
}

static AdaPolicy *
blank_policy (const AdaControllerConfig * config, GError ** error)
{
  return config->policy == ADA_POLICY_DQN ? ada_policy_dqn_new (config, error)
      : ada_policy_bandit_new (config, error);
}

static gboolean
load_scenery (const AdaController * controller, const PirlSafetensors * file, guint i,
    AdaSceneries * sceneries, GError ** error)
{
  g_autofree gchar *prefix = g_strdup_printf ("scenery.%u", i);
  g_autofree gchar *numbers_name = g_strconcat (prefix, ".numbers", NULL);
  g_autofree gchar *centre_name = g_strconcat (prefix, ".centre", NULL);
  g_autofree gdouble *numbers = read_doubles (file, numbers_name, N_SCENERY, NULL, error);
  g_autoptr (AdaPolicy) full = NULL;
  AdaScenery *scenery = &sceneries->scenery[sceneries->count];
  AdaPolicy *agent;
  gsize n;

  if (numbers == NULL || (full = blank_policy (&controller->config, error)) == NULL
      || !full->class->load (full, file, prefix, error)
      || (agent = full->class->remember (full)) == NULL)
    return FALSE;
  *scenery = (AdaScenery) {.agent = agent,
    .number = whole (numbers[SCENERY_NUMBER], G_MAXUINT32),
    .used = whole (numbers[SCENERY_USED], G_MAXINT64),
    .tried = whole (numbers[SCENERY_TRIED], G_MAXUINT16),
    .agreed = numbers[SCENERY_AGREED],.size = numbers[SCENERY_SIZE]
  };
  sceneries->count++;
  if (pirl_safetensors_lookup (file, centre_name) == NULL)
    return TRUE;
  scenery->centre = read_doubles (file, centre_name, controller->config.n_features, &n, error);
  scenery->n = n;
  return scenery->centre != NULL;
}

/* With the lock held. */
static void
restore (AdaController * controller, const gdouble * numbers, const gdouble * drift)
{
  controller->state = controller->config.cloud && numbers[NUMBER_STATE] == ADA_STATE_RETRAIN
      ? ADA_STATE_RETRAIN : ADA_STATE_INFERENCE;
  controller->paper.n = whole (numbers[NUMBER_PAPER_N], G_MAXUINT32);
  controller->paper.mean = numbers[NUMBER_PAPER_MEAN];
  controller->paper.p = CLAMP (numbers[NUMBER_PAPER_P], ADA_PAPER_RATE, ADA_PAPER_RATE_MAX);
  memcpy (controller->paper.outcome, numbers + NUMBER_WINDOW, sizeof controller->paper.outcome);
  ada_budget_init (&controller->budget, controller->config.budget);
  controller->budget.tokens = MIN (numbers[NUMBER_TOKENS], 1e6);
  if (numbers[NUMBER_COST] > 0.01)
    controller->budget.cost = numbers[NUMBER_COST];
  controller->budget.reference = MAX (numbers[NUMBER_REFERENCE], 0);
  controller->scenery = whole (numbers[NUMBER_SCENERY], G_MAXUINT32);
  controller->learnt = whole (numbers[NUMBER_LEARNT], G_MAXUINT32);
  controller->frames = whole (numbers[NUMBER_FRAMES], G_MAXINT64);
  controller->estimates = whole (numbers[NUMBER_ESTIMATES], G_MAXINT64);
  controller->retrains = whole (numbers[NUMBER_RETRAINS], G_MAXINT64);
  controller->agreed = MAX (numbers[NUMBER_AGREED], 0);
  controller->judged = MAX (numbers[NUMBER_JUDGED], controller->agreed);
  ada_controller_defend (controller, numbers[NUMBER_BASELINE] > 0
      && controller->config.policy == ADA_POLICY_DQN ? numbers[NUMBER_BASELINE]
      : controller->config.target);
  pirl_drift_set (controller->drift, drift);
}

gboolean
ada_controller_load (AdaController * controller, const gchar * path, const gchar * extractor,
    GError ** error)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, error);
  g_autofree gdouble *numbers = NULL, *drift = NULL;
  AdaSceneries sceneries = { 0 };
  const gchar *model;
  guint count;

  if (file == NULL || !check_fit (controller, file, extractor, error)
      || (numbers = read_doubles (file, "controller.numbers", N_NUMBERS, NULL, error)) == NULL
      || (drift = read_doubles (file, "controller.drift", PIRL_DRIFT_STATE, NULL, error)) == NULL)
    return FALSE;
  model = pirl_safetensors_metadata (file, "cloud.model");
  count = whole (numbers[NUMBER_SCENERIES], ADA_SCENERIES);
  for (guint i = 0; controller->policy != NULL && i < count; i++) {
    if (!load_scenery (controller, file, i, &sceneries, error)) {
      ada_sceneries_clear (&sceneries);
      return FALSE;
    }
  }
  sceneries.numbers = whole (numbers[NUMBER_NUMBERED], G_MAXUINT32);
  sceneries.clock = whole (numbers[NUMBER_CLOCK], G_MAXINT64);
  g_mutex_lock (&controller->worker);
  /* Last, since it is what cannot be undone. */
  if (controller->policy != NULL
      && !controller->policy->class->load (controller->policy, file, "agent", error)) {
    g_mutex_unlock (&controller->worker);
    ada_sceneries_clear (&sceneries);
    return FALSE;
  }
  ada_controller_copy_model (controller->model, model != NULL ? model : "");
  controller->next_answers = 0;
  g_mutex_lock (&controller->lock);
  ada_sceneries_clear (&controller->sceneries);
  controller->sceneries = sceneries;
  restore (controller, numbers, drift);
  if (controller->config.cloud && controller->policy != NULL
      && !controller->policy->class->trained (controller->policy))
    controller->state = ADA_STATE_RETRAIN;
  g_mutex_unlock (&controller->lock);
  g_mutex_unlock (&controller->worker);
  return TRUE;
}
