/* gst-pirl: asking a cloud: time limits, retries, back-off, circuit breaker, queues, and the end.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cloud-client-run.h"

/* ---- tests -------------------------------------------------------------------------------- */

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

/* ---- all of it ---------------------------------------------------------------------------- */

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
  static const TestRow tests[] = {
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
    {"counts-add-up-under-faults", test_everything_adds_up},
  };

  g_test_init (&argc, &argv, NULL);
  test_add_rows ("/cloud-client/", tests, G_N_ELEMENTS (tests));
  return g_test_run ();
}
