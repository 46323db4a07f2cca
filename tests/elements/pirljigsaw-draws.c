/* gst-pirl: tests of pirljigsaw: what is drawn, and what the metas say of it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the views must look like is the kernels' business and tested there; here the element must
 * deliver exactly what the kernels render from the same settings, in the memory, caps and metas
 * promised, whatever happens around it. */
#include "jigsaw-run.h"

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

static Suite *
pirljigsaw_draws_suite (void)
{
  Suite *s = suite_create ("pirljigsaw-draws");
  TCase *tc = tcase_create ("general");

  tcase_add_checked_fixture (tc, NULL, leaks_none);
  suite_add_tcase (s, tc);
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
  return s;
}

int
main (int argc, char **argv)
{
  return run_jigsaw_tests (argc, argv, pirljigsaw_draws_suite, __FILE__);
}
