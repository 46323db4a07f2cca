/* gst-pirl: adacompressenc with an agent: the application as the cloud, clouds that hang, lie and break
 * off, what is kept in a file, and what a killed process leaves of it. Runs itself with "--child" for
 * the latter. PIRL_LONG=1 in the environment kills oftener.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <gst/video/video.h>
#include <signal.h>
#include <sys/wait.h>

#include "adacompress-run.h"
#include "leaks.h"
#include "learn/trainer.h"

static gchar *folder, *program, *extractor;

/* A tiny network, made from a seed. */
static void
make_extractor (void)
{
  g_autoptr (PirlTrainer) trainer = NULL;
  PirlTrainerConfig c;
  GError *error = NULL;

  extractor = g_build_filename (folder, "network.safetensors", NULL);
  pirl_trainer_config_defaults (&c);
  c.objective = PIRL_OBJECTIVE_NPID;
  c.lambda = 0;
  c.trunk = (PirlTrunk) { PIRL_ARCH_RESNET18, 8, 0 };
  c.dim = 16;
  c.image_size = 32;
  c.patch_size = 9;
  c.batch = 2;
  c.bank_rows = 8;
  c.seed = 1;
  c.device = (gchar *) "cpu";
  c.n_threads = 1;
  trainer = pirl_trainer_new (&c, &error);
  g_assert_no_error (error);
  pirl_trainer_save (trainer, extractor, NULL, &error);
  g_assert_no_error (error);
}

static GstElement *
launch (const gchar * line)
{
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);

  fail_unless (pipeline != NULL && error == NULL, "%s: %s", line, error ? error->message : "");
  return pipeline;
}

/* ---- learning ----------------------------------------------------------------------------- */

GST_START_TEST (learns_what_the_cloud_needs)
{
  const struct {
    const gchar *policy, *network;
    gboolean live;
  } cases[] = { {"bandit", "", FALSE}, {"bandit", extractor, FALSE}, {"bandit", extractor, TRUE},
      {"bandit features=frame", extractor, FALSE}, {"dqn", extractor, FALSE},
      {"dqn", extractor, TRUE} };

  for (guint k = 0; k < G_N_ELEMENTS (cases); k++) {
    g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application extractor=\"%s\" policy=%s "
        "n-threads=1", cases[k].network, cases[k].policy);
    Simulated cloud = {.threshold = 15 };
    g_autoptr (GstStructure) stats = NULL;
    guint64 sum = 0, frames = 0;
    Stream stream;

    stream_open_as (&stream, line, &cloud, cases[k].live);
    fail_unless_equals_int (stream_push (&stream), 75); /* untrained: the reference leaves */
    stream_until (&stream, "inference", 6000);
    for (guint i = 0; i < 300; i++) {
      sum += stream_push (&stream);
      frames++;
    }
    fail_unless (sum < 40 * frames, "%s: mean quality %f", cases[k].policy, (gdouble) sum / frames);
    stats = stats_of (stream.enc);
    fail_unless_equals_uint64 (statistic (stream.enc, "frames"), stream.pushed);
    fail_unless (statistic (stream.enc, "estimates") > 0);
    fail_unless (statistic (stream.enc, "estimate-bytes") > 0);
    fail_unless_equals_int (g_atomic_int_get (&cloud.refused), 0);
    fail_unless_equals_uint64 (statistic (stream.enc, "cloud-errors"), 0);
    fail_unless (statistic (stream.enc, "bytes") < statistic (stream.enc, "reference-bytes"));
    stream_close (&stream);
  }
}

GST_END_TEST;

/* References that the cloud was asked about, by frame. */
typedef struct {
  GMutex lock;
  GHashTable *jpegs;
} References;

