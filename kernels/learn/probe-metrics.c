/* gst-pirl: what the scores of a classifier are worth (see probe-metrics.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/probe-private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define TOP 5

struct _PirlScores {
  guint classes;
  gsize n;                      /* rows of the test set */
  const gint *labels;           /* one of these two is NULL */
  const gint8 *targets;
  guint32 *rank;                /* [n] of single labels */
  gfloat *score;                /* [classes][n], where average precision is wanted */
  /* For judging: */
  guint32 *counted;             /* rows with a label, or all */
  guint n_counted;
  guint **order;                /* [classes] rows by falling score, of those with a positive */
  gint8 *target;                /* [classes][n] */
};

/* ---- order ---------------------------------------------------------------------------------- */

/* What is no number stands behind every number. */
static inline gfloat
comparable (gfloat score)
{
  return isnan (score) ? -INFINITY : score;
}

static gint
compare_rows (gconstpointer a, gconstpointer b, gpointer data)
{
  const gfloat *score = data;
  const guint i = *(const guint *) a, j = *(const guint *) b;
  const gfloat left = comparable (score[i]), right = comparable (score[j]);

  if (left != right)
    return left > right ? -1 : 1;
  return i < j ? -1 : i > j;
}

void
pirl_score_order (const gfloat *score, guint *order, guint n)
{
  for (guint i = 0; i < n; i++)
    order[i] = i;
  g_qsort_with_data (order, (gint) n, sizeof *order, compare_rows, (gpointer) score);
}

guint
pirl_score_rank (const gfloat *score, guint classes, guint label)
{
  const gfloat own = comparable (score[label]);
  guint rank = 0;

  for (guint c = 0; c < classes; c++) {
    const gfloat other = comparable (score[c]);

    rank += other > own || (other == own && c > label);
  }
  return rank;
}

/* ---- average precision ---------------------------------------------------------------------- */

/* One point for every score that occurs: true positives and all samples with that score or more. */
typedef struct {
  guint64 hits, seen;
} Point;

static guint
precision_points (const gfloat *score, const gint8 *target, const guint *order,
    const guint *weight, guint n, Point *points)
{
  Point sum = { 0, 0 };
  gfloat last = 0;
  guint m = 0;

  for (guint i = 0; i < n; i++) {
    const guint row = order[i];
    const guint w = weight ? weight[row] : 1;

    if (target[row] < 0 || w == 0)
      continue;
    sum.hits += target[row] > 0 ? w : 0;
    sum.seen += w;
    if (m > 0 && comparable (score[row]) == last)
      m--;
    last = comparable (score[row]);
    points[m++] = sum;
  }
  return m;
}

gdouble
pirl_average_precision (PirlPrecisionKind kind, const gfloat *score, const gint8 *target,
    const guint *order, const guint *weight, guint n)
{
  g_autofree Point *points = g_new (Point, MAX (n, 1));
  const guint m = precision_points (score, target, order, weight, n, points);
  gdouble best = 0, area = 0;

  if (m == 0 || points[m - 1].hits == 0)
    return NAN;
  /* From the end on, so that the largest precision beyond is known. */
  for (guint i = m; i-- > 0;) {
    const gdouble precision = (gdouble) points[i].hits / (gdouble) points[i].seen;
    const guint64 before = i > 0 ? points[i - 1].hits : 0;

    best = kind == PIRL_PRECISION_INTERPOLATED ? MAX (best, precision) : precision;
    area += best * (gdouble) (points[i].hits - before);
  }
  return area / (gdouble) points[m - 1].hits;
}

/* ---- taking scores -------------------------------------------------------------------------- */

PirlScores *
pirl_scores_new (const PirlProbeSet *test, guint classes, gboolean keep_scores)
{
  PirlScores *scores = g_new0 (PirlScores, 1);

  scores->classes = classes;
  scores->n = test->n;
  scores->labels = test->labels;
  scores->targets = test->labels ? NULL : test->targets;
  if (scores->labels)
    scores->rank = g_new0 (guint32, MAX (scores->n, 1));
  if (keep_scores || scores->targets)
    scores->score = g_new0 (gfloat, MAX (scores->n, 1) * classes);
  return scores;
}

