/* gst-pirl: the same frames at every quality, and what the cloud says of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "compress-table.h"

#include <math.h>
#include "base/base.h"

/* One frame at one quality. */
typedef struct {
  gdouble agreement, size, quality;
} Cell;

struct _PirlComparison {
  AdaCloud *cloud;
  AdaAgreement agreement;
  PirlHuffman huffman;
  gint *qualities;
  guint n;
  PirlJpegCoder *coder;
  GArray *cells;                /* frames x (n levels, then the chosen) */
};

PirlComparison *
pirl_comparison_new (AdaCloud *cloud, AdaAgreement agreement, PirlHuffman huffman,
    const gint *qualities, guint n)
{
  PirlComparison *c = g_new0 (PirlComparison, 1);

  c->cloud = g_object_ref (cloud);
  c->agreement = agreement;
  c->huffman = huffman;
  c->qualities = g_memdup2 (qualities, n * sizeof *qualities);
  c->n = n;
  c->coder = pirl_jpeg_coder_new ();
  c->cells = g_array_new (FALSE, FALSE, sizeof (Cell));
  return c;
}

void
pirl_comparison_free (PirlComparison *c)
{
  if (!c)
    return;
  g_object_unref (c->cloud);
  pirl_jpeg_coder_free (c->coder);
  g_array_unref (c->cells);
  g_free (c->qualities);
  g_free (c);
}

static AdaAnswer *
ask (PirlComparison *c, const PirlImage *frame, const gchar *name, gint quality,
    PirlHuffman huffman, gsize *size, GError **error)
{
  AdaRequest request = { .id = c->cells->len, .name = name, .quality = quality,
    .width = frame->width, .height = frame->height };
  const guint8 *data;
  AdaAnswer *answer;

  if (!pirl_jpeg_coder_encode (c->coder, quality, huffman, &data, size, error))
    return NULL;
  request.jpeg = g_bytes_new (data, *size);
  answer = ada_cloud_classify (c->cloud, &request, NULL, error);
  g_bytes_unref (request.jpeg);
  return answer;
}

/* TRUE, and @error cleared, when it only was that the cloud sees nothing. */
static gboolean
nothing_to_say (GError **error)
{
  if (!g_error_matches (*error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER))
    return FALSE;
  g_clear_error (error);
  return TRUE;
}

gboolean
pirl_comparison_add (PirlComparison *c, const PirlImage *frame, const gchar *name, gint chosen,
    GError **error)
{
  g_autofree Cell *row = g_new0 (Cell, c->n + 1);
  g_autoptr (AdaAnswer) reference = NULL;
  g_autoptr (GError) failure = NULL;
  gsize whole;

  if (!pirl_jpeg_coder_load_rgb (c->coder, frame, error))
    return FALSE;
  reference = ask (c, frame, name, c->qualities[c->n - 1], PIRL_HUFFMAN_STANDARD, &whole, &failure);
  if (!reference)
    return nothing_to_say (&failure) || (g_propagate_error (error, g_steal_pointer (&failure)), FALSE);
  for (guint l = 0; l <= c->n; l++) {
    const gint quality = l < c->n ? c->qualities[l] : chosen;
    g_autoptr (AdaAnswer) answer = NULL;
    gsize size;

    answer = ask (c, frame, name, quality, c->huffman, &size, &failure);
    if (!answer && !nothing_to_say (&failure)) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    row[l].quality = quality;
    row[l].size = (gdouble) size / whole;
    row[l].agreement = answer ? ada_agreement (c->agreement, reference, answer) : 0;
    if (row[l].agreement < 0)
      return TRUE;
  }
  g_array_append_vals (c->cells, row, c->n + 1);
  return TRUE;
}

/* The cell of each frame that @choose picks. */
typedef guint (*Choice) (const Cell *row, guint n, guint level);

static PirlOutcome
outcome (const PirlComparison *c, Choice choose, guint level)
{
  const guint frames = c->cells->len / (c->n + 1);
  const gdouble z = 1.96;
  PirlOutcome o = { .frames = frames, .low = 0, .high = 1 };

  for (guint f = 0; f < frames; f++) {
    const Cell *row = &g_array_index (c->cells, Cell, f * (c->n + 1));
    const Cell *cell = &row[choose (row, c->n, level)];
    o.agreement += cell->agreement / frames;
    o.size += cell->size / frames;
    o.quality += cell->quality / frames;
  }
  if (frames > 0) {
    const gdouble middle = o.agreement + z * z / (2 * frames), scale = 1 + z * z / frames;
    const gdouble half = z * sqrt (o.agreement * (1 - o.agreement) / frames
        + z * z / (4. * frames * frames));
    o.low = (middle - half) / scale;
    o.high = (middle + half) / scale;
  }
  return o;
}

static guint
choose_level (const Cell *row, guint n, guint level)
{
  return level;
}

static guint
choose_cheapest (const Cell *row, guint n, guint level)
{
  for (guint l = 0; l < n; l++) {
    if (row[l].agreement >= 1)
      return l;
  }
  return n - 1;
}

PirlOutcome
pirl_comparison_chosen (const PirlComparison *c)
{
  return outcome (c, choose_level, c->n);
}

PirlOutcome
pirl_comparison_fixed (const PirlComparison *c, guint level)
{
  return outcome (c, choose_level, level);
}

guint
pirl_comparison_best_fixed (const PirlComparison *c, gdouble agreement)
{
  for (guint l = 0; l < c->n; l++) {
    if (pirl_comparison_fixed (c, l).agreement >= agreement)
      return l;
  }
  return c->n - 1;
}

PirlOutcome
pirl_comparison_oracle (const PirlComparison *c)
{
  return outcome (c, choose_cheapest, 0);
}
