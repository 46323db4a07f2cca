/* gst-pirl: tests of several pirlembed elements that share a network.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Two harnesses are two streams, pushed in an order that the test decides. Who is served when is
 * tested at the engine itself, whose lock keeps it from beginning too early.
 */
#include "embed-run.h"

#include "../../elements/pirlembed/embedengine.c"

#define BATCHES_OF_4 "interval=1 batch-size=4 batch-timeout=0"
#define SINGLE_FRAMES "interval=1"

/* ---- helpers ------------------------------------------------------------------------------ */

static GstHarness *
stream_new (const gchar * model, const gchar * properties)
{
  GstHarness *h = harness_new (model, properties);

  set_format (h, "RGB", 50, 37);
  return h;
}

static void
push (GstHarness * h, guint number)
{
  fail_unless_equals_int (gst_harness_push (h, frame (50, 37, number, number)), GST_FLOW_OK);
}

static void
push_eos (GstHarness * h)
{
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
}

/* The vector of a picture below 20 in a stream of its own with batches of 4, or 1. */
static const gfloat *
unshared (guint batch, guint number)
{
  static gfloat vectors[2][20][DIM];
  static gboolean known[2];
  const guint k = batch > 1;

  if (!known[k]) {
    GstHarness *h = stream_new (model_a, k ? BATCHES_OF_4 : SINGLE_FRAMES);

    for (guint i = 0; i < 20; i++)
      push (h, i);
    for (guint i = 0; i < 20; i++) {
      GstBuffer *buffer = gst_harness_pull (h);

      memcpy (vectors[k][i], vector_of (buffer, DIM), sizeof vectors[k][i]);
      gst_buffer_unref (buffer);
    }
    fail_unless_equals_uint64 (statistic (h, "mixed"), 0);
    gst_harness_teardown (h);
    known[k] = TRUE;
  }
  return vectors[k][number];
}

/* The next frame must be this one with the vector that it has in a stream of its own. */
static void
pull_one (GstHarness * h, guint batch, guint number)
{
  GstBuffer *buffer = gst_harness_pull (h);

  fail_unless (buffer != NULL, "frame %u did not come", number);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), number * FRAME);
  fail_unless_equals_uint64 (age_of (buffer), 0);
  fail_unless (memcmp (vector_of (buffer, DIM), unshared (batch, number), DIM * sizeof (gfloat))
      == 0, "the embedding of frame %u is another one than alone", number);
  gst_buffer_unref (buffer);
}

static void
pull (GstHarness * h, guint number)
{
  pull_one (h, 4, number);
}

static void
pull_range (GstHarness * h, guint first, guint n)
{
  for (guint i = first; i < first + n; i++)
    pull (h, i);
}

static guint
streams_of (GstHarness * h)
{
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstStructure *stats = NULL;
  guint streams = 0;

  g_object_get (embed, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint (stats, "streams", &streams));
  gst_structure_free (stats);
  gst_object_unref (embed);
  return streams;
}

static void
assert_batches (GstHarness * h, guint64 pictures, guint64 batches, guint64 mixed)
{
  fail_unless_equals_uint64 (statistic (h, "embedded"), pictures);
  fail_unless_equals_uint64 (statistic (h, "batches"), batches);
  fail_unless_equals_uint64 (statistic (h, "mixed"), mixed);
}

static void
two_streams (GstHarness * h[2], const gchar * properties)
{
  unshared (4, 0);              /* alone, before they share */
  for (guint i = 0; i < 2; i++)
    h[i] = stream_new (model_a, properties);
}

static void
teardown (GstHarness * h[2])
{
  for (guint i = 0; i < 2; i++)
    gst_harness_teardown (h[i]);
}

/* ---- one batch for all -------------------------------------------------------------------- */

