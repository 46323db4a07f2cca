/* gst-pirl: one training behind a bounded queue (see training.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The thread sleeps until wait_for_work() finds something to do, does it without the lock, and
 * comes back. What is asked of it is kept in flags; what it is doing is `phase`.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "training.h"

#include "report.h"
#include "samples.h"

#include <gio/gio.h>
#include <math.h>

GST_DEBUG_CATEGORY_EXTERN (gst_pirl_train_sink_debug);
#define GST_CAT_DEFAULT gst_pirl_train_sink_debug

/* The queue holds this many batches, so that one can be filled while another is trained. */
#define QUEUE_BATCHES 2
/* checkpoint-interval=0 saves this often. */
#define CHECKPOINT_SECONDS 600

typedef enum {
  PHASE_WAITING,                /* for data */
  PHASE_PLANNING,
  PHASE_TRAINING,
  PHASE_DRAINED,                /* all that came before EOS is trained and saved */
  PHASE_FINISHED,               /* max-steps are done and saved */
  PHASE_FAILED,
} Phase;

static const gchar *const phase_names[] = {
  "waiting", "planning", "training", "drained", "finished", "failed"
};

/* Whether the element trains. The first sample says so too: a sink that is not in a pipeline goes
 * to PLAYING without a state change of its own. */
typedef enum { MOTION_UNKNOWN, MOTION_PLAYING, MOTION_PAUSED } Motion;

typedef enum {
  WORK_PLAN,
  WORK_STEP,
  WORK_CLOSE_EPOCH,
  WORK_DRAIN,
  WORK_SAVE,
  WORK_STOP,
} Work;

/* Samples that make a step. */
typedef struct {
  GstPirlSampleBatch samples;
  PirlBatch views;
  gboolean staged;              /* the views' pictures are on the device */
  guint flushes;                /* when it was taken */
} Batch;

typedef struct {
  guint64 received, trained, dropped, flushed, discarded, unlabelled, checkpoints;
} Counters;

struct _GstPirlTraining {
  GstElement *element;          /* not owned: it outlives the training */
  GstPirlTrainSettings settings;
  GThread *thread;
  gint cancel;                  /* atomic: ends the step under way */

  GMutex lock;
  GCond cond;
  /* All below up to the next comment: with the lock. */
  GstPirlSampleQueue queue;
  GstPirlViews views;
  gboolean have_views;
  GstPirlDataset dataset;
  gboolean have_dataset;
  Phase phase;
  Motion motion;
  gboolean prepare, unlocked, eos, stop, save_soon, restart_clock;
  guint flushes;
  guint64 next_number;          /* of a sample without meta */
  Counters counters;
  gboolean resumed;
  PirlPosition position;        /* of the first sample not yet trained */
  struct {
    PirlStepStats last;
    gdouble images_per_second, eta, knn;
    guint epoch;
    gchar *device;
    const gchar *precision, *bank_precision;
    guint64 bytes, total;
  } shown;

  /* The thread's own. */
  PirlTrainer *trainer;
  PirlTrainerConfig config;     /* its strings belong to settings */
  GstPirlViews planned;
  Batch batch;                  /* in training */
  Batch next;                   /* taken early, on a device that can be given it meanwhile */
  GstPirlReport report;
  guint64 saved_steps;
  gint64 saved_at;
};

/* ---- the thread: saving -------------------------------------------------------------------- */

static gboolean
has_checkpoint_file (GstPirlTraining * self)
{
  return self->settings.checkpoint_file != NULL && *self->settings.checkpoint_file != '\0';
}

/* The place to go on from, with what the data set is called. */
static void
fill_position (GstPirlTraining * self, PirlPosition * position)
{
  g_mutex_lock (&self->lock);
  *position = self->position;
  if (self->have_dataset) {
    position->seed = self->dataset.seed;
    position->hash = g_strdup (self->dataset.hash);
    position->class_names = self->dataset.class_names
        ? g_strjoinv ("\n", self->dataset.class_names) : NULL;
  } else {
    position->hash = g_strdup (self->position.hash);
    position->class_names = g_strdup (self->position.class_names);
  }
  g_mutex_unlock (&self->lock);
}

static gboolean
save (GstPirlTraining * self, GError ** error)
{
  guint64 steps = pirl_trainer_steps (self->trainer);
  PirlPosition position;
  gboolean ok;

  fill_position (self, &position);
  ok = pirl_trainer_save (self->trainer, self->settings.checkpoint_file, &position, error);
  pirl_position_clear (&position);
  self->saved_at = g_get_monotonic_time ();
  if (!ok)
    return FALSE;
  self->saved_steps = steps;
  g_mutex_lock (&self->lock);
  self->counters.checkpoints++;
  g_mutex_unlock (&self->lock);
  GST_DEBUG_OBJECT (self->element, "saved step %" G_GUINT64_FORMAT, steps);
  gst_pirl_report_checkpoint (&self->report, self->settings.checkpoint_file, steps);
  gst_pirl_report_restart_clock (&self->report);
  return TRUE;
}

/* At an end: what has been learnt since the last time. */
static gboolean
save_rest (GstPirlTraining * self, GError ** error)
{
  if (self->trainer == NULL || !has_checkpoint_file (self)
      || pirl_trainer_steps (self->trainer) == self->saved_steps)
    return TRUE;
  return save (self, error);
}

