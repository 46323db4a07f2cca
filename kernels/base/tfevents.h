/* gst-pirl: TensorBoard's event files.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A folder of files "events.out.tfevents.<seconds>.<host>.<process>.<number>", each a row of
 * records (TensorFlow, tsl/lib/io/record_writer): u64 length, masked CRC-32C of it, the data, masked
 * CRC-32C of that; the data are Event messages. A run that goes on opens a further file, and
 * TensorBoard joins them.
 *
 * Scalars are kept in memory until they are flushed. What cannot be written is cut off the file's
 * end again, so that it stays readable, and kept for the next flush, up to a megabyte.
 */
#pragma once

#include "base/base.h"

typedef struct _PirlTfevents PirlTfevents;

/** Makes folder @directory, if it is not there, and a file in it. %PIRL_ERROR_IO. */
PIRL_API PirlTfevents *pirl_tfevents_new (const gchar *directory, GError **error);
/** Closes the file; what was not flushed is lost. */
PIRL_API void pirl_tfevents_free (PirlTfevents *events);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlTfevents, pirl_tfevents_free)

PIRL_API const gchar *pirl_tfevents_path (const PirlTfevents *events);
/** Notes the @value of @tag ("loss") after @step. A value that is no finite number is noted as it
 * is. */
PIRL_API void pirl_tfevents_scalar (PirlTfevents *events, guint64 step, const gchar *tag,
    gdouble value);
/** Notes that a run begins with @step: TensorBoard forgets what earlier files say of that step and
 * later ones, which an interrupted run did and a resumed one does again. */
PIRL_API void pirl_tfevents_restart (PirlTfevents *events, guint64 step);
/** Writes what was noted. %PIRL_ERROR_IO: the file is as it was. */
PIRL_API gboolean pirl_tfevents_flush (PirlTfevents *events, GError **error);

/** CRC-32C (Castagnoli), as of iSCSI (RFC 3720): for tests. */
PIRL_API guint32 pirl_crc32c (gconstpointer data, gsize size);