static void
keep_reference (GstElement * enc, guint64 id, GstSample * sample, References * kept)
{
  const gchar *sees[] = { "cat", NULL };
  const GstStructure *info = gst_sample_get_info (sample);
  gboolean reference, taken;
  guint64 frame;

  fail_unless (gst_structure_get_uint64 (info, "frame", &frame));
  fail_unless (gst_structure_get_boolean (info, "reference", &reference));
  g_mutex_lock (&kept->lock);
  if (reference)
    g_hash_table_insert (kept->jpegs, GSIZE_TO_POINTER (frame),
        gst_buffer_ref (gst_sample_get_buffer (sample)));
  g_mutex_unlock (&kept->lock);
  g_signal_emit_by_name (enc, "answer", id, sees, &taken);
}

static void
check_same_bytes (GstBuffer * buffer, GstBuffer * expected)
{
  GstMapInfo map;

  fail_unless (gst_buffer_map (expected, &map, GST_MAP_READ));
  fail_unless_equals_uint64 (gst_buffer_get_size (buffer), map.size);
  fail_unless_equals_int (gst_buffer_memcmp (buffer, 0, map.data, map.size), 0);
  gst_buffer_unmap (expected, &map);
}

/* While the reference leaves, the cloud is shown what left, whatever its tables: none is made twice. */
GST_START_TEST (what_left_is_the_reference)
{
  static const gchar *const tables[] = { "standard", "tuned" };

  for (guint k = 0; k < 2 * G_N_ELEMENTS (tables); k++) {
    g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application huffman=%s", tables[k / 2]);
    g_autoptr (GPtrArray) left = g_ptr_array_new_with_free_func (
        (GDestroyNotify) gst_mini_object_unref);
    References kept = {.jpegs = g_hash_table_new_full (NULL, NULL, NULL,
          (GDestroyNotify) gst_mini_object_unref) };
    GHashTableIter iterator;
    gpointer frame, jpeg;
    Stream stream;

    g_mutex_init (&kept.lock);
    stream_open_as (&stream, line, NULL, k % 2);
    g_signal_connect (stream.enc, "classify", G_CALLBACK (keep_reference), &kept);
    for (guint i = 0; i < 30; i++) {
      fail_unless_equals_int (gst_harness_push (stream.h, make_frame (i)), GST_FLOW_OK);
      g_ptr_array_add (left, gst_harness_pull (stream.h));
      wait_for (stream.enc, "estimates", i == 29 ? 5 : 0);
      g_usleep (3000);
    }
    g_mutex_lock (&kept.lock);
    fail_unless (g_hash_table_size (kept.jpegs) >= 5);
    g_hash_table_iter_init (&iterator, kept.jpegs);
    while (g_hash_table_iter_next (&iterator, &frame, &jpeg))
      check_same_bytes (jpeg, g_ptr_array_index (left, GPOINTER_TO_SIZE (frame)));
    g_mutex_unlock (&kept.lock);
    stream_close (&stream);
    g_hash_table_unref (kept.jpegs);
    g_mutex_clear (&kept.lock);
  }
}

GST_END_TEST;

GST_START_TEST (changes_of_state_are_told)
{
  Simulated cloud = {.threshold = 5 };
  GstMessage *message;
  Stream stream;
  guint told = 0;

  stream_open (&stream, PLAIN "cloud=application post-messages=true", &cloud);
  stream_until (&stream, "inference", 6000);
  while ((message = gst_bus_pop_filtered (stream.bus, GST_MESSAGE_ELEMENT)) != NULL) {
    const GstStructure *s = gst_message_get_structure (message);
    guint64 frame;

    fail_unless (gst_structure_get_uint64 (s, "frame", &frame) && frame <= stream.pushed);
    if (gst_structure_has_name (s, "adacompress-state")) {
      fail_unless (*gst_structure_get_string (s, "reason") != '\0');
      fail_if (g_str_equal (gst_structure_get_string (s, "state"),
              gst_structure_get_string (s, "previous")));
      told++;
    } else {
      guint64 size, reference;
      gint quality;

      fail_unless (gst_structure_has_name (s, "adacompress-decision"));
      fail_unless (gst_structure_get_int (s, "quality", &quality));
      fail_unless (gst_structure_get_uint64 (s, "size", &size) && size > 0);
      fail_unless (gst_structure_get_uint64 (s, "reference-size", &reference) && reference > 0);
    }
    gst_message_unref (message);
  }
  fail_unless (told >= 1);
  stream_close (&stream);
}

