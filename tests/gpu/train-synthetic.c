/* gst-pirl: trains PIRL on the drawn set with nothing but the compute core, and judges it by kNN.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What tests/gpu-check trains with: the same command on two devices, in two precisions, in one go
 * or in two, with and without graphs. Prints one line of JSON: the losses of every step with all
 * their digits, a digest of weights, velocity and bank, the speed, and (--knn) how many held-out
 * pictures the 20 nearest training pictures tell rightly, features compared on the CPU.
 */
#include <math.h>
#include <string.h>
#include <glib/gstdio.h>

#include "learn/knn.h"
#include "learn/trainer.h"
#include "net/embedder.h"
#include "vision/pretext.h"
#include "vision/synthetic.h"

enum { CLASSES = 10, GRID = 3, MARGIN = 32, EMBED_BATCH = 64, KNN_NEIGHBOURS = 20 };
#define KNN_SIGMA 0.1

static struct {
  gchar *device, *precision, *arch, *load, *save;
  gint steps, total, batch, size, width, pictures, held_out, seed, threads;
  gdouble rate, temperature;
  gboolean nce, deterministic, knn;
} opt = { .steps = 10, .batch = 64, .size = 64, .width = 16, .pictures = 500, .held_out = 1000,
  .seed = 1 };

static const GOptionEntry entries[] = {
  { "device", 0, 0, G_OPTION_ARG_STRING, &opt.device, "Where to train (auto)", "NAME" },
  { "precision", 0, 0, G_OPTION_ARG_STRING, &opt.precision, "Of training (auto)", "NAME" },
  { "arch", 0, 0, G_OPTION_ARG_STRING, &opt.arch, "Trunk (resnet18)", "NAME" },
  { "width", 0, 0, G_OPTION_ARG_INT, &opt.width, "Channels of its first stage (16)", "C" },
  { "steps", 0, 0, G_OPTION_ARG_INT, &opt.steps, "Steps to make (10)", "N" },
  { "total", 0, 0, G_OPTION_ARG_INT, &opt.total,
      "Steps that the learning rate is planned for (those to make)", "N" },
  { "batch", 0, 0, G_OPTION_ARG_INT, &opt.batch, "Samples a step (64)", "B" },
  { "size", 0, 0, G_OPTION_ARG_INT, &opt.size, "Side of the image view (64)", "PIXELS" },
  { "pictures", 0, 0, G_OPTION_ARG_INT, &opt.pictures, "To train on (500)", "N" },
  { "held-out", 0, 0, G_OPTION_ARG_INT, &opt.held_out, "To judge by (1000)", "N" },
  { "rate", 0, 0, G_OPTION_ARG_DOUBLE, &opt.rate, "Learning rate (the default's)", "LR" },
  { "nce", 0, 0, G_OPTION_ARG_NONE, &opt.nce, "NCE of temperature .07 in place of InfoNCE", NULL },
  { "seed", 0, 0, G_OPTION_ARG_INT, &opt.seed, "Same seed, same run (1)", "S" },
  { "threads", 0, 0, G_OPTION_ARG_INT, &opt.threads, "Of the CPU (all cores)", "N" },
  { "deterministic", 0, 0, G_OPTION_ARG_NONE, &opt.deterministic, "The same bits every time",
      NULL },
  { "load", 0, 0, G_OPTION_ARG_FILENAME, &opt.load, "Checkpoint to continue from", "FILE" },
  { "save", 0, 0, G_OPTION_ARG_FILENAME, &opt.save, "Checkpoint to leave", "FILE" },
  { "knn", 0, 0, G_OPTION_ARG_NONE, &opt.knn, "Judge the result", NULL },
  { NULL }
};

/* The drawn pictures, the training ones first, and where a batch's views are rendered to. */
typedef struct {
  guint n;
  PirlImage *pictures;
  PirlPretextConfig views;
  gsize image_bytes, patch_bytes;       /* of one sample */
  guint8 *image_views, *patch_views;
  const guint8 **images, **patches;
  guint32 *order, *rows;
  gint *labels;
  guint64 order_epoch;
} Data;

