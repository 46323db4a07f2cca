/* gst-pirl: the reference backend: naive arithmetic in double precision on one thread, the truth
 * the other backends are compared with. Here its device, its memory and its table; units.c,
 * contrast.c and optimiser.c compute.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/reference/reference.h"
#include "backends/host.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

static PirlDevice *
reference_open (guint index, guint n_threads, gboolean deterministic, GError **error)
{
  PirlDevice *device;

  if (index != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "reference device %u: there is only number 0", index);
    return NULL;
  }
  device = g_new0 (PirlDevice, 1);
  device->backend = pirl_backend_reference ();
  device->description = g_strdup ("reference (double precision), 1 thread");
  device->param_dtype = PIRL_DTYPE_F64;
  device->n_threads = 1;
  device->deterministic = TRUE;
  return device;
}

static void
reference_close (PirlDevice *device)
{
  g_free (device->description);
  g_free (device);
}

static gboolean
reference_supports (PirlDevice *device, PirlMode mode, PirlDType dtype, const gchar **reason)
{
  if (dtype == PIRL_DTYPE_F64 || dtype == PIRL_DTYPE_F32)
    return TRUE;
  if (reason != NULL)
    *reason = "the reference backend computes in double precision only";
  return FALSE;
}

static gpointer
reference_alloc (PirlDevice *device, gsize bytes, GError **error)
{
  gpointer memory = NULL;

  if (posix_memalign (&memory, ALIGNMENT, MAX (bytes, ALIGNMENT)) != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND,
        "reference device: no memory for %" G_GSIZE_FORMAT " bytes", bytes);
    return NULL;
  }
  return memset (memory, 0, MAX (bytes, ALIGNMENT));
}

static void
reference_free (PirlDevice *device, gpointer memory)
{
  free (memory);
}

static gboolean
is_ours (const PirlTensorDesc *desc, GError **error)
{
  if (desc->dtype == PIRL_DTYPE_F64 && desc->format == NULL)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "reference device: a tensor is %s and %s; only dense F64 ones are kept here",
      pirl_dtype_name (desc->dtype), desc->format ? "of a foreign layout" : "dense");
  return FALSE;
}

static gboolean
reference_tensor_write (PirlDevice *device, const PirlTensorDesc *desc, gpointer dst,
    const gfloat *src, GError **error)
{
  const gsize n = pirl_dims_count (desc->dims);
  gdouble *values = dst;

  if (!is_ours (desc, error))
    return FALSE;
  for (gsize i = 0; i < n; i++)
    values[i] = src[i];
  return TRUE;
}

static gboolean
reference_tensor_read (PirlDevice *device, const PirlTensorDesc *desc, gconstpointer src,
    gfloat *dst, GError **error)
{
  const gsize n = pirl_dims_count (desc->dims);
  const gdouble *values = src;

  if (!is_ours (desc, error))
    return FALSE;
  for (gsize i = 0; i < n; i++)
    dst[i] = (gfloat) values[i];
  return TRUE;
}

const PirlBackend *
pirl_backend_reference (void)
{
  static const PirlBackend backend = {
    .version = PIRL_BACKEND_VERSION,
    .name = "reference",
    .open = reference_open,
    .close = reference_close,
    .supports = reference_supports,
    .alloc = reference_alloc,
    .free = reference_free,
    .upload = pirl_host_copy,
    .download = pirl_host_copy,
    .zero = pirl_host_zero,
    .copy = pirl_host_copy,
    .rows = pirl_host_rows,
    .tensor_write = reference_tensor_write,
    .tensor_read = reference_tensor_read,
    .unit_plan = pirl_reference_unit_plan,
    .unit_free = pirl_reference_unit_free,
    .unit_run = pirl_reference_unit_run,
    .draw = pirl_host_draw,
    .contrast = pirl_reference_contrast,
    .bank_update = pirl_reference_bank_update,
    .cross_entropy = pirl_host_cross_entropy,
    .sgd = pirl_reference_sgd,
    .adam = pirl_reference_adam,
    .lars = pirl_reference_lars,
    .average = pirl_reference_average,
  };

  return &backend;
}
