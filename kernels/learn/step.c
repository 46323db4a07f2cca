/* gst-pirl: one step of training (trainer.h has the formulas; PIRL: Misra and van der Maaten 2020,
 * equations 4 and 5, in the form of VISSL's nce_loss.py).
 *
 * A device with steps is given all operations at once and works by itself until pirl_trainer_end();
 * one without is done with each when it returns. Either way the operations and their memory are the
 * same step after step, so that the device may record them; what depends on numbers that only the
 * device knows, the first estimate of Z, goes before the step.
 *
 * What a step changes is the running statistics, the batch's rows of the bank, the weights with
 * their velocity, MOCO's key network, and what the host knows. The first two are copied aside
 * before it and put back when it fails; the weights come last, and the key network after them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

#include <math.h>
#include <string.h>

/* Weight of the old value in the running average of Z (He, in HobbitLong/CMC issue 23). */
#define Z_KEEP 0.99
/* Below this spread for that many steps after warm-up the embeddings count as collapsed. */
#define COLLAPSE_SPREAD 1e-4
#define COLLAPSE_STEPS 20
#define ADAM_BETA2 0.999
#define ADAM_EPSILON 1e-8
#define LARS_TRUST 1e-3
#define LARS_EPSILON 1e-8
/* A loss scale below this means that something else than the scale is wrong. */
#define LOSS_SCALE_MIN (1.0 / 1024)

/* The image goes first and into the bank, then the patches (bank_update BEFORE). */
static gboolean
updates_first (const PirlTrainer *trainer)
{
  return pirl_has_two_terms (&trainer->config)
      && trainer->config.bank_update == PIRL_BANK_BEFORE;
}

gboolean
pirl_trainer_overlaps (const PirlTrainer *trainer)
{
  return trainer->device->backend->step_begin != NULL;
}

gboolean
pirl_trainer_renders (const PirlTrainer *trainer)
{
  return trainer->device->backend->renders_views;
}

/* --- what is put back --- */

/* Copies the running statistics aside, or puts them back. */
static gboolean
statistics_copy (PirlTrainer *trainer, gboolean back, GError **error)
{
  PirlDevice *device = trainer->device;
  gsize bytes;
  gpointer data = pirl_params_buffers (trainer->params, &bytes);

  return device->backend->copy (device, back ? data : trainer->statistics,
      back ? trainer->statistics : data, bytes, error);
}

/* Copies the batch's rows of the bank aside, or puts them back. */
static gboolean
rows_copy (PirlTrainer *trainer, gboolean back, GError **error)
{
  if (!pirl_has_bank (&trainer->config))
    return TRUE;
  return trainer->device->backend->rows (trainer->device, trainer->bank, trainer->rows_aside,
      pirl_row_bytes (trainer), trainer->config.batch, trainer->now.rows, back, error);
}

static void
step_undo (PirlTrainer *trainer)
{
  statistics_copy (trainer, TRUE, NULL);
  rows_copy (trainer, TRUE, NULL);
}

/* Nothing of the step stays; FALSE, to be returned. */
static gboolean
step_abort (PirlTrainer *trainer)
{
  trainer->now.running = FALSE;
  if (pirl_trainer_overlaps (trainer))
    trainer->device->backend->step_abort (trainer->device);
  step_undo (trainer);
  return FALSE;
}

/* --- pictures --- */

/* All patches of the batch, one after the other. */
static const guint8 *const *
patch_pictures (PirlTrainer *trainer, const PirlBatch *batch)
{
  const PirlTrainerConfig *config = &trainer->config;
  const gsize patch_bytes = (gsize) config->patch_size * config->patch_size * 3;

  for (guint b = 0; b < config->batch; b++)
    for (gint p = 0; p < config->patches; p++)
      trainer->patch_pictures[(gsize) b * config->patches + p] =
          batch->patches[b] + (gsize) p * patch_bytes;
  return trainer->patch_pictures;
}

/* Whether the batch has all views that are looked at. */
static gboolean
has_pictures (const PirlTrainer *trainer, const PirlBatch *batch)
{
  const PirlTrainerConfig *config = &trainer->config;

  return (!pirl_uses_images (config) || batch->images || batch->image_views)
      && (!pirl_uses_second (config) || batch->patches || batch->patch_views);
}

static gboolean
stage_images (PirlTrainer *trainer, const PirlBatch *batch, GError **error)
{
  if (batch->image_views)
    return pirl_plan_stage_views (trainer->images.plan, batch->image_views, error);
  return pirl_plan_stage (trainer->images.plan, batch->images, error);
}

