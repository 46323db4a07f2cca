/* gst-pirl: Bayesian logistic regression, small and dense (private to the bandit).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/base.h"

/** n rows of d inputs; row r was agreed to with weight yes[r] and refused with weight no[r]. */
typedef struct {
  guint d;
  gsize n;
  gdouble *z;                   /* n x d */
  gdouble *yes, *no;
} PirlRows;

/** Lower Cholesky factor in place (the strict upper triangle is left alone); FALSE = not positive
 * definite. */
gboolean pirl_cholesky (gdouble *a, guint d);
/** x = L^-1 b, in place. */
void pirl_cholesky_forward (const gdouble *l, guint d, gdouble *b);
/** x = (L L')^-1 b, in place. */
void pirl_cholesky_solve (const gdouble *l, guint d, gdouble *b);

/** log posterior of @w without its constant; @gradient (d) and @hessian (d x d, of the negative,
 * lower triangle) may be NULL. */
gdouble pirl_logistic_posterior (const PirlRows *rows, const gdouble *prior_mean,
    const gdouble *prior_precision, const gdouble *w, gdouble *gradient, gdouble *hessian);
/** Newton's method from @w; leaves the mode in @w and the posterior's precision in @hessian (full
 * square). FALSE = it left the finite numbers; @w is then as it was. */
gboolean pirl_logistic_fit (const PirlRows *rows, const gdouble *prior_mean,
    const gdouble *prior_precision, gdouble *w, gdouble *hessian);
/** One Newton step from the mode @w of all rows to that without rows first .. end-1: @w_out, and
 * the Cholesky factor of its precision, @factor. */
gboolean pirl_logistic_leave_out (const PirlRows *rows, gsize first, gsize end, const gdouble *w,
    const gdouble *hessian, gdouble *w_out, gdouble *factor);

static inline gdouble
pirl_dot (const gdouble *a, const gdouble *b, guint d)
{
  gdouble sum = 0;

  for (guint i = 0; i < d; i++)
    sum += a[i] * b[i];
  return sum;
}
