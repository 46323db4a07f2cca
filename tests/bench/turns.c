/* gst-pirl: programs that tests/bench/run times in turns (see turns.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "turns.h"

#include <stdio.h>
#include <time.h>

static gdouble
seconds_of (clockid_t clock)
{
  struct timespec now;

  clock_gettime (clock, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

static gboolean
one_turn (const gchar * name, TurnFunc func, gpointer data)
{
  const gdouble wall = seconds_of (CLOCK_MONOTONIC), cpu = seconds_of (CLOCK_PROCESS_CPUTIME_ID);
  g_autoptr (GError) error = NULL;
  Turn turn = { 0 };

  if (!func (data, &turn, &error)) {
    g_printerr ("%s: %s\n", name, error->message);
    return FALSE;
  }
  printf ("{\"items\": %" G_GUINT64_FORMAT ", \"seconds\": %.6f, \"cpu\": %.6f, "
      "\"check\": %.9g%s}\n", turn.items, seconds_of (CLOCK_MONOTONIC) - wall,
      seconds_of (CLOCK_PROCESS_CPUTIME_ID) - cpu, turn.check, turn.more ? turn.more : "");
  g_free (turn.more);
  fflush (stdout);
  return TRUE;
}

int
turns_serve (const gchar * name, TurnFunc func, gpointer data)
{
  gchar line[16];

  do {
    if (!one_turn (name, func, data))
      return 1;
  } while (fgets (line, sizeof line, stdin) != NULL);
  return 0;
}
