/* gst-pirl: what may enter and leave pirlembed.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cudamemory.h"
#include "meta.h"

#include <gst/video/video.h>

#define EMBED_VIDEO_CAPS CUDA_MEMORY_CAPS GST_VIDEO_CAPS_MAKE (GST_VIDEO_FORMATS_ALL)
#define EMBED_TENSORS_CAPS GST_PIRL_TENSORS_CAPS ", num_tensors=(int)[1,16], " \
    "framerate=(fraction)[0,max]"

/** What frames of @caps leave as: the same, or float32 tensors of @dimensions
 * (NULL: no model is loaded). */
GstCaps *embed_caps_for_src (const GstCaps * caps, const gchar * dimensions);
/** What may enter for @caps to leave. */
GstCaps *embed_caps_for_sink (const GstCaps * caps);
/** @caps (transfer full) less the memory that only a card has. */
GstCaps *embed_caps_on_host (GstCaps * caps);
/** Whether the first structure of @caps is raw video, not tensors. */
gboolean embed_caps_are_video (const GstCaps * caps);
