/* gst-pirl: how a block's threads are laid over rows of channels, and sums over them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * NHWC values are rows (pixels) of stored channels. A thread has 8 neighbouring channels and walks
 * over rows, so that what belongs to a channel is loaded once and stays in registers. A block has
 * @width threads side by side, on the channels of a *tile*, times @lanes below each other, on rows:
 *
 *            channels ->     tile 0             tile 1
 *   rows     block (0, 0):   lane 0: width x 8  block (0, 1) ...
 *    |                       lane 1: ...
 *    v       block (1, 0):   ...
 *
 * Where one tile has all channels, a block reads its rows without a gap. All of it follows from the
 * shape alone, so that the same values are summed in the same order on every card.
 */
#pragma once

#include <string.h>

#include "backends/cuda/device.cuh"

#define PIRL_BLOCK 256          /* threads */
#define PIRL_EIGHT 8            /* channels of a thread */

typedef struct {
  int stored;                   /* channels */
  int width, lanes;             /* threads of a block on channels, on rows */
  int tiles;                    /* blocks on channels */
  unsigned rows, rows_per_block;        /* the latter a multiple of lanes */
  unsigned blocks;              /* on rows */
} Tiling;

static inline unsigned
ceil_div (unsigned a, unsigned b)
{
  return a / b + (a % b != 0);
}

/* @widest: threads on channels at most. @blocks: how many to come near to, in all. @least: rows a
 * thread should have at least. */
static inline Tiling
tiling_new (unsigned rows, int stored, int widest, int blocks, int least)
{
  const unsigned groups = stored / PIRL_EIGHT;
  Tiling t;

  t.stored = stored;
  t.rows = rows;
  t.tiles = ceil_div (groups, widest);
  t.width = ceil_div (groups, t.tiles);
  t.lanes = PIRL_BLOCK / t.width;
  t.rows_per_block = ceil_div (rows, ceil_div (blocks, t.tiles));
  if (t.rows_per_block < (unsigned) (t.lanes * least))
    t.rows_per_block = t.lanes * least;
  t.rows_per_block = ceil_div (t.rows_per_block, t.lanes) * t.lanes;
  t.blocks = ceil_div (rows, t.rows_per_block);
  return t;
}

static inline dim3
tiling_grid (const Tiling *t)
{
  return dim3 (t->blocks, t->tiles);
}

/* Rows of block @block. */
static __device__ __forceinline__ unsigned
tiling_rows (const Tiling &t, unsigned block)
{
  const unsigned start = block * t.rows_per_block, left = t.rows - start;

  return left < t.rows_per_block ? left : t.rows_per_block;
}

/* A thread's part: 8 channels of @n rows, @lanes rows apart. */
typedef struct {
  int lane, channel;
  unsigned n;
  size_t at;                    /* elements before the channels of the first row */
  int step;                     /* elements from one of its rows to the next */
  bool on;                      /* FALSE: it has none, and only helps with the sums */
} Place;

static __device__ __forceinline__ Place
place_new (const Tiling &t)
{
  const int group = threadIdx.x % t.width;
  const unsigned rows = tiling_rows (t, blockIdx.x);
  Place p;

  p.lane = threadIdx.x / t.width;
  p.channel = (blockIdx.y * t.width + group) * PIRL_EIGHT;
  p.on = p.lane < t.lanes && p.channel < t.stored;
  p.n = p.on && (unsigned) p.lane < rows ? (rows - 1 - p.lane) / t.lanes + 1 : 0;
  p.at = ((size_t) blockIdx.x * t.rows_per_block + p.lane) * t.stored + p.channel;
  p.step = t.lanes * t.stored;
  return p;
}

/* Eight numbers as they lie in memory, for loads that are under way: 16-bit ones stay packed, two
 * a register, until they are used. */
template <typename T> struct __align__ (16) __attribute__ ((__may_alias__)) Raw {
  uint32_t word[2 * sizeof (T)];
};

template <typename T> static __device__ __forceinline__ Raw<T>
load_raw (const T *src)
{
  return *reinterpret_cast<const Raw<T> *> (src);
}

template <typename T> static __device__ __forceinline__ void
to_floats (const Raw<T> &raw, float x[PIRL_EIGHT])
{
  Eight<T> eight;

  memcpy (&eight, &raw, sizeof (eight));
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    x[i] = to_float (eight.v[i]);
}

static __device__ __forceinline__ void
clear8 (float x[PIRL_EIGHT])
{
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    x[i] = 0.0f;
}

#define SUM_FLOATS (PIRL_EIGHT * PIRL_BLOCK)    /* of shared memory */

/* Sums x over the lanes of a block, always in the same order; every thread gets the sums of its
 * channels. All threads must call; those without channels have no say. */
static __device__ __forceinline__ void
sum_lanes (const Tiling &t, const Place &p, float x[PIRL_EIGHT], float *shared)
{
  float *own = shared + threadIdx.x;

  __syncthreads ();             /* the shared memory may be in use */
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    own[i * PIRL_BLOCK] = x[i];
  for (int n = t.lanes; n > 1; n = (n + 1) / 2) {
    const int half = (n + 1) / 2;

    __syncthreads ();
    if (p.lane < n - half)
#pragma unroll
      for (int i = 0; i < PIRL_EIGHT; i++)
        own[i * PIRL_BLOCK] += own[i * PIRL_BLOCK + half * t.width];
  }
  __syncthreads ();
#pragma unroll
  for (int i = 0; i < PIRL_EIGHT; i++)
    x[i] = shared[i * PIRL_BLOCK + threadIdx.x % t.width];
}

/* The second level: a block of 8 channels x 32 threads joins the sums of blocks. Double: there are
 * few, and they must not lose what the first level kept. */
#define JOIN_LANES (PIRL_BLOCK / PIRL_EIGHT)

/* Over the 32 threads of a channel, in a fixed order; all of them get it. */
static __device__ __forceinline__ double
join_lanes (double x, double *shared)
{
  __syncthreads ();
  shared[threadIdx.x] = x;
  for (int half = PIRL_BLOCK / 2; half >= PIRL_EIGHT; half /= 2) {
    __syncthreads ();
    if ((int) threadIdx.x < half)
      shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  __syncthreads ();
  return shared[threadIdx.x % PIRL_EIGHT];
}
