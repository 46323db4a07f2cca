/* gst-pirl: what a location of pirldatasetsrc holds (see listing.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "listing.h"
#include "tarlist.h"
#include "learn/probe.h"
#include "vision/synthetic.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYNTHETIC_PREFIX "synthetic:"
#define SYNTHETIC_COUNT 5000
#define SYNTHETIC_SIZE 96
#define SYNTHETIC_MAX_SIZE 8192

#define MAX_NUMBERED_CLASSES 10000000

/* Memory for files beyond this is not kept for the next one. */
#define KEPT_FILE_BYTES (16 << 20)

static const gchar *const split_names[] = { "", "train", "test" };

/* ---- building ------------------------------------------------------------------------------ */

static GstPirlListing *
listing_alloc (const gchar * folder)
{
  GstPirlListing *listing = g_new0 (GstPirlListing, 1);

  listing->ref_count = 1;
  listing->folder = g_strdup (folder);
  listing->names = g_byte_array_new ();
  listing->entries = g_array_new (FALSE, FALSE, sizeof (GstPirlEntry));
  return listing;
}

GstPirlListing *
gst_pirl_listing_ref (GstPirlListing * listing)
{
  g_atomic_int_inc (&listing->ref_count);
  return listing;
}

void
gst_pirl_listing_unref (GstPirlListing * listing)
{
  if (!g_atomic_int_dec_and_test (&listing->ref_count))
    return;
  g_free (listing->folder);
  g_byte_array_unref (listing->names);
  g_array_unref (listing->entries);
  g_strfreev (listing->class_names);
  g_clear_pointer (&listing->tars, gst_pirl_tars_free);
  g_free (listing->kept);
  g_free (listing);
}

gboolean
gst_pirl_listing_add (GstPirlListing * listing, const gchar * name, gint label,
    GstPirlSplit split, GError ** error)
{
  gsize length = strlen (name) + 1;
  GstPirlEntry entry = { listing->names->len, label, split };

  /* GByteArray counts in guint and doubles: half of that is what it can surely hold. */
  if (length > G_MAXUINT / 2 - listing->names->len || listing->entries->len > G_MAXUINT / 32) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT,
        "\"%s\" holds more pictures than one listing can (%u so far); split it with lists",
        listing->folder, listing->entries->len);
    return FALSE;
  }
  g_byte_array_append (listing->names, (const guint8 *) name, length);
  g_array_append_val (listing->entries, entry);
  return TRUE;
}

const gchar *
gst_pirl_listing_name (const GstPirlListing * listing, const GstPirlEntry * entry)
{
  return (const gchar *) listing->names->data + entry->name;
}

gboolean
gst_pirl_split_from_word (const gchar * word, gsize length, GstPirlSplit * split)
{
  static const struct
  {
    const gchar *word;
    GstPirlSplit split;
  } words[] = {
    {"train", GST_PIRL_SPLIT_TRAIN}, {"training", GST_PIRL_SPLIT_TRAIN},
    {"test", GST_PIRL_SPLIT_TEST}, {"testing", GST_PIRL_SPLIT_TEST},
    {"val", GST_PIRL_SPLIT_TEST}, {"valid", GST_PIRL_SPLIT_TEST},
    {"validation", GST_PIRL_SPLIT_TEST},
  };

  for (guint i = 0; i < G_N_ELEMENTS (words); i++) {
    if (strlen (words[i].word) == length
        && g_ascii_strncasecmp (words[i].word, word, length) == 0) {
      *split = words[i].split;
      return TRUE;
    }
  }
  return FALSE;
}

static gint
compare_words (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const gchar * const *) a, *(const gchar * const *) b);
}

void
gst_pirl_listing_set_classes (GstPirlListing * listing, const gchar * const *words)
{
  g_autoptr (GHashTable) numbers = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (GPtrArray) names = g_ptr_array_new ();

  for (guint i = 0; i < listing->entries->len; i++)
    if (words[i] && g_hash_table_add (numbers, (gpointer) words[i]))
      g_ptr_array_add (names, (gpointer) words[i]);
  g_ptr_array_sort (names, compare_words);
  listing->n_classes = names->len;
  listing->class_names = g_new0 (gchar *, names->len + 1);
  for (guint i = 0; i < names->len; i++) {
    g_hash_table_replace (numbers, g_ptr_array_index (names, i), GUINT_TO_POINTER (i));
    listing->class_names[i] = g_strdup (g_ptr_array_index (names, i));
  }
  for (guint i = 0; i < listing->entries->len; i++) {
    GstPirlEntry *entry = &g_array_index (listing->entries, GstPirlEntry, i);

    entry->label = -1;
    if (words[i])
      entry->label = (gint) GPOINTER_TO_UINT (g_hash_table_lookup (numbers, words[i]));
  }
}

