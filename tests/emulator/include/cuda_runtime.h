/* gst-pirl: what CUDA's compiler and runtime give to a .cu file, for the emulator.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cuda_runtime_api.h"
#ifdef __cplusplus
#include "emulator.h"
#endif
