/* gst-pirl: contrastive losses against the memory bank on the CPU (formulas: PirlContrastDesc).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * With e_j = exp ((s_j - 1) / tau), which unit vectors keep at or below 1, and k = exp (1/tau) / Z,
 * the gradient with respect to z is a weighted sum of bank rows:
 *   InfoNCE: (sum over J and p of e_j m_j / sum of e_j  -  m_p) / tau
 *   NCE:     (sum over J of P_j / (P_j + c + eps) m_j  -  (c + eps) / (P_p + c + eps) m_p) / tau,
 *            P_j = k e_j
 * so that loss and gradient need one pass over the rows: a few rows' scores, their weights, and the
 * weighted sum while the rows are still in the cache. Where every row is a negative, the bank is
 * cut into blocks and both products are matrix products for all samples at once.
 *
 * A near negative's weight multiplies e_j in InfoNCE; in NCE its logarithm and what it gives to the
 * sum of rows.
 *
 * A bank of F16 is read through a few rows, or a block, of floats made from it.
 *
 * The work is cut independently of the number of threads, and sums are joined in order.
 */
#include "backends/cpu/cpu.h"
#include "backends/cpu/simd.h"
#include "backends/host.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

#define NCE_EPSILON 1.19e-7
#define PART 8192               /* negatives of one piece of work */
#define GROUP 32                /* rows in the cache at a time: 16 KB of 128 floats */
#define AHEAD 32                /* rows fetched in advance, into the second cache */
#define ADDED (4 * PIRL_LANES)  /* floats of a row that are added at once */
#define BLOCK 1024              /* rows of the bank in one matrix product */
#define LOGS 4                  /* factors multiplied before their logarithm is taken */

typedef struct {
  const PirlContrastDesc *desc;
  const gfloat *embedding;
  const gfloat *bank;           /* NULL: the bank is of F16 */
  const guint16 *half;          /* then this is it */
  const guint32 *positive, *negative;
  gboolean gradient;
  gfloat inverse_tau, k, c_eps;
  gdouble c;
  gboolean has_near;
  gfloat near, near_weight;
} Contrast;

/* Sums over some negatives of one sample. */
typedef struct {
  gdouble exp_sum;              /* of e_j */
  gdouble loss;                 /* NCE: sum of log ((P_j + c + eps) / c) */
  gsize n_near;
} Sums;

/* --- scores ---------------------------------------------------------------------------------- */

/* exp (x) to about 1e-7, 0 below -87: 2^n times a polynomial in the rest, |rest| <= ln 2 / 2. */
static inline gfloat
exp_of (gfloat x)
{
  const gfloat rounding = 12582912.f;   /* 1.5 * 2^23: adding it rounds to an integer */
  const gfloat clamped = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
  const gfloat shifted = clamped * 1.44269504f + rounding;
  const gfloat n = shifted - rounding;
  const gfloat r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  gfloat p = 1.f / 5040.f;
  union {
    gfloat f;
    guint32 i;
  } power = {.f = shifted };

  p = p * r + 1.f / 720.f;
  p = p * r + 1.f / 120.f;
  p = p * r + 1.f / 24.f;
  p = p * r + 1.f / 6.f;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  power.i = (power.i + 127) << 23;      /* the low bits of shifted are n */
  return x < -87.f ? 0.f : p * power.f;
}

/* Scores become e_j. */
PIRL_SIMD static void
exponentials (gfloat *s, gsize n, gfloat inverse_tau)
{
  for (gsize i = 0; i < n; i++)
    s[i] = exp_of ((s[i] - 1.f) * inverse_tau);
}

/* e_j become the weights P_j / (P_j + c + eps). */
PIRL_SIMD static void
nce_weights (gfloat *e, gsize n, gfloat k, gfloat c_eps)
{
  for (gsize i = 0; i < n; i++) {
    const gfloat p = e[i] * k;

    e[i] = p / (p + c_eps);
  }
}