static gboolean
stage_patches (PirlTrainer *trainer, const PirlBatch *batch, GError **error)
{
  if (batch->patch_views)
    return pirl_plan_stage_views (trainer->patches.plan, batch->patch_views, error);
  return pirl_plan_stage (trainer->patches.plan, patch_pictures (trainer, batch), error);
}

gboolean
pirl_trainer_stage (PirlTrainer *trainer, const PirlBatch *batch, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;

  trainer->staged = (!pirl_uses_images (config) || stage_images (trainer, batch, error))
      && (!pirl_uses_second (config) || stage_patches (trainer, batch, error));
  return trainer->staged;
}

/* --- terms --- */

/* How much of row @row is kept when its sample's embedding, or key, goes there. */
static gfloat
row_momentum (const PirlTrainer *trainer, guint32 row)
{
  const PirlTrainerConfig *config = &trainer->config;

  if (config->objective == PIRL_OBJECTIVE_MOCO || (config->bank_update == PIRL_BANK_BEFORE
          && trainer->labels[row] == PIRL_LABEL_UNTRAINED))
    return 0;
  return (gfloat) config->bank_momentum;
}

/* m <- normalise (momentum m + (1 - momentum) what @branch gave). */
static gboolean
rows_update (PirlTrainer *trainer, const PirlBranch *branch, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const PirlStep *now = &trainer->now;
  PirlDevice *device = trainer->device;

  for (guint b = 0; b < config->batch; b++)
    now->momentum[b] = row_momentum (trainer, now->rows[b]);
  return device->backend->bank_update (device, trainer->bank, trainer->bank_dtype,
      (guint) config->dim, config->batch, now->rows, now->momentum,
      pirl_plan_data (branch->plan, branch->embedding), error);
}

/* One of the two losses against the bank. */
typedef struct {
  PirlBranch *branch;
  PirlPurpose purpose;          /* of its negatives */
  gdouble scale;                /* of its gradient */
  gboolean update_statistics;
  PirlContrastStats *stats;
} Term;

static Term
images_term (PirlTrainer *trainer)
{
  return (Term) { &trainer->images, PIRL_PURPOSE_NEGATIVES,
    pirl_has_two_terms (&trainer->config) ? 1 - trainer->config.lambda : 1, TRUE,
    &trainer->now.images };
}

static Term
patches_term (PirlTrainer *trainer)
{
  return (Term) { &trainer->patches, PIRL_PURPOSE_NEGATIVES_PRETEXT, trainer->config.lambda,
    trainer->config.bn_statistics == PIRL_BN_BOTH, &trainer->now.patches };
}

/* @z: Z / rows. @gradient NULL: statistics only. */
static gboolean
term_contrast (PirlTrainer *trainer, const Term *term, gdouble z, gpointer gradient,
    GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const guint32 *rows = trainer->now.rows;
  PirlDevice *device = trainer->device;
  const PirlDrawDesc draw = {
    .batch = config->batch, .rows = config->bank_rows, .negatives = config->negatives,
    .exclude_positive = config->exclude_positive, .seed = config->seed,
    .epoch = trainer->now.epoch, .purpose = term->purpose,
  };
  const PirlContrastDesc desc = {
    .loss = config->loss, .batch = config->batch, .dim = (guint) config->dim,
    .rows = config->bank_rows, .negatives = config->negatives,
    .temperature = config->temperature,
    .z = config->loss == PIRL_LOSS_NCE ? z * (gdouble) config->bank_rows : 1,
    .scale = term->scale, .bank_dtype = trainer->bank_dtype,
    .near = config->near, .near_weight = config->near_weight,
  };

  return (!trainer->negative
      || device->backend->draw (device, &draw, rows, trainer->negative, error))
      && device->backend->contrast (device, &desc,
      pirl_plan_data (term->branch->plan, term->branch->embedding), trainer->bank, rows,
      trainer->negative, gradient, term->stats, error);
}

/* Forward, contrast and backward of what was staged. */
static gboolean
term_run (PirlTrainer *trainer, const Term *term, const gint *cancel, GError **error)
{
  PirlPlan *plan = term->branch->plan;

  return pirl_plan_forward (plan, NULL, term->update_statistics, cancel, error)
      && term_contrast (trainer, term, trainer->now.z,
      pirl_plan_gradient (plan, term->branch->embedding), error)
      && pirl_plan_backward (plan, cancel, error);
}

