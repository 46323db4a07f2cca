/* gst-pirl: kernels of batch norm with residual and activation.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Per channel over N rows: mean, var = sum (y - mean)^2 / N, s = 1 / sqrt (var + eps),
 *   v = (y - mean) s weight + bias + residual,  out = act (v)
 *   dz = d_out where act let v pass, d_bias = sum dz, d_weight = s sum dz (y - mean)
 *   dy = weight s (dz - d_bias / N - (y - mean) s^2 sum (dz (y - mean)) / N)
 * The running variance takes var N / (N - 1).
 *
 * All passes over values are bound by memory. B = bytes of one value (rows x stored x type),
 * M = of the mask, B / 16 in 16 bits. What has to be moved, and is, but for some kilobytes:
 *   moments         reads B
 *   apply           reads B (residual: 2 B), writes B (residual and activation: + M)
 *   gradient sums   reads 2 B (+ M)
 *   gradient apply  reads 2 B (+ M; an accumulated residual: + B), writes B (residual: 2 B)
 *
 * y - mean is formed before anything is multiplied: where the mean is large, scale y + shift would
 * be the small difference of large numbers.
 */
#include "backends/cuda/norm.h"
#include "backends/cuda/tiles.cuh"

#define WIDEST 32               /* threads on channels: 512 bytes side by side in 16 bits */
/* Of passes that sum: one wave on the largest cards (132 multiprocessors, 3 blocks on each); more
 * would only mean more to join. The others: small enough that the last wave costs little. */
#define SUM_BLOCKS (132 * 3)
#define APPLY_BLOCKS 4224
#define LEAST_ROWS 4            /* of a thread, so that several loads are on their way */

/* Blocks that must fit on a multiprocessor; the last cards' code needs more registers. */
#if defined (__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
#define RESIDENT 2
#else
#define RESIDENT 3
#endif

/* Rows whose loads are on their way together; each takes registers. */
template <typename T> struct Ahead { enum { SUMS = 4, APPLY = 2 }; };
template <> struct Ahead<float> { enum { SUMS = 2, APPLY = 1 }; };

static Tiling
sum_tiling (const PirlGpuNorm *norm)
{
  return tiling_new (norm->rows, norm->stored, WIDEST, SUM_BLOCKS, LEAST_ROWS);
}

static Tiling
apply_tiling (const PirlGpuNorm *norm)
{
  return tiling_new (norm->rows, norm->stored, WIDEST, APPLY_BLOCKS, LEAST_ROWS);
}

/* Two sums a channel and block. */
extern "C" gsize
pirl_gpu_norm_partial_bytes (const PirlGpuNorm *norm)
{
  return 2 * sizeof (float) * sum_tiling (norm).blocks * norm->stored;
}

/* The values of an activation end here; inside it let pass. */
typedef struct { float low, high; } Limits;

static Limits
limits_of (PirlActivation activation)
{
  Limits limits = { -INFINITY, INFINITY };

  if (activation != PIRL_ACT_NONE)
    limits.low = 0.0f;
  if (activation == PIRL_ACT_RELU6)
    limits.high = 6.0f;
  return limits;
}

/* A NaN stays one, and passes. */
static __device__ __forceinline__ float
clamp (Limits limits, float v)
{
  return v < limits.low ? limits.low : v > limits.high ? limits.high : v;
}

static __device__ __forceinline__ bool
passes (Limits limits, float v)
{
  return !(v <= limits.low || v >= limits.high);
}

/* The table's arrays at a thread's channels. */
static __device__ __forceinline__ void
load_table (const float *table, int array, const Tiling &t, const Place &p, float x[PIRL_EIGHT])
{
  if (p.on)
    load8 (table + (size_t) array * t.stored + p.channel, x);
  else
    clear8 (x);
}

/* Two arrays of a block's sums. */
static __device__ __forceinline__ void
store_partial (const Tiling &t, const Place &p, float *partial, const float first[PIRL_EIGHT],
    const float second[PIRL_EIGHT])
{
  float *place = partial + (size_t) blockIdx.x * t.stored + p.channel;

  if (!p.on || p.lane != 0)
    return;
  store8 (place, first);
  store8 (place + (size_t) t.blocks * t.stored, second);
}

/* --- statistics --- */

/* Sums over rows of a thread, about its own shift. */
typedef struct { float shift[PIRL_EIGHT], sum[PIRL_EIGHT], squares[PIRL_EIGHT]; } Moments;

