/* gst-pirl: the plot of tests/bench/scaling.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   scaling-plot FILE.png < DESCRIPTION
 *
 * DESCRIPTION is lines of words between tabs: "panel TITLE X-LABEL Y-LABEL", then for each of its
 * curves "curve NAME" or "dashed NAME" and its points, "X Y". Both axes are logarithmic.
 */
#include <stdio.h>
#include <string.h>

#include "pipelines/plot.h"

typedef struct {
  gchar *name;
  gboolean dashed;
  GArray *x, *y;
} Curve;

typedef struct {
  gchar **words;                /* title and labels */
  GArray *curves;               /* Curve */
} Panel;

static void
curve_clear (gpointer data)
{
  Curve *curve = data;

  g_free (curve->name);
  g_array_unref (curve->x);
  g_array_unref (curve->y);
}

static void
panel_clear (gpointer data)
{
  Panel *panel = data;

  g_strfreev (panel->words);
  g_array_unref (panel->curves);
}

static void
begin_panel (GArray *panels, gchar **words)
{
  Panel panel = { g_strdupv (words + 1), g_array_new (FALSE, FALSE, sizeof (Curve)) };

  g_array_set_clear_func (panel.curves, curve_clear);
  g_array_append_val (panels, panel);
}

/* FALSE when the line does not belong where it stands. */
static gboolean
take_line (GArray *panels, gchar *line)
{
  g_auto (GStrv) words = g_strsplit (g_strstrip (line), "\t", -1);
  const guint n = g_strv_length (words);
  Panel *panel = panels->len ? &g_array_index (panels, Panel, panels->len - 1) : NULL;
  Curve *last = panel && panel->curves->len
      ? &g_array_index (panel->curves, Curve, panel->curves->len - 1) : NULL;

  if (n == 4 && strcmp (words[0], "panel") == 0) {
    begin_panel (panels, words);
  } else if (n == 2 && panel
      && (strcmp (words[0], "curve") == 0 || strcmp (words[0], "dashed") == 0)) {
    const Curve curve = { g_strdup (words[1]), words[0][0] == 'd',
      g_array_new (FALSE, FALSE, sizeof (gdouble)), g_array_new (FALSE, FALSE, sizeof (gdouble)) };

    g_array_append_val (panel->curves, curve);
  } else if (n == 2 && last) {
    const gdouble x = g_ascii_strtod (words[0], NULL), y = g_ascii_strtod (words[1], NULL);

    g_array_append_val (last->x, x);
    g_array_append_val (last->y, y);
  } else {
    return n == 1 && *words[0] == '\0';
  }
  return TRUE;
}

static gboolean
draw (const gchar *path, GArray *panels, GError **error)
{
  g_autofree PirlLogPanel *drawn = g_new0 (PirlLogPanel, panels->len);
  g_autoptr (GPtrArray) all_curves = g_ptr_array_new_with_free_func (g_free);

  for (guint p = 0; p < panels->len; p++) {
    const Panel *panel = &g_array_index (panels, Panel, p);
    PirlCurve *curves = g_new0 (PirlCurve, panel->curves->len);

    g_ptr_array_add (all_curves, curves);
    for (guint c = 0; c < panel->curves->len; c++) {
      const Curve *curve = &g_array_index (panel->curves, Curve, c);

      curves[c] = (PirlCurve) { curve->name, (const gdouble *) (gpointer) curve->x->data,
        (const gdouble *) (gpointer) curve->y->data, curve->x->len, curve->dashed };
    }
    drawn[p] = (PirlLogPanel) { panel->words[0], panel->words[1], panel->words[2], curves,
      panel->curves->len };
  }
  return pirl_plot_log_panels (path, drawn, panels->len, error);
}

int
main (int argc, char **argv)
{
  g_autoptr (GArray) panels = g_array_new (FALSE, FALSE, sizeof (Panel));
  g_autoptr (GError) error = NULL;
  gchar line[256];

  g_array_set_clear_func (panels, panel_clear);
  if (argc != 2) {
    g_printerr ("usage: scaling-plot FILE.png < DESCRIPTION\n");
    return 2;
  }
  while (fgets (line, sizeof line, stdin))
    if (!take_line (panels, line)) {
      g_printerr ("scaling-plot: \"%s\" is no panel, curve or point where it stands\n", line);
      return 1;
    }
  if (!draw (argv[1], panels, &error)) {
    g_printerr ("scaling-plot: %s\n", error->message);
    return 1;
  }
  return 0;
}
