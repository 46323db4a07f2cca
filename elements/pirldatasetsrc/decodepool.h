/* gst-pirl: decodes samples on several threads and gives them out in the order they were asked for.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A ring of slots. The owner fills slots with jobs, workers take the jobs in order, the owner takes
 * results in order: whatever the number of threads, the same samples come in the same order, and
 * there are never more pictures in memory than slots.
 */
#pragma once

#include <gst/gst.h>

#include "crop.h"
#include "listing.h"

G_BEGIN_DECLS

/** What to decode, and what the owner wants to know when it comes back. */
typedef struct {
  guint64 n;                    /* position in the stream */
  guint64 position;             /* in the epoch's order */
  guint64 index;                /* in the listing */
  guint epoch;
} GstPirlJob;

typedef struct {
  GstPirlJob job;
  GstBuffer *buffer;            /* owned; NULL where the picture could not be read */
  gint width, height;
  gboolean is_region;           /* the buffer shows @region of the picture */
  GstPirlRegion region;
  gboolean truncated;
  GError *error;                /* owned; why there is no buffer */
} GstPirlDecoded;

/** Drops what it owns. */
void gst_pirl_decoded_clear (GstPirlDecoded * decoded);

typedef struct _GstPirlDecodePool GstPirlDecodePool;

/** Which region will do of the picture of @job, @width x @height; FALSE = all of it. Any thread, several
 * at a time. */
typedef gboolean (*GstPirlChoose) (const GstPirlJob * job, gint width, gint height,
    PirlRegion * region, gpointer data);

typedef struct {
  guint n_threads;
  gint size;                    /* > 0: short side to this, centre crop */
  gint max_size;                /* else > 0: long side to at most this */
  GstPirlChoose choose;         /* where neither is set; NULL: whole pictures */
  gpointer data;
} GstPirlDecodeSettings;

/** Starts workers over @listing (takes a reference). */
GstPirlDecodePool *gst_pirl_decode_pool_new (GstPirlListing * listing,
    const GstPirlDecodeSettings * settings);
/** Ends the workers, each after the picture in its hands. */
void gst_pirl_decode_pool_free (GstPirlDecodePool * pool);
/** Room for another job. */
gboolean gst_pirl_decode_pool_has_room (GstPirlDecodePool * pool);
/** Nothing asked for that was not given out. */
gboolean gst_pirl_decode_pool_is_empty (GstPirlDecodePool * pool);
/** Asks for a picture; the job is copied. Only while there is room. */
void gst_pirl_decode_pool_push (GstPirlDecodePool * pool, const GstPirlJob * job);
/** Waits for the oldest job's result; FALSE when interrupted, see below. */
gboolean gst_pirl_decode_pool_pop (GstPirlDecodePool * pool, GstPirlDecoded * decoded);
/** While set, pop does not wait. Any thread. */
void gst_pirl_decode_pool_set_interrupted (GstPirlDecodePool * pool, gboolean interrupted);
/** Forgets all jobs; does not wait for those in the workers' hands. */
void gst_pirl_decode_pool_flush (GstPirlDecodePool * pool);

G_END_DECLS
