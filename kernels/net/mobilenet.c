/* gst-pirl: MobileNetV2 (Sandler et al. 2018).
 *
 * Stem: conv 3x3/2 to 32 channels. Seven stages of inverted residuals: 1x1 to t times the channels
 * (not where t = 1), depthwise 3x3(/s), 1x1 without activation to c; the input is added where its
 * shape is the output's. Last: conv 1x1 to 1280. Each convolution has batch norm and, unless said
 * otherwise, ReLU6. Channels are scaled by the width factor and rounded as torchvision's
 * _make_divisible(): to the nearest multiple of 8, but never below nine tenths. Names and shapes
 * are torchvision's.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/mobilenet.h"

#include <string.h>

#include "net/names.h"

#define DIVISOR 8
#define N_STAGES 7
#define STEM_CHANNELS 32
#define LAST_CHANNELS 1280
#define LAST_BLOCK 17
#define MIN_WIDTH 0.05
#define MAX_WIDTH 4.0
#define CLASSIFIER_DEVIATION 0.01

/* The paper's table 2. */
static const struct {
  gint expand, channels, blocks, stride;
} stages[N_STAGES] = {
  {1, 16, 1, 1},
  {6, 24, 2, 2},
  {6, 32, 3, 2},
  {6, 64, 4, 2},
  {6, 96, 3, 1},
  {6, 160, 3, 2},
  {6, 320, 1, 1},
};

static gint
scaled (gdouble width, gint channels)
{
  const gdouble exact = width * channels;
  gint rounded = MAX (DIVISOR, (gint) (exact + DIVISOR / 2) / DIVISOR * DIVISOR);

  if (rounded < 0.9 * exact)
    rounded += DIVISOR;
  return rounded;
}

gboolean
pirl_mobilenet_from_width (gdouble width, PirlMobilenet *net, GError **error)
{
  if (!(width >= MIN_WIDTH && width <= MAX_WIDTH)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a MobileNetV2 of width %g cannot be built; the factor of its channels is from %g to %g "
        "(1 in the paper)", width, MIN_WIDTH, MAX_WIDTH);
    return FALSE;
  }
  net->width = width;
  return TRUE;
}

gint
pirl_mobilenet_channels (const PirlMobilenet *net)
{
  return scaled (MAX (net->width, 1.0), LAST_CHANNELS);
}

/* --- recognising one --- */

/* Output channels of convolution "@layer.weight"; 0 when there is none. */
static gint
file_channels (const PirlSafetensors *file, const gchar *layer)
{
  g_autofree gchar *name = g_strconcat (layer, ".weight", NULL);
  const PirlTensor *tensor = pirl_tensor_find (file, name);

  if (!tensor || tensor->shape.rank != 4 || tensor->shape.dim[0] > G_MAXINT)
    return 0;
  return (gint) tensor->shape.dim[0];
}

/* What tells the width: the stem and the result of each stage. */
static const gchar *const telling[N_STAGES + 1] = {
  "features.0.0", "features.1.conv.1", "features.2.conv.2", "features.4.conv.2",
  "features.7.conv.2", "features.11.conv.2", "features.14.conv.2", "features.17.conv.2",
};

static gboolean
width_fits (gdouble width, const gint has[N_STAGES + 1], gint last)
{
  const PirlMobilenet net = { width };

  for (guint i = 0; i <= N_STAGES; i++)
    if (has[i] != scaled (width, i == 0 ? STEM_CHANNELS : stages[i - 1].channels))
      return FALSE;
  return last == pirl_mobilenet_channels (&net);
}

/* The file's own word, the published factors, then whatever gives these channels. */
static gboolean
find_width (const PirlSafetensors *file, const gint has[N_STAGES + 1], gint last, gdouble *width)
{
  static const gdouble published[] = { 1, 0.75, 0.5, 0.35, 1.4, 1.3, 0.25 };
  const gchar *text = pirl_safetensors_metadata (file, "width");

  *width = text ? g_ascii_strtod (text, NULL) : 0;
  if (*width >= MIN_WIDTH && *width <= MAX_WIDTH && width_fits (*width, has, last))
    return TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (published); i++)
    if (width_fits (*width = published[i], has, last))
      return TRUE;
  for (gint i = (gint) (1000 * MIN_WIDTH); i <= (gint) (1000 * MAX_WIDTH); i++)
    if (width_fits (*width = i / 1000.0, has, last))
      return TRUE;
  return FALSE;
}

gboolean
pirl_mobilenet_detect (const PirlSafetensors *file, PirlMobilenet *net, GError **error)
{
  const gint last = file_channels (file, "features.18.0");
  g_autofree gchar *model = g_path_get_basename (pirl_safetensors_name (file));
  g_autoptr (GString) found = g_string_new (NULL);
  gint has[N_STAGES + 1];

  for (guint i = 0; i <= N_STAGES; i++) {
    has[i] = file_channels (file, telling[i]);
    g_string_append_printf (found, "%d,", has[i]);
  }
  if (find_width (file, has, last, &net->width))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "model \"%s\" is not a MobileNetV2 of any width: its stem, stages and last convolution have "
      "%s%d channels (0 = absent); that of width 1 has 32,16,24,32,64,96,160,320,1280", model,
      found->str, last);
  return FALSE;
}

/* --- timm's names --- */

