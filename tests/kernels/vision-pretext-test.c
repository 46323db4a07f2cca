/* gst-pirl: the distributions, geometry and rendering of the two views; sets of permutations.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Distributions are held against closed forms: Kolmogorov-Smirnov distances below 1.95 / sqrt (n) and
 * chi-squares below the 99.9 % quantile (k + 3.3 sqrt (2 k) + 5); seeds are fixed. */
#include "config.h"
#include "vision-common.h"
#include "vision/colour-loops.h"

#include <math.h>
#include <stdlib.h>

#define DRAWS 20000
#define SIDE 4000               /* pixels; so large that whole pixels do not show */

static int
compare_doubles (const void *a, const void *b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

/* The largest distance of @value's distribution from U[lo, hi]; sorts @value. */
static gdouble
distance_from_uniform (gdouble *value, gint n, gdouble lo, gdouble hi)
{
  gdouble distance = 0;

  qsort (value, n, sizeof *value, compare_doubles);
  for (gint i = 0; i < n; i++) {
    const gdouble expected = (value[i] - lo) / (hi - lo);

    distance = MAX (distance, fabs (expected - (i + 0.5) / n));
  }
  return distance;
}

static void
assert_uniform (const gchar *what, gdouble *value, gint n, gdouble lo, gdouble hi)
{
  const gdouble distance = distance_from_uniform (value, n, lo, hi);

  g_test_message ("%s: KS distance %.4f (limit %.4f)", what, distance, 1.95 / sqrt (n));
  g_assert_cmpfloat (distance, <, 1.95 / sqrt (n));
}

static void
assert_even (const gchar *what, const guint *count, gint cells, gint n)
{
  const gdouble expected = (gdouble) n / cells, freedom = cells - 1;
  const gdouble limit = freedom + 3.3 * sqrt (2 * freedom) + 5;
  gdouble chi_square = 0;

  for (gint i = 0; i < cells; i++)
    chi_square += (count[i] - expected) * (count[i] - expected) / expected;
  g_test_message ("%s: chi-square %.1f, %g degrees (limit %.1f)", what, chi_square, freedom, limit);
  g_assert_cmpfloat (chi_square, <, limit);
}

static void
test_crop_distribution (void)
{
  static gdouble area[DRAWS], ratio[DRAWS], x[DRAWS], y[DRAWS];
  PirlRng rng;

  pirl_rng_init (&rng, 3, 0, 0, PIRL_PURPOSE_TEST);
  for (gint i = 0; i < DRAWS; i++) {
    PirlBox box;

    /* Up to .5 of the area every ratio fits, so nothing is tried twice. */
    pirl_random_resized_crop (&rng, SIDE, SIDE, .08f, .5f, &box);
    g_assert_true (box.x >= 0 && box.y >= 0 && box.x + box.width <= SIDE
        && box.y + box.height <= SIDE);
    area[i] = (gdouble) box.width * box.height / ((gdouble) SIDE * SIDE);
    ratio[i] = log ((gdouble) box.width / box.height);
    x[i] = (gdouble) box.x / (SIDE - box.width);
    y[i] = (gdouble) box.y / (SIDE - box.height);
  }
  assert_uniform ("area", area, DRAWS, .08, .5);
  assert_uniform ("log ratio", ratio, DRAWS, log (3.0 / 4), log (4.0 / 3));
  assert_uniform ("x", x, DRAWS, 0, 1);
  assert_uniform ("y", y, DRAWS, 0, 1);
}

/* Where no try fits, the largest centred crop of an allowed ratio. */
static void
test_crop_of_thin_pictures (void)
{
  static const struct {
    gint width, height;
    PirlBox box;
  } thin[] = {
    { 1000, 10, { 493, 0, 13, 10 } }, { 10, 1000, { 0, 493, 10, 13 } },
    { 1, 500, { 0, 249, 1, 1 } }, { 500, 1, { 249, 0, 1, 1 } }, { 1, 1, { 0, 0, 1, 1 } },
  };
  PirlRng rng;

  pirl_rng_init (&rng, 4, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < G_N_ELEMENTS (thin); i++) {
    PirlBox box;

    pirl_random_resized_crop (&rng, thin[i].width, thin[i].height, .6f, 1, &box);
    g_assert_cmpint (box.x, ==, thin[i].box.x);
    g_assert_cmpint (box.y, ==, thin[i].box.y);
    g_assert_cmpint (box.width, ==, thin[i].box.width);
    g_assert_cmpint (box.height, ==, thin[i].box.height);
  }
}

static void
test_colour_distribution (void)
{
  static gdouble brightness[DRAWS], hue[DRAWS], radius[DRAWS], sharpness[DRAWS];
  const PirlAugment augment = { .4f, .3f, .2f, .1f, .2f, .66f, .5f };
  guint order[24] = { 0 }, bits[5] = { 0 }, grey[2] = { 0 }, photometric[2] = { 0 };
  gint blurred = 0, flips = 0;
  PirlRng rng;

  pirl_rng_init (&rng, 5, 0, 0, PIRL_PURPOSE_TEST);
  for (gint i = 0; i < DRAWS; i++) {
    PirlColour c;
    gint rank = 0;

    pirl_colour_draw (&rng, &augment, 112, .5f, &c);
    brightness[i] = c.brightness;
    hue[i] = c.hue;
    sharpness[i] = c.sharpness;
    g_assert_true (c.contrast >= .7f && c.contrast <= 1.3f);
    g_assert_true (c.saturation >= .8f && c.saturation <= 1.2f);
    g_assert_true (c.solarize_threshold >= 0 && c.solarize_threshold <= 256);
    g_assert_true (c.posterize_bits >= 4 && c.posterize_bits <= 8);
    bits[c.posterize_bits - 4]++;
    if (c.blur_radius > 0)
      radius[blurred++] = c.blur_radius;
    for (gint a = 0; a < 4; a++) {
      gint smaller = 0;

      for (gint b = a + 1; b < 4; b++)
        smaller += c.order[b] < c.order[a];
      rank = rank * (4 - a) + smaller;
    }
    order[rank]++;
    grey[c.grayscale]++;
    photometric[c.photometric]++;
    flips += c.flip;
  }
  assert_uniform ("brightness", brightness, DRAWS, .6, 1.4);
  assert_uniform ("hue", hue, DRAWS, -.1, .1);
  assert_uniform ("sharpness", sharpness, DRAWS, .1, 1.9);
  /* Half the size, half the radius. */
  assert_uniform ("blur radius", radius, blurred, .05, 1);
  assert_even ("order", order, 24, DRAWS);
  assert_even ("posterize bits", bits, 5, DRAWS);
  g_assert_cmpfloat (fabs (grey[1] / (gdouble) DRAWS - .2), <, .01);
  g_assert_cmpfloat (fabs (photometric[1] / (gdouble) DRAWS - .66), <, .012);
  g_assert_cmpfloat (fabs (blurred / (gdouble) DRAWS - .5), <, .012);
  g_assert_cmpfloat (fabs (flips / (gdouble) DRAWS - .5), <, .012);
}

static void
test_no_strength_changes_nothing (void)
{
  const PirlAugment none = { 0 };
  PirlImage before, after = { 0 };
  PirlRng rng;

  pirl_rng_init (&rng, 6, 0, 0, PIRL_PURPOSE_TEST);
  vision_picture (&before, 40, 30, 1);
  for (gint i = 0; i < 50; i++) {
    PirlColour c;

    pirl_colour_draw (&rng, &none, 224, 0, &c);
    pirl_image_copy (&before, &after);
    pirl_colour_apply (&c, &after);
    g_assert_cmpmem (before.data, before.stride * 30, after.data, after.stride * 30);
  }
  pirl_image_clear (&before);
  pirl_image_clear (&after);
}

static void
test_jigsaw_draws (void)
{
  enum { N = 5000 };
  guint place[81] = { 0 }, offset[22] = { 0 };
  PirlPretextConfig config;

  pirl_pretext_config_defaults (&config, 224, 3);
  g_assert_cmpint (config.crop_size, ==, 255);
  g_assert_cmpint (config.patch_size, ==, 64);
  for (gint n = 0; n < N; n++) {
    PirlPretext p;
    guint seen = 0;

    pirl_pretext_draw (&config, NULL, -1, 500, 375, 7, 2, n, &p);
    g_assert_cmpint (p.permutation_index, ==, -1);
    for (gint i = 0; i < 9; i++) {
      seen |= 1u << p.permutation[i];
      place[9 * i + p.permutation[i]]++;
      g_assert_true (p.offset_x[i] >= 0 && p.offset_x[i] <= 21);
      g_assert_true (p.offset_y[i] >= 0 && p.offset_y[i] <= 21);
      offset[p.offset_x[i]]++;
      offset[p.offset_y[i]]++;
    }
    g_assert_cmpuint (seen, ==, 511);
  }
  assert_even ("offsets", offset, 22, N * 18);
  for (gint i = 0; i < 9; i++)
    assert_even ("cell at a position", place + 9 * i, 9, N);
}

/* What the numbers of a sample were when this was written they are for ever: a run that is resumed
 * with a newer version goes on as it was. */
static void
test_draws_stay (void)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_MD5);
  PirlPretextConfig config;

  pirl_pretext_config_defaults (&config, 224, 3);
  config.augment = (PirlAugment) { .4f, .4f, .4f, .4f, .2f, .5f, .5f };
  for (gint n = 0; n < 100; n++) {
    gint drawn[2 + 2 * 4 + 9 * 3];
    PirlPretext p;

    pirl_pretext_draw (&config, NULL, -1, 500, 375, 11, 3, n, &p);
    memcpy (drawn, &p.image_crop, sizeof p.image_crop);
    memcpy (drawn + 4, &p.patch_crop, sizeof p.patch_crop);
    memcpy (drawn + 8, p.offset_x, 9 * sizeof (gint));
    memcpy (drawn + 17, p.offset_y, 9 * sizeof (gint));
    for (gint i = 0; i < 9; i++)
      drawn[26 + i] = p.permutation[i] + 16 * p.patch_colour[i].flip
          + 32 * p.patch_colour[i].order[2] + 128 * p.patch_colour[i].solarize_threshold;
    drawn[35] = p.image_colour.flip;
    drawn[36] = p.image_colour.posterize_bits;
    for (guint i = 0; i < G_N_ELEMENTS (drawn); i++)
      drawn[i] = GINT32_TO_LE (drawn[i]);
    g_checksum_update (sum, (const guchar *) drawn, sizeof drawn);
  }
  g_assert_cmpstr (g_checksum_get_string (sum), ==,
      "8f05594ab3c1517a815bedf2e95e3db3");
}

