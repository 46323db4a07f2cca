/* gst-pirl: training with the objectives beyond PIRL's own: jigsaw, rotation, moco, PIRL on turned
 * pictures; negatives that are near. (golden-test holds their arithmetic to PyTorch.)
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gio/gio.h>
#include <glib/gstdio.h>

#include "learn-common.h"

/* What is trained here. */
static const struct {
  const gchar *name;
  PirlObjective objective;
  PirlOptimizer optimizer;
  gboolean nesterov;
  const gchar *bank_precision;
  gboolean one_patch;           /* PIRL: a second view of one picture */
  gdouble near;
} cases[] = {
  { "jigsaw", PIRL_OBJECTIVE_JIGSAW, PIRL_OPTIMIZER_SGD, TRUE, "f32" },
  { "rotation", PIRL_OBJECTIVE_ROTATION, PIRL_OPTIMIZER_LARS, FALSE, "f32" },
  { "moco", PIRL_OBJECTIVE_MOCO, PIRL_OPTIMIZER_SGD, FALSE, "f32" },
  { "moco-adam", PIRL_OBJECTIVE_MOCO, PIRL_OPTIMIZER_ADAM, FALSE, "fp16" },
  { "pirl-turned", PIRL_OBJECTIVE_PIRL, PIRL_OPTIMIZER_SGD, TRUE, "f32", TRUE, 0.5 },
  { "npid-near", PIRL_OBJECTIVE_NPID, PIRL_OPTIMIZER_LARS, FALSE, "fp16", FALSE, 0.5 },
};

enum { JIGSAW, ROTATION, MOCO };

/* The second view of case @i's samples, and a trainer of it. */
static void
case_init (guint i, Data *data, PirlTrainerConfig *config)
{
  /* Views that were turned are the same for both. */
  data_init_for (data, cases[i].one_patch ? PIRL_OBJECTIVE_ROTATION : cases[i].objective);
  data->objective = cases[i].objective;
  objective_config (config, cases[i].objective);
  config->precision = (gchar *) "f32";
  config->bank_precision = (gchar *) cases[i].bank_precision;
  config->optimizer = cases[i].optimizer;
  config->nesterov = cases[i].nesterov;
  if (cases[i].one_patch) {
    config->patches = 1;
    config->patch_size = SIZE;
  }
  if (cases[i].near > 0)
    config->near = cases[i].near;
  if (cases[i].optimizer == PIRL_OPTIMIZER_ADAM)
    config->schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 1e-3 };
  else if (cases[i].optimizer == PIRL_OPTIMIZER_LARS)
    config->schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 1, 0, 4, 0 };
}

static gboolean
has_classes (guint i)
{
  return cases[i].objective == PIRL_OBJECTIVE_JIGSAW
      || cases[i].objective == PIRL_OBJECTIVE_ROTATION;
}

/* The loss falls, and with it what each objective wants comes about. */
static void
test_learns (gconstpointer number)
{
  enum { STEPS = 112, MEAN = 8 };
  const guint i = GPOINTER_TO_UINT (number);
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  PirlStepStats first = { 0 }, last = { 0 };
  Data data;

  case_init (i, &data, &config);
  if (cases[i].optimizer == PIRL_OPTIMIZER_SGD)
    config.schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 0.03, 0, 4, 0 };
  trainer = new_trainer (&config);
  for (guint step = 0; step < STEPS; step++) {
    const PirlStepStats stats = train_step (trainer, &data, step);
    PirlStepStats *of = step < MEAN ? &first : &last;

    if (step >= MEAN && step < STEPS - MEAN)
      continue;
    of->loss += stats.loss / MEAN;
    of->accuracy += stats.accuracy / MEAN;
    of->positive_image += stats.positive_image / MEAN;
    of->near += stats.near / MEAN;
  }
  g_test_message ("loss %.3f -> %.3f, accuracy %.2f -> %.2f, cosine %.2f -> %.2f, near %.3f -> "
      "%.3f", first.loss, last.loss, first.accuracy, last.accuracy, first.positive_image,
      last.positive_image, first.near, last.near);
  g_assert_cmpfloat (last.loss, <, 0.8 * first.loss);
  if (has_classes (i))
    g_assert_cmpfloat (last.accuracy, >, first.accuracy + 0.2);
  else
    g_assert_cmpfloat (last.positive_image, >, 0.6);
  g_assert_true (has_classes (i) == (isnan (pirl_trainer_bank_knn (trainer, 0)) != 0));
  g_assert_true ((cases[i].near > 0) == (first.near + last.near > 0));
  data_clear (&data);
}

