/* gst-pirl: in which arithmetic a network runs.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "backends/backend.h"

typedef struct {
  const gchar *name;            /* "f32", "tf32", "bf16", "fp16" */
  PirlDType dtype;              /* of activations */
  gboolean tf32;
} PirlPrecision;

/** What @name ("auto", or one of the above; NULL = auto) means on @device; sets its tf32, so before
 * planning. auto: fp16 on a CUDA device that runs it, else f32. %PIRL_ERROR_INVALID for an unknown
 * name, %PIRL_ERROR_UNSUPPORTED with the device's reason. Static. */
PIRL_API const PirlPrecision *pirl_precision_choose (PirlDevice *device, PirlMode mode,
    const gchar *name, GError **error);
