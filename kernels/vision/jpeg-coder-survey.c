/* gst-pirl: what is read from all coefficients of a picture at once.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The coefficients of a large picture fill no cache, and a pass over them takes longer than what is done
 * with them. So one pass, at best while they come into being, collects all that previews at 1/8 need,
 * whatever their quality, and how active each MCU is, which sizes are predicted by.
 */
#include "config.h"
#include "vision/jpeg-coder-private.h"

#include <string.h>

static const gint activity_quality[PIRL_N_ACTIVITIES] = { 8, 50 };

/* Makes *@memory hold @n elements; what was in it is lost. */
static gboolean
fit (gpointer memory, gsize *allocated, gsize n, gsize size)
{
  gpointer *p = memory;

  if (n <= *allocated)
    return TRUE;
  g_free (*p);
  *p = g_try_malloc_n (n, size);
  *allocated = *p ? n : 0;
  return *p != NULL;
}

gboolean
pirl_jpeg_coder_survey_fit (PirlJpegCoder *coder)
{
  PirlSurvey *survey = &coder->survey;
  const PirlCoderPlane *luma = &coder->plane[0];
  const gsize n_luma = (gsize) luma->blocks_w * luma->blocks_h;
  gboolean fits = fit (&survey->dc, &survey->dc_allocated, n_luma, sizeof (gint16));

  /* There are never more MCUs than blocks of luma. */
  for (guint i = 0; i < PIRL_N_ACTIVITIES; i++)
    fits = fits && fit (&survey->activity[i], &survey->activity_allocated[i], n_luma,
        sizeof (guint16));
  for (guint c = 1; c < coder->n_planes; c++)
    fits = fits && fit (&survey->low[c - 1], &survey->low_allocated[c - 1],
        (gsize) coder->plane[c].blocks_w * coder->plane[c].blocks_h,
        PIRL_LOW * sizeof (gint16));
  return fits;
}

/* What row @y of a component's blocks adds to the activity of its MCUs. */
static void
add_activity (PirlJpegCoder *coder, guint c, guint y)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const guint across = pirl_jpeg_coder_mcus_across (coder);
  const guint side = c == 0 ? pirl_jpeg_coder_sampling (coder) : 1;
  guint16 *activity[PIRL_N_ACTIVITIES];

  for (guint i = 0; i < PIRL_N_ACTIVITIES; i++)
    activity[i] = coder->survey.activity[i] + (gsize) (y / side) * across;
  coder->loops->count (plane->coefficient + (gsize) y * plane->blocks_w * PIRL_BLOCK,
      plane->blocks_w, side, coder->survey.thresholds[c > 0], activity);
}

/* What previews need of row @y. */
static void
pick (PirlJpegCoder *coder, guint c, guint y)
{
  const PirlCoderPlane *plane = &coder->plane[c];
  const gsize at = (gsize) y * plane->blocks_w;
  const gint16 *coefficient = plane->coefficient + at * PIRL_BLOCK;

  if (c > 0)
    coder->loops->pick_low (coefficient, plane->blocks_w, coder->survey.low[c - 1] + at * PIRL_LOW);
  else
    for (guint x = 0; x < plane->blocks_w; x++)
      coder->survey.dc[at + x] = coefficient[(gsize) x * PIRL_BLOCK];
}

void
pirl_jpeg_coder_survey_begin (PirlJpegCoder *coder)
{
  const gsize n = (gsize) pirl_jpeg_coder_mcus_across (coder) * pirl_jpeg_coder_mcus_down (coder);

  for (guint i = 0; i < PIRL_N_ACTIVITIES; i++) {
    PirlQuantiser quantiser[2];

    memset (coder->survey.activity[i], 0, n * sizeof (guint16));
    pirl_quantisers_init (quantiser, activity_quality[i]);
    for (guint chroma = 0; chroma < 2; chroma++)
      pirl_thresholds_init (&quantiser[chroma], coder->survey.thresholds[chroma][i]);
  }
}

void
pirl_jpeg_coder_survey_row (PirlJpegCoder *coder, guint c, guint y)
{
  add_activity (coder, c, y);
  pick (coder, c, y);
}

void
pirl_jpeg_coder_survey (PirlJpegCoder *coder)
{
  if (coder->survey.known)
    return;
  pirl_jpeg_coder_survey_begin (coder);
  for (guint c = 0; c < coder->n_planes; c++)
    for (guint y = 0; y < coder->plane[c].blocks_h; y++)
      pirl_jpeg_coder_survey_row (coder, c, y);
  coder->survey.known = TRUE;
}

void
pirl_jpeg_coder_set_survey (PirlJpegCoder *coder, gboolean wanted)
{
  coder->survey.wanted = wanted;
}

void
pirl_survey_clear (PirlSurvey *survey)
{
  for (guint i = 0; i < PIRL_N_ACTIVITIES; i++)
    g_free (survey->activity[i]);
  g_free (survey->dc);
  for (guint i = 0; i < 2; i++)
    g_free (survey->low[i]);
}
