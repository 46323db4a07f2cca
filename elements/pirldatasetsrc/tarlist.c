/* gst-pirl: WebDataset tars as a location of pirldatasetsrc (see tarlist.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tarindex.h"
#include "tarlist.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TARS 100000

typedef struct {
  guint64 offset;
  guint32 size;
  guint32 shard;
} Place;

struct _GstPirlTars {
  GArray *shards;               /* of GstPirlShard */
  GArray *places;               /* of Place, one a sample of the listing */
};

static guint64
mtime_of (const struct stat *st)
{
  return (guint64) st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* ---- locations ----------------------------------------------------------------------------- */

gboolean
gst_pirl_is_tar_location (const gchar * location)
{
  static const gchar *const suffixes[] = {
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
    ".tar.lz4",
  };
  g_autofree gchar *lower = g_ascii_strdown (location, -1);

  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (lower, suffixes[i]))
      return TRUE;
  /* shard-{a.tar,b.tar} */
  return g_str_has_suffix (lower, "}") && strstr (lower, ".tar") != NULL;
}

/* The brace that closes the one at @open, or NULL. */
static const gchar *
closing_brace (const gchar * open)
{
  guint depth = 0;

  for (const gchar * at = open; *at; at++) {
    depth += *at == '{';
    depth -= *at == '}';
    if (depth == 0)
      return at;
  }
  return NULL;
}

/* Digits up to @end or ".."; NULL where there are none, else what follows. */
static const gchar *
read_number (const gchar * text, const gchar * end, gint64 * value, guint * width,
    gboolean * padded)
{
  const gchar *at = text;

  for (*value = 0; at < end && g_ascii_isdigit (*at) && at - text < 18; at++)
    *value = 10 * *value + (*at - '0');
  if (at == text)
    return NULL;
  *width = MAX (*width, (guint) (at - text));
  *padded |= *text == '0' && at - text > 1;
  return at;
}

/* "003..011": every number between the two, padded when one of them is. FALSE when it is no
 * range. */
static gboolean
expand_range (const gchar * text, const gchar * end, GPtrArray * alternatives)
{
  gint64 first, last, step;
  gboolean padded = FALSE;
  guint width = 0;

  text = read_number (text, end, &first, &width, &padded);
  if (text == NULL || end - text < 3 || text[0] != '.' || text[1] != '.')
    return FALSE;
  if (read_number (text + 2, end, &last, &width, &padded) != end)
    return FALSE;
  step = first <= last ? 1 : -1;
  for (gint64 i = first; alternatives->len <= MAX_TARS; i += step) {
    g_ptr_array_add (alternatives, g_strdup_printf ("%0*" G_GINT64_FORMAT,
            padded ? (gint) width : 0, i));
    if (i == last)
      break;
  }
  return TRUE;
}

/* "a,b{c,d}": what the commas outside of inner braces part. FALSE when there is none. */
static gboolean
expand_list (const gchar * text, const gchar * end, GPtrArray * alternatives)
{
  const gchar *start = text;
  guint depth = 0;

  for (const gchar * at = text; at <= end; at++) {
    if (at == end || (*at == ',' && depth == 0)) {
      g_ptr_array_add (alternatives, g_strndup (start, at - start));
      start = at + 1;
    } else {
      depth += *at == '{';
      depth -= *at == '}';
    }
  }
  return alternatives->len > 1;
}

static void
expand_braces (const gchar * prefix, const gchar * rest, GPtrArray * paths)
{
  g_autoptr (GPtrArray) alternatives = g_ptr_array_new_with_free_func (g_free);
  const gchar *open = strchr (rest, '{'), *close = open ? closing_brace (open) : NULL;
  g_autofree gchar *head = NULL;

  if (paths->len > MAX_TARS)
    return;
  if (close == NULL) {
    g_ptr_array_add (paths, g_strconcat (prefix, rest, NULL));
    return;
  }
  head = g_strdup_printf ("%s%.*s", prefix, (gint) (open - rest), rest);
  if (!expand_range (open + 1, close, alternatives)) {
    if (!expand_list (open + 1, close, alternatives)) {
      g_autofree gchar *literal = g_strconcat (head, "{", NULL);

      expand_braces (literal, open + 1, paths);
      return;
    }
  }
  for (guint i = 0; i < alternatives->len; i++) {
    g_autofree gchar *tail = g_strconcat (g_ptr_array_index (alternatives, i), close + 1, NULL);

    expand_braces (head, tail, paths);
  }
}

