/* gst-pirl: one training, from READY to PAUSED to READY: a bounded queue and the thread behind it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The streaming thread pushes samples and waits; a thread of our own makes the trainer, trains,
 * saves and reports. Waiting ends early after gst_pirl_training_unlock(). Every function may be
 * called from any thread, but push and drain from one at a time.
 */
#pragma once

#include "settings.h"

G_BEGIN_DECLS

/** What push and drain return when they were unlocked: wait for preroll, then call again. */
#define GST_PIRL_FLOW_UNLOCKED GST_FLOW_CUSTOM_SUCCESS_1

typedef struct _GstPirlTraining GstPirlTraining;

/** Checks what can be checked without data, and starts the thread. */
GstPirlTraining *gst_pirl_training_new (GstElement * element,
    const GstPirlTrainSettings * settings, GError ** error);
/** Ends within a step, saves, joins the thread. */
void gst_pirl_training_stop (GstPirlTraining * training);
/** Stops, if that has not been done. */
void gst_pirl_training_free (GstPirlTraining * training);

/** FALSE when the objective cannot learn from these: of frames, before their sizes are known. */
gboolean gst_pirl_training_check_views (GstPirlTraining * training, const GstPirlViews * views,
    GError ** error);
/** The same, and FALSE when a training that has begun cannot go on with them. */
gboolean gst_pirl_training_set_views (GstPirlTraining * training, const GstPirlViews * views,
    GError ** error);
gboolean gst_pirl_training_set_dataset (GstPirlTraining * training,
    const GstPirlDataset * dataset, GError ** error);
/** TRUE when there is a checkpoint to go on from. */
gboolean gst_pirl_training_answer_resume (GstPirlTraining * training, GstQuery * query);

/** Data are on their way: makes the trainer. Returns at once. */
void gst_pirl_training_prepare (GstPirlTraining * training);
/** Queues a reference of @buffer. OK; EOS after max-steps; ERROR when the training failed (the
 * message has been posted); %GST_PIRL_FLOW_UNLOCKED. */
GstFlowReturn gst_pirl_training_push (GstPirlTraining * training, GstBuffer * buffer);
/** No more samples: waits until all whole batches are trained and the result is saved. */
GstFlowReturn gst_pirl_training_drain (GstPirlTraining * training);

void gst_pirl_training_unlock (GstPirlTraining * training);
void gst_pirl_training_unlock_stop (GstPirlTraining * training);
/** Forgets the samples that are not trained yet; keeps the weights. */
void gst_pirl_training_flush (GstPirlTraining * training);
/** Trains, or stops doing so within a step. */
void gst_pirl_training_play (GstPirlTraining * training);
void gst_pirl_training_pause (GstPirlTraining * training);

/** Saves after the current step; FALSE when there is no checkpoint-file. */
gboolean gst_pirl_training_save_soon (GstPirlTraining * training);
/** "application/x-pirl-training-stats"; transfer full. */
GstStructure *gst_pirl_training_stats (GstPirlTraining * training);
/** The same before there is a training. */
GstStructure *gst_pirl_training_no_stats (void);

G_END_DECLS
