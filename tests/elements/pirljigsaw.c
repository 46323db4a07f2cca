/* gst-pirl: tests of pirljigsaw: what leaves it in which form, pictures of all kinds, and its life.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the views must look like is the kernels' business and tested there; here the element must
 * deliver exactly what the kernels render from the same settings, in the memory, caps and metas
 * promised, whatever happens around it. */
#include "jigsaw-run.h"

/* ---- forms -------------------------------------------------------------------------------- */

GST_START_TEST (tensors_go_to_any_peer)
{
  GstHarness *h = harness_new ("");
  GstBuffer *in = packed_picture (50, 37, 0), *out;
  guint8 image_view[SIZE * SIZE * 3], patches[PATCHES * PATCH * PATCH * 3];
  PirlPretextConfig c = default_config ();

  set_size (h, 50, 37);
  GST_BUFFER_PTS (in) = 40 * GST_MSECOND;
  GST_BUFFER_DURATION (in) = 7 * GST_MSECOND;
  render (&c, in, 50, 37, 152, 0, 0, -1, image_view, patches);
  out = push_pull (h, in);
  assert_caps (h, VIEWS_CAPS);
  assert_views (out, image_view, patches);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (out), 40 * GST_MSECOND);
  fail_unless_equals_uint64 (GST_BUFFER_DURATION (out), 7 * GST_MSECOND);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

static void
assert_views_go_to (const gchar * peer)
{
  GstHarness *h = harness_new ("");

  gst_harness_set_sink_caps_str (h, peer);
  set_size (h, 50, 37);
  gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
  assert_caps (h, VIEWS_CAPS);
  gst_harness_teardown (h);
}

GST_START_TEST (tensors_win_over_video_whatever_the_peer_prefers)
{
  static const gchar *peers[] = { "video/x-raw; other/tensors", "other/tensors; video/x-raw",
    "other/tensors,format=static"
  };

  for (guint i = 0; i < G_N_ELEMENTS (peers); i++)
    assert_views_go_to (peers[i]);
}

GST_END_TEST;

