/* gst-pirl: values that two units of the CUDA backend share half done (unit_fuse), on a card or on
 * the emulated one.
 *
 *   PIRL_CUDA_MODULE=... net-fuse-test
 *
 * A network that is trained with them must do what it does without, as far as F16 goes: both are
 * held against the reference, and may be about as far from it. Skipped where there is no CUDA device.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net-common.h"

enum { BATCH = 8, SIZE = 32, DIM = 8, STEPS = 3, REPLAYED = 5 };

#define RATE 1e-4
#define SKIPPED 77

typedef struct {
  PirlDevice *device;
  PirlBackend backend;          /* its own, but for unit_fuse */
  PirlGraph *graph;
  PirlParams *params;
  PirlPool *pool;
  PirlPlan *plan;
  PirlValue embedding, inside;  /* the output; a value between two convolutions */
  gpointer direction;           /* the gradient of the embeddings, on the device */
} Net;

/* --- which units are fused --- */

static gboolean (*real_fuse) (PirlUnitPlan *producer, PirlUnitPlan *consumer,
    PirlTensorDesc *value, PirlUnitMemory *memory);
static guint asked, fused;

static gboolean
counting_fuse (PirlUnitPlan *producer, PirlUnitPlan *consumer, PirlTensorDesc *value,
    PirlUnitMemory *memory)
{
  const PirlTensorDesc value_before = *value;
  const PirlUnitMemory memory_before = *memory;
  const gboolean done = real_fuse (producer, consumer, value, memory);

  asked++;
  fused += done ? 1 : 0;
  if (done) {
    g_assert_cmpuint (value->bytes, >, value_before.bytes);
    g_assert_cmpuint (memory->saved + value_before.bytes, <=, memory_before.saved);
  } else {
    g_assert_cmpmem (value, sizeof *value, &value_before, sizeof value_before);
    g_assert_cmpmem (memory, sizeof *memory, &memory_before, sizeof memory_before);
  }
  return done;
}

/* --- networks --- */

/* A bottleneck: 1x1, 3x3, 1x1 + residual; @depthwise: its 3x3 is. */
static PirlValue
build_block (Net *net, PirlValue input, guint number, gint width, gint channels, gint stride,
    gboolean depthwise)
{
  const gboolean project = pirl_graph_dims (net->graph, input).c != channels;
  gchar *conv[4], *bn[4];
  PirlValue residual = input, value;

  for (guint i = 0; i < 4; i++) {
    conv[i] = g_strdup_printf ("block%u.conv%u", number, i);
    bn[i] = g_strdup_printf ("block%u.bn%u", number, i);
  }
  if (project)
    residual = pirl_graph_conv_bn (net->graph, input, conv[0], bn[0], channels, 1, stride, 0, 1,
        PIRL_NO_VALUE, PIRL_ACT_NONE);
  value = pirl_graph_conv_bn (net->graph, input, conv[1], bn[1], width, 1, 1, 0, 1, PIRL_NO_VALUE,
      PIRL_ACT_RELU);
  net->inside = value;
  value = pirl_graph_conv_bn (net->graph, value, conv[2], bn[2], width, 3, stride, 1,
      depthwise ? width : 1, PIRL_NO_VALUE, PIRL_ACT_RELU);
  value = pirl_graph_conv_bn (net->graph, value, conv[3], bn[3], channels, 1, 1, 0, 1, residual,
      PIRL_ACT_RELU);
  for (guint i = 0; i < 4; i++) {
    g_free (conv[i]);
    g_free (bn[i]);
  }
  return value;
}

/* Widths that are no multiples of 8 as well, and a value with two readers behind the stem and each
 * block. */
