/* gst-pirl: pirl-train-bench: pictures, timing, and nvidia-smi beside it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pirl-train-bench.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "base/rng.h"

/* Side of a coloured square in a picture. */
#define CELL 8
#define RUNS 7
/* A device with steps runs two of them plainly and records the third. */
#define UNTIMED_RUNS 3
/* A timed step takes about this long, so that starting it does not show. */
#define STEP_MS 20.0
#define MAX_REPEATS 256
#define FILL_BYTES ((gsize) 16 << 20)

/* --- pictures --- */

/* Squares of CELL pixels in random colours, three parts of four, and noise. */
static void
draw_picture (guint8 *dst, gsize side, guint64 stream, guint64 index)
{
  const gsize cells = (side + CELL - 1) / CELL, words = (3 * (cells * cells + side * side) + 3) / 4;
  g_autofree guint32 *drawn = g_new (guint32, words);
  const guint8 *colour = (const guint8 *) drawn, *noise = colour + 3 * cells * cells;
  PirlRng rng;

  pirl_rng_init (&rng, stream, 0, index, PIRL_PURPOSE_TEST);
  pirl_rng_fill_u32 (&rng, drawn, words);
  for (gsize y = 0; y < side; y++)
    for (gsize x = 0; x < side; x++)
      for (gsize c = 0; c < 3; c++)
        *dst++ = (guint8) ((3 * colour[(y / CELL * cells + x / CELL) * 3 + c] + *noise++) / 4);
}

static void
draw_pictures (guint8 *dst, gsize side, gsize n, guint64 stream)
{
  for (gsize i = 0; i < n; i++)
    draw_picture (dst + i * side * side * 3, side, stream, i);
}

void
bench_data_init (BenchData *data, const PirlTrainerConfig *config, guint n)
{
  const gboolean bank = config->objective != PIRL_OBJECTIVE_SUPERVISED;
  const gsize samples = (gsize) n * config->batch;
  const gsize side = (gsize) config->image_size, patch = (gsize) config->patch_size;
  PirlRng rng;

  *data = (BenchData) { .n = n, .batch = config->batch, .image_bytes = side * side * 3,
    .patch_bytes = bank ? patch * patch * 3 * (gsize) config->patches : 0 };
  data->images = g_malloc (samples * data->image_bytes);
  data->patches = g_malloc (MAX (samples * data->patch_bytes, 1));
  draw_pictures (data->images, side, samples, 1);
  if (bank)
    draw_pictures (data->patches, patch, samples * (gsize) config->patches, 2);
  data->image = g_new (const guint8 *, samples);
  data->patch = g_new (const guint8 *, samples);
  data->rows = g_new (guint32, samples);
  data->labels = g_new (gint, samples);
  pirl_rng_init (&rng, 3, 0, 0, PIRL_PURPOSE_TEST);
  for (gsize i = 0; i < samples; i++) {
    data->image[i] = data->images + i * data->image_bytes;
    data->patch[i] = data->patches + i * data->patch_bytes;
    /* A batch has a row only once. */
    data->rows[i] = bank ? (guint32) (i % config->batch * (config->bank_rows / config->batch)
        + pirl_rng_below (&rng, (guint32) (config->bank_rows / config->batch))) : 0;
    data->labels[i] = bank ? -1 : (gint) pirl_rng_below (&rng, config->classes);
  }
}

void
bench_data_clear (BenchData *data)
{
  g_free (data->images);
  g_free (data->patches);
  g_free (data->image);
  g_free (data->patch);
  g_free (data->rows);
  g_free (data->labels);
}

PirlBatch
bench_data_batch (const BenchData *data, guint64 step)
{
  const gsize at = step % data->n * data->batch;

  return (PirlBatch) { .images = data->image + at, .patches = data->patch + at,
    .rows = data->rows + at, .labels = data->labels + at, .epoch = (guint32) (step / data->n) };
}

/* --- timing --- */

