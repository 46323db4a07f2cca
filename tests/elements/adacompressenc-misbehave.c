/* gst-pirl: a live 720p30 stream while the service behind adacompressenc misbehaves in every way,
 * and what is written of secrets meanwhile. PIRL_LONG=1 in the environment lets each misbehaviour
 * last 60 s instead of 5.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "cloud-services.h"
#include "launch.h"
#include "leaks.h"

/* Streams side by side. */
#define SIDE_BY_SIDE 4
/* Longer than any frame is held on a busy machine, so that one that waits for the service shows. */
#define CLOUD_TIMEOUT 2500
#define PROPERTIES "name=e extractor=\"\" seed=1 estimate-budget=10 cloud-timeout=2500 "
/* What the streams side by side may come to hold beside what they held before: an answer is read up
 * to 8 MB, into a buffer that grows by doubling. */
#define GROWTH (48u << 20)
/* Seconds, far beyond the longest back-off. */
#define PATIENCE 150

typedef struct {
  const gchar *name, *service;
  const gchar *bad[2], *heal[2];        /* commands */
  gboolean tls;
} Misbehaviour;

#define CERTIFICATES "certificate"
static const Misbehaviour misbehaviours[] = {
  {"slow", "azure", {"mode slow 6"}, {"mode ok"}},
  {"stalled", "google", {"mode stall"}, {"mode ok"}},
  {"reset", "rekognition", {"mode reset"}, {"mode ok"}},
  {"half an answer", "facepp", {"mode half"}, {"mode ok"}},
  {"silent", "baidu", {"mode hang"}, {"mode ok"}},
  {"429 with Retry-After", "azure", {"mode status 429 3"}, {"mode ok"}},
  {"5xx", "torchserve", {"mode error internal"}, {"mode ok"}},
  {"50 MB of JSON", "oip", {"mode big 50"}, {"mode ok"}},
  {"HTML instead of JSON", "google", {"mode html"}, {"mode ok"}},
  {"wrong types", "facepp", {"mode types"}, {"mode ok"}},
  {"expired session", "rekognition", {"set expired true"}, {"set expired false"}},
  {"tokens that end at once", "baidu", {"set lifetime 0", "expire"}, {"set lifetime 2592000"}},
  {"clock skew", "rekognition", {"set skew 7200"}, {"set skew 0"}},
  {"another certificate", "azure", {CERTIFICATES}, {CERTIFICATES}, TRUE},
  {"headers without end", "torchserve", {"mode headers"}, {"mode ok"}},
  {"throttled", "oip", {"mode error throttled"}, {"mode ok"}},
  {"errors that repeat the request", "google", {"mode echo"}, {"mode ok"}},
};
#define GROUPS ((G_N_ELEMENTS (misbehaviours) + SIDE_BY_SIDE - 1) / SIDE_BY_SIDE)

static gchar *folder, *good_certificate, *good_key, *bad_certificate, *bad_key;

static gboolean
is_long (void)
{
  return g_strcmp0 (g_getenv ("PIRL_LONG"), "1") == 0;
}

/* ---- certificates ---------------------------------------------------------------------------- */

/* One on nobody's but its own word; FALSE without the program openssl. Not by GSubprocess, which
 * starts a thread that the tests, being forked, would not have. */
static gboolean
make_certificate (const gchar * name, gchar ** certificate, gchar ** key)
{
  g_autofree gchar *certificate_name = g_strconcat (name, "-cert.pem", NULL);
  g_autofree gchar *key_name = g_strconcat (name, "-key.pem", NULL);
  g_autofree gchar *line = NULL;
  gint status = -1;

  *certificate = g_build_filename (folder, certificate_name, NULL);
  *key = g_build_filename (folder, key_name, NULL);
  line = g_strdup_printf ("sh -c 'openssl req -x509 -newkey rsa:2048 -nodes -days 2 "
      "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout %s -out %s 2>/dev/null'",
      *key, *certificate);
  return g_spawn_command_line_sync (line, NULL, NULL, &status, NULL) && status == 0;
}

static void
command (TestServer * server, const gchar * text, gboolean bad)
{
  g_autofree gchar *line = g_str_equal (text, CERTIFICATES)
      ? g_strdup_printf ("certificate %s %s", bad ? bad_certificate : good_certificate,
      bad ? bad_key : good_key) : g_strdup (text);

  test_server_do (server, line);
}

