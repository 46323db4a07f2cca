/* gst-pirl: video frames as the kernels see them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/video/video.h>
#include <vision/ycc.h>

G_BEGIN_DECLS

/** What adacompressenc takes: 8 bits, 1 or 3 components. */
#define ADA_FRAME_FORMATS "{ I420, YV12, YUY2, UYVY, Y41B, Y42B, YVYU, Y444, NV21, NV12, RGB, BGR, " \
    "RGBx, xRGB, BGRx, xBGR, GRAY8 }"

/** The layout of frames of @info: all of @raw but the pointers and strides. What the caps leave open
 * is read as GStreamer's defaults: RGB and grey full range, YUV limited, BT.601. */
void ada_frame_layout (const GstVideoInfo * info, PirlRaw * raw);
/** The pointers and strides of a mapped frame. */
void ada_frame_planes (const GstVideoFrame * frame, PirlRaw * raw);

G_END_DECLS
