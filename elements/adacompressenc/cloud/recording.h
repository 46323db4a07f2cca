/* adacompressenc: what a service once said, from a file.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * {picture: {service: {quality: {"labels": [{"keyword": id, "score": 0..1, "root": ...}, ...]}}}}.
 * Cells may be missing. A text among the labels is what the service said instead of an answer: its
 * failure. An empty keyword is no label. Immutable once made.
 */
#pragma once

#include "cloud.h"

typedef struct _AdaRecording AdaRecording;
/** @service: NULL or empty where the file has only one. %PIRL_ERROR_FORMAT; %PIRL_ERROR_INVALID for a
 * service that is not there or not said, with those that are. */
AdaRecording *ada_recording_new (const gchar * data, gsize size, const gchar * service,
    GError ** error);
void ada_recording_free (AdaRecording * recording);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaRecording, ada_recording_free)
/** @name is found whole, by its last two or its last component, or as the only picture that ends in
 * its last component. */
gboolean ada_recording_has (const AdaRecording * recording, const gchar * name, gint quality);
/** What was said; transfer full. #AdaCloudError NO_ANSWER: a missing cell; REFUSED: a recorded
 * failure. */
AdaAnswer *ada_recording_find (const AdaRecording * recording, const gchar * name, gint quality,
    GError ** error);
