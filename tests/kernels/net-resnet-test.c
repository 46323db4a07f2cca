/* gst-pirl: architectures: parameter names, shapes and counts against torchvision's, recognition of
 * files, messages for wrong ones, initial values.
 *
 * The digests are of torchvision 0.30's state_dict() without fc and num_batches_tracked, as sorted
 * lines "name [shape]"; the counts are those of the published networks' trunks:
 *   m = torchvision.models.resnet18()
 *   lines = sorted(f"{k} [{','.join(map(str, v.shape))}]\n" for k, v in m.state_dict().items() ...)
 *   hashlib.sha256("".join(lines).encode()).hexdigest()
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <unistd.h>

#include "net-common.h"
#include "net/resnet.h"

static const struct {
  const gchar *name;
  guint tensors;
  gsize trainable;
  const gchar *digest;
} published[] = {
  {"resnet18", 100, 11176512,
      "b35541cd6bb4fb3567ad8ed880a014212a8388eaa1b048a310e9f039f36ecc87"},
  {"resnet34", 180, 21284672,
      "84049383611833f0dfcdb6d84e724799dba698aaace46d14fc5cae14dfebcff3"},
  {"resnet50", 265, 23508032,
      "878e68bc0335de62f4ab5e0bd9105fd417120c8064db17481846ffb01ceead16"},
};

static PirlGraph *
trunk (const gchar *name, gint width, PirlResnet *resnet)
{
  PirlGraph *graph = pirl_graph_new ();
  PirlValue levels[PIRL_N_LEVELS];
  g_autoptr (GError) error = NULL;

  pirl_resnet_from_name (name, width, resnet, &error);
  g_assert_no_error (error);
  pirl_resnet_build (graph, resnet, pirl_graph_input (graph, 1, 64, test_mean, test_std), levels);
  for (guint level = 0; level < PIRL_N_LEVELS; level++)
    g_assert_cmpint (pirl_graph_dims (graph, levels[level]).c, ==,
        pirl_resnet_channels (resnet, level));
  return graph;
}

static gint
compare_lines (gconstpointer a, gconstpointer b)
{
  return strcmp (*(gchar *const *) a, *(gchar *const *) b);
}

static void
test_published (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (published); i++) {
    PirlResnet resnet;
    g_autoptr (PirlGraph) graph = trunk (published[i].name, 64, &resnet);
    g_autoptr (GPtrArray) lines = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (GChecksum) checksum = g_checksum_new (G_CHECKSUM_SHA256);
    gsize trainable = 0;

    for (guint p = 0; p < graph->params->len; p++) {
      const PirlParamSpec *spec = g_ptr_array_index (graph->params, p);
      g_autofree gchar *shape = pirl_shape_to_string (&spec->shape);

      g_ptr_array_add (lines, g_strdup_printf ("%s %s\n", spec->name, shape));
      if (spec->slot != PIRL_SLOT_BN_MEAN && spec->slot != PIRL_SLOT_BN_VAR)
        trainable += pirl_shape_count (&spec->shape);
    }
    g_ptr_array_sort (lines, compare_lines);
    for (guint p = 0; p < lines->len; p++)
      g_checksum_update (checksum, g_ptr_array_index (lines, p), -1);
    g_test_message ("%s: %u tensors, %" G_GSIZE_FORMAT " trained numbers", published[i].name,
        lines->len, trainable);
    g_assert_cmpuint (lines->len, ==, published[i].tensors);
    g_assert_cmpuint (trainable, ==, published[i].trainable);
    g_assert_cmpstr (g_checksum_get_string (checksum), ==, published[i].digest);
  }
}

/* Writes the parameters of @params as a model file, each name with @prefix in front. */
static gchar *
write_model (PirlParams *params, const gchar *prefix, const gchar *drop)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) hosts = g_ptr_array_new_with_free_func (g_free);
  gchar *path = g_build_filename (g_get_tmp_dir (), "pirl-net-resnet-XXXXXX", NULL);
  g_autoptr (GError) error = NULL;
  const gint fd = g_mkstemp (path);

  g_assert_cmpint (fd, >=, 0);
  close (fd);
  for (guint i = 0; i < pirl_params_count (params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (params, i);
    g_autofree gchar *name = g_strconcat (prefix, spec->name, NULL);
    gfloat *values = test_read_param (params, PIRL_ARENA_VALUE, i);

    g_ptr_array_add (hosts, values);
    if (!drop || !g_str_has_prefix (spec->name, drop))
      pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &spec->shape, values);
  }
  pirl_safetensors_writer_write (writer, path, &error);
  g_assert_no_error (error);
  return path;
}

static PirlParams *
random_params (PirlDevice *device, PirlGraph *graph, guint64 seed)
{
  g_autoptr (GError) error = NULL;
  PirlParams *params = pirl_params_new (device, &graph, 1, FALSE, &error);

  g_assert_no_error (error);
  pirl_params_init (params, seed, &error);
  g_assert_no_error (error);
  return params;
}

