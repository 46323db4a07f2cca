/* gst-pirl: minimising a smooth function of many numbers (see lbfgs.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/lbfgs.h"

#include <math.h>
#include <string.h>

/* Pairs of steps that the curvature is estimated from. */
#define PAIRS 10
/* A step must bring this part of what the slope promises. */
#define ENOUGH 1e-4
#define MAX_HALVINGS 30

typedef struct {
  gsize n;
  PirlFunction function;
  gpointer user_data;
  gdouble *x, *gradient, *next, *next_gradient, *direction;
  gdouble value;
  gdouble *s[PAIRS], *y[PAIRS]; /* steps and changes of the gradient, a ring */
  gdouble rho[PAIRS];           /* 1 / s.y */
  guint first, pairs;
} Minimiser;

static gdouble
dot (const gdouble *a, const gdouble *b, gsize n)
{
  gdouble sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += a[i] * b[i];
  return sum;
}

static void
add_scaled (gdouble *a, gdouble factor, const gdouble *b, gsize n)
{
  for (gsize i = 0; i < n; i++)
    a[i] += factor * b[i];
}

static gdouble
largest (const gdouble *a, gsize n)
{
  gdouble most = 0;

  for (gsize i = 0; i < n; i++)
    most = MAX (most, fabs (a[i]));
  return most;
}

/* direction = - H gradient, by the two loops over the pairs. */
static void
find_direction (Minimiser *m)
{
  gdouble alpha[PAIRS];
  gdouble *d = m->direction;

  for (gsize i = 0; i < m->n; i++)
    d[i] = -m->gradient[i];
  for (guint i = m->pairs; i-- > 0;) {
    const guint p = (m->first + i) % PAIRS;

    alpha[i] = m->rho[p] * dot (m->s[p], d, m->n);
    add_scaled (d, -alpha[i], m->y[p], m->n);
  }
  if (m->pairs > 0) {
    const guint last = (m->first + m->pairs - 1) % PAIRS;
    const gdouble scale = 1 / (m->rho[last] * dot (m->y[last], m->y[last], m->n));

    for (gsize i = 0; i < m->n; i++)
      d[i] *= scale;
  }
  for (guint i = 0; i < m->pairs; i++) {
    const guint p = (m->first + i) % PAIRS;
    const gdouble beta = m->rho[p] * dot (m->y[p], d, m->n);

    add_scaled (d, alpha[i] - beta, m->s[p], m->n);
  }
}

/* Remembers the step from x to next. */
static void
remember (Minimiser *m)
{
  const guint p = (m->first + m->pairs) % PAIRS;
  gdouble sy = 0;

  for (gsize i = 0; i < m->n; i++) {
    m->s[p][i] = m->next[i] - m->x[i];
    m->y[p][i] = m->next_gradient[i] - m->gradient[i];
    sy += m->s[p][i] * m->y[p][i];
  }
  /* Rounding at the end of the way: no curvature to be learnt. */
  if (!(sy > 0))
    return;
  m->rho[p] = 1 / sy;
  if (m->pairs < PAIRS)
    m->pairs++;
  else
    m->first = (m->first + 1) % PAIRS;
}

/* Goes along the direction; *moved: there was a smaller value. */
static gboolean
search_line (Minimiser *m, gboolean *moved, GError **error)
{
  const gdouble slope = dot (m->gradient, m->direction, m->n);
  gdouble step = m->pairs > 0 ? 1 : 1 / MAX (sqrt (dot (m->gradient, m->gradient, m->n)), 1e-12);
  gdouble value;

  *moved = FALSE;
  for (guint i = 0; slope < 0 && i < MAX_HALVINGS && !*moved; i++, step /= 2) {
    for (gsize j = 0; j < m->n; j++)
      m->next[j] = m->x[j] + step * m->direction[j];
    if (!m->function (m->next, &value, m->next_gradient, m->user_data, error))
      return FALSE;
    *moved = value <= m->value + ENOUGH * step * slope;
  }
  if (!*moved)
    return TRUE;
  remember (m);
  memcpy (m->x, m->next, m->n * sizeof *m->x);
  memcpy (m->gradient, m->next_gradient, m->n * sizeof *m->gradient);
  m->value = value;
  return TRUE;
}

static gboolean
minimise (Minimiser *m, guint iterations, gdouble tolerance, GError **error)
{
  gboolean moved = TRUE;

  if (!m->function (m->x, &m->value, m->gradient, m->user_data, error))
    return FALSE;
  for (guint i = 0; i < iterations && moved && largest (m->gradient, m->n) > tolerance; i++) {
    find_direction (m);
    if (!search_line (m, &moved, error))
      return FALSE;
    /* What was learnt may mislead: once more, straight down. */
    if (!moved && m->pairs > 0) {
      m->pairs = 0;
      moved = TRUE;
    }
  }
  return TRUE;
}

gboolean
pirl_lbfgs (gsize n, gdouble *x, PirlFunction function, gpointer user_data, guint iterations,
    gdouble tolerance, gdouble *value, GError **error)
{
  gdouble *memory = g_try_new (gdouble, n * (4 + 2 * PAIRS));
  Minimiser m = { .n = n, .function = function, .user_data = user_data, .x = x };
  gboolean ok;

  if (!memory) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "the optimum of %" G_GSIZE_FORMAT
        " weights needs %.1f GiB, which there are not; take solver=sgd, or a layer with fewer "
        "features", n, (gdouble) n * (4 + 2 * PAIRS) * sizeof *memory / (1 << 30));
    return FALSE;
  }
  m.gradient = memory;
  m.next = memory + n;
  m.next_gradient = memory + 2 * n;
  m.direction = memory + 3 * n;
  for (guint p = 0; p < PAIRS; p++) {
    m.s[p] = memory + n * (4 + 2 * p);
    m.y[p] = memory + n * (5 + 2 * p);
  }
  ok = minimise (&m, iterations, tolerance, error);
  if (value)
    *value = m.value;
  g_free (memory);
  return ok;
}
