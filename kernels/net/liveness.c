/* gst-pirl: laying blocks of known lifetimes into one arena.
 *
 * Greedy: blocks are placed by falling size, each into the smallest gap between those already
 * placed whose lifetimes meet its own (the "greedy by size" strategy of Pisarchyk and Lee,
 * "Efficient memory management for deep neural net inference", 2020).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/liveness.h"

#include <stdlib.h>

#define ALIGNMENT 64

static gsize
aligned (gsize bytes)
{
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Larger first; of two alike the one that came first. */
static gint
compare_size (gconstpointer a, gconstpointer b)
{
  const PirlBlock *x = *(PirlBlock *const *) a, *y = *(PirlBlock *const *) b;

  if (x->bytes != y->bytes)
    return x->bytes > y->bytes ? -1 : 1;
  return x < y ? -1 : x > y;
}

static gboolean
meet (const PirlBlock *a, const PirlBlock *b)
{
  return a->first <= b->last && b->first <= a->last;
}

/* The offset for @block among @placed, which is ordered by offset. */
static gsize
best_offset (const PirlBlock *block, PirlBlock *const *placed, guint n)
{
  gsize end = 0, best = 0, best_gap = G_MAXSIZE;

  for (guint i = 0; i < n; i++) {
    if (!meet (block, placed[i]))
      continue;
    if (placed[i]->offset >= end) {
      const gsize gap = placed[i]->offset - end;

      if (gap >= aligned (block->bytes) && gap < best_gap) {
        best_gap = gap;
        best = end;
      }
    }
    end = MAX (end, placed[i]->offset + aligned (placed[i]->bytes));
  }
  return best_gap == G_MAXSIZE ? end : best;
}

gsize
pirl_layout (PirlBlock *blocks, guint n)
{
  g_autofree PirlBlock **order = g_new (PirlBlock *, n);
  g_autofree PirlBlock **placed = g_new (PirlBlock *, n);
  gsize total = 0;

  for (guint i = 0; i < n; i++)
    order[i] = &blocks[i];
  if (n > 1)
    qsort (order, n, sizeof *order, compare_size);
  for (guint i = 0; i < n; i++) {
    guint at = i;

    order[i]->offset = best_offset (order[i], placed, i);
    for (; at > 0 && placed[at - 1]->offset > order[i]->offset; at--)
      placed[at] = placed[at - 1];
    placed[at] = order[i];
    total = MAX (total, order[i]->offset + aligned (order[i]->bytes));
  }
  return total;
}
