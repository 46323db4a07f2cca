/* gst-pirl: the architectures that can be trained and run: one table of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A trunk turns pictures into a feature map; what is pooled from it is the features. A classifier
 * on top has the name that torchvision gives it.
 */
#pragma once

#include "net/mobilenet.h"
#include "net/resnet.h"

typedef enum {
  PIRL_ARCH_RESNET18,
  PIRL_ARCH_RESNET34,
  PIRL_ARCH_RESNET50,
  PIRL_ARCH_MOBILENETV2,
  PIRL_N_ARCHS
} PirlArch;

typedef struct {
  PirlArch arch;
  gint base_width;              /* ResNet: channels of the first stage; 0 for the others */
  gdouble width;                /* MobileNetV2: factor of all channels; 0 for the others */
} PirlTrunk;

/** "resnet18", "resnet34", "resnet50", "mobilenetv2"; %PIRL_ERROR_INVALID names them. The width
 * that the architecture does not have is not looked at. */
PIRL_API gboolean pirl_trunk_from_name (const gchar *name, gint base_width, gdouble width,
    PirlTrunk *trunk, GError **error);
/** Recognises one by names and shapes of its tensors. */
PIRL_API gboolean pirl_trunk_detect (const PirlSafetensors *file, PirlTrunk *trunk,
    GError **error);
PIRL_API const gchar *pirl_trunk_name (const PirlTrunk *trunk);
/** "resnet50 of base width 64", "mobilenetv2 of width 0.35"; transfer full. */
PIRL_API gchar *pirl_trunk_describe (const PirlTrunk *trunk);
/** NULL-terminated; the first is the pooled last map, under the name it is known by. "features" is
 * that for all architectures. */
PIRL_API const gchar *const *pirl_trunk_layers (const PirlTrunk *trunk);
/** As many as a trunk has at most. */
#define PIRL_MAX_LAYERS 6
/** The number of @layer (NULL: the first) among pirl_trunk_layers(); -1 = there is none. */
PIRL_API gint pirl_trunk_find_layer (const PirlTrunk *trunk, const gchar *layer);
/** Appends the trunk; fills @maps with what is behind each of pirl_trunk_layers(). */
PIRL_API void pirl_trunk_build_all (PirlGraph *graph, const PirlTrunk *trunk, PirlValue input,
    PirlValue maps[PIRL_MAX_LAYERS]);
/** Appends the trunk; gives the map behind @layer (NULL: the last), %PIRL_NO_VALUE when there is
 * no such layer. */
PIRL_API PirlValue pirl_trunk_build (PirlGraph *graph, const PirlTrunk *trunk, PirlValue input,
    const gchar *layer);
/** Whether 16-bit inference pays on matrix units: not where the time goes into depthwise
 * convolutions, which have little to multiply (MobileNetV2 took 7.6 ms in bf16 and 4.1 ms in f32
 * with AVX-512's bf16 instructions, and bf16 costs its many thin layers more digits). */
PIRL_API gboolean pirl_trunk_gains_from_bf16 (const PirlTrunk *trunk);
/** "fc", "classifier.1". */
PIRL_API const gchar *pirl_trunk_classifier_name (const PirlTrunk *trunk);
/** pooled features -> logits. */
PIRL_API PirlValue pirl_trunk_classifier (PirlGraph *graph, const PirlTrunk *trunk,
    PirlValue pooled, gint classes);
/** Prefixes of the trunk's own parameters, NULL-terminated: what a file of weights must have. */
PIRL_API const gchar *const *pirl_trunk_prefixes (const PirlTrunk *trunk);
