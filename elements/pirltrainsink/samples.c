/* gst-pirl: samples on their way into a batch (see samples.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "samples.h"

#include "pretext.h"

#include <gst/video/video.h>
#include <string.h>

/* ---- queue -------------------------------------------------------------------------------- */

void
gst_pirl_sample_queue_init (GstPirlSampleQueue * queue, guint capacity)
{
  queue->ring = g_new0 (GstPirlQueuedSample, capacity);
  queue->capacity = capacity;
  queue->head = queue->length = 0;
}

void
gst_pirl_sample_queue_clear (GstPirlSampleQueue * queue)
{
  gst_pirl_sample_queue_flush (queue);
  g_clear_pointer (&queue->ring, g_free);
}

guint
gst_pirl_sample_queue_flush (GstPirlSampleQueue * queue)
{
  guint n = queue->length;

  while (queue->length > 0)
    gst_buffer_unref (gst_pirl_sample_queue_pop (queue).buffer);
  return n;
}

void
gst_pirl_sample_queue_push (GstPirlSampleQueue * queue, const GstPirlQueuedSample * sample)
{
  g_return_if_fail (queue->length < queue->capacity);
  queue->ring[(queue->head + queue->length++) % queue->capacity] = *sample;
}

GstPirlQueuedSample
gst_pirl_sample_queue_pop (GstPirlSampleQueue * queue)
{
  GstPirlQueuedSample sample = queue->ring[queue->head];

  queue->head = (queue->head + 1) % queue->capacity;
  queue->length--;
  return sample;
}

const GstPirlQueuedSample *
gst_pirl_sample_queue_peek (const GstPirlSampleQueue * queue)
{
  return queue->length > 0 ? &queue->ring[queue->head] : NULL;
}

guint
gst_pirl_sample_queue_leading (const GstPirlSampleQueue * queue, guint limit)
{
  guint n = 0;

  while (n < limit && n < queue->length
      && queue->ring[(queue->head + n) % queue->capacity].epoch == queue->ring[queue->head].epoch)
    n++;
  return n;
}

/* ---- batch -------------------------------------------------------------------------------- */

void
gst_pirl_sample_batch_init (GstPirlSampleBatch * batch, guint size,
    PirlObjective objective)
{
  memset (batch, 0, sizeof (*batch));
  batch->size = size;
  batch->objective = objective;
  batch->samples = g_new0 (GstPirlQueuedSample, size);
  batch->maps = g_new0 (GstMapInfo, 2 * size);
  batch->images = g_new0 (const guint8 *, size);
  batch->patches = g_new0 (const guint8 *, size);
  batch->rows = g_new0 (guint32, size);
  batch->labels = g_new0 (gint, size);
  batch->targets = g_new0 (gint, size);
}

void
gst_pirl_sample_batch_clear (GstPirlSampleBatch * batch)
{
  gst_pirl_sample_batch_drop (batch);
  g_clear_pointer (&batch->samples, g_free);
  g_clear_pointer (&batch->maps, g_free);
  g_clear_pointer (&batch->images, g_free);
  g_clear_pointer (&batch->patches, g_free);
  g_clear_pointer (&batch->image_views, g_free);
  g_clear_pointer (&batch->patch_views, g_free);
  g_clear_pointer (&batch->rows, g_free);
  g_clear_pointer (&batch->labels, g_free);
  g_clear_pointer (&batch->targets, g_free);
}

void
gst_pirl_sample_batch_take (GstPirlSampleBatch * batch, GstPirlSampleQueue * queue)
{
  while (batch->n < batch->size)
    batch->samples[batch->n++] = gst_pirl_sample_queue_pop (queue);
}

void
gst_pirl_sample_batch_drop (GstPirlSampleBatch * batch)
{
  gst_pirl_sample_batch_unmap (batch);
  while (batch->n > 0)
    gst_buffer_unref (batch->samples[--batch->n].buffer);
}

void
gst_pirl_sample_batch_unmap (GstPirlSampleBatch * batch)
{
  while (batch->n_maps > 0) {
    GstMapInfo *map = &batch->maps[--batch->n_maps];
    GstMemory *memory = map->memory;

    gst_memory_unmap (memory, map);
    gst_memory_unref (memory);
  }
}

/* Maps @memory, which it takes; NULL when that is not possible. */
static const GstMapInfo *
map_memory (GstPirlSampleBatch * batch, GstMemory * memory)
{
  GstMapInfo *map = &batch->maps[batch->n_maps];

  if (!gst_memory_map (memory, map, GST_MAP_READ)) {
    gst_memory_unref (memory);
    return NULL;
  }
  batch->n_maps++;
  return map;
}

/* Maps memory @nth of @buffer; NULL when it does not hold @size bytes. */
static const guint8 *
map_view (GstPirlSampleBatch * batch, GstBuffer * buffer, guint nth, gsize size)
{
  const GstMapInfo *map = map_memory (batch, gst_buffer_get_memory (buffer, nth));

  return map && map->size == size ? map->data : NULL;
}

/* Two memories, one a view, as the caps promise; an element that merges them is put up with. */
static gboolean
map_sample (GstPirlSampleBatch * batch, guint i, const GstPirlViews * views, GError ** error)
{
  GstBuffer *buffer = batch->samples[i].buffer;
  const gsize image = (gsize) 3 * views->image * views->image;
  const gsize patches = (gsize) 3 * views->patches * views->patch * views->patch;

  if (gst_buffer_n_memory (buffer) == 2) {
    batch->images[i] = map_view (batch, buffer, 0, image);
    batch->patches[i] = map_view (batch, buffer, 1, patches);
  } else if (gst_buffer_n_memory (buffer) == 1) {
    batch->images[i] = map_view (batch, buffer, 0, image + patches);
    batch->patches[i] = batch->images[i] ? batch->images[i] + image : NULL;
  } else {
    batch->images[i] = batch->patches[i] = NULL;
  }
  if (batch->images[i] && batch->patches[i])
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT,
      "a buffer of %u memories and %" G_GSIZE_FORMAT " bytes is not the two views of the caps, "
      "which have %" G_GSIZE_FORMAT " and %" G_GSIZE_FORMAT " bytes",
      gst_buffer_n_memory (buffer), gst_buffer_get_size (buffer), image, patches);
  return FALSE;
}

