/* gst-pirl: tests of pirlprobesink, one behaviour each. The test plays source and network: features
 * are made up here, so that the element is alone.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <math.h>
#include <string.h>

#include "meta.h"

#define CLASSES 3
#define HASH "a data set of the test"
#define FAST "pirlprobesink name=sink n-threads=1 device=cpu batch-size=8 bootstrap=20 "

static gchar *folder;

/* ---- samples --------------------------------------------------------------------------------- */

/* What the sample says besides its features. */
typedef struct {
  guint index, epoch;
  gint label;
  const gchar *split;
  gboolean no_meta;
  GstClockTime age;
  const gchar *model;
} Kind;

/* Two places of three channels, in which the class stands out of what the index says, and two
 * numbers that say nothing. */
static void
fill (gfloat * row, guint index, gint label)
{
  for (guint d = 0; d < 6; d++)
    row[d] = (gint) (d % 3) == label ? 5 + index % 4 : (index * 7 + d * 3) % 5 / 5.0f;
  row[6] = 1 + index % 4;
  row[7] = 2;
}

/* A copy of @size bytes. */
static GstMemory *
copy_memory (gconstpointer from, gsize size)
{
  gpointer data = g_memdup2 (from, size);

  return gst_memory_new_wrapped (0, data, size, 0, size, data, g_free);
}

/* Both layers in one memory each, or in the meta of a frame. */
static GstBuffer *
make_sample (const Kind * kind, gboolean tensors)
{
  GstPirlSample sample = {.index = kind->index,.epoch = kind->epoch,.label = kind->label,
    .split = kind->split,.position = kind->index
  };
  g_autofree gchar *name = g_strdup_printf ("picture %u", kind->index);
  gfloat row[8];
  GstBuffer *buffer = gst_buffer_new ();
  GBytes *bytes;

  fill (row, kind->index, kind->index % CLASSES);
  bytes = g_bytes_new (row, sizeof row);
  gst_pirl_embedding_add (buffer, bytes, "map,vector", "3:2:1:1,2:1:1:1",
      kind->model ? kind->model : "a model", kind->age);
  g_bytes_unref (bytes);
  if (tensors) {
    gst_buffer_append_memory (buffer, copy_memory (row, 24));
    gst_buffer_append_memory (buffer, copy_memory (row + 6, 8));
  } else {
    gst_buffer_append_memory (buffer, gst_allocator_alloc (NULL, 16 * 16 * 3, NULL));
  }
  sample.name = name;
  if (!kind->no_meta)
    gst_pirl_sample_add (buffer, &sample);
  return buffer;
}

static Kind
kind_of (guint index)
{
  return (Kind) {.index = index,.label = index % CLASSES,
    .split = index % 5 == 4 ? "test" : "train"
  };
}

/* ---- a sink under test ----------------------------------------------------------------------- */

typedef struct {
  GstHarness *harness;
  GstElement *sink;
  GstBus *bus;
  gboolean tensors;
} Rig;

static gboolean
push_dataset (Rig * rig, const gchar * hash, guint classes)
{
  gchar *names[] = { (gchar *) "ant", (gchar *) "bee", (gchar *) "cat", NULL };
  GstPirlDataset dataset = { 100, classes, classes ? names : NULL, 1, 5, (gchar *) hash };

  return gst_harness_push_event (rig->harness, gst_pirl_dataset_event_new (&dataset));
}

static Rig
rig_alone (const gchar * settings)
{
  g_autofree gchar *line = g_strconcat (FAST, settings, NULL);
  GError *error = NULL;
  Rig rig = { 0 };

  rig.sink = gst_parse_launch (line, &error);
  fail_unless (rig.sink != NULL && error == NULL, "%s: %s", line, error ? error->message : "?");
  rig.bus = gst_bus_new ();
  gst_element_set_bus (rig.sink, rig.bus);
  return rig;
}

static Rig
rig_bare (const gchar * settings, gboolean tensors)
{
  Rig rig = rig_alone (settings);

  rig.tensors = tensors;
  rig.harness = gst_harness_new_with_element (rig.sink, "sink", NULL);
  return rig;
}

