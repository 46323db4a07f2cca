/* gst-pirl: tests of pirltrainsink, one behaviour each. The test plays the source: it makes the views
 * itself, so that the element is alone.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dlfcn.h>
#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <math.h>
#include <string.h>

#include "base/safetensors.h"
#include "checkpoints.h"
#include "meta.h"
#include "pretext.h"
#include "../kernels/fake-cuda.h"

#define SIZE 32
#define PATCH 16
#define PATCHES 4
#define BATCH 4
#define SOURCE_SEED 5
#define HASH "a data set of the test"

#define TINY "pirltrainsink name=sink arch=resnet18 base-width=8 batch-size=4 interval=0 n-threads=1 "

static gchar *folder;

/* ---- samples: what a source would send ------------------------------------------------------- */

/* Two views whose pixels are a hash of (index, epoch, position in the view). */
static GstBuffer *
make_views (guint index, guint epoch, gint size)
{
  gsize sizes[2] = { 3 * size * size, 3 * PATCH * PATCH * PATCHES };
  GstBuffer *buffer = gst_buffer_new ();

  for (guint m = 0; m < 2; m++) {
    GstMemory *memory = gst_allocator_alloc (NULL, sizes[m], NULL);
    guint32 state = 1 + 977 * index + 31 * epoch + 7 * m;
    GstMapInfo map;

    gst_memory_map (memory, &map, GST_MAP_WRITE);
    for (gsize i = 0; i < map.size; i++) {
      state = state * 1664525u + 1013904223u;
      /* A gradient that differs from sample to sample, and noise. */
      map.data[i] = (guint8) ((i * (1 + index % 5) / 24 + 16 * index) % 192 + (state >> 26));
    }
    gst_memory_unmap (memory, &map);
    gst_buffer_append_memory (buffer, memory);
  }
  return buffer;
}

/* Sample @position of @epoch; the order is the index rotated by the epoch. */
static GstBuffer *
make_sample (guint position, guint epoch, guint count)
{
  GstPirlSample sample = {.index = (position + 3 * epoch) % count,.count = count,.epoch = epoch,
    .position = position
  };
  GstBuffer *buffer;

  sample.label = sample.index % 2;
  sample.name = "made up";
  buffer = make_views (sample.index, epoch, SIZE);
  gst_pirl_sample_add (buffer, &sample);
  return buffer;
}

static GstEvent *
make_dataset (guint count, guint epochs)
{
  gchar *names[] = { (gchar *) "even", (gchar *) "odd", NULL };
  GstPirlDataset dataset = { count, 2, names, epochs, SOURCE_SEED, (gchar *) HASH };

  return gst_pirl_dataset_event_new (&dataset);
}

/* ---- a sink under test ------------------------------------------------------------------------ */

typedef struct {
  GstHarness *harness;
  GstElement *sink;
  GstBus *bus;
} Rig;

static GstElement *
make_sink (const gchar * settings, GstBus ** bus)
{
  g_autofree gchar *line = g_strconcat (TINY, settings, NULL);
  GError *error = NULL;
  GstElement *sink = gst_parse_launch (line, &error);

  fail_unless (sink != NULL && error == NULL, "%s: %s", line, error ? error->message : "no sink");
  *bus = gst_bus_new ();
  gst_element_set_bus (sink, *bus);
  return sink;
}

static void
rig_caps (Rig * rig, gint size, gint fps)
{
  const GstPirlViews views = { size, PATCH, PATCHES, PIRL_TRANSFORM_JIGSAW, 0, FALSE };

  gst_harness_set_src_caps (rig->harness, gst_pirl_views_caps (&views, fps, 1));
}

/* @count 0: a camera, no data set. */
static Rig
rig_new (const gchar * settings, guint count, guint epochs)
{
  Rig rig;

  rig.sink = make_sink (settings, &rig.bus);
  rig.harness = gst_harness_new_with_element (rig.sink, "sink", NULL);
  rig_caps (&rig, SIZE, 30);
  if (count > 0)
    gst_harness_push_event (rig.harness, make_dataset (count, epochs));
  return rig;
}

static void
rig_free (Rig * rig)
{
  gst_element_set_state (rig->sink, GST_STATE_NULL);
  gst_element_set_bus (rig->sink, NULL);
  gst_bus_set_flushing (rig->bus, TRUE);
  gst_harness_teardown (rig->harness);
  ASSERT_OBJECT_REFCOUNT (rig->sink, "sink", 1);
  gst_object_unref (rig->sink);
  gst_object_unref (rig->bus);
}

