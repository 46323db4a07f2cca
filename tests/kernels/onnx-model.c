/* gst-pirl: a small reader and evaluator of ONNX files, for tests (see onnx-model.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "onnx-model.h"

#include <math.h>
#include <string.h>

/* --- wire format --- */

typedef struct {
  const guint8 *at, *end;
} Bytes;

typedef struct {
  guint number, wire;
  guint64 value;                /* of varints and fixed numbers */
  Bytes bytes;                  /* of what has a length */
} Field;

static guint64
read_varint (Bytes *bytes)
{
  guint64 value = 0;

  for (guint shift = 0;; shift += 7) {
    g_assert_true (bytes->at < bytes->end && shift < 64);
    value |= (guint64) (*bytes->at & 0x7f) << shift;
    if (!(*bytes->at++ & 0x80))
      return value;
  }
}

static gboolean
read_field (Bytes *bytes, Field *field)
{
  guint64 tag;
  gsize size;

  if (bytes->at == bytes->end)
    return FALSE;
  tag = read_varint (bytes);
  field->number = (guint) (tag >> 3);
  field->wire = tag & 7;
  field->value = field->wire == 0 || field->wire == 2 ? read_varint (bytes) : 0;
  size = field->wire == 2 ? field->value : field->wire == 1 ? 8 : field->wire == 5 ? 4 : 0;
  g_assert_true (field->wire == 0 || size > 0 || field->wire == 2);
  g_assert_true (size <= (gsize) (bytes->end - bytes->at));
  if (field->wire == 1 || field->wire == 5)
    memcpy (&field->value, bytes->at, size);
  field->bytes = (Bytes) { bytes->at, bytes->at + size };
  bytes->at += size;
  return TRUE;
}

static gchar *
field_text (const Field *field)
{
  g_assert_cmpuint (field->wire, ==, 2);
  return g_strndup ((const gchar *) field->bytes.at,
      (gsize) (field->bytes.end - field->bytes.at));
}

/* --- messages --- */

static void
tensor_free (gpointer data)
{
  g_free (((OnnxTensor *) data)->values);
  g_free (data);
}

static gsize
tensor_count (const OnnxTensor *tensor)
{
  gsize n = 1;

  for (guint i = 0; i < tensor->rank; i++)
    n *= (gsize) tensor->dim[i];
  return n;
}

static OnnxTensor *
tensor_new (guint rank, gint64 a, gint64 b, gint64 c, gint64 d)
{
  OnnxTensor *tensor = g_new0 (OnnxTensor, 1);

  *tensor = (OnnxTensor) { rank, {a, b, c, d}, NULL };
  tensor->values = g_new0 (gdouble, tensor_count (tensor));
  return tensor;
}

static void
add_tensor (OnnxModel *model, gchar *name, OnnxTensor *tensor)
{
  g_assert_true (g_hash_table_insert (model->tensors, name, tensor));
}

static void
read_tensor (OnnxModel *model, Bytes bytes)
{
  OnnxTensor *tensor = g_new0 (OnnxTensor, 1);
  gchar *name = NULL;
  Bytes raw = { 0 };
  Field field;

  while (read_field (&bytes, &field))
    switch (field.number) {
      case 1:
        g_assert_cmpuint (tensor->rank, <, 4);
        tensor->dim[tensor->rank++] = (gint64) field.value;
        break;
      case 2:
        g_assert_cmpuint (field.value, ==, 1);  /* float32 */
        break;
      case 8:
        name = field_text (&field);
        break;
      case 9:
        raw = field.bytes;
        break;
      default:
        g_assert_not_reached ();
    }
  g_assert_cmpuint ((gsize) (raw.end - raw.at), ==, 4 * tensor_count (tensor));
  tensor->values = g_new (gdouble, tensor_count (tensor));
  for (gsize i = 0; i < tensor_count (tensor); i++) {
    gfloat value;

    memcpy (&value, raw.at + 4 * i, 4);
    tensor->values[i] = value;
  }
  add_tensor (model, name, tensor);
  model->weights++;
}

