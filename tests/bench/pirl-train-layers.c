/* gst-pirl: pirl-train-bench: every unit of the trunk, against what the device can do at most.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Two rates are measured first: a copy (bytes read plus bytes written) and a product of matrices (a
 * 1x1 convolution without anything around it). The floor of a pass is the sum, over the kernels
 * that it cannot do without, of the time for their bytes or for their operations, whichever is
 * longer; each operand of a kernel counted once. In training, batch norm needs the whole output of
 * the convolution before it can write the first result:
 *
 *   forward   convolution (input, weight -> y), apply (y, residual -> output)
 *   backward  sums (d_output, y, mask), apply (d_output, y, mask -> d_y, d_residual),
 *             weight gradient (input, d_y), input gradient (d_y, weight -> d_input)
 *
 * A mask is one bit an element. Tensors are used in turn, so that they come from memory, not from
 * a cache, where they are too large for it together.
 */
#include "pirl-train-bench.h"

#include <math.h>
#include <string.h>

#include "net/precision.h"

/* Tensors of a unit are repeated until they fill this: several times a card's cache. */
#define ROTATION_BYTES ((gsize) 256 << 20)
#define MAX_ROTATION 32
/* A timed step takes about this long, so that starting it does not show. */
#define STEP_MS 20.0
#define MAX_REPEATS 256

enum { FORWARD, BACKWARD, N_PASSES };

/* Tensors of a unit that differ from copy to copy. */
enum { INPUT, RESIDUAL, OUTPUT, SAVED, D_OUTPUT, D_INPUT, D_RESIDUAL, N_TENSORS };

typedef struct {
  PirlDevice *device;
  PirlDType dtype;
  gdouble copy_rate, matrix_rate;       /* bytes and operations a ms */
} Roof;

/* A unit with memory to run in. */
typedef struct {
  PirlDevice *device;
  const PirlUnitDesc *desc;
  PirlUnitPlan *plan;
  gsize bytes[N_TENSORS];
  guint copies;
  gpointer tensor[MAX_ROTATION][N_TENSORS];
  gpointer param[PIRL_N_SLOTS], grad[PIRL_N_SLOTS], scratch;
} Bench;

/* --- rates --- */

typedef struct {
  PirlDevice *device;
  gpointer src, dst;
  gsize bytes;
} Copy;

static gboolean
copy_work (gconstpointer closure, guint i, GError **error)
{
  const Copy *copy = closure;

  return copy->device->backend->copy (copy->device, copy->dst, copy->src, copy->bytes, error);
}

static gboolean
measure_copy (Roof *roof, gsize bytes, GError **error)
{
  const PirlBackend *backend = roof->device->backend;
  Copy copy = { roof->device, NULL, NULL, bytes };
  gdouble ms = -1;

  copy.src = backend->alloc (roof->device, bytes, error);
  copy.dst = copy.src ? backend->alloc (roof->device, bytes, error) : NULL;
  if (copy.dst && bench_fill (roof->device, copy.src, bytes, PIRL_DTYPE_F32, 1, error))
    ms = bench_time (roof->device, copy_work, &copy, 8, error);
  if (copy.src)
    backend->free (roof->device, copy.src);
  if (copy.dst)
    backend->free (roof->device, copy.dst);
  roof->copy_rate = 2 * (gdouble) bytes / ms;
  return ms > 0;
}

/* --- a unit's memory --- */

