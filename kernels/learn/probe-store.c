/* gst-pirl: features of a data set, kept in files (see probe-store.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/probe-store.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/safetensors.h"

/* Bytes that are written before it is looked whether to stop. */
#define PIECE (16 << 20)

/* A growing file without a name, then its mapping. */
typedef struct {
  FILE *file;
  GMappedFile *map;
  const gint *cancel;           /* while it is copied */
} Spool;

typedef struct {
  PirlProbeLayer layer;
  Spool spool[PIRL_N_SPLITS];
  const gfloat *rows[PIRL_N_SPLITS];    /* at the end */
} Layer;

struct _PirlProbeStore {
  gchar *path;
  gchar *folder;                /* of the spools */
  guint n_layers;
  Layer *layers;
  guint targets;
  Spool marks[PIRL_N_SPLITS];   /* labels or targets */
  gconstpointer mark[PIRL_N_SPLITS];
  gsize n[PIRL_N_SPLITS];
  PirlProbeStoreInfo info;
  PirlSafetensors *file;
};

static const gchar *const split_names[PIRL_N_SPLITS] = { "train", "test" };

/* ---- spools --------------------------------------------------------------------------------- */

static gboolean
spool_failed (const PirlProbeStore *store, const gchar *what, GError **error)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "features cannot be %s a file in \"%s\": %s", what,
      store->folder, g_strerror (errno));
  return FALSE;
}

static gboolean
spool_open (const PirlProbeStore *store, Spool *spool, GError **error)
{
  g_autofree gchar *name = g_build_filename (store->folder, ".pirl-features-XXXXXX", NULL);
  const gint fd = g_mkstemp_full (name, O_RDWR | O_CLOEXEC, 0600);

  if (fd < 0)
    return spool_failed (store, "written to", error);
  g_unlink (name);
  spool->file = fdopen (fd, "w+b");
  return TRUE;
}

static gboolean
spool_add (const PirlProbeStore *store, Spool *spool, gconstpointer data, gsize size,
    GError **error)
{
  return fwrite (data, 1, size, spool->file) == size || spool_failed (store, "written to", error);
}

static gboolean
spool_map (const PirlProbeStore *store, Spool *spool, GError **error)
{
  if (fflush (spool->file) != 0)
    return spool_failed (store, "written to", error);
  spool->map = g_mapped_file_new_from_fd (fileno (spool->file), FALSE, error);
  return spool->map != NULL;
}

static void
spool_close (Spool *spool)
{
  g_clear_pointer (&spool->map, g_mapped_file_unref);
  g_clear_pointer (&spool->file, fclose);
}

static gboolean
spool_copy (gpointer closure, gsize offset, gsize size, gpointer dst, GError **error)
{
  const Spool *spool = closure;

  if (spool->cancel && g_atomic_int_get (spool->cancel)) {
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "writing was cancelled");
    return FALSE;
  }
  memcpy (dst, g_mapped_file_get_contents (spool->map) + offset, size);
  return TRUE;
}

/* ---- a new store ---------------------------------------------------------------------------- */

static PirlProbeStore *
store_new (const gchar *path, guint n_layers)
{
  PirlProbeStore *store = g_new0 (PirlProbeStore, 1);

  store->path = g_strdup (path);
  store->folder = path ? g_path_get_dirname (path) : g_strdup (g_get_tmp_dir ());
  store->n_layers = n_layers;
  store->layers = g_new0 (Layer, n_layers);
  return store;
}

PirlProbeStore *
pirl_probe_store_new (const gchar *path, const PirlProbeLayer *layers, guint n_layers,
    guint targets, GError **error)
{
  g_autoptr (PirlProbeStore) store = store_new (path, n_layers);

  store->targets = targets;
  for (guint split = 0; split < PIRL_N_SPLITS; split++)
    if (!spool_open (store, &store->marks[split], error))
      return NULL;
  for (guint i = 0; i < n_layers; i++) {
    store->layers[i].layer = layers[i];
    store->layers[i].layer.name = g_strdup (layers[i].name);
    for (guint split = 0; split < PIRL_N_SPLITS; split++)
      if (!spool_open (store, &store->layers[i].spool[split], error))
        return NULL;
  }
  return g_steal_pointer (&store);
}

static void
close_spools (PirlProbeStore *store)
{
  for (guint split = 0; split < PIRL_N_SPLITS; split++) {
    spool_close (&store->marks[split]);
    for (guint i = 0; i < store->n_layers; i++)
      spool_close (&store->layers[i].spool[split]);
  }
}

void
pirl_probe_store_free (PirlProbeStore *store)
{
  if (!store)
    return;
  close_spools (store);
  for (guint i = 0; i < store->n_layers; i++)
    g_free (store->layers[i].layer.name);
  g_free (store->layers);
  pirl_safetensors_free (store->file);
  g_free (store->info.key);
  g_free (store->info.model);
  g_free (store->info.class_names);
  g_free (store->path);
  g_free (store->folder);
  g_free (store);
}

