/* gst-pirl: runs a fuzzing program's function once over files, without libFuzzer.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Usage: fuzz-NAME-replay FILE-OR-FOLDER...
 * Each file is copied to memory of exactly its size, so that the sanitizers see a byte too far.
 */
#include <string.h>

#include "fuzz.h"

#define NOTHING_TO_DO 77

static guint
replay (const gchar *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  g_autofree gchar *contents = NULL;
  g_autofree guint8 *exact = NULL;
  const gchar *name;
  gsize size;
  guint n = 0;

  if (dir) {
    while ((name = g_dir_read_name (dir))) {
      g_autofree gchar *inside = g_build_filename (path, name, NULL);
      n += replay (inside);
    }
    return n;
  }
  if (!g_file_get_contents (path, &contents, &size, NULL))
    return 0;
  exact = g_malloc (MAX (size, 1));
  memcpy (exact, contents, size);
  LLVMFuzzerTestOneInput (exact, size);
  return 1;
}

int
main (int argc, char **argv)
{
  guint n = 0;

  for (gint i = 1; i < argc; i++)
    n += replay (argv[i]);
  g_print ("%u files replayed\n", n);
  if (n == 0)
    g_print ("skipped: no file in what was given\n");
  return n ? 0 : NOTHING_TO_DO;
}
