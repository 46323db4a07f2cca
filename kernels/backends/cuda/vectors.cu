/* gst-pirl: kernels of LINEAR, BATCHNORM and L2NORM: what matrices of floats need beside products.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Batch norm, with x^ = (x - mean) / sqrt (var + eps), means over the column:
 *   forward   y = act (gamma x^ + beta)
 *   backward  dx = gamma / sqrt (var + eps) (d - mean (d) - x^ mean (d x^)), d masked by act
 * Mean and variance in two passes: the mean, then the deviations from it, whose own mean is what
 * rounding left of the first (var = mean (d^2) - mean (d)^2). One pass over squares would lose the
 * variance of columns with a large mean.
 *
 * Sums over columns: a block owns 8 columns (32 bytes of a row, the least that memory moves) and
 * all their rows, so a launch does all passes, and in a fixed order. Matrices are at most some ten
 * MB: what is read again comes from the cache.
 */
#include "backends/cuda/device.cuh"
#include "backends/cuda/vectors.h"

#define BLOCK 256

/* --- activations --- */

/* NaN stays NaN. */
static __device__ __forceinline__ float
activate (float x, PirlActivation act)
{
  if (act == PIRL_ACT_NONE)
    return x;
  if (x < 0.0f)
    return 0.0f;
  return act == PIRL_ACT_RELU6 && x > 6.0f ? 6.0f : x;
}

/* The gradient in front of an activation whose result was @y. */
static __device__ __forceinline__ float
masked (float d, float y, PirlActivation act)
{
  const bool clipped = act != PIRL_ACT_NONE
      && (y <= 0.0f || (act == PIRL_ACT_RELU6 && y >= 6.0f));

  return clipped ? 0.0f : d;
}

static __global__ void __launch_bounds__ (BLOCK)
activate_kernel (float *x, size_t count, PirlActivation act)
{
  const size_t i = blockIdx.x * (size_t) BLOCK + threadIdx.x;

  if (i < count)
    x[i] = activate (x[i], act);
}

static unsigned
blocks_for (size_t threads)
{
  return (unsigned) ((threads + BLOCK - 1) / BLOCK);
}

extern "C" void
pirl_gpu_rows_activate (gfloat *x, gint n, gint c, PirlActivation act, cudaStream_t stream)
{
  const size_t count = (size_t) n * c;

  PIRL_LAUNCH (activate_kernel, blocks_for (count), BLOCK, 0, stream, x, count, act);
}

/* --- sums over columns --- */

#define COLUMNS 8
#define COLUMN_BLOCK 512
#define COLUMN_ROWS (COLUMN_BLOCK / COLUMNS)
#define COLUMN_WARPS (COLUMN_BLOCK / PIRL_WARP)

typedef float Partial[COLUMN_WARPS][COLUMNS];

/* The sum of @x over the threads of a column; every thread gets its column's. All must call. */
static __device__ float
column_sum (float x, Partial &partial)
{
  const int warp = threadIdx.x / PIRL_WARP, lane = threadIdx.x % PIRL_WARP;
  float sum = 0.0f;

#pragma unroll
  for (int step = COLUMNS; step < PIRL_WARP; step *= 2)
    x += __shfl_xor_sync (0xffffffffu, x, step);
  __syncthreads ();             /* the partial sums of the last call have been read */
  if (lane < COLUMNS)
    partial[warp][lane] = x;
  __syncthreads ();
#pragma unroll
  for (int w = 0; w < COLUMN_WARPS; w++)
    sum += partial[w][threadIdx.x % COLUMNS];
  return sum;
}

/* The column of a thread and its first row; the others are COLUMN_ROWS apart. */
struct Column {
  int number, row;
  bool exists;
};

static __device__ __forceinline__ Column
my_column (int c)
{
  const int number = (int) (blockIdx.x * COLUMNS + threadIdx.x % COLUMNS);

  return Column { number, (int) (threadIdx.x / COLUMNS), number < c };
}

static unsigned
column_blocks (gint c)
{
  return (unsigned) (c + COLUMNS - 1) / COLUMNS;
}

static __global__ void __launch_bounds__ (COLUMN_BLOCK)
rows_backward_kernel (float *d, const float *out, int n, int c, PirlActivation act, float *sums)
{
  __shared__ Partial partial;
  const Column column = my_column (c);
  float sum = 0.0f;

  for (int row = column.row; column.exists && row < n; row += COLUMN_ROWS) {
    const size_t i = (size_t) row * c + column.number;
    const float gradient = masked (d[i], out[i], act);

    d[i] = gradient;
    sum += gradient;
  }
  sum = column_sum (sum, partial);
  if (sums && column.exists && column.row == 0)
    sums[column.number] += sum;
}

