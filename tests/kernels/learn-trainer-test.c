/* gst-pirl: training steps: closed forms at the start, learning, cancelling, resuming bit for bit,
 * what stops a training and with which words.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gio/gio.h>
#include <glib/gstdio.h>

#include "learn/knn.h"
#include "learn-common.h"

/* --- tests --- */

/* Independent random unit vectors, d = 128 (pirl.md, section 3.1): Z / rows = 2.209 at tau = .07,
 * NCE = ln (K Z) + 1, InfoNCE = ln (K Z); a batch's mean has standard deviation 1.263 / sqrt (B). */
static void
test_start_closed_forms (void)
{
  static const struct {
    PirlLoss loss;
    gdouble temperature, z, expected, deviation;
  } cases[] = {
    {PIRL_LOSS_NCE, 0.07, 2.209, 8.70, 1.263},
    {PIRL_LOSS_INFONCE, 0.07, 2.209, 7.70, 1.263},
    {PIRL_LOSS_NCE, 0.10, 1.476, 8.30, 0.884},
    {PIRL_LOSS_INFONCE, 0.10, 1.476, 7.30, 0.884},
  };
  Data data;

  data_init (&data);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) trainer = NULL;
    PirlStepStats stats;
    const gdouble tolerance = 4 * cases[i].deviation / sqrt (BATCH);

    small_config (&config);
    config.dim = 128;
    config.bank_rows = 10000;
    config.negatives = 1000;
    config.loss = cases[i].loss;
    config.temperature = cases[i].temperature;
    config.z_mode = PIRL_Z_FIRST_BATCH;
    trainer = new_trainer (&config);
    stats = train_step (trainer, &data, 0);
    g_test_message ("tau %g: loss %g (images %g, patches %g), z %g", cases[i].temperature,
        stats.loss, stats.loss_image, stats.loss_patches, stats.z);
    g_assert_cmpfloat_with_epsilon (stats.loss_image, cases[i].expected, tolerance);
    g_assert_cmpfloat_with_epsilon (stats.loss_patches, cases[i].expected, tolerance);
    g_assert_cmpfloat_with_epsilon (stats.loss, (stats.loss_image + stats.loss_patches) / 2, 1e-9);
    if (cases[i].loss == PIRL_LOSS_NCE)
      g_assert_cmpfloat_with_epsilon (stats.z, cases[i].z, 0.15 * cases[i].z);
    else
      g_assert_cmpfloat (stats.z, ==, 0);
  }
  data_clear (&data);
}

/* The loss on a handful of pictures falls, samples come closer to their own rows, and the bank's
 * kNN sees the labels; with rows of 16 bits as well. */
static void
test_learns (void)
{
  static const PirlLoss losses[] = { PIRL_LOSS_INFONCE, PIRL_LOSS_NCE, PIRL_LOSS_NCE };
  static const gchar *const banks[] = { "f32", "f32", "fp16" };
  Data data;

  data_init (&data);
  for (guint i = 0; i < G_N_ELEMENTS (losses); i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) trainer = NULL;
    gdouble first = 0, last = 0, positive = 0;

    small_config (&config);
    config.loss = losses[i];
    config.bank_precision = (gchar *) banks[i];
    config.schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 0.03, 0, 4, 0 };
    trainer = new_trainer (&config);
    g_assert_true (isnan (pirl_trainer_bank_knn (trainer, 0)));
    for (guint step = 0; step < 96; step++) {
      const PirlStepStats stats = train_step (trainer, &data, step);

      g_assert_cmpuint (stats.step, ==, step + 1);
      if (step < 8)
        first += stats.loss / 8;
      if (step >= 88) {
        last += stats.loss / 8;
        positive += stats.positive_image / 8;
      }
    }
    g_test_message ("loss %g -> %g, cosine with the own row %.3f", first, last, positive);
    g_assert_cmpfloat (last, <, first - 1);
    g_assert_cmpfloat (positive, >, 0.8);
    g_assert_false (isnan (pirl_trainer_bank_knn (trainer, 10)));
  }
  data_clear (&data);
}

/* A step leaves the negatives of its patches behind (units-test holds the draws themselves to
 * pirl_rng_below()): the sample's own row is never among them, or, asked for, may be. */
