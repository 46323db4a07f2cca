/* gst-pirl: the bytes of a file that is not written.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The bits b of a sample of MCUs are counted exactly. How many levels a of an MCU are not 0 is cheap
 * to know of all of them (at two qualities near by), and tells most of b: the mean of b is taken from
 * the regression line, mean b + slope (mean a of all - mean a of the sample). The bytes that are
 * stuffed after 0xff are a share that photographs have in common.
 */
#include "config.h"
#include "vision/jpeg-coder-private.h"

#include <string.h>

#define SAMPLED_MCUS 480
/* Measured on photographs: 0.2 to 0.5 %. */
#define STUFFING 0.0035
#define END_BYTES 2.5           /* the end marker, and half of the last byte */

static const gint activity_quality[PIRL_N_ACTIVITIES] = { 8, 50 };

/* The last DC level of each component in MCU @i, counted in the order of the file. */
static void
last_dc (const PirlJpegCoder *coder, const PirlQuantiser quantiser[2], guint i, gint dc[3])
{
  const guint across = pirl_jpeg_coder_mcus_across (coder);

  for (guint c = 0; c < coder->n_planes; c++) {
    const PirlCoderPlane *plane = &coder->plane[c];
    const guint side = c == 0 ? pirl_jpeg_coder_sampling (coder) : 1;
    const gsize bx = MIN (side * (i % across + 1), plane->blocks_w) - 1;
    const gsize by = MIN (side * (i / across + 1), plane->blocks_h) - 1;

    dc[c] = pirl_quantiser_level (&quantiser[c > 0], 0,
        plane->coefficient[(by * plane->blocks_w + bx) * PIRL_BLOCK]);
  }
}

/* A step through the MCUs that meets all columns alike. */
static guint
sample_step (const PirlJpegCoder *coder)
{
  const guint across = pirl_jpeg_coder_mcus_across (coder);
  guint step = MAX (1, across * pirl_jpeg_coder_mcus_down (coder) / SAMPLED_MCUS);

  for (;; step++) {
    guint a = step, b = across;

    while (b > 0) {
      const guint rest = a % b;

      a = b;
      b = rest;
    }
    if (a == 1)
      return step;
  }
}

static void
add_activity (PirlJpegCoder *coder, guint c, guint which, const PirlQuantiser *quantiser)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const guint across = pirl_jpeg_coder_mcus_across (coder);
  const guint side = c == 0 ? pirl_jpeg_coder_sampling (coder) : 1;

  for (guint y = 0; y < plane->blocks_h; y++) {
    guint16 *activity = coder->activity[which] + (gsize) (y / side) * across;

    coder->loops->count (plane->coefficient + (gsize) y * plane->blocks_w * PIRL_BLOCK,
        plane->blocks_w, quantiser, coder->block_activity);
    for (guint x = 0; x < plane->blocks_w; x++)
      activity[x / side] += coder->block_activity[x];
  }
}

/* Fills coder->activity, once a picture. */
static void
find_activity (PirlJpegCoder *coder)
{
  const gsize n = (gsize) pirl_jpeg_coder_mcus_across (coder) * pirl_jpeg_coder_mcus_down (coder);

  if (coder->activity_known)
    return;
  if (coder->activity_allocated < n) {
    g_free (coder->block_activity);
    coder->block_activity = g_malloc (n * pirl_jpeg_coder_sampling (coder));
    for (guint i = 0; i < PIRL_N_ACTIVITIES; i++) {
      g_free (coder->activity[i]);
      coder->activity[i] = g_new (guint16, n);
    }
    coder->activity_allocated = n;
  }
  for (guint i = 0; i < PIRL_N_ACTIVITIES; i++) {
    PirlQuantiser quantiser[2];

    pirl_quantisers_init (quantiser, activity_quality[i]);
    memset (coder->activity[i], 0, n * sizeof (guint16));
    for (guint c = 0; c < coder->n_planes; c++)
      add_activity (coder, c, i, &quantiser[c > 0]);
  }
  coder->activity_known = TRUE;
}

