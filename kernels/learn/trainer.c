/* gst-pirl: a training: its settings, network, memory and bank (step.c: a step of it).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

#include <math.h>
#include <string.h>

#define DEFAULT_NEGATIVES 32000
/* Of fp16, before it adapts. */
#define LOSS_SCALE 32768
#define KNN_NEIGHBOURS 20
#define KNN_SIGMA 0.1
#define ROTATIONS 4

const PirlObjectiveKind pirl_objective_kinds[] = {
  [PIRL_OBJECTIVE_PIRL] = { .images = TRUE, .second = TRUE, .bank = TRUE },
  [PIRL_OBJECTIVE_NPID] = { .images = TRUE, .bank = TRUE },
  [PIRL_OBJECTIVE_SUPERVISED] = { .images = TRUE },
  [PIRL_OBJECTIVE_JIGSAW] = { .second = TRUE },
  [PIRL_OBJECTIVE_ROTATION] = { .second = TRUE },
  [PIRL_OBJECTIVE_MOCO] = { .images = TRUE, .second = TRUE, .bank = TRUE },
};

void
pirl_objective_views (PirlObjective objective, gboolean *images, gboolean *second)
{
  *images = pirl_objective_kinds[objective].images;
  *second = pirl_objective_kinds[objective].second;
}

void
pirl_trainer_config_defaults (PirlTrainerConfig *config)
{
  const guint batch = 32;

  *config = (PirlTrainerConfig) {
    .objective = PIRL_OBJECTIVE_PIRL,
    .trunk = { PIRL_ARCH_RESNET50, 64, 0 },
    .hidden = 1000,
    .head = PIRL_HEAD_BN,
    .dim = 128,
    .image_size = 224,
    .patch_size = 64,
    .patches = 9,
    .transform = (gchar *) "jigsaw",
    .batch = batch,
    .loss = PIRL_LOSS_INFONCE,
    .z_mode = PIRL_Z_EMA,
    .z = 1,
    .temperature = 0.2,
    .exclude_positive = TRUE,
    .near = 1,
    .lambda = 0.5,
    .bank_momentum = 0.5,
    .bank_update = PIRL_BANK_BEFORE,
    .bank_rows = 65536,
    .key_momentum = 0.999,
    .schedule = { PIRL_SCHEDULE_COSINE, 0.24 * batch / 256, 0.00024 * batch / 256, 0, 0 },
    .momentum = 0.9,
    .weight_decay = 1e-4,
    .bn_statistics = PIRL_BN_IMAGES,
    .mean = { 0.485f, 0.456f, 0.406f },
    .std = { 0.229f, 0.224f, 0.225f },
    .device = (gchar *) "auto",
    .precision = (gchar *) "auto",
    .bank_precision = (gchar *) "auto",
  };
}

/* --- checks --- */

static gboolean
invalid (GError **error, const gchar *format, ...) G_GNUC_PRINTF (2, 3);

static gboolean
invalid (GError **error, const gchar *format, ...)
{
  va_list args;
  GError *made;

  va_start (args, format);
  made = g_error_new_valist (PIRL_ERROR, PIRL_ERROR_INVALID, format, args);
  va_end (args);
  g_propagate_error (error, made);
  return FALSE;
}

typedef struct {
  const gchar *name;
  gdouble value, min, max;
  gboolean idle;                /* has no effect with this objective */
} Range;

