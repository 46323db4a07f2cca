/* gst-pirl: what device.c tells module.c.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "backends/backend.h"

/** Why the CUDA device was not to be opened; NULL = it was. */
void pirl_cuda_note (const gchar *reason);
