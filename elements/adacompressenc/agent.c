/* adacompressenc: observer and controller together (see agent.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "agent.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* Coders: one with the stream, one with a live stream's lookout, the others with questions. */
#define CODERS 5
/* What was learnt is saved when it is this much, or this old. */
#define SAVE_ESTIMATES 100
#define SAVE_INTERVAL (30 * G_USEC_PER_SEC)
/* And not oftener than this. */
#define SAVE_PAUSE (G_USEC_PER_SEC / 2)
#define WARM_UP_SIDE 64

struct _AdaAgent {
  AdaAgentEvents events;
  AdaAgreement agreement;
  AdaObserver *observer;
  AdaController *controller;
  AdaCloud *cloud;
  AdaClient *client;            /* borrowed */
  gchar *agent_file;
  gint qualities[ADA_MAX_LEVELS];
  guint levels;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  PirlJpegCoder *spare[CODERS];
  guint n_spare, n_coders;      /* n_coders: that exist, the stream's included */
  guint64 learnt, saved;        /* answers; those that are in the file */
  guint64 saves, failures, unknown;
  gboolean wanted, stopping;

  GThread *saver;
};

/* A frame's questions. */
typedef struct {
  AdaInquiry inquiry;           /* first: the client's view of it */
  AdaAgent *agent;
  PirlJpegCoder *coder;
  AdaObservation *observation;
  AdaDecision decision;         /* with the trials that are really asked */
  GBytes *sent;                 /* what left, where it can be asked about; NULL = nothing */
  gint sent_quality;
  gdouble reference_bytes;
} Question;

const gchar *
ada_state_name (AdaState state)
{
  static const gchar *const names[] = { "inference", "estimate", "retrain" };

  return names[state];
}

static void
warn (AdaAgent * self, const GError * error)
{
  if (self->events.warning)
    self->events.warning (error, self->events.user_data);
}

/* ---- saving ------------------------------------------------------------------------------- */

/* With the lock; unlocks it while the file is written. */
static void
save (AdaAgent * self, gboolean * complained)
{
  guint64 learnt = self->learnt;
  GError *error = NULL;
  gboolean ok;

  self->wanted = FALSE;
  g_mutex_unlock (&self->lock);
  ok = ada_controller_save (self->controller, self->agent_file,
      ada_observer_model (self->observer), &error);
  if (!ok && !*complained)
    warn (self, error);
  *complained = !ok;
  g_clear_error (&error);
  g_mutex_lock (&self->lock);
  self->saved = learnt;
  self->saves += ok;
}

/* With the lock: waits until there is something to save, or it is time to stop. */
static void
wait_for_work (AdaAgent * self)
{
  gint64 due = g_get_monotonic_time () + SAVE_INTERVAL;

  while (!self->stopping && !self->wanted && self->learnt < self->saved + SAVE_ESTIMATES) {
    if (!g_cond_wait_until (&self->changed, &self->lock, due)) {
      if (self->learnt > self->saved)
        return;
      due = g_get_monotonic_time () + SAVE_INTERVAL;
    }
  }
}

/* With the lock. */
static void
rest (AdaAgent * self)
{
  gint64 until = g_get_monotonic_time () + SAVE_PAUSE;

  while (!self->stopping && g_cond_wait_until (&self->changed, &self->lock, until));
}

static gpointer
saver_main (gpointer data)
{
  AdaAgent *self = data;
  gboolean complained = FALSE;

  g_mutex_lock (&self->lock);
  do {
    wait_for_work (self);
    if (self->learnt > self->saved)
      save (self, &complained);
    self->wanted = FALSE;
    rest (self);
  } while (!self->stopping);
  /* What was learnt while the last file was written. */
  if (self->learnt > self->saved)
    save (self, &complained);
  g_mutex_unlock (&self->lock);
  return NULL;
}