static void
test_resume_bits (gconstpointer number)
{
  const guint i = GPOINTER_TO_UINT (number);
  g_autofree gchar *path = temporary_path ("objective.safetensors");
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) whole = NULL, first = NULL, second = NULL;
  g_autoptr (GError) error = NULL;
  PirlPosition position;
  Data data;

  case_init (i, &data, &config);
  whole = new_trainer (&config);
  first = new_trainer (&config);
  for (guint step = 0; step < 11; step++)
    train_step (whole, &data, step);
  for (guint step = 0; step < 6; step++)
    train_step (first, &data, step);
  pirl_trainer_save (first, path, NULL, &error);
  g_assert_no_error (error);
  second = new_trainer (&config);
  train_step (second, &data, 3);        /* what it did before must not matter */
  pirl_trainer_resume (second, path, &position, &error);
  g_assert_no_error (error);
  assert_same_bits (first, second);
  for (guint step = 6; step < 11; step++)
    train_step (second, &data, step);
  assert_same_bits (whole, second);
  if (whole->labels)
    g_assert_cmpmem (whole->labels, ROWS * sizeof *whole->labels, second->labels,
        ROWS * sizeof *second->labels);
  g_unlink (path);
  data_clear (&data);
}

/* Steps that are recorded and replayed, with pictures brought while one is under way, do what plain
 * ones do. */
static void
test_overlap_bits (gconstpointer number)
{
  const guint i = GPOINTER_TO_UINT (number);
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) plain = NULL, overlapped = NULL;
  Data data;

  case_init (i, &data, &config);
  g_setenv ("PIRL_CUDA_GRAPHS", "0", TRUE);
  plain = new_trainer (&config);
  g_unsetenv ("PIRL_CUDA_GRAPHS");
  overlapped = new_trainer (&config);
  for (guint step = 0; step < 6; step++) {
    PirlBatch batch = *data_batch (&data, step);
    g_autoptr (GError) error = NULL;
    PirlStepStats stats;

    train_step (plain, &data, step);
    if (step > 0)
      batch.images = batch.patches = NULL;      /* staged */
    pirl_trainer_begin (overlapped, &batch, NULL, &error);
    g_assert_no_error (error);
    pirl_trainer_stage (overlapped, data_batch (&data, step + 1), &error);
    g_assert_no_error (error);
    pirl_trainer_end (overlapped, &stats, &error);
    g_assert_no_error (error);
  }
  assert_same_bits (plain, overlapped);
  data_clear (&data);
}

static gpointer
cancel_soon (gpointer data)
{
  g_usleep (2000);
  g_atomic_int_set ((gint *) data, 1);
  return NULL;
}

/* A step that was cancelled, at its beginning or in its middle, leaves no trace. */
static void
test_cancel (gconstpointer number)
{
  const guint i = GPOINTER_TO_UINT (number);
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) plain = NULL, cancelled = NULL;
  Data data;

  case_init (i, &data, &config);
  plain = new_trainer (&config);
  cancelled = new_trainer (&config);
  for (guint step = 0; step < 3; step++) {
    const PirlStepStats expected = train_step (plain, &data, step);
    PirlStepStats stats;
    gint cancel = 1;
    g_autoptr (GError) error = NULL;

    g_assert_false (pirl_trainer_step (cancelled, data_batch (&data, step), &cancel, &stats,
            &error));
    g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
    for (guint attempt = 0; attempt < 3 && pirl_trainer_steps (cancelled) == step; attempt++) {
      GThread *thread;

      cancel = 0;
      thread = g_thread_new ("cancel", cancel_soon, &cancel);
      pirl_trainer_step (cancelled, data_batch (&data, step), &cancel, &stats, NULL);
      g_thread_join (thread);
    }
    if (pirl_trainer_steps (cancelled) == step)
      stats = train_step (cancelled, &data, step);
    g_assert_cmpfloat (stats.loss, ==, expected.loss);
  }
  assert_same_bits (plain, cancelled);
  data_clear (&data);
}

