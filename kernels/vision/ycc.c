/* gst-pirl: any raw video to full-range BT.601 YCbCr 4:2:0.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * With normalised y = (Y - oy) / ry, c = (C - 128) / rc (limited range: 16, 219, 224; full: 0, 255,
 * 255): R = y + 2 (1 - kr) cr, B = y + 2 (1 - kb) cb, G = (y - kr R - kb B) / (1 - kr - kb), and the
 * same backwards with the constants of JFIF. All of it is one affine map of 3 components; nothing is
 * clipped but the result. Its weights have 14 bits after the point, samples 7, sums 6, so that 16-bit
 * lanes do. Between YCbCr matrices chroma depends on chroma alone: it is averaged first.
 *
 * A chroma sample is the mean of the source at the 2 x 2 pixels it covers, of those that exist.
 */
#include "config.h"
#include "vision/ycc-private.h"

#include <math.h>
#include <string.h>

#if defined (__x86_64__) && defined (__GNUC__)
#define HAVE_VECTORS 1
#include <immintrin.h>
#endif

#define SAMPLE_BITS 7
#define WEIGHT_BITS 14
#define SUM_BITS 6              /* SAMPLE_BITS + WEIGHT_BITS - 15 */
#define MAX_SHIFT 4             /* of a component's subsampling */
#define MATRIX_TOLERANCE 1e-3   /* kr and kb are written with 3 or 4 digits */

static const gdouble jfif_kr = 0.299, jfif_kb = 0.114;

/* One output component: (sum weight[c] * sample[c] + offset) >> shift. */
typedef struct {
  gint16 weight[3], offset;
  gint shift;
} Mix;

typedef void (*ConvertFunc) (PirlYccConverter *, const PirlRaw *);

struct _PirlYccConverter {
  PirlRaw layout;
  gboolean passthrough;
  gboolean own_luma;            /* the source's luma serves as it is */
  gboolean luma_alone;          /* luma does not depend on chroma */
  gboolean halved;              /* the source's chroma is 4:2:0 already */
  Mix mix[3];
  ConvertFunc convert;
  guint8 *plane[3];
  gsize stride[3];
  guint8 *row[2][3];            /* components of two rows, packed, at the width of the picture */
  guint8 *wide[2];              /* chroma stretched to the width of the picture */
  gint16 *sum[3];               /* means of 2 x 2, 7 bits after the point */
};

/* The map itself, in real numbers. */
static void
to_jfif (const PirlRaw *raw, const gdouble in[3], gdouble out[3])
{
  const gdouble low = raw->full_range ? 0 : 16, luma = raw->full_range ? 255 : 219;
  const gdouble chroma = raw->full_range ? 255 : 224;
  gdouble r, g, b, y;

  if (raw->rgb) {
    r = (in[0] - low) / luma;
    g = (in[1] - low) / luma;
    b = (in[2] - low) / luma;
  } else {
    y = (in[0] - low) / luma;
    r = y + 2 * (1 - raw->kr) * (in[2] - 128) / chroma;
    b = y + 2 * (1 - raw->kb) * (in[1] - 128) / chroma;
    g = (y - raw->kr * r - raw->kb * b) / (1 - raw->kr - raw->kb);
  }
  y = jfif_kr * r + (1 - jfif_kr - jfif_kb) * g + jfif_kb * b;
  out[0] = 255 * y;
  out[1] = 128 + 255 * (b - y) / (2 * (1 - jfif_kb));
  out[2] = 128 + 255 * (r - y) / (2 * (1 - jfif_kr));
}

/* Fixed point with as many bits as the greatest sum allows. */
static void
set_mix (Mix *mix, const gdouble weight[3], gdouble offset)
{
  gdouble largest = fabs (offset) + 1;
  gint fewer = 0;

  for (guint c = 0; c < 3; c++)
    largest += 255 * fabs (weight[c]);
  while (fewer < SUM_BITS && largest >= 512 << fewer)
    fewer++;
  for (guint c = 0; c < 3; c++)
    mix->weight[c] = CLAMP (lround (ldexp (weight[c], WEIGHT_BITS - fewer)), G_MININT16,
        G_MAXINT16);
  mix->shift = SUM_BITS - fewer;
  mix->offset = CLAMP (floor (ldexp (offset + 0.5, mix->shift) + 0.5), G_MININT16, G_MAXINT16);
}