GST_END_TEST;

/* The scenery changes: from now on the cloud needs more. */
GST_START_TEST (another_scenery_is_noticed)
{
  Simulated cloud = {.threshold = 5 };
  guint64 retrains;
  Stream stream;

  stream_open (&stream, PLAIN "cloud=application estimate-budget=1", &cloud);
  stream_until (&stream, "inference", 6000);
  retrains = statistic (stream.enc, "retrains");
  g_atomic_int_set (&cloud.threshold, 45);
  for (guint i = 0; i < 6000 && statistic (stream.enc, "retrains") == retrains; i++) {
    stream_push (&stream);
    g_usleep (300);
  }
  fail_unless (statistic (stream.enc, "retrains") > retrains);
  stream_close (&stream);
}

GST_END_TEST;

GST_START_TEST (bounds_hold_for_agents_too)
{
  Simulated cloud = {.threshold = 5 };
  Stream stream;

  stream_open (&stream, PLAIN "cloud=application min-quality=30 max-quality=60", &cloud);
  for (guint i = 0; i < 600; i++) {
    gint quality = stream_push (&stream);

    fail_unless (quality >= 30 && quality <= 60, "%d", quality);
    g_usleep (200);
  }
  stream_close (&stream);
}

GST_END_TEST;

/* ---- without a cloud ---------------------------------------------------------------------- */

/* Runs @line to its end; the texts of all warnings, and of an error. */
static gchar *
run (const gchar * line, GstElement ** enc)
{
  GstElement *pipeline = launch (line);
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GString *text = g_string_new (NULL);
  gboolean end = FALSE;

  if (enc != NULL)
    *enc = gst_bin_get_by_name (GST_BIN (pipeline), "e");
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (!end) {
    GstMessage *message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND,
        GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_WARNING);
    GError *error = NULL;

    fail_unless (message != NULL, "%s does not end", line);
    end = GST_MESSAGE_TYPE (message) != GST_MESSAGE_WARNING;
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
      gst_message_parse_error (message, &error, NULL);
    else if (!end)
      gst_message_parse_warning (message, &error, NULL);
    if (error != NULL)
      g_string_append_printf (text, "%s\n", error->message);
    g_clear_error (&error);
    gst_message_unref (message);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  return g_string_free (text, FALSE);
}

#define SOURCE "videotestsrc num-buffers=20 pattern=ball ! video/x-raw,width=96,height=64 ! "

GST_START_TEST (nothing_at_all_is_the_reference_said_once)
{
  GstElement *enc;
  g_autofree gchar *text = run (SOURCE "adacompressenc name=e ! fakesink", &enc);
  g_autoptr (GstStructure) stats = stats_of (enc);
  const GValue *qualities = gst_structure_get_value (stats, "qualities");

  fail_unless (strstr (text, "cloud") != NULL && strstr (text, "75") != NULL, "%s", text);
  fail_unless (strchr (text, '\n')[1] == '\0', "said more than once: %s", text);
  fail_unless_equals_int (gst_value_array_get_size (qualities), 1);
  fail_unless_equals_int (g_value_get_int (gst_value_array_get_value (qualities, 0)), 75);
  fail_unless_equals_string (gst_structure_get_string (stats, "state"), "fixed");
  gst_object_unref (enc);
}

GST_END_TEST;