void
ada_agent_save_soon (AdaAgent * self)
{
  g_mutex_lock (&self->lock);
  self->wanted = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

/* ---- questions ---------------------------------------------------------------------------- */

/* What left is a picture of the question as often as not: the reference while an agent learns, else
 * the trial of its choice. The coder still has it, until it makes another one. */
static void
keep_sent (Question * self, PirlHuffman * huffman)
{
  const guint8 *data;
  gsize size;

  if (pirl_jpeg_coder_last_file (self->coder, &self->sent_quality, huffman, &data, &size)
      && (self->sent_quality == self->inquiry.quality[0] || *huffman != PIRL_HUFFMAN_STANDARD))
    self->sent = g_bytes_new (data, size);
}

/* Whatever its tables, it counts as what would be sent without an agent to the simplest receiver. */
static void
count_reference (Question * self, gsize size, PirlHuffman huffman)
{
  self->reference_bytes = huffman == PIRL_HUFFMAN_STANDARD ? size
      : self->observation->reference_bytes;
}

static GBytes *
question_encode (AdaInquiry * inquiry, guint i, GError ** error)
{
  Question *self = (Question *) inquiry;
  /* Trials are for the cloud alone. */
  PirlHuffman huffman = i == 0 ? PIRL_HUFFMAN_STANDARD : PIRL_HUFFMAN_TUNED, sent;
  const guint8 *data;
  gsize size;

  if (i == 0)
    keep_sent (self, &sent);
  if (self->sent != NULL && inquiry->quality[i] == self->sent_quality) {
    if (i == 0)
      count_reference (self, g_bytes_get_size (self->sent), sent);
    return g_bytes_ref (self->sent);
  }
  if (!pirl_jpeg_coder_encode (self->coder, inquiry->quality[i], huffman, &data, &size, error))
    return NULL;
  if (i == 0)
    count_reference (self, size, huffman);
  return g_bytes_new (data, size);
}

/* Fills the agreement of each level that was asked about. */
static void
judge (const Question * self, AdaAnswer * const *answer, gfloat * outcome)
{
  for (guint level = 0; level < self->agent->levels; level++)
    outcome[level] = -1;
  for (guint i = 0; i < self->decision.n_trials; i++) {
    if (answer[i + 1] != NULL)
      outcome[self->decision.trials[i]] =
          ada_agreement (self->agent->agreement, answer[0], answer[i + 1]);
  }
}

static void
question_done (AdaInquiry * inquiry, AdaAnswer * const *answer, gsize sent, gsize received,
    const GError * error)
{
  Question *self = (Question *) inquiry;
  AdaAgent *agent = self->agent;
  gfloat outcome[ADA_MAX_LEVELS];

  if (answer[0] == NULL) {
    ada_controller_failed (agent->controller, &self->decision, sent + received);
    return;
  }
  ada_controller_model (agent->controller, answer[0]->model_version);
  judge (self, answer, outcome);
  ada_controller_answered (agent->controller, self->observation, &self->decision, outcome,
      sent + received, self->reference_bytes);
  g_mutex_lock (&agent->lock);
  agent->learnt++;
  if (agent->learnt >= agent->saved + SAVE_ESTIMATES)
    g_cond_broadcast (&agent->changed);
  g_mutex_unlock (&agent->lock);
}

static void
question_free (AdaInquiry * inquiry)
{
  Question *self = (Question *) inquiry;
  AdaAgent *agent = self->agent;

  ada_agent_give_coder (agent, self->coder);
  ada_observation_unref (self->observation);
  g_clear_pointer (&self->sent, g_bytes_unref);
  g_free (inquiry->name);
  g_free (self);
}

/* Leaves out the trials of which the cloud can say nothing (recordings have holes). FALSE when nothing
 * is left, or the reference is not known. */
static gboolean
keep_known (AdaAgent * self, const gchar * name, AdaDecision * decision)
{
  guint n = 0;

  for (guint i = 0; i < decision->n_trials; i++) {
    guint level = decision->trials[i];

    if (ada_cloud_knows (self->cloud, name, self->qualities[level]))
      decision->trials[n++] = level;
  }
  decision->n_trials = n;
  return n > 0 && ada_cloud_knows (self->cloud, name, self->qualities[self->levels - 1]);
}

/* No more trials than requests are left for. FALSE when not even one is. */
static gboolean
keep_affordable (AdaAgent * self, AdaDecision * decision)
{
  const guint left = ada_client_left (self->client);

  decision->n_trials = left > 1 ? MIN (decision->n_trials, left - 1) : 0;
  return decision->n_trials > 0;
}

PirlJpegCoder *
ada_agent_new_coder (void)
{
  PirlJpegCoder *coder = pirl_jpeg_coder_new ();

  pirl_jpeg_coder_set_survey (coder, TRUE);
  return coder;
}

PirlJpegCoder *
ada_agent_take_coder (AdaAgent * self)
{
  PirlJpegCoder *coder = NULL;

  g_mutex_lock (&self->lock);
  if (self->n_spare > 0) {
    coder = self->spare[--self->n_spare];
  } else if (self->n_coders < CODERS) {
    self->n_coders++;
    coder = ada_agent_new_coder ();
  }
  g_mutex_unlock (&self->lock);
  return coder;
}

void
ada_agent_give_coder (AdaAgent * self, PirlJpegCoder * coder)
{
  g_mutex_lock (&self->lock);
  self->spare[self->n_spare++] = coder;
  g_mutex_unlock (&self->lock);
}

static gboolean
has_coder (AdaAgent * self)
{
  gboolean has;

  g_mutex_lock (&self->lock);
  has = self->n_spare > 0 || self->n_coders < CODERS;
  g_mutex_unlock (&self->lock);
  return has;
}

PirlJpegCoder *
ada_agent_ask (AdaAgent * self, PirlJpegCoder * coder, guint64 id, const gchar * name,
    const AdaDecision * decision, AdaObservation * observation)
{
  AdaDecision asked = *decision;
  PirlJpegCoder *next = NULL;
  Question *question;

  if (!keep_known (self, name, &asked)) {
    g_mutex_lock (&self->lock);
    self->unknown += decision->n_trials > 0;
    g_mutex_unlock (&self->lock);
  } else if (keep_affordable (self, &asked)) {
    next = ada_agent_take_coder (self);
  }
  if (next == NULL) {
    ada_controller_failed (self->controller, decision, 0);
    ada_observation_unref (observation);
    return coder;
  }
  question = g_new0 (Question, 1);
  question->agent = self;
  question->coder = coder;
  question->observation = observation;
  question->decision = asked;
  question->inquiry.id = id;
  question->inquiry.name = g_strdup (name);
  pirl_jpeg_coder_size (coder, &question->inquiry.width, &question->inquiry.height);
  question->inquiry.n = 1 + asked.n_trials;
  question->inquiry.quality[0] = self->qualities[self->levels - 1];
  for (guint i = 0; i < asked.n_trials; i++)
    question->inquiry.quality[1 + i] = self->qualities[asked.trials[i]];
  question->inquiry.encode = question_encode;
  question->inquiry.done = question_done;
  question->inquiry.free = question_free;
  if (!ada_client_submit (self->client, &question->inquiry))
    ada_controller_failed (self->controller, decision, 0);
  return next;
}

/* ---- decisions ---------------------------------------------------------------------------- */

static void
decide_reference (AdaAgent * self, AdaDecision * decision)
{
  AdaControllerStats stats;

  ada_controller_stats (self->controller, &stats);
  memset (decision, 0, sizeof (*decision));
  decision->state = stats.state;
  decision->level = self->levels - 1;
  decision->quality = self->qualities[decision->level];
  decision->agreement = 1;
}

/* NULL with an error for what no policy can be asked about. */
static AdaObservation *
observe (AdaAgent * self, PirlJpegCoder * coder, GError ** error)
{
  AdaObservation *observation = ada_observer_run (self->observer, coder, error);

  if (observation == NULL)
    return NULL;
  for (guint i = 0; i < observation->levels * observation->inputs; i++) {
    if (!isfinite (observation->phi[i])) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
          "what extractor \"%s\" makes of a frame is no finite number; the reference quality is sent "
          "instead", ada_observer_model (self->observer));
      ada_observation_unref (observation);
      return NULL;
    }
  }
  return observation;
}

