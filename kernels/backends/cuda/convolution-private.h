/* gst-pirl: what the files convolution*.c share; no other file includes it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * convolution-graph.c says to cuDNN what is to be computed, convolution-plan.c asks it for plans
 * and chooses one, convolution-timing.c runs them on memory of its own, convolution-cache.c keeps
 * what was chosen, convolution.c has the functions of convolution.h.
 */
#pragma once

#include <cudnn.h>

#include "backends/cuda/convolution.h"

#if CUDNN_VERSION < 91100
#error "cuDNN 9.11 or newer is needed: plans from device properties and as JSON"
#endif
#define PIRL_CUDNN_OLDEST 91100

struct _PirlConvEngine {
  cudnnHandle_t handle;         /* NULL: the device is not there */
  cudaStream_t stream;          /* the handle's; cuDNN's default stream at first */
  cudnnBackendDescriptor_t device;      /* its properties */
  gsize workspace;
  gint64 patience;              /* microseconds for a problem's plans, when there is one */
  gchar *description;
  gchar *cache;                 /* folder; NULL: plans are not kept */
};

/* --- cuDNN --- */

/** TRUE for success; else %PIRL_ERROR_UNSUPPORTED where cuDNN says that it cannot,
 * %PIRL_ERROR_BACKEND for everything else, with cuDNN's own words. */
gboolean pirl_cudnn_ok (cudnnStatus_t status, const gchar *what, GError **error);
void pirl_cudnn_clear (cudnnBackendDescriptor_t *descriptor);
/** "9.19.0". */
gchar *pirl_cudnn_version (void);

/* --- graphs --- */

/** The tensors' numbers in graphs, and so in plans that were kept: never renumber those that are in
 * memory. */
typedef enum {
  PIRL_CONV_INPUT = 1,
  PIRL_CONV_WEIGHT,
  PIRL_CONV_OUTPUT,
  PIRL_CONV_SUM,
  PIRL_CONV_SQUARES,
  PIRL_CONV_BIAS,
  PIRL_CONV_RESIDUAL,
  PIRL_CONV_SCALE,
  PIRL_CONV_SHIFT,
  PIRL_CONV_VIRTUAL,            /* and those after it: between operations, never in memory */
} PirlConvTensorId;

typedef struct {
  GPtrArray *owned;             /* every descriptor of it */
  cudnnBackendDescriptor_t graph;       /* the last of them */
} PirlConvGraph;

gboolean pirl_conv_graph_make (PirlConvGraph *graph, const PirlConvProblem *problem,
    GError **error);
void pirl_conv_graph_clear (PirlConvGraph *graph);
/** What the epilogue's bias must be on its way into cuDNN. */
PirlDType pirl_conv_bias_dtype (const PirlConvProblem *problem);
/** Elements of input, weight and output. */
gsize pirl_conv_count (const PirlConvProblem *problem, PirlConvTensorId tensor);

/* --- plans --- */

typedef struct {
  cudnnBackendDescriptor_t plan;
  gint64 engine;                /* cuDNN's number of it */
  gsize workspace;
  gdouble ms;                   /* 0: not timed */
  guint tried;
} PirlConvPlan;

struct _PirlConv {
  PirlConvEngine *engine;       /* borrowed */
  PirlConvProblem problem;
  PirlConvPlan plan;
  gsize bias_bytes;             /* of the workspace, before the plan's: the bias in its type */
  gchar *description;
  /* The last call's. */
  cudnnBackendDescriptor_t pack;
  PirlConvTensors tensors;
  gpointer workspace;
};

/** From cuDNN's heuristics, and timed where that is possible. */
gboolean pirl_conv_plan_choose (PirlConvEngine *engine, const PirlConvProblem *problem,
    PirlConvPlan *plan, GError **error);
/** Binds a plan to memory: @tensors (their bias as the plan wants it) and @workspace. */
gboolean pirl_conv_plan_bind (const PirlConvProblem *problem, const PirlConvTensors *tensors,
    gpointer workspace, cudnnBackendDescriptor_t *pack, GError **error);
/** Queues it. */
gboolean pirl_conv_plan_execute (PirlConvEngine *engine, const PirlConvPlan *plan,
    cudnnBackendDescriptor_t pack, cudaStream_t stream, GError **error);
/** From its JSON. */
gboolean pirl_conv_plan_load (PirlConvEngine *engine, const gchar *json, PirlConvPlan *plan,
    GError **error);
gchar *pirl_conv_plan_to_json (const PirlConvPlan *plan);
void pirl_conv_plan_clear (PirlConvPlan *plan);
/** Bytes of the workspace that hold the bias in its type. */
gsize pirl_conv_bias_bytes (const PirlConvProblem *problem);

/* --- timing --- */

typedef struct _PirlConvBench PirlConvBench;

/** Memory for all tensors, filled with numbers, and the whole workspace. */
PirlConvBench *pirl_conv_bench_new (PirlConvEngine *engine, const PirlConvProblem *problem,
    GError **error);
void pirl_conv_bench_free (PirlConvBench *bench);
/** Milliseconds of the fastest of a few runs. FALSE: it does not run. */
gboolean pirl_conv_bench_time (PirlConvBench *bench, const PirlConvPlan *plan, gdouble *ms,
    GError **error);

/** Milliseconds of passes over memory that fused kinds save; 0 where they save none. */
typedef struct {
  gdouble output;               /* over the output */
  gdouble input;                /* over the input: what a prologue does */
} PirlConvPasses;

gboolean pirl_conv_bench_passes (PirlConvBench *bench, PirlConvPasses *passes, GError **error);

/* --- cache --- */

typedef enum {
  PIRL_CONV_CACHE_NOTHING,      /* not known, or the file is of no use */
  PIRL_CONV_CACHE_PLAN,
  PIRL_CONV_CACHE_REFUSED,      /* known not to be worth it; the error is set */
} PirlConvCacheAnswer;

/** The folder for a card and this version of cuDNN. */
gchar *pirl_conv_cache_folder (const gchar *card);
PirlConvCacheAnswer pirl_conv_cache_load (PirlConvEngine *engine, const PirlConvProblem *problem,
    PirlConvPlan *plan, GError **error);
/** @plan or @refusal. What cannot be kept is planned again the next time: no error. */
void pirl_conv_cache_save (const PirlConvEngine *engine, const PirlConvProblem *problem,
    const PirlConvPlan *plan, const gchar *refusal);

/* --- engines --- */

/** An engine whose device is described by @device_json and yet taken for there: what it runs is
 * simulated (tests/kernels/cuda-convolution-test.c). */
PirlConvEngine *pirl_conv_engine_simulate (const gchar *device_json, const gchar *card,
    gsize workspace, GError **error);
