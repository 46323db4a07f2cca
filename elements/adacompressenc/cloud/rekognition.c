/* adacompressenc: AWS Rekognition, DetectLabels.
 *
 * rekognition:REGION[?min-confidence=0&max-labels=5]; without a region, AWS_REGION's. Signed with
 * SigV4 by libcurl; a session token is sent and signed where there is one. Labels are compared by
 * Name, which is English and documented.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#include <string.h>

#define MAX_BYTES 5242880
#define LEAST_SIDE 80
#define MOST_LABELS 1000

enum { KEY_ID, SECRET_KEY, SESSION_TOKEN };

typedef struct {
  gchar *signer;                /* "aws:amz:REGION:rekognition" */
  gdouble min_confidence, max_labels;   /* %, count */
} RekognitionState;

static void
rekognition_state_free (gpointer data)
{
  RekognitionState *state = data;

  g_free (state->signer);
  g_free (state);
}

/* "eu-west-1"; it becomes part of a host name. NULL where none is given. */
static const gchar *
region_of (AdaService * service)
{
  const gchar *const regions[] = { service->target,
    ada_service_variable (service, "AWS_REGION"),
    ada_service_variable (service, "AWS_DEFAULT_REGION")
  };

  for (guint i = 0; i < G_N_ELEMENTS (regions); i++)
    if (regions[i] && *regions[i])
      return regions[i];
  return NULL;
}

static gboolean
is_region (const gchar * text)
{
  return text[strspn (text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0'
      && g_ascii_isalpha (text[0]);
}

static gboolean
configure (AdaService * service, GError ** error)
{
  RekognitionState *state = g_new0 (RekognitionState, 1);
  const gchar *region = region_of (service);
  g_autofree gchar *base = NULL;

  service->state = state;
  service->free_state = rekognition_state_free;
  if (!region)
    return ada_service_invalid (service, error, "names no region, and AWS_REGION is not set");
  if (!is_region (region))
    return ada_service_invalid (service, error, "(or AWS_REGION) names no region such as "
        "eu-west-1");
  state->max_labels = 5;
  if (!ada_service_number (service, "min-confidence", 0, 100, &state->min_confidence, error)
      || !ada_service_number (service, "max-labels", 1, MOST_LABELS, &state->max_labels, error))
    return FALSE;
  state->signer = g_strdup_printf ("aws:amz:%s:rekognition", region);
  base = g_strdup_printf ("https://rekognition.%s.amazonaws.com", region);
  service->url = ada_service_url (service, base, "/", error);
  return service->url != NULL;
}

static gboolean
write_picture (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  const RekognitionState *state = service->state;
  gchar number[G_ASCII_DTOSTR_BUF_SIZE];

  if (!ada_service_check_picture (service, request, g_bytes_get_size (request->jpeg), MAX_BYTES,
          LEAST_SIDE, 0, error))
    return FALSE;
  ada_message_header (message, "Content-Type: application/x-amz-json-1.1");
  ada_message_header (message, "X-Amz-Target: RekognitionService.DetectLabels");
  if (service->secret[SESSION_TOKEN])
    ada_message_header (message, "X-Amz-Security-Token: %s", service->secret[SESSION_TOKEN]);
  message->sigv4 = g_strdup (state->signer);
  ada_message_text (message, g_strdup ("{\"Image\":{\"Bytes\":\""));
  ada_message_base64 (message, request->jpeg);
  ada_message_text (message, g_strdup_printf ("\"},\"MaxLabels\":%d,\"MinConfidence\":%s,"
          "\"Features\":[\"GENERAL_LABELS\"]}", (gint) state->max_labels,
          g_ascii_dtostr (number, sizeof number, state->min_confidence)));
  return TRUE;
}

/* ---- what it says --------------------------------------------------------------------------- */

AdaAnswer *
ada_rekognition_read_answer (const gchar * data, gsize size, AdaAnswerHints * hints,
    GError ** error)
{
  static const AdaLabelFields fields = {.id = "Name",.score = "Confidence",.full = 100 };
  g_autoptr (JsonNode) root = NULL;
  g_autoptr (AdaAnswer) answer = ada_answer_new ();
  JsonObject *object = ada_parse_object (data, size, "the answer", &root, error);

  if (!object || !ada_read_labels (ada_json_array (object, "Labels"), &fields, answer, error))
    return NULL;
  ada_answer_sort (answer);
  answer->model_version = ada_read_version (object, "LabelModelVersion");
  return g_steal_pointer (&answer);
}

/* Throttling comes with status 400 as well. Everything else is about the request or the account. */
static const AdaErrorWord words[] = {
  {"Throttl", ADA_CLOUD_ERROR_BUSY},
  {"ProvisionedThroughputExceeded", ADA_CLOUD_ERROR_BUSY},
  {"LimitExceeded", ADA_CLOUD_ERROR_BUSY},
  {"RequestLimitExceeded", ADA_CLOUD_ERROR_BUSY},
  {"TooManyRequests", ADA_CLOUD_ERROR_BUSY},
  {"ServiceUnavailable", ADA_CLOUD_ERROR_BUSY},
  {"InternalServerError", ADA_CLOUD_ERROR_BUSY},
  {"InternalFailure", ADA_CLOUD_ERROR_BUSY},
  {NULL}
};

/* {"__type": "com.amazonaws...#ThrottlingException:http://...", "message" or "Message": text} */
gchar *
ada_rekognition_read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, ADA_MAX_VALUES, NULL);
  JsonObject *object = ada_json_as_object (root);
  const gchar *type = ada_json_string (object, "__type");
  const gchar *text = ada_json_string (object, "message");
  const gchar *hash = type ? strrchr (type, '#') : NULL;
  g_autofree gchar *name = NULL;

  if (!text)
    text = ada_json_string (object, "Message");
  if (!type)
    return g_strdup (text);
  name = g_strdup (hash ? hash + 1 : type);
  name[strcspn (name, ":")] = '\0';
  *code = ada_error_of_word (words, name, *code);
  return text ? g_strdup_printf ("%s: %s", name, text) : g_steal_pointer (&name);
}

const AdaServiceKind ada_rekognition_service = {
  .name = "rekognition",
  .form = "rekognition:REGION[?min-confidence=PERCENT&max-labels=N]",
  .secrets = {
    {"access-key-id", (const gchar * const[]) { "AWS_ACCESS_KEY_ID", NULL }, TRUE},
    {"secret-access-key", (const gchar * const[]) { "AWS_SECRET_ACCESS_KEY", NULL }, TRUE},
    {"session-token", (const gchar * const[]) { "AWS_SESSION_TOKEN", NULL }, FALSE},
  },
  .parameters = (const gchar * const[]) { "min-confidence", "max-labels", NULL },
  .configure = configure,
  .write = write_picture,
  .read = ada_rekognition_read_answer,
  .read_error = ada_rekognition_read_error,
};
