/* gst-pirl: the thread that runs pirlembed's network (see embedworker.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All inferences happen on one thread, because OpenMP keeps a team of threads for every thread that
 * asks for one. The caller's side is a mailbox of one picture: acquire, fill, submit, drain.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "embedworker.h"
#include "net/embedder.h"

#include <string.h>

#define WARM_UP_SIDE 64

struct _EmbedWorker {
  EmbedSettings settings;       /* but for model_file constant */
  EmbedLoadFailed failed;
  gpointer user_data;
  GThread *thread, *loader;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  gboolean starting, stopping, flushing;
  gboolean busy;                /* @engine and @picture belong to the thread */
  gboolean loading;             /* the loader has not said its last word */
  gchar *wanted;                /* the next file to load */
  PirlEmbedder *pending;        /* loaded, not yet in use */
  gchar *pending_path;
  EmbedResult *latest;
  GError *error;                /* of the start or of the last inference */
  guint generation;             /* counts flushes: a result of an older one is dropped */
  guint64 inferences;
  gdouble seconds, first;

  /* The caller's while not busy, the thread's while busy. */
  PirlEmbedder *engine;
  PirlImage picture;
  guint64 tag;
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

static EmbedResult *
embed (PirlEmbedder * engine, const PirlImage * picture, guint64 tag, GError ** error)
{
  gsize bytes = pirl_embedder_size (engine) * sizeof (gfloat);
  g_autofree gfloat *data = g_malloc (bytes);
  EmbedResult *result;

  if (!pirl_embedder_run (engine, &picture, 1, data, error))
    return NULL;
  result = g_atomic_rc_box_new0 (EmbedResult);
  result->data = g_bytes_new_take (g_steal_pointer (&data), bytes);
  result->layer = g_strdup (pirl_embedder_layer (engine));
  result->model = g_strdup (pirl_embedder_model (engine));
  result->tag = tag;
  return result;
}

/* ---- models ------------------------------------------------------------------------------- */

/* Loads @path and runs it once on a black picture: plans touch their memory then, and what cannot
 * run fails here. @seconds: of that run; may be NULL. */
static PirlEmbedder *
load_model (EmbedWorker * self, const gchar * path, gdouble * seconds, GError ** error)
{
  const EmbedSettings *s = &self->settings;
  g_autoptr (PirlEmbedder) engine = NULL;
  EmbedResult *result;
  PirlImage black;
  gint64 begin;

  engine = pirl_embedder_new (path, s->layer, s->device, s->precision, s->n_threads, 1, error);
  if (engine == NULL)
    return NULL;
  pirl_image_init (&black, WARM_UP_SIDE, WARM_UP_SIDE);
  memset (black.data, 0, black.stride * black.height);
  begin = g_get_monotonic_time ();
  result = embed (engine, &black, 0, error);
  if (seconds)
    *seconds = (g_get_monotonic_time () - begin) / (gdouble) G_USEC_PER_SEC;
  pirl_image_clear (&black);
  if (result == NULL)
    return NULL;
  embed_result_unref (result);
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

gchar *
embed_worker_swap (EmbedWorker * self)
{
  PirlEmbedder *old = NULL;
  gchar *path = NULL;

  g_mutex_lock (&self->lock);
  if (self->pending != NULL && !self->busy) {
    old = self->engine;
    self->engine = g_steal_pointer (&self->pending);
    path = g_steal_pointer (&self->pending_path);
    /* A vector of another length cannot stand in for the new model's. */
    if (pirl_embedder_size (old) != pirl_embedder_size (self->engine))
      g_clear_pointer (&self->latest, embed_result_unref);
  }
  g_mutex_unlock (&self->lock);
  if (old != NULL)
    pirl_embedder_free (old);
  return path;
}

/* ---- the thread --------------------------------------------------------------------------- */

/* With the lock; unlocks it while the network runs. */
static void
run_job (EmbedWorker * self)
{
  guint generation = self->generation;
  GError *error = NULL;
  EmbedResult *result;
  gint64 begin;

  g_mutex_unlock (&self->lock);
  begin = g_get_monotonic_time ();
  result = embed (self->engine, &self->picture, self->tag, &error);
  g_mutex_lock (&self->lock);
  if (result != NULL) {
    self->inferences++;
    self->seconds += (g_get_monotonic_time () - begin) / (gdouble) G_USEC_PER_SEC;
  }
  if (generation == self->generation) {
    g_clear_pointer (&self->latest, embed_result_unref);
    g_clear_error (&self->error);
    self->latest = g_steal_pointer (&result);
    self->error = g_steal_pointer (&error);
  }
  g_clear_pointer (&result, embed_result_unref);
  g_clear_error (&error);
  self->busy = FALSE;
  g_cond_broadcast (&self->changed);
}

static gpointer
worker_main (gpointer data)
{
  EmbedWorker *self = data;
  GError *error = NULL;
  gdouble first = 0;

  self->engine = load_model (self, self->settings.model_file, &first, &error);
  g_mutex_lock (&self->lock);
  self->error = error;
  self->first = first;
  self->starting = FALSE;
  g_cond_broadcast (&self->changed);
  while (!self->stopping) {
    if (self->busy)
      run_job (self);
    else
      g_cond_wait (&self->changed, &self->lock);
  }
  g_mutex_unlock (&self->lock);
  return NULL;
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
  g_clear_pointer (&self->latest, embed_result_unref);
  g_clear_error (&self->error);
  pirl_image_clear (&self->picture);
  embed_settings_clear (&self->settings);
  g_free (self->wanted);
  g_free (self->pending_path);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

/* ---- the caller's side -------------------------------------------------------------------- */

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
wait_idle (EmbedWorker * self)
{
  while (self->busy && !self->flushing)
    g_cond_wait (&self->changed, &self->lock);
  return !self->flushing;
}

PirlImage *
embed_worker_acquire (EmbedWorker * self, gboolean block)
{
  gboolean ready;

  g_mutex_lock (&self->lock);
  ready = block ? wait_idle (self) : !self->busy && !self->flushing;
  g_mutex_unlock (&self->lock);
  return ready ? &self->picture : NULL;
}

void
embed_worker_submit (EmbedWorker * self, guint64 tag)
{
  g_mutex_lock (&self->lock);
  self->tag = tag;
  self->busy = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

gboolean
embed_worker_drain (EmbedWorker * self)
{
  gboolean done;

  g_mutex_lock (&self->lock);
  done = wait_idle (self);
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

void
embed_worker_set_flushing (EmbedWorker * self, gboolean flushing)
{
  g_mutex_lock (&self->lock);
  self->flushing = flushing;
  self->generation++;
  g_clear_pointer (&self->latest, embed_result_unref);
  g_clear_error (&self->error);
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

void
embed_worker_statistics (EmbedWorker * self, guint64 * inferences, gdouble * seconds,
    gdouble * first)
{
  g_mutex_lock (&self->lock);
  *inferences = self->inferences;
  *seconds = self->seconds;
  *first = self->first;
  g_mutex_unlock (&self->lock);
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
