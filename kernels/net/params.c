/* gst-pirl: the parameters of a network: arenas, initialisation, loading, SGD, Adam, LARS.
 *
 * An arena is one block of device memory; every parameter starts at a multiple of 16 elements and
 * the gaps stay zero, so that the optimiser runs over whole regions at once.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/names.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

/* 64 bytes of float32: what backends want their tensors aligned to. */
#define ALIGN_ELEMENTS 16

/* The regions of an arena, in order. */
enum { REGION_WEIGHTS, REGION_AFFINE, REGION_BUFFERS, N_REGIONS };

struct _PirlParams {
  PirlDevice *device;
  GPtrArray *specs;             /* PirlParamSpec *, in arena order */
  GArray *offsets;              /* gsize, in elements */
  GHashTable *index;            /* name -> position + 1 */
  gsize end[N_REGIONS];         /* in elements */
  gpointer arena[PIRL_N_ARENAS];
};

static guint
slot_region (PirlSlot slot)
{
  switch (slot) {
    case PIRL_SLOT_WEIGHT:
      return REGION_WEIGHTS;
    case PIRL_SLOT_BN_MEAN:
    case PIRL_SLOT_BN_VAR:
      return REGION_BUFFERS;
    default:
      return REGION_AFFINE;
  }
}

static void
spec_free (gpointer data)
{
  PirlParamSpec *spec = data;

  g_free (spec->name);
  g_free (spec);
}

static gsize
arena_elements (const PirlParams *params, PirlArena arena)
{
  return params->end[arena == PIRL_ARENA_VALUE ? REGION_BUFFERS : REGION_AFFINE];
}

static gsize
arena_bytes (const PirlParams *params, PirlArena arena)
{
  return arena_elements (params, arena) * pirl_dtype_size (params->device->param_dtype);
}

/* Adds @spec where its name is new; FALSE when the name is there with another shape. */
static gboolean
params_add (PirlParams *params, const PirlParamSpec *spec, gsize *end, GError **error)
{
  const gint known = pirl_params_find (params, spec->name);
  PirlParamSpec *copy;

  if (known >= 0) {
    const PirlParamSpec *other = pirl_params_spec (params, (guint) known);

    if (!pirl_shape_equal (&other->shape, &spec->shape)) {
      g_autofree gchar *a = pirl_shape_to_string (&other->shape);
      g_autofree gchar *b = pirl_shape_to_string (&spec->shape);

      g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
          "two networks share the parameter %s, but one needs it %s and the other %s",
          spec->name, a, b);
      return FALSE;
    }
    return TRUE;
  }
  copy = g_new (PirlParamSpec, 1);
  *copy = *spec;
  copy->name = g_strdup (spec->name);
  g_ptr_array_add (params->specs, copy);
  g_array_append_val (params->offsets, *end);
  g_hash_table_insert (params->index, copy->name, GUINT_TO_POINTER (params->specs->len));
  *end += (pirl_shape_count (&spec->shape) + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
  return TRUE;
}

