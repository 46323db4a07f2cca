/* gst-pirl: MobileNetV2: parameter names, shapes and counts against torchvision's and timm's,
 * recognition of files of any width, initial values, messages for wrong files.
 *
 * The digests are of the state_dict() of torchvision 0.29's mobilenet_v2(width_mult=W,
 * num_classes=10) and timm 1.0's mobilenetv2_100, _050 and _140 (num_classes=10), without
 * num_batches_tracked, as sorted lines "name [shape]":
 *   lines = sorted(f"{k} [{','.join(map(str, v.shape))}]\n" for k, v in m.state_dict().items() ...)
 *   hashlib.sha256("".join(lines).encode()).hexdigest()
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <unistd.h>

#include "net-common.h"
#include "net/names.h"
#include "net/trunk.h"

#define CLASSES 10
#define TENSORS 262

static const struct {
  gdouble width;
  gsize trainable;
  gint channels;
  const gchar *digest, *timm;
} published[] = {
  {1.0, 2236682, 1280,
      "c377c0710ecdb7177f1bcc97d0bb90a28c09c414a87ca5bb43d23117593263c5",
      "bd2e8cf65c4e29a6781cac6478fa3d9961fff5feaf925abf468cce95ac5b73c7"},
  {0.75, 1368234, 1280,
      "a9ad1af80cf9ed6fd896e64a4e03a9ada5de84178f49b5178f7f5cd0f857d88a", NULL},
  {0.5, 700490, 1280,
      "73117ab1eec7366e37348559e182d4fa540126ac8814ee5ca559b36600da1c22",
      "7be4fc7b9ed5b7dd6637887a0f1638474a1cd4b5675b7a44f0fd3523dae46379"},
  {0.35, 408938, 1280,
      "e5c89d52bb1cab0d292b35a0fe001d497ca3aad14d24c5d621a97c57b93f0a53", NULL},
  {1.4, 4333706, 1792,
      "06c25105b3ea03a099a20642f8deca0190acf8c466a04305bc4692ce712ca803",
      "9a991a45fb7eacb67b08f2d57c18e405b071b4105ddd4f7135526654fe79ed7a"},
  {0.1, 98890, 1280,
      "21112c26ef0eba7c6f5848cbf99c0f341f9c43a2ae042247b908b7472b9237a0", NULL},
};

static PirlGraph *
build (gdouble width, gint size)
{
  PirlGraph *graph = pirl_graph_new ();
  g_autoptr (GError) error = NULL;
  PirlMobilenet net;
  PirlValue map;

  pirl_mobilenet_from_width (width, &net, &error);
  g_assert_no_error (error);
  map = pirl_mobilenet_build (graph, &net, pirl_graph_input (graph, 1, size, test_mean, test_std));
  g_assert_cmpint (pirl_graph_dims (graph, map).c, ==, pirl_mobilenet_channels (&net));
  g_assert_cmpint (pirl_graph_dims (graph, map).h, ==, (size + 31) / 32);
  pirl_mobilenet_classifier (graph, pirl_graph_avgpool (graph, map), CLASSES);
  return graph;
}

static gint
compare_lines (gconstpointer a, gconstpointer b)
{
  return strcmp (*(gchar *const *) a, *(gchar *const *) b);
}

/* Digest of the names (timm's, or ours) and shapes of @graph. */
static gchar *
digest (const PirlGraph *graph, gboolean timm)
{
  g_autoptr (GPtrArray) lines = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GChecksum) checksum = g_checksum_new (G_CHECKSUM_SHA256);

  for (guint p = 0; p < graph->params->len; p++) {
    const PirlParamSpec *spec = g_ptr_array_index (graph->params, p);
    g_autofree gchar *shape = pirl_shape_to_string (&spec->shape);
    g_autofree gchar *name = timm ? pirl_mobilenet_timm_name (spec->name) : g_strdup (spec->name);

    g_assert_nonnull (name);
    g_ptr_array_add (lines, g_strdup_printf ("%s %s\n", name, shape));
  }
  g_ptr_array_sort (lines, compare_lines);
  for (guint p = 0; p < lines->len; p++)
    g_checksum_update (checksum, g_ptr_array_index (lines, p), -1);
  return g_strdup (g_checksum_get_string (checksum));
}