/* ---- a live stream --------------------------------------------------------------------------- */

typedef struct {
  const Misbehaviour *m;
  const CloudService *service;
  TestServer *server;
  GPtrArray *secrets;
  GstElement *pipeline, *enc;
  guint64 failures, answers;    /* at some moment */
  /* The streaming thread's. */
  guint in, out, gaps, held;
  gint64 entered, longest;
  GstClockTime next;
} Live;

static GstPadProbeReturn
frame_enters (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  Live *live = data;

  live->in++;
  live->entered = g_get_monotonic_time ();
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
frame_leaves (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  Live *live = data;
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  const gint64 took = g_get_monotonic_time () - live->entered;

  live->out++;
  live->held += took >= CLOUD_TIMEOUT * (gint64) 1000;
  live->longest = MAX (live->longest, took);
  live->gaps += live->out > 1
      && (GST_BUFFER_PTS (buffer) > live->next + 1 || GST_BUFFER_PTS (buffer) + 1 < live->next);
  live->next = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
  return GST_PAD_PROBE_OK;
}

static void
add_probe (Live * live, const gchar * name, GstPadProbeCallback callback)
{
  GstPad *pad = gst_element_get_static_pad (live->enc, name);

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, callback, live, NULL);
  gst_object_unref (pad);
}

static void
live_open (Live * live, const Misbehaviour * m)
{
  g_autofree gchar *query = NULL, *element = NULL, *line = NULL;
  GError *error = NULL;

  memset (live, 0, sizeof (*live));
  live->m = m;
  live->service = cloud_service_find (m->service);
  live->server = cloud_service_serve (live->service, m->tls ? good_certificate : NULL,
      m->tls ? good_key : NULL);
  /* The service's own work is not what is tested: of so big a picture only the headers are read. */
  test_server_do (live->server, "set decode 0");
  query = m->tls ? g_strdup_printf ("&ca=%s", good_certificate) : g_strdup ("");
  element = cloud_service_element (live->service, live->server, m->tls ? "https" : "http", query,
      PROPERTIES);
  line = g_strdup_printf ("videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,"
      "width=1280,height=720,framerate=30/1 ! %s ! fakesink sync=false", element);
  cloud_service_export (live->service, TRUE);
  live->pipeline = gst_parse_launch (line, &error);
  fail_unless (live->pipeline != NULL && error == NULL, "%s: %s", line,
      error ? error->message : "");
  live->enc = gst_bin_get_by_name (GST_BIN (live->pipeline), "e");
  add_probe (live, "sink", frame_enters);
  add_probe (live, "src", frame_leaves);
  fail_unless (gst_element_set_state (live->pipeline, GST_STATE_PLAYING)
      != GST_STATE_CHANGE_FAILURE, "%s", line);
  cloud_service_export (live->service, FALSE);
}

static guint64
statistic (Live * live, const gchar * name)
{
  g_autoptr (GstStructure) stats = NULL;
  guint64 value = 0;

  g_object_get (live->enc, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, name, &value), "no %s", name);
  return value;
}

static guint64
failures_of (Live * live)
{
  return statistic (live, "cloud-errors") + statistic (live, "cloud-timeouts");
}

static gboolean
has_answers (Live * live, guint n)
{
  return statistic (live, "cloud-answers") >= live->answers + n;
}

static gboolean
has_failures (Live * live, guint n)
{
  return failures_of (live) >= live->failures + n;
}

/* For @n more of them than were noted. */
static void
wait_for (Live * live, gboolean (*has) (Live *, guint), guint n, const gchar * what)
{
  const gint64 patience = g_get_monotonic_time () + PATIENCE * G_USEC_PER_SEC;

  while (!has (live, n)) {
    if (g_get_monotonic_time () >= patience) {
      g_autoptr (GstStructure) stats = NULL;
      g_autofree gchar *text = NULL;

      g_object_get (live->enc, "stats", &stats, NULL);
      text = gst_structure_to_string (stats);
      fail ("%s (%s): no %s: %s", live->m->name, live->m->service, what, text);
    }
    g_usleep (10000);
  }
}

static void
misbehave (Live * live)
{
  live->failures = failures_of (live);
  for (guint i = 0; i < G_N_ELEMENTS (live->m->bad) && live->m->bad[i]; i++)
    command (live->server, live->m->bad[i], TRUE);
}

