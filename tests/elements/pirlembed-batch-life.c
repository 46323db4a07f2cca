/* gst-pirl: tests of pirlembed with batches: flushes, states, ends and errors.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "batch-run.h"

/* ---- flushes and ends --------------------------------------------------------------------- */

static gpointer
push_until_refused (gpointer user_data)
{
  GstFlowReturn ret = GST_FLOW_OK;

  for (guint i = 100; i < 200 && ret == GST_FLOW_OK; i++)
    ret = gst_harness_push (user_data, frame (50, 37, i, i));
  return GINT_TO_POINTER (ret);
}

GST_START_TEST (a_flush_drops_what_is_collected_and_at_work)
{
  GstHarness *h = batch_harness (model_slow, "interval=1 device=reference batch-size=2 "
      WAIT_UNTIL_FULL);
  GThread *thread;
  gint64 begin;

  set_format (h, "RGB", 50, 37);
  drain (h);                    /* the segment has left */
  thread = g_thread_new ("push", push_until_refused, h);
  g_usleep (30000);             /* a step takes several times as long */
  begin = g_get_monotonic_time ();
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
  fail_unless_equals_int (GPOINTER_TO_INT (g_thread_join (thread)), GST_FLOW_FLUSHING);
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
  fail_unless_equals_uint64 (statistic (h, "batches"), 0);
  g_print ("flushed in %.1f ms\n", (g_get_monotonic_time () - begin) / 1000.0);
  push_segment (h);
  push_frames (h, 0, 3);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < 3; i++) {
    GstBuffer *out = gst_harness_pull (h);

    fail_unless_equals_uint64 (GST_BUFFER_PTS (out), i * FRAME);
    assert_close (out, model_slow, 50, 37, i, DIM);
    gst_buffer_unref (out);
  }
  drain (h);
  assert_record ("stream-start, caps 50, segment, segment, frame 0, frame 1, frame 2, eos");
  /* The one that was at work, which nobody could stop, and two new ones. */
  fail_unless (statistic (h, "batches") <= 3);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (flushes_may_come_at_any_moment)
{
  static const gchar *properties[] = { "interval=0 batch-size=3", "interval=1 batch-size=2",
    "interval=2 batch-size=4 " WAIT_UNTIL_FULL
  };

  for (guint k = 0; k < G_N_ELEMENTS (properties); k++)
    flush_while_pushing (batch_harness (model_a, properties[k]));
}

GST_END_TEST;

GST_START_TEST (states_change_while_a_batch_is_at_work)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc ! video/x-raw,width=64,height=64 ! "
      "pirlembed name=e model-file=%s device=reference interval=1 batch-size=2 " WAIT_UNTIL_FULL
      " ! fakesink", model_slow);
  static const GstState ways[][3] = { {GST_STATE_READY, GST_STATE_PLAYING, GST_STATE_NULL},
  {GST_STATE_PAUSED, GST_STATE_PLAYING, GST_STATE_READY},
  {GST_STATE_NULL, GST_STATE_PAUSED, GST_STATE_NULL}
  };

  for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
    GstElement *pipeline = gst_parse_launch (line, NULL);

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    for (guint k = 0; k < 3; k++) {
      g_usleep (30000);
      fail_if (gst_element_set_state (pipeline, ways[i][k]) == GST_STATE_CHANGE_FAILURE);
    }
    fail_unless_equals_int (gst_element_set_state (pipeline, GST_STATE_NULL),
        GST_STATE_CHANGE_SUCCESS);
    gst_object_unref (pipeline);
  }
}

GST_END_TEST;