template <typename T, int AHEAD> static __device__ __forceinline__ void
add_rows (const T *y, int step, Moments *m)
{
  Raw<T> raw[AHEAD];

#pragma unroll
  for (int a = 0; a < AHEAD; a++)
    raw[a] = load_raw (y + a * step);
#pragma unroll
  for (int a = 0; a < AHEAD; a++) {
    float x[PIRL_EIGHT];

    to_floats<T> (raw[a], x);
#pragma unroll
    for (int i = 0; i < PIRL_EIGHT; i++) {
      const float d = x[i] - m->shift[i];

      m->sum[i] += d;
      m->squares[i] = fmaf (d, d, m->squares[i]);
    }
  }
}

/* The shift is the first row, so that the squares are of about the size of the variance. */
template <typename T> static __device__ __forceinline__ void
add_all_rows (const Place &p, const T *y, Moments *m)
{
  enum { AHEAD = Ahead<T>::SUMS };
  unsigned n = p.n;

  clear8 (m->shift);
  clear8 (m->sum);
  clear8 (m->squares);
  y += p.at;
  if (n)
    load8 (y, m->shift);
  for (; n >= AHEAD; n -= AHEAD, y += AHEAD * p.step)
    add_rows<T, AHEAD> (y, p.step, m);
  for (; n; n--, y += p.step)
    add_rows<T, 1> (y, p.step, m);
}

/* A block's mean and sum of squared deviations from it. */
template <typename T> __global__ void __launch_bounds__ (PIRL_BLOCK, RESIDENT)
moments_kernel (Tiling t, const T *y, float *partial)
{
  __shared__ float shared[SUM_FLOATS];
  const Place p = place_new (t);
  const float rows = (float) tiling_rows (t, blockIdx.x);
  const float n = (float) p.n;
  float mean[PIRL_EIGHT], deviations[PIRL_EIGHT];
  Moments m;

  add_all_rows (p, y, &m);
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++) {
    const float offset = p.n ? m.sum[i] / n : 0.0f;

    /* About the thread's own mean, which takes the shift's place. */
    deviations[i] = fmaxf (m.squares[i] - m.sum[i] * offset, 0.0f);
    m.shift[i] += offset;
    mean[i] = m.shift[i] * n;
  }
  sum_lanes (t, p, mean, shared);
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++) {
    mean[i] /= rows;

    const float d = m.shift[i] - mean[i];

    deviations[i] = fmaf (d * d, n, deviations[i]);
  }
  sum_lanes (t, p, deviations, shared);
  store_partial (t, p, partial, mean, deviations);
}

template <typename T> static void
moments_launch (const PirlGpuNorm *norm, gconstpointer y, gfloat *partial, cudaStream_t stream)
{
  const Tiling t = sum_tiling (norm);

  PIRL_LAUNCH (moments_kernel<T>, tiling_grid (&t), PIRL_BLOCK, 0, stream, t, (const T *) y,
      partial);
}

extern "C" void
pirl_gpu_norm_moments (const PirlGpuNorm *norm, gconstpointer y, gfloat *partial,
    cudaStream_t stream)
{
  PIRL_FOR_DTYPE (norm->dtype, moments_launch, norm, y, partial, stream);
}

/* --- table --- */

static __device__ __forceinline__ void
store_table (float *table, int stored, int channel, float mean, float scale, float shift,
    float inverse_std)
{
  table[PIRL_GPU_NORM_MEAN * stored + channel] = mean;
  table[PIRL_GPU_NORM_SCALE * stored + channel] = scale;
  table[PIRL_GPU_NORM_SHIFT * stored + channel] = shift;
  table[PIRL_GPU_NORM_INVERSE_STD * stored + channel] = inverse_std;
}

/* The shift belongs to the scale as it was rounded, so that only its own rounding takes from the
 * mean. An infinity would make every pixel one: numbers end before. */
static __device__ __forceinline__ void
store_pending (void *pending, int stored, int channel, double mean, double scale, double shift)
{
  const Limits largest = { -65504.0f, 65504.0f };
  __half *at = (__half *) pending + channel;

  at[0] = from_float<__half> (clamp (largest, (float) scale));
  shift -= mean * to_float (at[0]);
  at[stored] = from_float<__half> (clamp (largest, (float) shift));
}

