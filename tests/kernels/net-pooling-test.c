/* gst-pirl: maps pooled for probes, and several layers of a network at once.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/embedder.h"
#include "net/pooling.h"

#include <math.h>
#include <string.h>

#define assert_near(a, b) g_assert_cmpfloat_with_epsilon ((a), (b), 1e-6)

/* Pooled sizes: the protocol's table for a ResNet-50 at 224 px, the largest square elsewhere. */
static void
test_sizes (void)
{
  static const struct {
    gint channels, map, side;
  } cases[] = {
    {256, 56, 6}, {512, 28, 4}, {1024, 14, 3}, {2048, 7, 2},    /* ResNet-50, 224 px: the table */
    {64, 56, 12}, {128, 28, 8}, {256, 14, 6}, {512, 7, 4},      /* ResNet-18, 224 px */
    {2048, 2, 2}, {512, 2, 2}, {2048, 1, 1}, {256, 4, 4},       /* 64 px */
    {1280, 7, 2}, {9216, 7, 1}, {20000, 7, 1}, {1, 3, 3},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const PirlPooling pooling = pirl_pooling_for ((PirlDims) { 1, cases[i].channels, cases[i].map,
      cases[i].map });

    g_assert_cmpint (pooling.side, ==, cases[i].side);
    g_assert_cmpint (pooling.window > 0, ==, i < 4);
  }
}

/* 3 x 3 to 2 x 2: each place sees 2 x 2 of them, the middle is seen by all (PyTorch's adaptive
 * average). The channel is innermost. */
static void
test_adaptive (void)
{
  const PirlPooling pooling = {.map = {1, 2, 3, 3},.side = 2 };
  const gfloat map[18] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90 };
  gfloat out[8];

  pirl_pooling_run (&pooling, map, out);
  assert_near (out[0], 3);
  assert_near (out[1], 30);
  assert_near (out[2], 4);
  assert_near (out[4], 6);
  assert_near (out[6], 7);
  assert_near (out[7], 70);
}

/* 28 x 28, windows of 13 at a stride of 5: place (y, x) has the mean of its rows and columns. */
static void
test_windows (void)
{
  const PirlPooling pooling = pirl_pooling_for ((PirlDims) { 1, 512, 28, 28 });
  g_autofree gfloat *map = g_new (gfloat, 512 * 28 * 28);
  gfloat out[16 * 512];

  for (gint i = 0; i < 512 * 28 * 28; i++)
    map[i] = i / 784 + i / 28 % 28 * 0.5f + i % 28;
  pirl_pooling_run (&pooling, map, out);
  for (gint y = 0; y < 4; y++)
    for (gint x = 0; x < 4; x++)
      for (gint c = 0; c < 512; c += 73)
        g_assert_cmpfloat_with_epsilon (out[(y * 4 + x) * 512 + c],
            c + (5 * y + 6) * 0.5 + 5 * x + 6, 1e-3);
}

/* ---- layers ---------------------------------------------------------------------------------- */

static PirlEmbedder *
make (const gchar *arch, const gchar *layer, guint batch, GError **error)
{
  return pirl_embedder_new_random (arch, 8, 0.35, 64, 3, layer, "cpu", "f32", 1, batch, error);
}

/* @n pictures' rows; free them. */
static gfloat *
rows_of (const gchar *arch, const gchar *layer, guint batch, guint n, guint *size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlEmbedder) embedder = make (arch, layer, batch, &error);
  PirlImage image[3];
  const PirlImage *pictures[3];
  gfloat *rows;

  g_assert_no_error (error);
  *size = pirl_embedder_size (embedder);
  rows = g_new (gfloat, n * *size);
  for (guint i = 0; i < n; i++) {
    pirl_image_init (&image[i], 80, 90);
    for (gsize j = 0; j < image[i].stride * 90; j++)
      image[i].data[j] = (guint8) (j * (7 + i) / 3 + j / 501);
    pictures[i] = &image[i];
  }
  pirl_embedder_run (embedder, pictures, n, rows, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < n; i++)
    pirl_image_clear (&image[i]);
  return rows;
}

/* Several layers at once are what each is by itself, one behind the other; and a pooled map's mean
 * over its places is the global average where the places are of one size. */
static void
test_layers (void)
{
  const gchar *const layers[] = { "res4-9k", "features", "res2", "res5" };
  guint size, offset = 0;
  g_autofree gfloat *all = rows_of ("resnet18", "res4-9k,features,res2,res5", 3, 2, &size);

  for (guint i = 0; i < G_N_ELEMENTS (layers); i++) {
    guint own;
    g_autofree gfloat *rows = rows_of ("resnet18", layers[i], 3, 2, &own);

    for (guint n = 0; n < 2; n++)
      g_assert_true (memcmp (all + n * size + offset, rows + n * own, own * sizeof *rows) == 0);
    offset += own;
  }
  g_assert_cmpuint (offset, ==, size);
  {
    guint own, channels;
    g_autofree gfloat *pooled = rows_of ("resnet18", "res4", 3, 2, &channels);
    g_autofree gfloat *map = rows_of ("resnet18", "res4-9k", 3, 2, &own);

    /* 32 channels of 4 x 4: as they are. */
    g_assert_cmpuint (own, ==, 16 * channels);
    for (guint c = 0; c < channels; c++) {
      gdouble sum = 0;

      for (guint p = 0; p < 16; p++)
        sum += map[own + p * channels + c];
      g_assert_cmpfloat_with_epsilon (sum / 16, pooled[channels + c], 1e-5);
    }
  }
}

static void
expect_dimensions (const gchar *arch, const gchar *layer, const gchar *dimensions)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlEmbedder) embedder = make (arch, layer, 1, &error);

  g_assert_no_error (error);
  g_assert_cmpstr (pirl_embedder_dimensions (embedder), ==, dimensions);
  g_assert_cmpstr (pirl_embedder_layer (embedder), ==, layer);
}

static void
expect_refusal (const gchar *arch, const gchar *layer, const gchar *words)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlEmbedder) embedder = make (arch, layer, 1, &error);

  g_assert_null (embedder);
  if (!strstr (error->message, words))
    g_error ("\"%s\" does not say \"%s\"", error->message, words);
}

static void
test_names (void)
{
  expect_dimensions ("resnet18", "res5", "64:1:1:1");
  expect_dimensions ("resnet18", "res1-9k,res5-9k", "8:16:16:1,64:2:2:1");
  expect_dimensions ("resnet50", "res2-9k", "32:16:16:1");
  expect_dimensions ("mobilenetv2", "features,features-9k", "1280:1:1:1,1280:2:2:1");
  expect_refusal ("resnet18", "res5,res6", "no layer \"res6\"; it has res5, res4");
  expect_refusal ("resnet18", "res5,", "no layer \"\"");
  expect_refusal ("resnet18", "logits-9k", "no layer \"logits-9k\"");
  expect_refusal ("resnet18", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "17 layers; 1 to 16");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/pooling/sizes", test_sizes);
  g_test_add_func ("/pooling/adaptive", test_adaptive);
  g_test_add_func ("/pooling/windows", test_windows);
  g_test_add_func ("/layers/together", test_layers);
  g_test_add_func ("/layers/names", test_names);
  return g_test_run ();
}
