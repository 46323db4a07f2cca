/* gst-pirl: whole trainings: source, jigsaw and sink together, in this process and under gst-launch-1.0,
 * stopped in every way that there is. PIRL_LONG=1 in the environment kills oftener.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <signal.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoints.h"
#include "launch.h"
#include "meta.h"

/* 40 samples in batches of 8: 5 steps an epoch. Small enough for a step in milliseconds. */
#define COUNT 40
#define SOURCE "pirldatasetsrc name=src seed=3 " \
    "location=\"synthetic:shapes?count=40&classes=4&size=48\" "
#define JIGSAW "pirljigsaw image-size=32 seed=4 "
#define SINK "pirltrainsink name=sink arch=resnet18 base-width=8 batch-size=8 n-threads=1 seed=5 "

static gchar *folder;

static gchar *
path_of (const gchar * name)
{
  return g_build_filename (folder, name, NULL);
}

/* ---- in this process ------------------------------------------------------------------------------ */

static GstElement *
launch (const gchar * format, ...)
{
  g_autofree gchar *line = NULL;
  GError *error = NULL;
  GstElement *pipeline;
  va_list args;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  pipeline = gst_parse_launch (line, &error);
  fail_unless (pipeline != NULL && error == NULL, "%s: %s", line, error ? error->message : "");
  return pipeline;
}

/* Until EOS; an error fails the test in its own words. */
static void
wait_for_eos (GstElement * pipeline)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    GError *error = NULL;
    gchar *debug = NULL;

    gst_message_parse_error (message, &error, &debug);
    fail ("%s (%s)", error->message, debug);
  }
  gst_message_unref (message);
}

static guint64
counter (GstElement * pipeline, const gchar * name)
{
  g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_autoptr (GstStructure) stats = NULL;
  guint64 value = 0;

  g_object_get (sink, "training-stats", &stats, NULL);
  gst_structure_get_uint64 (stats, name, &value);
  return value;
}

static void
wait_for_steps (GstElement * pipeline, guint64 steps)
{
  while (counter (pipeline, "step") < steps)
    g_usleep (1000);
}

static void
dispose (GstElement * pipeline)
{
  fail_unless_equals_int (gst_element_set_state (pipeline, GST_STATE_NULL),
      GST_STATE_CHANGE_SUCCESS);
  gst_object_unref (pipeline);
}

/* To PLAYING after hasty changes. Asked for one while another is under way, GStreamer 1.22 may go on waiting
 * for children that have long arrived: "fakesrc ! identity sleep-time=1500 ! fakesink" stays in PAUSED in
 * one run of 60. Giving that change up lets the next begin. */
static void
play_for_certain (GstElement * pipeline)
{
  for (guint tries = 0; tries < 5; tries++) {
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    if (gst_element_get_state (pipeline, NULL, NULL, 3 * GST_SECOND) == GST_STATE_CHANGE_SUCCESS)
      return;
    gst_element_abort_state (pipeline);
  }
  fail ("the pipeline does not play");
}

/* A run of 4 epochs that nothing disturbs. */
static void
train_undisturbed (const gchar * path)
{
  GstElement *pipeline = launch (SOURCE "epochs=4 ! " JIGSAW "! " SINK "checkpoint-file=%s", path);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_for_eos (pipeline);
  dispose (pipeline);
  fail_unless_equals_uint64 (checkpoint_step (path), 20);
}

GST_START_TEST (test_decoding_threads_change_nothing)
{
  g_autofree gchar *plain = path_of ("plain.safetensors");
  g_autofree gchar *path = path_of ("threads.safetensors");
  GstElement *pipeline;

  train_undisturbed (plain);
  for (guint threads = 1; threads <= 2; threads++) {
    pipeline = launch (SOURCE "epochs=4 n-threads=%u ! queue ! " JIGSAW "! queue ! " SINK
        "checkpoint-file=%s", threads, path);
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    wait_for_eos (pipeline);
    dispose (pipeline);
    expect_same_checkpoint (plain, path);
  }
}
GST_END_TEST

