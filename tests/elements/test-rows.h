/* gst-pirl: the cases of a test program without GStreamer, as a table.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/** A case: what its name is behind the program's prefix, and what runs. */
typedef struct {
  const gchar *name;
  void (*run) (void);
} TestRow;

/** Adds @n cases, whose paths begin with @prefix ("/cloud/"). */
static inline void
test_add_rows (const gchar * prefix, const TestRow * rows, guint n)
{
  for (guint i = 0; i < n; i++) {
    g_autofree gchar *path = g_strconcat (prefix, rows[i].name, NULL);

    g_test_add_func (path, rows[i].run);
  }
}