/* From mean and sum of squared deviations of a channel to its table, and to the running ones. */
static __device__ __forceinline__ void
finish_channel (const PirlGpuNormParams &params, int channels, int stored, int channel,
    double mean, double deviations, double rows, float *table)
{
  const double inverse_std = 1.0 / sqrt (deviations / rows + PIRL_BN_EPSILON);
  double scale;

  if (channel >= channels) {
    store_table (table, stored, channel, 0.0f, 0.0f, 0.0f, 0.0f);
    if (params.pending)
      store_pending (params.pending, stored, channel, 0.0, 0.0, 0.0);
    return;
  }
  scale = params.weight[channel] * inverse_std;
  /* What rounding takes from the mean goes into the shift. */
  store_table (table, stored, channel, (float) mean, (float) scale,
      (float) (params.bias[channel] - (mean - (float) mean) * scale), (float) inverse_std);
  if (params.pending)
    store_pending (params.pending, stored, channel, mean, scale, params.bias[channel]);
  if (params.running_mean) {
    const double seen = mean + (params.conv_bias ? params.conv_bias[channel] : 0.0f);
    const double old = params.running_mean[channel], old_var = params.running_var[channel];

    params.running_mean[channel] = (float) (old + PIRL_BN_MOMENTUM * (seen - old));
    params.running_var[channel] =
        (float) (old_var + PIRL_BN_MOMENTUM * (deviations / (rows - 1.0) - old_var));
  }
}

/* 8 channels a block, 32 threads a channel. Joins means m_b of n_b rows each:
 * mean = sum n_b m_b / N, deviations = sum (d_b + n_b (m_b - mean)^2). */
__global__ void __launch_bounds__ (PIRL_BLOCK)
finish_partial_kernel (Tiling t, const float *partial, int channels, PirlGpuNormParams params,
    float *table)
{
  __shared__ double shared[PIRL_BLOCK];
  const int channel = blockIdx.x * PIRL_EIGHT + threadIdx.x % PIRL_EIGHT;
  const unsigned lane = threadIdx.x / PIRL_EIGHT;
  const float *means = partial + channel;
  const float *deviations = means + (size_t) t.blocks * t.stored;
  double sum = 0.0, mean;

#pragma unroll 4
  for (unsigned b = lane; b < t.blocks; b += JOIN_LANES)
    sum += (double) tiling_rows (t, b) * means[(size_t) b * t.stored];
  mean = join_lanes (sum, shared) / t.rows;
  sum = 0.0;
#pragma unroll 4
  for (unsigned b = lane; b < t.blocks; b += JOIN_LANES) {
    const double d = means[(size_t) b * t.stored] - mean;

    sum += deviations[(size_t) b * t.stored] + tiling_rows (t, b) * d * d;
  }
  sum = join_lanes (sum, shared);
  if (lane == 0)
    finish_channel (params, channels, t.stored, channel, mean, sum, t.rows, table);
}

/* A thread a channel. */
__global__ void __launch_bounds__ (PIRL_BLOCK)
finish_sums_kernel (double rows, const float *sums, int channels, int stored,
    PirlGpuNormParams params, float *table)
{
  const int channel = blockIdx.x * PIRL_BLOCK + threadIdx.x;

  if (channel >= stored)
    return;

  const double mean = sums[channel] / rows;
  const double deviations = sums[stored + channel] - rows * mean * mean;

  /* A NaN stays one. */
  finish_channel (params, channels, stored, channel, mean, deviations < 0.0 ? 0.0 : deviations,
      rows, table);
}

extern "C" void
pirl_gpu_norm_finish (const PirlGpuNorm *norm, const gfloat *partial, const gfloat *sums,
    const PirlGpuNormParams *params, gfloat *table, cudaStream_t stream)
{
  if (partial)
    PIRL_LAUNCH (finish_partial_kernel, norm->stored / PIRL_EIGHT, PIRL_BLOCK, 0, stream,
        sum_tiling (norm), partial, norm->channels, *params, table);
  else
    PIRL_LAUNCH (finish_sums_kernel, ceil_div (norm->stored, PIRL_BLOCK), PIRL_BLOCK, 0, stream,
        (double) norm->rows, sums, norm->channels, norm->stored, *params, table);
}