static void
build (Net *net)
{
  PirlValue value;

  net->graph = pirl_graph_new ();
  value = pirl_graph_input (net->graph, BATCH, SIZE, test_mean, test_std);
  value = pirl_graph_conv_bn (net->graph, value, "stem", "stem_bn", 16, 3, 2, 1, 1, PIRL_NO_VALUE,
      PIRL_ACT_RELU);
  value = build_block (net, value, 1, 8, 24, 1, FALSE);
  value = build_block (net, value, 2, 12, 20, 2, FALSE);
  value = build_block (net, value, 3, 16, 20, 1, TRUE);
  value = build_block (net, value, 4, 41, 20, 1, FALSE);
  net->embedding = pirl_graph_linear (net->graph, pirl_graph_avgpool (net->graph, value), "head",
      DIM, PIRL_ACT_NONE);
}

/* What the backend is asked about: within the blocks 8 values; the pictures, the last map, its
 * mean. */
#define ASKED (8 + 3)
/* Not the one that a depthwise convolution reads. */
#define FUSED (8 - 1)

typedef struct {
  const gchar *device, *fuse;
  PirlMode mode;
  PirlDType dtype;
  gboolean keep;                /* the last value inside of a block is an output too */
} Way;

static void
net_init (Net *net, const Way *way)
{
  PirlValue outputs[2];
  g_autoptr (GError) error = NULL;

  if (way->fuse)
    g_setenv ("PIRL_CUDA_FUSE", way->fuse, TRUE);
  else
    g_unsetenv ("PIRL_CUDA_FUSE");
  asked = fused = 0;
  *net = (Net) { .device = pirl_device_open (way->device, 2, TRUE, &error) };
  g_assert_no_error (error);
  net->backend = *net->device->backend;
  real_fuse = net->backend.unit_fuse;
  if (real_fuse)
    net->backend.unit_fuse = counting_fuse;
  net->device->backend = &net->backend;
  build (net);
  net->params = pirl_params_new (net->device, &net->graph, 1, TRUE, &error);
  g_assert_no_error (error);
  pirl_params_init (net->params, 11, &error);
  g_assert_no_error (error);
  net->pool = pirl_pool_new (net->device);
  outputs[0] = net->embedding;
  outputs[1] = net->inside;
  net->plan = pirl_plan_new (net->graph, net->params, net->pool, way->mode, way->dtype, outputs,
      way->keep ? 2 : 1, &error);
  g_assert_no_error (error);
  net->direction = net->backend.alloc (net->device, BATCH * DIM * sizeof (gdouble), &error);
  g_assert_no_error (error);
}

static void
net_clear (Net *net)
{
  net->backend.free (net->device, net->direction);
  pirl_plan_free (net->plan);
  pirl_params_free (net->params);
  pirl_pool_free (net->pool);
  pirl_graph_free (net->graph);
  pirl_device_close (net->device);
}

/* One step of gradient descent on the embeddings' product with a direction. */
static void
net_step (Net *net, const guint8 *const *pictures, gboolean in_step)
{
  const gsize bytes = BATCH * DIM * pirl_dtype_size (net->device->param_dtype);
  g_autoptr (GError) error = NULL;

  if (in_step)
    net->backend.step_begin (net->device, &error);
  g_assert_no_error (error);
  pirl_params_zero_gradients (net->params, &error);
  g_assert_no_error (error);
  pirl_plan_forward (net->plan, pictures, TRUE, NULL, &error);
  g_assert_no_error (error);
  net->backend.copy (net->device, pirl_plan_gradient (net->plan, net->embedding), net->direction,
      bytes, &error);
  g_assert_no_error (error);
  pirl_plan_backward (net->plan, NULL, &error);
  g_assert_no_error (error);
  pirl_params_sgd (net->params, RATE, 0.9, 1e-4, FALSE, &error);
  g_assert_no_error (error);
  if (in_step) {
    PirlStepResult result;

    net->backend.step_launch (net->device, &error);
    g_assert_no_error (error);
    net->backend.step_end (net->device, &result, &error);
    g_assert_no_error (error);
    g_assert_true (result.finite);
  }
}

