/* gst-pirl: asking a cloud: time limits, retries, back-off, circuit breaker, queues, limits, dry
 * runs, and the end, with a cloud that does what each test tells it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "adacompress-cloud-server.h"
#include "request-limits.h"

#define MAX_CALLS 4096
/* ms that a busy machine may add to what takes no time. */
#define SLACK 3000

/* ---- a cloud that obeys --------------------------------------------------------------------- */

#define TEST_TYPE_CLOUD (test_cloud_get_type ())
G_DECLARE_FINAL_TYPE (TestCloud, test_cloud, TEST, CLOUD, GObject)

typedef AdaAnswer *(*Reply) (TestCloud * cloud, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error);

struct _TestCloud {
  GObject parent;
  Reply reply;
  gint code;                    /* for replies that fail */
  guint failing;                /* calls that fail first */
  guint retry_after;
  GMutex lock;
  GCond changed;
  gboolean released;            /* for replies that wait */
  guint calls;
  gint64 began[MAX_CALLS];
  gint quality[MAX_CALLS];
  gint nice;
};

static void test_cloud_interface_init (AdaCloudInterface * iface);
G_DEFINE_TYPE_WITH_CODE (TestCloud, test_cloud, G_TYPE_OBJECT,
    G_IMPLEMENT_INTERFACE (ADA_TYPE_CLOUD, test_cloud_interface_init))

static gint finalized;

static void
test_cloud_finalize (GObject * object)
{
  TestCloud *self = TEST_CLOUD (object);

  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  G_OBJECT_CLASS (test_cloud_parent_class)->finalize (object);
  g_atomic_int_inc (&finalized);
}

static void
test_cloud_class_init (TestCloudClass * klass)
{
  G_OBJECT_CLASS (klass)->finalize = test_cloud_finalize;
}

static void
test_cloud_init (TestCloud * self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
}

static AdaAnswer *
test_cloud_classify (AdaCloud * cloud, const AdaRequest * request, GCancellable * cancellable,
    GError ** error)
{
  TestCloud *self = TEST_CLOUD (cloud);
  guint call;

  g_mutex_lock (&self->lock);
  call = self->calls++;
  g_assert_cmpuint (call, <, MAX_CALLS);
  self->began[call] = g_get_monotonic_time ();
  self->quality[call] = request->quality;
  self->nice = getpriority (PRIO_PROCESS, (id_t) syscall (SYS_gettid));
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  return self->reply (self, request, call, cancellable, error);
}

/* A picture of quality 5 is beyond its limits. */
static gboolean
test_cloud_preview (AdaCloud * cloud, const AdaRequest * request, AdaPreview * preview,
    GError ** error)
{
  if (request->quality == 5) {
    g_set_error_literal (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED, "too small");
    return FALSE;
  }
  preview->method = g_strdup ("POST");
  preview->url = g_strdup ("http://test/");
  preview->body = g_bytes_get_size (request->jpeg) + 1;
  return TRUE;
}

static void
test_cloud_interface_init (AdaCloudInterface * iface)
{
  iface->classify = test_cloud_classify;
  iface->preview = test_cloud_preview;
}

static void
wait_for_calls (TestCloud * self, guint calls)
{
  g_mutex_lock (&self->lock);
  while (self->calls < calls)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
}

