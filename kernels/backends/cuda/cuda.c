/* gst-pirl: the CUDA backend: its device, its memory, its table of functions. cuda.h says how
 * values are kept and how steps are queued.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/cuda/cuda.h"

#include <string.h>

#include "backends/check.h"
#include "backends/cuda/learning.h"
#include "backends/cuda/pack.h"

/* The oldest cards that kernels are built for: Ampere, the first with bf16. */
#define MIN_COMPUTE 80

/* --- errors --- */

gboolean
pirl_cuda_ok (cudaError_t status, const gchar *what, GError **error)
{
  if (status == cudaSuccess)
    return TRUE;
  cudaGetLastError ();          /* it is told once: not as that of the next launch too */
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "cuda: %s: %s%s", what,
      cudaGetErrorString (status), status == cudaErrorMemoryAllocation
      ? "; a smaller batch-size or picture needs less" : "");
  return FALSE;
}

gboolean
pirl_cuda_launched (const gchar *what, GError **error)
{
  return pirl_cuda_ok (cudaGetLastError (), what, error);
}

/* --- device --- */

static gboolean
unsupported (GError **error, const gchar *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
unsupported (GError **error, const gchar *format, ...)
{
  va_list args;

  va_start (args, format);
  g_propagate_error (error, g_error_new_valist (PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, format, args));
  va_end (args);
  return FALSE;
}

/* The driver answers, there is a card with this number, and it is new enough. */
static gboolean
find_card (PirlCudaDevice *device, struct cudaDeviceProp *card, GError **error)
{
  cudaError_t status;
  int n = 0;

  status = cudaGetDeviceCount (&n);
  if (status != cudaSuccess || n == 0)
    return unsupported (error, "%s; a card of NVIDIA and its driver are needed",
        status == cudaSuccess ? "there is no card" : cudaGetErrorString (status));
  if (device->ordinal >= n)
    return unsupported (error, "the last card here is cuda:%d", n - 1);
  if (!pirl_cuda_ok (cudaSetDevice (device->ordinal), "choosing the device", error)
      || !pirl_cuda_ok (cudaGetDeviceProperties (card, device->ordinal), "asking the device",
          error))
    return FALSE;
  device->compute = 10 * card->major + card->minor;
  device->multiprocessors = card->multiProcessorCount;
  if (device->compute < MIN_COMPUTE)
    return unsupported (error, "%s has compute capability %d.%d; %d.%d (Ampere) or newer is needed",
        card->name, card->major, card->minor, MIN_COMPUTE / 10, MIN_COMPUTE % 10);
  return TRUE;
}

static gboolean
setup (PirlCudaDevice *device, GError **error)
{
  return pirl_cuda_ok (cudaStreamCreateWithFlags (&device->stream, cudaStreamNonBlocking),
      "making a stream", error)
      && pirl_cuda_ok (cudaStreamCreateWithFlags (&device->copies, cudaStreamNonBlocking),
      "making a stream", error)
      && pirl_cuda_ok (cudaMalloc (&device->workspace, PIRL_CUDA_WORKSPACE), "workspace", error)
      && pirl_cuda_ok (cudaMalloc ((void **) &device->scale, sizeof (PirlCudaScale)),
      "device memory", error)
      && (device->conv = pirl_conv_engine_new (NULL, PIRL_CUDA_WORKSPACE, error)) != NULL
      && (device->matmul = pirl_matmul_engine_new (PIRL_CUDA_WORKSPACE, error)) != NULL
      && (device->steps = pirl_cuda_steps_new (device, error)) != NULL;
}

static void
cuda_close (PirlDevice *base)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;

  if (!device)
    return;
  cudaSetDevice (device->ordinal);
  if (device->stream)
    cudaStreamSynchronize (device->stream);
  pirl_cuda_steps_free (device->steps);
  pirl_conv_engine_free (device->conv);
  pirl_matmul_engine_free (device->matmul);
  cudaFree (device->scale);
  cudaFree (device->scratch);
  cudaFree (device->workspace);
  if (device->copies)
    cudaStreamDestroy (device->copies);
  if (device->stream)
    cudaStreamDestroy (device->stream);
  cudaGetLastError ();          /* of a device that did not open: not the next one's */
  g_free (device->base.description);
  g_free (device);
}

static const PirlBackend cuda_backend;

static PirlDevice *
cuda_open (guint index, guint n_threads, gboolean deterministic, GError **error)
{
  PirlCudaDevice *device = g_new0 (PirlCudaDevice, 1);
  const PirlLossScale off = { 0 };
  struct cudaDeviceProp card;

  device->base.backend = &cuda_backend;
  device->base.param_dtype = PIRL_DTYPE_F32;
  device->base.n_threads = 1;
  device->base.deterministic = deterministic;
  device->ordinal = (gint) index;
  if (!find_card (device, &card, error) || !setup (device, error)) {
    cuda_close (&device->base);
    return NULL;
  }
  device->base.description = g_strdup_printf ("cuda:%u (%s, %s)", index, card.name,
      pirl_conv_engine_description (device->conv));
  pirl_cuda_set_loss_scale (&device->base, &off);
  return &device->base;
}