void
pirl_scores_free (PirlScores *scores)
{
  if (!scores)
    return;
  for (guint c = 0; scores->order && c < scores->classes; c++)
    g_free (scores->order[c]);
  g_free (scores->order);
  g_free (scores->target);
  g_free (scores->counted);
  g_free (scores->rank);
  g_free (scores->score);
  g_free (scores);
}

void
pirl_scores_set (PirlScores *scores, gsize row, const gfloat *score)
{
  if (scores->labels && scores->labels[row] >= 0)
    scores->rank[row] = pirl_score_rank (score, scores->classes, (guint) scores->labels[row]);
  for (guint c = 0; scores->score && c < scores->classes; c++)
    scores->score[c * scores->n + row] = score[c];
}

/* ---- judging -------------------------------------------------------------------------------- */

/* The figures of one draw; those of classes NaN where a class has no sample. */
typedef struct {
  gdouble top1, top5, balanced, map;
} Figures;

/* How a draw is counted: how often each row is in it. */
typedef struct {
  const PirlScores *scores;
  const guint *weight;          /* [n]; NULL: each row once */
  gdouble *accuracy, *precision;        /* [classes], may be NULL */
} Draw;

static gdouble
mean_of_numbers (const gdouble *values, guint n)
{
  gdouble sum = 0;
  guint count = 0;

  for (guint i = 0; i < n; i++)
    if (!isnan (values[i])) {
      sum += values[i];
      count++;
    }
  return count ? sum / count : NAN;
}

static void
judge_labels (const Draw *draw, Figures *figures)
{
  const PirlScores *scores = draw->scores;
  g_autofree gdouble *accuracy = g_new0 (gdouble, scores->classes);
  g_autofree guint64 *n = g_new0 (guint64, scores->classes);
  guint64 top1 = 0, top5 = 0, all = 0;

  for (guint i = 0; i < scores->n_counted; i++) {
    const guint row = scores->counted[i];
    const guint w = draw->weight ? draw->weight[row] : 1;
    const gboolean right = scores->rank[row] == 0;

    top1 += right ? w : 0;
    top5 += scores->rank[row] < TOP ? w : 0;
    all += w;
    accuracy[scores->labels[row]] += right ? w : 0;
    n[scores->labels[row]] += w;
  }
  for (guint c = 0; c < scores->classes; c++)
    accuracy[c] = n[c] ? accuracy[c] / (gdouble) n[c] : NAN;
  figures->top1 = all ? (gdouble) top1 / (gdouble) all : NAN;
  figures->top5 = all ? (gdouble) top5 / (gdouble) all : NAN;
  figures->balanced = mean_of_numbers (accuracy, scores->classes);
  if (draw->accuracy)
    memcpy (draw->accuracy, accuracy, scores->classes * sizeof *accuracy);
}

static void
judge_precision (const Draw *draw, Figures *figures)
{
  const PirlScores *scores = draw->scores;
  g_autofree gdouble *precision = g_new (gdouble, scores->classes);

  for (guint c = 0; c < scores->classes; c++)
    precision[c] = scores->order[c] ? pirl_average_precision (PIRL_PRECISION_INTERPOLATED,
        scores->score + c * scores->n, scores->target + c * scores->n, scores->order[c],
        draw->weight, (guint) scores->n) : NAN;
  figures->map = mean_of_numbers (precision, scores->classes);
  if (draw->precision)
    memcpy (draw->precision, precision, scores->classes * sizeof *precision);
}

static Figures
judge_draw (const Draw *draw)
{
  Figures figures = { NAN, NAN, NAN, NAN };

  if (draw->scores->labels)
    judge_labels (draw, &figures);
  if (draw->scores->score)
    judge_precision (draw, &figures);
  return figures;
}

/* What every draw needs of the class: its targets and its rows by falling score. */
static void
sort_class (PirlScores *scores, guint c)
{
  gint8 *target = scores->target + c * scores->n;
  gboolean has_positive = FALSE;

  for (gsize row = 0; row < scores->n; row++) {
    const gint label = scores->labels ? scores->labels[row] : 0;

    target[row] = scores->targets ? scores->targets[row * scores->classes + c]
        : label < 0 ? -1 : label == (gint) c;
    has_positive |= target[row] > 0;
  }
  if (!has_positive)
    return;
  scores->order[c] = g_new (guint, scores->n);
  pirl_score_order (scores->score + c * scores->n, scores->order[c], (guint) scores->n);
}

