/* gst-pirl: what a file of weights says about its network, and the network it describes.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Architecture by names and shapes, heads by names, preprocessing by __metadata__ ("resize": short
 * side, "input_size": crop, "mean", "std"; ImageNet's where missing). Shared by those who run a
 * network (embedder.c) and those who write it down (export.c).
 */
#pragma once

#include "net/trunk.h"

/** The largest side of a picture, in pixels. */
#define PIRL_MAX_INPUT_SIZE 2048

typedef struct {
  PirlTrunk trunk;
  gint input_size, resize;      /* pixels: side of the crop, short side before it */
  gfloat mean[3], std[3];       /* of pixels in 0..1 */
  gint dim;                     /* of head f; 0 = none */
  PirlHead head;
  gint classes;                 /* of the classifier; 0 = none */
} PirlModelInfo;

/** ImageNet's preprocessing for crops of @input_size; no trunk, no heads. */
void pirl_model_info_init (PirlModelInfo *info, gint input_size);
/** What @file says: %PIRL_ERROR_MISMATCH where it is no network known here, %PIRL_ERROR_FORMAT
 * where its metadata are nonsense. */
gboolean pirl_model_info_read (PirlModelInfo *info, const PirlSafetensors *file, GError **error);
/** 12 hexadecimal digits of SHA-256 over names, types, shapes and data of the network's tensors
 * (not of training state); transfer full. */
gchar *pirl_model_hash (const PirlSafetensors *file);

/** "embedding" where there is a head, else the features under the trunk's own name for them. */
const gchar *pirl_model_default_layer (const PirlModelInfo *info);
/** A layer of the trunk with this behind its name ("res4-9k") is its map, to be pooled to about
 * 9,000 values (pooling.h). */
#define PIRL_MAP_SUFFIX "-9k"
/** Appends the trunk and what each of @layers (NULL-terminated) needs above it; @is_map says which
 * of the @values are maps. %PIRL_ERROR_MISMATCH lists the layers, where the model lacks one. */
gboolean pirl_model_build_layers (PirlGraph *graph, const PirlModelInfo *info, PirlValue input,
    const gchar *const *layers, PirlValue *values, gboolean *is_map, GError **error);
/** Appends the trunk and what @layer needs above it ("embedding", "logits", a layer of the trunk,
 * pooled) to @graph, whose @input is pictures; %PIRL_NO_VALUE and %PIRL_ERROR_MISMATCH, which lists
 * the layers, where the model does not have it. */
PirlValue pirl_model_build (PirlGraph *graph, const PirlModelInfo *info, PirlValue input,
    const gchar *layer, GError **error);