/* However often it pauses, nothing is lost and nothing else is learnt. */
GST_START_TEST (test_pauses_change_nothing)
{
  g_autofree gchar *plain = path_of ("plain.safetensors");
  g_autofree gchar *path = path_of ("pauses.safetensors");
  GstElement *pipeline = launch (SOURCE "epochs=4 ! " JIGSAW "! " SINK "checkpoint-file=%s", path);

  train_undisturbed (plain);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  for (guint i = 0; i < 12; i++) {
    g_usleep (g_random_int_range (1000, 20000));
    gst_element_set_state (pipeline, i % 2 ? GST_STATE_PLAYING : GST_STATE_PAUSED);
    if (i % 3 == 0)
      gst_element_get_state (pipeline, NULL, NULL, GST_SECOND);
  }
  play_for_certain (pipeline);
  wait_for_eos (pipeline);
  dispose (pipeline);
  expect_same_checkpoint (plain, path);
}
GST_END_TEST

/* Stopped again and again, by EOS or by READY, and resumed. */
GST_START_TEST (test_stops_change_nothing)
{
  g_autofree gchar *plain = path_of ("plain.safetensors");
  g_autofree gchar *path = path_of ("stops.safetensors");

  train_undisturbed (plain);
  for (guint by_eos = 0; by_eos < 2; by_eos++) {
    guint64 steps = 0;

    g_unlink (path);
    for (guint run = 0; steps < 20 && run < 40; run++) {
      GstElement *pipeline = launch (SOURCE "epochs=4 ! " JIGSAW "! " SINK
          "checkpoint-file=%s resume=true", path);

      gst_element_set_state (pipeline, GST_STATE_PLAYING);
      wait_for_steps (pipeline, MIN (steps + 3, 20));
      if (by_eos || steps + 3 >= 20) {
        gst_element_send_event (pipeline, gst_event_new_eos ());
        wait_for_eos (pipeline);
      }
      gst_element_set_state (pipeline, GST_STATE_READY);
      dispose (pipeline);
      fail_unless (checkpoint_step (path) > steps);
      steps = checkpoint_step (path);
    }
    expect_same_checkpoint (plain, path);
  }
}
GST_END_TEST

/* The display shows 50 pictures a second, late ones too; the other branch must get them all. */
GST_START_TEST (test_tee_with_a_slow_branch)
{
  GstElement *pipeline = launch (SOURCE "epochs=2 framerate=1000/1 ! tee name=t "
      "t. ! queue ! videoconvert ! identity sleep-time=20000 ! fakesink sync=true qos=true "
      "t. ! queue ! videoconvert ! " JIGSAW "! " SINK);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_for_eos (pipeline);
  fail_unless_equals_uint64 (counter (pipeline, "received"), 2 * COUNT);
  fail_unless_equals_uint64 (counter (pipeline, "trained"), 2 * COUNT);
  dispose (pipeline);
}
GST_END_TEST

/* on-finish=drop: the other branch goes on to its end. */
GST_START_TEST (test_drop_behind_a_tee)
{
  GstElement *pipeline = launch (SOURCE "epochs=4 ! tee name=t "
      "t. ! queue ! identity name=all ! fakesink signal-handoffs=true name=other "
      "t. ! queue ! " JIGSAW "! " SINK "max-steps=3 on-finish=drop");
  g_autoptr (GstElement) other = gst_bin_get_by_name (GST_BIN (pipeline), "other");
  g_autoptr (GstStructure) stats = NULL;
  guint64 rendered = 0;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_for_eos (pipeline);
  fail_unless_equals_uint64 (counter (pipeline, "step"), 3);
  g_object_get (other, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, "rendered", &rendered));
  fail_unless_equals_uint64 (rendered, 4 * COUNT);
  dispose (pipeline);
}
GST_END_TEST

GST_START_TEST (test_two_pipelines_at_once)
{
  g_autofree gchar *plain = path_of ("plain.safetensors");
  GstElement *pipelines[2];
  gchar *paths[2];

  train_undisturbed (plain);
  for (guint i = 0; i < 2; i++) {
    paths[i] = path_of (i ? "two.safetensors" : "one.safetensors");
    pipelines[i] = launch (SOURCE "epochs=4 ! " JIGSAW "! " SINK "checkpoint-file=%s", paths[i]);
    gst_element_set_state (pipelines[i], GST_STATE_PLAYING);
  }
  for (guint i = 0; i < 2; i++) {
    wait_for_eos (pipelines[i]);
    dispose (pipelines[i]);
    expect_same_checkpoint (plain, paths[i]);
    g_free (paths[i]);
  }
}
GST_END_TEST

