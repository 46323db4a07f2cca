/* gst-pirl: devices by name, and the CUDA module that may be missing, foreign or without a card.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An answer about the module stays for the life of a process: every case has one of its own.
 * PIRL_FAKE_MODULE names the module made of fake-cuda.c, PIRL_OTHER_LIBRARY any library.
 */
#include <string.h>

#include "backends/backend.h"

typedef struct {
  const gchar *name;
  const gchar *module;          /* a variable with its path, or else its name */
  const gchar *fake;            /* FAKE_CUDA */
  const gchar *reason;          /* a part of it; NULL = there is a device */
} Case;

static const Case cases[] = {
  {"off", "off", NULL, "switched off by PIRL_CUDA_MODULE=off"},
  {"missing", "/nonexistent/libpirl-cuda.so", NULL, "libpirl-cuda.so, which is no file"},
  {"no-library", "/proc/self/exe", NULL, "does not load"},
  {"foreign", "PIRL_OTHER_LIBRARY", NULL, "is no CUDA module"},
  {"version", "PIRL_FAKE_MODULE", "version", "another version"},
  {"no-card", "PIRL_FAKE_MODULE", "none", "there is no card 0"},
  {"card", "PIRL_FAKE_MODULE", NULL, NULL},
};

static gchar *
opened_as (const gchar *name, GError **error)
{
  g_autoptr (PirlDevice) device = pirl_device_open (name, 1, TRUE, error);

  return device ? g_strdup (device->backend->name) : NULL;
}

static void
use_module (const Case *c)
{
  const gchar *path = g_str_has_prefix (c->module, "PIRL_") ? g_getenv (c->module) : c->module;

  g_assert_nonnull (path);
  g_setenv ("PIRL_CUDA_MODULE", path, TRUE);
  if (c->fake)
    g_setenv ("FAKE_CUDA", c->fake, TRUE);
  else
    g_unsetenv ("FAKE_CUDA");
}

static void
test_module (gconstpointer data)
{
  const Case *c = data;
  g_autoptr (GError) error = NULL, wrong_card = NULL;
  g_autofree gchar *automatic = NULL, *cuda = NULL, *second = NULL;

  use_module (c);
  automatic = opened_as ("auto", &error);
  g_assert_no_error (error);
  g_assert_cmpstr (automatic, ==, c->reason ? "cpu" : "cuda");
  cuda = opened_as ("cuda", &error);
  if (c->reason == NULL) {
    g_assert_no_error (error);
    g_assert_cmpstr (cuda, ==, "cuda");
    g_assert_null (pirl_cuda_reason ());
    second = opened_as ("cuda:1", &wrong_card);
    g_assert_error (wrong_card, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
    g_assert_nonnull (strstr (wrong_card->message, "no card 1"));
    return;
  }
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, "device \"cuda\" cannot be used (device=cpu can)"));
  g_assert_nonnull (strstr (error->message, c->reason));
  g_assert_nonnull (strstr (pirl_cuda_reason (), c->reason));
  g_assert_null (strchr (pirl_cuda_reason (), '\n'));
}

/* Neither named nor beside this program. */
static void
test_nowhere (void)
{
  g_autofree gchar *name = NULL;

  g_unsetenv ("PIRL_CUDA_MODULE");
  name = opened_as ("auto", NULL);
  g_assert_cmpstr (name, ==, "cpu");
  g_test_message ("%s", pirl_cuda_reason ());
  g_assert_nonnull (strstr (pirl_cuda_reason (), "PIRL_CUDA_MODULE"));
}

static void
test_in_processes (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *path = g_strconcat ("/device/subprocess/", cases[i].name, NULL);

    g_test_trap_subprocess (path, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed ();
  }
  g_test_trap_subprocess ("/device/subprocess/nowhere", 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
  g_test_trap_assert_passed ();
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *path = g_strconcat ("/device/subprocess/", cases[i].name, NULL);

    g_test_add_data_func (path, &cases[i], test_module);
  }
  g_test_add_func ("/device/subprocess/nowhere", test_nowhere);
  g_test_add_func ("/device/module", test_in_processes);
  return g_test_run ();
}