/* TRUE when every label is a number, which is then the class itself. */
static gboolean
set_numbers (GstPirlListing * listing, const gchar * const *words)
{
  GArray *entries = listing->entries;
  g_autofree gint *numbers = g_new (gint, entries->len + 1);
  guint n_classes = 0;

  for (guint i = 0; i < entries->len; i++) {
    guint64 number = 0;

    if (words[i]
        && !g_ascii_string_to_unsigned (words[i], 10, 0, MAX_NUMBERED_CLASSES - 1, &number, NULL))
      return FALSE;
    numbers[i] = words[i] ? (gint) number : -1;
    n_classes = MAX (n_classes, words[i] ? (guint) number + 1 : 0);
  }
  for (guint i = 0; i < entries->len; i++)
    g_array_index (entries, GstPirlEntry, i).label = numbers[i];
  listing->n_classes = n_classes;
  return TRUE;
}

void
gst_pirl_listing_set_labels (GstPirlListing * listing, const gchar * const *words)
{
  if (!set_numbers (listing, words))
    gst_pirl_listing_set_classes (listing, words);
}

gboolean
gst_pirl_is_cancelled (gint * cancel, GError ** error)
{
  if (!g_atomic_int_get (cancel))
    return FALSE;
  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "listing was interrupted");
  return TRUE;
}

/* ---- files --------------------------------------------------------------------------------- */

/* A pipe or a device could keep us waiting for ever. */
gint
gst_pirl_open_regular (gint folder, const gchar * name)
{
  struct stat st;
  gint fd = openat (folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

  if (fd >= 0 && (fstat (fd, &st) != 0 || !S_ISREG (st.st_mode))) {
    close (fd);
    fd = -1;
  }
  return fd;
}

gboolean
gst_pirl_is_picture_extension (const gchar * extension)
{
  static const gchar *const extensions[] = { "jpg", "jpeg", "jpe", "jfif", "png" };

  for (guint i = 0; i < G_N_ELEMENTS (extensions); i++)
    if (g_ascii_strcasecmp (extension, extensions[i]) == 0)
      return TRUE;
  return FALSE;
}

gboolean
gst_pirl_is_picture (gint folder, const gchar * name)
{
  static const guint8 jpeg[3] = { 0xff, 0xd8, 0xff };
  static const guint8 png[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
  guint8 head[8] = { 0 };
  gint fd = gst_pirl_open_regular (folder, name);
  gssize n;

  if (fd < 0)
    return FALSE;
  n = read (fd, head, sizeof (head));
  close (fd);
  return (n >= (gssize) sizeof (jpeg) && memcmp (head, jpeg, sizeof (jpeg)) == 0)
      || (n == (gssize) sizeof (png) && memcmp (head, png, sizeof (png)) == 0);
}

/* ---- drawn sets ---------------------------------------------------------------------------- */

typedef struct {
  const gchar *key;
  guint64 minimum, maximum, value;
} SyntheticOption;

static gboolean
parse_option (const gchar * text, SyntheticOption * options, guint n, GError ** error)
{
  const gchar *equals = strchr (text, '=');

  for (guint i = 0; equals && i < n; i++) {
    if (strncmp (options[i].key, text, equals - text) != 0
        || options[i].key[equals - text] != '\0')
      continue;
    if (g_ascii_string_to_unsigned (equals + 1, 10, options[i].minimum, options[i].maximum,
            &options[i].value, NULL))
      return TRUE;
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "location: \"%s\" should be a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
        text, options[i].minimum, options[i].maximum);
    return FALSE;
  }
  g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
      "location: \"%s\" is no setting of a drawn set; there are count=, classes=, size= and seed=, "
      "as in synthetic:shapes?count=5000&classes=10&size=96", text);
  return FALSE;
}

