/* gst-pirl: reading embeddings in tests.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "meta.h"

#include <gst/check/gstcheck.h>
#include <math.h>

static inline const GstStructure *
embedding_of (GstBuffer * buffer)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_EMBEDDING_META);

  return meta ? gst_custom_meta_get_structure (meta) : NULL;
}

/* The meta's floats; borrowed from the buffer. */
static inline const gfloat *
vector_of (GstBuffer * buffer, guint size)
{
  const GstStructure *s = embedding_of (buffer);
  guint announced = 0;
  GBytes *bytes;

  fail_unless (s != NULL, "no meta " GST_PIRL_EMBEDDING_META);
  fail_unless (gst_structure_get_uint (s, "size", &announced));
  fail_unless_equals_int (announced, size);
  bytes = g_value_get_boxed (gst_structure_get_value (s, "data"));
  fail_unless_equals_int (g_bytes_get_size (bytes), size * sizeof (gfloat));
  return g_bytes_get_data (bytes, NULL);
}

static inline GstClockTime
age_of (GstBuffer * buffer)
{
  guint64 age = 0;

  fail_unless (gst_structure_get_uint64 (embedding_of (buffer), "age", &age));
  return age;
}

static inline gdouble
cosine (const gfloat * a, const gfloat * b, guint n)
{
  gdouble ab = 0, aa = 0, bb = 0;

  for (guint i = 0; i < n; i++) {
    ab += (gdouble) a[i] * b[i];
    aa += (gdouble) a[i] * a[i];
    bb += (gdouble) b[i] * b[i];
  }
  return ab / sqrt (aa * bb);
}

static inline void
keep_buffer (GstElement * sink, GstBuffer * buffer, GstPad * pad, GPtrArray * buffers)
{
  g_ptr_array_add (buffers, gst_buffer_ref (buffer));
}

/* Runs a pipeline that ends in "fakesink name=s"; the buffers that arrived there. */
static inline GPtrArray *
run_pipeline (const gchar * line)
{
  GPtrArray *buffers = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_buffer_unref);
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error), *sink;
  GstBus *bus;
  GstMessage *message;

  g_assert_no_error (error);
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "s");
  bus = gst_element_get_bus (pipeline);
  g_object_set (sink, "signal-handoffs", TRUE, NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (keep_buffer), buffers);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  message = gst_bus_timed_pop_filtered (bus, 50 * GST_SECOND, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless (message != NULL);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
    gst_message_parse_error (message, &error, NULL);
    fail ("%s: %s", line, error->message);
  }
  gst_message_unref (message);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (sink);
  gst_object_unref (pipeline);
  return buffers;
}
