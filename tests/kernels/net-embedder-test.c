/* gst-pirl: the embedder against torchvision's ResNet-50 and MobileNetV2 (check values that come with
 * the shared weights; computed with PyTorch), and what it says about files it cannot use.
 *
 * Needs PIRL_TEST_DATA (weights/, photos/) for the parity tests; skips them where it is absent.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <unistd.h>

#include "learn/trainer.h"
#include "net-common.h"
#include "net/embedder.h"

#define INPUT (3 * 224 * 224)

/* The networks with check values. In bf16, MobileNetV2's many thin layers lose more. */
typedef struct {
  const gchar *name, *layer;
  guint features;
  gdouble half_cosine, half_norm;
} Model;

static const Model models[] = {
  {"resnet50_imagenet_pqf", "res5", 2048, 0.998, 2e-2},
  {"mobilenetv2_imagenet", "features", 1280, 0.995, 5e-2},
};
#define FIRST 16

static gchar *
data_path (const gchar *name)
{
  const gchar *root = g_getenv ("PIRL_TEST_DATA");
  gchar *path = g_build_filename (root ? root : "../shared/data", name, NULL);

  if (g_file_test (path, G_FILE_TEST_EXISTS))
    return path;
  g_free (path);
  return NULL;
}

/* The model and its check values; FALSE (and the test marked skipped) without the data. */
static gboolean
open_check (const Model *of, gchar **model, JsonParser **parser)
{
  g_autofree gchar *check_name = g_strconcat ("weights/", of->name, ".check.json", NULL);
  g_autofree gchar *model_name = g_strconcat ("weights/", of->name, ".safetensors", NULL);
  g_autofree gchar *check = data_path (check_name);
  g_autoptr (GError) error = NULL;

  *model = data_path (model_name);
  if (!*model || !check) {
    g_test_skip ("PIRL_TEST_DATA has no weights of this name with check values");
    return FALSE;
  }
  *parser = json_parser_new ();
  json_parser_load_from_file (*parser, check, &error);
  g_assert_no_error (error);
  return TRUE;
}

static JsonArray *
check_cases (JsonParser *parser)
{
  return json_object_get_array_member (json_node_get_object (json_parser_get_root (parser)),
      "cases");
}

static gdouble
norm (const gfloat *values, gsize n)
{
  gdouble sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += (gdouble) values[i] * values[i];
  return sqrt (sum);
}

/* The first values of the feature, as the file has them. */
static void
expected_first (JsonObject *object, gfloat *first)
{
  JsonArray *array = json_object_get_array_member (object, "feature_first_16");

  for (guint i = 0; i < FIRST; i++)
    first[i] = (gfloat) json_array_get_double_element (array, i);
}

static gdouble
cosine (const gfloat *a, const gfloat *b, gsize n)
{
  gdouble dot = 0;

  for (gsize i = 0; i < n; i++)
    dot += (gdouble) a[i] * b[i];
  return dot / (norm (a, n) * norm (b, n));
}

static PirlEmbedder *
open_embedder (const gchar *model, const gchar *layer, const gchar *precision, guint batch)
{
  g_autoptr (GError) error = NULL;
  PirlEmbedder *embedder = pirl_embedder_new (model, layer, "cpu", precision, 2, batch, &error);

  g_assert_no_error (error);
  g_test_message ("%s, layer %s, %s, %s", pirl_embedder_model (embedder),
      pirl_embedder_layer (embedder), pirl_embedder_precision (embedder),
      pirl_embedder_device (embedder));
  return embedder;
}

