/* gst-pirl: AWS signature version 4, as libcurl makes it.
 *
 * Three witnesses: signatures that AWS has published (its Signature Version 4 test suite), a
 * verifier written here from AWS's description, and libcurl's real requests as a server got them.
 * For the published ones libcurl must believe that it is 2015: it asks time(), which is ours here.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <time.h>

#include "adacompress-cloud-server.h"
#include "http.h"

#define KEY_ID "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define SUITE_TIME 1440938160   /* 2015-08-30T12:36:00Z */
#define TOKEN "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFq" \
    "wAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZam" \
    "pKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0" \
    "iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

/* 0 = the clock is right. */
static time_t believed;

__attribute__ ((visibility ("default")))
time_t
time (time_t * result)
{
  struct timespec now;

  clock_gettime (CLOCK_REALTIME, &now);
  if (believed)
    now.tv_sec = believed;
  if (result)
    *result = now.tv_sec;
  return now.tv_sec;
}

/* ---- the verifier --------------------------------------------------------------------------- */

/* What a signature is about; @names: the signed headers' in order, ";" between. */
typedef struct {
  const gchar *method, *query, *names, *date, *region, *service;
  GHashTable *headers;
  const gchar *body;
  gsize body_size;
} Signed;

static gchar *
sha256 (const gchar * text, gsize size)
{
  return g_compute_checksum_for_data (G_CHECKSUM_SHA256, (const guchar *) text, size);
}

/* 32 bytes into @out. */
static void
hmac (const guint8 * key, gsize key_size, const gchar * text, guint8 out[32])
{
  GHmac *hmac = g_hmac_new (G_CHECKSUM_SHA256, key, key_size);
  gsize size = 32;

  g_hmac_update (hmac, (const guchar *) text, -1);
  g_hmac_get_digest (hmac, out, &size);
  g_hmac_unref (hmac);
}

static gchar *
canonical_request (const Signed * s)
{
  g_auto (GStrv) names = g_strsplit (s->names, ";", -1);
  g_autofree gchar *hash = sha256 (s->body, s->body_size);
  GString *text = g_string_new (NULL);

  g_string_append_printf (text, "%s\n/\n%s\n", s->method, s->query);
  for (guint i = 0; names[i]; i++) {
    const gchar *value = g_hash_table_lookup (s->headers, names[i]);

    g_assert_nonnull (value);
    g_assert_true (i == 0 || strcmp (names[i - 1], names[i]) < 0);
    g_string_append_printf (text, "%s:%s\n", names[i], value);
  }
  g_string_append_printf (text, "\n%s\n%s", s->names, hash);
  return g_string_free (text, FALSE);
}

/* In hexadecimal. */
static gchar *
signature_of (const Signed * s, const gchar * secret)
{
  g_autofree gchar *request = canonical_request (s);
  g_autofree gchar *hash = sha256 (request, strlen (request));
  g_autofree gchar *day = g_strndup (s->date, 8);
  g_autofree gchar *text = g_strdup_printf ("AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s",
      s->date, day, s->region, s->service, hash);
  g_autofree gchar *first = g_strconcat ("AWS4", secret, NULL);
  const gchar *steps[] = { day, s->region, s->service, "aws4_request", text };
  GString *hex = g_string_new (NULL);
  guint8 key[32];

  hmac ((const guint8 *) first, strlen (first), steps[0], key);
  for (guint i = 1; i < G_N_ELEMENTS (steps); i++)
    hmac (key, sizeof key, steps[i], key);
  for (guint i = 0; i < sizeof key; i++)
    g_string_append_printf (hex, "%02x", key[i]);
  return g_string_free (hex, FALSE);
}

/* ---- what AWS has published ----------------------------------------------------------------- */

typedef struct {
  const gchar *name, *method, *query, *content_type, *token, *body, *signature;
} Vector;

