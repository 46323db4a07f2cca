/* gst-pirl: adacompressenc against jpegenc, in one process, run after run in turn.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   adacompressenc-bench speed [FORMAT QUALITY]
 *                                         1080p, full-range BT.601: time, bytes, luma PSNR
 *   adacompressenc-bench colours          other formats: bytes, and how far the decoded colours are off
 *   adacompressenc-bench live CLOUD [SECONDS [SETTINGS]]
 *                                         1080p30 from a live source: time a frame, with the agent
 *   adacompressenc-bench agent CLOUD [SECONDS]
 *                                         the same: how many encodes' time a frame costs with the agent,
 *                                         while it learns and afterwards
 *
 * Pictures: mosaics of the Kodak pictures in PIRL_TEST_DATA. Prints JSON. Times are CPU times of the
 * encoding thread (speed); live, both times between the encoder's pads: the wall's says what a frame
 * met on this machine, with whatever else was running, the CPU's what it cost. agent: the process's
 * CPU time, looking and asking beside the stream included, less that of the source alone, from the second
 * second on: models are loaded in the first. There the live frames are the mosaics, too. Agents of the runs
 * that count begin with what one that began with nothing has learnt of the same cloud; that one's cost is
 * told as well.
 */
#include <glib/gstdio.h>
#include <gst/check/gstharness.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "vision/image.h"

#define WIDTH 1920
#define HEIGHT 1080
#define FRAMES 8
#define RUNS 5
#define REPEATS 3
#define FRAME_MS (1000.0 / 30)
#define AGENT_UNTIMED 30        /* frames */
#define AGENT_PATIENCE 60       /* seconds until an agent must have learnt */

/* ---- pictures ----------------------------------------------------------------------------- */

static PirlImage kodak[8];
static guint n_kodak;

static gboolean
load_kodak (void)
{
  g_autofree gchar *path = g_build_filename (g_getenv ("PIRL_TEST_DATA"), "kodak", NULL);
  GDir *dir = g_dir_open (path, 0, NULL);
  const gchar *name;

  while (dir != NULL && (name = g_dir_read_name (dir)) != NULL && n_kodak < 8) {
    g_autofree gchar *file = g_build_filename (path, name, NULL);

    n_kodak += pirl_image_load (file, &kodak[n_kodak], NULL, NULL);
  }
  g_clear_pointer (&dir, g_dir_close);
  return n_kodak > 0;
}

/* Pictures side by side, others in every frame. */
static void
mosaic (guint frame, gint width, gint height, PirlImage * to)
{
  pirl_image_init (to, width, height);
  for (gint y = 0; y < height; y++) {
    for (gint x = 0; x < width; x++) {
      const PirlImage *from = &kodak[(frame + x / 512 + 3 * (y / 512)) % n_kodak];

      memcpy (to->data + y * to->stride + 3 * x, from->data
          + (y % 512) % from->height * from->stride + 3 * ((x % 512 + 9 * frame) % from->width), 3);
    }
  }
}

static gdouble
component (const guint8 * rgb, guint c, gboolean is_rgb, gdouble kr, gdouble kb, gboolean full)
{
  gdouble y = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2];
  gdouble scale = full ? 1 : (c == 0 || is_rgb ? 219 : 224) / 255.;

  if (is_rgb)
    return rgb[c];
  if (c == 0)
    return (full ? 0 : 16) + scale * y;
  return 128 + scale * (c == 1 ? (rgb[2] - y) / (2 * (1 - kb)) : (rgb[0] - y) / (2 * (1 - kr)));
}

