/* gst-pirl: compresses a live stream for a vision service, and shows what it saved.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A camera, a clip, a folder of pictures or a drawn film goes through adacompressenc while a status line says
 * how it goes. Afterwards frames kept along the way are asked about at every quality, so that the
 * agent's choices stand beside fixed qualities and the oracle.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <glib-unix.h>
#include <gst/gst.h>
#include <gst/app/gstappsrc.h>
#include <gst/video/video.h>
#include <unistd.h>

#include "compress-plot.h"
#include "compress-table.h"
#include "scenes.h"

#define CAMERA "/dev/video0"

static struct {
  gchar *input, *out, *cloud, *extractor, *agent, *agreement;
  gint seconds, judge;
  gboolean shipped;             /* cloud and extractor are those that ship */
  gdouble target;
  gboolean as_fast, untrained;
} opt = { .out = (gchar *) "out", .seconds = 120, .judge = 60, .target = .95 };

static const GOptionEntry entries[] = {
  { "cloud", 0, 0, G_OPTION_ARG_STRING, &opt.cloud,
      "The service: local:MODEL.safetensors, oip+http://HOST/v2/models/NAME, ... (the shipped "
      "classifier of drawn textures)", "CLOUD" },
  { "extractor", 0, 0, G_OPTION_ARG_FILENAME, &opt.extractor,
      "The network whose features the agent sees (the shipped one)", "FILE" },
  { "agent-file", 0, 0, G_OPTION_ARG_FILENAME, &opt.agent,
      "Where the agent is kept from run to run (OUT/agent.safetensors)", "FILE" },
  { "agreement", 0, 0, G_OPTION_ARG_STRING, &opt.agreement,
      "When an answer counts as the reference's: top1-in-top5, top5-overlap or top1 (top1-in-top5; "
      "top1 for the shipped classifier, which knows ten classes only)", "RULE" },
  { "target", 0, 0, G_OPTION_ARG_DOUBLE, &opt.target, "Agreement to be kept (.95)", "SHARE" },
  { "out", 0, 0, G_OPTION_ARG_FILENAME, &opt.out, "Where results go (out)", "FOLDER" },
  { "seconds", 0, 0, G_OPTION_ARG_INT, &opt.seconds,
      "How long to run: of a camera or the drawn film (120)", "S" },
  { "judge", 0, 0, G_OPTION_ARG_INT, &opt.judge,
      "Frames asked about at every quality afterwards, local clouds only (60)", "N" },
  { "as-fast-as-possible", 0, 0, G_OPTION_ARG_NONE, &opt.as_fast,
      "Do not keep to the clock (files and the film)", NULL },
  { "untrained", 0, 0, G_OPTION_ARG_NONE, &opt.untrained,
      "Do not start with the agent that ships", NULL },
  { NULL }
};

/* A frame that is judged afterwards. */
typedef struct {
  GstSample *raw;
  guint64 number;
  gint quality;                 /* what left; -1 = not yet known */
  gchar *name;
} Kept;

typedef struct {
  GMainLoop *loop;
  GstElement *pipeline, *encoder;
  PirlScenes *film;             /* NULL = another input */
  gboolean failed, interrupted;

  GMutex lock;                  /* of what follows: the stream's thread writes */
  guint64 frames_in, frames_out, stride;        /* every stride-th frame is kept */
  GArray *kept;                 /* Kept */
  PirlSecond now;               /* sums of the second under way */
  guint now_frames;
  guint64 counts[101];

  GArray *seconds;              /* PirlSecond */
  guint64 bytes, reference_bytes;       /* stats at the last second */
} Run;

enum { FILM_RATE = 30, FILM_WIDTH = 240, FILM_HEIGHT = 180 };

static void
kept_clear (gpointer data)
{
  Kept *k = data;

  g_clear_pointer (&k->raw, gst_sample_unref);
  g_clear_pointer (&k->name, g_free);
}

/* ---- what the stream's thread notes ------------------------------------------------------ */

/* Keeps every stride-th frame; when there are too many, every second of them goes and the stride
 * doubles, so that they are spread over the whole stream, however long. */