/* Means of the sample's activities a and bits b, and of all activities. */
typedef struct {
  gdouble n, a, b, aa, ab;
} Moments;

/* The mean bits of all MCUs, @mean their mean activity. */
static gdouble
regress (const Moments *m, gdouble mean)
{
  const gdouble variance = m->aa / m->n - m->a / m->n * m->a / m->n;
  const gdouble covariance = m->ab / m->n - m->a / m->n * m->b / m->n;
  const gdouble slope = variance > 1e-9 ? MAX (covariance / variance, 0) : 0;

  return MAX (m->b / m->n + slope * (mean - m->a / m->n), 1);
}

/* Goes through every @step-th MCU: counts its symbols, or its bits if @codes are given. */
static Moments
sample_scan (PirlJpegCoder *coder, const PirlQuantiser quantiser[2], guint step,
    const guint16 *activity, const PirlHuffmanCodes *codes, guint32 (*count)[256])
{
  const guint across = pirl_jpeg_coder_mcus_across (coder);
  const guint n = across * pirl_jpeg_coder_mcus_down (coder);
  PirlScanRow row = { 0 };
  Moments m = { 0 };

  for (guint i = 0; i < n; i += step) {
    gdouble a = activity ? activity[i] : 0, b;

    if (i > 0)
      last_dc (coder, quantiser, i - 1, row.dc);
    pirl_jpeg_coder_quantise (coder, quantiser, i % across, i / across, 1, &row);
    if (!codes) {
      pirl_scan_count (&row, count);
      continue;
    }
    b = pirl_scan_measure (&row, codes);
    m.n++;
    m.a += a;
    m.b += b;
    m.aa += a * a;
    m.ab += a * b;
  }
  return m;
}

static gdouble
mean_activity (const guint16 *activity, guint n)
{
  guint64 sum = 0;

  for (guint i = 0; i < n; i++)
    sum += activity[i];
  return (gdouble) sum / n;
}

static gdouble
predict (PirlJpegCoder *coder, gint quality, PirlHuffman huffman, guint step)
{
  const guint n = pirl_jpeg_coder_mcus_across (coder) * pirl_jpeg_coder_mcus_down (coder);
  const guint16 *activity = step > 1 ? coder->activity[quality > 20] : NULL;
  const PirlHuffmanTable *tables = pirl_huffman_tables (huffman, quality);
  guint32 count[PIRL_N_HUFFMAN_TABLES][256] = { { 0 } };
  PirlHuffmanTable optimal[PIRL_N_HUFFMAN_TABLES];
  PirlHuffmanCodes codes[PIRL_N_HUFFMAN_TABLES];
  guint8 header[PIRL_MAX_HEADER_BYTES];
  PirlQuantiser quantiser[2];
  Moments moments;
  gdouble bits;

  pirl_quantisers_init (quantiser, quality);
  if (huffman == PIRL_HUFFMAN_OPTIMIZED) {
    sample_scan (coder, quantiser, step, NULL, NULL, count);
    for (guint t = 0; t < PIRL_N_HUFFMAN_TABLES; t++)
      pirl_huffman_optimise (count[t], &optimal[t]);
    tables = optimal;
  }
  for (guint t = 0; t < PIRL_N_HUFFMAN_TABLES; t++)
    pirl_huffman_make_codes (&tables[t], codes[t]);
  moments = sample_scan (coder, quantiser, step, activity, codes, NULL);
  bits = n * regress (&moments, activity ? mean_activity (activity, n) : 0);
  return pirl_jpeg_coder_headers (coder, header, quantiser, tables) - header + END_BYTES
      + bits / 8 * (1 + STUFFING);
}

void
pirl_jpeg_coder_sizes (PirlJpegCoder *coder, const gint *qualities, guint n, PirlHuffman huffman,
    gdouble *bytes)
{
  const guint step = coder->width > 0 ? sample_step (coder) : 0;

  if (step > 1)
    find_activity (coder);
  for (guint i = 0; i < n; i++)
    bytes[i] = step > 0 ? predict (coder, qualities[i], huffman, step) : 0;
}
