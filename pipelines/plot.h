/* gst-pirl: the pictures that quickstart leaves.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/image.h"

typedef enum { PIRL_CURVE_BOTH, PIRL_CURVE_LINE, PIRL_CURVE_POINTS } PirlCurveForm;

/** One line of a plot: y over x, @n points. */
typedef struct {
  const gchar *name;
  const gdouble *x, *y;
  gsize n;
  gboolean dashed;              /* what would be expected; without marks where the points are */
  PirlCurveForm form;           /* in panels */
  const gdouble *low, *high;    /* in panels: ends of intervals, NaN = none; may be NULL */
} PirlCurve;

/** Draws @curves over one pair of axes into a PNG. Points that are not finite are left out. */
gboolean pirl_plot_curves (const gchar *path, const gchar *title, const gchar *x_label,
    const gchar *y_label, const PirlCurve *curves, guint n_curves, GError **error);

/** A pair of axes. */
typedef struct {
  const gchar *title, *x_label, *y_label;
  const PirlCurve *curves;
  guint n_curves;
  gboolean linear;              /* else both are logarithmic, and only what is above 0 is drawn */
  const gchar *const *ticks;    /* linear: what x = 1, 2, ... are called, NULL-terminated; or NULL */
} PirlPanel;

/** Draws @panels, two a line, into a PNG. Only points that are finite are drawn. */
gboolean pirl_plot_panels (const gchar *path, const PirlPanel *panels, guint n_panels,
    GError **error);

/** A picture of the mosaic; @agrees: 1 = same class as the row's query (green), 0 = another (red),
 * -1 = not known (no frame). */
typedef struct {
  const PirlImage *image;
  gint agrees;
} PirlTile;

/** One row of the mosaic: a query, and its @n neighbours under each of @n_groups networks. */
typedef struct {
  const PirlImage *query;
  const PirlTile *tiles;        /* [n_groups][n] */
} PirlMosaicRow;

/** Queries left, then a block of neighbours for each of the @group_names. */
gboolean pirl_plot_neighbours (const gchar *path, const PirlMosaicRow *rows, guint n_rows,
    const gchar *const *group_names, guint n_groups, guint n, GError **error);
