/* gst-pirl: frames of pirlembed that lie in a card's memory (see cudamemory.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Memory belongs to the CUDA context that it was allocated in, and kernels of another one cannot
 * read it, on the same card neither. CUDA's runtime library, and so our network, works in a card's
 * primary context; GStreamer's elements make one of their own unless they are given one. So they
 * are given the primary one: as the answer to their query, which comes before their own elements
 * exist further upstream, and as a message to the bins, for those that are not linked yet.
 *
 * Memory of another context all the same is mapped as any memory is: GStreamer's library copies it
 * to the host, in its own context.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "cudamemory.h"

#include "common.h"
#include "torgb.h"

#define GST_USE_UNSTABLE_API
#include <gst/cuda/gstcudacontext.h>
#include <gst/cuda/gstcudaloader.h>
#include <gst/cuda/gstcudamemory.h>
#include <gst/cuda/gstcudautils.h>

#include <gmodule.h>
#include <string.h>

#define DRIVER "libcuda.so.1"

struct _CudaMemory {
  GstElement *element;          /* owns this */
  GstCudaContext *context;
  gboolean warned;
};

/* Keeps a frame's memory from being written or reused: as part of a second buffer it is shared. */
typedef struct {
  GstBuffer *buffer;
  GstMapInfo map;
} Keeper;

/* ---- contexts ----------------------------------------------------------------------------- */

/* The number in "cuda:N"; 0 for "cuda", and for "auto" where it can be a card; -1 for others. */
static gint
ordinal_of (const gchar * device)
{
  gboolean automatic = device == NULL || strcmp (device, "auto") == 0;

  if (automatic)
    return gst_pirl_auto_reason (device) == NULL ? 0 : -1;
  if (strcmp (device, "cuda") == 0)
    return 0;
  return g_str_has_prefix (device, "cuda:")
      ? (gint) g_ascii_strtoull (device + strlen ("cuda:"), NULL, 10) : -1;
}

/* The card's primary context, kept for good: others may hold what wraps it longer than we do. */
static GstCudaContext *
wrap_primary (gint ordinal)
{
  CUresult (*retain) (CUcontext *, CUdevice);
  GModule *driver = gst_cuda_load_library ()? g_module_open (DRIVER, G_MODULE_BIND_LAZY) : NULL;
  GstCudaContext *context = NULL;
  CUcontext primary;
  CUdevice card;

  if (driver == NULL)
    return NULL;
  if (g_module_symbol (driver, "cuDevicePrimaryCtxRetain", (gpointer *) & retain)
      && CuInit (0) == CUDA_SUCCESS && CuDeviceGet (&card, ordinal) == CUDA_SUCCESS
      && retain (&primary, card) == CUDA_SUCCESS)
    context = gst_cuda_context_new_wrapped (primary, card);
  if (context != NULL)
    GST_OBJECT_FLAG_SET (context, GST_OBJECT_FLAG_MAY_BE_LEAKED);
  g_module_close (driver);
  return context;
}

/* One a card, for all elements. */
static GstCudaContext *
primary_context (gint ordinal)
{
  static GMutex lock;
  static GHashTable *contexts;
  GstCudaContext *context;

  if (ordinal < 0)
    return NULL;
  g_mutex_lock (&lock);
  if (contexts == NULL)
    contexts = g_hash_table_new (NULL, NULL);
  context = g_hash_table_lookup (contexts, GINT_TO_POINTER (ordinal));
  if (context == NULL && (context = wrap_primary (ordinal)) != NULL)
    g_hash_table_insert (contexts, GINT_TO_POINTER (ordinal), context);
  g_mutex_unlock (&lock);
  return context;
}

gboolean
cuda_memory_answer (GstElement * element, const gchar * device, GstQuery * query)
{
  const gchar *type;
  GstCudaContext *context;

  gst_query_parse_context_type (query, &type);
  if (g_strcmp0 (type, GST_CUDA_CONTEXT_TYPE) != 0)
    return FALSE;
  context = primary_context (ordinal_of (device));
  return context != NULL && gst_cuda_handle_context_query (element, query, context);
}

CudaMemory *
cuda_memory_new (GstElement * element, const gchar * device)
{
  GstCudaContext *context = primary_context (ordinal_of (device));
  GstContext *known;
  CudaMemory *self;

  if (context == NULL)
    return NULL;
  self = g_new0 (CudaMemory, 1);
  self->element = element;
  self->context = context;
  /* An application that gave one knows what it does. */
  known = gst_element_get_context (element, GST_CUDA_CONTEXT_TYPE);
  if (known == NULL)
    gst_element_post_message (element, gst_message_new_have_context (GST_OBJECT (element),
            gst_context_new_cuda_context (context)));
  else
    gst_context_unref (known);
  return self;
}

void
cuda_memory_free (CudaMemory * self)
{
  g_free (self);
}

/* ---- frames ------------------------------------------------------------------------------- */

static void
keeper_free (gpointer data)
{
  Keeper *keeper = data;

  gst_buffer_unmap (keeper->buffer, &keeper->map);
  gst_buffer_unref (keeper->buffer);
  g_free (keeper);
}

