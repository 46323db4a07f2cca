/* gst-pirl: what tests of pirljigsaw share: pictures, a harness, and what the kernels render.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "leaks.h"
#include "meta.h"
#include "pretext.h"

#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <string.h>

#define SIZE 32                 /* of the image view; the reference's ratios give: */
#define CROP 36
#define PATCH 9
#define GRID 3
#define PATCHES (GRID * GRID)
#define GAP 2
#define MOSAIC (GRID * PATCH + (GRID - 1) * GAP)
#define SEED 77
#define VIEWS_CAPS "other/tensors,format=static,num_tensors=2,types=\"uint8,uint8\"," \
  "dimensions=\"3:32:32:1,3:9:9:9\",framerate=25/1"

/* A picture without symmetry; bytes between rows are poison that must never show. */
static inline GstBuffer *
picture (gint width, gint height, gint stride, guint salt)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, (gsize) stride * height, NULL);
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_WRITE));
  memset (map.data, 0xEE, map.size);
  for (gint y = 0; y < height; y++) {
    for (gint x = 0; x < width; x++) {
      guint8 *p = map.data + (gsize) y * stride + 3 * x;

      p[0] = 255 * x / width;
      p[1] = 255 * y / height;
      p[2] = (x * 7 + y * 13 + salt * 29) % 251;
    }
  }
  gst_buffer_unmap (buffer, &map);
  return buffer;
}

static inline GstBuffer *
packed_picture (gint width, gint height, guint salt)
{
  return picture (width, height, GST_ROUND_UP_4 (3 * width), salt);
}

static inline GstBuffer *
sample (gint width, gint height, guint salt, guint epoch, guint64 index)
{
  GstBuffer *buffer = packed_picture (width, height, salt);
  const GstPirlSample s = {.index = index,.count = 100,.epoch = epoch,.label = 3,.split = "train",
    .name = "a/b.png"
  };

  gst_pirl_sample_add (buffer, &s);
  return buffer;
}

static inline GstHarness *
harness_new (const gchar * properties)
{
  g_autofree gchar *line = g_strdup_printf ("pirljigsaw image-size=%d seed=%d %s", SIZE, SEED,
      properties);

  return gst_harness_new_parse (line);
}

static inline void
set_size (GstHarness * h, gint width, gint height)
{
  g_autofree gchar *caps = g_strdup_printf ("video/x-raw,format=RGB,width=%d,height=%d,"
      "framerate=25/1", width, height);

  gst_harness_set_src_caps_str (h, caps);
}

static inline void
assert_caps (GstHarness * h, const gchar * want)
{
  GstCaps *caps = gst_pad_get_current_caps (h->sinkpad);
  GstCaps *expected = gst_caps_from_string (want);
  g_autofree gchar *text = gst_caps_to_string (caps);

  fail_unless (gst_caps_is_subset (caps, expected), "caps are %s, want %s", text, want);
  gst_caps_unref (caps);
  gst_caps_unref (expected);
}

/* The element's defaults, as documented. */
static inline PirlPretextConfig
default_config (void)
{
  PirlPretextConfig c;

  pirl_pretext_config_defaults (&c, SIZE, GRID);
  c.crop_size = CROP;
  c.patch_size = PATCH;
  c.crop_scale_min = 0.2f;
  c.patch_crop_scale_min = 0.6f;
  c.flip = TRUE;
  c.augment = (PirlAugment) {.brightness = 0.4f,.contrast = 0.4f,.saturation = 0.4f,.hue = 0.4f,
    .grayscale = 0.2f
  };
  return c;
}

/* What the kernels make of @buffer as sample (@epoch, @index). */
static inline void
render (const PirlPretextConfig * c, GstBuffer * buffer, gint width, gint height, gint stride,
    guint epoch, guint64 index, gint permutation, guint8 * image_view, guint8 * patches)
{
  g_autoptr (PirlPermutations) set = pirl_permutations_new (c->grid, 0, SEED, NULL);
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  PirlPretext pretext;
  GstMapInfo map;
  PirlImage image;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  image = (PirlImage) { width, height, stride, map.data };
  pirl_pretext_draw (c, set, permutation, width, height, SEED, epoch, index, &pretext);
  pirl_pretext_render_image (c, &pretext, resizer, &image, image_view);
  pirl_pretext_render_patches (c, &pretext, resizer, &image, patches);
  gst_buffer_unmap (buffer, &map);
}

static inline void
assert_views (GstBuffer * out, const guint8 * image_view, const guint8 * patches)
{
  fail_unless_equals_int (gst_buffer_n_memory (out), 2);
  fail_unless_equals_int (gst_memory_get_sizes (gst_buffer_peek_memory (out, 0), NULL, NULL),
      SIZE * SIZE * 3);
  fail_unless_equals_int (gst_memory_get_sizes (gst_buffer_peek_memory (out, 1), NULL, NULL),
      PATCHES * PATCH * PATCH * 3);
  if (image_view)
    fail_unless (gst_buffer_memcmp (out, 0, image_view, SIZE * SIZE * 3) == 0);
  if (patches)
    fail_unless (gst_buffer_memcmp (out, SIZE * SIZE * 3, patches,
            PATCHES * PATCH * PATCH * 3) == 0);
}

static inline const GstStructure *
pretext_of (GstBuffer * buffer)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_PRETEXT_META);

  fail_unless (meta != NULL, "no meta " GST_PIRL_PRETEXT_META);
  return gst_custom_meta_get_structure (meta);
}

static inline gint
nth_int (const GstStructure * s, const gchar * field, guint i)
{
  const GValue *array = gst_structure_get_value (s, field);

  fail_unless (GST_VALUE_HOLDS_ARRAY (array) && i < gst_value_array_get_size (array));
  return g_value_get_int (gst_value_array_get_value (array, i));
}

static inline GstBuffer *
push_pull (GstHarness * h, GstBuffer * in)
{
  fail_unless_equals_int (gst_harness_push (h, in), GST_FLOW_OK);
  return gst_harness_pull (h);
}

static inline gboolean
same_bytes (GstBuffer * a, GstBuffer * b)
{
  GstMapInfo map;
  gboolean same;

  fail_unless (gst_buffer_map (b, &map, GST_MAP_READ));
  same = gst_buffer_get_size (a) == map.size && gst_buffer_memcmp (a, 0, map.data, map.size) == 0;
  gst_buffer_unmap (b, &map);
  return same;
}

/* What a consumer renders from a frame and its meta. */
static inline void
render_from_meta (GstBuffer * frame, guint8 * image_view, guint8 * patches)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  const GstVideoMeta *video = gst_buffer_get_video_meta (frame);
  PirlPretextConfig config;
  PirlPretext pretext;
  GError *error = NULL;
  GstMapInfo map;
  PirlImage image;

  fail_unless (gst_pirl_pretext_get (frame, &config, &pretext, &error), "%s",
      error ? error->message : "");
  fail_unless (video != NULL && video->format == GST_VIDEO_FORMAT_RGB);
  fail_unless (gst_buffer_map (frame, &map, GST_MAP_READ));
  image = (PirlImage) { video->width, video->height, video->stride[0],
    map.data + video->offset[0] };
  pirl_pretext_render_image (&config, &pretext, resizer, &image, image_view);
  pirl_pretext_render_patches (&config, &pretext, resizer, &image, patches);
  gst_buffer_unmap (frame, &map);
}

/** A test program: runs @suite and looks for leaks. */
static inline int
run_jigsaw_tests (int argc, char **argv, Suite * (*suite) (void), const gchar * file)
{
  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  return gst_check_run_suite (suite (), "pirljigsaw", file);
}
