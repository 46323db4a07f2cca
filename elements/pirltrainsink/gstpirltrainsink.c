/* gst-pirl: pirltrainsink, a network that learns from what flows into it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/**
 * SECTION:element-pirltrainsink
 * @title: pirltrainsink
 *
 * Trains a ResNet or a MobileNetV2 without labels (PIRL, Misra and van der Maaten 2020): a picture
 * and its jigsaw-shuffled or turned self shall get the same embedding, other pictures a different
 * one. #GstPirlTrainSink:objective has others to compare with: what others call NPID, MoCo, Jigsaw
 * and RotNet, and labels. The two views come from `pirljigsaw`; the samples from `pirldatasetsrc`,
 * or from any video, a camera's too. Which `transform` of pirljigsaw an objective needs is checked
 * when the stream begins.
 *
 * On a device that renders (a GPU) the sink takes frames with the meta `pirl-pretext` in place of
 * rendered views, `video/x-raw(meta:PirlPretext)`, which `pirljigsaw` then sends by itself: they
 * travel to the device while it trains, and it makes the views, with the same pixels.
 *
 * The training runs on a thread of its own behind a queue of two batches. EOS waits until what came
 * before it has been trained and saved. Pausing and stopping take effect within a step; stopping
 * saves as well, so that an interrupted run goes on with `resume=true`, bit for bit.
 *
 * ## Messages
 *
 * Element messages, when #GstPirlTrainSink:post-messages is set:
 *
 * - `pirl-training`, each #GstPirlTrainSink:interval and at the end: `step` and `steps` (uint64;
 *   done, and of the whole run, 0 when not known), `epoch` (uint64), `loss`, `loss-image` and
 *   `loss-patches` (double), `lr` (double), `images-per-second` (double, 0 when not known yet), `eta`
 *   (double, seconds, -1 when not known), `z` (double, of the NCE loss), `spread` (double, 0 =
 *   all embeddings of the batch are one), `positive` and `positive-patches` (double, mean cosine
 *   with the own row of the memory bank), `knn-accuracy` (double, of the memory bank, leave one
 *   out; only once it is known, which needs labels), `accuracy` (double, share of the batch that
 *   was classified rightly; with objective=supervised, jigsaw and rotation only), `near` (double,
 *   share of the negatives beyond near-threshold; only where that is set), `loss-scale` (double) and
 *   `skipped`
 *   (uint64, steps so far whose gradients were beyond fp16 and left out); with fp16 only.
 * - `pirl-epoch`, after each epoch, whole or not: `epoch`, `steps`, `samples` trained, `dropped` of
 *   the remainder that made no batch (uint64), mean `loss` (double), `knn-accuracy`,
 *   mean `accuracy`.
 * - `pirl-checkpoint`, after each save: `file` (string), `step` (uint64).
 *
 * Besides, progress messages with the code `training`.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 pirldatasetsrc location="synthetic:shapes?count=512&classes=4&size=64" epochs=4 ! pirljigsaw image-size=32 ! pirltrainsink arch=resnet18 base-width=16 batch-size=32 checkpoint-file=shapes.safetensors
 * ]| Learns from 512 generated pictures.
 * |[
 * gst-launch-1.0 pirldatasetsrc location=photos epochs=100 ! pirljigsaw ! pirltrainsink checkpoint-file=photos.safetensors resume=true
 * ]| Learns from a folder of pictures; run again after an interruption, it goes on.
 * |[
 * gst-launch-1.0 pirldatasetsrc location="synthetic:shapes?count=512&classes=4&size=64" epochs=4 ! pirljigsaw image-size=64 ! pirltrainsink objective=supervised arch=mobilenetv2 width=0.35 optimizer=adam batch-size=32 checkpoint-file=classifier.safetensors
 * ]| Learns to tell the four classes of generated pictures apart.
 * |[
 * gst-launch-1.0 pirldatasetsrc location="synthetic:shapes?count=512&classes=4&size=64" epochs=4 ! pirljigsaw image-size=32 transform=rotation ! pirltrainsink objective=rotation arch=resnet18 base-width=16 batch-size=32 checkpoint-file=rotnet.safetensors
 * ]| Learns to tell by how much a picture is turned.
 * |[
 * gst-launch-1.0 videotestsrc num-buffers=2000 pattern=ball ! videoconvert ! pirljigsaw image-size=64 ! pirltrainsink arch=resnet18 batch-size=16 bank-size=1024 max-steps=100 checkpoint-file=camera.safetensors
 * ]| Learns from video, as from a camera.
 */

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "common.h"
#include "crop.h"
#include "meta.h"
#include "pretext.h"
#include "settings.h"
#include "training.h"

