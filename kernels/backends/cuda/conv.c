/* gst-pirl: the CONV unit of the CUDA backend: out = act (bn (conv (in) + bias) + residual).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Dense convolutions are cuDNN's (convolution.h), depthwise ones ours (depthwise.cu), and so is
 * batch norm with residual and activation (norm.cu). Training, with batch norm:
 *   forward   y = conv (in), with the sums of y and y^2 where cuDNN has them; statistics from the
 *             sums, or (F32, depthwise) from a pass of ours over y; out = act (bn (y) + residual)
 *   backward  sums of the gradient; gradient of y in place of that of out; gradient of the weights,
 *             added to the dense floats; gradient of in
 * Without batch norm, and in inference, where it is folded into weights that are packed once, the
 * rest is the convolution's epilogue, or a pass of ours where cuDNN has none.
 *
 * Saved by FORWARD: packed weights, for the gradient of in, and with batch norm y, its table
 * (norm.h) and, where a residual makes it necessary, the activation's mask.
 *
 * In F16 a value between two such units may stay *pending*: the first one's output is y, and behind
 * it scale and shift in F16; the second one's convolution and gradient of the weights read
 * relu (scale y + shift) (cuDNN's prologues, convolution.h), which nobody writes. So y is in memory
 * instead of both, and a pass that reads it and writes the other is saved. The shift, rounded to 11
 * bits, is wrong by up to 2^-12 |mean| / deviation: as y itself is, in F16. PIRL_CUDA_FUSE in the
 * environment: 0 = never, 1 = wherever cuDNN can; else where timing shows that it pays, so never on
 * a device that is to be deterministic.
 */
#include "backends/cuda/cuda.h"
#include "backends/cuda/depthwise.h"
#include "backends/cuda/norm.h"
#include "backends/cuda/pack.h"

typedef struct {
  PirlUnitPlan base;
  gboolean depthwise;
  PirlGpuNorm norm;
  PirlGpuWeights weights;
  PirlGpuDepthwise filters;     /* of a depthwise one */
  PirlConvKind forward_kind;
  PirlConv *forward, *d_input, *d_weight;       /* NULL: depthwise, or not needed */
  gboolean pending;             /* the output is */
  gboolean prologue;            /* the input is */
  /* Offsets in saved. */
  gsize at_weights, at_y, at_table, at_mask;
  /* Offsets in scratch. Batch norm and then each gradient have it to themselves. */
  gsize at_partial, at_plain_table, at_factors;
  /* INFER: device memory, and offsets in it. */
  guint8 *folded;
  gsize at_folded_weights, at_folded_table, at_scale, at_bias;
  gboolean prepared;
} ConvPlan;

/* --- planning -------------------------------------------------------------------------------- */

static gboolean
is_inference (const PirlUnitDesc *desc)
{
  return desc->mode == PIRL_MODE_INFER;
}

/* Batch norm with the statistics of its own batch. */
static gboolean
normalises (const PirlUnitDesc *desc)
{
  return desc->batch_norm && !is_inference (desc);
}

/* Whether anything follows a convolution, but for a batch norm of its own. */
static gboolean
has_epilogue (const PirlUnitDesc *desc)
{
  return desc->bias || desc->batch_norm || desc->residual || desc->activation != PIRL_ACT_NONE;
}

/* Whether what passed the activation cannot be found again from y or the output. */
static gboolean
needs_mask (const PirlUnitDesc *desc)
{
  return normalises (desc) && desc->residual && desc->activation != PIRL_ACT_NONE;
}

static gsize
values_bytes (const PirlUnitPlan *plan, PirlDims dims, gint stored)
{
  return (gsize) dims.n * dims.h * dims.w * stored * pirl_dtype_size (plan->desc.dtype);
}

static gsize
input_bytes (const ConvPlan *c)
{
  return values_bytes (&c->base, c->base.desc.input, c->base.input_stored);
}

static gsize
output_bytes (const ConvPlan *c)
{
  return values_bytes (&c->base, c->base.desc.output, c->base.output_stored);
}

/* Where behind the @bytes of a pending value's pixels its scale is; its shift follows. */
static gsize
pending_at (gsize bytes)
{
  gsize end = 0;

  pirl_cuda_region (&end, bytes);
  return end;
}

/* Of its scale, or its shift. */
static gsize
pending_bytes (gint stored)
{
  return stored * pirl_dtype_size (PIRL_DTYPE_F16);
}

