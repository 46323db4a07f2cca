/* gst-pirl: adacompressenc for a long time, with a service that fails at random: nothing is lost,
 * memory and file descriptors stay where they are, and every count agrees with what the server saw.
 * 2,000 frames; PIRL_LONG=1 in the environment makes it 100,000.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "adacompress-run.h"
#include "leaks.h"

#define SHORT 1000              /* frames of each run */
#define LONG 50000
/* Requests, at most, from a fault to the next; of which one in so many hangs. */
#define CALM 24
#define HANG_EVERY 8
/* Frames. */
#define OUTAGE_EVERY 10000
#define OUTAGE_AT 600
#define OUTAGE 150
#define LATE_EVERY 400
#define MIB (1024. * 1024)
/* Of the resident set, from the first quarter to the end; the allocator's arenas move by less. */
#define GROWTH 6

/* Faults after which both sides have read all that the other has sent, so that bytes can be
 * compared. One that hangs has sent nothing. */
static const gchar *const faults[] = { "chunked", "until-close", "status 429 0", "status 500",
  "status 503", "status 404", "html", "half", "reset", "slow 0.02", "body {}",
  "body {\"outputs\": [1, 2]}", "body [[[[[[[[[[[[[[[[[[[[[[[["
};

typedef struct {
  Stream stream;
  TestServer *server;
  GRand *random;
  guint pulled, faults, hangs;
  guint64 bytes, labels, next_fault;
} Soak;

/* ---- what the process holds ----------------------------------------------------------------- */

static gdouble
resident (void)
{
  g_autofree gchar *text = NULL;
  gulong size = 0, pages = 0;

  fail_unless (g_file_get_contents ("/proc/self/statm", &text, NULL, NULL));
  fail_unless (sscanf (text, "%lu %lu", &size, &pages) == 2);
  return pages * (gdouble) sysconf (_SC_PAGESIZE) / MIB;
}

static guint
descriptors (void)
{
  GDir *dir = g_dir_open ("/proc/self/fd", 0, NULL);
  guint n = 0;

  while (g_dir_read_name (dir) != NULL)
    n++;
  g_dir_close (dir);
  return n;
}

/* A sanitizer keeps what was freed. */
static gboolean
memory_tells (void)
{
#ifdef __SANITIZE_ADDRESS__
  return FALSE;
#else
  return TRUE;
#endif
}

/* ---- the run ------------------------------------------------------------------------------ */

/* Counted in requests: where they are few, after an outage, a fault at each would have no end. */
static void
fail_once (Soak * soak)
{
  const gboolean hang = ++soak->faults % HANG_EVERY == 0;
  const gchar *fault = faults[g_rand_int_range (soak->random, 0, G_N_ELEMENTS (faults))];
  g_autofree gchar *command = g_strdup_printf ("once %d %s",
      hang ? 1 : g_rand_int_range (soak->random, 1, 4), hang ? "hang" : fault);

  test_server_do (soak->server, command);
  soak->hangs += hang;
  soak->next_fault = statistic (soak->stream.enc, "cloud-requests")
      + g_rand_int_range (soak->random, 4, CALM);
}

static void
misbehave (Soak * soak, guint frame)
{
  /* Long enough to open the breaker: nothing is sent for some seconds. */
  if (frame % OUTAGE_EVERY == OUTAGE_AT)
    test_server_do (soak->server, "mode status 404");
  else if (frame % OUTAGE_EVERY == OUTAGE_AT + OUTAGE)
    test_server_do (soak->server, "mode ok");
  else if (statistic (soak->stream.enc, "cloud-requests") >= soak->next_fault)
    fail_once (soak);
  /* Downstream cannot keep up: frames are left out on demand. */
  if (frame % LATE_EVERY == LATE_EVERY / 2)
    gst_harness_push_upstream_event (soak->stream.h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2,
            200 * GST_MSECOND, frame * GST_SECOND / 30));
}

static void
take_what_comes (Soak * soak)
{
  GstBuffer *out;
  GstMessage *message;

  while ((out = gst_harness_try_pull (soak->stream.h)) != NULL) {
    soak->bytes += gst_buffer_get_size (out);
    soak->pulled++;
    gst_buffer_unref (out);
  }
  while ((message = gst_bus_pop (soak->stream.bus)) != NULL) {
    soak->labels += GST_MESSAGE_TYPE (message) == GST_MESSAGE_ELEMENT
        && gst_message_has_name (message, "adacompress-labels");
    fail_if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR);
    gst_message_unref (message);
  }
}

static void
push (Soak * soak, guint frame)
{
  fail_unless_equals_int (gst_harness_push (soak->stream.h, make_frame (frame)), GST_FLOW_OK);
  take_what_comes (soak);
  g_usleep (2000);
}

/* The server reads what was sent when it comes to it. On a machine so busy that a request was given
 * up while its answer was on the way, part of that was read by nobody. */
static void
compare_bytes (Soak * soak)
{
  GstElement *enc = soak->stream.enc;
  const guint64 sent = statistic (enc, "cloud-sent"), received = statistic (enc, "cloud-received");

  for (guint i = 0; i < 5000 && test_server_count (soak->server, "received") < sent; i++)
    g_usleep (1000);
  fail_unless_equals_uint64 (test_server_count (soak->server, "received"), sent);
  fail_unless (test_server_count (soak->server, "sent") == received
      || (test_server_count (soak->server, "sent") > received
          && statistic (enc, "cloud-timeouts") > soak->hangs), "the server sent %"
      G_GUINT64_FORMAT " bytes, %" G_GUINT64_FORMAT " were counted",
      test_server_count (soak->server, "sent"), received);
  fail_unless_equals_uint64 (statistic (enc, "estimate-bytes") + statistic (enc, "upload-bytes"),
      sent + received);
}

