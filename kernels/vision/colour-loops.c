/* gst-pirl: the inner loops of colour augmentation, bit for bit as Pillow and torchvision do them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   blend (a, b, f) = clip (a + f (b - a)), in single precision, cut to an integer
 *   grey = (19595 R + 38470 G + 7471 B + 32768) >> 16 (ITU-R BT.601)
 *
 * Hue goes through HSV bytes. With max, middle and min of a pixel's channels and t = (max - middle)
 * / (max - min), the hue is k + 1 - t or k - 1 + t sixths of a circle, k = 0, 2, 4 as red, green or
 * blue is the greatest. Pillow computes it partly in double precision; the steps below give its
 * byte for all colours. Back, a channel is V - round (V S m / (255 * 85)), m = 0..85 telling how
 * far the hue is from that channel: no half occurs there, so single precision does.
 *
 * The loops are written so that compilers vectorise them, and are compiled twice; which are called
 * is chosen by the processor. Without fused multiply-adds (see meson.build) both give the same
 * bits.
 */
#include "config.h"
#include "vision/colour-loops.h"
#include "vision/vision-private.h"

#include <string.h>

#if defined (__x86_64__) && defined (__GNUC__)
#include <immintrin.h>
#define HAVE_AVX2 1
#define AVX2 __attribute__ ((target ("avx2")))
#endif

#define CHUNK 64
#define SIXTH 85                /* of a circle of hues, which has 255 steps, in half steps */

#define INNER static inline __attribute__ ((always_inline))

INNER guint8
blend (gint a, gint b, gfloat factor)
{
  const gint v = (gint) ((gfloat) a + factor * (gfloat) (b - a));

  return CLAMP (v, 0, 255);
}

/* All products and sums are whole numbers below 2^24, so that floats hold them. */
INNER gint
grey_of (gint r, gint g, gint b)
{
  const gfloat sum = 19595.0f * r + 38470.0f * g + 7471.0f * b + 32768.0f;

  return (gint) (sum * (1.0f / 65536));
}

/* In 1/255 of a circle; any number for greys. */
INNER gint
hue_of (gint r, gint g, gint b, gint max, gint min)
{
  const gint middle = r + g + b - max - min;
  const gfloat t = (gfloat) (max - middle) / (gfloat) MAX (max - min, 1);
  const gfloat first = r == max ? 0.0f : g == max ? 2.0f : 4.0f;
  const gint lead = r == max ? g - b : g == max ? b - r : r - g;
  const gfloat side = lead >= 0 ? 1.0f : -1.0f;
  const gfloat turn = (first + side - side * t) / 6.0f, next = turn + 1.0f;

  return (gint) ((turn < 0 ? next : turn) * 255.0f);
}

INNER gint
saturation_of (gint max, gint min)
{
  return (gint) ((gfloat) (max - min) / (gfloat) MAX (max, 1) * 255.0f);
}

/* The channels of hue @h, value @v and @vs = V S. */
INNER void
rgb_of (gint h, gint v, gfloat vs, gint *r, gint *g, gint *b)
{
  const gint x = 2 * h;
  const gint m[3] = { 2 * SIXTH - ABS (x - 3 * SIXTH), ABS (x - 2 * SIXTH) - SIXTH,
    ABS (x - 4 * SIXTH) - SIXTH };
  gint *const out[3] = { r, g, b };

  for (gint c = 0; c < 3; c++) {
    const gfloat part = (gfloat) CLAMP (m[c], 0, SIXTH);

    *out[c] = v - (gint) (vs * part * (1.0f / (255 * SIXTH)) + 0.5f);
  }
}

INNER void
tone_line (guint8 *line, gsize n, gint constant, gfloat factor)
{
  for (gsize i = 0; i < n; i++)
    line[i] = blend (constant, line[i], factor);
}

INNER void
saturation_planes (const PirlPlanes *planes, gsize n, gfloat factor)
{
  guint8 *restrict r = planes->data, *restrict g = r + planes->stride;
  guint8 *restrict b = g + planes->stride;

  for (gsize i = 0; i < n; i++) {
    const gint grey = grey_of (r[i], g[i], b[i]);

    r[i] = blend (grey, r[i], factor);
    g[i] = blend (grey, g[i], factor);
    b[i] = blend (grey, b[i], factor);
  }
}

