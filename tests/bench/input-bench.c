/* gst-pirl: how fast pictures come in: the bare libjpeg-turbo loop, pirldatasetsrc, pirljigsaw.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   input-bench bare|source|crop|view|jigsaw LIST THREADS EPOCHS      one of tests/bench/run's programs (turns.h)
 *
 * LIST names a JPEG file a line, by absolute paths. A turn decodes all of them EPOCHS times.
 *
 * bare: THREADS threads take the next file each from a common counter, read it whole
 * (g_file_get_contents), decode it to packed RGB with libjpeg-turbo's defaults (ISLOW, fancy
 * upsampling), up to 16 rows a call, into memory that the thread keeps, and forget it. A thread keeps
 * its decompressor, too. Nothing is handed on.
 * source: pirldatasetsrc location=LIST shuffle=false n-threads=THREADS ! fakesink: the same reading
 * and the same settings, and a buffer with caps and metas for every picture. Starting the pipeline
 * and reading the list count.
 * crop: the same before a sink that asks for what an embedding looks at, the centre 224 of 256 pixels of
 * the short side, as pirlembed would; it does nothing with it.
 * view: the same before a sink that asks for random crops of .2 to 1 of the area, as pirljigsaw would
 * where only the image view is used.
 * jigsaw: the same with ! pirljigsaw at its defaults (224, nine patches of 64 from 255, colour jitter
 * and greys; two tensors of uint8) before the sink.
 * The check is the number of pixels (bare, source).
 *
 *   input-bench start FOLDER
 *
 * One run: pirldatasetsrc location=FOLDER labels=folder ! fakesink, shuffled, up to the first picture.
 * Prints the number of pictures in FOLDER, seconds of wall and of the process's CPU time until then, and
 * by how many bytes the resident memory grew at most (Linux).
 */
#include <gst/gst.h>
#include <gst/video/video.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <jpeglib.h>

#include "turns.h"

#define ROWS 16                 /* libjpeg gives fewer a call anyway */
#define MAX_THREADS 256
#define SHORT_SIDE 256.0
#define CROP 224

typedef struct {
  const gchar *list;
  gchar **files;
  guint n_files, threads, epochs;
  const gchar *line;            /* NULL = the bare loop */
  gboolean crops, random;       /* the sink asks for them */
} Input;

static GQuark
input_error (void)
{
  return g_quark_from_static_string ("input-bench");
}

/* ---- the bare loop ------------------------------------------------------------------------ */

typedef struct {
  const Input *input;
  gint *next;
  guint64 pictures, pixels;
  struct jpeg_decompress_struct cinfo;
  struct jpeg_error_mgr errors;
  jmp_buf jump;
  guint8 *rgb;
  gsize room;
} Worker;

static G_NORETURN void
on_error (j_common_ptr cinfo)
{
  longjmp (((Worker *) cinfo->client_data)->jump, 1);
}

static void
on_message (j_common_ptr cinfo, int level)
{
  /* Damaged pictures are decoded as far as they go, as pirldatasetsrc does. */
}

static gboolean
decode (Worker * worker, const gchar * data, gsize size)
{
  const j_decompress_ptr d = &worker->cinfo;

  if (setjmp (worker->jump)) {
    jpeg_abort_decompress (d);
    return FALSE;
  }
  jpeg_mem_src (d, (const guint8 *) data, size);
  jpeg_read_header (d, TRUE);
  d->out_color_space = JCS_RGB;
  jpeg_start_decompress (d);
  if (worker->room < (gsize) 3 * d->output_width * d->output_height) {
    worker->room = (gsize) 3 *d->output_width * d->output_height;
    g_free (worker->rgb);
    worker->rgb = g_malloc (worker->room);
  }
  while (d->output_scanline < d->output_height) {
    JSAMPROW rows[ROWS];
    const guint n = MIN (ROWS, d->output_height - d->output_scanline);

    for (guint i = 0; i < n; i++)
      rows[i] = worker->rgb + (gsize) 3 * d->output_width * (d->output_scanline + i);
    jpeg_read_scanlines (d, rows, n);
  }
  worker->pictures++;
  worker->pixels += (guint64) d->output_width * d->output_height;
  jpeg_abort_decompress (d);
  return TRUE;
}

