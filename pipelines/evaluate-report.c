/* gst-pirl: what the evaluation leaves (see evaluate-report.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evaluate-report.h"

#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>
#include "plot.h"

static gdouble
noise_floor (const EvalTable *table, guint *cells)
{
  gdouble sum = 0;

  *cells = 0;
  for (guint i = 0; i < table->n; i++) {
    for (guint l = table->levels; l < table->qualities_all; l++) {
      const gfloat agreement = table->agreement[(gsize) i * table->qualities_all + l];

      if (agreement < 0)
        continue;
      sum += 1 - agreement;
      (*cells)++;
    }
  }
  return *cells ? sum / *cells : NAN;
}

static gchar *
labels_name (guint labels)
{
  return labels ? g_strdup_printf ("%u", labels) : g_strdup ("all");
}

/* --- the table --- */

static void
print_row (const gchar *name, const EvalOutcome *o)
{
  g_print ("%-34s %5.1f %% (%4.1f-%4.1f)   %.3f +-%.3f   %.3f +-%.3f   %6.3f\n", name,
      100 * o->agreement, 100 * o->low, 100 * o->high, o->size, o->size_error, o->to_fixed,
      o->to_fixed_error, o->wire);
}

/* The outcome at the report's own target. */
static const EvalOutcome *
at_target (const EvalReport *report, const EvalCurve *curve)
{
  for (guint i = 0; i < curve->n; i++)
    if (curve->targets[i] == report->target)
      return &curve->outcomes[i];
  return &curve->outcomes[0];
}

static void
print_curve (const EvalReport *report, const EvalCurve *curve)
{
  g_autofree gchar *labels = labels_name (curve->labels);
  const EvalOutcome *own = at_target (report, curve);

  g_print ("%-30s %-4s %6.0f   %5.1f %% %.3f %.3f", curve->look->name, labels,
      curve->look->milliseconds, 100 * own->agreement, own->size, own->to_fixed);
  for (guint k = 0; k < EVAL_POINTS; k++)
    g_print ("   %.3f %.3f+-%.3f", own->points[k].size, own->points[k].to_fixed,
        own->points[k].to_fixed_error);
  g_print ("\n");
}

static void
print_shares (const gchar *name, const EvalOutcome *o)
{
  g_print ("%-10s", name);
  for (guint q = 0; q <= 100; q++)
    if (o->shares[q] >= .0005)
      g_print (" %u: %.1f %%", q, 100 * o->shares[q]);
  g_print ("\n");
}

void
eval_report_print (const EvalReport *report)
{
  const EvalTable *table = report->table;
  guint cells;
  const gdouble noise = noise_floor (table, &cells);

  g_print ("\n%s: %u pictures, %u halves, learnt on one, judged on the other; cloud %s\n\n",
      report->folder, table->n, report->halves, report->cloud);
  g_print ("%-34s %-22s   %-13s   %-13s   %s\n", "policy", "agreement (95 %)", "size",
      "/ best fixed", "on wire");
  for (guint l = 0; l < table->levels; l++) {
    g_autofree gchar *name = g_strdup_printf ("fixed, quality %d", table->qualities[l]);

    if (report->fixed[l].judged > 0)
      print_row (name, &report->fixed[l]);
  }
  print_row ("fixed, learnt", &report->fixed_learnt);
  if (report->has_dqn)
    print_row ("dqn", &report->dqn);
  print_row ("bandit", &report->bandit);
  print_row ("oracle", &report->oracle);
  print_row ("oracle, at the target", &report->oracle_at_target);
  g_print ("\nbandit, by what it sees and how many answers a picture it learns from\n"
      "%-30s %-4s %6s   %-19s", "sees", "told", "ms", "with its own lambda");
  for (guint k = 0; k < EVAL_POINTS; k++)
    g_print ("   at %.0f %%: / best fixed", 100 * eval_points[k]);
  g_print ("\n");
  for (guint i = 0; i < report->curves->len; i++)
    print_curve (report, &g_array_index (report->curves, EvalCurve, i));
  g_print ("\nqualities chosen\n");
  if (report->has_dqn)
    print_shares ("dqn", &report->dqn);
  print_shares ("bandit", &report->bandit);
  print_shares ("oracle", &report->oracle);
  if (cells)
    g_print ("\nnoise: above the reference quality the cloud disagrees with itself on %.1f %% of "
        "%u answers\n", 100 * noise, cells);
}

