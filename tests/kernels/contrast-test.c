/* gst-pirl: contrastive terms and the memory bank against closed forms, on each backend.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For independent random unit vectors of d elements the mean of exp (s / tau) is
 *
 *   M (tau) = 0F1 (; d/2; (1 / (2 tau))^2) = sum_n x^n / ((d/2)_n n!)
 *
 * so that at initialisation Z = N M, InfoNCE = ln (K M), NCE = ln (K M) + 1 (K negatives of N rows,
 * N large). Samples come in pairs z, -z with one positive, so that its score, which is nearly all
 * of the noise, cancels.
 */
#include <math.h>
#include <string.h>

#include "backends/backend.h"
#include "base/rng.h"

enum { DIM = 128, ROWS = 20000, BATCH = 128 };

#define LOSS_TOLERANCE 0.02     /* four deviations of the batch's mean at K = 1000 */
#define MEAN_TOLERANCE 0.01
#define NCE_EPSILON 1.19e-7

/* A device, and host arrays as it wants them. */
typedef struct {
  PirlDevice *device;
} Fixture;

static gpointer
to_device (const Fixture *fixture, const gfloat *values, gsize n)
{
  PirlDevice *device = fixture->device;
  const gsize bytes = n * pirl_dtype_size (device->param_dtype);
  g_autofree guint8 *host = g_malloc (bytes);
  gpointer memory = device->backend->alloc (device, bytes, NULL);

  g_assert_nonnull (memory);
  pirl_from_float (device->param_dtype, values, host, n);
  g_assert_true (device->backend->upload (device, memory, host, bytes, NULL));
  return memory;
}

static void
from_device (const Fixture *fixture, gpointer memory, gfloat *values, gsize n)
{
  PirlDevice *device = fixture->device;
  const gsize bytes = n * pirl_dtype_size (device->param_dtype);
  g_autofree guint8 *host = g_malloc (bytes);

  g_assert_true (device->backend->download (device, host, memory, bytes, NULL));
  pirl_to_float (device->param_dtype, host, values, n);
}

static void
release (const Fixture *fixture, gpointer memory)
{
  fixture->device->backend->free (fixture->device, memory);
}

static guint32 *
indices_to_device (const Fixture *fixture, const guint32 *indices, gsize n)
{
  PirlDevice *device = fixture->device;
  gpointer memory = device->backend->alloc (device, n * sizeof *indices, NULL);

  g_assert_nonnull (memory);
  g_assert_true (device->backend->upload (device, memory, indices, n * sizeof *indices, NULL));
  return memory;
}

/* @n random directions. */
static gfloat *
unit_rows (guint64 index, gsize n)
{
  gfloat *rows = g_new (gfloat, n * DIM);
  PirlRng rng;

  pirl_rng_init (&rng, 1, 0, index, PIRL_PURPOSE_TEST);
  for (gsize r = 0; r < n; r++) {
    gdouble square = 0;

    for (guint d = 0; d < DIM; d++) {
      const gfloat x = rows[r * DIM + d] = pirl_rng_normal (&rng);
      square += (gdouble) x * x;
    }
    for (guint d = 0; d < DIM; d++)
      rows[r * DIM + d] = (gfloat) (rows[r * DIM + d] / sqrt (square));
  }
  return rows;
}

static gdouble
mean_exponential (gdouble tau)
{
  const gdouble x = 1 / (4 * tau * tau);
  gdouble term = 1, sum = 1;

  for (guint n = 0; n < 1000; n++) {
    term *= x / ((DIM / 2 + n) * (n + 1.0));
    sum += term;
  }
  return sum;
}

static void
test_the_closed_form_is_the_published_one (Fixture *fixture, gconstpointer unused)
{
  g_assert_cmpfloat (fabs (mean_exponential (0.07) - 2.2087), <, 1e-4);
  g_assert_cmpfloat (fabs (mean_exponential (0.10) - 1.4762), <, 1e-4);
}

