/* gst-pirl: the kernels of batch norm on many rows, in many blocks, about large means.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What a float loses where sums are long, means large and the first row, which a thread takes for
 * its shift, is an outlier: everything against two passes in double precision over the same
 * (rounded) values. Errors are relative to what they are made of:
 *   mean          the standard deviation, with what the table's shift makes good
 *   inverse std   itself          running         the mean; the variance
 *   output        1 + |output|
 *   d_bias        sum |dz|        d_weight        sum |dz (y - mean)| / std
 *   d_input       |weight| / std (1 + 1), gradients being 1 at most
 * Runs on the emulated card (tests/emulator), and on a card (tests/gpu-check).
 */
#include <math.h>
#include <string.h>

#include "backends/cuda/norm.h"
#include "backends/cuda/vectors.h"
#include "base/rng.h"

#define OUTLIER 2000.0f         /* standard deviations, in the first row of odd channels */
#define OLD_MEAN 0.5f
#define OLD_VAR 2.0f
#define SKIPPED 77

enum { MEAN, INVERSE_STD, RUNNING, OUTPUT, D_BIAS, D_WEIGHT, D_INPUT, D_RESIDUAL, N_ERRORS };

static const gchar *const error_names[N_ERRORS] = { "mean", "inverse std", "running", "output",
  "d_bias", "d_weight", "d_input", "d_residual" };

/* Limits: three times what the emulated card has. The mean's is less than half a unit in the last
 * place of 1000; 16-bit results are rounded to 11 and 8 bits. BF16 has one value about 1000. */
static const struct {
  PirlDType dtype;
  gdouble mean[2];              /* without, with residual */
  gdouble limit[N_ERRORS];
} types[] = {
  { PIRL_DTYPE_F32, { 100, 1000 }, { 3e-5, 1e-5, 2e-5, 8e-5, 3e-8, 1e-5, 1e-5, 1e-7 } },
  { PIRL_DTYPE_F16, { 100, 1000 }, { 3e-5, 5e-6, 1e-5, 5e-4, 3e-8, 6e-6, 5e-4, 5e-4 } },
  { PIRL_DTYPE_BF16, { 10, 100 }, { 3e-6, 5e-6, 1e-5, 4e-3, 3e-8, 6e-6, 4e-3, 4e-3 } },
};

/* 196, 396, 396 and 8 x 47 blocks, 4 to 8 rows a thread. */
static const struct { guint rows; gint channels; } shapes[] = {
  { 200000, 5 }, { 200000, 29 }, { 25000, 256 }, { 3000, 2043 },
};

typedef struct {
  PirlGpuNorm norm;
  gdouble mean;
  gboolean residual;
  gsize n;                      /* elements */
} Case;

/* Host floats, which the card's type holds exactly, and results. */
typedef struct {
  gfloat *y, *d, *residual, *out, *d_input, *d_residual;
  guint8 *mask;
  gfloat *table, *running_mean, *running_var, *d_weight, *d_bias;
  gfloat *weight, *bias;        /* a float a stored channel; so are the parameters above */
} Host;

typedef struct {
  gpointer y, d, residual, out, d_residual, mask;
  gfloat *partial, *table, *factors, *weight, *bias, *running_mean, *running_var, *d_weight,
    *d_bias;
} Card;

/* --- memory --- */

static void
check (cudaError_t status)
{
  if (status != cudaSuccess)
    g_error ("CUDA: %s", cudaGetErrorString (status));
}

static gpointer
card_new (gsize bytes)
{
  gpointer memory;

  check (cudaMalloc (&memory, bytes));
  return memory;
}

static gpointer
card_copy (gconstpointer host, gsize bytes)
{
  gpointer memory = card_new (bytes);

  check (cudaMemcpy (memory, host, bytes, cudaMemcpyHostToDevice));
  return memory;
}

