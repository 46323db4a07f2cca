/* gst-pirl: pirl-train-bench: what a device can do at most.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pirl-train-unit.h"

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
measure_copy (BenchRoof *roof, gsize bytes, GError **error)
{
  const PirlBackend *backend = roof->device->backend;
  Copy copy = { roof->device, NULL, NULL, bytes };
  gdouble ms = -1;

  copy.src = backend->alloc (roof->device, bytes, error);
  copy.dst = copy.src ? backend->alloc (roof->device, bytes, error) : NULL;
  if (copy.dst && bench_fill (roof->device, copy.src, bytes, PIRL_DTYPE_F32, 1, error))
    ms = bench_time (roof->device, copy_work, &copy, 1, error);
  if (copy.src)
    backend->free (roof->device, copy.src);
  if (copy.dst)
    backend->free (roof->device, copy.dst);
  roof->copy_rate = 2 * (gdouble) bytes / ms;
  return ms > 0;
}

/* A convolution 1x1 of @side channels to as many, over @side pixels: 2 side^3 operations. */
static gboolean
measure_matrix (BenchRoof *roof, gint side, GError **error)
{
  static const gfloat mean[3] = { 0 }, std[3] = { 1, 1, 1 };
  const gint n = MAX (side / 64, 1);
  g_autoptr (PirlGraph) graph = pirl_graph_new ();
  const PirlValue input = pirl_graph_input (graph, n, 8, mean, std);
  const PirlValue wide = pirl_graph_conv_bn (graph, input, "a", "a", side, 1, 1, 0, 1,
      PIRL_NO_VALUE, PIRL_ACT_NONE);
  const PirlValue product = pirl_graph_conv_bn (graph, wide, "b", "b", side, 1, 1, 0, 1,
      PIRL_NO_VALUE, PIRL_ACT_NONE);
  BenchPlanned *planned = bench_plan_units (roof, graph, PIRL_MODE_INFER, error);
  BenchUnit bench = { .device = roof->device, .rotation = roof->rotation };
  gdouble ms = -1;

  if (!planned)
    return FALSE;
  bench.desc = &planned[product].desc;
  bench.plan = planned[product].plan;
  if (bench_unit_prepare (&bench, &planned[wide].output, &planned[product].output,
          &planned[product].memory, error))
    ms = bench_time (roof->device, bench_forward, &bench, bench.copies, error);
  bench_unit_clear (&bench);
  bench_planned_free (roof->device, planned, graph->units->len);
  roof->matrix_rate = 2.0 * n * 64 * side * side / ms;
  return ms > 0;
}

gboolean
bench_measure_roof (const BenchOptions *o, BenchRoof *roof, GString *json, GError **error)
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
