/* gst-pirl: tests of pirltrainsink, one behaviour each: what is wrong, and said.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>

#include "train-run.h"

/* ---- before any data ---------------------------------------------------------------------- */

GST_START_TEST (test_bad_settings_fail_at_the_start)
{
  g_autofree gchar *garbage = path_of ("garbage.safetensors");
  g_autofree gchar *model = path_of ("model.safetensors");
  g_autofree gchar *lines[] = {
    g_strdup ("checkpoint-file=/nowhere/at/all/x.safetensors"),
    g_strdup_printf ("checkpoint-file=%s", folder),
    g_strdup_printf ("checkpoint-file=%s resume=true", garbage),
    g_strdup ("resume=true"),
    g_strdup ("model-file=/nowhere/model.safetensors"),
    g_strdup ("arch=resnet19"),
  };
  static const gchar *const words[][3] = {
    {"/nowhere/at/all", "folder does not exist"}, {"is a folder"}, {"garbage.safetensors"},
    {"checkpoint-file"}, {"/nowhere/model.safetensors"}, {"resnet19", "resnet50"},
  };

  fail_unless (g_file_set_contents (garbage, "this is no checkpoint", -1, NULL));
  fail_if (g_file_test (model, G_FILE_TEST_EXISTS));
  for (guint i = 0; i < G_N_ELEMENTS (lines); i++) {
    GstBus *bus;
    GstElement *sink = make_sink (lines[i], &bus);

    fail_unless_equals_int (gst_element_set_state (sink, GST_STATE_READY),
        GST_STATE_CHANGE_SUCCESS);
    fail_unless_equals_int (gst_element_set_state (sink, GST_STATE_PAUSED),
        GST_STATE_CHANGE_FAILURE);
    expect_error (bus, words[i]);
    /* It can be set right and started. */
    g_object_set (sink, "checkpoint-file", NULL, "resume", FALSE, "model-file", NULL, "arch",
        "resnet18", NULL);
    gst_element_set_state (sink, GST_STATE_NULL);
    fail_unless_equals_int (gst_element_set_state (sink, GST_STATE_PAUSED),
        GST_STATE_CHANGE_ASYNC);
    gst_element_set_state (sink, GST_STATE_NULL);
    gst_element_set_bus (sink, NULL);
    gst_object_unref (sink);
    gst_object_unref (bus);
    g_free (g_steal_pointer (&lines[i]));
  }
}
GST_END_TEST

/* ---- with data ---------------------------------------------------------------------------- */

static gboolean
checkpoint_is_finite (const gchar * path)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, NULL);

  fail_unless (file != NULL, "no checkpoint %s", path);
  for (guint i = 0; i < pirl_safetensors_count (file); i++) {
    const PirlTensor *t = pirl_safetensors_nth (file, i);

    if (t->dtype != PIRL_DTYPE_F32)
      continue;
    for (gsize k = 0; k < t->size / sizeof (gfloat); k++)
      if (!isfinite (((const gfloat *) t->data)[k]))
        return FALSE;
  }
  return TRUE;
}

GST_START_TEST (test_settings_that_do_not_fit_the_data)
{
  static const struct {
    const gchar *settings;
    guint count;
    const gchar *words[4];
  } cases[] = {
    {"", 3, {"3 samples", "a batch needs 4", "batch-size"}},
    {"negatives=12", 12, {"negatives is 12", "12 rows", "11 others"}},
    {"bank-size=2", 12, {"2 rows", "batches of 4", "bank-size"}},
    {"bank-size=8", 12, {"no row", "8 rows", "bank-size"}},
    {"device=abacus", 12, {"abacus", "cpu"}},
    {"bank-precision=f15", 12, {"bank-precision", "f15", "fp16"}},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    Rig rig = rig_new (cases[i].settings, cases[i].count, 0);
    GstFlowReturn ret = push_run (&rig, cases[i].count, 1000, 0, 0);

    fail_unless_equals_int (ret, GST_FLOW_ERROR);
    expect_error (rig.bus, cases[i].words);
    fail_if (push_eos (&rig));
    /* Exactly one. */
    expect_no_error (rig.bus);
    rig_free (&rig);
  }
}
GST_END_TEST

