/* gst-pirl: a trained network as a function from a picture to a vector.
 *
 * What the file says decides: architecture by names and shapes, heads by names, preprocessing by
 * __metadata__ ("resize": short side, "input_size": crop, "mean", "std"; ImageNet's where missing).
 * Only the units that the layer needs are planned.
 *
 * precision=auto is a fixed rule: on a CUDA device fp16; on the CPU bf16 where it runs well, the
 * description names AMX and the network is one of full convolutions (matrix units, where 16 bits
 * pay several times over), f32 elsewhere: with AVX-512's bf16 instructions alone a ResNet-50 took
 * 80 ms a picture on one core, in f32 43 ms.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/embedder.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "net/names.h"
#include "net/plan.h"
#include "net/precision.h"
#include "net/trunk.h"

#define IMAGENET_CROP 224
#define MAX_INPUT_SIZE 2048
#define MAX_BATCH 4096

static const gfloat imagenet_mean[3] = { 0.485f, 0.456f, 0.406f };
static const gfloat imagenet_std[3] = { 0.229f, 0.224f, 0.225f };

/* What is known before anything is built. */
typedef struct {
  PirlTrunk trunk;
  gint input_size, resize;
  gfloat mean[3], std[3];
  gint dim;                     /* of head f; 0 = none */
  PirlHead head;
  gint classes;                 /* of the classifier; 0 = none */
} ModelInfo;

