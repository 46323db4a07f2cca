/* gst-pirl: adacompressenc on every format, matrix, range, size and stride. The truth about colours is
 * the closed form of ITU-R BT.601, BT.709 and BT.2020, the truth about files is libjpeg's decoder.
 * PIRL_LONG=1 in the environment tries 2,000 random cases up to 4097x4097 instead of 200 small ones.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <math.h>
#include <string.h>

#include "jpegs.h"
#include "leaks.h"

static const GstVideoFormat formats[] = {
  GST_VIDEO_FORMAT_I420, GST_VIDEO_FORMAT_YV12, GST_VIDEO_FORMAT_YUY2, GST_VIDEO_FORMAT_UYVY,
  GST_VIDEO_FORMAT_Y41B, GST_VIDEO_FORMAT_Y42B, GST_VIDEO_FORMAT_YVYU, GST_VIDEO_FORMAT_Y444,
  GST_VIDEO_FORMAT_NV21, GST_VIDEO_FORMAT_NV12, GST_VIDEO_FORMAT_RGB, GST_VIDEO_FORMAT_BGR,
  GST_VIDEO_FORMAT_RGBx, GST_VIDEO_FORMAT_xRGB, GST_VIDEO_FORMAT_BGRx, GST_VIDEO_FORMAT_xBGR,
  GST_VIDEO_FORMAT_GRAY8
};

/* ---- colours ------------------------------------------------------------------------------ */

static const struct {
  const gchar *text;            /* range:matrix:transfer:primaries */
  gdouble kr, kb;
  gboolean full;
} colorimetries[] = {
  {"1:4:0:0", .299, .114, TRUE},
  {"2:4:0:0", .299, .114, FALSE},
  {"2:3:0:0", .2126, .0722, FALSE},
  {"1:3:0:0", .2126, .0722, TRUE},
  {"2:6:0:0", .2627, .0593, FALSE},
  {"2:5:0:0", .212, .087, FALSE},       /* SMPTE 240M */
};

/* One a quadrant: no two channels of a picture are mistaken for each other. */
static const guint8 colours[][4][3] = {
  {{255, 255, 255}, {0, 0, 0}, {128, 128, 128}, {64, 64, 64}},
  {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 0}},
  {{200, 140, 110}, {30, 90, 160}, {90, 160, 30}, {250, 240, 235}},
};

/* The bytes of a colour: R, G, B, or Y, Cb, Cr of the matrix and range. */
static void
components_of (const guint8 * rgb, gboolean is_rgb, gdouble kr, gdouble kb, gboolean full,
    guint8 * out)
{
  gdouble r = rgb[0] / 255., g = rgb[1] / 255., b = rgb[2] / 255.;
  gdouble y = kr * r + (1 - kr - kb) * g + kb * b;
  gdouble value[3] = { y, (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr)) };

  for (guint c = 0; c < 3; c++) {
    if (is_rgb && full)
      out[c] = rgb[c];
    else if (is_rgb)
      out[c] = (guint8) (16 + 219 * rgb[c] / 255. + .5);
    else if (c == 0)
      out[c] = (guint8) (full ? 255 * value[0] + .5 : 16 + 219 * value[0] + .5);
    else
      out[c] = (guint8) CLAMP (128 + (full ? 255 : 224) * value[c] + .5, 0, 255);
  }
}

static void
paint (GstVideoFrame * frame, guint c, guint quadrant, guint8 value)
{
  gint w = GST_VIDEO_FRAME_COMP_WIDTH (frame, c), h = GST_VIDEO_FRAME_COMP_HEIGHT (frame, c);
  gint x0 = quadrant & 1 ? w / 2 : 0, y0 = quadrant & 2 ? h / 2 : 0;

  for (gint y = y0; y < (quadrant & 2 ? h : h / 2); y++) {
    guint8 *row = GST_VIDEO_FRAME_COMP_DATA (frame, c);

    row += y * GST_VIDEO_FRAME_COMP_STRIDE (frame, c);
    for (gint x = x0; x < (quadrant & 1 ? w : w / 2); x++)
      row[x * GST_VIDEO_FRAME_COMP_PSTRIDE (frame, c)] = value;
  }
}