static void
test_loss_at_initialisation (Fixture *fixture, gconstpointer unused)
{
  static const struct {
    gdouble tau;
    guint negatives;
  } cases[] = { { 0.07, 1000 }, { 0.07, 4096 }, { 0.10, 1000 }, { 0.10, 4096 } };
  static const struct {
    PirlLoss loss;
    const gchar *name;
    gdouble above;              /* over ln (K M) */
  } losses[] = { { PIRL_LOSS_NCE, "NCE", 1 }, { PIRL_LOSS_INFONCE, "InfoNCE", 0 } };
  g_autofree gfloat *bank = unit_rows (1, ROWS), *half = unit_rows (2, BATCH / 2);
  g_autofree gfloat *embedding = g_new (gfloat, BATCH * DIM);
  guint32 positive[BATCH];
  gpointer bank_memory, embedding_memory;

  for (guint b = 0; b < BATCH; b++) {
    positive[b] = b / 2 * 311;
    for (guint d = 0; d < DIM; d++)
      embedding[b * DIM + d] = half[b / 2 * DIM + d] * (b % 2 ? -1 : 1);
  }
  bank_memory = to_device (fixture, bank, ROWS * DIM);
  embedding_memory = to_device (fixture, embedding, BATCH * DIM);

  for (guint c = 0; c < G_N_ELEMENTS (cases); c++) {
    const gsize k = cases[c].negatives;
    const gdouble mean = mean_exponential (cases[c].tau);
    g_autofree guint32 *negative = g_new (guint32, BATCH * k);
    guint32 *negative_memory;
    PirlRng rng;

    pirl_rng_init (&rng, 2, 0, c, PIRL_PURPOSE_TEST);
    for (gsize i = 0; i < BATCH * k; i++)
      negative[i] = pirl_rng_below (&rng, ROWS);
    negative_memory = indices_to_device (fixture, negative, BATCH * k);
    for (guint l = 0; l < G_N_ELEMENTS (losses); l++) {
      const PirlContrastDesc desc = { losses[l].loss, BATCH, DIM, ROWS, k, cases[c].tau,
        mean * ROWS, 1, fixture->device->param_dtype };
      const gdouble expected = log (k * mean) + losses[l].above;
      PirlContrastStats stats;

      g_assert_true (fixture->device->backend->contrast (fixture->device, &desc,
              embedding_memory, bank_memory, positive, negative_memory, NULL, &stats, NULL));
      g_test_message ("tau %.2f, %5u negatives: %-7s %.3f (closed form %.3f), Z/N %.3f (%.3f)",
          cases[c].tau, cases[c].negatives, losses[l].name, stats.loss, expected, stats.mean_exp,
          mean);
      g_assert_cmpfloat (fabs (stats.loss - expected), <, LOSS_TOLERANCE);
      g_assert_cmpfloat (fabs (stats.mean_exp / mean - 1), <, MEAN_TOLERANCE);
      g_assert_cmpfloat (fabs (stats.positive), <, 1e-6);
      g_assert_cmpfloat (fabs (stats.spread - 1), <, 1e-6);     /* z, -z: the mean is 0 */
    }
    release (fixture, negative_memory);
  }
  release (fixture, bank_memory);
  release (fixture, embedding_memory);
}

/* A small case whose every score is known: own row @own, all other rows @other, on one axis. */
typedef struct {
  PirlLoss loss;
  gdouble own, other;
  gboolean all;                 /* negatives = rows - 1, not drawn */
  gdouble near, weight;         /* near 0: none are */
} AxisCase;

static gboolean
is_near (const AxisCase *c)
{
  return c->near > 0 && c->other > c->near;
}

/* Loss of one sample and dL/ds along the axis, by hand: near negatives are so many fewer. */
static void
axis_by_hand (const AxisCase *c, const PirlContrastDesc *desc, gdouble *loss, gdouble *slope)
{
  const gdouble tau = desc->temperature;
  const gdouble k = desc->negatives * (is_near (c) ? c->weight : 1);
  const gdouble p = exp (c->own / tau), q = exp (c->other / tau);

  if (c->loss == PIRL_LOSS_INFONCE) {
    *loss = log (1 + k * q / p);
    *slope = ((p / (p + k * q) - 1) * c->own + k * q / (p + k * q) * c->other) / tau;
  } else {
    const gdouble share = (gdouble) desc->negatives / desc->rows, noise = share + NCE_EPSILON;
    const gdouble own = p / desc->z, other = q / desc->z;

    *loss = log ((own + noise) / own) + k * log ((other + noise) / share);
    *slope = (-noise / (own + noise) * c->own + k * other / (other + noise) * c->other) / tau;
  }
}