static void
read_attribute (OnnxNode *node, Bytes bytes)
{
  GArray *ints = g_array_new (FALSE, FALSE, sizeof (gint64));
  gdouble *number = g_new (gdouble, 1);
  gchar *name = NULL;
  gint64 type = 0, value;
  guint32 bits;
  gfloat real;
  Field field;

  while (read_field (&bytes, &field))
    switch (field.number) {
      case 1:
        name = field_text (&field);
        break;
      case 2:
        bits = (guint32) field.value;
        memcpy (&real, &bits, sizeof real);
        *number = real;
        break;
      case 3:
      case 8:
        value = (gint64) field.value;
        g_array_append_val (ints, value);
        break;
      case 20:
        type = (gint64) field.value;
        break;
      default:
        g_assert_not_reached ();
    }
  g_assert_true (type == 1 ? ints->len == 0 : type == 2 ? ints->len == 1 : type == 7);
  g_hash_table_insert (type == 1 ? node->floats : node->ints, name,
      type == 1 ? (gpointer) number : ints);
  if (type == 1)
    g_array_unref (ints);
  else
    g_free (number);
}

static void
node_free (gpointer data)
{
  OnnxNode *node = data;

  g_free (node->operator);
  g_free (node->name);
  g_free (node->output);
  g_ptr_array_unref (node->inputs);
  g_hash_table_unref (node->ints);
  g_hash_table_unref (node->floats);
  g_free (node);
}

static void
read_node (OnnxModel *model, Bytes bytes)
{
  OnnxNode *node = g_new0 (OnnxNode, 1);
  Field field;

  node->inputs = g_ptr_array_new_with_free_func (g_free);
  node->ints = g_hash_table_new_full (g_str_hash, g_str_equal, g_free,
      (GDestroyNotify) g_array_unref);
  node->floats = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  while (read_field (&bytes, &field)) {
    g_assert_true (field.number >= 1 && field.number <= 5);
    if (field.number == 1)
      g_ptr_array_add (node->inputs, field_text (&field));
    else if (field.number == 5)
      read_attribute (node, field.bytes);
    else
      *(field.number == 2 ? &node->output : field.number == 3 ? &node->name : &node->operator) =
          field_text (&field);
  }
  g_ptr_array_add (model->nodes, node);
}

/* The field @number of a message, which must be there once. */
static Field
only_field (Bytes bytes, guint number)
{
  Field field, found = { 0 };
  guint times = 0;

  while (read_field (&bytes, &field))
    if (field.number == number) {
      found = field;
      times++;
    }
  g_assert_cmpuint (times, ==, 1);
  return found;
}

static void
read_value (Bytes bytes, gchar **name, gchar **dims)
{
  const Field named = only_field (bytes, 1), type = only_field (bytes, 2);
  const Field tensor = only_field (type.bytes, 1);
  Bytes shape = only_field (tensor.bytes, 2).bytes;
  GString *text = g_string_new (NULL);
  Field dim, size;

  g_assert_cmpuint (only_field (tensor.bytes, 1).value, ==, 1);
  *name = field_text (&named);
  while (read_field (&shape, &dim)) {
    g_assert_true (read_field (&dim.bytes, &size));
    if (text->len)
      g_string_append_c (text, ',');
    if (size.number == 1)
      g_string_append_printf (text, "%" G_GUINT64_FORMAT, size.value);
    else
      g_string_append_len (text, (const gchar *) size.bytes.at, size.bytes.end - size.bytes.at);
  }
  *dims = g_string_free (text, FALSE);
}

static void
read_graph (OnnxModel *model, Bytes bytes)
{
  Field field;

  while (read_field (&bytes, &field))
    switch (field.number) {
      case 1:
        read_node (model, field.bytes);
        break;
      case 2:
        model->graph = field_text (&field);
        break;
      case 5:
        read_tensor (model, field.bytes);
        break;
      case 11:
        read_value (field.bytes, &model->input, &model->input_dims);
        break;
      case 12:
        read_value (field.bytes, &model->output, &model->output_dims);
        break;
      default:
        g_assert_not_reached ();
    }
}

