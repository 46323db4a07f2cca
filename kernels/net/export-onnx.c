/* gst-pirl: a network as an ONNX model.
 *
 * Operators of opset 10, chosen so that ONNX Runtime and OpenCV's DNN module (4.6 and later) read
 * them alike: Conv with batch norm folded in, Relu, Clip, Add, MaxPool, GlobalAveragePool, Flatten,
 * Gemm; unit length is written as PyTorch's normalize() is. One input "images", float32
 * [batch,3,S,S], RGB; one output [batch,D] named after the layer; batch is free.
 *
 * Field numbers are those of the ONNX specification (onnx/onnx, docs/IR.md and its proto).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/export-private.h"

#include <math.h>
#include <string.h>

#include "base/protobuf.h"

#define INPUT "images"
#define IR_VERSION 5            /* the one that came with the opset */
#define OPSET 10                /* the last whose Clip has its limits as OpenCV 4.6 wants them */
#define BATCH "batch"
#define L2_LEAST 1e-12f         /* of a length that is divided by */

/* --- field numbers --- */

enum { MODEL_IR_VERSION = 1, MODEL_PRODUCER = 2, MODEL_GRAPH = 7, MODEL_OPSET = 8,
  MODEL_METADATA = 14 };
enum { OPSET_DOMAIN = 1, OPSET_VERSION = 2 };
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11,
  GRAPH_OUTPUT = 12 };
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OPERATOR = 4, NODE_ATTRIBUTE = 5 };
enum { ATTRIBUTE_NAME = 1, ATTRIBUTE_FLOAT = 2, ATTRIBUTE_INT = 3, ATTRIBUTE_INTS = 8,
  ATTRIBUTE_TYPE = 20 };
enum { TYPE_FLOAT = 1, TYPE_INT = 2, TYPE_INTS = 7 };
enum { TENSOR_DIM = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_DATA = 9 };
enum { ELEMENT_FLOAT = 1 };
enum { VALUE_NAME = 1, VALUE_TYPE = 2, TYPE_TENSOR = 1, TENSOR_ELEMENT = 1, TENSOR_SHAPE = 2,
  SHAPE_DIM = 1, DIM_VALUE = 1, DIM_NAME = 2 };

/* --- the model under construction --- */

/* A node with one output, which has the node's name unless it is the model's. */
typedef struct {
  const gchar *operator;
  gchar *name;
  const gchar *output;
  gchar *inputs[5];
  GByteArray *attributes;       /* fields of the node */
} Node;

typedef struct {
  const PirlExportSource *source;
  GPtrArray *nodes;             /* Node, in order */
  GPtrArray *weights;           /* GByteArray: tensors */
  gchar **values;               /* by unit: what its output is called; NULL = not needed */
  GError *error;
} Onnx;

static void
node_free (gpointer data)
{
  Node *node = data;

  g_free (node->name);
  for (guint i = 0; i < G_N_ELEMENTS (node->inputs); i++)
    g_free (node->inputs[i]);
  g_byte_array_unref (node->attributes);
  g_free (node);
}

/* Appends a node "@stem@suffix" that reads @a and, where they are given, @b and @c. */
static Node *
add_node (Onnx *onnx, const gchar *operator, const gchar *stem, const gchar *suffix,
    const gchar *a, const gchar *b, const gchar *c)
{
  Node *node = g_new0 (Node, 1);

  node->operator = operator;
  node->name = g_strconcat (stem, suffix, NULL);
  node->output = node->name;
  node->inputs[0] = g_strdup (a);
  node->inputs[1] = g_strdup (b);
  node->inputs[2] = g_strdup (c);
  node->attributes = g_byte_array_new ();
  g_ptr_array_add (onnx->nodes, node);
  return node;
}

static void
add_float (Node *node, const gchar *name, gfloat value)
{
  GByteArray *attribute = g_byte_array_new ();

  pirl_protobuf_string (attribute, ATTRIBUTE_NAME, name);
  pirl_protobuf_float (attribute, ATTRIBUTE_FLOAT, value);
  pirl_protobuf_int (attribute, ATTRIBUTE_TYPE, TYPE_FLOAT);
  pirl_protobuf_message (node->attributes, NODE_ATTRIBUTE, attribute);
}

