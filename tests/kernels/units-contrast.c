/* gst-pirl: contrastive terms, bank, draws, cross-entropy and optimisers of the tested backend
 * against the reference, or against their definition.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Host values are floats, as in the rest of the unit tests; results are compared by NMSE, the
 * scalars by relative error. Written buffers start as NaN, all have a pattern behind their end.
 * With a bank of F16 both devices get the same rounded rows, so that what they make of them is as
 * close as with one of floats.
 */
#include "units-checks.h"

#include <math.h>
#include <string.h>

#define SEED 23
#define NMSE_LIMIT 1e-10
#define SCALAR_LIMIT 1e-5
/* Of rows in F16: one of a hundred numbers may be rounded to the other side. */
#define HALF_NMSE_LIMIT 1e-8

/* Dense floats on a device; or halves. */
typedef struct {
  PirlDevice *device;
  PirlTensorDesc desc;
  Block block;
} Array;

static gboolean
array_init (Array *array, PirlDevice *device, gsize n, const gfloat *values)
{
  array->device = device;
  array->desc = units_dense (device, (PirlDims) { 1, (gint) n, 1, 1 }, PIRL_DTYPE_F32);
  return units_block_init (&array->block, device, array->desc.bytes, NULL)
      && (values ? device->backend->tensor_write (device, &array->desc, array->block.memory,
          values, NULL) : units_block_poison (&array->block, device, NULL));
}

/* A bank of F16, or as array_init() makes it. */
static gboolean
bank_init (Array *array, PirlDevice *device, gsize n, gboolean half, const gfloat *values)
{
  g_autofree guint16 *halves = half ? g_new (guint16, n) : NULL;

  if (!half)
    return array_init (array, device, n, values);
  array->device = device;
  array->desc = (PirlTensorDesc) { { 1, (gint) n, 1, 1 }, PIRL_DTYPE_F16, n * sizeof *halves };
  pirl_from_float (PIRL_DTYPE_F16, values, halves, n);
  return units_block_init (&array->block, device, array->desc.bytes, NULL)
      && device->backend->upload (device, array->block.memory, halves, array->desc.bytes, NULL);
}

static PirlDType
bank_dtype (const PirlDevice *device, gboolean half)
{
  return half ? PIRL_DTYPE_F16 : device->param_dtype;
}

static gboolean
array_read (const Array *array, gfloat *values)
{
  const PirlBackend *backend = array->device->backend;
  const gsize n = pirl_dims_count (array->desc.dims);
  g_autofree guint16 *halves = NULL;

  if (array->desc.dtype != PIRL_DTYPE_F16)
    return backend->tensor_read (array->device, &array->desc, array->block.memory, values, NULL);
  halves = g_new (guint16, n);
  if (!backend->download (array->device, halves, array->block.memory, array->desc.bytes, NULL))
    return FALSE;
  pirl_to_float (PIRL_DTYPE_F16, halves, values, n);
  return TRUE;
}

/* Reads, checks the guard, frees the device memory. */
static gfloat *
array_take (Array *array)
{
  gfloat *values = g_new (gfloat, pirl_dims_count (array->desc.dims));

  if (!units_block_guarded (&array->block, array->device) || !array_read (array, values))
    g_clear_pointer (&values, g_free);
  units_block_clear (&array->block, array->device);
  return values;
}

static gfloat *
random_rows (guint64 seed, gsize rows, gsize dim, gboolean unit_length)
{
  gfloat *values = g_new (gfloat, rows * dim);
  PirlRng rng;

  units_rng (&rng, seed, 0, 0);
  for (gsize row = 0; row < rows; row++) {
    gfloat *v = values + row * dim, square = 0.0f;

    for (gsize d = 0; d < dim; d++) {
      v[d] = pirl_rng_normal (&rng);
      square += v[d] * v[d];
    }
    for (gsize d = 0; unit_length && d < dim; d++)
      v[d] /= sqrtf (square);
  }
  return values;
}

static guint32 *
random_indices (guint64 seed, gsize n, guint32 below)
{
  guint32 *indices = g_new (guint32, n);
  PirlRng rng;

  units_rng (&rng, seed, 0, 0);
  for (gsize i = 0; i < n; i++)
    indices[i] = pirl_rng_below (&rng, below);
  return indices;
}

/* NMSE of what two devices computed, freed on the way. */
static gdouble
compare (Array *tested, Array *reference)
{
  const gsize n = pirl_dims_count (reference->desc.dims);
  g_autofree gfloat *a = array_take (tested);
  g_autofree gfloat *b = array_take (reference);

  return a && b ? units_nmse (a, b, n) : INFINITY;
}