GST_START_TEST (test_stream_of_less_than_a_batch)
{
  static const gchar *const words[] = { "after 3 samples", "a batch needs 4", NULL };
  Rig rig = rig_new ("", 0, 0);

  for (guint i = 0; i < 3; i++)
    fail_unless_equals_int (gst_harness_push (rig.harness, make_views (i, 0, SIZE)), GST_FLOW_OK);
  fail_if (push_eos (&rig));
  expect_error (rig.bus, words);
  rig_free (&rig);
}
GST_END_TEST

/* Most pictures of the set could not be read: endless epochs would never learn. */
GST_START_TEST (test_epoch_of_less_than_a_batch)
{
  static const gchar *const words[] = { "epoch 0 brought 2 samples", "a batch needs 4", NULL };
  Rig rig = rig_new ("", 8, 0);
  GstFlowReturn ret = GST_FLOW_OK;

  for (guint epoch = 0; epoch < 1000 && ret == GST_FLOW_OK; epoch++)
    for (guint i = 0; i < 2 && ret == GST_FLOW_OK; i++)
      ret = gst_harness_push (rig.harness, make_sample (4 * i, epoch, 8));
  fail_unless_equals_int (ret, GST_FLOW_ERROR);
  expect_error (rig.bus, words);
  rig_free (&rig);
}
GST_END_TEST

/* A rate of 1e3 for a batch of 256 leaves the finite numbers or collapses; the checkpoint of the step
 * before stays whole and finite. */
GST_START_TEST (test_diverging_training_stops_and_keeps_the_good_checkpoint)
{
  static const gchar *const words[] = { "step", "learning-rate", NULL };
  g_autofree gchar *path = path_of ("diverged.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s checkpoint-interval=1 "
      "head=linear learning-rate=1000 warmup=0 lr-schedule=constant momentum=1 weight-decay=1",
      path);
  Rig rig = rig_new (settings, 12, 0);

  fail_unless_equals_int (push_run (&rig, 12, 300, 0, 0), GST_FLOW_ERROR);
  expect_error (rig.bus, words);
  gst_element_set_state (rig.sink, GST_STATE_NULL);
  fail_unless (checkpoint_step (path) >= 1);
  fail_unless (checkpoint_is_finite (path));
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_buffers_that_are_not_the_caps)
{
  static const gchar *const words[] = { "not the two views", NULL };
  Rig rig = rig_new ("", 12, 1);
  GstFlowReturn ret = GST_FLOW_OK;

  for (guint i = 0; i < 100 && ret == GST_FLOW_OK; i++)
    ret = gst_harness_push (rig.harness, make_views (i % 12, 0, SIZE / 2));
  fail_unless_equals_int (ret, GST_FLOW_ERROR);
  expect_error (rig.bus, words);
  rig_free (&rig);
}
GST_END_TEST

/* An element upstream may have merged the two memories; the bytes are the same. */
GST_START_TEST (test_merged_memories_are_taken)
{
  Rig rig = rig_new ("", 0, 0);

  for (guint i = 0; i < 4; i++) {
    GstBuffer *buffer = make_views (i, 0, SIZE);
    GstMemory *all = gst_buffer_get_all_memory (buffer);

    gst_buffer_replace_all_memory (buffer, all);
    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    fail_unless_equals_int (gst_harness_push (rig.harness, buffer), GST_FLOW_OK);
  }
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "trained"), 4);
  rig_free (&rig);
}
GST_END_TEST

/* ---- main --------------------------------------------------------------------------------- */

static Suite *
pirltrainsink_errors_suite (void)
{
  Suite *suite = suite_create ("pirltrainsink-errors");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, test_bad_settings_fail_at_the_start);
  tcase_add_test (tc, test_settings_that_do_not_fit_the_data);
  tcase_add_test (tc, test_stream_of_less_than_a_batch);
  tcase_add_test (tc, test_epoch_of_less_than_a_batch);
  tcase_add_test (tc, test_diverging_training_stops_and_keeps_the_good_checkpoint);
  tcase_add_test (tc, test_buffers_that_are_not_the_caps);
  tcase_add_test (tc, test_merged_memories_are_taken);
  return suite;
}

GST_CHECK_MAIN (pirltrainsink_errors);
