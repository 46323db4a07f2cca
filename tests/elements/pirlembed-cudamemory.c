/* gst-pirl: tests of pirlembed with frames in a card's memory.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * There is no card: the network runs on the emulated one (tests/emulator), and GStreamer's CUDA
 * library finds a driver that is made up (fake-driver.c). Vectors must be, bit for bit, those of
 * the same frames in the host's memory on the same device. */
#include "embed-run.h"
#include "fake-driver.h"
#include "leaks.h"

#define GST_USE_UNSTABLE_API
#include <gst/cuda/gstcudacontext.h>
#include <gst/cuda/gstcudamemory.h>

#include <dlfcn.h>

#define SKIPPED 77
#define DEVICE "device=cuda "

static FakeDriverCounts (*driver_counts) (void);
static void *(*driver_primary) (int card);

/* ---- frames ------------------------------------------------------------------------------- */

/* What a picture is sent as. */
typedef struct {
  const gchar *format, *more;   /* caps; @more: ",colorimetry=..." */
  gint width, height;
} Shape;

static GstCaps *
caps_of (const Shape * shape, gboolean on_card)
{
  g_autofree gchar *text = g_strdup_printf ("video/x-raw%s,format=%s,width=%d,height=%d,"
      "framerate=25/1%s", on_card ? "(memory:CUDAMemory)" : "", shape->format, shape->width,
      shape->height, shape->more);
  GstCaps *caps = gst_caps_from_string (text);

  fail_unless (caps != NULL, "%s", text);
  return caps;
}

static void
info_of (const Shape * shape, GstVideoInfo * info)
{
  GstCaps *caps = caps_of (shape, FALSE);

  fail_unless (gst_video_info_from_caps (info, caps));
  gst_caps_unref (caps);
}

/* Bytes of all values, so that nothing is right by chance; the same for the same salt. */
static GstBuffer *
host_frame (const Shape * shape, guint salt)
{
  GstVideoInfo info;
  GstVideoFrame f;
  GstBuffer *buffer;

  info_of (shape, &info);
  buffer = gst_buffer_new_allocate (NULL, info.size, NULL);
  gst_buffer_memset (buffer, 0, 0, info.size);
  fail_unless (gst_video_frame_map (&f, &info, buffer, GST_MAP_WRITE));
  for (guint c = 0; c < GST_VIDEO_INFO_N_COMPONENTS (&info); c++)
    for (gint y = 0; y < GST_VIDEO_FRAME_COMP_HEIGHT (&f, c); y++)
      for (gint x = 0; x < GST_VIDEO_FRAME_COMP_WIDTH (&f, c); x++)
        ((guint8 *) GST_VIDEO_FRAME_COMP_DATA (&f, c))[y * GST_VIDEO_FRAME_COMP_STRIDE (&f, c)
            + x * GST_VIDEO_FRAME_COMP_PSTRIDE (&f, c)] =
            CLAMP (128 + 90 * sin (.11 * x + .07 * y * (c + 1) + salt)
            + 60 * sin (1.3 * x * (c + 1) - .9 * y), 0, 255);
  gst_video_frame_unmap (&f);
  GST_BUFFER_PTS (buffer) = salt * FRAME;
  return buffer;
}

