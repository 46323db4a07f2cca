/* gst-pirl: a trained network as a function from a picture to a vector.
 *
 * What the file says decides (model.h). Only the units that the layer needs are planned.
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

#include "net/model.h"
#include "net/names.h"
#include "net/plan.h"
#include "net/pooling.h"
#include "net/precision.h"

#define MAX_BATCH 4096

/* One of the layers that are asked for. */
typedef struct {
  gboolean is_map;
  PirlPooling pooling;          /* of a map */
  guint size, offset;           /* numbers of a picture, from offset on in its row */
} Output;

struct _PirlEmbedder {
  PirlModelInfo info;
  PirlDevice *device;
  PirlGraph *graph;
  PirlParams *params;
  PirlPool *pool;
  PirlPlan *plan;
  guint n_outputs;
  PirlValue values[PIRL_EMBEDDER_MAX_LAYERS];
  Output outputs[PIRL_EMBEDDER_MAX_LAYERS];
  const PirlPrecision *precision;
  guint batch, size;
  gchar *layer, *model, *dimensions;
  PirlResizer **resizers;       /* one a thread */
  guint n_resizers;
  PirlImage *crops;             /* @batch of them */
  const guint8 **pictures;
  PirlSurfaceView *surfaces;    /* @batch of them */
  gfloat *values_read;          /* of one output, for a whole batch */
};

/* --- building --- */

/* Where in a picture's row each output goes, and how large it is. */
static void
embedder_lay_out (PirlEmbedder *embedder)
{
  g_autoptr (GString) dimensions = g_string_new (NULL);

  for (guint i = 0; i < embedder->n_outputs; i++) {
    Output *output = &embedder->outputs[i];
    PirlDims d = pirl_graph_dims (embedder->graph, embedder->values[i]);
    gint side = 1;

    d.n = 1;
    if (output->is_map) {
      output->pooling = pirl_pooling_for (d);
      side = output->pooling.side;
    }
    output->size = (guint) (d.c * side * side);
    output->offset = embedder->size;
    embedder->size += output->size;
    g_string_append_printf (dimensions, "%s%d:%d:%d:1", i ? "," : "", d.c, side, side);
  }
  embedder->dimensions = g_string_free (g_steal_pointer (&dimensions), FALSE);
}

/* Builds the trunk and what the layers need above it. */
static gboolean
embedder_build (PirlEmbedder *embedder, const gchar *layer, GError **error)
{
  const PirlModelInfo *info = &embedder->info;
  PirlGraph *graph = embedder->graph = pirl_graph_new ();
  const PirlValue input = pirl_graph_input (graph, (gint) embedder->batch, info->input_size,
      info->mean, info->std);
  gboolean is_map[PIRL_EMBEDDER_MAX_LAYERS];
  g_auto (GStrv) layers = NULL;

  embedder->layer = g_strdup (layer ? layer : pirl_model_default_layer (info));
  layers = g_strsplit (embedder->layer, ",", -1);
  embedder->n_outputs = g_strv_length (layers);
  if (embedder->n_outputs < 1 || embedder->n_outputs > PIRL_EMBEDDER_MAX_LAYERS) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "layer \"%s\" lists %u layers; 1 to %d can be taken at once", embedder->layer,
        embedder->n_outputs, PIRL_EMBEDDER_MAX_LAYERS);
    return FALSE;
  }
  if (!pirl_model_build_layers (graph, info, input, (const gchar *const *) layers,
          embedder->values, is_map, error))
    return FALSE;
  for (guint i = 0; i < embedder->n_outputs; i++)
    embedder->outputs[i].is_map = is_map[i];
  embedder_lay_out (embedder);
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
  gsize most = 0;

  for (guint i = 0; i < embedder->n_outputs; i++)
    most = MAX (most, pirl_dims_count (pirl_graph_dims (embedder->graph, embedder->values[i])));
  embedder->n_resizers = MIN (embedder->batch, embedder->device->n_threads);
  embedder->resizers = g_new (PirlResizer *, embedder->n_resizers);
  for (guint i = 0; i < embedder->n_resizers; i++)
    embedder->resizers[i] = pirl_resizer_new ();
  embedder->crops = g_new0 (PirlImage, embedder->batch);
  embedder->pictures = g_new (const guint8 *, embedder->batch);
  embedder->surfaces = g_new (PirlSurfaceView, embedder->batch);
  embedder->values_read = g_new (gfloat, most);
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
      PIRL_MODE_INFER, embedder->precision->dtype, embedder->values, embedder->n_outputs, error);
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