static void
test_negatives (void)
{
  const guint64 k = 1000;
  g_autofree guint32 *negative = g_new (guint32, BATCH * k);
  Data data;

  data_init (&data);
  for (gint exclude = FALSE; exclude <= TRUE; exclude++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) trainer = NULL;

    small_config (&config);
    config.bank_rows = 3000;
    config.negatives = k;
    config.exclude_positive = exclude;
    trainer = new_trainer (&config);
    train_step (trainer, &data, 11);
    g_assert_true (trainer->device->backend->download (trainer->device, negative,
            trainer->negative, BATCH * k * sizeof *negative, NULL));
    for (guint b = 0; b < BATCH; b++) {
      const guint32 own = data.rows[b];
      PirlRng rng;

      pirl_rng_init (&rng, config.seed, 11 / (ROWS / BATCH), own, PIRL_PURPOSE_NEGATIVES_PRETEXT);
      for (guint64 j = 0; j < k; j++) {
        const guint32 draw = pirl_rng_below (&rng, 3000 - (guint32) exclude);

        g_assert_cmpuint (negative[b * k + j], ==, draw + (exclude && draw >= own));
      }
    }
  }
  data_clear (&data);
}

/* NPID has no patches: neither their loss nor their parameters. */
static void
test_npid (void)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  Data data;
  PirlStepStats stats;

  data_init (&data);
  small_config (&config);
  config.objective = PIRL_OBJECTIVE_NPID;
  trainer = new_trainer (&config);
  stats = train_step (trainer, &data, 0);
  g_assert_cmpfloat (stats.loss, ==, stats.loss_image);
  g_assert_cmpfloat (stats.loss_patches, ==, 0);
  g_assert_cmpint (pirl_params_find (pirl_trainer_params (trainer), "head.g.concat.weight"), ==,
      -1);
  data_clear (&data);
}

static gpointer
cancel_soon (gpointer data)
{
  g_usleep (3000);
  g_atomic_int_set ((gint *) data, 1);
  return NULL;
}

/* A step that was cancelled, at its beginning or in its middle, leaves no trace. */
static void
test_cancel_leaves_no_trace (void)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) plain = NULL, cancelled = NULL;
  guint n_cancelled = 0;
  Data data;

  data_init (&data);
  small_config (&config);
  config.loss = PIRL_LOSS_NCE;
  plain = new_trainer (&config);
  cancelled = new_trainer (&config);
  for (guint step = 0; step < 4; step++) {
    PirlStepStats stats, expected = train_step (plain, &data, step);

    for (guint attempt = 0; attempt < 4; attempt++) {
      gint cancel = attempt == 0;
      g_autoptr (GError) error = NULL;
      GThread *thread = g_thread_new ("cancel", cancel_soon, &cancel);
      const gboolean done = pirl_trainer_step (cancelled, data_batch (&data, step), &cancel,
          &stats, &error);

      g_thread_join (thread);
      if (done)
        break;
      g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
      n_cancelled++;
      g_assert_cmpuint (pirl_trainer_steps (cancelled), ==, step);
    }
    if (pirl_trainer_steps (cancelled) == step)
      stats = train_step (cancelled, &data, step);
    g_assert_cmpfloat (stats.loss, ==, expected.loss);
    g_assert_cmpfloat (stats.z, ==, expected.z);
  }
  g_test_message ("%u steps were cancelled", n_cancelled);
  g_assert_cmpuint (n_cancelled, >=, 4);
  assert_same_bits (plain, cancelled);
  data_clear (&data);
}

/* A step in two halves, its pictures brought while the step before it runs. */
static void
train_overlapped (PirlTrainer *trainer, Data *data, guint step)
{
  PirlBatch batch = *data_batch (data, step);
  g_autoptr (GError) error = NULL;
  PirlStepStats stats;

  if (step > 0)
    batch.images = batch.patches = NULL;        /* staged */
  pirl_trainer_begin (trainer, &batch, NULL, &error);
  g_assert_no_error (error);
  pirl_trainer_stage (trainer, data_batch (data, step + 1), &error);
  g_assert_no_error (error);
  pirl_trainer_end (trainer, &stats, &error);
  g_assert_no_error (error);
}

/* A device that records its steps and replays them, and is brought the next pictures meanwhile,
 * does what one does that runs them as they come. */
static void
test_overlap_bits (void)
{
  static const gchar *const precisions[] = { "f32", "auto" };
  Data data;

  data_init (&data);
  for (guint i = 0; i < G_N_ELEMENTS (precisions); i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) plain = NULL, overlapped = NULL;

    small_config (&config);
    config.precision = (gchar *) precisions[i];
    config.loss = i == 0 ? PIRL_LOSS_NCE : PIRL_LOSS_INFONCE;
    g_setenv ("PIRL_CUDA_GRAPHS", "0", TRUE);
    plain = new_trainer (&config);
    g_unsetenv ("PIRL_CUDA_GRAPHS");
    overlapped = new_trainer (&config);
    for (guint step = 0; step < 7; step++) {
      train_step (plain, &data, step);
      train_overlapped (overlapped, &data, step);
    }
    assert_same_bits (plain, overlapped);
  }
  data_clear (&data);
}

