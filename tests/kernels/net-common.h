/* gst-pirl: what the tests of networks and trainers share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "net/plan.h"

static const gfloat test_mean[3] = { 0.5f, 0.4f, 0.45f }, test_std[3] = { 0.25f, 0.3f, 0.2f };

/* @n pictures of random coarse blocks (not white noise: networks must be able to tell them apart);
 * one after the other. */
static inline guint8 *
test_pictures (guint n, gint size, guint64 seed)
{
  guint8 *bytes = g_malloc ((gsize) n * size * size * 3);

  for (guint i = 0; i < n; i++) {
    guint8 *picture = bytes + (gsize) i * size * size * 3;
    guint8 blocks[4 * 4 * 3];
    PirlRng rng;

    pirl_rng_init (&rng, seed, 0, i, PIRL_PURPOSE_TEST);
    for (guint k = 0; k < sizeof blocks; k++)
      blocks[k] = (guint8) pirl_rng_u32 (&rng);
    for (gint y = 0; y < size; y++)
      for (gint x = 0; x < size; x++)
        for (gint c = 0; c < 3; c++)
          picture[(y * size + x) * 3 + c] = (guint8) (blocks[((y * 4 / size) * 4
                      + x * 4 / size) * 3 + c] / 2 + (pirl_rng_u32 (&rng) & 63));
  }
  return bytes;
}

/* Pointers to @n pictures that lie @bytes apart. */
static inline const guint8 **
test_pointers (const guint8 *pictures, guint n, gsize bytes)
{
  const guint8 **pointers = g_new (const guint8 *, n);

  for (guint i = 0; i < n; i++)
    pointers[i] = pictures + i * bytes;
  return pointers;
}

static inline gfloat *
test_normals (gsize n, guint64 seed)
{
  gfloat *values = g_new (gfloat, n);
  PirlRng rng;

  pirl_rng_init (&rng, seed, 1, 0, PIRL_PURPOSE_TEST);
  for (gsize i = 0; i < n; i++)
    values[i] = pirl_rng_normal (&rng);
  return values;
}

/* |a - b| / |b|. */
static inline gdouble
test_relative (const gfloat *a, const gfloat *b, gsize n)
{
  gdouble difference = 0, norm = 0;

  for (gsize i = 0; i < n; i++) {
    difference += ((gdouble) a[i] - b[i]) * ((gdouble) a[i] - b[i]);
    norm += (gdouble) b[i] * b[i];
  }
  return norm > 0 ? sqrt (difference / norm) : sqrt (difference);
}

/* Writes dense floats to device memory of the parameters' type. */
static inline void
test_upload (PirlDevice *device, gpointer dst, const gfloat *src, gsize n)
{
  const gsize bytes = n * pirl_dtype_size (device->param_dtype);
  g_autofree guint8 *host = g_malloc (bytes);
  g_autoptr (GError) error = NULL;

  pirl_from_float (device->param_dtype, src, host, n);
  device->backend->upload (device, dst, host, bytes, &error);
  g_assert_no_error (error);
}

static inline gfloat *
test_read_param (PirlParams *params, PirlArena arena, guint i)
{
  gfloat *values = g_new (gfloat, pirl_shape_count (&pirl_params_spec (params, i)->shape));
  g_autoptr (GError) error = NULL;

  pirl_params_read (params, arena, i, values, &error);
  g_assert_no_error (error);
  return values;
}
