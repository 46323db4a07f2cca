/* gst-pirl: opens a device by name.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/backend.h"

#include <string.h>

typedef struct {
  const gchar *name;
  const PirlBackend *(*backend) (void);
} KnownBackend;

/* The first is what "auto" means. */
static const KnownBackend known_backends[] = {
  { "cpu", pirl_backend_cpu },
  { "reference", pirl_backend_reference },
};

static const PirlBackend *
find_backend (const gchar *name, GError **error)
{
  if (strcmp (name, "auto") == 0)
    return known_backends[0].backend ();
  for (gsize i = 0; i < G_N_ELEMENTS (known_backends); i++)
    if (strcmp (name, known_backends[i].name) == 0)
      return known_backends[i].backend ();

  if (strcmp (name, "cuda") == 0 || g_str_has_prefix (name, "cuda:")) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
        "device \"%s\": this build has no CUDA backend; use device=cpu", name);
    return NULL;
  }

  g_autoptr (GString) names = g_string_new ("auto");
  for (gsize i = 0; i < G_N_ELEMENTS (known_backends); i++)
    g_string_append_printf (names, ", %s", known_backends[i].name);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "unknown device \"%s\"; known are %s", name,
      names->str);
  return NULL;
}

PirlDevice *
pirl_device_open (const gchar *name, guint n_threads, gboolean deterministic, GError **error)
{
  const PirlBackend *backend = find_backend (name ? name : "auto", error);

  if (backend == NULL)
    return NULL;
  if (backend->version != PIRL_BACKEND_VERSION) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
        "backend \"%s\" has interface version %u, this library needs %u", backend->name,
        backend->version, PIRL_BACKEND_VERSION);
    return NULL;
  }
  return backend->open (0, n_threads ? n_threads : g_get_num_processors (), deterministic, error);
}

void
pirl_device_close (PirlDevice *device)
{
  if (device != NULL)
    device->backend->close (device);
}
