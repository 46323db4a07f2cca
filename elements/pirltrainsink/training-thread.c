/* gst-pirl: what a training's thread does (see training-private.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "training-private.h"

#include <gio/gio.h>

GST_DEBUG_CATEGORY_EXTERN (gst_pirl_train_sink_debug);
#define GST_CAT_DEFAULT gst_pirl_train_sink_debug

typedef enum {
  WORK_PLAN,
  WORK_STEP,
  WORK_CLOSE_EPOCH,
  WORK_DRAIN,
  WORK_SAVE,
  WORK_STOP,
} Work;

/* ---- planning ----------------------------------------------------------------------------- */

gchar *
gst_pirl_training_describe_views (const GstPirlViews * views)
{
  GString *text = g_string_new (NULL);

  g_string_append_printf (text, "%d px, %s of %d x %d px", views->image,
      pirl_transform_name (views->transform), views->patches, views->patch);
  if (views->permutations > 0)
    g_string_append_printf (text, " out of %d permutations", views->permutations);
  if (views->frames)
    g_string_append (text, ", rendered here");
  return g_string_free (text, FALSE);
}

static void
log_plan (GstPirlTraining * self)
{
  const PirlTrainerConfig *c = &self->config;
  const PirlSchedule *s = &c->schedule;
  const gchar *model = self->settings.model_file;
  g_autofree gchar *length = s->total > 0
      ? g_strdup_printf ("%" G_GUINT64_FORMAT " steps", s->total)
      : g_strdup ("constant after warm-up, as the length of the run is not known");

  g_autofree gchar *trunk = pirl_trunk_describe (&c->trunk);
  g_autofree gchar *views = gst_pirl_training_describe_views (&self->planned);

  GST_INFO_OBJECT (self->element, "training %s on %s in %s, from %s: views of %s, batches of %u, "
      "memory bank of %" G_GUINT64_FORMAT " rows, %" G_GUINT64_FORMAT " negatives, learning rate %g "
      "after %" G_GUINT64_FORMAT " steps of warm-up, %s; %.1f MiB",
      trunk, pirl_trainer_device (self->trainer), pirl_trainer_precision (self->trainer),
      self->resumed ? self->settings.checkpoint_file
      : model && *model ? model : "random weights", views, c->batch, c->bank_rows, c->negatives,
      s->base, s->warmup, length, pirl_trainer_bytes (self->trainer) / (1024.0 * 1024.0));
  if (gst_pirl_auto_reason (self->settings.device))
    GST_INFO_OBJECT (self->element, "device=auto is the CPU: %s",
        gst_pirl_auto_reason (self->settings.device));
}

/* Copies what the plan depends on, so that planning needs no lock. */
static gboolean
snapshot_plan (GstPirlTraining * self, GstPirlViews * views, GstPirlDataset * dataset)
{
  gboolean known;

  g_mutex_lock (&self->lock);
  *views = self->views;
  *dataset = self->dataset;
  dataset->hash = g_strdup (self->dataset.hash);
  dataset->class_names = NULL;
  known = self->have_dataset;
  g_mutex_unlock (&self->lock);
  return known;
}

static void
warn_nothing_is_kept (GstPirlTraining * self)
{
  GError *warning = g_error_new_literal (PIRL_ERROR, PIRL_ERROR_INVALID,
      "checkpoint-file is not set: what is learnt is gone when the pipeline stops");

  gst_pirl_post_warning (self->element, &warning);
}

static void finish (GstPirlTraining * self);

static gboolean
plan (GstPirlTraining * self, GError ** error)
{
  GstPirlDataset dataset;
  gboolean known = snapshot_plan (self, &self->planned, &dataset);
  gboolean ok;

  ok = gst_pirl_train_settings_resolve (&self->settings, &self->planned, known ? &dataset : NULL,
      &self->config, error)
      && (self->trainer = pirl_trainer_new (&self->config, error)) != NULL
      && gst_pirl_training_load (self, known ? &dataset : NULL, error);
  gst_pirl_dataset_clear (&dataset);
  if (!ok && self->trainer == NULL && self->resumed)
    g_prefix_error (error, "to go on with \"%s\": ", self->settings.checkpoint_file);
  if (!ok)
    return FALSE;
  log_plan (self);
  if (!gst_pirl_training_has_file (self))
    warn_nothing_is_kept (self);
  self->report.total = self->config.schedule.total;
  self->report.last.step = pirl_trainer_steps (self->trainer);
  self->saved_at = g_get_monotonic_time ();
  g_mutex_lock (&self->lock);
  self->phase = PHASE_TRAINING;
  self->shown.device = g_strdup (pirl_trainer_device (self->trainer));
  self->shown.precision = pirl_trainer_precision (self->trainer);
  self->shown.bank_precision = pirl_trainer_bank_precision (self->trainer);
  self->shown.bytes = pirl_trainer_bytes (self->trainer);
  self->shown.total = self->report.total;
  self->shown.last.step = self->report.last.step;
  g_mutex_unlock (&self->lock);
  if (self->settings.max_steps > 0
      && pirl_trainer_steps (self->trainer) >= self->settings.max_steps)
    finish (self);
  return TRUE;
}

