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
#include "jigsawbuffers.h"
#include "meta.h"
#include "settings.h"

#include <gst/base/gstbasetransform.h>

GST_DEBUG_CATEGORY_STATIC (pirl_jigsaw_debug);
#define GST_CAT_DEFAULT pirl_jigsaw_debug

#define GST_TYPE_PIRL_JIGSAW (gst_pirl_jigsaw_get_type ())
G_DECLARE_FINAL_TYPE (GstPirlJigsaw, gst_pirl_jigsaw, GST, PIRL_JIGSAW, GstBaseTransform)

struct _GstPirlJigsaw {
  GstBaseTransform parent;

  GstPirlJigsawSettings settings;       /* under the object lock */

  /* From start() to stop(); written with the object lock. */
  PirlPretextConfig running;    /* the geometry in use */
  gint permutation;             /* in use; -1 = one is drawn */
  PirlPermutations *set;        /* NULL = not started */

  /* Streaming thread. */
  GstVideoInfo info;            /* of the input */
  gboolean configured;          /* @info and @form stand */
  JigsawForm form;
  GstVideoInfo mosaic;
  guint64 frames;               /* frames without a number of their own so far */
  PirlRenderer *renderer;       /* from the first caps that need one to stop() */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (JIGSAW_SINK_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (JIGSAW_SRC_CAPS));

G_DEFINE_FINAL_TYPE (GstPirlJigsaw, gst_pirl_jigsaw, GST_TYPE_BASE_TRANSFORM)
GST_ELEMENT_REGISTER_DEFINE (pirljigsaw, "pirljigsaw", GST_RANK_NONE, GST_TYPE_PIRL_JIGSAW)

/* ---- settings ----------------------------------------------------------------------------- */

/* The settings that a frame is drawn with: the geometry that start() fixed (before: as set) and the
 * strengths of this moment. */
static void
gst_pirl_jigsaw_snapshot (GstPirlJigsaw * self, PirlPretextConfig * config)
{
  GST_OBJECT_LOCK (self);
  if (self->set != NULL) {
    *config = self->running;
    gst_pirl_jigsaw_settings_strengths (&self->settings, config);
  } else {
    gst_pirl_jigsaw_settings_config (&self->settings, config);
  }
  GST_OBJECT_UNLOCK (self);
}

static void
gst_pirl_jigsaw_set_property (GObject * object, guint id, const GValue * value, GParamSpec * pspec)
{
  gst_pirl_properties_set (&gst_pirl_jigsaw_properties, object,
      &GST_PIRL_JIGSAW (object)->settings, id, value, pspec);
}

static void
gst_pirl_jigsaw_get_property (GObject * object, guint id, GValue * value, GParamSpec * pspec)
{
  gst_pirl_properties_get (&gst_pirl_jigsaw_properties, object,
      &GST_PIRL_JIGSAW (object)->settings, id, value, pspec);
}

/* ---- states ------------------------------------------------------------------------------- */

static gboolean
gst_pirl_jigsaw_start (GstBaseTransform * trans)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);
  GstPirlJigsawSettings settings;
  PirlPretextConfig config;
  PirlPermutations *set = NULL;
  gint permutation;
  GError *error = NULL;

  GST_OBJECT_LOCK (self);
  settings = self->settings;
  GST_OBJECT_UNLOCK (self);
  gst_pirl_jigsaw_settings_config (&settings, &config);
  if (pirl_pretext_config_check (&config, &error))
    set = gst_pirl_jigsaw_settings_permutations (&settings, &config, &permutation, &error);
  if (set == NULL) {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return FALSE;
  }

  GST_OBJECT_LOCK (self);
  self->running = config;
  self->permutation = permutation;
  self->set = set;
  GST_OBJECT_UNLOCK (self);
  self->frames = 0;
  self->configured = FALSE;
  GST_INFO_OBJECT (self, "image view %d px, transform %s: %dx%d of %d px from %d px",
      config.image_size, pirl_transform_name (config.transform), config.grid, config.grid,
      config.patch_size, config.crop_size);
  return TRUE;
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
  self->configured = FALSE;
  return TRUE;
}

/* ---- negotiation -------------------------------------------------------------------------- */

/* Size of the set of permutations that is in use, or will be. */
static gint
permutations_of (GstPirlJigsaw * self, const PirlPretextConfig * config)
{
  gint permutations;

  GST_OBJECT_LOCK (self);
  permutations = self->set != NULL ? (gint) pirl_permutations_count (self->set)
      : self->settings.permutations;
  GST_OBJECT_UNLOCK (self);
  return pirl_transform_is_whole (config->transform) ? 0 : permutations;
}

/* @first: our preferences begin there. */
static GstCaps *
caps_for_src (GstPirlJigsaw * self, const GstCaps * caps, JigsawForm first)
{
  PirlPretextConfig config;

  gst_pirl_jigsaw_snapshot (self, &config);
  return jigsaw_caps_for_src (caps, &config, permutations_of (self, &config), first);
}

static GstCaps *
gst_pirl_jigsaw_transform_caps (GstBaseTransform * trans, GstPadDirection direction,
    GstCaps * caps, GstCaps * filter)
{
  GstCaps *result = direction == GST_PAD_SINK
      ? caps_for_src (GST_PIRL_JIGSAW (trans), caps, JIGSAW_FRAMES) : jigsaw_caps_for_sink (caps);

  return gst_pirl_filter_caps (result, filter);
}

