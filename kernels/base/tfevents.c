/* gst-pirl: TensorBoard's event files (see tfevents.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/tfevents.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "base/protobuf.h"

#define FILE_VERSION "brain.Event:2"
#define MAX_PENDING (1 << 20)
#define CRC32C_POLYNOMIAL 0x82f63b78u   /* reflected */
#define CRC_MASK 0xa282ead8u

/* Field numbers of TensorFlow's event and summary messages. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5,
  EVENT_SESSION = 7 };
enum { SESSION_STATUS = 1, STATUS_START = 1 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_NUMBER = 2 };

struct _PirlTfevents {
  gchar *path;
  gint fd;
  off_t length;                 /* of the file, in whole records */
  GByteArray *pending;          /* records that are not in it yet */
};

guint32
pirl_crc32c (gconstpointer data, gsize size)
{
  const guint8 *bytes = data;
  guint32 crc = 0xffffffffu;

  for (gsize i = 0; i < size; i++) {
    crc ^= bytes[i];
    for (guint bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ (CRC32C_POLYNOMIAL & (0u - (crc & 1)));
  }
  return ~crc;
}

/* --- records --- */

/* A sum of data that hold sums themselves would be weak: the format rotates it and adds a number. */
static void
append_masked_crc (GByteArray *pending, gconstpointer data, gsize size)
{
  const guint32 crc = pirl_crc32c (data, size);
  const guint32 masked = GUINT32_TO_LE (((crc >> 15) | (crc << 17)) + CRC_MASK);

  g_byte_array_append (pending, (const guint8 *) &masked, sizeof masked);
}

/* Appends @event as a record, and frees it. */
static void
append_record (PirlTfevents *events, GByteArray *event)
{
  const guint64 length = GUINT64_TO_LE ((guint64) event->len);

  if (events->pending->len < MAX_PENDING) {
    g_byte_array_append (events->pending, (const guint8 *) &length, sizeof length);
    append_masked_crc (events->pending, &length, sizeof length);
    g_byte_array_append (events->pending, event->data, event->len);
    append_masked_crc (events->pending, event->data, event->len);
  }
  g_byte_array_unref (event);
}

static GByteArray *
event_new (void)
{
  GByteArray *event = g_byte_array_new ();

  pirl_protobuf_double (event, EVENT_WALL_TIME,
      (gdouble) g_get_real_time () / (gdouble) G_USEC_PER_SEC);
  return event;
}

void
pirl_tfevents_scalar (PirlTfevents *events, guint64 step, const gchar *tag, gdouble value)
{
  GByteArray *event = event_new (), *summary = g_byte_array_new ();
  GByteArray *entry = g_byte_array_new ();

  pirl_protobuf_string (entry, VALUE_TAG, tag);
  pirl_protobuf_float (entry, VALUE_NUMBER, (gfloat) value);
  pirl_protobuf_message (summary, SUMMARY_VALUE, entry);
  pirl_protobuf_int (event, EVENT_STEP, (gint64) step);
  pirl_protobuf_message (event, EVENT_SUMMARY, summary);
  append_record (events, event);
}

void
pirl_tfevents_restart (PirlTfevents *events, guint64 step)
{
  GByteArray *event = event_new (), *session = g_byte_array_new ();

  pirl_protobuf_int (session, SESSION_STATUS, STATUS_START);
  pirl_protobuf_int (event, EVENT_STEP, (gint64) step);
  pirl_protobuf_message (event, EVENT_SESSION, session);
  append_record (events, event);
}

/* --- the file --- */

static gboolean
fail_io (const gchar *path, gint reason, GError **error)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write events to \"%s\": %s", path,
      g_strerror (reason));
  return FALSE;
}

/* The first file name of this second and process that is free. */
static gboolean
open_file (PirlTfevents *events, const gchar *directory, GError **error)
{
  for (guint number = 0;; number++) {
    g_autofree gchar *name = g_strdup_printf ("events.out.tfevents.%010" G_GINT64_FORMAT
        ".%s.%d.%u", g_get_real_time () / G_USEC_PER_SEC, g_get_host_name (), (gint) getpid (),
        number);

    g_free (events->path);
    events->path = g_build_filename (directory, name, NULL);
    events->fd = open (events->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (events->fd >= 0)
      return TRUE;
    if (errno != EEXIST)
      return fail_io (events->path, errno, error);
  }
}

PirlTfevents *
pirl_tfevents_new (const gchar *directory, GError **error)
{
  g_autoptr (PirlTfevents) events = NULL;
  GByteArray *version;

  if (g_mkdir_with_parents (directory, 0777) != 0) {
    fail_io (directory, errno, error);
    return NULL;
  }
  events = g_new0 (PirlTfevents, 1);
  events->fd = -1;
  events->pending = g_byte_array_new ();
  if (!open_file (events, directory, error))
    return NULL;
  version = event_new ();
  pirl_protobuf_string (version, EVENT_VERSION, FILE_VERSION);
  append_record (events, version);
  return pirl_tfevents_flush (events, error) ? g_steal_pointer (&events) : NULL;
}

void
pirl_tfevents_free (PirlTfevents *events)
{
  if (!events)
    return;
  if (events->fd >= 0)
    close (events->fd);
  g_byte_array_unref (events->pending);
  g_free (events->path);
  g_free (events);
}

const gchar *
pirl_tfevents_path (const PirlTfevents *events)
{
  return events->path;
}

gboolean
pirl_tfevents_flush (PirlTfevents *events, GError **error)
{
  guint done = 0;

  while (done < events->pending->len) {
    const gssize n = pwrite (events->fd, events->pending->data + done, events->pending->len - done,
        events->length + done);

    if (n < 0 && errno != EINTR) {
      const gint reason = errno;

      /* Half a record would end the file for its readers. Where it stays, because this fails too,
       * the next flush writes over it. */
      if (ftruncate (events->fd, events->length) != 0)
        return fail_io (events->path, errno, error);
      return fail_io (events->path, reason, error);
    }
    done += n > 0 ? (guint) n : 0;
  }
  events->length += done;
  g_byte_array_set_size (events->pending, 0);
  return TRUE;
}
