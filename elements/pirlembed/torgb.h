/* gst-pirl: video frames of any format as full-range RGB pictures.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/surface.h"
#include "vision/image.h"

#include <gst/video/video.h>

typedef struct _ToRgb ToRgb;

/** NULL when frames of @info cannot be converted. */
ToRgb *to_rgb_new (const GstVideoInfo * info);
/** NULL is allowed. */
void to_rgb_free (ToRgb * self);
/** Where frames are RGB already: @view is the picture in @frame's memory. FALSE where they have to
 * be converted. */
gboolean to_rgb_view (const ToRgb * self, GstVideoFrame * frame, PirlImage * view);
/** Fits @picture and fills it. One thread at a time. */
void to_rgb_convert (ToRgb * self, GstVideoFrame * frame, PirlImage * picture);
/** From Y'CbCr of this colorimetry; where it does not name a matrix, BT.601. */
void to_rgb_matrix (const GstVideoColorimetry * colorimetry, PirlYuvMatrix * matrix);