/* The input that needs neither decoder nor resizer: element n is ((37 n) mod 255) / 127.5 - 1. */
static void
test_synthetic_parity (gconstpointer data)
{
  const Model *of = data;
  const guint features = of->features;
  g_autofree gchar *model = NULL;
  g_autoptr (JsonParser) parser = NULL;
  g_autoptr (PirlEmbedder) embedder = NULL, bf16 = NULL;
  g_autofree gfloat *input = g_new (gfloat, INPUT), *feature = g_new (gfloat, features);
  g_autofree gfloat *half = g_new (gfloat, features);
  gfloat first[FIRST];
  gdouble sum = 0;
  JsonObject *object;
  JsonArray *cases;
  g_autoptr (GError) error = NULL;

  if (!open_check (of, &model, &parser))
    return;
  cases = check_cases (parser);
  object = json_array_get_object_element (cases, json_array_get_length (cases) - 1);
  for (gsize n = 0; n < INPUT; n++)
    input[n] = (gfloat) ((n * 37) % 255) / 127.5f - 1;
  embedder = open_embedder (model, NULL, "f32", 1);
  g_assert_cmpstr (pirl_embedder_layer (embedder), ==, of->layer);
  g_assert_cmpuint (pirl_embedder_size (embedder), ==, features);
  pirl_embedder_run_floats (embedder, input, feature, &error);
  g_assert_no_error (error);
  expected_first (object, first);
  for (gsize i = 0; i < features; i++)
    sum += feature[i];
  g_test_message ("synthetic input: first %d values relative L2 %.2g, norm %.7g (%.7g), sum %.7g "
      "(%.7g)", FIRST, test_relative (feature, first, FIRST), norm (feature, features),
      json_object_get_double_member (object, "feature_l2"), sum,
      json_object_get_double_member (object, "feature_sum"));
  g_assert_cmpfloat (test_relative (feature, first, FIRST), <, 1e-5);
  g_assert_cmpfloat (fabs (norm (feature, features)
          / json_object_get_double_member (object, "feature_l2") - 1), <, 1e-5);
  g_assert_cmpfloat (fabs (sum / json_object_get_double_member (object, "feature_sum") - 1), <,
      1e-5);

  bf16 = pirl_embedder_new (model, NULL, "cpu", "bf16", 2, 1, &error);
  if (!bf16) {
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
    g_test_message ("no bf16: %s", error->message);
    return;
  }
  pirl_embedder_run_floats (bf16, input, half, &error);
  g_assert_no_error (error);
  g_test_message ("bf16: cosine with f32 %.6f", cosine (half, feature, features));
  g_assert_cmpfloat (cosine (half, feature, features), >=, of->half_cosine);
}

static void
load_picture (JsonObject *object, PirlImage *picture)
{
  g_autofree gchar *path = data_path (json_object_get_string_member (object, "file"));
  g_autoptr (GError) error = NULL;

  g_assert_nonnull (path);
  pirl_image_load (path, picture, NULL, &error);
  g_assert_no_error (error);
}

/* Photos through our decoder, resizer and network. Only 16 values, the norm and the sum of a feature
 * are known, so the cosine is bounded from the relative deviation of those. */