/* Where the pixel at (x, y) of a square turned by @turns quarters, counter-clockwise, comes from. */
static void
place_before_turn (gint side, gint turns, gint *x, gint *y)
{
  for (gint i = 0; i < turns; i++) {
    const gint right = side - 1 - *y;

    *y = *x;
    *x = right;
  }
}

static void
assert_turned (const PirlImage *turned, gint turns, const PirlImage *upright)
{
  for (gint y = 0; y < turned->height; y++)
    for (gint x = 0; x < turned->width; x++) {
      gint from_x = x, from_y = y;

      place_before_turn (turned->width, turns, &from_x, &from_y);
      g_assert_cmpmem (turned->data + y * turned->stride + 3 * x, 3,
          upright->data + from_y * upright->stride + 3 * from_x, 3);
    }
}

static void
test_turns (void)
{
  /* The red corner at the top right goes to the top left. */
  guint8 corner[12] = { 0, 0, 0, 255, 0, 0, 1, 2, 3, 4, 5, 6 };
  const guint8 expected[12] = { 255, 0, 0, 4, 5, 6, 0, 0, 0, 1, 2, 3 };

  pirl_image_turn (&(PirlImage) { 2, 2, 6, corner }, 1);
  g_assert_cmpmem (corner, 12, expected, 12);
  for (gint side = 1; side < 12; side++)
    for (gint turns = 0; turns < 4; turns++) {
      PirlImage upright, turned = { 0 };

      vision_picture (&upright, side, side, side);
      pirl_image_copy (&upright, &turned);
      pirl_image_turn (&turned, turns);
      assert_turned (&turned, turns, &upright);
      pirl_image_clear (&upright);
      pirl_image_clear (&turned);
    }
}

