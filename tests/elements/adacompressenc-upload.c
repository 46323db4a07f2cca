/* gst-pirl: adacompressenc as the client of a vision service: frames that are uploaded and their
 * labels, limits, dry runs, and a service whose model changes.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "adacompress-run.h"
#include "leaks.h"

#define UPLOADS "adacompressenc name=e policy=fixed quality=60 upload=every-frame "
#define FRAME_TIME (GST_SECOND / 30)

/* ---- helpers ------------------------------------------------------------------------------ */

/* One frame in, and the buffer that comes out. */
static GstBuffer *
push_pull (Stream * stream)
{
  GstBuffer *out;

  fail_unless_equals_int (gst_harness_push (stream->h, make_frame (stream->pushed++)),
      GST_FLOW_OK);
  out = gst_harness_try_pull (stream->h);
  fail_unless (out != NULL, "frame %u did not come out", stream->pushed);
  return out;
}

static void
push_frames (Stream * stream, guint n)
{
  for (guint i = 0; i < n; i++)
    gst_buffer_unref (push_pull (stream));
}

/* Labels that were told are on what leaves afterwards. */
static GstMessage *
wait_for_labels (Stream * stream)
{
  GstMessage *message = gst_bus_timed_pop_filtered (stream->bus, 10 * GST_SECOND,
      GST_MESSAGE_ELEMENT);

  fail_unless (message != NULL && gst_message_has_name (message, "adacompress-labels"));
  return message;
}

/* The next message called @name; NULL when there is none. */
static GstMessage *
next_message (Stream * stream, const gchar * name)
{
  GstMessage *message;

  while ((message = gst_bus_pop_filtered (stream->bus, GST_MESSAGE_ELEMENT)) != NULL) {
    if (gst_message_has_name (message, name))
      break;
    gst_message_unref (message);
  }
  return message;
}

/* All that is on the bus: warnings, and that no request is left. */
static void
count_messages (Stream * stream, guint * warnings, guint * exhausted)
{
  GstMessage *message;

  *warnings = *exhausted = 0;
  while ((message = gst_bus_pop (stream->bus)) != NULL) {
    *warnings += GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING;
    *exhausted += GST_MESSAGE_TYPE (message) == GST_MESSAGE_ELEMENT
        && gst_message_has_name (message, "adacompress-cloud")
        && g_str_equal (gst_structure_get_string (gst_message_get_structure (message), "state"),
        "exhausted");
    gst_message_unref (message);
  }
}

static const gchar *
string_at (const GValue * array, guint i)
{
  return g_value_get_string (gst_value_array_get_value (array, i));
}

static gboolean
has_text (const GValue * array, const gchar * text)
{
  for (guint i = 0; i < gst_value_array_get_size (array); i++)
    if (g_str_equal (string_at (array, i), text))
      return TRUE;
  return FALSE;
}

static void
check_labels (const GValue * labels, const GValue * texts, const GValue * scores,
    const gchar * first)
{
  const guint n = gst_value_array_get_size (labels);

  fail_unless (n >= 1);
  fail_unless_equals_int (gst_value_array_get_size (texts), n);
  fail_unless_equals_int (gst_value_array_get_size (scores), n);
  fail_unless_equals_string (string_at (labels, 0), first);
  for (guint i = 0; i < n; i++) {
    const gdouble score = g_value_get_double (gst_value_array_get_value (scores, i));

    fail_unless (score > 0 && score <= 1);
  }
}

/* What always holds. */
static void
check_sums (GstElement * enc, guint pushed)
{
  fail_unless_equals_uint64 (statistic (enc, "frames-in"), pushed);
  fail_unless_equals_uint64 (statistic (enc, "frames") + statistic (enc, "dropped"), pushed);
  fail_unless_equals_uint64 (statistic (enc, "uploads") + statistic (enc, "uploads-dropped"),
      statistic (enc, "frames"));
  fail_unless_equals_uint64 (statistic (enc, "estimate-bytes") + statistic (enc, "upload-bytes"),
      statistic (enc, "cloud-sent") + statistic (enc, "cloud-received"));
}

/* ---- labels ------------------------------------------------------------------------------- */