/* --- moco --- */

/* Elements that differ from a * @keep + b * (1 - @keep) by more than rounding, of all that is
 * trained. */
static guint
count_unlike (PirlTrainer *trainer, GPtrArray *before, gdouble keep)
{
  PirlParams *query = pirl_trainer_params (trainer), *key = pirl_trainer_key_params (trainer);
  guint unlike = 0;

  for (guint i = 0; i < pirl_params_count (key); i++) {
    const gint at = pirl_params_find (query, pirl_params_spec (key, i)->name);
    g_autofree gfloat *k = test_read_param (key, PIRL_ARENA_VALUE, i);
    g_autofree gfloat *q = test_read_param (query, PIRL_ARENA_VALUE, (guint) at);
    const gfloat *old = g_ptr_array_index (before, i);

    if (!pirl_params_data (query, PIRL_ARENA_VELOCITY, (guint) at))
      continue;
    for (gsize j = 0; j < pirl_shape_count (&pirl_params_spec (key, i)->shape); j++) {
      const gdouble expected = keep * old[j] + (1 - keep) * q[j];

      unlike += !(fabs (k[j] - expected) <= 1e-6 * (fabs (old[j]) + fabs (q[j])));
    }
  }
  return unlike;
}

static GPtrArray *
key_values (PirlTrainer *trainer)
{
  PirlParams *key = pirl_trainer_key_params (trainer);
  GPtrArray *values = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < pirl_params_count (key); i++)
    g_ptr_array_add (values, test_read_param (key, PIRL_ARENA_VALUE, i));
  return values;
}

/* The key network begins as the query's and follows it; a batch's keys go to the next rows of the
 * queue, with their labels, whatever the samples' own numbers are; the others stay as they were. */
static void
test_moco_queue (void)
{
  enum { QUEUE = 3 * BATCH, DIM = 16 };
  g_autofree gfloat *before = g_new (gfloat, QUEUE * DIM), *after = g_new (gfloat, QUEUE * DIM);
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  Data data;

  case_init (MOCO, &data, &config);
  config.bank_rows = QUEUE;
  trainer = new_trainer (&config);
  {
    g_autoptr (GPtrArray) start = key_values (trainer);

    g_assert_cmpuint (count_unlike (trainer, start, 0), ==, 0);
  }
  for (guint step = 0; step < 7; step++) {
    const guint first = step % 3 * BATCH;
    g_autoptr (GPtrArray) old = key_values (trainer);
    PirlStepStats stats;

    g_assert_true (pirl_trainer_read_bank (trainer, before, NULL));
    stats = train_step (trainer, &data, step);
    g_assert_true (pirl_trainer_read_bank (trainer, after, NULL));
    g_assert_cmpuint (count_unlike (trainer, old, 0.9), ==, 0);
    g_assert_cmpfloat (stats.loss, ==, stats.loss_image);
    for (guint row = 0; row < QUEUE; row++) {
      const gboolean written = row >= first && row < first + BATCH;

      g_assert_cmpint (memcmp (before + row * DIM, after + row * DIM, DIM * sizeof *after) != 0,
          ==, written);
      if (written)
        g_assert_cmpint (trainer->labels[row], ==, data.labels[row - first]);
      else if (row >= (step + 1) * BATCH)
        g_assert_cmpint (trainer->labels[row], ==, PIRL_LABEL_UNTRAINED);
    }
  }
  data_clear (&data);
}