/* In the case's type; @values become what it holds of them. */
static gpointer
card_values (const Case *c, gfloat *values)
{
  g_autofree guint8 *rounded = g_malloc (c->n * pirl_dtype_size (c->norm.dtype));

  pirl_from_float (c->norm.dtype, values, rounded, c->n);
  pirl_to_float (c->norm.dtype, rounded, values, c->n);
  return card_copy (rounded, c->n * pirl_dtype_size (c->norm.dtype));
}

static gfloat *
read_values (const Case *c, gconstpointer card)
{
  const gsize bytes = c->n * pirl_dtype_size (c->norm.dtype);
  g_autofree guint8 *raw = g_malloc (bytes);
  gfloat *values = g_new (gfloat, c->n);

  check (cudaMemcpy (raw, card, bytes, cudaMemcpyDeviceToHost));
  pirl_to_float (c->norm.dtype, raw, values, c->n);
  return values;
}

static gpointer
read_bytes (gconstpointer card, gsize bytes)
{
  gpointer host = g_malloc (bytes);

  check (cudaMemcpy (host, card, bytes, cudaMemcpyDeviceToHost));
  return host;
}

static gfloat *
read_floats (const gfloat *card, gsize n)
{
  return read_bytes (card, n * sizeof (gfloat));
}

/* --- data --- */

/* @mean + @spread uniform in -1..1; zeros in channels that are not real. */
static gfloat *
noise (const Case *c, guint number, gdouble mean, gdouble spread)
{
  gfloat *values = g_new (gfloat, c->n);
  g_autofree guint32 *words = g_new (guint32, c->norm.stored);
  PirlRng rng;

  pirl_rng_init (&rng, 23, 0, number, PIRL_PURPOSE_TEST);
  for (guint row = 0; row < c->norm.rows; row++) {
    gfloat *place = values + (gsize) row * c->norm.stored;

    pirl_rng_fill_u32 (&rng, words, c->norm.stored);
    for (gint i = 0; i < c->norm.stored; i++)
      place[i] = i >= c->norm.channels ? 0
          : (gfloat) (mean + spread * ((words[i] >> 8) * 0x1p-23 - 1));
  }
  return values;
}

static gfloat *
constant (const Case *c, gfloat first, gfloat step)
{
  gfloat *values = g_new (gfloat, c->norm.stored);

  for (gint i = 0; i < c->norm.stored; i++)
    values[i] = i < c->norm.channels ? first + step * (i % 7) : 0;
  return values;
}

static void
host_init (const Case *c, Host *h)
{
  *h = (Host) { .y = noise (c, 1, c->mean, sqrt (3)), .d = noise (c, 2, 0, 1),
    .weight = constant (c, 0.5f, 0.25f), .bias = constant (c, -0.5f, 0.125f) };
  for (gint i = 1; i < c->norm.channels; i += 2)
    h->y[i] += OUTLIER;
  if (c->residual) {
    h->residual = noise (c, 3, 0, 2);
    h->d_residual = noise (c, 4, 0, 1);
  }
}

static void
host_clear (Host *h)
{
  gpointer all[] = { h->y, h->d, h->residual, h->out, h->d_input, h->d_residual, h->mask,
    h->table, h->running_mean, h->running_var, h->d_weight, h->d_bias, h->weight, h->bias };

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    g_free (all[i]);
}

static void
card_init (const Case *c, Host *h, Card *card)
{
  const gsize array = c->norm.stored * sizeof (gfloat);
  g_autofree gfloat *mean = constant (c, OLD_MEAN, 0), *var = constant (c, OLD_VAR, 0);
  g_autofree gfloat *zeros = constant (c, 0, 0);

  *card = (Card) { .y = card_values (c, h->y), .d = card_values (c, h->d),
    .out = card_new (c->n * pirl_dtype_size (c->norm.dtype)),
    .partial = card_new (pirl_gpu_norm_partial_bytes (&c->norm)),
    .table = card_new (PIRL_GPU_NORM_ARRAYS * array), .factors = card_new (2 * array),
    .weight = card_copy (h->weight, array), .bias = card_copy (h->bias, array),
    .running_mean = card_copy (mean, array), .running_var = card_copy (var, array),
    .d_weight = card_copy (zeros, array), .d_bias = card_copy (zeros, array) };
  if (c->residual) {
    card->residual = card_values (c, h->residual);
    card->d_residual = card_values (c, h->d_residual);
    card->mask = card_new (pirl_gpu_norm_mask_bytes (&c->norm));
  }
}

