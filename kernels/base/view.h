/* gst-pirl: how a view is made from a picture, as numbers. vision/ draws them and renders by them;
 * backends that have the pixels at hand render by the same numbers.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/base.h"

typedef enum { PIRL_JITTER_BRIGHTNESS, PIRL_JITTER_CONTRAST, PIRL_JITTER_SATURATION,
  PIRL_JITTER_HUE } PirlJitterOp;

/** One picture's draws. Applied are: jitter, the photometric block (posterize, sharpness, solarize,
 * autocontrast), grayscale, blur, flip, in this order, as kernels/vision/augment.c says. */
typedef struct {
  guint8 order[4];              /* PirlJitterOp in the order they are applied */
  gfloat brightness, contrast, saturation;      /* 1 = unchanged */
  gfloat hue;                   /* 0 = unchanged */
  gboolean photometric;
  gint posterize_bits, solarize_threshold;
  gfloat sharpness;
  gboolean grayscale;
  gfloat blur_radius;           /* 0 = none */
  gboolean flip;
} PirlColour;

typedef struct {
  gint x, y, width, height;     /* in pixels of the source */
} PirlBox;

#define PIRL_BLUR_PASSES 3

/** The box of real width that blurs along one axis in PIRL_BLUR_PASSES passes: 2 radius + 1 whole
 * taps and a part of one more at each end, in 1/2^24; dst = (sum of whole taps * whole + sum of the
 * two ends * part + 2^23) >> 24. Beyond the picture its outermost pixels go on. */
typedef struct {
  gint radius;
  guint32 whole, part;
} PirlBlurBox;

/**
 * PirlView: the recipe of one view.
 *
 * The crop, and nothing beyond it, is scaled to @scaled x @scaled with antialiasing (the rules of
 * kernels/vision/resize.c); of that the view is the part at (@left, @top), @size x @size, with
 * @colour applied, its flip too, and then turned.
 */
typedef struct {
  const guint8 *pixels;         /* of the source: RGB, rows @stride bytes apart */
  gsize stride;
  PirlBox crop;                 /* within the source */
  gint scaled;
  gint left, top, size;
  PirlColour colour;
  PirlBlurBox blur;             /* that of colour.blur_radius, where that is not 0 */
  gint turns;                   /* by so many quarters of a turn, counter-clockwise: 0 to 3 */
} PirlView;
