/* gst-pirl: weighted k-nearest-neighbour accuracy (Wu et al. 2018; pirl.md's protocol: cosine,
 * votes weighted by exp (similarity / sigma)).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/base.h"

/**
 * Fraction of @n_queries (rows of @dim floats, any length: they are normalised here) whose weighted
 * vote among the @k most similar @references gives their label. With @queries == @references each
 * query leaves itself out. Rows with label -1 are ignored on both sides. NaN when nothing is left.
 */
PIRL_API gdouble pirl_knn_accuracy (const gfloat *references, const gint *reference_labels,
    gsize n_references, const gfloat *queries, const gint *query_labels, gsize n_queries,
    guint dim, guint k, gdouble sigma);
/** The @k most similar references of one query, best first; @skip (or G_MAXSIZE) is left out. */
PIRL_API void pirl_knn_nearest (const gfloat *references, gsize n_references, const gfloat *query,
    guint dim, guint k, gsize skip, gsize *index, gfloat *similarity);
/**
 * The same of @n_queries rows at once, on @n_threads threads: row q of @index and @similarity ([n][k])
 * has the @k most similar references of query q, best first, and G_MAXSIZE and NaN where there are
 * fewer. References whose label is negative do not count; @labels NULL: all do.
 * @cancel (may be NULL) is looked at all the time: when set, FALSE.
 */
PIRL_API gboolean pirl_knn_search (const gfloat *references, const gint *labels,
    gsize n_references, const gfloat *queries, gsize n_queries, guint dim, guint k,
    guint n_threads, const gint *cancel, gsize *index, gfloat *similarity);
