/* gst-pirl: dense convolutions of the CUDA backend as plain loops, in place of cuDNN.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   y[n][p][q][o] = sum over r, s, c of x[n][p * stride + r - pad][q * stride + s - pad][c]
 *                   * w[o][r][s][c]
 *
 * and with a prologue of relu (scale x + shift), rounded to x's type, in place of x.
 *
 * Numbers are widened to floats, products summed in floats in a fixed order, results rounded once:
 * what cuDNN's engines do in some order. What cuDNN has no engine for is refused here too.
 */
#include "backends/cuda/convolution.h"

#include <string.h>

#include "naive.h"

struct _PirlConvEngine {
  gsize workspace;
};

struct _PirlConv {
  PirlConvProblem problem;
  gchar *description;
};

/* What runs on the stream. */
typedef struct {
  PirlConvProblem problem;
  PirlConvTensors tensors;
  gpointer workspace;
} Job;

/* The operands as floats; gradients that are written begin with zeros. */
typedef struct {
  const PirlConvProblem *problem;
  gfloat *input, *weight, *output;
} Operands;

/* --- engine --- */

PirlConvEngine *
pirl_conv_engine_new (const gchar *device_json, gsize workspace, GError **error)
{
  PirlConvEngine *engine;

  if (device_json) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
        "the emulator has no plans for other devices");
    return NULL;
  }
  engine = g_new0 (PirlConvEngine, 1);
  engine->workspace = workspace;
  return engine;
}

void
pirl_conv_engine_free (PirlConvEngine *engine)
{
  g_free (engine);
}

const gchar *
pirl_conv_engine_description (const PirlConvEngine *engine)
{
  return "no cuDNN";
}

/* --- plans --- */

static const gchar *const kind_names[] = {
  [PIRL_CONV_FORWARD] = "forward",
  [PIRL_CONV_FORWARD_SUMS] = "forward with sums",
  [PIRL_CONV_FORWARD_EPILOGUE] = "forward with epilogue",
  [PIRL_CONV_D_INPUT] = "input gradient",
  [PIRL_CONV_D_WEIGHT] = "weight gradient",
};

G_STATIC_ASSERT (G_N_ELEMENTS (kind_names) == PIRL_N_CONV_KINDS);

gchar *
pirl_conv_problem_describe (const PirlConvProblem *problem)
{
  const PirlDims in = problem->input;

  return g_strdup_printf ("%s%s %dx%d/%d %dx%dx%dx%d -> %d, %s", kind_names[problem->kind],
      problem->prologue ? " behind a prologue" : "", problem->kernel, problem->kernel,
      problem->stride, in.n, in.h, in.w, in.c, problem->output.c,
      pirl_dtype_name (problem->dtype));
}

static gint
window_output (gint size, const PirlConvProblem *problem)
{
  return (size + 2 * problem->padding - problem->kernel) / problem->stride + 1;
}

/* Whether there shall be nothing that cuDNN may refuse, so that the passes in its place are tried. */
static gboolean
is_plain (void)
{
  const gchar *words = g_getenv ("PIRL_EMULATED");

  return words && strstr (words, "plain");
}

/* Why cuDNN would not do it; NULL = it does. */
static const gchar *
refusal (const PirlConvProblem *problem)
{
  const PirlDims in = problem->input, out = problem->output;
  const gint lanes = problem->dtype == PIRL_DTYPE_BF16 ? 8 : 4;

  if (problem->dtype != PIRL_DTYPE_F32 && problem->dtype != PIRL_DTYPE_F16
      && problem->dtype != PIRL_DTYPE_BF16)
    return "the type must be F32, F16 or BF16";
  if (in.c % lanes != 0 || out.c % 8 != 0)
    return "the input's channels must be a multiple of 4, of 8 in BF16, the output's of 8";
  if (in.n < 1 || in.h < 1 || in.w < 1 || in.c < 1 || out.c < 1 || problem->stride < 1
      || out.n != in.n || out.h != window_output (in.h, problem)
      || out.w != window_output (in.w, problem))
    return "the output's size is not that of the input, the kernel, the stride and the padding";
  if (problem->residual && problem->kind != PIRL_CONV_FORWARD_EPILOGUE)
    return "only the epilogue takes a residual";
  if (problem->prologue && (problem->dtype != PIRL_DTYPE_F16
          || (problem->kind != PIRL_CONV_FORWARD_SUMS && problem->kind != PIRL_CONV_D_WEIGHT)))
    return "only forward with sums and the weight gradient have a prologue, in F16";
  if (problem->prologue && !problem->deterministic)
    return "nothing is timed here, so no prologue is faster";
  if (is_plain () && (problem->kind == PIRL_CONV_FORWARD_SUMS
          || problem->kind == PIRL_CONV_FORWARD_EPILOGUE))
    return "PIRL_EMULATED=plain: nothing but convolutions";
  return NULL;
}