/* Shards number the samples of the whole set, so that each has one row of the bank everywhere; a range is
 * a set of its own. */
GST_START_TEST (test_shards_keep_their_rows)
{
  static const struct {
    const gchar *part;
    guint64 steps;
    gint64 rows;
  } cases[] = {
    {"rank=1 world-size=2", 2, 40},
    {"start-index=24 stop-index=40", 2, 16},

  };
  g_autofree gchar *path = path_of ("shard.safetensors");

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstElement *pipeline = launch (SOURCE "%s ! " JIGSAW "! " SINK "checkpoint-file=%s",
        cases[i].part, path);
    g_autoptr (PirlSafetensors) file = NULL;

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    wait_for_eos (pipeline);
    dispose (pipeline);
    fail_unless_equals_uint64 (checkpoint_step (path), cases[i].steps);
    file = pirl_safetensors_open (path, NULL);
    fail_unless_equals_int64 (pirl_safetensors_lookup (file, "state.bank")->shape.dim[0],
        cases[i].rows);
  }
}
GST_END_TEST

/* A flushing seek in mid-training: training goes on from there with the weights it has. */
GST_START_TEST (test_seek_goes_on)
{
  GstElement *pipeline = launch (SOURCE "epochs=40 ! queue ! " JIGSAW "! " SINK "max-steps=30");

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  for (guint i = 0; i < 4; i++) {
    wait_for_steps (pipeline, 4 * (i + 1));
    fail_unless (gst_element_seek (pipeline, 1.0, GST_FORMAT_DEFAULT, GST_SEEK_FLAG_FLUSH,
            GST_SEEK_TYPE_SET, 8 * i, GST_SEEK_TYPE_NONE, -1));
  }
  wait_for_eos (pipeline);
  fail_unless_equals_uint64 (counter (pipeline, "step"), 30);
  dispose (pipeline);
}
GST_END_TEST

/* A whole pipeline can be used again. */
GST_START_TEST (test_pipeline_cycles)
{
  GstElement *pipeline = launch (SOURCE "epochs=1 ! " JIGSAW "! " SINK);
  static const GstState rests[] = { GST_STATE_READY, GST_STATE_NULL, GST_STATE_READY };

  for (guint i = 0; i < G_N_ELEMENTS (rests); i++) {
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    wait_for_eos (pipeline);
    fail_unless_equals_uint64 (counter (pipeline, "step"), 5);
    gst_element_set_state (pipeline, rests[i]);
  }
  /* And left at any moment. */
  for (guint i = 0; i < 10; i++) {
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    g_usleep (g_random_int_range (0, 20000));
    gst_element_set_state (pipeline, rests[i % 3]);
  }
  dispose (pipeline);
}
GST_END_TEST

