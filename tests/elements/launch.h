/* gst-pirl: gst-launch-1.0 as a child of a test.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>
#include <string.h>

/** What gst-launch-1.0 needs to load plugins that a sanitizer was built into; transfer full. */
static inline gchar **
launch_environment (void)
{
  gchar **environment = g_get_environ ();
  g_autofree gchar *maps = NULL;
  gchar *name, *start;

  if (!g_file_get_contents ("/proc/self/maps", &maps, NULL, NULL)
      || (name = strstr (maps, "/libasan.so")) == NULL)
    return environment;
  for (start = name; start > maps && start[-1] != ' '; start--);
  *strchr (name, '\n') = '\0';
  environment = g_environ_setenv (environment, "LD_PRELOAD", start, TRUE);
  /* Leaks are looked for in this process; gst-launch-1.0 has its own. */
  return g_environ_setenv (environment, "ASAN_OPTIONS", "detect_leaks=0", TRUE);
}
