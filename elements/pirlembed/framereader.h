/* gst-pirl: how frames come before the network: where they lie, in a card's memory or the host's,
 * or converted to RGB.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All but the last of these functions are the streaming thread's. What cannot be read is posted as
 * an error of the element.
 */
#pragma once

#include "embedworker.h"

#include <gst/video/video.h>

typedef struct _FrameReader FrameReader;

/** For @worker of @element (both not owned), whose network is on @device, as the property names
 * it. */
FrameReader *frame_reader_new (GstElement * element, EmbedWorker * worker, const gchar * device);
/** NULL is allowed. Pictures that were filled stay. */
void frame_reader_free (FrameReader * self);

/** Frames of @caps come next; FALSE: they cannot be converted to RGB. */
gboolean frame_reader_set_caps (FrameReader * self, GstCaps * caps);
/** What the caps say; NULL before there are any that can be read. */
const GstVideoInfo *frame_reader_info (const FrameReader * self);

/** Makes @picture what the network is to see: the device's memory, which @buffer stays behind, or a
 * copy. */
gboolean frame_reader_fill (FrameReader * self, GstBuffer * buffer, EmbedPicture * picture);
/** Lets the network look at the frame where it is, or at what it is converted to, on this thread.
 * @tag is the result's. FLUSHING: it was interrupted. */
GstFlowReturn frame_reader_run (FrameReader * self, GstBuffer * buffer, guint64 tag);

/** Whether the network takes no frames in a card's memory. Any thread. */
gboolean frame_reader_on_host (const FrameReader * self);
