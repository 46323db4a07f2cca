/* gst-pirl: tests of pirlembed with batches.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The same tiny networks as in pirlembed. What leaves the element is written down in the order in
 * which it leaves, from whatever thread: frames by their number, events by their name. */
#include "embed-run.h"
#include "leaks.h"

#define ROUNDING 1e-5           /* between batches of vectors of length 1 */
#define WAIT_UNTIL_FULL "batch-timeout=0"

/* ---- what leaves the element -------------------------------------------------------------- */

static GMutex record_lock;
static GPtrArray *record;

static void
note (const gchar * format, ...)
{
  va_list args;

  va_start (args, format);
  g_mutex_lock (&record_lock);
  g_ptr_array_add (record, g_strdup_vprintf (format, args));
  g_mutex_unlock (&record_lock);
  va_end (args);
}

static void
note_event (GstEvent * event)
{
  const GstStructure *s = gst_event_get_structure (event);
  gint number = 0, width = 0;
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_CUSTOM_DOWNSTREAM:
      gst_structure_get_int (s, "number", &number);
      note ("mark %d", number);
      break;
    case GST_EVENT_CAPS:
      gst_event_parse_caps (event, &caps);
      if (gst_structure_get_int (gst_caps_get_structure (caps, 0), "width", &width))
        note ("caps %d", width);
      else
        note ("caps %s", gst_structure_get_string (gst_caps_get_structure (caps, 0),
                "dimensions"));
      break;
    default:
      note ("%s", GST_EVENT_TYPE_NAME (event));
      break;
  }
}

static GstPadProbeReturn
on_data (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  if (GST_IS_BUFFER (info->data))
    note ("frame %d", (gint) (GST_BUFFER_PTS (info->data) / FRAME));
  else
    note_event (GST_EVENT (info->data));
  return GST_PAD_PROBE_OK;
}

/* The record so far as one line; starts a new one. */
static gchar *
take_record (void)
{
  gchar *line;

  g_mutex_lock (&record_lock);
  g_ptr_array_add (record, NULL);
  line = g_strjoinv (", ", (gchar **) record->pdata);
  g_ptr_array_set_size (record, 0);
  g_mutex_unlock (&record_lock);
  return line;
}

static void
assert_record (const gchar * want)
{
  g_autofree gchar *got = take_record ();

  fail_unless (g_str_equal (got, want), "left: %s\nexpected: %s", got, want);
}

static void
start_record (void)
{
  record = g_ptr_array_new_with_free_func (g_free);
}

static void
end_record (void)
{
  g_clear_pointer (&record, g_ptr_array_unref);
  leaks_none ();
}

/* ---- helpers ------------------------------------------------------------------------------ */

static GstHarness *
batch_harness (const gchar * model, const gchar * properties)
{
  GstHarness *h = harness_new (model, properties);

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      on_data, NULL, NULL);
  return h;
}

static void
push (GstHarness * h, gint width, gint height, guint number)
{
  fail_unless_equals_int (gst_harness_push (h, frame (width, height, number, number)),
      GST_FLOW_OK);
}

static void
push_frames (GstHarness * h, guint first, guint n)
{
  for (guint i = first; i < first + n; i++)
    push (h, 50, 37, i);
}

static void
push_mark (GstHarness * h, gint number)
{
  fail_unless (gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
              gst_structure_new ("mark", "number", G_TYPE_INT, number, NULL))));
}

static void
push_segment (GstHarness * h)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
}

/* Returns when all that went in has left. */
static void
drain (GstHarness * h)
{
  GstQuery *query = gst_query_new_drain ();

  gst_pad_peer_query (h->srcpad, query);
  gst_query_unref (query);
}

