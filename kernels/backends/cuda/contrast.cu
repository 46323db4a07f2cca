/* gst-pirl: draws, contrastive losses, memory bank and cross-entropy on the GPU.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Contrast (formulas: PirlContrastDesc, backends/cpu/contrast.c). Bank and embeddings are rows of
 * unit length, so that s <= 1 and
 *   e = exp ((s - 1) / tau) 2^86 <= 2^86
 * cannot overflow, in a sum of 2^31 of them neither: the bound does what a running maximum would.
 * The power of two lets e reach down to (s - 1) / tau = -147, not -87, before it is 0: any s at a
 * temperature of 0.014 or more. With P = k e, k = exp (1 / tau) / (Z 2^86), c = K / rows:
 *   weight of a row m: InfoNCE e, NCE P / (P + c + eps); NCE loss: sum of log (1 + (P + eps) / c)
 * (a near negative's weight multiplies InfoNCE's e, and NCE's weight of the row and its logarithm)
 * so that one pass over the chosen rows leaves a sum of e, a loss and a sum of weight * m, which
 * contrast_finish joins with the positive in double precision.
 *
 * The pass reads batch * K * dim * 4 bytes, and nothing else counts: with 256 samples, 32,000
 * negatives and 128 numbers a row 4.2 GB, 0.87 ms at an H200's 4.8 TB/s; with a bank of F16 half of
 * both. That rate times a latency of about 0.8 us wants 29 KB under way on each of its 132
 * multiprocessors. In contrast_rows a warp asks for 4 KB (8 rows, 16 of F16) before it uses the
 * first, and 80 registers a thread let 24 warps onto a multiprocessor: up to 96 KB. It issues some
 * 41 instructions a row of 512 bytes, 10 cycles; at 4.8 TB/s a multiprocessor gets one in 25. Of
 * F16 it is some 25 a row of 256 bytes, 6 cycles, and one in 12: numbers are unpacked twice, for
 * the score and for the sum, as all arithmetic is in float.
 *
 * Draws: Philox4x32-10 (base/rng.c), a block of threads a sample. Words that Lemire's rejection
 * skips close up in the order of the stream, by a prefix sum over each chunk.
 *
 * Everything is summed in an order that depends on the shape only: the same bits every time.
 */
#include "backends/cuda/device.cuh"
#include "backends/cuda/learning.h"

#define BLOCK 256
#define WARPS (BLOCK / PIRL_WARP)
#define ALL_LANES 0xffffffffu

/* Whether a later sample has the same row is looked up in steps of a warp, by every warp. */
static __device__ __forceinline__ unsigned
same_row (const guint32 *row, unsigned from, unsigned end, guint32 wanted)
{
  const unsigned i = from + threadIdx.x % PIRL_WARP;

  return __ballot_sync (ALL_LANES, i < end && row[i] == wanted);
}

/* Over a block of a power of two threads; every thread gets it and must call. */
static __device__ double
block_sum (double x, double *shared)
{
  shared[threadIdx.x] = x;
  __syncthreads ();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half)
      shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads ();
  }
  x = shared[0];
  __syncthreads ();
  return x;
}

/* result[0 .. width): sums of the columns of x [n][width]; result[width]: the sum of y [m]. */
static __global__ void __launch_bounds__ (BLOCK)
sum_columns (const double *x, unsigned n, unsigned width, const double *y, unsigned m,
    double *result)
{
  __shared__ double shared[BLOCK];

  for (unsigned column = 0; column < width + (y != NULL); column++) {
    double sum = 0;

    if (column < width)
      for (unsigned i = threadIdx.x; i < n; i += BLOCK)
        sum += x[(size_t) i * width + column];
    else
      for (unsigned i = threadIdx.x; i < m; i += BLOCK)
        sum += y[i];
    sum = block_sum (sum, shared);
    if (threadIdx.x == 0)
      result[column] = sum;
  }
}

/* --- draws ----------------------------------------------------------------------------------- */

#define PHILOX_ROUNDS 10
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u
#define PHILOX_WORDS 4

/* Block number @number of the stream of sample @index (below 2^32). */
static __device__ __forceinline__ void
philox_block (const PirlGpuDraw *draw, guint32 number, guint32 index, guint32 word[PHILOX_WORDS])
{
  guint32 c0 = number, c1 = draw->epoch, c2 = index, c3 = draw->purpose << 24;
  guint32 k0 = draw->key[0], k1 = draw->key[1];

#pragma unroll
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
    const guint32 high0 = __umulhi (PHILOX_M0, c0), low0 = PHILOX_M0 * c0;
    const guint32 high1 = __umulhi (PHILOX_M1, c2), low1 = PHILOX_M1 * c2;

    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
  }
  word[0] = c0;
  word[1] = c1;
  word[2] = c2;
  word[3] = c3;
}

