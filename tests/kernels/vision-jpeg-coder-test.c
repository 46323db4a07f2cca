/* gst-pirl: the JPEG coder against libjpeg: its decoder, its Huffman coder, its own encoder.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Kodak's pictures come from $PIRL_TEST_DATA (default: the folder given as argument); without them
 * procedural ones serve alone. */
#include "config.h"
#include "vision-common.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <jpeglib.h>

#include "base/rng.h"
#include "vision/jpeg-coder-private.h"

static gchar *data_path;

/* Planes with memory of their own. */
typedef struct {
  PirlYcc ycc;
  guint8 *memory[3];
} Planes;

static void
planes_init (Planes *planes, gint width, gint height, gboolean grey)
{
  memset (planes, 0, sizeof *planes);
  planes->ycc.width = width;
  planes->ycc.height = height;
  for (guint c = 0; c < (grey ? 1 : 3); c++) {
    const gint w = c ? (width + 1) / 2 : width, h = c ? (height + 1) / 2 : height;

    planes->memory[c] = g_malloc ((gsize) w * h);
    planes->ycc.plane[c] = planes->memory[c];
    planes->ycc.stride[c] = w;
    planes->ycc.step[c] = 1;
  }
}

static void
planes_clear (Planes *planes)
{
  for (guint c = 0; c < 3; c++)
    g_free (planes->memory[c]);
}

static void
planes_from_image (Planes *planes, const PirlImage *image, gboolean grey)
{
  const PirlRaw raw = { .width = image->width, .height = image->height, .n_components = 3,
    .rgb = TRUE, .data = { image->data, image->data + 1, image->data + 2 },
    .stride = { image->stride, image->stride, image->stride }, .step = { 3, 3, 3 },
    .full_range = TRUE
  };
  g_autoptr (PirlYccConverter) converter = pirl_ycc_converter_new (&raw, NULL);
  PirlYcc ycc;

  pirl_ycc_convert (converter, &raw, &ycc);
  planes_init (planes, image->width, image->height, grey);
  for (guint c = 0; c < (grey ? 1 : 3); c++)
    memcpy (planes->memory[c], ycc.plane[c], ycc.stride[c] * (c ? (image->height + 1) / 2
            : image->height));
}

/* Smooth, textured or noise, by @seed. */
static void
planes_draw (Planes *planes, gint width, gint height, gboolean grey, guint seed)
{
  PirlImage image = { 0 };

  if (seed % 3 == 0) {
    PirlRng rng;

    pirl_rng_init (&rng, seed, 0, 0, PIRL_PURPOSE_TEST);
    planes_init (planes, width, height, grey);
    for (guint c = 0; c < (grey ? 1 : 3); c++)
      for (gsize i = 0; i < planes->ycc.stride[c] * (c ? (height + 1) / 2 : height); i++)
        planes->memory[c][i] = pirl_rng_u32 (&rng) >> 31 ? 255 : pirl_rng_u32 (&rng) >> 24;
    return;
  }
  vision_picture (&image, width, height, seed);
  planes_from_image (planes, &image, grey);
  pirl_image_clear (&image);
}

/* Up to 8 photos, or none; the caller clears them. */
static guint
load_kodak (PirlImage images[8])
{
  static const gchar *const names[] = { "02", "04", "05", "08", "15", "19", "20", "23" };
  guint n = 0;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree gchar *file = g_strconcat (names[i], ".png", NULL);
    g_autofree gchar *path = g_build_filename (data_path, "kodak", file, NULL);

    images[n] = (PirlImage) { 0 };
    n += pirl_image_load (path, &images[n], NULL, NULL);
  }
  return n;
}

/* libjpeg, whose errors and warnings fail the test. */
static G_NORETURN void
on_error (j_common_ptr cinfo)
{
  gchar text[JMSG_LENGTH_MAX];

  cinfo->err->format_message (cinfo, text);
  g_error ("libjpeg: %s", text);
}

static void
on_message (j_common_ptr cinfo, int level)
{
  if (level < 0)
    on_error (cinfo);
}

static struct jpeg_error_mgr *
strict_errors (struct jpeg_error_mgr *errors)
{
  jpeg_std_error (errors);
  errors->error_exit = on_error;
  errors->emit_message = on_message;
  return errors;
}

static void
start_reading (struct jpeg_decompress_struct *d, struct jpeg_error_mgr *errors,
    const guint8 *data, gsize size)
{
  d->err = strict_errors (errors);
  jpeg_create_decompress (d);
  jpeg_mem_src (d, data, size);
  g_assert_cmpint (jpeg_read_header (d, TRUE), ==, JPEG_HEADER_OK);
}

/* Decodes at @scale / 8. */
static guint8 *
read_pixels (const guint8 *data, gsize size, guint scale, J_COLOR_SPACE space, gint *width,
    gint *height)
{
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr errors;
  guint8 *pixels;
  gsize stride;

  start_reading (&d, &errors, data, size);
  d.out_color_space = space;
  d.scale_num = scale;
  d.scale_denom = 8;
  jpeg_start_decompress (&d);
  *width = d.output_width;
  *height = d.output_height;
  stride = (gsize) d.output_width * d.output_components;
  pixels = g_malloc (stride * d.output_height);
  while (d.output_scanline < d.output_height) {
    JSAMPROW row = pixels + stride * d.output_scanline;

    jpeg_read_scanlines (&d, &row, 1);
  }
  jpeg_finish_decompress (&d);
  jpeg_destroy_decompress (&d);
  return pixels;
}

