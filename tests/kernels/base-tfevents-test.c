/* gst-pirl: TensorBoard's event files: sums against published values, records, full disks.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "tfevents-reader.h"

static gchar *folder;

/* RFC 3720, B.4, and the check value of the polynomial's catalogue entry. */
static void
test_crc (void)
{
  static const struct {
    guint first, step;
    guint32 crc;
  } blocks[] = { {0, 0, 0x8a9136aa}, {0xff, 0, 0x62a8ab43}, {0, 1, 0x46dd794e}, {31, 255, 0x113fdb5c} };

  for (guint b = 0; b < G_N_ELEMENTS (blocks); b++) {
    guint8 bytes[32];

    for (guint i = 0; i < 32; i++)
      bytes[i] = (guint8) (blocks[b].first + i * blocks[b].step);
    g_assert_cmphex (pirl_crc32c (bytes, sizeof bytes), ==, blocks[b].crc);
  }
  g_assert_cmphex (pirl_crc32c ("123456789", 9), ==, 0xe3069283);
}

static const TestEvent *
event (const GPtrArray *events, guint i)
{
  g_assert_cmpuint (i, <, events->len);
  return events->pdata[i];
}

static void
test_records (void)
{
  g_autofree gchar *deep = g_build_filename (folder, "a", "b", NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlTfevents) events = pirl_tfevents_new (deep, &error);
  g_autoptr (PirlTfevents) other = pirl_tfevents_new (deep, &error);
  const gdouble now = (gdouble) g_get_real_time () / G_USEC_PER_SEC;
  g_autoptr (GPtrArray) read = NULL, files = NULL;

  g_assert_no_error (error);
  pirl_tfevents_restart (events, 7);
  pirl_tfevents_scalar (events, 7, "loss", 6.25);
  pirl_tfevents_scalar (events, G_GUINT64_CONSTANT (1) << 40, "loss/images", -0.0);
  pirl_tfevents_scalar (events, 8, "loss", NAN);
  read = test_read_events (pirl_tfevents_path (events));
  g_assert_cmpuint (read->len, ==, 1);  /* not before it is flushed */
  g_ptr_array_unref (read);
  g_assert_true (pirl_tfevents_flush (events, &error));
  read = test_read_events (pirl_tfevents_path (events));
  g_assert_cmpuint (read->len, ==, 5);
  g_assert_cmpstr (event (read, 0)->version, ==, "brain.Event:2");
  g_assert_true (event (read, 1)->start);
  g_assert_cmpuint (event (read, 1)->step, ==, 7);
  g_assert_cmpstr (event (read, 2)->tag, ==, "loss");
  g_assert_cmpuint (event (read, 2)->step, ==, 7);
  g_assert_cmpfloat (event (read, 2)->value, ==, 6.25f);
  g_assert_cmpstr (event (read, 3)->tag, ==, "loss/images");
  g_assert_cmpuint (event (read, 3)->step, ==, G_GUINT64_CONSTANT (1) << 40);
  g_assert_true (isnan (event (read, 4)->value));
  for (guint i = 0; i < read->len; i++)
    g_assert_cmpfloat (fabs (event (read, i)->wall_time - now), <, 60);
  files = test_event_files (deep);
  g_assert_cmpuint (files->len, ==, 2);
}

static void
test_no_folder (void)
{
  g_autofree gchar *file = g_build_filename (folder, "file", NULL);
  g_autofree gchar *below = g_build_filename (file, "log", NULL);
  g_autoptr (GError) error = NULL;

  g_assert_true (g_file_set_contents (file, "x", 1, NULL));
  g_assert_null (pirl_tfevents_new (below, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_assert_nonnull (strstr (error->message, below));
}

static void
limit_files (rlim_t bytes)
{
  struct rlimit limit;

  g_assert_cmpint (getrlimit (RLIMIT_FSIZE, &limit), ==, 0);
  limit.rlim_cur = bytes;
  g_assert_cmpint (setrlimit (RLIMIT_FSIZE, &limit), ==, 0);
}

/* A write that ends halfway leaves whole records; what did not fit comes when there is room; what
 * waits does not grow without end. */
static void
test_full_disk (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlTfevents) events = pirl_tfevents_new (folder, &error);
  g_autoptr (GPtrArray) read = NULL;

  g_assert_no_error (error);
  signal (SIGXFSZ, SIG_IGN);
  limit_files (100);
  for (guint64 step = 1; step <= 100; step++)
    pirl_tfevents_scalar (events, step, "loss", (gdouble) step);
  g_assert_false (pirl_tfevents_flush (events, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_IO);
  g_clear_error (&error);
  read = test_read_events (pirl_tfevents_path (events));
  g_assert_cmpuint (read->len, ==, 1);
  g_ptr_array_unref (read);
  limit_files (RLIM_INFINITY);
  g_assert_true (pirl_tfevents_flush (events, &error));
  read = test_read_events (pirl_tfevents_path (events));
  g_assert_cmpuint (read->len, ==, 101);
  for (guint i = 1; i < read->len; i++)
    g_assert_cmpfloat (event (read, i)->value, ==, (gfloat) i);
  for (guint64 step = 0; step < 100000; step++)
    pirl_tfevents_scalar (events, step, "loss", 0);
  g_ptr_array_unref (read);
  g_assert_true (pirl_tfevents_flush (events, &error));
  read = test_read_events (pirl_tfevents_path (events));
  g_assert_cmpuint (read->len, >, 10000);
  g_assert_cmpuint (read->len, <, 50000);
}

static void
remove_tree (const gchar *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const gchar *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree gchar *inner = g_build_filename (path, name, NULL);

    remove_tree (inner);
  }
  g_remove (path);
}

int
main (int argc, char **argv)
{
  gint result;

  g_test_init (&argc, &argv, NULL);
  folder = g_dir_make_tmp ("pirl-tfevents-XXXXXX", NULL);
  g_test_add_func ("/tfevents/crc", test_crc);
  g_test_add_func ("/tfevents/records", test_records);
  g_test_add_func ("/tfevents/no-folder", test_no_folder);
  g_test_add_func ("/tfevents/full-disk", test_full_disk);
  result = g_test_run ();
  remove_tree (folder);
  g_free (folder);
  return result;
}
