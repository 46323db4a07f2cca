/* gst-pirl: the discrete cosine transform of a JPEG in plain C, quantisers, bases of the inverse.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Forward, in each direction: F_u = sum_x f_x c_u / 2 cos ((2x + 1) u pi / 16), c_0 = sqrt (1/2),
 * c_u = 1. Sums and differences of mirrored samples halve the products. Inverse: coefficients that
 * are not 0 add their basis picture; after quantisation they are few. Where a block leaves 4 pixels,
 * each is the dot product of the low coefficients and its weights; where it leaves 1, that is its DC.
 */
#include "config.h"
#include "vision/dct.h"

#include <math.h>
#include <stdlib.h>

/* Of a step, in hundredths, what is added before the fraction is dropped. Just below a half, most
 * coefficients that would become a level are small ones, dear in bits and worth little: 1.2 % fewer
 * bytes for .01 dB, more than a lower quality saves. Further below (.40: 10 %, .2 dB) a quality would no
 * longer be what others mean by it. Steps so fine that a 16th is much are left alone. */
#define AC_ROUNDING 49
#define FINE_STEP 2

const guint8 pirl_zigzag[PIRL_BLOCK] = {
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
  58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63
};

const guint8 pirl_low[PIRL_LOW] = { 0, 1, 2, 4, 6, 9, 11, 13, 15, 20, 22, 24, 26, 28, 25, 27 };

/* T.81, tables K.1 and K.2, in natural order. */
static const guint8 annex_k[2][PIRL_BLOCK] = {
  { 16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
      14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
      18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
      49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99 },
  { 17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
      24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
      99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
      99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99 }
};

/* Twice the step of coefficient @k (natural order) at quality 50. Annex K was made for eyes. The flat
 * steps, 10 + 2.5 (u + v) and 10 + 4 (u + v), were picked from a handful of ramps by what a classifier
 * still answered, and scaled to take Annex K's bytes. */
static gint
double_step (guint k, gboolean chroma, gboolean flat)
{
  return flat ? 20 + (chroma ? 8 : 5) * (k / 8 + k % 8) : 2 * annex_k[chroma][k];
}

void
pirl_quantiser_init (PirlQuantiser *quantiser, gint quality, gboolean chroma)
{
  const gboolean flat = quality >= PIRL_FLAT;
  const gint q = CLAMP (flat ? quality - PIRL_FLAT : quality, 1, 100);
  const gint percent = q < 50 ? 5000 / q : 200 - 2 * q;

  for (guint k = 0; k < PIRL_BLOCK; k++) {
    const gint scaled = (double_step (pirl_zigzag[k], chroma, flat) * percent + 100) / 200;
    const gint step = CLAMP (scaled, 1, 255);
    const guint d = PIRL_DCT_SCALE * step;
    const guint bits = g_bit_storage (d - 1);

    quantiser->step[k] = step;
    quantiser->unit[k] = d;
    quantiser->round[k] = k == 0 || step <= FINE_STEP ? d / 2 : d * AC_ROUNDING / 100;
    quantiser->inverse[k] = ((1u << (15 + bits)) + d - 1) / d;
    quantiser->shift[k] = 1 << (17 - bits);
  }
}

void
pirl_quantiser_of_low (const PirlQuantiser *quantiser, PirlQuantiser *low)
{
  for (guint i = 0; i < PIRL_LOW; i++) {
    const guint k = pirl_low[i];

    low->step[i] = quantiser->step[k];
    low->unit[i] = quantiser->unit[k];
    low->round[i] = quantiser->round[k];
    low->inverse[i] = quantiser->inverse[k];
    low->shift[i] = quantiser->shift[k];
  }
}

void
pirl_thresholds_init (const PirlQuantiser *quantiser, gint16 threshold[PIRL_BLOCK])
{
  for (guint k = 0; k < PIRL_BLOCK; k++)
    threshold[k] = quantiser->unit[k] - quantiser->round[k];
}