static Rig
rig_new (const gchar * settings, gboolean tensors)
{
  Rig rig = rig_bare (settings, tensors);

  gst_harness_set_src_caps (rig.harness, tensors
      ? gst_pirl_features_caps ("3:2:1:1,2:1:1:1", 30, 1)
      : gst_caps_from_string ("video/x-raw,format=RGB,width=16,height=16,framerate=30/1"));
  push_dataset (&rig, HASH, CLASSES);
  return rig;
}

static void
rig_free (Rig * rig)
{
  gst_element_set_state (rig->sink, GST_STATE_NULL);
  gst_element_set_bus (rig->sink, NULL);
  gst_bus_set_flushing (rig->bus, TRUE);
  if (rig->harness)
    gst_harness_teardown (rig->harness);
  ASSERT_OBJECT_REFCOUNT (rig->sink, "sink", 1);
  gst_object_unref (rig->sink);
  gst_object_unref (rig->bus);
}

static GstFlowReturn
push_samples (Rig * rig, guint begin, guint end)
{
  GstFlowReturn ret = GST_FLOW_OK;

  for (guint i = begin; i < end && ret == GST_FLOW_OK; i++) {
    const Kind kind = kind_of (i);

    ret = gst_harness_push (rig->harness, make_sample (&kind, rig->tensors));
  }
  return ret;
}

static gboolean
push_eos (Rig * rig)
{
  return gst_harness_push_event (rig->harness, gst_event_new_eos ());
}

static guint64
counter (Rig * rig, const gchar * name)
{
  g_autoptr (GstStructure) stats = NULL;
  guint64 value = 0;

  g_object_get (rig->sink, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, name, &value), "no %s", name);
  return value;
}

static gchar *
state_of (Rig * rig)
{
  g_autoptr (GstStructure) stats = NULL;

  g_object_get (rig->sink, "stats", &stats, NULL);
  return g_strdup (gst_structure_get_string (stats, "state"));
}

static void
wait_for_state (Rig * rig, const gchar * state)
{
  for (;;) {
    g_autofree gchar *now = state_of (rig);

    if (strcmp (now, state) == 0)
      return;
    g_usleep (1000);
  }
}

/* The next result, which is of @layer and @probe. */
static const GstStructure *
expect_result (Rig * rig, GstMessage ** message, const gchar * layer, const gchar * probe)
{
  const GstStructure *s;

  do {
    gst_clear_message (message);
    *message = gst_bus_pop_filtered (rig->bus, GST_MESSAGE_ELEMENT | GST_MESSAGE_ERROR);
    fail_unless (*message != NULL, "no result of %s of %s", probe, layer);
  } while (!gst_message_has_name (*message, "pirl-probe"));
  s = gst_message_get_structure (*message);
  fail_unless_equals_string (gst_structure_get_string (s, "layer"), layer);
  fail_unless_equals_string (gst_structure_get_string (s, "probe"), probe);
  return s;
}

static gdouble
number (const GstStructure * s, const gchar * name)
{
  gdouble value = NAN;

  fail_unless (gst_structure_get_double (s, name, &value), "no %s", name);
  return value;
}

/* The next error or warning, whose text has @words. */
static void
expect_text (Rig * rig, GstMessageType type, const gchar * words)
{
  GstMessage *message = gst_bus_pop_filtered (rig->bus, type);
  GError *error = NULL;

  fail_unless (message != NULL, "nothing says \"%s\"", words);
  if (type == GST_MESSAGE_ERROR)
    gst_message_parse_error (message, &error, NULL);
  else
    gst_message_parse_warning (message, &error, NULL);
  fail_unless (strstr (error->message, words) != NULL, "\"%s\" does not say \"%s\"",
      error->message, words);
  g_clear_error (&error);
  gst_message_unref (message);
}

static void
expect_none (Rig * rig, GstMessageType type)
{
  fail_if (gst_bus_have_pending (rig->bus) && gst_bus_pop_filtered (rig->bus, type) != NULL);
}

/* ---- results --------------------------------------------------------------------------------- */

