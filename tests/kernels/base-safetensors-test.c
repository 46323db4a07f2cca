/* gst-pirl: tests of safetensors files: round trip, hostile files, writers that fail or are killed.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/rng.h"
#include "base/safetensors.h"

static gchar *folder;           /* for all files of this program */

static gchar *
in_folder (const gchar *name)
{
  return g_build_filename (folder, name, NULL);
}

static guint
count_files (const gchar *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  guint n = 0;

  g_assert_nonnull (dir);
  while (g_dir_read_name (dir))
    n++;
  return n;
}

static void
test_what_is_written_is_read (void)
{
  static const gfloat weight[6] = { 1, -2, 3.5f, 0, 1e-30f, 1e30f };
  static const gint64 step = -7;
  static const guint8 bytes[3] = { 1, 2, 255 };
  static const gdouble doubles[2] = { 0.1, -0.2 };
  static const struct {
    const gchar *name;
    PirlDType dtype;
    PirlShape shape;
    gconstpointer data;
    gsize size;
  } tensors[] = {               /* in the order in which they must come back */
    { "a.doubles", PIRL_DTYPE_F64, { 1, { 2 } }, doubles, sizeof doubles },
    { "z.step", PIRL_DTYPE_I64, { 0 }, &step, sizeof step },
    { "b\"quoted\\\n\xc3\xa9", PIRL_DTYPE_F32, { 2, { 2, 3 } }, weight, sizeof weight },
    { "nothing", PIRL_DTYPE_F32, { 3, { 4, 0, 2 } }, NULL, 0 },
    { "bytes", PIRL_DTYPE_U8, { 1, { 3 } }, bytes, sizeof bytes },
  };
  g_autofree gchar *path = in_folder ("round-trip.safetensors");
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (PirlSafetensors) file = NULL;
  g_autoptr (GError) error = NULL;

  for (guint i = G_N_ELEMENTS (tensors); i-- > 0;)
    pirl_safetensors_writer_add (writer, tensors[i].name, tensors[i].dtype, &tensors[i].shape,
        tensors[i].data);
  pirl_safetensors_writer_metadata (writer, "arch", "other");
  pirl_safetensors_writer_metadata (writer, "arch", "resnet18\t\"x\"");
  g_assert_true (pirl_safetensors_writer_write (writer, path, &error));
  g_assert_no_error (error);

  file = pirl_safetensors_open (path, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (pirl_safetensors_name (file), ==, path);
  g_assert_cmpuint (pirl_safetensors_count (file), ==, G_N_ELEMENTS (tensors));
  for (guint i = 0; i < G_N_ELEMENTS (tensors); i++) {
    const PirlTensor *tensor = pirl_safetensors_nth (file, i);

    g_assert_cmpstr (tensor->name, ==, tensors[i].name);
    g_assert_true (pirl_safetensors_lookup (file, tensors[i].name) == tensor);
    g_assert_cmpint (tensor->dtype, ==, tensors[i].dtype);
    g_assert_true (pirl_shape_equal (&tensor->shape, &tensors[i].shape));
    g_assert_cmpmem (tensor->data, tensor->size, tensors[i].data, tensors[i].size);
    g_assert_cmpuint ((gsize) tensor->data % pirl_dtype_size (tensor->dtype), ==, 0);
  }
  g_assert_null (pirl_safetensors_lookup (file, "none"));
  g_assert_cmpstr (pirl_safetensors_metadata (file, "format"), ==, "pt");
  g_assert_cmpstr (pirl_safetensors_metadata (file, "arch"), ==, "resnet18\t\"x\"");
  g_assert_null (pirl_safetensors_metadata (file, "none"));
}

/* A file in memory: @header with its length before and @size bytes 0, 1, 2 ... behind. */
static GBytes *
make_file (const gchar *header, gsize size)
{
  GByteArray *bytes = g_byte_array_new ();
  const guint64 length = strlen (header);

  g_byte_array_append (bytes, (const guint8 *) &length, sizeof length);
  g_byte_array_append (bytes, (const guint8 *) header, length);
  for (gsize i = 0; i < size; i++)
    g_byte_array_append (bytes, &(guint8) { (guint8) i }, 1);
  return g_byte_array_free_to_bytes (bytes);
}

static PirlSafetensors *
open_header (const gchar *header, gsize size, GError **error)
{
  g_autoptr (GBytes) bytes = make_file (header, size);

  return pirl_safetensors_open_bytes (bytes, "mem", error);
}

#define T(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

/* What others write and we must take. */
static void
test_foreign_but_right_files_are_read (void)
{
  static const gchar odd_header[] = /* 7 bytes before the data: floats at odd addresses */
      " \n";
  static const struct {
    const gchar *header;
    gsize size;
    guint tensors;
  } cases[] = {
    { "{}", 0, 0 },
    { "{}   ", 0, 0 },
    { "{ }\n", 0, 0 },
    { "{\"__metadata__\":{}}", 0, 0 },
    { "{\"a\":" T ("F32", "[2]", 0, 8) "}", 8, 1 },
    { "{ \"b\" : " T ("U8", "[ 1 , 3 ]", 8, 11) " ,\"a\": " T ("F32", "[2]", 0, 8) " } ", 11, 2 },
    { "{\"a\":{\"data_offsets\":[0,2],\"shape\":[],\"dtype\":\"BF16\"}}", 2, 1 },
    { "{\"empty\":" T ("F32", "[0]", 0, 0) ",\"a\":" T ("U8", "[1]", 0, 1) "}", 1, 2 },
    { "{\"\\u00e9\\ud83d\\ude00\\/\":" T ("U8", "[1,1,1,1,1,1,1,1]", 0, 1) "}", 1, 1 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (PirlSafetensors) file = open_header (cases[i].header, cases[i].size, &error);

    g_assert_no_error (error);
    g_assert_cmpuint (pirl_safetensors_count (file), ==, cases[i].tensors);
  }
  for (guint pad = 0; pad < 8; pad++) {
    g_autofree gchar *header = g_strdup_printf ("{\"a\":" T ("F32", "[2]", 0, 8) "}%*s%s",
        (gint) pad, "", odd_header);
    g_autoptr (PirlSafetensors) file = open_header (header, 8, NULL);
    const PirlTensor *tensor = pirl_safetensors_lookup (file, "a");
    const guint8 expected[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    gfloat values[2];

    pirl_to_float (tensor->dtype, tensor->data, values, 2);
    g_assert_cmpmem (values, sizeof values, expected, sizeof expected);
  }
}

static void
test_escapes_give_the_right_name (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlSafetensors) file = open_header ("{\"\\u00e9\\ud83d\\ude00\\/\\n\":"
      T ("U8", "[1]", 0, 1) "}", 1, &error);

  g_assert_no_error (error);
  g_assert_nonnull (pirl_safetensors_lookup (file, "\xc3\xa9\xf0\x9f\x98\x80/\n"));
}

static void
test_hostile_headers_are_refused_with_a_reason (void)
{
  static const struct {
    const gchar *header;
    gsize size;
    const gchar *reason;
  } cases[] = {
    { "", 0, "does not start with '{'" },
    { "[]", 0, "does not start with '{'" },
    { " {}", 0, "does not start with '{'" },
    { "{", 0, "ends where '\"' should come" },
    { "{}x", 0, "something follows" },
    { "{}{}", 0, "something follows" },
    { "{\"a\":" T ("F32", "[2]", 0, 8), 8, "ends where '}' should come" },
    { "{\"a\":" T ("F32", "[2]", 0, 8) ",}", 8, "expected '\"'" },
    { "{\"a", 0, "ends inside a string" },
    { "{\"a\\", 0, "ends inside a string" },
    { "{\"a\\x\":1}", 0, "unknown escape" },
    { "{\"a\\u00g0\":1}", 0, "four hexadecimal digits" },
    { "{\"a\\u12", 0, "four hexadecimal digits" },
    { "{\"a\\u0000\":1}", 0, "NUL" },
    { "{\"\\ud83d\":1}", 0, "surrogate" },
    { "{\"\\ud83d\\u0041\":1}", 0, "surrogate" },
    { "{\"\\ude00\":1}", 0, "surrogate" },
    { "{\"a\tb\":1}", 0, "control character" },
    { "{\"\xff\":1}", 0, "byte 2: not UTF-8" },
    { "{\"a\":[[[[[[[[[[[[[[[[", 0, "expected '{'" },
    { "{\"a\":{\"a\":{\"a\":{", 0, "unknown key \"a\"" },
    { "{/**/\"a\":1}", 0, "expected '\"'" },
    { "{\"a\":null}", 0, "expected '{'" },
    { "{\"a\":{}}", 0, "tensor a has no dtype" },
    { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "has no shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "has no data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
        "\"dtype\" twice" },
    { "{\"a\":" T ("F8_E4M3", "[2]", 0, 2) "}", 2, "unknown dtype \"F8_E4M3\"" },
    { "{\"a\":{\"dtype\":5}}", 2, "expected '\"'" },
    { "{\"a\":" T ("F32", "[-2]", 0, 8) "}", 8, "whole number >= 0" },
    { "{\"a\":" T ("F32", "[2.0]", 0, 8) "}", 8, "expected ']'" },
    { "{\"a\":" T ("F32", "[2e1]", 0, 80) "}", 80, "expected ']'" },
    { "{\"a\":" T ("F32", "[02]", 0, 8) "}", 8, "starts with 0" },
    { "{\"a\":" T ("F32", "[2,]", 0, 8) "}", 8, "whole number >= 0" },
    { "{\"a\":" T ("F32", "[18446744073709551616]", 0, 8) "}", 8, "64 bits" },
    { "{\"a\":" T ("F32", "[18446744073709551615]", 0, 8) "}", 8, "too large" },
    { "{\"a\":" T ("U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, "more than 8 numbers" },
    { "{\"a\":" T ("F32", "[4294967296,4294967296]", 0, 0) "}", 0, "more bytes than memory" },
    { "{\"a\":" T ("F32", "[4611686018427387904]", 0, 0) "}", 0, "more bytes than memory" },
    { "{\"a\":" T ("F32", "[2]", 0, 4) "}", 4, "F32 of shape [2] is 8 bytes" },
    { "{\"a\":" T ("F32", "[2]", 8, 0) "}", 8, "begin <= end" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0]}}", 0, "begin <= end" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0,0]}}", 0,
        "more than 2 numbers" },
    { "{\"a\":" T ("F32", "[2]", 0, 8) "}", 7, "truncated" },
    { "{\"a\":" T ("U8", "[1]", 18446744073709551614, 18446744073709551615) "}", 7, "truncated" },
    { "{\"a\":" T ("F32", "[2]", 0, 8) "}", 9, "1 bytes follow the last tensor" },
    { "{\"a\":" T ("F32", "[2]", 4, 12) "}", 12, "there is a hole" },
    { "{\"a\":" T ("F32", "[2]", 0, 8) ",\"b\":" T ("U8", "[1]", 9, 10) "}", 10, "hole" },
    { "{\"a\":" T ("F32", "[2]", 0, 8) ",\"b\":" T ("U8", "[2]", 7, 9) "}", 9, "they overlap" },
    { "{\"a\":" T ("F32", "[2]", 0, 8) ",\"b\":" T ("F32", "[2]", 0, 8) "}", 8, "they overlap" },
    { "{\"a\":" T ("U8", "[1]", 0, 1) ",\"a\":" T ("U8", "[1]", 1, 2) "}", 2, "a comes twice" },
    { "{\"a\":" T ("U8", "[1]", 0, 1) ",\"\\u0061\":" T ("U8", "[1]", 1, 2) "}", 2,
        "a comes twice" },
    { "{\"__metadata__\":{\"a\":1}}", 0, "expected '\"'" },
    { "{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}", 0, "\"a\" twice" },
    { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "comes twice" },
    { "{\"__metadata__\":[]}", 0, "expected '{'" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (PirlSafetensors) file = open_header (cases[i].header, cases[i].size, &error);

    g_assert_null (file);
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
    g_test_message ("%s", error->message);
    g_assert_true (g_str_has_prefix (error->message, "\"mem\": "));
    g_assert_nonnull (strstr (error->message, cases[i].reason));
  }
}

static void
test_files_with_a_wrong_length_are_refused (void)
{
  static const struct {
    gsize size;
    const gchar *bytes;
    const gchar *reason;
  } cases[] = {
    { 0, "", "only 0 bytes" },
    { 7, "\2\0\0\0\0\0\0", "only 7 bytes" },
    { 8, "\2\0\0\0\0\0\0\0", "truncated" },
    { 9, "\2\0\0\0\0\0\0\0{", "but only 1 follow" },
    { 10, "\377\377\377\377\377\377\377\377{}", "at most 100000000" },
    { 10, "\370\377\377\377\377\377\377\377{}", "at most 100000000" },
    { 10, "\1\341\365\5\0\0\0\0{}", "100000001 bytes, at most" },
    { 12, "\4\0\0\0\0\0\0\0{\0}\0", "byte 1: not UTF-8" },
    { 12, "PK\3\4\0\0\10\10\0\0\0\0", "pipelines/convert-weights.py turns it into one" },
    { 12, "\200\2\212\12l\374\234F\371 j\250", "pipelines/convert-weights.py turns it into one" },
    { 12, "\200\4\225\377\377\377\377\377\0\0\0\0", "PyTorch" },
    { 12, "GIF89a\377\377\377\377\377\377", "is this a safetensors file?" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GBytes) bytes = g_bytes_new_static (cases[i].bytes, cases[i].size);
    g_autoptr (GError) error = NULL;

    g_assert_null (pirl_safetensors_open_bytes (bytes, "mem", &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
    g_assert_nonnull (strstr (error->message, cases[i].reason));
  }
}

/* Names chosen by an enemy: megabytes long, or with terminal escapes. */
static void
test_messages_stay_short_and_printable (void)
{
  g_autofree gchar *name = g_strnfill (1000000, 'n');
  g_autofree gchar *header = g_strdup_printf ("{\"%s\":" T ("X\\u001b[31m", "[1]", 0, 1) "}", name);
  g_autofree gchar *long_header = g_strdup_printf ("{\"%s\":{}}", name);
  g_autoptr (GError) error = NULL;

  g_assert_null (open_header (header, 1, &error));
  g_assert_null (strchr (error->message, '\033'));
  g_clear_error (&error);
  g_assert_null (open_header (long_header, 1, &error));
  g_assert_cmpuint (strlen (error->message), <, 300);
}

static void
test_what_is_no_file_is_an_io_error (void)
{
  g_autofree gchar *missing = in_folder ("missing"), *pipe_path = in_folder ("pipe");
  const struct {
    const gchar *path, *reason;
  } cases[] = {
    { missing, g_strerror (ENOENT) },
    { folder, "a folder" },
    { pipe_path, "a device or pipe" },
    { "/dev/null", "a device or pipe" },
  };

  g_assert_cmpint (mkfifo (pipe_path, 0600), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (pirl_safetensors_open (cases[i].path, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
    g_assert_nonnull (strstr (error->message, cases[i].path));
    g_assert_nonnull (strstr (error->message, cases[i].reason));
  }
  g_unlink (pipe_path);
}

/* Writes two tensors full of @version; many small ones in front make a long header. */
static gboolean
write_version (const gchar *path, const gfloat *values, gsize n, const gchar *version,
    GError **error)
{
  const PirlShape shape = { 1, { (gint64) n } }, one = { 1, { 1 } };
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();

  pirl_safetensors_writer_metadata (writer, "version", version);
  pirl_safetensors_writer_add (writer, "big.1", PIRL_DTYPE_F32, &shape, values);
  pirl_safetensors_writer_add (writer, "big.2", PIRL_DTYPE_F32, &shape, values);
  for (guint i = 0; i < 100; i++) {
    g_autofree gchar *name = g_strdup_printf ("small.%u", i);
    pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &one, values);
  }
  return pirl_safetensors_writer_write (writer, path, error);
}

/* The file is whole and all of one version; returns which. */
static gchar
assert_whole (const gchar *path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, &error);
  const gchar *version;

  g_assert_no_error (error);
  g_assert_cmpuint (pirl_safetensors_count (file), ==, 102);
  version = pirl_safetensors_metadata (file, "version");
  for (guint i = 0; i < pirl_safetensors_count (file); i++) {
    const PirlTensor *tensor = pirl_safetensors_nth (file, i);
    const gfloat *values = tensor->data;

    for (gsize j = 0; j < tensor->size / sizeof *values; j++)
      g_assert_cmpfloat (values[j], ==, version[0]);
  }
  return version[0];
}

static gfloat *
filled (gsize n, gfloat value)
{
  gfloat *values = g_new (gfloat, n);

  for (gsize i = 0; i < n; i++)
    values[i] = value;
  return values;
}

G_GNUC_NORETURN
static void
write_for_ever (const gchar *path, const gfloat *a, const gfloat *b, gsize n)
{
  for (;;) {
    if (!write_version (path, a, n, "A", NULL) || !write_version (path, b, n, "B", NULL))
      _exit (1);
  }
}

/* 20 MB a version, killed at 20 moments spread over about two writes. */
static void
test_a_killed_writer_leaves_the_old_file_or_the_new (void)
{
  enum { FLOATS = 2500000, KILLS = 20 };
  g_autofree gchar *subfolder = in_folder ("kill");
  g_autofree gchar *path = g_build_filename (subfolder, "model.safetensors", NULL);
  g_autofree gfloat *a = filled (FLOATS, 'A'), *b = filled (FLOATS, 'B');
  g_autoptr (GTimer) timer = g_timer_new ();
  guint seen[2] = { 0 }, leftovers = 0;
  gdouble write_time;
  PirlRng rng;

  g_assert_cmpint (g_mkdir (subfolder, 0700), ==, 0);
  g_assert_true (write_version (path, a, FLOATS, "A", NULL));
  write_time = g_timer_elapsed (timer, NULL);
  pirl_rng_init (&rng, 1, 0, 0, PIRL_PURPOSE_TEST);
  for (guint k = 0; k < KILLS; k++) {
    const gdouble delay = pirl_rng_range (&rng, 0, 2) * write_time;
    const pid_t child = fork ();
    gint status;

    g_assert_cmpint (child, >=, 0);
    if (child == 0)
      write_for_ever (path, a, b, FLOATS);
    g_usleep ((gulong) (delay * 1e6));
    kill (child, SIGKILL);
    g_assert_cmpint (waitpid (child, &status, 0), ==, child);
    g_assert_true (WIFSIGNALED (status));
    seen[assert_whole (path) == 'B']++;
    g_assert_cmpuint (count_files (subfolder), <=, 2);
    leftovers += count_files (subfolder) == 2;
  }
  g_test_message ("after %u kills: %u times version A, %u times B, %u temporary files met", KILLS,
      seen[0], seen[1], leftovers);
  g_assert_true (write_version (path, b, FLOATS, "B", NULL));
  g_assert_cmpint (assert_whole (path), ==, 'B');
  g_assert_cmpuint (count_files (subfolder), ==, 1);
}

/* A limit on the size of files stands for a full disk. */
static void
test_a_full_disk_changes_nothing (void)
{
  enum { FLOATS = 10000 };
  g_autofree gchar *subfolder = in_folder ("full");
  g_autofree gchar *path = g_build_filename (subfolder, "model.safetensors", NULL);
  g_autofree gfloat *a = filled (FLOATS, 'A'), *b = filled (FLOATS, 'B');
  g_autoptr (GError) error = NULL;
  struct rlimit limit, before;
  gboolean written;

  g_assert_cmpint (g_mkdir (subfolder, 0700), ==, 0);
  g_assert_true (write_version (path, a, FLOATS, "A", NULL));
  signal (SIGXFSZ, SIG_IGN);
  getrlimit (RLIMIT_FSIZE, &before);
  limit = before;
  limit.rlim_cur = 50000;
  setrlimit (RLIMIT_FSIZE, &limit);
  written = write_version (path, b, FLOATS, "B", &error);
  setrlimit (RLIMIT_FSIZE, &before);

  g_assert_false (written);
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_assert_nonnull (strstr (error->message, path));
  g_assert_nonnull (strstr (error->message, g_strerror (EFBIG)));
  g_assert_nonnull (strstr (error->message, "big.2, "));
  g_assert_nonnull (strstr (error->message, "unchanged"));
  g_assert_cmpint (assert_whole (path), ==, 'A');
  g_assert_cmpuint (count_files (subfolder), ==, 1);
}

static void
test_a_folder_that_cannot_be_written_is_an_error (void)
{
  const gfloat value = 1;
  g_autofree gchar *missing = g_build_filename (folder, "no-such", "model.safetensors", NULL);
  g_autofree gchar *locked = in_folder ("locked"), *occupied = in_folder ("occupied");
  g_autofree gchar *inside = g_build_filename (locked, "model.safetensors", NULL);
  g_autofree gchar *full_of = g_build_filename (occupied, "something", NULL);
  const struct {
    const gchar *path;
    gint reason;
  } cases[] = { { missing, ENOENT }, { occupied, EISDIR }, { inside, EACCES } };

  g_assert_cmpint (g_mkdir (locked, 0555), ==, 0);
  g_assert_cmpint (g_mkdir (occupied, 0755), ==, 0);
  g_assert_cmpint (g_mkdir (full_of, 0755), ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autofree gchar *temporary = g_strconcat (cases[i].path, ".tmp", NULL);

    if (cases[i].reason == EACCES && geteuid () == 0) {
      g_test_message ("root may write everywhere: EACCES not tested");
      continue;
    }
    g_assert_false (write_version (cases[i].path, &value, 1, "A", &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
    g_assert_nonnull (strstr (error->message, cases[i].path));
    g_assert_nonnull (strstr (error->message, g_strerror (cases[i].reason)));
    g_assert_false (g_file_test (temporary, G_FILE_TEST_EXISTS));
  }
}

static void
test_a_second_writer_at_the_same_moment_fails (void)
{
  g_autofree gchar *path = in_folder ("shared.safetensors");
  g_autofree gchar *temporary = g_strconcat (path, ".tmp", NULL);
  g_autofree gfloat *a = filled (10, 'A');
  g_autoptr (GError) error = NULL;
  const gint fd = open (temporary, O_RDWR | O_CREAT, 0600);

  g_assert_cmpint (flock (fd, LOCK_EX), ==, 0);
  g_assert_false (write_version (path, a, 10, "A", &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_assert_nonnull (strstr (error->message, "something else is writing"));
  g_assert_true (g_file_test (temporary, G_FILE_TEST_EXISTS));  /* it is the other's */
  close (fd);
  g_assert_true (write_version (path, a, 10, "A", NULL));
  g_assert_cmpint (assert_whole (path), ==, 'A');
}

static void
test_a_mapped_file_may_be_replaced (void)
{
  g_autofree gchar *path = in_folder ("replaced.safetensors");
  g_autofree gfloat *a = filled (1000, 'A'), *b = filled (1000, 'B');
  g_autoptr (PirlSafetensors) old = NULL;

  g_assert_true (write_version (path, a, 1000, "A", NULL));
  old = pirl_safetensors_open (path, NULL);
  g_assert_true (write_version (path, b, 1000, "B", NULL));
  g_assert_cmpfloat (*(const gfloat *) pirl_safetensors_lookup (old, "big.2")->data, ==, 'A');
  g_assert_cmpint (assert_whole (path), ==, 'B');
}

static void
test_the_same_content_gives_the_same_bytes (void)
{
  static const gchar *const names[] = { "c", "a", "b" };
  const PirlShape one = { 1, { 1 } };
  const gfloat value = 1;
  gchar *contents[2];
  gsize sizes[2];

  for (guint round = 0; round < 2; round++) {
    g_autofree gchar *path = in_folder ("same.safetensors");
    g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();

    for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
      const gchar *name = names[round ? i : G_N_ELEMENTS (names) - 1 - i];

      pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &one, &value);
      pirl_safetensors_writer_metadata (writer, name, "value");
    }
    g_assert_true (pirl_safetensors_writer_write (writer, path, NULL));
    g_assert_true (g_file_get_contents (path, &contents[round], &sizes[round], NULL));
  }
  g_assert_cmpmem (contents[0], sizes[0], contents[1], sizes[1]);
  g_free (contents[0]);
  g_free (contents[1]);
}

/* A tensor that is asked for in pieces. */
typedef struct {
  const guint8 *data;
  gsize size, asked;
  gboolean fails;               /* with the last piece */
} Pieces;

static gboolean
read_piece (gpointer closure, gsize offset, gsize size, gpointer dst, GError **error)
{
  Pieces *pieces = closure;

  g_assert_cmpuint (offset, ==, pieces->asked);
  g_assert_cmpuint (offset + size, <=, pieces->size);
  pieces->asked += size;
  if (pieces->fails && pieces->asked == pieces->size) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE, "the last piece is bad");
    return FALSE;
  }
  memcpy (dst, pieces->data + offset, size);
  return TRUE;
}

static gboolean
write_pieces (const gchar *path, Pieces *pieces, gsize piece, GError **error)
{
  const PirlShape shape = { 1, { (gint64) (pieces->size / sizeof (gfloat)) } }, one = { 1, { 1 } };
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();

  pieces->asked = 0;
  pirl_safetensors_writer_add (writer, "z", PIRL_DTYPE_F32, &one, pieces->data);
  if (piece > 0)
    pirl_safetensors_writer_add_read (writer, "a", PIRL_DTYPE_F32, &shape, piece, read_piece,
        pieces);
  else
    pirl_safetensors_writer_add (writer, "a", PIRL_DTYPE_F32, &shape, pieces->data);
  return pirl_safetensors_writer_write (writer, path, error);
}

static void
test_pieces_make_the_same_file (void)
{
  static const gsize sizes[] = { 4, 1000, 4000, 4001 };
  g_autofree gchar *whole_path = in_folder ("whole.safetensors");
  g_autofree gchar *path = in_folder ("pieces.safetensors");
  g_autofree gchar *whole = NULL;
  gfloat values[1000];
  Pieces pieces = { (const guint8 *) values, sizeof values, 0, FALSE };
  gsize whole_length;

  for (guint i = 0; i < G_N_ELEMENTS (values); i++)
    values[i] = (gfloat) i;
  g_assert_true (write_pieces (whole_path, &pieces, 0, NULL));
  g_assert_true (g_file_get_contents (whole_path, &whole, &whole_length, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
    g_autofree gchar *written = NULL;
    gsize length;

    g_assert_true (write_pieces (path, &pieces, sizes[i], NULL));
    g_assert_cmpuint (pieces.asked, ==, pieces.size);
    g_assert_true (g_file_get_contents (path, &written, &length, NULL));
    g_assert_cmpmem (written, length, whole, whole_length);
  }
}

static void
test_a_piece_that_fails_changes_nothing (void)
{
  g_autofree gchar *path = in_folder ("bad-piece.safetensors");
  g_autofree gchar *temporary = g_strconcat (path, ".tmp", NULL);
  g_autofree gchar *before = NULL, *after = NULL;
  g_autoptr (GError) error = NULL;
  const gfloat values[8] = { 0 };
  Pieces pieces = { (const guint8 *) values, sizeof values, 0, FALSE };
  gsize length_before, length_after;

  g_assert_true (write_pieces (path, &pieces, 8, NULL));
  g_assert_true (g_file_get_contents (path, &before, &length_before, NULL));
  pieces.fails = TRUE;
  g_assert_false (write_pieces (path, &pieces, 8, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE);
  g_assert_true (g_file_get_contents (path, &after, &length_after, NULL));
  g_assert_cmpmem (before, length_before, after, length_after);
  g_assert_false (g_file_test (temporary, G_FILE_TEST_EXISTS));
}

static void
test_names_that_no_reader_takes_are_refused (void)
{
  static const gchar *const names[][2] = {
    { "a", "a" }, { "__metadata__", "a" }, { "\xff", "a" }
  };
  const PirlShape one = { 1, { 1 } };
  const gfloat value = 1;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree gchar *path = in_folder ("refused.safetensors");
    g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
    g_autoptr (GError) error = NULL;

    for (guint j = 0; j < 2; j++)
      pirl_safetensors_writer_add (writer, names[i][j], PIRL_DTYPE_F32, &one, &value);
    g_assert_false (pirl_safetensors_writer_write (writer, path, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_assert_false (g_file_test (path, G_FILE_TEST_EXISTS));
  }
}

static void
remove_tree (const gchar *path)
{
  GDir *dir = g_dir_open (path, 0, NULL);
  const gchar *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree gchar *inside = g_build_filename (path, name, NULL);

    if (g_file_test (inside, G_FILE_TEST_IS_DIR))
      remove_tree (inside);
    else
      g_unlink (inside);
  }
  if (dir)
    g_dir_close (dir);
  g_rmdir (path);
}

int
main (int argc, char **argv)
{
  gint result;

  g_test_init (&argc, &argv, NULL);
  folder = g_dir_make_tmp ("pirl-safetensors-XXXXXX", NULL);
  g_test_add_func ("/read/round-trip", test_what_is_written_is_read);
  g_test_add_func ("/read/foreign", test_foreign_but_right_files_are_read);
  g_test_add_func ("/read/escapes", test_escapes_give_the_right_name);
  g_test_add_func ("/read/hostile", test_hostile_headers_are_refused_with_a_reason);
  g_test_add_func ("/read/length", test_files_with_a_wrong_length_are_refused);
  g_test_add_func ("/read/messages", test_messages_stay_short_and_printable);
  g_test_add_func ("/read/no-file", test_what_is_no_file_is_an_io_error);
  g_test_add_func ("/write/killed", test_a_killed_writer_leaves_the_old_file_or_the_new);
  g_test_add_func ("/write/full-disk", test_a_full_disk_changes_nothing);
  g_test_add_func ("/write/folder", test_a_folder_that_cannot_be_written_is_an_error);
  g_test_add_func ("/write/two-writers", test_a_second_writer_at_the_same_moment_fails);
  g_test_add_func ("/write/replaced", test_a_mapped_file_may_be_replaced);
  g_test_add_func ("/write/same-bytes", test_the_same_content_gives_the_same_bytes);
  g_test_add_func ("/write/pieces", test_pieces_make_the_same_file);
  g_test_add_func ("/write/bad-piece", test_a_piece_that_fails_changes_nothing);
  g_test_add_func ("/write/names", test_names_that_no_reader_takes_are_refused);
  result = g_test_run ();
  remove_tree (folder);
  g_free (folder);
  return result;
}
