/* gst-pirl: learning-rate schedules.
 *
 * Warm-up: base (step + 1) / warmup. Cosine (SGDR; PyTorch's CosineAnnealingLR with T_max = steps
 * after warm-up - 1): end + (base - end) (1 + cos (pi t / T_max)) / 2, so that the last step has
 * exactly @end. Step: times 0.1 at 3/5 and 4/5 of the whole run.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/schedule.h"

#include <math.h>

static gdouble
cosine_at (const PirlSchedule *schedule, guint64 step)
{
  const guint64 first = MIN (schedule->warmup, schedule->total);
  const guint64 steps = schedule->total - first;
  const gdouble t = steps > 1 ? MIN (1.0, (gdouble) (step - first) / (gdouble) (steps - 1)) : 0;

  return schedule->end + (schedule->base - schedule->end) * (1 + cos (G_PI * t)) / 2;
}

static gdouble
step_at (const PirlSchedule *schedule, guint64 step)
{
  gdouble rate = schedule->base;

  /* Compared as fractions, so that no rounding decides. */
  for (guint64 fifth = 3; fifth <= 4; fifth++)
    if ((gdouble) step * 5 >= (gdouble) schedule->total * (gdouble) fifth)
      rate *= 0.1;
  return rate;
}

gdouble
pirl_schedule_at (const PirlSchedule *schedule, guint64 step)
{
  if (step < schedule->warmup)
    return schedule->base * (gdouble) (step + 1) / (gdouble) schedule->warmup;
  if (schedule->total == 0 || schedule->kind == PIRL_SCHEDULE_CONSTANT)
    return schedule->base;
  return schedule->kind == PIRL_SCHEDULE_COSINE ? cosine_at (schedule, step)
      : step_at (schedule, step);
}
