/* gst-pirl: ResNet v1.5 (He et al. 2016; the stride of a bottleneck is in its 3x3, as torchvision).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "net/params.h"

typedef enum { PIRL_RESNET_18, PIRL_RESNET_34, PIRL_RESNET_50 } PirlResnetDepth;

typedef struct {
  PirlResnetDepth depth;
  gint base_width;              /* channels of the first stage; 64 in the papers */
} PirlResnet;

/** Levels of a trunk: the stem's output after pooling, and the four stages. */
typedef enum { PIRL_RES1, PIRL_RES2, PIRL_RES3, PIRL_RES4, PIRL_RES5, PIRL_N_LEVELS } PirlLevel;

/** "resnet18", "resnet34", "resnet50"; %PIRL_ERROR_INVALID names them. */
PIRL_API gboolean pirl_resnet_from_name (const gchar *name, gint base_width, PirlResnet *resnet,
    GError **error);
PIRL_API const gchar *pirl_resnet_name (const PirlResnet *resnet);
/** Channels of a level's output. */
PIRL_API gint pirl_resnet_channels (const PirlResnet *resnet, PirlLevel level);
/** Recognises a trunk by names and shapes of its tensors. */
PIRL_API gboolean pirl_resnet_detect (const PirlSafetensors *file, PirlResnet *resnet,
    GError **error);
/** Appends the trunk; fills @levels with the values of res1..res5 (not pooled). */
PIRL_API void pirl_resnet_build (PirlGraph *graph, const PirlResnet *resnet, PirlValue input,
    PirlValue levels[PIRL_N_LEVELS]);

/** Projection heads. LINEAR: the paper's. BN: batch norm, then linear. MLP: linear, batch norm,
 * ReLU, linear. */
typedef enum { PIRL_HEAD_LINEAR, PIRL_HEAD_BN, PIRL_HEAD_MLP } PirlHead;

/** f: pooled features -> @dim, unit length. Parameters "head.f.bn.*" (BN), "head.f.hidden.*" and
 * "head.f.hidden_bn.*" (MLP), "head.f.projection.*". */
PIRL_API PirlValue pirl_head_f (PirlGraph *graph, PirlHead head, PirlValue pooled, gint dim);
/** g: n*p patches' pooled features -> @dim a patch ("head.g.patch.*", built as f without the norm),
 * p of them read as one row, "head.g.concat.*" -> @dim, unit length. A single "patch" (p = 1, a
 * whole picture that was turned) has "head.g.patch.*" alone. */
PIRL_API PirlValue pirl_head_g (PirlGraph *graph, PirlHead head, PirlValue pooled, gint patches,
    gint dim);
/** Which of @classes permutations: n*p patches' pooled features -> @hidden a patch
 * ("head.jigsaw.patch.*", batch norm "head.jigsaw.patch_bn.*", ReLU), p of them read as one row,
 * "head.jigsaw.classes.*" -> logits. */
PIRL_API PirlValue pirl_head_jigsaw (PirlGraph *graph, PirlValue pooled, gint patches, gint hidden,
    gint classes);
/** By how many quarters a picture was turned: "head.rotation.classes.*" -> logits. */
PIRL_API PirlValue pirl_head_rotation (PirlGraph *graph, PirlValue pooled, gint classes);