void
ada_agent_pass (AdaAgent * self)
{
  ada_controller_pass (self->controller);
}

void
ada_agent_decide (AdaAgent * self, PirlJpegCoder * coder, AdaDecision * decision,
    AdaObservation ** observation)
{
  gboolean can_ask = self->client != NULL && has_coder (self) && ada_client_ready (self->client);
  GError *error = NULL;
  guint64 failures;

  *observation = observe (self, coder, &error);
  if (*observation != NULL) {
    ada_controller_decide (self->controller, *observation, can_ask, decision);
    return;
  }
  decide_reference (self, decision);
  g_mutex_lock (&self->lock);
  failures = ++self->failures;
  g_mutex_unlock (&self->lock);
  if (failures == 1)
    warn (self, error);
  g_error_free (error);
}

void
ada_agent_stats (AdaAgent * self, AdaAgentStats * stats)
{
  memset (stats, 0, sizeof (*stats));
  ada_controller_stats (self->controller, &stats->controller);
  g_mutex_lock (&self->lock);
  stats->saves = self->saves;
  stats->failures = self->failures;
  stats->unknown = self->unknown;
  g_mutex_unlock (&self->lock);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void
state_changed (AdaState from, AdaState to, const gchar * reason, gpointer user_data)
{
  AdaAgent *self = user_data;

  if (from == ADA_STATE_RETRAIN || to == ADA_STATE_RETRAIN)
    ada_agent_save_soon (self);
  if (self->events.state)
    self->events.state (from, to, reason, self->events.user_data);
}

/* Reads what there is; FALSE when the user's own file cannot be used. */
static gboolean
read_agent (AdaAgent * self, const AdaAgentConfig * config, gchar ** origin, GError ** error)
{
  const gchar *model = ada_observer_model (self->observer);

  *origin = NULL;
  if (config->agent_file != NULL && g_file_test (config->agent_file, G_FILE_TEST_EXISTS)) {
    if (!ada_controller_load (self->controller, config->agent_file, model, error))
      return FALSE;
    *origin = g_strdup (config->agent_file);
  } else if (config->shipped_agent != NULL
      && ada_controller_load (self->controller, config->shipped_agent, model, NULL)) {
    *origin = g_strdup (config->shipped_agent);
  }
  return TRUE;
}

/* Better now than after an hour of learning. */
static gboolean
check_writable (const AdaAgentConfig * config, GError ** error)
{
  g_autofree gchar *parent = NULL;

  if (config->agent_file == NULL || config->cloud == NULL)
    return TRUE;
  parent = g_path_get_dirname (config->agent_file);
  if (g_access (parent, W_OK | X_OK) == 0)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "agent-file \"%s\" cannot be written: %s",
      config->agent_file, g_strerror (errno));
  return FALSE;
}

