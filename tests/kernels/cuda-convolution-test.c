/* gst-pirl: how convolutions are planned, timed, kept and run, on a simulated card.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   cuda-convolution-test DEVICE.json DRIVER
 *
 * cuDNN is real up to the plans, which it makes for the device that DEVICE.json describes (see
 * cuda-plans-test.c). What would use a card is defined here and found before the libraries': memory
 * is the host's, time is a number that runs and copies add to, and a run notes which plan it was
 * given and where its tensors are.
 */
#include <dlfcn.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/convolution-private.h"
#include "backends/cuda/pack.h"

#define WORKSPACE ((gsize) 64 << 20)
#define RUNS_A_PLAN 4           /* one to warm up, three timed */
#define BYTES_A_MS 1e9          /* a copy; so a pass over these small tensors takes no time */

/* --- the card --- */

/* What a variant pack was told. */
typedef struct {
  cudnnBackendDescriptor_t pack;
  gint64 n, n_addresses, id[8];
  gpointer address[8], workspace;
} Binding;

static struct {
  gdouble ms;                   /* time */
  guint runs, copies, streams_set, allocations;
  gboolean no_memory;
  /* What a run takes: ms[i] for the i-th plan that is seen, the last for all others; -1: it fails.
   * Forward takes @plain where that is set. */
  const gdouble *cost;
  guint n_costs;
  gdouble plain;
  GPtrArray *plans;             /* seen, as JSON */
  gdouble bytes_a_ms;
  /* What was bound last, and the last run's plan and binding. */
  Binding binding;
  guint plan, again;            /* its number, and how often it ran before in a row */
  guint notes;                  /* numerical notes of all that ran, as bits */
  cudnnBackendDescriptor_t pack;
  /* Of the last conversion. */
  const gfloat *dense;
  gpointer packed;
  PirlGpuWeights shape;
  guint conversions;
} card;

static const gchar *device_json;

static void
card_reset (const gdouble *cost, guint n_costs)
{
  g_clear_pointer (&card.plans, g_ptr_array_unref);
  memset (&card, 0, sizeof card);
  card.plans = g_ptr_array_new_with_free_func (g_free);
  card.cost = cost;
  card.n_costs = n_costs;
  card.bytes_a_ms = BYTES_A_MS;
}

void
pirl_gpu_pack_weights (const PirlGpuWeights *shape, PirlDType dtype, const gfloat *dense,
    const gfloat *scale, gpointer packed, cudaStream_t stream)
{
  g_assert_null (scale);
  card.shape = *shape;
  card.dense = dense;
  card.packed = packed;
  card.conversions++;
}

cudaError_t
cudaGetLastError (void)
{
  return cudaSuccess;
}

const char *
cudaGetErrorString (cudaError_t status)
{
  return status == cudaErrorMemoryAllocation ? "out of memory" : "some failure";
}

cudaError_t
cudaGetDevice (int *ordinal)
{
  return cudaErrorNoDevice;
}

cudaError_t
cudaGetDeviceProperties (struct cudaDeviceProp *properties, int ordinal)
{
  return cudaErrorNoDevice;
}

cudaError_t
cudaMalloc (void **memory, size_t bytes)
{
  if (card.no_memory)
    return cudaErrorMemoryAllocation;
  card.allocations++;
  *memory = g_malloc0 (bytes);
  return cudaSuccess;
}

cudaError_t
cudaFree (void *memory)
{
  if (memory)
    card.allocations--;
  g_free (memory);
  return cudaSuccess;
}

cudaError_t
cudaMemcpyAsync (void *dst, const void *src, size_t bytes, enum cudaMemcpyKind kind,
    cudaStream_t stream)
{
  memmove (dst, src, bytes);
  card.ms += bytes / card.bytes_a_ms;
  card.copies++;
  return cudaSuccess;
}

cudaError_t
cudaMemsetAsync (void *memory, int value, size_t bytes, cudaStream_t stream)
{
  card.ms += 100;               /* must not be in what is timed */
  return cudaSuccess;
}

cudaError_t
cudaStreamCreateWithFlags (cudaStream_t *stream, unsigned flags)
{
  card.allocations++;
  *stream = g_malloc0 (1);
  return cudaSuccess;
}

cudaError_t
cudaStreamDestroy (cudaStream_t stream)
{
  card.allocations--;
  g_free (stream);
  return cudaSuccess;
}

cudaError_t
cudaStreamSynchronize (cudaStream_t stream)
{
  return cudaSuccess;
}

cudaError_t
cudaEventCreate (cudaEvent_t *event)
{
  card.allocations++;
  *event = (gpointer) g_new0 (gdouble, 1);
  return cudaSuccess;
}

