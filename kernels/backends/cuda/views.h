/* gst-pirl: the kernel that renders views from pictures (views.cu).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A batch is one block of device memory: the descriptions of its views, the pixels of their crops,
 * then room for the tables that the kernel makes.
 */
#pragma once

#include "backends/cuda/pictures.h"
#include "base/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One view in a batch: a PirlView whose crop has been copied. */
typedef struct {
  guint64 pixels;               /* where its crop is in the batch: packed rows, RGB */
  guint64 columns, rows;        /* where there is room for pirl_gpu_view_table() bytes */
  gint crop_width, crop_height;
  gint scaled, left, top;
  PirlColour colour;
  PirlBlurBox blur;
  gint turns;
} PirlGpuView;

/** Bytes of an axis' table for @size outputs, where @from pixels are scaled to @to: first tap,
 * number of taps, weights. */
static inline gsize
pirl_gpu_view_table (gint from, gint to, gint size)
{
  const gsize taps = 2 * (gsize) MAX ((from + to - 1) / to, 1) + 1;

  return (2 + taps) * size * sizeof (gint32);
}

/** Renders the @n views at *@batch (an address that is in device memory itself), @size x @size
 * each, normalises them and writes pictures with @stored channels. @canvas: room for 2 n size^2 packed
 * pixels. */
void pirl_gpu_render_views (guint8 *const *batch, gint n, gint size, gint stored,
    const PirlGpuNormalise *normalise, PirlDType dtype, guint8 *canvas, gpointer out,
    cudaStream_t stream);

#ifdef __cplusplus
}
#endif
