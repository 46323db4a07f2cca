/* gst-pirl: sends a camera to a vision service, with no more bytes than it needs.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   app-camera-uplink CLOUD [INPUT [OUTPUT]] [--no-window] [--encoder PROPERTIES]
 *
 * CLOUD   the service, as adacompressenc's property `cloud` takes it, for instance
 *         oip+http://localhost:8000/v2/models/resnet50 or local:resnet50.safetensors
 * INPUT   a camera (/dev/video0, the default), a file, an address, or test: a moving ball
 * OUTPUT  where the stream goes as well: FILE.mkv, tcp://HOST:PORT, none (the default)
 *
 * Shows the picture with the service's labels on it and prints statistics every second. Ctrl-C and
 * SIGTERM end the stream as its own end would: what was encoded is written, files can be played.
 *
 * To take it with you, build it with nothing but pkg-config:
 *   cc -o app-camera-uplink app-camera-uplink.c $(pkg-config --cflags --libs gstreamer-1.0)
 */
#include <glib-unix.h>
#include <gst/gst.h>

/* A request may cost money: so many leave in a minute. --encoder, behind it, has the last word. */
#define ENCODER "adacompressenc name=encoder upload=every-frame max-requests-per-minute=60"

static struct {
  const gchar *cloud, *input, *output;
  gchar *encoder;
  gboolean no_window;
} options;

/* Sums since the start; two of them tell what the time between was like. */
typedef struct {
  gint64 time;                  /* monotonic, microseconds */
  guint64 frames, bytes, qualities;
} Totals;

typedef struct {
  GMainLoop *loop;
  GstElement *pipeline, *encoder, *overlay;
  Totals last;
  guint64 labelled;             /* the newest frame with an answer */
  gchar *seen;                  /* its first label, NULL = none */
  gint stopping, failed;        /* by the user; by an error */
} App;

/* ---- labels on the screen ------------------------------------------------------------------ */

/* One value of an array; NULL behind its end. */
static const GValue *
item (const GstStructure *s, const gchar *array, guint index)
{
  const GValue *values = gst_structure_get_value (s, array);

  return values && index < gst_value_array_get_size (values)
      ? gst_value_array_get_value (values, index) : NULL;
}

/* The service has answered. Answers may overtake each other: an older one is not shown. */
static void
on_labels (App *app, const GstStructure *s)
{
  g_autoptr (GString) lines = g_string_new (NULL);
  const GValue *text, *score;
  guint64 frame = 0;

  gst_structure_get_uint64 (s, "frame", &frame);
  if (frame < app->labelled)
    return;
  app->labelled = frame;
  for (guint i = 0; (text = item (s, "texts", i)) && (score = item (s, "scores", i)); i++) {
    /* The overlay reads Pango's markup, and a label may be "fish & chips". */
    g_autofree gchar *line = g_markup_printf_escaped ("%s %.0f %%\n", g_value_get_string (text),
        100 * g_value_get_double (score));
    g_string_append (lines, line);
  }
  g_object_set (app->overlay, "text", lines->str, NULL);
  g_free (app->seen);
  app->seen = (text = item (s, "texts", 0)) ? g_value_dup_string (text) : NULL;
}

/* ---- statistics ---------------------------------------------------------------------------- */

/* The element counts how often each quality has left; their sum gives means. */
static guint64
sum_qualities (const GstStructure *stats)
{
  const GValue *quality;
  guint64 sum = 0;

  for (guint i = 0; (quality = item (stats, "qualities", i)); i++)
    sum += g_value_get_int (quality) * g_value_get_uint64 (item (stats, "quality-counts", i));
  return sum;
}

