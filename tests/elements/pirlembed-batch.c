/* gst-pirl: tests of pirlembed with batches: what they hold, how long they wait, how
 * often they are made.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "batch-run.h"

/* ---- vectors ------------------------------------------------------------------------------ */

GST_START_TEST (vectors_are_those_of_single_frames)
{
  static const guint sizes[] = { 2, 3, 5, 8 };

  for (guint k = 0; k < G_N_ELEMENTS (sizes); k++) {
    g_autofree gchar *properties = g_strdup_printf ("interval=1 batch-size=%u " WAIT_UNTIL_FULL,
        sizes[k]);
    GstHarness *h = batch_harness (model_a, properties);

    set_format (h, "RGB", 50, 37);
    push_frames (h, 0, 11);     /* the last batch is never full */
    fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
    for (guint i = 0; i < 11; i++)
      pull_own (h, 50, 37, i);
    fail_unless_equals_uint64 (statistic (h, "frames"), 11);
    fail_unless_equals_uint64 (statistic (h, "embedded"), 11);
    fail_unless_equals_uint64 (statistic (h, "batches"), (11 + sizes[k] - 1) / sizes[k]);
    fail_unless_equals_uint64 (statistic (h, "skipped"), 0);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

/* The vectors of the first @n frames of a stream that ends after them. */
static void
embed_first (guint n, gfloat * out)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=4 " WAIT_UNTIL_FULL);

  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, n);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < n; i++) {
    GstBuffer *buffer = gst_harness_pull (h);

    memcpy (out + i * DIM, vector_of (buffer, DIM), DIM * sizeof (gfloat));
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (h);
}

GST_START_TEST (a_vector_does_not_depend_on_how_full_its_batch_is)
{
  gfloat full[4 * DIM], part[4 * DIM];

  embed_first (4, full);
  for (guint n = 1; n < 4; n++) {
    embed_first (n, part);
    fail_unless (memcmp (full, part, n * DIM * sizeof (gfloat)) == 0, "with %u of 4", n);
  }
}

GST_END_TEST;

GST_START_TEST (tensors_leave_one_a_frame)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=3 " WAIT_UNTIL_FULL);

  gst_harness_set_sink_caps_str (h, "other/tensors");
  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 4);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < 4; i++) {
    GstBuffer *out = gst_harness_pull (h);

    fail_unless_equals_int (gst_buffer_get_size (out), DIM * sizeof (gfloat));
    fail_unless (gst_buffer_memcmp (out, 0, vector_of (out, DIM), DIM * sizeof (gfloat)) == 0);
    assert_close (out, model_a, 50, 37, i, DIM);
    gst_buffer_unref (out);
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- order -------------------------------------------------------------------------------- */

GST_START_TEST (events_keep_their_places)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=4 " WAIT_UNTIL_FULL);

  set_format (h, "RGB", 50, 37);
  drain (h);
  push_frames (h, 0, 1);
  push_mark (h, 1);
  push_frames (h, 1, 1);
  fail_unless (gst_harness_push_event (h, gst_event_new_gap (2 * FRAME, FRAME)));
  push_mark (h, 2);
  push_segment (h);
  push_frames (h, 3, 1);
  fail_unless (gst_harness_push_event (h, gst_event_new_tag (gst_tag_list_new (GST_TAG_TITLE,
                  "title", NULL))));
  fail_unless (gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB,
              gst_structure_new_empty ("at-once"))));
  assert_record ("stream-start, caps 50, segment, custom-downstream-oob");
  push_frames (h, 4, 3);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < 7; i++) {
    if (i != 2)
      pull_own (h, 50, 37, i);
  }
  drain (h);
  assert_record ("frame 0, mark 1, frame 1, gap, mark 2, segment, frame 3, tag, frame 4, frame 5, "
      "frame 6, eos");
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (new_caps_wait_for_what_came_before)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=4 " WAIT_UNTIL_FULL);
  static const gint widths[] = { 50, 64, 33, 50 };
  guint number = 0;

  for (guint k = 0; k < G_N_ELEMENTS (widths); k++) {
    set_format (h, "RGB", widths[k], 40);
    for (guint i = 0; i < 3; i++)
      push (h, widths[k], 40, number++);
  }
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < number; i++)
    pull_own (h, widths[i / 3], 40, i);
  drain (h);
  /* The harness sends a segment after caps. */
  assert_record ("stream-start, caps 50, segment, frame 0, frame 1, frame 2, "
      "caps 64, segment, frame 3, frame 4, frame 5, caps 33, segment, frame 6, frame 7, frame 8, "
      "caps 50, segment, frame 9, frame 10, frame 11, eos");
  fail_unless_equals_uint64 (statistic (h, "batches"), 4);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (gaps_pass_and_short_frames_are_errors)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=2 " WAIT_UNTIL_FULL);
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GstBuffer *gap = gst_buffer_new ();

  gst_element_set_bus (embed, bus);
  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 1);
  GST_BUFFER_FLAG_SET (gap, GST_BUFFER_FLAG_GAP);
  fail_unless_equals_int (gst_harness_push (h, gap), GST_FLOW_OK);
  push_frames (h, 2, 1);
  pull_own (h, 50, 37, 0);
  gap = gst_harness_pull (h);
  fail_unless (GST_BUFFER_FLAG_IS_SET (gap, GST_BUFFER_FLAG_GAP));
  fail_unless (embedding_of (gap) == NULL);
  gst_buffer_unref (gap);
  pull_own (h, 50, 37, 2);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, 10, NULL)),
      GST_FLOW_ERROR);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_unref (message);
  gst_element_set_bus (embed, NULL);
  gst_object_unref (embed);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- how long a batch waits --------------------------------------------------------------- */

