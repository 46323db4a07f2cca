/* gst-pirl: the loops of dct.c for AVX2, same integers, hence same files.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Two blocks share a vector, one a 128-bit lane, so that the transposition between the passes stays
 * within lanes. The second transposition is part of the shuffle into zigzag order.
 */
#include "config.h"
#include "vision/dct.h"

#if defined (__x86_64__) && defined (__GNUC__)
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__ ((target ("avx2")))

/* For vector k of the zigzag order (coefficients 8 k to 8 k + 7): the horizontal frequencies u, a bit
 * each, that it takes from; and for each the shuffle of its vector. */
static const guint8 sources[8] = { 0x0f, 0x3f, 0x1f, 0xf8, 0x1f, 0xf8, 0xfc, 0xf0 };
static gint8 shuffle[8][8][32];

static void
init_shuffles (void)
{
  memset (shuffle, -1, sizeof shuffle);
  for (guint i = 0; i < PIRL_BLOCK; i++) {
    const guint u = pirl_zigzag[i] % 8, v = pirl_zigzag[i] / 8;

    g_assert (sources[i / 8] >> u & 1);
    for (guint lane = 0; lane < 32; lane += 16) {
      shuffle[i / 8][u][lane + i % 8 * 2] = 2 * v;
      shuffle[i / 8][u][lane + i % 8 * 2 + 1] = 2 * v + 1;
    }
  }
}

/* Interleaved pairs of 16-bit lanes, low and high half. */
typedef struct {
  __m256i low, high;
} Pair;

AVX2 static inline Pair
interleave (__m256i a, __m256i b)
{
  return (Pair) { _mm256_unpacklo_epi16 (a, b), _mm256_unpackhi_epi16 (a, b) };
}

/* a and b as the factors of a pair. */
AVX2 static inline __m256i
factors (gint16 a, gint16 b)
{
  return _mm256_set1_epi32 ((gint32) ((guint32) (guint16) b << 16 | (guint16) a));
}

AVX2 static inline __m256i
narrow (__m256i low, __m256i high, gint shift)
{
  const __m256i half = _mm256_set1_epi32 (1 << (shift - 1));

  return _mm256_packs_epi32 (_mm256_srai_epi32 (_mm256_add_epi32 (low, half), shift),
      _mm256_srai_epi32 (_mm256_add_epi32 (high, half), shift));
}

AVX2 static inline __m256i
dot_2 (Pair p, __m256i f, gint shift)
{
  return narrow (_mm256_madd_epi16 (p.low, f), _mm256_madd_epi16 (p.high, f), shift);
}

AVX2 static inline __m256i
dot_4 (Pair p, __m256i f, Pair q, __m256i g, gint shift)
{
  return narrow (_mm256_add_epi32 (_mm256_madd_epi16 (p.low, f), _mm256_madd_epi16 (q.low, g)),
      _mm256_add_epi32 (_mm256_madd_epi16 (p.high, f), _mm256_madd_epi16 (q.high, g)), shift);
}

/* Eight samples, one a vector. */
AVX2 static inline void
transform (__m256i p[8], gint shift)
{
  static const gint16 c[8] = PIRL_DCT_COSINES;
  __m256i sum[4], difference[4];
  Pair even, odd, low, high;

  for (guint i = 0; i < 4; i++) {
    sum[i] = _mm256_add_epi16 (p[i], p[7 - i]);
    difference[i] = _mm256_sub_epi16 (p[i], p[7 - i]);
  }
  even = interleave (_mm256_add_epi16 (sum[0], sum[3]), _mm256_add_epi16 (sum[1], sum[2]));
  odd = interleave (_mm256_sub_epi16 (sum[0], sum[3]), _mm256_sub_epi16 (sum[1], sum[2]));
  low = interleave (difference[0], difference[1]);
  high = interleave (difference[2], difference[3]);
  p[0] = dot_2 (even, factors (c[4], c[4]), shift);
  p[4] = dot_2 (even, factors (c[4], -c[4]), shift);
  p[2] = dot_2 (odd, factors (c[2], c[6]), shift);
  p[6] = dot_2 (odd, factors (c[6], -c[2]), shift);
  p[1] = dot_4 (low, factors (c[1], c[3]), high, factors (c[5], c[7]), shift);
  p[3] = dot_4 (low, factors (c[3], -c[7]), high, factors (-c[1], -c[5]), shift);
  p[5] = dot_4 (low, factors (c[5], -c[1]), high, factors (c[7], c[3]), shift);
  p[7] = dot_4 (low, factors (c[7], -c[5]), high, factors (c[3], -c[1]), shift);
}

