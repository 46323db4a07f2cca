/* gst-pirl: products of matrices through cuBLASLt, with a cuBLASLt of loops.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * kernels/backends/cuda/matmul.c is linked with the functions below instead of the library: they
 * take its descriptors and compute what cuBLASLt documents, in column-major order. So what is
 * tested is which operand goes where, how it is transposed, leading dimensions, epilogues, and what
 * cuBLASLt is told about memory; it needs no card.
 */
#include <cublasLt.h>
#include <math.h>
#include <string.h>

#include "backends/cuda/matmul.h"
#include "base/rng.h"

#define WORKSPACE ((gsize) 1 << 20)

/* --- a cuBLASLt of loops --- */

typedef struct {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t op[2];
  cublasLtEpilogue_t epilogue;
  const gfloat *bias;
} Operation;

typedef struct {
  cudaDataType type;
  guint64 rows, columns;
  gint64 ld;
} Layout;

typedef struct {
  guint64 workspace;
  guint32 alignment[4];
} Preference;

static guint alive;             /* descriptors */
static guint no_algorithm;      /* the next heuristics find nothing */
static Preference asked;        /* of the last heuristics */
static cublasComputeType_t computed;

#define OPERATION(desc) ((Operation *) (gpointer) (desc))
#define LAYOUT(desc) ((Layout *) (gpointer) (desc))

static gpointer
make (gsize bytes)
{
  alive++;
  return g_malloc0 (bytes);
}