static void
release (TestCloud * self)
{
  g_mutex_lock (&self->lock);
  self->released = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

/* ---- replies -------------------------------------------------------------------------------- */

/* "q75" for quality 75. */
static AdaAnswer *
answers (TestCloud * self, const AdaRequest * request, guint call, GCancellable * cancellable,
    GError ** error)
{
  AdaAnswer *answer = ada_answer_new ();
  g_autofree gchar *id = g_strdup_printf ("q%d", request->quality);

  request->traffic->received = 7;
  ada_answer_add (answer, id, NULL, 0.5);
  return answer;
}

static AdaAnswer *
fails (TestCloud * self, const AdaRequest * request, guint call, GCancellable * cancellable,
    GError ** error)
{
  if (call >= self->failing)
    return answers (self, request, call, cancellable, error);
  request->traffic->sent = 100;
  request->traffic->received = 10;
  request->traffic->retry_after = self->retry_after;
  g_set_error (error, ADA_CLOUD_ERROR, self->code, "call %u fails as it was told", call);
  return NULL;
}

static AdaAnswer *
sees_nothing (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  return ada_answer_new ();
}

static AdaAnswer *
fails_on_a_trial (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  self->failing = request->quality == 5 ? G_MAXUINT : 0;
  return fails (self, request, call, cancellable, error);
}

static AdaAnswer *
waits_for_cancellation (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  while (!g_cancellable_set_error_if_cancelled (cancellable, error))
    g_usleep (1000);
  return NULL;
}

/* Hears no cancellation. */
static AdaAnswer *
waits_for_release (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  g_mutex_lock (&self->lock);
  while (!self->released)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
  return fails (self, request, call, cancellable, error);
}

static AdaAnswer *
breaks_the_contract (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  return NULL;
}

/* ---- fixtures ------------------------------------------------------------------------------- */

typedef struct {
  TestCloud *cloud;
  AdaClient *client;
  TestLog log;
  guint submitted;
  /* Under the log's lock. */
  guint told[ADA_CLIENT_EXHAUSTED + 1];
  guint retry_in;               /* of the last OPEN */
  guint previews, refusals;
} Fixture;

static void
note_state (AdaClientState state, guint retry_in, const gchar * reason, gpointer user_data)
{
  Fixture *f = user_data;

  g_mutex_lock (&f->log.lock);
  f->told[state]++;
  if (state == ADA_CLIENT_OPEN) {
    f->retry_in = retry_in;
    g_assert_cmpint (*reason, !=, 0);
  }
  g_cond_broadcast (&f->log.changed);
  g_mutex_unlock (&f->log.lock);
}

static void
note_preview (const AdaRequest * request, const AdaPreview * preview, const GError * error,
    gpointer user_data)
{
  Fixture *f = user_data;

  g_assert_true ((preview == NULL) == (error != NULL));
  if (preview)
    g_assert_cmpuint (preview->body, ==, g_bytes_get_size (request->jpeg) + 1);
  g_mutex_lock (&f->log.lock);
  f->previews++;
  f->refusals += error != NULL;
  g_mutex_unlock (&f->log.lock);
}

/* What the worker tells comes after what it has done. */
static void
wait_until_told (Fixture * f, AdaClientState state, guint times)
{
  g_mutex_lock (&f->log.lock);
  while (f->told[state] < times)
    g_cond_wait (&f->log.changed, &f->log.lock);
  g_assert_cmpuint (f->told[state], ==, times);
  g_mutex_unlock (&f->log.lock);
}

static void
set_up (Fixture * f, Reply reply, const AdaClientConfig * config)
{
  AdaClientConfig own;

  memset (f, 0, sizeof *f);
  ada_client_config_defaults (&own);
  if (config)
    own = *config;
  own.events = (AdaClientEvents) { note_state, note_preview, f };
  f->cloud = g_object_new (TEST_TYPE_CLOUD, NULL);
  f->cloud->reply = reply;
  f->client = ada_client_new (ADA_CLOUD (f->cloud), &own);
}

static gboolean
submit (Fixture * f, guint n_trials)
{
  const gboolean taken = ada_client_submit (f->client, test_inquiry (&f->log, 1, "a", n_trials));

  f->submitted += taken;
  return taken;
}

/* Uploads a picture of @quality. */
static gboolean
upload (Fixture * f, gint quality)
{
  AdaInquiry *inquiry = test_inquiry (&f->log, 1, "a", 0);
  gboolean taken;

  inquiry->quality[0] = quality;
  taken = ada_client_upload (f->client, inquiry);
  f->submitted += taken;
  return taken;
}

/* Submits one and waits for its end. */
static void
ask (Fixture * f, guint n_trials)
{
  g_assert_true (submit (f, n_trials));
  g_assert_true (ada_client_drain (f->client, 30000));
  test_wait_done (&f->log, f->submitted);
}

static void
tear_down (Fixture * f)
{
  g_clear_pointer (&f->client, ada_client_free);
  g_assert_cmpuint (f->log.done, ==, f->submitted);
  g_clear_object (&f->cloud);
}

static void
assert_error (const Fixture * f, gint code)
{
  g_assert_true (f->log.domain == ADA_CLOUD_ERROR);
  g_assert_cmpint (f->log.code, ==, code);
}

/* What cannot be otherwise, whatever happened. */
static void
assert_stats_add_up (Fixture * f, AdaClientStats * stats)
{
  ada_client_stats (f->client, stats);
  g_assert_cmpuint (stats->requests, ==,
      stats->answered + stats->no_answers + stats->errors + stats->timeouts);
  /* On a busy machine a time limit of milliseconds is over before a request reaches the cloud. */
  g_assert_cmpuint (stats->requests, >=, f->cloud->calls);
  g_assert_cmpuint (stats->requests - f->cloud->calls, <=, stats->timeouts);
  g_assert_cmpuint (stats->sent, ==, f->log.total_sent);
  g_assert_cmpuint (stats->received, ==, f->log.total_received);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void
test_order (void)
{
  AdaClientStats stats;
  Fixture f;

  set_up (&f, answers, NULL);
  ask (&f, 3);
  g_assert_cmpint (f.log.code, ==, -1);
  g_assert_cmpuint (f.log.answers, ==, 0xf);
  g_assert_cmpstr (f.log.first[0], ==, "q75");
  g_assert_cmpstr (f.log.first[3], ==, "q15");
  g_assert_cmpint (f.cloud->quality[0], ==, 75);
  /* Sizes by test_jpeg(). */
  g_assert_cmpuint (f.log.sent, ==, 4 * 1000 + 10 * (75 + 5 + 10 + 15));
  g_assert_cmpuint (f.log.received, ==, 4 * 7);
  g_assert_true (f.log.thread != g_thread_self ());
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.answered, ==, 4);
  g_assert_false (stats.open);
  tear_down (&f);
}

static void
test_priority (void)
{
  const gint ours = getpriority (PRIO_PROCESS, (id_t) syscall (SYS_gettid));
  Fixture f;

  set_up (&f, answers, NULL);
  ask (&f, 0);
  g_assert_cmpint (f.cloud->nice, ==, MIN (ours + 10, 19));
  g_assert_cmpint (getpriority (PRIO_PROCESS, (id_t) syscall (SYS_gettid)), ==, ours);
  tear_down (&f);
}

static void
test_no_reference (void)
{
  Fixture f;

  set_up (&f, fails, NULL);
  f.cloud->code = ADA_CLOUD_ERROR_NO_ANSWER;
  f.cloud->failing = G_MAXUINT;
  ask (&f, 3);
  assert_error (&f, ADA_CLOUD_ERROR_NO_ANSWER);
  g_assert_cmpuint (f.cloud->calls, ==, 1);
  f.cloud->reply = sees_nothing;
  ask (&f, 3);
  assert_error (&f, ADA_CLOUD_ERROR_NO_ANSWER);
  g_assert_cmpuint (f.log.answers, ==, 0);
  g_assert_cmpuint (f.cloud->calls, ==, 2);
  tear_down (&f);
}

static void
test_trial_fails (void)
{
  Fixture f;

  set_up (&f, fails_on_a_trial, NULL);
  f.cloud->code = ADA_CLOUD_ERROR_REFUSED;
  ask (&f, 2);
  assert_error (&f, ADA_CLOUD_ERROR_REFUSED);
  g_assert_cmpuint (f.log.answers, ==, 0x5);
  g_assert_cmpstr (f.log.first[2], ==, "q10");
  tear_down (&f);
}

static void
test_retryable (void)
{
  const struct {
    gint code;
    guint calls;
  } kinds[] = {
    {ADA_CLOUD_ERROR_BUSY, 3}, {ADA_CLOUD_ERROR_NETWORK, 3}, {ADA_CLOUD_ERROR_TIMEOUT, 3},
    {ADA_CLOUD_ERROR_REFUSED, 1}, {ADA_CLOUD_ERROR_GARBAGE, 1}, {ADA_CLOUD_ERROR_NO_ANSWER, 1},
  };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++) {
    const AdaClientConfig config = { 5000, 4, 2, 1, 2, 9 };
    AdaClientStats stats;
    Fixture f;

    set_up (&f, fails, &config);
    f.cloud->code = kinds[i].code;
    f.cloud->failing = G_MAXUINT;
    ask (&f, 0);
    assert_error (&f, kinds[i].code);
    g_assert_cmpuint (f.cloud->calls, ==, kinds[i].calls);
    /* All attempts cost. */
    g_assert_cmpuint (f.log.sent, ==, 100 * kinds[i].calls);
    g_assert_cmpuint (f.log.received, ==, 10 * kinds[i].calls);
    assert_stats_add_up (&f, &stats);
    g_assert_cmpuint (stats.retries, ==, kinds[i].calls - 1);
    tear_down (&f);
  }
}