/* --- JSON --- */

static void
add_number (JsonBuilder *json, const gchar *name, gdouble value)
{
  json_builder_set_member_name (json, name);
  if (isfinite (value))
    json_builder_add_double_value (json, round (value * 1e5) / 1e5);
  else
    json_builder_add_null_value (json);
}

static void
add_integer (JsonBuilder *json, const gchar *name, gint64 value)
{
  json_builder_set_member_name (json, name);
  json_builder_add_int_value (json, value);
}

static void
add_string (JsonBuilder *json, const gchar *name, const gchar *value)
{
  json_builder_set_member_name (json, name);
  json_builder_add_string_value (json, value);
}

/* The members of an outcome, into the object that is open. */
static void
add_outcome (JsonBuilder *json, const EvalOutcome *o)
{
  add_number (json, "agreement", o->agreement);
  add_number (json, "agreement_low", o->low);
  add_number (json, "agreement_high", o->high);
  add_number (json, "agreement_error", o->agreement_error);
  add_number (json, "size_ratio", o->size);
  add_number (json, "size_ratio_error", o->size_error);
  add_number (json, "to_best_fixed", o->to_fixed);
  add_number (json, "to_best_fixed_error", o->to_fixed_error);
  add_number (json, "wire_ratio", o->wire);
  add_number (json, "judged", o->judged);
  json_builder_set_member_name (json, "qualities");
  json_builder_begin_object (json);
  for (guint q = 0; q <= 100; q++) {
    g_autofree gchar *name = g_strdup_printf ("%u", q);

    if (o->shares[q] > 0)
      add_number (json, name, o->shares[q]);
  }
  json_builder_end_object (json);
}

static void
add_policy (JsonBuilder *json, const gchar *name, const EvalOutcome *o)
{
  json_builder_set_member_name (json, name);
  json_builder_begin_object (json);
  add_outcome (json, o);
  json_builder_end_object (json);
}

static void
add_points (JsonBuilder *json, const EvalOutcome *outcome)
{
  json_builder_set_member_name (json, "at");
  json_builder_begin_array (json);
  for (guint k = 0; k < EVAL_POINTS; k++) {
    const EvalPoint *point = &outcome->points[k];

    json_builder_begin_object (json);
    add_number (json, "agreement", eval_points[k]);
    add_number (json, "size_ratio", point->size);
    add_number (json, "size_ratio_error", point->size_error);
    add_number (json, "to_best_fixed", point->to_fixed);
    add_number (json, "to_best_fixed_error", point->to_fixed_error);
    json_builder_end_object (json);
  }
  json_builder_end_array (json);
}

static void
add_curve (JsonBuilder *json, const EvalReport *report, const EvalCurve *curve)
{
  g_autofree gchar *labels = labels_name (curve->labels);

  json_builder_begin_object (json);
  add_string (json, "sees", curve->look->name);
  add_string (json, "labels", labels);
  add_number (json, "labels_a_picture", curve->outcomes[0].labels);
  add_number (json, "milliseconds", curve->look->milliseconds);
  add_points (json, at_target (report, curve));
  json_builder_set_member_name (json, "targets");
  json_builder_begin_array (json);
  for (guint i = 0; i < curve->n; i++) {
    json_builder_begin_object (json);
    add_number (json, "target", curve->targets[i]);
    add_number (json, "agreement", curve->outcomes[i].agreement);
    add_number (json, "size_ratio", curve->outcomes[i].size);
    add_number (json, "to_best_fixed", curve->outcomes[i].to_fixed);
    add_number (json, "to_best_fixed_error", curve->outcomes[i].to_fixed_error);
    add_number (json, "wire_ratio", curve->outcomes[i].wire);
    json_builder_end_object (json);
  }
  json_builder_end_array (json);
  json_builder_end_object (json);
}

static void
add_setting (JsonBuilder *json, const EvalReport *report)
{
  const EvalTable *table = report->table;
  guint cells;
  const gdouble noise = noise_floor (table, &cells);

  add_string (json, "folder", report->folder);
  add_string (json, "cloud", report->cloud);
  add_integer (json, "pictures", table->n);
  add_integer (json, "halves", report->halves);
  add_number (json, "target", report->target);
  add_integer (json, "reference_quality", table->qualities[table->levels - 1]);
  add_number (json, "seconds", report->seconds);
  add_number (json, "noise_floor", noise);
  add_integer (json, "noise_cells", cells);
}