/* That it fails, why, and that no more is sent than now and then. */
static void
check_report (Live * live)
{
  g_autoptr (GstStructure) stats = NULL;
  g_autofree gchar *text = NULL;
  gboolean open = FALSE;
  guint64 failures;

  wait_for (live, has_failures, 1, "failures");
  g_object_get (live->enc, "stats", &stats, NULL);
  text = gst_structure_to_string (stats);
  failures = failures_of (live) - live->failures;
  fail_unless (*gst_structure_get_string (stats, "last-error") != '\0');
  gst_structure_get_boolean (stats, "cloud-open", &open);
  fail_unless (open || failures < 8, "%s: after %" G_GUINT64_FORMAT " failures it is still asked",
      live->m->name, failures);
  cloud_secrets_absent (text, strlen (text), live->secrets, live->m->name);
}

static void
heal (Live * live)
{
  for (guint i = 0; i < G_N_ELEMENTS (live->m->heal) && live->m->heal[i]; i++)
    command (live->server, live->m->heal[i], FALSE);
  live->answers = statistic (live, "cloud-answers");
  live->failures = failures_of (live);
}

/* The first request after the healing is answered: no failure but of one that was under way. */
static void
check_recovery (Live * live)
{
  wait_for (live, has_answers, 3, "answers since it healed");
  fail_unless (failures_of (live) - live->failures <= 1, "%s: %" G_GUINT64_FORMAT
      " failures since it healed", live->m->name, failures_of (live) - live->failures);
}

/* Until the end of the stream; nothing that is told has a secret in it. */
static void
read_messages (Live * live)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (live->pipeline);
  gboolean end = FALSE;

  while (!end) {
    GstMessage *message = gst_bus_timed_pop (bus, 60 * GST_SECOND);
    const GstStructure *s;
    g_autofree gchar *text = NULL;

    fail_unless (message != NULL, "%s: the stream does not end", live->m->name);
    s = gst_message_get_structure (message);
    text = s ? gst_structure_to_string (s) : g_strdup ("");
    fail_unless (GST_MESSAGE_TYPE (message) != GST_MESSAGE_ERROR, "%s: %s", live->m->name, text);
    cloud_secrets_absent (text, strlen (text), live->secrets, "a message");
    end = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
    gst_message_unref (message);
  }
}

static void
live_close (Live * live)
{
  guint64 frames, dropped;

  fail_unless (gst_element_send_event (live->pipeline, gst_event_new_eos ()));
  read_messages (live);
  frames = statistic (live, "frames");
  dropped = statistic (live, "dropped");
  gst_element_set_state (live->pipeline, GST_STATE_NULL);
  fail_unless_equals_int (live->in, live->out);
  fail_unless_equals_uint64 (frames, live->in);
  fail_unless_equals_uint64 (dropped, 0);
  fail_unless_equals_int (live->gaps, 0);
  fail_unless (live->held == 0, "%s: %u frames waited for the service", live->m->name, live->held);
  test_server_no_complaints (live->server);
  g_printerr ("%s (%s): %u frames, the longest held %.1f ms\n", live->m->name, live->m->service,
      live->out, live->longest / 1000.);
  gst_object_unref (live->enc);
  gst_object_unref (live->pipeline);
  g_ptr_array_unref (live->secrets);
  test_server_free (live->server);
}

/* ---- what it costs the process --------------------------------------------------------------- */

static gsize
resident (void)
{
  unsigned long all = 0, here = 0;
  FILE *file = fopen ("/proc/self/statm", "r");

  malloc_trim (0);
  fail_unless (file != NULL && fscanf (file, "%lu %lu", &all, &here) == 2);
  fclose (file);
  return here * (gsize) sysconf (_SC_PAGESIZE);
}

static guint
descriptors (void)
{
  GDir *dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir))
    n++;
  g_dir_close (dir);
  return n;
}

static void
check_growth (gsize before, guint descriptors_before, guint streams)
{
  const gsize after = resident ();

#ifndef __SANITIZE_ADDRESS__    /* which keeps what was freed */
  fail_unless (after < before + GROWTH, "%zu MB have become %zu", before >> 20, after >> 20);
#endif
  /* A connection may be there that was not. */
  fail_unless (descriptors () <= descriptors_before + 2 * streams,
      "%u descriptors were open, now %u", descriptors_before, descriptors ());
  g_printerr ("memory: %zu MB, then %zu\n", before >> 20, after >> 20);
}