static void
compare_counts (Soak * soak, guint frames)
{
  GstElement *enc = soak->stream.enc;

  fail_unless_equals_uint64 (statistic (enc, "frames-in"), frames);
  fail_unless_equals_uint64 (statistic (enc, "frames") + statistic (enc, "dropped"), frames);
  fail_unless_equals_uint64 (statistic (enc, "frames"), soak->pulled);
  fail_unless_equals_uint64 (statistic (enc, "bytes"), soak->bytes);
  fail_unless_equals_uint64 (statistic (enc, "uploads") + statistic (enc, "uploads-dropped"),
      soak->pulled);
  fail_unless_equals_uint64 (statistic (enc, "uploads-answered"), soak->labels);
  fail_unless_equals_uint64 (statistic (enc, "cloud-requests"), statistic (enc, "cloud-answers")
      + statistic (enc, "cloud-no-answers") + statistic (enc, "cloud-errors")
      + statistic (enc, "cloud-timeouts"));
  /* All of it happened, and it went on after each outage. */
  fail_unless (statistic (enc, "cloud-requests") > frames / 50, "%" G_GUINT64_FORMAT " requests",
      statistic (enc, "cloud-requests"));
  fail_unless (statistic (enc, "dropped") > 0);
  fail_unless (statistic (enc, "uploads-answered") > 0);
  fail_unless (statistic (enc, "estimates") > 0);
  fail_unless (statistic (enc, "cloud-errors") > 0);
}

static void
soak_open (Soak * soak, gboolean live)
{
  g_autofree gchar *line = NULL;

  memset (soak, 0, sizeof (*soak));
  soak->random = g_rand_new_with_seed (live);
  soak->server = test_server_new ("oip.py", NULL, NULL);
  test_server_do (soak->server, "set threshold 15");
  line = g_strdup_printf (PLAIN "upload=every-frame qos=true estimate-budget=1 cloud-timeout=1000 "
      "cloud=oip+http://127.0.0.1:%u/v2/models/M", soak->server->port);
  stream_open_as (&soak->stream, line, NULL, live);
}

static void
soak_close (Soak * soak)
{
  stream_close (&soak->stream);
  test_server_free (soak->server);
  g_rand_free (soak->random);
}

static void
run_soak (gboolean live, guint frames)
{
  const guint before = descriptors ();
  gdouble early = 0, late;
  guint open_early = 0;
  Soak soak;

  soak_open (&soak, live);
  for (guint i = 0; i < frames; i++) {
    misbehave (&soak, i);
    push (&soak, i);
    if (i == frames / 4) {
      early = resident ();
      open_early = descriptors ();
    }
  }
  late = resident ();
  /* A connection more or less. */
  fail_unless (ABS ((gint) descriptors () - (gint) open_early) <= 2, "%u descriptors, then %u",
      open_early, descriptors ());
  fail_unless (!memory_tells () || late - early < GROWTH, "%.1f MiB grew to %.1f MiB", early, late);
  /* The end is quiet, so that nothing is under way when counts are compared. */
  test_server_do (soak.server, "mode ok");
  fail_unless (gst_harness_push_event (soak.stream.h, gst_event_new_eos ()));
  gst_element_set_state (soak.stream.enc, GST_STATE_NULL);
  take_what_comes (&soak);
  compare_counts (&soak, frames);
  compare_bytes (&soak);
  g_print ("%s: %u frames, %.1f MiB, then %.1f MiB; %" G_GUINT64_FORMAT " requests, %"
      G_GUINT64_FORMAT " bytes sent; %" G_GUINT64_FORMAT " of %u frames labelled\n",
      live ? "live" : "file", frames, early, late, statistic (soak.stream.enc, "cloud-requests"),
      statistic (soak.stream.enc, "cloud-sent"), soak.labels, soak.pulled);
  soak_close (&soak);
  /* GLib closes a child's in a thread of its own: those of the child before may have counted, too. */
  for (guint i = 0; i < 10000 && descriptors () > before; i++)
    g_usleep (1000);
  fail_unless (descriptors () <= before, "%u descriptors, %u before", descriptors (), before);
}

GST_START_TEST (nothing_is_lost_or_kept)
{
  const guint frames = g_strcmp0 (g_getenv ("PIRL_LONG"), "1") == 0 ? LONG : SHORT;

  TestServer *server;

  /* What GLib keeps for children as long as the process lives is made for the first one. */
  server = test_server_new ("oip.py", NULL, NULL);
  test_server_free (server);
  for (guint live = 0; live < 2; live++)
    run_soak (live, frames);
}

GST_END_TEST;

static Suite *
soak_suite (void)
{
  Suite *s = suite_create ("adacompressenc-soak");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 3600);
  suite_add_tcase (s, tc);
  tcase_add_test (tc, nothing_is_lost_or_kept);
  return s;
}

int
main (int argc, char **argv)
{
  leaks_watch ();
  g_setenv ("GST_PIRL_MODELS", "/nonexistent", TRUE);
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  return gst_check_run_suite (soak_suite (), "adacompressenc-soak", __FILE__);
}
