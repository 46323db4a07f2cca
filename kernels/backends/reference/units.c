/* gst-pirl: the units of a network in double precision, forward and backward.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   CONV       u = conv (in, W) + bias;  v = gamma (u - mean) / sqrt (var + eps) + beta;
 *              out = act (v + residual)
 *   LINEAR     out = act (in W^T + bias): a convolution of 1 x 1 pictures
 *   BATCHNORM  the same without the product
 *   MAXPOOL    the first largest of a window, in reading order; outside is -inf
 *   AVGPOOL    mean over the picture
 *   L2NORM     x / max (|x|, 1e-12)
 *   INPUT      (pixel / 255 - mean) / std, packed RGB to planes
 *
 * All values are dense n,c,h,w. Batch norm keeps its normalised input and 1/sqrt (var + eps) from
 * FORWARD to BACKWARD; everything else is found again from input and output.
 */
#include "backends/reference/reference.h"

#include <math.h>
#include <string.h>

#define NORM_FLOOR 1e-12
#define PIXEL_MAX 255.0

struct _PirlUnitPlan {
  PirlUnitDesc desc;
};

static gsize
plane (PirlDims d)
{
  return (gsize) d.h * d.w;
}

/* ---- convolution ---- */

typedef enum { CONV_FORWARD, CONV_D_INPUT, CONV_D_WEIGHT } ConvWay;

/* One weight of one pair of planes. Forward: y += w x; input gradient: x += w y; weight
 * gradient: w += x . y, each over the outputs whose input lies inside of the picture. */
static void
conv_tap (const PirlUnitDesc *desc, ConvWay way, gdouble *x, gdouble *weight, gdouble *y, gint ky,
    gint kx)
{
  const PirlDims in = desc->input, out = desc->output;
  const gint stride = desc->stride, dx = kx - desc->padding, dy = ky - desc->padding;
  const gint first = dx < 0 ? (-dx + stride - 1) / stride : 0;
  const gint end = in.w - 1 - dx < 0 ? 0 : MIN (out.w, (in.w - 1 - dx) / stride + 1);
  gdouble w = *weight, sum = 0.0;

  for (gint oy = 0; oy < out.h; oy++) {
    const gint iy = oy * stride + dy;

    if (iy < 0 || iy >= in.h)
      continue;

    gdouble *restrict x_row = x + (gsize) iy * in.w;
    gdouble *restrict y_row = y + (gsize) oy * out.w;

    if (way == CONV_FORWARD)
      for (gint ox = first; ox < end; ox++)
        y_row[ox] += w * x_row[ox * stride + dx];
    else if (way == CONV_D_INPUT)
      for (gint ox = first; ox < end; ox++)
        x_row[ox * stride + dx] += w * y_row[ox];
    else
      for (gint ox = first; ox < end; ox++)
        sum += x_row[ox * stride + dx] * y_row[ox];
  }
  if (way == CONV_D_WEIGHT)
    *weight += sum;
}

/* What @way does not add to is only read. */
static void
convolution (const PirlUnitDesc *desc, ConvWay way, gdouble *x, gdouble *weight, gdouble *y)
{
  const PirlDims in = desc->input, out = desc->output;
  const gint groups = desc->groups, kernel = desc->kernel;
  const gint group_in = in.c / groups, group_out = out.c / groups;

  for (gint n = 0; n < out.n; n++)
    for (gint oc = 0; oc < out.c; oc++)
      for (gint j = 0; j < group_in; j++) {
        const gint ic = oc / group_out * group_in + j;
        gdouble *x_plane = x + ((gsize) n * in.c + ic) * plane (in);
        gdouble *y_plane = y + ((gsize) n * out.c + oc) * plane (out);
        gdouble *taps = weight + ((gsize) oc * group_in + j) * kernel * kernel;

        for (gint tap = 0; tap < kernel * kernel; tap++)
          conv_tap (desc, way, x_plane, taps + tap, y_plane, tap / kernel, tap % kernel);
      }
}

/* ---- per channel: bias and batch norm ---- */

