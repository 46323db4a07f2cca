/* gst-pirl: services behind a proxy that the environment names: requests passed on and tunnelled,
 * signed ones among them, bytes, and that the proxy's password is never told.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "adacompress-cloud-server.h"
#include "certificates.h"

#define KEY_ID "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define PASSWORD "pr0xy+S3CRET"
/* As a URL has it. */
#define USER_INFO "camera:pr0xy%2BS3CRET"

static const gchar *const variables[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
  "ALL_PROXY", "no_proxy", "NO_PROXY", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "GST_PIRL_CREDENTIALS",
  "AWS_SESSION_TOKEN"
};

static void
reset_environment (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (variables); i++)
    g_unsetenv (variables[i]);
  g_setenv ("AWS_ACCESS_KEY_ID", KEY_ID, TRUE);
  g_setenv ("AWS_SECRET_ACCESS_KEY", SECRET, TRUE);
}

/* A proxy that wants to know who it is for. */
static TestServer *
proxy_new (void)
{
  TestServer *proxy = test_server_new ("proxy.py", NULL, NULL);

  test_server_do (proxy, "set credentials \"camera:" PASSWORD "\"");
  return proxy;
}

static void
use_proxy (const TestServer * proxy, const gchar * user_info)
{
  g_autofree gchar *url = g_strdup_printf ("http://%s%s127.0.0.1:%u", user_info,
      *user_info ? "@" : "", proxy->port);

  g_setenv ("http_proxy", url, TRUE);
  g_setenv ("https_proxy", url, TRUE);
}

/* It verifies what it gets: also that nothing on the way has changed what was signed. */
static TestServer *
service_new (const gchar * certificate, const gchar * key)
{
  TestServer *service = test_server_new ("rekognition.py", certificate, key);

  test_server_do (service, "set decode false");
  test_server_do (service, "set region \"eu-west-1\"");
  return service;
}

static AdaCloud *
cloud_of (const TestServer * service, const gchar * scheme, const gchar * query)
{
  g_autofree gchar *uri = g_strdup_printf ("rekognition:eu-west-1?endpoint=%s://127.0.0.1:%u%s",
      scheme, service->port, query);

  return test_cloud (uri);
}

static AdaAnswer *
good_answer (AdaCloud * cloud)
{
  g_autoptr (GError) error = NULL;
  AdaAnswer *answer = test_classify (cloud, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (answer->labels->len, ==, 5);
  return answer;
}

/* The error's text, without the proxy's password in any form. */
static gchar *
bad_answer (AdaCloud * cloud)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (test_classify (cloud, &error));
  g_assert_true (error->domain == ADA_CLOUD_ERROR);
  if (strstr (error->message, "S3CRET"))
    g_error ("the proxy's password is told: %s", error->message);
  return g_strdup (error->message);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void
test_passed_on (void)
{
  g_autoptr (TestServer) service = service_new (NULL, NULL), proxy = proxy_new ();
  g_autoptr (AdaCloud) cloud = cloud_of (service, "http", "");
  gsize sent = 0, received = 0;

  reset_environment ();
  use_proxy (proxy, USER_INFO);
  for (guint i = 0; i < 3; i++) {
    g_autoptr (AdaAnswer) answer = good_answer (cloud);

    sent += answer->sent;
    received += answer->received;
  }
  test_server_no_complaints (service);
  g_assert_cmpuint (test_server_count (service, "pictures"), ==, 3);
  /* What went over our wire is what the proxy saw. */
  g_assert_cmpuint (test_server_count (proxy, "received"), ==, sent);
  g_assert_cmpuint (test_server_count (proxy, "sent"), ==, received);
  reset_environment ();
}

/* TLS goes through it, end to end; the proxy is asked for the tunnel and sees no more. */
static void
ask_through_tunnel (const gchar * certificate, const gchar * key)
{
  g_autoptr (TestServer) service = service_new (certificate, key), proxy = proxy_new ();
  g_autofree gchar *ca = g_strconcat ("&ca=", certificate, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (service, "https", ca);
  g_autofree gchar *method = NULL, *target = NULL, *said = NULL;
  g_autofree gchar *expected = g_strdup_printf ("\"127.0.0.1:%u\"", service->port);

  use_proxy (proxy, USER_INFO);
  for (guint i = 0; i < 2; i++)
    ada_answer_free (good_answer (cloud));
  test_server_no_complaints (service);
  g_assert_cmpuint (test_server_count (service, "pictures"), ==, 2);
  /* One tunnel for all. */
  g_assert_cmpuint (test_server_count (proxy, "requests"), ==, 1);
  method = test_server_last (proxy, "method");
  target = test_server_last (proxy, "target");
  g_assert_cmpstr (method, ==, "\"CONNECT\"");
  g_assert_cmpstr (target, ==, expected);
  g_clear_object (&cloud);
  cloud = cloud_of (service, "https", ca);
  use_proxy (proxy, "camera:S3CRETs");
  said = bad_answer (cloud);
  g_assert_nonnull (strstr (said, "407"));
  g_assert_cmpuint (test_server_count (service, "pictures"), ==, 2);
}

static void
test_tunnel (void)
{
  Certificate c;

  reset_environment ();
  if (certificate_make (&c))
    ask_through_tunnel (c.certificate, c.key);
  reset_environment ();
  certificate_remove (&c);
}

static void
test_not_for_all (void)
{
  g_autoptr (TestServer) service = service_new (NULL, NULL), proxy = proxy_new ();
  g_autoptr (AdaCloud) cloud = cloud_of (service, "http", "");

  reset_environment ();
  use_proxy (proxy, USER_INFO);
  g_setenv ("no_proxy", "localhost,127.0.0.1", TRUE);
  ada_answer_free (good_answer (cloud));
  g_assert_cmpuint (test_server_count (proxy, "connections"), ==, 0);
  reset_environment ();
}

/* It does not let us through, nobody is there, or it is no address at all. */
static void
test_refused (void)
{
  static const gchar *const wrong[] = { "socks7://camera:S3CRETs@127.0.0.1:1",
    "http://camera:S3CRETs@127.0.0.1:port", "http://camera:S3CRETs@[127.0.0.1:1",
    "http://camera:S3CRET%zz@127.0.0.1:1", "http://camera:S3CRETs@127.0.0.1:1", "S3CRETs@:x"
  };
  g_autoptr (TestServer) service = service_new (NULL, NULL), proxy = proxy_new ();
  g_autofree gchar *said = NULL;
  g_autoptr (AdaCloud) cloud = cloud_of (service, "http", "");

  reset_environment ();
  use_proxy (proxy, "camera:S3CRETs");
  said = bad_answer (cloud);
  g_assert_nonnull (strstr (said, "407"));
  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_setenv ("http_proxy", wrong[i], TRUE);
    g_free (bad_answer (cloud));
  }
  g_assert_cmpuint (test_server_count (service, "connections"), ==, 0);
  reset_environment ();
  ada_answer_free (good_answer (cloud));
}

int
main (int argc, char **argv)
{
  reset_environment ();
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cloud-proxy/passed-on", test_passed_on);
  g_test_add_func ("/cloud-proxy/tunnel", test_tunnel);
  g_test_add_func ("/cloud-proxy/not-for-all", test_not_for_all);
  g_test_add_func ("/cloud-proxy/refused", test_refused);
  return g_test_run ();
}
