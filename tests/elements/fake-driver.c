/* gst-pirl: a CUDA driver whose card's memory is the host's, for GStreamer's CUDA library.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The module has the name of the driver, libcuda.so.1 (its soname): opened before somebody looks
 * for a driver, it is the one that is found. It knows two cards, contexts (the primary one of each, and
 * such as are made), memory with rows further apart than they need be, and copies. What belongs to
 * one context is refused in another, as a card does; who only has the address can read it, as the
 * emulated card (tests/emulator) does. It counts copies to the host, and memory that is there.
 */
#include "fake-driver.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
  NOT_SUPPORTED = 801 };
enum { HOST = 1, DEVICE = 2 };  /* CUmemorytype */

#define N_CARDS 2
#define PITCH 512
#define MAX_DEPTH 1024

typedef struct {
  int card;
} Context;

/* Driver API, CUDA_MEMCPY2D_v2. */
typedef struct {
  size_t src_x, src_y;
  unsigned src_type;
  const void *src_host;
  unsigned long long src_device;
  void *src_array;
  size_t src_pitch;
  size_t dst_x, dst_y;
  unsigned dst_type;
  void *dst_host;
  unsigned long long dst_device;
  void *dst_array;
  size_t dst_pitch;
  size_t width, height;
} Copy;

typedef struct {
  size_t bytes;
  Context *context;
} Area;

static Context primary[N_CARDS] = { { 0 }, { 1 } };
static _Thread_local Context *stack[MAX_DEPTH];
static _Thread_local int depth;

static GMutex lock;
static GHashTable *areas;       /* of cards: address to Area */
static FakeDriverCounts counts;

#pragma GCC visibility push (default)

FakeDriverCounts
fake_driver_counts (void)
{
  FakeDriverCounts result;

  g_mutex_lock (&lock);
  counts.areas = areas ? g_hash_table_size (areas) : 0;
  result = counts;
  g_mutex_unlock (&lock);
  return result;
}

void *
fake_driver_primary (int card)
{
  return &primary[card];
}

/* --- what GStreamer's library looks up --- */

int cuInit (unsigned flags);
int cuDriverGetVersion (int *version);
int cuGetErrorName (int error, const char **text);
int cuGetErrorString (int error, const char **text);
int cuDeviceGetCount (int *n);
int cuDeviceGet (int *card, int ordinal);
int cuDeviceGetName (char *name, int length, int card);
int cuDeviceGetAttribute (int *value, int attribute, int card);
int cuDeviceCanAccessPeer (int *can, int card, int peer);
int cuDevicePrimaryCtxRetain (Context **context, int card);
int cuCtxCreate_v2 (Context **context, unsigned flags, int card);
int cuCtxDestroy_v2 (Context *context);
int cuCtxPushCurrent_v2 (Context *context);
int cuCtxPopCurrent_v2 (Context **context);
int cuMemAllocPitch_v2 (unsigned long long *memory, size_t *pitch, size_t width, size_t height,
    unsigned element);
int cuMemAlloc_v2 (unsigned long long *memory, size_t bytes);
int cuMemFree_v2 (unsigned long long memory);
int cuMemAllocHost_v2 (void **memory, size_t bytes);
int cuMemFreeHost (void *memory);
int cuMemcpy2D_v2 (const Copy *copy);
int cuMemcpy2DAsync_v2 (const Copy *copy, void *stream);
int cuStreamCreate (void **stream, unsigned flags);
int cuStreamDestroy (void *stream);
int cuStreamSynchronize (void *stream);

int cuInit (unsigned flags) { return SUCCESS; }

int
cuDriverGetVersion (int *version)
{
  *version = 12000;
  return SUCCESS;
}

int
cuGetErrorName (int error, const char **text)
{
  *text = "CUDA_ERROR_OF_A_FAKE";
  return SUCCESS;
}

int cuGetErrorString (int error, const char **text) { return cuGetErrorName (error, text); }

int
cuDeviceGetCount (int *n)
{
  *n = N_CARDS;
  return SUCCESS;
}

int
cuDeviceGet (int *card, int ordinal)
{
  *card = ordinal;
  return ordinal >= 0 && ordinal < N_CARDS ? SUCCESS : INVALID_DEVICE;
}

int
cuDeviceGetName (char *name, int length, int card)
{
  g_strlcpy (name, "a card made up", (gsize) length);
  return SUCCESS;
}

int
cuDeviceGetAttribute (int *value, int attribute, int card)
{
  *value = PITCH;
  return SUCCESS;
}

int
cuDeviceCanAccessPeer (int *can, int card, int peer)
{
  *can = 0;
  return SUCCESS;
}

int
cuDevicePrimaryCtxRetain (Context **context, int card)
{
  *context = &primary[card];
  return SUCCESS;
}

int
cuCtxPushCurrent_v2 (Context *context)
{
  if (depth == MAX_DEPTH)
    return INVALID_VALUE;
  stack[depth++] = context;
  return SUCCESS;
}

int
cuCtxPopCurrent_v2 (Context **context)
{
  if (depth == 0)
    return INVALID_CONTEXT;
  depth--;
  if (context)
    *context = stack[depth];
  return SUCCESS;
}