static void
plain_hue (const PirlPlanes *planes, gsize n, gint turn)
{
  guint8 *restrict red = planes->data, *restrict green = red + planes->stride;
  guint8 *restrict blue = green + planes->stride;

  for (gsize i = 0; i < n; i++) {
    gint r = red[i], g = green[i], b = blue[i];
    const gint max = MAX (r, MAX (g, b)), min = MIN (r, MIN (g, b));
    const gint hue = (hue_of (r, g, b, max, min) + turn) & 255;

    rgb_of (hue, max, (gfloat) max * (gfloat) saturation_of (max, min), &r, &g, &b);
    red[i] = r;
    green[i] = g;
    blue[i] = b;
  }
}

INNER void
grey_planes (const PirlPlanes *planes, gsize n)
{
  guint8 *restrict r = planes->data, *restrict g = r + planes->stride;
  guint8 *restrict b = g + planes->stride;

  for (gsize i = 0; i < n; i++)
    r[i] = g[i] = b[i] = grey_of (r[i], g[i], b[i]);
}

INNER guint32
sum_grey_planes (const PirlPlanes *planes, gsize n)
{
  const guint8 *r = planes->data, *g = r + planes->stride, *b = g + planes->stride;
  gint32 sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += grey_of (r[i], g[i], b[i]);
  return sum;
}

INNER void
posterize_line (guint8 *line, gsize n, guint8 mask)
{
  for (gsize i = 0; i < n; i++)
    line[i] &= mask;
}

INNER void
solarize_line (guint8 *line, gsize n, gint threshold)
{
  for (gsize i = 0; i < n; i++)
    line[i] = line[i] < threshold ? line[i] : 255 - line[i];
}

INNER void
range_line (const guint8 *line, gsize n, guint8 range[2])
{
  guint8 low = range[0], high = range[1];

  for (gsize i = 0; i < n; i++) {
    low = MIN (low, line[i]);
    high = MAX (high, line[i]);
  }
  range[0] = low;
  range[1] = high;
}

INNER void
reverse_line (const guint8 *restrict line, gsize n, guint8 *restrict dst)
{
  for (gsize i = 0; i < n; i++)
    dst[i] = line[n - 1 - i];
}

INNER void
sharpen_line (const guint8 *above, const guint8 *here, const guint8 *below, gsize n,
    gfloat factor, guint8 *restrict dst)
{
  for (gsize i = 0; i < n; i++) {
    const guint16 corners = above[(gssize) i - 3] + above[i + 3] + below[(gssize) i - 3]
        + below[i + 3];
    const guint16 sum = corners + above[i] + below[i] + here[(gssize) i - 3] + here[i + 3]
        + 5 * here[i];

    /* sum / 13, rounded: no multiple of 1/13 lies half-way, so this is what floats give too. */
    dst[i] = blend ((guint16) (2 * sum + 13) / 26, here[i], factor);
  }
}

static void
plain_box (const PirlBlurBox *box, const guint8 *const *line, gsize n, guint8 *restrict dst)
{
  const gint last = 2 * box->radius + 2;
  guint16 sum[CHUNK];

  for (gsize x = 0; x < n; x += CHUNK) {
    const gsize m = MIN (CHUNK, n - x);

    memset (sum, 0, sizeof sum);
    for (gint t = 1; t < last; t++)
      for (gsize i = 0; i < m; i++)
        sum[i] += line[t][x + i];
    for (gsize i = 0; i < m; i++) {
      const guint32 ends = line[0][x + i] + line[last][x + i];

      dst[x + i] = (sum[i] * box->whole + ends * box->part + (1u << 23)) >> 24;
    }
  }
}

static void
plain_split (const guint8 *rgb, gsize n, const PirlPlanes *planes)
{
  guint8 *restrict r = planes->data, *restrict g = r + planes->stride;
  guint8 *restrict b = g + planes->stride;

  for (gsize i = 0; i < n; i++, rgb += 3) {
    r[i] = rgb[0];
    g[i] = rgb[1];
    b[i] = rgb[2];
  }
}

static void
plain_join (const PirlPlanes *planes, gsize n, guint8 *rgb)
{
  const guint8 *r = planes->data, *g = r + planes->stride, *b = g + planes->stride;

  for (gsize i = 0; i < n; i++, rgb += 3) {
    rgb[0] = r[i];
    rgb[1] = g[i];
    rgb[2] = b[i];
  }
}

