/* gst-pirl: kNN against an example worked by hand and against a plain search in double precision.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/knn.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"

/* Directions in the plane, in degrees: references at 0 (label 0), 40 (1), 50 (1), 180 (2). */
static void
direction (gdouble degrees, gdouble length, gfloat *row)
{
  row[0] = (gfloat) (length * cos (degrees * G_PI / 180));
  row[1] = (gfloat) (length * sin (degrees * G_PI / 180));
}

/*
 * Query at 10 degrees. Similarities: cos 10 = .98481, cos 30 = .86603, cos 40 = .76604, cos 170 < 0.
 * k = 3, sigma = 1:   label 0: e^.985 = 2.68; label 1: e^.866 + e^.766 = 4.53 -> 1
 * k = 3, sigma = .1:  label 0: e^9.85 = 18.9e3; label 1: e^8.66 + e^7.66 = 7.9e3 -> 0
 * k = 1:              0 in both cases
 */
static void
test_by_hand (void)
{
  static const struct {
    guint k;
    gdouble sigma;
    gint label;
  } cases[] = { {3, 1, 1}, {3, 0.1, 0}, {1, 1, 0}, {1, 0.1, 0} };
  const gint labels[4] = { 0, 1, 1, 2 };
  gfloat references[4][2], query[2], similarity[5];
  gsize index[5];

  direction (0, 1, references[0]);
  direction (40, 3, references[1]);
  direction (50, 0.2, references[2]);
  direction (180, 1, references[3]);
  direction (10, 5, query);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_assert_cmpfloat (pirl_knn_accuracy (references[0], labels, 4, query, &cases[i].label, 1, 2,
            cases[i].k, cases[i].sigma), ==, 1);
  }
  pirl_knn_nearest (references[0], 4, query, 2, 5, 1, index, similarity);
  g_assert_cmpuint (index[0], ==, 0);
  g_assert_cmpuint (index[1], ==, 2);
  g_assert_cmpuint (index[2], ==, 3);
  g_assert_cmpuint (index[3], ==, G_MAXSIZE);
  g_assert_cmpfloat_with_epsilon (similarity[0], 0.98480775, 1e-6);
  g_assert_cmpfloat_with_epsilon (similarity[1], 0.76604444, 1e-6);
}

/* Leave-one-out, and rows without a label: pairs of equal direction with labels that agree in two
 * of three pairs; without leaving out, every row would find itself. */
static void
test_leave_one_out (void)
{
  const gint labels[7] = { 0, 0, 1, 1, 2, 3, -1 };
  gfloat rows[7][2];

  for (guint i = 0; i < 6; i++)
    direction (i / 2 * 90.0 + i % 2, 1, rows[i]);
  direction (181, 1, rows[6]);
  g_assert_cmpfloat_with_epsilon (pirl_knn_accuracy (rows[0], labels, 7, rows[0], labels, 7, 2, 1,
          0.1), 4.0 / 6, 1e-12);
  /* Other queries are not left out. */
  {
    gfloat copy[7][2];

    for (guint i = 0; i < 7; i++)
      copy[i][0] = rows[i][0], copy[i][1] = rows[i][1];
    g_assert_cmpfloat (pirl_knn_accuracy (rows[0], labels, 7, copy[0], labels, 7, 2, 1, 0.1), ==,
        1);
  }
}

static void
test_nothing_left (void)
{
  const gint none[2] = { -1, -1 }, some[2] = { 0, 1 };
  const gfloat rows[2] = { 1, 2 };

  g_assert_true (isnan (pirl_knn_accuracy (rows, some, 2, rows, none, 2, 1, 1, 0.1)));
  g_assert_true (isnan (pirl_knn_accuracy (rows, none, 2, rows + 1, some, 1, 1, 1, 0.1)));
  g_assert_true (isnan (pirl_knn_accuracy (rows, some, 0, rows + 1, some, 1, 1, 1, 0.1)));
}

/* --- against a plain search --- */

typedef struct {
  gdouble similarity;
  gsize index;
} Pair;

static gint
compare_pairs (const void *a, const void *b)
{
  const Pair *x = a, *y = b;

  return x->similarity != y->similarity ? (x->similarity < y->similarity ? 1 : -1)
      : (x->index > y->index) - (x->index < y->index);
}

static gdouble
dot (const gfloat *a, const gfloat *b, guint dim)
{
  gdouble ab = 0, aa = 0, bb = 0;

  for (guint d = 0; d < dim; d++) {
    ab += (gdouble) a[d] * b[d];
    aa += (gdouble) a[d] * a[d];
    bb += (gdouble) b[d] * b[d];
  }
  return ab / sqrt (aa * bb);
}

static void
test_against_plain_search (void)
{
  const gsize n = 700, n_queries = 301;
  const guint dim = 67, k = 20;
  g_autofree gfloat *rows = g_new (gfloat, n * dim), *queries = g_new (gfloat, n_queries * dim);
  g_autofree gint *labels = g_new (gint, n), *answers = g_new (gint, n_queries);
  g_autofree Pair *pairs = g_new (Pair, n);
  gsize hits = 0;
  PirlRng rng;

  pirl_rng_init (&rng, 9, 0, 0, PIRL_PURPOSE_TEST);
  for (gsize i = 0; i < n; i++) {
    labels[i] = (gint) pirl_rng_below (&rng, 6) - 1;
    for (guint d = 0; d < dim; d++)
      rows[i * dim + d] = pirl_rng_normal (&rng) + (d == (guint) (labels[i] + 1) ? 1.0f : 0.0f);
  }
  for (gsize q = 0; q < n_queries; q++) {
    gdouble score[5] = { 0 };
    gint best = 0, label = (gint) pirl_rng_below (&rng, 5);
    gsize index[20], found = 0;
    gfloat similarity[20];

    for (guint d = 0; d < dim; d++)
      queries[q * dim + d] = pirl_rng_normal (&rng) + (d == (guint) (label + 1) ? 1.5f : 0.0f);
    answers[q] = label;
    for (gsize i = 0; i < n; i++)
      pairs[i] = (Pair) { dot (queries + q * dim, rows + i * dim, dim), i };
    qsort (pairs, n, sizeof (Pair), compare_pairs);
    pirl_knn_nearest (rows, n, queries + q * dim, dim, k, G_MAXSIZE, index, similarity);
    for (guint i = 0; i < k; i++) {
      g_assert_cmpuint (index[i], ==, pairs[i].index);
      g_assert_cmpfloat_with_epsilon (similarity[i], pairs[i].similarity, 1e-5);
    }
    for (gsize i = 0; i < n && found < k; i++)
      if (labels[pairs[i].index] >= 0) {
        score[labels[pairs[i].index]] += exp (pairs[i].similarity / 0.1);
        found++;
      }
    for (gint c = 1; c < 5; c++)
      best = score[c] > score[best] ? c : best;
    hits += best == label;
  }
  g_test_message ("plain search: %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT " right", hits,
      n_queries);
  g_assert_cmpfloat_with_epsilon (pirl_knn_accuracy (rows, labels, n, queries, answers, n_queries,
          dim, k, 0.1), (gdouble) hits / (gdouble) n_queries, 1e-12);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/knn/by-hand", test_by_hand);
  g_test_add_func ("/knn/leave-one-out", test_leave_one_out);
  g_test_add_func ("/knn/nothing-left", test_nothing_left);
  g_test_add_func ("/knn/against-plain-search", test_against_plain_search);
  return g_test_run ();
}