/* Pictures that cannot be read are not samples; a resumed run must not be shifted by them. */
GST_START_TEST (test_unreadable_pictures_shift_nothing)
{
  g_autofree gchar *pictures = path_of ("pictures");
  g_autofree gchar *plain = path_of ("plain.safetensors");
  g_autofree gchar *path = path_of ("holes.safetensors");
  g_autofree gchar *source = g_strdup_printf ("pirldatasetsrc location=%s epochs=3 seed=1 size=48 ! "
      JIGSAW "! " SINK, pictures);
  GstElement *pipeline;

  g_mkdir (pictures, 0755);
  pipeline = gst_parse_launch ("videotestsrc num-buffers=30 pattern=ball ! "
      "video/x-raw,width=64,height=64 ! jpegenc ! multifilesink name=files", NULL);
  if (pipeline == NULL) {
    GST_INFO ("skipped: jpegenc or multifilesink are not there");
    g_rmdir (pictures);
    return;
  }
  {
    g_autoptr (GstElement) files = gst_bin_get_by_name (GST_BIN (pipeline), "files");
    g_autofree gchar *pattern = g_build_filename (pictures, "%02d.jpg", NULL);

    g_object_set (files, "location", pattern, NULL);
  }
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_for_eos (pipeline);
  dispose (pipeline);
  for (guint i = 3; i < 30; i += 7) {
    g_autofree gchar *name = g_strdup_printf ("%s/%02u.jpg", pictures, i);

    fail_unless (g_file_set_contents (name, "no picture", -1, NULL));
  }
  pipeline = launch ("%s checkpoint-file=%s", source, plain);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_for_eos (pipeline);
  dispose (pipeline);
  /* 26 of 30 can be read: 3 batches an epoch. */
  fail_unless_equals_uint64 (checkpoint_step (plain), 9);
  for (guint run = 0; run < 40 && (run == 0 || checkpoint_step (path) < 9); run++) {
    guint64 before = run ? checkpoint_step (path) : 0;

    pipeline = launch ("%s checkpoint-file=%s resume=true", source, path);
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    wait_for_steps (pipeline, MIN (before + 2, 9));
    dispose (pipeline);
  }
  expect_same_checkpoint (plain, path);
}
GST_END_TEST

/* ---- under gst-launch-1.0 -------------------------------------------------------------------------- */

/* Starts gst-launch-1.0 with @line, silent. */
static GPid
spawn (const gchar * format, ...)
{
  g_autofree gchar *line = NULL, *command = NULL;
  g_auto (GStrv) argv = NULL, environment = launch_environment ();
  GError *error = NULL;
  va_list args;
  GPid pid;

  va_start (args, format);
  line = g_strdup_vprintf (format, args);
  va_end (args);
  command = g_strconcat ("gst-launch-1.0 -q ", line, NULL);
  fail_unless (g_shell_parse_argv (command, NULL, &argv, &error), "%s", command);
  fail_unless (g_spawn_async (NULL, argv, environment, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD
          | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, &pid, &error), "%s",
      error ? error->message : "");
  return pid;
}

/* The status of waitpid(). */
static gint
reap (GPid pid)
{
  gint status = 0;

  while (waitpid (pid, &status, 0) < 0 && errno == EINTR);
  g_spawn_close_pid (pid);
  return status;
}

static gboolean
ended_well (gint status)
{
  return WIFEXITED (status) && WEXITSTATUS (status) == 0;
}

GST_START_TEST (test_launch_ends_by_itself)
{
  static const struct {
    const gchar *line;
    guint64 steps;
  } cases[] = {
    {SOURCE "epochs=2 ! " JIGSAW "! " SINK, 10},
    {SOURCE "epochs=0 ! " JIGSAW "! " SINK "max-steps=7", 7},
    {SOURCE "epochs=0 ! queue ! " JIGSAW "! queue ! " SINK "max-steps=7", 7},
    {"videotestsrc pattern=ball ! video/x-raw,width=64,height=48 ! videoconvert ! " JIGSAW "! " SINK
          "bank-size=32 max-steps=3", 3},
    {"videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48 ! videoconvert ! " JIGSAW "! "
          SINK "bank-size=32", 3},
  };
  g_autofree gchar *path = path_of ("launch.safetensors");

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_unlink (path);
    fail_unless (ended_well (reap (spawn ("%s checkpoint-file=%s", cases[i].line, path))));
    fail_unless_equals_uint64 (checkpoint_step (path), cases[i].steps);
  }
}
GST_END_TEST

GST_START_TEST (test_launch_fails_where_it_should)
{
  fail_if (ended_well (reap (spawn (SOURCE "! " JIGSAW "! " SINK
                  "checkpoint-file=/nowhere/at/all.safetensors"))));
  fail_if (ended_well (reap (spawn (SOURCE "! " JIGSAW "! " SINK "batch-size=64"))));
}
GST_END_TEST

/* The interrupted run saves once it has trained; a moment is enough to be sure of that. */
static void
wait_for_file (const gchar * path)
{
  while (!g_file_test (path, G_FILE_TEST_EXISTS))
    g_usleep (1000);
}