static gdouble
nce_loss (const gfloat *e, gsize n, gdouble k, gdouble c)
{
  const gdouble over_c = 1 / c, first = (c + NCE_EPSILON) / c;
  gdouble loss = 0;

  for (gsize i = 0; i < n; i += LOGS) {
    const gsize end = MIN (n, i + LOGS);
    gdouble product = 1;

    for (gsize j = i; j < end; j++)
      product *= e[j] * k * over_c + first;
    loss += log (product);
  }
  return loss;
}

/* The weights of negatives by their scores. */
PIRL_SIMD static gsize
near_weights (const gfloat *s, gsize n, gfloat near, gfloat near_weight, gfloat *weight)
{
  guint32 n_near = 0;

  for (gsize i = 0; i < n; i++) {
    weight[i] = s[i] > near ? near_weight : 1.f;
    n_near += s[i] > near;
  }
  return n_near;
}

PIRL_SIMD static void
multiply (gfloat *s, const gfloat *weight, gsize n)
{
  for (gsize i = 0; i < n; i++)
    s[i] *= weight[i];
}

/* weigh() where some of up to BLOCK negatives may be near. */
static void
weigh_near (const Contrast *t, gfloat *s, gsize n, Sums *sums)
{
  gfloat weight[BLOCK];

  sums->n_near += near_weights (s, n, t->near, t->near_weight, weight);
  exponentials (s, n, t->inverse_tau);
  if (t->desc->loss == PIRL_LOSS_INFONCE)
    multiply (s, weight, n);
  for (gsize i = 0; i < n; i++)
    sums->exp_sum += s[i];
  if (t->desc->loss == PIRL_LOSS_INFONCE)
    return;
  for (gsize i = 0; i < n; i++)
    sums->loss += weight[i] * nce_loss (s + i, 1, t->k, t->c);
  nce_weights (s, n, t->k, t->c_eps);
  multiply (s, weight, n);
}

/* Scores of negatives become weights of their rows; adds to @sums. */
static void
weigh (const Contrast *t, gfloat *s, gsize n, Sums *sums)
{
  if (t->has_near) {
    weigh_near (t, s, n, sums);
    return;
  }
  exponentials (s, n, t->inverse_tau);
  for (gsize i = 0; i < n; i++)
    sums->exp_sum += s[i];
  if (t->desc->loss == PIRL_LOSS_NCE) {
    sums->loss += nce_loss (s, n, t->k, t->c);
    nce_weights (s, n, t->k, t->c_eps);
  }
}

/* --- chosen negatives ------------------------------------------------------------------------ */

static inline __attribute__ ((always_inline)) gfloat
dot_inline (const gfloat *restrict a, const gfloat *restrict b, gsize n)
{
  PirlVec sum = { 0 };
  gfloat lane[PIRL_LANES], rest = 0.f;
  gsize i;

  for (i = 0; i + PIRL_LANES <= n; i += PIRL_LANES)
    sum += VEC_CONST_AT (a + i) * VEC_CONST_AT (b + i);
  for (; i < n; i++)
    rest += a[i] * b[i];
  VEC_AT (lane) = sum;
  for (gint half = PIRL_LANES / 2; half; half /= 2) {
    for (gint l = 0; l < half; l++)
      lane[l] += lane[l + half];
  }
  return lane[0] + rest;
}

PIRL_SIMD static gfloat
dot (const gfloat *a, const gfloat *b, gsize n)
{
  return dot_inline (a, b, n);
}

/* Rows come from anywhere in a bank that no cache holds. What is fetched of the row AHEAD of the
 * current one is shared between scoring, the first floats, so many, and adding, half as many as are
 * added: so memory has work all the time. */
static inline gsize
fetched_by_scores (gsize dim)
{
  return dim - dim / ADDED * (ADDED / 2);
}

static inline void
fetch (const gfloat *floats, gsize n)
{
  for (gsize i = 0; i < n; i += PIRL_LANES)
    __builtin_prefetch (floats + i, 0, 2);
}