static GstPirlListing *
listing_from_synthetic (const gchar * location, GError ** error)
{
  SyntheticOption options[] = {
    {"count", 1, G_MAXUINT32, SYNTHETIC_COUNT},
    {"classes", 1, PIRL_SYNTHETIC_MAX_CLASSES, PIRL_SYNTHETIC_MAX_CLASSES},
    {"size", 8, SYNTHETIC_MAX_SIZE, SYNTHETIC_SIZE},
    {"seed", 0, G_MAXUINT64, 0},
  };
  const gchar *rest = location + strlen (SYNTHETIC_PREFIX);
  g_auto (GStrv) words = NULL;
  GstPirlListing *listing;

  if (!g_str_has_prefix (rest, "shapes") || (rest[6] != '\0' && rest[6] != '?')) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
        "location: there is no drawn set \"%s\"; there is synthetic:shapes", location);
    return NULL;
  }
  words = g_strsplit (rest[6] ? rest + 7 : "", "&", -1);
  for (guint i = 0; words[i]; i++)
    if (*words[i] && !parse_option (words[i], options, G_N_ELEMENTS (options), error))
      return NULL;
  listing = listing_alloc ("");
  listing->synthetic = TRUE;
  listing->count = options[0].value;
  listing->n_classes = options[1].value;
  listing->size = options[2].value;
  listing->seed = options[3].value;
  listing->class_names = g_new0 (gchar *, listing->n_classes + 1);
  for (guint i = 0; i < listing->n_classes; i++)
    listing->class_names[i] = g_strdup (pirl_synthetic_class_name (i));
  return listing;
}

/* ---- opening ------------------------------------------------------------------------------- */

gboolean
gst_pirl_listing_probe (const gchar * location, GError ** error)
{
  if (location == NULL || *location == '\0') {
    g_set_error_literal (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
        "location is not set; give a folder of JPEG or PNG pictures, a text list, tars, or "
        "synthetic:shapes");
    return FALSE;
  }
  if (g_str_has_prefix (location, SYNTHETIC_PREFIX)) {
    g_autoptr (GstPirlListing) listing = listing_from_synthetic (location, error);

    return listing != NULL;
  }
  if (!g_file_test (location, G_FILE_TEST_EXISTS)) {
    if (gst_pirl_is_tar_location (location))
      return gst_pirl_tars_probe (location, error);
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
        "location \"%s\" does not exist; give a folder of JPEG or PNG pictures, a text list, tars, "
        "or synthetic:shapes", location);
    return FALSE;
  }
  return TRUE;
}

static gboolean
fill (GstPirlListing * listing, const gchar * location, GstPirlLabels labels, gint * cancel,
    gchar ** warning, GError ** error)
{
  g_autofree gchar *base = NULL;

  if (g_file_test (location, G_FILE_TEST_IS_DIR))
    return gst_pirl_listing_scan (listing, labels, cancel, warning, error);
  if (gst_pirl_is_tar_location (location))
    return gst_pirl_listing_read_tars (listing, location, labels, cancel, warning, error);
  if (!gst_pirl_is_picture (AT_FDCWD, location))
    return gst_pirl_listing_read_list (listing, location, cancel, error);
  base = g_path_get_basename (location);
  return gst_pirl_listing_add (listing, base, -1, GST_PIRL_SPLIT_NONE, error);
}

GstPirlListing *
gst_pirl_listing_new (const gchar * location, GstPirlLabels labels, gint * cancel,
    gchar ** warning, GError ** error)
{
  g_autoptr (GstPirlListing) listing = NULL;
  g_autofree gchar *folder = NULL;

  if (!gst_pirl_listing_probe (location, error))
    return NULL;
  if (g_str_has_prefix (location, SYNTHETIC_PREFIX))
    return listing_from_synthetic (location, error);
  folder = g_file_test (location, G_FILE_TEST_IS_DIR)
      ? g_strdup (location) : g_path_get_dirname (location);
  listing = listing_alloc (folder);
  if (!fill (listing, location, labels, cancel, warning, error))
    return NULL;
  if (listing->entries->len == 0) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
        "location \"%s\" holds no pictures; pictures are files named .jpg, .jpeg or .png, or "
        "JPEG and PNG files without an extension, in it or in folders below it", location);
    return NULL;
  }
  listing->count = listing->entries->len;
  return g_steal_pointer (&listing);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* The number that sample @i had before others were left out. */