cudaError_t
cudaEventDestroy (cudaEvent_t event)
{
  card.allocations--;
  g_free (event);
  return cudaSuccess;
}

cudaError_t
cudaEventRecord (cudaEvent_t event, cudaStream_t stream)
{
  *(gdouble *) (gpointer) event = card.ms;
  return cudaSuccess;
}

cudaError_t
cudaEventSynchronize (cudaEvent_t event)
{
  return cudaSuccess;
}

cudaError_t
cudaEventElapsedTime (float *ms, cudaEvent_t start, cudaEvent_t stop)
{
  *ms = (gfloat) (*(gdouble *) (gpointer) stop - *(gdouble *) (gpointer) start);
  return cudaSuccess;
}

cudnnStatus_t
cudnnCreate (cudnnHandle_t *handle)
{
  *handle = g_malloc0 (1);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnDestroy (cudnnHandle_t handle)
{
  g_free (handle);
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t
cudnnSetStream (cudnnHandle_t handle, cudaStream_t stream)
{
  card.streams_set++;
  return CUDNN_STATUS_SUCCESS;
}

/* The number of a plan: the same for what was loaded from the same JSON. */
static guint
number_of (cudnnBackendDescriptor_t plan, gboolean *is_plain)
{
  const PirlConvPlan of = { .plan = plan };
  gchar *json = pirl_conv_plan_to_json (&of);
  guint i;

  g_assert_nonnull (json);
  *is_plain = strstr (json, "GEN_STATS") == NULL && strstr (json, "POINTWISE") == NULL;
  if (g_ptr_array_find_with_equal_func (card.plans, json, g_str_equal, &i)) {
    g_free (json);
    return i;
  }
  g_ptr_array_add (card.plans, json);
  return card.plans->len - 1;
}

/* cuDNN's numerical notes about a plan's engine, as bits. */
static guint
notes_of (cudnnBackendDescriptor_t plan)
{
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  cudnnBackendDescriptor_t configuration, engine;
  gint64 n;
  guint bits = 0;

  g_assert_cmpint (cudnnBackendCreateDescriptor (CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
          &configuration), ==, CUDNN_STATUS_SUCCESS);
  g_assert_cmpint (cudnnBackendCreateDescriptor (CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine), ==,
      CUDNN_STATUS_SUCCESS);
  g_assert_cmpint (cudnnBackendGetAttribute (plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &configuration), ==, CUDNN_STATUS_SUCCESS);
  g_assert_cmpint (cudnnBackendGetAttribute (configuration, CUDNN_ATTR_ENGINECFG_ENGINE,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine), ==, CUDNN_STATUS_SUCCESS);
  g_assert_cmpint (cudnnBackendGetAttribute (engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
          CUDNN_TYPE_NUMERICAL_NOTE, G_N_ELEMENTS (notes), &n, notes), ==, CUDNN_STATUS_SUCCESS);
  for (gint64 i = 0; i < n; i++)
    bits |= 1u << notes[i];
  cudnnBackendDestroyDescriptor (engine);
  cudnnBackendDestroyDescriptor (configuration);
  return bits;
}

static void
note (cudnnBackendDescriptor_t pack, gpointer to, gint64 n, gint64 most, gconstpointer values)
{
  g_assert_cmpint (n, <=, most);
  memcpy (to, values, n * sizeof (gint64));     /* pointers are as long */
  if (pack != card.binding.pack)
    card.binding.n = card.binding.n_addresses = 0;
  card.binding.pack = pack;
}

/* cuDNN's own, and a note of what is bound. */
cudnnStatus_t
cudnnBackendSetAttribute (cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
    cudnnBackendAttributeType_t type, int64_t n, const void *values)
{
  static __typeof__ (cudnnBackendSetAttribute) *real = NULL;

  if (!real)
    *(void **) &real = dlsym (RTLD_NEXT, "cudnnBackendSetAttribute");
  if (name == CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS) {
    note (descriptor, card.binding.id, n, G_N_ELEMENTS (card.binding.id), values);
    card.binding.n = n;
  } else if (name == CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS) {
    note (descriptor, card.binding.address, n, G_N_ELEMENTS (card.binding.address), values);
    card.binding.n_addresses = n;
  } else if (name == CUDNN_ATTR_VARIANT_PACK_WORKSPACE) {
    note (descriptor, &card.binding.workspace, n, 1, values);
  }
  return real (descriptor, name, type, n, values);
}

cudnnStatus_t
cudnnBackendExecute (cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
    cudnnBackendDescriptor_t pack)
{
  static const gdouble more[RUNS_A_PLAN] = { 8, 0.25, 0, 0.125 };       /* of runs in a row */
  gboolean is_plain;
  const guint number = number_of (plan, &is_plain);
  gdouble cost;

  card.again = card.runs++ > 0 && number == card.plan ? card.again + 1 : 0;
  card.plan = number;
  card.pack = pack;
  card.notes |= notes_of (plan);
  g_assert_true (pack == card.binding.pack);
  g_assert_cmpint (card.binding.n, ==, card.binding.n_addresses);
  cost = is_plain && card.plain > 0 ? card.plain
      : card.n_costs == 0 ? 1 : card.cost[MIN (card.plan, card.n_costs - 1)];
  if (cost < 0)
    return CUDNN_STATUS_EXECUTION_FAILED;
  card.ms += cost + more[MIN (card.again, RUNS_A_PLAN - 1)];
  return CUDNN_STATUS_SUCCESS;
}

/* --- a test's engine and problems --- */

typedef struct {
  gchar *cache;
  PirlConvEngine *engine;
} Fixture;

static void
remove_folder (const gchar *path)
{
  GDir *dir = g_dir_open (path, 0, NULL);
  const gchar *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree gchar *file = g_build_filename (path, name, NULL);

    g_remove (file);
  }
  if (dir)
    g_dir_close (dir);
  g_rmdir (path);
}

/* Each test has an empty cache. */
static void
setup (Fixture *f, gconstpointer unused)
{
  GError *error = NULL;

  card_reset (NULL, 0);
  f->engine = pirl_conv_engine_simulate (device_json, "Card: of/a test", WORKSPACE, &error);
  g_assert_no_error (error);
  f->engine->patience = G_MAXINT64 / 2; /* all plans, however slow the machine */
  f->cache = g_strdup (f->engine->cache);
  remove_folder (f->cache);
}

static void
teardown (Fixture *f, gconstpointer unused)
{
  g_assert_cmpuint (card.allocations, ==, 0);
  pirl_conv_engine_free (f->engine);
  remove_folder (f->cache);
  g_free (f->cache);
  card_reset (NULL, 0);
}

static PirlConvProblem
problem_of (PirlConvKind kind, PirlDType dtype)
{
  return (PirlConvProblem) { .kind = kind, .dtype = dtype, .input = { 8, 64, 16, 16 },
    .output = { 8, 64, 16, 16 }, .kernel = 3, .stride = 1, .padding = 1 };
}

static PirlConv *
make (Fixture *f, const PirlConvProblem *problem)
{
  GError *error = NULL;
  PirlConv *conv = pirl_conv_new (f->engine, problem, &error);

  g_assert_no_error (error);
  return conv;
}

static gchar *
only_file (const Fixture *f)
{
  GDir *dir = g_dir_open (f->cache, 0, NULL);
  gchar *path;

  g_assert_nonnull (dir);
  path = g_build_filename (f->cache, g_dir_read_name (dir), NULL);
  g_assert_null (g_dir_read_name (dir));
  g_dir_close (dir);
  return path;
}

/* --- choosing --- */

static void
test_fastest (Fixture *f, gconstpointer unused)
{
  static const gdouble cost[] = { 3, 2.5, -1, 1.25, 4 };
  const PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD, PIRL_DTYPE_BF16);
  PirlConv *conv;

  card_reset (cost, G_N_ELEMENTS (cost));
  conv = make (f, &problem);
  g_assert_cmpuint (card.runs, ==, 7 * RUNS_A_PLAN + 1);        /* the one that fails runs once */
  g_assert_cmpuint (card.streams_set, ==, 2);   /* there and back */
  g_assert_null (f->engine->stream);
  g_assert_cmpfloat (conv->plan.ms, ==, 1.25);
  g_assert_nonnull (strstr (pirl_conv_description (conv),
          "forward 3x3/1 8x16x16x64 -> 16x16x64, BF16: engine "));
  g_assert_nonnull (strstr (pirl_conv_description (conv), "1.250 ms (of 8 tried)"));
  pirl_conv_free (conv);
}

