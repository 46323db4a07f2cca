/* gst-pirl: exports against the embedder, and the names of other projects against our own.
 *
 * Random networks are written to files; their exports are read back by readers of the tests' own
 * (onnx-model.c; an unpickler below) and computed.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <unistd.h>

#include "net-common.h"
#include "net/embedder.h"
#include "net/export.h"
#include "net/model.h"
#include "net/names.h"
#include "onnx-model.h"

#define SIZE 32
#define INPUT (3 * SIZE * SIZE)
#define BATCH 3

/* --- networks --- */

typedef struct {
  const gchar *arch;
  gint base_width;
  gdouble width;
  gint dim;                     /* of head f; 0 = none */
  PirlHead head;
  gint classes;                 /* 0 = none */
} Net;

static const Net nets[] = {
  {"resnet18", 8, 0, 24, PIRL_HEAD_LINEAR, 0}, {"resnet18", 8, 0, 24, PIRL_HEAD_BN, 5},
  {"resnet34", 4, 0, 16, PIRL_HEAD_MLP, 0}, {"resnet50", 4, 0, 0, 0, 7},
  {"mobilenetv2", 0, 0.1, 0, 0, 6},
};

/* What a project calls our tensor @name; NULL = it does not have it. */
typedef gchar *(*Rename) (const gchar *name);

static void
net_info (const Net *net, PirlModelInfo *info)
{
  g_autoptr (GError) error = NULL;

  pirl_model_info_init (info, SIZE);
  pirl_trunk_from_name (net->arch, net->base_width, net->width, &info->trunk, &error);
  g_assert_no_error (error);
  info->dim = net->dim;
  info->head = net->head;
  info->classes = net->classes;
}

/* A trained network's numbers: weights as they begin, batch norms that do something. */
static gfloat *
draw (const PirlParamSpec *spec, guint64 seed)
{
  const gsize n = pirl_shape_count (&spec->shape);
  const gboolean positive = spec->slot == PIRL_SLOT_BN_WEIGHT || spec->slot == PIRL_SLOT_BN_VAR;
  gfloat *values = g_new (gfloat, n);
  PirlRng rng;

  pirl_rng_init (&rng, seed, 0, g_str_hash (spec->name), PIRL_PURPOSE_TEST);
  for (gsize i = 0; i < n; i++)
    values[i] = positive ? pirl_rng_range (&rng, 0.5f, 1.5f)
        : (gfloat) ((spec->slot == PIRL_SLOT_WEIGHT ? sqrt (2.0 / spec->fan_in) : 0.3)
        * pirl_rng_normal (&rng));
  return values;
}

static gchar *
temporary (void)
{
  gchar *path = g_build_filename (g_get_tmp_dir (), "pirl-export-XXXXXX", NULL);

  close (g_mkstemp (path));
  return path;
}

/* Writes @net to a temporary file, with what else files hold. */
static gchar *
net_write (const Net *net, Rename rename, const gchar *damaged)
{
  static const gchar *const layers[] = { "embedding", "logits", "features" };
  static const PirlShape counter = { 0 }, bank = { 2, {2, 3} };
  static const gint64 batches = 5;
  static const gfloat rows[6] = { 0 };
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) hosts = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GHashTable) written = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GError) error = NULL;
  gchar *path = temporary ();
  PirlModelInfo info;

  net_info (net, &info);
  for (guint l = 0; l < G_N_ELEMENTS (layers); l++) {
    g_autoptr (PirlGraph) graph = pirl_graph_new ();
    const PirlValue input = pirl_graph_input (graph, 1, SIZE, test_mean, test_std);

    if ((l == 0 && !net->dim) || (l == 1 && !net->classes))
      continue;
    pirl_model_build (graph, &info, input, layers[l], &error);
    g_assert_no_error (error);
    for (guint i = 0; i < graph->params->len; i++) {
      const PirlParamSpec *spec = g_ptr_array_index (graph->params, i);
      g_autofree gchar *name = rename ? rename (spec->name) : g_strdup (spec->name);
      gfloat *values = draw (spec, 1);

      g_ptr_array_add (hosts, values);
      if (g_strcmp0 (spec->name, damaged) == 0)
        values[0] = NAN;
      if (name && g_hash_table_add (written, g_strdup (name)))
        pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &spec->shape, values);
    }
  }
  pirl_safetensors_writer_add (writer, "bn1.num_batches_tracked", PIRL_DTYPE_I64, &counter,
      &batches);
  pirl_safetensors_writer_add (writer, "state.bank", PIRL_DTYPE_F32, &bank, rows);
  pirl_safetensors_writer_metadata (writer, "input_size", G_STRINGIFY (SIZE));
  pirl_safetensors_writer_metadata (writer, "mean", "0.5,0.4,0.45");
  pirl_safetensors_writer_metadata (writer, "std", "0.25,0.3,0.2");
  pirl_safetensors_writer_metadata (writer, "class_names", "a\nb");
  pirl_safetensors_writer_metadata (writer, "state.step", "12");
  if (net->width)
    pirl_safetensors_writer_metadata (writer, "width", "0.1");
  pirl_safetensors_writer_write (writer, path, &error);
  g_assert_no_error (error);
  return path;
}

