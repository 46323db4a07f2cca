/* gst-pirl: vectors of 16 floats for the own loops of the CPU backend.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The compiler's vector type: one AVX-512 register, two of AVX2, four of SSE2. PIRL_SIMD compiles
 * a function for each of them; the loader picks. Helpers are macros, since passing such vectors
 * by value would change the calling convention from one clone to another. There are no
 * comparisons of vectors, which gcc 12 takes apart into scalars; the bits of a float, read as an
 * integer, are ordered like it as long as it is not negative.
 */
#pragma once

#include <glib.h>

#if defined __x86_64__ && defined __gnu_linux__
#define PIRL_SIMD __attribute__ ((target_clones ("avx512f", "avx2", "default")))
#else
#define PIRL_SIMD
#endif

#define PIRL_LANES 16

typedef gfloat PirlVec __attribute__ ((vector_size (64)));
typedef gint32 PirlVecInt __attribute__ ((vector_size (64)));
typedef guint32 PirlVecUint __attribute__ ((vector_size (64)));
typedef gfloat PirlVecMemory __attribute__ ((vector_size (64), aligned (4), may_alias));

#define VEC_AT(pointer) (*(PirlVecMemory *) (pointer))
#define VEC_CONST_AT(pointer) ((PirlVec) *(const PirlVecMemory *) (pointer))
#define VEC_BITS(v) ((PirlVecInt) (v))
#define VEC_BITS_OF_6 0x40c00000
/* a - b, which may wrap. */
#define VEC_MINUS(a, b) ((PirlVecInt) ((PirlVecUint) (a) - (PirlVecUint) (b)))

/* Masks, all bits or none: v > 0; v < 6 where v >= 0. */
#define VEC_POSITIVE(v) ((VEC_MINUS ((PirlVecUint) { 0 }, v) & ~VEC_BITS (v)) >> 31)
#define VEC_BELOW_6(v) (VEC_MINUS (v, (PirlVecUint) { 0 } + VEC_BITS_OF_6) >> 31)
/* @value where @mask, else 0. */
#define VEC_KEEP(mask, value) ((PirlVec) ((mask) & VEC_BITS (value)))
/* v - v is 0, but NaN for a NaN, which an activation must not hide. */
#define VEC_RELU(v) ((PirlVec) (VEC_BITS (v) & ~(VEC_BITS (v) >> 31)) + ((v) - (v)))
#define VEC_RELU6(v) \
  ((PirlVec) ((VEC_BITS (v) & ~(VEC_BITS (v) >> 31) & VEC_BELOW_6 (v)) \
      | (VEC_BITS_OF_6 & VEC_POSITIVE (v) & ~VEC_BELOW_6 (v))) + ((v) - (v)))