static gboolean
cuda_supports (PirlDevice *device, PirlMode mode, PirlDType dtype, const gchar **reason)
{
  if (dtype == PIRL_DTYPE_F32 || dtype == PIRL_DTYPE_F16 || dtype == PIRL_DTYPE_BF16)
    return TRUE;
  if (reason)
    *reason = "the cuda backend computes in F32, F16 and BF16";
  return FALSE;
}

/* --- memory --- */

static PirlCudaDevice *
enter (PirlDevice *device)
{
  cudaSetDevice (((PirlCudaDevice *) device)->ordinal);
  return (PirlCudaDevice *) device;
}

static gpointer
cuda_alloc (PirlDevice *base, gsize bytes, GError **error)
{
  PirlCudaDevice *device = enter (base);
  gpointer memory = NULL;

  if (!pirl_cuda_outside (device, "making memory", error))
    return NULL;
  pirl_cuda_steps_forget (device);
  if (!pirl_cuda_ok (cudaMalloc (&memory, MAX (bytes, 1)), "device memory", error)) {
    g_prefix_error (error, "no memory for %" G_GSIZE_FORMAT " bytes: ", bytes);
    return NULL;
  }
  if (pirl_cuda_ok (cudaMemsetAsync (memory, 0, MAX (bytes, 1), device->stream), "clearing memory",
          error) && pirl_cuda_settle (device, error))
    return memory;
  cudaFree (memory);
  return NULL;
}

static void
cuda_free (PirlDevice *base, gpointer memory)
{
  PirlCudaDevice *device = enter (base);

  cudaStreamSynchronize (device->stream);
  pirl_cuda_steps_forget (device);
  cudaFree (memory);
}

/* Copies that end before the function does. */
static gboolean
transfer (PirlDevice *base, gpointer dst, gconstpointer src, gsize bytes,
    enum cudaMemcpyKind kind, const gchar *what, GError **error)
{
  PirlCudaDevice *device = enter (base);

  return pirl_cuda_outside (device, what, error)
      && (bytes == 0 || pirl_cuda_ok (cudaMemcpyAsync (dst, src, bytes, kind, device->stream),
          what, error)) && pirl_cuda_settle (device, error);
}

static gboolean
cuda_upload (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes, GError **error)
{
  return transfer (device, dst, src, bytes, cudaMemcpyHostToDevice, "an upload", error);
}

static gboolean
cuda_download (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes, GError **error)
{
  return transfer (device, dst, src, bytes, cudaMemcpyDeviceToHost, "a download", error);
}

static gboolean
cuda_zero (PirlDevice *base, gpointer dst, gsize bytes, GError **error)
{
  PirlCudaDevice *device = enter (base);

  pirl_cuda_steps_note (device, NULL, 0, dst);
  return (bytes == 0 || !pirl_cuda_launches (device)
      || pirl_cuda_ok (cudaMemsetAsync (dst, 0, bytes, device->stream), "clearing memory", error))
      && pirl_cuda_settle (device, error);
}

static gboolean
cuda_copy (PirlDevice *base, gpointer dst, gconstpointer src, gsize bytes, GError **error)
{
  PirlCudaDevice *device = enter (base);

  pirl_cuda_steps_note (device, src, 0, dst);
  return (bytes == 0 || !pirl_cuda_launches (device)
      || pirl_cuda_ok (cudaMemcpyAsync (dst, src, bytes, cudaMemcpyDeviceToDevice,
              device->stream), "copying memory", error)) && pirl_cuda_settle (device, error);
}

static gsize
format_stored (const PirlTensorDesc *desc)
{
  return desc->format ? (gsize) ((const PirlCudaFormat *) desc->format)->stored : 0;
}

/* Between dense floats on the host and a value, through @floats on the device. */
static gboolean
move_pictures (PirlCudaDevice *device, const PirlTensorDesc *desc, gpointer value, gfloat *host,
    gboolean write, GError **error)
{
  const gsize bytes = pirl_dims_count (desc->dims) * sizeof (gfloat);
  const gint stored = (gint) format_stored (desc);
  gfloat *floats = pirl_cuda_scratch (device, bytes, error);

  if (!floats)
    return FALSE;
  if (write && !cuda_upload (&device->base, floats, host, bytes, error))
    return FALSE;
  if (write)
    pirl_gpu_nchw_to_nhwc (desc->dims, stored, desc->dtype, floats, value, device->stream);
  else
    pirl_gpu_nhwc_to_nchw (desc->dims, stored, desc->dtype, value, floats, device->stream);
  return pirl_cuda_launched ("moving pictures", error) && pirl_cuda_settle (device, error)
      && (write || cuda_download (&device->base, host, floats, bytes, error));
}

