/* gst-pirl: pictures in memory: storage, telling JPEG from PNG, turning upright.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * EXIF orientation (EXIF 2.32, tag 0x0112) in a TIFF block: byte order mark, 42, offset of the first
 * directory, in it a 16-bit count and entries of 12 bytes (tag, type, count, value). The picture
 * upright at (x, y) is the stored one at
 *   (u, v) = orientation < 5 ? (x, y) : (y, x), each mirrored as the table below says.
 */
#include "config.h"
#include "vision/vision-private.h"

#include <string.h>

#define DEFAULT_MAX_PIXELS (256u * 1000 * 1000)

static const guint8 png_signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

void
pirl_image_init (PirlImage *image, gint width, gint height)
{
  *image = (PirlImage) { width, height, 3 * (gsize) width };
  image->data = g_malloc (MAX (image->stride * height, 1));
}

void
pirl_image_clear (PirlImage *image)
{
  g_free (image->data);
  memset (image, 0, sizeof *image);
}

gboolean
pirl_image_try_storage (PirlImage *image, gsize width, gsize height)
{
  const gsize have = image->data ? image->stride * image->height : 0;
  gsize need;

  if (width > G_MAXINT || height > G_MAXINT || !g_size_checked_mul (&need, 3 * width, height))
    return FALSE;
  if (!image->data || need > have) {
    guint8 *data = g_try_realloc (image->data, MAX (need, 1));

    if (!data)
      return FALSE;
    image->data = data;
  }
  *image = (PirlImage) { width, height, 3 * width, image->data };
  return TRUE;
}

void
pirl_image_resize_storage (PirlImage *image, gint width, gint height)
{
  const gsize need = 3 * (gsize) width * height;

  /* The allocator knows how much there really is, so shrinking and growing again costs little. */
  if (!image->data || need > image->stride * image->height)
    image->data = g_realloc (image->data, MAX (need, 1));
  *image = (PirlImage) { width, height, 3 * (gsize) width, image->data };
}

void
pirl_image_copy (const PirlImage *src, PirlImage *dst)
{
  pirl_image_resize_storage (dst, src->width, src->height);
  for (gint y = 0; y < src->height; y++)
    memcpy (dst->data + y * dst->stride, src->data + y * src->stride, dst->stride);
}

/* Memory for the picture as it leaves. */
static gboolean
give_storage (const PirlDecodeOptions *options, gsize width, gsize height, PirlImage *image)
{
  if (!options->storage)
    return pirl_image_try_storage (image, width, height);
  return width <= G_MAXINT && height <= G_MAXINT
      && options->storage (image, width, height, options->storage_data);
}

gboolean
pirl_image_holds (const PirlImage *image, const PirlBox *box)
{
  return box->x >= image->x && box->y >= image->y
      && box->x + box->width <= image->x + image->width
      && box->y + box->height <= image->y + image->height;
}

gchar *
pirl_image_start_decode (PirlDecode *decode, gsize width, gsize height, PirlImage *image,
    PirlImage **rows)
{
  const PirlDecodeOptions *options = &decode->options;
  const gsize limit = options->max_pixels ? options->max_pixels : DEFAULT_MAX_PIXELS;
  const gboolean upright = decode->info.orientation == 1;

  if (width == 0 || height == 0)
    return g_strdup ("the picture has no pixels");
  if (width > limit / height)
    return g_strdup_printf ("the picture claims %" G_GSIZE_FORMAT " x %" G_GSIZE_FORMAT
        " pixels, the limit is %" G_GSIZE_FORMAT " pixels", width, height, limit);
  if (decode->cut.width > 0) {
    width = decode->cut.width;
    height = decode->cut.height;
  }
  *rows = upright ? image : &decode->stored;
  if (!(upright ? give_storage (options, width, height, image)
          : pirl_image_try_storage (&decode->stored, width, height)))
    return g_strdup_printf ("not enough memory for %" G_GSIZE_FORMAT " x %" G_GSIZE_FORMAT
        " pixels", width, height);
  return NULL;
}

static guint
read_uint (const guint8 *p, guint bytes, gboolean big_endian)
{
  guint value = 0;

  for (guint i = 0; i < bytes; i++)
    value = value << 8 | p[big_endian ? i : bytes - 1 - i];
  return value;
}

gint
pirl_exif_orientation (const guint8 *tiff, gsize size)
{
  const guint tag_orientation = 0x0112, type_short = 3, type_long = 4;
  gboolean big;
  gsize directory, n;

  if (size < 8 || (memcmp (tiff, "II", 2) != 0 && memcmp (tiff, "MM", 2) != 0))
    return 1;
  big = tiff[0] == 'M';
  directory = read_uint (tiff + 4, 4, big);
  if (read_uint (tiff + 2, 2, big) != 42 || directory > size - 2)
    return 1;
  n = read_uint (tiff + directory, 2, big);
  n = MIN (n, (size - directory - 2) / 12);
  for (gsize i = 0; i < n; i++) {
    const guint8 *entry = tiff + directory + 2 + 12 * i;
    const guint type = read_uint (entry + 2, 2, big);
    guint value;

    if (read_uint (entry, 2, big) != tag_orientation || (type != type_short && type != type_long))
      continue;
    value = read_uint (entry + 8, type == type_short ? 2 : 4, big);
    return value >= 1 && value <= 8 ? (gint) value : 1;
  }
  return 1;
}

/* Which axes of a stored picture are mirrored, by its orientation; from 5 on they are swapped, too. */
static const struct {
  gboolean mirror_u, mirror_v;
} turn[9] = {
  [2] = { TRUE, FALSE }, [3] = { TRUE, TRUE }, [4] = { FALSE, TRUE }, [6] = { FALSE, TRUE },
  [7] = { TRUE, TRUE }, [8] = { TRUE, FALSE },
};