/* The exact values, averaged over the pixels of each sample. */
static GstBuffer *
to_frame (const PirlImage * image, const GstVideoInfo * info)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, info->size, NULL);
  gboolean full = info->colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255;
  gdouble kr = .299, kb = .114;
  GstVideoFrame frame;

  gst_buffer_memset (buffer, 0, 0, -1);
  gst_video_color_matrix_get_Kr_Kb (info->colorimetry.matrix, &kr, &kb);
  gst_video_frame_map (&frame, info, buffer, GST_MAP_WRITE);
  for (guint c = 0; c < GST_VIDEO_FRAME_N_COMPONENTS (&frame); c++) {
    gint sx = 1 << info->finfo->w_sub[c], sy = 1 << info->finfo->h_sub[c];

    for (gint y = 0; y < image->height; y += sy) {
      for (gint x = 0; x < image->width; x += sx) {
        gdouble sum = 0;

        for (gint k = 0; k < sx * sy; k++)
          sum += component (image->data + MIN (y + k / sx, image->height - 1) * image->stride
              + 3 * MIN (x + k % sx, image->width - 1), c, GST_VIDEO_INFO_IS_RGB (info), kr, kb,
              full);
        GST_VIDEO_FRAME_COMP_DATA (&frame, c)[y / sy * GST_VIDEO_FRAME_COMP_STRIDE (&frame, c)
            + x / sx * GST_VIDEO_FRAME_COMP_PSTRIDE (&frame, c)] =
            (guint8) CLAMP (sum / (sx * sy) + .5, 0, 255);
      }
    }
  }
  gst_video_frame_unmap (&frame);
  return buffer;
}

/* ---- encoders ----------------------------------------------------------------------------- */

static GstHarness *
encoder_new (const gchar * line, GstCaps * caps)
{
  GstHarness *h = gst_harness_new_parse (line);

  gst_harness_set_src_caps (h, gst_caps_ref (caps));
  return h;
}

static GstBuffer *
encode (GstHarness * h, GstBuffer * frame)
{
  gst_harness_push (h, gst_buffer_ref (frame));
  return gst_harness_pull (h);
}