static void
test_nothing_runs (Fixture *f, gconstpointer unused)
{
  static const gdouble cost[] = { -1 };
  const PirlConvProblem problem = problem_of (PIRL_CONV_D_WEIGHT, PIRL_DTYPE_F16);
  GError *error = NULL;

  card_reset (cost, 1);
  g_assert_null (pirl_conv_new (f->engine, &problem, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND);
  g_assert_cmpuint (card.runs, ==, 8);
  g_error_free (error);
}

/* The heuristics' first, the next time as well. */
static void
test_deterministic (Fixture *f, gconstpointer unused)
{
  PirlConvProblem problem = problem_of (PIRL_CONV_D_INPUT, PIRL_DTYPE_F16);
  g_autofree gchar *json = NULL, *again = NULL;
  PirlConv *conv;

  problem.deterministic = TRUE;
  for (guint i = 0; i < 2; i++) {
    conv = make (f, &problem);
    g_free (json);
    json = g_steal_pointer (&again);
    again = pirl_conv_plan_to_json (&conv->plan);
    pirl_conv_free (conv);
  }
  g_assert_cmpstr (json, ==, again);
  g_assert_cmpuint (card.runs, ==, 0);
}

static void
test_no_memory (Fixture *f, gconstpointer unused)
{
  const PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD, PIRL_DTYPE_F16);
  PirlConv *conv;

  card.no_memory = TRUE;
  conv = make (f, &problem);
  g_assert_cmpuint (card.runs, ==, 0);
  g_assert_null (strstr (pirl_conv_description (conv), "tried"));
  g_assert_false (g_file_test (f->cache, G_FILE_TEST_EXISTS));
  pirl_conv_free (conv);
}

