/* gst-pirl: what one pirlembed element has of a network: its pictures, its vectors, its next model.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The network itself is an engine (embedengine.h), which other elements may use, too. One caller at
 * a time hands over pictures (a streaming thread), and one takes vectors; flushing, loading and
 * reading the statistics are for any thread.
 *
 * With a batch of one a picture is embedded by its caller, embed_worker_run(), or put into a
 * mailbox: it goes in when the last one has been embedded, and the newest vector stays to be looked
 * at. Larger batches are collected while the one before is at work, and every vector is taken once,
 * in order.
 */
#pragma once

#include "embedengine.h"

typedef struct _EmbedWorker EmbedWorker;

/** Called on the loading thread when @path could not become the model. */
typedef void (*EmbedLoadFailed) (const gchar * path, GError * error, gpointer user_data);

/** Waits for the model, see embed_engine_get(). @failed must stay callable until
 * embed_worker_free(). */
EmbedWorker *embed_worker_new (const EmbedSettings * settings, EmbedLoadFailed failed,
    gpointer user_data, GError ** error);
/** Waits for at most one inference, and for a model that is being loaded. */
void embed_worker_free (EmbedWorker * worker);

/** Whether pictures may lie in the device's memory; the same for as long as the worker lives. */
gboolean embed_worker_reads_surfaces (EmbedWorker * worker);
/** Of the layers' vectors, of the model in use, as of pirl_embedder_dimensions(); transfer full. */
gchar *embed_worker_dimensions (EmbedWorker * worker);

/** What of a picture of @width x @height will be looked at, from now on for as long as the worker lives:
 * a model that would look at something else is refused when it is loaded. FALSE = that is not
 * certain. */
gboolean embed_worker_crop (EmbedWorker * worker, gint width, gint height, gint max_divisor,
    PirlRegion * region);

/** Whether @image, a region of a picture, has what the model in use looks at. */
gboolean embed_worker_suits (EmbedWorker * worker, const PirlImage * image);

/** The picture to fill for the next inference; NULL when there is no room for it and @block is
 * FALSE, or while flushing. There is room when the last one is done, or, with batches, when the
 * one that is collected is not full. */
EmbedPicture *embed_worker_acquire (EmbedWorker * worker, gboolean block);
/** Embeds the picture of embed_worker_acquire() in the background: at once, or with its batch.
 * Batches need tags that rise. */
void embed_worker_submit (EmbedWorker * worker, guint64 tag);
/** Batch of one: embeds @picture on this thread, or waits while another does so; FALSE when
 * flushing ended that, after the inference if it had begun. An image is only read, a surface
 * released. */
gboolean embed_worker_run (EmbedWorker * worker, const EmbedPicture * picture, guint64 tag);
/** Lets the pictures that are collected wait for no others. @at_all_events FALSE: not while other
 * results are there or on their way. */
void embed_worker_close_batch (EmbedWorker * worker, gboolean at_all_events);
/** Waits until nothing is on its way; FALSE when flushing ended the wait. */
gboolean embed_worker_drain (EmbedWorker * worker);
/** Batch of one: the newest result (transfer full), or NULL, with @error set when the last
 * inference failed. */
EmbedResult *embed_worker_latest (EmbedWorker * worker, GError ** error);
/** Batches: waits for the result of the picture with this tag (transfer full) and forgets those
 * before it. NULL while flushing, or, with @error set, when its batch or one before failed. */
EmbedResult *embed_worker_take (EmbedWorker * worker, guint64 tag, GError ** error);

/** TRUE ends all waits and forgets every result, also of what is being computed. */
void embed_worker_set_flushing (EmbedWorker * worker, gboolean flushing);

/** Loads @path aside; a later call overtakes an earlier one. Returns at once. */
void embed_worker_load (EmbedWorker * worker, const gchar * path);
/** Between two frames: takes over a model that has been loaded. Returns its path (transfer full),
 * NULL when there is none or a picture is on its way. With batches embed_worker_acquire() does this
 * by itself, where one would begin, and results tell (model_number). */
gchar *embed_worker_swap (EmbedWorker * worker);

typedef struct {
  guint64 pictures;             /* embedded so far */
  guint64 batches, mixed;       /* that they were in; of those, with other streams' pictures */
  gdouble seconds;              /* that took: of a batch its pictures' share */
  gdouble first;                /* for the batch with which the network was tried */
  guint streams;                /* elements that share the network, this one among them */
} EmbedStatistics;
EmbedStatistics embed_worker_statistics (EmbedWorker * worker);
/** "cpu (...), f32, resnet50 ...": for people; transfer full. */
gchar *embed_worker_describe (EmbedWorker * worker);