/* Rows of @layer for @n inputs. */
static gfloat *
embed (const gchar *model, const gchar *layer, const gfloat *input, guint n, guint *size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlEmbedder) embedder =
      pirl_embedder_new (model, layer, "cpu", "f32", 1, 1, &error);
  gfloat *rows;

  g_assert_no_error (error);
  *size = pirl_embedder_size (embedder);
  rows = g_new (gfloat, n * *size);
  for (guint i = 0; i < n; i++) {
    pirl_embedder_run_floats (embedder, input + i * INPUT, rows + i * *size, &error);
    g_assert_no_error (error);
  }
  return rows;
}

static gchar *
export_as (const gchar *model, const gchar *format, const gchar *layer, gboolean preprocess,
    gchar **text)
{
  const PirlExport options = { format, layer, preprocess };
  g_autoptr (GError) error = NULL;
  gchar *path = temporary ();

  *text = pirl_export (model, &options, path, &error);
  g_assert_no_error (error);
  return path;
}

/* --- ONNX --- */

static void
check_onnx_frame (const OnnxModel *model, const Net *net, const gchar *layer, guint size)
{
  g_autofree gchar *dims = g_strdup_printf ("batch,%u", size);
  static const gchar *const metadata[][2] = {
    {"input_size", "32"}, {"resize", "37"}, {"mean", "0.5,0.4,0.45"}, {"std", "0.25,0.3,0.2"},
    {"class_names", "a\nb"},
  };

  g_assert_cmpint (model->ir_version, ==, 5);
  g_assert_cmpint (model->opset, ==, 10);
  g_assert_cmpstr (model->producer, ==, "gst-pirl");
  g_assert_cmpstr (model->graph, ==, net->arch);
  g_assert_cmpstr (model->input, ==, "images");
  g_assert_cmpstr (model->input_dims, ==, "batch,3,32,32");
  g_assert_cmpstr (model->output, ==, layer);
  g_assert_cmpstr (model->output_dims, ==, dims);
  for (guint i = 0; i < G_N_ELEMENTS (metadata); i++)
    g_assert_cmpstr (g_hash_table_lookup (model->metadata, metadata[i][0]), ==, metadata[i][1]);
  g_assert_cmpstr (g_hash_table_lookup (model->metadata, "architecture"), ==, net->arch);
  g_assert_cmpstr (g_hash_table_lookup (model->metadata, "layer"), ==, layer);
}