/* Each pause lies between half and whole of the doubled back-off; the machine may add to it. */
static void
test_backoff (void)
{
  const AdaClientConfig config = { 5000, 4, 4, 40, 100, 0 };
  const gdouble least[] = { 20, 40, 50, 50 };
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = 4;
  ask (&f, 0);
  g_assert_cmpint (f.log.code, ==, -1);
  g_assert_cmpuint (f.cloud->calls, ==, 5);
  for (guint i = 0; i < 4; i++) {
    const gdouble pause = (f.cloud->began[i + 1] - f.cloud->began[i]) / 1000.;

    g_assert_cmpfloat (pause, >=, least[i]);
    g_assert_cmpfloat (pause, <, 2 * least[i] + SLACK);
  }
  tear_down (&f);
}

static void
test_retry_after (void)
{
  const struct {
    guint asked, max;
    gdouble least;
  } cases[] = { {150, 1000, 150}, {60000, 200, 200} };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const AdaClientConfig config = { 5000, 4, 1, 1, cases[i].max, 0 };
    gdouble pause;
    Fixture f;

    set_up (&f, fails, &config);
    f.cloud->code = ADA_CLOUD_ERROR_BUSY;
    f.cloud->failing = 1;
    f.cloud->retry_after = cases[i].asked;
    ask (&f, 0);
    pause = (f.cloud->began[1] - f.cloud->began[0]) / 1000.;
    g_assert_cmpfloat (pause, >=, cases[i].least);
    g_assert_cmpfloat (pause, <, cases[i].least + SLACK);
    tear_down (&f);
  }
}

/* Who is told to stay away sends nothing else meanwhile either, and stops at once all the same. */
static void
test_retry_after_holds_all (void)
{
  AdaClientConfig config = { 5000, 4, 0, 1, 300, 0 };
  gint64 begin;
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = 1;
  f.cloud->retry_after = 300;
  g_assert_true (submit (&f, 0));
  g_assert_true (submit (&f, 0));
  test_wait_done (&f.log, 2);
  g_assert_cmpint (f.cloud->began[1] - f.cloud->began[0], >=, 300000);
  tear_down (&f);

  config.backoff_max = 60000;
  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = 1;
  f.cloud->retry_after = 60000;
  g_assert_true (submit (&f, 0));
  g_assert_true (submit (&f, 0));
  test_wait_done (&f.log, 1);
  begin = g_get_monotonic_time ();
  tear_down (&f);
  g_assert_cmpfloat (test_ms_since (begin), <, SLACK);
  g_assert_cmpuint (f.log.done, ==, 2);
}

