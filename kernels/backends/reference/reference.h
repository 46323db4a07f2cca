/* gst-pirl: what the files of the reference backend share.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every value, parameter and gradient of this backend is a dense array of double in host memory.
 */
#pragma once

#include "backends/backend.h"

PirlUnitPlan *pirl_reference_unit_plan (PirlDevice *device, const PirlUnitDesc *desc,
    const PirlTensorDesc *input, const PirlTensorDesc *residual, PirlTensorDesc *output,
    PirlUnitMemory *memory, GError **error);
void pirl_reference_unit_free (PirlUnitPlan *plan);
gboolean pirl_reference_unit_run (PirlUnitPlan *plan, PirlPass pass,
    const PirlUnitBuffers *buffers, GError **error);

gboolean pirl_reference_contrast (PirlDevice *device, const PirlContrastDesc *desc,
    gconstpointer embedding, gconstpointer bank, const guint32 *positive, const guint32 *negative,
    gpointer d_embedding, PirlContrastStats *stats, GError **error);
gboolean pirl_reference_bank_update (PirlDevice *device, gpointer bank, PirlDType bank_dtype,
    guint dim, guint batch, const guint32 *positive, const gfloat *momentum,
    gconstpointer embedding, GError **error);
gboolean pirl_reference_adam (PirlDevice *device, gsize n, gpointer weights,
    gconstpointer gradients, gpointer first, gpointer second, guint64 step, gdouble lr,
    gdouble beta1, gdouble beta2, gdouble epsilon, gdouble weight_decay, GError **error);
gboolean pirl_reference_sgd (PirlDevice *device, gsize n, gpointer weights,
    gconstpointer gradients, gpointer velocity, gdouble lr, gdouble momentum, gdouble weight_decay,
    gboolean nesterov, GError **error);
gboolean pirl_reference_lars (PirlDevice *device, guint n_segments, const PirlSegment *segments,
    gpointer weights, gconstpointer gradients, gpointer velocity, const PirlLars *values,
    GError **error);
gboolean pirl_reference_average (PirlDevice *device, gsize n, gpointer dst, gconstpointer src,
    gdouble keep, GError **error);
