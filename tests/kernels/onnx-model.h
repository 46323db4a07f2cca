/* gst-pirl: a small reader and evaluator of ONNX files, for tests.
 *
 * Reads the wire format by itself (nothing is shared with the writer), knows the operators that our
 * exports have, and computes them in the plainest way, in double.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/base.h"

typedef struct {
  guint rank;
  gint64 dim[4];
  gdouble *values;
} OnnxTensor;

typedef struct {
  gchar *operator, *name, *output;
  GPtrArray *inputs;            /* gchar * */
  GHashTable *ints;             /* name -> GArray of gint64 */
  GHashTable *floats;           /* name -> gdouble * */
} OnnxNode;

typedef struct {
  gint64 ir_version, opset;
  gchar *producer, *graph, *input, *output;
  gchar *input_dims, *output_dims;      /* "batch,3,32,32" */
  GPtrArray *nodes;             /* OnnxNode */
  GHashTable *tensors;          /* name -> OnnxTensor: weights, then what was computed */
  guint weights;
  GHashTable *metadata;
} OnnxModel;

/** Asserts that every byte is accounted for. */
OnnxModel *onnx_model_read (const gchar *path);
void onnx_model_free (OnnxModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (OnnxModel, onnx_model_free)

/** Computes the output for @n inputs of 3 x @size x @size; belongs to the model. Asserts that names
 * are defined once and before they are used. */
const OnnxTensor *onnx_model_run (OnnxModel *model, const gfloat *input, gint n, gint size);
