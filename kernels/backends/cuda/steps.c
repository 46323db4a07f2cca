/* gst-pirl: host values, results and recorded steps of a CUDA device.
 *
 * Host values of a step lie one after the other in pinned memory (*pushed*), their copies in the
 * same order in device memory; results likewise, the other way. As a step always does the same
 * operations, every value has the same address step after step, so that kernels recorded with it
 * stay right when the numbers change. A plain step copies each value as it is pushed; a recorded
 * one copies all of them at once before its graph is launched.
 *
 *   step_begin   in the third step starts to record
 *   operations   push, ask for results, launch (when replaying: do not launch)
 *   step_launch  adapts the loss scale; ends recording; values up, graph, results down; clears the
 *                finite flag
 *   step_end     waits, delivers the results
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/learning.h"

/* Of pushed values, and of results: a batch's rows, labels and a few constants. */
#define CAPACITY ((gsize) 8 << 20)
#define ALIGNMENT 16
/* Steps before one is recorded: libraries set themselves up and scratch memory grows in them. */
#define PLAIN_STEPS 2
/* What is said to have failed. */
#define ATTEMPT "recording a step (PIRL_CUDA_GRAPHS=0 does without)"

typedef enum { OUTSIDE, PLAIN, RECORDING, REPLAYING } State;

/* Pinned host memory, and as much of the device's. */
typedef struct {
  guint8 *host, *device;
  gsize used;
} Mirror;

typedef struct {
  gsize at;                     /* in results */
  PirlCudaDone done;
  gsize closure;                /* in closures */
} Pending;

struct _PirlCudaSteps {
  State state;
  gboolean launched;
  gboolean graphs;
  guint plain;                  /* plain steps since the last change */
  Mirror values, results;
  GArray *pending;              /* Pending */
  GByteArray *closures;
  GPtrArray *events;            /* cudaEvent_t, not owned: what a recorded step waits for */
  PirlCudaScale *scale;         /* pinned */
  cudaEvent_t done;             /* who waits for a step sleeps: others decode pictures meanwhile */
  cudaGraphExec_t graph;
  guint64 identity, recorded;   /* of the operations of this step, of the recorded one */
};

/* --- making --- */

static gboolean
mirror_init (Mirror *mirror, GError **error)
{
  return pirl_cuda_ok (cudaMallocHost ((void **) &mirror->host, CAPACITY), "pinned memory", error)
      && pirl_cuda_ok (cudaMalloc ((void **) &mirror->device, CAPACITY), "device memory", error);
}

static void
mirror_clear (Mirror *mirror)
{
  cudaFreeHost (mirror->host);
  cudaFree (mirror->device);
}

PirlCudaSteps *
pirl_cuda_steps_new (PirlCudaDevice *device, GError **error)
{
  PirlCudaSteps *steps = g_new0 (PirlCudaSteps, 1);

  steps->pending = g_array_new (FALSE, FALSE, sizeof (Pending));
  steps->closures = g_byte_array_new ();
  steps->events = g_ptr_array_new ();
  /* For comparing the two ways, and for tools that do not look into graphs. */
  steps->graphs = g_strcmp0 (g_getenv ("PIRL_CUDA_GRAPHS"), "0") != 0;
  if (mirror_init (&steps->values, error) && mirror_init (&steps->results, error)
      && pirl_cuda_ok (cudaMallocHost ((void **) &steps->scale, sizeof (PirlCudaScale)),
          "pinned memory", error)
      && pirl_cuda_ok (cudaEventCreateWithFlags (&steps->done, cudaEventBlockingSync
              | cudaEventDisableTiming), "making an event", error))
    return steps;
  pirl_cuda_steps_free (steps);
  return NULL;
}

static void
drop_graph (PirlCudaSteps *steps)
{
  if (steps->graph)
    cudaGraphExecDestroy (steps->graph);
  steps->graph = NULL;
}

