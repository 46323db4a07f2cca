/* gst-pirl: memory for pictures that is used again (see blocks.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Blocks have sizes of powers of two, so that pictures of about the same size find each other's. What
 * no picture fills costs addresses, not memory: its pages are never touched.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "blocks.h"

#define MIN_SIZE 4096
#define MAX_WASTE 4             /* a block is at most so many times larger than asked for */
#define MAX_FREE_BYTES ((gsize) 64 << 20)

struct _GstPirlBlock {
  GstPirlBlocks *blocks;        /* a reference */
  gsize size;
  guint8 *data;
};

struct _GstPirlBlocks {
  gint ref_count;
  GMutex lock;
  GQueue free;                  /* last used first */
  guint max_free;
  gsize free_bytes;
};

static void
blocks_unref (GstPirlBlocks * blocks)
{
  if (!g_atomic_int_dec_and_test (&blocks->ref_count))
    return;
  g_mutex_clear (&blocks->lock);
  g_free (blocks);
}

static void
block_free (GstPirlBlock * block)
{
  blocks_unref (block->blocks);
  g_free (block->data);
  g_free (block);
}

GstPirlBlocks *
gst_pirl_blocks_new (guint max_free)
{
  GstPirlBlocks *blocks = g_new0 (GstPirlBlocks, 1);

  blocks->ref_count = 1;
  blocks->max_free = max_free;
  g_mutex_init (&blocks->lock);
  return blocks;
}

/* With the lock: takes the oldest free blocks out until there are no more than the bounds allow. */
static GList *
take_surplus (GstPirlBlocks * blocks)
{
  GList *surplus = NULL;

  while (blocks->free.length > blocks->max_free || blocks->free_bytes > MAX_FREE_BYTES) {
    GstPirlBlock *block = g_queue_pop_tail (&blocks->free);

    blocks->free_bytes -= block->size;
    surplus = g_list_prepend (surplus, block);
  }
  return surplus;
}

void
gst_pirl_blocks_close (GstPirlBlocks * blocks)
{
  GList *surplus;

  g_mutex_lock (&blocks->lock);
  blocks->max_free = 0;
  surplus = take_surplus (blocks);
  g_mutex_unlock (&blocks->lock);
  g_list_free_full (surplus, (GDestroyNotify) block_free);
  blocks_unref (blocks);
}

/* With the lock: of the free blocks that hold @size bytes and are not much larger, the one that was
 * used last; or NULL. */
static GstPirlBlock *
find_free (GstPirlBlocks * blocks, gsize size)
{
  for (GList * l = blocks->free.head; l != NULL; l = l->next) {
    GstPirlBlock *block = l->data;

    if (block->size < size || block->size / MAX_WASTE > size)
      continue;
    g_queue_delete_link (&blocks->free, l);
    blocks->free_bytes -= block->size;
    return block;
  }
  return NULL;
}

GstPirlBlock *
gst_pirl_blocks_take (GstPirlBlocks * blocks, gsize size)
{
  gsize rounded = MIN_SIZE;
  GstPirlBlock *block;
  guint8 *data;

  while (rounded < size && rounded <= G_MAXSIZE / 2)
    rounded *= 2;
  if (rounded < size)
    return NULL;
  g_mutex_lock (&blocks->lock);
  block = find_free (blocks, rounded);
  g_mutex_unlock (&blocks->lock);
  if (block != NULL)
    return block;
  data = g_try_malloc (rounded);
  if (data == NULL)
    return NULL;
  block = g_new (GstPirlBlock, 1);
  *block = (GstPirlBlock) { blocks, rounded, data };
  g_atomic_int_inc (&blocks->ref_count);
  return block;
}

guint8 *
gst_pirl_block_data (GstPirlBlock * block)
{
  return block->data;
}

void
gst_pirl_block_release (GstPirlBlock * block)
{
  GstPirlBlocks *blocks = block->blocks;
  GList *surplus;

  g_mutex_lock (&blocks->lock);
  g_queue_push_head (&blocks->free, block);
  blocks->free_bytes += block->size;
  surplus = take_surplus (blocks);
  g_mutex_unlock (&blocks->lock);
  /* It may be the last one, and @blocks be gone with it. */
  g_list_free_full (surplus, (GDestroyNotify) block_free);
}

GstBuffer *
gst_pirl_block_to_buffer (GstPirlBlock * block, gsize size)
{
  return gst_buffer_new_wrapped_full (0, block->data, block->size, 0, size, block,
      (GDestroyNotify) gst_pirl_block_release);
}
