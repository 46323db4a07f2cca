/* gst-pirl: a bandit in a safetensors file.
 *
 * "@prefix.mean", ".scale", ".weights", ".prior" [d], ".precision", ".prior-precision" [d,d] (F64);
 * ".phi" [n,L,d], ".outcome" [n,L] (F32), ".sizes" [n,L] (F64): the pictures, oldest first, absent
 * when there are none; ".state" [6] (F64): lambda, informed, trained, agreement, known, target.
 * With another target lambda is found anew, from the pictures.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/bandit-private.h"

#include <math.h>
#include <string.h>

enum { STATE_LAMBDA, STATE_INFORMED, STATE_TRAINED, STATE_AGREEMENT, STATE_KNOWN,
  STATE_TARGET, N_STATE };

/* A tensor of a bandit's knowledge; the pictures' are apart. */
typedef struct {
  const gchar *name;
  gboolean square;
  gdouble *data;
} Field;

#define N_FIELDS 6

static void
list_fields (const PirlBandit *bandit, Field fields[N_FIELDS])
{
  const Field list[N_FIELDS] = {
    {"mean", FALSE, bandit->mean}, {"scale", FALSE, bandit->scale},
    {"weights", FALSE, bandit->w}, {"prior", FALSE, bandit->prior_mean},
    {"precision", TRUE, bandit->precision}, {"prior-precision", TRUE, bandit->prior_precision},
  };

  memcpy (fields, list, sizeof list);
}

static PirlShape
shape_of (guint rank, gint64 a, gint64 b, gint64 c)
{
  return (PirlShape) {.rank = rank,.dim = { a, b, c } };
}

/* Adds a copy of @data, kept alive by @keep. */
static void
add (PirlSafetensorsWriter *writer, GPtrArray *keep, const gchar *prefix, const gchar *name,
    PirlDType dtype, PirlShape shape, gconstpointer data)
{
  g_autofree gchar *full = g_strconcat (prefix, ".", name, NULL);
  GBytes *copy = g_bytes_new (data, pirl_shape_count (&shape) * pirl_dtype_size (dtype));

  g_ptr_array_add (keep, copy);
  pirl_safetensors_writer_add (writer, full, dtype, &shape, g_bytes_get_data (copy, NULL));
}

static void
add_pictures (PirlBandit *bandit, PirlSafetensorsWriter *writer, const gchar *prefix,
    GPtrArray *keep)
{
  const gsize n = bandit->pictures->len, levels = bandit->config.levels;
  const gsize inputs = levels * bandit->config.inputs;
  g_autofree gfloat *phi = g_new (gfloat, n * inputs);
  g_autofree gfloat *outcome = g_new (gfloat, n * levels);
  g_autofree gdouble *sizes = g_new (gdouble, n * levels);

  if (n == 0)
    return;
  for (gsize i = 0; i < n; i++) {
    const BanditPicture *picture = bandit->pictures->pdata[i];

    memcpy (phi + i * inputs, picture->phi, sizeof (gfloat) * inputs);
    memcpy (outcome + i * levels, picture->outcome, sizeof (gfloat) * levels);
    memcpy (sizes + i * levels, picture->sizes, sizeof (gdouble) * levels);
  }
  add (writer, keep, prefix, "phi", PIRL_DTYPE_F32,
      shape_of (3, n, levels, bandit->config.inputs), phi);
  add (writer, keep, prefix, "outcome", PIRL_DTYPE_F32, shape_of (2, n, levels, 0), outcome);
  add (writer, keep, prefix, "sizes", PIRL_DTYPE_F64, shape_of (2, n, levels, 0), sizes);
}

void
pirl_bandit_save (PirlBandit *bandit, PirlSafetensorsWriter *writer, const gchar *prefix,
    GPtrArray *keep)
{
  const guint d = bandit->config.inputs;
  Field fields[N_FIELDS];
  gdouble state[N_STATE];

  g_mutex_lock (&bandit->learning);
  list_fields (bandit, fields);
  for (guint i = 0; i < N_FIELDS; i++)
    add (writer, keep, prefix, fields[i].name, PIRL_DTYPE_F64,
        shape_of (fields[i].square ? 2 : 1, d, d, 0), fields[i].data);
  state[STATE_LAMBDA] = bandit->lambda;
  state[STATE_INFORMED] = bandit->informed;
  state[STATE_TRAINED] = bandit->trained;
  state[STATE_AGREEMENT] = bandit->agreement;
  state[STATE_KNOWN] = bandit->known;
  state[STATE_TARGET] = bandit->config.target;
  add (writer, keep, prefix, "state", PIRL_DTYPE_F64, shape_of (1, N_STATE, 0, 0), state);
  add_pictures (bandit, writer, prefix, keep);
  g_mutex_unlock (&bandit->learning);
}

/* --- loading --- */

/* The tensor "@prefix.@name" of @shape, as finite doubles; transfer full. dim[0] = -1: any
 * number. */