static gdouble
relative (gdouble a, gdouble b)
{
  return isfinite (a) ? fabs (a - b) / fabs (b) : INFINITY;
}

/* ---- contrast ---- */

static const struct {
  guint batch, dim;
  guint64 rows, negatives;      /* negatives 0 = all other rows */
  gdouble temperature;
} shapes[] = {
  { 1, 3, 5, 0, 0.5 },
  { 1, 128, 2, 0, 0.07 },
  { 3, 17, 7, 20, 0.2 },
  { 8, 128, 1000, 0, 0.07 },
  { 8, 128, 1000, 301, 0.07 },
  { 33, 64, 257, 256, 0.1 },
  { 5, 150, 129, 0, 0.07 },
  { 16, 128, 3001, 1023, 0.2 },
  { 9, 1, 11, 4, 1.0 },
  { 2, 128, 3000, 9001, 0.07 }, /* in several parts, the last of them short */
  { 4, 200, 300, 150, 0.1 },
  { 3, 260, 500, 777, 0.07 },
  { 2, 384, 300, 0, 0.1 },
  { 3, 516, 500, 777, 0.07 },
  { 1, 4096, 40, 70, 0.1 },
};

typedef struct {
  PirlContrastDesc desc;        /* but for bank_dtype */
  gboolean half;
  const gfloat *embedding, *bank;
  const guint32 *positive, *negative;
} ContrastCase;

/* @negative on the device; NULL stays NULL. */
static gboolean
upload_negatives (PirlDevice *device, const ContrastCase *c, guint32 **memory, GError **error)
{
  const gsize bytes = c->desc.batch * c->desc.negatives * sizeof (guint32);

  *memory = NULL;
  if (!c->negative)
    return TRUE;
  *memory = device->backend->alloc (device, bytes, error);
  return *memory && device->backend->upload (device, *memory, c->negative, bytes, error);
}

static gboolean
run_contrast (PirlDevice *device, const ContrastCase *c, gboolean with_gradient, Array *gradient,
    PirlContrastStats *stats, GError **error)
{
  PirlContrastDesc of_device = c->desc;
  const PirlContrastDesc *desc = &of_device;
  guint32 *negative;
  Array embedding, bank;
  gboolean ok;

  of_device.bank_dtype = bank_dtype (device, c->half);
  ok = upload_negatives (device, c, &negative, error);
  ok &= array_init (&embedding, device, (gsize) desc->batch * desc->dim, c->embedding)
      & bank_init (&bank, device, desc->rows * desc->dim, c->half, c->bank)
      & array_init (gradient, device, (gsize) desc->batch * desc->dim, NULL);
  ok = ok && device->backend->contrast (device, desc, embedding.block.memory, bank.block.memory,
      c->positive, negative, with_gradient ? gradient->block.memory : NULL, stats, error);
  g_free (array_take (&embedding));
  g_free (array_take (&bank));
  if (negative)
    device->backend->free (device, negative);
  return ok;
}

static guint
compare_contrast (const UnitsContext *context, const ContrastCase *c, const gchar *name,
    gdouble worst[2])
{
  PirlContrastStats tested, expected, alone;
  Array gradient[2], unused = { 0 };
  g_autofree gchar *details = NULL;
  g_autoptr (GError) error = NULL;
  gdouble nmse, scalar;

  if (!run_contrast (context->tested, c, TRUE, &gradient[0], &tested, &error)
      || !run_contrast (context->tested, c, FALSE, &unused, &alone, &error)
      || !run_contrast (context->reference, c, TRUE, &gradient[1], &expected, &error))
    return units_report (context, FALSE, name, error ? error->message : "no memory");
  nmse = compare (&gradient[0], &gradient[1]);
  units_block_clear (&unused.block, context->tested);
  scalar = fmax (relative (tested.loss, expected.loss),
      relative (tested.mean_exp, expected.mean_exp));
  scalar = fmax (scalar, fabs (tested.positive - expected.positive));
  scalar = fmax (scalar, fabs (tested.spread - expected.spread));
  scalar = fmax (scalar, relative (alone.loss, expected.loss));
  scalar = fmax (scalar, fabs (tested.near - expected.near));
  worst[0] = fmax (worst[0], nmse);
  worst[1] = fmax (worst[1], scalar);
  details = g_strdup_printf (" gradient NMSE %.2g, scalars %.2g", nmse, scalar);
  return units_report (context, nmse <= NMSE_LIMIT && scalar <= SCALAR_LIMIT, name, details);
}