__global__ void __launch_bounds__ (PIRL_BLOCK)
identity_kernel (int channels, int stored, const float *bias, float *table)
{
  const int channel = blockIdx.x * PIRL_BLOCK + threadIdx.x;
  const bool real = channel < channels;

  if (channel < stored)
    store_table (table, stored, channel, 0.0f, real ? 1.0f : 0.0f,
        real && bias ? bias[channel] : 0.0f, real ? 1.0f : 0.0f);
}

extern "C" void
pirl_gpu_norm_identity (const PirlGpuNorm *norm, const gfloat *bias, gfloat *table,
    cudaStream_t stream)
{
  PIRL_LAUNCH (identity_kernel, ceil_div (norm->stored, PIRL_BLOCK), PIRL_BLOCK, 0, stream,
      norm->channels, norm->stored, bias, table);
}

__global__ void __launch_bounds__ (PIRL_BLOCK)
fold_kernel (int channels, int stored, PirlGpuNormParams params, float *scale, float *bias)
{
  const int channel = blockIdx.x * PIRL_BLOCK + threadIdx.x;
  double s = 1.0, b = 0.0;

  if (channel >= stored)
    return;
  if (channel < channels) {
    b = params.conv_bias ? params.conv_bias[channel] : 0.0f;
    if (params.weight) {
      s = params.weight[channel] / sqrt (params.running_var[channel] + PIRL_BN_EPSILON);
      b = (b - params.running_mean[channel]) * s + params.bias[channel];
    }
  }
  scale[channel] = (float) s;
  bias[channel] = (float) b;
}

extern "C" void
pirl_gpu_norm_fold (const PirlGpuNorm *norm, const PirlGpuNormParams *params, gfloat *scale,
    gfloat *bias, cudaStream_t stream)
{
  PIRL_LAUNCH (fold_kernel, ceil_div (norm->stored, PIRL_BLOCK), PIRL_BLOCK, 0, stream,
      norm->channels, norm->stored, *params, scale, bias);
}

/* --- apply --- */

/* scale (y - mean) + shift; the backward pass finds the same bits again. */
static __device__ __forceinline__ float
affine (float y, float mean, float scale, float shift)
{
  return fmaf (scale, y - mean, shift);
}

/* What belongs to the channels of a thread. */
typedef struct {
  float mean[PIRL_EIGHT], scale[PIRL_EIGHT], shift[PIRL_EIGHT];
} Channels;

/* @x and @r: y and the residual; becomes the output. Returns what passed, a bit a channel. */
template <bool RESIDUAL> static __device__ __forceinline__ unsigned
apply8 (const Channels &c, Limits limits, float x[PIRL_EIGHT], const float r[PIRL_EIGHT])
{
  unsigned bits = 0;

#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++) {
    float v = affine (x[i], c.mean[i], c.scale[i], c.shift[i]);

    if (RESIDUAL)
      v += r[i];
    bits |= (unsigned) passes (limits, v) << i;
    x[i] = clamp (limits, v);
  }
  return bits;
}

/* Rows from element @at on. */
template <typename T, bool RESIDUAL, int AHEAD> static __device__ __forceinline__ void
apply_rows (const Channels &c, Limits limits, size_t at, int step, const T *y, const T *residual,
    uint8_t *mask, T *out)
{
  Raw<T> raw[AHEAD], raw_residual[AHEAD];

#pragma unroll
  for (int a = 0; a < AHEAD; a++) {
    raw[a] = load_raw (y + at + a * step);
    if (RESIDUAL)
      raw_residual[a] = load_raw (residual + at + a * step);
  }
#pragma unroll
  for (int a = 0; a < AHEAD; a++) {
    float x[PIRL_EIGHT], r[PIRL_EIGHT];
    unsigned bits;

    to_floats<T> (raw[a], x);
    if (RESIDUAL)
      to_floats<T> (raw_residual[a], r);
    bits = apply8<RESIDUAL> (c, limits, x, r);
    store8 (out + at + a * step, x);
    if (RESIDUAL && mask)
      mask[(at + a * step) / PIRL_EIGHT] = (uint8_t) bits;
  }
}

