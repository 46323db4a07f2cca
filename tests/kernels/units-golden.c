/* gst-pirl: the reference backend against PyTorch (units-golden.h, written by units-golden.py).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "units-checks.h"

#include <math.h>
#include <string.h>

/* Of a tensor: norm, projection on cos (0.3 i), elements k (count - 1) / 3. */
typedef struct {
  gsize count;
  gdouble norm, projection, samples[4];
} GoldenSummary;

typedef struct {
  const gchar *name;
  PirlUnitDesc unit;
} GoldenUnit;

typedef struct {
  guint unit;
  PirlMode mode;
  Role role;
  GoldenSummary summary;
} GoldenValue;

typedef struct {
  PirlContrastDesc desc;
  gboolean all_rows;
  gdouble loss, mean_exp, positive, near;
  GoldenSummary gradient;
} GoldenContrast;

#include "units-golden.h"

/* Double against double, summed in another order. */
#define TOLERANCE 1e-11

static gdouble
distance (gdouble a, gdouble b, gdouble scale)
{
  const gdouble error = fabs (a - b) / (fabs (scale) + 1.0);

  return isnan (error) ? INFINITY : error;
}

static gdouble
summary_error (const GoldenSummary *golden, const gdouble *v, gsize n)
{
  gdouble square = 0.0, projection = 0.0, worst;

  if (n != golden->count)
    return INFINITY;
  for (gsize i = 0; i < n; i++) {
    square += v[i] * v[i];
    projection += v[i] * cos (0.3 * i);
  }
  worst = distance (sqrt (square), golden->norm, golden->norm);
  worst = fmax (worst, distance (projection, golden->projection, golden->norm));
  for (gsize k = 0; k < G_N_ELEMENTS (golden->samples); k++)
    worst = fmax (worst, distance (v[k * (n - 1) / 3], golden->samples[k], golden->norm));
  return worst;
}

/* The recipe of units-golden.py. */
static void
fill (gdouble *v, gsize n, Role role)
{
  gdouble offset = 0.0, scale = 1.0;

  if (role == ROLE_INPUT) {
    offset = 0.3;
    scale = 2.0;
  } else if (role == ROLE_PARAM + PIRL_SLOT_BN_WEIGHT) {
    offset = 1.5;
  } else if (role == ROLE_PARAM + PIRL_SLOT_BN_VAR) {
    offset = 2.0;
  }
  for (gsize i = 0; i < n; i++)
    v[i] = offset + scale * sin (0.7 * i + role);
}

static void
fill_unit (UnitRun *run, gboolean whole_numbers)
{
  for (Role role = 0; role < ROLE_SAVED; role++) {
    const gsize n = units_role_count (&run->unit_case, role);
    gdouble *v = (gdouble *) run->block[role].memory;

    if (n == 0)
      continue;
    fill (v, n, role);
    for (gsize i = 0; i < n; i++) {
      if (role > ROLE_D_OUTPUT)
        v[i] = 0.0;
      else if (whole_numbers && role == ROLE_INPUT)
        v[i] = floor (v[i]);
    }
  }
}

static void
compare_unit (UnitRun *run, guint u, PirlMode mode, const gchar *when, gdouble gradient_factor,
    GString *details, gdouble *worst)
{
  for (gsize i = 0; i < G_N_ELEMENTS (golden_values); i++) {
    const GoldenValue *golden = &golden_values[i];
    gdouble *v = (gdouble *) run->block[golden->role].memory;
    const gsize n = units_role_count (&run->unit_case, golden->role);
    const gdouble factor = golden->role > ROLE_D_OUTPUT ? gradient_factor : 1.0;
    gdouble error;

    if (golden->unit != u || golden->mode != mode)
      continue;
    for (gsize k = 0; k < n; k++)
      v[k] /= factor;
    error = summary_error (&golden->summary, v, n);
    for (gsize k = 0; k < n; k++)
      v[k] *= factor;
    *worst = fmax (*worst, error);
    if (!(error <= TOLERANCE))
      g_string_append_printf (details, "\n    %s: %s is off by %.2g", when,
          units_role_name (golden->role), error);
  }
}

static void
check_infer (UnitRun *run, guint u, GString *details, gdouble *worst)
{
  const UnitData none = { 0 };

  units_run_pass (run, PIRL_PASS_PREPARE, &none, FALSE, NULL);
  units_run_pass (run, PIRL_PASS_FORWARD, &none, FALSE, NULL);
  compare_unit (run, u, PIRL_MODE_INFER, "infer", 1.0, details, worst);
}

/* The second time everything is added, and the running statistics stay: gradients are doubled,
 * the rest is as it was. */