static void
data_init (Data *data)
{
  const gsize side = (gsize) opt.size;

  *data = (Data) { .n = (guint) (opt.pictures + opt.held_out), .order_epoch = G_MAXUINT64 };
  pirl_pretext_config_defaults (&data->views, opt.size, GRID);
  data->views.augment = (PirlAugment) { .brightness = 0.4f, .contrast = 0.4f, .saturation = 0.4f,
    .hue = 0.4f };
  data->image_bytes = side * side * 3;
  data->patch_bytes = (gsize) data->views.patch_size * data->views.patch_size * 3 * GRID * GRID;
  data->pictures = g_new0 (PirlImage, data->n);
  data->image_views = g_malloc (opt.batch * data->image_bytes);
  data->patch_views = g_malloc (opt.batch * data->patch_bytes);
  data->images = g_new (const guint8 *, opt.batch);
  data->patches = g_new (const guint8 *, opt.batch);
  data->order = g_new (guint32, opt.pictures);
  data->rows = g_new (guint32, opt.batch);
  data->labels = g_new (gint, opt.batch);
#pragma omp parallel for
  for (guint i = 0; i < data->n; i++)
    pirl_synthetic_draw (i, CLASSES, opt.size + MARGIN, 0, &data->pictures[i]);
}

static void
data_clear (Data *data)
{
  for (guint i = 0; i < data->n; i++)
    pirl_image_clear (&data->pictures[i]);
  g_free (data->pictures);
  g_free (data->image_views);
  g_free (data->patch_views);
  g_free (data->images);
  g_free (data->patches);
  g_free (data->order);
  g_free (data->rows);
  g_free (data->labels);
}

static void
render_sample (Data *data, guint b, guint32 epoch)
{
  const guint32 row = data->rows[b];
  const PirlImage *picture = &data->pictures[row];
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  PirlPretext pretext;

  pirl_pretext_draw (&data->views, NULL, -1, picture->width, picture->height, (guint64) opt.seed,
      epoch, row, &pretext);
  pirl_pretext_render_image (&data->views, &pretext, resizer, picture,
      data->image_views + b * data->image_bytes);
  pirl_pretext_render_patches (&data->views, &pretext, resizer, picture,
      data->patch_views + b * data->patch_bytes);
}

/* The batch of step @step: whole batches of every epoch, each in its own order. */
static PirlBatch
data_batch (Data *data, guint64 step)
{
  const guint64 steps_of_epoch = (guint64) (opt.pictures / opt.batch);
  const guint64 epoch = step / steps_of_epoch, first = step % steps_of_epoch * (guint64) opt.batch;

  if (data->order_epoch != epoch) {
    PirlRng rng;

    pirl_rng_init (&rng, (guint64) opt.seed, (guint32) epoch, 0, PIRL_PURPOSE_SHUFFLE);
    pirl_rng_permutation (&rng, data->order, (guint32) opt.pictures);
    data->order_epoch = epoch;
  }
  for (guint b = 0; b < (guint) opt.batch; b++) {
    data->rows[b] = data->order[first + b];
    data->labels[b] = pirl_synthetic_label (data->rows[b], CLASSES);
    data->images[b] = data->image_views + b * data->image_bytes;
    data->patches[b] = data->patch_views + b * data->patch_bytes;
  }
#pragma omp parallel for schedule(dynamic)
  for (guint b = 0; b < (guint) opt.batch; b++)
    render_sample (data, b, (guint32) epoch);
  return (PirlBatch) { data->images, data->patches, data->rows, data->labels, (guint32) epoch };
}