gboolean
pirl_probe_store_add (PirlProbeStore *store, PirlSplit split, const gfloat *const *rows,
    gint label, const gint8 *targets, GError **error)
{
  const gint32 mark = label;

  if (!(store->targets ? spool_add (store, &store->marks[split], targets, store->targets, error)
          : spool_add (store, &store->marks[split], &mark, sizeof mark, error)))
    return FALSE;
  for (guint i = 0; i < store->n_layers; i++)
    if (!spool_add (store, &store->layers[i].spool[split], rows[i],
            store->layers[i].layer.dim * sizeof (gfloat), error))
      return FALSE;
  store->n[split]++;
  return TRUE;
}

/* ---- the file ------------------------------------------------------------------------------- */

/* What the features of a layer are called. */
static gchar *
features_name (const PirlProbeStore *store, guint layer, PirlSplit split)
{
  return store->n_layers == 1 ? g_strconcat (split_names[split], ".features", NULL)
      : g_strconcat (store->layers[layer].layer.name, ".", split_names[split], ".features", NULL);
}

static gchar *
marks_name (const PirlProbeStore *store, PirlSplit split)
{
  return g_strconcat (split_names[split], store->targets ? ".targets" : ".labels", NULL);
}

static PirlShape
marks_shape (const PirlProbeStore *store, PirlSplit split)
{
  return store->targets ? (PirlShape) { 2, { (gint64) store->n[split], store->targets } }
      : (PirlShape) { 1, { (gint64) store->n[split] } };
}

static PirlShape
features_shape (const PirlProbeStore *store, guint layer, PirlSplit split)
{
  const PirlProbeLayer *l = &store->layers[layer].layer;

  return (PirlShape) { 3, { (gint64) store->n[split], l->positions, l->dim / l->positions } };
}

static void
add_metadata (const PirlProbeStore *store, PirlSafetensorsWriter *writer)
{
  g_autoptr (GString) layers = g_string_new (NULL);
  g_autofree gchar *classes = g_strdup_printf ("%u", store->info.classes);
  const struct {
    const gchar *key, *value;
  } rows[] = {
    {"classes", classes}, {"key", store->info.key}, {"model", store->info.model},
    {"class_names", store->info.class_names},
  };

  for (guint i = 0; i < store->n_layers; i++)
    g_string_append_printf (layers, "%s%s", i ? "\n" : "", store->layers[i].layer.name);
  pirl_safetensors_writer_metadata (writer, "layers", layers->str);
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    if (rows[i].value)
      pirl_safetensors_writer_metadata (writer, rows[i].key, rows[i].value);
}

static void
add_tensor (PirlSafetensorsWriter *writer, gchar *name, PirlDType dtype, PirlShape shape,
    Spool *spool, const gint *cancel)
{
  spool->cancel = cancel;
  pirl_safetensors_writer_add_read (writer, name, dtype, &shape, PIECE, spool_copy, spool);
  g_free (name);
}

static gboolean
write_file (PirlProbeStore *store, const gint *cancel, GError **error)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();

  add_metadata (store, writer);
  for (guint split = 0; split < PIRL_N_SPLITS; split++) {
    add_tensor (writer, marks_name (store, split),
        store->targets ? PIRL_DTYPE_I8 : PIRL_DTYPE_I32, marks_shape (store, split),
        &store->marks[split], cancel);
    for (guint i = 0; i < store->n_layers; i++)
      add_tensor (writer, features_name (store, i, split), PIRL_DTYPE_F32,
          features_shape (store, i, split), &store->layers[i].spool[split], cancel);
  }
  return pirl_safetensors_writer_write (writer, store->path, error);
}

/* A tensor with the type and, but for what is -1, the shape; NULL with @error. */
static const PirlTensor *
find_tensor (const PirlProbeStore *store, gchar *name, PirlDType dtype, PirlShape shape,
    GError **error)
{
  const PirlTensor *tensor = pirl_safetensors_lookup (store->file, name);
  g_autofree gchar *owned = name;
  gboolean fits = tensor && tensor->dtype == dtype && tensor->shape.rank == shape.rank;

  for (guint i = 0; fits && i < shape.rank; i++)
    fits = shape.dim[i] < 0 || shape.dim[i] == tensor->shape.dim[i];
  if (fits && (gsize) tensor->data % pirl_dtype_size (dtype) == 0)
    return tensor;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "features \"%s\": tensor %s is missing or of "
      "another type or shape than the file's other tensors need; remove the file", store->path,
      owned);
  return NULL;
}

