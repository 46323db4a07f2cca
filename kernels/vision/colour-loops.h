/* gst-pirl: the inner loops of augment.c, for plain C and for AVX2: same bytes from both.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/augment.h"

/* Pixels as planes of bytes: plane c begins at data + c * stride. */
typedef struct {
  guint8 *data;
  gsize stride;
} PirlPlanes;

/* @n: pixels, of planes; bytes, of lines. */
typedef struct {
  void (*split) (const guint8 *rgb, gsize n, const PirlPlanes *planes);
  void (*join) (const PirlPlanes *planes, gsize n, guint8 *rgb);
  /* line = constant + factor (line - constant), cut to a byte, as everywhere below. */
  void (*tone) (guint8 *line, gsize n, gint constant, gfloat factor);
  void (*saturation) (const PirlPlanes *planes, gsize n, gfloat factor);
  /* Turns hues by @turn / 256 of a circle, the way that Pillow rounds. */
  void (*hue) (const PirlPlanes *planes, gsize n, gint turn);
  void (*grey) (const PirlPlanes *planes, gsize n);
  guint32 (*sum_grey) (const PirlPlanes *planes, gsize n);
  void (*posterize) (guint8 *line, gsize n, guint8 mask);
  void (*solarize) (guint8 *line, gsize n, gint threshold);
  /* The least and the greatest byte of a line and of what is in @range already. */
  void (*range) (const guint8 *line, gsize n, guint8 range[2]);
  void (*reverse) (const guint8 *line, gsize n, guint8 *dst);
  /* The sharpened middle line: smooth + factor (here - smooth), smooth being 3x3 means with weight
   * 5 in the middle; reads 3 bytes beyond both ends. */
  void (*sharpen) (const guint8 *above, const guint8 *here, const guint8 *below, gsize n,
      gfloat factor, guint8 *dst);
  /* The weighted sum of 2 radius + 3 lines, the outer two by box->part. */
  void (*box) (const PirlBlurBox *box, const guint8 *const *line, gsize n, guint8 *dst);
} PirlColourLoops;

extern const PirlColourLoops pirl_colour_plain;
/* NULL where the processor or the compiler has none. */
const PirlColourLoops *pirl_colour_avx2 (void);
/* The fastest of them here. */
const PirlColourLoops *pirl_colour_loops (void);

/* pirl_colour_apply() with the loops given, so that tests can compare them. */
void pirl_colour_apply_with (const PirlColourLoops *loops, const PirlColour *colour,
    PirlImage *image);
/* The same in two halves, for threads that share a picture: all that comes before the mean grey of
 * the whole picture is needed, and all the rest. The first gives the sum of the greys of @rows, and
 * the second takes that of the whole @image. Rows may be done apart where pirl_colour_by_rows(),
 * but for the second half of others. */
guint64 pirl_colour_begin (const PirlColourLoops *loops, const PirlColour *colour,
    PirlImage *rows);
void pirl_colour_end (const PirlColourLoops *loops, const PirlColour *colour, guint64 grey,
    const PirlImage *image, PirlImage *rows);
gboolean pirl_colour_by_rows (const PirlColour *colour);
