/* gst-pirl: scaling-bench: drawing negatives and contrasting with them, without a network.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each call draws anew, so that the rows it meets are no nearer than in a training. With --bare the
 * same number of rows of yet another draw is read once in the same turn, to compare with: a loop
 * that adds the rows up, 8 fetched in advance, and does nothing else.
 */
#include "scaling-bench.h"

#include "base/rng.h"
#include "pirl-train-bench.h"

/* About so many rows a turn. */
#define ROWS_A_TURN 3000000
#define AHEAD 8
#define DIM 128
#define LINE 16                 /* floats of a cache line */

enum { BANK, EMBEDDING, GRADIENT, NEGATIVES, N_BLOCKS };

typedef struct {
  PirlDevice *device;
  PirlTrainerConfig config;
  gboolean bare, all;           /* all: every row is a negative */
  gpointer block[N_BLOCKS];
  guint32 *rows;                /* of the batch */
  guint64 calls;                /* done so far, also the epoch */
  gdouble draw, contrast, gather;       /* CPU seconds of the turn */
} Contest;

/* Adds the CPU time since @start to @sum; the time now. */
static gdouble
add_time (gdouble *sum, gdouble start)
{
  const gdouble now = scaling_cpu ();

  *sum += now - start;
  return now;
}

static gboolean
draw (Contest *t, PirlPurpose purpose, GError **error)
{
  const PirlDrawDesc desc = { .batch = t->config.batch, .rows = t->config.bank_rows,
    .negatives = t->config.negatives, .exclude_positive = TRUE, .seed = 1,
    .epoch = (guint32) t->calls, .purpose = purpose };

  return t->all || t->device->backend->draw (t->device, &desc, t->rows, t->block[NEGATIVES], error);
}

static gboolean
contrast (Contest *t, PirlContrastStats *stats, GError **error)
{
  const PirlTrainerConfig *config = &t->config;
  const PirlContrastDesc desc = { .loss = config->loss, .batch = config->batch, .dim = DIM,
    .rows = config->bank_rows, .negatives = config->negatives, .temperature = config->temperature,
    .z = 1, .scale = 0.5, .bank_dtype = PIRL_DTYPE_F32 };

  return t->device->backend->contrast (t->device, &desc, t->block[EMBEDDING], t->block[BANK],
      t->rows, t->all ? NULL : t->block[NEGATIVES], t->block[GRADIENT], stats, error);
}

/* Adds @n rows up. */
#if defined (__x86_64__) && defined (__GNUC__)
__attribute__ ((target_clones ("avx512f", "avx2", "default")))
#endif
static void
add_up (const gfloat *bank, const guint32 *index, gsize n, gfloat *restrict sum)
{
  for (gsize i = 0; i < n; i++) {
    const gfloat *row = bank + (gsize) index[i] * DIM;
    const gfloat *next = i + AHEAD < n ? bank + (gsize) index[i + AHEAD] * DIM : NULL;

    for (gsize d = 0; next && d < DIM; d += LINE)
      __builtin_prefetch (next + d);
    for (gsize d = 0; d < DIM; d++)
      sum[d] += row[d];
  }
}

static void
gather (Contest *t)
{
  const gsize n = (gsize) t->config.batch * t->config.negatives;
  gfloat sum[DIM] = { 0 };

  add_up (t->block[BANK], t->block[NEGATIVES], n, sum);
  /* So that it cannot be left out. */
  ((gfloat *) t->block[GRADIENT])[0] = sum[0];
}

static gboolean
one_call (Contest *t, PirlContrastStats *stats, GError **error)
{
  gdouble now = scaling_cpu ();

  scaling_draw_rows (t->rows, t->config.batch, t->config.bank_rows, t->calls);
  if (!draw (t, PIRL_PURPOSE_NEGATIVES, error))
    return FALSE;
  now = add_time (&t->draw, now);
  if (!contrast (t, stats, error))
    return FALSE;
  now = add_time (&t->contrast, now);
  t->calls++;
  if (!t->bare || t->all)
    return TRUE;
  if (!draw (t, PIRL_PURPOSE_NEGATIVES_PRETEXT, error))
    return FALSE;
  now = scaling_cpu ();
  gather (t);
  add_time (&t->gather, now);
  return TRUE;
}

static gboolean
contrast_turn (gpointer data, Turn *turn, GError **error)
{
  Contest *t = data;
  const guint64 rows = t->config.batch * t->config.negatives;
  const guint64 calls = MAX (ROWS_A_TURN / rows, 1);
  PirlContrastStats stats;

  t->draw = t->contrast = t->gather = 0;
  for (guint64 i = 0; i < calls; i++)
    if (!one_call (t, &stats, error))
      return FALSE;
  turn->items = calls * rows;
  turn->more = g_strdup_printf (", \"calls\": %" G_GUINT64_FORMAT ", \"parts\": {\"draw\": %.9f, "
      "\"contrast\": %.9f, \"gather\": %.9f}", calls, t->draw, t->contrast, t->gather);
  return TRUE;
}

/* Rows of about unit length. */
static gboolean
contest_alloc (Contest *t, GError **error)
{
  const gsize vectors = t->config.batch * DIM * sizeof (gfloat);
  const gsize bytes[N_BLOCKS] = { [BANK] = t->config.bank_rows * DIM * sizeof (gfloat),
    [EMBEDDING] = vectors, [GRADIENT] = vectors,
    [NEGATIVES] = t->all ? 1 : t->config.batch * t->config.negatives * sizeof (guint32) };

  for (guint i = 0; i < N_BLOCKS; i++) {
    t->block[i] = t->device->backend->alloc (t->device, bytes[i], error);
    if (!t->block[i] || (i < GRADIENT && !bench_fill (t->device, t->block[i], bytes[i],
                PIRL_DTYPE_F32, 0.088f, error)))
      return FALSE;
  }
  t->rows = g_new (guint32, t->config.batch);
  return TRUE;
}

int
scaling_contrast (const ScalingOptions *options)
{
  g_autoptr (PirlDevice) device = NULL;
  g_autoptr (GError) error = NULL;
  Contest t = { .bare = options->bare, .all = options->negatives == options->rows - 1 };
  int status = 1;

  if (scaling_config (options, &t.config, &error)
      && (device = pirl_device_open ("cpu", (guint) options->threads, FALSE, &error))) {
    t.device = device;
    if (contest_alloc (&t, &error))
      status = turns_serve ("scaling-bench", contrast_turn, &t);
    for (guint i = 0; i < N_BLOCKS; i++)
      if (t.block[i])
        device->backend->free (device, t.block[i]);
    g_free (t.rows);
  }
  if (error)
    g_printerr ("scaling-bench: %s\n", error->message);
  return status;
}