static void
check_axis (const Fixture *fixture, const AxisCase *c)
{
  enum { N = 11, K = 7 };
  const PirlContrastDesc desc = { c->loss, 2, DIM, N, c->all ? N - 1 : K, 0.5, 3 * N, 0.25,
    fixture->device->param_dtype, c->near, c->weight };
  static const guint32 positive[2] = { 4, 10 };
  g_autofree gfloat *bank = g_new0 (gfloat, N * DIM), *embedding = g_new0 (gfloat, 2 * DIM);
  g_autofree gfloat *gradient = g_new (gfloat, 2 * DIM);
  guint32 negative[2 * K], *negative_memory;
  gpointer bank_memory, embedding_memory, gradient_memory;
  PirlContrastStats stats;
  gdouble loss, slope;

  for (guint i = 0; i < 2 * K; i++)     /* any row but the two positives */
    negative[i] = i % 10 == 4 ? 5 : i % 10;
  for (guint r = 0; r < N; r++)
    bank[r * DIM] = c->other;
  /* With all rows, one sample's own is the other's negative: then all must be equal. */
  for (guint b = 0; b < 2; b++) {
    embedding[b * DIM] = 1;
    if (!c->all)
      bank[positive[b] * DIM] = c->own;
  }
  bank_memory = to_device (fixture, bank, N * DIM);
  embedding_memory = to_device (fixture, embedding, 2 * DIM);
  gradient_memory = to_device (fixture, embedding, 2 * DIM);
  negative_memory = indices_to_device (fixture, negative, 2 * K);
  g_assert_true (fixture->device->backend->contrast (fixture->device, &desc, embedding_memory,
          bank_memory, positive, c->all ? NULL : negative_memory, gradient_memory, &stats, NULL));
  from_device (fixture, gradient_memory, gradient, 2 * DIM);

  axis_by_hand (c, &desc, &loss, &slope);
  g_assert_cmpfloat (fabs (stats.loss - loss), <, 1e-5 * loss + 1e-12);
  g_assert_cmpfloat (stats.near, ==, is_near (c));
  g_assert_cmpfloat (fabs (stats.positive - c->own), <, 1e-6);
  g_assert_cmpfloat (fabs (stats.spread), <, 1e-6);     /* both samples are one */
  for (guint b = 0; b < 2; b++) {
    g_assert_cmpfloat (fabs (gradient[b * DIM] - slope * desc.scale / 2), <, 1e-6);
    for (guint d = 1; d < DIM; d++)
      g_assert_cmpfloat (gradient[b * DIM + d], ==, 0);
  }
  release (fixture, bank_memory);
  release (fixture, embedding_memory);
  release (fixture, gradient_memory);
  release (fixture, negative_memory);
}

