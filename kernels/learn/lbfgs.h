/* gst-pirl: minimising a smooth function of many numbers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.5) with a line search that halves
 * the step until the function falls enough: for convex functions.
 */
#pragma once

#include "base/base.h"

/** Value and gradient at @x. FALSE ends the minimisation with @error. */
typedef gboolean (*PirlFunction) (const gdouble *x, gdouble *value, gdouble *gradient,
    gpointer user_data, GError **error);

/** From @x on, which becomes the minimum: where no part of the gradient is larger than @tolerance,
 * where no step makes the function smaller any more, or after @iterations. @value (may be NULL):
 * the function's there. %PIRL_ERROR_UNSUPPORTED: @n is more than memory has room for. */
gboolean pirl_lbfgs (gsize n, gdouble *x, PirlFunction function, gpointer user_data,
    guint iterations, gdouble tolerance, gdouble *value, GError **error);
