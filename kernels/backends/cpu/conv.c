/* gst-pirl: the CONV unit of the CPU backend: out = act (bn (conv (in) + bias) + residual).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Convolutions are oneDNN's, in the formats it likes best; batch norm with residual and activation
 * is ours (norm.c). Parameters and their gradients stay dense [out][in/groups][k][k]: weights are
 * packed when a pass needs them, since forward and backward want different packings, and weight
 * gradients are added to the dense ones by the reorder that unpacks them. In inference batch norm
 * is folded into weights that are packed once, and the residual is put in the result's place, if
 * it is not there, and the convolution adds to it. Small pictures in training are matrix products
 * (taps.c), and so is what is multiplied in bf16 (amx.c), which takes weights as they are.
 *
 * Saved by FORWARD: [the convolution's result][batch norm's arrays].
 */
#include "backends/cpu/amx.h"
#include "backends/cpu/cpu.h"

#include <stdlib.h>

/* A convolution's pass and what brings its operands into its formats; NULL = they are already.
 * Formats are of the operands or of their gradients; borrowed. */
typedef struct {
  PirlDnnOp *conv;              /* NULL with taps or AMX */
  const PirlDnnFormat *src, *dst, *weights;
  PirlDnnOp *move_src, *move_dst;       /* input, and result or its gradient */
  PirlDnnOp *move_weights;              /* dense -> packed; gradients: dense += packed */
} ConvPass;

typedef struct {
  PirlUnitPlan base;
  PirlTaps *taps;               /* one of the two, or neither: oneDNN */
  PirlAmx *amx;
  PirlDnnFormat *own_src, *own_dst, *own_weights;       /* of taps or AMX */
  ConvPass forward, data, weights;
  PirlDnnOp *move_residual, *residual_back, *residual_back_add, *add_moved_d_input;
  PirlNorm norm;
  gsize saved_norm;             /* offset in saved */
  /* Offsets in scratch; in backward the passes follow each other and share the space. */
  gsize at_src, at_dst, at_weights, at_bias, at_residual, at_norm, at_amx, at_pad;
  /* INFER */
  gfloat *packed_weights, *folded_bias;
  gboolean prepared;
} ConvPlan;

static gsize
result_count (const ConvPlan *c)
{
  return pirl_dnn_format_bytes (c->base.output) / sizeof (gfloat);
}

/* Batch norm takes the mean away and the bias with it: its gradient is zero, and summing would only
 * give the rounding errors. */
static gboolean
has_bias_gradient (const PirlUnitDesc *desc)
{
  return desc->bias && !desc->batch_norm;
}

/* --- planning -------------------------------------------------------------------------------- */

/* oneDNN's choice of formats, if they are those of @src and @dst or the only fast way; else with
 * the formats as they are, which spares moving. */
static PirlDnnOp *
create_backward (ConvPlan *c, PirlDnnPass pass, GError **error)
{
  const PirlDnnOperand src_is = pass == PIRL_DNN_BACKWARD_DATA ? PIRL_DNN_D_SRC : PIRL_DNN_SRC;
  PirlDnnConv conv = {.pass = pass, .unit = &c->base.desc,
    .bias = pass == PIRL_DNN_BACKWARD_WEIGHTS && has_bias_gradient (&c->base.desc) };
  PirlDnnOp *free_choice = pirl_dnn_conv_new (c->base.device->dnn, &conv, error), *fixed;

  if (!free_choice)
    return NULL;
  if (pirl_dnn_format_same (pirl_dnn_op_format (free_choice, src_is), c->base.input)
      && pirl_dnn_format_same (pirl_dnn_op_format (free_choice, PIRL_DNN_D_DST), c->base.output))
    return free_choice;
  conv.src = c->base.input;
  conv.dst = c->base.output;
  fixed = pirl_dnn_conv_new (c->base.device->dnn, &conv, NULL);
  if (!fixed || (pirl_dnn_op_is_slow (fixed) && !pirl_dnn_op_is_slow (free_choice))) {
    pirl_dnn_op_free (fixed);
    return free_choice;
  }
  pirl_dnn_op_free (free_choice);
  return fixed;
}

