/* gst-pirl: kernels of depthwise convolutions.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   forward          out [y][x] = sum_ij w [i][j] in [y s - p + i][x s - p + j]
 *   input gradient   d_in [y][x] = sum_ij w [i][j] d_out [(y + p - i) / s][(x + p - j) / s], where
 *                    both divide
 *   weight gradient  d_w [i][j] = sum_yx d_out [y][x] in [y s - p + i][x s - p + j]
 *
 * All are bound by memory: with I and O bytes of input and output, forward and input gradient move
 * I + O (accumulated: I more), the weight gradient I + O. What is read for several outputs must be
 * in the caches: a thread has 8 channels of a *strip* of neighbouring pixels, so that a value is
 * loaded once for all of them, and the threads of a block, of up to 64 channels, have strips below
 * each other, which share rows. The sizes that networks have (3 x 3, padding 1, stride 1 or 2) are
 * compiled with constants; K = 0 stands for any other.
 */
#include "backends/cuda/depthwise.h"
#include "backends/cuda/tiles.cuh"

#define WIDEST 8                /* threads on channels */
#define SUM_BLOCKS 132          /* of the weight gradient: one wave on the largest cards */
#define MANY_BLOCKS 0x7fffffff

/* Pixels of a strip, a multiple of every stride; longer ones need too many registers. GRADIENT: of
 * the weight gradient, any number. */
template <typename T> struct Strips { enum { PIXELS = 4, GRADIENT = 2 }; };
template <> struct Strips<float> { enum { PIXELS = 2, GRADIENT = 1 }; };

/* --- strips --- */

/* Rows of the tiling are strips: of @n pictures of @strips columns of @h. */
static Tiling
strip_tiling (PirlDims dims, int stored, int pixels, int blocks)
{
  return tiling_new (dims.n * ceil_div (dims.w, pixels) * dims.h, stored, WIDEST, blocks, 1);
}

typedef struct { int n, y, x; } Strip;

/* Strip number @i, below its predecessor. */
static __device__ __forceinline__ Strip
strip_new (PirlDims dims, int pixels, unsigned i)
{
  const unsigned strips = (dims.w + pixels - 1) / pixels, column = i / dims.h;
  Strip s;

  s.y = i % dims.h;
  s.x = column % strips * pixels;
  s.n = column / strips;
  return s;
}

/* Elements before pixel (y, x). */
static __device__ __forceinline__ size_t
pixel_offset (PirlDims dims, int stored, int channel, int n, int y, int x)
{
  return (((size_t) n * dims.h + y) * dims.w + x) * stored + channel;
}

/* A pixel of a row, 0 beside the picture. */
template <typename T> static __device__ __forceinline__ Raw<T>
load_pixel (const T *row, int stored, int x, int w)
{
  Raw<T> raw = { { 0 } };

  if (x >= 0 && x < w)
    raw = load_raw (row + (ptrdiff_t) x * stored);
  return raw;
}

static __device__ __forceinline__ void
add_product (float sum[PIRL_EIGHT], const float a[PIRL_EIGHT], const float b[PIRL_EIGHT])
{
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    sum[i] = fmaf (a[i], b[i], sum[i]);
}

/* --- forward --- */

/* A row of the filter (@weight) on a row of the input, from column @x on. */
template <typename T, int K, int S, int P> static __device__ __forceinline__ void
filter_row (const PirlGpuDepthwise &shape, const T *row, int x, const float *weight,
    float sum[P][PIRL_EIGHT])
{
  const int kernel = K ? K : shape.kernel, stride = S ? S : shape.stride;

#pragma unroll
  for (int j = 0; j < (P - 1) * stride + kernel; j++) {
    float v[PIRL_EIGHT], w[PIRL_EIGHT];

    to_floats<T> (load_pixel (row, shape.stored, x + j, shape.input.w), v);
#pragma unroll
    for (int p = 0; p < P; p++) {
      const int tap = j - p * stride;

      if (tap < 0 || tap >= kernel)
        continue;
      load8 (weight + tap * shape.stored, w);
      add_product (sum[p], w, v);
    }
  }
}

/* What follows a convolution. */
template <typename T> struct Epilogue {
  const float *bias;
  const T *residual;
  float low, high;              /* of the activation */
};