GST_START_TEST (an_element_works_again_with_another_batch)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=3 " WAIT_UNTIL_FULL);
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  static const guint sizes[] = { 1, 2, 1, 4 };

  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 2);        /* dropped: their batch is not full */
  for (guint k = 0; k < G_N_ELEMENTS (sizes); k++) {
    gst_element_set_state (embed, GST_STATE_READY);
    g_object_set (embed, "batch-size", sizes[k], "model-file", "", NULL);
    fail_unless_equals_int (gst_element_set_state (embed, GST_STATE_PLAYING),
        GST_STATE_CHANGE_FAILURE);
    g_object_set (embed, "model-file", model_a, NULL);
    fail_unless_equals_int (gst_element_set_state (embed, GST_STATE_PLAYING),
        GST_STATE_CHANGE_SUCCESS);
    fail_unless (gst_harness_push_event (h, gst_event_new_stream_start ("again")));
    set_format (h, "RGB", 50, 37);
    push_frames (h, 0, 4);
    for (guint i = 0; i < 4; i++)
      pull_own (h, 50, 37, i);
    fail_unless_equals_uint64 (statistic (h, "batches"), 4 / sizes[k]);
  }
  gst_object_unref (embed);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (two_elements_at_once)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=40 ! "
      "video/x-raw,width=64,height=64 ! tee name=t "
      "t. ! queue ! pirlembed model-file=%s interval=1 batch-size=3 ! fakesink "
      "t. ! queue ! pirlembed model-file=%s interval=1 batch-size=7 ! fakesink name=s", model_b,
      model_a);
  GPtrArray *buffers = run_pipeline (line);

  fail_unless_equals_int (buffers->len, 40);
  for (guint i = 0; i < buffers->len; i++)
    fail_unless_equals_uint64 (age_of (g_ptr_array_index (buffers, i)), 0);
  g_ptr_array_unref (buffers);
}

GST_END_TEST;

GST_START_TEST (downstream_may_end_the_stream)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=100 ! "
      "video/x-raw,width=40,height=30 ! pirlembed model-file=%s interval=1 batch-size=4 ! "
      "fakesink name=s num-buffers=6", model_a);
  GPtrArray *buffers = run_pipeline (line);

  fail_unless_equals_int (buffers->len, 6);
  g_ptr_array_unref (buffers);
}

GST_END_TEST;

/* After such an end frames are taken again from the next segment on. */
static GstPadProbeReturn
refuse_frames (GstPad * pad, GstPadProbeInfo * info, gpointer refusing)
{
  if (!GST_IS_BUFFER (info->data) || !g_atomic_int_get ((gint *) refusing))
    return GST_PAD_PROBE_OK;
  GST_PAD_PROBE_INFO_FLOW_RETURN (info) = GST_FLOW_EOS;
  gst_buffer_unref (GST_PAD_PROBE_INFO_BUFFER (info));
  return GST_PAD_PROBE_HANDLED;
}

GST_START_TEST (a_segment_begins_anew_after_the_end)
{
  GstHarness *h = harness_new (model_a, "interval=1 batch-size=2 " WAIT_UNTIL_FULL);
  gint refusing = TRUE;

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_BUFFER, refuse_frames, &refusing, NULL);
  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 1);
  gst_harness_push (h, frame (50, 37, 1, 1));   /* may be refused already */
  drain (h);
  fail_unless_equals_int (gst_harness_push (h, frame (50, 37, 2, 2)), GST_FLOW_EOS);
  g_atomic_int_set (&refusing, FALSE);
  push_segment (h);
  push_frames (h, 3, 2);
  pull_own (h, 50, 37, 3);
  pull_own (h, 50, 37, 4);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* Nobody takes the frames. The source hears of it in one case and has ended before in the other: an
 * error there must be. */
GST_START_TEST (an_error_downstream_is_reported)
{
  static const guint frames[] = { 1000, 3 };

  for (guint i = 0; i < G_N_ELEMENTS (frames); i++) {
    g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=%u ! "
        "video/x-raw,width=40,height=30 ! pirlembed model-file=%s interval=1 batch-size=4 "
        WAIT_UNTIL_FULL, frames[i], model_a);
    GstElement *pipeline = gst_parse_launch (line, NULL);
    GstMessage *message;

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    message = wait_for (pipeline, GST_MESSAGE_ERROR);
    gst_message_unref (message);
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
  }
}

GST_END_TEST;

/* The end of the stream is in the queue already: the element's own word is the only one. Later
 * batches are done when the one that failed has its turn. */
