/* gst-pirl: draws, contrastive losses, memory bank and cross-entropy of the CUDA backend (kernels:
 * contrast.cu).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Negatives are on the device, so one that lies beyond the bank is found there: its loss is NaN,
 * and outside of a step that is an error.
 */
#include "backends/cuda/learning.h"
#include "backends/host.h"

#include <math.h>

/* Kernels are launched on the thread's device. */
static PirlCudaDevice *
enter (PirlDevice *base)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;

  cudaSetDevice (device->ordinal);
  return device;
}

/* An operation is recorded with its shape and the memory it works on. */
static void
note (PirlCudaDevice *device, const gchar *name, guint64 n, guint64 width, gconstpointer memory)
{
  pirl_cuda_steps_note (device, name, (guint) (n * 31 + width), memory);
}

static gboolean
finish (PirlCudaDevice *device, const gchar *name, GError **error)
{
  return pirl_cuda_launched (name, error) && pirl_cuda_settle (device, error);
}

gboolean
pirl_cuda_rows (PirlDevice *base, gpointer table, gpointer aside, gsize row_bytes, guint n,
    const guint32 *row, gboolean back, GError **error)
{
  PirlCudaDevice *device = enter (base);
  const guint32 *pushed;

  if (n == 0 || row_bytes == 0)
    return TRUE;
  if (row_bytes % sizeof (guint16)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "rows of %" G_GSIZE_FORMAT " bytes cannot be copied; a multiple of 2 can", row_bytes);
    return FALSE;
  }
  pushed = pirl_cuda_push (device, row, n * sizeof *row, error);
  if (!pushed)
    return FALSE;
  note (device, back ? "rows back" : "rows aside", n, row_bytes, table);
  if (pirl_cuda_launches (device))
    pirl_gpu_rows (table, aside, row_bytes, n, pushed, back, device->stream);
  return finish (device, "rows", error);
}

gboolean
pirl_cuda_draw (PirlDevice *base, const PirlDrawDesc *desc, const guint32 *positive,
    guint32 *negative, GError **error)
{
  PirlCudaDevice *device = enter (base);
  const guint32 below = (guint32) desc->rows - (desc->exclude_positive ? 1 : 0);
  const PirlGpuDraw values = {
    .key = { (guint32) desc->seed, (guint32) (desc->seed >> 32) },
    .epoch = desc->epoch, .purpose = desc->purpose,
    .below = below, .surplus = below ? -below % below : 0,
    .exclude = desc->exclude_positive,
  };
  const PirlGpuDraw *pushed;
  const guint32 *own;

  if (desc->batch == 0 || desc->negatives == 0)
    return TRUE;
  if (below == 0 || desc->rows > G_MAXUINT32) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "no negatives can be drawn from %" G_GUINT64_FORMAT " rows%s", desc->rows,
        desc->exclude_positive ? " without a sample's own" : "");
    return FALSE;
  }
  pushed = pirl_cuda_push (device, &values, sizeof values, error);
  own = pushed ? pirl_cuda_push (device, positive, desc->batch * sizeof *positive, error) : NULL;
  if (!own)
    return FALSE;
  note (device, "draw", desc->batch, desc->negatives, negative);
  if (pirl_cuda_launches (device))
    pirl_gpu_draw (desc->batch, desc->negatives, pushed, own, negative, device->stream);
  return finish (device, "draw", error);
}

/* --- contrast --- */

/* What turns the kernels' sums into statistics. */
typedef struct {
  PirlContrastStats *stats;
  gdouble batch, exponentials;  /* how many went into the sum of e */
  gdouble top;                  /* exp (1 / tau), which e is divided by */
  PirlContrastDesc desc;
} ContrastDone;

static void
contrast_done (gconstpointer values, gconstpointer closure)
{
  const gdouble *sum = values;  /* loss, e, cosine, near, |mean embedding|^2 */
  const ContrastDone *done = closure;

  done->stats->loss = sum[0] / done->batch;
  done->stats->mean_exp = sum[1] / done->exponentials * done->top;
  done->stats->positive = sum[2] / done->batch;
  done->stats->near = pirl_contrast_near_share (&done->desc, sum[3]);
  done->stats->spread = 1 - sum[4];
}

