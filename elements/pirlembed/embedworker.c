/* gst-pirl: the thread that runs pirlembed's network (see embedworker.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All inferences happen on one thread, because OpenMP keeps a team of threads for every thread that
 * asks for one. There are two batches of pictures: one is collected, one is at work. The caller
 * fills a picture of its own that changes places with the next one of the batch, so that the thread
 * may take the batch at any time.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "embedworker.h"
#include "net/embedder.h"

#include <string.h>

#define WARM_UP_SIDE 64

typedef struct {
  EmbedPicture *pictures;       /* settings.batch of them */
  guint64 *tags;
} Batch;

struct _EmbedWorker {
  EmbedSettings settings;       /* constant once a model is loaded */
  EmbedLoadFailed failed;
  gpointer user_data;
  GThread *thread, *loader;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  gboolean starting, stopping, flushing;
  gboolean busy;                /* @engine and @running belong to the thread */
  guint collected;              /* pictures in @waiting */
  gint64 due;                   /* monotonic time at which they are run; G_MAXINT64: not before
                                 * there are more */
  gboolean loading;             /* the loader has not said its last word */
  gchar *wanted;                /* the next file to load */
  PirlEmbedder *pending;        /* loaded, not yet in use */
  gchar *pending_path;
  EmbedResult *latest;          /* batch of one */
  GQueue results;               /* batches: EmbedResult */
  GError *error;                /* of the start or of the last inference; with batches it stays */
  guint generation;             /* counts flushes: a result of an older one is dropped */
  EmbedStatistics statistics;
  Batch *waiting;

  /* Changed under the lock and while not busy only. */
  PirlEmbedder *engine;
  gchar *path;                  /* of its file */
  guint model_number;

  Batch *running;               /* the thread's */
  EmbedPicture picture;         /* the caller's */
  Batch batches[2];             /* what @waiting and @running point to */
};

void
embed_settings_clear (EmbedSettings * settings)
{
  g_clear_pointer (&settings->model_file, g_free);
  g_clear_pointer (&settings->layer, g_free);
  g_clear_pointer (&settings->device, g_free);
  g_clear_pointer (&settings->precision, g_free);
}

/* ---- results ------------------------------------------------------------------------------ */

static void
embed_result_clear (gpointer data)
{
  EmbedResult *result = data;

  g_bytes_unref (result->data);
  g_free (result->layer);
  g_free (result->model);
  g_free (result->path);
}

EmbedResult *
embed_result_ref (EmbedResult * result)
{
  return g_atomic_rc_box_acquire (result);
}

void
embed_result_unref (EmbedResult * result)
{
  g_atomic_rc_box_release_full (result, embed_result_clear);
}

/* The vector of a picture; path, number and delay are for the caller to fill in. */
static EmbedResult *
embed_result_new (const PirlEmbedder * engine, const gfloat * row, guint64 tag)
{
  EmbedResult *result = g_atomic_rc_box_new0 (EmbedResult);

  result->data = g_bytes_new (row, pirl_embedder_size (engine) * sizeof (gfloat));
  result->layer = g_strdup (pirl_embedder_layer (engine));
  result->model = g_strdup (pirl_embedder_model (engine));
  result->tag = tag;
  return result;
}

/* ---- pictures ----------------------------------------------------------------------------- */

/* Lets go of what is in the device's memory. */
static void
picture_release (EmbedPicture * picture)
{
  if (picture->release != NULL)
    picture->release (picture->keeper);
  picture->release = NULL;
}

static void
release_pictures (const Batch * batch, guint n)
{
  for (guint i = 0; i < n; i++)
    picture_release (&batch->pictures[i]);
}

/* Embeds @n pictures from @pictures on that are all in the host's memory or all in the device's. */
static gboolean
embed_alike (PirlEmbedder * engine, const EmbedPicture * pictures, guint n, gfloat * rows,
    GError ** error)
{
  g_autofree gconstpointer *places = g_new (gconstpointer, n);
  gboolean surfaces = pictures->release != NULL;

  for (guint i = 0; i < n; i++)
    places[i] = surfaces ? (gconstpointer) & pictures[i].surface : &pictures[i].image;
  return surfaces
      ? pirl_embedder_run_surfaces (engine, (const PirlSurface * const *) places, n, rows, error)
      : pirl_embedder_run (engine, (const PirlImage * const *) places, n, rows, error);
}