static gboolean
on_second (gpointer data)
{
  App *app = data;
  g_autoptr (GstStructure) stats = NULL;
  Totals now = { .time = g_get_monotonic_time () };
  guint64 requests = 0, answers = 0;
  gdouble frames, agreement = -1;       /* not known */

  g_object_get (app->encoder, "stats", &stats, NULL);
  gst_structure_get (stats, "frames", G_TYPE_UINT64, &now.frames,
      "bytes", G_TYPE_UINT64, &now.bytes, "cloud-requests", G_TYPE_UINT64, &requests,
      "cloud-answers", G_TYPE_UINT64, &answers, "agreement", G_TYPE_DOUBLE, &agreement, NULL);
  now.qualities = sum_qualities (stats);
  frames = now.frames - app->last.frames;
  g_print ("%6" G_GUINT64_FORMAT " frames  %4.1f fps  %6.0f bytes a frame  quality %4.1f  ",
      now.frames, frames * G_USEC_PER_SEC / (now.time - app->last.time),
      (now.bytes - app->last.bytes) / MAX (frames, 1),
      (now.qualities - app->last.qualities) / MAX (frames, 1));
  g_print (agreement < 0 ? "agreement unknown  " : "agreement %.1f %%  ", 100 * agreement);
  g_print ("%s  %" G_GUINT64_FORMAT " requests, %" G_GUINT64_FORMAT " answers%s%s\n",
      gst_structure_get_string (stats, "state"), requests, answers,
      app->seen ? "  sees " : "", app->seen ? app->seen : "");
  app->last = now;
  return G_SOURCE_CONTINUE;
}

/* ---- messages and signals ------------------------------------------------------------------ */

static gboolean
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  App *app = data;
  const GstStructure *s = gst_message_get_structure (message);
  g_autoptr (GError) error = NULL;
  g_autofree gchar *details = NULL;
  const gchar *reason = NULL;

  if (gst_message_has_name (message, "adacompress-labels")) {
    on_labels (app, s);
  } else if (gst_message_has_name (message, "adacompress-state")
      || gst_message_has_name (message, "adacompress-cloud")) {
    g_print ("%s %s: %s\n", gst_structure_get_name (s), gst_structure_get_string (s, "state"),
        gst_structure_get_string (s, "reason"));
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING) {
    gst_message_parse_warning (message, &error, NULL);
    g_printerr ("warning: %s: %s\n", GST_MESSAGE_SRC_NAME (message), error->message);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, &details);
    /* GStreamer's own elements may leave the reason to the last line of the details. */
    if (GST_MESSAGE_SRC (message) != GST_OBJECT (app->encoder) && details)
      reason = strrchr (details, '\n');
    g_printerr ("%s: %s%s\n", GST_MESSAGE_SRC_NAME (message), error->message, reason ? reason : "");
    app->failed = TRUE;
    g_main_loop_quit (app->loop);
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS) {
    g_main_loop_quit (app->loop);       /* every sink has it: the file is complete */
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_LATENCY) {
    gst_bin_recalculate_latency (GST_BIN (app->pipeline));
  }
  return G_SOURCE_CONTINUE;
}

/* The end follows the last frame through the pipeline, so that what the service was asked is learnt
 * and the muxer finishes its file. Who cannot wait asks twice. */
static gboolean
on_signal (gpointer data)
{
  App *app = data;

  g_print ("ending; again to end at once\n");
  if (app->stopping++)
    g_main_loop_quit (app->loop);
  else
    gst_element_send_event (app->pipeline, gst_event_new_eos ());
  return G_SOURCE_CONTINUE;
}

/* ---- the pipeline -------------------------------------------------------------------------- */

static const gchar *
describe_input (void)
{
  if (!strcmp (options.input, "test"))
    return "videotestsrc pattern=ball ! video/x-raw,width=640,height=480,framerate=30/1";
  return g_str_has_prefix (options.input, "/dev/") ? "v4l2src name=source"
      : "uridecodebin name=source";
}

/* Matroska keeps the frames' times, on a wire too. A slow wire loses frames, here, before it can
 * hold up the camera. */
static const gchar *
describe_output (void)
{
  if (!strcmp (options.output, "none"))
    return "fakesink";
  if (g_str_has_prefix (options.output, "tcp://"))
    return "queue leaky=downstream ! matroskamux streamable=true ! tcpclientsink name=output";
  return "queue ! matroskamux ! filesink name=output";
}

