/* gst-pirl: the draws of a sample's two views, and their rendering from the decoded picture.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Streams: the image view draws from (seed, epoch, index, VIEW): crop, colour. The second view from
 * (seed, epoch, index, PRETEXT): crop, permutation, the offsets (x, y) of each cell, the colours of
 * each cell, the turn. What is not used is drawn all the same, so no setting shifts another's draws.
 * Source: facebookresearch/vissl, vissl/data/ssl_transforms/img_patches_tensor.py and
 * img_pil_to_patches_and_image.py; pytorch/vision, RandomResizedCrop.get_params.
 */
#include "config.h"
#include "vision/vision-private.h"

#include <math.h>
#include <string.h>

#define CROP_TRIES 10
#define RATIO_MIN (3.0 / 4.0)
#define RATIO_MAX (4.0 / 3.0)
/* The reference's geometry: a crop of 255 and patches of 64 for images of 224, cells of 85. */
#define REFERENCE_IMAGE 224.0
#define REFERENCE_CROP 255.0
#define REFERENCE_PATCH 64.0
#define REFERENCE_CELL 85.0

static const gchar *const transform_names[PIRL_N_TRANSFORMS] = {
  [PIRL_TRANSFORM_JIGSAW] = "jigsaw",
  [PIRL_TRANSFORM_ROTATION] = "rotation",
  [PIRL_TRANSFORM_BOTH] = "both",
  [PIRL_TRANSFORM_CROP] = "crop",
};

const gchar *
pirl_transform_name (PirlTransform transform)
{
  return transform_names[transform];
}

gboolean
pirl_transform_from_name (const gchar *name, PirlTransform *transform)
{
  for (guint i = 0; i < PIRL_N_TRANSFORMS; i++)
    if (g_strcmp0 (name, transform_names[i]) == 0) {
      *transform = i;
      return TRUE;
    }
  return FALSE;
}

gboolean
pirl_transform_turns (PirlTransform transform)
{
  return transform == PIRL_TRANSFORM_ROTATION || transform == PIRL_TRANSFORM_BOTH;
}

gboolean
pirl_transform_is_whole (PirlTransform transform)
{
  return transform == PIRL_TRANSFORM_ROTATION || transform == PIRL_TRANSFORM_CROP;
}

void
pirl_pretext_config_transform (PirlPretextConfig *config, PirlTransform transform)
{
  config->transform = transform;
  if (!pirl_transform_is_whole (transform))
    return;
  config->grid = 1;
  config->crop_size = config->patch_size = config->image_size;
}

void
pirl_pretext_config_defaults (PirlPretextConfig *config, gint image_size, gint grid)
{
  memset (config, 0, sizeof *config);
  config->turns = -1;
  config->image_size = image_size;
  config->grid = grid;
  config->crop_size = (gint) round (image_size * REFERENCE_CROP / REFERENCE_IMAGE);
  config->crop_size -= config->crop_size % grid;
  config->patch_size = (gint) round (image_size * REFERENCE_PATCH / REFERENCE_IMAGE);
  /* Cells of a finer grid are smaller than the reference's patch: keep its share of a cell. */
  if (grid > 3)
    config->patch_size = (gint) round (config->crop_size / grid * REFERENCE_PATCH / REFERENCE_CELL);
  config->crop_scale_min = 0.08f;
  config->crop_scale_max = 1.0f;
  config->patch_crop_scale_min = 0.6f;
  config->flip = TRUE;
}

static gboolean
check_range (const gchar *name, gfloat value, gfloat lo, gfloat hi, GError **error)
{
  if (value >= lo && value <= hi)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "%s is %g, it must be within %g and %g", name,
      value, lo, hi);
  return FALSE;
}