/* Finds all tensors; sizes come from the file. */
static gboolean
use_file (PirlProbeStore *store, GError **error)
{
  for (guint split = 0; split < PIRL_N_SPLITS; split++) {
    const PirlShape marks = { store->targets ? 2 : 1, { -1, store->targets } };
    const PirlTensor *tensor = find_tensor (store, marks_name (store, split),
        store->targets ? PIRL_DTYPE_I8 : PIRL_DTYPE_I32, marks, error);

    if (!tensor)
      return FALSE;
    store->mark[split] = tensor->data;
    store->n[split] = (gsize) tensor->shape.dim[0];
    for (guint i = 0; i < store->n_layers; i++) {
      PirlProbeLayer *layer = &store->layers[i].layer;
      const gint64 positions = split ? (gint64) layer->positions : -1;
      const gint64 channels = split ? (gint64) (layer->dim / MAX (layer->positions, 1)) : -1;
      const PirlShape shape = { 3, { (gint64) store->n[split], positions, channels } };

      tensor = find_tensor (store, features_name (store, i, split), PIRL_DTYPE_F32, shape, error);
      if (!tensor)
        return FALSE;
      layer->positions = (guint) tensor->shape.dim[1];
      layer->dim = (guint) (tensor->shape.dim[1] * tensor->shape.dim[2]);
      store->layers[i].rows[split] = tensor->data;
    }
  }
  return TRUE;
}

PirlProbeStore *
pirl_probe_store_open (const gchar *path, GError **error)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, error);
  g_autoptr (PirlProbeStore) store = NULL;
  const gchar *names = file ? pirl_safetensors_metadata (file, "layers") : NULL;
  const gchar *classes = file ? pirl_safetensors_metadata (file, "classes") : NULL;
  g_auto (GStrv) layers = g_strsplit (names ? names : "", "\n", -1);

  if (!file)
    return NULL;
  if (!names || !classes) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "\"%s\" has no features: its metadata have "
        "no layers and classes", path);
    return NULL;
  }
  store = store_new (path, g_strv_length (layers));
  for (guint i = 0; i < store->n_layers; i++)
    store->layers[i].layer.name = g_strdup (layers[i]);
  store->info.classes = (guint) g_ascii_strtoull (classes, NULL, 10);
  store->info.key = g_strdup (pirl_safetensors_metadata (file, "key"));
  store->info.model = g_strdup (pirl_safetensors_metadata (file, "model"));
  store->info.class_names = g_strdup (pirl_safetensors_metadata (file, "class_names"));
  store->targets = pirl_safetensors_lookup (file, "train.targets") ? store->info.classes : 0;
  store->file = g_steal_pointer (&file);
  return use_file (store, error) ? g_steal_pointer (&store) : NULL;
}

/* ---- the end -------------------------------------------------------------------------------- */

static gboolean
map_spools (PirlProbeStore *store, GError **error)
{
  for (guint split = 0; split < PIRL_N_SPLITS; split++) {
    if (!spool_map (store, &store->marks[split], error))
      return FALSE;
    store->mark[split] = g_mapped_file_get_contents (store->marks[split].map);
    for (guint i = 0; i < store->n_layers; i++) {
      Spool *spool = &store->layers[i].spool[split];

      if (!spool_map (store, spool, error))
        return FALSE;
      store->layers[i].rows[split] = (const gfloat *) (gpointer)
          g_mapped_file_get_contents (spool->map);
    }
  }
  return TRUE;
}

gboolean
pirl_probe_store_finish (PirlProbeStore *store, const PirlProbeStoreInfo *info,
    const gint *cancel, GError **error)
{
  store->info = (PirlProbeStoreInfo) { info->classes, g_strdup (info->key),
    g_strdup (info->model), g_strdup (info->class_names) };
  if (!map_spools (store, error))
    return FALSE;
  if (!store->path)
    return TRUE;
  if (!write_file (store, cancel, error))
    return FALSE;
  close_spools (store);
  store->file = pirl_safetensors_open (store->path, error);
  return store->file && use_file (store, error);
}

/* ---- reading -------------------------------------------------------------------------------- */

const PirlProbeStoreInfo *
pirl_probe_store_info (const PirlProbeStore *store)
{
  return &store->info;
}

guint
pirl_probe_store_layers (const PirlProbeStore *store)
{
  return store->n_layers;
}

const PirlProbeLayer *
pirl_probe_store_layer (const PirlProbeStore *store, guint i)
{
  return &store->layers[i].layer;
}

void
pirl_probe_store_set (const PirlProbeStore *store, guint layer, PirlSplit split,
    PirlProbeSet *set)
{
  const Layer *l = &store->layers[layer];

  *set = (PirlProbeSet) { .features = l->rows[split], .n = store->n[split], .dim = l->layer.dim,
    .positions = l->layer.positions };
  if (store->targets)
    set->targets = store->mark[split];
  else
    set->labels = store->mark[split];
}
