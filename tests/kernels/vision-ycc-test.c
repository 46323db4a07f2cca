/* gst-pirl: raw video to the planes of a JPEG, against the matrices in double precision.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "vision/ycc-private.h"

#define BT601 .299, .114
#define BT709 .2126, .0722
#define BT2020 .2627, .0593
/* "Correctly rounded" is half a level; fixed point may fall on the wrong side of a half. */
#define TOLERANCE 0.6

/* Where components lie: a plane each or bytes of one, and how they are subsampled. */
typedef struct {
  const gchar *name;
  guint n_components;
  gboolean rgb;
  guint plane[3], first[3], step[3];
  guint w_shift[3], h_shift[3];
} Format;

static const Format formats[] = {
  { "I420", 3, FALSE, { 0, 1, 2 }, { 0, 0, 0 }, { 1, 1, 1 }, { 0, 1, 1 }, { 0, 1, 1 } },
  { "YV12", 3, FALSE, { 0, 2, 1 }, { 0, 0, 0 }, { 1, 1, 1 }, { 0, 1, 1 }, { 0, 1, 1 } },
  { "NV12", 3, FALSE, { 0, 1, 1 }, { 0, 0, 1 }, { 1, 2, 2 }, { 0, 1, 1 }, { 0, 1, 1 } },
  { "NV21", 3, FALSE, { 0, 1, 1 }, { 0, 1, 0 }, { 1, 2, 2 }, { 0, 1, 1 }, { 0, 1, 1 } },
  { "YUY2", 3, FALSE, { 0, 0, 0 }, { 0, 1, 3 }, { 2, 4, 4 }, { 0, 1, 1 }, { 0, 0, 0 } },
  { "UYVY", 3, FALSE, { 0, 0, 0 }, { 1, 0, 2 }, { 2, 4, 4 }, { 0, 1, 1 }, { 0, 0, 0 } },
  { "YVYU", 3, FALSE, { 0, 0, 0 }, { 0, 3, 1 }, { 2, 4, 4 }, { 0, 1, 1 }, { 0, 0, 0 } },
  { "Y42B", 3, FALSE, { 0, 1, 2 }, { 0, 0, 0 }, { 1, 1, 1 }, { 0, 1, 1 }, { 0, 0, 0 } },
  { "Y41B", 3, FALSE, { 0, 1, 2 }, { 0, 0, 0 }, { 1, 1, 1 }, { 0, 2, 2 }, { 0, 0, 0 } },
  { "YUV9", 3, FALSE, { 0, 1, 2 }, { 0, 0, 0 }, { 1, 1, 1 }, { 0, 2, 2 }, { 0, 2, 2 } },
  { "Y444", 3, FALSE, { 0, 1, 2 }, { 0, 0, 0 }, { 1, 1, 1 }, { 0 }, { 0 } },
  { "AYUV", 3, FALSE, { 0, 0, 0 }, { 1, 2, 3 }, { 4, 4, 4 }, { 0 }, { 0 } },
  { "RGB", 3, TRUE, { 0, 0, 0 }, { 0, 1, 2 }, { 3, 3, 3 }, { 0 }, { 0 } },
  { "BGR", 3, TRUE, { 0, 0, 0 }, { 2, 1, 0 }, { 3, 3, 3 }, { 0 }, { 0 } },
  { "RGBx", 3, TRUE, { 0, 0, 0 }, { 0, 1, 2 }, { 4, 4, 4 }, { 0 }, { 0 } },
  { "xRGB", 3, TRUE, { 0, 0, 0 }, { 1, 2, 3 }, { 4, 4, 4 }, { 0 }, { 0 } },
  { "BGRx", 3, TRUE, { 0, 0, 0 }, { 2, 1, 0 }, { 4, 4, 4 }, { 0 }, { 0 } },
  { "xBGR", 3, TRUE, { 0, 0, 0 }, { 3, 2, 1 }, { 4, 4, 4 }, { 0 }, { 0 } },
  { "GBR", 3, TRUE, { 2, 0, 1 }, { 0, 0, 0 }, { 1, 1, 1 }, { 0 }, { 0 } },
  { "GRAY8", 1, FALSE, { 0 }, { 0 }, { 1 }, { 0 }, { 0 } },
};

