/* gst-pirl: what a decoder would show of a quality, at a part of the size, without a file.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A block of 8 x 8 becomes size x size pixels, each the mean of the pixels it covers: what libjpeg's
 * scaled decoding shows. Chroma comes out of its blocks at twice that size, as there, and only at
 * full size must be enlarged: with weights 3 : 1 in both directions ("fancy upsampling"). Then
 * R = Y + 1.402 Cr, G = Y - .344136 Cb - .714136 Cr, B = Y + 1.772 Cb.
 */
#include "config.h"
#include "vision/jpeg-coder-private.h"

#define FIXED_BITS 16
#define FIXED(x) ((gint32) ((x) * (1 << FIXED_BITS) + 0.5))

#define INLINE static inline __attribute__ ((always_inline))

/* One row; chroma at luma's width. */
INLINE void
row_to_rgb (const guint8 *restrict y, const guint8 *restrict cb, const guint8 *restrict cr,
    guint8 *restrict rgb, gint width)
{
  const gint32 half = 1 << (FIXED_BITS - 1);

  for (gint x = 0; x < width; x++) {
    const gint32 b = cb[x] - 128, r = cr[x] - 128;
    const gint32 red = y[x] + ((FIXED (1.402) * r + half) >> FIXED_BITS);
    const gint32 green = y[x] + ((half - FIXED (0.344136) * b - FIXED (0.714136) * r)
        >> FIXED_BITS);
    const gint32 blue = y[x] + ((FIXED (1.772) * b + half) >> FIXED_BITS);

    rgb[3 * x] = CLAMP (red, 0, 255);
    rgb[3 * x + 1] = CLAMP (green, 0, 255);
    rgb[3 * x + 2] = CLAMP (blue, 0, 255);
  }
}

INLINE void
row_to_grey (const guint8 *restrict y, guint8 *restrict rgb, gint width)
{
  for (gint x = 0; x < width; x++)
    rgb[3 * x] = rgb[3 * x + 1] = rgb[3 * x + 2] = y[x];
}

/* Two outputs of each of @n samples; @near is the row of chroma that the output lies in. */
INLINE void
enlarge_row (const guint8 *restrict near, const guint8 *restrict far, gint n,
    guint8 *restrict out)
{
#define COLUMN(i) (3 * near[i] + far[i])
  out[0] = (4 * COLUMN (0) + 8) >> 4;
  for (gint i = 0; i + 1 < n; i++) {
    const gint a = COLUMN (i), b = COLUMN (i + 1);

    out[2 * i + 1] = (3 * a + b + 7) >> 4;
    out[2 * i + 2] = (3 * b + a + 8) >> 4;
  }
  out[2 * n - 1] = (4 * COLUMN (n - 1) + 7) >> 4;
#undef COLUMN
}

/* MCUs x0 <= x < x1, y0 <= y < y1. */
typedef struct {
  guint x0, y0, x1, y1;
} Window;

/* What is left of the planes, beginning with the window's. */
typedef struct {
  const guint8 *plane[3];
  gsize stride[3];
  gint chroma_width, chroma_height;     /* where it must be enlarged, else 0 */
  guint8 *wide[2];
} Source;

INLINE void
to_rgb (const Source *source, PirlImage *rgb)
{
  for (gint y = 0; y < rgb->height; y++) {
    const guint8 *row[3] = { NULL };
    guint8 *out = rgb->data + y * rgb->stride;

    for (guint c = 0; c < 3; c++)
      if (c == 0 || (source->plane[c] && source->chroma_width == 0))
        row[c] = source->plane[c] + y * source->stride[c];
      else if (source->plane[c]) {
        const gint other = CLAMP (y / 2 + (y % 2 ? 1 : -1), 0, source->chroma_height - 1);

        enlarge_row (source->plane[c] + y / 2 * source->stride[c],
            source->plane[c] + other * source->stride[c], source->chroma_width,
            source->wide[c - 1]);
        row[c] = source->wide[c - 1];
      }
    if (row[1])
      row_to_rgb (row[0], row[1], row[2], out, rgb->width);
    else
      row_to_grey (row[0], out, rgb->width);
  }
}

static void
plain_to_rgb (const Source *source, PirlImage *rgb)
{
  to_rgb (source, rgb);
}

