/* gst-pirl: pirljigsaw, the two views of a picture that a network learns from.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/**
 * SECTION:element-pirljigsaw
 * @title: pirljigsaw
 * @short_description: makes the image view and a transformed second view of every frame
 *
 * For every RGB frame the element draws two independent random crops. The first one, augmented,
 * is the *image view* of `image-size` pixels. What the *second view* is, #GstPirlJigsaw:transform
 * says:
 *
 * - `jigsaw`: the crop is scaled to `crop-size`, cut into `grid` x `grid` cells, a *patch* of
 *   `patch-size` is taken at a random place inside every cell, and the patches, each with colours
 *   of its own, are put into the order of a permutation (Misra and van der Maaten,
 *   "Self-Supervised Learning of Pretext-Invariant Representations", 2020; geometry of the VISSL
 *   code).
 * - `rotation`: one picture like the image view, of a crop, colours and a flip of its own, which is
 *   then turned by 0, 90, 180 or 270 degrees counter-clockwise (Gidaris, Singh and Komodakis 2018).
 * - `both`: a jigsaw of the turned crop.
 * - `crop`: one more picture like the image view.
 *
 * ## What leaves the source pad
 *
 * - `video/x-raw(meta:PirlPretext),format=RGB`: the untouched frame, with the meta `pirl-pretext`
 *   from which a consumer renders both views by itself, on the GPU. Only to a peer that names this
 *   feature; the caps have no size, since every frame may have another: GstVideoMeta tells it.
 * - `other/tensors,format=static,num_tensors=2,types="uint8,uint8",dimensions="3:S:S:1,3:P:P:N"`:
 *   both views, one memory each; N pictures of P x P are the second one, and without a jigsaw N is
 *   1 and P is S. The choice wherever else downstream can take it. The second view is black where a
 *   pirltrainsink takes it that looks at image views only (objective npid or supervised), and
 *   pirldatasetsrc then decodes no more than the image view's crop.
 * - `video/x-raw,format=RGB`: the second view to look at, the shuffled patches as a mosaic with gaps
 *   of two pixels, when downstream takes only video.
 *
 * The first two also have the fields `transform` (string) and `permutations` (int, the size of the
 * set that permutations are drawn from, 0 = all). The source caps depend on the properties and the
 * framerate only: frames of ever changing size, as data sets have them, go through without any
 * renegotiation.
 *
 * Every draw is a function of (`seed`, epoch, index) of the sample, read from the meta
 * `pirl-sample` that pirldatasetsrc attaches; threads, order and restarts do not matter. Frames
 * without that meta, a camera's, are numbered from 0 when the element starts.
 *
 * ## Meta
 *
 * Buffers keep `pirl-sample` and get `pirl-pretext`, all that was drawn: `transform` (string, as
 * the property), `permutation` (array of int: position i shows cell permutation[i]),
 * `permutation-index` (int, the number in the set of `permutations`, -1 when it was drawn from
 * all), `rotation` (int, degrees counter-clockwise), `crops` (array of int: x, y, width, height of
 * the image view's crop, then of the second view's), `image-size`, `crop-size`, `patch-size`,
 * `grid` (int), `offsets` (array of int: x, y of the patch in every cell), `flips` (array of int:
 * the image view, then every cell), `jitter` (array of double: brightness, contrast, saturation,
 * hue, grayscale, blur radius of the image view, then of every cell), `orders` (array of int:
 * 0 brightness, 1 contrast, 2 saturation, 3 hue, as they are applied, for each likewise),
 * `photometric` (array of double: whether, posterize bits, solarize threshold, sharpness, for each
 * likewise).
 *
 * Quality of service is off by default, because a frame skipped is a sample not trained.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 videotestsrc num-buffers=90 ! videoconvert ! pirljigsaw ! fakesink silent=false -v
 * ]| Shows the caps of the two views.
 * |[
 * gst-launch-1.0 videotestsrc pattern=smpte ! videoconvert ! pirljigsaw ! videoconvert ! autovideosink
 * ]| Looks at the shuffled mosaic.
 * |[
 * gst-launch-1.0 videotestsrc pattern=smpte ! videoconvert ! pirljigsaw transform=both ! videoconvert ! autovideosink
 * ]| The same of turned pictures.
 * |[
 * gst-launch-1.0 pirldatasetsrc location="synthetic:shapes?count=2000&classes=10&size=96" epochs=5 ! pirljigsaw image-size=64 ! pirltrainsink arch=resnet18 batch-size=32 checkpoint-file=shapes.safetensors
 * ]| Trains on a procedural data set.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "common.h"
#include "crop.h"
#include "meta.h"
#include "pretext.h"

#include <gst/base/gstbasetransform.h>
#include <gst/video/video.h>
#include <string.h>

GST_DEBUG_CATEGORY_STATIC (pirl_jigsaw_debug);
#define GST_CAT_DEFAULT pirl_jigsaw_debug

#define MOSAIC_GAP 2            /* pixels between the patches */
#define MAX_SIDE 32767
#define CORES_PER_THREAD 3      /* by default; the others decode and compute */
#define MAX_AUTO_THREADS 8
#define DEFAULT_SEED 0
#define DEFAULT_FLIP TRUE

#define DEFAULT_TRANSFORM PIRL_TRANSFORM_JIGSAW

/* Whole-number properties, fixed while the element runs. */
typedef struct {
  gint image_size, crop_size, patch_size, grid, permutations, permutation, rotation, n_threads;
} JigsawGeometry;

typedef struct {
  const gchar *name, *nick, *blurb;
  gint minimum, maximum, value;
  gsize offset;                 /* in JigsawGeometry */
} IntegerRow;

