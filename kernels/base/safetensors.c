/* gst-pirl: reading safetensors files.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The header is the only text in the file and comes from strangers, so it has a parser of its own:
 * exactly the JSON that the format needs (objects two deep, strings, lists of whole numbers), no
 * recursion, no memory beyond what the header's length pays for, and trees in place of hash tables
 * so that chosen names cannot make it slow. Nothing is handed out before the whole table holds:
 * every type known, every size = product of the shape * element size, the data covered from first
 * to last byte without holes or overlaps.
 */
#include "base/safetensors.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

G_STATIC_ASSERT (G_BYTE_ORDER == G_LITTLE_ENDIAN);      /* tensors are used where they lie */

#define LENGTH_BYTES 8
#define MAX_HEADER 100000000    /* the format's own limit */
#define MAX_NAME_IN_MESSAGE 120
#define METADATA "__metadata__"

typedef struct {
  PirlTensor tensor;
  guint64 begin, end;           /* in the data section */
} Entry;

struct _PirlSafetensors {
  gchar *name;
  GBytes *bytes;
  GStringChunk *strings;        /* names, keys and values of metadata */
  GArray *entries;              /* Entry, in the order of the data */
  GTree *by_name;               /* name -> PirlTensor * */
  GTree *metadata;
  gboolean has_metadata;
  gboolean mapped;              /* @bytes are a file's pages */
};

/* The header while it is read. */
typedef struct {
  PirlSafetensors *file;
  const gchar *start, *at, *end;
  GError **error;
} Parser;

typedef gboolean (*MemberFunc) (Parser *parser, const gchar *key, gpointer user_data);

static gint
compare_strings (gconstpointer a, gconstpointer b, gpointer unused)
{
  return strcmp (a, b);
}

/* A name as it may stand in a message: short, and without control characters. */
static gchar *
presentable (const gchar *name)
{
  GString *text = g_string_new (NULL);
  guint length = 0;

  for (const gchar *p = name; *p; p = g_utf8_next_char (p)) {
    if (++length > MAX_NAME_IN_MESSAGE) {
      g_string_append (text, "...");
      break;
    }
    if (g_unichar_iscntrl (g_utf8_get_char (p)))
      g_string_append_c (text, '?');
    else
      g_string_append_len (text, p, g_utf8_next_char (p) - p);
  }
  return g_string_free (text, FALSE);
}

G_GNUC_PRINTF (3, 4)
static gboolean
fail (const PirlSafetensors *file, GError **error, const gchar *format, ...)
{
  va_list args;
  g_autofree gchar *text = NULL;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "\"%s\": %s", file->name, text);
  return FALSE;
}

G_GNUC_PRINTF (2, 3)
static gboolean
fail_parse (Parser *parser, const gchar *format, ...)
{
  va_list args;
  g_autofree gchar *text = NULL;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  return fail (parser->file, parser->error, "header, byte %" G_GSIZE_FORMAT ": %s",
      (gsize) (parser->at - parser->start), text);
}

static void
skip_space (Parser *parser)
{
  while (parser->at < parser->end && strchr (" \t\r\n", *parser->at))
    parser->at++;
}

/* Takes @c, after white space, if it is there. */
static gboolean
accept (Parser *parser, gchar c)
{
  skip_space (parser);
  if (parser->at == parser->end || *parser->at != c)
    return FALSE;
  parser->at++;
  return TRUE;
}

static gboolean
expect (Parser *parser, gchar c)
{
  if (accept (parser, c))
    return TRUE;
  if (parser->at == parser->end)
    return fail_parse (parser, "ends where '%c' should come", c);
  return fail_parse (parser, "expected '%c'", c);
}

static gboolean
parse_hex4 (Parser *parser, gunichar *code)
{
  *code = 0;
  for (guint i = 0; i < 4; i++) {
    const gint digit = parser->at < parser->end ? g_ascii_xdigit_value (*parser->at) : -1;

    if (digit < 0)
      return fail_parse (parser, "\\u needs four hexadecimal digits");
    *code = *code << 4 | (guint) digit;
    parser->at++;
  }
  return TRUE;
}

