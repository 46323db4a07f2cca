/* adacompressenc: is a frame another than the one asked about last? (see novelty.h)
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "novelty.h"

#include <string.h>

/* Of the distance between unrelated frames. */
#define NEW 0.5
/* A frame is compared with one that is RELATED to 2 RELATED frames older. */
#define RELATED 64
#define FRESH 0.02

void
ada_novelty_clear (AdaNovelty * novelty)
{
  g_free (novelty->asked);
  g_free (novelty->anchor);
  memset (novelty, 0, sizeof *novelty);
}

static gdouble
distance (const gfloat * a, const gfloat * b, guint n)
{
  gdouble sum = 0;

  for (guint i = 0; i < n; i++)
    sum += (gdouble) (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

static void
start (AdaNovelty * novelty, const gfloat * features, guint n)
{
  ada_novelty_clear (novelty);
  novelty->n = n;
  novelty->asked = g_new0 (gfloat, n);
  novelty->anchor = g_new (gfloat, n);
  memcpy (novelty->anchor, features, sizeof (gfloat) * n);
  novelty->since_asked = G_MAXUINT / 2;
}

gboolean
ada_novelty_frame (AdaNovelty * novelty, const gfloat * features, guint n, guint longest)
{
  if (features == NULL || n == 0)
    return TRUE;
  if (n != novelty->n)
    start (novelty, features, n);
  if (++novelty->age >= RELATED) {
    const gdouble d = distance (features, novelty->anchor, n);

    novelty->unrelated += (d - novelty->unrelated) * (novelty->unrelated > 0 ? FRESH : 1);
  }
  if (novelty->age == 2 * RELATED) {
    memcpy (novelty->anchor, features, sizeof (gfloat) * n);
    novelty->age = 0;
  }
  return ++novelty->since_asked >= longest
      || distance (features, novelty->asked, n) >= NEW * novelty->unrelated;
}

void
ada_novelty_asked (AdaNovelty * novelty, const gfloat * features, guint n)
{
  if (features == NULL || n != novelty->n)
    return;
  memcpy (novelty->asked, features, sizeof (gfloat) * n);
  novelty->since_asked = 0;
}
