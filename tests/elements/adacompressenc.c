/* gst-pirl: adacompressenc as an encoder: caps, one frame for one, states, Huffman tables.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <string.h>

#include "jpegs.h"
#include "leaks.h"
#include "meta.h"

#define FIXED "adacompressenc policy=fixed "
#define I420 "video/x-raw,format=I420,width=48,height=32,framerate=25/1,colorimetry=1:4:0:0"

/* ---- helpers ------------------------------------------------------------------------------ */

/* A frame with something to see: a slope that moves with @phase. */
static GstBuffer *
make_frame (const gchar * caps_text, guint phase)
{
  GstCaps *caps = gst_caps_from_string (caps_text);
  GstVideoFrame frame;
  GstVideoInfo info;
  GstBuffer *buffer;

  fail_unless (gst_video_info_from_caps (&info, caps));
  gst_caps_unref (caps);
  buffer = gst_buffer_new_allocate (NULL, GST_VIDEO_INFO_SIZE (&info), NULL);
  gst_buffer_memset (buffer, 0, 128, -1);
  fail_unless (gst_video_frame_map (&frame, &info, buffer, GST_MAP_WRITE));
  for (gint y = 0; y < GST_VIDEO_FRAME_COMP_HEIGHT (&frame, 0); y++) {
    guint8 *row = GST_VIDEO_FRAME_COMP_DATA (&frame, 0);

    row += y * GST_VIDEO_FRAME_COMP_STRIDE (&frame, 0);
    for (gint x = 0; x < GST_VIDEO_FRAME_COMP_WIDTH (&frame, 0); x++)
      row[x * GST_VIDEO_FRAME_COMP_PSTRIDE (&frame, 0)] = 3 * x + 5 * y + 11 * phase + (x * y) % 7;
  }
  gst_video_frame_unmap (&frame);
  GST_BUFFER_PTS (buffer) = phase * GST_SECOND / 25;
  GST_BUFFER_DURATION (buffer) = GST_SECOND / 25;
  return buffer;
}

static GstBuffer *
push_pull (GstHarness * h, GstBuffer * in)
{
  GstBuffer *out;

  fail_unless_equals_int (gst_harness_push (h, in), GST_FLOW_OK);
  out = gst_harness_try_pull (h);
  fail_unless (out != NULL, "a frame went in and none came out");
  return out;
}

static const GstStructure *
output_structure (GstHarness * h, GstCaps ** caps)
{
  *caps = gst_pad_get_current_caps (h->sinkpad);
  fail_unless (*caps != NULL);
  return gst_caps_get_structure (*caps, 0);
}

static GstElement *
launch (const gchar * line)
{
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);

  fail_unless (pipeline != NULL && error == NULL, "%s: %s", line, error ? error->message : "");
  return pipeline;
}

/* Until EOS or an error; the message's text for an error, else NULL; transfer full. */
static gchar *
run (GstElement * pipeline)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  GError *error = NULL;
  gchar *text = NULL;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL, "neither EOS nor an error");
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    text = g_strdup (error->message);
    g_error_free (error);
  }
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  return text;
}

static guint64
statistic (GstElement * element, const gchar * name)
{
  GstStructure *stats;
  guint64 value = 0;

  g_object_get (element, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, name, &value), "no %s", name);
  gst_structure_free (stats);
  return value;
}

/* ---- caps ------------------------------------------------------------------------------------ */

GST_START_TEST (takes_what_jpegenc_takes)
{
  static const gchar *formats[] = { "I420", "YV12", "YUY2", "UYVY", "Y41B", "Y42B", "YVYU", "Y444",
    "NV21", "NV12", "RGB", "BGR", "RGBx", "xRGB", "BGRx", "xBGR", "GRAY8"
  };
  static const gint sides[] = { 1, 17, 65500 };
  GstElement *element = gst_element_factory_make ("adacompressenc", NULL);
  GstPad *pad = gst_element_get_static_pad (element, "sink");

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    for (guint k = 0; k < G_N_ELEMENTS (sides); k++) {
      GstCaps *caps = gst_caps_new_simple ("video/x-raw", "format", G_TYPE_STRING, formats[i],
          "width", G_TYPE_INT, sides[k], "height", G_TYPE_INT, sides[2 - k],
          "framerate", GST_TYPE_FRACTION, 25, 1, NULL);

      fail_unless (gst_pad_query_accept_caps (pad, caps), "%s", formats[i]);
      gst_caps_set_simple (caps, "width", G_TYPE_INT, 65501, NULL);
      fail_if (gst_pad_query_accept_caps (pad, caps), "%s of 65501", formats[i]);
      gst_caps_unref (caps);
    }
  }
  fail_unless_equals_int (gst_plugin_feature_get_rank (GST_PLUGIN_FEATURE
          (gst_element_get_factory (element))), GST_RANK_NONE);
  gst_object_unref (pad);
  gst_object_unref (element);
}

