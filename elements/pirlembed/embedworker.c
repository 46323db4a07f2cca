/* gst-pirl: what one pirlembed element has of a network (see embedworker.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * There are two batches of pictures at most: one is collected, one is at work. Another model takes
 * over when neither is there, so that vectors come in the order of their pictures.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "embedworker.h"

#include <string.h>

struct _EmbedWorker {
  EmbedLane lane;               /* first: what the engine knows of this */
  EmbedSettings settings;       /* constant */
  EmbedLoadFailed failed;
  gpointer user_data;
  GThread *loader;

  /* Under the lock. */
  gboolean stopping, flushing;
  gboolean crop_told;           /* of the model in use; models with another one are refused */
  gboolean loading;             /* the loader has not said its last word */
  gchar *wanted;                /* the next file to load */
  EmbedEngine *pending;         /* loaded, not yet in use */
  gchar *pending_path;
  EmbedEngine *engine;          /* changes while nothing is on its way */
  gchar *path;                  /* of its file */
  guint model_number;
  guint collected;              /* pictures of a batch, counted as if no other stream had any */
  EmbedResult *latest;          /* batch of one */
  GQueue results;               /* batches: EmbedResult */
  GError *error;                /* of the last inference; with batches it stays */
  guint generation;             /* counts flushes: a result of an older one is dropped */
  EmbedStatistics statistics;
  guint64 last_run;             /* the last batch in the statistics */
  GQueue spare;                 /* EmbedJob */

  EmbedJob *filling;            /* the caller's */
};

/* ---- results ------------------------------------------------------------------------------ */

/* With the lock: forgets all results. */
static void
forget (EmbedWorker * self)
{
  g_clear_pointer (&self->latest, embed_result_unref);
  g_queue_clear_full (&self->results, (GDestroyNotify) embed_result_unref);
  g_clear_error (&self->error);
}

static void
count (EmbedWorker * self, const EmbedRun * run)
{
  self->statistics.pictures++;
  self->statistics.seconds += (run->end - run->begin) / (gdouble) G_USEC_PER_SEC / run->pictures;
  if (run->number == self->last_run)
    return;
  self->last_run = run->number;
  self->statistics.batches++;
  self->statistics.mixed += run->mixed;
}

/* Takes @result. */
static void
deliver (EmbedWorker * self, const EmbedJob * job, EmbedResult * result, const EmbedRun * run)
{
  /* After a batch that failed nothing is in its place any more. */
  if (self->settings.batch > 1 && self->error != NULL) {
    g_clear_pointer (&result, embed_result_unref);
    return;
  }
  g_clear_error (&self->error);
  g_clear_pointer (&self->latest, embed_result_unref);
  if (result == NULL) {
    self->error = g_error_copy (run->error);
    return;
  }
  result->path = g_strdup (self->path);
  result->model_number = self->model_number;
  result->tag = job->tag;
  result->delay = run->end - run->since;
  if (self->settings.batch > 1)
    g_queue_push_tail (&self->results, result);
  else
    self->latest = result;
}

static void
job_done (EmbedLane * lane, EmbedJob * job, EmbedResult * result, const EmbedRun * run)
{
  EmbedWorker *self = (EmbedWorker *) lane;

  if (result != NULL)
    count (self, run);
  if (run != NULL && job->generation == self->generation)
    deliver (self, job, result, run);
  else
    g_clear_pointer (&result, embed_result_unref);
  if (!job->borrowed)
    g_queue_push_tail (&self->spare, job);
}

/* With the lock. */
static gboolean
is_idle (const EmbedWorker * self)
{
  return self->lane.at_work == 0 && self->lane.waiting.length == 0;
}

/* ---- models ------------------------------------------------------------------------------- */

static gboolean
same_crop (const EmbedEngine * one, const EmbedEngine * other)
{
  const PirlEmbedder *a = embed_engine_network (one), *b = embed_engine_network (other);

  return pirl_embedder_short_side (a) == pirl_embedder_short_side (b)
      && pirl_embedder_crop (a) == pirl_embedder_crop (b);
}

/* With the lock: pictures may be on their way of which only what the model in use looks at was
 * decoded. */
static gboolean
check_crop (EmbedWorker * self, const EmbedEngine * engine, GError ** error)
{
  const PirlEmbedder *now = embed_engine_network (self->engine);
  const PirlEmbedder *next = embed_engine_network (engine);

  if (!self->crop_told || same_crop (self->engine, engine))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH, "it looks at the centre %d of %d pixels, and "
      "pictures are being decoded for the centre %d of %d; set model-file in state READY",
      pirl_embedder_crop (next), pirl_embedder_short_side (next), pirl_embedder_crop (now),
      pirl_embedder_short_side (now));
  return FALSE;
}