/* Plays the source from (epoch, position) on; stops at the first flow that is not OK. */
static GstFlowReturn
push_run (Rig * rig, guint count, guint epochs, guint64 epoch, guint64 position)
{
  GstFlowReturn ret = GST_FLOW_OK;

  for (; epoch < epochs; epoch++, position = 0)
    for (; position < count && ret == GST_FLOW_OK; position++)
      ret = gst_harness_push (rig->harness, make_sample (position, epoch, count));
  return ret;
}

static gboolean
push_eos (Rig * rig)
{
  return gst_harness_push_event (rig->harness, gst_event_new_eos ());
}

static GstStructure *
stats_of (Rig * rig)
{
  GstStructure *stats = NULL;

  g_object_get (rig->sink, "training-stats", &stats, NULL);
  return stats;
}

static guint64
counter (Rig * rig, const gchar * name)
{
  g_autoptr (GstStructure) stats = stats_of (rig);
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (stats, name, &value), "no %s in training-stats", name);
  return value;
}

static gchar *
state_of (Rig * rig)
{
  g_autoptr (GstStructure) stats = stats_of (rig);

  return g_strdup (gst_structure_get_string (stats, "state"));
}

/* Until training-stats say so; the test's own timeout ends a wait in vain. */
static void
wait_for_steps (Rig * rig, guint64 steps)
{
  while (counter (rig, "step") < steps)
    g_usleep (1000);
}

/* ---- messages ---------------------------------------------------------------------------------- */

/* The next element message called @name; NULL when there is none up to the end of the bus. */
static GstMessage *
next_element (GstBus * bus, const gchar * name)
{
  GstMessage *message;

  while ((message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT)) != NULL) {
    if (gst_message_has_name (message, name))
      return message;
    gst_message_unref (message);
  }
  return NULL;
}

static guint64
field_uint64 (GstMessage * message, const gchar * name)
{
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (gst_message_get_structure (message), name, &value),
      "no uint64 %s in %s", name, gst_structure_get_name (gst_message_get_structure (message)));
  return value;
}

static gdouble
field_double (GstMessage * message, const gchar * name)
{
  gdouble value = 0;

  fail_unless (gst_structure_get_double (gst_message_get_structure (message), name, &value),
      "no double %s in %s", name, gst_structure_get_name (gst_message_get_structure (message)));
  return value;
}

/* Waits for an error whose text has all of @words (NULL at the end). */
static void
expect_error (GstBus * bus, const gchar * const *words)
{
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND, GST_MESSAGE_ERROR);
  GError *error = NULL;

  fail_unless (message != NULL, "no error message");
  gst_message_parse_error (message, &error, NULL);
  for (guint i = 0; words[i]; i++)
    fail_unless (strstr (error->message, words[i]) != NULL, "no \"%s\" in \"%s\"", words[i],
        error->message);
  g_clear_error (&error);
  gst_message_unref (message);
}

static void
expect_no_error (GstBus * bus)
{
  GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  GError *error = NULL;

  if (message == NULL)
    return;
  gst_message_parse_error (message, &error, NULL);
  fail ("unexpected error: %s", error->message);
}

/* push_run(), which must go well; else the element's own words say why it did not. */
static void
push_ok (Rig * rig, guint count, guint epochs, guint64 epoch, guint64 position)
{
  GstFlowReturn ret = push_run (rig, count, epochs, epoch, position);

  if (ret == GST_FLOW_ERROR)
    expect_no_error (rig->bus);
  fail_unless_equals_int (ret, GST_FLOW_OK);
}

/* ---- checkpoints -------------------------------------------------------------------------------- */

static gchar *
path_of (const gchar * name)
{
  return g_build_filename (folder, name, NULL);
}

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

/* ---- training and telling ------------------------------------------------------------------------ */

