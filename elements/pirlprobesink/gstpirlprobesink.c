/* gst-pirl: pirlprobesink, how good are the features that flow into it?
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/**
 * SECTION:element-pirlprobesink
 * @title: pirlprobesink
 *
 * Trains simple models on frozen features of a network and judges them: the usual answer to whether
 * a representation is any good. Samples come from `pirldatasetsrc`, their features from
 * `pirlembed`: as tensors, one a layer, or as frames with the meta `pirl-embedding`. Samples of the
 * split `train` are learnt from, those of `test` are judged; each layer is probed by itself.
 *
 * - `linear`: batch norm and a linear layer; 28 epochs, Nesterov's momentum .9, weight decay 5e-4,
 *   learning rate .01 falling three times to a tenth (VISSL's protocol). Batch norm of a map is
 *   over all of its places. Features are computed once: without the protocol's crops and flips in
 *   training.
 * - `knn`: the 200 most similar training samples vote with exp (cosine / .1).
 * - `svm`: one linear SVM a class against all others, C by cross-validation, as is usual for VOC07.
 *
 * Single labels give top-1, top-5 and the mean of the classes' top-1 (`balanced`), each with its 95
 * % interval, by bootstrap over the test samples. Of equal scores the class with the larger number
 * stands first, as in scikit-learn's top_k_accuracy_score. Several labels a sample
 * (#GstPirlProbeSink:labels-file), and `svm` always, give the mean average precision (area under
 * the interpolated curve).
 *
 * The stream's end waits until all probes are done; they train on a thread of their own. Pausing
 * takes effect after a step, stopping ends them within one; a step is a batch, some queries, or one
 * SVM. Only the first epoch of the stream is used. With #GstPirlProbeSink:cache-file features are
 * kept for another probe of the same stream.
 *
 * ## Published data sets
 *
 * The tables of the paper are made with `layer=res1-9k,res2-9k,res3-9k,res4-9k,res5-9k` of pirlembed
 * and pirldatasetsrc reading one of these; `make-list.py` is in `pipelines`.
 *
 * - ImageNet, folders `imagenet/train/nXXXXXXXX` and `imagenet/val/nXXXXXXXX`: `location=imagenet
 *   labels=folder`, and here as it is; 1 and 10 % of the labels: #GstPirlProbeSink:train-fraction,
 *   or `fraction` of pirldatasetsrc before `pirltrainsink objective=supervised`.
 * - VOC07, folder `VOCdevkit/VOC2007`: `make-list.py voc07 VOCdevkit/VOC2007 > voc07.txt`,
 *   `location=voc07.txt`, and here `probe=svm labels-file=voc07.txt`.
 * - Places205, a folder with `trainvalsplit_places205/train_places205.csv`, `val_places205.csv` and
 *   the pictures in `images256`: `make-list.py places205 FOLDER > places205.txt`,
 *   `location=places205.txt`, and here `epochs=14`.
 * - iNaturalist 2018, a folder with `train2018.json`, `val2018.json` and `train_val2018`:
 *   `make-list.py inat18 FOLDER > inat18.txt`, `location=inat18.txt`, and here `epochs=84`.
 *
 * ## Messages
 *
 * - Element message `pirl-probe` for each layer and probe: `layer`, `probe` (string), of those that
 *   there are `top1`, `top5`, `balanced`, `map` with `top1-low`, `top1-high` and so on (double,
 *   parts of 1), `n-train`, `n-test` (uint64), `seconds` (double).
 * - Progress messages with the code `probe`.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 -m pirldatasetsrc location=imagenette labels=folder ! pirlembed model-file=resnet50.safetensors layer=features ! pirlprobesink probe=linear,knn
 * ]| How well do a network's features tell the classes of a folder apart?
 * |[
 * gst-launch-1.0 -m pirldatasetsrc location=voc07.txt size=224 ! pirlembed model-file=resnet50.safetensors layer=res4-9k,res5-9k ! pirlprobesink probe=svm labels-file=voc07.txt report-file=voc07.json
 * ]| Pictures that show several things.
 */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "common.h"
