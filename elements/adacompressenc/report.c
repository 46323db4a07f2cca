/* gst-pirl: what adacompressenc tells the world (see report.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "report.h"

#include <math.h>

/* A structure that goes into files and other languages has no NaN: -1 stands for "not known". */
static gdouble
known (gdouble value)
{
  return isnan (value) ? -1 : value;
}

/* ---- statistics --------------------------------------------------------------------------- */

static void
append (GValue * array, GType type, guint64 number)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, type);
  if (type == G_TYPE_INT)
    g_value_set_int (&value, (gint) number);
  else
    g_value_set_uint64 (&value, number);
  gst_value_array_append_and_take_value (array, &value);
}

/* Two arrays of one length: the qualities that left, and how often each did. */
static void
add_histogram (GstStructure * s, const AdaCounters * counters)
{
  GValue qualities = G_VALUE_INIT, counts = G_VALUE_INIT;

  gst_value_array_init (&qualities, 0);
  gst_value_array_init (&counts, 0);
  for (guint quality = 0; quality < ADA_QUALITIES; quality++) {
    if (counters->histogram[quality] > 0) {
      append (&qualities, G_TYPE_INT, quality);
      append (&counts, G_TYPE_UINT64, counters->histogram[quality]);
    }
  }
  gst_structure_take_value (s, "qualities", &qualities);
  gst_structure_take_value (s, "quality-counts", &counts);
}

static void
add_agent (GstStructure * s, const AdaAgentStats * agent)
{
  const AdaControllerStats *c = &agent->controller;

  gst_structure_set (s, "state", G_TYPE_STRING, ada_state_name (c->state),
      "agreement", G_TYPE_DOUBLE, known (c->agreement),
      "agreement-low", G_TYPE_DOUBLE, known (c->agreement_low),
      "agreement-high", G_TYPE_DOUBLE, known (c->agreement_high),
      "p-est", G_TYPE_DOUBLE, known (c->p_est), "lambda", G_TYPE_DOUBLE, known (c->lambda),
      "epsilon", G_TYPE_DOUBLE, known (c->epsilon),
      "evidence", G_TYPE_DOUBLE, known (c->evidence),
      "estimates", G_TYPE_UINT64, c->estimates, "retrains", G_TYPE_UINT64, c->retrains,
      "remembered", G_TYPE_UINT, c->remembered, "saves", G_TYPE_UINT64, agent->saves,
      "cloud-unknown", G_TYPE_UINT64, agent->unknown,
      "extractor-errors", G_TYPE_UINT64, agent->failures, NULL);
}

static void
add_cloud (GstStructure * s, const AdaClientStats * c)
{
  gst_structure_set (s, "cloud-requests", G_TYPE_UINT64, c->requests,
      "cloud-answers", G_TYPE_UINT64, c->answered, "cloud-no-answers", G_TYPE_UINT64, c->no_answers,
      "cloud-errors", G_TYPE_UINT64, c->errors, "cloud-timeouts", G_TYPE_UINT64, c->timeouts,
      "cloud-retries", G_TYPE_UINT64, c->retries, "cloud-dropped", G_TYPE_UINT64, c->dropped,
      "cloud-open", G_TYPE_BOOLEAN, c->open,
      "cloud-retry-in", G_TYPE_UINT64, c->retry_in * (guint64) GST_MSECOND,
      "cloud-exhausted", G_TYPE_BOOLEAN, c->exhausted,
      "cloud-dry-requests", G_TYPE_UINT64, c->dry,
      "cloud-sent", G_TYPE_UINT64, c->sent, "cloud-received", G_TYPE_UINT64, c->received,
      "estimate-bytes", G_TYPE_UINT64, c->sent + c->received - c->upload_bytes,
      "upload-bytes", G_TYPE_UINT64, c->upload_bytes, "uploads", G_TYPE_UINT64, c->uploads,
      "uploads-answered", G_TYPE_UINT64, c->uploads_answered,
      "uploads-dropped", G_TYPE_UINT64, c->uploads_dropped,
      "last-error", G_TYPE_STRING, c->last_error, NULL);
}

