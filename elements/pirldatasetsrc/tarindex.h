/* gst-pirl: what one WebDataset tar holds, and where.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A sample is what WebDataset makes of a tar: the entries whose paths are equal up to the first dot
 * of the last part; what follows the dot says what the entry is. Of `a/7.jpg`, `a/7.cls` and
 * `a/7.json` the first is the picture and the second the label. Of several pictures
 * (`7.jpg`, `7.mask.png`) it is the one with the plain extension.
 */
#pragma once

#include "listing.h"

G_BEGIN_DECLS

/** A tar, as it was when it was listed. */
typedef struct {
  gchar *path;
  gint64 size;                  /* bytes */
  guint64 mtime;                /* nanoseconds */
} GstPirlShard;

/** Entries that could not be used as they are, counted, with the first reason (owned). */
typedef struct {
  guint64 n;
  gchar *first;
} GstPirlSkipped;

/** The strings lie in the index's text; no label is NULL. */
typedef struct {
  guint64 offset, size;         /* of the picture's bytes in the tar */
  const gchar *label, *name;
} GstPirlTarSample;

/** The samples of the tar open at @fd, of GstPirlTarSample: from the index beside it, as TAR.index,
 * or in the user's cache where that could not be written; there is one after this. @text (transfer
 * full, may stay NULL) holds the strings. */
GArray *gst_pirl_tar_index_get (const GstPirlShard * shard, gint fd, gint * cancel, gchar ** text,
    GstPirlSkipped * skipped, GError ** error);

G_END_DECLS