static gboolean
check_ranges (const PirlTrainerConfig *c, GError **error)
{
  const gboolean classes = !pirl_has_bank (c), second = pirl_uses_second (c);
  const gboolean jigsaw = c->objective == PIRL_OBJECTIVE_JIGSAW;
  const gboolean moco = c->objective == PIRL_OBJECTIVE_MOCO;
  const gdouble big = 1e30, small = 1e-6;
  const Range ranges[] = {
    {jigsaw ? "the number of permutations" : "the number of classes", c->classes, 2, 65536,
          !classes},
    {"hidden (numbers a patch is described by)", c->hidden, 1, 65536, !jigsaw},
    {"dim (the embedding's length)", c->dim, 1, 65536, classes},
    {"image-size", c->image_size, 1, 8192},
    {"patch-size", c->patch_size, 1, 8192, !second},
    {"patches", c->patches, 1, 1024, !second},
    {"batch-size", c->batch, 1, 65536},
    {"temperature", c->temperature, small, big, classes},
    {"near", c->near, small, 1, classes},
    {"near-weight", c->near_weight, 0, 1, classes},
    {"lambda", c->lambda, 0, 1, classes},
    {"bank-momentum", c->bank_momentum, 0, 1, classes},
    {"bank-size", (gdouble) c->bank_rows, 2, G_MAXUINT32, classes},
    {"key-momentum", c->key_momentum, 0, 1, !moco},
    {"learning-rate", c->schedule.base, 0, big},
    {"the last learning rate", c->schedule.end, 0, big},
    {"momentum", c->momentum, 0, 1},
    {"weight-decay", c->weight_decay, 0, big},
    {"z", c->z_mode == PIRL_Z_FIXED ? c->z : 1, small, big},
    {"std (red)", c->std[0], small, big},
    {"std (green)", c->std[1], small, big},
    {"std (blue)", c->std[2], small, big},
  };

  for (guint i = 0; i < G_N_ELEMENTS (ranges); i++)
    if (!ranges[i].idle
        && !(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max))
      return invalid (error, "%s is %g; it must be from %g to %g", ranges[i].name,
          ranges[i].value, ranges[i].min, ranges[i].max);
  return TRUE;
}

/* What MOCO does not let one choose. */
static gboolean
check_queue (const PirlTrainerConfig *c, GError **error)
{
  if (c->loss != PIRL_LOSS_INFONCE)
    return invalid (error, "objective moco has a softmax over its queue; set loss to infonce");
  if (c->negatives != 0 && c->negatives != c->bank_rows - 1)
    return invalid (error, "%" G_GUINT64_FORMAT " negatives: objective moco contrasts with its "
        "whole queue; set negatives to 0, and bank-size to what the queue is to hold",
        c->negatives);
  if (c->bank_rows % c->batch != 0)
    return invalid (error, "a queue of %" G_GUINT64_FORMAT " rows is not filled by whole batches "
        "of %u; set bank-size to a multiple of batch-size, as %" G_GUINT64_FORMAT, c->bank_rows,
        c->batch, (c->bank_rows / c->batch + 1) * c->batch);
  return TRUE;
}

/* A second view that is a whole picture. */
static gboolean
check_whole_view (const PirlTrainerConfig *c, const gchar *objective, GError **error)
{
  if (c->patches == 1 && c->patch_size == c->image_size)
    return TRUE;
  return invalid (error, "objective %s has a second view of 1 picture of image-size %d; here it is "
      "%d of patch-size %d", objective, c->image_size, c->patches, c->patch_size);
}

/* What an objective asks of its own settings. */
static gboolean
check_objective (const PirlTrainerConfig *c, GError **error)
{
  switch (c->objective) {
    case PIRL_OBJECTIVE_ROTATION:
      if (c->classes != ROTATIONS)
        return invalid (error, "%u classes: objective rotation has %d, the quarter turns",
            c->classes, ROTATIONS);
      return check_whole_view (c, "rotation", error);
    case PIRL_OBJECTIVE_MOCO:
      return check_whole_view (c, "moco", error) && check_queue (c, error);
    default:
      return TRUE;
  }
}

static gboolean
check_config (const PirlTrainerConfig *c, GError **error)
{
  if (!check_ranges (c, error))
    return FALSE;
  if (pirl_uses_second (c) && c->patch_size > c->image_size)
    return invalid (error, "patch-size %d is larger than image-size %d; the reference's patches "
        "are 2/7 of the image", c->patch_size, c->image_size);
  if (pirl_has_bank (c) && c->negatives >= c->bank_rows)
    return invalid (error, "%" G_GUINT64_FORMAT " negatives cannot be taken from a bank of %"
        G_GUINT64_FORMAT " rows; set negatives below bank-size, or 0 for as many as fit",
        c->negatives, c->bank_rows);
  if (pirl_has_bank (c) && c->batch > c->bank_rows)
    return invalid (error, "batch-size %u is larger than bank-size %" G_GUINT64_FORMAT
        "; lower batch-size or give more samples", c->batch, c->bank_rows);
  if (c->batch < 2)
    return invalid (error, "batch-size 1 cannot be trained: batch norm needs at least 2 samples");
  return check_objective (c, error);
}