/* How many words the warp's lower lanes kept; @total: all of its lanes. */
static __device__ __forceinline__ unsigned
kept_before (unsigned kept, unsigned *total)
{
  const unsigned lane = threadIdx.x % PIRL_WARP;
  unsigned sum = kept;

  /* The usual case: no word was skipped. */
  if (__ballot_sync (ALL_LANES, kept == PHILOX_WORDS) == ALL_LANES) {
    *total = PIRL_WARP * PHILOX_WORDS;
    return lane * PHILOX_WORDS;
  }
  for (unsigned step = 1; step < PIRL_WARP; step *= 2) {
    const unsigned lower = __shfl_up_sync (ALL_LANES, sum, step);

    sum += lane >= step ? lower : 0;
  }
  *total = __shfl_sync (ALL_LANES, sum, PIRL_WARP - 1);
  return sum - kept;
}

/* One sample a block, BLOCK * PHILOX_WORDS words of its stream at a time. */
static __global__ void __launch_bounds__ (BLOCK)
draw_rows (const PirlGpuDraw *values, guint64 negatives, const guint32 *positive,
    guint32 *negative)
{
  __shared__ guint32 chunk[BLOCK * PHILOX_WORDS];
  __shared__ unsigned warp_kept[WARPS];
  const PirlGpuDraw draw = *values;
  const guint32 own = positive[blockIdx.x];
  const unsigned warp = threadIdx.x / PIRL_WARP;
  guint32 *row = negative + blockIdx.x * negatives;
  guint32 number = threadIdx.x;

  for (guint64 have = 0; have < negatives; number += BLOCK) {
    guint32 word[PHILOX_WORDS];
    unsigned kept = 0, total, at, all = 0;

    philox_block (&draw, number, own, word);
    for (int i = 0; i < PHILOX_WORDS; i++)
      kept += word[i] * draw.below >= draw.surplus;
    at = kept_before (kept, &total);
    if (threadIdx.x % PIRL_WARP == 0)
      warp_kept[warp] = total;
    __syncthreads ();
    for (unsigned w = 0; w < WARPS; w++) {
      at += w < warp ? warp_kept[w] : 0;
      all += warp_kept[w];
    }
    for (int i = 0; i < PHILOX_WORDS; i++)
      if (word[i] * draw.below >= draw.surplus)
        chunk[at++] = __umulhi (word[i], draw.below);
    __syncthreads ();
    for (unsigned i = threadIdx.x; i < all && have + i < negatives; i += BLOCK)
      row[have + i] = chunk[i] + (draw.exclude && chunk[i] >= own);
    have += all;
  }
}

/* --- contrast: one pass over the negatives ---------------------------------------------------- */

/* What e is multiplied by, and its square root. */
#define ROOT_GAIN ((float) (1ull << (PIRL_CUDA_GAIN_BITS / 2)))
#define GAIN ((double) ROOT_GAIN * ROOT_GAIN)

/* Numbers that a thread needs for every score. */
typedef struct {
  float inverse_tau, inverse_tau_rest, k, c_eps, inverse_c, near, near_weight;
  bool nce;
} Weighing;

static __device__ __forceinline__ Weighing
weighing (const PirlGpuContrast &t)
{
  const PirlGpuContrastValues *v = t.values;

  return { v->inverse_tau, v->inverse_tau_rest, v->k, v->c_eps, v->inverse_c,
    v->near, v->near_weight, t.loss == PIRL_LOSS_NCE };
}

/* What is summed of negatives. */
typedef struct {
  float exp_sum, loss, near;
} Sums;

/* The weight of a row with the score @s; adds to @sums. NEAR: it may be near. */
template <bool NEAR> static __device__ __forceinline__ float
weigh (const Weighing &t, float s, Sums *sums)
{
  const bool near = NEAR && s > t.near;
  const float factor = near ? t.near_weight : 1.f;
  const float x = (s - 1.f) * t.inverse_tau + (s - 1.f) * t.inverse_tau_rest;
  const float root = expf (0.5f * x) * ROOT_GAIN;
  const float e = root * root;
  const float p = e * t.k;

  sums->near += near;
  sums->exp_sum += t.nce ? e : factor * e;
  if (!t.nce)
    return factor * e;
  sums->loss += factor * log1pf ((p + (float) PIRL_CUDA_NCE_EPSILON) * t.inverse_c);
  return factor * (p / (p + t.c_eps));
}

/* The row of negative @j of sample @b; one beyond the bank becomes the sample's own and makes
 * @exp_sum tell. */
