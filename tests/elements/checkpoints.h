/* gst-pirl: what tests of trainings ask of checkpoints.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/check/gstcheck.h>
#include <string.h>

#include "base/safetensors.h"

static inline PirlSafetensors *
checkpoint_open (const gchar * path)
{
  GError *error = NULL;
  PirlSafetensors *file = pirl_safetensors_open (path, &error);

  fail_unless (file != NULL, "%s", error ? error->message : path);
  return file;
}

static inline guint64
checkpoint_step (const gchar * path)
{
  g_autoptr (PirlSafetensors) file = checkpoint_open (path);

  return g_ascii_strtoull (pirl_safetensors_metadata (file, "state.step"), NULL, 10);
}

/* Every tensor and the place in the data set, bit for bit. */
static inline void
expect_same_checkpoint (const gchar * path_a, const gchar * path_b)
{
  static const gchar *const keys[] = { "state.step", "state.z", "objective", "transform",
    "position.epoch", "position.index", "position.samples", "position.hash", "position.seed",
    "class_names"
  };
  g_autoptr (PirlSafetensors) a = checkpoint_open (path_a);
  g_autoptr (PirlSafetensors) b = checkpoint_open (path_b);

  for (guint i = 0; i < G_N_ELEMENTS (keys); i++)
    fail_unless_equals_string (pirl_safetensors_metadata (a, keys[i]),
        pirl_safetensors_metadata (b, keys[i]));
  fail_unless_equals_int (pirl_safetensors_count (a), pirl_safetensors_count (b));
  for (guint i = 0; i < pirl_safetensors_count (a); i++) {
    const PirlTensor *ta = pirl_safetensors_nth (a, i);
    const PirlTensor *tb = pirl_safetensors_lookup (b, ta->name);

    fail_unless (tb != NULL && tb->size == ta->size, "tensor %s", ta->name);
    fail_unless (memcmp (ta->data, tb->data, ta->size) == 0, "tensor %s differs", ta->name);
  }
}