static gsize
slot_count (const PirlUnitDesc *desc, PirlSlot slot)
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
bench_params (Bench *bench, GError **error)
{
  const PirlUnitDesc *desc = bench->desc;
  const gsize fan_in = MAX (slot_count (desc, PIRL_SLOT_WEIGHT) / (gsize) desc->output.c, 1);

  for (guint slot = 0; slot < PIRL_N_SLOTS; slot++) {
    const gsize n = slot_count (desc, slot), bytes = n * sizeof (gfloat);
    g_autofree gfloat *ones = g_new (gfloat, n + 1);

    if (n == 0)
      continue;
    bench->param[slot] = filled (bench->device, bytes, PIRL_DTYPE_F32,
        1 / sqrtf ((gfloat) fan_in), error);
    bench->grad[slot] = bench->device->backend->alloc (bench->device, bytes, error);
    for (gsize i = 0; i < n; i++)
      ones[i] = slot == PIRL_SLOT_BN_WEIGHT || slot == PIRL_SLOT_BN_VAR;
    if (!bench->param[slot] || !bench->grad[slot]
        || (slot != PIRL_SLOT_WEIGHT && !bench->device->backend->upload (bench->device,
                bench->param[slot], ones, bytes, error)))
      return FALSE;
  }
  return TRUE;
}

static gboolean
bench_tensors (Bench *bench, PirlDType input_dtype, PirlDType output_dtype, GError **error)
{
  gsize all = 0;

  for (guint t = 0; t < N_TENSORS; t++)
    all += bench->bytes[t];
  bench->copies = (guint) CLAMP (ROTATION_BYTES / MAX (all, 1), 1, MAX_ROTATION);
  for (guint i = 0; i < bench->copies; i++)
    for (guint t = 0; t < N_TENSORS; t++) {
      if (bench->bytes[t] == 0)
        continue;
      bench->tensor[i][t] = filled (bench->device, bench->bytes[t],
          t == INPUT || t == D_INPUT ? input_dtype : output_dtype, 1, error);
      if (!bench->tensor[i][t])
        return FALSE;
    }
  return TRUE;
}

static void
bench_clear (Bench *bench)
{
  const PirlBackend *backend = bench->device->backend;
  gpointer *const groups[] = { bench->param, bench->grad, &bench->scratch, bench->tensor[0] };
  const guint sizes[] = { PIRL_N_SLOTS, PIRL_N_SLOTS, 1, MAX_ROTATION * N_TENSORS };

  for (guint g = 0; g < G_N_ELEMENTS (groups); g++)
    for (guint i = 0; i < sizes[g]; i++)
      if (groups[g][i])
        backend->free (bench->device, groups[g][i]);
}

static gboolean
bench_run (const Bench *bench, PirlPass pass, guint copy, GError **error)
{
  gpointer const *tensor = bench->tensor[copy % bench->copies];
  PirlUnitBuffers b = { .input = tensor[INPUT], .residual = tensor[RESIDUAL],
    .output = tensor[OUTPUT], .saved = tensor[SAVED], .scratch = bench->scratch,
    .d_output = tensor[D_OUTPUT], .d_input = tensor[D_INPUT], .d_residual = tensor[D_RESIDUAL] };

  memcpy (b.param, bench->param, sizeof b.param);
  memcpy (b.grad, bench->grad, sizeof b.grad);
  return bench->device->backend->unit_run (bench->plan, pass, &b, error);
}

static gboolean
forward_work (gconstpointer closure, guint i, GError **error)
{
  return bench_run (closure, PIRL_PASS_FORWARD, i, error);
}

static gboolean
backward_work (gconstpointer closure, guint i, GError **error)
{
  return bench_run (closure, PIRL_PASS_BACKWARD, i, error);
}

/* Memory, and a first run of every copy, so that a backward pass finds what it needs. */
static gboolean
bench_prepare (Bench *bench, const PirlTensorDesc *input, const PirlTensorDesc *output,
    const PirlUnitMemory *memory, GError **error)
{
  const gboolean train = bench->desc->mode == PIRL_MODE_TRAIN;

  bench->bytes[INPUT] = input->bytes;
  bench->bytes[OUTPUT] = output->bytes;
  bench->bytes[RESIDUAL] = bench->desc->residual ? output->bytes : 0;
  if (train) {
    bench->bytes[SAVED] = memory->saved;
    bench->bytes[D_OUTPUT] = output->bytes;
    bench->bytes[D_INPUT] = bench->desc->needs_input_gradient ? input->bytes : 0;
    bench->bytes[D_RESIDUAL] = bench->bytes[RESIDUAL];
  }
  if (memory->scratch && !(bench->scratch = bench->device->backend->alloc (bench->device,
              memory->scratch, error)))
    return FALSE;
  if (!bench_params (bench, error)
      || !bench_tensors (bench, input->dtype, output->dtype, error)
      || (!train && !bench_run (bench, PIRL_PASS_PREPARE, 0, error)))
    return FALSE;
  for (guint i = 0; i < bench->copies; i++)
    if (!bench_run (bench, PIRL_PASS_FORWARD, i, error))
      return FALSE;
  return TRUE;
}