/* --- making --- */

static PirlValue
head_build (PirlGraph *graph, const PirlTrainerConfig *config, PirlValue pooled, gboolean second)
{
  const gint classes = (gint) config->classes;

  switch (config->objective) {
    case PIRL_OBJECTIVE_SUPERVISED:
      return pirl_trunk_classifier (graph, &config->trunk, pooled, classes);
    case PIRL_OBJECTIVE_JIGSAW:
      return pirl_head_jigsaw (graph, pooled, config->patches, config->hidden, classes);
    case PIRL_OBJECTIVE_ROTATION:
      return pirl_head_rotation (graph, pooled, classes);
    default:
      return second && pirl_has_two_terms (config)
          ? pirl_head_g (graph, config->head, pooled, config->patches, config->dim)
          : pirl_head_f (graph, config->head, pooled, config->dim);
  }
}

/* Input, trunk and head of a view. */
static void
branch_build (PirlBranch *branch, const PirlTrainerConfig *config, gboolean second)
{
  PirlGraph *graph = branch->graph = pirl_graph_new ();
  const gint n = (gint) config->batch * (second ? config->patches : 1);
  const PirlValue input = pirl_graph_input (graph, n,
      second ? config->patch_size : config->image_size, config->mean, config->std);
  const PirlValue pooled = pirl_graph_avgpool (graph, pirl_trunk_build (graph, &config->trunk,
          input, NULL));

  branch->embedding = head_build (graph, config, pooled, second);
}

/* Branches that the objective does not have have no graph. */
static gboolean
branch_plan (PirlBranch *branch, PirlTrainer *trainer, PirlParams *params, GError **error)
{
  if (!branch->graph)
    return TRUE;
  branch->plan = pirl_plan_new (branch->graph, params, trainer->pool, PIRL_MODE_TRAIN,
      trainer->precision->dtype, &branch->embedding, 1, error);
  return branch->plan != NULL;
}

static void
branch_clear (PirlBranch *branch)
{
  pirl_plan_free (branch->plan);
  pirl_graph_free (branch->graph);
}

static gsize
bank_bytes (const PirlTrainer *trainer)
{
  if (!pirl_has_bank (&trainer->config))
    return 0;
  return trainer->config.bank_rows * pirl_row_bytes (trainer);
}

gboolean
pirl_bank_write (PirlTrainer *trainer, gsize first, gsize n, const gfloat *src, GError **error)
{
  PirlDevice *device = trainer->device;
  const gsize row_bytes = pirl_row_bytes (trainer), bytes = n * row_bytes;
  guint8 *rows = (guint8 *) trainer->bank + first * row_bytes;
  g_autofree guint8 *host = NULL;

  if (trainer->bank_dtype == PIRL_DTYPE_F32)
    return device->backend->upload (device, rows, src, bytes, error);
  host = g_malloc (bytes);
  pirl_from_float (trainer->bank_dtype, src, host, n * (gsize) trainer->config.dim);
  return device->backend->upload (device, rows, host, bytes, error);
}

gboolean
pirl_bank_read (PirlTrainer *trainer, gsize first, gsize n, gfloat *dst, GError **error)
{
  PirlDevice *device = trainer->device;
  const gsize row_bytes = pirl_row_bytes (trainer), bytes = n * row_bytes;
  const guint8 *rows = (const guint8 *) trainer->bank + first * row_bytes;
  g_autofree guint8 *host = NULL;

  if (trainer->bank_dtype == PIRL_DTYPE_F32)
    return device->backend->download (device, dst, rows, bytes, error);
  host = g_malloc (bytes);
  if (!device->backend->download (device, host, rows, bytes, error))
    return FALSE;
  pirl_to_float (trainer->bank_dtype, host, dst, n * (gsize) trainer->config.dim);
  return TRUE;
}

