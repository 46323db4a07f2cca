/* gst-pirl: products of matrices of floats for the CUDA backend, through cuBLASLt.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Matrices are row-major. (tests/emulator has a naive implementation of this header.)
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

/** c [m][n] = op (a) op (b) [+ c] [+ bias [n]] [, then ReLU]; op (a) is [m][k], op (b) [k][n]. */
typedef struct {
  gint m, n, k;
  gboolean transpose_a, transpose_b;    /* a is [k][m]; b is [n][k] */
  gboolean accumulate;          /* adds to c */
  gboolean bias, relu;          /* not with accumulate */
  gboolean tf32;
} PirlMatmulProblem;

typedef struct _PirlMatmulEngine PirlMatmulEngine;
typedef struct _PirlMatmul PirlMatmul;

PirlMatmulEngine *pirl_matmul_engine_new (gsize workspace, GError **error);
void pirl_matmul_engine_free (PirlMatmulEngine *engine);

/** The algorithm is chosen once, by cuBLASLt's heuristics. */
PirlMatmul *pirl_matmul_new (PirlMatmulEngine *engine, const PirlMatmulProblem *problem,
    GError **error);
void pirl_matmul_free (PirlMatmul *matmul);
gboolean pirl_matmul_run (PirlMatmul *matmul, const gfloat *a, const gfloat *b, gfloat *c,
    const gfloat *bias, gpointer workspace, cudaStream_t stream, GError **error);
