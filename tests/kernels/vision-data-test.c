/* gst-pirl: decoding and preparing the shared test data: corrupt JPEGs, photos with known values.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads $PIRL_TEST_DATA (default: the folder given as argument); exits 77 where it is absent. */
#include "config.h"
#include "vision-common.h"

#include <math.h>
#include <json-glib/json-glib.h>

static gchar *data_path;

/* The data set's README: Pillow 9.4 loads 50 of them; which is no verdict on the others. */
static void
test_corrupt_corpus (void)
{
  g_autofree gchar *path = g_build_filename (data_path, "corrupt-jpeg", NULL);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  guint files = 0, good = 0, truncated = 0, refused = 0;
  const gchar *name;
  PirlImage image = { 0 };

  g_assert_nonnull (dir);
  while ((name = g_dir_read_name (dir))) {
    g_autofree gchar *file = g_build_filename (path, name, NULL);
    g_autoptr (GError) error = NULL;
    PirlDecodeInfo info;

    files++;
    if (!pirl_image_load (file, &image, &info, &error)) {
      refused++;
      g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
      g_assert_nonnull (strstr (error->message, name));
    } else if (info.truncated)
      truncated++;
    else
      good++;
  }
  pirl_image_clear (&image);
  g_test_message ("%u files: %u good, %u truncated, %u refused", files, good, truncated, refused);
  g_assert_cmpuint (files, ==, 299);
  g_assert_cmpuint (good + truncated, >=, 40);
  g_assert_cmpuint (refused, >=, 200);
}

static void
check_photo (JsonObject *each, PirlResizer *resizer)
{
  static const gdouble mean = 0.485, deviation = 0.229; /* of red, as ImageNet's */
  const gchar *name = json_object_get_string_member (each, "file");
  g_autofree gchar *path = g_build_filename (data_path, name, NULL);
  JsonArray *means = json_object_get_array_member (each, "crop_rgb_mean");
  JsonArray *first = json_object_get_array_member (each, "input_first_8");
  PirlImage photo = { 0 }, crop = { 0 };
  gdouble sum[3] = { 0 };

  g_assert_true (pirl_image_load (path, &photo, NULL, NULL));
  pirl_resize_center_crop (resizer, &photo, 256, 224, &crop);
  for (gsize i = 0; i < 3 * 224 * 224; i++)
    sum[i % 3] += crop.data[i];
  for (guint c = 0; c < 3; c++)
    g_assert_cmpfloat (fabs (sum[c] / (224 * 224) - json_array_get_double_element (means, c)), <,
        1e-4);
  for (guint x = 0; x < 8; x++)
    g_assert_cmpfloat (fabs ((crop.data[3 * x] / 255.0 - mean) / deviation
            - json_array_get_double_element (first, x)), <, 1e-4);
  g_test_message ("%s: mean %.3f %.3f %.3f", name, sum[0] / (224 * 224), sum[1] / (224 * 224),
      sum[2] / (224 * 224));
  pirl_image_clear (&photo);
  pirl_image_clear (&crop);
}

static void
test_known_photos (void)
{
  g_autofree gchar *path = g_build_filename (data_path, "weights",
      "resnet50_imagenet_pqf.check.json", NULL);
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  JsonArray *cases;
  guint checked = 0;

  g_assert_true (json_parser_load_from_file (parser, path, NULL));
  cases = json_object_get_array_member (json_node_get_object (json_parser_get_root (parser)),
      "cases");
  for (guint i = 0; i < json_array_get_length (cases); i++) {
    JsonObject *each = json_array_get_object_element (cases, i);

    if (json_object_has_member (each, "crop_rgb_mean")) {
      check_photo (each, resizer);
      checked++;
    }
  }
  g_assert_cmpuint (checked, ==, 3);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  data_path = g_strdup (g_getenv ("PIRL_TEST_DATA"));
  if (!data_path && argc > 1)
    data_path = g_strdup (argv[1]);
  if (!data_path || !g_file_test (data_path, G_FILE_TEST_IS_DIR)) {
    g_print ("1..0 # SKIP no test data at %s (set PIRL_TEST_DATA)\n", data_path ? data_path : "?");
    return 77;
  }
  g_test_add_func ("/vision/corrupt-corpus-is-survived", test_corrupt_corpus);
  g_test_add_func ("/vision/photos-have-their-known-values", test_known_photos);
  return g_test_run ();
}
