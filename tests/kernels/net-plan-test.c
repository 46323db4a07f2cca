/* gst-pirl: planner: layout of blocks, gradients of whole networks, shared memory.
 *
 * The truth is outside: no two blocks alive together may overlap (checked pair by pair); gradients
 * of the reference backend are held against central differences of the loss; the cpu backend is
 * held against the reference; a plan gives the same bits whatever ran in its memory in between.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gio/gio.h>

#include "net-common.h"
#include "net/liveness.h"
#include "net/resnet.h"

#define DIM 12
#define PATCHES 4
/* Of central differences: small, for an untrained deep network has many corners nearby. Weights are
 * rounded to float32 after the step; the difference that was really made is what counts. */
#define STEP 2e-8

/* --- layout --- */

static void
test_layout_random (void)
{
  for (guint round = 0; round < 200; round++) {
    PirlBlock blocks[80];
    gsize total, busiest = 0;
    guint n;
    PirlRng rng;

    pirl_rng_init (&rng, 1, 0, round, PIRL_PURPOSE_TEST);
    n = 1 + pirl_rng_below (&rng, G_N_ELEMENTS (blocks));
    for (guint i = 0; i < n; i++) {
      blocks[i].bytes = 1 + pirl_rng_below (&rng, 1 << pirl_rng_below (&rng, 16));
      blocks[i].first = (gint) pirl_rng_below (&rng, 40);
      blocks[i].last = blocks[i].first + (gint) pirl_rng_below (&rng, 20);
    }
    total = pirl_layout (blocks, n);
    for (guint i = 0; i < n; i++) {
      g_assert_cmpuint (blocks[i].offset % 64, ==, 0);
      g_assert_cmpuint (blocks[i].offset + blocks[i].bytes, <=, total);
      for (guint k = 0; k < i; k++) {
        const gboolean together = blocks[i].first <= blocks[k].last
            && blocks[k].first <= blocks[i].last;

        g_assert_true (!together || blocks[i].offset + blocks[i].bytes <= blocks[k].offset
            || blocks[k].offset + blocks[k].bytes <= blocks[i].offset);
      }
    }
    for (gint step = 0; step < 60; step++) {
      gsize alive = 0;

      for (guint i = 0; i < n; i++)
        if (blocks[i].first <= step && step <= blocks[i].last)
          alive += blocks[i].bytes;
      busiest = MAX (busiest, alive);
    }
    g_assert_cmpuint (total, >=, busiest);
    /* Greedy by size is within a few per cent on networks; random blocks fragment more. */
    g_assert_cmpuint (total, <=, busiest * 2 + 64 * n);
  }
}

/* --- networks --- */

typedef struct {
  PirlDevice *device;
  PirlGraph *graph;
  PirlParams *params;
  PirlPool *pool;
  PirlPlan *plan;
  PirlValue embedding, level;
  guint n;                      /* pictures */
  gint size;
} Net;

static void
net_build (Net *net, const gchar *arch, gint width, PirlHead head, gboolean patches)
{
  PirlResnet resnet;
  PirlValue levels[PIRL_N_LEVELS], pooled;
  g_autoptr (GError) error = NULL;

  pirl_resnet_from_name (arch, width, &resnet, &error);
  g_assert_no_error (error);
  net->graph = pirl_graph_new ();
  pirl_resnet_build (net->graph, &resnet, pirl_graph_input (net->graph, (gint) net->n, net->size,
          test_mean, test_std), levels);
  pooled = pirl_graph_avgpool (net->graph, levels[PIRL_RES5]);
  net->level = pirl_graph_avgpool (net->graph, levels[PIRL_RES3]);
  net->embedding = patches ? pirl_head_g (net->graph, head, pooled, PATCHES, DIM)
      : pirl_head_f (net->graph, head, pooled, DIM);
}

/* A network with head f on a device of its own. */
static void
net_init (Net *net, const gchar *device, const gchar *arch, gint width, PirlHead head)
{
  g_autoptr (GError) error = NULL;

  *net = (Net) { .n = 8, .size = 40 };
  net->device = pirl_device_open (device, 2, TRUE, &error);
  g_assert_no_error (error);
  net_build (net, arch, width, head, FALSE);
  net->params = pirl_params_new (net->device, &net->graph, 1, TRUE, &error);
  g_assert_no_error (error);
  pirl_params_init (net->params, 11, &error);
  g_assert_no_error (error);
  net->pool = pirl_pool_new (net->device);
}

