/* gst-pirl: SGD, Adam, LARS, averages of weights and the scale of the loss on the GPU.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Formulas: sgd, adam, lars and average in backend.h, PirlLossScale there too. Gradients are those of the scaled
 * loss. Each pass reads and writes every number once, 16 bytes at a time; an optimiser's first read
 * is whether this step's gradients were finite, and without that it is done.
 */
#include "backends/cuda/device.cuh"
#include "backends/cuda/learning.h"

#define BLOCK 256
#define MOST_BLOCKS 2048

#define CLEAN_STEPS 2000
#define LARGEST_SCALE 16777216.f        /* 2^24 */
#define SMALLEST_SCALE (1.f / LARGEST_SCALE)    /* so that its inverse stays finite */

/* --- scale ------------------------------------------------------------------------------------ */

static __global__ void
scale_begin (PirlCudaScale *scale)
{
  scale->finite = 1;
}

static __global__ void
scale_end (PirlCudaScale *scale)
{
  if (!scale->scaling)
    return;
  scale->clean++;
  if (!scale->finite) {
    scale->scale = fmaxf (scale->scale / 2.f, SMALLEST_SCALE);
    scale->clean = 0;
  } else if (scale->clean >= CLEAN_STEPS) {
    scale->scale = fminf (scale->scale * 2.f, LARGEST_SCALE);
    scale->clean = 0;
  }
  scale->inverse = 1.f / scale->scale;
}

void
pirl_gpu_scale_begin (PirlCudaScale *scale, cudaStream_t stream)
{
  PIRL_LAUNCH (scale_begin, 1, 1, 0, stream, scale);
}

void
pirl_gpu_scale_end (PirlCudaScale *scale, cudaStream_t stream)
{
  PIRL_LAUNCH (scale_end, 1, 1, 0, stream, scale);
}

/* --- passes over many numbers ----------------------------------------------------------------- */

/* @head numbers, @quads times four from an address that 16 divides, and the rest of @n. */
typedef struct {
  size_t n, head, quads;
} Span;

/* Arrays that do not lie alike have no quads. */
static Span
span_of (size_t n, const void *a, const void *b, const void *c, const void *d)
{
  const size_t at = (uintptr_t) a % sizeof (float4);
  const size_t head = (sizeof (float4) - at) % sizeof (float4) / sizeof (float);
  const bool alike = (uintptr_t) b % sizeof (float4) == at
      && (uintptr_t) c % sizeof (float4) == at && (uintptr_t) d % sizeof (float4) == at;

  if (!alike || head > n)
    return { n, n, 0 };
  return { n, head, (n - head) / 4 };
}

static unsigned
blocks_for (const Span &span)
{
  const size_t work = MAX (span.quads, span.n - 4 * span.quads);

  return (unsigned) CLAMP ((work + BLOCK - 1) / BLOCK, 1, MOST_BLOCKS);
}

static __device__ __forceinline__ size_t
first_of_thread (void)
{
  return (size_t) blockIdx.x * BLOCK + threadIdx.x;
}

static __device__ __forceinline__ size_t
threads_of_grid (void)
{
  return (size_t) gridDim.x * BLOCK;
}

/* Where the single number @i of those outside of the quads is. */
static __device__ __forceinline__ size_t
single (const Span &span, size_t i)
{
  return i < span.head ? i : i + 4 * span.quads;
}

static __global__ void __launch_bounds__ (BLOCK)
check_finite (const Span span, const float *__restrict__ gradients, PirlCudaScale *scale)
{
  const float4 *quad = (const float4 *) (gradients + span.head);
  /* 0 x is 0, or no number where x is none or infinite. */
  float sum = 0.f;

#pragma unroll 4
  for (size_t i = first_of_thread (); i < span.quads; i += threads_of_grid ()) {
    const float4 x = quad[i];

    sum += 0.f * x.x + 0.f * x.y + 0.f * x.z + 0.f * x.w;
  }
  for (size_t i = first_of_thread (); i < span.n - 4 * span.quads; i += threads_of_grid ())
    sum += 0.f * gradients[single (span, i)];
  if (sum != 0.f)
    scale->finite = 0;
}

void
pirl_gpu_check (gsize n, const gfloat *gradients, PirlCudaScale *scale, cudaStream_t stream)
{
  const Span span = span_of (n, gradients, gradients, gradients, gradients);

  PIRL_LAUNCH (check_finite, blocks_for (span), BLOCK, 0, stream, span, gradients, scale);
}

/* --- SGD -------------------------------------------------------------------------------------- */

static __device__ __forceinline__ void
sgd_one (const PirlGpuSgd &t, float inverse, float *w, float gradient, float *v)
{
  const float g = gradient * inverse + t.weight_decay * *w;

  *v = t.momentum * *v + g;
  *w -= t.lr * (t.nesterov ? g + t.momentum * *v : *v);
}

