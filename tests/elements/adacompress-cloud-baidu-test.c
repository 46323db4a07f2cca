/* gst-pirl: Baidu's token: how it is asked for, that it is kept, when it is renewed, and that neither
 * it nor the keys are ever told.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "adacompress-cloud-server.h"
#include "test-rows.h"

#define KEY "baidu+key/&=1"
#define SECRET "baidu?secret%2"
#define TOKEN "24.f9ba9c5241b67688bb4adbed8bc91dec.2592000"
#define TOKEN_PATH "/oauth/2.0/token"
#define PICTURE_PATH "/rest/2.0/image-classify/v2/advanced_general"

static const gchar good_token[] = "{\"access_token\":\"" TOKEN "\",\"expires_in\":2592000}";
static const gchar good_answer[] = "{\"log_id\":1,\"result\":[{\"keyword\":\"a\",\"score\":0.5}]}";

static void
set_answer (TestServer * server, const gchar * path, const gchar * json)
{
  g_autofree gchar *command = g_strconcat ("set ", path, " ", json, NULL);

  test_server_do (server, command);
}

static TestServer *
server_new (const gchar * token, const gchar * answer)
{
  TestServer *server = test_server_new ("capture.py", NULL, NULL);

  set_answer (server, TOKEN_PATH, token);
  set_answer (server, PICTURE_PATH, answer);
  return server;
}

static AdaCloud *
cloud_of (TestServer * server)
{
  g_autofree gchar *uri = g_strdup_printf ("baidu:?endpoint=http://127.0.0.1:%u", server->port);

  return test_cloud (uri);
}

static void
assert_good (AdaCloud * cloud)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = test_classify (cloud, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (answer->labels->len, ==, 1);
  g_assert_cmpstr (g_array_index (answer->labels, AdaLabel, 0).id, ==, "a");
}

static void
assert_no_secret (const gchar * text)
{
  static const gchar *const secrets[] = { KEY, "baidu%2Bkey", SECRET, "baidu%3Fsecret", TOKEN };

  for (guint i = 0; i < G_N_ELEMENTS (secrets); i++)
    if (strstr (text, secrets[i]))
      g_error ("a secret is told: %s", text);
}

/* The error, whose text has @said and no secret. */
static void
assert_error (AdaCloud * cloud, gint code, const gchar * said)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = test_classify (cloud, &error);

  g_assert_null (answer);
  g_assert_error (error, ADA_CLOUD_ERROR, code);
  assert_no_secret (error->message);
  if (!strstr (error->message, said))
    g_error ("\"%s\" is not in \"%s\"", said, error->message);
}

static void
assert_requests (TestServer * server, guint n)
{
  g_assert_cmpuint (test_server_count (server, "requests"), ==, n);
}

/* A text of the last request, without its quotation marks. */
static gchar *
last_text (TestServer * server, const gchar * name)
{
  g_autofree gchar *json = test_server_last (server, name);

  g_assert_true (json && *json == '"');
  return g_strndup (json + 1, strlen (json) - 2);
}

static gchar *
last_body (TestServer * server)
{
  g_autofree gchar *base64 = last_text (server, "body");
  gsize size;
  g_autofree guchar *body = g_base64_decode (base64, &size);

  return g_strndup ((const gchar *) body, size);
}

/* ---- tests ---------------------------------------------------------------------------------- */

/* The keys go out in the body, escaped, and never in the address, which others log. */
static void
test_asked_for (void)
{
  g_autoptr (TestServer) server = server_new ("{\"error\":\"invalid_client\","
      "\"error_description\":\"unknown client id\"}", good_answer);
  g_autoptr (AdaCloud) cloud = cloud_of (server);
  g_autofree gchar *method = NULL, *path = NULL, *body = NULL, *headers = NULL;

  assert_error (cloud, ADA_CLOUD_ERROR_REFUSED, "invalid_client: unknown client id");
  assert_requests (server, 1);
  method = last_text (server, "method");
  path = last_text (server, "path");
  body = last_body (server);
  headers = test_server_last (server, "headers");
  g_assert_cmpstr (method, ==, "POST");
  g_assert_cmpstr (path, ==, TOKEN_PATH);
  g_assert_cmpstr (body, ==, "grant_type=client_credentials&client_id=baidu%2Bkey%2F%26%3D1&"
      "client_secret=baidu%3Fsecret%252");
  g_assert_nonnull (strstr (headers, "application/x-www-form-urlencoded"));
}

static void
test_kept (void)
{
  g_autoptr (TestServer) server = server_new (good_token, good_answer);
  g_autoptr (AdaCloud) cloud = cloud_of (server);
  g_autofree gchar *path = NULL, *body = NULL;

  for (guint i = 0; i < 3; i++)
    assert_good (cloud);
  assert_requests (server, 1 + 3);
  g_assert_cmpuint (test_server_count (server, "connections"), ==, 1);
  path = last_text (server, "path");
  body = last_body (server);
  g_assert_cmpstr (path, ==, PICTURE_PATH "?access_token=" TOKEN);
  g_assert_true (g_str_has_prefix (body, "image=%2F9gA"));
}

/* By the time that it was given for, whatever the service says. */
static void
test_renewed_in_time (void)
{
  g_autoptr (TestServer) server = server_new ("{\"access_token\":\"short\",\"expires_in\":1e-6}",
      good_answer);
  g_autoptr (AdaCloud) cloud = cloud_of (server);

  assert_good (cloud);
  assert_good (cloud);
  assert_requests (server, 4);
  set_answer (server, TOKEN_PATH, good_token);
  assert_good (cloud);
  assert_good (cloud);
  assert_requests (server, 4 + 3);
}