static void
keep (Run *run, GstPad *pad, GstBuffer *buffer)
{
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);
  g_autoptr (GstBuffer) copy = gst_buffer_copy_deep (buffer);
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "pirl-sample");
  Kept k = { .number = run->frames_in, .quality = -1 };

  if (meta)
    k.name = g_strdup (gst_structure_get_string (gst_custom_meta_get_structure (meta), "name"));
  k.raw = gst_sample_new (copy, caps, NULL, NULL);
  g_array_append_val (run->kept, k);
  if (run->kept->len <= (guint) opt.judge)
    return;
  run->stride *= 2;
  for (guint i = run->kept->len; i-- > 0;) {
    if (g_array_index (run->kept, Kept, i).number % run->stride != 0)
      g_array_remove_index (run->kept, i);
  }
}

static GstPadProbeReturn
on_raw (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Run *run = data;

  g_mutex_lock (&run->lock);
  if (opt.judge > 0 && run->frames_in % run->stride == 0)
    keep (run, pad, GST_PAD_PROBE_INFO_BUFFER (info));
  run->frames_in++;
  g_mutex_unlock (&run->lock);
  return GST_PAD_PROBE_OK;
}

/* The encoder gives one JPEG a frame, in order. */
static GstPadProbeReturn
on_jpeg (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Run *run = data;
  GstCustomMeta *meta = gst_buffer_get_custom_meta (GST_PAD_PROBE_INFO_BUFFER (info),
      "adacompress");
  const GstStructure *s = meta ? gst_custom_meta_get_structure (meta) : NULL;
  PirlSecond *now = &run->now;
  gint quality = 0;

  if (!s || !gst_structure_get_int (s, "quality", &quality))
    return GST_PAD_PROBE_OK;
  g_mutex_lock (&run->lock);
  for (guint i = 0; i < run->kept->len; i++) {
    Kept *k = &g_array_index (run->kept, Kept, i);
    if (k->number == run->frames_out)
      k->quality = quality;
  }
  now->lowest = run->now_frames ? fmin (now->lowest, quality) : quality;
  now->highest = run->now_frames ? fmax (now->highest, quality) : quality;
  now->quality += quality;
  now->retrain += !g_strcmp0 (gst_structure_get_string (s, "state"), "retrain");
  run->now_frames++;
  run->counts[CLAMP (quality, 0, 100)]++;
  run->frames_out++;
  g_mutex_unlock (&run->lock);
  return GST_PAD_PROBE_OK;
}

/* ---- every second -------------------------------------------------------------------------- */

static guint64
count (const GstStructure *s, const gchar *field)
{
  guint64 value = 0;

  gst_structure_get_uint64 (s, field, &value);
  return value;
}

/* Not known is -1 in the statistics. */
static gdouble
share (const GstStructure *s, const gchar *field)
{
  gdouble value = -1;

  gst_structure_get_double (s, field, &value);
  return value < 0 ? NAN : value;
}

static void
show_status (const Run *run, const PirlSecond *second, const GstStructure *s)
{
  const gboolean terminal = isatty (STDOUT_FILENO);
  const guint64 bytes = count (s, "bytes"), whole = MAX (count (s, "reference-bytes"), 1);
  g_autofree gchar *agreement = isfinite (second->agreement)
      ? g_strdup_printf ("%.1f %%", 100 * second->agreement) : g_strdup ("not yet known");

  if (!terminal && run->seconds->len % 5 != 1)
    return;
  g_print (terminal ? "\r\033[K" : "");
  g_print ("  %4u s  %-9s  quality %3.0f  bytes %4.1f %% of the reference's, with estimates %4.1f %%  "
      "agreement %s  asked %" G_GUINT64_FORMAT "%s", run->seconds->len,
      gst_structure_get_string (s, "state"), second->quality, 100. * bytes / whole,
      100. * (bytes + count (s, "estimate-bytes")) / whole, agreement,
      count (s, "cloud-requests"), terminal ? "" : "\n");
}