GST_START_TEST (streams_fill_batches_together)
{
  GstHarness *h[2];

  two_streams (h, BATCHES_OF_4);
  for (guint i = 0; i < 8; i++) {
    push (h[0], i);
    push (h[1], 10 + i);
  }
  pull_range (h[0], 0, 8);
  pull_range (h[1], 10, 8);
  for (guint k = 0; k < 2; k++) {
    fail_unless_equals_int (streams_of (h[k]), 2);
    assert_batches (h[k], 8, 4, 4);
  }
  teardown (h);
}

GST_END_TEST;

GST_START_TEST (branches_of_one_pipeline_agree)
{
  GString *line = g_string_new ("videotestsrc num-buffers=12 pattern=ball ! "
      "video/x-raw,format=RGB,width=50,height=36 ! tee name=t ");
  GstElement *pipeline;
  GstMessage *message;
  GPtrArray *buffers[3];
  GstBus *bus;

  for (guint i = 0; i < 3; i++)
    g_string_append_printf (line, "t. ! queue ! pirlembed model-file=%s n-threads=1 interval=1 "
        "precision=f32 batch-size=5 batch-timeout=0 ! fakesink name=s%u signal-handoffs=true ",
        model_a, i);
  pipeline = gst_parse_launch (line->str, NULL);
  for (guint i = 0; i < 3; i++) {
    g_autofree gchar *name = g_strdup_printf ("s%u", i);
    GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), name);

    buffers[i] = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_buffer_unref);
    g_signal_connect (sink, "handoff", G_CALLBACK (keep_buffer), buffers[i]);
    gst_object_unref (sink);
  }
  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 50 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  for (guint i = 0; i < 3; i++) {
    fail_unless_equals_int (buffers[i]->len, 12);
    for (guint k = 0; k < 12; k++) {
      fail_unless_equals_uint64 (age_of (buffers[i]->pdata[k]), 0);
      fail_unless (memcmp (vector_of (buffers[i]->pdata[k], DIM),
              vector_of (buffers[0]->pdata[k], DIM), DIM * sizeof (gfloat)) == 0);
      /* The ball moves. */
      fail_unless (k == 0 || memcmp (vector_of (buffers[i]->pdata[k], DIM),
              vector_of (buffers[i]->pdata[k - 1], DIM), DIM * sizeof (gfloat)) != 0);
    }
  }
  for (guint i = 0; i < 3; i++)
    g_ptr_array_unref (buffers[i]);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  g_string_free (line, TRUE);
}

GST_END_TEST;

/* One stream waits forever by itself, the other one's time takes both along. */
GST_START_TEST (the_first_timeout_counts)
{
  GstHarness *h[2];

  unshared (4, 0);
  h[0] = stream_new (model_a, BATCHES_OF_4);
  h[1] = stream_new (model_a, "interval=1 batch-size=4 batch-timeout=30000000");
  push (h[0], 0);
  push (h[1], 1);
  pull (h[0], 0);
  pull (h[1], 1);
  for (guint k = 0; k < 2; k++)
    assert_batches (h[k], 1, 1, 1);
  teardown (h);
}

GST_END_TEST;

/* ---- who is served when ------------------------------------------------------------------- */

typedef struct {
  EmbedLane lane;               /* first */
  GString *log;
  gchar name;
  guint left;
} Client;

static void
log_done (EmbedLane * lane, EmbedJob * job, EmbedResult * result, const EmbedRun * run)
{
  Client *client = (Client *) lane;
  static guint64 last;

  fail_unless (run != NULL && run->error == NULL && result != NULL);
  if (run->number != last && client->log->len > 0)
    g_string_append_c (client->log, ' ');
  last = run->number;
  g_string_append_printf (client->log, "%c%u", client->name, (guint) job->tag);
  client->left--;
  embed_result_unref (result);
}

