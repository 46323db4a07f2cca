/* gst-pirl: products of matrices of floats as plain loops, in place of cuBLASLt.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   c[i][j] = sum over l of a[i][l] b[l][j], summed in floats in a fixed order; row-major.
 */
#include "backends/cuda/matmul.h"

#include <string.h>

#include "naive.h"

struct _PirlMatmulEngine {
  gsize workspace;
};

struct _PirlMatmul {
  PirlMatmulProblem problem;
};

typedef struct {
  PirlMatmulProblem problem;
  const gfloat *a, *b, *bias;
  gfloat *c;
  gpointer workspace;
} Job;

PirlMatmulEngine *
pirl_matmul_engine_new (gsize workspace, GError **error)
{
  PirlMatmulEngine *engine = g_new0 (PirlMatmulEngine, 1);

  engine->workspace = workspace;
  return engine;
}

void
pirl_matmul_engine_free (PirlMatmulEngine *engine)
{
  g_free (engine);
}

PirlMatmul *
pirl_matmul_new (PirlMatmulEngine *engine, const PirlMatmulProblem *problem, GError **error)
{
  PirlMatmul *matmul;

  if (problem->m < 1 || problem->n < 1 || problem->k < 1
      || (problem->accumulate && (problem->bias || problem->relu))
      || engine->workspace < NAIVE_WORKSPACE) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "no product of %d x %d by %d x %d%s",
        problem->m, problem->k, problem->k, problem->n,
        problem->accumulate ? " that is added, with bias or ReLU" : "");
    return NULL;
  }
  matmul = g_new0 (PirlMatmul, 1);
  matmul->problem = *problem;
  return matmul;
}

void
pirl_matmul_free (PirlMatmul *matmul)
{
  g_free (matmul);
}

/* The matrix as [rows][columns], when @transposed from [columns][rows]. */
static gfloat *
operand (const gfloat *values, gint rows, gint columns, gboolean transposed, gboolean tf32)
{
  const gsize n = (gsize) rows * columns;
  gfloat *matrix = g_new (gfloat, n);

  for (gint i = 0; i < rows; i++)
    for (gint j = 0; j < columns; j++)
      matrix[(gsize) i * columns + j] = transposed ? values[(gsize) j * rows + i]
          : values[(gsize) i * columns + j];
  if (tf32)
    naive_round_tf32 (matrix, n);
  return matrix;
}

static void
job_run (gpointer closure)
{
  const Job *job = closure;
  const PirlMatmulProblem *p = &job->problem;
  g_autofree gfloat *a = operand (job->a, p->m, p->k, p->transpose_a, p->tf32);
  g_autofree gfloat *b = operand (job->b, p->k, p->n, p->transpose_b, p->tf32);
  g_autofree gfloat *row = g_new (gfloat, p->n);

  memset (job->workspace, 0xff, NAIVE_WORKSPACE);
  for (gint i = 0; i < p->m; i++) {
    gfloat *c = job->c + (gsize) i * p->n;

    memset (row, 0, p->n * sizeof (*row));
    for (gint l = 0; l < p->k; l++)
      for (gint j = 0; j < p->n; j++)
        row[j] += a[(gsize) i * p->k + l] * b[(gsize) l * p->n + j];
    for (gint j = 0; j < p->n; j++) {
      const gfloat x = row[j] + (p->accumulate ? c[j] : 0) + (p->bias ? job->bias[j] : 0);

      c[j] = p->relu && x < 0 ? 0 : x;
    }
  }
}

static gboolean
check_operands (const Job *job, GError **error)
{
  const PirlMatmulProblem *p = &job->problem;

  return naive_on_card (job->workspace, NAIVE_WORKSPACE, "workspace", error)
      && naive_on_card (job->a, (gsize) p->m * p->k * sizeof (gfloat), "a", error)
      && naive_on_card (job->b, (gsize) p->k * p->n * sizeof (gfloat), "b", error)
      && naive_on_card (job->c, (gsize) p->m * p->n * sizeof (gfloat), "c", error)
      && (!p->bias || naive_on_card (job->bias, (gsize) p->n * sizeof (gfloat), "bias", error));
}

gboolean
pirl_matmul_run (PirlMatmul *matmul, const gfloat *a, const gfloat *b, gfloat *c,
    const gfloat *bias, gpointer workspace, cudaStream_t stream, GError **error)
{
  const Job job = { matmul->problem, a, b, bias, c, workspace };
  cudaError_t status;

  if (!check_operands (&job, error)) {
    g_prefix_error (error, "a product of matrices: ");
    return FALSE;
  }
  status = pirl_emulator_run (stream, job_run, &job, sizeof (job));
  if (status == cudaSuccess)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "a product of matrices: %s",
      cudaGetErrorString (status));
  return FALSE;
}