/* What waits when it opens is not kept to be asked later. */
static void
test_open_with_retry_after (void)
{
  const AdaClientConfig config = { 5000, 4, 0, 1, 60000, 1 };
  gint64 begin;
  Fixture f;

  set_up (&f, waits_for_release, &config);
  begin = g_get_monotonic_time ();
  g_assert_true (submit (&f, 0));
  wait_for_calls (f.cloud, 1);
  g_assert_true (submit (&f, 0));
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = G_MAXUINT;
  f.cloud->retry_after = 60000;
  release (f.cloud);
  test_wait_done (&f.log, 2);
  assert_error (&f, ADA_CLOUD_ERROR_OPEN);
  g_assert_cmpuint (f.cloud->calls, ==, 1);
  g_assert_cmpfloat (test_ms_since (begin), <, SLACK);
  tear_down (&f);
}

static void
test_timeout (void)
{
  const AdaClientConfig config = { 60, 4, 1, 1, 1, 0 };
  AdaClientStats stats;
  gint64 begin;
  Fixture f;

  set_up (&f, waits_for_cancellation, &config);
  begin = g_get_monotonic_time ();
  ask (&f, 2);
  g_assert_cmpfloat (test_ms_since (begin), >=, 2 * 60);
  g_assert_cmpfloat (test_ms_since (begin), <, 2 * 60 + SLACK);
  assert_error (&f, ADA_CLOUD_ERROR_TIMEOUT);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.timeouts, ==, 2);
  g_assert_cmpuint (stats.retries, ==, 1);
  /* The next has a clock of its own. */
  f.cloud->reply = answers;
  ask (&f, 2);
  g_assert_cmpint (f.log.code, ==, -1);
  tear_down (&f);
}

static void
wait_until_ready (Fixture * f)
{
  while (!ada_client_ready (f->client))
    g_usleep (2000);
}

static void
test_breaker (void)
{
  const AdaClientConfig config = { 5000, 4, 0, 100, 400, 3 };
  AdaClientStats stats;
  gint64 opened;
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_NETWORK;
  f.cloud->failing = 4;
  for (guint i = 0; i < 3; i++) {
    g_assert_true (ada_client_ready (f.client));
    ask (&f, 1);
  }
  /* Open: nothing is taken, nothing is sent. */
  opened = f.cloud->began[2];
  g_assert_false (ada_client_ready (f.client));
  g_assert_false (submit (&f, 1));
  ada_client_stats (f.client, &stats);
  g_assert_true (stats.open);
  g_assert_cmpuint (stats.dropped, ==, 1);
  g_assert_cmpuint (stats.retry_in, >, 0);
  g_assert_cmpuint (stats.retry_in, <=, 400);
  wait_until_told (&f, ADA_CLIENT_OPEN, 1);
  g_assert_cmpuint (f.retry_in, >, 0);
  g_assert_cmpuint (f.cloud->calls, ==, 3);
  g_assert_nonnull (strstr (stats.last_error, "call 2 fails"));
  /* The third failure in a row: at least half of 100 << 2 ms. Then one probe, which fails. */
  wait_until_ready (&f);
  g_assert_cmpfloat (test_ms_since (opened), >=, 200);
  ask (&f, 1);
  g_assert_cmpuint (f.cloud->calls, ==, 4);
  g_assert_false (ada_client_ready (f.client));
  wait_until_told (&f, ADA_CLIENT_OPEN, 2);
  g_assert_cmpuint (f.told[ADA_CLIENT_CLOSED], ==, 0);
  /* The next probe succeeds, and with it the service is back. */
  wait_until_ready (&f);
  ask (&f, 1);
  g_assert_cmpuint (f.log.answers, ==, 0x3);
  g_assert_cmpuint (f.cloud->calls, ==, 6);
  assert_stats_add_up (&f, &stats);
  g_assert_false (stats.open);
  g_assert_cmpuint (stats.retry_in, ==, 0);
  g_assert_cmpuint (stats.errors, ==, 4);
  wait_until_told (&f, ADA_CLIENT_CLOSED, 1);
  g_assert_true (ada_client_ready (f.client));
  tear_down (&f);
}

/* While half open a single inquiry is let through, however many come. */
static void
test_single_probe (void)
{
  const AdaClientConfig config = { 5000, 4, 2, 20, 20, 1 };
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = 1;
  ask (&f, 0);
  /* Opened by the first failure: it was not tried again. */
  g_assert_cmpuint (f.cloud->calls, ==, 1);
  wait_until_ready (&f);
  f.cloud->reply = waits_for_release;
  g_assert_true (submit (&f, 0));
  g_assert_false (ada_client_ready (f.client));
  g_assert_false (submit (&f, 0));
  wait_for_calls (f.cloud, 2);
  g_assert_false (submit (&f, 0));
  release (f.cloud);
  test_wait_done (&f.log, f.submitted);
  g_assert_true (ada_client_drain (f.client, 1000));
  g_assert_true (ada_client_ready (f.client));
  tear_down (&f);
}

