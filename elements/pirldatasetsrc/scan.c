/* gst-pirl: finds the pictures of a folder.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Names are sorted byte by byte, so that a sample's index is the same on every machine and
 * file system. Links are followed, except one that leads to a folder it lies in.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_DEPTH 64            /* folders below each other; links can make any number */
#define CANCEL_INTERVAL 256     /* names between two looks at the flag */

typedef struct {
  dev_t device;
  ino_t inode;
} FolderId;

typedef struct {
  GstPirlListing *listing;
  gint *cancel;
  GString *path;                /* of the folder being read, relative, ends with '/' unless empty */
  FolderId above[MAX_DEPTH];    /* the folders it lies in */
  guint depth;
  guint unreadable;             /* folders */
  gchar *first_unreadable;
} Scan;

typedef enum { KIND_FOLDER, KIND_FILE, KIND_OTHER } Kind;

static Kind
kind_of (gint folder, const struct dirent *entry)
{
  struct stat st;

  if (entry->d_type == DT_DIR)
    return KIND_FOLDER;
  if (entry->d_type == DT_REG)
    return KIND_FILE;
  if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN)
    return KIND_OTHER;
  if (fstatat (folder, entry->d_name, &st, 0) != 0)
    return KIND_OTHER;
  return S_ISDIR (st.st_mode) ? KIND_FOLDER : S_ISREG (st.st_mode) ? KIND_FILE : KIND_OTHER;
}

/* By the extension, which costs nothing; by the first bytes where there is none. */
static gboolean
looks_like_picture (gint folder, const gchar * name)
{
  const gchar *dot = strrchr (name, '.');

  return dot ? gst_pirl_is_picture_extension (dot + 1) : gst_pirl_is_picture (folder, name);
}

/* A folder that cannot be read is not the end of the others. */
static void
note_unreadable (Scan * scan, const gchar * name, const gchar * why)
{
  if (scan->unreadable++ == 0)
    scan->first_unreadable = g_strdup_printf ("\"%s/%s%s\": %s", scan->listing->folder,
        scan->path->str, name, why);
}

/* Takes @fd. FALSE when the folder is one of those it lies in, or they are too many. */
static DIR *
enter_folder (Scan * scan, gint fd, const gchar * name)
{
  struct stat st;
  DIR *dir;

  if (fstat (fd, &st) != 0 || scan->depth == MAX_DEPTH) {
    note_unreadable (scan, name, "too many folders below each other");
    close (fd);
    return NULL;
  }
  for (guint i = 0; i < scan->depth; i++) {
    if (scan->above[i].device == st.st_dev && scan->above[i].inode == st.st_ino) {
      close (fd);
      return NULL;
    }
  }
  dir = fdopendir (fd);
  if (dir == NULL) {
    close (fd);
    return NULL;
  }
  scan->above[scan->depth].device = st.st_dev;
  scan->above[scan->depth++].inode = st.st_ino;
  return dir;
}

static gboolean scan_folder (Scan * scan, gint parent, const gchar * name, GError ** error);

static gboolean
scan_entry (Scan * scan, gint folder, const struct dirent *entry, GError ** error)
{
  gsize length = scan->path->len;
  gboolean ok = TRUE;

  if (entry->d_name[0] == '.')  /* hidden ones too: thumbnails, resource forks */
    return TRUE;
  switch (kind_of (folder, entry)) {
    case KIND_FOLDER:
      ok = scan_folder (scan, folder, entry->d_name, error);
      break;
    case KIND_FILE:
      if (looks_like_picture (folder, entry->d_name)) {
        g_string_append (scan->path, entry->d_name);
        ok = gst_pirl_listing_add (scan->listing, scan->path->str, -1, GST_PIRL_SPLIT_NONE, error);
      }
      break;
    case KIND_OTHER:
      break;
  }
  g_string_truncate (scan->path, length);
  return ok;
}