static void
test_published (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (published); i++) {
    g_autoptr (PirlGraph) graph = build (published[i].width, 224);
    g_autofree gchar *ours = digest (graph, FALSE), *timm = digest (graph, TRUE);
    const PirlMobilenet net = { published[i].width };
    gsize trainable = 0;

    for (guint p = 0; p < graph->params->len; p++) {
      const PirlParamSpec *spec = g_ptr_array_index (graph->params, p);

      if (spec->slot != PIRL_SLOT_BN_MEAN && spec->slot != PIRL_SLOT_BN_VAR)
        trainable += pirl_shape_count (&spec->shape);
    }
    g_assert_cmpuint (graph->params->len, ==, TENSORS);
    g_assert_cmpuint (trainable, ==, published[i].trainable);
    g_assert_cmpint (pirl_mobilenet_channels (&net), ==, published[i].channels);
    g_assert_cmpstr (ours, ==, published[i].digest);
    if (published[i].timm)
      g_assert_cmpstr (timm, ==, published[i].timm);
  }
}

/* --- files --- */

typedef struct {
  PirlDevice *device;
  PirlGraph *graph;
  PirlParams *params;
} Model;

static void
model_init (Model *model, gdouble width, guint64 seed)
{
  g_autoptr (GError) error = NULL;

  model->device = pirl_device_open ("reference", 1, TRUE, &error);
  g_assert_no_error (error);
  model->graph = build (width, 64);
  model->params = pirl_params_new (model->device, &model->graph, 1, FALSE, &error);
  g_assert_no_error (error);
  pirl_params_init (model->params, seed, &error);
  g_assert_no_error (error);
}

static void
model_clear (Model *model)
{
  pirl_params_free (model->params);
  pirl_graph_free (model->graph);
  pirl_device_close (model->device);
}

/* Writes @model under timm's names or ours, with metadata width=@width (or none). */
static PirlSafetensors *
write_model (Model *model, gboolean timm, const gchar *width, const gchar *drop)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) hosts = g_ptr_array_new_with_free_func (g_free);
  g_autofree gchar *path = g_build_filename (g_get_tmp_dir (), "pirl-mobilenet-XXXXXX", NULL);
  g_autoptr (GError) error = NULL;
  PirlSafetensors *file;

  close (g_mkstemp (path));
  for (guint i = 0; i < pirl_params_count (model->params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (model->params, i);
    g_autofree gchar *name = timm ? pirl_mobilenet_timm_name (spec->name) : g_strdup (spec->name);
    gfloat *values = test_read_param (model->params, PIRL_ARENA_VALUE, i);

    g_ptr_array_add (hosts, values);
    if (g_strcmp0 (spec->name, drop) != 0)
      pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &spec->shape, values);
  }
  if (width)
    pirl_safetensors_writer_metadata (writer, "width", width);
  pirl_safetensors_writer_write (writer, path, &error);
  g_assert_no_error (error);
  file = pirl_safetensors_open (path, &error);
  g_assert_no_error (error);
  g_unlink (path);
  return file;
}

/* Under either project's names: recognised with the width it was built with, or one of the same
 * shapes, and loaded whole. */
