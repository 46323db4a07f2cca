/* gst-pirl: tests of pirltrainsink, one behaviour each: checkpoints, and going on from them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "train-run.h"

/* ---- resume ------------------------------------------------------------------------------- */

/* Asks as the source does, and starts there. */
static void
ask_where (Rig * rig, guint64 * epoch, guint64 * position)
{
  GstQuery *query = gst_pirl_resume_query_new ();
  const gchar *hash;
  guint64 seed;

  *epoch = *position = 0;
  if (gst_pad_peer_query (rig->harness->srcpad, query)) {
    fail_unless (gst_pirl_resume_parse (query, epoch, position, &seed, &hash));
    fail_unless_equals_uint64 (seed, SOURCE_SEED);
    fail_unless_equals_string (hash, HASH);
  }
  gst_query_unref (query);
}

typedef enum { STOP_NEVER, STOP_EOS, STOP_READY } Stop;

/* Trains 3 epochs of 14 samples (3 batches and a remainder of 2 each). @stop: after that many
 * pushes, and goes on with a new element. */
static void
run_with_stops (const gchar * path, const gchar * more, Stop stop, guint pushes)
{
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s resume=true %s", path, more);
  guint64 epoch = 0, position = 0;
  guint runs = 0;

  for (gboolean done = FALSE; !done; runs++) {
    guint64 before = g_file_test (path, G_FILE_TEST_EXISTS) ? checkpoint_step (path) : 0;
    guint left = stop == STOP_NEVER ? G_MAXUINT : pushes;
    Rig rig = rig_new (settings, 14, 3);

    ask_where (&rig, &epoch, &position);
    fail_unless (runs == 0 || epoch + position > 0, "no progress");
    for (; epoch < 3 && left > 0; epoch += ++position / 14, position %= 14, left--)
      fail_unless_equals_int (gst_harness_push (rig.harness, make_sample (position, epoch, 14)),
          GST_FLOW_OK);
    done = epoch == 3;
    if (done || stop == STOP_EOS)
      fail_unless (push_eos (&rig));
    else
      wait_for_steps (&rig, before + 1);
    gst_element_set_state (rig.sink, GST_STATE_READY);
    expect_no_error (rig.bus);
    rig_free (&rig);
  }
}

GST_START_TEST (test_resumed_run_is_bit_identical)
{
  static const struct {
    const gchar *settings;
    Stop stop;
    guint pushes;
  } cases[] = {
    {"", STOP_EOS, 9},
    {"", STOP_EOS, 14},
    {"", STOP_READY, 11},
    {"loss=nce z-mode=ema head=mlp", STOP_READY, 7},
    {"loss=nce z-mode=first-batch negatives=5 exclude-positive=false", STOP_EOS, 13},
    {"objective=npid lr-schedule=step bn-statistics=images", STOP_READY, 10},
    {"n-threads=2", STOP_READY, 8},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *plain = path_of ("plain.safetensors");
    g_autofree gchar *stopped = path_of ("stopped.safetensors");

    g_unlink (plain);
    g_unlink (stopped);
    run_with_stops (plain, cases[i].settings, STOP_NEVER, 0);
    run_with_stops (stopped, cases[i].settings, cases[i].stop, cases[i].pushes);
    fail_unless_equals_uint64 (checkpoint_step (plain), 9);
    expect_same_checkpoint (plain, stopped);
  }
}
GST_END_TEST

