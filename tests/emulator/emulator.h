/* gst-pirl: the language of .cu files as plain C++: keywords, threads, warps, atomics, launches.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A thread is a fiber (block.cpp); all threads of the process run one at a time, so that atomics
 * are plain arithmetic. What is not here the emulator does not offer.
 */
#pragma once

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__ ((always_inline))
#define __shared__ static
#define __constant__ static
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__ ((aligned (bytes)))

/* --- vectors --- */

struct uint3 { unsigned int x, y, z; };
struct dim3 {
  unsigned int x, y, z;
  constexpr dim3 (unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x (x), y (y), z (z)
  {
  }
};

#define PIRL_EMULATOR_VECTORS(type, name) \
  struct alignas (2 * sizeof (type)) name##2 { type x, y; }; \
  struct alignas (sizeof (type) < 8 ? 4 * sizeof (type) : 16) name##4 { type x, y, z, w; }; \
  static inline name##2 make_##name##2 (type x, type y) { return { x, y }; } \
  static inline name##4 make_##name##4 (type x, type y, type z, type w) { return { x, y, z, w }; }

PIRL_EMULATOR_VECTORS (float, float)
PIRL_EMULATOR_VECTORS (double, double)
PIRL_EMULATOR_VECTORS (int, int)
PIRL_EMULATOR_VECTORS (unsigned int, uint)
PIRL_EMULATOR_VECTORS (unsigned char, uchar)
PIRL_EMULATOR_VECTORS (unsigned short, ushort)

struct float3 { float x, y, z; };
struct uchar3 { unsigned char x, y, z; };
static inline float3 make_float3 (float x, float y, float z) { return { x, y, z }; }
static inline uchar3
make_uchar3 (unsigned char x, unsigned char y, unsigned char z)
{
  return { x, y, z };
}

/* --- threads --- */

static const int warpSize = 32;
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace pirl_emulator
{
enum Collective { SHUFFLE, BALLOT, SYNC };

/** All living lanes of @mask meet: what lane @source gave as @value, or the bits of the lanes whose
 * @value is not 0. A lane that is not there gives ~0. */
uint64_t collective (Collective what, unsigned int mask, uint64_t value, int source);
/** All threads of the block meet; returns for how many @value was true. */
int barrier (int value);
int lane ();
/** The block's dynamic shared memory. */
void *shared ();

template <typename T> T
shuffle (unsigned int mask, T value, int source)
{
  static_assert (sizeof (T) == 4 || sizeof (T) == 8, "shuffles move 4 or 8 bytes");
  uint64_t bits = 0;

  memcpy (&bits, &value, sizeof (T));
  bits = collective (SHUFFLE, mask, bits, source);
  memcpy (&value, &bits, sizeof (T));
  return value;
}
}

static inline void __syncthreads () { pirl_emulator::barrier (0); }
static inline int __syncthreads_count (int value) { return pirl_emulator::barrier (value); }
static inline int __syncthreads_or (int value) { return pirl_emulator::barrier (value) > 0; }
static inline int
__syncthreads_and (int value)
{
  return pirl_emulator::barrier (!value) == 0;
}
static inline void
__syncwarp (unsigned int mask = 0xffffffffu)
{
  pirl_emulator::collective (pirl_emulator::SYNC, mask, 0, 0);
}
static inline void __threadfence () { }
static inline void __threadfence_block () { }

template <typename T> T
__shfl_sync (unsigned int mask, T value, int source, int width = 32)
{
  const int segment = pirl_emulator::lane () & ~(width - 1);

  return pirl_emulator::shuffle (mask, value, segment + (source & (width - 1)));
}

template <typename T> T
__shfl_xor_sync (unsigned int mask, T value, int lane_mask, int width = 32)
{
  const int lane = pirl_emulator::lane (), source = lane ^ lane_mask;

  return pirl_emulator::shuffle (mask, value, source < (lane | (width - 1)) + 1 ? source : lane);
}

template <typename T> T
__shfl_down_sync (unsigned int mask, T value, unsigned int delta, int width = 32)
{
  const int lane = pirl_emulator::lane (), source = lane + (int) delta;

  return pirl_emulator::shuffle (mask, value, source <= (lane | (width - 1)) ? source : lane);
}

template <typename T> T
__shfl_up_sync (unsigned int mask, T value, unsigned int delta, int width = 32)
{
  const int lane = pirl_emulator::lane (), source = lane - (int) delta;

  return pirl_emulator::shuffle (mask, value, source >= (lane & ~(width - 1)) ? source : lane);
}

static inline unsigned int
__ballot_sync (unsigned int mask, int predicate)
{
  return (unsigned int) pirl_emulator::collective (pirl_emulator::BALLOT, mask, predicate != 0, 0);
}

static inline int
__any_sync (unsigned int mask, int predicate)
{
  return __ballot_sync (mask, predicate) != 0;
}

static inline int
__all_sync (unsigned int mask, int predicate)
{
  return __ballot_sync (mask, !predicate) == 0;
}

/* --- numbers --- */

static inline int __popc (unsigned int x) { return __builtin_popcount (x); }
static inline int __popcll (unsigned long long x) { return __builtin_popcountll (x); }
static inline int __ffs (int x) { return __builtin_ffs (x); }
static inline int __clz (int x) { return x ? __builtin_clz ((unsigned int) x) : 32; }
static inline unsigned int
__umulhi (unsigned int a, unsigned int b)
{
  return (unsigned int) ((uint64_t) a * b >> 32);
}
static inline unsigned long long
__umul64hi (unsigned long long a, unsigned long long b)
{
  return (unsigned long long) ((unsigned __int128) a * b >> 64);
}

template <typename To, typename From> static inline To
pirl_emulator_bits (From from)
{
  static_assert (sizeof (To) == sizeof (From), "as many bits");
  To to;

  memcpy (&to, &from, sizeof (to));
  return to;
}

static inline int __float_as_int (float x) { return pirl_emulator_bits<int> (x); }
static inline unsigned int
__float_as_uint (float x)
{
  return pirl_emulator_bits<unsigned int> (x);
}
static inline float __int_as_float (int x) { return pirl_emulator_bits<float> (x); }
static inline float __uint_as_float (unsigned int x) { return pirl_emulator_bits<float> (x); }
static inline long long
__double_as_longlong (double x)
{
  return pirl_emulator_bits<long long> (x);
}
static inline double __longlong_as_double (long long x) { return pirl_emulator_bits<double> (x); }

/* The C library has, or will have, its own functions of these names. */
#define rsqrtf(x) (1.0f / sqrtf (x))
#define __expf(x) expf (x)
#define __logf(x) logf (x)
#define __powf(x, y) powf (x, y)
#define __sinf(x) sinf (x)
#define __cosf(x) cosf (x)
static inline float __fdividef (float x, float y) { return x / y; }
static inline float __frcp_rn (float x) { return 1.0f / x; }
static inline float __fsqrt_rn (float x) { return sqrtf (x); }
static inline float __fadd_rn (float x, float y) { return x + y; }
static inline float __fmul_rn (float x, float y) { return x * y; }
static inline double __dadd_rn (double x, double y) { return x + y; }
static inline double __dmul_rn (double x, double y) { return x * y; }
static inline float __fmaf_rn (float x, float y, float z) { return fmaf (x, y, z); }
static inline float __saturatef (float x) { return x >= 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline int __float2int_rn (float x) { return (int) rintf (x); }
static inline int __float2int_rd (float x) { return (int) floorf (x); }
static inline float __double2float_rn (double x) { return (float) x; }

/* CUDA's own, for all pairs of arithmetic types. */
template <typename A, typename B> static inline std::common_type_t<A, B>
min (A a, B b)
{
  typedef std::common_type_t<A, B> T;

  static_assert (std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, "numbers");
  if constexpr (std::is_floating_point_v<T>)
    return a != a ? (T) b : (T) b < (T) a ? (T) b : (T) a;
  else
    return (T) b < (T) a ? (T) b : (T) a;
}

template <typename A, typename B> static inline std::common_type_t<A, B>
max (A a, B b)
{
  typedef std::common_type_t<A, B> T;

  static_assert (std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, "numbers");
  if constexpr (std::is_floating_point_v<T>)
    return a != a ? (T) b : (T) b > (T) a ? (T) b : (T) a;
  else
    return (T) b > (T) a ? (T) b : (T) a;
}

/* --- memory --- */

template <typename T> static inline T __ldg (const T *at) { return *at; }
template <typename T> static inline T __ldcs (const T *at) { return *at; }
template <typename T> static inline T __ldcg (const T *at) { return *at; }
template <typename T> static inline void __stcs (T *at, T value) { *at = value; }
template <typename T> static inline void __stcg (T *at, T value) { *at = value; }

#define PIRL_EMULATOR_ATOMIC(name, result, ...) \
  template <typename T> static inline T \
  name (T *at, std::common_type_t<T> value) \
  { \
    const T old = *at; \
    static_assert (__VA_ARGS__, #name " is not there for this type"); \
    *at = result; \
    return old; \
  }

template <typename T> struct pirl_emulator_atomic {
  static const bool integer = std::is_same_v<T, int> || std::is_same_v<T, unsigned int>
      || std::is_same_v<T, unsigned long long>;
  static const bool floating = std::is_same_v<T, float> || std::is_same_v<T, double>;
};

PIRL_EMULATOR_ATOMIC (atomicAdd, old + value,
    pirl_emulator_atomic<T>::integer || pirl_emulator_atomic<T>::floating)
PIRL_EMULATOR_ATOMIC (atomicMax, old < value ? value : old, pirl_emulator_atomic<T>::integer)
PIRL_EMULATOR_ATOMIC (atomicMin, value < old ? value : old, pirl_emulator_atomic<T>::integer)
PIRL_EMULATOR_ATOMIC (atomicOr, old | value, pirl_emulator_atomic<T>::integer)
PIRL_EMULATOR_ATOMIC (atomicAnd, old & value, pirl_emulator_atomic<T>::integer)
PIRL_EMULATOR_ATOMIC (atomicExch, value,
    pirl_emulator_atomic<T>::integer || std::is_same_v<T, float>)

template <typename T> static inline T
atomicCAS (T *at, std::common_type_t<T> expected, std::common_type_t<T> value)
{
  const T old = *at;

  static_assert (pirl_emulator_atomic<T>::integer, "atomicCAS is not there for this type");
  if (old == expected)
    *at = value;
  return old;
}

/* --- launches --- */

namespace pirl_emulator
{
struct Kernel {
  const char *name;
  const void *address;          /* tells kernels apart */
  dim3 grid, block;
  size_t shared;
  std::function<void ()> thread;
};

/** FALSE, and the last error set, when @kernel cannot be launched on @stream. */
bool accepts (const Kernel &kernel, cudaStream_t stream);
/** An argument that is a pointer: the card can follow only those into its own or pinned memory. */
bool reaches (const Kernel &kernel, int argument, const void *pointer);
void submit (const Kernel &kernel, cudaStream_t stream);

template <typename... P> struct Launch {
  Kernel kernel;
  void (*function) (P...);
  cudaStream_t stream;

  template <typename T> bool
  check (int argument, T value)
  {
    if constexpr (std::is_pointer_v<T>)
      return reaches (kernel, argument, (const void *) value);
    return true;
  }

  void
  operator() (P... arguments)
  {
    int n = 0;

    if (!accepts (kernel, stream) || !(check (n++, arguments) && ...))
      return;
    kernel.thread = [function = function, arguments...] { function (arguments...); };
    submit (kernel, stream);
  }
};

template <typename... P> Launch<P...>
prepare (const char *name, void (*function) (P...), dim3 grid, dim3 block, size_t shared,
    cudaStream_t stream)
{
  return { { name, (const void *) function, grid, block, shared, nullptr }, function, stream };
}
}

#define PIRL_LAUNCH(kernel, grid, block, shared, stream, ...) \
  pirl_emulator::prepare (#kernel, kernel, grid, block, shared, stream) (__VA_ARGS__)
#define PIRL_DYNAMIC_SHARED(type, name) \
  type *name = static_cast<type *> (pirl_emulator::shared ())
