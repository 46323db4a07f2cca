/* gst-pirl: contrastive terms and memory bank in double precision.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Formulas: PirlContrastDesc in backend.h (NCE: Misra and van der Maaten 2020, equation 5, in the
 * form of VISSL's nce_loss.py). Embeddings [batch][dim], bank [rows][dim], in F64 or F16.
 * Derivatives by the similarity s, with c = K/rows and P = exp (s/tau) / Z:
 *   InfoNCE: dL/ds_p = (q_p - 1) / tau, dL/ds_j = q_j / tau, q = softmax over p and J
 *   NCE:     dL/ds_p = -(c + eps) / (P_p + c + eps) / tau, dL/ds_j = P_j / (P_j + c + eps) / tau
 * Near negatives: in InfoNCE softmax is over weight * exp, in NCE dL/ds_j is multiplied by it.
 */
#include "backends/reference/reference.h"
#include "backends/host.h"

#include <math.h>
#include <string.h>

#define NCE_EPSILON 1.19e-7     /* FLT_EPSILON to the digits of the header */
#define NORM_FLOOR 1e-12

/* Elements of the bank from @first on. */
static void
bank_read (PirlDType dtype, gconstpointer bank, gsize first, gsize n, gdouble *values)
{
  const guint8 *at = (const guint8 *) bank + first * pirl_dtype_size (dtype);

  if (dtype == PIRL_DTYPE_F64) {
    memcpy (values, at, n * sizeof *values);
    return;
  }
  for (gsize i = 0; i < n; i++) {
    gfloat value;

    pirl_to_float (dtype, at + i * pirl_dtype_size (dtype), &value, 1);
    values[i] = value;
  }
}

static void
bank_write (PirlDType dtype, gpointer bank, gsize first, gsize n, const gdouble *values)
{
  guint8 *at = (guint8 *) bank + first * pirl_dtype_size (dtype);

  if (dtype == PIRL_DTYPE_F64) {
    memcpy (at, values, n * sizeof *values);
    return;
  }
  for (gsize i = 0; i < n; i++) {
    const gfloat value = (gfloat) values[i];

    pirl_from_float (dtype, &value, at + i * pirl_dtype_size (dtype), 1);
  }
}

/* One sample's rows of the bank, the positive first, with what is known of each. */
typedef struct {
  gsize n;                      /* 1 + K */
  guint64 *row;
  gdouble *similarity;
  gdouble *weight;              /* 1, but of near negatives */
  gdouble *slope;               /* dL/ds */
  gsize n_near;
  gdouble *m;                   /* a row at a time */
} Candidates;

static void
candidates_fill (Candidates *candidates, const PirlContrastDesc *desc, const gdouble *z,
    gconstpointer bank, guint32 positive, const guint32 *negative)
{
  const gdouble near = pirl_contrast_near (desc);
  gsize n = 0;

  candidates->row[n++] = positive;
  if (negative != NULL)
    for (guint64 k = 0; k < desc->negatives; k++)
      candidates->row[n++] = negative[k];
  else
    for (guint64 row = 0; row < desc->rows; row++)
      if (row != positive)
        candidates->row[n++] = row;

  for (gsize i = 0; i < n; i++) {
    gdouble dot = 0.0;

    bank_read (desc->bank_dtype, bank, candidates->row[i] * desc->dim, desc->dim, candidates->m);
    for (guint d = 0; d < desc->dim; d++)
      dot += z[d] * candidates->m[d];
    candidates->similarity[i] = dot;
    candidates->weight[i] = i > 0 && dot > near ? desc->near_weight : 1.0;
    candidates->n_near += i > 0 && dot > near;
  }
}

static gdouble
infonce (const PirlContrastDesc *desc, Candidates *candidates)
{
  const gdouble tau = desc->temperature;
  gdouble top = -INFINITY, sum = 0.0;

  for (gsize i = 0; i < candidates->n; i++)
    top = MAX (top, candidates->similarity[i] / tau);
  for (gsize i = 0; i < candidates->n; i++)
    sum += candidates->weight[i] * exp (candidates->similarity[i] / tau - top);
  for (gsize i = 0; i < candidates->n; i++)
    candidates->slope[i] = candidates->weight[i] * exp (candidates->similarity[i] / tau - top)
        / sum / tau;
  candidates->slope[0] -= 1.0 / tau;
  return top + log (sum) - candidates->similarity[0] / tau;
}

static gdouble
nce (const PirlContrastDesc *desc, Candidates *candidates)
{
  const gdouble tau = desc->temperature;
  const gdouble c = (gdouble) desc->negatives / (gdouble) desc->rows;
  gdouble loss = 0.0;

  for (gsize i = 0; i < candidates->n; i++) {
    const gdouble p = exp (candidates->similarity[i] / tau) / desc->z;
    const gdouble all = p + c + NCE_EPSILON;

    /* The positive is asked to be data (p), the negatives to be noise (c). */
    loss -= candidates->weight[i] * log ((i == 0 ? p : c) / all);
    candidates->slope[i] = candidates->weight[i] * (i == 0 ? -(c + NCE_EPSILON) : p) / all / tau;
  }
  return loss;
}