/* A cosine, 0.1 or a little more, that no sample and row of the bank are so close to that float and
 * double would stand on different sides of it. */
static gdouble
clear_threshold (const ContrastCase *c)
{
  const gsize dim = c->desc.dim, n = c->desc.rows * dim;
  g_autofree gfloat *bank = g_memdup2 (c->bank, n * sizeof *bank);
  g_autofree guint16 *halves = g_new (guint16, n);
  gdouble near = 0.1;

  pirl_from_float (PIRL_DTYPE_F16, c->bank, halves, n);
  if (c->half)
    pirl_to_float (PIRL_DTYPE_F16, halves, bank, n);
  for (gsize i = 0; i < c->desc.batch * c->desc.rows; i++) {
    const gfloat *z = c->embedding + i / c->desc.rows * dim;
    const gfloat *m = bank + i % c->desc.rows * dim;
    gdouble s = 0;

    for (gsize d = 0; d < dim; d++)
      s += (gdouble) z[d] * m[d];
    if (fabs (s - near) < 1e-6) {
      near += 3e-6;
      i = (gsize) -1;           /* from the beginning */
    }
  }
  return near;
}

static guint
check_contrast (const UnitsContext *context, guint shape, PirlLoss loss, gboolean half,
    gboolean near, gdouble worst[2])
{
  const guint batch = shapes[shape].batch, dim = shapes[shape].dim;
  const guint64 rows = shapes[shape].rows;
  const gboolean all = shapes[shape].negatives == 0;
  const guint64 negatives = all ? rows - 1 : shapes[shape].negatives;
  g_autofree gchar *name = g_strdup_printf ("contrast: %s, batch %u, dim %u, %" G_GUINT64_FORMAT
      " rows%s, %" G_GUINT64_FORMAT " negatives%s, temperature %g%s",
      loss == PIRL_LOSS_NCE ? "NCE" : "InfoNCE", batch, dim, rows, half ? " of F16" : "",
      negatives, all ? " (all)" : "", shapes[shape].temperature, near ? ", some near" : "");

  if (!units_selected (context, name))
    return 0;

  g_autofree gfloat *embedding = random_rows (SEED + shape, batch, dim, TRUE);
  g_autofree gfloat *bank = random_rows (SEED + 100 + shape, rows, dim, TRUE);
  g_autofree guint32 *positive = random_indices (SEED + 200, batch, (guint32) rows);
  g_autofree guint32 *negative = all ? NULL
      : random_indices (SEED + 300, batch * negatives, (guint32) rows);
  ContrastCase c = { { loss, batch, dim, rows, negatives, shapes[shape].temperature,
        1.7 * rows, 0.3 }, half, embedding, bank, positive, negative };

  if (near) {
    c.desc.near = clear_threshold (&c);
    c.desc.near_weight = half ? 0 : 0.3;
  }
  return compare_contrast (context, &c, name, worst);
}

/* ---- bank ---- */

static guint
check_bank_update (const UnitsContext *context, guint dim, gdouble momentum, gboolean half,
    gdouble *worst)
{
  enum { B = 7, ROWS = 13 };
  static const guint32 positive[B] = { 5, 0, 12, 5, 5, 3, 0 };  /* in the order of the batch */
  g_autofree gchar *name = g_strdup_printf ("bank update: dim %u%s, momentum %g", dim,
      half ? " of F16" : "", momentum);
  g_autofree gfloat *bank = random_rows (SEED, ROWS, dim, TRUE);
  g_autofree gfloat *embedding = random_rows (SEED + 1, B, dim, TRUE);
  PirlDevice *devices[2] = { context->tested, context->reference };
  g_autofree gchar *details = NULL;
  gfloat kept[B];
  Array rows[2], z;
  gboolean ok = TRUE;
  gdouble nmse;

  if (!units_selected (context, name))
    return 0;
  for (guint b = 0; b < B; b++) /* the third and the sixth replace their row */
    kept[b] = b % 3 == 2 ? 0 : (gfloat) momentum;
  for (gint i = 0; i < 2; i++) {
    ok = ok && bank_init (&rows[i], devices[i], (gsize) ROWS * dim, half, bank)
        && array_init (&z, devices[i], (gsize) B * dim, embedding)
        && devices[i]->backend->bank_update (devices[i], rows[i].block.memory,
            bank_dtype (devices[i], half), dim, B, positive, kept, z.block.memory, NULL);
    g_free (array_take (&z));
  }
  nmse = compare (&rows[0], &rows[1]);
  *worst = half ? *worst : fmax (*worst, nmse);
  details = g_strdup_printf (" NMSE %.2g", nmse);
  return units_report (context, ok && nmse <= (half ? HALF_NMSE_LIMIT : NMSE_LIMIT), name,
      details);
}

