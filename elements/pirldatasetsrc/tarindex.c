/* gst-pirl: what one WebDataset tar holds (see tarindex.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libarchive reads the headers once and the index is written: text, a line a sample,
 *
 *   pirl-tar-index 1
 *   SIZE TAB MTIME TAB SAMPLES TAB SKIPPED      of the tar, bytes and nanoseconds
 *   the first reason to skip something
 *   OFFSET TAB SIZE TAB LABEL TAB NAME          of a picture's bytes in the tar
 *   end
 *
 * Samples are taken from this text, whether it was just made or read, so that both give the same;
 * an index that does not fit its tar, or makes no sense, is made anew.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tarindex.h"

#include <archive.h>
#include <archive_entry.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LABEL 255           /* bytes of a .cls */
#define TAR_BLOCK 512           /* headers and data begin at multiples */
#define READ_SIZE 16384         /* at once; pictures are jumped over in multiples of it */
#define CANCEL_INTERVAL 256     /* entries between two looks at the flag */
#define INDEX_MAGIC "pirl-tar-index 1"
#define INDEX_SLACK 4096        /* bytes that an index may be longer than its tar */

static void
skip (GstPirlSkipped * skipped, const gchar * what, const gchar * why)
{
  g_autofree gchar *shown = NULL;

  if (skipped->n++ > 0)
    return;
  shown = g_utf8_make_valid (what, -1);
  skipped->first = g_strdup_printf ("\"%s\" %s", shown, why);
  g_strdelimit (skipped->first, "\n\r\t", '?');
}

/* ---- names --------------------------------------------------------------------------------- */

typedef enum { NAME_FIT, NAME_HIDDEN, NAME_UNFIT } NameFitness;

