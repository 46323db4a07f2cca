/* gst-pirl: Bayesian logistic regression by Newton's method.
 *
 * log posterior F(w) = sum_r yes_r log s(w.z_r) + no_r log (1 - s(w.z_r))
 *                      - 1/2 (w - m)' P (w - m),  s(t) = 1 / (1 + e^-t)
 * gradient           = sum_r (yes_r - (yes_r + no_r) s_r) z_r - P (w - m)
 * precision (Laplace) = sum_r (yes_r + no_r) s_r (1 - s_r) z_r z_r' + P
 *
 * F is concave, so that halving a Newton step until F grows always ends at the mode.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/bandit-logistic.h"

#include <math.h>
#include <string.h>

#define MAX_ITERATIONS 50
/* Newton's decrement (twice the gain still to be had in F) at which the mode is reached. */
#define TOLERANCE 1e-12

gboolean
pirl_cholesky (gdouble *a, guint d)
{
  for (guint i = 0; i < d; i++) {
    gdouble *row = a + (gsize) i * d;

    for (guint j = 0; j <= i; j++) {
      const gdouble *other = a + (gsize) j * d;
      const gdouble sum = row[j] - pirl_dot (row, other, j);

      if (j < i)
        row[j] = sum / other[j];
      else if (sum > 0 && isfinite (sum))
        row[i] = sqrt (sum);
      else
        return FALSE;
    }
  }
  return TRUE;
}

void
pirl_cholesky_forward (const gdouble *l, guint d, gdouble *b)
{
  for (guint i = 0; i < d; i++)
    b[i] = (b[i] - pirl_dot (l + (gsize) i * d, b, i)) / l[(gsize) i * d + i];
}

void
pirl_cholesky_solve (const gdouble *l, guint d, gdouble *b)
{
  pirl_cholesky_forward (l, d, b);
  for (guint i = d; i-- > 0;) {
    b[i] /= l[(gsize) i * d + i];
    for (guint j = 0; j < i; j++)
      b[j] -= l[(gsize) i * d + j] * b[i];
  }
}

/* log s(t), without overflow. */
static gdouble
log_sigmoid (gdouble t)
{
  return t > 0 ? -log1p (exp (-t)) : t - log1p (exp (t));
}

static void
add_outer (gdouble *hessian, const gdouble *z, guint d, gdouble weight)
{
  for (guint i = 0; i < d; i++) {
    gdouble *restrict row = hessian + (gsize) i * d;
    const gdouble factor = weight * z[i];

    for (guint j = 0; j <= i; j++)
      row[j] += factor * z[j];
  }
}

static void
mirror (gdouble *a, guint d)
{
  for (guint i = 0; i < d; i++)
    for (guint j = i + 1; j < d; j++)
      a[(gsize) i * d + j] = a[(gsize) j * d + i];
}

gdouble
pirl_logistic_posterior (const PirlRows *rows, const gdouble *prior_mean,
    const gdouble *prior_precision, const gdouble *w, gdouble *gradient, gdouble *hessian)
{
  const guint d = rows->d;
  gdouble value = 0;

  if (hessian != NULL)
    memcpy (hessian, prior_precision, sizeof (gdouble) * d * d);
  for (guint i = 0; i < d; i++) {
    gdouble pull = 0;

    for (guint j = 0; j < d; j++)
      pull += prior_precision[(gsize) i * d + j] * (w[j] - prior_mean[j]);
    value -= 0.5 * (w[i] - prior_mean[i]) * pull;
    if (gradient != NULL)
      gradient[i] = -pull;
  }
  for (gsize r = 0; r < rows->n; r++) {
    const gdouble *z = rows->z + r * d;
    const gdouble t = pirl_dot (w, z, d), p = 1 / (1 + exp (-t));
    const gdouble yes = rows->yes[r], no = rows->no[r], residual = yes - (yes + no) * p;

    value += yes * log_sigmoid (t) + no * log_sigmoid (-t);
    if (gradient != NULL)
      for (guint i = 0; i < d; i++)
        gradient[i] += residual * z[i];
    if (hessian != NULL)
      add_outer (hessian, z, d, (yes + no) * p * (1 - p));
  }
  return value;
}

/* Goes from @w along @step, halved until F grows; TRUE when it did. */
static gboolean
advance (const PirlRows *rows, const gdouble *prior_mean, const gdouble *prior_precision,
    gdouble value, gdouble *w, const gdouble *step, gdouble *trial)
{
  for (gdouble length = 1; length > 1e-6; length /= 2) {
    for (guint i = 0; i < rows->d; i++)
      trial[i] = w[i] + length * step[i];
    if (pirl_logistic_posterior (rows, prior_mean, prior_precision, trial, NULL, NULL) >= value) {
      memcpy (w, trial, sizeof (gdouble) * rows->d);
      return TRUE;
    }
  }
  return FALSE;
}

gboolean
pirl_logistic_fit (const PirlRows *rows, const gdouble *prior_mean,
    const gdouble *prior_precision, gdouble *w, gdouble *hessian)
{
  const guint d = rows->d;
  g_autofree gdouble *at = g_new (gdouble, d);
  g_autofree gdouble *gradient = g_new (gdouble, d);
  g_autofree gdouble *step = g_new (gdouble, d);
  g_autofree gdouble *trial = g_new (gdouble, d);
  g_autofree gdouble *factor = g_new (gdouble, (gsize) d * d);

  memcpy (at, w, sizeof (gdouble) * d);
  for (guint iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
    const gdouble value = pirl_logistic_posterior (rows, prior_mean, prior_precision, at,
        gradient, hessian);

    memcpy (factor, hessian, sizeof (gdouble) * d * d);
    if (!isfinite (value) || !pirl_cholesky (factor, d))
      return FALSE;
    memcpy (step, gradient, sizeof (gdouble) * d);
    pirl_cholesky_solve (factor, d, step);
    if (!(pirl_dot (gradient, step, d) > TOLERANCE)
        || !advance (rows, prior_mean, prior_precision, value, at, step, trial))
      break;
  }
  for (guint i = 0; i < d; i++)
    if (!isfinite (at[i]))
      return FALSE;
  memcpy (w, at, sizeof (gdouble) * d);
  mirror (hessian, d);
  return TRUE;
}

gboolean
pirl_logistic_leave_out (const PirlRows *rows, gsize first, gsize end, const gdouble *w,
    const gdouble *hessian, gdouble *w_out, gdouble *factor)
{
  const guint d = rows->d;

  memcpy (factor, hessian, sizeof (gdouble) * d * d);
  memset (w_out, 0, sizeof (gdouble) * d);
  for (gsize r = first; r < end; r++) {
    const gdouble *z = rows->z + r * d;
    const gdouble p = 1 / (1 + exp (-pirl_dot (w, z, d)));
    const gdouble yes = rows->yes[r], no = rows->no[r];

    add_outer (factor, z, d, -(yes + no) * p * (1 - p));
    for (guint i = 0; i < d; i++)
      w_out[i] -= (yes - (yes + no) * p) * z[i];
  }
  if (!pirl_cholesky (factor, d))
    return FALSE;
  pirl_cholesky_solve (factor, d, w_out);
  for (guint i = 0; i < d; i++)
    w_out[i] += w[i];
  return TRUE;
}
