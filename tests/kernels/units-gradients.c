/* gst-pirl: the reference's gradients against central differences of L, the sum of the outputs
 * times random numbers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For every role with a gradient: along one random direction u through all its elements, and
 * along a few single elements. All in double, in the reference's own memory.
 */
#include "units-cases.h"
#include "units-checks.h"

#include <math.h>
#include <string.h>

#define STEP 1e-5
#define TOLERANCE 1e-6          /* relative to the gradient along the direction plus its RMS */
#define FLOOR 0.1               /* smallest RMS: a bias before batch norm has no gradient at all */
#define SINGLE_ELEMENTS 4
#define SEED 11

/* Roles with a gradient, and where it stands. */
static const struct {
  Role value, gradient;
} pairs[] = {
  { ROLE_INPUT, ROLE_D_INPUT },
  { ROLE_RESIDUAL, ROLE_D_RESIDUAL },
  { ROLE_PARAM + PIRL_SLOT_WEIGHT, ROLE_GRAD + PIRL_SLOT_WEIGHT },
  { ROLE_PARAM + PIRL_SLOT_BIAS, ROLE_GRAD + PIRL_SLOT_BIAS },
  { ROLE_PARAM + PIRL_SLOT_BN_WEIGHT, ROLE_GRAD + PIRL_SLOT_BN_WEIGHT },
  { ROLE_PARAM + PIRL_SLOT_BN_BIAS, ROLE_GRAD + PIRL_SLOT_BN_BIAS },
};

/* A function of x whose gradient is known. */
typedef struct {
  gdouble (*value) (gpointer user_data);
  gpointer user_data;
  gdouble *x;
  const gdouble *gradient;
  gsize n;
} Function;

/* The derivative along u: central differences of two widths, so that the third derivative, large
 * where batch norm divides by little, drops out (Richardson). */
static gdouble
difference (const Function *f, const gdouble *u)
{
  static const gdouble steps[] = { -2.0 * STEP, -STEP, STEP, 2.0 * STEP };
  g_autofree gdouble *x = g_new (gdouble, f->n);
  gdouble value[G_N_ELEMENTS (steps)];

  memcpy (x, f->x, f->n * sizeof (gdouble));
  for (guint s = 0; s < G_N_ELEMENTS (steps); s++) {
    for (gsize i = 0; i < f->n; i++)
      f->x[i] = x[i] + steps[s] * u[i];
    value[s] = f->value (f->user_data);
  }
  for (gsize i = 0; i < f->n; i++)
    f->x[i] = x[i];
  return (8.0 * (value[2] - value[1]) - (value[3] - value[0])) / (12.0 * STEP);
}

/* The largest error over the directions tried, relative to gradient and RMS. */
static gdouble
gradient_error (const Function *f, PirlRng *rng)
{
  g_autofree gdouble *u = g_new0 (gdouble, f->n);
  gdouble worst = 0.0, square = 0.0, rms;

  for (gsize i = 0; i < f->n; i++)
    square += f->gradient[i] * f->gradient[i];
  rms = fmax (sqrt (square / f->n), FLOOR);
  for (gint direction = 0; direction <= SINGLE_ELEMENTS; direction++) {
    const guint32 single = pirl_rng_below (rng, (guint32) f->n);
    gdouble expected = 0.0, error;

    for (gsize i = 0; i < f->n; i++) {
      u[i] = direction == 0 ? pirl_rng_normal (rng) / sqrt (f->n) : i == single;
      expected += u[i] * f->gradient[i];
    }
    error = fabs (difference (f, u) - expected) / (fabs (expected) + rms);
    worst = fmax (worst, isnan (error) ? INFINITY : error);
  }
  return worst;
}

/* ---- units ---- */

typedef struct {
  UnitRun *run;
  const UnitData *data;
} UnitLoss;

static gdouble
unit_loss (gpointer user_data)
{
  const UnitLoss *loss = user_data;
  const gdouble *output = (const gdouble *) loss->run->block[ROLE_OUTPUT].memory;
  const gfloat *factor = loss->data->v[ROLE_D_OUTPUT];
  gdouble sum = 0.0;

  units_run_pass (loss->run, PIRL_PASS_FORWARD, loss->data, FALSE, NULL);
  for (gsize i = 0; i < units_role_count (&loss->run->unit_case, ROLE_OUTPUT); i++)
    sum += output[i] * factor[i];
  return sum;
}

