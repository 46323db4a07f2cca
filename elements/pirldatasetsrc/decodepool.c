/* gst-pirl: decodes samples on several threads, in order (see decodepool.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Jobs have serial numbers: head is the oldest not given out, next the first that no worker has
 * taken, tail the first free. A flush moves all three past every slot in use, so that a
 * worker that comes back late finds another serial in its slot and drops what it has.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "decodepool.h"
#include "blocks.h"

#include <gst/video/video.h>
#include <string.h>

#define MAX_DOWNSTREAM 32       /* pictures that downstream may hold and give back all at once */

typedef struct {
  guint64 serial;
  gboolean done;
  GstPirlDecoded decoded;
} Slot;

struct _GstPirlDecodePool {
  GstPirlListing *listing;
  GstPirlBlocks *blocks;
  GstPirlDecodeSettings settings;
  GThread **threads;
  GMutex lock;
  GCond work, done;
  Slot *slots;
  guint n_slots;
  guint64 head, next, tail;
  gboolean interrupted, quit;
};

void
gst_pirl_decoded_clear (GstPirlDecoded * decoded)
{
  gst_clear_buffer (&decoded->buffer);
  g_clear_error (&decoded->error);
}

/* ---- workers ------------------------------------------------------------------------------- */

typedef struct {
  const GstPirlDecodePool *pool;
  GstPirlDecoded *decoded;      /* in work */
  GstPirlBlocks *blocks;
  GstPirlBlock *block;          /* what the picture in work lies in */
  GstPirlReader reader;
  PirlResizer *resizer;
} Worker;

/* PirlImageStorage: rows in a block as GStreamer lays out RGB, each beginning at a multiple of four
 * bytes. */
static gboolean
take_block (PirlImage * image, gint width, gint height, gpointer data)
{
  Worker *worker = data;
  gsize stride = GST_ROUND_UP_4 (3 * (gsize) width);

  worker->block = gst_pirl_blocks_take (worker->blocks, stride * height);
  if (worker->block == NULL)
    return FALSE;
  *image = (PirlImage) { width, height, stride, gst_pirl_block_data (worker->block) };
  return TRUE;
}

/* PirlChooseRegion. */
static gboolean
choose_region (gint width, gint height, PirlRegion * region, gpointer data)
{
  const Worker *worker = data;
  const GstPirlDecodeSettings *settings = &worker->pool->settings;

  worker->decoded->region.full_width = width;
  worker->decoded->region.full_height = height;
  return settings->choose (&worker->decoded->job, width, height, region, settings->data);
}

/* What fills up the rows is in nobody's picture, but must not be somebody else's. */
static void
clear_padding (const PirlImage * image)
{
  gsize row = 3 * (gsize) image->width;

  for (gint y = 0; row < image->stride && y < image->height; y++)
    memset (image->data + y * image->stride + row, 0, image->stride - row);
}

/* The size that @image shall leave with. */
static void
wanted_size (const GstPirlDecodeSettings * settings, const PirlImage * image, gint * width,
    gint * height)
{
  gint longer = MAX (image->width, image->height);

  *width = image->width;
  *height = image->height;
  if (settings->size > 0) {
    *width = *height = settings->size;
  } else if (settings->max_size > 0 && longer > settings->max_size) {
    *width = MAX (1, (gint) gst_util_uint64_scale_round (*width, settings->max_size, longer));
    *height = MAX (1, (gint) gst_util_uint64_scale_round (*height, settings->max_size, longer));
  }
}