GST_START_TEST (labels_are_told_and_put_on_what_leaves_afterwards)
{
  Simulated cloud = {.threshold = 5 };
  GstPirlServiceLabels labels;
  guint64 bytes = 0;
  Stream stream;

  stream_open (&stream, UPLOADS "cloud=application", &cloud);
  for (guint i = 0; i < 4; i++) {
    GstBuffer *out = push_pull (&stream);
    const gboolean labelled = gst_pirl_service_labels_get (out, &labels);
    const GstStructure *s;
    GstMessage *message;
    guint64 frame, timestamp;
    gint quality;

    fail_unless_equals_int (labelled, i > 0);
    if (labelled) {
      check_labels (labels.labels, labels.texts, labels.scores, "cat");
      fail_unless_equals_uint64 (labels.frame, i - 1);
      fail_unless (ABS (GST_CLOCK_DIFF (labels.age, FRAME_TIME)) <= 1);
    }
    bytes += gst_buffer_get_size (out);
    gst_buffer_unref (out);

    message = wait_for_labels (&stream);
    s = gst_message_get_structure (message);
    fail_unless (gst_structure_get_uint64 (s, "frame", &frame));
    fail_unless (gst_structure_get_uint64 (s, "timestamp", &timestamp));
    fail_unless (gst_structure_get_int (s, "quality", &quality));
    fail_unless_equals_uint64 (frame, i);
    fail_unless_equals_uint64 (timestamp, i * GST_SECOND / 30);
    fail_unless_equals_int (quality, 60);
    check_labels (gst_structure_get_value (s, "labels"), gst_structure_get_value (s, "texts"),
        gst_structure_get_value (s, "scores"), "cat");
    gst_message_unref (message);
  }
  check_sums (stream.enc, 4);
  fail_unless_equals_uint64 (statistic (stream.enc, "uploads"), 4);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-requests"), 4);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-sent"), bytes);
  fail_unless_equals_uint64 (statistic (stream.enc, "estimate-bytes"), 0);
  stream_close (&stream);
}

GST_END_TEST;

/* A jump: what was seen before it labels nothing behind it. */
GST_START_TEST (labels_end_with_a_flush)
{
  Simulated cloud = {.threshold = 5 };
  GstPirlServiceLabels labels;
  GstSegment segment;
  GstBuffer *out;
  Stream stream;

  stream_open (&stream, UPLOADS "cloud=application", &cloud);
  push_frames (&stream, 1);
  gst_message_unref (wait_for_labels (&stream));
  out = push_pull (&stream);
  fail_unless (gst_pirl_service_labels_get (out, &labels));
  gst_buffer_unref (out);
  gst_message_unref (wait_for_labels (&stream));
  cloud.silent = TRUE;
  fail_unless (gst_harness_push_event (stream.h, gst_event_new_flush_start ()));
  fail_unless (gst_harness_push_event (stream.h, gst_event_new_flush_stop (TRUE)));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (stream.h, gst_event_new_segment (&segment)));
  out = push_pull (&stream);
  fail_if (gst_pirl_service_labels_get (out, &labels));
  gst_buffer_unref (out);
  stream_close (&stream);
}

GST_END_TEST;

/* Nobody answers: one frame is under way, the newest waits, and the stream goes on. */
GST_START_TEST (a_silent_service_holds_nothing_up)
{
  Simulated cloud = {.silent = TRUE };
  gint64 begin = g_get_monotonic_time ();
  Stream stream;

  stream_open (&stream, UPLOADS "cloud=application cloud-timeout=60000", &cloud);
  push_frames (&stream, 1);
  while (g_atomic_int_get (&cloud.asked) == 0)
    g_usleep (1000);
  push_frames (&stream, 199);
  check_sums (stream.enc, 200);
  fail_unless_equals_uint64 (statistic (stream.enc, "uploads"), 2);
  fail_unless_equals_uint64 (statistic (stream.enc, "uploads-dropped"), 198);
  fail_unless_equals_int (g_atomic_int_get (&cloud.asked), 1);
  gst_element_set_state (stream.enc, GST_STATE_NULL);
  fail_unless (g_get_monotonic_time () - begin < 30 * G_USEC_PER_SEC);
  /* The one that waited was never sent. */
  fail_unless_equals_uint64 (statistic (stream.enc, "uploads"), 1);
  check_sums (stream.enc, 200);
  stream_close (&stream);
}

GST_END_TEST;

