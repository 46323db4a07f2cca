/* adacompressenc: recorded answers as the cloud: replay:FILE.json[#SERVICE].
 *
 * What makes experiments repeatable, and free of charge. Pictures are known by the sample's name.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"
#include "recording.h"

#include <base/base.h>
#include <string.h>

#define SCHEME "replay:"

#define ADA_TYPE_REPLAY_CLOUD (ada_replay_cloud_get_type ())
G_DECLARE_FINAL_TYPE (AdaReplayCloud, ada_replay_cloud, ADA, REPLAY_CLOUD, GObject)

struct _AdaReplayCloud {
  GObject parent;
  AdaRecording *recording;
};

static void ada_replay_cloud_interface_init (AdaCloudInterface * iface);
G_DEFINE_TYPE_WITH_CODE (AdaReplayCloud, ada_replay_cloud, G_TYPE_OBJECT,
    G_IMPLEMENT_INTERFACE (ADA_TYPE_CLOUD, ada_replay_cloud_interface_init))

static void
ada_replay_cloud_finalize (GObject * object)
{
  ada_recording_free (ADA_REPLAY_CLOUD (object)->recording);
  G_OBJECT_CLASS (ada_replay_cloud_parent_class)->finalize (object);
}

static void
ada_replay_cloud_class_init (AdaReplayCloudClass * klass)
{
  G_OBJECT_CLASS (klass)->finalize = ada_replay_cloud_finalize;
}

static void
ada_replay_cloud_init (AdaReplayCloud * self)
{
}

static AdaAnswer *
ada_replay_cloud_classify (AdaCloud * cloud, const AdaRequest * request,
    GCancellable * cancellable, GError ** error)
{
  return ada_recording_find (ADA_REPLAY_CLOUD (cloud)->recording, request->name, request->quality,
      error);
}

static gboolean
ada_replay_cloud_knows (AdaCloud * cloud, const gchar * name, gint quality)
{
  return ada_recording_has (ADA_REPLAY_CLOUD (cloud)->recording, name, quality);
}

static void
ada_replay_cloud_interface_init (AdaCloudInterface * iface)
{
  iface->classify = ada_replay_cloud_classify;
  iface->knows = ada_replay_cloud_knows;
}

AdaCloud *
ada_replay_cloud_new (const gchar * uri, const gchar * device, guint n_threads, GError ** error)
{
  const gchar *rest = uri + strlen (SCHEME), *mark = strrchr (rest, '#');
  g_autofree gchar *path = mark ? g_strndup (rest, mark - rest) : g_strdup (rest);
  g_autofree gchar *contents = NULL;
  g_autoptr (AdaReplayCloud) self = g_object_new (ADA_TYPE_REPLAY_CLOUD, NULL);
  g_autoptr (GError) reason = NULL;
  gsize size;

  if (!*path) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "the cloud's URI names no file; it should be replay:FILE.json[#SERVICE]");
    return NULL;
  }
  if (!g_file_get_contents (path, &contents, &size, &reason)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cloud replay: %s", reason->message);
    return NULL;
  }
  self->recording = ada_recording_new (contents, size, mark ? mark + 1 : NULL, &reason);
  if (!self->recording) {
    g_propagate_prefixed_error (error, g_steal_pointer (&reason), "cloud replay: %s: ", path);
    return NULL;
  }
  return ADA_CLOUD (g_steal_pointer (&self));
}
