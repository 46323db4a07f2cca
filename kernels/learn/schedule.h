/* gst-pirl: learning-rate schedules.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/base.h"

typedef enum { PIRL_SCHEDULE_COSINE, PIRL_SCHEDULE_STEP, PIRL_SCHEDULE_CONSTANT } PirlScheduleKind;

typedef struct {
  PirlScheduleKind kind;
  gdouble base;                 /* learning rate after warm-up */
  gdouble end;                  /* COSINE: at the last step; the paper: base / 1000 */
  guint64 warmup;               /* steps of a linear rise from base / warmup */
  guint64 total;                /* steps; 0 = not known: constant after warm-up */
} PirlSchedule;

/** The learning rate of step @step (0-based). STEP multiplies by 0.1 at 3/5 and 4/5 of the run (the
 * reference's 120 and 160 of 200 epochs). */
PIRL_API gdouble pirl_schedule_at (const PirlSchedule *schedule, guint64 step);
