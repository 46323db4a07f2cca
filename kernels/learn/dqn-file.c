/* gst-pirl: a DQN in a safetensors file.
 *
 * "@prefix.q.0.weight", ".bias", ... (F32), "@prefix.first.*" and ".second.*" (Adam's moments),
 * "@prefix.replay.state" [n, features], ".next" (gamma > 0), ".action" (I32) and ".reward" [n],
 * oldest first, absent when there are none; "@prefix.state" [5] (F64): steps, learnings, Adam's
 * steps, epsilon, trained.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/dqn-private.h"

#include <math.h>
#include <string.h>

enum { STATE_STEPS, STATE_LEARNINGS, STATE_ADAM, STATE_EPSILON, STATE_TRAINED, N_STATE };

static const struct {
  PirlArena arena;
  const gchar *infix;
} arenas[] = {
  {PIRL_ARENA_VALUE, ""}, {PIRL_ARENA_VELOCITY, "first."}, {PIRL_ARENA_SECOND, "second."},
};

/* A column of the replay. */
typedef struct {
  const gchar *name;
  PirlDType dtype;
  gsize width;
  gpointer data;
} Column;

#define N_COLUMNS 4

/* What is not kept at gamma 0 has no data. */
static void
list_columns (const PirlDqn *dqn, Column columns[N_COLUMNS])
{
  const Column list[N_COLUMNS] = {
    {"replay.state", PIRL_DTYPE_F32, dqn->config.features, dqn->states},
    {"replay.next", PIRL_DTYPE_F32, dqn->config.features, dqn->nexts},
    {"replay.action", PIRL_DTYPE_I32, 1, dqn->actions},
    {"replay.reward", PIRL_DTYPE_F32, 1, dqn->rewards},
  };

  memcpy (columns, list, sizeof list);
}

static PirlShape
column_shape (const Column *column, gint64 n)
{
  return (PirlShape) {.rank = column->width > 1 ? 2 : 1,.dim = { n, column->width } };
}

/* Takes @data (g_free). */
static void
add (PirlSafetensorsWriter *writer, GPtrArray *keep, const gchar *prefix, const gchar *name,
    PirlDType dtype, const PirlShape *shape, gpointer data)
{
  g_autofree gchar *full = g_strconcat (prefix, ".", name, NULL);

  g_ptr_array_add (keep,
      g_bytes_new_take (data, pirl_shape_count (shape) * pirl_dtype_size (dtype)));
  pirl_safetensors_writer_add (writer, full, dtype, shape, data);
}

static void
save_replay (const PirlDqn *dqn, PirlSafetensorsWriter *writer, const gchar *prefix,
    GPtrArray *keep)
{
  const gsize n = dqn->stored, oldest = n == dqn->config.replay ? dqn->cursor : 0;
  Column columns[N_COLUMNS];

  list_columns (dqn, columns);
  for (guint i = 0; n > 0 && i < N_COLUMNS; i++) {
    const PirlShape shape = column_shape (&columns[i], n);
    const gsize row = columns[i].width * pirl_dtype_size (columns[i].dtype);
    guint8 *data;

    if (columns[i].data == NULL)
      continue;
    data = g_malloc (n * row);
    memcpy (data, (guint8 *) columns[i].data + oldest * row, (n - oldest) * row);
    memcpy (data + (n - oldest) * row, columns[i].data, oldest * row);
    add (writer, keep, prefix, columns[i].name, columns[i].dtype, &shape, data);
  }
}

