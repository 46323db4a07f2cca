/* gst-pirl: pirlembed, the embedding of every frame as a meta or a tensor.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/**
 * SECTION:element-pirlembed
 * @title: pirlembed
 * @short_description: attaches a trained network's embedding to video frames
 *
 * Runs a trained network on frames and passes them on untouched, with the meta `pirl-embedding`.
 * The network comes from `model-file`: a checkpoint that pirltrainsink wrote, or a ResNet or
 * MobileNetV2 of torchvision's or timm's saved as safetensors (pipelines/convert-weights.py makes
 * them from PyTorch's files). Architecture, input size, mean and standard deviation are read from
 * the file; where it does not say, they are ImageNet's: short side to 256 pixels, centre crop of
 * 224. Every raw video format is taken and converted to full-range RGB by its colorimetry, more
 * exactly than videoconvert does: leave that out. Of JPEG decoders, `jpegdec idct-method=islow` is
 * closest to what networks have learnt on.
 *
 * With several layers in `layer` one pass through the network gives all of them: one tensor each,
 * or one behind the other in the meta, whose `dimensions` say how long each is.
 *
 * When downstream takes tensors and no video, `other/tensors,format=static,num_tensors=1,
 * types="float32",dimensions="D:1:1:1"` leaves the source pad instead.
 *
 * ## How often
 *
 * `interval=1` embeds every frame, and a frame waits for its embedding; `interval=N` every Nth one.
 * With `interval=0` no frame ever waits: a worker embeds the newest frame whenever it is free, and
 * the others pass at once with the last embedding there is and its age (none before the first one
 * is ready; as tensors such frames are dropped). The default is -1: 0 behind a live source, else 1.
 * Flushing and stopping wait for no more than one inference. With `interval` above 0 behind a live
 * source, the LATENCY query gets the measured time added.
 *
 * ## Batches
 *
 * With `batch-size=N` above 1, frames are collected and N of them go through the network together,
 * on a thread of the element's own, while the next ones are collected; a task of the source pad
 * then sends them on in order, with the stream's events in their places between them. A batch that
 * is not full after `batch-timeout` (counted from its first frame), at the end of the stream, or
 * when caps change is run with the frames it has: the network is planned for N, and the empty
 * places compute the last frame again, so that a vector does not depend on how full its batch was,
 * and a batch costs the same. Every frame waits for its batch, also behind a live source; the
 * LATENCY query then gets N - 1 frames' time or `batch-timeout`, whichever is less, and the
 * measured time of a batch.
 *
 * `interval` says which frames are embedded, as without batches: with 1 (the default unless live)
 * upstream waits when a batch is at work and the next one is full, with 0 (the default behind a
 * live source) frames that find no place carry the embedding of the last frame before them that
 * did. Up to two batches of frames are held, with frames between them that are not embedded up to
 * 200; the ALLOCATION query asks for the batches' buffers in addition.
 *
 * ## Several streams
 *
 * Elements of one process with the same file in `model-file` and the same `layer`, `device`,
 * `precision`, `n-threads` and `batch-size` share one network: its weights are in memory once. With
 * `batch-size=1` their frames go through it one after the other. With larger batches the frames of
 * all these streams fill one batch together, one of each stream in turn, so that several slow
 * streams make full batches, and a stream with a backlog does not hold up the others; a batch that
 * is not full begins when one of its frames has waited for its element's `batch-timeout`. Every
 * stream keeps its own order, and pausing, flushing or ending one leaves the others alone. The
 * statistics `streams` and `mixed` tell.
 *
 * ## Models
 *
 * The model is loaded, and run once on a black picture, on the way from READY to PAUSED: about a
 * second for a ResNet-50. A file that is missing or damaged is an element error. `model-file` may
 * be set while playing: the new model is loaded aside, takes over between two frames, and the
 * signal #GstPirlEmbed::model-updated is emitted; a file that cannot be used leaves the old model
 * at work and `model-file` at the old path, and posts a warning message.
 *
 * ## Meta
 *
 * `pirl-embedding`: `data` (GBytes, little-endian float32), `size` (uint, their number), `layer`
 * (string), `model` (string, architecture and hash of the weights), `age` (uint64, nanoseconds of
 * running time since the frame that it was computed from; 0 = this frame, 2^64-1 = unknown because
 * frames have no timestamps).
 *
 * ## CUDA memory
 *
 * With `device=cuda`, where GStreamer's CUDA library is built in, frames of
 * `video/x-raw(memory:CUDAMemory)`, as nvh264dec and nvjpegdec make them (and cudaupload, where a
 * caps filter asks for it), go to the network without a copy to the host: colours, resize and crop
 * are computed on the card, to the pixels that the host computes. Elements that ask for a CUDA
 * context are given the network's. Frames of another context, and interlaced ones, are copied to
 * the host and back, which a warning message says once.
 *
 * Quality of service is off by default.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 v4l2src ! pirlembed model-file=shapes.safetensors ! videoconvert ! autovideosink
 * ]| A camera's frames with embeddings, for an application to read.
 * |[
 * gst-launch-1.0 pirldatasetsrc location=photos ! pirlembed model-file=resnet50.safetensors layer=res5 ! other/tensors ! filesink location=features.f32
 * ]| Features of a folder of pictures, 2048 floats each.
 * |[
 * gst-launch-1.0 filesrc location=film.mkv ! decodebin ! pirlembed model-file=resnet50.safetensors device=cuda batch-size=32 batch-timeout=0 ! fakesink
 * ]| Every frame of a film, 32 at a time.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "common.h"
#include "crop.h"
#include "cudamemory.h"
#include "embedcaps.h"
#include "embedworker.h"
#include "framequeue.h"
#include "framereader.h"
#include "latency.h"
#include "meta.h"
#include "settings.h"

#include <gst/base/gstbasetransform.h>
#include <gst/video/video.h>

GST_DEBUG_CATEGORY (gst_pirl_embed_debug);
#define GST_CAT_DEFAULT gst_pirl_embed_debug

/* Frames that are not embedded may wait among those that are, up to so many altogether. */
#define MAX_HELD 200

