/* gst-pirl: resizing, colour and decoding against what Pillow and torchvision gave.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Usage: vision-golden-test vision-golden.json (made by vision-golden.py). Equality is exact. */
#include "config.h"
#include "vision-common.h"

#include <json-glib/json-glib.h>

static JsonObject *golden;

typedef void (*CaseFunc) (JsonObject *each);

static gint
int_at (JsonArray *array, guint i)
{
  return (gint) json_array_get_int_element (array, i);
}

static void
for_each_case (const gchar *section, CaseFunc func)
{
  JsonArray *cases = json_object_get_array_member (golden, section);

  g_assert_cmpuint (json_array_get_length (cases), >, 0);
  for (guint i = 0; i < json_array_get_length (cases); i++)
    func (json_array_get_object_element (cases, i));
  g_test_message ("%s: %u cases", section, json_array_get_length (cases));
}

static void
case_picture (JsonObject *each, PirlImage *image)
{
  JsonArray *p = json_object_get_array_member (each, "picture");

  vision_picture (image, int_at (p, 0), int_at (p, 1), int_at (p, 2));
}

static gchar *
case_text (JsonObject *each)
{
  JsonNode *node = json_node_init_object (json_node_alloc (), each);
  gchar *text = json_to_string (node, FALSE);

  json_node_unref (node);
  if (strlen (text) > 400)
    text[400] = 0;
  return text;
}

/* Compares @image with the case's result and clears it. */
static void
check_result (JsonObject *each, PirlImage *image)
{
  g_autofree gchar *digest = vision_digest (image);
  JsonArray *pixels = json_object_get_array_member (each, "pixels");

  if (image->width != json_object_get_int_member (each, "width")
      || image->height != json_object_get_int_member (each, "height")
      || strcmp (digest, json_object_get_string_member (each, "md5")) != 0) {
    g_autofree gchar *text = case_text (each);

    g_printerr ("%d x %d, %s; wanted: %s\n", image->width, image->height, digest, text);
    for (guint i = 0; i < json_array_get_length (pixels); i++) {
      JsonArray *p = json_array_get_array_element (pixels, i);
      const gint x = int_at (p, 0), y = int_at (p, 1);
      const guint8 *have = image->data + y * image->stride + 3 * x;

      if (x < image->width && y < image->height)
        g_printerr ("  (%d,%d): %d %d %d, wanted %d %d %d\n", x, y, have[0], have[1], have[2],
            int_at (p, 2), int_at (p, 3), int_at (p, 4));
    }
    g_test_fail ();
  }
  pirl_image_clear (image);
}

static void
check_resize (JsonObject *each)
{
  JsonArray *box = json_object_get_array_member (each, "box");
  gdouble b[4];

  for (guint i = 0; i < 4; i++)
    b[i] = json_array_get_double_element (box, i);
  for (gint plain = 0; plain < 2; plain++) {
    g_autoptr (PirlResizer) resizer = plain ? pirl_resizer_new_with (&pirl_resize_plain)
        : pirl_resizer_new ();
    PirlImage src, dst;

    case_picture (each, &src);
    pirl_image_init (&dst, json_object_get_int_member (each, "width"),
        json_object_get_int_member (each, "height"));
    pirl_resize (resizer, &src, b[0], b[1], b[2] - b[0], b[3] - b[1], &dst);
    check_result (each, &dst);
    pirl_image_clear (&src);
  }
}

static void
check_centre (JsonObject *each)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  PirlImage src, dst = { 0 };

  case_picture (each, &src);
  pirl_resize_center_crop (resizer, &src, json_object_get_int_member (each, "resize"),
      json_object_get_int_member (each, "crop"), &dst);
  check_result (each, &dst);
  pirl_image_clear (&src);
}

/* Through the rendering of the image view, without colour. */
static void
check_crop (JsonObject *each)
{
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();
  JsonArray *crop = json_object_get_array_member (each, "crop");
  PirlPretext pretext = { .image_crop = { int_at (crop, 0), int_at (crop, 1), int_at (crop, 2),
      int_at (crop, 3) }, .image_colour = { { 0, 1, 2, 3 }, 1, 1, 1 } };
  PirlPretextConfig config;
  PirlImage src, dst;

  pirl_pretext_config_defaults (&config, json_object_get_int_member (each, "width"), 3);
  case_picture (each, &src);
  pirl_image_init (&dst, config.image_size, config.image_size);
  pirl_pretext_render_image (&config, &pretext, resizer, &src, dst.data);
  check_result (each, &dst);
  pirl_image_clear (&src);
}

static gdouble
draw_of (JsonObject *draws, const gchar *name, gdouble otherwise)
{
  JsonNode *node = json_object_get_member (draws, name);

  return node ? json_node_get_double (node) : otherwise;
}