static gboolean
check_ranges (const PirlPretextConfig *config, GError **error)
{
  const PirlAugment *a = &config->augment;
  const struct {
    const gchar *name;
    gfloat value, lo, hi;
  } range[] = {
    { "grid", config->grid, 1, PIRL_MAX_GRID },
    { "image-size", config->image_size, 1, 16384 },
    { "crop-size", config->crop_size, 1, 16384 },
    { "patch-size", config->patch_size, 1, 16384 },
    { "rotation", config->turns, -1, 3 },
    { "crop-scale-max", config->crop_scale_max, 1e-4f, 1 },
    { "crop-scale-min", config->crop_scale_min, 1e-4f, config->crop_scale_max },
    { "patch-crop-scale-min", config->patch_crop_scale_min, 1e-4f, 1 },
    { "brightness", a->brightness, 0, 10 },
    { "contrast", a->contrast, 0, 10 },
    { "saturation", a->saturation, 0, 10 },
    { "hue", a->hue, 0, 0.5f },
    { "grayscale", a->grayscale, 0, 1 },
    { "photometric", a->photometric, 0, 1 },
    { "blur", a->blur, 0, 1 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (range); i++)
    if (!check_range (range[i].name, range[i].value, range[i].lo, range[i].hi, error))
      return FALSE;
  return TRUE;
}

/* One picture like the image view. */
static gboolean
check_whole (const PirlPretextConfig *config, GError **error)
{
  if (!pirl_transform_is_whole (config->transform) || (config->grid == 1
          && config->crop_size == config->image_size && config->patch_size == config->image_size))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "transform %s shows one picture of image-size %d, not %d x %d patches of %d from %d",
      pirl_transform_name (config->transform), config->image_size, config->grid, config->grid,
      config->patch_size, config->crop_size);
  return FALSE;
}

gboolean
pirl_pretext_config_check (const PirlPretextConfig *config, GError **error)
{
  if (!check_ranges (config, error) || !check_whole (config, error))
    return FALSE;
  if (config->crop_size % config->grid != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "crop-size %d is not a multiple of grid %d; %d is", config->crop_size, config->grid,
        MAX (config->crop_size - config->crop_size % config->grid, config->grid));
    return FALSE;
  }
  if (config->patch_size > config->crop_size / config->grid) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "patch-size %d is larger than a cell: crop-size %d / grid %d = %d", config->patch_size,
        config->crop_size, config->grid, config->crop_size / config->grid);
    return FALSE;
  }
  return TRUE;
}

/* The largest centred crop whose ratio is allowed. */
static void
central_crop (gint width, gint height, PirlBox *box)
{
  const gdouble ratio = (gdouble) width / height;

  box->width = width;
  box->height = height;
  if (ratio < RATIO_MIN)
    box->height = MIN ((gint) rint (width / RATIO_MIN), height);
  else if (ratio > RATIO_MAX)
    box->width = MIN ((gint) rint (height * RATIO_MAX), width);
  /* Of a picture one pixel thin the rounding above must not leave nothing. */
  box->width = MAX (box->width, 1);
  box->height = MAX (box->height, 1);
  box->x = (width - box->width) / 2;
  box->y = (height - box->height) / 2;
}

void
pirl_random_resized_crop (PirlRng *rng, gint width, gint height, gfloat scale_min,
    gfloat scale_max, PirlBox *box)
{
  const gdouble area = (gdouble) width * height;

  for (gint i = 0; i < CROP_TRIES; i++) {
    const gdouble target = area * pirl_rng_range (rng, scale_min, scale_max);
    const gdouble ratio = exp (pirl_rng_range (rng, log (RATIO_MIN), log (RATIO_MAX)));
    const gdouble w = rint (sqrt (target * ratio)), h = rint (sqrt (target / ratio));

    if (w < 1 || h < 1 || w > width || h > height)
      continue;
    box->width = (gint) w;
    box->height = (gint) h;
    box->y = pirl_rng_below (rng, height - box->height + 1);
    box->x = pirl_rng_below (rng, width - box->width + 1);
    return;
  }
  central_crop (width, height, box);
}

/* Permutation number @rank of @n things in lexicographic order. */
static void
unrank_permutation (guint rank, guint8 *permutation, gint n)
{
  guint8 left[PIRL_MAX_PATCHES];
  guint digit[PIRL_MAX_PATCHES];

  for (gint i = 0; i < n; i++)
    left[i] = i;
  for (gint i = n - 1; i >= 0; i--) {
    digit[i] = rank % (n - i);
    rank /= n - i;
  }
  for (gint i = 0; i < n; i++) {
    permutation[i] = left[digit[i]];
    memmove (left + digit[i], left + digit[i] + 1, n - i - 1 - digit[i]);
  }
}