/* Scores of @n rows; @total >= n: indices that may be looked at to fetch ahead. */
PIRL_SIMD static void
score_rows (const gfloat *bank, const gfloat *z, const guint32 *index, gsize n, gsize total,
    gsize dim, gfloat *s)
{
  for (gsize i = 0; i < n; i++) {
    fetch (bank + index[MIN (i + AHEAD, total - 1)] * dim, fetched_by_scores (dim));
    s[i] = dot_inline (z, bank + index[i] * dim, dim);
  }
}

/* Chosen rows of a bank of F16 as floats, one after the other. */
static void
widen_rows (const Contrast *t, const guint32 *index, gsize n, gfloat *rows)
{
  const gsize dim = t->desc->dim;

  for (gsize i = 0; i < n; i++)
    pirl_to_float (PIRL_DTYPE_F16, t->half + index[i] * dim, rows + i * dim, dim);
}

/* sum += the rows times their weights; @total as above. */
PIRL_SIMD static void
add_rows (const gfloat *bank, const guint32 *index, const gfloat *weight, gsize n, gsize total,
    gsize dim, gfloat *restrict sum)
{
  gsize d = 0;

  for (; d + ADDED <= dim; d += ADDED) {
    const gsize fetched = fetched_by_scores (dim) + d / 2;
    PirlVec s0 = VEC_CONST_AT (sum + d), s1 = VEC_CONST_AT (sum + d + PIRL_LANES);
    PirlVec s2 = VEC_CONST_AT (sum + d + 2 * PIRL_LANES);
    PirlVec s3 = VEC_CONST_AT (sum + d + 3 * PIRL_LANES);

    for (gsize i = 0; i < n; i++) {
      const gfloat *row = bank + index[i] * dim + d, w = weight[i];

      fetch (bank + index[MIN (i + AHEAD, total - 1)] * dim + fetched, ADDED / 2);
      s0 += w * VEC_CONST_AT (row);
      s1 += w * VEC_CONST_AT (row + PIRL_LANES);
      s2 += w * VEC_CONST_AT (row + 2 * PIRL_LANES);
      s3 += w * VEC_CONST_AT (row + 3 * PIRL_LANES);
    }
    VEC_AT (sum + d) = s0;
    VEC_AT (sum + d + PIRL_LANES) = s1;
    VEC_AT (sum + d + 2 * PIRL_LANES) = s2;
    VEC_AT (sum + d + 3 * PIRL_LANES) = s3;
  }
  for (gsize i = 0; d < dim && i < n; i++) {
    for (gsize j = d; j < dim; j++)
      sum[j] += weight[i] * bank[index[i] * dim + j];
  }
}

/* Sums and weighted rows of up to PART negatives of one sample; those of F16 become floats in @wide
 * [GROUP][dim]. FALSE: an index is too large. */
static gboolean
part_of_sample (const Contrast *t, const gfloat *z, const guint32 *index, gsize n, gfloat *wide,
    Sums *sums, gfloat *rows)
{
  const gsize dim = t->desc->dim;
  const gfloat *bank = t->half ? wide : t->bank;
  guint32 in_order[GROUP];

  for (guint32 i = 0; i < GROUP; i++)
    in_order[i] = i;
  for (gsize i = 0; i < n; i++) {
    if (index[i] >= t->desc->rows)
      return FALSE;
  }
  for (gsize i = 0; i < n; i += GROUP) {
    const gsize count = MIN (GROUP, n - i);
    const gsize total = t->half ? count : n - i;
    const guint32 *at = t->half ? in_order : index + i;
    gfloat s[GROUP];

    if (t->half)
      widen_rows (t, index + i, count, wide);
    score_rows (bank, z, at, count, total, dim, s);
    weigh (t, s, count, sums);
    if (t->gradient)
      add_rows (bank, at, s, count, total, dim, rows);
  }
  return TRUE;
}