template <typename T> static __device__ __forceinline__ void
finish_pixel (const Epilogue<T> &e, size_t at, float x[PIRL_EIGHT])
{
  float r[PIRL_EIGHT];

  clear8 (r);
  if (e.residual)
    load8 (e.residual + at, r);
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++) {
    x[i] += r[i];
    x[i] = x[i] < e.low ? e.low : x[i] > e.high ? e.high : x[i];
  }
}

template <typename T, int K, int S, int P> __global__ void __launch_bounds__ (PIRL_BLOCK, 2)
forward_kernel (Tiling t, PirlGpuDepthwise shape, const T *input, const float *weight,
    Epilogue<T> epilogue, T *output)
{
  const int kernel = K ? K : shape.kernel, stride = S ? S : shape.stride;
  const int padding = K ? K / 2 : shape.padding;
  const PirlDims in = shape.input, out = shape.output;
  const Place place = place_new (t);
  const Strip strip = strip_new (out, P, blockIdx.x * t.rows_per_block + place.lane);
  float sum[P][PIRL_EIGHT];

  if (!place.n)
    return;
#pragma unroll
  for (int p = 0; p < P; p++)
    if (epilogue.bias)
      load8 (epilogue.bias + place.channel, sum[p]);
    else
      clear8 (sum[p]);
#pragma unroll
  for (int i = 0; i < kernel; i++) {
    const int y = strip.y * stride - padding + i;

    if (y >= 0 && y < in.h)
      filter_row<T, K, S, P> (shape,
          input + pixel_offset (in, t.stored, place.channel, strip.n, y, 0),
          strip.x * stride - padding, weight + i * kernel * t.stored + place.channel, sum);
  }
#pragma unroll
  for (int p = 0; p < P; p++) {
    const size_t at =
        pixel_offset (out, t.stored, place.channel, strip.n, strip.y, strip.x + p);

    if (strip.x + p >= out.w)
      continue;
    finish_pixel (epilogue, at, sum[p]);
    store8 (output + at, sum[p]);
  }
}

/* Whether the kernels with constants are for @shape. */
static bool
is_common (const PirlGpuDepthwise *shape)
{
  return shape->kernel == 3 && shape->padding == 1 && shape->stride <= 2;
}

template <typename T> static void
forward_launch (const PirlGpuDepthwise *shape, gconstpointer input, const gfloat *weight,
    const gfloat *bias, gconstpointer residual, PirlActivation activation, gpointer output,
    cudaStream_t stream)
{
  enum { P = Strips<T>::PIXELS };
  const auto kernel = !is_common (shape) ? forward_kernel<T, 0, 0, 1>
      : shape->stride == 1 ? forward_kernel<T, 3, 1, P> : forward_kernel<T, 3, 2, P>;
  const Tiling t =
      strip_tiling (shape->output, shape->stored, is_common (shape) ? P : 1, MANY_BLOCKS);
  const Epilogue<T> epilogue = { bias, (const T *) residual,
    activation == PIRL_ACT_NONE ? -INFINITY : 0.0f, activation == PIRL_ACT_RELU6 ? 6.0f : INFINITY
  };

  PIRL_LAUNCH (kernel, tiling_grid (&t), PIRL_BLOCK, 0, stream, t, *shape, (const T *) input,
      weight, epilogue, (T *) output);
}

extern "C" void
pirl_gpu_depthwise_forward (const PirlGpuDepthwise *shape, gconstpointer input,
    const gfloat *weight, const gfloat *bias, gconstpointer residual, PirlActivation activation,
    gpointer output, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (shape->dtype, forward_launch, shape, input, weight, bias, residual, activation,
      output, stream);
}

/* --- input gradient --- */

/* The outputs that a strip of inputs from column @x on touched: @count from @first on; output j
 * reached input p through column @tap + p - j stride of the filter. */
typedef struct { int first, count, tap; } Touched;

