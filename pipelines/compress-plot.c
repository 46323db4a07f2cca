/* gst-pirl: how a compressed stream went, on one page.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "compress-plot.h"

#include <math.h>
#include <cairo.h>
#include "base/base.h"

enum { WIDTH = 960, PANEL = 190, LEFT = 70, RIGHT = 24, HEAD = 40, GAP = 44, N_PANELS = 4 };
enum { HEIGHT = HEAD + N_PANELS * (PANEL + GAP) + 10 };

/* One pair of axes: a box on the page and what its sides mean. */
typedef struct {
  double top, x1, y0, y1;
} Panel;

typedef struct {
  double r, g, b;
} Colour;

static const Colour blue = { .12, .38, .66 }, orange = { .85, .37, .01 }, green = { .20, .55, .24 };
static const Colour grey = { .55, .55, .55 };

static void
ink (cairo_t *cr, Colour c, double alpha)
{
  cairo_set_source_rgba (cr, c.r, c.g, c.b, alpha);
}

static double
at_x (const Panel *p, double x)
{
  return LEFT + x / p->x1 * (WIDTH - LEFT - RIGHT);
}

static double
at_y (const Panel *p, double y)
{
  return p->top + PANEL - (CLAMP (y, p->y0, p->y1) - p->y0) / (p->y1 - p->y0) * PANEL;
}

static void
text (cairo_t *cr, double x, double y, double align, const gchar *string)
{
  cairo_text_extents_t e;

  cairo_text_extents (cr, string, &e);
  cairo_move_to (cr, x - align * e.x_advance, y);
  cairo_show_text (cr, string);
}

/* The largest of 1, 2, 5 times a power of ten that gives at least four steps. */
static double
nice_step (double span)
{
  const double power = pow (10, floor (log10 (span / 4)));

  return span / (5 * power) >= 4 ? 5 * power : span / (2 * power) >= 4 ? 2 * power : power;
}

static void
draw_axes (cairo_t *cr, const Panel *p, const gchar *title, const gchar *x_label)
{
  const double sx = nice_step (p->x1), sy = nice_step (p->y1 - p->y0);
  gchar label[32];

  cairo_set_line_width (cr, 1);
  cairo_set_font_size (cr, 12);
  for (double y = ceil (p->y0 / sy - 1e-6) * sy; y <= p->y1 + sy * 1e-6; y += sy) {
    cairo_set_source_rgb (cr, .88, .88, .88);
    cairo_move_to (cr, LEFT, at_y (p, y));
    cairo_line_to (cr, WIDTH - RIGHT, at_y (p, y));
    cairo_stroke (cr);
    cairo_set_source_rgb (cr, .3, .3, .3);
    g_snprintf (label, sizeof label, "%g", fabs (y) < sy * 1e-6 ? 0 : y);
    text (cr, LEFT - 8, at_y (p, y) + 4, 1, label);
  }
  cairo_set_source_rgb (cr, .3, .3, .3);
  for (double x = 0; x <= p->x1 * 1.0001; x += sx) {
    g_snprintf (label, sizeof label, "%g", x);
    text (cr, at_x (p, x), p->top + PANEL + 16, .5, label);
  }
  text (cr, WIDTH - RIGHT, p->top + PANEL + 30, 1, x_label);
  cairo_set_source_rgb (cr, 0, 0, 0);
  cairo_set_font_size (cr, 14);
  text (cr, LEFT, p->top - 8, 0, title);
}

/* Retraining is shaded orange, night grey, behind the curves. */
static void
draw_times (cairo_t *cr, const Panel *p, const PirlSecond *s, guint n)
{
  for (guint i = 0; i < n; i++) {
    const double x = at_x (p, i), w = at_x (p, i + 1) - x;
    if (s[i].night) {
      ink (cr, grey, .18);
      cairo_rectangle (cr, x, p->top, w, PANEL);
      cairo_fill (cr);
    }
    if (s[i].retrain > 0) {
      ink (cr, orange, .10 + .15 * s[i].retrain);
      cairo_rectangle (cr, x, p->top, w, PANEL);
      cairo_fill (cr);
    }
  }
}

/* A member of PirlSecond, by offset, over time. */
static double
value (const PirlSecond *s, gsize offset)
{
  return G_STRUCT_MEMBER (gdouble, s, offset);
}

static void
draw_curve (cairo_t *cr, const Panel *p, const PirlSecond *s, guint n, gsize offset, Colour c)
{
  gboolean down = FALSE;

  ink (cr, c, 1);
  cairo_set_line_width (cr, 1.8);
  for (guint i = 0; i < n; i++) {
    const double y = value (&s[i], offset);
    if (!isfinite (y)) {
      down = FALSE;
      continue;
    }
    (down ? cairo_line_to : cairo_move_to) (cr, at_x (p, i + .5), at_y (p, y));
    down = TRUE;
  }
  cairo_stroke (cr);
}

