/* gst-pirl: what tests of asking a cloud share: a cloud that does what each test tells it, and a
 * client in front of it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "adacompress-cloud-server.h"
#include "test-rows.h"

#define MAX_CALLS 4096
/* ms that a busy machine may add to what takes no time. */
#define SLACK 3000

/* ---- a cloud that obeys ------------------------------------------------------------------- */

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

static inline void
test_cloud_finalize (GObject * object)
{
  TestCloud *self = TEST_CLOUD (object);

  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  G_OBJECT_CLASS (test_cloud_parent_class)->finalize (object);
  g_atomic_int_inc (&finalized);
}

static inline void
test_cloud_class_init (TestCloudClass * klass)
{
  G_OBJECT_CLASS (klass)->finalize = test_cloud_finalize;
}

static inline void
test_cloud_init (TestCloud * self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
}

static inline AdaAnswer *
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
static inline gboolean
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

static inline void
test_cloud_interface_init (AdaCloudInterface * iface)
{
  iface->classify = test_cloud_classify;
  iface->preview = test_cloud_preview;
}

static inline void
wait_for_calls (TestCloud * self, guint calls)
{
  g_mutex_lock (&self->lock);
  while (self->calls < calls)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
}

static inline void
release (TestCloud * self)
{
  g_mutex_lock (&self->lock);
  self->released = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

/* ---- replies ------------------------------------------------------------------------------ */

/* "q75" for quality 75. */
static inline AdaAnswer *
answers (TestCloud * self, const AdaRequest * request, guint call, GCancellable * cancellable,
    GError ** error)
{
  AdaAnswer *answer = ada_answer_new ();
  g_autofree gchar *id = g_strdup_printf ("q%d", request->quality);

  request->traffic->received = 7;
  ada_answer_add (answer, id, NULL, 0.5);
  return answer;
}

static inline AdaAnswer *
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

static inline AdaAnswer *
sees_nothing (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  return ada_answer_new ();
}

static inline AdaAnswer *
fails_on_a_trial (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  self->failing = request->quality == 5 ? G_MAXUINT : 0;
  return fails (self, request, call, cancellable, error);
}

static inline AdaAnswer *
waits_for_cancellation (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  while (!g_cancellable_set_error_if_cancelled (cancellable, error))
    g_usleep (1000);
  return NULL;
}

/* Hears no cancellation. */
static inline AdaAnswer *
waits_for_release (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  g_mutex_lock (&self->lock);
  while (!self->released)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
  return fails (self, request, call, cancellable, error);
}

static inline AdaAnswer *
breaks_the_contract (TestCloud * self, const AdaRequest * request, guint call,
    GCancellable * cancellable, GError ** error)
{
  return NULL;
}

/* ---- fixtures ----------------------------------------------------------------------------- */

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

static inline void
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

static inline void
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
static inline void
wait_until_told (Fixture * f, AdaClientState state, guint times)
{
  g_mutex_lock (&f->log.lock);
  while (f->told[state] < times)
    g_cond_wait (&f->log.changed, &f->log.lock);
  g_assert_cmpuint (f->told[state], ==, times);
  g_mutex_unlock (&f->log.lock);
}

static inline void
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

static inline gboolean
submit (Fixture * f, guint n_trials)
{
  const gboolean taken = ada_client_submit (f->client, test_inquiry (&f->log, 1, "a", n_trials));

  f->submitted += taken;
  return taken;
}

/* Uploads a picture of @quality. */
static inline gboolean
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
static inline void
ask (Fixture * f, guint n_trials)
{
  g_assert_true (submit (f, n_trials));
  g_assert_true (ada_client_drain (f->client, 30000));
  test_wait_done (&f->log, f->submitted);
}

static inline void
tear_down (Fixture * f)
{
  g_clear_pointer (&f->client, ada_client_free);
  g_assert_cmpuint (f->log.done, ==, f->submitted);
  g_clear_object (&f->cloud);
}

static inline void
assert_error (const Fixture * f, gint code)
{
  g_assert_true (f->log.domain == ADA_CLOUD_ERROR);
  g_assert_cmpint (f->log.code, ==, code);
}

/* What cannot be otherwise, whatever happened. */
static inline void
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

static inline void
wait_until_ready (Fixture * f)
{
  while (!ada_client_ready (f->client))
    g_usleep (2000);
}
