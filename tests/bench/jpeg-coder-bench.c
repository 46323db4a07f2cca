/* gst-pirl: the JPEG coder beside a bare loop around libjpeg on the same planes (what jpegenc does).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   jpeg-coder-bench [--json] WIDTH HEIGHT FILE...
 *
 * The files are laid side by side into one picture of WIDTH x HEIGHT. All ways take turns, so that a
 * busy machine slows them alike; the median of the rounds counts, in CPU time. Luma PSNR is that of the decoded
 * file against the planes.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <jpeglib.h>

#include "vision/jpeg-coder-private.h"

#define ROUNDS 31
#define N_SIZES 16
#define SHORT_SIDE 224

typedef enum { LOAD, STANDARD, TUNED, OPTIMIZED, ISLOW, IFAST, ISLOW_OPT, PREVIEW, SIZES, N_WAYS } Way;

static const gchar *const way_names[N_WAYS] = { "load", "standard", "tuned", "optimized", "islow",
  "ifast", "islow-optimized", "preview", "sizes" };
static const gint qualities[] = { 5, 10, 15, 25, 45, 60, 75, 85, 95 };

typedef struct {
  gdouble ms[N_WAYS][ROUNDS];
  gsize bytes[N_WAYS];
  gdouble psnr[N_WAYS];
} Result;

static gsize
libjpeg_encode (const PirlYcc *ycc, gint quality, J_DCT_METHOD dct, gboolean optimised,
    guint8 **buffer, unsigned long *allocated)
{
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr errors;
  JSAMPROW row[3][16];
  JSAMPARRAY planes[3] = { row[0], row[1], row[2] };
  unsigned long size = *allocated;
  guint8 *data = *buffer;

  c.err = jpeg_std_error (&errors);
  jpeg_create_compress (&c);
  jpeg_mem_dest (&c, &data, &size);
  c.image_width = ycc->width;
  c.image_height = ycc->height;
  c.input_components = 3;
  c.in_color_space = JCS_YCbCr;
  jpeg_set_defaults (&c);
  jpeg_set_quality (&c, quality, TRUE);
  c.raw_data_in = TRUE;
  c.dct_method = dct;
  c.optimize_coding = optimised;
  jpeg_start_compress (&c, TRUE);
  while (c.next_scanline < c.image_height) {
    for (gint p = 0; p < 3; p++)
      for (gint i = 0; i < (p ? 8 : 16); i++) {
        const gint y = (gint) c.next_scanline / (p ? 2 : 1) + i;
        const gint last = (p ? (ycc->height + 1) / 2 : ycc->height) - 1;

        row[p][i] = (JSAMPROW) ycc->plane[p] + MIN (y, last) * ycc->stride[p];
      }
    jpeg_write_raw_data (&c, planes, 16);
  }
  jpeg_finish_compress (&c);
  jpeg_destroy_compress (&c);
  if (data != *buffer) {
    free (*buffer);
    *buffer = data;
    *allocated = size;
  }
  return size;
}

static gdouble
luma_psnr (const guint8 *data, gsize size, const PirlYcc *ycc)
{
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr errors;
  g_autofree guint8 *row = g_malloc (ycc->width);
  gdouble sum = 0;

  d.err = jpeg_std_error (&errors);
  jpeg_create_decompress (&d);
  jpeg_mem_src (&d, data, size);
  jpeg_read_header (&d, TRUE);
  d.out_color_space = JCS_GRAYSCALE;
  jpeg_start_decompress (&d);
  for (gint y = 0; y < ycc->height; y++) {
    JSAMPROW p = row;

    jpeg_read_scanlines (&d, &p, 1);
    for (gint x = 0; x < ycc->width; x++) {
      const gdouble e = (gdouble) row[x] - ycc->plane[0][y * ycc->stride[0] + x];

      sum += e * e;
    }
  }
  jpeg_finish_decompress (&d);
  jpeg_destroy_decompress (&d);
  return 10 * log10 (255 * 255 / (sum / ycc->width / ycc->height));
}

/* Of this thread: what others do at the same time does not count. */
static gdouble
cpu_ms (void)
{
  struct timespec t;

  clock_gettime (CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void
run_way (Way way, PirlJpegCoder *coder, const PirlYcc *ycc, gint quality, Result *result,
    guint round)
{
  static guint8 *buffer;
  static unsigned long allocated;
  static PirlImage preview;
  const guint8 *data = NULL;
  gint repeated[N_SIZES];
  gdouble bytes[N_SIZES];
  gsize size = 0;
  gdouble before;

  if (!buffer) {
    allocated = 4 * (unsigned long) ycc->width * ycc->height;
    buffer = malloc (allocated);
  }
  for (guint i = 0; i < N_SIZES; i++)
    repeated[i] = quality;
  before = cpu_ms ();
  if (way == LOAD)
    pirl_jpeg_coder_load (coder, ycc, NULL);
  else if (way <= OPTIMIZED)
    pirl_jpeg_coder_encode (coder, quality, (PirlHuffman) (way - STANDARD), &data, &size, NULL);
  else if (way == PREVIEW)
    pirl_jpeg_coder_preview (coder, quality, SHORT_SIDE, NULL, &preview);
  else if (way == SIZES)
    pirl_jpeg_coder_sizes (coder, repeated, N_SIZES, PIRL_HUFFMAN_STANDARD, bytes, NULL);
  else {
    size = libjpeg_encode (ycc, quality, way == IFAST ? JDCT_IFAST : JDCT_ISLOW,
        way == ISLOW_OPT, &buffer, &allocated);
    data = buffer;
  }
  result->ms[way][round] = cpu_ms () - before;
  result->bytes[way] = way == SIZES ? bytes[0] + 0.5 : size;
  if (round == 0 && data)
    result->psnr[way] = luma_psnr (data, size, ycc);
}

static int
compare (const void *a, const void *b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return x < y ? -1 : x > y;
}

static gdouble
median (gdouble *ms)
{
  qsort (ms, ROUNDS, sizeof *ms, compare);
  return ms[ROUNDS / 2];
}

static void
print_table (gint quality, const gdouble ms[N_WAYS], const Result *r)
{
  const gdouble ours = ms[LOAD] + ms[STANDARD], tuned = ms[LOAD] + ms[TUNED];

  g_print ("%7d %6.2f %6.2f %6.2f %6.2f %6.2f | %5.2f %5.2f %5.2f | %8" G_GSIZE_FORMAT
      " %6.4f %6.4f %6.4f | %6.3f %+.3f %+.3f | %5.2f %5.2f %6.4f\n", quality, ms[LOAD],
      ms[STANDARD], ms[TUNED], ms[ISLOW], ms[IFAST], ours / ms[ISLOW], ours / ms[IFAST],
      tuned / ms[IFAST], r->bytes[STANDARD], (gdouble) r->bytes[STANDARD] / r->bytes[IFAST],
      (gdouble) r->bytes[TUNED] / r->bytes[IFAST],
      (gdouble) r->bytes[OPTIMIZED] / r->bytes[ISLOW_OPT], r->psnr[STANDARD],
      r->psnr[STANDARD] - r->psnr[ISLOW], r->psnr[STANDARD] - r->psnr[IFAST], ms[PREVIEW],
      ms[SIZES], (gdouble) r->bytes[SIZES] / r->bytes[STANDARD]);
}

static void
print_json (gint quality, const gdouble ms[N_WAYS], const Result *r, gboolean first)
{
  g_print ("%s{\"quality\": %d", first ? "" : ",\n ", quality);
  for (guint w = 0; w < N_WAYS; w++) {
    g_print (", \"%s\": {\"ms\": %.3f", way_names[w], ms[w]);
    if (r->bytes[w] > 0)
      g_print (", \"bytes\": %" G_GSIZE_FORMAT, r->bytes[w]);
    if (r->psnr[w] > 0)
      g_print (", \"psnr\": %.3f", r->psnr[w]);
    g_print ("}");
  }
  g_print ("}");
}

/* Rows of pictures from left to right, cut at the right and at the bottom, repeated until full. */
static gboolean
lay_out (PirlImage *all, gint width, gint height, gchar **files, guint n)
{
  g_autoptr (GError) error = NULL;
  PirlImage image = { 0 };
  gint x = 0, y = 0, row_height = 0;

  pirl_image_init (all, width, height);
  for (guint i = 0; y < height; i++) {
    if (!pirl_image_load (files[i % n], &image, NULL, &error)) {
      g_printerr ("%s\n", error->message);
      return FALSE;
    }
    for (gint j = 0; j < MIN (image.height, height - y); j++)
      memcpy (all->data + (y + j) * all->stride + 3 * x, image.data + j * image.stride,
          3 * MIN (image.width, width - x));
    row_height = row_height ? MIN (row_height, image.height) : image.height;
    x += image.width;
    if (x >= width) {
      x = 0;
      y += row_height;
      row_height = 0;
    }
  }
  pirl_image_clear (&image);
  return TRUE;
}

static void
measure (PirlJpegCoder *coder, const PirlYcc *ycc, gboolean json)
{
  if (json)
    g_print ("[");
  else
    g_print ("%d x %d, medians of %d rounds, milliseconds of CPU; times: load and encode against libjpeg; "
        "bytes: standard, tuned\nagainst IFAST's, optimized against ISLOW's optimized\n"
        "quality   load    std  tuned  islow  ifast | /islo /ifas tu/if |    bytes  std/f tuned/f"
        "  opt/s |   PSNR -islow -ifast | previ   16 sizes\n", ycc->width, ycc->height, ROUNDS);
  for (guint q = 0; q < G_N_ELEMENTS (qualities); q++) {
    Result result = { .bytes = { 0 } };
    gdouble ms[N_WAYS];

    for (guint round = 0; round < ROUNDS; round++)
      for (guint w = 0; w < N_WAYS; w++)
        run_way (w, coder, ycc, qualities[q], &result, round);
    for (guint w = 0; w < N_WAYS; w++)
      ms[w] = median (result.ms[w]);
    if (json)
      print_json (qualities[q], ms, &result, q == 0);
    else
      print_table (qualities[q], ms, &result);
  }
  if (json)
    g_print ("]\n");
}

int
main (int argc, char **argv)
{
  const gboolean json = argc > 1 && strcmp (argv[1], "--json") == 0;
  gchar **arguments = argv + 1 + json;
  const gint n = argc - 3 - json;
  g_autoptr (PirlJpegCoder) coder = pirl_jpeg_coder_new ();
  g_autoptr (PirlYccConverter) converter = NULL;
  PirlImage image = { 0 };
  PirlRaw raw = { .n_components = 3, .rgb = TRUE, .full_range = TRUE, .step = { 3, 3, 3 } };
  PirlYcc ycc;

  if (n < 1) {
    g_printerr ("usage: jpeg-coder-bench [--json] WIDTH HEIGHT FILE...\n");
    return 2;
  }
  if (!lay_out (&image, MAX (16, atoi (arguments[0])), MAX (16, atoi (arguments[1])),
          arguments + 2, n))
    return 1;
  raw.width = image.width / 16 * 16;
  raw.height = image.height;
  for (guint c = 0; c < 3; c++) {
    raw.data[c] = image.data + c;
    raw.stride[c] = image.stride;
  }
  converter = pirl_ycc_converter_new (&raw, NULL);
  pirl_ycc_convert (converter, &raw, &ycc);
  measure (coder, &ycc, json);
  pirl_image_clear (&image);
  return 0;
}
