/* gst-pirl: what may enter and leave pirlembed (see embedcaps.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frames pass as they are, in the memory that they are in, or become tensors; only the frame rate
 * goes through both. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "embedcaps.h"

static gboolean
is_video (const GstStructure * structure)
{
  return gst_structure_has_name (structure, "video/x-raw");
}

/* The tensors that frames like @video become; without dimensions while no model is loaded. */
static GstCaps *
tensors_for (const GstStructure * video, const gchar * dimensions, gboolean fixed)
{
  const GValue *rate = gst_structure_get_value (video, "framerate");
  GstCaps *caps = dimensions != NULL ? gst_pirl_features_caps (dimensions, 0, 1)
      : gst_caps_from_string (EMBED_TENSORS_CAPS);

  if (rate != NULL)
    gst_caps_set_value (caps, "framerate", rate);
  else if (!fixed)
    gst_caps_set_simple (caps, "framerate", GST_TYPE_FRACTION_RANGE, 0, 1, G_MAXINT, 1, NULL);
  return caps;
}

GstCaps *
embed_caps_for_src (const GstCaps * caps, const gchar * dimensions)
{
  GstCaps *result = gst_caps_copy (caps);
  gboolean fixed = gst_caps_is_fixed (caps);

  for (guint i = 0; i < gst_caps_get_size (caps); i++)
    result = gst_caps_merge (result, tensors_for (gst_caps_get_structure (caps, i), dimensions,
            fixed));
  return result;
}

GstCaps *
embed_caps_for_sink (const GstCaps * caps)
{
  GstCaps *result = gst_caps_new_empty ();

  for (guint i = 0; i < gst_caps_get_size (caps); i++) {
    const GstStructure *s = gst_caps_get_structure (caps, i);
    GstCaps *video;

    if (is_video (s)) {
      video = gst_caps_copy_nth (caps, i);
    } else {
      const GValue *rate = gst_structure_get_value (s, "framerate");

      video = gst_caps_from_string (EMBED_VIDEO_CAPS);
      if (rate != NULL)
        gst_caps_set_value (video, "framerate", rate);
    }
    result = gst_caps_merge (result, video);
  }
  return result;
}

static gboolean
is_on_host (GstCapsFeatures * features, GstStructure * structure, gpointer user_data)
{
  return features == NULL || !gst_caps_features_contains (features, "memory:CUDAMemory");
}

GstCaps *
embed_caps_on_host (GstCaps * caps)
{
  caps = gst_caps_make_writable (caps);
  gst_caps_filter_and_map_in_place (caps, is_on_host, NULL);
  return caps;
}

gboolean
embed_caps_are_video (const GstCaps * caps)
{
  return is_video (gst_caps_get_structure (caps, 0));
}