static PirlTrainer *
new_trainer (const Data *data, GError **error)
{
  const gdouble rate = opt.rate > 0 ? opt.rate : 0.24 * opt.batch / 256;
  const guint64 total = (guint64) (opt.total > 0 ? opt.total : opt.steps);
  PirlTrainerConfig config;

  pirl_trainer_config_defaults (&config);
  if (!pirl_trunk_from_name (opt.arch ? opt.arch : "resnet18", opt.width, 0.25, &config.trunk,
          error))
    return NULL;
  config.image_size = opt.size;
  config.patch_size = data->views.patch_size;
  config.patches = GRID * GRID;
  config.batch = (guint) opt.batch;
  config.bank_rows = (guint64) opt.pictures;
  config.schedule = (PirlSchedule) { PIRL_SCHEDULE_COSINE, rate, rate / 1000, total / 20, total };
  if (opt.nce) {
    config.loss = PIRL_LOSS_NCE;
    config.temperature = 0.07;
    config.negatives = (guint64) opt.pictures / 2;
  }
  config.seed = (guint64) opt.seed;
  config.device = opt.device ? opt.device : (gchar *) "auto";
  config.precision = opt.precision ? opt.precision : (gchar *) "auto";
  config.n_threads = (guint) opt.threads;
  config.deterministic = opt.deterministic;
  return pirl_trainer_new (&config, error);
}

/* Weights, velocity and bank: what two runs that are the same have the same. */
static gchar *
state_digest (PirlTrainer *trainer, GError **error)
{
  static const PirlArena arenas[] = { PIRL_ARENA_VALUE, PIRL_ARENA_VELOCITY };
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  const gsize n_bank = (gsize) opt.pictures * 128;
  g_autofree gfloat *bank = g_new (gfloat, n_bank);
  PirlParams *params = pirl_trainer_params (trainer);

  for (guint a = 0; a < G_N_ELEMENTS (arenas); a++)
    for (guint i = 0; i < pirl_params_count (params); i++) {
      const gsize n = pirl_shape_count (&pirl_params_spec (params, i)->shape);
      g_autofree gfloat *values = g_new (gfloat, n);

      if (!pirl_params_data (params, arenas[a], i))
        continue;
      if (!pirl_params_read (params, arenas[a], i, values, error))
        return NULL;
      g_checksum_update (sum, (const guchar *) values, (gssize) (n * sizeof *values));
    }
  if (!pirl_trainer_read_bank (trainer, bank, error))
    return NULL;
  g_checksum_update (sum, (const guchar *) bank, (gssize) (n_bank * sizeof *bank));
  return g_strdup (g_checksum_get_string (sum));
}

/* Features of pictures [first, first + n) under a checkpoint. */
static gfloat *
embed (PirlEmbedder *embedder, const Data *data, guint first, guint n, gint *labels,
    GError **error)
{
  const guint dim = pirl_embedder_size (embedder);
  g_autofree gfloat *features = g_new (gfloat, (gsize) n * dim);

  for (guint i = 0; i < n; i += EMBED_BATCH) {
    const PirlImage *pictures[EMBED_BATCH];
    const guint some = MIN (EMBED_BATCH, n - i);

    for (guint j = 0; j < some; j++) {
      pictures[j] = &data->pictures[first + i + j];
      labels[i + j] = pirl_synthetic_label (first + i + j, CLASSES);
    }
    if (!pirl_embedder_run (embedder, pictures, some, features + (gsize) i * dim, error))
      return NULL;
  }
  return g_steal_pointer (&features);
}

/* Negative when it cannot be found. */
static gdouble
judge (const gchar *checkpoint, const Data *data, GError **error)
{
  const guint n = (guint) opt.pictures, n_held_out = (guint) opt.held_out;
  g_autofree gint *labels = g_new (gint, data->n);
  g_autofree gfloat *references = NULL, *queries = NULL;
  g_autoptr (PirlEmbedder) embedder = pirl_embedder_new (checkpoint, "features", "cpu", "f32",
      (guint) opt.threads, EMBED_BATCH, error);

  if (!embedder || !(references = embed (embedder, data, 0, n, labels, error))
      || !(queries = embed (embedder, data, n, n_held_out, labels + n, error)))
    return -1;
  return pirl_knn_accuracy (references, labels, n, queries, labels + n, n_held_out,
      pirl_embedder_size (embedder), KNN_NEIGHBOURS, KNN_SIGMA);
}