/* Luma's error as a decoder shows it. */
static gdouble
luma_psnr (const guint8 *data, gsize size, const PirlYcc *ycc)
{
  gint width, height;
  g_autofree guint8 *pixels = read_pixels (data, size, 8, JCS_GRAYSCALE, &width, &height);
  gdouble sum = 0;

  g_assert_cmpint (width, ==, ycc->width);
  g_assert_cmpint (height, ==, ycc->height);
  for (gint y = 0; y < height; y++)
    for (gint x = 0; x < width; x++) {
      const gdouble e = (gdouble) pixels[(gsize) y * width + x]
          - ycc->plane[0][y * ycc->stride[0] + x];

      sum += e * e;
    }
  return 10 * log10 (255 * 255 / MAX (sum / width / height, 1e-9));
}

/* The same planes through libjpeg's own encoder. */
static gsize
libjpeg_encode (const PirlYcc *ycc, gint quality, J_DCT_METHOD dct, gboolean optimised,
    guint8 **data)
{
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr errors;
  const gboolean grey = !ycc->plane[1];
  const gint side = grey ? 8 : 16, padded = (ycc->width + 15) / 16 * 16;
  g_autofree guint8 *rows = g_malloc ((gsize) padded * 32);
  JSAMPROW row[3][16];
  JSAMPARRAY planes[3] = { row[0], row[1], row[2] };
  unsigned long size = 0;

  c.err = strict_errors (&errors);
  jpeg_create_compress (&c);
  *data = NULL;
  jpeg_mem_dest (&c, data, &size);
  c.image_width = ycc->width;
  c.image_height = ycc->height;
  c.input_components = grey ? 1 : 3;
  c.in_color_space = grey ? JCS_GRAYSCALE : JCS_YCbCr;
  jpeg_set_defaults (&c);
  jpeg_set_quality (&c, quality, TRUE);
  c.raw_data_in = TRUE;
  c.dct_method = dct;
  c.optimize_coding = optimised;
  jpeg_start_compress (&c, TRUE);
  while (c.next_scanline < c.image_height) {
    for (gint p = 0; p < c.num_components; p++)
      for (gint i = 0; i < (p ? 8 : side); i++) {
        const gint w = p ? (ycc->width + 1) / 2 : ycc->width;
        const gint h = p ? (ycc->height + 1) / 2 : ycc->height;
        const gint y = MIN ((p ? (gint) c.next_scanline / 2 : (gint) c.next_scanline) + i, h - 1);
        guint8 *to = rows + (gsize) (p ? 8 + 8 * p + i : i) * padded;

        memcpy (to, ycc->plane[p] + y * ycc->stride[p], w);
        memset (to + w, to[w - 1], padded - w);
        row[p][i] = to;
      }
    jpeg_write_raw_data (&c, planes, side);
  }
  jpeg_finish_compress (&c);
  jpeg_destroy_compress (&c);
  return size;
}

/* Our file's coefficients, coded by libjpeg with its own tables. */
static gsize
libjpeg_recode (const guint8 *data, gsize size, gboolean optimised, guint8 **out)
{
  struct jpeg_decompress_struct d;
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr errors;
  unsigned long out_size = 0;
  jvirt_barray_ptr *arrays;

  start_reading (&d, &errors, data, size);
  arrays = jpeg_read_coefficients (&d);
  c.err = &errors;
  jpeg_create_compress (&c);
  *out = NULL;
  jpeg_mem_dest (&c, out, &out_size);
  jpeg_copy_critical_parameters (&d, &c);
  c.optimize_coding = optimised;
  jpeg_write_coefficients (&c, arrays);
  jpeg_finish_compress (&c);
  jpeg_destroy_compress (&c);
  jpeg_finish_decompress (&d);
  jpeg_destroy_decompress (&d);
  return out_size;
}

/* Where the entropy-coded data begin. */
static gsize
scan_start (const guint8 *data, gsize size)
{
  gsize at = 2;

  while (at + 4 <= size && data[at + 1] != 0xda)
    at += 2 + (data[at + 2] << 8 | data[at + 3]);
  g_assert_cmpuint (at + 4, <=, size);
  return at + 2 + (data[at + 2] << 8 | data[at + 3]);
}

/* Bytes of the scan without the stuffed ones, which are luck. */
static gsize
scan_bytes (const guint8 *data, gsize size)
{
  gsize n = 0;

  for (gsize i = scan_start (data, size); i < size; i++)
    n += data[i] != 0 || data[i - 1] != 0xff;
  return n;
}

static void
check_caps (const guint8 *data, gsize size, const PirlYcc *ycc)
{
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr errors;
  const gint side = ycc->plane[1] ? 2 : 1;

  g_assert_cmpint (data[3], ==, 0xe0);
  start_reading (&d, &errors, data, size);
  g_assert_cmpint (d.image_width, ==, ycc->width);
  g_assert_cmpint (d.image_height, ==, ycc->height);
  g_assert_cmpint (d.num_components, ==, ycc->plane[1] ? 3 : 1);
  g_assert_cmpint (d.jpeg_color_space, ==, ycc->plane[1] ? JCS_YCbCr : JCS_GRAYSCALE);
  g_assert_cmpint (d.comp_info[0].h_samp_factor, ==, side);
  g_assert_cmpint (d.comp_info[0].v_samp_factor, ==, side);
  for (gint c = 1; c < d.num_components; c++) {
    g_assert_cmpint (d.comp_info[c].h_samp_factor, ==, 1);
    g_assert_cmpint (d.comp_info[c].v_samp_factor, ==, 1);
  }
  g_assert_true (d.saw_JFIF_marker);
  g_assert_cmpint (d.density_unit, ==, 0);
  g_assert_cmpint (d.X_density, ==, 1);
  g_assert_cmpint (d.Y_density, ==, 1);
  g_assert_false (d.progressive_mode);
  g_assert_cmpuint (scan_start (data, size), <=, 623);
  jpeg_destroy_decompress (&d);
}