GST_END_TEST;

GST_START_TEST (caps_say_what_the_file_is)
{
  static const struct {
    const gchar *caps, *colorspace, *sampling;
    guint components;
    guint8 luma_sampling;
  } cases[] = {
    {I420, "sYUV", "YCbCr-4:2:0", 3, 0x22},
    {"video/x-raw,format=NV12,width=33,height=17,framerate=0/1,pixel-aspect-ratio=4/3,"
          "colorimetry=bt709", "sYUV", "YCbCr-4:2:0", 3, 0x22},
    {"video/x-raw,format=RGB,width=5,height=70,framerate=30000/1001", "sYUV", "YCbCr-4:2:0", 3,
        0x22},
    {"video/x-raw,format=GRAY8,width=9,height=9,framerate=5/1", "GRAY", "GRAYSCALE", 1, 0x11},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = gst_harness_new_parse (FIXED);
    GstCaps *caps, *in = gst_caps_from_string (cases[i].caps);
    const GstStructure *s, *given = gst_caps_get_structure (in, 0);
    gint width, height, sof = -1, n, d;
    gboolean parsed = FALSE;
    GstBuffer *out;
    JpegInfo info;

    gst_harness_set_src_caps_str (h, cases[i].caps);
    out = push_pull (h, make_frame (cases[i].caps, 0));
    info = jpeg_parse_buffer (out);
    s = output_structure (h, &caps);
    fail_unless (gst_structure_has_name (s, "image/jpeg"));
    fail_unless (gst_structure_get_boolean (s, "parsed", &parsed) && parsed);
    fail_unless (gst_structure_get_int (s, "sof-marker", &sof));
    fail_unless_equals_int (sof, info.sof);
    fail_unless_equals_int (sof, 0);
    fail_unless (gst_structure_get_int (s, "width", &width));
    fail_unless (gst_structure_get_int (s, "height", &height));
    fail_unless_equals_int (width, info.width);
    fail_unless_equals_int (height, info.height);
    fail_unless_equals_int (info.components, cases[i].components);
    fail_unless_equals_int (info.sampling[0], cases[i].luma_sampling);
    fail_unless_equals_string (gst_structure_get_string (s, "colorspace"), cases[i].colorspace);
    fail_unless_equals_string (gst_structure_get_string (s, "sampling"), cases[i].sampling);
    fail_unless_equals_string (gst_structure_get_string (s, "colorimetry"), "1:4:0:0");
    fail_unless (gst_structure_get_fraction (s, "framerate", &n, &d));
    fail_unless (gst_value_compare (gst_structure_get_value (s, "framerate"),
            gst_structure_get_value (given, "framerate")) == GST_VALUE_EQUAL);
    fail_unless (gst_structure_get_fraction (s, "pixel-aspect-ratio", &n, &d));
    fail_unless_equals_int (n, i == 1 ? 4 : 1);
    fail_unless (gst_caps_is_fixed (caps));
    gst_caps_unref (caps);
    gst_caps_unref (in);
    gst_buffer_unref (out);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

GST_START_TEST (interlaced_video_is_refused_by_name)
{
  static const gchar *modes[] = { "interleaved", "mixed" };

  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=2 ! video/x-raw,"
        "width=64,height=64,interlace-mode=%s ! " FIXED "! fakesink", modes[i]);
    GstElement *pipeline = launch (line);
    g_autofree gchar *text = run (pipeline);

    fail_unless (text != NULL && strstr (text, "deinterlace") != NULL && strstr (text, modes[i]),
        "%s", text ? text : "no error");
    gst_object_unref (pipeline);
  }
}

GST_END_TEST;

/* ---- frames ------------------------------------------------------------------------------- */