/* A number half-way between two halves goes to the even one (below 2^-14 they are multiples of
 * 2^-24), and a row is rounded only when it is of unit length: (3, 4) * 1e-9 would be lost. */
static guint
check_half_rounding (const UnitsContext *context)
{
  enum { DIM = 3, ROWS = 2 };
  static const guint32 positive[ROWS] = { 0, 1 };
  static const gfloat kept[ROWS] = { 0, 0 };
  static const gfloat embedding[ROWS * DIM] = { 3e-9f, 4e-9f, 0, 1, 1.5f * 0x1p-24f, 0x1p-25f };
  static const gfloat expected[ROWS * DIM] = { 0.6001f, 0.7998f, 0, 1, 0x1p-23f, 0 };
  g_autofree gfloat *bank = random_rows (SEED, ROWS, DIM, TRUE);
  g_autofree gfloat *values = NULL;
  PirlDevice *device = context->tested;
  Array rows, z;
  gboolean ok;

  if (!units_selected (context, "bank update: rounding"))
    return 0;
  ok = bank_init (&rows, device, ROWS * DIM, TRUE, bank)
      & array_init (&z, device, ROWS * DIM, embedding);
  ok = ok && device->backend->bank_update (device, rows.block.memory, PIRL_DTYPE_F16, DIM, ROWS,
      positive, kept, z.block.memory, NULL);
  g_free (array_take (&z));
  values = array_take (&rows);
  for (guint i = 0; ok && values && i < ROWS * DIM; i++)
    ok &= i < DIM ? fabs (values[i] - expected[i]) < 1e-4 : values[i] == expected[i];
  return units_report (context, ok && values, "bank update: rounding", "");
}

/* ---- draws, rows, labels ---- */

/* Draws of the tested device against pirl_rng_below(), one by one. With 3e9 rows a third of the
 * words is skipped. */
static guint
check_draw (const UnitsContext *context, guint64 rows, gboolean exclude)
{
  enum { B = 3, K = 3000 };
  static const guint32 positive[B] = { 1, 0, 49 };
  const guint batch = rows < 50 ? 2 : B;
  const PirlDrawDesc desc = { batch, rows, K, exclude, 77, 6, PIRL_PURPOSE_NEGATIVES };
  g_autofree gchar *name = g_strdup_printf ("draw: %" G_GUINT64_FORMAT " rows%s", rows,
      exclude ? ", not the own" : "");
  g_autofree guint32 *drawn = g_new (guint32, B * K);
  PirlDevice *device = context->tested;
  guint wrong = 0;
  gboolean ok;
  Block memory;

  if (!units_selected (context, name))
    return 0;
  ok = units_block_init (&memory, device, batch * K * sizeof (guint32), NULL)
      && device->backend->draw (device, &desc, positive, (gpointer) memory.memory, NULL)
      && device->backend->download (device, drawn, memory.memory, batch * K * sizeof (guint32),
      NULL) && units_block_guarded (&memory, device);
  units_block_clear (&memory, device);
  for (guint b = 0; ok && b < batch; b++) {
    PirlRng rng;

    pirl_rng_init (&rng, desc.seed, desc.epoch, positive[b], desc.purpose);
    for (guint k = 0; k < K; k++) {
      const guint32 row = pirl_rng_below (&rng, (guint32) (rows - exclude));

      wrong += drawn[b * K + k] != row + (exclude && row >= positive[b]);
    }
  }
  return units_report (context, ok && wrong == 0, name, ok ? "" : " failed");
}

