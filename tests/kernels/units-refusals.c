/* gst-pirl: what devices and backends must refuse, with an error that says why.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "units-checks.h"

#include <string.h>

guint
units_check_names (const UnitsContext *context)
{
  static const struct {
    const gchar *name, *expected;       /* a part of the error; NULL = opens */
    gint code;
  } names[] = {
    { "auto", NULL, 0 }, { "cpu", NULL, 0 }, { "reference", NULL, 0 },
    { "cuda:", "the number of a card", PIRL_ERROR_INVALID },
    { "cuda:-1", "the number of a card", PIRL_ERROR_INVALID },
    { "cuda:1x", "the number of a card", PIRL_ERROR_INVALID },
    { "cudas", "known are auto, cuda, cuda:N, cpu, reference", PIRL_ERROR_INVALID },
    { "gpu", "known are auto, cuda, cuda:N, cpu, reference", PIRL_ERROR_INVALID },
    { "", "known are auto, cuda, cuda:N, cpu, reference", PIRL_ERROR_INVALID },
  };
  guint failed = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (PirlDevice) device = pirl_device_open (names[i].name, 1, TRUE, &error);
    const gboolean ok = names[i].expected == NULL ? device != NULL
        : device == NULL && g_error_matches (error, PIRL_ERROR, names[i].code)
        && strstr (error->message, names[i].expected) != NULL;

    failed += units_report (context, ok, "device name: ", names[i].name);
  }
  g_print ("device names: %u failed\n", failed);
  return failed;
}

/* Units that cannot work. */
static const struct {
  const gchar *name;
  PirlUnitDesc unit;
} impossible[] = {
  { "conv with channels that groups do not divide", { .kind = PIRL_UNIT_CONV,
        .input = { 2, 6, 5, 5 }, .output = { 2, 8, 5, 5 }, .kernel = 3, .stride = 1, .padding = 1,
        .groups = 4 } },
  { "conv with an output of another size", { .kind = PIRL_UNIT_CONV, .input = { 2, 6, 5, 5 },
        .output = { 2, 8, 5, 5 }, .kernel = 3, .stride = 1, .padding = 0, .groups = 1 } },
  { "conv with a kernel larger than the picture", { .kind = PIRL_UNIT_CONV,
        .input = { 2, 6, 5, 5 }, .output = { 2, 8, 1, 1 }, .kernel = 7, .stride = 1, .padding = 0,
        .groups = 1 } },
  { "conv with another batch in its output", { .kind = PIRL_UNIT_CONV, .input = { 2, 6, 5, 5 },
        .output = { 3, 8, 5, 5 }, .kernel = 1, .stride = 1, .groups = 1 } },
  { "max pool that changes the channels", { .kind = PIRL_UNIT_MAXPOOL, .input = { 2, 6, 4, 4 },
        .output = { 2, 8, 2, 2 }, .kernel = 2, .stride = 2 } },
  { "batch norm that trains on one value a channel", { .kind = PIRL_UNIT_BATCHNORM,
        .input = { 1, 6, 1, 1 }, .output = { 1, 6, 1, 1 }, .batch_norm = TRUE } },
  { "conv with batch norm that trains on one value a channel", { .kind = PIRL_UNIT_CONV,
        .input = { 1, 6, 3, 3 }, .output = { 1, 8, 1, 1 }, .kernel = 3, .stride = 1, .groups = 1,
        .batch_norm = TRUE } },
  { "linear that reads pictures", { .kind = PIRL_UNIT_LINEAR, .input = { 2, 6, 2, 2 },
        .output = { 2, 8, 1, 1 } } },
};

static guint
check_unit (const UnitsContext *context, PirlDevice *device, guint i)
{
  PirlUnitDesc unit = impossible[i].unit;
  const PirlTensorDesc input = units_dense (device, unit.input, PIRL_DTYPE_F32);
  g_autofree gchar *name = g_strdup_printf ("refusal: %s: %s: ", device->backend->name,
      impossible[i].name);
  g_autoptr (GError) error = NULL;
  PirlTensorDesc output;
  PirlUnitMemory memory;
  PirlUnitPlan *plan;

  if (!units_selected (context, name))
    return 0;
  unit.dtype = PIRL_DTYPE_F32;
  plan = device->backend->unit_plan (device, &unit, &input, NULL, &output, &memory, &error);
  if (plan != NULL)
    device->backend->unit_free (plan);
  return units_report (context, plan == NULL && error != NULL && error->domain == PIRL_ERROR, name,
      error ? error->message : "planned all the same");
}

