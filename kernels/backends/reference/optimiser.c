/* gst-pirl: optimisers in double precision (formulas: sgd, adam, lars and average in backend.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/host.h"
#include "backends/reference/reference.h"

#include <math.h>

gboolean
pirl_reference_sgd (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
    gpointer velocity, gdouble lr, gdouble momentum, gdouble weight_decay, gboolean nesterov,
    GError **error)
{
  gdouble *w = weights, *v = velocity;
  const gdouble *gradient = gradients;

  for (gsize i = 0; i < n; i++) {
    const gdouble g = gradient[i] + weight_decay * w[i];

    v[i] = momentum * v[i] + g;
    w[i] -= lr * (nesterov ? g + momentum * v[i] : v[i]);
  }
  return TRUE;
}

gboolean
pirl_reference_adam (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
    gpointer first, gpointer second, guint64 step, gdouble lr, gdouble beta1, gdouble beta2,
    gdouble epsilon, gdouble weight_decay, GError **error)
{
  const gdouble unbias1 = 1.0 - pow (beta1, step), unbias2 = 1.0 - pow (beta2, step);
  gdouble *w = weights, *m = first, *v = second;
  const gdouble *gradient = gradients;

  for (gsize i = 0; i < n; i++) {
    const gdouble g = gradient[i] + weight_decay * w[i];

    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
    v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
    w[i] -= lr * (m[i] / unbias1) / (sqrt (v[i] / unbias2) + epsilon);
  }
  return TRUE;
}

static gdouble
norm (const gdouble *x, gsize n)
{
  gdouble square = 0.0;

  for (gsize i = 0; i < n; i++)
    square += x[i] * x[i];
  return sqrt (square);
}

gboolean
pirl_reference_lars (PirlDevice *device, guint n_segments, const PirlSegment *segments,
    gpointer weights, gconstpointer gradients, gpointer velocity, const PirlLars *values,
    GError **error)
{
  for (guint s = 0; s < n_segments; s++) {
    const gsize n = segments[s].n;
    gdouble *w = (gdouble *) weights + segments[s].first;
    gdouble *v = (gdouble *) velocity + segments[s].first;
    const gdouble *g = (const gdouble *) gradients + segments[s].first;
    const gdouble rate = values->lr * pirl_lars_local (values, norm (w, n), norm (g, n));

    for (gsize i = 0; i < n; i++) {
      v[i] = values->momentum * v[i] + rate * (g[i] + values->weight_decay * w[i]);
      w[i] -= v[i];
    }
  }
  return TRUE;
}

gboolean
pirl_reference_average (PirlDevice *device, gsize n, gpointer dst, gconstpointer src, gdouble keep,
    GError **error)
{
  gdouble *a = dst;
  const gdouble *b = src;

  for (gsize i = 0; i < n; i++)
    a[i] = keep == 0.0 ? b[i] : keep * a[i] + (1.0 - keep) * b[i];
  return TRUE;
}
