/* gst-pirl: kernels of INPUT, MAXPOOL and AVGPOOL (pictures.cu). All pointers are device memory;
 * errors are found by pirl_cuda_launched().
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pictures are NHWC with @stored channels, a multiple of 8, of which those that do not exist are
 * zero; vectors are rows of floats.
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/** FALSE for pictures that have more values than these kernels count: 2^31 times 8. */
gboolean pirl_gpu_check_size (PirlDims d, gint stored, GError **error);

/** What a byte becomes: byte * scale + shift, one pair a channel. */
typedef struct {
  gfloat scale[3], shift[3];
} PirlGpuNormalise;

/** @pixels packed RGB pixels at *@rgb (an address that is in device memory itself) to pictures. */
void pirl_gpu_normalise (const guint8 *const *rgb, guint pixels, gint stored,
    const PirlGpuNormalise *normalise, PirlDType dtype, gpointer out, cudaStream_t stream);

/** A pooling window that slides over @n pictures; outside of them is -inf. */
typedef struct {
  gint n, h, w, stored;         /* input */
  gint out_h, out_w;
  gint kernel, stride, padding;
} PirlGpuPool;

/** The largest kernel: a place in the window is kept in a byte. */
#define PIRL_GPU_POOL_MAX_KERNEL 15

/** @place (may be NULL): where in its window, row by row, each largest value came from. */
void pirl_gpu_maxpool (const PirlGpuPool *pool, PirlDType dtype, gconstpointer in, gpointer out,
    guint8 *place, cudaStream_t stream);
/** Writes (or adds to) @d_in: every value takes the gradients of the windows it won. */
void pirl_gpu_maxpool_backward (const PirlGpuPool *pool, PirlDType dtype, gconstpointer d_out,
    const guint8 *place, gboolean accumulate, gpointer d_in, cudaStream_t stream);

/** @n pictures of @pixels each to rows of the means of @channels. */
void pirl_gpu_avgpool (gint n, gint pixels, gint channels, gint stored, PirlDType dtype,
    gconstpointer in, gfloat *out, cudaStream_t stream);
void pirl_gpu_avgpool_backward (gint n, gint pixels, gint channels, gint stored, PirlDType dtype,
    const gfloat *d_out, gboolean accumulate, gpointer d_in, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