/* libjpeg reads our levels and codes them with the same tables into the same bits. */
static void
check_bits (PirlJpegCoder *coder, gint quality)
{
  guint8 *theirs, *best;
  const guint8 *data;
  gsize size, their_size, best_size;

  g_assert_true (pirl_jpeg_coder_encode (coder, quality, PIRL_HUFFMAN_STANDARD, &data, &size,
          NULL));
  their_size = libjpeg_recode (data, size, FALSE, &theirs);
  best_size = libjpeg_recode (data, size, TRUE, &best);
  g_assert_cmpmem (data + scan_start (data, size), size - scan_start (data, size),
      theirs + scan_start (theirs, their_size), their_size - scan_start (theirs, their_size));
  g_assert_true (pirl_jpeg_coder_encode (coder, quality, PIRL_HUFFMAN_OPTIMIZED, &data, &size,
          NULL));
  g_assert_cmpuint (scan_bytes (data, size), <=, scan_bytes (best, best_size));
  g_assert_cmpuint (scan_start (data, size), <=, scan_start (best, best_size));
  free (theirs);
  free (best);
}

/* Returns by how many dB the file is better than libjpeg's. */
static gdouble
check_picture (PirlJpegCoder *coder, const Planes *planes, gint quality)
{
  const PirlYcc *ycc = &planes->ycc;
  guint8 *theirs;
  gsize size, their_size;
  const guint8 *data;
  gdouble psnr, difference = 0;

  g_assert_true (pirl_jpeg_coder_load (coder, ycc, NULL));
  check_bits (coder, quality);
  their_size = libjpeg_encode (ycc, quality, JDCT_ISLOW, FALSE, &theirs);
  psnr = luma_psnr (theirs, their_size, ycc);
  for (guint h = PIRL_HUFFMAN_STANDARD; h <= PIRL_HUFFMAN_OPTIMIZED; h++) {
    g_assert_true (pirl_jpeg_coder_encode (coder, quality, h, &data, &size, NULL));
    check_caps (data, size, ycc);
    /* Halves and a little more are rounded down: much in small noise, next to nothing on average. */
    difference = luma_psnr (data, size, ycc) - psnr;
    g_assert_cmpfloat (difference, >=, -1);
  }
  free (theirs);
  return difference;
}

/* One coder for all: sizes change under it. */
static void
test_random_pictures (void)
{
  const guint n = g_getenv ("PIRL_LONG") ? 2000 : 150;
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  gdouble sum = 0;
  PirlRng rng;

  pirl_rng_init (&rng, 1, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < n; i++) {
    const gint width = 1 + pirl_rng_below (&rng, 200), height = 1 + pirl_rng_below (&rng, 200);
    Planes planes;

    planes_draw (&planes, width, height, i % 4 == 0, i);
    sum += check_picture (coder, &planes, pirl_rng_below (&rng, 101));
    planes_clear (&planes);
  }
  g_test_message ("%+.4f dB on average", sum / n);
  g_assert_cmpfloat (sum / n, >=, -0.05);
}

static void
test_large_pictures (void)
{
  static const gint sizes[][2] = { { 1921, 1079 }, { 65500, 1 }, { 1, 65500 }, { 4097, 33 } };
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    Planes planes;

    planes_draw (&planes, sizes[i][0], sizes[i][1], i == 1, i);
    check_picture (coder, &planes, 20 + 25 * i);
    planes_clear (&planes);
  }
}

/* What tables for every symbol take more than those of a small photo, at most. */
#define ALL_SYMBOLS_BYTES 300

/* Never more bytes than libjpeg for the same planes and tables, and as good. */
static void
check_photo (PirlJpegCoder *coder, const PirlYcc *ycc, gint quality)
{
  gsize theirs[3], ours[3];
  guint8 *their_data;
  const guint8 *data;
  gdouble psnr;

  theirs[2] = libjpeg_encode (ycc, quality, JDCT_IFAST, FALSE, &their_data);
  free (their_data);
  theirs[1] = libjpeg_encode (ycc, quality, JDCT_ISLOW, TRUE, &their_data);
  free (their_data);
  theirs[0] = libjpeg_encode (ycc, quality, JDCT_ISLOW, FALSE, &their_data);
  psnr = luma_psnr (their_data, theirs[0], ycc);
  free (their_data);
  g_assert_true (pirl_jpeg_coder_load (coder, ycc, NULL));
  for (guint h = 0; h < 3; h++)
    g_assert_true (pirl_jpeg_coder_encode (coder, quality, h, &data, &ours[h], NULL));
  g_assert_cmpfloat (luma_psnr (data, ours[2], ycc), >=, psnr - 0.02);
  g_assert_cmpuint (ours[PIRL_HUFFMAN_STANDARD], <=, MIN (theirs[0], theirs[2]));
  g_assert_cmpuint (ours[PIRL_HUFFMAN_OPTIMIZED], <=, theirs[1]);
  g_assert_cmpfloat (ours[PIRL_HUFFMAN_TUNED], <=, 1.02 * ours[PIRL_HUFFMAN_OPTIMIZED]
      + ALL_SYMBOLS_BYTES);
}

static void
test_photos (void)
{
  static const gint qualities[] = { 5, 15, 25, 45, 75, 90, 100 };
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  PirlImage images[8];
  const guint n = load_kodak (images);

  if (n == 0) {
    g_test_skip ("no photos: PIRL_TEST_DATA has no kodak folder");
    return;
  }
  for (guint i = 0; i < n; i++) {
    Planes planes;

    planes_from_image (&planes, &images[i], FALSE);
    for (guint q = 0; q < G_N_ELEMENTS (qualities); q++)
      check_photo (coder, &planes.ycc, qualities[q]);
    planes_clear (&planes);
    pirl_image_clear (&images[i]);
  }
}