/* Joins the parts of each sample into the first one's place. */
static void
join_parts (const Contrast *t, gsize parts, Sums *sums, gfloat *rows)
{
  const gsize dim = t->desc->dim;

#pragma omp parallel for schedule(static)
  for (gsize b = 0; b < t->desc->batch; b++) {
    Sums whole = { 0 };

    for (gsize p = 0; p < parts; p++) {
      whole.exp_sum += sums[b * parts + p].exp_sum;
      whole.loss += sums[b * parts + p].loss;
      whole.n_near += sums[b * parts + p].n_near;
      for (gsize d = 0; p && t->gradient && d < dim; d++)
        rows[b * parts * dim + d] += rows[(b * parts + p) * dim + d];
    }
    sums[b * parts] = whole;
  }
}

/* @wide: GROUP rows a thread. */
static gboolean
chosen_negatives (const Contrast *t, gsize parts, gfloat *wide, Sums *sums, gfloat *rows,
    GError **error)
{
  const gsize dim = t->desc->dim, negatives = t->desc->negatives;
  const gsize pieces = t->desc->batch * parts;
  gint bad = 0;

#pragma omp parallel for schedule(static) reduction(|:bad)
  for (gsize i = 0; i < pieces; i++) {
    const gsize b = i / parts, begin = i % parts * PART;
    const gsize n = negatives > begin ? MIN (PART, negatives - begin) : 0;

    gfloat *own_wide = t->half ? wide + (gsize) omp_get_thread_num () * GROUP * dim : NULL;

    bad |= !part_of_sample (t, t->embedding + b * dim, t->negative + b * negatives + begin, n,
        own_wide, &sums[i], rows + i * dim);
  }
  if (bad) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a negative's index is beyond the bank's %" G_GUINT64_FORMAT " rows", t->desc->rows);
    return FALSE;
  }
  join_parts (t, parts, sums, rows);
  return TRUE;
}

/* --- all rows as negatives ------------------------------------------------------------------- */

/* Scores [batch][n] of rows @begin.. become weights, that of a sample's own row 0. */
static void
weigh_block (const Contrast *t, gsize begin, gsize n, gfloat *s, Sums *sums)
{
#pragma omp parallel for schedule(static)
  for (gsize b = 0; b < t->desc->batch; b++) {
    const gsize p = t->positive[b];
    gfloat *row = s + b * n;

    if (p < begin || p >= begin + n) {
      weigh (t, row, n, &sums[b]);
      continue;
    }
    weigh (t, row, p - begin, &sums[b]);
    weigh (t, row + (p - begin + 1), begin + n - p - 1, &sums[b]);
    row[p - begin] = 0.f;
  }
}

/* Rows @begin.. of the bank; of F16 they are made floats in @wide. */
static const gfloat *
bank_block (const Contrast *t, gsize begin, gsize n, gfloat *wide)
{
  const gsize dim = t->desc->dim;

  if (!t->half)
    return t->bank + begin * dim;
#pragma omp parallel for schedule(static)
  for (gsize i = 0; i < n; i++)
    pirl_to_float (PIRL_DTYPE_F16, t->half + (begin + i) * dim, wide + i * dim, dim);
  return wide;
}

static gboolean
all_negatives (const Contrast *t, gfloat *s, gfloat *wide, Sums *sums, gfloat *rows,
    GError **error)
{
  const gsize batch = t->desc->batch, dim = t->desc->dim;

  for (gsize begin = 0; begin < t->desc->rows; begin += BLOCK) {
    const gsize n = MIN (BLOCK, t->desc->rows - begin);
    const gfloat *block = bank_block (t, begin, n, wide);
    const PirlDnnGemm scores = {.transpose_b = TRUE, .m = batch, .n = n, .k = dim,
      .a = t->embedding, .b = block, .c = s };
    const PirlDnnGemm weighted = {.m = batch, .n = dim, .k = n, .a = s, .b = block, .beta = 1.f,
      .c = rows };

    if (!pirl_dnn_gemm (&scores, error))
      return FALSE;
    weigh_block (t, begin, n, s, sums);
    if (t->gradient && !pirl_dnn_gemm (&weighted, error))
      return FALSE;
  }
  return TRUE;
}

/* --- the result ------------------------------------------------------------------------------ */

typedef struct {
  gdouble loss, exp_sum, score;
} Sample;