static void
probe_both_layers (gboolean tensors)
{
  Rig rig = rig_new ("probe=linear,knn k=5 epochs=40", tensors);
  GstMessage *message = NULL;
  const GstStructure *s;
  guint64 n;

  fail_unless_equals_int (push_samples (&rig, 0, 100), GST_FLOW_OK);
  fail_unless (push_eos (&rig));
  s = expect_result (&rig, &message, "map", "linear");
  fail_unless (number (s, "top1") == 1);
  fail_unless (number (s, "top1-low") <= 1 && number (s, "top1-high") == 1);
  fail_unless (gst_structure_get_uint64 (s, "n-train", &n) && n == 80);
  fail_unless (gst_structure_get_uint64 (s, "n-test", &n) && n == 20);
  fail_unless (number (expect_result (&rig, &message, "map", "knn"), "balanced") == 1);
  /* These say nothing of the class. */
  fail_unless (number (expect_result (&rig, &message, "vector", "linear"), "top1") < 1);
  expect_result (&rig, &message, "vector", "knn");
  gst_message_unref (message);
  fail_unless_equals_uint64 (counter (&rig, "train"), 80);
  wait_for_state (&rig, "done");
  rig_free (&rig);
}

GST_START_TEST (tensors_are_probed_a_layer_each)
{
  probe_both_layers (TRUE);
}

GST_END_TEST;

GST_START_TEST (frames_with_embeddings_are_probed)
{
  probe_both_layers (FALSE);
}

GST_END_TEST;

GST_START_TEST (report_file_has_all_figures)
{
  g_autofree gchar *path = g_build_filename (folder, "report.json", NULL);
  g_autofree gchar *settings = g_strdup_printf ("probe=knn k=5 report-file=%s", path);
  g_autofree gchar *text = NULL;
  Rig rig = rig_new (settings, TRUE);

  push_samples (&rig, 0, 50);
  fail_unless (push_eos (&rig));
  fail_unless (g_file_get_contents (path, &text, NULL, NULL));
  fail_unless (strstr (text, "\"dataset\" : \"" HASH "\"") && strstr (text, "\"a model\"")
      && strstr (text, "\"bee\"") && strstr (text, "\"layer\" : \"vector\"")
      && strstr (text, "\"top5\"") && strstr (text, "\"class_accuracy\""), "%s", text);
  rig_free (&rig);
  g_unlink (path);
}

GST_END_TEST;

/* One in ten of each class, at least one. */
GST_START_TEST (fraction_of_the_training_samples)
{
  Rig rig = rig_new ("probe=knn k=5 train-fraction=0.1", TRUE);
  GstMessage *message = NULL;
  guint64 n;

  push_samples (&rig, 0, 150);
  fail_unless (push_eos (&rig));
  fail_unless (gst_structure_get_uint64 (expect_result (&rig, &message, "map", "knn"), "n-train",
          &n));
  fail_unless_equals_uint64 (n, 12);
  gst_message_unref (message);
  rig_free (&rig);
}

GST_END_TEST;

/* ---- several labels -------------------------------------------------------------------------- */

static gchar *
write_labels (const gchar * text)
{
  gchar *path = g_build_filename (folder, "labels.txt", NULL);

  fail_unless (g_file_set_contents (path, text, -1, NULL));
  return path;
}

GST_START_TEST (labels_file_gives_average_precision)
{
  GString *text = g_string_new ("# a list\n\n");
  g_autofree gchar *path = NULL;
  g_autofree gchar *settings = NULL;
  GstMessage *message = NULL;
  const GstStructure *s;
  Rig rig;

  for (guint i = 0; i < 100; i++)
    g_string_append_printf (text, "picture %u\t%s,%s\ttrain\n", i,
        i % 3 == 0 ? "ant" : i % 3 == 1 ? "bee" : "cat", i % 7 == 0 ? "?dog" : i % 2 ? "dog" : "");
  path = write_labels (text->str);
  g_string_free (text, TRUE);
  settings = g_strdup_printf ("probe=knn,linear k=5 solver=exact labels-file=%s", path);
  rig = rig_new (settings, TRUE);
  fail_unless_equals_int (push_samples (&rig, 0, 110), GST_FLOW_OK);
  fail_unless (push_eos (&rig));
  s = expect_result (&rig, &message, "map", "knn");
  fail_unless (!gst_structure_has_field (s, "top1"));
  fail_unless (number (s, "map") > .6 && number (s, "map-low") <= number (s, "map"));
  expect_result (&rig, &message, "map", "linear");
  gst_message_unref (message);
  fail_unless_equals_uint64 (counter (&rig, "unlabelled"), 10);
  rig_free (&rig);
  g_unlink (path);
}