/* 8 x 8 in each lane. */
AVX2 static inline void
transpose (__m256i p[8])
{
  Pair a[4], b[4];

  for (guint i = 0; i < 4; i++)
    a[i] = interleave (p[i], p[i + 4]);
  for (guint i = 0; i < 2; i++) {
    b[2 * i] = interleave (i ? a[0].high : a[0].low, i ? a[2].high : a[2].low);
    b[2 * i + 1] = interleave (i ? a[1].high : a[1].low, i ? a[3].high : a[3].low);
  }
  for (guint i = 0; i < 2; i++) {
    const Pair low = interleave (b[2 * i].low, b[2 * i + 1].low);
    const Pair high = interleave (b[2 * i].high, b[2 * i + 1].high);

    p[4 * i] = low.low;
    p[4 * i + 1] = low.high;
    p[4 * i + 2] = high.low;
    p[4 * i + 3] = high.high;
  }
}

AVX2 static inline __m256i
zigzag (const __m256i p[8], guint k)
{
  __m256i out = _mm256_setzero_si256 ();

#pragma GCC unroll 8
  for (guint u = 0; u < 8; u++)
    if (sources[k] >> u & 1)
      out = _mm256_or_si256 (out, _mm256_shuffle_epi8 (p[u],
              _mm256_loadu_si256 ((const __m256i *) shuffle[k][u])));
  return out;
}

AVX2 static void
avx2_forward (const guint8 *src, gsize stride, guint n, gint16 *coefficient)
{
  const __m128i middle = _mm_set1_epi8 ((gint8) 0x80);

  for (; n >= 2; n -= 2, src += 16, coefficient += 2 * PIRL_BLOCK) {
    __m256i p[8];

    for (guint y = 0; y < 8; y++)
      p[y] = _mm256_cvtepi8_epi16 (_mm_xor_si128 (middle,
              _mm_loadu_si128 ((const __m128i *) (src + y * stride))));
    transform (p, PIRL_DCT_FIRST_SHIFT);
    transpose (p);
    transform (p, PIRL_DCT_SECOND_SHIFT);
#pragma GCC unroll 8
    for (guint k = 0; k < 8; k++) {
      const __m256i out = zigzag (p, k);

      _mm_storeu_si128 ((__m128i *) (coefficient + 8 * k), _mm256_castsi256_si128 (out));
      _mm_storeu_si128 ((__m128i *) (coefficient + PIRL_BLOCK + 8 * k),
          _mm256_extracti128_si256 (out, 1));
    }
  }
  if (n > 0)
    pirl_dct_plain.forward (src, stride, n, coefficient);
}

AVX2 static inline __m256i
quantise_16 (const gint16 *coefficient, const PirlQuantiser *quantiser, guint k)
{
  const __m256i c = _mm256_loadu_si256 ((const __m256i *) (coefficient + k));
  __m256i q = _mm256_add_epi16 (_mm256_abs_epi16 (c),
      _mm256_loadu_si256 ((const __m256i *) (quantiser->round + k)));

  q = _mm256_mulhi_epu16 (q, _mm256_loadu_si256 ((const __m256i *) (quantiser->inverse + k)));
  q = _mm256_mulhi_epu16 (q, _mm256_loadu_si256 ((const __m256i *) (quantiser->shift + k)));
  return _mm256_sign_epi16 (q, c);
}

AVX2 static void
avx2_quantise (const gint16 *coefficient, guint n, guint n_levels,
    const PirlQuantiser *quantiser, gint16 *level, guint64 *mask)
{
  const __m256i zero = _mm256_setzero_si256 ();

  for (; n > 0; n--, coefficient += PIRL_BLOCK, level += PIRL_BLOCK, mask++) {
    guint64 found = 0;

    for (guint half = 0; half < n_levels / 32; half++) {
      const __m256i a = quantise_16 (coefficient, quantiser, 32 * half);
      const __m256i b = quantise_16 (coefficient, quantiser, 32 * half + 16);
      const __m256i bytes = _mm256_permute4x64_epi64 (_mm256_packs_epi16 (a, b), 0xd8);

      _mm256_storeu_si256 ((__m256i *) (level + 32 * half), a);
      _mm256_storeu_si256 ((__m256i *) (level + 32 * half + 16), b);
      found |= (guint64) (guint32) ~_mm256_movemask_epi8 (_mm256_cmpeq_epi8 (bytes, zero))
          << 32 * half;
    }
    *mask = found;
  }
}

/* Ones where |c| falls short of a level of 1. */
AVX2 static inline __m256i
falls_short (const gint16 *coefficient, const PirlQuantiser *quantiser, guint k)
{
  const __m256i c = _mm256_loadu_si256 ((const __m256i *) (coefficient + k));
  const __m256i least = _mm256_sub_epi16 (
      _mm256_loadu_si256 ((const __m256i *) (quantiser->unit + k)),
      _mm256_loadu_si256 ((const __m256i *) (quantiser->round + k)));

  return _mm256_cmpgt_epi16 (least, _mm256_abs_epi16 (c));
}

