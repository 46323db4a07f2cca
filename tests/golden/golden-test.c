/* gst-pirl: ten steps of every objective, three of learning from labels, against PyTorch.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Usage: golden-test DEVICE FIXTURE...
 * The fixtures come from make-resnet18.py, make-supervised.py and make-objectives.py, which say
 * what is in them and by what recipes both programs draw the same pictures, weights, memory bank
 * and negatives. Compared are losses and, by norm and 64 elements, every gradient, velocity, parameter
 * (those of moco's key network too), running statistic and the bank.
 *
 * Tolerances, relative to a tensor's norm. The reference computes in double, as PyTorch did for the
 * fixtures: 1e-6 from the first step to the last, near the fixtures' own precision. Others compute
 * in float: 3e-4 in the first step (PyTorch in float32 is 9e-5 away in the narrow MobileNetV2, 3e-6
 * in the ResNet). Later a ReLU whose input is zero to seven digits may open in one program and not
 * in the other; one such moves the gradient of a small tensor by some percent (measured in PyTorch,
 * float32 against float64), so that later tensors have to be near, not equal; the losses of all
 * steps must agree to 1e-3.
 */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/safetensors.h"
#include "learn/trainer.h"

enum { IMAGE = 64, PATCH = 32, PATCHES = 9, BATCH = 8, CELL = 8, STEPS = 10, PICTURES = 64,
  SUPERVISED_STEPS = 3, CLASSES = 10, SAMPLES = 64 };

/* A bias before batch norm has the gradient 0: compared with this instead of its norm. */
#define GRADIENT_FLOOR 1e-2

/* What is compared; the first five by the prefix of its tensors in a fixture. */
enum { GRADIENT, VELOCITY, SECOND, VALUE, KEY, N_PARAM_KINDS, BANK = N_PARAM_KINDS, LOSS, N_KINDS };

static const struct {
  const gchar *prefix;
  PirlArena arena;
  gdouble floor;                /* 0: that of the tolerances */
} kinds[N_KINDS] = {
  [GRADIENT] = { "gradient:", PIRL_ARENA_GRADIENT, GRADIENT_FLOOR },
  [VELOCITY] = { "velocity:", PIRL_ARENA_VELOCITY, GRADIENT_FLOOR },
  [SECOND] = { "second:", PIRL_ARENA_SECOND, GRADIENT_FLOOR * GRADIENT_FLOOR },
  [VALUE] = { "value:", PIRL_ARENA_VALUE },
  [KEY] = { "key:", PIRL_ARENA_VALUE },
  [BANK] = { "bank" },
  [LOSS] = { "losses" },
};

typedef struct {
  gdouble first, later[N_KINDS];
  gdouble floor;                /* of values: running means of what has none, which stay 0 */
} Tolerances;

static const Tolerances in_double = { 1e-6, { 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-6, 1e-9 },
  1e-9 };
static const Tolerances in_float = { 3e-4, { 0.2, 0.2, 0.2, 0.05, 0.05, 1e-3, 1e-3 }, 1e-3 };

static const Tolerances *tolerances;
static const gchar *device;

/* One fixture and the trainer that has to follow it. */
typedef struct {
  PirlSafetensors *file;
  PirlTrainer *trainer;
  PirlTrainerConfig config;
  gdouble worst[N_KINDS][2];    /* differences met; [1]: in the first step */
} Golden;

static gdouble
setting (const Golden *golden, const gchar *key)
{
  const gchar *value = pirl_safetensors_metadata (golden->file, key);

  g_assert_nonnull (value);
  return g_ascii_strtod (value, NULL);
}

/* The position in @names of what the fixture says under @key. */
static guint
choice (const Golden *golden, const gchar *key, const gchar *const *names)
{
  const gchar *value = pirl_safetensors_metadata (golden->file, key);

  g_assert_nonnull (value);
  g_assert_true (g_strv_contains (names, value));
  for (guint i = 0;; i++)
    if (strcmp (names[i], value) == 0)
      return i;
}

/* The same, where the fixture may say nothing. */
static gdouble
setting_or (const Golden *golden, const gchar *key, gdouble otherwise)
{
  return pirl_safetensors_metadata (golden->file, key) ? setting (golden, key) : otherwise;
}

static gboolean
has_bank (const Golden *golden)
{
  return pirl_safetensors_lookup (golden->file, "bank") != NULL;
}

static gboolean
is_supervised (const Golden *golden)
{
  return golden->config.objective == PIRL_OBJECTIVE_SUPERVISED;
}