template <typename T, bool RESIDUAL> __global__ void
__launch_bounds__ (PIRL_BLOCK, RESIDENT + 1)
apply_kernel (Tiling t, Limits limits, const float *table, const T *y, const T *residual,
    uint8_t *mask, T *out)
{
  enum { AHEAD = Ahead<T>::APPLY };
  const Place p = place_new (t);
  unsigned n = p.n;
  size_t at = p.at;
  Channels c;

  load_table (table, PIRL_GPU_NORM_MEAN, t, p, c.mean);
  load_table (table, PIRL_GPU_NORM_SCALE, t, p, c.scale);
  load_table (table, PIRL_GPU_NORM_SHIFT, t, p, c.shift);
  for (; n >= AHEAD; n -= AHEAD, at += AHEAD * p.step)
    apply_rows<T, RESIDUAL, AHEAD> (c, limits, at, p.step, y, residual, mask, out);
  for (; n; n--, at += p.step)
    apply_rows<T, RESIDUAL, 1> (c, limits, at, p.step, y, residual, mask, out);
}

template <typename T> static void
apply_launch (const PirlGpuNorm *norm, const gfloat *table, gconstpointer y,
    gconstpointer residual, guint8 *mask, gpointer out, cudaStream_t stream)
{
  const auto kernel = residual ? apply_kernel<T, true> : apply_kernel<T, false>;
  const Tiling t = apply_tiling (norm);

  PIRL_LAUNCH (kernel, tiling_grid (&t), PIRL_BLOCK, 0, stream, t, limits_of (norm->activation),
      table, (const T *) y, (const T *) residual, mask, (T *) out);
}

extern "C" void
pirl_gpu_norm_apply (const PirlGpuNorm *norm, const gfloat *table, gconstpointer y,
    gconstpointer residual, guint8 *mask, gpointer out, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (norm->dtype, apply_launch, norm, table, y, residual, mask, out, stream);
}

/* --- gradients --- */

/* How a gradient finds what the activation let pass. */
enum { ALL, FROM_Y, FROM_MASK };

template <int PASSED, bool SCALE> static __device__ __forceinline__ void
load_channels (const float *table, const Tiling &t, const Place &p, Channels *c)
{
  load_table (table, PIRL_GPU_NORM_MEAN, t, p, c->mean);
  if (SCALE || PASSED == FROM_Y)
    load_table (table, PIRL_GPU_NORM_SCALE, t, p, c->scale);
  if (PASSED == FROM_Y)
    load_table (table, PIRL_GPU_NORM_SHIFT, t, p, c->shift);
}

/* d <- dz, y <- y - mean. */
template <int PASSED> static __device__ __forceinline__ void
mask_gradient (const Channels &c, Limits limits, unsigned bits, float y[PIRL_EIGHT],
    float d[PIRL_EIGHT])
{
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++) {
    if (PASSED == FROM_Y && !passes (limits, affine (y[i], c.mean[i], c.scale[i], c.shift[i])))
      d[i] = 0.0f;
    if (PASSED == FROM_MASK && !(bits >> i & 1))
      d[i] = 0.0f;
    y[i] -= c.mean[i];
  }
}

/* Loads of rows that are under way. */
template <typename T, int AHEAD> struct Rows {
  Raw<T> y[AHEAD], d[AHEAD];
  unsigned bits[AHEAD];
};

template <typename T, int PASSED, int AHEAD> static __device__ __forceinline__ void
load_rows (size_t at, int step, const T *y, const uint8_t *mask, const T *d, Rows<T, AHEAD> *rows)
{
#pragma unroll
  for (int a = 0; a < AHEAD; a++) {
    rows->y[a] = load_raw (y + at + a * step);
    rows->d[a] = load_raw (d + at + a * step);
    rows->bits[a] = PASSED == FROM_MASK ? mask[(at + a * step) / PIRL_EIGHT] : 0;
  }
}

template <typename T, int PASSED, int AHEAD> static __device__ __forceinline__ void
sum_rows (const Channels &c, Limits limits, size_t at, int step, const T *y, const uint8_t *mask,
    const T *d_out, float sum[PIRL_EIGHT], float product[PIRL_EIGHT])
{
  Rows<T, AHEAD> rows;

  load_rows<T, PASSED, AHEAD> (at, step, y, mask, d_out, &rows);
#pragma unroll
  for (int a = 0; a < AHEAD; a++) {
    float x[PIRL_EIGHT], d[PIRL_EIGHT];

    to_floats<T> (rows.y[a], x);
    to_floats<T> (rows.d[a], d);
    mask_gradient<PASSED> (c, limits, rows.bits[a], x, d);
#pragma unroll
    for (int i = 0; i < PIRL_EIGHT; i++) {
      sum[i] += d[i];
      product[i] = fmaf (d[i], x[i], product[i]);
    }
  }
}