static void
test_detect_and_load (void)
{
  static const gdouble widths[] = { 1, 0.35, 0.1, 0.42, 0.613 };

  for (guint i = 0; i < 2 * G_N_ELEMENTS (widths); i++) {
    const gdouble width = widths[i / 2];
    const gboolean timm = i % 2;
    g_autoptr (GError) error = NULL;
    g_autoptr (PirlSafetensors) file = NULL;
    PirlLoadReport report;
    Model model, other, same;
    PirlTrunk found;

    model_init (&model, width, 1);
    model_init (&other, width, 2);
    file = write_model (&model, timm, NULL, NULL);
    pirl_trunk_detect (file, &found, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (pirl_trunk_name (&found), ==, "mobilenetv2");
    model_init (&same, found.width, 1);
    for (guint p = 0; p < same.graph->params->len; p++) {
      const PirlParamSpec *a = g_ptr_array_index (same.graph->params, p);
      const PirlParamSpec *b = g_ptr_array_index (model.graph->params, p);

      g_assert_true (pirl_shape_equal (&a->shape, &b->shape));
    }
    pirl_params_load (other.params, file, NULL, &report, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (report.loaded, ==, TENSORS);
    for (guint p = 0; p < TENSORS; p++) {
      const gsize n = pirl_shape_count (&pirl_params_spec (model.params, p)->shape);
      g_autofree gfloat *a = test_read_param (model.params, PIRL_ARENA_VALUE, p);
      g_autofree gfloat *b = test_read_param (other.params, PIRL_ARENA_VALUE, p);

      g_assert_cmpmem (a, n * sizeof *a, b, n * sizeof *b);
    }
    pirl_load_report_clear (&report);
    model_clear (&model);
    model_clear (&other);
    model_clear (&same);
  }
}

/* The file's own word counts where it fits the shapes. */
static void
test_width_metadata (void)
{
  static const struct {
    const gchar *metadata;
    gdouble width;
  } cases[] = { {"0.353", 0.353}, {"0.9", 0.35}, {"nonsense", 0.35}, {NULL, 0.35} };
  Model model;

  model_init (&model, 0.35, 1);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (PirlSafetensors) file = write_model (&model, FALSE, cases[i].metadata, NULL);
    g_autoptr (GError) error = NULL;
    PirlMobilenet found;

    pirl_mobilenet_detect (file, &found, &error);
    g_assert_no_error (error);
    g_assert_cmpfloat (found.width, ==, cases[i].width);
  }
  model_clear (&model);
}

static void
test_errors (void)
{
  static const gdouble widths[] = { 0, -1, 0.04, 5, NAN };
  g_autoptr (PirlSafetensors) partial = NULL, hollow = NULL;
  g_autoptr (GError) error = NULL;
  PirlMobilenet net;
  PirlTrunk trunk;
  Model model;

  for (guint i = 0; i < G_N_ELEMENTS (widths); i++) {
    g_assert_false (pirl_trunk_from_name ("mobilenetv2", 64, widths[i], &trunk, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_clear_error (&error);
  }
  g_assert_false (pirl_trunk_from_name ("mobilenetv4", 64, 1, &trunk, &error));
  g_assert_nonnull (strstr (error->message, "resnet50 and mobilenetv2"));
  g_clear_error (&error);

  model_init (&model, 0.1, 1);
  partial = write_model (&model, FALSE, NULL, "features.7.conv.2.weight");
  g_assert_false (pirl_mobilenet_detect (partial, &net, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, "8,8,8,8,0,16,16,32,1280"));
  g_clear_error (&error);
  hollow = write_model (&model, FALSE, NULL, "features.0.0.weight");
  g_assert_false (pirl_trunk_detect (hollow, &trunk, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "conv1.weight (ResNet) nor features.0.0.weight"));
  model_clear (&model);
}

/* torchvision: kaiming normal, fan out, which counts all of a depthwise layer's outputs; the
 * classifier N(0, 0.01) and 0. */
static void
test_init_moments (void)
{
  Model model;

  model_init (&model, 0.5, 7);
  for (guint p = 0; p < TENSORS; p++) {
    const PirlParamSpec *spec = pirl_params_spec (model.params, p);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gfloat *values = test_read_param (model.params, PIRL_ARENA_VALUE, p);
    gdouble mean = 0, square = 0, variance;

    for (gsize i = 0; i < n; i++) {
      mean += values[i] / (gdouble) n;
      square += (gdouble) values[i] * values[i] / (gdouble) n;
    }
    if (n < 1000 || spec->shape.rank < 2)
      continue;
    variance = spec->shape.rank == 2 ? 1e-4
        : 2.0 / (spec->shape.dim[0] * spec->shape.dim[2] * spec->shape.dim[3]);
    g_assert_cmpfloat (fabs (mean), <, 5 * sqrt (variance / (gdouble) n));
    g_assert_cmpfloat (fabs (square / variance - 1), <, 5 * sqrt (2.0 / (gdouble) n));
  }
  model_clear (&model);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/mobilenet/published", test_published);
  g_test_add_func ("/mobilenet/detect-and-load", test_detect_and_load);
  g_test_add_func ("/mobilenet/width-metadata", test_width_metadata);
  g_test_add_func ("/mobilenet/errors", test_errors);
  g_test_add_func ("/mobilenet/init-moments", test_init_moments);
  return g_test_run ();
}
