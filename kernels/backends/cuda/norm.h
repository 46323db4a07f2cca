/* gst-pirl: kernels of batch norm with residual and activation, on rows of channels.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All pointers are device memory, 16-byte aligned; everything is queued on the stream. Rows are the
 * pixels of NHWC values, with a multiple of 8 stored channels. A *table* has PIRL_GPU_NORM_ARRAYS
 * arrays of a float a stored channel; they are zero beyond the real channels.
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  PirlDType dtype;              /* of the values */
  guint rows;
  gint channels, stored;
  PirlActivation activation;
} PirlGpuNorm;

/* act (scale (y - mean) + shift + residual); inverse_std is what scale has of the statistics. */
enum { PIRL_GPU_NORM_MEAN, PIRL_GPU_NORM_SCALE, PIRL_GPU_NORM_SHIFT, PIRL_GPU_NORM_INVERSE_STD,
  PIRL_GPU_NORM_ARRAYS };

/** A byte for every 8 stored channels: which of them the activation let pass. */
static inline gsize
pirl_gpu_norm_mask_bytes (const PirlGpuNorm *norm)
{
  return (gsize) norm->rows * norm->stored / 8;
}

/** Of @partial below. */
gsize pirl_gpu_norm_partial_bytes (const PirlGpuNorm *norm);

/** Mean and sum of squared deviations of y, block by block, into @partial. */
void pirl_gpu_norm_moments (const PirlGpuNorm *norm, gconstpointer y, gfloat *partial,
    cudaStream_t stream);

/** Parameters of a batch norm, a float a real channel. */
typedef struct {
  const gfloat *weight, *bias;
  const gfloat *conv_bias;      /* added in front of it and not in y; NULL = none */
  gfloat *running_mean, *running_var;   /* brought up to date; NULL = left alone */
  /* Gets two arrays of F16, scale and shift - scale mean, a number a stored channel, for who reads
   * relu (scale y + shift) (a prologue, convolution.h); NULL = not wanted. */
  gpointer pending;
} PirlGpuNormParams;

/** The batch's statistics and what follows from them, into @table. Either from @partial or, with
 * @partial NULL, from @sums: sums of y, then of y^2, a float a stored channel each. */
void pirl_gpu_norm_finish (const PirlGpuNorm *norm, const gfloat *partial, const gfloat *sums,
    const PirlGpuNormParams *params, gfloat *table, cudaStream_t stream);
/** A table that only adds @bias (NULL = nothing). */
void pirl_gpu_norm_identity (const PirlGpuNorm *norm, const gfloat *bias, gfloat *table,
    cudaStream_t stream);

/** out = act (scale (y - mean) + shift + residual). @residual and @mask may be NULL, @out may be
 * @y. */
void pirl_gpu_norm_apply (const PirlGpuNorm *norm, const gfloat *table, gconstpointer y,
    gconstpointer residual, guint8 *mask, gpointer out, cudaStream_t stream);

/** dz: the gradient behind the activation where it let pass, else 0. */
typedef struct {
  const gfloat *table;
  gconstpointer y;
  const guint8 *mask;           /* NULL: found again from y (there was no residual) */
  gpointer d;                   /* of the output */
  gpointer d_residual;          /* gets dz; NULL = not wanted */
  gboolean accumulate_residual; /* it is added */
} PirlGpuNormGradient;

/** Sums over the rows, block by block, of dz and of dz (y - mean). */
void pirl_gpu_norm_gradient_sums (const PirlGpuNorm *norm, const PirlGpuNormGradient *gradient,
    gfloat *partial, cudaStream_t stream);
/** Adds the sums to the gradients of shift (@d_shift) and scale (@d_weight); both may be NULL.
 * @factors (or NULL): two arrays for pirl_gpu_norm_gradient_apply(). */
void pirl_gpu_norm_gradient_finish (const PirlGpuNorm *norm, const gfloat *partial,
    const gfloat *table, gfloat *d_weight, gfloat *d_shift, gfloat *factors, cudaStream_t stream);
/** d = scale dz + factors[0] (y - mean) + factors[1], in place; with @factors NULL d = scale dz. */
void pirl_gpu_norm_gradient_apply (const PirlGpuNorm *norm, const PirlGpuNormGradient *gradient,
    const gfloat *factors, cudaStream_t stream);

/** What a batch norm with its running statistics does to the convolution before it:
 * weight * scale, and scale (conv_bias - mean) + bias. @params NULL members: no batch norm. Fills
 * @scale and @bias, a float a stored channel. */
void pirl_gpu_norm_fold (const PirlGpuNorm *norm, const PirlGpuNormParams *params, gfloat *scale,
    gfloat *bias, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
