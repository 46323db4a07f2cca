/* gst-pirl: convolutions of the CPU backend whose products are bf16, with AMX.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Values, weights and sums stay floats in memory; what is multiplied is rounded to bf16 on its
 * way, and products are added up in floats, in an order that does not depend on the threads.
 */
#pragma once

#include "backends/backend.h"

typedef struct _PirlAmx PirlAmx;

#ifdef HAVE_AMX

/** TRUE where the processor has AMX for bf16 and the system lets this process use it. The limits
 * ONEDNN_MAX_CPU_ISA and DNNL_MAX_CPU_ISA of the environment count here, too. */
gboolean pirl_amx_works (void);
/** NULL for a convolution that is not made for it (channels, groups, a bias). */
PirlAmx *pirl_amx_new (const PirlUnitDesc *unit);
void pirl_amx_free (PirlAmx *amx);
/** Of any of the three below. */
gsize pirl_amx_scratch_bytes (const PirlAmx *amx);

/* Values lie in blocks of 16 channels (n, c / 16, h, w, 16); weights are [out][in][k][k]. */

void pirl_amx_forward (const PirlAmx *amx, const gfloat *src, const gfloat *weights, gfloat *dst,
    gpointer scratch);
/** Adds to @d_src with @accumulate. */
void pirl_amx_backward_data (const PirlAmx *amx, const gfloat *d_dst, const gfloat *weights,
    gfloat *d_src, gboolean accumulate, gpointer scratch);
/** Adds to @d_weights. */
void pirl_amx_backward_weights (const PirlAmx *amx, const gfloat *src, const gfloat *d_dst,
    gfloat *d_weights, gpointer scratch);

#else /* another kind of processor, or an old compiler: nothing works, so nothing is called */

static inline gboolean
pirl_amx_works (void)
{
  return FALSE;
}

#define pirl_amx_new(unit) ((PirlAmx *) NULL)
#define pirl_amx_free(amx) ((void) (amx))
#define pirl_amx_scratch_bytes(amx) ((gsize) 0)
#define pirl_amx_forward(amx, src, weights, dst, scratch) g_assert_not_reached ()
#define pirl_amx_backward_data(amx, d_dst, weights, d_src, accumulate, scratch) \
  g_assert_not_reached ()
#define pirl_amx_backward_weights(amx, src, d_dst, d_weights, scratch) g_assert_not_reached ()

#endif