static void
card_clear (Card *card)
{
  gpointer all[] = { card->y, card->d, card->residual, card->out, card->d_residual, card->mask,
    card->partial, card->table, card->factors, card->weight, card->bias, card->running_mean,
    card->running_var, card->d_weight, card->d_bias };

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    check (cudaFree (all[i]));
}

/* --- what is tested --- */

/* Statistics twice: the same values must give the same bits. */
static void
run_forward (const Case *c, const Card *card, Host *h)
{
  const PirlGpuNormParams once = { .weight = card->weight, .bias = card->bias };
  const PirlGpuNormParams params = { .weight = card->weight, .bias = card->bias,
    .running_mean = card->running_mean, .running_var = card->running_var };
  const gsize n = PIRL_GPU_NORM_ARRAYS * c->norm.stored;
  g_autofree gfloat *first = NULL;

  pirl_gpu_norm_moments (&c->norm, card->y, card->partial, NULL);
  pirl_gpu_norm_finish (&c->norm, card->partial, NULL, &once, card->table, NULL);
  first = read_floats (card->table, n);
  pirl_gpu_norm_moments (&c->norm, card->y, card->partial, NULL);
  pirl_gpu_norm_finish (&c->norm, card->partial, NULL, &params, card->table, NULL);
  pirl_gpu_norm_apply (&c->norm, card->table, card->y, card->residual, card->mask, card->out,
      NULL);
  check (cudaGetLastError ());
  check (cudaDeviceSynchronize ());
  h->table = read_floats (card->table, n);
  g_assert_cmpmem (first, n * sizeof (gfloat), h->table, n * sizeof (gfloat));
  h->running_mean = read_floats (card->running_mean, c->norm.stored);
  h->running_var = read_floats (card->running_var, c->norm.stored);
  h->out = read_values (c, card->out);
  if (c->residual)
    h->mask = read_bytes (card->mask, pirl_gpu_norm_mask_bytes (&c->norm));
}

static void
run_backward (const Case *c, const Card *card, Host *h)
{
  const PirlGpuNormGradient gradient = { .table = card->table, .y = card->y, .mask = card->mask,
    .d = card->d, .d_residual = card->d_residual, .accumulate_residual = c->residual };

  pirl_gpu_norm_gradient_sums (&c->norm, &gradient, card->partial, NULL);
  pirl_gpu_norm_gradient_finish (&c->norm, card->partial, card->table, card->d_weight,
      card->d_bias, card->factors, NULL);
  pirl_gpu_norm_gradient_apply (&c->norm, &gradient, card->factors, NULL);
  check (cudaGetLastError ());
  check (cudaDeviceSynchronize ());
  h->d_weight = read_floats (card->d_weight, c->norm.stored);
  h->d_bias = read_floats (card->d_bias, c->norm.stored);
  h->d_input = read_values (c, card->d);
}

/* --- the truth --- */

/* A double a stored channel each. */
typedef struct {
  gdouble *mean, *deviations, *inverse_std;
  gdouble *sum, *product;       /* of the gradient */
  gdouble *sum_size, *product_size;     /* of the sizes of what is summed */
} Truth;

/* Calls once a real element. */
#define EACH(c, i, k) \
  for (gsize k = 0; k < (c)->n; k++) \
    for (gint i = (gint) (k % (c)->norm.stored); i >= 0 && i < (c)->norm.channels; i = -1)

static void
truth_forward (const Case *c, const Host *h, Truth *t)
{
  t->mean = g_new0 (gdouble, c->norm.stored);
  t->deviations = g_new0 (gdouble, c->norm.stored);
  t->inverse_std = g_new (gdouble, c->norm.stored);
  EACH (c, i, k)
    t->mean[i] += h->y[k] / (gdouble) c->norm.rows;
  EACH (c, i, k)
    t->deviations[i] += (h->y[k] - t->mean[i]) * (h->y[k] - t->mean[i]);
  for (gint i = 0; i < c->norm.stored; i++)
    t->inverse_std[i] = 1 / sqrt (t->deviations[i] / c->norm.rows + PIRL_BN_EPSILON);
}