static void
test_photos (gconstpointer data)
{
  static const gchar *const precisions[] = { "f32", "bf16" };
  const Model *of = data;
  const guint features_n = of->features;
  g_autofree gchar *model = NULL;
  g_autoptr (JsonParser) parser = NULL;
  g_autofree gfloat *kept = NULL;
  JsonArray *cases;
  guint n;

  if (!open_check (of, &model, &parser))
    return;
  cases = check_cases (parser);
  n = json_array_get_length (cases) - 1;
  kept = g_new0 (gfloat, (gsize) n * features_n);
  for (guint p = 0; p < G_N_ELEMENTS (precisions); p++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (PirlEmbedder) embedder = pirl_embedder_new (model, of->layer, "cpu",
        precisions[p], 2, n + 1, &error);
    g_autofree gfloat *features = g_new (gfloat, (gsize) n * features_n);
    g_autofree PirlImage *pictures = g_new0 (PirlImage, n);
    g_autofree const PirlImage **pointers = g_new (const PirlImage *, n);

    if (p == 1 && g_error_matches (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED))
      return;
    g_assert_no_error (error);
    for (guint i = 0; i < n; i++) {
      load_picture (json_array_get_object_element (cases, i), &pictures[i]);
      pointers[i] = &pictures[i];
    }
    /* One batch that is not full. */
    pirl_embedder_run (embedder, pointers, n, features, &error);
    g_assert_no_error (error);
    for (guint i = 0; i < n; i++) {
      JsonObject *object = json_array_get_object_element (cases, i);
      const gfloat *feature = features + (gsize) i * features_n;
      const gdouble l2 = json_object_get_double_member (object, "feature_l2");
      gfloat first[FIRST];

      expected_first (object, first);
      g_test_message ("%s %s: cosine of the first values %.7f, norm off by %.2g", precisions[p],
          json_object_get_string_member (object, "file"), cosine (feature, first, FIRST),
          norm (feature, features_n) / l2 - 1);
      g_assert_cmpfloat (cosine (feature, first, FIRST), >=, p ? of->half_cosine : 0.9999);
      g_assert_cmpfloat (fabs (norm (feature, features_n) / l2 - 1), <, p ? of->half_norm : 1e-3);
      if (p == 0)
        memcpy (kept + (gsize) i * features_n, feature, features_n * sizeof (gfloat));
      else
        g_assert_cmpfloat (cosine (feature, kept + (gsize) i * features_n, features_n), >=,
            of->half_cosine);
      pirl_image_clear (&pictures[i]);
    }
  }
}

/* Index of the largest of @n values; it is set to -inf. */
static guint
take_largest (gfloat *values, guint n)
{
  guint best = 0;

  for (guint i = 1; i < n; i++)
    if (values[i] > values[best])
      best = i;
  values[best] = -INFINITY;
  return best;
}

static void
test_logits_top5 (void)
{
  g_autofree gchar *model = NULL;
  g_autoptr (JsonParser) parser = NULL;
  g_autoptr (PirlEmbedder) embedder = NULL;
  g_autofree gfloat *logits = g_new (gfloat, 1000);
  JsonArray *cases;
  g_autoptr (GError) error = NULL;

  if (!open_check (&models[0], &model, &parser))
    return;
  cases = check_cases (parser);
  embedder = open_embedder (model, "logits", "f32", 1);
  g_assert_cmpuint (pirl_embedder_size (embedder), ==, 1000);
  for (guint i = 0; i + 1 < json_array_get_length (cases); i++) {
    JsonObject *object = json_array_get_object_element (cases, i);
    JsonArray *top = json_object_get_array_member (object, "top5");
    PirlImage picture = { 0 };
    const PirlImage *pointer = &picture;

    load_picture (object, &picture);
    pirl_embedder_run (embedder, &pointer, 1, logits, &error);
    g_assert_no_error (error);
    pirl_image_clear (&picture);
    for (guint k = 0; k < 5; k++) {
      JsonObject *answer = json_array_get_object_element (top, k);
      const gint64 index = json_object_get_int_member (answer, "index");

      g_assert_cmpfloat (fabs (logits[index] - json_object_get_double_member (answer, "logit")), <,
          0.02);
      g_assert_cmpint (take_largest (logits, 1000), ==, index);
    }
  }
}

/* --- without data --- */

static gchar *
temporary_path (const gchar *name)
{
  return g_strdup_printf ("%s/pirl-net-embedder-%d-%s", g_get_tmp_dir (), (gint) getpid (), name);
}

static PirlTrainer *
small_trainer (PirlHead head)
{
  PirlTrainerConfig config;
  PirlTrainer *trainer;
  g_autoptr (GError) error = NULL;

  pirl_trainer_config_defaults (&config);
  config.trunk = (PirlTrunk) { PIRL_ARCH_RESNET18, 8, 0 };
  config.head = head;
  config.dim = 24;
  config.image_size = 48;
  config.patch_size = 16;
  config.batch = 4;
  config.bank_rows = 32;
  config.seed = 5;
  config.device = (gchar *) "cpu";
  trainer = pirl_trainer_new (&config, &error);
  g_assert_no_error (error);
  return trainer;
}