static gboolean
scan_folder (Scan * scan, gint parent, const gchar * name, GError ** error)
{
  gint fd = openat (parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  gboolean ok = TRUE;
  struct dirent *entry;
  DIR *dir;

  if (fd < 0) {
    note_unreadable (scan, name, g_strerror (errno));
    return TRUE;
  }
  dir = enter_folder (scan, fd, name);
  if (dir == NULL)
    return TRUE;
  if (scan->depth > 1)
    g_string_append_printf (scan->path, "%s/", name);
  for (guint n = 0; ok && (entry = readdir (dir)) != NULL; n++)
    ok = (n % CANCEL_INTERVAL != 0 || !gst_pirl_is_cancelled (scan->cancel, error))
        && scan_entry (scan, dirfd (dir), entry, error);
  closedir (dir);
  scan->depth--;
  return ok;
}

static gint
compare_names (gconstpointer a, gconstpointer b, gpointer listing)
{
  return strcmp (gst_pirl_listing_name (listing, a), gst_pirl_listing_name (listing, b));
}

/* ---- splits and classes --------------------------------------------------------------------- */

/* TRUE when every picture lies in a folder called train, test, val or the like: a class may well be
 * called "train", but hardly all of them. */
static gboolean
assign_splits (GstPirlListing * listing)
{
  GArray *entries = listing->entries;
  GstPirlSplit split;

  for (guint i = 0; i < entries->len; i++) {
    const gchar *name = gst_pirl_listing_name (listing, &g_array_index (entries, GstPirlEntry, i));
    const gchar *slash = strchr (name, '/');

    if (slash == NULL || !gst_pirl_split_from_word (name, slash - name, &split))
      return FALSE;
  }
  for (guint i = 0; i < entries->len; i++) {
    GstPirlEntry *entry = &g_array_index (entries, GstPirlEntry, i);
    const gchar *name = gst_pirl_listing_name (listing, entry);

    if (gst_pirl_split_from_word (name, strchr (name, '/') - name, &split))
      entry->split = split;
  }
  return TRUE;
}

/* The class is the first folder of the name, after that of the split. */
static void
assign_labels (GstPirlListing * listing, gboolean has_splits)
{
  GArray *entries = listing->entries;
  g_autofree const gchar **words = g_new0 (const gchar *, entries->len + 1);
  GStringChunk *chunk = g_string_chunk_new (256);

  for (guint i = 0; i < entries->len; i++) {
    const gchar *name = gst_pirl_listing_name (listing, &g_array_index (entries, GstPirlEntry, i));
    const gchar *first = has_splits ? strchr (name, '/') + 1 : name;
    const gchar *slash = strchr (first, '/');
    g_autofree gchar *word = slash ? g_strndup (first, slash - first) : NULL;

    words[i] = word ? g_string_chunk_insert_const (chunk, word) : NULL;
  }
  gst_pirl_listing_set_classes (listing, words);
  g_string_chunk_free (chunk);
}

gboolean
gst_pirl_listing_scan (GstPirlListing * listing, GstPirlLabels labels, gint * cancel,
    gchar ** warning, GError ** error)
{
  Scan scan = { listing, cancel, g_string_new (NULL), {{0}}, 0, 0, NULL };
  gboolean ok = scan_folder (&scan, AT_FDCWD, listing->folder, error);
  gboolean has_splits;

  g_string_free (scan.path, TRUE);
  if (scan.unreadable > 0)
    *warning = g_strdup_printf ("%u folder(s) could not be read and are left out, first %s",
        scan.unreadable, scan.first_unreadable);
  g_free (scan.first_unreadable);
  if (!ok || gst_pirl_is_cancelled (cancel, error))
    return FALSE;
  g_array_sort_with_data (listing->entries, compare_names, listing);
  has_splits = assign_splits (listing);
  if (labels == GST_PIRL_LABELS_FOLDER)
    assign_labels (listing, has_splits);
  return TRUE;
}