static void
add_bias (PirlDims d, const gdouble *bias, gdouble *y)
{
  for (gsize i = 0, n = pirl_dims_count (d); i < n; i++)
    y[i] += bias[i / plane (d) % d.c];
}

static void
bias_gradient (PirlDims d, const gdouble *dy, gdouble *d_bias)
{
  for (gsize i = 0, n = pirl_dims_count (d); i < n; i++)
    d_bias[i / plane (d) % d.c] += dy[i];
}

/* Sums a[i] * b[i] over the values of channel @c; @b NULL = ones. */
static gdouble
channel_sum (PirlDims d, gint c, const gdouble *a, const gdouble *b)
{
  gdouble sum = 0.0;

  for (gint n = 0; n < d.n; n++) {
    const gsize start = ((gsize) n * d.c + c) * plane (d);

    for (gsize i = start; i < start + plane (d); i++)
      sum += b ? a[i] * b[i] : a[i];
  }
  return sum;
}

/* y <- scale * y + shift on channel @c. */
static void
channel_affine (PirlDims d, gint c, gdouble scale, gdouble shift, gdouble *y)
{
  for (gint n = 0; n < d.n; n++) {
    const gsize start = ((gsize) n * d.c + c) * plane (d);

    for (gsize i = start; i < start + plane (d); i++)
      y[i] = scale * y[i] + shift;
  }
}

static void
batchnorm_infer (PirlDims d, gpointer const *param, gdouble *y)
{
  const gdouble *gamma = param[PIRL_SLOT_BN_WEIGHT], *beta = param[PIRL_SLOT_BN_BIAS];
  const gdouble *mean = param[PIRL_SLOT_BN_MEAN], *var = param[PIRL_SLOT_BN_VAR];

  for (gint c = 0; c < d.c; c++) {
    const gdouble scale = gamma[c] / sqrt (var[c] + PIRL_BN_EPSILON);

    channel_affine (d, c, scale, beta[c] - scale * mean[c], y);
  }
}

/* Normalises y in place; leaves the normalised values and 1/std in @saved. */
static void
batchnorm_train (PirlDims d, const PirlUnitBuffers *buffers, gdouble *y)
{
  const gdouble *gamma = buffers->param[PIRL_SLOT_BN_WEIGHT];
  const gdouble *beta = buffers->param[PIRL_SLOT_BN_BIAS];
  gdouble *running_mean = buffers->param[PIRL_SLOT_BN_MEAN];
  gdouble *running_var = buffers->param[PIRL_SLOT_BN_VAR];
  gdouble *normalised = buffers->saved, *inverse_std = normalised + pirl_dims_count (d);
  const gdouble count = (gdouble) d.n * plane (d);

  for (gint c = 0; c < d.c; c++) {
    const gdouble mean = channel_sum (d, c, y, NULL) / count;

    channel_affine (d, c, 1.0, -mean, y);

    const gdouble var = channel_sum (d, c, y, y) / count;

    inverse_std[c] = 1.0 / sqrt (var + PIRL_BN_EPSILON);
    channel_affine (d, c, inverse_std[c], 0.0, y);
    if (buffers->update_statistics) {
      running_mean[c] += PIRL_BN_MOMENTUM * (mean - running_mean[c]);
      running_var[c] += PIRL_BN_MOMENTUM * (var * count / (count - 1.0) - running_var[c]);
    }
  }
  memcpy (normalised, y, pirl_dims_count (d) * sizeof (gdouble));
  for (gint c = 0; c < d.c; c++)
    channel_affine (d, c, gamma[c], beta[c], y);
}

/* dy <- gamma / std (dy - mean (dy) - x^ mean (dy x^)), x^ the normalised input. */
static void
batchnorm_backward (PirlDims d, const PirlUnitBuffers *buffers, gdouble *dy)
{
  const gdouble *gamma = buffers->param[PIRL_SLOT_BN_WEIGHT];
  const gdouble *normalised = buffers->saved, *inverse_std = normalised + pirl_dims_count (d);
  gdouble *d_gamma = buffers->grad[PIRL_SLOT_BN_WEIGHT];
  gdouble *d_beta = buffers->grad[PIRL_SLOT_BN_BIAS];
  const gdouble count = (gdouble) d.n * plane (d);

  for (gint c = 0; c < d.c; c++) {
    const gdouble sum = channel_sum (d, c, dy, NULL);
    const gdouble product = channel_sum (d, c, dy, normalised);

    d_beta[c] += sum;
    d_gamma[c] += product;
    for (gint n = 0; n < d.n; n++) {
      const gsize start = ((gsize) n * d.c + c) * plane (d);

      for (gsize i = start; i < start + plane (d); i++)
        dy[i] = gamma[c] * inverse_std[c]
            * (dy[i] - sum / count - normalised[i] * product / count);
    }
  }
}

