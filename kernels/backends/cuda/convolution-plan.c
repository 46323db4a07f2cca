/* gst-pirl: cuDNN's plans for a graph, and which of them is used.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * cuDNN's heuristics give configurations of its engines, the one it thinks fastest first. One that
 * computes otherwise than asked (by its numerical notes), does not become a plan, or needs too much
 * workspace is left out. Without a device, or for the same bits every time, the first is used;
 * else the first few run, and the fastest is. A fused kind must then also beat the plain
 * convolution and the pass over the output that it saves, a prologue the plain convolutions and the
 * pass over the input: for bf16 and floats cuDNN's fused kernels are made at run time for Ampere,
 * its plain ones precompiled for the card.
 */
#include "backends/cuda/convolution-private.h"

#include <string.h>

#define TIMED 8                 /* plans */
#define COMPILED 2              /* of them, that cuDNN compiles: 0.3 to 1.5 s each */
#define FEW 4                   /* plans of mode A; less, and the fallbacks are looked at too */
#define MOST_CONFIGURATIONS 128
#define MEGABYTE ((gdouble) (1 << 20))

void
pirl_conv_plan_clear (PirlConvPlan *plan)
{
  pirl_cudnn_clear (&plan->plan);
}

gsize
pirl_conv_bias_bytes (const PirlConvProblem *problem)
{
  const PirlDType dtype = pirl_conv_bias_dtype (problem);

  if (problem->kind != PIRL_CONV_FORWARD_EPILOGUE || dtype == PIRL_DTYPE_F32)
    return 0;
  return (problem->output.c * pirl_dtype_size (dtype) + 255) & ~(gsize) 255;
}

/* --- from configuration to plan --- */

/* What is looked for, and what was found. */
typedef struct {
  PirlConvEngine *engine;
  const PirlConvProblem *problem;
  guint most;                   /* plans still wanted */
  guint compiled;               /* attempts to compile one that are left */
  gint64 deadline;
  GArray *plans;                /* PirlConvPlan */
  guint offered;                /* configurations */
  gsize least;                  /* workspace of those that need too much; 0: there are none */
} Search;

static gboolean
forbidden (const PirlConvProblem *problem, cudnnBackendNumericalNote_t note)
{
  switch (note) {
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
      return TRUE;
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:     /* floats are rounded to TF32 */
      return problem->dtype == PIRL_DTYPE_F32 && !problem->tf32;
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
      return problem->deterministic;
    default:
      return FALSE;
  }
}

static gboolean
computes_as_asked (const PirlConvProblem *problem, cudnnBackendDescriptor_t engine)
{
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  gint64 n = 0;

  if (cudnnBackendGetAttribute (engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
          CUDNN_TYPE_NUMERICAL_NOTE, G_N_ELEMENTS (notes), &n, notes) != CUDNN_STATUS_SUCCESS)
    return FALSE;
  for (gint64 i = 0; i < MIN (n, (gint64) G_N_ELEMENTS (notes)); i++)
    if (forbidden (problem, notes[i]))
      return FALSE;
  return TRUE;
}

