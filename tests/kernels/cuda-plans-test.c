/* gst-pirl: every convolution of every network has a plan of cuDNN for an H200, without one.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   cuda-plans-test DEVICE.json DRIVER [--all]
 *
 * Walks the networks as they are built, at the sizes and batches they are trained and run with,
 * and plans each convolution once: for training forward, forward with sums, and the gradients, for
 * inference forward with bias, residual and activation, and in F16 what a prologue can be in front
 * of. A forward or a gradient without a plan within the workspace is a failure, also when the same
 * bits are wanted every time; so is a prologue, and a fused kind where cuDNN is known to have
 * one. Fused kinds that cuDNN compiles when they are planned take
 * half a second each: they are at the first batch only, and without --all every COMPILED_STEP-th.
 *
 * DEVICE.json: the properties of an H200 (SXM), as cuDNN 9.19 writes and wants them: all of them.
 * From NVIDIA's documentation: compute capability 9.0 and its limits (CUDA programming guide,
 * "technical specifications per compute capability": grid, block, threads, blocks, registers,
 * shared memory, of which 227 KiB = 232,448 B a block after the 1 KiB reserved), 132
 * multiprocessors and 1,980 MHz (H200 data sheet). What cards say of themselves: 143,156 MiB,
 * second-level cache 60 MiB (cudaGetDeviceProperties), memory clock 3,201 MHz (nvidia-smi).
 * driverVer: CUDA 13.0, the toolkit's. PCI and ordinal numbers do not matter. Where there is a
 * card, GetAttribute (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION) writes its own.
 *
 * DRIVER: cuda-plans-driver.c as a module.
 */
#include <dlfcn.h>
#include <string.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/pack.h"
#include "net-common.h"
#include "net/trunk.h"

#define SKIPPED 77
#define COMPILED_STEP 12

/* Nothing runs here, so nothing of our own kernels is linked. */
void
pirl_gpu_pack_weights (const PirlGpuWeights *shape, PirlDType dtype, const gfloat *dense,
    const gfloat *scale, gpointer packed, cudaStream_t stream)
{
  g_assert_not_reached ();
}

/* --- the networks --- */

typedef struct {
  const gchar *trunk;
  gint size;
  gint patches;                 /* of a picture; 0: whole pictures */
  gboolean infer;               /* it is also run, not only trained */
  gint batch[5];                /* pictures; the first always, the others with --all; 0 ends */
} Network;

static const Network networks[] = {
  { "resnet50", 224, 0, TRUE, { 256, 1, 64, 128, 512 } },
  { "resnet50", 64, 9, FALSE, { 256, 32, 64, 128, 512 } },
  { "resnet18", 224, 0, TRUE, { 64, 1, 32, 256 } },
  { "resnet18", 64, 9, FALSE, { 64, 32, 256 } },
  { "mobilenetv2", 224, 0, TRUE, { 64, 1, 32, 256 } },
  { "mobilenetv2", 128, 0, TRUE, { 64, 1, 32 } },
};

typedef struct {
  const gchar *name;
  PirlDType dtype;
  gboolean tf32;
} Type;

static const Type types[] = {
  { "F32", PIRL_DTYPE_F32, FALSE },
  { "TF32", PIRL_DTYPE_F32, TRUE },
  { "F16", PIRL_DTYPE_F16, FALSE },
  { "BF16", PIRL_DTYPE_BF16, FALSE },
};

/* Kinds, and then those two that have a prologue, with one. */
enum { FORWARD_PROLOGUE = PIRL_N_CONV_KINDS, D_WEIGHT_PROLOGUE, N_ROWS };

static const gchar *const rows[N_ROWS] = {
  [PIRL_CONV_FORWARD] = "forward",
  [PIRL_CONV_FORWARD_SUMS] = "forward + sums",
  [PIRL_CONV_FORWARD_EPILOGUE] = "forward + epilogue",
  [PIRL_CONV_D_INPUT] = "d_input",
  [PIRL_CONV_D_WEIGHT] = "d_weight",
  [FORWARD_PROLOGUE] = "prologue, + sums",
  [D_WEIGHT_PROLOGUE] = "prologue, d_weight",
};