static guint64
number_of (const GstPirlListing * listing, guint64 i)
{
  return listing->kept ? listing->kept[i] : i;
}

static const GstPirlEntry *
entry_at (const GstPirlListing * listing, guint64 i)
{
  return &g_array_index (listing->entries, GstPirlEntry, number_of (listing, i));
}

guint64
gst_pirl_listing_count (const GstPirlListing * listing)
{
  return listing->count;
}

guint
gst_pirl_listing_n_classes (const GstPirlListing * listing)
{
  return listing->n_classes;
}

gchar **
gst_pirl_listing_class_names (const GstPirlListing * listing)
{
  return listing->class_names;
}

gint
gst_pirl_listing_label (const GstPirlListing * listing, guint64 i)
{
  if (listing->synthetic)
    return pirl_synthetic_label (number_of (listing, i), listing->n_classes);
  return entry_at (listing, i)->label;
}

const gchar *
gst_pirl_listing_split (const GstPirlListing * listing, guint64 i)
{
  return split_names[listing->synthetic ? GST_PIRL_SPLIT_NONE : entry_at (listing, i)->split];
}

gchar *
gst_pirl_listing_dup_name (const GstPirlListing * listing, guint64 i)
{
  if (listing->synthetic)
    return g_strdup_printf ("%s/%06" G_GUINT64_FORMAT,
        listing->class_names[gst_pirl_listing_label (listing, i)], number_of (listing, i));
  return g_strdup (gst_pirl_listing_name (listing, entry_at (listing, i)));
}

gboolean
gst_pirl_listing_keep (GstPirlListing * listing, gdouble fraction, guint64 seed, GError ** error)
{
  const guint64 n = listing->count;
  g_autofree gboolean *keep = NULL;
  g_autofree gint *labels = NULL;

  if (n > G_MAXUINT32) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "a fraction of %" G_GUINT64_FORMAT " samples cannot be drawn; of at most %u it can", n,
        G_MAXUINT32);
    return FALSE;
  }
  labels = g_new (gint, n);
  keep = g_new (gboolean, n);
  for (guint64 i = 0; i < n; i++) {
    const gint label = gst_pirl_listing_label (listing, i);

    /* Those without one are drawn from like a class. */
    labels[i] = label >= 0 ? label : (gint) listing->n_classes;
  }
  listing->count = pirl_probe_subset (labels, n, fraction, seed, keep);
  listing->kept = g_new (guint32, listing->count);
  for (guint32 i = 0, left = 0; i < n; i++)
    if (keep[i])
      listing->kept[left++] = i;
  return TRUE;
}

static void
update_string (GChecksum * sum, const gchar * text)
{
  g_checksum_update (sum, (const guchar *) text, strlen (text) + 1);
}

void
gst_pirl_listing_update_hash (const GstPirlListing * listing, guint64 start, guint64 stop,
    GChecksum * sum)
{
  gchar number[16];

  for (guint i = 0; listing->class_names && i < listing->n_classes; i++)
    update_string (sum, listing->class_names[i]);
  if (listing->synthetic) {
    g_autofree gchar *text = g_strdup_printf ("synthetic:shapes %" G_GUINT64_FORMAT "-%"
        G_GUINT64_FORMAT " classes %u size %d seed %" G_GUINT64_FORMAT, start, stop,
        listing->n_classes, listing->size, listing->seed);

    update_string (sum, text);
    for (guint64 i = start; listing->kept && i < stop; i++) {
      g_snprintf (number, sizeof (number), "%u", listing->kept[i]);
      update_string (sum, number);
    }
    return;
  }
  for (guint64 i = start; i < stop; i++) {
    const GstPirlEntry *entry = entry_at (listing, i);
    gchar label[16];

    update_string (sum, gst_pirl_listing_name (listing, entry));
    g_snprintf (label, sizeof (label), "%d/%d", entry->label, entry->split);
    update_string (sum, label);
  }
}