/* Gradients from 0; in a window of a max pool no two values within a step of each other. */
static void
adapt_data (UnitData *data, const UnitCase *unit_case)
{
  const gsize n = units_role_count (unit_case, ROLE_INPUT);
  PirlRng rng;

  for (Role role = ROLE_D_INPUT; role < ROLE_SAVED; role++)
    for (gsize i = 0; data->v[role] && i < units_role_count (unit_case, role); i++)
      data->v[role][i] = 0.0f;
  if (unit_case->unit.kind != PIRL_UNIT_MAXPOOL)
    return;

  g_autofree guint32 *order = g_new (guint32, n);

  units_rng (&rng, SEED, 1, ROLE_INPUT);
  pirl_rng_permutation (&rng, order, (guint32) n);
  for (gsize i = 0; i < n; i++)
    data->v[ROLE_INPUT][i] = 0.01f * (gfloat) order[i];
}

static gdouble
unit_error (UnitRun *run, const UnitData *data, guint number, GString *details)
{
  UnitLoss loss = { run, data };
  gdouble worst = 0.0;

  for (guint p = 0; p < G_N_ELEMENTS (pairs); p++) {
    const gsize n = units_role_count (&run->unit_case, pairs[p].gradient);
    Function f = { unit_loss, &loss, (gdouble *) run->block[pairs[p].value].memory,
      (const gdouble *) run->block[pairs[p].gradient].memory, n };
    gdouble error;
    PirlRng rng;

    if (n == 0)
      continue;
    units_rng (&rng, SEED, 2 + number, pairs[p].value);
    error = gradient_error (&f, &rng);
    if (!(error <= TOLERANCE))
      g_string_append_printf (details, "\n    %s: relative error %.2g",
          units_role_name (pairs[p].gradient), error);
    worst = fmax (worst, error);
  }
  return worst;
}

static guint
check_unit (const UnitsContext *context, const UnitCase *unit_case, guint number, gdouble *worst)
{
  g_autofree gchar *shape = units_case_name (unit_case);
  g_autofree gchar *name = g_strconcat ("gradient: ", shape, NULL);
  g_autoptr (GString) details = g_string_new (NULL);
  g_autoptr (GError) error = NULL;
  UnitRun run;
  UnitData data;

  if (unit_case->unit.kind == PIRL_UNIT_INPUT || unit_case->zero_input
      || !units_selected (context, name))
    return 0;
  units_data_init (&data, unit_case, SEED + number);
  adapt_data (&data, unit_case);
  if (units_data_mask_kinks (&data, unit_case, context->reference, &error)
      && units_run_init (&run, context->reference, unit_case, LAYOUT_DENSE, &error)) {
    if (units_run_fill (&run, &data, &error)
        && units_run_pass (&run, PIRL_PASS_FORWARD, &data, FALSE, &error)
        && units_run_pass (&run, PIRL_PASS_BACKWARD, &data, FALSE, &error))
      *worst = fmax (*worst, unit_error (&run, &data, number, details));
    units_run_clear (&run);
  }
  if (error != NULL)
    g_string_append_printf (details, "\n    %s", error->message);
  units_data_clear (&data);
  return units_report (context, details->len == 0, name, details->str);
}

/* ---- contrast, behind the normalisation ---- */

enum { BATCH = 3, DIM = 9, ROWS = 20, NEGATIVES = 6 };

typedef struct {
  PirlDevice *device;
  UnitRun norm;
  PirlContrastDesc desc;
  gdouble bank[ROWS * DIM];
  const guint32 *positive, *negative;
} ContrastLoss;

