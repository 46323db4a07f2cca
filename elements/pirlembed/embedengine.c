/* gst-pirl: a network at work, shared by the pirlembed elements that want the same (see
 * embedengine.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "embedengine.h"

#include <glib/gstdio.h>
#include <string.h>

#define WARM_UP_SIDE 64

GMutex embed_lock;

struct _EmbedEngine {
  gchar *key;                   /* of file and settings without device; NULL: not for others */
  gchar *device;                /* what "auto" became; constant after the start */
  EmbedSettings settings;       /* constant */
  PirlEmbedder *network;        /* from the start on constant; NULL: it failed */
  gdouble first;
  GThread *thread;
  gconstpointer *places;        /* of who runs a batch: its pictures */
  gfloat *rows;

  /* Under the lock. */
  guint streams;                /* references */
  GError *error;                /* of the start */
  gboolean starting, stopping;
  gboolean busy;                /* the network and what follows belong to who runs a batch */
  EmbedJob **running;
  EmbedLane **owners;           /* of @running */
  GQueue lanes;                 /* those in which pictures wait, next turn first */
  guint waiting;                /* pictures in them */
  GCond work;                   /* for the thread */
  GCond changed;                /* for those who wait for the start or to run a batch */
};

/* Under the lock: */
static GList *engines;
static guint64 runs;

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
  g_free (result->dimensions);
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

static EmbedResult *
embed_result_new (const PirlEmbedder * network, const gfloat * row)
{
  EmbedResult *result = g_atomic_rc_box_new0 (EmbedResult);

  result->data = g_bytes_new (row, pirl_embedder_size (network) * sizeof (gfloat));
  result->layer = g_strdup (pirl_embedder_layer (network));
  result->dimensions = g_strdup (pirl_embedder_dimensions (network));
  result->model = g_strdup (pirl_embedder_model (network));
  return result;
}

/* ---- batches ------------------------------------------------------------------------------ */

/* With the lock: the monotonic time at which a batch begins. */
static gint64
next_due (const EmbedEngine * self)
{
  gint64 due = G_MAXINT64;

  /* A single picture without a time is run by who waits for it. */
  if (self->settings.batch > 1 && self->waiting >= self->settings.batch)
    return 0;
  for (GList * l = self->lanes.head; l != NULL; l = l->next) {
    const EmbedLane *lane = l->data;
    const EmbedJob *first = lane->waiting.head->data;

    due = MIN (due, first->due);
  }
  return due;
}

/* With the lock: the pictures of the next batch, one of each lane in turn; returns how many. */
static guint
take_batch (EmbedEngine * self)
{
  guint n;

  for (n = 0; n < self->settings.batch && self->waiting > 0; n++) {
    EmbedLane *lane = g_queue_pop_head (&self->lanes);

    self->owners[n] = lane;
    self->running[n] = g_queue_pop_head (&lane->waiting);
    self->waiting--;
    lane->at_work++;
    if (!g_queue_is_empty (&lane->waiting))
      g_queue_push_tail (&self->lanes, lane);
    g_cond_broadcast (&lane->changed);
  }
  return n;
}

/* With the lock. */
static EmbedRun
describe_run (const EmbedEngine * self, guint n)
{
  EmbedRun run = {.number = ++runs,.pictures = n,.since = G_MAXINT64 };
  gint64 last = 0;

  for (guint i = 0; i < n; i++) {
    run.since = MIN (run.since, self->running[i]->due);
    last = MAX (last, self->running[i]->arrived);
    run.mixed |= self->owners[i] != self->owners[0];
  }
  if (n == self->settings.batch)
    run.since = MIN (run.since, last);
  return run;
}

void
embed_picture_release (EmbedPicture * picture)
{
  if (picture->release != NULL)
    picture->release (picture->keeper);
  picture->release = NULL;
}

static gboolean
is_surface (const EmbedJob * job)
{
  return job->picture.release != NULL;
}

/* Embeds @n pictures from @jobs on that are all in the host's memory or all in the device's. */
static gboolean
embed_alike (EmbedEngine * self, EmbedJob ** jobs, guint n, gfloat * rows, GError ** error)
{
  const gboolean surfaces = is_surface (jobs[0]);

  for (guint i = 0; i < n; i++)
    self->places[i] = surfaces ? (gconstpointer) & jobs[i]->picture.surface
        : &jobs[i]->picture.image;
  return surfaces ? pirl_embedder_run_surfaces (self->network,
      (const PirlSurface * const *) self->places, n, rows, error)
      : pirl_embedder_run (self->network, (const PirlImage * const *) self->places, n, rows,
      error);
}

