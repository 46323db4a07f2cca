/* gst-pirl: what convolution.c and matmul.c of the emulator share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"

/** What the libraries of NVIDIA may do with their workspace: anything. */
#define NAIVE_WORKSPACE 4096

/** Rounds to the 11 bits of TF32. */
static inline gfloat
naive_tf32 (gfloat x)
{
  union {
    gfloat number;
    guint32 bits;
  } value = { x };

  if ((value.bits & 0x7f800000) != 0x7f800000)
    value.bits = (value.bits + 0xfff + (value.bits >> 13 & 1)) & ~(guint32) 0x1fff;
  return value.number;
}

static inline void
naive_round_tf32 (gfloat *x, gsize n)
{
  for (gsize i = 0; i < n; i++)
    x[i] = naive_tf32 (x[i]);
}

/** FALSE with an error that calls it @what when not all @bytes are memory of the card. */
static inline gboolean
naive_on_card (gconstpointer memory, gsize bytes, const gchar *what, GError **error)
{
  if (pirl_emulator_on_card (memory, bytes))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "emulator: %s: %" G_GSIZE_FORMAT " bytes at "
      "%p are not memory of the card", what, bytes, memory);
  return FALSE;
}