static gboolean
check_side (gint side, GError **error)
{
  if (side >= 1 && side <= PIRL_MAX_INPUT_SIZE)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "an image size of %d cannot be planned; 1 to %d can", side, PIRL_MAX_INPUT_SIZE);
  return FALSE;
}

/* @side 0: as the file says. */
static PirlEmbedder *
embedder_open (const gchar *model_file, gint side, const gchar *layer, const gchar *device,
    const gchar *precision, guint n_threads, guint batch, GError **error)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (model_file, error);
  g_autoptr (PirlEmbedder) embedder = g_new0 (PirlEmbedder, 1);
  g_autofree gchar *hash = NULL;

  embedder->batch = batch;
  if (!file || !pirl_model_info_read (&embedder->info, file, error))
    return NULL;
  if (side > 0)
    embedder->info.input_size = embedder->info.resize = side;
  if (!embedder_setup (embedder, file, 0, layer, device, precision, n_threads, error))
    return NULL;
  hash = pirl_model_hash (file);
  embedder->model = g_strdup_printf ("%s, %s", pirl_trunk_name (&embedder->info.trunk), hash);
  return g_steal_pointer (&embedder);
}

PirlEmbedder *
pirl_embedder_new (const gchar *model_file, const gchar *layer, const gchar *device,
    const gchar *precision, guint n_threads, guint batch, GError **error)
{
  return embedder_open (model_file, 0, layer, device, precision, n_threads, batch, error);
}

PirlEmbedder *
pirl_embedder_new_at (const gchar *model_file, gint side, const gchar *layer,
    const gchar *device, const gchar *precision, guint n_threads, guint batch, GError **error)
{
  return check_side (side, error) ? embedder_open (model_file, side, layer, device, precision,
      n_threads, batch, error) : NULL;
}

PirlEmbedder *
pirl_embedder_new_random (const gchar *arch, gint base_width, gdouble width, gint image_size,
    guint64 seed, const gchar *layer, const gchar *device, const gchar *precision,
    guint n_threads, guint batch, GError **error)
{
  g_autoptr (PirlEmbedder) embedder = g_new0 (PirlEmbedder, 1);

  embedder->batch = batch;
  if (!check_side (image_size, error))
    return NULL;
  pirl_model_info_init (&embedder->info, image_size);
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
  g_free (embedder->values_read);
  g_free (embedder->dimensions);
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

gint
pirl_embedder_crop (const PirlEmbedder *embedder)
{
  return embedder->info.input_size;
}

const gchar *
pirl_embedder_layer (const PirlEmbedder *embedder)
{
  return embedder->layer;
}

const gchar *
pirl_embedder_dimensions (const PirlEmbedder *embedder)
{
  return embedder->dimensions;
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

/* Output @index of @n pictures, to its place in their rows. */
static gboolean
embedder_read_output (PirlEmbedder *embedder, guint index, guint n, gfloat *out, GError **error)
{
  const Output *output = &embedder->outputs[index];
  const gsize step = output->is_map ? pirl_dims_count (output->pooling.map) : output->size;
  const guint threads = output->is_map ? MIN (n, embedder->device->n_threads) : 1;

  if (!pirl_plan_read (embedder->plan, embedder->values[index], embedder->values_read, error))
    return FALSE;
#pragma omp parallel for num_threads (threads) if (threads > 1)
  for (guint i = 0; i < n; i++) {
    const gfloat *value = embedder->values_read + i * step;
    gfloat *row = out + (gsize) i * embedder->size + output->offset;

    if (output->is_map)
      pirl_pooling_run (&output->pooling, value, row);
    else
      memcpy (row, value, output->size * sizeof *row);
  }
  return TRUE;
}

static gboolean
embedder_read (PirlEmbedder *embedder, guint n, gfloat *out, GError **error)
{
  for (guint i = 0; i < embedder->n_outputs; i++)
    if (!embedder_read_output (embedder, i, n, out, error))
      return FALSE;
  return embedder_check_finite (embedder, out, n, error);
}

/* @pictures NULL: they are staged. */
static gboolean
embedder_forward (PirlEmbedder *embedder, const guint8 *const *pictures, guint n, gfloat *out,
    GError **error)
{
  return pirl_plan_forward (embedder->plan, pictures, FALSE, NULL, error)
      && embedder_read (embedder, n, out, error);
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
      && embedder_read (embedder, 1, out, error);
}