static gsize
table_bytes (const ConvPlan *c)
{
  return PIRL_GPU_NORM_ARRAYS * sizeof (gfloat) * c->norm.stored;
}

static gsize
weights_bytes (const ConvPlan *c)
{
  return c->depthwise ? pirl_gpu_depthwise_weights (&c->filters) * sizeof (gfloat)
      : pirl_gpu_weights_count (&c->weights) * pirl_dtype_size (c->base.desc.dtype);
}

/* Kernels count pixels and weights in 32 bits. */
static gboolean
check_sizes (const PirlUnitDesc *desc, GError **error)
{
  const gsize most = G_MAXINT32;
  const gsize input = (gsize) desc->input.n * desc->input.h * desc->input.w;
  const gsize output = (gsize) desc->output.n * desc->output.h * desc->output.w;
  const gsize weights = (gsize) pirl_cuda_stored (desc->output.c)
      * pirl_cuda_stored (desc->input.c) * desc->kernel * desc->kernel;

  if (input <= most && output <= most && weights <= most)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
      "the cuda backend takes up to %" G_GSIZE_FORMAT " pixels and weights; a smaller batch has "
      "fewer", most);
  return FALSE;
}

static gboolean
check_groups (const PirlUnitDesc *desc, GError **error)
{
  if (desc->groups == 1 || (desc->groups == desc->input.c && desc->groups == desc->output.c))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
      "the cuda backend has no convolution of %d groups from %d to %d channels; it has those of 1 "
      "group and those of a group a channel (depthwise), with as many channels out as in",
      desc->groups, desc->input.c, desc->output.c);
  return FALSE;
}

static void
describe_shapes (ConvPlan *c)
{
  const PirlUnitPlan *base = &c->base;
  const PirlUnitDesc *desc = &base->desc;

  c->depthwise = desc->groups > 1;
  c->norm = (PirlGpuNorm) {
    .dtype = desc->dtype, .rows = desc->output.n * desc->output.h * desc->output.w,
    .channels = desc->output.c, .stored = base->output_stored, .activation = desc->activation
  };
  c->weights = (PirlGpuWeights) {
    .out = desc->output.c, .in = desc->input.c, .kernel = desc->kernel,
    .out_stored = base->output_stored, .in_stored = base->input_stored
  };
  c->filters = (PirlGpuDepthwise) {
    .dtype = desc->dtype, .input = desc->input, .output = desc->output,
    .stored = base->input_stored, .kernel = desc->kernel, .stride = desc->stride,
    .padding = desc->padding
  };
}

static gboolean
fuse_always (void)
{
  return g_strcmp0 (g_getenv ("PIRL_CUDA_FUSE"), "1") == 0;
}

static gboolean
fuse_never (void)
{
  return g_strcmp0 (g_getenv ("PIRL_CUDA_FUSE"), "0") == 0;
}

static PirlConv *
new_conv (ConvPlan *c, PirlConvKind kind, GError **error)
{
  const PirlUnitPlan *base = &c->base;
  const PirlUnitDesc *desc = &base->desc;
  const PirlDevice *device = &base->device->base;
  PirlConvProblem problem = {
    .kind = kind, .dtype = desc->dtype, .tf32 = device->tf32,
    .deterministic = device->deterministic, .input = desc->input, .output = desc->output,
    .kernel = desc->kernel, .stride = desc->stride, .padding = desc->padding
  };

  problem.input.c = base->input_stored;
  problem.output.c = base->output_stored;
  if (kind == PIRL_CONV_FORWARD_EPILOGUE) {
    problem.activation = desc->activation;
    problem.residual = desc->residual;
  }
  problem.prologue = c->prologue;
  problem.deterministic |= c->prologue && fuse_always ();
  return pirl_conv_new (base->device->conv, &problem, error);
}

/* What cuDNN can do besides the convolution; PIRL_CONV_FORWARD = nothing. In F32 the statistics are
 * ours: sums of squares would not keep what F32 promises. */
static PirlConvKind
fused_kind (const PirlUnitDesc *desc)
{
  if (normalises (desc))
    return desc->dtype == PIRL_DTYPE_F32 ? PIRL_CONV_FORWARD : PIRL_CONV_FORWARD_SUMS;
  return has_epilogue (desc) ? PIRL_CONV_FORWARD_EPILOGUE : PIRL_CONV_FORWARD;
}