enum { SIGNAL_MODEL_UPDATED, N_SIGNALS };
static guint signals[N_SIGNALS];
static GParamSpec *model_file_pspec;
static guint prop_stats;

#define GST_TYPE_PIRL_EMBED (gst_pirl_embed_get_type ())
G_DECLARE_FINAL_TYPE (GstPirlEmbed, gst_pirl_embed, GST, PIRL_EMBED, GstBaseTransform)

struct _GstPirlEmbed {
  GstBaseTransform parent;
  FrameQueue *queue;
  guint batch;                  /* batch-size from start() on */

  /* Under the object lock. */
  GstPirlEmbedSettings settings;
  gchar *in_use;                /* the model file at work */
  gint live;                    /* of upstream; -1 = not asked yet */
  EmbedWorker *worker;          /* from start() to stop() */
  FrameReader *reader;          /* the same */
  gchar *dimensions;            /* of its vectors; NULL without it */
  guint64 frames, skipped;
  EmbedLatency latency;

  gint ends_frames;             /* atomic: tensors leave; -1 = not negotiated yet */

  /* Streaming thread; with batches the task of the source pad. */
  gboolean tensors;             /* what leaves the source pad */
  /* With batches: */
  EmbedResult *last;            /* of the last frame that was embedded */
  GstClockTime last_time;       /* its running time */
  gboolean own;                 /* it is that of the frame in transform() */
  guint model_number;

  /* Streaming thread. */
  guint64 count;                /* frames since the start, the last flush or the last new model */
  guint64 ticket;               /* of the last frame that joined a batch */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (EMBED_VIDEO_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (EMBED_VIDEO_CAPS "; " EMBED_TENSORS_CAPS));

G_DEFINE_FINAL_TYPE (GstPirlEmbed, gst_pirl_embed, GST_TYPE_BASE_TRANSFORM)
GST_ELEMENT_REGISTER_DEFINE (pirlembed, "pirlembed", GST_RANK_NONE, GST_TYPE_PIRL_EMBED)

/* ---- settings ----------------------------------------------------------------------------- */

/* On the loading thread. */
static void
model_failed (const gchar * path, GError * error, gpointer user_data)
{
  GstPirlEmbed *self = user_data;
  GError *copy = g_error_copy (error);
  gboolean current;

  GST_OBJECT_LOCK (self);
  current = g_strcmp0 (self->settings.network.model_file, path) == 0;
  if (current) {
    g_free (self->settings.network.model_file);
    self->settings.network.model_file = g_strdup (self->in_use);
  }
  GST_OBJECT_UNLOCK (self);
  g_prefix_error (&copy, "The model stays as it was: ");
  gst_pirl_post_warning (GST_ELEMENT (self), &copy);
  if (current)
    g_object_notify_by_pspec (G_OBJECT (self), model_file_pspec);
}

/* The running worker loads what model-file says now. */
static void
load_model (GstPirlEmbed * self)
{
  const gchar *path;

  GST_OBJECT_LOCK (self);
  path = self->settings.network.model_file;
  if (self->worker != NULL)
    embed_worker_load (self->worker, path ? path : "");
  GST_OBJECT_UNLOCK (self);
}

static void
gst_pirl_embed_set_property (GObject * object, guint id, const GValue * value, GParamSpec * pspec)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (object);

  gst_pirl_properties_set (&gst_pirl_embed_properties, object, &self->settings, id, value, pspec);
  if (pspec == model_file_pspec)
    load_model (self);
}

