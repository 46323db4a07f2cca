/* gst-pirl: the cloud of adacompressenc, its client, and what the world is told of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Messages: `adacompress-cloud` when failures stop the asking, when the service is back, and when
 * max-requests is reached (and then a warning, too); `adacompress-dry-run`, one a second at most.
 */
#pragma once

#include "settings.h"
#include "upload.h"

G_BEGIN_DECLS

typedef struct _AdaUplink AdaUplink;
/** What `cloud` of @settings names; it is set. @ask, @user_data: for `cloud=application`. */
AdaUplink *ada_uplink_new (GstElement * element, const AdaSettings * settings, AdaAskFunc ask,
    gpointer user_data, GError ** error);
/** Cancels what is under way; within a second. */
void ada_uplink_free (AdaUplink * uplink);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaUplink, ada_uplink_free)
/** Borrowed. */
AdaCloud *ada_uplink_cloud (AdaUplink * uplink);
AdaClient *ada_uplink_client (AdaUplink * uplink);
/** NULL without upload=every-frame. */
AdaUpload *ada_uplink_upload (AdaUplink * uplink);

G_END_DECLS