GST_END_TEST;

/* Not even PAUSED is reached. */
static void
refuse_settings (const gchar * settings, const gchar * words)
{
  Rig rig = rig_alone (settings);

  fail_unless_equals_int (gst_element_set_state (rig.sink, GST_STATE_PAUSED),
      GST_STATE_CHANGE_FAILURE);
  expect_text (&rig, GST_MESSAGE_ERROR, words);
  rig_free (&rig);
}

static void
refuse_labels (const gchar * text, const gchar * words)
{
  g_autofree gchar *path = write_labels (text);
  g_autofree gchar *settings = g_strdup_printf ("labels-file=%s", path);

  refuse_settings (settings, words);
  g_unlink (path);
}

GST_START_TEST (labels_file_that_cannot_be_used)
{
  refuse_labels ("# nothing\n", "has no labels");
  refuse_labels ("a\tx\na\ty\n", "has \"a\" twice");
}

GST_END_TEST;

GST_START_TEST (labels_file_of_other_pictures)
{
  g_autofree gchar *path = write_labels ("elsewhere\tx\nfarther\ty\n");
  g_autofree gchar *settings = g_strdup_printf ("labels-file=%s", path);
  Rig rig = rig_new (settings, TRUE);

  push_samples (&rig, 0, 10);
  push_eos (&rig);
  expect_text (&rig, GST_MESSAGE_ERROR, "none of the 10 samples has a label, \"picture 0\"");
  rig_free (&rig);
  g_unlink (path);
}

GST_END_TEST;

/* ---- the file of features -------------------------------------------------------------------- */

GST_START_TEST (cache_file_ends_the_second_pass)
{
  g_autofree gchar *path = g_build_filename (folder, "features.safetensors", NULL);
  g_autofree gchar *settings = g_strdup_printf ("probe=knn k=5 cache-file=%s", path);
  gdouble top1[2];

  for (guint pass = 0; pass < 2; pass++) {
    Rig rig = rig_new (settings, TRUE);
    GstMessage *message = NULL;

    fail_unless_equals_int (push_samples (&rig, 0, 50), pass ? GST_FLOW_EOS : GST_FLOW_OK);
    fail_unless_equals_uint64 (counter (&rig, "received"), pass ? 0 : 50);
    fail_unless (push_eos (&rig));
    top1[pass] = number (expect_result (&rig, &message, "map", "knn"), "top1");
    gst_message_unref (message);
    rig_free (&rig);
  }
  fail_unless (top1[0] == top1[1]);
  g_unlink (path);
}

GST_END_TEST;

GST_START_TEST (cache_file_of_something_else_is_replaced)
{
  g_autofree gchar *path = g_build_filename (folder, "features.safetensors", NULL);
  g_autofree gchar *settings = g_strdup_printf ("probe=knn k=5 cache-file=%s", path);
  GstMessage *message = NULL;
  guint64 n;
  Rig rig;

  fail_unless (g_file_set_contents (path, "no features at all", -1, NULL));
  rig = rig_new (settings, TRUE);
  fail_unless_equals_int (push_samples (&rig, 0, 50), GST_FLOW_OK);
  expect_text (&rig, GST_MESSAGE_WARNING, "will be replaced");
  fail_unless (push_eos (&rig));
  rig_free (&rig);
  /* Now of other pictures. */
  rig = rig_bare (settings, TRUE);
  gst_harness_set_src_caps (rig.harness, gst_pirl_features_caps ("3:2:1:1,2:1:1:1", 30, 1));
  push_dataset (&rig, "another", CLASSES);
  fail_unless_equals_int (push_samples (&rig, 0, 25), GST_FLOW_OK);
  expect_text (&rig, GST_MESSAGE_WARNING, "other pictures");
  fail_unless (push_eos (&rig));
  fail_unless (gst_structure_get_uint64 (expect_result (&rig, &message, "map", "knn"), "n-train",
          &n));
  fail_unless_equals_uint64 (n, 20);
  gst_message_unref (message);
  rig_free (&rig);
  g_unlink (path);
}