GST_START_TEST (one_frame_for_one_at_once)
{
  GstHarness *h = gst_harness_new_parse (FIXED);

  gst_harness_set_src_caps_str (h, I420);
  for (guint i = 0; i < 5; i++) {
    GstBuffer *out = push_pull (h, make_frame (I420, i));

    fail_unless_equals_uint64 (GST_BUFFER_PTS (out), i * GST_SECOND / 25);
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (out), GST_SECOND / 25);
    fail_if (GST_BUFFER_FLAG_IS_SET (out, GST_BUFFER_FLAG_DELTA_UNIT));
    gst_buffer_unref (out);
  }
  fail_unless_equals_uint64 (gst_harness_query_latency (h), 0);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (quality_may_change_while_playing)
{
  static const gint qualities[] = { 75, 10, 95, 1, 0, 50, 100 };
  GstHarness *h = gst_harness_new_parse (FIXED);
  GstElement *enc = gst_harness_find_element (h, "adacompressenc");

  gst_harness_set_src_caps_str (h, I420);
  for (guint i = 0; i < G_N_ELEMENTS (qualities); i++) {
    const gchar *state;
    gdouble agreement;
    gint quality = 0;
    GstBuffer *out;

    g_object_set (enc, "quality", qualities[i], NULL);
    out = push_pull (h, make_frame (I420, i));
    fail_unless_equals_int (jpeg_parse_buffer (out).luma_dc, jpeg_luma_dc (qualities[i]));
    fail_unless (gst_pirl_compress_get (out, &quality, &agreement, &state));
    fail_unless_equals_int (quality, MAX (qualities[i], 1));
    fail_unless_equals_float (agreement, qualities[i] == 75 ? 1 : -1);
    fail_unless_equals_string (state, "fixed");
    gst_buffer_unref (out);
  }
  gst_object_unref (enc);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (quality_keeps_its_bounds)
{
  GstHarness *h = gst_harness_new_parse (FIXED "min-quality=30 max-quality=60");
  GstElement *enc = gst_harness_find_element (h, "adacompressenc");
  static const gint pairs[][2] = { {5, 30}, {30, 30}, {45, 45}, {90, 60} };

  gst_harness_set_src_caps_str (h, I420);
  for (guint i = 0; i < G_N_ELEMENTS (pairs); i++) {
    GstBuffer *out;

    g_object_set (enc, "quality", pairs[i][0], NULL);
    out = push_pull (h, make_frame (I420, i));
    fail_unless_equals_int (jpeg_parse_buffer (out).luma_dc, jpeg_luma_dc (pairs[i][1]));
    gst_buffer_unref (out);
  }
  gst_object_unref (enc);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (samples_keep_their_metas)
{
  GstPirlSample sample = {.index = 7,.count = 9,.label = 3,.split = "test",.name = "a/b.png" }, got;
  GstHarness *h = gst_harness_new_parse (FIXED);
  GstBuffer *in = make_frame (I420, 0), *out;

  gst_harness_set_src_caps_str (h, I420);
  gst_pirl_sample_add (in, &sample);
  out = push_pull (h, in);
  fail_unless (gst_pirl_sample_get (out, &got));
  fail_unless_equals_uint64 (got.index, 7);
  fail_unless_equals_string (got.name, "a/b.png");
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (statistics_count_frames_and_bytes)
{
  GstHarness *h = gst_harness_new_parse (FIXED "quality=75 huffman=standard");
  GstElement *enc = gst_harness_find_element (h, "adacompressenc");
  guint64 bytes = 0;
  GstStructure *stats;
  const GValue *qualities, *counts;

  gst_harness_set_src_caps_str (h, I420);
  for (guint i = 0; i < 8; i++) {
    GstBuffer *out;

    g_object_set (enc, "quality", i < 5 ? 75 : 20, NULL);
    out = push_pull (h, make_frame (I420, i));
    bytes += gst_buffer_get_size (out);
    gst_buffer_unref (out);
  }
  fail_unless_equals_uint64 (statistic (enc, "frames"), 8);
  fail_unless_equals_uint64 (statistic (enc, "bytes"), bytes);
  fail_unless (statistic (enc, "reference-bytes") > bytes);
  g_object_get (enc, "stats", &stats, NULL);
  fail_unless_equals_string (gst_structure_get_string (stats, "state"), "fixed");
  qualities = gst_structure_get_value (stats, "qualities");
  counts = gst_structure_get_value (stats, "quality-counts");
  fail_unless_equals_int (gst_value_array_get_size (qualities), 2);
  fail_unless_equals_int (g_value_get_int (gst_value_array_get_value (qualities, 0)), 20);
  fail_unless_equals_int (g_value_get_int (gst_value_array_get_value (qualities, 1)), 75);
  fail_unless_equals_uint64 (g_value_get_uint64 (gst_value_array_get_value (counts, 0)), 3);
  fail_unless_equals_uint64 (g_value_get_uint64 (gst_value_array_get_value (counts, 1)), 5);
  gst_structure_free (stats);
  gst_object_unref (enc);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* Within 5 % of what the same frames have at the reference quality. */
GST_START_TEST (reference_bytes_are_those_of_the_reference)
{
  GstHarness *h[2];
  GstElement *enc = NULL;
  guint64 bytes = 0, predicted;

  for (guint k = 0; k < 2; k++) {
    h[k] = gst_harness_new_parse (k ? FIXED "quality=75 huffman=standard" : FIXED "quality=15");
    gst_harness_set_src_caps_str (h[k], I420);
  }
  for (guint i = 0; i < 40; i++) {
    GstBuffer *out;

    gst_buffer_unref (push_pull (h[0], make_frame (I420, i % 4)));
    out = push_pull (h[1], make_frame (I420, i % 4));
    bytes += gst_buffer_get_size (out);
    gst_buffer_unref (out);
  }
  enc = gst_harness_find_element (h[0], "adacompressenc");
  predicted = statistic (enc, "reference-bytes");
  fail_unless (ABS ((gdouble) predicted - bytes) < 0.05 * bytes, "%" G_GUINT64_FORMAT " for %"
      G_GUINT64_FORMAT, predicted, bytes);
  gst_object_unref (enc);
  gst_harness_teardown (h[0]);
  gst_harness_teardown (h[1]);
}

GST_END_TEST;

GST_START_TEST (caps_may_change_with_any_frame)
{
  static const gchar *all[] = { I420,
    "video/x-raw,format=GRAY8,width=7,height=91,framerate=25/1",
    "video/x-raw,format=xBGR,width=640,height=1,framerate=25/1",
    "video/x-raw,format=I420,width=1,height=1,framerate=1/1", I420
  };
  GstHarness *h = gst_harness_new_parse (FIXED);

  for (guint i = 0; i < G_N_ELEMENTS (all); i++) {
    GstCaps *caps;
    gint width, height;
    GstBuffer *out;
    JpegInfo info;

    gst_harness_set_src_caps_str (h, all[i]);
    out = push_pull (h, make_frame (all[i], 0));
    info = jpeg_parse_buffer (out);
    fail_unless (gst_structure_get_int (output_structure (h, &caps), "width", &width));
    fail_unless (gst_structure_get_int (gst_caps_get_structure (caps, 0), "height", &height));
    fail_unless_equals_int (info.width, width);
    fail_unless_equals_int (info.height, height);
    fail_unless_equals_int (info.components, i == 1 ? 1 : 3);
    gst_caps_unref (caps);
    gst_buffer_unref (out);
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (snapshot_is_one_frame)
{
  GstElement *pipeline = launch ("videotestsrc ! video/x-raw,width=64,height=48 ! " FIXED
      "name=e snapshot=true ! fakesink name=s");
  g_autoptr (GstElement) enc = gst_bin_get_by_name (GST_BIN (pipeline), "e");

  fail_unless (run (pipeline) == NULL);
  fail_unless_equals_uint64 (statistic (enc, "frames"), 1);
  gst_object_unref (pipeline);
}

GST_END_TEST;

GST_START_TEST (short_frames_are_errors)
{
  GstHarness *h = gst_harness_new_parse (FIXED);
  GstElement *enc = gst_harness_find_element (h, "adacompressenc");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GError *error = NULL;

  gst_element_set_bus (enc, bus);
  gst_harness_set_src_caps_str (h, I420);
  fail_unless_equals_int (gst_harness_push (h, gst_buffer_new_allocate (NULL, 10, NULL)),
      GST_FLOW_ERROR);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "10 bytes") && strstr (error->message, "48x32"), "%s",
      error->message);
  g_error_free (error);
  gst_message_unref (message);
  gst_element_set_bus (enc, NULL);
  gst_object_unref (bus);
  gst_object_unref (enc);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- Huffman tables ----------------------------------------------------------------------- */

static void
look_at_tables (GstElement * identity, GstBuffer * buffer, gint * standard)
{
  *standard = jpeg_parse_buffer (buffer).standard_tables;
}

/* The tables of the last JPEG that passes the identity "i" in front of @rest. */
static gboolean
tables_before (const gchar * settings, const gchar * rest)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=3 ! video/x-raw,width=64,"
      "height=48 ! adacompressenc policy=fixed %s ! identity name=i signal-handoffs=true ! %s",
      settings, rest);
  GstElement *pipeline = launch (line);
  g_autoptr (GstElement) identity = gst_bin_get_by_name (GST_BIN (pipeline), "i");
  g_autofree gchar *text = NULL;
  gint standard = -1;

  g_signal_connect (identity, "handoff", G_CALLBACK (look_at_tables), &standard);
  text = run (pipeline);
  fail_unless (text == NULL, "%s: %s", line, text);
  gst_object_unref (pipeline);
  fail_unless (standard != -1, "%s", line);
  return standard;
}

GST_START_TEST (tables_are_standard_where_rtp_may_follow)
{
  static const struct {
    const gchar *rest;
    gboolean standard;
  } cases[] = {
    {"fakesink", FALSE},
    {"queue ! filesink location=/dev/null", FALSE},
    {"jpegdec ! fakesink", FALSE},
    {"tee name=t ! queue ! fakesink t. ! queue ! jpegdec ! fakesink", FALSE},
    {"bin.( queue ! fakesink )", FALSE},
    {"rtpjpegpay ! fakesink", TRUE},
    {"queue ! capsfilter caps=image/jpeg ! rtpjpegpay ! fakesink", TRUE},
    {"tee name=t ! queue ! fakesink t. ! queue ! rtpjpegpay ! fakesink", TRUE},
    {"bin.( queue ! rtpjpegpay ) ! fakesink", TRUE},
    {"bin.( queue ) ! queue ! rtpjpegpay ! fakesink", TRUE},
    {"tcpserversink port=0", TRUE},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    if (strstr (cases[i].rest, "tcpserversink")
        && !gst_registry_check_feature_version (gst_registry_get (), "tcpserversink", 1, 0, 0))
      continue;
    fail_unless_equals_int (tables_before ("", cases[i].rest), cases[i].standard);
  }
  fail_unless (tables_before ("huffman=standard", "fakesink"));
  fail_if (tables_before ("huffman=optimized", "rtpjpegpay ! fakesink"));
  fail_if (tables_before ("huffman=tuned", "rtpjpegpay ! fakesink"));
}

GST_END_TEST;

/* Nobody behind the harness's pad. */
GST_START_TEST (tables_are_standard_where_nobody_can_tell)
{
  GstHarness *h = gst_harness_new_parse (FIXED);
  GstBuffer *out;

  gst_harness_set_src_caps_str (h, I420);
  out = push_pull (h, make_frame (I420, 0));
  fail_unless (jpeg_parse_buffer (out).standard_tables);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

static GstPadProbeReturn
probe_tables (GstPad * pad, GstPadProbeInfo * info, gpointer standard)
{
  *(gint *) standard = jpeg_parse_buffer (GST_PAD_PROBE_INFO_BUFFER (info)).standard_tables;
  return GST_PAD_PROBE_OK;
}

/* A payloader is linked while the stream runs. */
GST_START_TEST (tables_follow_new_links)
{
  GstHarness *h = gst_harness_new_parse (FIXED "! tee name=t ! fakesink async=false");
  GstElement *enc = gst_harness_find_element (h, "adacompressenc");
  GstElement *tee = gst_harness_find_element (h, "tee");
  GstElement *pay = gst_element_factory_make ("rtpjpegpay", NULL);
  GstElement *sink = gst_element_factory_make ("fakesink", NULL);
  GstPad *pad = gst_element_get_static_pad (enc, "src");
  gint standard = -1;

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, probe_tables, &standard, NULL);
  gst_harness_set_src_caps_str (h, I420);
  fail_unless_equals_int (gst_harness_push (h, make_frame (I420, 0)), GST_FLOW_OK);
  fail_unless_equals_int (standard, FALSE);
  g_object_set (sink, "async", FALSE, NULL);
  gst_bin_add_many (GST_BIN (h->element), pay, sink, NULL);
  gst_element_set_state (sink, GST_STATE_PLAYING);
  gst_element_set_state (pay, GST_STATE_PLAYING);
  fail_unless (gst_element_link_many (tee, pay, sink, NULL));
  fail_unless_equals_int (gst_harness_push (h, make_frame (I420, 1)), GST_FLOW_OK);
  fail_unless_equals_int (standard, TRUE);
  gst_object_unref (pad);
  gst_object_unref (tee);
  gst_object_unref (enc);
  gst_harness_teardown (h);
}

GST_END_TEST;

static void
collect (GstElement * sink, GstBuffer * buffer, GstPad * pad, GPtrArray * list)
{
  g_ptr_array_add (list, gst_buffer_ref (buffer));
}

/* What a receiver decodes after RTP; without RTP for @rtp FALSE. */
static GPtrArray *
received (const gchar * huffman, gboolean rtp)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=4 pattern=smpte ! "
      "video/x-raw,format=I420,width=320,height=240 ! adacompressenc policy=fixed huffman=%s ! %s "
      "jpegdec ! videoconvert ! video/x-raw,format=RGB ! fakesink name=s signal-handoffs=true",
      huffman, rtp ? "rtpjpegpay mtu=1400 ! rtpjpegdepay !" : "");
  GstElement *pipeline = launch (line);
  g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (pipeline), "s");
  GPtrArray *list = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_buffer_unref);

  g_signal_connect (sink, "handoff", G_CALLBACK (collect), list);
  g_free (run (pipeline));
  gst_object_unref (pipeline);
  return list;
}

