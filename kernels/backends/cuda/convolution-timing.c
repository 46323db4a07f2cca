/* gst-pirl: how long cuDNN's plans take.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A plan runs on memory of its own, filled with numbers of both signs between 0.5 and 1 (F16; small
 * ones in the other types): on zeros a card draws less power and is faster than in earnest. Before
 * each run the workspace is overwritten: the card's second-level cache holds nothing of the
 * tensors then, and while that goes on the host queues the run and the events around it, so that
 * short plans are not measured by the time of their launch.
 */
#include "backends/cuda/convolution-private.h"

#include "base/rng.h"

#define RUNS 3                  /* after one to warm up */
#define PATTERN ((gsize) 1 << 20)       /* bytes */

struct _PirlConvBench {
  PirlConvEngine *engine;
  const PirlConvProblem *problem;
  gpointer memory;              /* of all tensors */
  gsize bytes;
  PirlConvTensors tensors;
  gpointer workspace;
  cudaStream_t stream;
  cudaEvent_t start, stop;
};

static gboolean
cuda_ok (cudaError_t status, const gchar *what, GError **error)
{
  if (status == cudaSuccess)
    return TRUE;
  cudaGetLastError ();          /* the next one may still work */
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "cuda: %s: %s", what,
      cudaGetErrorString (status));
  return FALSE;
}

/* --- memory --- */

static gpointer
carve (const PirlConvBench *bench, gsize *cursor, gsize count, gsize size)
{
  gpointer at = bench->memory ? (guint8 *) bench->memory + *cursor : NULL;

  *cursor += (count * size + 255) & ~(gsize) 255;
  return at;
}

/* Lays the tensors out, or with no memory yet only counts; returns the bytes. */
static gsize
lay_out (PirlConvBench *bench)
{
  const PirlConvProblem *problem = bench->problem;
  const gsize size = pirl_dtype_size (problem->dtype);
  PirlConvTensors *t = &bench->tensors;
  gsize cursor = 0;

  t->input = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_INPUT), size);
  t->weight = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_WEIGHT), size);
  t->output = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_OUTPUT), size);
  if (problem->residual)
    t->residual = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_RESIDUAL), size);
  t->sum = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_SUM), sizeof (gfloat));
  t->squares = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_SQUARES),
      sizeof (gfloat));
  t->bias = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_BIAS), sizeof (gfloat));
  if (problem->prologue) {
    t->scale = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_SCALE), size);
    t->shift = carve (bench, &cursor, pirl_conv_count (problem, PIRL_CONV_SHIFT), size);
  }
  return cursor;
}

/* 16 bits of F16 between 0.5 and 1, or the sign, exponent and first digits of BF16 and F32. */
static gboolean
fill (PirlConvBench *bench, GError **error)
{
  g_autofree guint32 *pattern = g_malloc (PATTERN);
  gsize filled = MIN (PATTERN, bench->bytes);
  PirlRng rng;

  pirl_rng_init (&rng, 0, 0, 0, PIRL_PURPOSE_TEST);
  pirl_rng_fill_u32 (&rng, pattern, PATTERN / sizeof (guint32));
  for (gsize i = 0; i < PATTERN / sizeof (guint32); i++)
    pattern[i] = (pattern[i] & 0x83ff83ffu) | 0x38003800u;
  if (!cuda_ok (cudaMemcpyAsync (bench->memory, pattern, filled, cudaMemcpyHostToDevice,
              bench->stream), "filling memory", error))
    return FALSE;
  while (filled < bench->bytes) {
    const gsize n = MIN (filled, bench->bytes - filled);

    if (!cuda_ok (cudaMemcpyAsync ((guint8 *) bench->memory + filled, bench->memory, n,
                cudaMemcpyDeviceToDevice, bench->stream), "filling memory", error))
      return FALSE;
    filled += n;
  }
  return cuda_ok (cudaStreamSynchronize (bench->stream), "filling memory", error);
}

PirlConvBench *
pirl_conv_bench_new (PirlConvEngine *engine, const PirlConvProblem *problem, GError **error)
{
  PirlConvBench *bench = g_new0 (PirlConvBench, 1);

  bench->engine = engine;
  bench->problem = problem;
  bench->bytes = lay_out (bench);
  if (cuda_ok (cudaMalloc (&bench->memory, bench->bytes), "memory to time plans", error)
      && cuda_ok (cudaMalloc (&bench->workspace, engine->workspace), "memory to time plans", error)
      && cuda_ok (cudaStreamCreateWithFlags (&bench->stream, cudaStreamNonBlocking), "a stream",
          error)
      && cuda_ok (cudaEventCreate (&bench->start), "an event", error)
      && cuda_ok (cudaEventCreate (&bench->stop), "an event", error)
      && fill (bench, error)) {
    lay_out (bench);
    return bench;
  }
  pirl_conv_bench_free (bench);
  return NULL;
}

