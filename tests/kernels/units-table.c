/* gst-pirl: every unit on a backend against the reference backend.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One table of units x shapes (units-cases.c), run in every mode, precision and layout the backend
 * offers, with NaN in what must be written and a pattern behind every buffer. Compared is
 * NMSE = sum (a - b)^2 / sum b^2 over each tensor.
 */
#include "units-cases.h"
#include "units-checks.h"

#include <math.h>

#define DATA_SEED 7

/* f32: rounding errors are about 1e-13; anything structural is far above 1e-10. */
#define NMSE_F32 1e-10
/* f16 has 11 bits, bf16 8: rounding costs about 3e-8 and 2e-6 each time, ten times that where the
 * outputs that remain behind a ReLU are small differences. */
#define NMSE_F16 1e-6
#define NMSE_BF16 5e-5
/* The gradient of batch norm's weight is a sum over all pixels: where it nearly cancels, what
 * rounding left in the terms stands against a small number. */
#define CANCELLATION 4
/* Of a case with --quick. */
#define QUICK_WORK 1000000

/* Results of one mode x precision x layout. */
typedef struct {
  const gchar *label;
  PirlMode mode;
  PirlDType dtype;
  Layout layout;
  gdouble limit;

  guint passed, failed, not_offered, too_large;
  gdouble worst;
  gchar *worst_name;
} Sweep;

static gdouble
role_limit (const Sweep *sweep, Role role)
{
  const gboolean cancels = role == ROLE_GRAD + PIRL_SLOT_BN_WEIGHT;

  return sweep->limit * (cancels && sweep->dtype != PIRL_DTYPE_F32 ? CANCELLATION : 1);
}

/* Compares all that the last pass wrote, and all it must have left alone. */
static gboolean
compare_roles (UnitRun *tested, UnitRun *reference, PirlPass pass, Sweep *sweep,
    const gchar *name, GString *problems)
{
  const gsize before = problems->len;
  const Role overrun = units_run_overrun (tested);

  if (overrun != N_ROLES)
    g_string_append_printf (problems, "\n    %s: written beyond its end",
        units_role_name (overrun));
  for (Role role = 0; role < ROLE_SAVED; role++) {
    const gsize n = units_role_count (&reference->unit_case, role);

    /* Gradients are not there before BACKWARD; d_output may be destroyed by it. */
    if (n == 0 || role == ROLE_D_OUTPUT
        || (role > ROLE_D_OUTPUT && pass != PIRL_PASS_BACKWARD))
      continue;

    g_autofree gfloat *a = units_run_read (tested, role, NULL);
    g_autofree gfloat *b = units_run_read (reference, role, NULL);
    const gdouble nmse = a && b ? units_nmse (a, b, n) : INFINITY;

    if (!(nmse <= role_limit (sweep, role)))
      g_string_append_printf (problems, "\n    %s: NMSE %.2g", units_role_name (role), nmse);
    if (nmse > sweep->worst) {
      sweep->worst = nmse;
      g_free (sweep->worst_name);
      sweep->worst_name = g_strdup_printf ("%s of %s", units_role_name (role), name);
    }
  }
  return problems->len == before;
}

/* The passes of one round, on both devices, with fresh values. */
static gboolean
run_round (UnitRun runs[2], Sweep *sweep, const UnitData *data, gboolean update_statistics,
    const gchar *name, GString *problems)
{
  static const PirlPass train[] = { PIRL_PASS_FORWARD, PIRL_PASS_BACKWARD };
  static const PirlPass infer[] = { PIRL_PASS_PREPARE, PIRL_PASS_FORWARD };
  const gboolean trains = sweep->mode == PIRL_MODE_TRAIN;
  g_autoptr (GError) error = NULL;

  for (gint i = 0; i < 2; i++)
    if (!units_run_fill (&runs[i], data, &error))
      goto failed;
  for (guint p = 0; p < 2; p++) {
    const PirlPass pass = trains ? train[p] : infer[p];

    if (pass == PIRL_PASS_BACKWARD && runs[0].unit_case.unit.kind == PIRL_UNIT_INPUT)
      continue;
    for (gint i = 0; i < 2; i++)
      if (!units_run_pass (&runs[i], pass, data, update_statistics, &error))
        goto failed;
    if (pass != PIRL_PASS_PREPARE
        && !compare_roles (&runs[0], &runs[1], pass, sweep, name, problems))
      return FALSE;
  }
  return TRUE;

failed:
  g_string_append_printf (problems, "\n    %s", error->message);
  return FALSE;
}

/* What a backend may refuse. cuda takes pictures only as its own units leave them, vectors only in
 * floats, and groups that are neither one nor as many as channels not at all. */