/* What was taken before the breaker opened is told so, and not sent. */
static void
test_open_while_waiting (void)
{
  const AdaClientConfig config = { 50, 4, 0, 10000, 10000, 1 };
  Fixture f;

  set_up (&f, waits_for_cancellation, &config);
  for (guint i = 0; i < 3; i++)
    g_assert_true (submit (&f, 0));
  test_wait_done (&f.log, 3);
  assert_error (&f, ADA_CLOUD_ERROR_OPEN);
  g_assert_cmpuint (f.cloud->calls, ==, 1);
  g_assert_cmpuint (f.log.sent, ==, 0);
  tear_down (&f);
}

static void
test_queue (void)
{
  const AdaClientConfig config = { 5000, 2, 0, 1, 1, 0 };
  AdaClientStats stats;
  Fixture f;

  set_up (&f, waits_for_release, &config);
  g_assert_true (submit (&f, 0));
  wait_for_calls (f.cloud, 1);
  g_assert_true (submit (&f, 0));
  g_assert_true (submit (&f, 0));
  g_assert_false (ada_client_ready (f.client));
  g_assert_false (submit (&f, 0));
  g_assert_false (ada_client_drain (f.client, 20));
  ada_client_stats (f.client, &stats);
  g_assert_cmpuint (stats.dropped, ==, 1);
  /* What was refused has been freed, unasked. */
  g_assert_cmpuint (f.log.freed, ==, 1);
  g_assert_cmpuint (f.log.done, ==, 0);
  release (f.cloud);
  g_assert_true (ada_client_drain (f.client, 5000));
  g_assert_cmpuint (f.log.done, ==, 3);
  g_assert_cmpuint (f.log.freed, ==, 4);
  tear_down (&f);
}

static void
test_encode_fails (void)
{
  Fixture f;

  set_up (&f, answers, NULL);
  f.log.fail_encoding = TRUE;
  ask (&f, 2);
  g_assert_true (f.log.domain == G_IO_ERROR);
  g_assert_cmpuint (f.cloud->calls, ==, 0);
  g_assert_cmpuint (f.log.encoded, ==, 1);
  tear_down (&f);
}

static void
test_contract_broken (void)
{
  Fixture f;

  set_up (&f, breaks_the_contract, NULL);
  ask (&f, 1);
  assert_error (&f, ADA_CLOUD_ERROR_GARBAGE);
  tear_down (&f);
}

static void
test_free_cancels (void)
{
  gint64 begin;
  Fixture f;

  set_up (&f, waits_for_cancellation, NULL);
  for (guint i = 0; i < 4; i++)
    g_assert_true (submit (&f, 1));
  wait_for_calls (f.cloud, 1);
  begin = g_get_monotonic_time ();
  g_clear_pointer (&f.client, ada_client_free);
  g_assert_cmpfloat (test_ms_since (begin), <, SLACK);
  g_assert_cmpuint (f.log.done, ==, 4);
  g_assert_cmpuint (f.log.freed, ==, 4);
  g_assert_true (f.log.domain == G_IO_ERROR && f.log.code == G_IO_ERROR_CANCELLED);
  g_assert_cmpuint (f.cloud->calls, ==, 1);
  g_object_unref (f.cloud);
}

static void
test_free_in_backoff (void)
{
  const AdaClientConfig config = { 5000, 4, 2, 20000, 20000, 0 };
  gint64 begin;
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = G_MAXUINT;
  g_assert_true (submit (&f, 1));
  wait_for_calls (f.cloud, 1);
  g_usleep (20000);
  begin = g_get_monotonic_time ();
  tear_down (&f);
  g_assert_cmpfloat (test_ms_since (begin), <, SLACK);
}

/* A cloud that hears nothing is left behind, and tidies up when it is done. */
static void
test_free_deaf (void)
{
  const gint before = g_atomic_int_get (&finalized);
  TestCloud *cloud;
  gint64 begin;
  Fixture f;

  set_up (&f, waits_for_release, NULL);
  for (guint i = 0; i < 3; i++)
    g_assert_true (submit (&f, 2));
  wait_for_calls (f.cloud, 1);
  begin = g_get_monotonic_time ();
  g_clear_pointer (&f.client, ada_client_free);
  g_assert_cmpfloat (test_ms_since (begin), <, 750 + SLACK);
  g_assert_cmpuint (f.log.done, ==, 3);
  g_assert_cmpuint (f.log.freed, ==, 3);
  g_assert_true (f.log.domain == G_IO_ERROR && f.log.code == G_IO_ERROR_CANCELLED);
  cloud = g_object_ref (f.cloud);
  g_object_unref (f.cloud);
  release (cloud);
  g_object_unref (cloud);
  for (guint i = 0; i < 5000 && g_atomic_int_get (&finalized) == before; i++)
    g_usleep (1000);
  g_assert_cmpint (g_atomic_int_get (&finalized), ==, before + 1);
  g_assert_cmpuint (f.log.done, ==, 3);
}

static void
free_client (gpointer data)
{
  Fixture *f = data;

  /* ada_client_submit() must have returned to who called it. */
  g_usleep (20000);
  g_clear_pointer (&f->client, ada_client_free);
}

