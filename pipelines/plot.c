/* gst-pirl: plots and mosaics with cairo.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "plot.h"

#include <math.h>
#include <cairo.h>

enum { WIDTH = 900, HEIGHT = 480, LEFT = 70, RIGHT = 20, TOP = 44, BOTTOM = 54 };
enum { LEGEND = 190, PANELS_A_LINE = 2 };        /* right of a panel's axes */
enum { TILE = 72, GAP = 6, HEAD = 34 };

static const double colours[][3] = {
  { .12, .38, .66 }, { .85, .37, .01 }, { .20, .55, .24 }, { .55, .25, .55 }, { .45, .35, .20 },
  { .35, .35, .35 }, { .90, .62, .00 }, { .00, .60, .60 }, { .80, .20, .40 }, { .55, .65, .10 },
};

typedef struct {
  double x0, x1, y0, y1;
} Range;

static gboolean
save (cairo_surface_t *surface, const gchar *path, GError **error)
{
  cairo_status_t status = cairo_surface_write_to_png (surface, path);

  cairo_surface_destroy (surface);
  if (status == CAIRO_STATUS_SUCCESS)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write %s: %s", path,
      cairo_status_to_string (status));
  return FALSE;
}

static Range
range_of (const PirlCurve *curves, guint n_curves)
{
  Range r = { INFINITY, -INFINITY, INFINITY, -INFINITY };

  for (guint c = 0; c < n_curves; c++) {
    for (gsize i = 0; i < curves[c].n; i++) {
      if (!isfinite (curves[c].y[i]))
        continue;
      r.x0 = fmin (r.x0, curves[c].x[i]);
      r.x1 = fmax (r.x1, curves[c].x[i]);
      r.y0 = fmin (r.y0, curves[c].y[i]);
      r.y1 = fmax (r.y1, curves[c].y[i]);
    }
  }
  if (!(r.x1 > r.x0))
    r.x0 = 0, r.x1 = 1;
  if (!(r.y1 > r.y0))
    r.y1 = r.y0 = isfinite (r.y0) ? r.y0 : 0, r.y1 += 1;
  r.y0 -= .05 * (r.y1 - r.y0);
  r.y1 += .05 * (r.y1 - r.y0);
  return r;
}

/* The largest of 1, 2, 5 times a power of ten that gives at least five steps. */
static double
nice_step (double span)
{
  double power = pow (10, floor (log10 (span / 5)));

  for (int i = 0; i < 3; i++) {
    const double factor[] = { 5, 2, 1 };
    if (span / (factor[i] * power) >= 5)
      return factor[i] * power;
  }
  return power;
}

static double
place_x (Range r, double x)
{
  return LEFT + (x - r.x0) / (r.x1 - r.x0) * (WIDTH - LEFT - RIGHT);
}

static double
place_y (Range r, double y)
{
  return HEIGHT - BOTTOM - (y - r.y0) / (r.y1 - r.y0) * (HEIGHT - TOP - BOTTOM);
}

static void
text (cairo_t *cr, double x, double y, double align, const gchar *string)
{
  cairo_text_extents_t e;

  cairo_text_extents (cr, string, &e);
  cairo_move_to (cr, x - align * e.x_advance, y);
  cairo_show_text (cr, string);
}

static void
draw_labels (cairo_t *cr, const gchar *title, const gchar *x_label, const gchar *y_label)
{
  cairo_set_source_rgb (cr, .3, .3, .3);
  text (cr, (LEFT + WIDTH - RIGHT) / 2., HEIGHT - 14, .5, x_label);
  cairo_save (cr);
  cairo_translate (cr, 18, (TOP + HEIGHT - BOTTOM) / 2.);
  cairo_rotate (cr, -G_PI / 2);
  text (cr, 0, 0, .5, y_label);
  cairo_restore (cr);
  cairo_set_source_rgb (cr, 0, 0, 0);
  cairo_set_font_size (cr, 16);
  text (cr, LEFT, 26, 0, title);
}

