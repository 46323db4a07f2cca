/* gst-pirl: dense convolutions of the CUDA backend, through cuDNN's graph API.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tensors are NHWC in one type (F32, F16, BF16), weights [out][k][k][in] in that type; products are
 * summed in float. Channels are what is stored: a multiple of 4 for inputs of F16 and F32, of 8
 * otherwise. (tests/emulator has a naive implementation of this header, without cuDNN.)
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

typedef enum {
  PIRL_CONV_FORWARD,            /* output = conv (input, weight) */
  PIRL_CONV_FORWARD_SUMS,       /* the same; sum[c], squares[c] = sums over the output of y, y^2 */
  PIRL_CONV_FORWARD_EPILOGUE,   /* output = act (conv (input, weight) + bias [+ residual]) */
  PIRL_CONV_D_INPUT,            /* input = gradient of it from output's gradient and weight */
  PIRL_CONV_D_WEIGHT,           /* weight = gradient of it from input and output's gradient */
  PIRL_N_CONV_KINDS
} PirlConvKind;

typedef struct {
  PirlConvKind kind;
  PirlDType dtype;
  gboolean tf32;                /* F32: products may be rounded to 11 bits */
  gboolean deterministic;       /* the same bits every time: no atomic sums, no timing */
  PirlDims input, output;       /* c: stored channels */
  gint kernel, stride, padding; /* square, zeros */
  PirlActivation activation;    /* of the epilogue */
  gboolean residual;            /* of the epilogue */
  gboolean prologue;            /* F16, of FORWARD_SUMS and D_WEIGHT: what is convolved is
                                 * relu (scale input + shift), by channel; zeros pad it */
} PirlConvProblem;

/** All device memory. D_INPUT writes @input, D_WEIGHT writes @weight. @sum, @squares, @bias:
 * floats, one a channel of the output. */
typedef struct {
  gpointer input, weight, output;
  gfloat *sum, *squares;
  const gfloat *bias;
  gconstpointer residual;
  gconstpointer scale, shift;   /* of the prologue: one a channel of the input, in its type */
} PirlConvTensors;

typedef struct _PirlConvEngine PirlConvEngine;
typedef struct _PirlConv PirlConv;

/** @device_json: NULL = the current device; else the description of one that is not there, for
 * looking at plans (they cannot run). @workspace: the most bytes a plan may use.
 * %PIRL_ERROR_UNSUPPORTED says what of cuDNN is missing or too old. */
PirlConvEngine *pirl_conv_engine_new (const gchar *device_json, gsize workspace, GError **error);
void pirl_conv_engine_free (PirlConvEngine *engine);
/** "cuDNN 9.19.0". */
const gchar *pirl_conv_engine_description (const PirlConvEngine *engine);

/** The best plan: by cuDNN's heuristics, and on a device that is there, unless @deterministic, by
 * timing the first of them; what was chosen is kept in a file under the user's cache folder, by
 * problem, card and cuDNN version. Uses the device's memory while it times.
 *
 * %PIRL_ERROR_UNSUPPORTED when cuDNN has no plan within the workspace, and for FORWARD_SUMS and
 * FORWARD_EPILOGUE also when timing shows that FORWARD and a pass over its output of the caller's
 * take less: callers fall back to that. The text has the problem in words.
 *
 * With a prologue FORWARD_SUMS and D_WEIGHT are judged together, when the first is planned: it is
 * refused so, too, unless timing shows that both take less than both without one and the pass that
 * reads the input and writes what they would read. On a device that is there only @deterministic
 * ones come unjudged. */
PirlConv *pirl_conv_new (PirlConvEngine *engine, const PirlConvProblem *problem, GError **error);
void pirl_conv_free (PirlConv *conv);
/** Queues it on @stream. @workspace: at least pirl_conv_workspace() bytes. */
gboolean pirl_conv_run (PirlConv *conv, const PirlConvTensors *tensors, gpointer workspace,
    cudaStream_t stream, GError **error);
gsize pirl_conv_workspace (const PirlConv *conv);
/** "forward 3x3/1 64x56x56x64 -> 64, F16: engine 62, workspace 0 B, 0.123 ms (of 8 tried)";
 * owned by @conv. */
const gchar *pirl_conv_description (const PirlConv *conv);
/** The problem in words, as above before the colon; transfer full. */
gchar *pirl_conv_problem_describe (const PirlConvProblem *problem);