/* Weights between dense and a pass' format; the latter's are added to dense ones with @add. */
static gboolean
plan_weights (ConvPlan *c, ConvPass *pass, gboolean add, GError **error)
{
  g_autoptr (PirlDnnFormat) dense = pirl_dnn_format_weights (&c->base.desc);

  if (c->amx)
    return TRUE;
  pass->move_weights = pirl_dnn_reorder_new (c->base.device->dnn, add ? pass->weights : dense,
      add ? dense : pass->weights, add, error);
  return pass->move_weights != NULL;
}

/* The forward convolution. Its result must be something own loops can walk, and dense where it
 * is a vector. In inference the residual and the activation are part of it. */
static PirlDnnOp *
create_forward (ConvPlan *c, GError **error)
{
  const PirlUnitDesc *desc = &c->base.desc;
  const gboolean infer = desc->mode == PIRL_MODE_INFER;
  PirlDnn *dnn = c->base.device->dnn;
  g_autoptr (PirlDnnFormat) dense =
      pirl_dnn_format_dense (desc->output, desc->dtype, PIRL_DNN_ROWS);
  PirlDnnConv conv = {.pass = PIRL_DNN_FORWARD, .unit = desc,
    .bias = desc->bias || (infer && desc->batch_norm) };
  PirlDnnOp *op = pirl_dnn_conv_new (dnn, &conv, error), *plain = NULL;
  const gboolean vector = desc->output.h == 1 && desc->output.w == 1;
  PirlTiling tiling;

  if (!op)
    return NULL;
  if (!pirl_cpu_tiling (pirl_dnn_op_format (op, PIRL_DNN_DST), desc->output, &tiling)
      || (vector && !pirl_dnn_format_same (pirl_dnn_op_format (op, PIRL_DNN_DST), dense))) {
    pirl_dnn_op_free (op);
    conv.dst = dense;
    op = pirl_dnn_conv_new (dnn, &conv, error);
  }
  if (!op || !infer || (!desc->residual && desc->activation == PIRL_ACT_NONE))
    return op;
  plain = op;
  conv.src = pirl_dnn_op_format (plain, PIRL_DNN_SRC);
  conv.dst = pirl_dnn_op_format (plain, PIRL_DNN_DST);
  conv.add = desc->residual;
  conv.activation = desc->activation;
  op = pirl_dnn_conv_new (dnn, &conv, error);
  pirl_dnn_op_free (plain);
  return op;
}

/* The pass' formats: those of its operation, or our own. */
static gboolean
set_formats (ConvPlan *c, ConvPass *pass, PirlDnnPass which, GError **error)
{
  static const PirlDnnOperand operand[][3] = {
    [PIRL_DNN_FORWARD] = { PIRL_DNN_SRC, PIRL_DNN_DST, PIRL_DNN_WEIGHTS },
    [PIRL_DNN_BACKWARD_DATA] = { PIRL_DNN_D_SRC, PIRL_DNN_D_DST, PIRL_DNN_WEIGHTS },
    [PIRL_DNN_BACKWARD_WEIGHTS] = { PIRL_DNN_SRC, PIRL_DNN_D_DST, PIRL_DNN_D_WEIGHTS },
  };

  if (c->own_src) {
    pass->src = c->own_src;
    pass->dst = c->own_dst;
    pass->weights = c->own_weights;
    return TRUE;
  }
  pass->conv = which == PIRL_DNN_FORWARD ? create_forward (c, error)
      : create_backward (c, which, error);
  if (!pass->conv)
    return FALSE;
  pass->src = pirl_dnn_op_format (pass->conv, operand[which][0]);
  pass->dst = pirl_dnn_op_format (pass->conv, operand[which][1]);
  pass->weights = pirl_dnn_op_format (pass->conv, operand[which][2]);
  return TRUE;
}