static void
assert_saved_bank (const gchar *path, PirlDType dtype)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, NULL);
  const PirlTensor *bank = file ? pirl_safetensors_lookup (file, "state.bank") : NULL;

  g_assert_nonnull (bank);
  g_assert_cmpstr (pirl_dtype_name (bank->dtype), ==, pirl_dtype_name (dtype));
}

static void
test_resume_bits (void)
{
  static const PirlZMode modes[] = { PIRL_Z_EMA, PIRL_Z_FIRST_BATCH };
  g_autofree gchar *path = temporary_path ("resume.safetensors");
  Data data;

  data_init (&data);
  for (guint m = 0; m < G_N_ELEMENTS (modes); m++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) whole = NULL, first = NULL, second = NULL;
    PirlPosition position = { 1, 40, G_MAXUINT64 - 1, (gchar *) "abc\"\\\303\244",
      (gchar *) "stripes\ndots", 1234567890123456789u };
    PirlPosition read;
    g_autoptr (GError) error = NULL;

    small_config (&config);
    config.loss = PIRL_LOSS_NCE;
    config.z_mode = modes[m];
    config.head = m ? PIRL_HEAD_MLP : PIRL_HEAD_BN;
    config.bank_precision = (gchar *) (m ? "fp16" : "f32");
    config.temperature = 0.1 + 1e-17 + 0.0123456789;
    whole = new_trainer (&config);
    first = new_trainer (&config);
    for (guint step = 0; step < 12; step++)
      train_step (whole, &data, step);
    for (guint step = 0; step < 7; step++)
      train_step (first, &data, step);
    pirl_trainer_save (first, path, &position, &error);
    g_assert_no_error (error);
    assert_saved_bank (path, m ? PIRL_DTYPE_F16 : PIRL_DTYPE_F32);
    config.seed = 3;
    second = new_trainer (&config);
    train_step (second, &data, 3);      /* what it did before must not matter */
    pirl_trainer_resume (second, path, &read, &error);
    g_assert_no_error (error);
    assert_same_bits (first, second);
    g_assert_cmpuint (read.epoch, ==, position.epoch);
    g_assert_cmpuint (read.index, ==, position.index);
    g_assert_cmpuint (read.seed, ==, position.seed);
    g_assert_cmpuint (read.samples, ==, position.samples);
    g_assert_cmpstr (read.hash, ==, position.hash);
    g_assert_cmpstr (read.class_names, ==, position.class_names);
    pirl_position_clear (&read);
    for (guint step = 7; step < 12; step++)
      train_step (second, &data, step);
    g_assert_cmpuint (pirl_trainer_steps (second), ==, 12);
    assert_same_bits (whole, second);
    g_assert_cmpfloat (pirl_trainer_bank_knn (whole, 0), ==, pirl_trainer_bank_knn (second, 0));

    pirl_trainer_peek (path, &read, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (read.index, ==, 40);
    pirl_position_clear (&read);
  }
  g_unlink (path);
  data_clear (&data);
}

/* --- bank in 16 bits --- */

/* Rows of 17 halves, which are no whole words: a step on them, and one that is cancelled. */
static void
odd_bank_config (PirlTrainerConfig *config, PirlLoss loss, const gchar *bank_precision)
{
  small_config (config);
  config->precision = (gchar *) "f32";
  config->dim = 17;
  config->loss = loss;
  config->bank_precision = (gchar *) bank_precision;
  config->schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 0 };
}

/* Whether what the bank holds are halves, of unit length; how far from those of @other at most. */
static gdouble
compare_banks (PirlTrainer *half, PirlTrainer *other, guint dim)
{
  g_autofree gfloat *a = g_new (gfloat, ROWS * dim), *b = g_new (gfloat, ROWS * dim);
  g_autofree guint16 *halves = g_new (guint16, ROWS * dim);
  g_autofree gfloat *back = g_new (gfloat, ROWS * dim);
  gdouble worst = 0;

  g_assert_true (pirl_trainer_read_bank (half, a, NULL));
  g_assert_true (pirl_trainer_read_bank (other, b, NULL));
  pirl_from_float (PIRL_DTYPE_F16, a, halves, ROWS * dim);
  pirl_to_float (PIRL_DTYPE_F16, halves, back, ROWS * dim);
  g_assert_cmpmem (a, ROWS * dim * sizeof *a, back, ROWS * dim * sizeof *back);
  for (guint r = 0; r < ROWS; r++) {
    gdouble square = 0;

    for (guint d = 0; d < dim; d++) {
      square += (gdouble) a[r * dim + d] * a[r * dim + d];
      worst = MAX (worst, fabs (a[r * dim + d] - b[r * dim + d]));
    }
    g_assert_cmpfloat_with_epsilon (square, 1, 1e-3);
  }
  return worst;
}