/* The loops of one target, by the names of the table's fields. */
#define DEFINE_LOOPS(name, target) \
  target static void name##_tone (guint8 *line, gsize n, gint constant, gfloat factor) \
  { \
    tone_line (line, n, constant, factor); \
  } \
  target static void name##_saturation (const PirlPlanes *planes, gsize n, gfloat factor) \
  { \
    saturation_planes (planes, n, factor); \
  } \
  target static void name##_grey (const PirlPlanes *planes, gsize n) \
  { \
    grey_planes (planes, n); \
  } \
  target static guint32 name##_sum_grey (const PirlPlanes *planes, gsize n) \
  { \
    return sum_grey_planes (planes, n); \
  } \
  target static void name##_posterize (guint8 *line, gsize n, guint8 mask) \
  { \
    posterize_line (line, n, mask); \
  } \
  target static void name##_solarize (guint8 *line, gsize n, gint threshold) \
  { \
    solarize_line (line, n, threshold); \
  } \
  target static void name##_range (const guint8 *line, gsize n, guint8 range[2]) \
  { \
    range_line (line, n, range); \
  } \
  target static void name##_reverse (const guint8 *line, gsize n, guint8 *dst) \
  { \
    reverse_line (line, n, dst); \
  } \
  target static void name##_sharpen (const guint8 *above, const guint8 *here, \
      const guint8 *below, gsize n, gfloat factor, guint8 *dst) \
  { \
    sharpen_line (above, here, below, n, factor, dst); \
  }

#define LOOPS(name) { name##_split, name##_join, name##_tone, name##_saturation, name##_hue, \
    name##_grey, name##_sum_grey, name##_posterize, name##_solarize, name##_range, \
    name##_reverse, name##_sharpen, name##_box }

DEFINE_LOOPS (plain, )
const PirlColourLoops pirl_colour_plain = LOOPS (plain);

#ifdef HAVE_AVX2

DEFINE_LOOPS (avx2, AVX2)

/* Bytes of 16 pixels: those of channel c in the j-th 16 are at shuffle[c][j], others become 0. */
#define NONE -1
static const gint8 split_shuffle[3][3][16] = {
  { { 0, 3, 6, 9, 12, 15, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE },
    { NONE, NONE, NONE, NONE, NONE, NONE, 2, 5, 8, 11, 14, NONE, NONE, NONE, NONE, NONE },
    { NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 1, 4, 7, 10, 13 } },
  { { 1, 4, 7, 10, 13, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE },
    { NONE, NONE, NONE, NONE, NONE, 0, 3, 6, 9, 12, 15, NONE, NONE, NONE, NONE, NONE },
    { NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 2, 5, 8, 11, 14 } },
  { { 2, 5, 8, 11, 14, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE },
    { NONE, NONE, NONE, NONE, NONE, 1, 4, 7, 10, 13, NONE, NONE, NONE, NONE, NONE, NONE },
    { NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 0, 3, 6, 9, 12, 15 } },
};
/* And the other way: the j-th 16 bytes take from channel c what is at shuffle[j][c]. */
static const gint8 join_shuffle[3][3][16] = {
  { { 0, NONE, NONE, 1, NONE, NONE, 2, NONE, NONE, 3, NONE, NONE, 4, NONE, NONE, 5 },
    { NONE, 0, NONE, NONE, 1, NONE, NONE, 2, NONE, NONE, 3, NONE, NONE, 4, NONE, NONE },
    { NONE, NONE, 0, NONE, NONE, 1, NONE, NONE, 2, NONE, NONE, 3, NONE, NONE, 4, NONE } },
  { { NONE, NONE, 6, NONE, NONE, 7, NONE, NONE, 8, NONE, NONE, 9, NONE, NONE, 10, NONE },
    { 5, NONE, NONE, 6, NONE, NONE, 7, NONE, NONE, 8, NONE, NONE, 9, NONE, NONE, 10 },
    { NONE, 5, NONE, NONE, 6, NONE, NONE, 7, NONE, NONE, 8, NONE, NONE, 9, NONE, NONE } },
  { { NONE, 11, NONE, NONE, 12, NONE, NONE, 13, NONE, NONE, 14, NONE, NONE, 15, NONE, NONE },
    { NONE, NONE, 11, NONE, NONE, 12, NONE, NONE, 13, NONE, NONE, 14, NONE, NONE, 15, NONE },
    { 10, NONE, NONE, 11, NONE, NONE, 12, NONE, NONE, 13, NONE, NONE, 14, NONE, NONE, 15 } },
};

AVX2 static inline __m256i
both_lanes (const gint8 *shuffle)
{
  return _mm256_broadcastsi128_si256 (_mm_loadu_si128 ((const __m128i *) shuffle));
}

