/* gst-pirl: kernels of INPUT, MAXPOOL and AVGPOOL.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   INPUT    byte / 255 less the mean, over the standard deviation, as one multiplication and sum
 *   MAXPOOL  the first largest of a window, in reading order; a NaN wins
 *   AVGPOOL  mean over the picture, to rows of floats
 *
 * A thread works on 8 neighbouring channels: 16 bytes of 16-bit numbers. All are bound by memory;
 * none needs atomics, so the same inputs give the same bits. Thread numbers have 32 bits (who plans
 * a unit has checked that they suffice), addresses more.
 */
#include "backends/cuda/device.cuh"
#include "backends/cuda/pictures.h"

#define BLOCK 256
#define RESIDENT 4              /* blocks on a multiprocessor: 64 registers, so that none spills */
#define LANES 8

/* Its number among all threads. */
static __device__ __forceinline__ unsigned
thread_number (void)
{
  return blockIdx.x * (unsigned) BLOCK + threadIdx.x;
}

static unsigned
blocks_for (unsigned threads)
{
  return (threads + BLOCK - 1) / BLOCK;
}

/* --- INPUT --- */

/* A thread fills a pixel: 3 bytes read, stored channels written. */
template <typename T> __global__ void __launch_bounds__ (BLOCK, RESIDENT)
normalise_kernel (const unsigned char *const *rgb, unsigned pixels, int stored,
    PirlGpuNormalise normalise, T *out)
{
  const unsigned i = thread_number ();
  float x[LANES] = { 0 };

  if (i >= pixels)
    return;

  const unsigned char *pixel = *rgb + (size_t) 3 * i;
  T *place = out + (size_t) i * stored;

  for (int c = 0; c < 3; c++)
    x[c] = pixel[c] * normalise.scale[c] + normalise.shift[c];
  store8 (place, x);
  x[0] = x[1] = x[2] = 0.0f;
  for (int c = LANES; c < stored; c += LANES)
    store8 (place + c, x);
}

template <typename T> static void
normalise_launch (const guint8 *const *rgb, guint pixels, gint stored,
    const PirlGpuNormalise *normalise, gpointer out, cudaStream_t stream)
{
  PIRL_LAUNCH (normalise_kernel<T>, blocks_for (pixels), BLOCK, 0, stream, rgb, pixels, stored,
      *normalise, (T *) out);
}

extern "C" void
pirl_gpu_normalise (const guint8 *const *rgb, guint pixels, gint stored,
    const PirlGpuNormalise *normalise, PirlDType dtype, gpointer out, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, normalise_launch, rgb, pixels, stored, normalise, out, stream);
}

/* --- MAXPOOL --- */

/* Which pixel of which picture, and which channels from on, a thread has. */
struct Place {
  int n, y, x, c;
};

static __device__ __forceinline__ Place
place_of (unsigned number, int h, int w, int stored)
{
  const unsigned vectors = stored / LANES, pixel = number / vectors, row = pixel / w;

  return Place { (int) (row / h), (int) (row % h), (int) (pixel % w),
    (int) (number % vectors) * LANES };
}

static __device__ __forceinline__ size_t
offset_of (const Place &at, int y, int x, int h, int w, int stored)
{
  return (((size_t) at.n * h + y) * w + x) * stored + at.c;
}

/* Eight places in windows as one 64-bit number, the first in its lowest byte. */
static __device__ __forceinline__ void
store_places (unsigned char *dst, const unsigned from[LANES])
{
  unsigned long long packed = 0;

#pragma unroll
  for (int i = 0; i < LANES; i++)
    packed |= (unsigned long long) from[i] << (8 * i);
  *reinterpret_cast<unsigned long long *> (dst) = packed;
}