/* The exported @layer computes what the embedder does; from pixels too. */
static void
check_onnx (const Net *net, const gchar *path, const gchar *layer, gboolean preprocess)
{
  g_autofree gfloat *input = test_normals (BATCH * INPUT, 3), *want = NULL;
  g_autofree gfloat *got = NULL;
  g_autofree gchar *text = NULL, *file = export_as (path, "onnx", layer, preprocess, &text);
  g_autoptr (OnnxModel) model = onnx_model_read (file);
  const OnnxTensor *output;
  gdouble distance;
  guint size;

  want = embed (path, layer, input, BATCH, &size);
  if (preprocess)
    for (guint i = 0; i < BATCH * INPUT; i++) {
      const guint c = i / (SIZE * SIZE) % 3;

      input[i] = 255 * (input[i] * test_std[c] + test_mean[c]);
    }
  check_onnx_frame (model, net, layer, size);
  output = onnx_model_run (model, input, BATCH, SIZE);
  g_assert_cmpuint (output->rank, ==, 2);
  g_assert_cmpint (output->dim[0], ==, BATCH);
  g_assert_cmpint (output->dim[1], ==, size);
  got = g_new (gfloat, BATCH * size);
  for (guint i = 0; i < BATCH * size; i++)
    got[i] = (gfloat) output->values[i];
  distance = test_relative (got, want, BATCH * size);
  g_test_message ("%s, %s%s: %u nodes, %u weights, relative distance %.1e", net->arch, layer,
      preprocess ? " from pixels" : "", model->nodes->len, model->weights, distance);
  g_assert_cmpfloat (distance, <, 1e-5);
  g_assert_nonnull (strstr (text, preprocess ? "0..255" : "0.5,0.4,0.45"));
  g_unlink (file);
}

static void
test_onnx (gconstpointer data)
{
  const Net *net = data;
  g_autofree gchar *path = net_write (net, NULL, NULL);

  check_onnx (net, path, "features", FALSE);
  if (net->dim)
    check_onnx (net, path, "embedding", FALSE);
  if (net->classes)
    check_onnx (net, path, "logits", TRUE);
  if (net->base_width)
    check_onnx (net, path, "res3", FALSE);
  g_unlink (path);
}

/* A layer on the way takes nothing along of what comes behind it. */
static void
test_onnx_only_what_is_needed (void)
{
  g_autofree gchar *path = net_write (&nets[0], NULL, NULL), *text = NULL;
  g_autofree gchar *file = export_as (path, "onnx", "res2", FALSE, &text);
  g_autoptr (OnnxModel) model = onnx_model_read (file);
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, model->tensors);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    g_assert_true (g_str_has_prefix (name, "conv1.") || g_str_has_prefix (name, "layer1."));
  g_assert_cmpuint (model->weights, ==, 2 * 5);
  g_unlink (file);
  g_unlink (path);
}

/* --- torchvision --- */

static void
test_torchvision (gconstpointer data)
{
  const Net *net = data;
  g_autofree gchar *path = net_write (net, NULL, NULL), *text = NULL;
  g_autofree gchar *file = export_as (path, "torchvision", NULL, FALSE, &text);
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlSafetensors) out = pirl_safetensors_open (file, &error);
  g_autoptr (PirlSafetensors) in = pirl_safetensors_open (path, &error);
  guint expected = 0;

  g_assert_no_error (error);
  for (guint i = 0; i < pirl_safetensors_count (in); i++) {
    const PirlTensor *a = pirl_safetensors_nth (in, i);
    const PirlTensor *b = pirl_safetensors_lookup (out, a->name);

    if (g_str_has_prefix (a->name, "head.") || g_str_has_prefix (a->name, "state.")
        || g_str_has_suffix (a->name, "num_batches_tracked"))
      continue;
    expected++;
    g_assert_nonnull (b);
    g_assert_cmpint (b->dtype, ==, PIRL_DTYPE_F32);
    g_assert_true (pirl_shape_equal (&a->shape, &b->shape));
    g_assert_cmpmem (a->data, a->size, b->data, b->size);
  }
  g_assert_cmpuint (pirl_safetensors_count (out), ==, expected);
  g_assert_cmpstr (pirl_safetensors_metadata (out, "mean"), ==, "0.5,0.4,0.45");
  g_assert_null (pirl_safetensors_metadata (out, "state.step"));
  g_assert_cmpint (strstr (text, "strict=False") != NULL, ==, !net->classes);
  g_assert_nonnull (strstr (text, net->base_width ? net->arch : "mobilenet_v2(width_mult=0.1"));
  g_unlink (file);
  g_unlink (path);
}

