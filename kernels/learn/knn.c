/* gst-pirl: weighted k-nearest-neighbour classification.
 *
 * Rows are normalised, similarity is the dot product. The score of label c is the sum over the k
 * nearest neighbours of label c of exp (similarity / sigma); the largest score wins, the smaller
 * label on a tie (Wu et al. 2018, section 3.4).
 *
 * Similarities are computed in tiles: QUERIES x REFERENCES sums in registers and first-level
 * cache, with the references of a tile transposed so that the inner loop runs over them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/knn.h"
#include "learn/private.h"

#include <math.h>
#include <string.h>

#define QUERIES 4
#define REFERENCES 64
/* Queries that see a transposed tile before the next one is made. */
#define QUERY_GROUP 256

#if defined (__x86_64__) && defined (__GNUC__)
#define HAVE_X86_TARGETS 1
#endif

/* tile[q][r] = sum_d query[q][d] * reference[d][r]. */
static inline __attribute__ ((always_inline)) void
tile_body (const gfloat *const query[QUERIES], const gfloat *restrict reference, guint dim,
    gfloat tile[QUERIES][REFERENCES])
{
  gfloat sum[QUERIES][REFERENCES] = { {0} };

  for (guint d = 0; d < dim; d++) {
    const gfloat *restrict row = reference + (gsize) d * REFERENCES;

    for (guint q = 0; q < QUERIES; q++) {
      const gfloat value = query[q][d];

      for (guint r = 0; r < REFERENCES; r++)
        sum[q][r] += value * row[r];
    }
  }
  memcpy (tile, sum, sizeof sum);
}

typedef void (*TileFunction) (const gfloat *const query[QUERIES], const gfloat *reference,
    guint dim, gfloat tile[QUERIES][REFERENCES]);

static void
tile_plain (const gfloat *const query[QUERIES], const gfloat *reference, guint dim,
    gfloat tile[QUERIES][REFERENCES])
{
  tile_body (query, reference, dim, tile);
}

#ifdef HAVE_X86_TARGETS
static __attribute__ ((target ("avx2,fma"))) void
tile_avx2 (const gfloat *const query[QUERIES], const gfloat *reference, guint dim,
    gfloat tile[QUERIES][REFERENCES])
{
  tile_body (query, reference, dim, tile);
}

static __attribute__ ((target ("avx512f"))) void
tile_avx512 (const gfloat *const query[QUERIES], const gfloat *reference, guint dim,
    gfloat tile[QUERIES][REFERENCES])
{
  tile_body (query, reference, dim, tile);
}
#endif

