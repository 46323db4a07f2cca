/* gst-pirl: ResNet v1.5 and PIRL's projection heads.
 *
 * Stem: conv 7x7/2 padding 3, BN, ReLU, max pool 3/2 padding 1. Four stages of w, 2w, 4w, 8w
 * channels, the first block of stages 2..4 with stride 2. A basic block is 3x3(/s), 3x3; a
 * bottleneck is 1x1, 3x3(/s), 1x1 to four times the channels; where shapes change the shortcut is a
 * 1x1(/s) convolution with BN ("downsample.0", ".1"). Names and shapes are torchvision's.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/resnet.h"
#include "net/names.h"

#define N_STAGES 4
#define BOTTLENECK_EXPANSION 4
#define MAX_BASE_WIDTH 1024

static const struct {
  const gchar *name;
  gboolean bottleneck;
  gint blocks[N_STAGES];
} depths[] = {
  [PIRL_RESNET_18] = { "resnet18", FALSE, {2, 2, 2, 2} },
  [PIRL_RESNET_34] = { "resnet34", FALSE, {3, 4, 6, 3} },
  [PIRL_RESNET_50] = { "resnet50", TRUE, {3, 4, 6, 3} },
};

gboolean
pirl_resnet_from_name (const gchar *name, gint base_width, PirlResnet *resnet, GError **error)
{
  if (base_width < 1 || base_width > MAX_BASE_WIDTH) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a base width of %d cannot be built; it is the channels of the first stage, 1 to %d "
        "(the published networks have 64)", base_width, MAX_BASE_WIDTH);
    return FALSE;
  }
  for (guint i = 0; i < G_N_ELEMENTS (depths); i++)
    if (g_strcmp0 (name, depths[i].name) == 0) {
      *resnet = (PirlResnet) { (PirlResnetDepth) i, base_width };
      return TRUE;
    }
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "unknown architecture \"%s\"; there are resnet18, resnet34 and resnet50",
      name ? name : "(none)");
  return FALSE;
}

const gchar *
pirl_resnet_name (const PirlResnet *resnet)
{
  return depths[resnet->depth].name;
}

gint
pirl_resnet_channels (const PirlResnet *resnet, PirlLevel level)
{
  if (level == PIRL_RES1)
    return resnet->base_width;
  return (resnet->base_width << (level - PIRL_RES2))
      * (depths[resnet->depth].bottleneck ? BOTTLENECK_EXPANSION : 1);
}

/* Blocks of @stage (1..4) that @file has. */
static gint
count_blocks (const PirlSafetensors *file, gint stage)
{
  for (gint block = 0;; block++) {
    g_autofree gchar *name = g_strdup_printf ("layer%d.%d.conv1.weight", stage, block);

    if (!pirl_tensor_find (file, name))
      return block;
  }
}

gboolean
pirl_resnet_detect (const PirlSafetensors *file, PirlResnet *resnet, GError **error)
{
  const PirlTensor *stem = pirl_tensor_find (file, "conv1.weight");
  const gboolean bottleneck = pirl_tensor_find (file, "layer1.0.conv3.weight") != NULL;
  g_autofree gchar *model = g_path_get_basename (pirl_safetensors_name (file));
  gint blocks[N_STAGES];

  if (!stem || stem->shape.rank != 4 || stem->shape.dim[0] < 1
      || stem->shape.dim[0] > MAX_BASE_WIDTH) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "model \"%s\" is not a ResNet: it has no usable tensor conv1.weight (torchvision's "
        "parameter names are expected)", model);
    return FALSE;
  }
  for (gint stage = 0; stage < N_STAGES; stage++)
    blocks[stage] = count_blocks (file, stage + 1);
  for (guint i = 0; i < G_N_ELEMENTS (depths); i++) {
    gboolean same = depths[i].bottleneck == bottleneck;

    for (gint stage = 0; stage < N_STAGES; stage++)
      same = same && depths[i].blocks[stage] == blocks[stage];
    if (same) {
      *resnet = (PirlResnet) { (PirlResnetDepth) i, (gint) stem->shape.dim[0] };
      return TRUE;
    }
  }
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "model \"%s\" has %s blocks %d,%d,%d,%d in its four stages; known are resnet18 (basic "
      "2,2,2,2), resnet34 (basic 3,4,6,3) and resnet50 (bottleneck 3,4,6,3)", model,
      bottleneck ? "bottleneck" : "basic", blocks[0], blocks[1], blocks[2], blocks[3]);
  return FALSE;
}

/* One convolution of block @prefix: "@prefix.conv@i" and "@prefix.bn@i". */
static PirlValue
block_conv (PirlGraph *graph, PirlValue input, const gchar *prefix, gint i, gint channels,
    gint kernel, gint stride, PirlValue residual)
{
  g_autofree gchar *conv = g_strdup_printf ("%s.conv%d", prefix, i);
  g_autofree gchar *bn = g_strdup_printf ("%s.bn%d", prefix, i);

  return pirl_graph_conv_bn (graph, input, conv, bn, channels, kernel, stride, kernel / 2, 1,
      residual, PIRL_ACT_RELU);
}

