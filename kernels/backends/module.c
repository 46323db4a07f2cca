/* gst-pirl: finds and opens the module with the CUDA backend.
 *
 * The module alone is linked with CUDA's libraries, so that this library loads where they are
 * missing. It is looked for once: an answer stays for the life of the process, and the module stays
 * open. What only shows when a device is opened (no driver, no card) is noted by device.c.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/module.h"

#include <dlfcn.h>

#define MODULE "libpirl-cuda.so"
#define SWITCHED_OFF "off"       /* as a name in PIRL_CUDA_MODULE */

/* Where the module may lie, from the folder of the library that this code is part of. */
static const gchar *const places[] = {
  MODULE,
  "gst-pirl" G_DIR_SEPARATOR_S MODULE,
  "backends" G_DIR_SEPARATOR_S "cuda" G_DIR_SEPARATOR_S MODULE, /* of a build tree */
};

typedef struct {
  const PirlBackend *backend;
  gchar *reason;                /* why there is none */
} Module;

/* Of the last device that did not open; an interned string. */
static gconstpointer refusal;

static gchar *
own_folder (void)
{
  Dl_info info;

  if (!dladdr ((gpointer) pirl_backend_cuda, &info) || info.dli_fname == NULL)
    return g_strdup (".");
  return g_path_get_dirname (info.dli_fname);
}

/* The module's path, or NULL and @reason. */
static gchar *
module_find (gchar **reason)
{
  const gchar *named = g_getenv ("PIRL_CUDA_MODULE");
  g_autofree gchar *folder = own_folder ();

  if (g_strcmp0 (named, SWITCHED_OFF) == 0) {
    *reason = g_strdup ("switched off by PIRL_CUDA_MODULE=" SWITCHED_OFF);
    return NULL;
  }
  if (named != NULL && *named != '\0') {
    if (g_file_test (named, G_FILE_TEST_IS_REGULAR))
      return g_strdup (named);
    *reason = g_strdup_printf ("PIRL_CUDA_MODULE names %s, which is no file", named);
    return NULL;
  }
  for (gsize i = 0; i < G_N_ELEMENTS (places); i++) {
    g_autofree gchar *path = g_build_filename (folder, places[i], NULL);

    if (g_file_test (path, G_FILE_TEST_IS_REGULAR))
      return g_steal_pointer (&path);
  }
  *reason = g_strdup_printf ("the CUDA module " MODULE " is neither in %s nor in its folder "
      "gst-pirl; build with -Dcuda=enabled, or name the file in PIRL_CUDA_MODULE", folder);
  return NULL;
}

static const PirlBackend *
module_enter (const gchar *path, gpointer handle, gchar **reason)
{
  const PirlCudaEntry entry = (PirlCudaEntry) dlsym (handle, PIRL_CUDA_ENTRY);
  const PirlBackend *backend;

  if (entry == NULL) {
    *reason = g_strdup_printf ("%s is no CUDA module of gst-pirl: it has no " PIRL_CUDA_ENTRY,
        path);
    return NULL;
  }
  backend = entry (PIRL_BACKEND_VERSION);
  if (backend != NULL && backend->version == PIRL_BACKEND_VERSION)
    return backend;
  *reason = g_strdup_printf ("%s was built for another version of the interface than %d, which "
      "this library has; install both from one build", path, PIRL_BACKEND_VERSION);
  return NULL;
}

static gpointer
module_load (gpointer unused)
{
  Module *module = g_new0 (Module, 1);
  g_autofree gchar *path = module_find (&module->reason);
  gpointer handle;

  if (path == NULL)
    return module;
  handle = dlopen (path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    module->reason = g_strdup_printf ("the CUDA module does not load: %s", dlerror ());
    return module;
  }
  module->backend = module_enter (path, handle, &module->reason);
  if (module->backend == NULL)
    dlclose (handle);
  return module;
}

static const Module *
the_module (void)
{
  static GOnce once = G_ONCE_INIT;

  return g_once (&once, module_load, NULL);
}

const PirlBackend *
pirl_backend_cuda (GError **error)
{
  const Module *module = the_module ();

  if (module->backend == NULL)
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, module->reason);
  return module->backend;
}

const gchar *
pirl_cuda_reason (void)
{
  const Module *module = the_module ();

  return module->backend ? g_atomic_pointer_get (&refusal) : module->reason;
}

void
pirl_cuda_note (const gchar *reason)
{
  g_atomic_pointer_set (&refusal, reason ? g_intern_string (reason) : NULL);
}
