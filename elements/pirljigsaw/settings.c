/* gst-pirl: the settings of pirljigsaw (see settings.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "settings.h"

#define CORES_PER_THREAD 3      /* by default; the others decode and compute */
#define MAX_AUTO_THREADS 8

static const GEnumValue transform_values[] = {
  {PIRL_TRANSFORM_JIGSAW, "Patches of a grid in a drawn order", "jigsaw"},
  {PIRL_TRANSFORM_ROTATION, "One picture, turned by 0, 90, 180 or 270 degrees", "rotation"},
  {PIRL_TRANSFORM_BOTH, "Patches of the turned picture in a drawn order", "both"},
  {PIRL_TRANSFORM_CROP, "One picture, from a crop of its own", "crop"}, {0}
};
static const GstPirlEnum transform_enum = { "GstPirlJigsawTransform", transform_values };

/* ---- properties --------------------------------------------------------------------------- */

#define AT(field) G_STRUCT_OFFSET (GstPirlJigsawSettings, field)

static const GstPirlProperty rows[] = {
  /**
   * GstPirlJigsaw:transform:
   *
   * What the second view is.
   */
  {"transform", "Transform", "What the second view is", GST_PIRL_ENUM, AT (transform),
      .values = &transform_enum},
  /**
   * GstPirlJigsaw:flip:
   *
   * Mirror the image view, and every picture of the second view for itself, with probability one
   * half, before it is turned.
   */
  {"flip", "Flip", "Mirror the image view and every patch with probability one half",
      GST_PIRL_BOOLEAN, AT (strengths.flip), .playing = TRUE},
  /**
   * GstPirlJigsaw:seed:
   *
   * All draws depend on this, on the sample's epoch and on its index, and on nothing else.
   */
  {"seed", "Seed", "What all draws depend on, with the sample's epoch and index",
      GST_PIRL_UINT64, AT (seed)},
  /**
   * GstPirlJigsaw:image-size:
   *
   * Side of the image view in pixels.
   */
  {"image-size", "Image size", "Side of the image view in pixels",
      GST_PIRL_INT, AT (image_size), 1, 4096},
  /**
   * GstPirlJigsaw:crop-size:
   *
   * Side in pixels to which the jigsaw view's crop is scaled before it is cut into cells.
   * 0 = image-size * 255 / 224, the reference's ratio, rounded down to a multiple of `grid`.
   */
  {"crop-size", "Crop size",
        "Side in pixels of the picture that is cut into cells (0 = image-size * 255 / 224)",
      GST_PIRL_INT, AT (crop_size), 0, 8192},
  /**
   * GstPirlJigsaw:patch-size:
   *
   * Side of a patch in pixels, at most a cell's. 0 = image-size * 64 / 224, the reference's ratio.
   */
  {"patch-size", "Patch size", "Side of a patch in pixels (0 = image-size * 64 / 224)",
      GST_PIRL_INT, AT (patch_size), 0, 4096},
  /**
   * GstPirlJigsaw:grid:
   *
   * Cells on each side of the puzzle.
   */
  {"grid", "Grid", "Cells on each side of the puzzle",
      GST_PIRL_INT, AT (grid), 1, PIRL_MAX_GRID},
  /**
   * GstPirlJigsaw:permutations:
   *
   * How many orders of the patches there are to draw from: a set chosen so that any two differ in
   * as many places as can be. 0 = all of them. Without a jigsaw this, `grid`, `crop-size`,
   * `patch-size` and `permutation` have no effect.
   */
  {"permutations", "Permutations",
        "Size of the set of permutations with large Hamming distance (0 = all there are)",
      GST_PIRL_INT, AT (permutations), 0, 100000},
  /**
   * GstPirlJigsaw:permutation:
   *
   * Number of the one permutation to use always: of the set, or of all in lexicographic order.
   * -1 = draw one for each frame.
   */
  {"permutation", "Permutation", "Number of the permutation to use always (-1 = draw one)",
      GST_PIRL_INT, AT (permutation), -1},
  /**
   * GstPirlJigsaw:rotation:
   *
   * Quarters of a turn, counter-clockwise, by which to turn always, where `transform` turns
   * anything. -1 = draw them for each frame.
   */
  {"rotation", "Rotation", "Quarters of a turn, counter-clockwise, to use always (-1 = draw them)",
      GST_PIRL_INT, AT (rotation), -1, 3},
  /**
   * GstPirlJigsaw:n-threads:
   *
   * Threads that render the views of a frame together, the pipeline's own among them; the views do
   * not depend on it. 0 = a third of the machine's cores, at least 1 and at most 8: the views of a
   * photo are three tenths of the work, and decoding it, in the threads of pirldatasetsrc, is the
   * rest. Where frames leave untouched there is nothing to render.
   */
  {"n-threads", "Threads", "Threads that render the views, the pipeline's own among them "
        "(0 = a third of the cores, at most 8)",
      GST_PIRL_INT, AT (n_threads), 0, 256},
  /**
   * GstPirlJigsaw:brightness:
   *
   * Brightness is multiplied by a factor drawn from 1 - brightness to 1 + brightness.
   */
  {"brightness", "Brightness", "Brightness factor is drawn from 1 - this to 1 + this",
      GST_PIRL_FLOAT, AT (strengths.augment.brightness), 0, 1, .playing = TRUE},
  /**
   * GstPirlJigsaw:contrast:
   *
   * Contrast is multiplied by a factor drawn from 1 - contrast to 1 + contrast.
   */
  {"contrast", "Contrast", "Contrast factor is drawn from 1 - this to 1 + this",
      GST_PIRL_FLOAT, AT (strengths.augment.contrast), 0, 1, .playing = TRUE},
  /**
   * GstPirlJigsaw:saturation:
   *
   * Saturation is multiplied by a factor drawn from 1 - saturation to 1 + saturation.
   */
  {"saturation", "Saturation", "Saturation factor is drawn from 1 - this to 1 + this",
      GST_PIRL_FLOAT, AT (strengths.augment.saturation), 0, 1, .playing = TRUE},
  /**
   * GstPirlJigsaw:hue:
   *
   * Hue is turned by an angle drawn from -hue to hue, in turns.
   */
  {"hue", "Hue", "Hue shift in turns is drawn from -this to this",
      GST_PIRL_FLOAT, AT (strengths.augment.hue), 0, 0.5f, .playing = TRUE},
  /**
   * GstPirlJigsaw:grayscale:
   *
   * Probability that a view or a patch loses its colour.
   */
  {"grayscale", "Grayscale", "Probability of losing the colour",
      GST_PIRL_FLOAT, AT (strengths.augment.grayscale), 0, 1, .playing = TRUE},
  /**
   * GstPirlJigsaw:photometric:
   *
   * Probability of the reference's photometric block: posterize, sharpness, solarize, autocontrast.
   */
  {"photometric", "Photometric",
        "Probability that posterize, sharpness, solarize and autocontrast are drawn",
      GST_PIRL_FLOAT, AT (strengths.augment.photometric), 0, 1, .playing = TRUE},
  /**
   * GstPirlJigsaw:blur:
   *
   * Probability of a Gaussian blur; its radius is 0.1 to 2 pixels at 224 pixels.
   */
  {"blur", "Blur", "Probability of a Gaussian blur",
      GST_PIRL_FLOAT, AT (strengths.augment.blur), 0, 1, .playing = TRUE},
  /**
   * GstPirlJigsaw:crop-scale-min:
   *
   * Least share of the picture's area that the image view's crop has, and the second view's where
   * that is one picture.
   */
  {"crop-scale-min", "Least crop", "Least share of the picture's area in the crop of the image view",
      GST_PIRL_FLOAT, AT (strengths.crop_scale_min), 0, 1, .playing = TRUE},
  /**
   * GstPirlJigsaw:patch-crop-scale-min:
   *
   * Least share of the picture's area that the jigsaw view's crop has.
   */
  {"patch-crop-scale-min", "Least jigsaw crop",
        "Least share of the picture's area in the crop of the jigsaw view",
      GST_PIRL_FLOAT, AT (strengths.patch_crop_scale_min), 0, 1, .playing = TRUE},
};