/* Estimates and uploads through one connection: the agent learns, and frames have labels. */
GST_START_TEST (an_agent_learns_beside_uploads)
{
  Simulated cloud = {.threshold = 5 };
  Stream stream;

  for (guint live = 0; live < 2; live++) {
    stream_open_as (&stream, PLAIN "cloud=application upload=every-frame", &cloud, live);
    stream_until (&stream, "inference", 6000);
    wait_for (stream.enc, "uploads-answered", 10);
    fail_unless (statistic (stream.enc, "estimates") > 0);
    fail_unless (statistic (stream.enc, "estimate-bytes") > 0);
    fail_unless (gst_harness_push_event (stream.h, gst_event_new_eos ()));
    check_sums (stream.enc, stream.pushed);
    fail_unless_equals_uint64 (statistic (stream.enc, "uploads-answered"),
        statistic (stream.enc, "uploads"));
    fail_unless_equals_uint64 (statistic (stream.enc, "cloud-answers"),
        statistic (stream.enc, "cloud-requests"));
    stream_close (&stream);
  }
}

GST_END_TEST;

GST_START_TEST (uploads_need_a_cloud)
{
  GstElement *enc = gst_element_factory_make ("adacompressenc", NULL);
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GError *error = NULL;

  gst_element_set_bus (enc, bus);
  gst_util_set_object_arg (G_OBJECT (enc), "upload", "every-frame");
  fail_unless_equals_int (gst_element_set_state (enc, GST_STATE_PAUSED), GST_STATE_CHANGE_FAILURE);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "`cloud`") != NULL, "%s", error->message);
  g_error_free (error);
  gst_message_unref (message);
  fail_if (gst_bus_have_pending (bus), "a second message after the error");
  gst_element_set_state (enc, GST_STATE_NULL);
  gst_element_set_bus (enc, NULL);
  gst_object_unref (bus);
  gst_object_unref (enc);
}

GST_END_TEST;

GST_START_TEST (states_cycle_while_frames_are_uploaded)
{
  Simulated cloud = {.threshold = 15,.delay = 2000 };
  GstElement *pipeline = gst_parse_launch ("videotestsrc pattern=ball ! video/x-raw,width=96,"
      "height=64 ! " PLAIN "cloud=application upload=every-frame ! fakesink", NULL);
  g_autoptr (GstElement) enc = gst_bin_get_by_name (GST_BIN (pipeline), "e");

  g_signal_connect (enc, "classify", G_CALLBACK (classify), &cloud);
  for (guint i = 0; i < 12; i++) {
    cloud.silent = i % 3 == 2;
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    g_usleep (g_random_int_range (0, 60000));
    fail_unless_equals_int (gst_element_set_state (pipeline, i & 1 ? GST_STATE_READY
            : GST_STATE_NULL), GST_STATE_CHANGE_SUCCESS);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}

GST_END_TEST;

/* ---- limits ------------------------------------------------------------------------------- */

GST_START_TEST (no_more_requests_than_allowed)
{
  static const gchar *const settings[] = { "upload=none", "upload=every-frame" };

  for (guint k = 0; k < 2 * G_N_ELEMENTS (settings); k++) {
    g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application max-requests=25 %s",
        settings[k / 2]);
    Simulated cloud = {.threshold = 5 };
    const gint64 patience = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;
    gboolean exhausted = FALSE;
    guint warnings, told;
    gint asked;
    Stream stream;

    stream_open_as (&stream, line, &cloud, k % 2);
    while (!exhausted && g_get_monotonic_time () < patience) {
      g_autoptr (GstStructure) stats = stats_of (stream.enc);

      push_frames (&stream, 10);
      g_usleep (1000);
      gst_structure_get_boolean (stats, "cloud-exhausted", &exhausted);
    }
    fail_unless (exhausted);
    asked = g_atomic_int_get (&cloud.asked);
    push_frames (&stream, 100);
    fail_unless_equals_int (g_atomic_int_get (&cloud.asked), asked);
    fail_unless_equals_uint64 (statistic (stream.enc, "cloud-requests"), asked);
    /* A single one is too few for an estimate. */
    fail_unless (asked == 25 || asked == 24, "%d", asked);
    gst_element_set_state (stream.enc, GST_STATE_NULL);
    count_messages (&stream, &warnings, &told);
    fail_unless_equals_int (warnings, 1);
    fail_unless_equals_int (told, 1);
    stream_close (&stream);
  }
}

