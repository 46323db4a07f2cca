/* gst-pirl: how cost grows with the data set, the memory bank and the negatives.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   scaling-bench steps    --rows N --negatives K   turns (turns.h) of training steps; "parts" has
 *                                                   the CPU seconds of what depends on the bank
 *   scaling-bench contrast --rows N --negatives K   turns of drawing negatives and contrasting with
 *                                                   them; K = N - 1: all rows, none drawn
 *   scaling-bench life     --rows N --negatives K   makes a trainer, trains, saves, resumes in
 *                                                   another one, trains; one line of JSON: seconds,
 *                                                   CPU seconds, bytes, memory at most
 *
 * Everything but what the options say is at the elements' defaults: 128 numbers a row, InfoNCE,
 * head "bn". Pictures are noise and lie ready. All times that are compared are of the CPU, on one
 * thread unless --threads says otherwise. tests/bench/scaling runs this program.
 */
#include "scaling-bench.h"

#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "pirl-train-bench.h"

/* Different batches of pictures. */
#define BATCHES 3

static ScalingOptions opt = {
  .width = 8, .size = 32, .patch = 9, .batch = 32, .steps = 2, .threads = 1, .rows = 1000,
  .negatives = 500,
};

static const GOptionEntry entries[] = {
  { "rows", 0, 0, G_OPTION_ARG_INT64, &opt.rows, "Of the memory bank (1000)", "N" },
  { "negatives", 0, 0, G_OPTION_ARG_INT64, &opt.negatives, "Of a sample (500)", "K" },
  { "batch", 0, 0, G_OPTION_ARG_INT, &opt.batch, "Samples a step (32)", "B" },
  { "steps", 0, 0, G_OPTION_ARG_INT, &opt.steps, "Of a turn, or of a life before it saves (2)",
      "N" },
  { "arch", 0, 0, G_OPTION_ARG_STRING, &opt.arch, "Trunk (resnet18)", "NAME" },
  { "width", 0, 0, G_OPTION_ARG_INT, &opt.width, "Channels of its first stage (8)", "C" },
  { "size", 0, 0, G_OPTION_ARG_INT, &opt.size, "Side of the image view (32)", "PIXELS" },
  { "patch", 0, 0, G_OPTION_ARG_INT, &opt.patch, "Side of a patch (9)", "PIXELS" },
  { "threads", 0, 0, G_OPTION_ARG_INT, &opt.threads, "Of the computation (1)", "N" },
  { "bare", 0, 0, G_OPTION_ARG_NONE, &opt.bare,
      "contrast: also read as many rows and do nothing with them", NULL },
  { "file", 0, 0, G_OPTION_ARG_FILENAME, &opt.file, "life: the checkpoint; removed at the end",
      "FILE" },
  { NULL }
};

gdouble
scaling_cpu (void)
{
  struct timespec now;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

gboolean
scaling_config (const ScalingOptions *o, PirlTrainerConfig *config, GError **error)
{
  pirl_trainer_config_defaults (config);
  if (!pirl_trunk_from_name (o->arch ? o->arch : "resnet18", o->width, 1, &config->trunk, error))
    return FALSE;
  config->image_size = o->size;
  config->patch_size = o->patch;
  config->batch = (guint) o->batch;
  config->negatives = (guint64) o->negatives;
  config->bank_rows = (guint64) o->rows;
  config->schedule = (PirlSchedule) { .kind = PIRL_SCHEDULE_CONSTANT, .base = 1e-6, .end = 1e-6 };
  config->seed = 1;
  config->device = (gchar *) "cpu";
  config->n_threads = (guint) o->threads;
  return TRUE;
}

void
scaling_draw_rows (guint32 *rows_of_batch, guint batch, guint64 rows, guint64 number)
{
  const guint32 share = (guint32) (rows / batch);
  PirlRng rng;

  pirl_rng_init (&rng, 1, 0, number, PIRL_PURPOSE_TEST);
  /* One of each share: a batch has a row only once. */
  for (guint b = 0; b < batch; b++)
    rows_of_batch[b] = b * share + pirl_rng_below (&rng, share);
}

/* ---- a trainer with pictures ---------------------------------------------------------------- */

struct _ScalingRun {
  PirlTrainer *trainer;
  BenchData data;
  guint64 bank_rows;
  guint32 *rows;                /* of a batch */
};

ScalingRun *
scaling_run_new (const PirlTrainerConfig *config, GError **error)
{
  g_autoptr (PirlTrainer) trainer = pirl_trainer_new (config, error);
  ScalingRun *run;

  if (!trainer)
    return NULL;
  run = g_new0 (ScalingRun, 1);
  run->trainer = g_steal_pointer (&trainer);
  run->bank_rows = config->bank_rows;
  run->rows = g_new (guint32, config->batch);
  bench_data_init (&run->data, config, BATCHES);
  return run;
}

void
scaling_run_free (ScalingRun *run)
{
  pirl_trainer_free (run->trainer);
  bench_data_clear (&run->data);
  g_free (run->rows);
  g_free (run);
}

PirlTrainer *
scaling_run_trainer (ScalingRun *run)
{
  return run->trainer;
}

gboolean
scaling_run_step (ScalingRun *run, PirlStepStats *stats, GError **error)
{
  const guint64 step = pirl_trainer_steps (run->trainer);
  PirlBatch batch = bench_data_batch (&run->data, step);

  scaling_draw_rows (run->rows, run->data.batch, run->bank_rows, step);
  batch.rows = run->rows;
  /* Another epoch draws other negatives for the same sample. */
  batch.epoch = (guint32) step;
  return pirl_trainer_step (run->trainer, &batch, NULL, stats, error);
}

/* ---- options -------------------------------------------------------------------------------- */

static gboolean
check_options (GError **error)
{
  if (MIN (MIN (opt.batch, opt.steps), opt.threads) >= 1 && opt.negatives >= 1
      && opt.rows >= opt.batch && opt.rows <= G_MAXUINT32 && opt.negatives < opt.rows)
    return TRUE;
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, "--batch, --steps, --threads and "
      "--negatives must be at least 1, --rows above --negatives, not below --batch");
  return FALSE;
}

int
main (int argc, char **argv)
{
  static const struct {
    const gchar *name;
    int (*run) (const ScalingOptions *options);
  } modes[] = { {"steps", scaling_steps}, {"contrast", scaling_contrast}, {"life", scaling_life} };
  g_autoptr (GOptionContext) parser = g_option_context_new ("steps|contrast|life");
  g_autoptr (GError) error = NULL;

  g_option_context_add_main_entries (parser, entries, NULL);
  if (!g_option_context_parse (parser, &argc, &argv, &error) || !check_options (&error)) {
    g_printerr ("scaling-bench: %s\n", error->message);
    return 2;
  }
  for (guint i = 0; argc == 2 && i < G_N_ELEMENTS (modes); i++)
    if (strcmp (argv[1], modes[i].name) == 0)
      return modes[i].run (&opt);
  g_printerr ("usage: scaling-bench steps|contrast|life [options]; --help lists them\n");
  return 2;
}