/* Rounded to a whole number of rounds through the copies. */
static guint
repeats_for (const Bench *bench, gdouble floor_ms)
{
  const guint n = (guint) CLAMP (STEP_MS / MAX (2 * floor_ms, 1e-3), 1, MAX_REPEATS);

  return (n + bench->copies - 1) / bench->copies * bench->copies;
}

/* --- a graph's units --- */

typedef struct {
  PirlUnitDesc desc;
  PirlUnitPlan *plan;           /* NULL: a view */
  PirlTensorDesc output;
  PirlUnitMemory memory;
} Planned;

static void
planned_free (PirlDevice *device, Planned *planned, guint n)
{
  for (guint i = 0; i < n; i++)
    if (planned[i].plan)
      device->backend->unit_free (planned[i].plan);
  g_free (planned);
}

/* Plans every unit as the planner would, each reading what the ones before it leave. */
static Planned *
plan_units (const Roof *roof, const PirlGraph *graph, PirlMode mode, GError **error)
{
  Planned *all = g_new0 (Planned, graph->units->len);

  for (guint i = 0; i < graph->units->len; i++) {
    const PirlUnit *unit = &g_array_index (graph->units, PirlUnit, i);
    const PirlTensorDesc *input = i > 0 ? &all[unit->input].output : NULL;
    const PirlTensorDesc *residual = unit->residual >= 0 ? &all[unit->residual].output : NULL;
    Planned *planned = &all[i];

    planned->desc = unit->desc;
    planned->desc.mode = mode;
    planned->desc.dtype = roof->dtype;
    planned->desc.needs_input_gradient &= mode == PIRL_MODE_TRAIN;
    planned->plan = roof->device->backend->unit_plan (roof->device, &planned->desc, input,
        residual, &planned->output, &planned->memory, error);
    if (!planned->plan) {
      planned_free (roof->device, all, graph->units->len);
      return NULL;
    }
  }
  return all;
}

/* A convolution 1x1 of @side channels to as many, over @side pixels: 2 side^3 operations. */
static gboolean
measure_matrix (Roof *roof, gint side, GError **error)
{
  static const gfloat mean[3] = { 0 }, std[3] = { 1, 1, 1 };
  const gint n = MAX (side / 64, 1);
  g_autoptr (PirlGraph) graph = pirl_graph_new ();
  const PirlValue input = pirl_graph_input (graph, n, 8, mean, std);
  const PirlValue wide = pirl_graph_conv_bn (graph, input, "a", "a", side, 1, 1, 0, 1,
      PIRL_NO_VALUE, PIRL_ACT_NONE);
  const PirlValue product = pirl_graph_conv_bn (graph, wide, "b", "b", side, 1, 1, 0, 1,
      PIRL_NO_VALUE, PIRL_ACT_NONE);
  Planned *planned = plan_units (roof, graph, PIRL_MODE_INFER, error);
  Bench bench = { .device = roof->device };
  gdouble ms = -1;

  if (!planned)
    return FALSE;
  bench.desc = &planned[product].desc;
  bench.plan = planned[product].plan;
  if (bench_prepare (&bench, &planned[wide].output, &planned[product].output,
          &planned[product].memory, error))
    ms = bench_time (roof->device, forward_work, &bench, 8, error);
  bench_clear (&bench);
  planned_free (roof->device, planned, graph->units->len);
  roof->matrix_rate = 2.0 * n * 64 * side * side / ms;
  return ms > 0;
}