/* A bank of halves gives the losses of one of floats: a number's rounding is 2^-11 of it at most,
 * and those of a row even out in its scores. The weights stand still while rows come and go: a
 * training makes a tenth of what begins as a millionth within ten steps. */
static void
test_half_bank (void)
{
  static const PirlLoss losses[] = { PIRL_LOSS_INFONCE, PIRL_LOSS_NCE };
  Data data;

  data_init (&data);
  for (guint l = 0; l < G_N_ELEMENTS (losses); l++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) full = NULL, half = NULL;
    gint cancel = 1;
    gdouble worst = 0, rows;
    PirlStepStats stats;

    odd_bank_config (&config, losses[l], "f32");
    full = new_trainer (&config);
    odd_bank_config (&config, losses[l], "fp16");
    half = new_trainer (&config);
    g_assert_cmpstr (pirl_trainer_bank_precision (half), ==, "fp16");
    rows = compare_banks (half, full, 17);
    g_assert_cmpfloat (rows, >, 1e-6);
    g_assert_cmpfloat (rows, <, 1.0 / 2048);
    for (guint step = 0; step < 3 * ROWS / BATCH; step++) {
      const PirlStepStats expected = train_step (full, &data, step);

      g_assert_false (pirl_trainer_step (half, data_batch (&data, step), &cancel, &stats, NULL));
      stats = train_step (half, &data, step);
      worst = MAX (worst, fabs (stats.loss / expected.loss - 1));
      worst = MAX (worst, fabs (stats.positive_patches - expected.positive_patches));
    }
    rows = compare_banks (half, full, 17);
    g_test_message ("losses and cosines differ by %.2g, numbers of rows by %.2g", worst, rows);
    g_assert_cmpfloat (worst, <, 2e-4);
    g_assert_cmpfloat (rows, <, 1.0 / 1024);
    g_assert_false (isnan (pirl_trainer_bank_knn (half, 0)));
    g_assert_cmpuint (pirl_trainer_bytes (full) - pirl_trainer_bytes (half), ==,
        ROWS * 17 * (pirl_dtype_size (full->device->param_dtype) - 2));
  }
  data_clear (&data);
}

/* A bank that is saved and resumed in several pieces is the same to the last bit; a number that is
 * none, in the last piece, leaves the checkpoint as it was. */
static void
test_large_bank (void)
{
  static const gchar *const banks[] = { "f32", "fp16" };
  const gsize rows = 2 * PIRL_BANK_CHUNK + 3, n = rows * 17;
  g_autofree gchar *path = temporary_path ("large.safetensors");
  g_autofree gfloat *a = g_new (gfloat, n), *b = g_new (gfloat, n);

  for (guint i = 0; i < G_N_ELEMENTS (banks); i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) first = NULL, second = NULL;
    g_autoptr (GError) error = NULL;
    PirlPosition position;

    odd_bank_config (&config, PIRL_LOSS_INFONCE, banks[i]);
    config.bank_rows = rows;
    first = new_trainer (&config);
    second = new_trainer (&config);
    for (gsize j = 0; j < n; j++)
      a[j] = (gfloat) (j % 2039) / 2048;        /* has 11 bits: halves hold it */
    g_assert_true (pirl_trainer_write_bank (first, a, NULL));
    pirl_trainer_save (first, path, NULL, &error);
    g_assert_no_error (error);
    pirl_trainer_resume (second, path, &position, &error);
    g_assert_no_error (error);
    pirl_position_clear (&position);
    g_assert_true (pirl_trainer_read_bank (second, b, NULL));
    g_assert_cmpmem (a, n * sizeof *a, b, n * sizeof *b);

    b[n - 1] = NAN;
    g_assert_true (pirl_trainer_write_bank (first, b, NULL));
    g_assert_false (pirl_trainer_save (first, path, NULL, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE);
    g_assert_nonnull (strstr (error->message, "state.bank"));
    pirl_trainer_resume (second, path, &position, NULL);
    pirl_position_clear (&position);
    g_assert_true (pirl_trainer_read_bank (second, b, NULL));
    g_assert_cmpmem (a, n * sizeof *a, b, n * sizeof *b);
  }
  g_unlink (path);
}

