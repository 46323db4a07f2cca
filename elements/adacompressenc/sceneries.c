/* adacompressenc: the agents of earlier sceneries (see sceneries.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sceneries.h"

#include <math.h>
#include <string.h>

/* An agent is taken when at least LEAST of its choices were answered and their agreement is not
 * below target - SLACK (of 60: three refusals at a target of .95). After MOST it has had its
 * chance. */
#define LEAST 60
#define MOST 120
#define SLACK 0.01

static void
scenery_clear (AdaScenery * scenery)
{
  g_clear_pointer (&scenery->agent, ada_policy_unref);
  g_clear_pointer (&scenery->centre, g_free);
}

void
ada_sceneries_clear (AdaSceneries * sceneries)
{
  for (guint i = 0; i < sceneries->count; i++)
    scenery_clear (&sceneries->scenery[i]);
  memset (sceneries, 0, sizeof *sceneries);
}

AdaScenery *
ada_sceneries_find (AdaSceneries * sceneries, guint number)
{
  for (guint i = 0; i < sceneries->count; i++)
    if (sceneries->scenery[i].number == number)
      return &sceneries->scenery[i];
  return NULL;
}

/* A free place, or that of the one that was not used for longest. */
static AdaScenery *
make_room (AdaSceneries * sceneries)
{
  AdaScenery *oldest = &sceneries->scenery[0];

  if (sceneries->count < ADA_SCENERIES)
    return &sceneries->scenery[sceneries->count++];
  for (guint i = 1; i < sceneries->count; i++)
    if (sceneries->scenery[i].used < oldest->used)
      oldest = &sceneries->scenery[i];
  scenery_clear (oldest);
  return oldest;
}

guint
ada_sceneries_put (AdaSceneries * sceneries, guint number, AdaPolicy * agent,
    const gdouble * centre, guint n)
{
  AdaScenery *scenery = number > 0 ? ada_sceneries_find (sceneries, number) : NULL;

  if (scenery == NULL) {
    scenery = make_room (sceneries);
    memset (scenery, 0, sizeof *scenery);
    scenery->number = ++sceneries->numbers;
  }
  g_clear_pointer (&scenery->agent, ada_policy_unref);
  scenery->agent = agent;
  scenery->used = ++sceneries->clock;
  if (centre != NULL) {
    g_free (scenery->centre);
    scenery->centre = g_new (gdouble, n);
    memcpy (scenery->centre, centre, sizeof (gdouble) * n);
    scenery->n = n;
  }
  return scenery->number;
}

void
ada_sceneries_begin (AdaSceneries * sceneries)
{
  for (guint i = 0; i < sceneries->count; i++) {
    sceneries->scenery[i].tried = 0;
    sceneries->scenery[i].agreed = sceneries->scenery[i].size = 0;
  }
}

/* FALSE when what is left of its chance cannot make up for what it has missed. */
static gboolean
worth_trying (const AdaScenery * scenery)
{
  return scenery->tried < MOST && scenery->tried - scenery->agreed <= 0.15 * MOST;
}

static gdouble
distance (const AdaScenery * scenery, const gfloat * features)
{
  gdouble sum = 0;

  if (features == NULL || scenery->centre == NULL)
    return INFINITY;
  for (guint i = 0; i < scenery->n; i++) {
    const gdouble off = features[i] - scenery->centre[i];

    sum += off * off;
  }
  return sum;
}

guint
ada_sceneries_candidates (const AdaSceneries * sceneries, const gfloat * features, guint n,
    AdaPolicy ** agents)
{
  gdouble away[ADA_SCENERIES];
  guint order[ADA_SCENERIES], count = 0;

  for (guint i = 0; i < sceneries->count; i++) {
    const gdouble d = distance (&sceneries->scenery[i], features);
    guint at = count;

    if (!worth_trying (&sceneries->scenery[i]))
      continue;
    for (; at > 0 && away[at - 1] > d; at--) {
      away[at] = away[at - 1];
      order[at] = order[at - 1];
    }
    away[at] = d;
    order[at] = i;
    count++;
  }
  count = MIN (count, n);
  for (guint i = 0; i < count; i++)
    agents[i] = ada_policy_ref (sceneries->scenery[order[i]].agent);
  return count;
}

guint
ada_sceneries_judge (AdaSceneries * sceneries, const AdaObservation * observation,
    const gfloat * outcome, gdouble target)
{
  AdaScenery *best = NULL;

  for (guint i = 0; i < sceneries->count; i++) {
    AdaScenery *scenery = &sceneries->scenery[i];
    guint level;
    gdouble agreed;

    if (!worth_trying (scenery))
      continue;
    level = scenery->agent->class->choose (scenery->agent, observation, FALSE, NULL);
    agreed = level + 1 == observation->levels ? 1 : outcome[level];
    if (agreed < 0)
      continue;
    scenery->tried++;
    scenery->agreed += agreed;
    scenery->size += observation->sizes[level];
    if (scenery->tried >= LEAST && scenery->agreed >= (target - SLACK) * scenery->tried
        && (best == NULL || scenery->size / scenery->tried < best->size / best->tried))
      best = scenery;
  }
  if (best == NULL)
    return 0;
  best->used = ++sceneries->clock;
  return best->number;
}