static cublasStatus_t
destroy (gconstpointer descriptor)
{
  g_assert_nonnull (descriptor);
  alive--;
  g_free ((gpointer) descriptor);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtCreate (cublasLtHandle_t *handle)
{
  *handle = make (1);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtDestroy (cublasLtHandle_t handle)
{
  return destroy (handle);
}

const char *
cublasLtGetStatusString (cublasStatus_t status)
{
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "some failure";
}

cublasStatus_t
cublasLtMatmulDescCreate (cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
    cudaDataType_t scale)
{
  Operation *operation = make (sizeof *operation);

  operation->compute = compute;
  operation->scale = scale;
  operation->op[0] = operation->op[1] = CUBLAS_OP_N;
  operation->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  *desc = (gpointer) operation;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulDescDestroy (cublasLtMatmulDesc_t desc)
{
  return destroy (desc);
}

static void
take (gpointer to, gsize expected, const void *value, size_t bytes)
{
  g_assert_cmpuint (bytes, ==, expected);
  memcpy (to, value, bytes);
}

cublasStatus_t
cublasLtMatmulDescSetAttribute (cublasLtMatmulDesc_t desc,
    cublasLtMatmulDescAttributes_t attribute, const void *value, size_t bytes)
{
  Operation *operation = OPERATION (desc);

  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      take (&operation->op[0], sizeof (gint32), value, bytes);
      break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      take (&operation->op[1], sizeof (gint32), value, bytes);
      break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      take (&operation->epilogue, sizeof (guint32), value, bytes);
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      take (&operation->bias, sizeof (gpointer), value, bytes);
      break;
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutCreate (cublasLtMatrixLayout_t *desc, cudaDataType type, uint64_t rows,
    uint64_t columns, int64_t ld)
{
  Layout *layout = make (sizeof *layout);

  g_assert_cmpint (ld, >=, (gint64) rows);
  *layout = (Layout) { type, rows, columns, ld };
  *desc = (gpointer) layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatrixLayoutDestroy (cublasLtMatrixLayout_t desc)
{
  return destroy (desc);
}

cublasStatus_t
cublasLtMatmulPreferenceCreate (cublasLtMatmulPreference_t *desc)
{
  Preference *preference = make (sizeof *preference);

  for (guint i = 0; i < 4; i++)
    preference->alignment[i] = 256;
  *desc = (gpointer) preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulPreferenceDestroy (cublasLtMatmulPreference_t desc)
{
  return destroy (desc);
}

cublasStatus_t
cublasLtMatmulPreferenceSetAttribute (cublasLtMatmulPreference_t desc,
    cublasLtMatmulPreferenceAttributes_t attribute, const void *value, size_t bytes)
{
  Preference *preference = (gpointer) desc;

  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      take (&preference->workspace, sizeof (guint64), value, bytes);
      break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      take (&preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
          sizeof (guint32), value, bytes);
      break;
    default:
      return CUBLAS_STATUS_INVALID_VALUE;
  }
  return CUBLAS_STATUS_SUCCESS;
}

/* Rows and columns of an operand after its operation. */
static void
extents (const Operation *operation, const Layout *layout, guint which, guint64 *rows,
    guint64 *columns)
{
  const gboolean plain = operation->op[which] == CUBLAS_OP_N;

  g_assert_true (plain || operation->op[which] == CUBLAS_OP_T);
  g_assert_cmpint (layout->type, ==, CUDA_R_32F);
  *rows = plain ? layout->rows : layout->columns;
  *columns = plain ? layout->columns : layout->rows;
}

static guint64
check_shapes (const Operation *operation, const Layout *a, const Layout *b, const Layout *d)
{
  guint64 m, n, k, k2;

  extents (operation, a, 0, &m, &k);
  extents (operation, b, 1, &k2, &n);
  g_assert_cmpuint (k, ==, k2);
  g_assert_cmpuint (d->rows, ==, m);
  g_assert_cmpuint (d->columns, ==, n);
  return k;
}

cublasStatus_t
cublasLtMatmulAlgoGetHeuristic (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
    cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
    cublasLtMatmulHeuristicResult_t results[], int *found)
{
  const Operation *operation = OPERATION (desc);

  asked = *(Preference *) (gpointer) preference;
  g_assert_true (c == d);
  check_shapes (operation, LAYOUT (a), LAYOUT (b), LAYOUT (d));
  g_assert_true ((operation->epilogue & CUBLASLT_EPILOGUE_BIAS) == 0 || operation->bias != NULL);
  *found = no_algorithm ? 0 : 1;
  no_algorithm = 0;
  memset (&results[0], 0, sizeof results[0]);
  results[0].algo.data[0] = 42;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  g_assert_cmpint (wanted, >=, 1);
  return CUBLAS_STATUS_SUCCESS;
}

static gdouble
element (const Operation *operation, guint which, const Layout *layout, const gfloat *x,
    guint64 i, guint64 j)
{
  return operation->op[which] == CUBLAS_OP_N ? x[i + j * (guint64) layout->ld]
      : x[j + i * (guint64) layout->ld];
}

/* d = epilogue (alpha op (a) op (b) + beta c), column-major. */
cublasStatus_t
cublasLtMatmul (cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
    const void *a, cublasLtMatrixLayout_t a_desc, const void *b, cublasLtMatrixLayout_t b_desc,
    const void *beta, const void *c, cublasLtMatrixLayout_t c_desc, void *d,
    cublasLtMatrixLayout_t d_desc, const cublasLtMatmulAlgo_t *algorithm, void *workspace,
    size_t bytes, cudaStream_t stream)
{
  const Operation *operation = OPERATION (desc);
  const Layout *la = LAYOUT (a_desc), *lb = LAYOUT (b_desc), *ld = LAYOUT (d_desc);
  const guint64 inner = check_shapes (operation, la, lb, ld);

  g_assert_cmpuint (algorithm->data[0], ==, 42);
  g_assert_cmpuint (bytes, ==, WORKSPACE);
  g_assert_true (c == d && c_desc == d_desc && operation->scale == CUDA_R_32F);
  computed = operation->compute;
  for (guint64 j = 0; j < ld->columns; j++)
    for (guint64 i = 0; i < ld->rows; i++) {
      gfloat *to = (gfloat *) d + i + j * (guint64) ld->ld;
      gdouble sum = *(const gfloat *) beta == 0 ? 0 : *(const gfloat *) beta * *to;

      for (guint64 k = 0; k < inner; k++)
        sum += *(const gfloat *) alpha * element (operation, 0, la, a, i, k)
            * element (operation, 1, lb, b, k, j);
      if (operation->epilogue & CUBLASLT_EPILOGUE_BIAS)
        sum += operation->bias[i];
      if (operation->epilogue & CUBLASLT_EPILOGUE_RELU)
        sum = MAX (sum, 0);
      *to = (gfloat) sum;
    }
  return CUBLAS_STATUS_SUCCESS;
}

/* --- tests --- */

enum { M = 5, N = 7, K = 3 };

static void
numbers (PirlRng *rng, gfloat *x, guint n)
{
  for (guint i = 0; i < n; i++)
    x[i] = pirl_rng_range (rng, -1, 1);
}

/* What matmul.h says, row-major. */
static gdouble
expected (const PirlMatmulProblem *p, const gfloat *a, const gfloat *b, const gfloat *bias,
    gdouble before, gint i, gint j)
{
  gdouble sum = (p->accumulate ? before : 0) + (p->bias ? bias[j] : 0);

  for (gint k = 0; k < K; k++)
    sum += (gdouble) (p->transpose_a ? a[k * M + i] : a[i * K + k])
        * (p->transpose_b ? b[j * K + k] : b[k * N + j]);
  return p->relu ? MAX (sum, 0) : sum;
}

static void
check_product (PirlMatmulEngine *engine, const PirlMatmulProblem *problem)
{
  gfloat a[M * K], b[K * N], before[M * N], c[M * N + 1], bias[N];
  GError *error = NULL;
  PirlMatmul *matmul = pirl_matmul_new (engine, problem, &error);
  PirlRng rng;

  g_assert_no_error (error);
  g_assert_cmpuint (asked.workspace, ==, WORKSPACE);
  for (guint i = 0; i < 4; i++)
    g_assert_cmpuint (asked.alignment[i], ==, 16);
  pirl_rng_init (&rng, 1, 0, 0, PIRL_PURPOSE_TEST);
  numbers (&rng, a, G_N_ELEMENTS (a));
  numbers (&rng, b, G_N_ELEMENTS (b));
  numbers (&rng, bias, G_N_ELEMENTS (bias));
  numbers (&rng, before, G_N_ELEMENTS (before));
  /* Without accumulate what was there does not count, whatever it was. */
  for (gint i = 0; i < M * N; i++)
    c[i] = problem->accumulate ? before[i] : NAN;
  c[M * N] = 123;
  g_assert_true (pirl_matmul_run (matmul, a, b, c, problem->bias ? bias : NULL, NULL, NULL,
          &error));
  g_assert_no_error (error);
  for (gint i = 0; i < M; i++)
    for (gint j = 0; j < N; j++)
      g_assert_cmpfloat_with_epsilon (c[i * N + j],
          expected (problem, a, b, bias, before[i * N + j], i, j), 1e-6);
  g_assert_cmpfloat (c[M * N], ==, 123);
  g_assert_cmpint (computed, ==, problem->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F);
  pirl_matmul_free (matmul);
}

/* Every combination that the header allows. */
static void
test_products (void)
{
  PirlMatmulEngine *engine = pirl_matmul_engine_new (WORKSPACE, NULL);
  guint checked = 0;

  for (guint bits = 0; bits < 64; bits++) {
    const PirlMatmulProblem problem = { .m = M, .n = N, .k = K, .transpose_a = bits & 1,
      .transpose_b = (bits >> 1) & 1, .accumulate = (bits >> 2) & 1, .bias = (bits >> 3) & 1,
      .relu = (bits >> 4) & 1, .tf32 = (bits >> 5) & 1 };

    if (problem.accumulate && (problem.bias || problem.relu))
      continue;
    check_product (engine, &problem);
    checked++;
  }
  g_assert_cmpuint (checked, ==, 40);
  pirl_matmul_engine_free (engine);
  g_assert_cmpuint (alive, ==, 0);
}

static void
test_refusals (void)
{
  PirlMatmulEngine *engine = pirl_matmul_engine_new (WORKSPACE, NULL);
  PirlMatmulProblem problem = { .m = M, .n = N, .k = K };
  GError *error = NULL;

  no_algorithm = 1;
  g_assert_null (pirl_matmul_new (engine, &problem, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "5 x 3 and 3 x 7"));
  g_clear_error (&error);
  problem.accumulate = problem.bias = TRUE;
  g_assert_null (pirl_matmul_new (engine, &problem, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  problem = (PirlMatmulProblem) { .m = M, .n = 0, .k = K };
  g_assert_null (pirl_matmul_new (engine, &problem, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  pirl_matmul_engine_free (engine);
  g_assert_cmpuint (alive, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cuda-matmul/products", test_products);
  g_test_add_func ("/cuda-matmul/refusals", test_refusals);
  return g_test_run ();
}
