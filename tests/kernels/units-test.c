/* gst-pirl: tests a backend unit by unit, and the reference backend it is compared with.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   units-test [--backend cpu] [--only TEXT] [--threads N] [--quick] [--verbose]
 *   units-test --bench [--batch N] [--only TEXT]
 */
#include "units-checks.h"

#include <string.h>

static gchar *backend_name = NULL, *only = NULL;
static gint n_threads = 0, bench_batch = 8;
static gboolean verbose = FALSE, bench = FALSE, quick = FALSE;

static const GOptionEntry options[] = {
  { "backend", 0, 0, G_OPTION_ARG_STRING, &backend_name, "Backend to test (cpu)", "NAME" },
  { "only", 0, 0, G_OPTION_ARG_STRING, &only, "Run what has TEXT in its name", "TEXT" },
  { "threads", 0, 0, G_OPTION_ARG_INT, &n_threads, "Threads; 0 = the machine's cores", "N" },
  { "quick", 0, 0, G_OPTION_ARG_NONE, &quick, "Small cases, and none of the reference by itself",
    NULL },
  { "verbose", 'v', 0, G_OPTION_ARG_NONE, &verbose, "A line for every case", NULL },
  { "bench", 0, 0, G_OPTION_ARG_NONE, &bench, "Time the units of ResNet-50 instead", NULL },
  { "batch", 0, 0, G_OPTION_ARG_INT, &bench_batch, "Batch of --bench (8)", "N" },
  { NULL }
};

gboolean
units_selected (const UnitsContext *context, const gchar *name)
{
  return context->only == NULL || strstr (name, context->only) != NULL;
}

guint
units_report (const UnitsContext *context, gboolean ok, const gchar *name, const gchar *details)
{
  if (!ok || context->verbose)
    g_print ("%s %s%s\n", ok ? "ok  " : "FAIL", name, details);
  return ok ? 0 : 1;
}

static guint
run_checks (const UnitsContext *context)
{
  static const struct {
    guint (*run) (const UnitsContext *);
    gboolean quick;
  } checks[] = {
    { units_check_names, TRUE }, { units_check_refusals, TRUE }, { units_check_golden, FALSE },
    { units_check_gradients, FALSE }, { units_check_table, TRUE }, { units_check_chain, TRUE },
    { units_check_threads, TRUE }, { units_check_contrast, TRUE },
  };
  guint failed = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (checks); i++)
    if (!context->quick || checks[i].quick)
      failed += checks[i].run (context);
  return failed;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) parser = g_option_context_new ("- units against the reference");
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlDevice) tested = NULL, reference = NULL;
  guint failed = 0;

  g_option_context_add_main_entries (parser, options, NULL);
  if (!g_option_context_parse (parser, &argc, &argv, &error)
      || (tested = pirl_device_open (backend_name ? backend_name : "cpu", n_threads, TRUE,
              &error)) == NULL
      || (reference = pirl_device_open ("reference", 1, TRUE, &error)) == NULL) {
    g_printerr ("%s\n", error->message);
    return 1;
  }

  const UnitsContext context = { tested, reference, only, verbose, quick,
    MAX (bench_batch, 1) };

  g_print ("tested: %s\n", tested->description);
  if (bench)
    units_bench (&context);
  else
    g_print ("%u failed\n", failed = run_checks (&context));
  return failed ? 1 : 0;
}
