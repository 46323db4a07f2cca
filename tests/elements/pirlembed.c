/* gst-pirl: tests of pirlembed.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The networks are tiny ones, made here from a seed. What a network computes is tested with the
 * kernels and by pirlembed-parity; here the element must deliver the kernels' vectors, on the right
 * frames, whatever happens. */
#include "embed-run.h"

/* ---- helpers ------------------------------------------------------------------------------ */

static GstBuffer *
push_pull (GstHarness * h, GstBuffer * in)
{
  fail_unless_equals_int (gst_harness_push (h, in), GST_FLOW_OK);
  return gst_harness_pull (h);
}

static void
assert_embeds (GstBuffer * buffer, const gchar * model, gint width, gint height, guint salt,
    guint size)
{
  g_autofree gfloat *want = g_new (gfloat, size);

  embed_directly (model, NULL, width, height, salt, size, want);
  fail_unless (memcmp (vector_of (buffer, size), want, size * sizeof (gfloat)) == 0,
      "the embedding is not that of picture %u", salt);
}

static GstMessage *
pop (GstBus * bus, GstMessageType type)
{
  return gst_bus_timed_pop_filtered (bus, 20 * GST_SECOND, type);
}

/* Runs an element alone up to PAUSED, which must fail; returns its error's text. */
static gchar *
error_of_start (const gchar * line)
{
  GstElement *element = gst_parse_launch (line, NULL);
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GError *error = NULL;
  gchar *text;

  gst_element_set_bus (element, bus);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_READY),
      GST_STATE_CHANGE_SUCCESS);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED),
      GST_STATE_CHANGE_FAILURE);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  fail_unless (message != NULL, "no error message: %s", line);
  gst_message_parse_error (message, &error, NULL);
  text = g_strdup (error->message);
  g_clear_error (&error);
  gst_message_unref (message);
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR) == NULL, "more than one error");
  gst_element_set_bus (element, NULL);
  gst_element_set_state (element, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (element);
  return text;
}

/* ---- device ------------------------------------------------------------------------------- */

/* Counts the lines that say why there is no GPU. */
static void
count_reasons (GstDebugCategory * category, GstDebugLevel level, const gchar * file,
    const gchar * function, gint line, GObject * object, GstDebugMessage * message, gpointer data)
{
  if (level == GST_LEVEL_INFO && strcmp (gst_debug_message_get (message),
          "device=auto is the CPU: switched off by PIRL_CUDA_MODULE=off") == 0)
    ++*(guint *) data;
}

GST_START_TEST (the_log_says_why_there_is_no_gpu)
{
  static const gchar *const devices[] = { "auto", "cpu" };

  if (pirl_cuda_reason () == NULL || strstr (pirl_cuda_reason (), "switched off") == NULL)
    return;
  for (guint i = 0; i < G_N_ELEMENTS (devices); i++) {
    g_autofree gchar *property = g_strdup_printf ("device=%s", devices[i]);
    GstHarness *h;
    guint lines = 0;

    gst_debug_set_threshold_for_name ("pirlembed", GST_LEVEL_INFO);
    gst_debug_add_log_function (count_reasons, &lines, NULL);
    h = harness_new (model_a, property);
    set_format (h, "RGB", 50, 37);
    gst_harness_teardown (h);
    gst_debug_remove_log_function_by_data (&lines);
    gst_debug_unset_threshold_for_name ("pirlembed");
    fail_unless_equals_int (lines, i == 0);
  }
}

GST_END_TEST;

/* ---- vectors ------------------------------------------------------------------------------ */

