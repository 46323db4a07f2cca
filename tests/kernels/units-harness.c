/* gst-pirl: runs one unit on one device inside guarded, poisoned buffers, for the unit tests.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "units-harness.h"

#include <math.h>
#include <string.h>

#define GUARD_BYTES 64
#define GUARD_PATTERN 0x5a
#define POISON 0xff             /* NaN in every floating-point type */
/* How far rounding may carry what stands in front of an activation. */
static gfloat
kink_margin (PirlDType dtype)
{
  return dtype == PIRL_DTYPE_BF16 ? 0.1f : dtype == PIRL_DTYPE_F16 ? 0.02f : 1e-3f;
}

static gboolean
is_param (Role role)
{
  return role >= ROLE_PARAM && role < ROLE_PARAM + PIRL_N_SLOTS;
}

static gboolean
is_grad (Role role)
{
  return role >= ROLE_GRAD && role < ROLE_GRAD + PIRL_N_SLOTS;
}

const gchar *
units_role_name (Role role)
{
  static const gchar *const names[] = { "input", "residual", "output", "weight", "bias",
    "bn weight", "bn bias", "running mean", "running var", "d_output", "d_input", "d_residual",
    "d_weight", "d_bias", "d_bn weight", "d_bn bias", "d_running mean", "d_running var", "saved",
    "scratch"
  };

  G_STATIC_ASSERT (G_N_ELEMENTS (names) == N_ROLES);
  return names[role];
}

gchar *
units_case_name (const UnitCase *unit_case)
{
  static const gchar *const kinds[] = { "input", "conv", "maxpool", "avgpool", "linear",
    "batchnorm", "l2norm"
  };
  static const gchar *const activations[] = { "none", "relu", "relu6" };
  const PirlUnitDesc *unit = &unit_case->unit;
  const PirlDims in = unit->input, out = unit->output;
  GString *name = g_string_new (kinds[unit->kind]);

  if (unit->kind == PIRL_UNIT_CONV || unit->kind == PIRL_UNIT_MAXPOOL)
    g_string_append_printf (name, " k%d s%d p%d g%d", unit->kernel, unit->stride, unit->padding,
        unit->groups);
  g_string_append_printf (name, ", %dx%dx%dx%d -> %dx%dx%dx%d, %s%s%s%s", in.n, in.c, in.h, in.w,
      out.n, out.c, out.h, out.w, unit->bias ? "bias+" : "", unit->batch_norm ? "bn+" : "",
      unit->residual ? "residual+" : "", activations[unit->activation]);
  if (!unit->needs_input_gradient)
    g_string_append (name, ", no input gradient");
  if (unit_case->accumulate_input)
    g_string_append (name, ", adds input");
  if (unit_case->accumulate_residual)
    g_string_append (name, ", adds residual");
  if (unit_case->zero_input)
    g_string_append (name, ", zeros");
  return g_string_free (name, FALSE);
}

static gsize
slot_count (const PirlUnitDesc *unit, PirlSlot slot)
{
  const gboolean has_bn = unit->batch_norm || unit->kind == PIRL_UNIT_BATCHNORM;

  if (slot == PIRL_SLOT_WEIGHT && unit->kind == PIRL_UNIT_CONV)
    return (gsize) unit->output.c * (unit->input.c / unit->groups) * unit->kernel * unit->kernel;
  if (slot == PIRL_SLOT_WEIGHT)
    return unit->kind == PIRL_UNIT_LINEAR ? (gsize) unit->output.c * unit->input.c : 0;
  if (slot == PIRL_SLOT_BIAS)
    return unit->bias ? unit->output.c : 0;
  return has_bn ? unit->output.c : 0;
}