static void
test_free_from_done (void)
{
  const gint before = g_atomic_int_get (&finalized);
  Fixture f;

  set_up (&f, answers, NULL);
  f.log.in_done = free_client;
  f.log.data = &f;
  g_assert_true (submit (&f, 0));
  test_wait_done (&f.log, 1);
  g_object_unref (f.cloud);
  for (guint i = 0; i < 5000 && g_atomic_int_get (&finalized) == before; i++)
    g_usleep (1000);
  g_assert_cmpint (g_atomic_int_get (&finalized), ==, before + 1);
}

/* ---- limits --------------------------------------------------------------------------------- */

/* Greedy and lazy senders alike: no minute has more than it may, and greed loses little by it. */
static void
test_any_minute (void)
{
  static const guint rates[] = { 1, 2, 5, 10, 19, 20, 60, 100, 999, 6000 };
  enum { N = 20000 };
  g_autofree gint64 *sent = g_new (gint64, N);
  GRand *random = g_rand_new_with_seed (5);

  for (guint r = 0; r < 2 * G_N_ELEMENTS (rates); r++) {
    const guint rate = rates[r / 2], lazy = r % 2;
    const gint64 minute = 60 * G_USEC_PER_SEC;
    AdaLimits limits;
    gint64 now = 12345;

    ada_limits_init (&limits, rate, 0);
    for (guint i = 0; i < N; i++) {
      if (lazy && g_rand_int_range (random, 0, 8) == 0)
        now += g_rand_int_range (random, 0, 30 * minute / rate / 10);
      g_assert_true (ada_limits_promise (&limits, 1));
      now = MAX (now, ada_limits_due (&limits));
      ada_limits_take (&limits, now);
      sent[i] = now;
      if (i >= rate)
        g_assert_cmpint (sent[i] - sent[i - rate], >=, minute);
      if (i >= 4)
        g_assert_cmpint (sent[i], >, sent[i - 4]);
    }
    if (!lazy)
      g_assert_cmpfloat (N / ((gdouble) now / minute), >=, 0.94 * rate);
  }
  g_rand_free (random);
}

static void
test_most (void)
{
  AdaClientConfig config;
  AdaClientStats stats;
  Fixture f;

  ada_client_config_defaults (&config);
  config.most = 5;
  set_up (&f, answers, &config);
  ask (&f, 1);
  ask (&f, 1);
  g_assert_cmpuint (ada_client_left (f.client), ==, 1);
  /* What cannot be sent whole is not begun. */
  g_assert_false (submit (&f, 1));
  g_assert_cmpuint (f.cloud->calls, ==, 4);
  ask (&f, 0);
  g_assert_cmpuint (f.told[ADA_CLIENT_EXHAUSTED], ==, 0);
  for (guint i = 0; i < 3; i++) {
    g_assert_false (ada_client_ready (f.client));
    g_assert_false (submit (&f, 0));
    g_assert_false (upload (&f, 7));
  }
  wait_until_told (&f, ADA_CLIENT_EXHAUSTED, 1);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.requests, ==, 5);
  g_assert_cmpuint (stats.dropped, ==, 4);
  g_assert_cmpuint (stats.uploads, ==, 0);
  g_assert_cmpuint (stats.uploads_dropped, ==, 3);
  g_assert_true (stats.exhausted);
  tear_down (&f);
}

/* A retry takes nothing from what is promised to others. */
static void
test_most_with_retries (void)
{
  const AdaClientConfig config = { 5000, 4, 9, 1, 1, 0, 0, 4 };
  AdaClientStats stats;
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = G_MAXUINT;
  /* Two are promised to it, so that it has two retries; then what it was promised is free again. */
  ask (&f, 1);
  g_assert_cmpuint (f.cloud->calls, ==, 3);
  g_assert_cmpuint (ada_client_left (f.client), ==, 1);
  ask (&f, 0);
  g_assert_cmpuint (f.cloud->calls, ==, 4);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.retries, ==, 2);
  g_assert_cmpuint (ada_client_left (f.client), ==, 0);
  tear_down (&f);
}

/* Requests keep their distance, and waiting is no part of their time. */
static void
test_per_minute (void)
{
  /* Two at once, then one in 3.158 s, which is longer than the time-out. */
  const AdaClientConfig config = { 2000, 4, 0, 1, 1, 0, 20 };
  AdaClientStats stats;
  gint64 begin;
  Fixture f;

  set_up (&f, answers, &config);
  begin = g_get_monotonic_time ();
  ask (&f, 2);
  g_assert_cmpuint (f.cloud->calls, ==, 3);
  g_assert_cmpint (f.cloud->began[2] - begin, >=, 3157000);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.timeouts, ==, 0);
  g_assert_cmpuint (stats.answered, ==, 3);
  tear_down (&f);
}