static gboolean
plan_forward (ConvPlan *c, PirlTensorDesc *output, GError **error)
{
  PirlUnitPlan *base = &c->base;
  ConvPass *f = &c->forward;

  if (!set_formats (c, f, PIRL_DNN_FORWARD, error))
    return FALSE;
  pirl_cpu_set_output (base, pirl_dnn_format_copy (f->dst), base->desc.dtype, output);
  return plan_weights (c, f, FALSE, error)
      && pirl_cpu_reorder (base, base->input, f->src, &f->move_src, error)
      && (!base->desc.residual
          || pirl_cpu_reorder (base, base->residual, base->output, &c->move_residual, error));
}

static gboolean
plan_backward_weights (ConvPlan *c, GError **error)
{
  PirlUnitPlan *base = &c->base;
  ConvPass *w = &c->weights;

  if (!set_formats (c, w, PIRL_DNN_BACKWARD_WEIGHTS, error))
    return FALSE;
  return plan_weights (c, w, TRUE, error)
      && pirl_cpu_reorder (base, base->input, w->src, &w->move_src, error)
      && pirl_cpu_reorder (base, base->output, w->dst, &w->move_dst, error);
}

static gboolean
plan_backward_data (ConvPlan *c, GError **error)
{
  PirlUnitPlan *base = &c->base;
  ConvPass *d = &c->data;

  if (!set_formats (c, d, PIRL_DNN_BACKWARD_DATA, error))
    return FALSE;
  if (!plan_weights (c, d, FALSE, error)
      || !pirl_cpu_reorder (base, d->src, base->input, &d->move_src, error)
      || !pirl_cpu_reorder (base, base->output, d->dst, &d->move_dst, error))
    return FALSE;
  if (d->move_src)
    c->add_moved_d_input =
        pirl_dnn_reorder_new (base->device->dnn, d->src, base->input, TRUE, error);
  return !d->move_src || c->add_moved_d_input;
}

static gboolean
plan_residual_back (ConvPlan *c, GError **error)
{
  PirlUnitPlan *base = &c->base;

  if (!c->move_residual)
    return TRUE;
  c->residual_back = pirl_dnn_reorder_new (base->device->dnn, base->output, base->residual, FALSE,
      error);
  c->residual_back_add = pirl_dnn_reorder_new (base->device->dnn, base->output, base->residual,
      TRUE, error);
  return c->residual_back && c->residual_back_add;
}

static gsize
format_bytes (const PirlDnnFormat *format)
{
  return format ? pirl_dnn_format_bytes (format) : 0;
}

/* Of a format of the passes. */
#define LARGEST(c, format) \
  MAX (format_bytes ((c)->forward.format), \
      MAX (format_bytes ((c)->data.format), format_bytes ((c)->weights.format)))

static gsize
largest_scratchpad (const ConvPlan *c)
{
  const PirlDnnOp *const ops[] = { c->forward.conv, c->forward.move_src, c->forward.move_weights,
    c->data.conv, c->data.move_src, c->data.move_dst, c->data.move_weights, c->weights.conv,
    c->weights.move_src, c->weights.move_dst, c->weights.move_weights, c->move_residual,
    c->residual_back, c->residual_back_add, c->add_moved_d_input };
  gsize bytes = 0;

  for (guint i = 0; i < G_N_ELEMENTS (ops); i++)
    bytes = MAX (bytes, pirl_dnn_op_bytes (ops[i], PIRL_DNN_SCRATCHPAD));
  return bytes;
}