#include <gst/base/gstbasesink.h>

GST_DEBUG_CATEGORY (gst_pirl_train_sink_debug);
#define GST_CAT_DEFAULT gst_pirl_train_sink_debug

#define GST_TYPE_PIRL_TRAIN_SINK (gst_pirl_train_sink_get_type ())
G_DECLARE_FINAL_TYPE (GstPirlTrainSink, gst_pirl_train_sink, GST, PIRL_TRAIN_SINK, GstBaseSink)

struct _GstPirlTrainSink
{
  GstBaseSink parent;

  /* With the object lock. */
  GstPirlTrainSettings settings;
  GstPirlTraining *training;    /* from READY to PAUSED to READY */
  GstStructure *last_stats;     /* of the training before */

  gboolean renders;             /* the device renders views; from READY to PAUSED to READY */

  gboolean refused;             /* an event: it comes again before each buffer */
  GstPirlViews views;           /* as the caps say; of frames, each says the sizes by itself */
};

enum
{
  SIGNAL_SAVE_CHECKPOINT,
  N_SIGNALS
};

static guint signals[N_SIGNALS];
static guint prop_training_stats;

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink",
    GST_PAD_SINK, GST_PAD_ALWAYS,
    GST_STATIC_CAPS (GST_PIRL_FRAMES_CAPS ", framerate = (fraction) [ 0/1, 2147483647/1 ]; "
        "other/tensors, format = (string) static, num_tensors = (int) 2, "
        "types = (string) \"uint8,uint8\", framerate = (fraction) [ 0/1, 2147483647/1 ]"));

#define gst_pirl_train_sink_parent_class parent_class
G_DEFINE_TYPE (GstPirlTrainSink, gst_pirl_train_sink, GST_TYPE_BASE_SINK);
GST_ELEMENT_REGISTER_DEFINE (pirltrainsink, "pirltrainsink", GST_RANK_NONE,
    GST_TYPE_PIRL_TRAIN_SINK);

/* ---- object ------------------------------------------------------------------------------- */

static GstStructure *
get_stats (GstPirlTrainSink * self)
{
  GstStructure *stats;

  GST_OBJECT_LOCK (self);
  if (self->training)
    stats = gst_pirl_training_stats (self->training);
  else if (self->last_stats)
    stats = gst_structure_copy (self->last_stats);
  else
    stats = gst_pirl_training_no_stats ();
  GST_OBJECT_UNLOCK (self);
  return stats;
}

static void
gst_pirl_train_sink_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec)
{
  gst_pirl_properties_set (&gst_pirl_train_properties, object,
      &GST_PIRL_TRAIN_SINK (object)->settings, id, value, pspec);
}

static void
gst_pirl_train_sink_get_property (GObject * object, guint id, GValue * value, GParamSpec * pspec)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (object);

  if (id == prop_training_stats)
    g_value_take_boxed (value, get_stats (self));
  else
    gst_pirl_properties_get (&gst_pirl_train_properties, object, &self->settings, id, value, pspec);
}

static gboolean
gst_pirl_train_sink_save_checkpoint (GstPirlTrainSink * self)
{
  gboolean ok;

  GST_OBJECT_LOCK (self);
  ok = self->training && gst_pirl_training_save_soon (self->training);
  GST_OBJECT_UNLOCK (self);
  return ok;
}