template <typename T> __global__ void __launch_bounds__ (BLOCK, RESIDENT)
maxpool_kernel (PirlGpuPool pool, const T *__restrict__ in, T *__restrict__ out,
    unsigned char *__restrict__ place, unsigned threads)
{
  const unsigned number = thread_number ();

  if (number >= threads)
    return;

  const Place at = place_of (number, pool.out_h, pool.out_w, pool.stored);
  const int top = at.y * pool.stride - pool.padding, left = at.x * pool.stride - pool.padding;
  const int first_y = max (0, -top), first_x = max (0, -left);
  float largest[LANES];
  unsigned from[LANES];

#pragma unroll
  for (int i = 0; i < LANES; i++) {
    largest[i] = -INFINITY;
    from[i] = first_y * pool.kernel + first_x;
  }
  for (int ky = first_y; ky < min (pool.kernel, pool.h - top); ky++)
    for (int kx = first_x; kx < min (pool.kernel, pool.w - left); kx++) {
      float x[LANES];

      load8 (in + offset_of (at, top + ky, left + kx, pool.h, pool.w, pool.stored), x);
#pragma unroll
      for (int i = 0; i < LANES; i++)
        if (x[i] > largest[i] || x[i] != x[i]) {
          largest[i] = x[i];
          from[i] = ky * pool.kernel + kx;
        }
    }
  store8 (out + (size_t) number * LANES, largest);
  if (place)
    store_places (place + (size_t) number * LANES, from);
}

/* A value is in the windows oy with oy * stride - padding <= y < oy * stride - padding + kernel. */
static __device__ __forceinline__ int
first_window (int y, const PirlGpuPool &pool)
{
  const int last_before = y + pool.padding - pool.kernel;

  return last_before < 0 ? 0 : last_before / pool.stride + 1;
}

template <typename T> __global__ void __launch_bounds__ (BLOCK, RESIDENT)
maxpool_backward_kernel (PirlGpuPool pool, const T *__restrict__ d_out,
    const unsigned char *__restrict__ place, int accumulate, T *__restrict__ d_in,
    unsigned threads)
{
  const unsigned number = thread_number ();

  if (number >= threads)
    return;

  const Place at = place_of (number, pool.h, pool.w, pool.stored);
  const int last_y = min ((at.y + pool.padding) / pool.stride, pool.out_h - 1);
  const int last_x = min ((at.x + pool.padding) / pool.stride, pool.out_w - 1);
  T *mine = d_in + (size_t) number * LANES;
  float sum[LANES] = { 0 };

  if (accumulate)
    load8 (mine, sum);
  for (int oy = first_window (at.y, pool); oy <= last_y; oy++)
    for (int ox = first_window (at.x, pool); ox <= last_x; ox++) {
      const size_t window = offset_of (at, oy, ox, pool.out_h, pool.out_w, pool.stored);
      const int me = (at.y + pool.padding - oy * pool.stride) * pool.kernel
          + at.x + pool.padding - ox * pool.stride;
      const unsigned long long from
          = *reinterpret_cast<const unsigned long long *> (place + window);
      float d[LANES];

      load8 (d_out + window, d);
#pragma unroll
      for (int i = 0; i < LANES; i++)
        if ((int) (from >> (8 * i) & 0xff) == me)
          sum[i] += d[i];
    }
  store8 (mine, sum);
}

template <typename T> static void
maxpool_launch (const PirlGpuPool *pool, gconstpointer in, gpointer out, guint8 *place,
    cudaStream_t stream)
{
  const unsigned threads = (unsigned) pool->n * pool->out_h * pool->out_w
      * (pool->stored / LANES);

  PIRL_LAUNCH (maxpool_kernel<T>, blocks_for (threads), BLOCK, 0, stream, *pool, (const T *) in,
      (T *) out, place, threads);
}

template <typename T> static void
maxpool_backward_launch (const PirlGpuPool *pool, gconstpointer d_out, const guint8 *place,
    gboolean accumulate, gpointer d_in, cudaStream_t stream)
{
  const unsigned threads = (unsigned) pool->n * pool->h * pool->w * (pool->stored / LANES);

  PIRL_LAUNCH (maxpool_backward_kernel<T>, blocks_for (threads), BLOCK, 0, stream, *pool,
      (const T *) d_out, place, accumulate, (T *) d_in, threads);
}

