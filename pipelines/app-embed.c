/* gst-pirl: reads embeddings in an application.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   app-embed MODEL.safetensors [SOURCE]
 *
 * SOURCE is anything gst-launch-1.0 would take in front of pirlembed, for instance
 *   "v4l2src ! videoconvert", "uridecodebin uri=file:///tmp/a.mp4 ! videoconvert".
 * Prints for each frame how similar it is to the one before: a cheap scene-change detector.
 */
#include <math.h>
#include <gst/gst.h>

typedef struct {
  GBytes *previous;
  guint frames;
} App;

static gdouble
cosine (GBytes *a, GBytes *b)
{
  gsize size_a, size_b;
  const gfloat *x = g_bytes_get_data (a, &size_a);
  const gfloat *y = g_bytes_get_data (b, &size_b);
  gdouble xy = 0, xx = 0, yy = 0;

  if (size_a != size_b)
    return NAN;
  for (gsize i = 0; i < size_a / sizeof (gfloat); i++) {
    xy += (gdouble) x[i] * y[i];
    xx += (gdouble) x[i] * x[i];
    yy += (gdouble) y[i] * y[i];
  }
  return xy / sqrt (xx * yy);
}

/* In the streaming thread: the embedding travels with the frame, as a meta. */
static void
on_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer data)
{
  App *app = data;
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "pirl-embedding");
  GBytes *embedding = NULL;
  guint size = 0;

  (void) sink, (void) pad;
  if (!meta || !gst_structure_get (gst_custom_meta_get_structure (meta),
          "data", G_TYPE_BYTES, &embedding, "size", G_TYPE_UINT, &size, NULL))
    return;
  g_print ("%" GST_TIME_FORMAT "  %u values", GST_TIME_ARGS (GST_BUFFER_PTS (buffer)), size);
  if (app->previous)
    g_print (", cosine with the frame before %.4f", cosine (app->previous, embedding));
  g_print ("\n");
  g_clear_pointer (&app->previous, g_bytes_unref);
  app->previous = embedding;
  app->frames++;
}

static gboolean
run (GstElement *pipeline)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  gboolean ok;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  ok = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
  if (!ok) {
    g_autoptr (GError) error = NULL;
    gst_message_parse_error (message, &error, NULL);
    g_printerr ("%s\n", error->message);
  }
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  return ok;
}

int
main (int argc, char **argv)
{
  App app = { NULL, 0 };
  g_autofree gchar *description = NULL;
  g_autoptr (GError) error = NULL;
  GstElement *pipeline, *embed, *sink;
  gboolean ok;

  gst_init (&argc, &argv);
  if (argc < 2) {
    g_printerr ("usage: %s MODEL.safetensors [SOURCE]\n", argv[0]);
    return 2;
  }
  description = g_strdup_printf ("%s ! pirlembed name=embed interval=1 ! "
      "fakesink name=sink signal-handoffs=true",
      argc > 2 ? argv[2] : "videotestsrc num-buffers=30 ! video/x-raw,width=320,height=240");
  pipeline = gst_parse_launch (description, &error);
  if (!pipeline || error) {
    g_printerr ("%s\n", error->message);
    g_clear_pointer (&pipeline, gst_object_unref);
    return 2;
  }
  embed = gst_bin_get_by_name (GST_BIN (pipeline), "embed");
  g_object_set (embed, "model-file", argv[1], NULL);
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_signal_connect (sink, "handoff", G_CALLBACK (on_frame), &app);

  ok = run (pipeline);
  g_print ("%u frames embedded\n", app.frames);
  g_clear_pointer (&app.previous, g_bytes_unref);
  gst_object_unref (embed);
  gst_object_unref (sink);
  gst_object_unref (pipeline);
  return ok ? 0 : 1;
}
