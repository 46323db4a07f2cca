/* gst-pirl: what is to be computed, as graphs of cuDNN's operations.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   FORWARD            y = conv (x, w)
 *   FORWARD_SUMS       y = conv (x, w); sum = sum of y, squares = sum of y^2 over n, h, w
 *   FORWARD_EPILOGUE   y = act (conv (x, w) [+ residual] + bias)
 *   D_INPUT            x = conv's gradient from y and w
 *   D_WEIGHT           w = conv's gradient from x and y
 *
 * With a prologue relu (scale x + shift) takes x's place.
 *
 * Dimensions go to cuDNN in the order n, c, h, w, strides say that c is innermost. What passes
 * between the operations of an epilogue is float and never in memory; what a prologue hands to the
 * convolution has the tensors' type. The types and orders of the
 * epilogue are those that cuDNN 9.19 has precompiled kernels for (asked for sm_90, see the test
 * cuda-plans): residual before bias, a bias of the tensors' own type; a clip at 6 has none of
 * these, and kernels that cuDNN compiles when a plan is made take a bias of floats. A prologue is
 * precompiled in F16 only, with scale and shift in F16; in floats, or for BF16, cuDNN compiles
 * FORWARD_SUMS with one when it is planned and has none of D_WEIGHT.
 */
#include "backends/cuda/convolution-private.h"

#include <stdbool.h>
#include <string.h>

#define ALIGNMENT 16            /* bytes, of every tensor */
#define CLIP 6.0

/* --- cuDNN --- */

gchar *
pirl_cudnn_version (void)
{
  const gsize version = cudnnGetVersion ();

  return g_strdup_printf ("%d.%d.%d", (gint) (version / 10000), (gint) (version / 100 % 100),
      (gint) (version % 100));
}

gboolean
pirl_cudnn_ok (cudnnStatus_t status, const gchar *what, GError **error)
{
  g_autofree gchar *version = NULL;
  gchar words[512] = "";

  if (status == CUDNN_STATUS_SUCCESS)
    return TRUE;
  version = pirl_cudnn_version ();
  cudnnGetLastErrorString (words, sizeof words);
  g_set_error (error, PIRL_ERROR,
      CUDNN_STATUS_CATEGORY (status) == CUDNN_STATUS_NOT_SUPPORTED ? PIRL_ERROR_UNSUPPORTED
      : PIRL_ERROR_BACKEND, "cuDNN %s: %s: %s%s%s%s", version, what, cudnnGetErrorString (status),
      *words ? " (" : "", g_strstrip (words), *words ? ")" : "");
  return FALSE;
}

void
pirl_cudnn_clear (cudnnBackendDescriptor_t *descriptor)
{
  if (*descriptor)
    cudnnBackendDestroyDescriptor (*descriptor);
  *descriptor = NULL;
}

static void
destroy (gpointer descriptor)
{
  cudnnBackendDestroyDescriptor (descriptor);
}

/* --- descriptors: after the first failure nothing more is done, and it is the one reported --- */

typedef struct {
  GPtrArray *owned;
  GError *error;
} Draft;

static void
note (Draft *draft, cudnnStatus_t status, const gchar *what)
{
  if (!draft->error)
    pirl_cudnn_ok (status, what, &draft->error);
}

static cudnnBackendDescriptor_t
begin (Draft *draft, cudnnBackendDescriptorType_t type)
{
  cudnnBackendDescriptor_t descriptor = NULL;

  if (draft->error)
    return NULL;
  note (draft, cudnnBackendCreateDescriptor (type, &descriptor), "making a descriptor");
  if (!draft->error)
    g_ptr_array_add (draft->owned, descriptor);
  return descriptor;
}

static void
set (Draft *draft, cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
    cudnnBackendAttributeType_t type, gint64 n, gconstpointer values)
{
  if (!draft->error)
    note (draft, cudnnBackendSetAttribute (descriptor, name, type, n, values),
        "describing an operation");
}

