/* gst-pirl: what the tests of clouds share: a Python server on the loopback (tests/servers), and
 * inquiries that remember what became of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <string.h>

#include "client.h"

/* ---- servers -------------------------------------------------------------------------------- */

typedef struct {
  GSubprocess *process;
  GDataInputStream *out;
  guint port;
} TestServer;

/* One command, one line of answer. */
static inline gchar *
test_server_command (TestServer * server, const gchar * command)
{
  GOutputStream *in = g_subprocess_get_stdin_pipe (server->process);
  g_autofree gchar *line = g_strconcat (command, "\n", NULL);
  gchar *answer;

  g_assert_true (g_output_stream_write_all (in, line, strlen (line), NULL, NULL, NULL));
  g_assert_true (g_output_stream_flush (in, NULL, NULL));
  answer = g_data_input_stream_read_line (server->out, NULL, NULL, NULL);
  g_assert_nonnull (answer);
  return answer;
}

static inline void
test_server_do (TestServer * server, const gchar * command)
{
  g_autofree gchar *answer = test_server_command (server, command);

  g_assert_cmpstr (answer, ==, "ok");
}

/* A number that the server counted. */
static inline guint64
test_server_count (TestServer * server, const gchar * name)
{
  g_autofree gchar *answer = test_server_command (server, "stats");
  g_autoptr (JsonNode) node = json_from_string (answer, NULL);

  g_assert_nonnull (node);
  return (guint64) json_object_get_int_member (json_node_get_object (node), name);
}

/* A text that the last request was made of; transfer full. */
static inline gchar *
test_server_last (TestServer * server, const gchar * name)
{
  g_autofree gchar *answer = test_server_command (server, "stats");
  g_autoptr (JsonNode) node = json_from_string (answer, NULL);
  JsonObject *last = json_object_get_object_member (json_node_get_object (node), "last");

  return json_object_has_member (last, name)
      ? json_to_string (json_object_get_member (last, name), FALSE) : NULL;
}

static inline void
test_server_no_complaints (TestServer * server)
{
  g_autofree gchar *answer = test_server_command (server, "stats");

  if (!strstr (answer, "\"complaints\": []"))
    g_error ("the server complains: %s", answer);
}