/* ---- activation ---- */

static gdouble
ceiling (PirlActivation activation)
{
  return activation == PIRL_ACT_RELU6 ? 6.0 : INFINITY;
}

/* NaN stays NaN, as in PyTorch. */
static void
activate (PirlActivation activation, gsize n, gdouble *y)
{
  if (activation == PIRL_ACT_NONE)
    return;
  for (gsize i = 0; i < n; i++)
    y[i] = y[i] < 0.0 ? 0.0 : (y[i] > ceiling (activation) ? ceiling (activation) : y[i]);
}

static void
activation_backward (PirlActivation activation, gsize n, const gdouble *y, gdouble *dy)
{
  if (activation == PIRL_ACT_NONE)
    return;
  for (gsize i = 0; i < n; i++)
    if (y[i] <= 0.0 || y[i] >= ceiling (activation))
      dy[i] = 0.0;
}

/* ---- CONV, LINEAR, BATCHNORM: product, then everything per channel ---- */

static void
dense_forward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const PirlDims out = desc->output;
  const gsize n = pirl_dims_count (out);
  const gdouble *residual = buffers->residual;
  gdouble *y = buffers->output;

  if (desc->kind == PIRL_UNIT_BATCHNORM) {
    memcpy (y, buffers->input, n * sizeof (gdouble));
  } else {
    memset (y, 0, n * sizeof (gdouble));
    convolution (desc, CONV_FORWARD, (gdouble *) buffers->input,
        buffers->param[PIRL_SLOT_WEIGHT], y);
  }
  if (desc->bias)
    add_bias (out, buffers->param[PIRL_SLOT_BIAS], y);
  if (desc->batch_norm && desc->mode == PIRL_MODE_TRAIN)
    batchnorm_train (out, buffers, y);
  else if (desc->batch_norm)
    batchnorm_infer (out, buffers->param, y);
  if (desc->residual)
    for (gsize i = 0; i < n; i++)
      y[i] += residual[i];
  activate (desc->activation, n, y);
}

/* Takes over (or adds) @src. */
static void
deliver (gsize n, const gdouble *src, gboolean accumulate, gdouble *dst)
{
  for (gsize i = 0; i < n; i++)
    dst[i] = accumulate ? dst[i] + src[i] : src[i];
}

/* d_output becomes, step by step, the gradient of what the unit computed first. */
static void
dense_backward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const PirlDims out = desc->output;
  const gsize n = pirl_dims_count (out), n_input = pirl_dims_count (desc->input);
  gdouble *dy = buffers->d_output, *dx = buffers->d_input;

  activation_backward (desc->activation, n, buffers->output, dy);
  if (desc->residual && buffers->d_residual != NULL)
    deliver (n, dy, buffers->accumulate_residual, buffers->d_residual);
  if (desc->batch_norm)
    batchnorm_backward (out, buffers, dy);
  if (desc->bias)
    bias_gradient (out, dy, buffers->grad[PIRL_SLOT_BIAS]);
  if (desc->kind == PIRL_UNIT_BATCHNORM) {
    if (desc->needs_input_gradient)
      deliver (n, dy, buffers->accumulate_input, dx);
    return;
  }
  convolution (desc, CONV_D_WEIGHT, (gdouble *) buffers->input, buffers->grad[PIRL_SLOT_WEIGHT],
      dy);
  if (!desc->needs_input_gradient)
    return;
  if (!buffers->accumulate_input)
    memset (dx, 0, n_input * sizeof (gdouble));
  convolution (desc, CONV_D_INPUT, dx, buffers->param[PIRL_SLOT_WEIGHT], dy);
}