static gboolean
params_add_region (PirlParams *params, PirlGraph *const *graphs, guint n_graphs, guint region,
    gsize *end, GError **error)
{
  for (guint g = 0; g < n_graphs; g++)
    for (guint i = 0; i < graphs[g]->params->len; i++) {
      const PirlParamSpec *spec = g_ptr_array_index (graphs[g]->params, i);

      if (slot_region (spec->slot) == region && !params_add (params, spec, end, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
params_need_arena (PirlParams *params, PirlArena arena, GError **error)
{
  if (!params->arena[arena])
    params->arena[arena] = params->device->backend->alloc (params->device,
        MAX (arena_bytes (params, arena), 1), error);
  return params->arena[arena] != NULL;
}

PirlParams *
pirl_params_new (PirlDevice *device, PirlGraph *const *graphs, guint n_graphs, gboolean trainable,
    GError **error)
{
  g_autoptr (PirlParams) params = g_new0 (PirlParams, 1);
  const guint n_arenas = trainable ? PIRL_ARENA_SECOND : 1;
  gsize end = 0;

  params->device = device;
  params->specs = g_ptr_array_new_with_free_func (spec_free);
  params->offsets = g_array_new (FALSE, FALSE, sizeof (gsize));
  params->index = g_hash_table_new (g_str_hash, g_str_equal);
  for (guint region = 0; region < N_REGIONS; region++) {
    if (!params_add_region (params, graphs, n_graphs, region, &end, error))
      return NULL;
    params->end[region] = end;
  }
  for (guint arena = 0; arena < n_arenas; arena++)
    if (!params_need_arena (params, arena, error))
      return NULL;
  return g_steal_pointer (&params);
}

void
pirl_params_free (PirlParams *params)
{
  if (!params)
    return;
  for (guint arena = 0; arena < PIRL_N_ARENAS; arena++)
    if (params->arena[arena])
      params->device->backend->free (params->device, params->arena[arena]);
  g_hash_table_unref (params->index);
  g_array_unref (params->offsets);
  g_ptr_array_unref (params->specs);
  g_free (params);
}

guint
pirl_params_count (const PirlParams *params)
{
  return params->specs->len;
}

const PirlParamSpec *
pirl_params_spec (const PirlParams *params, guint i)
{
  return g_ptr_array_index (params->specs, i);
}

gint
pirl_params_find (const PirlParams *params, const gchar *name)
{
  return (gint) GPOINTER_TO_UINT (g_hash_table_lookup (params->index, name)) - 1;
}

static gpointer
arena_at (PirlParams *params, PirlArena arena, gsize element)
{
  return (guint8 *) params->arena[arena]
      + element * pirl_dtype_size (params->device->param_dtype);
}

gpointer
pirl_params_data (PirlParams *params, PirlArena arena, guint i)
{
  if (!params->arena[arena] || (arena != PIRL_ARENA_VALUE
          && slot_region (pirl_params_spec (params, i)->slot) == REGION_BUFFERS))
    return NULL;
  return arena_at (params, arena, g_array_index (params->offsets, gsize, i));
}

void
pirl_params_discard (PirlParams *params, guint i)
{
  PirlDevice *device = params->device;
  const gsize n = pirl_shape_count (&pirl_params_spec (params, i)->shape);

  if (device->backend->discard)
    device->backend->discard (device, pirl_params_data (params, PIRL_ARENA_VALUE, i),
        n * pirl_dtype_size (device->param_dtype));
}

gpointer
pirl_params_buffers (PirlParams *params, gsize *bytes)
{
  const gsize first = params->end[REGION_AFFINE];

  *bytes = (params->end[REGION_BUFFERS] - first) * pirl_dtype_size (params->device->param_dtype);
  return arena_at (params, PIRL_ARENA_VALUE, first);
}

gsize
pirl_params_bytes (const PirlParams *params)
{
  gsize bytes = 0;

  for (guint arena = 0; arena < PIRL_N_ARENAS; arena++)
    if (params->arena[arena])
      bytes += arena_bytes (params, arena);
  return bytes;
}

static gpointer
params_data_checked (PirlParams *params, PirlArena arena, guint i, GError **error)
{
  static const gchar *const names[] = { "value", "gradient", "velocity", "second moment" };
  gpointer data = pirl_params_data (params, arena, i);

  if (!data)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "parameter %s has no %s",
        pirl_params_spec (params, i)->name, names[arena]);
  return data;
}

gboolean
pirl_params_read (PirlParams *params, PirlArena arena, guint i, gfloat *dst, GError **error)
{
  PirlDevice *device = params->device;
  const PirlDType dtype = device->param_dtype;
  const gsize n = pirl_shape_count (&pirl_params_spec (params, i)->shape);
  gconstpointer src = params_data_checked (params, arena, i, error);
  g_autofree guint8 *host = NULL;

  if (!src)
    return FALSE;
  if (dtype == PIRL_DTYPE_F32)
    return device->backend->download (device, dst, src, n * sizeof (gfloat), error);
  host = g_malloc (n * pirl_dtype_size (dtype));
  if (!device->backend->download (device, host, src, n * pirl_dtype_size (dtype), error))
    return FALSE;
  pirl_to_float (dtype, host, dst, n);
  return TRUE;
}

gboolean
pirl_params_write (PirlParams *params, PirlArena arena, guint i, const gfloat *src, GError **error)
{
  PirlDevice *device = params->device;
  const PirlDType dtype = device->param_dtype;
  const gsize n = pirl_shape_count (&pirl_params_spec (params, i)->shape);
  g_autofree guint8 *host = NULL;
  gpointer dst;

  if (arena == PIRL_ARENA_SECOND && params->arena[PIRL_ARENA_VELOCITY]
      && !params_need_arena (params, arena, error))
    return FALSE;
  dst = params_data_checked (params, arena, i, error);

  if (!dst)
    return FALSE;
  if (dtype == PIRL_DTYPE_F32)
    return device->backend->upload (device, dst, src, n * sizeof (gfloat), error);
  host = g_malloc (n * pirl_dtype_size (dtype));
  pirl_from_float (dtype, src, host, n);
  return device->backend->upload (device, dst, host, n * pirl_dtype_size (dtype), error);
}

/* CRC-32 of IEEE 802.3 (reflected polynomial 0xedb88320), as zlib's crc32(). */
static guint32
name_crc32 (const gchar *name)
{
  guint32 crc = 0xffffffffu;

  for (; *name; name++) {
    crc ^= (guint8) *name;
    for (guint bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
  }
  return ~crc;
}

static void
param_draw (const PirlParamSpec *spec, guint64 seed, gfloat *values, gsize n)
{
  PirlRng rng;

  pirl_rng_init (&rng, seed, 0, name_crc32 (spec->name), PIRL_PURPOSE_WEIGHTS);
  if (spec->shape.rank == 4 || spec->init == PIRL_INIT_NORMAL) {
    const gint64 *dim = spec->shape.dim;
    const gfloat deviation = (gfloat) (spec->init == PIRL_INIT_NORMAL ? spec->deviation
        : sqrt (2.0 / (gdouble) (dim[0] * dim[2] * dim[3])));

    for (gsize i = 0; i < n; i++)
      values[i] = deviation * pirl_rng_normal (&rng);
  } else {
    const gfloat bound = (gfloat) (1.0 / sqrt ((gdouble) spec->fan_in));

    for (gsize i = 0; i < n; i++)
      values[i] = pirl_rng_range (&rng, -bound, bound);
  }
}

gboolean
pirl_params_init (PirlParams *params, guint64 seed, GError **error)
{
  for (guint i = 0; i < pirl_params_count (params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (params, i);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gfloat *values = g_new (gfloat, n);

    if (spec->slot == PIRL_SLOT_WEIGHT || spec->slot == PIRL_SLOT_BIAS) {
      param_draw (spec, seed, values, n);
    } else {
      const gfloat value = spec->slot == PIRL_SLOT_BN_WEIGHT || spec->slot == PIRL_SLOT_BN_VAR;

      for (gsize k = 0; k < n; k++)
        values[k] = value;
    }
    if (!pirl_params_write (params, PIRL_ARENA_VALUE, i, values, error))
      return FALSE;
  }
  return TRUE;
}

static const PirlTensor *
find_prefixed (const PirlSafetensors *file, const gchar *name)
{
  static const gchar *const prefixes[] = {
    "", "module.", "backbone.", "_feature_blocks.", "encoder.", "module.backbone.",
    "module.encoder.", "module.encoder_q.", "trunk._feature_blocks.", "trunk.", "model.",
    "classy_state_dict.base_model.model.trunk._feature_blocks.",
  };

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++) {
    g_autofree gchar *full = g_strconcat (prefixes[i], name, NULL);
    const PirlTensor *tensor = pirl_safetensors_lookup (file, full);

    if (tensor)
      return tensor;
  }
  return NULL;
}

const PirlTensor *
pirl_tensor_find (const PirlSafetensors *file, const gchar *name)
{
  const PirlTensor *tensor = find_prefixed (file, name);
  g_autofree gchar *timm = tensor ? NULL : pirl_mobilenet_timm_name (name);

  return timm ? find_prefixed (file, timm) : tensor;
}

static gboolean
dtype_is_float (PirlDType dtype)
{
  return dtype == PIRL_DTYPE_F32 || dtype == PIRL_DTYPE_F16 || dtype == PIRL_DTYPE_BF16
      || dtype == PIRL_DTYPE_F64;
}

gboolean
pirl_tensor_check (const PirlSafetensors *file, const PirlTensor *tensor, const gchar *name,
    const PirlShape *shape, GError **error)
{
  g_autofree gchar *model = g_path_get_basename (pirl_safetensors_name (file));

  if (!pirl_shape_equal (&tensor->shape, shape)) {
    g_autofree gchar *has = pirl_shape_to_string (&tensor->shape);
    g_autofree gchar *needs = pirl_shape_to_string (shape);

    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "model \"%s\": tensor %s has shape %s, this network needs %s; is it another architecture?",
        model, name, has, needs);
    return FALSE;
  }
  if (!dtype_is_float (tensor->dtype)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "model \"%s\": tensor %s is of type %s; weights must be F32, F16, BF16 or F64", model,
        name, pirl_dtype_name (tensor->dtype));
    return FALSE;
  }
  return TRUE;
}

static gboolean
name_is_required (const gchar *name, const gchar *const *required)
{
  for (; required && *required; required++)
    if (g_str_has_prefix (name, *required))
      return TRUE;
  return FALSE;
}

gboolean
pirl_specs_check (const GPtrArray *specs, const PirlSafetensors *file,
    const gchar *const *required, const gchar *except, GError **error)
{
  for (guint i = 0; i < specs->len; i++) {
    const PirlParamSpec *spec = g_ptr_array_index (specs, i);
    const PirlTensor *tensor = pirl_tensor_find (file, spec->name);

    if (except && g_str_has_prefix (spec->name, except))
      continue;
    if (tensor) {
      if (!pirl_tensor_check (file, tensor, spec->name, &spec->shape, error))
        return FALSE;
    } else if (name_is_required (spec->name, required)) {
      g_autofree gchar *model = g_path_get_basename (pirl_safetensors_name (file));
      g_autofree gchar *needs = pirl_shape_to_string (&spec->shape);

      g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
          "model \"%s\" has no tensor %s (this network needs it, of shape %s); is it another "
          "architecture?", model, spec->name, needs);
      return FALSE;
    }
  }
  return TRUE;
}

gboolean
pirl_params_load (PirlParams *params, const PirlSafetensors *file, const gchar *const *required,
    PirlLoadReport *report, GError **error)
{
  return pirl_params_load_except (params, file, required, NULL, report, error);
}

gboolean
pirl_params_load_except (PirlParams *params, const PirlSafetensors *file,
    const gchar *const *required, const gchar *except, PirlLoadReport *report, GError **error)
{
  if (report) {
    report->loaded = 0;
    report->missing = g_ptr_array_new_with_free_func (g_free);
  }
  /* First everything is checked, so that a wrong file changes nothing. */
  if (!pirl_specs_check (params->specs, file, required, except, error))
    return FALSE;
  for (guint i = 0; i < pirl_params_count (params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (params, i);
    const PirlTensor *tensor = pirl_tensor_find (file, spec->name);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gfloat *values = NULL;

    if (except && g_str_has_prefix (spec->name, except))
      continue;
    if (!tensor) {
      if (report)
        g_ptr_array_add (report->missing, g_strdup (spec->name));
      continue;
    }
    values = g_new (gfloat, n);
    pirl_to_float (tensor->dtype, tensor->data, values, n);
    pirl_safetensors_release (file, tensor);
    if (!pirl_params_write (params, PIRL_ARENA_VALUE, i, values, error))
      return FALSE;
    if (report)
      report->loaded++;
  }
  return TRUE;
}

void
pirl_load_report_clear (PirlLoadReport *report)
{
  g_clear_pointer (&report->missing, g_ptr_array_unref);
  report->loaded = 0;
}

gboolean
pirl_params_zero_gradients (PirlParams *params, GError **error)
{
  PirlDevice *device = params->device;

  return device->backend->zero (device, params->arena[PIRL_ARENA_GRADIENT],
      arena_bytes (params, PIRL_ARENA_GRADIENT), error);
}

gboolean
pirl_params_reserve (PirlParams *params, PirlArena arena, GError **error)
{
  return params_need_arena (params, arena, error);
}

gboolean
pirl_params_check (PirlParams *params, GError **error)
{
  PirlDevice *device = params->device;

  return !device->backend->check || device->backend->check (device,
      arena_elements (params, PIRL_ARENA_GRADIENT), params->arena[PIRL_ARENA_GRADIENT], error);
}

/* What an optimiser treats alike: weights are decayed, biases and batch norm's factors are not. */
static const struct {
  guint region;
  gdouble decay;
} optimised[] = { {REGION_WEIGHTS, 1}, {REGION_AFFINE, 0} };

/* SGD on the arena's elements [first, end). */
static gboolean
sgd_range (PirlParams *params, gsize first, gsize end, gdouble lr, gdouble momentum,
    gdouble weight_decay, gboolean nesterov, GError **error)
{
  PirlDevice *device = params->device;

  return end == first || device->backend->sgd (device, end - first,
      arena_at (params, PIRL_ARENA_VALUE, first), arena_at (params, PIRL_ARENA_GRADIENT, first),
      arena_at (params, PIRL_ARENA_VELOCITY, first), lr, momentum, weight_decay, nesterov, error);
}

gboolean
pirl_params_sgd (PirlParams *params, gdouble lr, gdouble momentum, gdouble weight_decay,
    gboolean nesterov, GError **error)
{
  gsize first = 0;

  for (guint i = 0; i < G_N_ELEMENTS (optimised); i++) {
    const gsize end = params->end[optimised[i].region];

    if (!sgd_range (params, first, end, lr, momentum, weight_decay * optimised[i].decay, nesterov,
            error))
      return FALSE;
    first = end;
  }
  return TRUE;
}

gboolean
pirl_params_lars (PirlParams *params, const PirlLars *values, GError **error)
{
  PirlDevice *device = params->device;
  const guint n = params->specs->len;
  g_autofree PirlSegment *segments = g_new (PirlSegment, MAX (n, 1));
  guint n_segments = 0;

  for (guint i = 0; i < n; i++) {
    const PirlParamSpec *spec = pirl_params_spec (params, i);

    if (slot_region (spec->slot) == REGION_WEIGHTS)
      segments[n_segments++] = (PirlSegment) { g_array_index (params->offsets, gsize, i),
        pirl_shape_count (&spec->shape) };
  }
  return device->backend->lars (device, n_segments, segments, params->arena[PIRL_ARENA_VALUE],
      params->arena[PIRL_ARENA_GRADIENT], params->arena[PIRL_ARENA_VELOCITY], values, error)
      && sgd_range (params, params->end[REGION_WEIGHTS], params->end[REGION_AFFINE], values->lr,
      values->momentum, 0, FALSE, error);
}

gboolean
pirl_params_average (PirlParams *params, PirlParams *source, gdouble keep, GError **error)
{
  PirlDevice *device = params->device;

  return device->backend->average (device, params->end[REGION_AFFINE],
      params->arena[PIRL_ARENA_VALUE], source->arena[PIRL_ARENA_VALUE], keep, error);
}

gboolean
pirl_params_adam (PirlParams *params, guint64 step, gdouble lr, gdouble beta1, gdouble beta2,
    gdouble epsilon, gdouble weight_decay, GError **error)
{
  PirlDevice *device = params->device;
  gsize first = 0;

  if (!params_need_arena (params, PIRL_ARENA_SECOND, error))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (optimised); i++) {
    const gsize end = params->end[optimised[i].region];

    if (end > first && !device->backend->adam (device, end - first,
            arena_at (params, PIRL_ARENA_VALUE, first),
            arena_at (params, PIRL_ARENA_GRADIENT, first),
            arena_at (params, PIRL_ARENA_VELOCITY, first),
            arena_at (params, PIRL_ARENA_SECOND, first), step, lr, beta1, beta2, epsilon,
            weight_decay * optimised[i].decay, error))
      return FALSE;
    first = end;
  }
  return TRUE;
}