/* What follows "\u"; characters above U+FFFF come as two. */
static gboolean
parse_unicode_escape (Parser *parser, GString *text)
{
  gunichar code, low;

  if (!parse_hex4 (parser, &code))
    return FALSE;
  if (code >= 0xd800 && code < 0xdc00) {
    if (parser->end - parser->at < 2 || parser->at[0] != '\\' || parser->at[1] != 'u')
      return fail_parse (parser, "half of a surrogate pair");
    parser->at += 2;
    if (!parse_hex4 (parser, &low))
      return FALSE;
    if (low < 0xdc00 || low > 0xdfff)
      return fail_parse (parser, "half of a surrogate pair");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code >= 0xdc00 && code < 0xe000) {
    return fail_parse (parser, "half of a surrogate pair");
  }
  if (code == 0)
    return fail_parse (parser, "a string holds the character NUL");
  g_string_append_unichar (text, code);
  return TRUE;
}

static gboolean
parse_escape (Parser *parser, GString *text)
{
  static const gchar escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  const gchar *found;

  if (parser->at == parser->end)
    return fail_parse (parser, "ends inside a string");
  if (*parser->at == 'u') {
    parser->at++;
    return parse_unicode_escape (parser, text);
  }
  found = memchr (escapes, *parser->at, strlen (escapes));
  if (!found)
    return fail_parse (parser, "unknown escape in a string");
  parser->at++;
  g_string_append_c (text, meant[found - escapes]);
  return TRUE;
}

static gboolean
parse_string (Parser *parser, GString *text)
{
  g_string_truncate (text, 0);
  if (!expect (parser, '"'))
    return FALSE;
  while (parser->at < parser->end) {
    const gchar c = *parser->at;

    if ((guchar) c < 0x20)
      return fail_parse (parser, "a string holds a control character");
    parser->at++;
    if (c == '"')
      return TRUE;
    if (c != '\\')
      g_string_append_c (text, c);
    else if (!parse_escape (parser, text))
      return FALSE;
  }
  return fail_parse (parser, "ends inside a string");
}

static gboolean
parse_number (Parser *parser, guint64 *value)
{
  const gchar *first;

  skip_space (parser);
  first = parser->at;
  *value = 0;
  while (parser->at < parser->end && g_ascii_isdigit (*parser->at)) {
    if (!g_uint64_checked_mul (value, *value, 10)
        || !g_uint64_checked_add (value, *value, (guint64) (*parser->at - '0')))
      return fail_parse (parser, "a number does not fit into 64 bits");
    parser->at++;
  }
  if (parser->at == first)
    return fail_parse (parser, "expected a whole number >= 0");
  if (*first == '0' && parser->at - first > 1)
    return fail_parse (parser, "a number starts with 0");
  return TRUE;
}

static gboolean
parse_numbers (Parser *parser, const gchar *what, guint64 *values, guint max, guint *n)
{
  *n = 0;
  if (!expect (parser, '['))
    return FALSE;
  if (accept (parser, ']'))
    return TRUE;
  do {
    if (*n == max)
      return fail_parse (parser, "%s has more than %u numbers", what, max);
    if (!parse_number (parser, &values[*n]))
      return FALSE;
    (*n)++;
  } while (accept (parser, ','));
  return expect (parser, ']');
}

/* Calls @member with each key, the parser standing before its value. */
static gboolean
parse_object (Parser *parser, MemberFunc member, gpointer user_data)
{
  g_autoptr (GString) key = g_string_new (NULL);

  if (!expect (parser, '{'))
    return FALSE;
  if (accept (parser, '}'))
    return TRUE;
  do {
    if (!parse_string (parser, key) || !expect (parser, ':')
        || !member (parser, key->str, user_data))
      return FALSE;
  } while (accept (parser, ','));
  return expect (parser, '}');
}

static gboolean
parse_metadata_member (Parser *parser, const gchar *key, gpointer unused)
{
  PirlSafetensors *file = parser->file;
  g_autoptr (GString) value = g_string_new (NULL);

  if (g_tree_lookup (file->metadata, key)) {
    g_autofree gchar *shown = presentable (key);
    return fail_parse (parser, METADATA " has \"%s\" twice", shown);
  }
  if (!parse_string (parser, value))
    return FALSE;
  g_tree_insert (file->metadata, g_string_chunk_insert (file->strings, key),
      g_string_chunk_insert (file->strings, value->str));
  return TRUE;
}