static PirlGpuContrastValues
contrast_values (const PirlContrastDesc *desc)
{
  const gdouble tau = desc->temperature, c = (gdouble) desc->negatives / desc->rows;
  PirlGpuContrastValues values = {
    .temperature = tau, .z = desc->z, .c = c, .factor = desc->scale / (desc->batch * tau),
    .inverse_tau = (gfloat) (1 / tau), .near = (gfloat) pirl_contrast_near (desc),
    .near_weight = (gfloat) desc->near_weight,
  };

  values.inverse_tau_rest = (gfloat) (1 / tau - values.inverse_tau);
  if (desc->loss == PIRL_LOSS_NCE) {
    values.k = (gfloat) ldexp (exp (1 / tau - log (desc->z)), -PIRL_CUDA_GAIN_BITS);
    values.c_eps = (gfloat) (c + PIRL_CUDA_NCE_EPSILON);
    values.inverse_c = (gfloat) (1 / c);
  }
  return values;
}

/* Finds the operation's memory on the device. */
static gboolean
contrast_memory (PirlCudaDevice *device, const PirlContrastDesc *desc, const guint32 *positive,
    PirlContrastStats *stats, PirlGpuContrast *t, GError **error)
{
  const PirlGpuContrastValues values = contrast_values (desc);
  const ContrastDone done = { stats, desc->batch, desc->batch * (desc->negatives + 1.),
    exp (1 / desc->temperature), *desc };
  const gsize pieces = (gsize) t->batch * t->parts;
  gsize bytes = 0;
  const gsize part = pirl_cuda_region (&bytes, pieces * sizeof *t->part);
  const gsize gradient = pirl_cuda_region (&bytes, pieces * t->dim * sizeof (gfloat));
  const gsize sample = pirl_cuda_region (&bytes, t->batch * 4 * sizeof (gdouble));
  const gsize square = pirl_cuda_region (&bytes,
      pirl_gpu_contrast_squares (t->dim) * sizeof (gdouble));
  guint8 *scratch = pirl_cuda_scratch (device, bytes, error);

  if (!scratch)
    return FALSE;
  t->part = (gpointer) (scratch + part);
  t->part_gradient = (gpointer) (scratch + gradient);
  t->sample = (gpointer) (scratch + sample);
  t->square = (gpointer) (scratch + square);
  return (t->values = pirl_cuda_push (device, &values, sizeof values, error))
      && (t->positive = pirl_cuda_push (device, positive, t->batch * sizeof *positive, error))
      && (t->result = pirl_cuda_result (device, 5 * sizeof (gdouble), contrast_done, &done,
          sizeof done, error));
}

static gboolean
contrast_refuse (const PirlContrastDesc *desc, const gchar *problem, GError **error)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "contrast (batch %u, %" G_GUINT64_FORMAT
      " rows of %u, %" G_GUINT64_FORMAT " negatives): %s", desc->batch, desc->rows, desc->dim,
      desc->negatives, problem);
  return FALSE;
}

