/* gst-pirl: the inner loops of resize.c for AVX2, same integers, hence same pixels.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A weight of 23 bits does not fit a 16-bit multiplication, so it is cut into high << 8 | low. Two
 * multiply-add chains over pairs of taps, joined at the end, are half the work of 32-bit products.
 */
#include "config.h"
#include "vision/vision-private.h"

#if defined (__x86_64__) && defined (__GNUC__)
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__ ((target ("avx2")))
#define VERTICAL_STEP 32

/* The number of leading outputs whose 16-byte loads stay inside the row: a position with g groups of
 * 4 taps reads 12 g + 4 bytes. The last output stores 4 bytes for 3, so it is never one of them. */
static gint
count_safe (const PirlAxis *axis)
{
  gint n = axis->n - 1;

  while (n > 0) {
    const gint groups = (axis->count[n - 1] + 3) / 4;

    if (3 * (gint64) axis->first[n - 1] + 12 * groups + 4 <= 3 * (gint64) axis->in_size)
      break;
    n--;
  }
  return MAX (n, 0);
}

/* Joins the chains of 8 sums, rounds and shifts. */
AVX2 static inline __m256i
join (__m256i high, __m256i low)
{
  const __m256i half = _mm256_set1_epi32 (1 << (PIRL_RESIZE_BITS - 1));

  low = _mm256_add_epi32 (_mm256_add_epi32 (_mm256_slli_epi32 (high, PIRL_RESIZE_SPLIT), low),
      half);
  return _mm256_srai_epi32 (low, PIRL_RESIZE_BITS);
}

/* Sums of products with the high and with the low parts of weights, for two rows, one a lane. */
typedef struct {
  __m256i high, low;
} Chains;

/* Four taps of two rows from @p and @q on. */
AVX2 static inline Chains
multiply_4 (const guint8 *p, const guint8 *q, const gint32 *w)
{
  /* Pairs of 16-bit pixels by channel: taps 0 and 1, taps 2 and 3. */
  const __m256i taps01 = _mm256_broadcastsi128_si256 (_mm_setr_epi8 (0, -1, 3, -1, 1, -1, 4, -1, 2,
          -1, 5, -1, -1, -1, -1, -1));
  const __m256i taps23 = _mm256_broadcastsi128_si256 (_mm_setr_epi8 (6, -1, 9, -1, 7, -1, 10, -1, 8,
          -1, 11, -1, -1, -1, -1, -1));
  const __m256i raw = _mm256_inserti128_si256 (_mm256_castsi128_si256 (
          _mm_loadu_si128 ((const __m128i *) p)), _mm_loadu_si128 ((const __m128i *) q), 1);
  const __m256i a = _mm256_shuffle_epi8 (raw, taps01), b = _mm256_shuffle_epi8 (raw, taps23);

  return (Chains) {
    _mm256_add_epi32 (_mm256_madd_epi16 (a, _mm256_set1_epi32 (w[0])),
        _mm256_madd_epi16 (b, _mm256_set1_epi32 (w[2]))),
    _mm256_add_epi32 (_mm256_madd_epi16 (a, _mm256_set1_epi32 (w[1])),
        _mm256_madd_epi16 (b, _mm256_set1_epi32 (w[3]))),
  };
}

/* The leading @safe outputs of four rows. Two rows share a vector, one a lane, so that a weight is one
 * broadcast and nothing crosses lanes. */
AVX2 static inline void
horizontal_4 (const PirlAxis *axis, gint safe, const guint8 *const src[4], guint8 *const dst[4])
{
  for (gint i = 0; i < safe; i++) {
    const gint32 *w = (const gint32 *) axis->split + (gsize) i * axis->stride;
    const gsize at = 3 * (gsize) axis->first[i];
    Chains sum[2] = { multiply_4 (src[0] + at, src[1] + at, w),
      multiply_4 (src[2] + at, src[3] + at, w) };
    __m256i out;

    for (gint t = 4; t < axis->count[i]; t += 4)
      for (gint j = 0; j < 2; j++) {
        const Chains more = multiply_4 (src[2 * j] + at + 3 * t, src[2 * j + 1] + at + 3 * t,
            w + t);

        sum[j].high = _mm256_add_epi32 (sum[j].high, more.high);
        sum[j].low = _mm256_add_epi32 (sum[j].low, more.low);
      }
    /* Bytes of rows 0 and 2 in the lower lane, of rows 1 and 3 in the upper one. */
    out = _mm256_packs_epi32 (join (sum[0].high, sum[0].low), join (sum[1].high, sum[1].low));
    out = _mm256_packus_epi16 (out, out);
    for (gint j = 0; j < 4; j++) {
      const __m128i lane = j % 2 ? _mm256_extracti128_si256 (out, 1) : _mm256_castsi256_si128 (out);
      const gint32 bytes = j < 2 ? _mm_cvtsi128_si32 (lane) : _mm_extract_epi32 (lane, 1);

      memcpy (dst[j] + 3 * i, &bytes, sizeof bytes);
    }
  }
}