/* ---- training ----------------------------------------------------------------------------- */

static void
enter_phase (GstPirlTraining * self, Phase phase)
{
  g_mutex_lock (&self->lock);
  self->phase = phase;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

/* The message goes first: upstream answers the flow return with an error of its own. */
static void
fail (GstPirlTraining * self, GError ** error)
{
  gst_pirl_post_error (self->element, error);
  gst_pirl_report_end (&self->report, GST_PROGRESS_TYPE_ERROR);
  enter_phase (self, PHASE_FAILED);
}

/* max-steps are done. */
static void
finish (GstPirlTraining * self)
{
  GError *error = NULL;

  gst_pirl_report_close_epoch (&self->report, self->trainer, self->config.bank_rows);
  if (!gst_pirl_training_save_rest (self, &error)) {
    fail (self, &error);
    return;
  }
  gst_pirl_report_end (&self->report, GST_PROGRESS_TYPE_COMPLETE);
  g_mutex_lock (&self->lock);
  self->counters.discarded += gst_pirl_sample_queue_flush (&self->queue);
  self->shown.knn = self->report.knn;
  g_mutex_unlock (&self->lock);
  enter_phase (self, PHASE_FINISHED);
}

/* What training-stats shows. */
static void
show_step (GstPirlTraining * self)
{
  const GstPirlSampleBatch *samples = &self->batch.samples;
  const GstPirlQueuedSample *last = &samples->samples[samples->n - 1];

  g_mutex_lock (&self->lock);
  self->counters.trained += samples->n;
  self->position.epoch = last->epoch;
  self->position.index = last->position + 1;
  self->position.samples += samples->n;
  self->shown.last = self->report.last;
  self->shown.epoch = last->epoch;
  self->shown.images_per_second = self->report.images_per_second;
  self->shown.eta = gst_pirl_report_eta (&self->report);
  g_mutex_unlock (&self->lock);
}

/* After a pause. */
static void
look_at_clock (GstPirlTraining * self)
{
  g_mutex_lock (&self->lock);
  if (self->restart_clock)
    gst_pirl_report_restart_clock (&self->report);
  self->restart_clock = FALSE;
  g_mutex_unlock (&self->lock);
}

static gboolean
map_views (GstPirlTraining * self, Batch * batch, GError ** error)
{
  return gst_pirl_sample_batch_map (&batch->samples, &self->planned, self->config.bank_rows,
      &batch->views, error);
}

/* Gives the batch to the device; where that does the work, it is done. */
static gboolean
begin_step (GstPirlTraining * self, GError ** error)
{
  Batch *batch = &self->batch;
  gboolean ok;

  if (!batch->staged && !map_views (self, batch, error))
    return FALSE;
  batch->staged = FALSE;
  ok = pirl_trainer_begin (self->trainer, &batch->views, &self->cancel, error);
  gst_pirl_sample_batch_unmap (&batch->samples);
  return ok;
}

/* With the lock: whether a whole batch of the same epoch waits, and will be trained. */
static gboolean
next_is_there (GstPirlTraining * self)
{
  const GstPirlQueuedSample *head = gst_pirl_sample_queue_peek (&self->queue);
  const guint64 max = self->settings.max_steps;

  return self->next.samples.n == 0 && head != NULL && self->report.epoch == head->epoch
      && gst_pirl_sample_queue_leading (&self->queue, self->settings.batch_size)
      == self->settings.batch_size
      && (max == 0 || pirl_trainer_steps (self->trainer) + 2 <= max);
}

/* With the lock. */
static void
take_batch (GstPirlTraining * self, Batch * batch)
{
  gst_pirl_sample_batch_take (&batch->samples, &self->queue);
  batch->staged = FALSE;
  batch->flushes = self->flushes;
  g_cond_broadcast (&self->cond);
}

/* While the device trains, the next batch's pictures travel to it. What fails here fails again, and
 * is told, when the batch's turn has come. */
static void
stage_next (GstPirlTraining * self)
{
  Batch *next = &self->next;

  if (!pirl_trainer_overlaps (self->trainer))
    return;
  g_mutex_lock (&self->lock);
  if (next_is_there (self))
    take_batch (self, next);
  g_mutex_unlock (&self->lock);
  if (next->samples.n == 0 || !map_views (self, next, NULL))
    return;
  next->staged = pirl_trainer_stage (self->trainer, &next->views, NULL);
  gst_pirl_sample_batch_unmap (&next->samples);
  next->views.images = next->views.patches = NULL;
  next->views.image_views = next->views.patch_views = NULL;
}

/* One batch. Cancelled, it stays where it is and is trained again when playing goes on. */
static gboolean
step (GstPirlTraining * self, GError ** error)
{
  GError *failure = NULL;
  PirlStepStats stats;

  look_at_clock (self);
  if (!begin_step (self, &failure)) {
    if (g_error_matches (failure, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
      g_clear_error (&failure);
      return TRUE;
    }
    g_propagate_error (error, failure);
    return FALSE;
  }
  stage_next (self);
  if (!pirl_trainer_end (self->trainer, &stats, error))
    return FALSE;
  gst_pirl_report_step (&self->report, &stats);
  show_step (self);
  gst_pirl_sample_batch_drop (&self->batch.samples);
  if (self->settings.max_steps > 0 && stats.step >= self->settings.max_steps)
    finish (self);
  else if (gst_pirl_training_save_is_due (self))
    return gst_pirl_training_save_or_warn (self, error);
  return TRUE;
}

/* An epoch that was whole and gave no batch would go on for ever without learning. */
static gboolean
close_epoch (GstPirlTraining * self, GError ** error)
{
  GstPirlReport *report = &self->report;

  if (report->epoch_open && report->epoch_whole && report->epoch_steps == 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "epoch %u brought %" G_GUINT64_FORMAT " samples that could be read, a batch needs %u; set "
        "batch-size to %" G_GUINT64_FORMAT " or less, or bring more pictures", report->epoch,
        report->epoch_dropped, self->settings.batch_size, report->epoch_dropped);
    return FALSE;
  }
  gst_pirl_report_close_epoch (report, self->trainer, self->config.bank_rows);
  g_mutex_lock (&self->lock);
  self->shown.knn = report->knn;
  g_mutex_unlock (&self->lock);
  return TRUE;
}

/* EOS, and nothing left that makes a batch. */
static gboolean
drain (GstPirlTraining * self, GError ** error)
{
  Counters counters;

  g_mutex_lock (&self->lock);
  counters = self->counters;
  g_mutex_unlock (&self->lock);
  if (counters.trained == 0 && counters.unlabelled > 0 && !self->resumed) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "%" G_GUINT64_FORMAT " of the stream's samples had no label and too few had one: nothing "
        "was learnt; objective=supervised needs pictures in one folder a class",
        counters.unlabelled);
    return FALSE;
  }
  if (counters.trained == 0 && counters.dropped > 0 && !self->resumed) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "the stream ended after %" G_GUINT64_FORMAT " samples, a batch needs %u: nothing was "
        "learnt; set batch-size to %" G_GUINT64_FORMAT " or less, or bring more pictures",
        counters.dropped, self->settings.batch_size, counters.dropped);
    return FALSE;
  }
  gst_pirl_report_close_epoch (&self->report, self->trainer, self->config.bank_rows);
  if (!gst_pirl_training_save_rest (self, error))
    return FALSE;
  gst_pirl_report_end (&self->report, GST_PROGRESS_TYPE_COMPLETE);
  g_mutex_lock (&self->lock);
  self->shown.knn = self->report.knn;
  g_mutex_unlock (&self->lock);
  enter_phase (self, PHASE_DRAINED);
  return TRUE;
}