#define AT(field) G_STRUCT_OFFSET (JigsawGeometry, field)
static const IntegerRow integers[] = {
  /**
   * GstPirlJigsaw:image-size:
   *
   * Side of the image view in pixels.
   */
  {"image-size", "Image size", "Side of the image view in pixels", 1, 4096, 224, AT (image_size)},
  /**
   * GstPirlJigsaw:crop-size:
   *
   * Side in pixels to which the jigsaw view's crop is scaled before it is cut into cells.
   * 0 = image-size * 255 / 224, the reference's ratio, rounded down to a multiple of `grid`.
   */
  {"crop-size", "Crop size",
        "Side in pixels of the picture that is cut into cells (0 = image-size * 255 / 224)",
      0, 8192, 0, AT (crop_size)},
  /**
   * GstPirlJigsaw:patch-size:
   *
   * Side of a patch in pixels, at most a cell's. 0 = image-size * 64 / 224, the reference's ratio.
   */
  {"patch-size", "Patch size", "Side of a patch in pixels (0 = image-size * 64 / 224)",
      0, 4096, 0, AT (patch_size)},
  /**
   * GstPirlJigsaw:grid:
   *
   * Cells on each side of the puzzle.
   */
  {"grid", "Grid", "Cells on each side of the puzzle", 1, PIRL_MAX_GRID, 3, AT (grid)},
  /**
   * GstPirlJigsaw:permutations:
   *
   * How many orders of the patches there are to draw from: a set chosen so that any two differ in
   * as many places as can be. 0 = all of them. Without a jigsaw this, `grid`, `crop-size`,
   * `patch-size` and `permutation` have no effect.
   */
  {"permutations", "Permutations",
        "Size of the set of permutations with large Hamming distance (0 = all there are)",
      0, 100000, 0, AT (permutations)},
  /**
   * GstPirlJigsaw:permutation:
   *
   * Number of the one permutation to use always: of the set, or of all in lexicographic order.
   * -1 = draw one for each frame.
   */
  {"permutation", "Permutation", "Number of the permutation to use always (-1 = draw one)",
      -1, G_MAXINT, -1, AT (permutation)},
  /**
   * GstPirlJigsaw:rotation:
   *
   * Quarters of a turn, counter-clockwise, by which to turn always, where `transform` turns
   * anything. -1 = draw them for each frame.
   */
  {"rotation", "Rotation", "Quarters of a turn, counter-clockwise, to use always (-1 = draw them)",
      -1, 3, -1, AT (rotation)},
  /**
   * GstPirlJigsaw:n-threads:
   *
   * Threads that render the views of a frame together, the pipeline's own among them; the views do
   * not depend on it. 0 = a third of the machine's cores, at least 1 and at most 8: the views of a
   * photo are three tenths of the work, and decoding it, in the threads of pirldatasetsrc, is the
   * rest. Where frames leave untouched there is nothing to render.
   */
  {"n-threads", "Threads", "Threads that render the views, the pipeline's own among them "
        "(0 = a third of the cores, at most 8)", 0, 256, 0, AT (n_threads)},
};
#undef AT

typedef struct {
  const gchar *name, *nick, *blurb;
  gfloat maximum, value;
  gsize offset;                 /* in PirlPretextConfig */
} StrengthRow;

#define AT(field) G_STRUCT_OFFSET (PirlPretextConfig, field)
static const StrengthRow strengths[] = {
  /**
   * GstPirlJigsaw:brightness:
   *
   * Brightness is multiplied by a factor drawn from 1 - brightness to 1 + brightness.
   */
  {"brightness", "Brightness", "Brightness factor is drawn from 1 - this to 1 + this",
      1, 0.4f, AT (augment.brightness)},
  /**
   * GstPirlJigsaw:contrast:
   *
   * Contrast is multiplied by a factor drawn from 1 - contrast to 1 + contrast.
   */
  {"contrast", "Contrast", "Contrast factor is drawn from 1 - this to 1 + this",
      1, 0.4f, AT (augment.contrast)},
  /**
   * GstPirlJigsaw:saturation:
   *
   * Saturation is multiplied by a factor drawn from 1 - saturation to 1 + saturation.
   */
  {"saturation", "Saturation", "Saturation factor is drawn from 1 - this to 1 + this",
      1, 0.4f, AT (augment.saturation)},
  /**
   * GstPirlJigsaw:hue:
   *
   * Hue is turned by an angle drawn from -hue to hue, in turns.
   */
  {"hue", "Hue", "Hue shift in turns is drawn from -this to this", 0.5f, 0.4f, AT (augment.hue)},
  /**
   * GstPirlJigsaw:grayscale:
   *
   * Probability that a view or a patch loses its colour.
   */
  {"grayscale", "Grayscale", "Probability of losing the colour", 1, 0.2f, AT (augment.grayscale)},
  /**
   * GstPirlJigsaw:photometric:
   *
   * Probability of the reference's photometric block: posterize, sharpness, solarize, autocontrast.
   */
  {"photometric", "Photometric",
        "Probability of posterize, sharpness, solarize and autocontrast",
      1, 0, AT (augment.photometric)},
  /**
   * GstPirlJigsaw:blur:
   *
   * Probability of a Gaussian blur; its radius is 0.1 to 2 pixels at 224 pixels.
   */
  {"blur", "Blur", "Probability of a Gaussian blur", 1, 0, AT (augment.blur)},
  /**
   * GstPirlJigsaw:crop-scale-min:
   *
   * Least share of the picture's area that the image view's crop has, and the second view's where
   * that is one picture.
   */
  {"crop-scale-min", "Least crop", "Least share of the area in the image view's crop",
      1, 0.2f, AT (crop_scale_min)},
  /**
   * GstPirlJigsaw:patch-crop-scale-min:
   *
   * Least share of the picture's area that the jigsaw view's crop has.
   */
  {"patch-crop-scale-min", "Least jigsaw crop",
        "Least share of the area in the jigsaw view's crop", 1, 0.6f, AT (patch_crop_scale_min)},
};
#undef AT