/* The same picture in @context. */
static GstBuffer *
card_frame (GstCudaContext * context, const Shape * shape, guint salt)
{
  GstAllocator *allocator;
  GstBuffer *host = host_frame (shape, salt), *buffer = gst_buffer_new ();
  GstVideoFrame src, dst;
  GstVideoInfo info, *own;
  GstMapInfo map;
  GstMemory *memory;

  info_of (shape, &info);
  gst_cuda_memory_init_once ();
  allocator = gst_allocator_find (GST_CUDA_MEMORY_TYPE_NAME);
#if GST_CHECK_VERSION (1, 24, 0)
  memory = gst_cuda_allocator_alloc (GST_CUDA_ALLOCATOR (allocator), context, NULL, &info);
#else
  memory = gst_cuda_allocator_alloc (GST_CUDA_ALLOCATOR (allocator), context, &info);
#endif
  fail_unless (memory != NULL);
  own = &GST_CUDA_MEMORY_CAST (memory)->info;
  gst_buffer_append_memory (buffer, memory);
  gst_buffer_add_video_meta_full (buffer, GST_VIDEO_FRAME_FLAG_NONE,
      GST_VIDEO_INFO_FORMAT (&info), info.width, info.height, GST_VIDEO_INFO_N_PLANES (&info),
      own->offset, own->stride);
  fail_unless (gst_video_frame_map (&src, &info, host, GST_MAP_READ));
  fail_unless (gst_video_frame_map (&dst, &info, buffer, GST_MAP_WRITE));
  fail_unless (gst_video_frame_copy (&dst, &src));
  gst_video_frame_unmap (&dst);
  gst_video_frame_unmap (&src);
  /* As if it had been written on the card: who wants it on the host must bring it there. */
  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READWRITE | GST_MAP_CUDA));
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = GST_BUFFER_PTS (host);
  gst_buffer_unref (host);
  gst_object_unref (allocator);
  return buffer;
}

/* What the element behind @pad gives as the CUDA context; NULL when it gives none. */
static GstCudaContext *
context_behind (GstPad * pad)
{
  GstQuery *query = gst_query_new_context (GST_CUDA_CONTEXT_TYPE);
  GstCudaContext *context = NULL;
  GstContext *answer;

  if (gst_pad_peer_query (pad, query)) {
    gst_query_parse_context (query, &answer);
    gst_structure_get (gst_context_get_structure (answer), GST_CUDA_CONTEXT_TYPE,
        GST_TYPE_CUDA_CONTEXT, &context, NULL);
  }
  gst_query_unref (query);
  return context;
}

static GstHarness *
harness_for (const gchar * properties, const Shape * shape, gboolean on_card)
{
  g_autofree gchar *more = g_strconcat (DEVICE, properties, NULL);
  GstHarness *h = harness_new (model_a, more);

  gst_harness_set_src_caps (h, caps_of (shape, on_card));
  return h;
}

/* What the network says of the picture in the host's memory. */
static void
want (const Shape * shape, guint salt, gfloat * vector)
{
  GstHarness *h = harness_for ("interval=1", shape, FALSE);
  GstBuffer *out;

  fail_unless_equals_int (gst_harness_push (h, host_frame (shape, salt)), GST_FLOW_OK);
  out = gst_harness_pull (h);
  memcpy (vector, vector_of (out, DIM), DIM * sizeof (gfloat));
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

static void
assert_embedded (GstBuffer * out, const Shape * shape, guint salt)
{
  gfloat expected[DIM];

  want (shape, salt, expected);
  fail_unless (memcmp (vector_of (out, DIM), expected, sizeof expected) == 0,
      "%s of %d x %d%s: the vector is not that of the host's frame %u", shape->format,
      shape->width, shape->height, shape->more, salt);
}

static const Shape plain = { "NV12", "", 64, 48 };

/* ---- tests -------------------------------------------------------------------------------- */

/* Every format, subsampling, colorimetry and siting; no copy to the host; the frame goes on as it
 * is. */
GST_START_TEST (frames_of_the_card_are_embedded_there)
{
  static const Shape shapes[] = {
    {"NV12", "", 64, 48}, {"NV12", ",colorimetry=bt709", 65, 49},
    {"NV12", ",colorimetry=1:4:0:0", 40, 90}, {"NV12", "", 48, 720}, {"NV21", "", 64, 48},
    {"I420", "", 75, 52}, {"I420", ",colorimetry=bt2020", 30, 20}, {"YV12", "", 64, 48},
    {"Y42B", "", 65, 48}, {"Y444", "", 64, 48}, {"RGBA", "", 64, 48}, {"BGRA", "", 50, 70},
    {"RGBx", "", 64, 48}, {"BGRx", "", 64, 48}, {"ARGB", "", 64, 48}, {"ABGR", "", 64, 48},
    {"RGB", "", 63, 48}, {"BGR", "", 64, 48},
  };

  for (guint i = 0; i < G_N_ELEMENTS (shapes); i++) {
    GstHarness *h = harness_for ("interval=1", &shapes[i], TRUE);
    GstCudaContext *context = context_behind (h->srcpad);
    GstBuffer *in = card_frame (context, &shapes[i], i), *out;
    GstMemory *memory = gst_buffer_peek_memory (in, 0);
    GstCaps *caps;
    guint before = driver_counts ().downloads;

    fail_unless_equals_int (gst_harness_push (h, in), GST_FLOW_OK);
    out = gst_harness_pull (h);
    assert_embedded (out, &shapes[i], i);
    fail_unless (age_of (out) == 0);
    fail_unless (gst_buffer_peek_memory (out, 0) == memory, "the frame was copied");
    fail_unless_equals_int (driver_counts ().downloads, before);
    caps = gst_pad_get_current_caps (h->sinkpad);
    fail_unless (gst_caps_features_contains (gst_caps_get_features (caps, 0),
            GST_CAPS_FEATURE_MEMORY_CUDA_MEMORY));
    gst_caps_unref (caps);
    gst_buffer_unref (out);
    gst_object_unref (context);
    gst_harness_teardown (h);
  }
  fail_unless_equals_int (driver_counts ().areas, 0);
}

GST_END_TEST;

static guint
warnings_on (GstBus * bus, const gchar * expected)
{
  GstMessage *message;
  guint n = 0;

  while ((message = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING)) != NULL) {
    g_autoptr (GError) error = NULL;

    gst_message_parse_warning (message, &error, NULL);
    fail_unless (strstr (error->message, expected) != NULL, "%s", error->message);
    gst_message_unref (message);
    n++;
  }
  return n;
}

