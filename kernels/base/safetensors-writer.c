/* gst-pirl: writing safetensors files, all or nothing.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tensors go straight from the caller's memory, or piece by piece, to "PATH.tmp" in the same folder,
 * which then takes the place of PATH. The temporary name is always the same, so a writer that was
 * killed leaves at most one file, and the next write reuses it; a lock on it keeps two writers apart.
 * Order: largest element type first, then by name, after a header padded to 8 bytes, so that every
 * tensor is aligned in the mapped file.
 */
#include "base/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT 8
#define METADATA "__metadata__"

typedef struct {
  gchar *name;
  PirlDType dtype;
  PirlShape shape;
  gconstpointer data;           /* NULL: @read in pieces */
  gsize size, piece;
  PirlSafetensorsRead read;
  gpointer closure;
} Item;

struct _PirlSafetensorsWriter {
  GPtrArray *items;             /* Item */
  GTree *metadata;              /* sorted: the same file from the same content */
};

/* A file being written. */
typedef struct {
  const gchar *path;
  gchar *temporary;
  gint fd;
} Output;

static void
item_free (gpointer data)
{
  Item *item = data;

  g_free (item->name);
  g_free (item);
}

static gint
compare_strings (gconstpointer a, gconstpointer b, gpointer unused)
{
  return strcmp (a, b);
}

PirlSafetensorsWriter *
pirl_safetensors_writer_new (void)
{
  PirlSafetensorsWriter *writer = g_new0 (PirlSafetensorsWriter, 1);

  writer->items = g_ptr_array_new_with_free_func (item_free);
  writer->metadata = g_tree_new_full (compare_strings, NULL, g_free, g_free);
  pirl_safetensors_writer_metadata (writer, "format", "pt");
  return writer;
}

void
pirl_safetensors_writer_free (PirlSafetensorsWriter *writer)
{
  if (!writer)
    return;
  g_ptr_array_unref (writer->items);
  g_tree_unref (writer->metadata);
  g_free (writer);
}

void
pirl_safetensors_writer_metadata (PirlSafetensorsWriter *writer, const gchar *key,
    const gchar *value)
{
  g_tree_replace (writer->metadata, g_strdup (key), g_strdup (value));
}

static Item *
add_item (PirlSafetensorsWriter *writer, const gchar *name, PirlDType dtype,
    const PirlShape *shape)
{
  Item *item = g_new0 (Item, 1);

  item->name = g_strdup (name);
  item->dtype = dtype;
  item->shape = *shape;
  item->size = pirl_shape_count (shape) * pirl_dtype_size (dtype);
  g_ptr_array_add (writer->items, item);
  return item;
}

void
pirl_safetensors_writer_add (PirlSafetensorsWriter *writer, const gchar *name, PirlDType dtype,
    const PirlShape *shape, gconstpointer data)
{
  add_item (writer, name, dtype, shape)->data = data;
}

void
pirl_safetensors_writer_add_read (PirlSafetensorsWriter *writer, const gchar *name,
    PirlDType dtype, const PirlShape *shape, gsize piece, PirlSafetensorsRead read,
    gpointer closure)
{
  Item *item = add_item (writer, name, dtype, shape);

  item->piece = piece;
  item->read = read;
  item->closure = closure;
}

static gint
compare_items (gconstpointer a, gconstpointer b)
{
  const Item *x = *(Item *const *) a, *y = *(Item *const *) b;
  const gsize size_x = pirl_dtype_size (x->dtype), size_y = pirl_dtype_size (y->dtype);

  if (size_x != size_y)
    return size_x > size_y ? -1 : 1;
  return strcmp (x->name, y->name);
}

static gint
compare_items_by_name (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(Item *const *) a)->name, (*(Item *const *) b)->name);
}

/* Refuses what no reader would take. */
static gboolean
check_names (GPtrArray *items, const gchar *path, GError **error)
{
  g_autoptr (GPtrArray) sorted = g_ptr_array_copy (items, NULL, NULL);
  const gchar *before = METADATA;

  /* The copy does not own the items. */
  g_ptr_array_set_free_func (sorted, NULL);
  g_ptr_array_sort (sorted, compare_items_by_name);
  for (guint i = 0; i < sorted->len; i++) {
    const gchar *name = ((const Item *) sorted->pdata[i])->name;

    if (!g_utf8_validate (name, -1, NULL)) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "cannot write \"%s\": the name of a tensor is not UTF-8", path);
      return FALSE;
    }
    if (strcmp (name, METADATA) == 0 || strcmp (name, before) == 0) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "cannot write \"%s\": two tensors would be called %s", path, name);
      return FALSE;
    }
    before = name;
  }
  return TRUE;
}

static void
append_quoted (GString *json, const gchar *text)
{
  g_string_append_c (json, '"');
  for (const gchar *p = text; *p; p++) {
    if (*p == '"' || *p == '\\')
      g_string_append_printf (json, "\\%c", *p);
    else if ((guchar) *p < 0x20)
      g_string_append_printf (json, "\\u%04x", *p);
    else
      g_string_append_c (json, *p);
  }
  g_string_append_c (json, '"');
}

static gboolean
append_metadata (gpointer key, gpointer value, gpointer user_data)
{
  GString *json = user_data;

  if (json->str[json->len - 1] != '{')
    g_string_append_c (json, ',');
  append_quoted (json, key);
  g_string_append_c (json, ':');
  append_quoted (json, value);
  return FALSE;
}