static __device__ __forceinline__ guint32
row_of (const PirlGpuContrast &t, unsigned b, guint64 j, guint32 own, float *exp_sum)
{
  if (!t.negative)
    return (guint32) j + (j >= own);

  const guint32 row = t.negative[b * t.negatives + j];

  if (row < t.rows)
    return row;
  *exp_sum = -INFINITY;
  return own;
}

/* How a row of up to PIECES * LANES * N numbers lies in a warp: a lane has PIECES times 16 bytes of
 * it, and SIDE rows lie side by side. */
template <typename T, int PIECES_, int LANES_> struct Layout {
  typedef T Number;
  enum { N = 16 / sizeof (T), PIECES = PIECES_, LANES = LANES_, SIDE = PIRL_WARP / LANES_ };
  enum { NUMBERS = PIECES * N };        /* that a lane has */
  enum { ROWS = 8 / PIECES };           /* each side asks for before it uses the first */
  enum { SHARE = LANES / ROWS };        /* lanes that know a row's score */
};

typedef Layout<float, 1, PIRL_WARP> Floats128;
typedef Layout<float, 2, PIRL_WARP> Floats256;
typedef Layout<float, 4, PIRL_WARP> Floats512;
typedef Layout<__half, 1, PIRL_WARP / 2> Halves128;
typedef Layout<__half, 1, PIRL_WARP> Halves256;
typedef Layout<__half, 2, PIRL_WARP> Halves512;

/* Sums each x[i] over LANES lanes: lane l gets that of i = l % LANES / (LANES / ROWS). Half of the
 * sums are handed over at each step, so it takes about ROWS shuffles, not ROWS log (LANES). */
template <int ROWS, int LANES> static __device__ __forceinline__ float
sum_rows (float x[ROWS])
{
  const unsigned lane = threadIdx.x % PIRL_WARP;
  int step = LANES / 2;

#pragma unroll
  for (int half = ROWS / 2; half > 0; half /= 2) {
    const bool upper = lane & step;

#pragma unroll
    for (int i = 0; i < half; i++) {
      const float given = upper ? x[i] : x[i + half];

      x[i] = (upper ? x[i + half] : x[i]) + __shfl_xor_sync (ALL_LANES, given, step);
    }
    step /= 2;
  }
#pragma unroll
  for (; step > 0; step /= 2)
    x[0] += __shfl_xor_sync (ALL_LANES, x[0], step);
  return x[0];
}

/* The numbers in 16 bytes. */
template <typename T> static __device__ __forceinline__ void unpack (const uint4 &raw, float *x);

template <> __device__ __forceinline__ void
unpack<float> (const uint4 &raw, float *x)
{
  memcpy (x, &raw, sizeof raw);
}

template <> __device__ __forceinline__ void
unpack<__half> (const uint4 &raw, float *x)
{
  __half2 pair[4];

  memcpy (pair, &raw, sizeof raw);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    x[2 * i] = __low2float (pair[i]);
    x[2 * i + 1] = __high2float (pair[i]);
  }
}

/* Halves are unpacked twice: all of a lane's rows as floats would take more registers than there
 * are, and compilers try. What went through here is not known to be what it was. */
template <typename T> static __device__ __forceinline__ void
forget (uint4 *raw)
{
#ifndef PIRL_EMULATED
  if (sizeof (T) < sizeof (float))
    asm volatile ("" : "+r" (raw->x), "+r" (raw->y), "+r" (raw->z), "+r" (raw->w));
#endif
}

/* A lane's part of a row of @pieces times 16 bytes; what is beyond its end is 0. */
template <typename L> static __device__ __forceinline__ void
load_row (const uint4 *row, unsigned pieces, uint4 x[L::PIECES])
{
  const unsigned lane = threadIdx.x % L::LANES;

#pragma unroll
  for (int p = 0; p < L::PIECES; p++)
    x[p] = lane + p * L::LANES < pieces ? row[lane + p * L::LANES] : make_uint4 (0, 0, 0, 0);
}

/* The same numbers of an embedding. */
template <typename L> static __device__ __forceinline__ void
load_embedding (const float *z, unsigned dim, float x[L::NUMBERS])
{
  const unsigned lane = threadIdx.x % L::LANES;

#pragma unroll
  for (int i = 0; i < L::NUMBERS; i++) {
    const unsigned d = (lane + i / L::N * L::LANES) * L::N + i % L::N;

    x[i] = d < dim ? z[d] : 0.f;
  }
}

/* A lane's part of z . row. */
template <typename L> static __device__ __forceinline__ float
dot_row (const float z[L::NUMBERS], const uint4 m[L::PIECES])
{
  float sum = 0.f;

#pragma unroll
  for (int p = 0; p < L::PIECES; p++) {
    float x[L::N];

    unpack<typename L::Number> (m[p], x);
#pragma unroll
    for (int i = 0; i < L::N; i++)
      sum += z[p * L::N + i] * x[i];
  }
  return sum;
}

