/* gst-pirl: how fast a training step is, with pictures that are decoded already.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   pirl-train-bench --device cuda --precision fp16 --batch 256 --parts --json FILE
 *   pirl-train-bench --device cuda --objective supervised
 *   pirl-train-bench --device cuda --layers          every unit against the card's measured rates
 *   pirl-train-bench --device cpu --size 64 --patch 32 --batch 8 --bank 512 --negatives 64
 *     --dump FILE                                    for peers/pirl_train.py --check FILE
 *
 * The step is PIRL's as published: ResNet-50, an image of 224 and 9 patches of 64 a sample, linear
 * heads, NCE against 32,000 negatives of a bank of ImageNet's 1,281,167 rows, SGD.
 */
#include "pirl-train-bench.h"

#include <string.h>

static BenchOptions opt = {
  .width = 64, .batch = 256, .size = 224, .patch = 64, .patches = 9, .windows = 7, .steps = 10,
  .warmup = 10, .copy_mb = 1024, .matrix = 8192, .negatives = 32000, .bank = 1281167,
  .rate = 1e-6,
};

static const GOptionEntry entries[] = {
  { "device", 0, 0, G_OPTION_ARG_STRING, &opt.device, "Device (auto)", "NAME" },
  { "precision", 0, 0, G_OPTION_ARG_STRING, &opt.precision, "f32, tf32, bf16, fp16 (auto)",
      "NAME" },
  { "bank-precision", 0, 0, G_OPTION_ARG_STRING, &opt.bank_precision,
      "Of the bank's rows: f32, fp16 (auto)", "NAME" },
  { "objective", 0, 0, G_OPTION_ARG_STRING, &opt.objective, "pirl or supervised (pirl)", "NAME" },
  { "arch", 0, 0, G_OPTION_ARG_STRING, &opt.arch, "Trunk (resnet50)", "NAME" },
  { "width", 0, 0, G_OPTION_ARG_INT, &opt.width, "Channels of its first stage (64)", "C" },
  { "head", 0, 0, G_OPTION_ARG_STRING, &opt.head, "linear, bn or mlp (linear)", "NAME" },
  { "loss", 0, 0, G_OPTION_ARG_STRING, &opt.loss, "nce or infonce (nce)", "NAME" },
  { "batch", 0, 0, G_OPTION_ARG_INT, &opt.batch, "Samples a step (256)", "B" },
  { "size", 0, 0, G_OPTION_ARG_INT, &opt.size, "Side of the image view (224)", "PIXELS" },
  { "patch", 0, 0, G_OPTION_ARG_INT, &opt.patch, "Side of a patch (64)", "PIXELS" },
  { "patches", 0, 0, G_OPTION_ARG_INT, &opt.patches, "Patches a sample (9)", "N" },
  { "negatives", 0, 0, G_OPTION_ARG_INT64, &opt.negatives, "Of the loss (32000)", "K" },
  { "bank", 0, 0, G_OPTION_ARG_INT64, &opt.bank, "Rows of the memory bank (1281167)", "N" },
  { "rate", 0, 0, G_OPTION_ARG_DOUBLE, &opt.rate, "Learning rate (1e-6)", "LR" },
  { "warm-up", 0, 0, G_OPTION_ARG_INT, &opt.warmup, "Steps that are not timed (10)", "N" },
  { "windows", 0, 0, G_OPTION_ARG_INT, &opt.windows, "Timed windows (7)", "N" },
  { "steps", 0, 0, G_OPTION_ARG_INT, &opt.steps, "Steps of a window, or of --dump (10)", "N" },
  { "threads", 0, 0, G_OPTION_ARG_INT, &opt.threads, "Of the CPU (all cores)", "N" },
  { "deterministic", 0, 0, G_OPTION_ARG_NONE, &opt.deterministic, "The same bits every time",
      NULL },
  { "parts", 0, 0, G_OPTION_ARG_NONE, &opt.parts, "Also contrast and optimiser by themselves",
      NULL },
  { "layers", 0, 0, G_OPTION_ARG_NONE, &opt.layers, "The trunk's units in place of whole steps",
      NULL },
  { "copy-mb", 0, 0, G_OPTION_ARG_INT, &opt.copy_mb, "Size of the copy that is timed (1024)",
      "MB" },
  { "matrix", 0, 0, G_OPTION_ARG_INT, &opt.matrix, "Side of the product that is timed (8192)",
      "N" },
  { "copy-rate", 0, 0, G_OPTION_ARG_DOUBLE, &opt.copy_rate,
      "GB/s of a copy, where another program measured more", "R" },
  { "matrix-rate", 0, 0, G_OPTION_ARG_DOUBLE, &opt.matrix_rate,
      "TFLOP/s of a product, likewise", "R" },
  { "dump", 0, 0, G_OPTION_ARG_FILENAME, &opt.dump,
      "Write inputs and losses of some steps, for peers/pirl_train.py --check", "FILE" },
  { "json", 0, 0, G_OPTION_ARG_FILENAME, &opt.json, "Write the results as JSON", "FILE" },
  { NULL }
};

