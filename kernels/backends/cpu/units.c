/* gst-pirl: the units of the CPU backend that are no convolutions.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * INPUT, MAXPOOL, AVGPOOL make or take pictures; LINEAR, BATCHNORM and L2NORM work on vectors,
 * dense rows of floats. Where a network runs in bf16, its vectors from AVGPOOL on are F32: they
 * are small, and what is compared afterwards deserves the digits.
 */
#include "backends/cpu/cpu.h"

#include <stdlib.h>

static gpointer
scratch_at (const PirlUnitBuffers *b, gsize offset)
{
  return (guint8 *) b->scratch + offset;
}

static void
set_vector_output (PirlUnitPlan *plan, PirlTensorDesc *output)
{
  pirl_cpu_set_output (plan,
      pirl_dnn_format_dense (plan->desc.output, PIRL_DTYPE_F32, PIRL_DNN_PLANES), PIRL_DTYPE_F32,
      output);
}

/* The input as floats in the same format, in scratch (@at) where it is bf16. */
static const gfloat *
float_input (const PirlUnitPlan *plan, const PirlUnitBuffers *b, gsize at)
{
  gfloat *floats;

  if (plan->input_dtype == PIRL_DTYPE_F32)
    return b->input;
  floats = scratch_at (b, at);
  pirl_float_from_bf16 (b->input, floats,
      pirl_dnn_format_bytes (plan->input) / sizeof (guint16));
  return floats;
}

static gsize
float_input_bytes (const PirlUnitPlan *plan)
{
  return plan->input_dtype == PIRL_DTYPE_F32 ? 0 : 2 * pirl_dnn_format_bytes (plan->input);
}

/* --- INPUT ----------------------------------------------------------------------------------- */

static gboolean
input_plan (PirlUnitPlan *plan, PirlTensorDesc *output, PirlUnitMemory *memory, GError **error)
{
  if (plan->desc.output.c != 3) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "pictures have 3 channels, not %d",
        plan->desc.output.c);
    return FALSE;
  }
  pirl_cpu_set_output (plan,
      pirl_dnn_format_dense (plan->desc.output, plan->desc.dtype, PIRL_DNN_PLANES),
      plan->desc.dtype, output);
  return TRUE;
}

static gboolean
input_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  if (pass == PIRL_PASS_FORWARD)
    pirl_normalise (b->input, plan->desc.output, plan->desc.mean, plan->desc.std,
        plan->desc.dtype, b->output);
  return TRUE;
}

const PirlCpuUnit pirl_cpu_input = { sizeof (PirlUnitPlan), input_plan, input_run, NULL };

/* --- MAXPOOL --------------------------------------------------------------------------------- */

/* Saved: oneDNN's workspace, which place each maximum came from. */
typedef struct {
  PirlUnitPlan base;
  PirlDnnOp *forward, *backward;
  PirlDnnOp *move_out, *move_d_out;     /* NULL: the formats are the same */
  gsize at_out, at_d_in, at_pad;
} MaxpoolPlan;