/* An affine map is known from where it takes 0 and the unit vectors. */
static void
set_matrix (PirlYccConverter *converter, const PirlRaw *raw)
{
  const gboolean grey = raw->n_components == 1;
  const gdouble zero[3] = { 0, grey ? 128 : 0, grey ? 128 : 0 };
  gdouble offset[3], weight[3][3] = { { 0 } };

  to_jfif (raw, zero, offset);
  for (guint c = 0; c < raw->n_components; c++) {
    gdouble unit[3] = { zero[0], zero[1], zero[2] }, out[3];

    unit[c] += 1;
    to_jfif (raw, unit, out);
    for (guint o = 0; o < 3; o++)
      weight[o][c] = out[o] - offset[o];
  }
  for (guint o = 0; o < 3; o++)
    set_mix (&converter->mix[o], weight[o], offset[o]);
}

/* Mixes @n samples: of one component, of three, of three already averaged. */
typedef struct {
  void (*one) (const Mix *mix, const guint8 *a, guint8 *out, gint n);
  void (*bytes) (const Mix *mix, const guint8 *const in[3], guint8 *out, gint n);
  void (*sums) (const Mix *mix, const gint16 *const in[3], guint8 *out, gint n);
} MixLoops;

/* a * b / 2^15, rounded: one instruction where there are vectors. */
static inline gint
multiply (gint a, gint b)
{
  return (a * b + (1 << 14)) >> 15;
}

static inline guint8
finish (gint sum, gint shift)
{
  const gint v = sum >> shift;

  return CLAMP (v, 0, 255);
}

static void
plain_one (const Mix *mix, const guint8 *a, guint8 *out, gint n)
{
  for (gint i = 0; i < n; i++)
    out[i] = finish (multiply (a[i] << SAMPLE_BITS, mix->weight[0]) + mix->offset, mix->shift);
}

static void
plain_bytes (const Mix *mix, const guint8 *const in[3], guint8 *out, gint n)
{
  for (gint i = 0; i < n; i++) {
    gint sum = mix->offset;

    for (guint c = 0; c < 3; c++)
      sum += multiply (in[c][i] << SAMPLE_BITS, mix->weight[c]);
    out[i] = finish (sum, mix->shift);
  }
}

static void
plain_sums (const Mix *mix, const gint16 *const in[3], guint8 *out, gint n)
{
  for (gint i = 0; i < n; i++) {
    gint sum = mix->offset;

    for (guint c = 0; c < 3; c++)
      sum += multiply (in[c][i], mix->weight[c]);
    out[i] = finish (sum, mix->shift);
  }
}

static const MixLoops plain_loops = { plain_one, plain_bytes, plain_sums };

#ifdef HAVE_VECTORS
#define AVX2 __attribute__ ((target ("avx2")))
#define STEP 32

/* The compiler does not find vpmulhrsw where a factor is constant in the loop. */
AVX2 static inline __m256i
bytes_term (const guint8 *p, gint16 weight)
{
  const __m256i v = _mm256_cvtepu8_epi16 (_mm_loadu_si128 ((const __m128i *) p));

  return _mm256_mulhrs_epi16 (_mm256_slli_epi16 (v, SAMPLE_BITS), _mm256_set1_epi16 (weight));
}

AVX2 static inline __m256i
sums_term (const gint16 *p, gint16 weight)
{
  return _mm256_mulhrs_epi16 (_mm256_loadu_si256 ((const __m256i *) p),
      _mm256_set1_epi16 (weight));
}

