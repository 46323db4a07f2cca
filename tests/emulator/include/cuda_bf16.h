/* gst-pirl: bfloat16 for the emulator, in bits.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The upper half of a float; to nearest, ties to even, as the card rounds.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus

struct alignas (2) __nv_bfloat16 { uint16_t bits; };
struct alignas (4) __nv_bfloat162 { __nv_bfloat16 x, y; };
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

static inline float
__bfloat162float (__nv_bfloat16 b)
{
  const uint32_t bits = (uint32_t) b.bits << 16;
  float x;

  memcpy (&x, &bits, sizeof (x));
  return x;
}

static inline __nv_bfloat16
__float2bfloat16_rn (float x)
{
  uint32_t bits;

  memcpy (&bits, &x, sizeof (bits));
  if ((bits & 0x7fffffff) > 0x7f800000)
    return { 0x7fff };
  return { (uint16_t) ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) };
}

static inline __nv_bfloat16 __float2bfloat16 (float x) { return __float2bfloat16_rn (x); }
static inline __nv_bfloat162 __floats2bfloat162_rn (float x, float y)
{
  return { __float2bfloat16_rn (x), __float2bfloat16_rn (y) };
}
static inline float __low2float (__nv_bfloat162 b) { return __bfloat162float (b.x); }
static inline float __high2float (__nv_bfloat162 b) { return __bfloat162float (b.y); }
static inline __nv_bfloat162 __halves2bfloat162 (__nv_bfloat16 x, __nv_bfloat16 y)
{
  return { x, y };
}
static inline unsigned short __bfloat16_as_ushort (__nv_bfloat16 b) { return b.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16 (unsigned short bits) { return { bits }; }

#endif