static void
add_int (Node *node, const gchar *name, gint64 value)
{
  GByteArray *attribute = g_byte_array_new ();

  pirl_protobuf_string (attribute, ATTRIBUTE_NAME, name);
  pirl_protobuf_int (attribute, ATTRIBUTE_INT, value);
  pirl_protobuf_int (attribute, ATTRIBUTE_TYPE, TYPE_INT);
  pirl_protobuf_message (node->attributes, NODE_ATTRIBUTE, attribute);
}

/* @n times @value. */
static void
add_ints (Node *node, const gchar *name, gint64 value, guint n)
{
  GByteArray *attribute = g_byte_array_new ();

  pirl_protobuf_string (attribute, ATTRIBUTE_NAME, name);
  for (guint i = 0; i < n; i++)
    pirl_protobuf_int (attribute, ATTRIBUTE_INTS, value);
  pirl_protobuf_int (attribute, ATTRIBUTE_TYPE, TYPE_INTS);
  pirl_protobuf_message (node->attributes, NODE_ATTRIBUTE, attribute);
}

/* Adds a constant "@stem@suffix"; its name, transfer full. */
static gchar *
add_tensor (Onnx *onnx, const gchar *stem, const gchar *suffix, const PirlShape *shape,
    const gfloat *values)
{
  GByteArray *tensor = g_byte_array_new ();
  gchar *name = g_strconcat (stem, suffix, NULL);

  for (guint i = 0; i < shape->rank; i++)
    pirl_protobuf_int (tensor, TENSOR_DIM, shape->dim[i]);
  pirl_protobuf_int (tensor, TENSOR_TYPE, ELEMENT_FLOAT);
  pirl_protobuf_string (tensor, TENSOR_NAME, name);
  pirl_protobuf_bytes (tensor, TENSOR_DATA, values, pirl_shape_count (shape) * sizeof *values);
  g_ptr_array_add (onnx->weights, tensor);
  return name;
}

/* --- parameters --- */

static const PirlParamSpec *
unit_spec (const Onnx *onnx, const PirlUnit *unit, PirlSlot slot)
{
  return unit->param[slot] < 0 ? NULL
      : g_ptr_array_index (onnx->source->graph->params, unit->param[slot]);
}

/* NULL (and the error kept) where the file's are no numbers, NULL where the unit has none. */
static gfloat *
unit_values (Onnx *onnx, const PirlUnit *unit, PirlSlot slot)
{
  const PirlParamSpec *spec = unit_spec (onnx, unit, slot);

  return spec && !onnx->error ? pirl_export_values (onnx->source, spec, &onnx->error) : NULL;
}

/* What batch norm does to a channel: x * scale + shift, in place of its weight and bias. */
static gboolean
unit_affine (Onnx *onnx, const PirlUnit *unit, gdouble **scale, gdouble **shift)
{
  g_autofree gfloat *weight = unit_values (onnx, unit, PIRL_SLOT_BN_WEIGHT);
  g_autofree gfloat *bias = unit_values (onnx, unit, PIRL_SLOT_BN_BIAS);
  g_autofree gfloat *mean = unit_values (onnx, unit, PIRL_SLOT_BN_MEAN);
  g_autofree gfloat *variance = unit_values (onnx, unit, PIRL_SLOT_BN_VAR);
  const gint channels = unit->desc.output.c;

  if (onnx->error)
    return FALSE;
  *scale = g_new (gdouble, channels);
  *shift = g_new (gdouble, channels);
  for (gint c = 0; c < channels; c++) {
    (*scale)[c] = weight[c] / sqrt (variance[c] + PIRL_BN_EPSILON);
    (*shift)[c] = bias[c] - mean[c] * (*scale)[c];
  }
  return TRUE;
}

/* "layer1.0.conv1" of "layer1.0.conv1.weight"; transfer full. */
static gchar *
unit_stem (const Onnx *onnx, const PirlUnit *unit)
{
  const PirlSlot slot = unit->param[PIRL_SLOT_WEIGHT] >= 0 ? PIRL_SLOT_WEIGHT
      : PIRL_SLOT_BN_WEIGHT;
  const PirlParamSpec *spec = unit_spec (onnx, unit, slot);

  return g_strndup (spec->name, strlen (spec->name) - strlen (".weight"));
}

