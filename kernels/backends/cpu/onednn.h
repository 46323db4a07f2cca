/* gst-pirl: the part of oneDNN that the CPU backend uses, and nothing of oneDNN in its interface.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An *operation* is a oneDNN primitive with its memory objects; a *format* says how a tensor lies
 * in memory. Operations are created and run under the same number of OpenMP threads, since oneDNN
 * divides the work when it creates. None of this is thread safe for one object.
 */
#pragma once

#include "backends/backend.h"

typedef struct _PirlDnn PirlDnn;
typedef struct _PirlDnnFormat PirlDnnFormat;
typedef struct _PirlDnnOp PirlDnnOp;

/** The operands of operations. */
typedef enum {
  PIRL_DNN_SRC,
  PIRL_DNN_WEIGHTS,
  PIRL_DNN_BIAS,
  PIRL_DNN_DST,
  PIRL_DNN_D_SRC,
  PIRL_DNN_D_WEIGHTS,
  PIRL_DNN_D_BIAS,
  PIRL_DNN_D_DST,
  PIRL_DNN_WORKSPACE,
  PIRL_DNN_SCRATCHPAD,
  PIRL_DNN_N_OPERANDS,
} PirlDnnOperand;

typedef enum {
  PIRL_DNN_FORWARD,
  PIRL_DNN_BACKWARD_DATA,
  PIRL_DNN_BACKWARD_WEIGHTS,
} PirlDnnPass;

/** How a dense tensor is ordered, outermost first:
 * planes n,c,h,w, rows n,h,w,c, places h,w,n,c, blocks n,c/16,h,w,16. */
typedef enum { PIRL_DNN_PLANES, PIRL_DNN_ROWS, PIRL_DNN_PLACES, PIRL_DNN_BLOCKS } PirlDnnOrder;

/** What own loops need to know of a format; distances in elements. */
typedef struct {
  gint lanes;                   /* channels side by side: 8, 16 blocked; 1 planes; 0 = all */
  gint channels;                /* with the padding of blocked formats */
  gsize sample_step;            /* from one sample to the next */
  gsize stride;                 /* from one place of a picture to the next */
} PirlDnnLayout;

/** Engine (shared by the process) and stream. Free with pirl_dnn_close(). */
PirlDnn *pirl_dnn_open (GError **error);
void pirl_dnn_close (PirlDnn *dnn);
/** "oneDNN 2.6.3, avx512_core_amx"; transfer full. */
gchar *pirl_dnn_describe (void);
/** TRUE when the processor multiplies bf16 by itself. */
gboolean pirl_dnn_has_bf16 (void);

/** Formats; free with pirl_dnn_format_free(). NULL for an element type oneDNN lacks. */
PirlDnnFormat *pirl_dnn_format_dense (PirlDims dims, PirlDType dtype, PirlDnnOrder order);
/** Weights [out][in/groups][k][k] in this order. */
PirlDnnFormat *pirl_dnn_format_weights (const PirlUnitDesc *unit);
/** The same numbers as k x k matrices [out][in]; no groups. */
PirlDnnFormat *pirl_dnn_format_tap_weights (const PirlUnitDesc *unit);
PirlDnnFormat *pirl_dnn_format_copy (const PirlDnnFormat *format);
void pirl_dnn_format_free (PirlDnnFormat *format);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlDnnFormat, pirl_dnn_format_free)
gsize pirl_dnn_format_bytes (const PirlDnnFormat *format);
/** TRUE when every element has the same place and type in both. */
gboolean pirl_dnn_format_same (const PirlDnnFormat *a, const PirlDnnFormat *b);
/** FALSE when own loops cannot walk it. */
gboolean pirl_dnn_format_layout (const PirlDnnFormat *format, PirlDnnLayout *layout);

/** A convolution to be created; @src, @dst: formats (or their gradients'); NULL: oneDNN chooses. */
typedef struct {
  PirlDnnPass pass;
  const PirlUnitDesc *unit;     /* its bias is taken from here */
  const PirlDnnFormat *src, *dst;
  gboolean bias;
  gboolean add;                 /* FORWARD: adds to what is in DST, before the activation */
  PirlActivation activation;    /* FORWARD */
} PirlDnnConv;

PirlDnnOp *pirl_dnn_conv_new (PirlDnn *dnn, const PirlDnnConv *conv, GError **error);
/** @forward: NULL for the forward operation itself, else the backward one is made for it. */
PirlDnnOp *pirl_dnn_maxpool_new (PirlDnn *dnn, const PirlUnitDesc *unit, const PirlDnnFormat *src,
    const PirlDnnOp *forward, GError **error);
/** DST = SRC, or DST += SRC with @add. */
PirlDnnOp *pirl_dnn_reorder_new (PirlDnn *dnn, const PirlDnnFormat *from, const PirlDnnFormat *to,
    gboolean add, GError **error);
void pirl_dnn_op_free (PirlDnnOp *op);
/** The format of an operand; NULL where the operation has no such operand. Owned by @op. */
const PirlDnnFormat *pirl_dnn_op_format (const PirlDnnOp *op, PirlDnnOperand operand);
gsize pirl_dnn_op_bytes (const PirlDnnOp *op, PirlDnnOperand operand);
/** TRUE when oneDNN has only its slow plain C loops for this. */
gboolean pirl_dnn_op_is_slow (const PirlDnnOp *op);
/** @memory: by operand; the scratchpad is one of them. */
gboolean pirl_dnn_op_run (PirlDnnOp *op, gpointer const *memory, GError **error);

/** Row-major C[m][n] = A[m][k] B[k][n] + beta C; a transposed operand is stored the other way. */
typedef struct {
  gboolean transpose_a, transpose_b;
  gsize m, n, k;
  const gfloat *a, *b;
  gfloat beta;
  gfloat *c;
} PirlDnnGemm;

gboolean pirl_dnn_gemm (const PirlDnnGemm *gemm, GError **error);