/* --- Detectron2 --- */

/* A value of the unpickler: what a test needs to see of it. */
typedef struct {
  enum { MARKED, DICT, TEXT, BYTES, NUMBER, TUPLE, CLASS, ARRAY } kind;
  gchar *text;                  /* TEXT, CLASS */
  const guint8 *bytes;
  gint64 number;                /* NUMBER, or length of BYTES */
  GPtrArray *items;             /* TUPLE; DICT and ARRAY: keys and values, arguments */
} Value;

static void
value_free (gpointer data)
{
  Value *value = data;

  g_free (value->text);
  if (value->items)
    g_ptr_array_unref (value->items);
  g_free (value);
}

static Value *
push (GPtrArray *all, GPtrArray *stack, gint kind)
{
  Value *value = g_new0 (Value, 1);

  value->kind = kind;
  value->items = g_ptr_array_new ();
  g_ptr_array_add (all, value);
  g_ptr_array_add (stack, value);
  return value;
}

static Value *
pop (GPtrArray *stack)
{
  g_assert_cmpuint (stack->len, >, 0);
  return g_ptr_array_steal_index (stack, stack->len - 1);
}

/* What lies above the last mark, in order; takes the mark too. */
static void
pop_marked (GPtrArray *stack, GPtrArray *items)
{
  Value *value;

  while ((value = pop (stack))->kind != MARKED)
    g_ptr_array_insert (items, 0, value);
}

static guint32
read_u32 (const guint8 **at)
{
  guint32 value;

  memcpy (&value, *at, sizeof value);
  *at += sizeof value;
  return value;
}

/* Calls @callable: bytearray (bytes) is those bytes, ndarray (...) an array of its arguments. */
static void
reduce (GPtrArray *all, GPtrArray *stack)
{
  Value *arguments = pop (stack), *callable = pop (stack);

  g_assert_true (callable->kind == CLASS && arguments->kind == TUPLE);
  if (strcmp (callable->text, "builtins.bytearray") == 0) {
    g_assert_cmpuint (arguments->items->len, ==, 1);
    g_ptr_array_add (stack, arguments->items->pdata[0]);
    return;
  }
  g_assert_cmpstr (callable->text, ==, "numpy.ndarray");
  g_assert_cmpuint (arguments->items->len, ==, 3);
  g_ptr_array_extend (push (all, stack, ARRAY)->items, arguments->items, NULL, NULL);
}

static void
read_class (GPtrArray *all, GPtrArray *stack, const guint8 **at)
{
  const gchar *module = (const gchar *) *at, *name = strchr (module, '\n') + 1;
  const gchar *end = strchr (name, '\n');

  push (all, stack, CLASS)->text = g_strdup_printf ("%.*s.%.*s", (gint) (name - module - 1), module,
      (gint) (end - name), name);
  *at = (const guint8 *) end + 1;
}