static gpointer
worker_main (gpointer data)
{
  Worker *worker = data;
  const Input *input = worker->input;

  worker->cinfo.err = jpeg_std_error (&worker->errors);
  worker->errors.error_exit = on_error;
  worker->errors.emit_message = on_message;
  worker->cinfo.client_data = worker;
  jpeg_create_decompress (&worker->cinfo);
  for (;;) {
    const guint i = (guint) g_atomic_int_add (worker->next, 1);
    gchar *bytes;
    gsize size;

    if (i >= input->n_files * input->epochs)
      break;
    if (!g_file_get_contents (input->files[i % input->n_files], &bytes, &size, NULL))
      continue;
    decode (worker, bytes, size);
    g_free (bytes);
  }
  jpeg_destroy_decompress (&worker->cinfo);
  g_clear_pointer (&worker->rgb, g_free);
  return NULL;
}

static gboolean
bare_turn (const Input * input, Turn * turn, GError ** error)
{
  g_autofree Worker *workers = g_new0 (Worker, input->threads);
  g_autofree GThread **threads = g_new0 (GThread *, input->threads);
  gint next = 0;

  for (guint i = 0; i < input->threads; i++) {
    workers[i].input = input;
    workers[i].next = &next;
    threads[i] = g_thread_new ("bare", worker_main, &workers[i]);
  }
  for (guint i = 0; i < input->threads; i++) {
    g_thread_join (threads[i]);
    turn->items += workers[i].pictures;
    turn->check += workers[i].pixels;
  }
  return TRUE;
}

/* ---- pipelines ---------------------------------------------------------------------------- */

typedef struct {
  Turn *turn;
  guint64 size;                 /* pixels of the pictures that come, from the caps */
} Count;

typedef struct {
  GstPadQueryFunction others;
  gboolean random;
} Crops;

static void
on_handoff (GstElement * sink, GstBuffer * buffer, GstPad * pad, Count * count)
{
  count->turn->items++;
}

/* The part of a side of @length around its middle that the crop is made of, @scale pixels for one. */
static void
centre_part (gint length, gdouble scale, gint * first, gint * n)
{
  const gdouble half = scale * CROP / 2 + MAX (scale, 1) + 1;

  *first = (gint) CLAMP (length / 2.0 - half, 0, length - 1);
  *n = (gint) MIN (length / 2.0 + half + 1, length) - *first;
}

/* RandomResizedCrop of sample @index: of ten tries the first that fits, else all. */
static void
random_part (guint64 index, gint width, gint height, gint * x, gint * y, gint * w, gint * h)
{
  GRand *rand = g_rand_new_with_seed ((guint32) index);

  *x = *y = 0;
  *w = width;
  *h = height;
  for (guint i = 0; i < 10; i++) {
    const gdouble area = g_rand_double_range (rand, 0.2, 1) * width * height;
    const gdouble ratio = exp (g_rand_double_range (rand, log (3 / 4.0), log (4 / 3.0)));
    const gint a = (gint) sqrt (area * ratio), b = (gint) sqrt (area / ratio);

    if (a < 1 || b < 1 || a > width || b > height)
      continue;
    *w = a;
    *h = b;
    *x = g_rand_int_range (rand, 0, width - a + 1);
    *y = g_rand_int_range (rand, 0, height - b + 1);
    break;
  }
  g_rand_free (rand);
}