GST_START_TEST (a_batch_that_fails_is_an_error_in_its_place)
{
  g_autofree gchar *model = make_fragile_model ();
  GstHarness *h = batch_harness (model, "interval=1 batch-size=2 " WAIT_UNTIL_FULL);
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GError *error = NULL;

  gst_element_set_bus (embed, bus);
  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_BUFFER, dawdle, GINT_TO_POINTER (200000),
      NULL);
  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < 6; i++)
    fail_unless_equals_int (gst_harness_push (h, i == 3 ? frame (50, 37, i, i) : black_frame (i)),
        GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (guint i = 0; i < 2; i++)
    gst_buffer_unref (gst_harness_pull (h));
  message = gst_bus_timed_pop_filtered (bus, 50 * GST_SECOND, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "not finite") != NULL, "%s", error->message);
  g_error_free (error);
  gst_message_unref (message);
  fail_unless_equals_int (gst_harness_push (h, black_frame (6)), GST_FLOW_EOS);
  fail_unless (gst_bus_timed_pop_filtered (bus, GST_SECOND / 5, GST_MESSAGE_ERROR) == NULL,
      "more than one error");
  fail_unless_equals_int (gst_harness_buffers_received (h), 2);
  gst_element_set_bus (embed, NULL);
  gst_object_unref (embed);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  g_unlink (model);
}

GST_END_TEST;

/* ---- anything in any order ---------------------------------------------------------------- */

#define N_SALTS 4

typedef struct {
  GstHarness *h;
  GRand *rand;
  GString *want;                /* the record since the last drain or flush */
  GQueue frames;                /* width and salt of those that should come */
  gint width, mark;
  guint number;
} Dice;

static void
expect (Dice * d, const gchar * format, ...)
{
  va_list args;

  va_start (args, format);
  if (d->want->len > 0)
    g_string_append (d->want, ", ");
  g_string_append_vprintf (d->want, format, args);
  va_end (args);
}

static void
roll_format (Dice * d)
{
  gint width = 20 + 10 * g_rand_int_range (d->rand, 0, 3);

  set_format (d->h, "RGB", width, 30);
  if (width != d->width)
    expect (d, "caps %d", width);
  expect (d, "segment");
  d->width = width;
}

static void
roll_frames (Dice * d)
{
  for (gint n = g_rand_int_range (d->rand, 1, 6); n > 0; n--, d->number++) {
    guint salt = d->number % N_SALTS;

    fail_unless_equals_int (gst_harness_push (d->h, frame (d->width, 30, salt, d->number)),
        GST_FLOW_OK);
    expect (d, "frame %u", d->number);
    g_queue_push_tail (&d->frames, GINT_TO_POINTER (d->width));
  }
}

static void
roll_event (Dice * d)
{
  if (g_rand_boolean (d->rand)) {
    push_mark (d->h, ++d->mark);
    expect (d, "mark %d", d->mark);
  } else {
    fail_unless (gst_harness_push_event (d->h, gst_event_new_gap (d->number * FRAME, FRAME)));
    expect (d, "gap");
  }
}

/* All that was expected must have come, with the right vectors. */
static void
settle (Dice * d)
{
  guint first = d->number - d->frames.length;

  drain (d->h);
  assert_record (d->want->str);
  g_string_truncate (d->want, 0);
  for (guint i = first; i < d->number; i++) {
    gint width = GPOINTER_TO_INT (g_queue_pop_head (&d->frames));
    GstBuffer *buffer = gst_harness_try_pull (d->h);

    fail_unless (buffer != NULL);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), i * FRAME);
    fail_unless_equals_uint64 (age_of (buffer), 0);
    assert_close (buffer, model_a, width, 30, i % N_SALTS, DIM);
    gst_buffer_unref (buffer);
  }
  fail_unless (gst_harness_try_pull (d->h) == NULL);
}

static void
roll_negotiation (Dice * d)
{
  fail_unless (gst_harness_push_upstream_event (d->h, gst_event_new_reconfigure ()));
}

/* What came is what was expected, up to somewhere. */
static void
roll_flush (Dice * d)
{
  g_autofree gchar *got = NULL;
  GstBuffer *buffer;

  fail_unless (gst_harness_push_event (d->h, gst_event_new_flush_start ()));
  got = take_record ();
  fail_unless (g_str_has_prefix (d->want->str, got), "left: %s\nexpected: %s", got, d->want->str);
  fail_unless (gst_harness_push_event (d->h, gst_event_new_flush_stop (TRUE)));
  push_segment (d->h);
  while ((buffer = gst_harness_try_pull (d->h)) != NULL)
    gst_buffer_unref (buffer);
  g_queue_clear (&d->frames);
  g_string_assign (d->want, "segment");
}