/* Row r: U(+-1/sqrt (dim/3)) from its own stream, then unit length. */
static void
bank_draw_row (const PirlTrainerConfig *config, guint64 r, gfloat *row)
{
  const gfloat bound = (gfloat) (1 / sqrt (config->dim / 3.0));
  gdouble sum = 0;
  PirlRng rng;

  pirl_rng_init (&rng, config->seed, 0, r, PIRL_PURPOSE_BANK);
  for (gint d = 0; d < config->dim; d++) {
    row[d] = pirl_rng_range (&rng, -bound, bound);
    sum += (gdouble) row[d] * row[d];
  }
  for (gint d = 0; d < config->dim; d++)
    row[d] = (gfloat) (row[d] / sqrt (sum));
}

static gboolean
bank_init (PirlTrainer *trainer, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const gsize dim = (gsize) config->dim;
  g_autofree gfloat *rows = g_new (gfloat, PIRL_BANK_CHUNK * dim);

  trainer->bank = trainer->device->backend->alloc (trainer->device, bank_bytes (trainer), error);
  if (!trainer->bank)
    return FALSE;
  for (guint64 first = 0; first < config->bank_rows; first += PIRL_BANK_CHUNK) {
    const gsize n = MIN (PIRL_BANK_CHUNK, config->bank_rows - first);

    for (gsize i = 0; i < n; i++)
      bank_draw_row (config, first + i, rows + i * dim);
    if (!pirl_bank_write (trainer, first, n, rows, error))
      return FALSE;
  }
  trainer->labels = g_new (gint32, config->bank_rows);
  for (guint64 i = 0; i < config->bank_rows; i++)
    trainer->labels[i] = PIRL_LABEL_UNTRAINED;
  return TRUE;
}

static void
trainer_copy_config (PirlTrainer *trainer, const PirlTrainerConfig *config)
{
  PirlTrainerConfig *copy = &trainer->config;

  *copy = *config;
  copy->device = g_strdup (config->device ? config->device : "auto");
  copy->transform = g_strdup (config->transform ? config->transform : "jigsaw");
  copy->precision = g_strdup (config->precision);
  copy->bank_precision = g_strdup (config->bank_precision);
  if (pirl_has_bank (config) && copy->negatives == 0)
    copy->negatives = MIN (DEFAULT_NEGATIVES, copy->bank_rows - 1);
  if (config->objective == PIRL_OBJECTIVE_MOCO) {
    copy->negatives = copy->bank_rows - 1;
    copy->exclude_positive = TRUE;
  }
  trainer->z = config->z_mode == PIRL_Z_FIXED ? config->z : 0;
}

void
pirl_trainer_set_loss_scale (PirlTrainer *trainer, const PirlLossScale *scale)
{
  if (!trainer->device->backend->set_loss_scale)
    return;
  trainer->loss_scale = *scale;
  trainer->device->backend->set_loss_scale (trainer->device, scale);
}

static gboolean
choose_bank_precision (PirlTrainer *trainer, GError **error)
{
  PirlTrainerConfig *config = &trainer->config;

  if (!pirl_bank_dtype_choose (trainer->device, trainer->precision, config->bank_precision,
          &trainer->bank_dtype, error))
    return FALSE;
  g_free (config->bank_precision);
  config->bank_precision = g_strdup (pirl_bank_precision_name (trainer->bank_dtype));
  return TRUE;
}

/* Opens the device and chooses the arithmetic; 16 bits of fp16 need their losses scaled. */
static gboolean
trainer_open (PirlTrainer *trainer, GError **error)
{
  PirlTrainerConfig *config = &trainer->config;

  trainer->device = pirl_device_open (config->device, config->n_threads, config->deterministic,
      error);
  if (!trainer->device)
    return FALSE;
  trainer->precision = pirl_precision_choose (trainer->device, PIRL_MODE_TRAIN, config->precision,
      error);
  if (!trainer->precision)
    return FALSE;
  g_free (config->precision);
  config->precision = g_strdup (trainer->precision->name);
  if (trainer->precision->dtype == PIRL_DTYPE_F16)
    pirl_trainer_set_loss_scale (trainer, &(PirlLossScale) { .scale = LOSS_SCALE });
  return choose_bank_precision (trainer, error);
}