GST_END_TEST;

GST_START_TEST (no_minute_has_more_requests_than_allowed)
{
  Simulated cloud = {.threshold = 5 };
  gint64 begin;
  gint asked;
  Stream stream;

  begin = g_get_monotonic_time ();
  stream_open (&stream, PLAIN "cloud=application upload=every-frame max-requests-per-minute=60",
      &cloud);
  push_frames (&stream, 300);
  wait_for (stream.enc, "cloud-requests", 4);
  push_frames (&stream, 10);
  asked = g_atomic_int_get (&cloud.asked);
  /* Four at once, then less than one a second. */
  fail_unless (asked <= 4 + (g_get_monotonic_time () - begin) / G_USEC_PER_SEC, "%d", asked);
  check_sums (stream.enc, 310);
  /* The wait for a turn ends with the stream. */
  begin = g_get_monotonic_time ();
  gst_element_set_state (stream.enc, GST_STATE_NULL);
  fail_unless (g_get_monotonic_time () - begin < 10 * G_USEC_PER_SEC);
  stream_close (&stream);
}

GST_END_TEST;

/* ---- dry runs ----------------------------------------------------------------------------- */

#define TOKEN "t0ken-that-nobody-may-see"

GST_START_TEST (a_dry_run_sends_nothing)
{
  g_autofree gchar *line = NULL, *state = NULL;
  gint64 begin = g_get_monotonic_time ();
  GstMessage *message;
  guint told = 0;
  TestServer *server;
  Stream stream;

  server = test_server_new ("oip.py", NULL, NULL);
  g_setenv ("GST_PIRL_OIP_TOKEN", TOKEN, TRUE);
  line = g_strdup_printf (PLAIN "cloud-dry-run=true upload=every-frame "
      "cloud=oip+http://127.0.0.1:%u/v2/models/M", server->port);
  stream_open (&stream, line, NULL);
  g_unsetenv ("GST_PIRL_OIP_TOKEN");
  for (guint i = 0; i < 100; i++) {
    fail_unless_equals_int (stream_push (&stream), 75);
    g_usleep (1000);
  }
  wait_for (stream.enc, "cloud-dry-requests", 20);
  gst_element_set_state (stream.enc, GST_STATE_READY);
  while ((message = next_message (&stream, "adacompress-dry-run")) != NULL) {
    const GstStructure *s = gst_message_get_structure (message);
    g_autofree gchar *text = gst_structure_to_string (s);
    guint64 body, picture;

    fail_unless (strstr (text, TOKEN) == NULL, "%s", text);
    fail_unless_equals_string (gst_structure_get_string (s, "method"), "POST");
    fail_unless (strstr (gst_structure_get_string (s, "url"), "/v2/models/M/infer") != NULL);
    fail_unless (has_text (gst_structure_get_value (s, "headers"), "Authorization: Bearer ***"));
    fail_unless (gst_structure_get_uint64 (s, "body", &body));
    fail_unless (gst_structure_get_uint64 (s, "picture", &picture));
    fail_unless (body > picture && picture > 0);
    gst_message_unref (message);
    told++;
  }
  fail_unless (told >= 1);
  fail_unless (told <= 1 + (g_get_monotonic_time () - begin) / G_USEC_PER_SEC, "%u", told);
  fail_unless_equals_uint64 (test_server_count (server, "connections"), 0);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-requests"), 0);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-sent"), 0);
  fail_unless_equals_uint64 (statistic (stream.enc, "estimates"), 0);
  state = state_of (stream.enc);
  fail_unless_equals_string (state, "retrain");
  stream_close (&stream);
  test_server_free (server);
}

GST_END_TEST;

/* ---- a service that changes ----------------------------------------------------------------- */

/* As oip.py answers, but of another version of the model. */
#define VERSION_4 "mode body {\"model_name\": \"M\", \"model_version\": \"4\", \"outputs\": " \
    "[{\"name\": \"PROBS\", \"datatype\": \"BYTES\", \"shape\": [1, 1], " \
    "\"data\": [\"0.5:2:dog\"]}]}"