/* What a coder did before leaves no trace. */
static void
test_memory_is_reused (void)
{
  g_autoptr (PirlJpegCoder) old = pirl_jpeg_coder_new ();

  for (guint i = 0; i < 20; i++) {
    g_autoptr (PirlJpegCoder) fresh = pirl_jpeg_coder_new ();
    PirlJpegCoder *coders[2] = { old, fresh };
    g_autofree guint8 *copy = NULL;
    const guint8 *data;
    gsize size = 0, copied = 0;
    Planes planes;

    planes_draw (&planes, 300 >> i % 5, 10 + 90 * (i % 3), i % 7 == 0, i);
    for (guint k = 0; k < 2; k++) {
      g_assert_true (pirl_jpeg_coder_load (coders[k], &planes.ycc, NULL));
      g_assert_true (pirl_jpeg_coder_encode (coders[k], 5 * i, PIRL_HUFFMAN_OPTIMIZED, &data,
              &size, NULL));
      if (k == 0) {
        copy = g_memdup2 (data, size);
        copied = size;
      }
    }
    g_assert_cmpmem (copy, copied, data, size);
    planes_clear (&planes);
  }
}

/* Levels are those of the transform in double precision, to a tenth of a unit. */
static void
test_levels_are_exact (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr errors;
  jvirt_barray_ptr *arrays;
  const guint8 *data;
  gdouble worst = 0;
  gsize size;
  Planes planes;

  planes_draw (&planes, 64, 64, FALSE, 3);
  g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
  g_assert_true (pirl_jpeg_coder_encode (coder, 100, PIRL_HUFFMAN_STANDARD, &data, &size, NULL));
  start_reading (&d, &errors, data, size);
  arrays = jpeg_read_coefficients (&d);
  for (guint block = 0; block < 64; block++) {
    JBLOCKARRAY rows = d.mem->access_virt_barray ((j_common_ptr) &d, arrays[0], block / 8, 1,
        FALSE);

    for (guint i = 0; i < 64; i++) {
      const guint u = i % 8, v = i / 8;
      gdouble sum = 0;

      for (guint p = 0; p < 64; p++)
        sum += (planes.memory[0][(block / 8 * 8 + p / 8) * 64 + block % 8 * 8 + p % 8] - 128.0)
            * cos ((2 * (p % 8) + 1) * u * G_PI / 16) * cos ((2 * (p / 8) + 1) * v * G_PI / 16);
      sum *= (u ? 1 : G_SQRT2 / 2) * (v ? 1 : G_SQRT2 / 2) / 4;
      worst = MAX (worst, fabs (rows[0][block % 8][i] - sum));
    }
  }
  jpeg_destroy_decompress (&d);
  planes_clear (&planes);
  g_test_message ("largest distance %.3f", worst);
  g_assert_cmpfloat (worst, <=, 0.6);
}

static void
test_quantisation_tables (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  Planes planes;

  planes_draw (&planes, 16, 16, FALSE, 1);
  g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
  for (gint quality = 0; quality <= 100; quality++) {
    struct jpeg_compress_struct c;
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    const guint8 *data;
    gsize size;

    g_assert_true (pirl_jpeg_coder_encode (coder, quality, PIRL_HUFFMAN_STANDARD, &data, &size,
            NULL));
    start_reading (&d, &errors, data, size);
    c.err = &errors;
    jpeg_create_compress (&c);
    c.input_components = 3;
    c.in_color_space = JCS_YCbCr;
    jpeg_set_defaults (&c);
    jpeg_set_quality (&c, quality, TRUE);
    for (guint t = 0; t < 2; t++)
      g_assert_cmpmem (d.quant_tbl_ptrs[t]->quantval, sizeof d.quant_tbl_ptrs[t]->quantval,
          c.quant_tbl_ptrs[t]->quantval, sizeof c.quant_tbl_ptrs[t]->quantval);
    jpeg_destroy_compress (&c);
    jpeg_destroy_decompress (&d);
  }
  planes_clear (&planes);
}

/* Below the given quality 10 + 2.5 (u + v) and 10 + 4 (u + v), scaled; from it on Annex K's. */
static void
test_flat_tables (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autoptr (PirlJpegCoder) usual = pirl_jpeg_coder_new ();
  Planes planes;

  planes_draw (&planes, 16, 16, FALSE, 1);
  g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
  g_assert_true (pirl_jpeg_coder_load (usual, &planes.ycc, NULL));
  pirl_jpeg_coder_set_flat (coder, 75);
  for (gint quality = 1; quality <= 100; quality++) {
    const gdouble percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    const guint8 *data, *other;
    gsize size, other_size;

    g_assert_true (pirl_jpeg_coder_encode (coder, quality, PIRL_HUFFMAN_STANDARD, &data, &size,
            NULL));
    if (quality >= 75) {
      g_assert_true (pirl_jpeg_coder_encode (usual, quality, PIRL_HUFFMAN_STANDARD, &other,
              &other_size, NULL));
      g_assert_cmpmem (data, size, other, other_size);
      continue;
    }
    start_reading (&d, &errors, data, size);
    for (guint t = 0; t < 2; t++)
      for (guint k = 0; k < 64; k++) {
        const gdouble step = (10 + (t ? 4 : 2.5) * (k / 8 + k % 8)) * percent / 100;

        g_assert_cmpint (d.quant_tbl_ptrs[t]->quantval[k], ==, CLAMP (floor (step + .5), 1, 255));
      }
    jpeg_destroy_decompress (&d);
  }
  planes_clear (&planes);
}

