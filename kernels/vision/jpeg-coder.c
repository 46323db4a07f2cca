/* gst-pirl: one picture, many qualities: its coefficients, and files made of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file is baseline JFIF 1.01 with square pixels: one scan, one or three components, chroma halved
 * both ways, tables before the frame. Levels are never stored for the whole picture: quantising a row
 * of MCUs again costs less than bringing it back from memory.
 */
#include "config.h"
#include "vision/jpeg-coder-private.h"

#include <string.h>

#define MAX_SIDE 65500          /* libjpeg's */
#define TRAILER_BYTES (PIRL_SPARE_BYTES + 16)   /* the last bits and the end marker */

PirlJpegCoder *
pirl_jpeg_coder_new (void)
{
  PirlJpegCoder *coder = g_new0 (PirlJpegCoder, 1);

  coder->loops = pirl_dct_best ();
  return coder;
}

void
pirl_jpeg_coder_free (PirlJpegCoder *coder)
{
  if (!coder)
    return;
  for (guint c = 0; c < 3; c++) {
    g_free (coder->plane[c].coefficient);
    g_free (coder->pixels[c]);
  }
  for (guint i = 0; i < G_N_ELEMENTS (coder->basis); i++)
    g_free (coder->basis[i]);
  g_free (coder->padded);
  g_free (coder->level);
  g_free (coder->mask);
  g_free (coder->file);
  pirl_survey_clear (&coder->survey);
  pirl_sample_clear (&coder->sample);
  g_free (coder);
}

gboolean
pirl_jpeg_coder_load_rgb (PirlJpegCoder *coder, const PirlImage *image, GError **error)
{
  const PirlRaw raw = { .width = image->width, .height = image->height, .n_components = 3,
    .rgb = TRUE, .data = { image->data, image->data + 1, image->data + 2 },
    .stride = { image->stride, image->stride, image->stride }, .step = { 3, 3, 3 },
    .full_range = TRUE, .kr = .299, .kb = .114 };
  g_autoptr (PirlYccConverter) converter = pirl_ycc_converter_new (&raw, error);
  PirlYcc ycc;

  if (!converter)
    return FALSE;
  pirl_ycc_convert (converter, &raw, &ycc);
  return pirl_jpeg_coder_load (coder, &ycc, error);
}

void
pirl_jpeg_coder_size (const PirlJpegCoder *coder, gint *width, gint *height)
{
  *width = coder->width;
  *height = coder->height;
}

guint
pirl_jpeg_coder_sampling (const PirlJpegCoder *coder)
{
  return coder->n_planes == 3 ? 2 : 1;
}

guint
pirl_jpeg_coder_mcus_across (const PirlJpegCoder *coder)
{
  const guint side = 8 * pirl_jpeg_coder_sampling (coder);

  return (coder->width + side - 1) / side;
}

guint
pirl_jpeg_coder_mcus_down (const PirlJpegCoder *coder)
{
  const guint side = 8 * pirl_jpeg_coder_sampling (coder);

  return (coder->height + side - 1) / side;
}

static gboolean
no_memory (gint width, gint height, GError **error)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
      "JPEG: not enough memory for a picture of %d x %d", width, height);
  return FALSE;
}

/* Makes *@memory hold @n elements; what was in it is lost. */
static gboolean
fit (gpointer memory, gsize *allocated, gsize n, gsize size)
{
  gpointer *p = memory;

  if (n <= *allocated)
    return TRUE;
  g_free (*p);
  *p = g_try_malloc_n (n, size);
  *allocated = *p ? n : 0;
  return *p != NULL;
}

