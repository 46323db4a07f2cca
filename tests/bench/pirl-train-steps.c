/* gst-pirl: pirl-train-bench: whole steps, and the parts that are no network by themselves.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pirl-train-bench.h"

#include <stdlib.h>
#include <time.h>

#include "net/precision.h"

/* Batches in memory: the next one's pictures travel while a step runs. */
#define BATCHES 3

/* --- whole steps --- */

/* Trains step @step, whose pictures are staged unless it is the first, and stages those of the
 * next. */
static gboolean
one_step (PirlTrainer *trainer, const BenchData *data, guint64 step, PirlStepStats *stats,
    GError **error)
{
  PirlBatch batch = bench_data_batch (data, step);
  const PirlBatch next = bench_data_batch (data, step + 1);

  if (step > 0)
    batch.images = batch.patches = NULL;
  return pirl_trainer_begin (trainer, &batch, NULL, error)
      && pirl_trainer_stage (trainer, &next, error)
      && pirl_trainer_end (trainer, stats, error);
}

/* Seconds of the next @n steps; negative on errors. */
static gdouble
time_steps (PirlTrainer *trainer, const BenchData *data, guint64 *step, gint n,
    PirlStepStats *stats, GError **error)
{
  const gint64 start = g_get_monotonic_time ();

  for (gint i = 0; i < n; i++)
    if (!one_step (trainer, data, (*step)++, stats, error))
      return -1;
  return (gdouble) (g_get_monotonic_time () - start) / G_USEC_PER_SEC;
}

/* Of all threads of the process. */
static gdouble
cpu_seconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &t);
  return (gdouble) t.tv_sec + 1e-9 * (gdouble) t.tv_nsec;
}

/* @cpu: seconds of the CPU that all windows took. */
static void
report_steps (const BenchOptions *o, PirlTrainer *trainer, const gdouble *rates, gdouble cpu,
    const PirlStepStats *stats, GString *json)
{
  const gdouble cpu_ms = 1e3 * cpu / o->windows / o->steps / o->batch;
  const gdouble median = rates[o->windows / 2];
  const gchar *bank = pirl_trainer_bank_precision (trainer);    /* NULL without one */

  g_print ("%s, %s, batch %d: %.1f images/s (%.1f to %.1f), %.2f ms a step, CPU %.2f ms an image, "
      "loss %g\n",
      pirl_trainer_device (trainer), pirl_trainer_precision (trainer), o->batch, median, rates[0],
      rates[o->windows - 1], 1e3 * o->batch / median, cpu_ms, stats->loss);
  g_string_append_printf (json, ", \"device\": \"%s\", \"precision\": \"%s\", \"objective\": "
      "\"%s\", \"batch\": %d, \"size\": %d, \"negatives\": %" G_GINT64_FORMAT ", \"bank\": %"
      G_GINT64_FORMAT ", \"images_per_second\": %.2f, \"slowest\": %.2f, \"fastest\": %.2f, "
      "\"step_ms\": %.4f, \"cpu_ms_per_image\": %.4f, "
      "\"windows\": %d, \"steps\": %d, \"bytes\": %" G_GSIZE_FORMAT ", \"loss\": %.9g, "
      "\"bank_precision\": \"%s\", \"loss_scale\": %g", pirl_trainer_device (trainer),
      pirl_trainer_precision (trainer), o->objective ? o->objective : "pirl", o->batch, o->size,
      o->negatives, o->bank, median, rates[0], rates[o->windows - 1], 1e3 * o->batch / median,
      cpu_ms, o->windows, o->steps, pirl_trainer_bytes (trainer), stats->loss,
      bank ? bank : "", stats->loss_scale);
}

static gboolean
time_windows (const BenchOptions *o, PirlTrainer *trainer, const BenchData *data, GString *json,
    GError **error)
{
  g_autofree gdouble *rates = g_new (gdouble, o->windows);
  PirlStepStats stats = { 0 };
  guint64 step = 0;
  gdouble cpu;
  BenchWatch watch;
  gboolean good = time_steps (trainer, data, &step, MAX (o->warmup, 1), &stats, error) >= 0;

  bench_watch_start (&watch);
  cpu = cpu_seconds ();
  for (gint i = 0; good && i < o->windows; i++) {
    const gdouble seconds = time_steps (trainer, data, &step, o->steps, &stats, error);

    good = seconds >= 0;
    rates[i] = o->steps * o->batch / MAX (seconds, 1e-9);
  }
  cpu = cpu_seconds () - cpu;
  if (good) {
    qsort (rates, (gsize) o->windows, sizeof *rates, bench_compare_doubles);
    report_steps (o, trainer, rates, cpu, &stats, json);
  }
  bench_watch_stop (&watch, json);
  return good;
}