/* Learns from the simulated cloud and keeps it in @path; returns how many answers there were. */
static guint64
learn (const gchar * path, gint threshold)
{
  g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application agent-file=\"%s\"", path);
  Simulated cloud = {.threshold = threshold };
  guint64 estimates;
  Stream stream;

  stream_open (&stream, line, &cloud);
  stream_until (&stream, "inference", 6000);
  fail_unless (gst_harness_push_event (stream.h, gst_event_new_eos ()));
  estimates = statistic (stream.enc, "estimates");
  stream_close (&stream);
  fail_unless (g_file_test (path, G_FILE_TEST_EXISTS));
  return estimates;
}

GST_START_TEST (a_kept_agent_decides_without_a_cloud)
{
  g_autofree gchar *path = g_build_filename (folder, "kept.safetensors", NULL);
  g_autofree gchar *line = g_strdup_printf (SOURCE PLAIN "agent-file=\"%s\" ! fakesink", path);
  g_autofree gchar *text = NULL, *before = NULL, *after = NULL;
  GstElement *enc;
  gsize size_before, size_after;

  learn (path, 5);
  fail_unless (g_file_get_contents (path, &before, &size_before, NULL));
  text = run (line, &enc);
  fail_unless (strstr (text, path) != NULL && strstr (text, "nothing is learnt") != NULL, "%s",
      text);
  fail_unless (statistic (enc, "bytes") < statistic (enc, "reference-bytes"));
  fail_unless_equals_uint64 (statistic (enc, "cloud-requests"), 0);
  fail_unless (g_file_get_contents (path, &after, &size_after, NULL));
  fail_unless (size_before == size_after && memcmp (before, after, size_after) == 0);
  gst_object_unref (enc);
}

GST_END_TEST;

GST_START_TEST (what_was_learnt_is_learnt)
{
  g_autofree gchar *path = g_build_filename (folder, "resumed.safetensors", NULL);
  g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application agent-file=\"%s\"", path);
  Simulated cloud = {.threshold = 5 };
  guint64 estimates = learn (path, 5);
  g_autofree gchar *state = NULL;
  Stream stream;

  stream_open (&stream, line, &cloud);
  state = state_of (stream.enc);
  fail_if (g_str_equal (state, "retrain"));
  fail_unless (statistic (stream.enc, "estimates") >= estimates);
  fail_unless (stream_push (&stream) < 75);
  stream_close (&stream);
}

GST_END_TEST;

/* ---- what cannot be used ------------------------------------------------------------------- */

GST_START_TEST (what_cannot_be_used_is_named)
{
  g_autofree gchar *kept = g_build_filename (folder, "other.safetensors", NULL);
  g_autofree gchar *text_file = g_build_filename (folder, "text.safetensors", NULL);
  const struct {
    const gchar *settings, *path, *words[2];
  } cases[] = {
    {"extractor=\"%s\"", "nowhere.safetensors", {"nowhere.safetensors", ""}},
    {"extractor=\"%s\"", text_file, {"text.safetensors", ""}},
    {"extractor=\"\" cloud=\"%s\"", "gopher:x", {"replay:", "local:"}},
    {"extractor=\"\" cloud=\"%s\"", "local:nowhere.safetensors", {"nowhere.safetensors", ""}},
    {"extractor=\"\" cloud=\"%s\"", "replay:nowhere.json", {"nowhere.json", ""}},
    {"extractor=\"\" cloud=application agent-file=\"%s\"", text_file, {"text.safetensors", ""}},
    {"extractor=\"\" cloud=application agent-file=\"%s\"", "/no/such/folder/x", {"/no/such/folder/x",
            "agent-file"}},
    {"extractor=\"\" cloud=application quality-levels=\"<5,10>\" agent-file=\"%s\"", kept,
        {"10", "25"}},
  };

  fail_unless (g_file_set_contents (text_file, "this is no model", -1, NULL));
  learn (kept, 5);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_auto (GStrv) parts = g_strsplit (cases[i].settings, "%s", 2);
    g_autofree gchar *line = g_strconcat (SOURCE "adacompressenc ", parts[0], cases[i].path,
        parts[1], " ! fakesink", NULL);
    g_autofree gchar *text = run (line, NULL);

    for (guint k = 0; k < 2; k++)
      fail_unless (strstr (text, cases[i].words[k]) != NULL, "%s: \"%s\" lacks \"%s\"", line, text,
          cases[i].words[k]);
  }
}