gsize
units_role_count (const UnitCase *unit_case, Role role)
{
  const PirlUnitDesc *unit = &unit_case->unit;
  const gboolean trains = unit->mode == PIRL_MODE_TRAIN && unit->kind != PIRL_UNIT_INPUT;

  if (is_param (role))
    return slot_count (unit, role - ROLE_PARAM);
  if (is_grad (role))
    return trains && role - ROLE_GRAD < PIRL_SLOT_BN_MEAN
        ? slot_count (unit, role - ROLE_GRAD) : 0;
  if (role == ROLE_INPUT)
    return unit->kind == PIRL_UNIT_INPUT ? 0 : pirl_dims_count (unit->input);
  if (role == ROLE_RESIDUAL)
    return unit->residual ? pirl_dims_count (unit->output) : 0;
  if (role == ROLE_OUTPUT)
    return pirl_dims_count (unit->output);
  if (role == ROLE_D_OUTPUT)
    return trains ? pirl_dims_count (unit->output) : 0;
  if (role == ROLE_D_INPUT)
    return trains && unit->needs_input_gradient ? pirl_dims_count (unit->input) : 0;
  if (role == ROLE_D_RESIDUAL)
    return trains && unit->residual ? pirl_dims_count (unit->output) : 0;
  return 0;
}

/* ---- random values ---- */

void
units_rng (PirlRng *rng, guint64 seed, guint32 number, Role role)
{
  pirl_rng_init (rng, seed, number, role, PIRL_PURPOSE_TEST);
}

/* In which range a role's values lie. Activations have a mean, so that a sloppy variance shows;
 * weights shrink with the fan-in, so that outputs stay around 1 and some exceed 6. */
static void
fill_role (const UnitCase *unit_case, Role role, PirlRng *rng, gfloat *v, gsize n)
{
  const PirlUnitDesc *unit = &unit_case->unit;
  const gdouble fan_in = role == ROLE_PARAM ? (gdouble) n / unit->output.c : 1.0;

  for (gsize i = 0; i < n; i++) {
    const gfloat x = pirl_rng_normal (rng);

    if (role == ROLE_INPUT && unit_case->zero_input)
      v[i] = 0.0f;
    else if (role == ROLE_PARAM)
      v[i] = 1.5f * x / (gfloat) sqrt (fan_in);
    else if (role == ROLE_PARAM + PIRL_SLOT_BN_WEIGHT)
      v[i] = pirl_rng_range (rng, 0.5f, 3.5f);
    else if (role == ROLE_PARAM + PIRL_SLOT_BN_VAR)
      v[i] = pirl_rng_range (rng, 0.5f, 4.0f);
    else if (is_param (role))
      v[i] = 2.0f * x + 1.0f;
    else if (role == ROLE_INPUT && unit->kind == PIRL_UNIT_MAXPOOL)
      v[i] = floorf (2.0f * x) / 2.0f;  /* windows with several largest */
    else if (role == ROLE_INPUT)
      v[i] = x + 0.5f;
    else
      v[i] = x;
  }
}

/* What a backend that computes in 16 bit keeps, or brings, into 16 bit. */
static gboolean
is_rounded (Role role)
{
  return !is_grad (role) && (!is_param (role) || role == ROLE_PARAM + PIRL_SLOT_WEIGHT);
}

static void
round_values (PirlDType dtype, gfloat *v, gsize n)
{
  g_autofree guint16 *half = NULL;

  if (dtype != PIRL_DTYPE_BF16 && dtype != PIRL_DTYPE_F16)
    return;
  half = g_new (guint16, n);
  pirl_from_float (dtype, v, half, n);
  pirl_to_float (dtype, half, v, n);
}

/* Whether somebody reads the role before a pass writes it. */
static gboolean
is_read (const UnitCase *unit_case, Role role)
{
  switch (role) {
    case ROLE_OUTPUT:
      return FALSE;
    case ROLE_D_INPUT:
      return unit_case->accumulate_input;
    case ROLE_D_RESIDUAL:
      return unit_case->accumulate_residual;
    default:
      return TRUE;
  }
}

static guint8 **
random_pictures (PirlDims dims, PirlRng *rng)
{
  guint8 **pictures = g_new0 (guint8 *, dims.n + 1);
  const gsize bytes = (gsize) dims.c * dims.h * dims.w;

  for (gint n = 0; n < dims.n; n++) {
    pictures[n] = g_malloc (bytes);
    for (gsize i = 0; i < bytes; i++)
      pictures[n][i] = (guint8) pirl_rng_u32 (rng);
  }
  return pictures;
}

