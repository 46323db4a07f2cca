/* gst-pirl: what may enter and leave pirljigsaw.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "pretext.h"
#include "vision/pretext.h"

#include <gst/video/video.h>

#define JIGSAW_SINK_CAPS "video/x-raw, format=(string)RGB, width=(int)[1,32767], " \
    "height=(int)[1,32767], framerate=(fraction)[0,max]"
#define JIGSAW_SRC_CAPS GST_PIRL_FRAMES_CAPS ", framerate=(fraction)[0,max]; " \
    GST_PIRL_TENSORS_CAPS ", num_tensors=(int)2, types=(string)\"uint8,uint8\", " \
    "framerate=(fraction)[0,max]; " GST_VIDEO_CAPS_MAKE ("RGB")

#define JIGSAW_MOSAIC_GAP 2     /* pixels between the patches */

/** What leaves, in our order of preference. */
typedef enum {
  JIGSAW_FRAMES,                /* untouched, for downstream to render */
  JIGSAW_TENSORS,               /* both views */
  JIGSAW_MOSAIC,                /* the second view, to look at */
  JIGSAW_N_FORMS
} JigsawForm;

/** What frames of @caps may leave as, drawn with @config out of @permutations; our preferences
 * begin with @first. */
GstCaps *jigsaw_caps_for_src (const GstCaps * caps, const PirlPretextConfig * config,
    gint permutations, JigsawForm first);
/** RGB frames of any size, at the framerate of @caps, which are to leave. */
GstCaps *jigsaw_caps_for_sink (const GstCaps * caps);
/** Which of the forms @caps are, those of the source pad. */
JigsawForm jigsaw_caps_form (const GstCaps * caps);
/** Whether @caps, which downstream takes, name the feature of untouched frames. What takes anything
 * does not count. */
gboolean jigsaw_caps_name_frames (const GstCaps * caps);
