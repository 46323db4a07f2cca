/* gst-pirl: batch norm of the CPU backend, from sums to parameters and gradients.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Per channel over M values: mean, var = sum (x - mean)^2 / M, s = 1 / sqrt (var + eps),
 *   out = act ((x - mean) s weight + bias + residual)
 *   d_bias = sum d, d_weight = s sum d (x - mean)           (d: gradient behind the activation)
 *   d_x = weight s (d - d_bias / M - (x - mean) s^2 sum (d (x - mean)) / M)
 * The running variance takes var M / (M - 1). Sums are joined in double.
 *
 * oneDNN's batch norm reads x three times and does not know residuals; this one reads it twice,
 * and the residual's addition and the activation are part of the second pass.
 */
#include "backends/cpu/cpu.h"

#include <math.h>

/* Arrays of a value per channel in @saved. */
enum { MEAN, SCALE, SHIFT, INVERSE_STD, N_SAVED };

static gfloat *
saved_array (const PirlNormRun *run, gint which)
{
  return (gfloat *) run->saved + which * pirl_tiling_channels (&run->norm->tiling);
}

gsize
pirl_norm_saved_bytes (const PirlNorm *norm)
{
  return N_SAVED * sizeof (gfloat) * pirl_tiling_channels (&norm->tiling);
}

/* Two arrays of double and three of float, then the partial sums. */
static gsize
arrays_bytes (const PirlNorm *norm)
{
  return pirl_cpu_align ((2 * sizeof (gdouble) + 3 * sizeof (gfloat))
      * pirl_tiling_channels (&norm->tiling));
}

gsize
pirl_norm_scratch_bytes (const PirlNorm *norm)
{
  return arrays_bytes (norm) + pirl_bn_partial_bytes (&norm->tiling);
}

static gdouble *
partial_sums (const PirlNormRun *run)
{
  return (gdouble *) ((guint8 *) run->scratch + arrays_bytes (run->norm));
}

static gsize
values_per_channel (const PirlTiling *t)
{
  return t->samples * t->positions;
}

void
pirl_norm_forward (const PirlNormRun *run, const gfloat *x, const gfloat *residual, gfloat *out)
{
  const PirlTiling *t = &run->norm->tiling;
  const gsize channels = pirl_tiling_channels (t), count = values_per_channel (t);
  gpointer const *param = run->buffers->param;
  const gfloat *weight = param[PIRL_SLOT_BN_WEIGHT], *bias = param[PIRL_SLOT_BN_BIAS];
  gfloat *running_mean = param[PIRL_SLOT_BN_MEAN], *running_var = param[PIRL_SLOT_BN_VAR];
  gfloat *mean = saved_array (run, MEAN), *inverse_std = saved_array (run, INVERSE_STD);
  gfloat *scale = saved_array (run, SCALE), *shift = saved_array (run, SHIFT);
  gdouble *exact_mean = run->scratch, *m2 = exact_mean + channels;
  gsize c;

  pirl_bn_statistics (t, x, partial_sums (run), exact_mean, m2);
  for (c = 0; c < (gsize) t->channels; c++) {
    const gdouble s = 1 / sqrt (m2[c] / count + PIRL_BN_EPSILON);

    mean[c] = exact_mean[c];
    inverse_std[c] = s;
    scale[c] = weight[c] * s;
    shift[c] = bias[c] - exact_mean[c] * weight[c] * s;
    if (!run->buffers->update_statistics)
      continue;
    running_mean[c] += PIRL_BN_MOMENTUM * (exact_mean[c] - running_mean[c]);
    running_var[c] += PIRL_BN_MOMENTUM * (m2[c] / (count - 1) - running_var[c]);
  }
  for (; c < channels; c++)     /* padding stays zero */
    mean[c] = inverse_std[c] = scale[c] = shift[c] = 0.f;
  pirl_bn_apply (t, x, residual, scale, shift, run->norm->act, out);
}

void
pirl_norm_backward (const PirlNormRun *run, const gfloat *x, const gfloat *out, gfloat *d,
    gfloat *d_residual, gboolean accumulate_residual)
{
  const PirlTiling *t = &run->norm->tiling;
  const gsize channels = pirl_tiling_channels (t);
  const gdouble count = values_per_channel (t);
  const PirlBnBackward backward = {
    .tiling = t, .act = run->norm->act, .x = x, .out = out, .d = d,
    .scale = saved_array (run, SCALE), .shift = saved_array (run, SHIFT),
    .mean = saved_array (run, MEAN),
    .d_residual = d_residual, .accumulate_residual = accumulate_residual,
  };
  const gfloat *inverse_std = saved_array (run, INVERSE_STD);
  gfloat *d_weight = run->buffers->grad[PIRL_SLOT_BN_WEIGHT];
  gfloat *d_bias = run->buffers->grad[PIRL_SLOT_BN_BIAS];
  gdouble *sum_d = run->scratch, *sum_dx = sum_d + channels;
  gfloat *k0 = (gfloat *) (sum_dx + channels), *k1 = k0 + channels, *k2 = k1 + channels;

  pirl_bn_backward_sums (&backward, partial_sums (run), sum_d, sum_dx);
  for (gsize c = 0; c < channels; c++) {
    const gboolean real = c < (gsize) t->channels;
    const gdouble s = inverse_std[c], scale = backward.scale[c];

    k0[c] = scale;
    k1[c] = real ? -scale * s * s * sum_dx[c] / count : 0.;
    k2[c] = real ? -scale * sum_d[c] / count : 0.;
    if (real && d_weight)
      d_weight[c] += s * sum_dx[c];
    if (real && d_bias)
      d_bias[c] += sum_d[c];
  }
  pirl_bn_backward_apply (&backward, (const gfloat *const[3]) { k0, k1, k2 });
}

void
pirl_norm_fold (gpointer const *param, gsize channels, gfloat *scale, gfloat *shift)
{
  const gfloat *weight = param[PIRL_SLOT_BN_WEIGHT], *bias = param[PIRL_SLOT_BN_BIAS];
  const gfloat *mean = param[PIRL_SLOT_BN_MEAN], *var = param[PIRL_SLOT_BN_VAR];

  for (gsize c = 0; c < channels; c++) {
    const gdouble s = weight[c] / sqrt (var[c] + PIRL_BN_EPSILON);

    scale[c] = s;
    shift[c] = bias[c] - mean[c] * s;
  }
}