/* As the card saw it: on which side of a kink a value is, is looked at by itself. */
static gboolean
passed (const Host *h, gsize k)
{
  return h->mask ? h->mask[k / 8] >> (k % 8) & 1 : h->out[k] > 0;
}

static void
truth_backward (const Case *c, const Host *h, Truth *t)
{
  gdouble **sums[] = { &t->sum, &t->product, &t->sum_size, &t->product_size };

  for (guint s = 0; s < G_N_ELEMENTS (sums); s++)
    *sums[s] = g_new0 (gdouble, c->norm.stored);
  EACH (c, i, k) {
    const gdouble dz = passed (h, k) ? h->d[k] : 0, product = dz * (h->y[k] - t->mean[i]);

    t->sum[i] += dz;
    t->product[i] += product;
    t->sum_size[i] += fabs (dz);
    t->product_size[i] += fabs (product);
  }
}

static void
truth_clear (Truth *t)
{
  gpointer all[] = { t->mean, t->deviations, t->inverse_std, t->sum, t->product, t->sum_size,
    t->product_size };

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    g_free (all[i]);
}

/* --- comparing --- */

static void
note (gdouble *worst, gdouble error)
{
  *worst = MAX (*worst, isfinite (error) ? fabs (error) : INFINITY);
}

static void
compare_table (const Case *c, const Host *h, const Truth *t, gdouble *worst)
{
  const gfloat *table[PIRL_GPU_NORM_ARRAYS];

  for (gint a = 0; a < PIRL_GPU_NORM_ARRAYS; a++)
    table[a] = h->table + a * c->norm.stored;
  for (gint i = 0; i < c->norm.channels; i++) {
    const gdouble inverse = t->inverse_std[i], scale = table[PIRL_GPU_NORM_SCALE][i];
    const gdouble mean = table[PIRL_GPU_NORM_MEAN][i]
        - (table[PIRL_GPU_NORM_SHIFT][i] - (gdouble) h->bias[i]) / scale;
    const gdouble running_mean = OLD_MEAN + PIRL_BN_MOMENTUM * (t->mean[i] - OLD_MEAN);
    const gdouble running_var = OLD_VAR
        + PIRL_BN_MOMENTUM * (t->deviations[i] / (c->norm.rows - 1) - OLD_VAR);

    note (&worst[MEAN], (mean - t->mean[i]) * inverse);
    note (&worst[INVERSE_STD], table[PIRL_GPU_NORM_INVERSE_STD][i] / inverse - 1);
    note (&worst[INVERSE_STD], scale / (inverse * h->weight[i]) - 1);
    note (&worst[RUNNING], h->running_mean[i] / running_mean - 1);
    note (&worst[RUNNING], h->running_var[i] / running_var - 1);
  }
  for (gint i = c->norm.channels; i < c->norm.stored; i++)
    for (gint a = 0; a < PIRL_GPU_NORM_ARRAYS; a++)
      g_assert_cmpfloat (table[a][i], ==, 0);
}

static void
compare_output (const Case *c, const Host *h, const Truth *t, gdouble *worst)
{
  const gdouble high = c->norm.activation == PIRL_ACT_RELU6 ? 6 : INFINITY;

  EACH (c, i, k) {
    const gdouble v = (h->y[k] - t->mean[i]) * t->inverse_std[i] * h->weight[i] + h->bias[i]
        + (h->residual ? h->residual[k] : 0);
    const gboolean near_kink = fabs (v) < 1e-3 || fabs (v - high) < 1e-3;

    note (&worst[OUTPUT], (h->out[k] - CLAMP (v, 0, high)) / (1 + fabs (v)));
    if (!near_kink && passed (h, k) != (v > 0 && v < high))
      note (&worst[OUTPUT], INFINITY);
  }
}