static void
set_descriptor (Draft *draft, cudnnBackendDescriptor_t descriptor,
    cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value)
{
  set (draft, descriptor, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static cudnnBackendDescriptor_t
finish (Draft *draft, cudnnBackendDescriptor_t descriptor, const gchar *what)
{
  if (!draft->error)
    note (draft, cudnnBackendFinalize (descriptor), what);
  return descriptor;
}

/* --- tensors --- */

static cudnnDataType_t
data_type (PirlDType dtype)
{
  return dtype == PIRL_DTYPE_F16 ? CUDNN_DATA_HALF
      : dtype == PIRL_DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

/* The weights are out filters of in channels and kernel x kernel pixels. */
static PirlDims
weight_dims (const PirlConvProblem *problem)
{
  return (PirlDims) { problem->output.c, problem->input.c, problem->kernel, problem->kernel };
}

gsize
pirl_conv_count (const PirlConvProblem *problem, PirlConvTensorId tensor)
{
  switch (tensor) {
    case PIRL_CONV_INPUT:
      return pirl_dims_count (problem->input);
    case PIRL_CONV_WEIGHT:
      return pirl_dims_count (weight_dims (problem));
    case PIRL_CONV_OUTPUT:
    case PIRL_CONV_RESIDUAL:
      return pirl_dims_count (problem->output);
    case PIRL_CONV_SCALE:
    case PIRL_CONV_SHIFT:
      return (gsize) problem->input.c;
    default:
      return (gsize) problem->output.c;
  }
}

PirlDType
pirl_conv_bias_dtype (const PirlConvProblem *problem)
{
  return problem->activation == PIRL_ACT_RELU6 ? PIRL_DTYPE_F32 : problem->dtype;
}

static cudnnBackendDescriptor_t
tensor (Draft *draft, gint64 id, PirlDims d, PirlDType dtype)
{
  cudnnBackendDescriptor_t t = begin (draft, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const cudnnDataType_t type = data_type (dtype);
  const gint64 alignment = ALIGNMENT;
  const gint64 dims[] = { d.n, d.c, d.h, d.w };
  const gint64 strides[] = { (gint64) d.h * d.w * d.c, 1, (gint64) d.w * d.c, d.c };
  const bool is_virtual = id >= PIRL_CONV_VIRTUAL;

  set (draft, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  set (draft, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
  set (draft, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
  set (draft, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
  set (draft, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  set (draft, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  return finish (draft, t, "describing a tensor");
}

/* A number a channel. */
static cudnnBackendDescriptor_t
channel_tensor (Draft *draft, const PirlConvProblem *problem, gint64 id, PirlDType dtype)
{
  const gint channels = (gint) pirl_conv_count (problem, id);

  return tensor (draft, id, (PirlDims) { 1, channels, 1, 1 }, dtype);
}

/* --- operations --- */

/* The three convolutions, and what their attributes are called. */
typedef struct {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t x, w, y, geometry, alpha, beta;
} ConvOperation;

static const ConvOperation forward = {
  CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
  CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA
};

static const ConvOperation d_input = {
  CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA
};

static const ConvOperation d_weight = {
  CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
  CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA
};

static cudnnBackendDescriptor_t
geometry (Draft *draft, const PirlConvProblem *problem)
{
  cudnnBackendDescriptor_t d = begin (draft, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const gint64 n = 2, ones[] = { 1, 1 };
  const gint64 padding[] = { problem->padding, problem->padding };
  const gint64 stride[] = { problem->stride, problem->stride };

  set (draft, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  set (draft, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  set (draft, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &n);
  set (draft, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, n, padding);
  set (draft, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, n, padding);
  set (draft, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, n, stride);
  set (draft, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, n, ones);
  return finish (draft, d, "describing a convolution");
}

static cudnnBackendDescriptor_t
convolution (Draft *draft, const PirlConvProblem *problem, const ConvOperation *as,
    cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y)
{
  cudnnBackendDescriptor_t operation = begin (draft, as->type);
  const gdouble alpha = 1, beta = 0;

  set_descriptor (draft, operation, as->x, x);
  set_descriptor (draft, operation, as->w,
      tensor (draft, PIRL_CONV_WEIGHT, weight_dims (problem), problem->dtype));
  set_descriptor (draft, operation, as->y, y);
  set_descriptor (draft, operation, as->geometry, geometry (draft, problem));
  set (draft, operation, as->alpha, CUDNN_TYPE_DOUBLE, 1, &alpha);
  set (draft, operation, as->beta, CUDNN_TYPE_DOUBLE, 1, &beta);
  return finish (draft, operation, "describing a convolution");
}

static cudnnBackendDescriptor_t
sums (Draft *draft, const PirlConvProblem *problem, cudnnBackendDescriptor_t y)
{
  cudnnBackendDescriptor_t operation = begin (draft,
      CUDNN_BACKEND_OPERATION_GEN_STATS_DESCRIPTOR);
  const cudnnGenStatsMode_t mode = CUDNN_GENSTATS_SUM_SQSUM;
  const cudnnDataType_t precision = CUDNN_DATA_FLOAT;

  set (draft, operation, CUDNN_ATTR_OPERATION_GENSTATS_MODE, CUDNN_TYPE_GENSTATS_MODE, 1, &mode);
  set (draft, operation, CUDNN_ATTR_OPERATION_GENSTATS_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1,
      &precision);
  set_descriptor (draft, operation, CUDNN_ATTR_OPERATION_GENSTATS_XDESC, y);
  set_descriptor (draft, operation, CUDNN_ATTR_OPERATION_GENSTATS_SUMDESC,
      channel_tensor (draft, problem, PIRL_CONV_SUM, PIRL_DTYPE_F32));
  set_descriptor (draft, operation, CUDNN_ATTR_OPERATION_GENSTATS_SQSUMDESC,
      channel_tensor (draft, problem, PIRL_CONV_SQUARES, PIRL_DTYPE_F32));
  return finish (draft, operation, "describing sums");
}

/* @y = @x @mode @b; RELU_FWD has no @b, and is clipped for @activation RELU6. */
static cudnnBackendDescriptor_t
pointwise (Draft *draft, cudnnPointwiseMode_t mode, PirlActivation activation,
    cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t y)
{
  cudnnBackendDescriptor_t what = begin (draft, CUDNN_BACKEND_POINTWISE_DESCRIPTOR), operation;
  const cudnnDataType_t precision = CUDNN_DATA_FLOAT;
  const gdouble low = 0, high = CLIP;

  set (draft, what, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  set (draft, what, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &precision);
  if (mode == CUDNN_POINTWISE_RELU_FWD && activation == PIRL_ACT_RELU6) {
    set (draft, what, CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 1, &low);
    set (draft, what, CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, &high);
  }
  finish (draft, what, "describing arithmetic");
  operation = begin (draft, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  set_descriptor (draft, operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what);
  set_descriptor (draft, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  if (b)
    set_descriptor (draft, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  set_descriptor (draft, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  return finish (draft, operation, "describing arithmetic");
}

/* --- graphs --- */

#define MOST_OPERATIONS 5       /* scale, shift, activation, convolution, sums */

/* Appends the operations behind the convolution, whose output @y is virtual. */
static guint
epilogue (Draft *draft, const PirlConvProblem *problem, cudnnBackendDescriptor_t y,
    cudnnBackendDescriptor_t operations[])
{
  cudnnBackendDescriptor_t operand[3];
  guint n = 0;

  if (problem->residual)
    operand[n++] = tensor (draft, PIRL_CONV_RESIDUAL, problem->output, problem->dtype);
  operand[n++] = channel_tensor (draft, problem, PIRL_CONV_BIAS, pirl_conv_bias_dtype (problem));
  if (problem->activation != PIRL_ACT_NONE)
    operand[n++] = NULL;
  for (guint i = 0; i < n; i++) {
    const gboolean last = i == n - 1;
    cudnnBackendDescriptor_t next = tensor (draft,
        last ? PIRL_CONV_OUTPUT : PIRL_CONV_VIRTUAL + 1 + i, problem->output,
        last ? problem->dtype : PIRL_DTYPE_F32);

    operations[i] = pointwise (draft, operand[i] ? CUDNN_POINTWISE_ADD : CUDNN_POINTWISE_RELU_FWD,
        problem->activation, y, operand[i], next);
    y = next;
  }
  return n;
}

/* Appends the operations before the convolution, which change @x to what it reads. */
static guint
prologue (Draft *draft, const PirlConvProblem *problem, cudnnBackendDescriptor_t *x,
    cudnnBackendDescriptor_t operations[])
{
  static const cudnnPointwiseMode_t mode[] = { CUDNN_POINTWISE_MUL, CUDNN_POINTWISE_ADD,
    CUDNN_POINTWISE_RELU_FWD };
  const cudnnBackendDescriptor_t operand[] = {
    channel_tensor (draft, problem, PIRL_CONV_SCALE, problem->dtype),
    channel_tensor (draft, problem, PIRL_CONV_SHIFT, problem->dtype), NULL
  };

  for (guint i = 0; i < G_N_ELEMENTS (mode); i++) {
    cudnnBackendDescriptor_t next = tensor (draft, PIRL_CONV_VIRTUAL + i, problem->input,
        operand[i] ? PIRL_DTYPE_F32 : problem->dtype);

    operations[i] = pointwise (draft, mode[i], PIRL_ACT_RELU, *x, operand[i], next);
    *x = next;
  }
  return G_N_ELEMENTS (mode);
}

static guint
operations_of (Draft *draft, const PirlConvProblem *problem,
    cudnnBackendDescriptor_t operations[MOST_OPERATIONS])
{
  const gboolean in_memory = problem->kind != PIRL_CONV_FORWARD_EPILOGUE;
  cudnnBackendDescriptor_t x = tensor (draft, PIRL_CONV_INPUT, problem->input, problem->dtype);
  cudnnBackendDescriptor_t y = tensor (draft, in_memory ? PIRL_CONV_OUTPUT : PIRL_CONV_VIRTUAL,
      problem->output, in_memory ? problem->dtype : PIRL_DTYPE_F32);
  guint n = problem->prologue ? prologue (draft, problem, &x, operations) : 0;

  operations[n++] = convolution (draft, problem, problem->kind == PIRL_CONV_D_INPUT ? &d_input
      : problem->kind == PIRL_CONV_D_WEIGHT ? &d_weight : &forward, x, y);
  if (problem->kind == PIRL_CONV_FORWARD_SUMS)
    operations[n++] = sums (draft, problem, y);
  else if (problem->kind == PIRL_CONV_FORWARD_EPILOGUE)
    n += epilogue (draft, problem, y, operations + n);
  return n;
}

gboolean
pirl_conv_graph_make (PirlConvGraph *graph, const PirlConvProblem *problem, GError **error)
{
  Draft draft = { g_ptr_array_new_with_free_func (destroy), NULL };
  cudnnBackendDescriptor_t operations[MOST_OPERATIONS];
  const guint n = operations_of (&draft, problem, operations);

  graph->graph = begin (&draft, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  set (&draft, graph->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n,
      operations);
  finish (&draft, graph->graph, "making a graph");
  graph->owned = draft.owned;
  if (!draft.error)
    return TRUE;
  pirl_conv_graph_clear (graph);
  g_propagate_error (error, draft.error);
  return FALSE;
}

void
pirl_conv_graph_clear (PirlConvGraph *graph)
{
  /* What was made last refers to what was made before. */
  while (graph->owned && graph->owned->len > 0)
    g_ptr_array_set_size (graph->owned, (gint) graph->owned->len - 1);
  g_clear_pointer (&graph->owned, g_ptr_array_unref);
  graph->graph = NULL;
}
