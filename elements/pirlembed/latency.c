/* gst-pirl: how long frames stay in pirlembed (see latency.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "latency.h"

GST_DEBUG_CATEGORY_EXTERN (gst_pirl_embed_debug);
#define GST_CAT_DEFAULT gst_pirl_embed_debug

/* The LATENCY message is posted again when the measured latency leaves this band around the one
 * that was answered last. */
#define LATENCY_GROWN 1.25
#define LATENCY_SHRUNK 0.5

void
embed_latency_start (EmbedLatency * self, guint batch, GstClockTime first)
{
  *self = (EmbedLatency) {
    .batch = batch,.measured = first,.frame_duration = GST_CLOCK_TIME_NONE
  };
}

void
embed_latency_stop (EmbedLatency * self)
{
  self->batch = 0;
}

static void
announce (GstElement * element)
{
  gst_element_post_message (element, gst_message_new_latency (GST_OBJECT (element)));
}

void
embed_latency_measure (EmbedLatency * self, GstElement * element, GstClockTime elapsed)
{
  gboolean changed;

  GST_OBJECT_LOCK (element);
  self->measured = MAX (elapsed, self->measured - self->measured / 16);
  changed = self->answered > 0 && (self->measured > LATENCY_GROWN * self->answered
      || self->measured < LATENCY_SHRUNK * self->answered);
  if (changed)
    self->answered = self->measured;
  GST_OBJECT_UNLOCK (element);
  if (changed)
    announce (element);
}

void
embed_latency_set_rate (EmbedLatency * self, GstElement * element, const GstVideoInfo * info)
{
  GstClockTime duration = info->fps_n > 0
      ? gst_util_uint64_scale_int (GST_SECOND, info->fps_d, info->fps_n) : GST_CLOCK_TIME_NONE;
  gboolean changed;

  GST_OBJECT_LOCK (element);
  changed = self->batch > 1 && self->answered > 0 && duration != self->frame_duration;
  self->frame_duration = duration;
  GST_OBJECT_UNLOCK (element);
  if (changed)
    announce (element);
}

/* With the lock: what the first frame of a batch waits until it is full. */
static GstClockTime
collecting_time (const EmbedLatency * self, const GstPirlEmbedSettings * settings)
{
  GstClockTime limit = settings->batch_timeout > 0 ? settings->batch_timeout : GST_CLOCK_TIME_NONE;

  if (self->batch == 1)
    return 0;
  if (GST_CLOCK_TIME_IS_VALID (self->frame_duration))
    limit = MIN (limit, self->frame_duration * (self->batch - 1) * MAX (settings->interval, 1));
  return GST_CLOCK_TIME_IS_VALID (limit) ? limit : 0;
}

gboolean
embed_latency_answer (EmbedLatency * self, GstElement * element, GstPad * sinkpad,
    const GstPirlEmbedSettings * settings, GstQuery * query)
{
  GstClockTime own = 0, min, max;
  gboolean live;

  if (!gst_pad_peer_query (sinkpad, query))
    return FALSE;
  gst_query_parse_latency (query, &live, &min, &max);
  GST_OBJECT_LOCK (element);
  if (live && self->batch > 0 && (settings->interval > 0 || self->batch > 1)) {
    self->answered = self->measured;
    own = collecting_time (self, settings) + self->measured;
  }
  GST_OBJECT_UNLOCK (element);
  if (own > 0) {
    GST_DEBUG_OBJECT (element, "adding a latency of %" GST_TIME_FORMAT, GST_TIME_ARGS (own));
    gst_query_set_latency (query, live, min + own,
        GST_CLOCK_TIME_IS_VALID (max) ? max + own : max);
  }
  return TRUE;
}