/* Frames of another context between ours, in one batch: each gets its own vector, and one message
 * says that they are copied. */
GST_START_TEST (frames_of_another_context_are_copied)
{
  GstHarness *h = harness_for ("interval=1 batch-size=6 batch-timeout=0", &plain, TRUE);
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstCudaContext *ours = context_behind (h->srcpad), *other = gst_cuda_context_new (0);
  GstBus *bus = gst_bus_new ();
  GstBuffer *in[6];
  guint before;

  gst_element_set_bus (embed, bus);
  for (guint i = 0; i < 6; i++)
    in[i] = card_frame (i == 1 || i == 4 || i == 5 ? other : ours, &plain, i);
  before = driver_counts ().downloads;
  for (guint i = 0; i < 6; i++)
    fail_unless_equals_int (gst_harness_push (h, in[i]), GST_FLOW_OK);
  for (guint i = 0; i < 6; i++) {
    GstBuffer *out = gst_harness_pull (h);

    assert_embedded (out, &plain, i);
    gst_buffer_unref (out);
  }
  fail_unless_equals_int (driver_counts ().downloads - before, 3);
  fail_unless_equals_int (warnings_on (bus, "another CUDA context"), 1);
  gst_element_set_bus (embed, NULL);
  gst_object_unref (bus);
  gst_object_unref (embed);
  gst_harness_teardown (h);
  gst_object_unref (ours);
  gst_object_unref (other);
  fail_unless_equals_int (driver_counts ().areas, 0);
}

GST_END_TEST;

