/* gst-pirl: a picture that lies in a device's memory, in the layout that a decoder gave it, and how
 * it becomes RGB.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/base.h"

#define PIRL_YUV_BITS 16        /* fractional bits of PirlYuvMatrix */

/** Y'CbCr to full-range RGB, ITU-R BT.601, BT.709 or BT.2020. With
 * y = luma (Y - luma_offset) + 1/2, u = U - 128, v = V - 128:
 *
 *   R = y + red_v v,  G = y + green_u u + green_v v,  B = y + blue_u u
 *
 * each shifted right by PIRL_YUV_BITS and clipped to a byte. */
typedef struct {
  gint luma, red_v, green_u, green_v, blue_u;   /* times 2^PIRL_YUV_BITS */
  gint luma_offset;
} PirlYuvMatrix;

/**
 * PirlSurface: an 8-bit picture in memory of the device that reads it.
 *
 * Component c (R, G, B or Y, U, V) of pixel (x, y) is the byte at data[c] + y * stride[c] +
 * x * step[c]; of chroma, x and y are those of its own grid, which is 2^shift_x times narrower and
 * 2^shift_y times lower than the picture, rounded up. Chroma in between is interpolated: along a
 * row 3:1 between the two nearest samples, or where @cosited, samples stay at even pixels and odd
 * ones are the mean of two; then 3:1 between rows; each rounded to a byte, outermost samples going
 * on beyond the edge. It is what GstVideoConverter computes.
 */
typedef struct {
  gint width, height;
  const guint8 *data[3];
  gsize stride[3];
  gint step[3];
  gboolean yuv;                 /* else RGB, and what follows means nothing */
  gint shift_x, shift_y;        /* 0 or 1 */
  gboolean cosited;
  PirlYuvMatrix matrix;
} PirlSurface;

/** A surface that is scaled, whole and antialiased (the rules of kernels/vision/resize.c), to
 * @scaled_width x @scaled_height; wanted is the part from (@left, @top) on that fills the input. */
typedef struct {
  PirlSurface surface;
  gint scaled_width, scaled_height;
  gint left, top;
} PirlSurfaceView;
