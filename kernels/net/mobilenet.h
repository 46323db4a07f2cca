/* gst-pirl: MobileNetV2 (Sandler et al. 2018), torchvision's names and shapes.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "net/params.h"

typedef struct {
  gdouble width;                /* factor of all channels, 1 in the paper; rounded to multiples of 8 as
                                 * torchvision's _make_divisible() */
} PirlMobilenet;

/** %PIRL_ERROR_INVALID outside 0.05 .. 4. */
PIRL_API gboolean pirl_mobilenet_from_width (gdouble width, PirlMobilenet *net, GError **error);
/** Recognises one by names and shapes of its tensors (torchvision's "features.*"; timm's names are
 * mapped). The width is the file's metadata "width" where that fits the shapes, else one that
 * does. */
PIRL_API gboolean pirl_mobilenet_detect (const PirlSafetensors *file, PirlMobilenet *net,
    GError **error);
/** Channels of the last convolution: 1280, more for a width above 1. */
PIRL_API gint pirl_mobilenet_channels (const PirlMobilenet *net);
/** Appends "features.0" .. "features.18"; gives the last feature map (not pooled). */
PIRL_API PirlValue pirl_mobilenet_build (PirlGraph *graph, const PirlMobilenet *net,
    PirlValue input);
/** pooled features -> logits, "classifier.1.*"; initial weights N(0, 0.01), biases 0, as
 * torchvision. */
PIRL_API PirlValue pirl_mobilenet_classifier (PirlGraph *graph, PirlValue pooled, gint classes);
