/* gst-pirl: what the tests of kernels/vision share: procedural pictures, digests, guarded memory.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <string.h>

#include "vision/vision-private.h"

/* The same pictures as picture() in vision-golden.py. */
static inline void
vision_picture (PirlImage *image, gint width, gint height, guint32 seed)
{
  pirl_image_init (image, width, height);
  for (guint32 y = 0; y < (guint32) height; y++)
    for (guint32 x = 0; x < (guint32) width; x++)
      for (guint32 c = 0; c < 3; c++) {
        guint32 n = x * 73856093u ^ y * 19349663u ^ c * 83492791u ^ seed * 2654435761u;
        guint32 slope = (x * (3 + c) + y * (5 - c) + 40 * c * seed) & 255, value;

        n ^= n >> 15;
        n *= 0x2c1b3c6du;
        n ^= n >> 12;
        slope = (slope > 127 ? 255 - slope : slope) * 2;
        value = (slope * 3 >> 2) + (((x >> 3) ^ (y >> 3)) & 1) * 48 + (n & 31);
        image->data[y * image->stride + 3 * x + c] = MIN (value, 255);
      }
}

/* MD5 of the pixels, row by row; free with g_free(). */
static inline gchar *
vision_digest (const PirlImage *image)
{
  GChecksum *sum = g_checksum_new (G_CHECKSUM_MD5);
  gchar *digest;

  for (gint y = 0; y < image->height; y++)
    g_checksum_update (sum, image->data + y * image->stride, 3 * image->width);
  digest = g_strdup (g_checksum_get_string (sum));
  g_checksum_free (sum);
  return digest;
}