/* The frame's pixels as its GstVideoMeta says. */
static gboolean
map_frame (GstPirlSampleBatch * batch, GstBuffer * buffer, PirlImage * image, GError ** error)
{
  const GstVideoMeta *video = gst_buffer_get_video_meta (buffer);
  const GstMapInfo *map;

  if (video != NULL && video->format == GST_VIDEO_FORMAT_RGB && video->stride[0] > 0
      && (map = map_memory (batch, gst_buffer_get_all_memory (buffer))) != NULL
      && map->size >= video->offset[0] + (gsize) video->stride[0] * (video->height - 1)
      + 3 * (gsize) video->width) {
    *image = (PirlImage) { video->width, video->height, video->stride[0],
      map->data + video->offset[0] };
    return TRUE;
  }
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "a buffer of %" G_GSIZE_FORMAT " bytes is not "
      "the RGB frame that its caps and its GstVideoMeta say", gst_buffer_get_size (buffer));
  return FALSE;
}

static gboolean
box_fits (const PirlBox * box, const PirlImage * image)
{
  return box->x >= 0 && box->y >= 0 && box->width > 0 && box->height > 0
      && box->width <= image->width - box->x && box->height <= image->height - box->y;
}

/* The recipes of sample @i: they point into its frame. */
static gboolean
map_recipes (GstPirlSampleBatch * batch, guint i, const GstPirlViews * views, GError ** error)
{
  GstBuffer *buffer = batch->samples[i].buffer;
  PirlPretextConfig config;
  PirlPretext pretext;
  PirlImage image;

  if (!gst_pirl_pretext_get (buffer, &config, &pretext, error)
      || !map_frame (batch, buffer, &image, error))
    return FALSE;
  if (config.transform != views->transform || config.image_size != views->image
      || config.patch_size != views->patch || config.grid * config.grid != views->patches
      || !box_fits (&pretext.image_crop, &image)
      || !box_fits (&pretext.patch_crop, &image)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "the meta pirl-pretext of a frame of "
        "%d x %d is not about this frame, or not about these views", image.width, image.height);
    return FALSE;
  }
  pirl_pretext_views (&config, &pretext, &image, &batch->image_views[i],
      &batch->patch_views[(gsize) i * views->patches]);
  return TRUE;
}

static gboolean
map_any (GstPirlSampleBatch * batch, guint i, const GstPirlViews * views, GError ** error)
{
  return views->frames ? map_recipes (batch, i, views, error)
      : map_sample (batch, i, views, error);
}

static gboolean
find_row (GstPirlSampleBatch * batch, guint i, guint64 bank_rows, GError ** error)
{
  const GstPirlQueuedSample *sample = &batch->samples[i];

  if (!sample->ring && sample->index >= bank_rows) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "sample %" G_GUINT64_FORMAT " has no row in a memory bank of %" G_GUINT64_FORMAT " rows; "
        "set bank-size to the number of samples in the whole data set", sample->index, bank_rows);
    return FALSE;
  }
  batch->rows[i] = (guint32) (sample->index % bank_rows);
  return TRUE;
}

/* What has to be told about sample @i's second view. */
static gboolean
find_target (GstPirlSampleBatch * batch, guint i, GError ** error)
{
  gint permutation, turns;

  if (!gst_pirl_pretext_get_numbers (batch->samples[i].buffer, &permutation, &turns, error))
    return FALSE;
  batch->targets[i] = batch->objective == PIRL_OBJECTIVE_ROTATION ? turns : permutation;
  return TRUE;
}

/* What the objective wants to know besides the views. */
static gboolean
find_numbers (GstPirlSampleBatch * batch, guint i, guint64 bank_rows, GError ** error)
{
  batch->labels[i] = batch->samples[i].label;
  switch (batch->objective) {
    case PIRL_OBJECTIVE_PIRL:
    case PIRL_OBJECTIVE_NPID:
      return find_row (batch, i, bank_rows, error);
    case PIRL_OBJECTIVE_JIGSAW:
    case PIRL_OBJECTIVE_ROTATION:
      return find_target (batch, i, error);
    default:
      return TRUE;
  }
}

gboolean
gst_pirl_sample_batch_map (GstPirlSampleBatch * batch, const GstPirlViews * views,
    guint64 bank_rows, PirlBatch * mapped, GError ** error)
{
  if (views->frames && !batch->image_views) {
    batch->image_views = g_new (PirlView, batch->size);
    batch->patch_views = g_new (PirlView, (gsize) batch->size * views->patches);
  }
  for (guint i = 0; i < batch->n; i++) {
    if (!find_numbers (batch, i, bank_rows, error) || !map_any (batch, i, views, error)) {
      gst_pirl_sample_batch_unmap (batch);
      return FALSE;
    }
  }
  *mapped = (PirlBatch) {.rows = batch->rows,.labels = batch->labels,
    .targets = batch->targets,.epoch = batch->samples[0].epoch,.image_views = batch->image_views,
    .patch_views = batch->patch_views
  };
  if (!views->frames) {
    mapped->images = batch->images;
    mapped->patches = batch->patches;
  }
  return TRUE;
}
