/* gst-pirl: kernels that move values between dense floats and the NHWC values of the CUDA backend,
 * and weights between [out][in][k][k] and [out][k][k][in].
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All are bound by memory. Bytes that have to be moved, with n elements of b bytes:
 *   pictures   n (4 + b)
 *   add        3 n b
 *   pack       n (4 + b); k x k neighbours of a dense filter are read by threads of different taps,
 *              which are near each other: the cache has them
 *   unpack     n (8 + b); the same the other way round
 */
#include "backends/cuda/pack.h"
#include "backends/cuda/tiles.cuh"

/* Blocks for a thread an item. */
static unsigned
blocks_for (size_t items)
{
  return (unsigned) ((items + PIRL_BLOCK - 1) / PIRL_BLOCK);
}

static __device__ __forceinline__ size_t
item_number (void)
{
  return (size_t) blockIdx.x * PIRL_BLOCK + threadIdx.x;
}

/* --- pictures --- */

/* Where a thread's 8 channels of a pixel are in planes; neighbouring threads have neighbouring
 * pixels. */
typedef struct {
  size_t plane;                 /* elements of one */
  size_t dense, packed;         /* first elements */
  int channels;                 /* that are real: at most 8, perhaps none */
  bool on;
} Pixel;

static __device__ __forceinline__ Pixel
pixel_new (PirlDims dims, int stored)
{
  const size_t i = item_number (), plane = (size_t) dims.h * dims.w, pixels = dims.n * plane;
  const size_t pixel = i % pixels;
  const int channel = (int) (i / pixels) * PIRL_EIGHT, left = dims.c - channel;
  Pixel p;

  p.plane = plane;
  p.dense = (pixel / plane * dims.c + channel) * plane + pixel % plane;
  p.packed = pixel * stored + channel;
  p.channels = left < 0 ? 0 : left < PIRL_EIGHT ? left : PIRL_EIGHT;
  p.on = channel < stored;
  return p;
}

static size_t
pixel_items (PirlDims dims, int stored)
{
  return (size_t) dims.n * dims.h * dims.w * (stored / PIRL_EIGHT);
}

template <typename T> __global__ void __launch_bounds__ (PIRL_BLOCK)
to_nhwc_kernel (PirlDims dims, int stored, const float *src, T *dst)
{
  const Pixel p = pixel_new (dims, stored);
  float x[PIRL_EIGHT];

  if (!p.on)
    return;
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    x[i] = i < p.channels ? src[p.dense + i * p.plane] : 0.0f;
  store8 (dst + p.packed, x);
}

template <typename T> __global__ void __launch_bounds__ (PIRL_BLOCK)
to_nchw_kernel (PirlDims dims, int stored, const T *src, float *dst)
{
  const Pixel p = pixel_new (dims, stored);
  float x[PIRL_EIGHT];

  if (!p.on)
    return;
  load8 (src + p.packed, x);
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    if (i < p.channels)
      dst[p.dense + i * p.plane] = x[i];
}

template <typename T> static void
to_nhwc_launch (PirlDims dims, gint stored, const gfloat *src, gpointer dst, cudaStream_t stream)
{
  PIRL_LAUNCH (to_nhwc_kernel<T>, blocks_for (pixel_items (dims, stored)), PIRL_BLOCK, 0, stream,
      dims, stored, src, (T *) dst);
}

template <typename T> static void
to_nchw_launch (PirlDims dims, gint stored, gconstpointer src, gfloat *dst, cudaStream_t stream)
{
  PIRL_LAUNCH (to_nchw_kernel<T>, blocks_for (pixel_items (dims, stored)), PIRL_BLOCK, 0, stream,
      dims, stored, (const T *) src, dst);
}

extern "C" void
pirl_gpu_nchw_to_nhwc (PirlDims dims, gint stored, PirlDType dtype, const gfloat *src,
    gpointer dst, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, to_nhwc_launch, dims, stored, src, dst, stream);
}

extern "C" void
pirl_gpu_nhwc_to_nchw (PirlDims dims, gint stored, PirlDType dtype, gconstpointer src,
    gfloat *dst, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, to_nchw_launch, dims, stored, src, dst, stream);
}

/* --- sum --- */