#if defined (__x86_64__) && defined (__GNUC__)
__attribute__ ((target ("avx2"))) static void
avx2_to_rgb (const Source *source, PirlImage *rgb)
{
  to_rgb (source, rgb);
}

static void
best_to_rgb (const Source *source, PirlImage *rgb)
{
  (__builtin_cpu_supports ("avx2") ? avx2_to_rgb : plain_to_rgb) (source, rgb);
}
#else
#define best_to_rgb plain_to_rgb
#endif

static const PirlBasis *
basis_of (PirlJpegCoder *coder, guint size)
{
  PirlBasis **basis = &coder->basis[g_bit_nth_lsf (size, -1)];

  if (!*basis) {
    *basis = g_new (PirlBasis, 1);
    pirl_basis_init (*basis, size);
  }
  return *basis;
}

/* Units of coefficients that are not quantised. */
static const gint16 as_they_are[PIRL_BLOCK] = {
  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
};

/* The blocks of component @c in @window. */
static Window
blocks_of (const PirlJpegCoder *coder, guint c, const Window *window)
{
  const guint side = c == 0 ? pirl_jpeg_coder_sampling (coder) : 1;
  const PirlCoderPlane *plane = &coder->plane[c];

  return (Window) { side * window->x0, side * window->y0,
    MIN (side * window->x1, plane->blocks_w), MIN (side * window->y1, plane->blocks_h) };
}

/* A pixel each. */
static void
decode_means (PirlJpegCoder *coder, const Window *blocks, const PirlQuantiser *quantiser,
    gsize stride)
{
  for (guint y = blocks->y0; y < blocks->y1; y++)
    coder->loops->means (coder->survey.dc + (gsize) y * coder->plane[0].blocks_w + blocks->x0,
        blocks->x1 - blocks->x0, quantiser, coder->pixels[0] + y * stride + blocks->x0);
}

/* 2 x 2; chroma's low coefficients lie ready. */
static void
decode_quarters (PirlJpegCoder *coder, guint c, const Window *blocks,
    const PirlQuantiser *quantiser, gsize stride)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const guint n = blocks->x1 - blocks->x0;
  PirlQuantiser of_low;

  if (quantiser)
    pirl_quantiser_of_low (quantiser, &of_low);
  for (guint y = blocks->y0; y < blocks->y1; y++) {
    const gsize at = (gsize) y * plane->blocks_w + blocks->x0;
    const gint16 *low = coder->level;

    if (c > 0)
      low = coder->survey.low[c - 1] + at * PIRL_LOW;
    else
      coder->loops->pick_low (plane->coefficient + at * PIRL_BLOCK, n, coder->level);
    coder->loops->quarters (low, n, quantiser ? &of_low : NULL, basis_of (coder, 2),
        coder->pixels[c] + 2 * y * stride + 2 * blocks->x0, stride);
  }
}

/* 4 x 4 or 8 x 8. */
static void
decode_blocks (PirlJpegCoder *coder, guint c, const Window *blocks,
    const PirlQuantiser *quantiser, guint size, gsize stride)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const PirlBasis *basis = basis_of (coder, size);
  const guint n = blocks->x1 - blocks->x0;
  /* Reduced chroma has next to nothing among the higher half. */
  const guint n_levels = c > 0 && size < 8 ? PIRL_BLOCK / 2 : PIRL_BLOCK;

  for (guint i = 0; !quantiser && i < n; i++)
    coder->mask[i] = G_MAXUINT64 >> (PIRL_BLOCK - n_levels);
  for (guint y = blocks->y0; y < blocks->y1; y++) {
    const gint16 *level = plane->coefficient
        + ((gsize) y * plane->blocks_w + blocks->x0) * PIRL_BLOCK;

    if (quantiser) {
      coder->loops->quantise (level, n, n_levels, quantiser, coder->level, coder->mask);
      level = coder->level;
    }
    coder->loops->inverse (level, coder->mask, n, quantiser ? quantiser->unit : as_they_are, basis,
        coder->pixels[c] + (y * stride + blocks->x0) * size, stride);
  }
}