/* ---- what to do next ---------------------------------------------------------------------- */

/* With the lock: the remainder of an epoch never makes a batch. */
static void
drop_remainder (GstPirlTraining * self, guint n)
{
  for (guint i = 0; i < n; i++)
    gst_buffer_unref (gst_pirl_sample_queue_pop (&self->queue).buffer);
  self->counters.dropped += n;
  self->report.epoch_dropped += n;
  g_cond_broadcast (&self->cond);
}

/* With the lock: drops what was flushed; then the batch that was taken early has its turn. */
static void
refresh_batches (GstPirlTraining * self)
{
  Batch *const batches[] = { &self->batch, &self->next };

  for (guint i = 0; i < G_N_ELEMENTS (batches); i++)
    if (batches[i]->samples.n > 0 && batches[i]->flushes != self->flushes) {
      self->counters.flushed += batches[i]->samples.n;
      gst_pirl_sample_batch_drop (&batches[i]->samples);
      batches[i]->staged = FALSE;
    }
  if (self->batch.samples.n == 0 && self->next.samples.n > 0) {
    const Batch taken = self->next;

    self->next = self->batch;
    self->batch = taken;
  }
}

/* With the lock, playing: FALSE when there is nothing to do before more samples come. */
static gboolean
find_training_work (GstPirlTraining * self, Work * work)
{
  const GstPirlQueuedSample *head;
  guint n;

  refresh_batches (self);
  *work = WORK_STEP;
  if (self->batch.samples.n > 0)
    return TRUE;
  while ((head = gst_pirl_sample_queue_peek (&self->queue)) != NULL) {
    if (self->report.epoch_open && self->report.epoch != head->epoch) {
      *work = WORK_CLOSE_EPOCH;
      return TRUE;
    }
    if (!self->report.epoch_open)
      gst_pirl_report_open_epoch (&self->report, head->epoch, head->position == 0);
    n = gst_pirl_sample_queue_leading (&self->queue, self->settings.batch_size);
    if (n == self->settings.batch_size) {
      take_batch (self, &self->batch);
      return TRUE;
    }
    if (n == self->queue.length && !self->eos)
      return FALSE;
    drop_remainder (self, n);
  }
  *work = WORK_DRAIN;
  return self->eos;
}

