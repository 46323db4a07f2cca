/* gst-pirl: is the agent worth it? Policies of adacompressenc judged on a folder of pictures.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   evaluate-compression FOLDER --cloud CLOUD [--extractor FILE]... [--json FILE] [--plot FILE]
 *     [--explain N]
 *
 * Every picture is asked about at every quality once; then the fixed qualities, the paper's agent
 * (dqn), ours (bandit) and the cheapest agreeing quality (oracle) are compared on random halves.
 */
#include <math.h>
#include <string.h>

#include "evaluate-explain.h"
#include "evaluate-report.h"

#define REFERENCE 75

/* The element's own lists; recordings have the paper's qualities only. */
static const gint bandit_grid[] = { 5, 7, 9, 11, 13, 15, 17, 19, 22, 25, 30, 35, 45, 55, 65, 75 };
static const gint paper_grid[] = { 5, 15, 25, 35, 45, 55, 65, 75, 85, 95 };

/* Where the bandit's curve is taken; the wanted target is put between them. */
static const gdouble targets[] = { .80, .85, .90, .93, .95, .97, .98, .99 };

static const struct {
  const gchar *name;
  AdaAgreement mode;
} agreements[] = {
  { "top1-in-top5", ADA_AGREEMENT_TOP1_IN_TOP5 },
  { "top5-overlap", ADA_AGREEMENT_TOP5_OVERLAP },
  { "top1", ADA_AGREEMENT_TOP1 },
};

static const struct {
  const gchar *name;
  PirlHuffman huffman;
} tables[] = {
  { "standard", PIRL_HUFFMAN_STANDARD },
  { "tuned", PIRL_HUFFMAN_TUNED },
  { "optimized", PIRL_HUFFMAN_OPTIMIZED },
};

static gchar *cloud_uri, **extractors, *json_path, *plot_path, *cache, *agreement_name;
static gchar *huffman_name, *device, **folders, *levels;
static gint explain, halves = 20, limit, n_threads, seed = 1, dqn_steps = 1500;
static gdouble target = .95, alpha = 1, beta;
static gboolean all_views, flat;

static const GOptionEntry entries[] = {
  { "cloud", 0, 0, G_OPTION_ARG_STRING, &cloud_uri, "Who says what a picture shows: local:MODEL, "
      "replay:FILE[#SERVICE], oip+http://...", "CLOUD" },
  { "extractor", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &extractors,
      "Network of the agent's features; again for further ones to compare", "FILE" },
  { "agreement", 0, 0, G_OPTION_ARG_STRING, &agreement_name,
      "top1-in-top5 (default), top5-overlap, top1", "MODE" },
  { "target", 0, 0, G_OPTION_ARG_DOUBLE, &target, "Agreement to be kept (.95)", "A" },
  { "huffman", 0, 0, G_OPTION_ARG_STRING, &huffman_name, "standard, tuned, optimized (default)",
      "TABLES" },
  { "flat", 0, 0, G_OPTION_ARG_NONE, &flat,
      "Flatter quantisation tables than Annex K's below the reference quality", NULL },
  { "qualities", 0, 0, G_OPTION_ARG_STRING, &levels, "The bandit's, as in 5,7,9,11; 75 is added",
      "LIST" },
  { "halves", 0, 0, G_OPTION_ARG_INT, &halves, "Random halves (20)", "N" },
  { "limit", 0, 0, G_OPTION_ARG_INT, &limit, "At most so many pictures", "N" },
  { "views", 0, 0, G_OPTION_ARG_NONE, &all_views,
      "Also judge what else the agent could look at", NULL },
  { "json", 0, 0, G_OPTION_ARG_FILENAME, &json_path, "Write the results", "FILE" },
  { "plot", 0, 0, G_OPTION_ARG_FILENAME, &plot_path, "Draw them (PNG)", "FILE" },
  { "explain", 0, 0, G_OPTION_ARG_INT, &explain,
      "Heat maps of N pictures: what the agent fears for, beside the plot", "N" },
  { "cache", 0, 0, G_OPTION_ARG_FILENAME, &cache, "Keep the cloud's answers here", "FILE" },
  { "alpha", 0, 0, G_OPTION_ARG_DOUBLE, &alpha, "Of the dqn's reward (1)", "A" },
  { "beta", 0, 0, G_OPTION_ARG_DOUBLE, &beta, "Of the dqn's reward (0)", "B" },
  { "dqn-steps", 0, 0, G_OPTION_ARG_INT, &dqn_steps,
      "Transitions the dqn learns from (1500)", "N" },
  { "seed", 0, 0, G_OPTION_ARG_INT, &seed, "Of halves and agents (1)", "N" },
  { "device", 0, 0, G_OPTION_ARG_STRING, &device,
      "Of the networks: cpu, cuda, cuda:N (auto: the CPU)", "DEVICE" },
  { "n-threads", 0, 0, G_OPTION_ARG_INT, &n_threads, "Of the networks (0 = all)", "N" },
  { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &folders, NULL, "FOLDER" },
  { NULL }
};

