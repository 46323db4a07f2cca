/* gst-pirl: what batches bring: pirlembed in a pipeline, at several batch sizes in turn.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   GST_PLUGIN_PATH=build/elements pirlembed-bench MODEL [DEVICE [THREADS [FRAMES [BATCH...]]]]
 *
 * FRAMES (48) frames of 640x480 through the whole element, on DEVICE (cpu) with THREADS (1), with
 * batches of BATCH... (1 4 16), RUNS times in turn. Prints JSON: of the best run frames/s from the
 * first frame that came in to the last that went out, the process's CPU time a frame, and both as
 * ratios to the first BATCH: the CPU time's says more where the machine has other work.
 */
#include <gst/gst.h>
#include <stdlib.h>
#include <time.h>

#define RUNS 3
#define MAX_CASES 16

typedef struct {
  guint batch;
  gdouble seconds, cpu;         /* the least of all runs */
} Case;

typedef struct {
  gint64 begin;                 /* of the first frame; 0 = not yet */
  gdouble cpu;
} Start;

static gdouble
cpu_seconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static GstPadProbeReturn
on_first_frame (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  Start *start = user_data;

  start->begin = g_get_monotonic_time ();
  start->cpu = cpu_seconds ();
  return GST_PAD_PROBE_REMOVE;
}

/* One pipeline from its first frame to its end. */
static gboolean
run (const gchar * model, const gchar * device, guint threads, guint frames, Case * c)
{
  g_autofree gchar *line = g_strdup_printf ("videotestsrc pattern=smpte num-buffers=%u ! "
      "video/x-raw,format=RGB,width=640,height=480 ! pirlembed name=e interval=1 device=%s "
      "n-threads=%u batch-size=%u batch-timeout=0 ! fakesink sync=false", frames, device, threads,
      c->batch);
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error), *embed;
  Start start = { 0, 0 };
  GstMessage *message;
  GstBus *bus;
  GstPad *pad;
  gboolean ok;

  if (pipeline == NULL) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  embed = gst_bin_get_by_name (GST_BIN (pipeline), "e");
  g_object_set (embed, "model-file", model, NULL);
  pad = gst_element_get_static_pad (embed, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_first_frame, &start, NULL);
  bus = gst_element_get_bus (pipeline);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  c->seconds = MIN (c->seconds, (g_get_monotonic_time () - start.begin) / 1e6);
  c->cpu = MIN (c->cpu, cpu_seconds () - start.cpu);
  ok = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
  if (!ok) {
    gst_message_parse_error (message, &error, NULL);
    g_printerr ("%s\n", error->message);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_message_unref (message);
  gst_object_unref (bus);
  gst_object_unref (pad);
  gst_object_unref (embed);
  gst_object_unref (pipeline);
  return ok;
}

static void
print_cases (const Case * cases, guint n, guint frames, const gchar * device, guint threads)
{
  g_print ("{\n \"device\": \"%s\", \"threads\": %u, \"frames\": %u, \"batches\": [\n", device,
      threads, frames);
  for (guint i = 0; i < n; i++)
    g_print ("  {\"batch\": %u, \"frames_per_s\": %.2f, \"cpu_ms_per_frame\": %.2f, "
        "\"speed_ratio\": %.3f, \"cpu_ratio\": %.3f}%s\n", cases[i].batch,
        frames / cases[i].seconds, 1e3 * cases[i].cpu / frames,
        cases[0].seconds / cases[i].seconds, cases[0].cpu / cases[i].cpu, i + 1 < n ? "," : "");
  g_print (" ]\n}\n");
}

int
main (int argc, char **argv)
{
  const gchar *device = argc > 2 ? argv[2] : "cpu";
  const guint threads = argc > 3 ? (guint) atoi (argv[3]) : 1;
  const guint frames = argc > 4 ? (guint) MAX (atoi (argv[4]), 1) : 48;
  Case cases[MAX_CASES] = { {1}, {4}, {16} };
  guint n = 3;

  if (argc < 2) {
    g_printerr ("usage: pirlembed-bench MODEL [DEVICE [THREADS [FRAMES [BATCH...]]]]\n");
    return 2;
  }
  if (argc > 5)
    n = MIN ((guint) argc - 5, MAX_CASES);
  for (guint i = 0; i < n; i++) {
    if (argc > 5)
      cases[i].batch = (guint) MAX (atoi (argv[5 + i]), 1);
    cases[i].seconds = cases[i].cpu = G_MAXDOUBLE;
  }
  gst_init (&argc, &argv);
  for (guint r = 0; r < RUNS; r++) {
    for (guint i = 0; i < n; i++) {
      if (!run (argv[1], device, threads, frames, &cases[i]))
        return 1;
    }
  }
  print_cases (cases, n, frames, device, threads);
  return 0;
}