extern "C" void
pirl_gpu_rows_backward (gfloat *d, const gfloat *out, gint n, gint c, PirlActivation act,
    gfloat *sums, cudaStream_t stream)
{
  PIRL_LAUNCH (rows_backward_kernel, column_blocks (c), COLUMN_BLOCK, 0, stream, d, out, n, c, act,
      sums);
}

/* --- batch norm --- */

/* By the first thread of a column. */
static __device__ void
keep_statistics (const PirlGpuRowsNorm &norm, int column, float mean, float rest, float var,
    float inverse)
{
  norm.mean[column] = mean;
  norm.rest[column] = rest;
  norm.inverse[column] = inverse;
  if (norm.running_mean) {
    const float momentum = (float) PIRL_BN_MOMENTUM;
    const float unbiased = var * ((float) norm.n / (norm.n - 1));

    norm.running_mean[column] += momentum * (mean - norm.running_mean[column] + rest);
    norm.running_var[column] += momentum * (unbiased - norm.running_var[column]);
  }
}

static __global__ void __launch_bounds__ (COLUMN_BLOCK)
rows_norm_kernel (PirlGpuRowsNorm norm)
{
  __shared__ Partial partial;
  const Column column = my_column (norm.c);
  const float *x = norm.x + column.number;
  float sum = 0.0f, deviations = 0.0f, squares = 0.0f;

  for (int row = column.row; column.exists && row < norm.n; row += COLUMN_ROWS)
    sum += x[(size_t) row * norm.c];

  const float mean = column_sum (sum, partial) / norm.n;

  for (int row = column.row; column.exists && row < norm.n; row += COLUMN_ROWS) {
    const float deviation = x[(size_t) row * norm.c] - mean;

    deviations += deviation;
    squares += deviation * deviation;
  }
  squares = column_sum (squares, partial) / norm.n;

  const float rest = column_sum (deviations, partial) / norm.n;
  const float rounded = squares - rest * rest;
  const float var = rounded < 0.0f ? 0.0f : rounded;    /* a NaN stays one */
  const float inverse = 1.0f / sqrtf (var + (float) PIRL_BN_EPSILON);

  if (!column.exists)
    return;
  if (column.row == 0)
    keep_statistics (norm, column.number, mean, rest, var, inverse);

  const float scale = norm.gamma[column.number] * inverse, shift = norm.beta[column.number];
  float *out = norm.out + column.number;

  for (int row = column.row; row < norm.n; row += COLUMN_ROWS)
    out[(size_t) row * norm.c]
        = activate ((x[(size_t) row * norm.c] - mean - rest) * scale + shift, norm.act);
}

extern "C" void
pirl_gpu_rows_norm (const PirlGpuRowsNorm *norm, cudaStream_t stream)
{
  PIRL_LAUNCH (rows_norm_kernel, column_blocks (norm->c), COLUMN_BLOCK, 0, stream, *norm);
}

static __global__ void __launch_bounds__ (COLUMN_BLOCK)
rows_norm_backward_kernel (PirlGpuRowsNorm norm)
{
  __shared__ Partial partial;
  const Column column = my_column (norm.c);
  const float mean = column.exists ? norm.mean[column.number] : 0.0f;
  const float rest = column.exists ? norm.rest[column.number] : 0.0f;
  const float inverse = column.exists ? norm.inverse[column.number] : 0.0f;
  float sum = 0.0f, product = 0.0f;

  for (int row = column.row; column.exists && row < norm.n; row += COLUMN_ROWS) {
    const size_t i = (size_t) row * norm.c + column.number;
    const float d = masked (norm.d_out[i], norm.out[i], norm.act);

    sum += d;
    product += d * ((norm.x[i] - mean - rest) * inverse);
  }
  sum = column_sum (sum, partial);
  product = column_sum (product, partial);
  if (!column.exists)
    return;
  if (column.row == 0 && norm.d_gamma)
    norm.d_gamma[column.number] += product;
  if (column.row == 0 && norm.d_beta)
    norm.d_beta[column.number] += sum;

  const float scale = norm.gamma[column.number] * inverse;

  sum /= norm.n;
  product /= norm.n;
  for (int row = column.row; norm.d_x && row < norm.n; row += COLUMN_ROWS) {
    const size_t i = (size_t) row * norm.c + column.number;
    const float d = masked (norm.d_out[i], norm.out[i], norm.act);
    const float gradient = scale * (d - sum - (norm.x[i] - mean - rest) * inverse * product);

    norm.d_x[i] = norm.accumulate ? norm.d_x[i] + gradient : gradient;
  }
}

extern "C" void
pirl_gpu_rows_norm_backward (const PirlGpuRowsNorm *norm, cudaStream_t stream)
{
  PIRL_LAUNCH (rows_norm_backward_kernel, column_blocks (norm->c), COLUMN_BLOCK, 0, stream, *norm);
}

