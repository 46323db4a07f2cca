/* gst-pirl: the buffers that leave pirljigsaw, one of each form.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is rendered here is what @pretext drew with @config for @image. FALSE: the buffer cannot be
 * written. One thread at a time.
 */
#pragma once

#include "jigsawcaps.h"

/** @in itself (of @info), its memory shared, with room for metas. */
GstBuffer *jigsaw_frame_new (GstBuffer * in, GstVideoInfo * info);

/** Room for both views, one memory each: S*S*3 bytes, and grid*grid times P*P*3. */
GstBuffer *jigsaw_tensors_new (const PirlPretextConfig * config);
/** Renders both views, or with @image_only the image view and a black second one. */
gboolean jigsaw_tensors_render (GstBuffer * tensors, PirlRenderer * renderer,
    const PirlPretextConfig * config, const PirlPretext * pretext, const PirlImage * image,
    gboolean image_only);

/** Room for a mosaic of @info. */
GstBuffer *jigsaw_mosaic_new (const GstVideoInfo * info);
/** Renders the second view, its patches with gaps between them. */
gboolean jigsaw_mosaic_render (GstBuffer * mosaic, const GstVideoInfo * info,
    PirlRenderer * renderer, const PirlPretextConfig * config, const PirlPretext * pretext,
    const PirlImage * image);