/* Whether downstream knows what to do with untouched frames. */
static gboolean
downstream_renders (GstPirlJigsaw * self)
{
  GstCaps *caps = gst_pad_peer_query_caps (GST_BASE_TRANSFORM_SRC_PAD (self), NULL);
  gboolean renders = jigsaw_caps_name_frames (caps);

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
  own = caps_for_src (self, caps, downstream_renders (self) ? JIGSAW_FRAMES : JIGSAW_TENSORS);
  choice = gst_caps_intersect_full (own, othercaps, GST_CAPS_INTERSECT_FIRST);
  if (gst_caps_is_empty (choice)) {
    /* Nothing is linked: the base class offers the input's caps. */
    gst_caps_replace (&choice, own);
  }
  gst_caps_unref (own);
  gst_caps_unref (othercaps);
  return gst_caps_fixate (choice);
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
  n_threads = gst_pirl_jigsaw_settings_threads (&self->settings);
  GST_OBJECT_UNLOCK (self);
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
  self->form = jigsaw_caps_form (outcaps);
  if (self->form == JIGSAW_MOSAIC && !gst_video_info_from_caps (&self->mosaic, outcaps))
    goto unknown_caps;
  if (self->form != JIGSAW_FRAMES && !gst_pirl_jigsaw_start_renderer (self))
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

static GstFlowReturn
gst_pirl_jigsaw_prepare_output (GstBaseTransform * trans, GstBuffer * in, GstBuffer ** out)
{
  GstPirlJigsaw *self = GST_PIRL_JIGSAW (trans);

  if (self->form == JIGSAW_FRAMES) {
    *out = jigsaw_frame_new (in, &self->info);
    return GST_FLOW_OK;
  }
  *out = self->form == JIGSAW_TENSORS ? jigsaw_tensors_new (&self->running)
      : jigsaw_mosaic_new (&self->mosaic);
  GST_BASE_TRANSFORM_GET_CLASS (trans)->copy_metadata (trans, in, *out);
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

static void
gst_pirl_jigsaw_draw (GstPirlJigsaw * self, GstBuffer * in, const PirlPretextConfig * config,
    gint width, gint height, PirlPretext * pretext)
{
  GstPirlSample sample;
  guint64 seed;

  GST_OBJECT_LOCK (self);
  seed = self->settings.seed;
  GST_OBJECT_UNLOCK (self);
  if (!gst_pirl_sample_get (in, &sample)) {
    sample.epoch = 0;
    sample.index = self->frames++;
  }
  pirl_pretext_draw (config, self->set, self->permutation, width, height, seed, sample.epoch,
      sample.index, pretext);
}

/* Draws for the picture of which @image shows @region, and renders: the region is the image view's
 * crop as it was drawn when it was asked for. */
static gboolean
render_region (GstPirlJigsaw * self, GstBuffer * in, const PirlPretextConfig * config,
    const GstPirlRegion * region, const PirlImage * image, PirlPretext * pretext, GstBuffer * out)
{
  gboolean rendered;

  gst_pirl_jigsaw_draw (self, in, config, region->full_width, region->full_height, pretext);
  pretext->image_crop = (PirlBox) { 0, 0, image->width, image->height };
  rendered = jigsaw_tensors_render (out, self->renderer, config, pretext, image, TRUE);
  pretext->image_crop = region->box;
  return rendered;
}

/* The same of a whole picture. */
static gboolean
render_picture (GstPirlJigsaw * self, GstBuffer * in, const PirlPretextConfig * config,
    const PirlImage * image, gboolean image_only, PirlPretext * pretext, GstBuffer * out)
{
  gst_pirl_jigsaw_draw (self, in, config, image->width, image->height, pretext);
  if (self->form == JIGSAW_TENSORS)
    return jigsaw_tensors_render (out, self->renderer, config, pretext, image, image_only);
  return self->form == JIGSAW_FRAMES
      || jigsaw_mosaic_render (out, &self->mosaic, self->renderer, config, pretext, image);
}

/* Before a picture is decoded, on any thread: where only image views are looked at, their crops are
 * all that is needed. */
static gboolean
answer_crop (GstPirlJigsaw * self, const GstPirlCropRequest * request, GstQuery * query)
{
  PirlPretextConfig config;
  PirlRegion region;
  gboolean started;
  guint64 seed;

  GST_OBJECT_LOCK (self);
  seed = self->settings.seed;
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
  const gboolean image_only = self->form == JIGSAW_TENSORS
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
gst_pirl_jigsaw_class_init (GstPirlJigsawClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (pirl_jigsaw_debug, "pirljigsaw", 0, "views of a picture for PIRL");

  object_class->set_property = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_set_property);
  object_class->get_property = GST_DEBUG_FUNCPTR (gst_pirl_jigsaw_get_property);
  gst_pirl_properties_install (&gst_pirl_jigsaw_properties, object_class);

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "PIRL jigsaw views",
      "Filter/Effect/Video",
      "Makes two views of every picture: an augmented crop, and shuffled patches or a turned picture",
      "The gst-pirl developers");

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
  gst_pirl_properties_init (&gst_pirl_jigsaw_properties, &self->settings);
  gst_base_transform_set_qos_enabled (GST_BASE_TRANSFORM (self), FALSE);
}
