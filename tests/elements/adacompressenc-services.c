/* gst-pirl: each vision service through the whole adacompressenc, against its test server: the
 * README's line, agreement learnt, a drift noticed and learnt anew, another model noticed, bytes
 * counted alike.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
/* Above the smallest side that any of them takes. */
#define WIDTH 128
#define HEIGHT 96
#include "adacompress-run.h"
#include "cloud-services.h"
#include "leaks.h"

/* No network: the agent sees predicted sizes only. */
#define PROPERTIES "name=e extractor=\"\" quality-levels=\"<5,15,25,45>\" seed=3 " \
    "estimate-budget=10 "
/* The first pictures are decoded to their end; then so many blocks of 16x16 are enough. */
#define DECODED 40
#define FEW_BLOCKS "set decode 6"
#define PATIENCE (60 * G_USEC_PER_SEC)
/* Of stream_until(). */
#define FRAMES 20000

typedef struct {
  const CloudService *service;
  TestServer *server;
  GPtrArray *secrets;
  Stream stream;
} Session;

static void
session_open (Session * session, const CloudService * service)
{
  g_autofree gchar *element = NULL;

  session->service = service;
  session->server = cloud_service_serve (service, NULL, NULL);
  session->secrets = cloud_service_secrets (service, session->server);
  element = cloud_service_element (service, session->server, "http", "", PROPERTIES);
  cloud_service_export (service, TRUE);
  stream_open (&session->stream, element, NULL);
  cloud_service_export (service, FALSE);
}

static void
session_close (Session * session)
{
  stream_close (&session->stream);
  g_ptr_array_unref (session->secrets);
  test_server_free (session->server);
}

/* Pushes until the statistic @name is at least @least. */
static void
push_until (Session * session, const gchar * name, guint64 least)
{
  const gint64 patience = g_get_monotonic_time () + PATIENCE;
  GstElement *enc = session->stream.enc;

  while (statistic (enc, name) < least) {
    g_autoptr (GstStructure) stats = stats_of (enc);

    fail_unless (g_get_monotonic_time () < patience, "%s: %s stays at %" G_GUINT64_FORMAT
        "; last error: %s", session->service->name, name, statistic (enc, name),
        gst_structure_get_string (stats, "last-error"));
    stream_push (&session->stream);
    g_usleep (300);
  }
}

/* The mean quality of 100 frames. */
static gdouble
mean_quality (Session * session)
{
  gdouble sum = 0;

  for (guint i = 0; i < 100; i++)
    sum += stream_push (&session->stream);
  return sum / 100;
}

/* The reason of the next message that says that @state was entered; all messages before it, too,
 * are looked through for secrets. */
static gchar *
reason_of (Session * session, const gchar * state)
{
  gchar *reason = NULL;
  GstMessage *message;

  while (reason == NULL
      && (message = gst_bus_timed_pop (session->stream.bus, 10 * GST_SECOND)) != NULL) {
    const GstStructure *s = gst_message_get_structure (message);
    g_autofree gchar *text = s ? gst_structure_to_string (s) : g_strdup ("");

    cloud_secrets_absent (text, strlen (text), session->secrets, "a message");
    if (s && gst_structure_has_name (s, "adacompress-state")
        && g_str_equal (gst_structure_get_string (s, "state"), state))
      reason = g_strdup (gst_structure_get_string (s, "reason"));
    gst_message_unref (message);
  }
  fail_unless (reason != NULL && *reason != '\0', "%s: no message says %s and why",
      session->service->name, state);
  return reason;
}

/* The service sees less below quality 10, then, since its scenery has changed, below 40. */
static void
learn_and_relearn (Session * session)
{
  g_autofree gchar *settled = NULL, *drift = NULL, *settled_again = NULL;
  Stream *stream = &session->stream;
  gdouble before, after;
  guint64 retrains;

  test_server_do (session->server, "set threshold 10");
  fail_unless_equals_int (stream_push (stream), 75);    /* untrained: the reference leaves */
  push_until (session, "estimates", DECODED / 4);
  test_server_do (session->server, FEW_BLOCKS);
  stream_until (stream, "inference", FRAMES);
  settled = reason_of (session, "inference");
  before = mean_quality (session);
  fail_unless (before < 40, "%s: mean quality %f", session->service->name, before);
  retrains = statistic (stream->enc, "retrains");
  test_server_do (session->server, "set threshold 40");
  push_until (session, "retrains", retrains + 1);
  drift = reason_of (session, "retrain");
  stream_until (stream, "inference", FRAMES);
  settled_again = reason_of (session, "inference");
  after = mean_quality (session);
  fail_unless (after >= 40 && after <= 75, "%s: mean quality %f after %f",
      session->service->name, after, before);
}

