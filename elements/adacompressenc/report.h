/* gst-pirl: what adacompressenc tells the world: statistics and messages.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "agent.h"

#include <gst/gst.h>

G_BEGIN_DECLS

#define ADA_QUALITIES 101

/** Of the stream. */
typedef struct {
  guint64 frames_in;            /* = frames + dropped */
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

/** What a service saw in a frame that was sent to it. */
typedef struct {
  guint64 frame;
  GstClockTime timestamp;
  gint quality;
  const gchar *model;           /* of the service; NULL = it does not say */
  const GValue *labels, *texts, *scores;
} AdaReportLabels;

/** `application/x-adacompressenc-stats`. @agent, @client: NULL = there is none. */
GstStructure *ada_report_stats (const AdaCounters * counters, const AdaAgentStats * agent,
    const AdaClientStats * client);

void ada_report_frame (GstElement * element, const AdaReportFrame * frame);
/** To be posted. */
GstMessage *ada_report_labels (GstElement * element, const AdaReportLabels * labels);
/** @retry_in: ms. */
void ada_report_cloud (GstElement * element, AdaClientState state, guint retry_in,
    const gchar * reason);
/** @preview: NULL where nothing would be sent, for the @reason. @n: requests until now. */
void ada_report_dry_run (GstElement * element, const AdaRequest * request,
    const AdaPreview * preview, const gchar * reason, guint64 n);
void ada_report_state (GstElement * element, AdaState from, AdaState to, const gchar * reason,
    guint64 frame);

G_END_DECLS
