/* gst-pirl: training on a device that works by itself between the halves of a step.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The device is fake-cuda.c, opened as the CUDA module: it computes as the CPU does, so that a
 * training must have the same bits, but it computes late, keeps nothing of the host's memory, and
 * does not put up with a step that is not like the one before.
 */
#include <dlfcn.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <stddef.h>

#include "fake-cuda.h"
#include "learn-common.h"

static FakeCuda *fake;

static void
set_up (void)
{
  *fake = (FakeCuda) { 0 };
}

/* A batch whose pictures can be taken away. */
typedef struct {
  guint8 *images, *patches;
  const guint8 *image[BATCH], *patch[BATCH];
  guint32 rows[BATCH];
  gint labels[BATCH], targets[BATCH];
  gsize second;
  PirlBatch batch;
} Loan;

static void
loan_init (Loan *loan, Data *data, guint step)
{
  const gsize image = SIZE * SIZE * 3, patches = loan->second = data->second;
  const PirlBatch *batch = data_batch (data, step);

  loan->images = g_malloc (BATCH * image);
  loan->patches = g_malloc (BATCH * patches);
  for (guint b = 0; b < BATCH; b++) {
    loan->image[b] = memcpy (loan->images + b * image, data->image[b], image);
    loan->patch[b] = memcpy (loan->patches + b * patches, batch->patches[b], patches);
    loan->rows[b] = batch->rows[b];
    loan->labels[b] = batch->labels[b];
    loan->targets[b] = batch->targets[b];
  }
  loan->batch = (PirlBatch) { .images = batch->images ? loan->image : NULL, .patches = loan->patch,
    .rows = loan->rows, .labels = loan->labels, .targets = loan->targets, .epoch = batch->epoch };
}

static void
loan_take_back (Loan *loan)
{
  memset (loan->images, 0x55, BATCH * SIZE * SIZE * 3);
  memset (loan->patches, 0x55, BATCH * loan->second);
  g_free (loan->images);
  g_free (loan->patches);
  memset (loan, 0x55, sizeof *loan);
}