/* sum += weight * row. */
template <typename L> static __device__ __forceinline__ void
add_row (float sum[L::NUMBERS], float weight, uint4 m[L::PIECES])
{
#pragma unroll
  for (int p = 0; p < L::PIECES; p++) {
    float x[L::N];

    forget<typename L::Number> (&m[p]);
    unpack<typename L::Number> (m[p], x);
#pragma unroll
    for (int i = 0; i < L::N; i++)
      sum[p * L::N + i] += weight * x[i];
  }
}

/* What a warp knows of its negatives. */
template <typename L> struct Gathered {
  float gradient[L::NUMBERS];
  Sums sums;
};

/* Joins the sides of each warp, then the warps of a block in order, and leaves a part. */
template <typename L, bool NEAR> static __device__ __forceinline__ void
leave_part (const PirlGpuContrast &t, const Gathered<L> &mine)
{
  __shared__ float tile[WARPS][L::NUMBERS * L::LANES];
  __shared__ float sums[WARPS][3];
  const unsigned lane = threadIdx.x % PIRL_WARP, warp = threadIdx.x / PIRL_WARP;
  const float exp_sum = warp_sum (mine.sums.exp_sum), loss = warp_sum (mine.sums.loss);
  const float near = NEAR ? warp_sum (mine.sums.near) : 0.f;

#pragma unroll
  for (int i = 0; i < L::NUMBERS; i++) {
    float x = mine.gradient[i];

    if (L::SIDE == 2)
      x += __shfl_xor_sync (ALL_LANES, x, L::LANES);
    if (lane < L::LANES)
      tile[warp][(lane + i / L::N * L::LANES) * L::N + i % L::N] = x;
  }
  if (lane == 0) {
    sums[warp][0] = exp_sum;
    sums[warp][1] = loss;
    sums[warp][2] = near;
  }
  __syncthreads ();
  for (unsigned d = threadIdx.x; d < t.dim; d += BLOCK) {
    float sum = tile[0][d];

    for (int w = 1; w < WARPS; w++)
      sum += tile[w][d];
    t.part_gradient[(size_t) blockIdx.x * t.dim + d] = sum;
  }
  if (threadIdx.x == 0) {
    PirlGpuContrastPart part = { 0, 0, 0 };

    for (int w = 0; w < WARPS; w++) {
      part.exp_sum += sums[w][0];
      part.loss += sums[w][1];
      part.near += sums[w][2];
    }
    t.part[blockIdx.x] = part;
  }
}

/* Rows of whole 16 bytes that L holds. A block has a part of one sample's negatives, a warp 32 of
 * them at a time. Where they may be near there is one more sum, which long rows have no register
 * for. */
template <typename L, bool NEAR> static __global__ void
__launch_bounds__ (BLOCK, L::NUMBERS < (NEAR ? 8 : 16) ? 3 : 2)
contrast_rows (const PirlGpuContrast t)
{
  const unsigned lane = threadIdx.x % PIRL_WARP, warp = threadIdx.x / PIRL_WARP;
  const unsigned side = lane / L::LANES;
  const unsigned b = blockIdx.x / t.parts, pieces = t.dim / L::N;
  const guint64 begin = (blockIdx.x % t.parts) * t.part_size;
  const guint64 end = begin + t.part_size < t.negatives ? begin + t.part_size : t.negatives;
  const uint4 *__restrict__ bank = (const uint4 *) t.bank;
  const Weighing w = weighing (t);
  const guint32 own = t.positive[b];
  Gathered<L> mine = { { }, { 0.f, 0.f, 0.f } };
  float z[L::NUMBERS];

  load_embedding<L> (t.embedding + (size_t) b * t.dim, t.dim, z);
  for (guint64 base = begin + warp * PIRL_WARP; base < end; base += BLOCK) {
    const unsigned n = end - base < PIRL_WARP ? (unsigned) (end - base) : PIRL_WARP;
    const guint32 index = lane < n ? row_of (t, b, base + lane, own, &mine.sums.exp_sum) : own;

    /* Not unrolled: as it is, the loop has some 330 instructions. */
#pragma unroll 1
    for (unsigned first = 0; first < n; first += L::ROWS * L::SIDE) {
      uint4 m[L::ROWS][L::PIECES];
      float score[L::ROWS], weight = 0.f;

#pragma unroll
      for (int r = 0; r < L::ROWS; r++)
        load_row<L> (bank + (size_t) __shfl_sync (ALL_LANES, index, first + side * L::ROWS + r)
            * pieces, pieces, m[r]);
#pragma unroll
      for (int r = 0; r < L::ROWS; r++)
        score[r] = dot_row<L> (z, m[r]);
      score[0] = sum_rows<L::ROWS, L::LANES> (score);
      if (first + lane / L::SHARE < n)
        weight = weigh<NEAR> (w, score[0], &mine.sums);
#pragma unroll
      for (int r = 0; r < L::ROWS; r++)
        add_row<L> (mine.gradient, __shfl_sync (ALL_LANES, weight, side * L::LANES + r * L::SHARE),
            m[r]);
    }
  }
  /* Each row's numbers were added by all the lanes that know its score: a power of two. */
  mine.sums.exp_sum *= 1.f / L::SHARE;
  mine.sums.loss *= 1.f / L::SHARE;
  mine.sums.near *= 1.f / L::SHARE;
  leave_part<L, NEAR> (t, mine);
}