enum {
  PROP_0,
  PROP_TRANSFORM,
  PROP_FLIP,
  PROP_SEED,
  PROP_INTEGERS,
  PROP_STRENGTHS = PROP_INTEGERS + G_N_ELEMENTS (integers),
  PROP_END = PROP_STRENGTHS + G_N_ELEMENTS (strengths),
};

typedef enum { FORM_FRAMES, FORM_TENSORS, FORM_MOSAIC, N_FORMS } JigsawForm;

#define GST_TYPE_PIRL_JIGSAW (gst_pirl_jigsaw_get_type ())
G_DECLARE_FINAL_TYPE (GstPirlJigsaw, gst_pirl_jigsaw, GST, PIRL_JIGSAW, GstBaseTransform)

struct _GstPirlJigsaw {
  GstBaseTransform parent;

  /* Settings, under the object lock. */
  JigsawGeometry geometry;      /* as set */
  PirlPretextConfig strengths;  /* as set; its geometry is not used */
  PirlTransform transform;
  guint64 seed;

  /* From start() to stop(); written with the object lock. */
  PirlPretextConfig running;    /* the geometry in use */
  gint permutation;             /* in use */
  PirlPermutations *set;        /* NULL = not started */

  /* Streaming thread. */
  GstVideoInfo info;            /* of the input */
  gboolean configured;          /* @info and @form stand */
  JigsawForm form;
  GstVideoInfo mosaic;
  guint64 frames;               /* frames without a number of their own so far */
  PirlRenderer *renderer;       /* from the first caps that need one to stop() */
  guint8 *scratch;              /* the patches of a mosaic */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS,
    GST_STATIC_CAPS ("video/x-raw, format=(string)RGB, width=(int)[1,32767], "
        "height=(int)[1,32767], framerate=(fraction)[0,max]"));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS,
    GST_STATIC_CAPS (GST_PIRL_FRAMES_CAPS ", framerate=(fraction)[0,max]; "
        GST_PIRL_TENSORS_CAPS ", num_tensors=(int)2, types=(string)\"uint8,uint8\", "
        "framerate=(fraction)[0,max]; " GST_VIDEO_CAPS_MAKE ("RGB")));

G_DEFINE_FINAL_TYPE (GstPirlJigsaw, gst_pirl_jigsaw, GST_TYPE_BASE_TRANSFORM)
GST_ELEMENT_REGISTER_DEFINE (pirljigsaw, "pirljigsaw", GST_RANK_NONE, GST_TYPE_PIRL_JIGSAW)

#define GST_TYPE_PIRL_JIGSAW_TRANSFORM (gst_pirl_jigsaw_transform_get_type ())
static GType
gst_pirl_jigsaw_transform_get_type (void)
{
  static gsize type = 0;
  static const GEnumValue values[] = {
    {PIRL_TRANSFORM_JIGSAW, "Patches of a grid in a drawn order", "jigsaw"},
    {PIRL_TRANSFORM_ROTATION, "One picture, turned by 0, 90, 180 or 270 degrees", "rotation"},
    {PIRL_TRANSFORM_BOTH, "Patches of the turned picture in a drawn order", "both"},
    {PIRL_TRANSFORM_CROP, "One picture, from a crop of its own", "crop"},
    {0, NULL, NULL},
  };

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstPirlJigsawTransform", values));
  return type;
}

/* ---- settings ----------------------------------------------------------------------------- */

static gint
patches_of (const PirlPretextConfig * config)
{
  return config->grid * config->grid;
}

static gint
mosaic_side (const PirlPretextConfig * config)
{
  return config->grid * config->patch_size + (config->grid - 1) * MOSAIC_GAP;
}

/* The settings that a frame is drawn with: the geometry that start() fixed (before: as set, with
 * the reference's ratios where 0) and the strengths of this moment. */
static void
gst_pirl_jigsaw_snapshot (GstPirlJigsaw * self, PirlPretextConfig * config)
{
  const JigsawGeometry *g = &self->geometry;

  GST_OBJECT_LOCK (self);
  if (self->set != NULL) {
    *config = self->running;
  } else {
    pirl_pretext_config_defaults (config, g->image_size, g->grid);
    if (g->crop_size > 0)
      config->crop_size = g->crop_size;
    if (g->patch_size > 0)
      config->patch_size = g->patch_size;
    config->turns = g->rotation;
    pirl_pretext_config_transform (config, self->transform);
  }
  config->augment = self->strengths.augment;
  config->crop_scale_min = self->strengths.crop_scale_min;
  config->patch_crop_scale_min = self->strengths.patch_crop_scale_min;
  config->flip = self->strengths.flip;
  GST_OBJECT_UNLOCK (self);
}