/* --- settings --- */

static gboolean
invalid (GError **error, const gchar *what, const gchar *value, const gchar *possible)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "--%s %s; possible: %s", what, value,
      possible);
  return FALSE;
}

static gboolean
parse_names (EvalTableConfig *config, GError **error)
{
  gboolean found = FALSE;

  config->agreement = ADA_AGREEMENT_TOP1_IN_TOP5;
  config->huffman = PIRL_HUFFMAN_OPTIMIZED;
  for (guint i = 0; agreement_name && i < G_N_ELEMENTS (agreements); i++)
    if (g_str_equal (agreement_name, agreements[i].name)) {
      config->agreement = agreements[i].mode;
      found = TRUE;
    }
  if (agreement_name && !found)
    return invalid (error, "agreement", agreement_name, "top1-in-top5, top5-overlap, top1");
  found = FALSE;
  for (guint i = 0; huffman_name && i < G_N_ELEMENTS (tables); i++)
    if (g_str_equal (huffman_name, tables[i].name)) {
      config->huffman = tables[i].huffman;
      found = TRUE;
    }
  if (huffman_name && !found)
    return invalid (error, "huffman", huffman_name, "standard, tuned, optimized");
  return TRUE;
}

/* Marks the qualities of the bandit's own list. */
static gboolean
parse_qualities (gboolean wanted[101], GError **error)
{
  g_auto (GStrv) list = levels ? g_strsplit (levels, ",", -1) : NULL;

  if (!list)
    for (guint i = 0; i < G_N_ELEMENTS (bandit_grid); i++)
      wanted[bandit_grid[i]] = TRUE;
  for (guint i = 0; list && list[i]; i++) {
    const gint64 quality = g_ascii_strtoll (list[i], NULL, 10);

    if (quality < 1 || quality >= REFERENCE)
      return invalid (error, "qualities", levels, "a list of 1 to 74, as in 5,7,9,11");
    wanted[quality] = TRUE;
  }
  wanted[REFERENCE] = TRUE;
  return TRUE;
}

/* What the table needs, and which of its levels each policy may choose. */
typedef struct {
  gint qualities[101];
  guint n;
  guint bandit[101], dqn[101], n_bandit, n_dqn;
} Grids;

static gboolean
make_grids (Grids *grids, gboolean recorded, GError **error)
{
  gboolean bandit[101] = { FALSE }, paper[101] = { FALSE };
  guint level = 0;

  for (guint i = 0; i < G_N_ELEMENTS (paper_grid); i++)
    paper[paper_grid[i]] = TRUE;
  if (recorded)
    memcpy (bandit, paper, sizeof bandit);
  else if (!parse_qualities (bandit, error))
    return FALSE;
  memset (grids, 0, sizeof *grids);
  for (gint quality = 1; quality <= 100; quality++) {
    if (!bandit[quality] && !paper[quality])
      continue;
    /* Above the reference only to see how steady a recorded service was. */
    if (quality > REFERENCE && !recorded)
      continue;
    grids->qualities[grids->n++] = quality;
    if (quality > REFERENCE)
      continue;
    if (bandit[quality])
      grids->bandit[grids->n_bandit++] = level;
    if (paper[quality])
      grids->dqn[grids->n_dqn++] = level;
    level++;
  }
  return TRUE;
}

/* --- judging --- */

/* @whole: for a row of targets, not only the wanted one. */
static EvalCurve
take_curve (EvalTrial trial, const EvalLook *look, const Grids *grids, guint labels,
    gboolean whole)
{
  const gdouble wanted = trial.target;
  EvalCurve curve = { look, labels, 0, NULL, NULL };

  curve.targets = g_new (gdouble, G_N_ELEMENTS (targets) + 1);
  curve.outcomes = g_new (EvalOutcome, G_N_ELEMENTS (targets) + 1);
  for (guint i = 0; whole && i < G_N_ELEMENTS (targets) && targets[i] < wanted; i++)
    curve.targets[curve.n++] = targets[i];
  curve.targets[curve.n++] = wanted;
  for (guint i = 0; whole && i < G_N_ELEMENTS (targets); i++)
    if (targets[i] > wanted)
      curve.targets[curve.n++] = targets[i];
  for (guint i = 0; i < curve.n; i++) {
    trial.target = curve.targets[i];
    curve.outcomes[i] = eval_bandit (&trial, look, grids->bandit, grids->n_bandit, labels);
  }
  return curve;
}

static void
curve_clear (gpointer data)
{
  EvalCurve *curve = data;

  g_free (curve->targets);
  g_free (curve->outcomes);
}

