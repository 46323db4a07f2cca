/* gst-pirl: fuzzing the picture decoder.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whatever the bytes: an error with a text, or a picture no larger than asked for, whose every
 * byte was written (MemorySanitizer and valgrind watch the sum).
 */
#include "vision/image.h"

#include "fuzz.h"

#define MAX_PIXELS (1 << 20)

static volatile guint64 sum;    /* the reads must not be optimised away */

static void
visit (const PirlImage *image)
{
  g_assert_cmpint (image->width, >, 0);
  g_assert_cmpint (image->height, >, 0);
  g_assert_cmpuint ((gsize) image->width * image->height, <=, MAX_PIXELS);
  g_assert_cmpuint (image->stride, >=, 3 * (gsize) image->width);
  for (gint y = 0; y < image->height; y++) {
    const guint8 *row = image->data + y * image->stride;

    for (gint x = 0; x < 3 * image->width; x++)
      sum += row[x];
  }
}

/* PirlChooseRegion: some region, whole or at half its size, by the size of the file. */
static gboolean
choose (gint width, gint height, PirlRegion *region, gpointer data)
{
  const gsize size = *(const gsize *) data;

  region->box = (PirlBox) { size % 7 * width / 8, size % 5 * height / 6, width / 8 + 1,
    height / 6 + 1 };
  region->divisor = 1 + size % 2;
  return TRUE;
}

/* A region is within its picture, which is there, too. */
static void
decode_region (const guint8 *data, gsize size, gboolean whole)
{
  const PirlDecodeOptions options = { .max_pixels = MAX_PIXELS, .choose = choose,
    .choose_data = &size };
  PirlImage image = { 0 };
  PirlDecodeInfo info = { 0 };
  g_autoptr (GError) error = NULL;
  const gboolean decoded = pirl_image_decode_with (data, size, &options, &image, &info, &error);

  g_assert_true (decoded == (error == NULL));
  g_assert_true (decoded || !whole);
  if (decoded) {
    visit (&image);
    if (image.whole_width > 0) {
      g_assert_cmpint (image.x + image.width, <=, image.whole_width);
      g_assert_cmpint (image.y + image.height, <=, image.whole_height);
    }
  }
  pirl_image_clear (&image);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  for (gint strict = 0; strict <= 1; strict++) {
    PirlImage image = { 0 };
    PirlDecodeInfo info = { 0 };
    g_autoptr (GError) error = NULL;
    const gboolean decoded = pirl_image_decode (data, size, MAX_PIXELS, strict, &image, &info,
        &error);

    g_assert_true (decoded == (error == NULL));
    if (decoded) {
      visit (&image);
      g_assert_false (strict && info.truncated);
    }
    if (!strict)
      decode_region (data, size, decoded);
    pirl_image_clear (&image);
  }
  return 0;
}