/* The position of @name in @names; the first for NULL. */
static gint
choice (const gchar *what, const gchar *name, const gchar *const *names, GError **error)
{
  g_autofree gchar *known = NULL;

  if (!name)
    return 0;
  for (gint i = 0; names[i]; i++)
    if (strcmp (names[i], name) == 0)
      return i;
  known = g_strjoinv (", ", (gchar **) names);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "there is no %s \"%s\"; there are %s", what,
      name, known);
  return -1;
}

gboolean
bench_config (const BenchOptions *o, PirlTrainerConfig *config, GError **error)
{
  static const gchar *const objectives[] = { "pirl", "supervised", NULL };
  static const gchar *const heads[] = { "linear", "bn", "mlp", NULL };
  static const gchar *const losses[] = { "nce", "infonce", NULL };
  const gint objective = choice ("objective", o->objective, objectives, error);
  const gint head = objective < 0 ? -1 : choice ("head", o->head, heads, error);
  const gint loss = head < 0 ? -1 : choice ("loss", o->loss, losses, error);

  pirl_trainer_config_defaults (config);
  if (loss < 0 || !pirl_trunk_from_name (o->arch ? o->arch : "resnet50", o->width, 1,
          &config->trunk, error))
    return FALSE;
  config->objective = objective == 0 ? PIRL_OBJECTIVE_PIRL : PIRL_OBJECTIVE_SUPERVISED;
  config->classes = 1000;
  config->head = (PirlHead) head;
  config->image_size = o->size;
  config->patch_size = o->patch;
  config->patches = o->patches;
  config->batch = (guint) o->batch;
  config->loss = (PirlLoss) loss;
  config->temperature = 0.07;
  config->negatives = (guint64) o->negatives;
  config->bank_update = PIRL_BANK_AFTER;
  config->bank_rows = (guint64) o->bank;
  config->bn_statistics = PIRL_BN_BOTH;
  config->schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, o->rate, o->rate, 0, 0 };
  config->seed = 1;
  config->device = o->device ? o->device : (gchar *) "auto";
  config->precision = o->precision ? o->precision : (gchar *) "auto";
  config->bank_precision = o->bank_precision ? o->bank_precision : (gchar *) "auto";
  config->n_threads = (guint) o->threads;
  config->deterministic = o->deterministic;
  return TRUE;
}

static gboolean
run (GString *json, GError **error)
{
  if (opt.dump)
    return bench_dump (&opt, error);
  if (opt.layers)
    return bench_layers (&opt, json, error);
  return bench_steps (&opt, json, error) && (!opt.parts || bench_parts (&opt, json, error));
}

static gboolean
check_options (GError **error)
{
  if (MIN (MIN (opt.batch, opt.windows), MIN (opt.steps, opt.copy_mb)) >= 1 && opt.matrix >= 64
      && opt.bank >= opt.batch)
    return TRUE;
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, "--batch, --windows, --steps and "
      "--copy-mb must be at least 1, --matrix 64, --bank as large as the batch");
  return FALSE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) parser = g_option_context_new ("- time training steps");
  g_autoptr (GString) json = g_string_new ("{\"program\": \"gst-pirl\"");
  g_autoptr (GError) error = NULL;

  g_option_context_add_main_entries (parser, entries, NULL);
  if (!g_option_context_parse (parser, &argc, &argv, &error) || !check_options (&error)) {
    g_printerr ("pirl-train-bench: %s\n", error->message);
    return 2;
  }
  if (!run (json, &error)) {
    g_printerr ("pirl-train-bench: %s\n", error->message);
    return 1;
  }
  g_string_append (json, "}\n");
  if (opt.json && !opt.dump
      && !g_file_set_contents (opt.json, json->str, (gssize) json->len, &error)) {
    g_printerr ("pirl-train-bench: %s\n", error->message);
    return 1;
  }
  return 0;
}