static void
check_train (UnitRun *run, guint u, GString *details, gdouble *worst)
{
  const UnitData none = { 0 };

  units_run_pass (run, PIRL_PASS_FORWARD, &none, TRUE, NULL);
  units_run_pass (run, PIRL_PASS_BACKWARD, &none, TRUE, NULL);
  compare_unit (run, u, PIRL_MODE_TRAIN, "train", 1.0, details, worst);
  run->unit_case.accumulate_input = run->unit_case.accumulate_residual = TRUE;
  fill ((gdouble *) run->block[ROLE_D_OUTPUT].memory,
      units_role_count (&run->unit_case, ROLE_D_OUTPUT), ROLE_D_OUTPUT);
  units_run_pass (run, PIRL_PASS_FORWARD, &none, FALSE, NULL);
  units_run_pass (run, PIRL_PASS_BACKWARD, &none, FALSE, NULL);
  compare_unit (run, u, PIRL_MODE_TRAIN, "train again", 2.0, details, worst);
}

static void
check_mode (const UnitsContext *context, guint u, PirlMode mode, GString *details, gdouble *worst)
{
  UnitCase unit_case = { golden_units[u].unit };
  UnitRun run;

  unit_case.unit.mode = mode;
  unit_case.unit.needs_input_gradient = TRUE;
  if (!units_run_init (&run, context->reference, &unit_case, LAYOUT_DENSE, NULL)) {
    g_string_append (details, "\n    no plan");
  } else {
    fill_unit (&run, strstr (golden_units[u].name, "equal") != NULL);
    (mode == PIRL_MODE_TRAIN ? check_train : check_infer) (&run, u, details, worst);
  }
  units_run_clear (&run);
}

static guint
check_unit (const UnitsContext *context, guint u, gdouble *worst)
{
  g_autofree gchar *name = g_strconcat ("golden: ", golden_units[u].name, NULL);
  g_autoptr (GString) details = g_string_new (NULL);

  if (!units_selected (context, name))
    return 0;
  check_mode (context, u, PIRL_MODE_TRAIN, details, worst);
  check_mode (context, u, PIRL_MODE_INFER, details, worst);
  return units_report (context, details->len == 0, name, details->str);
}

/* Two 5 x 3 pictures, pixel i = 37 i mod 256. */
static gdouble
input_error (const UnitsContext *context)
{
  enum { SIZE = 5 * 3 * 3 };
  static const PirlDims dims = { 2, 3, 5, 3 };
  const UnitCase unit_case = { { .kind = PIRL_UNIT_INPUT, .input = dims, .output = dims,
        .mean = { 0.485f, 0.456f, 0.406f }, .std = { 0.229f, 0.224f, 0.225f } } };
  guint8 pixels[2 * SIZE];
  guint8 *pictures[] = { pixels, pixels + SIZE, NULL };
  const UnitData data = { .pictures = pictures };
  gdouble error = INFINITY;
  UnitRun run;

  for (guint i = 0; i < G_N_ELEMENTS (pixels); i++)
    pixels[i] = (guint8) (37 * i);
  if (units_run_init (&run, context->reference, &unit_case, LAYOUT_DENSE, NULL)
      && units_run_pass (&run, PIRL_PASS_FORWARD, &data, FALSE, NULL))
    error = summary_error (&golden_input, (gdouble *) run.block[ROLE_OUTPUT].memory, 2 * SIZE);
  units_run_clear (&run);
  return error;
}

/* ---- contrast, bank, SGD, Adam: 4 samples of 6, 11 rows, 5 negatives ---- */

enum { BATCH = 4, DIM = 6, ROWS = 11, NEGATIVES = 5, WEIGHTS = 19 };

static const guint32 positive[BATCH] = { 3, 0, 10, 3 };

static void
fill_rows (gdouble *v, gsize rows, gdouble phase)
{
  for (gsize i = 0; i < rows; i++) {
    gdouble square = 0.0;

    for (gsize d = 0; d < DIM; d++) {
      v[i * DIM + d] = sin (0.7 * (i * DIM + d) + phase);
      square += v[i * DIM + d] * v[i * DIM + d];
    }
    for (gsize d = 0; d < DIM; d++)
      v[i * DIM + d] /= sqrt (square);
  }
}

static gdouble
contrast_error (const UnitsContext *context, const GoldenContrast *golden)
{
  gdouble bank[ROWS * DIM], embedding[BATCH * DIM], gradient[BATCH * DIM];
  guint32 negative[BATCH * NEGATIVES];
  PirlContrastStats stats;
  gdouble worst;

  fill_rows (bank, ROWS, 1.0);
  fill_rows (embedding, BATCH, 2.0);
  for (guint i = 0; i < BATCH * NEGATIVES; i++)
    negative[i] = i * 7 % ROWS;
  if (!context->reference->backend->contrast (context->reference, &golden->desc, embedding, bank,
          positive, golden->all_rows ? NULL : negative, gradient, &stats, NULL))
    return INFINITY;
  worst = summary_error (&golden->gradient, gradient, BATCH * DIM);
  worst = fmax (worst, distance (stats.loss, golden->loss, golden->loss));
  worst = fmax (worst, distance (stats.mean_exp, golden->mean_exp, golden->mean_exp));
  worst = fmax (worst, distance (stats.near, golden->near, 0.0));
  return fmax (worst, distance (stats.positive, golden->positive, 0.0));
}