/* What the card's kernel does not know is computed on the host, and right. */
GST_START_TEST (interlaced_frames_are_copied)
{
  static const Shape shape = { "NV12", ",interlace-mode=interleaved", 64, 48 };
  GstHarness *h = harness_for ("interval=1", &shape, TRUE);
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstCudaContext *context = context_behind (h->srcpad);
  GstBus *bus = gst_bus_new ();

  gst_element_set_bus (embed, bus);
  for (guint i = 0; i < 2; i++) {
    GstBuffer *out;

    fail_unless_equals_int (gst_harness_push (h, card_frame (context, &shape, i)), GST_FLOW_OK);
    out = gst_harness_pull (h);
    assert_embedded (out, &shape, i);
    gst_buffer_unref (out);
  }
  fail_unless_equals_int (warnings_on (bus, "interlaced"), 1);
  gst_element_set_bus (embed, NULL);
  gst_object_unref (bus);
  gst_object_unref (embed);
  gst_object_unref (context);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (frames_of_the_card_become_tensors)
{
  GstHarness *h = harness_new (model_a, DEVICE "interval=1 ! capsfilter caps=other/tensors");
  GstCudaContext *context;
  GstMapInfo map;
  GstBuffer *out;
  gfloat expected[DIM];

  gst_harness_set_src_caps (h, caps_of (&plain, TRUE));
  context = context_behind (h->srcpad);
  fail_unless_equals_int (gst_harness_push (h, card_frame (context, &plain, 3)), GST_FLOW_OK);
  out = gst_harness_pull (h);
  want (&plain, 3, expected);
  fail_unless (gst_buffer_map (out, &map, GST_MAP_READ));
  fail_unless_equals_int (map.size, sizeof expected);
  fail_unless (memcmp (map.data, expected, sizeof expected) == 0);
  gst_buffer_unmap (out, &map);
  gst_buffer_unref (out);
  gst_object_unref (context);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* While the network may still read a frame that has gone on, who is downstream may write to it. */
GST_START_TEST (frames_that_are_being_read_may_be_written)
{
  GstHarness *h = harness_for ("interval=0", &plain, TRUE);
  GstCudaContext *context = context_behind (h->srcpad);

  for (guint i = 0; i < 20; i++) {
    GstBuffer *out;
    GstMapInfo map;

    fail_unless_equals_int (gst_harness_push (h, card_frame (context, &plain, i)), GST_FLOW_OK);
    out = gst_harness_pull (h);
    fail_unless (gst_buffer_is_writable (out));
    fail_unless (gst_buffer_map (out, &map, GST_MAP_WRITE | GST_MAP_CUDA));
    memset (map.data, i, map.size);
    gst_buffer_unmap (out, &map);
    gst_buffer_unref (out);
  }
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  gst_object_unref (context);
  gst_harness_teardown (h);
  fail_unless_equals_int (driver_counts ().areas, 0);
}

GST_END_TEST;

/* Frames that wait for their batch are let go by a flush and by a stop. */
GST_START_TEST (flushed_frames_are_let_go)
{
  GstHarness *h = harness_for ("interval=1 batch-size=8 batch-timeout=0", &plain, TRUE);
  GstCudaContext *context = context_behind (h->srcpad);
  GstSegment segment;

  for (guint i = 0; i < 3; i++)
    fail_unless_equals_int (gst_harness_push (h, card_frame (context, &plain, i)), GST_FLOW_OK);
  fail_unless_equals_int (driver_counts ().areas, 3);
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
  fail_unless_equals_int (driver_counts ().areas, 0);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
  for (guint i = 0; i < 3; i++)
    fail_unless_equals_int (gst_harness_push (h, card_frame (context, &plain, i)), GST_FLOW_OK);
  gst_object_unref (context);
  gst_harness_teardown (h);
  fail_unless_equals_int (driver_counts ().areas, 0);
}

GST_END_TEST;

/* Before the element is started, by its property, and to nobody who asks for something else. */
GST_START_TEST (the_networks_context_is_given)
{
  static const struct {
    const gchar *device;
    gint card;                  /* -1 = none */
  } cases[] = { {"cuda", 0}, {"cuda:1", 1}, {"auto", 0}, {"cpu", -1}, {"cuda:7", -1} };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstElement *embed = gst_element_factory_make ("pirlembed", NULL);
    GstPad *pad = gst_element_get_static_pad (embed, i % 2 ? "src" : "sink");
    GstPad *peer = gst_pad_new ("peer", i % 2 ? GST_PAD_SINK : GST_PAD_SRC);
    GstQuery *query = gst_query_new_context ("gst.gl.GLDisplay");
    GstCudaContext *context;

    g_object_set (embed, "device", cases[i].device, NULL);
    fail_unless_equals_int (i % 2 ? gst_pad_link (pad, peer) : gst_pad_link (peer, pad),
        GST_PAD_LINK_OK);
    context = context_behind (peer);
    fail_unless ((context != NULL) == (cases[i].card >= 0), "device=%s", cases[i].device);
    if (context != NULL)
      fail_unless (gst_cuda_context_get_handle (context) == driver_primary (cases[i].card));
    g_clear_object (&context);
    fail_if (gst_pad_peer_query (peer, query));
    gst_query_unref (query);
    gst_object_unref (peer);
    gst_object_unref (pad);
    gst_object_unref (embed);
  }
}

GST_END_TEST;

/* Those that are not linked yet hear of it from the bins around. */
GST_START_TEST (the_networks_context_is_announced)
{
  g_autofree gchar *line = g_strdup_printf ("pirlembed model-file=%s n-threads=1 precision=f32 "
      DEVICE "! fakesink", model_a);
  GstElement *pipeline = gst_parse_launch (line, NULL);
  GstBus *bus = gst_element_get_bus (pipeline);
  GstCudaContext *context = NULL;
  GstMessage *message;
  GstContext *told;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_HAVE_CONTEXT);
  fail_unless (message != NULL);
  gst_message_parse_have_context (message, &told);
  fail_unless (gst_context_has_context_type (told, GST_CUDA_CONTEXT_TYPE));
  gst_structure_get (gst_context_get_structure (told), GST_CUDA_CONTEXT_TYPE,
      GST_TYPE_CUDA_CONTEXT, &context, NULL);
  fail_unless (gst_cuda_context_get_handle (context) == driver_primary (0));
  gst_object_unref (context);
  gst_context_unref (told);
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
}