__attribute__ ((target ("avx2,popcnt"))) static void
avx2_count (const gint16 *coefficient, guint n, const PirlQuantiser *quantiser,
    guint8 *nonzero)
{
  for (; n > 0; n--, coefficient += PIRL_BLOCK, nonzero++) {
    const __m256i a = _mm256_packs_epi16 (falls_short (coefficient, quantiser, 0),
        falls_short (coefficient, quantiser, 16));
    const __m256i b = _mm256_packs_epi16 (falls_short (coefficient, quantiser, 32),
        falls_short (coefficient, quantiser, 48));

    *nonzero = PIRL_BLOCK - __builtin_popcount (_mm256_movemask_epi8 (a))
        - __builtin_popcount (_mm256_movemask_epi8 (b));
  }
}

/* The sums of 32 products for each of @pixels (1 or 4) pixels. */
AVX2 static inline void
dot_pixels (const gint16 *level, const gint16 *unit, const PirlBasis *basis, guint8 *dst,
    gsize stride)
{
  const guint pixels = basis->size * basis->size;
  __m256i value[2], sum[4];
  __m128i total;
  gint32 bytes;

  for (guint i = 0; i < 2; i++)
    value[i] = _mm256_mullo_epi16 (_mm256_loadu_si256 ((const __m256i *) (level + 16 * i)),
        _mm256_loadu_si256 ((const __m256i *) (unit + 16 * i)));
  for (guint i = 0; i < 4; i++) {
    const __m256i *weight = (const __m256i *) basis->weight[MIN (i, pixels - 1)];

    sum[i] = _mm256_add_epi32 (_mm256_madd_epi16 (value[0], _mm256_loadu_si256 (weight)),
        _mm256_madd_epi16 (value[1], _mm256_loadu_si256 (weight + 1)));
  }
  sum[0] = _mm256_hadd_epi32 (_mm256_hadd_epi32 (sum[0], sum[1]),
      _mm256_hadd_epi32 (sum[2], sum[3]));
  total = _mm_add_epi32 (_mm256_castsi256_si128 (sum[0]), _mm256_extracti128_si256 (sum[0], 1));
  total = _mm_srai_epi32 (_mm_add_epi32 (total, _mm_set1_epi32 (257 << (PIRL_DCT_DOT_BITS - 1))),
      PIRL_DCT_DOT_BITS);
  total = _mm_packs_epi32 (total, total);
  bytes = _mm_cvtsi128_si32 (_mm_packus_epi16 (total, total));
  dst[0] = bytes;
  if (pixels == 4) {
    dst[1] = bytes >> 8;
    dst[stride] = bytes >> 16;
    dst[stride + 1] = (guint32) bytes >> 24;
  }
}

/* Adds up the basis pictures of a block, 16 * @vectors pixels. */
AVX2 static inline void
add_pictures (const gint16 *level, guint64 left, const gint16 *unit, const PirlBasis *basis,
    guint vectors, guint8 *dst, gsize stride)
{
  __m256i sum[4];
  guint8 bytes[16];

  for (guint i = 0; i < vectors; i++)
    sum[i] = _mm256_setzero_si256 ();
  for (; left; left &= left - 1) {
    const guint k = __builtin_ctzll (left);
    const __m256i value = _mm256_set1_epi16 (level[k] * unit[k]);

    for (guint i = 0; i < vectors; i++)
      sum[i] = _mm256_adds_epi16 (sum[i], _mm256_mulhrs_epi16 (value,
              _mm256_loadu_si256 ((const __m256i *) (basis->weight[k] + 16 * i))));
  }
  for (guint i = 0; i < vectors; i++) {
    const guint across = vectors == 4 ? 8 : 4;
    const __m256i v = _mm256_srai_epi16 (_mm256_adds_epi16 (sum[i],
            _mm256_set1_epi16 (257 << (PIRL_DCT_PIXEL_BITS - 1))), PIRL_DCT_PIXEL_BITS);

    _mm_storeu_si128 ((__m128i *) bytes, _mm_packus_epi16 (_mm256_castsi256_si128 (v),
            _mm256_extracti128_si256 (v, 1)));
    for (guint y = 0; y < 16 / across; y++)
      memcpy (dst + (i * 2 + y) * stride, bytes + y * across, across);
  }
}

AVX2 static void
avx2_inverse (const gint16 *level, const guint64 *mask, guint n, const gint16 *unit,
    const PirlBasis *basis, guint8 *dst, gsize stride)
{
  const guint size = basis->size;

  for (; n > 0; n--, level += PIRL_BLOCK, mask++, dst += size)
    if (size == 8)
      add_pictures (level, *mask & basis->used, unit, basis, 4, dst, stride);
    else if (size == 4)
      add_pictures (level, *mask & basis->used, unit, basis, 1, dst, stride);
    else
      dot_pixels (level, unit, basis, dst, stride);
}

const PirlDctLoops *
pirl_dct_avx2 (void)
{
  static const PirlDctLoops loops = { avx2_forward, avx2_quantise, avx2_count, avx2_inverse };
  static gsize ready;

  if (!__builtin_cpu_supports ("avx2"))
    return NULL;
  if (g_once_init_enter (&ready)) {
    init_shuffles ();
    g_once_init_leave (&ready, 1);
  }
  return &loops;
}

#else

const PirlDctLoops *
pirl_dct_avx2 (void)
{
  return NULL;
}

#endif
