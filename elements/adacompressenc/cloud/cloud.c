/* adacompressenc: the interface that all clouds share, and which URI makes which.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#include <base/base.h>
#include <string.h>

G_DEFINE_INTERFACE (AdaCloud, ada_cloud, G_TYPE_OBJECT)

/* Either a constructor of its own and its form, or a kind of service. */
static const struct
{
  const gchar *prefix;
  const AdaServiceKind *service;
  const gchar *form;
  AdaCloudConstructor construct;
} kinds[] = {
  {"local:", NULL, "local:MODEL.safetensors", ada_local_cloud_new},
  {"replay:", NULL, "replay:FILE.json[#SERVICE]", ada_replay_cloud_new},
  {"oip+http:", &ada_oip_service},
  {"oip+https:", &ada_oip_service},
  {"rekognition:", &ada_rekognition_service},
  {"facepp:", &ada_facepp_service},
  {"baidu:", &ada_baidu_service},
  {"google:", &ada_google_service},
  {"azure:", &ada_azure_service},
  {"torchserve+http:", &ada_torchserve_service},
  {"torchserve+https:", &ada_torchserve_service},
};

static void
ada_cloud_default_init (AdaCloudInterface * iface)
{
}

/* Nothing of the URI is repeated: whoever mistypes one may have put a password into it. */
static void
set_unknown (GError ** error)
{
  g_autoptr (GString) forms = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (i == 0 || !kinds[i].service || kinds[i].service != kinds[i - 1].service)
      g_string_append_printf (forms, "%s%s", i ? ", " : "",
          kinds[i].service ? kinds[i].service->form : kinds[i].form);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "the cloud's URI begins with no known scheme; there are %s", forms->str);
}

AdaCloud *
ada_cloud_new (const gchar * uri, const gchar * device, guint n_threads, GError ** error)
{
  for (guint i = 0; uri && i < G_N_ELEMENTS (kinds); i++) {
    if (g_ascii_strncasecmp (uri, kinds[i].prefix, strlen (kinds[i].prefix)) != 0)
      continue;
    if (kinds[i].service)
      return ada_service_new (kinds[i].service, uri, error);
    return kinds[i].construct (uri, device, n_threads, error);
  }
  set_unknown (error);
  return NULL;
}

AdaAnswer *
ada_cloud_classify (AdaCloud * cloud, const AdaRequest * request, GCancellable * cancellable,
    GError ** error)
{
  AdaTraffic own = { 0 };
  AdaTraffic *traffic = request->traffic ? request->traffic : &own;
  AdaRequest counted = *request;
  AdaAnswer *answer;

  *traffic = own;
  counted.traffic = traffic;
  if (g_cancellable_set_error_if_cancelled (cancellable, error))
    return NULL;
  answer = ADA_CLOUD_GET_IFACE (cloud)->classify (cloud, &counted, cancellable, error);
  if (!answer)
    return NULL;
  /* A cloud without a wire: what would have gone over it. */
  if (traffic->sent == 0)
    traffic->sent = g_bytes_get_size (request->jpeg);
  answer->sent = traffic->sent;
  answer->received = traffic->received;
  return answer;
}

gboolean
ada_cloud_knows (AdaCloud * cloud, const gchar * name, gint quality)
{
  AdaCloudInterface *iface = ADA_CLOUD_GET_IFACE (cloud);

  return !iface->knows || iface->knows (cloud, name, quality);
}

gboolean
ada_cloud_preview (AdaCloud * cloud, const AdaRequest * request, AdaPreview * preview,
    GError ** error)
{
  AdaCloudInterface *iface = ADA_CLOUD_GET_IFACE (cloud);

  *preview = (AdaPreview) { 0 };
  return !iface->preview || iface->preview (cloud, request, preview, error);
}

void
ada_preview_clear (AdaPreview * preview)
{
  g_clear_pointer (&preview->method, g_free);
  g_clear_pointer (&preview->url, g_free);
  g_clear_pointer (&preview->headers, g_strfreev);
}