/* Measures both rates, or takes what was given where that is more. */
static gboolean
measure_roof (const BenchOptions *o, Roof *roof, GString *json, GError **error)
{
  if (!measure_copy (roof, (gsize) o->copy_mb << 20, error)
      || !measure_matrix (roof, o->matrix, error))
    return FALSE;
  g_print ("%s: copy %.0f GB/s, product %.1f TFLOP/s\n", roof->device->description,
      roof->copy_rate * 1e-6, roof->matrix_rate * 1e-9);
  g_string_append_printf (json, ", \"copy_gb_s\": %.1f, \"product_tflop_s\": %.2f",
      roof->copy_rate * 1e-6, roof->matrix_rate * 1e-9);
  roof->copy_rate = MAX (roof->copy_rate, o->copy_rate * 1e6);
  roof->matrix_rate = MAX (roof->matrix_rate, o->matrix_rate * 1e9);
  return TRUE;
}

/* --- the floor --- */

/* Bytes and operations of a pass, and the least time they take. */
typedef struct {
  gdouble bytes, operations, ms;
} Work;

static void
add_kernel (const Roof *roof, Work *work, gdouble bytes, gdouble operations)
{
  work->bytes += bytes;
  work->operations += operations;
  work->ms += MAX (bytes / roof->copy_rate, operations / roof->matrix_rate);
}

/* The floor of a convolution with batch norm (see above). */
static void
conv_floor (const Roof *roof, const PirlUnitDesc *d, gdouble x, gdouble y, Work work[N_PASSES])
{
  const gdouble element = (gdouble) pirl_dtype_size (d->dtype);
  const gdouble weight = (gdouble) slot_count (d, PIRL_SLOT_WEIGHT);
  const gdouble operations = 2 * weight * d->output.n * d->output.h * d->output.w;
  const gdouble mask = d->activation == PIRL_ACT_NONE ? 0 : y / element / 8;
  const gdouble residual = d->residual ? y : 0;

  add_kernel (roof, &work[FORWARD], x + weight * element + y, operations);
  add_kernel (roof, &work[FORWARD], 2 * y + residual + mask, 0);
  add_kernel (roof, &work[BACKWARD], 2 * y + mask, 0);
  add_kernel (roof, &work[BACKWARD], 3 * y + mask + residual, 0);
  add_kernel (roof, &work[BACKWARD], x + y + weight * element, operations);
  if (d->needs_input_gradient)
    add_kernel (roof, &work[BACKWARD], x + y + weight * element, operations);
}

static void
unit_floor (const Roof *roof, const PirlUnitDesc *d, gdouble x, gdouble y, Work work[N_PASSES])
{
  const gdouble weight = (gdouble) slot_count (d, PIRL_SLOT_WEIGHT);
  const gdouble operations = 2 * weight * d->output.n;
  /* Which pixel was the largest. */
  const gdouble index = d->kind == PIRL_UNIT_MAXPOOL ? y / (gdouble) pirl_dtype_size (d->dtype) : 0;

  memset (work, 0, N_PASSES * sizeof *work);
  switch (d->kind) {
    case PIRL_UNIT_CONV:
      conv_floor (roof, d, x, y, work);
      break;
    case PIRL_UNIT_MAXPOOL:
    case PIRL_UNIT_AVGPOOL:
      add_kernel (roof, &work[FORWARD], x + y + index, 0);
      add_kernel (roof, &work[BACKWARD], x + y + index, 0);
      break;
    default:
      add_kernel (roof, &work[FORWARD], x + y + 4 * weight, operations);
      add_kernel (roof, &work[BACKWARD], 2 * x + y + 12 * weight, 2 * operations);
  }
}

/* --- the table --- */

typedef struct {
  gchar *name;                  /* of its first place in the trunk */
  guint times, unit;            /* the first unit of its kind */
} Row;

