/* gst-pirl: a Python server of tests/servers in a process of its own, on the loopback.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>
#include <json-glib/json-glib.h>
#include <string.h>

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