static PirlPretextConfig
config_of (PirlTransform transform, gint size)
{
  PirlPretextConfig config;

  pirl_pretext_config_defaults (&config, size, 3);
  config.augment = (PirlAugment) { .4f, .4f, .4f, .4f, .2f, .5f, .5f };
  pirl_pretext_config_transform (&config, transform);
  g_assert_true (pirl_pretext_config_check (&config, NULL));
  return config;
}

/* A transform changes its own numbers only; turns are even, and as asked for. */
static void
test_transform_draws (void)
{
  enum { N = 2000 };
  guint turns[4] = { 0 };
  const PirlPretextConfig jigsaw = config_of (PIRL_TRANSFORM_JIGSAW, 64);
  const PirlPretextConfig both = config_of (PIRL_TRANSFORM_BOTH, 64);
  const PirlPretextConfig rotation = config_of (PIRL_TRANSFORM_ROTATION, 64);
  const PirlPretextConfig crop = config_of (PIRL_TRANSFORM_CROP, 64);

  for (gint n = 0; n < N; n++) {
    PirlPretextConfig fixed = both;
    PirlPretext a, b, c, d, e;

    fixed.turns = n % 4;
    pirl_pretext_draw (&jigsaw, NULL, -1, 90, 75, 7, 2, n, &a);
    pirl_pretext_draw (&both, NULL, -1, 90, 75, 7, 2, n, &b);
    pirl_pretext_draw (&fixed, NULL, -1, 90, 75, 7, 2, n, &c);
    pirl_pretext_draw (&rotation, NULL, -1, 90, 75, 7, 2, n, &d);
    pirl_pretext_draw (&crop, NULL, -1, 90, 75, 7, 2, n, &e);
    g_assert_cmpint (a.turns, ==, 0);
    g_assert_cmpint (c.turns, ==, n % 4);
    g_assert_cmpint (e.turns, ==, 0);
    turns[b.turns]++;
    b.turns = c.turns = 0;
    g_assert_cmpmem (&a, sizeof a, &b, sizeof b);
    g_assert_cmpmem (&a, sizeof a, &c, sizeof c);
    turns[d.turns]++;
    d.turns = 0;
    g_assert_cmpmem (&d, sizeof d, &e, sizeof e);
    g_assert_cmpmem (&a.image_crop, sizeof a.image_crop, &e.image_crop, sizeof e.image_crop);
    g_assert_cmpmem (&a.image_colour, sizeof a.image_colour, &e.image_colour,
        sizeof e.image_colour);
  }
  assert_even ("turns", turns, 4, 2 * N);
}

/* The second view's crop has the image view's scales, and is another crop. */
static void
test_whole_crops (void)
{
  enum { N = 4000 };
  static gdouble area[2][N], other[N];
  PirlPretextConfig config = config_of (PIRL_TRANSFORM_CROP, 64);

  config.crop_scale_min = .2f;
  config.crop_scale_max = .5f;
  for (gint n = 0; n < N; n++) {
    PirlPretext p;

    pirl_pretext_draw (&config, NULL, -1, SIDE, SIDE, 5, 0, n, &p);
    area[0][n] = (gdouble) p.image_crop.width * p.image_crop.height / ((gdouble) SIDE * SIDE);
    area[1][n] = (gdouble) p.patch_crop.width * p.patch_crop.height / ((gdouble) SIDE * SIDE);
    other[n] = area[0][n] < area[1][n];
  }
  assert_uniform ("area of the image view", area[0], N, .2, .5);
  assert_uniform ("area of the second view", area[1], N, .2, .5);
  {
    gdouble smaller = 0;

    for (gint n = 0; n < N; n++)
      smaller += other[n];
    g_assert_cmpfloat (fabs (smaller - N / 2), <, 2 * sqrt (N));
  }
}