/* Scales the picture to the size that it shall leave with, into another block. */
static gboolean
fit (Worker * worker, PirlImage * image)
{
  const GstPirlDecodeSettings *settings = &worker->pool->settings;
  g_autoptr (GstPirlBlock) block = NULL;
  const PirlImage whole = *image;
  gint width, height;

  wanted_size (settings, &whole, &width, &height);
  if (width == whole.width && height == whole.height)
    return TRUE;
  block = g_steal_pointer (&worker->block);
  if (!take_block (image, width, height, worker))
    return FALSE;
  if (settings->size > 0)
    pirl_resize_center_crop (worker->resizer, &whole, settings->size, settings->size, image);
  else
    pirl_resize (worker->resizer, &whole, 0, 0, whole.width, whole.height, image);
  return TRUE;
}

/* Says which region is in @image, where it is not a whole picture. */
static void
tell_region (const PirlImage * image, gint divisor, GstPirlDecoded * decoded)
{
  GstPirlRegion *region = &decoded->region;

  decoded->is_region = image->whole_width > 0;
  if (!decoded->is_region)
    return;
  /* @region has the picture's full size since it was chosen. */
  region->divisor = divisor;
  region->box.x = image->x * divisor;
  region->box.y = image->y * divisor;
  region->box.width = MIN (image->width * divisor, region->full_width - region->box.x);
  region->box.height = MIN (image->height * divisor, region->full_height - region->box.y);
}

static void
decode (Worker * worker, GstPirlDecoded * decoded)
{
  PirlDecodeInfo info;
  PirlImage image;

  worker->decoded = decoded;
  if (gst_pirl_listing_load (worker->pool->listing, decoded->job.index, &worker->reader, &image, &info,
          &decoded->error)) {
    if (fit (worker, &image)) {
      clear_padding (&image);
      tell_region (&image, info.divisor, decoded);
      decoded->width = image.width;
      decoded->height = image.height;
      decoded->truncated = info.truncated;
      decoded->buffer = gst_pirl_block_to_buffer (g_steal_pointer (&worker->block),
          image.stride * image.height);
    } else {
      g_set_error (&decoded->error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
          "no memory for a picture of %d x %d", image.width, image.height);
    }
  }
  g_clear_pointer (&worker->block, gst_pirl_block_release);
}

static gpointer
worker_main (gpointer data)
{
  GstPirlDecodePool *pool = data;
  Worker worker = {.pool = pool,.blocks = pool->blocks,.resizer = pirl_resizer_new () };

  worker.reader.options.storage = take_block;
  worker.reader.options.storage_data = &worker;
  if (pool->settings.choose && pool->settings.size == 0 && pool->settings.max_size == 0) {
    worker.reader.options.choose = choose_region;
    worker.reader.options.choose_data = &worker;
  }

  g_mutex_lock (&pool->lock);
  while (!pool->quit) {
    GstPirlDecoded decoded = { 0 };
    guint64 serial = pool->next;
    Slot *slot = &pool->slots[serial % pool->n_slots];

    if (serial == pool->tail) {
      g_cond_wait (&pool->work, &pool->lock);
      continue;
    }
    pool->next++;
    decoded.job = slot->decoded.job;
    g_mutex_unlock (&pool->lock);

    decode (&worker, &decoded);

    g_mutex_lock (&pool->lock);
    if (slot->serial == serial && serial >= pool->head) {
      slot->decoded = decoded;
      slot->done = TRUE;
      /* Nobody waits for another one. */
      if (serial == pool->head)
        g_cond_signal (&pool->done);
    } else {
      gst_pirl_decoded_clear (&decoded);
    }
  }
  g_mutex_unlock (&pool->lock);
  gst_pirl_reader_clear (&worker.reader);
  pirl_resizer_free (worker.resizer);
  return NULL;
}

/* ---- owner --------------------------------------------------------------------------------- */

