/* adacompressenc: a model on a TorchServe server (or DJL Serving) as the cloud.
 *
 * torchserve+http(s)://HOST[:PORT]/predictions/NAME[/VERSION]
 *
 * The JPEG goes out as it is. What comes back is the handler's; read are that of image classifiers,
 * {"tiger_cat": 0.58, ...}, DJL's [{"className": ..., "probability": ...}, ...], and one
 * {"class": ..., "probability": ...}. TORCHSERVE_TOKEN, where it is set, is sent as a bearer token.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#include <string.h>

#define FORM "torchserve+http://HOST[:PORT]/predictions/NAME[/VERSION] or torchserve+https://..."
#define PATH "/predictions/"
/* As many as image classifiers send; a handler may answer with every class that it has. */
#define CLASSES 5
#define EXCERPT 40

/* ---- the answer ----------------------------------------------------------------------------- */

/* Scores that are no probabilities would all be 1 or 0 to us. */
static gboolean
add_class (AdaAnswer * answer, const gchar * name, JsonNode * probability, GError ** error)
{
  gdouble score;

  if (!ada_json_as_number (probability, &score) || score < 0 || score > 1) {
    g_autofree gchar *excerpt = ada_excerpt (name, strlen (name), EXCERPT);

    return ada_garbage (error, "the answer's \"%s\" has no probability (a number from 0 to 1); a "
        "handler like image_classifier sends {\"class\": probability, ...}", excerpt);
  }
  if (*name)
    ada_answer_add (answer, name, name, score);
  return TRUE;
}

static gboolean
check_number (guint n, GError ** error)
{
  return n <= ADA_MAX_LABELS || ada_garbage (error, "the answer has %u classes; at most %d are "
      "believed, and the best few are enough", n, ADA_MAX_LABELS);
}

/* {"tiger_cat": 0.58, ...} */
static gboolean
read_map (JsonObject * map, AdaAnswer * answer, GError ** error)
{
  JsonObjectIter iter;
  const gchar *name;
  JsonNode *node;

  if (!check_number (json_object_get_size (map), error))
    return FALSE;
  json_object_iter_init_ordered (&iter, map);
  while (json_object_iter_next_ordered (&iter, &name, &node))
    if (!add_class (answer, name, node, error))
      return FALSE;
  return TRUE;
}

/* The name in {"className": ..., "probability": ...} or {"class": ..., ...}; NULL = it has none. */
static const gchar *
name_of (JsonObject * object)
{
  const gchar *name = ada_json_string (object, "className");

  return name ? name : ada_json_string (object, "class");
}

static gboolean
read_list (JsonArray * list, AdaAnswer * answer, GError ** error)
{
  const guint n = json_array_get_length (list);

  if (!check_number (n, error))
    return FALSE;
  for (guint i = 0; i < n; i++) {
    JsonObject *object = ada_json_as_object (json_array_get_element (list, i));
    const gchar *name = name_of (object);

    if (!name)
      return ada_garbage (error, "element %u of the answer is no object with a \"className\"", i);
    if (!add_class (answer, name, json_object_get_member (object, "probability"), error))
      return FALSE;
  }
  return TRUE;
}

AdaAnswer *
ada_torchserve_read_answer (const gchar * data, gsize size, AdaAnswerHints * hints,
    GError ** error)
{
  g_autoptr (JsonNode) root = ada_parse (data, size, "the answer", error);
  JsonObject *object = ada_json_as_object (root);
  JsonArray *list = ada_json_as_array (root);
  g_autoptr (AdaAnswer) answer = NULL;
  gboolean good;

  if (!root)
    return NULL;
  answer = ada_answer_new ();
  if (list)
    good = read_list (list, answer, error);
  else if (name_of (object))
    good = add_class (answer, name_of (object), json_object_get_member (object, "probability"),
        error);
  else if (object)
    good = read_map (object, answer, error);
  else
    good = ada_garbage (error, "the answer is neither a JSON object nor a list");
  if (!good)
    return NULL;
  ada_answer_sort (answer);
  g_array_set_size (answer->labels, MIN (answer->labels->len, CLASSES));
  return g_steal_pointer (&answer);
}

/* {"code": 503, "type": "ServiceUnavailableException", "message": ...}: the status is the code. */
gchar *
ada_torchserve_read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, ADA_MAX_VALUES, NULL);
  JsonObject *object = ada_json_as_object (root);
  const gchar *type = ada_json_string (object, "type");
  const gchar *message = ada_json_string (object, "message");

  if (!type || !message)
    return g_strdup (message ? message : type);
  return g_strdup_printf ("%s: %s", type, message);
}

/* ---- the request ---------------------------------------------------------------------------- */

static gboolean
configure (AdaService * service, GError ** error)
{
  g_autoptr (GUri) uri = g_uri_parse (service->target, G_URI_FLAGS_ENCODED, NULL);
  const gchar *path = uri ? g_uri_get_path (uri) : "";
  const gchar *name = strstr (path, PATH);

  if (!name || !name[strlen (PATH)] || name[strlen (PATH)] == '/')
    return ada_service_invalid (service, error, "names no model");
  service->url = ada_service_url (service, service->target, "", error);
  return service->url != NULL;
}

static gboolean
write_request (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  ada_message_header (message, "Content-Type: image/jpeg");
  if (service->secret[0])
    ada_message_header (message, "Authorization: Bearer %s", service->secret[0]);
  ada_message_bytes (message, request->jpeg);
  return TRUE;
}

const AdaServiceKind ada_torchserve_service = {
  .name = "torchserve",
  .form = FORM,
  .secrets = {
    {"token", (const gchar * const[]) { "TORCHSERVE_TOKEN", NULL }, FALSE},
  },
  .configure = configure,
  .write = write_request,
  .read = ada_torchserve_read_answer,
  .read_error = ada_torchserve_read_error,
};