/* @certificate, @key: for TLS, else NULL. PIRL_TEST_SERVERS is the folder of the scripts. */
static inline TestServer *
test_server_new (const gchar * script, const gchar * certificate, const gchar * key)
{
  TestServer *server = g_new0 (TestServer, 1);
  const gchar *folder = g_getenv ("PIRL_TEST_SERVERS");
  g_autofree gchar *path = g_build_filename (folder ? folder : "tests/servers", script, NULL);
  const gchar *arguments[] = { "python3", "-B", path, certificate, key, NULL };
  g_autofree gchar *line = NULL;
  g_autoptr (GError) error = NULL;

  server->process = g_subprocess_newv (arguments, G_SUBPROCESS_FLAGS_STDIN_PIPE
      | G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
  g_assert_no_error (error);
  server->out = g_data_input_stream_new (g_subprocess_get_stdout_pipe (server->process));
  line = g_data_input_stream_read_line (server->out, NULL, NULL, NULL);
  g_assert_true (line && g_str_has_prefix (line, "port "));
  server->port = (guint) g_ascii_strtoull (line + strlen ("port "), NULL, 10);
  return server;
}

static inline void
test_server_free (TestServer * server)
{
  /* The end of its input ends it. */
  g_output_stream_close (g_subprocess_get_stdin_pipe (server->process), NULL, NULL);
  g_assert_true (g_subprocess_wait (server->process, NULL, NULL));
  g_object_unref (server->out);
  g_object_unref (server->process);
  g_free (server);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (TestServer, test_server_free)

/* ---- inquiries ------------------------------------------------------------------------------ */

/* What became of all inquiries of a test. */
typedef struct {
  GMutex lock;
  GCond changed;
  guint done, freed, encoded;
  GThread *thread;              /* that called the last done() */
  guint answers;                /* of the last: a bit a picture */
  gchar first[ADA_MAX_ASKED][64];       /* the first label's id of each answer, "" = none */
  gsize sent, received, total_sent, total_received;
  GQuark domain;
  gint code;                    /* of the last error, -1 = none */
  gchar message[512];
  gboolean fail_encoding;
  void (*in_done) (gpointer data);
  gpointer data;
} TestLog;

typedef struct {
  AdaInquiry base;
  TestLog *log;
  gboolean finished;
} TestInquiry;

/* Not a picture, but with the beginning and the end of one, and of a size that tells the quality. */
static inline GBytes *
test_jpeg (gint quality)
{
  const gsize size = 1000 + (gsize) quality * 10;
  guint8 *data = g_malloc0 (size);

  data[0] = 0xff, data[1] = 0xd8;
  data[size - 2] = 0xff, data[size - 1] = 0xd9;
  return g_bytes_new_take (data, size);
}

static inline GBytes *
test_encode (AdaInquiry * base, guint i, GError ** error)
{
  TestLog *log = ((TestInquiry *) base)->log;

  g_mutex_lock (&log->lock);
  log->encoded++;
  g_mutex_unlock (&log->lock);
  if (log->fail_encoding) {
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED, "no ink");
    return NULL;
  }
  return test_jpeg (base->quality[i]);
}

static inline void
test_done (AdaInquiry * base, AdaAnswer * const *answer, gsize sent, gsize received,
    const GError * error)
{
  TestInquiry *inquiry = (TestInquiry *) base;
  TestLog *log = inquiry->log;

  g_mutex_lock (&log->lock);
  g_assert_false (inquiry->finished);
  inquiry->finished = TRUE;
  log->answers = 0;
  for (guint i = 0; i < base->n; i++) {
    const gboolean labelled = answer[i] && answer[i]->labels->len > 0;

    log->answers |= (guint) (answer[i] != NULL) << i;
    g_strlcpy (log->first[i], labelled ? g_array_index (answer[i]->labels, AdaLabel, 0).id : "",
        sizeof log->first[i]);
  }
  log->sent = sent;
  log->received = received;
  log->total_sent += sent;
  log->total_received += received;
  log->domain = error ? error->domain : 0;
  log->code = error ? error->code : -1;
  g_strlcpy (log->message, error ? error->message : "", sizeof log->message);
  log->thread = g_thread_self ();
  g_mutex_unlock (&log->lock);
  if (log->in_done)
    log->in_done (log->data);
  g_mutex_lock (&log->lock);
  log->done++;
  g_cond_broadcast (&log->changed);
  g_mutex_unlock (&log->lock);
}

static inline void
test_free (AdaInquiry * base)
{
  TestLog *log = ((TestInquiry *) base)->log;

  g_mutex_lock (&log->lock);
  log->freed++;
  g_cond_broadcast (&log->changed);
  g_mutex_unlock (&log->lock);
  g_free (base->name);
  g_free (base);
}

/* A reference of quality 75 and trials of 5, 10, ... */
static inline AdaInquiry *
test_inquiry (TestLog * log, guint64 id, const gchar * name, guint n_trials)
{
  TestInquiry *inquiry = g_new0 (TestInquiry, 1);

  inquiry->log = log;
  inquiry->base = (AdaInquiry) { id, g_strdup (name), 640, 480, 1 + n_trials, {75}, test_encode,
    test_done, test_free
  };
  for (guint i = 1; i <= n_trials; i++)
    inquiry->base.quality[i] = (gint) (5 * i);
  return &inquiry->base;
}

static inline void
test_wait_done (TestLog * log, guint n)
{
  const gint64 until = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;

  g_mutex_lock (&log->lock);
  while (log->done < n || log->freed < n)
    if (!g_cond_wait_until (&log->changed, &log->lock, until))
      g_error ("%u of %u inquiries done, %u freed", log->done, n, log->freed);
  g_mutex_unlock (&log->lock);
}

static inline gdouble
test_ms_since (gint64 begin)
{
  return (g_get_monotonic_time () - begin) / 1000.;
}
