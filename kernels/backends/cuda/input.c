/* gst-pirl: the unit INPUT of the CUDA backend: brings pictures to the device while it is at work,
 * or crops of pictures, from which it renders views there, or takes pictures that are there.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "backends/cuda/cuda.h"
#include "backends/cuda/surfaces.h"
#include "backends/cuda/views.h"

#define SLOTS 2
/* What grows grows by this much more, so that pictures of ever changing sizes soon fit. */
#define RESERVE(bytes) ((bytes) + (bytes) / 4)

/* A batch on its way: pinned memory that the caller's pixels are copied to, and device memory that
 * they travel to on the stream of copies. */
typedef struct {
  guint8 *host, *device;
  gsize host_bytes, device_bytes;
  cudaEvent_t copied;
} Slot;

/* Why two slots are enough. Step k reads slot k mod 2. While it runs, STAGE fills the other one,
 * which step k - 1 has read, and that one is over: there is one step at a time, and FORWARD of k
 * came after its end. A second STAGE before FORWARD takes the same slot again, not the one that
 * the running step reads. */
typedef struct {
  PirlUnitPlan base;
  PirlGpuNormalise normalise;
  gsize picture_bytes;
  Slot slot[SLOTS];
  guint next;                   /* the slot that STAGE fills */
  gboolean staged;              /* it is filled, and FORWARD has not taken it */
  gboolean views;               /* with crops and recipes, not with finished pictures */
} InputPlan;

static gboolean
reserve_host (Slot *slot, gsize bytes, GError **error)
{
  if (bytes <= slot->host_bytes)
    return TRUE;
  if (slot->host)
    bytes = RESERVE (bytes);
  cudaFreeHost (slot->host);
  slot->host = NULL;
  slot->host_bytes = 0;
  if (!pirl_cuda_ok (cudaMallocHost ((void **) &slot->host, bytes), "pinned memory", error))
    return FALSE;
  slot->host_bytes = bytes;
  return TRUE;
}

static gboolean
reserve_device (Slot *slot, gsize bytes, GError **error)
{
  if (bytes <= slot->device_bytes)
    return TRUE;
  if (slot->device)
    bytes = RESERVE (bytes);
  cudaFree (slot->device);
  slot->device = NULL;
  slot->device_bytes = 0;
  if (!pirl_cuda_ok (cudaMalloc ((void **) &slot->device, bytes), "device memory", error))
    return FALSE;
  slot->device_bytes = bytes;
  return TRUE;
}

static gboolean
input_plan (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error)
{
  InputPlan *p = (InputPlan *) plan;
  const PirlUnitDesc *desc = &plan->desc;
  const PirlDims d = desc->output;

  if (d.c != 3) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "pictures have 3 channels, not %d", d.c);
    return FALSE;
  }
  if (!pirl_gpu_check_size (d, plan->output_stored, error))
    return FALSE;
  for (gint c = 0; c < 3; c++) {
    p->normalise.scale[c] = (gfloat) (1 / (255 * (gdouble) desc->std[c]));
    p->normalise.shift[c] = (gfloat) (-(gdouble) desc->mean[c] / desc->std[c]);
  }
  p->picture_bytes = (gsize) d.h * d.w * d.c;
  if (d.h == d.w)
    memory->scratch = 2 * d.n * p->picture_bytes;       /* canvases of views */
  for (gint i = 0; i < SLOTS; i++)
    if (!reserve_host (&p->slot[i], d.n * p->picture_bytes, error)
        || !reserve_device (&p->slot[i], d.n * p->picture_bytes, error)
        || !pirl_cuda_ok (cudaEventCreateWithFlags (&p->slot[i].copied, cudaEventDisableTiming),
            "making an event", error))
      return FALSE;
  return TRUE;
}

static void
input_clear (PirlUnitPlan *plan)
{
  InputPlan *p = (InputPlan *) plan;

  cudaStreamSynchronize (plan->device->copies);
  for (gint i = 0; i < SLOTS; i++) {
    if (p->slot[i].copied)
      cudaEventDestroy (p->slot[i].copied);
    cudaFree (p->slot[i].device);
    cudaFreeHost (p->slot[i].host);
  }
}

/* Starts the travel of the pinned memory's first @bytes to where the slot's device memory has
 * place for them. */
static gboolean
send_slot (InputPlan *p, Slot *slot, gsize place, gsize bytes, GError **error)
{
  return pirl_cuda_ok (cudaMemcpyAsync (slot->device + place, slot->host, bytes,
          cudaMemcpyHostToDevice, p->base.device->copies), "copying pictures to the device", error);
}

static gboolean
fill_with_pictures (InputPlan *p, Slot *slot, const guint8 *const *pictures, GError **error)
{
  const gint n = p->base.desc.output.n;
  const gsize bytes = n * p->picture_bytes;

  if (!reserve_host (slot, bytes, error) || !reserve_device (slot, bytes, error))
    return FALSE;
  for (gint i = 0; i < n; i++)
    memcpy (slot->host + i * p->picture_bytes, pictures[i], p->picture_bytes);
  return send_slot (p, slot, 0, bytes, error);
}