static gboolean
judge_trainer (PirlTrainer *trainer, const Data *data, gdouble *knn, GError **error)
{
  g_autofree gchar *path = NULL;
  const gint file = g_file_open_tmp ("train-synthetic-XXXXXX", &path, error);
  const PirlPosition position = { 0 };

  if (file < 0)
    return FALSE;
  g_close (file, NULL);
  *knn = pirl_trainer_save (trainer, path, &position, error) ? judge (path, data, error) : -1;
  g_unlink (path);
  return *knn >= 0;
}

/* The steps; their losses go into @losses. */
static gboolean
train (PirlTrainer *trainer, Data *data, GString *losses, gdouble *seconds, GError **error)
{
  const gint64 start = g_get_monotonic_time ();

  for (gint i = 0; i < opt.steps; i++) {
    const PirlBatch batch = data_batch (data, pirl_trainer_steps (trainer));
    PirlStepStats stats;

    if (!pirl_trainer_step (trainer, &batch, NULL, &stats, error))
      return FALSE;
    g_string_append_printf (losses, "%s%.17g", i ? ", " : "", stats.loss);
  }
  *seconds = (gdouble) (g_get_monotonic_time () - start) / G_USEC_PER_SEC;
  return TRUE;
}

static gboolean
run (Data *data, GError **error)
{
  g_autoptr (PirlTrainer) trainer = new_trainer (data, error);
  g_autoptr (GString) losses = g_string_new (NULL);
  g_autofree gchar *digest = NULL;
  gdouble knn = NAN, seconds = 0;
  PirlPosition position = { 0 };

  if (!trainer || (opt.load && !pirl_trainer_resume (trainer, opt.load, &position, error)))
    return FALSE;
  pirl_position_clear (&position);
  position = (PirlPosition) { 0 };
  if (!train (trainer, data, losses, &seconds, error)
      || !(digest = state_digest (trainer, error))
      || (opt.save && !pirl_trainer_save (trainer, opt.save, &position, error))
      || (opt.knn && !judge_trainer (trainer, data, &knn, error)))
    return FALSE;
  g_print ("{\"device\": \"%s\", \"precision\": \"%s\", \"seed\": %d, \"steps\": %" G_GUINT64_FORMAT
      ", \"seconds\": %.2f, \"images_per_second\": %.0f, ", pirl_trainer_device (trainer),
      opt.precision ? opt.precision : "auto", opt.seed, pirl_trainer_steps (trainer), seconds,
      opt.steps * opt.batch / MAX (seconds, 1e-9));
  if (opt.knn)
    g_print ("\"knn\": %.4f, ", knn);
  g_print ("\"state\": \"%s\", \"losses\": [%s]}\n", digest, losses->str);
  return TRUE;
}

static gboolean
check_options (GError **error)
{
  if (opt.steps >= 1 && opt.batch >= 2 && opt.pictures >= opt.batch && opt.held_out >= 1
      && opt.size >= 28)
    return TRUE;
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, "there must be a step, a batch of 2, "
      "as many pictures as a batch has, one held out, and a size of 28");
  return FALSE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) parser = g_option_context_new ("- train on the drawn set");
  g_autoptr (GError) error = NULL;
  Data data;
  gboolean done;

  g_option_context_add_main_entries (parser, entries, NULL);
  if (!g_option_context_parse (parser, &argc, &argv, &error) || !check_options (&error)) {
    g_printerr ("train-synthetic: %s\n", error->message);
    return 2;
  }
  data_init (&data);
  done = run (&data, &error);
  data_clear (&data);
  if (!done)
    g_printerr ("train-synthetic: %s\n", error->message);
  return done ? 0 : 1;
}
