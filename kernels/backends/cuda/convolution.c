/* gst-pirl: dense convolutions of the CUDA backend: engines, problems, running.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Only cuDNN's backend descriptors are used (Create, SetAttribute, Finalize, Execute), nothing of
 * it that is deprecated.
 */
#include "backends/cuda/convolution-private.h"

#include <string.h>

#include "backends/cuda/pack.h"

#define PATIENCE (4 * G_USEC_PER_SEC)

/* --- engines --- */

static gboolean
check_version (GError **error)
{
  g_autofree gchar *version = NULL;

  if (cudnnGetVersion () >= PIRL_CUDNN_OLDEST && cudnnGetVersion () / 10000 == CUDNN_MAJOR)
    return TRUE;
  version = pirl_cudnn_version ();
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "cuDNN %s: version %d.%d to %d.x is "
      "needed", version, PIRL_CUDNN_OLDEST / 10000, PIRL_CUDNN_OLDEST / 100 % 100, CUDNN_MAJOR);
  return FALSE;
}

/* The properties of the current device, or those that @json describes. */
static gboolean
describe_device (PirlConvEngine *engine, const gchar *json, GError **error)
{
  cudnnStatus_t status;
  int ordinal = 0;

  if (!pirl_cudnn_ok (cudnnBackendCreateDescriptor (CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR,
              &engine->device), "describing the device", error))
    return FALSE;
  if (json) {
    status = cudnnBackendSetAttribute (engine->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
        CUDNN_TYPE_CHAR, (gint64) strlen (json), json);
  } else {
    const cudaError_t current = cudaGetDevice (&ordinal);
    const gint32 id = ordinal;

    if (current != cudaSuccess) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "cuda: asking for the device: %s",
          cudaGetErrorString (current));
      return FALSE;
    }
    status = cudnnBackendSetAttribute (engine->device, CUDNN_ATTR_DEVICEPROP_DEVICE_ID,
        CUDNN_TYPE_INT32, 1, &id);
  }
  return pirl_cudnn_ok (status, "describing the device", error)
      && pirl_cudnn_ok (cudnnBackendFinalize (engine->device), "describing the device", error);
}

static PirlConvEngine *
engine_new (const gchar *device_json, gsize workspace, GError **error)
{
  PirlConvEngine *engine;
  g_autofree gchar *version = NULL;

  if (!check_version (error))
    return NULL;
  engine = g_new0 (PirlConvEngine, 1);
  version = pirl_cudnn_version ();
  engine->workspace = workspace;
  engine->patience = PATIENCE;
  engine->description = g_strdup_printf ("cuDNN %s", version);
  if (describe_device (engine, device_json, error))
    return engine;
  pirl_conv_engine_free (engine);
  return NULL;
}

/* Makes @engine one that runs, on @card. */
static PirlConvEngine *
equip (PirlConvEngine *engine, const gchar *card, GError **error)
{
  if (!engine)
    return NULL;
  engine->cache = pirl_conv_cache_folder (card);
  if (pirl_cudnn_ok (cudnnCreate (&engine->handle), "opening the device", error))
    return engine;
  engine->handle = NULL;
  pirl_conv_engine_free (engine);
  return NULL;
}

/* "NVIDIA H200-132": parts of a card (MIG) have its name and fewer multiprocessors. */
static gchar *
card_name (void)
{
  struct cudaDeviceProp card;
  int ordinal = 0;

  if (cudaGetDevice (&ordinal) != cudaSuccess
      || cudaGetDeviceProperties (&card, ordinal) != cudaSuccess)
    return g_strdup ("unknown");
  return g_strdup_printf ("%s-%d", card.name, card.multiProcessorCount);
}

PirlConvEngine *
pirl_conv_engine_new (const gchar *device_json, gsize workspace, GError **error)
{
  PirlConvEngine *engine = engine_new (device_json, workspace, error);
  g_autofree gchar *card = NULL;

  if (!engine || device_json)
    return engine;
  card = card_name ();
  return equip (engine, card, error);
}

PirlConvEngine *
pirl_conv_engine_simulate (const gchar *device_json, const gchar *card, gsize workspace,
    GError **error)
{
  return equip (engine_new (device_json, workspace, error), card, error);
}

