/* gst-pirl: nothing may be left alive when a test of elements ends.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/check/gstcheck.h>

/** To be called before gst_check_init(). */
static inline void
leaks_watch (void)
{
  g_setenv ("GST_TRACERS", "leaks(filters=\"GstElement,GstPad,GstBuffer,GstEvent,GstMessage,"
      "GstQuery\")", TRUE);
}

/** The teardown of a checked fixture. */
static inline void
leaks_none (void)
{
  GList *tracers = gst_tracing_get_active_tracers ();
  GstStructure *live = NULL;
  const GValue *list;

  fail_unless (tracers != NULL, "the leaks tracer is not active");
  g_signal_emit_by_name (tracers->data, "get-live-objects", &live);
  list = gst_structure_get_value (live, "live-objects-list");
  if (list != NULL && gst_value_list_get_size (list) > 0) {
    g_autofree gchar *text = gst_structure_to_string (live);

    fail ("left alive: %.1000s", text);
  }
  gst_structure_free (live);
  g_list_free_full (tracers, gst_object_unref);
}