/* @box of the upright picture as it is stored; that has @width x @height. */
static PirlBox
stored_box (PirlBox box, gint orientation, gint width, gint height)
{
  if (orientation >= 5)
    box = (PirlBox) { box.y, box.x, box.height, box.width };
  if (turn[orientation].mirror_u)
    box.x = width - box.x - box.width;
  if (turn[orientation].mirror_v)
    box.y = height - box.y - box.height;
  return box;
}

/* The pixels of [*begin, *begin + *n) of @size at 1 / @divisor of the size, rounded outwards. */
static void
scale_span (gint *begin, gint *n, gint size, gint divisor)
{
  const gint first = CLAMP (*begin, 0, size - 1), last = CLAMP (*begin + *n - 1, first, size - 1);

  *begin = first / divisor;
  *n = last / divisor + 1 - *begin;
}

void
pirl_image_choose_region (PirlDecode *decode, gint width, gint height)
{
  const gint orientation = decode->info.orientation;
  const gboolean swap = orientation >= 5;
  const gint w = swap ? height : width, h = swap ? width : height;
  PirlRegion region = { { 0 } };
  PirlBox *box = &region.box;
  gint divisor;

  if (!decode->options.choose
      || !decode->options.choose (w, h, &region, decode->options.choose_data))
    return;
  divisor = region.divisor == 2 ? 2 : 1;
  scale_span (&box->x, &box->width, w, divisor);
  scale_span (&box->y, &box->height, h, divisor);
  decode->info.divisor = divisor;
  decode->place = (PirlImage) { .x = box->x, .y = box->y,
    .whole_width = (w + divisor - 1) / divisor, .whole_height = (h + divisor - 1) / divisor };
  decode->cut = stored_box (*box, orientation, (width + divisor - 1) / divisor,
      (height + divisor - 1) / divisor);
}

/* decode->stored upright to @image; FALSE without memory. */
static gboolean
turn_upright (const PirlDecode *decode, PirlImage *image)
{
  const PirlImage *stored = &decode->stored;
  const gint orientation = decode->info.orientation, w = stored->width, h = stored->height;
  const gboolean swap = orientation >= 5;
  gssize step_u = 3, step_v = stored->stride;
  const guint8 *origin = stored->data;

  if (!give_storage (&decode->options, swap ? h : w, swap ? w : h, image))
    return FALSE;
  if (turn[orientation].mirror_u) {
    origin += (w - 1) * step_u;
    step_u = -step_u;
  }
  if (turn[orientation].mirror_v) {
    origin += (h - 1) * step_v;
    step_v = -step_v;
  }
  for (gint y = 0; y < image->height; y++) {
    const guint8 *src = origin + y * (swap ? step_u : step_v);
    const gssize step = swap ? step_v : step_u;
    guint8 *dst = image->data + y * image->stride;

    for (gint x = 0; x < image->width; x++, dst += 3)
      memcpy (dst, src + x * step, 3);
  }
  return TRUE;
}

static gboolean
decode_any (const guint8 *data, gsize size, PirlDecode *decode, PirlImage *image, GError **error)
{
  if (size >= 2 && data[0] == 0xff && data[1] == 0xd8)
    return pirl_jpeg_decode (data, size, decode, image, error);
  if (size >= sizeof png_signature && memcmp (data, png_signature, sizeof png_signature) == 0)
    return pirl_png_decode (data, size, decode, image, error);
  if (size < 4)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT,
        "%" G_GSIZE_FORMAT " bytes are too few for a picture; a JPEG or PNG is needed", size);
  else
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "neither JPEG (ff d8 ...) nor PNG "
        "(89 50 4e 47 ...): the data start with %02x %02x %02x %02x", data[0], data[1], data[2],
        data[3]);
  return FALSE;
}

gboolean
pirl_image_decode_with (gconstpointer data, gsize size, const PirlDecodeOptions *options,
    PirlImage *image, PirlDecodeInfo *info, GError **error)
{
  PirlDecode decode = { .options = *options, .info = { .orientation = 1, .divisor = 1 } };
  gboolean ok = decode_any (data, size, &decode, image, error);

  if (ok && decode.info.orientation != 1 && !turn_upright (&decode, image)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "not enough memory to turn a picture of "
        "%d x %d pixels", decode.stored.width, decode.stored.height);
    ok = FALSE;
  }
  pirl_image_clear (&decode.stored);
  if (!ok)
    return FALSE;
  image->x = decode.place.x;
  image->y = decode.place.y;
  image->whole_width = decode.place.whole_width;
  image->whole_height = decode.place.whole_height;
  if (info)
    *info = decode.info;
  return TRUE;
}

gboolean
pirl_image_decode (gconstpointer data, gsize size, gsize max_pixels, gboolean strict,
    PirlImage *image, PirlDecodeInfo *info, GError **error)
{
  const PirlDecodeOptions options = { .max_pixels = max_pixels, .strict = strict };

  return pirl_image_decode_with (data, size, &options, image, info, error);
}

gboolean
pirl_image_load (const gchar *path, PirlImage *image, PirlDecodeInfo *info, GError **error)
{
  g_autofree gchar *data = NULL;
  g_autoptr (GError) io_error = NULL;
  gsize size;

  if (!g_file_get_contents (path, &data, &size, &io_error)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "picture \"%s\": %s", path, io_error->message);
    return FALSE;
  }
  if (!pirl_image_decode (data, size, 0, FALSE, image, info, error)) {
    g_prefix_error (error, "picture \"%s\": ", path);
    return FALSE;
  }
  return TRUE;
}
