/* gst-pirl: convolutions of small pictures as matrix products, one for each tap of the kernel.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * With values ordered place by place (h,w,n,c) and weights tap by tap (k,k,out,in), what a tap
 * contributes to a run of neighbouring places of the result is one matrix product over the batch:
 *   forward   Y[run n][out]  += X[run n][in] W_tap^T
 *   data      dX[run n][in]  += dY[run n][out] W_tap
 *   weights   dW_tap[out][in] += dY[run n][out]^T X[run n][in]
 * Only places inside of the picture appear, so that the padding, 5/9 of the work of a 3x3 kernel
 * on 2x2 places, costs nothing. oneDNN's weight gradients reach a sixth of their usual speed there
 * (41 of 240 GFLOP/s, 512 channels, batch 64), which is where the last stages of a network look at
 * patches: a training step of ResNet-18 on 64 pixels took 425 ms, and takes 271.
 */
#include "backends/cpu/cpu.h"

/* Neighbouring places: result @dst.., input @src.. */
typedef struct {
  gint tap, dst, src, count;
} Run;

struct _PirlTaps {
  gint taps;
  gsize batch, in, out, in_places, out_places;
  GArray *runs;                 /* Run */
};

#define MAX_PLACES 16           /* with 64, ResNets on 32 and 64 pixels are 3 to 10 % slower */
#define MIN_BATCH 8             /* below, the products are too flat */

static void
add_run (GArray *runs, Run run)
{
  Run *last = runs->len ? &g_array_index (runs, Run, runs->len - 1) : NULL;

  if (last && last->tap == run.tap && last->dst + last->count == run.dst
      && last->src + last->count == run.src)
    last->count += run.count;
  else
    g_array_append_val (runs, run);
}

PirlTaps *
pirl_taps_new (const PirlUnitDesc *unit)
{
  const PirlDims in = unit->input, out = unit->output;
  PirlTaps *taps;

  if (unit->mode != PIRL_MODE_TRAIN || unit->groups != 1 || out.h * out.w > MAX_PLACES
      || out.n < MIN_BATCH)
    return NULL;
  taps = g_new (PirlTaps, 1);
  *taps = (PirlTaps) {.batch = out.n, .in = in.c, .out = out.c,
    .taps = unit->kernel * unit->kernel, .in_places = in.h * in.w, .out_places = out.h * out.w,
    .runs = g_array_new (FALSE, FALSE, sizeof (Run)) };
  for (gint tap = 0; tap < unit->kernel * unit->kernel; tap++) {
    for (gint place = 0; place < out.h * out.w; place++) {
      const gint y = place / out.w * unit->stride - unit->padding + tap / unit->kernel;
      const gint x = place % out.w * unit->stride - unit->padding + tap % unit->kernel;

      if (y >= 0 && y < in.h && x >= 0 && x < in.w)
        add_run (taps->runs, (Run) { tap, place, y * in.w + x, 1 });
    }
  }
  return taps;
}

void
pirl_taps_free (PirlTaps *taps)
{
  if (!taps)
    return;
  g_array_unref (taps->runs);
  g_free (taps);
}

gboolean
pirl_taps_forward (const PirlTaps *taps, const gfloat *src, const gfloat *weights,
    const gfloat *bias, gfloat *dst, GError **error)
{
  const gsize n = taps->batch, in = taps->in, out = taps->out;

  pirl_clear (dst, taps->out_places * n * out * sizeof (gfloat));
  for (guint i = 0; i < taps->runs->len; i++) {
    const Run run = g_array_index (taps->runs, Run, i);
    const PirlDnnGemm product = {.transpose_b = TRUE, .m = run.count * n, .n = out, .k = in,
      .a = src + run.src * n * in, .b = weights + run.tap * out * in, .beta = 1.f,
      .c = dst + run.dst * n * out };

    if (!pirl_dnn_gemm (&product, error))
      return FALSE;
  }
  if (bias)
    pirl_rows_bias (dst, bias, taps->out_places * n, out, PIRL_ACT_NONE);
  return TRUE;
}

gboolean
pirl_taps_backward_data (const PirlTaps *taps, const gfloat *d_dst, const gfloat *weights,
    gfloat *d_src, GError **error)
{
  const gsize n = taps->batch, in = taps->in, out = taps->out;

  pirl_clear (d_src, taps->in_places * n * in * sizeof (gfloat));
  for (guint i = 0; i < taps->runs->len; i++) {
    const Run run = g_array_index (taps->runs, Run, i);
    const PirlDnnGemm product = {.m = run.count * n, .n = in, .k = out,
      .a = d_dst + run.dst * n * out, .b = weights + run.tap * out * in, .beta = 1.f,
      .c = d_src + run.src * n * in };

    if (!pirl_dnn_gemm (&product, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
pirl_taps_backward_weights (const PirlTaps *taps, const gfloat *src, const gfloat *d_dst,
    gfloat *d_weights, gfloat *d_bias, GError **error)
{
  const gsize n = taps->batch, in = taps->in, out = taps->out;
  const gsize matrix = out * in;
  gint tap = -1;                /* the last one written; runs are in the order of taps */

  for (guint i = 0; i < taps->runs->len; i++) {
    const Run run = g_array_index (taps->runs, Run, i);
    const PirlDnnGemm product = {.transpose_a = TRUE, .m = out, .n = in, .k = run.count * n,
      .a = d_dst + run.dst * n * out, .b = src + run.src * n * in,
      .beta = run.tap == tap ? 1.f : 0.f, .c = d_weights + run.tap * matrix };

    while (tap + 1 < run.tap)   /* taps that never meet the picture */
      pirl_clear (d_weights + ++tap * matrix, matrix * sizeof (gfloat));
    if (!pirl_dnn_gemm (&product, error))
      return FALSE;
    tap = run.tap;
  }
  while (tap + 1 < taps->taps)
    pirl_clear (d_weights + ++tap * matrix, matrix * sizeof (gfloat));
  if (d_bias)
    pirl_rows_add_sums (d_dst, taps->out_places * n, out, d_bias);
  return TRUE;
}
