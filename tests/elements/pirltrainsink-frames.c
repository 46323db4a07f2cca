/* gst-pirl: pirltrainsink on a device that renders views: it gets frames and learns the same.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Needs a CUDA device, or the emulated one (tests/emulator); skips where there is none.
 */
#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <string.h>

#include "backends/backend.h"
#include "checkpoints.h"
#include "meta.h"
#include "pretext.h"

#define SKIPPED 77
/* 24 samples in batches of 8, twice: 6 steps, of which the last are replayed. */
#define STEPS 6
#define SOURCE "pirldatasetsrc seed=3 epochs=2 " \
    "location=\"synthetic:shapes?count=24&classes=4&size=48\" "
#define JIGSAW "pirljigsaw image-size=32 seed=4 photometric=0.5 blur=0.5 "
#define SINK "pirltrainsink name=sink arch=resnet18 base-width=8 batch-size=8 seed=5 " \
    "deterministic=true precision=f32 "

static GstElement *
launch (const gchar * line)
{
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);

  fail_unless (pipeline != NULL && error == NULL, "%s: %s", line, error ? error->message : "");
  return pipeline;
}

static GstCaps *
caps_of_sink (GstElement * pipeline)
{
  g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (sink, "sink");

  return gst_pad_get_current_caps (pad);
}

/* Trains to the end; returns whether the sink was given frames. */
static gboolean
train (const gchar * transform, const gchar * between, const gchar * objective,
    const gchar * path)
{
  g_autofree gchar *line = g_strdup_printf (SOURCE "! " JIGSAW "%s ! %s " SINK
      "device=cuda %s checkpoint-file=%s", transform, between, objective, path);
  GstElement *pipeline = launch (line);
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  g_autoptr (GstCaps) caps = NULL;
  GstMessage *message;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
      GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    GError *error = NULL;

    gst_message_parse_error (message, &error, NULL);
    fail ("%s", error->message);
  }
  gst_message_unref (message);
  caps = caps_of_sink (pipeline);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  return gst_caps_features_contains (gst_caps_get_features (caps, 0), GST_PIRL_PRETEXT_FEATURE);
}

GST_START_TEST (training_from_frames_is_training_from_views)
{
  static const struct
  {
    const gchar *transform, *objective;
  } cases[] = {
    {"", ""},
    {"transform=rotation", "objective=rotation"},
    {"transform=both", "objective=pirl"},
    {"permutations=20", "objective=jigsaw hidden=32"},
    {"transform=crop", "objective=moco"},
  };
  g_autofree gchar *folder = g_dir_make_tmp ("pirl-XXXXXX", NULL);
  g_autofree gchar *frames = g_build_filename (folder, "frames.safetensors", NULL);
  g_autofree gchar *views = g_build_filename (folder, "views.safetensors", NULL);
  g_autofree gchar *queued = g_build_filename (folder, "queued.safetensors", NULL);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const gchar *transform = cases[i].transform, *objective = cases[i].objective;

    fail_unless (train (transform, "", objective, frames));
    fail_if (train (transform, "other/tensors !", objective, views));
    fail_unless_equals_uint64 (checkpoint_step (frames), STEPS);
    expect_same_checkpoint (frames, views);
    if (i == 0) {
      fail_unless (train (transform, "queue !", objective, queued));
      expect_same_checkpoint (queued, views);
    }
  }
  g_remove (frames);
  g_remove (views);
  g_remove (queued);
  g_rmdir (folder);
}

GST_END_TEST;