static void
test_stop_while_waiting_for_a_turn (void)
{
  const AdaClientConfig config = { 5000, 4, 0, 1, 1, 0, 1 };
  AdaClientStats stats;
  gint64 begin;
  Fixture f;

  set_up (&f, answers, &config);
  /* The second of the first inquiry, the second inquiry, and an upload have to wait for minutes. */
  g_assert_true (submit (&f, 1));
  wait_for_calls (f.cloud, 1);
  g_assert_true (submit (&f, 1));
  g_assert_true (upload (&f, 7));
  /* Who ends a stream does not wait for that. */
  g_assert_true (ada_client_drain (f.client, 10000));
  g_assert_cmpuint (f.log.done, ==, 0);
  begin = g_get_monotonic_time ();
  ada_client_stop (f.client);
  g_assert_cmpfloat (test_ms_since (begin), <, SLACK);
  g_assert_cmpuint (f.log.done, ==, 3);
  g_assert_cmpuint (f.cloud->calls, ==, 1);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.uploads, ==, 0);
  g_assert_cmpuint (stats.uploads_dropped, ==, 1);
  /* Nothing is taken any more. */
  g_assert_false (submit (&f, 1));
  g_assert_false (upload (&f, 7));
  tear_down (&f);
}

/* ---- uploads -------------------------------------------------------------------------------- */

/* The newest waits; where inquiries wait, too, they take turns. */
static void
test_uploads_take_turns (void)
{
  static const gint order[] = { 75, 5, 22, 75, 5 };
  AdaClientConfig config;
  AdaClientStats stats;
  Fixture f;

  ada_client_config_defaults (&config);
  set_up (&f, waits_for_release, &config);
  g_assert_true (submit (&f, 1));
  wait_for_calls (f.cloud, 1);
  g_assert_true (submit (&f, 1));
  g_assert_true (submit (&f, 1));
  g_assert_true (upload (&f, 21));
  g_assert_true (upload (&f, 22));
  /* The older one was freed, unsent. */
  f.submitted--;
  g_assert_cmpuint (f.log.freed, ==, 1);
  f.cloud->reply = answers;
  release (f.cloud);
  wait_for_calls (f.cloud, 3);
  g_assert_true (upload (&f, 23));
  g_assert_true (ada_client_drain (f.client, 5000));
  /* Whether the last upload comes before or after the third inquiry is a matter of time. */
  for (guint i = 0; i < G_N_ELEMENTS (order); i++)
    g_assert_cmpint (f.cloud->quality[i], ==, order[i]);
  g_assert_cmpuint (f.cloud->calls, ==, G_N_ELEMENTS (order) + 3);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.uploads, ==, 2);
  g_assert_cmpuint (stats.uploads_answered, ==, 2);
  g_assert_cmpuint (stats.uploads_dropped, ==, 1);
  g_assert_cmpuint (stats.upload_bytes, ==, 2 * 1000 + 10 * (22 + 23) + 2 * 7);
  tear_down (&f);
}

/* No reference: "I see nothing" is what was asked for. */
static void
test_upload_of_nothing (void)
{
  AdaClientStats stats;
  Fixture f;

  set_up (&f, sees_nothing, NULL);
  g_assert_true (upload (&f, 30));
  test_wait_done (&f.log, 1);
  g_assert_cmpint (f.log.code, ==, -1);
  g_assert_cmpuint (f.log.answers, ==, 1);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.uploads_answered, ==, 1);
  tear_down (&f);
}

/* After the pause the newest goes, not the one that failed. */
static void
test_upload_gives_way (void)
{
  const AdaClientConfig config = { 5000, 4, 9, 1000, 1000, 0 };
  AdaClientStats stats;
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_BUSY;
  f.cloud->failing = 1;
  g_assert_true (upload (&f, 30));
  wait_for_calls (f.cloud, 1);
  g_assert_true (upload (&f, 31));
  g_assert_true (ada_client_drain (f.client, 5000));
  test_wait_done (&f.log, 2);
  g_assert_cmpuint (f.cloud->calls, ==, 2);
  g_assert_cmpint (f.cloud->quality[1], ==, 31);
  g_assert_cmpint (f.cloud->began[1] - f.cloud->began[0], >=, 500000);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.uploads, ==, 2);
  g_assert_cmpuint (stats.uploads_answered, ==, 1);
  g_assert_cmpuint (stats.retries, ==, 0);
  tear_down (&f);
}

static void
test_open_drops_uploads (void)
{
  const AdaClientConfig config = { 5000, 4, 0, 400, 400, 1 };
  AdaClientStats stats;
  Fixture f;

  set_up (&f, fails, &config);
  f.cloud->code = ADA_CLOUD_ERROR_REFUSED;
  f.cloud->failing = 1;
  g_assert_true (upload (&f, 30));
  g_assert_true (ada_client_drain (f.client, 5000));
  g_assert_false (ada_client_ready (f.client));
  g_assert_false (upload (&f, 31));
  /* An upload may be the probe. */
  wait_until_ready (&f);
  g_assert_true (upload (&f, 32));
  g_assert_true (ada_client_drain (f.client, 5000));
  assert_stats_add_up (&f, &stats);
  g_assert_false (stats.open);
  g_assert_cmpuint (stats.uploads, ==, 2);
  g_assert_cmpuint (stats.uploads_dropped, ==, 1);
  tear_down (&f);
}

/* ---- dry runs ------------------------------------------------------------------------------- */