static void
compare_gradients (const Case *c, const Host *h, const Truth *t, const gfloat *d_residual,
    gdouble *worst)
{
  for (gint i = 0; i < c->norm.channels; i++) {
    const gdouble inverse = t->inverse_std[i];

    note (&worst[D_BIAS], (h->d_bias[i] - t->sum[i]) / t->sum_size[i]);
    note (&worst[D_WEIGHT], (h->d_weight[i] - t->product[i] * inverse)
        / (t->product_size[i] * inverse));
  }
  EACH (c, i, k) {
    const gdouble inverse = t->inverse_std[i], scale = inverse * h->weight[i];
    const gdouble dz = passed (h, k) ? h->d[k] : 0, rows = c->norm.rows;
    const gdouble wanted = scale * (dz - t->sum[i] / rows
        - (h->y[k] - t->mean[i]) * inverse * inverse * t->product[i] / rows);

    note (&worst[D_INPUT], (h->d_input[k] - wanted) / (2 * scale));
    if (d_residual)
      note (&worst[D_RESIDUAL], (d_residual[k] - (h->d_residual[k] + dz)) / 2);
  }
}

static void
run_case (const Case *c, gdouble *worst)
{
  g_autofree gfloat *d_residual = NULL;
  Truth truth = { 0 };
  Card card;
  Host h;

  host_init (c, &h);
  card_init (c, &h, &card);
  run_forward (c, &card, &h);
  run_backward (c, &card, &h);
  if (c->residual)
    d_residual = read_values (c, card.d_residual);
  truth_forward (c, &h, &truth);
  truth_backward (c, &h, &truth);
  compare_table (c, &h, &truth, worst);
  compare_output (c, &h, &truth, worst);
  compare_gradients (c, &h, &truth, d_residual, worst);
  truth_clear (&truth);
  card_clear (&card);
  host_clear (&h);
}

static Case
case_new (PirlDType dtype, guint rows, gint channels, gdouble mean, gboolean residual)
{
  Case c = { .mean = mean, .residual = residual };

  c.norm = (PirlGpuNorm) { .dtype = dtype, .rows = rows, .channels = channels,
    .stored = (channels + 7) / 8 * 8, .activation = residual ? PIRL_ACT_RELU6 : PIRL_ACT_RELU };
  c.n = (gsize) rows * c.norm.stored;
  return c;
}

/* --- tests --- */

static void
test_large (gconstpointer data)
{
  const guint type = GPOINTER_TO_UINT (data);
  gdouble worst[N_ERRORS] = { 0 };

  for (guint s = 0; s < G_N_ELEMENTS (shapes); s++)
    for (gint residual = 0; residual < 2; residual++) {
      const Case c = case_new (types[type].dtype, shapes[s].rows, shapes[s].channels,
          types[type].mean[residual], residual);

      run_case (&c, worst);
    }
  for (guint e = 0; e < N_ERRORS; e++)
    g_test_message ("%-12s %.2g (limit %.2g)", error_names[e], worst[e], types[type].limit[e]);
  for (guint e = 0; e < N_ERRORS; e++)
    g_assert_cmpfloat (worst[e], <=, types[type].limit[e]);
}

/* What is no finite number reaches all that depends on it, and only that: a gradient that has left
 * the range of 16 bits must be noticed. */