static GstStructure *
get_stats (GstPirlEmbed * self)
{
  EmbedStatistics s = { 0 };
  g_autofree gchar *model = NULL;
  GstStructure *stats;

  GST_OBJECT_LOCK (self);
  if (self->worker != NULL) {
    s = embed_worker_statistics (self->worker);
    model = embed_worker_describe (self->worker);
  }
  stats = gst_structure_new ("application/x-pirlembed-stats",
      "frames", G_TYPE_UINT64, self->frames, "embedded", G_TYPE_UINT64, s.pictures,
      "batches", G_TYPE_UINT64, s.batches, "mixed", G_TYPE_UINT64, s.mixed,
      "streams", G_TYPE_UINT, s.streams, "skipped", G_TYPE_UINT64, self->skipped,
      "mean-ms", G_TYPE_DOUBLE, 1000 * (s.pictures > 0 ? s.seconds / s.pictures : s.first),
      "model", G_TYPE_STRING, model ? model : "", NULL);
  GST_OBJECT_UNLOCK (self);
  return stats;
}

static void
gst_pirl_embed_get_property (GObject * object, guint id, GValue * value, GParamSpec * pspec)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (object);

  if (id == prop_stats)
    g_value_take_boxed (value, get_stats (self));
  else
    gst_pirl_properties_get (&gst_pirl_embed_properties, object, &self->settings, id, value, pspec);
}

/* ---- states ------------------------------------------------------------------------------- */

static EmbedWorker *
worker_new (GstPirlEmbed * self, GError ** error)
{
  GstPirlEmbedSettings settings;
  EmbedWorker *worker = NULL;

  GST_OBJECT_LOCK (self);
  gst_pirl_properties_copy (&gst_pirl_embed_properties, &settings, &self->settings);
  self->batch = settings.network.batch;
  GST_OBJECT_UNLOCK (self);
  if (gst_pirl_embed_settings_resolve (&settings, error))
    worker = embed_worker_new (&settings.network, model_failed, self, error);
  gst_pirl_properties_clear (&gst_pirl_embed_properties, &settings);
  return worker;
}

/* Why device=auto is no GPU, where it is none. */
static void
log_missing_device (GstPirlEmbed * self)
{
  const gchar *reason;

  GST_OBJECT_LOCK (self);
  reason = gst_pirl_auto_reason (self->settings.network.device);
  GST_OBJECT_UNLOCK (self);
  if (reason)
    GST_INFO_OBJECT (self, "device=auto is the CPU: %s", reason);
}

/* What brings frames to @worker. */
static FrameReader *
reader_new (GstPirlEmbed * self, EmbedWorker * worker)
{
  g_autofree gchar *device = NULL;

  GST_OBJECT_LOCK (self);
  device = g_strdup (self->settings.network.device);
  GST_OBJECT_UNLOCK (self);
  return frame_reader_new (GST_ELEMENT (self), worker, device);
}

static gboolean
gst_pirl_embed_start (GstBaseTransform * trans)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  GError *error = NULL;
  EmbedWorker *worker = worker_new (self, &error);
  g_autofree gchar *text = NULL;
  FrameReader *reader;
  gdouble first;

  if (worker == NULL) {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return FALSE;
  }
  first = embed_worker_statistics (worker).first;
  text = embed_worker_describe (worker);
  GST_INFO_OBJECT (self, "%s, %.1f ms a batch of %u", text, 1000 * first, self->batch);
  log_missing_device (self);
  reader = reader_new (self, worker);

  GST_OBJECT_LOCK (self);
  self->worker = worker;
  self->reader = reader;
  g_free (self->dimensions);
  self->dimensions = embed_worker_dimensions (worker);
  g_free (self->in_use);
  self->in_use = g_strdup (self->settings.network.model_file);
  self->live = -1;
  g_atomic_int_set (&self->ends_frames, -1);
  self->frames = self->skipped = 0;
  embed_latency_start (&self->latency, self->batch, first * GST_SECOND);
  GST_OBJECT_UNLOCK (self);
  self->count = 0;
  self->model_number = 0;
  frame_queue_start (self->queue, self->batch > 1);
  return TRUE;
}

static gboolean
gst_pirl_embed_stop (GstBaseTransform * trans)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  EmbedWorker *worker;
  FrameReader *reader;

  GST_OBJECT_LOCK (self);
  worker = g_steal_pointer (&self->worker);
  reader = g_steal_pointer (&self->reader);
  embed_latency_stop (&self->latency);
  g_clear_pointer (&self->dimensions, g_free);
  GST_OBJECT_UNLOCK (self);
  if (worker != NULL)
    embed_worker_free (worker);
  frame_reader_free (reader);
  g_clear_pointer (&self->last, embed_result_unref);
  return TRUE;
}

/* From any thread: TRUE lets the streaming thread out of its wait and forgets all embeddings. */
static void
gst_pirl_embed_set_flushing (GstPirlEmbed * self, gboolean flushing)
{
  GST_OBJECT_LOCK (self);
  if (self->worker != NULL)
    embed_worker_set_flushing (self->worker, flushing);
  GST_OBJECT_UNLOCK (self);
}