static void
end_second (Run *run, const GstStructure *s)
{
  const guint64 bytes = count (s, "bytes"), whole = count (s, "reference-bytes");
  PirlSecond second;
  guint frames;

  g_mutex_lock (&run->lock);
  second = run->now;
  frames = run->now_frames;
  run->now = (PirlSecond) { 0 };
  run->now_frames = 0;
  second.night = run->film && pirl_scenes_is_night (run->film, run->frames_out);
  g_mutex_unlock (&run->lock);
  if (frames == 0)
    return;
  second.quality /= frames;
  second.retrain /= frames;
  second.bytes = (gdouble) (bytes - run->bytes) / frames;
  second.reference_bytes = (gdouble) (whole - run->reference_bytes) / frames;
  run->bytes = bytes;
  run->reference_bytes = whole;
  second.agreement = share (s, "agreement");
  second.agreement_low = share (s, "agreement-low");
  second.agreement_high = share (s, "agreement-high");
  g_array_append_val (run->seconds, second);
  show_status (run, &second, s);
}

static gboolean
on_second (gpointer data)
{
  Run *run = data;
  GstStructure *s = NULL;

  g_object_get (run->encoder, "stats", &s, NULL);
  if (s) {
    end_second (run, s);
    gst_structure_free (s);
  }
  return G_SOURCE_CONTINUE;
}

/* ---- the bus ------------------------------------------------------------------------------- */

static void
on_state (const GstStructure *s)
{
  g_print ("%s  %s -> %s: %s\n", isatty (STDOUT_FILENO) ? "\r\033[K" : "",
      gst_structure_get_string (s, "previous"), gst_structure_get_string (s, "state"),
      gst_structure_get_string (s, "reason"));
}

/* Changes between inference and estimate are what the agent does all the time: not shown. */
static gboolean
worth_showing (const GstStructure *s)
{
  return !g_strcmp0 (gst_structure_get_string (s, "state"), "retrain")
      || !g_strcmp0 (gst_structure_get_string (s, "previous"), "retrain");
}

static gboolean
on_bus (GstBus *bus, GstMessage *message, gpointer data)
{
  Run *run = data;
  const GstStructure *s = gst_message_get_structure (message);
  g_autoptr (GError) error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ELEMENT:
      if (gst_message_has_name (message, "adacompress-state") && worth_showing (s))
        on_state (s);
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, NULL);
      g_printerr ("\n  warning: %s\n", error->message);
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("\n%s\n", error->message);
      if (g_error_matches (error, GST_CORE_ERROR, GST_CORE_ERROR_MISSING_PLUGIN))
        g_printerr ("H.264 and most other clips need FFmpeg's decoders: "
            "apt-get install gstreamer1.0-libav\n");
      run->failed = TRUE;
      g_main_loop_quit (run->loop);
      break;
    case GST_MESSAGE_EOS:
      g_main_loop_quit (run->loop);
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

static gboolean
on_interrupt (gpointer data)
{
  Run *run = data;

  run->interrupted = TRUE;
  g_main_loop_quit (run->loop);
  return G_SOURCE_CONTINUE;
}

/* A camera never ends by itself. */
static gboolean
on_time (gpointer data)
{
  Run *run = data;

  gst_element_send_event (run->pipeline, gst_event_new_eos ());
  return G_SOURCE_REMOVE;
}

/* ---- inputs -------------------------------------------------------------------------------- */

static void
on_need_frame (GstAppSrc *src, guint length, gpointer data)
{
  Run *run = data;
  static guint64 frame;         /* one film a process */
  PirlImage image = { 0 };
  GstBuffer *buffer;

  if (frame >= (guint64) opt.seconds * FILM_RATE) {
    gst_app_src_end_of_stream (src);
    return;
  }
  pirl_scenes_draw (run->film, frame, &image);
  buffer = gst_buffer_new_memdup (image.data, (gsize) image.height * image.stride);
  pirl_image_clear (&image);
  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale (frame, GST_SECOND, FILM_RATE);
  GST_BUFFER_DURATION (buffer) = GST_SECOND / FILM_RATE;
  frame++;
  gst_app_src_push_buffer (src, buffer);
}

