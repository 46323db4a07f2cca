/* gst-pirl: features of a data set, kept in files while they come and for the next time.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A store has one or more layers and two splits. Rows are added one by one; they go to files
 * without a name, so that memory stays small and nothing is left behind by a process that dies.
 * When all are there the store is finished: with a path it becomes that file, at once and whole,
 * else the nameless files are mapped. While the file is written both take room on the disk.
 *
 * The file is safetensors: LAYER.train.features and LAYER.test.features, F32 [n, positions,
 * channels]; train.labels and test.labels I32 [n], or train.targets and test.targets I8 [n,
 * classes]; with one layer its features are called train.features and test.features. __metadata__:
 * "layers" (newline separated), "classes" (a number), "key" (of whoever wrote it, to recognise it),
 * "model", "class_names" (newline separated).
 */
#pragma once

#include "learn/probe.h"

typedef struct _PirlProbeStore PirlProbeStore;

typedef enum { PIRL_SPLIT_TRAIN, PIRL_SPLIT_TEST, PIRL_N_SPLITS } PirlSplit;

typedef struct {
  gchar *name;
  guint dim, positions;         /* as of PirlProbeSet */
} PirlProbeLayer;

/** What a store says of itself; strings may be NULL. */
typedef struct {
  guint classes;
  gchar *key, *model, *class_names;
} PirlProbeStoreInfo;

/** An empty store. @path NULL: for this process only. @targets: of how many classes each row says
 * whether it shows them; 0 = rows have a label each. */
PIRL_API PirlProbeStore *pirl_probe_store_new (const gchar *path, const PirlProbeLayer *layers,
    guint n_layers, guint targets, GError **error);
/** Opens a file that another store became. %PIRL_ERROR_FORMAT says what is wrong with it. */
PIRL_API PirlProbeStore *pirl_probe_store_open (const gchar *path, GError **error);
PIRL_API void pirl_probe_store_free (PirlProbeStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlProbeStore, pirl_probe_store_free)

/** One sample: @rows has a row for each layer; @targets only where the store has them. */
PIRL_API gboolean pirl_probe_store_add (PirlProbeStore *store, PirlSplit split,
    const gfloat *const *rows, gint label, const gint8 *targets, GError **error);
/** No more come. @cancel (may be NULL) is looked at all the time: G_IO_ERROR_CANCELLED. */
PIRL_API gboolean pirl_probe_store_finish (PirlProbeStore *store, const PirlProbeStoreInfo *info,
    const gint *cancel, GError **error);

/** Of a store that was opened or finished; belongs to it. */
PIRL_API const PirlProbeStoreInfo *pirl_probe_store_info (const PirlProbeStore *store);
PIRL_API guint pirl_probe_store_layers (const PirlProbeStore *store);
PIRL_API const PirlProbeLayer *pirl_probe_store_layer (const PirlProbeStore *store, guint i);
/** The rows of a layer, once it is opened or finished; they belong to the store. */
PIRL_API void pirl_probe_store_set (const PirlProbeStore *store, guint layer, PirlSplit split,
    PirlProbeSet *set);