static void
net_plan (Net *net, PirlMode mode)
{
  const PirlValue outputs[] = { net->embedding, net->level };
  g_autoptr (GError) error = NULL;

  net->plan = pirl_plan_new (net->graph, net->params, net->pool, mode, PIRL_DTYPE_F32, outputs,
      G_N_ELEMENTS (outputs), &error);
  g_assert_no_error (error);
  pirl_plan_prepare (net->plan, &error);
  g_assert_no_error (error);
}

static void
net_clear (Net *net)
{
  pirl_plan_free (net->plan);
  pirl_params_free (net->params);
  pirl_pool_free (net->pool);
  pirl_graph_free (net->graph);
  pirl_device_close (net->device);
}

static gsize
net_outputs (const Net *net, PirlValue value)
{
  return pirl_dims_count (pirl_graph_dims (net->graph, value));
}

static void
net_forward (Net *net, const guint8 *pictures, gboolean update)
{
  g_autofree const guint8 **pointers = test_pointers (pictures, net->n,
      (gsize) net->size * net->size * 3);
  g_autoptr (GError) error = NULL;

  pirl_plan_forward (net->plan, pointers, update, NULL, &error);
  g_assert_no_error (error);
}

/* Loss = sum of @d times the embeddings. */
static gdouble
net_loss (Net *net, const guint8 *pictures, const gfloat *d)
{
  const gsize n = net_outputs (net, net->embedding);
  g_autofree gfloat *embedding = g_new (gfloat, n);
  g_autoptr (GError) error = NULL;
  gdouble loss = 0;

  net_forward (net, pictures, FALSE);
  if (net->device->param_dtype == PIRL_DTYPE_F64) {
    const gdouble *exact = pirl_plan_data (net->plan, net->embedding);

    for (gsize i = 0; i < n; i++)
      loss += d[i] * exact[i];
    return loss;
  }
  pirl_plan_read (net->plan, net->embedding, embedding, &error);
  g_assert_no_error (error);
  for (gsize i = 0; i < n; i++)
    loss += (gdouble) d[i] * embedding[i];
  return loss;
}

static void
net_backward (Net *net, const gfloat *d)
{
  g_autoptr (GError) error = NULL;

  pirl_params_zero_gradients (net->params, &error);
  g_assert_no_error (error);
  test_upload (net->device, pirl_plan_gradient (net->plan, net->embedding), d,
      net_outputs (net, net->embedding));
  pirl_plan_backward (net->plan, NULL, &error);
  g_assert_no_error (error);
}

/* The loss's change when parameter @i moves by @h along @direction, and what the gradient says. */
static void
net_difference (Net *net, guint i, const gfloat *gradient, gdouble h, const guint8 *pictures,
    const gfloat *d, gdouble *measured, gdouble *expected)
{
  const gsize n = pirl_shape_count (&pirl_params_spec (net->params, i)->shape);
  g_autofree gfloat *value = test_read_param (net->params, PIRL_ARENA_VALUE, i);
  g_autofree gfloat *direction = test_normals (n, 100 + i);
  g_autofree gfloat *up = g_new (gfloat, n), *down = g_new (gfloat, n);
  const gfloat *const moved[2] = { up, down };
  gdouble loss[2];
  g_autoptr (GError) error = NULL;

  *expected = 0;
  for (gsize k = 0; k < n; k++) {
    up[k] = (gfloat) (value[k] + h * direction[k]);
    down[k] = (gfloat) (value[k] - h * direction[k]);
    *expected += gradient[k] * ((gdouble) up[k] - down[k]);
  }
  for (guint side = 0; side < 2; side++) {
    pirl_params_write (net->params, PIRL_ARENA_VALUE, i, moved[side], &error);
    g_assert_no_error (error);
    loss[side] = net_loss (net, pictures, d);
  }
  pirl_params_write (net->params, PIRL_ARENA_VALUE, i, value, &error);
  g_assert_no_error (error);
  *measured = loss[0] - loss[1];
}

