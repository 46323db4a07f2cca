/* gst-pirl: the services that adacompressenc knows, each as a user sets it up, against its test
 * server: the launch line, credentials in the environment or in a file, and what must stay secret.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>

#include "test-server.h"

#define CLOUD_CREDENTIALS 3

typedef struct {
  const gchar *name;            /* script in tests/servers, group in a credentials file */
  const gchar *scheme;          /* of the URI in the README's line */
  /* As the environment, the file and the server's settings call it, and its value. */
  struct {
    const gchar *variable, *key, *setting, *value;
    gboolean secret;
  } credentials[CLOUD_CREDENTIALS + 1];
  const gchar *settings[4];     /* commands */
  const gchar *version;         /* setting that says the model's, or NULL: the service tells none */
} CloudService;

/* Characters that mean something in URLs, base64 and JSON, where a service's own may have them. */
static const CloudService cloud_services[] = {
  {"rekognition", "rekognition",
      {{"AWS_ACCESS_KEY_ID", "access-key-id", "key_id", "AKIATESTKEY0123456789", FALSE},
          {"AWS_SECRET_ACCESS_KEY", "secret-access-key", "secret_key",
              "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", TRUE},
          {"AWS_SESSION_TOKEN", "session-token", "session_token",
              "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQ==", TRUE}},
      {"set region null", NULL}, "model_version"},
  {"facepp", "facepp",
      {{"FACEPP_API_KEY", "api-key", "api_key", "facepp-key_0123456789ABCDEF", TRUE},
          {"FACEPP_API_SECRET", "api-secret", "api_secret", "facepp-secret_9876543210fedcb",
              TRUE}},
      {NULL}, NULL},
  {"baidu", "baidu",
      {{"BAIDU_API_KEY", "api-key", "api_key", "baiduApiKey0123456789+/=", TRUE},
          {"BAIDU_SECRET_KEY", "secret-key", "secret_key", "baidu&Secret=9876543210%41", TRUE}},
      {NULL}, NULL},
  {"google", "google",
      {{"GOOGLE_API_KEY", "api-key", "api_key", "AIzaSyTest-Key_0123456789abcdefghijk", TRUE}},
      {NULL}, NULL},
  {"azure", "azure",
      {{"VISION_KEY", "key", "key", "azurekey0123456789abcdef01234567", TRUE}},
      {NULL}, "model_version"},
  {"oip", "oip+http",
      {{"GST_PIRL_OIP_TOKEN", "token", "token", "oip.Token-0123456789_abcdef", TRUE}},
      {"set model null", NULL}, "model_version"},
  {"torchserve", "torchserve+http",
      {{"TORCHSERVE_TOKEN", "token", "token", "torchserve.Token-0123456789", TRUE}},
      {"set model null", NULL}, NULL},
};

static inline const CloudService *
cloud_service_find (const gchar * name)
{
  for (guint i = 0; i < G_N_ELEMENTS (cloud_services); i++)
    if (g_str_equal (cloud_services[i].name, name))
      return &cloud_services[i];
  g_assert_not_reached ();
}

/* Nothing of the user's own surroundings reaches a test, and nothing of a test goes further than
 * the loopback. */
static inline void
cloud_services_isolate (void)
{
  static const gchar *const others[] = { "CURL_CA_BUNDLE", "SSL_CERT_FILE", "GST_PIRL_CREDENTIALS",
    "AWS_REGION", "AWS_DEFAULT_REGION", "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_QUOTA_PROJECT",
    "VISION_ENDPOINT", "http_proxy", "https_proxy", "all_proxy"
  };

  g_setenv ("no_proxy", "*", TRUE);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++)
    g_unsetenv (others[i]);
  for (guint i = 0; i < G_N_ELEMENTS (cloud_services); i++)
    for (guint k = 0; cloud_services[i].credentials[k].variable; k++)
      g_unsetenv (cloud_services[i].credentials[k].variable);
}

/* In the environment, for as long as an element starts. */
static inline void
cloud_service_export (const CloudService * service, gboolean set)
{
  for (guint i = 0; service->credentials[i].variable; i++) {
    if (set)
      g_setenv (service->credentials[i].variable, service->credentials[i].value, TRUE);
    else
      g_unsetenv (service->credentials[i].variable);
  }
}

/* In a file that nobody else may read. */
static inline void
cloud_service_write_file (const CloudService * service, const gchar * path)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();

  for (guint i = 0; service->credentials[i].variable; i++)
    g_key_file_set_string (file, service->name, service->credentials[i].key,
        service->credentials[i].value);
  fail_unless (g_key_file_save_to_file (file, path, NULL));
  fail_unless (g_chmod (path, 0600) == 0);
}

/* @certificate, @key: for TLS, else NULL. */
static inline TestServer *
cloud_service_serve (const CloudService * service, const gchar * certificate, const gchar * key)
{
  g_autofree gchar *script = g_strconcat (service->name, ".py", NULL);
  TestServer *server = test_server_new (script, certificate, key);

  for (guint i = 0; service->credentials[i].variable; i++) {
    g_autofree gchar *command = g_strdup_printf ("set %s \"%s\"", service->credentials[i].setting,
        service->credentials[i].value);

    test_server_do (server, command);
  }
  for (guint i = 0; service->settings[i]; i++)
    test_server_do (server, service->settings[i]);
  test_server_do (server, "set decode true");
  return server;
}