static gboolean
plan_forward (ConvPlan *c, GError **error)
{
  const PirlConvKind fused = fused_kind (&c->base.desc);
  g_autoptr (GError) reason = NULL;

  c->forward_kind = fused;
  if (fused != PIRL_CONV_FORWARD) {
    c->forward = new_conv (c, fused, &reason);
    if (!c->forward && !g_error_matches (reason, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED)) {
      g_propagate_error (error, g_steal_pointer (&reason));
      return FALSE;
    }
  }
  if (!c->forward) {
    c->forward_kind = PIRL_CONV_FORWARD;
    c->forward = new_conv (c, PIRL_CONV_FORWARD, error);
  }
  return c->forward != NULL;
}

static gboolean
plan_convolutions (ConvPlan *c, GError **error)
{
  const PirlUnitDesc *desc = &c->base.desc;

  if (c->depthwise)
    return TRUE;
  if (!plan_forward (c, error))
    return FALSE;
  if (is_inference (desc))
    return TRUE;
  c->d_weight = new_conv (c, PIRL_CONV_D_WEIGHT, error);
  if (c->d_weight && desc->needs_input_gradient)
    c->d_input = new_conv (c, PIRL_CONV_D_INPUT, error);
  return c->d_weight && (c->d_input || !desc->needs_input_gradient);
}

static void
lay_out_training (ConvPlan *c, PirlUnitMemory *memory)
{
  const PirlUnitDesc *desc = &c->base.desc;
  gsize saved = 0, scratch = 0, gradient;

  c->at_weights = pirl_cuda_region (&saved, weights_bytes (c));
  if (normalises (desc)) {
    c->at_y = pirl_cuda_region (&saved, c->pending ? 0 : output_bytes (c));
    c->at_table = pirl_cuda_region (&saved, table_bytes (c));
  }
  if (needs_mask (desc))
    c->at_mask = pirl_cuda_region (&saved, pirl_gpu_norm_mask_bytes (&c->norm));
  c->at_partial = pirl_cuda_region (&scratch, MAX (pirl_gpu_norm_partial_bytes (&c->norm),
          2 * sizeof (gfloat) * c->norm.stored));
  c->at_plain_table = pirl_cuda_region (&scratch, table_bytes (c));
  c->at_factors = pirl_cuda_region (&scratch, 2 * sizeof (gfloat) * c->norm.stored);
  if (c->depthwise)
    gradient = pirl_gpu_depthwise_partial_bytes (&c->filters);
  else
    gradient = MAX (weights_bytes (c), desc->needs_input_gradient ? input_bytes (c) : 0);
  memory->saved = saved;
  memory->scratch = MAX (scratch, gradient);
}

static gboolean
plan_inference (ConvPlan *c, GError **error)
{
  const gsize array = c->norm.stored * sizeof (gfloat);
  gsize bytes = 0;

  c->at_folded_weights = pirl_cuda_region (&bytes, weights_bytes (c));
  c->at_folded_table = pirl_cuda_region (&bytes, table_bytes (c));
  c->at_scale = pirl_cuda_region (&bytes, array);
  c->at_bias = pirl_cuda_region (&bytes, array);
  return pirl_cuda_ok (cudaMalloc ((void **) &c->folded, bytes), "memory for weights", error);
}

static gboolean
conv_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  ConvPlan *c = (ConvPlan *) plan;

  if (!check_sizes (&plan->desc, error) || !check_groups (&plan->desc, error))
    return FALSE;
  describe_shapes (c);
  if (!plan_convolutions (c, error))
    return FALSE;
  if (is_inference (&plan->desc))
    return plan_inference (c, error);
  lay_out_training (c, memory);
  return TRUE;
}

/* --- pending values --- */

static gboolean
can_be_pending (const PirlUnitDesc *desc)
{
  return normalises (desc) && !desc->residual && desc->activation == PIRL_ACT_RELU
      && desc->dtype == PIRL_DTYPE_F16;
}

/* Plans of cuDNN that read a pending input, in place of those there are. FALSE: there are none, or
 * they do not pay. */
static gboolean
plan_prologue (ConvPlan *c)
{
  PirlConv *forward, *d_weight;

  c->prologue = TRUE;
  forward = new_conv (c, PIRL_CONV_FORWARD_SUMS, NULL);
  d_weight = forward ? new_conv (c, PIRL_CONV_D_WEIGHT, NULL) : NULL;
  if (!d_weight) {
    pirl_conv_free (forward);
    c->prologue = FALSE;
    return FALSE;
  }
  pirl_conv_free (c->forward);
  pirl_conv_free (c->d_weight);
  c->forward = forward;
  c->forward_kind = PIRL_CONV_FORWARD_SUMS;
  c->d_weight = d_weight;
  return TRUE;
}