/* Crops, offsets, permutations and flips do not move when other settings change. */
static void
test_draws_are_independent (void)
{
  g_autoptr (PirlPermutations) set = pirl_permutations_new (3, 20, 1, NULL);
  PirlPretextConfig plain, strong;

  pirl_pretext_config_defaults (&plain, 224, 3);
  strong = plain;
  strong.augment = (PirlAugment) { .4f, .4f, .4f, .2f, .2f, .66f, .5f };
  for (gint n = 0; n < 200; n++) {
    PirlPretext a, b, c, again, other;

    pirl_pretext_draw (&plain, NULL, -1, 500, 375, 7, 2, n, &a);
    pirl_pretext_draw (&strong, NULL, -1, 500, 375, 7, 2, n, &b);
    pirl_pretext_draw (&strong, set, 5, 500, 375, 7, 2, n, &c);
    pirl_pretext_draw (&strong, NULL, -1, 500, 375, 7, 2, n, &again);
    pirl_pretext_draw (&strong, NULL, -1, 500, 375, 7, 3, n, &other);
    g_assert_cmpmem (&again, sizeof again, &b, sizeof b);
    g_assert_cmpint (memcmp (&other, &b, sizeof b), !=, 0);
    g_assert_cmpmem (&a.image_crop, sizeof a.image_crop, &b.image_crop, sizeof b.image_crop);
    g_assert_cmpmem (&a.patch_crop, sizeof a.patch_crop, &b.patch_crop, sizeof b.patch_crop);
    g_assert_cmpmem (a.offset_x, sizeof a.offset_x, b.offset_x, sizeof b.offset_x);
    g_assert_cmpmem (a.offset_y, sizeof a.offset_y, c.offset_y, sizeof c.offset_y);
    g_assert_cmpmem (a.permutation, 9, b.permutation, 9);
    g_assert_cmpmem (b.patch_colour, sizeof b.patch_colour, c.patch_colour, sizeof c.patch_colour);
    g_assert_cmpint (c.permutation_index, ==, 5);
    g_assert_cmpmem (c.permutation, 9, pirl_permutations_nth (set, 5), 9);
    for (gint i = 0; i < 9; i++)
      g_assert_cmpint (a.patch_colour[i].flip, ==, b.patch_colour[i].flip);
  }
}

/* Cell @cell of the resized crop, cut here. */
static void
check_patch (const PirlPretextConfig *config, const PirlPretext *p, const PirlImage *whole,
    gint cell, const guint8 *patch)
{
  const gint side = config->crop_size / config->grid, size = config->patch_size;

  for (gint y = 0; y < size; y++)
    for (gint x = 0; x < size; x++) {
      const gint from_x = cell % config->grid * side + p->offset_x[cell]
          + (p->patch_colour[cell].flip ? size - 1 - x : x);
      const gint from_y = cell / config->grid * side + p->offset_y[cell] + y;

      g_assert_cmpint (memcmp (patch + 3 * (y * size + x),
              whole->data + from_y * whole->stride + 3 * from_x, 3), ==, 0);
    }
}

/* Without colour, position i shows cell permutation[i] of the crop that pirl_resize() makes; for
 * pictures larger and smaller than the views. */
static void
check_rendering (gint width, gint height, gint size, gint grid)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  g_autoptr (PirlResizer) other = pirl_resizer_new ();
  g_autofree guint8 *patches = NULL, *view = NULL;
  PirlImage src, copy = { 0 }, whole;
  PirlPretextConfig config;
  PirlPretext p;
  gint cells = grid * grid, moved = 0;

  pirl_pretext_config_defaults (&config, size, grid);
  g_assert_true (pirl_pretext_config_check (&config, NULL));
  vision_picture (&src, width, height, 3);
  pirl_image_init (&whole, config.crop_size, config.crop_size);
  patches = g_malloc (cells * config.patch_size * config.patch_size * 3);
  view = g_malloc (3 * size * size);
  for (gint n = 0; n < 6; n++) {
    PirlImage crop;

    pirl_pretext_draw (&config, NULL, n == 0 ? 0 : -1, width, height, 1, 1, n, &p);
    crop = (PirlImage) { p.patch_crop.width, p.patch_crop.height, src.stride,
      src.data + p.patch_crop.y * src.stride + 3 * p.patch_crop.x };
    pirl_image_copy (&crop, &copy);
    pirl_resize (other, &copy, 0, 0, copy.width, copy.height, &whole);
    pirl_pretext_render_patches (&config, &p, resizer, &src, patches);
    for (gint i = 0; i < cells; i++) {
      moved += n == 0 && p.permutation[i] != i;
      check_patch (&config, &p, &whole, p.permutation[i],
          patches + i * config.patch_size * config.patch_size * 3);
    }
    /* The next picture's rendering may not depend on what the resizer holds. */
    pirl_pretext_render_image (&config, &p, resizer, &src, view);
  }
  g_assert_cmpint (moved, ==, 0);
  pirl_image_clear (&src);
  pirl_image_clear (&copy);
  pirl_image_clear (&whole);
}

static void
test_rendering (void)
{
  check_rendering (300, 200, 64, 3);
  check_rendering (40, 60, 96, 3);
  check_rendering (5, 3, 48, 2);
  check_rendering (128, 128, 64, 1);
  check_rendering (200, 300, 112, 4);
  check_rendering (200, 300, 224, 5);
}