template <typename T> __global__ void __launch_bounds__ (PIRL_BLOCK)
add_kernel (size_t n, T *dst, const T *src)
{
  const size_t start = item_number () * PIRL_EIGHT;
  float a[PIRL_EIGHT], b[PIRL_EIGHT];

  if (start + PIRL_EIGHT > n) {
    for (size_t i = start; i < n; i++)
      dst[i] = from_float<T> (to_float (dst[i]) + to_float (src[i]));
    return;
  }
  load8 (dst + start, a);
  load8 (src + start, b);
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    a[i] += b[i];
  store8 (dst + start, a);
}

template <typename T> static void
add_launch (gsize n, gpointer dst, gconstpointer src, cudaStream_t stream)
{
  PIRL_LAUNCH (add_kernel<T>, blocks_for ((n + PIRL_EIGHT - 1) / PIRL_EIGHT), PIRL_BLOCK, 0,
      stream, (size_t) n, (T *) dst, (const T *) src);
}

extern "C" void
pirl_gpu_add (PirlDType dtype, gsize n, gpointer dst, gconstpointer src, cudaStream_t stream)
{
  if (n)
    PIRL_FOR_DTYPE (dtype, add_launch, n, dst, src, stream);
}

/* --- weights --- */

/* A thread packs 8 inputs of one tap. */
template <typename T> __global__ void __launch_bounds__ (PIRL_BLOCK)
pack_kernel (PirlGpuWeights shape, const float *dense, const float *scale, T *packed)
{
  const unsigned i = (unsigned) item_number ();
  const unsigned groups = shape.in_stored / PIRL_EIGHT, taps = shape.kernel * shape.kernel;
  const unsigned first = i % groups * PIRL_EIGHT, tap = i / groups % taps, out = i / groups / taps;
  float x[PIRL_EIGHT];

  if (out >= (unsigned) shape.out_stored)
    return;
#pragma unroll
  for (unsigned j = 0; j < PIRL_EIGHT; j++)
    x[j] = out < (unsigned) shape.out && first + j < (unsigned) shape.in
        ? dense[((size_t) out * shape.in + first + j) * taps + tap] : 0.0f;
  if (scale)
#pragma unroll
    for (int j = 0; j < PIRL_EIGHT; j++)
      x[j] *= scale[out];
  store8 (packed + (size_t) i * PIRL_EIGHT, x);
}

template <typename T> static void
pack_launch (const PirlGpuWeights *shape, const gfloat *dense, const gfloat *scale,
    gpointer packed, cudaStream_t stream)
{
  PIRL_LAUNCH (pack_kernel<T>, blocks_for (pirl_gpu_weights_count (shape) / PIRL_EIGHT),
      PIRL_BLOCK, 0, stream, *shape, dense, scale, (T *) packed);
}

extern "C" void
pirl_gpu_pack_weights (const PirlGpuWeights *shape, PirlDType dtype, const gfloat *dense,
    const gfloat *scale, gpointer packed, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, pack_launch, shape, dense, scale, packed, stream);
}

/* A thread a dense element: the larger of the two. */
template <typename T> __global__ void __launch_bounds__ (PIRL_BLOCK)
unpack_kernel (PirlGpuWeights shape, const T *packed, float *dense)
{
  const unsigned i = (unsigned) item_number (), taps = shape.kernel * shape.kernel;
  const unsigned tap = i % taps, in = i / taps % shape.in, out = i / taps / shape.in;

  if (out < (unsigned) shape.out)
    dense[i] += to_float (packed[((size_t) out * taps + tap) * shape.in_stored + in]);
}

template <typename T> static void
unpack_launch (const PirlGpuWeights *shape, gconstpointer packed, gfloat *dense,
    cudaStream_t stream)
{
  const size_t n = (size_t) shape->out * shape->in * shape->kernel * shape->kernel;

  PIRL_LAUNCH (unpack_kernel<T>, blocks_for (n), PIRL_BLOCK, 0, stream, *shape,
      (const T *) packed, dense);
}

extern "C" void
pirl_gpu_unpack_weights (const PirlGpuWeights *shape, PirlDType dtype, gconstpointer packed,
    gfloat *dense, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, unpack_launch, shape, packed, dense, stream);
}