/* The terms against the bank, in the order of bank_update. */
static gboolean
contrast_run (PirlTrainer *trainer, const gint *cancel, GError **error)
{
  const Term images = images_term (trainer), patches = patches_term (trainer);

  if (updates_first (trainer))
    return term_run (trainer, &images, cancel, error)
        && rows_update (trainer, &trainer->images, error)
        && term_run (trainer, &patches, cancel, error);
  return (!pirl_has_two_terms (&trainer->config) || term_run (trainer, &patches, cancel, error))
      && term_run (trainer, &images, cancel, error)
      && rows_update (trainer, &trainer->images, error);
}

/* The keys go into the queue, then the queries meet it. */
static gboolean
queue_run (PirlTrainer *trainer, const gint *cancel, GError **error)
{
  const Term images = images_term (trainer);

  return pirl_plan_forward (trainer->patches.plan, NULL, FALSE, cancel, error)
      && rows_update (trainer, &trainer->patches, error)
      && term_run (trainer, &images, cancel, error);
}

static gboolean
objective_run (PirlTrainer *trainer, const gint *cancel, GError **error)
{
  if (!pirl_has_bank (&trainer->config))
    return pirl_classify_run (trainer, cancel, error);
  return (trainer->config.objective == PIRL_OBJECTIVE_MOCO ? queue_run : contrast_run) (trainer,
      cancel, error);
}

/* The first NCE term of a run without a Z gives its estimate. The pass leaves nothing else behind:
 * in training, batch norm does not read the running statistics. */
static gboolean
estimate_z (PirlTrainer *trainer, const PirlBatch *batch, const gint *cancel, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const gboolean patches = pirl_has_two_terms (config) && !updates_first (trainer);
  const Term term = patches ? patches_term (trainer) : images_term (trainer);

  if (!pirl_has_bank (config) || config->loss != PIRL_LOSS_NCE || trainer->z > 0)
    return TRUE;
  if (!has_pictures (trainer, batch)) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "the first step of a run that estimates Z needs its pictures; they cannot be staged");
    return FALSE;
  }
  if (!(patches ? stage_patches : stage_images) (trainer, batch, error)
      || !pirl_plan_forward (term.branch->plan, NULL, FALSE, cancel, error)
      || !term_contrast (trainer, &term, 1, NULL, error))
    return FALSE;
  trainer->now.z = term.stats->mean_exp;
  if (isfinite (trainer->now.z))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
      "step %" G_GUINT64_FORMAT ": the embeddings are not finite, Z cannot be estimated; are the "
      "weights damaged, or too large for precision %s?", trainer->now.stats.step,
      trainer->precision->name);
  return FALSE;
}

/* --- the result --- */

static void
step_evaluate (PirlTrainer *trainer)
{
  const PirlTrainerConfig *config = &trainer->config;
  PirlStep *now = &trainer->now;
  PirlStepStats *stats = &now->stats;

  now->collapsed = 0;
  if (!pirl_has_bank (config)) {
    stats->loss = now->entropy.loss;
    *(pirl_uses_images (config) ? &stats->loss_image : &stats->loss_patches) = stats->loss;
    stats->accuracy = now->entropy.accuracy;
    return;
  }
  stats->loss = stats->loss_image = now->images.loss;
  stats->positive_image = now->images.positive;
  stats->spread = now->images.spread;
  stats->near = now->images.near;
  if (pirl_has_two_terms (config)) {
    stats->loss_patches = now->patches.loss;
    stats->positive_patches = now->patches.positive;
    stats->near = (now->images.near + now->patches.near) / 2;
    stats->loss = config->lambda * stats->loss_patches + (1 - config->lambda) * stats->loss_image;
  }
  stats->z = config->loss == PIRL_LOSS_NCE ? now->z : 0;
  if (trainer->step >= config->schedule.warmup && stats->spread < COLLAPSE_SPREAD)
    now->collapsed = trainer->collapsed + 1;
}