/* With the lock. */
static gboolean
find_work (GstPirlTraining * self, Work * work)
{
  *work = WORK_STOP;
  if (self->stop)
    return TRUE;
  if (self->phase == PHASE_FAILED)
    return FALSE;
  *work = WORK_SAVE;
  if (self->save_soon && self->trainer) {
    self->save_soon = FALSE;
    return TRUE;
  }
  if (self->phase == PHASE_WAITING && self->prepare && self->have_views) {
    self->phase = PHASE_PLANNING;
    *work = WORK_PLAN;
    return TRUE;
  }
  /* EOS before any sample. */
  *work = WORK_DRAIN;
  if (self->phase == PHASE_WAITING && self->eos && !self->prepare)
    return TRUE;
  if (self->phase != PHASE_TRAINING || self->motion != MOTION_PLAYING)
    return FALSE;
  return find_training_work (self, work);
}

static Work
wait_for_work (GstPirlTraining * self)
{
  Work work;

  g_mutex_lock (&self->lock);
  while (!find_work (self, &work))
    g_cond_wait (&self->cond, &self->lock);
  g_mutex_unlock (&self->lock);
  return work;
}

static gboolean
has_failed (GstPirlTraining * self)
{
  gboolean failed;

  g_mutex_lock (&self->lock);
  failed = self->phase == PHASE_FAILED;
  g_mutex_unlock (&self->lock);
  return failed;
}

gpointer
gst_pirl_training_main (gpointer data)
{
  GstPirlTraining *self = data;
  GError *error = NULL;
  Work work;

  while ((work = wait_for_work (self)) != WORK_STOP) {
    gboolean ok = TRUE;

    switch (work) {
      case WORK_PLAN:
        ok = plan (self, &error);
        break;
      case WORK_STEP:
        ok = step (self, &error);
        break;
      case WORK_CLOSE_EPOCH:
        ok = close_epoch (self, &error);
        break;
      case WORK_DRAIN:
        ok = drain (self, &error);
        break;
      case WORK_SAVE:
        ok = gst_pirl_training_save_or_warn (self, &error);
        break;
      case WORK_STOP:
        break;
    }
    if (!ok)
      fail (self, &error);
  }
  /* What a failed step leaves behind is not saved: the last good checkpoint stays. */
  if (!has_failed (self) && !gst_pirl_training_save_rest (self, &error))
    gst_pirl_post_error (self->element, &error);
  gst_pirl_report_end (&self->report, GST_PROGRESS_TYPE_CANCELED);
  return NULL;
}