/* The pixels of component @c in @window into coder->pixels, whole blocks. Returns their stride. */
static gsize
decode_plane (PirlJpegCoder *coder, guint c, const Window *window, gint quality, guint size)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const gsize stride = (gsize) plane->blocks_w * size;
  const gsize needed = stride * plane->blocks_h * size;
  const Window blocks = blocks_of (coder, c, window);
  PirlQuantiser wanted, *quantiser = NULL;

  if (coder->pixels_allocated[c] < needed) {
    g_free (coder->pixels[c]);
    coder->pixels[c] = g_malloc (needed);
    coder->pixels_allocated[c] = needed;
  }
  if (quality > 0) {
    quantiser = &wanted;
    pirl_quantiser_init (quantiser, pirl_jpeg_coder_quality (coder, quality), c > 0);
  }
  if (size == 1)
    decode_means (coder, &blocks, quantiser, stride);
  else if (size == 2)
    decode_quarters (coder, c, &blocks, quantiser, stride);
  else
    decode_blocks (coder, c, &blocks, quantiser, size, stride);
  return stride;
}

/* Pixels that a side of a block becomes. */
static guint
choose_size (const PirlJpegCoder *coder, gint short_side)
{
  const gint64 shorter = MIN (coder->width, coder->height);
  guint size = 1;

  while (size < 8 && (shorter * size + 7) / 8 < short_side)
    size *= 2;
  return size;
}

void
pirl_jpeg_coder_preview_size (const PirlJpegCoder *coder, gint short_side, gint *width,
    gint *height)
{
  const guint size = choose_size (coder, short_side);

  *width = ((gint64) coder->width * size + 7) / 8;
  *height = ((gint64) coder->height * size + 7) / 8;
}

/* The MCUs that show @part (NULL: all), and those around where chroma is blended with its neighbours. */
static Window
find_window (const PirlJpegCoder *coder, guint size, const PirlPart *part)
{
  const guint across = pirl_jpeg_coder_mcus_across (coder);
  const guint down = pirl_jpeg_coder_mcus_down (coder);
  const gint side = size * pirl_jpeg_coder_sampling (coder), around = size == 8 ? 1 : 0;

  if (!part)
    return (Window) { 0, 0, across, down };
  return (Window) { MAX (part->x0 / side - around, 0), MAX (part->y0 / side - around, 0),
    CLAMP ((part->x1 + side - 1) / side + around, 0, (gint) across),
    CLAMP ((part->y1 + side - 1) / side + around, 0, (gint) down) };
}

void
pirl_jpeg_coder_preview (PirlJpegCoder *coder, gint quality, gint short_side,
    const PirlPart *part, PirlImage *rgb)
{
  const guint size = choose_size (coder, short_side);
  const guint side = size * pirl_jpeg_coder_sampling (coder);
  const Window window = find_window (coder, size, part);
  Source source = { { NULL } };
  PirlImage shown;
  gint width, height;

  if (size == 1)
    pirl_jpeg_coder_survey (coder);
  pirl_jpeg_coder_preview_size (coder, short_side, &width, &height);
  pirl_image_resize_storage (rgb, width, height);
  if (window.x0 >= window.x1 || window.y0 >= window.y1)
    return;
  for (guint c = 0; c < coder->n_planes; c++) {
    /* At full size a plane of chroma has half as many pixels. */
    const guint pixels = c > 0 && size == 8 ? size : side;

    source.stride[c] = decode_plane (coder, c, &window, quality, c == 0 ? size : MIN (2 * size, 8));
    source.plane[c] = coder->pixels[c] + window.y0 * pixels * source.stride[c]
        + window.x0 * pixels;
  }
  if (size == 8 && coder->n_planes == 3) {
    source.chroma_width = MIN (8 * window.x1, (guint) coder->plane[1].width) - 8 * window.x0;
    source.chroma_height = MIN (8 * window.y1, (guint) coder->plane[1].height) - 8 * window.y0;
    for (guint i = 0; i < 2; i++)
      source.wide[i] = coder->padded + i * 2 * source.chroma_width;
  }
  shown = (PirlImage) { .width = MIN (side * window.x1, (guint) width) - side * window.x0,
    .height = MIN (side * window.y1, (guint) height) - side * window.y0, .stride = rgb->stride,
    .data = rgb->data + side * window.y0 * rgb->stride + 3 * (gsize) side * window.x0 };
  best_to_rgb (&source, &shown);
}