static void
test_dry_run (void)
{
  AdaClientConfig config;
  AdaClientStats stats;
  Fixture f;

  ada_client_config_defaults (&config);
  config.dry_run = TRUE;
  config.most = 6;
  set_up (&f, answers, &config);
  ask (&f, 3);
  assert_error (&f, ADA_CLOUD_ERROR_NO_ANSWER);
  g_assert_cmpuint (f.log.answers, ==, 0);
  g_assert_true (upload (&f, 40));
  g_assert_true (ada_client_drain (f.client, 5000));
  g_assert_cmpuint (f.previews, ==, 5);
  /* The trial of quality 5. */
  g_assert_cmpuint (f.refusals, ==, 1);
  g_assert_cmpuint (f.cloud->calls, ==, 0);
  /* Limits count as if it were meant. */
  g_assert_cmpuint (ada_client_left (f.client), ==, 1);
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.requests, ==, 0);
  g_assert_cmpuint (stats.sent + stats.received, ==, 0);
  g_assert_cmpuint (stats.dry, ==, 5);
  tear_down (&f);
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* Any mixture of luck. */
static AdaAnswer *
does_anything (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  static const gint codes[] = { ADA_CLOUD_ERROR_NO_ANSWER, ADA_CLOUD_ERROR_BUSY,
    ADA_CLOUD_ERROR_NETWORK, ADA_CLOUD_ERROR_REFUSED, ADA_CLOUD_ERROR_GARBAGE
  };
  const guint draw = g_str_hash (request->name) * 2654435761u + call * 40503u;

  self->code = codes[draw % G_N_ELEMENTS (codes)];
  self->failing = G_MAXUINT;
  switch (draw / 7 % 16) {
    case 0:
      return waits_for_cancellation (self, request, call, cancellable, error);
    case 1: case 2: case 3: case 4: case 5:
      return fails (self, request, call, cancellable, error);
    default:
      return answers (self, request, call, cancellable, error);
  }
}

static void
test_everything_adds_up (void)
{
  const AdaClientConfig config = { 3, 3, 1, 1, 3, 4 };
  const guint n = g_getenv ("PIRL_LONG") ? 2000 : 300;
  AdaClientStats stats;
  guint refused = 0, uploads = 0;
  Fixture f;

  set_up (&f, does_anything, &config);
  for (guint i = 0; i < n; i++) {
    refused += !submit (&f, i % 3);
    if (i % 2) {
      upload (&f, 20);
      uploads++;
    }
    if (i % 4 == 0)
      g_usleep (2000);
  }
  g_assert_true (ada_client_drain (f.client, 30000));
  assert_stats_add_up (&f, &stats);
  g_assert_cmpuint (stats.dropped, ==, refused);
  g_assert_cmpuint (stats.uploads + stats.uploads_dropped, ==, uploads);
  g_assert_cmpuint (stats.uploads, >, 0);
  g_assert_cmpuint (f.log.done, <=, n - refused + uploads);
  g_assert_cmpuint (f.log.freed, ==, n + uploads);
  g_assert_cmpuint (f.log.done, >=, n - refused);
  /* Uploads that newer ones pushed out were never done. */
  f.submitted = f.log.done;
  tear_down (&f);
}

int
main (int argc, char **argv)
{
  static const struct {
    const gchar *name;
    void (*run) (void);
  } tests[] = {
    {"reference-first-then-trials", test_order},
    {"works-at-a-lower-priority", test_priority},
    {"no-reference-no-trials", test_no_reference},
    {"a-failed-trial-stops-no-other", test_trial_fails},
    {"retries-what-is-retryable", test_retryable},
    {"backs-off-twice-as-long-each-time", test_backoff},
    {"heeds-retry-after-within-reason", test_retry_after},
    {"retry-after-holds-for-all", test_retry_after_holds_all},
    {"breaker-answers-what-waits-for-retry-after", test_open_with_retry_after},
    {"gives-up-at-the-time-limit", test_timeout},
    {"breaker-opens-and-heals", test_breaker},
    {"breaker-lets-one-probe-through", test_single_probe},
    {"breaker-answers-what-waits", test_open_while_waiting},
    {"queue-is-bounded", test_queue},
    {"encoding-fails", test_encode_fails},
    {"neither-answer-nor-error", test_contract_broken},
    {"free-cancels-and-reports-all", test_free_cancels},
    {"free-while-backing-off", test_free_in_backoff},
    {"free-leaves-a-deaf-cloud-behind", test_free_deaf},
    {"free-from-done", test_free_from_done},
    {"no-minute-has-more-than-it-may", test_any_minute},
    {"no-more-requests-than-allowed", test_most},
    {"retries-are-requests-too", test_most_with_retries},
    {"requests-keep-their-distance", test_per_minute},
    {"stop-while-waiting-for-a-turn", test_stop_while_waiting_for_a_turn},
    {"uploads-and-inquiries-take-turns", test_uploads_take_turns},
    {"an-upload-may-show-nothing", test_upload_of_nothing},
    {"a-failed-upload-gives-way-to-a-newer", test_upload_gives_way},
    {"breaker-drops-uploads", test_open_drops_uploads},
    {"dry-run-sends-nothing", test_dry_run},
    {"counts-add-up-under-faults", test_everything_adds_up},
  };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree gchar *path = g_strconcat ("/cloud-client/", tests[i].name, NULL);

    g_test_add_func (path, tests[i].run);
  }
  return g_test_run ();
}