static void
configure_supervised (Golden *golden)
{
  PirlTrainerConfig *config = &golden->config;
  g_autoptr (GError) error = NULL;

  pirl_trunk_from_name (pirl_safetensors_metadata (golden->file, "architecture"), 8,
      setting (golden, "width"), &config->trunk, &error);
  g_assert_no_error (error);
  config->classes = CLASSES;
}

/* jigsaw and rotation */
static void
configure_classes (Golden *golden)
{
  golden->config.classes = (guint) setting (golden, "classes");
  golden->config.hidden = (gint) setting_or (golden, "hidden", 0);
}

/* pirl and moco */
static void
configure_contrast (Golden *golden)
{
  static const gchar *const heads[] = { "linear", "bn", "mlp", NULL };
  static const gchar *const losses[] = { "nce", "infonce", NULL };
  PirlTrainerConfig *config = &golden->config;

  config->head = (PirlHead) choice (golden, "head", heads);
  config->dim = 128;
  config->loss = (PirlLoss) choice (golden, "loss", losses);
  config->temperature = setting (golden, "temperature");
  config->near = setting_or (golden, "near", 1);
  config->near_weight = setting_or (golden, "near-weight", 0);
  config->bank_rows = (guint64) setting (golden, "rows");
  config->key_momentum = setting_or (golden, "key-momentum", 0);
}

static void
configure_pirl (Golden *golden)
{
  static const gchar *const z_modes[] = { "ema", "first-batch", "fixed", NULL };
  static const gchar *const statistics[] = { "both", "images", NULL };
  PirlTrainerConfig *config = &golden->config;

  configure_contrast (golden);
  config->z_mode = (PirlZMode) choice (golden, "z-mode", z_modes);
  config->negatives = (guint64) setting (golden, "negatives");
  config->exclude_positive = setting (golden, "exclude-positive") != 0;
  config->lambda = setting (golden, "lambda");
  config->bank_momentum = 0.5;
  config->bank_update = PIRL_BANK_AFTER;
  config->bn_statistics = (PirlBnStatistics) choice (golden, "bn-statistics", statistics);
}

static const struct {
  const gchar *name;
  PirlObjective objective;
  void (*configure) (Golden *golden);
} objectives[] = {
  { "pirl", PIRL_OBJECTIVE_PIRL, configure_pirl },
  { "supervised", PIRL_OBJECTIVE_SUPERVISED, configure_supervised },
  { "jigsaw", PIRL_OBJECTIVE_JIGSAW, configure_classes },
  { "rotation", PIRL_OBJECTIVE_ROTATION, configure_classes },
  { "moco", PIRL_OBJECTIVE_MOCO, configure_contrast },
};

static void
configure (Golden *golden)
{
  static const gchar *const optimizers[] = { "sgd", "adam", "lars", NULL };
  const gchar *name = pirl_safetensors_metadata (golden->file, "objective");
  PirlTrainerConfig *config = &golden->config;
  guint i = 0;

  while (name && strcmp (objectives[i].name, name) != 0)
    g_assert_cmpuint (++i, <, G_N_ELEMENTS (objectives));
  pirl_trainer_config_defaults (config);
  config->objective = objectives[i].objective;
  config->trunk = (PirlTrunk) { PIRL_ARCH_RESNET18, 8, 0 };
  config->image_size = IMAGE;
  config->patch_size = (gint) setting_or (golden, "patch-size", PATCH);
  config->patches = (gint) setting_or (golden, "patches", PATCHES);
  config->batch = BATCH;
  config->bank_rows = 0;
  if (pirl_safetensors_metadata (golden->file, "optimizer"))
    config->optimizer = (PirlOptimizer) choice (golden, "optimizer", optimizers);
  config->nesterov = setting_or (golden, "nesterov", 0) != 0;
  config->schedule = (PirlSchedule) { .kind = PIRL_SCHEDULE_CONSTANT,
    .base = setting (golden, "learning-rate") };
  config->momentum = 0.9;
  config->weight_decay = setting (golden, "weight-decay");
  config->seed = (guint64) setting (golden, "seed");
  config->device = (gchar *) device;
  config->precision = (gchar *) "f32";
  objectives[i].configure (golden);
}

