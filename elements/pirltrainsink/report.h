/* gst-pirl: what a training tells the world.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Meters (images a second, time left, the epoch's sums) and the messages made of them. Belongs to
 * the training thread.
 */
#pragma once

#include "scalars.h"
#include "settings.h"

G_BEGIN_DECLS

typedef struct {
  GstElement *element;          /* not owned */
  gboolean post;
  guint64 interval;             /* nanoseconds */
  guint batch;
  guint64 total;                /* steps of the run, 0 = not known */
  GstPirlProgress progress;
  GstPirlScalars scalars;

  PirlStepStats last;           /* of the latest step; its losses of the latest not skipped */
  gdouble images_per_second;    /* 0 = not known yet */
  gdouble knn;                  /* NaN = not known */

  gint64 window_start;          /* monotonic microseconds; 0 = the next step opens a window */
  guint64 window_steps;
  gint64 posted_at, logged_at;
  guint64 logged_step;
  gint64 knn_at, knn_cost;

  gboolean epoch_open, epoch_whole;
  guint epoch;
  guint64 epoch_steps, epoch_dropped;
  guint64 epoch_skipped, skipped;       /* steps that fp16 could not hold: of the epoch, of all */
  gdouble epoch_loss, epoch_accuracy;   /* sums over the steps that were not skipped */
  gboolean answers;             /* accuracy means something */
  gboolean near;                /* as does the share of near negatives */
} GstPirlReport;

/** Starts a run with nothing counted; @element (not owned) posts the messages. */
void gst_pirl_report_init (GstPirlReport * report, GstElement * element,
    const GstPirlTrainSettings * settings);
void gst_pirl_report_clear (GstPirlReport * report);
/** Begins counting for @epoch; @whole: from its first sample on. */
void gst_pirl_report_open_epoch (GstPirlReport * report, guint epoch, gboolean whole);
/** A step has been done: counts, and posts `pirl-training` and progress and logs scalars each
 * interval. */
void gst_pirl_report_step (GstPirlReport * report, const PirlStepStats * stats);
/** The steps up to now say nothing about speed any more (a pause). */
void gst_pirl_report_restart_clock (GstPirlReport * report);
/** Measures the accuracy of the bank's @rows where that is cheap, posts `pirl-epoch`. @trainer may
 * be NULL before the first step. */
void gst_pirl_report_close_epoch (GstPirlReport * report, PirlTrainer * trainer, guint64 rows);
/** @file has been written after step @step: posts `pirl-checkpoint`. */
void gst_pirl_report_checkpoint (GstPirlReport * report, const gchar * file, guint64 step);
/** The last `pirl-training`, and the end of the progress. */
void gst_pirl_report_end (GstPirlReport * report, GstProgressType type);
/** Seconds to the end of the run, -1 when not known. */
gdouble gst_pirl_report_eta (const GstPirlReport * report);

G_END_DECLS