static void
gst_pirl_jigsaw_set_property (GObject * object, guint id, const GValue * value, GParamSpec * pspec)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (object);

  GST_OBJECT_LOCK (self);
  if (id >= PROP_STRENGTHS && id < PROP_END) {
    G_STRUCT_MEMBER (gfloat, &self->strengths, strengths[id - PROP_STRENGTHS].offset) =
        g_value_get_float (value);
  } else if (id >= PROP_INTEGERS && id < PROP_STRENGTHS) {
    G_STRUCT_MEMBER (gint, &self->geometry, integers[id - PROP_INTEGERS].offset) =
        g_value_get_int (value);
  } else if (id == PROP_TRANSFORM) {
    self->transform = g_value_get_enum (value);
  } else if (id == PROP_FLIP) {
    self->strengths.flip = g_value_get_boolean (value);
  } else if (id == PROP_SEED) {
    self->seed = g_value_get_uint64 (value);
  } else {
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
  }
  GST_OBJECT_UNLOCK (self);
}

static void
gst_pirl_jigsaw_get_property (GObject * object, guint id, GValue * value, GParamSpec * pspec)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (object);

  GST_OBJECT_LOCK (self);
  if (id >= PROP_STRENGTHS && id < PROP_END) {
    g_value_set_float (value,
        G_STRUCT_MEMBER (gfloat, &self->strengths, strengths[id - PROP_STRENGTHS].offset));
  } else if (id >= PROP_INTEGERS && id < PROP_STRENGTHS) {
    g_value_set_int (value,
        G_STRUCT_MEMBER (gint, &self->geometry, integers[id - PROP_INTEGERS].offset));
  } else if (id == PROP_TRANSFORM) {
    g_value_set_enum (value, self->transform);
  } else if (id == PROP_FLIP) {
    g_value_set_boolean (value, self->strengths.flip);
  } else if (id == PROP_SEED) {
    g_value_set_uint64 (value, self->seed);
  } else {
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
  }
  GST_OBJECT_UNLOCK (self);
}

/* ---- states ------------------------------------------------------------------------------- */

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

static gboolean
check_permutation (gint permutation, guint count, GError ** error)
{
  if (permutation < 0 || (guint) permutation < count)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "permutation=%d is not one of the %u "
      "permutations there are: choose 0 to %u, or -1 to draw one for each frame",
      permutation, count, count - 1);
  return FALSE;
}

static gboolean
gst_pirl_jigsaw_start (GstBaseTransform * trans)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);
  g_autoptr (PirlPermutations) set = NULL;
  PirlPretextConfig config;
  JigsawGeometry geometry;
  GError *error = NULL;
  guint64 seed;

  gst_pirl_jigsaw_snapshot (self, &config);
  GST_OBJECT_LOCK (self);
  geometry = self->geometry;
  seed = self->seed;
  GST_OBJECT_UNLOCK (self);
  if (pirl_transform_is_whole (config.transform)) {
    geometry.permutations = 0;
    geometry.permutation = -1;
  }

  if (!pirl_pretext_config_check (&config, &error))
    goto failed;
  set = pirl_permutations_new (config.grid, (guint) geometry.permutations, seed, &error);
  if (set == NULL || !check_permutation (geometry.permutation,
          count_permutations (set, patches_of (&config)), &error))
    goto failed;

  GST_OBJECT_LOCK (self);
  self->running = config;
  self->permutation = geometry.permutation;
  self->set = g_steal_pointer (&set);
  GST_OBJECT_UNLOCK (self);
  self->frames = 0;
  self->configured = FALSE;
  GST_INFO_OBJECT (self, "image view %d px, transform %s: %dx%d of %d px from %d px",
      config.image_size, pirl_transform_name (config.transform), config.grid, config.grid,
      config.patch_size, config.crop_size);
  return TRUE;

failed:
  gst_pirl_post_error (GST_ELEMENT (self), &error);
  return FALSE;
}

static gboolean
gst_pirl_jigsaw_stop (GstBaseTransform * trans)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);
  PirlPermutations *set;

  GST_OBJECT_LOCK (self);
  set = g_steal_pointer (&self->set);
  GST_OBJECT_UNLOCK (self);
  pirl_permutations_free (set);
  g_clear_pointer (&self->renderer, pirl_renderer_free);
  g_clear_pointer (&self->scratch, g_free);
  self->configured = FALSE;
  return TRUE;
}

/* ---- negotiation -------------------------------------------------------------------------- */

static GstCaps *
mosaic_caps (const PirlPretextConfig * config)
{
  gint side = mosaic_side (config);

  return gst_caps_new_simple ("video/x-raw", "format", G_TYPE_STRING, "RGB",
      "width", G_TYPE_INT, side, "height", G_TYPE_INT, side,
      "pixel-aspect-ratio", GST_TYPE_FRACTION, 1, 1,
      "interlace-mode", G_TYPE_STRING, "progressive", NULL);
}

/* What can leave the source pad, @form being in our order of preference. */
static GstCaps *
caps_of_form (JigsawForm form, const PirlPretextConfig * config, gint permutations)
{
  const GstPirlViews views = {.image = config->image_size,.patch = config->patch_size,
    .patches = patches_of (config),.transform = config->transform,.permutations = permutations,
    .frames = form == FORM_FRAMES
  };

  return form == FORM_MOSAIC ? mosaic_caps (config) : gst_pirl_views_caps (&views, 0, 1);
}