static gboolean
maxpool_plan (PirlUnitPlan *plan, PirlTensorDesc *output, PirlUnitMemory *memory, GError **error)
{
  MaxpoolPlan *m = (MaxpoolPlan *) plan;
  const PirlUnitDesc *desc = &plan->desc;
  const gboolean train = desc->mode == PIRL_MODE_TRAIN;
  PirlDnn *dnn = plan->device->dnn;
  const PirlDnnFormat *dst;
  PirlDnnFormat *result;
  gsize cursor = 0, pad = 0;

  m->forward = pirl_dnn_maxpool_new (dnn, desc, plan->input, NULL, error);
  if (!m->forward)
    return FALSE;
  dst = pirl_dnn_op_format (m->forward, PIRL_DNN_DST);
  if (desc->output.h == 1 && desc->output.w == 1)
    result = pirl_dnn_format_dense (desc->output, desc->dtype, PIRL_DNN_PLANES);
  else
    result = pirl_dnn_format_copy (dst);
  pirl_cpu_set_output (plan, result, desc->dtype, output);
  if (!pirl_cpu_reorder (plan, dst, plan->output, &m->move_out, error))
    return FALSE;
  if (train) {
    m->backward = pirl_dnn_maxpool_new (dnn, desc, plan->input, m->forward, error);
    if (!m->backward || !pirl_cpu_reorder (plan, plan->output, dst, &m->move_d_out, error))
      return FALSE;
  }
  m->at_out = pirl_cpu_region (&cursor, m->move_out ? pirl_dnn_format_bytes (dst) : 0);
  m->at_d_in = pirl_cpu_region (&cursor, train ? pirl_dnn_format_bytes (plan->input) : 0);
  pad = MAX (pirl_dnn_op_bytes (m->forward, PIRL_DNN_SCRATCHPAD),
      MAX (pirl_dnn_op_bytes (m->backward, PIRL_DNN_SCRATCHPAD),
          MAX (pirl_dnn_op_bytes (m->move_out, PIRL_DNN_SCRATCHPAD),
              pirl_dnn_op_bytes (m->move_d_out, PIRL_DNN_SCRATCHPAD))));
  m->at_pad = pirl_cpu_region (&cursor, pad);
  memory->scratch = cursor;
  memory->saved = pirl_dnn_op_bytes (m->forward, PIRL_DNN_WORKSPACE);
  return TRUE;
}

static void
maxpool_clear (PirlUnitPlan *plan)
{
  MaxpoolPlan *m = (MaxpoolPlan *) plan;

  pirl_dnn_op_free (m->forward);
  pirl_dnn_op_free (m->backward);
  pirl_dnn_op_free (m->move_out);
  pirl_dnn_op_free (m->move_d_out);
}

static gboolean
maxpool_backward (MaxpoolPlan *m, const PirlUnitBuffers *b, GError **error)
{
  gpointer pad = scratch_at (b, m->at_pad), d_dst;
  gpointer d_src = b->accumulate_input ? scratch_at (b, m->at_d_in) : b->d_input;

  d_dst = pirl_cpu_moved (m->move_d_out, b->d_output, scratch_at (b, m->at_out), pad, error);
  if (!d_dst || !pirl_dnn_op_run (m->backward, (gpointer[PIRL_DNN_N_OPERANDS]) {
          [PIRL_DNN_D_DST] = d_dst, [PIRL_DNN_WORKSPACE] = b->saved, [PIRL_DNN_D_SRC] = d_src,
          [PIRL_DNN_SCRATCHPAD] = pad }, error))
    return FALSE;
  if (b->accumulate_input)
    pirl_add (b->d_input, d_src, pirl_dnn_format_bytes (m->base.input) / sizeof (gfloat));
  return TRUE;
}

static gboolean
maxpool_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  MaxpoolPlan *m = (MaxpoolPlan *) plan;
  gpointer pad = scratch_at (b, m->at_pad);
  gpointer dst = m->move_out ? scratch_at (b, m->at_out) : b->output;

  if (pass == PIRL_PASS_BACKWARD)
    return !plan->desc.needs_input_gradient || maxpool_backward (m, b, error);
  return pass == PIRL_PASS_PREPARE
      || (pirl_dnn_op_run (m->forward, (gpointer[PIRL_DNN_N_OPERANDS]) {
              [PIRL_DNN_SRC] = (gpointer) b->input, [PIRL_DNN_DST] = dst,
              [PIRL_DNN_WORKSPACE] = b->saved, [PIRL_DNN_SCRATCHPAD] = pad }, error)
          && pirl_cpu_moved (m->move_out, dst, b->output, pad, error));
}

const PirlCpuUnit pirl_cpu_maxpool = { sizeof (MaxpoolPlan), maxpool_plan, maxpool_run,
  maxpool_clear };

/* --- AVGPOOL --------------------------------------------------------------------------------- */

