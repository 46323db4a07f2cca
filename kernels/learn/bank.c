/* gst-pirl: which rows of the memory bank a sample is contrasted with.
 *
 * The sample with bank row i draws in epoch e from the stream (seed, e, i, purpose), so that its
 * negatives do not depend on the batch it comes in. With replacement, uniform over all rows, or
 * over all but its own: draw below rows - 1 and add one from i on.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

void
pirl_draw_negatives (const PirlTrainerConfig *config, guint64 k, guint32 epoch,
    const guint32 *rows, PirlPurpose purpose, guint32 *negative)
{
  const guint32 n = (guint32) config->bank_rows;

  for (guint b = 0; b < config->batch; b++) {
    guint32 *row = negative + (gsize) b * k;
    PirlRng rng;

    pirl_rng_init (&rng, config->seed, epoch, rows[b], purpose);
    if (config->exclude_positive) {
      for (guint64 j = 0; j < k; j++) {
        const guint32 draw = pirl_rng_below (&rng, n - 1);

        row[j] = draw + (draw >= rows[b]);
      }
    } else {
      for (guint64 j = 0; j < k; j++)
        row[j] = pirl_rng_below (&rng, n);
    }
  }
}