AVX2 static inline void
store (const Mix *mix, __m256i low, __m256i high, guint8 *out)
{
  const __m256i offset = _mm256_set1_epi16 (mix->offset);
  const __m128i shift = _mm_cvtsi32_si128 (mix->shift);

  low = _mm256_sra_epi16 (_mm256_add_epi16 (low, offset), shift);
  high = _mm256_sra_epi16 (_mm256_add_epi16 (high, offset), shift);
  low = _mm256_permute4x64_epi64 (_mm256_packus_epi16 (low, high), 0xd8);
  _mm256_storeu_si256 ((__m256i *) out, low);
}

AVX2 static void
avx2_one (const Mix *mix, const guint8 *a, guint8 *out, gint n)
{
  gint i = 0;

  for (; i + STEP <= n; i += STEP)
    store (mix, bytes_term (a + i, mix->weight[0]), bytes_term (a + i + 16, mix->weight[0]),
        out + i);
  plain_one (mix, a + i, out + i, n - i);
}

AVX2 static void
avx2_bytes (const Mix *mix, const guint8 *const in[3], guint8 *out, gint n)
{
  const gint16 *w = mix->weight;
  gint i = 0;

  for (; i + STEP <= n; i += STEP) {
    __m256i sum[2];

    for (guint j = 0; j < 2; j++)
      sum[j] = _mm256_add_epi16 (bytes_term (in[0] + i + 16 * j, w[0]),
          _mm256_add_epi16 (bytes_term (in[1] + i + 16 * j, w[1]),
              bytes_term (in[2] + i + 16 * j, w[2])));
    store (mix, sum[0], sum[1], out + i);
  }
  plain_bytes (mix, (const guint8 *[]) { in[0] + i, in[1] + i, in[2] + i }, out + i, n - i);
}

AVX2 static void
avx2_sums (const Mix *mix, const gint16 *const in[3], guint8 *out, gint n)
{
  const gint16 *w = mix->weight;
  gint i = 0;

  for (; i + STEP <= n; i += STEP) {
    __m256i sum[2];

    for (guint j = 0; j < 2; j++)
      sum[j] = _mm256_add_epi16 (sums_term (in[0] + i + 16 * j, w[0]),
          _mm256_add_epi16 (sums_term (in[1] + i + 16 * j, w[1]),
              sums_term (in[2] + i + 16 * j, w[2])));
    store (mix, sum[0], sum[1], out + i);
  }
  plain_sums (mix, (const gint16 *[]) { in[0] + i, in[1] + i, in[2] + i }, out + i, n - i);
}

static const MixLoops avx2_loops = { avx2_one, avx2_bytes, avx2_sums };
#endif

/* Everything below is compiled twice, plain and for AVX2, where its loops over bytes that are steps
 * apart become shuffles. */
#define INLINE static inline __attribute__ ((always_inline))

/* @n samples of a component's row, packed. With a constant step the loops become shuffles. */
INLINE void
pack (const guint8 *restrict src, guint step, guint8 *restrict out, gint n)
{
  if (step == 1)
    memcpy (out, src, n);
  else if (step == 2)
    for (gint i = 0; i < n; i++)
      out[i] = src[2 * i];
  else if (step == 4)
    for (gint i = 0; i < n; i++)
      out[i] = src[4 * i];
  else
    for (gint i = 0; i < n; i++)
      out[i] = src[(gsize) step * i];
}

/* The same for three bytes of every pixel at once. */
INLINE void
pack_three (const guint8 *restrict src, guint step, guint8 *restrict a, guint8 *restrict b,
    guint8 *restrict c, gint n)
{
  if (step == 3)
    for (gint i = 0; i < n; i++) {
      a[i] = src[3 * i];
      b[i] = src[3 * i + 1];
      c[i] = src[3 * i + 2];
    }
  else
    for (gint i = 0; i < n; i++) {
      a[i] = src[4 * i];
      b[i] = src[4 * i + 1];
      c[i] = src[4 * i + 2];
    }
}

INLINE const guint8 *
sample_row (const PirlRaw *raw, guint c, gint y)
{
  return raw->data[c] + (gsize) (y >> raw->h_shift[c]) * raw->stride[c];
}

