/* gst-pirl: frames of pirlembed that lie in a card's memory.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * cudamemory.c is the only file that knows GStreamer's CUDA library; where that is not built in, no
 * caps have such memory, and what is here says so. */
#pragma once

#include "embedworker.h"

#include <gst/video/video.h>

/** What brings frames of memory:CUDAMemory to the network; of one device. */
typedef struct _CudaMemory CudaMemory;

#ifdef HAVE_GST_CUDA
#define CUDA_MEMORY_CAPS GST_VIDEO_CAPS_MAKE_WITH_FEATURES ("memory:CUDAMemory", "{ NV12, NV21, " \
    "I420, YV12, Y42B, Y444, RGBA, BGRA, RGBx, BGRx, ARGB, ABGR, RGB, BGR }") "; "

/** Answers a CONTEXT query with the context that the network of @device (as the property names it)
 * has its memory in, so that others allocate there. FALSE: it asks for something else, or there is
 * no such card. Any thread, any state. */
gboolean cuda_memory_answer (GstElement * element, const gchar * device, GstQuery * query);
/** For frames of @element, whose network is on @device; tells the bins around it of the context.
 * NULL where GStreamer finds no driver. */
CudaMemory *cuda_memory_new (GstElement * element, const gchar * device);
/** NULL is allowed. Pictures that were taken stay. */
void cuda_memory_free (CudaMemory * self);
/** Makes @picture a surface that @buffer's memory stays behind, without a copy. FALSE: @buffer is
 * in the host's memory, or it has to be brought there; then that is posted as a warning, once. */
gboolean cuda_memory_take (CudaMemory * self, GstBuffer * buffer, const GstVideoInfo * info,
    EmbedPicture * picture);
#else
#define CUDA_MEMORY_CAPS ""

static inline gboolean
cuda_memory_answer (GstElement * element, const gchar * device, GstQuery * query)
{
  return FALSE;
}

static inline CudaMemory *
cuda_memory_new (GstElement * element, const gchar * device)
{
  return NULL;
}

static inline void
cuda_memory_free (CudaMemory * self)
{
}

static inline gboolean
cuda_memory_take (CudaMemory * self, GstBuffer * buffer, const GstVideoInfo * info,
    EmbedPicture * picture)
{
  return FALSE;
}
#endif
