/* gst-pirl: one training behind a bounded queue (see training.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "training-private.h"

#include <math.h>

/* The queue holds this many batches, so that one can be filled while another is trained. */
#define QUEUE_BATCHES 2

/* ---- beginning and end -------------------------------------------------------------------- */

GstPirlTraining *
gst_pirl_training_new (GstElement * element, const GstPirlTrainSettings * settings,
    GError ** error)
{
  GstPirlTraining *self = g_new0 (GstPirlTraining, 1);

  self->element = element;
  gst_pirl_properties_copy (&gst_pirl_train_properties, &self->settings, settings);
  g_mutex_init (&self->lock);
  g_cond_init (&self->cond);
  gst_pirl_sample_queue_init (&self->queue, QUEUE_BATCHES * settings->batch_size);
  gst_pirl_sample_batch_init (&self->batch.samples, settings->batch_size, settings->objective);
  gst_pirl_sample_batch_init (&self->next.samples, settings->batch_size, settings->objective);
  gst_pirl_report_init (&self->report, element, settings);
  self->shown.knn = NAN;
  self->shown.eta = -1;
  if (!gst_pirl_train_settings_check (settings, &self->resumed, &self->position, error)
      || (self->resumed
          && !gst_pirl_train_settings_keep_precisions (&self->settings, error))) {
    gst_pirl_training_free (self);
    return NULL;
  }
  self->next_number = self->position.index;
  self->thread = g_thread_new ("pirl-training", gst_pirl_training_main, self);
  return self;
}

void
gst_pirl_training_stop (GstPirlTraining * self)
{
  if (self->thread == NULL)
    return;
  g_mutex_lock (&self->lock);
  self->stop = TRUE;
  g_atomic_int_set (&self->cancel, 1);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  g_thread_join (self->thread);
  self->thread = NULL;
}

void
gst_pirl_training_free (GstPirlTraining * self)
{
  gst_pirl_training_stop (self);
  gst_pirl_sample_queue_clear (&self->queue);
  gst_pirl_sample_batch_clear (&self->batch.samples);
  gst_pirl_sample_batch_clear (&self->next.samples);
  g_clear_pointer (&self->trainer, pirl_trainer_free);
  gst_pirl_report_clear (&self->report);
  gst_pirl_dataset_clear (&self->dataset);
  pirl_position_clear (&self->position);
  g_free (self->shown.device);
  gst_pirl_properties_clear (&gst_pirl_train_properties, &self->settings);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->cond);
  g_free (self);
}

/* ---- what the stream is ------------------------------------------------------------------- */

gboolean
gst_pirl_training_check_views (GstPirlTraining * self, const GstPirlViews * views,
    GError ** error)
{
  return gst_pirl_train_settings_check_views (&self->settings, views, error);
}

static gboolean
same_views (const GstPirlViews * a, const GstPirlViews * b)
{
  return a->image == b->image && a->patch == b->patch && a->patches == b->patches
      && a->transform == b->transform && a->permutations == b->permutations
      && a->frames == b->frames;
}

gboolean
gst_pirl_training_set_views (GstPirlTraining * self, const GstPirlViews * views, GError ** error)
{
  gboolean ok = gst_pirl_training_check_views (self, views, error);

  if (!ok)
    return FALSE;
  g_mutex_lock (&self->lock);
  if (self->phase == PHASE_WAITING) {
    self->views = *views;
    self->have_views = TRUE;
  } else if (self->have_views && !same_views (views, &self->views)) {
    g_autofree gchar *before = gst_pirl_training_describe_views (&self->views);
    g_autofree gchar *now = gst_pirl_training_describe_views (views);

    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "the views changed from %s to %s; a training keeps its views: leave pirljigsaw's "
        "image-size, patch-size, transform and permutations as they were",
        before, now);
    ok = FALSE;
  }
  g_mutex_unlock (&self->lock);
  return ok;
}

static void
take_dataset (GstPirlTraining * self, const GstPirlDataset * dataset)
{
  gst_pirl_dataset_clear (&self->dataset);
  self->dataset = *dataset;
  self->dataset.hash = g_strdup (dataset->hash);
  self->dataset.class_names = g_strdupv (dataset->class_names);
  self->have_dataset = TRUE;
}

gboolean
gst_pirl_training_set_dataset (GstPirlTraining * self, const GstPirlDataset * dataset,
    GError ** error)
{
  gboolean ok = TRUE;

  g_mutex_lock (&self->lock);
  if (self->phase == PHASE_WAITING) {
    take_dataset (self, dataset);
  } else if (g_strcmp0 (dataset->hash, self->dataset.hash) != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "the data set changed in mid-training from %s to %s; the memory bank has a row for each "
        "sample of the first", self->have_dataset ? self->dataset.hash : "none", dataset->hash);
    ok = FALSE;
  }
  g_mutex_unlock (&self->lock);
  return ok;
}