/* The scratch of all passes: every region as large as the largest of its uses. */
static void
lay_out (ConvPlan *c, PirlUnitMemory *memory)
{
  const PirlUnitDesc *desc = &c->base.desc;
  const gboolean train = desc->mode == PIRL_MODE_TRAIN;
  const gboolean move_src = c->forward.move_src || c->weights.move_src;
  const gboolean move_dst = c->weights.move_dst || c->data.move_dst;
  gsize cursor = 0;

  /* d_input is built here when it is to be added to what is there, or moved. */
  c->at_src = pirl_cpu_region (&cursor,
      move_src || (c->data.src && !c->amx) ? LARGEST (c, src) : 0);
  c->at_dst = pirl_cpu_region (&cursor, move_dst ? LARGEST (c, dst) : 0);
  c->at_weights = pirl_cpu_region (&cursor, train && !c->amx ? LARGEST (c, weights) : 0);
  c->at_bias = pirl_cpu_region (&cursor, pirl_dnn_op_bytes (c->weights.conv, PIRL_DNN_D_BIAS));
  c->at_residual = pirl_cpu_region (&cursor,
      train && c->move_residual ? pirl_dnn_format_bytes (c->base.output) : 0);
  c->at_norm = pirl_cpu_region (&cursor,
      train && desc->batch_norm ? pirl_norm_scratch_bytes (&c->norm) : 0);
  c->at_amx = pirl_cpu_region (&cursor, c->amx ? pirl_amx_scratch_bytes (c->amx) : 0);
  c->at_pad = pirl_cpu_region (&cursor, largest_scratchpad (c));
  memory->scratch = cursor;
  cursor = 0;
  if (train && desc->batch_norm) {
    pirl_cpu_region (&cursor, pirl_dnn_format_bytes (c->base.output));
    c->saved_norm = pirl_cpu_region (&cursor, pirl_norm_saved_bytes (&c->norm));
  }
  memory->saved = cursor;
}

/* Chooses between taps, AMX and, with neither, oneDNN. */
static void
choose_own (ConvPlan *c)
{
  const PirlUnitDesc *desc = &c->base.desc;

  if (c->base.bf16_products)
    c->amx = pirl_amx_new (desc);
  if (!c->amx)
    c->taps = pirl_taps_new (desc);
  if (c->amx || c->taps) {
    const PirlDnnOrder order = c->amx ? PIRL_DNN_BLOCKS : PIRL_DNN_PLACES;

    c->own_src = pirl_dnn_format_dense (desc->input, PIRL_DTYPE_F32, order);
    c->own_dst = pirl_dnn_format_dense (desc->output, PIRL_DTYPE_F32, order);
    c->own_weights = c->amx ? pirl_dnn_format_weights (desc) : pirl_dnn_format_tap_weights (desc);
  }
}

static gboolean
conv_plan (PirlUnitPlan *plan, PirlTensorDesc *output, PirlUnitMemory *memory, GError **error)
{
  ConvPlan *c = (ConvPlan *) plan;
  const PirlUnitDesc *desc = &plan->desc;

  choose_own (c);
  if (!plan_forward (c, output, error))
    return FALSE;
  if (desc->mode == PIRL_MODE_TRAIN) {
    c->norm.act = desc->activation;
    if (c->taps) {
      pirl_cpu_row_tiling (result_count (c) / desc->output.c, desc->output.c, &c->norm.tiling);
    } else if (!pirl_cpu_tiling (plan->output, desc->output, &c->norm.tiling)) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "oneDNN gives a format unknown here");
      return FALSE;
    }
    if (!plan_backward_weights (c, error) || !plan_residual_back (c, error)
        || (desc->needs_input_gradient && !plan_backward_data (c, error)))
      return FALSE;
  } else {
    memory->packed = TRUE;
    memory->in_place = desc->residual && !c->move_residual;
  }
  lay_out (c, memory);
  return TRUE;
}

static void
clear_pass (ConvPass *pass)
{
  pirl_dnn_op_free (pass->conv);
  pirl_dnn_op_free (pass->move_src);
  pirl_dnn_op_free (pass->move_dst);
  pirl_dnn_op_free (pass->move_weights);
}

static void
conv_clear (PirlUnitPlan *plan)
{
  ConvPlan *c = (ConvPlan *) plan;

  clear_pass (&c->forward);
  clear_pass (&c->data);
  clear_pass (&c->weights);
  pirl_taps_free (c->taps);
  pirl_amx_free (c->amx);
  pirl_dnn_format_free (c->own_src);
  pirl_dnn_format_free (c->own_dst);
  pirl_dnn_format_free (c->own_weights);
  pirl_dnn_op_free (c->move_residual);
  pirl_dnn_op_free (c->residual_back);
  pirl_dnn_op_free (c->residual_back_add);
  pirl_dnn_op_free (c->add_moved_d_input);
  free (c->packed_weights);
  free (c->folded_bias);
}

