/* gst-pirl: plots for scripts.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   pirl-plot FILE.png < DESCRIPTION
 *
 * DESCRIPTION is lines of words between tabs:
 *   panel TITLE X-LABEL Y-LABEL    logarithmic axes
 *   linear TITLE X-LABEL Y-LABEL   linear axes
 *   ticks NAME NAME ...            of a linear panel: what x = 1, 2, ... are called
 *   curve NAME                     a line with marks; or dashed NAME, line NAME (no marks),
 *                                  points NAME (marks only)
 *   X Y, or X Y LOW HIGH           a point of the last curve, with the ends of its interval
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plot.h"

typedef struct {
  gchar *name;
  gboolean dashed;
  PirlCurveForm form;
  GArray *columns[4];           /* gdouble: x, y, low, high */
} Curve;

typedef struct {
  gboolean linear;
  gchar **words;                /* title and labels */
  gchar **ticks;
  GArray *curves;               /* Curve */
} Panel;

static void
curve_clear (gpointer data)
{
  Curve *curve = data;

  g_free (curve->name);
  for (guint i = 0; i < G_N_ELEMENTS (curve->columns); i++)
    g_array_unref (curve->columns[i]);
}

static void
panel_clear (gpointer data)
{
  Panel *panel = data;

  g_strfreev (panel->words);
  g_strfreev (panel->ticks);
  g_array_unref (panel->curves);
}

static void
begin_panel (GArray *panels, gchar **words)
{
  Panel panel = { strcmp (words[0], "linear") == 0, g_strdupv (words + 1), NULL,
    g_array_new (FALSE, FALSE, sizeof (Curve)) };

  g_array_set_clear_func (panel.curves, curve_clear);
  g_array_append_val (panels, panel);
}

/* What a curve's first word says of how it is drawn. */
static const struct {
  const gchar *word;
  gboolean dashed;
  PirlCurveForm form;
} forms[] = {
  { "curve", FALSE, PIRL_CURVE_BOTH },
  { "dashed", TRUE, PIRL_CURVE_LINE },
  { "line", FALSE, PIRL_CURVE_LINE },
  { "points", FALSE, PIRL_CURVE_POINTS },
};

static gboolean
begin_curve (Panel *panel, gchar **words)
{
  for (guint i = 0; i < G_N_ELEMENTS (forms); i++)
    if (strcmp (words[0], forms[i].word) == 0) {
      Curve curve = { g_strdup (words[1]), forms[i].dashed, forms[i].form, { NULL } };

      for (guint c = 0; c < G_N_ELEMENTS (curve.columns); c++)
        curve.columns[c] = g_array_new (FALSE, FALSE, sizeof (gdouble));
      g_array_append_val (panel->curves, curve);
      return TRUE;
    }
  return FALSE;
}

/* FALSE where a word is no number. */
static gboolean
add_point (Curve *curve, gchar **words)
{
  const guint n = g_strv_length (words);

  for (guint c = 0; c < G_N_ELEMENTS (curve->columns); c++) {
    gchar *end = NULL;
    const gdouble value = c < n ? g_ascii_strtod (words[c], &end) : NAN;

    if (c < n && (end == words[c] || *end != '\0'))
      return FALSE;
    g_array_append_val (curve->columns[c], value);
  }
  return TRUE;
}

/* FALSE when the line does not belong where it stands. */
static gboolean
take_line (GArray *panels, gchar *line)
{
  g_auto (GStrv) words = g_strsplit (g_strchomp (line), "\t", -1);
  const guint n = g_strv_length (words);
  Panel *panel = panels->len ? &g_array_index (panels, Panel, panels->len - 1) : NULL;
  Curve *last = panel && panel->curves->len
      ? &g_array_index (panel->curves, Curve, panel->curves->len - 1) : NULL;

  if (n == 0 || (n == 1 && *words[0] == '\0'))
    return TRUE;
  if (n == 4 && (strcmp (words[0], "panel") == 0 || strcmp (words[0], "linear") == 0)) {
    begin_panel (panels, words);
    return TRUE;
  }
  if (n > 1 && panel && panel->linear && !panel->ticks && strcmp (words[0], "ticks") == 0) {
    panel->ticks = g_strdupv (words + 1);
    return TRUE;
  }
  if (n == 2 && panel && begin_curve (panel, words))
    return TRUE;
  return (n == 2 || n == 4) && last && add_point (last, words);
}

static const gdouble *
column (const Curve *curve, guint c)
{
  return (const gdouble *) (gpointer) curve->columns[c]->data;
}

static gboolean
draw (const gchar *path, GArray *panels, GError **error)
{
  g_autofree PirlPanel *drawn = g_new0 (PirlPanel, panels->len);
  g_autoptr (GPtrArray) all_curves = g_ptr_array_new_with_free_func (g_free);

  for (guint p = 0; p < panels->len; p++) {
    const Panel *panel = &g_array_index (panels, Panel, p);
    PirlCurve *curves = g_new0 (PirlCurve, panel->curves->len);

    g_ptr_array_add (all_curves, curves);
    for (guint c = 0; c < panel->curves->len; c++) {
      const Curve *curve = &g_array_index (panel->curves, Curve, c);

      curves[c] = (PirlCurve) { curve->name, column (curve, 0), column (curve, 1),
        curve->columns[0]->len, curve->dashed, curve->form, column (curve, 2), column (curve, 3) };
    }
    drawn[p] = (PirlPanel) { panel->words[0], panel->words[1], panel->words[2], curves,
      panel->curves->len, panel->linear, (const gchar *const *) panel->ticks };
  }
  return pirl_plot_panels (path, drawn, panels->len, error);
}

static gboolean
read_description (GArray *panels)
{
  g_auto (GStrv) lines = NULL;
  g_autoptr (GString) read = g_string_new (NULL);
  gchar block[4096];
  gsize n;

  while ((n = fread (block, 1, sizeof block, stdin)) > 0)
    g_string_append_len (read, block, (gssize) n);
  lines = g_strsplit (read->str, "\n", -1);
  for (guint i = 0; lines[i]; i++)
    if (!take_line (panels, lines[i])) {
      g_printerr ("pirl-plot: line %u, \"%s\", is no panel, curve or point where it stands\n",
          i + 1, lines[i]);
      return FALSE;
    }
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GArray) panels = g_array_new (FALSE, FALSE, sizeof (Panel));
  g_autoptr (GError) error = NULL;

  g_array_set_clear_func (panels, panel_clear);
  if (argc != 2) {
    g_printerr ("usage: pirl-plot FILE.png < DESCRIPTION\n");
    return 2;
  }
  if (!read_description (panels))
    return 1;
  if (!draw (argv[1], panels, &error)) {
    g_printerr ("pirl-plot: %s\n", error->message);
    return 1;
  }
  return 0;
}