static gboolean
tensor_move (PirlDevice *base, const PirlTensorDesc *desc, gpointer value, gfloat *host,
    gboolean write, GError **error)
{
  PirlCudaDevice *device = enter (base);
  const gsize bytes = pirl_dims_count (desc->dims) * sizeof (gfloat);

  if (!pirl_cuda_outside (device, "moving a tensor", error))
    return FALSE;
  if (desc->format)
    return move_pictures (device, desc, value, host, write, error);
  if (desc->dtype != PIRL_DTYPE_F32) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "cuda: a dense tensor of %s; dense ones "
        "are F32", pirl_dtype_name (desc->dtype));
    return FALSE;
  }
  return write ? cuda_upload (base, value, host, bytes, error)
      : cuda_download (base, host, value, bytes, error);
}

static gboolean
cuda_tensor_write (PirlDevice *device, const PirlTensorDesc *desc, gpointer dst,
    const gfloat *src, GError **error)
{
  return tensor_move (device, desc, dst, (gfloat *) src, TRUE, error);
}

static gboolean
cuda_tensor_read (PirlDevice *device, const PirlTensorDesc *desc, gconstpointer src, gfloat *dst,
    GError **error)
{
  return tensor_move (device, desc, (gpointer) src, dst, FALSE, error);
}

/* --- units --- */

static const PirlCudaUnit *const units[] = {
  [PIRL_UNIT_INPUT] = &pirl_cuda_input,
  [PIRL_UNIT_CONV] = &pirl_cuda_conv,
  [PIRL_UNIT_MAXPOOL] = &pirl_cuda_maxpool,
  [PIRL_UNIT_AVGPOOL] = &pirl_cuda_avgpool,
  [PIRL_UNIT_LINEAR] = &pirl_cuda_linear,
  [PIRL_UNIT_BATCHNORM] = &pirl_cuda_batchnorm,
  [PIRL_UNIT_L2NORM] = &pirl_cuda_l2norm,
  [PIRL_UNIT_GROUP] = NULL,     /* these two are the planner's */
  [PIRL_UNIT_VECTORS] = NULL,
};

/* Pictures come as another unit of this backend leaves them; vectors are dense floats. */
static gboolean
takes (const PirlCudaUnit *unit, const PirlTensorDesc *value, PirlDType dtype, GError **error)
{
  if (!value)
    return TRUE;
  if (unit->vectors && (value->format || value->dtype != PIRL_DTYPE_F32))
    return unsupported (error, "the cuda backend keeps vectors as dense rows of F32");
  if (!unit->vectors && (!value->format || value->dtype != dtype))
    return unsupported (error, "the cuda backend takes pictures as its own units leave them, in "
        "the same type");
  return TRUE;
}

/* Vectors, and what AVGPOOL makes of pictures, are dense floats. */
static void
describe_output (PirlUnitPlan *plan, gboolean vectors, PirlTensorDesc *output)
{
  const PirlDims dims = plan->desc.output;
  const gsize pixels = (gsize) dims.n * dims.h * dims.w;

  if (vectors) {
    *output = (PirlTensorDesc) { dims, PIRL_DTYPE_F32, pixels * dims.c * sizeof (gfloat), NULL };
    return;
  }
  plan->output_stored = plan->output_format.stored = pirl_cuda_stored (dims.c);
  *output = (PirlTensorDesc) { dims, plan->desc.dtype,
    pixels * plan->output_stored * pirl_dtype_size (plan->desc.dtype), &plan->output_format
  };
}

static void
cuda_unit_free (PirlUnitPlan *plan)
{
  if (!plan)
    return;
  enter (&plan->device->base);
  cudaStreamSynchronize (plan->device->stream);
  pirl_cuda_steps_forget (plan->device);
  if (units[plan->desc.kind]->clear)
    units[plan->desc.kind]->clear (plan);
  g_free (plan);
}

static gboolean
check_unit (PirlCudaDevice *device, const PirlUnitDesc *desc, const PirlCudaUnit *unit,
    const PirlTensorDesc *input, const PirlTensorDesc *residual, GError **error)
{
  const gchar *problem = pirl_unit_problem (desc, input, residual);
  const gchar *reason;

  if (problem) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, problem);
    return FALSE;
  }
  if (!cuda_supports (&device->base, desc->mode, desc->dtype, &reason))
    return unsupported (error, "%s", reason);
  return pirl_cuda_outside (device, "planning", error)
      && takes (unit, desc->kind == PIRL_UNIT_INPUT ? NULL : input, desc->dtype, error)
      && takes (unit, desc->residual ? residual : NULL, desc->dtype, error);
}