static gboolean
set_size (PirlJpegCoder *coder, const PirlYcc *picture, GError **error)
{
  const guint n_planes = picture->plane[1] && picture->plane[2] ? 3 : 1;
  gsize blocks;

  coder->width = coder->height = 0;
  coder->survey.known = coder->sample.known = FALSE;
  coder->file_size = 0;
  coder->n_planes = n_planes;
  for (guint c = 0; c < n_planes; c++) {
    PirlCoderPlane *plane = &coder->plane[c];

    plane->width = c == 0 ? picture->width : (picture->width + 1) / 2;
    plane->height = c == 0 ? picture->height : (picture->height + 1) / 2;
    plane->blocks_w = (plane->width + 7) / 8;
    plane->blocks_h = (plane->height + 7) / 8;
    if (!fit (&plane->coefficient, &plane->allocated, (gsize) plane->blocks_w * plane->blocks_h,
            PIRL_BLOCK * sizeof (gint16)))
      return no_memory (picture->width, picture->height, error);
  }
  /* Two rows of luma and one of each chroma, up to whole MCUs. */
  blocks = 6 * (gsize) (coder->plane[0].blocks_w / 2 + 1);
  if (coder->level_allocated < blocks) {
    gsize masks = coder->level_allocated;

    if (!fit (&coder->level, &coder->level_allocated, blocks, PIRL_BLOCK * sizeof (gint16))
        || !fit (&coder->mask, &masks, blocks, sizeof (guint64))) {
      coder->level_allocated = 0;
      return no_memory (picture->width, picture->height, error);
    }
  }
  if (!fit (&coder->padded, &coder->padded_allocated, PIRL_BLOCK * coder->plane[0].blocks_w, 1)
      || !pirl_jpeg_coder_survey_fit (coder))
    return no_memory (picture->width, picture->height, error);
  coder->width = picture->width;
  coder->height = picture->height;
  return TRUE;
}

/* Rows 8 @row.. of a component as whole blocks, its edges repeated. */
static void
pad_rows (PirlJpegCoder *coder, const PirlYcc *picture, guint c, guint row)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const gsize width = plane->width, step = picture->step[c], padded = 8 * plane->blocks_w;

  for (guint i = 0; i < 8; i++) {
    const gsize y = MIN (8 * (gsize) row + i, (gsize) plane->height - 1);
    const guint8 *src = picture->plane[c] + y * picture->stride[c];
    guint8 *dst = coder->padded + i * padded;

    if (step == 1)
      memcpy (dst, src, width);
    else if (step == 2)
      for (gsize x = 0; x < width; x++)
        dst[x] = src[2 * x];
    else
      for (gsize x = 0; x < width; x++)
        dst[x] = src[x * step];
    memset (dst + width, dst[width - 1], padded - width);
  }
}

static void
load_plane (PirlJpegCoder *coder, const PirlYcc *picture, guint c)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const gboolean direct = picture->step[c] == 1 && plane->width % 8 == 0;

  for (guint row = 0; row < plane->blocks_h; row++) {
    gint16 *coefficient = plane->coefficient + (gsize) row * plane->blocks_w * PIRL_BLOCK;
    const guint8 *src = picture->plane[c] + 8 * (gsize) row * picture->stride[c];
    gsize stride = picture->stride[c];

    if (!direct || 8 * (row + 1) > (guint) plane->height) {
      pad_rows (coder, picture, c, row);
      src = coder->padded;
      stride = 8 * plane->blocks_w;
    }
    coder->loops->forward (src, stride, plane->blocks_w, coefficient);
    if (coder->survey.wanted)
      pirl_jpeg_coder_survey_row (coder, c, row);
  }
}

gboolean
pirl_jpeg_coder_load (PirlJpegCoder *coder, const PirlYcc *picture, GError **error)
{
  if (picture->width < 1 || picture->height < 1 || picture->width > MAX_SIDE
      || picture->height > MAX_SIDE) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "JPEG: a picture of %d x %d; sides of 1 to %d can be coded", picture->width,
        picture->height, MAX_SIDE);
    return FALSE;
  }
  if (!set_size (coder, picture, error))
    return FALSE;
  if (coder->survey.wanted)
    pirl_jpeg_coder_survey_begin (coder);
  for (guint c = 0; c < coder->n_planes; c++)
    load_plane (coder, picture, c);
  coder->survey.known = coder->survey.wanted;
  return TRUE;
}

void
pirl_jpeg_coder_quantise (PirlJpegCoder *coder, const PirlQuantiser quantiser[2], guint x,
    guint y, guint n_mcus, PirlScanRow *row)
{
  const guint luma = pirl_jpeg_coder_sampling (coder);
  gsize used = 0;

  row->n_components = coder->n_planes;
  row->sampling = luma;
  row->n_mcus = n_mcus;
  for (guint r = 0; r < luma + coder->n_planes - 1; r++) {
    const guint c = r < luma ? 0 : r - luma + 1;
    const guint across = c == 0 ? luma : 1;
    const guint by = c == 0 ? luma * y + r : y, bx = across * x;
    const PirlCoderPlane *plane = &coder->plane[c];
    const guint n = by < plane->blocks_h ? MIN (across * n_mcus, plane->blocks_w - bx) : 0;

    row->row[r].level = coder->level + used * PIRL_BLOCK;
    row->row[r].mask = coder->mask + used;
    row->row[r].blocks = n;
    if (n > 0)
      coder->loops->quantise (plane->coefficient
          + ((gsize) by * plane->blocks_w + bx) * PIRL_BLOCK, n, PIRL_BLOCK,
          &quantiser[c > 0], coder->level + used * PIRL_BLOCK, coder->mask + used);
    used += across * n_mcus;
  }
}