void
pirl_conv_bench_free (PirlConvBench *bench)
{
  if (!bench)
    return;
  if (bench->start)
    cudaEventDestroy (bench->start);
  if (bench->stop)
    cudaEventDestroy (bench->stop);
  if (bench->stream) {
    if (bench->engine->stream == bench->stream) {
      cudnnSetStream (bench->engine->handle, NULL);
      bench->engine->stream = NULL;
    }
    cudaStreamSynchronize (bench->stream);
    cudaStreamDestroy (bench->stream);
  }
  cudaFree (bench->workspace);
  cudaFree (bench->memory);
  g_free (bench);
}

/* --- time --- */

/* What is timed: a plan bound to memory, or with @pack NULL the copy of @bytes to the output. */
typedef struct {
  const PirlConvPlan *plan;
  cudnnBackendDescriptor_t pack;
  gsize bytes;
} Work;

static gboolean
queue (PirlConvBench *bench, const Work *work, GError **error)
{
  if (work->pack)
    return pirl_conv_plan_execute (bench->engine, work->plan, work->pack, bench->stream, error);
  return cuda_ok (cudaMemcpyAsync (bench->tensors.output, bench->memory, work->bytes,
          cudaMemcpyDeviceToDevice, bench->stream), "copying memory", error);
}

static gboolean
time_once (PirlConvBench *bench, const Work *work, gdouble *ms, GError **error)
{
  gfloat elapsed = 0;

  if (!cuda_ok (cudaMemsetAsync (bench->workspace, 0, bench->engine->workspace, bench->stream),
          "clearing memory", error)
      || !cuda_ok (cudaEventRecord (bench->start, bench->stream), "timing", error)
      || !queue (bench, work, error)
      || !cuda_ok (cudaEventRecord (bench->stop, bench->stream), "timing", error)
      || !cuda_ok (cudaEventSynchronize (bench->stop), "timing", error)
      || !cuda_ok (cudaEventElapsedTime (&elapsed, bench->start, bench->stop), "timing", error))
    return FALSE;
  *ms = elapsed;
  return TRUE;
}

static gboolean
time_work (PirlConvBench *bench, const Work *work, gdouble *ms, GError **error)
{
  gdouble once;

  for (gint i = 0; i <= RUNS; i++) {
    if (!time_once (bench, work, &once, error))
      return FALSE;
    if (i == 1 || (i > 1 && once < *ms))
      *ms = once;
  }
  return TRUE;
}

gboolean
pirl_conv_bench_time (PirlConvBench *bench, const PirlConvPlan *plan, gdouble *ms, GError **error)
{
  Work work = { .plan = plan };
  const gboolean ok = pirl_conv_plan_bind (bench->problem, &bench->tensors, bench->workspace,
      &work.pack, error) && time_work (bench, &work, ms, error);

  pirl_cudnn_clear (&work.pack);
  return ok;
}

/* A copy within the bench reads and writes @bytes. Where what is before the output, or the output,
 * is less, the rest is in proportion. */
static gboolean
time_copy (PirlConvBench *bench, gsize bytes, gdouble *ms, GError **error)
{
  const gsize before = (gsize) ((guint8 *) bench->tensors.output - (guint8 *) bench->memory);
  const gsize most = MIN (before, bench->bytes - before);
  const Work work = { .bytes = MIN (bytes, most) };

  if (!time_work (bench, &work, ms, error))
    return FALSE;
  *ms *= (gdouble) bytes / work.bytes;
  return TRUE;
}

/* Sums read the output; a copy of half of it moves as many bytes. An epilogue reads it and writes
 * it, as a copy does, and reads the residual. A prologue does that with the input. */
gboolean
pirl_conv_bench_passes (PirlConvBench *bench, PirlConvPasses *passes, GError **error)
{
  const PirlConvProblem *problem = bench->problem;
  const gsize size = pirl_dtype_size (problem->dtype);
  const gsize output = pirl_conv_count (problem, PIRL_CONV_OUTPUT) * size;
  const gsize input = pirl_conv_count (problem, PIRL_CONV_INPUT) * size;
  const gboolean sums = problem->kind == PIRL_CONV_FORWARD_SUMS;

  *passes = (PirlConvPasses) { 0 };
  if ((sums || problem->kind == PIRL_CONV_FORWARD_EPILOGUE)
      && !time_copy (bench, sums ? output / 2 : output, &passes->output, error))
    return FALSE;
  if (problem->residual)
    passes->output *= 1.5;
  return !(sums && problem->prologue) || time_copy (bench, input, &passes->input, error);
}
