/* gst-pirl: the thread that runs pirlembed's network, and the one that loads its next model.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One caller at a time hands over pictures (a streaming thread); flushing, loading and reading the
 * statistics are for any thread.
 */
#pragma once

#include "vision/image.h"

typedef struct {
  gchar *model_file, *layer, *device, *precision;       /* @layer may be NULL */
  guint n_threads;
} EmbedSettings;

/** Frees the strings. */
void embed_settings_clear (EmbedSettings * settings);

/** One picture's vector; immutable, counted. */
typedef struct {
  GBytes *data;                 /* float32 */
  gchar *layer, *model;
  guint64 tag;                  /* what embed_worker_submit() was given */
} EmbedResult;

EmbedResult *embed_result_ref (EmbedResult * result);
/** The last reference frees it. Any thread. */
void embed_result_unref (EmbedResult * result);

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

/** Length of the vectors of the model in use. */
guint embed_worker_size (EmbedWorker * worker);

/** The picture to fill for the next inference; NULL when the thread is at work and @block is FALSE,
 * or while flushing. */
PirlImage *embed_worker_acquire (EmbedWorker * worker, gboolean block);
/** Embeds the picture of embed_worker_acquire(). */
void embed_worker_submit (EmbedWorker * worker, guint64 tag);
/** Waits until the thread has nothing to do; FALSE when flushing ended the wait. */
gboolean embed_worker_drain (EmbedWorker * worker);
/** The newest result (transfer full), or NULL, with @error set when the last inference failed. */
EmbedResult *embed_worker_latest (EmbedWorker * worker, GError ** error);

/** TRUE ends all waits and forgets every result, also of what is being computed. */
void embed_worker_set_flushing (EmbedWorker * worker, gboolean flushing);

/** Loads @path aside; a later call overtakes an earlier one. Returns at once. */
void embed_worker_load (EmbedWorker * worker, const gchar * path);
/** Between two frames: takes over a model that has been loaded. Returns its path (transfer full),
 * NULL when there is none or the thread is at work. */
gchar *embed_worker_swap (EmbedWorker * worker);

/** Inferences so far and the seconds they took; the first, from embed_worker_new(), apart. */
void embed_worker_statistics (EmbedWorker * worker, guint64 * inferences, gdouble * seconds,
    gdouble * first);
/** "cpu (...), f32, resnet50 ...": for people; transfer full. */
gchar *embed_worker_describe (EmbedWorker * worker);