void
pirl_jpeg_coder_set_flat (PirlJpegCoder *coder, gint below)
{
  coder->flat_below = below;
}

gint
pirl_jpeg_coder_quality (const PirlJpegCoder *coder, gint quality)
{
  return quality < coder->flat_below ? MAX (quality, 1) + PIRL_FLAT : quality;
}

void
pirl_quantisers_init (PirlQuantiser quantiser[2], gint quality)
{
  pirl_quantiser_init (&quantiser[0], quality, FALSE);
  pirl_quantiser_init (&quantiser[1], quality, TRUE);
}

/* Makes room for @n more bytes at @p, which may move. */
static gboolean
reserve (PirlJpegCoder *coder, guint8 **p, gsize n, GError **error)
{
  const gsize used = *p ? *p - coder->file : 0;
  guint8 *file;

  if (used + n > coder->file_allocated) {
    const gsize wanted = MAX (used + n, coder->file_allocated + coder->file_allocated / 2);

    file = g_try_realloc (coder->file, wanted);
    if (!file)
      return no_memory (coder->width, coder->height, error);
    coder->file = file;
    coder->file_allocated = wanted;
  }
  *p = coder->file + used;
  return TRUE;
}

static guint8 *
add_16 (guint8 *p, guint value)
{
  p[0] = value >> 8;
  p[1] = value;
  return p + 2;
}

/* A marker and the length of its segment, @n bytes without these. */
static guint8 *
add_segment (guint8 *p, guint8 marker, guint n)
{
  p[0] = 0xff;
  p[1] = marker;
  return add_16 (p + 2, n + 2);
}

static guint8 *
add_bytes (guint8 *p, gconstpointer bytes, gsize n)
{
  memcpy (p, bytes, n);
  return p + n;
}

static guint8 *
add_frame (const PirlJpegCoder *coder, guint8 *p)
{
  const guint n = coder->n_planes;

  p = add_segment (p, 0xc0, 6 + 3 * n);
  *p++ = 8;
  p = add_16 (p, coder->height);
  p = add_16 (p, coder->width);
  *p++ = n;
  for (guint c = 0; c < n; c++) {
    const guint side = c == 0 ? pirl_jpeg_coder_sampling (coder) : 1;

    *p++ = c + 1;
    *p++ = side << 4 | side;
    *p++ = c > 0;
  }
  return p;
}

static guint8 *
add_huffman_tables (const PirlJpegCoder *coder, guint8 *p, const PirlHuffmanTable *tables)
{
  static const guint8 id[PIRL_N_HUFFMAN_TABLES] = { 0x00, 0x10, 0x01, 0x11 };
  const guint n = coder->n_planes == 1 ? 2 : 4;
  guint size = 0;

  for (guint i = 0; i < n; i++)
    size += 17 + pirl_huffman_n_values (&tables[i]);
  p = add_segment (p, 0xc4, size);
  for (guint i = 0; i < n; i++) {
    *p++ = id[i];
    p = add_bytes (p, tables[i].bits + 1, 16);
    p = add_bytes (p, tables[i].value, pirl_huffman_n_values (&tables[i]));
  }
  return p;
}

guint8 *
pirl_jpeg_coder_headers (const PirlJpegCoder *coder, guint8 *p,
    const PirlQuantiser quantiser[2], const PirlHuffmanTable *tables)
{
  /* Version 1.1, density without a unit, 1 : 1, no thumbnail. */
  static const guint8 jfif[14] = { 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0 };
  static const guint8 whole_block[3] = { 0, 63, 0 };

  *p++ = 0xff;
  *p++ = 0xd8;
  p = add_bytes (add_segment (p, 0xe0, sizeof jfif), jfif, sizeof jfif);
  for (guint i = 0; i < (coder->n_planes == 1 ? 1 : 2); i++) {
    p = add_segment (p, 0xdb, 1 + PIRL_BLOCK);
    *p++ = i;
    p = add_bytes (p, quantiser[i].step, PIRL_BLOCK);
  }
  p = add_frame (coder, p);
  p = add_huffman_tables (coder, p, tables);
  p = add_segment (p, 0xda, 4 + 2 * coder->n_planes);
  *p++ = coder->n_planes;
  for (guint c = 0; c < coder->n_planes; c++) {
    *p++ = c + 1;
    *p++ = c == 0 ? 0x00 : 0x11;
  }
  return add_bytes (p, whole_block, sizeof whole_block);
}