/* Size of the set of permutations that is in use, or will be. */
static gint
permutations_of (GstPirlJigsaw * self, const PirlPretextConfig * config)
{
  gint permutations;

  GST_OBJECT_LOCK (self);
  permutations = self->set != NULL ? (gint) pirl_permutations_count (self->set)
      : self->geometry.permutations;
  GST_OBJECT_UNLOCK (self);
  return pirl_transform_is_whole (config->transform) ? 0 : permutations;
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

/* @first: our preferences begin there. */
static GstCaps *
caps_for_src (GstPirlJigsaw * self, const GstCaps * caps, JigsawForm first)
{
  GstCaps *result = gst_caps_new_empty ();
  gboolean fixed = gst_caps_is_fixed (caps);
  PirlPretextConfig config;
  gint permutations;

  gst_pirl_jigsaw_snapshot (self, &config);
  permutations = permutations_of (self, &config);
  for (guint form = first; form < N_FORMS; form++) {
    for (guint i = 0; i < gst_caps_get_size (caps); i++) {
      GstCaps *one = caps_of_form (form, &config, permutations);

      copy_framerate (gst_caps_get_structure (caps, i), fixed, one);
      result = gst_caps_merge (result, one);
    }
  }
  return result;
}

/* RGB frames of any size, at the framerate that downstream asks for. */
static GstCaps *
caps_for_sink (const GstCaps * caps)
{
  GstCaps *result = gst_caps_new_empty ();

  for (guint i = 0; i < gst_caps_get_size (caps); i++) {
    const GValue *rate = gst_structure_get_value (gst_caps_get_structure (caps, i), "framerate");
    GstCaps *video = gst_static_pad_template_get_caps (&sink_template);

    video = gst_caps_make_writable (video);
    if (rate != NULL)
      gst_caps_set_value (video, "framerate", rate);
    result = gst_caps_merge (result, video);
  }
  return result;
}

static GstCaps *
gst_pirl_jigsaw_transform_caps (GstBaseTransform * trans, GstPadDirection direction,
    GstCaps * caps, GstCaps * filter)
{
  GstCaps *result = direction == GST_PAD_SINK
      ? caps_for_src (GST_PIRL_JIGSAW (trans), caps, FORM_FRAMES) : caps_for_sink (caps);

  if (filter != NULL) {
    GstCaps *all = result;

    result = gst_caps_intersect_full (filter, all, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref (all);
  }
  return result;
}

/* Whether downstream knows what to do with untouched frames: it says so by the feature's name. What
 * takes anything does not count. */
static gboolean
downstream_renders (GstPirlJigsaw * self)
{
  GstCaps *caps = gst_pad_peer_query_caps (GST_BASE_TRANSFORM_SRC_PAD (self), NULL);
  gboolean renders = FALSE;

  for (guint i = 0; !renders && i < gst_caps_get_size (caps); i++) {
    const GstCapsFeatures *features = gst_caps_get_features (caps, i);

    renders = !gst_caps_features_is_any (features)
        && gst_caps_features_contains (features, GST_PIRL_PRETEXT_FEATURE);
  }
  gst_caps_unref (caps);
  return renders;
}

/* Downstream's order of preference does not count: its first choice may be the mosaic, and a
 * trainer behind it would get pictures to look at. */
static GstCaps *
gst_pirl_jigsaw_fixate_caps (GstBaseTransform * trans, GstPadDirection direction, GstCaps * caps,
    GstCaps * othercaps)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);
  GstCaps *own, *choice;

  if (direction != GST_PAD_SINK)
    return gst_caps_fixate (othercaps);
  own = caps_for_src (self, caps, downstream_renders (self) ? FORM_FRAMES : FORM_TENSORS);
  choice = gst_caps_intersect_full (own, othercaps, GST_CAPS_INTERSECT_FIRST);
  if (gst_caps_is_empty (choice)) {
    /* Nothing is linked: the base class offers the input's caps. */
    gst_caps_replace (&choice, own);
  }
  gst_caps_unref (own);
  gst_caps_unref (othercaps);
  return gst_caps_fixate (choice);
}

static JigsawForm
form_of (const GstCaps * caps)
{
  if (!gst_structure_has_name (gst_caps_get_structure (caps, 0), "video/x-raw"))
    return FORM_TENSORS;
  return gst_caps_features_contains (gst_caps_get_features (caps, 0), GST_PIRL_PRETEXT_FEATURE)
      ? FORM_FRAMES : FORM_MOSAIC;
}

/* Starts the threads that render, unless they are there. */
static gboolean
gst_pirl_jigsaw_start_renderer (GstPirlJigsaw * self)
{
  GError *error = NULL;
  gint n_threads;

  if (self->renderer != NULL)
    return TRUE;
  GST_OBJECT_LOCK (self);
  n_threads = self->geometry.n_threads;
  GST_OBJECT_UNLOCK (self);
  if (n_threads == 0)
    n_threads = CLAMP (g_get_num_processors () / CORES_PER_THREAD, 1, MAX_AUTO_THREADS);
  self->renderer = pirl_renderer_new (n_threads, &error);
  if (self->renderer == NULL) {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return FALSE;
  }
  GST_DEBUG_OBJECT (self, "%d threads render", n_threads);
  return TRUE;
}

static gboolean
gst_pirl_jigsaw_set_caps (GstBaseTransform * trans, GstCaps * incaps, GstCaps * outcaps)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);

  self->configured = FALSE;
  if (!gst_video_info_from_caps (&self->info, incaps))
    goto unknown_caps;
  self->form = form_of (outcaps);
  if (self->form == FORM_MOSAIC) {
    if (!gst_video_info_from_caps (&self->mosaic, outcaps))
      goto unknown_caps;
    g_free (self->scratch);
    self->scratch = g_malloc ((gsize) patches_of (&self->running) * self->running.patch_size
        * self->running.patch_size * 3);
  }
  if (self->form != FORM_FRAMES && !gst_pirl_jigsaw_start_renderer (self))
    return FALSE;
  self->configured = TRUE;
  return TRUE;

unknown_caps:
  GST_ERROR_OBJECT (self, "cannot read caps %" GST_PTR_FORMAT " -> %" GST_PTR_FORMAT, incaps,
      outcaps);
  return FALSE;
}

