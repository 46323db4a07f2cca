/* gst-pirl: JPEG decoding with libjpeg-turbo, whose errors end the picture and not the process.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Settings are libjpeg's own (accurate integer DCT, fancy upsampling, block smoothing), hence the
 * pixels of every program that leaves them alone. Four-component files hold inverted ink, as Adobe
 * writes them: with c, m, y, k as stored, R = k - round ((255 - c) k / 255), in the rounding
 * (t + (t >> 8)) >> 8 with t = a b + 128 that Pillow uses.
 */
#include "config.h"
#include "vision/vision-private.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

/* A progressive file may repeat scans of the whole picture in a few bytes each; encoders write
 * about 10. The pixels of all scans together bound the time. */
#define MAX_SCANS 500
#define MAX_SCANNED_PIXELS G_GUINT64_CONSTANT (4000000000)
#define MAX_WARNINGS_TEXT JMSG_LENGTH_MAX
/* Of a region's first and last column libjpeg interpolates the colours as of a picture's, so it gets
 * some more on both sides. */
#define MARGIN 4
#define ROWS_A_CALL 16u         /* libjpeg gives fewer anyway */

/* Everything that must survive longjmp() lives here. */
typedef struct {
  struct jpeg_decompress_struct cinfo;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf jump;
  const guint8 *data;
  gsize size;
  PirlDecode *decode;
  PirlImage *image, *rows;      /* the picture, and where it is decoded to */
  gboolean empty;               /* the data ended before the first row was whole */
  gchar *reason;                /* why we gave up, when it was not libjpeg that did */
  gchar message[MAX_WARNINGS_TEXT];     /* libjpeg's error, or its first warning of damage */
} Reader;

static G_NORETURN void
give_up (Reader *reader, gchar *reason)
{
  reader->reason = reason;
  longjmp (reader->jump, 1);
}

static G_NORETURN void
on_error (j_common_ptr cinfo)
{
  Reader *reader = cinfo->client_data;

  cinfo->err->format_message (cinfo, reader->message);
  longjmp (reader->jump, 1);
}

static gboolean
is_harmless (gint code)
{
  return code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR || code == JWRN_EXTRANEOUS_DATA;
}

static void
on_message (j_common_ptr cinfo, int level)
{
  Reader *reader = cinfo->client_data;
  const gint code = cinfo->err->msg_code;
  const j_decompress_ptr d = &reader->cinfo;

  if (level >= 0 || is_harmless (code))
    return;
  if (!reader->decode->info.truncated)
    cinfo->err->format_message (cinfo, reader->message);
  reader->decode->info.truncated = TRUE;
  cinfo->err->num_warnings++;
  if ((code == JWRN_JPEG_EOF || (code == JWRN_HIT_MARKER && d->restart_interval == 0))
      && d->input_scan_number <= 1 && d->input_iMCU_row == 0 && d->total_iMCU_rows > 1)
    reader->empty = TRUE;
}

static void
on_output (j_common_ptr cinfo)
{
  /* libjpeg would print here; what it has to say is in the GError. */
}

static void
on_progress (j_common_ptr cinfo)
{
  Reader *reader = cinfo->client_data;
  const guint scans = reader->cinfo.input_scan_number;
  const guint64 pixels = (guint64) reader->cinfo.image_width * reader->cinfo.image_height;

  if (scans > MAX_SCANS || (scans > 1 && scans * pixels > MAX_SCANNED_PIXELS))
    give_up (reader, g_strdup_printf ("%u scans of %u x %u pixels: no encoder writes so many",
            scans, reader->cinfo.image_width, reader->cinfo.image_height));
}

static void
read_orientation (Reader *reader)
{
  static const guint8 exif[6] = { 'E', 'x', 'i', 'f', 0, 0 };

  for (jpeg_saved_marker_ptr m = reader->cinfo.marker_list; m; m = m->next) {
    if (m->data_length <= sizeof exif || memcmp (m->data, exif, sizeof exif) != 0)
      continue;
    reader->decode->info.orientation =
        pirl_exif_orientation (m->data + sizeof exif, m->data_length - sizeof exif);
    return;
  }
}

static guint8
scale_255 (guint a, guint b)
{
  const guint t = a * b + 128;

  return (t + (t >> 8)) >> 8;
}

/* One row of inverted CMYK to RGB. */
static void
ink_to_light (const guint8 *cmyk, guint8 *rgb, gint width)
{
  for (gint x = 0; x < width; x++, cmyk += 4, rgb += 3)
    for (guint c = 0; c < 3; c++)
      rgb[c] = cmyk[3] - scale_255 (255 - cmyk[c], cmyk[3]);
}