GST_END_TEST;

/* The folder goes away while the stream runs. */
GST_START_TEST (a_file_that_cannot_be_written_is_said_and_survived)
{
  g_autofree gchar *inner = g_build_filename (folder, "inner", NULL);
  g_autofree gchar *path = g_build_filename (inner, "agent.safetensors", NULL);
  g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application agent-file=\"%s\"", path);
  Simulated cloud = {.threshold = 5 };
  GstMessage *message;
  GError *error = NULL;
  Stream stream;

  fail_unless (g_mkdir (inner, 0755) == 0);
  stream_open (&stream, line, &cloud);
  fail_unless (g_rmdir (inner) == 0);
  stream_until (&stream, "inference", 6000);
  fail_unless (gst_harness_push_event (stream.h, gst_event_new_eos ()));
  message = gst_bus_timed_pop_filtered (stream.bus, 10 * GST_SECOND,
      GST_MESSAGE_WARNING | GST_MESSAGE_ERROR);
  fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING);
  gst_message_parse_warning (message, &error, NULL);
  fail_unless (strstr (error->message, path) != NULL, "%s", error->message);
  g_error_free (error);
  gst_message_unref (message);
  stream_close (&stream);
}

GST_END_TEST;

/* ---- clouds that misbehave ---------------------------------------------------------------- */

/* No frame waits for the cloud: the whole stream takes less than one of its time-outs. */
GST_START_TEST (bad_clouds_hold_nothing_up)
{
  static const gchar *modes[] = { "mode hang", "mode garbage", "mode half", "mode reset",
    "mode status 500", "mode html"
  };
  TestServer *server;

  server = test_server_new ("oip.py", NULL, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autofree gchar *line = g_strdup_printf (PLAIN "cloud-timeout=20000 "
        "cloud=oip+http://127.0.0.1:%u/v2/models/M", server->port);
    gint64 begin;
    Stream stream;

    test_server_do (server, modes[i]);
    stream_open_as (&stream, line, NULL, i % 2 == 0);
    begin = g_get_monotonic_time ();
    for (guint k = 0; k < 150; k++) {
      fail_unless_equals_int (stream_push (&stream), 75);
      g_usleep (1000);
    }
    fail_unless (g_get_monotonic_time () - begin < 10 * G_USEC_PER_SEC);
    GST_INFO ("%s: slowest frame %" G_GINT64_FORMAT " us", modes[i], stream.slowest);
    fail_unless_equals_uint64 (statistic (stream.enc, "frames"), 150);
    wait_for (stream.enc, i == 0 ? "cloud-requests" : "cloud-errors", 1);
    stream_close (&stream);
  }
  test_server_free (server);
}

GST_END_TEST;

GST_START_TEST (a_real_protocol_teaches_too)
{
  g_autofree gchar *line = NULL;
  TestServer *server;
  Stream stream;

  server = test_server_new ("oip.py", NULL, NULL);
  line = g_strdup_printf (PLAIN "cloud=oip+http://127.0.0.1:%u/v2/models/M", server->port);
  stream_open (&stream, line, NULL);
  stream_until (&stream, "inference", 20000);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-errors"), 0);
  stream_close (&stream);
  test_server_free (server);
}

GST_END_TEST;