gboolean
gst_pirl_training_answer_resume (GstPirlTraining * self, GstQuery * query)
{
  gboolean resumed;

  g_mutex_lock (&self->lock);
  resumed = self->resumed;
  if (resumed)
    gst_pirl_resume_answer (query, self->position.epoch, self->position.index,
        self->position.seed, self->position.hash);
  g_mutex_unlock (&self->lock);
  return resumed;
}

/* ---- samples ------------------------------------------------------------------------------ */

void
gst_pirl_training_prepare (GstPirlTraining * self)
{
  g_mutex_lock (&self->lock);
  self->prepare = TRUE;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

/* With the lock. A sample that comes at all says that the element plays. */
static void
note_playing (GstPirlTraining * self)
{
  if (self->motion == MOTION_UNKNOWN)
    self->motion = MOTION_PLAYING;
}

/* With the lock. A supervised training leaves a sample without a label out. */
static void
enqueue (GstPirlTraining * self, GstBuffer * buffer)
{
  GstPirlQueuedSample queued = { buffer, 0, 0, 0, -1, FALSE };
  gboolean has_meta;
  GstPirlSample sample;

  self->counters.received++;
  has_meta = gst_pirl_sample_get (buffer, &sample);
  if (self->settings.objective == PIRL_OBJECTIVE_SUPERVISED && (!has_meta || sample.label < 0)) {
    self->counters.unlabelled++;
    return;
  }
  if (has_meta) {
    queued.index = sample.index;
    queued.position = sample.position;
    queued.epoch = sample.epoch;
    queued.label = sample.label;
  } else {
    queued.index = queued.position = self->next_number++;
    queued.ring = TRUE;
  }
  gst_buffer_ref (buffer);
  gst_pirl_sample_queue_push (&self->queue, &queued);
}

static void
warn_unlabelled (GstPirlTraining * self)
{
  GError *warning = g_error_new_literal (PIRL_ERROR, PIRL_ERROR_INVALID,
      "a sample has no label and is left out, as others without one will be: "
      "objective=supervised learns from pictures in one folder a class");

  gst_pirl_post_warning (self->element, &warning);
}

GstFlowReturn
gst_pirl_training_push (GstPirlTraining * self, GstBuffer * buffer)
{
  GstFlowReturn ret = GST_FLOW_OK;
  gboolean first_unlabelled = FALSE;

  g_mutex_lock (&self->lock);
  note_playing (self);
  self->prepare = TRUE;
  while (self->queue.length == self->queue.capacity && !self->unlocked
      && self->phase < PHASE_FINISHED)
    g_cond_wait (&self->cond, &self->lock);
  if (self->phase == PHASE_FAILED) {
    ret = GST_FLOW_ERROR;
  } else if (self->phase == PHASE_FINISHED) {
    self->counters.discarded++;
    ret = self->settings.on_finish == GST_PIRL_ON_FINISH_DROP ? GST_FLOW_OK : GST_FLOW_EOS;
  } else if (self->queue.length == self->queue.capacity) {
    ret = GST_PIRL_FLOW_UNLOCKED;
  } else {
    const guint64 before = self->counters.unlabelled;

    enqueue (self, buffer);
    first_unlabelled = before == 0 && self->counters.unlabelled > 0;
    g_cond_broadcast (&self->cond);
  }
  g_mutex_unlock (&self->lock);
  if (first_unlabelled)
    warn_unlabelled (self);
  return ret;
}

GstFlowReturn
gst_pirl_training_drain (GstPirlTraining * self)
{
  GstFlowReturn ret = GST_FLOW_OK;

  g_mutex_lock (&self->lock);
  note_playing (self);
  self->eos = TRUE;
  g_cond_broadcast (&self->cond);
  while (!self->unlocked && self->phase < PHASE_DRAINED)
    g_cond_wait (&self->cond, &self->lock);
  if (self->phase == PHASE_FAILED)
    ret = GST_FLOW_ERROR;
  else if (self->phase < PHASE_DRAINED)
    ret = GST_PIRL_FLOW_UNLOCKED;
  g_mutex_unlock (&self->lock);
  return ret;
}

/* ---- interruptions ------------------------------------------------------------------------ */

static void
set_unlocked (GstPirlTraining * self, gboolean unlocked)
{
  g_mutex_lock (&self->lock);
  self->unlocked = unlocked;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_pirl_training_unlock (GstPirlTraining * self)
{
  set_unlocked (self, TRUE);
}

void
gst_pirl_training_unlock_stop (GstPirlTraining * self)
{
  set_unlocked (self, FALSE);
}

void
gst_pirl_training_flush (GstPirlTraining * self)
{
  g_mutex_lock (&self->lock);
  self->counters.flushed += gst_pirl_sample_queue_flush (&self->queue);
  self->flushes++;
  self->eos = FALSE;
  if (self->phase == PHASE_DRAINED)
    self->phase = self->shown.device ? PHASE_TRAINING : PHASE_WAITING;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_pirl_training_play (GstPirlTraining * self)
{
  g_mutex_lock (&self->lock);
  self->motion = MOTION_PLAYING;
  self->restart_clock = TRUE;
  g_atomic_int_set (&self->cancel, 0);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_pirl_training_pause (GstPirlTraining * self)
{
  g_mutex_lock (&self->lock);
  self->motion = MOTION_PAUSED;
  g_atomic_int_set (&self->cancel, 1);
  g_mutex_unlock (&self->lock);
}

gboolean
gst_pirl_training_save_soon (GstPirlTraining * self)
{
  if (!gst_pirl_training_has_file (self))
    return FALSE;
  g_mutex_lock (&self->lock);
  self->save_soon = TRUE;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  return TRUE;
}

/* ---- statistics --------------------------------------------------------------------------- */

GstStructure *
gst_pirl_training_no_stats (void)
{
  return gst_structure_new ("application/x-pirl-training-stats", "state", G_TYPE_STRING,
      "stopped", NULL);
}

static const gchar *const phase_names[] = {
  "waiting", "planning", "training", "drained", "finished", "failed"
};

/* With the lock. */
static const gchar *
state_name (GstPirlTraining * self)
{
  if (self->stop && self->phase < PHASE_DRAINED)
    return "stopped";
  if (self->phase == PHASE_TRAINING && self->motion != MOTION_PLAYING)
    return "paused";
  return phase_names[self->phase];
}

GstStructure *
gst_pirl_training_stats (GstPirlTraining * self)
{
  const PirlStepStats *last = &self->shown.last;
  const Counters *n = &self->counters;
  GstStructure *s;

  g_mutex_lock (&self->lock);
  s = gst_structure_new ("application/x-pirl-training-stats",
      "state", G_TYPE_STRING, state_name (self),
      "step", G_TYPE_UINT64, last->step, "steps", G_TYPE_UINT64, self->shown.total,
      "epoch", G_TYPE_UINT64, (guint64) self->shown.epoch,
      "loss", G_TYPE_DOUBLE, last->loss, "loss-image", G_TYPE_DOUBLE, last->loss_image,
      "loss-patches", G_TYPE_DOUBLE, last->loss_patches,
      "lr", G_TYPE_DOUBLE, last->learning_rate, "z", G_TYPE_DOUBLE, last->z,
      "spread", G_TYPE_DOUBLE, last->spread, "positive", G_TYPE_DOUBLE, last->positive_image,
      "positive-patches", G_TYPE_DOUBLE, last->positive_patches,
      "images-per-second", G_TYPE_DOUBLE, self->shown.images_per_second,
      "eta", G_TYPE_DOUBLE, self->shown.eta,
      "received", G_TYPE_UINT64, n->received, "trained", G_TYPE_UINT64, n->trained,
      "dropped", G_TYPE_UINT64, n->dropped, "flushed", G_TYPE_UINT64, n->flushed,
      "discarded", G_TYPE_UINT64, n->discarded, "unlabelled", G_TYPE_UINT64, n->unlabelled,
      "accuracy", G_TYPE_DOUBLE, last->accuracy, "checkpoints", G_TYPE_UINT64, n->checkpoints,
      "queued", G_TYPE_UINT, self->queue.length, "queue-size", G_TYPE_UINT, self->queue.capacity,
      "position-epoch", G_TYPE_UINT64, self->position.epoch,
      "position-index", G_TYPE_UINT64, self->position.index,
      "resumed", G_TYPE_BOOLEAN, self->resumed,
      "device", G_TYPE_STRING, self->shown.device ? self->shown.device : "",
      "precision", G_TYPE_STRING, self->shown.precision ? self->shown.precision : "",
      "bank-precision", G_TYPE_STRING,
      self->shown.bank_precision ? self->shown.bank_precision : "",
      "memory", G_TYPE_UINT64, self->shown.bytes, NULL);
  if (!isnan (self->shown.knn))
    gst_structure_set (s, "knn-accuracy", G_TYPE_DOUBLE, self->shown.knn, NULL);
  g_mutex_unlock (&self->lock);
  return s;
}
