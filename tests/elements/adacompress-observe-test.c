/* adacompressenc's observations: what the agent sees is what a real encode and decode would show.
 *
 * Shifts are compared with features of files that libjpeg encoded and decoded, sizes with the bytes
 * of real files. Needs PIRL_TEST_DATA (kodak/, weights/) where an extractor is used; skips without.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <string.h>

#include "backends/backend.h"
#include "cloud.h"
#include "net/embedder.h"
#include "observe.h"
#include "vision/synthetic.h"

static const gint qualities[] = { 5, 9, 12, 15, 25, 40, 75 };
/* Where the probes are among them. */
static const guint probe_level[] = { 0, 1, 3, 4 };

#define LEVELS G_N_ELEMENTS (qualities)
#define PROBES G_N_ELEMENTS (probe_level)

static gchar *
test_data (const gchar *folder, const gchar *name)
{
  const gchar *root = g_getenv ("PIRL_TEST_DATA");
  g_autofree gchar *path = g_build_filename (root ? root : "../shared/data", folder, name, NULL);

  if (g_file_test (path, G_FILE_TEST_EXISTS))
    return g_steal_pointer (&path);
  g_test_skip ("PIRL_TEST_DATA does not have it");
  return NULL;
}

static void
load_coder (PirlJpegCoder *coder, const PirlImage *image)
{
  const PirlRaw raw = { .width = image->width, .height = image->height, .n_components = 3,
    .rgb = TRUE, .data = { image->data, image->data + 1, image->data + 2 },
    .stride = { image->stride, image->stride, image->stride }, .step = { 3, 3, 3 },
    .full_range = TRUE, .kr = .299, .kb = .114 };
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlYccConverter) converter = pirl_ycc_converter_new (&raw, &error);
  PirlYcc ycc;

  g_assert_no_error (error);
  pirl_ycc_convert (converter, &raw, &ycc);
  g_assert_true (pirl_jpeg_coder_load (coder, &ycc, &error));
}

static AdaObserver *
observer_new (const gchar *extractor, AdaFeatures features)
{
  const AdaObserverConfig config = { .extractor = extractor, .features = features,
    .qualities = qualities, .levels = LEVELS, .huffman = PIRL_HUFFMAN_OPTIMIZED,
    .device = "cpu", .n_threads = 1 };
  g_autoptr (GError) error = NULL;
  AdaObserver *observer = ada_observer_new (&config, &error);

  g_assert_no_error (error);
  return observer;
}

static gsize
file_size (PirlJpegCoder *coder, gint quality, PirlHuffman huffman)
{
  g_autoptr (GError) error = NULL;
  const guint8 *data;
  gsize size;

  g_assert_true (pirl_jpeg_coder_encode (coder, quality, huffman, &data, &size, &error));
  return size;
}

/* Without an extractor: constant, quality, size, density; sizes near those of the real files. */
static void
test_sizes_are_those_of_files (void)
{
  g_autoptr (AdaObserver) observer = observer_new (NULL, ADA_FEATURES_SHIFT);
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  PirlImage image = { 0 };

  g_assert_cmpuint (ada_observer_features (observer), ==, 0);
  g_assert_cmpuint (ada_observer_probes (observer, NULL), ==, 0);
  for (guint k = 0; k < 6; k++) {
    g_autoptr (AdaObservation) seen = NULL;
    g_autoptr (GError) error = NULL;
    gsize reference;

    pirl_synthetic_draw (k, 6, 200 + 50 * (gint) k, 3, &image);
    load_coder (coder, &image);
    seen = ada_observer_run (observer, coder, &error);
    g_assert_no_error (error);
    reference = file_size (coder, 75, PIRL_HUFFMAN_STANDARD);
    for (guint l = 0; l < LEVELS; l++) {
      const gfloat *phi = seen->phi + l * seen->inputs;
      const gdouble real = (gdouble) file_size (coder, qualities[l], PIRL_HUFFMAN_OPTIMIZED)
          / reference;

      g_assert_cmpfloat_with_epsilon (seen->sizes[l], real, .05 * real + .005);
      g_assert_cmpfloat (phi[0], ==, 1);
      g_assert_cmpfloat_with_epsilon (phi[1], log (qualities[l] / 10.), 1e-6);
      g_assert_cmpfloat_with_epsilon (phi[2], phi[1] * phi[1], 1e-6);
      g_assert_cmpfloat_with_epsilon (phi[3], log (real), .06 + .005 / real);
      g_assert_cmpfloat_with_epsilon (phi[4], log (8. * reference / (image.width
                  * (gdouble) image.height)), .05);
    }
  }
  pirl_image_clear (&image);
}