GST_START_TEST (a_backlog_holds_nobody_up)
{
  const EmbedSettings settings = {.model_file = model_a,.device = (gchar *) "cpu",
    .precision = (gchar *) "f32",.n_threads = 1,.batch = 4 };
  GError *error = NULL;
  EmbedEngine *engine = embed_engine_get (&settings, model_a, &error);
  EmbedJob jobs[12] = { {{{0}}} };
  Client clients[2] = { {{0}} };
  GString *log = g_string_new (NULL);

  g_assert_no_error (error);
  for (guint k = 0; k < 2; k++) {
    clients[k] = (Client) {.lane.done = log_done,.log = log,.name = 'a' + k };
    g_cond_init (&clients[k].lane.changed);
    g_queue_init (&clients[k].lane.waiting);
  }
  g_mutex_lock (&embed_lock);
  for (guint i = 0; i < 12; i++) {
    Client *client = &clients[i >= 9];

    pirl_image_init (&jobs[i].picture.image, 40, 40);
    paint (jobs[i].picture.image.data, 40, 40, jobs[i].picture.image.stride, i);
    jobs[i].tag = client->left++;
    embed_engine_add (engine, &client->lane, &jobs[i], G_MAXINT64);
  }
  for (guint k = 0; k < 2; k++)
    while (clients[k].left > 0)
      g_cond_wait (&clients[k].lane.changed, &embed_lock);
  g_mutex_unlock (&embed_lock);
  fail_unless_equals_string (log->str, "a0b0a1b1 a2b2a3a4 a5a6a7a8");
  for (guint i = 0; i < 12; i++)
    pirl_image_clear (&jobs[i].picture.image);
  for (guint k = 0; k < 2; k++)
    g_cond_clear (&clients[k].lane.changed);
  embed_engine_unref (engine);
  g_string_free (log, TRUE);
}

GST_END_TEST;

/* ---- one stream leaves -------------------------------------------------------------------- */

static GstStateChangeReturn
set_state (GstHarness * h, GstState state)
{
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstStateChangeReturn ret = gst_element_set_state (embed, state);

  gst_object_unref (embed);
  return ret;
}

/* The two frames of the one that stops have to be forgotten: the other one's four are a batch. */
GST_START_TEST (a_stream_stops_in_mid_batch)
{
  static const GstState states[] = { GST_STATE_READY, GST_STATE_NULL };

  for (guint i = 0; i < G_N_ELEMENTS (states); i++) {
    GstHarness *h[2];

    two_streams (h, BATCHES_OF_4);
    push (h[0], 0);
    push (h[1], 0);
    push (h[0], 1);
    fail_unless_equals_int (set_state (h[0], states[i]), GST_STATE_CHANGE_SUCCESS);
    fail_unless_equals_int (streams_of (h[1]), 1);
    push (h[1], 1);
    push (h[1], 2);
    fail_unless_equals_int (gst_harness_buffers_received (h[1]), 0);
    push (h[1], 3);
    pull_range (h[1], 0, 4);
    assert_batches (h[1], 4, 1, 0);
    teardown (h);
  }
}

GST_END_TEST;

GST_START_TEST (a_stream_is_flushed_in_mid_batch)
{
  GstSegment segment;
  GstHarness *h[2];

  two_streams (h, BATCHES_OF_4);
  push (h[0], 0);
  push (h[1], 0);
  push (h[0], 1);
  fail_unless (gst_harness_push_event (h[0], gst_event_new_flush_start ()));
  push (h[1], 1);
  fail_unless (gst_harness_push_event (h[0], gst_event_new_flush_stop (TRUE)));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (h[0], gst_event_new_segment (&segment)));
  push (h[0], 5);
  push (h[0], 6);
  pull_range (h[0], 5, 2);
  pull_range (h[1], 0, 2);
  for (guint k = 0; k < 2; k++)
    assert_batches (h[k], 2, 1, 1);
  teardown (h);
}

GST_END_TEST;