/* Where AMX or a card would now choose another one. */
GST_START_TEST (test_resumed_run_keeps_its_precision)
{
  g_autofree gchar *path = path_of ("precision.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s resume=true", path);
  g_autoptr (GstStructure) stats = NULL;
  guint64 epoch, position;
  Rig rig;

  g_unlink (path);
  run_with_stops (path, "precision=f32 bank-precision=f32", STOP_NEVER, 0);
  rig = rig_new (settings, 14, 3);
  ask_where (&rig, &epoch, &position);
  push_ok (&rig, 14, 3, epoch, position);
  fail_unless (push_eos (&rig));
  stats = stats_of (&rig);
  fail_unless_equals_string (gst_structure_get_string (stats, "precision"), "f32");
  fail_unless_equals_string (gst_structure_get_string (stats, "bank-precision"), "f32");
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

/* A run that was complete has nothing to do, and says so by ending. */
GST_START_TEST (test_complete_run_resumes_to_nothing)
{
  g_autofree gchar *path = path_of ("complete.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s resume=true", path);

  g_unlink (path);
  run_with_stops (path, "", STOP_NEVER, 0);
  {
    Rig rig = rig_new (settings, 14, 3);
    guint64 epoch, position;

    ask_where (&rig, &epoch, &position);
    fail_unless_equals_uint64 (epoch, 2);
    fail_unless_equals_uint64 (position, 12);
    push_ok (&rig, 14, 3, epoch, position);
    fail_unless (push_eos (&rig));
    expect_no_error (rig.bus);
    fail_unless_equals_uint64 (checkpoint_step (path), 9);
    rig_free (&rig);
  }
}
GST_END_TEST

/* The positions come from the metas, so that pictures that cannot be read shift nothing. */
GST_START_TEST (test_position_counts_unreadable_samples)
{
  g_autofree gchar *path = path_of ("holes.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s resume=true", path);
  Rig rig = rig_new (settings, 20, 1);
  guint64 epoch, position;

  g_unlink (path);
  for (guint i = 0; i < 5; i++)
    gst_harness_push (rig.harness, make_sample (3 * i, 0, 20));
  fail_unless (push_eos (&rig));
  rig_free (&rig);
  rig = rig_new (settings, 20, 1);
  ask_where (&rig, &epoch, &position);
  fail_unless_equals_uint64 (epoch, 0);
  fail_unless_equals_uint64 (position, 10);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_resume_without_checkpoint_starts_fresh)
{
  g_autofree gchar *path = path_of ("not-there.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s resume=true", path);
  Rig rig = rig_new (settings, 8, 1);
  GstQuery *query = gst_pirl_resume_query_new ();

  fail_if (gst_pad_peer_query (rig.harness->srcpad, query));
  gst_query_unref (query);
  push_ok (&rig, 8, 1, 0, 0);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (checkpoint_step (path), 2);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_model_file_gives_the_weights)
{
  g_autofree gchar *from = path_of ("from.safetensors");
  g_autofree gchar *to = path_of ("to.safetensors");
  g_autofree gchar *first = g_strdup_printf ("checkpoint-file=%s seed=7", from);
  g_autofree gchar *second =
      g_strdup_printf ("checkpoint-file=%s model-file=%s learning-rate=0 weight-decay=0", to, from);
  g_autoptr (PirlSafetensors) a = NULL, b = NULL;
  const PirlTensor *ta, *tb;
  Rig rig = rig_new (first, 8, 1);

  push_run (&rig, 8, 1, 0, 0);
  fail_unless (push_eos (&rig));
  rig_free (&rig);
  rig = rig_new (second, 8, 1);
  push_run (&rig, 8, 1, 0, 0);
  fail_unless (push_eos (&rig));
  expect_no_error (rig.bus);
  rig_free (&rig);
  a = pirl_safetensors_open (from, NULL);
  b = pirl_safetensors_open (to, NULL);
  ta = pirl_safetensors_lookup (a, "layer3.0.conv1.weight");
  tb = pirl_safetensors_lookup (b, "layer3.0.conv1.weight");
  fail_unless (ta->size == tb->size && memcmp (ta->data, tb->data, ta->size) == 0);
  fail_unless_equals_uint64 (checkpoint_step (to), 2);
}
GST_END_TEST

/* ---- other runs --------------------------------------------------------------------------- */

GST_START_TEST (test_checkpoint_of_another_run)
{
  static const struct {
    const gchar *settings;
    const gchar *words[4];
  } cases[] = {
    {"base-width=16", {"base_width = 8", "16"}},
    {"temperature=0.5", {"temperature = 0.2", "0.5"}},
    {"seed=3", {"seed = 0", "3"}},
    {"max-steps=50 warmup=2", {"total_steps", "50"}},
  };
  g_autofree gchar *path = path_of ("other.safetensors");
  g_autofree gchar *keep = NULL, *after = NULL;
  gsize keep_size, after_size;

  g_unlink (path);
  run_with_stops (path, "", STOP_NEVER, 0);
  fail_unless (g_file_get_contents (path, &keep, &keep_size, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *settings =
        g_strdup_printf ("checkpoint-file=%s resume=true %s", path, cases[i].settings);
    Rig rig = rig_new (settings, 14, 3);

    fail_unless_equals_int (push_run (&rig, 14, 1000, 0, 0), GST_FLOW_ERROR);
    expect_error (rig.bus, cases[i].words);
    rig_free (&rig);
  }
  /* What was there has not been touched. */
  fail_unless (g_file_get_contents (path, &after, &after_size, NULL));
  fail_unless (keep_size == after_size && memcmp (keep, after, keep_size) == 0);
}
GST_END_TEST

GST_START_TEST (test_checkpoint_of_another_data_set)
{
  static const gchar *const hash_words[] = { HASH, "another", NULL };
  static const gchar *const seed_words[] = { "seed 5", "now it is 6", NULL };
  g_autofree gchar *path = path_of ("data-set.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s resume=true", path);

  g_unlink (path);
  run_with_stops (path, "", STOP_NEVER, 0);
  for (guint i = 0; i < 2; i++) {
    Rig rig = rig_new (settings, 0, 0);
    GstPirlDataset dataset = { 14, 0, NULL, 3, i ? SOURCE_SEED + 1 : SOURCE_SEED,
      (gchar *) (i ? HASH : "another")
    };

    gst_harness_push_event (rig.harness, gst_pirl_dataset_event_new (&dataset));
    fail_unless_equals_int (push_run (&rig, 14, 1000, 0, 0), GST_FLOW_ERROR);
    expect_error (rig.bus, i ? seed_words : hash_words);
    rig_free (&rig);
  }
}
GST_END_TEST

/* ---- checkpoints -------------------------------------------------------------------------- */

GST_START_TEST (test_checkpoint_interval_and_signal)
{
  g_autofree gchar *path = path_of ("interval.safetensors");
  g_autofree gchar *settings =
      g_strdup_printf ("checkpoint-file=%s checkpoint-interval=2 ", path);
  Rig rig = rig_new (settings, 20, 1);
  GstMessage *message;
  gboolean accepted = FALSE;

  push_ok (&rig, 20, 1, 0, 0);
  wait_for_steps (&rig, 5);
  g_signal_emit_by_name (rig.sink, "save-checkpoint", &accepted);
  fail_unless (accepted);
  for (guint i = 0; i < 3; i++) {
    while ((message = next_element (rig.bus, "pirl-checkpoint")) == NULL)
      g_usleep (1000);
    fail_unless_equals_string (gst_structure_get_string (gst_message_get_structure (message),
            "file"), path);
    fail_unless_equals_uint64 (field_uint64 (message, "step"), MIN (2 * (i + 1), 5));
    gst_message_unref (message);
  }
  fail_unless (push_eos (&rig));
  /* Nothing new since. */
  fail_unless (next_element (rig.bus, "pirl-checkpoint") == NULL);
  fail_unless_equals_uint64 (counter (&rig, "checkpoints"), 3);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_save_checkpoint_needs_a_file)
{
  Rig rig = rig_new ("", 8, 1);
  gboolean accepted = TRUE;

  g_signal_emit_by_name (rig.sink, "save-checkpoint", &accepted);
  fail_if (accepted);
  rig_free (&rig);
}
GST_END_TEST

/* ---- main --------------------------------------------------------------------------------- */

static Suite *
pirltrainsink_resume_suite (void)
{
  Suite *suite = suite_create ("pirltrainsink-resume");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, test_resumed_run_is_bit_identical);
  tcase_add_test (tc, test_resumed_run_keeps_its_precision);
  tcase_add_test (tc, test_complete_run_resumes_to_nothing);
  tcase_add_test (tc, test_position_counts_unreadable_samples);
  tcase_add_test (tc, test_resume_without_checkpoint_starts_fresh);
  tcase_add_test (tc, test_model_file_gives_the_weights);
  tcase_add_test (tc, test_checkpoint_of_another_run);
  tcase_add_test (tc, test_checkpoint_of_another_data_set);
  tcase_add_test (tc, test_checkpoint_interval_and_signal);
  tcase_add_test (tc, test_save_checkpoint_needs_a_file);
  return suite;
}

GST_CHECK_MAIN (pirltrainsink_resume);