/* The parameters of the branches, by name: the trunk's are the same ones. MOCO's second branch has
 * its own. */
static gboolean
params_init (PirlTrainer *trainer, GError **error)
{
  const gboolean moco = trainer->config.objective == PIRL_OBJECTIVE_MOCO;
  PirlGraph *const branches[] = { trainer->images.graph, trainer->patches.graph };
  PirlGraph *graphs[G_N_ELEMENTS (branches)];
  guint n = 0;

  for (guint i = 0; i < G_N_ELEMENTS (branches); i++)
    if (branches[i] && (i == 0 || !moco))
      graphs[n++] = branches[i];
  trainer->params = pirl_params_new (trainer->device, graphs, n, TRUE, error);
  if (!trainer->params || !pirl_params_init (trainer->params, trainer->config.seed, error))
    return FALSE;
  if (!moco)
    return TRUE;
  trainer->key = pirl_params_new (trainer->device, &trainer->patches.graph, 1, FALSE, error);
  return trainer->key && pirl_trainer_start_key (trainer, error);
}

gboolean
pirl_trainer_start_key (PirlTrainer *trainer, GError **error)
{
  return !trainer->key || pirl_params_average (trainer->key, trainer->params, 0, error);
}

static gboolean
trainer_setup (PirlTrainer *trainer, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;

  if (!trainer_open (trainer, error))
    return FALSE;
  if (pirl_uses_images (config))
    branch_build (&trainer->images, config, FALSE);
  if (pirl_uses_second (config))
    branch_build (&trainer->patches, config, TRUE);
  if (!params_init (trainer, error))
    return FALSE;
  trainer->pool = pirl_pool_new (trainer->device);
  return branch_plan (&trainer->images, trainer, trainer->params, error)
      && branch_plan (&trainer->patches, trainer,
      trainer->key ? trainer->key : trainer->params, error)
      && (!pirl_has_bank (config) || bank_init (trainer, error));
}

/* What steps need besides the plans' memory. */
static gboolean
trainer_add_storage (PirlTrainer *trainer, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const PirlBackend *backend = trainer->device->backend;
  gsize bytes;

  pirl_params_buffers (trainer->params, &bytes);
  trainer->statistics = backend->alloc (trainer->device, MAX (bytes, 1), error);
  trainer->now.labels = g_new (gint, config->batch);
  if (pirl_uses_second (config))
    trainer->patch_pictures = g_new (const guint8 *, (gsize) config->batch * config->patches);
  if (!trainer->statistics || !pirl_has_bank (config))
    return trainer->statistics != NULL;
  trainer->now.rows = g_new (guint32, config->batch);
  trainer->now.momentum = g_new (gfloat, config->batch);
  trainer->rows_aside = backend->alloc (trainer->device, config->batch * pirl_row_bytes (trainer),
      error);
  if (trainer->rows_aside
      && (!config->exclude_positive || config->negatives < config->bank_rows - 1)) {
    trainer->negative = backend->alloc (trainer->device,
        config->batch * config->negatives * sizeof (guint32), error);
    return trainer->negative != NULL;
  }
  return trainer->rows_aside != NULL;
}

PirlTrainer *
pirl_trainer_new (const PirlTrainerConfig *config, GError **error)
{
  g_autoptr (PirlTrainer) trainer = NULL;

  if (!check_config (config, error))
    return NULL;
  trainer = g_new0 (PirlTrainer, 1);
  trainer_copy_config (trainer, config);
  if (!trainer_setup (trainer, error) || !trainer_add_storage (trainer, error))
    return NULL;
  return g_steal_pointer (&trainer);
}