#define BIT(note) (1u << CUDNN_NUMERICAL_NOTE_##note)

/* What runs computes as asked: floats that may not be rounded not on tensor cores, nothing sums in
 * 16 bits, and atomic sums are for those only who do not want the same bits every time. */
static void
test_notes (Fixture *f, gconstpointer unused)
{
  for (guint i = 0; i < 16; i++) {
    PirlConvProblem problem = problem_of (i & 1 ? PIRL_CONV_D_WEIGHT : PIRL_CONV_D_INPUT,
        i & 2 ? PIRL_DTYPE_F16 : PIRL_DTYPE_F32);
    const gboolean exact = problem.dtype == PIRL_DTYPE_F32 && !(i & 4);
    guint never = BIT (DOWN_CONVERT_INPUTS) | BIT (REDUCED_PRECISION_REDUCTION);
    PirlConv *conv;

    if ((i & 3) == 3) {         /* a stem: cuDNN offers 16-bit sums for its weights */
      problem.kernel = 7, problem.stride = 2, problem.padding = 3;
      problem.input.c = 4, problem.output.h = problem.output.w = 8;
    }
    problem.tf32 = (i & 4) != 0;
    problem.deterministic = (i & 8) != 0;
    never |= (exact ? BIT (TENSOR_CORE) : 0)
        | (problem.deterministic ? BIT (NONDETERMINISTIC) : 0);
    card_reset (NULL, 0);
    conv = make (f, &problem);
    g_assert_cmpuint ((card.notes | notes_of (conv->plan.plan)) & never, ==, 0);
    if (!exact)
      g_assert_cmpuint (notes_of (conv->plan.plan) & BIT (TENSOR_CORE), !=, 0);
    pirl_conv_free (conv);
  }
}

