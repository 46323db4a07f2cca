/* gst-pirl: decoding of damaged and hostile files, fast loops of the resizer against plain ones.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Usage: vision-decode-test vision-golden.json (its good files are cut, changed and blown up). */
#include "config.h"
#include "base/rng.h"
#include "vision-common.h"

#include <stdio.h>
#include <json-glib/json-glib.h>

#define GUARD 64

static JsonArray *files;

/* The file called @name of the golden ones. */
static guint8 *
golden_file (const gchar *name, gsize *size)
{
  for (guint i = 0; i < json_array_get_length (files); i++) {
    JsonObject *each = json_array_get_object_element (files, i);

    if (strcmp (json_object_get_string_member (each, "name"), name) == 0)
      return g_base64_decode (json_object_get_string_member (each, "data"), size);
  }
  g_error ("no file %s in the golden data", name);
  return NULL;
}

static gboolean
rows_equal (const PirlImage *a, const PirlImage *b, gint y)
{
  return memcmp (a->data + y * a->stride, b->data + y * b->stride, a->stride) == 0;
}

static gboolean
row_is_grey (const PirlImage *image, gint y)
{
  for (gint i = 0; i < 3 * image->width; i++)
    if (image->data[y * image->stride + i] != 128)
      return FALSE;
  return TRUE;
}

