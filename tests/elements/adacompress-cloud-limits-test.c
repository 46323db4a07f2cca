/* gst-pirl: how often a cloud is asked: limits, uploads beside inquiries, dry runs.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cloud-client-run.h"
#include "request-limits.h"

/* ---- limits ------------------------------------------------------------------------------- */

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

/* ---- uploads ------------------------------------------------------------------------------ */

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

/* ---- dry runs ----------------------------------------------------------------------------- */

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

int
main (int argc, char **argv)
{
  static const TestRow tests[] = {
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
  };

  g_test_init (&argc, &argv, NULL);
  test_add_rows ("/cloud-limits/", tests, G_N_ELEMENTS (tests));
  return g_test_run ();
}