static GstStateChangeReturn
gst_pirl_embed_change_state (GstElement * element, GstStateChange transition)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (element);

  /* Before the pads are deactivated, which waits for the streaming thread. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY) {
    gst_pirl_embed_set_flushing (self, TRUE);
    frame_queue_set_flushing (self->queue);
  }
  return GST_ELEMENT_CLASS (gst_pirl_embed_parent_class)->change_state (element, transition);
}

/* ---- negotiation -------------------------------------------------------------------------- */

static GstCaps *
gst_pirl_embed_transform_caps (GstBaseTransform * trans, GstPadDirection direction, GstCaps * caps,
    GstCaps * filter)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  GstCaps *result;
  g_autofree gchar *dimensions = NULL;
  gboolean host;

  GST_OBJECT_LOCK (self);
  dimensions = g_strdup (self->dimensions);
  host = self->reader != NULL && frame_reader_on_host (self->reader);
  GST_OBJECT_UNLOCK (self);
  result = direction == GST_PAD_SINK ? embed_caps_for_src (caps, dimensions)
      : embed_caps_for_sink (caps);
  if (host)
    result = embed_caps_on_host (result);

  return gst_pirl_filter_caps (result, filter);
}

/* Video wherever downstream takes it: who wants tensors says so by taking nothing else. */
static GstCaps *
gst_pirl_embed_fixate_caps (GstBaseTransform * trans, GstPadDirection direction, GstCaps * caps,
    GstCaps * othercaps)
{
  if (direction == GST_PAD_SINK) {
    GstCaps *video = gst_caps_intersect (caps, othercaps);

    if (!gst_caps_is_empty (video)) {
      gst_caps_unref (othercaps);
      return gst_caps_fixate (video);
    }
    gst_caps_unref (video);
  }
  return gst_caps_fixate (othercaps);
}

static gboolean
gst_pirl_embed_set_caps (GstBaseTransform * trans, GstCaps * incaps, GstCaps * outcaps)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);

  if (!frame_reader_set_caps (self->reader, incaps)) {
    GST_ERROR_OBJECT (self, "cannot convert %" GST_PTR_FORMAT " to RGB", incaps);
    return FALSE;
  }
  embed_latency_set_rate (&self->latency, GST_ELEMENT (self), frame_reader_info (self->reader));
  self->tensors = !embed_caps_are_video (outcaps);
  gst_base_transform_set_in_place (trans, !self->tensors);
  g_atomic_int_set (&self->ends_frames, self->tensors);
  return TRUE;
}

/* ---- how often ---------------------------------------------------------------------------- */

/* The interval in force: 0, or every Nth frame. */
static gint
gst_pirl_embed_interval (GstPirlEmbed * self)
{
  gint interval, live;

  GST_OBJECT_LOCK (self);
  interval = self->settings.interval;
  live = self->live;
  GST_OBJECT_UNLOCK (self);
  if (interval != GST_PIRL_INTERVAL_AUTO)
    return interval;
  if (live < 0) {
    live = gst_pirl_is_live (GST_BASE_TRANSFORM_SINK_PAD (self));
    GST_OBJECT_LOCK (self);
    self->live = live;
    GST_OBJECT_UNLOCK (self);
    GST_INFO_OBJECT (self, "upstream is %s: interval=%d", live ? "live" : "not live", !live);
  }
  return live ? 0 : 1;
}

/* ---- queries ------------------------------------------------------------------------------ */

/* A task pushes batches: nobody may pull. FALSE: without batches upstream knows. */
static gboolean
answer_scheduling (GstPirlEmbed * self, GstQuery * query)
{
  gboolean batches;

  GST_OBJECT_LOCK (self);
  batches = self->settings.network.batch > 1;
  GST_OBJECT_UNLOCK (self);
  if (batches) {
    gst_query_set_scheduling (query, GST_SCHEDULING_FLAG_SEQUENTIAL, 1, -1, 0);
    gst_query_add_scheduling_mode (query, GST_PAD_MODE_PUSH);
  }
  return batches;
}

static gboolean
answer_context (GstPirlEmbed * self, GstQuery * query)
{
  g_autofree gchar *device = NULL;

  GST_OBJECT_LOCK (self);
  device = g_strdup (self->settings.network.device);
  GST_OBJECT_UNLOCK (self);
  return cuda_memory_answer (GST_ELEMENT (self), device, query);
}

/* Whether tensors leave, or will: frames that are passed on are for others to look at, too. */
static gboolean
ends_frames (GstPirlEmbed * self)
{
  gint ends = g_atomic_int_get (&self->ends_frames);

  if (ends < 0) {
    GstCaps *video = gst_caps_from_string (EMBED_VIDEO_CAPS);
    GstCaps *caps = gst_pad_peer_query_caps (GST_BASE_TRANSFORM_SRC_PAD (self), video);

    ends = gst_caps_is_empty (caps);
    gst_caps_unref (caps);
    gst_caps_unref (video);
  }
  return ends;
}

