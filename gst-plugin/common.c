/* gst-pirl: caps queries and messages that several elements share (see common.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "common.h"
#include "backends/backend.h"

#include <gio/gio.h>
#include <string.h>

const gchar *
gst_pirl_auto_reason (const gchar * device)
{
  return device == NULL || strcmp (device, "auto") == 0 ? pirl_cuda_reason () : NULL;
}

gboolean
gst_pirl_is_live (GstPad * sinkpad)
{
  GstQuery *query = gst_query_new_latency ();
  gboolean live = FALSE;

  if (gst_pad_peer_query (sinkpad, query))
    gst_query_parse_latency (query, &live, NULL, NULL);
  gst_query_unref (query);
  return live;
}

GstCaps *
gst_pirl_filter_caps (GstCaps * caps, GstCaps * filter)
{
  GstCaps *result;

  if (filter == NULL)
    return caps;
  result = gst_caps_intersect_full (filter, caps, GST_CAPS_INTERSECT_FIRST);
  gst_caps_unref (caps);
  return result;
}

typedef struct {
  gint code;
  GQuark (*domain) (void);
  gint gst_code;
} ErrorRow;

static const ErrorRow pirl_errors[] = {
  {PIRL_ERROR_INVALID, gst_resource_error_quark, GST_RESOURCE_ERROR_SETTINGS},
  {PIRL_ERROR_FORMAT, gst_stream_error_quark, GST_STREAM_ERROR_FORMAT},
  {PIRL_ERROR_IO, gst_resource_error_quark, GST_RESOURCE_ERROR_READ},
  {PIRL_ERROR_MISMATCH, gst_stream_error_quark, GST_STREAM_ERROR_WRONG_TYPE},
  {PIRL_ERROR_UNSUPPORTED, gst_library_error_quark, GST_LIBRARY_ERROR_SETTINGS},
  {PIRL_ERROR_NOT_FINITE, gst_stream_error_quark, GST_STREAM_ERROR_FAILED},
  {PIRL_ERROR_COLLAPSED, gst_stream_error_quark, GST_STREAM_ERROR_FAILED},
  {PIRL_ERROR_BACKEND, gst_library_error_quark, GST_LIBRARY_ERROR_FAILED},
};

/* GST_RESOURCE_ERROR_FAILED for what no table knows. */
static void
domain_of_error (const GError * error, GQuark * domain, gint * code)
{
  *domain = GST_RESOURCE_ERROR;
  *code = GST_RESOURCE_ERROR_FAILED;
  if (g_error_matches (error, G_FILE_ERROR, G_FILE_ERROR_NOENT)
      || g_error_matches (error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND)) {
    *code = GST_RESOURCE_ERROR_NOT_FOUND;
  } else if (error->domain == G_FILE_ERROR || error->domain == G_IO_ERROR) {
    *code = GST_RESOURCE_ERROR_READ;
  } else if (error->domain == PIRL_ERROR) {
    for (guint i = 0; i < G_N_ELEMENTS (pirl_errors); i++) {
      if (pirl_errors[i].code == error->code) {
        *domain = pirl_errors[i].domain ();
        *code = pirl_errors[i].gst_code;
      }
    }
  } else if (error->domain == GST_RESOURCE_ERROR || error->domain == GST_STREAM_ERROR
      || error->domain == GST_LIBRARY_ERROR || error->domain == GST_CORE_ERROR) {
    *domain = error->domain;
    *code = error->code;
  }
}

static void
post (GstElement * element, GstMessageType type, GError ** error)
{
  GQuark domain;
  gint code;

  domain_of_error (*error, &domain, &code);
  gst_element_message_full (element, type, domain, code, g_strdup ((*error)->message),
      g_strdup_printf ("%s, code %d", g_quark_to_string ((*error)->domain), (*error)->code),
      __FILE__, G_STRFUNC, __LINE__);
  g_clear_error (error);
}

void
gst_pirl_post_error (GstElement * element, GError ** error)
{
  post (element, GST_MESSAGE_ERROR, error);
}

void
gst_pirl_post_warning (GstElement * element, GError ** error)
{
  post (element, GST_MESSAGE_WARNING, error);
}

static void
post_progress (GstPirlProgress * progress, GstProgressType type, const gchar * text)
{
  gst_element_post_message (progress->element,
      gst_message_new_progress (GST_OBJECT (progress->element), type, progress->code, text));
}

static gboolean
is_playing (GstElement * element)
{
  gboolean playing;

  GST_OBJECT_LOCK (element);
  playing = GST_STATE (element) == GST_STATE_PLAYING;
  GST_OBJECT_UNLOCK (element);
  return playing;
}

void
gst_pirl_progress_continue (GstPirlProgress * progress, const gchar * text)
{
  if (!progress->started) {
    if (!is_playing (progress->element))
      return;
    progress->started = TRUE;
    post_progress (progress, GST_PROGRESS_TYPE_START, text);
  }
  post_progress (progress, GST_PROGRESS_TYPE_CONTINUE, text);
}

void
gst_pirl_progress_end (GstPirlProgress * progress, GstProgressType type, const gchar * text)
{
  if (!progress->started)
    return;
  progress->started = FALSE;
  post_progress (progress, type, text);
}