/* The one value that the pickle gives; everything is in @all. */
static Value *
unpickle (const guint8 *at, const guint8 *end, GPtrArray *all)
{
  g_autoptr (GPtrArray) stack = g_ptr_array_new ();
  Value *memo[256] = { NULL }, *value;
  guint8 op;

  g_assert_cmpuint (*at++, ==, 0x80);
  g_assert_cmpuint (*at++, ==, 3);
  while ((op = *at++) != '.') {
    g_assert_true (at < end);
    if (op == '}') {
      push (all, stack, DICT);
    } else if (op == '(') {
      push (all, stack, MARKED);
    } else if (op == 'X' || op == 'B') {
      value = push (all, stack, op == 'X' ? TEXT : BYTES);
      value->number = read_u32 (&at);
      value->bytes = at;
      g_assert_cmpint (value->number, <=, end - at);
      value->text = op == 'X' ? g_strndup ((const gchar *) at, value->number) : NULL;
      at += value->number;
    } else if (op == 'J' || op == 0x88) {
      push (all, stack, NUMBER)->number = op == 'J' ? (gint32) read_u32 (&at) : 1;
    } else if (op == 'c') {
      read_class (all, stack, &at);
    } else if (op == 'q') {
      memo[*at++] = g_ptr_array_index (stack, stack->len - 1);
    } else if (op == 'h') {
      g_assert_nonnull (memo[*at]);
      g_ptr_array_add (stack, memo[*at++]);
    } else if (op == 't') {
      g_autoptr (GPtrArray) items = g_ptr_array_new ();

      pop_marked (stack, items);
      g_ptr_array_extend (push (all, stack, TUPLE)->items, items, NULL, NULL);
    } else if (op == 0x85 || op == 0x87) {
      g_autoptr (GPtrArray) items = g_ptr_array_new ();

      for (gint i = op - 0x84; i > 0; i--)
        g_ptr_array_insert (items, 0, pop (stack));
      g_ptr_array_extend (push (all, stack, TUPLE)->items, items, NULL, NULL);
    } else if (op == 'R') {
      reduce (all, stack);
    } else if (op == 'u') {
      g_autoptr (GPtrArray) items = g_ptr_array_new ();

      pop_marked (stack, items);
      value = g_ptr_array_index (stack, stack->len - 1);
      g_assert_cmpint (value->kind, ==, DICT);
      g_ptr_array_extend (value->items, items, NULL, NULL);
    } else {
      g_error ("operation %02x", op);
    }
  }
  g_assert_true (at == end);
  g_assert_cmpuint (stack->len, ==, 1);
  return pop (stack);
}

static const Value *
item (const Value *dict, const gchar *key)
{
  for (guint i = 0; i + 1 < dict->items->len; i += 2)
    if (g_strcmp0 (((const Value *) dict->items->pdata[i])->text, key) == 0)
      return dict->items->pdata[i + 1];
  return NULL;
}

/* @array is ndarray (shape, "<f4", data) of @tensor. */
static void
check_array (const Value *array, const PirlTensor *tensor)
{
  const Value *shape = array->items->pdata[0], *dtype = array->items->pdata[1];
  const Value *data = array->items->pdata[2];

  g_assert_cmpint (array->kind, ==, ARRAY);
  g_assert_cmpuint (shape->items->len, ==, tensor->shape.rank);
  for (guint i = 0; i < tensor->shape.rank; i++)
    g_assert_cmpint (((const Value *) shape->items->pdata[i])->number, ==, tensor->shape.dim[i]);
  g_assert_cmpstr (dtype->text, ==, "<f4");
  g_assert_cmpmem (data->bytes, (gsize) data->number, tensor->data, tensor->size);
}

/* Some of the names that Detectron2's networks have (detectron2/modeling/backbone/resnet.py), and
 * how many there are. */
static void
test_detectron2 (void)
{
  static const gchar *const names[][2] = {
    {"stem.conv1.weight", "conv1.weight"}, {"stem.conv1.norm.running_var", "bn1.running_var"},
    {"res2.0.shortcut.weight", "layer1.0.downsample.0.weight"},
    {"res2.0.shortcut.norm.bias", "layer1.0.downsample.1.bias"},
    {"res4.5.conv2.norm.running_mean", "layer3.5.bn2.running_mean"},
    {"res5.2.conv3.weight", "layer4.2.conv3.weight"},
    {"res5.2.conv3.norm.weight", "layer4.2.bn3.weight"},
  };
  g_autofree gchar *path = net_write (&nets[3], NULL, NULL), *text = NULL, *data = NULL;
  g_autofree gchar *file = export_as (path, "detectron2", NULL, FALSE, &text);
  g_autoptr (GPtrArray) all = g_ptr_array_new_with_free_func (value_free);
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlSafetensors) in = pirl_safetensors_open (path, &error);
  const Value *whole, *model;
  gsize size;

  g_assert_no_error (error);
  g_file_get_contents (file, &data, &size, &error);
  g_assert_no_error (error);
  whole = unpickle ((const guint8 *) data, (const guint8 *) data + size, all);
  g_assert_cmpstr (item (whole, "__author__")->text, ==, "gst-pirl");
  g_assert_cmpint (item (whole, "matching_heuristics")->number, ==, 1);
  model = item (whole, "model");
  /* 53 convolutions with four vectors each, and no classifier. */
  g_assert_cmpuint (model->items->len, ==, 2 * 53 * 5);
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_assert_nonnull (item (model, names[i][0]));
    check_array (item (model, names[i][0]), pirl_safetensors_lookup (in, names[i][1]));
  }
  g_test_message ("%s", text);
  g_assert_nonnull (strstr (text, "PIXEL_MEAN: [127.5,102,114.75]"));
  g_assert_nonnull (strstr (text, "PIXEL_STD: [63.75,76.5,51]"));
  g_assert_nonnull (strstr (text, "DEPTH: 50"));
  g_assert_nonnull (strstr (text, "RES2_OUT_CHANNELS: 16"));
  g_unlink (file);
  g_unlink (path);
}

