/* gst-pirl: kernels of depthwise convolutions: every channel has a filter of its own.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All pointers are device memory, 16-byte aligned; everything is queued on the stream. Values are
 * NHWC with @stored channels, a multiple of 8. Weights stay floats, [k][k][stored].
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  PirlDType dtype;              /* of the values */
  PirlDims input, output;       /* c: the real channels */
  gint stored;
  gint kernel, stride, padding;
} PirlGpuDepthwise;

/** Elements of the packed weights. */
static inline gsize
pirl_gpu_depthwise_weights (const PirlGpuDepthwise *shape)
{
  return (gsize) shape->kernel * shape->kernel * shape->stored;
}

/** Dense floats [c][k][k], each filter multiplied by its element of @scale (NULL = ones). */
void pirl_gpu_depthwise_pack (const PirlGpuDepthwise *shape, const gfloat *dense,
    const gfloat *scale, gfloat *packed, cudaStream_t stream);
/** output = act (conv (input) + bias + residual); @bias (a float a stored channel) and @residual
 * may be NULL. */
void pirl_gpu_depthwise_forward (const PirlGpuDepthwise *shape, gconstpointer input,
    const gfloat *weight, const gfloat *bias, gconstpointer residual, PirlActivation activation,
    gpointer output, cudaStream_t stream);
/** Writes @d_input, or with @accumulate adds to it. */
void pirl_gpu_depthwise_d_input (const PirlGpuDepthwise *shape, gconstpointer d_output,
    const gfloat *weight, gboolean accumulate, gpointer d_input, cudaStream_t stream);
/** Of @partial below. */
gsize pirl_gpu_depthwise_partial_bytes (const PirlGpuDepthwise *shape);
/** Adds to the dense @d_weight [c][k][k]. */
void pirl_gpu_depthwise_d_weight (const PirlGpuDepthwise *shape, gconstpointer input,
    gconstpointer d_output, gfloat *partial, gfloat *d_weight, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