GST_START_TEST (every_frame_gets_the_kernels_vector)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GError *error = NULL;
  g_autoptr (PirlEmbedder) e = pirl_embedder_new (model_a, NULL, "auto", "f32", 1, 1, &error);

  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < 4; i++) {
    GstBuffer *in = frame (50, 37, i, i), *out;
    const GstStructure *s;

    out = push_pull (h, in);
    fail_unless (out == in, "a writable frame was copied");
    assert_embeds (out, model_a, 50, 37, i, DIM);
    s = embedding_of (out);
    fail_unless_equals_string (gst_structure_get_string (s, "layer"), "embedding");
    fail_unless_equals_string (gst_structure_get_string (s, "model"), pirl_embedder_model (e));
    fail_unless_equals_uint64 (age_of (out), 0);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (out), i * FRAME);
    gst_buffer_unref (out);
  }
  fail_unless_equals_uint64 (statistic (h, "frames"), 4);
  fail_unless_equals_uint64 (statistic (h, "embedded"), 4);
  fail_unless_equals_uint64 (statistic (h, "skipped"), 0);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (layers_have_their_sizes)
{
  static const struct {
    const gchar *layer;
    guint size;
  } layers[] = { {"embedding", DIM}, {"res5", 64}, {"res4", 32}, {"res3", 16}, {"res2", 8},
  {"res1", 8} };

  for (guint i = 0; i < G_N_ELEMENTS (layers); i++) {
    g_autofree gchar *property = g_strdup_printf ("interval=1 layer=%s", layers[i].layer);
    GstHarness *h = harness_new (model_a, property);
    g_autofree gfloat *want = g_new (gfloat, layers[i].size);
    GstBuffer *out;

    set_format (h, "RGB", 50, 37);
    out = push_pull (h, frame (50, 37, 3, 0));
    embed_directly (model_a, layers[i].layer, 50, 37, 3, layers[i].size, want);
    fail_unless (memcmp (vector_of (out, layers[i].size), want, layers[i].size * 4) == 0);
    fail_unless_equals_string (gst_structure_get_string (embedding_of (out), "layer"),
        layers[i].layer);
    gst_buffer_unref (out);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

/* The vector of a frame that videoconvert packed otherwise on the way. */
static void
embed_as (const gchar * format, gfloat out[8])
{
  g_autofree gchar *line = g_strdup_printf ("videoconvert dither=none ! video/x-raw,format=%s ! "
      "pirlembed model-file=%s interval=1 n-threads=1 precision=f32 layer=res1", format, model_a);
  GstHarness *h = gst_harness_new_parse (line);
  GstBuffer *buffer;

  set_format (h, "RGB", 64, 48);
  buffer = push_pull (h, frame (64, 48, 1, 0));
  memcpy (out, vector_of (buffer, 8), 8 * sizeof (gfloat));
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}

GST_START_TEST (rgb_formats_are_all_one)
{
  static const gchar *formats[] = { "BGR", "RGBx", "BGRx", "xRGB", "xBGR", "RGBA", "BGRA", "ARGB",
    "ABGR", "GBR", "ARGB64"
  };
  gfloat rgb[8], other[8];

  embed_as ("RGB", rgb);
  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    embed_as (formats[i], other);
    fail_unless (memcmp (rgb, other, sizeof (rgb)) == 0, "%s differs from RGB", formats[i]);
  }
}

GST_END_TEST;

typedef struct {
  const gchar *colorimetry;
  gdouble kr, kb;               /* ITU-R BT.601, BT.709, BT.2020 */
  gboolean full;
} Colour;

/* One sample of component @c of the RGB picture, by the definition of Y'CbCr; chroma is the mean
 * over the pixels that share it. */
static guint8
component (const Colour * colour, gint c, const guint8 * rgb, gint x, gint y, gint w, gint h)
{
  gdouble sum = 0;

  for (gint j = y; j < y + h; j++) {
    for (gint i = x; i < x + w; i++) {
      const guint8 *p = rgb + 3 * (j * 64 + i);
      gdouble luma = colour->kr * p[0] + (1 - colour->kr - colour->kb) * p[1] + colour->kb * p[2];

      sum += c == 0 ? luma : c == 1 ? (p[2] - luma) / (2 - 2 * colour->kb)
          : (p[0] - luma) / (2 - 2 * colour->kr);
    }
  }
  sum /= w * h;
  if (!colour->full)
    sum *= (c == 0 ? 219 : 224) / 255.0;
  return floor (sum + (c > 0 ? 128 : colour->full ? 0 : 16) + 0.5);
}

/* The picture of @salt 1, 64x48, in a Y'CbCr format of 8 bits. */
static GstBuffer *
yuv_frame (GstVideoFormat format, const Colour * colour)
{
  g_autofree guint8 *rgb = g_malloc (64 * 48 * 3);
  GstVideoInfo info;
  GstVideoFrame f;
  GstBuffer *buffer;

  paint (rgb, 64, 48, 64 * 3, 1);
  gst_video_info_set_format (&info, format, 64, 48);
  buffer = gst_buffer_new_allocate (NULL, info.size, NULL);
  fail_unless (gst_video_frame_map (&f, &info, buffer, GST_MAP_WRITE));
  for (gint c = 0; c < 3; c++) {
    gint w = 1 << GST_VIDEO_FORMAT_INFO_W_SUB (info.finfo, c);
    gint h = 1 << GST_VIDEO_FORMAT_INFO_H_SUB (info.finfo, c);

    for (gint y = 0; y < GST_VIDEO_FRAME_COMP_HEIGHT (&f, c); y++)
      for (gint x = 0; x < GST_VIDEO_FRAME_COMP_WIDTH (&f, c); x++)
        ((guint8 *) GST_VIDEO_FRAME_COMP_DATA (&f, c))[y * GST_VIDEO_FRAME_COMP_STRIDE (&f, c)
            + x * GST_VIDEO_FRAME_COMP_PSTRIDE (&f, c)] =
            component (colour, c, rgb, x * w, y * h, w, h);
  }
  gst_video_frame_unmap (&f);
  return buffer;
}

GST_START_TEST (yuv_formats_agree_with_rgb)
{
  static const Colour colours[] = {
    {"bt601", 0.299, 0.114, FALSE}, {"bt709", 0.2126, 0.0722, FALSE},
    {"bt2020", 0.2627, 0.0593, FALSE}, {"1:4:0:0", 0.299, 0.114, TRUE},
  };
  static const GstVideoFormat formats[] = { GST_VIDEO_FORMAT_I420, GST_VIDEO_FORMAT_YV12,
    GST_VIDEO_FORMAT_NV12, GST_VIDEO_FORMAT_NV21, GST_VIDEO_FORMAT_YUY2, GST_VIDEO_FORMAT_UYVY,
    GST_VIDEO_FORMAT_Y42B, GST_VIDEO_FORMAT_Y444, GST_VIDEO_FORMAT_AYUV
  };
  gdouble worst = 1;
  gfloat rgb[8];

  embed_as ("RGB", rgb);
  for (guint k = 0; k < G_N_ELEMENTS (colours); k++) {
    GstHarness *h = harness_new (model_a, "interval=1 layer=res1");

    for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
      const gchar *name = gst_video_format_to_string (formats[i]);
      g_autofree gchar *caps = g_strdup_printf ("video/x-raw,format=%s,width=64,height=48,"
          "framerate=25/1,colorimetry=%s,chroma-site=jpeg", name, colours[k].colorimetry);
      GstBuffer *out;
      gdouble c;

      gst_harness_set_src_caps_str (h, caps);
      out = push_pull (h, yuv_frame (formats[i], &colours[k]));
      c = cosine (rgb, vector_of (out, 8), 8);
      worst = MIN (worst, c);
      fail_unless (c >= 0.999, "%s %s: cosine %f with RGB", name, colours[k].colorimetry, c);
      gst_buffer_unref (out);
    }
    gst_harness_teardown (h);
  }
  g_print ("least cosine of a Y'CbCr format with RGB: %f\n", worst);
}