/* Steps [first, end): while one is under way, the next one's pictures are staged. */
static PirlStepStats
overlapped_steps (PirlTrainer *trainer, Data *data, guint first, guint end)
{
  PirlStepStats stats = { 0 };
  g_autoptr (GError) error = NULL;

  for (guint step = first; step < end; step++) {
    Loan loan, next;

    loan_init (&loan, data, step);
    if (step > first)
      loan.batch.images = loan.batch.patches = NULL;
    pirl_trainer_begin (trainer, &loan.batch, NULL, &error);
    g_assert_no_error (error);
    loan_take_back (&loan);
    if (step + 1 < end) {
      loan_init (&next, data, step + 1);
      pirl_trainer_stage (trainer, &next.batch, &error);
      g_assert_no_error (error);
      loan_take_back (&next);
    }
    g_assert_cmpuint (pirl_trainer_steps (trainer), ==, step);
    pirl_trainer_end (trainer, &stats, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (pirl_trainer_steps (trainer), ==, step + 1);
  }
  return stats;
}

static void
assert_same (PirlTrainer *a, PirlTrainer *b)
{
  g_autoptr (GByteArray) x = trainer_bits (a, (guint) a->config.dim);
  g_autoptr (GByteArray) y = trainer_bits (b, (guint) b->config.dim);

  g_assert_cmpmem (x->data, x->len, y->data, y->len);
  g_assert_cmpuint (a->step, ==, b->step);
  g_assert_cmpuint (a->collapsed, ==, b->collapsed);
  g_assert_cmpfloat (a->z, ==, b->z);
  if (a->labels)
    g_assert_cmpmem (a->labels, ROWS * sizeof *a->labels, b->labels, ROWS * sizeof *b->labels);
}

/* --- tests --- */

static const struct {
  const gchar *name;
  PirlObjective objective;
  PirlBankUpdate bank_update;
  PirlLoss loss;
  PirlZMode z_mode;
  guint64 negatives;
  PirlBnStatistics bn_statistics;
  PirlOptimizer optimizer;
  gboolean nesterov;
  gdouble near;                 /* 0 = off */
} trainings[] = {
  {"pirl", PIRL_OBJECTIVE_PIRL, PIRL_BANK_BEFORE, PIRL_LOSS_INFONCE, PIRL_Z_EMA, 0,
        PIRL_BN_IMAGES, PIRL_OPTIMIZER_SGD},
  {"pirl-nce", PIRL_OBJECTIVE_PIRL, PIRL_BANK_BEFORE, PIRL_LOSS_NCE, PIRL_Z_EMA, 20,
        PIRL_BN_BOTH, PIRL_OPTIMIZER_ADAM},
  {"pirl-after", PIRL_OBJECTIVE_PIRL, PIRL_BANK_AFTER, PIRL_LOSS_NCE, PIRL_Z_FIRST_BATCH, 20,
        PIRL_BN_BOTH, PIRL_OPTIMIZER_SGD},
  {"npid", PIRL_OBJECTIVE_NPID, PIRL_BANK_BEFORE, PIRL_LOSS_NCE, PIRL_Z_EMA, 30,
        PIRL_BN_IMAGES, PIRL_OPTIMIZER_SGD},
  {"supervised", PIRL_OBJECTIVE_SUPERVISED, PIRL_BANK_AFTER, PIRL_LOSS_NCE, PIRL_Z_EMA, 0,
        PIRL_BN_IMAGES, PIRL_OPTIMIZER_SGD},
  {"supervised-adam", PIRL_OBJECTIVE_SUPERVISED, PIRL_BANK_AFTER, PIRL_LOSS_NCE, PIRL_Z_EMA, 0,
        PIRL_BN_IMAGES, PIRL_OPTIMIZER_ADAM},
  {"jigsaw", PIRL_OBJECTIVE_JIGSAW, PIRL_BANK_AFTER, PIRL_LOSS_INFONCE, PIRL_Z_EMA, 0,
        PIRL_BN_IMAGES, PIRL_OPTIMIZER_SGD, TRUE},
  {"rotation", PIRL_OBJECTIVE_ROTATION, PIRL_BANK_AFTER, PIRL_LOSS_INFONCE, PIRL_Z_EMA, 0,
        PIRL_BN_IMAGES, PIRL_OPTIMIZER_LARS},
  {"moco", PIRL_OBJECTIVE_MOCO, PIRL_BANK_AFTER, PIRL_LOSS_INFONCE, PIRL_Z_EMA, 0,
        PIRL_BN_IMAGES, PIRL_OPTIMIZER_SGD, TRUE, 0.3},
};

/* Their numbers. */
enum { PIRL, PIRL_NCE, PIRL_AFTER, MOCO = G_N_ELEMENTS (trainings) - 1 };

static void
configure (PirlTrainerConfig *config, guint i)
{
  objective_config (config, trainings[i].objective);
  config->device = (gchar *) "cuda";
  config->n_threads = 1;
  config->bank_update = trainings[i].bank_update;
  config->loss = trainings[i].loss;
  /* The same on both devices, one that trains in f32 and one that says it does in fp16. */
  config->bank_precision = (gchar *) (config->loss == PIRL_LOSS_NCE ? "fp16" : "f32");
  config->z_mode = trainings[i].z_mode;
  config->negatives = trainings[i].negatives;
  config->bn_statistics = trainings[i].bn_statistics;
  config->optimizer = trainings[i].optimizer;
  config->nesterov = trainings[i].nesterov;
  if (trainings[i].near > 0)
    config->near = trainings[i].near;
  if (config->optimizer == PIRL_OPTIMIZER_ADAM)
    config->schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 1e-3 };
}

