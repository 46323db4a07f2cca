/* gst-pirl: sets of permutations that differ as much as possible.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Greedy, after Noroozi and Favaro ("Unsupervised learning of visual representations by solving
 * jigsaw puzzles", ECCV 2016): the first at random, each next one the candidate whose smallest
 * Hamming distance to those chosen is largest; of equals the first in the order of candidates.
 * Candidates are all permutations in lexicographic order where there are few (grid <= 3: 9! =
 * 362,880), else a random sample. The smallest distances are kept and updated with each choice, so
 * the cost is n x candidates x cells byte operations, on planes (one a cell) that vectorise.
 */
#include "config.h"
#include "base/rng.h"
#include "vision/vision-private.h"

#include <string.h>

#define MAX_FULL_GRID 3
#define SAMPLED_CANDIDATES 100000u
#define BLOCK 4096u              /* candidates whose counts stay in the first cache */

struct _PirlPermutations {
  gint cells;
  guint n;                      /* 0 = all */
  guint8 *member;               /* n x cells */
};

typedef struct {
  gint cells;
  guint n;
  guint8 *plane;                /* cells x n: what each candidate shows at a position */
  guint8 *distance;             /* n: smallest to those chosen */
} Candidates;

static guint
factorial (gint n)
{
  guint f = 1;

  for (gint i = 2; i <= n; i++)
    f *= i;
  return f;
}

static void
swap_cells (guint8 *a, guint8 *b)
{
  const guint8 swap = *a;

  *a = *b;
  *b = swap;
}

/* The next permutation in lexicographic order; the last one stays. */
static void
next_permutation (guint8 *p, gint n)
{
  gint pivot = n - 2, successor = n - 1;

  while (pivot >= 0 && p[pivot] > p[pivot + 1])
    pivot--;
  if (pivot < 0)
    return;
  while (p[successor] < p[pivot])
    successor--;
  swap_cells (p + pivot, p + successor);
  for (gint a = pivot + 1, b = n - 1; a < b; a++, b--)
    swap_cells (p + a, p + b);
}

static void
candidates_init (Candidates *all, gint grid, PirlRng *rng)
{
  guint8 p[PIRL_MAX_PATCHES];
  guint32 drawn[PIRL_MAX_PATCHES];

  all->cells = grid * grid;
  all->n = grid <= MAX_FULL_GRID ? factorial (all->cells) : SAMPLED_CANDIDATES;
  all->plane = g_malloc ((gsize) all->n * all->cells);
  all->distance = g_malloc (all->n);
  memset (all->distance, G_MAXUINT8, all->n);
  for (gint i = 0; i < all->cells; i++)
    p[i] = i;
  for (guint k = 0; k < all->n; k++) {
    if (grid > MAX_FULL_GRID) {
      pirl_rng_permutation (rng, drawn, all->cells);
      for (gint i = 0; i < all->cells; i++)
        p[i] = drawn[i];
    }
    for (gint i = 0; i < all->cells; i++)
      all->plane[(gsize) i * all->n + k] = p[i];
    if (grid <= MAX_FULL_GRID)
      next_permutation (p, all->cells);
  }
}

static void
candidates_clear (Candidates *all)
{
  g_free (all->plane);
  g_free (all->distance);
}

/* Takes candidate @k: copies it to @member and lowers the distances of all to it. */
static void
candidates_choose (Candidates *all, guint k, guint8 *member)
{
  guint8 same[BLOCK];

  for (gint i = 0; i < all->cells; i++)
    member[i] = all->plane[(gsize) i * all->n + k];
  for (guint begin = 0; begin < all->n; begin += BLOCK) {
    const guint m = MIN (BLOCK, all->n - begin);

    memset (same, 0, m);
    for (gint i = 0; i < all->cells; i++) {
      const guint8 *plane = all->plane + (gsize) i * all->n + begin;
      const guint8 cell = member[i];

      for (guint j = 0; j < m; j++)
        same[j] += plane[j] == cell;
    }
    for (guint j = 0; j < m; j++) {
      const guint8 d = all->cells - same[j];

      all->distance[begin + j] = MIN (all->distance[begin + j], d);
    }
  }
}

static guint
candidates_farthest (const Candidates *all)
{
  guint8 best = 0;

  for (guint k = 0; k < all->n; k++)
    best = MAX (best, all->distance[k]);
  return (const guint8 *) memchr (all->distance, best, all->n) - all->distance;
}

/* Fills the set; FALSE where the candidates hold fewer different permutations. */
static gboolean
choose_members (PirlPermutations *set, Candidates *all, PirlRng *rng)
{
  guint k = pirl_rng_below (rng, all->n);

  for (guint i = 0; i < set->n; i++) {
    if (i > 0) {
      k = candidates_farthest (all);
      if (all->distance[k] == 0)
        return FALSE;
    }
    candidates_choose (all, k, set->member + (gsize) i * set->cells);
  }
  return TRUE;
}

PirlPermutations *
pirl_permutations_new (gint grid, guint n, guint64 seed, GError **error)
{
  g_autoptr (PirlPermutations) set = NULL;
  Candidates all;
  PirlRng rng;
  gboolean enough;

  if (grid < 1 || grid > PIRL_MAX_GRID) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a grid of %d: 1 to %d cells a side are possible", grid, PIRL_MAX_GRID);
    return NULL;
  }
  set = g_new0 (PirlPermutations, 1);
  set->cells = grid * grid;
  set->n = n;
  if (n == 0)
    return g_steal_pointer (&set);
  pirl_rng_init (&rng, seed, 0, grid, PIRL_PURPOSE_PERMUTATIONS);
  candidates_init (&all, grid, &rng);
  enough = n <= all.n;
  if (enough) {
    set->member = g_malloc ((gsize) n * set->cells);
    enough = choose_members (set, &all, &rng);
  }
  if (!enough)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "%u permutations of %d cells: there are %s%u "
        "to choose from; ask for fewer, or for 0 = all", n, set->cells,
        grid > MAX_FULL_GRID ? "only " : "", all.n);
  candidates_clear (&all);
  return enough ? g_steal_pointer (&set) : NULL;
}

void
pirl_permutations_free (PirlPermutations *set)
{
  if (!set)
    return;
  g_free (set->member);
  g_free (set);
}

guint
pirl_permutations_count (const PirlPermutations *set)
{
  return set->n;
}

const guint8 *
pirl_permutations_nth (const PirlPermutations *set, guint i)
{
  return i < set->n ? set->member + (gsize) i * set->cells : NULL;
}
