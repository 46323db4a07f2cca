/* gst-pirl: a sample's two views: their caps, and the meta `pirl-pretext`, what was drawn for them
 * (meta.h lists its fields).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "meta.h"
#include "vision/pretext.h"

G_BEGIN_DECLS

/** Of raw video that carries the meta in place of rendered views: frames as they came, of ever
 * changing size (GstVideoMeta has it; the caps have none). */
#define GST_PIRL_PRETEXT_FEATURE "meta:PirlPretext"
#define GST_PIRL_FRAMES_CAPS "video/x-raw(" GST_PIRL_PRETEXT_FEATURE "), format=(string)RGB"

/** The two views of a stream's samples. */
typedef struct {
  gint image;                   /* side of the image view; of frames 0 in caps: their metas say */
  gint patch, patches;          /* side and number of the second view's pictures; likewise */
  PirlTransform transform;
  gint permutations;            /* in the set they are drawn from; 0 = all, -1 = not known */
  gboolean frames;              /* samples are frames from which the views are to be rendered */
} GstPirlViews;

/** Two uint8 tensors, 3:image:image:1 and 3:patch:patch:patches, or video with the feature above.
 * Either has the fields `transform` (string) and, where known, `permutations` (int). */
GstCaps *gst_pirl_views_caps (const GstPirlViews * views, gint fps_n, gint fps_d);
/** Reads them back; FALSE with a reason (transfer full) when they are something else. Without the
 * two fields (another producer's) they are those of a jigsaw. */
gboolean gst_pirl_views_caps_parse (const GstCaps * caps, GstPirlViews * views, gchar ** reason);

/** Attaches all that a renderer needs; replaces an earlier one. */
void gst_pirl_pretext_add (GstBuffer * buffer, const PirlPretextConfig * config,
    const PirlPretext * pretext);
/** Reads it back: of @config the geometry only. %PIRL_ERROR_FORMAT says what is missing or cannot
 * be; then both are undefined. That the crops lie within the frame is the caller's to check. */
gboolean gst_pirl_pretext_get (GstBuffer * buffer, PirlPretextConfig * config,
    PirlPretext * pretext, GError ** error);

/** Reads only how large the views are and how many pictures the second has. */
gboolean gst_pirl_pretext_get_sizes (GstBuffer * buffer, GstPirlViews * views, GError ** error);
/** Reads only the permutation's number, -1 = drawn from all, and the quarters of the turn. */
gboolean gst_pirl_pretext_get_numbers (GstBuffer * buffer, gint * permutation, gint * turns,
    GError ** error);

G_END_DECLS
