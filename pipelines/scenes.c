/* gst-pirl: a camera that looks at drawn scenes.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scenes.h"

#include <math.h>
#include "base/rng.h"
#include "vision/synthetic.h"

enum { SCENE_SIZE = 640 };

/* Night: light * NIGHT_GAIN + normal noise of NIGHT_NOISE levels, as a small sensor at high gain. */
#define NIGHT_GAIN .28
#define NIGHT_NOISE 7.

struct _PirlScenes {
  PirlScenesConfig config;
  PirlResizer *resizer;
  PirlImage scene;              /* the one that is looked at */
  guint64 drawn;                /* its number + 1; 0 = none */
};

PirlScenes *
pirl_scenes_new (const PirlScenesConfig *config)
{
  PirlScenes *s = g_new0 (PirlScenes, 1);

  s->config = *config;
  s->resizer = pirl_resizer_new ();
  return s;
}

void
pirl_scenes_free (PirlScenes *s)
{
  if (!s)
    return;
  pirl_resizer_free (s->resizer);
  pirl_image_clear (&s->scene);
  g_free (s);
}

gboolean
pirl_scenes_is_night (const PirlScenes *s, guint64 frame)
{
  return frame >= s->config.frames / 3 && frame < 2 * s->config.frames / 3;
}

/* The window's centre goes round slowly while it breathes between half and nine tenths of the
 * scene. */
static void
look (const PirlScenes *s, guint64 frame, gdouble box[4])
{
  const gdouble t = (gdouble) (frame % s->config.frames_a_scene) / s->config.frames_a_scene;
  const gdouble phase = (gdouble) (frame / s->config.frames_a_scene) * 2.4;
  const gdouble width = SCENE_SIZE * (.7 + .2 * sin (2 * G_PI * t + phase));
  const gdouble height = width * s->config.height / s->config.width;

  box[0] = (SCENE_SIZE - width) * (.5 + .4 * cos (G_PI * t + phase));
  box[1] = (SCENE_SIZE - height) * (.5 + .4 * sin (G_PI * t + phase));
  box[2] = width;
  box[3] = height;
}

static void
darken (const PirlScenes *s, guint64 frame, PirlImage *image)
{
  PirlRng rng;

  pirl_rng_init (&rng, s->config.seed, 0, frame, PIRL_PURPOSE_SCENES);
  for (gint y = 0; y < image->height; y++) {
    guint8 *row = image->data + (gsize) y * image->stride;
    for (gint x = 0; x < 3 * image->width; x++) {
      /* The sum of four uniform bytes is normal enough, and cheap. */
      const guint32 bits = pirl_rng_u32 (&rng);
      const gint sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);
      const gdouble noise = (sum - 510) / 147.8 * NIGHT_NOISE;
      row[x] = (guint8) CLAMP (lrint (row[x] * NIGHT_GAIN + noise), 0, 255);
    }
  }
}

void
pirl_scenes_draw (PirlScenes *s, guint64 frame, PirlImage *image)
{
  const guint64 scene = frame / s->config.frames_a_scene;
  gdouble box[4];

  if (s->drawn != scene + 1) {
    pirl_synthetic_draw (scene, PIRL_SYNTHETIC_MAX_CLASSES, SCENE_SIZE, s->config.seed, &s->scene);
    s->drawn = scene + 1;
  }
  look (s, frame, box);
  pirl_image_resize_storage (image, s->config.width, s->config.height);
  pirl_resize (s->resizer, &s->scene, box[0], box[1], box[2], box[3], image);
  if (pirl_scenes_is_night (s, frame))
    darken (s, frame, image);
}
