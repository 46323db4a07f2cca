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
/* For each half of pirl_low, from each eight of the first 32 coefficients. */
static gint8 low_shuffle[2][4][16];

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
  memset (low_shuffle, -1, sizeof low_shuffle);
  for (guint i = 0; i < PIRL_LOW; i++)
    for (guint byte = 0; byte < 2; byte++)
      low_shuffle[i / 8][pirl_low[i] / 8][i % 8 * 2 + byte] = pirl_low[i] % 8 * 2 + byte;
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
load_16 (const void *p)
{
  return _mm256_loadu_si256 (p);
}

AVX2 static inline __m256i
divide (__m256i c, __m256i round, __m256i inverse, __m256i shift)
{
  const __m256i n = _mm256_add_epi16 (_mm256_abs_epi16 (c), round);

  return _mm256_sign_epi16 (_mm256_mulhi_epu16 (_mm256_mulhi_epu16 (n, inverse), shift), c);
}

AVX2 static inline __m256i
quantise_16 (const gint16 *coefficient, const PirlQuantiser *quantiser, guint k)
{
  return divide (load_16 (coefficient + k), load_16 (quantiser->round + k),
      load_16 (quantiser->inverse + k), load_16 (quantiser->shift + k));
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

/* Each of 16 lanes is so many times -1: how many these are together. */
AVX2 static inline guint
count_lanes (__m256i a)
{
  const __m256i pairs = _mm256_madd_epi16 (a, _mm256_set1_epi16 (-1));
  const __m128i four = _mm_add_epi32 (_mm256_castsi256_si128 (pairs),
      _mm256_extracti128_si256 (pairs, 1));
  const __m128i two = _mm_add_epi32 (four, _mm_srli_si128 (four, 8));

  return _mm_cvtsi128_si32 (_mm_add_epi32 (two, _mm_srli_si128 (two, 4)));
}

AVX2 static void
avx2_count (const gint16 *coefficient, guint n, guint side, const PirlThresholds thresholds,
    guint16 *const activity[PIRL_N_ACTIVITIES])
{
  for (guint i = 0; i < n; i += side) {
    const guint blocks = MIN (side, n - i);
    __m256i short_of[PIRL_N_ACTIVITIES] = { _mm256_setzero_si256 (), _mm256_setzero_si256 () };

    for (guint block = 0; block < blocks; block++, coefficient += PIRL_BLOCK)
#pragma GCC unroll 4
      for (guint k = 0; k < PIRL_BLOCK; k += 16) {
        const __m256i magnitude = _mm256_abs_epi16 (load_16 (coefficient + k));

        for (guint a = 0; a < PIRL_N_ACTIVITIES; a++)
          short_of[a] = _mm256_add_epi16 (short_of[a],
              _mm256_cmpgt_epi16 (load_16 (thresholds[a] + k), magnitude));
      }
    for (guint a = 0; a < PIRL_N_ACTIVITIES; a++)
      activity[a][i / side] += blocks * PIRL_BLOCK - count_lanes (short_of[a]);
  }
}

AVX2 static void
avx2_pick_low (const gint16 *coefficient, guint n, gint16 *low)
{
  for (; n > 0; n--, coefficient += PIRL_BLOCK, low += PIRL_LOW)
    for (guint half = 0; half < 2; half++) {
      __m128i out = _mm_setzero_si128 ();

      for (guint i = 0; i < 4; i++)
        out = _mm_or_si128 (out, _mm_shuffle_epi8 (
                _mm_loadu_si128 ((const __m128i *) (coefficient + 8 * i)),
                _mm_loadu_si128 ((const __m128i *) low_shuffle[half][i])));
      _mm_storeu_si128 ((__m128i *) (low + 8 * half), out);
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
    else
      add_pictures (level, *mask & basis->used, unit, basis, 1, dst, stride);
}

/* 16 blocks. */
AVX2 static inline void
some_means (const gint16 *dc, const PirlQuantiser *quantiser, guint8 *dst)
{
  const __m256i offset = _mm256_set1_epi16 (257 << (PIRL_DCT_MEAN_BITS - 1));
  __m256i v = load_16 (dc);

  if (quantiser)
    v = _mm256_mullo_epi16 (divide (v, _mm256_set1_epi16 (quantiser->round[0]),
            _mm256_set1_epi16 (quantiser->inverse[0]), _mm256_set1_epi16 (quantiser->shift[0])),
        _mm256_set1_epi16 (quantiser->unit[0]));
  v = _mm256_srai_epi16 (_mm256_adds_epi16 (v, offset), PIRL_DCT_MEAN_BITS);
  _mm_storeu_si128 ((__m128i *) dst, _mm_packus_epi16 (_mm256_castsi256_si128 (v),
          _mm256_extracti128_si256 (v, 1)));
}

AVX2 static void
avx2_means (const gint16 *dc, guint n, const PirlQuantiser *quantiser, guint8 *dst)
{
  guint i = 0;

  for (; i + 16 <= n; i += 16)
    some_means (dc + i, quantiser, dst + i);
  if (n < 16)
    pirl_dct_plain.means (dc, n, quantiser, dst);
  else if (i < n)               /* with some before them once more */
    some_means (dc + n - 16, quantiser, dst + n - 16);
}

/* Sums for the four pixels of a block, halves of which are in both lanes. */
AVX2 static inline __m256i
quarter_sums (__m256i value, const PirlBasis *basis)
{
  __m256i sum[4];

  for (guint i = 0; i < 4; i++)
    sum[i] = _mm256_madd_epi16 (value, load_16 (basis->low[i]));
  return _mm256_hadd_epi32 (_mm256_hadd_epi32 (sum[0], sum[1]),
      _mm256_hadd_epi32 (sum[2], sum[3]));
}

/* The pixels of two blocks, a lane each. */
AVX2 static inline __m256i
quarter_pixels (__m256i a, __m256i b)
{
  const __m256i half = _mm256_set1_epi32 (257 << (PIRL_DCT_DOT_BITS - 1));
  const __m256i sum = _mm256_add_epi32 (_mm256_permute2x128_si256 (a, b, 0x20),
      _mm256_permute2x128_si256 (a, b, 0x31));

  return _mm256_srai_epi32 (_mm256_add_epi32 (sum, half), PIRL_DCT_DOT_BITS);
}

/* Four blocks: a row of 8 pixels, and the one below it. */
AVX2 static inline void
four_quarters (const gint16 *low, const PirlQuantiser *quantiser, const PirlBasis *basis,
    guint8 *dst, gsize stride)
{
  __m256i sum[4], pixels;
  __m128i bytes;

  for (guint i = 0; i < 4; i++) {
    const __m256i value = quantiser ? _mm256_mullo_epi16 (quantise_16 (low + PIRL_LOW * i,
            quantiser, 0), load_16 (quantiser->unit)) : load_16 (low + PIRL_LOW * i);

    sum[i] = quarter_sums (value, basis);
  }
  /* Blocks 0 and 2 in the lower lane, 1 and 3 in the upper one; then pairs of pixels by rows. */
  pixels = _mm256_packs_epi32 (quarter_pixels (sum[0], sum[1]), quarter_pixels (sum[2], sum[3]));
  pixels = _mm256_packus_epi16 (pixels, pixels);
  bytes = _mm_unpacklo_epi16 (_mm256_castsi256_si128 (pixels),
      _mm256_extracti128_si256 (pixels, 1));
  bytes = _mm_shuffle_epi32 (bytes, 0xd8);
  _mm_storel_epi64 ((__m128i *) dst, bytes);
  _mm_storel_epi64 ((__m128i *) (dst + stride), _mm_srli_si128 (bytes, 8));
}

AVX2 static void
avx2_quarters (const gint16 *low, guint n, const PirlQuantiser *quantiser,
    const PirlBasis *basis, guint8 *dst, gsize stride)
{
  guint i = 0;

  for (; i + 4 <= n; i += 4)
    four_quarters (low + PIRL_LOW * i, quantiser, basis, dst + 2 * i, stride);
  if (n < 4)
    pirl_dct_plain.quarters (low, n, quantiser, basis, dst, stride);
  else if (i < n)               /* with some before them once more */
    four_quarters (low + PIRL_LOW * (n - 4), quantiser, basis, dst + 2 * (n - 4), stride);
}

const PirlDctLoops *
pirl_dct_avx2 (void)
{
  static const PirlDctLoops loops = { avx2_forward, avx2_quantise, avx2_count, avx2_pick_low,
    avx2_inverse, avx2_means, avx2_quarters
  };
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