GST_START_TEST (a_slow_source_gets_its_frames_after_the_timeout)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=4 batch-timeout=30000000");

  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < 3; i++) {
    gint64 begin = g_get_monotonic_time ();

    push_frames (h, i, 1);
    pull_own (h, 50, 37, i);
    fail_unless (g_get_monotonic_time () - begin >= 30000);
  }
  fail_unless_equals_uint64 (statistic (h, "batches"), 3);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (without_a_timeout_a_batch_waits_until_it_is_full)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=3 " WAIT_UNTIL_FULL);

  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 2);
  g_usleep (200000);
  fail_unless_equals_int (gst_harness_buffers_received (h), 0);
  push_frames (h, 2, 1);
  for (guint i = 0; i < 3; i++)
    pull_own (h, 50, 37, i);
  fail_unless_equals_uint64 (statistic (h, "batches"), 1);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* The first frame of a batch waits so long, not the last. */
GST_START_TEST (more_frames_do_not_prolong_the_timeout)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=64 batch-timeout=40000000");

  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < 20; i++) {
    push_frames (h, i, 1);
    g_usleep (10000);
  }
  fail_unless (gst_harness_buffers_received (h) > 0);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (a_live_source_that_is_slower_than_the_batch)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc is-live=true num-buffers=10 ! "
      "video/x-raw,width=40,height=30,framerate=50/1 ! pirlembed model-file=%s n-threads=1 "
      "batch-size=64 batch-timeout=50000000 interval=1 ! fakesink name=s sync=false", model_a);
  GPtrArray *buffers = run_pipeline (line);

  fail_unless_equals_int (buffers->len, 10);
  for (guint i = 0; i < buffers->len; i++) {
    GstBuffer *buffer = g_ptr_array_index (buffers, i);

    fail_unless_equals_uint64 (age_of (buffer), 0);
    fail_unless (i == 0 || GST_BUFFER_PTS (buffer)
        > GST_BUFFER_PTS (g_ptr_array_index (buffers, i - 1)));
  }
  g_ptr_array_unref (buffers);
}

GST_END_TEST;