/* Mean difference of two decoded streams' pixels; 255 where frames are missing. */
static gdouble
difference (GPtrArray * a, GPtrArray * b)
{
  gdouble sum = 0;
  gsize n = 0;

  if (a->len != b->len)
    return 255;
  for (guint i = 0; i < a->len; i++) {
    GstMapInfo x, y;

    gst_buffer_map (g_ptr_array_index (a, i), &x, GST_MAP_READ);
    gst_buffer_map (g_ptr_array_index (b, i), &y, GST_MAP_READ);
    fail_unless_equals_int (x.size, y.size);
    for (gsize k = 0; k < x.size; k++)
      sum += ABS (x.data[k] - y.data[k]);
    n += x.size;
    gst_buffer_unmap (g_ptr_array_index (a, i), &x);
    gst_buffer_unmap (g_ptr_array_index (b, i), &y);
  }
  return sum / n;
}

GST_START_TEST (rtp_carries_standard_tables_only)
{
  static const struct {
    const gchar *huffman;
    gboolean survives;
  } cases[] = { {"auto", TRUE}, {"standard", TRUE}, {"optimized", FALSE}, {"tuned", FALSE} };
  GPtrArray *plain = received ("standard", FALSE);

  fail_unless_equals_int (plain->len, 4);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GPtrArray *direct = received (cases[i].huffman, FALSE);
    GPtrArray *far = received (cases[i].huffman, TRUE);

    /* The tables change no pixel where they arrive. */
    fail_unless_equals_float (difference (plain, direct), 0);
    fail_unless ((difference (plain, far) == 0) == cases[i].survives, "%s: %f after RTP",
        cases[i].huffman, difference (plain, far));
    g_ptr_array_unref (direct);
    g_ptr_array_unref (far);
  }
  g_ptr_array_unref (plain);
}

