/* gst-pirl: operations of backends whose memory is the host's.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "backends/backend.h"

/* Members of PirlBackend. */
gboolean pirl_host_copy (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes,
    GError **error);
gboolean pirl_host_zero (PirlDevice *device, gpointer dst, gsize bytes, GError **error);
gboolean pirl_host_rows (PirlDevice *device, gpointer table, gpointer aside, gsize row_bytes,
    guint n, const guint32 *row, gboolean back, GError **error);
gboolean pirl_host_draw (PirlDevice *device, const PirlDrawDesc *desc, const guint32 *positive,
    guint32 *negative, GError **error);
gboolean pirl_host_cross_entropy (PirlDevice *device, guint batch, guint classes,
    gconstpointer logits, const gint *labels, gpointer d_logits, PirlEntropyStats *stats,
    GError **error);

/** 1 - |mean of the rows of @embedding|^2; F32 or F64. */
gdouble pirl_host_spread (PirlDType dtype, gconstpointer embedding, guint batch, guint dim);

/** What makes a contrast impossible; NULL = nothing. @param_dtype: the device's. */
const gchar *pirl_contrast_problem (const PirlContrastDesc *desc, PirlDType param_dtype,
    const guint32 *positive, const guint32 *negative);
/** The cosine above which a negative is near; infinite when none is. */
gdouble pirl_contrast_near (const PirlContrastDesc *desc);
/** What share of the negatives @n_near are. */
gdouble pirl_contrast_near_share (const PirlContrastDesc *desc, gdouble n_near);
/** LARS's factor of the rate for a tensor with these norms. */
gdouble pirl_lars_local (const PirlLars *values, gdouble weight_norm, gdouble gradient_norm);
/** Whether a device has banks of that type. */
gboolean pirl_bank_dtype_check (const PirlDevice *device, PirlDType bank_dtype, GError **error);
