/* gst-pirl: the kernels that make packed RGB of pictures in device memory (surfaces.cu).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A picture in a batch, and where in the batch there is room for the tables of its axes:
 * pirl_gpu_view_table() bytes each. */
typedef struct {
  PirlSurfaceView view;
  guint64 columns, rows;
} PirlGpuSurface;

/** Scales the @n pictures at @batch + @surfaces and writes their parts, @width x @height, packed
 * and one behind the other, to the beginning of @batch. All is device memory. */
void pirl_gpu_read_surfaces (guint8 *batch, gsize surfaces, gint n, gint width, gint height,
    cudaStream_t stream);

#ifdef __cplusplus
}
#endif
