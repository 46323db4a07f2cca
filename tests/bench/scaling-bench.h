/* gst-pirl: what the files of scaling-bench share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "learn/trainer.h"
#include "turns.h"

typedef struct {
  gchar *arch, *file;
  gint width, size, patch, batch, steps, threads;
  gint64 rows, negatives;
  gboolean bare;
} ScalingOptions;

/** The elements' settings, with a constant learning rate and what the options say. */
gboolean scaling_config (const ScalingOptions *options, PirlTrainerConfig *config, GError **error);
/** Seconds of CPU time that this process has used. */
gdouble scaling_cpu (void);

/** A trainer with pictures: noise, always the same few; rows come from the whole bank. */
typedef struct _ScalingRun ScalingRun;
ScalingRun *scaling_run_new (const PirlTrainerConfig *config, GError **error);
void scaling_run_free (ScalingRun *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ScalingRun, scaling_run_free)
PirlTrainer *scaling_run_trainer (ScalingRun *run);
/** One step; which samples it takes depends on the number of steps that the trainer has done. */
gboolean scaling_run_step (ScalingRun *run, PirlStepStats *stats, GError **error);
/** @batch different rows of a bank of @rows, another choice for each @number. */
void scaling_draw_rows (guint32 *rows_of_batch, guint batch, guint64 rows, guint64 number);

/* The modes: the program's exit status. */

int scaling_steps (const ScalingOptions *options);
int scaling_contrast (const ScalingOptions *options);
int scaling_life (const ScalingOptions *options);