static void
prepare (PirlScores *scores, guint n_threads)
{
  scores->counted = g_new (guint32, MAX (scores->n, 1));
  for (gsize row = 0; row < scores->n; row++)
    if (!scores->labels || scores->labels[row] >= 0)
      scores->counted[scores->n_counted++] = (guint32) row;
  if (!scores->score)
    return;
  scores->target = g_new (gint8, MAX (scores->n, 1) * scores->classes);
  scores->order = g_new0 (guint *, scores->classes);
#pragma omp parallel for schedule (dynamic) num_threads (n_threads) if (n_threads > 1)
  for (guint c = 0; c < scores->classes; c++)
    sort_class (scores, c);
}

/* Draw @number: as many rows as count, with replacement. */
static Figures
bootstrap (const PirlScores *scores, guint64 seed, guint number)
{
  g_autofree guint *weight = g_new0 (guint, MAX (scores->n, 1));
  const Draw draw = { scores, weight, NULL, NULL };
  PirlRng rng;

  pirl_rng_init (&rng, seed, 0, number, PIRL_PURPOSE_PROBE_BOOTSTRAP);
  for (guint i = 0; i < scores->n_counted; i++)
    weight[scores->counted[pirl_rng_below (&rng, scores->n_counted)]]++;
  return judge_draw (&draw);
}

static gint
compare_numbers (gconstpointer a, gconstpointer b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return x < y ? -1 : x > y;
}

/* The value of the sorted numbers below which @part of them lie, interpolated (numpy's
 * quantile). */
static gdouble
quantile (const gdouble *sorted, guint n, gdouble part)
{
  const gdouble at = part * (n - 1);
  const guint below = (guint) floor (at);
  const guint above = MIN (below + 1, n - 1);

  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/* The figure at byte @offset, with its interval over the draws. */
static PirlEstimate
interval (const Figures *draws, const PirlProbeConfig *config, gsize offset,
    const Figures *figures)
{
  g_autofree gdouble *values = g_new (gdouble, MAX (config->bootstrap, 1));
  PirlEstimate estimate = { G_STRUCT_MEMBER (gdouble, figures, offset), NAN, NAN };
  guint n = 0;

  for (guint i = 0; i < config->bootstrap; i++) {
    const gdouble x = G_STRUCT_MEMBER (gdouble, &draws[i], offset);

    if (!isnan (x))
      values[n++] = x;
  }
  if (n == 0 || isnan (estimate.value))
    return estimate;
  qsort (values, n, sizeof *values, compare_numbers);
  estimate.low = quantile (values, n, (1 - config->confidence) / 2);
  estimate.high = quantile (values, n, (1 + config->confidence) / 2);
  return estimate;
}

void
pirl_scores_judge (PirlScores *scores, const PirlProbeConfig *config, PirlProbeResult *result)
{
  const Figures none = { NAN, NAN, NAN, NAN };
  const guint draws = config->bootstrap, n_threads = pirl_probe_threads (config);
  g_autofree Figures *drawn = g_new (Figures, MAX (draws, 1));
  Draw all = { scores, NULL, NULL, NULL };
  Figures figures;

  prepare (scores, n_threads);
  result->classes = scores->classes;
  result->n_test = scores->n_counted;
  if (scores->labels)
    all.accuracy = result->accuracy = g_new (gdouble, scores->classes);
  if (scores->score)
    all.precision = result->precision = g_new (gdouble, scores->classes);
  figures = judge_draw (&all);
#pragma omp parallel for schedule (dynamic) num_threads (n_threads) if (n_threads > 1)
  for (guint i = 0; i < draws; i++)
    drawn[i] = config->cancel && g_atomic_int_get (config->cancel) ? none
        : bootstrap (scores, config->seed, i);
  result->top1 = interval (drawn, config, G_STRUCT_OFFSET (Figures, top1), &figures);
  result->top5 = interval (drawn, config, G_STRUCT_OFFSET (Figures, top5), &figures);
  result->balanced = interval (drawn, config, G_STRUCT_OFFSET (Figures, balanced), &figures);
  result->map = interval (drawn, config, G_STRUCT_OFFSET (Figures, map), &figures);
}