GstStructure *
ada_report_stats (const AdaCounters * counters, const AdaAgentStats * agent,
    const AdaClientStats * client)
{
  GstStructure *s = gst_structure_new ("application/x-adacompressenc-stats",
      "frames-in", G_TYPE_UINT64, counters->frames_in,
      "frames", G_TYPE_UINT64, counters->frames, "bytes", G_TYPE_UINT64, counters->bytes,
      "reference-bytes", G_TYPE_UINT64, (guint64) (counters->reference_bytes + 0.5),
      "dropped", G_TYPE_UINT64, counters->dropped, NULL);

  add_histogram (s, counters);
  if (agent != NULL)
    add_agent (s, agent);
  else
    gst_structure_set (s, "state", G_TYPE_STRING, "fixed", NULL);
  if (client != NULL)
    add_cloud (s, client);
  return s;
}

/* ---- messages ----------------------------------------------------------------------------- */

static void
post (GstElement * element, GstStructure * structure)
{
  gst_element_post_message (element, gst_message_new_element (GST_OBJECT (element), structure));
}

void
ada_report_frame (GstElement * element, const AdaReportFrame * frame)
{
  post (element, gst_structure_new ("adacompress-decision",
          "frame", G_TYPE_UINT64, frame->frame,
          "timestamp", G_TYPE_UINT64, (guint64) frame->timestamp,
          "quality", G_TYPE_INT, frame->quality,
          "agreement", G_TYPE_DOUBLE, known (frame->agreement),
          "state", G_TYPE_STRING, frame->state,
          "size", G_TYPE_UINT64, (guint64) frame->size,
          "reference-size", G_TYPE_UINT64, (guint64) (frame->reference_size + 0.5),
          "asked", G_TYPE_BOOLEAN, frame->asked, NULL));
}

void
ada_report_state (GstElement * element, AdaState from, AdaState to, const gchar * reason,
    guint64 frame)
{
  post (element, gst_structure_new ("adacompress-state",
          "state", G_TYPE_STRING, ada_state_name (to),
          "previous", G_TYPE_STRING, ada_state_name (from),
          "reason", G_TYPE_STRING, reason, "frame", G_TYPE_UINT64, frame, NULL));
}

GstMessage *
ada_report_labels (GstElement * element, const AdaReportLabels * labels)
{
  GstStructure *s = gst_structure_new ("adacompress-labels",
      "frame", G_TYPE_UINT64, labels->frame,
      "timestamp", G_TYPE_UINT64, (guint64) labels->timestamp,
      "quality", G_TYPE_INT, labels->quality,
      "model", G_TYPE_STRING, labels->model ? labels->model : "", NULL);

  gst_structure_set_value (s, "labels", labels->labels);
  gst_structure_set_value (s, "texts", labels->texts);
  gst_structure_set_value (s, "scores", labels->scores);
  return gst_message_new_element (GST_OBJECT (element), s);
}

void
ada_report_cloud (GstElement * element, AdaClientState state, guint retry_in,
    const gchar * reason)
{
  static const gchar *const names[] = { "open", "closed", "exhausted" };

  post (element, gst_structure_new ("adacompress-cloud", "state", G_TYPE_STRING, names[state],
          "retry-in", G_TYPE_UINT64, retry_in * (guint64) GST_MSECOND,
          "reason", G_TYPE_STRING, reason, NULL));
}

static void
add_strings (GstStructure * s, const gchar * name, gchar ** strings)
{
  GValue array = G_VALUE_INIT;

  gst_value_array_init (&array, 0);
  for (guint i = 0; strings && strings[i]; i++) {
    GValue value = G_VALUE_INIT;

    g_value_init (&value, G_TYPE_STRING);
    g_value_set_string (&value, strings[i]);
    gst_value_array_append_and_take_value (&array, &value);
  }
  gst_structure_take_value (s, name, &array);
}

void
ada_report_dry_run (GstElement * element, const AdaRequest * request, const AdaPreview * preview,
    const gchar * reason, guint64 n)
{
  const gboolean wire = preview && preview->method;
  GstStructure *s = gst_structure_new ("adacompress-dry-run",
      "frame", G_TYPE_UINT64, request->id, "quality", G_TYPE_INT, request->quality,
      "reference", G_TYPE_BOOLEAN, request->reference,
      "picture", G_TYPE_UINT64, (guint64) g_bytes_get_size (request->jpeg),
      "method", G_TYPE_STRING, wire ? preview->method : "",
      "url", G_TYPE_STRING, wire ? preview->url : "",
      "body", G_TYPE_UINT64, wire ? (guint64) preview->body : 0,
      "reason", G_TYPE_STRING, reason, "requests", G_TYPE_UINT64, n, NULL);

  add_strings (s, "headers", wire ? preview->headers : NULL);
  post (element, s);
}
