/* gst-pirl: the units of the CUDA backend that work on vectors: LINEAR, BATCHNORM, L2NORM. Their
 * kernels are in vectors.cu, products in matmul.c.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Vectors are dense rows of floats also where pictures are kept in 16 bits: they are small, and
 * what is compared afterwards deserves the digits.
 */
#include "backends/cuda/vectors.h"

#include "backends/cuda/cuda.h"

/* --- LINEAR ---------------------------------------------------------------------------------- */

/* out = act (x W^T + bias); d_x (+)= d W, d_W += d^T x, d_bias += sums of d. */
typedef struct {
  PirlUnitPlan base;
  PirlMatmul *forward;          /* with the bias, and ReLU */
  PirlMatmul *d_weight;
  PirlMatmul *d_input[2];       /* [1] adds */
} LinearPlan;

static gboolean
plan_product (LinearPlan *l, PirlMatmulProblem problem, PirlMatmul **product, GError **error)
{
  PirlCudaDevice *device = l->base.device;

  problem.tf32 = device->base.tf32;
  *product = pirl_matmul_new (device->matmul, &problem, error);
  return *product != NULL;
}

static gboolean
linear_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  LinearPlan *l = (LinearPlan *) plan;
  const PirlUnitDesc *desc = &plan->desc;
  const gint n = desc->output.n, out = desc->output.c, in = desc->input.c;
  const PirlMatmulProblem forward = {.m = n, .n = out, .k = in, .transpose_b = TRUE,
    .bias = desc->bias, .relu = desc->activation == PIRL_ACT_RELU };
  const PirlMatmulProblem d_weight = {.m = out, .n = in, .k = n, .transpose_a = TRUE,
    .accumulate = TRUE };
  PirlMatmulProblem d_input = {.m = n, .n = in, .k = out };

  if (!plan_product (l, forward, &l->forward, error))
    return FALSE;
  if (desc->mode != PIRL_MODE_TRAIN)
    return TRUE;
  for (gint i = 0; i < 2 && desc->needs_input_gradient; i++) {
    d_input.accumulate = i;
    if (!plan_product (l, d_input, &l->d_input[i], error))
      return FALSE;
  }
  return plan_product (l, d_weight, &l->d_weight, error);
}

static void
linear_clear (PirlUnitPlan *plan)
{
  LinearPlan *l = (LinearPlan *) plan;

  pirl_matmul_free (l->forward);
  pirl_matmul_free (l->d_weight);
  pirl_matmul_free (l->d_input[0]);
  pirl_matmul_free (l->d_input[1]);
}

static gboolean
run_product (const LinearPlan *l, PirlMatmul *product, gconstpointer a, gconstpointer b,
    gpointer c, gconstpointer bias, GError **error)
{
  const PirlCudaDevice *device = l->base.device;

  return pirl_matmul_run (product, a, b, c, bias, device->workspace, device->stream, error);
}

static gboolean
linear_forward (LinearPlan *l, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &l->base.desc;

  if (!run_product (l, l->forward, b->input, b->param[PIRL_SLOT_WEIGHT], b->output,
          desc->bias ? b->param[PIRL_SLOT_BIAS] : NULL, error))
    return FALSE;
  if (desc->activation == PIRL_ACT_RELU6)
    pirl_gpu_rows_activate (b->output, desc->output.n, desc->output.c, PIRL_ACT_RELU6,
        l->base.device->stream);
  return TRUE;
}

static gboolean
linear_backward (LinearPlan *l, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &l->base.desc;
  gpointer d_bias = desc->bias ? b->grad[PIRL_SLOT_BIAS] : NULL;
  gpointer d_weight = b->grad[PIRL_SLOT_WEIGHT];

  if (desc->activation != PIRL_ACT_NONE || d_bias)
    pirl_gpu_rows_backward (b->d_output, b->output, desc->output.n, desc->output.c,
        desc->activation, d_bias, l->base.device->stream);
  return (!d_weight || run_product (l, l->d_weight, b->d_output, b->input, d_weight, NULL, error))
      && (!desc->needs_input_gradient || run_product (l, l->d_input[b->accumulate_input ? 1 : 0],
          b->d_output, b->param[PIRL_SLOT_WEIGHT], b->d_input, NULL, error));
}

static gboolean
linear_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  LinearPlan *l = (LinearPlan *) plan;

  if (pass == PIRL_PASS_FORWARD)
    return linear_forward (l, b, error);
  return pass != PIRL_PASS_BACKWARD || linear_backward (l, b, error);
}