GST_START_TEST (frames_go_to_a_peer_that_names_the_feature)
{
  static const gchar *peers[] = { "video/x-raw(meta:PirlPretext); other/tensors",
    "other/tensors; video/x-raw(meta:PirlPretext),format=RGB; video/x-raw", "video/x-raw(ANY); "
        "video/x-raw(meta:PirlPretext),format={RGB,GRAY8}"
  };
  static const gint sizes[][2] = { {50, 37}, {300, 200}, {9, 70} };
  guint8 image_view[SIZE * SIZE * 3], patches[PATCHES * PATCH * PATCH * 3];
  guint8 image_view2[SIZE * SIZE * 3], patches2[PATCHES * PATCH * PATCH * 3];
  PirlPretextConfig c = default_config ();

  c.augment.photometric = c.augment.blur = 0.5f;
  for (guint i = 0; i < G_N_ELEMENTS (peers); i++) {
    GstHarness *h = harness_new ("photometric=0.5 blur=0.5");

    gst_harness_set_sink_caps_str (h, peers[i]);
    for (guint j = 0; j < G_N_ELEMENTS (sizes); j++) {
      const gint width = sizes[j][0], height = sizes[j][1];
      GstBuffer *in = sample (width, height, j, 0, 40 + j), *out;
      GstMemory *memory = gst_buffer_peek_memory (in, 0);
      GstPirlSample s;

      set_size (h, width, height);
      render (&c, in, width, height, GST_ROUND_UP_4 (3 * width), 0, 40 + j, -1, image_view,
          patches);
      /* Of another drawing: it must not stay. */
      gst_structure_set (gst_custom_meta_get_structure (gst_buffer_add_custom_meta (in,
                  GST_PIRL_PRETEXT_META)), "old", G_TYPE_INT, 1, NULL);
      out = push_pull (h, in);
      assert_caps (h, "video/x-raw(meta:PirlPretext),format=RGB,framerate=25/1");
      fail_unless (gst_buffer_peek_memory (out, 0) == memory, "the frame was copied");
      fail_if (gst_structure_has_field (pretext_of (out), "old"));
      fail_unless (gst_pirl_sample_get (out, &s) && s.index == 40 + j);
      render_from_meta (out, image_view2, patches2);
      fail_unless (memcmp (image_view, image_view2, sizeof (image_view)) == 0);
      fail_unless (memcmp (patches, patches2, sizeof (patches)) == 0);
      gst_buffer_unref (out);
    }
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

GST_START_TEST (a_peer_that_takes_anything_gets_no_frames)
{
  static const gchar *peers[] = { "video/x-raw(ANY); other/tensors", "ANY" };

  for (guint i = 0; i < G_N_ELEMENTS (peers); i++)
    assert_views_go_to (peers[i]);
}

GST_END_TEST;

GST_START_TEST (default_geometry_is_the_reference_s)
{
  GstHarness *h = gst_harness_new ("pirljigsaw");
  GstBuffer *out;

  set_size (h, 300, 260);
  out = push_pull (h, packed_picture (300, 260, 0));
  assert_caps (h, "other/tensors,format=static,num_tensors=2,types=\"uint8,uint8\","
      "dimensions=\"3:224:224:1,3:64:64:9\",framerate=25/1");
  fail_unless_equals_int (gst_buffer_get_size (out), 224 * 224 * 3 + 9 * 64 * 64 * 3);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (video_peer_gets_the_mosaic)
{
  GstHarness *h = harness_new ("");
  GstBuffer *in = packed_picture (50, 37, 0), *out;
  guint8 image_view[SIZE * SIZE * 3], patches[PATCHES * PATCH * PATCH * 3];
  PirlPretextConfig c = default_config ();
  const gsize stride = GST_ROUND_UP_4 (MOSAIC * 3);
  GstMapInfo map;

  gst_harness_set_sink_caps_str (h, "video/x-raw,format={RGB,BGR}");
  set_size (h, 50, 37);
  render (&c, in, 50, 37, 152, 0, 0, -1, image_view, patches);
  out = push_pull (h, in);
  assert_caps (h, "video/x-raw,format=RGB,width=31,height=31,framerate=25/1,"
      "pixel-aspect-ratio=1/1");
  fail_unless (gst_buffer_map (out, &map, GST_MAP_READ));
  fail_unless_equals_int (map.size, stride * MOSAIC);
  for (gint y = 0; y < MOSAIC; y++) {
    for (gint x = 0; x < MOSAIC * 3; x++) {
      gint row = y / (PATCH + GAP), column = x / 3 / (PATCH + GAP);
      gint py = y % (PATCH + GAP), px = x / 3 % (PATCH + GAP);
      gboolean gap = px >= PATCH || py >= PATCH;
      guint8 want = gap ? 0
          : patches[((row * GRID + column) * PATCH + py) * PATCH * 3 + px * 3 + x % 3];

      fail_unless_equals_int (map.data[y * stride + x], want);
    }
  }
  gst_buffer_unmap (out, &map);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (unlinked_and_impossible_peers_do_not_crash)
{
  GstHarness *h = harness_new ("");

  gst_harness_set_sink_caps_str (h, "video/x-raw,format=RGB,width=10");
  set_size (h, 50, 37);
  fail_unless_equals_int (gst_harness_push (h, packed_picture (50, 37, 0)),
      GST_FLOW_NOT_NEGOTIATED);
  gst_harness_teardown (h);

  h = gst_harness_new_with_padnames ("pirljigsaw", "sink", NULL);
  set_size (h, 50, 37);
  fail_unless_equals_int (gst_harness_push (h, packed_picture (50, 37, 0)), GST_FLOW_NOT_LINKED);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (sink_takes_any_size_and_asks_for_strides)
{
  GstHarness *h = harness_new ("");
  GstCaps *caps = gst_pad_peer_query_caps (h->srcpad, NULL);
  GstCaps *want = gst_caps_from_string ("video/x-raw,format=RGB,width=[1,32767],"
      "height=[1,32767],framerate=[0/1,2147483647/1]");
  GstQuery *query;

  fail_unless (gst_caps_is_equal (caps, want), "sink caps %" GST_PTR_FORMAT, caps);
  gst_caps_unref (caps);
  gst_caps_unref (want);
  set_size (h, 50, 37);
  caps = gst_pad_get_current_caps (h->srcpad);
  query = gst_query_new_allocation (caps, TRUE);
  fail_unless (gst_pad_peer_query (h->srcpad, query));
  fail_unless (gst_query_find_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL));
  gst_query_unref (query);
  gst_caps_unref (caps);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- pictures of all kinds ---------------------------------------------------------------- */

static GstPadProbeReturn
count_event (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_CAPS)
    (*(guint *) user_data)++;
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
count_query (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  (*(guint *) user_data)++;
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (new_sizes_leave_the_source_caps_alone)
{
  static const struct {
    gint width, height;
  } sizes[] = { {50, 37}, {640, 480}, {1, 1}, {3, 200}, {200, 3}, {50, 37}, {33, 35} };
  GstHarness *h = harness_new ("");
  PirlPretextConfig c = default_config ();
  guint8 image_view[SIZE * SIZE * 3], patches[PATCHES * PATCH * PATCH * 3];
  guint caps_events = 0, queries = 0;

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, count_event, &caps_events,
      NULL);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    gint width = sizes[i].width, height = sizes[i].height;
    GstBuffer *in = packed_picture (width, height, i), *out;

    set_size (h, width, height);
    render (&c, in, width, height, GST_ROUND_UP_4 (3 * width), 0, i, -1, image_view, patches);
    out = push_pull (h, in);
    assert_views (out, image_view, patches);
    gst_buffer_unref (out);
    if (i == 0)
      gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, count_query, &queries,
          NULL);
  }
  fail_unless_equals_int (caps_events, 1);
  fail_unless_equals_int (queries, 0);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (new_sizes_leave_the_caps_of_frames_alone)
{
  GstHarness *h = harness_new ("");
  guint caps_events = 0;

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, count_event, &caps_events,
      NULL);
  gst_harness_set_sink_caps_str (h, "video/x-raw(meta:PirlPretext)");
  for (gint i = 0; i < 4; i++) {
    GstBuffer *out;

    set_size (h, 50 + i, 37 - i);
    out = push_pull (h, packed_picture (50 + i, 37 - i, 0));
    fail_unless_equals_int (gst_buffer_get_video_meta (out)->width, 50 + i);
    gst_buffer_unref (out);
  }
  fail_unless_equals_int (caps_events, 1);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (new_framerate_and_reconfigure_renegotiate)
{
  GstHarness *h = harness_new ("");

  set_size (h, 50, 37);
  gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
  gst_harness_set_src_caps_str (h, "video/x-raw,format=RGB,width=50,height=37,framerate=5/1");
  gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
  assert_caps (h, "other/tensors,framerate=5/1");
  /* A new peer that wants video, and a size change at the same time. */
  gst_harness_set_sink_caps_str (h, "video/x-raw");
  gst_pad_push_event (h->sinkpad, gst_event_new_reconfigure ());
  gst_harness_set_src_caps_str (h, "video/x-raw,format=RGB,width=60,height=20,framerate=5/1");
  gst_buffer_unref (push_pull (h, packed_picture (60, 20, 0)));
  assert_caps (h, "video/x-raw,format=RGB,width=31,framerate=5/1");
  /* No framerate in, 0/1 out: NNStreamer's tensors always have one. */
  gst_harness_set_sink_caps_str (h, "other/tensors");
  gst_pad_push_event (h->sinkpad, gst_event_new_reconfigure ());
  gst_harness_set_src_caps_str (h, "video/x-raw,format=RGB,width=60,height=20");
  gst_buffer_unref (push_pull (h, packed_picture (60, 20, 0)));
  assert_caps (h, "other/tensors,framerate=0/1");
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (odd_strides_are_honoured)
{
  GstHarness *h = harness_new ("");
  PirlPretextConfig c = default_config ();
  guint8 image_view[SIZE * SIZE * 3], patches[PATCHES * PATCH * PATCH * 3];
  const gint stride = 50 * 3 + 101;
  GstBuffer *in = picture (50, 37, stride, 0), *out;
  gsize offset[GST_VIDEO_MAX_PLANES] = { 0 };
  gint strides[GST_VIDEO_MAX_PLANES] = { stride };

  set_size (h, 50, 37);
  gst_buffer_add_video_meta_full (in, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_RGB, 50, 37, 1,
      offset, strides);
  render (&c, in, 50, 37, stride, 0, 0, -1, image_view, patches);
  out = push_pull (h, in);
  assert_views (out, image_view, patches);
  /* The video meta spoke of the frame; it must not follow the views. */
  fail_unless (gst_buffer_get_video_meta (out) == NULL);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (grids_have_their_caps)
{
  static const struct {
    const gchar *properties, *dimensions;
  } cases[] = {
    {"grid=1", "3:32:32:1,3:9:9:1"},
    {"grid=2", "3:32:32:1,3:9:9:4"},
    {"grid=2 crop-size=32 patch-size=16", "3:32:32:1,3:16:16:4"},
    {"grid=4 crop-size=64 patch-size=11 permutations=7", "3:32:32:1,3:11:11:16"},
    {"grid=5 crop-size=75", "3:32:32:1,3:5:5:25"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = harness_new (cases[i].properties);
    g_autofree gchar *want = g_strdup_printf ("other/tensors,dimensions=\"%s\"",
        cases[i].dimensions);
    GstBuffer *out;
    GstPirlViews views;
    GstCaps *caps;

    set_size (h, 50, 37);
    out = push_pull (h, packed_picture (50, 37, 0));
    assert_caps (h, want);
    caps = gst_pad_get_current_caps (h->sinkpad);
    fail_unless (gst_pirl_views_caps_parse (caps, &views, NULL));
    gst_caps_unref (caps);
    fail_unless_equals_int (gst_buffer_get_size (out),
        views.image * views.image * 3 + views.patches * views.patch * views.patch * 3);
    gst_buffer_unref (out);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

GST_START_TEST (gaps_are_dropped_and_short_frames_are_errors)
{
  GstHarness *h = harness_new ("");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;

  gst_element_set_bus (h->element, bus);
  set_size (h, 50, 37);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new ()), GST_FLOW_OK);
  fail_unless_equals_int (gst_harness_buffers_received (h), 0);
  gst_harness_push_event (h, gst_event_new_gap (0, GST_SECOND));
  gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, 100, NULL)),
      GST_FLOW_ERROR);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_unref (message);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- life --------------------------------------------------------------------------------- */

GST_START_TEST (bad_settings_say_both_numbers)
{
  static const struct {
    const gchar *properties, *words[2];
  } cases[] = {
    {"crop-size=100", {"100", "3"}},
    {"image-size=224 patch-size=86", {"86", "85"}},
    {"permutations=10 permutation=10", {"10", "9"}},
    {"grid=2 permutation=24", {"24", "23"}},
    {"grid=2 permutations=25", {"25", "24"}},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *line = g_strdup_printf ("pirljigsaw %s", cases[i].properties);
    GstElement *element = gst_parse_launch (line, NULL);
    GstBus *bus = gst_bus_new ();
    GstMessage *message;
    GError *error = NULL;

    gst_element_set_bus (element, bus);
    fail_unless_equals_int (gst_element_set_state (element, GST_STATE_READY),
        GST_STATE_CHANGE_SUCCESS);
    fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED),
        GST_STATE_CHANGE_FAILURE);
    message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
    fail_unless (message != NULL, "no error for %s", cases[i].properties);
    gst_message_parse_error (message, &error, NULL);
    for (guint w = 0; w < 2; w++)
      fail_unless (strstr (error->message, cases[i].words[w]) != NULL, "\"%s\" does not name %s",
          error->message, cases[i].words[w]);
    g_clear_error (&error);
    gst_message_unref (message);
    gst_element_set_bus (element, NULL);
    gst_element_set_state (element, GST_STATE_NULL);
    gst_object_unref (bus);
    gst_object_unref (element);
  }
}

GST_END_TEST;

GST_START_TEST (fails_then_works_when_settings_are_mended)
{
  GstElement *element = gst_element_factory_make ("pirljigsaw", NULL);

  g_object_set (element, "crop-size", 100, NULL);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PLAYING),
      GST_STATE_CHANGE_FAILURE);
  gst_element_set_state (element, GST_STATE_NULL);
  g_object_set (element, "crop-size", 0, NULL);
  for (guint i = 0; i < 3; i++) {
    fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PLAYING),
        GST_STATE_CHANGE_SUCCESS);
    fail_unless_equals_int (gst_element_set_state (element,
            i & 1 ? GST_STATE_READY : GST_STATE_NULL), GST_STATE_CHANGE_SUCCESS);
  }
  gst_element_set_state (element, GST_STATE_NULL);
  gst_object_unref (element);
}

