/* gst-pirl: IEEE half precision for the emulator, in bits.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * 1 sign, 5 exponent (bias 15), 10 fraction bits; to nearest, ties to even, as the card rounds.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus

struct alignas (2) __half { uint16_t bits; };
struct alignas (4) __half2 { __half x, y; };
typedef __half half;
typedef __half2 half2;

static inline float
__half2float (__half h)
{
  const uint32_t sign = (uint32_t) (h.bits & 0x8000) << 16;
  const uint32_t exponent = h.bits >> 10 & 31, fraction = h.bits & 0x3ff;
  uint32_t bits;
  float x;

  if (exponent == 0) {          /* zero and denormals: fraction * 2^-24 */
    x = (float) fraction * 0x1p-24f;
    return sign ? -x : x;
  }
  bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
  memcpy (&x, &bits, sizeof (x));
  return x;
}

static inline __half
__float2half_rn (float x)
{
  uint32_t bits;

  memcpy (&bits, &x, sizeof (bits));
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;

  if (magnitude > 0x7f800000)
    return { 0x7fff };
  if (magnitude >= 0x477ff000)  /* 65520 and more round to infinity */
    return { (uint16_t) (sign | 0x7c00) };
  if (magnitude >= 0x38800000) {        /* 2^-14 and more: normal */
    const uint32_t rebased = magnitude - (112u << 23);

    return { (uint16_t) (sign | (rebased + 0xfff + (rebased >> 13 & 1)) >> 13) };
  }
  /* Denormal: next to 2^-1 a float's last bit is 2^-24, the half's. */
  float moved;

  memcpy (&moved, &magnitude, sizeof (moved));
  moved += 0.5f;
  memcpy (&bits, &moved, sizeof (bits));
  return { (uint16_t) (sign | (bits - 0x3f000000)) };
}

static inline __half __float2half (float x) { return __float2half_rn (x); }
static inline __half2 __floats2half2_rn (float x, float y)
{
  return { __float2half_rn (x), __float2half_rn (y) };
}
static inline float __low2float (__half2 h) { return __half2float (h.x); }
static inline float __high2float (__half2 h) { return __half2float (h.y); }
static inline __half2 __halves2half2 (__half x, __half y) { return { x, y }; }
static inline unsigned short __half_as_ushort (__half h) { return h.bits; }
static inline __half __ushort_as_half (unsigned short bits) { return { bits }; }

#endif