void
units_data_init (UnitData *data, const UnitCase *unit_case, guint64 seed)
{
  PirlRng rng;

  memset (data, 0, sizeof (*data));
  for (Role role = 0; role < N_ROLES; role++) {
    const gsize n = units_role_count (unit_case, role);

    units_rng (&rng, seed, 0, role);
    if (role == ROLE_INPUT && unit_case->unit.kind == PIRL_UNIT_INPUT)
      data->pictures = random_pictures (unit_case->unit.output, &rng);
    if (n == 0 || !is_read (unit_case, role))
      continue;
    data->v[role] = g_new (gfloat, n);
    fill_role (unit_case, role, &rng, data->v[role], n);
    if (is_rounded (role))
      round_values (unit_case->unit.dtype, data->v[role], n);
  }
}

void
units_data_clear (UnitData *data)
{
  for (Role role = 0; role < N_ROLES; role++)
    g_clear_pointer (&data->v[role], g_free);
  for (guint8 **picture = data->pictures; picture && *picture; picture++)
    g_free (*picture);
  g_clear_pointer (&data->pictures, g_free);
}

gboolean
units_data_mask_kinks (UnitData *data, const UnitCase *unit_case, PirlDevice *reference,
    GError **error)
{
  const gfloat margin = kink_margin (unit_case->unit.dtype);
  UnitCase plain = *unit_case;
  UnitRun run;
  gboolean ok;

  if (unit_case->unit.activation == PIRL_ACT_NONE || data->v[ROLE_D_OUTPUT] == NULL)
    return TRUE;
  plain.unit.activation = PIRL_ACT_NONE;
  ok = units_run_init (&run, reference, &plain, LAYOUT_DENSE, error)
      && units_run_fill (&run, data, error)
      && units_run_pass (&run, PIRL_PASS_FORWARD, data, FALSE, error);
  if (ok) {
    g_autofree gfloat *before = units_run_read (&run, ROLE_OUTPUT, NULL);

    for (gsize i = 0; i < units_role_count (&plain, ROLE_OUTPUT); i++)
      if (fabsf (before[i]) < margin || fabsf (before[i] - 6.0f) < margin)
        data->v[ROLE_D_OUTPUT][i] = 0.0f;
  }
  units_run_clear (&run);
  return ok;
}

/* ---- guarded memory ---- */

gboolean
units_block_init (Block *block, PirlDevice *device, gsize bytes, GError **error)
{
  guint8 pattern[GUARD_BYTES];

  memset (pattern, GUARD_PATTERN, sizeof (pattern));
  block->bytes = bytes;
  block->memory = device->backend->alloc (device, bytes + GUARD_BYTES, error);
  return block->memory != NULL
      && device->backend->upload (device, block->memory + bytes, pattern, GUARD_BYTES, error);
}

void
units_block_clear (Block *block, PirlDevice *device)
{
  if (block->memory != NULL)
    device->backend->free (device, block->memory);
  block->memory = NULL;
}

gboolean
units_block_poison (Block *block, PirlDevice *device, GError **error)
{
  g_autofree guint8 *poison = g_malloc (MAX (block->bytes, 1));

  memset (poison, POISON, block->bytes);
  return device->backend->upload (device, block->memory, poison, block->bytes, error);
}

gboolean
units_block_guarded (const Block *block, PirlDevice *device)
{
  guint8 pattern[GUARD_BYTES];

  if (block->memory == NULL)
    return TRUE;
  device->backend->download (device, pattern, block->memory + block->bytes, GUARD_BYTES, NULL);
  for (gsize i = 0; i < GUARD_BYTES; i++)
    if (pattern[i] != GUARD_PATTERN)
      return FALSE;
  return TRUE;
}

/* ---- running ---- */

PirlTensorDesc
units_dense (PirlDevice *device, PirlDims dims, PirlDType dtype)
{
  const PirlDType kept = device->param_dtype == PIRL_DTYPE_F64 ? PIRL_DTYPE_F64 : dtype;

  return (PirlTensorDesc) { dims, kept, pirl_dims_count (dims) * pirl_dtype_size (kept), NULL };
}