/* --- contrast: rows of any length ------------------------------------------------------------- */

#define GROUP 64                /* rows weighed at a time */

/* score[i] = z . row i, a warp a row. */
template <typename T> static __device__ void
score_group (const PirlGpuContrast &t, const float *z, const guint32 *index, unsigned n,
    float *score)
{
  const unsigned lane = threadIdx.x % PIRL_WARP, warp = threadIdx.x / PIRL_WARP;

  for (unsigned i = warp; i < n; i += WARPS) {
    const T *m = (const T *) t.bank + (size_t) index[i] * t.dim;
    float sum = 0.f;

    for (unsigned d = lane; d < t.dim; d += PIRL_WARP)
      sum += z[d] * to_float (m[d]);
    sum = warp_sum (sum);
    if (lane == 0)
      score[i] = sum;
  }
}

/* gradient (+)= the rows times their weights; they are in the cache from being scored. */
template <typename T> static __device__ void
add_group (const PirlGpuContrast &t, const guint32 *index, const float *weight, unsigned n,
    bool first, float *gradient)
{
  for (unsigned d = threadIdx.x; d < t.dim; d += BLOCK) {
    const T *column = (const T *) t.bank + d;
    float sum = first ? 0.f : gradient[d];

    for (unsigned i = 0; i < n; i++)
      sum += weight[i] * to_float (column[(size_t) index[i] * t.dim]);
    gradient[d] = sum;
  }
}

template <typename T, bool NEAR> static __global__ void __launch_bounds__ (BLOCK)
contrast_long_rows (const PirlGpuContrast t)
{
  __shared__ guint32 index[GROUP];
  __shared__ float score[GROUP];
  __shared__ double shared[BLOCK];
  const unsigned b = blockIdx.x / t.parts;
  const guint64 begin = (blockIdx.x % t.parts) * t.part_size;
  const guint64 end = begin + t.part_size < t.negatives ? begin + t.part_size : t.negatives;
  const Weighing w = weighing (t);
  const guint32 own = t.positive[b];
  float *gradient = t.part_gradient + (size_t) blockIdx.x * t.dim;
  Sums sums = { 0.f, 0.f, 0.f };
  PirlGpuContrastPart part;

  /* At least once, so that a part without negatives leaves zeros. */
  for (guint64 base = begin; base < end || base == begin; base += GROUP) {
    const unsigned n = base >= end ? 0 : end - base < GROUP ? (unsigned) (end - base) : GROUP;

    if (threadIdx.x < n)
      index[threadIdx.x] = row_of (t, b, base + threadIdx.x, own, &sums.exp_sum);
    __syncthreads ();
    score_group<T> (t, t.embedding + (size_t) b * t.dim, index, n, score);
    __syncthreads ();
    if (threadIdx.x < n)
      score[threadIdx.x] = weigh<NEAR> (w, score[threadIdx.x], &sums);
    __syncthreads ();
    add_group<T> (t, index, score, n, base == begin, gradient);
    __syncthreads ();
  }
  part.exp_sum = block_sum (sums.exp_sum, shared);
  part.loss = block_sum (sums.loss, shared);
  part.near = NEAR ? block_sum (sums.near, shared) : 0;
  if (threadIdx.x == 0)
    t.part[blockIdx.x] = part;
}

/* --- contrast: the result --------------------------------------------------------------------- */

#define FINISH_BLOCK 128

/* What the positive adds: a sample's loss, and the weights of its rows' sum and of its own row. */
typedef struct {
  double loss, exp_sum, rows_weight, own_weight;
} Finished;

static __device__ Finished
finish_sample (const PirlGpuContrast &t, double exp_sum, double loss, double score)
{
  const double tau = t.values->temperature;
  const double e = exp ((score - 1) / tau), total = exp_sum / GAIN + e;
  const double bad = exp_sum < 0 ? NAN : 0;     /* a row beyond the bank */

  if (t.loss == PIRL_LOSS_INFONCE)
    return { log (total) - (score - 1) / tau + bad, total, 1 / (total * GAIN) + bad,
      e / total - 1 };

  const double p = exp (score / tau) / t.values->z, c_eps = t.values->c + PIRL_CUDA_NCE_EPSILON;

  return { log ((p + c_eps) / p) + loss + bad, total, 1 + bad, -c_eps / (p + c_eps) };
}