GST_START_TEST (test_trains_and_posts)
{
  Rig rig = rig_new ("", 12, 2);
  GstMessage *message;
  guint64 steps = 0;

  push_ok (&rig, 12, 2, 0, 0);
  fail_unless (push_eos (&rig));
  while ((message = next_element (rig.bus, "pirl-training")) != NULL) {
    gdouble loss = field_double (message, "loss");

    if (field_uint64 (message, "step") > steps)
      steps++;
    fail_unless_equals_uint64 (field_uint64 (message, "step"), steps);
    fail_unless_equals_uint64 (field_uint64 (message, "steps"), 6);
    fail_unless_equals_uint64 (field_uint64 (message, "epoch"), (steps - 1) / 3);
    /* InfoNCE against a random bank: log (1 + K exp (1 / (2 dim tau^2))) = 2.58 with 11 others,
     * give or take what a similarity of a few sigma does. */
    if (steps == 1)
      fail_unless (fabs (loss - 2.58) < 1, "first loss %g", loss);
    fail_unless (fabs (loss - 0.5 * (field_double (message, "loss-image")
                + field_double (message, "loss-patches"))) < 1e-6);
    fail_unless (field_double (message, "lr") > 0);
    fail_unless (field_double (message, "spread") > 0);
    fail_unless (fabs (field_double (message, "positive")) <= 1);
    field_double (message, "images-per-second");
    field_double (message, "eta");
    field_double (message, "z");
    if (steps > 3)
      fail_unless (field_double (message, "knn-accuracy") >= 0);
    gst_message_unref (message);
  }
  fail_unless_equals_uint64 (steps, 6);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_epochs_are_posted_and_remainders_dropped)
{
  Rig rig = rig_new ("", 10, 2);
  GstMessage *message;

  push_ok (&rig, 10, 2, 0, 0);
  fail_unless (push_eos (&rig));
  for (guint epoch = 0; epoch < 2; epoch++) {
    message = next_element (rig.bus, "pirl-epoch");
    fail_unless (message != NULL);
    fail_unless_equals_uint64 (field_uint64 (message, "epoch"), epoch);
    fail_unless_equals_uint64 (field_uint64 (message, "steps"), 2);
    fail_unless_equals_uint64 (field_uint64 (message, "samples"), 8);
    fail_unless_equals_uint64 (field_uint64 (message, "dropped"), 2);
    fail_unless (isfinite (field_double (message, "loss")));
    gst_message_unref (message);
  }
  fail_unless (next_element (rig.bus, "pirl-epoch") == NULL);
  fail_unless_equals_uint64 (counter (&rig, "received"), 20);
  fail_unless_equals_uint64 (counter (&rig, "trained"), 16);
  fail_unless_equals_uint64 (counter (&rig, "dropped"), 4);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_post_messages_false_is_silent)
{
  Rig rig = rig_new ("post-messages=false", 8, 1);

  push_ok (&rig, 8, 1, 0, 0);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless (gst_bus_pop_filtered (rig.bus, GST_MESSAGE_ELEMENT | GST_MESSAGE_PROGRESS) == NULL);
  rig_free (&rig);
}
GST_END_TEST

/* START before all others, then CONTINUE, and COMPLETE exactly once. */
GST_START_TEST (test_progress_is_well_formed)
{
  Rig rig = rig_new ("", 8, 1);
  guint counts[GST_PROGRESS_TYPE_ERROR + 1] = { 0 };
  GstMessage *message;

  push_ok (&rig, 8, 1, 0, 0);
  fail_unless (push_eos (&rig));
  gst_element_set_state (rig.sink, GST_STATE_READY);
  while ((message = gst_bus_pop_filtered (rig.bus, GST_MESSAGE_PROGRESS)) != NULL) {
    GstProgressType type;
    g_autofree gchar *code = NULL, *text = NULL;

    gst_message_parse_progress (message, &type, &code, &text);
    fail_unless_equals_string (code, "training");
    fail_unless (strstr (text, "loss") != NULL, "%s", text);
    fail_unless (counts[GST_PROGRESS_TYPE_START] == (type == GST_PROGRESS_TYPE_START ? 0 : 1));
    fail_unless (counts[GST_PROGRESS_TYPE_COMPLETE] == 0);
    counts[type]++;
    gst_message_unref (message);
  }
  fail_unless_equals_int (counts[GST_PROGRESS_TYPE_START], 1);
  fail_unless_equals_int (counts[GST_PROGRESS_TYPE_COMPLETE], 1);
  fail_unless_equals_int (counts[GST_PROGRESS_TYPE_CANCELED], 0);
  fail_unless (counts[GST_PROGRESS_TYPE_CONTINUE] > 0);
  rig_free (&rig);
}
GST_END_TEST

/* ---- ends ------------------------------------------------------------------------------------------ */

/* When EOS is posted, the file is whole and has every step. */
static GstBusSyncReply
look_at_checkpoint (GstBus * bus, GstMessage * message, gpointer path)
{
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS)
    fail_unless_equals_uint64 (checkpoint_step (path), 3);
  return GST_BUS_PASS;
}