/* --- units --- */

static const gchar *
input_of (const Onnx *onnx, const PirlUnit *unit)
{
  return onnx->values[unit->input];
}

static const gchar *
add_activation (Onnx *onnx, PirlActivation activation, const gchar *stem, const gchar *x)
{
  Node *node;

  if (activation == PIRL_ACT_RELU)
    return add_node (onnx, "Relu", stem, ".relu", x, NULL, NULL)->name;
  if (activation == PIRL_ACT_NONE)
    return x;
  node = add_node (onnx, "Clip", stem, ".relu6", x, NULL, NULL);
  add_float (node, "min", 0);
  add_float (node, "max", 6);
  return node->name;
}

/* Normalises pixels, or nothing: a convolution a channel, since OpenCV 4.6 takes constants off the
 * first picture of a batch only. */
static const gchar *
add_input (Onnx *onnx, const PirlUnit *unit)
{
  const PirlShape shape = { 4, {3, 1, 1, 1} }, vector = { 1, {3} };
  g_autofree gchar *weight = NULL, *bias = NULL;
  gfloat scales[3], shifts[3];
  Node *node;

  if (!onnx->source->preprocess)
    return INPUT;
  for (guint c = 0; c < 3; c++) {
    scales[c] = (gfloat) (1 / (255.0 * unit->desc.std[c]));
    shifts[c] = (gfloat) (-(gdouble) unit->desc.mean[c] / unit->desc.std[c]);
  }
  weight = add_tensor (onnx, "normalise", ".weight", &shape, scales);
  bias = add_tensor (onnx, "normalise", ".bias", &vector, shifts);
  node = add_node (onnx, "Conv", "normalise", "", INPUT, weight, bias);
  add_ints (node, "kernel_shape", 1, 2);
  add_int (node, "group", 3);
  return node->name;
}

static const gchar *
add_conv (Onnx *onnx, const PirlUnit *unit)
{
  const PirlParamSpec *spec = unit_spec (onnx, unit, PIRL_SLOT_WEIGHT);
  const gint channels = unit->desc.output.c;
  const gsize row = pirl_shape_count (&spec->shape) / channels;
  const PirlShape vector = { 1, {channels} };
  g_autofree gchar *stem = unit_stem (onnx, unit), *weight = NULL, *bias = NULL;
  g_autofree gfloat *values = unit_values (onnx, unit, PIRL_SLOT_WEIGHT);
  g_autofree gfloat *biases = g_new (gfloat, channels);
  g_autofree gdouble *scale = NULL, *shift = NULL;
  const gchar *x;
  Node *node;

  if (!unit_affine (onnx, unit, &scale, &shift))
    return NULL;
  for (gint c = 0; c < channels; c++) {
    for (gsize i = 0; i < row; i++)
      values[c * row + i] = (gfloat) (values[c * row + i] * scale[c]);
    biases[c] = (gfloat) shift[c];
  }
  weight = add_tensor (onnx, stem, ".weight", &spec->shape, values);
  bias = add_tensor (onnx, stem, ".bias", &vector, biases);
  node = add_node (onnx, "Conv", stem, "", input_of (onnx, unit), weight, bias);
  add_ints (node, "kernel_shape", unit->desc.kernel, 2);
  add_ints (node, "strides", unit->desc.stride, 2);
  add_ints (node, "pads", unit->desc.padding, 4);
  add_int (node, "group", unit->desc.groups);
  x = node->name;
  if (unit->residual != PIRL_NO_VALUE)
    x = add_node (onnx, "Add", stem, ".add", x, onnx->values[unit->residual], NULL)->name;
  return add_activation (onnx, unit->desc.activation, stem, x);
}

static const gchar *
add_maxpool (Onnx *onnx, const PirlUnit *unit)
{
  Node *node = add_node (onnx, "MaxPool", "maxpool", "", input_of (onnx, unit), NULL, NULL);

  add_ints (node, "kernel_shape", unit->desc.kernel, 2);
  add_ints (node, "strides", unit->desc.stride, 2);
  add_ints (node, "pads", unit->desc.padding, 4);
  return node->name;
}