/* Names and addresses become properties, not parts of the launch line: they may hold quotes. */
static gboolean
set_addresses (App *app, GError **error)
{
  g_autoptr (GstElement) source = gst_bin_get_by_name (GST_BIN (app->pipeline), "source");
  g_autoptr (GstElement) output = gst_bin_get_by_name (GST_BIN (app->pipeline), "output");
  g_autofree gchar *host = NULL, *uri = gst_uri_is_valid (options.input)
      ? g_strdup (options.input) : gst_filename_to_uri (options.input, error);
  gint port = -1;

  g_object_set (app->encoder, "cloud", options.cloud, NULL);
  if (g_str_has_prefix (options.input, "/dev/"))
    g_object_set (source, "device", options.input, NULL);
  else if (source)
    g_object_set (source, "uri", uri, NULL);
  if (output && !g_str_has_prefix (options.output, "tcp://"))
    g_object_set (output, "location", options.output, NULL);
  else if (output && g_uri_split_network (options.output, 0, NULL, &host, &port, error))
    g_object_set (output, "host", host, "port", MAX (port, 0), NULL);
  return *error == NULL;
}

/* One input, two branches: the picture with its labels, which may skip frames, and the uplink.
 * clocksync lets files come at the speed of the clock, so that they behave like a camera. */
static gboolean
build (App *app, GError **error)
{
  g_autofree gchar *line = g_strdup_printf ("%s ! videoconvert ! clocksync ! tee name=frames "
      "frames. ! queue leaky=downstream max-size-buffers=2 ! textoverlay name=overlay "
      "valignment=top halignment=left shaded-background=true ! videoconvert ! %s "
      "frames. ! queue max-size-buffers=4 ! " ENCODER " %s ! %s", describe_input (),
      options.no_window ? "fakesink" : "autovideosink", options.encoder ? options.encoder : "",
      describe_output ());

  app->pipeline = gst_parse_launch_full (line, NULL, GST_PARSE_FLAG_FATAL_ERRORS, error);
  if (!app->pipeline)
    return FALSE;
  app->encoder = gst_bin_get_by_name (GST_BIN (app->pipeline), "encoder");
  app->overlay = gst_bin_get_by_name (GST_BIN (app->pipeline), "overlay");
  return set_addresses (app, error);
}

/* ---- start and end ------------------------------------------------------------------------- */

static void
run (App *app)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (app->pipeline);

  app->loop = g_main_loop_new (NULL, FALSE);
  app->last.time = g_get_monotonic_time ();
  gst_bus_add_watch (bus, on_message, app);
  g_unix_signal_add (SIGINT, on_signal, app);
  g_unix_signal_add (SIGTERM, on_signal, app);
  g_timeout_add_seconds (1, on_second, app);
  /* An element that cannot start posts an error, and that ends the loop. */
  gst_element_set_state (app->pipeline, GST_STATE_PLAYING);
  g_main_loop_run (app->loop);
  if (!app->failed)
    on_second (app);            /* the rest of the last second */
  gst_element_set_state (app->pipeline, GST_STATE_NULL);
  gst_bus_remove_watch (bus);
  g_main_loop_unref (app->loop);
}

static gboolean
parse_options (int *argc, char ***argv, GError **error)
{
  const GOptionEntry entries[] = {
    { "no-window", 0, 0, G_OPTION_ARG_NONE, &options.no_window, "Show no picture", NULL },
    { "encoder", 0, 0, G_OPTION_ARG_STRING, &options.encoder,
        "Of adacompressenc: \"max-requests=1000 agent-file=camera.safetensors\"", "PROPERTIES" },
    { NULL } };
  g_autoptr (GOptionContext) context = g_option_context_new ("CLOUD "
      "[/dev/videoN | FILE | ADDRESS | test [FILE.mkv | tcp://HOST:PORT | none]]");

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, argc, argv, error))
    return FALSE;
  options.cloud = (*argv)[1];   /* NULL where there is none */
  options.input = *argc > 2 ? (*argv)[2] : "/dev/video0";
  options.output = *argc > 3 ? (*argv)[3] : "none";
  if (*argc < 2 || *argc > 4)
    g_set_error (error, G_OPTION_ERROR, G_OPTION_ERROR_FAILED,
        "one to three arguments, please; --help says which");
  return *error == NULL;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  App app = { 0 };

  if (parse_options (&argc, &argv, &error) && build (&app, &error))
    run (&app);
  if (error)
    g_printerr ("%s\n", error->message);
  gst_clear_object (&app.encoder);
  gst_clear_object (&app.overlay);
  gst_clear_object (&app.pipeline);
  g_free (app.seen);
  g_free (options.encoder);
  return app.failed || error ? 1 : 0;
}
