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
#include "kinds.h"
#include "oip.h"

#include <string.h>

#define MODELS "/v2/models/"
#define INFER "/infer"
#define DEFAULT_RANK 2

enum { TOKEN };

typedef struct {
  AdaOipModel model;
  gboolean known;               /* @model is complete */
} OipState;

static void
oip_state_free (gpointer data)
{
  OipState *state = data;

  ada_oip_model_clear (&state->model);
  g_free (state);
}

static gboolean
configure (AdaService * service, GError ** error)
{
  g_autofree gchar *model_url = ada_service_url (service, service->target, "", error);
  const gchar *name = model_url ? strstr (model_url, MODELS) : NULL;
  OipState *state = g_new0 (OipState, 1);

  service->state = state;
  service->free_state = oip_state_free;
  if (!model_url)
    return FALSE;
  if (!name || !name[strlen (MODELS)])
    return ada_service_invalid (service, error, "names no model");
  service->url = g_strconcat (model_url, INFER, NULL);
  state->model = (AdaOipModel) {
    g_strdup (ada_service_parameter (service, "input")),
    g_strdup (ada_service_parameter (service, "output")), DEFAULT_RANK
  };
  state->known = state->model.input && state->model.output;
  return TRUE;
}

static void
add_token (AdaService * service, AdaMessage * message)
{
  if (service->secret[TOKEN])
    ada_message_header (message, "Authorization: Bearer %s", service->secret[TOKEN]);
}

/* Asks for the model's metadata. */
static gboolean
prepare (AdaService * service, AdaTraffic * traffic, GCancellable * cancellable, GError ** error)
{
  OipState *state = service->state;
  g_auto (AdaMessage) message = { 0 };
  GError *found = NULL;
  const gchar *body;
  gsize size;

  if (state->known)
    return TRUE;
  ada_message_init (&message);
  message.url = g_strndup (service->url, strlen (service->url) - strlen (INFER));
  add_token (service, &message);
  if (!ada_service_exchange (service, &message, traffic, cancellable, error))
    return FALSE;
  body = ada_http_body (service->http, &size);
  state->known = ada_oip_read_model (body, size, &state->model, &found);
  ada_service_explain (service, found, error);
  return state->known;
}

static gboolean
write_picture (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  const OipState *state = service->state;
  const gsize jpeg_size = g_bytes_get_size (request->jpeg);
  const guint32 length = GUINT32_TO_LE ((guint32) jpeg_size);
  g_autoptr (GBytes) mark = g_bytes_new (&length, sizeof length);
  AdaOipModel model = state->model;
  gchar *json;

  /* Not known yet in a preview. */
  model.input = model.input ? model.input : "***";
  model.output = model.output ? model.output : "***";
  json = ada_oip_write_request (&model, request->id, jpeg_size);
  ada_message_header (message, "Content-Type: application/octet-stream");
  ada_message_header (message, "Inference-Header-Content-Length: %" G_GSIZE_FORMAT, strlen (json));
  add_token (service, message);
  ada_message_text (message, json);
  ada_message_bytes (message, mark);
  ada_message_bytes (message, request->jpeg);
  return TRUE;
}

static AdaAnswer *
read_answer (const gchar * data, gsize size, AdaAnswerHints * hints, GError ** error)
{
  const OipState *state = hints->state;

  return ada_oip_read_answer (data, size, state ? state->model.output : NULL, error);
}

static gchar *
read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  return ada_oip_read_error (data, size);
}

const AdaServiceKind ada_oip_service = {
  .name = "oip",
  .form = "oip+http://HOST[:PORT]" MODELS "NAME[?input=NAME&output=NAME] or oip+https://HOST...",
  .secrets = { {"token", (const gchar * const[]) { "GST_PIRL_OIP_TOKEN", NULL }, FALSE} },
  .parameters = (const gchar * const[]) { "input", "output", NULL },
  .configure = configure,
  .prepare = prepare,
  .write = write_picture,
  .read = read_answer,
  .read_error = read_error,
};