/* Noise on a coarse pattern: cells of 8 x 8 pixels; three parts pattern, one part noise. */
static void
draw_picture (guint64 index, guint size, guint8 *pixels)
{
  const guint cells = size / CELL;
  g_autofree guint32 *coarse = g_new (guint32, cells * cells * 3);
  PirlRng rng;

  pirl_rng_init (&rng, 0, 0, index, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < cells * cells * 3; i++)
    coarse[i] = pirl_rng_u32 (&rng) >> 24;
  for (guint y = 0; y < size; y++) {
    for (guint x = 0; x < size; x++) {
      const guint32 *cell = coarse + (y / CELL * cells + x / CELL) * 3;

      for (guint c = 0; c < 3; c++)
        *pixels++ = (guint8) ((3 * cell[c] + (pirl_rng_u32 (&rng) >> 24)) / 4);
    }
  }
}

static gboolean
train_step (Golden *golden, guint step, PirlStepStats *stats, GError **error)
{
  const PirlTrainerConfig *config = &golden->config;
  const gsize image_bytes = IMAGE * IMAGE * 3;
  const gsize patch_bytes = (gsize) config->patch_size * config->patch_size * 3;
  const guint n_patches = (guint) config->patches;
  g_autofree guint8 *images = g_malloc (BATCH * image_bytes);
  g_autofree guint8 *patches = g_malloc (BATCH * n_patches * patch_bytes);
  const guint8 *image[BATCH], *patch[BATCH];
  guint32 rows[BATCH];
  gint labels[BATCH], targets[BATCH];
  const guint64 n = config->objective == PIRL_OBJECTIVE_PIRL ? config->bank_rows : PICTURES;
  const PirlBatch batch = { .images = image, .patches = patch, .rows = rows, .labels = labels,
    .targets = targets, .epoch = (guint32) (step * BATCH / n) };

  for (guint b = 0; b < BATCH; b++) {
    rows[b] = (guint32) ((step * BATCH + b) * 37 % n);
    labels[b] = is_supervised (golden) ? (gint) (7 * rows[b] % CLASSES) : -1;
    targets[b] = config->classes ? (gint) ((5 * rows[b] + 3) % config->classes) : -1;
    image[b] = images + b * image_bytes;
    patch[b] = patches + b * n_patches * patch_bytes;
    draw_picture (rows[b], IMAGE, images + b * image_bytes);
    for (guint p = 0; p < n_patches; p++)
      draw_picture (1000 * (rows[b] + 1) + p, (guint) config->patch_size,
          patches + (b * n_patches + p) * patch_bytes);
  }
  return pirl_trainer_step (golden->trainer, &batch, NULL, stats, error);
}

/* The larger of the differences of the norms and of the sampled elements, both relative to the
 * norm that PyTorch found. */
static gdouble
relative_difference (const gfloat *expected, const gfloat *values, gsize n, gdouble floor)
{
  const gsize taken = MIN (n, SAMPLES);
  const gdouble scale = MAX ((gdouble) expected[0], floor);
  gdouble norm = 0, difference = 0;

  for (gsize i = 0; i < n; i++)
    norm += (gdouble) values[i] * values[i];
  for (gsize i = 0; i < taken; i++) {
    const gdouble d = values[i * n / taken] - expected[1 + i];
    difference += d * d;
  }
  return MAX (fabs (sqrt (norm) - expected[0]), sqrt (difference)) / scale;
}

/* Row @step of the fixture's tensor @name; NULL when it does not go that far. */
static const gfloat *
expected_row (const Golden *golden, const gchar *name, guint step)
{
  const PirlTensor *tensor = pirl_safetensors_lookup (golden->file, name);

  g_assert_nonnull (tensor);
  g_assert_cmpint (tensor->dtype, ==, PIRL_DTYPE_F32);
  g_assert_cmpint (tensor->shape.dim[1], ==, 1 + SAMPLES);
  if (step >= tensor->shape.dim[0])
    return NULL;
  return (const gfloat *) tensor->data + step * (1 + SAMPLES);
}

static void
judge (Golden *golden, guint kind, const gchar *name, guint step, gdouble difference)
{
  const gdouble tolerance = step == 0 ? tolerances->first : tolerances->later[kind];
  gdouble *worst = &golden->worst[kind][step == 0];

  if (!(difference <= tolerance)) {
    g_test_message ("step %u, %s: differs by %.2e, %.0e is allowed", step + 1, name, difference,
        tolerance);
    g_test_fail ();
  }
  *worst = MAX (*worst, difference);
}