typedef struct {
  Entry entry;
  gboolean has_dtype, has_shape, has_offsets;
} Draft;

static gboolean
parse_dtype (Parser *parser, Draft *draft)
{
  g_autoptr (GString) name = g_string_new (NULL);

  if (!parse_string (parser, name))
    return FALSE;
  if (!pirl_dtype_from_name (name->str, &draft->entry.tensor.dtype)) {
    g_autofree gchar *shown = presentable (name->str);
    return fail_parse (parser, "unknown dtype \"%s\"", shown);
  }
  return TRUE;
}

static gboolean
parse_shape (Parser *parser, Draft *draft)
{
  PirlShape *shape = &draft->entry.tensor.shape;
  guint64 dims[PIRL_MAX_RANK];

  if (!parse_numbers (parser, "shape", dims, PIRL_MAX_RANK, &shape->rank))
    return FALSE;
  for (guint i = 0; i < shape->rank; i++) {
    if (dims[i] > G_MAXINT64)
      return fail_parse (parser, "dimension %" G_GUINT64_FORMAT " is too large", dims[i]);
    shape->dim[i] = (gint64) dims[i];
  }
  return TRUE;
}

static gboolean
parse_offsets (Parser *parser, Draft *draft)
{
  guint64 offsets[2];
  guint n;

  if (!parse_numbers (parser, "data_offsets", offsets, G_N_ELEMENTS (offsets), &n))
    return FALSE;
  if (n != G_N_ELEMENTS (offsets) || offsets[0] > offsets[1])
    return fail_parse (parser, "data_offsets are not [begin, end] with begin <= end");
  draft->entry.begin = offsets[0];
  draft->entry.end = offsets[1];
  return TRUE;
}

static gboolean
parse_tensor_member (Parser *parser, const gchar *key, gpointer user_data)
{
  Draft *draft = user_data;
  const struct {
    const gchar *key;
    gboolean *seen;
    gboolean (*parse) (Parser *, Draft *);
  } members[] = {
    { "dtype", &draft->has_dtype, parse_dtype },
    { "shape", &draft->has_shape, parse_shape },
    { "data_offsets", &draft->has_offsets, parse_offsets },
  };
  g_autofree gchar *shown = presentable (key);

  for (guint i = 0; i < G_N_ELEMENTS (members); i++) {
    if (strcmp (key, members[i].key) != 0)
      continue;
    if (*members[i].seen)
      return fail_parse (parser, "a tensor has \"%s\" twice", shown);
    *members[i].seen = TRUE;
    return members[i].parse (parser, draft);
  }
  return fail_parse (parser, "a tensor has the unknown key \"%s\"", shown);
}

/* Checks what one tensor says about itself. */
static gboolean
check_entry (Parser *parser, Entry *entry, const gchar *shown)
{
  PirlTensor *tensor = &entry->tensor;
  g_autofree gchar *shape = pirl_shape_to_string (&tensor->shape);
  gsize size = pirl_dtype_size (tensor->dtype);

  for (guint i = 0; i < tensor->shape.rank; i++) {
    if (!g_size_checked_mul (&size, size, (guint64) tensor->shape.dim[i]))
      return fail (parser->file, parser->error,
          "tensor %s: shape %s has more bytes than memory can address", shown, shape);
  }
  if (size != entry->end - entry->begin)
    return fail (parser->file, parser->error, "tensor %s: %s of shape %s is %" G_GSIZE_FORMAT
        " bytes, its data_offsets hold %" G_GUINT64_FORMAT, shown,
        pirl_dtype_name (tensor->dtype), shape, size, entry->end - entry->begin);
  tensor->size = size;
  return TRUE;
}