/* A picture of noise with @padding bytes between rows; exactly as much memory as it says, so that
 * AddressSanitizer sees what is read beyond. */
typedef struct {
  PirlRaw raw;
  guint8 *memory[3];
} Picture;

static gsize
samples (gint n, guint shift)
{
  return (n + (1 << shift) - 1) >> shift;
}

static void
make_picture (Picture *picture, const Format *format, gint width, gint height, guint padding,
    PirlRng *rng)
{
  PirlRaw *raw = &picture->raw;
  gsize size[3] = { 0 }, stride[3] = { 0 };

  memset (picture, 0, sizeof *picture);
  raw->width = width;
  raw->height = height;
  raw->n_components = format->n_components;
  raw->rgb = format->rgb;
  for (guint c = 0; c < format->n_components; c++) {
    const guint p = format->plane[c];

    stride[p] = MAX (stride[p], format->step[c] * samples (width, format->w_shift[c]) + padding);
    size[p] = stride[p] * samples (height, format->h_shift[c]) - padding;
  }
  for (guint p = 0; p < 3; p++) {
    picture->memory[p] = g_malloc (MAX (size[p], 1));
    for (gsize i = 0; i < size[p]; i++)
      picture->memory[p][i] = pirl_rng_u32 (rng) >> 24;
  }
  for (guint c = 0; c < format->n_components; c++) {
    raw->w_shift[c] = format->w_shift[c];
    raw->h_shift[c] = format->h_shift[c];
    raw->step[c] = format->step[c];
    raw->stride[c] = stride[format->plane[c]];
    raw->data[c] = picture->memory[format->plane[c]] + format->first[c];
  }
}

static void
free_picture (Picture *picture)
{
  for (guint p = 0; p < 3; p++)
    g_free (picture->memory[p]);
}

static void
read_pixel (const PirlRaw *raw, gint x, gint y, gdouble in[3])
{
  for (guint c = 0; c < raw->n_components; c++)
    in[c] = raw->data[c][(y >> raw->h_shift[c]) * raw->stride[c]
        + (x >> raw->w_shift[c]) * raw->step[c]];
}

/* R'G'B' in 0..1 by the definition of BT.601, 709 and 2020, then JFIF's equations. */
static void
exact_pixel (const PirlRaw *raw, gint x, gint y, gdouble ycc[3])
{
  const gdouble low = raw->full_range ? 0 : 16, high = raw->full_range ? 255 : 235;
  const gdouble chroma = raw->full_range ? 255 : 224;
  gdouble in[3] = { 0, 128, 128 }, r, g, b, luma;

  read_pixel (raw, x, y, in);
  if (raw->rgb) {
    r = (in[0] - low) / (high - low);
    g = (in[1] - low) / (high - low);
    b = (in[2] - low) / (high - low);
  } else {
    luma = (in[0] - low) / (high - low);
    b = luma + (in[1] - 128) / chroma * 2 * (1 - raw->kb);
    r = luma + (in[2] - 128) / chroma * 2 * (1 - raw->kr);
    g = (luma - raw->kb * b - raw->kr * r) / (1 - raw->kb - raw->kr);
  }
  ycc[0] = 255 * (0.299 * r + 0.587 * g + 0.114 * b);
  ycc[1] = 255 * (-0.299 / 1.772 * r - 0.587 / 1.772 * g + 0.5 * b) + 128;
  ycc[2] = 255 * (0.5 * r - 0.587 / 1.402 * g - 0.114 / 1.402 * b) + 128;
}

static gdouble
error_of (const PirlYcc *ycc, guint c, gint x, gint y, gdouble exact)
{
  return fabs (ycc->plane[c][y * ycc->stride[c] + x * ycc->step[c]] - CLAMP (exact, 0, 255));
}