/* What the other one has collected goes along with its last frame. */
GST_START_TEST (the_end_of_one_stream_is_not_the_others)
{
  GstHarness *h[2];

  two_streams (h, BATCHES_OF_4);
  push (h[1], 0);
  push (h[0], 0);
  push_eos (h[0]);
  pull (h[0], 0);
  pull (h[1], 0);
  for (guint k = 0; k < 2; k++)
    assert_batches (h[k], 1, 1, 1);
  for (guint i = 1; i < 6; i++)
    push (h[1], i);
  pull_range (h[1], 1, 4);
  push_eos (h[1]);
  pull (h[1], 5);
  assert_batches (h[1], 6, 3, 1);
  assert_batches (h[0], 1, 1, 1);
  teardown (h);
}

GST_END_TEST;

static GstPadProbeReturn
hold (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  return GST_PAD_PROBE_OK;
}

/* One stream is full of frames that do not leave it. */
GST_START_TEST (a_stream_that_stands_still_blocks_nobody)
{
  GstHarness *h[2];
  gulong probe;

  two_streams (h, BATCHES_OF_4);
  probe = gst_pad_add_probe (h[0]->sinkpad, GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER,
      hold, NULL, NULL);
  for (guint i = 0; i < 8; i++)
    push (h[0], i);
  for (guint i = 0; i < 16; i++)
    push (h[1], i);
  pull_range (h[1], 0, 16);
  fail_unless_equals_int (gst_harness_buffers_received (h[0]), 0);
  gst_pad_remove_probe (h[0]->sinkpad, probe);
  pull_range (h[0], 0, 8);
  teardown (h);
}

GST_END_TEST;

/* ---- who shares --------------------------------------------------------------------------- */

GST_START_TEST (other_settings_do_not_share)
{
  static const gchar *const settings[] = { "layer=res5", "precision=auto", "n-threads=2",
    "batch-size=3", "device=reference" };

  unshared (4, 0);

  for (guint i = 0; i < G_N_ELEMENTS (settings); i++) {
    GstHarness *one = stream_new (model_a, BATCHES_OF_4);
    g_autofree gchar *properties = g_strdup_printf (BATCHES_OF_4 " %s", settings[i]);
    GstHarness *other = stream_new (model_a, properties);

    fail_unless_equals_int (streams_of (one), 1);
    fail_unless_equals_int (streams_of (other), 1);
    push (one, 0);
    push (other, 1);
    push_eos (one);
    pull (one, 0);
    assert_batches (one, 1, 1, 0);
    gst_harness_teardown (one);
    gst_harness_teardown (other);
  }
}

GST_END_TEST;

/* What counts is the file, not its name; and what it is now. */
GST_START_TEST (the_same_file_is_shared_under_any_name)
{
  g_autofree gchar *link = g_build_filename (directory, "link.safetensors", NULL);
  g_autofree gchar *copy = g_build_filename (directory, "copy.safetensors", NULL);
  g_autofree gchar *content = NULL;
  GstHarness *h[4];
  gsize size;

  fail_unless_equals_int (symlink (model_a, link), 0);
  fail_unless (g_file_get_contents (model_a, &content, &size, NULL));
  fail_unless (g_file_set_contents (copy, content, size, NULL));
  h[0] = stream_new (model_a, BATCHES_OF_4);
  h[1] = stream_new (link, BATCHES_OF_4);
  h[2] = stream_new (copy, BATCHES_OF_4);
  fail_unless (g_file_set_contents (copy, content, size, NULL));        /* another file */
  h[3] = stream_new (copy, BATCHES_OF_4);
  for (guint i = 0; i < 4; i++)
    fail_unless_equals_int (streams_of (h[i]), i < 2 ? 2 : 1);
  for (guint i = 0; i < 4; i++)
    gst_harness_teardown (h[i]);
  g_unlink (link);
  g_unlink (copy);
}

GST_END_TEST;