/* Tokens that end while they are used are renewed, and nobody notices. */
static void
expire_tokens (Session * session)
{
  const guint64 pictures = test_server_count (session->server, "pictures");

  test_server_do (session->server, "expire");
  while (test_server_count (session->server, "pictures") < pictures + 4)
    stream_push (&session->stream);
  g_ptr_array_unref (session->secrets);
  session->secrets = cloud_service_secrets (session->service, session->server);
}

/* Another model is another scenery. */
static void
change_model (Session * session)
{
  const guint64 retrains = statistic (session->stream.enc, "retrains");
  g_autofree gchar *command = NULL, *reason = NULL;

  if (session->service->version == NULL)
    return;
  command = g_strdup_printf ("set %s \"model-77\"", session->service->version);
  test_server_do (session->server, command);
  push_until (session, "retrains", retrains + 1);
  reason = reason_of (session, "retrain");
  fail_unless (strstr (reason, "model") != NULL && strstr (reason, "model-77") != NULL,
      "%s: the reason is \"%s\"", session->service->name, reason);
}

/* After all questions were answered. */
static void
check_books (Session * session)
{
  GstElement *enc = session->stream.enc;
  TestServer *server = session->server;
  g_autoptr (GstStructure) stats = NULL;
  g_autofree gchar *text = NULL;

  fail_unless (gst_harness_push_event (session->stream.h, gst_event_new_eos ()));
  stats = stats_of (enc);
  text = gst_structure_to_string (stats);
  test_server_no_complaints (server);
  fail_unless_equals_uint64 (statistic (enc, "frames"), session->stream.pushed);
  fail_unless_equals_uint64 (statistic (enc, "dropped"), 0);
  fail_unless (statistic (enc, "cloud-errors") == 0, "%s", text);
  fail_unless_equals_uint64 (statistic (enc, "cloud-timeouts"), 0);
  fail_unless_equals_uint64 (statistic (enc, "cloud-answers"),
      test_server_count (server, "pictures"));
  fail_unless_equals_uint64 (statistic (enc, "cloud-sent"),
      test_server_count (server, "received"));
  fail_unless_equals_uint64 (statistic (enc, "cloud-received"),
      test_server_count (server, "sent"));
  fail_unless_equals_uint64 (statistic (enc, "estimate-bytes"),
      statistic (enc, "cloud-sent") + statistic (enc, "cloud-received"));
  fail_unless (statistic (enc, "bytes") < statistic (enc, "reference-bytes"));
  cloud_secrets_absent (text, strlen (text), session->secrets, "the property stats");
}

GST_START_TEST (is_learnt_counted_and_watched)
{
  Session session;

  session_open (&session, &cloud_services[__i__]);
  learn_and_relearn (&session);
  expire_tokens (&session);
  change_model (&session);
  check_books (&session);
  session_close (&session);
}

GST_END_TEST;

static Suite *
services_suite (void)
{
  Suite *s = suite_create ("adacompressenc-services");

  for (gint i = 0; i < (gint) G_N_ELEMENTS (cloud_services); i++) {
    TCase *tc = tcase_create (cloud_services[i].name);

    tcase_add_checked_fixture (tc, NULL, leaks_none);
    tcase_set_timeout (tc, 300);
    suite_add_tcase (s, tc);
    tcase_add_loop_test (tc, is_learnt_counted_and_watched, i, i + 1);
  }
  return s;
}

int
main (int argc, char **argv)
{
  g_autofree gchar *folder = g_dir_make_tmp ("adacompressenc-XXXXXX", NULL);
  int failed;

  leaks_watch ();
  cloud_services_isolate ();
  /* What ships would decide here; these tests begin with nothing. */
  g_setenv ("GST_PIRL_MODELS", folder, TRUE);
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  failed = gst_check_run_suite (services_suite (), "adacompressenc-services", __FILE__);
  g_rmdir (folder);
  return failed;
}