/* Cut in the middle, what was there stays as it is, what was not is grey, and it is said so. */
static void
check_cut_in_half (const gchar *name)
{
  gsize size;
  g_autofree guint8 *data = golden_file (name, &size);
  g_autoptr (GError) error = NULL;
  PirlImage whole = { 0 }, half = { 0 };
  PirlDecodeInfo info;
  gint same = 0, grey = 0;

  g_assert_true (pirl_image_decode (data, size, 0, TRUE, &whole, &info, NULL));
  g_assert_false (info.truncated);
  g_assert_true (pirl_image_decode (data, size / 2, 0, FALSE, &half, &info, NULL));
  g_assert_true (info.truncated);
  g_assert_cmpint (half.height, ==, whole.height);
  while (same < whole.height && rows_equal (&whole, &half, same))
    same++;
  while (grey < whole.height && row_is_grey (&half, whole.height - 1 - grey))
    grey++;
  g_test_message ("%s: of %d rows %d are right, %d grey", name, whole.height, same, grey);
  /* Entropy coding is not even over the rows; a third each is far from both ends. */
  g_assert_cmpint (same, >=, whole.height / 4);
  g_assert_cmpint (grey, >=, whole.height / 4);
  g_assert_cmpint (same + grey, >=, whole.height - 34);
  g_assert_false (pirl_image_decode (data, size / 2, 0, TRUE, &half, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
  pirl_image_clear (&whole);
  pirl_image_clear (&half);
}

static void
test_cut_in_half (void)
{
  check_cut_in_half ("jpeg-large");
  check_cut_in_half ("png-large");
}

/* Every length of every file: an error or a picture, no crash (the sanitizers watch). A file with
 * nothing behind its header is an error. */
static void
test_every_length (void)
{
  static const gchar *const names[] = { "jpeg-sampling-2", "jpeg-progressive", "jpeg-cmyk",
    "jpeg-exif-big-6", "png-interlaced", "png-palette", "png-16-4", "png-exif-6" };

  for (guint k = 0; k < G_N_ELEMENTS (names); k++) {
    gsize size, accepted = 0, first = 0;
    g_autofree guint8 *data = golden_file (names[k], &size);
    PirlImage image = { 0 };

    for (gsize n = 0; n < size; n++) {
      g_autofree guint8 *exact = g_memdup2 (data, n);
      g_autoptr (GError) error = NULL;

      if (pirl_image_decode (exact, n, 0, FALSE, &image, NULL, &error)) {
        first = accepted++ == 0 ? n : first;
        g_assert_no_error (error);
      } else
        g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
    }
    g_test_message ("%s: %" G_GSIZE_FORMAT " bytes, accepted from %" G_GSIZE_FORMAT, names[k], size,
        first);
    g_assert_cmpuint (first, >, 50);
    pirl_image_clear (&image);
  }
}

/* Bytes flipped at random: whatever comes out, it returns. */
static void
test_random_damage (void)
{
  static const gchar *const names[] = { "jpeg-sampling-2", "jpeg-progressive", "jpeg-ycck",
    "jpeg-restart", "png-rgb", "png-palette-2", "png-interlaced" };
  PirlImage image = { 0 };
  PirlRng rng;

  pirl_rng_init (&rng, 1, 0, 0, PIRL_PURPOSE_TEST);
  for (guint k = 0; k < G_N_ELEMENTS (names); k++) {
    gsize size, accepted = 0;
    g_autofree guint8 *data = golden_file (names[k], &size);

    for (gint i = 0; i < 400; i++) {
      g_autofree guint8 *bad = g_memdup2 (data, size);

      for (gint j = 0; j < 1 + i % 8; j++)
        bad[pirl_rng_below (&rng, size)] = pirl_rng_u32 (&rng);
      accepted += pirl_image_decode (bad, size, 4000000, FALSE, &image, NULL, NULL);
    }
    g_test_message ("%s: %" G_GSIZE_FORMAT " of 400 damaged files gave a picture", names[k],
        accepted);
  }
  pirl_image_clear (&image);
}

static void
test_too_many_pixels (void)
{
  gsize size;
  g_autofree guint8 *data = golden_file ("jpeg-large", &size);
  g_autoptr (GError) error = NULL;
  PirlImage image = { 0 };

  g_assert_true (pirl_image_decode (data, size, 200 * 150, TRUE, &image, NULL, NULL));
  pirl_image_clear (&image);
  g_assert_false (pirl_image_decode (data, size, 200 * 150 - 1, TRUE, &image, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, "200 x 150"));
  g_assert_nonnull (strstr (error->message, "29999"));
  /* Refused before anything was allocated. */
  g_assert_null (image.data);
}

/* A progressive file whose last scan comes again and again. */
static void
test_too_many_scans (void)
{
  gsize size, start = 0;
  g_autofree guint8 *data = golden_file ("jpeg-grey-progressive", &size);
  g_autoptr (GByteArray) bomb = g_byte_array_new ();
  g_autoptr (GError) error = NULL;
  PirlImage image = { 0 };

  for (gsize i = 2; i + 1 < size; i++)
    if (data[i] == 0xff && data[i + 1] == 0xda)
      start = i;
  g_byte_array_append (bomb, data, size - 2);
  for (gint i = 0; i < 600; i++)
    g_byte_array_append (bomb, data + start, size - 2 - start);
  g_byte_array_append (bomb, data + size - 2, 2);
  g_assert_false (pirl_image_decode (bomb->data, bomb->len, 0, FALSE, &image, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, "scans"));
  pirl_image_clear (&image);
}

static void
test_hostile_exif (void)
{
  static const guint8 good[] = { 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6,
    0, 0 };
  static const struct {
    guint at;
    guint8 value;
    gint expected;
  } change[] = {
    { 0, 'M', 6 }, { 0, 'I', 1 }, { 3, 43, 1 }, { 4, 0xff, 1 }, { 7, 20, 1 }, { 7, 22, 1 },
    { 8, 0xff, 6 }, { 9, 0, 1 }, { 11, 0x13, 1 }, { 13, 2, 1 }, { 19, 0, 1 }, { 19, 9, 1 },
    { 18, 1, 1 }, { 19, 8, 8 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (change); i++) {
    g_autofree guint8 *tiff = g_memdup2 (good, sizeof good);

    tiff[change[i].at] = change[i].value;
    g_assert_cmpint (pirl_exif_orientation (tiff, sizeof good), ==, change[i].expected);
  }
  for (gsize n = 0; n < sizeof good; n++) {
    g_autofree guint8 *tiff = g_memdup2 (good, n);

    g_assert_cmpint (pirl_exif_orientation (tiff, n), ==, 1);
  }
}

static void
test_save_and_load (void)
{
  g_autofree gchar *folder = g_dir_make_tmp ("pirl-vision-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "picture.png", NULL);
  g_autofree gchar *missing = g_build_filename (folder, "missing", "x.png", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (GError) save_error = NULL;
  PirlImage a, b = { 0 };
  PirlDecodeInfo info;

  vision_picture (&a, 33, 21, 7);
  g_assert_true (pirl_image_save_png (&a, path, NULL));
  g_assert_true (pirl_image_load (path, &b, &info, NULL));
  g_assert_cmpmem (a.data, a.stride * a.height, b.data, b.stride * b.height);
  g_assert_cmpint (info.orientation, ==, 1);
  g_assert_false (pirl_image_load (missing, &b, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_assert_nonnull (strstr (error->message, missing));
  g_assert_false (pirl_image_save_png (&a, missing, &save_error));
  g_assert_error (save_error, PIRL_ERROR, PIRL_ERROR_IO);
  g_assert_cmpint (remove (path), ==, 0);
  g_assert_cmpint (remove (folder), ==, 0);
  pirl_image_clear (&a);
  pirl_image_clear (&b);
}

/* Rows with some bytes between them, in memory of exactly that size. */
static gboolean
spread_storage (PirlImage *image, gint width, gint height, gpointer data)
{
  guint *calls = data;

  (*calls)++;
  image->width = width;
  image->height = height;
  image->stride = 3 * (gsize) width + 5;
  image->data = g_malloc (image->stride * height);
  memset (image->data, 99, image->stride * height);
  return TRUE;
}

static gboolean
no_storage (PirlImage *image, gint width, gint height, gpointer data)
{
  return FALSE;
}

/* The same pixels, nothing between the rows is touched, and memory is asked for once, also where the
 * picture has to be turned. */
static void
test_storage_of_the_caller (void)
{
  for (guint i = 0; i < json_array_get_length (files); i++) {
    const gchar *name = json_object_get_string_member (json_array_get_object_element (files, i),
        "name");
    guint calls = 0;
    const PirlDecodeOptions spread = { .storage = spread_storage, .storage_data = &calls };
    const PirlDecodeOptions none = { .storage = no_storage };
    gsize size;
    g_autofree guint8 *data = golden_file (name, &size);
    g_autoptr (GError) error = NULL;
    PirlImage want = { 0 }, got = { 0 };
    PirlDecodeInfo want_info, info;

    g_assert_true (pirl_image_decode (data, size, 0, FALSE, &want, &want_info, NULL));
    g_assert_true (pirl_image_decode_with (data, size, &spread, &got, &info, NULL));
    g_assert_cmpuint (calls, ==, 1);
    g_assert_cmpint (got.width, ==, want.width);
    g_assert_cmpint (got.height, ==, want.height);
    g_assert_cmpint (info.orientation, ==, want_info.orientation);
    g_assert_cmpint (info.truncated, ==, want_info.truncated);
    for (gint y = 0; y < want.height; y++) {
      const guint8 *row = got.data + y * got.stride;

      g_assert_cmpmem (row, 3 * want.width, want.data + y * want.stride, 3 * want.width);
      for (gsize x = 3 * (gsize) want.width; x < got.stride; x++)
        g_assert_cmpint (row[x], ==, 99);
    }
    g_assert_false (pirl_image_decode_with (data, size, &none, &got, &info, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
    g_assert_nonnull (strstr (error->message, "memory"));
    g_free (got.data);
    pirl_image_clear (&want);
  }
}

/* PirlChooseRegion: the region that is given. */
static gboolean
choose_given (gint width, gint height, PirlRegion *region, gpointer data)
{
  const PirlRegion *given = data;

  g_assert_cmpint (given->box.x + given->box.width, <=, width);
  g_assert_cmpint (given->box.y + given->box.height, <=, height);
  *region = *given;
  return TRUE;
}

static PirlBox
random_box (PirlRng *rng, gint width, gint height)
{
  const gint w = 1 + pirl_rng_below (rng, width), h = 1 + pirl_rng_below (rng, height);

  return (PirlBox) { pirl_rng_below (rng, width - w + 1), pirl_rng_below (rng, height - h + 1), w,
    h };
}

/* Whether @region shows what @whole does there; it may be the whole. */
static void
check_region (const gchar *name, const PirlImage *whole, const PirlImage *region)
{
  const gboolean part = region->whole_width > 0;

  g_assert_cmpint (part ? region->whole_width : region->width, ==, whole->width);
  g_assert_cmpint (part ? region->whole_height : region->height, ==, whole->height);
  for (gint y = 0; y < region->height; y++)
    if (memcmp (region->data + y * region->stride,
            whole->data + (region->y + y) * whole->stride + 3 * region->x, 3 * region->width) != 0)
      g_error ("%s: row %d of the region %d x %d at %d, %d is another", name, y, region->width,
          region->height, region->x, region->y);
}

/* @whole of the file at half its size: what a region that is all of it gives. */
static gint
check_regions_of (const gchar *name, const guint8 *data, gsize size, gint divisor, PirlRng *rng)
{
  PirlRegion given = { { 0 }, divisor };
  const PirlDecodeOptions options = { .choose = choose_given, .choose_data = &given };
  PirlImage picture = { 0 }, whole = { 0 }, region = { 0 };
  PirlDecodeInfo info;
  gint parts = 0;

  g_assert_true (pirl_image_decode (data, size, 0, FALSE, &picture, NULL, NULL));
  g_assert_cmpint (picture.whole_width, ==, 0);
  given.box = (PirlBox) { 0, 0, picture.width, picture.height };
  g_assert_true (pirl_image_decode_with (data, size, &options, &whole, &info, NULL));
  if (info.divisor == 1)
    check_region (name, &picture, &whole);
  else
    g_assert_cmpint (whole.width, ==, (picture.width + 1) / 2);
  for (gint i = 0; i < 60; i++) {
    PirlBox scaled;

    given.box = random_box (rng, picture.width, picture.height);
    g_assert_true (pirl_image_decode_with (data, size, &options, &region, &info, NULL));
    g_assert_true (info.divisor == divisor || region.whole_width == 0);
    check_region (name, &whole, &region);
    scaled = given.box;
    if (info.divisor == 2) {
      scaled.x = given.box.x / 2;
      scaled.y = given.box.y / 2;
      scaled.width = (given.box.x + given.box.width + 1) / 2 - scaled.x;
      scaled.height = (given.box.y + given.box.height + 1) / 2 - scaled.y;
    }
    g_assert_true (pirl_image_holds (&region, &scaled));
    parts += region.width < whole.width || region.height < whole.height;
  }
  pirl_image_clear (&picture);
  pirl_image_clear (&whole);
  pirl_image_clear (&region);
  return parts;
}

/* Any region of any file has the pixels of the picture, also where it is turned. */
static void
test_regions (void)
{
  PirlRng rng;
  gint parts = 0;

  pirl_rng_init (&rng, 1, 2, 3, PIRL_PURPOSE_VIEW);
  for (guint i = 0; i < json_array_get_length (files); i++) {
    const gchar *name = json_object_get_string_member (json_array_get_object_element (files, i),
        "name");
    gsize size;
    g_autofree guint8 *data = golden_file (name, &size);

    for (gint divisor = 1; divisor <= 2; divisor++) {
      const gint n = check_regions_of (name, data, size, divisor, &rng);

      g_test_message ("%s, divisor %d: %d regions", name, divisor, n);
      parts += n > 0;
    }
  }
  g_assert_cmpint (parts, >=, 16);
}

/* A file that ends early, asked for a region: what is there is the same, nothing is read beyond. */
static void
test_region_of_damaged (void)
{
  PirlRegion given = { { 10, 12, 30, 20 }, 1 };
  const PirlDecodeOptions options = { .choose = choose_given, .choose_data = &given };
  gsize size;
  g_autofree guint8 *data = golden_file ("jpeg-sampling-2", &size);

  for (gsize n = 0; n < size; n += 7) {
    g_autofree guint8 *exact = g_memdup2 (data, n);
    PirlImage whole = { 0 }, region = { 0 };
    const gboolean good = pirl_image_decode (exact, n, 0, FALSE, &whole, NULL, NULL);

    g_assert_cmpint (pirl_image_decode_with (exact, n, &options, &region, NULL, NULL), ==, good);
    if (good)
      check_region ("jpeg-sampling-2, cut off", &whole, &region);
    pirl_image_clear (&whole);
    pirl_image_clear (&region);
  }
}

/* A crop of the region that pirl_center_crop_source() names is the crop of the whole. */
static void
test_center_crop_of_region (void)
{
  static const gint sizes[][4] = {
    { 90, 60, 32, 28 }, { 60, 90, 32, 28 }, { 33, 77, 32, 32 }, { 32, 50, 32, 24 },
    { 50, 32, 32, 24 }, { 20, 31, 32, 28 }, { 5, 4, 32, 40 }, { 64, 64, 64, 48 },
    { 97, 41, 20, 30 }, { 1, 1, 8, 8 }, { 300, 41, 41, 30 },
  };
  g_autoptr (PirlResizer) resizer = pirl_resizer_new ();

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    const gint resize = sizes[i][2], crop = sizes[i][3];
    PirlImage whole, region = { 0 }, want = { 0 }, got = { 0 };
    PirlBox box;

    vision_picture (&whole, sizes[i][0], sizes[i][1], i);
    pirl_center_crop_source (whole.width, whole.height, resize, crop, &box);
    g_assert_true (pirl_image_holds (&whole, &box));
    /* In memory of exactly its size. */
    pirl_image_init (&region, box.width, box.height);
    for (gint y = 0; y < box.height; y++)
      memcpy (region.data + y * region.stride, whole.data + (box.y + y) * whole.stride + 3 * box.x,
          region.stride);
    region.x = box.x;
    region.y = box.y;
    region.whole_width = whole.width;
    region.whole_height = whole.height;
    pirl_resize_center_crop (resizer, &whole, resize, crop, &want);
    pirl_resize_center_crop (resizer, &region, resize, crop, &got);
    g_assert_cmpmem (got.data, got.stride * crop, want.data, want.stride * crop);
    pirl_image_clear (&whole);
    pirl_image_clear (&region);
    pirl_image_clear (&want);
    pirl_image_clear (&got);
  }
}

/* Storage shrinks and grows again, and copies follow strides. */
static void
test_storage (void)
{
  PirlImage image = { 0 }, copy = { 0 }, part;

  pirl_image_resize_storage (&image, 50, 40);
  pirl_image_resize_storage (&image, 5, 4);
  pirl_image_resize_storage (&image, 60, 50);
  memset (image.data, 1, image.stride * image.height);
  image.data[image.stride * 3 + 3 * 7] = 99;
  part = (PirlImage) { 10, 9, image.stride, image.data + image.stride * 3 + 3 * 7 };
  pirl_image_copy (&part, &copy);
  g_assert_cmpuint (copy.stride, ==, 30);
  g_assert_cmpint (copy.data[0], ==, 99);
  pirl_image_clear (&image);
  pirl_image_clear (&copy);
  g_assert_null (image.data);
}

/* Random shapes through both sets of loops; sources are exactly as long as they need to be and
 * results stand between guards. */
static void
test_fast_equals_plain (void)
{
  g_autoptr (PirlResizer) fast = pirl_resizer_new ();
  g_autoptr (PirlResizer) plain = pirl_resizer_new_with (&pirl_resize_plain);
  PirlRng rng;

  pirl_rng_init (&rng, 2, 0, 0, PIRL_PURPOSE_TEST);
  for (gint i = 0; i < 500; i++) {
    const gint w = 1 + pirl_rng_below (&rng, i % 2 ? 12 : 300);
    const gint h = 1 + pirl_rng_below (&rng, i % 3 ? 20 : 300);
    const gint out_w = 1 + pirl_rng_below (&rng, i % 5 ? 70 : 200);
    const gint out_h = 1 + pirl_rng_below (&rng, i % 7 ? 20 : 200);
    const gsize n = 3 * (gsize) out_w * out_h;
    g_autofree guint8 *memory = g_malloc (n + 2 * GUARD);
    PirlImage src, expected, got = { out_w, out_h, 3 * (gsize) out_w, memory + GUARD };

    memset (memory, 0xa5, n + 2 * GUARD);
    pirl_image_init (&src, w, h);
    for (gsize k = 0; k < src.stride * h; k++)
      src.data[k] = i % 4 ? pirl_rng_u32 (&rng) : 255;
    pirl_image_init (&expected, out_w, out_h);
    pirl_resize (plain, &src, 0, 0, w, h, &expected);
    pirl_resize (fast, &src, 0, 0, w, h, &got);
    g_assert_cmpmem (expected.data, n, got.data, n);
    for (gint k = 0; k < GUARD; k++) {
      g_assert_cmpint (memory[k], ==, 0xa5);
      g_assert_cmpint (memory[GUARD + n + k], ==, 0xa5);
    }
    /* White stays white: weights sum to one. */
    if (i % 4 == 0)
      for (gsize k = 0; k < n; k++)
        g_assert_cmpint (got.data[k], ==, 255);
    pirl_image_clear (&src);
    pirl_image_clear (&expected);
  }
  g_test_message ("fast loops: %s", pirl_resize_avx2 ()? "AVX2" : "none on this processor");
}

/* A window of a planned resize is that part of the whole, where both axes change, one or none. */
static void
test_windows (void)
{
  static const gint sizes[][4] = { { 90, 70, 41, 33 }, { 20, 30, 64, 50 }, { 50, 40, 50, 23 },
    { 50, 40, 77, 40 }, { 50, 40, 50, 40 } };
  g_autoptr (PirlResizer) planned = pirl_resizer_new ();
  g_autoptr (PirlResizer) plain = pirl_resizer_new_with (&pirl_resize_plain);
  g_autoptr (PirlResizer) fast = pirl_resizer_new ();
  PirlRng rng;

  pirl_rng_init (&rng, 3, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    const gint out_w = sizes[i][2], out_h = sizes[i][3];
    PirlImage src, whole;

    vision_picture (&src, sizes[i][0], sizes[i][1], 7);
    pirl_image_init (&whole, out_w, out_h);
    pirl_resize (planned, &src, 0, 0, src.width, src.height, &whole);
    pirl_resizer_plan (planned, &src, out_w, out_h);
    for (gint n = 0; n < 40; n++) {
      const gint x = pirl_rng_below (&rng, out_w), y = pirl_rng_below (&rng, out_h);
      PirlImage part;

      pirl_image_init (&part, 1 + pirl_rng_below (&rng, out_w - x),
          1 + pirl_rng_below (&rng, out_h - y));
      pirl_resizer_render (n % 2 ? plain : fast, planned, &src, x, y, &part);
      for (gint row = 0; row < part.height; row++)
        g_assert_cmpmem (part.data + row * part.stride, part.stride,
            whole.data + (y + row) * whole.stride + 3 * x, part.stride);
      pirl_image_clear (&part);
    }
    pirl_image_clear (&src);
    pirl_image_clear (&whole);
  }
}

int
main (int argc, char **argv)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GError) error = NULL;

  g_test_init (&argc, &argv, NULL);
  if (argc != 2 || !json_parser_load_from_file (parser, argv[1], &error)) {
    g_printerr ("usage: vision-decode-test vision-golden.json; %s\n", error ? error->message : "");
    return 1;
  }
  files = json_object_get_array_member (json_node_get_object (json_parser_get_root (parser)),
      "decode");
  g_test_add_func ("/vision/half-a-file-keeps-its-rows", test_cut_in_half);
  g_test_add_func ("/vision/any-length-returns", test_every_length);
  g_test_add_func ("/vision/random-damage-returns", test_random_damage);
  g_test_add_func ("/vision/too-many-pixels-are-refused", test_too_many_pixels);
  g_test_add_func ("/vision/too-many-scans-are-refused", test_too_many_scans);
  g_test_add_func ("/vision/hostile-exif-is-ignored", test_hostile_exif);
  g_test_add_func ("/vision/saved-picture-loads", test_save_and_load);
  g_test_add_func ("/vision/storage-is-reused", test_storage);
  g_test_add_func ("/vision/storage-of-the-caller-is-filled", test_storage_of_the_caller);
  g_test_add_func ("/vision/regions-are-of-the-picture", test_regions);
  g_test_add_func ("/vision/region-of-a-damaged-file", test_region_of_damaged);
  g_test_add_func ("/vision/center-crop-of-a-region", test_center_crop_of_region);
  g_test_add_func ("/vision/fast-resize-equals-plain", test_fast_equals_plain);
  g_test_add_func ("/vision/windows-are-parts-of-the-whole-resize", test_windows);
  return g_test_run ();
}
