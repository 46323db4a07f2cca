/* gst-pirl: how a compressed stream went, on one page.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/** What happened in one second of the stream. */
typedef struct {
  gdouble quality, lowest, highest;     /* of its frames: mean, least, most */
  gdouble bytes, reference_bytes;       /* a frame, mean; what leaves, and what quality 75 would take */
  gdouble agreement, agreement_low, agreement_high;     /* measured so far; NaN = nothing asked */
  gdouble retrain;              /* share of its frames that were retrained on */
  gboolean night;               /* of the drawn film */
} PirlSecond;

/** Four panels over time -- quality, bytes, agreement -- and the histogram of qualities (@counts of
 * quality 0..100) into a PNG. Seconds with retraining are shaded; night is marked. */
gboolean pirl_plot_compress (const gchar *path, const PirlSecond *seconds, guint n,
    const guint64 counts[101], gdouble target, GError **error);