GST_END_TEST;

GST_START_TEST (flush_goes_on_and_eos_passes)
{
  GstHarness *h = harness_new ("");
  GstSegment segment;
  GstEvent *event;
  gboolean eos = FALSE;

  set_size (h, 50, 37);
  gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
  fail_unless_equals_int (gst_harness_push (h, packed_picture (50, 37, 0)), GST_FLOW_FLUSHING);
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
  gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  while ((event = gst_harness_try_pull_event (h)) != NULL) {
    eos |= GST_EVENT_TYPE (event) == GST_EVENT_EOS;
    gst_event_unref (event);
  }
  fail_unless (eos);
  gst_harness_teardown (h);
}

GST_END_TEST;

static void
count_handoff (GstElement * sink, GstBuffer * buffer, GstPad * pad, gint * count)
{
  g_atomic_int_inc (count);
}

/* A branch that shows pictures, late and complaining, beside one that trains. Returns how many of
 * @n samples the latter saw. */
static gint
samples_beside_a_slow_display (gint n, gboolean qos)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=%d ! video/x-raw,format=RGB,"
      "width=40,height=30,framerate=200/1 ! pirljigsaw image-size=32 qos=%s ! tee name=t "
      "t. ! queue ! fakesink name=training signal-handoffs=true sync=false "
      "t. ! queue max-size-buffers=1 ! identity sleep-time=20000 ! "
      "fakesink sync=true qos=true async=false", n, qos ? "true" : "false");
  GstElement *pipeline = gst_parse_launch (line, NULL);
  GstElement *training = gst_bin_get_by_name (GST_BIN (pipeline), "training");
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  gint count = 0;

  g_signal_connect (training, "handoff", G_CALLBACK (count_handoff), &count);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (training);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  return g_atomic_int_get (&count);
}