/* What the element adds to 10 ms of upstream's. */
static GstClockTime
latency_of (const gchar * properties, GstClockTime * measured)
{
  g_autofree gchar *line = g_strdup_printf ("interval=1 %s", properties);
  GstHarness *h = batch_harness (model_a, line);
  GstClockTime latency;

  gst_harness_set_upstream_latency (h, 10 * GST_MSECOND);
  set_format (h, "RGB", 50, 37);
  latency = gst_harness_query_latency (h) - 10 * GST_MSECOND;
  /* Nothing ran since the start: what the network takes is the same number in the log of the start
   * and here. */
  if (measured != NULL) {
    GstElement *embed = gst_harness_find_element (h, "pirlembed");
    GstStructure *stats = NULL;
    gdouble ms = 0;

    g_object_get (embed, "stats", &stats, NULL);
    fail_unless (gst_structure_get_double (stats, "mean-ms", &ms));
    *measured = ms * GST_MSECOND;
    gst_structure_free (stats);
    gst_object_unref (embed);
  }
  gst_harness_teardown (h);
  return latency;
}

static void
assert_collecting (const gchar * properties, GstClockTime want)
{
  GstClockTime measured, latency = latency_of (properties, &measured);
  GstClockTime rounding = GST_USECOND;

  fail_unless (measured > 0);
  fail_unless (latency + rounding >= want + measured && latency <= want + measured + rounding,
      "%s: a latency of %" G_GUINT64_FORMAT " ns of which %" G_GUINT64_FORMAT " are the network's",
      properties, latency, measured);
}

GST_START_TEST (latency_is_the_batches_time_or_the_timeout)
{
  assert_collecting ("batch-size=1", 0);
  assert_collecting ("batch-size=4 batch-timeout=0", 3 * FRAME);
  assert_collecting ("batch-size=4 batch-timeout=30000000", 30 * GST_MSECOND);
  assert_collecting ("batch-size=4 batch-timeout=900000000", 3 * FRAME);
  assert_collecting ("batch-size=4", 10 * GST_MSECOND);
}

GST_END_TEST;

GST_START_TEST (latency_is_for_live_streams_and_follows_the_frame_rate)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=4 " WAIT_UNTIL_FULL);
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;

  gst_element_set_bus (embed, bus);
  gst_harness_set_live (h, FALSE);
  set_format (h, "RGB", 50, 37);
  fail_unless_equals_uint64 (gst_harness_query_latency (h), 0);
  gst_harness_set_live (h, TRUE);
  fail_unless (gst_harness_query_latency (h) > 3 * FRAME);
  while ((message = gst_bus_pop (bus)) != NULL)
    gst_message_unref (message);
  gst_harness_set_src_caps_str (h, "video/x-raw,format=RGB,width=50,height=37,framerate=10/1");
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_LATENCY);
  fail_unless (message != NULL);
  gst_message_unref (message);
  fail_unless (gst_harness_query_latency (h) > 3 * GST_SECOND / 10);
  gst_element_set_bus (embed, NULL);
  gst_object_unref (embed);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (upstream_is_asked_for_buffers_and_nobody_may_pull)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=5 " WAIT_UNTIL_FULL);
  GstQuery *query;
  GstCaps *caps;
  guint size, min, max;

  gst_harness_add_propose_allocation_meta (h, GST_VIDEO_META_API_TYPE, NULL);
  set_format (h, "RGB", 50, 37);
  caps = gst_pad_get_current_caps (h->srcpad);
  query = gst_query_new_allocation (caps, TRUE);
  gst_caps_unref (caps);
  fail_unless (gst_pad_peer_query (h->srcpad, query));
  fail_unless_equals_int (gst_query_get_n_allocation_pools (query), 1);
  gst_query_parse_nth_allocation_pool (query, 0, NULL, &size, &min, &max);
  fail_unless_equals_int (size, 152 * 37);
  fail_unless (min >= 10);
  fail_unless (max == 0 || max >= min);
  fail_unless (gst_query_find_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL));
  gst_query_unref (query);

  query = gst_query_new_scheduling ();
  fail_unless (gst_pad_peer_query (h->sinkpad, query));
  fail_unless (gst_query_has_scheduling_mode (query, GST_PAD_MODE_PUSH));
  fail_if (gst_query_has_scheduling_mode (query, GST_PAD_MODE_PULL));
  gst_query_unref (query);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- how often ---------------------------------------------------------------------------- */