GST_END_TEST;

/* Nothing is left of features that were not whole. */
GST_START_TEST (cache_file_is_not_written_before_the_end)
{
  g_autofree gchar *path = g_build_filename (folder, "features.safetensors", NULL);
  g_autofree gchar *settings = g_strdup_printf ("cache-file=%s", path);
  Rig rig = rig_new (settings, TRUE);
  g_autoptr (GDir) dir = NULL;

  push_samples (&rig, 0, 20);
  rig_free (&rig);
  dir = g_dir_open (folder, 0, NULL);
  fail_unless (g_dir_read_name (dir) == NULL);
}

GST_END_TEST;

/* ---- what is wrong with a stream ------------------------------------------------------------- */

static void
refuse_sample (const Kind * kind, const gchar * words)
{
  Rig rig = rig_new ("", TRUE);

  push_samples (&rig, 0, 2);
  fail_unless_equals_int (gst_harness_push (rig.harness, make_sample (kind, TRUE)),
      GST_FLOW_ERROR);
  expect_text (&rig, GST_MESSAGE_ERROR, words);
  expect_none (&rig, GST_MESSAGE_ERROR);
  rig_free (&rig);
}

GST_START_TEST (samples_that_cannot_be_used)
{
  Kind kind = kind_of (2);

  kind.split = "";
  refuse_sample (&kind, "folders called train and test (or val)");
  kind = kind_of (2);
  kind.no_meta = TRUE;
  refuse_sample (&kind, "samples from pirldatasetsrc");
  kind = kind_of (2);
  kind.model = "another";
  refuse_sample (&kind, "model changed in mid-stream from \"a model\" to \"another\"");
}

GST_END_TEST;

GST_START_TEST (stream_without_labels)
{
  Rig rig = rig_bare ("", TRUE);

  gst_harness_set_src_caps (rig.harness, gst_pirl_features_caps ("3:2:1:1,2:1:1:1", 30, 1));
  push_dataset (&rig, HASH, 0);
  fail_unless_equals_int (push_samples (&rig, 0, 1), GST_FLOW_ERROR);
  expect_text (&rig, GST_MESSAGE_ERROR, "labels=folder");
  rig_free (&rig);
}

GST_END_TEST;

GST_START_TEST (stream_without_a_test_split)
{
  Rig rig = rig_new ("", TRUE);

  for (guint i = 0; i < 8; i++) {
    Kind kind = kind_of (i);

    kind.split = "train";
    fail_unless_equals_int (gst_harness_push (rig.harness, make_sample (&kind, TRUE)),
        GST_FLOW_OK);
  }
  push_eos (&rig);
  expect_text (&rig, GST_MESSAGE_ERROR, "8 training and 0 test samples");
  rig_free (&rig);
}

GST_END_TEST;

GST_START_TEST (eos_without_data)
{
  Rig rig = rig_new ("", TRUE);

  push_eos (&rig);
  expect_text (&rig, GST_MESSAGE_ERROR, "ended before its first sample");
  rig_free (&rig);
}

GST_END_TEST;

GST_START_TEST (frames_without_embeddings)
{
  Rig rig = rig_new ("", FALSE);
  const Kind kind = kind_of (0);
  GstBuffer *buffer = make_sample (&kind, FALSE);

  gst_buffer_remove_meta (buffer,
      (GstMeta *) gst_buffer_get_custom_meta (buffer, GST_PIRL_EMBEDDING_META));
  fail_unless_equals_int (gst_harness_push (rig.harness, buffer), GST_FLOW_ERROR);
  expect_text (&rig, GST_MESSAGE_ERROR, "put pirlembed before");
  rig_free (&rig);
}

GST_END_TEST;

