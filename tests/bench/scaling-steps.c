/* gst-pirl: scaling-bench: training steps, and what of them depends on the memory bank.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The parts are timed where they happen, inside of a step, since the network between them pushes
 * the bank out of the near caches: the trainer's device gets a table of operations of which a few
 * look at the clock before and after. That needs a look at the trainer's inside.
 */
#include "scaling-bench.h"

#include "learn/private.h"

enum { PART_DRAW, PART_CONTRAST, PART_BANK, PART_OPTIMISER, N_PARTS };

static const gchar *const part_names[N_PARTS] = { "draw", "contrast", "bank", "optimiser" };

static const PirlBackend *plain;        /* the device's own table */
static gdouble spent[N_PARTS];          /* CPU seconds */

static gboolean
timed_draw (PirlDevice *device, const PirlDrawDesc *desc, const guint32 *positive,
    guint32 *negative, GError **error)
{
  const gdouble start = scaling_cpu ();
  const gboolean good = plain->draw (device, desc, positive, negative, error);

  spent[PART_DRAW] += scaling_cpu () - start;
  return good;
}

static gboolean
timed_contrast (PirlDevice *device, const PirlContrastDesc *desc, gconstpointer embedding,
    gconstpointer bank, const guint32 *positive, const guint32 *negative, gpointer d_embedding,
    PirlContrastStats *stats, GError **error)
{
  const gdouble start = scaling_cpu ();
  const gboolean good = plain->contrast (device, desc, embedding, bank, positive, negative,
      d_embedding, stats, error);

  spent[PART_CONTRAST] += scaling_cpu () - start;
  return good;
}

static gboolean
timed_bank_update (PirlDevice *device, gpointer bank, PirlDType bank_dtype, guint dim, guint batch,
    const guint32 *positive, const gfloat *momentum, gconstpointer embedding, GError **error)
{
  const gdouble start = scaling_cpu ();
  const gboolean good = plain->bank_update (device, bank, bank_dtype, dim, batch, positive,
      momentum, embedding, error);

  spent[PART_BANK] += scaling_cpu () - start;
  return good;
}

static gboolean
timed_rows (PirlDevice *device, gpointer table, gpointer aside, gsize row_bytes, guint n,
    const guint32 *row, gboolean back, GError **error)
{
  const gdouble start = scaling_cpu ();
  const gboolean good = plain->rows (device, table, aside, row_bytes, n, row, back, error);

  spent[PART_BANK] += scaling_cpu () - start;
  return good;
}

static gboolean
timed_sgd (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
    gpointer velocity, gdouble lr, gdouble momentum, gdouble weight_decay, gboolean nesterov,
    GError **error)
{
  const gdouble start = scaling_cpu ();
  const gboolean good = plain->sgd (device, n, weights, gradients, velocity, lr, momentum,
      weight_decay, nesterov, error);

  spent[PART_OPTIMISER] += scaling_cpu () - start;
  return good;
}

static void
watch_parts (PirlTrainer *trainer)
{
  static PirlBackend timed;

  plain = trainer->device->backend;
  timed = *plain;
  timed.draw = timed_draw;
  timed.contrast = timed_contrast;
  timed.bank_update = timed_bank_update;
  timed.rows = timed_rows;
  timed.sgd = timed_sgd;
  trainer->device->backend = &timed;
}

typedef struct {
  const ScalingOptions *options;
  ScalingRun *run;
} Steps;

static gboolean
steps_turn (gpointer data, Turn *turn, GError **error)
{
  const Steps *steps = data;
  GString *more = g_string_new (", \"parts\": {");
  PirlStepStats stats;

  for (guint p = 0; p < N_PARTS; p++)
    spent[p] = 0;
  for (gint i = 0; i < steps->options->steps; i++)
    if (!scaling_run_step (steps->run, &stats, error)) {
      g_string_free (more, TRUE);
      return FALSE;
    }
  turn->items = (guint64) steps->options->steps * (guint64) steps->options->batch;
  for (guint p = 0; p < N_PARTS; p++)
    g_string_append_printf (more, "%s\"%s\": %.9f", p ? ", " : "", part_names[p], spent[p]);
  turn->more = g_string_free (g_string_append_c (more, '}'), FALSE);
  return TRUE;
}

int
scaling_steps (const ScalingOptions *options)
{
  g_autoptr (ScalingRun) run = NULL;
  g_autoptr (GError) error = NULL;
  PirlTrainerConfig config;
  Steps steps = { options, NULL };

  if (!scaling_config (options, &config, &error)
      || !(run = steps.run = scaling_run_new (&config, &error))) {
    g_printerr ("scaling-bench: %s\n", error->message);
    return 1;
  }
  watch_parts (scaling_run_trainer (run));
  return turns_serve ("scaling-bench", steps_turn, &steps);
}