gboolean
embed_worker_crop (EmbedWorker * self, gint width, gint height, gint max_divisor,
    PirlRegion * region)
{
  PirlBox *box = &region->box;
  gint resize, crop;
  gboolean certain;

  g_mutex_lock (&embed_lock);
  resize = pirl_embedder_short_side (embed_engine_network (self->engine));
  crop = pirl_embedder_crop (embed_engine_network (self->engine));
  certain = self->pending == NULL || same_crop (self->engine, self->pending);
  self->crop_told |= certain;
  g_mutex_unlock (&embed_lock);
  if (!certain)
    return FALSE;
  region->divisor = max_divisor >= 2 && MIN (width, height) >= 2 * resize ? 2 : 1;
  pirl_center_crop_source ((width + region->divisor - 1) / region->divisor,
      (height + region->divisor - 1) / region->divisor, resize, crop, box);
  box->x *= region->divisor;
  box->y *= region->divisor;
  box->width = MIN (box->width * region->divisor, width - box->x);
  box->height = MIN (box->height * region->divisor, height - box->y);
  return TRUE;
}

gboolean
embed_worker_suits (EmbedWorker * self, const PirlImage * image)
{
  const PirlEmbedder *network;
  PirlBox box;

  g_mutex_lock (&embed_lock);
  network = embed_engine_network (self->engine);
  pirl_center_crop_source (image->whole_width, image->whole_height,
      pirl_embedder_short_side (network), pirl_embedder_crop (network), &box);
  g_mutex_unlock (&embed_lock);
  return pirl_image_holds (image, &box);
}

static gpointer
loader_main (gpointer data)
{
  EmbedWorker *self = data;

  g_mutex_lock (&embed_lock);
  while (self->wanted != NULL && !self->stopping) {
    g_autofree gchar *path = g_steal_pointer (&self->wanted);
    g_autoptr (GError) error = NULL;
    EmbedEngine *engine, *refused = NULL;

    g_mutex_unlock (&embed_lock);
    engine = embed_engine_get (&self->settings, path, &error);
    g_mutex_lock (&embed_lock);
    if (engine != NULL && !check_crop (self, engine, &error))
      refused = g_steal_pointer (&engine);
    if (engine == NULL) {
      g_mutex_unlock (&embed_lock);
      g_clear_pointer (&refused, embed_engine_unref);
      self->failed (path, error, self->user_data);
      g_mutex_lock (&embed_lock);
    }
    if (engine != NULL && self->wanted == NULL && !self->stopping) {
      EmbedEngine *overtaken = self->pending;

      self->pending = engine;
      engine = overtaken;
      g_free (self->pending_path);
      self->pending_path = g_steal_pointer (&path);
    }
    g_mutex_unlock (&embed_lock);
    g_clear_pointer (&engine, embed_engine_unref);
    g_mutex_lock (&embed_lock);
  }
  self->loading = FALSE;
  g_mutex_unlock (&embed_lock);
  return NULL;
}

void
embed_worker_load (EmbedWorker * self, const gchar * path)
{
  GThread *done = NULL;

  g_mutex_lock (&embed_lock);
  g_free (self->wanted);
  self->wanted = g_strdup (path);
  if (!self->loading) {
    done = self->loader;
    self->loading = TRUE;
    self->loader = g_thread_new ("pirlembed-load", loader_main, self);
  }
  g_mutex_unlock (&embed_lock);
  /* It has left its loop: the join does not wait. */
  if (done != NULL)
    g_thread_join (done);
}

/* With the lock, while nothing is on its way: the model that was loaded takes over. Returns the old
 * one, to be released without the lock; NULL when there is no new one. */
static EmbedEngine *
take_over (EmbedWorker * self)
{
  EmbedEngine *old = self->engine;

  if (self->pending == NULL)
    return NULL;
  self->engine = g_steal_pointer (&self->pending);
  g_free (self->path);
  self->path = g_steal_pointer (&self->pending_path);
  self->model_number++;
  return old;
}

static const gchar *
dimensions_of (const EmbedEngine * engine)
{
  return pirl_embedder_dimensions (embed_engine_network (engine));
}

gchar *
embed_worker_swap (EmbedWorker * self)
{
  EmbedEngine *old;
  gchar *path = NULL;

  g_mutex_lock (&embed_lock);
  old = self->settings.batch == 1 && is_idle (self) ? take_over (self) : NULL;
  if (old != NULL) {
    path = g_strdup (self->path);
    /* A vector of another length cannot stand in for the new model's. */
    if (strcmp (dimensions_of (old), dimensions_of (self->engine)) != 0)
      g_clear_pointer (&self->latest, embed_result_unref);
  }
  g_mutex_unlock (&embed_lock);
  g_clear_pointer (&old, embed_engine_unref);
  return path;
}