/* Before a picture is decoded, on any thread. */
static gboolean
answer_crop (GstPirlEmbed * self, const GstPirlCropRequest * request, GstQuery * query)
{
  PirlRegion region;
  gboolean known;

  if (!ends_frames (self))
    return FALSE;
  GST_OBJECT_LOCK (self);
  known = self->worker != NULL
      && embed_worker_crop (self->worker, request->width, request->height,
      request->max_divisor, &region);
  GST_OBJECT_UNLOCK (self);
  if (known)
    gst_pirl_crop_answer (query, &region);
  return known;
}

static gboolean
gst_pirl_embed_query (GstBaseTransform * trans, GstPadDirection direction, GstQuery * query)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  GstPirlCropRequest request;

  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return embed_latency_answer (&self->latency, GST_ELEMENT (self),
        GST_BASE_TRANSFORM_SINK_PAD (self), &self->settings, query);
  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_SCHEDULING
      && answer_scheduling (self, query))
    return TRUE;
  if (gst_pirl_crop_parse (query, GST_BASE_TRANSFORM_SINK_PAD (self), &request))
    return answer_crop (self, &request, query);
  if (GST_QUERY_TYPE (query) == GST_QUERY_CONTEXT && answer_context (self, query))
    return TRUE;
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_embed_parent_class)->query (trans, direction, query);
}

/* ---- allocation --------------------------------------------------------------------------- */

/* Two batches are held back: a pool that cannot spare so many buffers would stop the stream. */
static void
ask_for_batches (GstPirlEmbed * self, GstQuery * query)
{
  const GstVideoInfo *info = frame_reader_info (self->reader);
  guint held = 2 * self->batch;

  if (gst_query_get_n_allocation_pools (query) == 0)
    gst_query_add_allocation_pool (query, NULL, info != NULL ? info->size : 0, 0, 0);
  for (guint i = 0; i < gst_query_get_n_allocation_pools (query); i++) {
    GstBufferPool *pool;
    guint size, min, max;

    gst_query_parse_nth_allocation_pool (query, i, &pool, &size, &min, &max);
    if (max > 0 && max < min + held) {
      gst_clear_object (&pool);
      max = 0;
    }
    gst_query_set_nth_allocation_pool (query, i, pool, size, min + held, max);
    gst_clear_object (&pool);
  }
}

/* Frames that pass through are for downstream to allocate. */
static gboolean
gst_pirl_embed_propose_allocation (GstBaseTransform * trans, GstQuery * decide, GstQuery * query)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  gboolean answered = TRUE;

  if (self->tensors)
    gst_query_add_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL);
  else
    answered = gst_pad_peer_query (GST_BASE_TRANSFORM_SRC_PAD (trans), query);
  if (self->batch > 1) {
    ask_for_batches (self, query);
    answered = TRUE;
  }
  return answered;
}

static gboolean
gst_pirl_embed_decide_allocation (GstBaseTransform * trans, GstQuery * query)
{
  while (gst_query_get_n_allocation_pools (query) > 0)
    gst_query_remove_nth_allocation_pool (query, 0);
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_embed_parent_class)->decide_allocation (trans, query);
}

/* Only the metas of a frame are written: its memory is shared, never copied. */
static GstFlowReturn
gst_pirl_embed_prepare_output (GstBaseTransform * trans, GstBuffer * in, GstBuffer ** out)
{
  if (GST_PIRL_EMBED (trans)->tensors) {
    *out = gst_buffer_new ();
    GST_BASE_TRANSFORM_GET_CLASS (trans)->copy_metadata (trans, in, *out);
  } else {
    *out = gst_buffer_is_writable (in) ? in : gst_buffer_copy (in);
  }
  return GST_FLOW_OK;
}

/* ---- frames ------------------------------------------------------------------------------- */

/* The frame that comes next is embedded by another model, with vectors of @dimensions. */
static void
model_took_over (GstPirlEmbed * self, const gchar * path, const gchar * dimensions)
{
  gboolean resized;

  GST_OBJECT_LOCK (self);
  resized = g_strcmp0 (dimensions, self->dimensions) != 0;
  g_free (self->dimensions);
  self->dimensions = g_strdup (dimensions);
  g_free (self->in_use);
  self->in_use = g_strdup (path);
  GST_OBJECT_UNLOCK (self);
  if (resized && self->tensors)
    gst_base_transform_reconfigure_src (GST_BASE_TRANSFORM (self));
  GST_INFO_OBJECT (self, "model %s took over", path);
  g_signal_emit (self, signals[SIGNAL_MODEL_UPDATED], 0, path);
}