OnnxModel *
onnx_model_read (const gchar *path)
{
  OnnxModel *model = g_new0 (OnnxModel, 1);
  g_autoptr (GError) error = NULL;
  g_autofree gchar *data = NULL;
  gsize size;
  Field field, key, value;
  Bytes bytes;

  g_file_get_contents (path, &data, &size, &error);
  g_assert_no_error (error);
  bytes = (Bytes) { (const guint8 *) data, (const guint8 *) data + size };
  model->nodes = g_ptr_array_new_with_free_func (node_free);
  model->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, tensor_free);
  model->metadata = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  while (read_field (&bytes, &field))
    switch (field.number) {
      case 1:
        model->ir_version = (gint64) field.value;
        break;
      case 2:
        model->producer = field_text (&field);
        break;
      case 7:
        read_graph (model, field.bytes);
        break;
      case 8:
        model->opset = (gint64) only_field (field.bytes, 2).value;
        break;
      case 14:
        key = only_field (field.bytes, 1);
        value = only_field (field.bytes, 2);
        g_assert_true (g_hash_table_insert (model->metadata, field_text (&key),
                field_text (&value)));
        break;
      default:
        g_assert_not_reached ();
    }
  return model;
}

void
onnx_model_free (OnnxModel *model)
{
  gchar *texts[] = { model->producer, model->graph, model->input, model->output,
    model->input_dims, model->output_dims };

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++)
    g_free (texts[i]);
  g_ptr_array_unref (model->nodes);
  g_hash_table_unref (model->tensors);
  g_hash_table_unref (model->metadata);
  g_free (model);
}

/* --- operators --- */

static gint64
attribute (const OnnxNode *node, const gchar *name, guint i, gint64 otherwise)
{
  const GArray *ints = g_hash_table_lookup (node->ints, name);

  if (!ints)
    return otherwise;
  g_assert_cmpuint (i, <, ints->len);
  return g_array_index (ints, gint64, i);
}

static gdouble
number (const OnnxNode *node, const gchar *name, gdouble otherwise)
{
  const gdouble *value = g_hash_table_lookup (node->floats, name);

  return value ? *value : otherwise;
}

/* Height (@axis 0) or width (1) of what a window gives. */
static gint64
window_size (const OnnxNode *node, gint64 size, gint64 kernel, guint axis)
{
  return (size + attribute (node, "pads", axis, 0) + attribute (node, "pads", axis + 2, 0)
      - kernel) / attribute (node, "strides", axis, 1) + 1;
}

/* Walks a window of @x over channel @c of picture @n: the sum of products with @kernel, or without
 * one the maximum. */
static gdouble
window_at (const OnnxNode *node, const OnnxTensor *x, const gdouble *kernel, const gint64 size[2],
    gint64 n, gint64 c, gint64 row, gint64 column)
{
  gdouble result = kernel ? 0 : -INFINITY;

  for (gint64 i = 0; i < size[0]; i++)
    for (gint64 j = 0; j < size[1]; j++) {
      const gint64 y = row * attribute (node, "strides", 0, 1) - attribute (node, "pads", 0, 0) + i;
      const gint64 z = column * attribute (node, "strides", 1, 1) - attribute (node, "pads", 1, 0)
          + j;
      gdouble value;

      if (y < 0 || z < 0 || y >= x->dim[2] || z >= x->dim[3])
        continue;
      value = x->values[((n * x->dim[1] + c) * x->dim[2] + y) * x->dim[3] + z];
      result = kernel ? result + value * kernel[i * size[1] + j] : MAX (result, value);
    }
  return result;
}

static OnnxTensor *
run_conv (const OnnxNode *node, const OnnxTensor **in)
{
  const OnnxTensor *x = in[0], *w = in[1];
  const gint64 groups = attribute (node, "group", 0, 1), size[2] = { w->dim[2], w->dim[3] };
  OnnxTensor *y = tensor_new (4, x->dim[0], w->dim[0], window_size (node, x->dim[2], size[0], 0),
      window_size (node, x->dim[3], size[1], 1));
  gdouble *out = y->values;

  g_assert_cmpint (attribute (node, "kernel_shape", 0, 0), ==, size[0]);
  g_assert_cmpint (attribute (node, "kernel_shape", 1, 0), ==, size[1]);
  g_assert_cmpint (w->dim[1] * groups, ==, x->dim[1]);
  g_assert_cmpint (in[2]->dim[0], ==, w->dim[0]);
  for (gint64 n = 0; n < y->dim[0]; n++)
    for (gint64 k = 0; k < y->dim[1]; k++)
      for (gint64 at = 0; at < y->dim[2] * y->dim[3]; at++) {
        *out = in[2]->values[k];
        for (gint64 c = 0; c < w->dim[1]; c++)
          *out += window_at (node, x, w->values + (k * w->dim[1] + c) * size[0] * size[1], size, n,
              k / (w->dim[0] / groups) * w->dim[1] + c, at / y->dim[3], at % y->dim[3]);
        out++;
      }
  return y;
}