/* Turned first, then cut: what a jigsaw makes of the scaled crop that was turned as a whole; a whole
 * view likewise. Without colours and flips, which would come between. */
static void
check_turned_first (const PirlPretextConfig *config, gint turns)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  const gint cells = config->grid * config->grid;
  const gsize bytes = 3 * (gsize) config->patch_size * config->patch_size;
  g_autofree guint8 *patches = g_malloc (cells * bytes);
  PirlImage src, whole;

  vision_picture (&src, 150, 110, 3);
  pirl_image_init (&whole, config->crop_size, config->crop_size);
  for (gint n = 0; n < 4; n++) {
    PirlImage crop;
    PirlPretext p;

    pirl_pretext_draw (config, NULL, -1, src.width, src.height, 1, 1, n, &p);
    g_assert_cmpint (p.turns, ==, turns);
    crop = (PirlImage) { p.patch_crop.width, p.patch_crop.height, src.stride,
      src.data + p.patch_crop.y * src.stride + 3 * p.patch_crop.x };
    pirl_resize (resizer, &crop, 0, 0, crop.width, crop.height, &whole);
    pirl_image_turn (&whole, turns);
    pirl_pretext_render_patches (config, &p, resizer, &src, patches);
    for (gint i = 0; i < cells; i++)
      check_patch (config, &p, &whole, p.permutation[i], patches + i * bytes);
  }
  pirl_image_clear (&src);
  pirl_image_clear (&whole);
}

static void
test_turned_first (void)
{
  static const PirlTransform transforms[] = { PIRL_TRANSFORM_ROTATION, PIRL_TRANSFORM_BOTH };
  static const gint sizes[] = { 64, 33, 7 };

  for (guint t = 0; t < G_N_ELEMENTS (transforms); t++)
    for (guint s = 0; s < G_N_ELEMENTS (sizes); s++)
      for (gint turns = 0; turns < 4; turns++) {
        PirlPretextConfig config = config_of (transforms[t], sizes[s]);

        config.augment = (PirlAugment) { 0 };
        config.flip = FALSE;
        config.turns = turns;
        check_turned_first (&config, turns);
      }
}

/* What the recipe @view says, step by step. */
static void
follow_recipe (const PirlView *view, PirlResizer *resizer, guint8 *dst)
{
  const PirlImage crop = { view->crop.width, view->crop.height, view->stride,
    (guint8 *) view->pixels + view->crop.y * view->stride + 3 * view->crop.x };
  PirlImage whole, part, result = { view->size, view->size, 3 * (gsize) view->size, dst };

  pirl_image_init (&whole, view->scaled, view->scaled);
  pirl_image_init (&part, view->size, view->size);
  pirl_resize (resizer, &crop, 0, 0, crop.width, crop.height, &whole);
  for (gint y = 0; y < view->size; y++)
    memcpy (part.data + y * part.stride,
        whole.data + (view->top + y) * whole.stride + 3 * view->left, part.stride);
  pirl_colour_apply (&view->colour, &part);
  for (gint y = 0; y < view->size; y++)
    for (gint x = 0; x < view->size; x++) {
      gint from_x = x, from_y = y;

      place_before_turn (view->size, view->turns, &from_x, &from_y);
      memcpy (result.data + y * result.stride + 3 * x,
          part.data + from_y * part.stride + 3 * from_x, 3);
    }
  pirl_image_clear (&whole);
  pirl_image_clear (&part);
}

static void
check_recipes (PirlTransform transform)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  const PirlPretextConfig config = config_of (transform, 64);
  const gint cells = config.grid * config.grid;
  const gsize image_bytes = 3 * 64 * 64, patch_bytes = 3 * config.patch_size * config.patch_size;
  PirlImage src;

  vision_picture (&src, 120, 90, 5);
  for (gint n = 0; n < 8; n++) {
    g_autofree guint8 *rendered = g_malloc (image_bytes + cells * patch_bytes);
    g_autofree guint8 *followed = g_malloc (image_bytes + cells * patch_bytes);
    PirlView image, patches[9];
    PirlPretext p;

    pirl_pretext_draw (&config, NULL, -1, src.width, src.height, 1, 1, n, &p);
    pirl_pretext_views (&config, &p, &src, &image, patches);
    pirl_pretext_render_image (&config, &p, resizer, &src, rendered);
    pirl_pretext_render_patches (&config, &p, resizer, &src, rendered + image_bytes);
    follow_recipe (&image, resizer, followed);
    for (gint i = 0; i < cells; i++)
      follow_recipe (&patches[i], resizer, followed + image_bytes + i * patch_bytes);
    g_assert_cmpmem (rendered, image_bytes + cells * patch_bytes, followed,
        image_bytes + cells * patch_bytes);
  }
  pirl_image_clear (&src);
}

static void
test_recipes (void)
{
  for (PirlTransform transform = 0; transform < PIRL_N_TRANSFORMS; transform++)
    check_recipes (transform);
}