/* Finds what must stop the training. */
static gboolean
step_check (const PirlTrainer *trainer, GError **error)
{
  const PirlStepStats *stats = &trainer->now.stats;

  if (!isfinite (stats->loss) || !isfinite (stats->spread)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
        "step %" G_GUINT64_FORMAT ": the loss is not finite (%g for images, %g for patches); "
        "lower learning-rate (now %g), lengthen warmup, or use head=bn", stats->step,
        stats->loss_image, stats->loss_patches, stats->learning_rate);
    return FALSE;
  }
  if (trainer->now.collapsed >= COLLAPSE_STEPS) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_COLLAPSED,
        "step %" G_GUINT64_FORMAT ": for %d steps all embeddings of a batch have been the same "
        "(spread %.2g); use head=bn, raise temperature, lower learning-rate (now %g) or lengthen "
        "warmup", stats->step, COLLAPSE_STEPS, stats->spread, stats->learning_rate);
    return FALSE;
  }
  return TRUE;
}

/* Gradients that are no finite numbers, which the optimiser has left alone: with a loss scale that
 * can be halved the next step may be better, and this one counts as done without effect (a first
 * estimate of Z stays: it is none of the gradients'). */
static gboolean
step_skip (PirlTrainer *trainer, GError **error)
{
  PirlStepStats *stats = &trainer->now.stats;

  step_undo (trainer);
  if (stats->loss_scale == 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
        "step %" G_GUINT64_FORMAT ": a gradient is not finite (loss %g); lower learning-rate (now "
        "%g), lengthen warmup, or use head=bn", stats->step, stats->loss, stats->learning_rate);
    return FALSE;
  }
  if (trainer->loss_scale.scale < LOSS_SCALE_MIN) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
        "step %" G_GUINT64_FORMAT ": gradients are not finite even with a loss scale of %g (loss "
        "%g); lower learning-rate (now %g), lengthen warmup, or set precision to bf16", stats->step,
        stats->loss_scale, stats->loss, stats->learning_rate);
    return FALSE;
  }
  stats->skipped = TRUE;
  trainer->z = trainer->now.z;
  trainer->step++;
  return TRUE;
}

/* The host's state: from here on the step has happened. */
static void
step_commit (PirlTrainer *trainer)
{
  const PirlTrainerConfig *config = &trainer->config;
  const PirlStep *now = &trainer->now;
  const gboolean patches = pirl_has_two_terms (config);

  for (guint b = 0; pirl_has_bank (config) && b < config->batch; b++)
    trainer->labels[now->rows[b]] = now->labels[b];
  if (pirl_has_bank (config) && config->loss == PIRL_LOSS_NCE) {
    const gdouble mean_exp = patches ? (now->images.mean_exp + now->patches.mean_exp) / 2
        : now->images.mean_exp;

    trainer->z = now->z;
    if (config->z_mode == PIRL_Z_EMA)
      trainer->z = Z_KEEP * now->z + (1 - Z_KEEP) * mean_exp;
  }
  trainer->collapsed = now->collapsed;
  trainer->step++;
}

/* --- a step --- */

static gboolean
step_weights (PirlTrainer *trainer, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const PirlStepStats *stats = &trainer->now.stats;

  switch (config->optimizer) {
    case PIRL_OPTIMIZER_ADAM:
      return pirl_params_adam (trainer->params, stats->step, stats->learning_rate,
          config->momentum, ADAM_BETA2, ADAM_EPSILON, config->weight_decay, error);
    case PIRL_OPTIMIZER_LARS:
      return pirl_params_lars (trainer->params, &(PirlLars) { stats->learning_rate,
            config->momentum, config->weight_decay, LARS_TRUST, LARS_EPSILON }, error);
    default:
      return pirl_params_sgd (trainer->params, stats->learning_rate, config->momentum,
          config->weight_decay, config->nesterov, error);
  }
}

/* The key network follows. */
static gboolean
step_key (PirlTrainer *trainer, GError **error)
{
  return !trainer->key || pirl_params_average (trainer->key, trainer->params,
      trainer->config.key_momentum, error);
}

/* Everything the device does. Where it is done at once, the weights change only after a look at the
 * loss. */
static gboolean
step_queue (PirlTrainer *trainer, const gint *cancel, GError **error)
{
  PirlDevice *device = trainer->device;
  const gboolean overlaps = pirl_trainer_overlaps (trainer);

  if ((overlaps && !device->backend->step_begin (device, error))
      || !pirl_params_zero_gradients (trainer->params, error)
      || !objective_run (trainer, cancel, error))
    return FALSE;
  if (!overlaps) {
    step_evaluate (trainer);
    if (!step_check (trainer, error))
      return FALSE;
  }
  return pirl_params_check (trainer->params, error) && step_weights (trainer, error)
      && step_key (trainer, error)
      && (!overlaps || device->backend->step_launch (device, error));
}