static gboolean
is_compiled (cudnnBackendDescriptor_t engine)
{
  cudnnBackendBehaviorNote_t notes[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
  gint64 n = 0;

  cudnnBackendGetAttribute (engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
      G_N_ELEMENTS (notes), &n, notes);
  for (gint64 i = 0; i < MIN (n, (gint64) G_N_ELEMENTS (notes)); i++)
    if (notes[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)
      return TRUE;
  return FALSE;
}

/* A plan with its device, not yet final. */
static gboolean
begin_plan (PirlConvEngine *engine, PirlConvPlan *plan, GError **error)
{
  return pirl_cudnn_ok (cudnnBackendCreateDescriptor (CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
          &plan->plan), "making a plan", error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (plan->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine->device), "a plan's device", error);
}

static gboolean
finish_plan (PirlConvPlan *plan, GError **error)
{
  gint64 bytes = 0, n = 0;

  if (!pirl_cudnn_ok (cudnnBackendFinalize (plan->plan), "making a plan", error)
      || !pirl_cudnn_ok (cudnnBackendGetAttribute (plan->plan,
              CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, &bytes),
          "a plan's workspace", error))
    return FALSE;
  plan->workspace = (gsize) MAX (bytes, 0);
  return TRUE;
}

/* Keeps the plan of @configuration if it is one that is looked for. */
static void
try_configuration (Search *search, cudnnBackendDescriptor_t configuration,
    cudnnBackendDescriptor_t engine)
{
  PirlConvPlan plan = { 0 };
  gint64 n = 0;

  if (cudnnBackendGetAttribute (configuration, CUDNN_ATTR_ENGINECFG_ENGINE,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) != CUDNN_STATUS_SUCCESS
      || !computes_as_asked (search->problem, engine))
    return;
  if (is_compiled (engine) && search->compiled-- == 0) {
    search->compiled = 0;
    return;
  }
  cudnnBackendGetAttribute (engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &n,
      &plan.engine);
  if (begin_plan (search->engine, &plan, NULL)
      && cudnnBackendSetAttribute (plan.plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &configuration) == CUDNN_STATUS_SUCCESS
      && finish_plan (&plan, NULL)) {
    if (plan.workspace + pirl_conv_bias_bytes (search->problem) <= search->engine->workspace) {
      g_array_append_val (search->plans, plan);
      search->most--;
      return;
    }
    if (search->least == 0 || plan.workspace < search->least)
      search->least = plan.workspace;
  }
  pirl_conv_plan_clear (&plan);
}

/* --- heuristics --- */

static void
try_configurations (Search *search, cudnnBackendDescriptor_t *configuration, gint64 n)
{
  for (gint64 i = 0; i < n && search->most > 0; i++) {
    cudnnBackendDescriptor_t engine = NULL;

    if (search->plans->len > 0 && g_get_monotonic_time () > search->deadline)
      return;
    if (cudnnBackendCreateDescriptor (CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine)
        == CUDNN_STATUS_SUCCESS)
      try_configuration (search, configuration[i], engine);
    pirl_cudnn_clear (&engine);
  }
}

/* Empty descriptors for cuDNN to fill. */
static gint64
make_configurations (cudnnBackendDescriptor_t *configuration, gint64 n)
{
  gint64 made = 0;

  while (made < n && cudnnBackendCreateDescriptor (CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
          &configuration[made]) == CUDNN_STATUS_SUCCESS)
    made++;
  return made;
}

static void
take_results (Search *search, cudnnBackendDescriptor_t heuristics)
{
  cudnnBackendDescriptor_t configuration[MOST_CONFIGURATIONS] = { NULL };
  gint64 n = 0, made;

  if (cudnnBackendGetAttribute (heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &n, NULL) != CUDNN_STATUS_SUCCESS)
    return;
  made = make_configurations (configuration, MIN (n, MOST_CONFIGURATIONS));
  if (made > 0 && cudnnBackendGetAttribute (heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, made, &n, configuration) == CUDNN_STATUS_SUCCESS) {
    n = MIN (n, made);
    search->offered += (guint) n;
    try_configurations (search, configuration, n);
  }
  while (made > 0)
    pirl_cudnn_clear (&configuration[--made]);
}

/* Asks in one @mode; that cuDNN knows nothing is no error. */
static gboolean
ask (Search *search, cudnnBackendDescriptor_t graph, cudnnBackendHeurMode_t mode, GError **error)
{
  cudnnBackendDescriptor_t heuristics = NULL;
  gboolean ok = pirl_cudnn_ok (cudnnBackendCreateDescriptor (CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR,
          &heuristics), "asking for plans", error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph), "asking for plans", error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (heuristics, CUDNN_ATTR_ENGINEHEUR_MODE,
          CUDNN_TYPE_HEUR_MODE, 1, &mode), "asking for plans", error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &search->engine->device), "asking for plans", error);

  if (ok && cudnnBackendFinalize (heuristics) == CUDNN_STATUS_SUCCESS)
    take_results (search, heuristics);
  pirl_cudnn_clear (&heuristics);
  return ok;
}

static gboolean
none_found (const Search *search, GError **error)
{
  g_autofree gchar *problem = pirl_conv_problem_describe (search->problem);
  g_autofree gchar *more = search->least == 0 ? NULL
      : g_strdup_printf ("; the smallest of the others needs %.1f MiB",
      search->least / MEGABYTE);

  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "%s has no plan for %s within %.0f MiB "
      "of workspace (of %u configurations%s)", search->engine->description, problem,
      search->engine->workspace / MEGABYTE, search->offered, more ? more : "");
  return FALSE;
}