/* auto, what is not known, what a checkpoint of the other says. */
static void
test_bank_precision (void)
{
  g_autofree gchar *path = temporary_path ("bank.safetensors");
  const gboolean cuda = strncmp (test_device (), "cuda", 4) == 0;
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) automatic = NULL, full = NULL, half = NULL;
  g_autoptr (GError) error = NULL;
  PirlPosition position;

  small_config (&config);
  automatic = new_trainer (&config);
  g_assert_cmpstr (pirl_trainer_bank_precision (automatic), ==, cuda ? "fp16" : "f32");
  config.precision = (gchar *) "f32";
  config.bank_precision = NULL;
  full = new_trainer (&config);
  g_assert_cmpstr (pirl_trainer_bank_precision (full), ==, "f32");
  config.bank_precision = (gchar *) "fp16";
  half = new_trainer (&config);
  pirl_trainer_save (full, path, NULL, &error);
  g_assert_no_error (error);
  g_assert_false (pirl_trainer_resume (half, path, &position, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "bank_precision = f32, now it is fp16"));
  g_clear_error (&error);
  config.bank_precision = (gchar *) "bf16";
  g_assert_null (pirl_trainer_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_assert_nonnull (strstr (error->message, "bank-precision \"bf16\""));
  g_unlink (path);
}

/* --- labels --- */

enum { CLASSES = 5 };

static void
labels_config (PirlTrainerConfig *config, PirlTrunk trunk, PirlOptimizer optimizer)
{
  small_config (config);
  config->objective = PIRL_OBJECTIVE_SUPERVISED;
  config->classes = CLASSES;
  config->trunk = trunk;
  config->optimizer = optimizer;
  config->bank_rows = 0;
  config->n_threads = 1;        /* so little work is done sooner by one */
  config->schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT,
    optimizer == PIRL_OPTIMIZER_ADAM ? 2e-3 : 0.03, 0, 5, 0 };
}

static const struct {
  PirlTrunk trunk;
  PirlOptimizer optimizer;
  guint steps;
} label_cases[] = {
  {{PIRL_ARCH_RESNET18, 8, 0}, PIRL_OPTIMIZER_SGD, 80},
  {{PIRL_ARCH_RESNET18, 8, 0}, PIRL_OPTIMIZER_ADAM, 80},
  {{PIRL_ARCH_MOBILENETV2, 0, 0.25}, PIRL_OPTIMIZER_ADAM, 240},
};

/* 32 pictures learnt by heart. A classifier that begins with N(0, 0.01) begins at log (classes). */
static void
test_labels_learnt (void)
{
  Data data;

  data_init (&data);
  for (guint i = 0; i < G_N_ELEMENTS (label_cases); i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) trainer = NULL;
    PirlStepStats stats;
    gdouble loss = 0, accuracy = 0;

    labels_config (&config, label_cases[i].trunk, label_cases[i].optimizer);
    trainer = new_trainer (&config);
    stats = train_step (trainer, &data, 0);
    if (config.trunk.arch == PIRL_ARCH_MOBILENETV2)
      g_assert_cmpfloat_with_epsilon (stats.loss, log (CLASSES), 0.25);
    for (guint step = 0; step < label_cases[i].steps; step++) {
      stats = train_step (trainer, &data, step % 4);
      if (step + 4 >= label_cases[i].steps) {
        loss += stats.loss / 4;
        accuracy += stats.accuracy / 4;
      }
    }
    g_test_message ("case %u: loss %.3f, accuracy %.3f", i, loss, accuracy);
    g_assert_cmpfloat (loss, <, 0.1);
    g_assert_cmpfloat (accuracy, ==, 1);
    g_assert_true (isnan (pirl_trainer_bank_knn (trainer, 0)));
  }
  data_clear (&data);
}

