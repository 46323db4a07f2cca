/* adacompressenc: where the secrets of services come from (see secrets.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * No message has a line of the file in it, nor its name before the file is known to be one: whoever
 * mistakes credentials= may have put the secret itself there.
 */
#include "secrets.h"

#include <base/base.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_VARIABLE "GST_PIRL_CREDENTIALS"
#define MAX_SIZE 65536

/* ---- the file ------------------------------------------------------------------------------- */

static gboolean
check_file (const gchar * path, const struct stat *status, GError ** error)
{
  if (!S_ISREG (status->st_mode)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "the credentials file %s is no file", path);
    return FALSE;
  }
  if (status->st_mode & 077) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "the credentials file %s is open to others "
        "(mode %04o); \"chmod 600\" makes it its owner's alone", path, status->st_mode & 07777);
    return FALSE;
  }
  if (status->st_size > MAX_SIZE) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "the credentials file %s has %"
        G_GINT64_FORMAT " bytes; %d are enough", path, (gint64) status->st_size, MAX_SIZE);
    return FALSE;
  }
  return TRUE;
}

/* What @fd has, up to its end; FALSE with errno. */
static gboolean
read_all (gint fd, GString * text)
{
  gchar buffer[4096];
  gssize n;

  while ((n = read (fd, buffer, sizeof buffer)) > 0 && text->len <= MAX_SIZE)
    g_string_append_len (text, buffer, n);
  return n >= 0;
}

/* The text of @path, whose mode is looked at where it cannot change any more. */
static GString *
read_file (const gchar * path, GError ** error)
{
  GString *text = g_string_new (NULL);
  const gint fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat status;
  gboolean good = FALSE;

  if (fd < 0 || fstat (fd, &status) < 0)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "the credentials file (credentials= in the "
        "cloud's URI, or " FILE_VARIABLE ") cannot be opened: %s", g_strerror (errno));
  else if (check_file (path, &status, error) && !(good = read_all (fd, text)))
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "the credentials file %s cannot be read: %s",
        path, g_strerror (errno));
  if (fd >= 0)
    close (fd);
  if (!good)
    g_string_free (g_steal_pointer (&text), TRUE);
  return text;
}

/* NULL without an error: there is no file. */
static GKeyFile *
open_file (const gchar * path, gchar ** environment, GError ** error)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  GString *text;
  gboolean good;

  if (!path)
    path = g_environ_getenv (environment, FILE_VARIABLE);
  if (!path || !*path || !(text = read_file (path, error)))
    return NULL;
  good = g_key_file_load_from_data (file, text->str, text->len, G_KEY_FILE_NONE, NULL);
  g_string_free (text, TRUE);
  if (!good) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "the credentials file %s is not made of "
        "[service] groups with key=value lines", path);
    return NULL;
  }
  return g_steal_pointer (&file);
}

/* ---- one secret ----------------------------------------------------------------------------- */

static gboolean
check_characters (const gchar * secret, const gchar * where, GError ** error)
{
  for (const gchar * c = secret; *c; c++) {
    if (g_ascii_isgraph (*c))
      continue;
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "%s has a character that a secret cannot "
        "have (a space, a line end, or one beyond ASCII)", where);
    return FALSE;
  }
  return TRUE;
}

/* @secret stays NULL where there is none. */
static gboolean
read_environment (gchar ** environment, const AdaSecretKind * kind, gchar ** secret,
    GError ** error)
{
  for (guint i = 0; kind->variables[i]; i++) {
    const gchar *value = g_environ_getenv (environment, kind->variables[i]);

    if (!value || !*value)
      continue;
    *secret = g_strdup (value);
    return check_characters (value, kind->variables[i], error);
  }
  return TRUE;
}

static gboolean
read_key (GKeyFile * file, const gchar * name, const AdaSecretKind * kind, gchar ** secret,
    GError ** error)
{
  g_autofree gchar *value = file ? g_key_file_get_value (file, name, kind->key, NULL) : NULL;
  g_autofree gchar *where = g_strdup_printf ("%s of group [%s] in the credentials file", kind->key,
      name);

  /* A space, or another system's line end, behind it. */
  if (!value || !*g_strchomp (value))
    return TRUE;
  *secret = g_steal_pointer (&value);
  return check_characters (*secret, where, error);
}

static void
set_missing (const gchar * name, const AdaSecretKind * kind, GError ** error)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "%s needs %s: %s in the environment, or %s "
      "in group [%s] of a credentials file (credentials=FILE in the cloud's URI, or " FILE_VARIABLE
      ")", name, kind->key, kind->variables[0], kind->key, name);
}

/* ---- all of them ---------------------------------------------------------------------------- */

typedef enum { NOWHERE = 0, ENVIRONMENT = 1, CREDENTIALS = 2 } Places;

/* Looks for a secret in @places, and says where it was. */
static Places
find (const gchar * name, const AdaSecretKind * kind, gchar ** environment, GKeyFile * file,
    Places places, gchar ** secret, GError ** error)
{
  if ((places & ENVIRONMENT) && (!read_environment (environment, kind, secret, error) || *secret))
    return ENVIRONMENT;
  if ((places & CREDENTIALS) && (!read_key (file, name, kind, secret, error) || *secret))
    return CREDENTIALS;
  if (kind->required)
    set_missing (name, kind, error);
  return NOWHERE;
}

gboolean
ada_secrets_read (const gchar * name, const AdaSecretKind * kinds, const gchar * path,
    gchar ** environment, gchar ** secret, GError ** error)
{
  g_autoptr (GError) trouble = NULL;
  g_autoptr (GKeyFile) file = open_file (path, environment, &trouble);
  Places first = NOWHERE;

  for (guint i = 0; kinds[i].key; i++)
    secret[i] = NULL;
  for (guint i = 0; kinds[i].key && !trouble; i++) {
    const Places places = kinds[i].required || first == NOWHERE ? ENVIRONMENT | CREDENTIALS : first;
    const Places found = find (name, &kinds[i], environment, file, places, &secret[i], &trouble);

    if (i == 0)
      first = found;
  }
  if (!trouble)
    return TRUE;
  for (guint i = 0; kinds[i].key; i++)
    g_clear_pointer (&secret[i], g_free);
  g_propagate_error (error, g_steal_pointer (&trouble));
  return FALSE;
}