/* ---- life --------------------------------------------------------------------------------- */

EmbedWorker *
embed_worker_new (const EmbedSettings * settings, EmbedLoadFailed failed, gpointer user_data,
    GError ** error)
{
  EmbedEngine *engine = embed_engine_get (settings, settings->model_file, error);
  EmbedWorker *self;

  if (engine == NULL)
    return NULL;
  self = g_new0 (EmbedWorker, 1);
  self->engine = engine;
  self->lane.done = job_done;
  g_cond_init (&self->lane.changed);
  g_queue_init (&self->lane.waiting);
  g_queue_init (&self->results);
  g_queue_init (&self->spare);
  self->settings.model_file = g_strdup (settings->model_file);
  self->settings.layer = g_strdup (settings->layer);
  /* What "auto" became holds for the next models, too: pictures may lie in the device's memory. */
  self->settings.device = g_strdup (embed_engine_device (engine));
  self->settings.precision = g_strdup (settings->precision);
  self->settings.n_threads = settings->n_threads;
  self->settings.batch = settings->batch;
  self->settings.timeout = settings->timeout;
  self->path = g_strdup (settings->model_file);
  self->failed = failed;
  self->user_data = user_data;
  return self;
}

static void
job_free (gpointer data)
{
  EmbedJob *job = data;

  embed_picture_release (&job->picture);
  pirl_image_clear (&job->picture.image);
  g_free (job);
}

/* Ends the loading and waits for what is at work. */
static void
retire (EmbedWorker * self)
{
  g_mutex_lock (&embed_lock);
  self->stopping = TRUE;
  embed_engine_drop (self->engine, &self->lane);
  while (!is_idle (self))
    g_cond_wait (&self->lane.changed, &embed_lock);
  forget (self);
  g_mutex_unlock (&embed_lock);
  if (self->loader != NULL)
    g_thread_join (self->loader);
}

void
embed_worker_free (EmbedWorker * self)
{
  retire (self);
  embed_engine_unref (self->engine);
  g_clear_pointer (&self->pending, embed_engine_unref);
  g_clear_pointer (&self->filling, job_free);
  g_queue_clear_full (&self->spare, job_free);
  g_cond_clear (&self->lane.changed);
  embed_settings_clear (&self->settings);
  g_free (self->wanted);
  g_free (self->path);
  g_free (self->pending_path);
  g_free (self);
}

/* ---- the caller's side -------------------------------------------------------------------- */

gboolean
embed_worker_reads_surfaces (EmbedWorker * self)
{
  gboolean reads;

  g_mutex_lock (&embed_lock);
  reads = pirl_embedder_reads_surfaces (embed_engine_network (self->engine));
  g_mutex_unlock (&embed_lock);
  return reads;
}

gchar *
embed_worker_dimensions (EmbedWorker * self)
{
  gchar *dimensions;

  g_mutex_lock (&embed_lock);
  dimensions = g_strdup (dimensions_of (self->engine));
  g_mutex_unlock (&embed_lock);
  return dimensions;
}

/* With the lock: a new model takes over where a batch would begin, when the old one has none of
 * our pictures any more. */
static gboolean
waits_for_model (const EmbedWorker * self)
{
  return self->settings.batch > 1 && self->pending != NULL
      && (self->collected == 0 || is_idle (self));
}

/* With the lock. */
static gboolean
has_room (const EmbedWorker * self)
{
  if (self->settings.batch == 1 || waits_for_model (self))
    return is_idle (self);
  return self->lane.waiting.length < self->settings.batch;
}

/* With the lock. */
static EmbedJob *
spare_job (EmbedWorker * self)
{
  EmbedJob *job = g_queue_pop_head (&self->spare);

  return job != NULL ? job : g_new0 (EmbedJob, 1);
}

EmbedPicture *
embed_worker_acquire (EmbedWorker * self, gboolean block)
{
  EmbedEngine *old = NULL;
  gboolean ready;

  g_mutex_lock (&embed_lock);
  if (waits_for_model (self))
    embed_engine_hurry (self->engine, &self->lane);
  while (block && !has_room (self) && !self->flushing)
    g_cond_wait (&self->lane.changed, &embed_lock);
  ready = has_room (self) && !self->flushing;
  if (ready && waits_for_model (self))
    old = take_over (self);
  if (ready && self->filling == NULL)
    self->filling = spare_job (self);
  g_mutex_unlock (&embed_lock);
  g_clear_pointer (&old, embed_engine_unref);
  return ready ? &self->filling->picture : NULL;
}

/* When a picture of now has to be at work at the latest. */
static gint64
due_time (const EmbedWorker * self)
{
  const gint64 now = g_get_monotonic_time ();

  if (self->settings.batch == 1)
    return now;
  return self->settings.timeout > 0 ? now + self->settings.timeout : G_MAXINT64;
}