AVX2 static void
avx2_horizontal (const PirlAxis *axis, const guint8 *src, gsize src_stride, gint rows,
    guint8 *dst, gsize dst_stride)
{
  const gint safe = count_safe (axis);

  for (gint y = 0; y < rows; y += 4) {
    const guint8 *from[4];
    guint8 *to[4];

    /* At the end the last row is simply done again. */
    for (gint j = 0; j < 4; j++) {
      from[j] = src + MIN (y + j, rows - 1) * src_stride;
      to[j] = dst + MIN (y + j, rows - 1) * dst_stride;
    }
    horizontal_4 (axis, safe, from, to);
    for (gint j = 0; j < MIN (4, rows - y); j++)
      pirl_resize_horizontal_from (axis, safe, from[j], to[j]);
  }
}

/* 32 bytes of an output row. Interleaving bytes of two rows gives pairs of taps; the unpacking works
 * within 128-bit lanes and the packing at the end undoes that. */
AVX2 static inline void
vertical_32 (const gint32 *weight, gint count, const guint8 *src, gsize stride, guint8 *dst)
{
  const __m256i zero = _mm256_setzero_si256 ();
  __m256i high[4] = { zero, zero, zero, zero }, low[4] = { zero, zero, zero, zero };
  __m256i a, b;

  for (gint t = 0; t < count; t += 2) {
    const gboolean two = t + 1 < count;
    const gint32 w0 = weight[t], w1 = two ? weight[t + 1] : 0;
    const __m256i w_high = _mm256_set1_epi32 (w1 >> PIRL_RESIZE_SPLIT << 16
        | w0 >> PIRL_RESIZE_SPLIT);
    const __m256i w_low = _mm256_set1_epi32 ((w1 & 255) << 16 | (w0 & 255));
    const guint8 *p = src + t * stride;
    const __m256i row0 = _mm256_loadu_si256 ((const __m256i *) p);
    const __m256i row1 = two ? _mm256_loadu_si256 ((const __m256i *) (p + stride)) : zero;
    const __m256i even = _mm256_unpacklo_epi8 (row0, row1);
    const __m256i odd = _mm256_unpackhi_epi8 (row0, row1);
    const __m256i v[4] = { _mm256_unpacklo_epi8 (even, zero), _mm256_unpackhi_epi8 (even, zero),
      _mm256_unpacklo_epi8 (odd, zero), _mm256_unpackhi_epi8 (odd, zero) };

    for (gint j = 0; j < 4; j++) {
      high[j] = _mm256_add_epi32 (high[j], _mm256_madd_epi16 (v[j], w_high));
      low[j] = _mm256_add_epi32 (low[j], _mm256_madd_epi16 (v[j], w_low));
    }
  }
  a = _mm256_packs_epi32 (join (high[0], low[0]), join (high[1], low[1]));
  b = _mm256_packs_epi32 (join (high[2], low[2]), join (high[3], low[3]));
  _mm256_storeu_si256 ((__m256i *) dst, _mm256_packus_epi16 (a, b));
}

AVX2 static void
avx2_vertical (const gint32 *weight, gint count, const guint8 *src, gsize stride, gsize n,
    guint8 *dst)
{
  gsize x = 0;

  for (; x + VERTICAL_STEP <= n; x += VERTICAL_STEP)
    vertical_32 (weight, count, src + x, stride, dst + x);
  if (x < n && n >= VERTICAL_STEP)
    /* The last bytes once more, with some before them. */
    vertical_32 (weight, count, src + n - VERTICAL_STEP, stride, dst + n - VERTICAL_STEP);
  else if (x < n)
    pirl_resize_plain.vertical (weight, count, src, stride, n, dst);
}

const PirlResizeLoops *
pirl_resize_avx2 (void)
{
  static const PirlResizeLoops loops = { avx2_horizontal, avx2_vertical };

  return __builtin_cpu_supports ("avx2") ? &loops : NULL;
}

#else

const PirlResizeLoops *
pirl_resize_avx2 (void)
{
  return NULL;
}

#endif