/* The address on the card is in its map. NULL when it cannot be mapped. */
static Keeper *
keeper_new (GstMemory * memory)
{
  Keeper *keeper = g_new0 (Keeper, 1);

  keeper->buffer = gst_buffer_new ();
  gst_buffer_append_memory (keeper->buffer, gst_memory_ref (memory));
  if (!gst_buffer_map (keeper->buffer, &keeper->map, GST_MAP_READ | GST_MAP_CUDA)) {
    gst_buffer_unref (keeper->buffer);
    g_free (keeper);
    return NULL;
  }
#if GST_CHECK_VERSION (1, 24, 0)
  gst_cuda_memory_sync (GST_CUDA_MEMORY_CAST (memory));
#endif
  return keeper;
}

/* Why the card cannot read frames of @info as they are. */
static const gchar *
format_problem (const GstVideoInfo * info)
{
  if (GST_VIDEO_INFO_IS_INTERLACED (info))
    return "they are interlaced";
  if (GST_VIDEO_INFO_IS_RGB (info) && info->colorimetry.range == GST_VIDEO_COLOR_RANGE_16_235)
    return "they are RGB of the limited range";
  if (GST_VIDEO_INFO_IS_YUV (info) && GST_VIDEO_FORMAT_INFO_H_SUB (info->finfo, 1) > 0
      && (info->chroma_site & GST_VIDEO_CHROMA_SITE_V_COSITED))
    return "their chroma is sited on lines";
  return NULL;
}

static const gchar *
memory_problem (const CudaMemory * self, GstBuffer * buffer)
{
  const GstCudaMemory *memory = GST_CUDA_MEMORY_CAST (gst_buffer_peek_memory (buffer, 0));

  if (gst_buffer_n_memory (buffer) != 1)
    return "they are in several pieces";
  /* The context itself, not what wraps it. */
  if (gst_cuda_context_get_handle (memory->context) != gst_cuda_context_get_handle (self->context))
    return "they were made in another CUDA context than the network's; use the one that pirlembed "
        "gives (message have-context), or link pirlembed before other elements find one";
  return NULL;
}

/* Where the components are; FALSE when there is no room for them in @map. */
static gboolean
describe (GstBuffer * buffer, const GstVideoInfo * info, const GstMapInfo * map, PirlSurface * s)
{
  const GstVideoInfo *own = &GST_CUDA_MEMORY_CAST (gst_buffer_peek_memory (buffer, 0))->info;
  const GstVideoMeta *meta = gst_buffer_get_video_meta (buffer);
  const GstVideoFormatInfo *format = info->finfo;

  *s = (PirlSurface) {
    .width = info->width,.height = info->height,.yuv = GST_VIDEO_INFO_IS_YUV (info),
    .shift_x = GST_VIDEO_FORMAT_INFO_W_SUB (format, 1),
    .shift_y = GST_VIDEO_FORMAT_INFO_H_SUB (format, 1),
    .cosited = (info->chroma_site & GST_VIDEO_CHROMA_SITE_H_COSITED) != 0
  };
  for (gint c = 0; c < 3; c++) {
    guint plane = GST_VIDEO_FORMAT_INFO_PLANE (format, c);
    gsize begin = (meta ? meta->offset[plane] : own->offset[plane])
        + GST_VIDEO_FORMAT_INFO_POFFSET (format, c);
    gsize rows = GST_VIDEO_FORMAT_INFO_SCALE_HEIGHT (format, c, info->height);
    gsize columns = GST_VIDEO_FORMAT_INFO_SCALE_WIDTH (format, c, info->width);

    s->data[c] = map->data + begin;
    s->stride[c] = meta ? meta->stride[plane] : own->stride[plane];
    s->step[c] = GST_VIDEO_FORMAT_INFO_PSTRIDE (format, c);
    if (begin + (rows - 1) * s->stride[c] + (columns - 1) * s->step[c] >= map->size)
      return FALSE;
  }
  if (s->yuv)
    to_rgb_matrix (&info->colorimetry, &s->matrix);
  return TRUE;
}

/* NULL when @picture has been taken. */
static const gchar *
take (const CudaMemory * self, GstBuffer * buffer, const GstVideoInfo * info,
    EmbedPicture * picture)
{
  const gchar *problem = format_problem (info);
  Keeper *keeper;

  if (problem == NULL)
    problem = memory_problem (self, buffer);
  if (problem != NULL)
    return problem;
  keeper = keeper_new (gst_buffer_peek_memory (buffer, 0));
  if (keeper == NULL)
    return "their memory cannot be mapped";
  if (!describe (buffer, info, &keeper->map, &picture->surface)) {
    keeper_free (keeper);
    return "they are smaller than their caps say";
  }
  picture->keeper = keeper;
  picture->release = keeper_free;
  return NULL;
}

gboolean
cuda_memory_take (CudaMemory * self, GstBuffer * buffer, const GstVideoInfo * info,
    EmbedPicture * picture)
{
  const gchar *problem;

  if (gst_buffer_n_memory (buffer) == 0 || !gst_is_cuda_memory (gst_buffer_peek_memory (buffer, 0)))
    return FALSE;
  problem = take (self, buffer, info, picture);
  if (problem != NULL && !self->warned) {
    self->warned = TRUE;
    GST_ELEMENT_WARNING (self->element, RESOURCE, SETTINGS,
        ("Frames are copied from the card to the host and back: %s", problem), (NULL));
  }
  return problem == NULL;
}