/* Key network's running statistics are nobody's, and nothing of it is among the exported names. */
static void
test_moco_file (void)
{
  g_autofree gchar *path = temporary_path ("moco.safetensors");
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL, other = NULL;
  g_autoptr (PirlSafetensors) file = NULL;
  g_autoptr (GPtrArray) loaded = NULL;
  g_autoptr (GError) error = NULL;
  Data data;

  case_init (MOCO, &data, &config);
  trainer = new_trainer (&config);
  for (guint step = 0; step < 2; step++)
    train_step (trainer, &data, step);
  pirl_trainer_save (trainer, path, NULL, &error);
  g_assert_no_error (error);
  file = pirl_safetensors_open (path, &error);
  g_assert_no_error (error);
  g_assert_nonnull (pirl_safetensors_lookup (file, "state.key.conv1.weight"));
  g_assert_nonnull (pirl_safetensors_lookup (file, "state.key.head.f.projection.bias"));
  g_assert_nonnull (pirl_safetensors_lookup (file, "bn1.running_mean"));
  g_assert_null (pirl_safetensors_lookup (file, "state.key.bn1.running_mean"));
  /* Its weights as a start: the key network begins with them too. */
  config.seed++;
  other = new_trainer (&config);
  pirl_trainer_load_weights (other, path, &error);
  g_assert_no_error (error);
  loaded = key_values (other);
  g_assert_cmpuint (count_unlike (other, loaded, 0), ==, 0);
  g_assert_cmpuint (count_unlike (trainer, loaded, 0), >, 0);   /* that of the file had moved */
  g_unlink (path);
  data_clear (&data);
}

/* --- near negatives --- */

/* A weight of 1 is none, to the last bit; a lower one takes from the loss. */
static void
test_near_weights (void)
{
  static const PirlLoss losses[] = { PIRL_LOSS_INFONCE, PIRL_LOSS_NCE };
  Data data;

  data_init (&data);
  for (guint l = 0; l < G_N_ELEMENTS (losses); l++) {
    gdouble loss[4];
    gdouble share[4];

    for (guint i = 0; i < G_N_ELEMENTS (loss); i++) {
      PirlTrainerConfig config;
      g_autoptr (PirlTrainer) trainer = NULL;
      PirlStepStats stats;

      small_config (&config);
      config.precision = (gchar *) "f32";
      config.loss = losses[l];
      config.z_mode = PIRL_Z_FIXED;
      config.near = i == 0 ? 1 : 0.2;
      config.near_weight = i == 0 ? 0 : (3 - i) / 2.0;  /* 1, 0.5, 0 */
      trainer = new_trainer (&config);
      stats = train_step (trainer, &data, 0);
      loss[i] = stats.loss;
      share[i] = stats.near;
    }
    g_test_message ("loss %g, %g, %g, %g; near %g", loss[0], loss[1], loss[2], loss[3], share[1]);
    g_assert_cmpfloat_with_epsilon (loss[0], loss[1], 1e-6 * loss[0]);
    g_assert_cmpfloat (loss[2], <, loss[1]);
    g_assert_cmpfloat (loss[3], <, loss[2]);
    g_assert_cmpfloat (share[0], ==, 0);
    g_assert_cmpfloat (share[1], >, 0);
    g_assert_cmpfloat (share[1], <, 1);
    g_assert_cmpfloat (share[2], ==, share[1]);
  }
  data_clear (&data);
}

/* --- errors --- */

/* A sample without a target, with one that is too large, no targets at all, no second view: that is
 * said, and nothing changes. */