struct _PirlEmbedder {
  ModelInfo info;
  PirlDevice *device;
  PirlGraph *graph;
  PirlParams *params;
  PirlPool *pool;
  PirlPlan *plan;
  PirlValue output;
  const PirlPrecision *precision;
  guint batch, size;
  gchar *layer, *model;
  PirlResizer **resizers;       /* one a thread */
  guint n_resizers;
  PirlImage *crops;             /* @batch of them */
  const guint8 **pictures;
  PirlSurfaceView *surfaces;    /* @batch of them */
  gfloat *rows;                 /* batch x size, for batches that are not full */
};

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
info_read_preprocessing (ModelInfo *info, const PirlSafetensors *file, GError **error)
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

    if (n == 0 || sizes[n - 1] < 1 || sizes[n - 1] > MAX_INPUT_SIZE)
      return info_bad_metadata (file, "input_size", "the side of the picture, as in 224", error);
    info->input_size = (gint) sizes[n - 1];
  }
  info->resize = default_resize (info->input_size);
  if (resize) {
    if (parse_sizes (resize, sizes, 1) == 0 || sizes[0] < info->input_size
        || sizes[0] > 4 * MAX_INPUT_SIZE)
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

static void
info_init (ModelInfo *info)
{
  *info = (ModelInfo) { .input_size = IMAGENET_CROP };
  info->resize = default_resize (info->input_size);
  memcpy (info->mean, imagenet_mean, sizeof info->mean);
  memcpy (info->std, imagenet_std, sizeof info->std);
}

static gboolean
info_read (ModelInfo *info, const PirlSafetensors *file, GError **error)
{
  g_autofree gchar *classifier = NULL;

  info_init (info);
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

/* SHA-256 over names, types, shapes and data of the network's tensors (not of training state). */
static gchar *
weights_hash (const PirlSafetensors *file)
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

/* --- building --- */

static gboolean
embedder_no_layer (const ModelInfo *info, const gchar *layer, GError **error)
{
  g_autofree gchar *layers = g_strjoinv (", ", (gchar **) pirl_trunk_layers (&info->trunk));

  g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "the model has no layer \"%s\"; it has %s%s%s", layer, info->dim ? "embedding, " : "",
      info->classes ? "logits, " : "", layers);
  return FALSE;
}

/* Builds the trunk and what @layer needs above it; sets graph, output and layer. */
static gboolean
embedder_build (PirlEmbedder *embedder, const gchar *layer, GError **error)
{
  const ModelInfo *info = &embedder->info;
  PirlGraph *graph = embedder->graph = pirl_graph_new ();
  const PirlValue input = pirl_graph_input (graph, (gint) embedder->batch, info->input_size,
      info->mean, info->std);
  gboolean embedding, logits;
  PirlValue map;

  if (!layer)
    layer = info->dim ? "embedding" : pirl_trunk_layers (&info->trunk)[0];
  embedder->layer = g_strdup (layer);
  embedding = info->dim && strcmp (layer, "embedding") == 0;
  logits = info->classes && strcmp (layer, "logits") == 0;
  map = pirl_trunk_build (graph, &info->trunk, input, embedding || logits ? NULL : layer);
  if (map == PIRL_NO_VALUE)
    return embedder_no_layer (info, layer, error);
  embedder->output = pirl_graph_avgpool (graph, map);
  if (embedding)
    embedder->output = pirl_head_f (graph, info->head, embedder->output, info->dim);
  else if (logits)
    embedder->output = pirl_trunk_classifier (graph, &info->trunk, embedder->output,
        info->classes);
  return TRUE;
}

/* The CPU's rule for auto, see above. */
static gboolean
gains_from_bf16 (const PirlEmbedder *embedder)
{
  PirlDevice *device = embedder->device;
  const gchar *reason;

  return strcmp (device->backend->name, "cpu") == 0 && strstr (device->description, "amx")
      && pirl_trunk_gains_from_bf16 (&embedder->info.trunk)
      && device->backend->supports (device, PIRL_MODE_INFER, PIRL_DTYPE_BF16, &reason);
}

static gboolean
embedder_choose_precision (PirlEmbedder *embedder, const gchar *precision, GError **error)
{
  if ((!precision || strcmp (precision, "auto") == 0) && gains_from_bf16 (embedder))
    precision = "bf16";
  embedder->precision = pirl_precision_choose (embedder->device, PIRL_MODE_INFER, precision,
      error);
  return embedder->precision != NULL;
}

static void
embedder_add_storage (PirlEmbedder *embedder)
{
  const gint side = embedder->info.input_size;

  embedder->size = (guint) pirl_graph_dims (embedder->graph, embedder->output).c;
  embedder->n_resizers = MIN (embedder->batch, embedder->device->n_threads);
  embedder->resizers = g_new (PirlResizer *, embedder->n_resizers);
  for (guint i = 0; i < embedder->n_resizers; i++)
    embedder->resizers[i] = pirl_resizer_new ();
  embedder->crops = g_new0 (PirlImage, embedder->batch);
  embedder->pictures = g_new (const guint8 *, embedder->batch);
  embedder->surfaces = g_new (PirlSurfaceView, embedder->batch);
  embedder->rows = g_new (gfloat, (gsize) embedder->batch * embedder->size);
  for (guint i = 0; i < embedder->batch; i++)
    pirl_image_init (&embedder->crops[i], side, side);
}

/* Plans and fills the network: from @file, or at random from @seed. */
static gboolean
embedder_fill (PirlEmbedder *embedder, const PirlSafetensors *file, guint64 seed, GError **error)
{
  static const gchar *const required[] = { "", NULL };

  /* Before memory is taken: what the first tensor promises, the others must keep. */
  if (file && !pirl_specs_check (embedder->graph->params, file, required, NULL,
          error))
    return FALSE;
  embedder->params = pirl_params_new (embedder->device, &embedder->graph, 1, FALSE, error);
  if (!embedder->params)
    return FALSE;
  if (file ? !pirl_params_load (embedder->params, file, NULL, NULL, error)
      : !pirl_params_init (embedder->params, seed, error))
    return FALSE;
  embedder->pool = pirl_pool_new (embedder->device);
  embedder->plan = pirl_plan_new (embedder->graph, embedder->params, embedder->pool,
      PIRL_MODE_INFER, embedder->precision->dtype, &embedder->output, 1, error);
  return embedder->plan && pirl_plan_prepare_for_good (embedder->plan, error);
}

static gboolean
embedder_setup (PirlEmbedder *embedder, const PirlSafetensors *file, guint64 seed,
    const gchar *layer, const gchar *device, const gchar *precision, guint n_threads,
    GError **error)
{
  if (embedder->batch < 1 || embedder->batch > MAX_BATCH) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a batch of %u pictures cannot be planned; 1 to %d can", embedder->batch, MAX_BATCH);
    return FALSE;
  }
  if (!embedder_build (embedder, layer, error))
    return FALSE;
  embedder->device = pirl_device_open (device ? device : "auto", n_threads, FALSE, error);
  if (!embedder->device || !embedder_choose_precision (embedder, precision, error)
      || !embedder_fill (embedder, file, seed, error))
    return FALSE;
  embedder_add_storage (embedder);
  return TRUE;
}

