/* gst-pirl: networks of vectors: forward, backward and Adam against PyTorch
 * (net-mlp-golden.json, written by net-mlp-golden.py).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <json-glib/json-glib.h>

#include "net-common.h"

/* What the inputs' rounding to float32 leaves. */
#define TOLERANCE 3e-6

enum { BATCH = 5, INPUTS = 13, OUTPUTS = 3, STEPS = 5 };

static const gchar *golden_path;

/* The recipe of net-mlp-golden.py. */
static const struct {
  const gchar *name;
  gdouble scale;
} arrays[] = {
  {"input", 1.0},
  {"target", 2.0},
  {"q.0.weight", 0.4},
  {"q.0.bias", 0.1},
  {"q.1.weight", 0.5},
  {"q.1.bias", 0.1},
  {"q.2.weight", 0.6},
  {"q.2.bias", 0.1},
};

static gfloat *
recipe (const gchar *name, gsize n)
{
  gfloat *values = g_new (gfloat, n);
  guint r = 0;

  while (!g_str_equal (arrays[r].name, name))
    r++;
  for (gsize i = 0; i < n; i++)
    values[i] = (gfloat) (arrays[r].scale * sin (0.7 * i + r));
  return values;
}

typedef struct {
  JsonParser *parser;
  JsonObject *golden;
  PirlDevice *device;
  PirlGraph *graph;
  PirlParams *params;
  PirlPool *pool;
  PirlPlan *plan;
  PirlValue input, output;
} Mlp;

static gfloat *
golden_array (JsonObject *object, const gchar *name, gsize n)
{
  JsonArray *array = json_object_get_array_member (object, name);
  gfloat *values = g_new (gfloat, n);

  g_assert_cmpuint (json_array_get_length (array), ==, n);
  for (guint i = 0; i < n; i++)
    values[i] = (gfloat) json_array_get_double_element (array, i);
  return values;
}

