/* gst-pirl: what the tests of trainers share: a small network and a data set of 64 pictures.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <unistd.h>

#include "learn/private.h"
#include "net-common.h"

#define BATCH 8
#define ROWS 64
#define SIZE 32
#define PATCH 16
#define PATCHES 4

/* The device that is tested; another for the cpu's tests to run on (PIRL_TEST_DEVICE). */
static inline gchar *
test_device (void)
{
  const gchar *named = g_getenv ("PIRL_TEST_DEVICE");

  return (gchar *) (named ? named : "cpu");
}

static inline void
small_config (PirlTrainerConfig *config)
{
  pirl_trainer_config_defaults (config);
  config->trunk = (PirlTrunk) { PIRL_ARCH_RESNET18, 8, 0 };
  config->dim = 16;
  config->image_size = SIZE;
  config->patch_size = PATCH;
  config->patches = PATCHES;
  config->batch = BATCH;
  config->bank_rows = ROWS;
  config->schedule = (PirlSchedule) { PIRL_SCHEDULE_COSINE, 0.05, 0.001, 2, 40 };
  config->seed = 3;
  config->device = test_device ();
  config->n_threads = 2;
  config->deterministic = TRUE;
}

/* A data set of ROWS pictures and their patches, and a batch to point into it. */
typedef struct {
  guint8 *images, *patches;
  const guint8 *image[BATCH], *patch[BATCH];
  guint32 rows[BATCH];
  gint labels[BATCH];
  PirlBatch batch;
} Data;

static inline void
data_init (Data *data)
{
  data->images = test_pictures (ROWS, SIZE, 21);
  data->patches = test_pictures (ROWS * PATCHES, PATCH, 22);
  /* Patches are corners of their picture, in the same light. */
  for (guint i = 0; i < ROWS; i++)
    for (guint p = 0; p < PATCHES; p++)
      for (guint y = 0; y < PATCH; y++)
        memcpy (data->patches + ((i * PATCHES + p) * PATCH + y) * PATCH * 3,
            data->images + (i * SIZE + p / 2 * PATCH + y) * SIZE * 3 + p % 2 * PATCH * 3,
            PATCH * 3);
}

static inline void
data_clear (Data *data)
{
  g_free (data->images);
  g_free (data->patches);
}

/* Batch number @step: the samples in turn. */
static inline const PirlBatch *
data_batch (Data *data, guint step)
{
  for (guint b = 0; b < BATCH; b++) {
    const guint row = (step * BATCH + b) % ROWS;

    data->rows[b] = row;
    data->labels[b] = (gint) (row % 5);
    data->image[b] = data->images + row * SIZE * SIZE * 3;
    data->patch[b] = data->patches + row * PATCHES * PATCH * PATCH * 3;
  }
  data->batch = (PirlBatch) { data->image, data->patch, data->rows, data->labels,
    step / (ROWS / BATCH) };
  return &data->batch;
}

static inline PirlTrainer *
new_trainer (const PirlTrainerConfig *config)
{
  g_autoptr (GError) error = NULL;
  PirlTrainer *trainer = pirl_trainer_new (config, &error);

  g_assert_no_error (error);
  return trainer;
}

static inline PirlStepStats
train_step (PirlTrainer *trainer, Data *data, guint step)
{
  PirlStepStats stats;
  g_autoptr (GError) error = NULL;

  pirl_trainer_step (trainer, data_batch (data, step), NULL, &stats, &error);
  g_assert_no_error (error);
  return stats;
}

/* Everything a run may differ in: parameters, velocity or moments, and bank. */
static inline GByteArray *
trainer_bits (PirlTrainer *trainer, guint dim)
{
  static const PirlArena arenas[] = { PIRL_ARENA_VALUE, PIRL_ARENA_VELOCITY, PIRL_ARENA_SECOND };
  PirlParams *params = pirl_trainer_params (trainer);
  GByteArray *all = g_byte_array_new ();
  g_autofree gfloat *bank = g_new (gfloat, ROWS * dim);
  g_autoptr (GError) error = NULL;

  for (guint a = 0; a < G_N_ELEMENTS (arenas); a++)
    for (guint i = 0; i < pirl_params_count (params); i++) {
      g_autofree gfloat *values = NULL;

      if (!pirl_params_data (params, arenas[a], i))
        continue;
      values = test_read_param (params, arenas[a], i);
      g_byte_array_append (all, (guint8 *) values,
          (guint) (pirl_shape_count (&pirl_params_spec (params, i)->shape) * sizeof (gfloat)));
    }
  if (!trainer->bank)
    return all;
  pirl_trainer_read_bank (trainer, bank, &error);
  g_assert_no_error (error);
  g_byte_array_append (all, (guint8 *) bank, ROWS * dim * sizeof (gfloat));
  return all;
}

static inline void
assert_same_bits (PirlTrainer *a, PirlTrainer *b)
{
  g_autoptr (GByteArray) x = trainer_bits (a, 16), y = trainer_bits (b, 16);

  g_assert_cmpmem (x->data, x->len, y->data, y->len);
}

static inline gchar *
temporary_path (const gchar *name)
{
  return g_strdup_printf ("%s/pirl-learn-%d-%s", g_get_tmp_dir (), (gint) getpid (), name);
}