/* TRUE when @caps change nothing but the input's size: then only @info follows, and neither the
 * source caps, nor downstream, nor the allocation are asked again. */
static gboolean
gst_pirl_jigsaw_adopt_size (GstPirlJigsaw * self, const GstCaps * caps)
{
  GstPad *srcpad = GST_BASE_TRANSFORM_SRC_PAD (self);
  GstVideoInfo info;

  if (!self->configured || GST_PAD_NEEDS_RECONFIGURE (srcpad) || !gst_pad_has_current_caps (srcpad))
    return FALSE;
  if (!gst_video_info_from_caps (&info, caps)
      || GST_VIDEO_INFO_FORMAT (&info) != GST_VIDEO_FORMAT_RGB
      || GST_VIDEO_INFO_FPS_N (&info) != GST_VIDEO_INFO_FPS_N (&self->info)
      || GST_VIDEO_INFO_FPS_D (&info) != GST_VIDEO_INFO_FPS_D (&self->info))
    return FALSE;
  self->info = info;
  GST_LOG_OBJECT (self, "input is now %dx%d", info.width, info.height);
  return TRUE;
}

static gboolean
gst_pirl_jigsaw_sink_event (GstBaseTransform * trans, GstEvent * event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_CAPS) {
    GstCaps *caps;

    gst_event_parse_caps (event, &caps);
    if (gst_pirl_jigsaw_adopt_size (GST_PIRL_JIGSAW (trans), caps)) {
      gst_event_unref (event);
      return TRUE;
    }
  }
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_jigsaw_parent_class)->sink_event (trans, event);
}

/* ---- allocation --------------------------------------------------------------------------- */

static gboolean
gst_pirl_jigsaw_propose_allocation (GstBaseTransform * trans, GstQuery * decide, GstQuery * query)
{
  gst_query_add_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL);
  return TRUE;
}

/* Our buffers are small and of two memories, or are not ours: no pool of downstream's fits them. */
static gboolean
gst_pirl_jigsaw_decide_allocation (GstBaseTransform * trans, GstQuery * query)
{
  while (gst_query_get_n_allocation_pools (query) > 0)
    gst_query_remove_nth_allocation_pool (query, 0);
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_jigsaw_parent_class)->decide_allocation (trans, query);
}

/* @in itself, its memory shared, with room for metas. */
static GstBuffer *
frame_output (GstPirlJigsaw * self, GstBuffer * in)
{
  GstVideoInfo *info = &self->info;
  GstBuffer *out = gst_buffer_copy (in);
  GstCustomMeta *old = gst_buffer_get_custom_meta (out, GST_PIRL_PRETEXT_META);

  /* An older pretext does not describe these views. */
  if (old != NULL)
    gst_buffer_remove_meta (out, (GstMeta *) old);
  /* The caps do not have the size. */
  if (gst_buffer_get_video_meta (out) == NULL)
    gst_buffer_add_video_meta_full (out, GST_VIDEO_FRAME_FLAG_NONE, GST_VIDEO_INFO_FORMAT (info),
        GST_VIDEO_INFO_WIDTH (info), GST_VIDEO_INFO_HEIGHT (info), GST_VIDEO_INFO_N_PLANES (info),
        info->offset, info->stride);
  return out;
}

static GstFlowReturn
gst_pirl_jigsaw_prepare_output (GstBaseTransform * trans, GstBuffer * in, GstBuffer ** out)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);
  const PirlPretextConfig *c = &self->running;
  GstBuffer *buffer;

  if (self->form == FORM_FRAMES) {
    *out = frame_output (self, in);
    return GST_FLOW_OK;
  }
  buffer = gst_buffer_new ();
  if (self->form == FORM_TENSORS) {
    const gsize sizes[] = { (gsize) c->image_size * c->image_size * 3,
      (gsize) patches_of (c) * c->patch_size * c->patch_size * 3
    };

    for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
      gst_buffer_append_memory (buffer, gst_allocator_alloc (NULL, sizes[i], NULL));
  } else {
    gst_buffer_append_memory (buffer,
        gst_allocator_alloc (NULL, GST_VIDEO_INFO_SIZE (&self->mosaic), NULL));
  }
  GST_BASE_TRANSFORM_GET_CLASS (trans)->copy_metadata (trans, in, buffer);
  *out = buffer;
  return GST_FLOW_OK;
}

/* An older pretext does not describe these views; all the rest is the base class's to judge. */
static gboolean
gst_pirl_jigsaw_transform_meta (GstBaseTransform * trans, GstBuffer * out, GstMeta * meta,
    GstBuffer * in)
{
  if (gst_meta_info_is_custom (meta->info)
      && gst_custom_meta_has_name ((GstCustomMeta *) meta, GST_PIRL_PRETEXT_META))
    return FALSE;
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_jigsaw_parent_class)->transform_meta (trans, out, meta,
      in);
}

/* ---- frames ------------------------------------------------------------------------------- */

static gboolean
render_views (GstPirlJigsaw * self, const PirlPretextConfig * config, const PirlPretext * pretext,
    const PirlImage * image, gboolean image_only, GstBuffer * out)
{
  GstMemory *memory[] = { gst_buffer_peek_memory (out, 0), gst_buffer_peek_memory (out, 1) };
  GstMapInfo view, patches;

  if (!gst_memory_map (memory[0], &view, GST_MAP_WRITE))
    return FALSE;
  if (!gst_memory_map (memory[1], &patches, GST_MAP_WRITE)) {
    gst_memory_unmap (memory[0], &view);
    return FALSE;
  }
  pirl_renderer_run (self->renderer, config, pretext, image, view.data,
      image_only ? NULL : patches.data);
  if (image_only)
    memset (patches.data, 0, patches.size);
  gst_memory_unmap (memory[0], &view);
  gst_memory_unmap (memory[1], &patches);
  return TRUE;
}

