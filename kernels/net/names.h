/* gst-pirl: what the files of net/ and learn/ know of each other beyond the public headers.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "net/params.h"

/** Tensor @name of a torchvision network, as it stands or under a prefix of another project
 * ("module.", "backbone.", ...), or under timm's name; NULL when there is none. */
const PirlTensor *pirl_tensor_find (const PirlSafetensors *file, const gchar *name);

/** What timm calls MobileNetV2's tensor @name; NULL when it is none. */
gchar *pirl_mobilenet_timm_name (const gchar *name);

/** What Detectron2 calls tensor @name of a ResNet's trunk ("stem.conv1.norm.weight",
 * "res2.0.shortcut.weight"); NULL when it is none. */
gchar *pirl_resnet_detectron2_name (const gchar *name);

/** pirl_params_load() that leaves parameters alone whose names start with @except (NULL: none). */
gboolean pirl_params_load_except (PirlParams *params, const PirlSafetensors *file,
    const gchar *const *required, const gchar *except, PirlLoadReport *report, GError **error);

/** Checks that @tensor of @file is floating point and has @shape. */
gboolean pirl_tensor_check (const PirlSafetensors *file, const PirlTensor *tensor,
    const gchar *name, const PirlShape *shape, GError **error);

/** Checks that @file has every parameter of @specs (PirlParamSpec *) that starts with one of the
 * prefixes @required, and those it has with the right shape; those that start with @except (NULL:
 * none) are not looked at. */
gboolean pirl_specs_check (const GPtrArray *specs, const PirlSafetensors *file,
    const gchar *const *required, const gchar *except, GError **error);

/** Device memory of all running statistics, one after the other, and its length in bytes. */
gpointer pirl_params_buffers (PirlParams *params, gsize *bytes);
/** Device bytes of all arenas. */
gsize pirl_params_bytes (const PirlParams *params);