void
pirl_cuda_steps_free (PirlCudaSteps *steps)
{
  if (!steps)
    return;
  drop_graph (steps);
  if (steps->done)
    cudaEventDestroy (steps->done);
  mirror_clear (&steps->values);
  mirror_clear (&steps->results);
  cudaFreeHost (steps->scale);
  g_array_unref (steps->pending);
  g_byte_array_unref (steps->closures);
  g_ptr_array_unref (steps->events);
  g_free (steps);
}

void
pirl_cuda_steps_forget (PirlCudaDevice *device)
{
  if (!device->steps)
    return;
  drop_graph (device->steps);
  device->steps->plain = 0;
}

/* --- values and results --- */

/* @bytes of @mirror; FALSE when it is full. */
static gboolean
mirror_take (Mirror *mirror, gsize bytes, gsize *at, GError **error)
{
  *at = (mirror->used + ALIGNMENT - 1) & ~(gsize) (ALIGNMENT - 1);
  if (*at + bytes > CAPACITY) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
        "cuda: a step has more than %u MB of values from the host; a smaller batch has fewer",
        (guint) (CAPACITY >> 20));
    return FALSE;
  }
  mirror->used = *at + bytes;
  return TRUE;
}

/* Whether what is queued now runs at once, and is not a part of a graph. */
static gboolean
runs_at_once (const PirlCudaSteps *steps)
{
  return steps->state == OUTSIDE || steps->state == PLAIN;
}

gpointer
pirl_cuda_push (PirlCudaDevice *device, gconstpointer values, gsize bytes, GError **error)
{
  PirlCudaSteps *steps = device->steps;
  Mirror *mirror = &steps->values;
  gsize at;

  if (!mirror_take (mirror, bytes, &at, error))
    return NULL;
  memcpy (mirror->host + at, values, bytes);
  if (runs_at_once (steps)
      && !pirl_cuda_ok (cudaMemcpyAsync (mirror->device + at, mirror->host + at, bytes,
              cudaMemcpyHostToDevice, device->stream), "copying values to the device", error))
    return NULL;
  return mirror->device + at;
}

gpointer
pirl_cuda_result (PirlCudaDevice *device, gsize bytes, PirlCudaDone done, gconstpointer closure,
    gsize closure_bytes, GError **error)
{
  PirlCudaSteps *steps = device->steps;
  /* Closures hold pointers: each begins at a multiple of their size. */
  const gsize padding = -steps->closures->len % sizeof (gpointer);
  Pending pending = { .done = done, .closure = steps->closures->len + padding };

  if (!mirror_take (&steps->results, bytes, &pending.at, error))
    return NULL;
  g_byte_array_set_size (steps->closures, (guint) (pending.closure + closure_bytes));
  memcpy (steps->closures->data + pending.closure, closure, closure_bytes);
  g_array_append_val (steps->pending, pending);
  return steps->results.device + pending.at;
}

static void
forget_queued (PirlCudaSteps *steps)
{
  steps->values.used = steps->results.used = 0;
  g_array_set_size (steps->pending, 0);
  g_byte_array_set_size (steps->closures, 0);
  g_ptr_array_set_size (steps->events, 0);
  steps->identity = 0;
}

static gboolean
fetch_results (PirlCudaDevice *device, GError **error)
{
  Mirror *results = &device->steps->results;

  return results->used == 0 || pirl_cuda_ok (cudaMemcpyAsync (results->host, results->device,
          results->used, cudaMemcpyDeviceToHost, device->stream), "copying results", error);
}

/* Operations outside of steps are short, or in a hurry: a core watches them. */
static cudaError_t
wait_for_stream (PirlCudaDevice *device)
{
  PirlCudaSteps *steps = device->steps;
  cudaError_t status;

  if (steps->state == OUTSIDE)
    return cudaStreamSynchronize (device->stream);
  status = cudaEventRecord (steps->done, device->stream);
  return status == cudaSuccess ? cudaEventSynchronize (steps->done) : status;
}

/* Waits for the stream and hands every result to who asked for it. */
static gboolean
deliver_results (PirlCudaDevice *device, GError **error)
{
  PirlCudaSteps *steps = device->steps;

  if (!pirl_cuda_ok (wait_for_stream (device), "waiting for the device", error))
    return FALSE;
  for (guint i = 0; i < steps->pending->len; i++) {
    const Pending *pending = &g_array_index (steps->pending, Pending, i);

    pending->done (steps->results.host + pending->at, steps->closures->data + pending->closure);
  }
  return TRUE;
}

