/* adacompressenc: what a cloud said, and whether two answers agree.
 *
 * Agreement of an answer Y with that of the reference R, over stable ids, top5 = the first five:
 *   top1-in-top5   1 if R's first label is in top5 (Y), else 0
 *   top5-overlap   |top5 (R) and top5 (Y)| / |top5 (R)|
 *   top1           1 if both begin with the same label, else 0
 * A reference without labels says nothing of any compression: negative.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cloud.h"

#include <math.h>
#include <string.h>

#define TOP 5

G_DEFINE_QUARK (ada-cloud-error-quark, ada_cloud_error)

static void
label_clear (gpointer data)
{
  AdaLabel *label = data;

  g_free (label->id);
  g_free (label->text);
}

AdaAnswer *
ada_answer_new (void)
{
  AdaAnswer *answer = g_new0 (AdaAnswer, 1);

  answer->labels = g_array_new (FALSE, FALSE, sizeof (AdaLabel));
  g_array_set_clear_func (answer->labels, label_clear);
  return answer;
}

void
ada_answer_free (AdaAnswer * answer)
{
  if (!answer)
    return;
  g_array_unref (answer->labels);
  g_free (answer->model_version);
  g_free (answer);
}

/* The label called @id among the first @first; NULL = not there. */
static AdaLabel *
find_label (const AdaAnswer * answer, const gchar * id, guint first)
{
  for (guint i = 0; i < MIN (first, answer->labels->len); i++) {
    AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    if (strcmp (label->id, id) == 0)
      return label;
  }
  return NULL;
}

void
ada_answer_add (AdaAnswer * answer, const gchar * id, const gchar * text, gdouble score)
{
  const gdouble clean = isnan (score) ? 0 : CLAMP (score, 0, 1);
  AdaLabel *known = find_label (answer, id, G_MAXUINT);
  AdaLabel label;

  if (known) {
    known->score = MAX (known->score, clean);
    return;
  }
  label = (AdaLabel) { g_strdup (id), g_strdup (text), clean };
  g_array_append_val (answer->labels, label);
}

static gint
compare_labels (gconstpointer a, gconstpointer b)
{
  const gdouble x = ((const AdaLabel *) a)->score, y = ((const AdaLabel *) b)->score;

  return (x < y) - (x > y);
}

void
ada_answer_sort (AdaAnswer * answer)
{
  /* GLib's is stable. */
  g_array_sort (answer->labels, compare_labels);
}

static gdouble
top5_overlap (const AdaAnswer * reference, const AdaAnswer * answer)
{
  const guint n = MIN (TOP, reference->labels->len);
  guint common = 0;

  for (guint i = 0; i < n; i++)
    if (find_label (answer, g_array_index (reference->labels, AdaLabel, i).id, TOP))
      common++;
  return (gdouble) common / n;
}

gdouble
ada_agreement (AdaAgreement mode, const AdaAnswer * reference, const AdaAnswer * answer)
{
  const gchar *first;

  if (!reference || !answer || reference->labels->len == 0)
    return -1;
  if (mode == ADA_AGREEMENT_TOP5_OVERLAP)
    return top5_overlap (reference, answer);
  first = g_array_index (reference->labels, AdaLabel, 0).id;
  return find_label (answer, first, mode == ADA_AGREEMENT_TOP1 ? 1 : TOP) ? 1 : 0;
}
