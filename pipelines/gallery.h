/* gst-pirl: pictures with their embeddings, for quickstart.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/image.h"

typedef struct {
  const gchar *location;
  gboolean labels_in_folders;
  guint64 start, stop;          /* samples of the location; stop G_MAXUINT64 = to the end */
  guint64 seed;                 /* of the choice when there are more than @limit */
  guint limit;
  guint threads;
} PirlGallerySource;

typedef struct {
  guint n, dim;
  GArray *embeddings;           /* gfloat, n rows of dim */
  GArray *labels;               /* gint, -1 = none */
  GArray *thumbnails;           /* PirlImage */
  GStrv classes;                /* the labels' names; NULL = labels are numbers, or none */
} PirlGallery;

/** Runs `pirldatasetsrc ! pirlembed ! appsink` over at most source->limit pictures. */
gboolean pirl_gallery_load (PirlGallery *gallery, const PirlGallerySource *source,
    const gchar *model_file, const gchar *layer, GError **error);
void pirl_gallery_clear (PirlGallery *gallery);
/** Numbers the labels of @gallery as @like does, by the names of the classes: two locations number
 * theirs apart. A class that @like lacks gets a number of which it has no picture. */
void pirl_gallery_number_like (PirlGallery *gallery, const PirlGallery *like);
/** kNN accuracy of @queries (NULL: the references, each left out of its own vote). */
gdouble pirl_gallery_knn (const PirlGallery *references, const PirlGallery *queries, guint k,
    gdouble sigma);
/** Draws @rows queries and their @n nearest pictures under references[0] (untrained) and
 * references[1] (trained). @queries NULL: the references. */
gboolean pirl_gallery_mosaic (const gchar *path, const PirlGallery references[2],
    const PirlGallery *queries, guint rows, guint n, GError **error);