static gdouble
seconds_of (clockid_t clock)
{
  struct timespec now;

  clock_gettime (clock, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

static gdouble
cpu_seconds (void)
{
  return seconds_of (CLOCK_THREAD_CPUTIME_ID);
}

static gint
compare (gconstpointer a, gconstpointer b)
{
  gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

static gdouble
quantile (gdouble * values, guint n, gdouble q)
{
  qsort (values, n, sizeof (gdouble), compare);
  return values[MIN ((guint) (q * n), n - 1)];
}

/* ---- speed -------------------------------------------------------------------------------- */

/* Squared error of the luma that jpegdec shows. */
static gdouble
luma_error (GstHarness * decoder, GstBuffer * jpeg, GstBuffer * frame)
{
  GstBuffer *decoded;
  GstMapInfo a, b;
  gdouble sum = 0;

  gst_harness_push (decoder, gst_buffer_ref (jpeg));
  decoded = gst_harness_pull (decoder);
  gst_buffer_map (decoded, &a, GST_MAP_READ);
  gst_buffer_map (frame, &b, GST_MAP_READ);
  /* Y is first in I420 and in NV12, and rows of 1920 have no gaps. */
  for (gsize i = 0; i < WIDTH * HEIGHT; i++)
    sum += (a.data[i] - b.data[i]) * (a.data[i] - b.data[i]);
  gst_buffer_unmap (decoded, &a);
  gst_buffer_unmap (frame, &b);
  gst_buffer_unref (decoded);
  return sum / (WIDTH * HEIGHT);
}

typedef struct {
  gdouble seconds[RUNS], bytes, error;
} Score;

static void
speed_of (const gchar * format, gint quality, gboolean first)
{
  static const gchar *const lines[] = { "jpegenc quality=%d",
    "adacompressenc policy=fixed huffman=standard quality=%d",
    "adacompressenc policy=fixed huffman=tuned quality=%d"
  };
  static const gchar *const names[] = { "jpegenc", "standard", "tuned" };
  g_autofree gchar *text = g_strdup_printf ("video/x-raw,format=%s,width=%d,height=%d,"
      "framerate=30/1,colorimetry=1:4:0:0", format, WIDTH, HEIGHT);
  g_autoptr (GstCaps) caps = gst_caps_from_string (text);
  GstHarness *h[G_N_ELEMENTS (lines)], *decoder = gst_harness_new_parse ("jpegdec idct-method=islow");
  Score score[G_N_ELEMENTS (lines)] = { 0 };
  GstBuffer *frames[FRAMES];
  GstVideoInfo info;

  gst_video_info_from_caps (&info, caps);
  gst_harness_set_src_caps_str (decoder, "image/jpeg,width=1920,height=1080,framerate=30/1");
  for (guint i = 0; i < FRAMES; i++) {
    PirlImage image;

    mosaic (i, WIDTH, HEIGHT, &image);
    frames[i] = to_frame (&image, &info);
    pirl_image_clear (&image);
  }
  for (guint e = 0; e < G_N_ELEMENTS (lines); e++) {
    g_autofree gchar *line = g_strdup_printf (lines[e], quality);

    h[e] = encoder_new (line, caps);
    for (guint i = 0; i < FRAMES; i++) {
      GstBuffer *jpeg = encode (h[e], frames[i]);

      score[e].bytes += (gdouble) gst_buffer_get_size (jpeg) / FRAMES;
      score[e].error += luma_error (decoder, jpeg, frames[i]) / FRAMES;
      gst_buffer_unref (jpeg);
    }
  }
  for (guint r = 0; r < RUNS; r++) {
    for (guint e = 0; e < G_N_ELEMENTS (lines); e++) {
      gdouble begin = cpu_seconds ();

      for (guint i = 0; i < REPEATS * FRAMES; i++)
        gst_buffer_unref (encode (h[e], frames[i % FRAMES]));
      score[e].seconds[r] = (cpu_seconds () - begin) / (REPEATS * FRAMES);
    }
  }
  for (guint e = 0; e < G_N_ELEMENTS (lines); e++) {
    gdouble ratio[RUNS];

    for (guint r = 0; r < RUNS; r++)
      ratio[r] = score[0].seconds[r] / score[e].seconds[r];
    g_print ("%s  {\"format\": \"%s\", \"quality\": %d, \"encoder\": \"%s\", \"ms\": %.3f, "
        "\"speed_over_jpegenc\": %.3f, \"bytes\": %.0f, \"bytes_over_jpegenc\": %.4f, "
        "\"luma_psnr\": %.3f}", first && e == 0 ? "" : ",\n", format, quality, names[e],
        1e3 * quantile (score[e].seconds, RUNS, .5), quantile (ratio, RUNS, .5), score[e].bytes,
        score[e].bytes / score[0].bytes, 10 * log10 (255 * 255 / score[e].error));
    gst_harness_teardown (h[e]);
  }
  for (guint i = 0; i < FRAMES; i++)
    gst_buffer_unref (frames[i]);
  gst_harness_teardown (decoder);
}

static void
speed (const gchar * format, gint quality)
{
  static const gint qualities[] = { 25, 50, 75, 85, 95 };
  static const gchar *const formats[] = { "I420", "NV12" };

  g_print ("[\n");
  if (format != NULL)
    speed_of (format, quality, TRUE);
  for (guint f = 0; format == NULL && f < G_N_ELEMENTS (formats); f++) {
    for (guint q = 0; q < G_N_ELEMENTS (qualities); q++)
      speed_of (formats[f], qualities[q], f == 0 && q == 0);
  }
  g_print ("\n]\n");
}

/* ---- colours ------------------------------------------------------------------------------ */

/* Mean absolute error of what a reader of JFIF files sees. */
static gdouble
colour_error (GstBuffer * jpeg, const PirlImage * truth)
{
  PirlImage seen = { 0 };
  gdouble sum = 0;
  GstMapInfo map;

  gst_buffer_map (jpeg, &map, GST_MAP_READ);
  if (!pirl_image_decode (map.data, map.size, 0, FALSE, &seen, NULL, NULL))
    g_error ("a JPEG cannot be decoded");
  gst_buffer_unmap (jpeg, &map);
  for (gint y = 0; y < truth->height; y++) {
    for (gint x = 0; x < 3 * truth->width; x++)
      sum += ABS (seen.data[y * seen.stride + x] - truth->data[y * truth->stride + x]);
  }
  pirl_image_clear (&seen);
  return sum / (3. * truth->width * truth->height);
}

static void
colours (void)
{
  static const gchar *const cases[][2] = {
    {"I420", "1:4:0:0"}, {"I420", "bt601"}, {"I420", "bt709"}, {"I420", "2:6:0:0"},
    {"NV12", "bt709"}, {"YUY2", "bt601"}, {"Y42B", "bt709"}, {"Y41B", "bt601"},
    {"Y444", "1:4:0:0"}, {"Y444", "bt709"}, {"RGB", "sRGB"}, {"BGRx", "sRGB"}
  };
  static const gchar *const lines[] = { "jpegenc quality=75",
    "adacompressenc policy=fixed quality=75 huffman=standard"
  };

  g_print ("[\n");
  for (guint k = 0; k < G_N_ELEMENTS (cases); k++) {
    g_autofree gchar *text = g_strdup_printf ("video/x-raw,format=%s,width=1024,height=512,"
        "framerate=30/1,colorimetry=%s", cases[k][0], cases[k][1]);
    g_autoptr (GstCaps) caps = gst_caps_from_string (text);
    gdouble bytes[2] = { 0 }, error[2] = { 0 };
    GstVideoInfo info;

    gst_video_info_from_caps (&info, caps);
    for (guint e = 0; e < 2; e++) {
      GstHarness *h = encoder_new (lines[e], caps);

      for (guint i = 0; i < 4; i++) {
        GstBuffer *frame, *jpeg;
        PirlImage image;

        mosaic (2 * i, 1024, 512, &image);
        frame = to_frame (&image, &info);
        jpeg = encode (h, frame);
        bytes[e] += gst_buffer_get_size (jpeg) / 4.;
        error[e] += colour_error (jpeg, &image) / 4;
        gst_buffer_unref (jpeg);
        gst_buffer_unref (frame);
        pirl_image_clear (&image);
      }
      gst_harness_teardown (h);
    }
    g_print ("%s  {\"format\": \"%s\", \"colorimetry\": \"%s\", \"jpegenc_bytes\": %.0f, "
        "\"bytes\": %.0f, \"jpegenc_colour_error\": %.2f, \"colour_error\": %.2f}",
        k ? ",\n" : "", cases[k][0], cases[k][1], bytes[0], bytes[1], error[0], error[1]);
  }
  g_print ("\n]\n");
}

/* ---- live --------------------------------------------------------------------------------- */

enum { WALL, CPU, N_CLOCKS };

typedef struct {
  gdouble began[N_CLOCKS];      /* ms */
  GArray *ms[N_CLOCKS];         /* of each frame */
  guint entered;
  gdouble process[2];           /* the process's CPU seconds: frame AGENT_UNTIMED came, the last left */
  GstBuffer *const *pictures;   /* FRAMES that replace the source's; NULL = none do */
  gboolean until_learnt;        /* the first frame that an agent decided alone ends the run */
  guint64 qualities;            /* of timed frames that an agent decided, added up */
  guint deciding, learning;     /* so many are these, and the others */
} Clock;

static void
read_clocks (gdouble * now)
{
  now[WALL] = g_get_monotonic_time () / 1000.;
  now[CPU] = 1000 * cpu_seconds ();
}

static GstPadProbeReturn
enters (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  Clock *clock = data;

  if (clock->entered++ == AGENT_UNTIMED)
    clock->process[0] = seconds_of (CLOCK_PROCESS_CPUTIME_ID);
  read_clocks (clock->began);
  return GST_PAD_PROBE_OK;
}

/* Another picture with the same timestamps. */
static GstPadProbeReturn
replace_picture (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  const Clock *clock = data;
  GstBuffer *from = GST_PAD_PROBE_INFO_BUFFER (info);
  GstBuffer *to = gst_buffer_copy (clock->pictures[GST_BUFFER_OFFSET (from) % FRAMES]);

  gst_buffer_copy_into (to, from, GST_BUFFER_COPY_FLAGS | GST_BUFFER_COPY_TIMESTAMPS, 0, -1);
  gst_buffer_unref (from);
  GST_PAD_PROBE_INFO_DATA (info) = to;
  return GST_PAD_PROBE_OK;
}

/* What the agent says of a frame. */
static void
note_decision (Clock * clock, GstPad * pad, GstBuffer * buffer)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "adacompress");
  GstStructure *decision = meta != NULL ? gst_custom_meta_get_structure (meta) : NULL;
  gint quality = 0;

  if (decision == NULL || clock->entered <= AGENT_UNTIMED)
    return;
  gst_structure_get_int (decision, "quality", &quality);
  if (g_strcmp0 (gst_structure_get_string (decision, "state"), "retrain") == 0) {
    clock->learning++;
    return;
  }
  clock->deciding++;
  clock->qualities += quality;
  if (clock->until_learnt && clock->deciding == 1) {
    GstElement *enc = gst_pad_get_parent_element (pad);

    gst_element_post_message (enc, gst_message_new_application (GST_OBJECT (enc),
            gst_structure_new_empty ("learnt")));
    gst_object_unref (enc);
  }
}

static GstPadProbeReturn
leaves (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  Clock *clock = data;
  gdouble now[N_CLOCKS];

  note_decision (clock, pad, GST_PAD_PROBE_INFO_BUFFER (info));
  read_clocks (now);
  for (guint k = 0; k < N_CLOCKS; k++) {
    now[k] -= clock->began[k];
    g_array_append_val (clock->ms[k], now[k]);
  }
  clock->process[1] = seconds_of (CLOCK_PROCESS_CPUTIME_ID);
  return GST_PAD_PROBE_OK;
}

static void
add_probe (GstElement * enc, const gchar * name, GstPadProbeCallback callback, Clock * clock)
{
  GstPad *pad = gst_element_get_static_pad (enc, name);

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, callback, clock, NULL);
  gst_object_unref (pad);
}

