/* gst-pirl: plans that were chosen, kept from run to run.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One file a problem, <user's cache folder>/gst-pirl/plans-<card>-<version of cuDNN>/<hash>.plan:
 *
 *   gst-pirl plan 1
 *   problem <the problem in words, and the most bytes of workspace>
 *   engine <number> ms <milliseconds> tried <plans>      or: refused <why>
 *   <cuDNN's JSON of the plan, with the kernels that were compiled for it>
 *
 * Files are written beside their place and renamed, so that processes at work at once see whole
 * ones; which of two stays does not matter. A file that is broken, of another problem (a hash by
 * chance), or whose plan cuDNN does not take any more is as good as none and written anew.
 */
#include "backends/cuda/convolution-private.h"

#include <string.h>

#define MAGIC "gst-pirl plan 1"
#define SEPARATORS "/\\ \t:"

gchar *
pirl_conv_cache_folder (const gchar *card)
{
  g_autofree gchar *version = pirl_cudnn_version ();
  g_autofree gchar *name = g_strdup_printf ("plans-%s-%s", card, version);

  return g_build_filename (g_get_user_cache_dir (), "gst-pirl", g_strdelimit (name, SEPARATORS,
          '-'), NULL);
}

/* The line that must be in the file. */
static gchar *
problem_line (const PirlConvEngine *engine, const PirlConvProblem *problem)
{
  g_autofree gchar *text = pirl_conv_problem_describe (problem);

  return g_strdup_printf ("problem %s, %" G_GSIZE_FORMAT " B", text, engine->workspace);
}

static gchar *
path_of (const PirlConvEngine *engine, const gchar *line)
{
  g_autofree gchar *hash = g_compute_checksum_for_string (G_CHECKSUM_SHA256, line, -1);
  g_autofree gchar *name = g_strdup_printf ("%.32s.plan", hash);

  return g_build_filename (engine->cache, name, NULL);
}

static gboolean
parse_numbers (const gchar *text, PirlConvPlan *plan)
{
  g_auto (GStrv) word = g_strsplit (text, " ", -1);
  guint64 tried;

  if (g_strv_length (word) != 6 || strcmp (word[0], "engine") != 0 || strcmp (word[2], "ms") != 0
      || strcmp (word[4], "tried") != 0
      || !g_ascii_string_to_signed (word[1], 10, 0, G_MAXINT32, &plan->engine, NULL)
      || !g_ascii_string_to_unsigned (word[5], 10, 0, G_MAXUINT16, &tried, NULL))
    return FALSE;
  plan->tried = (guint) tried;
  plan->ms = g_ascii_strtod (word[3], NULL);
  return plan->ms >= 0;
}

static PirlConvCacheAnswer
take_plan (PirlConvEngine *engine, const PirlConvProblem *problem, const gchar *numbers,
    const gchar *json, PirlConvPlan *plan)
{
  const PirlConvPlan nothing = { 0 };

  if (parse_numbers (numbers, plan) && pirl_conv_plan_load (engine, json, plan, NULL)) {
    if (plan->workspace + pirl_conv_bias_bytes (problem) <= engine->workspace)
      return PIRL_CONV_CACHE_PLAN;
    pirl_conv_plan_clear (plan);
  }
  *plan = nothing;
  return PIRL_CONV_CACHE_NOTHING;
}

PirlConvCacheAnswer
pirl_conv_cache_load (PirlConvEngine *engine, const PirlConvProblem *problem, PirlConvPlan *plan,
    GError **error)
{
  g_autofree gchar *line = NULL, *path = NULL, *text = NULL;
  g_auto (GStrv) part = NULL;

  if (!engine->cache)
    return PIRL_CONV_CACHE_NOTHING;
  line = problem_line (engine, problem);
  path = path_of (engine, line);
  if (!g_file_get_contents (path, &text, NULL, NULL))
    return PIRL_CONV_CACHE_NOTHING;
  part = g_strsplit (text, "\n", 4);
  if (g_strv_length (part) != 4 || strcmp (part[0], MAGIC) != 0 || strcmp (part[1], line) != 0)
    return PIRL_CONV_CACHE_NOTHING;
  if (!g_str_has_prefix (part[2], "refused "))
    return take_plan (engine, problem, part[2], part[3], plan);
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, part[2] + strlen ("refused "));
  return PIRL_CONV_CACHE_REFUSED;
}

void
pirl_conv_cache_save (const PirlConvEngine *engine, const PirlConvProblem *problem,
    const PirlConvPlan *plan, const gchar *refusal)
{
  g_autofree gchar *line = NULL, *path = NULL, *json = NULL, *answer = NULL, *text = NULL;
  gchar ms[G_ASCII_DTOSTR_BUF_SIZE];

  if (!engine->cache || (plan && (json = pirl_conv_plan_to_json (plan)) == NULL))
    return;
  answer = plan ? g_strdup_printf ("engine %" G_GINT64_FORMAT " ms %s tried %u", plan->engine,
      g_ascii_formatd (ms, sizeof ms, "%.6g", plan->ms), plan->tried)
      : g_strdup_printf ("refused %s", refusal);
  line = problem_line (engine, problem);
  path = path_of (engine, line);
  text = g_strdup_printf ("%s\n%s\n%s\n%s", MAGIC, line, answer, json ? json : "");
  if (g_mkdir_with_parents (engine->cache, 0700) == 0)
    g_file_set_contents (path, text, -1, NULL);
}