INLINE gint
samples_across (const PirlRaw *raw, guint c)
{
  return (raw->width + (1 << raw->w_shift[c]) - 1) >> raw->w_shift[c];
}

/* RGB in 3 or 4 bytes: the byte of a pixel that is lowest in memory, or NULL. */
INLINE const guint8 *
packed_base (const PirlRaw *raw, guint lane[3])
{
  const guint8 *base = MIN (MIN (raw->data[0], raw->data[1]), raw->data[2]);
  guint seen = 0;

  for (guint c = 0; c < 3; c++) {
    if (raw->step[c] != raw->step[0] || raw->stride[c] != raw->stride[0] || raw->w_shift[c] != 0
        || raw->h_shift[c] != 0 || raw->data[c] - base > 2)
      return NULL;
    lane[c] = raw->data[c] - base;
    seen |= 1 << lane[c];
  }
  return seen == 7 && (raw->step[0] == 3 || raw->step[0] == 4) ? base : NULL;
}

/* Row @y of all components at their own width, into converter->row[which]. */
INLINE void
fetch (PirlYccConverter *converter, const PirlRaw *raw, gint y, guint which)
{
  guint8 **row = converter->row[which];
  guint lane[3];
  const guint8 *base = packed_base (raw, lane);

  if (base) {
    guint8 *of_lane[3];

    for (guint c = 0; c < 3; c++)
      of_lane[lane[c]] = row[c];
    pack_three (base + (gsize) y * raw->stride[0], raw->step[0], of_lane[0], of_lane[1],
        of_lane[2], raw->width);
  } else
    for (guint c = 0; c < 3; c++)
      pack (sample_row (raw, c, y), raw->step[c], row[c], samples_across (raw, c));
}

/* Sums of two rows over pairs of pixels, scaled to means. @w_shift: of the rows; @width: of the
 * picture. The rows have room for one sample more, by which odd widths are made even. */
INLINE void
average (guint8 *restrict a, guint8 *restrict b, guint w_shift, gint width, gint16 *restrict out)
{
  const gint n = (width + 1) / 2;

  if (w_shift == 0) {
    if (width % 2) {
      a[width] = a[width - 1];
      b[width] = b[width - 1];
    }
    for (gint i = 0; i < n; i++)
      out[i] = (a[2 * i] + a[2 * i + 1] + b[2 * i] + b[2 * i + 1]) << (SAMPLE_BITS - 2);
  } else if (w_shift == 1)
    for (gint i = 0; i < n; i++)
      out[i] = (a[i] + b[i]) << (SAMPLE_BITS - 1);
  else
    for (gint i = 0; i < n; i++)
      out[i] = (a[i >> (w_shift - 1)] + b[i >> (w_shift - 1)]) << (SAMPLE_BITS - 1);
}

/* A row of chroma at the picture's width. */
INLINE const guint8 *
stretch (const guint8 *restrict row, guint w_shift, gint width, guint8 *restrict out)
{
  if (w_shift == 0)
    return row;
  if (w_shift == 1)
    for (gint i = 0; i < (width + 1) / 2; i++)
      out[2 * i] = out[2 * i + 1] = row[i];
  else
    for (gint x = 0; x < width; x++)
      out[x] = row[x >> w_shift];
  return out;
}

/* Chroma of row @cy; the two rows it covers are fetched. */
INLINE void
convert_chroma (PirlYccConverter *converter, const PirlRaw *raw, gint cy, const MixLoops *loops)
{
  const gint n = (raw->width + 1) / 2;

  if (!converter->halved)
    for (guint c = raw->rgb ? 0 : 1; c < 3; c++)
      average (converter->row[0][c], converter->row[1][c], raw->w_shift[c], raw->width,
          converter->sum[c]);
  for (guint o = 1; o < 3; o++) {
    guint8 *out = converter->plane[o] + cy * converter->stride[o];

    /* Weight 0 of luma takes whatever lies there. */
    if (converter->halved)
      loops->bytes (&converter->mix[o], (const guint8 *const *) converter->row[0], out, n);
    else
      loops->sums (&converter->mix[o], (const gint16 *const *) converter->sum, out, n);
  }
}

