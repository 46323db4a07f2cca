/* gst-pirl: where the models that ship are (see models.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "models.h"

#include <gst/gst.h>
#include <stdlib.h>

/* Whether the plugin at work is the one that lies where it was built. */
static gboolean
is_uninstalled (void)
{
  GstPlugin *plugin = gst_registry_find_plugin (gst_registry_get (), "pirl");
  const gchar *path = plugin ? gst_plugin_get_filename (plugin) : NULL;
  gboolean uninstalled = FALSE;

  if (path != NULL) {
    /* The user's plugin folder may hold a link to it. */
    gchar *real = realpath (path, NULL);

    uninstalled = real != NULL && g_str_has_prefix (real, PIRL_BUILD_ROOT G_DIR_SEPARATOR_S);
    free (real);
  }
  gst_clear_object (&plugin);
  return uninstalled;
}

gchar *
ada_models_find (const gchar * name)
{
  const gchar *folder = g_getenv ("GST_PIRL_MODELS");
  gchar *path;

  if (folder == NULL)
    folder = is_uninstalled () ? PIRL_SOURCE_MODELS : PIRL_INSTALLED_MODELS;
  path = g_build_filename (folder, name, NULL);
  if (!g_file_test (path, G_FILE_TEST_EXISTS))
    g_clear_pointer (&path, g_free);
  return path;
}
