/* gst-pirl: a service that offers HTTP/2: one connection for all, what ends a connection, and what
 * of it is counted.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "adacompress-cloud-server.h"
#include "certificates.h"

#define ANSWER "{\"modelVersion\": \"1\", \"tagsResult\": {\"values\": [{\"name\": \"a\", " \
    "\"confidence\": 0.5}]}}"
#define PICTURE 100000          /* bytes; more than HTTP/2's first window */

typedef struct {
  Certificate certificate;
  TestServer *server;           /* NULL: the test is skipped */
  AdaCloud *cloud;
} Fixture;

static void
set_up (Fixture * f, gconstpointer data)
{
  g_autofree gchar *uri = NULL;
  g_autoptr (GError) error = NULL;

  if (!certificate_make (&f->certificate))
    return;
  f->server = test_server_new ("http2.py", f->certificate.certificate, f->certificate.key);
  test_server_do (f->server, "set answer " ANSWER);
  uri = g_strdup_printf ("azure:https://127.0.0.1:%u?ca=%s", f->server->port,
      f->certificate.certificate);
  f->cloud = ada_cloud_new (uri, NULL, 1, &error);
  g_assert_no_error (error);
}

static void
tear_down (Fixture * f, gconstpointer data)
{
  g_clear_object (&f->cloud);
  g_clear_pointer (&f->server, test_server_free);
  certificate_remove (&f->certificate);
}

/* -1 or the error's code; adds to @traffic. */
static gint
ask (Fixture * f, AdaTraffic * traffic, GCancellable * cancellable)
{
  g_autoptr (GBytes) jpeg = g_bytes_new_take (g_malloc0 (PICTURE), PICTURE);
  AdaTraffic own = { 0 };
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = ada_cloud_classify (f->cloud, &(AdaRequest) {.jpeg = jpeg,
      .width = 640,.height = 480,.traffic = &own }, cancellable, &error);

  traffic->sent += own.sent;
  traffic->received += own.received;
  if (!answer)
    return error->code;
  g_assert_cmpuint (answer->labels->len, ==, 1);
  return -1;
}

static void
assert_count (Fixture * f, const gchar * name, guint64 expected)
{
  g_assert_cmpuint (test_server_count (f->server, name), ==, expected);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void
test_one_connection (Fixture * f, gconstpointer data)
{
  AdaTraffic traffic = { 0 };
  guint64 received;

  if (!f->server)
    return;
  for (guint i = 0; i < 10; i++)
    g_assert_cmpint (ask (f, &traffic, NULL), ==, -1);
  assert_count (f, "requests", 10);
  assert_count (f, "connections", 1);
  /* Counted is what HTTP/1.1 would have; its headers are longer, HTTP/2 has frames. */
  received = test_server_count (f->server, "received");
  g_assert_cmpuint (traffic.sent, >, 10 * PICTURE);
  g_assert_cmpfloat (ABS ((gdouble) received / traffic.sent - 1), <, 0.005);
}

typedef struct {
  TestServer *server;
  GCancellable *cancellable;
} Cancellation;

static gpointer
cancel_the_second (gpointer data)
{
  const Cancellation *c = data;

  while (test_server_count (c->server, "requests") < 2)
    g_usleep (10000);
  g_cancellable_cancel (c->cancellable);
  return NULL;
}

/* A connection on which nothing comes any more, as after a change of networks: who has waited in
 * vain once does not wait there again. */
static void
test_dead_connection (Fixture * f, gconstpointer data)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  Cancellation cancellation = { f->server, cancellable };
  AdaTraffic traffic = { 0 };
  GThread *thread;

  if (!f->server)
    return;
  g_assert_cmpint (ask (f, &traffic, NULL), ==, -1);
  test_server_do (f->server, "once 1 hang");
  thread = g_thread_new ("cancel", cancel_the_second, &cancellation);
  g_assert_cmpint (ask (f, &traffic, cancellable), ==, G_IO_ERROR_CANCELLED);
  g_thread_join (thread);
  assert_count (f, "connections", 1);
  /* The server has healed, but that connection has not. */
  g_assert_cmpint (ask (f, &traffic, NULL), ==, -1);
  assert_count (f, "connections", 2);
}

/* What is beyond the limit is not even sent: the connection ends. */
static void
test_huge_answer (Fixture * f, gconstpointer data)
{
  AdaTraffic traffic = { 0 };

  if (!f->server)
    return;
  test_server_do (f->server, "once 1 big 50");
  g_assert_cmpint (ask (f, &traffic, NULL), ==, ADA_CLOUD_ERROR_GARBAGE);
  g_assert_cmpuint (traffic.received, <, 9 << 20);
  g_assert_cmpint (ask (f, &traffic, NULL), ==, -1);
  assert_count (f, "connections", 2);
  g_assert_cmpuint (test_server_count (f->server, "sent"), <, 40 << 20);
}

/* A stream that ends badly is an error, the end of a connection is none. */
static void
test_ends (Fixture * f, gconstpointer data)
{
  AdaTraffic traffic = { 0 };

  if (!f->server)
    return;
  test_server_do (f->server, "once 1 reset");
  g_assert_cmpint (ask (f, &traffic, NULL), ==, ADA_CLOUD_ERROR_NETWORK);
  test_server_do (f->server, "mode goaway");
  for (guint i = 0; i < 3; i++)
    g_assert_cmpint (ask (f, &traffic, NULL), ==, -1);
  test_server_do (f->server, "mode ok");
  g_assert_cmpint (ask (f, &traffic, NULL), ==, -1);
}

int
main (int argc, char **argv)
{
  static const struct {
    const gchar *name;
    void (*run) (Fixture * f, gconstpointer data);
  } tests[] = {
    {"one-connection", test_one_connection},
    {"dead-connection", test_dead_connection},
    {"huge-answer", test_huge_answer},
    {"ends-of-streams-and-connections", test_ends},
  };

  /* Nothing of the user's surroundings between us and the loopback. */
  g_setenv ("no_proxy", "*", TRUE);
  g_setenv ("VISION_KEY", "0123456789abcdef", TRUE);
  g_unsetenv ("GST_PIRL_CREDENTIALS");
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree gchar *path = g_strconcat ("/cloud-http2/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, set_up, tests[i].run, tear_down);
  }
  return g_test_run ();
}