static void
draw_axes (cairo_t *cr, Range r, const gchar *title, const gchar *x_label, const gchar *y_label)
{
  double sx = nice_step (r.x1 - r.x0), sy = nice_step (r.y1 - r.y0);
  gchar label[32];

  cairo_set_line_width (cr, 1);
  cairo_set_font_size (cr, 12);
  for (double x = ceil (r.x0 / sx) * sx; x <= r.x1; x += sx) {
    g_snprintf (label, sizeof label, "%g", x);
    cairo_set_source_rgb (cr, .3, .3, .3);
    text (cr, place_x (r, x), HEIGHT - BOTTOM + 18, .5, label);
  }
  for (double y = ceil (r.y0 / sy) * sy; y <= r.y1; y += sy) {
    g_snprintf (label, sizeof label, "%g", fabs (y) < sy / 1e6 ? 0 : y);
    cairo_set_source_rgb (cr, .88, .88, .88);
    cairo_move_to (cr, LEFT, place_y (r, y));
    cairo_line_to (cr, WIDTH - RIGHT, place_y (r, y));
    cairo_stroke (cr);
    cairo_set_source_rgb (cr, .3, .3, .3);
    text (cr, LEFT - 8, place_y (r, y) + 4, 1, label);
  }
  draw_labels (cr, title, x_label, y_label);
}

static void
draw_curve (cairo_t *cr, Range r, const PirlCurve *curve, guint number)
{
  const double *c = colours[number % G_N_ELEMENTS (colours)];
  gboolean pen_down = FALSE;

  cairo_set_source_rgb (cr, c[0], c[1], c[2]);
  cairo_set_line_width (cr, 1.8);
  for (gsize i = 0; i < curve->n; i++) {
    if (!isfinite (curve->y[i])) {
      pen_down = FALSE;
      continue;
    }
    (pen_down ? cairo_line_to : cairo_move_to) (cr, place_x (r, curve->x[i]),
        place_y (r, curve->y[i]));
    pen_down = TRUE;
  }
  cairo_stroke (cr);
  cairo_set_font_size (cr, 13);
  text (cr, WIDTH - RIGHT - 8, TOP + 18 + 18 * number, 1, curve->name);
}

