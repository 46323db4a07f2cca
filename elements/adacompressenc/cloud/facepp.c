/* adacompressenc: Face++'s recognition of scenes and objects as the cloud.
 *
 * facepp:[HOST]
 *
 * A form of three parts: the two keys, so that no address has them, and the picture as it is (no
 * base64). Scenes and objects may share names, hence "scene/Night" and "object/Dog"; confidences
 * are percents; empty lists are an answer.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#include <string.h>

#define DEFAULT_HOST "api-cn.faceplusplus.com"
#define PATH "/imagepp/beta/detectsceneandobject"
#define MOST_BYTES (2 * 1024 * 1024)
#define LEAST_SIDE 48
#define SAID_LENGTH 160

/* ---- the answer ----------------------------------------------------------------------------- */

static const AdaErrorWord words[] = {
  {"CONCURRENCY_LIMIT_EXCEEDED", ADA_CLOUD_ERROR_BUSY},
  {"INTERNAL_ERROR", ADA_CLOUD_ERROR_BUSY},
  {"AUTHENTICATION_ERROR", ADA_CLOUD_ERROR_REFUSED},
  {"AUTHORIZATION_ERROR", ADA_CLOUD_ERROR_REFUSED},
  {"IMAGE_FILE_TOO_LARGE", ADA_CLOUD_ERROR_REFUSED},
  {"IMAGE_ERROR_UNSUPPORTED_FORMAT", ADA_CLOUD_ERROR_REFUSED},
  {"INVALID_IMAGE_SIZE", ADA_CLOUD_ERROR_REFUSED},
  {NULL}
};

static const struct
{
  const gchar *list, *prefix;
} kinds[] = {
  {"scenes", "scene/"},
  {"objects", "object/"},
};

static gboolean
read_lists (JsonObject * object, AdaAnswer * answer, GError ** error)
{
  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++) {
    const AdaLabelFields fields = {.id = "value",.text = "value",.score = "confidence",
      .full = 100,.prefix = kinds[i].prefix
    };
    JsonArray *list = ada_json_array (object, kinds[i].list);

    if (!list)
      return ada_garbage (error, "the answer has no list of \"%s\"", kinds[i].list);
    if (!ada_read_labels (list, &fields, answer, error))
      return FALSE;
  }
  return TRUE;
}

AdaAnswer *
ada_facepp_read_answer (const gchar * data, gsize size, AdaAnswerHints * hints, GError ** error)
{
  g_autoptr (JsonNode) root = NULL;
  JsonObject *object = ada_parse_object (data, size, "the answer", &root, error);
  const gchar *said = ada_json_string (object, "error_message");
  g_autoptr (AdaAnswer) answer = NULL;

  if (!object)
    return NULL;
  if (said) {
    g_autofree gchar *excerpt = ada_excerpt (said, strlen (said), SAID_LENGTH);

    g_set_error_literal (error, ADA_CLOUD_ERROR, ada_error_of_word (words, said,
            ADA_CLOUD_ERROR_REFUSED), excerpt);
    return NULL;
  }
  answer = ada_answer_new ();
  if (!read_lists (object, answer, error))
    return NULL;
  ada_answer_sort (answer);
  return g_steal_pointer (&answer);
}

gchar *
ada_facepp_read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, ADA_MAX_VALUES, NULL);
  const gchar *said = ada_json_string (ada_json_as_object (root), "error_message");

  *code = ada_error_of_word (words, said, *code);
  return g_strdup (said);
}

/* ---- the request ---------------------------------------------------------------------------- */

static gboolean
configure (AdaService * service, GError ** error)
{
  const gchar *host = *service->target ? service->target : DEFAULT_HOST;
  g_autofree gchar *base = g_strconcat ("https://", host, NULL);

  if (strpbrk (host, "/?#@"))
    return ada_service_invalid (service, error, "has more than the name of a host in it");
  service->url = ada_service_url (service, base, PATH, error);
  return service->url != NULL;
}

static gboolean
occurs (const gchar * text, const guint8 * data, gsize size)
{
  return memmem (data, size, text, strlen (text)) != NULL;
}

/* A line that is nowhere in what it separates: the first of a sequence, nearly always. */
static gchar *
choose_boundary (AdaService * service, GBytes * jpeg)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (jpeg, &size);

  for (guint i = 0;; i++) {
    g_autofree gchar *boundary = g_strdup_printf ("gst-pirl-%08x", i);

    if (!occurs (boundary, data, size) && !strstr (service->secret[0], boundary)
        && !strstr (service->secret[1], boundary))
      return g_steal_pointer (&boundary);
  }
}

static gchar *
write_head (AdaService * service, const gchar * boundary)
{
  static const gchar *const names[] = { "api_key", "api_secret" };
  GString *head = g_string_new (NULL);

  /* In the order of the secrets. */
  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_string_append_printf (head, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n"
        "%s\r\n", boundary, names[i], service->secret[i]);
  g_string_append_printf (head, "--%s\r\nContent-Disposition: form-data; name=\"image_file\"; "
      "filename=\"frame.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n", boundary);
  return g_string_free (head, FALSE);
}

static gboolean
write_request (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  g_autofree gchar *boundary = NULL;

  if (!ada_service_check_picture (service, request, g_bytes_get_size (request->jpeg), MOST_BYTES,
          LEAST_SIDE, 0, error))
    return FALSE;
  boundary = choose_boundary (service, request->jpeg);
  ada_message_header (message, "Content-Type: multipart/form-data; boundary=%s", boundary);
  ada_message_text (message, write_head (service, boundary));
  ada_message_bytes (message, request->jpeg);
  ada_message_text (message, g_strdup_printf ("\r\n--%s--\r\n", boundary));
  return TRUE;
}

const AdaServiceKind ada_facepp_service = {
  .name = "facepp",
  .form = "facepp:[HOST]",
  .secrets = {
    {"api-key", (const gchar * const[]) { "FACEPP_API_KEY", NULL }, TRUE},
    {"api-secret", (const gchar * const[]) { "FACEPP_API_SECRET", NULL }, TRUE},
  },
  .configure = configure,
  .write = write_request,
  .read = ada_facepp_read_answer,
  .read_error = ada_facepp_read_error,
};