GST_START_TEST (the_stream_does_not_notice)
{
  const guint first = SIDE_BY_SIDE * __i__;
  const guint last = MIN (first + SIDE_BY_SIDE, G_N_ELEMENTS (misbehaviours));
  Live lives[SIDE_BY_SIDE];
  guint n = 0, open_files;
  gsize memory;

  for (guint i = first; i < last; i++) {
    if (misbehaviours[i].tls && bad_certificate == NULL)
      g_printerr ("skipped: %s: no program openssl\n", misbehaviours[i].name);
    else
      live_open (&lives[n++], &misbehaviours[i]);
  }
  for (guint i = 0; i < n; i++) {
    wait_for (&lives[i], has_answers, 4, "answers at first");
    lives[i].secrets = cloud_service_secrets (lives[i].service, lives[i].server);
  }
  memory = resident ();
  open_files = descriptors ();
  for (guint i = 0; i < n; i++)
    misbehave (&lives[i]);
  g_usleep ((is_long () ? 60 : 5) * G_USEC_PER_SEC);
  for (guint i = 0; i < n; i++)
    check_report (&lives[i]);
  check_growth (memory, open_files, n);
  for (guint i = 0; i < n; i++)
    heal (&lives[i]);
  for (guint i = 0; i < n; i++)
    check_recovery (&lives[i]);
  for (guint i = 0; i < n; i++)
    live_close (&lives[i]);
}

GST_END_TEST;

/* ---- what is written ------------------------------------------------------------------------- */

/* Looks through every file of @path; returns how many of them tell of the service at all. */
static guint
search_folder (const gchar * path, GPtrArray * secrets)
{
  GDir *dir = g_dir_open (path, 0, NULL);
  const gchar *name;
  guint n = 0;

  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree gchar *file = g_build_filename (path, name, NULL), *data = NULL;
    gsize size;

    fail_unless (g_file_get_contents (file, &data, &size, NULL));
    cloud_secrets_absent (data, size, secrets, name);
    n += memmem (data, size, "endpoint=", strlen ("endpoint=")) != NULL;
    g_unlink (file);
  }
  g_dir_close (dir);
  return n;
}

/* A gst-launch-1.0 that logs all there is and draws its pipeline. */
static GSubprocess *
launch_talkative (const gchar * element, const gchar * credentials, const gchar * path)
{
  g_autofree gchar *line = g_strdup_printf ("gst-launch-1.0 -v -m videotestsrc num-buffers=60 "
      "pattern=ball ! video/x-raw,format=I420,width=128,height=96,framerate=30/1 ! %s "
      "post-messages=true ! fakesink", element);
  g_autofree gchar *log = g_build_filename (path, "debug.log", NULL);
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new
      (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE);
  g_auto (GStrv) arguments = NULL, environment = launch_environment ();
  g_autoptr (GError) error = NULL;
  GSubprocess *child;

  fail_unless (g_shell_parse_argv (line, NULL, &arguments, NULL));
  g_subprocess_launcher_set_environ (launcher, environment);
  g_subprocess_launcher_setenv (launcher, "GST_DEBUG", "9", TRUE);
  g_subprocess_launcher_setenv (launcher, "GST_DEBUG_FILE", log, TRUE);
  g_subprocess_launcher_setenv (launcher, "GST_DEBUG_NO_COLOR", "1", TRUE);
  g_subprocess_launcher_setenv (launcher, "GST_DEBUG_DUMP_DOT_DIR", path, TRUE);
  g_subprocess_launcher_setenv (launcher, "G_MESSAGES_DEBUG", "all", TRUE);
  g_subprocess_launcher_setenv (launcher, "GST_PIRL_CREDENTIALS", credentials, TRUE);
  g_subprocess_launcher_unsetenv (launcher, "GST_TRACERS");
  child = g_subprocess_launcher_spawnv (launcher, (const gchar * const *) arguments, &error);
  fail_unless (child != NULL, "%s: %s", line, error ? error->message : "");
  return child;
}

