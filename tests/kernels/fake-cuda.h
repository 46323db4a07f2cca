/* gst-pirl: a CUDA module without CUDA: what the tests tell fake-cuda.c, found with dlsym().
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/** What befalls the module's devices, from now on. */
typedef struct {
  gint overflows;               /* so many steps find a gradient that is not finite */
  gint fail_at;                 /* the operation with this number in its step fails; 0 = none */
  gint fail_launch, fail_end;   /* these fail once */
  gint eager;                   /* operations run when they are queued, as in a first step */
  gint cancel_at;               /* the operation with this number sets @cancel; 0 = none */
  gint *cancel;
  /* Counted. */
  gint steps, aborted, staged, staged_in_steps;
} FakeCuda;

#define FAKE_CUDA_STATE "fake_cuda_state"
typedef FakeCuda *(*FakeCudaState) (void);
