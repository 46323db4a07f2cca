/* gst-pirl: tests of pirljigsaw.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the views must look like is the kernels' business and tested there; here the element must
 * deliver exactly what the kernels render from the same settings, in the memory, caps and metas
 * promised, whatever happens around it. */
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

/* ---- helpers ------------------------------------------------------------------------------ */

/* A picture without symmetry; bytes between rows are poison that must never show. */
static GstBuffer *
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

static GstBuffer *
packed_picture (gint width, gint height, guint salt)
{
  return picture (width, height, GST_ROUND_UP_4 (3 * width), salt);
}

static GstBuffer *
sample (gint width, gint height, guint salt, guint epoch, guint64 index)
{
  GstBuffer *buffer = packed_picture (width, height, salt);
  const GstPirlSample s = {.index = index,.count = 100,.epoch = epoch,.label = 3,.split = "train",
    .name = "a/b.png"
  };

  gst_pirl_sample_add (buffer, &s);
  return buffer;
}

static GstHarness *
harness_new (const gchar * properties)
{
  g_autofree gchar *line = g_strdup_printf ("pirljigsaw image-size=%d seed=%d %s", SIZE, SEED,
      properties);

  return gst_harness_new_parse (line);
}

static void
set_size (GstHarness * h, gint width, gint height)
{
  g_autofree gchar *caps = g_strdup_printf ("video/x-raw,format=RGB,width=%d,height=%d,"
      "framerate=25/1", width, height);

  gst_harness_set_src_caps_str (h, caps);
}

static void
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
static PirlPretextConfig
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
static void
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

static void
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

static const GstStructure *
pretext_of (GstBuffer * buffer)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_PRETEXT_META);

  fail_unless (meta != NULL, "no meta " GST_PIRL_PRETEXT_META);
  return gst_custom_meta_get_structure (meta);
}

static gint
nth_int (const GstStructure * s, const gchar * field, guint i)
{
  const GValue *array = gst_structure_get_value (s, field);

  fail_unless (GST_VALUE_HOLDS_ARRAY (array) && i < gst_value_array_get_size (array));
  return g_value_get_int (gst_value_array_get_value (array, i));
}

static GstBuffer *
push_pull (GstHarness * h, GstBuffer * in)
{
  fail_unless_equals_int (gst_harness_push (h, in), GST_FLOW_OK);
  return gst_harness_pull (h);
}

static gboolean
same_bytes (GstBuffer * a, GstBuffer * b)
{
  GstMapInfo map;
  gboolean same;

  fail_unless (gst_buffer_map (b, &map, GST_MAP_READ));
  same = gst_buffer_get_size (a) == map.size && gst_buffer_memcmp (a, 0, map.data, map.size) == 0;
  gst_buffer_unmap (b, &map);
  return same;
}

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