GST_START_TEST (the_device_decides_what_the_sink_takes)
{
  static const struct {
    const gchar *device;
    guint forms;                /* PAUSED and above; before that both are possible */
  } cases[] = { {"cuda", 2}, {"auto", 2}, {"cpu", 1} };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *line = g_strdup_printf (SINK "device=%s", cases[i].device);
    GstElement *sink = launch (line);
    g_autoptr (GstPad) pad = gst_element_get_static_pad (sink, "sink");
    GstCaps *caps = gst_pad_query_caps (pad, NULL);

    fail_unless_equals_int (gst_caps_get_size (caps), 2);
    gst_caps_unref (caps);
    fail_unless_equals_int (gst_element_set_state (sink, GST_STATE_PAUSED),
        GST_STATE_CHANGE_ASYNC);
    caps = gst_pad_query_caps (pad, NULL);
    fail_unless_equals_int (gst_caps_get_size (caps), cases[i].forms);
    fail_unless (cases[i].forms == 1
        || gst_caps_features_contains (gst_caps_get_features (caps, 0),
            GST_PIRL_PRETEXT_FEATURE));
    gst_caps_unref (caps);
    gst_element_set_state (sink, GST_STATE_NULL);
    gst_object_unref (sink);
  }
}

GST_END_TEST;

/* With the meta of a jigsaw of a frame of that size, whose crop may reach beyond this one. */
static GstBuffer *
frame_with_meta (gint width, gint height)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 3 * 8 * 8, NULL);
  PirlPretextConfig config;
  PirlPretext pretext;

  pirl_pretext_config_defaults (&config, 32, 3);
  pirl_pretext_draw (&config, NULL, -1, width, height, 1, 1, 1, &pretext);
  gst_pirl_pretext_add (buffer, &config, &pretext);
  gst_buffer_add_video_meta (buffer, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_FORMAT_RGB, 8, 8);
  return buffer;
}

static gchar *
error_after (const gchar * fields, GstBuffer * first, guint copies)
{
  g_autofree gchar *caps = g_strconcat (GST_PIRL_FRAMES_CAPS ",framerate=25/1", fields, NULL);
  GstHarness *h = gst_harness_new_parse (SINK "device=cuda batch-size=2 bank-size=8");
  GstBus *bus = gst_bus_new ();
  GstMessage *message;
  GError *error = NULL;
  gchar *text;

  gst_element_set_bus (h->element, bus);
  gst_harness_set_src_caps_str (h, caps);
  for (guint i = 0; i < copies; i++)
    gst_harness_push (h, gst_buffer_copy (first));
  gst_buffer_unref (first);
  message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND, GST_MESSAGE_ERROR);
  fail_unless (message != NULL, "nobody complained");
  gst_message_parse_error (message, &error, NULL);
  text = g_strdup (error->message);
  g_clear_error (&error);
  gst_message_unref (message);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  return text;
}

GST_START_TEST (frames_that_cannot_be_rendered_are_errors)
{
  g_autofree gchar *bare = error_after ("", gst_buffer_new_allocate (NULL, 3 * 8 * 8, NULL), 1);
  g_autofree gchar *foreign = error_after ("", frame_with_meta (400, 300), 4);
  g_autofree gchar *other = error_after (",transform=both", frame_with_meta (8, 8), 4);
  g_autofree gchar *wrong = error_after (",transform=crop", frame_with_meta (8, 8), 1);

  fail_unless (strstr (bare, "no meta pirl-pretext") != NULL, "%s", bare);
  fail_unless (strstr (foreign, "not about this frame") != NULL, "%s", foreign);
  fail_unless (strstr (other, "not about these views") != NULL, "%s", other);
  fail_unless (strstr (wrong, "objective=pirl needs pirljigsaw transform=") != NULL, "%s", wrong);
}

GST_END_TEST;

static Suite *
frames_suite (void)
{
  Suite *suite = suite_create ("pirltrainsink-frames");
  TCase *all = tcase_create ("frames");

  suite_add_tcase (suite, all);
  tcase_set_timeout (all, 240);
  tcase_add_test (all, training_from_frames_is_training_from_views);
  tcase_add_test (all, the_device_decides_what_the_sink_takes);
  tcase_add_test (all, frames_that_cannot_be_rendered_are_errors);
  return suite;
}

int
main (int argc, char **argv)
{
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  if (!pirl_device_renders_views ("cuda")) {
    g_print ("skipped: %s\n", pirl_cuda_reason ());
    return SKIPPED;
  }
  return gst_check_run_suite (frames_suite (), "pirltrainsink-frames", __FILE__);
}