/* Twelve steps, more than the samples have rows: the second epoch finds rows that were trained. */
static void
test_same_bits (gconstpointer training)
{
  enum { STEPS = 12 };
  const guint i = GPOINTER_TO_UINT (training);
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) plain = NULL, steps = NULL;
  PirlStepStats expected = { 0 }, stats;
  gboolean images, second;
  Data data;

  set_up ();
  data_init_for (&data, trainings[i].objective);
  configure (&config, i);
  steps = new_trainer (&config);
  config.device = (gchar *) "cpu";
  config.precision = (gchar *) "f32";
  plain = new_trainer (&config);
  g_assert_true (pirl_trainer_overlaps (steps));
  g_assert_false (pirl_trainer_overlaps (plain));
  g_assert_cmpstr (pirl_trainer_precision (steps), ==, "fp16");
  for (guint step = 0; step < STEPS; step++)
    expected = train_step (plain, &data, step);
  stats = overlapped_steps (steps, &data, 0, STEPS);
  assert_same (plain, steps);
  g_assert_cmpfloat (stats.loss_scale, ==, 32768);
  g_assert_false (stats.skipped);
  expected.loss_scale = stats.loss_scale;
  g_assert_cmpmem (&stats, offsetof (PirlStepStats, skipped), &expected,
      offsetof (PirlStepStats, skipped));
  g_assert_cmpint (fake->steps, ==, STEPS);
  g_assert_cmpint (fake->aborted, ==, 0);
  pirl_objective_views (config.objective, &images, &second);
  g_assert_cmpint (fake->staged_in_steps, ==, (STEPS - 1) * (images + second));
  data_clear (&data);
}

/* The two halves on the CPU: staged pictures stay the caller's until they are used. */
static void
test_halves_on_the_cpu (void)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) whole = NULL, halves = NULL;
  g_autoptr (GError) error = NULL;
  PirlStepStats stats;
  Data data;

  data_init (&data);
  configure (&config, PIRL_NCE);
  config.device = (gchar *) "cpu";
  whole = new_trainer (&config);
  halves = new_trainer (&config);
  for (guint step = 0; step < 4; step++) {
    PirlBatch batch = *data_batch (&data, step);

    train_step (whole, &data, step);
    if (step > 0) {
      g_assert_true (pirl_trainer_stage (halves, &batch, NULL));
      batch.images = batch.patches = NULL;
    }
    pirl_trainer_begin (halves, &batch, NULL, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (pirl_trainer_steps (halves), ==, step);
    pirl_trainer_end (halves, &stats, &error);
    g_assert_no_error (error);
  }
  assert_same (whole, halves);
  data_clear (&data);
}

/* Gradients beyond fp16: the steps change nothing but their number, and the training goes on as one
 * that began with them missing. */
static void
skip_steps (guint training, gboolean eager)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  g_autoptr (GByteArray) before = NULL, after = NULL;
  g_autofree gint32 *labels = NULL;
  PirlStepStats stats;
  gdouble z;
  Data data;

  set_up ();
  fake->eager = eager;
  data_init_for (&data, trainings[training].objective);
  configure (&config, training);
  trainer = new_trainer (&config);
  for (guint step = 0; step < 3; step++)
    train_step (trainer, &data, step);
  before = trainer_bits (trainer, 16);
  labels = g_memdup2 (trainer->labels, ROWS * sizeof *labels);
  z = trainer->z;
  fake->overflows = 2;
  for (guint step = 3; step < 5; step++) {
    stats = train_step (trainer, &data, step);
    g_assert_true (stats.skipped);
    g_assert_cmpuint (stats.step, ==, step + 1);
    g_assert_cmpfloat (stats.loss_scale, ==, 32768 >> (step - 3));
  }
  after = trainer_bits (trainer, 16);
  g_assert_cmpmem (before->data, before->len, after->data, after->len);
  g_assert_cmpmem (labels, ROWS * sizeof *labels, trainer->labels, ROWS * sizeof *labels);
  g_assert_cmpfloat (trainer->z, ==, z);
  g_assert_cmpuint (pirl_trainer_steps (trainer), ==, 5);
  stats = train_step (trainer, &data, 5);
  g_assert_false (stats.skipped);
  g_assert_cmpfloat (stats.loss_scale, ==, 8192);
  g_assert_cmpfloat (stats.learning_rate, ==, pirl_schedule_at (&config.schedule, 5));
  data_clear (&data);
}