/* Hidden files are left out as those of folders are; "._7.jpg" is no picture. */
static NameFitness
judge_name (const gchar * name, const gchar ** why)
{
  NameFitness fitness = NAME_FIT;

  *why = "has a name with control characters, or not in UTF-8";
  if (!g_utf8_validate (name, -1, NULL))
    return NAME_UNFIT;
  for (const gchar * at = name; *at; at++)
    if (g_ascii_iscntrl (*at))
      return NAME_UNFIT;
  *why = "leads out of the tar by \"..\"";
  for (const gchar * part = name; part; part = strchr (part, '/') ? strchr (part, '/') + 1 : NULL) {
    if (strncmp (part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
      return NAME_UNFIT;
    if (*part == '.')
      fitness = NAME_HIDDEN;
  }
  return fitness;
}

/* The entry's path without what says where it starts ("./a", "/a"). libarchive knows it in the
 * locale's charset, which for most tars is their bytes, or in UTF-8. */
static const gchar *
entry_name (struct archive_entry *entry)
{
  const gchar *name = archive_entry_pathname (entry);

  if (name == NULL || !g_utf8_validate (name, -1, NULL)) {
    const gchar *utf8 = archive_entry_pathname_utf8 (entry);

    name = utf8 ? utf8 : name;
  }
  if (name == NULL)
    return "";
  while (*name == '/' || (name[0] == '.' && name[1] == '/'))
    name += *name == '/' ? 1 : 2;
  return name;
}

/* From the first dot of the last part on, without it; NULL where there is none. */
static const gchar *
extension_of (const gchar * name)
{
  const gchar *slash = strrchr (name, '/'), *last = slash ? slash + 1 : name;
  const gchar *dot = strchr (last, '.');

  return dot && dot > last ? dot + 1 : NULL;
}

typedef enum { PART_OTHER, PART_LABEL, PART_EXTRA_PICTURE, PART_PICTURE } Part;

static Part
part_of (const gchar * extension)
{
  const gchar *dot = strrchr (extension, '.');

  if (g_ascii_strcasecmp (extension, "cls") == 0)
    return PART_LABEL;
  if (gst_pirl_is_picture_extension (extension))
    return PART_PICTURE;
  return dot && gst_pirl_is_picture_extension (dot + 1) ? PART_EXTRA_PICTURE : PART_OTHER;
}

/* ---- making an index ------------------------------------------------------------------------ */

typedef struct {
  const gchar *key;             /* path up to the extension */
  const gchar *extension;       /* of the picture; NULL = none yet */
  const gchar *label;           /* NULL = none */
  guint64 offset;
  guint32 size;
  guint8 part;                  /* how good the picture is, a Part */
  guint8 n_pictures;            /* that are as good, at most 2 */
} Group;

typedef struct {
  const GstPirlShard *shard;
  struct archive *archive;
  GStringChunk *chunk;          /* for the strings of groups */
  GArray *groups;               /* of Group, in the tar's order */
  GHashTable *by_key;           /* key -> index in groups */
  guint64 data_end;             /* of the picture before: where the next header must be */
  guint last_picture;           /* group of the entry before, G_MAXUINT = it was no picture */
  GstPirlSkipped skipped;
} Indexing;

static guint
find_group (Indexing * indexing, const gchar * name, const gchar * extension)
{
  g_autofree gchar *key = g_strndup (name, extension - 1 - name);
  gpointer found;
  Group group = { 0 };

  if (g_hash_table_lookup_extended (indexing->by_key, key, NULL, &found))
    return GPOINTER_TO_UINT (found);
  group.key = g_string_chunk_insert (indexing->chunk, key);
  g_array_append_val (indexing->groups, group);
  g_hash_table_insert (indexing->by_key, (gpointer) group.key,
      GUINT_TO_POINTER (indexing->groups->len - 1));
  return indexing->groups->len - 1;
}

static void
add_picture (Indexing * indexing, const gchar * name, Part part, guint64 offset, guint64 size)
{
  const gchar *extension = extension_of (name);
  guint i = find_group (indexing, name, extension);
  Group *group = &g_array_index (indexing->groups, Group, i);

  if (part < group->part)
    return;
  if (part == group->part) {
    group->n_pictures = 2;
    return;
  }
  group->part = part;
  group->n_pictures = 1;
  group->extension = g_string_chunk_insert_const (indexing->chunk, extension);
  group->offset = offset;
  group->size = (guint32) size;
  indexing->last_picture = i;
}

/* A word, or a number; -1 is how numbers say "none". */
static void
add_label (Indexing * indexing, const gchar * name, guint64 size)
{
  gchar text[MAX_LABEL + 2] = { 0 };
  la_ssize_t n = archive_read_data (indexing->archive, text, MIN (size, MAX_LABEL + 1));
  guint i = find_group (indexing, name, extension_of (name));
  Group *group = &g_array_index (indexing->groups, Group, i);
  gboolean fit = n > 0 && n <= MAX_LABEL && strlen (text) == (gsize) n
      && g_utf8_validate (text, n, NULL);

  g_strstrip (text);
  for (const gchar * at = text; *at; at++)
    fit = fit && !g_ascii_iscntrl (*at);
  if (!fit || *text == '\0')
    skip (&indexing->skipped, name, "is no label: neither a number nor a class name");
  else if (group->label != NULL)
    skip (&indexing->skipped, name, "is the second label of its sample");
  else if (strcmp (text, "-1") != 0)
    group->label = g_string_chunk_insert_const (indexing->chunk, text);
}

/* Why the bytes of a picture or label are not in the tar as they are; NULL = they are. */
static const gchar *
find_obstacle (const Indexing * indexing, struct archive_entry *entry, guint64 offset)
{
  gint64 size = archive_entry_size (entry);

  if (archive_entry_filetype (entry) != AE_IFREG || archive_entry_hardlink (entry))
    return "is a link, or no file";
  if (archive_entry_sparse_count (entry) > 0)
    return "is sparse";
  if (size < 0 || size > G_MAXUINT32)
    return "is too large for a picture";
  if (offset > (guint64) indexing->shard->size
      || (guint64) size > (guint64) indexing->shard->size - offset)
    return "lies beyond the tar's end: the tar is truncated";
  return NULL;
}

static void
index_entry (Indexing * indexing, struct archive_entry *entry)
{
  const gchar *name = entry_name (entry), *extension = extension_of (name), *why;
  /* Without filters this counts the bytes of the file; the headers have just been read. */
  guint64 offset = archive_filter_bytes (indexing->archive, 0);
  Part part = extension ? part_of (extension) : PART_OTHER;
  NameFitness fitness = judge_name (name, &why);

  indexing->last_picture = G_MAXUINT;
  if (part == PART_OTHER || fitness == NAME_HIDDEN)
    return;
  if (fitness == NAME_FIT)
    why = find_obstacle (indexing, entry, offset);
  if (why != NULL) {
    skip (&indexing->skipped, name, why);
    return;
  }
  indexing->data_end = offset
      + (archive_entry_size (entry) + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
  if (part == PART_LABEL)
    add_label (indexing, name, archive_entry_size (entry));
  else
    add_picture (indexing, name, part, offset, archive_entry_size (entry));
}

/* libarchive has jumped over the entry before: where it stands now proves that the place of a
 * picture is right. */
static void
check_last_picture (Indexing * indexing)
{
  Group *group;

  if (indexing->last_picture == G_MAXUINT)
    return;
  group = &g_array_index (indexing->groups, Group, indexing->last_picture);
  indexing->last_picture = G_MAXUINT;
  if (archive_read_header_position (indexing->archive) == (gint64) indexing->data_end)
    return;
  skip (&indexing->skipped, group->key, "does not lie in the tar in one piece");
  group->extension = NULL;
  group->part = 0;
}

static gboolean
refuse_format (const Indexing * indexing, GError ** error)
{
  g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "\"%s\" is not a tar (%s)",
      indexing->shard->path, archive_error_string (indexing->archive));
  return FALSE;
}

/* Up to the tar's end, or to where it is broken. */
static gboolean
index_entries (Indexing * indexing, gint * cancel, GError ** error)
{
  struct archive_entry *entry;
  guint64 n = 0;
  gint result;

  while ((result = archive_read_next_header (indexing->archive, &entry)) == ARCHIVE_OK
      || result == ARCHIVE_WARN) {
    if (n++ % CANCEL_INTERVAL == 0 && gst_pirl_is_cancelled (cancel, error))
      return FALSE;
    check_last_picture (indexing);
    index_entry (indexing, entry);
  }
  if (result == ARCHIVE_EOF) {
    check_last_picture (indexing);
    return TRUE;
  }
  if (n == 0)
    return refuse_format (indexing, error);
  skip (&indexing->skipped, indexing->shard->path, "is damaged or truncated: what follows its last "
      "good entry is left out");
  return TRUE;
}

static gchar *
write_index (Indexing * indexing)
{
  GString *text = g_string_new (NULL), *samples = g_string_new (NULL);
  guint n = 0;

  for (guint i = 0; i < indexing->groups->len; i++) {
    const Group *group = &g_array_index (indexing->groups, Group, i);

    if (group->extension == NULL)
      continue;
    if (group->n_pictures > 1)
      skip (&indexing->skipped, group->key, "has several pictures; the first is taken");
    g_string_append_printf (samples, "%" G_GUINT64_FORMAT "\t%u\t%s\t%s.%s\n", group->offset,
        group->size, group->label ? group->label : "", group->key, group->extension);
    n++;
  }
  g_string_printf (text, INDEX_MAGIC "\n%" G_GINT64_FORMAT "\t%" G_GUINT64_FORMAT "\t%u\t%"
      G_GUINT64_FORMAT "\n%s\n%send\n", indexing->shard->size, indexing->shard->mtime, n,
      indexing->skipped.n, indexing->skipped.first ? indexing->skipped.first : "", samples->str);
  g_string_free (samples, TRUE);
  return g_string_free (text, FALSE);
}

/* The index of the tar at @fd, as text. */
static gchar *
make_index (const GstPirlShard * shard, gint fd, gint * cancel, GError ** error)
{
  Indexing indexing = { shard, archive_read_new (), g_string_chunk_new (4096),
    g_array_new (FALSE, FALSE, sizeof (Group)), g_hash_table_new (g_str_hash, g_str_equal), 0,
    G_MAXUINT, {0}
  };
  gchar *text = NULL;

  if (archive_read_support_format_tar (indexing.archive) != ARCHIVE_OK
      || archive_read_open_fd (indexing.archive, fd, READ_SIZE) != ARCHIVE_OK)
    refuse_format (&indexing, error);
  else if (index_entries (&indexing, cancel, error))
    text = write_index (&indexing);
  archive_read_free (indexing.archive);
  g_hash_table_unref (indexing.by_key);
  g_array_unref (indexing.groups);
  g_string_chunk_free (indexing.chunk);
  g_free (indexing.skipped.first);
  return text;
}

/* ---- reading an index ----------------------------------------------------------------------- */

/* Cuts @count fields out of the line at @text; what follows the line, or NULL. */
static gchar *
cut_line (gchar * text, gchar ** fields, guint count)
{
  gchar *end = text ? strchr (text, '\n') : NULL;

  if (end == NULL)
    return NULL;
  *end = '\0';
  for (guint i = 0; i < count; i++) {
    fields[i] = text;
    text = i + 1 < count ? strchr (text, '\t') : NULL;
    if (text)
      *text++ = '\0';
    else if (i + 1 < count)
      return NULL;
  }
  return end + 1;
}

static gboolean
parse_number (const gchar * text, guint64 maximum, guint64 * value)
{
  return g_ascii_string_to_unsigned (text, 10, 0, maximum, value, NULL);
}

/* TRUE when the head is that of @shard; then what follows is in @text. */
static gboolean
parse_head (const GstPirlShard * shard, gchar ** text, guint64 * n_samples,
    GstPirlSkipped * skipped)
{
  guint64 size, mtime;
  gchar *fields[4];

  *text = cut_line (*text, fields, 1);
  if (*text == NULL || strcmp (fields[0], INDEX_MAGIC) != 0)
    return FALSE;
  *text = cut_line (*text, fields, 4);
  if (*text == NULL || !parse_number (fields[0], G_MAXINT64, &size)
      || !parse_number (fields[1], G_MAXUINT64, &mtime)
      || !parse_number (fields[2], size / TAR_BLOCK, n_samples)
      || !parse_number (fields[3], G_MAXINT64, &skipped->n)
      || size != (guint64) shard->size || mtime != shard->mtime)
    return FALSE;
  *text = cut_line (*text, fields, 1);
  if (*text == NULL || !g_utf8_validate (fields[0], -1, NULL))
    return FALSE;
  skipped->first = g_strdup (fields[0]);
  return TRUE;
}

static gboolean
parse_sample (const GstPirlShard * shard, gchar ** text, GstPirlTarSample * line)
{
  gchar *fields[4];
  const gchar *why;

  *text = cut_line (*text, fields, 4);
  if (*text == NULL || !parse_number (fields[0], shard->size, &line->offset)
      || !parse_number (fields[1], MIN (G_MAXUINT32, shard->size - line->offset), &line->size)
      || !g_utf8_validate (fields[2], -1, NULL) || strlen (fields[2]) > MAX_LABEL
      || judge_name (fields[3], &why) != NAME_FIT || *fields[3] == '\0')
    return FALSE;
  line->label = *fields[2] ? fields[2] : NULL;
  line->name = fields[3];
  return TRUE;
}

/* The lines of an index, which is cut to pieces; NULL when it is not one of @shard. */
static GArray *
parse_index (const GstPirlShard * shard, gchar * text, GstPirlSkipped * skipped)
{
  g_autoptr (GArray) lines = g_array_new (FALSE, FALSE, sizeof (GstPirlTarSample));
  guint64 n_samples = 0;
  gboolean ok = parse_head (shard, &text, &n_samples, skipped);

  for (guint64 i = 0; ok && i < n_samples; i++) {
    GstPirlTarSample line;

    ok = parse_sample (shard, &text, &line);
    if (ok)
      g_array_append_val (lines, line);
  }
  if (ok && strcmp (text, "end\n") == 0)
    return g_steal_pointer (&lines);
  g_clear_pointer (&skipped->first, g_free);
  skipped->n = 0;
  return NULL;
}

/* ---- keeping an index ----------------------------------------------------------------------- */

static gchar *
index_in_cache (const gchar * path)
{
  g_autofree gchar *absolute = g_canonicalize_filename (path, NULL);
  g_autofree gchar *sum = g_compute_checksum_for_string (G_CHECKSUM_SHA256, absolute, -1);
  g_autofree gchar *name = g_strconcat (sum, ".tar.index", NULL);

  return g_build_filename (g_get_user_cache_dir (), "gst-pirl", name, NULL);
}

/* The lines of the index at @path, which lie in @text; NULL when it is none for @shard. */
static GArray *
load_index (const GstPirlShard * shard, const gchar * path, gchar ** text, GstPirlSkipped * skipped)
{
  GArray *lines = NULL;
  struct stat st;
  gsize size;

  /* No line is longer than what the tar needs for its sample, so that no index is longer than its
   * tar: what is longer is something else. */
  if (stat (path, &st) != 0 || !S_ISREG (st.st_mode) || st.st_size > shard->size + INDEX_SLACK
      || !g_file_get_contents (path, text, &size, NULL))
    return NULL;
  if (strlen (*text) == size)
    lines = parse_index (shard, *text, skipped);
  if (lines == NULL)
    g_clear_pointer (text, g_free);
  return lines;
}

/* An index that can be kept nowhere is made at each start, which works just as well. */
static void
save_index (const gchar * beside, const gchar * cached, const gchar * text)
{
  g_autofree gchar *folder = g_path_get_dirname (cached);

  if (g_file_set_contents (beside, text, -1, NULL))
    return;
  if (g_mkdir_with_parents (folder, 0700) == 0)
    g_file_set_contents (cached, text, -1, NULL);
}

GArray *
gst_pirl_tar_index_get (const GstPirlShard * shard, gint fd, gint * cancel, gchar ** text,
    GstPirlSkipped * skipped, GError ** error)
{
  g_autofree gchar *beside = g_strconcat (shard->path, ".index", NULL);
  g_autofree gchar *cached = index_in_cache (shard->path);
  GArray *lines = load_index (shard, beside, text, skipped);

  if (lines == NULL)
    lines = load_index (shard, cached, text, skipped);
  if (lines != NULL)
    return lines;
  *text = make_index (shard, fd, cancel, error);
  if (*text == NULL)
    return NULL;
  save_index (beside, cached, *text);
  lines = parse_index (shard, *text, skipped);
  if (lines == NULL)
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ,
        "tar \"%s\": the index just made cannot be read", shard->path);
  return lines;
}
