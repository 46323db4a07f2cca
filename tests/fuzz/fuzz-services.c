/* gst-pirl: fuzzing what vision services may say.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The first byte picks the service ("0" is the first of the table), unless PIRL_FUZZ_SERVICE names
 * one; the others are its answer, its error, and what else it may send. Whatever the bytes: an
 * error of the right domain and kind with short, valid text, or labels, best first, scores in 0..1,
 * no id twice.
 * The Open Inference Protocol has fuzz-oip.c.
 */
#include <string.h>

#include "fuzz.h"
#include "parsers.h"

/* ---- what must hold ------------------------------------------------------------------------- */

static void
check_code (gint code)
{
  g_assert_true (code == ADA_CLOUD_ERROR_NO_ANSWER || code == ADA_CLOUD_ERROR_BUSY
      || code == ADA_CLOUD_ERROR_REFUSED || code == ADA_CLOUD_ERROR_GARBAGE);
}

static void
check_error (const GError *error)
{
  g_assert_nonnull (error);
  g_assert_true (error->domain == ADA_CLOUD_ERROR);
  g_assert_true (g_utf8_validate (error->message, -1, NULL));
  g_assert_cmpuint (strlen (error->message), <, 1000);
  check_code (error->code);
}

static void
check_text (const gchar *text)
{
  g_assert_true (!text || g_utf8_validate (text, -1, NULL));
}

static void
check_labels (const AdaAnswer *answer)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  gdouble last = 1;

  check_text (answer->model_version);
  for (guint i = 0; i < answer->labels->len; i++) {
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    g_assert_true (label->score >= 0 && label->score <= last);
    g_assert_true (*label->id && g_utf8_validate (label->id, -1, NULL));
    g_assert_true (g_hash_table_add (seen, label->id));
    check_text (label->text);
    last = label->score;
  }
}

/* ---- the services --------------------------------------------------------------------------- */

static void
read_baidu_token (const gchar *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autofree gchar *token = NULL;
  gdouble seconds = 0;

  if (!ada_baidu_read_token (data, size, &token, &seconds, &error)) {
    check_error (error);
    return;
  }
  g_assert_true (seconds > 0 && seconds < 1e9);
  g_assert_true (*token);
  for (const gchar *c = token; *c; c++)
    g_assert_true (g_ascii_isgraph (*c));
}

static const struct {
  const gchar *name;
  AdaAnswer *(*read_answer) (const gchar *data, gsize size, AdaAnswerHints *hints, GError **error);
  gchar *(*read_error) (const gchar *data, gsize size, AdaCloudError *code);
  void (*read_more) (const gchar *data, gsize size);
} services[] = {
  {"azure", ada_azure_read_answer, ada_azure_read_error},
  {"baidu", ada_baidu_read_answer, ada_baidu_read_error, read_baidu_token},
  {"facepp", ada_facepp_read_answer, ada_facepp_read_error},
  {"google", ada_google_read_answer, ada_google_read_error},
  {"rekognition", ada_rekognition_read_answer, ada_rekognition_read_error},
  {"torchserve", ada_torchserve_read_answer, ada_torchserve_read_error},
};

/* What PIRL_FUZZ_SERVICE names; negative: nothing. */
static gint
find_wanted (void)
{
  const gchar *name = g_getenv ("PIRL_FUZZ_SERVICE");

  if (!name)
    return -1;
  for (guint i = 0; i < G_N_ELEMENTS (services); i++)
    if (strcmp (services[i].name, name) == 0)
      return (gint) i;
  g_error ("PIRL_FUZZ_SERVICE is no service: %s", name);
}

static guint
choose (guint8 first)
{
  static gboolean known;
  static gint wanted;

  /* Once: libFuzzer learns from comparisons. */
  if (!known)
    wanted = find_wanted ();
  known = TRUE;
  return wanted >= 0 ? (guint) wanted : (guint8) (first - '0') % G_N_ELEMENTS (services);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  const gchar *text = (const gchar *) data + 1;
  AdaCloudError code = ADA_CLOUD_ERROR_REFUSED;
  AdaAnswerHints hints = { 0 };
  g_autoptr (AdaAnswer) answer = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree gchar *said = NULL;
  guint i;

  if (size == 0)
    return 0;
  i = choose (data[0]);
  answer = services[i].read_answer (text, size - 1, &hints, &error);
  g_assert_true (!answer || !error);
  if (answer)
    check_labels (answer);
  else
    check_error (error);
  g_assert_true (!hints.credentials_expired || error);
  said = services[i].read_error (text, size - 1, &code);
  check_text (said);
  check_code (code);
  if (services[i].read_more)
    services[i].read_more (text, size - 1);
  return 0;
}