/* Convolutions and batch norms of a block, after its name. */
static const struct {
  const gchar *torchvision, *timm;
} first_block[] = {
  {"conv.0.0.", "conv_dw."},
  {"conv.0.1.", "bn1."},
  {"conv.1.", "conv_pw."},
  {"conv.2.", "bn2."},
}, block_layers[] = {
  {"conv.0.0.", "conv_pw."},
  {"conv.0.1.", "bn1."},
  {"conv.1.0.", "conv_dw."},
  {"conv.1.1.", "bn2."},
  {"conv.2.", "conv_pwl."},
  {"conv.3.", "bn3."},
}, outer_layers[] = {
  {"features.0.0.", "conv_stem."},
  {"features.0.1.", "bn1."},
  {"features.18.0.", "conv_head."},
  {"features.18.1.", "bn2."},
  {"classifier.1.", "classifier."},
};

/* "blocks.S.B." of the block that torchvision numbers @block (1..17). */
static gchar *
timm_block (gint block)
{
  gint stage = 0;

  for (block--; block >= stages[stage].blocks; stage++)
    block -= stages[stage].blocks;
  return g_strdup_printf ("blocks.%d.%d.", stage, block);
}

gchar *
pirl_mobilenet_timm_name (const gchar *name)
{
  const gchar *rest = name;
  gint block = 0;

  for (guint i = 0; i < G_N_ELEMENTS (outer_layers); i++)
    if (g_str_has_prefix (name, outer_layers[i].torchvision))
      return g_strconcat (outer_layers[i].timm, name + strlen (outer_layers[i].torchvision), NULL);
  if (!g_str_has_prefix (name, "features."))
    return NULL;
  block = (gint) g_ascii_strtoll (name + strlen ("features."), (gchar **) &rest, 10);
  if (block < 1 || block > LAST_BLOCK || *rest++ != '.')
    return NULL;
  for (guint i = 0; i < (block == 1 ? G_N_ELEMENTS (first_block) : G_N_ELEMENTS (block_layers));
      i++) {
    const gchar *ours = block == 1 ? first_block[i].torchvision : block_layers[i].torchvision;
    const gchar *theirs = block == 1 ? first_block[i].timm : block_layers[i].timm;

    if (g_str_has_prefix (rest, ours)) {
      g_autofree gchar *prefix = timm_block (block);

      return g_strconcat (prefix, theirs, rest + strlen (ours), NULL);
    }
  }
  return NULL;
}

/* --- building one --- */

/* Convolution "@prefix.@conv" with batch norm "@prefix.@bn". */
static PirlValue
layer (PirlGraph *graph, PirlValue input, const gchar *prefix, const gchar *conv, const gchar *bn,
    gint channels, gint kernel, gint stride, gint groups, PirlValue residual,
    PirlActivation activation)
{
  g_autofree gchar *conv_name = g_strconcat (prefix, ".", conv, NULL);
  g_autofree gchar *bn_name = g_strconcat (prefix, ".", bn, NULL);

  return pirl_graph_conv_bn (graph, input, conv_name, bn_name, channels, kernel, stride,
      kernel / 2, groups, residual, activation);
}

static PirlValue
build_block (PirlGraph *graph, gint number, PirlValue input, gint expand, gint channels,
    gint stride)
{
  g_autofree gchar *prefix = g_strdup_printf ("features.%d", number);
  const gint inputs = pirl_graph_dims (graph, input).c, hidden = inputs * expand;
  const PirlValue shortcut = stride == 1 && inputs == channels ? input : PIRL_NO_VALUE;
  PirlValue x = input;

  if (expand == 1) {
    x = layer (graph, x, prefix, "conv.0.0", "conv.0.1", hidden, 3, stride, hidden, PIRL_NO_VALUE,
        PIRL_ACT_RELU6);
    return layer (graph, x, prefix, "conv.1", "conv.2", channels, 1, 1, 1, shortcut,
        PIRL_ACT_NONE);
  }
  x = layer (graph, x, prefix, "conv.0.0", "conv.0.1", hidden, 1, 1, 1, PIRL_NO_VALUE,
      PIRL_ACT_RELU6);
  x = layer (graph, x, prefix, "conv.1.0", "conv.1.1", hidden, 3, stride, hidden, PIRL_NO_VALUE,
      PIRL_ACT_RELU6);
  return layer (graph, x, prefix, "conv.2", "conv.3", channels, 1, 1, 1, shortcut, PIRL_ACT_NONE);
}

PirlValue
pirl_mobilenet_build (PirlGraph *graph, const PirlMobilenet *net, PirlValue input)
{
  gint number = 1;
  PirlValue x = layer (graph, input, "features.0", "0", "1", scaled (net->width, STEM_CHANNELS), 3,
      2, 1, PIRL_NO_VALUE, PIRL_ACT_RELU6);

  for (guint s = 0; s < N_STAGES; s++)
    for (gint block = 0; block < stages[s].blocks; block++)
      x = build_block (graph, number++, x, stages[s].expand,
          scaled (net->width, stages[s].channels), block == 0 ? stages[s].stride : 1);
  return layer (graph, x, "features.18", "0", "1", pirl_mobilenet_channels (net), 1, 1, 1,
      PIRL_NO_VALUE, PIRL_ACT_RELU6);
}

PirlValue
pirl_mobilenet_classifier (PirlGraph *graph, PirlValue pooled, gint classes)
{
  const PirlValue logits = pirl_graph_linear (graph, pooled, "classifier.1", classes,
      PIRL_ACT_NONE);
  const PirlUnit *unit = &g_array_index (graph->units, PirlUnit, logits);
  PirlParamSpec *weight = g_ptr_array_index (graph->params, unit->param[PIRL_SLOT_WEIGHT]);
  PirlParamSpec *bias = g_ptr_array_index (graph->params, unit->param[PIRL_SLOT_BIAS]);

  weight->init = bias->init = PIRL_INIT_NORMAL;
  weight->deviation = CLASSIFIER_DEVIATION;
  return logits;
}
