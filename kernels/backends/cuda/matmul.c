/* gst-pirl: products of matrices of floats, through cuBLASLt.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * cuBLASLt's matrices are column-major: element (i, j) is at i + j * ld. A row-major matrix X of r
 * rows and c columns, element (i, j) at i * c + j, is for it the matrix X^T: c rows, r columns,
 * ld = c. So it is asked for the transpose of the product, which it leaves as our row-major c:
 *
 *   c [m][n] = op (a) op (b)      <=>      c^T = op (b)^T op (a)^T,      n x k times k x m
 *
 * Its first operand is our b, its second our a, its m is n and its n is m:
 *
 *   ours                         as it sees the memory          what is needed      op
 *   b [k][n]                     n x k, ld n                    op (b)^T: n x k     N
 *   b [n][k] (transpose_b)       k x n, ld k                    op (b)^T: n x k     T
 *   a [m][k]                     k x m, ld k                    op (a)^T: k x m     N
 *   a [k][m] (transpose_a)       m x k, ld m                    op (a)^T: k x m     T
 *   c [m][n]                     n x m, ld n
 *
 * Its bias has an element for each row of its result: for each of our columns, as it should.
 */
#include "backends/cuda/matmul.h"

#include <cublasLt.h>

/* Bytes that the addresses of matrices are multiples of; cuBLASLt assumes 256 otherwise. */
#define ALIGNMENT 16

struct _PirlMatmulEngine {
  cublasLtHandle_t handle;
  gsize workspace;
};

struct _PirlMatmul {
  PirlMatmulEngine *engine;     /* borrowed */
  PirlMatmulProblem problem;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t first, second, result;
  cublasLtMatmulAlgo_t algorithm;
};

static gboolean
ok (cublasStatus_t status, const gchar *what, GError **error)
{
  if (status == CUBLAS_STATUS_SUCCESS)
    return TRUE;
  g_set_error (error, PIRL_ERROR, status == CUBLAS_STATUS_NOT_SUPPORTED
      || status == CUBLAS_STATUS_ARCH_MISMATCH ? PIRL_ERROR_UNSUPPORTED : PIRL_ERROR_BACKEND,
      "cuBLASLt: %s: %s", what, cublasLtGetStatusString (status));
  return FALSE;
}

PirlMatmulEngine *
pirl_matmul_engine_new (gsize workspace, GError **error)
{
  PirlMatmulEngine *engine = g_new0 (PirlMatmulEngine, 1);

  engine->workspace = workspace;
  if (ok (cublasLtCreate (&engine->handle), "opening the device", error))
    return engine;
  g_free (engine);
  return NULL;
}

void
pirl_matmul_engine_free (PirlMatmulEngine *engine)
{
  if (!engine)
    return;
  cublasLtDestroy (engine->handle);
  g_free (engine);
}

/* --- one product --- */

static gboolean
set (cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
    gconstpointer value, gsize bytes, GError **error)
{
  return ok (cublasLtMatmulDescSetAttribute (operation, attribute, value, bytes),
      "describing a product", error);
}

static cublasLtEpilogue_t
epilogue (const PirlMatmulProblem *problem)
{
  return problem->bias ? problem->relu ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_BIAS
      : problem->relu ? CUBLASLT_EPILOGUE_RELU : CUBLASLT_EPILOGUE_DEFAULT;
}