template <typename T> static __global__ void __launch_bounds__ (FINISH_BLOCK)
contrast_finish (const PirlGpuContrast t)
{
  __shared__ double shared[FINISH_BLOCK];
  const unsigned b = blockIdx.x;
  const float *z = t.embedding + (size_t) b * t.dim;
  const T *own = (const T *) t.bank + (size_t) t.positive[b] * t.dim;
  const float *rows = t.part_gradient + (size_t) b * t.parts * t.dim;
  const double factor = t.values->factor * t.scale->scale;
  double score = 0, exp_sum = 0, loss = 0, near = 0;

  for (unsigned part = 0; part < t.parts; part++) {
    exp_sum += t.part[(size_t) b * t.parts + part].exp_sum;
    loss += t.part[(size_t) b * t.parts + part].loss;
    near += t.part[(size_t) b * t.parts + part].near;
  }
  for (unsigned d = threadIdx.x; d < t.dim; d += FINISH_BLOCK)
    score += (double) z[d] * to_float (own[d]);
  score = block_sum (score, shared);

  const Finished sample = finish_sample (t, exp_sum, loss, score);

  for (unsigned d = threadIdx.x; t.d_embedding && d < t.dim; d += FINISH_BLOCK) {
    double sum = 0;

    for (unsigned part = 0; part < t.parts; part++)
      sum += rows[(size_t) part * t.dim + d];
    t.d_embedding[(size_t) b * t.dim + d] =
        (float) (factor * (sample.rows_weight * sum + sample.own_weight * to_float (own[d])));
  }
  if (threadIdx.x == 0) {
    t.sample[4 * b] = sample.loss;
    t.sample[4 * b + 1] = sample.exp_sum;
    t.sample[4 * b + 2] = score;
    t.sample[4 * b + 3] = near;
  }
}

/* square[block] = sum over 32 columns of the square of their mean. */
static __global__ void __launch_bounds__ (BLOCK)
mean_squares (const float *embedding, unsigned batch, unsigned dim, double *square)
{
  __shared__ double shared[BLOCK];
  const unsigned lane = threadIdx.x % PIRL_WARP, warp = threadIdx.x / PIRL_WARP;
  const unsigned d = blockIdx.x * PIRL_WARP + lane;
  double sum = 0, mean = 0;

  for (unsigned b = warp; b < batch && d < dim; b += WARPS)
    sum += embedding[(size_t) b * dim + d];
  shared[threadIdx.x] = sum;
  __syncthreads ();
  for (unsigned w = 0; w < WARPS && warp == 0; w++)
    mean += shared[w * PIRL_WARP + lane] / batch;
  __syncthreads ();
  sum = block_sum (mean * mean, shared);
  if (threadIdx.x == 0)
    square[blockIdx.x] = sum;
}

/* Parts that give each warp 8 times 32 rows; fewer where their sums of rows would be large. */
#define PART 2048
#define LEAST_PART (WARPS * PIRL_WARP)
#define BLOCKS_WANTED 1024
#define LONGEST_IN_REGISTERS 512

void
pirl_gpu_contrast_cut (PirlGpuContrast *t)
{
  const guint64 wanted = MAX (BLOCKS_WANTED / t->batch, 1);
  const guint64 least = (t->negatives + LEAST_PART - 1) / LEAST_PART;
  guint64 parts = (t->negatives + PART - 1) / PART;

  if (parts < wanted || t->dim > LONGEST_IN_REGISTERS)
    parts = MIN (wanted, least);
  parts = CLAMP (parts, 1, (guint64) G_MAXINT32 / t->batch);
  /* Whole loads of indices for every warp. */
  t->part_size = ((t->negatives + parts - 1) / parts + PIRL_WARP - 1) / PIRL_WARP * PIRL_WARP;
  t->parts = (guint) (t->negatives ? (t->negatives + t->part_size - 1) / t->part_size : 1);
}

guint
pirl_gpu_contrast_squares (guint dim)
{
  return (dim + PIRL_WARP - 1) / PIRL_WARP;
}

