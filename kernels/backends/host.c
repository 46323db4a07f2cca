/* gst-pirl: operations of backends whose memory is the host's.
 *
 * Draws: a word w gives (w n) >> 32 unless the low half of the product falls under 2^32 mod n, when
 * it is skipped (Lemire, 2019): pirl_rng_below() in bulk.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/host.h"

#include <math.h>
#include <string.h>

/* Words drawn at once: they stay in the first-level cache. */
#define CHUNK 1024

gboolean
pirl_host_copy (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes, GError **error)
{
  if (bytes > 0)
    memcpy (dst, src, bytes);
  return TRUE;
}

gboolean
pirl_host_zero (PirlDevice *device, gpointer dst, gsize bytes, GError **error)
{
  if (bytes > 0)
    memset (dst, 0, bytes);
  return TRUE;
}

gboolean
pirl_host_rows (PirlDevice *device, gpointer table, gpointer aside, gsize row_bytes, guint n,
    const guint32 *row, gboolean back, GError **error)
{
  for (gsize i = 0; i < n; i++) {
    guint8 *in_table = (guint8 *) table + row[i] * row_bytes;
    guint8 *in_aside = (guint8 *) aside + i * row_bytes;

    memcpy (back ? in_table : in_aside, back ? in_aside : in_table, row_bytes);
  }
  return TRUE;
}

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

gboolean
pirl_host_draw (PirlDevice *device, const PirlDrawDesc *desc, const guint32 *positive,
    guint32 *negative, GError **error)
{
  const guint32 n = (guint32) desc->rows - (desc->exclude_positive ? 1 : 0);
  guint32 words[CHUNK];

  for (guint b = 0; b < desc->batch; b++) {
    guint32 *row = negative + (gsize) b * desc->negatives;
    PirlRng rng;

    pirl_rng_init (&rng, desc->seed, desc->epoch, positive[b], desc->purpose);
    for (guint64 have = 0; have < desc->negatives;) {
      const gsize wanted = MIN (CHUNK, desc->negatives - have);

      pirl_rng_fill_u32 (&rng, words, wanted);
      have += take_words (words, wanted, n, row + have);
    }
    if (desc->exclude_positive)
      for (guint64 j = 0; j < desc->negatives; j++)
        row[j] += row[j] >= positive[b];
  }
  return TRUE;
}

static gdouble
value_at (PirlDType dtype, gconstpointer values, gsize i)
{
  return dtype == PIRL_DTYPE_F64 ? ((const gdouble *) values)[i] : ((const gfloat *) values)[i];
}

static void
set_value_at (PirlDType dtype, gpointer values, gsize i, gdouble value)
{
  if (dtype == PIRL_DTYPE_F64)
    ((gdouble *) values)[i] = value;
  else
    ((gfloat *) values)[i] = (gfloat) value;
}

gboolean
pirl_host_cross_entropy (PirlDevice *device, guint batch, guint classes, gconstpointer logits,
    const gint *labels, gpointer d_logits, PirlEntropyStats *stats, GError **error)
{
  const PirlDType dtype = device->param_dtype;
  guint right = 0;

  stats->loss = 0;
  for (guint b = 0; b < batch; b++) {
    const gsize first = (gsize) b * classes;
    gdouble sum = 0, max;
    guint best = 0;

    for (guint j = 1; j < classes; j++)
      if (value_at (dtype, logits, first + j) > value_at (dtype, logits, first + best))
        best = j;
    max = value_at (dtype, logits, first + best);
    for (guint j = 0; j < classes; j++)
      sum += exp (value_at (dtype, logits, first + j) - max);
    stats->loss += (log (sum) + max - value_at (dtype, logits, first + labels[b])) / batch;
    for (guint j = 0; j < classes; j++)
      set_value_at (dtype, d_logits, first + j,
          (exp (value_at (dtype, logits, first + j) - max) / sum - (j == (guint) labels[b]))
          / batch);
    right += best == (guint) labels[b];
  }
  stats->accuracy = (gdouble) right / batch;
  return TRUE;
}

gdouble
pirl_host_spread (PirlDType dtype, gconstpointer embedding, guint batch, guint dim)
{
  gdouble square = 0;

  for (guint d = 0; d < dim; d++) {
    gdouble mean = 0;

    for (guint b = 0; b < batch; b++)
      mean += value_at (dtype, embedding, (gsize) b * dim + d);
    mean /= batch;
    square += mean * mean;
  }
  return 1 - square;
}

const gchar *
pirl_contrast_problem (const PirlContrastDesc *desc, PirlDType param_dtype,
    const guint32 *positive, const guint32 *negative)
{
  if (desc->bank_dtype != param_dtype && desc->bank_dtype != PIRL_DTYPE_F16)
    return "the bank must be of the type of the device's parameters, or F16";
  if (desc->batch == 0 || desc->dim == 0 || desc->rows == 0)
    return "batch, dim and rows must be at least 1";
  if (!(desc->temperature > 0))
    return "the temperature must be above 0";
  if (desc->loss == PIRL_LOSS_NCE && (!(desc->z > 0) || desc->negatives == 0))
    return "the NCE loss needs negatives and a Z above 0";
  if (!negative && desc->negatives != desc->rows - 1)
    return "without chosen negatives there must be as many as the bank has other rows";
  if (!(desc->near_weight >= 0 && desc->near_weight <= 1))
    return "near negatives must count with a weight from 0 to 1";
  for (guint b = 0; b < desc->batch; b++)
    if (positive[b] >= desc->rows)
      return "a sample's own row is beyond the bank";
  return NULL;
}

gdouble
pirl_contrast_near (const PirlContrastDesc *desc)
{
  return desc->near > 0 && desc->near < 1 ? desc->near : INFINITY;
}

gdouble
pirl_contrast_near_share (const PirlContrastDesc *desc, gdouble n_near)
{
  return n_near > 0 ? n_near / ((gdouble) desc->batch * (gdouble) desc->negatives) : 0;
}

gdouble
pirl_lars_local (const PirlLars *values, gdouble weight_norm, gdouble gradient_norm)
{
  if (weight_norm == 0)
    return 1;
  return values->trust * weight_norm
      / (gradient_norm + values->weight_decay * weight_norm + values->epsilon);
}

gboolean
pirl_bank_dtype_check (const PirlDevice *device, PirlDType bank_dtype, GError **error)
{
  if (bank_dtype == device->param_dtype || bank_dtype == PIRL_DTYPE_F16)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "a memory bank of %s cannot be updated on %s; one of %s or F16 can",
      pirl_dtype_name (bank_dtype), device->backend->name, pirl_dtype_name (device->param_dtype));
  return FALSE;
}
