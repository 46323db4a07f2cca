/* gst-pirl: the settings of pirljigsaw: its properties, and the draws that they ask for.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "properties.h"
#include "vision/pretext.h"

G_BEGIN_DECLS

/** One field a property; owns nothing. An enum is a gint so that one table can reach them all. */
typedef struct {
  gint transform;
  guint64 seed;
  gint image_size, crop_size, patch_size, grid, permutations, permutation, rotation, n_threads;
  PirlPretextConfig strengths;  /* what may change while playing; its geometry is not used */
} GstPirlJigsawSettings;

/** The rows of GstPirlJigsawSettings. */
extern const GstPirlProperties gst_pirl_jigsaw_properties;

/** What frames are drawn with: the geometry, with the reference's ratios where it is 0, and the
 * strengths. */
void gst_pirl_jigsaw_settings_config (const GstPirlJigsawSettings * settings,
    PirlPretextConfig * config);
/** Sets the strengths alone, and leaves the geometry of @config. */
void gst_pirl_jigsaw_settings_strengths (const GstPirlJigsawSettings * settings,
    PirlPretextConfig * config);
/** The permutations that frames of @config are drawn from, or NULL with @error. @permutation: the
 * number of the one to use always; -1 = draw one. */
PirlPermutations *gst_pirl_jigsaw_settings_permutations (const GstPirlJigsawSettings * settings,
    const PirlPretextConfig * config, gint * permutation, GError ** error);
/** Threads that render: those of the property, or the machine's. */
gint gst_pirl_jigsaw_settings_threads (const GstPirlJigsawSettings * settings);

G_END_DECLS