static OnnxTensor *
run_maxpool (const OnnxNode *node, const OnnxTensor **in)
{
  const OnnxTensor *x = in[0];
  const gint64 size[2] = { attribute (node, "kernel_shape", 0, 0),
    attribute (node, "kernel_shape", 1, 0) };
  OnnxTensor *y = tensor_new (4, x->dim[0], x->dim[1], window_size (node, x->dim[2], size[0], 0),
      window_size (node, x->dim[3], size[1], 1));
  gdouble *out = y->values;

  for (gint64 n = 0; n < y->dim[0]; n++)
    for (gint64 c = 0; c < y->dim[1]; c++)
      for (gint64 at = 0; at < y->dim[2] * y->dim[3]; at++)
        *out++ = window_at (node, x, NULL, size, n, c, at / y->dim[3], at % y->dim[3]);
  return y;
}

static OnnxTensor *
run_average (const OnnxNode *node, const OnnxTensor **in)
{
  const OnnxTensor *x = in[0];
  const gint64 pixels = x->dim[2] * x->dim[3];
  OnnxTensor *y = tensor_new (4, x->dim[0], x->dim[1], 1, 1);

  for (gint64 i = 0; i < x->dim[0] * x->dim[1] * pixels; i++)
    y->values[i / pixels] += x->values[i] / (gdouble) pixels;
  return y;
}

static OnnxTensor *
run_flatten (const OnnxNode *node, const OnnxTensor **in)
{
  const gint64 rows = in[0]->dim[0];
  OnnxTensor *y = tensor_new (2, rows, (gint64) tensor_count (in[0]) / rows, 0, 0);

  g_assert_cmpint (attribute (node, "axis", 0, 1), ==, 1);
  memcpy (y->values, in[0]->values, tensor_count (y) * sizeof *y->values);
  return y;
}

static OnnxTensor *
run_gemm (const OnnxNode *node, const OnnxTensor **in)
{
  const OnnxTensor *x = in[0], *w = in[1];
  OnnxTensor *y = tensor_new (2, x->dim[0], w->dim[0], 0, 0);

  g_assert_cmpint (attribute (node, "transB", 0, 0), ==, 1);
  g_assert_cmpint (x->dim[1], ==, w->dim[1]);
  for (gint64 n = 0; n < y->dim[0]; n++)
    for (gint64 k = 0; k < y->dim[1]; k++) {
      gdouble *out = &y->values[n * y->dim[1] + k];

      *out = in[2]->values[k];
      for (gint64 c = 0; c < x->dim[1]; c++)
        *out += x->values[n * x->dim[1] + c] * w->values[k * w->dim[1] + c];
    }
  return y;
}

static OnnxTensor *
copy_shape (const OnnxTensor *x)
{
  return tensor_new (x->rank, x->dim[0], x->dim[1], x->dim[2], x->dim[3]);
}

static OnnxTensor *
run_batchnorm (const OnnxNode *node, const OnnxTensor **in)
{
  OnnxTensor *y = copy_shape (in[0]);

  g_assert_cmpuint (y->rank, ==, 2);
  for (gsize i = 0; i < tensor_count (y); i++) {
    const gsize c = i % (gsize) y->dim[1];

    y->values[i] = (in[0]->values[i] - in[3]->values[c])
        / sqrt (in[4]->values[c] + number (node, "epsilon", 1e-5)) * in[1]->values[c]
        + in[2]->values[c];
  }
  return y;
}