/* ---- pooling ---- */

/* Where in its plane the largest value of the window of output @o is. */
static gsize
window_largest (const PirlUnitDesc *desc, const gdouble *x, gsize o)
{
  const PirlDims in = desc->input;
  const gint top = (gint) (o / desc->output.w) * desc->stride - desc->padding;
  const gint left = (gint) (o % desc->output.w) * desc->stride - desc->padding;
  gboolean found = FALSE;
  gsize largest = 0;

  for (gint y = MAX (top, 0); y < MIN (top + desc->kernel, in.h); y++)
    for (gint column = MAX (left, 0); column < MIN (left + desc->kernel, in.w); column++) {
      const gsize i = (gsize) y * in.w + column;

      if (!found || x[i] > x[largest] || isnan (x[i]))
        largest = i;
      found = TRUE;
    }
  return largest;
}

static void
maxpool_forward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const gdouble *x = buffers->input;
  gdouble *y = buffers->output;

  for (gint p = 0; p < desc->output.n * desc->output.c; p++)
    for (gsize o = 0; o < plane (desc->output); o++) {
      const gdouble *x_plane = x + p * plane (desc->input);

      y[p * plane (desc->output) + o] = x_plane[window_largest (desc, x_plane, o)];
    }
}

static void
maxpool_backward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const gdouble *x = buffers->input, *dy = buffers->d_output;
  gdouble *dx = buffers->d_input;

  if (!buffers->accumulate_input)
    memset (dx, 0, pirl_dims_count (desc->input) * sizeof (gdouble));
  for (gint p = 0; p < desc->output.n * desc->output.c; p++)
    for (gsize o = 0; o < plane (desc->output); o++) {
      const gsize start = p * plane (desc->input);

      dx[start + window_largest (desc, x + start, o)] += dy[p * plane (desc->output) + o];
    }
}

static void
avgpool_forward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const gsize size = plane (desc->input);
  const gdouble *x = buffers->input;
  gdouble *y = buffers->output;

  for (gsize p = 0; p < pirl_dims_count (desc->output); p++) {
    y[p] = 0.0;
    for (gsize i = 0; i < size; i++)
      y[p] += x[p * size + i];
    y[p] /= size;
  }
}

static void
avgpool_backward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const gsize size = plane (desc->input);
  const gdouble *dy = buffers->d_output;
  gdouble *dx = buffers->d_input;

  for (gsize i = 0; i < pirl_dims_count (desc->input); i++) {
    const gdouble share = dy[i / size] / size;

    dx[i] = buffers->accumulate_input ? dx[i] + share : share;
  }
}

/* ---- unit length ---- */

static gdouble
dot (const gdouble *a, const gdouble *b, gint n)
{
  gdouble sum = 0.0;

  for (gint i = 0; i < n; i++)
    sum += a[i] * b[i];
  return sum;
}

static void
l2norm_forward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const gint c = desc->input.c;

  for (gint n = 0; n < desc->input.n; n++) {
    const gdouble *x = (const gdouble *) buffers->input + (gsize) n * c;
    gdouble *y = (gdouble *) buffers->output + (gsize) n * c;
    const gdouble norm = MAX (sqrt (dot (x, x, c)), NORM_FLOOR);

    for (gint i = 0; i < c; i++)
      y[i] = x[i] / norm;
  }
}

/* dx = (dy - y (y . dy)) / |x|; below the floor the norm is a constant. */
static void
l2norm_backward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const gint c = desc->input.c;

  for (gint n = 0; n < desc->input.n; n++) {
    const gdouble *x = (const gdouble *) buffers->input + (gsize) n * c;
    const gdouble *y = (const gdouble *) buffers->output + (gsize) n * c;
    gdouble *dy = (gdouble *) buffers->d_output + (gsize) n * c;
    const gdouble norm = sqrt (dot (x, x, c));
    const gdouble along = norm > NORM_FLOOR ? dot (y, dy, c) : 0.0;

    for (gint i = 0; i < c; i++)
      dy[i] = (dy[i] - y[i] * along) / MAX (norm, NORM_FLOOR);
  }
  deliver (pirl_dims_count (desc->input), buffers->d_output, buffers->accumulate_input,
      buffers->d_input);
}