static void
test_skipped_steps (gconstpointer eager)
{
  skip_steps (PIRL_NCE, GPOINTER_TO_INT (eager));
  skip_steps (MOCO, GPOINTER_TO_INT (eager));
}

/* Weights that are no numbers make every step overflow: at 2^-11 that is an error, not a wait. */
static void
test_scale_runs_out (void)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  g_autoptr (GError) error = NULL;
  PirlStepStats stats;
  guint step;
  Data data;

  set_up ();
  data_init (&data);
  configure (&config, PIRL);
  trainer = new_trainer (&config);
  train_step (trainer, &data, 0);
  fake->overflows = 100;
  for (step = 1; pirl_trainer_step (trainer, data_batch (&data, step), NULL, &stats, &error);
      step++)
    g_assert_true (stats.skipped);
  g_test_message ("%s", error->message);
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE);
  g_assert_nonnull (strstr (error->message, "loss scale"));
  /* The 26th halving of 2^15 ends below 2^-10. */
  g_assert_cmpuint (step, ==, 26);
  g_assert_cmpuint (pirl_trainer_steps (trainer), ==, 26);
  data_clear (&data);
}

/* Without a scale there is nothing to halve: the error of any device. */
static void
test_not_finite_unscaled (void)
{
  static const gchar *const precisions[] = { "f32", "bf16", "tf32" };
  Data data;

  set_up ();
  data_init (&data);
  for (guint i = 0; i < G_N_ELEMENTS (precisions); i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) trainer = NULL;
    g_autoptr (GByteArray) before = NULL, after = NULL;
    g_autoptr (GError) error = NULL;
    PirlStepStats stats;

    configure (&config, PIRL);
    config.precision = (gchar *) precisions[i];
    trainer = new_trainer (&config);
    g_assert_cmpint (trainer->device->tf32, ==, i == 2);
    stats = train_step (trainer, &data, 0);
    g_assert_cmpfloat (stats.loss_scale, ==, 0);
    before = trainer_bits (trainer, 16);
    fake->overflows = 1;
    g_assert_false (pirl_trainer_step (trainer, data_batch (&data, 1), NULL, &stats, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE);
    g_assert_nonnull (strstr (error->message, "step 2: a gradient is not finite"));
    after = trainer_bits (trainer, 16);
    g_assert_cmpmem (before->data, before->len, after->data, after->len);
    g_assert_cmpuint (pirl_trainer_steps (trainer), ==, 1);
  }
  data_clear (&data);
}

/* A step that fails or is cancelled at any of its operations, at its launch or its end, whether
 * what was queued before has run or not, leaves no trace. */
static void
fail_steps (guint training, gboolean eager)
{
  static const gint places[] = { 1, 2, 20, 50, 75 };
  enum { FAIL, CANCEL, LAUNCH, END, N_WAYS };
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) plain = NULL, trainer = NULL;
  guint failed = 0;
  Data data;

  set_up ();
  fake->eager = eager;
  data_init_for (&data, trainings[training].objective);
  configure (&config, training);
  plain = new_trainer (&config);
  trainer = new_trainer (&config);
  for (guint step = 0; step < 4; step++) {
    train_step (plain, &data, step);
    for (guint i = 0; i < N_WAYS * G_N_ELEMENTS (places); i++) {
      const guint way = i % N_WAYS;
      const gint place = places[i / N_WAYS];
      g_autoptr (GError) error = NULL;
      PirlStepStats stats;
      gint cancel = 0;

      /* What the optimiser has done cannot be undone. */
      if (fake->eager && (way == LAUNCH || way == END))
        continue;
      fake->fail_at = way == FAIL ? place : 0;
      fake->cancel_at = way == CANCEL ? place : 0;
      fake->cancel = &cancel;
      fake->fail_launch = way == LAUNCH;
      fake->fail_end = way == END;
      g_assert_false (pirl_trainer_step (trainer, data_batch (&data, step), &cancel, &stats,
              &error));
      if (way == CANCEL)
        g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      else
        g_assert_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND);
      g_assert_cmpuint (pirl_trainer_steps (trainer), ==, step);
      failed++;
    }
    fake->fail_at = fake->cancel_at = 0;
    train_step (trainer, &data, step);
    assert_same (plain, trainer);
  }
  g_test_message ("%u steps failed", failed);
  g_assert_cmpint (fake->aborted, ==, failed);
  data_clear (&data);
}

