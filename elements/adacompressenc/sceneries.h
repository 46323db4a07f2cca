/* adacompressenc: the agents of earlier sceneries (private to the controller).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * After an alarm every remembered agent says what it would have chosen for the first frames that
 * are asked about; one whose choices agreed as they should is taken. Nearest in features first. */
#pragma once

#include "policy.h"

G_BEGIN_DECLS

#define ADA_SCENERIES 8

typedef struct {
  AdaPolicy *agent;
  guint number;                 /* 1, 2, ... in the order they were met */
  guint64 used;                 /* a clock: the least lately used goes first */
  gdouble *centre;              /* of the features; NULL = not known */
  guint n;
  guint tried;                  /* since the last alarm */
  gdouble agreed, size;
} AdaScenery;

typedef struct {
  AdaScenery scenery[ADA_SCENERIES];
  guint count, numbers;
  guint64 clock;
} AdaSceneries;

void ada_sceneries_clear (AdaSceneries * sceneries);
/** Remembers @agent (transfer full) as @number's, or as a new one's (0); returns its number. */
guint ada_sceneries_put (AdaSceneries * sceneries, guint number, AdaPolicy * agent,
    const gdouble * centre, guint n);
/** After an alarm: all have to prove themselves. */
void ada_sceneries_begin (AdaSceneries * sceneries);
/** At most @n agents still worth trying on a frame with @features (may be NULL), nearest first;
 * references taken. */
guint ada_sceneries_candidates (const AdaSceneries * sceneries, const gfloat * features, guint n,
    AdaPolicy ** agents);
/** Judges every agent by an answered frame. The number of one that proved itself, or 0. */
guint ada_sceneries_judge (AdaSceneries * sceneries, const AdaObservation * observation,
    const gfloat * outcome, gdouble target);
/** Borrowed; NULL when it is not known. */
AdaScenery *ada_sceneries_find (AdaSceneries * sceneries, guint number);

G_END_DECLS