template <typename T, bool NEAR, typename Short, typename Middle, typename Long> static void
launch_rows (const PirlGpuContrast &t, cudaStream_t stream)
{
  const unsigned pieces = t.batch * t.parts;

  if (t.dim * sizeof (T) % sizeof (uint4) || t.dim > LONGEST_IN_REGISTERS)
    PIRL_LAUNCH ((contrast_long_rows<T, NEAR>), pieces, BLOCK, 0, stream, t);
  else if (t.dim > 256)
    PIRL_LAUNCH ((contrast_rows<Long, NEAR>), pieces, BLOCK, 0, stream, t);
  else if (t.dim > 128)
    PIRL_LAUNCH ((contrast_rows<Middle, NEAR>), pieces, BLOCK, 0, stream, t);
  else
    PIRL_LAUNCH ((contrast_rows<Short, NEAR>), pieces, BLOCK, 0, stream, t);
}

/* The pass, and what joins it with the positives. */
template <typename T, typename Short, typename Middle, typename Long> static void
launch_pass (const PirlGpuContrast &t, cudaStream_t stream)
{
  if (t.has_near)
    launch_rows<T, true, Short, Middle, Long> (t, stream);
  else
    launch_rows<T, false, Short, Middle, Long> (t, stream);
  PIRL_LAUNCH (contrast_finish<T>, t.batch, FINISH_BLOCK, 0, stream, t);
}

void
pirl_gpu_contrast (const PirlGpuContrast *contrast, cudaStream_t stream)
{
  const PirlGpuContrast &t = *contrast;
  const unsigned squares = pirl_gpu_contrast_squares (t.dim);

  if (t.bank_dtype == PIRL_DTYPE_F16)
    launch_pass<__half, Halves128, Halves256, Halves512> (t, stream);
  else
    launch_pass<float, Floats128, Floats256, Floats512> (t, stream);
  PIRL_LAUNCH (mean_squares, squares, BLOCK, 0, stream, t.embedding, t.batch, t.dim, t.square);
  PIRL_LAUNCH (sum_columns, 1, BLOCK, 0, stream, t.sample, t.batch, 4u, t.square, squares,
      t.result);
}

void
pirl_gpu_draw (guint batch, guint64 negatives, const PirlGpuDraw *draw, const guint32 *positive,
    guint32 *negative, cudaStream_t stream)
{
  PIRL_LAUNCH (draw_rows, batch, BLOCK, 0, stream, draw, negatives, positive, negative);
}

/* --- bank ------------------------------------------------------------------------------------- */

#define ROW_BLOCK 128
#define NORM_FLOOR 1e-12

static __device__ __forceinline__ float
mix (float row, float z, double kept)
{
  return kept == 0 ? z : (float) (kept * row + (1 - kept) * z);
}

/* row <- normalise (kept row + (1 - kept) z), in the order of the arithmetic of the CPU backend;
 * mixed twice, as a row in 16 bits has no place for what is not rounded yet. */
template <typename T> static __device__ void
update_row (T *row, const float *z, unsigned dim, double kept, double *shared)
{
  double squares = 0, inverse;

  for (unsigned d = threadIdx.x; d < dim; d += ROW_BLOCK) {
    const float mixed = mix (to_float (row[d]), z[d], kept);

    squares += (double) mixed * mixed;
  }
  inverse = 1 / fmax (sqrt (block_sum (squares, shared)), NORM_FLOOR);
  for (unsigned d = threadIdx.x; d < dim; d += ROW_BLOCK)
    row[d] = from_float<T> ((float) (mix (to_float (row[d]), z[d], kept) * inverse));
}

/* A sample a block; the first of those that share a row does them all, in order. */
template <typename T> static __global__ void __launch_bounds__ (ROW_BLOCK, 8)
bank_rows (T *bank, unsigned dim, unsigned batch, const guint32 *positive,
    const float *momentum, const float *embedding)
{
  __shared__ double shared[ROW_BLOCK];
  const unsigned own = blockIdx.x;
  const guint32 wanted = positive[own];

  for (unsigned from = 0; from < own; from += PIRL_WARP)
    if (same_row (positive, from, own, wanted))
      return;
  for (unsigned from = own; from < batch; from += PIRL_WARP) {
    const unsigned same = same_row (positive, from, batch, wanted);

    for (unsigned i = 0; i < PIRL_WARP; i++)
      if (same >> i & 1)
        update_row (bank + (size_t) wanted * dim, embedding + (size_t) (from + i) * dim, dim,
            momentum[from + i], shared);
  }
}

void
pirl_gpu_bank_update (gpointer bank, PirlDType bank_dtype, guint dim, guint batch,
    const guint32 *positive, const gfloat *momentum, const gfloat *embedding, cudaStream_t stream)
{
  if (bank_dtype == PIRL_DTYPE_F16)
    PIRL_LAUNCH (bank_rows<__half>, batch, ROW_BLOCK, 0, stream, (__half *) bank, dim, batch,
        positive, momentum, embedding);
  else
    PIRL_LAUNCH (bank_rows<float>, batch, ROW_BLOCK, 0, stream, (float *) bank, dim, batch,
        positive, momentum, embedding);
}

