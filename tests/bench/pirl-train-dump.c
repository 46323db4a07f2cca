/* gst-pirl: pirl-train-bench: everything that another program needs to make the same steps, and
 * what they gave here.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tensors: "value:PARAMETER" and "bank" before the first step; of every step "images"
 * [steps,B,S,S,3], "patches" [steps,B,p,P,P,3] (both U8), "rows" [steps,B] or "labels", "negatives"
 * [steps,2,B,K] (of the images, of the patches); "losses" [steps,3]: images, patches, Z / rows.
 * The metadata holds the settings.
 */
#include "pirl-train-bench.h"

#include "base/rng.h"
#include "base/safetensors.h"

typedef struct {
  const BenchOptions *options;
  const PirlTrainerConfig *config;
  PirlTrainer *trainer;
  PirlSafetensorsWriter *writer;
  GPtrArray *memory;            /* until the file is written */
} Dump;

static gpointer
keep (Dump *dump, gpointer memory)
{
  g_ptr_array_add (dump->memory, memory);
  return memory;
}

static void
add (Dump *dump, const gchar *name, PirlDType dtype, PirlShape shape, gconstpointer data)
{
  pirl_safetensors_writer_add (dump->writer, name, dtype, &shape, data);
}

static gboolean
add_start (Dump *dump, GError **error)
{
  const PirlTrainerConfig *config = dump->config;
  PirlParams *params = pirl_trainer_params (dump->trainer);
  gfloat *bank;

  for (guint i = 0; i < pirl_params_count (params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (params, i);
    g_autofree gchar *name = g_strconcat ("value:", spec->name, NULL);
    gfloat *values = keep (dump, g_new (gfloat, pirl_shape_count (&spec->shape)));

    if (!pirl_params_read (params, PIRL_ARENA_VALUE, i, values, error))
      return FALSE;
    add (dump, name, PIRL_DTYPE_F32, spec->shape, values);
  }
  if (config->objective == PIRL_OBJECTIVE_SUPERVISED)
    return TRUE;
  bank = keep (dump, g_new (gfloat, config->bank_rows * (gsize) config->dim));
  add (dump, "bank", PIRL_DTYPE_F32, (PirlShape) { 2, { (gint64) config->bank_rows,
            config->dim } }, bank);
  return pirl_trainer_read_bank (dump->trainer, bank, error);
}

/* PirlDrawDesc, without the sample's own row. */
static void
draw_negatives (const PirlTrainerConfig *config, const PirlBatch *batch, PirlPurpose purpose,
    guint32 *negative)
{
  for (guint b = 0; b < config->batch; b++) {
    PirlRng rng;

    pirl_rng_init (&rng, config->seed, batch->epoch, batch->rows[b], purpose);
    for (guint64 j = 0; j < config->negatives; j++) {
      const guint32 draw = pirl_rng_below (&rng, (guint32) (config->bank_rows - 1));

      *negative++ = draw + (draw >= batch->rows[b]);
    }
  }
}

static gboolean
add_losses (Dump *dump, const BenchData *data, GError **error)
{
  const gint steps = dump->options->steps;
  gdouble *losses = keep (dump, g_new0 (gdouble, 3 * steps));

  for (gint i = 0; i < steps; i++) {
    const PirlBatch batch = bench_data_batch (data, (guint64) i);
    PirlStepStats stats;

    if (!pirl_trainer_step (dump->trainer, &batch, NULL, &stats, error))
      return FALSE;
    losses[3 * i] = dump->config->objective == PIRL_OBJECTIVE_SUPERVISED ? stats.loss
        : stats.loss_image;
    losses[3 * i + 1] = stats.loss_patches;
    losses[3 * i + 2] = stats.z;
    g_print ("step %d: images %.9g, patches %.9g, Z / rows %.9g\n", i + 1, losses[3 * i],
        losses[3 * i + 1], losses[3 * i + 2]);
  }
  add (dump, "losses", PIRL_DTYPE_F64, (PirlShape) { 2, { steps, 3 } }, losses);
  return TRUE;
}

static void
add_batches (Dump *dump, const BenchData *data)
{
  const PirlTrainerConfig *c = dump->config;
  const gint64 steps = dump->options->steps, n = c->batch, side = c->image_size;
  const gsize draws = c->batch * c->negatives;
  guint32 *negative;

  add (dump, "images", PIRL_DTYPE_U8, (PirlShape) { 5, { steps, n, side, side, 3 } },
      data->images);
  if (c->objective == PIRL_OBJECTIVE_SUPERVISED) {
    add (dump, "labels", PIRL_DTYPE_I32, (PirlShape) { 2, { steps, n } }, data->labels);
    return;
  }
  add (dump, "patches", PIRL_DTYPE_U8, (PirlShape) { 6, { steps, n, c->patches, c->patch_size,
            c->patch_size, 3 } }, data->patches);
  add (dump, "rows", PIRL_DTYPE_I32, (PirlShape) { 2, { steps, n } }, data->rows);
  negative = keep (dump, g_new (guint32, 2 * draws * (gsize) steps));
  for (gint64 i = 0; i < steps; i++) {
    const PirlBatch batch = bench_data_batch (data, (guint64) i);

    draw_negatives (c, &batch, PIRL_PURPOSE_NEGATIVES, negative + 2 * draws * (gsize) i);
    draw_negatives (c, &batch, PIRL_PURPOSE_NEGATIVES_PRETEXT,
        negative + (2 * (gsize) i + 1) * draws);
  }
  add (dump, "negatives", PIRL_DTYPE_I32, (PirlShape) { 4, { steps, 2, n,
            (gint64) c->negatives } }, negative);
}

static void
add_settings (Dump *dump)
{
  static const gchar *const heads[] = { "linear", "bn", "mlp" };
  const PirlTrainerConfig *c = dump->config;
  const struct {
    const gchar *name;
    gchar *value;
  } settings[] = {
    { "objective", g_strdup (dump->options->objective ? dump->options->objective : "pirl") },
    { "arch", g_strdup (pirl_trunk_name (&c->trunk)) },
    { "width", g_strdup_printf ("%d", c->trunk.base_width) },
    { "head", g_strdup (heads[c->head]) },
    { "loss", g_strdup (c->loss == PIRL_LOSS_NCE ? "nce" : "infonce") },
    { "temperature", g_strdup_printf ("%.17g", c->temperature) },
    { "lambda", g_strdup_printf ("%.17g", c->lambda) },
    { "bank-momentum", g_strdup_printf ("%.17g", c->bank_momentum) },
    { "learning-rate", g_strdup_printf ("%.17g", c->schedule.base) },
    { "momentum", g_strdup_printf ("%.17g", c->momentum) },
    { "weight-decay", g_strdup_printf ("%.17g", c->weight_decay) },
  };

  for (guint i = 0; i < G_N_ELEMENTS (settings); i++)
    pirl_safetensors_writer_metadata (dump->writer, settings[i].name,
        keep (dump, settings[i].value));
}

gboolean
bench_dump (const BenchOptions *o, GError **error)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) memory = g_ptr_array_new_with_free_func (g_free);
  BenchData data;
  gboolean good;

  if (!bench_config (o, &config, error) || !(trainer = pirl_trainer_new (&config, error)))
    return FALSE;

  Dump dump = { o, &config, trainer, writer, memory };

  bench_data_init (&data, &config, (guint) o->steps);
  add_settings (&dump);
  add_batches (&dump, &data);
  good = add_start (&dump, error) && add_losses (&dump, &data, error)
      && pirl_safetensors_writer_write (writer, o->dump, error);
  bench_data_clear (&data);
  return good;
}
