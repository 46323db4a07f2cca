/* gst-pirl: the meta `pirl-pretext`: what was drawn for a sample's two views (meta.h lists the
 * fields).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/pretext.h"

#include <gst/gst.h>

G_BEGIN_DECLS

/** Of raw video that carries the meta in place of rendered views: frames as they came, of ever
 * changing size (GstVideoMeta has it; the caps have none). */
#define GST_PIRL_PRETEXT_FEATURE "meta:PirlPretext"
#define GST_PIRL_FRAMES_CAPS "video/x-raw(" GST_PIRL_PRETEXT_FEATURE "), format=(string)RGB"

/** Attaches all that a renderer needs; replaces an earlier one. */
void gst_pirl_pretext_add (GstBuffer * buffer, const PirlPretextConfig * config,
    const PirlPretext * pretext);
/** Reads it back: of @config the geometry only. %PIRL_ERROR_FORMAT says what is missing or cannot
 * be; then both are undefined. That the crops lie within the frame is the caller's to check. */
gboolean gst_pirl_pretext_get (GstBuffer * buffer, PirlPretextConfig * config,
    PirlPretext * pretext, GError ** error);

/** Reads only how large the views are and how many patches there are. */
gboolean gst_pirl_pretext_get_sizes (GstBuffer * buffer, gint * image, gint * patch,
    gint * patches, GError ** error);

G_END_DECLS