GST_START_TEST (a_silent_application_times_out)
{
  Simulated cloud = {.silent = TRUE };
  Stream stream;

  stream_open (&stream, PLAIN "cloud=application cloud-timeout=50", &cloud);
  for (guint i = 0; i < 40; i++) {
    fail_unless_equals_int (stream_push (&stream), 75);
    g_usleep (5000);
  }
  wait_for (stream.enc, "cloud-timeouts", 1);
  {
    g_autoptr (GstStructure) stats = stats_of (stream.enc);

    fail_unless (*gst_structure_get_string (stats, "last-error") != '\0');
  }
  stream_close (&stream);
}

GST_END_TEST;

/* ---- the end ------------------------------------------------------------------------------ */

/* All that was asked before EOS is answered when EOS has passed. */
GST_START_TEST (eos_waits_for_answers)
{
  Simulated cloud = {.threshold = 5,.delay = 30000 };
  Stream stream;

  stream_open (&stream, PLAIN "cloud=application", &cloud);
  for (guint i = 0; i < 10; i++)
    stream_push (&stream);
  fail_unless (gst_harness_push_event (stream.h, gst_event_new_eos ()));
  fail_unless (g_atomic_int_get (&cloud.asked) > 0);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-answers"),
      g_atomic_int_get (&cloud.asked));
  stream_close (&stream);
}

GST_END_TEST;

static gpointer
push_eos (gpointer h)
{
  return GINT_TO_POINTER (gst_harness_push_event (h, gst_event_new_eos ()));
}

/* A time-out of a minute, and nobody answers: the limit, a flush, and a stop end the wait. */
GST_START_TEST (the_wait_at_eos_ends)
{
  static const gchar *timeouts[] = { "200", "60000", "60000" };

  for (guint how = 0; how < G_N_ELEMENTS (timeouts); how++) {
    g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application cloud-timeout=%s",
        timeouts[how]);
    Simulated cloud = {.silent = TRUE };
    gint64 begin = g_get_monotonic_time ();
    GThread *thread;
    Stream stream;

    stream_open (&stream, line, &cloud);
    for (guint i = 0; i < 5; i++)
      stream_push (&stream);
    while (g_atomic_int_get (&cloud.asked) == 0)
      g_usleep (1000);
    thread = g_thread_new ("eos", push_eos, stream.h);
    g_usleep (100000);
    if (how == 1)
      gst_harness_push_event (stream.h, gst_event_new_flush_start ());
    else if (how == 2)
      gst_element_set_state (stream.enc, GST_STATE_NULL);
    g_thread_join (thread);
    fail_unless (g_get_monotonic_time () - begin < 20 * G_USEC_PER_SEC);
    stream_close (&stream);
  }
}

GST_END_TEST;