/* One result each for the @n pictures of the batch. */
static gboolean
embed (EmbedEngine * self, guint n, EmbedResult ** results, GError ** error)
{
  const guint size = pirl_embedder_size (self->network);

  for (guint begin = 0, end; begin < n; begin = end) {
    EmbedJob **first = &self->running[begin];

    for (end = begin + 1; end < n; end++)
      if (is_surface (self->running[end]) != is_surface (*first))
        break;
    if (!embed_alike (self, first, end - begin, self->rows + (gsize) begin * size, error))
      return FALSE;
  }
  for (guint i = 0; i < n; i++)
    results[i] = embed_result_new (self->network, self->rows + (gsize) i * size);
  return TRUE;
}

/* With the lock, while nobody is at work; unlocks it while the network runs. */
static void
run_batch (EmbedEngine * self)
{
  const guint n = take_batch (self);
  EmbedRun run = describe_run (self, n);
  g_autofree EmbedResult **results = g_new0 (EmbedResult *, n);
  g_autoptr (GError) error = NULL;

  self->busy = TRUE;
  g_mutex_unlock (&embed_lock);
  run.begin = g_get_monotonic_time ();
  embed (self, n, results, &error);
  for (guint i = 0; i < n; i++)
    embed_picture_release (&self->running[i]->picture);
  run.end = g_get_monotonic_time ();
  run.error = error;
  g_mutex_lock (&embed_lock);
  self->busy = FALSE;
  for (guint i = 0; i < n; i++) {
    EmbedLane *lane = self->owners[i];

    lane->at_work--;
    lane->done (lane, self->running[i], results[i], &run);
    g_cond_broadcast (&lane->changed);
  }
  g_cond_broadcast (&self->changed);
  if (next_due (self) < G_MAXINT64)
    g_cond_signal (&self->work);
}

/* ---- the thread --------------------------------------------------------------------------- */

/* The name with which a device's description begins. */
static gchar *
device_name (const PirlEmbedder * network)
{
  const gchar *text = pirl_embedder_device (network);

  return g_strndup (text, strcspn (text, " "));
}

/* Loads the network and runs it once on a black picture: plans touch their memory then, and what
 * cannot run fails here. */
static PirlEmbedder *
load (EmbedEngine * self, GError ** error)
{
  const EmbedSettings *s = &self->settings;
  g_autoptr (PirlEmbedder) network = NULL;
  PirlImage black;
  const PirlImage *pictures[] = { &black };
  gboolean works;
  gint64 begin;

  network = pirl_embedder_new (s->model_file, s->layer, s->device, s->precision, s->n_threads,
      s->batch, error);
  if (network == NULL)
    return NULL;
  self->rows = g_new (gfloat, (gsize) s->batch * pirl_embedder_size (network));
  pirl_image_init (&black, WARM_UP_SIDE, WARM_UP_SIDE);
  memset (black.data, 0, black.stride * black.height);
  begin = g_get_monotonic_time ();
  works = pirl_embedder_run (network, pictures, 1, self->rows, error);
  self->first = (g_get_monotonic_time () - begin) / (gdouble) G_USEC_PER_SEC;
  pirl_image_clear (&black);
  return works ? g_steal_pointer (&network) : NULL;
}