template <int K, int S, int P> static __device__ __forceinline__ Touched
touched_new (const PirlGpuDepthwise &shape, int x)
{
  Touched t;

  if (K) {                      /* x is a multiple of the stride; padding K / 2 */
    enum { STRIDE = S ? S : 1, LOW = (K / 2 - K + 1) / STRIDE, HIGH = (P - 1 + K / 2) / STRIDE };

    t.first = x / STRIDE + LOW;
    t.count = HIGH - LOW + 1;
    t.tap = K / 2 - LOW * STRIDE;
  } else {
    const int low = x + shape.padding - shape.kernel + 1;

    t.first = low <= 0 ? 0 : (low + shape.stride - 1) / shape.stride;
    t.count = (x + shape.padding) / shape.stride - t.first + 1;
    t.tap = x + shape.padding - t.first * shape.stride;
  }
  return t;
}

/* A row of the filter (@weight) back from a row of the output's gradient. */
template <typename T, int K, int S, int P> static __device__ __forceinline__ void
spread_row (const PirlGpuDepthwise &shape, const Touched &touched, const T *row,
    const float *weight, float sum[P][PIRL_EIGHT])
{
  const int kernel = K ? K : shape.kernel, stride = S ? S : shape.stride;

#pragma unroll
  for (int j = 0; j < touched.count; j++) {
    float d[PIRL_EIGHT], w[PIRL_EIGHT];

    to_floats<T> (load_pixel (row, shape.stored, touched.first + j, shape.output.w), d);
#pragma unroll
    for (int p = 0; p < P; p++) {
      const int tap = touched.tap + p - j * stride;

      if (tap < 0 || tap >= kernel)
        continue;
      load8 (weight + tap * shape.stored, w);
      add_product (sum[p], w, d);
    }
  }
}

template <typename T, int K, int S, int P> __global__ void __launch_bounds__ (PIRL_BLOCK, 2)
d_input_kernel (Tiling t, PirlGpuDepthwise shape, const T *d_output, const float *weight,
    bool accumulate, T *d_input)
{
  const int kernel = K ? K : shape.kernel, stride = S ? S : shape.stride;
  const int padding = K ? K / 2 : shape.padding;
  const PirlDims in = shape.input, out = shape.output;
  const Place place = place_new (t);
  const Strip strip = strip_new (in, P, blockIdx.x * t.rows_per_block + place.lane);
  const Touched touched = touched_new<K, S, P> (shape, strip.x);
  float sum[P][PIRL_EIGHT];

  if (!place.n)
    return;
#pragma unroll
  for (int p = 0; p < P; p++) {
    clear8 (sum[p]);
    if (accumulate && strip.x + p < in.w)
      load8 (d_input + pixel_offset (in, t.stored, place.channel, strip.n, strip.y, strip.x + p),
          sum[p]);
  }
#pragma unroll
  for (int i = 0; i < kernel; i++) {
    const int y = strip.y + padding - i;

    if (y >= 0 && y % stride == 0 && y / stride < out.h)
      spread_row<T, K, S, P> (shape, touched,
          d_output + pixel_offset (out, t.stored, place.channel, strip.n, y / stride, 0),
          weight + i * kernel * t.stored + place.channel, sum);
  }
#pragma unroll
  for (int p = 0; p < P; p++)
    if (strip.x + p < in.w)
      store8 (d_input + pixel_offset (in, t.stored, place.channel, strip.n, strip.y, strip.x + p),
          sum[p]);
}

template <typename T> static void
d_input_launch (const PirlGpuDepthwise *shape, gconstpointer d_output, const gfloat *weight,
    gboolean accumulate, gpointer d_input, cudaStream_t stream)
{
  enum { P = Strips<T>::PIXELS };
  const auto kernel = !is_common (shape) ? d_input_kernel<T, 0, 0, 1>
      : shape->stride == 1 ? d_input_kernel<T, 3, 1, P> : d_input_kernel<T, 3, 2, P>;
  const Tiling t =
      strip_tiling (shape->input, shape->stored, is_common (shape) ? P : 1, MANY_BLOCKS);

  PIRL_LAUNCH (kernel, tiling_grid (&t), PIRL_BLOCK, 0, stream, t, *shape, (const T *) d_output,
      weight, accumulate != FALSE, (T *) d_input);
}

extern "C" void
pirl_gpu_depthwise_d_input (const PirlGpuDepthwise *shape, gconstpointer d_output,
    const gfloat *weight, gboolean accumulate, gpointer d_input, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (shape->dtype, d_input_launch, shape, d_output, weight, accumulate, d_input,
      stream);
}

/* --- weight gradient --- */

