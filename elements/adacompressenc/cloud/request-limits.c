/* adacompressenc: how many requests may be sent, and when (see request-limits.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request-limits.h"

#define MINUTE (60 * G_USEC_PER_SEC)
/* A reference and three trials at once, but no more than a tenth of a minute's. */
#define MOST_BURST 4
#define BURST_SHARE 10

void
ada_limits_init (AdaLimits * limits, guint per_minute, guint64 most)
{
  *limits = (AdaLimits) {.most = most,.burst = 1 };
  if (per_minute == 0)
    return;
  limits->burst = CLAMP (per_minute / BURST_SHARE, 1, MOST_BURST);
  /* A full bucket at the beginning of a minute, and what flows in until its end, are what it may
   * have. */
  limits->interval = MINUTE / (per_minute - limits->burst + 1) + 1;
}

guint64
ada_limits_left (const AdaLimits * limits)
{
  return limits->most == 0 ? G_MAXUINT64 : limits->most - limits->used - limits->promised;
}

gboolean
ada_limits_promise (AdaLimits * limits, guint n)
{
  if (ada_limits_left (limits) < n)
    return FALSE;
  limits->promised += n;
  return TRUE;
}

void
ada_limits_release (AdaLimits * limits, guint n)
{
  limits->promised -= n;
}

gint64
ada_limits_due (const AdaLimits * limits)
{
  return limits->full - (limits->burst - 1) * limits->interval;
}

void
ada_limits_take (AdaLimits * limits, gint64 now)
{
  limits->promised--;
  limits->used++;
  limits->full = MAX (limits->full, now) + limits->interval;
}
