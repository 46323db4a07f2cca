/* gst-pirl: runs a pirldatasetsrc and remembers everything that came out of it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <gst/video/video.h>
#include <string.h>

#include "leaks.h"
#include "meta.h"
#include "vision/image.h"

#define PATIENCE (30 * GST_SECOND)

/* ---- pictures ------------------------------------------------------------------------------ */

static gchar *scratch;          /* a folder of the test */

static inline void
setup_scratch (void)
{
  scratch = g_dir_make_tmp ("pirl-XXXXXX", NULL);
  fail_unless (scratch != NULL);
}

static inline void
remove_tree (const gchar * path)
{
  if (!g_file_test (path, G_FILE_TEST_IS_SYMLINK) && g_file_test (path, G_FILE_TEST_IS_DIR)) {
    GDir *dir = g_dir_open (path, 0, NULL);
    const gchar *name;

    while (dir && (name = g_dir_read_name (dir))) {
      g_autofree gchar *inner = g_build_filename (path, name, NULL);

      remove_tree (inner);
    }
    g_clear_pointer (&dir, g_dir_close);
  }
  g_remove (path);
}

static inline void
teardown_scratch (void)
{
  remove_tree (scratch);
  g_clear_pointer (&scratch, g_free);
  leaks_none ();
}

/* @name below the scratch folder, whose folders are made; transfer full. */
static inline gchar *
place (const gchar * name)
{
  gchar *path = g_build_filename (scratch, name, NULL);
  g_autofree gchar *folder = g_path_get_dirname (path);

  g_mkdir_with_parents (folder, 0755);
  return path;
}

static inline void
write_text (const gchar * name, const gchar * text, gssize length)
{
  g_autofree gchar *path = place (name);

  fail_unless (g_file_set_contents (path, text, length, NULL));
}

/* What pixel (x, y) of a test picture holds. */
static inline void
test_pixel (gint x, gint y, gint shade, guint8 rgb[3])
{
  rgb[0] = (guint8) (7 * x + shade);
  rgb[1] = (guint8) (5 * y);
  rgb[2] = (guint8) (40 * shade);
}

static inline void
write_picture (const gchar * name, gint width, gint height, gint shade)
{
  g_autofree gchar *path = place (name);
  PirlImage image;

  pirl_image_init (&image, width, height);
  for (gint y = 0; y < height; y++)
    for (gint x = 0; x < width; x++)
      test_pixel (x, y, shade, image.data + y * image.stride + 3 * x);
  fail_unless (pirl_image_save_png (&image, path, NULL));
  pirl_image_clear (&image);
}

/* @n pictures NNN.png, all of one size. */
static inline void
write_pictures (guint n, gint width, gint height)
{
  for (guint i = 0; i < n; i++) {
    g_autofree gchar *name = g_strdup_printf ("%03u.png", i);

    write_picture (name, width, height, i);
  }
}

/* ---- what comes out ------------------------------------------------------------------------- */

typedef struct {
  guint64 index, count, position, offset;
  guint epoch;
  gint label, width, height;
  gchar *split, *name, *sum;
  GstClockTime pts, duration;
  gboolean discont;
} Frame;

typedef struct {
  GstElement *pipeline, *src;
  GMutex lock;
  GArray *frames;               /* of Frame */
  gint width, height;           /* of the last caps */
  guint n_caps;
  gboolean dataset_before_caps;
  guint n_dataset;
  GstPirlDataset dataset;
  GstClockTime segment_start;
  GPtrArray *warnings;          /* strings */
  GPtrArray *epochs;            /* structures of pirl-epoch */
  gchar *error;                 /* text of the first error */
  GQuark error_domain;
  gint error_code;
  gboolean eos;
} Run;

static inline void
clear_frame (gpointer data)
{
  Frame *frame = data;

  g_free (frame->split);
  g_free (frame->name);
  g_free (frame->sum);
}

static inline void
remember_buffer (Run * run, GstBuffer * buffer)
{
  GstPirlSample sample;
  Frame frame = { 0 };
  GstMapInfo map;

  fail_unless (gst_pirl_sample_get (buffer, &sample), "a buffer without pirl-sample");
  frame.index = sample.index;
  frame.count = sample.count;
  frame.position = sample.position;
  frame.epoch = sample.epoch;
  frame.label = sample.label;
  frame.split = g_strdup (sample.split);
  frame.name = g_strdup (sample.name);
  frame.offset = GST_BUFFER_OFFSET (buffer);
  frame.pts = GST_BUFFER_PTS (buffer);
  frame.duration = GST_BUFFER_DURATION (buffer);
  frame.discont = GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  frame.width = run->width;
  frame.height = run->height;
  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  fail_unless_equals_uint64 (map.size, (guint64) GST_ROUND_UP_4 (3 * run->width) * run->height);
  frame.sum = g_compute_checksum_for_data (G_CHECKSUM_MD5, map.data, map.size);
  gst_buffer_unmap (buffer, &map);
  g_array_append_val (run->frames, frame);
}

static inline void
remember_event (Run * run, GstEvent * event)
{
  GstPirlDataset dataset;
  GstCaps *caps;

  if (GST_EVENT_TYPE (event) == GST_EVENT_CAPS) {
    gst_event_parse_caps (event, &caps);
    gst_structure_get_int (gst_caps_get_structure (caps, 0), "width", &run->width);
    gst_structure_get_int (gst_caps_get_structure (caps, 0), "height", &run->height);
    run->n_caps++;
  } else if (GST_EVENT_TYPE (event) == GST_EVENT_SEGMENT) {
    const GstSegment *segment;

    gst_event_parse_segment (event, &segment);
    run->segment_start = segment->start;
  } else if (gst_pirl_dataset_parse (event, &dataset)) {
    gst_pirl_dataset_clear (&run->dataset);
    run->dataset = dataset;
    run->dataset_before_caps = run->n_caps == 0;
    run->n_dataset++;
  }
}