/* What a strip adds to row @i of the filter. */
template <typename T, int K, int S, int P> static __device__ __forceinline__ void
weight_strip (const PirlGpuDepthwise &shape, int channel, const Strip &strip, int i,
    const T *input, const T *d_output, float sum[K][PIRL_EIGHT])
{
  const PirlDims in = shape.input, out = shape.output;
  const int y = strip.y * S - K / 2 + i;
  enum { WIDTH = (P - 1) * S + K };
  Raw<T> raw[WIDTH];
  float d[P][PIRL_EIGHT], v[PIRL_EIGHT];

  if (y < 0 || y >= in.h)
    return;

  const T *x_row = input + pixel_offset (in, shape.stored, channel, strip.n, y, 0);
  const T *d_row = d_output + pixel_offset (out, shape.stored, channel, strip.n, strip.y, 0);

#pragma unroll
  for (int j = 0; j < WIDTH; j++)
    raw[j] = load_pixel (x_row, shape.stored, strip.x * S - K / 2 + j, in.w);
#pragma unroll
  for (int p = 0; p < P; p++)
    to_floats<T> (load_pixel (d_row, shape.stored, strip.x + p, out.w), d[p]);
#pragma unroll
  for (int j = 0; j < WIDTH; j++) {
    to_floats<T> (raw[j], v);
#pragma unroll
    for (int p = 0; p < P; p++)
      if (j - p * S >= 0 && j - p * S < K)
        add_product (sum[j - p * S], d[p], v);
  }
}

/* Where a block leaves the sums of a tap. */
static __device__ __forceinline__ void
store_tap (const Tiling &t, const Place &place, int taps, int tap, const float sum[PIRL_EIGHT],
    float *partial)
{
  if (place.on && place.lane == 0)
    store8 (partial + ((size_t) blockIdx.x * taps + tap) * t.stored + place.channel, sum);
}

/* All taps of a filter: threads with the same threadIdx.y have one of its rows, so that there are
 * registers for a strip; they read the same gradients at about the same time. */
template <typename T, int K, int S, int P> __global__ void __launch_bounds__ (K * PIRL_BLOCK)
d_weight_kernel (Tiling t, PirlGpuDepthwise shape, const T *input, const T *d_output,
    float *partial)
{
  __shared__ float shared[K * SUM_FLOATS];
  const Place place = place_new (t);
  unsigned i = blockIdx.x * t.rows_per_block + place.lane;
  float sum[K][PIRL_EIGHT];

#pragma unroll
  for (int j = 0; j < K; j++)
    clear8 (sum[j]);
  for (unsigned n = place.n; n; n--, i += t.lanes)
    weight_strip<T, K, S, P> (shape, place.channel, strip_new (shape.output, P, i), threadIdx.y,
        input, d_output, sum);
#pragma unroll
  for (int j = 0; j < K; j++) {
    sum_lanes (t, place, sum[j], shared + threadIdx.y * SUM_FLOATS);
    store_tap (t, place, K * K, threadIdx.y * K + j, sum[j], partial);
  }
}

/* Any filter: a block has one tap, number blockIdx.z. */
template <typename T> __global__ void __launch_bounds__ (PIRL_BLOCK)
d_weight_tap_kernel (Tiling t, PirlGpuDepthwise shape, const T *input, const T *d_output,
    float *partial)
{
  __shared__ float shared[SUM_FLOATS];
  const PirlDims in = shape.input, out = shape.output;
  const Place place = place_new (t);
  const int tap = blockIdx.z;
  unsigned i = blockIdx.x * t.rows_per_block + place.lane;
  float sum[PIRL_EIGHT];

  clear8 (sum);
  for (unsigned n = place.n; n; n--, i += t.lanes) {
    const Strip s = strip_new (out, 1, i);
    const int y = s.y * shape.stride - shape.padding + tap / shape.kernel;
    const int x = s.x * shape.stride - shape.padding + tap % shape.kernel;
    float v[PIRL_EIGHT], d[PIRL_EIGHT];

    if (y < 0 || y >= in.h || x < 0 || x >= in.w)
      continue;
    load8 (input + pixel_offset (in, t.stored, place.channel, s.n, y, x), v);
    load8 (d_output + pixel_offset (out, t.stored, place.channel, s.n, s.y, s.x), d);
    add_product (sum, d, v);
  }
  sum_lanes (t, place, sum, shared);
  store_tap (t, place, shape.kernel * shape.kernel, tap, sum, partial);
}