static gboolean
search_plans (Search *search, GError **error)
{
  PirlConvGraph graph = { NULL };
  gboolean ok;

  if (!pirl_conv_graph_make (&graph, search->problem, error)) {
    g_autofree gchar *problem = pirl_conv_problem_describe (search->problem);

    g_prefix_error (error, "%s: ", problem);
    return FALSE;
  }
  search->deadline = g_get_monotonic_time () + search->engine->patience;
  ok = ask (search, graph.graph, CUDNN_HEUR_MODE_A, error);
  if (ok && search->plans->len < MIN (search->most + search->plans->len, FEW))
    ok = ask (search, graph.graph, CUDNN_HEUR_MODE_FALLBACK, error);
  pirl_conv_graph_clear (&graph);
  return ok && (search->plans->len > 0 || none_found (search, error));
}

/* --- the choice --- */

/* What cuDNN 9 has only its slow generic engine for, or only half of, is not asked for. */
static gboolean
is_offered (const PirlConvProblem *problem, GError **error)
{
  const gboolean exact = problem->dtype == PIRL_DTYPE_F32 && !problem->tf32;
  const gboolean tensor_cores = problem->kind == PIRL_CONV_FORWARD_SUMS
      || (problem->kind == PIRL_CONV_FORWARD_EPILOGUE && problem->activation == PIRL_ACT_RELU6);
  g_autofree gchar *text = NULL;

  if (!(exact && tensor_cores) && !(problem->prologue && problem->dtype != PIRL_DTYPE_F16))
    return TRUE;
  text = pirl_conv_problem_describe (problem);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "%s: %s", text, problem->prologue
      ? "cuDNN has prologues of both forward and d_weight in F16 only"
      : "cuDNN fuses this on tensor cores only, which round floats to TF32; forward and a pass of "
      "its own do not");
  return FALSE;
}

/* Runs all, leaves out those that fail, and puts the fastest first. FALSE: none runs. */
static gboolean
time_plans (GArray *plans, PirlConvBench *bench, GError **error)
{
  const guint tried = plans->len;
  guint best = 0;
  GError *failure = NULL;

  for (guint i = 0; i < plans->len;) {
    PirlConvPlan *plan = &g_array_index (plans, PirlConvPlan, i);

    g_clear_error (&failure);
    plan->tried = tried;
    if (pirl_conv_bench_time (bench, plan, &plan->ms, &failure)) {
      if (plan->ms < g_array_index (plans, PirlConvPlan, best).ms)
        best = i;
      i++;
    } else if (plans->len > 1) {
      g_array_remove_index (plans, i);
    } else {
      g_propagate_error (error, failure);
      return FALSE;
    }
  }
  g_clear_error (&failure);
  if (best > 0) {
    const PirlConvPlan first = g_array_index (plans, PirlConvPlan, 0);

    g_array_index (plans, PirlConvPlan, 0) = g_array_index (plans, PirlConvPlan, best);
    g_array_index (plans, PirlConvPlan, best) = first;
  }
  return TRUE;
}

/* Milliseconds of the best plan for another kind of the same convolution, with nothing behind it; 0
 * = there is none, or it was not timed. */
static gdouble
time_of (PirlConvEngine *engine, const PirlConvProblem *problem, PirlConvKind kind,
    gboolean prologue)
{
  PirlConvProblem other = *problem;
  PirlConv *conv;
  gdouble ms;

  other.kind = kind;
  other.prologue = prologue;
  other.activation = PIRL_ACT_NONE;
  other.residual = FALSE;
  conv = pirl_conv_new (engine, &other, NULL);
  ms = conv ? conv->plan.ms : 0;
  pirl_conv_free (conv);
  return ms;
}

/* Milliseconds of one way and of the other; 0 = not known. */
typedef struct {
  gdouble fused, apart;
  const gchar *together, *alone;        /* what they consist of */
} Contest;