PirlEmbedder *
pirl_embedder_new (const gchar *model_file, const gchar *layer, const gchar *device,
    const gchar *precision, guint n_threads, guint batch, GError **error)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (model_file, error);
  g_autoptr (PirlEmbedder) embedder = g_new0 (PirlEmbedder, 1);
  g_autofree gchar *hash = NULL;

  embedder->batch = batch;
  if (!file || !info_read (&embedder->info, file, error)
      || !embedder_setup (embedder, file, 0, layer, device, precision, n_threads, error))
    return NULL;
  hash = weights_hash (file);
  embedder->model = g_strdup_printf ("%s, %s", pirl_trunk_name (&embedder->info.trunk), hash);
  return g_steal_pointer (&embedder);
}

PirlEmbedder *
pirl_embedder_new_random (const gchar *arch, gint base_width, gdouble width, gint image_size,
    guint64 seed, const gchar *layer, const gchar *device, const gchar *precision,
    guint n_threads, guint batch, GError **error)
{
  g_autoptr (PirlEmbedder) embedder = g_new0 (PirlEmbedder, 1);

  info_init (&embedder->info);
  embedder->batch = batch;
  if (image_size < 1 || image_size > MAX_INPUT_SIZE) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "an image size of %d cannot be planned; 1 to %d can", image_size, MAX_INPUT_SIZE);
    return NULL;
  }
  embedder->info.input_size = image_size;
  embedder->info.resize = default_resize (image_size);
  if (!pirl_trunk_from_name (arch, base_width, width, &embedder->info.trunk, error)
      || !embedder_setup (embedder, NULL, seed, layer, device, precision, n_threads, error))
    return NULL;
  embedder->model = g_strdup_printf ("%s, random weights of seed %" G_GUINT64_FORMAT, arch, seed);
  return g_steal_pointer (&embedder);
}

void
pirl_embedder_free (PirlEmbedder *embedder)
{
  if (!embedder)
    return;
  for (guint i = 0; embedder->crops && i < embedder->batch; i++)
    pirl_image_clear (&embedder->crops[i]);
  g_free (embedder->crops);
  g_free (embedder->pictures);
  g_free (embedder->surfaces);
  g_free (embedder->rows);
  for (guint i = 0; i < embedder->n_resizers; i++)
    pirl_resizer_free (embedder->resizers[i]);
  g_free (embedder->resizers);
  pirl_plan_free (embedder->plan);
  pirl_params_free (embedder->params);
  pirl_pool_free (embedder->pool);
  pirl_graph_free (embedder->graph);
  g_clear_pointer (&embedder->device, pirl_device_close);
  g_free (embedder->layer);
  g_free (embedder->model);
  g_free (embedder);
}

/* --- use --- */

guint
pirl_embedder_size (const PirlEmbedder *embedder)
{
  return embedder->size;
}

gint
pirl_embedder_short_side (const PirlEmbedder *embedder)
{
  return embedder->info.resize;
}

const gchar *
pirl_embedder_layer (const PirlEmbedder *embedder)
{
  return embedder->layer;
}

const gchar *
pirl_embedder_model (const PirlEmbedder *embedder)
{
  return embedder->model;
}

const gchar *
pirl_embedder_device (const PirlEmbedder *embedder)
{
  return embedder->device->description;
}