/* Joins the blocks' sums: 8 channels of tap blockIdx.y a block, 32 threads a channel. */
__global__ void __launch_bounds__ (PIRL_BLOCK)
d_weight_finish_kernel (Tiling t, int channels, const float *partial, float *d_weight)
{
  __shared__ double shared[PIRL_BLOCK];
  const int channel = blockIdx.x * PIRL_EIGHT + threadIdx.x % PIRL_EIGHT;
  const int taps = gridDim.y, tap = blockIdx.y;
  const unsigned lane = threadIdx.x / PIRL_EIGHT;
  double sum = 0.0;

#pragma unroll 4
  for (unsigned b = lane; b < t.blocks; b += JOIN_LANES)
    sum += partial[((size_t) b * taps + tap) * t.stored + channel];
  sum = join_lanes (sum, shared);
  if (lane == 0 && channel < channels)
    d_weight[channel * taps + tap] = (float) (d_weight[channel * taps + tap] + sum);
}

static Tiling
d_weight_tiling (const PirlGpuDepthwise *shape)
{
  const bool is_float = shape->dtype == PIRL_DTYPE_F32;
  const int pixels = is_float ? (int) Strips<float>::GRADIENT : (int) Strips<__half>::GRADIENT;

  return strip_tiling (shape->output, shape->stored, is_common (shape) ? pixels : 1, SUM_BLOCKS);
}

extern "C" gsize
pirl_gpu_depthwise_partial_bytes (const PirlGpuDepthwise *shape)
{
  return sizeof (float) * d_weight_tiling (shape).blocks * pirl_gpu_depthwise_weights (shape);
}

template <typename T> static void
d_weight_launch (const PirlGpuDepthwise *shape, gconstpointer input, gconstpointer d_output,
    gfloat *partial, cudaStream_t stream)
{
  enum { P = Strips<T>::GRADIENT };
  const auto kernel = !is_common (shape) ? d_weight_tap_kernel<T>
      : shape->stride == 1 ? d_weight_kernel<T, 3, 1, P> : d_weight_kernel<T, 3, 2, P>;
  const Tiling t = d_weight_tiling (shape);
  dim3 grid = tiling_grid (&t), block = PIRL_BLOCK;

  if (is_common (shape))
    block.y = 3;
  else
    grid.z = shape->kernel * shape->kernel;
  PIRL_LAUNCH (kernel, grid, block, 0, stream, t, *shape, (const T *) input,
      (const T *) d_output, partial);
}

extern "C" void
pirl_gpu_depthwise_d_weight (const PirlGpuDepthwise *shape, gconstpointer input,
    gconstpointer d_output, gfloat *partial, gfloat *d_weight, cudaStream_t stream)
{
  const dim3 grid (shape->stored / PIRL_EIGHT, shape->kernel * shape->kernel);

  PIRL_FOR_DTYPE (shape->dtype, d_weight_launch, shape, input, d_output, partial, stream);
  PIRL_LAUNCH (d_weight_finish_kernel, grid, PIRL_BLOCK, 0, stream, d_weight_tiling (shape),
      shape->input.c, partial, d_weight);
}

/* --- weights --- */

/* A thread an element. */
__global__ void __launch_bounds__ (PIRL_BLOCK)
pack_depthwise_kernel (int channels, int stored, int taps, const float *dense, const float *scale,
    float *packed)
{
  const int i = blockIdx.x * PIRL_BLOCK + threadIdx.x, channel = i % stored, tap = i / stored;

  if (tap >= taps)
    return;
  packed[i] = channel < channels
      ? dense[channel * taps + tap] * (scale ? scale[channel] : 1.0f) : 0.0f;
}

extern "C" void
pirl_gpu_depthwise_pack (const PirlGpuDepthwise *shape, const gfloat *dense, const gfloat *scale,
    gfloat *packed, cudaStream_t stream)
{
  PIRL_LAUNCH (pack_depthwise_kernel, ceil_div (pirl_gpu_depthwise_weights (shape), PIRL_BLOCK),
      PIRL_BLOCK, 0, stream, shape->input.c, shape->stored, shape->kernel * shape->kernel, dense,
      scale, packed);
}