gboolean
pirl_cuda_conv_fuse (PirlUnitPlan *producer, PirlUnitPlan *consumer, PirlTensorDesc *value,
    PirlUnitMemory *memory)
{
  ConvPlan *from = (ConvPlan *) producer, *to = (ConvPlan *) consumer;

  if (!can_be_pending (&producer->desc) || !normalises (&consumer->desc) || to->depthwise
      || fuse_never () || (producer->device->base.deterministic && !fuse_always ())
      || !plan_prologue (to))
    return FALSE;
  from->pending = TRUE;
  lay_out_training (from, memory);
  value->bytes = pending_at (output_bytes (from)) + 2 * pending_bytes (from->norm.stored);
  return TRUE;
}

static void
conv_clear (PirlUnitPlan *plan)
{
  ConvPlan *c = (ConvPlan *) plan;

  pirl_conv_free (c->forward);
  pirl_conv_free (c->d_input);
  pirl_conv_free (c->d_weight);
  cudaFree (c->folded);
}

/* --- running --------------------------------------------------------------------------------- */

static gpointer
saved_at (const PirlUnitBuffers *b, gsize offset)
{
  return (guint8 *) b->saved + offset;
}

static gpointer
scratch_at (const PirlUnitBuffers *b, gsize offset)
{
  return (guint8 *) b->scratch + offset;
}

static cudaStream_t
stream_of (const ConvPlan *c)
{
  return c->base.device->stream;
}

static gboolean
run_conv (ConvPlan *c, PirlConv *conv, const PirlConvTensors *tensors, GError **error)
{
  return pirl_conv_run (conv, tensors, c->base.device->workspace, stream_of (c), error);
}

static void
pack_weights (ConvPlan *c, const PirlUnitBuffers *b, const gfloat *scale, gpointer packed)
{
  const gfloat *dense = b->param[PIRL_SLOT_WEIGHT];

  if (c->depthwise)
    pirl_gpu_depthwise_pack (&c->filters, dense, scale, packed, stream_of (c));
  else
    pirl_gpu_pack_weights (&c->weights, c->base.desc.dtype, dense, scale, packed, stream_of (c));
}

static PirlGpuNormParams
norm_params (const ConvPlan *c, const PirlUnitBuffers *b, gboolean running)
{
  const PirlUnitDesc *desc = &c->base.desc;
  PirlGpuNormParams params = { .conv_bias = desc->bias ? b->param[PIRL_SLOT_BIAS] : NULL };

  if (!desc->batch_norm)
    return params;
  params.weight = b->param[PIRL_SLOT_BN_WEIGHT];
  params.bias = b->param[PIRL_SLOT_BN_BIAS];
  params.running_mean = running ? b->param[PIRL_SLOT_BN_MEAN] : NULL;
  params.running_var = running ? b->param[PIRL_SLOT_BN_VAR] : NULL;
  return params;
}

/* What a convolution reads of the input. */
static PirlConvTensors
input_tensors (const ConvPlan *c, const PirlUnitBuffers *b)
{
  PirlConvTensors tensors = { .input = (gpointer) b->input };

  if (c->prologue) {
    tensors.scale = (const guint8 *) b->input + pending_at (input_bytes (c));
    tensors.shift = (const guint8 *) tensors.scale + pending_bytes (c->base.input_stored);
  }
  return tensors;
}

/* y of a batch norm. */
static gpointer
product_of (const ConvPlan *c, const PirlUnitBuffers *b)
{
  return c->pending ? b->output : saved_at (b, c->at_y);
}

/* Convolution and all that follows it, without statistics; @table only adds a bias. */
static gboolean
forward_plain (ConvPlan *c, const PirlUnitBuffers *b, gpointer weights, const gfloat *table,
    GError **error)
{
  const PirlUnitDesc *desc = &c->base.desc;
  const gfloat *bias = table + PIRL_GPU_NORM_SHIFT * c->norm.stored;
  gconstpointer residual = desc->residual ? b->residual : NULL;
  const PirlConvTensors tensors = { .input = (gpointer) b->input, .weight = weights,
    .output = b->output, .bias = bias, .residual = residual };

  if (c->depthwise) {
    pirl_gpu_depthwise_forward (&c->filters, b->input, weights, bias, residual, desc->activation,
        b->output, stream_of (c));
    return TRUE;
  }
  if (!run_conv (c, c->forward, &tensors, error))
    return FALSE;
  if (c->forward_kind == PIRL_CONV_FORWARD && has_epilogue (desc))
    pirl_gpu_norm_apply (&c->norm, table, b->output, residual, NULL, b->output, stream_of (c));
  return TRUE;
}