#include "meta.h"
#include "probing.h"
#include "settings.h"

#include <gst/base/gstbasesink.h>

GST_DEBUG_CATEGORY (gst_pirl_probe_sink_debug);
#define GST_CAT_DEFAULT gst_pirl_probe_sink_debug

#define GST_TYPE_PIRL_PROBE_SINK (gst_pirl_probe_sink_get_type ())
G_DECLARE_FINAL_TYPE (GstPirlProbeSink, gst_pirl_probe_sink, GST, PIRL_PROBE_SINK, GstBaseSink)

struct _GstPirlProbeSink
{
  GstBaseSink parent;

  /* With the object lock. */
  GstPirlProbeSettings settings;
  GstPirlProbing *probing;      /* from READY to PAUSED to READY */
  GstStructure *last_stats;     /* of the one before */

  gboolean refused;             /* a sample or caps: upstream may try again */
};

static guint prop_stats;

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS,
    GST_STATIC_CAPS ("other/tensors, format = (string) static, num_tensors = (int) [ 1, 16 ], "
        "framerate = (fraction) [ 0/1, 2147483647/1 ]; video/x-raw(ANY)"));

#define gst_pirl_probe_sink_parent_class parent_class
G_DEFINE_TYPE (GstPirlProbeSink, gst_pirl_probe_sink, GST_TYPE_BASE_SINK);
GST_ELEMENT_REGISTER_DEFINE (pirlprobesink, "pirlprobesink", GST_RANK_NONE,
    GST_TYPE_PIRL_PROBE_SINK);

/* ---- object ------------------------------------------------------------------------------- */

static GstStructure *
get_stats (GstPirlProbeSink * self)
{
  GstStructure *stats;

  GST_OBJECT_LOCK (self);
  if (self->probing)
    stats = gst_pirl_probing_stats (self->probing);
  else if (self->last_stats)
    stats = gst_structure_copy (self->last_stats);
  else
    stats = gst_pirl_probing_no_stats ();
  GST_OBJECT_UNLOCK (self);
  return stats;
}

static void
gst_pirl_probe_sink_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec)
{
  gst_pirl_properties_set (&gst_pirl_probe_properties, object,
      &GST_PIRL_PROBE_SINK (object)->settings, id, value, pspec);
}

static void
gst_pirl_probe_sink_get_property (GObject * object, guint id, GValue * value, GParamSpec * pspec)
{
  GstPirlProbeSink *self = GST_PIRL_PROBE_SINK (object);

  if (id == prop_stats)
    g_value_take_boxed (value, get_stats (self));
  else
    gst_pirl_properties_get (&gst_pirl_probe_properties, object, &self->settings, id, value, pspec);
}