static PirlValue
build_block (PirlGraph *graph, const gchar *prefix, gboolean bottleneck, PirlValue input,
    gint channels, gint stride)
{
  const gint outputs = bottleneck ? channels * BOTTLENECK_EXPANSION : channels;
  PirlValue shortcut = input, x;

  if (stride != 1 || pirl_graph_dims (graph, input).c != outputs) {
    g_autofree gchar *conv = g_strconcat (prefix, ".downsample.0", NULL);
    g_autofree gchar *bn = g_strconcat (prefix, ".downsample.1", NULL);

    shortcut = pirl_graph_conv_bn (graph, input, conv, bn, outputs, 1, stride, 0, 1,
        PIRL_NO_VALUE, PIRL_ACT_NONE);
  }
  if (!bottleneck) {
    x = block_conv (graph, input, prefix, 1, channels, 3, stride, PIRL_NO_VALUE);
    return block_conv (graph, x, prefix, 2, channels, 3, 1, shortcut);
  }
  x = block_conv (graph, input, prefix, 1, channels, 1, 1, PIRL_NO_VALUE);
  x = block_conv (graph, x, prefix, 2, channels, 3, stride, PIRL_NO_VALUE);
  return block_conv (graph, x, prefix, 3, outputs, 1, 1, shortcut);
}

void
pirl_resnet_build (PirlGraph *graph, const PirlResnet *resnet, PirlValue input,
    PirlValue levels[PIRL_N_LEVELS])
{
  const gboolean bottleneck = depths[resnet->depth].bottleneck;
  PirlValue x = pirl_graph_conv_bn (graph, input, "conv1", "bn1", resnet->base_width, 7, 2, 3, 1,
      PIRL_NO_VALUE, PIRL_ACT_RELU);

  levels[PIRL_RES1] = x = pirl_graph_maxpool (graph, x, 3, 2, 1);
  for (gint stage = 0; stage < N_STAGES; stage++) {
    for (gint block = 0; block < depths[resnet->depth].blocks[stage]; block++) {
      g_autofree gchar *prefix = g_strdup_printf ("layer%d.%d", stage + 1, block);

      x = build_block (graph, prefix, bottleneck, x, resnet->base_width << stage,
          stage > 0 && block == 0 ? 2 : 1);
    }
    levels[PIRL_RES2 + stage] = x;
  }
}

/* A head's layers up to its last linear one, all named "@head.*". */
static PirlValue
build_head (PirlGraph *graph, PirlHead kind, const gchar *head, PirlValue x, gint dim)
{
  g_autofree gchar *bn = g_strconcat (head, ".bn", NULL);
  g_autofree gchar *hidden = g_strconcat (head, ".hidden", NULL);
  g_autofree gchar *hidden_bn = g_strconcat (head, ".hidden_bn", NULL);
  g_autofree gchar *projection = g_strconcat (head, ".projection", NULL);

  if (kind == PIRL_HEAD_BN) {
    x = pirl_graph_batchnorm (graph, x, bn, PIRL_ACT_NONE);
  } else if (kind == PIRL_HEAD_MLP) {
    x = pirl_graph_linear (graph, x, hidden, pirl_graph_dims (graph, x).c, PIRL_ACT_NONE);
    x = pirl_graph_batchnorm (graph, x, hidden_bn, PIRL_ACT_RELU);
  }
  return pirl_graph_linear (graph, x, projection, dim, PIRL_ACT_NONE);
}

PirlValue
pirl_head_f (PirlGraph *graph, PirlHead head, PirlValue pooled, gint dim)
{
  return pirl_graph_l2norm (graph, build_head (graph, head, "head.f", pooled, dim));
}

PirlValue
pirl_head_g (PirlGraph *graph, PirlHead head, PirlValue pooled, gint patches, gint dim)
{
  PirlValue x = build_head (graph, head, "head.g.patch", pooled, dim);

  if (patches > 1) {
    x = pirl_graph_group (graph, x, patches);
    x = pirl_graph_linear (graph, x, "head.g.concat", dim, PIRL_ACT_NONE);
  }
  return pirl_graph_l2norm (graph, x);
}

PirlValue
pirl_head_jigsaw (PirlGraph *graph, PirlValue pooled, gint patches, gint hidden, gint classes)
{
  PirlValue x = pirl_graph_linear (graph, pooled, "head.jigsaw.patch", hidden, PIRL_ACT_NONE);

  x = pirl_graph_batchnorm (graph, x, "head.jigsaw.patch_bn", PIRL_ACT_RELU);
  x = pirl_graph_group (graph, x, patches);
  return pirl_graph_linear (graph, x, "head.jigsaw.classes", classes, PIRL_ACT_NONE);
}

PirlValue
pirl_head_rotation (PirlGraph *graph, PirlValue pooled, gint classes)
{
  return pirl_graph_linear (graph, pooled, "head.rotation.classes", classes, PIRL_ACT_NONE);
}