static void
mlp_init (Mlp *mlp, const gchar *device, PirlMode mode)
{
  g_autoptr (GError) error = NULL;
  PirlValue h;

  *mlp = (Mlp) { .parser = json_parser_new () };
  json_parser_load_from_file (mlp->parser, golden_path, &error);
  g_assert_no_error (error);
  mlp->golden = json_node_get_object (json_parser_get_root (mlp->parser));
  mlp->device = pirl_device_open (device, 1, TRUE, &error);
  g_assert_no_error (error);
  mlp->graph = pirl_graph_new ();
  mlp->input = pirl_graph_vectors (mlp->graph, BATCH, INPUTS);
  h = pirl_graph_linear (mlp->graph, mlp->input, "q.0", 8, PIRL_ACT_RELU);
  h = pirl_graph_linear (mlp->graph, h, "q.1", 6, PIRL_ACT_RELU6);
  mlp->output = pirl_graph_linear (mlp->graph, h, "q.2", OUTPUTS, PIRL_ACT_NONE);
  mlp->params = pirl_params_new (mlp->device, &mlp->graph, 1, TRUE, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < pirl_params_count (mlp->params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (mlp->params, i);
    g_autofree gfloat *values = recipe (spec->name, pirl_shape_count (&spec->shape));

    pirl_params_write (mlp->params, PIRL_ARENA_VALUE, i, values, &error);
    g_assert_no_error (error);
  }
  mlp->pool = pirl_pool_new (mlp->device);
  mlp->plan = pirl_plan_new (mlp->graph, mlp->params, mlp->pool, mode, PIRL_DTYPE_F32,
      &mlp->output, 1, &error);
  g_assert_no_error (error);
  pirl_plan_prepare (mlp->plan, &error);
  g_assert_no_error (error);
}

static void
mlp_clear (Mlp *mlp)
{
  pirl_plan_free (mlp->plan);
  pirl_params_free (mlp->params);
  pirl_pool_free (mlp->pool);
  pirl_graph_free (mlp->graph);
  pirl_device_close (mlp->device);
  g_object_unref (mlp->parser);
}

static void
mlp_forward (Mlp *mlp, gfloat output[BATCH * OUTPUTS])
{
  g_autofree gfloat *input = recipe ("input", BATCH * INPUTS);
  g_autoptr (GError) error = NULL;

  pirl_plan_forward_floats (mlp->plan, input, TRUE, NULL, &error);
  g_assert_no_error (error);
  pirl_plan_read (mlp->plan, mlp->output, output, &error);
  g_assert_no_error (error);
}

/* Forward and backward of 0.5 |output - target|^2; returns that. */
static gdouble
mlp_pass (Mlp *mlp)
{
  g_autofree gfloat *target = recipe ("target", BATCH * OUTPUTS);
  gfloat output[BATCH * OUTPUTS];
  g_autoptr (GError) error = NULL;
  gdouble loss = 0;

  mlp_forward (mlp, output);
  for (guint i = 0; i < G_N_ELEMENTS (output); i++) {
    output[i] -= target[i];
    loss += 0.5 * output[i] * output[i];
  }
  pirl_params_zero_gradients (mlp->params, &error);
  g_assert_no_error (error);
  test_upload (mlp->device, pirl_plan_gradient (mlp->plan, mlp->output), output,
      G_N_ELEMENTS (output));
  pirl_plan_backward (mlp->plan, NULL, &error);
  g_assert_no_error (error);
  return loss;
}

static void
mlp_compare (Mlp *mlp, PirlArena arena, const gchar *member)
{
  for (guint i = 0; i < pirl_params_count (mlp->params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (mlp->params, i);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gfloat *values = test_read_param (mlp->params, arena, i);
    g_autofree gfloat *golden = golden_array (json_object_get_object_member (mlp->golden, member),
        spec->name, n);
    const gdouble error = test_relative (values, golden, n);

    if (!(error < TOLERANCE))
      g_error ("%s of %s are off by %.2g", member, spec->name, error);
  }
}

static void
test_training (gconstpointer device)
{
  JsonArray *losses;
  Mlp mlp;

  mlp_init (&mlp, device, PIRL_MODE_TRAIN);
  losses = json_object_get_array_member (mlp.golden, "losses");
  for (guint step = 1; step <= STEPS; step++) {
    const gdouble golden = json_array_get_double_element (losses, step - 1);
    g_autoptr (GError) error = NULL;

    g_assert_cmpfloat (fabs (mlp_pass (&mlp) - golden), <, TOLERANCE * golden);
    if (step == 1)
      mlp_compare (&mlp, PIRL_ARENA_GRADIENT, "gradients");
    pirl_params_adam (mlp.params, step, 0.02, 0.9, 0.999, 1e-7, 0.01, &error);
    g_assert_no_error (error);
  }
  mlp_compare (&mlp, PIRL_ARENA_VALUE, "weights");
  mlp_clear (&mlp);
}

static void
test_inference (gconstpointer device)
{
  g_autofree gfloat *golden = NULL;
  gfloat output[BATCH * OUTPUTS];
  Mlp mlp;

  mlp_init (&mlp, device, PIRL_MODE_INFER);
  golden = golden_array (mlp.golden, "output", BATCH * OUTPUTS);
  for (guint repeat = 0; repeat < 2; repeat++) {
    mlp_forward (&mlp, output);
    g_assert_cmpfloat (test_relative (output, golden, G_N_ELEMENTS (output)), <, TOLERANCE);
  }
  mlp_clear (&mlp);
}

/* The rows are not overwritten by what runs before they are read: here a unit of another input. */
static void
test_second_input (gconstpointer device)
{
  g_autoptr (PirlDevice) opened = pirl_device_open (device, 1, TRUE, NULL);
  g_autoptr (PirlGraph) graph = pirl_graph_new ();
  const PirlValue a = pirl_graph_vectors (graph, 4, 64);
  const PirlValue wide = pirl_graph_linear (graph, a, "wide", 300, PIRL_ACT_NONE);
  const PirlValue narrow = pirl_graph_linear (graph, wide, "narrow", 64, PIRL_ACT_NONE);
  const PirlValue outputs[] = { pirl_graph_l2norm (graph, pirl_graph_vectors (graph, 4, 64)),
    pirl_graph_l2norm (graph, narrow) };
  g_autoptr (PirlParams) params = pirl_params_new (opened, &graph, 1, FALSE, NULL);
  g_autoptr (PirlPool) pool = pirl_pool_new (opened);
  g_autoptr (PirlPlan) plan = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree gfloat *input = test_normals (4 * 64, 3);
  gfloat unit[4 * 64];

  pirl_params_init (params, 1, &error);
  g_assert_no_error (error);
  plan = pirl_plan_new (graph, params, pool, PIRL_MODE_INFER, PIRL_DTYPE_F32, outputs, 2, &error);
  g_assert_no_error (error);
  g_assert_true (pirl_plan_prepare (plan, &error)
      && pirl_plan_forward_floats (plan, input, FALSE, NULL, &error)
      && pirl_plan_read (plan, outputs[0], unit, &error));
  for (guint row = 0; row < 4; row++) {
    gdouble square = 0;

    for (guint i = 0; i < 64; i++)
      square += (gdouble) input[row * 64 + i] * input[row * 64 + i];
    for (guint i = 0; i < 64; i++)
      input[row * 64 + i] /= sqrt (square);
  }
  g_assert_cmpfloat (test_relative (unit, input, 4 * 64), <, 1e-6);
}

static void
test_pictures_refused (gconstpointer device)
{
  const guint8 pixels[INPUTS] = { 0 };
  const guint8 *const pictures[BATCH] = { pixels, pixels, pixels, pixels, pixels };
  g_autoptr (GError) error = NULL;
  Mlp mlp;

  mlp_init (&mlp, device, PIRL_MODE_INFER);
  g_assert_false (pirl_plan_forward (mlp.plan, pictures, FALSE, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  mlp_clear (&mlp);
}

/* A resumed optimiser's second moment can be written before its first step. */
static void
test_moments (gconstpointer device)
{
  g_autofree gfloat *second = NULL, *read = NULL;
  g_autoptr (GError) error = NULL;
  Mlp mlp;
  gsize n;

  mlp_init (&mlp, device, PIRL_MODE_TRAIN);
  n = pirl_shape_count (&pirl_params_spec (mlp.params, 0)->shape);
  g_assert_null (pirl_params_data (mlp.params, PIRL_ARENA_SECOND, 0));
  second = test_normals (n, 5);
  pirl_params_write (mlp.params, PIRL_ARENA_SECOND, 0, second, &error);
  g_assert_no_error (error);
  read = test_read_param (mlp.params, PIRL_ARENA_SECOND, 0);
  g_assert_cmpmem (read, n * sizeof *read, second, n * sizeof *second);
  mlp_clear (&mlp);
}

int
main (int argc, char **argv)
{
  static const gchar *const devices[] = { "reference", "cpu" };
  static const struct {
    const gchar *name;
    GTestDataFunc run;
  } tests[] = {
    {"training", test_training},
    {"inference", test_inference},
    {"second-input", test_second_input},
    {"pictures-refused", test_pictures_refused},
    {"moments", test_moments},
  };

  g_test_init (&argc, &argv, NULL);
  golden_path = argv[1];
  for (guint d = 0; d < G_N_ELEMENTS (devices); d++)
    for (guint t = 0; t < G_N_ELEMENTS (tests); t++) {
      g_autofree gchar *path = g_strdup_printf ("/mlp/%s/%s", devices[d], tests[t].name);

      g_test_add_data_func (path, devices[d], tests[t].run);
    }
  return g_test_run ();
}