static void
gst_pirl_probe_sink_finalize (GObject * object)
{
  GstPirlProbeSink *self = GST_PIRL_PROBE_SINK (object);

  g_clear_pointer (&self->probing, gst_pirl_probing_free);
  g_clear_pointer (&self->last_stats, gst_structure_free);
  gst_pirl_properties_clear (&gst_pirl_probe_properties, &self->settings);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

/* ---- stream ---------------------------------------------------------------------------------- */

/* Posts @error, once. */
static void
refuse (GstPirlProbeSink * self, GError * error)
{
  if (self->refused)
    g_clear_error (&error);
  else
    gst_pirl_post_error (GST_ELEMENT (self), &error);
  self->refused = TRUE;
}

static gboolean
gst_pirl_probe_sink_set_caps (GstBaseSink * sink, GstCaps * caps)
{
  GstPirlProbeSink *self = GST_PIRL_PROBE_SINK (sink);
  GstPirlFeatureCaps features = { 0 };
  GError *error = NULL;
  gchar *reason = NULL;

  if (gst_structure_has_name (gst_caps_get_structure (caps, 0), "other/tensors")) {
    features.count = gst_pirl_features_caps_parse (caps, features.tensors, &reason);
    if (features.count == 0) {
      GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s", reason), (NULL));
      g_free (reason);
      return FALSE;
    }
  }
  if (gst_pirl_probing_set_caps (self->probing, &features, &error))
    return TRUE;
  refuse (self, error);
  return FALSE;
}

static GstFlowReturn
gst_pirl_probe_sink_render (GstBaseSink * sink, GstBuffer * buffer)
{
  GstPirlProbeSink *self = GST_PIRL_PROBE_SINK (sink);
  GError *error = NULL;
  GstFlowReturn ret;

  if (GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP) && gst_buffer_get_size (buffer) == 0)
    return GST_FLOW_OK;
  ret = gst_pirl_probing_push (self->probing, buffer, &error);
  if (error != NULL)
    refuse (self, error);
  return ret;
}

/* Called with the preroll lock, once the element plays: what interrupts a render interrupts
 * this. */
static GstFlowReturn
gst_pirl_probe_sink_wait_event (GstBaseSink * sink, GstEvent * event)
{
  GstPirlProbeSink *self = GST_PIRL_PROBE_SINK (sink);
  GstFlowReturn ret = GST_BASE_SINK_CLASS (parent_class)->wait_event (sink, event);

  if (ret != GST_FLOW_OK || GST_EVENT_TYPE (event) != GST_EVENT_EOS || self->refused)
    return ret;
  while ((ret = gst_pirl_probing_drain (self->probing)) == GST_PIRL_FLOW_UNLOCKED) {
    ret = gst_base_sink_wait_preroll (sink);
    if (ret != GST_FLOW_OK)
      break;
  }
  return ret;
}

static gboolean
gst_pirl_probe_sink_event (GstBaseSink * sink, GstEvent * event)
{
  GstPirlProbeSink *self = GST_PIRL_PROBE_SINK (sink);
  GstPirlDataset dataset;

  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP) {
    gst_pirl_probing_flush (self->probing);
    self->refused = FALSE;
  } else if (gst_pirl_dataset_parse (event, &dataset)) {
    gst_pirl_probing_set_dataset (self->probing, &dataset);
    gst_pirl_dataset_clear (&dataset);
  }
  return GST_BASE_SINK_CLASS (parent_class)->event (sink, event);
}

static gboolean
gst_pirl_probe_sink_unlock (GstBaseSink * sink)
{
  gst_pirl_probing_unlock (GST_PIRL_PROBE_SINK (sink)->probing);
  return TRUE;
}

static gboolean
gst_pirl_probe_sink_unlock_stop (GstBaseSink * sink)
{
  gst_pirl_probing_unlock_stop (GST_PIRL_PROBE_SINK (sink)->probing);
  return TRUE;
}

/* ---- states ---------------------------------------------------------------------------------- */

