/* gst-pirl: what tests of pirlembed share: tiny networks made from a seed, painted frames, and what
 * the kernels say of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "embeddings.h"
#include "leaks.h"
#include "learn/trainer.h"
#include "net/embedder.h"

#include <gst/check/gstharness.h>
#include <gst/video/video.h>
#include <glib/gstdio.h>
#include <string.h>

#define DIM 16
#define WIDE_DIM 24
#define FRAME (GST_SECOND / 25)

static gchar *directory, *model_a, *model_b, *model_wide, *model_slow, *not_a_model;

/* ---- models ------------------------------------------------------------------------------- */

static inline gchar *
make_model (const gchar * name, guint64 seed, gint dim, gint base_width, gint size)
{
  gchar *path = g_build_filename (directory, name, NULL);
  g_autoptr (PirlTrainer) trainer = NULL;
  PirlTrainerConfig c;
  GError *error = NULL;

  pirl_trainer_config_defaults (&c);
  c.objective = PIRL_OBJECTIVE_NPID;
  c.lambda = 0;
  c.trunk = (PirlTrunk) { PIRL_ARCH_RESNET18, base_width, 0 };
  c.dim = dim;
  c.image_size = size;
  c.patch_size = 9;
  c.batch = 2;
  c.bank_rows = 8;
  c.seed = seed;
  c.device = (gchar *) "cpu";
  c.n_threads = 1;
  trainer = pirl_trainer_new (&c, &error);
  g_assert_no_error (error);
  pirl_trainer_save (trainer, path, NULL, &error);
  g_assert_no_error (error);
  return path;
}

static inline void
make_models (void)
{
  directory = g_dir_make_tmp ("pirlembed-XXXXXX", NULL);
  model_a = make_model ("a.safetensors", 1, DIM, 8, 32);
  model_b = make_model ("b.safetensors", 2, DIM, 8, 32);
  model_wide = make_model ("wide.safetensors", 3, WIDE_DIM, 8, 32);
  model_slow = make_model ("slow.safetensors", 4, DIM, 32, 224);
  not_a_model = g_build_filename (directory, "text.safetensors", NULL);
  g_file_set_contents (not_a_model, "these are not weights", -1, NULL);
}

static inline void
remove_models (void)
{
  gchar **models[] = { &model_a, &model_b, &model_wide, &model_slow, &not_a_model };

  for (guint i = 0; i < G_N_ELEMENTS (models); i++) {
    g_unlink (*models[i]);
    g_clear_pointer (models[i], g_free);
  }
  g_rmdir (directory);
  g_clear_pointer (&directory, g_free);
}

/* ---- helpers ------------------------------------------------------------------------------ */

/* Something like a photo: light falling off, coloured soft shapes, texture, no symmetry. */
static inline void
paint (guint8 * data, gint width, gint height, gsize stride, guint salt)
{
  for (gint y = 0; y < height; y++) {
    for (gint x = 0; x < width; x++) {
      gdouble u = (gdouble) x / width, v = (gdouble) y / height;
      gdouble wave = sin (7 * u + 3 * v + salt) + sin (5 * v - 4 * u * v + 2 * salt);
      gdouble texture = 30 * sin (0.9 * x + 0.4 * y + salt) * sin (0.7 * y - 0.3 * x);
      guint8 *p = data + y * stride + 3 * x;

      p[0] = CLAMP (130 + 30 * wave + 30 * (u - v) + texture, 0, 255);
      p[1] = CLAMP (115 + 30 * wave - 30 * u + texture, 0, 255);
      p[2] = CLAMP (90 + 25 * sin (6 * v + salt) + 40 * v + texture, 0, 255);
    }
  }
}

static inline GstBuffer *
frame (gint width, gint height, guint salt, guint number)
{
  gint stride = GST_ROUND_UP_4 (3 * width);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, (gsize) stride * height, NULL);
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_WRITE));
  paint (map.data, width, height, stride, salt);
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = number * FRAME;
  GST_BUFFER_DURATION (buffer) = FRAME;
  return buffer;
}

