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

AVX2 static void
avx2_horizontal (const PirlAxis *axis, const guint8 *src, guint8 *dst)
{
  /* Lane 0 takes taps 0 and 1 as 16-bit pairs by channel, lane 1 taps 2 and 3. */
  const __m256i pixels = _mm256_setr_epi8 (0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1,
      -1, 6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m256i high_pair = _mm256_setr_epi8 (0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,
      4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
  const __m256i low_pair = _mm256_add_epi8 (high_pair, _mm256_set1_epi8 (8));
  const __m128i half = _mm_set1_epi32 (1 << (PIRL_RESIZE_BITS - 1));
  const gint safe = count_safe (axis);

  for (gint i = 0; i < safe; i++) {
    const gint16 *split = axis->split + 2 * (gsize) i * axis->stride;
    const guint8 *p = src + 3 * (gsize) axis->first[i];
    __m256i high = _mm256_setzero_si256 (), low = high, sum;
    __m128i out;
    gint32 bytes;

    for (gint t = 0; t < axis->count[i]; t += 4, p += 12, split += 8) {
      const __m256i raw = _mm256_broadcastsi128_si256 (_mm_loadu_si128 ((const __m128i *) p));
      const __m256i w = _mm256_broadcastsi128_si256 (_mm_loadu_si128 ((const __m128i *) split));
      const __m256i v = _mm256_shuffle_epi8 (raw, pixels);

      high = _mm256_add_epi32 (high, _mm256_madd_epi16 (v, _mm256_shuffle_epi8 (w, high_pair)));
      low = _mm256_add_epi32 (low, _mm256_madd_epi16 (v, _mm256_shuffle_epi8 (w, low_pair)));
    }
    sum = _mm256_add_epi32 (_mm256_slli_epi32 (high, PIRL_RESIZE_SPLIT), low);
    out = _mm_add_epi32 (_mm256_castsi256_si128 (sum), _mm256_extracti128_si256 (sum, 1));
    out = _mm_srai_epi32 (_mm_add_epi32 (out, half), PIRL_RESIZE_BITS);
    out = _mm_packus_epi16 (_mm_packs_epi32 (out, out), out);
    bytes = _mm_cvtsi128_si32 (out);
    memcpy (dst + 3 * i, &bytes, sizeof bytes);
  }
  pirl_resize_horizontal_from (axis, safe, src, dst);
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
  if (x < n)
    pirl_resize_plain.vertical (weight, count, src + x, stride, n - x, dst + x);
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
