/* gst-pirl: kernels of LINEAR, BATCHNORM and L2NORM (vectors.cu). All pointers are device memory;
 * errors are found by pirl_cuda_launched().
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A matrix is @n dense rows of @c floats. Sums have a fixed order.
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/** x = act (x). */
void pirl_gpu_rows_activate (gfloat *x, gint n, gint c, PirlActivation act, cudaStream_t stream);
/** d = 0 where the result @out was clipped; @sums (may be NULL) += sums of the columns of d. */
void pirl_gpu_rows_backward (gfloat *d, const gfloat *out, gint n, gint c, PirlActivation act,
    gfloat *sums, cudaStream_t stream);

/** Batch norm of the columns: out = act (gamma (x - mean) / sqrt (var + eps) + beta). */
typedef struct {
  gint n, c;
  PirlActivation act;
  const gfloat *x, *gamma, *beta;
  gfloat *out;
  /* [c]: written, later read. The mean is mean + rest, in more digits than a float has; inverse =
   * 1 / sqrt (var + eps). */
  gfloat *mean, *rest, *inverse;
  gfloat *running_mean, *running_var;   /* NULL: they stay */

  gfloat *d_out;                /* backward only, from here; read */
  gfloat *d_gamma, *d_beta;     /* added to; NULL = unwanted */
  gfloat *d_x;                  /* NULL = unwanted */
  gboolean accumulate;          /* adds to d_x */
} PirlGpuRowsNorm;

void pirl_gpu_rows_norm (const PirlGpuRowsNorm *norm, cudaStream_t stream);
void pirl_gpu_rows_norm_backward (const PirlGpuRowsNorm *norm, cudaStream_t stream);
/** scale = gamma / sqrt (var + eps), shift = beta - mean scale. */
void pirl_gpu_rows_norm_fold (gint c, const gfloat *gamma, const gfloat *beta, const gfloat *mean,
    const gfloat *var, gfloat *scale, gfloat *shift, cudaStream_t stream);
/** out = act (x scale + shift). */
void pirl_gpu_rows_norm_folded (const gfloat *x, gint n, gint c, const gfloat *scale,
    const gfloat *shift, PirlActivation act, gfloat *out, cudaStream_t stream);

/** out = x / max (|x|, 1e-12), each row. */
void pirl_gpu_rows_unit (const gfloat *x, gint n, gint c, gfloat *out, cudaStream_t stream);
/** d_x (+)= (d - y (y . d)) / |x|, y = x / |x|; below 1e-12 |x| is a constant. */
void pirl_gpu_rows_unit_backward (const gfloat *x, const gfloat *d, gint n, gint c,
    gboolean accumulate, gfloat *d_x, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