void
pirl_conv_engine_free (PirlConvEngine *engine)
{
  if (!engine)
    return;
  if (engine->handle)
    cudnnDestroy (engine->handle);
  pirl_cudnn_clear (&engine->device);
  g_free (engine->description);
  g_free (engine->cache);
  g_free (engine);
}

const gchar *
pirl_conv_engine_description (const PirlConvEngine *engine)
{
  return engine->description;
}

/* --- problems --- */

static const gchar *const kind_names[PIRL_N_CONV_KINDS] = {
  [PIRL_CONV_FORWARD] = "forward",
  [PIRL_CONV_FORWARD_SUMS] = "forward and sums",
  [PIRL_CONV_FORWARD_EPILOGUE] = "forward + bias",
  [PIRL_CONV_D_INPUT] = "d_input",
  [PIRL_CONV_D_WEIGHT] = "d_weight",
};

static const gchar *const activation_names[] = {
  [PIRL_ACT_NONE] = "",
  [PIRL_ACT_RELU] = " + relu",
  [PIRL_ACT_RELU6] = " + relu6",
};

/* Plans are kept under this name: what tells two problems apart must be in it. */
gchar *
pirl_conv_problem_describe (const PirlConvProblem *problem)
{
  const gboolean fused = problem->kind == PIRL_CONV_FORWARD_EPILOGUE;
  const gboolean same = problem->padding == problem->kernel / 2;
  const PirlDims in = problem->input, out = problem->output;
  g_autofree gchar *padding = same ? g_strdup ("")
      : g_strdup_printf (", padding %d", problem->padding);

  return g_strdup_printf ("%s%s%s%s %dx%d/%d %dx%dx%dx%d -> %dx%dx%d%s, %s%s",
      kind_names[problem->kind], fused && problem->residual ? " + residual" : "",
      fused ? activation_names[problem->activation] : "",
      problem->prologue ? " of relu (scale x + shift)" : "", problem->kernel, problem->kernel,
      problem->stride, in.n, in.h, in.w, in.c, out.h, out.w, out.c, padding,
      problem->dtype == PIRL_DTYPE_F32 && problem->tf32 ? "TF32"
      : pirl_dtype_name (problem->dtype), problem->deterministic ? ", deterministic" : "");
}

static gboolean
extent_fits (gint in, gint out, const PirlConvProblem *problem)
{
  return (in + 2 * problem->padding - problem->kernel) / problem->stride + 1 == out;
}

static gboolean
check_problem (const PirlConvProblem *problem, GError **error)
{
  const gboolean type = problem->dtype == PIRL_DTYPE_F32 || problem->dtype == PIRL_DTYPE_F16
      || problem->dtype == PIRL_DTYPE_BF16;
  const gint lanes = problem->dtype == PIRL_DTYPE_BF16 ? 8 : 4;
  const PirlDims in = problem->input, out = problem->output;
  const gboolean prologue = problem->kind == PIRL_CONV_FORWARD_SUMS
      || problem->kind == PIRL_CONV_D_WEIGHT;
  g_autofree gchar *text = NULL;

  if (problem->prologue && !prologue) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "%s has no prologue; forward and sums and "
        "d_weight have one", kind_names[problem->kind]);
    return FALSE;
  }
  if (type && problem->kernel > 0 && problem->stride > 0 && problem->padding >= 0 && in.n > 0
      && in.n == out.n && in.c > 0 && in.c % lanes == 0 && out.c > 0 && out.c % 8 == 0
      && extent_fits (in.h, out.h, problem) && extent_fits (in.w, out.w, problem))
    return TRUE;
  text = type && problem->stride > 0 ? pirl_conv_problem_describe (problem)
      : g_strdup ("a convolution");
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "%s: batch, extents or stored channels do "
      "not fit (input channels: a multiple of %d, output channels: of 8), or the type is none of "
      "F32, F16, BF16", text, lanes);
  return FALSE;
}

/* --- convolutions --- */