GST_START_TEST (every_third_frame_joins_a_batch)
{
  GstHarness *h = batch_harness (model_a, "interval=3 batch-size=2 " WAIT_UNTIL_FULL);

  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 11);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < 11; i++) {
    GstBuffer *out = gst_harness_pull (h);

    fail_unless_equals_uint64 (GST_BUFFER_PTS (out), i * FRAME);
    assert_close (out, model_a, 50, 37, i - i % 3, DIM);
    fail_unless_equals_uint64 (age_of (out), i % 3 * FRAME);
    gst_buffer_unref (out);
  }
  fail_unless_equals_uint64 (statistic (h, "embedded"), 4);
  fail_unless_equals_uint64 (statistic (h, "batches"), 2);
  fail_unless_equals_uint64 (statistic (h, "skipped"), 7);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* The second frame of the batch would be the 301st, and so many are not held. */
GST_START_TEST (a_batch_does_not_wait_for_more_than_the_queue_holds)
{
  GstHarness *h = batch_harness (model_a, "interval=300 batch-size=2 " WAIT_UNTIL_FULL);

  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 250);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  drain (h);
  fail_unless_equals_int (gst_harness_buffers_received (h), 250);
  fail_unless_equals_uint64 (statistic (h, "batches"), 1);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* Where downstream is the bottleneck, there is time to fill every batch. */
GST_START_TEST (batches_are_full_behind_a_slow_peer)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=4 " WAIT_UNTIL_FULL);

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_BUFFER, dawdle, GINT_TO_POINTER (2000), NULL);
  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 40);
  drain (h);
  fail_unless_equals_uint64 (statistic (h, "batches"), 10);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* 2 frames are at work on a slow network, 2 have been collected: the others pass, in order, with
 * the embedding of the last one before them that has one. */
GST_START_TEST (as_the_machine_manages)
{
  GstHarness *h = batch_harness (model_slow, "interval=0 device=reference batch-size=2 "
      WAIT_UNTIL_FULL);
  gint64 begin;
  guint source = 0;

  set_format (h, "RGB", 50, 37);
  begin = g_get_monotonic_time ();
  push_frames (h, 0, 2);
  g_usleep (10000);             /* until they are at work */
  push_frames (h, 2, 10);
  fail_unless_equals_int (gst_harness_buffers_received (h), 0);
  fail_unless_equals_uint64 (statistic (h, "batches"), 0);
  g_print ("12 frames taken in %.1f ms\n", (g_get_monotonic_time () - begin) / 1000.0);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < 12; i++) {
    GstBuffer *out = gst_harness_pull (h);

    fail_unless_equals_uint64 (GST_BUFFER_PTS (out), i * FRAME);
    if (age_of (out) == 0)
      source = i;
    fail_unless_equals_uint64 (age_of (out), (i - source) * FRAME);
    assert_close (out, model_slow, 50, 37, source, DIM);
    gst_buffer_unref (out);
  }
  /* The worker may have woken up late. */
  fail_unless (source == 3 || source == 1);
  fail_unless_equals_uint64 (statistic (h, "skipped"), 12 - source - 1);
  gst_harness_teardown (h);
}

GST_END_TEST;

static void
count_frame (GstElement * identity, GstBuffer * buffer, gint * count)
{
  g_atomic_int_inc (count);
}

/* Two batches and one frame on its way are all that the element holds while nothing leaves. */
GST_START_TEST (upstream_waits_when_nothing_leaves)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc ! video/x-raw,width=40,height=30 ! "
      "identity name=i ! pirlembed model-file=%s n-threads=1 interval=1 batch-size=3 ! fakesink",
      model_a);
  GstElement *pipeline = gst_parse_launch (line, NULL);
  GstElement *identity = gst_bin_get_by_name (GST_BIN (pipeline), "i");
  gint count = 0;

  g_signal_connect (identity, "handoff", G_CALLBACK (count_frame), &count);
  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  fail_unless_equals_int (gst_element_get_state (pipeline, NULL, NULL, 50 * GST_SECOND),
      GST_STATE_CHANGE_SUCCESS);
  g_usleep (300000);
  /* 6 in the queue, one in the sink, one that waits to be taken. */
  fail_unless_equals_int (g_atomic_int_get (&count), 8);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (identity);
  gst_object_unref (pipeline);
}