static __global__ void __launch_bounds__ (BLOCK)
sgd (const Span span, float *__restrict__ weights, const float *__restrict__ gradients,
    float *__restrict__ velocity, const PirlGpuSgd *values, const PirlCudaScale *scale)
{
  const PirlGpuSgd t = *values;
  const float inverse = scale->inverse;
  float4 *weight4 = (float4 *) (weights + span.head);
  float4 *velocity4 = (float4 *) (velocity + span.head);
  const float4 *gradient4 = (const float4 *) (gradients + span.head);

  if (!scale->finite)
    return;
  for (size_t i = first_of_thread (); i < span.quads; i += threads_of_grid ()) {
    const float4 g = gradient4[i];
    float4 w = weight4[i], v = velocity4[i];

    sgd_one (t, inverse, &w.x, g.x, &v.x);
    sgd_one (t, inverse, &w.y, g.y, &v.y);
    sgd_one (t, inverse, &w.z, g.z, &v.z);
    sgd_one (t, inverse, &w.w, g.w, &v.w);
    weight4[i] = w;
    velocity4[i] = v;
  }
  for (size_t i = first_of_thread (); i < span.n - 4 * span.quads; i += threads_of_grid ()) {
    const size_t at = single (span, i);

    sgd_one (t, inverse, &weights[at], gradients[at], &velocity[at]);
  }
}

void
pirl_gpu_sgd (gsize n, gfloat *weights, const gfloat *gradients, gfloat *velocity,
    const PirlGpuSgd *values, const PirlCudaScale *scale, cudaStream_t stream)
{
  const Span span = span_of (n, weights, gradients, velocity, velocity);

  PIRL_LAUNCH (sgd, blocks_for (span), BLOCK, 0, stream, span, weights, gradients, velocity,
      values, scale);
}

/* --- Adam ------------------------------------------------------------------------------------- */

static __device__ __forceinline__ void
adam_one (const PirlGpuAdam &t, float inverse, float *w, float gradient, float *m, float *v)
{
  const float g = gradient * inverse + t.weight_decay * *w;

  *m = t.beta1 * *m + t.rest1 * g;
  *v = t.beta2 * *v + t.rest2 * g * g;
  *w -= t.rate * *m / (sqrtf (*v) * t.root + t.epsilon);
}

static __global__ void __launch_bounds__ (BLOCK)
adam (const Span span, float *__restrict__ weights, const float *__restrict__ gradients,
    float *__restrict__ first, float *__restrict__ second, const PirlGpuAdam *values,
    const PirlCudaScale *scale)
{
  const PirlGpuAdam t = *values;
  const float inverse = scale->inverse;
  float4 *weight4 = (float4 *) (weights + span.head);
  float4 *first4 = (float4 *) (first + span.head), *second4 = (float4 *) (second + span.head);
  const float4 *gradient4 = (const float4 *) (gradients + span.head);

  if (!scale->finite)
    return;
  for (size_t i = first_of_thread (); i < span.quads; i += threads_of_grid ()) {
    const float4 g = gradient4[i];
    float4 w = weight4[i], m = first4[i], v = second4[i];

    adam_one (t, inverse, &w.x, g.x, &m.x, &v.x);
    adam_one (t, inverse, &w.y, g.y, &m.y, &v.y);
    adam_one (t, inverse, &w.z, g.z, &m.z, &v.z);
    adam_one (t, inverse, &w.w, g.w, &m.w, &v.w);
    weight4[i] = w;
    first4[i] = m;
    second4[i] = v;
  }
  for (size_t i = first_of_thread (); i < span.n - 4 * span.quads; i += threads_of_grid ()) {
    const size_t at = single (span, i);

    adam_one (t, inverse, &weights[at], gradients[at], &first[at], &second[at]);
  }
}

void
pirl_gpu_adam (gsize n, gfloat *weights, const gfloat *gradients, gfloat *first, gfloat *second,
    const PirlGpuAdam *values, const PirlCudaScale *scale, cudaStream_t stream)
{
  const Span span = span_of (n, weights, gradients, first, second);

  PIRL_LAUNCH (adam, blocks_for (span), BLOCK, 0, stream, span, weights, gradients, first, second,
      values, scale);
}

/* --- LARS ------------------------------------------------------------------------------------- */

/* Over a block; every thread gets it and must call. */
static __device__ double
block_sum (double x, double *shared)
{
  shared[threadIdx.x] = x;
  __syncthreads ();
  for (unsigned half = BLOCK / 2; half > 0; half /= 2) {
    if (threadIdx.x < half)
      shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads ();
  }
  x = shared[0];
  __syncthreads ();
  return x;
}

/* The numbers [begin, end) of the arena that a block has: piece blockIdx.x of tensor blockIdx.y. */
typedef struct {
  guint64 begin, end;
} Piece;

static __device__ __forceinline__ Piece
piece_of_block (const PirlSegment *segment)
{
  const PirlSegment own = segment[blockIdx.y];
  const guint64 size = (own.n + PIRL_CUDA_LARS_PIECES - 1) / PIRL_CUDA_LARS_PIECES;
  const guint64 from = blockIdx.x * size < own.n ? blockIdx.x * size : own.n;
  const guint64 to = from + size < own.n ? from + size : own.n;

  return { own.first + from, own.first + to };
}