/* Luma of row @y, from converter->row[which]. */
INLINE void
convert_luma (PirlYccConverter *converter, const PirlRaw *raw, gint y, guint which,
    const MixLoops *loops)
{
  guint8 *const *row = converter->row[which];
  guint8 *out = converter->plane[0] + y * converter->stride[0];
  const guint8 *in[3] = { row[0], NULL, NULL };

  if (converter->luma_alone) {
    loops->one (&converter->mix[0], row[0], out, raw->width);
    return;
  }
  for (guint c = 1; c < 3; c++)
    in[c] = stretch (row[c], raw->w_shift[c], raw->width, converter->wide[c - 1]);
  loops->bytes (&converter->mix[0], in, out, raw->width);
}

INLINE void
convert_pair (PirlYccConverter *converter, const PirlRaw *raw, gint y, const MixLoops *loops)
{
  const gint rows = MIN (2, raw->height - y);

  fetch (converter, raw, y, 0);
  fetch (converter, raw, y + rows - 1, 1);
  convert_chroma (converter, raw, y / 2, loops);
  if (!converter->own_luma)
    for (gint i = 0; i < rows; i++)
      convert_luma (converter, raw, y + i, i, loops);
}

/* One component, by itself: another range. */
INLINE void
rescale (PirlYccConverter *converter, const PirlRaw *raw, guint c, const MixLoops *loops)
{
  const gint width = c == 0 ? raw->width : (raw->width + 1) / 2;
  const gint height = c == 0 ? raw->height : (raw->height + 1) / 2;
  Mix mix = converter->mix[c];

  mix.weight[0] = mix.weight[c];
  for (gint y = 0; y < height; y++) {
    const guint8 *src = raw->data[c] + (gsize) y * raw->stride[c];

    if (raw->step[c] != 1) {
      pack (src, raw->step[c], converter->row[0][c], width);
      src = converter->row[0][c];
    }
    loops->one (&mix, src, converter->plane[c] + y * converter->stride[c], width);
  }
}

INLINE void
convert_all (PirlYccConverter *converter, const PirlRaw *raw, const MixLoops *loops)
{
  if (converter->luma_alone && (converter->halved || raw->n_components == 1))
    for (guint c = 0; c < raw->n_components; c++)
      rescale (converter, raw, c, loops);
  else
    for (gint y = 0; y < raw->height; y += 2)
      convert_pair (converter, raw, y, loops);
}

static void
convert_plain (PirlYccConverter *converter, const PirlRaw *raw)
{
  convert_all (converter, raw, &plain_loops);
}

#ifdef HAVE_VECTORS
AVX2 static void
convert_avx2 (PirlYccConverter *converter, const PirlRaw *raw)
{
  convert_all (converter, raw, &avx2_loops);
}

static ConvertFunc
best_convert (void)
{
  return __builtin_cpu_supports ("avx2") ? convert_avx2 : convert_plain;
}
#else
static ConvertFunc
best_convert (void)
{
  return convert_plain;
}
#endif

static gboolean
check_layout (const PirlRaw *raw, GError **error)
{
  if (raw->width < 1 || raw->height < 1) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "a picture of %d x %d has no pixels",
        raw->width, raw->height);
    return FALSE;
  }
  if (raw->n_components != 1 && raw->n_components != 3) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a picture of %u components; 1 (grey) or 3 can be converted", raw->n_components);
    return FALSE;
  }
  for (guint c = 0; c < raw->n_components; c++)
    if (raw->w_shift[c] > MAX_SHIFT || raw->h_shift[c] > MAX_SHIFT) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "component %u is subsampled by 2^%u x 2^%u; at most 2^%d is known", c, raw->w_shift[c],
          raw->h_shift[c], MAX_SHIFT);
      return FALSE;
    }
  if (raw->n_components == 3 && !raw->rgb
      && !(raw->kr > 0 && raw->kb > 0 && raw->kr + raw->kb < 1)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "a matrix with kr = %g, kb = %g; "
        "both and their sum lie between 0 and 1", raw->kr, raw->kb);
    return FALSE;
  }
  return TRUE;
}

