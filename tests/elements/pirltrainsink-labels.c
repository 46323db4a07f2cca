/* gst-pirl: tests of pirltrainsink, one behaviour each: objective=supervised.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "train-run.h"

/* ---- labels ------------------------------------------------------------------------------- */

#define LABELS "objective=supervised optimizer=adam learning-rate=0.2 "

/* The two classes differ in the step of their gradient: a network learns them by heart. */
GST_START_TEST (test_supervised_learns_labels)
{
  static const gchar *const lines[] = { "", "arch=mobilenetv2 width=0.25 precision=f32 " };
  static const gchar *const classifiers[] = { "fc.weight", "classifier.1.weight" };
  g_autofree gchar *path = path_of ("labels.safetensors");

  for (guint i = 0; i < G_N_ELEMENTS (lines); i++) {
    g_autofree gchar *line = g_strdup_printf (LABELS "%scheckpoint-file=%s", lines[i], path);
    Rig rig = rig_new (line, 8, 80);
    g_autoptr (PirlSafetensors) file = NULL;
    gdouble accuracy = 0, loss = 9;
    GstMessage *message;

    push_ok (&rig, 8, 80, 0, 0);
    fail_unless (push_eos (&rig));
    while ((message = next_element (rig.bus, "pirl-epoch")) != NULL) {
      accuracy = field_double (message, "accuracy");
      loss = field_double (message, "loss");
      gst_message_unref (message);
    }
    fail_unless (accuracy == 1 && loss < 0.3, "%saccuracy %g, loss %g", lines[i], accuracy, loss);
    file = pirl_safetensors_open (path, NULL);
    fail_unless_equals_string (pirl_safetensors_metadata (file, "class_names"), "even\nodd");
    fail_unless_equals_string (pirl_safetensors_metadata (file, "objective"), "supervised");
    fail_unless (pirl_safetensors_lookup (file, classifiers[i]) != NULL);
    fail_unless (pirl_safetensors_lookup (file, "state.bank") == NULL);
    fail_unless (pirl_safetensors_metadata (file, "temperature") == NULL);
    rig_free (&rig);
  }
}
GST_END_TEST

GST_START_TEST (test_supervised_resumes_bit_identical)
{
  g_autofree gchar *whole = path_of ("whole.safetensors"), *parts = path_of ("parts.safetensors");
  g_autofree gchar *line_whole = g_strdup_printf (LABELS "max-steps=6 checkpoint-file=%s", whole);
  g_autofree gchar *line_parts =
      g_strdup_printf (LABELS "max-steps=6 resume=true checkpoint-file=%s", parts);
  Rig rig = rig_new (line_whole, 8, 3);

  push_ok (&rig, 8, 3, 0, 0);
  fail_unless (push_eos (&rig));
  rig_free (&rig);
  rig = rig_new (line_parts, 8, 3);
  push_ok (&rig, 8, 1, 0, 0);
  wait_for_steps (&rig, 2);
  rig_free (&rig);
  fail_unless_equals_uint64 (checkpoint_step (parts), 2);
  rig = rig_new (line_parts, 8, 3);
  push_ok (&rig, 8, 3, 1, 0);
  fail_unless (push_eos (&rig));
  expect_no_error (rig.bus);
  rig_free (&rig);
  expect_same_checkpoint (whole, parts);
}
GST_END_TEST