static void
test_target_errors (gconstpointer number)
{
  const guint i = GPOINTER_TO_UINT (number);
  static const gchar *const needed[] = {
    [JIGSAW] = "jigsaw needs the numbers of the permutations as targets, from 0 to 4",
    [ROTATION] = "rotation needs the numbers of quarter turns as targets, from 0 to 3",
  };
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  g_autoptr (GByteArray) before = NULL, after = NULL;
  PirlStepStats stats;
  Data data;

  case_init (i, &data, &config);
  trainer = new_trainer (&config);
  before = trainer_bits (trainer, 0);
  for (guint wrong = 0; wrong < 3; wrong++) {
    g_autoptr (GError) error = NULL;
    PirlBatch batch = *data_batch (&data, 0);

    data.targets[5] = wrong == 0 ? -1 : (gint) config.classes;
    if (wrong == 2)
      batch.targets = NULL;
    g_assert_false (pirl_trainer_step (trainer, &batch, NULL, &stats, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, needed[i]));
    g_assert_nonnull (strstr (error->message, wrong == 2 ? "sample 0" : "sample 5"));
  }
  {
    g_autoptr (GError) error = NULL;
    PirlBatch batch = *data_batch (&data, 0);

    batch.patches = NULL;
    g_assert_false (pirl_trainer_step (trainer, &batch, NULL, &stats, &error));
    g_assert_nonnull (strstr (error->message, "no pictures"));
  }
  after = trainer_bits (trainer, 0);
  g_assert_cmpmem (before->data, before->len, after->data, after->len);
  data_clear (&data);
}

#define INT(field, value, text) { G_STRUCT_OFFSET (PirlTrainerConfig, field), 0, value, text }
#define REAL(field, value, text) { G_STRUCT_OFFSET (PirlTrainerConfig, field), 1, value, text }
#define WIDE(field, value, text) { G_STRUCT_OFFSET (PirlTrainerConfig, field), 2, value, text }

static void
test_settings_errors (void)
{
  static const struct {
    PirlObjective objective;
    struct {
      gsize offset;
      guint kind;               /* gint, gdouble, guint64 */
      gdouble value;
      const gchar *text;
    } setting;
  } wrong[] = {
    { PIRL_OBJECTIVE_JIGSAW, INT (classes, 1, "number of permutations is 1") },
    { PIRL_OBJECTIVE_JIGSAW, INT (hidden, 0, "hidden") },
    { PIRL_OBJECTIVE_JIGSAW, INT (patch_size, 33, "larger than image-size 32") },
    { PIRL_OBJECTIVE_ROTATION, INT (classes, 5, "rotation has 4") },
    { PIRL_OBJECTIVE_ROTATION, INT (patches, 4, "1 picture of image-size 32") },
    { PIRL_OBJECTIVE_MOCO, INT (patch_size, 16, "1 picture of image-size 32") },
    { PIRL_OBJECTIVE_MOCO, INT (batch, 7, "a multiple of batch-size, as 70") },
    { PIRL_OBJECTIVE_MOCO, INT (loss, PIRL_LOSS_NCE, "infonce") },
    { PIRL_OBJECTIVE_MOCO, WIDE (negatives, 20, "whole queue") },
    { PIRL_OBJECTIVE_MOCO, REAL (key_momentum, 1.5, "key-momentum is 1.5") },
    { PIRL_OBJECTIVE_NPID, REAL (near, 0, "near is 0") },
    { PIRL_OBJECTIVE_PIRL, REAL (near, 1.1, "near is 1.1") },
    { PIRL_OBJECTIVE_PIRL, REAL (near_weight, -1, "near-weight is -1") },
  };

  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    const gsize offset = wrong[i].setting.offset;
    const gdouble value = wrong[i].setting.value;
    PirlTrainerConfig config;
    g_autoptr (GError) error = NULL;

    objective_config (&config, wrong[i].objective);
    if (wrong[i].setting.kind == 0)
      G_STRUCT_MEMBER (gint, &config, offset) = (gint) value;
    else if (wrong[i].setting.kind == 1)
      G_STRUCT_MEMBER (gdouble, &config, offset) = value;
    else
      G_STRUCT_MEMBER (guint64, &config, offset) = (guint64) value;
    g_assert_null (pirl_trainer_new (&config, &error));
    g_test_message ("%s", error->message);
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_assert_nonnull (strstr (error->message, wrong[i].setting.text));
  }
}