gboolean
bench_steps (const BenchOptions *o, GString *json, GError **error)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  BenchData data;
  gboolean good;

  if (!bench_config (o, &config, error) || !(trainer = pirl_trainer_new (&config, error)))
    return FALSE;
  bench_data_init (&data, &config, BATCHES);
  good = time_windows (o, trainer, &data, json, error);
  bench_data_clear (&data);
  return good;
}

/* --- parts --- */

enum { BANK, EMBEDDING, GRADIENT, NEGATIVES, WEIGHTS, WEIGHT_GRADIENTS, VELOCITY, N_BLOCKS };

/* What contrast and optimiser work on, by themselves. */
typedef struct {
  PirlDevice *device;
  PirlTrainerConfig config;
  PirlDType bank_dtype;
  gsize n_weights;
  gpointer block[N_BLOCKS];
  guint32 *rows;
  gfloat *momentum;
  PirlContrastStats stats;
} Parts;

static gboolean
parts_draw (gconstpointer closure, guint i, GError **error)
{
  const Parts *parts = closure;
  const PirlDrawDesc desc = { .batch = parts->config.batch, .rows = parts->config.bank_rows,
    .negatives = parts->config.negatives, .exclude_positive = TRUE, .seed = 1, .epoch = i,
    .purpose = PIRL_PURPOSE_NEGATIVES };

  return parts->device->backend->draw (parts->device, &desc, parts->rows, parts->block[NEGATIVES],
      error);
}

static gboolean
parts_contrast (gconstpointer closure, guint i, GError **error)
{
  const Parts *parts = closure;
  const PirlTrainerConfig *config = &parts->config;
  const PirlContrastDesc desc = { .loss = config->loss, .batch = config->batch,
    .dim = (guint) config->dim, .rows = config->bank_rows, .negatives = config->negatives,
    .temperature = config->temperature, .z = 2.2 * (gdouble) config->bank_rows, .scale = 0.5,
    .bank_dtype = parts->bank_dtype };

  return parts->device->backend->contrast (parts->device, &desc, parts->block[EMBEDDING],
      parts->block[BANK], parts->rows, parts->block[NEGATIVES], parts->block[GRADIENT],
      (PirlContrastStats *) &parts->stats, error);
}

static gboolean
parts_bank (gconstpointer closure, guint i, GError **error)
{
  const Parts *parts = closure;

  return parts->device->backend->bank_update (parts->device, parts->block[BANK],
      parts->bank_dtype, (guint) parts->config.dim, parts->config.batch, parts->rows,
      parts->momentum, parts->block[EMBEDDING], error);
}

static gboolean
parts_optimiser (gconstpointer closure, guint i, GError **error)
{
  const Parts *parts = closure;
  const PirlBackend *backend = parts->device->backend;
  const gsize bytes = parts->n_weights * sizeof (gfloat);

  return (!backend->check || backend->check (parts->device, parts->n_weights,
          parts->block[WEIGHT_GRADIENTS], error))
      && backend->sgd (parts->device, parts->n_weights, parts->block[WEIGHTS],
      parts->block[WEIGHT_GRADIENTS], parts->block[VELOCITY], 1e-6, 0.9, 1e-4, FALSE,
      error)
      && backend->zero (parts->device, parts->block[WEIGHT_GRADIENTS], bytes, error);
}

/* Elements of the parameters that the trainer would have. */
static gsize
count_weights (const PirlTrainerConfig *config)
{
  PirlGraph *graph = pirl_graph_new ();
  const PirlValue input = pirl_graph_input (graph, 2, config->image_size, config->mean,
      config->std);
  const PirlValue pooled = pirl_graph_avgpool (graph, pirl_trunk_build (graph, &config->trunk,
          input, NULL));
  gsize n = 0;

  if (config->objective == PIRL_OBJECTIVE_SUPERVISED)
    pirl_trunk_classifier (graph, &config->trunk, pooled, (gint) config->classes);
  else
    pirl_head_f (graph, config->head, pooled, config->dim);
  for (guint i = 0; i < graph->params->len; i++)
    n += pirl_shape_count (&((PirlParamSpec *) graph->params->pdata[i])->shape);
  pirl_graph_free (graph);
  return n;
}