GST_START_TEST (states_cycle_while_the_cloud_is_asked)
{
  Simulated cloud = {.threshold = 15,.delay = 2000 };
  GstElement *pipeline = launch ("videotestsrc pattern=ball ! video/x-raw,width=96,height=64 ! "
      PLAIN "cloud=application ! fakesink");
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

GST_START_TEST (two_agents_at_once)
{
  Simulated clouds[2] = { {.threshold = 5}, {.threshold = 45} };
  gdouble mean[2] = { 0 };
  Stream streams[2];

  for (guint k = 0; k < 2; k++)
    stream_open (&streams[k], PLAIN "cloud=application", &clouds[k]);
  for (guint k = 0; k < 2; k++)
    stream_until (&streams[k], "inference", 6000);
  for (guint i = 0; i < 200; i++) {
    for (guint k = 0; k < 2; k++)
      mean[k] += stream_push (&streams[k]) / 200.;
  }
  fail_unless (mean[0] < mean[1], "%f, %f", mean[0], mean[1]);
  for (guint k = 0; k < 2; k++)
    stream_close (&streams[k]);
}

GST_END_TEST;

/* ---- recordings --------------------------------------------------------------------------- */

/* Three pictures are recorded, of one a level is missing; frames without a name are not asked about. */
GST_START_TEST (recordings_answer_for_named_samples)
{
  g_autofree gchar *path = g_build_filename (folder, "answers.json", NULL);
  g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=\"replay:%s\"", path);
  GString *json = g_string_new ("{");
  GstPirlSample sample = {.label = -1 };
  Stream stream;

  for (guint i = 0; i < 3; i++) {
    g_string_append_printf (json, "%s\"p%u\": {\"service\": {", i ? ", " : "", i);
    for (guint k = 0; k < 5; k++) {
      static const gint levels[] = { 5, 15, 25, 45, 75 };

      if (i != 2 || k != 1)
        g_string_append_printf (json, "%s\"%d\": {\"size\": 100, \"labels\": [{\"keyword\": \"%s\", "
            "\"score\": 0.9}]}", k ? ", " : "", levels[k], k ? "cat" : "dog");
    }
    g_string_append (json, "}}");
  }
  g_string_append (json, "}");
  fail_unless (g_file_set_contents (path, json->str, -1, NULL));
  g_string_free (json, TRUE);
  stream_open (&stream, line, NULL);
  for (guint i = 0; i < 400; i++) {
    g_autofree gchar *name = g_strdup_printf ("p%u", i % 4);
    GstBuffer *frame = make_frame (i);

    sample.name = name;
    if (i % 5)
      gst_pirl_sample_add (frame, &sample);
    fail_unless_equals_int (gst_harness_push (stream.h, frame), GST_FLOW_OK);
    gst_buffer_unref (gst_harness_pull (stream.h));
    g_usleep (300);
  }
  fail_unless (statistic (stream.enc, "estimates") > 0);
  fail_unless (statistic (stream.enc, "cloud-unknown") > 0);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-errors"), 0);
  fail_unless_equals_uint64 (statistic (stream.enc, "cloud-no-answers"), 0);
  stream_close (&stream);
}

GST_END_TEST;

/* ---- killed processes ---------------------------------------------------------------------- */

/* What the child does: learns until it is killed; a threshold between two levels of which the upper
 * sometimes disagrees, so that it is never done. */
static void
child_classify (GstElement * enc, guint64 id, GstSample * sample, gpointer user_data)
{
  const gchar *sees[] = { "cat", NULL }, *blur[] = { "blur", NULL };
  const GstStructure *info = gst_sample_get_info (sample);
  gboolean reference, taken;

  gst_structure_get_boolean (info, "reference", &reference);
  g_signal_emit_by_name (enc, "answer", id, reference || g_random_boolean ()? sees : blur, &taken);
}

static int
child (const gchar * path)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc pattern=ball ! "
      "video/x-raw,width=96,height=64 ! identity sleep-time=500 ! " PLAIN
      "cloud=application agent-file=\"%s\" ! fakesink", path);
  GstElement *pipeline = gst_parse_launch (line, NULL);
  GstElement *enc = gst_bin_get_by_name (GST_BIN (pipeline), "e");
  GstBus *bus = gst_element_get_bus (pipeline);

  g_signal_connect (enc, "classify", G_CALLBACK (child_classify), NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  gst_message_unref (gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ERROR));
  return 1;
}

/* Answers that the file holds. */
static guint64
kept_estimates (const gchar * path)
{
  g_autofree gchar *line = g_strdup_printf (PLAIN "cloud=application agent-file=\"%s\"", path);
  Simulated cloud = { 0 };
  guint64 estimates;
  Stream stream;

  stream_open (&stream, line, &cloud);
  estimates = statistic (stream.enc, "estimates");
  stream_close (&stream);
  return estimates;
}