/* Fills @clock, whose pictures are set; @stats: the element's, left alone where it has none. */
static void
live_run (const gchar * encoder, guint seconds, Clock * clock, GstStructure ** stats)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc is-live=true pattern=smpte "
      "horizontal-speed=7 num-buffers=%u ! video/x-raw,format=I420,width=%d,height=%d,"
      "framerate=30/1,colorimetry=1:4:0:0 ! %s name=e ! fakesink sync=false", 30 * seconds, WIDTH,
      HEIGHT, encoder);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error), *enc;
  GstMessage *message;
  GstBus *bus;

  if (pipeline == NULL)
    g_error ("%s: %s", line, error->message);
  for (guint k = 0; k < N_CLOCKS; k++)
    clock->ms[k] = g_array_new (FALSE, FALSE, sizeof (gdouble));
  enc = gst_bin_get_by_name (GST_BIN (pipeline), "e");
  if (clock->pictures != NULL)
    add_probe (enc, "sink", replace_picture, clock);
  add_probe (enc, "sink", enters, clock);
  add_probe (enc, "src", leaves, clock);
  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_APPLICATION);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    g_error ("%s: %s", line, error->message);
  }
  gst_message_unref (message);
  if (stats != NULL)
    g_object_get (enc, "stats", stats, NULL);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (enc);
  gst_object_unref (pipeline);
}