/* Rows go aside, the table is cleared, they come back; only they. */
static guint
check_rows (const UnitsContext *context, gsize dim)     /* in words of 16 bits */
{
  enum { N = 5, ROWS = 9 };
  static const guint32 row[N] = { 8, 0, 3, 3, 7 };
  g_autofree gchar *name = g_strdup_printf ("rows: %" G_GSIZE_FORMAT " times 16 bits each", dim);
  const gsize bytes = dim * sizeof (guint16);
  g_autofree guint16 *before = (gpointer) random_indices (SEED, ROWS * dim, G_MAXUINT32);
  g_autofree guint16 *after = g_new0 (guint16, ROWS * dim);
  PirlDevice *device = context->tested;
  const PirlBackend *backend = device->backend;
  Block table, aside, copy;
  gboolean ok;

  if (!units_selected (context, name))
    return 0;
  ok = units_block_init (&table, device, ROWS * bytes, NULL)
      & units_block_init (&aside, device, N * bytes, NULL)
      & units_block_init (&copy, device, ROWS * bytes, NULL);
  ok = ok && backend->upload (device, table.memory, before, ROWS * bytes, NULL)
      && backend->rows (device, table.memory, aside.memory, bytes, N, row, FALSE, NULL)
      && backend->zero (device, table.memory, ROWS * bytes, NULL)
      && backend->rows (device, table.memory, aside.memory, bytes, N, row, TRUE, NULL)
      && backend->copy (device, copy.memory, table.memory, ROWS * bytes, NULL)
      && backend->download (device, after, copy.memory, ROWS * bytes, NULL)
      && units_block_guarded (&table, device) && units_block_guarded (&aside, device)
      && units_block_guarded (&copy, device);
  units_block_clear (&table, device);
  units_block_clear (&aside, device);
  units_block_clear (&copy, device);
  for (gsize r = 0; ok && r < ROWS; r++) {
    gboolean taken = FALSE;

    for (guint i = 0; i < N; i++)
      taken |= row[i] == r;
    for (gsize d = 0; d < dim; d++)
      ok &= after[r * dim + d] == (taken ? before[r * dim + d] : 0);
  }
  return units_report (context, ok, name, "");
}

/* Against the formula in backend.h, in double precision. */
static guint
check_cross_entropy (const UnitsContext *context, guint classes, gfloat size, gdouble worst[2])
{
  enum { B = 7 };
  const gsize n = (gsize) B * classes;
  g_autofree gchar *name = g_strdup_printf ("cross-entropy: %u classes, logits of %g", classes,
      size);
  g_autofree gfloat *z = random_rows (SEED + classes, B, classes, FALSE);
  g_autofree gfloat *expected = g_new (gfloat, n);
  g_autofree gfloat *gradient = NULL;
  g_autofree gchar *details = NULL;
  PirlDevice *device = context->tested;
  PirlEntropyStats stats = { NAN, NAN };
  gdouble loss = 0, right = 0, nmse, scalar;
  gint labels[B];
  Array logits, d_logits;
  gboolean ok;

  if (!units_selected (context, name))
    return 0;
  for (gsize i = 0; i < n; i++)
    z[i] *= size;
  for (guint b = 0; b < B; b++) {
    const gfloat *row = z + (gsize) b * classes;
    gdouble sum = 0;
    guint best = 0;

    for (guint j = 0; j < classes; j++)
      best = row[j] > row[best] ? j : best;
    labels[b] = (gint) (b % 2 ? best : b * 5 % classes);
    for (guint j = 0; j < classes; j++)
      sum += exp ((gdouble) row[j] - row[best]);
    loss += (log (sum) + row[best] - row[labels[b]]) / B;
    right += (gint) best == labels[b];
    for (guint j = 0; j < classes; j++)
      expected[(gsize) b * classes + j] =
          (gfloat) ((exp ((gdouble) row[j] - row[best]) / sum - ((gint) j == labels[b])) / B);
  }
  ok = array_init (&logits, device, n, z) & array_init (&d_logits, device, n, NULL);
  ok = ok && device->backend->cross_entropy (device, B, classes, logits.block.memory, labels,
      d_logits.block.memory, &stats, NULL);
  g_free (array_take (&logits));
  gradient = array_take (&d_logits);
  nmse = ok && gradient ? units_nmse (gradient, expected, n) : INFINITY;
  scalar = fmax (relative (stats.loss, loss), fabs (stats.accuracy - right / B));
  worst[0] = fmax (worst[0], nmse);
  worst[1] = fmax (worst[1], scalar);
  details = g_strdup_printf (" gradient NMSE %.2g, scalars %.2g", nmse, scalar);
  return units_report (context, nmse <= NMSE_LIMIT && scalar <= SCALAR_LIMIT, name, details);
}

/* Steps that are recorded give what the operation gives by itself, also after one outside of steps
 * that needed more memory. The device is another one, whose memory is small before. */