/* Every number of threads gives the bytes that the plain functions give. */
static void
check_renderer (PirlRenderer *renderer, PirlResizer *resizer, const PirlPretextConfig *config,
    const PirlImage *src, guint64 index)
{
  const gsize image_bytes = 3 * (gsize) config->image_size * config->image_size;
  const gsize patch_bytes = 3 * (gsize) config->patch_size * config->patch_size * config->grid
      * config->grid;
  g_autofree guint8 *want = g_malloc (image_bytes + patch_bytes);
  g_autofree guint8 *got = g_malloc (image_bytes + patch_bytes);
  PirlPretext p;

  pirl_pretext_draw (config, NULL, -1, src->width, src->height, 3, 1, index, &p);
  pirl_pretext_render_image (config, &p, resizer, src, want);
  pirl_pretext_render_patches (config, &p, resizer, src, want + image_bytes);
  memset (got, 0x5a, image_bytes + patch_bytes);
  pirl_renderer_run (renderer, config, &p, src, got, got + image_bytes);
  g_assert_cmpmem (got, image_bytes + patch_bytes, want, image_bytes + patch_bytes);
  /* One without the other. */
  memset (got, 0x5a, image_bytes + patch_bytes);
  pirl_renderer_run (renderer, config, &p, src, index % 2 ? got : NULL,
      index % 2 ? NULL : got + image_bytes);
  if (index % 2)
    g_assert_cmpmem (got, image_bytes, want, image_bytes);
  else
    g_assert_cmpmem (got + image_bytes, patch_bytes, want + image_bytes, patch_bytes);
}

static void
test_threads (void)
{
  static const guint threads[] = { 1, 2, 3, 16 };
  static const struct {
    gint size, grid;
    PirlAugment augment;
    PirlTransform transform;
  } cases[] = {
    { 96, 3, { .4f, .4f, .4f, .4f, .2f, 0, 0 }, PIRL_TRANSFORM_JIGSAW },
    { 64, 2, { .4f, .4f, .4f, .4f, .2f, .5f, .5f }, PIRL_TRANSFORM_BOTH },
    { 50, 5, { 0, 0, .4f, .1f, 0, 0, 0 }, PIRL_TRANSFORM_JIGSAW },
    { 3, 1, { .4f, .4f, .4f, .4f, .2f, 0, 0 }, PIRL_TRANSFORM_JIGSAW },
    /* One cell with room in it. */
    { 64, 1, { .4f, .4f, .4f, .4f, .2f, .2f, .2f }, PIRL_TRANSFORM_BOTH },
    { 81, 3, { .4f, .4f, .4f, .4f, .2f, .3f, .3f }, PIRL_TRANSFORM_ROTATION },
    { 2, 3, { .4f, .4f, .4f, .4f, .2f, .3f, .3f }, PIRL_TRANSFORM_ROTATION },
    { 70, 3, { .4f, .4f, .4f, .4f, .2f, .3f, 0 }, PIRL_TRANSFORM_CROP },
  };
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();

  for (guint t = 0; t < G_N_ELEMENTS (threads); t++) {
    g_autoptr (PirlRenderer) renderer = pirl_renderer_new (threads[t], NULL);

    g_assert_nonnull (renderer);
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
      PirlPretextConfig config;
      PirlImage src;

      pirl_pretext_config_defaults (&config, cases[i].size, cases[i].grid);
      config.augment = cases[i].augment;
      pirl_pretext_config_transform (&config, cases[i].transform);
      vision_picture (&src, 90 + 37 * i, 80 + 11 * i, i);
      for (guint n = 0; n < 25; n++)
        check_renderer (renderer, resizer, &config, &src, n);
      pirl_image_clear (&src);
    }
  }
}

/* Renderers come and go, whether they have worked or not. */
static void
test_renderers_end (void)
{
  for (guint i = 0; i < 50; i++) {
    PirlRenderer *renderer = pirl_renderer_new (1 + i % 5, NULL);

    g_assert_nonnull (renderer);
    if (i % 3 == 0) {
      g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
      PirlPretextConfig config;
      PirlImage src;

      pirl_pretext_config_defaults (&config, 16, 3);
      vision_picture (&src, 30, 20, i);
      check_renderer (renderer, resizer, &config, &src, i);
      pirl_image_clear (&src);
    }
    pirl_renderer_free (renderer);
  }
  pirl_renderer_free (NULL);
}

/* Draws that take every step, with strengths beyond those of pirljigsaw. */
static void
draw_any_colour (PirlRng *rng, PirlColour *colour)
{
  const PirlAugment strong = { 1, 1, 1, .5f, .2f, .5f, .5f };

  pirl_colour_draw (rng, &strong, 224, .5f, colour);
  if (pirl_rng_chance (rng, .2f))
    colour->contrast = 1;
  if (colour->blur_radius > 0 && pirl_rng_chance (rng, .5f))
    colour->blur_radius *= 15;
}

/* Random pictures of random sizes, rows apart or not, with what lies between them untouched. */
static void
test_fast_colour_equals_plain (void)
{
  const PirlColourLoops *fast = pirl_colour_loops ();
  PirlRng rng;

  g_test_message ("fast loops: %s", pirl_colour_avx2 ()? "AVX2" : "none on this processor");
  pirl_rng_init (&rng, 8, 0, 0, PIRL_PURPOSE_TEST);
  for (gint i = 0; i < 400; i++) {
    const gint width = 1 + pirl_rng_below (&rng, i % 3 ? 70 : 700);
    const gint height = 1 + pirl_rng_below (&rng, 40), gap = i % 2 ? pirl_rng_below (&rng, 40) : 0;
    const gsize stride = 3 * (gsize) width + gap, size = stride * height;
    g_autofree guint8 *a = g_malloc (size), *b = g_malloc (size), *before = g_malloc (size);
    PirlImage image = { width, height, stride, a }, other = { width, height, stride, b };
    PirlColour colour;

    for (gsize k = 0; k < size; k++)
      before[k] = pirl_rng_u32 (&rng);
    memcpy (a, before, size);
    memcpy (b, before, size);
    draw_any_colour (&rng, &colour);
    pirl_colour_apply_with (&pirl_colour_plain, &colour, &image);
    pirl_colour_apply_with (fast, &colour, &other);
    g_assert_cmpmem (a, size, b, size);
    for (gint y = 0; y < height; y++)
      g_assert_cmpmem (a + y * stride + 3 * width, gap, before + y * stride + 3 * width, gap);
  }
}