static void
start_film (Run *run)
{
  const PirlScenesConfig config = { FILM_WIDTH, FILM_HEIGHT, 45,
    (guint64) opt.seconds * FILM_RATE, 1 };
  GstAppSrcCallbacks callbacks = { .need_data = on_need_frame };
  GstElement *src = gst_bin_get_by_name (GST_BIN (run->pipeline), "film");

  run->film = pirl_scenes_new (&config);
  gst_app_src_set_callbacks (GST_APP_SRC (src), &callbacks, run, NULL);
  gst_object_unref (src);
}

/* The front of the pipeline, up to raw video. */
static gchar *
describe_input (gboolean *film)
{
  g_autofree gchar *uri = NULL;

  *film = FALSE;
  if (!opt.input && g_file_test (CAMERA, G_FILE_TEST_EXISTS))
    return g_strdup ("v4l2src device=" CAMERA " ! videoconvert ! queue leaky=downstream "
        "max-size-buffers=2");
  if (!opt.input || !strcmp (opt.input, "film")) {
    *film = TRUE;
    return g_strdup_printf ("appsrc name=film format=time max-buffers=4 caps=video/x-raw,"
        "format=RGB,width=%d,height=%d,framerate=%d/1 ! queue max-size-buffers=4",
        FILM_WIDTH, FILM_HEIGHT, FILM_RATE);
  }
  if (g_file_test (opt.input, G_FILE_TEST_IS_DIR) || g_str_has_prefix (opt.input, "synthetic:"))
    return g_strdup_printf ("pirldatasetsrc location=\"%s\" shuffle=false framerate=10/1", opt.input);
  uri = g_strstr_len (opt.input, -1, "://") ? g_strdup (opt.input)
      : gst_filename_to_uri (opt.input, NULL);
  return g_strdup_printf ("uridecodebin uri=\"%s\" ! videoconvert ! queue", uri);
}

static gboolean
build (Run *run, GError **error)
{
  gboolean film;
  g_autofree gchar *front = describe_input (&film);
  g_autofree gchar *line = g_strdup_printf ("%s ! adacompressenc name=encoder ! "
      "fakesink name=sink sync=%s", front, opt.as_fast ? "false" : "true");
  GstPad *sink, *src;

  run->pipeline = gst_parse_launch (line, error);
  if (!run->pipeline)
    return FALSE;
  run->encoder = gst_bin_get_by_name (GST_BIN (run->pipeline), "encoder");
  g_object_set (run->encoder, "cloud", opt.cloud, "agent-file", opt.agent,
      "target-agreement", opt.target, NULL);
  if (opt.extractor)
    g_object_set (run->encoder, "extractor", opt.extractor, NULL);
  gst_util_set_object_arg (G_OBJECT (run->encoder), "agreement", opt.agreement);
  sink = gst_element_get_static_pad (run->encoder, "sink");
  src = gst_element_get_static_pad (run->encoder, "src");
  gst_pad_add_probe (sink, GST_PAD_PROBE_TYPE_BUFFER, on_raw, run, NULL);
  gst_pad_add_probe (src, GST_PAD_PROBE_TYPE_BUFFER, on_jpeg, run, NULL);
  gst_object_unref (sink);
  gst_object_unref (src);
  if (film)
    start_film (run);
  g_print ("%s ! adacompressenc cloud=%s agreement=%s agent-file=%s ! ...\n", front, opt.cloud,
      opt.agreement, opt.agent);
  return TRUE;
}

static void
play (Run *run)
{
  GstBus *bus = gst_element_get_bus (run->pipeline);
  const guint watch = gst_bus_add_watch (bus, on_bus, run);
  const guint signal = g_unix_signal_add (SIGINT, on_interrupt, run);
  const guint second = g_timeout_add (1000, on_second, run);
  const gboolean camera = !opt.input && !run->film;

  if (camera)
    g_timeout_add_seconds (opt.seconds, on_time, run);
  gst_element_set_state (run->pipeline, GST_STATE_PLAYING);
  g_main_loop_run (run->loop);
  on_second (run);
  g_source_remove (second);
  g_source_remove (signal);
  g_source_remove (watch);
  gst_object_unref (bus);
  g_print ("\n");
}