static gboolean
parse_header_member (Parser *parser, const gchar *key, gpointer unused)
{
  PirlSafetensors *file = parser->file;
  g_autofree gchar *shown = presentable (key);
  Draft draft = { 0 };

  if (strcmp (key, METADATA) == 0) {
    if (file->has_metadata)
      return fail_parse (parser, METADATA " comes twice");
    file->has_metadata = TRUE;
    return parse_object (parser, parse_metadata_member, NULL);
  }
  if (g_tree_lookup_extended (file->by_name, key, NULL, NULL))
    return fail_parse (parser, "tensor %s comes twice", shown);
  if (!parse_object (parser, parse_tensor_member, &draft))
    return FALSE;
  if (!draft.has_dtype || !draft.has_shape || !draft.has_offsets)
    return fail_parse (parser, "tensor %s has no %s", shown,
        !draft.has_dtype ? "dtype" : !draft.has_shape ? "shape" : "data_offsets");
  if (!check_entry (parser, &draft.entry, shown))
    return FALSE;
  draft.entry.tensor.name = g_string_chunk_insert (file->strings, key);
  g_tree_insert (file->by_name, (gpointer) draft.entry.tensor.name, NULL);
  g_array_append_val (file->entries, draft.entry);
  return TRUE;
}

static gboolean
parse_header (PirlSafetensors *file, const gchar *text, gsize length, GError **error)
{
  Parser parser = { file, text, text, text + length, error };
  const gchar *invalid;

  if (length == 0 || *text != '{')
    return fail (file, error, "the header does not start with '{': is this a safetensors file?");
  /* Stops at NUL too. */
  if (!g_utf8_validate_len (text, length, &invalid))
    return fail (file, error, "header, byte %" G_GSIZE_FORMAT ": not UTF-8",
        (gsize) (invalid - text));
  if (!parse_object (&parser, parse_header_member, NULL))
    return FALSE;
  skip_space (&parser);
  if (parser.at != parser.end)
    return fail_parse (&parser, "something follows the end of the object");
  return TRUE;
}

static gint
compare_entries (gconstpointer a, gconstpointer b)
{
  const Entry *x = a, *y = b;

  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end)
    return x->end < y->end ? -1 : 1;
  return strcmp (x->tensor.name, y->tensor.name);
}

/* The tensors must cover the @size bytes at @data, each byte once. */
static gboolean
lay_out (PirlSafetensors *file, const guint8 *data, gsize size, GError **error)
{
  guint64 expected = 0;

  g_array_sort (file->entries, compare_entries);
  for (guint i = 0; i < file->entries->len; i++) {
    Entry *entry = &g_array_index (file->entries, Entry, i);
    g_autofree gchar *shown = presentable (entry->tensor.name);

    if (entry->end > size)
      return fail (file, error, "tensor %s ends at byte %" G_GUINT64_FORMAT " of the data, but "
          "there are only %" G_GSIZE_FORMAT ": the file is truncated", shown, entry->end, size);
    if (entry->begin != expected)
      return fail (file, error, "tensor %s starts at byte %" G_GUINT64_FORMAT " of the data, the "
          "one before it ends at %" G_GUINT64_FORMAT ": %s", shown, entry->begin, expected,
          entry->begin < expected ? "they overlap" : "there is a hole");
    entry->tensor.data = data + entry->begin;
    expected = entry->end;
    g_tree_insert (file->by_name, (gpointer) entry->tensor.name, &entry->tensor);
  }
  if (expected != size)
    return fail (file, error, "%" G_GSIZE_FORMAT " bytes follow the last tensor",
        (gsize) (size - expected));
  return TRUE;
}

/* What people try to open, by its first bytes. */
static const gchar *
guess_format (const guint8 *data)
{
  /* A zip archive, or a pickle of protocol 2 to 5. */
  if (memcmp (data, "PK\3\4", 4) == 0 || (data[0] == 0x80 && data[1] >= 2 && data[1] <= 5))
    return "this is a PyTorch file (a pickle, as .pth and .pt are), not a safetensors file; "
        "pipelines/convert-weights.py turns it into one";
  return "is this a safetensors file?";
}