static void
draw_permutation (PirlRng *rng, const PirlPermutations *set, gint wanted, gint cells,
    PirlPretext *pretext)
{
  const guint n = set ? pirl_permutations_count (set) : 0;
  guint32 any[PIRL_MAX_PATCHES];
  guint drawn;

  pirl_rng_permutation (rng, any, cells);
  drawn = pirl_rng_below (rng, MAX (n, 1));
  pretext->permutation_index = wanted;
  if (n > 0) {
    pretext->permutation_index = wanted >= 0 ? wanted % n : drawn;
    memcpy (pretext->permutation, pirl_permutations_nth (set, pretext->permutation_index), cells);
  } else if (wanted >= 0)
    unrank_permutation (wanted, pretext->permutation, cells);
  else
    for (gint i = 0; i < cells; i++)
      pretext->permutation[i] = any[i];
}

/* The first draws of the image view's stream. */
static void
draw_image_crop (PirlRng *rng, const PirlPretextConfig *config, gint width, gint height,
    PirlBox *box)
{
  pirl_random_resized_crop (rng, width, height, config->crop_scale_min, config->crop_scale_max,
      box);
}

void
pirl_pretext_draw_image_crop (const PirlPretextConfig *config, gint width, gint height,
    guint64 seed, guint32 epoch, guint64 index, PirlBox *box)
{
  PirlRng rng;

  pirl_rng_init (&rng, seed, epoch, index, PIRL_PURPOSE_VIEW);
  draw_image_crop (&rng, config, width, height, box);
}

void
pirl_pretext_draw (const PirlPretextConfig *config, const PirlPermutations *set, gint permutation,
    gint width, gint height, guint64 seed, guint32 epoch, guint64 index, PirlPretext *pretext)
{
  const gint cells = config->grid * config->grid;
  const guint room = config->crop_size / config->grid - config->patch_size + 1;
  const gfloat flip = config->flip ? 0.5f : 0;
  const gboolean whole = pirl_transform_is_whole (config->transform);
  PirlRng rng;
  gint turns;

  memset (pretext, 0, sizeof *pretext);
  pirl_rng_init (&rng, seed, epoch, index, PIRL_PURPOSE_VIEW);
  draw_image_crop (&rng, config, width, height, &pretext->image_crop);
  pirl_colour_draw (&rng, &config->augment, config->image_size, flip, &pretext->image_colour);
  pirl_rng_init (&rng, seed, epoch, index, PIRL_PURPOSE_PRETEXT);
  pirl_random_resized_crop (&rng, width, height,
      whole ? config->crop_scale_min : config->patch_crop_scale_min,
      whole ? config->crop_scale_max : 1, &pretext->patch_crop);
  draw_permutation (&rng, set, MAX (permutation, -1), cells, pretext);
  for (gint i = 0; i < cells; i++) {
    pretext->offset_x[i] = pirl_rng_below (&rng, room);
    pretext->offset_y[i] = pirl_rng_below (&rng, room);
  }
  /* Patches have the scale of the image view, so blur radii go by its size, not by theirs. */
  for (gint i = 0; i < cells; i++)
    pirl_colour_draw (&rng, &config->augment, config->image_size, flip, &pretext->patch_colour[i]);
  turns = (gint) pirl_rng_below (&rng, 4);
  if (pirl_transform_turns (config->transform))
    pretext->turns = config->turns >= 0 ? config->turns : turns;
}

/* ---- recipes ------------------------------------------------------------------------------ */

static void
set_colour (PirlView *view, const PirlColour *colour)
{
  view->colour = *colour;
  if (colour->blur_radius > 0)
    view->blur = pirl_blur_box (colour->blur_radius);
}

/* Says that @view is what lies at (x, y) once the scaled crop has been turned: where that is before,
 * and the turn of the view alone. */