static gdouble *
read_doubles (const PirlSafetensors *file, const gchar *prefix, const gchar *name,
    PirlShape *shape, GError **error)
{
  g_autofree gchar *full = g_strconcat (prefix, ".", name, NULL);
  const PirlTensor *tensor = pirl_safetensors_lookup (file, full);
  g_autofree gdouble *values = NULL;
  gsize n;

  if (tensor == NULL) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH, "agent \"%s\": there is no tensor %s",
        pirl_safetensors_name (file), full);
    return NULL;
  }
  if (shape->dim[0] < 0 && tensor->shape.rank > 0)
    shape->dim[0] = tensor->shape.dim[0];
  if (!pirl_shape_equal (&tensor->shape, shape)) {
    g_autofree gchar *has = pirl_shape_to_string (&tensor->shape);
    g_autofree gchar *needed = pirl_shape_to_string (shape);

    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "agent \"%s\": tensor %s has shape %s, this agent needs %s; was it trained with another "
        "list of qualities or another extractor?", pirl_safetensors_name (file), full, has, needed);
    return NULL;
  }
  n = pirl_shape_count (shape);
  values = g_new (gdouble, n);
  if (tensor->dtype == PIRL_DTYPE_F64) {
    memcpy (values, tensor->data, sizeof (gdouble) * n);
  } else if (tensor->dtype == PIRL_DTYPE_F32) {
    g_autofree gfloat *floats = g_new (gfloat, n);

    memcpy (floats, tensor->data, sizeof (gfloat) * n);
    for (gsize i = 0; i < n; i++)
      values[i] = floats[i];
  } else {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "agent \"%s\": tensor %s is %s, not F64 or "
        "F32", pirl_safetensors_name (file), full, pirl_dtype_name (tensor->dtype));
    return NULL;
  }
  for (gsize i = 0; i < n; i++) {
    if (!isfinite (values[i])) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
          "agent \"%s\": tensor %s has a value that is not finite", pirl_safetensors_name (file),
          full);
      return NULL;
    }
  }
  return g_steal_pointer (&values);
}

static gboolean
load_pictures (PirlBandit *bandit, const PirlSafetensors *file, const gchar *prefix,
    GError **error)
{
  const gint64 levels = bandit->config.levels, d = bandit->config.inputs;
  PirlShape phi_shape = shape_of (3, -1, levels, d), shape;
  g_autofree gchar *name = g_strconcat (prefix, ".phi", NULL);
  g_autofree gdouble *phi = NULL, *outcome = NULL, *sizes = NULL;
  g_autofree gfloat *row = g_new (gfloat, levels * d);
  gfloat answers[PIRL_BANDIT_MAX_LEVELS];
  gint64 n;

  if (pirl_safetensors_lookup (file, name) == NULL)
    return TRUE;
  if ((phi = read_doubles (file, prefix, "phi", &phi_shape, error)) == NULL)
    return FALSE;
  n = phi_shape.dim[0];
  shape = shape_of (2, n, levels, 0);
  if ((outcome = read_doubles (file, prefix, "outcome", &shape, error)) == NULL
      || (sizes = read_doubles (file, prefix, "sizes", &shape, error)) == NULL)
    return FALSE;
  for (gint64 i = MAX (0, n - (gint64) bandit->config.capacity); i < n; i++) {
    for (gint64 j = 0; j < levels * d; j++)
      row[j] = (gfloat) phi[i * levels * d + j];
    for (gint64 l = 0; l < levels; l++)
      answers[l] = (gfloat) MIN (outcome[i * levels + l], 1);
    g_ptr_array_add (bandit->pictures, pirl_bandit_picture_new (&bandit->config, row,
            sizes + i * levels, answers));
  }
  return TRUE;
}

/* What a crafted file could hold that a fit never leaves. */
static gboolean
check (const PirlBandit *bandit, const PirlSafetensors *file, GError **error)
{
  const gsize d = bandit->config.inputs;
  g_autofree gdouble *factor = g_new (gdouble, d * d);
  const gdouble *matrices[] = { bandit->precision, bandit->prior_precision };

  for (guint i = 0; i < G_N_ELEMENTS (matrices); i++) {
    memcpy (factor, matrices[i], sizeof (gdouble) * d * d);
    if (!pirl_cholesky (factor, d)) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT,
          "agent \"%s\": a precision is not positive definite", pirl_safetensors_name (file));
      return FALSE;
    }
  }
  for (gsize i = 0; i < d; i++) {
    if (!(bandit->scale[i] > 0)) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "agent \"%s\": the scale of input %u is "
          "%g, not above 0", pirl_safetensors_name (file), (guint) i, bandit->scale[i]);
      return FALSE;
    }
  }
  return TRUE;
}

/* Into a bandit of its own, so that an error leaves the caller's as it was. */
static gboolean
load_into (PirlBandit *bandit, const PirlSafetensors *file, const gchar *prefix, gboolean *judge,
    GError **error)
{
  const guint d = bandit->config.inputs;
  PirlShape state_shape = shape_of (1, N_STATE, 0, 0);
  g_autofree gdouble *state = read_doubles (file, prefix, "state", &state_shape, error);
  Field fields[N_FIELDS];

  if (state == NULL)
    return FALSE;
  list_fields (bandit, fields);
  for (guint i = 0; i < N_FIELDS; i++) {
    PirlShape shape = shape_of (fields[i].square ? 2 : 1, d, d, 0);
    g_autofree gdouble *values = read_doubles (file, prefix, fields[i].name, &shape, error);

    if (values == NULL)
      return FALSE;
    memcpy (fields[i].data, values, sizeof (gdouble) * pirl_shape_count (&shape));
  }
  bandit->lambda = state[STATE_LAMBDA];
  bandit->informed = state[STATE_INFORMED] != 0;
  bandit->trained = state[STATE_TRAINED] != 0;
  bandit->agreement = state[STATE_AGREEMENT];
  bandit->known = state[STATE_KNOWN];
  *judge = state[STATE_TARGET] != bandit->config.target;
  return check (bandit, file, error) && load_pictures (bandit, file, prefix, error);
}

gboolean
pirl_bandit_load (PirlBandit *bandit, const PirlSafetensors *file, const gchar *prefix,
    GError **error)
{
  g_autoptr (PirlBandit) loaded = pirl_bandit_new (&bandit->config, NULL);
  gboolean judge;

  if (!load_into (loaded, file, prefix, &judge, error))
    return FALSE;
  pirl_bandit_replace (bandit, loaded, judge);
  return TRUE;
}
