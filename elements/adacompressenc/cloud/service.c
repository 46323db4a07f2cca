/* adacompressenc: the one cloud that runs every kind of vision service (see service.h).
 *
 * When an answer says that credentials have expired, they are obtained anew and the request is sent
 * once more. So it is when the service refuses and the credentials file says something else than
 * before: whoever rotates secrets need not stop a stream.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#include <base/base.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ADA_TYPE_SERVICE_CLOUD (ada_service_cloud_get_type ())
G_DECLARE_FINAL_TYPE (AdaServiceCloud, ada_service_cloud, ADA, SERVICE_CLOUD, GObject)

struct _AdaServiceCloud {
  GObject parent;
  AdaService service;
};

static void ada_service_cloud_interface_init (AdaCloudInterface * iface);
G_DEFINE_TYPE_WITH_CODE (AdaServiceCloud, ada_service_cloud, G_TYPE_OBJECT,
    G_IMPLEMENT_INTERFACE (ADA_TYPE_CLOUD, ada_service_cloud_interface_init))

static void
ada_service_cloud_finalize (GObject * object)
{
  AdaService *service = &ADA_SERVICE_CLOUD (object)->service;

  if (service->free_state)
    service->free_state (service->state);
  for (guint i = 0; i < ADA_SERVICE_SECRETS; i++)
    g_free (service->secret[i]);
  g_free (service->obtained);
  g_strfreev (service->environment);
  g_free (service->target);
  g_free (service->endpoint);
  g_free (service->url);
  g_hash_table_unref (service->parameters);
  ada_http_free (service->http);
  G_OBJECT_CLASS (ada_service_cloud_parent_class)->finalize (object);
}

static void
ada_service_cloud_class_init (AdaServiceCloudClass * klass)
{
  G_OBJECT_CLASS (klass)->finalize = ada_service_cloud_finalize;
}

static void
ada_service_cloud_init (AdaServiceCloud * self)
{
  self->service.http = ada_http_new ();
  self->service.environment = g_get_environ ();
  self->service.parameters = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
}

/* ---- secrets -------------------------------------------------------------------------------- */

static void
hide_all (AdaService * service)
{
  const gchar *secrets[ADA_SERVICE_SECRETS + 1];

  for (guint i = 0; i < ADA_SERVICE_SECRETS; i++)
    secrets[i] = service->secret[i];
  secrets[ADA_SERVICE_SECRETS] = service->obtained;
  ada_http_hide (service->http, secrets, G_N_ELEMENTS (secrets));
}

void
ada_service_hide (AdaService * service, const gchar * secret)
{
  g_free (service->obtained);
  service->obtained = g_strdup (secret);
  hide_all (service);
}

/* TRUE when they are others than before: the file may have changed, the environment does not. */
static gboolean
read_secrets (AdaService * service, GError ** error)
{
  gchar *secret[ADA_SERVICE_SECRETS] = { NULL };
  gboolean changed = FALSE;

  if (!ada_secrets_read (service->kind->name, service->kind->secrets,
          ada_service_parameter (service, "credentials"), service->environment, secret, error))
    return FALSE;
  for (guint i = 0; i < ADA_SERVICE_SECRETS; i++) {
    changed = changed || g_strcmp0 (secret[i], service->secret[i]) != 0;
    g_free (service->secret[i]);
    service->secret[i] = secret[i];
  }
  hide_all (service);
  return changed;
}

/* ---- for the kinds -------------------------------------------------------------------------- */

gboolean
ada_service_invalid (AdaService * service, GError ** error, const gchar * reason)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "the cloud's URI %s; it should be %s", reason,
      service->kind->form);
  return FALSE;
}

const gchar *
ada_service_parameter (AdaService * service, const gchar * name)
{
  return g_hash_table_lookup (service->parameters, name);
}

const gchar *
ada_service_variable (AdaService * service, const gchar * name)
{
  return g_environ_getenv (service->environment, name);
}

