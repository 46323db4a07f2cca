/* gst-pirl: a certificate for servers on the loopback, which vouches for itself.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>
#include <glib/gstdio.h>

typedef struct {
  gchar *folder, *certificate, *key;    /* files; PEM */
} Certificate;

/* FALSE, and the test is skipped, where there is no program openssl. */
static inline gboolean
certificate_make (Certificate * c)
{
  g_autoptr (GSubprocess) openssl = NULL;

  c->folder = g_dir_make_tmp ("certificate-XXXXXX", NULL);
  c->certificate = g_build_filename (c->folder, "cert.pem", NULL);
  c->key = g_build_filename (c->folder, "key.pem", NULL);
  openssl = g_subprocess_new (G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE,
      NULL, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
      "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", c->key, "-out",
      c->certificate, NULL);
  if (openssl && g_subprocess_wait_check (openssl, NULL, NULL))
    return TRUE;
  g_test_skip ("there is no openssl program to make a certificate with");
  return FALSE;
}

static inline void
certificate_remove (Certificate * c)
{
  g_unlink (c->certificate);
  g_unlink (c->key);
  g_rmdir (c->folder);
  g_free (c->certificate);
  g_free (c->key);
  g_free (c->folder);
}
