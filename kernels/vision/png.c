/* gst-pirl: PNG reading and writing with libpng, whose errors end the picture and not the process.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Everything becomes 8-bit RGB: palettes and 1, 2, 4 bit greys are expanded, alpha and transparent
 * colours dropped (not blended), 16-bit samples keep their high byte (as Pillow does for colour;
 * its 16-bit greys are clipped at 255 instead, which makes white of nearly everything).
 */
#include "config.h"
#include "vision/vision-private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <glib/gstdio.h>
#include <png.h>

#define MAX_CHUNK_BYTES (8 * 1024 * 1024)       /* of text, profiles and the like */
#define MAX_CHUNKS 1000
#define REASON_LENGTH 160
#define MISSING_GREY 128

/* Everything that must survive longjmp() lives here. */
typedef struct {
  png_structp png;
  png_infop info;
  const guint8 *data;
  gsize size, position;
  PirlDecode *decode;
  PirlImage *image, *rows;      /* the picture, and where it is decoded to */
  gint n_rows;                  /* read so far */
  gchar reason[REASON_LENGTH];
} Reader;

typedef struct {
  png_structp png;
  png_infop info;
  FILE *file;
  const PirlImage *image;
  gchar reason[REASON_LENGTH];
} Writer;

static G_NORETURN void
on_read_error (png_structp png, png_const_charp message)
{
  Reader *reader = png_get_error_ptr (png);

  g_strlcpy (reader->reason, message, REASON_LENGTH);
  png_longjmp (png, 1);
}

static G_NORETURN void
on_write_error (png_structp png, png_const_charp message)
{
  Writer *writer = png_get_error_ptr (png);

  g_strlcpy (writer->reason, message, REASON_LENGTH);
  png_longjmp (png, 1);
}

static void
on_warning (png_structp png, png_const_charp message)
{
  /* libpng would print here. */
}

static void
read_bytes (png_structp png, png_bytep dst, size_t n)
{
  Reader *reader = png_get_io_ptr (png);

  if (n > reader->size - reader->position)
    png_error (png, "the data end early");
  memcpy (dst, reader->data + reader->position, n);
  reader->position += n;
}

static void
read_orientation (Reader *reader)
{
#ifdef PNG_eXIf_SUPPORTED
  png_bytep exif = NULL;
  png_uint_32 size = 0;

  if (png_get_eXIf_1 (reader->png, reader->info, &size, &exif) && exif)
    reader->decode->info.orientation = pirl_exif_orientation (exif, size);
#endif
}

/* Everything to 8-bit RGB. */
static void
set_transforms (Reader *reader)
{
  png_set_strip_16 (reader->png);
  png_set_expand (reader->png);
  png_set_gray_to_rgb (reader->png);
  png_set_strip_alpha (reader->png);
}

static void
read_header (Reader *reader)
{
  gchar *reason;

  png_set_read_fn (reader->png, reader, read_bytes);
  png_set_user_limits (reader->png, G_MAXINT, G_MAXINT);
  png_set_chunk_cache_max (reader->png, MAX_CHUNKS);
  png_set_chunk_malloc_max (reader->png, MAX_CHUNK_BYTES);
  png_read_info (reader->png, reader->info);
  read_orientation (reader);
  reason = pirl_image_start_decode (reader->decode,
      png_get_image_width (reader->png, reader->info),
      png_get_image_height (reader->png, reader->info), reader->image, &reader->rows);
  if (reason) {
    g_strlcpy (reader->reason, reason, REASON_LENGTH);
    g_free (reason);
    png_longjmp (reader->png, 1);
  }
}

static void
read_rows (Reader *reader)
{
  const PirlImage *image = reader->rows;
  const gsize row = 3 * (gsize) image->width;
  gint passes;

  set_transforms (reader);
  passes = png_set_interlace_handling (reader->png);
  png_read_update_info (reader->png, reader->info);
  if (png_get_rowbytes (reader->png, reader->info) != row)
    png_error (reader->png, "unexpected layout of rows");
  /* What the file does not have stays so. */
  for (gint y = 0; y < image->height; y++)
    memset (image->data + y * image->stride, MISSING_GREY, row);
  for (gint pass = 0; pass < passes; pass++)
    for (gint y = 0; y < image->height; y++, reader->n_rows++)
      png_read_row (reader->png, image->data + y * image->stride, NULL);
}

static gboolean
read_picture (Reader *reader)
{
  if (setjmp (png_jmpbuf (reader->png)))
    return FALSE;
  read_header (reader);
  read_rows (reader);
  return TRUE;
}

gboolean
pirl_png_decode (const guint8 *data, gsize size, PirlDecode *decode, PirlImage *image,
    GError **error)
{
  Reader reader = { .data = data, .size = size, .decode = decode, .image = image };
  gboolean ok = FALSE;

  g_strlcpy (reader.reason, "not enough memory", REASON_LENGTH);
  reader.png = png_create_read_struct (PNG_LIBPNG_VER_STRING, &reader, on_read_error, on_warning);
  if (reader.png)
    reader.info = png_create_info_struct (reader.png);
  if (reader.info)
    ok = read_picture (&reader);
  png_destroy_read_struct (&reader.png, &reader.info, NULL);
  if (!ok && reader.n_rows > 0 && !decode->options.strict)
    ok = decode->info.truncated = TRUE;
  if (!ok)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "PNG: %s", reader.reason);
  return ok;
}

static gboolean
write_picture (Writer *writer)
{
  const PirlImage *image = writer->image;

  if (setjmp (png_jmpbuf (writer->png)))
    return FALSE;
  png_init_io (writer->png, writer->file);
  png_set_IHDR (writer->png, writer->info, image->width, image->height, 8, PNG_COLOR_TYPE_RGB,
      PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info (writer->png, writer->info);
  for (gint y = 0; y < image->height; y++)
    png_write_row (writer->png, image->data + y * image->stride);
  png_write_end (writer->png, NULL);
  return TRUE;
}

gboolean
pirl_image_save_png (const PirlImage *image, const gchar *path, GError **error)
{
  Writer writer = { .image = image, .file = g_fopen (path, "wb") };
  gboolean ok = FALSE;

  if (!writer.file) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write \"%s\": %s", path,
        g_strerror (errno));
    return FALSE;
  }
  g_strlcpy (writer.reason, "not enough memory", REASON_LENGTH);
  writer.png = png_create_write_struct (PNG_LIBPNG_VER_STRING, &writer, on_write_error,
      on_warning);
  if (writer.png)
    writer.info = png_create_info_struct (writer.png);
  if (writer.info)
    ok = write_picture (&writer);
  png_destroy_write_struct (&writer.png, &writer.info);
  if (fclose (writer.file) != 0 && ok) {
    g_strlcpy (writer.reason, g_strerror (errno), REASON_LENGTH);
    ok = FALSE;
  }
  if (!ok) {
    g_unlink (path);
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write \"%s\": %s", path, writer.reason);
  }
  return ok;
}
