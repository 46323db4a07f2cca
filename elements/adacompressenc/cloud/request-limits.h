/* adacompressenc: how many requests may be sent, and when (private to the client).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * In all: what is begun is promised its requests beforehand, so that it can be sent whole. In a
 * minute: a token bucket of a few tokens, refilled so that no minute, wherever it begins, has more
 * requests than it may. No clock and no lock of its own.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct {
  guint64 most;                 /* requests in all; 0 = no limit */
  guint64 used, promised;
  gint64 interval;              /* us between tokens; 0 = no limit */
  guint burst;                  /* tokens that the bucket holds */
  gint64 full;                  /* us: when the bucket is full again */
} AdaLimits;

/** @per_minute, @most: 0 = no limit. */
void ada_limits_init (AdaLimits * limits, guint per_minute, guint64 most);
/** Requests that nobody was promised yet. */
guint64 ada_limits_left (const AdaLimits * limits);
/** Sets @n aside; FALSE when there are fewer. */
gboolean ada_limits_promise (AdaLimits * limits, guint n);
/** @n of the promised ones are not needed. */
void ada_limits_release (AdaLimits * limits, guint n);
/** When the next request may leave, in us of the clock of ada_limits_take(). */
gint64 ada_limits_due (const AdaLimits * limits);
/** A promised request leaves @now. */
void ada_limits_take (AdaLimits * limits, gint64 now);

G_END_DECLS