/* Pictures of a batch are cropped by several threads, whatever their sizes. */
static void
test_threads_crop (void)
{
  const guint n = 7, n_threads[] = { 1, 3 };
  gfloat rows[2][7 * 64];
  PirlImage pictures[7];
  const PirlImage *pointers[7];

  for (guint i = 0; i < n; i++) {
    pirl_image_init (&pictures[i], 50 + 13 * (gint) i, 130 - 9 * (gint) i);
    for (gsize k = 0; k < pictures[i].stride * pictures[i].height; k++)
      pictures[i].data[k] = (guint8) (k * (i + 3) + k / 100);
    pointers[i] = &pictures[i];
  }
  for (guint t = 0; t < G_N_ELEMENTS (n_threads); t++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (PirlEmbedder) embedder = pirl_embedder_new_random ("resnet18", 8, 0, 48, 5, NULL,
        "cpu", "f32", n_threads[t], 8, &error);

    g_assert_no_error (error);
    g_assert_cmpuint (pirl_embedder_size (embedder), ==, 64);
    for (guint again = 0; again < 3; again++) {
      pirl_embedder_run (embedder, pointers, n, rows[t], &error);
      g_assert_no_error (error);
    }
  }
  g_assert_cmpfloat (test_relative (rows[0], rows[1], n * 64), <, 1e-6);
  g_assert_cmpfloat (test_relative (rows[0], rows[0] + 64, 64), >, 1e-3);
  for (guint i = 0; i < n; i++)
    pirl_image_clear (&pictures[i]);
}

/* A checkpoint says how to prepare pictures and has the embedding; an untrained one is the random
 * network of the same seed; picking a batch's place does not change a result. */
static void
test_checkpoint_layers (void)
{
  static const PirlHead heads[] = { PIRL_HEAD_LINEAR, PIRL_HEAD_BN, PIRL_HEAD_MLP };
  g_autofree gchar *path = temporary_path ("layers.safetensors");
  g_autofree guint8 *bytes = test_pictures (3, 60, 8);
  PirlImage pictures[3];
  const PirlImage *pointers[3];

  for (guint i = 0; i < 3; i++) {
    pictures[i] = (PirlImage) { 60, 60, 180, bytes + i * 60 * 180 };
    pointers[i] = &pictures[i];
  }
  for (guint h = 0; h < G_N_ELEMENTS (heads); h++) {
    g_autoptr (PirlTrainer) trainer = small_trainer (heads[h]);
    g_autoptr (PirlEmbedder) embedder = NULL, res5 = NULL, random = NULL;
    gfloat rows[3 * 24], alone[24], a[64], b[64];
    g_autoptr (GError) error = NULL;

    pirl_trainer_save (trainer, path, NULL, &error);
    g_assert_no_error (error);
    embedder = open_embedder (path, NULL, "f32", 4);
    g_assert_cmpstr (pirl_embedder_layer (embedder), ==, "embedding");
    g_assert_cmpuint (pirl_embedder_size (embedder), ==, 24);
    pirl_embedder_run (embedder, pointers, 3, rows, &error);
    g_assert_no_error (error);
    for (guint i = 0; i < 3; i++)
      g_assert_cmpfloat_with_epsilon (norm (rows + i * 24, 24), 1, 1e-5);
    pirl_embedder_run (embedder, pointers + 1, 1, alone, &error);
    g_assert_no_error (error);
    g_assert_cmpfloat (test_relative (alone, rows + 24, 24), <, 1e-6);

    res5 = open_embedder (path, "res5", "f32", 1);
    random = pirl_embedder_new_random ("resnet18", 8, 0, 48, 5, NULL, "cpu", "f32", 1, 1,
        &error);
    g_assert_no_error (error);
    g_assert_cmpuint (pirl_embedder_size (random), ==, 64);
    pirl_embedder_run (res5, pointers, 1, a, &error);
    pirl_embedder_run (random, pointers, 1, b, &error);
    g_assert_no_error (error);
    g_assert_cmpfloat (test_relative (a, b, 64), <, 1e-6);
  }
  g_unlink (path);
}

