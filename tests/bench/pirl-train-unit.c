/* gst-pirl: pirl-train-bench: memory for units, and units of a graph.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pirl-train-unit.h"

#include <math.h>
#include <string.h>

gsize
bench_slot_count (const PirlUnitDesc *desc, PirlSlot slot)
{
  const gboolean norm = desc->batch_norm || desc->kind == PIRL_UNIT_BATCHNORM;

  if (desc->kind == PIRL_UNIT_CONV && slot == PIRL_SLOT_WEIGHT)
    return (gsize) desc->output.c * (desc->input.c / desc->groups) * desc->kernel * desc->kernel;
  if (desc->kind == PIRL_UNIT_LINEAR && slot == PIRL_SLOT_WEIGHT)
    return (gsize) desc->output.c * desc->input.c;
  if (slot == PIRL_SLOT_WEIGHT)
    return 0;
  return (slot == PIRL_SLOT_BIAS ? desc->bias : norm) ? (gsize) desc->output.c : 0;
}

static gpointer
filled (PirlDevice *device, gsize bytes, PirlDType dtype, gfloat deviation, GError **error)
{
  gpointer memory = bytes ? device->backend->alloc (device, bytes, error) : NULL;

  if (memory && bench_fill (device, memory, bytes, dtype, deviation, error))
    return memory;
  if (memory)
    device->backend->free (device, memory);
  return NULL;
}

/* Weights as they are initialised; BN's factor and variance 1, the rest 0. */
static gboolean
bench_params (BenchUnit *unit, GError **error)
{
  const PirlUnitDesc *desc = unit->desc;
  const gsize fan_in = MAX (bench_slot_count (desc, PIRL_SLOT_WEIGHT) / (gsize) desc->output.c, 1);

  for (guint slot = 0; slot < PIRL_N_SLOTS; slot++) {
    const gsize n = bench_slot_count (desc, slot), bytes = n * sizeof (gfloat);
    g_autofree gfloat *ones = g_new (gfloat, n + 1);

    if (n == 0)
      continue;
    unit->param[slot] = filled (unit->device, bytes, PIRL_DTYPE_F32,
        1 / sqrtf ((gfloat) fan_in), error);
    unit->grad[slot] = unit->device->backend->alloc (unit->device, bytes, error);
    for (gsize i = 0; i < n; i++)
      ones[i] = slot == PIRL_SLOT_BN_WEIGHT || slot == PIRL_SLOT_BN_VAR;
    if (!unit->param[slot] || !unit->grad[slot]
        || (slot != PIRL_SLOT_WEIGHT && !unit->device->backend->upload (unit->device,
                unit->param[slot], ones, bytes, error)))
      return FALSE;
  }
  return TRUE;
}

static gboolean
bench_tensors (BenchUnit *unit, PirlDType input_dtype, PirlDType output_dtype, GError **error)
{
  gsize all = 0;

  for (guint t = 0; t < BENCH_N_TENSORS; t++)
    all += unit->bytes[t];
  unit->copies = (guint) CLAMP (unit->rotation / MAX (all, 1), 1, BENCH_MAX_COPIES);
  for (guint i = 0; i < unit->copies; i++)
    for (guint t = 0; t < BENCH_N_TENSORS; t++) {
      if (unit->bytes[t] == 0)
        continue;
      unit->tensor[i][t] = filled (unit->device, unit->bytes[t],
          t == BENCH_INPUT || t == BENCH_D_INPUT ? input_dtype : output_dtype, 1, error);
      if (!unit->tensor[i][t])
        return FALSE;
    }
  return TRUE;
}

void
bench_unit_clear (BenchUnit *unit)
{
  const PirlBackend *backend = unit->device->backend;
  gpointer *const groups[] = { unit->param, unit->grad, &unit->scratch, unit->tensor[0] };
  const guint sizes[] = { PIRL_N_SLOTS, PIRL_N_SLOTS, 1, BENCH_MAX_COPIES * BENCH_N_TENSORS };

  for (guint g = 0; g < G_N_ELEMENTS (groups); g++)
    for (guint i = 0; i < sizes[g]; i++)
      if (groups[g][i])
        backend->free (unit->device, groups[g][i]);
}