/* Frames that carry an earlier one's features, and those of later epochs, are left out. */
GST_START_TEST (features_that_do_not_count)
{
  Rig rig = rig_new ("probe=knn k=5", FALSE);

  push_samples (&rig, 0, 50);
  for (guint i = 0; i < 10; i++) {
    Kind kind = kind_of (i);

    kind.epoch = i % 2;
    kind.age = kind.epoch ? 0 : GST_SECOND;
    fail_unless_equals_int (gst_harness_push (rig.harness, make_sample (&kind, FALSE)),
        GST_FLOW_OK);
  }
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "train"), 40);
  fail_unless_equals_uint64 (counter (&rig, "stale"), 5);
  fail_unless_equals_uint64 (counter (&rig, "repeated"), 5);
  rig_free (&rig);
}

GST_END_TEST;

GST_START_TEST (caps_that_are_no_features)
{
  static const gchar *const lists[] = { "uint8", "float32,float32" };

  for (guint i = 0; i < G_N_ELEMENTS (lists); i++) {
    Rig rig = rig_bare ("", TRUE);
    GstCaps *caps = gst_caps_new_simple ("other/tensors", "format", G_TYPE_STRING, "static",
        "num_tensors", G_TYPE_INT, 1, "types", G_TYPE_STRING, lists[i], "dimensions",
        G_TYPE_STRING, "4:1:1:1", "framerate", GST_TYPE_FRACTION, 30, 1, NULL);

    gst_harness_set_src_caps (rig.harness, caps);
    push_samples (&rig, 0, 1);
    expect_text (&rig, GST_MESSAGE_ERROR, "are not features");
    rig_free (&rig);
  }
}

GST_END_TEST;

