/* adacompressenc: asking a cloud without ever waiting for it (see client.h).
 *
 * Two threads: the worker encodes, asks and reports; the watch cancels a request whose time is up,
 * since classify() blocks. A request is one attempt; each ends as exactly one of answered,
 * no_answers, errors, timeouts.
 *
 *   failure k in a row, k >= breaker:  open for min (backoff * 2^(k-1), backoff_max), the first half
 *                                      of it for certain, the rest drawn; then half open: one
 *                                      inquiry or upload is taken, its first request decides
 *
 * A request that has to wait for its turn in the minute, or since the service has asked us to stay
 * away, is not under way: its clock starts when it is sent. The worker takes nothing from the queues
 * meanwhile: the newest upload is what leaves.
 *
 * A cloud that does not come back when it is cancelled is left behind: the caller of
 * ada_client_free() reports its inquiry, and the worker, which holds a reference on all it touches,
 * ends whenever the cloud returns.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "client.h"
#include "request-limits.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICER 10
#define GRACE_MS 750
#define MAX_DOUBLINGS 16

/* What is under way. */
typedef struct {
  AdaInquiry *inquiry;
  gboolean upload;
  AdaAnswer *answer[ADA_MAX_ASKED];
  gsize sent, received;
  GError *error;
} Job;

struct _AdaClient {
  gatomicrefcount references;   /* the owner's, the worker's, the watch's */
  AdaCloud *cloud;
  AdaClientConfig config;
  GRand *random;                /* the worker's */
  GThread *worker, *watch;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  GQueue waiting;               /* of AdaInquiry */
  AdaInquiry *upload;           /* the newest; NULL = none waits */
  gboolean inquirys_turn;       /* the last job was an upload */
  Job *job;                     /* the worker's, unless it was left behind */
  guint promised, begun;        /* requests that are still set aside for it; that it has begun */
  AdaLimits limits;
  gboolean stopping, ended;     /* the worker has nothing more to do with any inquiry */
  gboolean in_cloud, left_behind;
  gboolean stopped;             /* the owner's: there are no threads to wait for */
  GCancellable *cancellable;    /* of the request under way */
  gint64 deadline;              /* 0 = none */
  gboolean late;                /* the watch cancelled it */
  guint failures;               /* in a row */
  gint64 open_until;            /* 0 = the breaker is closed; past = half open */
  gint64 away_until;            /* the service's last Retry-After */
  guint news;                   /* AdaClientStates, a bit each, that nobody was told of yet */
  AdaClientStats stats;
};

void
ada_client_config_defaults (AdaClientConfig * config)
{
  *config = (AdaClientConfig) {
    .timeout = 5000, .queue = 4, .retries = 2, .backoff = 200, .backoff_max = 30000, .breaker = 5,
  };
}