/* The first @n pictures of @batch, one EmbedResult each. */
static GPtrArray *
embed (PirlEmbedder * engine, const Batch * batch, guint n, GError ** error)
{
  guint size = pirl_embedder_size (engine);
  g_autofree gfloat *rows = g_new (gfloat, (gsize) n * size);
  GPtrArray *results;

  for (guint begin = 0, end; begin < n; begin = end) {
    const EmbedPicture *first = &batch->pictures[begin];

    for (end = begin + 1; end < n; end++)
      if ((batch->pictures[end].release != NULL) != (first->release != NULL))
        break;
    if (!embed_alike (engine, first, end - begin, rows + (gsize) begin * size, error))
      return NULL;
  }
  results = g_ptr_array_new_full (n, (GDestroyNotify) embed_result_unref);
  for (guint i = 0; i < n; i++)
    g_ptr_array_add (results, embed_result_new (engine, rows + (gsize) i * size, batch->tags[i]));
  return results;
}

/* ---- models ------------------------------------------------------------------------------- */

/* Loads @path and runs it once on a black picture: plans touch their memory then, and what cannot
 * run fails here. @seconds: of that run; may be NULL. */
static PirlEmbedder *
load_model (EmbedWorker * self, const gchar * path, gdouble * seconds, GError ** error)
{
  const EmbedSettings *s = &self->settings;
  g_autoptr (PirlEmbedder) engine = NULL;
  GPtrArray *results;
  EmbedPicture black = { 0 };
  guint64 tag = 0;
  const Batch batch = { &black, &tag };
  gint64 begin;

  engine = pirl_embedder_new (path, s->layer, s->device, s->precision, s->n_threads, s->batch,
      error);
  if (engine == NULL)
    return NULL;
  pirl_image_init (&black.image, WARM_UP_SIDE, WARM_UP_SIDE);
  memset (black.image.data, 0, black.image.stride * black.image.height);
  begin = g_get_monotonic_time ();
  results = embed (engine, &batch, 1, error);
  if (seconds)
    *seconds = (g_get_monotonic_time () - begin) / (gdouble) G_USEC_PER_SEC;
  pirl_image_clear (&black.image);
  if (results == NULL)
    return NULL;
  g_ptr_array_unref (results);
  return g_steal_pointer (&engine);
}

static gpointer
loader_main (gpointer data)
{
  EmbedWorker *self = data;

  g_mutex_lock (&self->lock);
  while (self->wanted != NULL && !self->stopping) {
    g_autofree gchar *path = g_steal_pointer (&self->wanted);
    g_autoptr (PirlEmbedder) engine = NULL;
    g_autoptr (GError) error = NULL;

    g_mutex_unlock (&self->lock);
    engine = load_model (self, path, NULL, &error);
    if (engine == NULL)
      self->failed (path, error, self->user_data);
    g_mutex_lock (&self->lock);
    if (engine != NULL && self->wanted == NULL && !self->stopping) {
      PirlEmbedder *overtaken = self->pending;

      self->pending = g_steal_pointer (&engine);
      engine = overtaken;
      g_free (self->pending_path);
      self->pending_path = g_steal_pointer (&path);
    }
  }
  self->loading = FALSE;
  g_mutex_unlock (&self->lock);
  return NULL;
}

void
embed_worker_load (EmbedWorker * self, const gchar * path)
{
  g_mutex_lock (&self->lock);
  g_free (self->wanted);
  self->wanted = g_strdup (path);
  if (!self->loading) {
    /* An earlier loader has left its loop: the join does not wait. */
    if (self->loader != NULL)
      g_thread_join (self->loader);
    self->loading = TRUE;
    self->loader = g_thread_new ("pirlembed-load", loader_main, self);
  }
  g_mutex_unlock (&self->lock);
}