/* Four flat quadrants of 32x32, and what a decoder must show of them. */
static void
try_colours (GstHarness * h, GstVideoFormat format, guint which, guint set)
{
  const gchar *name = gst_video_format_to_string (format);
  g_autofree gchar *text = g_strdup_printf ("video/x-raw,format=%s,width=64,height=64,"
      "framerate=25/1,colorimetry=%s", name, colorimetries[which].text);
  g_autoptr (GstCaps) caps = gst_caps_from_string (text);
  gboolean grey = format == GST_VIDEO_FORMAT_GRAY8;
  PirlImage image = { 0 };
  GstVideoFrame frame;
  GstVideoInfo info;
  GstBuffer *buffer;

  fail_unless (gst_video_info_from_caps (&info, caps));
  buffer = gst_buffer_new_allocate (NULL, GST_VIDEO_INFO_SIZE (&info), NULL);
  gst_buffer_memset (buffer, 0, 77, -1);
  fail_unless (gst_video_frame_map (&frame, &info, buffer, GST_MAP_WRITE));
  for (guint quadrant = 0; quadrant < 4; quadrant++) {
    guint8 value[3];

    components_of (colours[set][quadrant], GST_VIDEO_INFO_IS_RGB (&info),
        colorimetries[which].kr, colorimetries[which].kb, colorimetries[which].full, value);
    for (guint c = 0; c < GST_VIDEO_FRAME_N_COMPONENTS (&frame); c++)
      paint (&frame, c, quadrant, value[c]);
  }
  gst_video_frame_unmap (&frame);
  gst_harness_set_src_caps_str (h, text);
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  buffer = gst_harness_pull (h);
  jpeg_decode_buffer (buffer, &image);
  gst_buffer_unref (buffer);
  for (guint quadrant = 0; quadrant < 4; quadrant++) {
    const guint8 *got = image.data + (quadrant & 2 ? 47 : 15) * image.stride
        + (quadrant & 1 ? 47 : 15) * 3;
    const guint8 *want = colours[set][quadrant];
    guint8 y[3];

    components_of (want, FALSE, colorimetries[which].kr, colorimetries[which].kb, TRUE, y);
    for (guint c = 0; c < 3; c++) {
      gint truth = grey ? y[0] : want[c];

      /* Two roundings of limited-range chroma, the JPEG's own, and its decoder's. */
      fail_unless (ABS (got[c] - truth) <= 4, "%s %s: colour %u.%u is %d,%d,%d instead of %d,%d,%d",
          name, colorimetries[which].text, set, quadrant, got[0], got[1], got[2], want[0], want[1],
          want[2]);
    }
  }
  pirl_image_clear (&image);
}