/* One of three 16-byte parts for two runs of 16 pixels, a run a lane. */
AVX2 static inline __m256i
shuffle_or (const __m256i in[3], const gint8 shuffle[3][16])
{
  const __m256i a = _mm256_shuffle_epi8 (in[0], both_lanes (shuffle[0]));
  const __m256i b = _mm256_shuffle_epi8 (in[1], both_lanes (shuffle[1]));
  const __m256i c = _mm256_shuffle_epi8 (in[2], both_lanes (shuffle[2]));

  return _mm256_or_si256 (_mm256_or_si256 (a, b), c);
}

AVX2 static void
avx2_split (const guint8 *rgb, gsize n, const PirlPlanes *planes)
{
  gsize i = 0;

  for (; i + 32 <= n; i += 32) {
    __m256i in[3];

    for (gint j = 0; j < 3; j++) {
      const __m128i *p = (const __m128i *) (rgb + 3 * i + 16 * j);

      in[j] = _mm256_inserti128_si256 (_mm256_castsi128_si256 (_mm_loadu_si128 (p)),
          _mm_loadu_si128 (p + 3), 1);
    }
    for (gint c = 0; c < 3; c++)
      _mm256_storeu_si256 ((__m256i *) (planes->data + c * planes->stride + i),
          shuffle_or (in, split_shuffle[c]));
  }
  plain_split (rgb + 3 * i, n - i, &(PirlPlanes) { planes->data + i, planes->stride });
}

AVX2 static void
avx2_join (const PirlPlanes *planes, gsize n, guint8 *rgb)
{
  gsize i = 0;

  for (; i + 32 <= n; i += 32) {
    __m256i in[3];

    for (gint c = 0; c < 3; c++)
      in[c] = _mm256_loadu_si256 ((const __m256i *) (planes->data + c * planes->stride + i));
    for (gint j = 0; j < 3; j++) {
      const __m256i out = shuffle_or (in, join_shuffle[j]);
      __m128i *p = (__m128i *) (rgb + 3 * i + 16 * j);

      _mm_storeu_si128 (p, _mm256_castsi256_si128 (out));
      _mm_storeu_si128 (p + 3, _mm256_extracti128_si256 (out, 1));
    }
  }
  plain_join (&(PirlPlanes) { planes->data + i, planes->stride }, n - i, rgb + 3 * i);
}

/* 8 pixels, a word a channel. */
typedef struct {
  __m256i r, g, b;
} Words;

AVX2 static inline __m256i
avx2_hue_of (const Words *p, __m256i max, __m256i min)
{
  const __m256i is_red = _mm256_cmpeq_epi32 (p->r, max), is_green = _mm256_cmpeq_epi32 (p->g, max);
  const __m256i sum = _mm256_add_epi32 (_mm256_add_epi32 (p->r, p->g), p->b);
  const __m256i from_middle = _mm256_sub_epi32 (_mm256_add_epi32 (_mm256_add_epi32 (max, max),
          min), sum);
  const __m256i range = _mm256_max_epi32 (_mm256_sub_epi32 (max, min), _mm256_set1_epi32 (1));
  const __m256 t = _mm256_div_ps (_mm256_cvtepi32_ps (from_middle), _mm256_cvtepi32_ps (range));
  const __m256i lead = _mm256_blendv_epi8 (_mm256_blendv_epi8 (_mm256_sub_epi32 (p->r, p->g),
          _mm256_sub_epi32 (p->b, p->r), is_green), _mm256_sub_epi32 (p->g, p->b), is_red);
  const __m256i first = _mm256_andnot_si256 (is_red, _mm256_add_epi32 (_mm256_set1_epi32 (4),
          _mm256_add_epi32 (is_green, is_green)));
  /* 1, or -1 where lead < 0. */
  const __m256i side = _mm256_or_si256 (_mm256_srai_epi32 (lead, 31), _mm256_set1_epi32 (1));
  const __m256 sign = _mm256_and_ps (_mm256_castsi256_ps (lead), _mm256_set1_ps (-0.0f));
  const __m256 sixths = _mm256_sub_ps (_mm256_cvtepi32_ps (_mm256_add_epi32 (first, side)),
      _mm256_xor_ps (t, sign));
  const __m256 turn = _mm256_div_ps (sixths, _mm256_set1_ps (6));
  const __m256 next = _mm256_add_ps (turn, _mm256_set1_ps (1));

  return _mm256_cvttps_epi32 (_mm256_mul_ps (_mm256_blendv_ps (turn, next, turn),
          _mm256_set1_ps (255)));
}