/* With the lock, while not busy: the model that was loaded takes over. Returns the old one, to be
 * freed without the lock; NULL when there is no new one. */
static PirlEmbedder *
take_over (EmbedWorker * self)
{
  PirlEmbedder *old = self->engine;

  if (self->pending == NULL)
    return NULL;
  self->engine = g_steal_pointer (&self->pending);
  g_free (self->path);
  self->path = g_steal_pointer (&self->pending_path);
  self->model_number++;
  return old;
}

/* With the lock. */
static gboolean
is_idle (const EmbedWorker * self)
{
  return !self->busy && self->collected == 0;
}

gchar *
embed_worker_swap (EmbedWorker * self)
{
  PirlEmbedder *old;
  gchar *path = NULL;

  g_mutex_lock (&self->lock);
  old = self->settings.batch == 1 && is_idle (self) ? take_over (self) : NULL;
  if (old != NULL) {
    path = g_strdup (self->path);
    /* A vector of another length cannot stand in for the new model's. */
    if (pirl_embedder_size (old) != pirl_embedder_size (self->engine))
      g_clear_pointer (&self->latest, embed_result_unref);
  }
  g_mutex_unlock (&self->lock);
  pirl_embedder_free (old);
  return path;
}

/* ---- the thread --------------------------------------------------------------------------- */

/* With the lock: forgets all results and what is collected. */
static void
forget (EmbedWorker * self)
{
  release_pictures (self->waiting, self->collected);
  self->collected = 0;
  self->due = G_MAXINT64;
  g_clear_pointer (&self->latest, embed_result_unref);
  g_queue_clear_full (&self->results, (GDestroyNotify) embed_result_unref);
  g_clear_error (&self->error);
}

/* With the lock; takes over @results or @error of a batch that ended now. */
static void
deliver (EmbedWorker * self, GPtrArray * results, GError * error, gint64 delay)
{
  /* After a batch that failed nothing is in its place any more. */
  if (self->settings.batch > 1 && self->error != NULL) {
    g_clear_error (&error);
    return;
  }
  g_clear_error (&self->error);
  g_clear_pointer (&self->latest, embed_result_unref);
  self->error = error;
  for (guint i = 0; results != NULL && i < results->len; i++) {
    EmbedResult *result = embed_result_ref (g_ptr_array_index (results, i));

    result->path = g_strdup (self->path);
    result->model_number = self->model_number;
    result->delay = delay;
    if (self->settings.batch > 1)
      g_queue_push_tail (&self->results, result);
    else
      self->latest = result;
  }
}

/* With the lock: the batch that was collected is at work from here on. */
static void
begin_batch (EmbedWorker * self)
{
  self->busy = TRUE;
  self->collected = 0;
  self->due = G_MAXINT64;
  if (self->settings.batch > 1) {
    Batch *other = self->running;

    self->running = self->waiting;
    self->waiting = other;
  }
  g_cond_broadcast (&self->changed);
}

/* With the lock; unlocks it while the network runs. */
static void
run_batch (EmbedWorker * self)
{
  guint generation = self->generation, n = self->collected;
  gint64 due = self->due, begin, end;
  PirlEmbedder *old = self->settings.batch > 1 ? take_over (self) : NULL;
  g_autoptr (GPtrArray) results = NULL;
  GError *error = NULL;

  begin_batch (self);
  g_mutex_unlock (&self->lock);
  pirl_embedder_free (old);
  begin = g_get_monotonic_time ();
  results = embed (self->engine, self->running, n, &error);
  release_pictures (self->running, n);
  end = g_get_monotonic_time ();
  g_mutex_lock (&self->lock);
  if (results != NULL) {
    self->statistics.pictures += n;
    self->statistics.batches++;
    self->statistics.seconds += (end - begin) / (gdouble) G_USEC_PER_SEC;
  }
  if (generation == self->generation)
    deliver (self, results, error, end - due);
  else
    g_clear_error (&error);
  self->busy = FALSE;
  g_cond_broadcast (&self->changed);
}

