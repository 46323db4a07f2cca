/* gst-pirl: photometric augmentation of 8-bit RGB, in the arithmetic of Pillow and torchvision.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/rng.h"
#include "base/view.h"
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

/** Draws in a fixed order, so that a strength of 0 leaves the other draws as they are. */
PIRL_API void pirl_colour_draw (PirlRng *rng, const PirlAugment *augment, gint size,
    gfloat flip_probability, PirlColour *colour);
/** Applies jitter, photometric block, grayscale, blur, flip, in this order, in place. */
PIRL_API void pirl_colour_apply (const PirlColour *colour, PirlImage *image);
/** The box that blurs with @radius (a Gaussian's standard deviation, in pixels). */
PIRL_API PirlBlurBox pirl_blur_box (gfloat radius);
