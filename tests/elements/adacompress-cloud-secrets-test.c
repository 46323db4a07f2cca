/* gst-pirl: where secrets of services come from: environment and file, their order, the file's
 * mode, and that no message repeats any.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <base/base.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "secrets.h"

#define FILE_VARIABLE "GST_PIRL_CREDENTIALS"

static const AdaSecretKind kinds[] = {
  {"id", (const gchar * const[]) { "TEST_ID", "TEST_OTHER_ID", NULL }, TRUE},
  {"key", (const gchar * const[]) { "TEST_KEY", NULL }, TRUE},
  {"token", (const gchar * const[]) { "TEST_TOKEN", NULL }, FALSE},
  {NULL}
};

static gchar *folder;

static void
write_file (const gchar * path, const gchar * text, gint mode)
{
  g_assert_true (g_file_set_contents (path, text, -1, NULL));
  g_assert_cmpint (g_chmod (path, mode), ==, 0);
}

/* "TEST_ID=a TEST_KEY=b" into an empty environment. */
static void
set_environment (const gchar * text)
{
  static const gchar *const names[] = { "TEST_ID", "TEST_OTHER_ID", "TEST_KEY", "TEST_TOKEN" };
  g_auto (GStrv) pairs = g_strsplit (text, " ", -1);

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    g_unsetenv (names[i]);
  for (guint i = 0; pairs[i] && *pairs[i]; i++) {
    gchar *value = strchr (pairs[i], '=');

    *value++ = '\0';
    g_setenv (pairs[i], value, TRUE);
  }
}

static gboolean
read_secrets (const gchar * path, gchar ** secret, GError ** error)
{
  g_auto (GStrv) environment = g_get_environ ();

  return ada_secrets_read ("test", kinds, path, environment, secret, error);
}

/* ---- where from ----------------------------------------------------------------------------- */

static void
test_order (void)
{
  const struct {
    const gchar *environment, *file;
    const gchar *id, *key, *token;      /* id NULL: an error */
  } cases[] = {
    {"TEST_ID=e1 TEST_KEY=e2", "", "e1", "e2", NULL},
    {"TEST_ID=e1 TEST_KEY=e2 TEST_TOKEN=e3", "", "e1", "e2", "e3"},
    {"TEST_OTHER_ID=o1 TEST_KEY=e2", "", "o1", "e2", NULL},
    {"TEST_ID=e1 TEST_OTHER_ID=o1 TEST_KEY=e2", "", "e1", "e2", NULL},
    {"", "[test]\nid=f1\nkey=f2\ntoken=f3\n", "f1", "f2", "f3"},
    {"", "[other]\nid=x\n[test]\nid = f1 \r\nkey=f2\n", "f1", "f2", NULL},
    {"TEST_ID=e1 TEST_KEY=e2", "[test]\nid=f1\nkey=f2\ntoken=f3\n", "e1", "e2", NULL},
    {"TEST_TOKEN=e3", "[test]\nid=f1\nkey=f2\n", "f1", "f2", NULL},
    {"TEST_ID=e1 TEST_TOKEN=e3", "[test]\nkey=f2\ntoken=f3\n", "e1", "f2", "e3"},
    /* As it is: neither escapes nor what else a GKeyFile does to text. */
    {"", "[test]\nid=a\\sb\\\\c\nkey=w/J+l=;#\n", "a\\sb\\\\c", "w/J+l=;#", NULL},
    {"TEST_ID= TEST_KEY=", "[test]\nid=\nkey=f2\n", NULL, NULL, NULL},
    {"TEST_ID=e1", "[test]\nid=f1\n", NULL, NULL, NULL},
    {"TEST_KEY=e2", "[other]\nid=f1\n", NULL, NULL, NULL},
  };
  g_autofree gchar *path = g_build_filename (folder, "order", NULL);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    gchar *secret[3] = { NULL };
    g_autoptr (GError) error = NULL;
    gboolean good;

    set_environment (cases[i].environment);
    write_file (path, cases[i].file, 0600);
    good = read_secrets (path, secret, &error);
    g_assert_true (good == (cases[i].id != NULL) && good == (error == NULL));
    g_assert_cmpstr (secret[0], ==, cases[i].id);
    g_assert_cmpstr (secret[1], ==, cases[i].key);
    g_assert_cmpstr (secret[2], ==, cases[i].token);
    for (guint k = 0; k < 3; k++)
      g_free (secret[k]);
  }
  g_unlink (path);
}

/* The file of the environment, and the one that is named instead of it. */
static void
test_which_file (void)
{
  g_autofree gchar *usual = g_build_filename (folder, "usual", NULL);
  g_autofree gchar *named = g_build_filename (folder, "named", NULL);
  const gchar *paths[] = { NULL, named }, *expected[] = { "usual", "named" };

  set_environment ("");
  write_file (usual, "[test]\nid=usual\nkey=k\n", 0400);
  write_file (named, "[test]\nid=named\nkey=k\n", 0600);
  g_setenv (FILE_VARIABLE, usual, TRUE);
  for (guint i = 0; i < 2; i++) {
    gchar *secret[3] = { NULL };

    g_assert_true (read_secrets (paths[i], secret, NULL));
    g_assert_cmpstr (secret[0], ==, expected[i]);
    for (guint k = 0; k < 3; k++)
      g_free (secret[k]);
  }
  g_unsetenv (FILE_VARIABLE);
  g_unlink (usual);
  g_unlink (named);
}