template <typename T, int PASSED> __global__ void
__launch_bounds__ (PIRL_BLOCK, RESIDENT)
gradient_sums_kernel (Tiling t, Limits limits, const float *table, const T *y,
    const uint8_t *mask, const T *d_out, float *partial)
{
  enum { AHEAD = Ahead<T>::SUMS };
  __shared__ float shared[SUM_FLOATS];
  const Place p = place_new (t);
  float sum[PIRL_EIGHT], product[PIRL_EIGHT];
  unsigned n = p.n;
  size_t at = p.at;
  Channels c;

  load_channels<PASSED, false> (table, t, p, &c);
  clear8 (sum);
  clear8 (product);
  for (; n >= AHEAD; n -= AHEAD, at += AHEAD * p.step)
    sum_rows<T, PASSED, AHEAD> (c, limits, at, p.step, y, mask, d_out, sum, product);
  for (; n; n--, at += p.step)
    sum_rows<T, PASSED, 1> (c, limits, at, p.step, y, mask, d_out, sum, product);
  sum_lanes (t, p, sum, shared);
  sum_lanes (t, p, product, shared);
  store_partial (t, p, partial, sum, product);
}

static int
passed_by (const PirlGpuNorm *norm, const PirlGpuNormGradient *gradient)
{
  return norm->activation == PIRL_ACT_NONE ? ALL : gradient->mask ? FROM_MASK : FROM_Y;
}

template <typename T> static void
gradient_sums_launch (const PirlGpuNorm *norm, const PirlGpuNormGradient *gradient,
    gfloat *partial, cudaStream_t stream)
{
  const int passed = passed_by (norm, gradient);
  const auto kernel = passed == ALL ? gradient_sums_kernel<T, ALL>
      : passed == FROM_Y ? gradient_sums_kernel<T, FROM_Y> : gradient_sums_kernel<T, FROM_MASK>;
  const Tiling t = sum_tiling (norm);

  PIRL_LAUNCH (kernel, tiling_grid (&t), PIRL_BLOCK, 0, stream, t, limits_of (norm->activation),
      gradient->table, (const T *) gradient->y, gradient->mask, (const T *) gradient->d, partial);
}

extern "C" void
pirl_gpu_norm_gradient_sums (const PirlGpuNorm *norm, const PirlGpuNormGradient *gradient,
    gfloat *partial, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (norm->dtype, gradient_sums_launch, norm, gradient, partial, stream);
}

/* 8 channels a block, 32 threads a channel. */
__global__ void __launch_bounds__ (PIRL_BLOCK)
gradient_finish_kernel (Tiling t, const float *partial, const float *table, int channels,
    float *d_weight, float *d_shift, float *factors)
{
  __shared__ double shared[PIRL_BLOCK];
  const int channel = blockIdx.x * PIRL_EIGHT + threadIdx.x % PIRL_EIGHT;
  const unsigned lane = threadIdx.x / PIRL_EIGHT;
  const float *sums = partial + channel, *products = sums + (size_t) t.blocks * t.stored;
  double sum = 0.0, product = 0.0;

#pragma unroll 4
  for (unsigned b = lane; b < t.blocks; b += JOIN_LANES) {
    sum += sums[(size_t) b * t.stored];
    product += products[(size_t) b * t.stored];
  }
  sum = join_lanes (sum, shared);
  product = join_lanes (product, shared);
  if (lane != 0)
    return;

  const double scale = table[PIRL_GPU_NORM_SCALE * t.stored + channel];
  const double inverse_std = table[PIRL_GPU_NORM_INVERSE_STD * t.stored + channel];

  if (factors) {
    factors[channel] = (float) (-scale * inverse_std * inverse_std * product / t.rows);
    factors[t.stored + channel] = (float) (-scale * sum / t.rows);
  }
  if (channel < channels && d_weight)
    d_weight[channel] = (float) (d_weight[channel] + inverse_std * product);
  if (channel < channels && d_shift)
    d_shift[channel] = (float) (d_shift[channel] + sum);
}

extern "C" void
pirl_gpu_norm_gradient_finish (const PirlGpuNorm *norm, const gfloat *partial,
    const gfloat *table, gfloat *d_weight, gfloat *d_shift, gfloat *factors, cudaStream_t stream)
{
  PIRL_LAUNCH (gradient_finish_kernel, norm->stored / PIRL_EIGHT, PIRL_BLOCK, 0, stream,
      sum_tiling (norm), partial, table, norm->channels, d_weight, d_shift, factors);
}

