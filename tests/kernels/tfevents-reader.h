/* gst-pirl: a reader of TensorBoard's event files, for tests; it shares nothing with the writer but
 * the sum, which base-tfevents-test.c holds against published values.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <string.h>

#include "base/tfevents.h"

typedef struct {
  gdouble wall_time;
  guint64 step;
  gchar *version;               /* of a file's first event; NULL */
  gboolean start;               /* of a run */
  gchar *tag;                   /* of a scalar; NULL */
  gfloat value;
} TestEvent;

static inline void
test_event_free (gpointer data)
{
  TestEvent *event = data;

  g_free (event->version);
  g_free (event->tag);
  g_free (event);
}

static inline guint64
test_varint (const guint8 **at, const guint8 *end)
{
  guint64 value = 0;

  for (guint shift = 0;; shift += 7) {
    g_assert_true (*at < end && shift < 64);
    value |= (guint64) (**at & 0x7f) << shift;
    if (!(*(*at)++ & 0x80))
      return value;
  }
}

/* Fields of a message at any depth, named by the path of their numbers, as in 5.1.2. */
static inline void
test_read_message (TestEvent *event, const gchar *path, const guint8 *at, const guint8 *end)
{
  while (at < end) {
    const guint64 tag = test_varint (&at, end), wire = tag & 7;
    const guint64 number = wire == 0 || wire == 2 ? test_varint (&at, end) : 0;
    const guint64 size = wire == 2 ? number : wire == 1 ? 8 : wire == 5 ? 4 : 0;
    g_autofree gchar *name = g_strdup_printf ("%s%s%u", path, *path ? "." : "",
        (guint) (tag >> 3));

    g_assert_cmpuint (size, <=, (guint64) (end - at));
    if (strcmp (name, "1") == 0)
      memcpy (&event->wall_time, at, 8);
    else if (strcmp (name, "2") == 0)
      event->step = number;
    else if (strcmp (name, "3") == 0)
      event->version = g_strndup ((const gchar *) at, size);
    else if (strcmp (name, "5.1.1") == 0)
      event->tag = g_strndup ((const gchar *) at, size);
    else if (strcmp (name, "5.1.2") == 0)
      memcpy (&event->value, at, 4);
    else if (strcmp (name, "7.1") == 0)
      event->start = number == 1;
    else if (g_str_equal (name, "5") || g_str_equal (name, "5.1") || g_str_equal (name, "7"))
      test_read_message (event, name, at, at + size);
    else
      g_error ("field %s", name);
    at += size;
  }
}

static inline void
test_check_masked (const guint8 *data, gsize size)
{
  const guint32 crc = pirl_crc32c (data, size);
  guint32 masked;

  memcpy (&masked, data + size, sizeof masked);
  g_assert_cmphex (masked, ==, ((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

/* All events (TestEvent) of @path; asserts that records are whole and their sums right. */
static inline GPtrArray *
test_read_events (const gchar *path)
{
  GPtrArray *events = g_ptr_array_new_with_free_func (test_event_free);
  g_autofree gchar *data = NULL;
  gsize size, at = 0;

  g_assert_true (g_file_get_contents (path, &data, &size, NULL));
  while (at < size) {
    const guint8 *record = (const guint8 *) data + at;
    TestEvent *event = g_new0 (TestEvent, 1);
    guint64 length;

    g_assert_cmpuint (size - at, >=, 16);
    memcpy (&length, record, sizeof length);
    test_check_masked (record, sizeof length);
    g_assert_cmpuint (length, <=, size - at - 16);
    test_check_masked (record + 12, length);
    test_read_message (event, "", record + 12, record + 12 + length);
    g_ptr_array_add (events, event);
    at += 16 + length;
  }
  return events;
}

static inline gint
test_compare_paths (gconstpointer a, gconstpointer b)
{
  return strcmp (*(gchar *const *) a, *(gchar *const *) b);
}

/* The event files of @folder, oldest first. */
static inline GPtrArray *
test_event_files (const gchar *folder)
{
  GPtrArray *files = g_ptr_array_new_with_free_func (g_free);
  GDir *dir = g_dir_open (folder, 0, NULL);
  const gchar *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_assert_true (g_str_has_prefix (name, "events.out.tfevents."));
    g_ptr_array_add (files, g_build_filename (folder, name, NULL));
  }
  g_clear_pointer (&dir, g_dir_close);
  g_ptr_array_sort (files, test_compare_paths);
  return files;
}