/* A fused kind against forward and the pass over its output. */
static Contest
weigh_kind (PirlConvEngine *engine, const PirlConvProblem *problem, const PirlConvPlan *plan,
    const PirlConvPasses *passes)
{
  const gdouble forward = time_of (engine, problem, PIRL_CONV_FORWARD, FALSE);

  return (Contest) { plan->ms, forward > 0 ? forward + passes->output : 0, "",
    "forward alone and a pass over its output" };
}

/* A prologue of forward and of the weights' gradient against both without one, however forward then
 * is done best, and the pass over the input. */
static Contest
weigh_prologue (PirlConvEngine *engine, const PirlConvProblem *problem, const PirlConvPlan *plan,
    const PirlConvPasses *passes)
{
  const gdouble d_weight = time_of (engine, problem, PIRL_CONV_D_WEIGHT, TRUE);
  const gdouble plain_d_weight = time_of (engine, problem, PIRL_CONV_D_WEIGHT, FALSE);
  gdouble forward = time_of (engine, problem, PIRL_CONV_FORWARD_SUMS, FALSE);
  Contest contest = { 0, 0, " and its d_weight", "both without and a pass over the input" };

  if (forward == 0) {
    forward = time_of (engine, problem, PIRL_CONV_FORWARD, FALSE);
    forward += forward > 0 ? passes->output : 0;
  }
  if (d_weight > 0 && plain_d_weight > 0 && forward > 0) {
    contest.fused = plan->ms + d_weight;
    contest.apart = forward + plain_d_weight + passes->input;
  }
  return contest;
}

/* A way that is not known does not win: a fused kind stays then, a prologue does not. */
static gboolean
wins (const PirlConvProblem *problem, const Contest *contest)
{
  if (contest->apart == 0)
    return !problem->prologue;
  return contest->fused <= contest->apart;
}

/* Whether the fused @plan beats what it would be without. What was measured is kept. */
static gboolean
pays (PirlConvEngine *engine, const PirlConvProblem *problem, const PirlConvPlan *plan,
    const PirlConvPasses *passes, GError **error)
{
  g_autofree gchar *text = NULL, *refusal = NULL;
  Contest contest;

  if (passes->output == 0 && passes->input == 0)
    return TRUE;
  contest = problem->prologue ? weigh_prologue (engine, problem, plan, passes)
      : weigh_kind (engine, problem, plan, passes);
  if (wins (problem, &contest))
    return TRUE;
  text = pirl_conv_problem_describe (problem);
  refusal = contest.apart > 0 ? g_strdup_printf ("%s%s takes %.3f ms, %s %.3f ms", text,
      contest.together, contest.fused, contest.alone, contest.apart)
      : g_strdup_printf ("%s%s: there is no time of it, or not of %s", text, contest.together,
      contest.alone);
  if (contest.apart > 0)
    pirl_conv_cache_save (engine, problem, NULL, refusal);
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, refusal);
  return FALSE;
}

/* Without the memory to time them the heuristics' first stays, but no prologue. */
static gboolean
choose_by_time (PirlConvEngine *engine, const PirlConvProblem *problem, GArray *plans,
    GError **error)
{
  g_autoptr (GError) reason = NULL;
  PirlConvBench *bench = pirl_conv_bench_new (engine, problem, &reason);
  PirlConvPasses passes;
  gboolean ok;

  if (!bench && problem->prologue)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "a prologue is used where it is "
        "faster, and cannot be timed: %s", reason->message);
  if (!bench)
    return !problem->prologue;
  ok = time_plans (plans, bench, error) && pirl_conv_bench_passes (bench, &passes, error);
  pirl_conv_bench_free (bench);
  return ok && pays (engine, problem, &g_array_index (plans, PirlConvPlan, 0), &passes, error);
}

gboolean
pirl_conv_plan_choose (PirlConvEngine *engine, const PirlConvProblem *problem,
    PirlConvPlan *plan, GError **error)
{
  const gboolean timed = engine->handle && !problem->deterministic;
  Search search = { .engine = engine, .problem = problem, .most = timed ? TIMED : 1,
    .compiled = COMPILED };
  gboolean ok = is_offered (problem, error);

  search.plans = g_array_new (FALSE, FALSE, sizeof (PirlConvPlan));
  g_array_set_clear_func (search.plans, (GDestroyNotify) pirl_conv_plan_clear);
  ok = ok && search_plans (&search, error)
      && (!timed || choose_by_time (engine, problem, search.plans, error));
  if (ok) {
    *plan = g_array_index (search.plans, PirlConvPlan, 0);
    g_array_index (search.plans, PirlConvPlan, 0).plan = NULL;
  }
  g_array_unref (search.plans);
  return ok;
}

