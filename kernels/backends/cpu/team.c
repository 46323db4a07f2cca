/* gst-pirl: OpenMP's waiting threads give up their core soon.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A thread that waits for the rest of its team spins, in libgomp for 300,000 rounds (some 10 ms),
 * except when libgomp knows of more threads than there are cores: then for 1,000. It only counts
 * its own threads. Ours share the cores with decoders and GStreamer's, so that a spinning thread
 * keeps the core from the one that it waits for: on two busy cores, training ran at a sixth of its
 * speed. OMP_WAIT_POLICY is read when the process starts, too early for a plugin. So one team as
 * large as the machine is made and left asleep, for libgomp to count.
 */
#include "backends/cpu/cpu.h"

#include <omp.h>
#include <unistd.h>

static volatile gint team_size;

static gpointer
sleep_with_team (gpointer data)
{
  gint *ready = data;

#pragma omp parallel num_threads (omp_get_num_procs ())
  if (omp_get_thread_num () == 0)
    team_size = omp_get_num_threads ();
  g_atomic_int_set (ready, 1);
  for (;;)
    pause ();
  return NULL;
}

void
pirl_cpu_wait_patiently (void)
{
  static gsize done = 0;
  static gint ready;

  if (!g_once_init_enter (&done))
    return;
  if (omp_get_num_procs () > 1 && !g_getenv ("OMP_WAIT_POLICY") && !g_getenv ("GOMP_SPINCOUNT")) {
    GThread *thread = g_thread_try_new ("pirl-omp", sleep_with_team, &ready, NULL);

    while (thread && !g_atomic_int_get (&ready))
      g_usleep (100);
    g_clear_pointer (&thread, g_thread_unref);
  }
  g_once_init_leave (&done, 1);
}