/* No wait for what there is none of. */
static void
test_none (Fixture *f, gconstpointer unused)
{
  PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD_SUMS, PIRL_DTYPE_F32);
  GError *error = NULL;

  g_assert_null (pirl_conv_new (f->engine, &problem, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "forward and sums 3x3/1"));
  g_assert_cmpuint (card.runs, ==, 0);
  g_clear_error (&error);
  problem.kind = PIRL_CONV_FORWARD;
  problem.input.c = 62;
  g_assert_null (pirl_conv_new (f->engine, &problem, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
}

/* cuDNN's first choices for a stem want more than 1 MiB: they are passed over. */
static void
test_workspace (Fixture *f, gconstpointer unused)
{
  const PirlConvProblem problem = { .kind = PIRL_CONV_D_WEIGHT, .dtype = PIRL_DTYPE_BF16,
    .input = { 64, 8, 224, 224 }, .output = { 64, 64, 112, 112 }, .kernel = 7, .stride = 2,
    .padding = 3, .deterministic = TRUE };
  PirlConv *conv;

  f->engine->workspace = 1 << 20;
  conv = make (f, &problem);
  g_assert_cmpuint (pirl_conv_workspace (conv), <=, 1 << 20);
  pirl_conv_free (conv);
}

/* A fused kind is worth it, or not: against forward in 1 ms and a pass over 256 KiB. */
static void
test_fused (Fixture *f, gconstpointer unused)
{
  static const gdouble slow[] = { 1.75 }, fast[] = { 1.25 };
  const PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD_SUMS, PIRL_DTYPE_F16);
  const gdouble pass = 8 * 64 * 16 * 16 * 2 / 2;
  GError *error = NULL;
  PirlConv *conv;
  guint runs;

  for (guint i = 0; i < 2; i++) {
    card_reset (slow, 1);
    card.plain = 1;
    card.bytes_a_ms = pass / 0.5;
    g_assert_null (pirl_conv_new (f->engine, &problem, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
    g_assert_nonnull (strstr (error->message, "takes 1.750 ms"));
    g_assert_nonnull (strstr (error->message, "a pass over its output 1.500 ms"));
    g_clear_error (&error);
    if (i == 1)                 /* known by now */
      g_assert_cmpuint (card.runs, ==, 0);
  }
  remove_folder (f->cache);
  card_reset (fast, 1);
  card.plain = 1;
  card.bytes_a_ms = pass / 0.5;
  conv = make (f, &problem);
  g_assert_cmpfloat (conv->plan.ms, ==, 1.25);
  pirl_conv_free (conv);
  /* Forward was timed on the way. */
  runs = card.runs;
  conv = make (f, &(PirlConvProblem) { .kind = PIRL_CONV_FORWARD, .dtype = problem.dtype,
        .input = problem.input, .output = problem.output, .kernel = 3, .stride = 1,
        .padding = 1 });
  g_assert_cmpuint (card.runs, ==, runs);
  pirl_conv_free (conv);
}

static PirlConvProblem
prologue_of (PirlConvKind kind)
{
  PirlConvProblem problem = problem_of (kind, PIRL_DTYPE_F16);

  problem.prologue = TRUE;
  return problem;
}

/* Makes @problem, which must be refused with @words. */
static void
refuse (Fixture *f, const PirlConvProblem *problem, gint code, const gchar *words)
{
  GError *error = NULL;

  g_assert_null (pirl_conv_new (f->engine, problem, &error));
  g_assert_error (error, PIRL_ERROR, code);
  g_assert_nonnull (strstr (error->message, words));
  g_error_free (error);
}

/* Both with a prologue take @cost each, as do sums; without anything more a convolution takes 1 ms,
 * a pass over the input 0.5 ms, over the output's sums 0.25 ms. */
static void
card_with_prologues (const gdouble *cost, guint n_costs)
{
  card_reset (cost, n_costs);
  card.plain = 1;
  card.bytes_a_ms = 8 * 64 * 16 * 16 * 2 / 0.5;
}

/* Two convolutions are worth it, or not: against two without, the forward one with sums where that
 * is worth it. */
static void
test_prologue (Fixture *f, gconstpointer unused)
{
  static const gdouble slow[] = { 1.5 }, fast[] = { 1.25 };
  const PirlConvProblem forward = prologue_of (PIRL_CONV_FORWARD_SUMS);
  const PirlConvProblem d_weight = prologue_of (PIRL_CONV_D_WEIGHT);
  PirlConv *conv;
  guint runs;

  for (guint i = 0; i < 2; i++) {
    card_with_prologues (slow, 1);
    refuse (f, &forward, PIRL_ERROR_UNSUPPORTED, "takes 3.000 ms, both without and a pass over "
        "the input 2.750 ms");
    if (i == 1)                 /* known by now */
      g_assert_cmpuint (card.runs, ==, 0);
  }
  remove_folder (f->cache);
  card_with_prologues (fast, 1);
  conv = make (f, &forward);
  g_assert_cmpfloat (conv->plan.ms, ==, 1.25);
  g_assert_nonnull (strstr (pirl_conv_description (conv),
          "forward and sums of relu (scale x + shift) 3x3/1 8x16x16x64 -> 16x16x64, F16: engine "));
  pirl_conv_free (conv);
  /* What it was weighed with was kept on the way. */
  runs = card.runs;
  conv = make (f, &d_weight);
  pirl_conv_free (conv);
  g_assert_cmpuint (card.runs, ==, runs);
}

/* Without its time, or that of the other, a prologue is not used. */
static void
test_prologue_unknown (Fixture *f, gconstpointer unused)
{
  const PirlConvProblem forward = prologue_of (PIRL_CONV_FORWARD_SUMS);
  static const gdouble once[] = { 1, 1, 1, 1, 1, 1, 1, 1, -1 };
  PirlConvProblem other = forward;
  PirlConv *conv;

  card.no_memory = TRUE;
  refuse (f, &forward, PIRL_ERROR_UNSUPPORTED, "cannot be timed");
  g_assert_false (g_file_test (f->cache, G_FILE_TEST_EXISTS));
  card_with_prologues (once, G_N_ELEMENTS (once));
  refuse (f, &forward, PIRL_ERROR_UNSUPPORTED, "there is no time of it");
  /* Unjudged. */
  other.deterministic = TRUE;
  card_reset (NULL, 0);
  conv = make (f, &other);
  g_assert_cmpuint (card.runs, ==, 0);
  pirl_conv_free (conv);
  other = forward;
  other.dtype = PIRL_DTYPE_BF16;
  refuse (f, &other, PIRL_ERROR_UNSUPPORTED, "in F16 only");
  other = prologue_of (PIRL_CONV_FORWARD);
  refuse (f, &other, PIRL_ERROR_INVALID, "forward has no prologue");
}

/* --- keeping --- */

static void
test_cache (Fixture *f, gconstpointer unused)
{
  static const gdouble cost[] = { 3, 2, 1, 4 };
  const PirlConvProblem problem = problem_of (PIRL_CONV_D_WEIGHT, PIRL_DTYPE_BF16);
  PirlConv *first, *second;
  g_autofree gchar *json = NULL, *again = NULL, *path = NULL;

  g_assert_nonnull (strstr (f->cache, "gst-pirl/plans-Card--of-a-test-9."));
  card_reset (cost, G_N_ELEMENTS (cost));
  first = make (f, &problem);
  json = pirl_conv_plan_to_json (&first->plan);
  card_reset (cost, G_N_ELEMENTS (cost));
  second = make (f, &problem);
  again = pirl_conv_plan_to_json (&second->plan);
  g_assert_cmpuint (card.runs, ==, 0);
  g_assert_cmpstr (json, ==, again);
  g_assert_cmpstr (pirl_conv_description (first), ==, pirl_conv_description (second));
  g_assert_cmpuint (pirl_conv_workspace (first), ==, pirl_conv_workspace (second));
  path = only_file (f);
  pirl_conv_free (first);
  pirl_conv_free (second);
}

/* A kernel that was compiled for a plan is kept with it. */
static void
test_compiled (Fixture *f, gconstpointer unused)
{
  PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD_SUMS, PIRL_DTYPE_BF16);
  g_autofree gchar *path = NULL, *text = NULL;
  gint64 start;

  problem.deterministic = TRUE;
  pirl_conv_free (make (f, &problem));
  path = only_file (f);
  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  g_assert_nonnull (strstr (text, "\"kernelName\""));
  start = g_get_monotonic_time ();
  pirl_conv_free (make (f, &problem));
  g_test_message ("loaded in %.1f ms", (g_get_monotonic_time () - start) / 1e3);
}

/* Each way a file can be of no use: it is written anew. */
static void
test_broken (Fixture *f, gconstpointer unused)
{
  const PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD, PIRL_DTYPE_F16);
  g_autofree gchar *path = NULL, *good = NULL;
  g_auto (GStrv) line = NULL;
  gchar *broken[7];

  pirl_conv_free (make (f, &problem));
  path = only_file (f);
  g_assert_true (g_file_get_contents (path, &good, NULL, NULL));
  line = g_strsplit (good, "\n", 4);
  broken[0] = g_strdup ("");
  broken[1] = g_strndup (good, strlen (good) / 2);
  broken[2] = g_strdup_printf ("another magic\n%s\n%s\n%s", line[1], line[2], line[3]);
  broken[3] = g_strdup_printf ("%s\n%s, TF32\n%s\n%s", line[0], line[1], line[2], line[3]);
  broken[4] = g_strdup_printf ("%s\n%s\nengine x ms 1 tried 8\n%s", line[0], line[1], line[3]);
  broken[5] = g_strdup_printf ("%s\n%s\n%s\n{\"cudnnVersion\":80000}", line[0], line[1], line[2]);
  broken[6] = g_strdup_printf ("%s\n%s\n%s\n", line[0], line[1], line[2]);
  for (guint i = 0; i < G_N_ELEMENTS (broken); i++) {
    g_autofree gchar *text = NULL;

    g_assert_true (g_file_set_contents (path, broken[i], -1, NULL));
    card.runs = 0;
    pirl_conv_free (make (f, &problem));
    g_assert_cmpuint (card.runs, ==, 8 * RUNS_A_PLAN);
    g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
    g_assert_cmpstr (text, ==, good);
    g_free (broken[i]);
  }
}