/* --- training -------------------------------------------------------------------------------- */

static gpointer
scratch_at (const PirlUnitBuffers *b, gsize offset)
{
  return (guint8 *) b->scratch + offset;
}

static gboolean
run_forward (ConvPlan *c, gpointer src, gpointer weights, gpointer bias, gpointer dst,
    gpointer pad, GError **error)
{
  if (c->taps)
    return pirl_taps_forward (c->taps, src, weights, c->base.desc.bias ? bias : NULL, dst, error);
  return pirl_dnn_op_run (c->forward.conv, (gpointer[PIRL_DNN_N_OPERANDS]) {
      [PIRL_DNN_SRC] = src, [PIRL_DNN_WEIGHTS] = weights, [PIRL_DNN_BIAS] = bias,
      [PIRL_DNN_DST] = dst, [PIRL_DNN_SCRATCHPAD] = pad }, error);
}

static gboolean
run_backward_data (ConvPlan *c, gpointer d_dst, gpointer weights, gpointer d_src, gpointer pad,
    GError **error)
{
  if (c->taps)
    return pirl_taps_backward_data (c->taps, d_dst, weights, d_src, error);
  return pirl_dnn_op_run (c->data.conv, (gpointer[PIRL_DNN_N_OPERANDS]) {
      [PIRL_DNN_D_DST] = d_dst, [PIRL_DNN_WEIGHTS] = weights, [PIRL_DNN_D_SRC] = d_src,
      [PIRL_DNN_SCRATCHPAD] = pad }, error);
}

/* Writes @d_weights, adds to the bias' gradient. */
static gboolean
run_backward_weights (ConvPlan *c, gpointer src, gpointer d_dst, gpointer d_weights,
    const PirlUnitBuffers *b, GError **error)
{
  gfloat *sum = has_bias_gradient (&c->base.desc) ? b->grad[PIRL_SLOT_BIAS] : NULL;
  gfloat *d_bias = scratch_at (b, c->at_bias);

  if (c->taps)
    return pirl_taps_backward_weights (c->taps, src, d_dst, d_weights, sum, error);
  if (!pirl_dnn_op_run (c->weights.conv, (gpointer[PIRL_DNN_N_OPERANDS]) {
          [PIRL_DNN_SRC] = src, [PIRL_DNN_D_DST] = d_dst, [PIRL_DNN_D_WEIGHTS] = d_weights,
          [PIRL_DNN_D_BIAS] = d_bias, [PIRL_DNN_SCRATCHPAD] = scratch_at (b, c->at_pad) }, error))
    return FALSE;
  if (sum)
    pirl_add (sum, d_bias, c->base.desc.output.c);
  return TRUE;
}

static gboolean
run_forward_train (ConvPlan *c, gpointer src, gpointer dst, const PirlUnitBuffers *b,
    GError **error)
{
  gpointer pad = scratch_at (b, c->at_pad), weights = b->param[PIRL_SLOT_WEIGHT];

  if (c->amx) {
    pirl_amx_forward (c->amx, src, weights, dst, scratch_at (b, c->at_amx));
    return TRUE;
  }
  weights = pirl_cpu_moved (c->forward.move_weights, weights, scratch_at (b, c->at_weights), pad,
      error);
  return weights && run_forward (c, src, weights, b->param[PIRL_SLOT_BIAS], dst, pad, error);
}

