/* gst-pirl: fuzzing the reader of recorded answers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Whatever the bytes: an error with valid text, or a recording that answers every question with
 * labels, best first, no id empty or twice, or with one of two errors, as it says it can.
 */
#include <string.h>

#include "fuzz.h"
#include "recording.h"

#include "base/base.h"

static void
look_up (const AdaRecording *recording, const gchar *name, gint quality)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = ada_recording_find (recording, name, quality, &error);
  gdouble last = 1;

  if (!answer) {
    g_assert_true (error->domain == ADA_CLOUD_ERROR);
    g_assert_true (g_utf8_validate (error->message, -1, NULL));
    g_assert_true (ada_recording_has (recording, name, quality)
        == (error->code == ADA_CLOUD_ERROR_REFUSED));
    return;
  }
  g_assert_true (ada_recording_has (recording, name, quality));
  for (guint i = 0; i < answer->labels->len; i++) {
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    g_assert_true (*label->id && label->score >= 0 && label->score <= last);
    for (guint k = 0; k < i; k++)
      g_assert_cmpstr (label->id, !=, g_array_index (answer->labels, AdaLabel, k).id);
    last = label->score;
  }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static const gchar *const services[] = { NULL, "", "s" };
  static const gchar *const names[] = { "a", "x/a", "y/x/a", "/", "", NULL };

  for (guint i = 0; i < G_N_ELEMENTS (services); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaRecording) recording = ada_recording_new ((const gchar *) data, size,
        services[i], &error);

    g_assert_true ((recording == NULL) == (error != NULL));
    if (error)
      g_assert_true (error->domain == PIRL_ERROR && g_utf8_validate (error->message, -1, NULL));
    for (guint k = 0; recording && k < G_N_ELEMENTS (names); k++)
      for (gint quality = 0; quality <= 100; quality += 25)
        look_up (recording, names[k], quality);
  }
  return 0;
}