static guint
check_recorded (const UnitsContext *context)
{
  enum { FEW = 2, MANY = 512, CLASSES = 3 };
  const gchar *name = "cross-entropy: recorded, and a larger one between the steps";
  const PirlBackend *backend = context->tested->backend;
  g_autofree gfloat *z = random_rows (SEED, MANY, CLASSES, FALSE);
  g_autofree gint *labels = g_new0 (gint, MANY);
  g_autoptr (PirlDevice) device = NULL;
  PirlEntropyStats expected, stats;
  PirlStepResult result;
  Array logits, d_logits;
  gboolean ok;

  if (!backend->step_begin || !units_selected (context, name))
    return 0;
  device = pirl_device_open (backend->name, context->tested->n_threads, TRUE, NULL);
  ok = device && (array_init (&logits, device, MANY * CLASSES, z)
      & array_init (&d_logits, device, MANY * CLASSES, NULL));
  if (!ok)
    return units_report (context, FALSE, name, " no device");
  ok = backend->cross_entropy (device, FEW, CLASSES, logits.block.memory, labels,
      d_logits.block.memory, &expected, NULL);
  for (guint step = 0; ok && step < 8; step++) {
    stats.loss = NAN;
    ok = (step != 4 || backend->cross_entropy (device, MANY, CLASSES, logits.block.memory, labels,
            d_logits.block.memory, &stats, NULL))
        && backend->step_begin (device, NULL)
        && backend->cross_entropy (device, FEW, CLASSES, logits.block.memory, labels,
        d_logits.block.memory, &stats, NULL) && backend->step_launch (device, NULL)
        && backend->step_end (device, &result, NULL) && stats.loss == expected.loss;
  }
  g_free (array_take (&logits));
  g_free (array_take (&d_logits));
  return units_report (context, ok, name, "");
}

/* ---- optimisers ---- */

/* Three steps, so that the velocity counts. */
static guint
check_sgd (const UnitsContext *context, gsize n, gdouble momentum, gboolean nesterov,
    gdouble *worst)
{
  g_autofree gchar *name = g_strdup_printf ("sgd: %" G_GSIZE_FORMAT " weights, momentum %g%s", n,
      momentum, nesterov ? " (Nesterov's)" : "");
  g_autofree gfloat *weights = random_rows (SEED, 1, n, FALSE);
  g_autofree gfloat *gradients = random_rows (SEED + 1, 1, n, FALSE);
  g_autofree gfloat *zeros = g_new0 (gfloat, n);
  PirlDevice *devices[2] = { context->tested, context->reference };
  g_autofree gchar *details = NULL;
  Array w[2], v[2], g;
  gboolean ok = TRUE;
  gdouble nmse;

  if (!units_selected (context, name))
    return 0;
  for (gint i = 0; i < 2; i++) {
    ok = ok && array_init (&w[i], devices[i], n, weights)
        && array_init (&v[i], devices[i], n, zeros) && array_init (&g, devices[i], n, gradients);
    for (gint step = 0; ok && step < 3; step++)
      ok = devices[i]->backend->sgd (devices[i], n, w[i].block.memory, g.block.memory,
          v[i].block.memory, 0.1 / (step + 1), momentum, 1e-2, nesterov, NULL);
    g_free (array_take (&g));
  }
  nmse = compare (&w[0], &w[1]);
  nmse = fmax (nmse, compare (&v[0], &v[1]));
  *worst = fmax (*worst, nmse);
  details = g_strdup_printf (" NMSE %.2g", nmse);
  return units_report (context, ok && nmse <= NMSE_LIMIT, name, details);
}

/* Five steps from zero moments, so that the corrections of their bias count. */
static guint
check_adam (const UnitsContext *context, gsize n, gdouble epsilon, gdouble *worst)
{
  g_autofree gchar *name = g_strdup_printf ("adam: %" G_GSIZE_FORMAT " weights, epsilon %g", n,
      epsilon);
  g_autofree gfloat *weights = random_rows (SEED, 1, n, FALSE);
  g_autofree gfloat *gradients = random_rows (SEED + 1, 1, n, FALSE);
  g_autofree gfloat *zeros = g_new0 (gfloat, n);
  PirlDevice *devices[2] = { context->tested, context->reference };
  g_autofree gchar *details = NULL;
  Array w[2], first[2], second[2], g;
  gboolean ok = TRUE;
  gdouble nmse;

  if (!units_selected (context, name))
    return 0;
  for (gint i = 0; i < 2; i++) {
    ok = ok && array_init (&w[i], devices[i], n, weights)
        && array_init (&first[i], devices[i], n, zeros)
        && array_init (&second[i], devices[i], n, zeros)
        && array_init (&g, devices[i], n, gradients);
    for (guint64 step = 1; ok && step <= 5; step++)
      ok = devices[i]->backend->adam (devices[i], n, w[i].block.memory, g.block.memory,
          first[i].block.memory, second[i].block.memory, step, 0.1 / step, 0.9, 0.999, epsilon,
          1e-2, NULL);
    g_free (array_take (&g));
  }
  nmse = compare (&w[0], &w[1]);
  nmse = fmax (nmse, compare (&first[0], &first[1]));
  nmse = fmax (nmse, compare (&second[0], &second[1]));
  *worst = fmax (*worst, nmse);
  details = g_strdup_printf (" NMSE %.2g", nmse);
  return units_report (context, ok && nmse <= NMSE_LIMIT, name, details);
}

