/* gst-pirl: the table of units and shapes that the unit tests run.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What must be covered in every combination is looped over; the rest is drawn, with a fixed seed:
 * sizes that are odd, channels that are no multiple of a vector, batches of one.
 */
#include "units-cases.h"

#define CASES_SEED 20200613
#define DRAWS 2                 /* of each combination */
#define MAX_PRODUCTS 4000000    /* multiplications of a convolution, so that all stays quick */
#define MIN_BN_VALUES 16        /* with 2 values a channel, batch norm has no gradient at all */

typedef enum { GROUPS_ONE, GROUPS_SOME, GROUPS_ALL } Groups;

/* What can follow a convolution. */
static const struct {
  gboolean bias, batch_norm, residual;
  PirlActivation activation;
  Groups groups;
} conv_variants[] = {
  { FALSE, TRUE, FALSE, PIRL_ACT_RELU, GROUPS_ONE },
  { FALSE, TRUE, FALSE, PIRL_ACT_NONE, GROUPS_ONE },
  { FALSE, TRUE, TRUE, PIRL_ACT_RELU, GROUPS_ONE },
  { FALSE, TRUE, TRUE, PIRL_ACT_NONE, GROUPS_ONE },
  { FALSE, TRUE, FALSE, PIRL_ACT_RELU6, GROUPS_ALL },
  { FALSE, TRUE, FALSE, PIRL_ACT_RELU, GROUPS_SOME },
  { FALSE, TRUE, TRUE, PIRL_ACT_RELU6, GROUPS_SOME },
  { TRUE, FALSE, FALSE, PIRL_ACT_NONE, GROUPS_ONE },
  { TRUE, FALSE, FALSE, PIRL_ACT_RELU6, GROUPS_ALL },
  { FALSE, FALSE, FALSE, PIRL_ACT_NONE, GROUPS_ONE },
  { FALSE, FALSE, TRUE, PIRL_ACT_RELU, GROUPS_ONE },
  { TRUE, TRUE, FALSE, PIRL_ACT_RELU, GROUPS_ONE },
};

static gint
pick (PirlRng *rng, const gint *from, guint n)
{
  return from[pirl_rng_below (rng, n)];
}

#define PICK(rng, ...) \
  pick (rng, (const gint[]) { __VA_ARGS__ }, sizeof ((gint[]) { __VA_ARGS__ }) / sizeof (gint))

static gint
output_size (gint size, const PirlUnitDesc *unit)
{
  return (size + 2 * unit->padding - unit->kernel) / unit->stride + 1;
}

static void
set_output (PirlUnitDesc *unit, gint channels)
{
  unit->output = (PirlDims) { unit->input.n, channels, output_size (unit->input.h, unit),
    output_size (unit->input.w, unit)
  };
}

static void
draw_channels (PirlUnitDesc *unit, Groups groups, PirlRng *rng)
{
  unit->groups = 1;
  unit->input.c = PICK (rng, 3, 5, 8, 16, 17, 24, 48);
  unit->output.c = PICK (rng, 3, 5, 8, 16, 17, 24, 48);
  if (groups == GROUPS_ALL) {
    unit->groups = unit->output.c = unit->input.c;
  } else if (groups == GROUPS_SOME) {
    unit->groups = PICK (rng, 2, 4);
    unit->input.c = PICK (rng, 8, 16, 24, 48);
    unit->output.c = PICK (rng, 8, 20, 24, 48);
  }
}

