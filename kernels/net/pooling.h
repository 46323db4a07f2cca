/* gst-pirl: maps averaged to about as many values whatever their size, for probes of layers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The maps of a ResNet-50 at 224 px are pooled as Goyal et al. 2019 (VISSL) have it: windows of 16,
 * 13, 8 and 6 at strides of 8, 5, 3 and 1 for res2 to res5, which leave 6 x 6 x 256, 4 x 4 x 512, 3
 * x 3 x 1024 and 2 x 2 x 2048. All others adaptively, to the largest k x k with k k channels <=
 * 9216 and k no larger than the map: place i of k sees the rows from floor (i h / k) up to ceil ((i
 * + 1) h / k), as PyTorch's adaptive_avg_pool2d.
 */
#pragma once

#include "backends/backend.h"

#define PIRL_POOLED_VALUES 9216

typedef struct {
  PirlDims map;                 /* n = 1 */
  gint window, stride;          /* 0 = adaptive */
  gint side;                    /* of what is left */
} PirlPooling;

/** @map: of one picture. */
PIRL_API PirlPooling pirl_pooling_for (PirlDims map);
/** @map: c,h,w -> @out: side * side places of c, the channel innermost. */
PIRL_API void pirl_pooling_run (const PirlPooling *pooling, const gfloat *map, gfloat *out);