static void
read_header (Reader *reader)
{
  const j_decompress_ptr d = &reader->cinfo;
  gchar *reason;

  jpeg_mem_src (d, reader->data, reader->size);
  jpeg_save_markers (d, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header (d, TRUE);
  read_orientation (reader);
  if (d->num_components != 1 && d->num_components != 3 && d->num_components != 4)
    give_up (reader, g_strdup_printf ("%d colour components; 1, 3 or 4 are known",
            d->num_components));
  d->out_color_space = d->num_components == 4 ? JCS_CMYK : JCS_RGB;
  /* Of several scans all have to be read anyway. */
  if (d->num_components != 4 && !jpeg_has_multiple_scans (d))
    pirl_image_choose_region (reader->decode, d->image_width, d->image_height);
  d->scale_num = 1;
  d->scale_denom = reader->decode->info.divisor;
  reason = pirl_image_start_decode (reader->decode, d->image_width, d->image_height,
      reader->image, &reader->rows);
  if (reason)
    give_up (reader, reason);
}

/* The next rows, as many as libjpeg has, by way of @between where they are not what is wanted: ink, or
 * more to both sides, @left pixels of it before. Data that end early leave grey rows: libjpeg fills
 * up what is missing. */
static void
read_some_rows (Reader *reader, guint end, JSAMPARRAY between, guint left)
{
  const j_decompress_ptr d = &reader->cinfo;
  const PirlImage *image = reader->rows;
  const guint y = d->output_scanline - reader->decode->cut.y;
  const guint n = MIN (ROWS_A_CALL, end - d->output_scanline);
  JSAMPROW rows[ROWS_A_CALL];
  guint n_read;

  for (guint i = 0; i < n; i++)
    rows[i] = image->data + (y + i) * image->stride;
  n_read = jpeg_read_scanlines (d, between ? between : rows, n);
  if (n_read == 0)
    give_up (reader, g_strdup ("the decoder stopped early"));
  for (guint i = 0; between && i < n_read; i++) {
    if (d->out_color_space == JCS_CMYK)
      ink_to_light (between[i], rows[i], image->width);
    else
      memcpy (rows[i], between[i] + 3 * left, 3 * (gsize) image->width);
  }
}

/* Lets libjpeg leave out the columns beside the region and the rows above it; returns by how much it
 * begins before the region. */
static guint
skip_to_region (j_decompress_ptr d, const PirlBox *cut)
{
  const guint right = cut->x + cut->width + MARGIN;
  JDIMENSION begin = MAX (cut->x, MARGIN) - MARGIN, n = MIN (right, d->output_width) - begin;

  if ((guint) cut->width < d->output_width)
    jpeg_crop_scanline (d, &begin, &n);
  else
    begin = 0;
  if (cut->y > 0)
    jpeg_skip_scanlines (d, cut->y);
  return cut->x - begin;
}

static void
read_rows (Reader *reader)
{
  const j_decompress_ptr d = &reader->cinfo;
  const PirlBox *cut = &reader->decode->cut;
  JSAMPARRAY between = NULL;
  guint left = 0, end;

  jpeg_start_decompress (d);
  if (cut->width > 0)
    left = skip_to_region (d, cut);
  end = cut->width > 0 ? (guint) (cut->y + cut->height) : d->output_height;
  if (d->out_color_space == JCS_CMYK || d->output_width != (guint) reader->rows->width)
    between = d->mem->alloc_sarray ((j_common_ptr) d, JPOOL_IMAGE,
        d->output_components * d->output_width, ROWS_A_CALL);
  while (d->output_scanline < end)
    read_some_rows (reader, end, between, left);
  /* No jpeg_finish_decompress(): the pixels are there, and what follows them is not ours. */
}

static gboolean
read_picture (Reader *reader)
{
  if (setjmp (reader->jump))
    return FALSE;
  jpeg_create_decompress (&reader->cinfo);
  reader->cinfo.client_data = reader;
  reader->cinfo.progress = &reader->progress;
  read_header (reader);
  read_rows (reader);
  if (reader->empty)
    give_up (reader, g_strdup ("the data end before the first row of blocks"));
  if (reader->decode->info.truncated && reader->decode->options.strict)
    give_up (reader, g_strdup_printf ("damaged: %s", reader->message));
  return TRUE;
}

gboolean
pirl_jpeg_decode (const guint8 *data, gsize size, PirlDecode *decode, PirlImage *image,
    GError **error)
{
  Reader reader = { .data = data, .size = size, .decode = decode, .image = image };
  gboolean ok;

  reader.cinfo.err = jpeg_std_error (&reader.errors);
  /* jpeg_create_decompress() keeps err and client_data, and may already fail. */
  reader.cinfo.client_data = &reader;
  reader.errors.error_exit = on_error;
  reader.errors.emit_message = on_message;
  reader.errors.output_message = on_output;
  reader.progress.progress_monitor = on_progress;
  ok = read_picture (&reader);
  jpeg_destroy_decompress (&reader.cinfo);
  if (!ok)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "JPEG: %s",
        reader.reason ? reader.reason : reader.message);
  g_free (reader.reason);
  return ok;
}