/* Each of @loops' hues of every colour is that of the conversions to bytes and back, which are held
 * against Pillow's elsewhere. */
static void
check_hues (const PirlColourLoops *loops)
{
  g_autofree guint8 *line = g_malloc (3 * 256);
  const PirlPlanes planes = { line, 256 };

  for (guint rg = 0; rg < 1u << 16; rg++) {
    const guint8 turn = rg * 37;

    for (guint blue = 0; blue < 256; blue++) {
      line[blue] = rg >> 8;
      line[256 + blue] = rg & 255;
      line[512 + blue] = blue;
    }
    loops->hue (&planes, 256, turn);
    for (guint blue = 0; blue < 256; blue++) {
      const guint8 rgb[3] = { rg >> 8, rg & 255, blue };
      guint8 hsv[3], want[3];

      pirl_rgb_to_hsv (rgb, hsv);
      hsv[0] += turn;
      pirl_hsv_to_rgb (hsv, want);
      if (line[blue] != want[0] || line[256 + blue] != want[1] || line[512 + blue] != want[2])
        g_error ("(%d, %d, %d) turned by %d: (%d, %d, %d), wanted (%d, %d, %d)", rgb[0], rgb[1],
            rgb[2], turn, line[blue], line[256 + blue], line[512 + blue], want[0], want[1],
            want[2]);
    }
  }
}

static void
test_every_hue (void)
{
  check_hues (&pirl_colour_plain);
  check_hues (pirl_colour_loops ());
}

static void
test_config_errors (void)
{
  static const struct {
    gint image, crop, patch, grid;
    const gchar *word;
  } bad[] = {
    { 224, 255, 86, 3, "patch-size 86" }, { 224, 256, 64, 3, "255 is" },
    { 224, 255, 64, 6, "grid is 6" }, { 0, 255, 64, 3, "image-size" },
    { 224, 255, 0, 3, "patch-size" },
  };
  PirlPretextConfig config;

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;

    pirl_pretext_config_defaults (&config, 224, 3);
    config.image_size = bad[i].image;
    config.crop_size = bad[i].crop;
    config.patch_size = bad[i].patch;
    config.grid = bad[i].grid;
    g_assert_false (pirl_pretext_config_check (&config, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_assert_nonnull (strstr (error->message, bad[i].word));
  }
  for (gint size = 16; size <= 512; size += 8)
    for (gint grid = 1; grid <= PIRL_MAX_GRID; grid++) {
      g_autoptr (GError) error = NULL;

      pirl_pretext_config_defaults (&config, size, grid);
      pirl_pretext_config_check (&config, &error);
      g_assert_no_error (error);
    }
}

static gint
hamming (const guint8 *a, const guint8 *b, gint n)
{
  gint d = 0;

  for (gint i = 0; i < n; i++)
    d += a[i] != b[i];
  return d;
}

/* The smallest distance of @p to the first @n members. */
static gint
distance_to_set (const PirlPermutations *set, guint n, const guint8 *p, gint cells)
{
  gint d = cells;

  for (guint i = 0; i < n; i++)
    d = MIN (d, hamming (pirl_permutations_nth (set, i), p, cells));
  return d;
}

/* k rows of a Latin square of order 9 can always be completed (Hall), so a greedy choice reaches
 * distance 9 for the first nine members and no set of ten has it. At distance 8 no more than
 * 9 * 8 = 72 are possible (9! / 7!), at 7 no more than 504. */
static void
test_permutation_distances (void)
{
  g_autoptr (PirlPermutations) set = pirl_permutations_new (3, 1000, 11, NULL);
  gint last = 9;

  g_assert_cmpuint (pirl_permutations_count (set), ==, 1000);
  for (guint n = 1; n < 1000; n++) {
    const gint d = distance_to_set (set, n, pirl_permutations_nth (set, n), 9);

    if (n < 9)
      g_assert_cmpint (d, ==, 9);
    else if (n < 72)
      g_assert_cmpint (d, <=, 8);
    else
      g_assert_cmpint (d, <=, n < 504 ? 7 : 6);
    g_assert_cmpint (d, <=, last);
    if (d < last)
      g_test_message ("distance %d from member %u on", d, n);
    last = d;
  }
  g_assert_cmpint (last, >=, 5);
}

static gboolean
next_lexicographic (guint8 *p, gint n)
{
  gint i = n - 2, j = n - 1;
  guint8 t;

  while (i >= 0 && p[i] > p[i + 1])
    i--;
  if (i < 0)
    return FALSE;
  while (p[j] < p[i])
    j--;
  t = p[i], p[i] = p[j], p[j] = t;
  for (gint a = i + 1, b = n - 1; a < b; a++, b--)
    t = p[a], p[a] = p[b], p[b] = t;
  return TRUE;
}

/* By the definition: no permutation at all is farther from the members before than each member. */
static void
test_permutations_are_greedy (void)
{
  g_autoptr (PirlPermutations) set = pirl_permutations_new (3, 25, 12, NULL);

  for (guint n = 8; n < 25; n += 4) {
    const gint chosen = distance_to_set (set, n, pirl_permutations_nth (set, n), 9);
    guint8 p[9] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };

    do
      g_assert_cmpint (distance_to_set (set, n, p, 9), <=, chosen);
    while (next_lexicographic (p, 9));
  }
}

