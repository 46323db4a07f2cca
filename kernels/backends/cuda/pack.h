/* gst-pirl: moving values between the dense floats of the host and of the parameters and the NHWC
 * values of the CUDA backend.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All pointers are device memory, 16-byte aligned; everything is queued on the stream. Stored
 * channels beyond the real ones become zeros on the way in and are dropped on the way out.
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- pictures --- */

/** Dense floats n,c,h,w -> n,h,w,@stored of @dtype. */
void pirl_gpu_nchw_to_nhwc (PirlDims dims, gint stored, PirlDType dtype, const gfloat *src,
    gpointer dst, cudaStream_t stream);
/** And back. */
void pirl_gpu_nhwc_to_nchw (PirlDims dims, gint stored, PirlDType dtype, gconstpointer src,
    gfloat *dst, cudaStream_t stream);
/** dst += src, @n elements of @dtype, summed as floats. */
void pirl_gpu_add (PirlDType dtype, gsize n, gpointer dst, gconstpointer src,
    cudaStream_t stream);

/* --- weights of a convolution --- */

/** @out filters of @in channels and @kernel x @kernel taps, and how many of each are stored. */
typedef struct {
  gint out, in, kernel;
  gint out_stored, in_stored;
} PirlGpuWeights;

/** Elements of the packed weights. */
static inline gsize
pirl_gpu_weights_count (const PirlGpuWeights *shape)
{
  return (gsize) shape->out_stored * shape->in_stored * shape->kernel * shape->kernel;
}

/** Dense floats [out][in][k][k] -> [out stored][k][k][in stored] of @dtype, each filter multiplied
 * by its element of @scale (NULL = ones). */
void pirl_gpu_pack_weights (const PirlGpuWeights *shape, PirlDType dtype, const gfloat *dense,
    const gfloat *scale, gpointer packed, cudaStream_t stream);
/** dense += packed, the gradient's way back. */
void pirl_gpu_unpack_weights (const PirlGpuWeights *shape, PirlDType dtype, gconstpointer packed,
    gfloat *dense, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
