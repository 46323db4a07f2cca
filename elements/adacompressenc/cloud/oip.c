/* adacompressenc: a model on an Open Inference Protocol server (Triton, KServe, ...) as the cloud.
 *
 * oip+http(s)://HOST[:PORT]/v2/models/NAME[/versions/V][?input=I&output=O]
 *
 * The JPEG goes out as it is: JSON, four bytes of little-endian length, the picture (binary data
 * extension), with the classification extension asked for. Names of input and output come from the
 * model's metadata, read before the first picture, unless the URI gives both. GST_PIRL_OIP_TOKEN,
 * where it is set, is sent as a bearer token.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "http.h"
#include "kinds.h"
#include "oip.h"

#include <base/base.h>
#include <string.h>

#define TOKEN_VARIABLE "GST_PIRL_OIP_TOKEN"
#define FORM "oip+http://HOST[:PORT]/v2/models/NAME or oip+https://..."
#define DEFAULT_RANK 2

#define ADA_TYPE_OIP_CLOUD (ada_oip_cloud_get_type ())
G_DECLARE_FINAL_TYPE (AdaOipCloud, ada_oip_cloud, ADA, OIP_CLOUD, GObject)

struct _AdaOipCloud {
  GObject parent;
  gchar *model_url, *infer_url;
  AdaHttp *http;
  AdaOipModel model;
  gboolean known;               /* @model is complete */
};

static void ada_oip_cloud_interface_init (AdaCloudInterface * iface);
G_DEFINE_TYPE_WITH_CODE (AdaOipCloud, ada_oip_cloud, G_TYPE_OBJECT,
    G_IMPLEMENT_INTERFACE (ADA_TYPE_CLOUD, ada_oip_cloud_interface_init))

static void
ada_oip_cloud_finalize (GObject * object)
{
  AdaOipCloud *self = ADA_OIP_CLOUD (object);

  g_free (self->model_url);
  g_free (self->infer_url);
  ada_http_free (self->http);
  ada_oip_model_clear (&self->model);
  G_OBJECT_CLASS (ada_oip_cloud_parent_class)->finalize (object);
}

static void
ada_oip_cloud_class_init (AdaOipCloudClass * klass)
{
  G_OBJECT_CLASS (klass)->finalize = ada_oip_cloud_finalize;
}

static void
ada_oip_cloud_init (AdaOipCloud * self)
{
  self->http = ada_http_new ();
  self->model.rank = DEFAULT_RANK;
}

/* Runs one request; TRUE when its status is a success. */
static gboolean
exchange (AdaOipCloud * self, const AdaHttpRequest * request, AdaTraffic * traffic,
    GCancellable * cancellable, GError ** error)
{
  g_autofree gchar *said = NULL;
  const gchar *body;
  gsize size;

  if (!ada_http_run (self->http, request, traffic, cancellable, error))
    return FALSE;
  body = ada_http_body (self->http, &size);
  if (ada_http_status (self->http) >= 300)
    said = ada_oip_read_error (body, size);
  return ada_http_check_status (self->http, said, error);
}

/* Puts the address in front of what a parser found. */
static void
explain (AdaOipCloud * self, GError * found, GError ** error)
{
  if (found)
    ada_http_set_error (self->http, found->code, error, "%s", found->message);
  g_clear_error (&found);
}

static gboolean
learn_model (AdaOipCloud * self, AdaTraffic * traffic, GCancellable * cancellable, GError ** error)
{
  const AdaHttpRequest request = {.url = self->model_url };
  GError *found = NULL;
  const gchar *body;
  gsize size;

  if (self->known)
    return TRUE;
  if (!exchange (self, &request, traffic, cancellable, error))
    return FALSE;
  body = ada_http_body (self->http, &size);
  self->known = ada_oip_read_model (body, size, &self->model, &found);
  explain (self, found, error);
  return self->known;
}