/* A model that was loaded aside takes over here, before the frame is negotiated and allocated. */
static GstFlowReturn
gst_pirl_embed_submit_input (GstBaseTransform * trans, gboolean discont, GstBuffer * in)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  g_autofree gchar *path = embed_worker_swap (self->worker);

  if (path != NULL) {
    g_autofree gchar *dimensions = embed_worker_dimensions (self->worker);

    self->count = 0;            /* this frame is the new model's first */
    model_took_over (self, path, dimensions);
  }
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_embed_parent_class)->submit_input_buffer (trans,
      discont, in);
}

/* Embeds the frame on this thread: handing it to another one and being woken by that would cost up
 * to some percent of a small network's time, and a copy of the frame. */
static GstFlowReturn
embed_here (GstPirlEmbed * self, GstBuffer * buffer, GstClockTime now)
{
  gint64 begin = g_get_monotonic_time ();
  GstFlowReturn ret = frame_reader_run (self->reader, buffer, now);

  if (ret == GST_FLOW_OK)
    embed_latency_measure (&self->latency, GST_ELEMENT (self),
        (g_get_monotonic_time () - begin) * GST_USECOND);
  return ret;
}

/* Hands the frame to the worker. Without a free worker nothing happens. */
static GstFlowReturn
offer_frame (GstPirlEmbed * self, GstBuffer * buffer, GstClockTime now)
{
  EmbedPicture *picture = embed_worker_acquire (self->worker, FALSE);

  if (picture == NULL)
    return GST_FLOW_OK;
  if (!frame_reader_fill (self->reader, buffer, picture))
    return GST_FLOW_ERROR;
  embed_worker_submit (self->worker, now);
  return GST_FLOW_OK;
}

static GstClockTime
age_of (GstClockTime then, GstClockTime now)
{
  if (!GST_CLOCK_TIME_IS_VALID (then) || !GST_CLOCK_TIME_IS_VALID (now))
    return GST_CLOCK_TIME_NONE;
  return now > then ? now - then : then - now;
}

/* Embeds this frame when it is its turn; @result: its own, or the last one there is. */
static GstFlowReturn
embed_now (GstPirlEmbed * self, GstBuffer * buffer, GstClockTime now, EmbedResult ** result,
    GstClockTime * age)
{
  gint interval = gst_pirl_embed_interval (self);
  gboolean due = interval > 0 && self->count % interval == 0;
  GError *error = NULL;
  GstFlowReturn ret = GST_FLOW_OK;

  if (due)
    ret = embed_here (self, buffer, now);
  else if (interval == 0)
    ret = offer_frame (self, buffer, now);
  if (ret != GST_FLOW_OK)
    return ret;
  self->count++;
  *result = embed_worker_latest (self->worker, &error);
  if (error != NULL) {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return GST_FLOW_ERROR;
  }
  /* With a wait the vector is this frame's; only then its age is known without timestamps. */
  *age = due ? 0 : *result != NULL ? age_of ((*result)->tag, now) : GST_CLOCK_TIME_NONE;
  return GST_FLOW_OK;
}

/* The same of a frame whose batch, if it joined one, is done. */
static void
recall (GstPirlEmbed * self, GstClockTime now, EmbedResult ** result, GstClockTime * age)
{
  if (self->own)
    self->last_time = now;
  *age = self->own ? 0 : GST_CLOCK_TIME_NONE;
  if (self->last != NULL) {
    *result = embed_result_ref (self->last);
    *age = self->own ? 0 : age_of (self->last_time, now);
  }
}

/* The embedding for this frame: its own, or the last one there is; NULL before the first. */
static GstFlowReturn
embed_frame (GstPirlEmbed * self, GstBuffer * buffer, EmbedResult ** result, GstClockTime * age)
{
  GstClockTime now = gst_segment_to_running_time (&GST_BASE_TRANSFORM (self)->segment,
      GST_FORMAT_TIME, GST_BUFFER_PTS (buffer));
  GstFlowReturn ret = GST_FLOW_OK;

  if (self->batch > 1)
    recall (self, now, result, age);
  else
    ret = embed_now (self, buffer, now, result, age);
  if (ret != GST_FLOW_OK)
    return ret;
  GST_OBJECT_LOCK (self);
  self->frames++;
  self->skipped += *age != 0;
  GST_OBJECT_UNLOCK (self);
  return GST_FLOW_OK;
}

static void
attach (GstBuffer * buffer, const EmbedResult * result, GstClockTime age)
{
  gst_pirl_embedding_add (buffer, result->data, result->layer, result->dimensions,
      result->model, age);
}

static GstFlowReturn
gst_pirl_embed_transform_ip (GstBaseTransform * trans, GstBuffer * buffer)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  EmbedResult *result = NULL;
  GstClockTime age;
  GstFlowReturn ret;

  if (gst_buffer_get_size (buffer) == 0)
    return GST_FLOW_OK;         /* a gap: there is no picture */
  ret = embed_frame (self, buffer, &result, &age);
  if (result != NULL) {
    attach (buffer, result, age);
    embed_result_unref (result);
  }
  return ret;
}