static PirlUnitPlan *
cuda_unit_plan (PirlDevice *base, const PirlUnitDesc *desc, const PirlTensorDesc *input,
    const PirlTensorDesc *residual, PirlTensorDesc *output, PirlUnitMemory *memory,
    GError **error)
{
  PirlCudaDevice *device = enter (base);
  const PirlCudaUnit *unit = desc->kind < G_N_ELEMENTS (units) ? units[desc->kind] : NULL;
  PirlUnitPlan *plan;

  if (!unit) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "there is no unit of kind %d on a device",
        desc->kind);
    return NULL;
  }
  if (!check_unit (device, desc, unit, input, residual, error)) {
    pirl_unit_explain (desc, error);
    return NULL;
  }
  pirl_cuda_steps_forget (device);
  plan = g_malloc0 (unit->size);
  plan->device = device;
  plan->desc = *desc;
  if (input && desc->kind != PIRL_UNIT_INPUT)
    plan->input_stored = (gint) format_stored (input);
  describe_output (plan, unit->vectors || desc->kind == PIRL_UNIT_AVGPOOL, output);
  *memory = (PirlUnitMemory) { 0 };
  if (unit->plan (plan, memory, error))
    return plan;
  pirl_unit_explain (desc, error);
  cuda_unit_free (plan);
  return NULL;
}

static gboolean
cuda_unit_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *buffers, GError **error)
{
  const PirlCudaUnit *unit = units[plan->desc.kind];
  PirlCudaDevice *device = enter (&plan->device->base);
  gboolean done = TRUE;

  if (pass == PIRL_PASS_BACKWARD && plan->desc.mode != PIRL_MODE_TRAIN) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a plan for inference has no backward pass");
    done = FALSE;
  } else if (pass == PIRL_PASS_STAGE) {
    done = unit->run (plan, pass, buffers, error);
  } else {
    /* Only INPUT has something to do for the host: while a recorded step is replayed too, and to be
     * waited for outside of steps. The others' work is all on the device and stays in its order. */
    const gboolean input = plan->desc.kind == PIRL_UNIT_INPUT;

    pirl_cuda_steps_note (device, plan, pass, buffers->output);
    if (pirl_cuda_launches (device) || input)
      done = unit->run (plan, pass, buffers, error) && pirl_cuda_launched ("launching", error)
          && (!input || pirl_cuda_settle (device, error));
  }
  if (!done)
    pirl_unit_explain (&plan->desc, error);
  return done;
}

static gboolean
cuda_unit_fuse (PirlUnitPlan *producer, PirlUnitPlan *consumer, PirlTensorDesc *value,
    PirlUnitMemory *memory)
{
  enter (&producer->device->base);
  return producer->desc.kind == PIRL_UNIT_CONV && consumer->desc.kind == PIRL_UNIT_CONV
      && pirl_cuda_conv_fuse (producer, consumer, value, memory);
}

/* --- the table --- */

static const PirlBackend cuda_backend = {
  .version = PIRL_BACKEND_VERSION,
  .name = "cuda",
  .open = cuda_open,
  .close = cuda_close,
  .supports = cuda_supports,
  .alloc = cuda_alloc,
  .free = cuda_free,
  .upload = cuda_upload,
  .download = cuda_download,
  .zero = cuda_zero,
  .copy = cuda_copy,
  .rows = pirl_cuda_rows,
  .tensor_write = cuda_tensor_write,
  .tensor_read = cuda_tensor_read,
  .unit_plan = cuda_unit_plan,
  .unit_free = cuda_unit_free,
  .unit_run = cuda_unit_run,
  .draw = pirl_cuda_draw,
  .contrast = pirl_cuda_contrast,
  .bank_update = pirl_cuda_bank_update,
  .cross_entropy = pirl_cuda_cross_entropy,
  .check = pirl_cuda_check,
  .sgd = pirl_cuda_sgd,
  .adam = pirl_cuda_adam,
  .lars = pirl_cuda_lars,
  .average = pirl_cuda_average,
  .step_begin = pirl_cuda_step_begin,
  .step_launch = pirl_cuda_step_launch,
  .step_end = pirl_cuda_step_end,
  .step_abort = pirl_cuda_step_abort,
  .set_loss_scale = pirl_cuda_set_loss_scale,
  .renders_views = TRUE,
  .reads_surfaces = TRUE,
  .unit_fuse = cuda_unit_fuse,
};

/* What the library that opens the module looks for: PIRL_CUDA_ENTRY. */
PIRL_API const PirlBackend *pirl_cuda_backend_entry (guint version);

const PirlBackend *
pirl_cuda_backend_entry (guint version)
{
  return version == PIRL_BACKEND_VERSION ? &cuda_backend : NULL;
}
