/* gst-pirl: samples on their way into a batch.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Neither the queue nor the batch has a lock: GstPirlTraining guards the queue, and its thread
 * alone touches the batch.
 */
#pragma once

#include "settings.h"

G_BEGIN_DECLS

typedef struct {
  GstBuffer *buffer;            /* owned */
  guint64 index;                /* of the sample in the data set, or its number in a camera's stream */
  guint64 position;             /* in its epoch's order */
  guint epoch;
  gint label;
  gboolean ring;                /* has no meta: goes to row index % rows */
} GstPirlQueuedSample;

/** A ring of fixed capacity. */
typedef struct {
  GstPirlQueuedSample *ring;
  guint capacity, head, length;
} GstPirlSampleQueue;

/** Makes an empty ring for @capacity samples; clear() frees it with what is in it. */
void gst_pirl_sample_queue_init (GstPirlSampleQueue * queue, guint capacity);
void gst_pirl_sample_queue_clear (GstPirlSampleQueue * queue);
/** Drops all samples; returns how many. */
guint gst_pirl_sample_queue_flush (GstPirlSampleQueue * queue);
/** Takes @sample; the caller has looked that there is room. */
void gst_pirl_sample_queue_push (GstPirlSampleQueue * queue, const GstPirlQueuedSample * sample);
/** Gives the oldest sample away. */
GstPirlQueuedSample gst_pirl_sample_queue_pop (GstPirlSampleQueue * queue);
/** The oldest sample, or NULL. */
const GstPirlQueuedSample *gst_pirl_sample_queue_peek (const GstPirlSampleQueue * queue);
/** How many samples at the head are of one epoch; stops counting at @limit. */
guint gst_pirl_sample_queue_leading (const GstPirlSampleQueue * queue, guint limit);

/** One batch with its buffers, as pirl_trainer_step() wants it. */
typedef struct {
  guint size, n;
  GstPirlQueuedSample *samples;
  GstMapInfo *maps;
  guint n_maps;
  const guint8 **images, **patches;
  PirlView *image_views, *patch_views;  /* of frames; made when they are first mapped */
  PirlObjective objective;
  guint32 *rows;                /* of PIRL and NPID */
  gint *labels;
  gint *targets;                /* of JIGSAW and ROTATION */
} GstPirlSampleBatch;

/** Makes room for batches of @size samples; clear() lets go of them and frees it. */
void gst_pirl_sample_batch_init (GstPirlSampleBatch * batch, guint size,
    PirlObjective objective);
void gst_pirl_sample_batch_clear (GstPirlSampleBatch * batch);
/** Takes a whole batch from the queue. */
void gst_pirl_sample_batch_take (GstPirlSampleBatch * batch, GstPirlSampleQueue * queue);
/** Lets go of the samples. */
void gst_pirl_sample_batch_drop (GstPirlSampleBatch * batch);
/** Maps the views, and finds the rows and the targets that the objective has. %PIRL_ERROR_FORMAT for
 * buffers that are not what the caps say or do not know their target, %PIRL_ERROR_INVALID for an
 * index that has no row in the bank. */
gboolean gst_pirl_sample_batch_map (GstPirlSampleBatch * batch, const GstPirlViews * views,
    guint64 bank_rows, PirlBatch * mapped, GError ** error);
void gst_pirl_sample_batch_unmap (GstPirlSampleBatch * batch);

G_END_DECLS