/* Draws shapes until one is valid, quick, and has enough values for batch norm. */
static UnitCase
draw_conv (guint variant, gint kernel, gint stride, PirlRng *rng)
{
  UnitCase c = { { .kind = PIRL_UNIT_CONV, .mode = PIRL_MODE_TRAIN, .dtype = PIRL_DTYPE_F32,
        .kernel = kernel, .stride = stride } };
  PirlUnitDesc *unit = &c.unit;
  gint values;

  unit->bias = conv_variants[variant].bias;
  unit->batch_norm = conv_variants[variant].batch_norm;
  unit->residual = conv_variants[variant].residual;
  unit->activation = conv_variants[variant].activation;
  if (kernel == 1 && conv_variants[variant].groups == GROUPS_ALL) {
    /* One weight a channel in front of batch norm: its gradient is all cancellation. */
    unit->batch_norm = FALSE;
    unit->bias = TRUE;
  }
  unit->needs_input_gradient = !pirl_rng_chance (rng, 0.2f);
  c.accumulate_input = unit->needs_input_gradient && pirl_rng_chance (rng, 0.4f);
  c.accumulate_residual = unit->residual && pirl_rng_chance (rng, 0.5f);
  do {
    unit->input.n = PICK (rng, 1, 2, 3, 5, 9);
    unit->input.h = PICK (rng, 1, 3, 5, 7, 8, 9, 13, 15, 21);
    unit->input.w = PICK (rng, 1, 3, 5, 7, 8, 9, 13, 15, 21);
    unit->padding = pirl_rng_chance (rng, 0.2f) ? 0 : kernel / 2;
    draw_channels (unit, conv_variants[variant].groups, rng);
    set_output (unit, unit->output.c);
    values = unit->output.n * unit->output.h * unit->output.w;
  } while (MIN (unit->input.h, unit->input.w) + 2 * unit->padding < kernel
      || units_case_work (&c) > MAX_PRODUCTS || (unit->batch_norm && values < MIN_BN_VALUES));
  return c;
}

static void
add_convs (GArray *cases, PirlRng *rng)
{
  static const gint kernels[] = { 1, 3, 7 };

  for (guint k = 0; k < G_N_ELEMENTS (kernels); k++)
    for (gint stride = 1; stride <= 2; stride++)
      for (guint variant = 0; variant < DRAWS * G_N_ELEMENTS (conv_variants); variant++) {
        UnitCase c = draw_conv (variant / DRAWS, kernels[k], stride, rng);

        g_array_append_val (cases, c);
      }
}

/* Convolutions of a ResNet, where a library may choose other algorithms than for small ones. */
static void
add_network (GArray *cases)
{
  static const struct {
    gint n, in, out, size, kernel, stride;
    gboolean residual;
    PirlActivation activation;
  } shapes[] = {
    { 1, 3, 64, 64, 7, 2, FALSE, PIRL_ACT_RELU },
    { 1, 64, 64, 28, 3, 1, FALSE, PIRL_ACT_RELU },
    { 1, 64, 256, 28, 1, 1, TRUE, PIRL_ACT_RELU },
    { 1, 256, 64, 28, 1, 1, FALSE, PIRL_ACT_RELU },
    { 1, 128, 128, 28, 3, 2, FALSE, PIRL_ACT_RELU },
    { 1, 256, 512, 28, 1, 2, FALSE, PIRL_ACT_NONE },
    { 9, 96, 96, 7, 3, 1, TRUE, PIRL_ACT_RELU },
  };

  for (guint i = 0; i < G_N_ELEMENTS (shapes); i++) {
    UnitCase c = { { .kind = PIRL_UNIT_CONV, .dtype = PIRL_DTYPE_F32, .batch_norm = TRUE,
          .kernel = shapes[i].kernel, .stride = shapes[i].stride, .padding = shapes[i].kernel / 2,
          .groups = 1, .residual = shapes[i].residual, .activation = shapes[i].activation,
          .input = { shapes[i].n, shapes[i].in, shapes[i].size, shapes[i].size },
          .needs_input_gradient = i > 0 } };

    set_output (&c.unit, shapes[i].out);
    g_array_append_val (cases, c);
  }
}

static void
add_pools (GArray *cases, PirlRng *rng)
{
  static const gint windows[][3] = { { 3, 2, 1 }, { 2, 2, 0 }, { 3, 1, 1 }, { 3, 2, 0 } };

  for (guint i = 0; i < 4 * G_N_ELEMENTS (windows); i++) {
    const gint *window = windows[i % G_N_ELEMENTS (windows)];
    UnitCase c = { { .kind = PIRL_UNIT_MAXPOOL, .dtype = PIRL_DTYPE_F32, .kernel = window[0],
          .stride = window[1], .padding = window[2], .groups = 1, .needs_input_gradient = TRUE } };

    c.unit.input = (PirlDims) { PICK (rng, 1, 2, 5), PICK (rng, 3, 8, 16, 17, 24),
      PICK (rng, 3, 5, 8, 13), PICK (rng, 3, 7, 9, 14) };
    set_output (&c.unit, c.unit.input.c);
    c.accumulate_input = i % 2;
    g_array_append_val (cases, c);
  }
  for (guint i = 0; i < 8; i++) {
    UnitCase c = { { .kind = PIRL_UNIT_AVGPOOL, .dtype = PIRL_DTYPE_F32,
          .needs_input_gradient = TRUE } };

    c.unit.input = (PirlDims) { PICK (rng, 1, 2, 9), PICK (rng, 3, 8, 17, 48),
      PICK (rng, 1, 2, 3, 7), PICK (rng, 1, 3, 4, 7) };
    c.unit.output = (PirlDims) { c.unit.input.n, c.unit.input.c, 1, 1 };
    c.accumulate_input = i % 2;
    g_array_append_val (cases, c);
  }
}

