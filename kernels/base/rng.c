/* gst-pirl: Philox4x32-10 and the draws made from it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One round (Salmon et al., SC 2011, section 3.3), on counter words c0..c3 and key words k0, k1:
 *
 *   c0' = hi (M1 c2) ^ c1 ^ k0     c1' = lo (M1 c2)
 *   c2' = hi (M0 c0) ^ c3 ^ k1     c3' = lo (M0 c0)
 *
 * ten times, the key growing by the Weyl constants between rounds.
 *
 * Everything that leaves the integers is computed in double and rounded to float once, so that a
 * compiler that fuses multiplications and additions gives the same draws as one that does not.
 */
#include "base/rng.h"

#include <math.h>

#if defined (__x86_64__) && defined (__GNUC__)
#include <immintrin.h>
#define HAVE_AVX2 1
#endif

#define PHILOX_ROUNDS 10
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u   /* golden ratio */
#define PHILOX_W1 0xBB67AE85u   /* sqrt (3) - 1 */

/* Blocks that pirl_rng_fill_u32() makes at once. */
#define LANES 8

#define INDEX_HIGH_BITS 24
#define UNIFORM_BITS 24

static void
philox_block (const guint32 counter[4], const guint32 key[2], guint32 out[4])
{
  guint32 c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  guint32 k0 = key[0], k1 = key[1];

  for (guint round = 0; round < PHILOX_ROUNDS; round++) {
    const guint64 p0 = (guint64) PHILOX_M0 * c0;
    const guint64 p1 = (guint64) PHILOX_M1 * c2;

    c0 = (guint32) (p1 >> 32) ^ c1 ^ k0;
    c1 = (guint32) p1;
    c2 = (guint32) (p0 >> 32) ^ c3 ^ k1;
    c3 = (guint32) p0;
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

void
pirl_rng_init (PirlRng *rng, guint64 seed, guint32 epoch, guint64 index, PirlPurpose purpose)
{
  const guint32 index_high = (guint32) (index >> 32) & ((1u << INDEX_HIGH_BITS) - 1);

  rng->key[0] = (guint32) seed;
  rng->key[1] = (guint32) (seed >> 32);
  rng->counter[0] = 0;
  rng->counter[1] = epoch;
  rng->counter[2] = (guint32) index;
  rng->counter[3] = index_high | (guint32) purpose << INDEX_HIGH_BITS;
  rng->used = G_N_ELEMENTS (rng->block);
}

guint32
pirl_rng_u32 (PirlRng *rng)
{
  if (rng->used >= G_N_ELEMENTS (rng->block)) {
    philox_block (rng->counter, rng->key, rng->block);
    rng->counter[0]++;
    rng->used = 0;
  }
  return rng->block[rng->used++];
}

/* Makes LANES consecutive blocks, words in the order of single blocks. */
static void
philox_lanes (const guint32 counter[4], const guint32 key[2], guint32 *out)
{
  guint32 next[4] = { counter[0], counter[1], counter[2], counter[3] };

  for (guint i = 0; i < LANES; i++) {
    philox_block (next, key, out + 4 * i);
    next[0]++;
  }
}

#ifdef HAVE_AVX2
/* Four blocks a vector, a counter word in each 64-bit lane; what stands above its low half does not
 * matter to the multiplication and is masked at the end. Two vectors, so that one's arithmetic
 * hides the other's latency. */
static __attribute__ ((target ("avx2"))) void
philox_lanes_avx2 (const guint32 counter[4], const guint32 key[2], guint32 *out)
{
  const __m256i m0 = _mm256_set1_epi64x (PHILOX_M0), m1 = _mm256_set1_epi64x (PHILOX_M1);
  const __m256i low = _mm256_set1_epi64x (0xffffffff);
  __m256i c0[2], c1[2], c2[2], c3[2];
  guint32 k0 = key[0], k1 = key[1];

  for (guint v = 0; v < 2; v++) {
    c0[v] = _mm256_set_epi64x (counter[0] + 4 * v + 3, counter[0] + 4 * v + 2,
        counter[0] + 4 * v + 1, counter[0] + 4 * v);
    c1[v] = _mm256_set1_epi64x (counter[1]);
    c2[v] = _mm256_set1_epi64x (counter[2]);
    c3[v] = _mm256_set1_epi64x (counter[3]);
  }
  for (guint round = 0; round < PHILOX_ROUNDS; round++) {
    for (guint v = 0; v < 2; v++) {
      const __m256i p0 = _mm256_mul_epu32 (m0, c0[v]), p1 = _mm256_mul_epu32 (m1, c2[v]);

      c0[v] = _mm256_xor_si256 (_mm256_xor_si256 (_mm256_srli_epi64 (p1, 32), c1[v]),
          _mm256_set1_epi64x (k0));
      c2[v] = _mm256_xor_si256 (_mm256_xor_si256 (_mm256_srli_epi64 (p0, 32), c3[v]),
          _mm256_set1_epi64x (k1));
      c1[v] = p1;
      c3[v] = p0;
    }
    k0 += PHILOX_W0;
    k1 += PHILOX_W1;
  }
  for (guint v = 0; v < 2; v++) {
    /* Lanes hold c0 | c1 << 32 and c2 | c3 << 32 of blocks 0..3; blocks lie as 128 bits. */
    const __m256i a = _mm256_or_si256 (_mm256_and_si256 (c0[v], low),
        _mm256_slli_epi64 (c1[v], 32));
    const __m256i b = _mm256_or_si256 (_mm256_and_si256 (c2[v], low),
        _mm256_slli_epi64 (c3[v], 32));
    const __m256i even = _mm256_unpacklo_epi64 (a, b), odd = _mm256_unpackhi_epi64 (a, b);
    __m256i *dst = (__m256i *) (out + 16 * v);

    _mm256_storeu_si256 (dst, _mm256_permute2x128_si256 (even, odd, 0x20));
    _mm256_storeu_si256 (dst + 1, _mm256_permute2x128_si256 (even, odd, 0x31));
  }
}
#endif

typedef void (*LanesFunction) (const guint32 counter[4], const guint32 key[2], guint32 *out);

static LanesFunction
lanes_function (void)
{
#ifdef HAVE_AVX2
  if (__builtin_cpu_supports ("avx2"))
    return philox_lanes_avx2;
#endif
  return philox_lanes;
}

void
pirl_rng_fill_u32 (PirlRng *rng, guint32 *dst, gsize n)
{
  const gsize words = 4 * LANES;
  const LanesFunction lanes = lanes_function ();
  gsize i = 0;

  for (; i < n && rng->used < G_N_ELEMENTS (rng->block); i++)
    dst[i] = pirl_rng_u32 (rng);
  for (; n - i >= words; i += words) {
    lanes (rng->counter, rng->key, dst + i);
    rng->counter[0] += LANES;
  }
  for (; i < n; i++)
    dst[i] = pirl_rng_u32 (rng);
}

guint32
pirl_rng_below (PirlRng *rng, guint32 n)
{
  guint64 product = (guint64) pirl_rng_u32 (rng) * n;

  /* 2^32 mod n of the low words would make some results likelier than others. */
  if ((guint32) product < n) {
    const guint32 surplus = -n % n;

    while ((guint32) product < surplus)
      product = (guint64) pirl_rng_u32 (rng) * n;
  }
  return (guint32) (product >> 32);
}

static gdouble
uniform (PirlRng *rng)
{
  return (pirl_rng_u32 (rng) >> (32 - UNIFORM_BITS)) * (1.0 / (1u << UNIFORM_BITS));
}

gfloat
pirl_rng_uniform (PirlRng *rng)
{
  return (gfloat) uniform (rng);
}

gfloat
pirl_rng_range (PirlRng *rng, gfloat lo, gfloat hi)
{
  return (gfloat) (lo + ((gdouble) hi - lo) * uniform (rng));
}

gboolean
pirl_rng_chance (PirlRng *rng, gfloat p)
{
  return uniform (rng) < p;
}

gfloat
pirl_rng_normal (PirlRng *rng)
{
  /* 1 - u is in (0, 1]: the logarithm is finite. */
  const gdouble radius = sqrt (-2.0 * log (1.0 - uniform (rng)));

  return (gfloat) (radius * cos (2.0 * G_PI * uniform (rng)));
}

void
pirl_rng_permutation (PirlRng *rng, guint32 *order, guint32 n)
{
  for (guint32 i = 0; i < n; i++)
    order[i] = i;
  for (guint32 i = n; i > 1; i--) {
    const guint32 j = pirl_rng_below (rng, i);
    const guint32 swapped = order[j];

    order[j] = order[i - 1];
    order[i - 1] = swapped;
  }
}
