/* gst-pirl: what all kernels share. Only .cu files include this.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * tests/emulator compiles the same files as C++ for the CPU: it has its own cuda_fp16.h and
 * cuda_bf16.h and defines PIRL_EMULATED. So kernels keep to threadIdx, blockIdx, blockDim, gridDim,
 * __syncthreads, __syncwarp, __shfl_xor_sync, __shfl_down_sync, __shfl_sync, __shfl_up_sync,
 * __ballot_sync, __popc, __umulhi, atomicAdd, atomicMin, atomicMax, __restrict__,
 * __launch_bounds__, __shared__ and the mathematics of C.
 */
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#ifdef PIRL_EMULATED
#include "emulator.h"           /* the same two macros, and what CUDA's compiler knows by itself */
#else
#define PIRL_LAUNCH(kernel, grid, block, shared, stream, ...) \
  kernel <<<(grid), (block), (shared), (stream)>>> (__VA_ARGS__)
/* The block's dynamic shared memory as @name, an array of @type. */
#define PIRL_DYNAMIC_SHARED(type, name) \
  extern __shared__ __align__ (16) unsigned char pirl_dynamic_shared[]; \
  type *name = reinterpret_cast<type *> (pirl_dynamic_shared)
#endif

#define PIRL_WARP 32

/* --- one number --- */

static __device__ __forceinline__ float to_float (float x) { return x; }
static __device__ __forceinline__ float to_float (__half x) { return __half2float (x); }
static __device__ __forceinline__ float to_float (__nv_bfloat16 x) { return __bfloat162float (x); }

template <typename T> static __device__ __forceinline__ T from_float (float x);
template <> __device__ __forceinline__ float from_float<float> (float x) { return x; }
template <> __device__ __forceinline__ __half from_float<__half> (float x)
{
  return __float2half_rn (x);
}
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16> (float x)
{
  return __float2bfloat16_rn (x);
}

/** Calls @f<T> (...) for the type of the values. */
#define PIRL_FOR_DTYPE(dtype, f, ...) \
  do { \
    if ((dtype) == PIRL_DTYPE_F32) \
      f<float> (__VA_ARGS__); \
    else if ((dtype) == PIRL_DTYPE_F16) \
      f<__half> (__VA_ARGS__); \
    else \
      f<__nv_bfloat16> (__VA_ARGS__); \
  } while (0)

/* --- eight channels at once: 16 bytes of 16-bit numbers, or twice 16 bytes of floats --- */

template <typename T> struct __align__ (16) Eight { T v[8]; };

template <typename T> static __device__ __forceinline__ void
load8 (const T *src, float x[8])
{
  const Eight<T> raw = *reinterpret_cast<const Eight<T> *> (src);

#pragma unroll
  for (int i = 0; i < 8; i++)
    x[i] = to_float (raw.v[i]);
}

template <typename T> static __device__ __forceinline__ void
store8 (T *dst, const float x[8])
{
  Eight<T> raw;

#pragma unroll
  for (int i = 0; i < 8; i++)
    raw.v[i] = from_float<T> (x[i]);
  *reinterpret_cast<Eight<T> *> (dst) = raw;
}

/* --- sums --- */

/* Over the warp; every lane gets it. All lanes must call. */
static __device__ __forceinline__ float
warp_sum (float x)
{
#pragma unroll
  for (int step = PIRL_WARP / 2; step > 0; step /= 2)
    x += __shfl_xor_sync (0xffffffffu, x, step);
  return x;
}

static __device__ __forceinline__ float
warp_max (float x)
{
#pragma unroll
  for (int step = PIRL_WARP / 2; step > 0; step /= 2)
    x = fmaxf (x, __shfl_xor_sync (0xffffffffu, x, step));
  return x;
}
