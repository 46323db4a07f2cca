/* adacompressenc: Google Cloud Vision, label detection.
 *
 * google: with GOOGLE_API_KEY, or GOOGLE_OAUTH_ACCESS_TOKEN and, where it needs one,
 * GOOGLE_CLOUD_QUOTA_PROJECT. The key goes in a header: addresses end up in logs. Labels are
 * compared by mid, the entity's identifier, not by description. The service does not tell its
 * model's version.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#include <string.h>

#include <base/base.h>

/* Of the whole request, after base64. */
#define MAX_BYTES 10485760
#define HEAD "{\"requests\":[{\"image\":{\"content\":\""
#define TAIL "\"},\"features\":[{\"type\":\"LABEL_DETECTION\",\"maxResults\":5}]}]}"

#define SAID_LENGTH 160

enum { API_KEY, ACCESS_TOKEN, QUOTA_PROJECT };

static gboolean
configure (AdaService * service, GError ** error)
{
  if (*service->target)
    return ada_service_invalid (service, error, "names something after google: (another address is "
        "endpoint=URL)");
  if (!service->secret[API_KEY] && !service->secret[ACCESS_TOKEN]) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, "google needs api-key or "
        "access-token: GOOGLE_API_KEY or GOOGLE_OAUTH_ACCESS_TOKEN in the environment, or either in "
        "group [google] of a credentials file (credentials=FILE in the cloud's URI, or "
        "GST_PIRL_CREDENTIALS)");
    return FALSE;
  }
  service->url = ada_service_url (service, "https://vision.googleapis.com", "/v1/images:annotate",
      error);
  return service->url != NULL;
}

static gboolean
write_picture (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  const gsize base64_size = (g_bytes_get_size (request->jpeg) + 2) / 3 * 4;

  if (!ada_service_check_picture (service, request, strlen (HEAD TAIL) + base64_size, MAX_BYTES, 0,
          0, error))
    return FALSE;
  ada_message_header (message, "Content-Type: application/json");
  if (service->secret[API_KEY])
    ada_message_header (message, "X-Goog-Api-Key: %s", service->secret[API_KEY]);
  else
    ada_message_header (message, "Authorization: Bearer %s", service->secret[ACCESS_TOKEN]);
  if (service->secret[QUOTA_PROJECT])
    ada_message_header (message, "X-Goog-User-Project: %s", service->secret[QUOTA_PROJECT]);
  ada_message_text (message, g_strdup (HEAD));
  ada_message_base64 (message, request->jpeg);
  ada_message_text (message, g_strdup (TAIL));
  return TRUE;
}

/* ---- what it says --------------------------------------------------------------------------- */

/* Of an error within an answer, which has a google.rpc.Code. */
static AdaCloudError
error_of_code (gdouble code)
{
  switch ((gint) CLAMP (code, 0, 100)) {
    case 4:                    /* DEADLINE_EXCEEDED */
    case 8:                    /* RESOURCE_EXHAUSTED */
    case 10:                   /* ABORTED */
    case 13:                   /* INTERNAL */
    case 14:                   /* UNAVAILABLE */
      return ADA_CLOUD_ERROR_BUSY;
    default:
      return ADA_CLOUD_ERROR_REFUSED;
  }
}

/* TRUE unless the one answer is an error. */
static gboolean
check_answer (JsonObject * response, GError ** error)
{
  JsonObject *trouble = ada_json_object (response, "error");
  const gchar *message = ada_json_string (trouble, "message");
  g_autofree gchar *excerpt = message ? ada_excerpt (message, strlen (message), SAID_LENGTH) : NULL;
  gdouble code = 0;

  if (!trouble)
    return TRUE;
  ada_json_number (trouble, "code", &code);
  g_set_error (error, ADA_CLOUD_ERROR, error_of_code (code), "error %g about the picture: %s", code,
      excerpt ? excerpt : "(no text)");
  return FALSE;
}

AdaAnswer *
ada_google_read_answer (const gchar * data, gsize size, AdaAnswerHints * hints, GError ** error)
{
  static const AdaLabelFields fields = {.id = "mid",.text = "description",.score = "score",
    .full = 1,.sparse = TRUE
  };
  g_autoptr (JsonNode) root = NULL;
  g_autoptr (AdaAnswer) answer = ada_answer_new ();
  JsonObject *object = ada_parse_object (data, size, "the answer", &root, error);
  JsonArray *responses = ada_json_array (object, "responses");
  JsonObject *response;

  if (!object)
    return NULL;
  response = responses && json_array_get_length (responses) == 1
      ? ada_json_as_object (json_array_get_element (responses, 0)) : NULL;
  if (!response) {
    ada_garbage (error, "the answer has no \"responses\" with one object");
    return NULL;
  }
  if (!check_answer (response, error))
    return NULL;
  /* What has no elements is left out. */
  if (json_object_has_member (response, "labelAnnotations")
      && !ada_read_labels (ada_json_array (response, "labelAnnotations"), &fields, answer, error))
    return NULL;
  ada_answer_sort (answer);
  return g_steal_pointer (&answer);
}

static const AdaErrorWord words[] = {
  {"RESOURCE_EXHAUSTED", ADA_CLOUD_ERROR_BUSY},
  {"UNAVAILABLE", ADA_CLOUD_ERROR_BUSY},
  {"DEADLINE_EXCEEDED", ADA_CLOUD_ERROR_BUSY},
  {"ABORTED", ADA_CLOUD_ERROR_BUSY},
  {"INTERNAL", ADA_CLOUD_ERROR_BUSY},
  {NULL}
};

/* {"error": {"code": 403, "message": text, "status": "PERMISSION_DENIED"}} */
gchar *
ada_google_read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, ADA_MAX_VALUES, NULL);
  JsonObject *error = ada_json_object (ada_json_as_object (root), "error");
  const gchar *status = ada_json_string (error, "status");
  const gchar *message = ada_json_string (error, "message");

  *code = ada_error_of_word (words, status, *code);
  if (status && message)
    return g_strdup_printf ("%s: %s", status, message);
  return g_strdup (message ? message : status);
}

const AdaServiceKind ada_google_service = {
  .name = "google",
  .form = "google:",
  .secrets = {
    {"api-key", (const gchar * const[]) { "GOOGLE_API_KEY", NULL }, FALSE},
    {"access-token", (const gchar * const[]) { "GOOGLE_OAUTH_ACCESS_TOKEN", NULL }, FALSE},
    {"quota-project", (const gchar * const[]) { "GOOGLE_CLOUD_QUOTA_PROJECT", NULL }, FALSE},
  },
  .configure = configure,
  .write = write_picture,
  .read = ada_google_read_answer,
  .read_error = ada_google_read_error,
};
