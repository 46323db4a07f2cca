/* gst-pirl: what other projects call the tensors of our networks.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/names.h"

#include <stdio.h>
#include <string.h>

/* Layers of a residual block or the stem. */
static const struct {
  const gchar *torchvision, *detectron2;
} resnet_layers[] = {
  {"conv1.", "conv1."},
  {"bn1.", "conv1.norm."},
  {"conv2.", "conv2."},
  {"bn2.", "conv2.norm."},
  {"conv3.", "conv3."},
  {"bn3.", "conv3.norm."},
  {"downsample.0.", "shortcut."},
  {"downsample.1.", "shortcut.norm."},
};

gchar *
pirl_resnet_detectron2_name (const gchar *name)
{
  gint stage = 0, block = 0, length = 0;
  g_autofree gchar *prefix = NULL;

  if (sscanf (name, "layer%d.%d.%n", &stage, &block, &length) == 2 && length > 0)
    prefix = g_strdup_printf ("res%d.%d.", stage + 1, block);
  else
    prefix = g_strdup ("stem.");
  name += length;
  for (guint i = 0; i < G_N_ELEMENTS (resnet_layers); i++)
    if (g_str_has_prefix (name, resnet_layers[i].torchvision))
      return g_strconcat (prefix, resnet_layers[i].detectron2,
          name + strlen (resnet_layers[i].torchvision), NULL);
  return NULL;
}