/* Kills children at moments of their learning: each goes on from what the one before had saved. */
GST_START_TEST (a_killed_process_loses_nothing_saved)
{
  guint kills = g_strcmp0 (g_getenv ("PIRL_LONG"), "1") == 0 ? 30 : 4;
  g_autofree gchar *path = g_build_filename (folder, "killed.safetensors", NULL);
  gchar *arguments[] = { program, (gchar *) "--child", path, NULL };
  GRand *rand = g_rand_new_with_seed (8);
  guint64 kept = 0;

  for (guint i = 0; i < kills; i++) {
    guint64 now;
    GError *error = NULL;
    GStatBuf before = { 0 }, after = { 0 };
    gint status;
    GPid pid;

    g_stat (path, &before);
    fail_unless (g_spawn_async (NULL, arguments, NULL, G_SPAWN_DO_NOT_REAP_CHILD
            | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, &pid, &error), "%s",
        error ? error->message : "");
    /* Until it has saved once more, and then some. */
    for (guint k = 0; k < 20000; k++) {
      if (g_stat (path, &after) == 0 && after.st_ino != before.st_ino)
        break;
      g_usleep (1000);
    }
    fail_unless (after.st_ino != before.st_ino, "child %u saves nothing", i);
    g_usleep (g_rand_int_range (rand, 0, 700000));
    kill (pid, SIGKILL);
    fail_unless (waitpid (pid, &status, 0) == pid && WIFSIGNALED (status),
        "child %u ended by itself", i);
    g_spawn_close_pid (pid);
    now = kept_estimates (path);
    fail_unless (now > kept, "%" G_GUINT64_FORMAT " answers were kept, now %" G_GUINT64_FORMAT, kept,
        now);
    kept = now;
  }
  g_rand_free (rand);
}

GST_END_TEST;

/* ---- all of it ---------------------------------------------------------------------------- */

static Suite *
agent_suite (void)
{
  Suite *s = suite_create ("adacompressenc-agent");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 300);
  suite_add_tcase (s, tc);
  tcase_add_test (tc, learns_what_the_cloud_needs);
  tcase_add_test (tc, what_left_is_the_reference);
  tcase_add_test (tc, changes_of_state_are_told);
  tcase_add_test (tc, another_scenery_is_noticed);
  tcase_add_test (tc, bounds_hold_for_agents_too);
  tcase_add_test (tc, nothing_at_all_is_the_reference_said_once);
  tcase_add_test (tc, a_kept_agent_decides_without_a_cloud);
  tcase_add_test (tc, what_was_learnt_is_learnt);
  tcase_add_test (tc, what_cannot_be_used_is_named);
  tcase_add_test (tc, a_file_that_cannot_be_written_is_said_and_survived);
  tcase_add_test (tc, bad_clouds_hold_nothing_up);
  tcase_add_test (tc, a_real_protocol_teaches_too);
  tcase_add_test (tc, a_silent_application_times_out);
  tcase_add_test (tc, eos_waits_for_answers);
  tcase_add_test (tc, the_wait_at_eos_ends);
  tcase_add_test (tc, states_cycle_while_the_cloud_is_asked);
  tcase_add_test (tc, two_agents_at_once);
  tcase_add_test (tc, recordings_answer_for_named_samples);
  tcase_add_test (tc, a_killed_process_loses_nothing_saved);
  return s;
}

static void
remove_folder (void)
{
  GDir *dir = g_dir_open (folder, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree gchar *path = g_build_filename (folder, name, NULL);

    g_unlink (path);
  }
  g_dir_close (dir);
  g_rmdir (folder);
  g_free (folder);
}

int
main (int argc, char **argv)
{
  int failed;

  program = argv[0];
  if (argc == 3 && g_str_equal (argv[1], "--child")) {
    gst_init (NULL, NULL);
    return child (argv[2]);
  }
  leaks_watch ();
  folder = g_dir_make_tmp ("adacompressenc-XXXXXX", NULL);
  /* What ships would decide here; these tests bring their own. */
  g_setenv ("GST_PIRL_MODELS", folder, TRUE);
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  make_extractor ();
  failed = gst_check_run_suite (agent_suite (), "adacompressenc-agent", __FILE__);
  g_free (extractor);
  remove_folder ();
  return failed;
}