static void
draw_band (cairo_t *cr, const Panel *p, const PirlSecond *s, guint n, gsize low, gsize high,
    Colour c)
{
  ink (cr, c, .18);
  for (guint i = 0; i < n; i++) {
    const double a = value (&s[i], low), b = value (&s[i], high);
    if (!isfinite (a) || !isfinite (b))
      continue;
    cairo_rectangle (cr, at_x (p, i), at_y (p, b), at_x (p, i + 1) - at_x (p, i),
        MAX (at_y (p, a) - at_y (p, b), 1));
  }
  cairo_fill (cr);
}

static void
draw_histogram (cairo_t *cr, const Panel *p, const guint64 counts[101])
{
  ink (cr, blue, .8);
  for (guint q = 0; q <= 100; q++) {
    if (counts[q] == 0)
      continue;
    cairo_rectangle (cr, at_x (p, q - .4), at_y (p, counts[q]), at_x (p, q + .4) - at_x (p, q - .4),
        p->top + PANEL - at_y (p, counts[q]));
  }
  cairo_fill (cr);
}

static void
draw_legend (cairo_t *cr, const Panel *p, const gchar *name, Colour c, guint line)
{
  ink (cr, c, 1);
  cairo_set_font_size (cr, 12);
  text (cr, WIDTH - RIGHT - 8, p->top - 8 - 14. * line, 1, name);
}

#define MEMBER(name) G_STRUCT_OFFSET (PirlSecond, name)

static void
draw_page (cairo_t *cr, const PirlSecond *s, guint n, const guint64 counts[101], gdouble target)
{
  double bytes = 1;
  guint64 most = 1;
  Panel panel[N_PANELS];

  for (guint i = 0; i < n; i++)
    bytes = fmax (bytes, fmax (s[i].bytes, s[i].reference_bytes));
  for (guint q = 0; q <= 100; q++)
    most = MAX (most, counts[q]);
  for (guint i = 0; i < N_PANELS; i++)
    panel[i] = (Panel) { HEAD + i * (PANEL + GAP), MAX (n, 1), 0, 100 };
  panel[1].y1 = bytes * 1.05;
  panel[2].y0 = .5, panel[2].y1 = 1;
  panel[3].x1 = 100, panel[3].y1 = most * 1.05;

  for (guint i = 0; i < 3; i++)
    draw_times (cr, &panel[i], s, n);
  draw_axes (cr, &panel[0], "quality of what leaves (line: mean, band: least to most)", "s");
  draw_band (cr, &panel[0], s, n, MEMBER (lowest), MEMBER (highest), blue);
  draw_curve (cr, &panel[0], s, n, MEMBER (quality), blue);
  draw_legend (cr, &panel[0], "orange: retraining, grey: night", grey, 0);

  draw_axes (cr, &panel[1], "bytes a frame", "s");
  draw_curve (cr, &panel[1], s, n, MEMBER (reference_bytes), grey);
  draw_curve (cr, &panel[1], s, n, MEMBER (bytes), blue);
  draw_legend (cr, &panel[1], "grey: the reference's", grey, 0);

  draw_axes (cr, &panel[2], "agreement, measured (band: 95 % interval)", "s");
  draw_band (cr, &panel[2], s, n, MEMBER (agreement_low), MEMBER (agreement_high), green);
  draw_curve (cr, &panel[2], s, n, MEMBER (agreement), green);
  ink (cr, orange, 1);
  cairo_move_to (cr, LEFT, at_y (&panel[2], target));
  cairo_line_to (cr, WIDTH - RIGHT, at_y (&panel[2], target));
  cairo_stroke (cr);
  draw_legend (cr, &panel[2], "orange: target", orange, 0);

  draw_axes (cr, &panel[3], "frames at each quality", "quality");
  draw_histogram (cr, &panel[3], counts);
}

gboolean
pirl_plot_compress (const gchar *path, const PirlSecond *seconds, guint n,
    const guint64 counts[101], gdouble target, GError **error)
{
  cairo_surface_t *surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
  cairo_t *cr = cairo_create (surface);
  cairo_status_t status;

  cairo_set_source_rgb (cr, 1, 1, 1);
  cairo_paint (cr);
  cairo_select_font_face (cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  draw_page (cr, seconds, n, counts, target);
  cairo_destroy (cr);
  status = cairo_surface_write_to_png (surface, path);
  cairo_surface_destroy (surface);
  if (status == CAIRO_STATUS_SUCCESS)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write %s: %s", path,
      cairo_status_to_string (status));
  return FALSE;
}
