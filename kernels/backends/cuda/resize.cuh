/* gst-pirl: the weights of kernels/vision/resize.c, computed on the card, to the bit.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What C computes in two roundings must not become one fused multiplication here: hence
 * __dmul_rn. */
#pragma once

#include "backends/cuda/device.cuh"

#define FIXED_BITS 22           /* of resize weights */

struct Rgb { int r, g, b; };

static __device__ __forceinline__ void
store_pixel (unsigned char *canvas, int i, Rgb pixel)
{
  canvas += (size_t) 3 * i;
  canvas[0] = (unsigned char) pixel.r;
  canvas[1] = (unsigned char) pixel.g;
  canvas[2] = (unsigned char) pixel.b;
}

/* Output i is the sum of weight[t * size + i] * source[first[i] + t] over t < count[i]. */
struct Axis {
  int *first, *count, *weight;
};

static __device__ __forceinline__ Axis
axis_at (unsigned char *table, int size)
{
  int *numbers = reinterpret_cast<int *> (table);

  return Axis { numbers, numbers + size, numbers + 2 * size };
}

/* The share of a tap whose distance from the centre is @offset, before all are divided by their
 * sum. */
static __device__ __forceinline__ double
triangle (double offset, double per_tap)
{
  const double distance = fabs (__dmul_rn (offset, per_tap));

  return distance < 1.0 ? 1.0 - distance : 0.0;
}

/* Output @begin + @i of an axis that maps @from pixels to @to. */
static __device__ void
make_weights (const Axis &axis, int from, int to, int begin, int size, int i)
{
  const double scale = (double) from / to, support = scale > 1.0 ? scale : 1.0;
  const double per_tap = 1.0 / support, centre = __dmul_rn (begin + i + 0.5, scale);
  const int first = max ((int) (centre - support + 0.5), 0);
  const int last = min ((int) (centre + support + 0.5), from);
  double total = 0.0;

  for (int t = first; t < last; t++)
    total += triangle (t - centre + 0.5, per_tap);
  for (int t = first; t < last; t++) {
    const double share = triangle (t - centre + 0.5, per_tap);
    const double weight = total != 0.0 ? share / total : share;

    axis.weight[(t - first) * size + i] = (int) (0.5 + weight * (1 << FIXED_BITS));
  }
  axis.first[i] = first;
  axis.count[i] = last - first;
}

static __device__ __forceinline__ int
clip_fixed (int sum)
{
  return min (max (sum >> FIXED_BITS, 0), 255);
}