/* ---- pictures ---- */

static void
input_forward (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers)
{
  const guint8 *const *pictures = buffers->input;
  const gsize size = plane (desc->output);
  gdouble *y = buffers->output;

  for (gint n = 0; n < desc->output.n; n++)
    for (gint c = 0; c < desc->output.c; c++)
      for (gsize i = 0; i < size; i++)
        *y++ = (pictures[n][i * desc->output.c + c] / PIXEL_MAX - desc->mean[c]) / desc->std[c];
}

/* ---- plans ---- */

typedef void (*UnitPass) (const PirlUnitDesc *desc, const PirlUnitBuffers *buffers);

static const struct {
  const gchar *name;
  UnitPass forward, backward;
} passes[] = {
  [PIRL_UNIT_INPUT] = { "input", input_forward, NULL },
  [PIRL_UNIT_CONV] = { "conv", dense_forward, dense_backward },
  [PIRL_UNIT_MAXPOOL] = { "maxpool", maxpool_forward, maxpool_backward },
  [PIRL_UNIT_AVGPOOL] = { "avgpool", avgpool_forward, avgpool_backward },
  [PIRL_UNIT_LINEAR] = { "linear", dense_forward, dense_backward },
  [PIRL_UNIT_BATCHNORM] = { "batchnorm", dense_forward, dense_backward },
  [PIRL_UNIT_L2NORM] = { "l2norm", l2norm_forward, l2norm_backward },
};

static gboolean
slides (PirlUnitKind kind)
{
  return kind == PIRL_UNIT_CONV || kind == PIRL_UNIT_MAXPOOL;
}

/* What is wrong with the window of a CONV or MAXPOOL, or NULL. */
static const gchar *
window_problem (const PirlUnitDesc *desc)
{
  const PirlDims in = desc->input, out = desc->output;

  if (desc->kernel < 1 || desc->stride < 1 || desc->padding < 0)
    return "kernel and stride must be at least 1, padding at least 0";
  if (desc->kind == PIRL_UNIT_MAXPOOL && desc->padding > desc->kernel / 2)
    return "padding must be at most half of the kernel";
  if (in.h + 2 * desc->padding < desc->kernel || in.w + 2 * desc->padding < desc->kernel)
    return "the kernel is larger than the padded picture";
  if (out.h != (in.h + 2 * desc->padding - desc->kernel) / desc->stride + 1
      || out.w != (in.w + 2 * desc->padding - desc->kernel) / desc->stride + 1)
    return "the output's size must be (input + 2 padding - kernel) / stride + 1";
  if (desc->kind == PIRL_UNIT_CONV
      && (desc->groups < 1 || in.c % desc->groups != 0 || out.c % desc->groups != 0))
    return "the channels must be a multiple of the groups";
  return NULL;
}

static const gchar *
unit_problem (const PirlUnitDesc *desc)
{
  const PirlDims in = desc->input, out = desc->output;
  const gboolean vectors = in.h == 1 && in.w == 1 && out.h == 1 && out.w == 1;

  if (in.n < 1 || in.c < 1 || in.h < 1 || in.w < 1 || out.c < 1 || out.n != in.n)
    return "dims must be at least 1, and input and output hold the same number of samples";
  if (slides (desc->kind) && window_problem (desc) != NULL)
    return window_problem (desc);
  if (desc->kind >= PIRL_UNIT_LINEAR && !vectors)
    return "input and output must be vectors (h = w = 1)";
  if (desc->kind == PIRL_UNIT_AVGPOOL && (out.h != 1 || out.w != 1))
    return "the output must be vectors (h = w = 1)";
  if (desc->kind != PIRL_UNIT_CONV && desc->kind != PIRL_UNIT_LINEAR && out.c != in.c)
    return "input and output must have the same channels";
  if (desc->batch_norm && desc->mode == PIRL_MODE_TRAIN && out.n * plane (out) < 2)
    return "batch norm needs more than one value a channel to train";
  return NULL;
}