static const Vector vectors[] = {
  {"get-vanilla", "GET", "", NULL, NULL, "",
      "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
  {"post-vanilla", "POST", "", NULL, NULL, "",
      "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
  {"post-vanilla-query", "POST", "Param1=value1", NULL, NULL, "",
      "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
  {"post-sts-header-before", "POST", "", NULL, TOKEN, "",
      "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
  {"post-x-www-form-urlencoded", "POST", "", "application/x-www-form-urlencoded", NULL,
        "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
  {"post-x-www-form-urlencoded-parameters", "POST", "",
        "application/x-www-form-urlencoded; charset=utf8", NULL, "Param1=value1",
      "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
};

static const gchar *
names_of (const Vector * v)
{
  if (v->content_type)
    return "content-type;host;x-amz-date";
  return v->token ? "host;x-amz-date;x-amz-security-token" : "host;x-amz-date";
}

/* Our verifier against AWS's signatures. */
static void
test_verifier (gconstpointer data)
{
  const Vector *v = data;
  g_autoptr (GHashTable) headers = g_hash_table_new (g_str_hash, g_str_equal);
  const Signed s = { v->method, v->query, names_of (v), "20150830T123600Z", "us-east-1", "service",
    headers, v->body, strlen (v->body)
  };
  g_autofree gchar *signature = NULL;

  g_hash_table_insert (headers, (gpointer) "host", (gpointer) "example.amazonaws.com");
  g_hash_table_insert (headers, (gpointer) "x-amz-date", (gpointer) s.date);
  g_hash_table_insert (headers, (gpointer) "content-type", (gpointer) v->content_type);
  g_hash_table_insert (headers, (gpointer) "x-amz-security-token", (gpointer) v->token);
  signature = signature_of (&s, SECRET);
  g_assert_cmpstr (signature, ==, v->signature);
}

/* A member of what the server got last. */
static gchar *
last_text (TestServer * server, const gchar * name)
{
  g_autofree gchar *json = test_server_last (server, name);
  g_autoptr (JsonNode) node = json_from_string (json, NULL);

  return g_strdup (json_node_get_string (node));
}

static GHashTable *
last_headers (TestServer * server)
{
  GHashTable *headers = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autofree gchar *json = test_server_last (server, "headers");
  g_autoptr (JsonNode) node = json_from_string (json, NULL);
  JsonObjectIter iter;
  const gchar *name;
  JsonNode *value;

  json_object_iter_init (&iter, json_node_get_object (node));
  while (json_object_iter_next (&iter, &name, &value))
    g_hash_table_insert (headers, g_strdup (name), g_strdup (json_node_get_string (value)));
  return headers;
}

/* libcurl against AWS's signatures: the whole of its header. */
static void
test_libcurl_in_2015 (gconstpointer data)
{
  const Vector *v = data;
  g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);
  g_autoptr (AdaHttp) http = ada_http_new ();
  g_autofree gchar *url = g_strdup_printf ("http://127.0.0.1:%u/%s%s", server->port,
      *v->query ? "?" : "", v->query);
  g_autofree gchar *type = g_strconcat ("Content-Type: ", v->content_type, NULL);
  g_autofree gchar *token = g_strconcat ("X-Amz-Security-Token: ", v->token, NULL);
  g_autofree gchar *expected = g_strdup_printf ("AWS4-HMAC-SHA256 Credential=" KEY_ID
      "/20150830/us-east-1/service/aws4_request, SignedHeaders=%s, Signature=%s", names_of (v),
      v->signature);
  const gchar *headers[] = { "Host: example.amazonaws.com",
    v->content_type ? type : v->token ? token : NULL, NULL
  };
  g_autoptr (GBytes) body = g_bytes_new_static (v->body, strlen (v->body));
  const AdaHttpRequest request = { url, headers, &body, v->method[0] == 'P',
    "aws:amz:us-east-1:service", KEY_ID, SECRET
  };
  g_autoptr (GHashTable) got = NULL;
  g_autofree gchar *method = NULL;
  g_autoptr (GError) error = NULL;
  AdaTraffic traffic = { 0 };

  believed = SUITE_TIME;
  ada_http_run (http, &request, &traffic, NULL, &error);
  believed = 0;
  g_assert_no_error (error);
  got = last_headers (server);
  method = last_text (server, "method");
  g_assert_cmpstr (method, ==, v->method);
  g_assert_cmpstr (g_hash_table_lookup (got, "x-amz-date"), ==, "20150830T123600Z");
  g_assert_cmpstr (g_hash_table_lookup (got, "authorization"), ==, expected);
}

/* ---- requests as they are made -------------------------------------------------------------- */

/* The part of @text between @before and the next @after. */
static gchar *
between (const gchar * text, const gchar * before, const gchar * after)
{
  const gchar *begin = strstr (text, before);

  g_assert_nonnull (begin);
  begin += strlen (before);
  return g_strndup (begin, strcspn (begin, after));
}

static void
assert_signed (TestServer * server, const gchar * secret, const gchar * must_sign)
{
  g_autoptr (GHashTable) headers = last_headers (server);
  const gchar *text = g_hash_table_lookup (headers, "authorization");
  g_autofree gchar *names = between (text, "SignedHeaders=", ",");
  g_autofree gchar *signature = between (text, "Signature=", ",");
  g_autofree gchar *scope = between (text, "Credential=" KEY_ID "/", ",");
  g_autofree gchar *method = last_text (server, "method"), *body = last_text (server, "body");
  g_autofree gchar *expected = NULL, *expected_scope = NULL;
  const gchar *date = g_hash_table_lookup (headers, "x-amz-date");
  gsize size;
  g_autofree guchar *bytes = g_base64_decode (body, &size);
  const Signed s = { method, "", names, date, "eu-west-1", "rekognition", headers,
    (const gchar *) bytes, size
  };

  g_assert_cmpstr (names, ==, must_sign);
  expected_scope = g_strdup_printf ("%.8s/eu-west-1/rekognition/aws4_request", date);
  g_assert_cmpstr (scope, ==, expected_scope);
  expected = signature_of (&s, secret);
  g_assert_cmpstr (signature, ==, expected);
}

/* Pictures of several sizes, twice over one connection, without and with a session token. */
static void
test_rekognition (void)
{
  g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);
  g_autofree gchar *uri = g_strdup_printf ("rekognition:eu-west-1?endpoint=http://127.0.0.1:%u",
      server->port);
  /* libcurl treats what is longer than a megabyte in another way. */
  const gsize sizes[] = { 0, 1, 2, 3, 1000, 300000, 3000000 };

  g_setenv ("AWS_ACCESS_KEY_ID", KEY_ID, TRUE);
  g_setenv ("AWS_SECRET_ACCESS_KEY", SECRET, TRUE);
  test_server_do (server, "set answer {\"Labels\": []}");
  for (guint with_token = 0; with_token < 2; with_token++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaCloud) cloud = NULL;

    if (with_token)
      g_setenv ("AWS_SESSION_TOKEN", TOKEN, TRUE);
    cloud = ada_cloud_new (uri, NULL, 1, &error);
    g_assert_no_error (error);
    for (guint i = 0; i < G_N_ELEMENTS (sizes); i++) {
      g_autoptr (GBytes) jpeg = g_bytes_new_take (g_malloc0 (sizes[i]), sizes[i]);
      g_autoptr (AdaAnswer) answer = ada_cloud_classify (cloud, &(AdaRequest) {.jpeg = jpeg },
          NULL, &error);

      g_assert_no_error (error);
      assert_signed (server, SECRET, with_token
          ? "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
          : "content-type;host;x-amz-date;x-amz-target");
    }
  }
  g_unsetenv ("AWS_SESSION_TOKEN");
  g_unsetenv ("AWS_SECRET_ACCESS_KEY");
  g_unsetenv ("AWS_ACCESS_KEY_ID");
  g_assert_cmpuint (test_server_count (server, "connections"), ==, 2);
}

int
main (int argc, char **argv)
{
  g_setenv ("no_proxy", "*", TRUE);
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (vectors); i++) {
    g_autofree gchar *verifier = g_strconcat ("/sigv4/verifier/", vectors[i].name, NULL);
    g_autofree gchar *libcurl = g_strconcat ("/sigv4/libcurl/", vectors[i].name, NULL);

    g_test_add_data_func (verifier, &vectors[i], test_verifier);
    g_test_add_data_func (libcurl, &vectors[i], test_libcurl_in_2015);
  }
  g_test_add_func ("/sigv4/rekognition", test_rekognition);
  return g_test_run ();
}