static guint
count_late (const GArray * ms)
{
  guint late = 0;

  for (guint i = 0; i < ms->len; i++)
    late += g_array_index (ms, gdouble, i) > FRAME_MS;
  return late;
}

/* Of one encoder, a number a run. */
typedef struct {
  gdouble p50[N_CLOCKS][RUNS], p99[N_CLOCKS][RUNS], worst;
  guint frames, late;
} Live;

static void
live_add (Live * sum, guint run, Clock * clock)
{
  sum->late += count_late (clock->ms[WALL]);
  sum->frames += clock->ms[WALL]->len;
  for (guint k = 0; k < N_CLOCKS; k++) {
    gdouble *ms = (gdouble *) clock->ms[k]->data;
    guint n = clock->ms[k]->len;

    sum->p50[k][run] = quantile (ms, n, .5);
    sum->p99[k][run] = quantile (ms, n, .99);
    if (k == WALL)
      sum->worst = MAX (sum->worst, quantile (ms, n, 1));
    g_array_unref (clock->ms[k]);
  }
}

/* The median over the runs of what @a has more than @b (NULL: of @a). */
static gdouble
median_more (const gdouble * a, const gdouble * b)
{
  gdouble more[RUNS];

  for (guint r = 0; r < RUNS; r++)
    more[r] = a[r] - (b ? b[r] : 0);
  return quantile (more, RUNS, .5);
}