/* One memory a tensor. */
static void
append_tensors (GstBuffer * buffer, const EmbedResult * result)
{
  GstPirlFeatures features[GST_PIRL_MAX_TENSORS];
  const guint n = gst_pirl_dimensions_parse (result->dimensions, features);
  const guint8 *data = g_bytes_get_data (result->data, NULL);

  for (guint i = 0; i < n; i++) {
    const gsize size = (gsize) features[i].channels * features[i].positions * sizeof (gfloat);

    gst_buffer_append_memory (buffer, gst_memory_new_wrapped (GST_MEMORY_FLAG_READONLY,
            (gpointer) data, size, 0, size, g_bytes_ref (result->data),
            (GDestroyNotify) g_bytes_unref));
    data += size;
  }
}

static GstFlowReturn
gst_pirl_embed_transform (GstBaseTransform * trans, GstBuffer * in, GstBuffer * out)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);
  EmbedResult *result = NULL;
  GstClockTime age;
  GstFlowReturn ret;

  if (gst_buffer_get_size (in) == 0)
    return GST_BASE_TRANSFORM_FLOW_DROPPED;
  ret = embed_frame (self, in, &result, &age);
  if (ret != GST_FLOW_OK || result == NULL)
    return ret != GST_FLOW_OK ? ret : GST_BASE_TRANSFORM_FLOW_DROPPED;
  append_tensors (out, result);
  attach (out, result, age);
  embed_result_unref (result);
  return GST_FLOW_OK;
}

/* ---- batches ------------------------------------------------------------------------------ */

/* Lets a frame join the batch that is collected, if it is to be embedded and there is room. */
static GstFlowReturn
frame_arrived (GstElement * element, GstBuffer * buffer, guint64 * ticket)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (element);
  gint interval = gst_pirl_embed_interval (self);
  EmbedPicture *picture;

  if (gst_buffer_get_size (buffer) == 0 || frame_reader_info (self->reader) == NULL)
    return GST_FLOW_OK;         /* no picture, or no caps: then the base class says so */
  if (self->count++ % MAX (interval, 1) != 0)
    return GST_FLOW_OK;
  picture = embed_worker_acquire (self->worker, interval > 0);
  if (picture == NULL)
    return interval > 0 ? GST_FLOW_FLUSHING : GST_FLOW_OK;
  if (!frame_reader_fill (self->reader, buffer, picture))
    return GST_FLOW_ERROR;
  *ticket = ++self->ticket;
  embed_worker_submit (self->worker, *ticket);
  return GST_FLOW_OK;
}

/* With other results to come, frames leave, and there will be room to fill the batch. */
static void
frames_are_full (GstElement * element)
{
  embed_worker_close_batch (GST_PIRL_EMBED (element)->worker, FALSE);
}

static void
frames_pause (GstElement * element)
{
  embed_worker_close_batch (GST_PIRL_EMBED (element)->worker, TRUE);
}

static guint
frames_held (GstElement * element)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (element);
  gint interval = gst_pirl_embed_interval (self);
  guint64 batches = 2 * self->batch;
  guint64 spread = interval == 0 ? MAX_HELD : MIN (batches * interval, MAX_HELD);

  return MAX (batches, spread);
}

/* Waits for the batch of the frame that leaves next. */
static GstFlowReturn
frame_leaves (GstElement * element, guint64 ticket)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (element);
  GError *error = NULL;
  EmbedResult *result;

  self->own = ticket > 0;
  if (!self->own)
    return GST_FLOW_OK;
  result = embed_worker_take (self->worker, ticket, &error);
  if (error != NULL) {
    gst_pirl_post_error (element, &error);
    return GST_FLOW_ERROR;
  }
  if (result == NULL)
    return GST_FLOW_FLUSHING;
  embed_latency_measure (&self->latency, element, result->delay * GST_USECOND);
  g_clear_pointer (&self->last, embed_result_unref);
  self->last = result;
  if (result->model_number != self->model_number) {
    self->model_number = result->model_number;
    model_took_over (self, result->path, result->dimensions);
  }
  return GST_FLOW_OK;
}

static const FrameQueueFuncs queue_funcs = {
  .arrived = frame_arrived,
  .full = frames_are_full,
  .pausing = frames_pause,
  .leaving = frame_leaves,
  .capacity = frames_held,
};

/* ---- events ------------------------------------------------------------------------------- */

/* The last inference may still be running, with nobody waiting for it (interval=0): its failure is
 * to be heard before the end. */
static void
drain (GstPirlEmbed * self)
{
  GError *error = NULL;
  EmbedResult *result;

  if (!embed_worker_drain (self->worker))
    return;
  result = embed_worker_latest (self->worker, &error);
  g_clear_pointer (&result, embed_result_unref);
  if (error != NULL)
    gst_pirl_post_error (GST_ELEMENT (self), &error);
}