/* Each parameter of a trunk has a name of its own. */
static void
test_detectron2_names (void)
{
  for (guint n = 0; n < 4; n++) {
    g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr (PirlGraph) graph = pirl_graph_new ();
    g_autoptr (GError) error = NULL;
    PirlModelInfo info;

    net_info (&nets[n], &info);
    pirl_model_build (graph, &info, pirl_graph_input (graph, 1, SIZE, test_mean, test_std),
        "features", &error);
    g_assert_no_error (error);
    for (guint i = 0; i < graph->params->len; i++) {
      const PirlParamSpec *spec = g_ptr_array_index (graph->params, i);
      gchar *name = pirl_resnet_detectron2_name (spec->name);

      g_assert_nonnull (name);
      g_assert_true (g_hash_table_add (seen, name));
    }
  }
  g_assert_null (pirl_resnet_detectron2_name ("fc.weight"));
  g_assert_null (pirl_resnet_detectron2_name ("head.f.projection.weight"));
  g_assert_null (pirl_resnet_detectron2_name ("layer1.0.other.weight"));
}

/* --- files of other projects --- */

static gchar *
vissl_trunk (const gchar *name)
{
  return g_strconcat ("_feature_blocks.", name, NULL);
}

/* As in the whole checkpoint, flattened. */
static gchar *
vissl_checkpoint (const gchar *name)
{
  if (g_str_has_prefix (name, "fc."))
    return g_strconcat ("classy_state_dict.base_model.model.heads.0.clf.0.",
        name + strlen ("fc."), NULL);
  return g_strconcat ("classy_state_dict.base_model.model.trunk._feature_blocks.", name, NULL);
}

static gchar *
vissl_model (const gchar *name)
{
  return g_strconcat ("trunk._feature_blocks.", name, NULL);
}

static gchar *
timm (const gchar *name)
{
  gchar *theirs = pirl_mobilenet_timm_name (name);

  return theirs ? theirs : g_strdup (name);
}

static gchar *
under_model (const gchar *name)
{
  g_autofree gchar *theirs = timm (name);

  return g_strconcat ("model.", theirs, NULL);
}

/* Whatever a file calls its tensors, it embeds, exports and classifies as the same network. */
static void
test_foreign_names (void)
{
  static const struct {
    Rename rename;
    guint net;
    const gchar *layer;
  } files[] = {
    {vissl_trunk, 3, "features"}, {vissl_checkpoint, 3, "res4"}, {vissl_model, 1, "res5"},
    {timm, 3, "logits"}, {timm, 4, "logits"}, {under_model, 4, "features"},
  };
  g_autofree gfloat *input = test_normals (INPUT, 5);

  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    const Net *net = &nets[files[i].net];
    g_autofree gchar *own = net_write (net, NULL, NULL);
    g_autofree gchar *theirs = net_write (net, files[i].rename, NULL), *text = NULL;
    g_autofree gchar *file = export_as (theirs, "torchvision", NULL, FALSE, &text);
    g_autofree gfloat *want = NULL, *got = NULL, *back = NULL;
    guint size, again;

    want = embed (own, files[i].layer, input, 1, &size);
    got = embed (theirs, files[i].layer, input, 1, &again);
    g_assert_cmpmem (want, size * sizeof *want, got, again * sizeof *got);
    back = embed (file, files[i].layer, input, 1, &again);
    g_assert_cmpmem (want, size * sizeof *want, back, again * sizeof *back);
    g_unlink (own);
    g_unlink (theirs);
    g_unlink (file);
  }
}