GST_START_TEST (slow_display_branch_costs_no_sample)
{
  fail_unless_equals_int (samples_beside_a_slow_display (60, FALSE), 60);
  /* The same with quality of service on: else this test could not fail. */
  fail_unless (samples_beside_a_slow_display (60, TRUE) < 60);
}

GST_END_TEST;

GST_START_TEST (two_at_once_share_nothing)
{
  GstHarness *h[2] = { harness_new ("permutations=8"), harness_new ("permutations=8") };

  for (guint k = 0; k < 2; k++)
    set_size (h[k], 50, 37);
  for (guint i = 0; i < 4; i++) {
    GstBuffer *outs[2];

    for (guint k = 0; k < 2; k++)
      outs[k] = push_pull (h[k], packed_picture (50, 37, i));
    fail_unless (same_bytes (outs[0], outs[1]));
    gst_buffer_unref (outs[0]);
    gst_buffer_unref (outs[1]);
  }
  gst_harness_teardown (h[0]);
  gst_harness_teardown (h[1]);
}

GST_END_TEST;

/* Frames of changing sizes through @n_threads threads, a flush among them, and all that again after
 * the element was stopped; what came out, one after another. */
static GByteArray *
views_of_threads (guint n_threads, const gchar * peer, const gchar * strengths)
{
  g_autofree gchar *properties = g_strdup_printf ("n-threads=%u %s", n_threads, strengths);
  GstHarness *h = harness_new (properties);
  GByteArray *views = g_byte_array_new ();

  gst_harness_set_sink_caps_str (h, peer);
  for (guint run = 0; run < 2; run++) {
    for (guint i = 0; i < 12; i++) {
      GstBuffer *out;
      GstMapInfo map;

      if (i % 3 == 0)
        set_size (h, 50 + 31 * i, 37 + 9 * i);
      if (i == 7) {
        GstSegment segment;

        gst_segment_init (&segment, GST_FORMAT_TIME);
        fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
        fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
        fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
      }
      out = push_pull (h, sample (50 + 31 * (i - i % 3), 37 + 9 * (i - i % 3), i, run, i));
      fail_unless (gst_buffer_map (out, &map, GST_MAP_READ));
      g_byte_array_append (views, map.data, map.size);
      gst_buffer_unmap (out, &map);
      gst_buffer_unref (out);
    }
    fail_unless_equals_int (gst_element_set_state (h->element, GST_STATE_NULL),
        GST_STATE_CHANGE_SUCCESS);
    gst_harness_play (h);
  }
  gst_harness_teardown (h);
  return views;
}

