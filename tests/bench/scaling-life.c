/* gst-pirl: scaling-bench: what a training costs besides its steps: to begin, memory, checkpoints.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A trainer is made, trains, saves and does one more step; it is freed, another one is made,
 * resumes and does that step again, whose loss must be the same to the last bit. Then as many bytes
 * as the checkpoint has are written and flushed by themselves, to compare with.
 */
#include "scaling-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib/gstdio.h>

#define PIECE ((gsize) 1 << 22) /* bytes of a bare write */

typedef struct {
  const ScalingOptions *options;
  PirlTrainerConfig config;
  GString *json;
  gint64 since;                 /* of the phase, microseconds */
  gdouble cpu_since;
} Life;

static void
phase_begin (Life *life)
{
  life->cpu_since = scaling_cpu ();
  life->since = g_get_monotonic_time ();
}

/* Resident memory at most so far, bytes. */
static guint64
peak_memory (void)
{
  struct rusage usage;

  getrusage (RUSAGE_SELF, &usage);
  return (guint64) usage.ru_maxrss * 1024;
}

/* Adds what the phase took, of @n equal pieces one. */
static void
phase_end (Life *life, const gchar *name, gint n)
{
  g_string_append_printf (life->json, ", \"%s\": {\"seconds\": %.6f, \"cpu\": %.6f, \"peak\": %"
      G_GUINT64_FORMAT "}", name,
      (gdouble) (g_get_monotonic_time () - life->since) / G_USEC_PER_SEC / n,
      (scaling_cpu () - life->cpu_since) / n, peak_memory ());
}

static ScalingRun *
make (Life *life, const gchar *name, GError **error)
{
  ScalingRun *run;

  phase_begin (life);
  run = scaling_run_new (&life->config, error);
  phase_end (life, name, 1);
  return run;
}

/* Trains, saves, and gives the loss of one more step. */
static gboolean
live (Life *life, gdouble *loss, GError **error)
{
  g_autoptr (ScalingRun) run = make (life, "begin", error);
  PirlPosition position = { .epoch = 1, .index = 2, .seed = 3 };
  PirlStepStats stats;

  /* The first step also touches memory for the first time. */
  if (!run || !scaling_run_step (run, &stats, error))
    return FALSE;
  phase_begin (life);
  for (gint i = 0; i < life->options->steps; i++)
    if (!scaling_run_step (run, &stats, error))
      return FALSE;
  phase_end (life, "step", life->options->steps);
  phase_begin (life);
  if (!pirl_trainer_save (scaling_run_trainer (run), life->options->file, &position, error))
    return FALSE;
  phase_end (life, "save", 1);
  if (!scaling_run_step (run, &stats, error))
    return FALSE;
  *loss = stats.loss;
  return TRUE;
}

static gboolean
live_again (Life *life, gdouble *loss, GError **error)
{
  g_autoptr (ScalingRun) run = make (life, "begin_again", error);
  PirlPosition position;
  PirlStepStats stats;
  gboolean good;

  if (!run)
    return FALSE;
  phase_begin (life);
  good = pirl_trainer_resume (scaling_run_trainer (run), life->options->file, &position, error);
  phase_end (life, "resume", 1);
  pirl_position_clear (&position);
  if (!good || !scaling_run_step (run, &stats, error))
    return FALSE;
  *loss = stats.loss;
  return TRUE;
}

/* Writes @bytes into @path and flushes them. */
static gboolean
write_bare (const gchar *path, guint64 bytes, GError **error)
{
  g_autofree guint8 *piece = g_malloc0 (PIECE);
  const gint fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  gboolean good = fd >= 0;

  while (good && bytes > 0) {
    const gssize n = write (fd, piece, MIN (bytes, PIECE));

    good = n > 0;
    bytes -= good ? (guint64) n : 0;
  }
  good = good && fsync (fd) == 0;
  if (!good)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write \"%s\": %s", path,
        g_strerror (errno));
  if (fd >= 0)
    close (fd);
  g_unlink (path);
  return good;
}

static gboolean
compare_with_bare (Life *life, GError **error)
{
  g_autofree gchar *path = g_strconcat (life->options->file, ".bare", NULL);
  GStatBuf st;

  if (g_stat (life->options->file, &st) != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "there is no checkpoint \"%s\"",
        life->options->file);
    return FALSE;
  }
  g_string_append_printf (life->json, ", \"bytes\": %" G_GUINT64_FORMAT, (guint64) st.st_size);
  phase_begin (life);
  if (!write_bare (path, (guint64) st.st_size, error))
    return FALSE;
  phase_end (life, "bare_write", 1);
  return TRUE;
}

static gboolean
life_run (Life *life, GError **error)
{
  gdouble loss = 0, again = 0;

  if (!live (life, &loss, error) || !live_again (life, &again, error)
      || !compare_with_bare (life, error))
    return FALSE;
  if (loss == again)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "a step after resuming has the loss %.17g, without a pause it is %.17g", again, loss);
  return FALSE;
}

int
scaling_life (const ScalingOptions *options)
{
  g_autoptr (GString) json = g_string_new (NULL);
  g_autoptr (GError) error = NULL;
  Life life = { .options = options, .json = json };
  gboolean good;

  if (!options->file) {
    g_printerr ("scaling-bench: life needs --file, a name for its checkpoint\n");
    return 2;
  }
  g_string_append_printf (json, "{\"rows\": %" G_GINT64_FORMAT ", \"negatives\": %" G_GINT64_FORMAT
      ", \"batch\": %d, \"arch\": \"%s\", \"width\": %d, \"size\": %d, \"patch\": %d",
      options->rows, options->negatives, options->batch,
      options->arch ? options->arch : "resnet18", options->width, options->size, options->patch);
  good = scaling_config (options, &life.config, &error) && life_run (&life, &error);
  g_unlink (options->file);
  if (!good) {
    g_printerr ("scaling-bench: %s\n", error->message);
    return 1;
  }
  printf ("%s, \"peak\": %" G_GUINT64_FORMAT "}\n", json->str, peak_memory ());
  return 0;
}