GST_END_TEST;

/* ---- models ------------------------------------------------------------------------------- */

static void
remember_take_over (GstElement * element, const gchar * path, gpointer user_data)
{
  note ("model %s", path);
  g_atomic_int_inc ((gint *) user_data);
}

GST_START_TEST (a_new_model_takes_over_between_batches)
{
  GstHarness *h = batch_harness (model_a, "interval=1 batch-size=2 " WAIT_UNTIL_FULL);
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  gint updated = 0, after = 0;
  guint number = 0;
  gchar *line, *place;

  g_signal_connect (embed, "model-updated", G_CALLBACK (remember_take_over), &updated);
  gst_harness_set_sink_caps_str (h, "other/tensors");
  set_format (h, "RGB", 50, 37);
  push_frames (h, 0, 3);
  g_object_set (embed, "model-file", model_wide, NULL);
  for (number = 3; after < 4 && number < 4000; number++) {
    push (h, 50, 37, number);
    if (g_atomic_int_get (&updated))
      after++;
    g_usleep (2000);
  }
  fail_unless_equals_int (updated, 1);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < number; i++) {
    GstBuffer *out = gst_harness_pull (h);
    gboolean wide = gst_buffer_get_size (out) == WIDE_DIM * sizeof (gfloat);

    if (i < 2 || i >= number - 2 || i % 50 == 0)
      assert_close (out, wide ? model_wide : model_a, 50, 37, i, wide ? WIDE_DIM : DIM);
    fail_unless (i > 1 || !wide);
    fail_unless (i < number - 2 || wide);
    gst_buffer_unref (out);
  }
  drain (h);
  /* Signal, then caps, then the first frame of a batch. */
  line = take_record ();
  place = strstr (line, "model ");
  fail_unless (place != NULL && strchr (place, ',') != NULL);
  place = strchr (place, ',');
  fail_unless (g_str_has_prefix (place, ", caps 24:1:1:1, frame "), "%.100s", place);
  fail_unless_equals_int (atoi (place + strlen (", caps 24:1:1:1, frame ")) % 2, 0);
  g_free (line);
  gst_object_unref (embed);
  gst_harness_teardown (h);
}

GST_END_TEST;

static Suite *
batch_suite (void)
{
  Suite *s = suite_create ("pirlembed-batch");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, start_record, end_record);
  tcase_set_timeout (tc, 200);  /* seconds, on a machine that is busy otherwise */
  suite_add_tcase (s, tc);
  tcase_add_test (tc, vectors_are_those_of_single_frames);
  tcase_add_test (tc, a_vector_does_not_depend_on_how_full_its_batch_is);
  tcase_add_test (tc, tensors_leave_one_a_frame);
  tcase_add_test (tc, events_keep_their_places);
  tcase_add_test (tc, new_caps_wait_for_what_came_before);
  tcase_add_test (tc, gaps_pass_and_short_frames_are_errors);
  tcase_add_test (tc, a_slow_source_gets_its_frames_after_the_timeout);
  tcase_add_test (tc, without_a_timeout_a_batch_waits_until_it_is_full);
  tcase_add_test (tc, more_frames_do_not_prolong_the_timeout);
  tcase_add_test (tc, a_live_source_that_is_slower_than_the_batch);
  tcase_add_test (tc, latency_is_the_batches_time_or_the_timeout);
  tcase_add_test (tc, latency_is_for_live_streams_and_follows_the_frame_rate);
  tcase_add_test (tc, upstream_is_asked_for_buffers_and_nobody_may_pull);
  tcase_add_test (tc, every_third_frame_joins_a_batch);
  tcase_add_test (tc, a_batch_does_not_wait_for_more_than_the_queue_holds);
  tcase_add_test (tc, batches_are_full_behind_a_slow_peer);
  tcase_add_test (tc, as_the_machine_manages);
  tcase_add_test (tc, upstream_waits_when_nothing_leaves);
  tcase_add_test (tc, a_new_model_takes_over_between_batches);
  return s;
}

int
main (int argc, char **argv)
{
  return run_embed_tests (argc, argv, batch_suite, __FILE__);
}
