/* adacompressenc: Azure Image Analysis 4.0, tags.
 *
 * azure:https://NAME.cognitiveservices.azure.com; without an address, VISION_ENDPOINT's. The JPEG
 * goes out as it is. Labels are compared by name. Microsoft retires the service on 2028-09-25.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#define MAX_BYTES 20971520
/* Larger than 50, smaller than 16,000. */
#define LEAST_SIDE 51
#define MOST_SIDE 15999
#define PATH "/computervision/imageanalysis:analyze?api-version=2023-10-01&features=tags"

enum { KEY };

static gboolean
configure (AdaService * service, GError ** error)
{
  const gchar *endpoint = *service->target ? service->target
      : ada_service_variable (service, "VISION_ENDPOINT");

  if (!service->endpoint && (!endpoint || !*endpoint))
    return ada_service_invalid (service, error, "names no address, and VISION_ENDPOINT is not set");
  service->url = ada_service_url (service, endpoint, PATH, error);
  return service->url != NULL;
}

static gboolean
write_picture (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  if (!ada_service_check_picture (service, request, g_bytes_get_size (request->jpeg), MAX_BYTES,
          LEAST_SIDE, MOST_SIDE, error))
    return FALSE;
  ada_message_header (message, "Content-Type: application/octet-stream");
  ada_message_header (message, "Ocp-Apim-Subscription-Key: %s", service->secret[KEY]);
  ada_message_bytes (message, request->jpeg);
  return TRUE;
}

/* ---- what it says --------------------------------------------------------------------------- */

AdaAnswer *
ada_azure_read_answer (const gchar * data, gsize size, AdaAnswerHints * hints, GError ** error)
{
  static const AdaLabelFields fields = {.id = "name",.score = "confidence",.full = 1 };
  g_autoptr (JsonNode) root = NULL;
  g_autoptr (AdaAnswer) answer = ada_answer_new ();
  JsonObject *object = ada_parse_object (data, size, "the answer", &root, error);
  JsonObject *tags = ada_json_object (object, "tagsResult");

  if (!object || !ada_read_labels (ada_json_array (tags, "values"), &fields, answer, error))
    return NULL;
  ada_answer_sort (answer);
  answer->model_version = ada_read_version (object, "modelVersion");
  return g_steal_pointer (&answer);
}

/* A quota that is used up comes with status 403. */
static const AdaErrorWord words[] = {
  {"Out of call volume quota", ADA_CLOUD_ERROR_BUSY},
  {"Rate limit", ADA_CLOUD_ERROR_BUSY},
  {NULL}
};

/* {"error": {"code": "InvalidRequest", "message": text, "innererror": {"code", "message"}}}, or,
 * from the gateway in front of it, {"statusCode": 401, "message": text}. */
gchar *
ada_azure_read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, ADA_MAX_VALUES, NULL);
  JsonObject *object = ada_json_as_object (root);
  JsonObject *error = ada_json_object (object, "error");
  JsonObject *inner = ada_json_object (error, "innererror");
  const gchar *name = ada_json_string (inner ? inner : error, "code");
  const gchar *message = ada_json_string (inner, "message");

  if (!message)
    message = ada_json_string (error ? error : object, "message");
  *code = ada_error_of_word (words, message, *code);
  if (name && message)
    return g_strdup_printf ("%s: %s", name, message);
  return g_strdup (message ? message : name);
}

const AdaServiceKind ada_azure_service = {
  .name = "azure",
  .form = "azure:https://NAME.cognitiveservices.azure.com",
  .secrets = { {"key", (const gchar * const[]) { "VISION_KEY", NULL }, TRUE} },
  .configure = configure,
  .write = write_picture,
  .read = ada_azure_read_answer,
  .read_error = ada_azure_read_error,
};