extern "C" void
pirl_gpu_maxpool (const PirlGpuPool *pool, PirlDType dtype, gconstpointer in, gpointer out,
    guint8 *place, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, maxpool_launch, pool, in, out, place, stream);
}

extern "C" void
pirl_gpu_maxpool_backward (const PirlGpuPool *pool, PirlDType dtype, gconstpointer d_out,
    const guint8 *place, gboolean accumulate, gpointer d_in, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, maxpool_backward_launch, pool, d_out, place, accumulate, d_in, stream);
}

/* --- AVGPOOL --- */

/* A thread sums 8 channels of a picture. */
template <typename T> __global__ void __launch_bounds__ (BLOCK, RESIDENT)
avgpool_kernel (int pixels, int channels, int stored, const T *__restrict__ in,
    float *__restrict__ out, unsigned threads)
{
  const unsigned number = thread_number (), vectors = stored / LANES;

  if (number >= threads)
    return;

  const unsigned n = number / vectors;
  const int first = (int) (number % vectors) * LANES;
  const T *picture = in + (size_t) n * pixels * stored + first;
  float *row = out + (size_t) n * channels + first;
  float sum[LANES] = { 0 };

#pragma unroll 4
  for (int p = 0; p < pixels; p++) {
    float x[LANES];

    load8 (picture + (size_t) p * stored, x);
    for (int i = 0; i < LANES; i++)
      sum[i] += x[i];
  }
#pragma unroll
  for (int i = 0; i < LANES; i++)
    if (first + i < channels)
      row[i] = sum[i] / pixels;
}

/* A thread fills 8 channels of a pixel. */
template <typename T> __global__ void __launch_bounds__ (BLOCK, RESIDENT)
avgpool_backward_kernel (int pixels, int channels, int stored, const float *__restrict__ d_out,
    int accumulate, T *__restrict__ d_in, unsigned threads)
{
  const unsigned number = thread_number (), vectors = stored / LANES;

  if (number >= threads)
    return;

  const int first = (int) (number % vectors) * LANES;
  const float *row = d_out + (size_t) (number / vectors / pixels) * channels + first;
  T *mine = d_in + (size_t) number * LANES;
  const float share = 1.0f / pixels;
  float d[LANES] = { 0 };

  if (accumulate)
    load8 (mine, d);
#pragma unroll
  for (int i = 0; i < LANES; i++)
    if (first + i < channels)
      d[i] += row[i] * share;
  store8 (mine, d);
}

template <typename T> static void
avgpool_launch (gint n, gint pixels, gint channels, gint stored, gconstpointer in, gfloat *out,
    cudaStream_t stream)
{
  const unsigned threads = (unsigned) n * (stored / LANES);

  PIRL_LAUNCH (avgpool_kernel<T>, blocks_for (threads), BLOCK, 0, stream, pixels, channels,
      stored, (const T *) in, out, threads);
}

template <typename T> static void
avgpool_backward_launch (gint n, gint pixels, gint channels, gint stored, const gfloat *d_out,
    gboolean accumulate, gpointer d_in, cudaStream_t stream)
{
  const unsigned threads = (unsigned) n * pixels * (stored / LANES);

  PIRL_LAUNCH (avgpool_backward_kernel<T>, blocks_for (threads), BLOCK, 0, stream, pixels,
      channels, stored, d_out, accumulate, (T *) d_in, threads);
}

extern "C" void
pirl_gpu_avgpool (gint n, gint pixels, gint channels, gint stored, PirlDType dtype,
    gconstpointer in, gfloat *out, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, avgpool_launch, n, pixels, channels, stored, in, out, stream);
}

extern "C" void
pirl_gpu_avgpool_backward (gint n, gint pixels, gint channels, gint stored, PirlDType dtype,
    const gfloat *d_out, gboolean accumulate, gpointer d_in, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (dtype, avgpool_backward_launch, n, pixels, channels, stored, d_out, accumulate, d_in,
      stream);
}