static gboolean
describe_operation (PirlMatmul *matmul, GError **error)
{
  const PirlMatmulProblem *problem = &matmul->problem;
  const cublasOperation_t first = problem->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = problem->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasLtEpilogue_t behind = epilogue (problem);
  /* The heuristics want to know of a bias, and how it is aligned; nothing is read there. */
  const gpointer some_address = GSIZE_TO_POINTER (ALIGNMENT);

  return ok (cublasLtMatmulDescCreate (&matmul->operation, problem->tf32
          ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
      "describing a product", error)
      && set (matmul->operation, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first, error)
      && set (matmul->operation, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second, error)
      && set (matmul->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &behind, sizeof behind, error)
      && (!problem->bias || set (matmul->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
          &some_address, sizeof some_address, error));
}

/* A row-major matrix, as cuBLASLt sees it. */
static gboolean
describe_matrix (cublasLtMatrixLayout_t *layout, gint rows, gint columns, GError **error)
{
  return ok (cublasLtMatrixLayoutCreate (layout, CUDA_R_32F, (guint64) columns, (guint64) rows,
          columns), "describing a matrix", error);
}

static gboolean
describe_matrices (PirlMatmul *matmul, GError **error)
{
  const PirlMatmulProblem *p = &matmul->problem;

  return describe_matrix (&matmul->first, p->transpose_b ? p->n : p->k,
      p->transpose_b ? p->k : p->n, error)
      && describe_matrix (&matmul->second, p->transpose_a ? p->k : p->m,
      p->transpose_a ? p->m : p->k, error)
      && describe_matrix (&matmul->result, p->m, p->n, error);
}

static gboolean
limit (cublasLtMatmulPreference_t preference, gsize workspace, GError **error)
{
  static const cublasLtMatmulPreferenceAttributes_t alignments[] = {
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
  };
  const guint64 bytes = workspace;
  const guint32 alignment = ALIGNMENT;

  for (guint i = 0; i < G_N_ELEMENTS (alignments); i++)
    if (!ok (cublasLtMatmulPreferenceSetAttribute (preference, alignments[i], &alignment,
                sizeof alignment), "limiting a product", error))
      return FALSE;
  return ok (cublasLtMatmulPreferenceSetAttribute (preference,
          CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes), "limiting a product",
      error);
}

static gboolean
choose_algorithm (PirlMatmul *matmul, GError **error)
{
  cublasLtMatmulPreference_t preference = NULL;
  cublasLtMatmulHeuristicResult_t result;
  int n = 0;
  gboolean chosen = ok (cublasLtMatmulPreferenceCreate (&preference), "limiting a product", error)
      && limit (preference, matmul->engine->workspace, error)
      && ok (cublasLtMatmulAlgoGetHeuristic (matmul->engine->handle, matmul->operation,
          matmul->first, matmul->second, matmul->result, matmul->result, preference, 1, &result,
          &n), "choosing an algorithm", error);

  if (chosen && (n == 0 || result.state != CUBLAS_STATUS_SUCCESS)) {
    chosen = ok (CUBLAS_STATUS_NOT_SUPPORTED, "choosing an algorithm", error);
  } else if (chosen) {
    matmul->algorithm = result.algo;
  }
  if (preference)
    cublasLtMatmulPreferenceDestroy (preference);
  return chosen;
}

PirlMatmul *
pirl_matmul_new (PirlMatmulEngine *engine, const PirlMatmulProblem *problem, GError **error)
{
  PirlMatmul *matmul;

  if (problem->m < 1 || problem->n < 1 || problem->k < 1
      || (problem->accumulate && (problem->bias || problem->relu))) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "a product of %d x %d and %d x %d%s: "
        "extents are positive, and one that is added to has neither bias nor ReLU", problem->m,
        problem->k, problem->k, problem->n, problem->accumulate ? " that is added to" : "");
    return NULL;
  }
  matmul = g_new0 (PirlMatmul, 1);
  matmul->engine = engine;
  matmul->problem = *problem;
  if (describe_operation (matmul, error) && describe_matrices (matmul, error)
      && choose_algorithm (matmul, error))
    return matmul;
  g_prefix_error (error, "a product of %d x %d and %d x %d: ", problem->m, problem->k, problem->k,
      problem->n);
  pirl_matmul_free (matmul);
  return NULL;
}

void
pirl_matmul_free (PirlMatmul *matmul)
{
  if (!matmul)
    return;
  if (matmul->first)
    cublasLtMatrixLayoutDestroy (matmul->first);
  if (matmul->second)
    cublasLtMatrixLayoutDestroy (matmul->second);
  if (matmul->result)
    cublasLtMatrixLayoutDestroy (matmul->result);
  if (matmul->operation)
    cublasLtMatmulDescDestroy (matmul->operation);
  g_free (matmul);
}

gboolean
pirl_matmul_run (PirlMatmul *matmul, const gfloat *a, const gfloat *b, gfloat *c,
    const gfloat *bias, gpointer workspace, cudaStream_t stream, GError **error)
{
  const gfloat alpha = 1, beta = matmul->problem.accumulate ? 1 : 0;

  if (matmul->problem.bias && !set (matmul->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
          sizeof bias, error))
    return FALSE;
  return ok (cublasLtMatmul (matmul->engine->handle, matmul->operation, &alpha, b, matmul->first,
          a, matmul->second, &beta, c, matmul->result, c, matmul->result, &matmul->algorithm,
          workspace, matmul->engine->workspace, stream), "multiplying matrices", error);
}