static gboolean
check_length (PirlSafetensors *file, const guint8 *data, gsize size, guint64 *length,
    GError **error)
{
  if (size < LENGTH_BYTES)
    return fail (file, error, "only %" G_GSIZE_FORMAT " bytes; a safetensors file starts with "
        "the %d bytes of its header's length", size, LENGTH_BYTES);
  memcpy (length, data, sizeof *length);
  if (*length > MAX_HEADER)
    return fail (file, error, "a header of %" G_GUINT64_FORMAT " bytes, at most %d are allowed: "
        "%s", *length, MAX_HEADER, guess_format (data));
  if (*length > size - LENGTH_BYTES)
    return fail (file, error, "a header of %" G_GUINT64_FORMAT " bytes, but only %" G_GSIZE_FORMAT
        " follow: the file is truncated", *length, size - LENGTH_BYTES);
  return TRUE;
}

PirlSafetensors *
pirl_safetensors_open_bytes (GBytes *bytes, const gchar *name, GError **error)
{
  g_autoptr (PirlSafetensors) file = g_new0 (PirlSafetensors, 1);
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);
  guint64 length = 0;

  file->name = g_strdup (name);
  file->bytes = g_bytes_ref (bytes);
  file->strings = g_string_chunk_new (4096);
  file->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  file->by_name = g_tree_new_with_data (compare_strings, NULL);
  file->metadata = g_tree_new_with_data (compare_strings, NULL);

  if (!check_length (file, data, size, &length, error)
      || !parse_header (file, (const gchar *) data + LENGTH_BYTES, length, error)
      || !lay_out (file, data + LENGTH_BYTES + length, size - LENGTH_BYTES - length, error))
    return NULL;
  return g_steal_pointer (&file);
}

PirlSafetensors *
pirl_safetensors_open (const gchar *path, GError **error)
{
  g_autoptr (GMappedFile) mapped = NULL;
  g_autoptr (GBytes) bytes = NULL;
  g_autoptr (GError) reason = NULL;
  PirlSafetensors *file;
  struct stat info;

  /* Asked first: opening a pipe would wait for its writer. */
  if (stat (path, &info) != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot read \"%s\": %s", path,
        g_strerror (errno));
    return NULL;
  }
  if (!S_ISREG (info.st_mode)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot read \"%s\": it is %s, not a file",
        path, S_ISDIR (info.st_mode) ? "a folder" : "a device or pipe");
    return NULL;
  }
  mapped = g_mapped_file_new (path, FALSE, &reason);
  if (!mapped) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot read \"%s\": %s", path,
        reason->message);
    return NULL;
  }
  bytes = g_mapped_file_get_bytes (mapped);
  file = pirl_safetensors_open_bytes (bytes, path, error);
  if (file)
    file->mapped = TRUE;
  return file;
}

void
pirl_safetensors_free (PirlSafetensors *file)
{
  if (!file)
    return;
  g_tree_unref (file->by_name);
  g_tree_unref (file->metadata);
  g_array_unref (file->entries);
  g_string_chunk_free (file->strings);
  g_bytes_unref (file->bytes);
  g_free (file->name);
  g_free (file);
}

const gchar *
pirl_safetensors_name (const PirlSafetensors *file)
{
  return file->name;
}

guint
pirl_safetensors_count (const PirlSafetensors *file)
{
  return file->entries->len;
}

const PirlTensor *
pirl_safetensors_nth (const PirlSafetensors *file, guint i)
{
  return &g_array_index (file->entries, Entry, i).tensor;
}

const PirlTensor *
pirl_safetensors_lookup (const PirlSafetensors *file, const gchar *name)
{
  return g_tree_lookup (file->by_name, name);
}

void
pirl_safetensors_release (const PirlSafetensors *file, const PirlTensor *tensor)
{
  const gsize page = (gsize) sysconf (_SC_PAGESIZE);
  const guintptr end = (guintptr) tensor->data + tensor->size;
  const guintptr begin = (guintptr) tensor->data / page * page;

  /* The neighbours on the first and last page are read from the file again. */
  if (file->mapped && end > begin)
    madvise ((gpointer) begin, end - begin, MADV_DONTNEED);
}

const gchar *
pirl_safetensors_metadata (const PirlSafetensors *file, const gchar *key)
{
  return g_tree_lookup (file->metadata, key);
}