/* A checkpoint's network for pictures of another size: all of such a picture goes into it, as it is. */
static void
test_other_size (void)
{
  enum { SIDE = 20 };
  g_autofree gchar *path = temporary_path ("size.safetensors");
  g_autofree guint8 *bytes = test_pictures (1, SIDE, 8);
  const PirlImage picture = { SIDE, SIDE, 3 * SIDE, bytes }, *pointer = &picture;
  static const gfloat mean[] = { .485f, .456f, .406f }, std[] = { .229f, .224f, .225f };
  g_autoptr (PirlTrainer) trainer = small_trainer (PIRL_HEAD_BN);
  g_autoptr (PirlEmbedder) embedder = NULL, random = NULL;
  gfloat input[3 * SIDE * SIDE], a[64], b[64];
  g_autoptr (GError) error = NULL;

  pirl_trainer_save (trainer, path, NULL, &error);
  g_assert_no_error (error);
  embedder = pirl_embedder_new_at (path, SIDE, "features", "cpu", "f32", 1, 1, &error);
  g_assert_no_error (error);
  g_assert_cmpint (pirl_embedder_short_side (embedder), ==, SIDE);
  g_assert_cmpint (pirl_embedder_crop (embedder), ==, SIDE);
  g_assert_true (pirl_embedder_run (embedder, &pointer, 1, a, &error));
  random = pirl_embedder_new_random ("resnet18", 8, 0, SIDE, 5, "features", "cpu", "f32", 1, 1,
      &error);
  g_assert_no_error (error);
  for (guint c = 0; c < 3; c++)
    for (guint i = 0; i < SIDE * SIDE; i++)
      input[c * SIDE * SIDE + i] = (bytes[3 * i + c] / 255.f - mean[c]) / std[c];
  g_assert_true (pirl_embedder_run_floats (random, input, b, &error));
  g_assert_cmpfloat (test_relative (a, b, 64), <, 1e-5);
  g_assert_null (pirl_embedder_new_at (path, 0, NULL, "cpu", "f32", 1, 1, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_unlink (path);
}

static void
test_errors (void)
{
  g_autofree gchar *path = temporary_path ("errors.safetensors");
  g_autoptr (PirlTrainer) trainer = small_trainer (PIRL_HEAD_BN);
  g_autoptr (GError) error = NULL;
  const struct {
    const gchar *file, *layer, *device, *precision;
    gint code;
    const gchar *says;
  } cases[] = {
    {"/nonexistent/x.safetensors", NULL, "cpu", "auto", PIRL_ERROR_IO, "x.safetensors"},
    {path, "logits", "cpu", "auto", PIRL_ERROR_MISMATCH, "it has embedding, res5"},
    {path, "res7", "cpu", "auto", PIRL_ERROR_MISMATCH, "res4, res3, res2, res1, features"},
    {path, NULL, "cpu", "f8", PIRL_ERROR_INVALID, "f8"},
    {path, NULL, "tpu", "auto", PIRL_ERROR_INVALID, "tpu"},
  };

  pirl_trainer_save (trainer, path, NULL, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_assert_null (pirl_embedder_new (cases[i].file, cases[i].layer, cases[i].device,
            cases[i].precision, 1, 1, &error));
    g_assert_error (error, PIRL_ERROR, cases[i].code);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, cases[i].says));
    g_clear_error (&error);
  }
  g_unlink (path);
}