GST_START_TEST (threads_change_no_byte)
{
  static const gchar *peers[] = { "other/tensors", "video/x-raw,format=RGB" };
  static const gchar *strengths[] = { "", "photometric=0.5 blur=0.5", "transform=rotation",
    "transform=both photometric=0.5 blur=0.5", "transform=crop photometric=0.5"
  };

  for (guint p = 0; p < G_N_ELEMENTS (peers); p++) {
    for (guint s = 0; s < G_N_ELEMENTS (strengths); s++) {
      GByteArray *alone = views_of_threads (1, peers[p], strengths[s]);

      for (guint n = 0; n <= 3; n++) {
        GByteArray *together = views_of_threads (n, peers[p], strengths[s]);

        fail_unless_equals_int (together->len, alone->len);
        fail_unless (memcmp (together->data, alone->data, alone->len) == 0,
            "with n-threads=%u other bytes came for \"%s\" and \"%s\"", n, peers[p], strengths[s]);
        g_byte_array_unref (together);
      }
      g_byte_array_unref (alone);
    }
  }
}

GST_END_TEST;

GST_START_TEST (qos_is_off_by_default)
{
  GstElement *element = gst_element_factory_make ("pirljigsaw", NULL);
  gboolean qos = TRUE;

  g_object_get (element, "qos", &qos, NULL);
  fail_if (qos);
  gst_object_unref (element);
}

