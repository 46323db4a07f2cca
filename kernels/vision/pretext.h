/* gst-pirl: the two views of a sample: geometry, draws and rendering.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Image view: RandomResizedCrop of image_size, colour, flip. The second view is one of these:
 *
 *   JIGSAW    (VISSL, img_patches_tensor.py) an independent RandomResizedCrop of crop_size, cut into
 *             grid x grid cells, a patch of patch_size at a random offset in each cell, colour and
 *             flip drawn for each patch, patches in the order of a permutation
 *   ROTATION  an independent crop, colour and flip as of the image view, then turned by 0, 90, 180 or
 *             270 degrees (Gidaris et al. 2018). A flip after the turn would make 90 degrees of one
 *             picture 270 of its mirror image, and nobody could tell which was drawn
 *   BOTH      as JIGSAW, of the turned crop; patches are flipped as in ROTATION
 *   CROP      as ROTATION, not turned
 *
 * To the functions below ROTATION and CROP are a jigsaw of one cell without room.
 */
#pragma once

#include "vision/augment.h"

#define PIRL_MAX_GRID 5
#define PIRL_MAX_PATCHES (PIRL_MAX_GRID * PIRL_MAX_GRID)

typedef enum { PIRL_TRANSFORM_JIGSAW, PIRL_TRANSFORM_ROTATION, PIRL_TRANSFORM_BOTH,
  PIRL_TRANSFORM_CROP, PIRL_N_TRANSFORMS } PirlTransform;

/** "jigsaw", "rotation", "both", "crop". */
PIRL_API const gchar *pirl_transform_name (PirlTransform transform);
/** FALSE when @name (may be NULL) is none of them. */
PIRL_API gboolean pirl_transform_from_name (const gchar *name, PirlTransform *transform);
/** Whether the second view is turned, and whether it is one picture as large as the image view. */
PIRL_API gboolean pirl_transform_turns (PirlTransform transform);
PIRL_API gboolean pirl_transform_is_whole (PirlTransform transform);

typedef struct {
  PirlTransform transform;
  gint image_size;              /* 224 */
  gint crop_size;               /* 255 */
  gint patch_size;              /* 64 */
  gint grid;                    /* 3 */
  gint turns;                   /* quarters of a turn, where there are any; -1 = draw */
  gfloat crop_scale_min, crop_scale_max;        /* area of the image view's crop: .08, 1 */
  gfloat patch_crop_scale_min;  /* of the jigsaw view's: .6; a whole second view has the above */
  gboolean flip;                /* with probability 1/2 */
  PirlAugment augment;
} PirlPretextConfig;

/** The reference's geometry for an image size: crop = round (size * 255 / 224), rounded down to a
 * multiple of grid; patch = round (size * 64 / 224). */
PIRL_API void pirl_pretext_config_defaults (PirlPretextConfig *config, gint image_size, gint grid);
/** Sets the transform (JIGSAW by default) and, where the second view is whole, the geometry that it
 * then has: one cell of the image view's size. */
PIRL_API void pirl_pretext_config_transform (PirlPretextConfig *config, PirlTransform transform);
/** %PIRL_ERROR_INVALID says which number does not fit which. */
PIRL_API gboolean pirl_pretext_config_check (const PirlPretextConfig *config, GError **error);

/** All draws of one sample. */
typedef struct {
  PirlBox image_crop, patch_crop;
  PirlColour image_colour, patch_colour[PIRL_MAX_PATCHES];      /* by cell, not by position */
  gint offset_x[PIRL_MAX_PATCHES], offset_y[PIRL_MAX_PATCHES];  /* by cell */
  gint permutation_index;       /* in the set; -1 = drawn from all */
  guint8 permutation[PIRL_MAX_PATCHES]; /* position i shows cell permutation[i] */
  gint turns;                   /* of the second view: 0 to 3 */
} PirlPretext;

/** A set of permutations of grid*grid cells. */
typedef struct _PirlPermutations PirlPermutations;
/** @n permutations chosen greedily for the largest minimum Hamming distance to those chosen before
 * (candidates drawn from @seed where all of them are too many); n = 0: all, drawn uniformly.
 * Not unref'ed: free with pirl_permutations_free(). */
PIRL_API PirlPermutations *pirl_permutations_new (gint grid, guint n, guint64 seed, GError **error);
PIRL_API void pirl_permutations_free (PirlPermutations *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlPermutations, pirl_permutations_free)
/** The size of the set; 0 = all. */
PIRL_API guint pirl_permutations_count (const PirlPermutations *set);
/** Member @i (grid*grid bytes, owned by the set); NULL where there is none, so in the set of all. */
PIRL_API const guint8 *pirl_permutations_nth (const PirlPermutations *set, guint i);

/** torchvision's RandomResizedCrop.get_params: ten tries of area U[min,max] and log-uniform ratio
 * 3/4..4/3, then the largest centred crop within those ratios. */
PIRL_API void pirl_random_resized_crop (PirlRng *rng, gint width, gint height, gfloat scale_min,
    gfloat scale_max, PirlBox *box);
/** Draws everything for sample (seed, epoch, index) of @width x @height. @permutation >= 0 takes
 * that member of the set (of all: the permutation of that lexicographic rank, 0 = identity; counted
 * round and round), -1 draws one. @set NULL = all. */
PIRL_API void pirl_pretext_draw (const PirlPretextConfig *config, const PirlPermutations *set,
    gint permutation, gint width, gint height, guint64 seed, guint32 epoch, guint64 index,
    PirlPretext *pretext);
/** Of these draws the image view's crop alone. */
PIRL_API void pirl_pretext_draw_image_crop (const PirlPretextConfig *config, gint width,
    gint height, guint64 seed, guint32 epoch, guint64 index, PirlBox *box);
/** The recipes of the image view and (grid*grid) of the patches in their shuffled order; either may
 * be NULL. They point into @src, and whoever follows them gets what the functions below render. */
PIRL_API void pirl_pretext_views (const PirlPretextConfig *config, const PirlPretext *pretext,
    const PirlImage *src, PirlView *image, PirlView *patches);
/** Renders the image view (S*S*3 packed bytes). */
PIRL_API void pirl_pretext_render_image (const PirlPretextConfig *config,
    const PirlPretext *pretext, PirlResizer *resizer, const PirlImage *src, guint8 *dst);
/** Renders the patches in their shuffled order (grid*grid * P*P*3 packed bytes). */
PIRL_API void pirl_pretext_render_patches (const PirlPretextConfig *config,
    const PirlPretext *pretext, PirlResizer *resizer, const PirlImage *src, guint8 *dst);

/** Threads that render the views of one sample after another. */
typedef struct _PirlRenderer PirlRenderer;
/** @n_threads counts the caller of pirl_renderer_run(), so that with 1 nobody helps. Fails where no
 * more threads can be had. */
PIRL_API PirlRenderer *pirl_renderer_new (guint n_threads, GError **error);
PIRL_API void pirl_renderer_free (PirlRenderer *renderer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlRenderer, pirl_renderer_free)
/** As pirl_pretext_render_image() and pirl_pretext_render_patches(), either of them where its memory
 * is NULL left out: the same bytes for every number of threads. One call at a time. */
PIRL_API void pirl_renderer_run (PirlRenderer *renderer, const PirlPretextConfig *config,
    const PirlPretext *pretext, const PirlImage *src, guint8 *image, guint8 *patches);