/* The kernels' vectors, made once a picture. */
static const gfloat *
vector_for (const gchar * model, gint width, gint height, guint salt, guint size)
{
  static GHashTable *vectors;
  gchar *key = g_strdup_printf ("%s %d %d %u", model, width, height, salt);
  gfloat *vector;

  if (vectors == NULL)
    vectors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  vector = g_hash_table_lookup (vectors, key);
  if (vector != NULL) {
    g_free (key);
    return vector;
  }
  vector = g_new (gfloat, size);
  embed_directly (model, NULL, width, height, salt, size, vector);
  g_hash_table_insert (vectors, key, vector);
  return vector;
}

static gdouble
difference (const gfloat * a, const gfloat * b, guint n)
{
  gdouble most = 0;

  for (guint i = 0; i < n; i++)
    most = MAX (most, fabs (a[i] - b[i]));
  return most;
}

static void
assert_close (GstBuffer * buffer, const gchar * model, gint width, gint height, guint salt,
    guint size)
{
  gdouble d = difference (vector_of (buffer, size), vector_for (model, width, height, salt, size),
      size);

  fail_unless (d <= ROUNDING, "the embedding differs by %g from that of picture %u", d, salt);
}

/* Takes the next frame, which must be this one with its own embedding by the model a. */
static void
pull_own (GstHarness * h, gint width, gint height, guint number)
{
  GstBuffer *buffer = gst_harness_pull (h);

  fail_unless (buffer != NULL, "frame %u did not come", number);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), number * FRAME);
  fail_unless_equals_uint64 (age_of (buffer), 0);
  assert_close (buffer, model_a, width, height, number, DIM);
  gst_buffer_unref (buffer);
}

/* A probe that makes downstream slow: @user_data, microseconds a frame. */
static GstPadProbeReturn
dawdle (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  g_usleep (GPOINTER_TO_INT (user_data));
  return GST_PAD_PROBE_OK;
}

static GstMessage *
wait_for (GstElement * pipeline, GstMessageType types)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 50 * GST_SECOND, types);

  gst_object_unref (bus);
  fail_unless (message != NULL);
  return message;
}

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

/* What a source has its streaming lock for: no frame between a flush and its segment. */
static GMutex streaming;

static gpointer
push_many (gpointer user_data)
{
  guint passed = 0;

  for (guint i = 0; i < 400; i++) {
    GstFlowReturn ret;

    g_mutex_lock (&streaming);
    ret = gst_harness_push (user_data, frame (50, 37, i, i));
    g_mutex_unlock (&streaming);
    fail_unless (ret == GST_FLOW_OK || ret == GST_FLOW_FLUSHING, "%s", gst_flow_get_name (ret));
    passed += ret == GST_FLOW_OK;
    g_usleep (300);
  }
  return GUINT_TO_POINTER (passed);
}

GST_START_TEST (flushes_may_come_at_any_moment)
{
  static const gchar *properties[] = { "interval=0 batch-size=3", "interval=1 batch-size=2",
    "interval=2 batch-size=4 " WAIT_UNTIL_FULL
  };

  for (guint k = 0; k < G_N_ELEMENTS (properties); k++) {
    GstHarness *h = batch_harness (model_a, properties[k]);
    GstElement *embed = gst_harness_find_element (h, "pirlembed");
    GThread *thread;

    gst_harness_set_drop_buffers (h, TRUE);
    set_format (h, "RGB", 50, 37);
    thread = g_thread_new ("push", push_many, h);
    for (guint i = 0; i < 30; i++) {
      g_usleep (3000);
      fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
      g_mutex_lock (&streaming);
      fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
      push_segment (h);
      g_mutex_unlock (&streaming);
      g_object_set (embed, "model-file", i & 1 ? model_a : model_b, NULL);
    }
    fail_unless (GPOINTER_TO_UINT (g_thread_join (thread)) > 0);
    gst_object_unref (embed);
    gst_harness_teardown (h);
  }
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
  int failed;
  Suite *s;

  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  make_models ();
  s = batch_suite ();
  failed = gst_check_run_suite (s, "pirlembed-batch", __FILE__);
  remove_models ();
  return failed;
}