gboolean
pirl_plot_curves (const gchar *path, const gchar *title, const gchar *x_label,
    const gchar *y_label, const PirlCurve *curves, guint n_curves, GError **error)
{
  cairo_surface_t *surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
  cairo_t *cr = cairo_create (surface);
  Range r = range_of (curves, n_curves);

  cairo_set_source_rgb (cr, 1, 1, 1);
  cairo_paint (cr);
  cairo_select_font_face (cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  draw_axes (cr, r, title, x_label, y_label);
  for (guint c = 0; c < n_curves; c++)
    draw_curve (cr, r, &curves[c], c);
  cairo_destroy (cr);
  return save (surface, path, error);
}

/* --- panels --- */

/* Of log10 of what is drawn, out to the next 1, 2 or 5 times a power of ten. */
static double
log_edge (double value, gboolean up)
{
  static const double factors[] = { 1, 2, 5, 10 };
  const double power = pow (10, floor (log10 (value)));

  for (int i = 0; i < 4; i++) {
    const double factor = factors[up ? i : 3 - i];
    if (up ? value <= factor * power * 1.0001 : value >= factor * power * .9999)
      return log10 (factor * power);
  }
  return log10 (value);
}

static gboolean
can_be_drawn (const PirlPanel *panel, const PirlCurve *curve, gsize i)
{
  return isfinite (curve->x[i]) && isfinite (curve->y[i])
      && (panel->linear || (curve->x[i] > 0 && curve->y[i] > 0));
}

static gboolean
has_interval (const PirlCurve *curve, gsize i)
{
  return curve->low && curve->high && isfinite (curve->low[i]) && isfinite (curve->high[i]);
}

static Range
drawn_range (const PirlPanel *panel)
{
  Range r = { INFINITY, -INFINITY, INFINITY, -INFINITY };

  for (guint c = 0; c < panel->n_curves; c++) {
    const PirlCurve *curve = &panel->curves[c];
    for (gsize i = 0; i < curve->n; i++) {
      const gboolean interval = has_interval (curve, i);

      if (!can_be_drawn (panel, curve, i))
        continue;
      r.x0 = fmin (r.x0, curve->x[i]);
      r.x1 = fmax (r.x1, curve->x[i]);
      r.y0 = fmin (r.y0, interval ? curve->low[i] : curve->y[i]);
      r.y1 = fmax (r.y1, interval ? curve->high[i] : curve->y[i]);
    }
  }
  return r;
}

static Range
log_range (const PirlPanel *panel)
{
  Range r = drawn_range (panel);

  if (!isfinite (r.x0))
    return (Range) { 0, 1, 0, 1 };
  r = (Range) { log_edge (r.x0, FALSE), log_edge (r.x1, TRUE), log_edge (r.y0, FALSE),
    log_edge (r.y1, TRUE) };
  /* At least a decade, so that what is flat looks flat. */
  r.x1 = fmax (r.x1, r.x0 + 1);
  r.y1 = fmax (r.y1, r.y0 + 1);
  return r;
}

static void
widen (double *from, double *to)
{
  const double room = *to > *from ? .05 * (*to - *from) : .5;

  *from -= room;
  *to += room;
}

static Range
linear_range (const PirlPanel *panel)
{
  Range r = drawn_range (panel);

  if (!isfinite (r.x0))
    r = (Range) { 0, 1, 0, 1 };
  widen (&r.x0, &r.x1);
  widen (&r.y0, &r.y1);
  if (panel->ticks) {
    r.x0 = .5;
    r.x1 = .5 + g_strv_length ((gchar **) panel->ticks);
  }
  return r;
}

static double
panel_x (const PirlPanel *panel, Range r, double x)
{
  return place_x (r, panel->linear ? x : log10 (x));
}

static double
panel_y (const PirlPanel *panel, Range r, double y)
{
  return place_y (r, panel->linear ? y : log10 (y));
}

static void
log_label (gchar *label, gsize size, double value)
{
  if (value >= 1e6)
    g_snprintf (label, size, "%g M", value / 1e6);
  else if (value >= 1e4)
    g_snprintf (label, size, "%g k", value / 1e3);
  else
    g_snprintf (label, size, "%g", value);
}

/* A line of the grid at @at, across the one axis or the other; faint without a @label. */
static void
draw_tick (cairo_t *cr, Range r, gboolean of_x, double at, const gchar *label)
{
  cairo_set_source_rgb (cr, .88, .88, .88);
  cairo_set_line_width (cr, label ? 1 : .4);
  cairo_move_to (cr, of_x ? place_x (r, at) : LEFT, of_x ? TOP : place_y (r, at));
  cairo_line_to (cr, of_x ? place_x (r, at) : WIDTH - RIGHT,
      of_x ? HEIGHT - BOTTOM : place_y (r, at));
  cairo_stroke (cr);
  if (!label)
    return;
  cairo_set_source_rgb (cr, .3, .3, .3);
  text (cr, of_x ? place_x (r, at) : LEFT - 8, of_x ? HEIGHT - BOTTOM + 18 : place_y (r, at) + 4,
      of_x ? .5 : 1, label);
}

static void
draw_log_axis (cairo_t *cr, Range r, gboolean of_x)
{
  const double from = of_x ? r.x0 : r.y0, to = of_x ? r.x1 : r.y1;

  for (int decade = (int) floor (from); decade <= to; decade++)
    for (int digit = 1; digit < 10; digit++) {
      const double value = digit * pow (10, decade), at = log10 (value);
      /* On a short axis 2 and 5 have numbers too. */
      const gboolean named = digit == 1 || (to - from < 3 && (digit == 2 || digit == 5));
      gchar label[32];

      log_label (label, sizeof label, value);
      if (at >= from - 1e-9 && at <= to + 1e-9)
        draw_tick (cr, r, of_x, at, named ? label : NULL);
    }
}

static void
draw_linear_axis (cairo_t *cr, Range r, gboolean of_x)
{
  const double from = of_x ? r.x0 : r.y0, to = of_x ? r.x1 : r.y1;
  const double step = nice_step (to - from);

  for (double n = ceil (from / step); n * step <= to; n++) {
    gchar label[32];

    g_snprintf (label, sizeof label, "%g", n * step + 0.);
    draw_tick (cr, r, of_x, n * step, label);
  }
}

static void
draw_panel_axes (cairo_t *cr, const PirlPanel *panel, Range r)
{
  cairo_set_font_size (cr, 12);
  if (!panel->linear) {
    draw_log_axis (cr, r, TRUE);
    draw_log_axis (cr, r, FALSE);
    return;
  }
  for (guint i = 0; panel->ticks && panel->ticks[i]; i++)
    draw_tick (cr, r, TRUE, i + 1, panel->ticks[i]);
  if (!panel->ticks)
    draw_linear_axis (cr, r, TRUE);
  draw_linear_axis (cr, r, FALSE);
}

/* Curves over names stand side by side, so that their intervals can be told apart. */
static double
aside (const PirlPanel *panel, guint number)
{
  return panel->ticks ? .07 * (number - (panel->n_curves - 1) / 2.) : 0;
}

static void
draw_interval (cairo_t *cr, double x, double low, double high)
{
  cairo_set_line_width (cr, 1.2);
  cairo_move_to (cr, x, low);
  cairo_line_to (cr, x, high);
  cairo_move_to (cr, x - 4, low);
  cairo_line_to (cr, x + 4, low);
  cairo_move_to (cr, x - 4, high);
  cairo_line_to (cr, x + 4, high);
  cairo_stroke (cr);
}

static void
draw_marks (cairo_t *cr, const PirlPanel *panel, Range r, guint number)
{
  const PirlCurve *curve = &panel->curves[number];

  for (gsize i = 0; i < curve->n; i++) {
    const double x = panel_x (panel, r, curve->x[i] + aside (panel, number));

    if (!can_be_drawn (panel, curve, i))
      continue;
    if (has_interval (curve, i))
      draw_interval (cr, x, panel_y (panel, r, curve->low[i]), panel_y (panel, r, curve->high[i]));
    cairo_arc (cr, x, panel_y (panel, r, curve->y[i]), 3.5, 0, 2 * G_PI);
    cairo_fill (cr);
  }
}

static void
draw_panel_curve (cairo_t *cr, const PirlPanel *panel, Range r, guint number)
{
  static const double dashes[] = { 6, 4 };
  const PirlCurve *curve = &panel->curves[number];
  const double *c = colours[number % G_N_ELEMENTS (colours)];

  cairo_set_source_rgb (cr, c[0], c[1], c[2]);
  cairo_set_line_width (cr, curve->dashed ? 1.2 : 2);
  cairo_set_dash (cr, dashes, curve->dashed ? 2 : 0, 0);
  /* What was written last has left a point. */
  cairo_new_path (cr);
  for (gsize i = 0; curve->form != PIRL_CURVE_POINTS && i < curve->n; i++)
    if (can_be_drawn (panel, curve, i))
      cairo_line_to (cr, panel_x (panel, r, curve->x[i] + aside (panel, number)),
          panel_y (panel, r, curve->y[i]));
  cairo_stroke (cr);
  cairo_set_dash (cr, NULL, 0, 0);
  if (!curve->dashed && curve->form != PIRL_CURVE_LINE)
    draw_marks (cr, panel, r, number);
}

static void
draw_panel_legend (cairo_t *cr, const PirlCurve *curve, guint number)
{
  static const double dashes[] = { 6, 4 };
  const double *c = colours[number % G_N_ELEMENTS (colours)];
  const double x = WIDTH - RIGHT + 12, y = TOP + 12 + 22. * number;

  cairo_set_source_rgb (cr, c[0], c[1], c[2]);
  cairo_set_line_width (cr, 2);
  cairo_set_dash (cr, dashes, curve->dashed ? 2 : 0, 0);
  cairo_move_to (cr, x, y - 4);
  cairo_line_to (cr, x + 22, y - 4);
  cairo_stroke (cr);
  cairo_set_dash (cr, NULL, 0, 0);
  cairo_set_font_size (cr, 13);
  text (cr, x + 28, y, 0, curve->name);
}

static void
draw_panel (cairo_t *cr, const PirlPanel *panel)
{
  const Range r = panel->linear ? linear_range (panel) : log_range (panel);

  draw_panel_axes (cr, panel, r);
  draw_labels (cr, panel->title, panel->x_label, panel->y_label);
  for (guint c = 0; c < panel->n_curves; c++) {
    draw_panel_curve (cr, panel, r, c);
    draw_panel_legend (cr, &panel->curves[c], c);
  }
}

gboolean
pirl_plot_panels (const gchar *path, const PirlPanel *panels, guint n_panels, GError **error)
{
  const guint lines = (n_panels + PANELS_A_LINE - 1) / PANELS_A_LINE;
  cairo_surface_t *surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24,
      (WIDTH + LEGEND) * MIN (n_panels, PANELS_A_LINE), HEIGHT * (int) lines);
  cairo_t *cr = cairo_create (surface);

  cairo_set_source_rgb (cr, 1, 1, 1);
  cairo_paint (cr);
  cairo_select_font_face (cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  for (guint p = 0; p < n_panels; p++) {
    cairo_save (cr);
    cairo_translate (cr, (WIDTH + LEGEND) * (p % PANELS_A_LINE), HEIGHT * (p / PANELS_A_LINE));
    draw_panel (cr, &panels[p]);
    cairo_restore (cr);
  }
  cairo_destroy (cr);
  return save (surface, path, error);
}

/* --- mosaics --- */

static void
draw_picture (cairo_t *cr, const PirlImage *image, double x, double y)
{
  cairo_surface_t *s = cairo_image_surface_create (CAIRO_FORMAT_RGB24, image->width,
      image->height);
  guint8 *rows = cairo_image_surface_get_data (s);
  int stride = cairo_image_surface_get_stride (s);

  for (gint j = 0; j < image->height; j++) {
    guint32 *out = (guint32 *) (void *) (rows + (gsize) j * stride);
    const guint8 *in = image->data + j * image->stride;
    for (gint i = 0; i < image->width; i++)
      out[i] = (guint32) in[3 * i] << 16 | in[3 * i + 1] << 8 | in[3 * i + 2];
  }
  cairo_surface_mark_dirty (s);
  cairo_save (cr);
  cairo_translate (cr, x, y);
  cairo_scale (cr, (double) TILE / image->width, (double) TILE / image->height);
  cairo_set_source_surface (cr, s, 0, 0);
  cairo_paint (cr);
  cairo_restore (cr);
  cairo_surface_destroy (s);
}

static void
draw_frame (cairo_t *cr, gint agrees, double x, double y)
{
  if (agrees < 0)
    return;
  cairo_set_source_rgb (cr, agrees ? .1 : .8, agrees ? .6 : .1, .15);
  cairo_set_line_width (cr, 3);
  cairo_rectangle (cr, x, y, TILE, TILE);
  cairo_stroke (cr);
}

gboolean
pirl_plot_neighbours (const gchar *path, const PirlMosaicRow *rows, guint n_rows,
    const gchar *const *group_names, guint n_groups, guint n, GError **error)
{
  const int step = TILE + GAP, block = n * step + 3 * GAP;
  cairo_surface_t *surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24,
      2 * GAP + step + 3 * GAP + n_groups * block, HEAD + n_rows * step + GAP);
  cairo_t *cr = cairo_create (surface);

  cairo_set_source_rgb (cr, 1, 1, 1);
  cairo_paint (cr);
  cairo_select_font_face (cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size (cr, 14);
  cairo_set_source_rgb (cr, 0, 0, 0);
  text (cr, GAP, 22, 0, "query");
  for (guint g = 0; g < n_groups; g++)
    text (cr, GAP + step + 3 * GAP + g * block, 22, 0, group_names[g]);

  for (guint r = 0; r < n_rows; r++) {
    double y = HEAD + r * step;
    draw_picture (cr, rows[r].query, GAP, y);
    for (guint i = 0; i < n_groups * n; i++) {
      double x = GAP + step + 3 * GAP + (i / n) * block + (i % n) * step;
      draw_picture (cr, rows[r].tiles[i].image, x, y);
      draw_frame (cr, rows[r].tiles[i].agrees, x, y);
    }
  }
  cairo_destroy (cr);
  return save (surface, path, error);
}