/* Every third sample has no label: left out with one warning, and the others are trained. */
GST_START_TEST (test_supervised_leaves_out_unlabelled)
{
  Rig rig = rig_new (LABELS, 12, 1);
  guint warnings = 0;
  GstMessage *message;

  for (guint i = 0; i < 12; i++) {
    GstBuffer *buffer = make_views (i, 0, SIZE);
    GstPirlSample sample = {.index = i,.position = i,.count = 12,.name = "made up",
      .label = i % 3 == 2 ? -1 : (gint) (i % 2)
    };

    gst_pirl_sample_add (buffer, &sample);
    fail_unless_equals_int (gst_harness_push (rig.harness, buffer), GST_FLOW_OK);
  }
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "unlabelled"), 4);
  fail_unless_equals_uint64 (counter (&rig, "trained"), 8);
  while ((message = gst_bus_pop_filtered (rig.bus, GST_MESSAGE_WARNING)) != NULL) {
    g_autoptr (GError) warning = NULL;

    gst_message_parse_warning (message, &warning, NULL);
    warnings += strstr (warning->message, "no label") != NULL;
    gst_message_unref (message);
  }
  fail_unless_equals_int (warnings, 1);
  rig_free (&rig);
}
GST_END_TEST

/* A camera, a data set of one class, and a stream whose samples all lack a label. */
GST_START_TEST (test_supervised_needs_labels)
{
  static const gchar *const camera[] = { "labels", "camera", "folder", NULL };
  static const gchar *const one_class[] = { "labels", "one class", NULL };
  static const gchar *const none[] = { "nothing was learnt", "folder a class", NULL };
  gchar *names[] = { (gchar *) "only", NULL };
  GstPirlDataset dataset = { 8, 1, names, 1, SOURCE_SEED, (gchar *) HASH };
  Rig rig = rig_new (LABELS, 0, 0);

  gst_harness_push (rig.harness, make_views (0, 0, SIZE));
  expect_error (rig.bus, camera);
  rig_free (&rig);

  rig = rig_new (LABELS, 0, 0);
  gst_harness_push_event (rig.harness, gst_pirl_dataset_event_new (&dataset));
  gst_harness_push (rig.harness, make_sample (0, 0, 8));
  expect_error (rig.bus, one_class);
  rig_free (&rig);

  rig = rig_new (LABELS, 8, 1);
  for (guint i = 0; i < 8; i++)
    fail_unless_equals_int (gst_harness_push (rig.harness, make_views (i, 0, SIZE)), GST_FLOW_OK);
  push_eos (&rig);
  expect_error (rig.bus, none);
  rig_free (&rig);
}
GST_END_TEST

/* A classifier of other classes gives its trunk only. */
GST_START_TEST (test_supervised_starts_from_any_trunk)
{
  g_autofree gchar *model = path_of ("pirl.safetensors"), *labels = path_of ("labels.safetensors");
  g_autofree gchar *first = g_strdup_printf ("max-steps=2 checkpoint-file=%s", model);
  g_autofree gchar *second = g_strdup_printf ("objective=supervised learning-rate=0 max-steps=1 model-file=%s "
      "checkpoint-file=%s", model, labels);
  g_autoptr (PirlSafetensors) a = NULL, b = NULL;
  Rig rig = rig_new (first, 8, 1);

  push_ok (&rig, 8, 1, 0, 0);
  push_eos (&rig);
  rig_free (&rig);
  rig = rig_new (second, 8, 1);
  push_run (&rig, 8, 1, 0, 0);
  push_eos (&rig);
  expect_no_error (rig.bus);
  rig_free (&rig);
  a = pirl_safetensors_open (model, NULL);
  b = pirl_safetensors_open (labels, NULL);
  fail_unless (memcmp (pirl_safetensors_lookup (a, "layer4.0.conv1.weight")->data,
          pirl_safetensors_lookup (b, "layer4.0.conv1.weight")->data, 64) == 0);
}
GST_END_TEST

/* ---- main --------------------------------------------------------------------------------- */

static Suite *
pirltrainsink_labels_suite (void)
{
  Suite *suite = suite_create ("pirltrainsink-labels");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, test_supervised_learns_labels);
  tcase_add_test (tc, test_supervised_resumes_bit_identical);
  tcase_add_test (tc, test_supervised_leaves_out_unlabelled);
  tcase_add_test (tc, test_supervised_needs_labels);
  tcase_add_test (tc, test_supervised_starts_from_any_trunk);
  return suite;
}

GST_CHECK_MAIN (pirltrainsink_labels);