typedef struct {
  PirlUnitPlan base;
  PirlTiling tiling;
} AvgpoolPlan;

static gboolean
avgpool_plan (PirlUnitPlan *plan, PirlTensorDesc *output, PirlUnitMemory *memory, GError **error)
{
  AvgpoolPlan *a = (AvgpoolPlan *) plan;

  if (!pirl_cpu_tiling (plan->input, plan->desc.input, &a->tiling)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "its input has a format unknown here");
    return FALSE;
  }
  set_vector_output (plan, output);
  memory->scratch = float_input_bytes (plan);
  return TRUE;
}

static gboolean
avgpool_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  AvgpoolPlan *a = (AvgpoolPlan *) plan;

  if (pass == PIRL_PASS_FORWARD)
    pirl_avgpool_forward (&a->tiling, float_input (plan, b, 0), b->output);
  else if (pass == PIRL_PASS_BACKWARD && plan->desc.needs_input_gradient)
    pirl_avgpool_backward (&a->tiling, b->d_output, b->accumulate_input, b->d_input);
  return TRUE;
}

const PirlCpuUnit pirl_cpu_avgpool = { sizeof (AvgpoolPlan), avgpool_plan, avgpool_run,
  NULL };

/* --- LINEAR ---------------------------------------------------------------------------------- */

static gboolean
linear_plan (PirlUnitPlan *plan, PirlTensorDesc *output, PirlUnitMemory *memory, GError **error)
{
  set_vector_output (plan, output);
  memory->scratch = float_input_bytes (plan);
  return TRUE;
}

static gboolean
linear_forward (PirlUnitPlan *plan, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &plan->desc;
  const PirlDnnGemm product = {.transpose_b = TRUE,
    .m = desc->output.n, .n = desc->output.c, .k = desc->input.c,
    .a = float_input (plan, b, 0), .b = b->param[PIRL_SLOT_WEIGHT], .c = b->output };

  if (!pirl_dnn_gemm (&product, error))
    return FALSE;
  pirl_rows_bias (b->output, desc->bias ? b->param[PIRL_SLOT_BIAS] : NULL, desc->output.n,
      desc->output.c, desc->activation);
  return TRUE;
}

/* d_input (+)= d W, d_weight += d^T x, d_bias += sums of d. */
static gboolean
linear_backward (PirlUnitPlan *plan, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &plan->desc;
  const gsize n = desc->output.n, out = desc->output.c, in = desc->input.c;
  const PirlDnnGemm data = {.m = n, .n = in, .k = out, .a = b->d_output,
    .b = b->param[PIRL_SLOT_WEIGHT], .beta = b->accumulate_input ? 1.f : 0.f, .c = b->d_input };
  const PirlDnnGemm weights = {.transpose_a = TRUE, .m = out, .n = in, .k = n, .a = b->d_output,
    .b = b->input, .beta = 1.f, .c = b->grad[PIRL_SLOT_WEIGHT] };

  if (desc->activation != PIRL_ACT_NONE)
    pirl_activate_backward (b->d_output, b->output, n * out, desc->activation, NULL, FALSE);
  if (desc->bias && b->grad[PIRL_SLOT_BIAS])
    pirl_rows_add_sums (b->d_output, n, out, b->grad[PIRL_SLOT_BIAS]);
  return (!weights.c || pirl_dnn_gemm (&weights, error))
      && (!desc->needs_input_gradient || pirl_dnn_gemm (&data, error));
}

static gboolean
linear_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  if (pass == PIRL_PASS_FORWARD)
    return linear_forward (plan, b, error);
  return pass == PIRL_PASS_PREPARE || linear_backward (plan, b, error);
}

const PirlCpuUnit pirl_cpu_linear = { sizeof (PirlUnitPlan), linear_plan, linear_run,
  NULL };

/* --- BATCHNORM ------------------------------------------------------------------------------- */