static void
client_unref (AdaClient * self)
{
  if (!g_atomic_ref_count_dec (&self->references))
    return;
  g_object_unref (self->cloud);
  g_rand_free (self->random);
  g_clear_object (&self->cancellable);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

/* ---- inquiries ------------------------------------------------------------------------------ */

static Job *
job_new (AdaInquiry * inquiry, gboolean upload)
{
  Job *job = g_new0 (Job, 1);

  job->inquiry = inquiry;
  job->upload = upload;
  return job;
}

/* Reports and frees; without the lock. */
static void
job_finish (Job * job)
{
  AdaInquiry *inquiry = job->inquiry;

  inquiry->done (inquiry, job->answer, job->sent, job->received, job->error);
  inquiry->free (inquiry);
  for (guint i = 0; i < ADA_MAX_ASKED; i++)
    ada_answer_free (job->answer[i]);
  g_clear_error (&job->error);
  g_free (job);
}

static void
job_set_error (Job * job, GError * error)
{
  g_clear_error (&job->error);
  job->error = error;
}

static GError *
error_of_stop (void)
{
  return g_error_new_literal (G_IO_ERROR, G_IO_ERROR_CANCELLED, "the cloud's client was stopped");
}

/* With the lock: whose turn it is; NULL when nothing waits. */
static Job *
pop_job (AdaClient * self)
{
  const gboolean upload = self->upload && !(self->inquirys_turn && self->waiting.length > 0);

  self->inquirys_turn = upload;
  if (upload)
    return job_new (g_steal_pointer (&self->upload), TRUE);
  return self->waiting.length > 0 ? job_new (g_queue_pop_head (&self->waiting), FALSE) : NULL;
}

/* With the lock: it was counted, but never sent. */
static void
count_upload_as_dropped (AdaClient * self)
{
  self->stats.uploads--;
  self->stats.uploads_dropped++;
}

/* With the lock, which it gives away in between: reports all that waits as never asked. */
static void
flush_waiting (AdaClient * self)
{
  Job *job;

  while ((job = pop_job (self))) {
    if (job->upload)
      count_upload_as_dropped (self);
    job_set_error (job, error_of_stop ());
    g_mutex_unlock (&self->lock);
    job_finish (job);
    g_mutex_lock (&self->lock);
  }
}

/* ---- back-off and breaker ------------------------------------------------------------------- */

/* With the lock: until when to pause, in monotonic us: for backoff * 2^@doublings ms, at most
 * backoff_max, between half and whole; at least as long as the service asked for. */
static gint64
draw_pause (AdaClient * self, guint doublings)
{
  const AdaClientConfig *config = &self->config;
  const guint64 doubled = (guint64) config->backoff << MIN (doublings, MAX_DOUBLINGS);
  const gdouble whole = 1000. * (gdouble) MIN (doubled, config->backoff_max);
  const gint64 pause = (gint64) (whole * g_rand_double_range (self->random, 0.5, 1));

  return MAX (g_get_monotonic_time () + pause, self->away_until);
}

/* With the lock: when the next request may leave. */
static gint64
due (AdaClient * self)
{
  return MAX (ada_limits_due (&self->limits), self->away_until);
}

/* With the lock. */
static gboolean
is_open (AdaClient * self)
{
  return self->open_until != 0 && g_get_monotonic_time () < self->open_until;
}

/* With the lock. A probe has no second try: whether the service is back is all it asks. */
static gboolean
is_half_open (AdaClient * self)
{
  return self->open_until != 0 && !is_open (self);
}

/* With the lock: to be told to who watches; it makes older news of @instead_of stale. */
static void
note_news (AdaClient * self, AdaClientState state, AdaClientState instead_of)
{
  self->news &= ~(1u << instead_of);
  self->news |= 1u << state;
}

static void
note_success (AdaClient * self)
{
  if (self->open_until != 0)
    note_news (self, ADA_CLIENT_CLOSED, ADA_CLIENT_OPEN);
  self->failures = 0;
  self->open_until = self->away_until = 0;
}

static void
note_failure (AdaClient * self, const GError * error, guint retry_after)
{
  const gchar *end;

  self->failures++;
  self->away_until = retry_after == 0 ? 0 : g_get_monotonic_time ()
      + MIN (retry_after, self->config.backoff_max) * (gint64) 1000;
  g_strlcpy (self->stats.last_error, error->message, sizeof self->stats.last_error);
  if (!g_utf8_validate (self->stats.last_error, -1, &end))
    self->stats.last_error[end - self->stats.last_error] = '\0';
  if (self->open_until == 0 && (!self->config.breaker || self->failures < self->config.breaker))
    return;
  self->open_until = draw_pause (self, self->failures - 1);
  note_news (self, ADA_CLIENT_OPEN, ADA_CLIENT_CLOSED);
}

/* With the lock: ms until a probe. */
static guint
retry_in (AdaClient * self)
{
  return is_open (self) ? (guint) ((self->open_until - g_get_monotonic_time ()) / 1000 + 1) : 0;
}

/* With the lock, which it gives away in between; nothing is under way. */
static void
tell_news (AdaClient * self)
{
  const AdaClientEvents *events = &self->config.events;

  for (guint state = ADA_CLIENT_OPEN; state <= ADA_CLIENT_EXHAUSTED; state++) {
    const guint milliseconds = retry_in (self);
    g_autofree gchar *reason = NULL;

    if (!(self->news & 1u << state) || self->stopping)
      continue;
    self->news &= ~(1u << state);
    if (!events->state)
      continue;
    reason = g_strdup (self->stats.last_error);
    g_mutex_unlock (&self->lock);
    events->state (state, milliseconds, reason, events->user_data);
    g_mutex_lock (&self->lock);
  }
}

/* ---- one request ---------------------------------------------------------------------------- */

static gboolean
is_cancelled (const GError * error)
{
  return g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

/* A cloud that was cancelled because it was late says "cancelled"; that is for us to translate. */
static void
name_lateness (AdaClient * self, GError ** error)
{
  if (!self->late || self->stopping)
    return;
  g_clear_error (error);
  g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_TIMEOUT,
      "no answer from the cloud within %u ms", self->config.timeout);
}

/* With the lock. */
static void
account (AdaClient * self, const AdaTraffic * traffic, const AdaAnswer * answer,
    const GError * error)
{
  AdaClientStats *stats = &self->stats;

  stats->sent += traffic->sent;
  stats->received += traffic->received;
  if (answer) {
    stats->answered++;
    note_success (self);
  } else if (g_error_matches (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER)) {
    stats->no_answers++;
    note_success (self);
  } else if (!(self->stopping && is_cancelled (error))) {
    const gboolean timeout = g_error_matches (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_TIMEOUT);

    (*(timeout ? &stats->timeouts : &stats->errors))++;
    note_failure (self, error, traffic->retry_after);
  }
}

/* With the lock: waits until a request may leave, and takes its token. FALSE: time to stop. */
static gboolean
take_turn (AdaClient * self)
{
  gint64 now = g_get_monotonic_time ();

  while (!self->stopping && now < due (self)) {
    g_cond_wait_until (&self->changed, &self->lock, due (self));
    now = g_get_monotonic_time ();
  }
  if (self->stopping)
    return FALSE;
  ada_limits_take (&self->limits, now);
  self->promised--;
  self->begun++;
  return TRUE;
}

/* With the lock: a request begins. */
static GCancellable *
start_clock (AdaClient * self)
{
  g_clear_object (&self->cancellable);
  self->cancellable = g_cancellable_new ();
  self->deadline = g_get_monotonic_time () + self->config.timeout * (gint64) 1000;
  self->late = FALSE;
  self->in_cloud = TRUE;
  self->stats.requests++;
  g_cond_broadcast (&self->changed);
  return g_object_ref (self->cancellable);
}

/* Instead of an attempt, in a dry run: says what would be sent. */
static void
rehearse (AdaClient * self, const AdaRequest * request, GError ** error)
{
  const AdaClientEvents *events = &self->config.events;
  g_auto (AdaPreview) preview = { 0 };
  g_autoptr (GError) refused = NULL;
  const gboolean sendable = ada_cloud_preview (self->cloud, request, &preview, &refused);

  if (events->would_send)
    events->would_send (request, sendable ? &preview : NULL, refused, events->user_data);
  g_set_error_literal (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER,
      "this is a dry run: nothing is sent");
}

/* One attempt. @request and @traffic are the worker's own: nothing of the inquiry may be touched
 * here, since it may be taken away meanwhile. */
static AdaAnswer *
attempt (AdaClient * self, const AdaRequest * request, GError ** error)
{
  g_autoptr (GCancellable) cancellable = NULL;
  const gboolean dry_run = self->config.dry_run;
  GError *found = NULL;
  AdaAnswer *answer;
  gboolean go;

  g_mutex_lock (&self->lock);
  go = take_turn (self);
  if (go && dry_run)
    self->stats.dry++;
  else if (go)
    cancellable = start_clock (self);
  g_mutex_unlock (&self->lock);
  if (!go)
    g_propagate_error (error, error_of_stop ());
  else if (dry_run)
    rehearse (self, request, error);
  if (!go || dry_run)
    return NULL;

  answer = ada_cloud_classify (self->cloud, request, cancellable, &found);

  g_mutex_lock (&self->lock);
  self->in_cloud = FALSE;
  self->deadline = 0;
  if (!answer && !found)
    found = g_error_new_literal (ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_GARBAGE,
        "the cloud gave neither an answer nor an error");
  if (answer)
    g_clear_error (&found);
  else
    name_lateness (self, &found);
  account (self, request->traffic, answer, found);
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  if (found)
    g_propagate_error (error, found);
  return answer;
}

static gboolean
is_retryable (const GError * error)
{
  return g_error_matches (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_BUSY)
      || g_error_matches (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NETWORK)
      || g_error_matches (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_TIMEOUT);
}

/* Waits before try number @tries + 1; FALSE: there is none. Where a newer upload waits, that one
 * goes instead. */
static gboolean
wait_to_retry (AdaClient * self, guint tries, const GError * error)
{
  gint64 until;
  gboolean again;

  if (!is_retryable (error) || tries > self->config.retries)
    return FALSE;
  g_mutex_lock (&self->lock);
  until = draw_pause (self, tries - 1);
  while (!self->stopping && self->open_until == 0
      && g_cond_wait_until (&self->changed, &self->lock, until));
  again = !self->stopping && self->open_until == 0 && !(self->job->upload && self->upload)
      && ada_limits_promise (&self->limits, 1);
  if (again) {
    self->promised++;
    self->stats.retries++;
  }
  g_mutex_unlock (&self->lock);
  return again;
}

/* Moves what an attempt cost to the job; FALSE: the job is no longer ours. */
static gboolean
charge (AdaClient * self, Job * job, const AdaTraffic * traffic)
{
  gboolean ours;

  g_mutex_lock (&self->lock);
  ours = !self->left_behind;
  if (ours) {
    job->sent += traffic->sent;
    job->received += traffic->received;
    if (job->upload)
      self->stats.upload_bytes += traffic->sent + traffic->received;
  }
  g_mutex_unlock (&self->lock);
  return ours;
}

/* All attempts for one picture; FALSE: the job is no longer ours. */
static gboolean
ask_patiently (AdaClient * self, Job * job, AdaRequest * request, AdaAnswer ** answer,
    GError ** error)
{
  AdaTraffic traffic;

  request->traffic = &traffic;
  for (guint tries = 1;; tries++) {
    traffic = (AdaTraffic) { 0 };
    g_clear_error (error);
    *answer = attempt (self, request, error);
    if (!charge (self, job, &traffic))
      return FALSE;
    if (*answer || !wait_to_retry (self, tries, *error))
      return TRUE;
  }
}

/* ---- one inquiry ---------------------------------------------------------------------------- */

/* The error that forbids sending anything; NULL = none. */
static GError *
reason_not_to_send (AdaClient * self)
{
  GError *error = NULL;

  g_mutex_lock (&self->lock);
  if (self->stopping)
    error = error_of_stop ();
  else if (is_open (self))
    error = g_error_new (ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_OPEN, "after %u failures in a row the "
        "cloud is left alone for %.1f s; the last was: %s", self->failures,
        (self->open_until - g_get_monotonic_time ()) / (gdouble) G_USEC_PER_SEC,
        self->stats.last_error);
  g_mutex_unlock (&self->lock);
  return error;
}

/* Encodes and asks about picture @i. FALSE: the job is no longer ours. */
static gboolean
ask_one (AdaClient * self, Job * job, guint i)
{
  AdaInquiry *inquiry = job->inquiry;
  g_autofree gchar *name = g_strdup (inquiry->name);
  g_autoptr (GBytes) jpeg = NULL;
  const gboolean reference = i == 0 && !job->upload;
  AdaRequest request = { inquiry->id, name, inquiry->quality[i], reference, inquiry->width,
    inquiry->height, NULL, NULL
  };
  AdaAnswer *answer = NULL;
  GError *error = reason_not_to_send (self);

  if (!error) {
    request.jpeg = jpeg = inquiry->encode (inquiry, i, &error);
    if (jpeg && !ask_patiently (self, job, &request, &answer, &error)) {
      ada_answer_free (answer);
      g_clear_error (&error);
      return FALSE;
    }
  }
  if (reference && answer && answer->labels->len == 0) {
    g_clear_pointer (&answer, ada_answer_free);
    error = g_error_new_literal (ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER,
        "the cloud sees nothing in the reference");
  }
  job->answer[i] = answer;
  if (error)
    job_set_error (job, error);
  return TRUE;
}

/* FALSE: somebody else reports it. */
static gboolean
ask_all (AdaClient * self, Job * job)
{
  const guint n = MIN (job->inquiry->n, ADA_MAX_ASKED);

  for (guint i = 0; i < n; i++) {
    if (!ask_one (self, job, i))
      return FALSE;
    if (!job->answer[0] && !self->config.dry_run)
      break;
  }
  return TRUE;
}

/* With the lock: @job is what is under way. */
static void
begin_job (AdaClient * self, Job * job)
{
  self->job = job;
  self->promised = MIN (job->inquiry->n, ADA_MAX_ASKED);
  self->begun = 0;
}

/* With the lock: what it was promised and did not need is free again. */
static void
end_job (AdaClient * self, const Job * job)
{
  ada_limits_release (&self->limits, self->promised);
  self->promised = 0;
  if (job->upload && self->begun == 0)
    count_upload_as_dropped (self);
  else if (job->upload && job->answer[0])
    self->stats.uploads_answered++;
}

/* ---- threads -------------------------------------------------------------------------------- */

/* In Linux a priority is a thread's, and threads that it makes begin with it. */
static void
become_nicer (void)
{
  const id_t thread = (id_t) syscall (SYS_gettid);

  setpriority (PRIO_PROCESS, thread, MIN (getpriority (PRIO_PROCESS, thread) + NICER, 19));
}

/* With the lock: waits for something to do whose turn it is; NULL: it is time to stop. */
static Job *
wait_for_job (AdaClient * self)
{
  while (!self->stopping) {
    if (self->news)
      tell_news (self);
    else if (!self->upload && self->waiting.length == 0)
      g_cond_wait (&self->changed, &self->lock);
    else if (!is_open (self) && g_get_monotonic_time () < due (self))
      g_cond_wait_until (&self->changed, &self->lock, due (self));
    else                        /* where it is open, that is all it will be told */
      return pop_job (self);
  }
  return NULL;
}

/* With the lock, which it gives away in between. FALSE: somebody else reports it. */
static gboolean
run_job (AdaClient * self, Job * job)
{
  gboolean ours;

  begin_job (self, job);
  g_mutex_unlock (&self->lock);
  ours = ask_all (self, job);
  g_mutex_lock (&self->lock);
  if (ours) {
    end_job (self, job);
    g_mutex_unlock (&self->lock);
    job_finish (job);
    g_mutex_lock (&self->lock);
    self->job = NULL;
  }
  g_cond_broadcast (&self->changed);
  return ours;
}

static gpointer
worker_main (gpointer data)
{
  AdaClient *self = data;
  gboolean ours = TRUE;
  Job *job;

  become_nicer ();
  g_mutex_lock (&self->lock);
  while (ours && (job = wait_for_job (self)))
    ours = run_job (self, job);
  if (ours)
    flush_waiting (self);
  self->ended = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  client_unref (self);
  return NULL;
}

static gpointer
watch_main (gpointer data)
{
  AdaClient *self = data;

  g_mutex_lock (&self->lock);
  while (!self->stopping) {
    if (self->deadline == 0) {
      g_cond_wait (&self->changed, &self->lock);
    } else if (g_get_monotonic_time () < self->deadline) {
      g_cond_wait_until (&self->changed, &self->lock, self->deadline);
    } else {
      GCancellable *cancellable = g_object_ref (self->cancellable);

      self->deadline = 0;
      self->late = TRUE;
      g_mutex_unlock (&self->lock);
      g_cancellable_cancel (cancellable);
      g_object_unref (cancellable);
      g_mutex_lock (&self->lock);
    }
  }
  g_mutex_unlock (&self->lock);
  client_unref (self);
  return NULL;
}

/* ---- the caller's side ---------------------------------------------------------------------- */

AdaClient *
ada_client_new (AdaCloud * cloud, const AdaClientConfig * config)
{
  AdaClient *self = g_new0 (AdaClient, 1);

  self->cloud = g_object_ref (cloud);
  self->config = *config;
  ada_limits_init (&self->limits, config->per_minute, config->most);
  self->random = g_rand_new ();
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  g_queue_init (&self->waiting);
  g_atomic_ref_count_init (&self->references);
  g_atomic_ref_count_inc (&self->references);
  g_atomic_ref_count_inc (&self->references);
  self->worker = g_thread_new ("ada-cloud", worker_main, self);
  self->watch = g_thread_new ("ada-watch", watch_main, self);
  return self;
}

/* With the lock: waits for the worker; FALSE when its cloud does not come back. The caller's own
 * callbacks (encode, done) are waited for as long as they take. */
static gboolean
wait_for_worker (AdaClient * self)
{
  const gint64 until = g_get_monotonic_time () + GRACE_MS * (gint64) 1000;

  while (!self->ended) {
    if (!self->in_cloud)
      g_cond_wait (&self->changed, &self->lock);
    else if (!g_cond_wait_until (&self->changed, &self->lock, until) && self->in_cloud)
      return FALSE;
  }
  return TRUE;
}

/* With the lock. */
static void
leave_behind (AdaClient * self)
{
  Job *job = g_steal_pointer (&self->job);

  self->left_behind = TRUE;
  job_set_error (job, error_of_stop ());
  g_mutex_unlock (&self->lock);
  job_finish (job);
  g_mutex_lock (&self->lock);
  flush_waiting (self);
}

void
ada_client_stop (AdaClient * self)
{
  g_autoptr (GCancellable) cancellable = NULL;
  const gboolean from_worker = g_thread_self () == self->worker;

  g_mutex_lock (&self->lock);
  self->stopping = TRUE;
  if (self->cancellable)
    cancellable = g_object_ref (self->cancellable);
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  g_cancellable_cancel (cancellable);
  g_thread_join (self->watch);

  g_mutex_lock (&self->lock);
  if (!from_worker && !wait_for_worker (self))
    leave_behind (self);
  g_mutex_unlock (&self->lock);
  if (from_worker || self->left_behind)
    g_thread_unref (self->worker);
  else
    g_thread_join (self->worker);
  self->stopped = TRUE;
}

void
ada_client_free (AdaClient * self)
{
  if (!self->stopped)
    ada_client_stop (self);
  client_unref (self);
}

/* With the lock. */
static gboolean
is_idle (AdaClient * self)
{
  return self->job == NULL && self->waiting.length == 0 && self->upload == NULL;
}

/* With the lock: what @queued others wait for. */
static gboolean
has_room (AdaClient * self, guint queued)
{
  if (self->stopping || is_open (self) || self->stats.exhausted)
    return FALSE;
  return is_half_open (self) ? is_idle (self) : queued < self->config.queue;
}

/* With the lock: are @n requests left? When not even the least anybody wants can be had any more,
 * that was all. */
static gboolean
has_left (AdaClient * self, guint n)
{
  if (ada_limits_left (&self->limits) >= n)
    return TRUE;
  if (!self->stats.exhausted && self->limits.promised == 0) {
    self->stats.exhausted = TRUE;
    note_news (self, ADA_CLIENT_EXHAUSTED, ADA_CLIENT_EXHAUSTED);
    g_cond_broadcast (&self->changed);
  }
  return FALSE;
}

gboolean
ada_client_ready (AdaClient * self)
{
  gboolean ready;

  g_mutex_lock (&self->lock);
  ready = has_room (self, self->waiting.length) && has_left (self, 2);
  g_mutex_unlock (&self->lock);
  return ready;
}

guint
ada_client_left (AdaClient * self)
{
  guint64 left;

  g_mutex_lock (&self->lock);
  left = self->stats.exhausted ? 0 : ada_limits_left (&self->limits);
  g_mutex_unlock (&self->lock);
  return (guint) MIN (left, ADA_MAX_ASKED);
}

gboolean
ada_client_submit (AdaClient * self, AdaInquiry * inquiry)
{
  gboolean taken;

  g_mutex_lock (&self->lock);
  taken = has_room (self, self->waiting.length)
      && ada_limits_promise (&self->limits, MIN (inquiry->n, ADA_MAX_ASKED));
  if (taken) {
    g_queue_push_tail (&self->waiting, inquiry);
    g_cond_broadcast (&self->changed);
  } else {
    self->stats.dropped++;
  }
  g_mutex_unlock (&self->lock);
  if (!taken)
    inquiry->free (inquiry);
  return taken;
}

/* With the lock: one that waits has its promise already. */
static gboolean
can_upload (AdaClient * self)
{
  if (self->upload)
    return !self->stopping && !is_open (self);
  return has_room (self, 0) && has_left (self, 1) && ada_limits_promise (&self->limits, 1);
}

gboolean
ada_client_upload (AdaClient * self, AdaInquiry * inquiry)
{
  AdaInquiry *loser = inquiry;
  gboolean taken;

  g_mutex_lock (&self->lock);
  taken = can_upload (self);
  if (taken) {
    loser = self->upload;
    self->upload = inquiry;
    g_cond_broadcast (&self->changed);
  }
  self->stats.uploads += !loser;
  self->stats.uploads_dropped += loser != NULL;
  g_mutex_unlock (&self->lock);
  if (loser)
    loser->free (loser);
  return taken;
}

/* With the lock: nothing is under way, and what waits may not leave before @until. */
static gboolean
is_rationed (AdaClient * self, gint64 until)
{
  return !self->in_cloud && ada_limits_due (&self->limits) > until;
}

gboolean
ada_client_drain (AdaClient * self, guint timeout)
{
  const gint64 until = g_get_monotonic_time () + timeout * (gint64) 1000;
  gboolean idle;

  g_mutex_lock (&self->lock);
  while (!(idle = is_idle (self) || is_rationed (self, until)))
    if (!g_cond_wait_until (&self->changed, &self->lock, until))
      break;
  g_mutex_unlock (&self->lock);
  return idle;
}

void
ada_client_stats (AdaClient * self, AdaClientStats * stats)
{
  g_mutex_lock (&self->lock);
  *stats = self->stats;
  stats->open = self->open_until != 0;
  stats->retry_in = retry_in (self);
  g_mutex_unlock (&self->lock);
}
