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
 * planning. auto: fp16 on a CUDA device that runs it, else f32.
 * %PIRL_ERROR_INVALID for an unknown name, %PIRL_ERROR_UNSUPPORTED with the device's reason.
 * Static. */
PIRL_API const PirlPrecision *pirl_precision_choose (PirlDevice *device, PirlMode mode,
    const gchar *name, GError **error);

/**
 * What @name ("auto", "f32", "fp16"; NULL = auto) means for the rows of a memory bank on @device,
 * where a network trains in @precision. f32: the device's param_dtype. auto: fp16 where a CUDA
 * device trains in 16 bits, else f32. %PIRL_ERROR_INVALID for an unknown name.
 *
 * 16 bits leave a unit row's numbers a relative error of 2^-11 at most, and a score, the sum of all
 * of them, less: little beside that of a network in 16 bits (learn-trainer-test.c). The bank's rows
 * are what a step against many negatives reads most of.
 */
PIRL_API gboolean pirl_bank_dtype_choose (const PirlDevice *device, const PirlPrecision *precision,
    const gchar *name, PirlDType *dtype, GError **error);
/** "f32" or "fp16". */
PIRL_API const gchar *pirl_bank_precision_name (PirlDType dtype);