static const gchar *
add_avgpool (Onnx *onnx, const PirlUnit *unit)
{
  Node *node = add_node (onnx, "GlobalAveragePool", "avgpool", "", input_of (onnx, unit), NULL,
      NULL);

  node = add_node (onnx, "Flatten", "flatten", "", node->name, NULL, NULL);
  add_int (node, "axis", 1);
  return node->name;
}

static const gchar *
add_linear (Onnx *onnx, const PirlUnit *unit)
{
  const PirlParamSpec *weight_spec = unit_spec (onnx, unit, PIRL_SLOT_WEIGHT);
  const PirlParamSpec *bias_spec = unit_spec (onnx, unit, PIRL_SLOT_BIAS);
  g_autofree gchar *stem = unit_stem (onnx, unit), *weight = NULL, *bias = NULL;
  g_autofree gfloat *weights = unit_values (onnx, unit, PIRL_SLOT_WEIGHT);
  g_autofree gfloat *biases = unit_values (onnx, unit, PIRL_SLOT_BIAS);
  Node *node;

  if (onnx->error)
    return NULL;
  weight = add_tensor (onnx, stem, ".weight", &weight_spec->shape, weights);
  bias = add_tensor (onnx, stem, ".bias", &bias_spec->shape, biases);
  node = add_node (onnx, "Gemm", stem, "", input_of (onnx, unit), weight, bias);
  add_int (node, "transB", 1);
  return add_activation (onnx, unit->desc.activation, stem, node->name);
}

/* Of vectors. */
static const gchar *
add_batchnorm (Onnx *onnx, const PirlUnit *unit)
{
  static const PirlSlot slots[] = {
    PIRL_SLOT_BN_WEIGHT, PIRL_SLOT_BN_BIAS, PIRL_SLOT_BN_MEAN, PIRL_SLOT_BN_VAR
  };
  g_autofree gchar *stem = unit_stem (onnx, unit);
  Node *node = add_node (onnx, "BatchNormalization", stem, "", input_of (onnx, unit), NULL, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (slots); i++) {
    const PirlParamSpec *spec = unit_spec (onnx, unit, slots[i]);
    g_autofree gfloat *values = unit_values (onnx, unit, slots[i]);

    if (!values)
      return NULL;
    node->inputs[i + 1] = add_tensor (onnx, spec->name, "", &spec->shape, values);
  }
  add_float (node, "epsilon", (gfloat) PIRL_BN_EPSILON);
  return add_activation (onnx, unit->desc.activation, stem, node->name);
}

/* Rows of unit length, in the five operators that readers know as one. */
static const gchar *
add_l2norm (Onnx *onnx, const PirlUnit *unit)
{
  const gchar *x = input_of (onnx, unit);
  Node *node = add_node (onnx, "ReduceL2", "norm", "", x, NULL, NULL);

  add_ints (node, "axes", 1, 1);
  add_int (node, "keepdims", 1);
  node = add_node (onnx, "Clip", "norm", ".clip", "norm", NULL, NULL);
  add_float (node, "min", L2_LEAST);
  add_node (onnx, "Shape", "norm", ".shape", x, NULL, NULL);
  add_node (onnx, "Expand", "norm", ".expand", "norm.clip", "norm.shape", NULL);
  return add_node (onnx, "Div", "norm", ".div", x, "norm.expand", NULL)->name;
}

/* Appends @unit's nodes; what its output is called, NULL on error. */
static const gchar *
add_unit (Onnx *onnx, const PirlUnit *unit)
{
  switch (unit->desc.kind) {
    case PIRL_UNIT_INPUT:
      return add_input (onnx, unit);
    case PIRL_UNIT_CONV:
      return add_conv (onnx, unit);
    case PIRL_UNIT_MAXPOOL:
      return add_maxpool (onnx, unit);
    case PIRL_UNIT_AVGPOOL:
      return add_avgpool (onnx, unit);
    case PIRL_UNIT_LINEAR:
      return add_linear (onnx, unit);
    case PIRL_UNIT_BATCHNORM:
      return add_batchnorm (onnx, unit);
    case PIRL_UNIT_L2NORM:
      return add_l2norm (onnx, unit);
    default:
      g_set_error (&onnx->error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
          "units of kind %d have no counterpart in ONNX here", unit->desc.kind);
      return NULL;
  }
}