const PirlCudaUnit pirl_cuda_linear = { sizeof (LinearPlan), TRUE, linear_plan,
  linear_run, linear_clear };

/* --- BATCHNORM ------------------------------------------------------------------------------- */

/* Saved: the mean in two numbers and 1 / sqrt (var + eps) of each channel. */
typedef struct {
  PirlUnitPlan base;
  gfloat *folded;               /* INFER: scale, then shift; device memory */
  gboolean prepared;
} BatchnormPlan;

static gboolean
batchnorm_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  BatchnormPlan *p = (BatchnormPlan *) plan;
  const gsize channels = (gsize) plan->desc.output.c * sizeof (gfloat);

  if (plan->desc.mode == PIRL_MODE_INFER)
    return pirl_cuda_ok (cudaMalloc ((void **) &p->folded, 2 * channels), "device memory", error);
  memory->saved = 3 * channels;
  return TRUE;
}

static void
batchnorm_clear (PirlUnitPlan *plan)
{
  cudaFree (((BatchnormPlan *) plan)->folded);
}

static gboolean
batchnorm_infer (BatchnormPlan *p, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  const PirlDims d = p->base.desc.output;
  gfloat *scale = p->folded, *shift = scale + d.c;
  cudaStream_t stream = p->base.device->stream;

  if (pass == PIRL_PASS_PREPARE) {
    pirl_gpu_rows_norm_fold (d.c, b->param[PIRL_SLOT_BN_WEIGHT], b->param[PIRL_SLOT_BN_BIAS],
        b->param[PIRL_SLOT_BN_MEAN], b->param[PIRL_SLOT_BN_VAR], scale, shift, stream);
    p->prepared = TRUE;
  } else if (!p->prepared) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "FORWARD before PREPARE: the plan has no statistics yet");
    return FALSE;
  } else {
    pirl_gpu_rows_norm_folded (b->input, d.n, d.c, scale, shift, p->base.desc.activation,
        b->output, stream);
  }
  return TRUE;
}

static gboolean
batchnorm_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  const PirlUnitDesc *desc = &plan->desc;
  gpointer const *param = b->param;
  PirlGpuRowsNorm norm = {.n = desc->output.n, .c = desc->output.c, .act = desc->activation,
    .x = b->input, .gamma = param[PIRL_SLOT_BN_WEIGHT], .beta = param[PIRL_SLOT_BN_BIAS],
    .out = b->output, .mean = b->saved };

  if (desc->mode == PIRL_MODE_INFER)
    return batchnorm_infer ((BatchnormPlan *) plan, pass, b, error);
  norm.rest = norm.mean + desc->output.c;
  norm.inverse = norm.rest + desc->output.c;
  if (pass == PIRL_PASS_FORWARD) {
    if (b->update_statistics) {
      norm.running_mean = param[PIRL_SLOT_BN_MEAN];
      norm.running_var = param[PIRL_SLOT_BN_VAR];
    }
    pirl_gpu_rows_norm (&norm, plan->device->stream);
  } else if (pass == PIRL_PASS_BACKWARD) {
    norm.d_out = b->d_output;
    norm.d_gamma = b->grad[PIRL_SLOT_BN_WEIGHT];
    norm.d_beta = b->grad[PIRL_SLOT_BN_BIAS];
    norm.d_x = desc->needs_input_gradient ? b->d_input : NULL;
    norm.accumulate = b->accumulate_input;
    pirl_gpu_rows_norm_backward (&norm, plan->device->stream);
  }
  return TRUE;
}

const PirlCudaUnit pirl_cuda_batchnorm = { sizeof (BatchnormPlan), TRUE,
  batchnorm_plan, batchnorm_run, batchnorm_clear };

/* --- L2NORM ---------------------------------------------------------------------------------- */

static gboolean
l2norm_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  return TRUE;
}

static gboolean
l2norm_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  const PirlDims d = plan->desc.output;
  cudaStream_t stream = plan->device->stream;

  if (pass == PIRL_PASS_FORWARD)
    pirl_gpu_rows_unit (b->input, d.n, d.c, b->output, stream);
  else if (pass == PIRL_PASS_BACKWARD && plan->desc.needs_input_gradient)
    pirl_gpu_rows_unit_backward (b->input, b->d_output, d.n, d.c, b->accumulate_input, b->d_input,
        stream);
  return TRUE;
}

const PirlCudaUnit pirl_cuda_l2norm = { sizeof (PirlUnitPlan), TRUE, l2norm_plan,
  l2norm_run, NULL };