static __global__ void __launch_bounds__ (BLOCK)
fold_kernel (int c, const float *gamma, const float *beta, const float *mean, const float *var,
    float *scale, float *shift)
{
  const int i = (int) (blockIdx.x * BLOCK + threadIdx.x);

  if (i >= c)
    return;
  scale[i] = gamma[i] / sqrtf (var[i] + (float) PIRL_BN_EPSILON);
  shift[i] = beta[i] - mean[i] * scale[i];
}

extern "C" void
pirl_gpu_rows_norm_fold (gint c, const gfloat *gamma, const gfloat *beta, const gfloat *mean,
    const gfloat *var, gfloat *scale, gfloat *shift, cudaStream_t stream)
{
  PIRL_LAUNCH (fold_kernel, blocks_for (c), BLOCK, 0, stream, c, gamma, beta, mean, var, scale,
      shift);
}

static __global__ void __launch_bounds__ (BLOCK)
folded_kernel (const float *x, size_t count, int c, const float *scale, const float *shift,
    PirlActivation act, float *out)
{
  const size_t i = blockIdx.x * (size_t) BLOCK + threadIdx.x;
  const int column = (int) (i % c);

  if (i < count)
    out[i] = activate (x[i] * scale[column] + shift[column], act);
}

extern "C" void
pirl_gpu_rows_norm_folded (const gfloat *x, gint n, gint c, const gfloat *scale,
    const gfloat *shift, PirlActivation act, gfloat *out, cudaStream_t stream)
{
  const size_t count = (size_t) n * c;

  PIRL_LAUNCH (folded_kernel, blocks_for (count), BLOCK, 0, stream, x, count, c, scale, shift, act,
      out);
}

/* --- unit length: a warp works on a row --- */

#define NORM_FLOOR 1e-12f
#define ROWS_PER_BLOCK (BLOCK / PIRL_WARP)

static unsigned
row_blocks (gint n)
{
  return (unsigned) (n + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK;
}

static __global__ void __launch_bounds__ (BLOCK)
unit_kernel (const float *__restrict__ x, int n, int c, float *__restrict__ out)
{
  const int row = (int) (blockIdx.x * ROWS_PER_BLOCK + threadIdx.x / PIRL_WARP);
  const int lane = threadIdx.x % PIRL_WARP;
  float squares = 0.0f;

  if (row >= n)                 /* the whole warp */
    return;
  x += (size_t) row * c;
  out += (size_t) row * c;
  for (int i = lane; i < c; i += PIRL_WARP)
    squares += x[i] * x[i];

  const float norm = fmaxf (sqrtf (warp_sum (squares)), NORM_FLOOR);

  for (int i = lane; i < c; i += PIRL_WARP)
    out[i] = x[i] / norm;
}

extern "C" void
pirl_gpu_rows_unit (const gfloat *x, gint n, gint c, gfloat *out, cudaStream_t stream)
{
  PIRL_LAUNCH (unit_kernel, row_blocks (n), BLOCK, 0, stream, x, n, c, out);
}

static __global__ void __launch_bounds__ (BLOCK)
unit_backward_kernel (const float *__restrict__ x, const float *__restrict__ d, int n, int c,
    int accumulate, float *__restrict__ d_x)
{
  const int row = (int) (blockIdx.x * ROWS_PER_BLOCK + threadIdx.x / PIRL_WARP);
  const int lane = threadIdx.x % PIRL_WARP;
  float squares = 0.0f, product = 0.0f;

  if (row >= n)
    return;
  x += (size_t) row * c;
  d += (size_t) row * c;
  d_x += (size_t) row * c;
  for (int i = lane; i < c; i += PIRL_WARP)
    squares += x[i] * x[i];

  const float length = sqrtf (warp_sum (squares)), norm = fmaxf (length, NORM_FLOOR);

  /* By y, not by x: |x|^2 would leave the range of floats where |x| does not. */
  for (int i = lane; i < c; i += PIRL_WARP)
    product += x[i] / norm * d[i];
  product = length > NORM_FLOOR ? warp_sum (product) : 0.0f;
  for (int i = lane; i < c; i += PIRL_WARP) {
    const float gradient = (d[i] - x[i] / norm * product) / norm;

    d_x[i] = accumulate ? d_x[i] + gradient : gradient;
  }
}

extern "C" void
pirl_gpu_rows_unit_backward (const gfloat *x, const gfloat *d, gint n, gint c,
    gboolean accumulate, gfloat *d_x, cudaStream_t stream)
{
  PIRL_LAUNCH (unit_backward_kernel, row_blocks (n), BLOCK, 0, stream, x, d, n, c, accumulate,
      d_x);
}
