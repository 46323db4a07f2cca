/* gst-pirl: times the units of ResNet-50 at 224 x 224 on the tested backend.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Values are in the backend's own layouts, as inside of a network. A convolution of n x c -> k
 * planes counts 2 n k c/groups kernel^2 h w operations forward, twice that backward (once where no
 * input gradient is needed); others are judged by the bytes they must move: ms only.
 */
#include "units-checks.h"

#define SEED 31
#define SECONDS 0.3             /* of each measurement; the best run of it counts */
#define MIN_RUNS 3

/* @times: how often ResNet-50 has it. */
static const struct {
  const gchar *name;
  PirlUnitKind kind;
  gint times, in, out, size, kernel, stride;
  gboolean residual;
  PirlActivation activation;
} shapes[] = {
  { "stem 7x7", PIRL_UNIT_CONV, 1, 3, 64, 224, 7, 2, FALSE, PIRL_ACT_RELU },
  { "max pool", PIRL_UNIT_MAXPOOL, 1, 64, 64, 112, 3, 2 },
  { "res2 1x1 first", PIRL_UNIT_CONV, 1, 64, 64, 56, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res2 1x1 reduce", PIRL_UNIT_CONV, 2, 256, 64, 56, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res2 3x3", PIRL_UNIT_CONV, 3, 64, 64, 56, 3, 1, FALSE, PIRL_ACT_RELU },
  { "res2 1x1 expand", PIRL_UNIT_CONV, 3, 64, 256, 56, 1, 1, TRUE, PIRL_ACT_RELU },
  { "res2 downsample", PIRL_UNIT_CONV, 1, 64, 256, 56, 1, 1, FALSE, PIRL_ACT_NONE },
  { "res3 1x1 first", PIRL_UNIT_CONV, 1, 256, 128, 56, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res3 3x3 stride 2", PIRL_UNIT_CONV, 1, 128, 128, 56, 3, 2, FALSE, PIRL_ACT_RELU },
  { "res3 1x1 reduce", PIRL_UNIT_CONV, 3, 512, 128, 28, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res3 3x3", PIRL_UNIT_CONV, 3, 128, 128, 28, 3, 1, FALSE, PIRL_ACT_RELU },
  { "res3 1x1 expand", PIRL_UNIT_CONV, 4, 128, 512, 28, 1, 1, TRUE, PIRL_ACT_RELU },
  { "res3 downsample", PIRL_UNIT_CONV, 1, 256, 512, 56, 1, 2, FALSE, PIRL_ACT_NONE },
  { "res4 1x1 first", PIRL_UNIT_CONV, 1, 512, 256, 28, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res4 3x3 stride 2", PIRL_UNIT_CONV, 1, 256, 256, 28, 3, 2, FALSE, PIRL_ACT_RELU },
  { "res4 1x1 reduce", PIRL_UNIT_CONV, 5, 1024, 256, 14, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res4 3x3", PIRL_UNIT_CONV, 5, 256, 256, 14, 3, 1, FALSE, PIRL_ACT_RELU },
  { "res4 1x1 expand", PIRL_UNIT_CONV, 6, 256, 1024, 14, 1, 1, TRUE, PIRL_ACT_RELU },
  { "res4 downsample", PIRL_UNIT_CONV, 1, 512, 1024, 28, 1, 2, FALSE, PIRL_ACT_NONE },
  { "res5 1x1 first", PIRL_UNIT_CONV, 1, 1024, 512, 14, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res5 3x3 stride 2", PIRL_UNIT_CONV, 1, 512, 512, 14, 3, 2, FALSE, PIRL_ACT_RELU },
  { "res5 1x1 reduce", PIRL_UNIT_CONV, 2, 2048, 512, 7, 1, 1, FALSE, PIRL_ACT_RELU },
  { "res5 3x3", PIRL_UNIT_CONV, 2, 512, 512, 7, 3, 1, FALSE, PIRL_ACT_RELU },
  { "res5 1x1 expand", PIRL_UNIT_CONV, 3, 512, 2048, 7, 1, 1, TRUE, PIRL_ACT_RELU },
  { "res5 downsample", PIRL_UNIT_CONV, 1, 1024, 2048, 14, 1, 2, FALSE, PIRL_ACT_NONE },
  { "average pool", PIRL_UNIT_AVGPOOL, 1, 2048, 2048, 7 },
  { "head", PIRL_UNIT_LINEAR, 1, 2048, 128, 1 },
};

/* What is timed: a pass in a mode and precision. */
static const struct {
  const gchar *label;
  PirlMode mode;
  PirlDType dtype;
  PirlPass pass;
} columns[] = {
  { "forward f32", PIRL_MODE_TRAIN, PIRL_DTYPE_F32, PIRL_PASS_FORWARD },
  { "backward f32", PIRL_MODE_TRAIN, PIRL_DTYPE_F32, PIRL_PASS_BACKWARD },
  { "infer f32", PIRL_MODE_INFER, PIRL_DTYPE_F32, PIRL_PASS_FORWARD },
  { "infer bf16", PIRL_MODE_INFER, PIRL_DTYPE_BF16, PIRL_PASS_FORWARD },
};

static UnitCase
bench_case (guint s, guint column, gint batch)
{
  const PirlUnitKind kind = shapes[s].kind;
  const gint out_size = kind == PIRL_UNIT_AVGPOOL ? 1
      : shapes[s].size / MAX (shapes[s].stride, 1);
  UnitCase c = { { .kind = kind, .mode = columns[column].mode, .dtype = columns[column].dtype,
        .input = { batch, shapes[s].in, shapes[s].size, shapes[s].size },
        .output = { batch, shapes[s].out, out_size, out_size },
        .kernel = shapes[s].kernel, .stride = shapes[s].stride, .padding = shapes[s].kernel / 2,
        .groups = 1, .bias = kind == PIRL_UNIT_LINEAR, .batch_norm = kind == PIRL_UNIT_CONV,
        .residual = shapes[s].residual, .activation = shapes[s].activation,
        .needs_input_gradient = s > 0 } };

  return c;
}

static gdouble
operations (const UnitCase *c, PirlPass pass)
{
  const gdouble forward = 2.0 * c->unit.output.n * c->unit.output.h * c->unit.output.w
      * units_role_count (c, ROLE_PARAM);

  return forward * (pass == PIRL_PASS_FORWARD ? 1 : c->unit.needs_input_gradient ? 2 : 1);
}

/* Seconds of one pass; negative when it cannot run. */
static gdouble
time_pass (const UnitsContext *context, const UnitCase *c, PirlPass pass)
{
  g_autoptr (GError) error = NULL;
  gint64 start = g_get_monotonic_time (), best = G_MAXINT64;
  UnitData data;
  UnitRun run;
  gboolean ok;

  units_data_init (&data, c, SEED);
  ok = units_run_init (&run, context->tested, c, LAYOUT_NATIVE, &error)
      && units_run_fill (&run, &data, &error)
      && (c->unit.mode == PIRL_MODE_TRAIN
          || units_run_pass (&run, PIRL_PASS_PREPARE, &data, FALSE, &error))
      && units_run_pass (&run, PIRL_PASS_FORWARD, &data, FALSE, &error);
  start = g_get_monotonic_time ();
  for (gint i = 0; ok && (i < MIN_RUNS
          || g_get_monotonic_time () - start < SECONDS * G_USEC_PER_SEC); i++) {
    const gint64 begin = g_get_monotonic_time ();

    /* A download, even of nothing, waits for the device. */
    ok = units_run_pass (&run, pass, &data, TRUE, &error)
        && context->tested->backend->download (context->tested, NULL, NULL, 0, &error);
    best = MIN (best, g_get_monotonic_time () - begin);
  }
  if (!ok)
    g_printerr ("%s\n", error->message);
  units_run_clear (&run);
  units_data_clear (&data);
  return ok ? best * 1e-6 : -1.0;
}

void
units_bench (const UnitsContext *context)
{
  gdouble seconds[G_N_ELEMENTS (columns)] = { 0.0 }, work[G_N_ELEMENTS (columns)] = { 0.0 };
  const gchar *reason;

  g_print ("ResNet-50, batch %d: ms and GFLOP/s\n%-20s", context->bench_batch, "");
  for (guint column = 0; column < G_N_ELEMENTS (columns); column++)
    g_print (" %18s", columns[column].label);
  for (guint s = 0; s < G_N_ELEMENTS (shapes); s++) {
    if (!units_selected (context, shapes[s].name))
      continue;
    g_print ("\n%-17s x%d", shapes[s].name, shapes[s].times);
    for (guint column = 0; column < G_N_ELEMENTS (columns); column++) {
      const UnitCase c = bench_case (s, column, context->bench_batch);
      const gdouble flop = operations (&c, columns[column].pass);
      gdouble t = -1.0;

      if (context->tested->backend->supports (context->tested, columns[column].mode,
              columns[column].dtype, &reason))
        t = time_pass (context, &c, columns[column].pass);
      if (t < 0.0) {
        g_print (" %18s", "-");
        continue;
      }
      seconds[column] += shapes[s].times * t;
      work[column] += shapes[s].times * flop;
      g_print (" %9.3f %8.0f", 1e3 * t, flop / t * 1e-9);
    }
  }
  g_print ("\n%-20s", "sum");
  for (guint column = 0; column < G_N_ELEMENTS (columns); column++)
    g_print (" %9.1f %8.0f", 1e3 * seconds[column],
        seconds[column] > 0.0 ? work[column] / seconds[column] * 1e-9 : 0.0);
  g_print ("\n");
}