/* Reference gradients through residual blocks, views and heads against central differences. */
static void
test_finite_differences (void)
{
  static const struct {
    const gchar *arch;
    PirlHead head;
    gboolean patches;
    gint size;
  } cases[] = {
    {"resnet18", PIRL_HEAD_MLP, FALSE, 32},
    {"resnet18", PIRL_HEAD_BN, TRUE, 32},
    {"resnet50", PIRL_HEAD_LINEAR, FALSE, 64},
  };

  for (guint c = 0; c < G_N_ELEMENTS (cases); c++) {
    Net net = { .n = 16, .size = cases[c].size };
    g_autofree guint8 *pictures = test_pictures (net.n, net.size, 5);
    g_autofree gfloat *d = NULL;
    g_autoptr (GError) error = NULL;
    guint n_params = 0, n_close = 0;
    gdouble worst = 0;

    net.device = pirl_device_open ("reference", 1, TRUE, &error);
    g_assert_no_error (error);
    net_build (&net, cases[c].arch, 4, cases[c].head, cases[c].patches);
    net.params = pirl_params_new (net.device, &net.graph, 1, TRUE, &error);
    g_assert_no_error (error);
    pirl_params_init (net.params, 11, &error);
    net.pool = pirl_pool_new (net.device);
    net_plan (&net, PIRL_MODE_TRAIN);
    d = test_normals (net_outputs (&net, net.embedding), 3);
    net_loss (&net, pictures, d);
    net_backward (&net, d);
    for (guint i = 0; i < pirl_params_count (net.params); i += 3) {
      g_autofree gfloat *gradient = NULL;
      gdouble measured, expected, deviation, scale = 0;
      gsize n = pirl_shape_count (&pirl_params_spec (net.params, i)->shape);

      if (!pirl_params_data (net.params, PIRL_ARENA_GRADIENT, i))
        continue;
      gradient = test_read_param (net.params, PIRL_ARENA_GRADIENT, i);
      for (gsize k = 0; k < n; k++)
        scale += (gdouble) gradient[k] * gradient[k];
      net_difference (&net, i, gradient, STEP, pictures, d, &measured, &expected);
      /* Relative to the length of the step times that of the gradient. */
      deviation = fabs (measured - expected) / (2 * STEP * sqrt (scale) + 1e-11);
      worst = MAX (worst, deviation);
      n_params++;
      n_close += deviation < 1e-5;
    }
    g_test_message ("%s: central differences agree to 1e-5 for %u of %u parameters, the others to "
        "%.2g", cases[c].arch, n_close, n_params, worst);
    /* Where a step takes a ReLU over its corner the difference is no derivative. */
    g_assert_cmpuint (n_close * 10, >=, n_params * 8);
    g_assert_cmpfloat (worst, <, 0.05);
    net_clear (&net);
  }
}

static void
test_cpu_against_reference (void)
{
  static const struct {
    const gchar *arch;
    gint width;
    PirlHead head;
    gdouble forward, gradient;  /* relative L2 allowed; an untrained ResNet-50 amplifies rounding */
  } cases[] = {
    {"resnet18", 8, PIRL_HEAD_MLP, 1e-5, 5e-5},
    {"resnet18", 8, PIRL_HEAD_BN, 1e-5, 5e-5},
    {"resnet50", 4, PIRL_HEAD_LINEAR, 3e-4, 1e-2},
  };

  for (guint c = 0; c < G_N_ELEMENTS (cases); c++) {
    Net nets[2];
    static const gchar *const devices[] = { "cpu", "reference" };
    g_autofree guint8 *pictures = test_pictures (8, 40, 5);
    g_autofree gfloat *d = test_normals (8 * DIM, 3);
    gfloat *out[2], *level[2];
    g_autoptr (GError) error = NULL;
    gdouble worst = 0;

    for (guint i = 0; i < 2; i++) {
      net_init (&nets[i], devices[i], cases[c].arch, cases[c].width, cases[c].head);
      net_plan (&nets[i], PIRL_MODE_TRAIN);
      net_forward (&nets[i], pictures, TRUE);
      out[i] = g_new (gfloat, net_outputs (&nets[i], nets[i].embedding));
      level[i] = g_new (gfloat, net_outputs (&nets[i], nets[i].level));
      net_backward (&nets[i], d);
      /* Outputs stay readable after the backward pass. */
      pirl_plan_read (nets[i].plan, nets[i].embedding, out[i], &error);
      g_assert_no_error (error);
      pirl_plan_read (nets[i].plan, nets[i].level, level[i], &error);
      g_assert_no_error (error);
    }
    g_assert_cmpfloat (test_relative (out[0], out[1], 8 * DIM), <, cases[c].forward);
    g_assert_cmpfloat (test_relative (level[0], level[1], net_outputs (&nets[0], nets[0].level)),
        <, cases[c].forward);
    for (guint i = 0; i < pirl_params_count (nets[0].params); i++) {
      const PirlParamSpec *spec = pirl_params_spec (nets[0].params, i);
      const gboolean trained = pirl_params_data (nets[0].params, PIRL_ARENA_GRADIENT, i) != NULL;
      const PirlArena arena = trained ? PIRL_ARENA_GRADIENT : PIRL_ARENA_VALUE;
      g_autofree gfloat *a = test_read_param (nets[0].params, arena, i);
      g_autofree gfloat *b = test_read_param (nets[1].params, arena, i);
      const gdouble relative = test_relative (a, b, pirl_shape_count (&spec->shape));

      /* The bias in front of a batch norm has no gradient but rounding. */
      if (strcmp (spec->name, "head.f.hidden.bias") == 0)
        continue;
      if (relative > worst)
        g_test_message ("%s width %d: %s %.2g", cases[c].arch, cases[c].width, spec->name,
            relative);
      worst = MAX (worst, relative);
    }
    g_assert_cmpfloat (worst, <, cases[c].gradient);
    for (guint i = 0; i < 2; i++) {
      g_free (out[i]);
      g_free (level[i]);
      net_clear (&nets[i]);
    }
  }
}