void
pirl_dqn_save (PirlDqn *dqn, PirlSafetensorsWriter *writer, const gchar *prefix, GPtrArray *keep)
{
  const PirlShape state_shape = {.rank = 1,.dim = { N_STATE } };
  gdouble *state = g_new (gdouble, N_STATE);

  g_mutex_lock (&dqn->learning);
  for (guint a = 0; a < G_N_ELEMENTS (arenas); a++) {
    for (guint i = 0; (a == 0 || dqn->adam_steps > 0) && i < pirl_params_count (dqn->params); i++) {
      const PirlParamSpec *spec = pirl_params_spec (dqn->params, i);
      g_autofree gchar *name = g_strconcat (arenas[a].infix, spec->name, NULL);
      gfloat *values = g_new0 (gfloat, pirl_shape_count (&spec->shape));

      /* Reading the host's own memory cannot fail. */
      pirl_params_read (dqn->params, arenas[a].arena, i, values, NULL);
      add (writer, keep, prefix, name, PIRL_DTYPE_F32, &spec->shape, values);
    }
  }
  save_replay (dqn, writer, prefix, keep);
  state[STATE_STEPS] = dqn->steps;
  state[STATE_LEARNINGS] = dqn->learnings;
  state[STATE_ADAM] = dqn->adam_steps;
  g_mutex_lock (&dqn->publishing);
  state[STATE_EPSILON] = dqn->epsilon;
  state[STATE_TRAINED] = dqn->trained;
  g_mutex_unlock (&dqn->publishing);
  g_mutex_unlock (&dqn->learning);
  add (writer, keep, prefix, "state", PIRL_DTYPE_F64, &state_shape, state);
}

/* --- loading --- */

/* dim[0] = -1 in @shape: any number. */
static const PirlTensor *
find (const PirlSafetensors *file, const gchar *prefix, const gchar *name, PirlDType dtype,
    PirlShape shape, GError **error)
{
  g_autofree gchar *full = g_strconcat (prefix, ".", name, NULL);
  const PirlTensor *tensor = pirl_safetensors_lookup (file, full);

  if (tensor == NULL) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH, "agent \"%s\": there is no tensor %s",
        pirl_safetensors_name (file), full);
    return NULL;
  }
  if (shape.dim[0] < 0 && tensor->shape.rank > 0)
    shape.dim[0] = tensor->shape.dim[0];
  if (tensor->dtype != dtype || !pirl_shape_equal (&tensor->shape, &shape)) {
    g_autofree gchar *has = pirl_shape_to_string (&tensor->shape);
    g_autofree gchar *needed = pirl_shape_to_string (&shape);

    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "agent \"%s\": tensor %s has shape %s of %s, this agent needs %s of %s; was it trained with "
        "another list of qualities or another extractor?", pirl_safetensors_name (file), full, has,
        pirl_dtype_name (tensor->dtype), needed, pirl_dtype_name (dtype));
    return NULL;
  }
  return tensor;
}

static gboolean
not_finite (const PirlSafetensors *file, const PirlTensor *tensor, GError **error)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
      "agent \"%s\": tensor %s has a value that is not finite", pirl_safetensors_name (file),
      tensor->name);
  return FALSE;
}

static gboolean
load_params (PirlDqn *dqn, const PirlSafetensors *file, const gchar *prefix, guint n_arenas,
    GError **error)
{
  for (guint a = 0; a < n_arenas; a++) {
    for (guint i = 0; i < pirl_params_count (dqn->params); i++) {
      const PirlParamSpec *spec = pirl_params_spec (dqn->params, i);
      const gsize n = pirl_shape_count (&spec->shape);
      g_autofree gchar *name = g_strconcat (arenas[a].infix, spec->name, NULL);
      g_autofree gfloat *values = g_new (gfloat, n);
      const PirlTensor *tensor = find (file, prefix, name, PIRL_DTYPE_F32, spec->shape, error);

      if (tensor == NULL)
        return FALSE;
      memcpy (values, tensor->data, sizeof (gfloat) * n);
      for (gsize j = 0; j < n; j++)
        if (!isfinite (values[j]))
          return not_finite (file, tensor, error);
      if (!pirl_params_write (dqn->params, arenas[a].arena, i, values, error))
        return FALSE;
    }
  }
  return TRUE;
}