/* Where nothing can be kept, planning works all the same. */
static void
test_no_folder (Fixture *f, gconstpointer unused)
{
  const PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD, PIRL_DTYPE_F16);

  g_free (f->engine->cache);
  f->engine->cache = g_strdup ("/dev/null/plans");
  pirl_conv_free (make (f, &problem));
  pirl_conv_free (make (f, &problem));
  g_assert_cmpuint (card.runs, ==, 2 * 8 * RUNS_A_PLAN);
}

/* --- running --- */

static const PirlConvTensors tensors = { .input = (gpointer) 0x1000, .weight = (gpointer) 0x2000,
  .output = (gpointer) 0x3000, .sum = (gpointer) 0x4000, .squares = (gpointer) 0x5000,
  .bias = (gpointer) 0x6000, .residual = (gpointer) 0x7000, .scale = (gpointer) 0x8000,
  .shift = (gpointer) 0xa000 };

static void
run (PirlConv *conv, const PirlConvTensors *t, gpointer workspace, gpointer stream)
{
  GError *error = NULL;

  g_assert_true (pirl_conv_run (conv, t, workspace, stream, &error));
  g_assert_no_error (error);
}

/* Every tensor is where its number says, and nothing else is bound. */
static void
check_bound (gint64 n, const gint64 *id, const gpointer *address, gpointer workspace)
{
  g_assert_cmpint (card.binding.n, ==, n);
  for (gint64 i = 0; i < n; i++) {
    g_assert_cmpint (card.binding.id[i], ==, id[i]);
    g_assert_true (card.binding.address[i] == address[i]);
  }
  g_assert_true (card.binding.workspace == workspace);
}

