/* gst-pirl: what a file of weights says about its network, and the network it describes (model.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/model.h"

#include <math.h>
#include <string.h>

#include "net/names.h"

#define IMAGENET_CROP 224

static const gfloat imagenet_mean[3] = { 0.485f, 0.456f, 0.406f };
static const gfloat imagenet_std[3] = { 0.229f, 0.224f, 0.225f };

/* --- what a file says --- */

/* The default rule: the short side is 256/224 of the crop. */
static gint
default_resize (gint input_size)
{
  return (gint) ((input_size * 256 + 112) / 224);
}

/* The whole numbers of "3x224x224 (RGB)" up to the first word; returns how many. */
static guint
parse_sizes (const gchar *text, gint64 *sizes, guint max)
{
  guint n = 0;

  while (text && n < max) {
    gchar *end;
    const gint64 value = g_ascii_strtoll (text, &end, 10);

    if (end == text)
      break;
    sizes[n++] = value;
    text = *end == 'x' || *end == ',' ? end + 1 : NULL;
  }
  return n;
}

static gboolean
parse_triple (const gchar *text, gfloat triple[3])
{
  for (guint i = 0; i < 3; i++) {
    gchar *end;
    const gdouble value = g_ascii_strtod (text, &end);

    if (end == text || !isfinite (value) || (i < 2 && *end != ','))
      return FALSE;
    triple[i] = (gfloat) value;
    text = end + 1;
  }
  return TRUE;
}

static gboolean
info_bad_metadata (const PirlSafetensors *file, const gchar *key, const gchar *needs,
    GError **error)
{
  g_autofree gchar *model = g_path_get_basename (pirl_safetensors_name (file));

  g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "model \"%s\": metadata %s is \"%s\"; it "
      "must be %s", model, key, pirl_safetensors_metadata (file, key), needs);
  return FALSE;
}

static gboolean
info_read_preprocessing (PirlModelInfo *info, const PirlSafetensors *file, GError **error)
{
  const gchar *size = pirl_safetensors_metadata (file, "input_size");
  const gchar *resize = pirl_safetensors_metadata (file, "resize");
  const struct {
    const gchar *key;
    gfloat *triple;
  } triples[] = { {"mean", info->mean}, {"std", info->std} };
  gint64 sizes[3];

  if (size) {
    const guint n = parse_sizes (size, sizes, G_N_ELEMENTS (sizes));

    if (n == 0 || sizes[n - 1] < 1 || sizes[n - 1] > PIRL_MAX_INPUT_SIZE)
      return info_bad_metadata (file, "input_size", "the side of the picture, as in 224", error);
    info->input_size = (gint) sizes[n - 1];
  }
  info->resize = default_resize (info->input_size);
  if (resize) {
    if (parse_sizes (resize, sizes, 1) == 0 || sizes[0] < info->input_size
        || sizes[0] > 4 * PIRL_MAX_INPUT_SIZE)
      return info_bad_metadata (file, "resize", "the short side before the crop, as in 256", error);
    info->resize = (gint) sizes[0];
  }
  for (guint i = 0; i < G_N_ELEMENTS (triples); i++) {
    const gchar *text = pirl_safetensors_metadata (file, triples[i].key);

    if (text && !parse_triple (text, triples[i].triple))
      return info_bad_metadata (file, triples[i].key, "three numbers, as in 0.5,0.5,0.5", error);
  }
  for (guint c = 0; c < 3; c++)
    if (info->std[c] <= 0)
      return info_bad_metadata (file, "std", "three numbers above 0", error);
  return TRUE;
}

/* Rows of a linear layer's weight; 0 when the file has none. */
static gint
linear_rows (const PirlSafetensors *file, const gchar *name)
{
  const PirlTensor *tensor = pirl_tensor_find (file, name);

  if (!tensor || tensor->shape.rank != 2 || tensor->shape.dim[0] > G_MAXINT)
    return 0;
  return (gint) tensor->shape.dim[0];
}

void
pirl_model_info_init (PirlModelInfo *info, gint input_size)
{
  *info = (PirlModelInfo) { .input_size = input_size, .resize = default_resize (input_size) };
  memcpy (info->mean, imagenet_mean, sizeof info->mean);
  memcpy (info->std, imagenet_std, sizeof info->std);
}