static gint
compare_paths (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const gchar * const *) a, *(const gchar * const *) b);
}

/* Adds the files that @pattern matches, byte by byte in order, or @pattern itself. */
static void
expand_wildcards (const gchar * pattern, GPtrArray * paths)
{
  glob_t found;

  if (strpbrk (pattern, "*?[") == NULL || g_file_test (pattern, G_FILE_TEST_EXISTS)) {
    g_ptr_array_add (paths, g_strdup (pattern));
    return;
  }
  if (glob (pattern, GLOB_NOSORT, NULL, &found) == 0) {
    if (found.gl_pathc > 1)
      qsort (found.gl_pathv, found.gl_pathc, sizeof (*found.gl_pathv), compare_paths);
    for (gsize i = 0; i < found.gl_pathc && paths->len <= MAX_TARS; i++)
      g_ptr_array_add (paths, g_strdup (found.gl_pathv[i]));
    globfree (&found);
  }
}

/* The paths that @location stands for, at least one. */
static GPtrArray *
expand_location (const gchar * location, GError ** error)
{
  g_autoptr (GPtrArray) patterns = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);

  if (g_file_test (location, G_FILE_TEST_EXISTS))
    g_ptr_array_add (patterns, g_strdup (location));
  else
    expand_braces ("", location, patterns);
  for (guint i = 0; i < patterns->len; i++)
    expand_wildcards (g_ptr_array_index (patterns, i), paths);
  if (paths->len == 0) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
        "location \"%s\" matches no file; tars are named as in shard-000000.tar, "
        "shard-{000000..000009}.tar or folder/*.tar", location);
    return NULL;
  }
  if (paths->len > MAX_TARS) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "location \"%s\" names more than %d tars", location, MAX_TARS);
    return NULL;
  }
  return g_steal_pointer (&paths);
}

static gboolean
refuse_missing (const gchar * path, GError ** error)
{
  gboolean exists = g_file_test (path, G_FILE_TEST_EXISTS);

  g_set_error (error, GST_RESOURCE_ERROR, exists ? GST_RESOURCE_ERROR_OPEN_READ
      : GST_RESOURCE_ERROR_NOT_FOUND, "tar \"%s\" %s", path,
      exists ? "cannot be read, or is not a regular file" : "does not exist; tars are named as in "
      "shard-000000.tar, shard-{000000..000009}.tar or folder/*.tar");
  return FALSE;
}

gboolean
gst_pirl_tars_probe (const gchar * location, GError ** error)
{
  g_autoptr (GPtrArray) paths = expand_location (location, error);

  if (paths == NULL)
    return FALSE;
  if (!g_file_test (g_ptr_array_index (paths, 0), G_FILE_TEST_EXISTS))
    return refuse_missing (g_ptr_array_index (paths, 0), error);
  return TRUE;
}

/* ---- listing ------------------------------------------------------------------------------- */

/* Everything that grows while tars are listed. */
typedef struct {
  GstPirlListing *listing;
  GstPirlLabels labels;
  GStringChunk *chunk;
  GPtrArray *words;             /* label of each entry, in @chunk, or NULL */
  GstPirlSkipped skipped;
} TarListing;