static void
test_not_finite (void)
{
  static const gfloat values[] = { NAN, INFINITY, -INFINITY };

  for (guint i = 0; i < 2 * G_N_ELEMENTS (values); i++) {
    const Case c = case_new (PIRL_DTYPE_F16, 5000, 24, 3, TRUE);
    const gboolean forward = i % 2 == 0;
    Card card;
    Host h;

    host_init (&c, &h);
    (forward ? h.y : h.d)[c.n - 8] = values[i / 2];     /* the last row's channel 16 */
    h.residual[c.n - 8] = 6;                            /* with a gradient */
    h.y[c.n - 8] = forward ? h.y[c.n - 8] : 3;
    card_init (&c, &h, &card);
    run_forward (&c, &card, &h);
    run_backward (&c, &card, &h);
    for (gint channel = 0; channel < c.norm.channels; channel++) {
      const gboolean finite = channel != 16;

      g_assert_cmpint (finite || !forward, ==, !!isfinite (h.out[channel]));
      g_assert_cmpint (finite || !forward, ==, !!isfinite (h.running_mean[channel]));
      g_assert_cmpint (finite || !forward, ==, !!isfinite (h.running_var[channel]));
      g_assert_cmpint (finite || forward, ==, !!isfinite (h.d_bias[channel]));
      g_assert_cmpint (finite, ==, !!isfinite (h.d_weight[channel]));
      g_assert_cmpint (finite, ==, !!isfinite (h.d_input[channel]));
    }
    card_clear (&card);
    host_clear (&h);
  }
}

/* The same of statistics that come from sums (of convolutions), and of rows of floats. */
static void
test_not_finite_sums (void)
{
  static const gfloat sums[16] = { [0] = NAN, [1] = 20, [8] = NAN, [9] = 60 };
  static const gfloat rows[4] = { 1, NAN, 3, 5 };
  const Case c = case_new (PIRL_DTYPE_F32, 10, 2, 0, FALSE);
  g_autofree gfloat *sum_var = NULL, *row_var = NULL;
  PirlGpuRowsNorm norm = {.n = 2, .c = 2, .x = card_copy (rows, sizeof rows),
    .out = card_new (sizeof rows), .mean = card_new (sizeof rows), .rest = card_new (sizeof rows),
    .inverse = card_new (sizeof rows) };
  gfloat *card_sums = card_copy (sums, sizeof sums);
  Card card;
  Host h;

  host_init (&c, &h);
  card_init (&c, &h, &card);
  const PirlGpuNormParams params = { .weight = card.weight, .bias = card.bias,
    .running_mean = card.running_mean, .running_var = card.running_var };

  pirl_gpu_norm_finish (&c.norm, NULL, card_sums, &params, card.table, NULL);
  sum_var = read_floats (card.running_var, 2);
  norm.gamma = card.weight;
  norm.beta = card.bias;
  norm.running_mean = card.running_mean;
  norm.running_var = card.running_var;
  check (cudaMemcpy (card.running_var, (gfloat[]) { 1, 1 }, 8, cudaMemcpyHostToDevice));
  pirl_gpu_rows_norm (&norm, NULL);
  row_var = read_floats (card.running_var, 2);
  g_assert_true (isnan (sum_var[0]));
  /* 60 / 10 - (20 / 10)^2 = 2, times 10 / 9. */
  g_assert_cmpfloat_with_epsilon (sum_var[1], 0.9 * OLD_VAR + 0.1 * 20 / 9, 1e-6);
  g_assert_cmpfloat_with_epsilon (row_var[0], 0.9 + 0.1 * 2, 1e-6);
  g_assert_true (isnan (row_var[1]));
  gpointer all[] = { (gpointer) norm.x, norm.out, norm.mean, norm.rest, norm.inverse, card_sums };
  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    check (cudaFree (all[i]));
  card_clear (&card);
  host_clear (&h);
}

int
main (int argc, char **argv)
{
  int cards = 0;

  g_test_init (&argc, &argv, NULL);
  if (cudaGetDeviceCount (&cards) != cudaSuccess || cards == 0) {
    g_print ("skipped: there is no card\n");
    return SKIPPED;
  }
  for (guint i = 0; i < G_N_ELEMENTS (types); i++) {
    g_autofree gchar *path = g_strconcat ("/cuda-norm/large/", pirl_dtype_name (types[i].dtype),
        NULL);

    g_test_add_data_func (path, GUINT_TO_POINTER (i), test_large);
  }
  g_test_add_func ("/cuda-norm/not-finite", test_not_finite);
  g_test_add_func ("/cuda-norm/not-finite-sums", test_not_finite_sums);
  return g_test_run ();
}