void
embed_worker_submit (EmbedWorker * self, guint64 tag)
{
  EmbedJob *job = g_steal_pointer (&self->filling);

  g_mutex_lock (&embed_lock);
  job->tag = tag;
  job->generation = self->generation;
  self->collected = (self->collected + 1) % self->settings.batch;
  embed_engine_add (self->engine, &self->lane, job, due_time (self));
  g_mutex_unlock (&embed_lock);
}

gboolean
embed_worker_run (EmbedWorker * self, const EmbedPicture * picture, guint64 tag)
{
  EmbedJob job = {.picture = *picture,.tag = tag,.borrowed = TRUE };
  gboolean done;

  g_mutex_lock (&embed_lock);
  while (!is_idle (self) && !self->flushing)
    g_cond_wait (&self->lane.changed, &embed_lock);
  job.generation = self->generation;
  if (!self->flushing)
    embed_engine_add (self->engine, &self->lane, &job, G_MAXINT64);
  /* Not before it is at work nowhere: the picture is the caller's. */
  while (!is_idle (self))
    embed_engine_work (self->engine);
  done = !self->flushing && job.generation == self->generation;
  g_mutex_unlock (&embed_lock);
  embed_picture_release (&job.picture);
  return done;
}

void
embed_worker_close_batch (EmbedWorker * self, gboolean at_all_events)
{
  g_mutex_lock (&embed_lock);
  if (at_all_events || (self->lane.at_work == 0 && g_queue_is_empty (&self->results))) {
    embed_engine_hurry (self->engine, &self->lane);
    self->collected = 0;
  }
  g_mutex_unlock (&embed_lock);
}

gboolean
embed_worker_drain (EmbedWorker * self)
{
  gboolean done;

  g_mutex_lock (&embed_lock);
  while (!is_idle (self) && !self->flushing)
    g_cond_wait (&self->lane.changed, &embed_lock);
  done = !self->flushing;
  g_mutex_unlock (&embed_lock);
  return done;
}

EmbedResult *
embed_worker_latest (EmbedWorker * self, GError ** error)
{
  EmbedResult *result = NULL;

  g_mutex_lock (&embed_lock);
  if (self->error != NULL)
    g_propagate_error (error, g_steal_pointer (&self->error));
  else if (self->latest != NULL)
    result = embed_result_ref (self->latest);
  g_mutex_unlock (&embed_lock);
  return result;
}

/* With the lock: the first result that is not older than @tag; NULL when it is not there yet. */
static EmbedResult *
first_since (EmbedWorker * self, guint64 tag)
{
  EmbedResult *result;

  while ((result = g_queue_peek_head (&self->results)) != NULL && result->tag < tag)
    embed_result_unref (g_queue_pop_head (&self->results));
  return result;
}

EmbedResult *
embed_worker_take (EmbedWorker * self, guint64 tag, GError ** error)
{
  EmbedResult *result = NULL;

  g_mutex_lock (&embed_lock);
  while (first_since (self, tag) == NULL && self->error == NULL && !self->flushing)
    g_cond_wait (&self->lane.changed, &embed_lock);
  if (!self->flushing) {
    result = g_queue_pop_head (&self->results);
    if (result == NULL)
      g_propagate_error (error, g_error_copy (self->error));
  }
  g_mutex_unlock (&embed_lock);
  return result;
}

void
embed_worker_set_flushing (EmbedWorker * self, gboolean flushing)
{
  g_mutex_lock (&embed_lock);
  self->flushing = flushing;
  self->generation++;
  self->collected = 0;
  embed_engine_drop (self->engine, &self->lane);
  forget (self);
  g_cond_broadcast (&self->lane.changed);
  embed_engine_wake (self->engine);
  g_mutex_unlock (&embed_lock);
}

EmbedStatistics
embed_worker_statistics (EmbedWorker * self)
{
  EmbedStatistics statistics;

  g_mutex_lock (&embed_lock);
  statistics = self->statistics;
  statistics.first = embed_engine_first (self->engine);
  statistics.streams = embed_engine_streams (self->engine);
  g_mutex_unlock (&embed_lock);
  return statistics;
}

gchar *
embed_worker_describe (EmbedWorker * self)
{
  const PirlEmbedder *network;
  gchar *text;

  g_mutex_lock (&embed_lock);
  network = embed_engine_network (self->engine);
  text = g_strdup_printf ("%s, layer %s of %u floats, %s on %s", pirl_embedder_model (network),
      pirl_embedder_layer (network), pirl_embedder_size (network),
      pirl_embedder_precision (network), pirl_embedder_device (network));
  g_mutex_unlock (&embed_lock);
  return text;
}