static TileFunction
tile_function (void)
{
#ifdef HAVE_X86_TARGETS
  if (__builtin_cpu_supports ("avx512f"))
    return tile_avx512;
  if (__builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma"))
    return tile_avx2;
#endif
  return tile_plain;
}

/* The k best so far of one query, best first; of equals the earlier reference stays in front. */
typedef struct {
  gsize *index;
  gfloat *similarity;
  guint n;
} Nearest;

static void
nearest_offer (Nearest *nearest, guint k, gsize index, gfloat similarity)
{
  guint at = nearest->n;

  if (at == k) {
    if (!(similarity > nearest->similarity[k - 1]))
      return;
    at--;
  } else {
    nearest->n++;
  }
  for (; at > 0 && similarity > nearest->similarity[at - 1]; at--) {
    nearest->similarity[at] = nearest->similarity[at - 1];
    nearest->index[at] = nearest->index[at - 1];
  }
  nearest->similarity[at] = similarity;
  nearest->index[at] = index;
}

/* Says which of the k places are empty. */
static void
nearest_end (const Nearest *nearest, guint k)
{
  for (guint i = nearest->n; i < k; i++) {
    nearest->index[i] = G_MAXSIZE;
    nearest->similarity[i] = NAN;
  }
}

static void
normalise (const gfloat *src, gfloat *dst, guint dim)
{
  gdouble sum = 0;
  gfloat scale;

  for (guint d = 0; d < dim; d++)
    sum += (gdouble) src[d] * src[d];
  scale = sum > 0 ? (gfloat) (1 / sqrt (sum)) : 0;
  for (guint d = 0; d < dim; d++)
    dst[d] = src[d] * scale;
}

/* dst[d][r] = reference first + r normalised, zero past the end. */
static void
transpose_tile (const gfloat *references, gsize n_references, gsize first, guint dim,
    gfloat *scratch, gfloat *dst)
{
  for (guint r = 0; r < REFERENCES; r++) {
    if (first + r < n_references)
      normalise (references + (first + r) * dim, scratch, dim);
    else
      memset (scratch, 0, dim * sizeof (gfloat));
    for (guint d = 0; d < dim; d++)
      dst[(gsize) d * REFERENCES + r] = scratch[d];
  }
}

typedef struct {
  const gfloat *references;
  const gint *labels;           /* of the references; NULL = all count */
  gsize n_references;
  guint dim, k;
  const gint *cancel;           /* may be NULL */
} Search;

/* Offers a tile's similarities to the neighbours of @n queries. */
static void
offer_tile (const Search *search, const gfloat tile[QUERIES][REFERENCES], gsize first,
    const gsize *skip, guint n, Nearest *nearest)
{
  const guint end = (guint) MIN (REFERENCES, search->n_references - first);

  for (guint q = 0; q < n; q++)
    for (guint r = 0; r < end; r++) {
      const gsize index = first + r;

      if (index != skip[q] && (!search->labels || search->labels[index] >= 0))
        nearest_offer (&nearest[q], search->k, index, tile[q][r]);
    }
}

/* Fills @nearest for @n <= QUERY_GROUP normalised queries, one after the other in @queries. */
static void
search_group (const Search *search, const gfloat *queries, const gsize *skip, guint n,
    Nearest *nearest)
{
  const TileFunction run = tile_function ();
  g_autofree gfloat *block = g_new (gfloat, (gsize) search->dim * REFERENCES);
  g_autofree gfloat *scratch = g_new (gfloat, search->dim);
  gfloat tile[QUERIES][REFERENCES];

  for (gsize first = 0; first < search->n_references; first += REFERENCES) {
    if (search->cancel && g_atomic_int_get (search->cancel))
      return;
    transpose_tile (search->references, search->n_references, first, search->dim, scratch, block);
    for (guint q = 0; q < n; q += QUERIES) {
      const gfloat *rows[QUERIES];
      const guint count = MIN (QUERIES, n - q);

      for (guint i = 0; i < QUERIES; i++)
        rows[i] = queries + (gsize) (q + MIN (i, count - 1)) * search->dim;
      run (rows, block, search->dim, tile);
      offer_tile (search, (const gfloat (*)[REFERENCES]) tile, first, skip + q, count,
          nearest + q);
    }
  }
}

/* The label with the largest score among the neighbours; @score is zeroed scratch and left so. */
static gint
vote (const Nearest *nearest, const gint *labels, gdouble sigma, gdouble *score)
{
  gint best = -1;

  for (guint i = 0; i < nearest->n; i++)
    /* exp ((s - 1) / sigma): the common factor keeps small sigmas within range. */
    score[labels[nearest->index[i]]] += exp ((nearest->similarity[i] - 1) / sigma);
  for (guint i = 0; i < nearest->n; i++) {
    const gint label = labels[nearest->index[i]];

    if (best < 0 || score[label] > score[best] || (score[label] == score[best] && label < best))
      best = label;
  }
  for (guint i = 0; i < nearest->n; i++)
    score[labels[nearest->index[i]]] = 0;
  return best;
}

/* Queries that count, with their rows, labels and the reference each leaves out. */
typedef struct {
  const gfloat **row;
  gint *label;
  gsize *skip;
  gsize n;
} Queries;

static void
queries_init (Queries *queries, gsize max)
{
  queries->row = g_new (const gfloat *, MAX (max, 1));
  queries->label = g_new (gint, MAX (max, 1));
  queries->skip = g_new (gsize, MAX (max, 1));
  queries->n = 0;
}

static void
queries_add (Queries *queries, const gfloat *row, gint label, gsize skip)
{
  if (label < 0)
    return;
  queries->row[queries->n] = row;
  queries->label[queries->n] = label;
  queries->skip[queries->n++] = skip;
}

static void
queries_clear (Queries *queries)
{
  g_free (queries->row);
  g_free (queries->label);
  g_free (queries->skip);
}

/* How many of queries [first, first + n) are answered rightly; those without neighbours are counted
 * out of @valid. */
static gsize
group_hits (const Search *search, const Queries *queries, gsize first, guint n, gdouble sigma,
    gdouble *score, gsize *valid)
{
  g_autofree gfloat *rows = g_new (gfloat, (gsize) n * search->dim);
  g_autofree gfloat *similarity = g_new (gfloat, (gsize) n * search->k);
  g_autofree gsize *index = g_new (gsize, (gsize) n * search->k);
  g_autofree Nearest *nearest = g_new0 (Nearest, n);
  gsize hits = 0;

  for (guint q = 0; q < n; q++) {
    normalise (queries->row[first + q], rows + (gsize) q * search->dim, search->dim);
    nearest[q].index = index + (gsize) q * search->k;
    nearest[q].similarity = similarity + (gsize) q * search->k;
  }
  search_group (search, rows, queries->skip + first, n, nearest);
  for (guint q = 0; q < n; q++) {
    if (nearest[q].n == 0)
      continue;
    (*valid)++;
    hits += vote (&nearest[q], search->labels, sigma, score) == queries->label[first + q];
  }
  return hits;
}

static gdouble
accuracy (Search *search, const Queries *queries, gdouble sigma)
{
  g_autofree gdouble *score = NULL;
  gint max_label = 0;
  gsize hits = 0, valid = 0;

  search->k = (guint) MIN (search->k, search->n_references);
  if (search->k == 0)
    return NAN;
  for (gsize i = 0; i < search->n_references; i++)
    max_label = MAX (max_label, search->labels[i]);
  score = g_new0 (gdouble, (gsize) max_label + 1);
  for (gsize first = 0; first < queries->n; first += QUERY_GROUP)
    hits += group_hits (search, queries, first,
        (guint) MIN (QUERY_GROUP, queries->n - first), sigma, score, &valid);
  return valid ? (gdouble) hits / (gdouble) valid : NAN;
}

gdouble
pirl_knn_accuracy (const gfloat *references, const gint *reference_labels, gsize n_references,
    const gfloat *queries, const gint *query_labels, gsize n_queries, guint dim, guint k,
    gdouble sigma)
{
  Search search = { references, reference_labels, n_references, dim, k, NULL };
  Queries list;
  gdouble result;

  queries_init (&list, n_queries);
  for (gsize q = 0; q < n_queries; q++)
    queries_add (&list, queries + q * dim, query_labels[q],
        queries == references ? q : G_MAXSIZE);
  result = accuracy (&search, &list, sigma);
  queries_clear (&list);
  return result;
}

gdouble
pirl_knn_leave_one_out (const gfloat *references, const gint *labels, gsize n_references,
    const gsize *query, gsize n_queries, guint dim, guint k, gdouble sigma)
{
  Search search = { references, labels, n_references, dim, k, NULL };
  Queries list;
  gdouble result;

  queries_init (&list, n_queries);
  for (gsize q = 0; q < n_queries; q++)
    queries_add (&list, references + query[q] * dim, labels[query[q]], query[q]);
  result = accuracy (&search, &list, sigma);
  queries_clear (&list);
  return result;
}

void
pirl_knn_nearest (const gfloat *references, gsize n_references, const gfloat *query, guint dim,
    guint k, gsize skip, gsize *index, gfloat *similarity)
{
  const Search search = { references, NULL, n_references, dim, k, NULL };
  Nearest nearest = { index, similarity, 0 };
  g_autofree gfloat *row = g_new (gfloat, dim);

  if (k == 0)
    return;
  normalise (query, row, dim);
  search_group (&search, row, &skip, 1, &nearest);
  nearest_end (&nearest, k);
}

/* The neighbours of queries [first, first + n). */
static void
search_rows (const Search *search, const gfloat *queries, gsize first, guint n, gsize *index,
    gfloat *similarity)
{
  g_autofree gfloat *rows = g_new (gfloat, (gsize) n * search->dim);
  g_autofree Nearest *nearest = g_new0 (Nearest, n);
  g_autofree gsize *skip = g_new (gsize, n);

  for (guint q = 0; q < n; q++) {
    normalise (queries + (first + q) * search->dim, rows + (gsize) q * search->dim, search->dim);
    nearest[q].index = index + (first + q) * search->k;
    nearest[q].similarity = similarity + (first + q) * search->k;
    skip[q] = G_MAXSIZE;
  }
  search_group (search, rows, skip, n, nearest);
  for (guint q = 0; q < n; q++)
    nearest_end (&nearest[q], search->k);
}

gboolean
pirl_knn_search (const gfloat *references, const gint *labels, gsize n_references,
    const gfloat *queries, gsize n_queries, guint dim, guint k, guint n_threads,
    const gint *cancel, gsize *index, gfloat *similarity)
{
  const Search search = { references, labels, n_references, dim, k, cancel };
  const gsize threads = MAX (n_threads, 1);
  /* Fewer than a group where that keeps all threads at work. */
  const gsize group = CLAMP ((n_queries + threads - 1) / threads, 1, QUERY_GROUP);

  if (k == 0)
    return TRUE;
#pragma omp parallel for schedule (dynamic) num_threads (threads) if (threads > 1)
  for (gsize first = 0; first < n_queries; first += group)
    search_rows (&search, queries, first, (guint) MIN (group, n_queries - first), index,
        similarity);
  return !cancel || !g_atomic_int_get (cancel);
}