static gboolean
render_mosaic (GstPirlJigsaw * self, const PirlPretextConfig * config, const PirlPretext * pretext,
    const PirlImage * image, GstBuffer * out)
{
  const gsize row = (gsize) config->patch_size * 3;
  const gint step = config->patch_size + MOSAIC_GAP;
  const guint8 *src = self->scratch;
  GstMapInfo map;

  if (!gst_buffer_map (out, &map, GST_MAP_WRITE))
    return FALSE;
  memset (map.data, 0, map.size);
  pirl_renderer_run (self->renderer, config, pretext, image, NULL, self->scratch);
  for (gint i = 0; i < patches_of (config); i++) {
    gsize stride = GST_VIDEO_INFO_PLANE_STRIDE (&self->mosaic, 0);
    guint8 *dst = map.data + (gsize) (i / config->grid) * step * stride
        + (gsize) (i % config->grid) * step * 3;

    for (gint y = 0; y < config->patch_size; y++, src += row, dst += stride)
      memcpy (dst, src, row);
  }
  gst_buffer_unmap (out, &map);
  return TRUE;
}

static void
gst_pirl_jigsaw_draw (GstPirlJigsaw * self, GstBuffer * in, const PirlPretextConfig * config,
    gint width, gint height, PirlPretext * pretext)
{
  GstPirlSample sample;
  guint64 seed;

  GST_OBJECT_LOCK (self);
  seed = self->seed;
  GST_OBJECT_UNLOCK (self);
  if (!gst_pirl_sample_get (in, &sample)) {
    sample.epoch = 0;
    sample.index = self->frames++;
  }
  pirl_pretext_draw (config, self->set, self->permutation, width, height, seed, sample.epoch,
      sample.index, pretext);
}

/* Draws for the picture of which @image shows @region, and renders: the region is the image view's crop
 * as it was drawn when it was asked for. */
static gboolean
render_region (GstPirlJigsaw * self, GstBuffer * in, const PirlPretextConfig * config,
    const GstPirlRegion * region, const PirlImage * image, PirlPretext * pretext, GstBuffer * out)
{
  gboolean rendered;

  gst_pirl_jigsaw_draw (self, in, config, region->full_width, region->full_height, pretext);
  pretext->image_crop = (PirlBox) { 0, 0, image->width, image->height };
  rendered = render_views (self, config, pretext, image, TRUE, out);
  pretext->image_crop = region->box;
  return rendered;
}

/* The same of a whole picture. */
static gboolean
render_picture (GstPirlJigsaw * self, GstBuffer * in, const PirlPretextConfig * config,
    const PirlImage * image, gboolean image_only, PirlPretext * pretext, GstBuffer * out)
{
  gst_pirl_jigsaw_draw (self, in, config, image->width, image->height, pretext);
  if (self->form == FORM_TENSORS)
    return render_views (self, config, pretext, image, image_only, out);
  return self->form == FORM_FRAMES || render_mosaic (self, config, pretext, image, out);
}

/* Before a picture is decoded, on any thread: where only image views are looked at, their crops are all
 * that is needed. */
static gboolean
answer_crop (GstPirlJigsaw * self, const GstPirlCropRequest * request, GstQuery * query)
{
  PirlPretextConfig config;
  PirlRegion region;
  gboolean started;
  guint64 seed;

  GST_OBJECT_LOCK (self);
  seed = self->seed;
  started = self->set != NULL;
  GST_OBJECT_UNLOCK (self);
  if (!started || !gst_pirl_ask_image_only (GST_BASE_TRANSFORM_SRC_PAD (self)))
    return FALSE;
  gst_pirl_jigsaw_snapshot (self, &config);
  pirl_pretext_draw_image_crop (&config, request->width, request->height, seed, request->epoch,
      request->index, &region.box);
  region.divisor = request->max_divisor >= 2
      && MIN (region.box.width, region.box.height) >= 2 * config.image_size ? 2 : 1;
  gst_pirl_crop_answer (query, &region);
  return TRUE;
}

static gboolean
gst_pirl_jigsaw_query (GstBaseTransform * trans, GstPadDirection direction, GstQuery * query)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);
  GstPirlCropRequest request;

  if (gst_pirl_crop_parse (query, GST_BASE_TRANSFORM_SINK_PAD (self), &request))
    return answer_crop (self, &request, query);
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_jigsaw_parent_class)->query (trans, direction, query);
}

static GstFlowReturn
gst_pirl_jigsaw_transform (GstBaseTransform * trans, GstBuffer * in, GstBuffer * out)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);
  PirlPretextConfig config;
  PirlPretext pretext;
  PirlImage image;
  GstVideoFrame frame;
  GstPirlRegion region;
  const gboolean is_region = gst_pirl_region_get (in, &region);
  const gboolean image_only = self->form == FORM_TENSORS
      && gst_pirl_ask_image_only (GST_BASE_TRANSFORM_SRC_PAD (self));
  gboolean rendered;

  if (gst_buffer_get_size (in) == 0) {
    GST_DEBUG_OBJECT (self, "a buffer without a picture (a gap) has no views");
    return GST_BASE_TRANSFORM_FLOW_DROPPED;
  }
  if (!gst_video_frame_map (&frame, &self->info, in, GST_MAP_READ))
    goto cannot_map;
  image = (PirlImage) {
    .width = GST_VIDEO_FRAME_WIDTH (&frame),.height = GST_VIDEO_FRAME_HEIGHT (&frame),
    .stride = GST_VIDEO_FRAME_PLANE_STRIDE (&frame, 0),
    .data = GST_VIDEO_FRAME_PLANE_DATA (&frame, 0)
  };
  gst_pirl_jigsaw_snapshot (self, &config);
  if (is_region && !(image_only && gst_pirl_region_place (&region, &image))) {
    gst_video_frame_unmap (&frame);
    goto not_all;
  }
  rendered = is_region
      ? render_region (self, in, &config, &region, &image, &pretext, out)
      : render_picture (self, in, &config, &image, image_only, &pretext, out);
  gst_video_frame_unmap (&frame);
  if (!rendered)
    goto cannot_map;
  gst_pirl_pretext_add (out, &config, &pretext);
  return GST_FLOW_OK;

