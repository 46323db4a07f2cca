/* gst-pirl: a labelled set of textured shapes, drawn, not downloaded.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/image.h"

#define PIRL_SYNTHETIC_MAX_CLASSES 10

/** "stripes", ...; @label < PIRL_SYNTHETIC_MAX_CLASSES. */
PIRL_API const gchar *pirl_synthetic_class_name (gint label);
/** The class of picture @index of a set with @classes classes. */
PIRL_API gint pirl_synthetic_label (guint64 index, gint classes);
/** Draws picture @index (size x size, fitted). What makes the class is the texture; colour,
 * position, scale, light and outline are nuisances, drawn from (seed, index). */
PIRL_API void pirl_synthetic_draw (guint64 index, gint classes, gint size, guint64 seed,
    PirlImage *image);