/* Tables fitted to a sample, or to the whole picture if that is asked for or as good as the sample. */
static void
fit_tables (PirlJpegCoder *coder, const PirlQuantiser quantiser[2], PirlHuffman huffman,
    PirlHuffmanTable tables[PIRL_N_HUFFMAN_TABLES])
{
  guint32 count[PIRL_N_HUFFMAN_TABLES][256] = { { 0 } };
  PirlScanRow row = { 0 };

  if (huffman == PIRL_HUFFMAN_TUNED && pirl_jpeg_coder_fit_tables (coder, quantiser, tables))
    return;
  for (guint y = 0; y < pirl_jpeg_coder_mcus_down (coder); y++) {
    pirl_jpeg_coder_quantise (coder, quantiser, 0, y, pirl_jpeg_coder_mcus_across (coder), &row);
    pirl_scan_count (&row, count);
  }
  for (guint i = 0; i < PIRL_N_HUFFMAN_TABLES; i++)
    pirl_huffman_optimise (count[i], &tables[i]);
}

/* All rows, from @p on; NULL without memory. */
static guint8 *
write_scan (PirlJpegCoder *coder, guint8 *p, const PirlQuantiser quantiser[2],
    const PirlHuffmanTable *tables, GError **error)
{
  const guint n_mcus = pirl_jpeg_coder_mcus_across (coder);
  const gsize room = (gsize) n_mcus * (coder->n_planes == 3 ? 6 : 1) * PIRL_MAX_BLOCK_BYTES;
  PirlBitWriter writer = { .p = p };
  PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES];
  PirlScanRow row = { 0 };

  for (guint i = 0; i < PIRL_N_HUFFMAN_TABLES; i++)
    pirl_huffman_make_codes (&tables[i], codes[i]);
  for (guint y = 0; y < pirl_jpeg_coder_mcus_down (coder); y++) {
    if (!reserve (coder, &writer.p, room + TRAILER_BYTES, error))
      return NULL;
    pirl_jpeg_coder_quantise (coder, quantiser, 0, y, n_mcus, &row);
    pirl_scan_write (&row, codes, &writer);
  }
  pirl_bits_flush (&writer);
  return writer.p;
}

gboolean
pirl_jpeg_coder_encode (PirlJpegCoder *coder, gint quality, PirlHuffman huffman,
    const guint8 **data, gsize *size, GError **error)
{
  PirlHuffmanTable fitted[PIRL_N_HUFFMAN_TABLES];
  const PirlHuffmanTable *tables = huffman == PIRL_HUFFMAN_STANDARD ? pirl_huffman_standard : fitted;
  PirlQuantiser quantiser[2];
  guint8 *p = NULL;

  if (coder->width == 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "JPEG: no picture has been loaded");
    return FALSE;
  }
  coder->file_size = 0;
  pirl_quantisers_init (quantiser, pirl_jpeg_coder_quality (coder, quality));
  if (huffman != PIRL_HUFFMAN_STANDARD)
    fit_tables (coder, quantiser, huffman, fitted);
  if (!reserve (coder, &p, PIRL_MAX_HEADER_BYTES, error))
    return FALSE;
  p = write_scan (coder, pirl_jpeg_coder_headers (coder, p, quantiser, tables), quantiser, tables, error);
  if (!p)
    return FALSE;
  *p++ = 0xff;
  *p++ = 0xd9;
  coder->file_size = p - coder->file;
  coder->file_quality = quality;
  coder->file_huffman = huffman;
  return pirl_jpeg_coder_last_file (coder, &quality, &huffman, data, size);
}

gboolean
pirl_jpeg_coder_last_file (const PirlJpegCoder *coder, gint *quality, PirlHuffman *huffman,
    const guint8 **data, gsize *size)
{
  *quality = coder->file_quality;
  *huffman = coder->file_huffman;
  *data = coder->file;
  *size = coder->file_size;
  return coder->file_size > 0;
}