static void
test_labels_resume_bits (void)
{
  g_autofree gchar *path = temporary_path ("labels.safetensors");
  Data data;

  data_init (&data);
  for (guint i = 0; i < G_N_ELEMENTS (label_cases); i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) whole = NULL, first = NULL, second = NULL, other = NULL;
    g_autoptr (GError) error = NULL;
    PirlPosition position;

    labels_config (&config, label_cases[i].trunk, label_cases[i].optimizer);
    whole = new_trainer (&config);
    first = new_trainer (&config);
    second = new_trainer (&config);
    for (guint step = 0; step < 6; step++)
      train_step (whole, &data, step);
    for (guint step = 0; step < 3; step++)
      train_step (first, &data, step);
    pirl_trainer_save (first, path, NULL, &error);
    g_assert_no_error (error);
    pirl_trainer_resume (second, path, &position, &error);
    g_assert_no_error (error);
    pirl_position_clear (&position);
    for (guint step = 3; step < 6; step++)
      train_step (second, &data, step);
    assert_same_bits (whole, second);
    config.optimizer = !config.optimizer;
    other = new_trainer (&config);
    g_assert_false (pirl_trainer_resume (other, path, &position, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
    g_assert_nonnull (strstr (error->message, "optimizer"));
  }
  g_unlink (path);
  data_clear (&data);
}

static void
test_labels_errors (void)
{
  static const gint wrong[] = { -1, CLASSES };
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  g_autoptr (GByteArray) before = NULL, after = NULL;
  g_autoptr (GError) error = NULL;
  PirlStepStats stats;
  PirlBatch batch;
  Data data;

  data_init (&data);
  labels_config (&config, label_cases[0].trunk, PIRL_OPTIMIZER_SGD);
  trainer = new_trainer (&config);
  before = trainer_bits (trainer, 0);
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    batch = *data_batch (&data, 0);
    data.labels[3] = wrong[i];
    g_assert_false (pirl_trainer_step (trainer, &batch, NULL, &stats, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_assert_nonnull (strstr (error->message, "0 to 4"));
    g_clear_error (&error);
  }
  batch.labels = NULL;
  g_assert_false (pirl_trainer_step (trainer, &batch, NULL, &stats, &error));
  g_clear_error (&error);
  after = trainer_bits (trainer, 0);
  g_assert_cmpmem (before->data, before->len, after->data, after->len);
  config.classes = 1;
  g_assert_null (pirl_trainer_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_assert_nonnull (strstr (error->message, "classes is 1"));
  data_clear (&data);
}

/* A network that was trained for other classes lends its trunk, one for as many its classifier too. */
static void
test_labels_from_weights (void)
{
  g_autofree gchar *path = temporary_path ("weights.safetensors");
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) five = NULL, again = NULL, seven = NULL;
  g_autoptr (GError) error = NULL;
  gint trunk, classifier;

  labels_config (&config, label_cases[2].trunk, PIRL_OPTIMIZER_ADAM);
  five = new_trainer (&config);
  pirl_trainer_save (five, path, NULL, &error);
  g_assert_no_error (error);
  config.seed++;
  again = new_trainer (&config);
  config.classes = 7;
  seven = new_trainer (&config);
  pirl_trainer_load_weights (again, path, &error);
  g_assert_no_error (error);
  assert_same_bits (five, again);
  pirl_trainer_load_weights (seven, path, &error);
  g_assert_no_error (error);
  trunk = pirl_params_find (pirl_trainer_params (seven), "features.3.conv.2.weight");
  classifier = pirl_params_find (pirl_trainer_params (seven), "classifier.1.weight");
  {
    g_autofree gfloat *a = test_read_param (five->params, PIRL_ARENA_VALUE, (guint) trunk);
    g_autofree gfloat *b = test_read_param (seven->params, PIRL_ARENA_VALUE, (guint) trunk);
    g_autofree gfloat *c = test_read_param (five->params, PIRL_ARENA_VALUE, (guint) classifier);
    g_autofree gfloat *d = test_read_param (seven->params, PIRL_ARENA_VALUE, (guint) classifier);

    g_assert_cmpmem (a, 8 * sizeof *a, b, 8 * sizeof *b);
    g_assert_cmpint (memcmp (c, d, 8 * sizeof *c), !=, 0);
  }
  g_unlink (path);
}

/* A MobileNetV2 can be trained without labels as well. */
static void
test_mobilenet_without_labels (void)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  gdouble first = 0, last = 0;
  Data data;

  data_init (&data);
  small_config (&config);
  config.trunk = label_cases[2].trunk;
  config.schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 0.03, 0, 5, 0 };
  trainer = new_trainer (&config);
  for (guint step = 0; step < 64; step++) {
    const PirlStepStats stats = train_step (trainer, &data, step);

    first += step < 8 ? stats.loss / 8 : 0;
    last += step >= 56 ? stats.loss / 8 : 0;
  }
  g_test_message ("loss %.3f -> %.3f", first, last);
  g_assert_cmpfloat (last, <, 0.9 * first);
  data_clear (&data);
}