static void
classify (PirlYccConverter *converter)
{
  const PirlRaw *raw = &converter->layout;
  const gboolean grey = raw->n_components == 1;
  const gboolean whole_luma = raw->w_shift[0] == 0 && raw->h_shift[0] == 0;

  converter->luma_alone = whole_luma && (grey || (!raw->rgb
          && fabs (raw->kr - jfif_kr) < MATRIX_TOLERANCE
          && fabs (raw->kb - jfif_kb) < MATRIX_TOLERANCE));
  converter->halved = !grey && !raw->rgb && raw->w_shift[1] == 1 && raw->h_shift[1] == 1
      && raw->w_shift[2] == 1 && raw->h_shift[2] == 1;
  converter->own_luma = converter->luma_alone && raw->full_range;
  converter->passthrough = converter->own_luma && (grey || converter->halved);
}

static void
allocate (PirlYccConverter *converter)
{
  const gsize width = converter->layout.width, height = converter->layout.height;
  const gsize half = (width + 1) / 2;

  for (guint c = 0; c < converter->layout.n_components; c++) {
    converter->stride[c] = c == 0 ? width : half;
    if (c > 0 || !converter->own_luma)
      converter->plane[c] = g_malloc (converter->stride[c] * (c == 0 ? height : (height + 1) / 2));
  }
  for (guint c = 0; c < 3; c++) {
    for (guint i = 0; i < 2; i++)
      converter->row[i][c] = g_malloc0 (width + 1);
    converter->sum[c] = g_new0 (gint16, half);
    if (c > 0)
      converter->wide[c - 1] = g_malloc (2 * half);
  }
}

PirlYccConverter *
pirl_ycc_converter_new (const PirlRaw *raw, GError **error)
{
  PirlYccConverter *converter;

  if (!check_layout (raw, error))
    return NULL;
  converter = g_new0 (PirlYccConverter, 1);
  converter->layout = *raw;
  if (raw->n_components == 1) {
    converter->layout.rgb = FALSE;
    converter->layout.kr = jfif_kr;
    converter->layout.kb = jfif_kb;
  }
  converter->convert = best_convert ();
  classify (converter);
  if (!converter->passthrough) {
    set_matrix (converter, &converter->layout);
    allocate (converter);
  }
  return converter;
}

void
pirl_ycc_converter_use_plain (PirlYccConverter *converter)
{
  converter->convert = convert_plain;
}

void
pirl_ycc_converter_free (PirlYccConverter *converter)
{
  if (!converter)
    return;
  for (guint c = 0; c < 3; c++) {
    g_free (converter->plane[c]);
    g_free (converter->row[0][c]);
    g_free (converter->row[1][c]);
    g_free (converter->sum[c]);
    if (c > 0)
      g_free (converter->wide[c - 1]);
  }
  g_free (converter);
}

gboolean
pirl_ycc_converter_passthrough (const PirlYccConverter *converter)
{
  return converter->passthrough;
}

void
pirl_ycc_convert (PirlYccConverter *converter, const PirlRaw *raw, PirlYcc *ycc)
{
  PirlRaw source = converter->layout;

  memcpy (source.data, raw->data, sizeof source.data);
  memcpy (source.stride, raw->stride, sizeof source.stride);
  memcpy (source.step, raw->step, sizeof source.step);
  memset (ycc, 0, sizeof *ycc);
  ycc->width = source.width;
  ycc->height = source.height;
  if (!converter->passthrough)
    converter->convert (converter, &source);
  for (guint c = 0; c < source.n_components; c++) {
    const gboolean own = converter->passthrough || (c == 0 && converter->own_luma);

    ycc->plane[c] = own ? source.data[c] : converter->plane[c];
    ycc->stride[c] = own ? source.stride[c] : converter->stride[c];
    ycc->step[c] = own ? source.step[c] : 1;
  }
}