static void
check_colour (JsonObject *each)
{
  JsonObject *draws = json_object_get_object_member (each, "draws");
  PirlColour colour = { .order = { 0, 1, 2, 3 } };
  PirlImage image;

  if (json_object_has_member (draws, "order"))
    for (guint i = 0; i < 4; i++)
      colour.order[i] = int_at (json_object_get_array_member (draws, "order"), i);
  colour.brightness = draw_of (draws, "brightness", 1);
  colour.contrast = draw_of (draws, "contrast", 1);
  colour.saturation = draw_of (draws, "saturation", 1);
  colour.hue = draw_of (draws, "hue", 0);
  colour.photometric = draw_of (draws, "photometric", 0) != 0;
  colour.posterize_bits = draw_of (draws, "posterize", 8);
  colour.sharpness = draw_of (draws, "sharpness", 1);
  colour.solarize_threshold = draw_of (draws, "solarize", 256);
  colour.grayscale = draw_of (draws, "grayscale", 0) != 0;
  colour.blur_radius = draw_of (draws, "blur", 0);
  colour.flip = draw_of (draws, "flip", 0) != 0;
  case_picture (each, &image);
  pirl_colour_apply (&colour, &image);
  check_result (each, &image);
}

static void
check_file (JsonObject *each)
{
  gsize size;
  g_autofree guchar *data = g_base64_decode (json_object_get_string_member (each, "data"), &size);
  g_autoptr (GError) error = NULL;
  PirlImage image = { 0 };
  PirlDecodeInfo info;

  if (!pirl_image_decode (data, size, 0, TRUE, &image, &info, &error))
    g_error ("%s: %s", json_object_get_string_member (each, "name"), error->message);
  g_assert_false (info.truncated);
  g_assert_cmpint (info.orientation, ==, json_object_get_int_member (each, "orientation"));
  check_result (each, &image);
}

static void
check_refused (JsonObject *each)
{
  const gchar *word = json_object_get_string_member (each, "word");
  const gchar *base64 = json_object_get_string_member (each, "data");
  gsize size = 0;
  g_autofree guchar *data = *base64 ? g_base64_decode (base64, &size) : NULL;
  g_autoptr (GError) error = NULL;
  PirlImage image = { 0 };

  g_assert_false (pirl_image_decode (data, size, 0, FALSE, &image, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
  g_test_message ("%s: %s", json_object_get_string_member (each, "name"), error->message);
  if (!strstr (error->message, word))
    g_error ("no \"%s\" in: %s", word, error->message);
  pirl_image_clear (&image);
}

static void
check_every_colour (const gchar *name, void (*convert) (const guint8 *, guint8 *))
{
  GChecksum *sum = g_checksum_new (G_CHECKSUM_MD5);
  JsonObject *digests = json_object_get_object_member (golden, "every_colour");
  guint8 out[3 * 256];

  for (guint i = 0; i < 1u << 24; i++) {
    const guint8 in[3] = { i >> 16, i >> 8 & 255, i & 255 };

    convert (in, out + 3 * (i & 255));
    if ((i & 255) == 255)
      g_checksum_update (sum, out, sizeof out);
  }
  g_assert_cmpstr (g_checksum_get_string (sum), ==, json_object_get_string_member (digests, name));
  g_checksum_free (sum);
}

static void
test_resize (void)
{
  for_each_case ("resize", check_resize);
}

static void
test_centre (void)
{
  for_each_case ("centre", check_centre);
}

static void
test_crop (void)
{
  for_each_case ("crop", check_crop);
}

static void
test_colour (void)
{
  for_each_case ("colour", check_colour);
}

static void
test_every_colour (void)
{
  check_every_colour ("to_hsv", pirl_rgb_to_hsv);
  check_every_colour ("to_rgb", pirl_hsv_to_rgb);
}

static void
test_decode (void)
{
  for_each_case ("decode", check_file);
}

static void
test_refused (void)
{
  for_each_case ("refused", check_refused);
}

int
main (int argc, char **argv)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GError) error = NULL;

  g_test_init (&argc, &argv, NULL);
  if (argc != 2 || !json_parser_load_from_file (parser, argv[1], &error)) {
    g_printerr ("usage: vision-golden-test vision-golden.json; %s\n", error ? error->message : "");
    return 1;
  }
  golden = json_node_get_object (json_parser_get_root (parser));
  g_test_add_func ("/vision/resize-equals-pillow", test_resize);
  g_test_add_func ("/vision/centre-crop-equals-torchvision", test_centre);
  g_test_add_func ("/vision/resized-crop-equals-torchvision", test_crop);
  g_test_add_func ("/vision/colour-equals-pillow", test_colour);
  g_test_add_func ("/vision/hue-of-every-colour-equals-pillow", test_every_colour);
  g_test_add_func ("/vision/files-decode-to-pillows-pixels", test_decode);
  g_test_add_func ("/vision/bad-files-are-refused", test_refused);
  return g_test_run ();
}
