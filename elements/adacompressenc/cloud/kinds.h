/* adacompressenc: the constructors of the clouds that a URI can name (the table is in cloud.c).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each takes the whole URI; errors name what would be right and never repeat a query or user part.
 */
#pragma once

#include "cloud.h"

typedef AdaCloud *(*AdaCloudConstructor) (const gchar * uri, const gchar * device,
    guint n_threads, GError ** error);

AdaCloud *ada_local_cloud_new (const gchar * uri, const gchar * device, guint n_threads,
    GError ** error);
AdaCloud *ada_replay_cloud_new (const gchar * uri, const gchar * device, guint n_threads,
    GError ** error);
AdaCloud *ada_oip_cloud_new (const gchar * uri, const gchar * device, guint n_threads,
    GError ** error);