static gboolean
make_parts (AdaAgent * self, const AdaAgentConfig * config, GError ** error)
{
  AdaControllerConfig controller = config->controller;
  AdaObserverConfig observer = config->observer;

  observer.qualities = controller.qualities;
  observer.levels = controller.levels;
  self->observer = ada_observer_new (&observer, error);
  if (self->observer == NULL)
    return FALSE;
  controller.inputs = ada_observer_inputs (self->observer);
  controller.n_features = ada_observer_features (self->observer);
  controller.cloud = config->cloud != NULL;
  self->controller = ada_controller_new (&controller, error);
  return self->controller != NULL;
}

/* One look at a grey picture: plans are made and memory is touched before the first frame. */
static gboolean
warm_up (AdaAgent * self, GError ** error)
{
  static const guint8 grey[WARM_UP_SIDE * WARM_UP_SIDE];
  const PirlYcc picture = {.width = WARM_UP_SIDE,.height = WARM_UP_SIDE,.plane = {grey},
    .stride = {WARM_UP_SIDE},.step = {1}
  };
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  AdaObservation *observation;

  if (!pirl_jpeg_coder_load (coder, &picture, error))
    return FALSE;
  observation = ada_observer_run (self->observer, coder, error);
  if (observation == NULL)
    return FALSE;
  ada_observation_unref (observation);
  return TRUE;
}

AdaAgent *
ada_agent_new (const AdaAgentConfig * config, const AdaAgentEvents * events, gchar ** origin,
    GError ** error)
{
  AdaAgent *self = g_new0 (AdaAgent, 1);

  *origin = NULL;
  self->events = *events;
  self->agreement = config->agreement;
  self->levels = config->controller.levels;
  memcpy (self->qualities, config->controller.qualities, sizeof (self->qualities));
  self->n_coders = 1;
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  if (!check_writable (config, error) || !make_parts (self, config, error) || !read_agent (self, config, origin,
          error) || !warm_up (self, error)) {
    ada_agent_free (self);
    return NULL;
  }
  ada_controller_set_state_func (self->controller, state_changed, self);
  if (config->cloud != NULL) {
    self->cloud = g_object_ref (config->cloud);
    self->client = config->client;
    if (config->agent_file != NULL) {
      self->agent_file = g_strdup (config->agent_file);
      self->saver = g_thread_new ("ada-save", saver_main, self);
    }
  }
  return self;
}

void
ada_agent_free (AdaAgent * self)
{
  if (self->saver != NULL) {
    g_mutex_lock (&self->lock);
    self->stopping = TRUE;
    g_cond_broadcast (&self->changed);
    g_mutex_unlock (&self->lock);
    g_thread_join (self->saver);
  }
  g_clear_object (&self->cloud);
  g_clear_pointer (&self->controller, ada_controller_free);
  g_clear_pointer (&self->observer, ada_observer_free);
  while (self->n_spare > 0)
    pirl_jpeg_coder_free (self->spare[--self->n_spare]);
  g_free (self->agent_file);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}