PirlConv *
pirl_conv_new (PirlConvEngine *engine, const PirlConvProblem *problem, GError **error)
{
  const gchar *reason = refusal (problem);
  g_autofree gchar *words = pirl_conv_problem_describe (problem);
  PirlConv *conv;

  if (!reason && engine->workspace < NAIVE_WORKSPACE)
    reason = "no plan within the workspace";
  if (reason) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "%s: %s", words, reason);
    return NULL;
  }
  conv = g_new0 (PirlConv, 1);
  conv->problem = *problem;
  conv->description = g_strdup_printf ("%s: plain loops, workspace %d B", words,
      NAIVE_WORKSPACE);
  return conv;
}

void
pirl_conv_free (PirlConv *conv)
{
  if (!conv)
    return;
  g_free (conv->description);
  g_free (conv);
}

gsize
pirl_conv_workspace (const PirlConv *conv)
{
  return NAIVE_WORKSPACE;
}

const gchar *
pirl_conv_description (const PirlConv *conv)
{
  return conv->description;
}

/* --- loops --- */

static gsize
weight_count (const PirlConvProblem *problem)
{
  return (gsize) problem->output.c * problem->kernel * problem->kernel * problem->input.c;
}

/* What happens where a tap of the window meets a pixel: @x, @y their channels, @tap counts the
 * taps. */
typedef void (*Meet) (const Operands *o, gfloat *x, gfloat *y, gint tap);

static void
each_meeting (const Operands *o, Meet meet)
{
  const PirlConvProblem *p = o->problem;
  const PirlDims in = p->input, out = p->output;

  for (gsize pixel = 0; pixel < (gsize) out.n * out.h * out.w; pixel++) {
    const gsize n = pixel / ((gsize) out.h * out.w);
    const gint top = (gint) (pixel / out.w % out.h) * p->stride - p->padding;
    const gint left = (gint) (pixel % out.w) * p->stride - p->padding;

    for (gint tap = 0; tap < p->kernel * p->kernel; tap++) {
      const gint row = top + tap / p->kernel, column = left + tap % p->kernel;

      if (row >= 0 && row < in.h && column >= 0 && column < in.w)
        meet (o, o->input + ((n * in.h + row) * in.w + column) * in.c,
            o->output + pixel * out.c, tap);
    }
  }
}

static gfloat *
weight_row (const Operands *o, gint out, gint tap)
{
  const PirlConvProblem *p = o->problem;

  return o->weight + ((gsize) out * p->kernel * p->kernel + tap) * p->input.c;
}