static void
print_stats (const GstStructure * stats)
{
  static const gchar *const names[] = { "estimates", "cloud-requests", "cloud-errors",
    "cloud-timeouts"
  };

  g_print (", \"last_run\": {\"state\": \"%s\"", gst_structure_get_string (stats, "state"));
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    guint64 value = 0;

    gst_structure_get_uint64 (stats, names[i], &value);
    g_print (", \"%s\": %" G_GUINT64_FORMAT, names[i], value);
  }
  g_print ("}");
}

static void
live (const gchar * cloud, guint seconds, const gchar * settings)
{
  static const gchar *const clocks[] = { "wall", "cpu" };
  g_autofree gchar *line = g_strdup_printf ("adacompressenc cloud=\"%s\" %s", cloud, settings);
  GstStructure *stats = NULL;
  Live peer = { 0 }, ours = { 0 };

  for (guint r = 0; r < RUNS; r++) {
    Clock clock = { 0 };

    live_run ("jpegenc quality=75", seconds, &clock, NULL);
    live_add (&peer, r, &clock);
    clock = (Clock) { 0 };
    g_clear_pointer (&stats, gst_structure_free);
    live_run (line, seconds, &clock, &stats);
    live_add (&ours, r, &clock);
  }
  g_print ("{\"sent\": %u, \"frames\": %u, \"late\": %u, \"worst_ms\": %.2f, "
      "\"jpegenc_late\": %u, \"jpegenc_worst_ms\": %.2f", RUNS * 30 * seconds, ours.frames,
      ours.late, ours.worst, peer.late, peer.worst);
  for (guint k = 0; k < N_CLOCKS; k++)
    g_print (", \"%s\": {\"p50_ms\": %.2f, \"p99_ms\": %.2f, \"jpegenc_p50_ms\": %.2f, "
        "\"jpegenc_p99_ms\": %.2f, \"added_p50_ms\": %.2f, \"added_p99_ms\": %.2f}", clocks[k],
        median_more (ours.p50[k], NULL), median_more (ours.p99[k], NULL),
        median_more (peer.p50[k], NULL), median_more (peer.p99[k], NULL),
        median_more (ours.p50[k], peer.p50[k]), median_more (ours.p99[k], peer.p99[k]));
  print_stats (stats);
  g_print ("}\n");
  gst_structure_free (stats);
}

/* ---- agent -------------------------------------------------------------------------------- */

/* Milliseconds of the process's CPU time a frame; fills @clock, whose settings are set. */
static gdouble
process_ms (const gchar * encoder, guint seconds, Clock * clock)
{
  live_run (encoder, seconds + AGENT_UNTIMED / 30, clock, NULL);
  for (guint k = 0; k < N_CLOCKS; k++)
    g_array_unref (clock->ms[k]);
  return 1e3 * (clock->process[1] - clock->process[0]) / MAX (clock->entered - AGENT_UNTIMED, 1);
}

static void
make_mosaics (GstBuffer ** pictures)
{
  GstVideoInfo info;

  gst_video_info_set_format (&info, GST_VIDEO_FORMAT_I420, WIDTH, HEIGHT);
  gst_video_colorimetry_from_string (&info.colorimetry, "1:4:0:0");
  for (guint i = 0; i < FRAMES; i++) {
    PirlImage image;

    mosaic (i, WIDTH, HEIGHT, &image);
    pictures[i] = to_frame (&image, &info);
    pirl_image_clear (&image);
  }
}

