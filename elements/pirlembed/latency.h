/* gst-pirl: how long frames stay in pirlembed, as live pipelines must know.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The fields are the element's object lock's; functions take it but where they say so.
 */
#pragma once

#include "settings.h"

#include <gst/video/video.h>

typedef struct {
  guint batch;                  /* frames in one; 0 = the element does not run */
  GstClockTime measured;        /* of a frame or batch in the network */
  GstClockTime answered;        /* @measured as it was in the last answer; 0 = nobody asked */
  GstClockTime frame_duration;  /* NONE = the caps do not say */
} EmbedLatency;

/** Begins with what the first batch took. With the lock. */
void embed_latency_start (EmbedLatency * self, guint batch, GstClockTime first);
/** With the lock. */
void embed_latency_stop (EmbedLatency * self);

/** Follows the time from a frame's arrival to its embedding: up at once, down slowly. Posts LATENCY
 * when the answer is wrong by now. */
void embed_latency_measure (EmbedLatency * self, GstElement * element, GstClockTime elapsed);
/** The time that a batch takes to fill is part of the latency; posts LATENCY when it changed. */
void embed_latency_set_rate (EmbedLatency * self, GstElement * element,
    const GstVideoInfo * info);
/** Adds to upstream's answer, where frames of a live stream have to wait. */
gboolean embed_latency_answer (EmbedLatency * self, GstElement * element, GstPad * sinkpad,
    const GstPirlEmbedSettings * settings, GstQuery * query);