/* V S. */
AVX2 static inline __m256
avx2_vs_of (__m256i max, __m256i min)
{
  const __m256 divisor = _mm256_cvtepi32_ps (_mm256_max_epi32 (max, _mm256_set1_epi32 (1)));
  const __m256 part = _mm256_div_ps (_mm256_cvtepi32_ps (_mm256_sub_epi32 (max, min)), divisor);

  return _mm256_mul_ps (_mm256_cvtepi32_ps (max), _mm256_round_ps (_mm256_mul_ps (part,
              _mm256_set1_ps (255)), _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC));
}

/* One channel of rgb_of(), @m its part before the cut. */
AVX2 static inline __m256i
avx2_level (__m256i v, __m256 vs, __m256i m)
{
  const __m256 part = _mm256_cvtepi32_ps (_mm256_min_epi32 (_mm256_max_epi32 (m,
              _mm256_setzero_si256 ()), _mm256_set1_epi32 (SIXTH)));
  const __m256 fall = _mm256_mul_ps (_mm256_mul_ps (vs, part),
      _mm256_set1_ps (1.0f / (255 * SIXTH)));

  return _mm256_sub_epi32 (v, _mm256_cvttps_epi32 (_mm256_add_ps (fall, _mm256_set1_ps (0.5f))));
}

AVX2 static inline __m256i
distance (__m256i x, gint sixths)
{
  return _mm256_abs_epi32 (_mm256_sub_epi32 (x, _mm256_set1_epi32 (sixths * SIXTH)));
}

AVX2 static inline void
avx2_turn_hue (Words *p, __m256i turn)
{
  const __m256i max = _mm256_max_epi32 (p->r, _mm256_max_epi32 (p->g, p->b));
  const __m256i min = _mm256_min_epi32 (p->r, _mm256_min_epi32 (p->g, p->b));
  const __m256i hue = _mm256_add_epi32 (avx2_hue_of (p, max, min), turn);
  const __m256i x = _mm256_slli_epi32 (_mm256_and_si256 (hue, _mm256_set1_epi32 (255)), 1);
  const __m256i sixth = _mm256_set1_epi32 (SIXTH);
  const __m256 vs = avx2_vs_of (max, min);

  p->r = avx2_level (max, vs, _mm256_sub_epi32 (_mm256_set1_epi32 (2 * SIXTH), distance (x, 3)));
  p->g = avx2_level (max, vs, _mm256_sub_epi32 (distance (x, 2), sixth));
  p->b = avx2_level (max, vs, _mm256_sub_epi32 (distance (x, 4), sixth));
}

AVX2 static inline __m256i
load_words (const guint8 *bytes)
{
  return _mm256_cvtepu8_epi32 (_mm_loadl_epi64 ((const __m128i *) bytes));
}

AVX2 static inline void
store_words (__m256i first, __m256i second, guint8 *bytes)
{
  const __m256i halves = _mm256_permute4x64_epi64 (_mm256_packus_epi32 (first, second), 0xd8);

  _mm_storeu_si128 ((__m128i *) bytes, _mm_packus_epi16 (_mm256_castsi256_si128 (halves),
          _mm256_extracti128_si256 (halves, 1)));
}

/* As plain_hue(); left to the compiler, loops that begin and end with bytes keep four vectors of
 * every value, more than there are registers. */
AVX2 static void
avx2_hue (const PirlPlanes *planes, gsize n, gint turn)
{
  guint8 *r = planes->data, *g = r + planes->stride, *b = g + planes->stride;
  const __m256i turns = _mm256_set1_epi32 (turn);
  gsize i = 0;

  for (; i + 16 <= n; i += 16) {
    Words p[2];

    for (gint j = 0; j < 2; j++) {
      p[j] = (Words) { load_words (r + i + 8 * j), load_words (g + i + 8 * j),
        load_words (b + i + 8 * j) };
      avx2_turn_hue (&p[j], turns);
    }
    store_words (p[0].r, p[1].r, r + i);
    store_words (p[0].g, p[1].g, g + i);
    store_words (p[0].b, p[1].b, b + i);
  }
  plain_hue (&(PirlPlanes) { r + i, planes->stride }, n - i, turn);
}

/* Weights of 24 bits in two parts of BOX_SPLIT, the whole taps' beside the ends'. */
#define BOX_SPLIT 12
typedef struct {
  __m256i high, low;
} BoxWeights;