static gboolean
contrast_check (const PirlContrastDesc *desc, const guint32 *positive, const guint32 *negative,
    GError **error)
{
  const gsize n_negative = negative ? (gsize) desc->batch * desc->negatives : 0;
  const gchar *problem = pirl_contrast_problem (desc, PIRL_DTYPE_F64, positive, negative);

  for (gsize i = 0; problem == NULL && i < n_negative; i++)
    if (negative[i] >= desc->rows)
      problem = "a negative lies outside of the memory bank";
  if (problem != NULL)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "contrast (batch %u, %" G_GUINT64_FORMAT " rows of %u, %" G_GUINT64_FORMAT
        " negatives): %s", desc->batch, desc->rows, desc->dim, desc->negatives, problem);
  return problem == NULL;
}

/* dz = scale / batch * sum of slope * row. */
static void
candidates_gradient (const Candidates *candidates, const PirlContrastDesc *desc,
    gconstpointer bank, gdouble *dz)
{
  for (guint d = 0; d < desc->dim; d++)
    dz[d] = 0.0;
  for (gsize i = 0; i < candidates->n; i++) {
    bank_read (desc->bank_dtype, bank, candidates->row[i] * desc->dim, desc->dim, candidates->m);
    for (guint d = 0; d < desc->dim; d++)
      dz[d] += candidates->slope[i] * desc->scale / desc->batch * candidates->m[d];
  }
}

gboolean
pirl_reference_contrast (PirlDevice *device, const PirlContrastDesc *desc, gconstpointer embedding,
    gconstpointer bank, const guint32 *positive, const guint32 *negative, gpointer d_embedding,
    PirlContrastStats *stats, GError **error)
{
  const gsize n = 1 + desc->negatives;
  const gboolean nce_loss = desc->loss == PIRL_LOSS_NCE;
  gdouble loss = 0.0, sum_exp = 0.0, sum_positive = 0.0;

  if (!contrast_check (desc, positive, negative, error))
    return FALSE;

  g_autofree guint64 *row = g_new (guint64, n);
  g_autofree gdouble *similarity = g_new (gdouble, n);
  g_autofree gdouble *weight = g_new (gdouble, n);
  g_autofree gdouble *slope = g_new (gdouble, n);
  g_autofree gdouble *m = g_new (gdouble, desc->dim);
  Candidates candidates = { n, row, similarity, weight, slope, 0, m };

  for (guint b = 0; b < desc->batch; b++) {
    const gdouble *z = (const gdouble *) embedding + (gsize) b * desc->dim;

    candidates_fill (&candidates, desc, z, bank, positive[b],
        negative ? negative + b * desc->negatives : NULL);
    loss += nce_loss ? nce (desc, &candidates) : infonce (desc, &candidates);
    sum_positive += similarity[0];
    for (gsize i = 0; i < n; i++)
      sum_exp += (nce_loss ? 1.0 : weight[i]) * exp (similarity[i] / desc->temperature);
    if (d_embedding != NULL)
      candidates_gradient (&candidates, desc, bank,
          (gdouble *) d_embedding + (gsize) b * desc->dim);
  }

  if (stats != NULL) {
    stats->loss = loss / desc->batch;
    stats->mean_exp = sum_exp / ((gdouble) desc->batch * n);
    stats->positive = sum_positive / desc->batch;
    stats->spread = pirl_host_spread (PIRL_DTYPE_F64, embedding, desc->batch, desc->dim);
    stats->near = pirl_contrast_near_share (desc, candidates.n_near);
  }
  return TRUE;
}

gboolean
pirl_reference_bank_update (PirlDevice *device, gpointer bank, PirlDType bank_dtype, guint dim,
    guint batch, const guint32 *positive, const gfloat *momentum, gconstpointer embedding,
    GError **error)
{
  g_autofree gdouble *m = g_new (gdouble, dim);

  if (!pirl_bank_dtype_check (device, bank_dtype, error))
    return FALSE;
  for (guint b = 0; b < batch; b++) {
    const gdouble kept = momentum[b];
    const gdouble *z = (const gdouble *) embedding + (gsize) b * dim;
    gdouble square = 0.0;

    bank_read (bank_dtype, bank, (gsize) positive[b] * dim, dim, m);
    for (guint d = 0; d < dim; d++) {
      m[d] = kept * m[d] + (1.0 - kept) * z[d];
      square += m[d] * m[d];
    }
    for (guint d = 0; d < dim; d++)
      m[d] /= MAX (sqrt (square), NORM_FLOOR);
    bank_write (bank_dtype, bank, (gsize) positive[b] * dim, dim, m);
  }
  return TRUE;
}