static gboolean
check_batch (const PirlTrainer *trainer, const PirlBatch *batch, GError **error)
{
  if (!pirl_has_bank (&trainer->config))
    return pirl_classify_check (trainer, batch, error);
  for (guint b = 0; !trainer->key && b < trainer->config.batch; b++)
    if (batch->rows[b] >= trainer->config.bank_rows) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "a sample has the number %u, but the bank has only %" G_GUINT64_FORMAT
          " rows; set bank-size to the number of samples", batch->rows[b],
          trainer->config.bank_rows);
      return FALSE;
    }
  return TRUE;
}

/* Sample @b's row of the bank; a queue's rows are written in turn. */
static guint32
sample_row (const PirlTrainer *trainer, const PirlBatch *batch, guint b)
{
  const PirlTrainerConfig *config = &trainer->config;

  return trainer->key ? (guint32) ((trainer->step * config->batch + b) % config->bank_rows)
      : batch->rows[b];
}

/* Keeps what the step needs of the batch but its pictures. */
static void
step_take (PirlTrainer *trainer, const PirlBatch *batch)
{
  const gboolean bank = pirl_has_bank (&trainer->config);
  const gint *labels = bank ? batch->labels : pirl_classify_targets (trainer, batch);
  PirlStep *now = &trainer->now;

  now->epoch = batch->epoch;
  now->z = trainer->z;
  now->stats = (PirlStepStats) { .step = trainer->step + 1,
    .learning_rate = pirl_schedule_at (&trainer->config.schedule, trainer->step),
    .loss_scale = trainer->loss_scale.scale };
  for (guint b = 0; b < trainer->config.batch; b++) {
    now->labels[b] = labels ? labels[b] : -1;
    if (bank)
      now->rows[b] = sample_row (trainer, batch, b);
  }
}

static gboolean
refuse (GError **error, const gchar *text)
{
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, text);
  return FALSE;
}

gboolean
pirl_trainer_begin (PirlTrainer *trainer, const PirlBatch *batch, const gint *cancel,
    GError **error)
{
  const gboolean staged = trainer->staged;

  if (trainer->now.running)
    return refuse (error, "a step is under way; pirl_trainer_end() ends it");
  trainer->staged = FALSE;
  if (!has_pictures (trainer, batch) && !staged)
    return refuse (error, "the batch has no pictures, and none were staged");
  if (!check_batch (trainer, batch, error))
    return FALSE;
  step_take (trainer, batch);
  if ((trainer->config.optimizer == PIRL_OPTIMIZER_ADAM
          && !pirl_params_reserve (trainer->params, PIRL_ARENA_SECOND, error))
      || !estimate_z (trainer, batch, cancel, error)
      || (has_pictures (trainer, batch) && !pirl_trainer_stage (trainer, batch, error)))
    return FALSE;
  trainer->staged = FALSE;
  if (!statistics_copy (trainer, FALSE, error) || !rows_copy (trainer, FALSE, error))
    return FALSE;
  if (!step_queue (trainer, cancel, error))
    return step_abort (trainer);
  trainer->now.running = TRUE;
  return TRUE;
}

gboolean
pirl_trainer_end (PirlTrainer *trainer, PirlStepStats *stats, GError **error)
{
  PirlDevice *device = trainer->device;
  PirlStepResult result = { .finite = TRUE };
  gboolean good = TRUE;

  if (!trainer->now.running)
    return refuse (error, "no step is under way; pirl_trainer_begin() begins one");
  if (pirl_trainer_overlaps (trainer)) {
    if (!device->backend->step_end (device, &result, error))
      return step_abort (trainer);
    trainer->loss_scale = result.loss_scale;
    step_evaluate (trainer);
  }
  trainer->now.running = FALSE;
  if (!result.finite) {
    good = step_skip (trainer, error);
  } else if (pirl_trainer_overlaps (trainer) && !step_check (trainer, error)) {
    step_undo (trainer);
    good = FALSE;
  } else {
    step_commit (trainer);
  }
  *stats = trainer->now.stats;
  return good;
}

gboolean
pirl_trainer_step (PirlTrainer *trainer, const PirlBatch *batch, const gint *cancel,
    PirlStepStats *stats, GError **error)
{
  *stats = (PirlStepStats) { 0 };
  return pirl_trainer_begin (trainer, batch, cancel, error)
      && pirl_trainer_end (trainer, stats, error);
}
