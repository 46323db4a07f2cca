/* gst-pirl: reads a text list of pictures.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A line is `path[TAB]label[TAB]split`. The path is relative to the list's folder, or absolute;
 * `..` is refused, so that a list from elsewhere cannot lead out of its folder unseen. The label is a
 * class name, or a number from 0 where all labels of the list are numbers; empty = none. The
 * split is train, test or val. Empty lines and lines that begin with # are skipped.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "listing.h"

#include <gio/gio.h>
#include <string.h>

#define CANCEL_INTERVAL 4096    /* lines */

typedef struct {
  GstPirlListing *listing;
  const gchar *path;            /* of the list */
  guint line;
  GStringChunk *chunk;
  GPtrArray *words;             /* label of each entry, in @chunk, or NULL */
} ListFile;

static gboolean
refuse (const ListFile * list, GError ** error, const gchar * what)
{
  g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "list \"%s\", line %u: %s",
      list->path, list->line, what);
  return FALSE;
}

static gboolean
leads_up (const gchar * path)
{
  g_auto (GStrv) parts = g_strsplit (path, "/", -1);

  return g_strv_contains ((const gchar * const *) parts, "..");
}

static gboolean
read_line (ListFile * list, const gchar * line, GError ** error)
{
  g_auto (GStrv) fields = g_strsplit (line, "\t", -1);
  guint n = g_strv_length (fields);
  GstPirlSplit split = GST_PIRL_SPLIT_NONE;

  if (n == 0 || *fields[0] == '\0' || *fields[0] == '#')
    return TRUE;
  if (n > 3)
    return refuse (list, error, "more than three fields; a line is path[TAB]label[TAB]split");
  if (leads_up (fields[0]))
    return refuse (list, error, "the path leads out of the list's folder by \"..\"; move the list, "
        "or write an absolute path");
  if (n == 3 && *fields[2] && !gst_pirl_split_from_word (fields[2], strlen (fields[2]), &split))
    return refuse (list, error, "the third field, the split, should be train, test or val");
  g_ptr_array_add (list->words, n > 1 && *fields[1]
      ? g_string_chunk_insert_const (list->chunk, fields[1]) : NULL);
  return gst_pirl_listing_add (list->listing, fields[0], -1, split, error);
}

static gboolean
read_lines (ListFile * list, const gchar * text, gsize size, gint * cancel, GError ** error)
{
  const gchar *end = text + size;

  while (text < end) {
    const gchar *stop = memchr (text, '\n', end - text);
    gsize length = (stop ? stop : end) - text;
    g_autofree gchar *line = NULL;

    list->line++;
    if (list->line % CANCEL_INTERVAL == 0 && gst_pirl_is_cancelled (cancel, error))
      return FALSE;
    if (memchr (text, 0, length))
      return refuse (list, error, "a zero byte; location should be a folder, a picture (JPEG or "
          "PNG) or a text list");
    line = g_strndup (text, length > 0 && text[length - 1] == '\r' ? length - 1 : length);
    if (!read_line (list, line, error))
      return FALSE;
    text = stop ? stop + 1 : end;
  }
  return TRUE;
}

gboolean
gst_pirl_listing_read_list (GstPirlListing * listing, const gchar * path, gint * cancel,
    GError ** error)
{
  ListFile list = { listing, path, 0, NULL, NULL };
  g_autoptr (GError) read_error = NULL;
  g_autofree gchar *text = NULL;
  gsize size;
  gboolean ok;

  if (!g_file_test (path, G_FILE_TEST_IS_REGULAR)
      || !g_file_get_contents (path, &text, &size, &read_error)) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_READ,
        "list \"%s\" could not be read: %s", path,
        read_error ? read_error->message : "it is not a regular file");
    return FALSE;
  }
  list.chunk = g_string_chunk_new (1024);
  list.words = g_ptr_array_new ();
  ok = read_lines (&list, text, size, cancel, error);
  if (ok)
    gst_pirl_listing_set_labels (listing, (const gchar * const *) list.words->pdata);
  g_ptr_array_unref (list.words);
  g_string_chunk_free (list.chunk);
  return ok;
}