/* Which units the output needs. */
static gboolean *
find_needed (const PirlGraph *graph, PirlValue output)
{
  gboolean *needed = g_new0 (gboolean, graph->units->len);

  needed[output] = TRUE;
  for (PirlValue v = output; v >= 0; v--) {
    const PirlUnit *unit = &g_array_index (graph->units, PirlUnit, v);

    if (needed[v] && unit->input != PIRL_NO_VALUE)
      needed[unit->input] = TRUE;
    if (needed[v] && unit->residual != PIRL_NO_VALUE)
      needed[unit->residual] = TRUE;
  }
  return needed;
}

static gboolean
add_units (Onnx *onnx)
{
  const PirlExportSource *source = onnx->source;
  g_autofree gboolean *needed = find_needed (source->graph, source->output);
  Node *last;

  for (PirlValue v = 0; v <= source->output; v++)
    if (needed[v]) {
      const PirlUnit *unit = &g_array_index (source->graph->units, PirlUnit, v);
      const gchar *name = add_unit (onnx, unit);

      if (!name)
        return FALSE;
      onnx->values[v] = g_strdup (name);
    }
  last = g_ptr_array_index (onnx->nodes, onnx->nodes->len - 1);
  last->output = source->layer;
  return TRUE;
}

/* --- writing --- */

static GByteArray *
node_message (const Node *node)
{
  GByteArray *message = g_byte_array_new ();

  for (guint i = 0; i < G_N_ELEMENTS (node->inputs) && node->inputs[i]; i++)
    pirl_protobuf_string (message, NODE_INPUT, node->inputs[i]);
  pirl_protobuf_string (message, NODE_OUTPUT, node->output);
  pirl_protobuf_string (message, NODE_NAME, node->name);
  pirl_protobuf_string (message, NODE_OPERATOR, node->operator);
  g_byte_array_append (message, node->attributes->data, node->attributes->len);
  return message;
}

/* float32, any number of samples of @dims; vectors where it is a row. */
static GByteArray *
value_message (const gchar *name, PirlDims dims)
{
  const gint sizes[] = { dims.c, dims.h, dims.w };
  GByteArray *value = g_byte_array_new (), *type = g_byte_array_new ();
  GByteArray *tensor = g_byte_array_new (), *shape = g_byte_array_new ();
  GByteArray *batch = g_byte_array_new ();

  pirl_protobuf_string (batch, DIM_NAME, BATCH);
  pirl_protobuf_message (shape, SHAPE_DIM, batch);
  for (guint i = 0; i < (dims.h == 1 && dims.w == 1 ? 1 : G_N_ELEMENTS (sizes)); i++) {
    GByteArray *dim = g_byte_array_new ();

    pirl_protobuf_int (dim, DIM_VALUE, sizes[i]);
    pirl_protobuf_message (shape, SHAPE_DIM, dim);
  }
  pirl_protobuf_int (tensor, TENSOR_ELEMENT, ELEMENT_FLOAT);
  pirl_protobuf_message (tensor, TENSOR_SHAPE, shape);
  pirl_protobuf_message (type, TYPE_TENSOR, tensor);
  pirl_protobuf_string (value, VALUE_NAME, name);
  pirl_protobuf_message (value, VALUE_TYPE, type);
  return value;
}

static GByteArray *
graph_message (Onnx *onnx)
{
  const PirlExportSource *source = onnx->source;
  GByteArray *graph = g_byte_array_new ();

  for (guint i = 0; i < onnx->nodes->len; i++)
    pirl_protobuf_message (graph, GRAPH_NODE, node_message (onnx->nodes->pdata[i]));
  pirl_protobuf_string (graph, GRAPH_NAME, pirl_trunk_name (&source->info.trunk));
  for (guint i = 0; i < onnx->weights->len; i++) {
    GByteArray *weight = onnx->weights->pdata[i];

    pirl_protobuf_bytes (graph, GRAPH_INITIALIZER, weight->data, weight->len);
  }
  pirl_protobuf_message (graph, GRAPH_INPUT,
      value_message (INPUT, pirl_graph_dims (source->graph, 0)));
  pirl_protobuf_message (graph, GRAPH_OUTPUT,
      value_message (source->layer, pirl_graph_dims (source->graph, source->output)));
  return graph;
}