/* On the way: a full disk may be empty again in ten minutes, but weights that are no numbers stay so. */
static gboolean
save_or_warn (GstPirlTraining * self, GError ** error)
{
  GError *failure = NULL;

  if (save (self, &failure))
    return TRUE;
  if (g_error_matches (failure, PIRL_ERROR, PIRL_ERROR_NOT_FINITE)) {
    g_propagate_error (error, failure);
    return FALSE;
  }
  gst_pirl_post_warning (self->element, &failure);
  return TRUE;
}

static gboolean
checkpoint_is_due (GstPirlTraining * self)
{
  if (!has_checkpoint_file (self))
    return FALSE;
  if (self->settings.checkpoint_interval > 0)
    return pirl_trainer_steps (self->trainer) % self->settings.checkpoint_interval == 0;
  return g_get_monotonic_time () - self->saved_at >= CHECKPOINT_SECONDS * G_USEC_PER_SEC;
}

/* ---- the thread: planning ------------------------------------------------------------------ */

/* A checkpoint goes on with its own data only: a bank row is a sample. */
static gboolean
check_same_dataset (GstPirlTraining * self, const PirlPosition * position,
    const GstPirlDataset * dataset, GError ** error)
{
  if (position->hash && *position->hash && dataset->hash && *dataset->hash
      && g_strcmp0 (position->hash, dataset->hash) != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "checkpoint \"%s\" was made with data set %s, this one is %s; resume with the same "
        "pictures, or start from its weights with model-file", self->settings.checkpoint_file,
        position->hash, dataset->hash);
    return FALSE;
  }
  if (position->seed != dataset->seed) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "checkpoint \"%s\" was made with the source's seed %" G_GUINT64_FORMAT ", now it is %"
        G_GUINT64_FORMAT "; the order of the samples would be another",
        self->settings.checkpoint_file, position->seed, dataset->seed);
    return FALSE;
  }
  return TRUE;
}

static gboolean
load (GstPirlTraining * self, const GstPirlDataset * dataset, GError ** error)
{
  const gchar *model = self->settings.model_file;
  PirlPosition position = { 0 };
  gboolean ok;

  if (!self->resumed) {
    if (self->settings.resume)
      GST_INFO_OBJECT (self->element, "%s does not exist yet: a new run",
          self->settings.checkpoint_file);
    return model == NULL || *model == '\0'
        || pirl_trainer_load_weights (self->trainer, model, error);
  }
  ok = pirl_trainer_resume (self->trainer, self->settings.checkpoint_file, &position, error)
      && (dataset == NULL || check_same_dataset (self, &position, dataset, error));
  pirl_position_clear (&position);
  self->saved_steps = pirl_trainer_steps (self->trainer);
  return ok;
}

/* "64 px, jigsaw of 9 x 18 px out of 100 permutations, rendered here" */
static gchar *
views_text (const GstPirlViews * views)
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
  g_autofree gchar *views = views_text (&self->planned);

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
      && load (self, known ? &dataset : NULL, error);
  gst_pirl_dataset_clear (&dataset);
  if (!ok && self->trainer == NULL && self->resumed)
    g_prefix_error (error, "to go on with \"%s\": ", self->settings.checkpoint_file);
  if (!ok)
    return FALSE;
  log_plan (self);
  if (!has_checkpoint_file (self))
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

/* ---- the thread: training ------------------------------------------------------------------ */

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
  if (!save_rest (self, &error)) {
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
  else if (checkpoint_is_due (self))
    return save_or_warn (self, error);
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
  if (!save_rest (self, error))
    return FALSE;
  gst_pirl_report_end (&self->report, GST_PROGRESS_TYPE_COMPLETE);
  g_mutex_lock (&self->lock);
  self->shown.knn = self->report.knn;
  g_mutex_unlock (&self->lock);
  enter_phase (self, PHASE_DRAINED);
  return TRUE;
}

/* ---- the thread: what to do next ------------------------------------------------------------ */

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

static gpointer
training_main (gpointer data)
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
        ok = save_or_warn (self, &error);
        break;
      case WORK_STOP:
        break;
    }
    if (!ok)
      fail (self, &error);
  }
  /* What a failed step leaves behind is not saved: the last good checkpoint stays. */
  if (!has_failed (self) && !save_rest (self, &error))
    gst_pirl_post_error (self->element, &error);
  gst_pirl_report_end (&self->report, GST_PROGRESS_TYPE_CANCELED);
  return NULL;
}

/* ---- from outside: beginning and end -------------------------------------------------------- */

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
  self->thread = g_thread_new ("pirl-training", training_main, self);
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

/* ---- from outside: what the stream is ------------------------------------------------------- */

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
    g_autofree gchar *before = views_text (&self->views);
    g_autofree gchar *now = views_text (views);

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

/* ---- from outside: samples ------------------------------------------------------------------ */

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

/* ---- from outside: interruptions ------------------------------------------------------------- */

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
  if (!has_checkpoint_file (self))
    return FALSE;
  g_mutex_lock (&self->lock);
  self->save_soon = TRUE;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  return TRUE;
}

/* ---- statistics ------------------------------------------------------------------------------ */

GstStructure *
gst_pirl_training_no_stats (void)
{
  return gst_structure_new ("application/x-pirl-training-stats", "state", G_TYPE_STRING,
      "stopped", NULL);
}

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