/* Answers good and bad, among them such as repeat what they were asked with. */
GST_START_TEST (nothing_secret_is_written)
{
  const CloudService *service = &cloud_services[__i__];
  g_autofree gchar *path = g_build_filename (folder, service->name, NULL);
  g_autofree gchar *credentials = g_build_filename (folder, "credentials", NULL);
  g_autofree gchar *element = NULL, *said = NULL;
  g_autoptr (TestServer) server = cloud_service_serve (service, NULL, NULL);
  g_autoptr (GSubprocess) child = NULL;
  g_autoptr (GPtrArray) secrets = NULL;

  g_mkdir (path, 0700);
  cloud_service_write_file (service, credentials);
  element = cloud_service_element (service, server, "http", "",
      "name=e estimate-budget=10");
  test_server_do (server, "once 2 echo");
  child = launch_talkative (element, credentials, path);
  fail_unless (g_subprocess_communicate_utf8 (child, NULL, NULL, &said, NULL, NULL));
  fail_unless (g_subprocess_get_successful (child), "%s", said);
  secrets = cloud_service_secrets (service, server);
  fail_unless (test_server_count (server, "pictures") > 0, "nothing was asked: %s", said);
  cloud_secrets_absent (said, strlen (said), secrets, "what gst-launch-1.0 says");
  fail_unless (strstr (said, "adacompress") != NULL);
  fail_unless (search_folder (path, secrets) > 2, "the log or the drawings are missing");
  g_rmdir (path);
  g_unlink (credentials);
}

GST_END_TEST;

/* The search itself must find what is there. */
GST_START_TEST (a_secret_would_be_found)
{
  const gchar *secret = "a&secret/with=signs", *around[] = { "", "u", "us", "user:" };
  const gchar *url = "http://127.0.0.1/?k=a%26secret%2Fwith%3Dsigns&x=1";
  g_autofree gchar *escaped = cloud_secret_form (url, strlen (url), secret);

  for (guint i = 0; i < G_N_ELEMENTS (around); i++) {
    g_autofree gchar *plain = g_strconcat (around[i], secret, ", more", NULL);
    g_autofree gchar *base64 = g_base64_encode ((const guchar *) plain, strlen (plain));
    g_autofree gchar *found = cloud_secret_form (plain, strlen (plain), secret);
    g_autofree gchar *found_base64 = cloud_secret_form (base64, strlen (base64), secret);

    fail_unless_equals_string (found, secret);
    fail_unless (found_base64 != NULL, "not found in %s", base64);
  }
  fail_unless (escaped != NULL);
  fail_unless (cloud_secret_form ("a&sec", 5, secret) == NULL);
}

GST_END_TEST;

static Suite *
misbehave_suite (void)
{
  Suite *s = suite_create ("adacompressenc-misbehave");
  TCase *streams = tcase_create ("streams"), *secrets = tcase_create ("secrets");

  tcase_add_checked_fixture (streams, NULL, leaks_none);
  tcase_set_timeout (streams, 900);
  tcase_add_loop_test (streams, the_stream_does_not_notice, 0, (gint) GROUPS);
  suite_add_tcase (s, streams);
  tcase_set_timeout (secrets, 300);
  tcase_add_test (secrets, a_secret_would_be_found);
  tcase_add_loop_test (secrets, nothing_secret_is_written, 0,
      (gint) G_N_ELEMENTS (cloud_services));
  suite_add_tcase (s, secrets);
  return s;
}

static void
remove_certificates (void)
{
  gchar *files[] = { good_certificate, good_key, bad_certificate, bad_key };

  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    if (files[i])
      g_unlink (files[i]);
    g_free (files[i]);
  }
}

int
main (int argc, char **argv)
{
  int failed;

  leaks_watch ();
  cloud_services_isolate ();
  folder = g_dir_make_tmp ("adacompressenc-XXXXXX", NULL);
  /* What ships would decide here; these tests begin with nothing. */
  g_setenv ("GST_PIRL_MODELS", folder, TRUE);
  if (!make_certificate ("good", &good_certificate, &good_key)
      || !make_certificate ("bad", &bad_certificate, &bad_key))
    g_clear_pointer (&bad_certificate, g_free);
  gst_check_init (&argc, &argv);
  failed = gst_check_run_suite (misbehave_suite (), "adacompressenc-misbehave", __FILE__);
  remove_certificates ();
  g_rmdir (folder);
  g_free (folder);
  return failed;
}