static gboolean
forward_train (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &c->base.desc;
  gpointer pad = scratch_at (b, c->at_pad);
  gpointer result = desc->batch_norm ? b->saved : b->output, src, residual = NULL;

  src = pirl_cpu_moved (c->forward.move_src, b->input, scratch_at (b, c->at_src), pad, error);
  if (!src || !run_forward_train (c, src, result, b, error))
    return FALSE;
  if (desc->residual) {
    residual = pirl_cpu_moved (c->move_residual, b->residual, scratch_at (b, c->at_residual), pad,
        error);
    if (!residual)
      return FALSE;
  }
  if (desc->batch_norm) {
    const PirlNormRun run = {.norm = &c->norm, .buffers = b,
      .saved = (guint8 *) b->saved + c->saved_norm, .scratch = scratch_at (b, c->at_norm) };

    pirl_norm_forward (&run, result, residual, b->output);
  } else if (desc->activation != PIRL_ACT_NONE || residual) {
    pirl_activate (b->output, residual, result_count (c), desc->activation);
  }
  return TRUE;
}

/* From the gradient of the result to that of the convolution's result, in d_output. */
static gboolean
backward_glue (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &c->base.desc;
  const gboolean move = c->move_residual != NULL;
  gpointer d_residual = !desc->residual ? NULL
      : move ? scratch_at (b, c->at_residual) : b->d_residual;
  const gboolean accumulate = b->accumulate_residual && !move;

  if (desc->batch_norm) {
    const PirlNormRun run = {.norm = &c->norm, .buffers = b,
      .saved = (guint8 *) b->saved + c->saved_norm, .scratch = scratch_at (b, c->at_norm) };

    pirl_norm_backward (&run, b->saved, desc->residual ? b->output : NULL, b->d_output,
        d_residual, accumulate);
  } else if (desc->activation != PIRL_ACT_NONE || d_residual) {
    pirl_activate_backward (b->d_output, b->output, result_count (c), desc->activation,
        d_residual, accumulate);
  }
  return !desc->residual || !move
      || pirl_cpu_moved (b->accumulate_residual ? c->residual_back_add : c->residual_back,
          d_residual, b->d_residual, scratch_at (b, c->at_pad), error);
}

static gboolean
backward_weights (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  gpointer pad = scratch_at (b, c->at_pad), d_weights = scratch_at (b, c->at_weights);
  gpointer src, d_dst;

  src = pirl_cpu_moved (c->weights.move_src, b->input, scratch_at (b, c->at_src), pad, error);
  d_dst = pirl_cpu_moved (c->weights.move_dst, b->d_output, scratch_at (b, c->at_dst), pad, error);
  if (!src || !d_dst)
    return FALSE;
  if (c->amx) {
    if (b->grad[PIRL_SLOT_WEIGHT])
      pirl_amx_backward_weights (c->amx, src, d_dst, b->grad[PIRL_SLOT_WEIGHT],
          scratch_at (b, c->at_amx));
    return TRUE;
  }
  if (!run_backward_weights (c, src, d_dst, d_weights, b, error))
    return FALSE;
  return !b->grad[PIRL_SLOT_WEIGHT]
      || pirl_cpu_moved (c->weights.move_weights, d_weights, b->grad[PIRL_SLOT_WEIGHT], pad,
          error);
}

/* @add: to what is in @d_src, which only AMX does. */
static gboolean
run_backward_data_train (ConvPlan *c, gpointer d_dst, gpointer d_src, gboolean add,
    const PirlUnitBuffers *b, GError **error)
{
  gpointer pad = scratch_at (b, c->at_pad), weights = b->param[PIRL_SLOT_WEIGHT];

  if (c->amx) {
    pirl_amx_backward_data (c->amx, d_dst, weights, d_src, add, scratch_at (b, c->at_amx));
    return TRUE;
  }
  weights = pirl_cpu_moved (c->data.move_weights, weights, scratch_at (b, c->at_weights), pad,
      error);
  return weights && run_backward_data (c, d_dst, weights, d_src, pad, error);
}

