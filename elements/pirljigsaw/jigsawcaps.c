/* gst-pirl: what may enter and leave pirljigsaw (see jigsawcaps.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "jigsawcaps.h"

static GstCaps *
mosaic_caps (const PirlPretextConfig * config)
{
  gint side = config->grid * config->patch_size + (config->grid - 1) * JIGSAW_MOSAIC_GAP;

  return gst_caps_new_simple ("video/x-raw", "format", G_TYPE_STRING, "RGB",
      "width", G_TYPE_INT, side, "height", G_TYPE_INT, side,
      "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1,
      "interlace-mode", G_TYPE_STRING, "progressive", NULL);
}

static GstCaps *
caps_of_form (JigsawForm form, const PirlPretextConfig * config, gint permutations)
{
  const GstPirlViews views = {.image = config->image_size,.patch = config->patch_size,
    .patches = config->grid * config->grid,.transform = config->transform,
    .permutations = permutations,.frames = form == JIGSAW_FRAMES
  };

  return form == JIGSAW_MOSAIC ? mosaic_caps (config) : gst_pirl_views_caps (&views, 0, 1);
}

/* Gives @to the framerate of @from: NNStreamer's tensors always name one, 0/1 when unknown. */
static void
copy_framerate (const GstStructure * from, gboolean fixed, GstCaps * to)
{
  const GValue *rate = gst_structure_get_value (from, "framerate");

  if (rate != NULL)
    gst_caps_set_value (to, "framerate", rate);
  else if (fixed)
    gst_caps_set_simple (to, "framerate", GST_TYPE_FRACTION, 0, 1, NULL);
  else
    gst_caps_set_simple (to, "framerate", GST_TYPE_FRACTION_RANGE, 0, 1, G_MAXINT, 1, NULL);
}

GstCaps *
jigsaw_caps_for_src (const GstCaps * caps, const PirlPretextConfig * config, gint permutations,
    JigsawForm first)
{
  GstCaps *result = gst_caps_new_empty ();
  gboolean fixed = gst_caps_is_fixed (caps);

  for (guint form = first; form < JIGSAW_N_FORMS; form++) {
    for (guint i = 0; i < gst_caps_get_size (caps); i++) {
      GstCaps *one = caps_of_form (form, config, permutations);

      copy_framerate (gst_caps_get_structure (caps, i), fixed, one);
      result = gst_caps_merge (result, one);
    }
  }
  return result;
}

GstCaps *
jigsaw_caps_for_sink (const GstCaps * caps)
{
  GstCaps *result = gst_caps_new_empty ();

  for (guint i = 0; i < gst_caps_get_size (caps); i++) {
    const GValue *rate = gst_structure_get_value (gst_caps_get_structure (caps, i), "framerate");
    GstCaps *video = gst_caps_from_string (JIGSAW_SINK_CAPS);

    if (rate != NULL)
      gst_caps_set_value (video, "framerate", rate);
    result = gst_caps_merge (result, video);
  }
  return result;
}

JigsawForm
jigsaw_caps_form (const GstCaps * caps)
{
  if (!gst_structure_has_name (gst_caps_get_structure (caps, 0), "video/x-raw"))
    return JIGSAW_TENSORS;
  return gst_caps_features_contains (gst_caps_get_features (caps, 0), GST_PIRL_PRETEXT_FEATURE)
      ? JIGSAW_FRAMES : JIGSAW_MOSAIC;
}

gboolean
jigsaw_caps_name_frames (const GstCaps * caps)
{
  for (guint i = 0; i < gst_caps_get_size (caps); i++) {
    const GstCapsFeatures *features = gst_caps_get_features (caps, i);

    if (!gst_caps_features_is_any (features)
        && gst_caps_features_contains (features, GST_PIRL_PRETEXT_FEATURE))
      return TRUE;
  }
  return FALSE;
}