GST_START_TEST (tensors_win_over_video_whatever_the_peer_prefers)
{
  static const gchar *peers[] = { "video/x-raw; other/tensors", "other/tensors; video/x-raw",
    "other/tensors,format=static"
  };

  for (guint i = 0; i < G_N_ELEMENTS (peers); i++) {
    GstHarness *h = harness_new ("");

    gst_harness_set_sink_caps_str (h, peers[i]);
    set_size (h, 50, 37);
    gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
    assert_caps (h, VIEWS_CAPS);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

/* What a consumer renders from a frame and its meta. */
static void
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

  for (guint i = 0; i < G_N_ELEMENTS (peers); i++) {
    GstHarness *h = harness_new ("");

    gst_harness_set_sink_caps_str (h, peers[i]);
    set_size (h, 50, 37);
    gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
    assert_caps (h, VIEWS_CAPS);
    gst_harness_teardown (h);
  }
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

/* ---- draws -------------------------------------------------------------------------------- */

GST_START_TEST (draws_depend_on_the_sample_and_not_on_the_order)
{
  static const struct {
    guint epoch;
    guint64 index;
  } order[][6] = {
    {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}},
    {{1, 2}, {0, 1}, {1, 0}, {0, 2}, {0, 0}, {1, 1}},
  };
  GstBuffer *outs[2][6];

  for (guint run = 0; run < 2; run++) {
    GstHarness *h = harness_new ("");

    set_size (h, 50, 37);
    for (guint i = 0; i < 6; i++) {
      guint slot = order[run][i].epoch * 3 + order[run][i].index;

      outs[run][slot] =
          push_pull (h, sample (50, 37, 5, order[run][i].epoch, order[run][i].index));
    }
    gst_harness_teardown (h);
  }
  for (guint i = 0; i < 6; i++) {
    fail_unless (same_bytes (outs[0][i], outs[1][i]), "sample %u depends on the order", i);
    for (guint j = 0; j < i; j++)
      fail_if (same_bytes (outs[0][i], outs[0][j]), "samples %u and %u are drawn alike", i, j);
  }
  for (guint i = 0; i < 6; i++) {
    gst_buffer_unref (outs[0][i]);
    gst_buffer_unref (outs[1][i]);
  }
}

GST_END_TEST;

GST_START_TEST (frames_without_a_number_are_numbered_from_each_start)
{
  GstHarness *h = harness_new ("");
  guint8 image_view[SIZE * SIZE * 3], patches[PATCHES * PATCH * PATCH * 3];
  PirlPretextConfig c = default_config ();

  for (guint start = 0; start < 2; start++) {
    set_size (h, 50, 37);
    for (guint i = 0; i < 3; i++) {
      GstBuffer *in = packed_picture (50, 37, i), *out;

      render (&c, in, 50, 37, 152, 0, i, -1, image_view, patches);
      out = push_pull (h, in);
      assert_views (out, image_view, patches);
      gst_buffer_unref (out);
    }
    gst_element_set_state (h->element, GST_STATE_NULL);
    gst_harness_play (h);
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (seed_changes_every_draw)
{
  GstBuffer *outs[2];

  for (guint i = 0; i < 2; i++) {
    g_autofree gchar *line = g_strdup_printf ("pirljigsaw image-size=32 seed=%u", i);
    GstHarness *h = gst_harness_new_parse (line);

    set_size (h, 50, 37);
    outs[i] = push_pull (h, packed_picture (50, 37, 0));
    gst_harness_teardown (h);
  }
  fail_if (same_bytes (outs[0], outs[1]));
  gst_buffer_unref (outs[0]);
  gst_buffer_unref (outs[1]);
}

GST_END_TEST;

GST_START_TEST (fixed_permutation_is_the_set_s)
{
  GstHarness *h = harness_new ("permutations=20 permutation=13");
  g_autoptr (PirlPermutations) set = pirl_permutations_new (GRID, 20, SEED, NULL);
  const guint8 *want = pirl_permutations_nth (set, 13);

  set_size (h, 50, 37);
  for (guint i = 0; i < 4; i++) {
    GstBuffer *out = push_pull (h, packed_picture (50, 37, i));
    const GstStructure *s = pretext_of (out);
    gint index;

    fail_unless (gst_structure_get_int (s, "permutation-index", &index));
    fail_unless_equals_int (index, 13);
    for (guint k = 0; k < PATCHES; k++)
      fail_unless_equals_int (nth_int (s, "permutation", k), want[k]);
    gst_buffer_unref (out);
  }
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (identity_permutation_without_augmentation_shows_the_picture)
{
  /* Permutation 0 of all is the identity, a patch fills its cell, no crop but the whole picture has
   * its area, and there is no colour: cells of one grey each arrive in their places, untouched. */
  GstHarness *h = gst_harness_new_parse ("pirljigsaw image-size=90 crop-size=90 patch-size=30 "
      "permutation=0 flip=false brightness=0 contrast=0 saturation=0 hue=0 grayscale=0 "
      "crop-scale-min=1 patch-crop-scale-min=1");
  GstBuffer *in = gst_buffer_new_allocate (NULL, 272 * 90, NULL), *out;
  GstMapInfo map;

  fail_unless (gst_buffer_map (in, &map, GST_MAP_WRITE));
  for (gint y = 0; y < 90; y++)
    for (gint x = 0; x < 90; x++)
      memset (map.data + y * 272 + x * 3, 20 * (y / 30 * 3 + x / 30), 3);
  gst_buffer_unmap (in, &map);
  set_size (h, 90, 90);
  out = push_pull (h, in);
  fail_unless (gst_buffer_map (out, &map, GST_MAP_READ));
  for (gint y = 0; y < 90; y++)
    for (gint x = 0; x < 90 * 3; x++)
      fail_unless_equals_int (map.data[y * 270 + x], 20 * (y / 30 * 3 + x / 90));
  for (gint i = 0; i < PATCHES * 30 * 30 * 3; i++)
    fail_unless_equals_int (map.data[90 * 90 * 3 + i], 20 * (i / (30 * 30 * 3)));
  gst_buffer_unmap (out, &map);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (strengths_change_while_playing)
{
  GstHarness *h = harness_new ("");
  guint8 image_view[SIZE * SIZE * 3], patches[PATCHES * PATCH * PATCH * 3];
  PirlPretextConfig c = default_config ();
  GstBuffer *in, *out;

  set_size (h, 50, 37);
  gst_buffer_unref (push_pull (h, sample (50, 37, 0, 0, 9)));
  gst_harness_set (h, "pirljigsaw", "brightness", 0.0, "contrast", 0.0, "saturation", 0.0, "hue",
      0.0, "grayscale", 1.0, "blur", 1.0, "flip", FALSE, "crop-scale-min", 0.5,
      "patch-crop-scale-min", 0.9, "photometric", 1.0, NULL);
  /* Geometry is for READY: a change now waits for the next start. */
  gst_harness_set (h, "pirljigsaw", "image-size", 64, NULL);
  c.augment = (PirlAugment) {.grayscale = 1,.blur = 1,.photometric = 1 };
  c.flip = FALSE;
  c.crop_scale_min = 0.5f;
  c.patch_crop_scale_min = 0.9f;
  in = sample (50, 37, 0, 0, 9);
  render (&c, in, 50, 37, 152, 0, 9, -1, image_view, patches);
  out = push_pull (h, in);
  assert_views (out, image_view, patches);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

/* ---- transforms --------------------------------------------------------------------------- */

/* The second view: the side of its pictures and how many there are. */
static const struct
{
  const gchar *properties, *name;
  gint patch, patches, permutations;
} transforms[] = {
  {"", "jigsaw", PATCH, PATCHES, 0},
  {"transform=jigsaw permutations=20", "jigsaw", PATCH, PATCHES, 20},
  {"transform=rotation", "rotation", SIZE, 1, 0},
  /* Of a jigsaw's settings nothing is left. */
  {"transform=rotation permutations=20 permutation=13 grid=5 crop-size=77 patch-size=8", "rotation",
      SIZE, 1, 0},
  {"transform=both permutations=20 rotation=3", "both", PATCH, PATCHES, 20},
  {"transform=crop", "crop", SIZE, 1, 0},
};

static gint
degrees_of (GstBuffer * buffer)
{
  gint degrees = -1;

  fail_unless (gst_structure_get_int (pretext_of (buffer), "rotation", &degrees));
  return degrees;
}

GST_START_TEST (transforms_have_their_caps_and_metas)
{
  for (guint i = 0; i < G_N_ELEMENTS (transforms); i++) {
    for (guint frames = 0; frames < 2; frames++) {
      GstHarness *h = harness_new (transforms[i].properties);
      const gint patch = transforms[i].patch, patches = transforms[i].patches;
      g_autofree gchar *fields = g_strdup_printf ("transform=(string)%s,permutations=(int)%d,"
          "framerate=25/1", transforms[i].name, transforms[i].permutations);
      g_autofree gchar *want = frames
          ? g_strconcat ("video/x-raw(meta:PirlPretext),format=RGB,", fields, NULL)
          : g_strdup_printf ("other/tensors,format=static,num_tensors=2,types=\"uint8,uint8\","
          "dimensions=\"3:32:32:1,3:%d:%d:%d\",%s", patch, patch, patches, fields);
      GstCaps *caps, *expected = gst_caps_from_string (want);

      if (frames)
        gst_harness_set_sink_caps_str (h, "video/x-raw(meta:PirlPretext)");
      set_size (h, 50, 37);
      for (guint n = 0; n < 6; n++) {
        GstBuffer *out = push_pull (h, sample (50, 37, n, 0, n));
        GstPirlViews views = { 0 };
        gint permutation, turns;

        fail_unless_equals_string (gst_structure_get_string (pretext_of (out), "transform"),
            transforms[i].name);
        fail_unless (gst_pirl_pretext_get_sizes (out, &views, NULL));
        fail_unless (views.image == SIZE && views.patch == patch && views.patches == patches);
        fail_unless (gst_pirl_pretext_get_numbers (out, &permutation, &turns, NULL));
        fail_unless_equals_int (degrees_of (out), 90 * turns);
        fail_unless (transforms[i].permutations > 0 ? permutation >= 0
            && permutation < transforms[i].permutations : permutation == -1);
        if (!frames)
          fail_unless_equals_int (gst_memory_get_sizes (gst_buffer_peek_memory (out, 1), NULL,
                  NULL), patches * patch * patch * 3);
        gst_buffer_unref (out);
      }
      caps = gst_pad_get_current_caps (h->sinkpad);
      fail_unless (gst_caps_is_equal (caps, expected), "%s: %" GST_PTR_FORMAT, want, caps);
      gst_caps_unref (caps);
      gst_caps_unref (expected);
      gst_harness_teardown (h);
    }
  }
}

GST_END_TEST;

/* The same views whether they are rendered here or from the meta; pictures of any shape. */
GST_START_TEST (transforms_are_rendered_from_their_metas)
{
  static const gint sizes[][2] = { {50, 37}, {1, 1}, {1, 90}, {90, 1}, {3, 200}, {300, 200} };

  for (guint i = 0; i < G_N_ELEMENTS (transforms); i++) {
    g_autofree gchar *properties = g_strconcat ("photometric=0.5 blur=0.5 ",
        transforms[i].properties, NULL);
    GstHarness *rendering = harness_new (properties), *sending = harness_new (properties);
    const gsize bytes = 3 * transforms[i].patches * transforms[i].patch * transforms[i].patch;

    gst_harness_set_sink_caps_str (sending, "video/x-raw(meta:PirlPretext)");
    for (guint j = 0; j < 2 * G_N_ELEMENTS (sizes); j++) {
      const gint width = sizes[j / 2][0], height = sizes[j / 2][1];
      guint8 image_view[SIZE * SIZE * 3], second[PATCHES * SIZE * SIZE * 3];
      GstBuffer *frame, *views;

      set_size (rendering, width, height);
      set_size (sending, width, height);
      views = push_pull (rendering, sample (width, height, j, 1, j));
      frame = push_pull (sending, sample (width, height, j, 1, j));
      fail_unless_equals_int (degrees_of (views), degrees_of (frame));
      render_from_meta (frame, image_view, second);
      fail_unless_equals_int (gst_buffer_get_size (views), sizeof (image_view) + bytes);
      fail_unless (gst_buffer_memcmp (views, 0, image_view, sizeof (image_view)) == 0);
      fail_unless (gst_buffer_memcmp (views, sizeof (image_view), second, bytes) == 0);
      gst_buffer_unref (views);
      gst_buffer_unref (frame);
    }
    gst_harness_teardown (rendering);
    gst_harness_teardown (sending);
  }
}

GST_END_TEST;

#define UNTOUCHED "flip=false brightness=0 contrast=0 saturation=0 hue=0 grayscale=0 " \
  "crop-scale-min=1 patch-crop-scale-min=1 "
/* Colours of the corners: top left, top right, bottom right, bottom left. */
static const guint8 corners[4][3] = { {200, 0, 0}, {0, 200, 0}, {0, 0, 200}, {200, 200, 0} };

/* A picture of 60 x 60 in four quarters of one colour each. */
static GstBuffer *
coloured_corners (void)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 60 * 180, NULL);
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_WRITE));
  for (gint y = 0; y < 60; y++)
    for (gint x = 0; x < 60; x++)
      memcpy (map.data + 180 * y + 3 * x, corners[y < 30 ? x >= 30 : 2 + (x < 30)], 3);
  gst_buffer_unmap (buffer, &map);
  return buffer;
}

/* The corner's number at (x, y) of that picture when it has been turned: each quarter of a turn,
 * counter-clockwise, brings the top right corner to the top left. */
static gint
corner_at (gint x, gint y, gint turns)
{
  return ((y < 30 ? x >= 30 : 2 + (x < 30)) + turns) % 4;
}

/* What is to see in the second view, as tensor or as mosaic, at (x, y). */
static void
assert_corner (const guint8 * pixel, gint x, gint y, gint turns)
{
  fail_unless (memcmp (pixel, corners[corner_at (x, y, turns)], 3) == 0,
      "(%d,%d), turned by %d: %d %d %d", x, y, turns, pixel[0], pixel[1], pixel[2]);
}

GST_START_TEST (rotation_turns_counter_clockwise)
{
  for (gint i = 0; i < 8; i++) {
    const gint turns = i / 2;
    const gboolean mosaic = i % 2;
    g_autofree gchar *line = g_strdup_printf ("pirljigsaw transform=rotation image-size=60 "
        UNTOUCHED "rotation=%d", turns);
    GstHarness *h = gst_harness_new_parse (line);
    GstBuffer *out;
    GstMapInfo map;

    if (mosaic)
      gst_harness_set_sink_caps_str (h, "video/x-raw,format=RGB");
    set_size (h, 60, 60);
    out = push_pull (h, coloured_corners ());
    fail_unless_equals_int (degrees_of (out), 90 * turns);
    fail_unless (gst_buffer_map (out, &map, GST_MAP_READ));
    fail_unless_equals_int (map.size, (mosaic ? 1 : 2) * 60 * 180);
    for (gint y = 0; y < 60; y++)
      for (gint x = 0; x < 60; x++) {
        const guint8 *image = map.data + 180 * y + 3 * x;

        if (!mosaic)
          assert_corner (image, x, y, 0);
        assert_corner (mosaic ? image : image + 60 * 180, x, y, turns);
      }
    gst_buffer_unmap (out, &map);
    gst_buffer_unref (out);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

/* Patches that fill their cells, in order, are the turned picture, cut. */
GST_START_TEST (both_turns_before_it_cuts)
{
  for (gint turns = 0; turns < 4; turns++) {
    g_autofree gchar *line = g_strdup_printf ("pirljigsaw transform=both image-size=60 grid=4 "
        "crop-size=60 patch-size=15 permutation=0 " UNTOUCHED "rotation=%d", turns);
    GstHarness *h = gst_harness_new_parse (line);
    GstBuffer *out;
    GstMapInfo map;

    set_size (h, 60, 60);
    out = push_pull (h, coloured_corners ());
    fail_unless_equals_int (degrees_of (out), 90 * turns);
    fail_unless (gst_buffer_map (out, &map, GST_MAP_READ));
    for (gint i = 0; i < 60 * 60; i++) {
      const gint cell = i / (15 * 15), x = cell % 4 * 15 + i % 15, y = cell / 4 * 15 + i / 15 % 15;

      assert_corner (map.data + 60 * 180 + 3 * i, x, y, turns);
    }
    gst_buffer_unmap (out, &map);
    gst_buffer_unref (out);
    gst_harness_teardown (h);
  }
}

GST_END_TEST;

/* Every turn comes, as the seed, the epoch and the index say; with turns asked for, all else is as
 * without. */
GST_START_TEST (turns_are_drawn)
{
  GstHarness *drawing = harness_new ("transform=rotation"), *again = harness_new
      ("transform=rotation"), *fixed = harness_new ("transform=rotation rotation=2");
  GstHarness *harnesses[] = { drawing, again, fixed };
  guint seen[4] = { 0 };

  for (guint k = 0; k < G_N_ELEMENTS (harnesses); k++)
    set_size (harnesses[k], 50, 37);
  for (guint i = 0; i < 60; i++) {
    GstBuffer *a = push_pull (drawing, sample (50, 37, 0, i % 2, i));
    GstBuffer *b = push_pull (again, sample (50, 37, 0, i % 2, i));
    GstBuffer *c = push_pull (fixed, sample (50, 37, 0, i % 2, i));

    fail_unless (same_bytes (a, b));
    fail_unless_equals_int (degrees_of (a), degrees_of (b));
    fail_unless_equals_int (degrees_of (c), 180);
    fail_unless (same_bytes (a, c) == (degrees_of (a) == 180));
    for (guint k = 0; k < 8; k++)
      fail_unless_equals_int (nth_int (pretext_of (a), "crops", k), nth_int (pretext_of (c),
              "crops", k));
    seen[degrees_of (a) / 90]++;
    gst_buffer_unref (a);
    gst_buffer_unref (b);
    gst_buffer_unref (c);
  }
  for (guint t = 0; t < 4; t++)
    fail_unless (seen[t] > 0, "no picture was turned by %u quarters", t);
  for (guint k = 0; k < G_N_ELEMENTS (harnesses); k++)
    gst_harness_teardown (harnesses[k]);
}

GST_END_TEST;

/* ---- metas -------------------------------------------------------------------------------- */

GST_START_TEST (metas_are_kept_and_added)
{
  GstHarness *h = harness_new ("");
  GstBuffer *out;
  GstPirlSample s;
  const GstStructure *pretext;
  guint seen = 0;
  gint number;

  set_size (h, 50, 37);
  out = push_pull (h, sample (50, 37, 0, 2, 11));
  fail_unless (gst_pirl_sample_get (out, &s));
  fail_unless_equals_uint64 (s.index, 11);
  fail_unless_equals_uint64 (s.count, 100);
  fail_unless_equals_int (s.epoch, 2);
  fail_unless_equals_int (s.label, 3);
  fail_unless_equals_string (s.split, "train");
  fail_unless_equals_string (s.name, "a/b.png");

  pretext = pretext_of (out);
  fail_unless_equals_string (gst_structure_get_string (pretext, "transform"), "jigsaw");
  fail_unless (gst_structure_get_int (pretext, "rotation", &number) && number == 0);
  fail_unless (gst_structure_get_int (pretext, "permutation-index", &number) && number == -1);
  for (guint i = 0; i < PATCHES; i++)
    seen |= 1u << nth_int (pretext, "permutation", i);
  fail_unless_equals_int (seen, 0x1FF);
  for (guint view = 0; view < 2; view++) {
    gint x = nth_int (pretext, "crops", 4 * view), y = nth_int (pretext, "crops", 4 * view + 1);
    gint w = nth_int (pretext, "crops", 4 * view + 2);
    gint height = nth_int (pretext, "crops", 4 * view + 3);

    fail_unless (x >= 0 && y >= 0 && w > 0 && height > 0 && x + w <= 50 && y + height <= 37);
  }
  fail_unless_equals_int (gst_value_array_get_size (gst_structure_get_value (pretext, "flips")),
      1 + PATCHES);
  fail_unless_equals_int (gst_value_array_get_size (gst_structure_get_value (pretext, "jitter")),
      6 * (1 + PATCHES));
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

GST_START_TEST (meta_describes_the_draws)
{
  GstHarness *h = harness_new ("");
  g_autoptr (PirlPermutations) set = pirl_permutations_new (GRID, 0, SEED, NULL);
  PirlPretextConfig c = default_config ();
  PirlPretext p;
  GstBuffer *out;
  const GstStructure *s;
  const GValue *jitter;

  set_size (h, 50, 37);
  pirl_pretext_draw (&c, set, -1, 50, 37, SEED, 1, 4, &p);
  out = push_pull (h, sample (50, 37, 0, 1, 4));
  s = pretext_of (out);
  for (guint i = 0; i < PATCHES; i++) {
    fail_unless_equals_int (nth_int (s, "permutation", i), p.permutation[i]);
    fail_unless_equals_int (nth_int (s, "flips", 1 + i), p.patch_colour[i].flip);
  }
  fail_unless_equals_int (nth_int (s, "crops", 2), p.image_crop.width);
  fail_unless_equals_int (nth_int (s, "crops", 5), p.patch_crop.y);
  fail_unless_equals_int (nth_int (s, "flips", 0), p.image_colour.flip);
  jitter = gst_structure_get_value (s, "jitter");
  fail_unless_equals_float (g_value_get_double (gst_value_array_get_value (jitter, 1)),
      p.image_colour.contrast);
  fail_unless_equals_float (g_value_get_double (gst_value_array_get_value (jitter, 6 * 3 + 3)),
      p.patch_colour[2].hue);
  gst_buffer_unref (out);
  gst_harness_teardown (h);
}

GST_END_TEST;

static void
set_array (GstStructure * s, const gchar * field, guint at, gint number)
{
  GValue array = G_VALUE_INIT, value = G_VALUE_INIT;

  g_value_init (&array, GST_TYPE_ARRAY);
  g_value_copy (gst_structure_get_value (s, field), &array);
  g_value_init (&value, G_TYPE_INT);
  g_value_set_int (&value, number);
  g_value_copy (&value, (GValue *) gst_value_array_get_value (&array, at));
  gst_structure_take_value (s, field, &array);
}

/* A consumer must not follow what cannot be. */
GST_START_TEST (bad_metas_are_refused)
{
  static const struct {
    const gchar *field;
    gint at, number;            /* at -1: the field goes; -2: it is a number */
  } damages[] = {
    {"crops", -1, 0}, {"offsets", 3, -1}, {"offsets", 3, 4}, {"permutation", 0, 9},
    {"permutation", -1, 0}, {"orders", 7, 4}, {"orders", 0, -1}, {"flips", -1, 0},
    {"jitter", -1, 0}, {"photometric", -1, 0}, {"grid", -2, 9}, {"patch-size", -2, 40},
    {"image-size", -1, 0}, {"crop-size", -2, 35}, {"transform", -1, 0}, {"transform", -2, 1},
    {"rotation", -1, 0}, {"rotation", -2, 90}, {"rotation", -2, -90}, {"rotation", -2, 45},
  };
  PirlPretextConfig c = default_config (), read;
  PirlPretext p, q;

  pirl_pretext_draw (&c, NULL, -1, 50, 37, SEED, 1, 4, &p);
  for (guint i = 0; i < G_N_ELEMENTS (damages); i++) {
    GstBuffer *buffer = gst_buffer_new ();
    GError *error = NULL;
    GstStructure *s;

    fail_if (gst_pirl_pretext_get (buffer, &read, &q, NULL));
    gst_pirl_pretext_add (buffer, &c, &p);
    fail_unless (gst_pirl_pretext_get (buffer, &read, &q, NULL));
    fail_unless (memcmp (&p, &q, sizeof (p)) == 0);
    s = gst_custom_meta_get_structure (gst_buffer_get_custom_meta (buffer,
            GST_PIRL_PRETEXT_META));
    if (damages[i].at == -1)
      gst_structure_remove_field (s, damages[i].field);
    else if (damages[i].at == -2)
      gst_structure_set (s, damages[i].field, G_TYPE_INT, damages[i].number, NULL);
    else
      set_array (s, damages[i].field, damages[i].at, damages[i].number);
    fail_if (gst_pirl_pretext_get (buffer, &read, &q, &error), "damage %u was not seen", i);
    fail_unless (error != NULL && error->domain == PIRL_ERROR);
    g_clear_error (&error);
    gst_buffer_unref (buffer);
  }
}

GST_END_TEST;

static GstPadProbeReturn
answer_resume (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  if (!gst_pirl_is_resume_query (GST_PAD_PROBE_INFO_QUERY (info)))
    return GST_PAD_PROBE_OK;
  gst_pirl_resume_answer (GST_PAD_PROBE_INFO_QUERY (info), 3, 500, 9, "abc");
  return GST_PAD_PROBE_HANDLED;
}

GST_START_TEST (dataset_event_and_resume_query_pass)
{
  GstHarness *h = harness_new ("");
  const GstPirlDataset dataset = {.count = 5,.epochs = 2,.seed = 1,.hash = (gchar *) "abc" };
  GstQuery *query = gst_pirl_resume_query_new ();
  guint64 epoch, index, seed;
  const gchar *hash;
  gboolean seen = FALSE;
  GstEvent *event;

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, answer_resume, NULL, NULL);
  fail_unless (gst_pad_peer_query (h->srcpad, query));
  fail_unless (gst_pirl_resume_parse (query, &epoch, &index, &seed, &hash));
  fail_unless_equals_uint64 (index, 500);
  fail_unless_equals_string (hash, "abc");
  gst_query_unref (query);

  set_size (h, 50, 37);
  fail_unless (gst_harness_push_event (h, gst_pirl_dataset_event_new (&dataset)));
  gst_buffer_unref (push_pull (h, packed_picture (50, 37, 0)));
  while ((event = gst_harness_try_pull_event (h)) != NULL) {
    seen |= GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM_STICKY
        && gst_event_has_name (event, GST_PIRL_DATASET_EVENT);
    gst_event_unref (event);
  }
  fail_unless (seen);
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
  tcase_add_test (tc, draws_depend_on_the_sample_and_not_on_the_order);
  tcase_add_test (tc, frames_without_a_number_are_numbered_from_each_start);
  tcase_add_test (tc, seed_changes_every_draw);
  tcase_add_test (tc, fixed_permutation_is_the_set_s);
  tcase_add_test (tc, identity_permutation_without_augmentation_shows_the_picture);
  tcase_add_test (tc, strengths_change_while_playing);
  tcase_add_test (tc, transforms_have_their_caps_and_metas);
  tcase_add_test (tc, transforms_are_rendered_from_their_metas);
  tcase_add_test (tc, rotation_turns_counter_clockwise);
  tcase_add_test (tc, both_turns_before_it_cuts);
  tcase_add_test (tc, turns_are_drawn);
  tcase_add_test (tc, metas_are_kept_and_added);
  tcase_add_test (tc, meta_describes_the_draws);
  tcase_add_test (tc, bad_metas_are_refused);
  tcase_add_test (tc, dataset_event_and_resume_query_pass);
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
  Suite *s;

  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  s = pirljigsaw_suite ();
  return gst_check_run_suite (s, "pirljigsaw", __FILE__);
}