static void
compare_params (Golden *golden, guint kind, guint step)
{
  PirlParams *params = (kind == KEY ? pirl_trainer_key_params : pirl_trainer_params) (
      golden->trainer);

  for (guint i = 0; params && i < pirl_params_count (params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (params, i);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gchar *name = g_strconcat (kinds[kind].prefix, spec->name, NULL);
    g_autofree gfloat *values = g_new (gfloat, n);
    const gfloat *expected;

    /* A running statistic has no gradient, the key network's are not used. */
    if (!pirl_params_data (params, kinds[kind].arena, i)
        || (kind == KEY && strstr (spec->name, "running_")))
      continue;
    expected = expected_row (golden, name, step);
    if (!expected)
      continue;
    g_assert_true (pirl_params_read (params, kinds[kind].arena, i, values, NULL));
    judge (golden, kind, name, step, relative_difference (expected, values, n,
            kinds[kind].floor > 0 ? kinds[kind].floor : tolerances->floor));
  }
}

static void
compare_bank (Golden *golden, guint step)
{
  const gsize n = golden->config.bank_rows * (gsize) golden->config.dim;
  g_autofree gfloat *values = g_new (gfloat, n);
  const gfloat *expected = expected_row (golden, "bank", step);

  g_assert_true (pirl_trainer_read_bank (golden->trainer, values, NULL));
  judge (golden, BANK, "bank", step, relative_difference (expected, values, n, 0));
}

static void
compare_losses (Golden *golden, guint step, const PirlStepStats *stats)
{
  const PirlTensor *tensor = pirl_safetensors_lookup (golden->file, "losses");
  const gdouble *expected = (const gdouble *) tensor->data + 3 * step;
  const gdouble lambda = golden->config.lambda;
  const struct {
    const gchar *name;
    gdouble expected, value;
  } cases[] = {
    { "loss of images", expected[0], stats->loss_image },
    { "loss of patches", expected[1], stats->loss_patches },
    { "loss", golden->config.objective != PIRL_OBJECTIVE_PIRL ? expected[0] + expected[1]
          : lambda * expected[1] + (1 - lambda) * expected[0], stats->loss },
    { "Z", expected[2], stats->z },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const gdouble difference = fabs (cases[i].value - cases[i].expected);

    /* InfoNCE has no Z: 0 in both. */
    judge (golden, LOSS, cases[i].name, step,
        difference != 0 ? difference / cases[i].expected : 0);
  }
}

/* The trainer has exactly the parameters that PyTorch's network has. */
static void
compare_names (const Golden *golden)
{
  PirlParams *params = pirl_trainer_params (golden->trainer);
  guint expected = 0;

  for (guint i = 0; i < pirl_safetensors_count (golden->file); i++) {
    const gchar *name = pirl_safetensors_nth (golden->file, i)->name;

    if (!g_str_has_prefix (name, "value:"))
      continue;
    expected++;
    if (pirl_params_find (params, name + strlen ("value:")) < 0)
      g_error ("the trainer has no parameter %s", name + strlen ("value:"));
  }
  g_assert_cmpuint (pirl_params_count (params), ==, expected);
}

static void
test_fixture (gconstpointer path)
{
  g_autoptr (GError) error = NULL;
  Golden golden = { 0 };
  PirlStepStats stats;

  golden.file = pirl_safetensors_open (path, &error);
  g_assert_no_error (error);
  configure (&golden);
  golden.trainer = pirl_trainer_new (&golden.config, &error);
  g_assert_no_error (error);
  compare_names (&golden);
  for (guint step = 0; step < (is_supervised (&golden) ? SUPERVISED_STEPS : STEPS); step++) {
    g_assert_true (train_step (&golden, step, &stats, &error));
    g_assert_no_error (error);
    compare_losses (&golden, step, &stats);
    for (guint kind = 0; kind < N_PARAM_KINDS; kind++)
      compare_params (&golden, kind, step);
    if (has_bank (&golden))
      compare_bank (&golden, step);
  }
  for (guint kind = 0; kind < N_KINDS; kind++)
    g_test_message ("%-9s differ by at most %.1e in the first step, %.1e later",
        kinds[kind].prefix, golden.worst[kind][1], golden.worst[kind][0]);
  pirl_trainer_free (golden.trainer);
  pirl_safetensors_free (golden.file);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (argc < 3) {
    g_printerr ("usage: golden-test DEVICE FIXTURE...\n");
    return 2;
  }
  device = argv[1];
  tolerances = strcmp (device, "reference") == 0 ? &in_double : &in_float;
  for (gint i = 2; i < argc; i++) {
    g_autofree gchar *file = g_path_get_basename (argv[i]);
    g_autofree gchar *name = g_strdup_printf ("/golden/%s/%s", device, file);

    g_test_add_data_func (name, argv[i], test_fixture);
  }
  return g_test_run ();
}
