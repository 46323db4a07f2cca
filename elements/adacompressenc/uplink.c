/* gst-pirl: the cloud of adacompressenc and its client (see uplink.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "uplink.h"
#include "report.h"

GST_DEBUG_CATEGORY_EXTERN (ada_compress_enc_debug);
#define GST_CAT_DEFAULT ada_compress_enc_debug

struct _AdaUplink {
  GstElement *element;          /* not owned */
  AdaCloud *cloud;
  AdaClient *client;
  AdaUpload *upload;
  guint64 most;                 /* max-requests */

  /* The client's worker. */
  gboolean away;                /* it was told that the cloud does not answer */
  guint64 rehearsed;
  gint64 told;                  /* us: of the last message of a dry run; 0 = none yet */
};

/* ---- events, on the client's worker --------------------------------------------------------- */

static void
state_changed (AdaClientState state, guint retry_in, const gchar * reason, gpointer user_data)
{
  AdaUplink *self = user_data;

  if (state == ADA_CLIENT_EXHAUSTED) {
    GST_ELEMENT_WARNING (self->element, RESOURCE, SETTINGS, ("max-requests=%" G_GUINT64_FORMAT
            " is reached: nothing more is sent to the cloud, nothing more is learnt", self->most),
        (NULL));
    reason = "max-requests is reached";
  } else if (state == ADA_CLIENT_OPEN) {
    GST_INFO_OBJECT (self->element, "the cloud is left alone for %u ms: %s", retry_in, reason);
    if (!self->away)
      GST_ELEMENT_WARNING (self->element, RESOURCE, FAILED, ("the cloud does not answer; the "
              "stream goes on, and it is asked now and then whether it is back"), ("%s", reason));
    self->away = TRUE;
  } else {
    self->away = FALSE;
    GST_INFO_OBJECT (self->element, "the cloud answers again");
    reason = "the cloud answers again";
  }
  ada_report_cloud (self->element, state, retry_in, reason);
}

static void
log_preview (AdaUplink * self, const AdaRequest * request, const AdaPreview * preview)
{
  g_autofree gchar *headers = preview->headers ? g_strjoinv ("; ", preview->headers) : NULL;

  GST_INFO_OBJECT (self->element, "dry run: frame %" G_GUINT64_FORMAT " at quality %d would be %s "
      "%s [%s] with %" G_GSIZE_FORMAT " bytes", request->id, request->quality, preview->method,
      preview->url, headers ? headers : "", preview->body);
}

static void
would_send (const AdaRequest * request, const AdaPreview * preview, const GError * error,
    gpointer user_data)
{
  const gint64 now = g_get_monotonic_time ();
  AdaUplink *self = user_data;
  const gchar *reason = error ? error->message : preview->method ? ""
      : "this cloud has no wire: nothing leaves the machine";

  self->rehearsed++;
  if (preview && preview->method)
    log_preview (self, request, preview);
  else
    GST_INFO_OBJECT (self->element, "dry run: frame %" G_GUINT64_FORMAT " at quality %d: %s",
        request->id, request->quality, reason);
  if (self->told != 0 && now - self->told < G_USEC_PER_SEC)
    return;
  self->told = now;
  ada_report_dry_run (self->element, request, preview, reason, self->rehearsed);
}

/* ---- life ----------------------------------------------------------------------------------- */

static AdaCloud *
make_cloud (const AdaSettings * settings, AdaAskFunc ask, gpointer user_data, GError ** error)
{
  if (g_str_equal (settings->cloud, ADA_CLOUD_APPLICATION))
    return ada_application_cloud_new (ask, user_data);
  return ada_cloud_new (settings->cloud, settings->device, settings->n_threads, error);
}

AdaUplink *
ada_uplink_new (GstElement * element, const AdaSettings * settings, AdaAskFunc ask,
    gpointer user_data, GError ** error)
{
  AdaCloud *cloud = make_cloud (settings, ask, user_data, error);
  AdaClientConfig config;
  AdaUplink *self;

  if (cloud == NULL)
    return NULL;
  self = g_new0 (AdaUplink, 1);
  self->element = element;
  self->cloud = cloud;
  self->most = settings->max_requests;
  ada_settings_client (settings, &config);
  config.events = (AdaClientEvents) { state_changed, would_send, self };
  self->client = ada_client_new (cloud, &config);
  if (settings->upload == ADA_UPLOAD_EVERY_FRAME)
    self->upload = ada_upload_new (element, self->client);
  return self;
}

void
ada_uplink_free (AdaUplink * self)
{
  ada_client_free (self->client);
  g_clear_pointer (&self->upload, ada_upload_free);
  g_object_unref (self->cloud);
  g_free (self);
}

AdaCloud *
ada_uplink_cloud (AdaUplink * self)
{
  return self->cloud;
}

AdaClient *
ada_uplink_client (AdaUplink * self)
{
  return self->client;
}

AdaUpload *
ada_uplink_upload (AdaUplink * self)
{
  return self->upload;
}
