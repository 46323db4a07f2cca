/* gst-pirl: the units of the CUDA backend that make, shrink and end pictures: INPUT, MAXPOOL,
 * AVGPOOL. Their kernels are in pictures.cu.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/cuda/pictures.h"

#include <string.h>

#include "backends/cuda/cuda.h"

#define SLOTS 2

/* Thread numbers of kernels have 32 bits, a thread has 8 channels. */
static gboolean
check_size (const PirlDims d, gint stored, GError **error)
{
  const gdouble threads = (gdouble) d.n * d.h * d.w * (stored / PIRL_CUDA_LANES);

  if (threads <= G_MAXINT32)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "%.3g values are more than a kernel "
      "counts; a smaller batch has fewer", threads * PIRL_CUDA_LANES);
  return FALSE;
}

/* --- INPUT ----------------------------------------------------------------------------------- */

/* A batch on its way: pinned memory that the caller's pictures are copied to, and device memory
 * that they travel to on the stream of copies. */
typedef struct {
  guint8 *host, *device;
  cudaEvent_t copied;
} Slot;

/* Why two slots are enough. Step k reads slot k mod 2. While it runs, STAGE fills the other one,
 * which step k - 1 has read, and that one is over: there is one step at a time, and FORWARD of k
 * came after its end. A second STAGE before FORWARD takes the same slot again, not the one that
 * the running step reads. */
typedef struct {
  PirlUnitPlan base;
  PirlGpuNormalise normalise;
  gsize picture_bytes;
  Slot slot[SLOTS];
  guint next;                   /* the slot that STAGE fills */
  gboolean staged;              /* it is filled, and FORWARD has not taken it */
} InputPlan;

static gboolean
slot_init (Slot *slot, gsize bytes, GError **error)
{
  return pirl_cuda_ok (cudaMallocHost ((void **) &slot->host, bytes), "pinned memory", error)
      && pirl_cuda_ok (cudaMalloc ((void **) &slot->device, bytes), "device memory", error)
      && pirl_cuda_ok (cudaEventCreateWithFlags (&slot->copied, cudaEventDisableTiming),
          "making an event", error);
}

static gboolean
input_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  InputPlan *p = (InputPlan *) plan;
  const PirlUnitDesc *desc = &plan->desc;
  const PirlDims d = desc->output;

  if (d.c != 3) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "pictures have 3 channels, not %d", d.c);
    return FALSE;
  }
  if (!check_size (d, plan->output_stored, error))
    return FALSE;
  for (gint c = 0; c < 3; c++) {
    p->normalise.scale[c] = (gfloat) (1 / (255 * (gdouble) desc->std[c]));
    p->normalise.shift[c] = (gfloat) (-(gdouble) desc->mean[c] / desc->std[c]);
  }
  p->picture_bytes = (gsize) d.h * d.w * d.c;
  for (gint i = 0; i < SLOTS; i++)
    if (!slot_init (&p->slot[i], d.n * p->picture_bytes, error))
      return FALSE;
  return TRUE;
}

static void
input_clear (PirlUnitPlan *plan)
{
  InputPlan *p = (InputPlan *) plan;

  cudaStreamSynchronize (plan->device->copies);
  for (gint i = 0; i < SLOTS; i++) {
    if (p->slot[i].copied)
      cudaEventDestroy (p->slot[i].copied);
    cudaFree (p->slot[i].device);
    cudaFreeHost (p->slot[i].host);
  }
}

/* Waits until the slot's pinned memory has travelled, fills it, and starts its next travel. */
static gboolean
fill_slot (InputPlan *p, Slot *slot, const guint8 *const *pictures, GError **error)
{
  const gint n = p->base.desc.output.n;
  cudaStream_t copies = p->base.device->copies;

  if (!pirl_cuda_ok (cudaEventSynchronize (slot->copied), "waiting for pictures", error))
    return FALSE;
  for (gint i = 0; i < n; i++)
    memcpy (slot->host + i * p->picture_bytes, pictures[i], p->picture_bytes);
  return pirl_cuda_ok (cudaMemcpyAsync (slot->device, slot->host, n * p->picture_bytes,
          cudaMemcpyHostToDevice, copies), "copying pictures to the device", error)
      && pirl_cuda_ok (cudaEventRecord (slot->copied, copies), "recording an event", error);
}

static gboolean
input_stage (InputPlan *p, const guint8 *const *pictures, GError **error)
{
  enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;

  /* While a step is being recorded, FORWARD may still bring its own pictures: the copies are on
   * another stream and no part of the record. */
  if (!pirl_cuda_ok (cudaThreadExchangeStreamCaptureMode (&mode), "staging", error))
    return FALSE;
  p->staged = fill_slot (p, &p->slot[p->next], pictures, error);
  return pirl_cuda_ok (cudaThreadExchangeStreamCaptureMode (&mode), "staging", error)
      && p->staged;
}

static gboolean
input_forward (InputPlan *p, const PirlUnitBuffers *b, GError **error)
{
  PirlCudaDevice *device = p->base.device;
  const Slot *slot = &p->slot[p->next];
  const guint8 *const *rgb;
  const PirlDims d = p->base.desc.output;

  if (b->input && !input_stage (p, b->input, error))
    return FALSE;
  if (!p->staged) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "FORWARD without pictures: none were given and none staged");
    return FALSE;
  }
  /* The kernel of a recorded step finds the slot of this step at an address that stays. */
  rgb = pirl_cuda_push (device, &slot->device, sizeof slot->device, error);
  if (!rgb || !pirl_cuda_before_launch (device, slot->copied, error))
    return FALSE;
  p->staged = FALSE;
  p->next = (p->next + 1) % SLOTS;
  if (pirl_cuda_launches (device))
    pirl_gpu_normalise (rgb, (guint) (d.n * d.h * d.w), p->base.output_stored, &p->normalise,
        p->base.desc.dtype, b->output, device->stream);
  return TRUE;
}

static gboolean
input_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  InputPlan *p = (InputPlan *) plan;

  if (pass == PIRL_PASS_STAGE)
    return input_stage (p, b->input, error);
  return pass != PIRL_PASS_FORWARD || input_forward (p, b, error);
}

const PirlCudaUnit pirl_cuda_input = { "input", sizeof (InputPlan), FALSE, input_plan, input_run,
  input_clear };

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
  if (!check_size (in, plan->input_stored, error) || !check_size (out, plan->output_stored, error))
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

const PirlCudaUnit pirl_cuda_maxpool = { "maxpool", sizeof (MaxpoolPlan), FALSE, maxpool_plan,
  maxpool_run, NULL };

/* --- AVGPOOL --------------------------------------------------------------------------------- */

static gboolean
avgpool_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  return check_size (plan->desc.input, plan->input_stored, error);
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

const PirlCudaUnit pirl_cuda_avgpool = { "avgpool", sizeof (PirlUnitPlan), FALSE, avgpool_plan,
  avgpool_run, NULL };