/* By what the service says, whatever time there is left: once a picture, and not for ever. */
static void
test_renewed_when_told (void)
{
  static const gchar *const answers[] = {
    "{\"error_code\":110,\"error_msg\":\"Access token invalid or no longer valid\"}",
    "{\"error_code\":111,\"error_msg\":\"Access token expired\"}",
  };

  for (guint i = 0; i < G_N_ELEMENTS (answers); i++) {
    g_autoptr (TestServer) server = server_new (good_token, good_answer);
    g_autoptr (AdaCloud) cloud = cloud_of (server);
    g_autofree gchar *path = NULL;

    assert_good (cloud);
    assert_requests (server, 2);
    set_answer (server, PICTURE_PATH, answers[i]);
    set_answer (server, TOKEN_PATH, "{\"access_token\":\"24.new\",\"expires_in\":2592000}");
    assert_error (cloud, ADA_CLOUD_ERROR_REFUSED, i == 0 ? "error 110" : "error 111");
    /* Refused, the token, refused. */
    assert_requests (server, 2 + 3);
    path = last_text (server, "path");
    g_assert_cmpstr (path, ==, PICTURE_PATH "?access_token=24.new");
    set_answer (server, PICTURE_PATH, good_answer);
    assert_good (cloud);
  }
}

/* No token, no picture; when it comes, all is well. */
static void
test_no_token (void)
{
  g_autoptr (TestServer) server = server_new ("{\"error\":\"temporarily_unavailable\"}",
      good_answer);
  g_autoptr (AdaCloud) cloud = cloud_of (server);

  assert_error (cloud, ADA_CLOUD_ERROR_BUSY, "temporarily_unavailable");
  set_answer (server, TOKEN_PATH, "{\"access_token\":\"two words\",\"expires_in\":9}");
  assert_error (cloud, ADA_CLOUD_ERROR_GARBAGE, "access_token");
  set_answer (server, TOKEN_PATH, "[]");
  assert_error (cloud, ADA_CLOUD_ERROR_GARBAGE, "token");
  test_server_do (server, "mode status 503");
  assert_error (cloud, ADA_CLOUD_ERROR_BUSY, "503");
  assert_requests (server, 4);
  test_server_do (server, "mode ok");
  set_answer (server, TOKEN_PATH, good_token);
  assert_good (cloud);
  assert_requests (server, 4 + 2);
}

/* A service that repeats what it was sent. */
static void
test_secrets (void)
{
  g_autoptr (TestServer) server = server_new ("{\"error\":\"invalid_client\","
      "\"error_description\":\"no " KEY " with " SECRET " or baidu%3Fsecret%252\"}", good_answer);
  g_autoptr (AdaCloud) cloud = cloud_of (server);

  assert_error (cloud, ADA_CLOUD_ERROR_REFUSED, "no *** with *** or ***");
  set_answer (server, TOKEN_PATH, good_token);
  set_answer (server, PICTURE_PATH, "{\"error_code\":100,\"error_msg\":\"not with " TOKEN "\"}");
  assert_error (cloud, ADA_CLOUD_ERROR_REFUSED, "error 100: not with ***");
}

/* A preview asks for nothing, and shows no token when there is one. */
static void
test_preview (void)
{
  g_autoptr (TestServer) server = server_new (good_token, good_answer);
  g_autoptr (AdaCloud) cloud = cloud_of (server);
  g_autoptr (GBytes) jpeg = test_jpeg (75);
  gsize size = 0;

  for (guint i = 0; i < 2; i++) {
    g_auto (AdaPreview) preview = { 0 };

    g_assert_true (ada_cloud_preview (cloud, &(AdaRequest) {.jpeg = jpeg }, &preview, NULL));
    g_assert_cmpstr (preview.method, ==, "POST");
    g_assert_true (g_str_has_suffix (preview.url, PICTURE_PATH "?access_token=***"));
    g_assert_cmpstr (preview.headers[0], ==, "Content-Type: application/x-www-form-urlencoded");
    g_assert_true (i == 0 || preview.body == size);
    size = preview.body;
    assert_requests (server, 2 * i);
    if (i == 0)
      assert_good (cloud);
  }
  {
    g_autofree gchar *body = last_body (server);

    g_assert_cmpuint (strlen (body), ==, size);
  }
}

int
main (int argc, char **argv)
{
  static const TestRow tests[] = {
    {"token-is-asked-for", test_asked_for},
    {"token-is-kept", test_kept},
    {"token-is-renewed-in-time", test_renewed_in_time},
    {"token-is-renewed-when-told", test_renewed_when_told},
    {"no-token", test_no_token},
    {"secrets", test_secrets},
    {"preview", test_preview},
  };

  /* Nothing of the user's surroundings between us and the loopback. */
  g_setenv ("no_proxy", "*", TRUE);
  g_unsetenv ("GST_PIRL_CREDENTIALS");
  g_setenv ("BAIDU_API_KEY", KEY, TRUE);
  g_setenv ("BAIDU_SECRET_KEY", SECRET, TRUE);
  g_test_init (&argc, &argv, NULL);
  test_add_rows ("/cloud-baidu/", tests, G_N_ELEMENTS (tests));
  return g_test_run ();
}