/* The element leaves the stream for a moment and forgets it. */
static void
roll_states (Dice * d)
{
  GstElement *embed = gst_harness_find_element (d->h, "pirlembed");
  g_autofree gchar *got = NULL;
  GstBuffer *buffer;

  gst_element_set_state (embed, g_rand_boolean (d->rand) ? GST_STATE_READY : GST_STATE_NULL);
  got = take_record ();
  fail_unless (g_str_has_prefix (d->want->str, got), "left: %s\nexpected: %s", got, d->want->str);
  while ((buffer = gst_harness_try_pull (d->h)) != NULL)
    gst_buffer_unref (buffer);
  g_queue_clear (&d->frames);
  fail_unless_equals_int (gst_element_set_state (embed, GST_STATE_PLAYING),
      GST_STATE_CHANGE_SUCCESS);
  gst_object_unref (embed);
  fail_unless (gst_harness_push_event (d->h, gst_event_new_stream_start ("again")));
  d->width = 20;
  set_format (d->h, "RGB", 20, 30);
  g_string_assign (d->want, "stream-start, caps 20, segment");
}

static void
roll (Dice * d)
{
  static void (*const moves[]) (Dice *) = { roll_frames, roll_frames, roll_frames, roll_frames,
    roll_event, roll_event, roll_format, settle, roll_flush, roll_negotiation
  };

  if (g_rand_int_range (d->rand, 0, 40) == 0)
    roll_states (d);
  else
    moves[g_rand_int_range (d->rand, 0, G_N_ELEMENTS (moves))] (d);
  if (g_rand_int_range (d->rand, 0, 4) == 0)
    g_usleep (g_rand_int_range (d->rand, 0, 3000));
}

GST_START_TEST (anything_in_any_order)
{
  static const guint64 timeouts[] = { 0, GST_MSECOND / 2, 10 * GST_MSECOND };
  Dice d = {.rand = g_rand_new_with_seed (__i__),.want = g_string_new (NULL),.width = 20 };
  g_autofree gchar *properties = g_strdup_printf ("interval=1 batch-size=%d batch-timeout=%"
      G_GUINT64_FORMAT, g_rand_int_range (d.rand, 2, 6), timeouts[__i__ % 3]);

  g_print ("seed %d: %s\n", __i__, properties);
  g_queue_init (&d.frames);
  d.h = batch_harness (model_a, properties);
  set_format (d.h, "RGB", 20, 30);
  expect (&d, "stream-start, caps 20, segment");
  for (guint i = 0; i < 150; i++)
    roll (&d);
  settle (&d);
  gst_harness_teardown (d.h);
  g_rand_free (d.rand);
  g_string_free (d.want, TRUE);
}

GST_END_TEST;

static Suite *
batch_life_suite (void)
{
  Suite *s = suite_create ("pirlembed-batch-life");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, start_record, end_record);
  tcase_set_timeout (tc, 200);  /* seconds, on a machine that is busy otherwise */
  suite_add_tcase (s, tc);
  tcase_add_test (tc, a_flush_drops_what_is_collected_and_at_work);
  tcase_add_test (tc, flushes_may_come_at_any_moment);
  tcase_add_test (tc, states_change_while_a_batch_is_at_work);
  tcase_add_test (tc, an_element_works_again_with_another_batch);
  tcase_add_test (tc, two_elements_at_once);
  tcase_add_test (tc, downstream_may_end_the_stream);
  tcase_add_test (tc, a_segment_begins_anew_after_the_end);
  tcase_add_test (tc, an_error_downstream_is_reported);
  tcase_add_test (tc, a_batch_that_fails_is_an_error_in_its_place);
  tcase_add_loop_test (tc, anything_in_any_order, 0, 12);
  return s;
}

int
main (int argc, char **argv)
{
  return run_embed_tests (argc, argv, batch_life_suite, __FILE__);
}