static void
gst_pirl_train_sink_finalize (GObject * object)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (object);

  g_clear_pointer (&self->training, gst_pirl_training_free);
  g_clear_pointer (&self->last_stats, gst_structure_free);
  gst_pirl_properties_clear (&gst_pirl_train_properties, &self->settings);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

/* ---- negotiation --------------------------------------------------------------------------- */

/* Posts @error, once; FALSE, to be returned. */
static gboolean
refuse (GstPirlTrainSink * self, GError * error)
{
  if (self->refused)
    g_clear_error (&error);
  else
    gst_pirl_post_error (GST_ELEMENT (self), &error);
  self->refused = TRUE;
  return FALSE;
}

/* Frames first, where the device renders; else rendered views only. Before it is known which device
 * it will be, both. */
static GstCaps *
gst_pirl_train_sink_get_caps (GstBaseSink * sink, GstCaps * filter)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (sink);
  GstCaps *caps = gst_pad_get_pad_template_caps (GST_BASE_SINK_PAD (sink));
  gboolean only_views;

  GST_OBJECT_LOCK (self);
  only_views = self->training != NULL && !self->renders;
  GST_OBJECT_UNLOCK (self);
  if (only_views) {
    caps = gst_caps_make_writable (caps);
    gst_caps_remove_structure (caps, 0);
  }
  return gst_pirl_filter_caps (caps, filter);
}

/* The caps of frames do not say how large the views will be: each frame's meta does. */
static gboolean
take_frame (GstPirlTrainSink * self, GstBuffer * buffer)
{
  GstPirlViews views = self->views;
  GError *error = NULL;

  return !views.frames || (gst_pirl_pretext_get_sizes (buffer, &views, &error)
      && gst_pirl_training_set_views (self->training, &views, &error)) || refuse (self, error);
}

static gboolean
gst_pirl_train_sink_set_caps (GstBaseSink * sink, GstCaps * caps)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (sink);
  GError *error = NULL;
  gchar *reason = NULL;

  if (!gst_pirl_views_caps_parse (caps, &self->views, &reason)) {
    GST_ELEMENT_ERROR (self, STREAM, WRONG_TYPE, ("%s", reason), (NULL));
    g_free (reason);
    return FALSE;
  }
  if (!(self->views.frames ? gst_pirl_training_check_views : gst_pirl_training_set_views)
      (self->training, &self->views, &error))
    return refuse (self, error);
  return TRUE;
}

/* ---- buffers ------------------------------------------------------------------------------- */

static gboolean
is_gap (GstBuffer * buffer)
{
  return GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP) && gst_buffer_get_size (buffer) == 0;
}

/* The buffer comes again, to render; what takes long may begin now. */
static GstFlowReturn
gst_pirl_train_sink_preroll (GstBaseSink * sink, GstBuffer * buffer)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (sink);

  if (!is_gap (buffer) && !take_frame (self, buffer))
    return GST_FLOW_ERROR;
  gst_pirl_training_prepare (self->training);
  return GST_FLOW_OK;
}

static GstFlowReturn
gst_pirl_train_sink_render (GstBaseSink * sink, GstBuffer * buffer)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (sink);
  GstFlowReturn ret;

  if (is_gap (buffer))
    return GST_FLOW_OK;
  if (!take_frame (self, buffer))
    return GST_FLOW_ERROR;
  while ((ret = gst_pirl_training_push (self->training, buffer)) == GST_PIRL_FLOW_UNLOCKED) {
    ret = gst_base_sink_wait_preroll (sink);
    if (ret != GST_FLOW_OK)
      break;
  }
  return ret;
}

/* ---- events and queries ---------------------------------------------------------------------- */

/* Called with the preroll lock, once the element plays: what interrupts a render interrupts this. */
static GstFlowReturn
gst_pirl_train_sink_wait_event (GstBaseSink * sink, GstEvent * event)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (sink);
  GstFlowReturn ret = GST_BASE_SINK_CLASS (parent_class)->wait_event (sink, event);

  if (ret != GST_FLOW_OK || GST_EVENT_TYPE (event) != GST_EVENT_EOS)
    return ret;
  while ((ret = gst_pirl_training_drain (self->training)) == GST_PIRL_FLOW_UNLOCKED) {
    ret = gst_base_sink_wait_preroll (sink);
    if (ret != GST_FLOW_OK)
      break;
  }
  return ret;
}