gboolean
eval_report_json (const EvalReport *report, const gchar *path, GError **error)
{
  const EvalTable *table = report->table;
  g_autoptr (JsonBuilder) json = json_builder_new ();
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonNode) root = NULL;

  json_builder_begin_object (json);
  add_setting (json, report);
  json_builder_set_member_name (json, "fixed");
  json_builder_begin_array (json);
  for (guint l = 0; l < table->levels; l++) {
    if (report->fixed[l].judged == 0)
      continue;
    json_builder_begin_object (json);
    add_integer (json, "quality", table->qualities[l]);
    add_outcome (json, &report->fixed[l]);
    json_builder_end_object (json);
  }
  json_builder_end_array (json);
  add_policy (json, "fixed_learnt", &report->fixed_learnt);
  if (report->has_dqn)
    add_policy (json, "dqn", &report->dqn);
  add_policy (json, "bandit", &report->bandit);
  add_policy (json, "oracle", &report->oracle);
  add_policy (json, "oracle_at_target", &report->oracle_at_target);
  json_builder_set_member_name (json, "curves");
  json_builder_begin_array (json);
  for (guint i = 0; i < report->curves->len; i++)
    add_curve (json, report, &g_array_index (report->curves, EvalCurve, i));
  json_builder_end_array (json);
  json_builder_end_object (json);
  root = json_builder_get_root (json);
  json_generator_set_root (generator, root);
  json_generator_set_pretty (generator, TRUE);
  return json_generator_to_file (generator, path, error);
}

/* --- the plot --- */

/* Beyond these nobody wants to be. */
#define PLOT_DISAGREEMENT .25
#define PLOT_SIZE .7

static PirlCurve
curve_of (const gchar *name, const EvalOutcome *outcomes, guint n)
{
  gdouble *x = g_new (gdouble, n), *y = g_new (gdouble, n);
  guint kept = 0;

  for (guint i = 0; i < n; i++) {
    if (outcomes[i].judged == 0 || 1 - outcomes[i].agreement > PLOT_DISAGREEMENT
        || outcomes[i].size > PLOT_SIZE)
      continue;
    x[kept] = 100 * (1 - outcomes[i].agreement);
    y[kept++] = outcomes[i].size;
  }
  return (PirlCurve) { name, x, y, kept };
}

/* A single outcome as a cross, its arms the standard errors. */
static PirlCurve
cross_of (const gchar *name, const EvalOutcome *o)
{
  const gdouble dx = MAX (.2, 100 * o->agreement_error), dy = MAX (.005, o->size_error);
  const gdouble arms[][2] = { {-dx, 0}, {dx, 0}, {0, 0}, {0, -dy}, {0, dy} };
  gdouble *x = g_new (gdouble, G_N_ELEMENTS (arms)), *y = g_new (gdouble, G_N_ELEMENTS (arms));

  for (guint i = 0; i < G_N_ELEMENTS (arms); i++) {
    x[i] = 100 * (1 - o->agreement) + arms[i][0];
    y[i] = o->size + arms[i][1];
  }
  return (PirlCurve) { name, x, y, G_N_ELEMENTS (arms) };
}

gboolean
eval_report_plot (const EvalReport *report, const gchar *path, GError **error)
{
  const EvalCurve *own = &g_array_index (report->curves, EvalCurve, 0);
  const EvalOutcome oracle[] = { report->oracle, report->oracle_at_target };
  PirlCurve curves[4];
  guint n = 0;
  gboolean good;

  curves[n++] = curve_of ("bandit", own->outcomes, own->n);
  curves[n++] = curve_of ("fixed quality", report->fixed, report->table->levels);
  curves[n++] = curve_of ("oracle", oracle, G_N_ELEMENTS (oracle));
  if (report->has_dqn)
    curves[n++] = cross_of ("dqn", &report->dqn);
  good = pirl_plot_curves (path, "What it costs to be seen the same",
      "answers that change, %", "bytes / bytes of the reference", curves, n, error);
  for (guint i = 0; i < n; i++) {
    g_free ((gpointer) curves[i].x);
    g_free ((gpointer) curves[i].y);
  }
  return good;
}