static guint
row_of (const PirlConvProblem *problem)
{
  return !problem->prologue ? problem->kind
      : problem->kind == PIRL_CONV_D_WEIGHT ? D_WEIGHT_PROLOGUE : FORWARD_PROLOGUE;
}

/* --- what is counted --- */

typedef struct {
  guint problems, asked, planned;
  gsize workspace;              /* the most of a plan */
  gdouble seconds;
} Cell;

typedef struct {
  PirlConvEngine *engine;
  gboolean all, first;          /* all batches; the network's first */
  GHashTable *seen;             /* problems in words */
  guint compiled;               /* problems whose plan cuDNN compiles */
  Cell cell[N_ROWS][G_N_ELEMENTS (types)];
  guint failures;
} Count;

/* Kinds that the backend can do without. */
static gboolean
is_fused (const PirlConvProblem *problem)
{
  return problem->kind == PIRL_CONV_FORWARD_SUMS || problem->kind == PIRL_CONV_FORWARD_EPILOGUE;
}

/* cuDNN 9.19 has precompiled kernels for sums in F16 (but for the stem's few channels), and for
 * bias, residual and ReLU in every type; the others it compiles, for tensor cores. */
static gboolean
is_compiled (const PirlConvProblem *problem)
{
  return problem->kind == PIRL_CONV_FORWARD_SUMS ? problem->dtype != PIRL_DTYPE_F16
      : problem->kind == PIRL_CONV_FORWARD_EPILOGUE && problem->activation == PIRL_ACT_RELU6;
}

static gboolean
must_have_plan (const PirlConvProblem *problem)
{
  const gboolean exact = problem->dtype == PIRL_DTYPE_F32 && !problem->tf32;

  return !is_fused (problem) || !(exact && is_compiled (problem));
}

/* What cannot be done without must have a plan that gives the same bits every time. */
static void
plan_deterministic (Count *count, const PirlConvProblem *problem)
{
  PirlConvProblem same = *problem;
  GError *error = NULL;
  PirlConv *conv;

  same.deterministic = TRUE;
  conv = pirl_conv_new (count->engine, &same, &error);
  if (!conv) {
    count->failures++;
    g_printerr ("FAIL %s\n", error->message);
    g_error_free (error);
  }
  pirl_conv_free (conv);
}

static void
plan (Count *count, const PirlConvProblem *problem, Cell *cell)
{
  const gint64 start = g_get_monotonic_time ();
  GError *error = NULL;
  PirlConv *conv = pirl_conv_new (count->engine, problem, &error);

  cell->asked++;
  cell->seconds += (g_get_monotonic_time () - start) / 1e6;
  if (!is_fused (problem) || problem->prologue)
    plan_deterministic (count, problem);
  if (conv) {
    cell->planned++;
    cell->workspace = MAX (cell->workspace, pirl_conv_workspace (conv));
    g_assert_cmpuint (pirl_conv_workspace (conv), <=, PIRL_CUDA_WORKSPACE);
    if (count->all)
      g_print ("%s\n", pirl_conv_description (conv));
  } else if (must_have_plan (problem) || error->code != PIRL_ERROR_UNSUPPORTED) {
    count->failures++;
    g_printerr ("FAIL %s\n", error->message);
  } else if (count->all) {
    g_print ("none: %s\n", error->message);
  }
  g_clear_error (&error);
  pirl_conv_free (conv);
}

static void
consider (Count *count, const PirlConvProblem *problem, guint type)
{
  gchar *text = pirl_conv_problem_describe (problem);
  Cell *cell = &count->cell[row_of (problem)][type];

  if (!g_hash_table_add (count->seen, text))
    return;
  cell->problems++;
  if (!is_compiled (problem) || (count->first
          && (count->all || count->compiled++ % COMPILED_STEP == 0)))
    plan (count, problem, cell);
}

/* --- from units to problems --- */

static PirlDims
stored (PirlDims dims)
{
  dims.c = pirl_cuda_stored (dims.c);
  return dims;
}

/* Whatever reads a value of another convolution, in the type that has prologues. */
static void
consider_prologues (Count *count, PirlConvProblem problem, guint type)
{
  problem.prologue = TRUE;
  problem.kind = PIRL_CONV_FORWARD_SUMS;
  consider (count, &problem, type);
  problem.kind = PIRL_CONV_D_WEIGHT;
  consider (count, &problem, type);
}