GST_END_TEST;

/* ---- quality of service ------------------------------------------------------------------------ */

/* Downstream says that it is two seconds late: only with qos=true frames are left out. */
GST_START_TEST (late_frames_are_left_out_on_demand)
{
  for (guint qos = 0; qos < 2; qos++) {
    GstHarness *h = gst_harness_new_parse (qos ? FIXED "qos=true" : FIXED);
    GstElement *enc = gst_harness_find_element (h, "adacompressenc");

    gst_harness_set_src_caps_str (h, I420);
    gst_buffer_unref (push_pull (h, make_frame (I420, 0)));
    gst_harness_push_upstream_event (h, gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2,
            2 * GST_SECOND, 0));
    for (guint i = 1; i < 10; i++)
      fail_unless_equals_int (gst_harness_push (h, make_frame (I420, i)), GST_FLOW_OK);
    fail_unless_equals_int (gst_harness_buffers_in_queue (h), qos ? 0 : 9);
    fail_unless_equals_uint64 (statistic (enc, "dropped"), qos ? 9 : 0);
    gst_object_unref (enc);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

/* ---- life --------------------------------------------------------------------------------- */

GST_START_TEST (flush_and_eos)
{
  GstHarness *h = gst_harness_new_parse (FIXED);
  GstSegment segment;

  gst_harness_set_src_caps_str (h, I420);
  gst_buffer_unref (push_pull (h, make_frame (I420, 0)));
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
  fail_unless_equals_int (gst_harness_push (h, make_frame (I420, 1)), GST_FLOW_FLUSHING);
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
  gst_buffer_unref (push_pull (h, make_frame (I420, 2)));
  fail_unless (gst_harness_push_event (h, gst_event_new_gap (0, GST_SECOND)));
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  fail_unless_equals_int (gst_harness_push (h, make_frame (I420, 3)), GST_FLOW_EOS);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (states_cycle)
{
  /* Without a network: LeakSanitizer breaks down over the pooled threads that have run one. */
  static const gchar *policies[] = { "fixed", "bandit extractor=\"\"" };

  for (guint k = 0; k < G_N_ELEMENTS (policies); k++) {
    g_autofree gchar *line = g_strdup_printf ("videotestsrc num-buffers=4 ! video/x-raw,width=64,"
        "height=48 ! adacompressenc name=e policy=%s ! fakesink", policies[k]);
    GstElement *pipeline = launch (line);
    g_autoptr (GstElement) enc = gst_bin_get_by_name (GST_BIN (pipeline), "e");
    gboolean qos = TRUE;

    g_object_get (enc, "qos", &qos, NULL);
    fail_if (qos);
    for (guint i = 0; i < 3; i++) {
      g_autofree gchar *text = run (pipeline);

      fail_unless (text == NULL, "%s", text);
      fail_unless_equals_uint64 (statistic (enc, "frames"), 4);
      gst_element_set_state (pipeline, i & 1 ? GST_STATE_READY : GST_STATE_NULL);
    }
    for (guint i = 0; i < 10; i++) {
      gst_element_set_state (pipeline, GST_STATE_PLAYING);
      g_usleep (g_random_int_range (0, 10000));
      gst_element_set_state (pipeline, i & 1 ? GST_STATE_READY : GST_STATE_NULL);
    }
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
  }
}

GST_END_TEST;

GST_START_TEST (two_at_once)
{
  GstElement *pipelines[2];

  for (guint i = 0; i < 2; i++) {
    pipelines[i] = launch ("videotestsrc num-buffers=30 ! video/x-raw,width=320,height=240 ! "
        FIXED "name=e ! fakesink");
    gst_element_set_state (pipelines[i], GST_STATE_PLAYING);
  }
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GstElement) enc = gst_bin_get_by_name (GST_BIN (pipelines[i]), "e");

    fail_unless (run (pipelines[i]) == NULL);
    fail_unless_equals_uint64 (statistic (enc, "frames"), 30);
    gst_object_unref (pipelines[i]);
  }
}