/* The length and the header, padded. */
static GString *
build_header (const PirlSafetensorsWriter *writer, GPtrArray *items)
{
  GString *header = g_string_new_len ("\0\0\0\0\0\0\0\0", sizeof (guint64));
  guint64 offset = 0, length;

  g_string_append (header, "{\"" METADATA "\":{");
  g_tree_foreach (writer->metadata, append_metadata, header);
  g_string_append_c (header, '}');
  for (guint i = 0; i < items->len; i++) {
    const Item *item = items->pdata[i];
    g_autofree gchar *shape = pirl_shape_to_string (&item->shape);

    g_string_append_c (header, ',');
    append_quoted (header, item->name);
    g_string_append_printf (header, ":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%"
        G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]}", pirl_dtype_name (item->dtype), shape,
        offset, offset + item->size);
    offset += item->size;
  }
  g_string_append_c (header, '}');
  while (header->len % ALIGNMENT != 0)
    g_string_append_c (header, ' ');
  length = header->len - sizeof length;
  memcpy (header->str, &length, sizeof length);
  return header;
}

/* Says why writing @output failed; @doing with its arguments, what was being done. */
G_GNUC_PRINTF (4, 5)
static gboolean
fail_io (const Output *output, gint reason, GError **error, const gchar *doing, ...)
{
  va_list args;
  g_autofree gchar *text = NULL;

  va_start (args, doing);
  text = g_strdup_vprintf (doing, args);
  va_end (args);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO,
      "cannot write \"%s\": %s (%s); what was there before is unchanged", output->path,
      g_strerror (reason), text);
  return FALSE;
}

/* Opens and locks the temporary file. The lock may have been waited for while its owner renamed
 * the file into place; then the name means another file by now, and it starts again. */
static gboolean
output_open (Output *output, GError **error)
{
  struct stat opened, named;

  for (;;) {
    output->fd = open (output->temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
        0666);
    if (output->fd < 0)
      return fail_io (output, errno, error, "creating \"%s\"", output->temporary);
    /* A file system without locks must do without. */
    if (flock (output->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      close (output->fd);
      return fail_io (output, EBUSY, error, "something else is writing \"%s\" at this moment",
          output->temporary);
    }
    if (fstat (output->fd, &opened) == 0 && lstat (output->temporary, &named) == 0
        && opened.st_ino == named.st_ino && opened.st_dev == named.st_dev)
      break;
    close (output->fd);
  }
  if (ftruncate (output->fd, 0) == 0)
    return TRUE;
  fail_io (output, errno, error, "emptying \"%s\"", output->temporary);
  close (output->fd);
  return FALSE;
}

static gboolean
output_write (const Output *output, gconstpointer data, gsize size, const gchar *what,
    GError **error)
{
  gsize done = 0;

  while (done < size) {
    const gssize n = write (output->fd, (const guint8 *) data + done, size - done);

    if (n < 0 && errno != EINTR)
      return fail_io (output, errno, error, "%s, %" G_GSIZE_FORMAT " of %" G_GSIZE_FORMAT
          " bytes done", what, done, size);
    if (n > 0)
      done += (gsize) n;
  }
  return TRUE;
}

static gboolean
output_write_item (const Output *output, const Item *item, GError **error)
{
  g_autofree guint8 *piece = item->read ? g_malloc (item->piece) : NULL;

  if (!item->read)
    return output_write (output, item->data, item->size, item->name, error);
  for (gsize at = 0; at < item->size; at += item->piece) {
    const gsize n = MIN (item->piece, item->size - at);

    if (!item->read (item->closure, at, n, piece, error)
        || !output_write (output, piece, n, item->name, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
output_write_all (const Output *output, const GString *header, GPtrArray *items, GError **error)
{
  if (!output_write (output, header->str, header->len, "the header", error))
    return FALSE;
  for (guint i = 0; i < items->len; i++)
    if (!output_write_item (output, items->pdata[i], error))
      return FALSE;
  return TRUE;
}

/* Makes the rename last. The rename itself has happened, and some file systems cannot sync a
 * folder: no error comes from here. */
static void
sync_folder (const gchar *path)
{
  g_autofree gchar *folder = g_path_get_dirname (path);
  const gint fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

  if (fd >= 0) {
    fsync (fd);
    close (fd);
  }
}

static gboolean
output_commit (const Output *output, GError **error)
{
  if (fsync (output->fd) != 0)
    return fail_io (output, errno, error, "flushing to the disk");
  if (rename (output->temporary, output->path) != 0)
    return fail_io (output, errno, error, "renaming \"%s\"", output->temporary);
  sync_folder (output->path);
  return TRUE;
}

gboolean
pirl_safetensors_writer_write (PirlSafetensorsWriter *writer, const gchar *path, GError **error)
{
  g_autofree gchar *temporary = g_strconcat (path, ".tmp", NULL);
  g_autoptr (GString) header = NULL;
  Output output = { path, temporary, -1 };
  gboolean ok;

  if (!check_names (writer->items, path, error))
    return FALSE;
  g_ptr_array_sort (writer->items, compare_items);
  header = build_header (writer, writer->items);
  if (!output_open (&output, error))
    return FALSE;
  ok = output_write_all (&output, header, writer->items, error) && output_commit (&output, error);
  /* Under the lock, so that it cannot be another writer's file. */
  if (!ok)
    unlink (temporary);
  close (output.fd);
  return ok;
}