static gboolean
gst_pirl_embed_sink_event (GstBaseTransform * trans, GstEvent * event)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (trans);

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      gst_pirl_embed_set_flushing (self, TRUE);
      break;
    case GST_EVENT_FLUSH_STOP:
      gst_pirl_embed_set_flushing (self, FALSE);
      self->count = 0;
      g_clear_pointer (&self->last, embed_result_unref);
      break;
    case GST_EVENT_EOS:
      if (self->batch == 1)
        drain (self);
      break;
    default:
      break;
  }
  return GST_BASE_TRANSFORM_CLASS (gst_pirl_embed_parent_class)->sink_event (trans, event);
}

/* ---- class -------------------------------------------------------------------------------- */

static void
gst_pirl_embed_finalize (GObject * object)
{
  GstPirlEmbed *self = GST_PIRL_EMBED (object);

  gst_pirl_properties_clear (&gst_pirl_embed_properties, &self->settings);
  g_free (self->in_use);
  g_free (self->dimensions);
  frame_queue_free (self->queue);
  G_OBJECT_CLASS (gst_pirl_embed_parent_class)->finalize (object);
}

static void
gst_pirl_embed_class_init (GstPirlEmbedClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (gst_pirl_embed_debug, "pirlembed", 0, "embeddings of frames");

  object_class->set_property = GST_DEBUG_FUNCPTR (gst_pirl_embed_set_property);
  object_class->get_property = GST_DEBUG_FUNCPTR (gst_pirl_embed_get_property);
  object_class->finalize = GST_DEBUG_FUNCPTR (gst_pirl_embed_finalize);

  prop_stats = gst_pirl_properties_install (&gst_pirl_embed_properties, object_class);
  model_file_pspec = g_object_class_find_property (object_class, "model-file");
  /**
   * GstPirlEmbed:stats:
   *
   * Structure `application/x-pirlembed-stats`: `frames` (uint64) seen, `embedded` (uint64) of them,
   * in `batches` (uint64), of which `mixed` (uint64) had other streams' frames, too, `streams`
   * (uint) elements that share the network, this one among them, `skipped` (uint64) frames that
   * passed with an older embedding or none, `mean-ms` (double) of the network for a picture, `model`
   * (string) the network, its layer, precision and device.
   */
  g_object_class_install_property (object_class, prop_stats,
      g_param_spec_boxed ("stats", "Statistics",
          "Frames seen, embedded and skipped, and milliseconds of an inference",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  /**
   * GstPirlEmbed::model-updated:
   * @embed: the element
   * @path: the file of the model that took over
   *
   * Emitted on the streaming thread before the first frame that the new model embeds.
   */
  signals[SIGNAL_MODEL_UPDATED] = g_signal_new ("model-updated", G_TYPE_FROM_CLASS (klass),
      G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1, G_TYPE_STRING);

  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  gst_element_class_set_static_metadata (element_class, "Embedding of frames",
      "Filter/Analyzer/Video",
      "Attaches a trained network's embedding to video frames, or sends it as tensors",
      "The gst-pirl developers");

  element_class->change_state = GST_DEBUG_FUNCPTR (gst_pirl_embed_change_state);
  trans_class->start = GST_DEBUG_FUNCPTR (gst_pirl_embed_start);
  trans_class->stop = GST_DEBUG_FUNCPTR (gst_pirl_embed_stop);
  trans_class->transform_caps = GST_DEBUG_FUNCPTR (gst_pirl_embed_transform_caps);
  trans_class->fixate_caps = GST_DEBUG_FUNCPTR (gst_pirl_embed_fixate_caps);
  trans_class->set_caps = GST_DEBUG_FUNCPTR (gst_pirl_embed_set_caps);
  trans_class->query = GST_DEBUG_FUNCPTR (gst_pirl_embed_query);
  trans_class->propose_allocation = GST_DEBUG_FUNCPTR (gst_pirl_embed_propose_allocation);
  trans_class->decide_allocation = GST_DEBUG_FUNCPTR (gst_pirl_embed_decide_allocation);
  trans_class->prepare_output_buffer = GST_DEBUG_FUNCPTR (gst_pirl_embed_prepare_output);
  trans_class->submit_input_buffer = GST_DEBUG_FUNCPTR (gst_pirl_embed_submit_input);
  trans_class->transform_ip = GST_DEBUG_FUNCPTR (gst_pirl_embed_transform_ip);
  trans_class->transform = GST_DEBUG_FUNCPTR (gst_pirl_embed_transform);
  trans_class->sink_event = GST_DEBUG_FUNCPTR (gst_pirl_embed_sink_event);
}

static void
gst_pirl_embed_init (GstPirlEmbed * self)
{
  gst_pirl_properties_init (&gst_pirl_embed_properties, &self->settings);
  self->batch = 1;
  self->live = -1;
  self->queue = frame_queue_new (GST_BASE_TRANSFORM (self), &queue_funcs);
  gst_base_transform_set_qos_enabled (GST_BASE_TRANSFORM (self), FALSE);
}
