/* gst-pirl: what the files of pirl-train-bench share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "learn/trainer.h"

typedef struct {
  gchar *device, *precision, *bank_precision, *objective, *arch, *head, *loss, *dump, *json;
  gint width, batch, size, patch, patches, windows, steps, warmup, copy_mb, matrix, threads;
  gint64 negatives, bank;
  gdouble rate, copy_rate, matrix_rate;
  gboolean deterministic, parts, layers;
} BenchOptions;

/** The trainer's settings that the options ask for. */
gboolean bench_config (const BenchOptions *options, PirlTrainerConfig *config, GError **error);

/** Batches of noise on coarse patterns, so that no two pictures look the same to a network. */
typedef struct {
  guint n, batch;
  guint8 *images, *patches;
  gsize image_bytes, patch_bytes;       /* of one sample */
  const guint8 **image, **patch;
  guint32 *rows;
  gint *labels;
} BenchData;

void bench_data_init (BenchData *data, const PirlTrainerConfig *config, guint n);
void bench_data_clear (BenchData *data);
/** Batch @step, counted round and round. */
PirlBatch bench_data_batch (const BenchData *data, guint64 step);

/** What is timed: queues work number @i on the device. */
typedef gboolean (*BenchWork) (gconstpointer closure, guint i, GError **error);
/**
 * Milliseconds of one piece of work, from many: on a device with steps they make one step, and
 * replays of its graph are timed, elsewhere they run one after the other. @round: pieces that
 * belong together, as many tensors as are used in turn. The median of some runs; negative on
 * errors.
 */
gdouble bench_time (PirlDevice *device, BenchWork work, gconstpointer closure, guint round,
    GError **error);
/** Fills device memory with random values of @dtype, normal with this deviation. */
gboolean bench_fill (PirlDevice *device, gpointer memory, gsize bytes, PirlDType dtype,
    gfloat deviation, GError **error);
gint bench_compare_doubles (gconstpointer a, gconstpointer b);

/* Each adds members to the JSON object, and prints what it found. */

/** Images a second of whole steps. */
gboolean bench_steps (const BenchOptions *options, GString *json, GError **error);
/** Contrast, bank and optimiser by themselves. */
gboolean bench_parts (const BenchOptions *options, GString *json, GError **error);
/** The card's rates, and every unit of the trunk against them. */
gboolean bench_layers (const BenchOptions *options, GString *json, GError **error);
/** Writes what a program in PyTorch needs to do the same steps, and what they gave here. */
gboolean bench_dump (const BenchOptions *options, GError **error);

/** nvidia-smi beside what is measured: memory in use, and how much of the time a kernel ran. */
typedef struct {
  GPid pid;
  gchar *file;
} BenchWatch;

/** Does nothing where there is no nvidia-smi. */
void bench_watch_start (BenchWatch *watch);
/** Stops it and adds "gpu_busy_percent" and "gpu_memory_mb" to the JSON, where they are known. */
void bench_watch_stop (BenchWatch *watch, GString *json);