static gboolean
refuse_compressed (const gchar * path, gint fd, GError ** error)
{
  static const struct
  {
    const gchar *magic, *name, *tool;
  } formats[] = {
    {"\x1f\x8b", "gzip", "gunzip"}, {"BZh", "bzip2", "bunzip2"},
    {"\xfd" "7zXZ", "xz", "unxz"}, {"\x28\xb5\x2f\xfd", "zstd", "unzstd"},
    {"\x04\x22\x4d\x18", "lz4", "unlz4"},
  };
  gchar head[8] = { 0 };

  if (pread (fd, head, sizeof (head), 0) < 0)
    return TRUE;                /* the next read says why */
  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    if (memcmp (head, formats[i].magic, strlen (formats[i].magic)) != 0)
      continue;
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "tar \"%s\" is compressed with %s, so that samples cannot be read in any order; unpack it "
        "once with \"%s -k\" and give the .tar", path, formats[i].name, formats[i].tool);
    return FALSE;
  }
  return TRUE;
}

static gint
open_shard (const gchar * path, GstPirlShard * shard, GError ** error)
{
  gint fd = gst_pirl_open_regular (AT_FDCWD, path);
  struct stat st;

  if (fd < 0 || fstat (fd, &st) != 0) {
    refuse_missing (path, error);
  } else if (refuse_compressed (path, fd, error)) {
    shard->path = g_strdup (path);
    shard->size = st.st_size;
    shard->mtime = mtime_of (&st);
    return fd;
  }
  if (fd >= 0)
    close (fd);
  return -1;
}

/* What the sample's label is called, NULL = none: of labels=folder the first folder in the tar. */
static const gchar *
choose_word (TarListing * list, const GstPirlTarSample * line)
{
  const gchar *slash = strchr (line->name, '/');
  g_autofree gchar *folder = NULL;

  if (list->labels != GST_PIRL_LABELS_FOLDER)
    return line->label ? g_string_chunk_insert_const (list->chunk, line->label) : NULL;
  folder = slash ? g_strndup (line->name, slash - line->name) : NULL;
  return folder ? g_string_chunk_insert_const (list->chunk, folder) : NULL;
}

static gboolean
add_lines (TarListing * list, const gchar * path, const GArray * lines, GError ** error)
{
  GstPirlTars *tars = list->listing->tars;
  g_autofree gchar *base = g_path_get_basename (path);

  for (guint i = 0; i < lines->len; i++) {
    const GstPirlTarSample *line = &g_array_index (lines, GstPirlTarSample, i);
    const Place place = { line->offset, (guint32) line->size, tars->shards->len - 1 };
    g_autofree gchar *name = g_strconcat (base, "/", line->name, NULL);

    if (!gst_pirl_listing_add (list->listing, name, -1, GST_PIRL_SPLIT_NONE, error))
      return FALSE;
    g_array_append_val (tars->places, place);
    g_ptr_array_add (list->words, (gpointer) choose_word (list, line));
  }
  return TRUE;
}

static gboolean
add_tar (TarListing * list, const gchar * path, gint * cancel, GError ** error)
{
  GstPirlShard shard = { 0 };
  gint fd = open_shard (path, &shard, error);
  g_autoptr (GArray) lines = NULL;
  g_autofree gchar *text = NULL;
  GstPirlSkipped skipped = { 0 };

  if (fd < 0)
    return FALSE;
  g_array_append_val (list->listing->tars->shards, shard);
  lines = gst_pirl_tar_index_get (&shard, fd, cancel, &text, &skipped, error);
  close (fd);
  if (skipped.n > 0 && list->skipped.n == 0)
    list->skipped.first = g_strdup_printf ("in \"%s\": %s", path, skipped.first);
  list->skipped.n += skipped.n;
  g_free (skipped.first);
  return lines != NULL && add_lines (list, path, lines, error);
}

/* By the last word of the tar's name that is one ("imagenet-val-000000.tar"), or its folder's
 * name. */
static gboolean
split_of_tar (const gchar * path, GstPirlSplit * split)
{
  g_autofree gchar *base = g_path_get_basename (path), *folder = g_path_get_dirname (path);
  g_autofree gchar *above = g_path_get_basename (folder);
  gboolean found = gst_pirl_split_from_word (above, strlen (above), split);
  gsize length;

  for (const gchar * at = base; *at; at += MAX (length, 1)) {
    for (length = 0; g_ascii_isalpha (at[length]);)
      length++;
    found |= gst_pirl_split_from_word (at, length, split);
  }
  return found;
}