enum { NO_RESIDUAL, WRITE_RESIDUAL, ADD_RESIDUAL };

/* Takes over (or adds) dz. */
template <typename T> static __device__ __forceinline__ void
deliver (int residual, T *place, const float dz[PIRL_EIGHT])
{
  float x[PIRL_EIGHT];

  clear8 (x);
  if (residual == ADD_RESIDUAL)
    load8 (place, x);
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    x[i] += dz[i];
  store8 (place, x);
}

template <typename T, int PASSED, int AHEAD> static __device__ __forceinline__ void
gradient_rows (const Channels &c, const float *factors, const float slope[PIRL_EIGHT],
    const float offset[PIRL_EIGHT], Limits limits, size_t at, int step, const T *y,
    const uint8_t *mask, T *d_out, int residual, T *d_residual)
{
  Rows<T, AHEAD> rows;

  load_rows<T, PASSED, AHEAD> (at, step, y, mask, d_out, &rows);
#pragma unroll
  for (int a = 0; a < AHEAD; a++) {
    float x[PIRL_EIGHT], d[PIRL_EIGHT];

    to_floats<T> (rows.y[a], x);
    to_floats<T> (rows.d[a], d);
    mask_gradient<PASSED> (c, limits, rows.bits[a], x, d);
    if (residual != NO_RESIDUAL)
      deliver (residual, d_residual + at + a * step, d);
#pragma unroll
    for (int i = 0; i < PIRL_EIGHT; i++)
      d[i] = fmaf (c.scale[i], d[i], factors ? fmaf (slope[i], x[i], offset[i]) : 0.0f);
    store8 (d_out + at + a * step, d);
  }
}

template <typename T, int PASSED> __global__ void
__launch_bounds__ (PIRL_BLOCK, RESIDENT)
gradient_apply_kernel (Tiling t, Limits limits, const float *table, const float *factors,
    const T *y, const uint8_t *mask, T *d_out, int residual, T *d_residual)
{
  enum { AHEAD = Ahead<T>::APPLY };
  const Place p = place_new (t);
  float slope[PIRL_EIGHT], offset[PIRL_EIGHT];
  unsigned n = p.n;
  size_t at = p.at;
  Channels c;

  load_channels<PASSED, true> (table, t, p, &c);
  clear8 (slope);
  clear8 (offset);
  if (factors) {
    load_table (factors, 0, t, p, slope);
    load_table (factors, 1, t, p, offset);
  }
  for (; n >= AHEAD; n -= AHEAD, at += AHEAD * p.step)
    gradient_rows<T, PASSED, AHEAD> (c, factors, slope, offset, limits, at, p.step, y, mask, d_out,
        residual, d_residual);
  for (; n; n--, at += p.step)
    gradient_rows<T, PASSED, 1> (c, factors, slope, offset, limits, at, p.step, y, mask, d_out,
        residual, d_residual);
}

template <typename T> static void
gradient_apply_launch (const PirlGpuNorm *norm, const PirlGpuNormGradient *gradient,
    const gfloat *factors, cudaStream_t stream)
{
  const int passed = passed_by (norm, gradient);
  const int residual = !gradient->d_residual ? NO_RESIDUAL
      : gradient->accumulate_residual ? ADD_RESIDUAL : WRITE_RESIDUAL;
  const auto kernel = passed == ALL ? gradient_apply_kernel<T, ALL>
      : passed == FROM_Y ? gradient_apply_kernel<T, FROM_Y> : gradient_apply_kernel<T, FROM_MASK>;
  const Tiling t = apply_tiling (norm);

  PIRL_LAUNCH (kernel, tiling_grid (&t), PIRL_BLOCK, 0, stream, t, limits_of (norm->activation),
      gradient->table, factors, (const T *) gradient->y, gradient->mask, (T *) gradient->d,
      residual, (T *) gradient->d_residual);
}

extern "C" void
pirl_gpu_norm_gradient_apply (const PirlGpuNorm *norm, const PirlGpuNormGradient *gradient,
    const gfloat *factors, cudaStream_t stream)
{
  PIRL_FOR_DTYPE (norm->dtype, gradient_apply_launch, norm, gradient, factors, stream);
}
