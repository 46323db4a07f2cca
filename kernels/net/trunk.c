/* gst-pirl: the architectures that can be trained and run.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/trunk.h"

#include <string.h>

#include "net/names.h"

/* What architectures of one kind share. */
typedef struct {
  const gchar *marker;          /* a tensor that every file of the family has */
  const gchar *const *layers, *const *prefixes;
  const gchar *classifier;
  gboolean gains_from_bf16;
  gboolean (*detect) (const PirlSafetensors *file, PirlTrunk *trunk, GError **error);
  gboolean (*check) (PirlTrunk *trunk, const gchar *name, gint base_width, gdouble width,
      GError **error);
  /* The maps behind @layers. */
  void (*build) (PirlGraph *graph, const PirlTrunk *trunk, PirlValue input, PirlValue *maps);
  PirlValue (*classify) (PirlGraph *graph, PirlValue pooled, gint classes);
  gchar *(*describe) (const PirlTrunk *trunk);
} Family;

/* --- ResNet --- */

static const gchar *const resnet_layers[] = { "res5", "res4", "res3", "res2", "res1", "features",
  NULL };
static const gchar *const resnet_prefixes[] = { "conv1.", "bn1.", "layer", NULL };

static PirlResnet
as_resnet (const PirlTrunk *trunk)
{
  return (PirlResnet) { (PirlResnetDepth) trunk->arch, trunk->base_width };
}

static gboolean
resnet_detect (const PirlSafetensors *file, PirlTrunk *trunk, GError **error)
{
  PirlResnet resnet;

  if (!pirl_resnet_detect (file, &resnet, error))
    return FALSE;
  *trunk = (PirlTrunk) { (PirlArch) resnet.depth, resnet.base_width, 0 };
  return TRUE;
}

static gboolean
resnet_check (PirlTrunk *trunk, const gchar *name, gint base_width, gdouble width, GError **error)
{
  PirlResnet resnet;

  trunk->base_width = base_width;
  return pirl_resnet_from_name (name, base_width, &resnet, error);
}

static void
resnet_build (PirlGraph *graph, const PirlTrunk *trunk, PirlValue input, PirlValue *maps)
{
  const PirlResnet resnet = as_resnet (trunk);
  PirlValue levels[PIRL_N_LEVELS];

  pirl_resnet_build (graph, &resnet, input, levels);
  for (guint i = 0; resnet_layers[i]; i++)
    maps[i] = levels[i < PIRL_N_LEVELS ? PIRL_RES5 - i : PIRL_RES5];
}

static PirlValue
resnet_classify (PirlGraph *graph, PirlValue pooled, gint classes)
{
  return pirl_graph_linear (graph, pooled, "fc", classes, PIRL_ACT_NONE);
}

static gchar *
resnet_describe (const PirlTrunk *trunk)
{
  return g_strdup_printf ("%s of base width %d", pirl_trunk_name (trunk), trunk->base_width);
}

/* --- MobileNetV2 --- */

static const gchar *const mobilenet_layers[] = { "features", NULL };
static const gchar *const mobilenet_prefixes[] = { "features.", NULL };

static gboolean
mobilenet_detect (const PirlSafetensors *file, PirlTrunk *trunk, GError **error)
{
  PirlMobilenet net;

  if (!pirl_mobilenet_detect (file, &net, error))
    return FALSE;
  *trunk = (PirlTrunk) { PIRL_ARCH_MOBILENETV2, 0, net.width };
  return TRUE;
}

static gboolean
mobilenet_check (PirlTrunk *trunk, const gchar *name, gint base_width, gdouble width,
    GError **error)
{
  PirlMobilenet net;

  trunk->width = width;
  return pirl_mobilenet_from_width (width, &net, error);
}

static void
mobilenet_build (PirlGraph *graph, const PirlTrunk *trunk, PirlValue input, PirlValue *maps)
{
  const PirlMobilenet net = { trunk->width };

  maps[0] = pirl_mobilenet_build (graph, &net, input);
}

static gchar *
mobilenet_describe (const PirlTrunk *trunk)
{
  return g_strdup_printf ("%s of width %g", pirl_trunk_name (trunk), trunk->width);
}

/* --- the table --- */

static const Family resnet = { "conv1.weight", resnet_layers, resnet_prefixes, "fc", TRUE,
  resnet_detect, resnet_check, resnet_build, resnet_classify, resnet_describe };