/* The sink pad's: answers pirl-crop. */
static gboolean
on_query (GstPad * pad, GstObject * parent, GstQuery * query)
{
  const Crops *crops = gst_pad_get_element_private (pad);
  gint width, height, x, y, w, h;
  guint64 index;
  GstStructure *s;

  if (GST_QUERY_TYPE (query) != GST_QUERY_CUSTOM)
    return crops->others (pad, parent, query);
  s = gst_query_writable_structure (query);
  if (!gst_structure_has_name (s, "pirl-crop") || !gst_structure_get_int (s, "width", &width)
      || !gst_structure_get_int (s, "height", &height)
      || !gst_structure_get_uint64 (s, "index", &index))
    return FALSE;
  if (crops->random) {
    random_part (index, width, height, &x, &y, &w, &h);
  } else {
    centre_part (width, MIN (width, height) / SHORT_SIDE, &x, &w);
    centre_part (height, MIN (width, height) / SHORT_SIDE, &y, &h);
  }
  gst_structure_set (s, "x", G_TYPE_INT, x, "y", G_TYPE_INT, y, "crop-width", G_TYPE_INT, w,
      "crop-height", G_TYPE_INT, h, "divisor", G_TYPE_INT, 1, NULL);
  return TRUE;
}

/* Counts what comes to @sink; a probe on its pad would see frames that are not meant for it. */
static void
watch_crops (GstElement * sink, GstPad * pad, Crops * crops, Count * count)
{
  crops->others = GST_PAD_QUERYFUNC (pad);
  gst_pad_set_element_private (pad, crops);
  gst_pad_set_query_function (pad, on_query);
  g_object_set (sink, "signal-handoffs", TRUE, NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (on_handoff), count);
}

static GstPadProbeReturn
on_data (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  Count *count = data;

  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    count->turn->items++;
    count->turn->check += count->size;
  } else if (GST_EVENT_TYPE (GST_PAD_PROBE_INFO_EVENT (info)) == GST_EVENT_CAPS) {
    GstVideoInfo video;
    GstCaps *caps;

    gst_event_parse_caps (GST_PAD_PROBE_INFO_EVENT (info), &caps);
    count->size = gst_video_info_from_caps (&video, caps)
        ? (guint64) video.width * video.height : 0;
  }
  return GST_PAD_PROBE_OK;
}

static gboolean
play (GstElement * pipeline, GError ** error)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message;
  gboolean ok;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  ok = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
  if (!ok)
    gst_message_parse_error (message, error, NULL);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_message_unref (message);
  gst_object_unref (bus);
  return ok;
}

static gboolean
pipeline_turn (const Input * input, Turn * turn, GError ** error)
{
  GstElement *pipeline = gst_parse_launch (input->line, error), *element;
  Count count = { turn, 0 };
  Crops crops = {.random = input->random };
  gboolean ok;
  GstPad *pad;

  if (pipeline == NULL)
    return FALSE;
  element = gst_bin_get_by_name (GST_BIN (pipeline), "in");
  g_object_set (element, "location", input->list, "n-threads", input->threads, "epochs",
      input->epochs, NULL);
  gst_object_unref (element);
  element = gst_bin_get_by_name (GST_BIN (pipeline), "out");
  pad = gst_element_get_static_pad (element, "sink");
  if (input->crops)
    watch_crops (element, pad, &crops, &count);
  else
    gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
        on_data, &count, NULL);
  gst_object_unref (element);
  ok = play (pipeline, error);
  gst_object_unref (pad);
  gst_object_unref (pipeline);
  return ok;
}

/* ---- starting ----------------------------------------------------------------------------- */

