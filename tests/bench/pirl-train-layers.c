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
#include "pirl-train-unit.h"

#include <string.h>

#include "net/precision.h"
#include "net/trunk.h"

/* Tensors of a unit are repeated until they fill a quarter of what is copied: several times a
 * card's cache. */
#define ROTATION_SHARE 4

enum { FORWARD, BACKWARD, N_PASSES };

/* --- the floor --- */

/* Bytes and operations of a pass, and the least time they take. */
typedef struct {
  gdouble bytes, operations, ms;
} Work;

static void
add_kernel (const BenchRoof *roof, Work *work, gdouble bytes, gdouble operations)
{
  work->bytes += bytes;
  work->operations += operations;
  work->ms += MAX (bytes / roof->copy_rate, operations / roof->matrix_rate);
}

/* The floor of a convolution with batch norm (see above). */
static void
conv_floor (const BenchRoof *roof, const PirlUnitDesc *d, gdouble x, gdouble y, Work work[N_PASSES])
{
  const gdouble element = (gdouble) pirl_dtype_size (d->dtype);
  const gdouble weight = (gdouble) bench_slot_count (d, PIRL_SLOT_WEIGHT);
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
unit_floor (const BenchRoof *roof, const PirlUnitDesc *d, gdouble x, gdouble y, Work work[N_PASSES])
{
  const gdouble weight = (gdouble) bench_slot_count (d, PIRL_SLOT_WEIGHT);
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
list_rows (const PirlGraph *graph, const BenchPlanned *planned)
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
measure_row (const BenchRoof *roof, const BenchPlanned *planned, const PirlUnit *unit,
    const Row *row, Work sum[N_PASSES], gdouble sum_ms[N_PASSES], GString *json, GError **error)
{
  static const BenchWork works[N_PASSES] = { bench_forward, bench_backward };
  const BenchPlanned *own = &planned[row->unit];
  const PirlTensorDesc *input = &planned[unit->input].output;
  BenchUnit bench = { .device = roof->device, .desc = &own->desc, .plan = own->plan,
    .rotation = roof->rotation };
  Work work[N_PASSES];
  gboolean good = bench_unit_prepare (&bench, input, &own->output, &own->memory, error);

  unit_floor (roof, &own->desc, (gdouble) input->bytes, (gdouble) own->output.bytes, work);
  for (guint pass = 0; good && pass < N_PASSES; pass++) {
    const gdouble ms = bench_time (roof->device, works[pass], &bench, bench.copies,
        error);

    good = ms > 0;
    if (!good)
      break;
    report_pass (row, &own->desc, pass, &work[pass], ms, json);
    sum[pass].bytes += row->times * work[pass].bytes;
    sum[pass].operations += row->times * work[pass].operations;
    sum[pass].ms += row->times * work[pass].ms;
    sum_ms[pass] += row->times * ms;
  }
  bench_unit_clear (&bench);
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
measure_trunk (const BenchRoof *roof, const PirlTrainerConfig *config, gint n, gint size,
    GString *json, GError **error)
{
  g_autoptr (PirlGraph) graph = pirl_graph_new ();
  const PirlValue input = pirl_graph_input (graph, n, size, config->mean, config->std);
  BenchPlanned *planned;
  GArray *rows;
  Work sum[N_PASSES] = { { 0 } };
  gdouble sum_ms[N_PASSES] = { 0 };
  gboolean good = TRUE;

  pirl_graph_avgpool (graph, pirl_trunk_build (graph, &config->trunk, input, NULL));
  planned = bench_plan_units (roof, graph, PIRL_MODE_TRAIN, error);
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
  bench_planned_free (roof->device, planned, graph->units->len);
  return good;
}

gboolean
bench_layers (const BenchOptions *o, GString *json, GError **error)
{
  PirlTrainerConfig config;
  BenchRoof roof = { 0 };
  g_autoptr (PirlDevice) device = NULL;
  const PirlPrecision *precision;

  if (!bench_config (o, &config, error)
      || !(device = pirl_device_open (config.device, (guint) o->threads, o->deterministic, error))
      || !(precision = pirl_precision_choose (device, PIRL_MODE_TRAIN, o->precision, error)))
    return FALSE;
  roof.device = device;
  roof.dtype = precision->dtype;
  roof.rotation = ((gsize) o->copy_mb << 20) / ROTATION_SHARE;
  g_string_append_printf (json, ", \"device\": \"%s\", \"precision\": \"%s\", \"batch\": %d",
      device->description, precision->name, o->batch);
  if (!bench_measure_roof (o, &roof, json, error))
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