/* All gradients of @net, one after the other. */
static GByteArray *
net_gradients (Net *net)
{
  GByteArray *all = g_byte_array_new ();

  for (guint i = 0; i < pirl_params_count (net->params); i++) {
    g_autofree gfloat *values = NULL;

    if (!pirl_params_data (net->params, PIRL_ARENA_GRADIENT, i))
      continue;
    values = test_read_param (net->params, PIRL_ARENA_GRADIENT, i);
    g_byte_array_append (all, (guint8 *) values,
        (guint) (pirl_shape_count (&pirl_params_spec (net->params, i)->shape) * sizeof (gfloat)));
  }
  return all;
}

/* A second plan that needs more is made in the same pool and runs in between: same bits, and the
 * pool has grown to the larger of both, not to their sum. */
static void
test_shared_pool (void)
{
  Net net, other;
  PirlGraph *graphs[2];
  g_autofree guint8 *pictures = test_pictures (8, 40, 5), *more = test_pictures (48, 32, 6);
  g_autofree gfloat *d = test_normals (8 * DIM, 3), *d_other = test_normals (12 * DIM, 4);
  g_autoptr (GByteArray) first = NULL, second = NULL;
  g_autoptr (GError) error = NULL;

  net = (Net) { .n = 8, .size = 40 };
  net.device = pirl_device_open ("cpu", 2, TRUE, &error);
  g_assert_no_error (error);
  net_build (&net, "resnet18", 8, PIRL_HEAD_BN, FALSE);
  other = (Net) { .n = 48, .size = 32, .device = net.device };
  net_build (&other, "resnet18", 8, PIRL_HEAD_BN, TRUE);
  graphs[0] = net.graph;
  graphs[1] = other.graph;
  net.params = other.params = pirl_params_new (net.device, graphs, 2, TRUE, &error);
  g_assert_no_error (error);
  pirl_params_init (net.params, 11, &error);
  net.pool = other.pool = pirl_pool_new (net.device);
  net_plan (&net, PIRL_MODE_TRAIN);
  g_assert_cmpuint (pirl_pool_bytes (net.pool), ==, pirl_plan_bytes (net.plan));
  net_loss (&net, pictures, d);
  net_backward (&net, d);
  first = net_gradients (&net);

  net_plan (&other, PIRL_MODE_TRAIN);
  g_assert_cmpuint (pirl_pool_bytes (net.pool), ==,
      MAX (pirl_plan_bytes (net.plan), pirl_plan_bytes (other.plan)));
  net_loss (&other, more, d_other);
  net_backward (&other, d_other);
  net_loss (&net, pictures, d);
  net_backward (&net, d);
  second = net_gradients (&net);
  g_assert_cmpmem (first->data, first->len, second->data, second->len);

  pirl_plan_free (other.plan);
  pirl_graph_free (other.graph);
  net_clear (&net);
}

/* Inference needs much less memory than training, skips units no output needs, and agrees with the
 * reference. */