GST_END_TEST;

static gboolean
takes_card_frames (GstHarness * h)
{
  GstCaps *card = caps_of (&plain, TRUE), *all = gst_pad_peer_query_caps (h->srcpad, NULL);
  gboolean takes = gst_caps_can_intersect (card, all);
  gboolean first = gst_caps_features_contains (gst_caps_get_features (all, 0),
      GST_CAPS_FEATURE_MEMORY_CUDA_MEMORY);

  fail_unless (takes == first, "the card's memory does not come first");
  gst_caps_unref (all);
  gst_caps_unref (card);
  return takes;
}

GST_START_TEST (only_a_network_on_the_card_takes_its_frames)
{
  GstHarness *h = harness_new (model_a, "device=cpu");

  gst_harness_play (h);
  fail_if (takes_card_frames (h));
  gst_harness_teardown (h);
  h = harness_new (model_a, "device=cuda");
  gst_harness_play (h);
  fail_unless (takes_card_frames (h));
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- the suite ---------------------------------------------------------------------------- */

static Suite *
cudamemory_suite (void)
{
  Suite *s = suite_create ("pirlembed-cudamemory");
  TCase *tc = tcase_create ("frames");

  suite_add_tcase (s, tc);
  tcase_set_timeout (tc, 240);
  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_add_test (tc, frames_of_the_card_are_embedded_there);
  tcase_add_test (tc, frames_of_another_context_are_copied);
  tcase_add_test (tc, interlaced_frames_are_copied);
  tcase_add_test (tc, frames_of_the_card_become_tensors);
  tcase_add_test (tc, frames_that_are_being_read_may_be_written);
  tcase_add_test (tc, flushed_frames_are_let_go);
  tcase_add_test (tc, the_networks_context_is_given);
  tcase_add_test (tc, the_networks_context_is_announced);
  tcase_add_test (tc, only_a_network_on_the_card_takes_its_frames);
  return s;
}

/* Under the driver's own name, so that it is the one that GStreamer finds. */
static void
open_driver (void)
{
  const gchar *path = g_getenv ("PIRL_FAKE_DRIVER");
  gpointer driver = path ? dlopen (path, RTLD_NOW | RTLD_GLOBAL) : NULL;

  if (driver == NULL) {
    g_printerr ("PIRL_FAKE_DRIVER names no module: %s\n", path ? dlerror () : "it is not set");
    exit (1);
  }
  driver_counts = (FakeDriverCounts (*) (void)) dlsym (driver, "fake_driver_counts");
  driver_primary = (void *(*) (int)) dlsym (driver, "fake_driver_primary");
}

int
main (int argc, char **argv)
{
  int failed;

  open_driver ();
  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  if (pirl_backend_cuda (NULL) == NULL) {
    g_print ("skipped: %s\n", pirl_cuda_reason ());
    return SKIPPED;
  }
  make_models ();
  failed = gst_check_run_suite (cudamemory_suite (), "pirlembed-cudamemory", __FILE__);
  remove_models ();
  return failed;
}