static void
test_detect_and_load (void)
{
  static const gchar *const prefixes[] = { "", "module.", "backbone.", "_feature_blocks.",
    "encoder." };
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlDevice) device = pirl_device_open ("reference", 1, TRUE, &error);

  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++) {
    const gchar *name = published[i % G_N_ELEMENTS (published)].name;
    PirlResnet resnet, found;
    g_autoptr (PirlGraph) graph = trunk (name, 4, &resnet);
    g_autoptr (PirlParams) params = random_params (device, graph, 1);
    g_autoptr (PirlParams) other = random_params (device, graph, 2);
    g_autofree gchar *path = write_model (params, prefixes[i], NULL);
    g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, &error);
    PirlLoadReport report;

    g_assert_no_error (error);
    pirl_resnet_detect (file, &found, &error);
    g_assert_no_error (error);
    g_assert_cmpstr (pirl_resnet_name (&found), ==, name);
    g_assert_cmpint (found.base_width, ==, 4);
    pirl_params_load (other, file, NULL, &report, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (report.loaded, ==, pirl_params_count (params));
    g_assert_cmpuint (report.missing->len, ==, 0);
    for (guint p = 0; p < pirl_params_count (params); p++) {
      g_autofree gfloat *a = test_read_param (params, PIRL_ARENA_VALUE, p);
      g_autofree gfloat *b = test_read_param (other, PIRL_ARENA_VALUE, p);

      g_assert_cmpmem (a, pirl_shape_count (&pirl_params_spec (params, p)->shape) * sizeof (gfloat),
          b, pirl_shape_count (&pirl_params_spec (params, p)->shape) * sizeof (gfloat));
    }
    pirl_load_report_clear (&report);
    g_unlink (path);
  }
}

/* What a wrong file is answered, and that nothing was taken from it. */
static void
test_load_errors (void)
{
  static const gchar *const required[] = { "layer", NULL };
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlDevice) device = pirl_device_open ("reference", 1, TRUE, &error);
  PirlResnet resnet;
  g_autoptr (PirlGraph) narrow = trunk ("resnet18", 4, &resnet);
  g_autoptr (PirlGraph) wide = trunk ("resnet18", 8, &resnet);
  g_autoptr (PirlParams) small = random_params (device, narrow, 1);
  g_autoptr (PirlParams) large = random_params (device, wide, 2);
  g_autofree gfloat *before = test_read_param (large, PIRL_ARENA_VALUE, 0), *after = NULL;
  g_autofree gchar *path = write_model (small, "", NULL);
  g_autofree gchar *partial = write_model (large, "", "layer3.0.conv1");
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, &error);
  g_autoptr (PirlSafetensors) missing = pirl_safetensors_open (partial, &error);
  PirlLoadReport report;

  g_assert_no_error (error);
  g_assert_false (pirl_params_load (large, file, NULL, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "tensor conv1.weight has shape [4,3,7,7], this network "
          "needs [8,3,7,7]"));
  g_clear_error (&error);
  after = test_read_param (large, PIRL_ARENA_VALUE, 0);
  g_assert_cmpmem (before, 8 * 147 * sizeof (gfloat), after, 8 * 147 * sizeof (gfloat));

  g_assert_false (pirl_params_load (large, missing, required, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_assert_nonnull (strstr (error->message, "layer3.0.conv1.weight"));
  g_clear_error (&error);
  pirl_params_load (large, missing, NULL, &report, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (report.missing->len, ==, 1);
  g_assert_cmpstr (g_ptr_array_index (report.missing, 0), ==, "layer3.0.conv1.weight");
  pirl_load_report_clear (&report);

  g_assert_false (pirl_resnet_detect (missing, &resnet, &error));
  g_assert_nonnull (strstr (error->message, "blocks 2,2,0,2"));
  g_clear_error (&error);
  g_assert_false (pirl_resnet_from_name ("resnet51", 64, &resnet, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_unlink (path);
  g_unlink (partial);
}

/* Moments of the initial values: kaiming normal (fan out) has variance 2 / (k k out). */
static void
test_init_moments (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlDevice) device = pirl_device_open ("reference", 1, TRUE, &error);
  PirlResnet resnet;
  g_autoptr (PirlGraph) graph = trunk ("resnet18", 32, &resnet);
  PirlValue pooled = pirl_graph_avgpool (graph, (PirlValue) graph->units->len - 1);
  g_autoptr (PirlParams) params = NULL;

  pirl_head_f (graph, PIRL_HEAD_MLP, pooled, 128);
  params = random_params (device, graph, 7);
  for (guint p = 0; p < pirl_params_count (params); p++) {
    const PirlParamSpec *spec = pirl_params_spec (params, p);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gfloat *values = test_read_param (params, PIRL_ARENA_VALUE, p);
    gdouble mean = 0, square = 0, variance;

    for (gsize i = 0; i < n; i++) {
      mean += values[i] / (gdouble) n;
      square += (gdouble) values[i] * values[i] / (gdouble) n;
    }
    if (spec->slot == PIRL_SLOT_BN_WEIGHT || spec->slot == PIRL_SLOT_BN_VAR) {
      g_assert_cmpfloat (mean, ==, 1);
      continue;
    }
    if (spec->slot == PIRL_SLOT_BN_BIAS || spec->slot == PIRL_SLOT_BN_MEAN) {
      g_assert_cmpfloat (square, ==, 0);
      continue;
    }
    if (n < 1000)
      continue;
    variance = spec->shape.rank == 4 ? 2.0 / (spec->shape.dim[0] * spec->shape.dim[2]
        * spec->shape.dim[3]) : 1.0 / 3 / (gdouble) spec->shape.dim[1];
    /* Five standard errors of a mean and of a variance. */
    g_assert_cmpfloat (fabs (mean), <, 5 * sqrt (variance / (gdouble) n));
    g_assert_cmpfloat (fabs (square / variance - 1), <, 5 * sqrt (2.0 / (gdouble) n));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/resnet/published", test_published);
  g_test_add_func ("/resnet/detect-and-load", test_detect_and_load);
  g_test_add_func ("/resnet/load-errors", test_load_errors);
  g_test_add_func ("/resnet/init-moments", test_init_moments);
  return g_test_run ();
}