/* Three steps of tensors of all sizes, with gaps between them that must stay as they are. One is
 * zero, and moves all the same; one has no gradient. */
static guint
check_lars (const UnitsContext *context, gdouble *worst)
{
  static const PirlSegment segments[] = { { 0, 1 }, { 16, 31 }, { 48, 9 }, { 64, 20000 },
    { 20064, 70001 }, { 90080, 33 } };
  enum { ZERO = 2, STILL = 5, N = 90128 };
  static const PirlLars values = { 0.3, 0.9, 1e-2, 1e-3, 1e-8 };
  g_autofree gfloat *weights = random_rows (SEED, 1, N, FALSE);
  g_autofree gfloat *gradients = random_rows (SEED + 1, 1, N, FALSE);
  g_autofree gfloat *zeros = g_new0 (gfloat, N);
  g_autofree gfloat *after = g_new (gfloat, N), *again = g_new (gfloat, N);
  PirlDevice *devices[] = { context->tested, context->reference, context->tested };
  g_autofree gchar *details = NULL;
  Array w[3], v[3], g;
  gboolean ok = TRUE;
  gdouble nmse = 0;

  if (!units_selected (context, "lars"))
    return 0;
  memset (weights + segments[ZERO].first, 0, segments[ZERO].n * sizeof *weights);
  memset (gradients + segments[STILL].first, 0, segments[STILL].n * sizeof *gradients);
  for (gint i = 0; i < 3; i++) {
    ok = ok && array_init (&w[i], devices[i], N, weights)
        && array_init (&v[i], devices[i], N, zeros) && array_init (&g, devices[i], N, gradients);
    for (gint step = 0; ok && step < 3; step++)
      ok = devices[i]->backend->lars (devices[i], G_N_ELEMENTS (segments), segments,
          w[i].block.memory, g.block.memory, v[i].block.memory, &values, NULL);
    g_free (array_take (&g));
  }
  ok = ok && array_read (&w[0], after) && array_read (&w[2], again)
      && memcmp (after, again, N * sizeof *after) == 0
      && after[1] == weights[1] && after[90065] == weights[90065]
      && after[segments[ZERO].first] != 0 && after[segments[STILL].first] != weights[90080];
  nmse = fmax (compare (&w[0], &w[1]), compare (&v[0], &v[1]));
  g_free (array_take (&w[2]));
  g_free (array_take (&v[2]));
  *worst = fmax (*worst, nmse);
  details = g_strdup_printf (" NMSE %.2g", nmse);
  return units_report (context, ok && nmse <= NMSE_LIMIT, "lars", details);
}

/* Twice; what is kept of 0 is nothing, even of what is no number. */
static guint
check_average (const UnitsContext *context, gsize n, gdouble keep, gdouble *worst)
{
  g_autofree gchar *name = g_strdup_printf ("average: %" G_GSIZE_FORMAT " weights, %g kept", n,
      keep);
  g_autofree gfloat *before = random_rows (SEED, 1, n, FALSE);
  g_autofree gfloat *source = random_rows (SEED + 1, 1, n, FALSE);
  PirlDevice *devices[2] = { context->tested, context->reference };
  g_autofree gchar *details = NULL;
  Array dst[2], src;
  gboolean ok = TRUE;
  gdouble nmse;

  if (!units_selected (context, name))
    return 0;
  if (keep == 0)
    before[0] = NAN;
  for (gint i = 0; i < 2; i++) {
    ok = ok && array_init (&dst[i], devices[i], n, before)
        && array_init (&src, devices[i], n, source);
    for (gint step = 0; ok && step < 2; step++)
      ok = devices[i]->backend->average (devices[i], n, dst[i].block.memory, src.block.memory,
          keep, NULL);
    g_free (array_take (&src));
  }
  nmse = compare (&dst[0], &dst[1]);
  *worst = fmax (*worst, nmse);
  details = g_strdup_printf (" NMSE %.2g", nmse);
  return units_report (context, ok && nmse <= NMSE_LIMIT, name, details);
}

/* A step with one gradient that is no finite number, at @bad, must change no weight; one without
 * must. Weights and gradients begin @offset floats behind an aligned address. */