gint
bench_compare_doubles (gconstpointer a, gconstpointer b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

static gboolean
run_once (PirlDevice *device, BenchWork work, gconstpointer closure, guint repeats, GError **error)
{
  const PirlBackend *backend = device->backend;
  PirlStepResult result;

  if (backend->step_begin && !backend->step_begin (device, error))
    return FALSE;
  for (guint i = 0; i < repeats; i++)
    if (!work (closure, i, error)) {
      if (backend->step_begin)
        backend->step_abort (device);
      return FALSE;
    }
  return !backend->step_begin || (backend->step_launch (device, error)
      && backend->step_end (device, &result, error));
}

/* A device that has recorded a step expects the same again, until its memory changes. */
static gboolean
forget_steps (PirlDevice *device, GError **error)
{
  gpointer memory = device->backend->alloc (device, 1, error);

  if (memory)
    device->backend->free (device, memory);
  return memory != NULL;
}

/* Milliseconds of one step; negative on errors. */
static gdouble
time_step (PirlDevice *device, BenchWork work, gconstpointer closure, guint repeats,
    GError **error)
{
  const gint64 start = g_get_monotonic_time ();

  if (!run_once (device, work, closure, repeats, error))
    return -1;
  return (gdouble) (g_get_monotonic_time () - start) / 1e3;
}

/* Whole rounds that take about STEP_MS; 0 on errors. */
static guint
choose_repeats (PirlDevice *device, BenchWork work, gconstpointer closure, guint round,
    GError **error)
{
  gdouble ms;

  /* The first one also loads what it needs. */
  if (!forget_steps (device, error) || time_step (device, work, closure, round, error) < 0
      || (ms = time_step (device, work, closure, round, error)) < 0
      || !forget_steps (device, error))
    return 0;
  return round * (guint) CLAMP (STEP_MS / MAX (ms, 1e-3), 1, MAX_REPEATS / round + 1);
}

gdouble
bench_time (PirlDevice *device, BenchWork work, gconstpointer closure, guint round,
    GError **error)
{
  const guint repeats = choose_repeats (device, work, closure, round, error);
  gdouble ms[RUNS];

  if (repeats == 0)
    return -1;
  for (guint run = 0; run < UNTIMED_RUNS; run++)
    if (!run_once (device, work, closure, repeats, error))
      return -1;
  for (guint run = 0; run < RUNS; run++)
    if ((ms[run] = time_step (device, work, closure, repeats, error)) < 0)
      return -1;
  qsort (ms, RUNS, sizeof *ms, bench_compare_doubles);
  return ms[RUNS / 2] / repeats;
}

gboolean
bench_fill (PirlDevice *device, gpointer memory, gsize bytes, PirlDType dtype, gfloat deviation,
    GError **error)
{
  const gsize first = MIN (bytes, FILL_BYTES), n = first / pirl_dtype_size (dtype);
  g_autofree gfloat *values = g_new (gfloat, n);
  g_autofree guint8 *converted = g_malloc0 (MAX (first, 1));
  PirlRng rng;

  pirl_rng_init (&rng, 4, 0, bytes, PIRL_PURPOSE_TEST);
  for (gsize i = 0; i < n; i++)
    /* Uniform: as good as normal here, and several times as fast. */
    values[i] = pirl_rng_range (&rng, -1.732f * deviation, 1.732f * deviation);
  pirl_from_float (dtype, values, converted, n);
  if (!device->backend->upload (device, memory, converted, first, error))
    return FALSE;
  for (gsize at = first; at < bytes; at += first)
    if (!device->backend->copy (device, (guint8 *) memory + at, memory, MIN (first, bytes - at),
            error))
      return FALSE;
  return TRUE;
}

/* --- nvidia-smi --- */

void
bench_watch_start (BenchWatch *watch)
{
  gchar *arguments[] = { (gchar *) "nvidia-smi", (gchar *) "--id=0", (gchar *) "--query-gpu="
    "utilization.gpu,memory.used", (gchar *) "--format=csv,noheader,nounits", (gchar *) "-lms",
    (gchar *) "100", (gchar *) "-f", NULL, NULL };
  gint file;

  *watch = (BenchWatch) { 0 };
  file = g_file_open_tmp ("pirl-train-XXXXXX", &watch->file, NULL);
  if (file < 0)
    return;
  close (file);
  arguments[7] = watch->file;
  if (!g_spawn_async (NULL, arguments, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD
          | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &watch->pid,
          NULL))
    watch->pid = 0;
}

/* The first samples look at what was before. */
#define FIRST_SAMPLES 3

static void
append_watched (const gchar *text, GString *json)
{
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  gdouble busy = 0, memory = 0;
  guint n = 0;

  for (guint i = 0; lines[i]; i++) {
    gdouble share, used;

    if (sscanf (lines[i], "%lf, %lf", &share, &used) != 2)
      continue;
    memory = MAX (memory, used);
    if (n++ >= FIRST_SAMPLES)
      busy += share;
  }
  if (n > FIRST_SAMPLES) {
    g_string_append_printf (json, ", \"gpu_busy_percent\": %.1f, \"gpu_memory_mb\": %.0f",
        busy / (n - FIRST_SAMPLES), memory);
    g_print ("  card busy %.1f %% of the time, %.0f MB in use\n", busy / (n - FIRST_SAMPLES),
        memory);
  }
}

void
bench_watch_stop (BenchWatch *watch, GString *json)
{
  g_autofree gchar *text = NULL;

  if (watch->pid) {
    kill (watch->pid, SIGTERM);
    waitpid (watch->pid, NULL, 0);
    g_spawn_close_pid (watch->pid);
  }
  if (watch->file && g_file_get_contents (watch->file, &text, NULL, NULL))
    append_watched (text, json);
  if (watch->file)
    g_unlink (watch->file);
  g_clear_pointer (&watch->file, g_free);
}