static void
test_failures_leave_no_trace (gconstpointer eager)
{
  fail_steps (PIRL_NCE, GPOINTER_TO_INT (eager));
  fail_steps (MOCO, GPOINTER_TO_INT (eager));
}

/* The scale is a part of the state, the precision a setting. */
static void
test_checkpoints (void)
{
  g_autofree gchar *path = temporary_path ("steps.safetensors");
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) whole = NULL, first = NULL, second = NULL, plain = NULL, other = NULL;
  g_autoptr (GError) error = NULL;
  PirlPosition position;
  PirlStepStats stats;
  Data data;

  set_up ();
  data_init (&data);
  configure (&config, PIRL_AFTER);
  whole = new_trainer (&config);
  first = new_trainer (&config);
  second = new_trainer (&config);
  fake->overflows = 1;
  overlapped_steps (whole, &data, 0, 9);
  fake->overflows = 1;
  overlapped_steps (first, &data, 0, 4);
  g_assert_cmpfloat (first->loss_scale.scale, ==, 16384);
  g_assert_cmpuint (first->loss_scale.clean, ==, 3);
  pirl_trainer_save (first, path, NULL, &error);
  g_assert_no_error (error);
  pirl_trainer_resume (second, path, &position, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (second->loss_scale.scale, ==, 16384);
  g_assert_cmpuint (second->loss_scale.clean, ==, 3);
  stats = overlapped_steps (second, &data, 4, 9);
  g_assert_cmpfloat (stats.loss_scale, ==, 16384);
  g_assert_cmpuint (second->loss_scale.clean, ==, whole->loss_scale.clean);
  assert_same (whole, second);
  /* Another precision, on the same device or on another. */
  config.precision = (gchar *) "bf16";
  other = new_trainer (&config);
  g_assert_false (pirl_trainer_resume (other, path, &position, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "precision = fp16, now it is bf16"));
  g_clear_error (&error);
  config.device = (gchar *) "cpu";
  config.precision = (gchar *) "f32";
  plain = new_trainer (&config);
  g_assert_false (pirl_trainer_resume (plain, path, &position, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "precision = fp16, now it is f32"));
  g_unlink (path);
  data_clear (&data);
}

/* What a device does not do is refused with its reason. */
static void
test_precisions (void)
{
  static const struct {
    const gchar *device, *precision, *text;
    gint code;
  } cases[] = {
    {"cpu", "fp16", "precision fp16 does not work for training on cpu", PIRL_ERROR_UNSUPPORTED},
    {"cpu", "tf32", "CUDA card", PIRL_ERROR_UNSUPPORTED},
    {"reference", "fp16", "double precision only", PIRL_ERROR_UNSUPPORTED},
    {"cuda", "int8", "auto, f32, tf32, bf16 and fp16", PIRL_ERROR_INVALID},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    PirlTrainerConfig config;
    g_autoptr (GError) error = NULL;

    configure (&config, PIRL);
    config.device = (gchar *) cases[i].device;
    config.precision = (gchar *) cases[i].precision;
    g_assert_null (pirl_trainer_new (&config, &error));
    g_test_message ("%s", error->message);
    g_assert_error (error, PIRL_ERROR, cases[i].code);
    g_assert_nonnull (strstr (error->message, cases[i].text));
  }
}

