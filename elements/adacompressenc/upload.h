/* gst-pirl: frames on their way to a vision service, and their labels back.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * upload=every-frame: what leaves is sent to the cloud as it is, as far as the client keeps up.
 * What comes back is a message, and a meta on every buffer that leaves from then on, until newer
 * labels come. No frame ever waits for its own.
 */
#pragma once

#include "cloud/client.h"

#include <gst/gst.h>

G_BEGIN_DECLS

/** A frame that leaves. */
typedef struct {
  guint64 number;               /* from 0 */
  GstClockTime timestamp, running_time;
  gint quality, width, height;
  const gchar *name;            /* the sample's, or NULL */
} AdaUploadFrame;

typedef struct _AdaUpload AdaUpload;
/** Posts on @element, sends through @client; @client is freed before it. */
AdaUpload *ada_upload_new (GstElement * element, AdaClient * client);
void ada_upload_free (AdaUpload * upload);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaUpload, ada_upload_free)
/** The streaming thread: @buffer gets the newest labels that are there, its @size bytes at @data
 * are sent. Never waits. */
void ada_upload_frame (AdaUpload * upload, const AdaUploadFrame * frame, const guint8 * data,
    gsize size, GstBuffer * buffer);
/** The stream jumped: labels of frames before are told, but put on no buffer. */
void ada_upload_flush (AdaUpload * upload);

G_END_DECLS