GST_START_TEST (colours_are_true)
{
  GstHarness *h = gst_harness_new_parse ("adacompressenc policy=fixed quality=100");

  for (guint f = 0; f < G_N_ELEMENTS (formats); f++) {
    const GstVideoFormatInfo *info = gst_video_format_get_info (formats[f]);

    for (guint which = 0; which < G_N_ELEMENTS (colorimetries); which++) {
      /* RGB has no matrix; its caps say so. */
      if (GST_VIDEO_FORMAT_INFO_IS_RGB (info) && which > 0)
        continue;
      for (guint set = 0; set < G_N_ELEMENTS (colours); set++)
        try_colours (h, formats[f], which, set);
    }
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

/* What is not said is BT.601, full for RGB and grey, limited for YUV: white is 255 in all of them. */
GST_START_TEST (white_is_white_without_colorimetry)
{
  /* videotestsrc's own grey is limited range, against its caps: the converter paints that one. Its
   * packers leave the last chroma sample of odd widths out. */
  static const gchar *line = "videotestsrc num-buffers=1 pattern=white ! %s video/x-raw,format=%s,"
      "width=36,height=31%s ! adacompressenc policy=fixed ! appsink name=s";
  static const gchar *more[] = { "", ",colorimetry=bt601", ",colorimetry=bt709" };

  for (guint f = 0; f < G_N_ELEMENTS (formats); f++) {
    const GstVideoFormatInfo *info = gst_video_format_get_info (formats[f]);

    for (guint k = 0; k < (GST_VIDEO_FORMAT_INFO_IS_YUV (info) ? G_N_ELEMENTS (more) : 1); k++) {
      g_autofree gchar *text = g_strdup_printf (line, formats[f] == GST_VIDEO_FORMAT_GRAY8
          ? "video/x-raw,format=RGB ! videoconvert !" : "",
          gst_video_format_to_string (formats[f]), more[k]);
      GstElement *pipeline = gst_parse_launch (text, NULL);
      g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (pipeline), "s");
      GstSample *sample = NULL;
      PirlImage image = { 0 };

      gst_element_set_state (pipeline, GST_STATE_PLAYING);
      g_signal_emit_by_name (sink, "pull-sample", &sample);
      fail_unless (sample != NULL, "%s", text);
      jpeg_decode_buffer (gst_sample_get_buffer (sample), &image);
      for (gsize i = 0; i < (gsize) image.height * image.stride; i++)
        fail_unless (image.data[i] == 255, "%s: white is %d", text, image.data[i]);
      pirl_image_clear (&image);
      gst_sample_unref (sample);
      gst_element_set_state (pipeline, GST_STATE_NULL);
      gst_object_unref (pipeline);
    }
  }
}

GST_END_TEST;

/* ---- random cases ------------------------------------------------------------------------- */

typedef struct {
  GstVideoInfo info;            /* of tightly packed planes as GStreamer lays them out */
  gint quality;
  guint32 seed;
} Case;

/* The byte of component @c at (x, y): slopes and a texture. */
static guint8
texture (guint32 seed, guint c, gint x, gint y)
{
  return (guint8) (seed + 40 * c + x * (1 + c) + y * (2 - c / 2) + ((x ^ y) & 15) * (seed % 5));
}

static void
fill (GstVideoFrame * frame, guint32 seed)
{
  for (guint c = 0; c < GST_VIDEO_FRAME_N_COMPONENTS (frame); c++) {
    gint w = GST_VIDEO_FRAME_COMP_WIDTH (frame, c), h = GST_VIDEO_FRAME_COMP_HEIGHT (frame, c);
    gint step = GST_VIDEO_FRAME_COMP_PSTRIDE (frame, c);

    for (gint y = 0; y < h; y++) {
      guint8 *row = GST_VIDEO_FRAME_COMP_DATA (frame, c);

      row += y * GST_VIDEO_FRAME_COMP_STRIDE (frame, c);
      for (gint x = 0; x < w; x++)
        row[x * step] = texture (seed, c, x, y);
    }
  }
}

/* Bytes of a plane's rows that belong to the picture. */
static gsize
row_bytes (const GstVideoInfo * info, guint plane)
{
  gsize bytes = 0;

  for (guint c = 0; c < GST_VIDEO_INFO_N_COMPONENTS (info); c++) {
    if (GST_VIDEO_INFO_COMP_PLANE (info, c) == plane)
      bytes = MAX (bytes, (gsize) GST_VIDEO_INFO_COMP_POFFSET (info, c) + 1
          + (GST_VIDEO_INFO_COMP_WIDTH (info, c) - 1) * GST_VIDEO_INFO_COMP_PSTRIDE (info, c));
  }
  return bytes;
}

static gint
plane_height (const GstVideoInfo * info, guint plane)
{
  for (guint c = 0; c < GST_VIDEO_INFO_N_COMPONENTS (info); c++) {
    if (GST_VIDEO_INFO_COMP_PLANE (info, c) == plane)
      return GST_VIDEO_INFO_COMP_HEIGHT (info, c);
  }
  g_return_val_if_reached (0);
}

/* With a GstVideoMeta of random gaps between and behind the rows, and not a byte after the last
 * pixel. @rand NULL: packed. */
static GstBuffer *
make_buffer (const Case * what, GRand * rand)
{
  gsize offset[GST_VIDEO_MAX_PLANES] = { 0 }, size = 0;
  gint stride[GST_VIDEO_MAX_PLANES] = { 0 };
  const GstVideoInfo *info = &what->info;
  GstVideoFrame frame;
  GstBuffer *buffer;

  for (guint p = 0; p < GST_VIDEO_INFO_N_PLANES (info); p++) {
    gsize bytes = row_bytes (info, p);

    offset[p] = rand ? size + g_rand_int_range (rand, 0, 40) : GST_VIDEO_INFO_PLANE_OFFSET (info, p);
    stride[p] = rand ? (gint) bytes + g_rand_int_range (rand, 0, 70)
        : GST_VIDEO_INFO_PLANE_STRIDE (info, p);
    size = offset[p] + (gsize) stride[p] * (plane_height (info, p) - 1) + bytes;
  }
  buffer = gst_buffer_new_wrapped (g_malloc (rand ? size : info->size), rand ? size : info->size);
  gst_buffer_memset (buffer, 0, rand ? 0xe5 : 0, -1);
  if (rand)
    gst_buffer_add_video_meta_full (buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT (info),
        GST_VIDEO_INFO_WIDTH (info), GST_VIDEO_INFO_HEIGHT (info), GST_VIDEO_INFO_N_PLANES (info),
        offset, stride);
  fail_unless (gst_video_frame_map (&frame, info, buffer, GST_MAP_WRITE));
  fill (&frame, what->seed);
  gst_video_frame_unmap (&frame);
  return buffer;
}

static GstBuffer *
encode (GstHarness * h, GstBuffer * in)
{
  GstBuffer *out;

  fail_unless_equals_int (gst_harness_push (h, in), GST_FLOW_OK);
  out = gst_harness_try_pull (h);
  fail_unless (out != NULL);
  return out;
}

static gboolean
same_bytes (GstBuffer * a, GstBuffer * b)
{
  GstMapInfo x;
  gboolean same;

  gst_buffer_map (b, &x, GST_MAP_READ);
  same = gst_buffer_get_size (a) == x.size && gst_buffer_memcmp (a, 0, x.data, x.size) == 0;
  gst_buffer_unmap (b, &x);
  return same;
}

static void
check_against_caps (GstHarness * h, GstBuffer * out, const gchar * label)
{
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (h->sinkpad);
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  JpegInfo info = jpeg_parse_buffer (out);
  PirlImage image = { 0 };
  gint width, height;

  gst_structure_get_int (s, "width", &width);
  gst_structure_get_int (s, "height", &height);
  jpeg_decode_buffer (out, &image);
  fail_unless (image.width == width && image.height == height, "%s: decodes to %dx%d", label,
      image.width, image.height);
  fail_unless_equals_int (info.sof, 0);
  fail_unless_equals_string (gst_structure_get_string (s, "sampling"),
      info.components == 1 ? "GRAYSCALE" : "YCbCr-4:2:0");
  fail_unless (info.components == 1 || (info.components == 3 && info.sampling[0] == 0x22
          && info.sampling[1] == 0x11 && info.sampling[2] == 0x11), "%s", label);
  pirl_image_clear (&image);
}

static gint
random_side (GRand * rand, gint most)
{
  /* Small sides and those around whole MCUs are where mistakes are. */
  switch (g_rand_int_range (rand, 0, 4)) {
    case 0:
      return g_rand_int_range (rand, 1, 20);
    case 1:
      return CLAMP (16 * g_rand_int_range (rand, 1, most / 16 + 1) + g_rand_int_range (rand, -1, 2),
          1, most);
    default:
      return g_rand_int_range (rand, 1, most + 1);
  }
}

GST_START_TEST (random_cases_decode_and_match_their_caps)
{
  gboolean is_long = g_strcmp0 (g_getenv ("PIRL_LONG"), "1") == 0;
  static const gchar *huffman[] = { "standard", "optimized", "tuned" };
  guint cases = is_long ? 2000 : 200;
  gint most = is_long ? 4097 : 130;
  GRand *rand = g_rand_new_with_seed (20240517);
  GstHarness *h[3];

  for (guint k = 0; k < 3; k++) {
    g_autofree gchar *line = g_strdup_printf ("adacompressenc policy=fixed huffman=%s", huffman[k]);

    h[k] = gst_harness_new_parse (line);
  }
  for (guint i = 0; i < cases; i++) {
    GstHarness *to = h[i % 3];
    GstElement *enc = gst_harness_find_element (to, "adacompressenc");
    Case what = {.quality = g_rand_int_range (rand, 0, 101),.seed = g_rand_int (rand) };
    g_autofree gchar *label = NULL;
    GstBuffer *gaps, *packed;
    GstCaps *caps;

    gst_video_info_set_format (&what.info, formats[g_rand_int_range (rand, 0,
                G_N_ELEMENTS (formats))], random_side (rand, most), random_side (rand, most));
    GST_VIDEO_INFO_FPS_N (&what.info) = 25;
    caps = gst_video_info_to_caps (&what.info);
    label = gst_caps_to_string (caps);
    GST_INFO ("%u: quality %d, %s", i, what.quality, label);
    gst_harness_set_src_caps (to, caps);
    g_object_set (enc, "quality", what.quality, NULL);
    gaps = encode (to, make_buffer (&what, rand));
    packed = encode (to, make_buffer (&what, NULL));
    fail_unless (same_bytes (gaps, packed), "strides change the picture: %s", label);
    check_against_caps (to, gaps, label);
    gst_buffer_unref (gaps);
    gst_buffer_unref (packed);
    gst_object_unref (enc);
  }
  for (guint k = 0; k < 3; k++)
    gst_harness_teardown (h[k]);
  g_rand_free (rand);
}

GST_END_TEST;

/* The longest sides that JPEG libraries write. */
GST_START_TEST (the_longest_sides)
{
  static const gint sizes[][2] = { {65500, 1}, {1, 65500}, {65500, 17} };
  GstHarness *h = gst_harness_new_parse ("adacompressenc policy=fixed");

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    Case what = {.seed = i };
    GstBuffer *out;

    gst_video_info_set_format (&what.info, GST_VIDEO_FORMAT_I420, sizes[i][0], sizes[i][1]);
    GST_VIDEO_INFO_FPS_N (&what.info) = 25;
    gst_harness_set_src_caps (h, gst_video_info_to_caps (&what.info));
    out = encode (h, make_buffer (&what, NULL));
    check_against_caps (h, out, "long");
    gst_buffer_unref (out);
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

static Suite *
formats_suite (void)
{
  Suite *s = suite_create ("adacompressenc-formats");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_set_timeout (tc, 3600);
  suite_add_tcase (s, tc);
  tcase_add_test (tc, colours_are_true);
  tcase_add_test (tc, white_is_white_without_colorimetry);
  tcase_add_test (tc, random_cases_decode_and_match_their_caps);
  tcase_add_test (tc, the_longest_sides);
  return s;
}

int
main (int argc, char **argv)
{
  Suite *s;

  leaks_watch ();
  gst_check_init (&argc, &argv);
  s = formats_suite ();
  return gst_check_run_suite (s, "adacompressenc-formats", __FILE__);
}