static const Family mobilenet = { "features.0.0.weight", mobilenet_layers, mobilenet_prefixes,
  "classifier.1", FALSE, mobilenet_detect, mobilenet_check, mobilenet_build,
  pirl_mobilenet_classifier, mobilenet_describe };

static const struct {
  const gchar *name;
  const Family *family;
} archs[PIRL_N_ARCHS] = {
  [PIRL_ARCH_RESNET18] = {"resnet18", &resnet},
  [PIRL_ARCH_RESNET34] = {"resnet34", &resnet},
  [PIRL_ARCH_RESNET50] = {"resnet50", &resnet},
  [PIRL_ARCH_MOBILENETV2] = {"mobilenetv2", &mobilenet},
};

G_STATIC_ASSERT (G_N_ELEMENTS (resnet_layers) - 1 <= PIRL_MAX_LAYERS);
/* as_resnet() and resnet_detect() count on it. */
G_STATIC_ASSERT ((gint) PIRL_ARCH_RESNET18 == (gint) PIRL_RESNET_18
    && (gint) PIRL_ARCH_RESNET50 == (gint) PIRL_RESNET_50);

gboolean
pirl_trunk_from_name (const gchar *name, gint base_width, gdouble width, PirlTrunk *trunk,
    GError **error)
{
  for (guint i = 0; i < PIRL_N_ARCHS; i++)
    if (g_strcmp0 (name, archs[i].name) == 0) {
      *trunk = (PirlTrunk) { (PirlArch) i, 0, 0 };
      return archs[i].family->check (trunk, name, base_width, width, error);
    }
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "unknown architecture \"%s\"; there are resnet18, resnet34, resnet50 and mobilenetv2",
      name ? name : "(none)");
  return FALSE;
}

gboolean
pirl_trunk_detect (const PirlSafetensors *file, PirlTrunk *trunk, GError **error)
{
  g_autofree gchar *model = NULL;

  for (guint i = 0; i < PIRL_N_ARCHS; i++)
    if (pirl_tensor_find (file, archs[i].family->marker))
      return archs[i].family->detect (file, trunk, error);
  model = g_path_get_basename (pirl_safetensors_name (file));
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "model \"%s\" is not a network known here: it has neither a tensor %s (ResNet) nor %s "
      "(MobileNetV2); torchvision's parameter names are expected", model, resnet.marker,
      mobilenet.marker);
  return FALSE;
}

const gchar *
pirl_trunk_name (const PirlTrunk *trunk)
{
  return archs[trunk->arch].name;
}

gchar *
pirl_trunk_describe (const PirlTrunk *trunk)
{
  return archs[trunk->arch].family->describe (trunk);
}

const gchar *const *
pirl_trunk_layers (const PirlTrunk *trunk)
{
  return archs[trunk->arch].family->layers;
}

void
pirl_trunk_build_all (PirlGraph *graph, const PirlTrunk *trunk, PirlValue input,
    PirlValue maps[PIRL_MAX_LAYERS])
{
  archs[trunk->arch].family->build (graph, trunk, input, maps);
}

gint
pirl_trunk_find_layer (const PirlTrunk *trunk, const gchar *layer)
{
  const gchar *const *layers = pirl_trunk_layers (trunk);

  for (guint i = 0; layers[i]; i++)
    if (!layer || strcmp (layer, layers[i]) == 0)
      return (gint) i;
  return -1;
}

PirlValue
pirl_trunk_build (PirlGraph *graph, const PirlTrunk *trunk, PirlValue input, const gchar *layer)
{
  const gint i = pirl_trunk_find_layer (trunk, layer);
  PirlValue maps[PIRL_MAX_LAYERS];

  if (i < 0)
    return PIRL_NO_VALUE;
  pirl_trunk_build_all (graph, trunk, input, maps);
  return maps[i];
}

gboolean
pirl_trunk_gains_from_bf16 (const PirlTrunk *trunk)
{
  return archs[trunk->arch].family->gains_from_bf16;
}

const gchar *
pirl_trunk_classifier_name (const PirlTrunk *trunk)
{
  return archs[trunk->arch].family->classifier;
}

PirlValue
pirl_trunk_classifier (PirlGraph *graph, const PirlTrunk *trunk, PirlValue pooled, gint classes)
{
  return archs[trunk->arch].family->classify (graph, pooled, classes);
}

const gchar *const *
pirl_trunk_prefixes (const PirlTrunk *trunk)
{
  return archs[trunk->arch].family->prefixes;
}
