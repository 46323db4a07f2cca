/* gst-pirl: opens a device by name.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/module.h"

#include <string.h>

#define CUDA "cuda"
#define MAX_INDEX 1023

typedef struct {
  const gchar *name;
  const PirlBackend *(*backend) (void);
} KnownBackend;

/* Besides "auto" and those of the CUDA module; the first is what "auto" falls back to. */
static const KnownBackend known_backends[] = {
  { "cpu", pirl_backend_cpu },
  { "reference", pirl_backend_reference },
};

static PirlDevice *
open_backend (const PirlBackend *backend, guint index, guint n_threads, gboolean deterministic,
    GError **error)
{
  return backend->open (index, n_threads ? n_threads : g_get_num_processors (), deterministic,
      error);
}

static PirlDevice *
open_cuda (guint index, guint n_threads, gboolean deterministic, GError **error)
{
  const PirlBackend *backend = pirl_backend_cuda (error);
  GError *failure = NULL;
  PirlDevice *device;

  if (backend == NULL)
    return NULL;
  device = open_backend (backend, index, n_threads, deterministic, &failure);
  pirl_cuda_note (failure ? failure->message : NULL);
  if (failure != NULL)
    g_propagate_error (error, failure);
  return device;
}

/* "cuda" or "cuda:N". */
static PirlDevice *
open_cuda_by_name (const gchar *name, guint n_threads, gboolean deterministic, GError **error)
{
  const gchar *number = name + strlen (CUDA);
  guint64 index = 0;
  PirlDevice *device;

  if (*number == ':'
      && !g_ascii_string_to_unsigned (number + 1, 10, 0, MAX_INDEX, &index, NULL)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "device \"%s\": after cuda: comes the number of a card, from 0 on, as in cuda:0", name);
    return NULL;
  }
  device = open_cuda ((guint) index, n_threads, deterministic, error);
  if (device == NULL)
    g_prefix_error (error, "device \"%s\" cannot be used (device=cpu can): ", name);
  return device;
}

static const PirlBackend *
find_backend (const gchar *name, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (known_backends); i++)
    if (strcmp (name, known_backends[i].name) == 0)
      return known_backends[i].backend ();

  g_autoptr (GString) names = g_string_new ("auto, cuda, cuda:N");
  for (gsize i = 0; i < G_N_ELEMENTS (known_backends); i++)
    g_string_append_printf (names, ", %s", known_backends[i].name);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "unknown device \"%s\"; known are %s", name,
      names->str);
  return NULL;
}

static gboolean
is_auto (const gchar *name)
{
  return name == NULL || strcmp (name, "auto") == 0;
}

static gboolean
is_cuda (const gchar *name)
{
  return strcmp (name, CUDA) == 0 || g_str_has_prefix (name, CUDA ":");
}

PirlDevice *
pirl_device_open (const gchar *name, guint n_threads, gboolean deterministic, GError **error)
{
  const PirlBackend *backend;

  if (is_auto (name)) {
    PirlDevice *device = open_cuda (0, n_threads, deterministic, NULL);

    return device ? device
        : open_backend (known_backends[0].backend (), 0, n_threads, deterministic, error);
  }
  if (is_cuda (name))
    return open_cuda_by_name (name, n_threads, deterministic, error);
  backend = find_backend (name, error);
  return backend ? open_backend (backend, 0, n_threads, deterministic, error) : NULL;
}

void
pirl_device_close (PirlDevice *device)
{
  if (device != NULL)
    device->backend->close (device);
}

gboolean
pirl_device_renders_views (const gchar *name)
{
  const gboolean automatic = is_auto (name);
  g_autoptr (PirlDevice) device = NULL;
  const PirlBackend *backend;

  if (!automatic && !is_cuda (name)) {
    backend = find_backend (name, NULL);
    return backend != NULL && backend->renders_views;
  }
  device = automatic ? open_cuda (0, 1, FALSE, NULL) : open_cuda_by_name (name, 1, FALSE, NULL);
  return device != NULL && device->backend->renders_views;
}