gboolean
ada_service_number (AdaService * service, const gchar * name, gdouble least, gdouble most,
    gdouble * value, GError ** error)
{
  const gchar *text = ada_service_parameter (service, name);
  gchar *end;
  gdouble number;

  if (!text)
    return TRUE;
  number = g_ascii_strtod (text, &end);
  if (end == text || *end || !(number >= least && number <= most)) {
    g_autofree gchar *reason = g_strdup_printf ("has a %s that is no number from %g to %g", name,
        least, most);

    return ada_service_invalid (service, error, reason);
  }
  *value = number;
  return TRUE;
}

/* An http(s) address with a host and without secrets. */
static GUri *
parse_address (AdaService * service, const gchar * text, GError ** error)
{
  g_autoptr (GUri) uri = g_uri_parse (text, G_URI_FLAGS_ENCODED, NULL);
  const gchar *scheme = uri ? g_uri_get_scheme (uri) : "";
  const gboolean is_http = g_ascii_strcasecmp (scheme, "http") == 0
      || g_ascii_strcasecmp (scheme, "https") == 0;

  if (!uri || !g_uri_get_host (uri) || !*g_uri_get_host (uri)) {
    ada_service_invalid (service, error, "names no host");
  } else if (!is_http) {
    ada_service_invalid (service, error, "names an address that is neither http nor https");
  } else if (g_uri_get_userinfo (uri)) {
    g_autofree gchar *reason = g_strdup_printf ("has a user or password in it, which others could "
        "read; set %s in the environment instead", service->kind->secrets[0].variables[0]);

    ada_service_invalid (service, error, reason);
  } else {
    return g_steal_pointer (&uri);
  }
  return NULL;
}

static gchar *
without_final_slash (gchar * text)
{
  if (g_str_has_suffix (text, "/"))
    text[strlen (text) - 1] = '\0';
  return text;
}

gchar *
ada_service_url (AdaService * service, const gchar * base, const gchar * path, GError ** error)
{
  g_autoptr (GUri) uri = NULL;
  g_autofree gchar *whole = NULL, *own_path = NULL;

  if (service->endpoint && (!base || !*base))
    return g_strconcat (service->endpoint, path, NULL);
  uri = parse_address (service, base ? base : "", error);
  if (!uri)
    return NULL;
  own_path = without_final_slash (g_strdup (g_uri_get_path (uri)));
  if (service->endpoint)
    return g_strconcat (service->endpoint, own_path, path, NULL);
  whole = without_final_slash (g_uri_to_string_partial (uri,
          G_URI_HIDE_QUERY | G_URI_HIDE_FRAGMENT));
  return g_strconcat (whole, path, NULL);
}

gboolean
ada_service_check_picture (AdaService * service, const AdaRequest * request, gsize size,
    gsize most, gint least_side, gint most_side, GError ** error)
{
  const gint shorter = MIN (request->width, request->height);
  const gint longer = MAX (request->width, request->height);

  if (size > most)
    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED, "%s takes at most %"
        G_GSIZE_FORMAT " bytes a picture; this one would be %" G_GSIZE_FORMAT,
        service->kind->name, most, size);
  else if (shorter > 0 && shorter < least_side)
    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED, "%s takes pictures of at least "
        "%dx%d pixels; this one is %dx%d", service->kind->name, least_side, least_side,
        request->width, request->height);
  else if (most_side > 0 && longer > most_side)
    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED, "%s takes pictures of at most "
        "%dx%d pixels; this one is %dx%d", service->kind->name, most_side, most_side,
        request->width, request->height);
  else
    return TRUE;
  return FALSE;
}

void
ada_service_explain (AdaService * service, GError * found, GError ** error)
{
  if (found)
    ada_http_set_error (service->http, found->code, error, "%s", found->message);
  g_clear_error (&found);
}