void
gst_pirl_reader_clear (GstPirlReader * reader)
{
  pirl_image_clear (&reader->drawn);
  g_clear_pointer (&reader->data, g_free);
  reader->room = 0;
}

/* Why a file could not be opened or read. */
static gboolean
unreadable (const gchar * path, const gchar * why, GError ** error)
{
  if (!g_file_test (path, G_FILE_TEST_IS_REGULAR))
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "\"%s\": %s", path,
        g_file_test (path, G_FILE_TEST_EXISTS) ? "is not a regular file" : "does not exist");
  else
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "picture \"%s\": %s", path, why);
  return FALSE;
}

static gboolean
ensure_room (GstPirlReader * reader, gsize size)
{
  if (reader->data != NULL && size <= reader->room)
    return TRUE;
  g_free (reader->data);
  reader->data = g_try_malloc (MAX (size, 1));
  reader->room = reader->data ? size : 0;
  return reader->data != NULL;
}

/* The bytes of an open file into reader->data; how many, or -1 with errno. */
static gssize
read_bytes (GstPirlReader * reader, gint fd)
{
  struct stat st;
  gssize size = 0, n;

  if (fstat (fd, &st) != 0)
    return -1;
  if (!ensure_room (reader, st.st_size)) {
    errno = ENOMEM;
    return -1;
  }
  while (size < st.st_size) {
    n = read (fd, reader->data + size, st.st_size - size);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return n < 0 ? -1 : size;
    size += n;
  }
  return size;
}

static gboolean
load_file (const gchar * path, GstPirlReader * reader, PirlImage * image, PirlDecodeInfo * info,
    GError ** error)
{
  gint fd = gst_pirl_open_regular (AT_FDCWD, path);
  gint number = errno;
  gssize size = -1;

  if (fd >= 0) {
    size = read_bytes (reader, fd);
    number = errno;
    close (fd);
  }
  if (size < 0)
    return unreadable (path, g_strerror (number), error);
  if (pirl_image_decode_with (reader->data, size, &reader->options, image, info, error))
    return TRUE;
  g_prefix_error (error, "picture \"%s\": ", path);
  return FALSE;
}

static gboolean
load_from_tars (const GstPirlListing * listing, guint64 i, GstPirlReader * reader,
    PirlImage * image, PirlDecodeInfo * info, GError ** error)
{
  gsize size;
  g_autofree guint8 *data = gst_pirl_tars_read (listing->tars, number_of (listing, i), &size,
      error);

  if (data != NULL && pirl_image_decode_with (data, size, &reader->options, image, info, error))
    return TRUE;
  g_prefix_error (error, "picture \"%s\": ", gst_pirl_listing_name (listing,
          entry_at (listing, i)));
  return FALSE;
}

static gboolean
draw (const GstPirlListing * listing, guint64 i, GstPirlReader * reader, PirlImage * image,
    GError ** error)
{
  const gsize row = 3 * (gsize) listing->size;

  if (!reader->options.storage (image, listing->size, listing->size,
          reader->options.storage_data)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "no memory for a picture of %d x %d",
        listing->size, listing->size);
    return FALSE;
  }
  pirl_synthetic_draw (number_of (listing, i), listing->n_classes, listing->size, listing->seed,
      &reader->drawn);
  for (gint y = 0; y < image->height; y++)
    memcpy (image->data + y * image->stride, reader->drawn.data + y * reader->drawn.stride, row);
  return TRUE;
}

gboolean
gst_pirl_listing_load (const GstPirlListing * listing, guint64 i, GstPirlReader * reader,
    PirlImage * image, PirlDecodeInfo * info, GError ** error)
{
  g_autofree gchar *path = NULL;
  const gchar *name;
  gboolean loaded;

  memset (info, 0, sizeof (*info));
  if (listing->synthetic)
    return draw (listing, i, reader, image, error);
  if (listing->tars)
    return load_from_tars (listing, i, reader, image, info, error);
  name = gst_pirl_listing_name (listing, entry_at (listing, i));
  path = g_path_is_absolute (name) ? g_strdup (name)
      : g_build_filename (listing->folder, name, NULL);
  loaded = load_file (path, reader, image, info, error);
  if (reader->room > KEPT_FILE_BYTES)
    g_clear_pointer (&reader->data, g_free);
  return loaded;
}