/* What the input of a depthwise convolution is multiplied with, the batch norm behind it takes
 * away: there is no gradient but rounding. */
#define WITHOUT_GRADIENT "block3.bn1.weight"

/* Values or gradients: a GArray of floats for each parameter, empty where there are none. */
static GPtrArray *
net_read (Net *net, PirlArena arena)
{
  GPtrArray *all = g_ptr_array_new_with_free_func ((GDestroyNotify) g_array_unref);

  for (guint i = 0; i < pirl_params_count (net->params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (net->params, i);
    GArray *one = g_array_new (FALSE, FALSE, sizeof (gfloat));

    g_ptr_array_add (all, one);
    if (pirl_params_data (net->params, arena, i)
        && !(arena == PIRL_ARENA_GRADIENT && strcmp (spec->name, WITHOUT_GRADIENT) == 0)) {
      g_autofree gfloat *values = test_read_param (net->params, arena, i);

      g_array_append_vals (one, values, (guint) pirl_shape_count (&spec->shape));
    }
  }
  return all;
}

/* --- tests --- */

typedef struct {
  gfloat embedding[BATCH * DIM];
  GPtrArray *gradients, *values;
} Outcome;

/* What @steps steps leave behind. */
static Outcome
net_train (Net *net, guint steps, gboolean in_steps)
{
  g_autofree guint8 *pictures = test_pictures (BATCH, SIZE, 5);
  g_autofree const guint8 **pointers = test_pointers (pictures, BATCH, SIZE * SIZE * 3);
  g_autofree gfloat *direction = test_normals (BATCH * DIM, 3);
  g_autoptr (GError) error = NULL;
  Outcome outcome;

  test_upload (net->device, net->direction, direction, BATCH * DIM);
  for (guint i = 0; i < steps; i++)
    net_step (net, pointers, in_steps);
  pirl_plan_read (net->plan, net->embedding, outcome.embedding, &error);
  g_assert_no_error (error);
  outcome.gradients = net_read (net, PIRL_ARENA_GRADIENT);
  outcome.values = net_read (net, PIRL_ARENA_VALUE);
  return outcome;
}

static void
outcome_clear (Outcome *outcome)
{
  g_ptr_array_unref (outcome->gradients);
  g_ptr_array_unref (outcome->values);
}

/* Of the parameter that is furthest from that of @b. */
static gdouble
apart (const GPtrArray *a, const GPtrArray *b)
{
  gdouble worst = 0;

  g_assert_cmpuint (a->len, ==, b->len);
  for (guint i = 0; i < a->len; i++) {
    const GArray *x = g_ptr_array_index (a, i), *y = g_ptr_array_index (b, i);

    g_assert_cmpuint (x->len, ==, y->len);
    worst = fmax (worst, test_relative ((const gfloat *) (gpointer) x->data,
            (const gfloat *) (gpointer) y->data, x->len));
  }
  return worst;
}

/* Who is asked, and where the answer is no. */
static void
test_asked (void)
{
  static const struct {
    Way way;
    guint asked, fused;
  } cases[] = {
    { { "cuda", "1", PIRL_MODE_TRAIN, PIRL_DTYPE_F16, FALSE }, ASKED, FUSED },
    { { "cuda", "1", PIRL_MODE_TRAIN, PIRL_DTYPE_F16, TRUE }, ASKED - 1, FUSED - 1 },
    { { "cuda", "0", PIRL_MODE_TRAIN, PIRL_DTYPE_F16, FALSE }, ASKED, 0 },
    { { "cuda", NULL, PIRL_MODE_TRAIN, PIRL_DTYPE_F16, FALSE }, ASKED, 0 },  /* deterministic */
    { { "cuda", "1", PIRL_MODE_TRAIN, PIRL_DTYPE_BF16, FALSE }, ASKED, 0 },
    { { "cuda", "1", PIRL_MODE_TRAIN, PIRL_DTYPE_F32, FALSE }, ASKED, 0 },
    { { "cuda", "1", PIRL_MODE_INFER, PIRL_DTYPE_F16, FALSE }, ASKED, 0 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    Net net;

    net_init (&net, &cases[i].way);
    g_assert_cmpuint (asked, ==, cases[i].asked);
    g_assert_cmpuint (fused, ==, cases[i].fused);
    net_clear (&net);
  }
}

/* Embeddings, gradients and parameters are as far from the reference as without, after one step and
 * after more; there is less memory. */
static void
test_trains (void)
{
  static const Way ways[] = {
    { "reference", "0", PIRL_MODE_TRAIN, PIRL_DTYPE_F32, FALSE },
    { "cuda", "0", PIRL_MODE_TRAIN, PIRL_DTYPE_F16, FALSE },
    { "cuda", "1", PIRL_MODE_TRAIN, PIRL_DTYPE_F16, FALSE },
  };
  static const gchar *const what[] = { "embeddings", "gradients", "values" };

  for (guint steps = 1; steps <= STEPS; steps += STEPS - 1) {
    gsize bytes[G_N_ELEMENTS (ways)];
    Outcome outcome[G_N_ELEMENTS (ways)];
    gdouble from[G_N_ELEMENTS (ways)][3];

    for (guint i = 0; i < G_N_ELEMENTS (ways); i++) {
      Net net;

      net_init (&net, &ways[i]);
      bytes[i] = pirl_plan_bytes (net.plan);
      outcome[i] = net_train (&net, steps, FALSE);
      net_clear (&net);
      from[i][0] = test_relative (outcome[i].embedding, outcome[0].embedding, BATCH * DIM);
      from[i][1] = apart (outcome[i].gradients, outcome[0].gradients);
      from[i][2] = apart (outcome[i].values, outcome[0].values);
    }
    for (guint k = 0; k < G_N_ELEMENTS (what); k++) {
      g_test_message ("%u steps, %s: from the reference %.2g plain, %.2g fused", steps, what[k],
          from[1][k], from[2][k]);
      g_assert_cmpfloat (from[2][k], <, 3 * from[1][k]);
      g_assert_cmpfloat (from[2][k], >, 0);
    }
    g_assert_cmpuint (bytes[2], <, bytes[1]);
    for (guint i = 0; i < G_N_ELEMENTS (ways); i++)
      outcome_clear (&outcome[i]);
  }
}

/* Steps from a graph are the plain ones, bit for bit. */
static void
test_replayed (void)
{
  static const Way way = { "cuda", "1", PIRL_MODE_TRAIN, PIRL_DTYPE_F16, FALSE };
  Outcome outcome[2];

  for (guint i = 0; i < 2; i++) {
    Net net;

    net_init (&net, &way);
    g_assert_cmpuint (fused, ==, FUSED);
    outcome[i] = net_train (&net, REPLAYED, i == 1);
    net_clear (&net);
  }
  g_assert_cmpmem (outcome[0].embedding, sizeof outcome[0].embedding, outcome[1].embedding,
      sizeof outcome[1].embedding);
  g_assert_cmpfloat (apart (outcome[0].gradients, outcome[1].gradients), ==, 0);
  g_assert_cmpfloat (apart (outcome[0].values, outcome[1].values), ==, 0);
  for (guint i = 0; i < 2; i++)
    outcome_clear (&outcome[i]);
}

static gboolean
have_device (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlDevice) device = pirl_device_open ("cuda", 1, TRUE, &error);

  if (!device)
    g_print ("no CUDA device: %s\n", error->message);
  return device != NULL;
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!have_device ())
    return SKIPPED;
  g_test_add_func ("/fuse/asked", test_asked);
  g_test_add_func ("/fuse/trains", test_trains);
  g_test_add_func ("/fuse/replayed", test_replayed);
  return g_test_run ();
}