static gboolean
parts_alloc (Parts *parts, GError **error)
{
  const PirlTrainerConfig *config = &parts->config;
  const gsize vectors = config->batch * (gsize) config->dim * sizeof (gfloat);
  const gsize weights = parts->n_weights * sizeof (gfloat);
  const gsize bytes[N_BLOCKS] = {
    [BANK] = config->bank_rows * (gsize) config->dim * pirl_dtype_size (parts->bank_dtype),
    [EMBEDDING] = vectors,
    [GRADIENT] = vectors, [NEGATIVES] = config->batch * config->negatives * sizeof (guint32),
    [WEIGHTS] = weights, [WEIGHT_GRADIENTS] = weights, [VELOCITY] = weights
  };

  for (guint i = 0; i < N_BLOCKS; i++) {
    parts->block[i] = parts->device->backend->alloc (parts->device, bytes[i], error);
    /* Rows of about unit length; the negatives are drawn. */
    if (!parts->block[i] || (i != NEGATIVES && !bench_fill (parts->device, parts->block[i],
                bytes[i], i == BANK ? parts->bank_dtype : PIRL_DTYPE_F32, 0.088f, error)))
      return FALSE;
  }
  return TRUE;
}

static gboolean
time_parts (const Parts *parts, GString *json, GError **error)
{
  const gboolean bank = parts->config.objective != PIRL_OBJECTIVE_SUPERVISED;
  const struct {
    const gchar *name;
    BenchWork work;
    guint times;                /* in a step */
    gboolean used;
  } cases[] = {
    { "draw", parts_draw, 2, bank },
    { "contrast", parts_contrast, 2, bank },
    { "bank", parts_bank, 1, bank },
    { "optimiser", parts_optimiser, 1, TRUE },
  };
  gdouble contrast = 0;

  g_string_append (json, ", \"parts_ms\": {");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    gdouble ms;

    if (!cases[i].used)
      continue;
    ms = bench_time (parts->device, cases[i].work, parts, 1, error);
    if (ms < 0)
      return FALSE;
    g_print ("  %-9s %.3f ms x %u\n", cases[i].name, ms, cases[i].times);
    g_string_append_printf (json, "\"%s\": %.4f, ", cases[i].name, cases[i].times * ms);
    contrast += cases[i].work == parts_optimiser ? 0 : cases[i].times * ms;
  }
  g_string_append_printf (json, "\"nce\": %.4f}", contrast);
  return TRUE;
}

static gboolean
parts_run (Parts *parts, GString *json, GError **error)
{
  const PirlTrainerConfig *config = &parts->config;
  BenchData data;
  gboolean good;

  bench_data_init (&data, config, 1);
  parts->rows = data.rows;
  parts->momentum = g_new (gfloat, config->batch);
  for (guint b = 0; b < config->batch; b++)
    parts->momentum[b] = (gfloat) config->bank_momentum;
  good = parts_alloc (parts, error) && time_parts (parts, json, error);
  for (guint i = 0; i < N_BLOCKS; i++)
    if (parts->block[i])
      parts->device->backend->free (parts->device, parts->block[i]);
  g_free (parts->momentum);
  bench_data_clear (&data);
  return good;
}

gboolean
bench_parts (const BenchOptions *o, GString *json, GError **error)
{
  Parts parts = { 0 };
  g_autoptr (PirlDevice) device = NULL;
  const PirlPrecision *precision;

  if (!bench_config (o, &parts.config, error))
    return FALSE;
  device = pirl_device_open (parts.config.device, (guint) o->threads, o->deterministic, error);
  if (!device
      || !(precision = pirl_precision_choose (device, PIRL_MODE_TRAIN, parts.config.precision,
              error))
      || !pirl_bank_dtype_choose (device, precision, parts.config.bank_precision,
          &parts.bank_dtype, error))
    return FALSE;
  parts.device = device;
  parts.n_weights = count_weights (&parts.config);
  return parts_run (&parts, json, error);
}