static void
test_misuse (void)
{
  g_autofree gchar *path = temporary_path ("misuse.safetensors");
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL, nce = NULL;
  g_autoptr (GError) error = NULL;
  PirlStepStats stats;
  PirlBatch batch;
  Data data;

  set_up ();
  data_init (&data);
  configure (&config, PIRL);
  trainer = new_trainer (&config);
  batch = *data_batch (&data, 0);
  g_assert_false (pirl_trainer_end (trainer, &stats, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  batch.images = batch.patches = NULL;
  g_assert_false (pirl_trainer_begin (trainer, &batch, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_assert_nonnull (strstr (error->message, "no pictures"));
  g_clear_error (&error);
  batch = *data_batch (&data, 0);
  g_assert_true (pirl_trainer_begin (trainer, &batch, NULL, NULL));
  g_assert_false (pirl_trainer_begin (trainer, &batch, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_false (pirl_trainer_save (trainer, path, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_true (pirl_trainer_end (trainer, &stats, NULL));
  /* Staged pictures that were not used are not there for the step after. */
  g_assert_true (pirl_trainer_stage (trainer, &batch, NULL));
  g_assert_true (pirl_trainer_step (trainer, &batch, NULL, &stats, NULL));
  batch.images = NULL;
  g_assert_false (pirl_trainer_begin (trainer, &batch, NULL, NULL));
  /* Z is estimated from pictures that are here. */
  configure (&config, PIRL_NCE);
  nce = new_trainer (&config);
  batch = *data_batch (&data, 0);
  g_assert_true (pirl_trainer_stage (nce, &batch, NULL));
  batch.images = NULL;
  g_assert_false (pirl_trainer_begin (nce, &batch, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  /* A trainer may go in the middle of a step. */
  batch = *data_batch (&data, 0);
  g_assert_true (pirl_trainer_begin (nce, &batch, NULL, NULL));
  g_clear_pointer (&nce, pirl_trainer_free);
  g_assert_cmpint (fake->aborted, ==, 1);
  data_clear (&data);
}

static FakeCuda *
find_fake (void)
{
  gpointer module = dlopen (g_getenv ("PIRL_CUDA_MODULE"), RTLD_NOW | RTLD_LOCAL);
  FakeCudaState state;

  if (!module)
    g_error ("PIRL_CUDA_MODULE must name the module made of fake-cuda.c: %s", dlerror ());
  state = (FakeCudaState) dlsym (module, FAKE_CUDA_STATE);
  g_assert_nonnull (state);
  return state ();
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fake = find_fake ();
  for (guint i = 0; i < G_N_ELEMENTS (trainings); i++) {
    g_autofree gchar *path = g_strconcat ("/steps/same-bits/", trainings[i].name, NULL);

    g_test_add_data_func (path, GUINT_TO_POINTER (i), test_same_bits);
  }
  g_test_add_func ("/steps/halves-on-the-cpu", test_halves_on_the_cpu);
  g_test_add_data_func ("/steps/skipped", GINT_TO_POINTER (FALSE), test_skipped_steps);
  g_test_add_data_func ("/steps/skipped-eager", GINT_TO_POINTER (TRUE), test_skipped_steps);
  g_test_add_func ("/steps/scale-runs-out", test_scale_runs_out);
  g_test_add_func ("/steps/not-finite-unscaled", test_not_finite_unscaled);
  g_test_add_data_func ("/steps/failures", GINT_TO_POINTER (FALSE), test_failures_leave_no_trace);
  g_test_add_data_func ("/steps/failures-eager", GINT_TO_POINTER (TRUE),
      test_failures_leave_no_trace);
  g_test_add_func ("/steps/checkpoints", test_checkpoints);
  g_test_add_func ("/steps/precisions", test_precisions);
  g_test_add_func ("/steps/misuse", test_misuse);
  return g_test_run ();
}