/* cos of the extractor's features of @a and @b, by the test's own arithmetic. */
static gdouble
cosine (const gfloat *a, const gfloat *b, guint n)
{
  gdouble ab = 0, aa = 0, bb = 0;

  for (guint i = 0; i < n; i++) {
    ab += (gdouble) a[i] * b[i];
    aa += (gdouble) a[i] * a[i];
    bb += (gdouble) b[i] * b[i];
  }
  return ab / sqrt (aa * bb);
}

/* log (.001 + 1 - cos) between @frame and the file of each probe, really decoded. */
static void
real_shifts (PirlEmbedder *extractor, PirlJpegCoder *coder, const PirlImage *frame,
    const gint *probes, gdouble *shift)
{
  const guint n = pirl_embedder_size (extractor);
  g_autofree gfloat *whole = g_new (gfloat, n), *left = g_new (gfloat, n);
  g_autoptr (GError) error = NULL;

  g_assert_true (pirl_embedder_run (extractor, &frame, 1, whole, &error));
  for (guint i = 0; i < PROBES; i++) {
    PirlImage decoded = { 0 };
    const PirlImage *picture = &decoded;
    const guint8 *data;
    gsize size;

    g_assert_true (pirl_jpeg_coder_encode (coder, probes[i], PIRL_HUFFMAN_STANDARD, &data, &size,
            &error));
    g_assert_true (pirl_image_decode (data, size, 0, TRUE, &decoded, NULL, &error));
    g_assert_true (pirl_embedder_run (extractor, &picture, 1, left, &error));
    shift[i] = log (1e-3 + 1 - cosine (whole, left, n));
    pirl_image_clear (&decoded);
  }
}

static gdouble
correlation (const gdouble *x, const gdouble *y, guint n)
{
  gdouble mx = 0, my = 0, xy = 0, xx = 0, yy = 0;

  for (guint i = 0; i < n; i++) {
    mx += x[i] / n;
    my += y[i] / n;
  }
  for (guint i = 0; i < n; i++) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
  }
  return xy / sqrt (xx * yy);
}

