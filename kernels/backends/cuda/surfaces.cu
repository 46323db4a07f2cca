/* gst-pirl: pictures as decoders leave them in device memory, to RGB of the size of an input.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   tables   weights of the resize, a thread an output column or row
 *   read     chroma to 4:4:4, Y'CbCr to RGB (base/surface.h), resize; a thread an output pixel
 *
 * Both to the bit as on the host: the weights and the two roundings of a resize are those of
 * kernels/vision/resize.c. What a thread reads its neighbours read, too, and computing it again
 * costs less than memory for whole pictures in RGB.
 */
#include "backends/cuda/resize.cuh"
#include "backends/cuda/surfaces.h"

#define BLOCK 128

/* --- pixels --- */

/* A sample of chroma of @surface; beyond the edge the outermost goes on. */
struct Chroma {
  const unsigned char *data;
  size_t stride;
  int step, width, height;
};

static __device__ __forceinline__ Chroma
chroma_of (const PirlSurface &surface, int c)
{
  return Chroma { surface.data[c], surface.stride[c], surface.step[c],
    (surface.width + surface.shift_x) >> surface.shift_x,
    (surface.height + surface.shift_y) >> surface.shift_y };
}

static __device__ __forceinline__ int
sample (const Chroma &chroma, int x, int y)
{
  x = min (max (x, 0), chroma.width - 1);
  y = min (max (y, 0), chroma.height - 1);
  return chroma.data[y * chroma.stride + (size_t) x * chroma.step];
}

/* Three quarters of @near. */
static __device__ __forceinline__ int
between (int near, int far)
{
  return (3 * near + far + 2) >> 2;
}

/* At column @x of the picture, in row @y of the chroma. */
static __device__ __forceinline__ int
across (const Chroma &chroma, const PirlSurface &surface, int x, int y)
{
  const int at = x >> surface.shift_x, odd = x & 1;

  if (surface.shift_x == 0 || (surface.cosited && !odd))
    return sample (chroma, at, y);
  if (surface.cosited)
    return (sample (chroma, at, y) + sample (chroma, at + 1, y) + 1) >> 1;
  return between (sample (chroma, at, y), sample (chroma, odd ? at + 1 : at - 1, y));
}

static __device__ __forceinline__ int
chroma_at (const PirlSurface &surface, int c, int x, int y)
{
  const Chroma chroma = chroma_of (surface, c);
  const int at = y >> surface.shift_y;

  if (surface.shift_y == 0)
    return across (chroma, surface, x, at);
  return between (across (chroma, surface, x, at),
      across (chroma, surface, x, y & 1 ? at + 1 : at - 1));
}

static __device__ __forceinline__ int
to_byte (int number)
{
  return min (max (number >> PIRL_YUV_BITS, 0), 255);
}

static __device__ __forceinline__ int
component (const PirlSurface &surface, int c, int x, int y)
{
  return surface.data[c][y * surface.stride[c] + (size_t) x * surface.step[c]];
}

static __device__ __forceinline__ Rgb
pixel_at (const PirlSurface &surface, int x, int y)
{
  if (!surface.yuv)
    return Rgb { component (surface, 0, x, y), component (surface, 1, x, y),
      component (surface, 2, x, y) };

  const PirlYuvMatrix &m = surface.matrix;
  const int luma = m.luma * (component (surface, 0, x, y) - m.luma_offset)
      + (1 << (PIRL_YUV_BITS - 1));
  const int u = chroma_at (surface, 1, x, y) - 128, v = chroma_at (surface, 2, x, y) - 128;

  return Rgb { to_byte (luma + m.red_v * v), to_byte (luma + m.green_u * u + m.green_v * v),
    to_byte (luma + m.blue_u * u) };
}

/* --- resize --- */

static __global__ void __launch_bounds__ (BLOCK)
tables_kernel (unsigned char *batch, size_t surfaces, int n, int width, int height)
{
  const int i = (int) (blockIdx.x * BLOCK + threadIdx.x), each = width + height;

  if (i >= n * each)
    return;

  const PirlGpuSurface &place
      = reinterpret_cast<const PirlGpuSurface *> (batch + surfaces)[i / each];
  const PirlSurfaceView &view = place.view;
  const int position = i % each;

  if (position < width)
    make_weights (axis_at (batch + place.columns, width), view.surface.width, view.scaled_width,
        view.left, width, position);
  else
    make_weights (axis_at (batch + place.rows, height), view.surface.height, view.scaled_height,
        view.top, height, position - width);
}

/* The sum along a row of the picture, in 1/2^FIXED_BITS. */
static __device__ __forceinline__ Rgb
sum_of_row (const PirlSurface &surface, const Axis &columns, int width, int x, int y)
{
  const int half = 1 << (FIXED_BITS - 1), first = columns.first[x], n = columns.count[x];
  Rgb sum = { half, half, half };

  for (int t = 0; t < n; t++) {
    const int weight = columns.weight[t * width + x];
    const Rgb pixel = pixel_at (surface, first + t, y);

    sum.r += weight * pixel.r;
    sum.g += weight * pixel.g;
    sum.b += weight * pixel.b;
  }
  return sum;
}

static __global__ void __launch_bounds__ (BLOCK)
read_kernel (unsigned char *batch, size_t surfaces, int n, int width, int height)
{
  const int i = (int) (blockIdx.x * BLOCK + threadIdx.x), pixels = width * height;

  if (i >= n * pixels)
    return;

  const PirlGpuSurface &place
      = reinterpret_cast<const PirlGpuSurface *> (batch + surfaces)[i / pixels];
  const Axis columns = axis_at (batch + place.columns, width);
  const Axis rows = axis_at (batch + place.rows, height);
  const int x = i % pixels % width, y = i % pixels / width, half = 1 << (FIXED_BITS - 1);
  Rgb sum = { half, half, half };

  for (int t = 0; t < rows.count[y]; t++) {
    const int weight = rows.weight[t * height + y];
    const Rgb row = sum_of_row (place.view.surface, columns, width, x, rows.first[y] + t);

    sum.r += weight * clip_fixed (row.r);
    sum.g += weight * clip_fixed (row.g);
    sum.b += weight * clip_fixed (row.b);
  }
  store_pixel (batch, i, Rgb { clip_fixed (sum.r), clip_fixed (sum.g), clip_fixed (sum.b) });
}

static unsigned
blocks_for (unsigned threads)
{
  return (threads + BLOCK - 1) / BLOCK;
}

extern "C" void
pirl_gpu_read_surfaces (guint8 *batch, gsize surfaces, gint n, gint width, gint height,
    cudaStream_t stream)
{
  PIRL_LAUNCH (tables_kernel, blocks_for ((unsigned) (n * (width + height))), BLOCK, 0, stream,
      batch, surfaces, n, width, height);
  PIRL_LAUNCH (read_kernel, blocks_for ((unsigned) (n * width * height)), BLOCK, 0, stream, batch,
      surfaces, n, width, height);
}