/* The mean of basis function @u over the @i-th of @size parts of a block. */
static gdouble
mean_cosine (guint u, guint i, guint size)
{
  const guint width = 8 / size;
  gdouble sum = 0;

  for (guint x = i * width; x < (i + 1) * width; x++)
    sum += cos ((2 * x + 1) * u * G_PI / 16);
  return sum / width / 2 * (u == 0 ? G_SQRT2 / 2 : 1);
}

/* Of coefficient @k in pixel @i of @size x @size. */
static gdouble
mean_weight (guint k, guint i, guint size)
{
  return mean_cosine (pirl_zigzag[k] % 8, i % size, size)
      * mean_cosine (pirl_zigzag[k] / 8, i / size, size);
}

void
pirl_basis_init (PirlBasis *basis, guint size)
{
  *basis = (PirlBasis) { .size = size };
  for (guint i = 0; i < size * size; i++) {
    for (guint j = 0; size == 2 && j < PIRL_LOW; j++)
      basis->low[i][j] = lround (ldexp (mean_weight (pirl_low[j], i, size), 16));
    for (guint k = 0; size > 2 && k < PIRL_BLOCK; k++) {
      const gdouble weight = mean_weight (k, i, size);

      basis->weight[k][i] = lround (ldexp (weight, 16));
      if (fabs (weight) > 1e-6)
        basis->used |= G_GUINT64_CONSTANT (1) << k;
    }
  }
}

/* Eight samples, @step apart, in place. */
static void
transform (gint16 *p, guint step, guint shift)
{
  static const gint32 c[8] = PIRL_DCT_COSINES;
  const gint32 half = 1 << (shift - 1);
  gint32 sum[4], difference[4], a, b, e, f;

  for (guint i = 0; i < 4; i++) {
    sum[i] = p[i * step] + p[(7 - i) * step];
    difference[i] = p[i * step] - p[(7 - i) * step];
  }
  a = sum[0] + sum[3];
  b = sum[1] + sum[2];
  e = sum[0] - sum[3];
  f = sum[1] - sum[2];
  p[0] = (c[4] * a + c[4] * b + half) >> shift;
  p[4 * step] = (c[4] * a - c[4] * b + half) >> shift;
  p[2 * step] = (c[2] * e + c[6] * f + half) >> shift;
  p[6 * step] = (c[6] * e - c[2] * f + half) >> shift;
  a = difference[0];
  b = difference[1];
  e = difference[2];
  f = difference[3];
  p[1 * step] = (c[1] * a + c[3] * b + c[5] * e + c[7] * f + half) >> shift;
  p[3 * step] = (c[3] * a - c[7] * b - c[1] * e - c[5] * f + half) >> shift;
  p[5 * step] = (c[5] * a - c[1] * b + c[7] * e + c[3] * f + half) >> shift;
  p[7 * step] = (c[7] * a - c[5] * b + c[3] * e - c[1] * f + half) >> shift;
}

static void
plain_forward (const guint8 *src, gsize stride, guint n, gint16 *coefficient)
{
  gint16 block[PIRL_BLOCK];

  for (; n > 0; n--, src += 8, coefficient += PIRL_BLOCK) {
    for (guint i = 0; i < PIRL_BLOCK; i++)
      block[i] = src[i / 8 * stride + i % 8] - 128;
    for (guint x = 0; x < 8; x++)
      transform (block + x, 8, PIRL_DCT_FIRST_SHIFT);
    for (guint y = 0; y < 8; y++)
      transform (block + 8 * y, 1, PIRL_DCT_SECOND_SHIFT);
    for (guint k = 0; k < PIRL_BLOCK; k++)
      coefficient[k] = block[pirl_zigzag[k]];
  }
}

static void
plain_quantise (const gint16 *coefficient, guint n, guint n_levels,
    const PirlQuantiser *quantiser, gint16 *level, guint64 *mask)
{
  for (; n > 0; n--, coefficient += PIRL_BLOCK, level += PIRL_BLOCK, mask++) {
    *mask = 0;
    for (guint k = 0; k < n_levels; k++) {
      level[k] = pirl_quantiser_level (quantiser, k, coefficient[k]);
      *mask |= (guint64) (level[k] != 0) << k;
    }
  }
}