/* One of two goes to another model and back; the other one stays with its own. */
GST_START_TEST (a_new_model_of_one_stream)
{
  GstHarness *h[2];
  guint number = 0;

  two_streams (h, "interval=1 batch-size=4 batch-timeout=1000000");
  gst_harness_set (h[0], "pirlembed", "model-file", model_wide, NULL);
  for (; streams_of (h[1]) == 2 && number < 5000; number++) {
    push (h[0], number);
    gst_buffer_unref (gst_harness_pull (h[0]));
    g_usleep (1000);
  }
  fail_unless_equals_int (streams_of (h[1]), 1);
  push (h[1], 3);
  pull (h[1], 3);
  push (h[0], number);
  {
    GstBuffer *buffer = gst_harness_pull (h[0]);

    vector_of (buffer, WIDE_DIM);
    gst_buffer_unref (buffer);
  }
  gst_harness_set (h[0], "pirlembed", "model-file", model_a, NULL);
  for (; streams_of (h[1]) == 1 && number < 10000; number++) {
    push (h[0], number);
    gst_buffer_unref (gst_harness_pull (h[0]));
    g_usleep (1000);
  }
  fail_unless_equals_int (streams_of (h[1]), 2);
  teardown (h);
}

GST_END_TEST;

/* ---- batches of one ----------------------------------------------------------------------- */

typedef struct {
  GstHarness *h;
  guint first;
} Pusher;

static gpointer
push_and_pull (gpointer user_data)
{
  const Pusher *pusher = user_data;

  for (guint i = 0; i < 60; i++) {
    push (pusher->h, (pusher->first + i) % 20);
    pull_one (pusher->h, 1, (pusher->first + i) % 20);
  }
  return NULL;
}

GST_START_TEST (single_frames_take_turns)
{
  Pusher pushers[3];
  GThread *threads[3];

  unshared (1, 0);
  for (guint k = 0; k < 3; k++)
    pushers[k] = (Pusher) { stream_new (model_a, SINGLE_FRAMES), 7 * k };
  for (guint k = 0; k < 3; k++)
    threads[k] = g_thread_new ("push", push_and_pull, &pushers[k]);
  for (guint k = 0; k < 3; k++)
    g_thread_join (threads[k]);
  for (guint k = 0; k < 3; k++) {
    fail_unless_equals_int (streams_of (pushers[k].h), 3);
    assert_batches (pushers[k].h, 60, 60, 0);
  }
  for (guint k = 0; k < 3; k++)
    gst_harness_teardown (pushers[k].h);
}

GST_END_TEST;

/* One waits for its embeddings, one does not. */
GST_START_TEST (in_the_background_and_not)
{
  GstHarness *h[2];

  unshared (1, 0);
  h[0] = stream_new (model_a, SINGLE_FRAMES);
  h[1] = stream_new (model_a, "interval=0");
  for (guint i = 0; i < 20; i++) {
    push (h[1], i);
    push (h[0], i);
    pull_one (h[0], 1, i);
    gst_buffer_unref (gst_harness_pull (h[1]));
  }
  push_eos (h[1]);
  assert_batches (h[0], 20, 20, 0);
  fail_unless (statistic (h[1], "embedded") >= 1);
  fail_unless_equals_uint64 (statistic (h[1], "frames"), 20);
  teardown (h);
}

GST_END_TEST;

/* ---- errors ------------------------------------------------------------------------------- */

static void
assert_error (GstBus * bus, const gchar * what)
{
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 50 * GST_SECOND, GST_MESSAGE_ERROR);
  GError *error = NULL;

  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, what) != NULL, "%s", error->message);
  g_error_free (error);
  gst_message_unref (message);
}