static gboolean
check_replay (const PirlDqn *dqn, const PirlSafetensors *file, GError **error)
{
  for (guint i = 0; i < dqn->stored; i++) {
    gboolean good = isfinite (dqn->rewards[i]) && dqn->actions[i] < dqn->config.actions;

    for (gsize j = 0; good && j < dqn->config.features; j++)
      good = isfinite (dqn->states[(gsize) i * dqn->config.features + j])
          && (dqn->nexts == NULL || isfinite (dqn->nexts[(gsize) i * dqn->config.features + j]));
    if (!good) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "agent \"%s\": transition %u of its replay "
          "is not one of %u actions with finite numbers", pirl_safetensors_name (file), i,
          dqn->config.actions);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
load_replay (PirlDqn *dqn, const PirlSafetensors *file, const gchar *prefix, GError **error)
{
  g_autofree gchar *first = g_strconcat (prefix, ".replay.state", NULL);
  const PirlTensor *states = pirl_safetensors_lookup (file, first);
  Column columns[N_COLUMNS];
  gint64 n = 0;

  if (states == NULL || states->shape.rank == 0)
    return TRUE;
  list_columns (dqn, columns);
  for (guint i = 0; i < N_COLUMNS; i++) {
    const gsize row = columns[i].width * pirl_dtype_size (columns[i].dtype);
    const PirlTensor *tensor;
    gint64 skip;

    if (columns[i].data == NULL)
      continue;
    tensor = find (file, prefix, columns[i].name, columns[i].dtype,
        column_shape (&columns[i], states->shape.dim[0]), error);
    if (tensor == NULL)
      return FALSE;
    n = tensor->shape.dim[0];
    skip = MAX (0, n - (gint64) dqn->config.replay);
    n -= skip;
    memcpy (columns[i].data, (const guint8 *) tensor->data + skip * row, n * row);
  }
  dqn->stored = n;
  dqn->cursor = n % dqn->config.replay;
  return check_replay (dqn, file, error);
}

static gboolean
load_into (PirlDqn *dqn, const PirlSafetensors *file, const gchar *prefix, GError **error)
{
  const PirlShape shape = {.rank = 1,.dim = { N_STATE } };
  const PirlTensor *tensor = find (file, prefix, "state", PIRL_DTYPE_F64, shape, error);
  gdouble state[N_STATE];

  if (tensor == NULL)
    return FALSE;
  memcpy (state, tensor->data, sizeof state);
  for (guint i = 0; i < N_STATE; i++)
    if (!(state[i] >= 0 && state[i] < 1e15))
      return not_finite (file, tensor, error);
  dqn->steps = (guint64) state[STATE_STEPS];
  dqn->learnings = (guint64) state[STATE_LEARNINGS];
  dqn->adam_steps = (guint64) state[STATE_ADAM];
  dqn->epsilon = MIN (state[STATE_EPSILON], 1);
  return load_params (dqn, file, prefix, dqn->adam_steps > 0 ? G_N_ELEMENTS (arenas) : 1, error)
      && load_replay (dqn, file, prefix, error)
      && pirl_dqn_publish (dqn, state[STATE_TRAINED] != 0, error);
}

#define SWAP(type, a, b) \
  G_STMT_START { type swap_ = (a); (a) = (b); (b) = swap_; } G_STMT_END

/* Into one of its own first, so that an error leaves the caller's as it was. */
gboolean
pirl_dqn_load (PirlDqn *dqn, const PirlSafetensors *file, const gchar *prefix, GError **error)
{
  g_autoptr (PirlDqn) loaded = pirl_dqn_new (&dqn->config, error);

  if (loaded == NULL || !load_into (loaded, file, prefix, error))
    return FALSE;
  g_mutex_lock (&dqn->learning);
  g_mutex_lock (&dqn->publishing);
  SWAP (PirlDevice *, dqn->device, loaded->device);
  SWAP (PirlGraph *, dqn->graph, loaded->graph);
  SWAP (PirlParams *, dqn->params, loaded->params);
  SWAP (PirlPool *, dqn->pool, loaded->pool);
  SWAP (PirlPlan *, dqn->plan, loaded->plan);
  SWAP (DqnWeights *, dqn->weights, loaded->weights);
  SWAP (DqnWeights *, dqn->target, loaded->target);
  SWAP (gfloat *, dqn->states, loaded->states);
  SWAP (gfloat *, dqn->nexts, loaded->nexts);
  SWAP (guint32 *, dqn->actions, loaded->actions);
  SWAP (gfloat *, dqn->rewards, loaded->rewards);
  dqn->output = loaded->output;
  dqn->stored = loaded->stored;
  dqn->cursor = loaded->cursor;
  dqn->steps = loaded->steps;
  dqn->learnings = loaded->learnings;
  dqn->adam_steps = loaded->adam_steps;
  dqn->epsilon = loaded->epsilon;
  dqn->trained = loaded->trained;
  g_mutex_unlock (&dqn->publishing);
  g_mutex_unlock (&dqn->learning);
  return TRUE;
}