GstPirlDecodePool *
gst_pirl_decode_pool_new (GstPirlListing * listing, const GstPirlDecodeSettings * settings)
{
  const guint n_threads = settings->n_threads;
  GstPirlDecodePool *pool = g_new0 (GstPirlDecodePool, 1);

  pool->listing = gst_pirl_listing_ref (listing);
  pool->settings = *settings;
  pool->n_slots = 2 * n_threads + 2;
  pool->slots = g_new0 (Slot, pool->n_slots);
  pool->blocks = gst_pirl_blocks_new (pool->n_slots + MAX_DOWNSTREAM);
  g_mutex_init (&pool->lock);
  g_cond_init (&pool->work);
  g_cond_init (&pool->done);
  pool->threads = g_new0 (GThread *, n_threads);
  for (guint i = 0; i < n_threads; i++)
    pool->threads[i] = g_thread_new ("pirl-decode", worker_main, pool);
  return pool;
}

void
gst_pirl_decode_pool_free (GstPirlDecodePool * pool)
{
  g_mutex_lock (&pool->lock);
  pool->quit = TRUE;
  g_cond_broadcast (&pool->work);
  g_mutex_unlock (&pool->lock);
  for (guint i = 0; i < pool->settings.n_threads; i++)
    g_thread_join (pool->threads[i]);
  for (guint i = 0; i < pool->n_slots; i++)
    gst_pirl_decoded_clear (&pool->slots[i].decoded);
  g_mutex_clear (&pool->lock);
  g_cond_clear (&pool->work);
  g_cond_clear (&pool->done);
  g_free (pool->threads);
  g_free (pool->slots);
  gst_pirl_blocks_close (pool->blocks);
  gst_pirl_listing_unref (pool->listing);
  g_free (pool);
}

gboolean
gst_pirl_decode_pool_has_room (GstPirlDecodePool * pool)
{
  gboolean room;

  g_mutex_lock (&pool->lock);
  room = pool->tail - pool->head < pool->n_slots;
  g_mutex_unlock (&pool->lock);
  return room;
}

gboolean
gst_pirl_decode_pool_is_empty (GstPirlDecodePool * pool)
{
  gboolean empty;

  g_mutex_lock (&pool->lock);
  empty = pool->tail == pool->head;
  g_mutex_unlock (&pool->lock);
  return empty;
}

void
gst_pirl_decode_pool_push (GstPirlDecodePool * pool, const GstPirlJob * job)
{
  Slot *slot;

  g_mutex_lock (&pool->lock);
  slot = &pool->slots[pool->tail % pool->n_slots];
  memset (&slot->decoded, 0, sizeof (slot->decoded));
  slot->decoded.job = *job;
  slot->serial = pool->tail++;
  slot->done = FALSE;
  g_cond_signal (&pool->work);
  g_mutex_unlock (&pool->lock);
}

gboolean
gst_pirl_decode_pool_pop (GstPirlDecodePool * pool, GstPirlDecoded * decoded)
{
  gboolean popped = FALSE;
  Slot *slot;

  g_mutex_lock (&pool->lock);
  slot = &pool->slots[pool->head % pool->n_slots];
  while (!pool->interrupted && !slot->done)
    g_cond_wait (&pool->done, &pool->lock);
  if (!pool->interrupted) {
    *decoded = slot->decoded;
    memset (&slot->decoded, 0, sizeof (slot->decoded));
    slot->done = FALSE;
    pool->head++;
    popped = TRUE;
  }
  g_mutex_unlock (&pool->lock);
  return popped;
}

void
gst_pirl_decode_pool_set_interrupted (GstPirlDecodePool * pool, gboolean interrupted)
{
  g_mutex_lock (&pool->lock);
  pool->interrupted = interrupted;
  g_cond_broadcast (&pool->done);
  g_mutex_unlock (&pool->lock);
}

void
gst_pirl_decode_pool_flush (GstPirlDecodePool * pool)
{
  g_mutex_lock (&pool->lock);
  for (guint i = 0; i < pool->n_slots; i++) {
    gst_pirl_decoded_clear (&pool->slots[i].decoded);
    pool->slots[i].done = FALSE;
  }
  pool->head = pool->next = pool->tail;
  g_mutex_unlock (&pool->lock);
}