static void
test_run (Fixture *f, gconstpointer unused)
{
  static const gint64 id[] = { PIRL_CONV_INPUT, PIRL_CONV_WEIGHT, PIRL_CONV_OUTPUT, PIRL_CONV_SUM,
    PIRL_CONV_SQUARES };
  const gpointer address[] = { tensors.input, tensors.weight, tensors.output, tensors.sum,
    tensors.squares };
  const gpointer workspace = (gpointer) 0x100000, stream = (gpointer) 0x10;
  PirlConvTensors others = tensors;
  cudnnBackendDescriptor_t pack;

  for (PirlConvKind kind = 0; kind < PIRL_N_CONV_KINDS; kind++) {
    PirlConvProblem problem = problem_of (kind, PIRL_DTYPE_F16);
    PirlConv *conv;

    if (kind == PIRL_CONV_FORWARD_EPILOGUE)
      continue;
    problem.deterministic = TRUE;
    conv = make (f, &problem);
    card.streams_set = 0;
    f->engine->stream = NULL;
    run (conv, &tensors, workspace, stream);
    check_bound (kind == PIRL_CONV_FORWARD_SUMS ? 5 : 3, id, address, workspace);
    pack = card.pack;
    run (conv, &tensors, workspace, stream);
    g_assert_true (card.pack == pack);  /* the same memory: nothing to do */
    g_assert_cmpuint (card.streams_set, ==, 1);
    others.output = (gpointer) 0x9000;
    run (conv, &others, workspace, (gpointer) 0x20);
    g_assert_true (card.binding.address[2] == others.output);
    g_assert_cmpuint (card.streams_set, ==, 2);
    run (conv, &others, (gpointer) 0x200000, (gpointer) 0x20);
    g_assert_true (card.binding.workspace == (gpointer) 0x200000);
    pirl_conv_free (conv);
  }
  g_assert_cmpuint (card.conversions, ==, 0);
}

/* A bias in 16 bits is converted at every run, at the head of the workspace; with a clip at 6 it
 * stays in floats. */
static void
test_epilogue (Fixture *f, gconstpointer unused)
{
  static const gint64 id[] = { PIRL_CONV_INPUT, PIRL_CONV_WEIGHT, PIRL_CONV_OUTPUT,
    PIRL_CONV_BIAS, PIRL_CONV_RESIDUAL };
  guint8 *workspace = (guint8 *) 0x100000;

  for (guint i = 0; i < 4; i++) {
    const gboolean floats = i >= 2, residual = i % 2;
    const gpointer address[] = { tensors.input, tensors.weight, tensors.output,
      floats ? (gpointer) tensors.bias : workspace, (gpointer) tensors.residual };
    PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD_EPILOGUE, PIRL_DTYPE_BF16);
    PirlConv *conv;

    problem.activation = floats ? PIRL_ACT_RELU6 : PIRL_ACT_RELU;
    problem.residual = residual;
    problem.deterministic = TRUE;
    conv = make (f, &problem);
    card.conversions = 0;
    run (conv, &tensors, workspace, NULL);
    run (conv, &tensors, workspace, NULL);
    check_bound (residual ? 5 : 4, id, address, floats ? workspace : workspace + 256);
    g_assert_cmpuint (card.conversions, ==, floats ? 0 : 2);
    if (!floats) {
      g_assert_true (card.dense == tensors.bias && card.packed == workspace);
      g_assert_cmpint (card.shape.out * card.shape.in * card.shape.kernel, ==, 64);
      g_assert_cmpuint (pirl_gpu_weights_count (&card.shape), ==, 64);
    }
    g_assert_cmpuint (pirl_conv_workspace (conv), ==, conv->plan.workspace + (floats ? 0 : 256));
    pirl_conv_free (conv);
  }
}

