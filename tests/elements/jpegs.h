/* gst-pirl: what tests read out of JPEG files, by the markers of ITU-T T.81.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/check/gstcheck.h>
#include <string.h>

#include "vision/image.h"

typedef struct {
  gint sof;                     /* the number of the SOF marker: 0 = baseline */
  gint width, height;
  guint components;
  guint8 sampling[4];           /* horizontal << 4 | vertical */
  gboolean standard_tables;     /* all four of Annex K.3, as far as used */
  guint luma_dc;                /* first entry of the luminance table: 16 at quality 50 */
} JpegInfo;

/* Annex K.3: numbers of codes of each length, of DC and AC, luminance and chrominance. */
static const guint8 annex_k_bits[2][2][16] = {
  {{0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0},
      {0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0}},
  {{0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d},
      {0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77}},
};

static inline guint
jpeg_u16 (const guint8 * p)
{
  return p[0] << 8 | p[1];
}

static inline gboolean
jpeg_dht_is_standard (const guint8 * p, const guint8 * end)
{
  while (p + 17 <= end) {
    guint kind = p[0] >> 4, number = p[0] & 15, n = 0;

    if (kind > 1 || number > 1 || memcmp (p + 1, annex_k_bits[kind][number], 16) != 0)
      return FALSE;
    for (guint i = 1; i <= 16; i++)
      n += p[i];
    p += 17 + n;
  }
  return TRUE;
}

/** Reads the headers; fails the test on anything that is no JPEG. */
static inline JpegInfo
jpeg_parse (const guint8 * data, gsize size)
{
  JpegInfo info = { .sof = -1, .standard_tables = TRUE };
  gsize at = 2;

  fail_unless (size > 4 && data[0] == 0xff && data[1] == 0xd8, "no SOI");
  fail_unless (data[size - 2] == 0xff && data[size - 1] == 0xd9, "no EOI");
  while (at + 4 <= size) {
    guint marker = data[at + 1], length = jpeg_u16 (data + at + 2);
    const guint8 *p = data + at + 4;

    fail_unless (data[at] == 0xff && at + 2 + length <= size, "broken marker");
    if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
      info.sof = marker - 0xc0;
      info.height = jpeg_u16 (p + 1);
      info.width = jpeg_u16 (p + 3);
      info.components = p[5];
      for (guint c = 0; c < info.components && c < 4; c++)
        info.sampling[c] = p[7 + 3 * c];
    } else if (marker == 0xc4) {
      info.standard_tables &= jpeg_dht_is_standard (p, data + at + 2 + length);
    } else if (marker == 0xdb && (p[0] & 15) == 0) {
      info.luma_dc = p[0] >> 4 ? jpeg_u16 (p + 1) : p[1];
    } else if (marker == 0xda) {
      break;
    }
    at += 2 + length;
  }
  fail_unless (info.sof >= 0, "no SOF");
  return info;
}

static inline JpegInfo
jpeg_parse_buffer (GstBuffer * buffer)
{
  GstMapInfo map;
  JpegInfo info;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  info = jpeg_parse (map.data, map.size);
  gst_buffer_unmap (buffer, &map);
  return info;
}

/** Decodes with libjpeg; whatever it complains about fails the test. */
static inline void
jpeg_decode_buffer (GstBuffer * buffer, PirlImage * image)
{
  GError *error = NULL;
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  fail_unless (pirl_image_decode (map.data, map.size, 0, TRUE, image, NULL, &error), "%s",
      error ? error->message : "?");
  gst_buffer_unmap (buffer, &map);
}

/** The entry of the luminance table's DC at @quality: libjpeg's scaling of 16. */
static inline guint
jpeg_luma_dc (gint quality)
{
  gint scale = quality < 50 ? 5000 / MAX (quality, 1) : 200 - 2 * quality;

  return CLAMP ((16 * scale + 50) / 100, 1, 255);
}