gboolean
units_takes_vectors (const UnitCase *unit_case)
{
  const PirlUnitKind kind = unit_case->unit.kind;

  return kind == PIRL_UNIT_LINEAR || kind == PIRL_UNIT_BATCHNORM || kind == PIRL_UNIT_L2NORM;
}

/* Plans what leads from pictures to a value of @dims (INPUT, a convolution, AVGPOOL for vectors)
 * only to learn how the backend keeps it. */
static gboolean
plan_producers (UnitRun *run, PirlDims dims, PirlUnitPlan *plan[UNITS_PRODUCERS],
    PirlTensorDesc *native, GError **error)
{
  static const PirlUnitKind kinds[] = { PIRL_UNIT_INPUT, PIRL_UNIT_CONV, PIRL_UNIT_AVGPOOL };
  const gboolean vectors = units_takes_vectors (&run->unit_case);
  const PirlDims picture = { dims.n, 3, vectors ? 2 : dims.h, vectors ? 2 : dims.w };
  PirlUnitDesc unit = { .mode = run->unit_case.unit.mode, .dtype = run->unit_case.unit.dtype,
    .kernel = 1, .stride = 1, .groups = 1, .std = { 1, 1, 1 }, .output = picture };
  PirlTensorDesc desc[UNITS_PRODUCERS];
  PirlUnitMemory memory;

  for (gint i = 0; i < (vectors ? 3 : 2); i++) {
    unit.kind = kinds[i];
    unit.input = unit.output;
    if (unit.kind == PIRL_UNIT_CONV)
      unit.output.c = dims.c;
    else if (unit.kind == PIRL_UNIT_AVGPOOL)
      unit.output.h = unit.output.w = 1;
    unit.needs_input_gradient = unit.kind == PIRL_UNIT_AVGPOOL;
    plan[i] = run->device->backend->unit_plan (run->device, &unit, i == 0 ? NULL : &desc[i - 1],
        NULL, &desc[i], &memory, error);
    if (plan[i] == NULL)
      return FALSE;
    *native = desc[i];
  }
  return TRUE;
}

static gboolean
choose_layouts (UnitRun *run, Layout layout, GError **error)
{
  const PirlUnitDesc *unit = &run->unit_case.unit;
  const PirlDims dims[2] = { unit->input, unit->output };
  const Role roles[2] = { ROLE_INPUT, ROLE_RESIDUAL };

  for (gint i = 0; i < 2; i++) {
    run->desc[roles[i]] = units_dense (run->device, dims[i], unit->dtype);
    if (layout == LAYOUT_DENSE || units_role_count (&run->unit_case, roles[i]) == 0)
      continue;
    if (!plan_producers (run, dims[i], run->producer[i], &run->desc[roles[i]], error))
      return FALSE;
  }
  return TRUE;
}

/* Descriptions of all roles, once the plan has told that of the output. */
static void
describe_roles (UnitRun *run)
{
  for (Role role = 0; role < N_ROLES; role++) {
    const gsize n = units_role_count (&run->unit_case, role);

    if (is_param (role) || is_grad (role))
      run->desc[role] = units_dense (run->device, (PirlDims) { 1, (gint) n, 1, 1 },
          run->device->param_dtype);
  }
  run->desc[ROLE_D_INPUT] = run->desc[ROLE_INPUT];
  run->desc[ROLE_D_RESIDUAL] = run->desc[ROLE_RESIDUAL];
  run->desc[ROLE_D_OUTPUT] = run->desc[ROLE_OUTPUT];
  run->desc[ROLE_SAVED].bytes = run->memory.saved;
  run->desc[ROLE_SCRATCH].bytes = run->memory.scratch;
}