static void
add_vectors (GArray *cases, PirlUnitKind kind, guint count, PirlRng *rng)
{
  for (guint i = 0; i < count; i++) {
    UnitCase c = { { .kind = kind, .dtype = PIRL_DTYPE_F32 } };
    PirlUnitDesc *unit = &c.unit;

    unit->input = (PirlDims) { PICK (rng, 1, 2, 7, 9, 18), PICK (rng, 1, 3, 17, 48, 128, 150), 1,
      1 };
    unit->output = unit->input;
    unit->needs_input_gradient = kind != PIRL_UNIT_LINEAR || i % 4 != 3;
    c.accumulate_input = unit->needs_input_gradient && i % 2;
    if (kind == PIRL_UNIT_LINEAR) {
      unit->output.c = PICK (rng, 1, 5, 16, 31, 128);
      unit->bias = i % 3 != 0;
    } else if (kind == PIRL_UNIT_BATCHNORM) {
      unit->batch_norm = TRUE;
      unit->input.n = unit->output.n = PICK (rng, 8, 9, 31);
    } else if (unit->input.c == 1) {
      unit->input.c = unit->output.c = 2;       /* the gradient of x/|x| is 0 */
    }
    if (kind != PIRL_UNIT_L2NORM)
      unit->activation = (PirlActivation) (i % 3);
    g_array_append_val (cases, c);
  }
}

static void
add_inputs (GArray *cases, PirlRng *rng)
{
  for (guint i = 0; i < 4; i++) {
    UnitCase c = { { .kind = PIRL_UNIT_INPUT, .dtype = PIRL_DTYPE_F32,
          .mean = { 0.485f, 0.456f, 0.406f }, .std = { 0.229f, 0.224f, 0.225f } } };

    c.unit.output = (PirlDims) { PICK (rng, 1, 3, 9), 3, PICK (rng, 1, 7, 33),
      PICK (rng, 5, 17, 32) };
    c.unit.input = c.unit.output;
    g_array_append_val (cases, c);
  }
}

GArray *
units_cases (gboolean network)
{
  static const PirlDims zeros = { 3, 17, 1, 1 };
  const UnitCase zero_vector = { { .kind = PIRL_UNIT_L2NORM, .dtype = PIRL_DTYPE_F32,
        .input = zeros, .output = zeros, .needs_input_gradient = TRUE }, .zero_input = TRUE };
  GArray *cases = g_array_new (FALSE, FALSE, sizeof (UnitCase));
  PirlRng rng;

  units_rng (&rng, CASES_SEED, 0, 0);
  add_inputs (cases, &rng);
  add_convs (cases, &rng);
  add_pools (cases, &rng);
  add_vectors (cases, PIRL_UNIT_LINEAR, 18, &rng);
  add_vectors (cases, PIRL_UNIT_BATCHNORM, 9, &rng);
  add_vectors (cases, PIRL_UNIT_L2NORM, 6, &rng);
  g_array_append_val (cases, zero_vector);
  if (network)
    add_network (cases);
  return cases;
}

UnitCase
units_case_as (const UnitCase *train, PirlMode mode, PirlDType dtype)
{
  UnitCase c = *train;

  c.unit.mode = mode;
  c.unit.dtype = dtype;
  if (mode == PIRL_MODE_INFER)
    c.accumulate_input = c.accumulate_residual = FALSE;
  return c;
}

gdouble
units_case_work (const UnitCase *unit_case)
{
  const PirlUnitDesc *unit = &unit_case->unit;

  if (unit->kind == PIRL_UNIT_CONV)
    return (gdouble) pirl_dims_count (unit->output) * unit->input.c / unit->groups * unit->kernel
        * unit->kernel;
  return (gdouble) pirl_dims_count (unit->input) + pirl_dims_count (unit->output);
}