gboolean
pirl_cuda_launches (PirlCudaDevice *device)
{
  return device->steps->state != REPLAYING;
}

gboolean
pirl_cuda_settle (PirlCudaDevice *device, GError **error)
{
  gboolean done;

  if (device->steps->state != OUTSIDE)
    return TRUE;
  done = fetch_results (device, error) && deliver_results (device, error);
  forget_queued (device->steps);
  return done;
}

gpointer
pirl_cuda_scratch (PirlCudaDevice *device, gsize bytes, GError **error)
{
  if (bytes <= device->scratch_bytes)
    return device->scratch;
  if (!runs_at_once (device->steps)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "cuda: a recorded step needs %"
        G_GSIZE_FORMAT " bytes of scratch memory, the steps before it %" G_GSIZE_FORMAT, bytes,
        device->scratch_bytes);
    return NULL;
  }
  if (!pirl_cuda_ok (cudaStreamSynchronize (device->stream), "waiting for the device", error))
    return NULL;
  pirl_cuda_steps_forget (device);      /* a recorded step has the old address */
  cudaFree (device->scratch);
  device->scratch = NULL;
  device->scratch_bytes = 0;
  if (!pirl_cuda_ok (cudaMalloc (&device->scratch, bytes), "scratch memory", error))
    return NULL;
  device->scratch_bytes = bytes;
  return device->scratch;
}

gboolean
pirl_cuda_before_launch (PirlCudaDevice *device, cudaEvent_t event, GError **error)
{
  if (runs_at_once (device->steps))
    return pirl_cuda_ok (cudaStreamWaitEvent (device->stream, event, 0), "waiting for an event",
        error);
  g_ptr_array_add (device->steps->events, event);
  return TRUE;
}

gboolean
pirl_cuda_outside (PirlCudaDevice *device, const gchar *what, GError **error)
{
  if (!device->steps || device->steps->state == OUTSIDE)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "cuda: %s is not possible within a step; it belongs before step_begin or after step_end",
      what);
  return FALSE;
}

/* --- steps --- */

void
pirl_cuda_steps_note (PirlCudaDevice *device, gconstpointer plan, guint pass,
    gconstpointer memory)
{
  const guint64 parts[] = { (guint64) (gsize) plan, pass, (guint64) (gsize) memory };

  /* FNV-1a over the parts. */
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    device->steps->identity = (device->steps->identity ^ parts[i]) * 0x100000001b3u;
}

gboolean
pirl_cuda_step_begin (PirlDevice *base, GError **error)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;
  PirlCudaSteps *steps = device->steps;

  if (!pirl_cuda_outside (device, "another step", error)
      || !pirl_cuda_ok (cudaSetDevice (device->ordinal), "choosing the device", error))
    return FALSE;
  forget_queued (steps);
  steps->launched = FALSE;
  steps->state = steps->graph ? REPLAYING : PLAIN;
  if (!steps->graph && steps->graphs && steps->plain >= PLAIN_STEPS) {
    /* Operations queued outside of steps have to be done: they may not be waited for in a graph. */
    if (!pirl_cuda_ok (cudaStreamSynchronize (device->stream), "waiting for the device", error)
        || !pirl_cuda_ok (cudaStreamBeginCapture (device->stream,
                cudaStreamCaptureModeThreadLocal), ATTEMPT, error)) {
      steps->state = OUTSIDE;
      return FALSE;
    }
    steps->state = RECORDING;
  }
  return TRUE;
}

static gboolean
end_recording (PirlCudaDevice *device, GError **error)
{
  PirlCudaSteps *steps = device->steps;
  cudaGraph_t graph = NULL;
  gboolean done;

  done = pirl_cuda_ok (cudaStreamEndCapture (device->stream, &graph), ATTEMPT, error)
      && pirl_cuda_ok (cudaGraphInstantiate (&steps->graph, graph, 0), "making the step's graph",
      error);
  if (graph)
    cudaGraphDestroy (graph);
  if (!done)
    steps->graph = NULL;
  steps->recorded = steps->identity;
  steps->state = done ? REPLAYING : PLAIN;
  return done;
}