static gboolean
take_dataset (GstPirlTrainSink * self, GstEvent * event)
{
  GstPirlDataset dataset;
  GError *error = NULL;
  gboolean ok;

  if (!gst_pirl_dataset_parse (event, &dataset))
    return TRUE;
  ok = gst_pirl_training_set_dataset (self->training, &dataset, &error);
  gst_pirl_dataset_clear (&dataset);
  return ok || refuse (self, error);
}

static gboolean
gst_pirl_train_sink_event (GstBaseSink * sink, GstEvent * event)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (sink);

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_CUSTOM_DOWNSTREAM_STICKY:
      if (!take_dataset (self, event)) {
        gst_event_unref (event);
        return FALSE;
      }
      break;
    case GST_EVENT_FLUSH_STOP:
      gst_pirl_training_flush (self->training);
      break;
    default:
      break;
  }
  return GST_BASE_SINK_CLASS (parent_class)->event (sink, event);
}

/* Of rendered views; a device that renders gets frames. */
static gboolean
looks_at_images_only (GstPirlTrainSink * self)
{
  gboolean images, second, only;

  GST_OBJECT_LOCK (self);
  pirl_objective_views (self->settings.objective, &images, &second);
  only = self->training != NULL && !self->renders && !second;
  GST_OBJECT_UNLOCK (self);
  return only;
}

static gboolean
gst_pirl_train_sink_query (GstBaseSink * sink, GstQuery * query)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (sink);
  gboolean answered;

  if (gst_pirl_is_views_query (query, GST_BASE_SINK_PAD (self)))
    return looks_at_images_only (self);
  if (!gst_pirl_is_resume_query (query))
    return GST_BASE_SINK_CLASS (parent_class)->query (sink, query);
  GST_OBJECT_LOCK (self);
  answered = self->training && gst_pirl_training_answer_resume (self->training, query);
  GST_OBJECT_UNLOCK (self);
  return answered;
}

static gboolean
gst_pirl_train_sink_unlock (GstBaseSink * sink)
{
  gst_pirl_training_unlock (GST_PIRL_TRAIN_SINK (sink)->training);
  return TRUE;
}

static gboolean
gst_pirl_train_sink_unlock_stop (GstBaseSink * sink)
{
  gst_pirl_training_unlock_stop (GST_PIRL_TRAIN_SINK (sink)->training);
  return TRUE;
}

/* ---- states ---------------------------------------------------------------------------------- */

static gboolean
begin_training (GstPirlTrainSink * self)
{
  GstPirlTrainSettings settings;
  GstPirlTraining *training;
  GError *error = NULL;
  gboolean renders;

  GST_OBJECT_LOCK (self);
  gst_pirl_properties_copy (&gst_pirl_train_properties, &settings, &self->settings);
  GST_OBJECT_UNLOCK (self);
  renders = pirl_device_renders_views (settings.device);
  training = gst_pirl_training_new (GST_ELEMENT (self), &settings, &error);
  gst_pirl_properties_clear (&gst_pirl_train_properties, &settings);
  if (training == NULL) {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return FALSE;
  }
  self->refused = FALSE;
  GST_OBJECT_LOCK (self);
  self->renders = renders;
  self->training = training;
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

/* No data flow any more. The thread may still save, so the object lock is not held meanwhile. */
static void
end_training (GstPirlTrainSink * self)
{
  GstPirlTraining *training = self->training;
  GstStructure *stats;

  if (training == NULL)
    return;
  gst_pirl_training_stop (training);
  stats = gst_pirl_training_stats (training);
  GST_OBJECT_LOCK (self);
  self->training = NULL;
  g_clear_pointer (&self->last_stats, gst_structure_free);
  self->last_stats = stats;
  GST_OBJECT_UNLOCK (self);
  gst_pirl_training_free (training);
}

static GstStateChangeReturn
gst_pirl_train_sink_change_state (GstElement * element, GstStateChange transition)
{
  GstPirlTrainSink *self = GST_PIRL_TRAIN_SINK (element);
  GstStateChangeReturn ret;

  switch (transition) {
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      if (!begin_training (self))
        return GST_STATE_CHANGE_FAILURE;
      break;
    case GST_STATE_CHANGE_PAUSED_TO_PLAYING:
      gst_pirl_training_play (self->training);
      break;
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      gst_pirl_training_pause (self->training);
      break;
    default:
      break;
  }
  ret = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY
      || (transition == GST_STATE_CHANGE_READY_TO_PAUSED && ret == GST_STATE_CHANGE_FAILURE))
    end_training (self);
  return ret;
}