GST_START_TEST (another_model_is_told_and_learnt)
{
  const gint64 patience = g_get_monotonic_time () + 60 * G_USEC_PER_SEC;
  g_autofree gchar *line = NULL;
  gboolean told = FALSE;
  TestServer *server;
  Stream stream;

  server = test_server_new ("oip.py", NULL, NULL);
  line = g_strdup_printf (PLAIN "estimate-budget=1 cloud=oip+http://127.0.0.1:%u/v2/models/M",
      server->port);
  stream_open (&stream, line, NULL);
  stream_until (&stream, "inference", 20000);
  test_server_do (server, VERSION_4);
  while (!told && g_get_monotonic_time () < patience) {
    GstMessage *message;

    stream_push (&stream);
    g_usleep (300);
    while ((message = next_message (&stream, "adacompress-state")) != NULL) {
      const GstStructure *s = gst_message_get_structure (message);

      if (g_str_equal (gst_structure_get_string (s, "reason"),
              "the service's model changed from 3 to 4")) {
        fail_unless_equals_string (gst_structure_get_string (s, "state"), "retrain");
        told = TRUE;
      }
      gst_message_unref (message);
    }
  }
  fail_unless (told, "nobody was told that the model had changed");
  fail_unless (statistic (stream.enc, "retrains") >= 1);
  stream_until (&stream, "inference", 20000);
  stream_close (&stream);
  test_server_free (server);
}

GST_END_TEST;

/* A service that fails is left alone for a time, which is told; and so it is when it heals. */
GST_START_TEST (failures_and_recovery_are_told)
{
  const gint64 patience = g_get_monotonic_time () + 60 * G_USEC_PER_SEC;
  g_autofree gchar *line = NULL;
  guint64 retry_in = 0;
  guint opened = 0, closed = 0;
  TestServer *server;
  Stream stream;

  server = test_server_new ("oip.py", NULL, NULL);
  line = g_strdup_printf (UPLOADS "cloud=oip+http://127.0.0.1:%u/v2/models/M", server->port);
  stream_open (&stream, line, NULL);
  test_server_do (server, "mode reset");
  while (closed == 0 && g_get_monotonic_time () < patience) {
    GstMessage *message;

    push_frames (&stream, 1);
    g_usleep (1000);
    while ((message = next_message (&stream, "adacompress-cloud")) != NULL) {
      const GstStructure *s = gst_message_get_structure (message);
      const gchar *state = gst_structure_get_string (s, "state");

      fail_unless (*gst_structure_get_string (s, "reason") != '\0');
      if (g_str_equal (state, "open") && opened++ == 0) {
        fail_unless (gst_structure_get_uint64 (s, "retry-in", &retry_in));
        fail_unless (retry_in > 0 && retry_in <= 30 * GST_SECOND);
        test_server_do (server, "mode ok");
      }
      closed += g_str_equal (state, "closed");
      gst_message_unref (message);
    }
  }
  fail_unless (opened >= 1 && closed == 1, "opened %u times, closed %u times", opened, closed);
  wait_for (stream.enc, "uploads-answered", 1);
  check_sums (stream.enc, stream.pushed);
  stream_close (&stream);
  test_server_free (server);
}

GST_END_TEST;

/* ---- all of it ---------------------------------------------------------------------------- */

static Suite *
upload_suite (void)
{
  Suite *s = suite_create ("adacompressenc-upload");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 200);
  suite_add_tcase (s, tc);
  tcase_add_test (tc, labels_are_told_and_put_on_what_leaves_afterwards);
  tcase_add_test (tc, labels_end_with_a_flush);
  tcase_add_test (tc, a_silent_service_holds_nothing_up);
  tcase_add_test (tc, an_agent_learns_beside_uploads);
  tcase_add_test (tc, uploads_need_a_cloud);
  tcase_add_test (tc, states_cycle_while_frames_are_uploaded);
  tcase_add_test (tc, no_more_requests_than_allowed);
  tcase_add_test (tc, no_minute_has_more_requests_than_allowed);
  tcase_add_test (tc, a_dry_run_sends_nothing);
  tcase_add_test (tc, another_model_is_told_and_learnt);
  tcase_add_test (tc, failures_and_recovery_are_told);
  return s;
}

int
main (int argc, char **argv)
{
  leaks_watch ();
  /* What ships would decide here; these tests bring their own. */
  g_setenv ("GST_PIRL_MODELS", "/nonexistent", TRUE);
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  return gst_check_run_suite (upload_suite (), "adacompressenc-upload", __FILE__);
}