static void
settings_init (gpointer data)
{
  *(GstPirlJigsawSettings *) data = (GstPirlJigsawSettings) {
    .transform = PIRL_TRANSFORM_JIGSAW,.image_size = 224,.grid = 3,
    .permutation = -1,.rotation = -1,
    .strengths = {.flip = TRUE,.crop_scale_min = 0.2f,.patch_crop_scale_min = 0.6f,
          .augment = {.brightness = 0.4f,.contrast = 0.4f,.saturation = 0.4f,.hue = 0.4f,
              .grayscale = 0.2f}}
  };
}

const GstPirlProperties gst_pirl_jigsaw_properties = {
  .rows = rows,.n = G_N_ELEMENTS (rows),.size = sizeof (GstPirlJigsawSettings),
  .init = settings_init
};

/* ---- what they mean ----------------------------------------------------------------------- */

void
gst_pirl_jigsaw_settings_strengths (const GstPirlJigsawSettings * settings,
    PirlPretextConfig * config)
{
  config->augment = settings->strengths.augment;
  config->crop_scale_min = settings->strengths.crop_scale_min;
  config->patch_crop_scale_min = settings->strengths.patch_crop_scale_min;
  config->flip = settings->strengths.flip;
}

void
gst_pirl_jigsaw_settings_config (const GstPirlJigsawSettings * settings,
    PirlPretextConfig * config)
{
  pirl_pretext_config_defaults (config, settings->image_size, settings->grid);
  if (settings->crop_size > 0)
    config->crop_size = settings->crop_size;
  if (settings->patch_size > 0)
    config->patch_size = settings->patch_size;
  config->turns = settings->rotation;
  pirl_pretext_config_transform (config, settings->transform);
  gst_pirl_jigsaw_settings_strengths (settings, config);
}

/* Permutations there are to name; of more than 9 patches more than an int can count. */
static guint
count_permutations (const PirlPermutations * set, gint patches)
{
  guint count = pirl_permutations_count (set);

  if (count > 0)
    return count;
  count = 1;
  for (gint i = 2; i <= patches; i++)
    count = count > G_MAXINT / (guint) i ? G_MAXINT : count * (guint) i;
  return count;
}

PirlPermutations *
gst_pirl_jigsaw_settings_permutations (const GstPirlJigsawSettings * settings,
    const PirlPretextConfig * config, gint * permutation, GError ** error)
{
  const gboolean whole = pirl_transform_is_whole (config->transform);
  PirlPermutations *set = pirl_permutations_new (config->grid,
      whole ? 0 : (guint) settings->permutations, settings->seed, error);
  guint count;

  if (set == NULL)
    return NULL;
  *permutation = whole ? -1 : settings->permutation;
  count = count_permutations (set, config->grid * config->grid);
  if (*permutation < 0 || (guint) *permutation < count)
    return set;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "permutation=%d is not one of the %u "
      "permutations there are: choose 0 to %u, or -1 to draw one for each frame",
      *permutation, count, count - 1);
  pirl_permutations_free (set);
  return NULL;
}

gint
gst_pirl_jigsaw_settings_threads (const GstPirlJigsawSettings * settings)
{
  return settings->n_threads > 0 ? settings->n_threads
      : CLAMP ((gint) g_get_num_processors () / CORES_PER_THREAD, 1, MAX_AUTO_THREADS);
}
