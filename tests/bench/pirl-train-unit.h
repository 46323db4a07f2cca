/* gst-pirl: pirl-train-bench: one unit with memory to run in.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "net/graph.h"
#include "pirl-train-bench.h"

/** What a device can do at most. */
typedef struct {
  PirlDevice *device;
  PirlDType dtype;
  gdouble copy_rate, matrix_rate;       /* bytes and operations a ms */
  gsize rotation;               /* bytes that tensors used in turn fill */
} BenchRoof;

/** A copy (bytes read plus bytes written), and a product of matrices: a 1x1 convolution without
 * anything around it; the options may have more, measured elsewhere. */
gboolean bench_measure_roof (const BenchOptions *options, BenchRoof *roof, GString *json,
    GError **error);

/* Tensors of a unit that differ from copy to copy. */
enum { BENCH_INPUT, BENCH_RESIDUAL, BENCH_OUTPUT, BENCH_SAVED, BENCH_D_OUTPUT, BENCH_D_INPUT,
  BENCH_D_RESIDUAL, BENCH_N_TENSORS };
#define BENCH_MAX_COPIES 32

typedef struct {
  PirlDevice *device;
  const PirlUnitDesc *desc;
  PirlUnitPlan *plan;
  gsize rotation;               /* as of the roof */
  gsize bytes[BENCH_N_TENSORS];
  guint copies;
  gpointer tensor[BENCH_MAX_COPIES][BENCH_N_TENSORS];
  gpointer param[PIRL_N_SLOTS], grad[PIRL_N_SLOTS], scratch;
} BenchUnit;

/** Memory with random values in it, and a first run of every copy, so that a backward pass finds
 * what it needs. */
gboolean bench_unit_prepare (BenchUnit *unit, const PirlTensorDesc *input,
    const PirlTensorDesc *output, const PirlUnitMemory *memory, GError **error);
void bench_unit_clear (BenchUnit *unit);
/** BenchWork of a BenchUnit: a pass, with the tensors in turn. */
gboolean bench_forward (gconstpointer unit, guint i, GError **error);
gboolean bench_backward (gconstpointer unit, guint i, GError **error);
/** Elements of a parameter. */
gsize bench_slot_count (const PirlUnitDesc *desc, PirlSlot slot);

/** A unit of a graph. */
typedef struct {
  PirlUnitDesc desc;
  PirlUnitPlan *plan;
  PirlTensorDesc output;
  PirlUnitMemory memory;
} BenchPlanned;

/** Plans every unit as the planner would, each reading what the ones before it leave. */
BenchPlanned *bench_plan_units (const BenchRoof *roof, const PirlGraph *graph, PirlMode mode,
    GError **error);
void bench_planned_free (PirlDevice *device, BenchPlanned *planned, guint n);