static gboolean
bench_run (const BenchUnit *unit, PirlPass pass, guint copy, GError **error)
{
  gpointer const *tensor = unit->tensor[copy % unit->copies];
  PirlUnitBuffers b = { .input = tensor[BENCH_INPUT], .residual = tensor[BENCH_RESIDUAL],
    .output = tensor[BENCH_OUTPUT], .saved = tensor[BENCH_SAVED], .scratch = unit->scratch,
    .d_output = tensor[BENCH_D_OUTPUT], .d_input = tensor[BENCH_D_INPUT],
    .d_residual = tensor[BENCH_D_RESIDUAL] };

  memcpy (b.param, unit->param, sizeof b.param);
  memcpy (b.grad, unit->grad, sizeof b.grad);
  return unit->device->backend->unit_run (unit->plan, pass, &b, error);
}

gboolean
bench_forward (gconstpointer closure, guint i, GError **error)
{
  return bench_run (closure, PIRL_PASS_FORWARD, i, error);
}

gboolean
bench_backward (gconstpointer closure, guint i, GError **error)
{
  return bench_run (closure, PIRL_PASS_BACKWARD, i, error);
}

gboolean
bench_unit_prepare (BenchUnit *unit, const PirlTensorDesc *input, const PirlTensorDesc *output,
    const PirlUnitMemory *memory, GError **error)
{
  const gboolean train = unit->desc->mode == PIRL_MODE_TRAIN;

  unit->bytes[BENCH_INPUT] = input->bytes;
  unit->bytes[BENCH_OUTPUT] = output->bytes;
  unit->bytes[BENCH_RESIDUAL] = unit->desc->residual ? output->bytes : 0;
  if (train) {
    unit->bytes[BENCH_SAVED] = memory->saved;
    unit->bytes[BENCH_D_OUTPUT] = output->bytes;
    unit->bytes[BENCH_D_INPUT] = unit->desc->needs_input_gradient ? input->bytes : 0;
    unit->bytes[BENCH_D_RESIDUAL] = unit->bytes[BENCH_RESIDUAL];
  }
  if (memory->scratch && !(unit->scratch = unit->device->backend->alloc (unit->device,
              memory->scratch, error)))
    return FALSE;
  if (!bench_params (unit, error)
      || !bench_tensors (unit, input->dtype, output->dtype, error)
      || (!train && !bench_run (unit, PIRL_PASS_PREPARE, 0, error)))
    return FALSE;
  for (guint i = 0; i < unit->copies; i++)
    if (!bench_run (unit, PIRL_PASS_FORWARD, i, error))
      return FALSE;
  return TRUE;
}

/* --- a graph's units --- */

void
bench_planned_free (PirlDevice *device, BenchPlanned *planned, guint n)
{
  for (guint i = 0; i < n; i++)
    if (planned[i].plan)
      device->backend->unit_free (planned[i].plan);
  g_free (planned);
}

BenchPlanned *
bench_plan_units (const BenchRoof *roof, const PirlGraph *graph, PirlMode mode, GError **error)
{
  BenchPlanned *all = g_new0 (BenchPlanned, graph->units->len);

  for (guint i = 0; i < graph->units->len; i++) {
    const PirlUnit *unit = &g_array_index (graph->units, PirlUnit, i);
    const PirlTensorDesc *input = i > 0 ? &all[unit->input].output : NULL;
    const PirlTensorDesc *residual = unit->residual >= 0 ? &all[unit->residual].output : NULL;
    BenchPlanned *planned = &all[i];

    planned->desc = unit->desc;
    planned->desc.mode = mode;
    planned->desc.dtype = roof->dtype;
    planned->desc.needs_input_gradient &= mode == PIRL_MODE_TRAIN;
    planned->plan = roof->device->backend->unit_plan (roof->device, &planned->desc, input,
        residual, &planned->output, &planned->memory, error);
    if (!planned->plan) {
      bench_planned_free (roof->device, all, graph->units->len);
      return NULL;
    }
  }
  return all;
}