const gchar *
pirl_embedder_precision (const PirlEmbedder *embedder)
{
  return embedder->precision->name;
}

static gboolean
embedder_check_finite (const PirlEmbedder *embedder, const gfloat *rows, guint n, GError **error)
{
  for (gsize i = 0; i < (gsize) n * embedder->size; i++)
    if (!isfinite (rows[i])) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
          "layer %s of %s gave a value that is not finite; are the weights damaged?",
          embedder->layer, embedder->model);
      return FALSE;
    }
  return TRUE;
}

static gboolean
embedder_check_count (const PirlEmbedder *embedder, guint n, GError **error)
{
  if (n >= 1 && n <= embedder->batch)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "%u pictures given to an embedder planned for 1 to %u", n, embedder->batch);
  return FALSE;
}

/* @pictures NULL: they are staged. */
static gboolean
embedder_forward (PirlEmbedder *embedder, const guint8 *const *pictures, guint n, gfloat *out,
    GError **error)
{
  if (!pirl_plan_forward (embedder->plan, pictures, FALSE, NULL, error)
      || !pirl_plan_read (embedder->plan, embedder->output, embedder->rows, error)
      || !embedder_check_finite (embedder, embedder->rows, n, error))
    return FALSE;
  memcpy (out, embedder->rows, (gsize) n * embedder->size * sizeof (gfloat));
  return TRUE;
}

/* The network begins when all pictures are there: the device's threads share them. */
static void
embedder_crop (PirlEmbedder *embedder, const PirlImage *const *pictures, guint n)
{
  const guint threads = MIN (n, embedder->n_resizers);

#pragma omp parallel for num_threads (threads) if (threads > 1)
  for (guint i = 0; i < n; i++) {
    pirl_resize_center_crop (embedder->resizers[omp_get_thread_num ()], pictures[i],
        embedder->info.resize, embedder->info.input_size, &embedder->crops[i]);
    embedder->pictures[i] = embedder->crops[i].data;
  }
}

gboolean
pirl_embedder_run (PirlEmbedder *embedder, const PirlImage *const *pictures, guint n, gfloat *out,
    GError **error)
{
  if (!embedder_check_count (embedder, n, error))
    return FALSE;
  embedder_crop (embedder, pictures, n);
  /* The plan's batch is fixed: the rest computes the last picture again. */
  for (guint i = n; i < embedder->batch; i++)
    embedder->pictures[i] = embedder->pictures[n - 1];
  return embedder_forward (embedder, embedder->pictures, n, out, error);
}

gboolean
pirl_embedder_reads_surfaces (const PirlEmbedder *embedder)
{
  return embedder->device->backend->reads_surfaces;
}

gboolean
pirl_embedder_run_surfaces (PirlEmbedder *embedder, const PirlSurface *const *surfaces, guint n,
    gfloat *out, GError **error)
{
  if (!embedder_check_count (embedder, n, error))
    return FALSE;
  for (guint i = 0; i < embedder->batch; i++) {
    PirlSurfaceView *view = &embedder->surfaces[i];

    view->surface = *surfaces[MIN (i, n - 1)];
    pirl_place_center_crop (view->surface.width, view->surface.height, embedder->info.resize,
        embedder->info.input_size, &view->scaled_width, &view->scaled_height, &view->left,
        &view->top);
  }
  return pirl_plan_stage_surfaces (embedder->plan, embedder->surfaces, error)
      && embedder_forward (embedder, NULL, n, out, error);
}

gboolean
pirl_embedder_run_floats (PirlEmbedder *embedder, const gfloat *input, gfloat *out, GError **error)
{
  if (embedder->batch != 1) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "dense inputs go one at a time, and this embedder was planned for batches of %u",
        embedder->batch);
    return FALSE;
  }
  return pirl_plan_forward_floats (embedder->plan, input, FALSE, NULL, error)
      && pirl_plan_read (embedder->plan, embedder->output, out, error)
      && embedder_check_finite (embedder, out, 1, error);
}