/* The convolution alone, with what statistics follow from it in @partial. */
static gboolean
forward_product (ConvPlan *c, const PirlUnitBuffers *b, gpointer weights, gpointer y,
    gfloat *partial, GError **error)
{
  PirlConvTensors tensors = input_tensors (c, b);

  tensors.weight = weights;
  tensors.output = y;
  tensors.sum = partial;
  tensors.squares = partial + c->norm.stored;
  if (c->depthwise)
    pirl_gpu_depthwise_forward (&c->filters, b->input, weights, NULL, NULL, PIRL_ACT_NONE, y,
        stream_of (c));
  else if (!run_conv (c, c->forward, &tensors, error))
    return FALSE;
  if (c->forward_kind != PIRL_CONV_FORWARD_SUMS)
    pirl_gpu_norm_moments (&c->norm, y, partial, stream_of (c));
  return TRUE;
}

static gboolean
forward_normalised (ConvPlan *c, const PirlUnitBuffers *b, gpointer weights, GError **error)
{
  const PirlUnitDesc *desc = &c->base.desc;
  PirlGpuNormParams params = norm_params (c, b, b->update_statistics);
  const gboolean sums = c->forward_kind == PIRL_CONV_FORWARD_SUMS;
  gpointer y = product_of (c, b);
  gfloat *table = saved_at (b, c->at_table), *partial = scratch_at (b, c->at_partial);

  if (c->pending)
    params.pending = (guint8 *) y + pending_at (output_bytes (c));
  if (!forward_product (c, b, weights, y, partial, error))
    return FALSE;
  pirl_gpu_norm_finish (&c->norm, sums ? NULL : partial, partial, &params, table, stream_of (c));
  if (c->pending)
    return TRUE;
  pirl_gpu_norm_apply (&c->norm, table, y, desc->residual ? b->residual : NULL,
      needs_mask (desc) ? saved_at (b, c->at_mask) : NULL, b->output, stream_of (c));
  return TRUE;
}

static gboolean
forward_train (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  gpointer weights = saved_at (b, c->at_weights);
  gfloat *table = scratch_at (b, c->at_plain_table);

  pack_weights (c, b, NULL, weights);
  if (normalises (&c->base.desc))
    return forward_normalised (c, b, weights, error);
  pirl_gpu_norm_identity (&c->norm, c->base.desc.bias ? b->param[PIRL_SLOT_BIAS] : NULL, table,
      stream_of (c));
  return forward_plain (c, b, weights, table, error);
}

/* --- gradients ------------------------------------------------------------------------------- */

/* From the gradient of the output to that of y, in its place. Batch norm takes the mean away and a
 * bias in front of it with it: its gradient is zero, and summing would only give the rounding
 * errors. */
static void
backward_normalised (ConvPlan *c, const PirlUnitBuffers *b)
{
  const PirlUnitDesc *desc = &c->base.desc;
  const PirlGpuNormGradient gradient = {
    .table = saved_at (b, c->at_table), .y = product_of (c, b),
    .mask = needs_mask (desc) ? saved_at (b, c->at_mask) : NULL, .d = b->d_output,
    .d_residual = desc->residual ? b->d_residual : NULL,
    .accumulate_residual = b->accumulate_residual
  };
  gfloat *partial = scratch_at (b, c->at_partial), *factors = scratch_at (b, c->at_factors);

  pirl_gpu_norm_gradient_sums (&c->norm, &gradient, partial, stream_of (c));
  pirl_gpu_norm_gradient_finish (&c->norm, partial, gradient.table, b->grad[PIRL_SLOT_BN_WEIGHT],
      b->grad[PIRL_SLOT_BN_BIAS], factors, stream_of (c));
  pirl_gpu_norm_gradient_apply (&c->norm, &gradient, factors, stream_of (c));
}