static AdaAnswer *
ada_oip_cloud_classify (AdaCloud * cloud, const AdaRequest * request, GCancellable * cancellable,
    GError ** error)
{
  AdaOipCloud *self = ADA_OIP_CLOUD (cloud);
  const gsize jpeg_size = g_bytes_get_size (request->jpeg);
  const guint32 length = GUINT32_TO_LE ((guint32) jpeg_size);
  g_autofree gchar *json = NULL, *json_size = NULL;
  g_autoptr (GBytes) head = NULL, mark = g_bytes_new (&length, sizeof length);
  GError *found = NULL;
  AdaAnswer *answer;
  const gchar *body;
  gsize size;

  if (!learn_model (self, request->traffic, cancellable, error))
    return NULL;
  json = ada_oip_write_request (&self->model, request->id, jpeg_size);
  head = g_bytes_new_static (json, strlen (json));
  json_size = g_strdup_printf ("Inference-Header-Content-Length: %" G_GSIZE_FORMAT,
      strlen (json));
  if (!exchange (self, &(AdaHttpRequest) {
          .url = self->infer_url,
          .headers = (const gchar * const[]) { "Content-Type: application/octet-stream", json_size, NULL },
          .body = (GBytes * const[]) { head, mark, request->jpeg },
          .n_body = 3,
      }, request->traffic, cancellable, error))
    return NULL;
  body = ada_http_body (self->http, &size);
  answer = ada_oip_read_answer (body, size, self->model.output, &found);
  explain (self, found, error);
  return answer;
}

static void
ada_oip_cloud_interface_init (AdaCloudInterface * iface)
{
  iface->classify = ada_oip_cloud_classify;
}

/* ---- the URI -------------------------------------------------------------------------------- */

static gboolean
invalid (GError ** error, const gchar * reason)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "the cloud's URI %s; it should be " FORM,
      reason);
  return FALSE;
}

/* ?input=I&output=O */
static gboolean
read_query (AdaOipCloud * self, const gchar * query, GError ** error)
{
  g_autoptr (GHashTable) parameters = NULL;
  GHashTableIter iter;
  gpointer name, value;

  if (!query)
    return TRUE;
  parameters = g_uri_parse_params (query, -1, "&", G_URI_PARAMS_NONE, NULL);
  if (!parameters)
    return invalid (error, "has a query that is not name=value&name=value");
  g_hash_table_iter_init (&iter, parameters);
  while (g_hash_table_iter_next (&iter, &name, &value)) {
    gchar **slot = strcmp (name, "input") == 0 ? &self->model.input
        : strcmp (name, "output") == 0 ? &self->model.output : NULL;

    if (!slot || *(const gchar *) value == '\0')
      return invalid (error, "has a query parameter that is neither input=NAME nor output=NAME");
    g_free (*slot);
    *slot = g_strdup (value);
  }
  self->known = self->model.input && self->model.output;
  return TRUE;
}

static gboolean
read_uri (AdaOipCloud * self, const gchar * text, GError ** error)
{
  g_autoptr (GUri) uri = g_uri_parse (text, G_URI_FLAGS_ENCODED, NULL);
  const gchar *path, *name;

  if (!uri || !g_uri_get_host (uri) || !*g_uri_get_host (uri))
    return invalid (error, "names no host");
  if (g_uri_get_userinfo (uri))
    return invalid (error, "has a user or password in it, which others could read; set "
        TOKEN_VARIABLE " in the environment instead");
  path = g_uri_get_path (uri);
  name = strstr (path, "/v2/models/");
  if (!name || !name[strlen ("/v2/models/")])
    return invalid (error, "names no model");
  self->model_url = g_uri_to_string_partial (uri, G_URI_HIDE_QUERY | G_URI_HIDE_FRAGMENT);
  if (g_str_has_suffix (self->model_url, "/"))
    self->model_url[strlen (self->model_url) - 1] = '\0';
  self->infer_url = g_strconcat (self->model_url, "/infer", NULL);
  return read_query (self, g_uri_get_query (uri), error);
}

AdaCloud *
ada_oip_cloud_new (const gchar * uri, const gchar * device, guint n_threads, GError ** error)
{
  g_autoptr (AdaOipCloud) self = g_object_new (ADA_TYPE_OIP_CLOUD, NULL);

  if (!read_uri (self, uri + strlen ("oip+"), error)
      || !ada_http_set_bearer (self->http, g_getenv (TOKEN_VARIABLE), TOKEN_VARIABLE, error))
    return NULL;
  return ADA_CLOUD (g_steal_pointer (&self));
}