/* One sample's loss, with its positive; @rows: the weighted sum of its negatives; @own: its row. */
static Sample
finish_sample (const Contrast *t, gsize b, const gfloat *own, const Sums *sums,
    const gfloat *rows, gfloat *d)
{
  const PirlContrastDesc *desc = t->desc;
  const gdouble tau = desc->temperature, factor = desc->scale / (desc->batch * tau);
  const gdouble score = dot (t->embedding + b * desc->dim, own, desc->dim);
  const gdouble e = exp ((score - 1) / tau), total = sums->exp_sum + e;
  Sample sample = {.exp_sum = total, .score = score };
  gdouble rows_weight = 1, own_weight;

  if (desc->loss == PIRL_LOSS_INFONCE) {
    sample.loss = log (total) - (score - 1) / tau;
    rows_weight = 1 / total;
    own_weight = e / total - 1;
  } else {
    const gdouble p = exp (score / tau) / desc->z, c_eps = t->c + NCE_EPSILON;

    sample.loss = log ((p + c_eps) / p) + sums->loss;
    own_weight = -c_eps / (p + c_eps);
  }
  for (gsize i = 0; d && i < desc->dim; i++)
    d[b * desc->dim + i] = factor * (rows_weight * rows[i] + own_weight * own[i]);
  return sample;
}

/* @stride: samples' sums are this many apart; @wide: a row a thread. */
static void
finish (const Contrast *t, gsize stride, gfloat *wide, const Sums *sums, const gfloat *rows,
    gfloat *d, Sample *samples, PirlContrastStats *stats)
{
  const gsize dim = t->desc->dim;
  const gdouble batch = t->desc->batch, per_sample = t->desc->negatives + 1.;
  gdouble loss = 0, exp_sum = 0, score = 0, n_near = 0;

#pragma omp parallel for schedule(static)
  for (gsize b = 0; b < t->desc->batch; b++) {
    gfloat *own_wide = t->half ? wide + (gsize) omp_get_thread_num () * dim : NULL;

    if (t->half)
      widen_rows (t, &t->positive[b], 1, own_wide);
    samples[b] = finish_sample (t, b, t->half ? own_wide : t->bank + t->positive[b] * dim,
        &sums[b * stride], rows + b * stride * dim, d);
  }
  for (gsize b = 0; b < t->desc->batch; b++) {
    loss += samples[b].loss;
    exp_sum += samples[b].exp_sum;
    score += samples[b].score;
    n_near += (gdouble) sums[b * stride].n_near;
  }
  stats->loss = loss / batch;
  stats->mean_exp = exp_sum / (batch * per_sample) * exp (1 / t->desc->temperature);
  stats->positive = score / batch;
  stats->spread = pirl_host_spread (PIRL_DTYPE_F32, t->embedding, t->desc->batch, t->desc->dim);
  stats->near = pirl_contrast_near_share (t->desc, n_near);
}

static gboolean
check (const PirlContrastDesc *desc, const guint32 *positive, const guint32 *negative,
    GError **error)
{
  const gchar *problem = pirl_contrast_problem (desc, PIRL_DTYPE_F32, positive, negative);

  if (problem)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "contrast (batch %u, %" G_GUINT64_FORMAT
        " rows, %" G_GUINT64_FORMAT " negatives): %s", desc->batch, desc->rows, desc->negatives,
        problem);
  return problem == NULL;
}

/* Where a contrast keeps what it needs on the way. */
typedef struct {
  Sums *sums;
  gfloat *rows, *scores, *wide;
  Sample *samples;
} Scratch;

