/* gst-pirl: writes a trained network down for other tools.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From a checkpoint or model file as pirl_embedder_new() takes it (names of VISSL and timm too):
 *   torchvision   safetensors, float32, under torchvision's names and nothing else: trunk and,
 *                 where there is one, classifier; for load_state_dict() of torchvision's networks
 *                 and timm's ResNets
 *   onnx          one layer's vector as an ONNX model (opset 10): ONNX Runtime, OpenCV's DNN
 *   detectron2    a pickle of NumPy arrays under Detectron2's names (R-50-C4 and FPN), which
 *                 MODEL.WEIGHTS takes
 * A file is written whole or not at all.
 */
#pragma once

#include "base/base.h"

typedef struct {
  const gchar *format;          /* one of pirl_export_formats() */
  const gchar *layer;           /* onnx: as of pirl_embedder_new(); NULL = its default */
  gboolean preprocess;          /* onnx: the input is pixels, 0..255, not normalised ones */
} PirlExport;

/** NULL-terminated. */
PIRL_API const gchar *const *pirl_export_formats (void);
/**
 * Writes the network of @model_file to @path. Returns what a user must know to read it (a few
 * lines; transfer full), NULL on error: %PIRL_ERROR_INVALID for a format that does not exist or an option
 * that it does not have, %PIRL_ERROR_MISMATCH for a layer that the model does not have or a network
 * that the format does not have, %PIRL_ERROR_NOT_FINITE for damaged weights, %PIRL_ERROR_IO.
 */
PIRL_API gchar *pirl_export (const gchar *model_file, const PirlExport *options,
    const gchar *path, GError **error);