GST_START_TEST (settings_that_cannot_work)
{
  static const struct {
    const gchar *settings, *words;
  } cases[] = {
    {"probe=liner", "linear, knn and svm"}, {"probe=linear,,knn", "linear, knn and svm"},
    {"cache-file=/nowhere/at/all", "no folder \"/nowhere/at\""},
    {"report-file=/nowhere/at/all", "report-file"}, {"labels-file=/nowhere/at/all", "labels-file"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    refuse_settings (cases[i].settings, cases[i].words);
}

GST_END_TEST;

/* ---- states ---------------------------------------------------------------------------------- */

static gpointer
push_eos_thread (gpointer data)
{
  push_eos (data);
  return NULL;
}

/* So many epochs that a probe would take hours. */
static Rig
start_long_probe (void)
{
  Rig rig = rig_new ("epochs=100000", TRUE);

  push_samples (&rig, 0, 200);
  return rig;
}

GST_START_TEST (stopping_ends_a_probe)
{
  GThread *thread;
  Rig rig = start_long_probe ();
  g_autoptr (GstStructure) stats = NULL;

  thread = g_thread_new ("eos", push_eos_thread, &rig);
  wait_for_state (&rig, "probing");
  fail_unless_equals_int (gst_element_set_state (rig.sink, GST_STATE_NULL),
      GST_STATE_CHANGE_SUCCESS);
  g_thread_join (thread);
  expect_none (&rig, GST_MESSAGE_ERROR | GST_MESSAGE_ELEMENT);
  g_object_get (rig.sink, "stats", &stats, NULL);
  fail_unless_equals_string (gst_structure_get_string (stats, "state"), "probing");
  rig_free (&rig);
}

GST_END_TEST;

/* A pause lets the EOS wait, playing on lets it go on; the result is there in the end. */
GST_START_TEST (pausing_holds_a_probe)
{
  Rig rig = rig_new ("epochs=3000", TRUE);
  GstMessage *message = NULL;
  GThread *thread;

  push_samples (&rig, 0, 200);
  thread = g_thread_new ("eos", push_eos_thread, &rig);
  wait_for_state (&rig, "probing");
  gst_element_set_state (rig.sink, GST_STATE_PAUSED);
  fail_unless (gst_bus_pop_filtered (rig.bus, GST_MESSAGE_EOS) == NULL);
  gst_element_set_state (rig.sink, GST_STATE_PLAYING);
  g_thread_join (thread);
  wait_for_state (&rig, "done");
  fail_unless (number (expect_result (&rig, &message, "map", "linear"), "top1") == 1);
  gst_message_unref (message);
  rig_free (&rig);
}

GST_END_TEST;

GST_START_TEST (flushing_ends_a_probe_and_forgets)
{
  GThread *thread;
  Rig rig = start_long_probe ();
  GstSegment segment;

  thread = g_thread_new ("eos", push_eos_thread, &rig);
  wait_for_state (&rig, "probing");
  gst_harness_push_event (rig.harness, gst_event_new_flush_start ());
  g_thread_join (thread);
  gst_harness_push_event (rig.harness, gst_event_new_flush_stop (TRUE));
  fail_unless_equals_uint64 (counter (&rig, "train"), 0);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (rig.harness, gst_event_new_segment (&segment));
  fail_unless_equals_int (push_samples (&rig, 0, 10), GST_FLOW_OK);
  fail_unless_equals_uint64 (counter (&rig, "train"), 8);
  wait_for_state (&rig, "collecting");
  rig_free (&rig);
}

GST_END_TEST;

/* From the top again after NULL: nothing of the first run is left. */
GST_START_TEST (runs_twice)
{
  Rig rig = rig_new ("probe=knn k=5", TRUE);

  for (guint run = 0; run < 2; run++) {
    GstMessage *message = NULL;
    guint64 n;

    push_samples (&rig, 0, 50);
    fail_unless (push_eos (&rig));
    fail_unless (gst_structure_get_uint64 (expect_result (&rig, &message, "map", "knn"),
            "n-train", &n));
    fail_unless_equals_uint64 (n, 40);
    gst_message_unref (message);
    if (run == 0) {
      GstSegment segment;

      gst_element_set_state (rig.sink, GST_STATE_READY);
      gst_element_set_state (rig.sink, GST_STATE_PLAYING);
      gst_segment_init (&segment, GST_FORMAT_TIME);
      gst_harness_push_event (rig.harness, gst_event_new_stream_start ("again"));
      gst_harness_push_event (rig.harness, gst_event_new_caps (gst_pirl_features_caps
              ("3:2:1:1,2:1:1:1", 30, 1)));
      push_dataset (&rig, HASH, CLASSES);
      gst_harness_push_event (rig.harness, gst_event_new_segment (&segment));
      while (gst_bus_have_pending (rig.bus))
        gst_message_unref (gst_bus_pop (rig.bus));
    }
  }
  rig_free (&rig);
}

GST_END_TEST;

/* --------------------------------------------------------------------------------------------- */

static void
make_folder (void)
{
  folder = g_dir_make_tmp ("pirlprobesink-XXXXXX", NULL);
}

static void
remove_folder (void)
{
  g_rmdir (folder);
  g_free (folder);
}

static Suite *
pirlprobesink_suite (void)
{
  Suite *s = suite_create ("pirlprobesink");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (s, tc);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, tensors_are_probed_a_layer_each);
  tcase_add_test (tc, frames_with_embeddings_are_probed);
  tcase_add_test (tc, report_file_has_all_figures);
  tcase_add_test (tc, fraction_of_the_training_samples);
  tcase_add_test (tc, labels_file_gives_average_precision);
  tcase_add_test (tc, labels_file_that_cannot_be_used);
  tcase_add_test (tc, labels_file_of_other_pictures);
  tcase_add_test (tc, cache_file_ends_the_second_pass);
  tcase_add_test (tc, cache_file_of_something_else_is_replaced);
  tcase_add_test (tc, cache_file_is_not_written_before_the_end);
  tcase_add_test (tc, samples_that_cannot_be_used);
  tcase_add_test (tc, stream_without_labels);
  tcase_add_test (tc, stream_without_a_test_split);
  tcase_add_test (tc, eos_without_data);
  tcase_add_test (tc, frames_without_embeddings);
  tcase_add_test (tc, features_that_do_not_count);
  tcase_add_test (tc, caps_that_are_no_features);
  tcase_add_test (tc, settings_that_cannot_work);
  tcase_add_test (tc, stopping_ends_a_probe);
  tcase_add_test (tc, pausing_holds_a_probe);
  tcase_add_test (tc, flushing_ends_a_probe_and_forgets);
  tcase_add_test (tc, runs_twice);
  return s;
}

GST_CHECK_MAIN (pirlprobesink);