static void
add_metadata (GByteArray *model, const gchar *key, const gchar *value)
{
  GByteArray *entry = g_byte_array_new ();

  pirl_protobuf_string (entry, ENTRY_KEY, key);
  pirl_protobuf_string (entry, ENTRY_VALUE, value);
  pirl_protobuf_message (model, MODEL_METADATA, entry);
}

/* What a program must know to feed it, under the names that our safetensors have. */
static void
add_all_metadata (const PirlExportSource *source, GByteArray *model)
{
  const PirlModelInfo *info = &source->info;
  const gchar *class_names = pirl_safetensors_metadata (source->file, "class_names");
  g_autofree gchar *size = g_strdup_printf ("%d", info->input_size);
  g_autofree gchar *resize = g_strdup_printf ("%d", info->resize);
  g_autofree gchar *mean = pirl_export_triple (info->mean, 1);
  g_autofree gchar *std = pirl_export_triple (info->std, 1);
  g_autofree gchar *hash = pirl_model_hash (source->file);
  const gchar *const entries[][2] = {
    {"architecture", pirl_trunk_name (&info->trunk)}, {"layer", source->layer},
    {"input_size", size}, {"resize", resize}, {"mean", mean}, {"std", std}, {"weights", hash},
    {"input", source->preprocess ? "RGB, 0..255" : "RGB, 0..1, minus mean, divided by std"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (entries); i++)
    add_metadata (model, entries[i][0], entries[i][1]);
  if (class_names)
    add_metadata (model, "class_names", class_names);
}

static gboolean
write_model (Onnx *onnx, const gchar *path, GError **error)
{
  g_autoptr (GByteArray) model = g_byte_array_new ();
  GByteArray *opset = g_byte_array_new ();

  pirl_protobuf_string (opset, OPSET_DOMAIN, "");
  pirl_protobuf_int (opset, OPSET_VERSION, OPSET);
  pirl_protobuf_int (model, MODEL_IR_VERSION, IR_VERSION);
  pirl_protobuf_string (model, MODEL_PRODUCER, "gst-pirl");
  pirl_protobuf_message (model, MODEL_OPSET, opset);
  add_all_metadata (onnx->source, model);
  pirl_protobuf_message (model, MODEL_GRAPH, graph_message (onnx));
  return pirl_export_write (path, model->data, model->len, error);
}

static gchar *
onnx_text (const PirlExportSource *source)
{
  const PirlModelInfo *info = &source->info;
  g_autofree gchar *mean = pirl_export_triple (info->mean, 1);
  g_autofree gchar *std = pirl_export_triple (info->std, 1);
  g_autofree gchar *range = source->preprocess ? g_strdup ("0..255 (blobFromImage with swapRB)")
      : g_strdup_printf ("0..1, minus %s, divided by %s", mean, std);

  return g_strdup_printf ("ONNX opset %d\n"
      "input:  " INPUT ", float32 [" BATCH ",3,%d,%d], RGB %s\n"
      "output: %s, float32 [" BATCH ",%d]\n"
      "pictures: short side to %d, centre crop %d\n",
      OPSET, info->input_size, info->input_size, range, source->layer,
      pirl_graph_dims (source->graph, source->output).c, info->resize, info->input_size);
}

gchar *
pirl_export_onnx (const PirlExportSource *source, const gchar *path, GError **error)
{
  g_autoptr (GPtrArray) nodes = g_ptr_array_new_with_free_func (node_free);
  g_autoptr (GPtrArray) weights =
      g_ptr_array_new_with_free_func ((GDestroyNotify) g_byte_array_unref);
  Onnx onnx = { .source = source, .nodes = nodes, .weights = weights };
  gboolean ok;

  onnx.values = g_new0 (gchar *, source->graph->units->len);
  ok = add_units (&onnx) && write_model (&onnx, path, error);
  for (guint v = 0; v < source->graph->units->len; v++)
    g_free (onnx.values[v]);
  g_free (onnx.values);
  if (onnx.error)
    g_propagate_error (error, onnx.error);
  return ok ? onnx_text (source) : NULL;
}