/* LINEAR is a 1x1 convolution of 1x1 pictures, BATCHNORM always has its batch norm; what a kind
 * does not have is switched off. */
static PirlUnitDesc
normalise_desc (const PirlUnitDesc *given)
{
  PirlUnitDesc desc = *given;

  if (desc.kind == PIRL_UNIT_LINEAR) {
    desc.kernel = desc.stride = desc.groups = 1;
    desc.padding = 0;
  }
  if (desc.kind == PIRL_UNIT_INPUT)
    desc.input = desc.output;
  if (desc.kind == PIRL_UNIT_BATCHNORM)
    desc.batch_norm = TRUE;
  if (desc.kind != PIRL_UNIT_CONV && desc.kind != PIRL_UNIT_BATCHNORM)
    desc.batch_norm = FALSE;
  if (desc.kind != PIRL_UNIT_CONV)
    desc.residual = FALSE;
  if (desc.kind != PIRL_UNIT_CONV && desc.kind != PIRL_UNIT_LINEAR)
    desc.bias = FALSE;
  return desc;
}

static gboolean
check_value (const PirlTensorDesc *value, PirlDims dims, const gchar *what, GError **error)
{
  if (value != NULL && value->format == NULL && value->dtype == PIRL_DTYPE_F64
      && pirl_dims_count (value->dims) == pirl_dims_count (dims))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "reference backend: a unit's %s must be a dense F64 tensor of %dx%dx%dx%d", what, dims.n,
      dims.c, dims.h, dims.w);
  return FALSE;
}

PirlUnitPlan *
pirl_reference_unit_plan (PirlDevice *device, const PirlUnitDesc *given,
    const PirlTensorDesc *input, const PirlTensorDesc *residual, PirlTensorDesc *output,
    PirlUnitMemory *memory, GError **error)
{
  if ((gsize) given->kind >= G_N_ELEMENTS (passes)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "reference backend: unit kind %d is none of a backend's", given->kind);
    return NULL;
  }

  const PirlUnitDesc desc = normalise_desc (given);
  const gchar *problem = unit_problem (&desc);

  if (problem != NULL) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "%s of %dx%dx%dx%d to %dx%dx%dx%d: %s", passes[desc.kind].name, desc.input.n, desc.input.c,
        desc.input.h, desc.input.w, desc.output.n, desc.output.c, desc.output.h, desc.output.w,
        problem);
    return NULL;
  }
  if (desc.kind != PIRL_UNIT_INPUT && !check_value (input, desc.input, "input", error))
    return NULL;
  if (desc.residual && !check_value (residual, desc.output, "residual", error))
    return NULL;

  const gsize count = pirl_dims_count (desc.output);
  const gboolean keeps = desc.batch_norm && desc.mode == PIRL_MODE_TRAIN;
  PirlUnitPlan *plan = g_new0 (PirlUnitPlan, 1);

  plan->desc = desc;
  *output = (PirlTensorDesc) { desc.output, PIRL_DTYPE_F64, count * sizeof (gdouble), NULL };
  memory->saved = keeps ? (count + desc.output.c) * sizeof (gdouble) : 0;
  memory->scratch = 0;
  return plan;
}

void
pirl_reference_unit_free (PirlUnitPlan *plan)
{
  g_free (plan);
}

gboolean
pirl_reference_unit_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *buffers,
    GError **error)
{
  const PirlUnitDesc *desc = &plan->desc;

  if (pass == PIRL_PASS_PREPARE)
    return TRUE;
  if (pass == PIRL_PASS_FORWARD) {
    passes[desc->kind].forward (desc, buffers);
    return TRUE;
  }
  if (desc->mode != PIRL_MODE_TRAIN) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "%s: BACKWARD needs a plan in TRAIN mode", passes[desc->kind].name);
    return FALSE;
  }
  /* Without parameters and without an input gradient there is nothing to do. */
  if (passes[desc->kind].backward != NULL
      && (desc->needs_input_gradient || passes[desc->kind].backward == dense_backward))
    passes[desc->kind].backward (desc, buffers);
  return TRUE;
}