static gdouble
contrast_loss (gpointer user_data)
{
  ContrastLoss *loss = user_data;
  PirlContrastStats stats;
  const UnitData none = { 0 };

  units_run_pass (&loss->norm, PIRL_PASS_FORWARD, &none, FALSE, NULL);
  pirl_backend_reference ()->contrast (loss->device, &loss->desc,
      loss->norm.block[ROLE_OUTPUT].memory, loss->bank, loss->positive, loss->negative, NULL,
      &stats, NULL);
  return stats.loss * loss->desc.scale;
}

static gdouble
contrast_error (ContrastLoss *loss, PirlRng *rng)
{
  UnitRun *norm = &loss->norm;
  const UnitData none = { 0 };
  Function f = { contrast_loss, loss, (gdouble *) norm->block[ROLE_INPUT].memory,
    (const gdouble *) norm->block[ROLE_D_INPUT].memory, BATCH * DIM };

  contrast_loss (loss);
  pirl_backend_reference ()->contrast (loss->device, &loss->desc, norm->block[ROLE_OUTPUT].memory,
      loss->bank, loss->positive, loss->negative, norm->block[ROLE_D_OUTPUT].memory, NULL, NULL);
  units_run_pass (norm, PIRL_PASS_BACKWARD, &none, FALSE, NULL);
  return gradient_error (&f, rng);
}

/* @variant bit 0: loss, bit 1: all rows or drawn ones (some twice, one the sample itself), bit 2:
 * negatives that are near count with a weight. */
static guint
check_contrast (const UnitsContext *context, guint variant, gdouble *worst)
{
  static const guint32 positive[BATCH] = { 4, 0, 19 };
  static const guint32 negative[BATCH * NEGATIVES] = { 1, 2, 3, 3, 19, 7, 5, 5, 5, 1, 9, 12, 19, 0,
    18, 2, 11, 6
  };
  static const PirlDims dims = { BATCH, DIM, 1, 1 };
  const gboolean all = variant & 2, near = variant & 4;
  const UnitCase unit_case = { { .kind = PIRL_UNIT_L2NORM, .input = dims, .output = dims,
        .dtype = PIRL_DTYPE_F32, .needs_input_gradient = TRUE } };
  ContrastLoss loss = { context->reference, .positive = positive,
    .negative = all ? NULL : negative, .desc = { variant & 1 ? PIRL_LOSS_INFONCE : PIRL_LOSS_NCE,
        BATCH, DIM, ROWS, all ? ROWS - 1 : NEGATIVES, 0.2, 31.0, 0.3, .near = near ? 0.1 : 0,
        .near_weight = 0.3 } };
  g_autofree gchar *name = g_strdup_printf ("gradient: l2norm + %s, %s%s",
      variant & 1 ? "InfoNCE" : "NCE", all ? "all rows" : "negatives drawn",
      near ? ", some near" : "");
  g_autofree gchar *details = NULL;
  gdouble error = INFINITY;
  UnitData data;
  PirlRng rng;

  if (!units_selected (context, name))
    return 0;
  units_rng (&rng, SEED, 0, 0);
  for (guint i = 0; i < ROWS * DIM; i++)
    loss.bank[i] = pirl_rng_normal (&rng) / sqrt (DIM);
  units_data_init (&data, &unit_case, SEED);
  if (units_run_init (&loss.norm, context->reference, &unit_case, LAYOUT_DENSE, NULL)
      && units_run_fill (&loss.norm, &data, NULL))
    error = contrast_error (&loss, &rng);
  units_run_clear (&loss.norm);
  units_data_clear (&data);
  details = g_strdup_printf (" relative error %.2g", error);
  *worst = fmax (*worst, error);
  return units_report (context, error <= TOLERANCE, name, details);
}

guint
units_check_gradients (const UnitsContext *context)
{
  g_autoptr (GArray) cases = units_cases (FALSE);
  guint failed = 0;
  gdouble worst = 0.0;

  for (guint i = 0; i < cases->len; i++)
    failed += check_unit (context, &g_array_index (cases, UnitCase, i), i, &worst);
  for (guint variant = 0; variant < 8; variant++)
    failed += check_contrast (context, variant, &worst);
  g_print ("reference against finite differences: %u failed; worst %.2g (limit %.0e)\n", failed,
      worst, TOLERANCE);
  return failed;
}
