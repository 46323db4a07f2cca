/* gst-pirl: the buffers that leave pirljigsaw (see jigsawbuffers.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "jigsawbuffers.h"

#include <string.h>

GstBuffer *
jigsaw_frame_new (GstBuffer * in, GstVideoInfo * info)
{
  GstBuffer *out = gst_buffer_copy (in);
  GstCustomMeta *old = gst_buffer_get_custom_meta (out, GST_PIRL_PRETEXT_META);

  /* An older pretext does not describe these views. */
  if (old != NULL)
    gst_buffer_remove_meta (out, (GstMeta *) old);
  /* The caps do not have the size. */
  if (gst_buffer_get_video_meta (out) == NULL)
    gst_buffer_add_video_meta_full (out, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT (info),
        GST_VIDEO_INFO_WIDTH (info), GST_VIDEO_INFO_HEIGHT (info), GST_VIDEO_INFO_N_PLANES (info),
        info->offset, info->stride);
  return out;
}

/* ---- both views ----------------------------------------------------------------------------- */

static gsize
bytes_of_patches (const PirlPretextConfig * config)
{
  return (gsize) config->grid * config->grid * config->patch_size * config->patch_size * 3;
}

GstBuffer *
jigsaw_tensors_new (const PirlPretextConfig * config)
{
  GstBuffer *tensors = gst_buffer_new ();
  const gsize sizes[] = { (gsize) config->image_size * config->image_size * 3,
    bytes_of_patches (config)
  };

  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    gst_buffer_append_memory (tensors, gst_allocator_alloc (NULL, sizes[i], NULL));
  return tensors;
}

gboolean
jigsaw_tensors_render (GstBuffer * tensors, PirlRenderer * renderer,
    const PirlPretextConfig * config, const PirlPretext * pretext, const PirlImage * image,
    gboolean image_only)
{
  GstMemory *memory[] = { gst_buffer_peek_memory (tensors, 0),
    gst_buffer_peek_memory (tensors, 1)
  };
  GstMapInfo view, patches;

  if (!gst_memory_map (memory[0], &view, GST_MAP_WRITE))
    return FALSE;
  if (!gst_memory_map (memory[1], &patches, GST_MAP_WRITE)) {
    gst_memory_unmap (memory[0], &view);
    return FALSE;
  }
  pirl_renderer_run (renderer, config, pretext, image, view.data,
      image_only ? NULL : patches.data);
  if (image_only)
    memset (patches.data, 0, patches.size);
  gst_memory_unmap (memory[0], &view);
  gst_memory_unmap (memory[1], &patches);
  return TRUE;
}

/* ---- the mosaic ----------------------------------------------------------------------------- */

GstBuffer *
jigsaw_mosaic_new (const GstVideoInfo * info)
{
  GstBuffer *mosaic = gst_buffer_new ();

  gst_buffer_append_memory (mosaic, gst_allocator_alloc (NULL, GST_VIDEO_INFO_SIZE (info), NULL));
  return mosaic;
}

gboolean
jigsaw_mosaic_render (GstBuffer * mosaic, const GstVideoInfo * info, PirlRenderer * renderer,
    const PirlPretextConfig * config, const PirlPretext * pretext, const PirlImage * image)
{
  const gsize row = (gsize) config->patch_size * 3;
  const gsize stride = GST_VIDEO_INFO_PLANE_STRIDE (info, 0);
  const gint step = config->patch_size + JIGSAW_MOSAIC_GAP;
  g_autofree guint8 *patches = NULL;
  const guint8 *src;
  GstMapInfo map;

  if (!gst_buffer_map (mosaic, &map, GST_MAP_WRITE))
    return FALSE;
  patches = g_malloc (bytes_of_patches (config));
  pirl_renderer_run (renderer, config, pretext, image, NULL, patches);
  memset (map.data, 0, map.size);
  src = patches;
  for (gint i = 0; i < config->grid * config->grid; i++) {
    guint8 *dst = map.data + (gsize) (i / config->grid) * step * stride
        + (gsize) (i % config->grid) * step * 3;

    for (gint y = 0; y < config->patch_size; y++, src += row, dst += stride)
      memcpy (dst, src, row);
  }
  gst_buffer_unmap (mosaic, &map);
  return TRUE;
}
