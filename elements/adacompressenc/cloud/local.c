/* adacompressenc: a classifier of this machine as the cloud: local:MODEL.safetensors.
 *
 * decode, resize and crop as the model's file says, logits z, scores exp (z_i) / sum exp (z). Ids are
 * class indices; names come from the file's metadata "class_names" (newline separated), where it has
 * one for each class.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "device.h"
#include "kinds.h"

#include <base/safetensors.h>
#include <math.h>
#include <net/embedder.h>
#include <string.h>

#define CLASSES 5
#define SCHEME "local:"

#define ADA_TYPE_LOCAL_CLOUD (ada_local_cloud_get_type ())
G_DECLARE_FINAL_TYPE (AdaLocalCloud, ada_local_cloud, ADA, LOCAL_CLOUD, GObject)

struct _AdaLocalCloud {
  GObject parent;
  GMutex lock;                  /* an embedder is one thread's at a time */
  PirlEmbedder *model;
  gfloat *logits;
  gchar **names;                /* may be NULL */
};

static void ada_local_cloud_interface_init (AdaCloudInterface * iface);
G_DEFINE_TYPE_WITH_CODE (AdaLocalCloud, ada_local_cloud, G_TYPE_OBJECT,
    G_IMPLEMENT_INTERFACE (ADA_TYPE_CLOUD, ada_local_cloud_interface_init))

static void
ada_local_cloud_finalize (GObject * object)
{
  AdaLocalCloud *self = ADA_LOCAL_CLOUD (object);

  g_clear_pointer (&self->model, pirl_embedder_free);
  g_free (self->logits);
  g_strfreev (self->names);
  g_mutex_clear (&self->lock);
  G_OBJECT_CLASS (ada_local_cloud_parent_class)->finalize (object);
}

static void
ada_local_cloud_class_init (AdaLocalCloudClass * klass)
{
  G_OBJECT_CLASS (klass)->finalize = ada_local_cloud_finalize;
}

static void
ada_local_cloud_init (AdaLocalCloud * self)
{
  g_mutex_init (&self->lock);
}

/* Index of the greatest of @logits that is not yet in @taken. */
static guint
next_best (const gfloat * logits, guint n, const guint * taken, guint n_taken)
{
  guint best = n;

  for (guint i = 0; i < n; i++) {
    gboolean free = TRUE;

    for (guint k = 0; k < n_taken; k++)
      free = free && taken[k] != i;
    if (free && (best == n || logits[i] > logits[best]))
      best = i;
  }
  return best;
}

static AdaAnswer *
answer_of_logits (AdaLocalCloud * self)
{
  const guint n = pirl_embedder_size (self->model);
  AdaAnswer *answer = ada_answer_new ();
  guint taken[CLASSES];
  gdouble sum = 0;

  answer->model_version = g_strdup (pirl_embedder_model (self->model));
  for (guint k = 0; k < MIN (CLASSES, n); k++) {
    g_autofree gchar *id = NULL;
    const guint best = taken[k] = next_best (self->logits, n, taken, k);
    const gdouble greatest = self->logits[taken[0]];

    for (guint i = 0; k == 0 && i < n; i++)
      sum += exp (self->logits[i] - greatest);
    id = g_strdup_printf ("%u", best);
    ada_answer_add (answer, id, self->names ? self->names[best] : NULL,
        exp (self->logits[best] - greatest) / sum);
  }
  return answer;
}

static AdaAnswer *
ada_local_cloud_classify (AdaCloud * cloud, const AdaRequest * request,
    GCancellable * cancellable, GError ** error)
{
  AdaLocalCloud *self = ADA_LOCAL_CLOUD (cloud);
  g_autoptr (GError) reason = NULL;
  AdaAnswer *answer = NULL;
  PirlImage image = { 0 };
  const PirlImage *images[] = { &image };
  gconstpointer data;
  gsize size;

  data = g_bytes_get_data (request->jpeg, &size);
  g_mutex_lock (&self->lock);
  if (pirl_image_decode (data, size, 0, FALSE, &image, NULL, &reason)
      && !g_cancellable_is_cancelled (cancellable)
      && pirl_embedder_run (self->model, images, 1, self->logits, &reason)
      && !g_cancellable_is_cancelled (cancellable))
    answer = answer_of_logits (self);
  g_mutex_unlock (&self->lock);
  pirl_image_clear (&image);
  if (reason)
    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED, "the local model: %s",
        reason->message);
  else if (!answer)
    g_cancellable_set_error_if_cancelled (cancellable, error);
  return answer;
}

static void
ada_local_cloud_interface_init (AdaCloudInterface * iface)
{
  iface->classify = ada_local_cloud_classify;
}

/* NULL unless the file names each of @classes. */
static gchar **
read_names (const gchar * path, guint classes)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, NULL);
  const gchar *text = file ? pirl_safetensors_metadata (file, "class_names") : NULL;
  g_auto (GStrv) names = text ? g_strsplit (text, "\n", -1) : NULL;

  return names && g_strv_length (names) == classes ? g_steal_pointer (&names) : NULL;
}

AdaCloud *
ada_local_cloud_new (const gchar * uri, const gchar * device, guint n_threads, GError ** error)
{
  const gchar *path = uri + strlen (SCHEME);
  g_autoptr (AdaLocalCloud) self = g_object_new (ADA_TYPE_LOCAL_CLOUD, NULL);

  if (!*path) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "the cloud's URI names no model; it should be local:MODEL.safetensors");
    return NULL;
  }
  self->model = pirl_embedder_new (path, "logits", ada_device (device), "auto", n_threads, 1,
      error);
  if (!self->model) {
    g_prefix_error (error, "cloud local: ");
    return NULL;
  }
  self->logits = g_new (gfloat, pirl_embedder_size (self->model));
  self->names = read_names (path, pirl_embedder_size (self->model));
  return ADA_CLOUD (g_steal_pointer (&self));
}