GST_END_TEST;

/* The first layer's features do see colour and range: else the test above says nothing. */
GST_START_TEST (wrong_colours_would_be_seen)
{
  GstHarness *h = harness_new (model_a, "interval=1 layer=res1");
  gfloat rgb[8];
  GstBuffer *swapped;
  gdouble c;

  embed_as ("RGB", rgb);
  set_format (h, "BGR", 64, 48);
  swapped = push_pull (h, frame (64, 48, 1, 0));        /* RGB bytes called BGR */
  c = cosine (rgb, vector_of (swapped, 8), 8);
  g_print ("cosine with red and blue swapped: %f\n", c);
  fail_unless (c < 0.999);
  gst_buffer_unref (swapped);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (grey_equals_rgb_of_the_same_grey)
{
  GstHarness *g = harness_new (model_a, "interval=1"), *h = harness_new (model_a, "interval=1");
  GstBuffer *grey = gst_buffer_new_allocate (NULL, 64 * 48, NULL);
  GstBuffer *rgb = gst_buffer_new_allocate (NULL, 64 * 48 * 3, NULL);
  GstMapInfo a, b;

  gst_buffer_map (grey, &a, GST_MAP_WRITE);
  gst_buffer_map (rgb, &b, GST_MAP_WRITE);
  for (gint i = 0; i < 64 * 48; i++) {
    a.data[i] = CLAMP (128 + 110 * sin (i % 64 / 9.0) * cos (i / 64 / 7.0), 0, 255);
    memset (b.data + 3 * i, a.data[i], 3);
  }
  gst_buffer_unmap (grey, &a);
  gst_buffer_unmap (rgb, &b);
  set_format (g, "GRAY8", 64, 48);
  set_format (h, "RGB", 64, 48);
  grey = push_pull (g, grey);
  rgb = push_pull (h, rgb);
  fail_unless (cosine (vector_of (grey, DIM), vector_of (rgb, DIM), DIM) >= 0.999999);
  gst_buffer_unref (grey);
  gst_buffer_unref (rgb);
  gst_harness_teardown (g);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (sizes_and_strides_may_change_with_every_frame)
{
  static const struct {
    gint width, height;
  } sizes[] = { {50, 37}, {640, 480}, {33, 35}, {3, 200}, {50, 37}, {1, 1} };
  GstHarness *h = harness_new (model_a, "interval=1");
  gsize offset[GST_VIDEO_MAX_PLANES] = { 0 };
  gint stride[GST_VIDEO_MAX_PLANES] = { 50 * 3 + 43 };
  GstBuffer *buffer;
  GstMapInfo map;

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    set_format (h, "RGB", sizes[i].width, sizes[i].height);
    buffer = push_pull (h, frame (sizes[i].width, sizes[i].height, i, i));
    assert_embeds (buffer, model_a, sizes[i].width, sizes[i].height, i, DIM);
    gst_buffer_unref (buffer);
  }
  set_format (h, "RGB", 50, 37);
  buffer = gst_buffer_new_allocate (NULL, stride[0] * 37, NULL);
  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  memset (map.data, 0xEE, map.size);
  paint (map.data, 50, 37, stride[0], 9);
  gst_buffer_unmap (buffer, &map);
  gst_buffer_add_video_meta_full (buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_RGB, 50, 37,
      1, offset, stride);
  buffer = push_pull (h, buffer);
  assert_embeds (buffer, model_a, 50, 37, 9, DIM);
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (a_shared_frame_is_left_alone)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstBuffer *in = frame (50, 37, 0, 0), *out;

  set_format (h, "RGB", 50, 37);
  out = push_pull (h, gst_buffer_ref (in));
  fail_unless (out != in);
  fail_unless (embedding_of (in) == NULL);
  fail_unless (gst_buffer_peek_memory (out, 0) == gst_buffer_peek_memory (in, 0),
      "pixels were copied");
  assert_embeds (out, model_a, 50, 37, 0, DIM);
  gst_buffer_unref (out);
  gst_buffer_unref (in);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- tensors ------------------------------------------------------------------------------ */

GST_START_TEST (tensors_for_a_peer_that_takes_no_video)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstBuffer *in, *out;
  g_autofree gfloat *want = g_new (gfloat, DIM);
  const GstPirlSample sample = {.index = 7,.label = 1,.split = "test",.name = "x.png" };
  GstPirlSample got;
  GstCaps *caps, *expected = gst_caps_from_string ("other/tensors,format=static,num_tensors=1,"
      "types=float32,dimensions=\"16:1:1:1\",framerate=25/1");

  gst_harness_set_sink_caps_str (h, "other/tensors");
  set_format (h, "I420", 50, 37);
  in = gst_buffer_new_allocate (NULL, 52 * 38 + 2 * 28 * 19, NULL);
  gst_buffer_memset (in, 0, 100, -1);
  gst_buffer_unref (push_pull (h, in));
  caps = gst_pad_get_current_caps (h->sinkpad);
  fail_unless (gst_caps_is_equal (caps, expected), "caps %" GST_PTR_FORMAT, caps);
  gst_caps_unref (caps);
  gst_caps_unref (expected);

  set_format (h, "RGB", 50, 37);
  in = frame (50, 37, 3, 5);
  gst_pirl_sample_add (in, &sample);
  out = push_pull (h, in);
  embed_directly (model_a, NULL, 50, 37, 3, DIM, want);
  fail_unless_equals_int (gst_buffer_get_size (out), DIM * sizeof (gfloat));
  fail_unless (gst_buffer_memcmp (out, 0, want, DIM * sizeof (gfloat)) == 0);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (out), 5 * FRAME);
  fail_unless (gst_pirl_sample_get (out, &got) && got.index == 7);
  assert_embeds (out, model_a, 50, 37, 3, DIM);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* One tensor a layer, in a memory of its own; and one behind the other in the meta. */
GST_START_TEST (several_layers_are_several_tensors)
{
  static const gchar *const layers[] = { "res4-9k", "embedding", "res5" };
  GstHarness *h = harness_new (model_a, "interval=1 layer=res4-9k,embedding,res5");
  gsize offset = 0, size;
  GstPirlEmbedding got;
  GstPirlFeatures features[GST_PIRL_MAX_TENSORS];
  GstBuffer *out;
  GstCaps *caps;
  guint n;

  gst_harness_set_sink_caps_str (h, "other/tensors");
  set_format (h, "RGB", 50, 37);
  out = push_pull (h, frame (50, 37, 3, 0));
  caps = gst_pad_get_current_caps (h->sinkpad);
  n = gst_pirl_features_caps_parse (caps, features, NULL);
  fail_unless_equals_int (n, G_N_ELEMENTS (layers));
  fail_unless_equals_int (gst_buffer_n_memory (out), n);
  fail_unless (features[0].positions > 1 && features[1].positions == 1
      && features[1].channels == DIM);
  for (guint i = 0; i < n; i++) {
    g_autofree gfloat *want = NULL;

    size = features[i].channels * features[i].positions;
    want = g_new (gfloat, size);
    embed_directly (model_a, layers[i], 50, 37, 3, size, want);
    size *= sizeof (gfloat);
    fail_unless_equals_int (gst_memory_get_sizes (gst_buffer_peek_memory (out, i), NULL, NULL),
        size);
    fail_unless (gst_buffer_memcmp (out, offset, want, size) == 0, "layer %s", layers[i]);
    offset += size;
  }
  fail_unless (gst_pirl_embedding_get (out, &got));
  fail_unless_equals_string (got.layer, "res4-9k,embedding,res5");
  fail_unless_equals_string (got.dimensions,
      gst_structure_get_string (gst_caps_get_structure (caps, 0), "dimensions"));
  fail_unless_equals_int (g_bytes_get_size (got.data), offset);
  gst_caps_unref (caps);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (video_for_a_peer_that_takes_both)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstBuffer *out;

  gst_harness_set_sink_caps_str (h, "other/tensors; video/x-raw");
  set_format (h, "RGB", 50, 37);
  out = push_pull (h, frame (50, 37, 3, 0));
  fail_unless_equals_int (gst_buffer_get_size (out), 152 * 37);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- how often ---------------------------------------------------------------------------- */

GST_START_TEST (every_third_frame)
{
  GstHarness *h = harness_new (model_a, "interval=3");

  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < 8; i++) {
    GstBuffer *out = push_pull (h, frame (50, 37, i, i));

    assert_embeds (out, model_a, 50, 37, i - i % 3, DIM);
    fail_unless_equals_uint64 (age_of (out), i % 3 * FRAME);
    gst_buffer_unref (out);
  }
  fail_unless_equals_uint64 (statistic (h, "frames"), 8);
  fail_unless_equals_uint64 (statistic (h, "embedded"), 3);
  fail_unless_equals_uint64 (statistic (h, "skipped"), 5);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (age_is_unknown_without_timestamps)
{
  GstHarness *h = harness_new (model_a, "interval=2");

  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < 2; i++) {
    GstBuffer *in = frame (50, 37, i, 0), *out;

    GST_BUFFER_PTS (in) = GST_CLOCK_TIME_NONE;
    out = push_pull (h, in);
    fail_unless_equals_uint64 (age_of (out), i == 0 ? 0 : GST_CLOCK_TIME_NONE);
    gst_buffer_unref (out);
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

/* Pushes frames until one carries an embedding. Returns its number. */
static guint
push_until_embedded (GstHarness * h, guint first, GstBuffer ** out)
{
  for (guint i = first; i < first + 2000; i++) {
    *out = push_pull (h, frame (50, 37, i, i));
    if (embedding_of (*out) != NULL)
      return i;
    gst_buffer_unref (*out);
    g_usleep (5000);
  }
  fail ("no embedding in 2000 frames");
  return 0;
}

GST_START_TEST (as_the_machine_manages)
{
  GstHarness *h = harness_new (model_slow, "interval=0 device=reference");
  GstBuffer *out;
  guint n, source;

  set_format (h, "RGB", 50, 37);
  /* The slow network is at work on the first frame while others pass without anything. */
  for (guint i = 0; i < 3; i++) {
    out = push_pull (h, frame (50, 37, i, i));
    fail_unless (embedding_of (out) == NULL);
    gst_buffer_unref (out);
  }
  n = push_until_embedded (h, 3, &out);
  source = n - age_of (out) / FRAME;
  fail_unless_equals_int (source, 0);
  gst_buffer_unref (out);
  fail_unless_equals_uint64 (statistic (h, "embedded"), 1);
  fail_unless_equals_uint64 (statistic (h, "frames"), n + 1);
  fail_unless_equals_uint64 (statistic (h, "skipped"), n + 1);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (the_newest_frame_is_embedded)
{
  GstHarness *h = harness_new (model_a, "interval=0");
  GstBuffer *out;
  guint n = 0;

  set_format (h, "RGB", 50, 37);
  for (guint round = 0; round < 5; round++) {
    n = push_until_embedded (h, n, &out);
    fail_unless (age_of (out) % FRAME == 0 && age_of (out) <= n * FRAME);
    assert_embeds (out, model_a, 50, 37, n - age_of (out) / FRAME, DIM);
    gst_buffer_unref (out);
    n++;
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (default_interval_follows_upstream)
{
  /* A harness says that it is live. */
  GstHarness *h = harness_new (model_slow, "device=reference");
  g_autofree gchar *line = NULL;
  GstBuffer *out;

  set_format (h, "RGB", 50, 37);
  out = push_pull (h, frame (50, 37, 0, 0));
  fail_unless (embedding_of (out) == NULL, "a live frame waited");
  gst_buffer_unref (out);
  gst_harness_teardown (h);

  line = g_strdup_printf ("videotestsrc num-buffers=3 ! video/x-raw,width=32,height=32 ! "
      "pirlembed model-file=%s n-threads=1", model_a);
  h = gst_harness_new_parse (line);
  gst_harness_play (h);
  for (guint i = 0; i < 3; i++) {
    out = gst_harness_pull (h);
    fail_unless (out != NULL);
    fail_unless_equals_uint64 (age_of (out), 0);
    gst_buffer_unref (out);
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (latency_is_answered)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstBuffer *out;

  gst_harness_set_upstream_latency (h, 10 * GST_MSECOND);
  set_format (h, "RGB", 50, 37);
  out = push_pull (h, frame (50, 37, 0, 0));
  gst_buffer_unref (out);
  fail_unless (gst_harness_query_latency (h) > 10 * GST_MSECOND);
  fail_unless (gst_harness_query_latency (h) < 10 * GST_SECOND);
  gst_harness_set (h, "pirlembed", "interval", 0, NULL);
  fail_unless_equals_uint64 (gst_harness_query_latency (h), 10 * GST_MSECOND);
  gst_harness_set (h, "pirlembed", "interval", -1, NULL);
  fail_unless_equals_uint64 (gst_harness_query_latency (h), 10 * GST_MSECOND);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (latency_that_grew_is_announced)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstBus *bus = gst_bus_new ();
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstMessage *message;

  gst_element_set_bus (embed, bus);
  set_format (h, "RGB", 16, 16);
  for (guint i = 0; i < 80; i++)        /* until the slow first run is forgotten */
    gst_buffer_unref (push_pull (h, frame (16, 16, 0, 0)));
  fail_unless (gst_harness_query_latency (h) > 0);
  while ((message = gst_bus_pop (bus)) != NULL)
    gst_message_unref (message);
  /* A picture of 9 million pixels takes longer to shrink than the network to run. */
  set_format (h, "RGB", 3000, 3000);
  gst_buffer_unref (push_pull (h, frame (3000, 3000, 0, 1)));
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_LATENCY);
  fail_unless (message != NULL);
  gst_message_unref (message);
  gst_element_set_bus (embed, NULL);
  gst_object_unref (embed);
  gst_object_unref (bus);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- models ------------------------------------------------------------------------------- */

static void
remember_path (GstElement * element, const gchar * path, gchar ** where)
{
  g_free (*where);
  *where = g_strdup (path);
}

/* Pushes frames until the element says that a new model took over. */
static GstBuffer *
push_until_updated (GstHarness * h, gchar ** updated)
{
  for (guint i = 0; i < 4000; i++) {
    GstBuffer *out = push_pull (h, frame (50, 37, 3, i));

    if (*updated != NULL)
      return out;
    gst_buffer_unref (out);
    g_usleep (5000);
  }
  fail ("the model was not updated");
  return NULL;
}

GST_START_TEST (a_new_model_takes_over_between_frames)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  g_autofree gchar *updated = NULL, *path = NULL;
  GstBuffer *out;

  g_signal_connect (embed, "model-updated", G_CALLBACK (remember_path), &updated);
  set_format (h, "RGB", 50, 37);
  out = push_pull (h, frame (50, 37, 3, 0));
  assert_embeds (out, model_a, 50, 37, 3, DIM);
  gst_buffer_unref (out);
  fail_unless (updated == NULL);
  g_object_set (embed, "model-file", model_b, NULL);
  out = push_until_updated (h, &updated);
  fail_unless_equals_string (updated, model_b);
  assert_embeds (out, model_b, 50, 37, 3, DIM);
  gst_buffer_unref (out);
  g_object_get (embed, "model-file", &path, NULL);
  fail_unless_equals_string (path, model_b);
  gst_object_unref (embed);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (the_last_of_several_new_models_wins)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  gchar *updated = NULL;
  GstBuffer *out = NULL;

  g_signal_connect (embed, "model-updated", G_CALLBACK (remember_path), &updated);
  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < 5; i++)
    g_object_set (embed, "model-file", i & 1 ? model_a : model_b, NULL);
  while (g_strcmp0 (updated, model_b) != 0) {
    g_clear_pointer (&updated, g_free);
    gst_clear_buffer (&out);
    out = push_until_updated (h, &updated);
  }
  assert_embeds (out, model_b, 50, 37, 3, DIM);
  gst_buffer_unref (out);
  g_free (updated);
  gst_object_unref (embed);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (tensors_change_their_caps_with_the_model)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  g_autofree gchar *updated = NULL;
  GstBuffer *out;
  GstCaps *caps;

  g_signal_connect (embed, "model-updated", G_CALLBACK (remember_path), &updated);
  gst_harness_set_sink_caps_str (h, "other/tensors");
  set_format (h, "RGB", 50, 37);
  gst_buffer_unref (push_pull (h, frame (50, 37, 3, 0)));
  g_object_set (embed, "model-file", model_wide, NULL);
  out = push_until_updated (h, &updated);
  fail_unless_equals_int (gst_buffer_get_size (out), WIDE_DIM * sizeof (gfloat));
  gst_buffer_unref (out);
  caps = gst_pad_get_current_caps (h->sinkpad);
  fail_unless_equals_string (gst_structure_get_string (gst_caps_get_structure (caps, 0),
          "dimensions"), "24:1:1:1");
  gst_caps_unref (caps);
  gst_object_unref (embed);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (a_bad_model_changes_nothing_and_warns)
{
  g_autofree gchar *missing = g_build_filename (directory, "missing.safetensors", NULL);
  const gchar *bad[] = { not_a_model, missing, "" };
  GstHarness *h = harness_new (model_a, "interval=1");
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstBus *bus = gst_bus_new ();
  gchar *updated = NULL;

  g_signal_connect (embed, "model-updated", G_CALLBACK (remember_path), &updated);
  gst_element_set_bus (embed, bus);
  set_format (h, "RGB", 50, 37);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree gchar *path = NULL;
    GError *error = NULL;
    GstMessage *message;
    GstBuffer *out;

    g_object_set (embed, "model-file", bad[i], NULL);
    message = pop (bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR);
    fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING);
    gst_message_parse_warning (message, &error, NULL);
    fail_unless (strstr (error->message, bad[i]) != NULL, "\"%s\" does not name the file",
        error->message);
    g_error_free (error);
    gst_message_unref (message);
    out = push_pull (h, frame (50, 37, 3, 0));
    assert_embeds (out, model_a, 50, 37, 3, DIM);
    gst_buffer_unref (out);
    g_object_get (embed, "model-file", &path, NULL);
    fail_unless_equals_string (path, model_a);
  }
  fail_unless (updated == NULL);
  gst_element_set_bus (embed, NULL);
  gst_object_unref (bus);
  gst_object_unref (embed);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (a_start_without_a_usable_model_says_why)
{
  const struct {
    const gchar *properties, *model, *word;
  } cases[] = {
    {"", NULL, "model-file"},
    {"", "", "model-file"},
    {"", "nowhere.safetensors", "nowhere.safetensors"},
    {"", not_a_model, "text.safetensors"},
    {"layer=logits", model_a, "res5"},
    {"layer=nonsense", model_a, "nonsense"},
    {"device=abacus", model_a, "abacus"},
    {"precision=f13", model_a, "f13"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *line = cases[i].model
        ? g_strdup_printf ("pirlembed model-file=\"%s\" %s", cases[i].model, cases[i].properties)
        : g_strdup_printf ("pirlembed %s", cases[i].properties);
    g_autofree gchar *text = error_of_start (line);

    fail_unless (strstr (text, cases[i].word) != NULL, "\"%s\" does not say %s", text,
        cases[i].word);
  }
}

GST_END_TEST;

/* ---- life --------------------------------------------------------------------------------- */

static gpointer
push_one (gpointer user_data)
{
  return GINT_TO_POINTER (gst_harness_push (user_data, frame (50, 37, 0, 0)));
}

GST_START_TEST (flush_ends_the_wait_and_forgets)
{
  GstHarness *h = harness_new (model_slow, "interval=1 device=reference");
  GThread *thread;
  GstSegment segment;
  GstBuffer *out;

  set_format (h, "RGB", 50, 37);
  thread = g_thread_new ("push", push_one, h);
  g_usleep (20000);             /* an inference takes several times as long */
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
  fail_unless_equals_int (GPOINTER_TO_INT (g_thread_join (thread)), GST_FLOW_FLUSHING);
  fail_unless_equals_int (gst_harness_buffers_received (h), 0);
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
  /* The inference that was flushed may still run; its vector must not be this frame's. */
  out = push_pull (h, frame (50, 37, 8, 0));
  {
    g_autofree gfloat *want = g_new (gfloat, DIM);

    embed_directly (model_slow, NULL, 50, 37, 8, DIM, want);
    fail_unless (cosine (vector_of (out, DIM), want, DIM) > 0.99999);
    embed_directly (model_slow, NULL, 50, 37, 0, DIM, want);
    fail_unless (cosine (vector_of (out, DIM), want, DIM) < 0.99999);
  }
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (flushes_may_come_at_any_moment)
{
  static const gchar *intervals[] = { "interval=0", "interval=1", "interval=3" };

  for (guint k = 0; k < G_N_ELEMENTS (intervals); k++)
    flush_while_pushing (harness_new (model_a, intervals[k]));
}

GST_END_TEST;

GST_START_TEST (slow_display_branch_costs_no_embedding)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=60 ! video/x-raw,width=40,"
      "height=30,framerate=200/1 ! pirlembed model-file=%s interval=1 ! tee name=t "
      "t. ! queue ! fakesink name=s sync=false "
      "t. ! queue max-size-buffers=1 ! identity sleep-time=20000 ! "
      "fakesink sync=true qos=true async=false", model_a);
  GPtrArray *buffers = run_pipeline (line);

  fail_unless_equals_int (buffers->len, 60);
  for (guint i = 0; i < buffers->len; i++)
    fail_unless_equals_uint64 (age_of (g_ptr_array_index (buffers, i)), 0);
  g_ptr_array_unref (buffers);
}

GST_END_TEST;

GST_START_TEST (stopping_ends_the_wait)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc ! video/x-raw,width=64,height=64 ! "
      "pirlembed name=e model-file=%s device=reference interval=1 ! fakesink", model_slow);

  for (guint i = 0; i < 2; i++) {
    GstElement *pipeline = gst_parse_launch (line, NULL);

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    g_usleep (30000);
    fail_unless_equals_int (gst_element_set_state (pipeline, i ? GST_STATE_NULL : GST_STATE_READY),
        GST_STATE_CHANGE_SUCCESS);
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
  }
}

GST_END_TEST;

GST_START_TEST (end_of_stream_waits_for_the_last_inference)
{
  GstHarness *h = harness_new (model_a, "interval=0");
  gboolean eos = FALSE;
  GstEvent *event;

  set_format (h, "RGB", 50, 37);
  gst_buffer_unref (push_pull (h, frame (50, 37, 0, 0)));
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  fail_unless_equals_uint64 (statistic (h, "embedded"), 1);
  while ((event = gst_harness_try_pull_event (h)) != NULL) {
    eos |= GST_EVENT_TYPE (event) == GST_EVENT_EOS;
    gst_event_unref (event);
  }
  fail_unless (eos);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (gaps_pass_and_short_frames_are_errors)
{
  GstHarness *h = harness_new (model_a, "interval=1");
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GstBuffer *gap = gst_buffer_new ();

  gst_element_set_bus (embed, bus);
  set_format (h, "I420", 50, 37);
  GST_BUFFER_FLAG_SET (gap, GST_BUFFER_FLAG_GAP);
  gap = push_pull (h, gap);
  fail_unless (GST_BUFFER_FLAG_IS_SET (gap, GST_BUFFER_FLAG_GAP));
  fail_unless (embedding_of (gap) == NULL);
  gst_buffer_unref (gap);
  fail_unless (gst_harness_push_event (h, gst_event_new_gap (0, GST_SECOND)));
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

GST_START_TEST (states_cycle)
{
  GstElement *element = gst_element_factory_make ("pirlembed", NULL);
  gboolean qos = TRUE;
  GstStructure *stats = NULL;

  g_object_get (element, "qos", &qos, "stats", &stats, NULL);
  fail_if (qos);
  gst_structure_free (stats);
  fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PLAYING),
      GST_STATE_CHANGE_FAILURE);
  gst_element_set_state (element, GST_STATE_NULL);
  g_object_set (element, "model-file", model_a, "n-threads", 1, NULL);
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

GST_START_TEST (two_pipelines_at_once)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=20 ! "
      "video/x-raw,width=64,height=64 ! pirlembed name=e model-file=%s interval=1 ! fakesink",
      model_a);
  GstElement *pipelines[2];

  for (guint i = 0; i < 2; i++) {
    pipelines[i] = gst_parse_launch (line, NULL);
    gst_element_set_state (pipelines[i], GST_STATE_PLAYING);
  }
  for (guint i = 0; i < 2; i++) {
    GstBus *bus = gst_element_get_bus (pipelines[i]);
    GstMessage *message = pop (bus, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);

    fail_unless (message != NULL && GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS);
    gst_message_unref (message);
    gst_object_unref (bus);
    gst_element_set_state (pipelines[i], GST_STATE_NULL);
    gst_object_unref (pipelines[i]);
  }
}

GST_END_TEST;

static Suite *
pirlembed_suite (void)
{
  Suite *s = suite_create ("pirlembed");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 200);  /* seconds, on a machine that is busy otherwise */
  suite_add_tcase (s, tc);
  tcase_add_test (tc, every_frame_gets_the_kernels_vector);
  tcase_add_test (tc, the_log_says_why_there_is_no_gpu);
  tcase_add_test (tc, layers_have_their_sizes);
  tcase_add_test (tc, rgb_formats_are_all_one);
  tcase_add_test (tc, yuv_formats_agree_with_rgb);
  tcase_add_test (tc, wrong_colours_would_be_seen);
  tcase_add_test (tc, grey_equals_rgb_of_the_same_grey);
  tcase_add_test (tc, sizes_and_strides_may_change_with_every_frame);
  tcase_add_test (tc, a_shared_frame_is_left_alone);
  tcase_add_test (tc, tensors_for_a_peer_that_takes_no_video);
  tcase_add_test (tc, several_layers_are_several_tensors);
  tcase_add_test (tc, video_for_a_peer_that_takes_both);
  tcase_add_test (tc, every_third_frame);
  tcase_add_test (tc, age_is_unknown_without_timestamps);
  tcase_add_test (tc, as_the_machine_manages);
  tcase_add_test (tc, the_newest_frame_is_embedded);
  tcase_add_test (tc, default_interval_follows_upstream);
  tcase_add_test (tc, latency_is_answered);
  tcase_add_test (tc, latency_that_grew_is_announced);
  tcase_add_test (tc, a_new_model_takes_over_between_frames);
  tcase_add_test (tc, the_last_of_several_new_models_wins);
  tcase_add_test (tc, tensors_change_their_caps_with_the_model);
  tcase_add_test (tc, a_bad_model_changes_nothing_and_warns);
  tcase_add_test (tc, a_start_without_a_usable_model_says_why);
  tcase_add_test (tc, flush_ends_the_wait_and_forgets);
  tcase_add_test (tc, flushes_may_come_at_any_moment);
  tcase_add_test (tc, slow_display_branch_costs_no_embedding);
  tcase_add_test (tc, stopping_ends_the_wait);
  tcase_add_test (tc, end_of_stream_waits_for_the_last_inference);
  tcase_add_test (tc, gaps_pass_and_short_frames_are_errors);
  tcase_add_test (tc, states_cycle);
  tcase_add_test (tc, two_pipelines_at_once);
  return s;
}

int
main (int argc, char **argv)
{
  /* Vectors are compared bit by bit with the CPU's. */
  g_setenv ("PIRL_CUDA_MODULE", "off", FALSE);
  return run_embed_tests (argc, argv, pirlembed_suite, __FILE__);
}