/* Ctrl-C, without -e: the pipeline goes to NULL, and nothing is lost. */
GST_START_TEST (test_interrupt_loses_nothing)
{
  g_autofree gchar *plain = path_of ("plain.safetensors");
  g_autofree gchar *path = path_of ("interrupted.safetensors");
  g_autofree gchar *line = g_strdup_printf (SOURCE "epochs=4 ! " JIGSAW "! " SINK
      "checkpoint-interval=1 resume=true checkpoint-file=%s", path);

  train_undisturbed (plain);
  for (guint run = 0; run < 3; run++) {
    GPid pid = spawn ("%s", line);

    wait_for_file (path);
    g_usleep (g_random_int_range (0, 200000));
    kill (pid, SIGINT);
    reap (pid);
    GST_INFO ("interrupted at step %" G_GUINT64_FORMAT, checkpoint_step (path));
  }
  fail_unless (ended_well (reap (spawn ("%s", line))));
  expect_same_checkpoint (plain, path);
}
GST_END_TEST

/* kill -9 at random moments, saving all the time: the file is the old one or the new one, whole, and the
 * run that is resumed from it ends as if nothing had been. */
GST_START_TEST (test_kills_leave_a_whole_checkpoint)
{
  const guint kills = g_getenv ("PIRL_LONG") ? 20 : 5;
  g_autofree gchar *plain = path_of ("plain.safetensors");
  g_autofree gchar *path = path_of ("killed.safetensors");
  g_autofree gchar *line = g_strdup_printf (SOURCE "epochs=%u ! " JIGSAW "! " SINK
      "checkpoint-interval=1 checkpoint-file=", 8 * kills);
  guint64 step = 0;

  fail_unless (ended_well (reap (spawn ("%s%s", line, plain))));
  for (guint i = 0; i < kills; i++) {
    GPid pid = spawn ("%s%s resume=true", line, path);

    wait_for_file (path);
    g_usleep (g_random_int_range (0, 400000));
    kill (pid, SIGKILL);
    reap (pid);
    fail_unless (checkpoint_step (path) >= step);
    step = checkpoint_step (path);
  }
  GST_INFO ("%u kills, the last at step %" G_GUINT64_FORMAT " of %u", kills, step, 40 * kills);
  fail_unless (ended_well (reap (spawn ("%s%s resume=true", line, path))));
  fail_unless_equals_uint64 (checkpoint_step (path), 40 * kills);
  expect_same_checkpoint (plain, path);
}
GST_END_TEST

/* ---- main -------------------------------------------------------------------------------------------- */

static void
make_folder (void)
{
  folder = g_dir_make_tmp ("pirl-training-XXXXXX", NULL);
  gst_pirl_meta_init ();
}

static void
remove_tree (const gchar * path)
{
  GDir *dir = g_dir_open (path, 0, NULL);
  const gchar *name;

  while (dir && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree gchar *child = g_build_filename (path, name, NULL);

    remove_tree (child);
  }
  g_clear_pointer (&dir, g_dir_close);
  g_remove (path);
}

static void
remove_folder (void)
{
  remove_tree (folder);
  g_clear_pointer (&folder, g_free);
}

static Suite *
training_suite (void)
{
  Suite *suite = suite_create ("training");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_set_timeout (tc, g_getenv ("PIRL_LONG") ? 600 : 120);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, test_decoding_threads_change_nothing);
  tcase_add_test (tc, test_pauses_change_nothing);
  tcase_add_test (tc, test_stops_change_nothing);
  tcase_add_test (tc, test_tee_with_a_slow_branch);
  tcase_add_test (tc, test_drop_behind_a_tee);
  tcase_add_test (tc, test_two_pipelines_at_once);
  tcase_add_test (tc, test_shards_keep_their_rows);
  tcase_add_test (tc, test_seek_goes_on);
  tcase_add_test (tc, test_pipeline_cycles);
  tcase_add_test (tc, test_unreadable_pictures_shift_nothing);
  tcase_add_test (tc, test_launch_ends_by_itself);
  tcase_add_test (tc, test_launch_fails_where_it_should);
  tcase_add_test (tc, test_interrupt_loses_nothing);
  tcase_add_test (tc, test_kills_leave_a_whole_checkpoint);
  return suite;
}

GST_CHECK_MAIN (training);
