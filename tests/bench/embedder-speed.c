/* gst-pirl: how long a model file's network takes for one picture.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   embedder-speed MODEL [LAYER [THREADS [RUNS]]]
 *
 * Prints one line of JSON: the best and the median of RUNS (200) forward passes of one picture,
 * without resizing, in milliseconds, on THREADS (1) threads.
 */
#include <stdio.h>
#include <stdlib.h>

#include "net/embedder.h"

static gint
compare_doubles (gconstpointer a, gconstpointer b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

int
main (int argc, char **argv)
{
  const guint threads = argc > 3 ? (guint) atoi (argv[3]) : 1;
  const guint runs = argc > 4 ? (guint) MAX (atoi (argv[4]), 1) : 200;
  g_autofree gdouble *times = g_new (gdouble, runs);
  g_autofree gfloat *out = NULL, *input = NULL;
  g_autoptr (PirlEmbedder) embedder = NULL;
  g_autoptr (GError) error = NULL;
  gint side;

  if (argc < 2) {
    g_printerr ("usage: embedder-speed MODEL [LAYER [THREADS [RUNS]]]\n");
    return 2;
  }
  embedder = pirl_embedder_new (argv[1], argc > 2 && *argv[2] ? argv[2] : NULL, "auto", "auto",
      threads, 1, &error);
  if (!embedder) {
    g_printerr ("%s\n", error->message);
    return 1;
  }
  /* The crop is at most the short side. */
  side = pirl_embedder_short_side (embedder);
  input = g_new (gfloat, (gsize) 3 * side * side);
  for (gsize i = 0; i < (gsize) 3 * side * side; i++)
    input[i] = (gfloat) (i * 37 % 255) / 127.5f - 1;
  out = g_new (gfloat, pirl_embedder_size (embedder));
  for (guint i = 0; i < runs; i++) {
    const gint64 start = g_get_monotonic_time ();

    if (!pirl_embedder_run_floats (embedder, input, out, &error)) {
      g_printerr ("%s\n", error->message);
      return 1;
    }
    times[i] = (gdouble) (g_get_monotonic_time () - start) / 1e3;
  }
  qsort (times, runs, sizeof *times, compare_doubles);
  printf ("{\"model\": \"%s\", \"layer\": \"%s\", \"device\": \"%s\", \"runs\": %u, "
      "\"ms_best\": %.3f, \"ms_median\": %.3f}\n", pirl_embedder_model (embedder), pirl_embedder_layer (embedder),
      pirl_embedder_device (embedder), runs, times[0], times[runs / 2]);
  return 0;
}