not_all:
  GST_ELEMENT_ERROR (self, STREAM, FORMAT, ("A frame of %dx%d shows only a region of its picture, "
          "decoded for the image view, and both views are wanted of it now; change what follows "
          "pirljigsaw in state READY, and nothing before it", image.width, image.height), (NULL));
  return GST_FLOW_ERROR;

cannot_map:
  GST_ELEMENT_ERROR (self, STREAM, FORMAT, ("A frame of %" G_GSIZE_FORMAT " bytes is no %dx%d RGB "
          "picture, which has %" G_GSIZE_FORMAT, gst_buffer_get_size (in), self->info.width,
          self->info.height, self->info.size), (NULL));
  return GST_FLOW_ERROR;
}

/* ---- class -------------------------------------------------------------------------------- */

static void
install_properties (GObjectClass * klass)
{
  const GParamFlags rw = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;

  /**
   * GstPirlJigsaw:transform:
   *
   * What the second view is.
   */
  g_object_class_install_property (klass, PROP_TRANSFORM,
      g_param_spec_enum ("transform", "Transform", "What the second view is",
          GST_TYPE_PIRL_JIGSAW_TRANSFORM, DEFAULT_TRANSFORM, rw | GST_PARAM_MUTABLE_READY));
  /**
   * GstPirlJigsaw:flip:
   *
   * Mirror the image view, and every picture of the second view for itself, with probability one
   * half, before it is turned.
   */
  g_object_class_install_property (klass, PROP_FLIP,
      g_param_spec_boolean ("flip", "Flip",
          "Mirror the image view and every patch with probability one half", DEFAULT_FLIP,
          rw | GST_PARAM_MUTABLE_PLAYING));
  /**
   * GstPirlJigsaw:seed:
   *
   * All draws depend on this, on the sample's epoch and on its index, and on nothing else.
   */
  g_object_class_install_property (klass, PROP_SEED,
      g_param_spec_uint64 ("seed", "Seed",
          "What all draws depend on, with the sample's epoch and index", 0, G_MAXUINT64,
          DEFAULT_SEED, rw | GST_PARAM_MUTABLE_READY));
  for (guint i = 0; i < G_N_ELEMENTS (integers); i++) {
    const IntegerRow *r = &integers[i];

    g_object_class_install_property (klass, PROP_INTEGERS + i,
        g_param_spec_int (r->name, r->nick, r->blurb, r->minimum, r->maximum, r->value,
            rw | GST_PARAM_MUTABLE_READY));
  }
  for (guint i = 0; i < G_N_ELEMENTS (strengths); i++) {
    const StrengthRow *r = &strengths[i];

    g_object_class_install_property (klass, PROP_STRENGTHS + i,
        g_param_spec_float (r->name, r->nick, r->blurb, 0, r->maximum, r->value,
            rw | GST_PARAM_MUTABLE_PLAYING));
  }
}

static void
gst_pirl_jigsaw_class_init (GstPirlJigsawClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (pirl_jigsaw_debug, "pirljigsaw", 0, "views of a picture for PIRL");

  object_class->set_property = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_set_property);
  object_class->get_property = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_get_property);
  install_properties (object_class);

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "PIRL jigsaw views",
      "Filter/Effect/Video",
      "Makes an augmented view and a view of shuffled patches, or turned, of every picture",
      "The gst-pirl developers");
  gst_type_mark_as_plugin_api (GST_TYPE_PIRL_JIGSAW_TRANSFORM, 0);

  trans_class->start = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_start);
  trans_class->stop = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_stop);
  trans_class->transform_caps = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_transform_caps);
  trans_class->fixate_caps = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_fixate_caps);
  trans_class->set_caps = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_set_caps);
  trans_class->query = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_query);
  trans_class->sink_event = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_sink_event);
  trans_class->propose_allocation = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_propose_allocation);
  trans_class->decide_allocation = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_decide_allocation);
  trans_class->prepare_output_buffer = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_prepare_output);
  trans_class->transform_meta = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_transform_meta);
  trans_class->transform = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_transform);
}

static void
gst_pirl_jigsaw_init (GstPirlJigsaw * self)
{
  self->transform = DEFAULT_TRANSFORM;
  self->seed = DEFAULT_SEED;
  self->strengths.flip = DEFAULT_FLIP;
  for (guint i = 0; i < G_N_ELEMENTS (integers); i++)
    G_STRUCT_MEMBER (gint, &self->geometry, integers[i].offset) = integers[i].value;
  for (guint i = 0; i < G_N_ELEMENTS (strengths); i++)
    G_STRUCT_MEMBER (gfloat, &self->strengths, strengths[i].offset) = strengths[i].value;
  gst_base_transform_set_qos_enabled (GST_BASE_TRANSFORM (self), FALSE);
}
