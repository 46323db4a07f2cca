/* gst-pirl: a camera that looks at drawn scenes, for demonstrations without one.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every few seconds another textured shape (kernels/vision/synthetic.h); in between the view drifts and
 * zooms over it, as a hand-held camera does. In the middle third of the time it is night: dark,
 * with a sensor's noise.
 */
#pragma once

#include "vision/image.h"

typedef struct {
  gint width, height;           /* of the frames */
  guint frames_a_scene;         /* 45 */
  guint64 frames;               /* of the whole film; night is the middle third */
  guint64 seed;
} PirlScenesConfig;

typedef struct _PirlScenes PirlScenes;
PirlScenes *pirl_scenes_new (const PirlScenesConfig *config);
void pirl_scenes_free (PirlScenes *scenes);
gboolean pirl_scenes_is_night (const PirlScenes *scenes, guint64 frame);
/** Draws frame @frame; @image is fitted. Frames in ascending order are quick. */
void pirl_scenes_draw (PirlScenes *scenes, guint64 frame, PirlImage *image);