gboolean
ada_service_exchange (AdaService * service, const AdaMessage * message, AdaTraffic * traffic,
    GCancellable * cancellable, GError ** error)
{
  g_autofree const gchar **headers = g_new0 (const gchar *, message->headers->len + 1);
  const AdaHttpRequest request = {
    .url = message->url ? message->url : service->url,
    .headers = headers,
    .body = (GBytes * const *) message->body->pdata,
    .n_body = message->body->len,
    .sigv4 = message->sigv4,
    .key_id = service->secret[0],
    .key = service->secret[1],
  };
  g_autofree gchar *said = NULL;
  AdaCloudError code;
  const gchar *body;
  gsize size;

  for (guint i = 0; i < message->headers->len; i++)
    headers[i] = g_ptr_array_index (message->headers, i);
  if (!ada_http_run (service->http, &request, traffic, cancellable, error))
    return FALSE;
  if (ada_http_succeeded (service->http))
    return TRUE;
  body = ada_http_body (service->http, &size);
  code = ada_http_status_error (service->http);
  said = service->kind->read_error (body, size, &code);
  ada_http_set_status_error (service->http, code, said, error);
  return FALSE;
}

/* ---- the cloud ------------------------------------------------------------------------------ */

static AdaAnswer *
ask (AdaService * service, const AdaRequest * request, gboolean * expired,
    GCancellable * cancellable, GError ** error)
{
  const AdaServiceKind *kind = service->kind;
  g_auto (AdaMessage) message = { 0 };
  AdaAnswerHints hints = { 0 };
  GError *found = NULL;
  AdaAnswer *answer;
  const gchar *body;
  gsize size;

  if (kind->prepare && !kind->prepare (service, request->traffic, cancellable, error))
    return NULL;
  service->renew = FALSE;
  ada_message_init (&message);
  if (!kind->write (service, request, &message, error)
      || !ada_service_exchange (service, &message, request->traffic, cancellable, error))
    return NULL;
  body = ada_http_body (service->http, &size);
  hints.state = service->state;
  answer = kind->read (body, size, &hints, &found);
  *expired = hints.credentials_expired;
  ada_service_explain (service, found, error);
  return answer;
}

static AdaAnswer *
ada_service_cloud_classify (AdaCloud * cloud, const AdaRequest * request,
    GCancellable * cancellable, GError ** error)
{
  AdaService *service = &ADA_SERVICE_CLOUD (cloud)->service;
  gboolean expired = FALSE;
  GError *found = NULL;
  AdaAnswer *answer = ask (service, request, &expired, cancellable, &found);

  if (g_error_matches (found, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED)
      && read_secrets (service, NULL))
    expired = TRUE;
  service->renew = service->renew || expired;
  if (!answer && expired) {
    g_clear_error (&found);
    answer = ask (service, request, &expired, cancellable, &found);
  }
  if (found)
    g_propagate_error (error, found);
  return answer;
}

/* The headers as they would be sent; what libcurl makes of them when it signs is told, not made. */
static gchar **
show_headers (AdaService * service, const AdaMessage * message)
{
  GPtrArray *lines = g_ptr_array_new ();

  if (message->sigv4) {
    g_ptr_array_add (lines, g_strdup ("Authorization: AWS4-HMAC-SHA256 ***"));
    g_ptr_array_add (lines, g_strdup ("X-Amz-Date: (now)"));
  }
  for (guint i = 0; i < message->headers->len; i++)
    g_ptr_array_add (lines, ada_http_without_secrets (service->http,
            g_ptr_array_index (message->headers, i)));
  g_ptr_array_add (lines, NULL);
  return (gchar **) g_ptr_array_free (lines, FALSE);
}

static gboolean
ada_service_cloud_preview (AdaCloud * cloud, const AdaRequest * request, AdaPreview * preview,
    GError ** error)
{
  AdaService *service = &ADA_SERVICE_CLOUD (cloud)->service;
  g_auto (AdaMessage) message = { 0 };

  ada_message_init (&message);
  if (!service->kind->write (service, request, &message, error))
    return FALSE;
  preview->method = g_strdup (message.body->len ? "POST" : "GET");
  preview->url = ada_http_without_secrets (service->http,
      message.url ? message.url : service->url);
  preview->headers = show_headers (service, &message);
  for (guint i = 0; i < message.body->len; i++)
    preview->body += g_bytes_get_size (g_ptr_array_index (message.body, i));
  return TRUE;
}