static gdouble
cpu_seconds (void)
{
  struct timespec now;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

/* @field of /proc/self/status, in bytes; 0 where there is none. */
static guint64
memory_now (const gchar * field)
{
  g_autofree gchar *text = NULL;
  const gchar *at;

  if (!g_file_get_contents ("/proc/self/status", &text, NULL, NULL))
    return 0;
  at = strstr (text, field);
  return at ? 1024 * g_ascii_strtoull (at + strlen (field) + 1, NULL, 10) : 0;
}

static gboolean
start (const gchar * folder, GError ** error)
{
  GstElement *pipeline = gst_parse_launch ("pirldatasetsrc name=in labels=folder n-threads=1 "
      "! fakesink", error), *element;
  const guint64 memory = memory_now ("VmRSS:");
  const gdouble cpu = cpu_seconds ();
  const gint64 begin = g_get_monotonic_time ();
  GstStateChangeReturn ret;
  gint64 n = 0;

  if (pipeline == NULL)
    return FALSE;
  element = gst_bin_get_by_name (GST_BIN (pipeline), "in");
  g_object_set (element, "location", folder, NULL);
  gst_object_unref (element);
  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  ret = gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  gst_element_query_duration (pipeline, GST_FORMAT_DEFAULT, &n);
  if (ret == GST_STATE_CHANGE_SUCCESS)
    printf ("{\"items\": %" G_GINT64_FORMAT ", \"seconds\": %.6f, \"cpu\": %.6f, \"bytes\": %"
        G_GUINT64_FORMAT "}\n", n, 1e-6 * (g_get_monotonic_time () - begin),
        cpu_seconds () - cpu, memory_now ("VmHWM:") - memory);
  else
    g_set_error (error, input_error (), 0, "no picture came of \"%s\"", folder);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  return ret == GST_STATE_CHANGE_SUCCESS;
}

/* ---- turns -------------------------------------------------------------------------------- */

static gboolean
turn_of (gpointer data, Turn * turn, GError ** error)
{
  const Input *input = data;
  const guint64 all = (guint64) input->n_files * input->epochs;

  if (!(input->line ? pipeline_turn : bare_turn) (input, turn, error))
    return FALSE;
  if (turn->items == all)
    return TRUE;
  g_set_error (error, input_error (), 0, "%" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
      " pictures came; are all files of \"%s\" good?", turn->items, all, input->list);
  return FALSE;
}

static const gchar *
line_of (const gchar * what)
{
  if (g_strv_contains ((const gchar *[]) { "source", "crop", "view", NULL }, what))
    return "pirldatasetsrc name=in shuffle=false ! fakesink name=out sync=false";
  if (g_str_equal (what, "jigsaw"))
    return "pirldatasetsrc name=in shuffle=false ! pirljigsaw ! other/tensors "
        "! fakesink name=out sync=false";
  return NULL;
}

int
main (int argc, char **argv)
{
  g_autofree gchar *text = NULL;
  g_autoptr (GError) error = NULL;
  Input input;
  int status;

  gst_init (&argc, &argv);
  if (argc == 3 && g_str_equal (argv[1], "start")) {
    if (start (argv[2], &error))
      return 0;
    g_printerr ("input-bench: %s\n", error->message);
    return 1;
  }
  if (argc != 5 || !g_strv_contains ((const gchar *[]) { "bare", "source", "crop",
            "view", "jigsaw", NULL },
          argv[1])) {
    g_printerr ("usage: input-bench bare|source|crop|view|jigsaw LIST THREADS EPOCHS, or "
        "input-bench start FOLDER\n");
    return 2;
  }
  if (!g_file_get_contents (argv[2], &text, NULL, &error)) {
    g_printerr ("input-bench: %s\n", error->message);
    return 1;
  }
  input = (Input) { .list = argv[2], .files = g_strsplit (g_strstrip (text), "\n", -1),
    .threads = (guint) CLAMP (atoi (argv[3]), 1, MAX_THREADS),
    .epochs = (guint) MAX (atoi (argv[4]), 1), .line = line_of (argv[1]),
    .crops = g_str_equal (argv[1], "crop") || g_str_equal (argv[1], "view"),
    .random = g_str_equal (argv[1], "view") };
  input.n_files = g_strv_length (input.files);
  status = turns_serve ("input-bench", turn_of, &input);
  g_strfreev (input.files);
  return status;
}