AVX2 static inline BoxWeights
box_weights (const PirlBlurBox *box)
{
  const guint32 mask = (1 << BOX_SPLIT) - 1;

  return (BoxWeights) {
    _mm256_set1_epi32 (box->part >> BOX_SPLIT << 16 | box->whole >> BOX_SPLIT),
    _mm256_set1_epi32 ((box->part & mask) << 16 | (box->whole & mask)),
  };
}

/* 8 results from pairs of the sum of whole taps and that of the ends, as 16 bits each. */
AVX2 static inline __m256i
box_join (__m256i pairs, const BoxWeights *w)
{
  const __m256i high = _mm256_slli_epi32 (_mm256_madd_epi16 (pairs, w->high), BOX_SPLIT);
  const __m256i low = _mm256_madd_epi16 (pairs, w->low);

  return _mm256_srli_epi32 (_mm256_add_epi32 (_mm256_add_epi32 (high, low),
          _mm256_set1_epi32 (1 << 23)), 24);
}

/* 32 bytes. Unpacking works within lanes, and packing at the end undoes that. */
AVX2 static inline __m256i
box_32 (const BoxWeights *w, gint last, const guint8 *const *line, gsize x)
{
  const __m256i zero = _mm256_setzero_si256 ();
  __m256i sum[2] = { zero, zero }, ends[2], part[2];

  for (gint t = 1; t < last; t++) {
    const __m256i bytes = _mm256_loadu_si256 ((const __m256i *) (line[t] + x));

    sum[0] = _mm256_add_epi16 (sum[0], _mm256_unpacklo_epi8 (bytes, zero));
    sum[1] = _mm256_add_epi16 (sum[1], _mm256_unpackhi_epi8 (bytes, zero));
  }
  {
    const __m256i a = _mm256_loadu_si256 ((const __m256i *) (line[0] + x));
    const __m256i b = _mm256_loadu_si256 ((const __m256i *) (line[last] + x));

    ends[0] = _mm256_add_epi16 (_mm256_unpacklo_epi8 (a, zero), _mm256_unpacklo_epi8 (b, zero));
    ends[1] = _mm256_add_epi16 (_mm256_unpackhi_epi8 (a, zero), _mm256_unpackhi_epi8 (b, zero));
  }
  for (gint j = 0; j < 2; j++)
    part[j] = _mm256_packus_epi32 (box_join (_mm256_unpacklo_epi16 (sum[j], ends[j]), w),
        box_join (_mm256_unpackhi_epi16 (sum[j], ends[j]), w));
  return _mm256_packus_epi16 (part[0], part[1]);
}

AVX2 static void
avx2_box (const PirlBlurBox *box, const guint8 *const *line, gsize n, guint8 *dst)
{
  const gint last = 2 * box->radius + 2;
  const BoxWeights w = box_weights (box);
  gsize x = 0;

  if (n < 32) {
    plain_box (box, line, n, dst);
    return;
  }
  for (; x + 32 <= n; x += 32)
    _mm256_storeu_si256 ((__m256i *) (dst + x), box_32 (&w, last, line, x));
  /* The last bytes once more, with some before them. */
  if (x < n)
    _mm256_storeu_si256 ((__m256i *) (dst + n - 32), box_32 (&w, last, line, n - 32));
}

const PirlColourLoops *
pirl_colour_avx2 (void)
{
  static const PirlColourLoops loops = LOOPS (avx2);

  return __builtin_cpu_supports ("avx2") ? &loops : NULL;
}

#else

const PirlColourLoops *
pirl_colour_avx2 (void)
{
  return NULL;
}

#endif

void
pirl_rgb_to_hsv (const guint8 rgb[3], guint8 hsv[3])
{
  const gint r = rgb[0], g = rgb[1], b = rgb[2];
  const gint max = MAX (r, MAX (g, b)), min = MIN (r, MIN (g, b));

  hsv[0] = max > min ? hue_of (r, g, b, max, min) : 0;
  hsv[1] = saturation_of (max, min);
  hsv[2] = max;
}

void
pirl_hsv_to_rgb (const guint8 hsv[3], guint8 rgb[3])
{
  gint r, g, b;

  rgb_of (hsv[0], hsv[2], (gfloat) hsv[2] * (gfloat) hsv[1], &r, &g, &b);
  rgb[0] = r;
  rgb[1] = g;
  rgb[2] = b;
}