static void
trainer_release (PirlTrainer *trainer, gpointer memory)
{
  if (memory)
    trainer->device->backend->free (trainer->device, memory);
}

void
pirl_trainer_free (PirlTrainer *trainer)
{
  if (!trainer)
    return;
  if (trainer->now.running && pirl_trainer_overlaps (trainer))
    trainer->device->backend->step_abort (trainer->device);
  branch_clear (&trainer->images);
  branch_clear (&trainer->patches);
  pirl_params_free (trainer->params);
  pirl_params_free (trainer->key);
  pirl_pool_free (trainer->pool);
  trainer_release (trainer, trainer->bank);
  trainer_release (trainer, trainer->negative);
  trainer_release (trainer, trainer->statistics);
  trainer_release (trainer, trainer->rows_aside);
  g_clear_pointer (&trainer->device, pirl_device_close);
  g_free (trainer->labels);
  g_free (trainer->patch_pictures);
  g_free (trainer->now.rows);
  g_free (trainer->now.labels);
  g_free (trainer->now.momentum);
  g_free (trainer->config.transform);
  g_free (trainer->config.device);
  g_free (trainer->config.precision);
  g_free (trainer->config.bank_precision);
  g_free (trainer);
}

/* --- reading --- */

guint64
pirl_trainer_steps (const PirlTrainer *trainer)
{
  return trainer->step;
}

const gchar *
pirl_trainer_device (const PirlTrainer *trainer)
{
  return trainer->device->description;
}

const gchar *
pirl_trainer_precision (const PirlTrainer *trainer)
{
  return trainer->precision->name;
}

const gchar *
pirl_trainer_bank_precision (const PirlTrainer *trainer)
{
  return !pirl_has_bank (&trainer->config) ? NULL
      : pirl_bank_precision_name (trainer->bank_dtype);
}

gsize
pirl_trainer_bytes (const PirlTrainer *trainer)
{
  return pirl_pool_bytes (trainer->pool) + pirl_params_bytes (trainer->params)
      + (trainer->key ? pirl_params_bytes (trainer->key) : 0) + bank_bytes (trainer);
}

PirlParams *
pirl_trainer_params (PirlTrainer *trainer)
{
  return trainer->params;
}

PirlParams *
pirl_trainer_key_params (PirlTrainer *trainer)
{
  return trainer->key;
}

gboolean
pirl_trainer_read_bank (PirlTrainer *trainer, gfloat *dst, GError **error)
{
  return pirl_bank_read (trainer, 0, trainer->config.bank_rows, dst, error);
}

gboolean
pirl_trainer_write_bank (PirlTrainer *trainer, const gfloat *src, GError **error)
{
  return pirl_bank_write (trainer, 0, trainer->config.bank_rows, src, error);
}

/* Rows with a label, at most @limit of them, evenly spaced. */
static gsize
labelled_rows (const PirlTrainer *trainer, guint limit, gsize *rows)
{
  gsize n = 0, kept;

  for (gsize i = 0; i < trainer->config.bank_rows; i++)
    if (trainer->labels[i] >= 0)
      rows[n++] = i;
  kept = limit ? MIN (limit, n) : n;
  for (gsize i = 0; i < kept; i++)
    rows[i] = rows[i * n / kept];
  return kept;
}

gdouble
pirl_trainer_bank_knn (PirlTrainer *trainer, guint limit)
{
  const gsize rows = pirl_has_bank (&trainer->config) ? trainer->config.bank_rows : 0;
  g_autofree gsize *query = g_new (gsize, rows);
  const gsize n = rows > 0 ? labelled_rows (trainer, limit, query) : 0;
  g_autofree gfloat *bank = NULL;

  if (n == 0)
    return NAN;
  bank = g_new (gfloat, rows * (gsize) trainer->config.dim);
  if (!pirl_trainer_read_bank (trainer, bank, NULL))
    return NAN;
  return pirl_knn_leave_one_out (bank, trainer->labels, rows, query, n,
      (guint) trainer->config.dim, KNN_NEIGHBOURS, KNN_SIGMA);
}