static void
consider_unit (Count *count, const PirlUnitDesc *desc, gboolean infer)
{
  for (guint t = 0; t < G_N_ELEMENTS (types); t++) {
    PirlConvProblem problem = { .dtype = types[t].dtype, .tf32 = types[t].tf32,
      .input = stored (desc->input), .output = stored (desc->output), .kernel = desc->kernel,
      .stride = desc->stride, .padding = desc->padding };

    for (problem.kind = 0; problem.kind < PIRL_N_CONV_KINDS; problem.kind++)
      if (problem.kind != PIRL_CONV_FORWARD_EPILOGUE
          && (problem.kind != PIRL_CONV_D_INPUT || desc->needs_input_gradient))
        consider (count, &problem, t);
    if (problem.dtype == PIRL_DTYPE_F16 && desc->needs_input_gradient)
      consider_prologues (count, problem, t);
    problem.kind = PIRL_CONV_FORWARD_EPILOGUE;
    problem.activation = desc->activation;
    problem.residual = desc->residual;
    if (infer)
      consider (count, &problem, t);
  }
}

static void
consider_network (Count *count, const Network *network, gint batch)
{
  g_autoptr (PirlGraph) graph = pirl_graph_new ();
  PirlTrunk trunk;
  GError *error = NULL;
  PirlValue input;
  guint dense = 0;

  g_assert_true (pirl_trunk_from_name (network->trunk, 64, 1, &trunk, &error));
  input = pirl_graph_input (graph, batch * MAX (network->patches, 1), network->size, test_mean,
      test_std);
  pirl_trunk_build (graph, &trunk, input, NULL);
  for (guint i = 0; i < graph->units->len; i++) {
    const PirlUnitDesc *desc = &g_array_index (graph->units, PirlUnit, i).desc;

    /* Depthwise ones are our own kernels. */
    if (desc->kind == PIRL_UNIT_CONV && desc->groups == 1) {
      consider_unit (count, desc, network->infer);
      dense++;
    }
  }
  g_assert_cmpuint (dense, >=, 17);
}

/* --- the table --- */

static void
print_table (const Count *count)
{
  g_print ("%-20s %-5s %9s %9s %9s %12s %8s\n", "kind", "type", "problems", "asked", "planned",
      "workspace", "seconds");
  for (guint r = 0; r < N_ROWS; r++)
    for (guint t = 0; t < G_N_ELEMENTS (types); t++) {
      const Cell *cell = &count->cell[r][t];

      if (cell->problems > 0)
        g_print ("%-20s %-5s %9u %9u %9u %8.2f MiB %8.2f\n", rows[r], types[t].name,
            cell->problems, cell->asked, cell->planned, cell->workspace / 1048576.0,
            cell->seconds);
    }
}

int
main (int argc, char **argv)
{
  Count count = { .all = argc == 4 && strcmp (argv[3], "--all") == 0 };
  g_autofree gchar *json = NULL;
  GError *error = NULL;

  if (argc < 3 || (argc > 3 && !count.all)) {
    g_printerr ("usage: %s DEVICE.json DRIVER [--all]\n", argv[0]);
    return 2;
  }
  if (!dlopen (argv[2], RTLD_NOW | RTLD_GLOBAL)) {
    g_printerr ("%s\n", dlerror ());
    return 1;
  }
  if (!g_file_get_contents (argv[1], &json, NULL, &error)
      || !(count.engine = pirl_conv_engine_new (json, PIRL_CUDA_WORKSPACE, &error))) {
    g_printerr ("%s\n", error->message);
    return error->domain == PIRL_ERROR && error->code == PIRL_ERROR_UNSUPPORTED ? SKIPPED : 1;
  }
  count.seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (networks); i++)
    for (guint b = 0; b < G_N_ELEMENTS (networks[i].batch) && networks[i].batch[b]; b++)
      if (b == 0 || count.all) {
        count.first = b == 0;
        consider_network (&count, &networks[i], networks[i].batch[b]);
      }
  print_table (&count);
  g_print ("%s: %u convolutions, %u without the plan they need\n",
      pirl_conv_engine_description (count.engine), g_hash_table_size (count.seen),
      count.failures);
  g_hash_table_destroy (count.seen);
  pirl_conv_engine_free (count.engine);
  return count.failures > 0;
}