static void
test_infer (void)
{
  Net train, infer, reference;
  g_autofree guint8 *pictures = test_pictures (8, 40, 5);
  g_autofree gfloat *a = NULL, *b = NULL;
  PirlPlan *level;
  g_autoptr (GError) error = NULL;

  net_init (&train, "cpu", "resnet18", 8, PIRL_HEAD_BN);
  net_plan (&train, PIRL_MODE_TRAIN);
  net_init (&infer, "cpu", "resnet18", 8, PIRL_HEAD_BN);
  net_plan (&infer, PIRL_MODE_INFER);
  net_init (&reference, "reference", "resnet18", 8, PIRL_HEAD_BN);
  net_plan (&reference, PIRL_MODE_INFER);
  g_test_message ("memory: train %" G_GSIZE_FORMAT ", infer %" G_GSIZE_FORMAT,
      pirl_plan_bytes (train.plan), pirl_plan_bytes (infer.plan));
  g_assert_cmpuint (pirl_plan_bytes (infer.plan) * 3, <, pirl_plan_bytes (train.plan));
  net_forward (&infer, pictures, FALSE);
  net_forward (&reference, pictures, FALSE);
  a = g_new (gfloat, 8 * DIM);
  b = g_new (gfloat, 8 * DIM);
  pirl_plan_read (infer.plan, infer.embedding, a, &error);
  g_assert_no_error (error);
  pirl_plan_read (reference.plan, reference.embedding, b, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (test_relative (a, b, 8 * DIM), <, 2e-5);

  /* Only res3: the rest of the network is not planned, and reading it says so. */
  level = pirl_plan_new (infer.graph, infer.params, infer.pool, PIRL_MODE_INFER, PIRL_DTYPE_F32,
      &infer.level, 1, &error);
  g_assert_no_error (error);
  g_assert_false (pirl_plan_read (level, infer.embedding, a, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_false (pirl_plan_backward (level, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  pirl_plan_free (level);
  net_clear (&train);
  net_clear (&infer);
  net_clear (&reference);
}

/* Dense floats in place of pictures give what the pictures give. */
static void
test_forward_floats (void)
{
  Net net;
  g_autofree guint8 *pictures = test_pictures (8, 40, 5);
  g_autofree gfloat *dense = g_new (gfloat, 8 * 3 * 1600);
  g_autofree gfloat *a = g_new (gfloat, 8 * DIM), *b = g_new (gfloat, 8 * DIM);
  g_autoptr (GError) error = NULL;

  for (gsize n = 0; n < 8; n++)
    for (gsize c = 0; c < 3; c++)
      for (gsize i = 0; i < 1600; i++)
        dense[(n * 3 + c) * 1600 + i] = (pictures[(n * 1600 + i) * 3 + c] / 255.0f - test_mean[c])
            / test_std[c];
  net_init (&net, "cpu", "resnet18", 8, PIRL_HEAD_BN);
  net_plan (&net, PIRL_MODE_INFER);
  net_forward (&net, pictures, FALSE);
  pirl_plan_read (net.plan, net.embedding, a, &error);
  g_assert_no_error (error);
  pirl_plan_forward_floats (net.plan, dense, FALSE, NULL, &error);
  g_assert_no_error (error);
  pirl_plan_read (net.plan, net.embedding, b, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (test_relative (a, b, 8 * DIM), <, 1e-5);
  net_clear (&net);
}

static void
test_cancel (void)
{
  Net net;
  g_autofree guint8 *pictures = test_pictures (8, 40, 5);
  g_autofree const guint8 **pointers = test_pointers (pictures, 8, 4800);
  const gint cancel = 1;
  g_autoptr (GError) error = NULL;

  net_init (&net, "cpu", "resnet18", 4, PIRL_HEAD_BN);
  net_plan (&net, PIRL_MODE_TRAIN);
  g_assert_false (pirl_plan_forward (net.plan, pointers, TRUE, &cancel, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  net_clear (&net);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/plan/layout-random", test_layout_random);
  g_test_add_func ("/plan/finite-differences", test_finite_differences);
  g_test_add_func ("/plan/cpu-against-reference", test_cpu_against_reference);
  g_test_add_func ("/plan/shared-pool", test_shared_pool);
  g_test_add_func ("/plan/infer", test_infer);
  g_test_add_func ("/plan/forward-floats", test_forward_floats);
  g_test_add_func ("/plan/cancel", test_cancel);
  return g_test_run ();
}