/* The element's look with all, 3 and 1 answers a picture, then the other looks with all. */
static GArray *
take_curves (const EvalTrial *trial, const Grids *grids)
{
  static const guint labels[] = { 0, 3, 1 };
  GArray *curves = g_array_new (FALSE, FALSE, sizeof (EvalCurve));

  g_array_set_clear_func (curves, curve_clear);
  for (guint k = 0; k < trial->table->looks->len; k++) {
    for (guint i = 0; i < (k == 0 ? G_N_ELEMENTS (labels) : 1); i++) {
      const EvalCurve curve = take_curve (*trial, trial->table->looks->pdata[k], grids, labels[i],
          k == 0 && i == 0);

      g_array_append_val (curves, curve);
    }
  }
  return curves;
}

static gboolean
judge (EvalReport *report, const EvalTrial *trial, const Grids *grids, GError **error)
{
  const EvalTable *table = trial->table;
  const gint64 start = g_get_monotonic_time ();
  const EvalCurve *own;

  report->table = table;
  report->halves = trial->halves;
  report->target = trial->target;
  report->fixed = g_new (EvalOutcome, table->levels);
  for (guint l = 0; l < table->levels; l++)
    report->fixed[l] = eval_fixed (trial, l);
  report->fixed_learnt = eval_fixed_learnt (trial);
  report->oracle = eval_oracle (trial, 1);
  report->oracle_at_target = eval_oracle (trial, trial->target);
  report->curves = take_curves (trial, grids);
  own = &g_array_index (report->curves, EvalCurve, 0);
  for (guint i = 0; i < own->n; i++)
    if (own->targets[i] == trial->target)
      report->bandit = own->outcomes[i];
  report->has_dqn = table->n_features > 0 && dqn_steps > 0;
  if (report->has_dqn && !eval_dqn (trial, grids->dqn, grids->n_dqn, &report->dqn, error))
    return FALSE;
  report->seconds = (g_get_monotonic_time () - start) / 1e6;
  return TRUE;
}

static gboolean
write_all (const EvalReport *report, const EvalTableConfig *config, const Grids *grids,
    GError **error)
{
  g_autofree gchar *stem = plot_path ? g_strdup (plot_path) : g_strdup ("explain");

  eval_report_print (report);
  if (json_path && !eval_report_json (report, json_path, error))
    return FALSE;
  if (plot_path && !eval_report_plot (report, plot_path, error))
    return FALSE;
  if (g_str_has_suffix (stem, ".png"))
    stem[strlen (stem) - 4] = 0;
  return explain <= 0 || eval_explain (report->table, config, target, grids->bandit,
      grids->n_bandit, stem, explain, error);
}

static gboolean
evaluate (EvalTableConfig *config, GError **error)
{
  g_autoptr (AdaCloud) cloud = NULL;
  g_autoptr (EvalTable) table = NULL;
  EvalReport report = { .folder = config->folder, .cloud = cloud_uri };
  EvalTrial trial = { NULL, MAX (1, halves), seed, target, alpha, beta, MAX (0, dqn_steps) };
  Grids grids;
  gboolean good;

  if (!parse_names (config, error)
      || !make_grids (&grids, g_str_has_prefix (cloud_uri, "replay:"), error))
    return FALSE;
  config->qualities = grids.qualities;
  config->n_qualities = grids.n;
  cloud = ada_cloud_new (cloud_uri, config->device, config->n_threads, error);
  if (!cloud || !(table = eval_table_new (config, cloud, error)))
    return FALSE;
  trial.table = table;
  good = judge (&report, &trial, &grids, error) && write_all (&report, config, &grids, error);
  g_clear_pointer (&report.curves, g_array_unref);
  g_free (report.fixed);
  return good;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GError) error = NULL;
  EvalTableConfig config = { .reference = REFERENCE };

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context, "Judges the policies of adacompressenc on a folder of "
      "pictures: the cloud is asked about every\npicture at every quality, then agents learn from "
      "random halves and are judged on the others.");
  if (!g_option_context_parse (context, &argc, &argv, &error) || !folders || folders[1]
      || !cloud_uri || !(target > 0 && target < 1)) {
    g_printerr ("%s\n", error ? error->message : "usage: evaluate-compression FOLDER --cloud CLOUD "
        "[--extractor FILE] [--target 0..1] [--json FILE] [--plot FILE] [--explain N]");
    return 2;
  }
  config.folder = folders[0];
  config.cloud_uri = cloud_uri;
  config.extractors = extractors;
  config.limit = MAX (0, limit);
  config.views = all_views;
  config.flat = flat;
  config.device = device ? device : "auto";
  config.cache = cache;
  config.n_threads = MAX (0, n_threads);
  if (evaluate (&config, &error))
    return 0;
  g_printerr ("\n%s\n", error->message);
  return 1;
}