/* What "auto" was decided to be holds for the next models, too: pictures may lie in the device's
 * memory. A device's description begins with its name. */
static void
settle_device (EmbedWorker * self)
{
  const gchar *device = pirl_embedder_device (self->engine);

  g_free (self->settings.device);
  self->settings.device = g_strndup (device, strcspn (device, " "));
}

static gpointer
worker_main (gpointer data)
{
  EmbedWorker *self = data;
  GError *error = NULL;
  gdouble first = 0;

  self->engine = load_model (self, self->settings.model_file, &first, &error);
  if (self->engine != NULL)
    settle_device (self);
  g_mutex_lock (&self->lock);
  self->error = error;
  self->statistics.first = first;
  self->starting = FALSE;
  g_cond_broadcast (&self->changed);
  while (!self->stopping) {
    if (self->collected > 0 && g_get_monotonic_time () >= self->due)
      run_batch (self);
    else if (self->due < G_MAXINT64)
      g_cond_wait_until (&self->changed, &self->lock, self->due);
    else
      g_cond_wait (&self->changed, &self->lock);
  }
  g_mutex_unlock (&self->lock);
  return NULL;
}

static void
init_batches (EmbedWorker * self)
{
  for (guint i = 0; i < G_N_ELEMENTS (self->batches); i++) {
    self->batches[i].pictures = g_new0 (EmbedPicture, self->settings.batch);
    self->batches[i].tags = g_new0 (guint64, self->settings.batch);
  }
  self->waiting = &self->batches[0];
  /* A single picture is not replaced while it is at work. */
  self->running = &self->batches[self->settings.batch > 1];
  self->due = G_MAXINT64;
}

static void
clear_batches (EmbedWorker * self)
{
  for (guint i = 0; i < G_N_ELEMENTS (self->batches); i++) {
    for (guint k = 0; k < self->settings.batch; k++)
      pirl_image_clear (&self->batches[i].pictures[k].image);
    g_free (self->batches[i].pictures);
    g_free (self->batches[i].tags);
  }
  pirl_image_clear (&self->picture.image);
}

EmbedWorker *
embed_worker_new (const EmbedSettings * settings, EmbedLoadFailed failed, gpointer user_data,
    GError ** error)
{
  EmbedWorker *self = g_new0 (EmbedWorker, 1);
  gboolean loaded;

  self->settings.model_file = g_strdup (settings->model_file);
  self->settings.layer = g_strdup (settings->layer);
  self->settings.device = g_strdup (settings->device);
  self->settings.precision = g_strdup (settings->precision);
  self->settings.n_threads = settings->n_threads;
  self->settings.batch = settings->batch;
  self->settings.timeout = settings->timeout;
  self->path = g_strdup (settings->model_file);
  init_batches (self);
  self->failed = failed;
  self->user_data = user_data;
  self->starting = TRUE;
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  self->thread = g_thread_new ("pirlembed", worker_main, self);

  g_mutex_lock (&self->lock);
  while (self->starting)
    g_cond_wait (&self->changed, &self->lock);
  loaded = self->engine != NULL;
  if (!loaded)
    g_propagate_error (error, g_steal_pointer (&self->error));
  g_mutex_unlock (&self->lock);
  if (!loaded)
    g_clear_pointer (&self, embed_worker_free);
  return self;
}