static gboolean
may_refuse (const PirlBackend *backend, const UnitCase *unit_case, Layout layout)
{
  const PirlUnitDesc *unit = &unit_case->unit;

  if (g_strcmp0 (backend->name, "cuda") != 0 || unit->kind == PIRL_UNIT_INPUT)
    return FALSE;
  if (units_takes_vectors (unit_case))
    return layout == LAYOUT_DENSE && unit->dtype != PIRL_DTYPE_F32;
  return layout == LAYOUT_DENSE || (unit->kind == PIRL_UNIT_CONV && unit->groups != 1
      && (unit->groups != unit->input.c || unit->groups != unit->output.c));
}

static void
run_case (const UnitsContext *context, Sweep *sweep, const UnitCase *unit_case, guint number)
{
  g_autofree gchar *shape = units_case_name (unit_case);
  g_autofree gchar *name = g_strdup_printf ("%s: %s", sweep->label, shape);
  g_autoptr (GString) problems = g_string_new (NULL);
  g_autoptr (GError) error = NULL;
  UnitRun runs[2] = { 0 };
  gboolean ok, refused;

  if (!units_selected (context, name))
    return;
  ok = units_run_init (&runs[0], context->tested, unit_case, sweep->layout, &error)
      && units_run_init (&runs[1], context->reference, unit_case, LAYOUT_DENSE, &error);

  /* Twice: a plan is used again and again, INFER takes over new parameters each time. */
  for (gint round = 0; ok && round < 2; round++) {
    UnitData data;

    units_data_init (&data, unit_case, DATA_SEED + 2 * number + round);
    ok = units_data_mask_kinks (&data, unit_case, context->reference, &error)
        && run_round (runs, sweep, &data, round == 0, name, problems);
    units_data_clear (&data);
  }
  for (gint i = 0; i < 2; i++)
    if (runs[i].device != NULL)
      units_run_clear (&runs[i]);
  refused = runs[0].refused && may_refuse (context->tested->backend, unit_case, sweep->layout);
  if (error != NULL)
    g_string_append_printf (problems, "\n    %s%s", refused ? "not offered: " : "",
        error->message);
  sweep->passed += ok;
  sweep->not_offered += refused;
  sweep->failed += units_report (context, ok || refused, name, problems->str);
}

static guint
run_sweep (const UnitsContext *context, Sweep *sweep)
{
  const PirlBackend *backend = context->tested->backend;
  g_autoptr (GArray) cases = units_cases (TRUE);
  const gchar *reason = "no reason given";

  if (!backend->supports (context->tested, sweep->mode, sweep->dtype, &reason)) {
    g_print ("%-22s not run: %s\n", sweep->label, reason);
    return 0;
  }
  for (guint i = 0; i < cases->len; i++) {
    const UnitCase c = units_case_as (&g_array_index (cases, UnitCase, i), sweep->mode,
        sweep->dtype);

    if (context->quick && units_case_work (&c) > QUICK_WORK)
      sweep->too_large++;
    else
      run_case (context, sweep, &c, i);
  }
  if (sweep->passed + sweep->failed + sweep->not_offered == 0)
    return 0;
  g_print ("%-22s %u passed, %u failed, %u not offered, %u too large; worst NMSE %.2g (limit "
      "%.0e), %s\n", sweep->label, sweep->passed, sweep->failed, sweep->not_offered,
      sweep->too_large, sweep->worst, sweep->limit,
      sweep->worst_name ? sweep->worst_name : "all equal");
  g_free (sweep->worst_name);
  return sweep->failed;
}

guint
units_check_table (const UnitsContext *context)
{
  Sweep sweeps[] = {
    { "train f32 dense", PIRL_MODE_TRAIN, PIRL_DTYPE_F32, LAYOUT_DENSE, NMSE_F32 },
    { "train f32 native", PIRL_MODE_TRAIN, PIRL_DTYPE_F32, LAYOUT_NATIVE, NMSE_F32 },
    { "train f16 native", PIRL_MODE_TRAIN, PIRL_DTYPE_F16, LAYOUT_NATIVE, NMSE_F16 },
    { "train bf16 native", PIRL_MODE_TRAIN, PIRL_DTYPE_BF16, LAYOUT_NATIVE, NMSE_BF16 },
    { "infer f32 dense", PIRL_MODE_INFER, PIRL_DTYPE_F32, LAYOUT_DENSE, NMSE_F32 },
    { "infer f32 native", PIRL_MODE_INFER, PIRL_DTYPE_F32, LAYOUT_NATIVE, NMSE_F32 },
    { "infer f16 native", PIRL_MODE_INFER, PIRL_DTYPE_F16, LAYOUT_NATIVE, NMSE_F16 },
    { "infer bf16 dense", PIRL_MODE_INFER, PIRL_DTYPE_BF16, LAYOUT_DENSE, NMSE_BF16 },
    { "infer bf16 native", PIRL_MODE_INFER, PIRL_DTYPE_BF16, LAYOUT_NATIVE, NMSE_BF16 },
  };
  guint failed = 0;

  for (guint i = 0; i < G_N_ELEMENTS (sweeps); i++)
    failed += run_sweep (context, &sweeps[i]);
  return failed;
}