static void
meet_forward (const Operands *o, gfloat *x, gfloat *y, gint tap)
{
  for (gint k = 0; k < o->problem->output.c; k++) {
    const gfloat *w = weight_row (o, k, tap);
    gfloat sums[4] = { 0 };

    for (gint c = 0; c < o->problem->input.c; c += 4)
      for (gint lane = 0; lane < 4; lane++)
        sums[lane] += x[c + lane] * w[c + lane];
    y[k] += (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
}

static void
meet_d_input (const Operands *o, gfloat *x, gfloat *y, gint tap)
{
  for (gint k = 0; k < o->problem->output.c; k++) {
    const gfloat *w = weight_row (o, k, tap);

    for (gint c = 0; c < o->problem->input.c; c++)
      x[c] += y[k] * w[c];
  }
}

static void
meet_d_weight (const Operands *o, gfloat *x, gfloat *y, gint tap)
{
  for (gint k = 0; k < o->problem->output.c; k++) {
    gfloat *w = weight_row (o, k, tap);

    for (gint c = 0; c < o->problem->input.c; c++)
      w[c] += y[k] * x[c];
  }
}

static gfloat
activate (gfloat y, PirlActivation activation)
{
  if (activation == PIRL_ACT_RELU || activation == PIRL_ACT_RELU6)
    y = y < 0 ? 0 : y;          /* keeps what is no number */
  return activation == PIRL_ACT_RELU6 && y > 6 ? 6 : y;
}

static void
epilogue (const Job *job, gfloat *y)
{
  const PirlConvProblem *p = &job->problem;
  const gsize n = pirl_dims_count (p->output);
  g_autofree gfloat *residual = g_new0 (gfloat, n);

  if (p->residual)
    pirl_to_float (p->dtype, job->tensors.residual, residual, n);
  for (gsize i = 0; i < n; i++)
    y[i] = activate (y[i] + job->tensors.bias[i % p->output.c] + residual[i], p->activation);
}

/* Over the values as they are stored. */
static void
channel_sums (const Job *job)
{
  const PirlConvProblem *p = &job->problem;
  const gsize n = pirl_dims_count (p->output);
  g_autofree gfloat *y = g_new (gfloat, n);

  pirl_to_float (p->dtype, job->tensors.output, y, n);
  for (gint c = 0; c < p->output.c; c++) {
    gdouble sum = 0, squares = 0;

    for (gsize i = c; i < n; i += p->output.c) {
      sum += y[i];
      squares += (gdouble) y[i] * y[i];
    }
    job->tensors.sum[c] = (gfloat) sum;
    job->tensors.squares[c] = (gfloat) squares;
  }
}

/* Padding stays zero: it is none of the input's pixels. */
static void
prologue (const Job *job, gfloat *x)
{
  const PirlConvProblem *p = &job->problem;
  const gsize n = pirl_dims_count (p->input), channels = (gsize) p->input.c;
  g_autofree gfloat *scale = g_new (gfloat, channels), *shift = g_new (gfloat, channels);
  g_autofree guint16 *rounded = g_new (guint16, n);

  pirl_to_float (p->dtype, job->tensors.scale, scale, channels);
  pirl_to_float (p->dtype, job->tensors.shift, shift, channels);
  for (gsize i = 0; i < n; i++)
    x[i] = activate (scale[i % channels] * x[i] + shift[i % channels], PIRL_ACT_RELU);
  pirl_from_float (p->dtype, x, rounded, n);
  pirl_to_float (p->dtype, rounded, x, n);
}

static gfloat *
operand (const Job *job, gconstpointer memory, gsize n, gboolean read)
{
  gfloat *values = g_new0 (gfloat, n);

  if (read)
    pirl_to_float (job->problem.dtype, memory, values, n);
  if (read && job->problem.dtype == PIRL_DTYPE_F32 && job->problem.tf32)
    naive_round_tf32 (values, n);
  return values;
}

static void
job_run (gpointer closure)
{
  static const Meet meets[] = { meet_forward, meet_forward, meet_forward, meet_d_input,
    meet_d_weight };
  const Job *job = closure;
  const PirlConvProblem *p = &job->problem;
  const PirlConvTensors *t = &job->tensors;
  const gsize n_in = pirl_dims_count (p->input), n_out = pirl_dims_count (p->output);
  const gsize n_weight = weight_count (p);
  const gboolean d_input = p->kind == PIRL_CONV_D_INPUT, d_weight = p->kind == PIRL_CONV_D_WEIGHT;
  g_autofree gfloat *input = operand (job, t->input, n_in, !d_input);
  g_autofree gfloat *weight = operand (job, t->weight, n_weight, !d_weight);
  g_autofree gfloat *output = operand (job, t->output, n_out, d_input || d_weight);
  const Operands operands = { p, input, weight, output };

  memset (job->workspace, 0xff, NAIVE_WORKSPACE);
  if (p->prologue)
    prologue (job, input);
  each_meeting (&operands, meets[p->kind]);
  if (p->kind == PIRL_CONV_FORWARD_EPILOGUE)
    epilogue (job, output);
  if (d_input)
    pirl_from_float (p->dtype, input, t->input, n_in);
  else if (d_weight)
    pirl_from_float (p->dtype, weight, t->weight, n_weight);
  else
    pirl_from_float (p->dtype, output, t->output, n_out);
  if (p->kind == PIRL_CONV_FORWARD_SUMS)
    channel_sums (job);
}

static gboolean
check_tensors (const Job *job, GError **error)
{
  const PirlConvProblem *p = &job->problem;
  const PirlConvTensors *t = &job->tensors;
  const gsize size = pirl_dtype_size (p->dtype), n_out = pirl_dims_count (p->output);
  const gsize channels = (gsize) p->output.c * sizeof (gfloat);
  const gsize pending = (gsize) p->input.c * size;
  const gboolean sums = p->kind == PIRL_CONV_FORWARD_SUMS;

  return naive_on_card (job->workspace, NAIVE_WORKSPACE, "workspace", error)
      && naive_on_card (t->input, pirl_dims_count (p->input) * size, "input", error)
      && naive_on_card (t->weight, weight_count (p) * size, "weight", error)
      && naive_on_card (t->output, n_out * size, "output", error)
      && (!p->prologue || (naive_on_card (t->scale, pending, "scale", error)
              && naive_on_card (t->shift, pending, "shift", error)))
      && (!p->residual || naive_on_card (t->residual, n_out * size, "residual", error))
      && (!sums || naive_on_card (t->sum, channels, "sums", error))
      && (!sums || naive_on_card (t->squares, channels, "sums of squares", error))
      && (p->kind != PIRL_CONV_FORWARD_EPILOGUE
          || naive_on_card (t->bias, channels, "bias", error));
}

gboolean
pirl_conv_run (PirlConv *conv, const PirlConvTensors *tensors, gpointer workspace,
    cudaStream_t stream, GError **error)
{
  const Job job = { conv->problem, *tensors, workspace };
  cudaError_t status;

  if (!check_tensors (&job, error)) {
    g_prefix_error (error, "%s: ", conv->description);
    return FALSE;
  }
  status = pirl_emulator_run (stream, job_run, &job, sizeof (job));
  if (status == cudaSuccess)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "%s: %s", conv->description,
      cudaGetErrorString (status));
  return FALSE;
}