void
embed_worker_free (EmbedWorker * self)
{
  g_mutex_lock (&self->lock);
  self->stopping = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  g_thread_join (self->thread);
  if (self->loader != NULL)
    g_thread_join (self->loader);

  g_clear_pointer (&self->engine, pirl_embedder_free);
  g_clear_pointer (&self->pending, pirl_embedder_free);
  forget (self);
  clear_batches (self);
  embed_settings_clear (&self->settings);
  g_free (self->wanted);
  g_free (self->path);
  g_free (self->pending_path);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

/* ---- the caller's side -------------------------------------------------------------------- */

gboolean
embed_worker_reads_surfaces (EmbedWorker * self)
{
  gboolean reads;

  g_mutex_lock (&self->lock);
  reads = pirl_embedder_reads_surfaces (self->engine);
  g_mutex_unlock (&self->lock);
  return reads;
}

guint
embed_worker_size (EmbedWorker * self)
{
  guint size;

  g_mutex_lock (&self->lock);
  size = pirl_embedder_size (self->engine);
  g_mutex_unlock (&self->lock);
  return size;
}

/* With the lock. */
static gboolean
has_room (const EmbedWorker * self)
{
  return self->settings.batch == 1 ? is_idle (self) : self->collected < self->settings.batch;
}

EmbedPicture *
embed_worker_acquire (EmbedWorker * self, gboolean block)
{
  gboolean ready;

  g_mutex_lock (&self->lock);
  while (block && !has_room (self) && !self->flushing)
    g_cond_wait (&self->changed, &self->lock);
  ready = has_room (self) && !self->flushing;
  g_mutex_unlock (&self->lock);
  return ready ? &self->picture : NULL;
}

void
embed_worker_submit (EmbedWorker * self, guint64 tag)
{
  EmbedPicture *place, filled = self->picture;
  gint64 now = g_get_monotonic_time ();

  g_mutex_lock (&self->lock);
  place = &self->waiting->pictures[self->collected];
  self->picture = *place;
  *place = filled;
  self->waiting->tags[self->collected] = tag;
  if (self->collected == 0 && self->settings.timeout > 0)
    self->due = now + self->settings.timeout;
  self->collected++;
  if (self->collected == self->settings.batch)
    self->due = MIN (self->due, now);
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

void
embed_worker_close_batch (EmbedWorker * self, gboolean at_all_events)
{
  gboolean close;

  g_mutex_lock (&self->lock);
  close = at_all_events || (!self->busy && g_queue_is_empty (&self->results));
  if (close && self->collected > 0)
    self->due = MIN (self->due, g_get_monotonic_time ());
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

gboolean
embed_worker_drain (EmbedWorker * self)
{
  gboolean done;

  g_mutex_lock (&self->lock);
  while (!is_idle (self) && !self->flushing)
    g_cond_wait (&self->changed, &self->lock);
  done = !self->flushing;
  g_mutex_unlock (&self->lock);
  return done;
}

EmbedResult *
embed_worker_latest (EmbedWorker * self, GError ** error)
{
  EmbedResult *result = NULL;

  g_mutex_lock (&self->lock);
  if (self->error != NULL)
    g_propagate_error (error, g_steal_pointer (&self->error));
  else if (self->latest != NULL)
    result = embed_result_ref (self->latest);
  g_mutex_unlock (&self->lock);
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

  g_mutex_lock (&self->lock);
  while (first_since (self, tag) == NULL && self->error == NULL && !self->flushing)
    g_cond_wait (&self->changed, &self->lock);
  if (!self->flushing) {
    result = g_queue_pop_head (&self->results);
    if (result == NULL)
      g_propagate_error (error, g_error_copy (self->error));
  }
  g_mutex_unlock (&self->lock);
  return result;
}

void
embed_worker_set_flushing (EmbedWorker * self, gboolean flushing)
{
  g_mutex_lock (&self->lock);
  self->flushing = flushing;
  self->generation++;
  forget (self);
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

EmbedStatistics
embed_worker_statistics (EmbedWorker * self)
{
  EmbedStatistics statistics;

  g_mutex_lock (&self->lock);
  statistics = self->statistics;
  g_mutex_unlock (&self->lock);
  return statistics;
}

gchar *
embed_worker_describe (EmbedWorker * self)
{
  gchar *text;

  g_mutex_lock (&self->lock);
  text = g_strdup_printf ("%s, layer %s of %u floats, %s on %s",
      pirl_embedder_model (self->engine), pirl_embedder_layer (self->engine),
      pirl_embedder_size (self->engine), pirl_embedder_precision (self->engine),
      pirl_embedder_device (self->engine));
  g_mutex_unlock (&self->lock);
  return text;
}
