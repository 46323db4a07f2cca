/* adacompressenc: the clouds that a URI can name (the table is in cloud.c).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Constructors take the whole URI; errors name what would be right and never repeat a query or user
 * part. Services are rows of functions (service.h), a file each.
 */
#pragma once

#include "service.h"

typedef AdaCloud *(*AdaCloudConstructor) (const gchar * uri, const gchar * device,
    guint n_threads, GError ** error);

AdaCloud *ada_local_cloud_new (const gchar * uri, const gchar * device, guint n_threads,
    GError ** error);
AdaCloud *ada_replay_cloud_new (const gchar * uri, const gchar * device, guint n_threads,
    GError ** error);

extern const AdaServiceKind ada_oip_service, ada_rekognition_service, ada_facepp_service,
    ada_baidu_service, ada_google_service, ada_azure_service, ada_torchserve_service;