static gboolean
begin_probing (GstPirlProbeSink * self)
{
  GstPirlProbeSettings settings;
  GstPirlProbing *probing;
  GError *error = NULL;

  GST_OBJECT_LOCK (self);
  gst_pirl_properties_copy (&gst_pirl_probe_properties, &settings, &self->settings);
  GST_OBJECT_UNLOCK (self);
  probing = gst_pirl_probing_new (GST_ELEMENT (self), &settings, &error);
  gst_pirl_properties_clear (&gst_pirl_probe_properties, &settings);
  if (probing == NULL) {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return FALSE;
  }
  self->refused = FALSE;
  GST_OBJECT_LOCK (self);
  self->probing = probing;
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

/* No data flow any more. A probe under way posts messages, so the object lock is not held while it
 * ends. */
static void
end_probing (GstPirlProbeSink * self)
{
  GstPirlProbing *probing = self->probing;
  GstStructure *stats;

  if (probing == NULL)
    return;
  stats = gst_pirl_probing_stats (probing);
  GST_OBJECT_LOCK (self);
  self->probing = NULL;
  g_clear_pointer (&self->last_stats, gst_structure_free);
  self->last_stats = stats;
  GST_OBJECT_UNLOCK (self);
  gst_pirl_probing_free (probing);
}

static GstStateChangeReturn
gst_pirl_probe_sink_change_state (GstElement * element, GstStateChange transition)
{
  GstPirlProbeSink *self = GST_PIRL_PROBE_SINK (element);
  GstStateChangeReturn ret;

  switch (transition) {
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      if (!begin_probing (self))
        return GST_STATE_CHANGE_FAILURE;
      break;
    case GST_STATE_CHANGE_PAUSED_TO_PLAYING:
      gst_pirl_probing_play (self->probing, TRUE);
      break;
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      gst_pirl_probing_play (self->probing, FALSE);
      break;
    default:
      break;
  }
  ret = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY
      || (transition == GST_STATE_CHANGE_READY_TO_PAUSED && ret == GST_STATE_CHANGE_FAILURE))
    end_probing (self);
  return ret;
}

/* ---- class ----------------------------------------------------------------------------------- */

static void
gst_pirl_probe_sink_class_init (GstPirlProbeSinkClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseSinkClass *sink_class = GST_BASE_SINK_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_pirl_probe_sink_debug, "pirlprobesink", 0, "probes of features");
  object_class->set_property = gst_pirl_probe_sink_set_property;
  object_class->get_property = gst_pirl_probe_sink_get_property;
  object_class->finalize = gst_pirl_probe_sink_finalize;

  prop_stats = gst_pirl_properties_install (&gst_pirl_probe_properties, object_class);
  /**
   * GstPirlProbeSink:stats:
   *
   * `application/x-pirl-probe-stats`: `state` (string: stopped, collecting, probing, done, failed),
   * the samples `received`, of those kept `train` and `test`, and left out `unlabelled`, `repeated`
   * (of later epochs) and `stale` (frames with the features of an earlier one) (uint64), `reused`
   * (boolean: the features are those of cache-file).
   */
  g_object_class_install_property (object_class, prop_stats,
      g_param_spec_boxed ("stats", "Statistics",
          "Where the probe stands (application/x-pirl-probe-stats)", GST_TYPE_STRUCTURE,
          G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));

  gst_element_class_set_static_metadata (element_class, "PIRL probe sink", "Sink/Analyzer/Video",
      "Trains simple classifiers on a network's features and says how good these are",
      "The gst-pirl developers");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_pirl_probe_sink_change_state);

  sink_class->set_caps = GST_DEBUG_FUNCPTR (gst_pirl_probe_sink_set_caps);
  sink_class->render = GST_DEBUG_FUNCPTR (gst_pirl_probe_sink_render);
  sink_class->wait_event = GST_DEBUG_FUNCPTR (gst_pirl_probe_sink_wait_event);
  sink_class->event = GST_DEBUG_FUNCPTR (gst_pirl_probe_sink_event);
  sink_class->unlock = GST_DEBUG_FUNCPTR (gst_pirl_probe_sink_unlock);
  sink_class->unlock_stop = GST_DEBUG_FUNCPTR (gst_pirl_probe_sink_unlock_stop);
}

static void
gst_pirl_probe_sink_init (GstPirlProbeSink * self)
{
  gst_pirl_properties_init (&gst_pirl_probe_properties, &self->settings);
  /* Every sample counts, and none has an hour. */
  gst_base_sink_set_sync (GST_BASE_SINK (self), FALSE);
  gst_base_sink_set_qos_enabled (GST_BASE_SINK (self), FALSE);
  gst_base_sink_set_last_sample_enabled (GST_BASE_SINK (self), FALSE);
}