static gpointer
engine_main (gpointer data)
{
  EmbedEngine *self = data;
  GError *error = NULL;
  PirlEmbedder *network = load (self, &error);

  g_mutex_lock (&embed_lock);
  self->network = network;
  self->device = network != NULL ? device_name (network) : NULL;
  self->error = error;
  self->starting = FALSE;
  g_cond_broadcast (&self->changed);
  while (!self->stopping) {
    gint64 due = self->busy ? G_MAXINT64 : next_due (self);

    if (due <= g_get_monotonic_time ())
      run_batch (self);
    else if (due < G_MAXINT64)
      g_cond_wait_until (&self->work, &embed_lock, due);
    else
      g_cond_wait (&self->work, &embed_lock);
  }
  g_mutex_unlock (&embed_lock);
  return NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

/* What two elements must agree in besides the device, as text; NULL: there is no such file. */
static gchar *
key_of (const EmbedSettings * s, const gchar * path)
{
  GStatBuf file;

  if (g_stat (path, &file) != 0)
    return NULL;
  return g_strdup_printf ("%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT
      " %" G_GINT64_FORMAT ".%09ld %u %u\n%s\n%s", (guint64) file.st_dev,
      (guint64) file.st_ino, (guint64) file.st_size, (gint64) file.st_mtim.tv_sec,
      (long) file.st_mtim.tv_nsec, s->n_threads, s->batch, s->layer ? s->layer : "\n",
      s->precision ? s->precision : "");
}

/* With the lock. */
static EmbedEngine *
find_engine (const gchar * key, const gchar * device)
{
  for (GList * l = engines; l != NULL && key != NULL; l = l->next) {
    EmbedEngine *engine = l->data;

    if (g_strcmp0 (engine->key, key) == 0 && (g_strcmp0 (engine->settings.device, device) == 0
            || g_strcmp0 (engine->device, device) == 0))
      return engine;
  }
  return NULL;
}

/* With the lock. Takes @key. */
static EmbedEngine *
engine_new (const EmbedSettings * settings, const gchar * path, gchar * key)
{
  EmbedEngine *self = g_new0 (EmbedEngine, 1);

  self->key = key;
  self->settings.model_file = g_strdup (path);
  self->settings.layer = g_strdup (settings->layer);
  self->settings.device = g_strdup (settings->device);
  self->settings.precision = g_strdup (settings->precision);
  self->settings.n_threads = settings->n_threads;
  self->settings.batch = settings->batch;
  self->places = g_new (gconstpointer, settings->batch);
  self->running = g_new (EmbedJob *, settings->batch);
  self->owners = g_new (EmbedLane *, settings->batch);
  g_queue_init (&self->lanes);
  g_cond_init (&self->work);
  g_cond_init (&self->changed);
  self->starting = TRUE;
  engines = g_list_prepend (engines, self);
  self->thread = g_thread_new ("pirlembed", engine_main, self);
  return self;
}

static void
engine_free (EmbedEngine * self)
{
  g_thread_join (self->thread);
  pirl_embedder_free (self->network);
  embed_settings_clear (&self->settings);
  g_clear_error (&self->error);
  g_cond_clear (&self->work);
  g_cond_clear (&self->changed);
  g_free (self->places);
  g_free (self->rows);
  g_free (self->running);
  g_free (self->owners);
  g_free (self->key);
  g_free (self->device);
  g_free (self);
}

EmbedEngine *
embed_engine_get (const EmbedSettings * settings, const gchar * path, GError ** error)
{
  gchar *key = key_of (settings, path);
  EmbedEngine *self;

  g_mutex_lock (&embed_lock);
  self = find_engine (key, settings->device);
  if (self != NULL)
    g_free (key);
  else
    self = engine_new (settings, path, key);
  self->streams++;
  while (self->starting)
    g_cond_wait (&self->changed, &embed_lock);
  if (self->network == NULL)
    g_propagate_error (error, g_error_copy (self->error));
  g_mutex_unlock (&embed_lock);
  if (self->network != NULL)
    return self;
  embed_engine_unref (self);
  return NULL;
}

void
embed_engine_unref (EmbedEngine * self)
{
  gboolean last;

  g_mutex_lock (&embed_lock);
  last = --self->streams == 0;
  if (last) {
    engines = g_list_remove (engines, self);
    self->stopping = TRUE;
    g_cond_signal (&self->work);
  }
  g_mutex_unlock (&embed_lock);
  if (last)
    engine_free (self);
}

const gchar *
embed_engine_device (const EmbedEngine * self)
{
  return self->device;
}

const PirlEmbedder *
embed_engine_network (const EmbedEngine * self)
{
  return self->network;
}

gdouble
embed_engine_first (const EmbedEngine * self)
{
  return self->first;
}

/* ---- the streams' side -------------------------------------------------------------------- */

guint
embed_engine_streams (const EmbedEngine * self)
{
  return self->streams;
}

void
embed_engine_add (EmbedEngine * self, EmbedLane * lane, EmbedJob * job, gint64 due)
{
  const gint64 before = next_due (self);

  job->arrived = g_get_monotonic_time ();
  job->due = due;
  if (g_queue_is_empty (&lane->waiting))
    g_queue_push_tail (&self->lanes, lane);
  g_queue_push_tail (&lane->waiting, job);
  self->waiting++;
  if (next_due (self) < before)
    g_cond_signal (&self->work);
}

void
embed_engine_hurry (EmbedEngine * self, EmbedLane * lane)
{
  gint64 now = g_get_monotonic_time ();

  for (GList * l = lane->waiting.head; l != NULL; l = l->next) {
    EmbedJob *job = l->data;

    job->due = MIN (job->due, now);
  }
  g_cond_signal (&self->work);
}

void
embed_engine_drop (EmbedEngine * self, EmbedLane * lane)
{
  EmbedJob *job;

  g_queue_remove (&self->lanes, lane);
  while ((job = g_queue_pop_head (&lane->waiting)) != NULL) {
    self->waiting--;
    embed_picture_release (&job->picture);
    lane->done (lane, job, NULL, NULL);
  }
  g_cond_broadcast (&lane->changed);
}

void
embed_engine_work (EmbedEngine * self)
{
  if (self->busy || self->waiting == 0)
    g_cond_wait (&self->changed, &embed_lock);
  else
    run_batch (self);
}

void
embed_engine_wake (EmbedEngine * self)
{
  g_cond_broadcast (&self->changed);
}
