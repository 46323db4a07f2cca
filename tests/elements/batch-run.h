/* gst-pirl: what tests of pirlembed with batches share.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What leaves the element is written down in the order in which it leaves, from whatever thread:
 * frames by their number, events by their name. */
#pragma once

#include "embed-run.h"

#define ROUNDING 1e-5           /* between batches of vectors of length 1 */
#define WAIT_UNTIL_FULL "batch-timeout=0"

/* ---- what leaves the element -------------------------------------------------------------- */

static GMutex record_lock;
static GPtrArray *record;

static inline void
note (const gchar * format, ...)
{
  va_list args;

  va_start (args, format);
  g_mutex_lock (&record_lock);
  g_ptr_array_add (record, g_strdup_vprintf (format, args));
  g_mutex_unlock (&record_lock);
  va_end (args);
}

static inline void
note_event (GstEvent * event)
{
  const GstStructure *s = gst_event_get_structure (event);
  gint number = 0, width = 0;
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_CUSTOM_DOWNSTREAM:
      gst_structure_get_int (s, "number", &number);
      note ("mark %d", number);
      break;
    case GST_EVENT_CAPS:
      gst_event_parse_caps (event, &caps);
      if (gst_structure_get_int (gst_caps_get_structure (caps, 0), "width", &width))
        note ("caps %d", width);
      else
        note ("caps %s", gst_structure_get_string (gst_caps_get_structure (caps, 0),
                "dimensions"));
      break;
    default:
      note ("%s", GST_EVENT_TYPE_NAME (event));
      break;
  }
}

static inline GstPadProbeReturn
on_data (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  if (GST_IS_BUFFER (info->data))
    note ("frame %d", (gint) (GST_BUFFER_PTS (info->data) / FRAME));
  else
    note_event (GST_EVENT (info->data));
  return GST_PAD_PROBE_OK;
}

/* The record so far as one line; starts a new one. */
static inline gchar *
take_record (void)
{
  gchar *line;

  g_mutex_lock (&record_lock);
  g_ptr_array_add (record, NULL);
  line = g_strjoinv (", ", (gchar **) record->pdata);
  g_ptr_array_set_size (record, 0);
  g_mutex_unlock (&record_lock);
  return line;
}

static inline void
assert_record (const gchar * want)
{
  g_autofree gchar *got = take_record ();

  fail_unless (g_str_equal (got, want), "left: %s\nexpected: %s", got, want);
}

static inline void
start_record (void)
{
  record = g_ptr_array_new_with_free_func (g_free);
}

static inline void
end_record (void)
{
  g_clear_pointer (&record, g_ptr_array_unref);
  leaks_none ();
}

/* ---- helpers ------------------------------------------------------------------------------ */

static inline GstHarness *
batch_harness (const gchar * model, const gchar * properties)
{
  GstHarness *h = harness_new (model, properties);

  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      on_data, NULL, NULL);
  return h;
}

static inline void
push (GstHarness * h, gint width, gint height, guint number)
{
  fail_unless_equals_int (gst_harness_push (h, frame (width, height, number, number)),
      GST_FLOW_OK);
}

static inline void
push_frames (GstHarness * h, guint first, guint n)
{
  for (guint i = first; i < first + n; i++)
    push (h, 50, 37, i);
}

static inline void
push_mark (GstHarness * h, gint number)
{
  fail_unless (gst_harness_push_event (h, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM,
              gst_structure_new ("mark", "number", G_TYPE_INT, number, NULL))));
}

static inline void
push_segment (GstHarness * h)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
}

/* Returns when all that went in has left. */
static inline void
drain (GstHarness * h)
{
  GstQuery *query = gst_query_new_drain ();

  gst_pad_peer_query (h->srcpad, query);
  gst_query_unref (query);
}

/* The kernels' vectors, made once a picture. */
static inline const gfloat *
vector_for (const gchar * model, gint width, gint height, guint salt, guint size)
{
  static GHashTable *vectors;
  gchar *key = g_strdup_printf ("%s %d %d %u", model, width, height, salt);
  gfloat *vector;

  if (vectors == NULL)
    vectors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  vector = g_hash_table_lookup (vectors, key);
  if (vector != NULL) {
    g_free (key);
    return vector;
  }
  vector = g_new (gfloat, size);
  embed_directly (model, NULL, width, height, salt, size, vector);
  g_hash_table_insert (vectors, key, vector);
  return vector;
}

static inline gdouble
difference (const gfloat * a, const gfloat * b, guint n)
{
  gdouble most = 0;

  for (guint i = 0; i < n; i++)
    most = MAX (most, fabs (a[i] - b[i]));
  return most;
}

static inline void
assert_close (GstBuffer * buffer, const gchar * model, gint width, gint height, guint salt,
    guint size)
{
  gdouble d = difference (vector_of (buffer, size), vector_for (model, width, height, salt, size),
      size);

  fail_unless (d <= ROUNDING, "the embedding differs by %g from that of picture %u", d, salt);
}

/* Takes the next frame, which must be this one with its own embedding by the model a. */
static inline void
pull_own (GstHarness * h, gint width, gint height, guint number)
{
  GstBuffer *buffer = gst_harness_pull (h);

  fail_unless (buffer != NULL, "frame %u did not come", number);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), number * FRAME);
  fail_unless_equals_uint64 (age_of (buffer), 0);
  assert_close (buffer, model_a, width, height, number, DIM);
  gst_buffer_unref (buffer);
}

/* A probe that makes downstream slow: @user_data, microseconds a frame. */
static inline GstPadProbeReturn
dawdle (GstPad * pad, GstPadProbeInfo * info, gpointer user_data)
{
  g_usleep (GPOINTER_TO_INT (user_data));
  return GST_PAD_PROBE_OK;
}

static inline GstMessage *
wait_for (GstElement * pipeline, GstMessageType types)
{
  GstBus *bus = gst_element_get_bus (pipeline);
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 50 * GST_SECOND, types);

  gst_object_unref (bus);
  fail_unless (message != NULL);
  return message;
}