/* One piece of memory, to be freed; NULL with @error when there is none. */
static guint8 *
scratch_init (Scratch *scratch, const Contrast *t, gsize parts, GError **error)
{
  const gsize batch = t->desc->batch, dim = t->desc->dim, pieces = batch * parts;
  const gsize block = MIN (BLOCK, t->desc->rows);
  const gsize wide_rows = MAX ((gsize) omp_get_max_threads () * GROUP, block);
  gsize bytes = 0;
  const gsize at_sums = pirl_cpu_region (&bytes, pieces * sizeof (Sums));
  const gsize at_rows = pirl_cpu_region (&bytes, pieces * dim * sizeof (gfloat));
  const gsize at_samples = pirl_cpu_region (&bytes, batch * sizeof (Sample));
  const gsize at_scores = pirl_cpu_region (&bytes,
      t->negative ? 0 : batch * block * sizeof (gfloat));
  const gsize at_wide = pirl_cpu_region (&bytes, t->half ? wide_rows * dim * sizeof (gfloat) : 0);
  guint8 *memory = pirl_cpu_alloc (bytes, error);

  if (memory)
    *scratch = (Scratch) { (gpointer) (memory + at_sums), (gpointer) (memory + at_rows),
      (gpointer) (memory + at_scores), (gpointer) (memory + at_wide),
      (gpointer) (memory + at_samples) };
  return memory;
}

gboolean
pirl_cpu_contrast (const PirlContrastDesc *desc, const gfloat *embedding, gconstpointer bank,
    const guint32 *positive, const guint32 *negative, gfloat *d_embedding,
    PirlContrastStats *stats, GError **error)
{
  const gdouble c = (gdouble) desc->negatives / desc->rows;
  const gdouble near = pirl_contrast_near (desc);
  const gboolean half = desc->bank_dtype == PIRL_DTYPE_F16;
  const Contrast t = {.desc = desc, .embedding = embedding, .bank = half ? NULL : bank,
    .half = half ? bank : NULL, .positive = positive, .negative = negative,
    .gradient = d_embedding != NULL, .c = c, .c_eps = c + NCE_EPSILON,
    .inverse_tau = 1 / desc->temperature, .k = exp (1 / desc->temperature) / desc->z,
    .has_near = isfinite (near), .near = (gfloat) near, .near_weight = (gfloat) desc->near_weight };
  const gsize parts = negative ? MAX ((desc->negatives + PART - 1) / PART, 1) : 1;
  guint8 *memory;
  Scratch s;
  gboolean done;

  if (!check (desc, positive, negative, error)
      || !(memory = scratch_init (&s, &t, parts, error)))
    return FALSE;
  if (negative)
    done = chosen_negatives (&t, parts, s.wide, s.sums, s.rows, error);
  else
    done = all_negatives (&t, s.scores, s.wide, s.sums, s.rows, error);
  if (done)
    finish (&t, parts, s.wide, s.sums, s.rows, d_embedding, s.samples, stats);
  free (memory);
  return done;
}

/* row <- normalise (kept row + (1 - kept) z). */
static void
update_row (gfloat *row, const gfloat *z, gsize dim, gdouble kept)
{
  gdouble squares = 0, inverse;

  for (gsize d = 0; d < dim; d++) {
    row[d] = kept * row[d] + (1 - kept) * z[d];
    squares += (gdouble) row[d] * row[d];
  }
  inverse = 1 / MAX (sqrt (squares), PIRL_L2NORM_EPSILON);
  for (gsize d = 0; d < dim; d++)
    row[d] *= inverse;
}

gboolean
pirl_cpu_bank_update (gpointer bank, PirlDType bank_dtype, gsize dim, gsize batch,
    const guint32 *positive, const gfloat *momentum, const gfloat *embedding, GError **error)
{
  const gboolean half = bank_dtype == PIRL_DTYPE_F16;
  gfloat *wide = half ? pirl_cpu_alloc (dim * sizeof *wide, error) : NULL;

  if (half && !wide)
    return FALSE;
  for (gsize b = 0; b < batch; b++) {
    guint8 *at = (guint8 *) bank + positive[b] * dim * pirl_dtype_size (bank_dtype);

    if (!half) {
      update_row ((gfloat *) (gpointer) at, embedding + b * dim, dim, momentum[b]);
      continue;
    }
    pirl_to_float (bank_dtype, at, wide, dim);
    update_row (wide, embedding + b * dim, dim, momentum[b]);
    pirl_from_float (bank_dtype, wide, at, dim);
  }
  free (wide);
  return TRUE;
}
