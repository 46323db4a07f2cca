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

/* small_config() of an objective: the second views are those of data_init_for(). */
static inline void
objective_config (PirlTrainerConfig *config, PirlObjective objective)
{
  small_config (config);
  config->objective = objective;
  config->classes = objective == PIRL_OBJECTIVE_ROTATION ? 4 : 5;
  config->hidden = 24;
  config->key_momentum = 0.9;
  if (objective == PIRL_OBJECTIVE_ROTATION || objective == PIRL_OBJECTIVE_MOCO) {
    config->patches = 1;
    config->patch_size = SIZE;
  }
  if (objective == PIRL_OBJECTIVE_SUPERVISED)
    config->bank_rows = 0;
}

/* A data set of ROWS pictures and their second views, and a batch to point into it. */
typedef struct {
  PirlObjective objective;
  guint8 *images, *patches;
  gsize second;                 /* bytes of a sample's second view */
  const guint8 *image[BATCH], *patch[BATCH];
  guint32 rows[BATCH];
  gint labels[BATCH], targets[BATCH];
  PirlBatch batch;
} Data;

/* Patch @p of picture @i, which is a corner of it, as number @at of the second view. */
static inline void
data_cut_patch (Data *data, guint i, guint p, guint at)
{
  for (guint y = 0; y < PATCH; y++)
    memcpy (data->patches + ((i * PATCHES + at) * PATCH + y) * PATCH * 3,
        data->images + (i * SIZE + p / 2 * PATCH + y) * SIZE * 3 + p % 2 * PATCH * 3, PATCH * 3);
}

/* The second view is picture @i turned by quarters, or, @mirror, left side right. */
static inline void
data_turn (Data *data, guint i, guint quarters, gboolean mirror)
{
  const guint8 *from = data->images + i * SIZE * SIZE * 3;
  guint8 *to = data->patches + i * SIZE * SIZE * 3;

  for (guint y = 0; y < SIZE; y++)
    for (guint x = 0; x < SIZE; x++) {
      guint u = x, v = y;

      for (guint q = 0; q < quarters; q++) {
        const guint old = u;

        u = SIZE - 1 - v;
        v = old;
      }
      memcpy (to + (y * SIZE + x) * 3, from + (v * SIZE + (mirror ? SIZE - 1 - u : u)) * 3, 3);
    }
}

/* The class of row @row's second view: JIGSAW the rotation of the patches' order, ROTATION that of
 * the picture. */
static inline gint
data_target (const Data *data, guint row)
{
  return (gint) (row * 7 / 3 % (data->objective == PIRL_OBJECTIVE_JIGSAW ? 5 : 4));
}

static inline void
data_init_for (Data *data, PirlObjective objective)
{
  const gboolean whole = objective == PIRL_OBJECTIVE_ROTATION || objective == PIRL_OBJECTIVE_MOCO;

  data->objective = objective;
  data->images = test_pictures (ROWS, SIZE, 21);
  data->second = (whole ? SIZE * SIZE : PATCHES * PATCH * PATCH) * 3;
  data->patches = g_malloc (ROWS * data->second);
  for (guint i = 0; i < ROWS; i++) {
    const guint target = (guint) data_target (data, i);
    const guint shift = objective == PIRL_OBJECTIVE_JIGSAW ? target : 0;

    for (guint p = 0; !whole && p < PATCHES; p++)       /* the fifth permutation changes two */
      data_cut_patch (data, i, shift == 4 ? p ^ (p < 2) : (p + shift) % PATCHES, p);
    if (whole)
      data_turn (data, i, objective == PIRL_OBJECTIVE_ROTATION ? target : 0,
          objective == PIRL_OBJECTIVE_MOCO);
  }
}

static inline void
data_init (Data *data)
{
  data_init_for (data, PIRL_OBJECTIVE_PIRL);
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
  gboolean images, second;

  for (guint b = 0; b < BATCH; b++) {
    const guint row = (step * BATCH + b) % ROWS;

    data->rows[b] = row;
    data->labels[b] = (gint) (row % 5);
    data->targets[b] = data_target (data, row);
    data->image[b] = data->images + row * SIZE * SIZE * 3;
    data->patch[b] = data->patches + row * data->second;
  }
  data->batch = (PirlBatch) { .images = data->image, .patches = data->patch, .rows = data->rows,
    .labels = data->labels, .targets = data->targets, .epoch = step / (ROWS / BATCH) };
  pirl_objective_views (data->objective, &images, &second);
  if (!images)
    data->batch.images = NULL;
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

static inline void
append_params (GByteArray *all, PirlParams *params, PirlArena arena)
{
  for (guint i = 0; params && i < pirl_params_count (params); i++) {
    g_autofree gfloat *values = NULL;

    if (!pirl_params_data (params, arena, i))
      continue;
    values = test_read_param (params, arena, i);
    g_byte_array_append (all, (guint8 *) values,
        (guint) (pirl_shape_count (&pirl_params_spec (params, i)->shape) * sizeof (gfloat)));
  }
}

/* Everything a run may differ in: parameters, velocity or moments, key network and bank. */
static inline GByteArray *
trainer_bits (PirlTrainer *trainer, guint dim)
{
  static const PirlArena arenas[] = { PIRL_ARENA_VALUE, PIRL_ARENA_VELOCITY, PIRL_ARENA_SECOND };
  GByteArray *all = g_byte_array_new ();
  g_autofree gfloat *bank = g_new (gfloat, ROWS * dim);
  g_autoptr (GError) error = NULL;

  for (guint a = 0; a < G_N_ELEMENTS (arenas); a++)
    append_params (all, pirl_trainer_params (trainer), arenas[a]);
  append_params (all, pirl_trainer_key_params (trainer), PIRL_ARENA_VALUE);
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