static void
test_permutation_sets (void)
{
  g_autoptr (PirlPermutations) a = pirl_permutations_new (3, 100, 1, NULL);
  g_autoptr (PirlPermutations) b = pirl_permutations_new (3, 100, 1, NULL);
  g_autoptr (PirlPermutations) c = pirl_permutations_new (3, 100, 2, NULL);
  g_autoptr (PirlPermutations) small = pirl_permutations_new (2, 24, 1, NULL);
  g_autoptr (PirlPermutations) large = pirl_permutations_new (4, 50, 1, NULL);
  g_autoptr (PirlPermutations) all = pirl_permutations_new (5, 0, 1, NULL);
  g_autoptr (GError) error = NULL;
  guint seen = 0;

  g_assert_cmpmem (pirl_permutations_nth (a, 0), 900, pirl_permutations_nth (b, 0), 900);
  g_assert_cmpint (memcmp (pirl_permutations_nth (a, 0), pirl_permutations_nth (c, 0), 9), !=, 0);
  /* All 24 of a grid of 2, each once. */
  for (guint i = 0; i < 24; i++) {
    const guint8 *p = pirl_permutations_nth (small, i);

    g_assert_cmpint (p[0] + p[1] + p[2] + p[3], ==, 6);
    if (i > 0)
      g_assert_cmpint (distance_to_set (small, i, p, 4), >=, i < 4 ? 4 : 2);
    seen |= 1u << p[0] | 16u << p[1] | 256u << p[2] | 4096u << p[3];
  }
  g_assert_cmpuint (seen, ==, 65535);
  for (guint i = 1; i < 50; i++)
    g_assert_cmpint (distance_to_set (large, i, pirl_permutations_nth (large, i), 16), >=, 13);
  g_assert_cmpuint (pirl_permutations_count (all), ==, 0);
  g_assert_null (pirl_permutations_nth (all, 0));
  g_assert_null (pirl_permutations_new (2, 25, 1, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_assert_nonnull (strstr (error->message, "25 permutations"));
  g_assert_nonnull (strstr (error->message, "24"));
  g_assert_null (pirl_permutations_new (6, 1, 1, NULL));
}

/* A permutation asked for by its number among all is the one of that lexicographic rank. */
static void
test_rank (void)
{
  guint8 p[4] = { 0, 1, 2, 3 };
  PirlPretextConfig config;

  pirl_pretext_config_defaults (&config, 64, 2);
  for (gint rank = 0; rank < 24; rank++) {
    PirlPretext pretext;

    pirl_pretext_draw (&config, NULL, rank, 100, 100, 1, 1, 1, &pretext);
    g_assert_cmpmem (pretext.permutation, 4, p, 4);
    next_lexicographic (p, 4);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/vision/crops-are-distributed-as-torchvisions", test_crop_distribution);
  g_test_add_func ("/vision/thin-pictures-are-cropped-centrally", test_crop_of_thin_pictures);
  g_test_add_func ("/vision/colours-are-distributed-as-said", test_colour_distribution);
  g_test_add_func ("/vision/no-strength-changes-nothing", test_no_strength_changes_nothing);
  g_test_add_func ("/vision/jigsaw-draws-are-even", test_jigsaw_draws);
  g_test_add_func ("/vision/draws-stay", test_draws_stay);
  g_test_add_func ("/vision/draws-are-independent", test_draws_are_independent);
  g_test_add_func ("/vision/turns-are-counter-clockwise", test_turns);
  g_test_add_func ("/vision/transforms-draw-their-own", test_transform_draws);
  g_test_add_func ("/vision/whole-views-have-crops-of-the-image-views-scales", test_whole_crops);
  g_test_add_func ("/vision/patches-are-cuts-of-the-crop", test_rendering);
  g_test_add_func ("/vision/pictures-are-turned-first-then-cut", test_turned_first);
  g_test_add_func ("/vision/recipes-say-what-is-rendered", test_recipes);
  g_test_add_func ("/vision/threads-change-no-byte", test_threads);
  g_test_add_func ("/vision/renderers-end", test_renderers_end);
  g_test_add_func ("/vision/fast-colours-equal-plain-ones", test_fast_colour_equals_plain);
  g_test_add_func ("/vision/hue-loops-turn-every-colour", test_every_hue);
  g_test_add_func ("/vision/bad-geometry-is-explained", test_config_errors);
  g_test_add_func ("/vision/permutations-keep-known-distances", test_permutation_distances);
  g_test_add_func ("/vision/permutations-are-greedy", test_permutations_are_greedy);
  g_test_add_func ("/vision/permutation-sets", test_permutation_sets);
  g_test_add_func ("/vision/rank-is-lexicographic", test_rank);
  return g_test_run ();
}