/* Previews at a reduced size, from coefficients, move the features as real files do. */
static void
test_shift_is_that_of_real_files (void)
{
  static const gchar *const names[] = { "02.png", "04.png", "05.png", "08.png", "15.png", "19.png",
    "20.png", "23.png" };
  g_autofree gchar *model = test_data ("weights", "mobilenetv2_imagenet.safetensors");
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autoptr (PirlEmbedder) extractor = NULL;
  g_autoptr (AdaObserver) observer = NULL;
  g_autoptr (GError) error = NULL;
  gdouble seen[G_N_ELEMENTS (names) * PROBES], real[G_N_ELEMENTS (names) * PROBES], off = 0;
  const gint *probes;
  const guint n = G_N_ELEMENTS (seen);

  if (!model)
    return;
  extractor = pirl_embedder_new (model, "features", "cpu", "f32", 1, 1, &error);
  g_assert_no_error (error);
  observer = observer_new (model, ADA_FEATURES_SHIFT);
  g_assert_cmpuint (ada_observer_probes (observer, &probes), ==, PROBES);
  for (guint k = 0; k < G_N_ELEMENTS (names); k++) {
    g_autofree gchar *path = test_data ("kodak", names[k]);
    g_autoptr (AdaObservation) observation = NULL;
    PirlImage image = { 0 };

    if (!path)
      return;
    g_assert_true (pirl_image_load (path, &image, NULL, &error));
    load_coder (coder, &image);
    observation = ada_observer_run (observer, coder, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (observation->inputs, ==, 4);
    real_shifts (extractor, coder, &image, probes, real + k * PROBES);
    for (guint i = 0; i < PROBES; i++)
      seen[k * PROBES + i] = observation->phi[probe_level[i] * 4 + 2];
    pirl_image_clear (&image);
  }
  for (guint i = 0; i < n; i++)
    off += fabs (seen[i] - real[i]) / n;
  g_test_message ("log shift, previews against real files: correlation %.4f, mean difference %.3f",
      correlation (seen, real, n), off);
  g_assert_cmpfloat (correlation (seen, real, n), >, .97);
  g_assert_cmpfloat (off, <, .15);
}

/* Between two probes the shift is linear in log quality; the last input is the probes' mean. */
static void
test_shift_is_interpolated (void)
{
  g_autofree gchar *model = test_data ("weights", "mobilenetv2_imagenet.safetensors");
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autoptr (AdaObserver) observer = NULL;
  g_autoptr (AdaObservation) seen = NULL;
  g_autoptr (GError) error = NULL;
  PirlImage image = { 0 };
  gdouble shift[LEVELS], mean = 0;
  const gint *probes;

  if (!model)
    return;
  observer = observer_new (model, ADA_FEATURES_SHIFT);
  g_assert_cmpuint (ada_observer_probes (observer, &probes), ==, PROBES);
  pirl_synthetic_draw (4, 6, 300, 3, &image);
  load_coder (coder, &image);
  seen = ada_observer_run (observer, coder, &error);
  g_assert_no_error (error);
  for (guint l = 0; l < LEVELS; l++)
    shift[l] = seen->phi[l * seen->inputs + 2];
  for (guint i = 0; i < PROBES; i++) {
    g_assert_cmpint (probes[i], ==, qualities[probe_level[i]]);
    mean += shift[probe_level[i]] / PROBES;
  }
  g_assert_cmpfloat_with_epsilon (shift[2], shift[1] + (shift[3] - shift[1]) * log (12 / 9.)
      / log (15 / 9.), 1e-4);
  for (guint l = 0; l < LEVELS; l++)
    g_assert_cmpfloat_with_epsilon (seen->phi[l * seen->inputs + 3], mean, 1e-4);
  g_assert_nonnull (seen->features);
  g_assert_cmpuint (seen->n_features, ==, 1280);
  pirl_image_clear (&image);
}

/* Any picture gives finite numbers: a flat one, a pixel, a line. */
static void
test_odd_pictures_are_finite (void)
{
  static const gint sizes[][2] = { {1, 1}, {7, 300}, {300, 5}, {64, 64} };
  g_autofree gchar *model = test_data ("weights", "mobilenetv2_imagenet.safetensors");
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();

  for (guint mode = 0; model && mode < 2; mode++) {
    g_autoptr (AdaObserver) observer = observer_new (model, mode ? ADA_FEATURES_FRAME
        : ADA_FEATURES_SHIFT);

    for (guint k = 0; k < G_N_ELEMENTS (sizes); k++) {
      g_autoptr (AdaObservation) seen = NULL;
      g_autoptr (GError) error = NULL;
      PirlImage image = { 0 };

      pirl_image_init (&image, sizes[k][0], sizes[k][1]);
      memset (image.data, 90, image.stride * (gsize) image.height);
      load_coder (coder, &image);
      seen = ada_observer_run (observer, coder, &error);
      g_assert_no_error (error);
      for (guint i = 0; i < seen->levels * seen->inputs; i++)
        g_assert_true (isfinite (seen->phi[i]));
      for (guint l = 0; l < seen->levels; l++)
        g_assert_cmpfloat (seen->sizes[l], >, 0);
      pirl_image_clear (&image);
    }
  }
}

/* The same frame gives the same numbers, in another observer too. */
static void
test_frame_features_are_reproducible (void)
{
  g_autofree gchar *model = test_data ("weights", "mobilenetv2_imagenet.safetensors");
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autoptr (AdaObservation) first = NULL, again = NULL;
  PirlImage image = { 0 };
  gdouble squares = 0;

  if (!model)
    return;
  pirl_synthetic_draw (2, 6, 256, 3, &image);
  load_coder (coder, &image);
  for (guint k = 0; k < 2; k++) {
    g_autoptr (AdaObserver) observer = observer_new (model, ADA_FEATURES_FRAME);
    g_autoptr (GError) error = NULL;

    *(k ? &again : &first) = ada_observer_run (observer, coder, &error);
    g_assert_no_error (error);
  }
  g_assert_cmpuint (first->inputs, ==, 36);
  for (guint i = 0; i < first->levels * first->inputs; i++)
    g_assert_cmpfloat (first->phi[i], ==, again->phi[i]);
  /* Projections of a vector of unit length by unit Gaussians: squares are chi-squared (32). */
  for (guint i = 4; i < 36; i++)
    squares += first->phi[i] * first->phi[i];
  g_assert_cmpfloat (squares, >, 10);
  g_assert_cmpfloat (squares, <, 70);
  pirl_image_clear (&image);
}

static void
test_wrong_qualities_are_refused (void)
{
  static const gint bad[][2] = { {9, 5}, {5, 5}, {0, 75}, {5, 101} };

  for (guint k = 0; k < G_N_ELEMENTS (bad); k++) {
    const AdaObserverConfig config = { .qualities = bad[k], .levels = 2 };
    g_autoptr (GError) error = NULL;

    g_assert_null (ada_observer_new (&config, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  }
}

/* The CUDA module is one that is made up (tests/kernels/fake-cuda.c) and notes when somebody opens
 * its card, which is not there. */
static void
test_auto_is_the_cpu (void)
{
  static const gchar *const devices[] = { NULL, "auto", "cuda" };
  g_autofree gchar *extractor = g_build_filename (g_getenv ("PIRL_TEST_MODELS"),
      "extractor.safetensors", NULL);
  g_autofree gchar *uri = g_strconcat ("local:", g_getenv ("PIRL_TEST_MODELS"),
      "/classifier-synthetic.safetensors", NULL);

  for (guint i = 0; i < G_N_ELEMENTS (devices); i++) {
    const gboolean cuda = g_strcmp0 (devices[i], "cuda") == 0;
    const AdaObserverConfig config = { .extractor = extractor, .qualities = qualities,
      .levels = LEVELS, .device = devices[i], .n_threads = 1 };
    g_autoptr (GError) error = NULL, cloud_error = NULL;
    g_autoptr (AdaObserver) observer = ada_observer_new (&config, &error);
    g_autoptr (GObject) cloud = (GObject *) ada_cloud_new (uri, devices[i], 1, &cloud_error);

    if (!cuda) {
      g_assert_no_error (error);
      g_assert_no_error (cloud_error);
      g_assert_null (pirl_cuda_reason ());
      continue;
    }
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
    g_assert_error (cloud_error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
    g_assert_cmpstr (pirl_cuda_reason (), ==, "there is no card 0");
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/observe/sizes-are-those-of-files", test_sizes_are_those_of_files);
  g_test_add_func ("/observe/shift-is-that-of-real-files", test_shift_is_that_of_real_files);
  g_test_add_func ("/observe/shift-is-interpolated", test_shift_is_interpolated);
  g_test_add_func ("/observe/odd-pictures-are-finite", test_odd_pictures_are_finite);
  g_test_add_func ("/observe/frame-features-are-reproducible",
      test_frame_features_are_reproducible);
  g_test_add_func ("/observe/wrong-qualities-are-refused", test_wrong_qualities_are_refused);
  g_test_add_func ("/observe/auto-is-the-cpu", test_auto_is_the_cpu);
  return g_test_run ();
}