static gboolean
same_unit (const PirlUnitDesc *a, const PirlUnitDesc *b)
{
  return a->kind == b->kind && a->kernel == b->kernel && a->stride == b->stride
      && a->groups == b->groups && a->residual == b->residual && a->activation == b->activation
      && a->needs_input_gradient == b->needs_input_gradient
      && memcmp (&a->input, &b->input, sizeof a->input) == 0
      && memcmp (&a->output, &b->output, sizeof a->output) == 0;
}

static gchar *
unit_name (const PirlGraph *graph, const PirlUnit *unit)
{
  static const gchar *const kinds[] = { "input", "conv", "maxpool", "avgpool", "linear",
    "batchnorm", "l2norm"
  };
  const gint param = unit->param[PIRL_SLOT_WEIGHT];

  if (param < 0)
    return g_strdup (kinds[unit->desc.kind]);
  return g_strndup (((PirlParamSpec *) graph->params->pdata[param])->name,
      strlen (((PirlParamSpec *) graph->params->pdata[param])->name) - strlen (".weight"));
}

static void
row_clear (gpointer row)
{
  g_free (((Row *) row)->name);
}

/* One row for each kind of unit, in order; pictures go in by another way and are left out. */
static GArray *
list_rows (const PirlGraph *graph, const Planned *planned)
{
  GArray *rows = g_array_new (FALSE, FALSE, sizeof (Row));

  g_array_set_clear_func (rows, row_clear);
  for (guint i = 1; i < graph->units->len; i++) {
    Row *found = NULL, row = { NULL, 1, i };

    for (guint r = 0; !found && r < rows->len; r++)
      if (same_unit (&planned[g_array_index (rows, Row, r).unit].desc, &planned[i].desc))
        found = &g_array_index (rows, Row, r);
    if (found) {
      found->times++;
      continue;
    }
    row.name = unit_name (graph, &g_array_index (graph->units, PirlUnit, i));
    g_array_append_val (rows, row);
  }
  return rows;
}

static void
report_pass (const Row *row, const PirlUnitDesc *d, guint pass, const Work *work, gdouble ms,
    GString *json)
{
  static const gchar *const names[] = { "forward", "backward" };

  g_print ("%-22s x%-2u %4dx%-3d -> %4dx%-3d %dx%d/%d %-8s %9.1f %9.2f %9.4f %9.4f %6.2f\n",
      row->name, row->times, d->input.c, d->input.h, d->output.c, d->output.h, d->kernel,
      d->kernel, d->stride, names[pass], work->bytes * 1e-6, work->operations * 1e-9, work->ms,
      ms, ms / work->ms);
  g_string_append_printf (json, "%s\n  {\"unit\": \"%s\", \"times\": %u, \"pass\": \"%s\", "
      "\"mb\": %.2f, \"gflop\": %.3f, \"floor_ms\": %.5f, \"ms\": %.5f, \"ratio\": %.3f}",
      json->str[json->len - 1] == '[' ? "" : ",", row->name, row->times, names[pass],
      work->bytes * 1e-6, work->operations * 1e-9, work->ms, ms, ms / work->ms);
}

/* Times both passes of a row; adds to @sum. */
static gboolean
measure_row (const Roof *roof, const Planned *planned, const PirlUnit *unit, const Row *row,
    Work sum[N_PASSES], gdouble sum_ms[N_PASSES], GString *json, GError **error)
{
  static const BenchWork works[N_PASSES] = { forward_work, backward_work };
  const Planned *own = &planned[row->unit];
  const PirlTensorDesc *input = &planned[unit->input].output;
  Bench bench = { .device = roof->device, .desc = &own->desc, .plan = own->plan };
  Work work[N_PASSES];
  gboolean good = bench_prepare (&bench, input, &own->output, &own->memory, error);

  unit_floor (roof, &own->desc, (gdouble) input->bytes, (gdouble) own->output.bytes, work);
  for (guint pass = 0; good && pass < N_PASSES; pass++) {
    const gdouble ms = bench_time (roof->device, works[pass], &bench,
        repeats_for (&bench, work[pass].ms), error);

    good = ms > 0;
    if (!good)
      break;
    report_pass (row, &own->desc, pass, &work[pass], ms, json);
    sum[pass].bytes += row->times * work[pass].bytes;
    sum[pass].operations += row->times * work[pass].operations;
    sum[pass].ms += row->times * work[pass].ms;
    sum_ms[pass] += row->times * ms;
  }
  bench_clear (&bench);
  return good;
}

