/* gst-pirl: what a sample costs pirldatasetsrc, and its first one.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   scaling-source LOCATION SAMPLES         one of tests/bench/scaling's programs (turns.h)
 *
 * pirldatasetsrc location=LOCATION shuffle=true epochs=0 n-threads=1 ! appsink: the pipeline is
 * started once; a turn takes SAMPLES more of its samples. The line of the first turn, and of no
 * other, has "first": what it took from nothing to the first sample (listing the location, its hash,
 * the order of the first epoch) in seconds, CPU seconds, and "count", the samples of an epoch.
 */
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <stdlib.h>
#include <time.h>

#include "turns.h"

typedef struct {
  GstElement *pipeline;
  GstAppSink *sink;
  guint64 samples;              /* of a turn */
  gchar *first;                 /* to be told once */
} Source;

static gdouble
cpu (void)
{
  struct timespec now;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

/* FALSE with what the pipeline says. */
static gboolean
take_sample (Source * source, GError ** error)
{
  GstSample *sample = gst_app_sink_pull_sample (source->sink);
  GstMessage *message;
  GstBus *bus;

  if (sample != NULL) {
    gst_sample_unref (sample);
    return TRUE;
  }
  bus = gst_element_get_bus (source->pipeline);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  gst_object_unref (bus);
  if (message != NULL)
    gst_message_parse_error (message, error, NULL);
  else
    g_set_error_literal (error, GST_STREAM_ERROR, GST_STREAM_ERROR_FAILED, "no sample came");
  g_clear_pointer (&message, gst_message_unref);
  return FALSE;
}

static guint64
count_of (GstElement * pipeline)
{
  GstElement *in = gst_bin_get_by_name (GST_BIN (pipeline), "in");
  GstStructure *stats;
  guint64 count = 0;

  g_object_get (in, "stats", &stats, NULL);
  gst_structure_get_uint64 (stats, "count", &count);
  gst_structure_free (stats);
  gst_object_unref (in);
  return count;
}

static gboolean
start (Source * source, const gchar * location, GError ** error)
{
  const gint64 since = g_get_monotonic_time ();
  const gdouble cpu_since = cpu ();
  GstElement *in;

  source->pipeline = gst_parse_launch ("pirldatasetsrc name=in shuffle=true epochs=0 n-threads=1 "
      "! appsink name=out sync=false max-buffers=1", error);
  if (source->pipeline == NULL)
    return FALSE;
  in = gst_bin_get_by_name (GST_BIN (source->pipeline), "in");
  g_object_set (in, "location", location, NULL);
  gst_object_unref (in);
  source->sink = GST_APP_SINK (gst_bin_get_by_name (GST_BIN (source->pipeline), "out"));
  gst_element_set_state (source->pipeline, GST_STATE_PLAYING);
  if (!take_sample (source, error))
    return FALSE;
  source->first = g_strdup_printf (", \"first\": {\"seconds\": %.6f, \"cpu\": %.6f, \"count\": %"
      G_GUINT64_FORMAT "}", (gdouble) (g_get_monotonic_time () - since) / G_USEC_PER_SEC,
      cpu () - cpu_since, count_of (source->pipeline));
  return TRUE;
}

static gboolean
source_turn (gpointer data, Turn * turn, GError ** error)
{
  Source *source = data;

  for (; turn->items < source->samples; turn->items++)
    if (!take_sample (source, error))
      return FALSE;
  turn->more = g_steal_pointer (&source->first);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Source source = { NULL };
  int status = 1;

  gst_init (&argc, &argv);
  if (argc != 3 || (source.samples = g_ascii_strtoull (argv[2], NULL, 10)) < 1) {
    g_printerr ("usage: scaling-source LOCATION SAMPLES\n");
    return 2;
  }
  if (start (&source, argv[1], &error))
    status = turns_serve ("scaling-source", source_turn, &source);
  else
    g_printerr ("scaling-source: %s\n", error->message);
  if (source.pipeline)
    gst_element_set_state (source.pipeline, GST_STATE_NULL);
  g_clear_object (&source.sink);
  g_clear_object (&source.pipeline);
  g_free (source.first);
  return status;
}