/* The largest error; of chroma against the mean of the pixels that a sample covers. */
static gdouble
largest_error (const PirlRaw *raw, const PirlYcc *ycc)
{
  gdouble worst = 0;

  for (gint y = 0; y < raw->height; y += 2)
    for (gint x = 0; x < raw->width; x += 2) {
      gdouble sum[3] = { 0 }, n = 0;

      for (gint i = 0; i < 4; i++) {
        const gint px = x + i % 2, py = y + i / 2;
        gdouble exact[3];

        if (px >= raw->width || py >= raw->height)
          continue;
        exact_pixel (raw, px, py, exact);
        worst = MAX (worst, error_of (ycc, 0, px, py, exact[0]));
        for (guint c = 1; c < 3; c++)
          sum[c] += exact[c];
        n++;
      }
      for (guint c = 1; c < raw->n_components; c++)
        worst = MAX (worst, error_of (ycc, c, x / 2, y / 2, sum[c] / n));
    }
  return worst;
}

static void
check_same (const PirlYcc *a, const PirlYcc *b)
{
  for (guint c = 0; c < 3 && a->plane[c]; c++)
    for (gint y = 0; y < (c ? (a->height + 1) / 2 : a->height); y++)
      for (gint x = 0; x < (c ? (a->width + 1) / 2 : a->width); x++)
        g_assert_cmpint (a->plane[c][y * a->stride[c] + x * a->step[c]], ==,
            b->plane[c][y * b->stride[c] + x * b->step[c]]);
}

static void
check_format (const Format *format, PirlRng *rng)
{
  static const gdouble matrices[][2] = { { BT601 }, { BT709 }, { BT2020 } };
  gdouble worst = 0;

  for (guint i = 0; i < 24; i++) {
    const gint width = 1 + pirl_rng_below (rng, i % 2 ? 150 : 9);
    const gint height = 1 + pirl_rng_below (rng, 9);
    g_autoptr (PirlYccConverter) converter = NULL;
    g_autoptr (PirlYccConverter) plain = NULL;
    Picture picture;
    PirlYcc ycc, plain_ycc;

    make_picture (&picture, format, width, height, pirl_rng_below (rng, 20), rng);
    picture.raw.full_range = i / 2 % 2;
    picture.raw.kr = matrices[i / 4 % 3][0];
    picture.raw.kb = matrices[i / 4 % 3][1];
    converter = pirl_ycc_converter_new (&picture.raw, NULL);
    plain = pirl_ycc_converter_new (&picture.raw, NULL);
    g_assert_nonnull (converter);
    pirl_ycc_convert (converter, &picture.raw, &ycc);
    g_assert_cmpint (ycc.width, ==, width);
    g_assert_cmpint (ycc.height, ==, height);
    g_assert_true ((ycc.plane[1] != NULL) == (format->n_components == 3));
    if (format->n_components == 1) {
      /* Grey has no matrix. */
      picture.raw.kr = matrices[0][0];
      picture.raw.kb = matrices[0][1];
    }
    worst = MAX (worst, largest_error (&picture.raw, &ycc));
    pirl_ycc_converter_use_plain (plain);
    pirl_ycc_convert (plain, &picture.raw, &plain_ycc);
    check_same (&ycc, &plain_ycc);
    free_picture (&picture);
  }
  g_test_message ("%s: largest error %.3f", format->name, worst);
  g_assert_cmpfloat (worst, <=, TOLERANCE);
}

static void
test_every_format (void)
{
  PirlRng rng;

  pirl_rng_init (&rng, 1, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < G_N_ELEMENTS (formats); i++)
    check_format (&formats[i], &rng);
}