/* square[tensor][piece]: sums of w^2 and g^2, of the scaled loss's gradients. */
static __global__ void __launch_bounds__ (BLOCK)
lars_squares (const PirlSegment *segment, const float *__restrict__ weights,
    const float *__restrict__ gradients, double *square)
{
  __shared__ double shared[BLOCK];
  const Piece piece = piece_of_block (segment);
  double w = 0, g = 0;

#pragma unroll 4
  for (guint64 i = piece.begin + threadIdx.x; i < piece.end; i += BLOCK) {
    w += (double) weights[i] * weights[i];
    g += (double) gradients[i] * gradients[i];
  }
  w = block_sum (w, shared);
  g = block_sum (g, shared);
  if (threadIdx.x == 0) {
    square[2 * (blockIdx.y * PIRL_CUDA_LARS_PIECES + blockIdx.x)] = w;
    square[2 * (blockIdx.y * PIRL_CUDA_LARS_PIECES + blockIdx.x) + 1] = g;
  }
}

/* lr * local of the tensor blockIdx.y. */
static __device__ double
lars_rate (const PirlGpuLars &t, const double *square, double inverse)
{
  double w = 0, g = 0;

  for (unsigned i = 0; i < PIRL_CUDA_LARS_PIECES; i++) {
    w += square[2 * (blockIdx.y * PIRL_CUDA_LARS_PIECES + i)];
    g += square[2 * (blockIdx.y * PIRL_CUDA_LARS_PIECES + i) + 1];
  }
  w = sqrt (w);
  g = sqrt (g) * inverse;
  return t.lr * (w == 0 ? 1 : t.trust * w / (g + t.weight_decay * w + t.epsilon));
}

static __global__ void __launch_bounds__ (BLOCK)
lars (const PirlSegment *segment, float *__restrict__ weights, const float *__restrict__ gradients,
    float *__restrict__ velocity, const PirlGpuLars *values, const double *square,
    const PirlCudaScale *scale)
{
  __shared__ float shared_rate;
  const PirlGpuLars t = *values;
  const float inverse = scale->inverse, weight_decay = (float) t.weight_decay;
  const Piece piece = piece_of_block (segment);
  float rate;

  if (!scale->finite)
    return;
  if (threadIdx.x == 0)
    shared_rate = (float) lars_rate (t, square, inverse);
  __syncthreads ();
  rate = shared_rate;
  for (guint64 i = piece.begin + threadIdx.x; i < piece.end; i += BLOCK) {
    const float w = weights[i];
    const float v = t.momentum * velocity[i] + rate * (gradients[i] * inverse + weight_decay * w);

    velocity[i] = v;
    weights[i] = w - v;
  }
}

void
pirl_gpu_lars (guint n_segments, const PirlSegment *segment, gfloat *weights,
    const gfloat *gradients, gfloat *velocity, const PirlGpuLars *values, gdouble *square,
    const PirlCudaScale *scale, cudaStream_t stream)
{
  const dim3 grid (PIRL_CUDA_LARS_PIECES, n_segments);

  PIRL_LAUNCH (lars_squares, grid, BLOCK, 0, stream, segment, weights, gradients, square);
  PIRL_LAUNCH (lars, grid, BLOCK, 0, stream, segment, weights, gradients, velocity, values, square,
      scale);
}

/* --- averages --------------------------------------------------------------------------------- */

static __device__ __forceinline__ void
average_one (const PirlGpuAverage &t, float *a, float b)
{
  *a = t.keep == 0.f ? b : t.keep * *a + t.take * b;
}

static __global__ void __launch_bounds__ (BLOCK)
average (const Span span, float *__restrict__ dst, const float *__restrict__ src,
    const PirlGpuAverage *values, const PirlCudaScale *scale)
{
  const PirlGpuAverage t = *values;
  float4 *dst4 = (float4 *) (dst + span.head);
  const float4 *src4 = (const float4 *) (src + span.head);

  if (!scale->finite)
    return;
  for (size_t i = first_of_thread (); i < span.quads; i += threads_of_grid ()) {
    const float4 b = src4[i];
    float4 a = dst4[i];

    average_one (t, &a.x, b.x);
    average_one (t, &a.y, b.y);
    average_one (t, &a.z, b.z);
    average_one (t, &a.w, b.w);
    dst4[i] = a;
  }
  for (size_t i = first_of_thread (); i < span.n - 4 * span.quads; i += threads_of_grid ()) {
    const size_t at = single (span, i);

    average_one (t, &dst[at], src[at]);
  }
}

void
pirl_gpu_average (gsize n, gfloat *dst, const gfloat *src, const PirlGpuAverage *values,
    const PirlCudaScale *scale, cudaStream_t stream)
{
  const Span span = span_of (n, dst, src, src, src);

  PIRL_LAUNCH (average, blocks_for (span), BLOCK, 0, stream, span, dst, src, values, scale);
}