static void
plain_count (const gint16 *coefficient, guint n, guint side, const PirlThresholds thresholds,
    guint16 *const activity[PIRL_N_ACTIVITIES])
{
  for (guint i = 0; i < n; i++, coefficient += PIRL_BLOCK)
    for (guint a = 0; a < PIRL_N_ACTIVITIES; a++)
      for (guint k = 0; k < PIRL_BLOCK; k++)
        activity[a][i / side] += abs (coefficient[k]) >= thresholds[a][k];
}

static void
plain_pick_low (const gint16 *coefficient, guint n, gint16 *low)
{
  for (; n > 0; n--, coefficient += PIRL_BLOCK, low += PIRL_LOW)
    for (guint i = 0; i < PIRL_LOW; i++)
      low[i] = coefficient[pirl_low[i]];
}

static inline gint16
add_saturating (gint16 a, gint b)
{
  return CLAMP (a + b, G_MININT16, G_MAXINT16);
}

static inline guint8
to_pixel (gint v)
{
  return CLAMP (v, 0, 255);
}

static void
add_pictures (const gint16 *level, guint64 left, const gint16 *unit, const PirlBasis *basis,
    guint8 *dst, gsize stride)
{
  const guint size = basis->size;
  gint16 sum[PIRL_BLOCK] = { 0 };

  for (; left; left &= left - 1) {
    const guint k = __builtin_ctzll (left);
    const gint16 value = level[k] * unit[k];

    for (guint i = 0; i < size * size; i++)
      sum[i] = add_saturating (sum[i], (value * basis->weight[k][i] + (1 << 14)) >> 15);
  }
  for (guint i = 0; i < size * size; i++)
    dst[i / size * stride + i % size] = to_pixel (add_saturating (sum[i],
            257 << (PIRL_DCT_PIXEL_BITS - 1)) >> PIRL_DCT_PIXEL_BITS);
}

static void
plain_inverse (const gint16 *level, const guint64 *mask, guint n, const gint16 *unit,
    const PirlBasis *basis, guint8 *dst, gsize stride)
{
  for (; n > 0; n--, level += PIRL_BLOCK, mask++, dst += basis->size)
    add_pictures (level, *mask & basis->used, unit, basis, dst, stride);
}

/* What is left of a coefficient that is quantised, if it is. */
static inline gint16
requantise (const PirlQuantiser *quantiser, guint k, gint16 coefficient)
{
  return quantiser ? pirl_quantiser_level (quantiser, k, coefficient) * quantiser->unit[k]
      : coefficient;
}

static void
plain_means (const gint16 *dc, guint n, const PirlQuantiser *quantiser, guint8 *dst)
{
  for (guint i = 0; i < n; i++)
    dst[i] = to_pixel ((requantise (quantiser, 0, dc[i]) + (257 << (PIRL_DCT_MEAN_BITS - 1)))
        >> PIRL_DCT_MEAN_BITS);
}

static void
plain_quarters (const gint16 *low, guint n, const PirlQuantiser *quantiser,
    const PirlBasis *basis, guint8 *dst, gsize stride)
{
  for (; n > 0; n--, low += PIRL_LOW, dst += 2)
    for (guint i = 0; i < 4; i++) {
      gint32 sum = 257 << (PIRL_DCT_DOT_BITS - 1);

      for (guint j = 0; j < PIRL_LOW; j++)
        sum += requantise (quantiser, j, low[j]) * basis->low[i][j];
      dst[i / 2 * stride + i % 2] = to_pixel (sum >> PIRL_DCT_DOT_BITS);
    }
}

const PirlDctLoops pirl_dct_plain = { plain_forward, plain_quantise, plain_count, plain_pick_low,
  plain_inverse, plain_means, plain_quarters
};

const PirlDctLoops *
pirl_dct_best (void)
{
  const PirlDctLoops *avx2 = pirl_dct_avx2 ();

  return avx2 ? avx2 : &pirl_dct_plain;
}