/* Photos take about the bytes of Annex K's tables, as predicted, and previews show the same file. */
static void
test_flat_photos (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  gdouble sum[2] = { 0, 0 };
  PirlImage images[8];
  const guint n = load_kodak (images);

  for (guint i = 0; i < n; i++) {
    Planes planes;

    planes_from_image (&planes, &images[i], FALSE);
    g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
    for (gint quality = 5; quality <= 25; quality += 10)
      for (gint flat = 0; flat < 2; flat++) {
        PirlImage decoded = { 0 }, preview = { 0 };
        const guint8 *data;
        gdouble predicted, off = 0;
        gsize size;

        pirl_jpeg_coder_set_flat (coder, flat ? 75 : 0);
        pirl_jpeg_coder_sizes (coder, &quality, 1, PIRL_HUFFMAN_OPTIMIZED, &predicted, NULL);
        g_assert_true (pirl_jpeg_coder_encode (coder, quality, PIRL_HUFFMAN_OPTIMIZED, &data, &size,
                NULL));
        g_assert_cmpfloat_with_epsilon (predicted, size, .05 * size);
        sum[flat] += size;
        g_assert_true (pirl_image_decode (data, size, 0, TRUE, &decoded, NULL, NULL));
        pirl_jpeg_coder_preview (coder, quality, 4096, NULL, &preview);
        for (gint y = 0; y < decoded.height; y++)
          for (gint x = 0; x < 3 * decoded.width; x++)
            off += abs (decoded.data[y * decoded.stride + x] - preview.data[y * preview.stride + x]);
        g_assert_cmpfloat (off / (3. * decoded.width * decoded.height), <, 2);
        pirl_image_clear (&decoded);
        pirl_image_clear (&preview);
      }
    planes_clear (&planes);
    pirl_image_clear (&images[i]);
  }
  if (n == 0) {
    g_test_skip ("no photos");
    return;
  }
  g_test_message ("bytes of the flat tables / of Annex K's: %.3f", sum[1] / sum[0]);
  g_assert_cmpfloat_with_epsilon (sum[1] / sum[0], 1, .1);
}

/* Strided and interleaved planes are read as packed ones. */
static void
test_strides_and_steps (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();

  for (guint step = 1; step <= 3; step++) {
    g_autofree guint8 *copy = NULL, *wide = NULL;
    gsize size, copied, at = 0;
    const guint8 *data;
    Planes planes;
    PirlYcc apart;

    planes_draw (&planes, 83, 45, FALSE, step);
    g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
    g_assert_true (pirl_jpeg_coder_encode (coder, 60, PIRL_HUFFMAN_TUNED, &data, &copied, NULL));
    copy = g_memdup2 (data, copied);
    apart = planes.ycc;
    wide = g_malloc0 (3 * 45 * (83 * step + 7));
    for (guint c = 0; c < 3; c++) {
      const gint w = c ? 42 : 83, h = c ? 23 : 45;

      apart.plane[c] = wide + at;
      apart.step[c] = step;
      apart.stride[c] = w * step + 7;
      for (gint i = 0; i < w * h; i++)
        wide[at + i / w * apart.stride[c] + i % w * step] = planes.memory[c][i];
      at += h * apart.stride[c];
    }
    g_assert_true (pirl_jpeg_coder_load (coder, &apart, NULL));
    g_assert_true (pirl_jpeg_coder_encode (coder, 60, PIRL_HUFFMAN_TUNED, &data, &size, NULL));
    g_assert_cmpmem (copy, copied, data, size);
    planes_clear (&planes);
  }
}