/* ---- afterwards ---------------------------------------------------------------------------- */

static gboolean
judge_frame (PirlComparison *comparison, const Kept *k, GError **error)
{
  g_autoptr (GstCaps) rgb = gst_caps_from_string ("video/x-raw,format=RGB");
  g_autoptr (GstSample) sample = gst_video_convert_sample (k->raw, rgb, 10 * GST_SECOND, error);
  GstVideoInfo info;
  GstVideoFrame frame;
  PirlImage image;
  gboolean ok;

  if (!sample)
    return FALSE;
  gst_video_info_from_caps (&info, gst_sample_get_caps (sample));
  if (!gst_video_frame_map (&frame, &info, gst_sample_get_buffer (sample), GST_MAP_READ)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot map a converted frame");
    return FALSE;
  }
  image = (PirlImage) { GST_VIDEO_FRAME_WIDTH (&frame), GST_VIDEO_FRAME_HEIGHT (&frame),
    GST_VIDEO_FRAME_PLANE_STRIDE (&frame, 0), GST_VIDEO_FRAME_PLANE_DATA (&frame, 0) };
  ok = pirl_comparison_add (comparison, &image, k->name, k->quality, error);
  gst_video_frame_unmap (&frame);
  return ok;
}

static void
print_row (const gchar *name, PirlOutcome o)
{
  g_print ("  %-24s %5.1f %%  (%5.1f .. %5.1f)   %5.1f %%   %5.1f\n", name, 100 * o.agreement,
      100 * o.low, 100 * o.high, 100 * o.size, o.quality);
}

static void
print_table (const PirlComparison *c, const gint *qualities, guint n)
{
  const PirlOutcome chosen = pirl_comparison_chosen (c);
  const guint best = pirl_comparison_best_fixed (c, MIN (chosen.agreement, opt.target));
  g_autofree gchar *fixed = g_strdup_printf ("best fixed quality, %d", qualities[best]);

  g_print ("\n%u frames of the stream, each asked about at every quality:\n"
      "  %-24s agreement (95 %%)           bytes     quality\n", chosen.frames, "");
  print_row ("adacompressenc", chosen);
  print_row (fixed, pirl_comparison_fixed (c, best));
  print_row ("fixed quality 75", pirl_comparison_fixed (c, n - 1));
  print_row ("oracle of each frame", pirl_comparison_oracle (c));
  g_print ("(bytes: of the reference's, quality 75 with standard Huffman tables. The best fixed "
      "quality and the oracle\n are known only afterwards.)\n");
}

static gboolean
judge (Run *run, GError **error)
{
  const gint qualities[] = { 5, 7, 9, 11, 13, 15, 18, 21, 25, 30, 35, 45, 55, 65, 75 };
  const guint n = G_N_ELEMENTS (qualities);
  g_autoptr (AdaCloud) cloud = NULL;
  PirlComparison *comparison;
  AdaAgreement agreement;
  gboolean ok = TRUE;

  if (!g_str_has_prefix (opt.cloud, "local:") || run->kept->len == 0)
    return TRUE;
  cloud = ada_cloud_new (opt.cloud, "auto", 0, error);
  if (!cloud)
    return FALSE;
  /* Of the element, so that the name is read in one place only. */
  g_object_get (run->encoder, "agreement", &agreement, NULL);
  comparison = pirl_comparison_new (cloud, agreement, PIRL_HUFFMAN_TUNED, qualities, n);
  for (guint i = 0; ok && i < run->kept->len; i++) {
    const Kept *k = &g_array_index (run->kept, Kept, i);
    if (isatty (STDOUT_FILENO))
      g_print ("\r  judging frame %u of %u", i + 1, run->kept->len);
    ok = k->quality < 0 || judge_frame (comparison, k, error);
  }
  if (ok)
    print_table (comparison, qualities, n);
  pirl_comparison_free (comparison);
  return ok;
}

