/* gst-pirl: how a training saves and goes on (see training-private.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "training-private.h"

GST_DEBUG_CATEGORY_EXTERN (gst_pirl_train_sink_debug);
#define GST_CAT_DEFAULT gst_pirl_train_sink_debug

/* checkpoint-interval=0 saves this often. */
#define CHECKPOINT_SECONDS 600

/* ---- saving ------------------------------------------------------------------------------- */

gboolean
gst_pirl_training_has_file (GstPirlTraining * self)
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

gboolean
gst_pirl_training_save_rest (GstPirlTraining * self, GError ** error)
{
  if (self->trainer == NULL || !gst_pirl_training_has_file (self)
      || pirl_trainer_steps (self->trainer) == self->saved_steps)
    return TRUE;
  return save (self, error);
}

gboolean
gst_pirl_training_save_or_warn (GstPirlTraining * self, GError ** error)
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

gboolean
gst_pirl_training_save_is_due (GstPirlTraining * self)
{
  if (!gst_pirl_training_has_file (self))
    return FALSE;
  if (self->settings.checkpoint_interval > 0)
    return pirl_trainer_steps (self->trainer) % self->settings.checkpoint_interval == 0;
  return g_get_monotonic_time () - self->saved_at >= CHECKPOINT_SECONDS * G_USEC_PER_SEC;
}

/* ---- going on ----------------------------------------------------------------------------- */

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

gboolean
gst_pirl_training_load (GstPirlTraining * self, const GstPirlDataset * dataset, GError ** error)
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