static void
report_sum (const Work sum[N_PASSES], const gdouble ms[N_PASSES], GString *json)
{
  const gdouble floor = sum[FORWARD].ms + sum[BACKWARD].ms, all = ms[FORWARD] + ms[BACKWARD];

  g_print ("all units of the trunk: %.1f MB, %.1f GFLOP, floor %.3f ms, measured %.3f ms "
      "(forward %.3f, backward %.3f), ratio %.2f\n", (sum[FORWARD].bytes + sum[BACKWARD].bytes)
      * 1e-6, (sum[FORWARD].operations + sum[BACKWARD].operations) * 1e-9, floor, all,
      ms[FORWARD], ms[BACKWARD], all / floor);
  g_string_append_printf (json, "\n], \"floor_ms\": %.4f, \"ms\": %.4f, \"forward_ms\": %.4f, "
      "\"backward_ms\": %.4f, \"ratio\": %.3f", floor, all, ms[FORWARD], ms[BACKWARD],
      all / floor);
}

static gboolean
measure_trunk (const Roof *roof, const PirlTrainerConfig *config, gint n, gint size,
    GString *json, GError **error)
{
  g_autoptr (PirlGraph) graph = pirl_graph_new ();
  const PirlValue input = pirl_graph_input (graph, n, size, config->mean, config->std);
  Planned *planned;
  GArray *rows;
  Work sum[N_PASSES] = { { 0 } };
  gdouble sum_ms[N_PASSES] = { 0 };
  gboolean good = TRUE;

  pirl_graph_avgpool (graph, pirl_trunk_build (graph, &config->trunk, input, NULL));
  planned = plan_units (roof, graph, PIRL_MODE_TRAIN, error);
  if (!planned)
    return FALSE;
  rows = list_rows (graph, planned);
  g_print ("%d pictures of %d x %d\n%-63s %9s %9s %9s %9s %6s\n", n, size, size, "", "MB",
      "GFLOP", "floor ms", "ms", "ratio");
  for (guint r = 0; good && r < rows->len; r++) {
    const Row *row = &g_array_index (rows, Row, r);

    good = measure_row (roof, planned, &g_array_index (graph->units, PirlUnit, row->unit), row,
        sum, sum_ms, json, error);
  }
  if (good)
    report_sum (sum, sum_ms, json);
  g_array_unref (rows);
  planned_free (roof->device, planned, graph->units->len);
  return good;
}

gboolean
bench_layers (const BenchOptions *o, GString *json, GError **error)
{
  PirlTrainerConfig config;
  Roof roof = { 0 };
  g_autoptr (PirlDevice) device = NULL;
  const PirlPrecision *precision;

  if (!bench_config (o, &config, error)
      || !(device = pirl_device_open (config.device, (guint) o->threads, o->deterministic, error))
      || !(precision = pirl_precision_choose (device, PIRL_MODE_TRAIN, o->precision, error)))
    return FALSE;
  roof.device = device;
  roof.dtype = precision->dtype;
  g_string_append_printf (json, ", \"device\": \"%s\", \"precision\": \"%s\", \"batch\": %d",
      device->description, precision->name, o->batch);
  if (!measure_roof (o, &roof, json, error))
    return FALSE;
  g_string_append (json, ", \"images\": {\"units\": [");
  if (!measure_trunk (&roof, &config, o->batch, o->size, json, error))
    return FALSE;
  g_string_append (json, "}");
  if (config.objective == PIRL_OBJECTIVE_SUPERVISED)
    return TRUE;
  g_string_append (json, ", \"patches\": {\"units\": [");
  if (!measure_trunk (&roof, &config, o->batch * o->patches, o->patch, json, error))
    return FALSE;
  g_string_append (json, "}");
  return TRUE;
}
