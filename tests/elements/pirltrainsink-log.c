/* gst-pirl: what pirltrainsink log-dir=... writes, and that a training outlives its log.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gst/check/gstcheck.h>
#include <math.h>

#include "dataset-run.h"
#include "../kernels/tfevents-reader.h"

#define SOURCE "pirldatasetsrc name=source location=synthetic:shapes?count=16&classes=2&size=32 " \
    "epochs=2 ! pirljigsaw image-size=32 ! "
#define SINK "pirltrainsink name=sink arch=resnet18 base-width=8 batch-size=4 device=cpu " \
    "n-threads=1 interval=0 "
#define ALL -1

typedef struct {
  guint warnings;
  gchar *warning;
  guint64 steps;
} Outcome;

/* Runs a training over so many @samples to its end; an error fails the test. */
static Outcome
train (const gchar * settings, const gchar * log, gint samples)
{
  g_autofree gchar *line = g_strconcat (SOURCE SINK, settings, NULL);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);
  GstBus *bus = gst_element_get_bus (pipeline);
  Outcome outcome = { 0 };
  gboolean ended = FALSE;

  fail_unless (error == NULL, "%s", error ? error->message : "");
  gst_child_proxy_set (GST_CHILD_PROXY (pipeline), "sink::log-dir", log, "source::num-buffers",
      samples, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (!ended) {
    GstMessage *message = gst_bus_timed_pop (bus, PATIENCE);

    fail_unless (message != NULL, "nothing happens");
    fail_if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR);
    if (gst_message_has_name (message, "pirl-training"))
      gst_structure_get_uint64 (gst_message_get_structure (message), "step", &outcome.steps);
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING) {
      gst_message_parse_warning (message, &error, NULL);
      if (strstr (error->message, "log-dir")) {
        outcome.warnings++;
        g_free (outcome.warning);
        outcome.warning = g_strdup (error->message);
      }
      g_clear_error (&error);
    }
    ended = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
    gst_message_unref (message);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  return outcome;
}

/* Steps of @tag in @events; checks that they rise and that the values are numbers. */
static guint
count_scalars (const GPtrArray * events, const gchar * tag, guint64 * first, guint64 * last)
{
  guint n = 0;

  for (guint i = 0; i < events->len; i++) {
    const TestEvent *event = g_ptr_array_index (events, i);

    if (g_strcmp0 (event->tag, tag) != 0)
      continue;
    fail_unless (isfinite (event->value), "%s is %g", tag, event->value);
    fail_unless (n == 0 || event->step > *last, "steps of %s do not rise", tag);
    if (n++ == 0)
      *first = event->step;
    *last = event->step;
  }
  return n;
}

GST_START_TEST (test_scalars)
{
  static const gchar *const tags[] = { "loss", "loss/images", "loss/patches", "learning-rate",
    "spread", "positive/images", "positive/patches" };
  g_autofree gchar *log = g_build_filename (scratch, "made", "here", NULL);
  Outcome outcome = train ("", log, ALL);
  g_autoptr (GPtrArray) files = test_event_files (log), events = NULL;
  guint64 from = 0, to = 0;

  fail_unless_equals_int (outcome.warnings, 0);
  fail_unless_equals_uint64 (outcome.steps, 8);
  fail_unless_equals_int (files->len, 1);
  events = test_read_events (files->pdata[0]);
  fail_unless_equals_string (((TestEvent *) events->pdata[0])->version, "brain.Event:2");
  fail_unless (((TestEvent *) events->pdata[1])->start);
  for (guint i = 0; i < G_N_ELEMENTS (tags); i++) {
    fail_unless_equals_int (count_scalars (events, tags[i], &from, &to), 8);
    fail_unless_equals_uint64 (from, 1);
    fail_unless_equals_uint64 (to, 8);
  }
  fail_unless (count_scalars (events, "images-per-second", &from, &to) > 0);
  fail_unless (count_scalars (events, "knn-accuracy", &from, &to) > 0);
  fail_unless_equals_int (count_scalars (events, "accuracy", &from, &to), 0);
}

GST_END_TEST
/* A classifier has no bank, and says so by saying nothing of it. Messages do not matter. */
GST_START_TEST (test_supervised)
{
  g_autofree gchar *log = g_build_filename (scratch, "supervised", NULL);
  Outcome outcome = train ("objective=supervised post-messages=false", log, ALL);
  g_autoptr (GPtrArray) files = test_event_files (log), events = NULL;
  guint64 from, to;

  fail_unless_equals_int (outcome.warnings, 0);
  fail_unless_equals_int (files->len, 1);
  events = test_read_events (files->pdata[0]);
  fail_unless_equals_int (count_scalars (events, "loss", &from, &to), 8);
  fail_unless_equals_int (count_scalars (events, "accuracy", &from, &to), 8);
  fail_unless_equals_int (count_scalars (events, "spread", &from, &to), 0);
  fail_unless_equals_int (count_scalars (events, "loss/patches", &from, &to), 0);
}

GST_END_TEST
/* A resumed run writes a further file, which begins after the checkpoint. */
GST_START_TEST (test_resume)
{
  g_autofree gchar *log = g_build_filename (scratch, "resumed", NULL);
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s/c.safetensors resume=true",
      scratch);
  guint64 from = 0, to = 0;
  TestEvent *start;

  train (settings, log, 5 * 4);
  train (settings, log, ALL);
  {
    g_autoptr (GPtrArray) files = test_event_files (log);
    g_autoptr (GPtrArray) one = NULL, two = NULL;

    fail_unless_equals_int (files->len, 2);
    one = test_read_events (files->pdata[0]);
    two = test_read_events (files->pdata[1]);
    fail_unless_equals_int (count_scalars (one, "loss", &from, &to), 5);
    fail_unless_equals_uint64 (to, 5);
    fail_unless_equals_int (count_scalars (two, "loss", &from, &to), 3);
    fail_unless_equals_uint64 (from, 6);
    fail_unless_equals_uint64 (to, 8);
    start = two->pdata[1];
    fail_unless (start->start);
    fail_unless_equals_uint64 (start->step, 6);
  }
}

GST_END_TEST
GST_START_TEST (test_no_folder)
{
  g_autofree gchar *file = g_build_filename (scratch, "file", NULL);
  g_autofree gchar *log = g_build_filename (file, "log", NULL);
  Outcome outcome;

  fail_unless (g_file_set_contents (file, "x", 1, NULL));
  outcome = train ("", log, ALL);
  fail_unless_equals_int (outcome.warnings, 1);
  fail_unless (strstr (outcome.warning, log) != NULL, "%s", outcome.warning);
  fail_unless_equals_uint64 (outcome.steps, 8);
  g_free (outcome.warning);
}

GST_END_TEST

static Suite *
pirltrainsink_log_suite (void)
{
  Suite *s = suite_create ("pirltrainsink-log");
  TCase *tc = tcase_create ("log");

  suite_add_tcase (s, tc);
  tcase_add_checked_fixture (tc, setup_scratch, teardown_scratch);
  tcase_add_test (tc, test_scalars);
  tcase_add_test (tc, test_supervised);
  tcase_add_test (tc, test_resume);
  tcase_add_test (tc, test_no_folder);
  return s;
}

int
main (int argc, char **argv)
{
  leaks_watch ();
  gst_check_init (&argc, &argv);
  return gst_check_run_suite (pirltrainsink_log_suite (), "pirltrainsink-log", __FILE__);
}