/* Relu, Clip, Add, Div. */
static OnnxTensor *
run_elements (const OnnxNode *node, const OnnxTensor **in)
{
  const gboolean relu = strcmp (node->operator, "Relu") == 0;
  const gboolean binary = node->inputs->len == 2, add = strcmp (node->operator, "Add") == 0;
  const gdouble low = relu ? 0 : number (node, "min", -INFINITY);
  const gdouble high = number (node, "max", INFINITY);
  OnnxTensor *y = copy_shape (in[0]);

  if (binary)
    g_assert_cmpmem (in[0]->dim, sizeof in[0]->dim, in[1]->dim, sizeof in[1]->dim);
  for (gsize i = 0; i < tensor_count (y); i++) {
    const gdouble a = in[0]->values[i], b = binary ? in[1]->values[i] : 0;

    y->values[i] = !binary ? CLAMP (a, low, high) : add ? a + b : a / b;
  }
  return y;
}

static OnnxTensor *
run_length (const OnnxNode *node, const OnnxTensor **in)
{
  OnnxTensor *y = tensor_new (2, in[0]->dim[0], 1, 0, 0);

  g_assert_cmpint (attribute (node, "axes", 0, 0), ==, 1);
  for (gsize i = 0; i < tensor_count (in[0]); i++)
    y->values[i / (gsize) in[0]->dim[1]] += in[0]->values[i] * in[0]->values[i];
  for (gint64 n = 0; n < y->dim[0]; n++)
    y->values[n] = sqrt (y->values[n]);
  return y;
}

static OnnxTensor *
run_shape (const OnnxNode *node, const OnnxTensor **in)
{
  OnnxTensor *y = tensor_new (1, in[0]->rank, 0, 0, 0);

  for (guint i = 0; i < in[0]->rank; i++)
    y->values[i] = (gdouble) in[0]->dim[i];
  return y;
}

static OnnxTensor *
run_expand (const OnnxNode *node, const OnnxTensor **in)
{
  OnnxTensor *y = tensor_new (2, (gint64) in[1]->values[0], (gint64) in[1]->values[1], 0, 0);

  g_assert_cmpint (in[0]->dim[1], ==, 1);
  for (gsize i = 0; i < tensor_count (y); i++)
    y->values[i] = in[0]->values[i / (gsize) y->dim[1]];
  return y;
}

static const struct {
  const gchar *name;
  guint inputs;
  OnnxTensor *(*run) (const OnnxNode *node, const OnnxTensor **in);
} operators[] = {
  {"Conv", 3, run_conv}, {"MaxPool", 1, run_maxpool}, {"GlobalAveragePool", 1, run_average},
  {"Flatten", 1, run_flatten}, {"Gemm", 3, run_gemm}, {"BatchNormalization", 5, run_batchnorm},
  {"Relu", 1, run_elements}, {"Clip", 1, run_elements}, {"Add", 2, run_elements},
  {"Div", 2, run_elements}, {"ReduceL2", 1, run_length}, {"Shape", 1, run_shape},
  {"Expand", 2, run_expand},
};

static void
run_node (OnnxModel *model, const OnnxNode *node)
{
  const OnnxTensor *in[5] = { NULL };

  g_assert_cmpuint (node->inputs->len, <=, G_N_ELEMENTS (in));
  for (guint i = 0; i < node->inputs->len; i++) {
    in[i] = g_hash_table_lookup (model->tensors, node->inputs->pdata[i]);
    if (!in[i])
      g_error ("%s reads %s, which nothing gave", node->name,
          (gchar *) node->inputs->pdata[i]);
  }
  for (guint i = 0; i < G_N_ELEMENTS (operators); i++)
    if (strcmp (operators[i].name, node->operator) == 0) {
      g_assert_cmpuint (node->inputs->len, ==, operators[i].inputs);
      add_tensor (model, g_strdup (node->output), operators[i].run (node, in));
      return;
    }
  g_error ("operator %s is not known here", node->operator);
}

const OnnxTensor *
onnx_model_run (OnnxModel *model, const gfloat *input, gint n, gint size)
{
  OnnxTensor *x = tensor_new (4, n, 3, size, size);

  for (gsize i = 0; i < tensor_count (x); i++)
    x->values[i] = input[i];
  add_tensor (model, g_strdup (model->input), x);
  for (guint i = 0; i < model->nodes->len; i++)
    run_node (model, model->nodes->pdata[i]);
  return g_hash_table_lookup (model->tensors, model->output);
}
