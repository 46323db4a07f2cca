/* gst-pirl: convolutions that the cpu backend multiplies in bf16 give the same bits whatever the
 * number of threads.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * oneDNN's, and so those in f32, do not: it divides sums among its threads.
 */
#include "units-checks.h"

#include <string.h>

#define DATA_SEED 11

static const UnitCase cases[] = {
  { {.kind = PIRL_UNIT_CONV, .mode = PIRL_MODE_TRAIN, .dtype = PIRL_DTYPE_BF16,
      .input = { 3, 48, 19, 17 }, .output = { 3, 80, 19, 17 }, .kernel = 3, .stride = 1,
      .padding = 1, .groups = 1, .batch_norm = TRUE, .activation = PIRL_ACT_RELU,
      .needs_input_gradient = TRUE } },
  { {.kind = PIRL_UNIT_CONV, .mode = PIRL_MODE_TRAIN, .dtype = PIRL_DTYPE_BF16,
      .input = { 2, 64, 21, 15 }, .output = { 2, 32, 11, 8 }, .kernel = 1, .stride = 2,
      .groups = 1, .batch_norm = TRUE, .needs_input_gradient = TRUE }, .accumulate_input = TRUE },
};

/* The case on @n_threads: both passes. */
static gboolean
run_case (const UnitsContext *context, const UnitCase *unit_case, const UnitData *data,
    guint n_threads, PirlDevice **device, UnitRun *run, GError **error)
{
  *device = pirl_device_open (context->tested->backend->name, n_threads, TRUE, error);
  return *device && units_run_init (run, *device, unit_case, LAYOUT_NATIVE, error)
      && units_run_fill (run, data, error)
      && units_run_pass (run, PIRL_PASS_FORWARD, data, TRUE, error)
      && units_run_pass (run, PIRL_PASS_BACKWARD, data, TRUE, error);
}

static void
compare_bits (const UnitCase *unit_case, UnitRun runs[2], GString *problems)
{
  for (Role role = 0; role < ROLE_SAVED; role++) {
    const gsize n = units_role_count (unit_case, role);
    g_autofree gfloat *a = n ? units_run_read (&runs[0], role, NULL) : NULL;
    g_autofree gfloat *b = n ? units_run_read (&runs[1], role, NULL) : NULL;

    if (n && role != ROLE_D_OUTPUT && (!a || !b || memcmp (a, b, n * sizeof *a) != 0))
      g_string_append_printf (problems, "\n    %s: other bits", units_role_name (role));
  }
}

static guint
check_case (const UnitsContext *context, const UnitCase *unit_case)
{
  g_autofree gchar *shape = units_case_name (unit_case);
  g_autofree gchar *name = g_strdup_printf ("threads: %s", shape);
  g_autoptr (GString) problems = g_string_new (NULL);
  g_autoptr (GError) error = NULL;
  PirlDevice *devices[2] = { NULL, NULL };
  UnitRun runs[2] = { 0 };
  UnitData data;

  if (!units_selected (context, name))
    return 0;
  units_data_init (&data, unit_case, DATA_SEED);
  if (run_case (context, unit_case, &data, 1, &devices[0], &runs[0], &error)
      && run_case (context, unit_case, &data, 3, &devices[1], &runs[1], &error))
    compare_bits (unit_case, runs, problems);
  else
    g_string_append_printf (problems, "\n    %s", error->message);
  for (gint i = 0; i < 2; i++) {
    if (runs[i].device)
      units_run_clear (&runs[i]);
    g_clear_pointer (&devices[i], pirl_device_close);
  }
  units_data_clear (&data);
  return units_report (context, problems->len == 0, name, problems->str);
}

guint
units_check_threads (const UnitsContext *context)
{
  const PirlBackend *backend = context->tested->backend;
  const gchar *reason = NULL;
  guint failed = 0;

  if (strcmp (backend->name, "cpu") != 0)
    return 0;
  if (!backend->supports (context->tested, PIRL_MODE_TRAIN, PIRL_DTYPE_BF16, &reason)) {
    g_print ("threads: not run: %s\n", reason);
    return 0;
  }
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    failed += check_case (context, &cases[i]);
  g_print ("threads: %u failed\n", failed);
  return failed;
}
