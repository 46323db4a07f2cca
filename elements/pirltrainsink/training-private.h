/* gst-pirl: one training, as its own files see it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * training.c is what the streaming thread and the application call, training-thread.c what the
 * thread does, training-checkpoint.c how it saves and goes on. The thread sleeps until there is
 * something to do, does it without the lock, and comes back. What is asked of it is kept in flags;
 * what it is doing is `phase`.
 */
#pragma once

#include "report.h"
#include "samples.h"
#include "training.h"

G_BEGIN_DECLS

typedef enum {
  PHASE_WAITING,                /* for data */
  PHASE_PLANNING,
  PHASE_TRAINING,
  PHASE_DRAINED,                /* all that came before EOS is trained and saved */
  PHASE_FINISHED,               /* max-steps are done and saved */
  PHASE_FAILED,
} Phase;

/* Whether the element trains. The first sample says so too: a sink that is not in a pipeline goes
 * to PLAYING without a state change of its own. */
typedef enum { MOTION_UNKNOWN, MOTION_PLAYING, MOTION_PAUSED } Motion;

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

/** The thread: works until it is told to stop. @data is the training. */
gpointer gst_pirl_training_main (gpointer data);
/** "64 px, jigsaw of 9 x 18 px out of 100 permutations, rendered here"; transfer full. */
gchar *gst_pirl_training_describe_views (const GstPirlViews * views);

/** Whether there is a checkpoint-file to save to. */
gboolean gst_pirl_training_has_file (GstPirlTraining * self);

/* The thread's: */

/** Whether checkpoint-interval has gone by. */
gboolean gst_pirl_training_save_is_due (GstPirlTraining * self);
/** At an end: saves what has been learnt since the last time. */
gboolean gst_pirl_training_save_rest (GstPirlTraining * self, GError ** error);
/** On the way: a full disk may be empty again in ten minutes and is a warning; FALSE when the
 * weights are no numbers, which they will stay. */
gboolean gst_pirl_training_save_or_warn (GstPirlTraining * self, GError ** error);
/** Gives a new trainer what it goes on from: checkpoint-file, whose data set @dataset (NULL: a
 * camera) must be, or the weights of model-file. */
gboolean gst_pirl_training_load (GstPirlTraining * self, const GstPirlDataset * dataset,
    GError ** error);

G_END_DECLS