/* The same without batch norm: the activation's mask is found again from the output. */
static void
backward_plain (ConvPlan *c, const PirlUnitBuffers *b)
{
  const PirlUnitDesc *desc = &c->base.desc;
  gfloat *table = scratch_at (b, c->at_plain_table), *partial = scratch_at (b, c->at_partial);
  gfloat *d_bias = desc->bias ? b->grad[PIRL_SLOT_BIAS] : NULL;
  const PirlGpuNormGradient gradient = {
    .table = table, .y = b->output, .d = b->d_output,
    .d_residual = desc->residual ? b->d_residual : NULL,
    .accumulate_residual = b->accumulate_residual
  };

  pirl_gpu_norm_identity (&c->norm, NULL, table, stream_of (c));
  if (d_bias) {
    pirl_gpu_norm_gradient_sums (&c->norm, &gradient, partial, stream_of (c));
    pirl_gpu_norm_gradient_finish (&c->norm, partial, table, NULL, d_bias, NULL, stream_of (c));
  }
  if (desc->activation != PIRL_ACT_NONE || gradient.d_residual)
    pirl_gpu_norm_gradient_apply (&c->norm, &gradient, NULL, stream_of (c));
}

static gboolean
backward_weights (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  gfloat *grad = b->grad[PIRL_SLOT_WEIGHT];
  PirlConvTensors tensors = input_tensors (c, b);

  tensors.weight = b->scratch;
  tensors.output = b->d_output;
  if (!grad)
    return TRUE;
  if (c->depthwise) {
    pirl_gpu_depthwise_d_weight (&c->filters, b->input, b->d_output, b->scratch, grad,
        stream_of (c));
    return TRUE;
  }
  if (!run_conv (c, c->d_weight, &tensors, error))
    return FALSE;
  pirl_gpu_unpack_weights (&c->weights, c->base.desc.dtype, b->scratch, grad, stream_of (c));
  return TRUE;
}

static gboolean
backward_input (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  const PirlDType dtype = c->base.desc.dtype;
  gpointer weights = saved_at (b, c->at_weights);
  const PirlConvTensors tensors = { .input = b->accumulate_input ? b->scratch : b->d_input,
    .weight = weights, .output = b->d_output };

  if (c->depthwise) {
    pirl_gpu_depthwise_d_input (&c->filters, b->d_output, weights, b->accumulate_input, b->d_input,
        stream_of (c));
    return TRUE;
  }
  if (!run_conv (c, c->d_input, &tensors, error))
    return FALSE;
  if (b->accumulate_input)
    pirl_gpu_add (dtype, input_bytes (c) / pirl_dtype_size (dtype), b->d_input, b->scratch,
        stream_of (c));
  return TRUE;
}

static gboolean
backward (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  if (normalises (&c->base.desc))
    backward_normalised (c, b);
  else
    backward_plain (c, b);
  return backward_weights (c, b, error)
      && (!c->base.desc.needs_input_gradient || backward_input (c, b, error));
}

/* --- inference ------------------------------------------------------------------------------- */

static void
prepare (ConvPlan *c, const PirlUnitBuffers *b)
{
  const PirlGpuNormParams params = norm_params (c, b, TRUE);
  gfloat *scale = (gfloat *) (c->folded + c->at_scale);
  gfloat *bias = (gfloat *) (c->folded + c->at_bias);

  pirl_gpu_norm_fold (&c->norm, &params, scale, bias, stream_of (c));
  pack_weights (c, b, scale, c->folded + c->at_folded_weights);
  pirl_gpu_norm_identity (&c->norm, bias, (gfloat *) (c->folded + c->at_folded_table),
      stream_of (c));
  c->prepared = TRUE;
}

static gboolean
forward_infer (ConvPlan *c, const PirlUnitBuffers *b, GError **error)
{
  if (!c->prepared) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "FORWARD before PREPARE: the plan has no weights yet");
    return FALSE;
  }
  return forward_plain (c, b, c->folded + c->at_folded_weights,
      (const gfloat *) (c->folded + c->at_folded_table), error);
}

static gboolean
conv_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  ConvPlan *c = (ConvPlan *) plan;
  const gboolean infer = is_inference (&plan->desc);

  switch (pass) {
    case PIRL_PASS_PREPARE:
      if (infer)
        prepare (c, b);
      return TRUE;
    case PIRL_PASS_FORWARD:
      return infer ? forward_infer (c, b, error) : forward_train (c, b, error);
    case PIRL_PASS_BACKWARD:
      return backward (c, b, error);
    default:
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "a convolution has no pass %d", pass);
      return FALSE;
  }
}

const PirlCudaUnit pirl_cuda_conv = {
  .size = sizeof (ConvPlan), .plan = conv_plan, .run = conv_run,
  .clear = conv_clear
};