/* Values up, then the graph. */
static gboolean
launch_graph (PirlCudaDevice *device, GError **error)
{
  PirlCudaSteps *steps = device->steps;

  if (steps->identity != steps->recorded) {
    pirl_cuda_steps_forget (device);    /* what comes next may be recorded anew */
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_BACKEND,
        "cuda: this step's operations are not those of the recorded step");
    return FALSE;
  }
  for (guint i = 0; i < steps->events->len; i++)
    if (!pirl_cuda_ok (cudaStreamWaitEvent (device->stream,
                g_ptr_array_index (steps->events, i), 0), "waiting for an event", error))
      return FALSE;
  return (steps->values.used == 0 || pirl_cuda_ok (cudaMemcpyAsync (steps->values.device,
              steps->values.host, steps->values.used, cudaMemcpyHostToDevice, device->stream),
          "copying values to the device", error))
      && pirl_cuda_ok (cudaGraphLaunch (steps->graph, device->stream), "launching a step", error);
}

gboolean
pirl_cuda_step_launch (PirlDevice *base, GError **error)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;
  PirlCudaSteps *steps = device->steps;

  cudaSetDevice (device->ordinal);
  if (pirl_cuda_launches (device))
    pirl_gpu_scale_end (device->scale, device->stream);
  if (!pirl_cuda_launched ("queueing a step", error)
      || (steps->state == RECORDING && !end_recording (device, error))
      || (steps->state == REPLAYING && !launch_graph (device, error))
      || !fetch_results (device, error)
      || !pirl_cuda_ok (cudaMemcpyAsync (steps->scale, device->scale, sizeof *steps->scale,
              cudaMemcpyDeviceToHost, device->stream), "copying results", error))
    return FALSE;
  pirl_gpu_scale_begin (device->scale, device->stream); /* a new step, or none, begins as finite */
  steps->launched = TRUE;
  return TRUE;
}

gboolean
pirl_cuda_step_end (PirlDevice *base, PirlStepResult *result, GError **error)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;
  PirlCudaSteps *steps = device->steps;
  gboolean done;

  if (!steps->launched) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "cuda: step_end without step_launch");
    return FALSE;
  }
  done = deliver_results (device, error);
  if (steps->state == PLAIN)
    steps->plain++;
  steps->state = OUTSIDE;
  forget_queued (steps);
  result->finite = steps->scale->finite != 0;
  result->loss_scale = (PirlLossScale) { steps->scale->scaling ? steps->scale->scale : 0,
    (guint) steps->scale->clean };
  return done;
}

void
pirl_cuda_step_abort (PirlDevice *base)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;
  PirlCudaSteps *steps = device->steps;

  cudaSetDevice (device->ordinal);
  if (steps->state == RECORDING) {
    cudaGraph_t graph = NULL;

    cudaStreamEndCapture (device->stream, &graph);
    if (graph)
      cudaGraphDestroy (graph);
  }
  cudaStreamSynchronize (device->stream);
  cudaGetLastError ();          /* of what was aborted */
  pirl_gpu_scale_begin (device->scale, device->stream);
  steps->state = OUTSIDE;
  forget_queued (steps);
}

void
pirl_cuda_set_loss_scale (PirlDevice *base, const PirlLossScale *scale)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;
  const gboolean scaling = scale->scale > 0;
  const PirlCudaScale values = {
    .scale = scaling ? (gfloat) scale->scale : 1,
    .inverse = scaling ? (gfloat) (1 / scale->scale) : 1,
    .finite = 1, .clean = (gint32) scale->clean, .scaling = scaling
  };

  cudaSetDevice (device->ordinal);
  cudaMemcpyAsync (device->scale, &values, sizeof values, cudaMemcpyHostToDevice, device->stream);
  cudaStreamSynchronize (device->stream);
}