/* --- views --- */

static gboolean
same_crop (const PirlView *a, const PirlView *b)
{
  return a->pixels == b->pixels && a->stride == b->stride
      && memcmp (&a->crop, &b->crop, sizeof a->crop) == 0;
}

static gsize
crop_bytes (const PirlView *view)
{
  return (gsize) 3 * view->crop.width * view->crop.height;
}

/* What a recipe must keep to; the kernel trusts it. */
static gboolean
check_view (const PirlView *view, gint i, PirlDims d, GError **error)
{
  const PirlBox *crop = &view->crop;

  if (crop->x >= 0 && crop->y >= 0 && crop->width >= 1 && crop->height >= 1
      && view->left >= 0 && view->top >= 0 && view->size == d.h && view->size == d.w
      && view->left + view->size <= view->scaled && view->top + view->size <= view->scaled
      && view->turns >= 0 && view->turns < 4)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "view %d is %d x %d at (%d,%d) of %d x %d, "
      "from a crop of %d x %d at (%d,%d), turned by %d quarters; it must lie inside, be %d x %d "
      "and turned by 0 to 3", i, view->size, view->size, view->left, view->top, view->scaled,
      view->scaled, crop->width, crop->height, crop->x, crop->y, view->turns, d.w, d.h);
  return FALSE;
}

/* Where everything will be: descriptions, then each crop once (the patches of a picture have one),
 * and behind what travels the tables. */
static void
lay_out (const PirlView *views, gint n, PirlGpuView *placed, gsize *travels, gsize *total)
{
  gsize cursor = 0;

  pirl_cuda_region (&cursor, n * sizeof *placed);
  for (gint i = 0; i < n; i++) {
    const PirlView *view = &views[i];

    placed[i] = (PirlGpuView) {.crop_width = view->crop.width, .crop_height = view->crop.height,
      .scaled = view->scaled, .left = view->left, .top = view->top, .colour = view->colour,
      .blur = view->blur, .turns = view->turns };
    placed[i].pixels = i > 0 && same_crop (view, view - 1) ? placed[i - 1].pixels
        : pirl_cuda_region (&cursor, crop_bytes (view));
  }
  *travels = cursor;
  for (gint i = 0; i < n; i++) {
    const PirlView *view = &views[i];

    placed[i].columns = pirl_cuda_region (&cursor,
        pirl_gpu_view_table (view->crop.width, view->scaled, view->size));
    placed[i].rows = pirl_cuda_region (&cursor,
        pirl_gpu_view_table (view->crop.height, view->scaled, view->size));
  }
  *total = cursor;
}

static void
copy_crop (const PirlView *view, guint8 *dst)
{
  const gsize row = (gsize) 3 * view->crop.width;
  const guint8 *src = view->pixels + view->crop.y * view->stride + 3 * (gsize) view->crop.x;

  for (gint y = 0; y < view->crop.height; y++, src += view->stride, dst += row)
    memcpy (dst, src, row);
}

static gboolean
fill_with_views (InputPlan *p, Slot *slot, const PirlView *views, GError **error)
{
  const PirlDims d = p->base.desc.output;
  g_autofree PirlGpuView *placed = g_new (PirlGpuView, d.n);
  gsize travels, total;

  for (gint i = 0; i < d.n; i++)
    if (!check_view (&views[i], i, d, error))
      return FALSE;
  lay_out (views, d.n, placed, &travels, &total);
  if (!reserve_host (slot, travels, error) || !reserve_device (slot, total, error))
    return FALSE;
  memcpy (slot->host, placed, d.n * sizeof *placed);
  for (gint i = 0; i < d.n; i++)
    if (i == 0 || placed[i].pixels != placed[i - 1].pixels)
      copy_crop (&views[i], slot->host + placed[i].pixels);
  return send_slot (p, slot, 0, travels, error);
}

/* --- pictures in device memory --- */

static gboolean
check_surface (const PirlSurfaceView *view, gint i, PirlDims d, GError **error)
{
  const PirlSurface *surface = &view->surface;

  if (surface->width >= 1 && surface->height >= 1 && view->left >= 0 && view->top >= 0
      && d.w <= view->scaled_width - view->left && d.h <= view->scaled_height - view->top)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "picture %d is %d x %d, scaled to %d x %d; "
      "there must be %d x %d of it at (%d,%d)", i, surface->width, surface->height,
      view->scaled_width, view->scaled_height, d.w, d.h, view->left, view->top);
  return FALSE;
}

