/* gst-pirl: blocks of 8 x 8 to coefficients, levels and back: what a JPEG coder does to pixels.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Coefficients are those of JPEG (T.81, A.3.3) times PIRL_DCT_SCALE, rounded, in zigzag order:
 * |coefficient| <= 1024 * 16 fits 16 bits. A level is a coefficient divided by the quantiser's step
 * and rounded, AC a little towards zero. All is integer arithmetic, the same in every implementation.
 * Private to the JPEG coder.
 */
#pragma once

#include <glib.h>

#define PIRL_DCT_SCALE 16
#define PIRL_BLOCK 64

/* Natural index (8 v + u) of the k-th coefficient of a file. */
extern const guint8 pirl_zigzag[PIRL_BLOCK];

/* Of the first 32, those with other than zero means over a quarter of the block (u and v 0 or odd), then
 * two of the others, as every 16 go together. */
#define PIRL_LOW 16
extern const guint8 pirl_low[PIRL_LOW];

/* Division by d = PIRL_DCT_SCALE * step of n = |coefficient| + round: with l = ceil (log2 d) and
 * inverse = ceil (2^(15 + l) / d), floor (n / d) = n * inverse >> (15 + l) for all n < 2^15; the
 * shift is split into the high half of a product and another product, by 2^(17 - l). Zigzag order. */
typedef struct {
  guint8 step[PIRL_BLOCK];
  gint16 unit[PIRL_BLOCK];      /* d: a level's worth */
  guint16 round[PIRL_BLOCK], inverse[PIRL_BLOCK], shift[PIRL_BLOCK];
} PirlQuantiser;

/* The @k-th level; what the loops below do to all. */
static inline gint
pirl_quantiser_level (const PirlQuantiser *quantiser, guint k, gint coefficient)
{
  const guint32 n = (coefficient < 0 ? -coefficient : coefficient) + quantiser->round[k];
  const gint level = (n * quantiser->inverse[k] >> 16) * quantiser->shift[k] >> 16;

  return coefficient < 0 ? -level : level;
}

/* size x size pixels of a block as sums of coefficients: the means of the 8 x 8 that each covers,
 * 16 bits after the point. */
typedef struct {
  guint size;                   /* 2, 4 or 8 */
  gint16 low[4][PIRL_LOW];      /* for 2: [pixel][coefficient of pirl_low] */
  gint16 weight[PIRL_BLOCK][PIRL_BLOCK];        /* for 4 and 8: [coefficient][pixel] */
  guint64 used;                 /* coefficients with other weights than 0 */
} PirlBasis;

/* The magnitudes from which on a coefficient is not quantised to 0, at two qualities. */
#define PIRL_N_ACTIVITIES 2
typedef gint16 PirlThresholds[PIRL_N_ACTIVITIES][PIRL_BLOCK];

typedef struct {
  /* @n blocks side by side, rows @stride bytes apart. */
  void (*forward) (const guint8 *src, gsize stride, guint n, gint16 *coefficient);
  /* The first @n_levels (32 or 64) levels of @n blocks; bit k of a mask: level k is not 0. */
  void (*quantise) (const gint16 *coefficient, guint n, guint n_levels,
      const PirlQuantiser *quantiser, gint16 *level, guint64 *mask);
  /* Adds to each of @activity how many coefficients reach their thresholds; every @side (1 or 2) of
   * @n blocks share an element. */
  void (*count) (const gint16 *coefficient, guint n, guint side, const PirlThresholds thresholds,
      guint16 *const activity[PIRL_N_ACTIVITIES]);
  /* The coefficients of pirl_low of each block. */
  void (*pick_low) (const gint16 *coefficient, guint n, gint16 *low);
  /* Pixels of @n blocks, side by side, from level * unit. */
  void (*inverse) (const gint16 *level, const guint64 *mask, guint n, const gint16 *unit,
      const PirlBasis *basis, guint8 *dst, gsize stride);
  /* The same at 1 pixel a block, from @n DCs that are first quantised (NULL: not); and at 2 x 2, from
   * what pick_low() picked, with pirl_quantiser_of_low()'s quantiser. */
  void (*means) (const gint16 *dc, guint n, const PirlQuantiser *quantiser, guint8 *dst);
  void (*quarters) (const gint16 *low, guint n, const PirlQuantiser *quantiser,
      const PirlBasis *basis, guint8 *dst, gsize stride);
} PirlDctLoops;

extern const PirlDctLoops pirl_dct_plain;
/* NULL where the processor or the compiler has none. */
const PirlDctLoops *pirl_dct_avx2 (void);
const PirlDctLoops *pirl_dct_best (void);

/* Annex K's tables scaled to a quality of 1..100 as libjpeg does, 8 bits; of quality + PIRL_FLAT the
 * flat tables (see pirl_jpeg_coder_set_flat()). */
#define PIRL_FLAT 256
void pirl_quantiser_init (PirlQuantiser *quantiser, gint quality, gboolean chroma);
/* Its first 16 entries are those of pirl_low, the others of no use. */
void pirl_quantiser_of_low (const PirlQuantiser *quantiser, PirlQuantiser *low);
void pirl_thresholds_init (const PirlQuantiser *quantiser, gint16 threshold[PIRL_BLOCK]);
void pirl_basis_init (PirlBasis *basis, guint size);

/* cos (k pi / 16) / 2, 16 bits after the point, k = 0..7; k = 0 is never used. */
#define PIRL_DCT_COSINES { 0, 32138, 30274, 27246, 23170, 18205, 12540, 6393 }
/* The first pass leaves 4 bits after the point, as the second. */
#define PIRL_DCT_FIRST_SHIFT 12
#define PIRL_DCT_SECOND_SHIFT 16
/* Pixels summed by basis pictures have 5 bits after the point: scale 16, weights of 16 bits, 15
 * dropped from each product; those of dot products all 20. */
#define PIRL_DCT_PIXEL_BITS 5
#define PIRL_DCT_DOT_BITS 20
/* DC is 8 means, PIRL_DCT_SCALE times. */
#define PIRL_DCT_MEAN_BITS 7
