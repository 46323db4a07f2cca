/* gst-pirl: what a fuzzing program must have: one function that libFuzzer (fuzzing) or replay.c
 * (looking at a folder of files once) calls.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

int LLVMFuzzerTestOneInput (const guint8 *data, gsize size);