gboolean
pirl_cuda_contrast (PirlDevice *base, const PirlContrastDesc *desc, gconstpointer embedding,
    gconstpointer bank, const guint32 *positive, const guint32 *negative, gpointer d_embedding,
    PirlContrastStats *stats, GError **error)
{
  PirlCudaDevice *device = enter (base);
  const gchar *problem = pirl_contrast_problem (desc, base->param_dtype, positive, negative);
  PirlGpuContrast t = {
    .loss = desc->loss, .has_near = isfinite (pirl_contrast_near (desc)), .batch = desc->batch, .dim = desc->dim, .rows = desc->rows,
    .negatives = desc->negatives, .embedding = embedding, .bank = bank,
    .bank_dtype = desc->bank_dtype, .negative = negative, .d_embedding = d_embedding,
    .scale = device->scale,
  };

  if (problem)
    return contrast_refuse (desc, problem, error);
  pirl_gpu_contrast_cut (&t);
  if (!contrast_memory (device, desc, positive, stats, &t, error))
    return FALSE;
  note (device, "contrast", t.batch, t.negatives, embedding);
  note (device, "contrast's bank", t.dim, t.loss * PIRL_N_DTYPES + t.bank_dtype, bank);
  note (device, "contrast's gradient", t.parts, 2 * (guint) t.has_near + (negative != NULL),
      d_embedding);
  stats->mean_exp = 0;          /* until it is known */
  if (pirl_cuda_launches (device))
    pirl_gpu_contrast (&t, device->stream);
  if (!finish (device, "contrast", error))
    return FALSE;
  if (stats->mean_exp == -INFINITY)
    return contrast_refuse (desc, "a negative's index is beyond the bank", error);
  return TRUE;
}

gboolean
pirl_cuda_bank_update (PirlDevice *base, gpointer bank, PirlDType bank_dtype, guint dim,
    guint batch, const guint32 *positive, const gfloat *momentum, gconstpointer embedding,
    GError **error)
{
  PirlCudaDevice *device = enter (base);
  const guint32 *own;
  const gfloat *kept;

  if (!pirl_bank_dtype_check (base, bank_dtype, error))
    return FALSE;
  if (batch == 0)
    return TRUE;
  own = pirl_cuda_push (device, positive, batch * sizeof *positive, error);
  kept = own ? pirl_cuda_push (device, momentum, batch * sizeof *momentum, error) : NULL;
  if (!kept)
    return FALSE;
  note (device, "bank update", batch, dim, embedding);
  note (device, "bank update's bank", bank_dtype, 0, bank);
  if (pirl_cuda_launches (device))
    pirl_gpu_bank_update (bank, bank_dtype, dim, batch, own, kept, embedding, device->stream);
  return finish (device, "bank update", error);
}

/* --- cross-entropy --- */

typedef struct {
  PirlEntropyStats *stats;
  gdouble batch;
} EntropyDone;

static void
entropy_done (gconstpointer values, gconstpointer closure)
{
  const gdouble *sum = values;  /* loss, right */
  const EntropyDone *done = closure;

  done->stats->loss = sum[0] / done->batch;
  done->stats->accuracy = sum[1] / done->batch;
}

static gboolean
check_labels (guint batch, guint classes, const gint *labels, GError **error)
{
  for (guint b = 0; b < batch; b++)
    if (labels[b] < 0 || (guint) labels[b] >= classes) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "cross-entropy: sample %u has the label %d; there are %u classes, from 0", b, labels[b],
          classes);
      return FALSE;
    }
  return TRUE;
}

gboolean
pirl_cuda_cross_entropy (PirlDevice *base, guint batch, guint classes, gconstpointer logits,
    const gint *labels, gpointer d_logits, PirlEntropyStats *stats, GError **error)
{
  PirlCudaDevice *device = enter (base);
  const EntropyDone done = { stats, batch };
  const gint32 *pushed;
  gdouble *sample, *result;

  if (batch == 0) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "cross-entropy needs a batch of at least 1");
    return FALSE;
  }
  if (!check_labels (batch, classes, labels, error)
      || !(sample = pirl_cuda_scratch (device, batch * 2 * sizeof (gdouble), error))
      || !(pushed = pirl_cuda_push (device, labels, batch * sizeof *labels, error))
      || !(result = pirl_cuda_result (device, 2 * sizeof (gdouble), entropy_done, &done,
          sizeof done, error)))
    return FALSE;
  note (device, "cross-entropy", batch, classes, logits);
  if (pirl_cuda_launches (device))
    pirl_gpu_cross_entropy (batch, classes, logits, pushed, d_logits, device->scale, sample, result,
        device->stream);
  return finish (device, "cross-entropy", error);
}