/* As with folders, only when every tar has one. */
static void
assign_splits (GstPirlListing * listing)
{
  const GstPirlTars *tars = listing->tars;
  g_autofree GstPirlSplit *splits = g_new (GstPirlSplit, tars->shards->len);

  for (guint i = 0; i < tars->shards->len; i++)
    if (!split_of_tar (g_array_index (tars->shards, GstPirlShard, i).path, &splits[i]))
      return;
  for (guint i = 0; i < listing->entries->len; i++)
    g_array_index (listing->entries, GstPirlEntry, i).split =
        splits[g_array_index (tars->places, Place, i).shard];
}

static void
clear_shard (gpointer shard)
{
  g_free (((GstPirlShard *) shard)->path);
}

gboolean
gst_pirl_listing_read_tars (GstPirlListing * listing, const gchar * location,
    GstPirlLabels labels, gint * cancel, gchar ** warning, GError ** error)
{
  g_autoptr (GPtrArray) paths = expand_location (location, error);
  TarListing list = { listing, labels, NULL, NULL, {0} };
  gboolean ok = paths != NULL;

  listing->tars = g_new0 (GstPirlTars, 1);
  listing->tars->shards = g_array_new (FALSE, FALSE, sizeof (GstPirlShard));
  g_array_set_clear_func (listing->tars->shards, clear_shard);
  listing->tars->places = g_array_new (FALSE, FALSE, sizeof (Place));
  list.chunk = g_string_chunk_new (1024);
  list.words = g_ptr_array_new ();
  for (guint i = 0; ok && i < paths->len; i++)
    ok = !gst_pirl_is_cancelled (cancel, error)
        && add_tar (&list, g_ptr_array_index (paths, i), cancel, error);
  if (ok) {
    assign_splits (listing);
    gst_pirl_listing_set_labels (listing, (const gchar * const *) list.words->pdata);
  }
  if (list.skipped.n > 0)
    *warning = g_strdup_printf ("%" G_GUINT64_FORMAT " entries of the tars could not be used as "
        "they are, first %s", list.skipped.n, list.skipped.first);
  g_free (list.skipped.first);
  g_ptr_array_unref (list.words);
  g_string_chunk_free (list.chunk);
  return ok;
}

void
gst_pirl_tars_free (GstPirlTars * tars)
{
  g_array_unref (tars->shards);
  g_array_unref (tars->places);
  g_free (tars);
}

/* ---- reading ------------------------------------------------------------------------------- */

static gboolean
read_at (gint fd, guint8 * data, gsize size, guint64 offset)
{
  while (size > 0) {
    gssize n = pread (fd, data, size, (off_t) offset);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return FALSE;
    data += n;
    size -= n;
    offset += n;
  }
  return TRUE;
}

/* Opens the tar anew for each sample, as files of a folder are: there may be more tars than a
 * process may have files open. */
guint8 *
gst_pirl_tars_read (const GstPirlTars * tars, guint64 i, gsize * size, GError ** error)
{
  const Place *place = &g_array_index (tars->places, Place, i);
  const GstPirlShard *shard = &g_array_index (tars->shards, GstPirlShard, place->shard);
  gint fd = gst_pirl_open_regular (AT_FDCWD, shard->path);
  g_autofree guint8 *data = g_try_malloc (MAX (place->size, 1));
  const gchar *why = NULL;
  struct stat st;

  if (fd < 0)
    why = "is gone, or cannot be read";
  else if (fstat (fd, &st) != 0 || st.st_size != shard->size || mtime_of (&st) != shard->mtime)
    why = "has changed since it was listed";
  else if (data == NULL)
    why = "holds a picture that is too large for the memory";
  else if (!read_at (fd, data, place->size, place->offset))
    why = "could not be read";
  if (fd >= 0)
    close (fd);
  if (why) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "tar \"%s\" %s", shard->path, why);
    return NULL;
  }
  *size = place->size;
  return g_steal_pointer (&data);
}