/* Colours whose codes the standards and JFIF give. */
static void
test_known_colours (void)
{
  static const struct {
    gboolean rgb, full_range;
    gdouble kr, kb;
    guint8 in[3], out[3];
  } colours[] = {
    { TRUE, TRUE, BT601, { 255, 0, 0 }, { 76, 85, 255 } },
    { TRUE, TRUE, BT601, { 0, 255, 0 }, { 150, 44, 21 } },
    { TRUE, TRUE, BT601, { 0, 0, 255 }, { 29, 255, 107 } },
    { TRUE, TRUE, BT601, { 255, 255, 255 }, { 255, 128, 128 } },
    { TRUE, FALSE, BT601, { 235, 235, 235 }, { 255, 128, 128 } },
    { FALSE, FALSE, BT601, { 235, 128, 128 }, { 255, 128, 128 } },
    { FALSE, FALSE, BT601, { 16, 128, 128 }, { 0, 128, 128 } },
    { FALSE, FALSE, BT601, { 81, 90, 240 }, { 76, 85, 255 } },
    { FALSE, FALSE, BT709, { 63, 102, 240 }, { 76, 85, 255 } },
    { FALSE, FALSE, BT709, { 173, 42, 26 }, { 150, 44, 21 } },
    { FALSE, FALSE, BT709, { 32, 240, 118 }, { 29, 255, 107 } },
    { FALSE, TRUE, BT709, { 255, 128, 128 }, { 255, 128, 128 } },
  };

  for (guint i = 0; i < G_N_ELEMENTS (colours); i++) {
    const guint8 *in = colours[i].in;
    const PirlRaw raw = { .width = 1, .height = 1, .n_components = 3, .rgb = colours[i].rgb,
      .data = { in, in + 1, in + 2 }, .stride = { 3, 3, 3 }, .step = { 3, 3, 3 },
      .full_range = colours[i].full_range, .kr = colours[i].kr, .kb = colours[i].kb
    };
    g_autoptr (PirlYccConverter) converter = pirl_ycc_converter_new (&raw, NULL);
    PirlYcc ycc;

    pirl_ycc_convert (converter, &raw, &ycc);
    /* The codes of BT.709's colours are rounded themselves: a level more. */
    for (guint c = 0; c < 3; c++)
      g_assert_cmpint (ABS (ycc.plane[c][0] - colours[i].out[c]), <=, 1);
  }
}

/* What a JPEG can take as it is is not copied; the rest never claims so. */
static void
test_passthrough (void)
{
  PirlRng rng;

  pirl_rng_init (&rng, 2, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < 2 * G_N_ELEMENTS (formats); i++) {
    const Format *format = &formats[i / 2];
    const gboolean can = format->n_components == 1 || (!format->rgb && format->h_shift[1] == 1
        && format->w_shift[1] == 1);
    g_autoptr (PirlYccConverter) converter = NULL;
    g_autoptr (PirlYccConverter) other_matrix = NULL;
    Picture picture;
    PirlYcc ycc;

    make_picture (&picture, format, 13, 7, 3, &rng);
    picture.raw.full_range = i % 2;
    picture.raw.kr = .299;
    picture.raw.kb = .114;
    converter = pirl_ycc_converter_new (&picture.raw, NULL);
    g_assert_cmpint (pirl_ycc_converter_passthrough (converter), ==, can && i % 2);
    pirl_ycc_convert (converter, &picture.raw, &ycc);
    for (guint c = 0; c < format->n_components && can && i % 2; c++) {
      g_assert_true (ycc.plane[c] == picture.raw.data[c]);
      g_assert_cmpuint (ycc.stride[c], ==, picture.raw.stride[c]);
      g_assert_cmpuint (ycc.step[c], ==, picture.raw.step[c]);
    }
    picture.raw.kr = .2126;
    picture.raw.kb = .0722;
    other_matrix = pirl_ycc_converter_new (&picture.raw, NULL);
    g_assert_cmpint (pirl_ycc_converter_passthrough (other_matrix), ==,
        format->n_components == 1 && i % 2);
    free_picture (&picture);
  }
}

static void
test_refusals (void)
{
  const guint8 pixel[3] = { 0 };
  const PirlRaw good = { .width = 1, .height = 1, .n_components = 3, .data = { pixel, pixel,
        pixel }, .stride = { 1, 1, 1 }, .step = { 1, 1, 1 }, .kr = .299, .kb = .114
  };
  PirlRaw bad[6];

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    bad[i] = good;
  bad[0].n_components = 0;
  bad[1].n_components = 2;
  bad[2].width = -1;
  bad[3].height = 0;
  bad[4].kr = .9;
  bad[5].w_shift[1] = 31;
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (pirl_ycc_converter_new (&bad[i], &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/ycc/every-format", test_every_format);
  g_test_add_func ("/ycc/known-colours", test_known_colours);
  g_test_add_func ("/ycc/passthrough", test_passthrough);
  g_test_add_func ("/ycc/refusals", test_refusals);
  return g_test_run ();
}
