/* gst-pirl: the units MAXPOOL and AVGPOOL of the CUDA backend. Their kernels are in pictures.cu.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/cuda/pictures.h"

#include "backends/cuda/cuda.h"

gboolean
pirl_gpu_check_size (PirlDims d, gint stored, GError **error)
{
  const gdouble threads = (gdouble) d.n * d.h * d.w * (stored / PIRL_CUDA_LANES);

  if (threads <= G_MAXINT32)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "%.3g values are more than a kernel "
      "counts; a smaller batch has fewer", threads * PIRL_CUDA_LANES);
  return FALSE;
}

/* --- MAXPOOL --------------------------------------------------------------------------------- */

/* Saved: for each value of the output where in its window it came from, a byte. */
typedef struct {
  PirlUnitPlan base;
  PirlGpuPool pool;
} MaxpoolPlan;

static gboolean
maxpool_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  const PirlUnitDesc *desc = &plan->desc;
  const PirlDims in = desc->input, out = desc->output;

  if (desc->kernel > PIRL_GPU_POOL_MAX_KERNEL) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "a window of %d x %d; the largest is "
        "%d x %d", desc->kernel, desc->kernel, PIRL_GPU_POOL_MAX_KERNEL,
        PIRL_GPU_POOL_MAX_KERNEL);
    return FALSE;
  }
  if (!pirl_gpu_check_size (in, plan->input_stored, error)
      || !pirl_gpu_check_size (out, plan->output_stored, error))
    return FALSE;
  ((MaxpoolPlan *) plan)->pool = (PirlGpuPool) {.n = in.n, .h = in.h, .w = in.w,
    .stored = plan->input_stored, .out_h = out.h, .out_w = out.w, .kernel = desc->kernel,
    .stride = desc->stride, .padding = desc->padding };
  if (desc->mode == PIRL_MODE_TRAIN)
    memory->saved = (gsize) out.n * out.h * out.w * plan->output_stored;
  return TRUE;
}

static gboolean
maxpool_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  const PirlGpuPool *pool = &((MaxpoolPlan *) plan)->pool;
  const PirlDType dtype = plan->desc.dtype;
  cudaStream_t stream = plan->device->stream;

  if (pass == PIRL_PASS_FORWARD)
    pirl_gpu_maxpool (pool, dtype, b->input, b->output,
        plan->desc.mode == PIRL_MODE_TRAIN ? b->saved : NULL, stream);
  else if (pass == PIRL_PASS_BACKWARD && plan->desc.needs_input_gradient)
    pirl_gpu_maxpool_backward (pool, dtype, b->d_output, b->saved, b->accumulate_input,
        b->d_input, stream);
  return TRUE;
}

const PirlCudaUnit pirl_cuda_maxpool = { sizeof (MaxpoolPlan), FALSE, maxpool_plan,
  maxpool_run, NULL };

/* --- AVGPOOL --------------------------------------------------------------------------------- */

static gboolean
avgpool_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  return pirl_gpu_check_size (plan->desc.input, plan->input_stored, error);
}

static gboolean
avgpool_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  const PirlDims in = plan->desc.input;
  const PirlDType dtype = plan->desc.dtype;
  cudaStream_t stream = plan->device->stream;

  if (pass == PIRL_PASS_FORWARD)
    pirl_gpu_avgpool (in.n, in.h * in.w, in.c, plan->input_stored, dtype, b->input, b->output,
        stream);
  else if (pass == PIRL_PASS_BACKWARD && plan->desc.needs_input_gradient)
    pirl_gpu_avgpool_backward (in.n, in.h * in.w, in.c, plan->input_stored, dtype, b->d_output,
        b->accumulate_input, b->d_input, stream);
  return TRUE;
}

const PirlCudaUnit pirl_cuda_avgpool = { sizeof (PirlUnitPlan), FALSE, avgpool_plan,
  avgpool_run, NULL };