/* --- plans as text: kernels that were compiled for them are in it --- */

gboolean
pirl_conv_plan_load (PirlConvEngine *engine, const gchar *json, PirlConvPlan *plan, GError **error)
{
  if (begin_plan (engine, plan, error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (plan->plan,
              CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
              (gint64) strlen (json), json), "reading a plan", error)
      && finish_plan (plan, error))
    return TRUE;
  pirl_conv_plan_clear (plan);
  return FALSE;
}

gchar *
pirl_conv_plan_to_json (const PirlConvPlan *plan)
{
  gint64 n = 0;
  gchar *json = NULL;

  if (cudnnBackendGetAttribute (plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
          CUDNN_TYPE_CHAR, 0, &n, NULL) != CUDNN_STATUS_SUCCESS || n <= 0)
    return NULL;
  json = g_malloc0 ((gsize) n + 1);
  if (cudnnBackendGetAttribute (plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
          CUDNN_TYPE_CHAR, n, &n, json) != CUDNN_STATUS_SUCCESS)
    g_clear_pointer (&json, g_free);
  return json;
}

/* --- running --- */

/* What of @tensors a problem's graph has in memory. */
static gint64
list_tensors (const PirlConvProblem *problem, const PirlConvTensors *t, gint64 id[],
    gconstpointer address[])
{
  gint64 n = 0;

  id[n] = PIRL_CONV_INPUT, address[n++] = t->input;
  id[n] = PIRL_CONV_WEIGHT, address[n++] = t->weight;
  id[n] = PIRL_CONV_OUTPUT, address[n++] = t->output;
  if (problem->kind == PIRL_CONV_FORWARD_SUMS) {
    id[n] = PIRL_CONV_SUM, address[n++] = t->sum;
    id[n] = PIRL_CONV_SQUARES, address[n++] = t->squares;
  } else if (problem->kind == PIRL_CONV_FORWARD_EPILOGUE) {
    id[n] = PIRL_CONV_BIAS, address[n++] = t->bias;
    if (problem->residual)
      id[n] = PIRL_CONV_RESIDUAL, address[n++] = t->residual;
  }
  if (problem->prologue) {
    id[n] = PIRL_CONV_SCALE, address[n++] = t->scale;
    id[n] = PIRL_CONV_SHIFT, address[n++] = t->shift;
  }
  return n;
}

gboolean
pirl_conv_plan_bind (const PirlConvProblem *problem, const PirlConvTensors *tensors,
    gpointer workspace, cudnnBackendDescriptor_t *pack, GError **error)
{
  gint64 id[PIRL_CONV_VIRTUAL];
  gconstpointer address[PIRL_CONV_VIRTUAL];
  const gint64 n = list_tensors (problem, tensors, id, address);

  if (pirl_cudnn_ok (cudnnBackendCreateDescriptor (CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, pack),
          "binding a plan", error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (*pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS,
              CUDNN_TYPE_INT64, n, id), "binding a plan", error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (*pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
              CUDNN_TYPE_VOID_PTR, n, address), "binding a plan", error)
      && pirl_cudnn_ok (cudnnBackendSetAttribute (*pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE,
              CUDNN_TYPE_VOID_PTR, 1, &workspace), "binding a plan", error)
      && pirl_cudnn_ok (cudnnBackendFinalize (*pack), "binding a plan", error))
    return TRUE;
  pirl_cudnn_clear (pack);
  return FALSE;
}

gboolean
pirl_conv_plan_execute (PirlConvEngine *engine, const PirlConvPlan *plan,
    cudnnBackendDescriptor_t pack, cudaStream_t stream, GError **error)
{
  if (stream != engine->stream
      && !pirl_cudnn_ok (cudnnSetStream (engine->handle, stream), "choosing the stream", error))
    return FALSE;
  engine->stream = stream;
  return pirl_cudnn_ok (cudnnBackendExecute (engine->handle, plan->plan, pack),
      "running a convolution", error);
}