static void
test_missing (void)
{
  gchar *secret[3] = { NULL };
  const gchar *says[] = { "test", "TEST_KEY", "[test]", "credentials=FILE", FILE_VARIABLE };
  g_autoptr (GError) error = NULL;

  set_environment ("TEST_ID=S3CRET");
  g_assert_false (read_secrets (NULL, secret, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  for (guint i = 0; i < G_N_ELEMENTS (says); i++)
    g_assert_nonnull (strstr (error->message, says[i]));
  g_assert_null (strstr (error->message, "S3CRET"));
  g_assert_null (secret[0]);
}

/* ---- files that are refused ----------------------------------------------------------------- */

static void
assert_refused (const gchar * path, gint code, const gchar * says)
{
  gchar *secret[3] = { NULL };
  g_autoptr (GError) error = NULL;

  g_assert_false (read_secrets (path, secret, &error));
  g_assert_error (error, PIRL_ERROR, code);
  if (!strstr (error->message, says) || strstr (error->message, "S3CRET"))
    g_error ("\"%s\" (\"%s\" was expected, and no secret)", error->message, says);
  for (guint i = 0; i < 3; i++)
    g_assert_null (secret[i]);
}

static void
test_modes (void)
{
  g_autofree gchar *path = g_build_filename (folder, "modes", NULL);
  const gint open_modes[] = { 0604, 0640, 0660, 0666, 0644, 0601, 0610, 0620, 0700 | 04 };

  set_environment ("");
  for (guint i = 0; i < G_N_ELEMENTS (open_modes); i++) {
    write_file (path, "[test]\nid=S3CRET\nkey=S3CRET\n", open_modes[i]);
    assert_refused (path, PIRL_ERROR_INVALID, "chmod 600");
    assert_refused (path, PIRL_ERROR_INVALID, path);
  }
  /* Also where nothing of it is needed. */
  set_environment ("TEST_ID=a TEST_KEY=b");
  assert_refused (path, PIRL_ERROR_INVALID, "chmod 600");
  g_unlink (path);
}

/* A link is looked through: it is the file's mode that counts. */
static void
test_link (void)
{
  g_autofree gchar *path = g_build_filename (folder, "file", NULL);
  g_autofree gchar *link = g_build_filename (folder, "link", NULL);
  gchar *secret[3] = { NULL };

  set_environment ("");
  write_file (path, "[test]\nid=a\nkey=b\n", 0600);
  g_assert_cmpint (symlink (path, link), ==, 0);
  g_assert_true (read_secrets (link, secret, NULL));
  g_assert_cmpstr (secret[0], ==, "a");
  for (guint k = 0; k < 3; k++)
    g_free (secret[k]);
  g_assert_cmpint (g_chmod (path, 0644), ==, 0);
  assert_refused (link, PIRL_ERROR_INVALID, "chmod 600");
  g_unlink (link);
  g_unlink (path);
}

static void
test_bad_files (void)
{
  g_autofree gchar *path = g_build_filename (folder, "bad", NULL);
  g_autofree gchar *long_text = g_strnfill (100000, '#');
  const struct {
    const gchar *text;
    gint code;
    const gchar *says;
  } cases[] = {
    {"S3CRET", PIRL_ERROR_FORMAT, "[service]"},
    {"[test]\nS3CRET\n", PIRL_ERROR_FORMAT, "key=value"},
    {"id=S3CRET\n", PIRL_ERROR_FORMAT, "[service]"},
    {"[test]\nid=S3CRET\xff\nkey=a\n", PIRL_ERROR_INVALID, "id of group [test]"},
    {"[test]\nid=S3CRET with spaces\nkey=a\n", PIRL_ERROR_INVALID, "id of group [test]"},
    {"[test]\nid=a\nkey=S3CRET\303\274\n", PIRL_ERROR_INVALID, "key of group [test]"},
    {long_text, PIRL_ERROR_INVALID, "65536"},
  };

  set_environment ("");
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    write_file (path, cases[i].text, 0600);
    assert_refused (path, cases[i].code, cases[i].says);
  }
  g_unlink (path);
  assert_refused (folder, PIRL_ERROR_INVALID, "no file");
  /* Whoever takes the parameter for the secret. */
  assert_refused ("S3CRET", PIRL_ERROR_IO, g_strerror (ENOENT));
}

/* Nothing of it may break out of a header. */
static void
test_characters (void)
{
  const gchar *bad[] = { "S3CRET\r\nX-Injected: 1", "S3CRET\n", "S3 CRET", "S3CRET\t", "S3CRET\x7f",
    "S3CRET\303\274"
  };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    set_environment ("TEST_KEY=b");
    g_setenv ("TEST_ID", bad[i], TRUE);
    assert_refused (NULL, PIRL_ERROR_INVALID, "TEST_ID has a character");
  }
}

int
main (int argc, char **argv)
{
  gint result;

  g_unsetenv (FILE_VARIABLE);
  g_test_init (&argc, &argv, NULL);
  folder = g_dir_make_tmp ("secrets-XXXXXX", NULL);
  g_test_add_func ("/cloud-secrets/order", test_order);
  g_test_add_func ("/cloud-secrets/which-file", test_which_file);
  g_test_add_func ("/cloud-secrets/missing", test_missing);
  g_test_add_func ("/cloud-secrets/modes", test_modes);
  g_test_add_func ("/cloud-secrets/link", test_link);
  g_test_add_func ("/cloud-secrets/bad-files", test_bad_files);
  g_test_add_func ("/cloud-secrets/characters", test_characters);
  result = g_test_run ();
  g_rmdir (folder);
  g_free (folder);
  return result;
}