static inline GstPadProbeReturn
remember (GstPad * pad, GstPadProbeInfo * info, gpointer data)
{
  Run *run = data;

  g_mutex_lock (&run->lock);
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER)
    remember_buffer (run, GST_PAD_PROBE_INFO_BUFFER (info));
  else
    remember_event (run, GST_PAD_PROBE_INFO_EVENT (info));
  g_mutex_unlock (&run->lock);
  return GST_PAD_PROBE_OK;
}

/* A run of "pirldatasetsrc name=src location=SCRATCH @settings ! @rest". */
static inline Run *
run_new_at (const gchar * location, const gchar * settings, const gchar * rest)
{
  g_autofree gchar *line = g_strdup_printf ("pirldatasetsrc name=src %s ! %s", settings, rest);
  Run *run = g_new0 (Run, 1);
  GstPad *pad;

  run->pipeline = gst_parse_launch (line, NULL);
  fail_unless (run->pipeline != NULL, "%s", line);
  run->src = gst_bin_get_by_name (GST_BIN (run->pipeline), "src");
  if (location)
    g_object_set (run->src, "location", location, NULL);
  g_mutex_init (&run->lock);
  run->frames = g_array_new (FALSE, FALSE, sizeof (Frame));
  g_array_set_clear_func (run->frames, clear_frame);
  run->warnings = g_ptr_array_new_with_free_func (g_free);
  run->epochs = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_structure_free);
  pad = gst_element_get_static_pad (run->src, "src");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, remember,
      run, NULL);
  gst_object_unref (pad);
  return run;
}

static inline Run *
run_new (const gchar * settings)
{
  return run_new_at (scratch, settings, "fakesink name=sink");
}

static inline void
run_free (Run * run)
{
  gst_element_set_state (run->pipeline, GST_STATE_NULL);
  gst_object_unref (run->src);
  gst_object_unref (run->pipeline);
  g_array_unref (run->frames);
  g_ptr_array_unref (run->warnings);
  g_ptr_array_unref (run->epochs);
  gst_pirl_dataset_clear (&run->dataset);
  g_mutex_clear (&run->lock);
  g_free (run->error);
  g_free (run);
}

static inline void
remember_message (Run * run, GstMessage * message)
{
  GError *error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_EOS:
      run->eos = TRUE;
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, NULL);
      g_ptr_array_add (run->warnings, g_strdup (error->message));
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, NULL);
      if (run->error == NULL) {
        run->error = g_strdup (error->message);
        run->error_domain = error->domain;
        run->error_code = error->code;
      }
      break;
    case GST_MESSAGE_ELEMENT:
      if (gst_message_has_name (message, "pirl-epoch"))
        g_ptr_array_add (run->epochs, gst_structure_copy (gst_message_get_structure (message)));
      break;
    default:
      break;
  }
  g_clear_error (&error);
}

/* Handles messages up to one of @types; FALSE when none came in time. */
static inline gboolean
run_until (Run * run, GstMessageType types, GstClockTime patience)
{
  GstBus *bus = gst_element_get_bus (run->pipeline);
  GstClockTime end = gst_util_get_timestamp () + patience;
  gboolean found = FALSE;

  while (!found) {
    GstClockTime now = gst_util_get_timestamp ();
    GstMessage *message = gst_bus_timed_pop (bus, now < end ? end - now : 0);

    if (message == NULL)
      break;
    remember_message (run, message);
    found = (GST_MESSAGE_TYPE (message) & types) != 0;
    gst_message_unref (message);
  }
  gst_object_unref (bus);
  return found;
}

/* Plays to EOS or an error; then the pipeline is stopped. */
static inline void
run_through (Run * run)
{
  gst_element_set_state (run->pipeline, GST_STATE_PLAYING);
  fail_unless (run_until (run, GST_MESSAGE_EOS | GST_MESSAGE_ERROR, PATIENCE), "it never ended");
  run_until (run, 0, 0);
  gst_element_set_state (run->pipeline, GST_STATE_NULL);
}

/* The same, and it must have ended well. */
static inline Run *
run_well (const gchar * settings)
{
  Run *run = run_new (settings);

  run_through (run);
  fail_unless (run->eos && run->error == NULL, "%s", run->error);
  return run;
}

static inline const Frame *
frame_at (const Run * run, guint i)
{
  fail_unless (i < run->frames->len, "there are only %u frames", run->frames->len);
  return &g_array_index (run->frames, Frame, i);
}

/* "name name ..." of all frames; transfer full. */
static inline gchar *
names_of (const Run * run)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < run->frames->len; i++)
    g_string_append_printf (text, "%s%s", i ? " " : "", frame_at (run, i)->name);
  return g_string_free (text, FALSE);
}

/* "index index ..." of all frames; transfer full. */
static inline gchar *
indices_of (const Run * run)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < run->frames->len; i++)
    g_string_append_printf (text, "%s%" G_GUINT64_FORMAT, i ? " " : "", frame_at (run, i)->index);
  return g_string_free (text, FALSE);
}

/* Runs @settings, which must fail with an error that has all of @words (separated by |). */
static inline void
expect_error (const gchar * location, const gchar * settings, const gchar * words)
{
  Run *run = run_new_at (location, settings, "fakesink");
  g_auto (GStrv) parts = g_strsplit (words, "|", -1);

  run_through (run);
  fail_unless (run->error != NULL, "%s %s: no error", location, settings);
  for (guint i = 0; parts[i]; i++)
    fail_unless (strstr (run->error, parts[i]) != NULL, "\"%s\" is not in: %s", parts[i],
        run->error);
  run_free (run);
}