static void
set_turned_part (PirlView *view, gint turns, gint x, gint y)
{
  const gint right = view->scaled - view->size - x, below = view->scaled - view->size - y;
  const gint left[4] = { x, below, right, y }, top[4] = { y, x, below, right };

  view->turns = turns;
  view->left = left[turns];
  view->top = top[turns];
}

void
pirl_pretext_views (const PirlPretextConfig *config, const PirlPretext *pretext,
    const PirlImage *src, PirlView *image, PirlView *patches)
{
  const gint grid = config->grid, cell_size = config->crop_size / grid;

  if (image) {
    *image = (PirlView) {.pixels = src->data, .stride = src->stride,
      .crop = pretext->image_crop, .scaled = config->image_size, .size = config->image_size };
    set_colour (image, &pretext->image_colour);
  }
  for (gint i = 0; patches && i < grid * grid; i++) {
    const gint cell = pretext->permutation[i];

    patches[i] = (PirlView) {.pixels = src->data, .stride = src->stride,
      .crop = pretext->patch_crop, .scaled = config->crop_size, .size = config->patch_size };
    set_turned_part (&patches[i], pretext->turns,
        cell % grid * cell_size + pretext->offset_x[cell],
        cell / grid * cell_size + pretext->offset_y[cell]);
    set_colour (&patches[i], &pretext->patch_colour[cell]);
  }
}

/* ---- rendering ---------------------------------------------------------------------------- */

/* Crops first and resizes then, as torchvision does: the filter never sees beyond the crop. */
PirlImage
pirl_view_crop (const PirlView *view)
{
  return (PirlImage) { view->crop.width, view->crop.height, view->stride,
    (guint8 *) view->pixels + view->crop.y * view->stride + 3 * (gsize) view->crop.x };
}

static inline guint8 *
pixel_at (const PirlImage *image, gint x, gint y)
{
  return image->data + y * image->stride + 3 * (gsize) x;
}

/* Four places at a time, each of which a quarter of a turn brings to the one before it. */
void
pirl_image_turn (const PirlImage *image, gint turns)
{
  const gint last = image->width - 1;

  for (gint y = 0; turns != 0 && y < image->width / 2; y++)
    for (gint x = y; x < last - y; x++) {
      guint8 *const at[4] = { pixel_at (image, x, y), pixel_at (image, last - y, x),
        pixel_at (image, last - x, last - y), pixel_at (image, y, last - x) };
      guint8 pixel[4][3];

      for (gint i = 0; i < 4; i++)
        memcpy (pixel[i], at[i], 3);
      for (gint i = 0; i < 4; i++)
        memcpy (at[i], pixel[(i + turns) % 4], 3);
    }
}

void
pirl_view_render (const PirlView *view, PirlResizer *resizer, const PirlResizer *planned,
    guint8 *dst)
{
  const PirlImage crop = pirl_view_crop (view);
  PirlImage part = { view->size, view->size, 3 * (gsize) view->size, dst };

  pirl_resizer_render (resizer, planned, &crop, view->left, view->top, &part);
  pirl_colour_apply (&view->colour, &part);
  pirl_image_turn (&part, view->turns);
}

/* @n views of one crop, one after another. */
static void
render_views (const PirlView *views, gint n, PirlResizer *resizer, guint8 *dst)
{
  const PirlImage crop = pirl_view_crop (views);

  pirl_resizer_plan (resizer, &crop, views->scaled, views->scaled);
  for (gint i = 0; i < n; i++, dst += 3 * (gsize) views->size * views->size)
    pirl_view_render (&views[i], resizer, resizer, dst);
}

void
pirl_pretext_render_image (const PirlPretextConfig *config, const PirlPretext *pretext,
    PirlResizer *resizer, const PirlImage *src, guint8 *dst)
{
  PirlView view;

  pirl_pretext_views (config, pretext, src, &view, NULL);
  render_views (&view, 1, resizer, dst);
}

void
pirl_pretext_render_patches (const PirlPretextConfig *config, const PirlPretext *pretext,
    PirlResizer *resizer, const PirlImage *src, guint8 *dst)
{
  PirlView views[PIRL_MAX_PATCHES];

  pirl_pretext_views (config, pretext, src, NULL, views);
  render_views (views, config->grid * config->grid, resizer, dst);
}