static void
test_losses_and_gradients_along_one_axis (Fixture *fixture, gconstpointer unused)
{
  static const AxisCase cases[] = {
    { PIRL_LOSS_INFONCE, 1, -1, FALSE }, { PIRL_LOSS_NCE, 1, -1, FALSE },
    { PIRL_LOSS_INFONCE, -1, 1, FALSE }, { PIRL_LOSS_NCE, -1, 1, FALSE },
    { PIRL_LOSS_INFONCE, 0.5, 0.25, FALSE }, { PIRL_LOSS_NCE, 0.5, 0.25, FALSE },
    { PIRL_LOSS_INFONCE, 1, 1, TRUE }, { PIRL_LOSS_NCE, 1, 1, TRUE },
    { PIRL_LOSS_NCE, -0.5, -0.5, TRUE },
    { PIRL_LOSS_INFONCE, 0.5, 0.25, FALSE, 0.2, 0.3 },
    { PIRL_LOSS_NCE, 0.5, 0.25, FALSE, 0.2, 0.3 },
    { PIRL_LOSS_INFONCE, 0.5, 0.25, FALSE, 0.3, 0 }, { PIRL_LOSS_NCE, 0.5, 0.25, FALSE, 0.3, 0 },
    { PIRL_LOSS_INFONCE, 1, 1, TRUE, 0.9, 0 }, { PIRL_LOSS_NCE, 1, 1, TRUE, 0.9, 0 },
    { PIRL_LOSS_INFONCE, 1, 1, TRUE, 1, 0 },    /* off */
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    check_axis (fixture, &cases[i]);
}

/* Two samples of one row: the second sees what the first wrote. With momentum 0 a sample takes its
 * row's place. */
static void
test_bank_rows_move_towards_the_embedding (Fixture *fixture, gconstpointer unused)
{
  static const guint32 positive[4] = { 2, 0, 2, 3 };
  static const gfloat momentum[4] = { 0.25, 0.25, 0.25, 0 };
  g_autofree gfloat *bank = g_new0 (gfloat, 4 * DIM), *embedding = g_new0 (gfloat, 4 * DIM);
  const gdouble first = sqrt (0.25 * 0.25 + 0.75 * 0.75);
  const gdouble x = 0.25 * 0.25 / first, y = 0.25 * 0.75 / first, z = 0.75;
  const gdouble second = sqrt (x * x + y * y + z * z);
  const gfloat expected[4][3] = {
    { 1, 0, 0 },                /* moved towards itself */
    { 1, 0, 0 },                /* nobody's */
    { (gfloat) (x / second), (gfloat) (y / second), (gfloat) (z / second) },
    { 0, -1, 0 },               /* replaced */
  };
  gpointer bank_memory, embedding_memory;

  for (guint r = 0; r < 4; r++)
    bank[r * DIM] = 1;
  embedding[1] = 1;             /* sample 0: axis 1; sample 1: axis 0; sample 2: axis 2 */
  embedding[DIM] = 1;
  embedding[2 * DIM + 2] = 1;
  embedding[3 * DIM + 1] = -1;
  bank_memory = to_device (fixture, bank, 4 * DIM);
  embedding_memory = to_device (fixture, embedding, 4 * DIM);
  g_assert_true (fixture->device->backend->bank_update (fixture->device, bank_memory,
          fixture->device->param_dtype, DIM, 4, positive, momentum, embedding_memory, NULL));
  from_device (fixture, bank_memory, bank, 4 * DIM);
  for (guint r = 0; r < 4; r++)
    for (guint d = 0; d < DIM; d++)
      g_assert_cmpfloat (fabs (bank[r * DIM + d] - (d < 3 ? expected[r][d] : 0)), <, 1e-6);
  release (fixture, bank_memory);
  release (fixture, embedding_memory);
}

static void
set_up (Fixture *fixture, gconstpointer name)
{
  g_autoptr (GError) error = NULL;

  fixture->device = pirl_device_open (name, 2, TRUE, &error);
  g_assert_no_error (error);
}

static void
tear_down (Fixture *fixture, gconstpointer name)
{
  pirl_device_close (fixture->device);
}

int
main (int argc, char **argv)
{
  static const gchar *const devices[] = { "reference", "cpu" };
  static const struct {
    const gchar *name;
    void (*run) (Fixture *, gconstpointer);
  } tests[] = {
    { "closed-form", test_the_closed_form_is_the_published_one },
    { "initialisation", test_loss_at_initialisation },
    { "axis", test_losses_and_gradients_along_one_axis },
    { "bank", test_bank_rows_move_towards_the_embedding },
  };

  g_test_init (&argc, &argv, NULL);
  for (guint d = 0; d < G_N_ELEMENTS (devices); d++) {
    for (guint t = 0; t < G_N_ELEMENTS (tests); t++) {
      g_autofree gchar *path = g_strdup_printf ("/contrast/%s/%s", devices[d], tests[t].name);

      g_test_add (path, Fixture, devices[d], set_up, tests[t].run, tear_down);
    }
  }
  return g_test_run ();
}
