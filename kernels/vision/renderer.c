/* gst-pirl: the two views of a sample, rendered by several threads.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A sample is cut into tasks, which the caller and its helpers take one after another, in this
 * order:
 *
 *   bands of the image view: scale the rows and do what comes before the view's mean grey is needed
 *   patches
 *   bands again: do the rest
 *
 * The last ones wait for the first ones. Nobody can wait for long: those were all taken long ago,
 * by threads that wait for nothing, and the patches lie between. A view with steps for which rows
 * are not enough (blur, the photometric block) is finished as one task. Every task writes bytes of
 * its own that depend on nothing else, so the number of threads shows nowhere.
 */
#include "config.h"
#include "vision/colour-loops.h"
#include "vision/vision-private.h"

#define BANDS 4

/* A thread, or the caller. */
typedef struct {
  PirlRenderer *renderer;
  PirlResizer *resizer;
  GThread *thread;              /* NULL: the caller */
} Hand;

struct _PirlRenderer {
  guint n_hands;
  Hand *hands;                  /* the first is the caller's */
  PirlResizer *image_plan, *patch_plan;

  /* Of the sample in work; written while no task is left. */
  const PirlPretextConfig *config;
  const PirlPretext *pretext;
  PirlImage image_crop, patch_crop, view;
  guint8 *patches;
  guint n_bands, n_patches, n_endings, n_tasks;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  guint next, n_begun, n_done;  /* tasks taken, bands that are scaled, tasks done */
  guint64 grey;                 /* sum over the bands */
  gboolean quit;
};

/* ---- tasks -------------------------------------------------------------------------------- */

static gint
top_of (const PirlImage *view, guint i, guint n)
{
  return (gint) ((guint) view->height * i / n);
}

/* The @i-th of @n bands of rows. */
static PirlImage
band_of (const PirlImage *view, guint i, guint n)
{
  const gint top = top_of (view, i, n);

  return (PirlImage) { view->width, top_of (view, i + 1, n) - top, view->stride,
    view->data + top * view->stride };
}

static void
begin_band (PirlRenderer *self, Hand *hand, guint i)
{
  PirlImage rows = band_of (&self->view, i, self->n_bands);
  guint64 grey;

  pirl_resizer_render (hand->resizer, self->image_plan, &self->image_crop, 0,
      top_of (&self->view, i, self->n_bands), &rows);
  grey = pirl_colour_begin (pirl_colour_loops (), &self->pretext->image_colour, &rows);
  g_mutex_lock (&self->lock);
  self->grey += grey;
  self->n_begun++;
  g_mutex_unlock (&self->lock);
}

/* All bands have begun by now, so that the grey stands. */
static void
end_band (PirlRenderer *self, guint i)
{
  PirlImage rows = band_of (&self->view, i, self->n_endings);

  pirl_colour_end (pirl_colour_loops (), &self->pretext->image_colour, self->grey, &self->view,
      &rows);
}

static void
run_task (PirlRenderer *self, Hand *hand, guint i)
{
  if (i < self->n_bands)
    begin_band (self, hand, i);
  else if (i < self->n_bands + self->n_patches)
    pirl_pretext_render_patch (self->config, self->pretext, hand->resizer, self->patch_plan,
        &self->patch_crop, i - self->n_bands, self->patches);
  else
    end_band (self, i - self->n_bands - self->n_patches);
}

/* ---- hands -------------------------------------------------------------------------------- */

/* Takes tasks until none is left. With the lock held, which it lets go while it works. */
static void
work (PirlRenderer *self, Hand *hand)
{
  while (self->next < self->n_tasks) {
    const guint task = self->next++;

    while (task >= self->n_bands + self->n_patches && self->n_begun < self->n_bands)
      g_cond_wait (&self->changed, &self->lock);
    g_mutex_unlock (&self->lock);
    run_task (self, hand, task);
    g_mutex_lock (&self->lock);
    self->n_done++;
    if (self->n_done == self->n_tasks || task < self->n_bands)
      g_cond_broadcast (&self->changed);
  }
}

static gpointer
help (gpointer data)
{
  Hand *hand = data;
  PirlRenderer *self = hand->renderer;

  g_mutex_lock (&self->lock);
  while (!self->quit) {
    if (self->next < self->n_tasks)
      work (self, hand);
    else
      g_cond_wait (&self->changed, &self->lock);
  }
  g_mutex_unlock (&self->lock);
  return NULL;
}

/* ---- the renderer ------------------------------------------------------------------------- */

PirlRenderer *
pirl_renderer_new (guint n_threads, GError **error)
{
  PirlRenderer *self = g_new0 (PirlRenderer, 1);

  self->n_hands = MAX (n_threads, 1);
  self->hands = g_new0 (Hand, self->n_hands);
  self->image_plan = pirl_resizer_new ();
  self->patch_plan = pirl_resizer_new ();
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  for (guint i = 0; i < self->n_hands; i++) {
    Hand *hand = &self->hands[i];

    hand->renderer = self;
    hand->resizer = pirl_resizer_new ();
    if (i > 0 && !(hand->thread = g_thread_try_new ("pirl-views", help, hand, error))) {
      g_prefix_error (error, "cannot start thread %u of %u for the views: ", i + 1, n_threads);
      pirl_renderer_free (self);
      return NULL;
    }
  }
  return self;
}

void
pirl_renderer_free (PirlRenderer *self)
{
  if (!self)
    return;
  g_mutex_lock (&self->lock);
  self->quit = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  for (guint i = 0; i < self->n_hands; i++) {
    if (self->hands[i].thread)
      g_thread_join (self->hands[i].thread);
    pirl_resizer_free (self->hands[i].resizer);
  }
  g_free (self->hands);
  pirl_resizer_free (self->image_plan);
  pirl_resizer_free (self->patch_plan);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

static void
prepare_image (PirlRenderer *self, const PirlImage *src, guint8 *data)
{
  const gint size = self->config->image_size;
  /* Bands of less than a row are none. */
  const guint most = MIN (self->n_hands > 1 ? BANDS : 1, (guint) size);

  self->n_bands = self->n_endings = 0;
  if (!data)
    return;
  self->view = (PirlImage) { size, size, 3 * (gsize) size, data };
  self->image_crop = pirl_image_crop (src, &self->pretext->image_crop);
  self->n_bands = most;
  self->n_endings = pirl_colour_by_rows (&self->pretext->image_colour) ? most : 1;
  pirl_resizer_plan (self->image_plan, &self->image_crop, size, size);
}

static void
prepare_patches (PirlRenderer *self, const PirlImage *src, guint8 *data)
{
  const PirlPretextConfig *config = self->config;

  self->patches = data;
  self->n_patches = data ? config->grid * config->grid : 0;
  if (!data)
    return;
  self->patch_crop = pirl_image_crop (src, &self->pretext->patch_crop);
  pirl_resizer_plan (self->patch_plan, &self->patch_crop, config->crop_size, config->crop_size);
}

void
pirl_renderer_run (PirlRenderer *self, const PirlPretextConfig *config, const PirlPretext *pretext,
    const PirlImage *src, guint8 *image, guint8 *patches)
{
  g_mutex_lock (&self->lock);
  self->config = config;
  self->pretext = pretext;
  prepare_image (self, src, image);
  prepare_patches (self, src, patches);
  self->next = self->n_begun = self->n_done = 0;
  self->grey = 0;
  self->n_tasks = self->n_bands + self->n_patches + self->n_endings;
  if (self->n_hands > 1)
    g_cond_broadcast (&self->changed);
  work (self, &self->hands[0]);
  while (self->n_done < self->n_tasks)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
}