GST_START_TEST (a_batch_that_fails_is_an_error_of_each)
{
  g_autofree gchar *model = make_fragile_model ();
  GstElement *embed[2];
  GstHarness *h[2];
  GstBus *bus[2];

  for (guint k = 0; k < 2; k++) {
    h[k] = stream_new (model, "interval=1 batch-size=2 batch-timeout=0");
    embed[k] = gst_harness_find_element (h[k], "pirlembed");
    bus[k] = gst_bus_new ();
    gst_element_set_bus (embed[k], bus[k]);
  }
  push (h[0], 1);
  fail_unless_equals_int (gst_harness_push (h[1], black_frame (0)), GST_FLOW_OK);
  for (guint k = 0; k < 2; k++)
    assert_error (bus[k], "not finite");
  /* Who begins anew has a network that works. */
  fail_unless_equals_int (set_state (h[1], GST_STATE_READY), GST_STATE_CHANGE_SUCCESS);
  fail_unless_equals_int (set_state (h[1], GST_STATE_PLAYING), GST_STATE_CHANGE_SUCCESS);
  fail_unless (gst_harness_push_event (h[1], gst_event_new_stream_start ("again")));
  set_format (h[1], "RGB", 50, 37);
  for (guint i = 0; i < 2; i++)
    fail_unless_equals_int (gst_harness_push (h[1], black_frame (i)), GST_FLOW_OK);
  for (guint i = 0; i < 2; i++)
    gst_buffer_unref (gst_harness_pull (h[1]));
  for (guint k = 0; k < 2; k++) {
    gst_element_set_bus (embed[k], NULL);
    gst_object_unref (embed[k]);
    gst_object_unref (bus[k]);
  }
  teardown (h);
  g_unlink (model);
}

GST_END_TEST;

static gpointer
start_alone (gpointer user_data)
{
  return GINT_TO_POINTER (gst_element_set_state (user_data, GST_STATE_PAUSED));
}

GST_START_TEST (a_model_that_cannot_be_loaded_is_an_error_of_each)
{
  GstElement *elements[3];
  GThread *threads[3];
  GstBus *bus[3];

  for (guint i = 0; i < 3; i++) {
    elements[i] = gst_element_factory_make ("pirlembed", NULL);
    bus[i] = gst_bus_new ();
    gst_element_set_bus (elements[i], bus[i]);
    g_object_set (elements[i], "model-file", not_a_model, NULL);
    threads[i] = g_thread_new ("start", start_alone, elements[i]);
  }
  for (guint i = 0; i < 3; i++) {
    fail_unless_equals_int (GPOINTER_TO_INT (g_thread_join (threads[i])),
        GST_STATE_CHANGE_FAILURE);
    assert_error (bus[i], "text.safetensors");
    gst_element_set_bus (elements[i], NULL);
    gst_element_set_state (elements[i], GST_STATE_NULL);
    gst_object_unref (elements[i]);
    gst_object_unref (bus[i]);
  }
}

GST_END_TEST;

static Suite *
shared_suite (void)
{
  Suite *s = suite_create ("pirlembed-shared");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 200);  /* seconds, on a machine that is busy otherwise */
  suite_add_tcase (s, tc);
  tcase_add_test (tc, streams_fill_batches_together);
  tcase_add_test (tc, branches_of_one_pipeline_agree);
  tcase_add_test (tc, the_first_timeout_counts);
  tcase_add_test (tc, a_backlog_holds_nobody_up);
  tcase_add_test (tc, a_stream_stops_in_mid_batch);
  tcase_add_test (tc, a_stream_is_flushed_in_mid_batch);
  tcase_add_test (tc, the_end_of_one_stream_is_not_the_others);
  tcase_add_test (tc, a_stream_that_stands_still_blocks_nobody);
  tcase_add_test (tc, other_settings_do_not_share);
  tcase_add_test (tc, the_same_file_is_shared_under_any_name);
  tcase_add_test (tc, a_new_model_of_one_stream);
  tcase_add_test (tc, single_frames_take_turns);
  tcase_add_test (tc, in_the_background_and_not);
  tcase_add_test (tc, a_batch_that_fails_is_an_error_of_each);
  tcase_add_test (tc, a_model_that_cannot_be_loaded_is_an_error_of_each);
  return s;
}

int
main (int argc, char **argv)
{
  g_setenv ("PIRL_CUDA_MODULE", "off", FALSE);
  return run_embed_tests (argc, argv, shared_suite, __FILE__);
}