/* --- errors --- */

static void
check_refused (const gchar *model, PirlExport options, const gchar *path, PirlError code,
    const gchar *says)
{
  g_autoptr (GError) error = NULL;
  g_autofree gchar *text = pirl_export (model, &options, path, &error);

  g_assert_null (text);
  g_assert_error (error, PIRL_ERROR, (gint) code);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, says));
}

static void
test_errors (void)
{
  g_autofree gchar *resnet = net_write (&nets[0], NULL, NULL);
  g_autofree gchar *mobilenet = net_write (&nets[4], NULL, NULL);
  g_autofree gchar *damaged = net_write (&nets[0], NULL, "layer1.0.bn1.weight");
  g_autofree gchar *out = temporary ();

  g_unlink (out);
  check_refused (resnet, (PirlExport) { "caffe" }, out, PIRL_ERROR_INVALID,
      "torchvision, onnx, detectron2");
  check_refused (resnet, (PirlExport) { NULL }, out, PIRL_ERROR_INVALID, "there are torchvision");
  check_refused (resnet, (PirlExport) { "torchvision", "res3" }, out, PIRL_ERROR_INVALID, "onnx");
  check_refused (resnet, (PirlExport) { "detectron2", NULL, TRUE }, out, PIRL_ERROR_INVALID,
      "onnx");
  check_refused (resnet, (PirlExport) { "onnx", "logits" }, out, PIRL_ERROR_MISMATCH,
      "it has embedding, ");
  check_refused (mobilenet, (PirlExport) { "onnx", "embedding" }, out, PIRL_ERROR_MISMATCH,
      "it has logits, features");
  check_refused (mobilenet, (PirlExport) { "detectron2" }, out, PIRL_ERROR_MISMATCH,
      "MobileNetV2");
  for (guint i = 0; pirl_export_formats ()[i]; i++)
    check_refused (damaged, (PirlExport) { pirl_export_formats ()[i] }, out,
        PIRL_ERROR_NOT_FINITE, "layer1.0.bn1.weight");
  check_refused ("/nowhere/model", (PirlExport) { "onnx" }, out, PIRL_ERROR_IO, "/nowhere/model");
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
  for (guint i = 0; pirl_export_formats ()[i]; i++)
    check_refused (resnet, (PirlExport) { pirl_export_formats ()[i] }, "/nowhere/out",
        PIRL_ERROR_IO, "/nowhere/out");
  g_unlink (resnet);
  g_unlink (mobilenet);
  g_unlink (damaged);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (nets); i++) {
    static const gchar *const heads[] = { "linear", "bn", "mlp" };
    g_autofree gchar *name = g_strdup_printf ("%s-%s", nets[i].arch,
        nets[i].dim ? heads[nets[i].head] : "none");
    g_autofree gchar *onnx = g_strconcat ("/export/onnx/", name, NULL);
    g_autofree gchar *torchvision = g_strconcat ("/export/torchvision/", name, NULL);

    g_test_add_data_func (onnx, &nets[i], test_onnx);
    g_test_add_data_func (torchvision, &nets[i], test_torchvision);
  }
  g_test_add_func ("/export/onnx/only-what-is-needed", test_onnx_only_what_is_needed);
  g_test_add_func ("/export/detectron2", test_detectron2);
  g_test_add_func ("/export/detectron2-names", test_detectron2_names);
  g_test_add_func ("/export/foreign-names", test_foreign_names);
  g_test_add_func ("/export/errors", test_errors);
  return g_test_run ();
}
