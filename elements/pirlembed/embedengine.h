/* gst-pirl: a network at work, shared by the pirlembed elements of a process that want the same.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An engine is one model file with one set of settings: its weights are in memory once. Streams put
 * pictures into lanes; a batch is filled with one picture of each lane in turn, so that no stream
 * waits for another's backlog, and begins when it is full or when the first picture of a lane is
 * due. It runs on the engine's thread or, embed_engine_work(), on that of whoever waits for it.
 *
 * One lock guards all engines and their streams, for moments only: never while a network is loaded,
 * runs or is freed.
 */
#pragma once

#include "base/surface.h"
#include "net/embedder.h"
#include "vision/image.h"

extern GMutex embed_lock;

typedef struct {
  gchar *model_file, *layer, *device, *precision;       /* @layer may be NULL */
  guint n_threads;
  guint batch;                  /* pictures that go through the network together */
  gint64 timeout;               /* microseconds after its first picture that a batch is run though
                                 * it is not full; 0 = never. Streams may differ in this one. */
} EmbedSettings;

/** Frees the strings. */
void embed_settings_clear (EmbedSettings * settings);

/** One picture's vector; immutable once delivered, counted. */
typedef struct {
  GBytes *data;                 /* float32, of all layers */
  gchar *layer, *dimensions, *model;
  /* For the stream to fill in: */
  gchar *path;                  /* the model's file */
  guint model_number;           /* counts the models that were at work */
  guint64 tag;
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
                                 * forgotten; on any thread, it must not call engine or worker */
  gpointer keeper;
} EmbedPicture;

/** Lets go of what is in the device's memory. */
void embed_picture_release (EmbedPicture * picture);

/** A picture on its way. */
typedef struct {
  EmbedPicture picture;         /* not touched from embed_engine_add() to done() */
  guint64 tag;                  /* these three are the stream's */
  guint generation;
  gboolean borrowed;
  gint64 arrived;               /* the engine's */
  gint64 due;                   /* monotonic time at which a batch begins though it is not full;
                                 * G_MAXINT64: never */
} EmbedJob;

/** A batch that was run. */
typedef struct {
  guint64 number;               /* no two have the same */
  guint pictures;
  gboolean mixed;               /* they are of several streams */
  gint64 since, begin, end;     /* monotonic times: it could be run, it was */
  const GError *error;          /* NULL: there are results */
} EmbedRun;

typedef struct _EmbedLane EmbedLane;

/** With the lock: @job is the stream's again, its surface released. @run NULL: it was dropped;
 * @result is NULL then, and after errors, else transfer full. */
typedef void (*EmbedDone) (EmbedLane * lane, EmbedJob * job, EmbedResult * result,
    const EmbedRun * run);

/** A stream's place in an engine. Under the lock. */
struct _EmbedLane {
  EmbedDone done;
  GCond changed;                /* a batch with its pictures began or ended */
  GQueue waiting;               /* EmbedJob */
  guint at_work;
};

typedef struct _EmbedEngine EmbedEngine;

/** The engine for @path and @settings that is there already, or a new one; waits until it is loaded
 * and was run once, so that the first frame is as fast as the others: about a second for a
 * ResNet-50. Without the lock. */
EmbedEngine *embed_engine_get (const EmbedSettings * settings, const gchar * path,
    GError ** error);
/** Without the lock; no picture of the caller's may be on its way. The last one frees it. */
void embed_engine_unref (EmbedEngine * engine);

/** The device that "auto" became: a setting that asks for the same one. */
const gchar *embed_engine_device (const EmbedEngine * engine);
const PirlEmbedder *embed_engine_network (const EmbedEngine * engine);
/** Seconds that the first batch took. */
gdouble embed_engine_first (const EmbedEngine * engine);

/* With the lock: */

/** Streams that use it now. */
guint embed_engine_streams (const EmbedEngine * engine);
/** @due as in EmbedJob. A batch of one without it is for the caller to run. */
void embed_engine_add (EmbedEngine * engine, EmbedLane * lane, EmbedJob * job, gint64 due);
/** What waits in @lane is due now. */
void embed_engine_hurry (EmbedEngine * engine, EmbedLane * lane);
/** Takes back what waits in @lane. */
void embed_engine_drop (EmbedEngine * engine, EmbedLane * lane);
/** Runs the next batch on this thread, without the lock meanwhile; waits instead while another
 * thread does so, or nothing is there. */
void embed_engine_work (EmbedEngine * engine);
/** Ends that wait. */
void embed_engine_wake (EmbedEngine * engine);