/* Metadata in every spelling, and damaged: read or refused with the value named. */
static void
test_metadata (void)
{
  static const struct {
    const gchar *key, *value;
    gboolean good;
  } cases[] = {
    {"input_size", "3x48x48 (RGB, NCHW)", TRUE},
    {"input_size", "64", TRUE},
    {"input_size", "many", FALSE},
    {"input_size", "-3", FALSE},
    {"resize", "256 (shorter side) then centre crop 224", TRUE},
    {"resize", "100", FALSE},
    {"mean", "0.1,0.2,0.3", TRUE},
    {"mean", "0.1 0.2 0.3", FALSE},
    {"std", "0.1,0.2,0", FALSE},
    {"std", "0.1,0.2,nan", FALSE},
  };
  g_autofree gchar *path = temporary_path ("metadata.safetensors");
  g_autoptr (PirlTrainer) trainer = small_trainer (PIRL_HEAD_BN);
  PirlParams *params = pirl_trainer_params (trainer);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
    g_autoptr (GPtrArray) hosts = g_ptr_array_new_with_free_func (g_free);
    g_autoptr (PirlEmbedder) embedder = NULL;
    g_autoptr (GError) error = NULL;

    for (guint p = 0; p < pirl_params_count (params); p++) {
      const PirlParamSpec *spec = pirl_params_spec (params, p);

      g_ptr_array_add (hosts, test_read_param (params, PIRL_ARENA_VALUE, p));
      pirl_safetensors_writer_add (writer, spec->name, PIRL_DTYPE_F32, &spec->shape,
          hosts->pdata[p]);
    }
    pirl_safetensors_writer_metadata (writer, cases[i].key, cases[i].value);
    pirl_safetensors_writer_write (writer, path, &error);
    g_assert_no_error (error);
    embedder = pirl_embedder_new (path, "res2", "cpu", "f32", 1, 1, &error);
    if (cases[i].good) {
      g_assert_no_error (error);
      continue;
    }
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
    g_test_message ("%s", error->message);
    g_assert_nonnull (strstr (error->message, cases[i].value));
  }
  g_unlink (path);
}

/* A small file that promises a ResNet-50 of width 1024 (24 GB): refused for what it lacks, before
 * any memory is taken. */
static void
test_hollow_file (void)
{
  static const gint blocks[] = { 3, 4, 6, 3 };
  g_autofree gchar *path = temporary_path ("hollow.safetensors");
  g_autofree gfloat *zeros = g_new0 (gfloat, 1024 * 147);
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  const PirlShape stem = { 4, {1024, 3, 7, 7} }, tiny = { 4, {1, 1, 1, 1} };
  g_autoptr (GError) error = NULL;

  pirl_safetensors_writer_add (writer, "conv1.weight", PIRL_DTYPE_F32, &stem, zeros);
  pirl_safetensors_writer_add (writer, "layer1.0.conv3.weight", PIRL_DTYPE_F32, &tiny, zeros);
  for (guint stage = 0; stage < 4; stage++)
    for (gint block = 0; block < blocks[stage]; block++) {
      g_autofree gchar *name = g_strdup_printf ("layer%u.%d.conv1.weight", stage + 1, block);

      pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &tiny, zeros);
    }
  pirl_safetensors_writer_write (writer, path, &error);
  g_assert_no_error (error);
  g_assert_null (pirl_embedder_new (path, NULL, "cpu", "f32", 1, 1, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_test_message ("%s", error->message);
  g_unlink (path);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/embedder/threads-crop", test_threads_crop);
  g_test_add_func ("/embedder/checkpoint-layers", test_checkpoint_layers);
  g_test_add_func ("/embedder/other-size", test_other_size);
  g_test_add_func ("/embedder/errors", test_errors);
  g_test_add_func ("/embedder/metadata", test_metadata);
  g_test_add_func ("/embedder/hollow-file", test_hollow_file);
  for (guint i = 0; i < G_N_ELEMENTS (models); i++) {
    g_autofree gchar *parity = g_strconcat ("/embedder/synthetic-parity/", models[i].name, NULL);
    g_autofree gchar *photos = g_strconcat ("/embedder/photos/", models[i].name, NULL);

    g_test_add_data_func (parity, &models[i], test_synthetic_parity);
    g_test_add_data_func (photos, &models[i], test_photos);
  }
  g_test_add_func ("/embedder/logits-top5", test_logits_top5);
  return g_test_run ();
}