static void
test_refusals (void)
{
  static const gint sizes[][2] = { { 0, 5 }, { 5, 0 }, { -1, 5 }, { 65501, 1 }, { 1, 65501 } };
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autoptr (GError) error = NULL;
  const guint8 pixel = 0, *data;
  gint width, height;
  gsize size;

  pirl_jpeg_coder_size (coder, &width, &height);
  g_assert_cmpint (width, ==, 0);
  g_assert_false (pirl_jpeg_coder_encode (coder, 50, PIRL_HUFFMAN_STANDARD, &data, &size,
          &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    const PirlYcc ycc = { .width = sizes[i][0], .height = sizes[i][1], .plane = { &pixel },
      .stride = { 1 }, .step = { 1 }
    };

    g_clear_error (&error);
    g_assert_false (pirl_jpeg_coder_load (coder, &ycc, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  }
}

/* Previews and predicted sizes of the pictures that both have loaded. */
static void
check_same_looks (PirlJpegCoder *a, PirlJpegCoder *b, gint quality)
{
  const gint qualities[] = { 5, quality, 75 };
  PirlImage of_a = { 0 }, of_b = { 0 };

  for (gint side = 1; side <= 256; side *= 4) {
    pirl_jpeg_coder_preview (a, quality, side, NULL, &of_a);
    pirl_jpeg_coder_preview (b, quality, side, NULL, &of_b);
    g_assert_cmpmem (of_a.data, of_a.stride * of_a.height, of_b.data, of_b.stride * of_b.height);
  }
  for (guint h = 0; h < 3; h++) {
    gdouble bytes_a[4], bytes_b[4];

    pirl_jpeg_coder_sizes (a, qualities, 3, h, bytes_a, &bytes_a[3]);
    pirl_jpeg_coder_sizes (b, qualities, 3, h, bytes_b, &bytes_b[3]);
    for (guint i = 0; i < 4; i++)
      g_assert_cmpfloat (bytes_a[i], ==, bytes_b[i]);
    pirl_jpeg_coder_sizes (b, &qualities[2], 1, PIRL_HUFFMAN_STANDARD, bytes_b, NULL);
    g_assert_cmpfloat (bytes_a[3], ==, bytes_b[0]);
  }
  pirl_image_clear (&of_a);
  pirl_image_clear (&of_b);
}

/* Parts are those of the whole preview. */
static void
test_parts_of_previews (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  PirlImage whole = { 0 };
  PirlRng rng;

  pirl_rng_init (&rng, 2, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < 200; i++) {
    const gint quality = i % 3 ? (gint) i / 2 : 0, side = 1 << i % 9;
    PirlImage some = { 0 };
    gint width, height;
    PirlPart part;
    Planes planes;

    planes_draw (&planes, 1 + pirl_rng_below (&rng, 400), 1 + pirl_rng_below (&rng, 300), i % 5 == 0,
        i);
    g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
    pirl_jpeg_coder_preview_size (coder, side, &width, &height);
    part.x0 = pirl_rng_below (&rng, width);
    part.y0 = pirl_rng_below (&rng, height);
    part.x1 = part.x0 + 1 + pirl_rng_below (&rng, width - part.x0);
    part.y1 = part.y0 + 1 + pirl_rng_below (&rng, height - part.y0);
    pirl_jpeg_coder_preview (coder, quality, side, NULL, &whole);
    pirl_jpeg_coder_preview (coder, quality, side, &part, &some);
    g_assert_cmpint (whole.width, ==, width);
    g_assert_cmpint (some.height, ==, height);
    for (gint y = part.y0; y < part.y1; y++)
      g_assert_cmpmem (some.data + y * some.stride + 3 * part.x0, 3 * (part.x1 - part.x0),
          whole.data + y * whole.stride + 3 * part.x0, 3 * (part.x1 - part.x0));
    pirl_image_clear (&some);
    planes_clear (&planes);
  }
  pirl_image_clear (&whole);
}

/* What is collected while a picture is loaded is what is found in it afterwards. */
static void
test_survey (void)
{
  g_autoptr (PirlJpegCoder) early = pirl_jpeg_coder_new ();
  g_autoptr (PirlJpegCoder) late = pirl_jpeg_coder_new ();

  for (guint i = 0; i < 12; i++) {
    Planes planes;

    pirl_jpeg_coder_set_survey (early, i != 6);
    planes_draw (&planes, 900 >> i % 4, 60 + 71 * (i % 5), i % 3 == 0, i);
    g_assert_true (pirl_jpeg_coder_load (early, &planes.ycc, NULL));
    g_assert_true (pirl_jpeg_coder_load (late, &planes.ycc, NULL));
    check_same_looks (early, late, 4 * i);
    planes_clear (&planes);
  }
}

/* Until the next picture, and whatever is asked for in between. */
static void
test_last_file (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autofree guint8 *copy = NULL;
  const guint8 *data, *last;
  gsize size, last_size;
  PirlHuffman huffman;
  gdouble bytes[2];
  PirlImage image = { 0 };
  Planes planes;
  gint quality;

  planes_draw (&planes, 640, 480, FALSE, 1);
  g_assert_false (pirl_jpeg_coder_last_file (coder, &quality, &huffman, &last, &last_size));
  g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
  g_assert_false (pirl_jpeg_coder_last_file (coder, &quality, &huffman, &last, &last_size));
  g_assert_true (pirl_jpeg_coder_encode (coder, 33, PIRL_HUFFMAN_TUNED, &data, &size, NULL));
  copy = g_memdup2 (data, size);
  pirl_jpeg_coder_preview (coder, 5, 60, NULL, &image);
  pirl_jpeg_coder_sizes (coder, (const gint[]) { 75 }, 1, PIRL_HUFFMAN_TUNED, bytes, &bytes[1]);
  g_assert_true (pirl_jpeg_coder_last_file (coder, &quality, &huffman, &last, &last_size));
  g_assert_cmpint (quality, ==, 33);
  g_assert_cmpint (huffman, ==, PIRL_HUFFMAN_TUNED);
  g_assert_cmpmem (last, last_size, copy, size);
  g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
  g_assert_false (pirl_jpeg_coder_last_file (coder, &quality, &huffman, &last, &last_size));
  pirl_image_clear (&image);
  planes_clear (&planes);
}

/* What the processor does faster it does the same. */
static void
test_vectors_change_nothing (void)
{
  g_autoptr (PirlJpegCoder) best = pirl_jpeg_coder_new ();
  g_autoptr (PirlJpegCoder) plain = pirl_jpeg_coder_new ();

  plain->loops = &pirl_dct_plain;
  for (guint i = 0; i < 40; i++) {
    const gint quality = i % 2 ? 3 * i : 100 - i;
    const guint8 *data, *plain_data;
    gsize size, plain_size;
    Planes planes;

    /* The wide ones have more MCUs than a sample takes. */
    planes_draw (&planes, i % 10 == 9 ? 1111 : 20 + 7 * i, 300 - 7 * i, i % 8 == 0, i);
    g_assert_true (pirl_jpeg_coder_load (best, &planes.ycc, NULL));
    g_assert_true (pirl_jpeg_coder_load (plain, &planes.ycc, NULL));
    g_assert_true (pirl_jpeg_coder_encode (best, quality, PIRL_HUFFMAN_STANDARD, &data, &size,
            NULL));
    g_assert_true (pirl_jpeg_coder_encode (plain, quality, PIRL_HUFFMAN_STANDARD, &plain_data,
            &plain_size, NULL));
    g_assert_cmpmem (data, size, plain_data, plain_size);
    check_same_looks (best, plain, i % 3 ? quality : 0);
    planes_clear (&planes);
  }
}

static gdouble
mean_difference (const PirlImage *image, const guint8 *rgb)
{
  gdouble sum = 0;

  for (gint y = 0; y < image->height; y++)
    for (gint x = 0; x < 3 * image->width; x++)
      sum += abs (image->data[y * image->stride + x] - rgb[(gsize) y * 3 * image->width + x]);
  return sum / (3.0 * image->width * image->height);
}

/* Previews of @ycc against libjpeg's scaled decoding of the file. */
static void
check_previews (PirlJpegCoder *coder, const PirlYcc *ycc, gint quality, gdouble worst[4])
{
  const guint8 *data;
  gsize size;

  g_assert_true (pirl_jpeg_coder_load (coder, ycc, NULL));
  g_assert_true (pirl_jpeg_coder_encode (coder, quality, PIRL_HUFFMAN_STANDARD, &data, &size,
          NULL));
  for (guint i = 0; i < 4; i++) {
    PirlImage image = { 0 };
    gint width, height;
    g_autofree guint8 *rgb = read_pixels (data, size, 1 << i, JCS_RGB, &width, &height);

    pirl_jpeg_coder_preview (coder, quality, MIN (width, height), NULL, &image);
    g_assert_cmpint (image.width, ==, width);
    g_assert_cmpint (image.height, ==, height);
    worst[i] = MAX (worst[i], mean_difference (&image, rgb));
    pirl_image_clear (&image);
  }
}

static void
test_previews (void)
{
  static const gint qualities[] = { 5, 25, 50, 75, 95 };
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  gdouble worst[4] = { 0 };
  PirlImage images[8];
  const guint n = load_kodak (images);

  for (guint i = 0; i < n + 6; i++) {
    Planes planes;

    if (i < n)
      planes_from_image (&planes, &images[i], FALSE);
    else
      planes_draw (&planes, 301 - 30 * (i - n), 97 + 30 * (i - n), i == n, 3 * i + 1);
    for (guint q = 0; q < G_N_ELEMENTS (qualities); q++)
      check_previews (coder, &planes.ycc, qualities[q], worst);
    planes_clear (&planes);
    if (i < n)
      pirl_image_clear (&images[i]);
  }
  g_test_message ("mean difference at 1/8 %.3f, 1/4 %.3f, 1/2 %.3f, 1/1 %.3f", worst[0],
      worst[1], worst[2], worst[3]);
  g_assert_cmpfloat (worst[0], <=, 0.5);
  /* Without the higher half of the coefficients: noise at quality 95 shows it. */
  g_assert_cmpfloat (worst[1], <=, 1);
  g_assert_cmpfloat (worst[2], <=, 0.6);
  g_assert_cmpfloat (worst[3], <=, 0.6);
}

/* Quality 0 is the picture itself: at full size up to rounding and chroma's resolution. */
static void
test_preview_of_the_source (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  PirlImage image = { 0 };
  gdouble sum = 0;
  Planes planes;

  planes_draw (&planes, 203, 111, TRUE, 4);
  g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
  pirl_jpeg_coder_preview (coder, 0, 10000, NULL, &image);
  g_assert_cmpint (image.width, ==, 203);
  for (gint i = 0; i < 203 * 111; i++)
    sum += abs (image.data[i / 203 * image.stride + i % 203 * 3] - planes.memory[0][i]);
  g_assert_cmpfloat (sum / (203 * 111), <=, 0.3);
  pirl_image_clear (&image);
  planes_clear (&planes);
}

/* Predicted bytes against those of the file; returns the largest relative error. */
static gdouble
check_sizes (PirlJpegCoder *coder, const PirlYcc *ycc, PirlHuffman huffman)
{
  static const gint qualities[] = { 1, 5, 10, 15, 25, 50, 75, 95 };
  gdouble bytes[G_N_ELEMENTS (qualities)], worst = 0;

  g_assert_true (pirl_jpeg_coder_load (coder, ycc, NULL));
  pirl_jpeg_coder_sizes (coder, qualities, G_N_ELEMENTS (qualities), huffman, bytes, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (qualities); i++) {
    const guint8 *data;
    gsize size;

    g_assert_true (pirl_jpeg_coder_encode (coder, qualities[i], huffman, &data, &size, NULL));
    worst = MAX (worst, fabs (bytes[i] / size - 1));
  }
  return worst;
}

/* Small pictures are written whole: exact but for the last byte. */
static void
test_sizes_of_small_pictures (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();

  for (guint i = 0; i < 30; i++) {
    Planes planes;

    planes_draw (&planes, 1 + 7 * i, 200 - 6 * i, i % 5 == 0, i);
    g_assert_cmpfloat (check_sizes (coder, &planes.ycc, i % 3), <=, 0.003);
    planes_clear (&planes);
  }
}

static void
test_sizes_of_photos (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  gdouble worst[3] = { 0 };
  PirlImage images[8];
  const guint n = load_kodak (images);

  if (n == 0) {
    g_test_skip ("no photos: PIRL_TEST_DATA has no kodak folder");
    return;
  }
  for (guint i = 0; i < n; i++) {
    Planes planes;

    planes_from_image (&planes, &images[i], FALSE);
    for (guint h = 0; h < 3; h++)
      worst[h] = MAX (worst[h], check_sizes (coder, &planes.ycc, h));
    planes_clear (&planes);
    pirl_image_clear (&images[i]);
  }
  g_test_message ("largest error %.4f standard, %.4f tuned, %.4f optimised", worst[0], worst[1],
      worst[2]);
  for (guint h = 0; h < 3; h++)
    g_assert_cmpfloat (worst[h], <=, 0.03);
}

/* Fibonacci's numbers as counts ask for codes of 29 bits; all must be of 16 at most, decodable, and
 * none all ones. With equal counts the lengths are known. */
static void
test_optimal_tables (void)
{
  guint32 count[256] = { 0 }, before = 1, now = 1;
  PirlHuffmanTable table;
  guint64 room = 0;

  for (guint i = 0; i < 30; i++) {
    const guint32 next = before + now;

    count[7 * i] = now;
    before = now;
    now = next;
  }
  pirl_huffman_optimise (count, &table);
  g_assert_cmpuint (pirl_huffman_n_values (&table), ==, 30);
  for (guint length = 1; length <= 16; length++)
    room += (guint64) table.bits[length] << (16 - length);
  g_assert_cmpuint (room, ==, (1 << 16) - 1);
  g_assert_cmpuint (table.value[0], ==, 7 * 29);

  memset (count, 0, sizeof count);
  for (guint i = 0; i < 7; i++)
    count[i] = 100;
  pirl_huffman_optimise (count, &table);
  g_assert_cmpuint (table.bits[3], ==, 7);
}

/* What a sample did not show may still come: every symbol of a baseline file has a code. */
static void
test_tuned_tables_are_complete (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  PirlHuffmanTable tables[PIRL_N_HUFFMAN_TABLES];
  PirlQuantiser quantiser[2];
  Planes planes;

  planes_draw (&planes, 801, 603, FALSE, 1);
  g_assert_true (pirl_jpeg_coder_load (coder, &planes.ycc, NULL));
  for (gint quality = 1; quality <= 100; quality += 9) {
    pirl_quantisers_init (quantiser, quality);
    g_assert_true (pirl_jpeg_coder_fit_tables (coder, quantiser, tables));
    for (guint t = 0; t < PIRL_N_HUFFMAN_TABLES; t++) {
      const gboolean ac = t == PIRL_LUMA_AC || t == PIRL_CHROMA_AC;
      PirlHuffmanCodes codes;
      guint64 room = 0;

      pirl_huffman_make_codes (&tables[t], codes);
      for (guint length = 1; length <= 16; length++)
        room += (guint64) tables[t].bits[length] << (16 - length);
      g_assert_cmpuint (room, <=, (1 << 16) - 1);
      g_assert_cmpuint (pirl_huffman_n_values (&tables[t]), ==, ac ? 162 : 12);
      for (guint symbol = 0; symbol < 256; symbol++) {
        const guint size = symbol & 15, run = symbol >> 4;
        const gboolean used = ac ? (size >= 1 && size <= 10) || symbol == 0 || symbol == 0xf0
            : run == 0 && size <= 11;

        g_assert_cmpint (codes[symbol] != 0, ==, used);
      }
    }
  }
  planes_clear (&planes);
}

/* A sample that shows nothing of what the picture holds: still a whole file. */
static void
test_samples_may_mislead (void)
{
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  const guint8 *data;
  gsize size;
  Planes planes;

  planes_init (&planes, 1280, 720, FALSE);
  for (guint c = 0; c < 3; c++)
    memset (planes.memory[c], 100, planes.ycc.stride[c] * (c ? 360 : 720));
  for (guint i = 0; i < 16 * 16; i++)
    planes.memory[0][(400 + i / 16) * 1280 + 304 + i % 16] = (i * 2654435761u) >> 24;
  check_picture (coder, &planes, 100);
  g_assert_true (pirl_jpeg_coder_encode (coder, 100, PIRL_HUFFMAN_TUNED, &data, &size, NULL));
  check_caps (data, size, &planes.ycc);
  planes_clear (&planes);
}

int
main (int argc, char **argv)
{
  const gchar *path = g_getenv ("PIRL_TEST_DATA");

  g_test_init (&argc, &argv, NULL);
  data_path = g_strdup (path ? path : argc > 1 ? argv[1] : "");
  g_test_add_func ("/jpeg-coder/random-pictures", test_random_pictures);
  g_test_add_func ("/jpeg-coder/large-pictures", test_large_pictures);
  g_test_add_func ("/jpeg-coder/photos", test_photos);
  g_test_add_func ("/jpeg-coder/memory-is-reused", test_memory_is_reused);
  g_test_add_func ("/jpeg-coder/levels-are-exact", test_levels_are_exact);
  g_test_add_func ("/jpeg-coder/quantisation-tables", test_quantisation_tables);
  g_test_add_func ("/jpeg-coder/flat-tables", test_flat_tables);
  g_test_add_func ("/jpeg-coder/flat-photos", test_flat_photos);
  g_test_add_func ("/jpeg-coder/strides-and-steps", test_strides_and_steps);
  g_test_add_func ("/jpeg-coder/refusals", test_refusals);
  g_test_add_func ("/jpeg-coder/parts-of-previews", test_parts_of_previews);
  g_test_add_func ("/jpeg-coder/survey", test_survey);
  g_test_add_func ("/jpeg-coder/last-file", test_last_file);
  g_test_add_func ("/jpeg-coder/vectors-change-nothing", test_vectors_change_nothing);
  g_test_add_func ("/jpeg-coder/previews", test_previews);
  g_test_add_func ("/jpeg-coder/preview-of-the-source", test_preview_of_the_source);
  g_test_add_func ("/jpeg-coder/sizes-of-small-pictures", test_sizes_of_small_pictures);
  g_test_add_func ("/jpeg-coder/sizes-of-photos", test_sizes_of_photos);
  g_test_add_func ("/jpeg-coder/optimal-tables", test_optimal_tables);
  g_test_add_func ("/jpeg-coder/tuned-tables-are-complete", test_tuned_tables_are_complete);
  g_test_add_func ("/jpeg-coder/samples-may-mislead", test_samples_may_mislead);
  return g_test_run ();
}