/* The model a, for which every picture but a black one is too much. */
static inline gchar *
make_fragile_model (void)
{
  gchar *path = g_build_filename (directory, "fragile.safetensors", NULL);
  GError *error = NULL;
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (model_a, &error);
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autofree gfloat *huge = NULL;

  g_assert_no_error (error);
  pirl_safetensors_writer_metadata (writer, "input_size", "32");
  pirl_safetensors_writer_metadata (writer, "mean", "0,0,0");
  for (guint i = 0; i < pirl_safetensors_count (file); i++) {
    const PirlTensor *t = pirl_safetensors_nth (file, i);

    if (g_str_equal (t->name, "conv1.weight")) {
      huge = g_new (gfloat, t->size / sizeof (gfloat));
      for (gsize k = 0; k < t->size / sizeof (gfloat); k++)
        huge[k] = 3e38f;
    }
    pirl_safetensors_writer_add (writer, t->name, t->dtype, &t->shape,
        g_str_equal (t->name, "conv1.weight") ? huge : t->data);
  }
  fail_unless (huge != NULL);
  fail_unless (pirl_safetensors_writer_write (writer, path, &error));
  return path;
}

static inline GstBuffer *
black_frame (guint number)
{
  GstBuffer *buffer = frame (50, 37, 0, number);

  gst_buffer_memset (buffer, 0, 0, -1);
  return buffer;
}

static inline GstHarness *
harness_new (const gchar * model, const gchar * properties)
{
  g_autofree gchar *line = g_strdup_printf ("pirlembed model-file=%s n-threads=1 precision=f32 %s",
      model, properties);

  return gst_harness_new_parse (line);
}

static inline void
set_format (GstHarness * h, const gchar * format, gint width, gint height)
{
  g_autofree gchar *caps = g_strdup_printf ("video/x-raw,format=%s,width=%d,height=%d,"
      "framerate=25/1", format, width, height);

  gst_harness_set_src_caps_str (h, caps);
}

/* What the kernels say of the picture (@width, @height, @salt). */
static inline void
embed_directly (const gchar * model, const gchar * layer, gint width, gint height, guint salt,
    guint size, gfloat * out)
{
  GError *error = NULL;
  g_autoptr (PirlEmbedder) e = pirl_embedder_new (model, layer, "auto", "f32", 1, 1, &error);
  PirlImage image;
  const PirlImage *pictures[] = { &image };

  g_assert_no_error (error);
  fail_unless_equals_int (pirl_embedder_size (e), size);
  pirl_image_init (&image, width, height);
  paint (image.data, width, height, image.stride, salt);
  fail_unless (pirl_embedder_run (e, pictures, 1, out, &error));
  pirl_image_clear (&image);
}

static inline guint64
statistic (GstHarness * h, const gchar * field)
{
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstStructure *stats = NULL;
  guint64 value = 0;

  g_object_get (embed, "stats", &stats, NULL);
  fail_unless (gst_structure_get_uint64 (stats, field, &value));
  gst_structure_free (stats);
  gst_object_unref (embed);
  return value;
}

/* ---- flushes ------------------------------------------------------------------------------ */

/* What a source has its streaming lock for: no frame between a flush and its segment. */
static GMutex streaming;

static inline gpointer
push_while_flushed (gpointer user_data)
{
  guint passed = 0;

  for (guint i = 0; i < 400; i++) {
    GstFlowReturn ret;

    g_mutex_lock (&streaming);
    ret = gst_harness_push (user_data, frame (50, 37, i, i));
    g_mutex_unlock (&streaming);
    fail_unless (ret == GST_FLOW_OK || ret == GST_FLOW_FLUSHING, "%s", gst_flow_get_name (ret));
    passed += ret == GST_FLOW_OK;
    g_usleep (500);
  }
  return GUINT_TO_POINTER (passed);
}

/** Flushes @h (transfer full) at many moments of a stream, and gives it another model each time:
 * frames pass between the flushes. */
static inline void
flush_while_pushing (GstHarness * h)
{
  GstElement *embed = gst_harness_find_element (h, "pirlembed");
  GstSegment segment;
  GThread *thread;

  gst_harness_set_drop_buffers (h, TRUE);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  set_format (h, "RGB", 50, 37);
  thread = g_thread_new ("push", push_while_flushed, h);
  for (guint i = 0; i < 40; i++) {
    g_usleep (3000);
    fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
    g_mutex_lock (&streaming);
    fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
    fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
    g_mutex_unlock (&streaming);
    g_object_set (embed, "model-file", i & 1 ? model_a : model_b, NULL);
  }
  fail_unless (GPOINTER_TO_UINT (g_thread_join (thread)) > 0);
  gst_object_unref (embed);
  gst_harness_teardown (h);
}

/* ---- main --------------------------------------------------------------------------------- */

/** A test program: runs @suite with the models there, and looks for leaks. */
static inline int
run_embed_tests (int argc, char **argv, Suite * (*suite) (void), const gchar * file)
{
  int failed;

  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  make_models ();
  failed = gst_check_run_suite (suite (), "pirlembed", file);
  remove_models ();
  return failed;
}