/* Another setting, another network, a plain model: named, and nothing changes. */
static void
test_resume_errors (void)
{
  g_autofree gchar *path = temporary_path ("errors.safetensors");
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL, other = NULL, wider = NULL;
  g_autoptr (GByteArray) before = NULL, after = NULL;
  PirlPosition position;
  Data data;
  g_autoptr (GError) error = NULL;

  data_init (&data);
  small_config (&config);
  trainer = new_trainer (&config);
  train_step (trainer, &data, 0);
  pirl_trainer_save (trainer, path, NULL, &error);
  g_assert_no_error (error);
  config.temperature = 0.5;
  other = new_trainer (&config);
  before = trainer_bits (other, 16);
  g_assert_false (pirl_trainer_resume (other, path, &position, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "temperature = 0.2, now it is 0.5"));
  g_clear_error (&error);
  after = trainer_bits (other, 16);
  g_assert_cmpmem (before->data, before->len, after->data, after->len);
  config.trunk.base_width = 4;
  wider = new_trainer (&config);
  g_assert_false (pirl_trainer_load_weights (wider, path, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "base width 8"));
  g_clear_error (&error);
  /* Starting from the weights is allowed with other settings. */
  pirl_trainer_load_weights (other, path, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (pirl_trainer_steps (other), ==, 0);
  g_assert_false (pirl_trainer_peek ("/nonexistent/file", &position, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_clear_error (&error);
  /* A directory that is not there: an error, not a crash. */
  g_assert_false (pirl_trainer_save (trainer, "/nonexistent/file", NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_unlink (path);
  data_clear (&data);
}

static void
test_settings_errors (void)
{
  static const struct {
    gsize offset;
    guint64 value;              /* of a guint64 or gint field */
    gboolean wide;
    const gchar *names[2];
  } cases[] = {
    {G_STRUCT_OFFSET (PirlTrainerConfig, batch), 0, FALSE, {"batch-size is 0", "1 to"}},
    {G_STRUCT_OFFSET (PirlTrainerConfig, batch), 1, FALSE, {"batch-size 1", "2 samples"}},
    {G_STRUCT_OFFSET (PirlTrainerConfig, batch), 65, FALSE, {"65", "64"}},
    {G_STRUCT_OFFSET (PirlTrainerConfig, negatives), 64, TRUE, {"64 negatives", "64 rows"}},
    {G_STRUCT_OFFSET (PirlTrainerConfig, patch_size), 33, FALSE, {"33", "32"}},
    {G_STRUCT_OFFSET (PirlTrainerConfig, bank_rows), 1, TRUE, {"bank-size is 1", "from 2"}},
    {G_STRUCT_OFFSET (PirlTrainerConfig, dim), 0, FALSE, {"dim", "is 0"}},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    PirlTrainerConfig config;
    g_autoptr (GError) error = NULL;

    small_config (&config);
    if (cases[i].wide)
      G_STRUCT_MEMBER (guint64, &config, cases[i].offset) = cases[i].value;
    else
      G_STRUCT_MEMBER (gint, &config, cases[i].offset) = (gint) cases[i].value;
    g_assert_null (pirl_trainer_new (&config, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_test_message ("%s", error->message);
    for (guint k = 0; k < 2; k++)
      g_assert_nonnull (strstr (error->message, cases[i].names[k]));
  }
}

/* Sets all elements of a parameter. */
static void
fill_param (PirlTrainer *trainer, const gchar *name, gfloat value)
{
  PirlParams *params = pirl_trainer_params (trainer);
  const gint i = pirl_params_find (params, name);
  gsize n;
  g_autofree gfloat *values = NULL;
  g_autoptr (GError) error = NULL;

  g_assert_cmpint (i, >=, 0);
  n = pirl_shape_count (&pirl_params_spec (params, (guint) i)->shape);
  values = g_new (gfloat, n);
  for (gsize k = 0; k < n; k++)
    values[k] = value;
  pirl_params_write (params, PIRL_ARENA_VALUE, (guint) i, values, &error);
  g_assert_no_error (error);
}

/* A head without weights gives all pictures the embedding of its bias: collapsed after twenty steps,
 * not before, and only after warm-up. */
static void
test_collapse (void)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  g_autoptr (GError) error = NULL;
  PirlStepStats stats;
  guint step;
  Data data;

  data_init (&data);
  small_config (&config);
  config.schedule = (PirlSchedule) { PIRL_SCHEDULE_CONSTANT, 0, 0, 5, 0 };
  trainer = new_trainer (&config);
  fill_param (trainer, "head.f.projection.weight", 0);
  for (step = 0; pirl_trainer_step (trainer, data_batch (&data, step), NULL, &stats, &error);
      step++)
    g_assert_cmpfloat (stats.spread, <, 1e-4);
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_COLLAPSED);
  g_assert_cmpuint (step, ==, 5 + 19);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, "step 25"));
  data_clear (&data);
}

static void
test_not_finite (void)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree gfloat *mean = NULL;
  PirlStepStats stats;
  PirlParams *params;
  Data data;

  data_init (&data);
  small_config (&config);
  config.precision = (gchar *) "f32";   /* with a loss scale the step would be skipped */
  trainer = new_trainer (&config);
  train_step (trainer, &data, 0);
  fill_param (trainer, "layer2.0.conv1.weight", NAN);
  g_assert_false (pirl_trainer_step (trainer, data_batch (&data, 1), NULL, &stats, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, "step 2"));
  g_assert_nonnull (strstr (error->message, "learning-rate"));
  /* The statistics of the step are gone. */
  params = pirl_trainer_params (trainer);
  mean = test_read_param (params, PIRL_ARENA_VALUE,
      (guint) pirl_params_find (params, "layer2.0.bn1.running_mean"));
  g_assert_true (isfinite (mean[0]));
  g_assert_cmpuint (pirl_trainer_steps (trainer), ==, 1);
  data_clear (&data);
}

/* bn_statistics = images: the patches' pass leaves no mark in the running statistics: they are those
 * of a run on images only, at weights that do not move. */
static void
test_bn_statistics (void)
{
  gfloat means[3][8];
  Data data;

  data_init (&data);
  for (guint i = 0; i < 3; i++) {
    PirlTrainerConfig config;
    g_autoptr (PirlTrainer) trainer = NULL;
    g_autofree gfloat *mean = NULL;
    PirlParams *params;

    small_config (&config);
    config.precision = (gchar *) "f32"; /* no step is skipped: its statistics would be lost */
    config.schedule.base = config.schedule.end = 0;
    config.objective = i == 0 ? PIRL_OBJECTIVE_NPID : PIRL_OBJECTIVE_PIRL;
    config.bn_statistics = i == 2 ? PIRL_BN_BOTH : PIRL_BN_IMAGES;
    trainer = new_trainer (&config);
    for (guint step = 0; step < 3; step++)
      train_step (trainer, &data, step);
    params = pirl_trainer_params (trainer);
    mean = test_read_param (params, PIRL_ARENA_VALUE,
        (guint) pirl_params_find (params, "bn1.running_mean"));
    memcpy (means[i], mean, sizeof means[i]);
  }
  g_assert_cmpmem (means[0], sizeof means[0], means[1], sizeof means[1]);
  g_assert_cmpfloat (test_relative (means[1], means[2], 8), >, 1e-3);
  data_clear (&data);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/trainer/start-closed-forms", test_start_closed_forms);
  g_test_add_func ("/trainer/learns", test_learns);
  g_test_add_func ("/trainer/npid", test_npid);
  g_test_add_func ("/trainer/negatives", test_negatives);
  g_test_add_func ("/trainer/cancel-leaves-no-trace", test_cancel_leaves_no_trace);
  g_test_add_func ("/trainer/overlap-bits", test_overlap_bits);
  g_test_add_func ("/trainer/resume-bits", test_resume_bits);
  g_test_add_func ("/trainer/half-bank", test_half_bank);
  g_test_add_func ("/trainer/large-bank", test_large_bank);
  g_test_add_func ("/trainer/bank-precision", test_bank_precision);
  g_test_add_func ("/trainer/labels-learnt", test_labels_learnt);
  g_test_add_func ("/trainer/labels-resume-bits", test_labels_resume_bits);
  g_test_add_func ("/trainer/labels-errors", test_labels_errors);
  g_test_add_func ("/trainer/labels-from-weights", test_labels_from_weights);
  g_test_add_func ("/trainer/mobilenet-without-labels", test_mobilenet_without_labels);
  g_test_add_func ("/trainer/resume-errors", test_resume_errors);
  g_test_add_func ("/trainer/settings-errors", test_settings_errors);
  g_test_add_func ("/trainer/collapse", test_collapse);
  g_test_add_func ("/trainer/not-finite", test_not_finite);
  g_test_add_func ("/trainer/bn-statistics", test_bn_statistics);
  return g_test_run ();
}