static void
ada_service_cloud_interface_init (AdaCloudInterface * iface)
{
  iface->classify = ada_service_cloud_classify;
  iface->preview = ada_service_cloud_preview;
}

/* ---- the URI -------------------------------------------------------------------------------- */

static const gchar *const common_parameters[] = { "endpoint", "credentials", "ca", "cert", "key",
  NULL
};

static gboolean
is_parameter (AdaService * service, const gchar * name)
{
  return g_strv_contains (common_parameters, name)
      || (service->kind->parameters && g_strv_contains (service->kind->parameters, name));
}

static gboolean
read_query (AdaService * service, const gchar * query, GError ** error)
{
  GHashTable *parameters = g_uri_parse_params (query, -1, "&", G_URI_PARAMS_NONE, NULL);
  GHashTableIter iter;
  gpointer name, value;

  if (!parameters)
    return ada_service_invalid (service, error, "has a query that is not name=value&name=value");
  g_hash_table_unref (service->parameters);
  service->parameters = parameters;
  g_hash_table_iter_init (&iter, parameters);
  while (g_hash_table_iter_next (&iter, &name, &value)) {
    if (!is_parameter (service, name))
      return ada_service_invalid (service, error, "has a query parameter that is not known (all "
          "services know endpoint=, credentials=, ca=, cert=, key=)");
    if (*(const gchar *) value == '\0')
      return ada_service_invalid (service, error, "has a query parameter without a value");
  }
  return TRUE;
}

static gboolean
read_endpoint (AdaService * service, GError ** error)
{
  const gchar *text = ada_service_parameter (service, "endpoint");
  g_autoptr (GUri) uri = NULL;

  if (!text)
    return TRUE;
  uri = parse_address (service, text, error);
  if (!uri) {
    g_prefix_error (error, "endpoint=: ");
    return FALSE;
  }
  service->endpoint = without_final_slash (g_uri_to_string_partial (uri,
          G_URI_HIDE_QUERY | G_URI_HIDE_FRAGMENT));
  return TRUE;
}

/* The files of TLS must be there before the first picture, not at it. */
static gboolean
read_files (AdaService * service, GError ** error)
{
  static const gchar *const names[] = { "ca", "cert", "key" };
  const gchar *path[G_N_ELEMENTS (names)];

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    path[i] = ada_service_parameter (service, names[i]);
    if (path[i] && access (path[i], R_OK) < 0) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "the file that %s= in the cloud's URI names "
          "cannot be read: %s", names[i], g_strerror (errno));
      return FALSE;
    }
  }
  if (path[2] && !path[1])
    return ada_service_invalid (service, error, "has a key= without cert=");
  ada_http_set_files (service->http, path[0], path[1], path[2]);
  return TRUE;
}

/* "azure:TARGET?QUERY", "oip+TARGET?QUERY". */
static gboolean
read_uri (AdaService * service, const gchar * uri, GError ** error)
{
  const gchar *target = uri + strcspn (uri, "+:") + 1;
  const gsize length = strcspn (target, "?#");

  service->target = g_strndup (target, length);
  if (target[length] == '?') {
    const gchar *query = target + length + 1;
    g_autofree gchar *text = g_strndup (query, strcspn (query, "#"));

    if (!read_query (service, text, error))
      return FALSE;
  }
  return read_endpoint (service, error) && read_files (service, error);
}

AdaCloud *
ada_service_new (const AdaServiceKind * kind, const gchar * uri, GError ** error)
{
  g_autoptr (AdaServiceCloud) self = g_object_new (ADA_TYPE_SERVICE_CLOUD, NULL);
  AdaService *service = &self->service;
  GError *trouble = NULL;

  service->kind = kind;
  if (!read_uri (service, uri, error))
    return NULL;
  read_secrets (service, &trouble);
  if (trouble) {
    g_propagate_error (error, trouble);
    return NULL;
  }
  if (!kind->configure (service, error))
    return NULL;
  return ADA_CLOUD (g_steal_pointer (&self));
}