static gchar *
describe (const PirlConv *conv)
{
  const PirlConvPlan *plan = &conv->plan;
  g_autofree gchar *problem = pirl_conv_problem_describe (&conv->problem);
  g_autofree gchar *time = plan->ms > 0
      ? g_strdup_printf (", %.3f ms (of %u tried)", plan->ms, plan->tried) : g_strdup ("");

  return g_strdup_printf ("%s: engine %" G_GINT64_FORMAT ", workspace %" G_GSIZE_FORMAT " B%s",
      problem, plan->engine, pirl_conv_workspace (conv), time);
}

/* A plan that could not be timed for lack of memory is not kept. */
static gboolean
plan (PirlConv *conv, GError **error)
{
  PirlConvEngine *engine = conv->engine;

  switch (pirl_conv_cache_load (engine, &conv->problem, &conv->plan, error)) {
    case PIRL_CONV_CACHE_PLAN:
      return TRUE;
    case PIRL_CONV_CACHE_REFUSED:
      return FALSE;
    default:
      break;
  }
  if (!pirl_conv_plan_choose (engine, &conv->problem, &conv->plan, error))
    return FALSE;
  if (conv->plan.ms > 0 || conv->problem.deterministic)
    pirl_conv_cache_save (engine, &conv->problem, &conv->plan, NULL);
  return TRUE;
}

PirlConv *
pirl_conv_new (PirlConvEngine *engine, const PirlConvProblem *problem, GError **error)
{
  PirlConv *conv;

  if (!check_problem (problem, error))
    return NULL;
  conv = g_new0 (PirlConv, 1);
  conv->engine = engine;
  conv->problem = *problem;
  conv->bias_bytes = pirl_conv_bias_bytes (problem);
  if (plan (conv, error)) {
    conv->description = describe (conv);
    return conv;
  }
  pirl_conv_free (conv);
  return NULL;
}

void
pirl_conv_free (PirlConv *conv)
{
  if (!conv)
    return;
  pirl_cudnn_clear (&conv->pack);
  pirl_conv_plan_clear (&conv->plan);
  g_free (conv->description);
  g_free (conv);
}

/* The bias in the plan's type, at the workspace's beginning. */
static gboolean
convert_bias (const PirlConv *conv, const PirlConvTensors *tensors, gpointer workspace,
    cudaStream_t stream, GError **error)
{
  const gint n = conv->problem.output.c;
  const PirlGpuWeights row = { .out = 1, .in = n, .kernel = 1, .out_stored = 1, .in_stored = n };
  cudaError_t status;

  pirl_gpu_pack_weights (&row, conv->problem.dtype, tensors->bias, NULL, workspace, stream);
  status = cudaGetLastError ();
  if (status == cudaSuccess)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "cuda: the bias of a convolution: %s",
      cudaGetErrorString (status));
  return FALSE;
}

/* As long as the addresses stay, so does what cuDNN made of them. */
static gboolean
bind (PirlConv *conv, const PirlConvTensors *tensors, gpointer workspace, GError **error)
{
  PirlConvTensors bound = *tensors;

  if (conv->pack && workspace == conv->workspace
      && memcmp (tensors, &conv->tensors, sizeof *tensors) == 0)
    return TRUE;
  if (conv->bias_bytes > 0)
    bound.bias = workspace;
  pirl_cudnn_clear (&conv->pack);
  conv->tensors = *tensors;
  conv->workspace = workspace;
  return pirl_conv_plan_bind (&conv->problem, &bound, (guint8 *) workspace + conv->bias_bytes,
      &conv->pack, error);
}

gboolean
pirl_conv_run (PirlConv *conv, const PirlConvTensors *tensors, gpointer workspace,
    cudaStream_t stream, GError **error)
{
  if (!conv->engine->handle) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "%s: planned for a device that is not "
        "there", conv->description);
    return FALSE;
  }
  return (conv->bias_bytes == 0 || convert_bias (conv, tensors, workspace, stream, error))
      && bind (conv, tensors, workspace, error)
      && pirl_conv_plan_execute (conv->engine, &conv->plan, conv->pack, stream, error);
}

gsize
pirl_conv_workspace (const PirlConv *conv)
{
  return conv->plan.workspace + conv->bias_bytes;
}

const gchar *
pirl_conv_description (const PirlConv *conv)
{
  return conv->description;
}
