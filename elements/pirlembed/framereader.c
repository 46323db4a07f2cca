/* gst-pirl: how frames come before the network (see framereader.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "framereader.h"
#include "crop.h"
#include "cudamemory.h"
#include "torgb.h"

struct _FrameReader {
  GstElement *element;
  EmbedWorker *worker;
  CudaMemory *cuda;             /* NULL = frames are in the host's memory */
  GstVideoInfo info;
  ToRgb *converter;             /* of @info; NULL = no caps yet */
  PirlImage picture;            /* a frame that had to be converted */
};

FrameReader *
frame_reader_new (GstElement * element, EmbedWorker * worker, const gchar * device)
{
  FrameReader *self = g_new0 (FrameReader, 1);

  self->element = element;
  self->worker = worker;
  if (embed_worker_reads_surfaces (worker))
    self->cuda = cuda_memory_new (element, device);
  return self;
}

void
frame_reader_free (FrameReader * self)
{
  if (self == NULL)
    return;
  cuda_memory_free (self->cuda);
  g_clear_pointer (&self->converter, to_rgb_free);
  pirl_image_clear (&self->picture);
  g_free (self);
}

gboolean
frame_reader_on_host (const FrameReader * self)
{
  return self->cuda == NULL;
}

/* Frames may arrive while downstream renegotiates: then what they need is left alone. */
gboolean
frame_reader_set_caps (FrameReader * self, GstCaps * caps)
{
  GstVideoInfo info;

  if (!gst_video_info_from_caps (&info, caps))
    return FALSE;
  if (self->converter != NULL && gst_video_info_is_equal (&info, &self->info))
    return TRUE;
  g_clear_pointer (&self->converter, to_rgb_free);
  self->info = info;
  self->converter = to_rgb_new (&info);
  return self->converter != NULL;
}

const GstVideoInfo *
frame_reader_info (const FrameReader * self)
{
  return self->converter != NULL ? &self->info : NULL;
}

/* Tells where in its picture a frame lies that shows only a region. */
static gboolean
place_picture (FrameReader * self, GstBuffer * buffer, PirlImage * image)
{
  GstPirlRegion region;

  if (!gst_pirl_region_get (buffer, &region)
      || (gst_pirl_region_place (&region, image) && embed_worker_suits (self->worker, image)))
    return TRUE;
  GST_ELEMENT_ERROR (self->element, STREAM, FORMAT, ("A frame of %dx%d shows a region of its "
          "picture that is not the one to be embedded; nothing may change frames between "
          "pirldatasetsrc and pirlembed", image->width, image->height), (NULL));
  return FALSE;
}

static gboolean
map_frame (FrameReader * self, GstBuffer * buffer, GstVideoFrame * frame)
{
  if (gst_video_frame_map (frame, &self->info, buffer, GST_MAP_READ))
    return TRUE;
  GST_ELEMENT_ERROR (self->element, STREAM, FORMAT, ("A frame of %" G_GSIZE_FORMAT " bytes is no "
          "%dx%d %s picture, which has %" G_GSIZE_FORMAT, gst_buffer_get_size (buffer),
          self->info.width, self->info.height, GST_VIDEO_INFO_NAME (&self->info),
          self->info.size), (NULL));
  return FALSE;
}

/* Where the frame lies in the network's memory, it stays there. */
static gboolean
take_surface (FrameReader * self, GstBuffer * buffer, EmbedPicture * picture)
{
  return self->cuda != NULL && cuda_memory_take (self->cuda, buffer, &self->info, picture);
}

gboolean
frame_reader_fill (FrameReader * self, GstBuffer * buffer, EmbedPicture * picture)
{
  GstVideoFrame frame;

  if (take_surface (self, buffer, picture))
    return TRUE;
  if (!map_frame (self, buffer, &frame))
    return FALSE;
  to_rgb_convert (self->converter, &frame, &picture->image);
  gst_video_frame_unmap (&frame);
  return place_picture (self, buffer, &picture->image);
}

GstFlowReturn
frame_reader_run (FrameReader * self, GstBuffer * buffer, guint64 tag)
{
  EmbedPicture picture = { {0} };
  GstVideoFrame frame;
  gboolean placed, done;

  if (take_surface (self, buffer, &picture))
    return embed_worker_run (self->worker, &picture, tag) ? GST_FLOW_OK : GST_FLOW_FLUSHING;
  if (!map_frame (self, buffer, &frame))
    return GST_FLOW_ERROR;
  if (!to_rgb_view (self->converter, &frame, &picture.image)) {
    to_rgb_convert (self->converter, &frame, &self->picture);
    picture.image = self->picture;
  }
  placed = place_picture (self, buffer, &picture.image);
  done = placed && embed_worker_run (self->worker, &picture, tag);
  gst_video_frame_unmap (&frame);
  if (!placed)
    return GST_FLOW_ERROR;
  return done ? GST_FLOW_OK : GST_FLOW_FLUSHING;
}