GST_START_TEST (test_eos_drains_and_saves_before_it_passes)
{
  g_autofree gchar *path = path_of ("eos.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", path);
  Rig rig = rig_new (settings, 12, 1);
  GstMessage *message;

  gst_bus_set_sync_handler (rig.bus, look_at_checkpoint, path, NULL);
  push_ok (&rig, 12, 1, 0, 0);
  fail_unless (push_eos (&rig));
  message = gst_bus_pop_filtered (rig.bus, GST_MESSAGE_EOS);
  fail_unless (message != NULL);
  gst_message_unref (message);
  gst_bus_set_sync_handler (rig.bus, NULL, NULL, NULL);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_eos_without_samples_passes)
{
  Rig rig = rig_new ("", 12, 1);

  fail_unless (push_eos (&rig));
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_max_steps_ends_the_stream)
{
  g_autofree gchar *path = path_of ("max.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("max-steps=2 checkpoint-file=%s", path);
  Rig rig = rig_new (settings, 12, 100);

  fail_unless_equals_int (push_run (&rig, 12, 100, 0, 0), GST_FLOW_EOS);
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless_equals_uint64 (checkpoint_step (path), 2);
  fail_unless (push_eos (&rig));
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_max_steps_can_swallow_the_rest)
{
  Rig rig = rig_new ("max-steps=2 on-finish=drop", 12, 4);
  g_autofree gchar *state = NULL;

  push_ok (&rig, 12, 4, 0, 0);
  fail_unless (push_eos (&rig));
  state = state_of (&rig);
  fail_unless_equals_string (state, "finished");
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless_equals_uint64 (counter (&rig, "trained") + counter (&rig, "discarded"), 48);
  rig_free (&rig);
}
GST_END_TEST

/* ---- states ------------------------------------------------------------------------------------------ */

GST_START_TEST (test_states_cycle)
{
  Rig rig = rig_new ("", 8, 1);

  for (guint i = 0; i < 3; i++) {
    push_ok (&rig, 8, 1, 0, 0);
    fail_unless (push_eos (&rig));
    fail_unless_equals_uint64 (counter (&rig, "step"), 2);
    gst_element_set_state (rig.sink, i % 2 ? GST_STATE_READY : GST_STATE_NULL);
    /* What the last training came to can still be read. */
    fail_unless_equals_uint64 (counter (&rig, "step"), 2);
    gst_element_set_state (rig.sink, GST_STATE_PLAYING);
    gst_harness_push_event (rig.harness, gst_event_new_stream_start ("again"));
    rig_caps (&rig, SIZE, 30);
    gst_harness_push_event (rig.harness, make_dataset (8, 1));
  }
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

/* In PAUSED nothing is trained, though whole batches wait; what comes of it is what would have come
 * without the pause. */
GST_START_TEST (test_pause_stops_training_and_changes_nothing)
{
  g_autofree gchar *path = path_of ("pause.safetensors");
  g_autofree gchar *path_plain = path_of ("pause-plain.safetensors");

  for (guint pauses = 0; pauses < 2; pauses++) {
    g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", pauses ? path : path_plain);
    Rig rig = rig_new (settings, 16, 3);

    push_ok (&rig, 16, 1, 0, 0);
    if (pauses) {
      guint64 trained;
      g_autofree gchar *state = NULL;

      gst_element_set_state (rig.sink, GST_STATE_PAUSED);
      /* A step under way is cancelled; the statistics follow at once. */
      g_usleep (100000);
      state = state_of (&rig);
      trained = counter (&rig, "trained");
      fail_unless (g_strcmp0 (state, "paused") == 0 || trained == 16, "%s", state);
      g_usleep (300000);
      fail_unless_equals_uint64 (counter (&rig, "trained"), trained);
      gst_element_set_state (rig.sink, GST_STATE_PLAYING);
    }
    push_ok (&rig, 16, 3, 1, 0);
    fail_unless (push_eos (&rig));
    rig_free (&rig);
  }
  expect_same_checkpoint (path, path_plain);
}
GST_END_TEST

/* A step of this one takes seconds: READY must not wait for it. */
GST_START_TEST (test_ready_cancels_the_step_under_way)
{
  Rig rig = rig_new ("arch=resnet34 base-width=64 batch-size=16 device=reference", 16, 1);
  gint64 start;

  push_ok (&rig, 16, 1, 0, 0);
  for (;;) {
    g_autofree gchar *state = state_of (&rig);

    if (g_strcmp0 (state, "training") == 0)
      break;
    g_usleep (1000);
  }
  g_usleep (50000);
  start = g_get_monotonic_time ();
  gst_element_set_state (rig.sink, GST_STATE_READY);
  GST_INFO ("READY after %" G_GINT64_FORMAT " us", g_get_monotonic_time () - start);
  fail_unless_equals_uint64 (counter (&rig, "trained"), 0);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_ready_saves)
{
  g_autofree gchar *path = path_of ("ready.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", path);
  Rig rig = rig_new (settings, 12, 10);
  guint64 steps;

  push_ok (&rig, 12, 1, 0, 0);
  wait_for_steps (&rig, 1);
  gst_element_set_state (rig.sink, GST_STATE_READY);
  steps = counter (&rig, "step");
  fail_unless (steps >= 1);
  fail_unless_equals_uint64 (checkpoint_step (path), steps);
  rig_free (&rig);
}
GST_END_TEST

/* Samples that were queued are let go of. */
GST_START_TEST (test_ready_keeps_no_buffer)
{
  Rig rig = rig_new ("", 12, 1);
  GstBuffer *buffers[6];

  for (guint i = 0; i < G_N_ELEMENTS (buffers); i++) {
    buffers[i] = make_sample (i, 0, 12);
    fail_unless_equals_int (gst_harness_push (rig.harness, gst_buffer_ref (buffers[i])),
        GST_FLOW_OK);
  }
  gst_element_set_state (rig.sink, GST_STATE_READY);
  for (guint i = 0; i < G_N_ELEMENTS (buffers); i++) {
    ASSERT_MINI_OBJECT_REFCOUNT (buffers[i], "buffer", 1);
    gst_buffer_unref (buffers[i]);
  }
  rig_free (&rig);
}
GST_END_TEST

/* ---- resume ------------------------------------------------------------------------------------------ */

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

/* ---- checkpoints --------------------------------------------------------------------------------- */

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

/* ---- labels ---------------------------------------------------------------------------------------- */

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

/* ---- errors, before any data ----------------------------------------------------------------------- */

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

/* ---- errors, with data ------------------------------------------------------------------------------ */

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

/* ---- the stream changes -------------------------------------------------------------------------------- */

GST_START_TEST (test_caps_change)
{
  static const gchar *const words[] = { "32 px", "64 px", "image-size", NULL };
  Rig rig = rig_new ("", 12, 2);

  push_ok (&rig, 12, 1, 0, 0);
  wait_for_steps (&rig, 1);
  /* Another frame rate is the same views. */
  rig_caps (&rig, SIZE, 25);
  push_ok (&rig, 12, 2, 1, 0);
  expect_no_error (rig.bus);
  rig_caps (&rig, 2 * SIZE, 25);
  for (guint i = 0; i < 2; i++)
    fail_unless (gst_harness_push (rig.harness, make_views (i, 2, 2 * SIZE)) < GST_FLOW_OK);
  expect_error (rig.bus, words);
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

GST_START_TEST (test_caps_that_are_no_views)
{
  GstBus *bus;
  GstElement *sink = make_sink ("", &bus);
  GstPad *pad = gst_element_get_static_pad (sink, "sink");
  GstCaps *video = gst_caps_from_string ("video/x-raw,format=RGB,width=32,height=32");
  GstCaps *views = gst_caps_from_string ("other/tensors,format=static,num_tensors=2,"
      "types=\"uint8,uint8\",dimensions=\"3:32:32:1,3:16:16:9\",framerate=0/1");

  fail_if (gst_pad_query_accept_caps (pad, video));
  fail_unless (gst_pad_query_accept_caps (pad, views));
  gst_caps_unref (video);
  gst_caps_unref (views);
  gst_object_unref (pad);
  gst_element_set_bus (sink, NULL);
  gst_object_unref (sink);
  gst_object_unref (bus);
}
GST_END_TEST

GST_START_TEST (test_flush_drops_samples_and_keeps_weights)
{
  Rig rig = rig_new ("", 12, 2);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  push_ok (&rig, 4, 1, 0, 0);
  wait_for_steps (&rig, 1);
  for (guint i = 4; i < 6; i++)
    gst_harness_push (rig.harness, make_sample (i, 0, 12));
  gst_harness_push_event (rig.harness, gst_event_new_flush_start ());
  gst_harness_push_event (rig.harness, gst_event_new_flush_stop (TRUE));
  gst_harness_push_event (rig.harness, gst_event_new_segment (&segment));
  for (guint i = 0; i < 4; i++)
    fail_unless_equals_int (gst_harness_push (rig.harness, make_sample (i, 1, 12)), GST_FLOW_OK);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 2);
  fail_unless_equals_uint64 (counter (&rig, "flushed"), 2);
  /* After EOS too. */
  gst_harness_push_event (rig.harness, gst_event_new_flush_start ());
  gst_harness_push_event (rig.harness, gst_event_new_flush_stop (TRUE));
  gst_harness_push_event (rig.harness, gst_event_new_segment (&segment));
  push_ok (&rig, 12, 3, 2, 0);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 5);
  expect_no_error (rig.bus);
  rig_free (&rig);
}
GST_END_TEST

static gpointer
push_many (gpointer data)
{
  return GINT_TO_POINTER (push_run (data, 12, 1000, 0, 0));
}

/* The queue is full and a streaming thread waits in it: flush and READY must set it free. */
GST_START_TEST (test_full_queue_is_interruptible)
{
  for (guint i = 0; i < 2; i++) {
    Rig rig = rig_new ("", 12, 0);
    GThread *thread = g_thread_new ("source", push_many, &rig);
    GstFlowReturn ret;

    wait_for_steps (&rig, 2);
    if (i == 0)
      gst_harness_push_event (rig.harness, gst_event_new_flush_start ());
    else
      gst_element_set_state (rig.sink, GST_STATE_READY);
    ret = GPOINTER_TO_INT (g_thread_join (thread));
    fail_unless_equals_int (ret, GST_FLOW_FLUSHING);
    if (i == 0)
      gst_harness_push_event (rig.harness, gst_event_new_flush_stop (TRUE));
    rig_free (&rig);
  }
}
GST_END_TEST

/* ---- without a data set ---------------------------------------------------------------------------------- */

/* ---- a GPU that is made up (tests/kernels/fake-cuda.c) ------------------------------------------ */

/* NULL when the module is not there, or another one. */
static FakeCuda *
find_fake (void)
{
  const gchar *path = g_getenv ("PIRL_CUDA_MODULE");
  gpointer module = path ? dlopen (path, RTLD_NOW | RTLD_LOCAL) : NULL;
  FakeCudaState state = module ? (FakeCudaState) dlsym (module, FAKE_CUDA_STATE) : NULL;

  return state ? state () : NULL;
}

/* The next batch's pictures travel while the device trains, and nothing else is different. */
GST_START_TEST (test_next_batch_travels_early)
{
  g_autofree gchar *on_cpu = path_of ("steps-cpu.safetensors");
  g_autofree gchar *on_fake = path_of ("steps-fake.safetensors");
  g_autofree gchar *cpu = g_strdup_printf ("device=cpu precision=f32 checkpoint-file=%s",
      on_cpu);
  g_autofree gchar *cuda = g_strdup_printf ("device=cuda bank-precision=f32 checkpoint-file=%s",
      on_fake);
  FakeCuda *fake = find_fake ();
  const gchar *const settings[] = { cpu, cuda };

  for (guint i = 0; i < G_N_ELEMENTS (settings); i++) {
    Rig rig = rig_new (settings[i], 22, 3);
    g_autoptr (GstStructure) stats = NULL;

    push_ok (&rig, 22, 3, 0, 0);
    fail_unless (push_eos (&rig));
    expect_no_error (rig.bus);
    stats = stats_of (&rig);
    fail_unless_equals_string (gst_structure_get_string (stats, "precision"), i ? "fp16" : "f32");
    fail_unless_equals_uint64 (counter (&rig, "trained"), 3 * 20);
    fail_unless_equals_uint64 (counter (&rig, "dropped"), 3 * 2);
    rig_free (&rig);
  }
  fail_unless_equals_int (fake->steps, 15);
  fail_unless (fake->staged_in_steps > 0, "no batch was staged while another was trained");
  GST_INFO ("%d stagings in 15 steps", fake->staged_in_steps);
  expect_same_checkpoint (on_cpu, on_fake);
}

GST_END_TEST;

/* Steps beyond fp16 are counted, and leave no loss that is no number. */
GST_START_TEST (test_skipped_steps_are_told)
{
  FakeCuda *fake = find_fake ();
  Rig rig = rig_new ("device=cuda", 12, 2);
  guint64 skipped = 0;
  GstMessage *message;
  gdouble scale = 0;

  fake->overflows = 2;
  push_ok (&rig, 12, 2, 0, 0);
  fail_unless (push_eos (&rig));
  fail_unless_equals_uint64 (counter (&rig, "step"), 6);
  fail_unless_equals_uint64 (counter (&rig, "trained"), 24);
  while ((message = gst_bus_pop_filtered (rig.bus, GST_MESSAGE_ELEMENT)) != NULL) {
    if (gst_message_has_name (message, "pirl-training")) {
      skipped = field_uint64 (message, "skipped");
      scale = field_double (message, "loss-scale");
      fail_unless (isfinite (field_double (message, "loss")));
    } else if (gst_message_has_name (message, "pirl-epoch")) {
      fail_unless (field_double (message, "loss") > 0);
      fail_unless_equals_uint64 (field_uint64 (message, "steps"), 3);
    }
    gst_message_unref (message);
  }
  fail_unless_equals_uint64 (skipped, 2);
  fail_unless_equals_float (scale, 8192);
  rig_free (&rig);
}

GST_END_TEST;

GST_START_TEST (test_camera_trains)
{
  g_autofree gchar *path = path_of ("camera.safetensors");
  g_autofree gchar *settings = g_strdup_printf ("bank-size=8 checkpoint-file=%s resume=true", path);

  g_unlink (path);
  for (guint run = 0; run < 2; run++) {
    Rig rig = rig_new (settings, 0, 0);

    for (guint i = 0; i < 12; i++)
      fail_unless_equals_int (gst_harness_push (rig.harness, make_views (i, run, SIZE)),
          GST_FLOW_OK);
    fail_unless (push_eos (&rig));
    expect_no_error (rig.bus);
    fail_unless_equals_uint64 (checkpoint_step (path), 3 * (run + 1));
    rig_free (&rig);
  }
}
GST_END_TEST

/* ---- two at once ------------------------------------------------------------------------------------------- */

GST_START_TEST (test_two_at_once_are_as_each_alone)
{
  g_autofree gchar *paths[3] = { path_of ("alone.safetensors"), path_of ("one.safetensors"),
    path_of ("two.safetensors")
  };
  Rig rigs[3];

  for (guint i = 0; i < 3; i++) {
    g_autofree gchar *settings = g_strdup_printf ("checkpoint-file=%s", paths[i]);

    rigs[i] = rig_new (settings, 12, 2);
    if (i == 0) {
      push_run (&rigs[0], 12, 2, 0, 0);
      fail_unless (push_eos (&rigs[0]));
    }
  }
  for (guint position = 0; position < 24; position++)
    for (guint i = 1; i < 3; i++)
      fail_unless_equals_int (gst_harness_push (rigs[i].harness, make_sample (position % 12,
                  position / 12, 12)), GST_FLOW_OK);
  for (guint i = 1; i < 3; i++)
    fail_unless (push_eos (&rigs[i]));
  for (guint i = 0; i < 3; i++)
    rig_free (&rigs[i]);
  expect_same_checkpoint (paths[0], paths[1]);
  expect_same_checkpoint (paths[0], paths[2]);
  for (guint i = 0; i < 3; i++)
    g_free (g_steal_pointer (&paths[i]));
}
GST_END_TEST

/* ---- properties -------------------------------------------------------------------------------------------- */

/* The recipe of the paper (Misra and van der Maaten 2020, sections 3 and A; VISSL's configuration). */
GST_START_TEST (test_preset_paper)
{
  GstElement *sink = gst_element_factory_make ("pirltrainsink", NULL);
  static const struct {
    const gchar *name, *value;
  } expected[] = {
    {"head", "linear"}, {"loss", "nce"}, {"z-mode", "first-batch"},
    {"exclude-positive", "FALSE"}, {"lr-schedule", "cosine"}, {"bn-statistics", "both"},
    {"warmup", "0"}, {"negatives", "0"},
  };
  gdouble temperature, rate, decay, momentum, lambda, bank_momentum;

  gst_util_set_object_arg (G_OBJECT (sink), "preset", "paper");
  for (guint i = 0; i < G_N_ELEMENTS (expected); i++) {
    GValue value = G_VALUE_INIT;
    g_autofree gchar *text = NULL;

    g_object_get_property (G_OBJECT (sink), expected[i].name, &value);
    text = gst_value_serialize (&value);
    fail_unless (g_ascii_strcasecmp (text, expected[i].value) == 0, "%s is %s", expected[i].name,
        text);
    g_value_unset (&value);
  }
  g_object_get (sink, "temperature", &temperature, "learning-rate", &rate, "weight-decay", &decay,
      "momentum", &momentum, "lambda", &lambda, "bank-momentum", &bank_momentum, NULL);
  fail_unless (temperature == 0.07 && rate == 0.03 && decay == 1e-4 && momentum == 0.9
      && lambda == 0.5 && bank_momentum == 0.5);
  gst_object_unref (sink);
}
GST_END_TEST

/* What is asked for is what is trained with, says so, and is what the checkpoint holds. */
GST_START_TEST (test_bank_precision)
{
  static const struct
  {
    const gchar *settings, *expected;
    PirlDType dtype;
  } cases[] = {
    {"device=cpu", "f32", PIRL_DTYPE_F32},
    {"device=cpu bank-precision=fp16", "fp16", PIRL_DTYPE_F16},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *path = path_of ("bank-precision.safetensors");
    g_autofree gchar *settings = g_strdup_printf ("%s checkpoint-file=%s", cases[i].settings, path);
    Rig rig = rig_new (settings, 8, 1);
    g_autoptr (PirlSafetensors) file = NULL;
    g_autoptr (GstStructure) stats = NULL;
    g_autofree gchar *asked = NULL;

    g_object_get (rig.sink, "bank-precision", &asked, NULL);
    fail_unless_equals_string (asked, i == 0 ? "auto" : "fp16");
    push_ok (&rig, 8, 1, 0, 0);
    fail_unless (push_eos (&rig));
    expect_no_error (rig.bus);
    stats = stats_of (&rig);
    fail_unless_equals_string (gst_structure_get_string (stats, "bank-precision"),
        cases[i].expected);
    file = pirl_safetensors_open (path, NULL);
    fail_unless (file != NULL);
    fail_unless_equals_int (pirl_safetensors_lookup (file, "state.bank")->dtype, cases[i].dtype);
    fail_unless_equals_string (pirl_safetensors_metadata (file, "bank_precision"),
        cases[i].expected);
    rig_free (&rig);
  }
}
GST_END_TEST

GST_START_TEST (test_sink_defaults)
{
  GstElement *sink = gst_element_factory_make ("pirltrainsink", NULL);
  g_autoptr (GstStructure) stats = NULL;
  gboolean sync, qos, last_sample;

  g_object_get (sink, "sync", &sync, "qos", &qos, "enable-last-sample", &last_sample,
      "training-stats", &stats, NULL);
  fail_if (sync || qos || last_sample);
  fail_unless (gst_structure_has_name (stats, "application/x-pirl-training-stats"));
  fail_unless_equals_string (gst_structure_get_string (stats, "state"), "stopped");
  gst_object_unref (sink);
}
GST_END_TEST

/* ---- main -------------------------------------------------------------------------------------------------- */

static void
make_folder (void)
{
  folder = g_dir_make_tmp ("pirl-trainsink-XXXXXX", NULL);
  gst_pirl_meta_init ();
}

static void
remove_folder (void)
{
  GDir *dir = g_dir_open (folder, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree gchar *path = path_of (name);

    /* Temporary files have names of their own and must be gone. */
    fail_unless (g_str_has_suffix (name, ".safetensors"), "%s was left behind", name);
    g_unlink (path);
  }
  g_dir_close (dir);
  g_rmdir (folder);
  g_clear_pointer (&folder, g_free);
}

static Suite *
pirltrainsink_suite (void)
{
  Suite *suite = suite_create ("pirltrainsink");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, test_trains_and_posts);
  tcase_add_test (tc, test_epochs_are_posted_and_remainders_dropped);
  tcase_add_test (tc, test_post_messages_false_is_silent);
  tcase_add_test (tc, test_progress_is_well_formed);
  tcase_add_test (tc, test_eos_drains_and_saves_before_it_passes);
  tcase_add_test (tc, test_eos_without_samples_passes);
  tcase_add_test (tc, test_max_steps_ends_the_stream);
  tcase_add_test (tc, test_max_steps_can_swallow_the_rest);
  tcase_add_test (tc, test_states_cycle);
  tcase_add_test (tc, test_pause_stops_training_and_changes_nothing);
  tcase_add_test (tc, test_ready_cancels_the_step_under_way);
  tcase_add_test (tc, test_ready_saves);
  tcase_add_test (tc, test_ready_keeps_no_buffer);
  tcase_add_test (tc, test_resumed_run_is_bit_identical);
  tcase_add_test (tc, test_resumed_run_keeps_its_precision);
  tcase_add_test (tc, test_complete_run_resumes_to_nothing);
  tcase_add_test (tc, test_position_counts_unreadable_samples);
  tcase_add_test (tc, test_resume_without_checkpoint_starts_fresh);
  tcase_add_test (tc, test_model_file_gives_the_weights);
  tcase_add_test (tc, test_checkpoint_interval_and_signal);
  tcase_add_test (tc, test_save_checkpoint_needs_a_file);
  tcase_add_test (tc, test_supervised_learns_labels);
  tcase_add_test (tc, test_supervised_resumes_bit_identical);
  tcase_add_test (tc, test_supervised_leaves_out_unlabelled);
  tcase_add_test (tc, test_supervised_needs_labels);
  tcase_add_test (tc, test_supervised_starts_from_any_trunk);
  tcase_add_test (tc, test_bad_settings_fail_at_the_start);
  tcase_add_test (tc, test_settings_that_do_not_fit_the_data);
  tcase_add_test (tc, test_stream_of_less_than_a_batch);
  tcase_add_test (tc, test_epoch_of_less_than_a_batch);
  tcase_add_test (tc, test_checkpoint_of_another_run);
  tcase_add_test (tc, test_checkpoint_of_another_data_set);
  tcase_add_test (tc, test_diverging_training_stops_and_keeps_the_good_checkpoint);
  tcase_add_test (tc, test_buffers_that_are_not_the_caps);
  tcase_add_test (tc, test_merged_memories_are_taken);
  tcase_add_test (tc, test_caps_change);
  tcase_add_test (tc, test_caps_that_are_no_views);
  tcase_add_test (tc, test_flush_drops_samples_and_keeps_weights);
  tcase_add_test (tc, test_full_queue_is_interruptible);
  tcase_add_test (tc, test_camera_trains);
  tcase_add_test (tc, test_two_at_once_are_as_each_alone);
  if (find_fake ()) {
    tcase_add_test (tc, test_next_batch_travels_early);
    tcase_add_test (tc, test_skipped_steps_are_told);
  }
  tcase_add_test (tc, test_preset_paper);
  tcase_add_test (tc, test_bank_precision);
  tcase_add_test (tc, test_sink_defaults);
  return suite;
}

GST_CHECK_MAIN (pirltrainsink);