typedef struct {
  PirlUnitPlan base;
  PirlNorm norm;
  gsize at_norm;                /* in scratch, behind the input as floats */
  gfloat *folded;               /* INFER: scale, shift */
  gboolean prepared;
} BatchnormPlan;

static gboolean
batchnorm_plan (PirlUnitPlan *plan, PirlTensorDesc *output, PirlUnitMemory *memory,
    GError **error)
{
  BatchnormPlan *p = (BatchnormPlan *) plan;
  gsize cursor = 0, channels;

  set_vector_output (plan, output);
  pirl_cpu_row_tiling (plan->desc.output.n, plan->desc.output.c, &p->norm.tiling);
  p->norm.act = plan->desc.activation;
  channels = pirl_tiling_channels (&p->norm.tiling);
  pirl_cpu_region (&cursor, float_input_bytes (plan));
  if (plan->desc.mode == PIRL_MODE_TRAIN) {
    p->at_norm = pirl_cpu_region (&cursor, pirl_norm_scratch_bytes (&p->norm));
    memory->saved = pirl_norm_saved_bytes (&p->norm);
  } else {
    p->folded = pirl_cpu_alloc (2 * channels * sizeof (gfloat), error);
    if (!p->folded)
      return FALSE;
  }
  memory->scratch = cursor;
  return TRUE;
}

static void
batchnorm_clear (PirlUnitPlan *plan)
{
  free (((BatchnormPlan *) plan)->folded);
}

static gboolean
batchnorm_infer (BatchnormPlan *p, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &p->base.desc;
  gfloat *scale = p->folded, *shift = scale + pirl_tiling_channels (&p->norm.tiling);

  if (pass == PIRL_PASS_PREPARE) {
    pirl_norm_fold (b->param, desc->output.c, scale, shift);
    p->prepared = TRUE;
  } else if (!p->prepared) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "FORWARD before PREPARE: the plan has no statistics yet");
    return FALSE;
  } else {
    pirl_bn_apply (&p->norm.tiling, float_input (&p->base, b, 0), NULL, scale, shift,
        desc->activation, b->output);
  }
  return TRUE;
}

static gboolean
batchnorm_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  BatchnormPlan *p = (BatchnormPlan *) plan;
  const PirlNormRun run = {.norm = &p->norm, .buffers = b, .saved = b->saved,
    .scratch = scratch_at (b, p->at_norm) };
  const gsize count = pirl_dims_count (plan->desc.output);

  if (plan->desc.mode == PIRL_MODE_INFER)
    return batchnorm_infer (p, pass, b, error);
  if (pass == PIRL_PASS_FORWARD) {
    pirl_norm_forward (&run, b->input, NULL, b->output);
  } else if (pass == PIRL_PASS_BACKWARD) {
    pirl_norm_backward (&run, b->input, NULL, b->d_output, NULL, FALSE);
    if (plan->desc.needs_input_gradient && b->accumulate_input)
      pirl_add (b->d_input, b->d_output, count);
    else if (plan->desc.needs_input_gradient)
      pirl_copy (b->d_input, b->d_output, count * sizeof (gfloat));
  }
  return TRUE;
}

const PirlCpuUnit pirl_cpu_batchnorm = { sizeof (BatchnormPlan), batchnorm_plan,
  batchnorm_run, batchnorm_clear };

/* --- L2NORM ---------------------------------------------------------------------------------- */

static gboolean
l2norm_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  const PirlDims d = plan->desc.output;

  if (pass == PIRL_PASS_FORWARD)
    pirl_rows_l2norm (float_input (plan, b, 0), d.n, d.c, b->output);
  else if (pass == PIRL_PASS_BACKWARD && plan->desc.needs_input_gradient)
    pirl_rows_l2norm_backward (b->input, b->d_output, d.n, d.c, b->accumulate_input, b->d_input);
  return TRUE;
}

/* Needs of memory what LINEAR needs. */
const PirlCpuUnit pirl_cpu_l2norm = { sizeof (PirlUnitPlan), linear_plan, l2norm_run,
  NULL };
