/* gst-pirl: fuzzing what an Open Inference Protocol server may say.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whatever the bytes, as an answer, as a model's metadata and as an error: an error of the right
 * domain with valid text, or at most five labels, best first, scores in 0..1, no id twice, ids that
 * are numbers; a model with names; and a request that can be read again.
 */
#include <json-glib/json-glib.h>
#include <string.h>

#include "fuzz.h"
#include "json.h"
#include "oip.h"

static void
check_error (const GError *error)
{
  g_assert_nonnull (error);
  g_assert_true (error->domain == ADA_CLOUD_ERROR);
  g_assert_true (g_utf8_validate (error->message, -1, NULL));
}

static void
check_labels (const AdaAnswer *answer)
{
  gdouble last = 1;

  g_assert_cmpuint (answer->labels->len, <=, ADA_OIP_CLASSES);
  for (guint i = 0; i < answer->labels->len; i++) {
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    g_assert_true (label->score >= 0 && label->score <= last);
    g_assert_true (*label->id && strspn (label->id, "0123456789") == strlen (label->id));
    for (guint k = 0; k < i; k++)
      g_assert_cmpstr (label->id, !=, g_array_index (answer->labels, AdaLabel, k).id);
    last = label->score;
  }
}

static void
read_answer (const gchar *text, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = ada_oip_read_answer (text, size, "P", &error);

  if (answer)
    check_labels (answer);
  else
    check_error (error);
}

static void
read_model (const gchar *text, gsize size)
{
  AdaOipModel model = { NULL, NULL, 2 };
  g_autoptr (GError) error = NULL;

  if (ada_oip_read_model (text, size, &model, &error)) {
    g_autofree gchar *request = ada_oip_write_request (&model, 1, 1000);
    g_autoptr (JsonNode) node = ada_json_parse (request, strlen (request), 1000, NULL);

    g_assert_nonnull (node);
  } else {
    check_error (error);
  }
  ada_oip_model_clear (&model);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  const gchar *text = (const gchar *) data;
  g_autofree gchar *said = ada_oip_read_error (text, size);

  g_assert_true (!said || g_utf8_validate (said, -1, NULL));
  read_answer (text, size);
  read_model (text, size);
  return 0;
}
