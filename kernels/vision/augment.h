/* gst-pirl: photometric augmentation of 8-bit RGB, in the arithmetic of Pillow and torchvision.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/rng.h"
#include "vision/image.h"

/** How strongly to augment; all 0 = not at all. */
typedef struct {
  gfloat brightness, contrast, saturation;      /* factor U[max(0,1-s), 1+s] */
  gfloat hue;                   /* shift U[-h, h] of a turn; h <= 0.5 */
  gfloat grayscale;             /* probability */
  gfloat photometric;           /* probability of the reference's block: posterize U{4..8} bits,
                                 * sharpness U(.1,1.9), solarize U{0..256}, autocontrast */
  gfloat blur;                  /* probability of a Gaussian blur, radius U(.1,2) at 224 px,
                                 * in proportion below */
} PirlAugment;

typedef enum { PIRL_JITTER_BRIGHTNESS, PIRL_JITTER_CONTRAST, PIRL_JITTER_SATURATION,
  PIRL_JITTER_HUE } PirlJitterOp;

/** One picture's draws: what the meta `pirl-pretext` carries and a GPU renders from. */
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

/** Draws in a fixed order, so that a strength of 0 leaves the other draws as they are. */
PIRL_API void pirl_colour_draw (PirlRng *rng, const PirlAugment *augment, gint size,
    gfloat flip_probability, PirlColour *colour);
/** Applies jitter, photometric block, grayscale, blur, flip, in this order, in place. */
PIRL_API void pirl_colour_apply (const PirlColour *colour, PirlImage *image);
