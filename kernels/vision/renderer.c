/* gst-pirl: the two views of a sample, rendered by several threads.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A sample is cut into tasks, which the caller and its helpers take one after another, in this
 * order:
 *
 *   bands of the image view, and of a second view that is one picture: scale the rows and do what
 *     comes before the view's mean grey is needed
 *   patches
 *   bands again: do the rest; whoever does the last of a view turns it
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

/* A view in bands. */
typedef struct {
  /* Of the sample in work; written while no task is left. */
  PirlView view;
  PirlResizer *plan;
  PirlImage crop, picture;
  guint n_bands, n_endings;     /* 0: there is none */
  /* Under the lock. */
  guint n_begun, n_ended;
  guint64 grey;                 /* sum over the bands */
} Whole;

enum { IMAGE, SECOND, N_WHOLES };

struct _PirlRenderer {
  guint n_hands;
  Hand *hands;                  /* the first is the caller's */

  /* Of the sample in work; written while no task is left. */
  Whole whole[N_WHOLES];
  PirlView patch[PIRL_MAX_PATCHES];
  PirlResizer *patch_plan;
  guint8 *patches;
  guint n_patches, n_tasks;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  guint next, n_done;           /* tasks taken, tasks done */
  gboolean quit;
};

/* ---- tasks -------------------------------------------------------------------------------- */

typedef struct {
  Whole *whole;                 /* NULL: a patch */
  gboolean ending;
  guint i;                      /* band or patch */
} Task;

static Task
nth_task (PirlRenderer *self, guint i)
{
  for (guint w = 0; w < N_WHOLES; i -= self->whole[w++].n_bands)
    if (i < self->whole[w].n_bands)
      return (Task) { &self->whole[w], FALSE, i };
  if (i < self->n_patches)
    return (Task) { NULL, FALSE, i };
  i -= self->n_patches;
  if (i < self->whole[IMAGE].n_endings)
    return (Task) { &self->whole[IMAGE], TRUE, i };
  return (Task) { &self->whole[SECOND], TRUE, i - self->whole[IMAGE].n_endings };
}

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
begin_band (PirlRenderer *self, Hand *hand, Whole *whole, guint i)
{
  PirlImage rows = band_of (&whole->picture, i, whole->n_bands);
  guint64 grey;

  pirl_resizer_render (hand->resizer, whole->plan, &whole->crop, whole->view.left,
      whole->view.top + top_of (&whole->picture, i, whole->n_bands), &rows);
  grey = pirl_colour_begin (pirl_colour_loops (), &whole->view.colour, &rows);
  g_mutex_lock (&self->lock);
  whole->grey += grey;
  whole->n_begun++;
  g_mutex_unlock (&self->lock);
}

/* All bands have begun by now, so that the grey stands. */
static void
end_band (PirlRenderer *self, Whole *whole, guint i)
{
  PirlImage rows = band_of (&whole->picture, i, whole->n_endings);
  gboolean last;

  pirl_colour_end (pirl_colour_loops (), &whole->view.colour, whole->grey, &whole->picture,
      &rows);
  g_mutex_lock (&self->lock);
  last = ++whole->n_ended == whole->n_endings;
  g_mutex_unlock (&self->lock);
  if (last)
    pirl_image_turn (&whole->picture, whole->view.turns);
}

static void
render_patch (PirlRenderer *self, Hand *hand, guint i)
{
  const PirlView *view = &self->patch[i];

  pirl_view_render (view, hand->resizer, self->patch_plan,
      self->patches + 3 * (gsize) i * view->size * view->size);
}

static void
run_task (PirlRenderer *self, Hand *hand, const Task *task)
{
  if (task->whole == NULL)
    render_patch (self, hand, task->i);
  else if (task->ending)
    end_band (self, task->whole, task->i);
  else
    begin_band (self, hand, task->whole, task->i);
}

/* ---- hands -------------------------------------------------------------------------------- */

/* Takes tasks until none is left. With the lock held, which it lets go while it works. */
static void
work (PirlRenderer *self, Hand *hand)
{
  while (self->next < self->n_tasks) {
    const Task task = nth_task (self, self->next++);

    while (task.ending && task.whole->n_begun < task.whole->n_bands)
      g_cond_wait (&self->changed, &self->lock);
    g_mutex_unlock (&self->lock);
    run_task (self, hand, &task);
    g_mutex_lock (&self->lock);
    self->n_done++;
    if (self->n_done == self->n_tasks || (task.whole != NULL && !task.ending))
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
  for (guint w = 0; w < N_WHOLES; w++)
    self->whole[w].plan = pirl_resizer_new ();
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
  for (guint w = 0; w < N_WHOLES; w++)
    pirl_resizer_free (self->whole[w].plan);
  pirl_resizer_free (self->patch_plan);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

/* @whole->view stands, unless @data is NULL: then there is none. */
static void
prepare_whole (PirlRenderer *self, Whole *whole, guint8 *data)
{
  const PirlView *view = &whole->view;
  /* Bands of less than a row are none. */
  const guint most = MIN (self->n_hands > 1 ? BANDS : 1, (guint) view->size);

  whole->n_bands = whole->n_endings = whole->n_begun = whole->n_ended = 0;
  whole->grey = 0;
  if (!data)
    return;
  whole->picture = (PirlImage) { view->size, view->size, 3 * (gsize) view->size, data };
  whole->crop = pirl_view_crop (view);
  whole->n_bands = most;
  whole->n_endings = pirl_colour_by_rows (&view->colour) ? most : 1;
  pirl_resizer_plan (whole->plan, &whole->crop, view->scaled, view->scaled);
}

static void
prepare_patches (PirlRenderer *self, guint n, guint8 *data)
{
  const PirlView *view = self->patch;
  PirlImage crop;

  self->patches = data;
  self->n_patches = data ? n : 0;
  if (!data)
    return;
  crop = pirl_view_crop (view);
  pirl_resizer_plan (self->patch_plan, &crop, view->scaled, view->scaled);
}

void
pirl_renderer_run (PirlRenderer *self, const PirlPretextConfig *config, const PirlPretext *pretext,
    const PirlImage *src, guint8 *image, guint8 *patches)
{
  const guint cells = config->grid * config->grid;
  Whole *whole = self->whole;

  g_mutex_lock (&self->lock);
  pirl_pretext_views (config, pretext, src, &whole[IMAGE].view, patches ? self->patch : NULL);
  whole[SECOND].view = self->patch[0];
  prepare_whole (self, &whole[IMAGE], image);
  prepare_whole (self, &whole[SECOND], cells == 1 ? patches : NULL);
  prepare_patches (self, cells, cells == 1 ? NULL : patches);
  self->next = self->n_done = 0;
  self->n_tasks = self->n_patches;
  for (guint w = 0; w < N_WHOLES; w++)
    self->n_tasks += whole[w].n_bands + whole[w].n_endings;
  if (self->n_hands > 1)
    g_cond_broadcast (&self->changed);
  work (self, &self->hands[0]);
  while (self->n_done < self->n_tasks)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
}