static gboolean
guarded_step (PirlDevice *device, gsize n, gsize offset, gsize bad, gfloat value)
{
  const PirlBackend *backend = device->backend;
  g_autofree gfloat *gradients = random_rows (SEED, 1, n + offset, FALSE);
  g_autofree gfloat *zeros = g_new0 (gfloat, n + offset);
  g_autofree gfloat *after = NULL;
  const gsize at = offset * sizeof (gfloat);
  PirlStepResult result = { 0 };
  Array w, v, g;
  gboolean ok, unchanged = TRUE;

  gradients[offset + bad] = value;
  ok = array_init (&w, device, n + offset, zeros) & array_init (&v, device, n + offset, zeros)
      & array_init (&g, device, n + offset, gradients);
  ok = ok && backend->step_begin (device, NULL)
      && backend->check (device, n, g.block.memory + at, NULL)
      && backend->sgd (device, n, w.block.memory + at, g.block.memory + at, v.block.memory + at,
      1, 0.9, 0, FALSE, NULL) && backend->step_launch (device, NULL)
      && backend->step_end (device, &result, NULL);
  after = array_take (&w);
  g_free (array_take (&v));
  g_free (array_take (&g));
  for (gsize i = 0; ok && i < n; i++) {
    unchanged &= after[offset + i] == 0;
    ok &= !isfinite (value) || after[offset + i] == -gradients[offset + i];
  }
  return ok && after && result.finite == (isfinite (value) != 0) && (result.finite || unchanged);
}

static guint
check_finite (const UnitsContext *context, gsize offset)
{
  enum { N = 1031 };
  static const gfloat values[] = { NAN, INFINITY, -INFINITY, 1e38f };
  g_autofree gchar *name = g_strdup_printf ("check: %u gradients, %" G_GSIZE_FORMAT
      " floats behind an aligned address", N, offset);
  gboolean ok = TRUE;

  if (!context->tested->backend->check || !units_selected (context, name))
    return 0;
  for (gsize bad = 0; bad < N; bad += bad < 9 || bad >= N - 9 ? 1 : 101)
    ok &= guarded_step (context->tested, N, offset, MIN (bad, N - 1), values[bad % 4]);
  return units_report (context, ok, name, "");
}

guint
units_check_contrast (const UnitsContext *context)
{
  gdouble worst[2] = { 0.0, 0.0 }, worst_update = 0.0;
  guint failed = 0;

  for (guint shape = 0; shape < G_N_ELEMENTS (shapes); shape++) {
    for (gint half = FALSE; half <= TRUE; half++) {
      for (gint near = FALSE; near <= TRUE; near++) {
        failed += check_contrast (context, shape, PIRL_LOSS_NCE, half, near, worst);
        failed += check_contrast (context, shape, PIRL_LOSS_INFONCE, half, near, worst);
      }
    }
  }
  for (guint i = 0; i < 12; i++)
    failed += check_bank_update (context, i % 2 ? 128 : 17, 0.5 * (i / 2 % 3), i >= 6,
        &worst_update);
  failed += check_half_rounding (context);
  for (guint i = 0; i < 10; i++)
    failed += check_draw (context, (const guint64[]) { 2, 50, 65536, 1281167, 3000000000u }[i / 2],
        i % 2);
  for (guint i = 0; i < 5; i++)
    failed += check_rows (context, (const gsize[]) { 1, 2, 10, 17, 256 }[i]);
  for (guint i = 0; i < 6; i++)
    failed += check_cross_entropy (context, (const guint[]) { 2, 10, 1000 }[i / 2],
        i % 2 ? 30 : 1, worst);
  failed += check_recorded (context);
  for (guint i = 0; i < 9; i++)
    failed += check_sgd (context, (const gsize[]) { 1, 77, 65537 }[i % 3], i < 6 ? 0.9 : 0.0,
        i < 3, &worst_update);
  failed += check_lars (context, &worst_update);
  for (guint i = 0; i < 6; i++)
    failed += check_average (context, (const gsize[]) { 1, 77, 65537 }[i / 2], i % 2 ? 0.99 : 0,
        &worst_update);
  for (guint i = 0; i < 3; i++)
    failed += check_adam (context, (const gsize[]) { 1, 77, 65537 }[i], i ? 1e-8 : 1e-3,
        &worst_update);
  for (gsize offset = 0; offset < 4; offset++)
    failed += check_finite (context, offset);
  g_print ("contrast: %u failed; worst gradient NMSE %.2g, scalars %.2g, updates %.2g\n", failed,
      worst[0], worst[1], worst_update);
  return failed;
}
