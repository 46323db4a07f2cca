/* gst-pirl: the thread that runs pirlembed's network, and the one that loads its next model.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One caller at a time hands over pictures (a streaming thread), and one takes vectors; flushing,
 * loading and reading the statistics are for any thread.
 *
 * With a batch of one the worker is a mailbox: a picture goes in when the last one has been
 * embedded, and the newest vector stays to be looked at. Larger batches are collected while the one
 * before is at work, and every vector is taken once, in order.
 */
#pragma once

#include "base/surface.h"
#include "vision/image.h"

typedef struct {
  gchar *model_file, *layer, *device, *precision;       /* @layer may be NULL */
  guint n_threads;
  guint batch;                  /* pictures that go through the network together */
  gint64 timeout;               /* microseconds after its first picture that a batch is run though
                                 * it is not full; 0 = never */
} EmbedSettings;

/** Frees the strings. */
void embed_settings_clear (EmbedSettings * settings);

/** One picture's vector; immutable, counted. */
typedef struct {
  GBytes *data;                 /* float32 */
  gchar *layer, *model;
  gchar *path;                  /* the model's file */
  guint model_number;           /* counts the models that were at work */
  guint64 tag;                  /* what embed_worker_submit() was given */
  gint64 delay;                 /* microseconds from when its batch could be run to its end */
} EmbedResult;

EmbedResult *embed_result_ref (EmbedResult * result);
/** The last reference frees it. Any thread. */
void embed_result_unref (EmbedResult * result);

/** A picture to embed: in @image, or, where there is @release, in the device's memory. */
typedef struct {
  PirlImage image;              /* RGB */
  PirlSurface surface;
  GDestroyNotify release;       /* of what keeps @surface there, once it has been read or is
                                 * forgotten; on any thread, it must not call the worker */
  gpointer keeper;
} EmbedPicture;

typedef struct _EmbedWorker EmbedWorker;

/** Called on the loading thread when @path could not become the model. */
typedef void (*EmbedLoadFailed) (const gchar * path, GError * error, gpointer user_data);

/** Starts the thread, loads the model on it and runs it once, so that the first frame is as fast as
 * the others; waits for that, about a second for a ResNet-50. @failed must stay callable until
 * embed_worker_free(). */
EmbedWorker *embed_worker_new (const EmbedSettings * settings, EmbedLoadFailed failed,
    gpointer user_data, GError ** error);
/** Waits for at most one inference, and for a model that is being loaded. */
void embed_worker_free (EmbedWorker * worker);

/** Whether pictures may lie in the device's memory; the same for as long as the worker lives. */
gboolean embed_worker_reads_surfaces (EmbedWorker * worker);
/** Length of the vectors of the model in use. */
guint embed_worker_size (EmbedWorker * worker);

/** The picture to fill for the next inference; NULL when there is no room for it and @block is
 * FALSE, or while flushing. There is room when the thread is not at work, or, with batches, when
 * the one that is collected is not full. */
EmbedPicture *embed_worker_acquire (EmbedWorker * worker, gboolean block);
/** Embeds the picture of embed_worker_acquire(): at once, or with its batch. Batches need tags that
 * rise. */
void embed_worker_submit (EmbedWorker * worker, guint64 tag);
/** Lets the batch that is collected wait for no more pictures. @at_all_events FALSE: not while
 * other results are there or on their way. */
void embed_worker_close_batch (EmbedWorker * worker, gboolean at_all_events);
/** Waits until the thread has nothing to do; FALSE when flushing ended the wait. */
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
 * NULL when there is none or the thread is at work. With batches the thread does this by itself,
 * between two of them, and results tell (model_number). */
gchar *embed_worker_swap (EmbedWorker * worker);

typedef struct {
  guint64 pictures, batches;    /* embedded so far */
  gdouble seconds;              /* that took */
  gdouble first;                /* for the batch that embed_worker_new() ran; not among them */
} EmbedStatistics;
EmbedStatistics embed_worker_statistics (EmbedWorker * worker);
/** "cpu (...), f32, resnet50 ...": for people; transfer full. */
gchar *embed_worker_describe (EmbedWorker * worker);