gboolean
units_run_init (UnitRun *run, PirlDevice *device, const UnitCase *unit_case, Layout layout,
    GError **error)
{
  const PirlUnitDesc *unit = &unit_case->unit;
  const gboolean has_input = units_role_count (unit_case, ROLE_INPUT) > 0;
  GError *problem = NULL;

  memset (run, 0, sizeof (*run));
  run->device = device;
  run->unit_case = *unit_case;
  if (!choose_layouts (run, layout, error))
    return FALSE;
  run->plan = device->backend->unit_plan (device, unit, has_input ? &run->desc[ROLE_INPUT] : NULL,
      unit->residual ? &run->desc[ROLE_RESIDUAL] : NULL, &run->desc[ROLE_OUTPUT], &run->memory,
      &problem);
  if (run->plan == NULL) {
    run->refused = g_error_matches (problem, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
    g_propagate_error (error, problem);
    return FALSE;
  }
  describe_roles (run);
  for (Role role = 0; role < N_ROLES; role++)
    if (units_role_count (unit_case, role) > 0 || role >= ROLE_SAVED)
      if (!units_block_init (&run->block[role], device, run->desc[role].bytes, error))
        return FALSE;
  return TRUE;
}

void
units_run_clear (UnitRun *run)
{
  for (Role role = 0; role < N_ROLES; role++)
    units_block_clear (&run->block[role], run->device);
  if (run->plan != NULL)
    run->device->backend->unit_free (run->plan);
  for (gint i = 0; i < 2 * UNITS_PRODUCERS; i++)
    if (run->producer[i / UNITS_PRODUCERS][i % UNITS_PRODUCERS] != NULL)
      run->device->backend->unit_free (run->producer[i / UNITS_PRODUCERS][i % UNITS_PRODUCERS]);
}

gboolean
units_run_fill (UnitRun *run, const UnitData *data, GError **error)
{
  const PirlBackend *backend = run->device->backend;

  for (Role role = 0; role < N_ROLES; role++) {
    Block *block = &run->block[role];

    if (block->memory == NULL)
      continue;
    if (!units_block_poison (block, run->device, error))
      return FALSE;
    if (data->v[role] != NULL
        && !backend->tensor_write (run->device, &run->desc[role], block->memory, data->v[role],
            error))
      return FALSE;
  }
  return TRUE;
}

gboolean
units_run_pass (UnitRun *run, PirlPass pass, const UnitData *data, gboolean update_statistics,
    GError **error)
{
  PirlUnitBuffers buffers = {
    .input = data->pictures ? (gconstpointer) data->pictures : run->block[ROLE_INPUT].memory,
    .residual = run->block[ROLE_RESIDUAL].memory,
    .output = run->block[ROLE_OUTPUT].memory,
    .saved = run->block[ROLE_SAVED].memory,
    .scratch = run->block[ROLE_SCRATCH].memory,
    .d_output = run->block[ROLE_D_OUTPUT].memory,
    .d_input = run->block[ROLE_D_INPUT].memory,
    .d_residual = run->block[ROLE_D_RESIDUAL].memory,
    .accumulate_input = run->unit_case.accumulate_input,
    .accumulate_residual = run->unit_case.accumulate_residual,
    .update_statistics = update_statistics,
  };

  for (gint slot = 0; slot < PIRL_N_SLOTS; slot++) {
    buffers.param[slot] = run->block[ROLE_PARAM + slot].memory;
    buffers.grad[slot] = run->block[ROLE_GRAD + slot].memory;
  }
  return run->device->backend->unit_run (run->plan, pass, &buffers, error);
}

gfloat *
units_run_read (UnitRun *run, Role role, GError **error)
{
  gfloat *values = g_new (gfloat, units_role_count (&run->unit_case, role));

  if (run->device->backend->tensor_read (run->device, &run->desc[role], run->block[role].memory,
          values, error))
    return values;
  g_free (values);
  return NULL;
}

Role
units_run_overrun (UnitRun *run)
{
  for (Role role = 0; role < N_ROLES; role++)
    if (!units_block_guarded (&run->block[role], run->device))
      return role;
  return N_ROLES;
}

gdouble
units_nmse (const gfloat *a, const gfloat *b, gsize n)
{
  gdouble error = 0.0, power = 0.0;

  for (gsize i = 0; i < n; i++) {
    if (!isfinite (a[i]) || !isfinite (b[i]))
      return INFINITY;
    error += ((gdouble) a[i] - b[i]) * ((gdouble) a[i] - b[i]);
    power += (gdouble) b[i] * b[i];
  }
  return error == 0.0 ? 0.0 : error / power;
}