/* ---- the README's line ----------------------------------------------------------------------- */

/* What group 1 of @pattern is in @text; NULL where there is no match. */
static inline gchar *
cloud_service_find_text (const gchar * text, const gchar * pattern)
{
  g_autoptr (GRegex) regex = g_regex_new (pattern, G_REGEX_MULTILINE, 0, NULL);
  g_autoptr (GMatchInfo) match = NULL;

  return g_regex_match (regex, text, 0, &match) ? g_match_info_fetch (match, 1) : NULL;
}

/* The encoder of the README's launch line for such a service. */
static inline gchar *
cloud_service_readme (const CloudService * service)
{
  g_autofree gchar *quoted = g_regex_escape_string (service->scheme, -1), *readme = NULL;
  g_autofree gchar *pattern = g_strdup_printf ("^[^#\n]*gst-launch-1\\.0 [^\n]*! *"
      "(adacompressenc [^!\n]*cloud=['\"]?%s:[^!\n]*?) *(?:!|$)", quoted);
  gchar *found;

  fail_unless (g_file_get_contents ("README.md", &readme, NULL, NULL));
  found = cloud_service_find_text (readme, pattern);
  fail_unless (found != NULL, "README.md has no launch line for %s", service->name);
  return found;
}

/* The same with the test server as its endpoint, @query appended to the URI ("" or "&name=value"),
 * and @properties set. What it learns is not kept. */
static inline gchar *
cloud_service_element (const CloudService * service, const TestServer * server,
    const gchar * scheme, const gchar * query, const gchar * properties)
{
  g_autofree gchar *element = cloud_service_readme (service);
  g_autofree gchar *uri = cloud_service_find_text (element, "cloud=['\"]?([^'\" ]*)");
  g_autofree gchar *word = g_strdup_printf ("cloud=\"%s%cendpoint=%s://127.0.0.1:%u%s\" %s", uri,
      strchr (uri, '?') ? '&' : '?', scheme, server->port, query, properties);
  g_autoptr (GRegex) cloud = g_regex_new ("cloud=['\"]?[^'\" ]*['\"]?", 0, 0, NULL);
  g_autoptr (GRegex) kept = g_regex_new ("agent-file=[^ ]*", 0, 0, NULL);
  g_autofree gchar *forgetful = g_regex_replace_literal (kept, element, -1, 0, "", 0, NULL);

  return g_regex_replace_literal (cloud, forgetful, -1, 0, word, 0, NULL);
}

/* ---- secrets --------------------------------------------------------------------------------- */

/* All that must not be seen, of @service and what its server has given out; free with
 * g_ptr_array_unref(). */
static inline GPtrArray *
cloud_service_secrets (const CloudService * service, TestServer * server)
{
  GPtrArray *secrets = g_ptr_array_new_with_free_func (g_free);
  g_autofree gchar *issued = test_server_command (server, "secrets");
  g_autoptr (JsonNode) node = json_from_string (issued, NULL);
  JsonArray *array = json_node_get_array (node);

  for (guint i = 0; service->credentials[i].variable; i++)
    if (service->credentials[i].secret)
      g_ptr_array_add (secrets, g_strdup (service->credentials[i].value));
  for (guint i = 0; i < json_array_get_length (array); i++)
    g_ptr_array_add (secrets, g_strdup (json_array_get_string_element (array, i)));
  return secrets;
}

/* The base64 of @secret inside a longer text, @before bytes behind a multiple of three: without the
 * digits that depend on the neighbours. */
static inline gchar *
cloud_secret_base64 (const gchar * secret, guint before)
{
  g_autofree gchar *padded = g_strdup_printf ("%.*s%s", (gint) before, "xx", secret);
  g_autofree gchar *text = g_base64_encode ((const guchar *) padded, strlen (padded));
  const guint skip = before == 0 ? 0 : before + 1, whole = (guint) strlen (padded) * 8 / 6;

  return g_strndup (text + skip, whole - skip);
}

/* The form in which @data has @secret in it, transfer full; NULL = none: as it is, its first half
 * (what a limit on lengths may leave), in base64, escaped as in URLs and in C strings. */
static inline gchar *
cloud_secret_form (const gchar * data, gsize size, const gchar * secret)
{
  gchar *forms[] = { g_strdup (secret), g_strndup (secret, strlen (secret) / 2 + 1),
    cloud_secret_base64 (secret, 0), cloud_secret_base64 (secret, 1),
    cloud_secret_base64 (secret, 2), g_uri_escape_string (secret, NULL, FALSE),
    g_strescape (secret, NULL)
  };
  gchar *found = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (forms); i++) {
    if (found == NULL && memmem (data, size, forms[i], strlen (forms[i])) != NULL)
      found = g_steal_pointer (&forms[i]);
    g_free (forms[i]);
  }
  return found;
}

/* Fails when @data, which is @what, has one of @secrets in it. */
static inline void
cloud_secrets_absent (const gchar * data, gsize size, GPtrArray * secrets, const gchar * what)
{
  for (guint i = 0; i < secrets->len; i++) {
    g_autofree gchar *form = cloud_secret_form (data, size, g_ptr_array_index (secrets, i));

    fail_unless (form == NULL, "%s has the secret \"%s\" in it, as \"%s\"", what,
        (const gchar *) g_ptr_array_index (secrets, i), form);
  }
}