int
cuCtxCreate_v2 (Context **context, unsigned flags, int card)
{
  *context = g_new0 (Context, 1);
  (*context)->card = card;
  return cuCtxPushCurrent_v2 (*context);
}

int
cuCtxDestroy_v2 (Context *context)
{
  g_free (context);
  return SUCCESS;
}

int
cuMemAlloc_v2 (unsigned long long *memory, size_t bytes)
{
  Area *area;

  if (depth == 0)
    return INVALID_CONTEXT;
  area = g_new0 (Area, 1);
  *area = (Area) { bytes, stack[depth - 1] };
  *memory = (unsigned long long) (gsize) g_malloc (bytes);
  memset ((void *) (gsize) *memory, 0xa5, bytes);
  g_mutex_lock (&lock);
  if (!areas)
    areas = g_hash_table_new_full (NULL, NULL, NULL, g_free);
  g_hash_table_insert (areas, (void *) (gsize) *memory, area);
  g_mutex_unlock (&lock);
  return SUCCESS;
}

int
cuMemAllocPitch_v2 (unsigned long long *memory, size_t *pitch, size_t width, size_t height,
    unsigned element)
{
  *pitch = (width + PITCH - 1) / PITCH * PITCH;
  return cuMemAlloc_v2 (memory, *pitch * height);
}

/* With the lock: the current context may use so much from there on. */
static int
owned (unsigned long long memory, size_t bytes)
{
  GHashTableIter iter;
  gpointer begin, area;

  if (!areas || depth == 0)
    return FALSE;
  g_hash_table_iter_init (&iter, areas);
  while (g_hash_table_iter_next (&iter, &begin, &area)) {
    const unsigned long long offset = memory - (unsigned long long) (gsize) begin;

    if (offset < ((Area *) area)->bytes)
      return bytes <= ((Area *) area)->bytes - offset
          && ((Area *) area)->context == stack[depth - 1];
  }
  return FALSE;
}

int
cuMemFree_v2 (unsigned long long memory)
{
  int mine;

  g_mutex_lock (&lock);
  mine = owned (memory, 0) && g_hash_table_remove (areas, (void *) (gsize) memory);
  g_mutex_unlock (&lock);
  if (mine)
    g_free ((void *) (gsize) memory);
  return mine ? SUCCESS : INVALID_VALUE;
}

int
cuMemAllocHost_v2 (void **memory, size_t bytes)
{
  *memory = g_malloc0 (bytes);
  return SUCCESS;
}

int
cuMemFreeHost (void *memory)
{
  g_free (memory);
  return SUCCESS;
}

int
cuMemcpy2D_v2 (const Copy *copy)
{
  const guint8 *src = copy->src_type == HOST ? copy->src_host
      : (const void *) (gsize) copy->src_device;
  guint8 *dst = copy->dst_type == HOST ? copy->dst_host : (void *) (gsize) copy->dst_device;
  const size_t src_bytes = (copy->src_y + copy->height - 1) * copy->src_pitch + copy->src_x
      + copy->width;
  const size_t dst_bytes = (copy->dst_y + copy->height - 1) * copy->dst_pitch + copy->dst_x
      + copy->width;
  int allowed;

  g_mutex_lock (&lock);
  allowed = (copy->src_type == HOST || owned (copy->src_device, src_bytes))
      && (copy->dst_type == HOST || owned (copy->dst_device, dst_bytes));
  counts.downloads += allowed && copy->src_type == DEVICE && copy->dst_type == HOST;
  g_mutex_unlock (&lock);
  if (!allowed)
    return INVALID_VALUE;
  for (size_t y = 0; y < copy->height; y++)
    memcpy (dst + (copy->dst_y + y) * copy->dst_pitch + copy->dst_x,
        src + (copy->src_y + y) * copy->src_pitch + copy->src_x, copy->width);
  return SUCCESS;
}

/* Streams do everything at once. */
int cuMemcpy2DAsync_v2 (const Copy *copy, void *stream) { return cuMemcpy2D_v2 (copy); }
int cuStreamDestroy (void *stream) { return SUCCESS; }
int cuStreamSynchronize (void *stream) { return SUCCESS; }

int
cuStreamCreate (void **stream, unsigned flags)
{
  *stream = primary;
  return SUCCESS;
}

/* What must be there and is not used. */
#define REFUSES(name) \
  int name (void); \
  int name (void) { return NOT_SUPPORTED; }

REFUSES (cuCtxDisablePeerAccess)
REFUSES (cuCtxEnablePeerAccess)
REFUSES (cuGLGetDevices_v2)
REFUSES (cuGraphicsGLRegisterBuffer)
REFUSES (cuGraphicsGLRegisterImage)
REFUSES (cuGraphicsMapResources)
REFUSES (cuGraphicsResourceGetMappedPointer_v2)
REFUSES (cuGraphicsResourceSetMapFlags_v2)
REFUSES (cuGraphicsSubResourceGetMappedArray)
REFUSES (cuGraphicsUnmapResources)
REFUSES (cuGraphicsUnregisterResource)
REFUSES (cuLaunchKernel)
REFUSES (cuModuleGetFunction)
REFUSES (cuModuleLoadData)
REFUSES (cuModuleUnload)
REFUSES (cuTexObjectCreate)
REFUSES (cuTexObjectDestroy)