/* Where everything will be: what the kernel writes, packed pictures; descriptions; tables. */
static gsize
lay_out_surfaces (const PirlSurfaceView *views, PirlDims d, PirlGpuSurface *placed, gsize *place)
{
  gsize cursor = 0;

  pirl_cuda_region (&cursor, (gsize) 3 * d.n * d.h * d.w);
  *place = pirl_cuda_region (&cursor, d.n * sizeof *placed);
  for (gint i = 0; i < d.n; i++) {
    const PirlSurfaceView *view = &views[i];

    placed[i].view = *view;
    placed[i].columns = pirl_cuda_region (&cursor,
        pirl_gpu_view_table (view->surface.width, view->scaled_width, d.w));
    placed[i].rows = pirl_cuda_region (&cursor,
        pirl_gpu_view_table (view->surface.height, view->scaled_height, d.h));
  }
  return cursor;
}

static gboolean
fill_with_surfaces (InputPlan *p, Slot *slot, const PirlSurfaceView *views, GError **error)
{
  const PirlDims d = p->base.desc.output;
  const gsize bytes = d.n * sizeof (PirlGpuSurface);
  g_autofree PirlGpuSurface *placed = g_new (PirlGpuSurface, d.n);
  gsize place, total;

  for (gint i = 0; i < d.n; i++)
    if (!check_surface (&views[i], i, d, error))
      return FALSE;
  total = lay_out_surfaces (views, d, placed, &place);
  if (!reserve_host (slot, bytes, error) || !reserve_device (slot, total, error))
    return FALSE;
  memcpy (slot->host, placed, bytes);
  if (!send_slot (p, slot, place, bytes, error))
    return FALSE;
  pirl_gpu_read_surfaces (slot->device, place, d.n, d.w, d.h, p->base.device->copies);
  return pirl_cuda_launched ("reading pictures", error);
}

/* --- passes --- */

static gboolean
fill_with (InputPlan *p, Slot *slot, const PirlUnitBuffers *b, GError **error)
{
  if (b->surfaces)
    return fill_with_surfaces (p, slot, b->surfaces, error);
  return b->views ? fill_with_views (p, slot, b->views, error)
      : fill_with_pictures (p, slot, b->input, error);
}

/* Once the last travel of the slot's pinned memory is over. */
static gboolean
fill_slot (InputPlan *p, Slot *slot, const PirlUnitBuffers *b, GError **error)
{
  p->views = b->views != NULL;
  return pirl_cuda_ok (cudaEventSynchronize (slot->copied), "waiting for pictures", error)
      && fill_with (p, slot, b, error)
      && pirl_cuda_ok (cudaEventRecord (slot->copied, p->base.device->copies),
      "recording an event", error);
}

static gboolean
input_stage (InputPlan *p, const PirlUnitBuffers *b, GError **error)
{
  enum cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;

  /* While a step is being recorded, FORWARD may still bring its own pictures: the copies are on
   * another stream and no part of the record. */
  if (!pirl_cuda_ok (cudaThreadExchangeStreamCaptureMode (&mode), "staging", error))
    return FALSE;
  p->staged = fill_slot (p, &p->slot[p->next], b, error);
  return pirl_cuda_ok (cudaThreadExchangeStreamCaptureMode (&mode), "staging",
      p->staged ? error : NULL) && p->staged;
}

static void
launch (InputPlan *p, guint8 *const *batch, const PirlUnitBuffers *b)
{
  const PirlUnitPlan *plan = &p->base;
  const PirlDims d = plan->desc.output;
  cudaStream_t stream = plan->device->stream;

  if (p->views)
    pirl_gpu_render_views (batch, d.n, d.h, plan->output_stored, &p->normalise, plan->desc.dtype,
        b->scratch, b->output, stream);
  else
    pirl_gpu_normalise ((const guint8 *const *) batch, (guint) (d.n * d.h * d.w),
        plan->output_stored, &p->normalise, plan->desc.dtype, b->output, stream);
}

static gboolean
input_forward (InputPlan *p, const PirlUnitBuffers *b, GError **error)
{
  PirlCudaDevice *device = p->base.device;
  const Slot *slot = &p->slot[p->next];
  guint8 *const *batch;

  if ((b->input || b->views || b->surfaces) && !input_stage (p, b, error))
    return FALSE;
  if (!p->staged) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "FORWARD without pictures: none were given and none staged");
    return FALSE;
  }
  /* The kernel of a recorded step finds the slot of this step at an address that stays. */
  batch = pirl_cuda_push (device, &slot->device, sizeof slot->device, error);
  if (!batch || !pirl_cuda_before_launch (device, slot->copied, error))
    return FALSE;
  p->staged = FALSE;
  p->next = (p->next + 1) % SLOTS;
  /* Pictures in a step that was recorded with views, or the other way round, are another step. */
  pirl_cuda_steps_note (device, p, p->views, NULL);
  if (pirl_cuda_launches (device))
    launch (p, batch, b);
  return TRUE;
}

static gboolean
input_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error)
{
  InputPlan *p = (InputPlan *) plan;

  if (pass == PIRL_PASS_STAGE)
    return input_stage (p, b, error);
  return pass != PIRL_PASS_FORWARD || input_forward (p, b, error);
}

const PirlCudaUnit pirl_cuda_input = { sizeof (InputPlan), FALSE, input_plan, input_run,
  input_clear };