/* Settings of the new kinds are compared; those that the objective does not have are not. */
static void
test_resume_settings (void)
{
  g_autofree gchar *path = temporary_path ("settings.safetensors");
  PirlTrainerConfig config, same;
  g_autoptr (PirlTrainer) trainer = NULL, alike = NULL;
  g_autoptr (GError) error = NULL;
  PirlPosition position;
  Data data;

  case_init (MOCO, &data, &config);
  trainer = new_trainer (&config);
  pirl_trainer_save (trainer, path, NULL, &error);
  g_assert_no_error (error);
  same = config;
  same.hidden = 7;
  same.lambda = 0.1;
  same.bank_momentum = 0.1;
  same.near_weight = 0.5;       /* of none that are near */
  alike = new_trainer (&same);
  pirl_trainer_resume (alike, path, &position, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < 3; i++) {
    static const gchar *const texts[] = { "key_momentum = 0.9, now it is 0.5",
      "near = 1, now it is 0.5", "nesterov = false, now it is true" };
    g_autoptr (PirlTrainer) other = NULL;
    PirlTrainerConfig changed = config;

    if (i == 0)
      changed.key_momentum = 0.5;
    else if (i == 1)
      changed.near = 0.5;
    else
      changed.nesterov = TRUE;
    other = new_trainer (&changed);
    g_assert_false (pirl_trainer_resume (other, path, &position, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
    g_assert_nonnull (strstr (error->message, texts[i]));
    g_clear_error (&error);
  }
  g_unlink (path);
  data_clear (&data);
}

/* A trunk from any objective is a start for any other; heads where they are of the same kind and
 * for as many classes. */
static void
test_from_weights (void)
{
  g_autofree gchar *path = temporary_path ("start.safetensors");
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) five = NULL, four = NULL;
  g_autoptr (GError) error = NULL;
  Data data;

  case_init (JIGSAW, &data, &config);
  five = new_trainer (&config);
  pirl_trainer_save (five, path, NULL, &error);
  g_assert_no_error (error);
  config.classes = 4;
  config.seed++;
  four = new_trainer (&config);
  pirl_trainer_load_weights (four, path, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < 3; i++) {
    static const gchar *const names[] = { "layer4.1.conv2.weight", "head.jigsaw.patch.weight",
      "head.jigsaw.classes.weight" };
    const guint at = (guint) pirl_params_find (five->params, names[i]);
    g_autofree gfloat *a = test_read_param (five->params, PIRL_ARENA_VALUE, at);
    g_autofree gfloat *b = test_read_param (four->params, PIRL_ARENA_VALUE, at);

    g_assert_cmpint (memcmp (a, b, 8 * sizeof *a) == 0, ==, i < 2);
  }
  for (guint i = ROTATION; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (PirlTrainer) other = NULL;
    PirlTrainerConfig next;

    data_clear (&data);
    case_init (i, &data, &next);
    other = new_trainer (&next);
    pirl_trainer_load_weights (other, path, &error);
    g_assert_no_error (error);
  }
  g_unlink (path);
  data_clear (&data);
}

static void
add_tests (const gchar *name, GTestDataFunc function, guint n)
{
  for (guint i = 0; i < n; i++) {
    g_autofree gchar *path = g_strdup_printf ("/objectives/%s/%s", name, cases[i].name);

    g_test_add_data_func (path, GUINT_TO_POINTER (i), function);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_tests ("learns", test_learns, G_N_ELEMENTS (cases));
  add_tests ("resume-bits", test_resume_bits, G_N_ELEMENTS (cases));
  add_tests ("overlap-bits", test_overlap_bits, G_N_ELEMENTS (cases));
  add_tests ("cancel", test_cancel, G_N_ELEMENTS (cases));
  add_tests ("target-errors", test_target_errors, ROTATION + 1);
  g_test_add_func ("/objectives/moco-queue", test_moco_queue);
  g_test_add_func ("/objectives/moco-file", test_moco_file);
  g_test_add_func ("/objectives/near-weights", test_near_weights);
  g_test_add_func ("/objectives/settings-errors", test_settings_errors);
  g_test_add_func ("/objectives/resume-settings", test_resume_settings);
  g_test_add_func ("/objectives/from-weights", test_from_weights);
  return g_test_run ();
}