static gboolean
finish (Run *run, GError **error)
{
  g_autofree gchar *plot = g_build_filename (opt.out, "compress.png", NULL);

  if (run->seconds->len == 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "no frame came out of the pipeline");
    return FALSE;
  }
  if (!pirl_plot_compress (plot, (const PirlSecond *) (void *) run->seconds->data,
          run->seconds->len, run->counts, opt.target, error) || !judge (run, error))
    return FALSE;
  g_print ("\n  %s   quality, bytes and agreement over time\n"
      "  %s   the agent; the next run starts with it\n", plot, opt.agent);
  return TRUE;
}

/* As adacompressenc finds them. */
static const gchar *
models_folder (void)
{
  const gchar *folder = g_getenv ("GST_PIRL_MODELS");

  if (folder)
    return folder;
  return g_file_test (PIRL_SOURCE_MODELS, G_FILE_TEST_IS_DIR) ? PIRL_SOURCE_MODELS
      : PIRL_INSTALLED_MODELS;
}

/* ---- start ----------------------------------------------------------------------------------- */

static gboolean
parse_options (int *argc, char ***argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("[INPUT]");
  g_autoptr (GError) error = NULL;

  g_option_context_set_summary (context, "Compresses a stream for a vision service. INPUT: a clip, "
      "an address, a folder of pictures,\nor \"film\" for drawn scenes with a night in the middle. "
      "Without INPUT: the camera, if there is one, else the film.");
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, argc, argv, &error) || *argc > 2) {
    g_printerr ("%s (--help lists the options)\n", error ? error->message : "too many arguments");
    return FALSE;
  }
  opt.input = *argc == 2 ? (*argv)[1] : NULL;
  if (opt.seconds < 1 || opt.judge < 0) {
    g_printerr ("--seconds must be at least 1, --judge at least 0\n");
    return FALSE;
  }
  opt.shipped = !opt.cloud && !opt.extractor;
  if (!opt.agreement)
    opt.agreement = (gchar *) (opt.cloud ? "top1-in-top5" : "top1");
  if (!opt.cloud)
    opt.cloud = g_strdup_printf ("local:%s/classifier-synthetic.safetensors", models_folder ());
  if (!opt.agent)
    opt.agent = g_build_filename (opt.out, "agent.safetensors", NULL);
  return TRUE;
}

/* The agent that ships knows the classifier that ships: the first run need not start from nothing. */
static void
start_with_shipped_agent (void)
{
  g_autofree gchar *shipped = g_build_filename (models_folder (), "agent.safetensors", NULL);
  g_autofree gchar *data = NULL;
  gsize size;

  if (!g_file_test (opt.agent, G_FILE_TEST_EXISTS) && g_file_get_contents (shipped, &data, &size, NULL))
    g_file_set_contents (opt.agent, data, size, NULL);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Run run = { .stride = 1 };

  if (!parse_options (&argc, &argv))
    return 2;
  if (g_mkdir_with_parents (opt.out, 0777) != 0) {
    g_printerr ("cannot make the folder %s\n", opt.out);
    return 1;
  }
  if (opt.shipped && !opt.untrained)
    start_with_shipped_agent ();
  g_mutex_init (&run.lock);
  run.loop = g_main_loop_new (NULL, FALSE);
  run.kept = g_array_new (FALSE, FALSE, sizeof (Kept));
  g_array_set_clear_func (run.kept, kept_clear);
  run.seconds = g_array_new (FALSE, FALSE, sizeof (PirlSecond));

  if (build (&run, &error)) {
    play (&run);
    gst_element_set_state (run.pipeline, GST_STATE_NULL);
    run.failed = run.failed || !finish (&run, &error);
  }
  if (error)
    g_printerr ("%s\n", error->message);
  run.failed = run.failed || error;
  gst_clear_object (&run.encoder);
  gst_clear_object (&run.pipeline);
  pirl_scenes_free (run.film);
  g_array_unref (run.kept);
  g_array_unref (run.seconds);
  g_main_loop_unref (run.loop);
  g_mutex_clear (&run.lock);
  return run.failed ? 1 : 0;
}