static gdouble
bank_error (const UnitsContext *context)
{
  gdouble bank[ROWS * DIM], embedding[BATCH * DIM];
  gfloat momentum[BATCH];

  fill_rows (bank, ROWS, 1.0);
  fill_rows (embedding, BATCH, 2.0);
  for (guint b = 0; b < BATCH; b++)
    momentum[b] = 0.75f;
  context->reference->backend->bank_update (context->reference, bank, PIRL_DTYPE_F64, DIM, BATCH,
      positive, momentum, embedding, NULL);
  return summary_error (&golden_bank, bank, ROWS * DIM);
}

static gdouble
sgd_error (const UnitsContext *context, gboolean nesterov)
{
  gdouble w[WEIGHTS], target[WEIGHTS], gradient[WEIGHTS], velocity[WEIGHTS] = { 0.0 };

  fill (w, WEIGHTS, ROLE_PARAM);
  fill (target, WEIGHTS, ROLE_PARAM + PIRL_SLOT_BN_VAR);
  for (gint step = 0; step < 3; step++) {
    for (gint i = 0; i < WEIGHTS; i++)
      gradient[i] = w[i] - target[i];
    context->reference->backend->sgd (context->reference, WEIGHTS, w, gradient, velocity, 0.1, 0.9,
        0.05, nesterov, NULL);
  }
  return summary_error (nesterov ? &golden_nesterov : &golden_sgd, w, WEIGHTS);
}

/* Of two tensors: 7 and 12 numbers. */
static gdouble
lars_error (const UnitsContext *context)
{
  static const PirlSegment segments[] = { { 0, 7 }, { 7, 12 } };
  static const PirlLars values = { 2.0, 0.9, 0.05, 0.02, 1e-3 };
  gdouble w[WEIGHTS], target[WEIGHTS], gradient[WEIGHTS], velocity[WEIGHTS] = { 0.0 };

  fill (w, WEIGHTS, ROLE_PARAM);
  fill (target, WEIGHTS, ROLE_PARAM + PIRL_SLOT_BN_VAR);
  for (gint step = 0; step < 3; step++) {
    for (gint i = 0; i < WEIGHTS; i++)
      gradient[i] = w[i] - target[i];
    context->reference->backend->lars (context->reference, 2, segments, w, gradient, velocity,
        &values, NULL);
  }
  return summary_error (&golden_lars, w, WEIGHTS);
}

static gdouble
adam_error (const UnitsContext *context)
{
  gdouble w[WEIGHTS], target[WEIGHTS], gradient[WEIGHTS];
  gdouble first[WEIGHTS] = { 0.0 }, second[WEIGHTS] = { 0.0 };

  fill (w, WEIGHTS, ROLE_PARAM);
  fill (target, WEIGHTS, ROLE_PARAM + PIRL_SLOT_BN_VAR);
  for (guint64 step = 1; step <= 4; step++) {
    for (gint i = 0; i < WEIGHTS; i++)
      gradient[i] = w[i] - target[i];
    context->reference->backend->adam (context->reference, WEIGHTS, w, gradient, first, second,
        step, 0.02, 0.8, 0.95, 1e-3, 0.05, NULL);
  }
  return summary_error (&golden_adam, w, WEIGHTS);
}

static guint
report (const UnitsContext *context, const gchar *name, gdouble error, gdouble *worst)
{
  g_autofree gchar *details = g_strdup_printf (" off by %.2g", error);

  if (!units_selected (context, name))
    return 0;
  *worst = fmax (*worst, error);
  return units_report (context, error <= TOLERANCE, name, details);
}

guint
units_check_golden (const UnitsContext *context)
{
  gdouble worst = 0.0;
  guint failed = 0;

  for (guint u = 0; u < G_N_ELEMENTS (golden_units); u++)
    failed += check_unit (context, u, &worst);
  for (guint i = 0; i < G_N_ELEMENTS (golden_contrasts); i++) {
    const GoldenContrast *golden = &golden_contrasts[i];
    g_autofree gchar *name = g_strdup_printf ("golden: %s, %s, near from %g on",
        golden->desc.loss == PIRL_LOSS_NCE ? "NCE" : "InfoNCE",
        golden->all_rows ? "all rows" : "negatives drawn", golden->desc.near);

    failed += report (context, name, contrast_error (context, golden), &worst);
  }
  failed += report (context, "golden: pictures", input_error (context), &worst);
  failed += report (context, "golden: bank update", bank_error (context), &worst);
  failed += report (context, "golden: sgd", sgd_error (context, FALSE), &worst);
  failed += report (context, "golden: nesterov", sgd_error (context, TRUE), &worst);
  failed += report (context, "golden: lars", lars_error (context), &worst);
  failed += report (context, "golden: adam", adam_error (context), &worst);
  g_print ("reference against PyTorch: %u failed; worst %.2g (limit %.0e)\n", failed, worst,
      TOLERANCE);
  return failed;
}
