/* gst-pirl: maps averaged to about as many values whatever their size (see pooling.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/pooling.h"

/* Windows of the protocol. */
static const struct {
  gint channels, map, window, stride;
} protocol[] = { {256, 56, 16, 8}, {512, 28, 13, 5}, {1024, 14, 8, 3}, {2048, 7, 6, 1} };

PirlPooling
pirl_pooling_for (PirlDims map)
{
  PirlPooling pooling = { .map = map, .side = 1 };

  for (guint i = 0; i < G_N_ELEMENTS (protocol); i++)
    if (map.c == protocol[i].channels && map.h == protocol[i].map && map.w == protocol[i].map) {
      pooling.window = protocol[i].window;
      pooling.stride = protocol[i].stride;
      pooling.side = (map.h - pooling.window) / pooling.stride + 1;
      return pooling;
    }
  while (pooling.side < MIN (map.h, map.w)
      && (pooling.side + 1) * (pooling.side + 1) <= PIRL_POOLED_VALUES / map.c)
    pooling.side++;
  return pooling;
}

/* Rows (or columns) [*begin, *end) of @size that place @i sees. */
static void
span (const PirlPooling *pooling, gint i, gint size, gint *begin, gint *end)
{
  *begin = pooling->window ? i * pooling->stride : i * size / pooling->side;
  *end = pooling->window ? *begin + pooling->window
      : ((i + 1) * size + pooling->side - 1) / pooling->side;
}

void
pirl_pooling_run (const PirlPooling *pooling, const gfloat *map, gfloat *out)
{
  const PirlDims d = pooling->map;
  const gint side = pooling->side;

  for (gint y = 0; y < side; y++)
    for (gint x = 0; x < side; x++) {
      gint top, bottom, left, right;

      span (pooling, y, d.h, &top, &bottom);
      span (pooling, x, d.w, &left, &right);
      for (gint c = 0; c < d.c; c++) {
        const gfloat *plane = map + (gsize) c * d.h * d.w;
        gdouble sum = 0;

        for (gint i = top; i < bottom; i++)
          for (gint j = left; j < right; j++)
            sum += plane[i * d.w + j];
        out[(gsize) (y * side + x) * d.c + c] = (gfloat) (sum / ((bottom - top) * (right - left)));
      }
    }
}