/* A row a block. Back: of those that go to one place the last stays there. */
template <typename T> static __global__ void __launch_bounds__ (ROW_BLOCK)
copy_rows (T *table, T *aside, size_t width, unsigned n, const guint32 *row, bool back)
{
  const guint32 wanted = row[blockIdx.x];
  T *in_table = table + wanted * width, *in_aside = aside + blockIdx.x * width;

  for (unsigned from = blockIdx.x + 1; back && from < n; from += PIRL_WARP)
    if (same_row (row, from, n, wanted))
      return;
  for (size_t i = threadIdx.x; i < width; i += ROW_BLOCK)
    if (back)
      in_table[i] = in_aside[i];
    else
      in_aside[i] = in_table[i];
}

void
pirl_gpu_rows (gpointer table, gpointer aside, gsize row_bytes, guint n, const guint32 *row,
    gboolean back, cudaStream_t stream)
{
  if (row_bytes % sizeof (uint4) == 0)
    PIRL_LAUNCH (copy_rows<uint4>, n, ROW_BLOCK, 0, stream, (uint4 *) table, (uint4 *) aside,
        row_bytes / sizeof (uint4), n, row, back != FALSE);
  else if (row_bytes % sizeof (guint32))
    PIRL_LAUNCH (copy_rows<guint16>, n, ROW_BLOCK, 0, stream, (guint16 *) table,
        (guint16 *) aside, row_bytes / sizeof (guint16), n, row, back != FALSE);
  else
    PIRL_LAUNCH (copy_rows<guint32>, n, ROW_BLOCK, 0, stream, (guint32 *) table,
        (guint32 *) aside, row_bytes / sizeof (guint32), n, row, back != FALSE);
}

/* --- cross-entropy ---------------------------------------------------------------------------- */

/* The largest number of the block and the first place that has it. */
static __device__ void
block_largest (float *x, unsigned *at, float *shared, unsigned *shared_at)
{
  shared[threadIdx.x] = *x;
  shared_at[threadIdx.x] = *at;
  __syncthreads ();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      const float other = shared[threadIdx.x + half];
      const unsigned other_at = shared_at[threadIdx.x + half];

      if (other > shared[threadIdx.x]
          || (other == shared[threadIdx.x] && other_at < shared_at[threadIdx.x])) {
        shared[threadIdx.x] = other;
        shared_at[threadIdx.x] = other_at;
      }
    }
    __syncthreads ();
  }
  *x = shared[0];
  *at = shared_at[0];
}

/* A sample a block, in double precision: there are few logits, and a loss near 0 is a small
 * difference of larger numbers. */
static __global__ void __launch_bounds__ (ROW_BLOCK)
cross_entropy (unsigned batch, unsigned classes, const float *logits, const gint32 *labels,
    float *d_logits, const PirlCudaScale *scale, double *sample)
{
  __shared__ double shared[ROW_BLOCK];
  __shared__ float largest[ROW_BLOCK];
  __shared__ unsigned largest_at[ROW_BLOCK];
  const float *z = logits + (size_t) blockIdx.x * classes;
  const unsigned label = (unsigned) labels[blockIdx.x];
  const double factor = (double) scale->scale / batch;
  float max = -INFINITY;
  unsigned best = 0;
  double sum = 0, inverse;

  for (unsigned j = threadIdx.x; j < classes; j += ROW_BLOCK)
    if (j == threadIdx.x || z[j] > max) {
      max = z[j];
      best = j;
    }
  block_largest (&max, &best, largest, largest_at);
  for (unsigned j = threadIdx.x; j < classes; j += ROW_BLOCK)
    sum += exp ((double) z[j] - max);
  sum = block_sum (sum, shared);
  inverse = 1 / sum;
  for (unsigned j = threadIdx.x; j < classes; j += ROW_BLOCK)
    d_logits[(size_t) blockIdx.x * classes + j] =
        (float) (factor * (exp ((double) z[j] - max) * inverse - (j == label)));
  if (threadIdx.x == 0) {
    sample[2 * blockIdx.x] = log (sum) + max - z[label];
    sample[2 * blockIdx.x + 1] = best == label;
  }
}

void
pirl_gpu_cross_entropy (guint batch, guint classes, const gfloat *logits, const gint32 *labels,
    gfloat *d_logits, const PirlCudaScale *scale, gdouble *sample, gdouble *result,
    cudaStream_t stream)
{
  PIRL_LAUNCH (cross_entropy, batch, ROW_BLOCK, 0, stream, batch, classes, logits, labels,
      d_logits, scale, sample);
  PIRL_LAUNCH (sum_columns, 1, BLOCK, 0, stream, sample, batch, 2u, (const double *) NULL, 0u,
      result);
}