/* Contrastive terms that cannot work: 2 samples of 3, 5 rows, 2 negatives. */
static const struct {
  const gchar *name;
  PirlContrastDesc desc;
  guint32 positive, negative;
  gboolean all_rows;
  PirlDType bank;               /* F64 = what is right */
} contrasts[] = {
  { "a positive outside of the bank", { PIRL_LOSS_INFONCE, 2, 3, 5, 2, 0.1, 1.0, 1.0 }, 5 },
  { "a negative outside of the bank", { PIRL_LOSS_INFONCE, 2, 3, 5, 2, 0.1, 1.0, 1.0 }, 0, 5 },
  { "all rows, but another number", { PIRL_LOSS_INFONCE, 2, 3, 5, 2, 0.1, 1.0, 1.0 }, 0, 0, TRUE },
  { "a temperature of 0", { PIRL_LOSS_INFONCE, 2, 3, 5, 2, 0.0, 1.0, 1.0 } },
  { "NCE without Z", { PIRL_LOSS_NCE, 2, 3, 5, 2, 0.1, 0.0, 1.0 } },
  { "near negatives that count twice", { PIRL_LOSS_NCE, 2, 3, 5, 2, 0.1, 1.0, 1.0, .near = 0.5,
          .near_weight = 2 } },
  { "a bank of BF16", { PIRL_LOSS_NCE, 2, 3, 5, 2, 0.1, 1.0, 1.0 }, .bank = PIRL_DTYPE_BF16 },
};

static guint
check_contrast (const UnitsContext *context, PirlDevice *device, guint i)
{
  const guint32 positive[2] = { 0, contrasts[i].positive };
  const guint32 negative[4] = { 0, 1, 2, contrasts[i].negative };
  g_autofree gchar *name = g_strdup_printf ("refusal: %s: contrast with %s: ",
      device->backend->name, contrasts[i].name);
  PirlContrastDesc desc = contrasts[i].desc;
  g_autoptr (GError) error = NULL;
  PirlContrastStats stats;
  Block bank = { 0 }, embedding = { 0 }, chosen = { 0 };
  gboolean ran = TRUE;

  if (!units_selected (context, name))
    return 0;
  desc.bank_dtype = contrasts[i].bank ? contrasts[i].bank : device->param_dtype;
  if (units_block_init (&bank, device, 5 * 3 * sizeof (gdouble), &error)
      && units_block_init (&embedding, device, 2 * 3 * sizeof (gdouble), &error)
      && units_block_init (&chosen, device, sizeof (negative), &error)
      && device->backend->upload (device, chosen.memory, negative, sizeof (negative), &error))
    ran = device->backend->contrast (device, &desc, embedding.memory, bank.memory,
        positive, contrasts[i].all_rows ? NULL : (gconstpointer) chosen.memory, NULL, &stats,
        &error);
  units_block_clear (&bank, device);
  units_block_clear (&embedding, device);
  units_block_clear (&chosen, device);
  return units_report (context, !ran && g_error_matches (error, PIRL_ERROR, PIRL_ERROR_INVALID),
      name, error ? error->message : "ran all the same");
}

guint
units_check_refusals (const UnitsContext *context)
{
  PirlDevice *devices[] = { context->reference, context->tested };
  guint failed = 0;

  for (gsize d = 0; d < G_N_ELEMENTS (devices); d++) {
    for (guint i = 0; i < G_N_ELEMENTS (impossible); i++)
      failed += check_unit (context, devices[d], i);
    for (guint i = 0; i < G_N_ELEMENTS (contrasts); i++)
      failed += check_contrast (context, devices[d], i);
  }
  g_print ("refusals: %u failed\n", failed);
  return failed;
}