GST_END_TEST;

static Suite *
pirljigsaw_suite (void)
{
  Suite *s = suite_create ("pirljigsaw");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  suite_add_tcase (s, tc);
  tcase_add_test (tc, tensors_go_to_any_peer);
  tcase_add_test (tc, tensors_win_over_video_whatever_the_peer_prefers);
  tcase_add_test (tc, frames_go_to_a_peer_that_names_the_feature);
  tcase_add_test (tc, a_peer_that_takes_anything_gets_no_frames);
  tcase_add_test (tc, default_geometry_is_the_reference_s);
  tcase_add_test (tc, video_peer_gets_the_mosaic);
  tcase_add_test (tc, unlinked_and_impossible_peers_do_not_crash);
  tcase_add_test (tc, sink_takes_any_size_and_asks_for_strides);
  tcase_add_test (tc, new_sizes_leave_the_source_caps_alone);
  tcase_add_test (tc, new_sizes_leave_the_caps_of_frames_alone);
  tcase_add_test (tc, new_framerate_and_reconfigure_renegotiate);
  tcase_add_test (tc, odd_strides_are_honoured);
  tcase_add_test (tc, grids_have_their_caps);
  tcase_add_test (tc, gaps_are_dropped_and_short_frames_are_errors);
  tcase_add_test (tc, bad_settings_say_both_numbers);
  tcase_add_test (tc, fails_then_works_when_settings_are_mended);
  tcase_add_test (tc, flush_goes_on_and_eos_passes);
  tcase_add_test (tc, slow_display_branch_costs_no_sample);
  tcase_add_test (tc, two_at_once_share_nothing);
  tcase_add_test (tc, threads_change_no_byte);
  tcase_add_test (tc, qos_is_off_by_default);
  return s;
}

int
main (int argc, char **argv)
{
  return run_jigsaw_tests (argc, argv, pirljigsaw_suite, __FILE__);
}
