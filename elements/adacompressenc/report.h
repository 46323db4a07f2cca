/* gst-pirl: what adacompressenc tells the world: statistics and messages.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "agent.h"

#include <gst/gst.h>

G_BEGIN_DECLS

#define ADA_QUALITIES 101

/** Of the stream. */
typedef struct {
  guint64 frames, bytes, dropped;
  gdouble reference_bytes;      /* predicted, but for frames at the reference quality */
  guint64 histogram[ADA_QUALITIES];
} AdaCounters;

/** What left for one frame. */
typedef struct {
  guint64 frame;
  GstClockTime timestamp;
  gint quality;
  gdouble agreement;            /* NaN = no prediction */
  const gchar *state;
  gsize size;
  gdouble reference_size;
  gboolean asked;
} AdaReportFrame;

/** `application/x-adacompressenc-stats`. @agent: NULL = there is none. */
GstStructure *ada_report_stats (const AdaCounters * counters, const AdaAgentStats * agent);

void ada_report_frame (GstElement * element, const AdaReportFrame * frame);
void ada_report_state (GstElement * element, AdaState from, AdaState to, const gchar * reason,
    guint64 frame);

G_END_DECLS