gboolean
pirl_model_info_read (PirlModelInfo *info, const PirlSafetensors *file, GError **error)
{
  g_autofree gchar *classifier = NULL;

  pirl_model_info_init (info, IMAGENET_CROP);
  if (!pirl_trunk_detect (file, &info->trunk, error)
      || !info_read_preprocessing (info, file, error))
    return FALSE;
  classifier = g_strconcat (pirl_trunk_classifier_name (&info->trunk), ".weight", NULL);
  info->classes = linear_rows (file, classifier);
  info->dim = linear_rows (file, "head.f.projection.weight");
  if (pirl_tensor_find (file, "head.f.bn.weight"))
    info->head = PIRL_HEAD_BN;
  else if (pirl_tensor_find (file, "head.f.hidden.weight"))
    info->head = PIRL_HEAD_MLP;
  return TRUE;
}

gchar *
pirl_model_hash (const PirlSafetensors *file)
{
  const guint hex_digits = 12;
  GChecksum *checksum = g_checksum_new (G_CHECKSUM_SHA256);
  gchar *hash;

  for (guint i = 0; i < pirl_safetensors_count (file); i++) {
    const PirlTensor *tensor = pirl_safetensors_nth (file, i);
    g_autofree gchar *shape = pirl_shape_to_string (&tensor->shape);
    g_autofree gchar *line = NULL;

    if (g_str_has_prefix (tensor->name, "state."))
      continue;
    line = g_strconcat (tensor->name, " ", pirl_dtype_name (tensor->dtype), " ", shape, "\n",
        NULL);
    g_checksum_update (checksum, (const guchar *) line, -1);
    g_checksum_update (checksum, tensor->data, (gssize) tensor->size);
    pirl_safetensors_release (file, tensor);
  }
  hash = g_strndup (g_checksum_get_string (checksum), hex_digits);
  g_checksum_free (checksum);
  return hash;
}

/* --- the network --- */

static PirlValue
model_no_layer (const PirlModelInfo *info, const gchar *layer, GError **error)
{
  g_autofree gchar *layers = g_strjoinv (", ", (gchar **) pirl_trunk_layers (&info->trunk));

  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "the model has no layer \"%s\"; it has %s%s%s, and maps of the latter with \"" PIRL_MAP_SUFFIX
      "\" behind their names", layer, info->dim ? "embedding, " : "",
      info->classes ? "logits, " : "", layers);
  return PIRL_NO_VALUE;
}

const gchar *
pirl_model_default_layer (const PirlModelInfo *info)
{
  return info->dim ? "embedding" : pirl_trunk_layers (&info->trunk)[0];
}

/* What is above the map of @layer, or the map itself. */
static PirlValue
build_layer (PirlGraph *graph, const PirlModelInfo *info, const PirlValue *maps,
    const gchar *layer, gboolean *is_map, GError **error)
{
  const gboolean embedding = info->dim && strcmp (layer, "embedding") == 0;
  const gboolean logits = info->classes && strcmp (layer, "logits") == 0;
  g_autofree gchar *name = g_strdup (layer);
  PirlValue pooled;
  gint i;

  *is_map = g_str_has_suffix (layer, PIRL_MAP_SUFFIX);
  if (*is_map)
    name[strlen (name) - strlen (PIRL_MAP_SUFFIX)] = '\0';
  i = embedding || logits ? 0 : pirl_trunk_find_layer (&info->trunk, name);
  if (i < 0)
    return model_no_layer (info, layer, error);
  if (*is_map)
    return maps[i];
  pooled = pirl_graph_avgpool (graph, maps[i]);
  if (embedding)
    return pirl_head_f (graph, info->head, pooled, info->dim);
  return logits ? pirl_trunk_classifier (graph, &info->trunk, pooled, info->classes) : pooled;
}

gboolean
pirl_model_build_layers (PirlGraph *graph, const PirlModelInfo *info, PirlValue input,
    const gchar *const *layers, PirlValue *values, gboolean *is_map, GError **error)
{
  PirlValue maps[PIRL_MAX_LAYERS];

  pirl_trunk_build_all (graph, &info->trunk, input, maps);
  for (guint i = 0; layers[i]; i++) {
    values[i] = build_layer (graph, info, maps, layers[i], &is_map[i], error);
    if (values[i] == PIRL_NO_VALUE)
      return FALSE;
  }
  return TRUE;
}

PirlValue
pirl_model_build (PirlGraph *graph, const PirlModelInfo *info, PirlValue input,
    const gchar *layer, GError **error)
{
  const gchar *const layers[] = { layer, NULL };
  PirlValue value;
  gboolean is_map;

  if (!pirl_model_build_layers (graph, info, input, layers, &value, &is_map, error))
    return PIRL_NO_VALUE;
  return is_map ? model_no_layer (info, layer, error) : value;
}