static void
test_run_prologue (Fixture *f, gconstpointer unused)
{
  const gint64 sums[] = { PIRL_CONV_INPUT, PIRL_CONV_WEIGHT, PIRL_CONV_OUTPUT, PIRL_CONV_SUM,
    PIRL_CONV_SQUARES, PIRL_CONV_SCALE, PIRL_CONV_SHIFT };
  const gint64 d_weight[] = { PIRL_CONV_INPUT, PIRL_CONV_WEIGHT, PIRL_CONV_OUTPUT,
    PIRL_CONV_SCALE, PIRL_CONV_SHIFT };
  const gpointer of_sums[] = { tensors.input, tensors.weight, tensors.output, tensors.sum,
    tensors.squares, (gpointer) tensors.scale, (gpointer) tensors.shift };
  const gpointer of_d_weight[] = { tensors.input, tensors.weight, tensors.output,
    (gpointer) tensors.scale, (gpointer) tensors.shift };
  const gpointer workspace = (gpointer) 0x100000;

  for (guint i = 0; i < 2; i++) {
    PirlConvProblem problem = prologue_of (i ? PIRL_CONV_D_WEIGHT : PIRL_CONV_FORWARD_SUMS);
    PirlConv *conv;

    problem.deterministic = TRUE;
    conv = make (f, &problem);
    run (conv, &tensors, workspace, NULL);
    if (i)
      check_bound (G_N_ELEMENTS (d_weight), d_weight, of_d_weight, workspace);
    else
      check_bound (G_N_ELEMENTS (sums), sums, of_sums, workspace);
    g_assert_cmpuint (card.conversions, ==, 0);
    pirl_conv_free (conv);
  }
}

static void
test_not_there (void)
{
  const PirlConvProblem problem = problem_of (PIRL_CONV_FORWARD, PIRL_DTYPE_F16);
  GError *error = NULL;
  PirlConvEngine *engine = pirl_conv_engine_new (device_json, WORKSPACE, &error);
  PirlConv *conv;

  g_assert_no_error (error);
  conv = pirl_conv_new (engine, &problem, &error);
  g_assert_no_error (error);
  g_assert_false (pirl_conv_run (conv, &tensors, NULL, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
  g_clear_error (&error);
  pirl_conv_free (conv);
  pirl_conv_engine_free (engine);
  g_assert_null (pirl_conv_engine_new ("{}", WORKSPACE, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND);
  g_clear_error (&error);
  g_assert_null (pirl_conv_engine_new (NULL, WORKSPACE, &error));
  g_assert_nonnull (error);
  g_clear_error (&error);
}

#define TEST(path, function) \
  g_test_add ("/cuda-convolution/" path, Fixture, NULL, setup, function, teardown)

int
main (int argc, char **argv)
{
  g_autofree gchar *cache = g_dir_make_tmp ("pirl-plans-XXXXXX", NULL);
  g_autofree gchar *json = NULL, *folder = NULL;
  GError *error = NULL;
  int status;

  g_setenv ("XDG_CACHE_HOME", cache, TRUE);
  g_test_init (&argc, &argv, NULL);
  if (argc != 3 || !dlopen (argv[2], RTLD_NOW | RTLD_GLOBAL)
      || !g_file_get_contents (argv[1], &json, NULL, &error)) {
    g_printerr ("usage: %s DEVICE.json DRIVER%s%s\n", argv[0], error ? ": " : "",
        error ? error->message : "");
    return 2;
  }
  device_json = json;
  TEST ("fastest", test_fastest);
  TEST ("nothing-runs", test_nothing_runs);
  TEST ("deterministic", test_deterministic);
  TEST ("no-memory", test_no_memory);
  TEST ("notes", test_notes);
  TEST ("none", test_none);
  TEST ("workspace", test_workspace);
  TEST ("fused", test_fused);
  TEST ("prologue", test_prologue);
  TEST ("prologue-unknown", test_prologue_unknown);
  TEST ("cache", test_cache);
  TEST ("compiled", test_compiled);
  TEST ("broken", test_broken);
  TEST ("no-folder", test_no_folder);
  TEST ("run", test_run);
  TEST ("run-prologue", test_run_prologue);
  TEST ("epilogue", test_epilogue);
  g_test_add_func ("/cuda-convolution/not-there", test_not_there);
  status = g_test_run ();
  g_clear_pointer (&card.plans, g_ptr_array_unref);
  folder = g_build_filename (cache, "gst-pirl", NULL);
  g_rmdir (folder);
  g_rmdir (cache);
  return status;
}