static gboolean
backward_data (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  gpointer pad = scratch_at (b, c->at_pad);
  const gboolean direct = !c->data.move_src && (!b->accumulate_input || c->amx);
  gpointer d_src = direct ? b->d_input : scratch_at (b, c->at_src), d_dst;

  d_dst = pirl_cpu_moved (c->data.move_dst, b->d_output, scratch_at (b, c->at_dst), pad, error);
  if (!d_dst || !run_backward_data_train (c, d_dst, d_src, direct && b->accumulate_input, b,
          error))
    return FALSE;
  if (c->data.move_src)
    return pirl_cpu_moved (b->accumulate_input ? c->add_moved_d_input : c->data.move_src, d_src,
        b->d_input, pad, error) != NULL;
  if (!direct)
    pirl_add (b->d_input, d_src, pirl_dnn_format_bytes (c->base.input) / sizeof (gfloat));
  return TRUE;
}

/* --- inference ------------------------------------------------------------------------------- */

/* Not before there is something to pack: a whole network's memory would be taken twice. */
static gboolean
allocate_packed (ConvPlan *c, GError **error)
{
  if (!c->packed_weights)
    c->packed_weights =
        pirl_cpu_alloc (pirl_dnn_op_bytes (c->forward.conv, PIRL_DNN_WEIGHTS), error);
  if (c->packed_weights && !c->folded_bias)
    c->folded_bias = pirl_cpu_alloc (c->base.desc.output.c * sizeof (gfloat), error);
  return c->folded_bias != NULL;
}

/* weight * scale, bias * scale + shift, with batch norm's scale and shift. */
static gboolean
prepare (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &c->base.desc;
  const gsize out = desc->output.c;
  const gsize fan = (gsize) desc->input.c / desc->groups * desc->kernel * desc->kernel;
  const gfloat *weight = b->param[PIRL_SLOT_WEIGHT], *bias = b->param[PIRL_SLOT_BIAS];
  g_autofree gfloat *scale = g_new (gfloat, out);
  gfloat *folded = pirl_cpu_alloc (out * fan * sizeof (gfloat), error);
  gpointer pad = folded ? pirl_cpu_alloc (largest_scratchpad (c), error) : NULL;

  if (folded && pad && allocate_packed (c, error)) {
    for (gsize o = 0; o < out; o++) {
      scale[o] = 1.f;
      c->folded_bias[o] = 0.f;
    }
    if (desc->batch_norm)
      pirl_norm_fold (b->param, out, scale, c->folded_bias);
    for (gsize o = 0; o < out; o++) {
      for (gsize i = 0; i < fan; i++)
        folded[o * fan + i] = weight[o * fan + i] * scale[o];
      if (desc->bias)
        c->folded_bias[o] += bias[o] * scale[o];
    }
    c->prepared =
        pirl_cpu_moved (c->forward.move_weights, folded, c->packed_weights, pad, error) != NULL;
  }
  free (folded);
  free (pad);
  return c->prepared;
}

static gboolean
forward_infer (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  gpointer pad = scratch_at (b, c->at_pad), src;

  if (!c->prepared) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "FORWARD before PREPARE: the plan has no weights yet");
    return FALSE;
  }
  src = pirl_cpu_moved (c->forward.move_src, b->input, scratch_at (b, c->at_src), pad, error);
  if (!src)
    return FALSE;
  if (c->move_residual) {
    if (!pirl_cpu_moved (c->move_residual, b->residual, b->output, pad, error))
      return FALSE;
  } else if (c->base.desc.residual && b->output != b->residual) {
    pirl_copy (b->output, b->residual, pirl_dnn_format_bytes (c->base.output));
  }
  return run_forward (c, src, c->packed_weights, c->folded_bias, b->output, pad, error);
}

static gboolean
conv_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  ConvPlan *c = (ConvPlan *) plan;
  const gboolean infer = plan->desc.mode == PIRL_MODE_INFER;

  switch (pass) {
    case PIRL_PASS_PREPARE:
      return !infer || prepare (c, b, error);
    case PIRL_PASS_FORWARD:
      return infer ? forward_infer (c, b, error) : forward_train (c, b, error);
    default:
      return backward_glue (c, b, error) && backward_weights (c, b, error)
          && (!plan->desc.needs_input_gradient || backward_data (c, b, error));
  }
}

const PirlCpuUnit pirl_cpu_conv = { sizeof (ConvPlan), conv_plan, conv_run, conv_clear };
