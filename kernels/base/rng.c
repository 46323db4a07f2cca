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

#define PHILOX_ROUNDS 10
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u   /* golden ratio */
#define PHILOX_W1 0xBB67AE85u   /* sqrt (3) - 1 */

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
