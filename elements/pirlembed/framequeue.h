/* gst-pirl: frames of a GstBaseTransform that are looked at before their turn.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A queue between an element's sink pad and the base class, emptied by a task of the source pad. A
 * frame is shown to the element when it arrives (arrived) and again when its turn has come
 * (leaving); then the base class gets it as if there were no queue. Serialised events and queries
 * keep their place between the frames, caps events and queries are answered before the streaming
 * thread goes on, the others pass at once. */
#pragma once

#include <gst/base/gstbasetransform.h>

typedef struct _FrameQueue FrameQueue;

typedef struct {
  /** Streaming thread: a frame came in. @ticket: what leaving() is to be given; it begins as 0. */
  GstFlowReturn (*arrived) (GstElement * element, GstBuffer * frame, guint64 * ticket);
  /** Streaming thread: no frame comes before one that arrived has left. */
  void (*full) (GstElement * element);
  /** Streaming thread: perhaps no frame comes before all that arrived have left. */
  void (*pausing) (GstElement * element);
  /** Task: the frame with this ticket goes to the base class next. Posts the errors it returns. */
  GstFlowReturn (*leaving) (GstElement * element, guint64 ticket);
  /** Streaming thread: frames that may be queued before upstream has to wait. */
  guint (*capacity) (GstElement * element);
} FrameQueueFuncs;

/** Steps between the pads of @trans and its base class; from the instance's init function. */
FrameQueue *frame_queue_new (GstBaseTransform * trans, const FrameQueueFuncs * funcs);
/** From finalize. */
void frame_queue_free (FrameQueue * queue);

/** From the base class's start(). @enabled: FALSE = everything goes straight to the base class. The
 * source pad stops it when it is deactivated. */
void frame_queue_start (FrameQueue * queue, gboolean enabled);
/** Drops what is queued and ends all waits until the queue is started again. Any thread. */
void frame_queue_set_flushing (FrameQueue * queue);