/* ---- class ----------------------------------------------------------------------------------- */

static void
gst_pirl_train_sink_class_init (GstPirlTrainSinkClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseSinkClass *sink_class = GST_BASE_SINK_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_pirl_train_sink_debug, "pirltrainsink", 0, "PIRL training");
  object_class->set_property = gst_pirl_train_sink_set_property;
  object_class->get_property = gst_pirl_train_sink_get_property;
  object_class->finalize = gst_pirl_train_sink_finalize;

  prop_training_stats = gst_pirl_properties_install (&gst_pirl_train_properties, object_class);
  /**
   * GstPirlTrainSink:training-stats:
   *
   * `application/x-pirl-training-stats`: `state` (string: stopped, waiting, planning, training,
   * paused, drained, finished, failed), the fields of `pirl-training`, the samples `received`,
   * `trained`, `dropped` (remainders of epochs), `flushed` and `discarded` (after max-steps), the
   * `checkpoints` written, `queued` samples and the `queue-size`, `position-epoch` and
   * `position-index` of the first sample not yet trained, `resumed`, `device`, `precision`,
   * `bank-precision` and `memory` (bytes).
   */
  g_object_class_install_property (object_class, prop_training_stats,
      g_param_spec_boxed ("training-stats", "Training statistics",
          "Where the training stands (application/x-pirl-training-stats)", GST_TYPE_STRUCTURE,
          G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  /**
   * GstPirlTrainSink::save-checkpoint:
   *
   * Saves to #GstPirlTrainSink:checkpoint-file after the step under way; a `pirl-checkpoint` message
   * says when it is there.
   *
   * Returns: %FALSE when nothing is being trained or there is no checkpoint-file
   */
  signals[SIGNAL_SAVE_CHECKPOINT] = g_signal_new_class_handler ("save-checkpoint",
      G_TYPE_FROM_CLASS (klass), G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION,
      G_CALLBACK (gst_pirl_train_sink_save_checkpoint), NULL, NULL, NULL, G_TYPE_BOOLEAN, 0);

  gst_element_class_set_static_metadata (element_class, "PIRL training sink",
      "Sink/Analyzer/Video",
      "Trains a network without labels from pictures and their transformed views (PIRL)",
      "The gst-pirl developers");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_change_state);

  sink_class->get_caps = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_get_caps);
  sink_class->set_caps = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_set_caps);
  sink_class->preroll = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_preroll);
  sink_class->render = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_render);
  sink_class->wait_event = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_wait_event);
  sink_class->event = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_event);
  sink_class->query = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_query);
  sink_class->unlock = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_unlock);
  sink_class->unlock_stop = GST_DEBUG_FUNCPTR (gst_pirl_train_sink_unlock_stop);
}

static void
gst_pirl_train_sink_init (GstPirlTrainSink * self)
{
  gst_pirl_properties_init (&gst_pirl_train_properties, &self->settings);
  /* Every sample counts, and none has an hour. */
  gst_base_sink_set_sync (GST_BASE_SINK (self), FALSE);
  gst_base_sink_set_qos_enabled (GST_BASE_SINK (self), FALSE);
  gst_base_sink_set_last_sample_enabled (GST_BASE_SINK (self), FALSE);
}