/* Of one agent that begins with nothing, left in the file that @line names. */
static gdouble
learn (const gchar * line, Clock * clock)
{
  gdouble ms;

  clock->until_learnt = TRUE;
  ms = process_ms (line, AGENT_PATIENCE, clock);
  if (clock->deciding == 0)
    g_error ("the agent did not learn within %d s", AGENT_PATIENCE);
  return ms;
}

static void
agent (const gchar * cloud, guint seconds)
{
  g_autofree gchar *folder = g_dir_make_tmp ("adacompressenc-bench-XXXXXX", NULL);
  g_autofree gchar *file = g_build_filename (folder, "agent.safetensors", NULL);
  g_autofree gchar *line = g_strdup_printf ("adacompressenc cloud=\"%s\" agent-file=\"%s\"", cloud,
      file);
  gdouble fixed[RUNS], with[RUNS], encodes[RUNS], source = 0, learning;
  GstBuffer *pictures[FRAMES];
  Clock learnt = { .pictures = pictures }, sum = { 0 };

  make_mosaics (pictures);
  learning = learn (line, &learnt);
  for (guint r = 0; r < RUNS; r++) {
    Clock clock = { .pictures = pictures };

    source = process_ms ("identity", seconds, &clock);
    clock = (Clock) { .pictures = pictures };
    fixed[r] = process_ms ("adacompressenc policy=fixed quality=75", seconds, &clock) - source;
    clock = (Clock) { .pictures = pictures };
    with[r] = process_ms (line, seconds, &clock) - source;
    encodes[r] = with[r] / fixed[r];
    sum.deciding += clock.deciding;
    sum.learning += clock.learning;
    sum.qualities += clock.qualities;
  }
  g_print ("{\"frames\": %u, \"ms_fixed\": %.3f, \"ms_agent\": %.3f, \"encodes_per_frame\": %.3f, "
      "\"quality\": %.1f, \"frames_retraining\": %u, \"learning_frames\": %u, "
      "\"learning_ms\": %.3f, \"learning_encodes_per_frame\": %.3f}\n", RUNS * 30 * seconds,
      quantile (fixed, RUNS, .5), quantile (with, RUNS, .5), quantile (encodes, RUNS, .5),
      (gdouble) sum.qualities / MAX (sum.deciding, 1), sum.learning, learnt.learning,
      learning - source, (learning - source) / quantile (fixed, RUNS, .5));
  for (guint i = 0; i < FRAMES; i++)
    gst_buffer_unref (pictures[i]);
  g_unlink (file);
  g_rmdir (folder);
}

int
main (int argc, char **argv)
{
  const gchar *what = argc > 1 ? argv[1] : "";

  gst_init (NULL, NULL);
  if (g_str_equal (what, "live") && argc > 2) {
    live (argv[2], argc > 3 ? (guint) atoi (argv[3]) : 10, argc > 4 ? argv[4] : "");
    return 0;
  }
  if (g_getenv ("PIRL_TEST_DATA") == NULL || !load_kodak ()) {
    g_printerr ("no Kodak pictures in PIRL_TEST_DATA\n");
    return 77;
  }
  if (g_str_equal (what, "agent") && argc > 2)
    agent (argv[2], argc > 3 ? (guint) MAX (atoi (argv[3]), 1) : 3);
  else if (g_str_equal (what, "speed"))
    speed (argc > 3 ? argv[2] : NULL, argc > 3 ? atoi (argv[3]) : 0);
  else if (g_str_equal (what, "colours"))
    colours ();
  else
    g_printerr ("usage: adacompressenc-bench speed [FORMAT QUALITY] | colours | "
        "live CLOUD [SECONDS [SETTINGS]] | agent CLOUD [SECONDS]\n");
  return 0;
}
