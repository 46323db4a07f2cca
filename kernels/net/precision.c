/* gst-pirl: in which arithmetic a network runs.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/precision.h"

#include <string.h>

static const PirlPrecision precisions[] = {
  {"f32", PIRL_DTYPE_F32, FALSE},
  {"tf32", PIRL_DTYPE_F32, TRUE},
  {"bf16", PIRL_DTYPE_BF16, FALSE},
  {"fp16", PIRL_DTYPE_F16, FALSE},
};

static const PirlPrecision *
precision_find (const gchar *name)
{
  for (guint i = 0; i < G_N_ELEMENTS (precisions); i++)
    if (strcmp (precisions[i].name, name) == 0)
      return &precisions[i];
  return NULL;
}

static gboolean
is_cuda (const PirlDevice *device)
{
  return strcmp (device->backend->name, "cuda") == 0;
}

/* @reason: why @device does not run it. */
static gboolean
precision_works (PirlDevice *device, PirlMode mode, const PirlPrecision *precision,
    const gchar **reason)
{
  *reason = "not supported";
  if (precision->tf32 && !is_cuda (device)) {
    *reason = "only matrix units of a CUDA card multiply tf32";
    return FALSE;
  }
  return device->backend->supports (device, mode, precision->dtype, reason);
}

const PirlPrecision *
pirl_precision_choose (PirlDevice *device, PirlMode mode, const gchar *name, GError **error)
{
  const gboolean is_auto = !name || strcmp (name, "auto") == 0;
  const PirlPrecision *precision = precision_find (!is_auto ? name
      : is_cuda (device) ? "fp16" : "f32");
  const gchar *reason;

  if (!precision) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "unknown precision \"%s\"; there are auto, f32, tf32, bf16 and fp16", name);
    return NULL;
  }
  if (!precision_works (device, mode, precision, &reason)) {
    if (is_auto)
      return pirl_precision_choose (device, mode, "f32", error);
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
        "precision %s does not work for %s on %s: %s; use f32 or auto", name,
        mode == PIRL_MODE_TRAIN ? "training" : "inference", device->description,
        reason ? reason : "not supported");
    return NULL;
  }
  device->tf32 = precision->tf32;
  return precision;
}

gboolean
pirl_bank_dtype_choose (const PirlDevice *device, const PirlPrecision *precision,
    const gchar *name, PirlDType *dtype, GError **error)
{
  const gboolean is_auto = !name || strcmp (name, "auto") == 0;

  if (is_auto ? is_cuda (device) && precision->dtype != PIRL_DTYPE_F32
      : strcmp (name, "fp16") == 0)
    *dtype = PIRL_DTYPE_F16;
  else
    *dtype = device->param_dtype;
  if (is_auto || strcmp (name, "fp16") == 0 || strcmp (name, "f32") == 0)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "unknown bank-precision \"%s\"; there are auto, f32 and fp16", name);
  return FALSE;
}

const gchar *
pirl_bank_precision_name (PirlDType dtype)
{
  return dtype == PIRL_DTYPE_F16 ? "fp16" : "f32";
}
