/* gst-pirl: memory for pictures that is used again.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A picture of a few hundred kilobytes in new memory costs a fault for each of its pages, which is a
 * tenth of decoding it. Blocks come back when the last reference to their GstMemory goes, in any
 * thread and at any time, and the next picture of about that size is put into the block that was
 * in use last. Free blocks are bounded in number and bytes.
 */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct _GstPirlBlocks GstPirlBlocks;
typedef struct _GstPirlBlock GstPirlBlock;

/** Keeps up to @max_free free blocks. */
GstPirlBlocks *gst_pirl_blocks_new (guint max_free);
/** Frees all that are free; those in use are freed when they come back, whenever that is. */
void gst_pirl_blocks_close (GstPirlBlocks * blocks);

/** A block of at least @size bytes, whose content is what it is; NULL without memory. */
GstPirlBlock *gst_pirl_blocks_take (GstPirlBlocks * blocks, gsize size);
guint8 *gst_pirl_block_data (GstPirlBlock * block);
/** Gives it back. */
void gst_pirl_block_release (GstPirlBlock * block);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (GstPirlBlock, gst_pirl_block_release)
/** A buffer of its first @size bytes; takes @block. */
GstBuffer *gst_pirl_block_to_buffer (GstPirlBlock * block, gsize size);

G_END_DECLS