GST_END_TEST;

static Suite *
adacompressenc_suite (void)
{
  Suite *s = suite_create ("adacompressenc");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 200);
  suite_add_tcase (s, tc);
  tcase_add_test (tc, takes_what_jpegenc_takes);
  tcase_add_test (tc, caps_say_what_the_file_is);
  tcase_add_test (tc, interlaced_video_is_refused_by_name);
  tcase_add_test (tc, one_frame_for_one_at_once);
  tcase_add_test (tc, quality_may_change_while_playing);
  tcase_add_test (tc, quality_keeps_its_bounds);
  tcase_add_test (tc, samples_keep_their_metas);
  tcase_add_test (tc, statistics_count_frames_and_bytes);
  tcase_add_test (tc, reference_bytes_are_those_of_the_reference);
  tcase_add_test (tc, caps_may_change_with_any_frame);
  tcase_add_test (tc, snapshot_is_one_frame);
  tcase_add_test (tc, short_frames_are_errors);
  tcase_add_test (tc, tables_are_standard_where_rtp_may_follow);
  tcase_add_test (tc, tables_are_standard_where_nobody_can_tell);
  tcase_add_test (tc, tables_follow_new_links);
  tcase_add_test (tc, rtp_carries_standard_tables_only);
  tcase_add_test (tc, late_frames_are_left_out_on_demand);
  tcase_add_test (tc, flush_and_eos);
  tcase_add_test (tc, states_cycle);
  tcase_add_test (tc, two_at_once);
  return s;
}

int
main (int argc, char **argv)
{
  Suite *s;

  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  s = adacompressenc_suite ();
  return gst_check_run_suite (s, "adacompressenc", __FILE__);
}
