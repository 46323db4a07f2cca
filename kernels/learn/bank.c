/* gst-pirl: which rows of the memory bank a sample is contrasted with.
 *
 * The sample with bank row i draws in epoch e from the stream (seed, e, i, purpose), so that its
 * negatives do not depend on the batch it comes in. With replacement, uniform over all rows, or
 * over all but its own: draw below rows - 1 and add one from i on.
 *
 * The draws are those of pirl_rng_below(), made in bulk: a word w gives (w n) >> 32 unless the low
 * half of the product falls under 2^32 mod n, when it is skipped (Lemire, 2019).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

/* Words drawn at once: they stay in the first-level cache. */
#define CHUNK 1024

/* Puts what @words give at @row; returns how many that is. */
static gsize
take_words (const guint32 *restrict words, gsize n_words, guint32 n, guint32 *restrict row)
{
  const guint32 surplus = -n % n;
  guint32 skipped = 0;
  gsize have = 0;

  for (gsize i = 0; i < n_words; i++) {
    row[i] = (guint32) (((guint64) words[i] * n) >> 32);
    skipped |= words[i] * n < surplus;
  }
  if (!skipped)
    return n_words;
  for (gsize i = 0; i < n_words; i++) {
    row[have] = (guint32) (((guint64) words[i] * n) >> 32);
    have += words[i] * n >= surplus;
  }
  return have;
}

void
pirl_draw_negatives (const PirlTrainerConfig *config, guint64 k, guint32 epoch,
    const guint32 *rows, PirlPurpose purpose, guint32 *negative)
{
  const guint32 n = (guint32) config->bank_rows - (config->exclude_positive ? 1 : 0);
  guint32 words[CHUNK];

  for (guint b = 0; b < config->batch; b++) {
    guint32 *row = negative + (gsize) b * k;
    PirlRng rng;

    pirl_rng_init (&rng, config->seed, epoch, rows[b], purpose);
    for (guint64 have = 0; have < k;) {
      const gsize wanted = MIN (CHUNK, k - have);

      pirl_rng_fill_u32 (&rng, words, wanted);
      have += take_words (words, wanted, n, row + have);
    }
    if (config->exclude_positive)
      for (guint64 j = 0; j < k; j++)
        row[j] += row[j] >= rows[b];
  }
}
