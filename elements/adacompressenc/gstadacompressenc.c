/* gst-pirl: adacompressenc, JPEG of no more quality than whoever looks at it needs.
 * SPDX-License-Identifier: LGPL-2.1-or-later */

/**
 * SECTION:element-adacompressenc
 * @title: adacompressenc
 * @short_description: JPEG encoder that learns which quality a vision service needs
 *
 * Raw video in, baseline JPEG out, one for one and at once. A small agent picks each frame's
 * quality so that the service that looks at the pictures (the *cloud*) still answers as it would
 * have on the *reference*, the same frame at #GstAdaCompressEnc:reference-quality; it asks the
 * cloud about a few frames, notices when the scenery has changed, and learns anew while the
 * stream runs (AdaCompress, Li et al. 2019). The stream never waits for the cloud: what does not
 * fit is not asked.
 *
 * The JPEG is right whatever comes in: full-range BT.601 YCbCr 4:2:0, or one component for
 * GRAY8, from every matrix and range; its caps say so. Interlaced video is refused.
 *
 * ## Live streams
 *
 * Behind a camera the frame is looked at beside the stream, and what leaves has the quality that was
 * decided for the frame looked at last, one or two before: looking adds nothing to a frame's time. While
 * nothing is learnt no more than one frame in 45 ms is looked at.
 * From files every frame waits for its own decision, and two runs do the same.
 *
 * ## Without a cloud
 *
 * Nothing is asked or learnt; the agent of #GstAdaCompressEnc:agent-file, else the shipped one,
 * decides. Without any agent, every frame has the reference quality. A warning message says
 * which it is.
 *
 * ## The application as the cloud
 *
 * With `cloud=application` the signal #GstAdaCompressEnc::classify hands out pictures and the
 * action #GstAdaCompressEnc::answer takes labels.
 *
 * ## The whole client of a vision service
 *
 * With `upload=every-frame` each frame that leaves is sent to the cloud as well, as far as the
 * service keeps up and the limits allow; what it sees comes as messages `adacompress-labels` and as
 * metas on the frames that leave afterwards. #GstAdaCompressEnc:max-requests and
 * #GstAdaCompressEnc:max-requests-per-minute bound what it may cost,
 * #GstAdaCompressEnc:cloud-dry-run shows what would be sent.
 *
 * ## Messages
 *
 * - `adacompress-state`, when the state changes: `state` and `previous` (string: inference,
 *   estimate, retrain), `reason` (string), `frame` (uint64). Another version of the service's model
 *   is such a change ("the service's model changed from A to B"), also from retrain to retrain.
 * - `adacompress-cloud`, when the service cannot be asked, or can again: `state` (string: open =
 *   after failures it is left alone, closed = it answers again, exhausted = max-requests is
 *   reached), `retry-in` (uint64, nanoseconds), `reason` (string).
 * - `adacompress-labels`, for each frame that was sent with #GstAdaCompressEnc:upload and answered:
 *   `frame` and `timestamp` (uint64), `quality` (int), `labels` and `texts` (arrays of string: the
 *   service's stable identifiers, and for people; the best first), `scores` (array of double),
 *   `model` (string: its version, or empty).
 * - `adacompress-dry-run`, with #GstAdaCompressEnc:cloud-dry-run: `frame` (uint64), `quality`
 *   (int), `reference` (boolean), `picture` (uint64, the JPEG's bytes), `method` and `url` (string;
 *   empty where nothing would be sent, for the `reason`), `headers` (array of string), `body`
 *   (uint64, bytes), `requests` (uint64, until now). Secrets read ***.
 * - `adacompress-decision`, for each frame, with #GstAdaCompressEnc:post-messages: `frame`
 *   (uint64), `timestamp` (uint64), `quality` (int), `agreement` (double, predicted; -1 = not
 *   known), `state` (string), `size` and `reference-size` (uint64; the latter predicted),
 *   `asked` (boolean).
 *
 * ## Meta
 *
 * Each buffer carries the meta `adacompress`: `quality` (int), `agreement` (double, predicted,
 * -1 = not known), `state` (string; `fixed` without an agent). With `upload=every-frame` it has the
 * meta `adacompress-labels` as soon as a frame was answered: `labels`, `texts`, `scores` as in the
 * message, `frame` (uint64, which frame they are of), `age` (uint64, nanoseconds since it left).
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 videotestsrc num-buffers=100 ! adacompressenc policy=fixed quality=60 ! multifilesink location=frame%03d.jpg
 * ]| A plain encoder.
 * |[
 * gst-launch-1.0 v4l2src ! adacompressenc cloud=local:resnet50.safetensors agent-file=camera.safetensors ! matroskamux ! filesink location=camera.mkv
 * ]| Learns what a ResNet-50 needs of a camera's pictures, and keeps what it has learnt.
 * |[
 * gst-launch-1.0 -m v4l2src ! videoconvert ! adacompressenc cloud=google: upload=every-frame max-requests-per-minute=60 ! fakesink
 * ]| A frame a second to Google Cloud Vision (GOOGLE_API_KEY); its labels are among the messages.
 * |[
 * gst-launch-1.0 -m v4l2src ! videoconvert ! adacompressenc cloud=rekognition:eu-west-1 cloud-dry-run=true ! fakesink
 * ]| What Amazon Rekognition would be sent.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "agent.h"
#include "common.h"
#include "downstream.h"
#include "frame.h"
#include "lookout.h"
#include "meta.h"
#include "models.h"
#include "report.h"
#include "settings.h"
#include "uplink.h"

#include <gst/video/gstvideoencoder.h>
#include <gst/video/video.h>

#include <math.h>
#include <string.h>

GST_DEBUG_CATEGORY (ada_compress_enc_debug);
#define GST_CAT_DEFAULT ada_compress_enc_debug

/* libjpeg's own. */
#define MAX_SIDE "65500"
/* Without an agent the reference's size is computed once in so many frames. */
#define REFERENCE_EVERY 32
/* EOS looks up from its wait this often, in milliseconds. */
#define DRAIN_SLICE 20
/* Bits of a request's id that hold its quality. */
#define QUALITY_BITS 7

enum { SIGNAL_CLASSIFY, SIGNAL_ANSWER, N_SIGNALS };
static guint signals[N_SIGNALS];
static guint prop_stats;

#define GST_TYPE_ADA_COMPRESS_ENC (gst_ada_compress_enc_get_type ())
G_DECLARE_FINAL_TYPE (GstAdaCompressEnc, gst_ada_compress_enc, GST, ADA_COMPRESS_ENC,
    GstVideoEncoder)

struct _GstAdaCompressEnc {
  GstVideoEncoder parent;

  /* Under the object lock. */
  AdaSettings settings;
  AdaUplink *uplink;            /* from start() to stop(), where there is a cloud */
  AdaAgent *agent;              /* and where there is an agent */
  AdaCounters counters;
  AdaAgentStats last_agent;     /* of those before */
  AdaClientStats last_client;
  gboolean has_agent, has_client;

  gint interrupted;             /* atomic: the wait at EOS shall end */

  /* Streaming thread. */
  gboolean learning;            /* there is an agent */
  AdaLookout *lookout;          /* looks at frames; NULL where the stream itself does: not live */
  PirlJpegCoder *coder;
  PirlYccConverter *converter;
  PirlRaw layout;
  GstVideoInfo info;
  PirlHuffman tables;
  gint measured_quality;        /* reference_ratio belongs to it */
  guint since_measured;
  gdouble reference_ratio;      /* the reference's bytes / those of a frame */
};

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS ("video/x-raw, format = (string) " ADA_FRAME_FORMATS ", "
        "width = (int) [ 1, " MAX_SIDE " ], height = (int) [ 1, " MAX_SIDE " ], "
        "framerate = (fraction) [ 0/1, MAX ]"));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS ("image/jpeg, "
        "width = (int) [ 1, " MAX_SIDE " ], height = (int) [ 1, " MAX_SIDE " ], "
        "framerate = (fraction) [ 0/1, MAX ], parsed = (boolean) true, sof-marker = (int) 0, "
        "colorspace = (string) { sYUV, GRAY }, sampling = (string) { YCbCr-4:2:0, GRAYSCALE }"));

#define gst_ada_compress_enc_parent_class parent_class
G_DEFINE_FINAL_TYPE (GstAdaCompressEnc, gst_ada_compress_enc, GST_TYPE_VIDEO_ENCODER)
GST_ELEMENT_REGISTER_DEFINE (adacompressenc, "adacompressenc", GST_RANK_NONE,
    GST_TYPE_ADA_COMPRESS_ENC)

/* ---- settings ----------------------------------------------------------------------------- */

/* With the object lock. */
static void
refresh_stats (GstAdaCompressEnc * self)
{
  if (self->agent != NULL)
    ada_agent_stats (self->agent, &self->last_agent);
  if (self->uplink != NULL)
    ada_client_stats (ada_uplink_client (self->uplink), &self->last_client);
}

static GstStructure *
get_stats (GstAdaCompressEnc * self)
{
  GstStructure *stats;

  GST_OBJECT_LOCK (self);
  refresh_stats (self);
  stats = ada_report_stats (&self->counters, self->has_agent ? &self->last_agent : NULL,
      self->has_client ? &self->last_client : NULL);
  GST_OBJECT_UNLOCK (self);
  return stats;
}

static void
gst_ada_compress_enc_set_property (GObject * object, guint id, const GValue * value,
    GParamSpec * pspec)
{
  gst_pirl_properties_set (&ada_properties, object, &GST_ADA_COMPRESS_ENC (object)->settings, id,
      value, pspec);
}

static void
gst_ada_compress_enc_get_property (GObject * object, guint id, GValue * value, GParamSpec * pspec)
{
  GstAdaCompressEnc *self = GST_ADA_COMPRESS_ENC (object);

  if (id == prop_stats)
    g_value_take_boxed (value, get_stats (self));
  else
    gst_pirl_properties_get (&ada_properties, object, &self->settings, id, value, pspec);
}

static void
gst_ada_compress_enc_init (GstAdaCompressEnc * self)
{
  gst_pirl_properties_init (&ada_properties, &self->settings);
  GST_PAD_SET_ACCEPT_TEMPLATE (GST_VIDEO_ENCODER_SINK_PAD (self));
}

static void
gst_ada_compress_enc_finalize (GObject * object)
{
  gst_pirl_properties_clear (&ada_properties, &GST_ADA_COMPRESS_ENC (object)->settings);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

/* ---- negotiation -------------------------------------------------------------------------- */

/* What the entropy coder uses, as things are downstream. */
static PirlHuffman
resolve_tables (GstAdaCompressEnc * self)
{
  gint huffman;

  GST_OBJECT_LOCK (self);
  huffman = self->settings.huffman;
  GST_OBJECT_UNLOCK (self);
  switch (huffman) {
    case ADA_HUFFMAN_STANDARD:
      return PIRL_HUFFMAN_STANDARD;
    case ADA_HUFFMAN_OPTIMIZED:
      return PIRL_HUFFMAN_OPTIMIZED;
    case ADA_HUFFMAN_TUNED:
      return PIRL_HUFFMAN_TUNED;
    default:
      return ada_downstream_takes_any_tables (GST_VIDEO_ENCODER_SRC_PAD (self))
          ? PIRL_HUFFMAN_TUNED : PIRL_HUFFMAN_STANDARD;
  }
}

static GstCaps *
output_caps (const GstVideoInfo * info)
{
  gboolean grey = GST_VIDEO_INFO_IS_GRAY (info);

  return gst_caps_new_simple ("image/jpeg", "parsed", G_TYPE_BOOLEAN, TRUE,
      "sof-marker", G_TYPE_INT, 0, "colorspace", G_TYPE_STRING, grey ? "GRAY" : "sYUV",
      "sampling", G_TYPE_STRING, grey ? "GRAYSCALE" : "YCbCr-4:2:0", NULL);
}

static gboolean
gst_ada_compress_enc_set_format (GstVideoEncoder * encoder, GstVideoCodecState * state)
{
  GstAdaCompressEnc *self = GST_ADA_COMPRESS_ENC (encoder);
  GstVideoCodecState *output;
  GError *error = NULL;

  if (GST_VIDEO_INFO_IS_INTERLACED (&state->info)) {
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
        ("interlaced video (interlace-mode=%s) would be woven into one picture; put the element "
            "`deinterlace` in front", gst_video_interlace_mode_to_string
            (GST_VIDEO_INFO_INTERLACE_MODE (&state->info))), (NULL));
    return FALSE;
  }
  self->info = state->info;
  ada_frame_layout (&self->info, &self->layout);
  g_clear_pointer (&self->converter, pirl_ycc_converter_free);
  self->converter = pirl_ycc_converter_new (&self->layout, &error);
  if (self->converter == NULL) {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return FALSE;
  }
  self->tables = resolve_tables (self);
  self->measured_quality = -1;
  if (self->learning && self->lookout == NULL
      && gst_pirl_is_live (GST_VIDEO_ENCODER_SINK_PAD (encoder)))
    self->lookout = ada_lookout_new (self->agent);
  output = gst_video_encoder_set_output_state (encoder, output_caps (&self->info), state);
  /* What JFIF means, whatever came in. */
  gst_video_colorimetry_from_string (&GST_VIDEO_INFO_COLORIMETRY (&output->info), "1:4:0:0");
  gst_video_codec_state_unref (output);
  gst_video_encoder_set_latency (encoder, 0, 0);
  return TRUE;
}

static gboolean
gst_ada_compress_enc_propose_allocation (GstVideoEncoder * encoder, GstQuery * query)
{
  gst_query_add_allocation_meta (query, GST_VIDEO_META_API_TYPE, NULL);
  return GST_VIDEO_ENCODER_CLASS (parent_class)->propose_allocation (encoder, query);
}

/* ---- frames ------------------------------------------------------------------------------- */

/* What happens to one frame. */
typedef struct {
  AdaDecision decision;
  AdaObservation *observation;  /* NULL without an agent */
  gint quality, reference;
  gdouble agreement;
  const gchar *state;
  gboolean post;
  gboolean own;                 /* decision and observation are of this very frame */
  guint64 number;               /* of the frame, from 0 */
} Choice;

/* The coder holds the frame afterwards. */
static gboolean
load_frame (GstAdaCompressEnc * self, GstBuffer * buffer)
{
  PirlRaw raw = self->layout;
  GstVideoFrame frame;
  GError *error = NULL;
  PirlYcc ycc;
  gboolean ok;

  if (!gst_video_frame_map (&frame, &self->info, buffer, GST_MAP_READ)) {
    GST_ELEMENT_ERROR (self, STREAM, ENCODE,
        ("a buffer of %" G_GSIZE_FORMAT " bytes is no %s frame of %dx%d",
            gst_buffer_get_size (buffer), GST_VIDEO_INFO_NAME (&self->info),
            GST_VIDEO_INFO_WIDTH (&self->info), GST_VIDEO_INFO_HEIGHT (&self->info)), (NULL));
    return FALSE;
  }
  ada_frame_planes (&frame, &raw);
  pirl_ycc_convert (self->converter, &raw, &ycc);
  ok = pirl_jpeg_coder_load (self->coder, &ycc, &error);
  gst_video_frame_unmap (&frame);
  if (!ok)
    gst_pirl_post_error (GST_ELEMENT (self), &error);
  return ok;
}

static void
decide (GstAdaCompressEnc * self, Choice * choice)
{
  choice->own = TRUE;
  if (self->lookout != NULL)
    choice->own = ada_lookout_decide (self->lookout, self->coder, &choice->decision,
        &choice->observation);
  else
    ada_agent_decide (self->agent, self->coder, &choice->decision, &choice->observation);
}

static void
choose (GstAdaCompressEnc * self, Choice * choice)
{
  gint fixed, least, most;

  memset (choice, 0, sizeof (*choice));
  GST_OBJECT_LOCK (self);
  choice->number = self->counters.frames;
  choice->reference = self->settings.reference_quality;
  choice->post = self->settings.post_messages;
  fixed = self->settings.policy == ADA_POLICY_FIXED ? self->settings.quality : choice->reference;
  least = self->settings.min_quality;
  most = MAX (least, self->settings.max_quality);
  GST_OBJECT_UNLOCK (self);
  if (self->learning) {
    decide (self, choice);
    choice->quality = CLAMP (choice->decision.quality, least, most);
    choice->agreement = choice->decision.agreement;
    choice->state = ada_state_name (choice->decision.state);
  } else {
    choice->quality = CLAMP (fixed, least, most);
    choice->agreement = NAN;
    choice->state = "fixed";
  }
  if (choice->quality == choice->reference)
    choice->agreement = 1;
  else if (self->learning && choice->quality != choice->decision.quality)
    choice->agreement = NAN;
  choice->quality = MAX (choice->quality, 1);
}

/* The bytes of the frame's reference, from what is known already where it can be. */
static gdouble
reference_size (GstAdaCompressEnc * self, const Choice * choice, gsize size)
{
  if (choice->quality == choice->reference && self->tables == PIRL_HUFFMAN_STANDARD)
    return size;
  if (choice->observation != NULL && choice->quality == choice->decision.quality) {
    guint level = choice->quality == choice->reference ? choice->observation->levels - 1
        : choice->decision.level;

    return size / choice->observation->sizes[level];
  }
  if (choice->quality != self->measured_quality || self->since_measured >= REFERENCE_EVERY) {
    gdouble reference;

    pirl_jpeg_coder_sizes (self->coder, &choice->reference, 1, PIRL_HUFFMAN_STANDARD, &reference,
        NULL);
    self->reference_ratio = reference / size;
    self->measured_quality = choice->quality;
    self->since_measured = 0;
  }
  self->since_measured++;
  return size * self->reference_ratio;
}

static void
count_frame (GstAdaCompressEnc * self, const Choice * choice, gsize size, GstClockTime pts)
{
  AdaReportFrame report = {
    .frame = choice->number, .timestamp = pts,
    .quality = choice->quality, .agreement = choice->agreement,
    .state = choice->state, .size = size, .asked = choice->own && choice->decision.ask,
    .reference_size = reference_size (self, choice, size)
  };

  GST_OBJECT_LOCK (self);
  self->counters.frames++;
  self->counters.bytes += size;
  self->counters.reference_bytes += report.reference_size;
  self->counters.histogram[choice->quality]++;
  GST_OBJECT_UNLOCK (self);
  if (choice->post)
    ada_report_frame (GST_ELEMENT (self), &report);
}

static const gchar *
sample_name (GstVideoCodecFrame * frame)
{
  GstPirlSample sample;

  return gst_pirl_sample_get (frame->input_buffer, &sample) && *sample.name != '\0'
      ? sample.name : NULL;
}

/* Hands the coder, with the frame in it, to those who look at it or ask the cloud. */
static void
hand_over (GstAdaCompressEnc * self, Choice * choice, GstVideoCodecFrame * frame)
{
  const guint64 id = choice->number;

  if (choice->own && choice->observation != NULL && choice->decision.ask) {
    self->coder = ada_agent_ask (self->agent, self->coder, id, sample_name (frame),
        &choice->decision, choice->observation);
    return;
  }
  if (choice->observation != NULL)
    ada_observation_unref (choice->observation);
  if (!choice->own)
    self->coder = ada_lookout_show (self->lookout, self->coder, id, sample_name (frame));
}

/* What leaves, to the cloud; and the labels of what was sent before. */
static void
upload (GstAdaCompressEnc * self, const Choice * choice, GstVideoCodecFrame * frame,
    const guint8 * data, gsize size)
{
  const GstSegment *segment = &GST_VIDEO_ENCODER (self)->input_segment;
  AdaUpload *upload = self->uplink != NULL ? ada_uplink_upload (self->uplink) : NULL;

  if (upload == NULL)
    return;
  ada_upload_frame (upload, &(AdaUploadFrame) {
        .number = choice->number, .timestamp = frame->pts, .quality = choice->quality,
        .running_time = gst_segment_to_running_time (segment, GST_FORMAT_TIME, frame->pts),
        .width = GST_VIDEO_INFO_WIDTH (&self->info), .height = GST_VIDEO_INFO_HEIGHT (&self->info),
        .name = sample_name (frame)
      }, data, size, frame->output_buffer);
}

/* The frame that the coder holds, into frame->output_buffer. */
static gboolean
encode_frame (GstAdaCompressEnc * self, GstVideoCodecFrame * frame)
{
  GError *error = NULL;
  const guint8 *data;
  Choice choice;
  gsize size;
  gboolean ok;

  choose (self, &choice);
  ok = pirl_jpeg_coder_encode (self->coder, choice.quality, self->tables, &data, &size, &error);
  if (ok) {
    frame->output_buffer = gst_video_encoder_allocate_output_buffer (GST_VIDEO_ENCODER (self),
        size);
    gst_buffer_fill (frame->output_buffer, 0, data, size);
    gst_pirl_compress_add (frame->output_buffer, choice.quality,
        isnan (choice.agreement) ? -1 : choice.agreement, choice.state);
    upload (self, &choice, frame, data, size);
    count_frame (self, &choice, size, frame->pts);
  } else {
    gst_pirl_post_error (GST_ELEMENT (self), &error);
  }
  if (self->learning)
    hand_over (self, &choice, frame);
  return ok;
}

/* TRUE when downstream says that this frame would come too late; only with the property qos. */
static gboolean
is_late (GstAdaCompressEnc * self, GstVideoCodecFrame * frame)
{
  GstVideoEncoder *encoder = GST_VIDEO_ENCODER (self);

  if (!gst_video_encoder_is_qos_enabled (encoder)
      || gst_video_encoder_get_max_encode_time (encoder, frame) >= 0)
    return FALSE;
  GST_OBJECT_LOCK (self);
  self->counters.dropped++;
  GST_OBJECT_UNLOCK (self);
  return TRUE;
}

static GstFlowReturn
gst_ada_compress_enc_handle_frame (GstVideoEncoder * encoder, GstVideoCodecFrame * frame)
{
  GstAdaCompressEnc *self = GST_ADA_COMPRESS_ENC (encoder);
  gboolean snapshot;
  GstFlowReturn ret;

  GST_OBJECT_LOCK (self);
  self->counters.frames_in++;
  GST_OBJECT_UNLOCK (self);
  if (is_late (self, frame))
    return gst_video_encoder_finish_frame (encoder, frame);
  if (gst_pad_needs_reconfigure (GST_VIDEO_ENCODER_SRC_PAD (encoder)))
    self->tables = resolve_tables (self);
  if (!load_frame (self, frame->input_buffer) || !encode_frame (self, frame)) {
    gst_video_encoder_finish_frame (encoder, frame);
    return GST_FLOW_ERROR;
  }
  GST_VIDEO_CODEC_FRAME_SET_SYNC_POINT (frame);
  GST_OBJECT_LOCK (self);
  snapshot = self->settings.snapshot;
  GST_OBJECT_UNLOCK (self);
  ret = gst_video_encoder_finish_frame (encoder, frame);
  return ret == GST_FLOW_OK && snapshot ? GST_FLOW_EOS : ret;
}

/* ---- events ------------------------------------------------------------------------------- */

/* What has been asked is learnt before the end, as far as the cloud answers in time. */
static GstFlowReturn
gst_ada_compress_enc_finish (GstVideoEncoder * encoder)
{
  GstAdaCompressEnc *self = GST_ADA_COMPRESS_ENC (encoder);
  gint64 deadline;

  if (self->uplink == NULL)
    return GST_FLOW_OK;
  if (self->lookout != NULL)
    ada_lookout_drain (self->lookout);
  GST_OBJECT_LOCK (self);
  deadline = g_get_monotonic_time () + self->settings.cloud_timeout * (gint64) 1000;
  GST_OBJECT_UNLOCK (self);
  while (!g_atomic_int_get (&self->interrupted) && g_get_monotonic_time () < deadline) {
    if (ada_client_drain (ada_uplink_client (self->uplink), DRAIN_SLICE))
      break;
  }
  if (self->learning)
    ada_agent_save_soon (self->agent);
  return GST_FLOW_OK;
}

static void
flush_stopped (GstAdaCompressEnc * self)
{
  AdaUpload *upload = self->uplink != NULL ? ada_uplink_upload (self->uplink) : NULL;

  g_atomic_int_set (&self->interrupted, FALSE);
  if (upload != NULL)
    ada_upload_flush (upload);
}

static gboolean
gst_ada_compress_enc_sink_event (GstVideoEncoder * encoder, GstEvent * event)
{
  GstAdaCompressEnc *self = GST_ADA_COMPRESS_ENC (encoder);

  if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_START)
    g_atomic_int_set (&self->interrupted, TRUE);
  else if (GST_EVENT_TYPE (event) == GST_EVENT_FLUSH_STOP)
    flush_stopped (self);
  return GST_VIDEO_ENCODER_CLASS (parent_class)->sink_event (encoder, event);
}

/* ---- the agent ---------------------------------------------------------------------------- */

static void
state_changed (AdaState from, AdaState to, const gchar * reason, gpointer user_data)
{
  GstAdaCompressEnc *self = user_data;
  guint64 frame;

  GST_OBJECT_LOCK (self);
  frame = self->counters.frames;
  GST_OBJECT_UNLOCK (self);
  GST_INFO_OBJECT (self, "%s after %s: %s", ada_state_name (to), ada_state_name (from), reason);
  ada_report_state (GST_ELEMENT (self), from, to, reason, frame);
}

static void
warned (const GError * error, gpointer user_data)
{
  GError *copy = g_error_copy (error);

  gst_pirl_post_warning (GST_ELEMENT (user_data), &copy);
}

/* On the client's worker: the application is asked. */
static void
ask_application (const AdaRequest * request, gpointer user_data)
{
  GstAdaCompressEnc *self = user_data;
  guint64 id = request->id << QUALITY_BITS | request->quality;
  GstBuffer *buffer = gst_buffer_new_wrapped_bytes (request->jpeg);
  GstCaps *caps = gst_caps_new_simple ("image/jpeg", "width", G_TYPE_INT, request->width,
      "height", G_TYPE_INT, request->height, NULL);
  GstSample *sample = gst_sample_new (buffer, caps, NULL, gst_structure_new ("adacompress-classify",
          "frame", G_TYPE_UINT64, request->id, "quality", G_TYPE_INT, request->quality,
          "reference", G_TYPE_BOOLEAN, request->reference,
          "name", G_TYPE_STRING, request->name, NULL));

  g_signal_emit (self, signals[SIGNAL_CLASSIFY], 0, id, sample);
  gst_sample_unref (sample);
  gst_caps_unref (caps);
  gst_buffer_unref (buffer);
}

static gboolean
gst_ada_compress_enc_answer (GstAdaCompressEnc * self, guint64 id, const gchar * const *labels)
{
  gint quality = id & ((1 << QUALITY_BITS) - 1);
  AdaCloud *cloud;
  gboolean taken;

  GST_OBJECT_LOCK (self);
  cloud = self->uplink ? g_object_ref (ada_uplink_cloud (self->uplink)) : NULL;
  GST_OBJECT_UNLOCK (self);
  taken = cloud != NULL
      && ada_application_cloud_answer (cloud, id >> QUALITY_BITS, quality, labels);
  g_clear_object (&cloud);
  return taken;
}

/* FALSE with an error; @uplink NULL when no cloud is wanted. */
static gboolean
make_uplink (GstAdaCompressEnc * self, const AdaSettings * settings, AdaUplink ** uplink,
    GError ** error)
{
  *uplink = NULL;
  if (settings->upload != ADA_UPLOAD_NONE && !ada_is_set (settings->cloud)) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "upload=every-frame has nowhere to send frames to; set `cloud`, or upload=none");
    return FALSE;
  }
  if (!ada_is_set (settings->cloud)
      || (settings->policy == ADA_POLICY_FIXED && settings->upload == ADA_UPLOAD_NONE))
    return TRUE;
  *uplink = ada_uplink_new (GST_ELEMENT (self), settings, ask_application, self, error);
  return *uplink != NULL;
}

static AdaAgent *
make_agent (GstAdaCompressEnc * self, const AdaSettings * settings, AdaUplink * uplink,
    gchar ** origin, GError ** error)
{
  g_autofree gchar *extractor = settings->extractor ? g_strdup (settings->extractor)
      : ada_models_find (ADA_MODEL_EXTRACTOR);
  g_autofree gchar *agent = ada_models_find (ADA_MODEL_AGENT);
  const AdaAgentEvents events = { state_changed, warned, self };
  AdaAgentConfig config = { 0 };

  config.observer.extractor = ada_is_set (extractor) ? extractor : NULL;
  config.observer.features = settings->features;
  config.observer.huffman = resolve_tables (self);
  config.observer.device = settings->device;
  config.observer.n_threads = settings->n_threads;
  ada_settings_controller (settings, &config.controller);
  config.agreement = settings->agreement;
  config.cloud = uplink ? ada_uplink_cloud (uplink) : NULL;
  config.client = uplink ? ada_uplink_client (uplink) : NULL;
  config.agent_file = ada_is_set (settings->agent_file) ? settings->agent_file : NULL;
  /* What was learnt of drawn textures is better than nothing, but with a cloud nothing is soon
   * something, and the reference leaves meanwhile. */
  config.shipped_agent = uplink == NULL ? agent : NULL;
  return ada_agent_new (&config, &events, origin, error);
}

/* Says once what a stream without a cloud does; drops an agent that has learnt nothing. */
static void
warn_without_cloud (GstAdaCompressEnc * self, const AdaSettings * settings, const gchar * origin,
    AdaAgent ** agent)
{
  if (origin != NULL) {
    GST_ELEMENT_WARNING (self, RESOURCE, SETTINGS, ("no cloud is set: the agent of \"%s\" decides, "
            "and nothing is learnt; set `cloud` to have it learn", origin), (NULL));
    return;
  }
  g_clear_pointer (agent, ada_agent_free);
  GST_ELEMENT_WARNING (self, RESOURCE, SETTINGS, ("no cloud is set, and there is no agent that fits: "
          "every frame gets quality %d; set `cloud` to have one learn, or policy=fixed",
          settings->reference_quality), (NULL));
}

/* What was made is the element's from now on. */
static void
take_parts (GstAdaCompressEnc * self, AdaUplink * uplink, AdaAgent * agent)
{
  self->learning = agent != NULL;
  GST_OBJECT_LOCK (self);
  self->uplink = uplink;
  self->agent = agent;
  self->has_client = uplink != NULL || agent != NULL;   /* zeros where nobody is asked */
  self->has_agent = agent != NULL;
  GST_OBJECT_UNLOCK (self);
}

static gboolean
start_parts (GstAdaCompressEnc * self, const AdaSettings * settings)
{
  const gboolean decides = settings->policy != ADA_POLICY_FIXED;
  g_autofree gchar *origin = NULL;
  GError *error = NULL;
  AdaUplink *uplink = NULL;
  AdaAgent *agent = NULL;

  if (make_uplink (self, settings, &uplink, &error) && decides)
    agent = make_agent (self, settings, uplink, &origin, &error);
  if (error != NULL) {
    g_clear_pointer (&uplink, ada_uplink_free);
    gst_pirl_post_error (GST_ELEMENT (self), &error);
    return FALSE;
  }
  if (decides)
    GST_INFO_OBJECT (self, "agent: %s", origin ? origin : "untrained");
  if (decides && uplink == NULL)
    warn_without_cloud (self, settings, origin, &agent);
  take_parts (self, uplink, agent);
  return TRUE;
}

/* ---- states ------------------------------------------------------------------------------- */

/* Not GstVideoEncoder::start: where that fails, the base class posts an error after ours, "could not
 * initialize supporting library", which is not the reason. */
static gboolean
start (GstAdaCompressEnc * self)
{
  AdaSettings settings;
  gboolean ok;

  GST_OBJECT_LOCK (self);
  gst_pirl_properties_copy (&ada_properties, &settings, &self->settings);
  memset (&self->counters, 0, sizeof (self->counters));
  memset (&self->last_client, 0, sizeof (self->last_client));
  self->has_agent = self->has_client = FALSE;
  GST_OBJECT_UNLOCK (self);
  g_atomic_int_set (&self->interrupted, FALSE);
  self->learning = FALSE;
  ok = start_parts (self, &settings);
  gst_pirl_properties_clear (&ada_properties, &settings);
  if (ok)
    self->coder = self->learning ? ada_agent_new_coder () : pirl_jpeg_coder_new ();
  return ok;
}

static gboolean
gst_ada_compress_enc_stop (GstVideoEncoder * encoder)
{
  GstAdaCompressEnc *self = GST_ADA_COMPRESS_ENC (encoder);
  AdaUplink *uplink;
  AdaAgent *agent;

  self->learning = FALSE;
  g_clear_pointer (&self->lookout, ada_lookout_free);
  if (self->uplink != NULL)
    ada_client_stop (ada_uplink_client (self->uplink));
  GST_OBJECT_LOCK (self);
  refresh_stats (self);
  agent = g_steal_pointer (&self->agent);
  uplink = g_steal_pointer (&self->uplink);
  GST_OBJECT_UNLOCK (self);
  g_clear_pointer (&uplink, ada_uplink_free);
  g_clear_pointer (&agent, ada_agent_free);
  g_clear_pointer (&self->coder, pirl_jpeg_coder_free);
  g_clear_pointer (&self->converter, pirl_ycc_converter_free);
  return TRUE;
}

static GstStateChangeReturn
gst_ada_compress_enc_change_state (GstElement * element, GstStateChange transition)
{
  GstAdaCompressEnc *self = GST_ADA_COMPRESS_ENC (element);

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED && !start (self))
    return GST_STATE_CHANGE_FAILURE;
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    g_atomic_int_set (&self->interrupted, TRUE);
  return GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
}

/* ---- class -------------------------------------------------------------------------------- */

static void
install_signals (GstAdaCompressEncClass * klass)
{
  /**
   * GstAdaCompressEnc::classify:
   * @enc: the element
   * @id: for #GstAdaCompressEnc::answer
   * @sample: a #GstSample with one JPEG; its info has `frame` (uint64), `quality` (int), `reference`
   *     (boolean) and `name` (string, of the data set's sample)
   *
   * With `cloud=application`: what does this picture show? Emitted on a thread that is not the
   * stream's; the answer may come from any thread, now or later, within cloud-timeout.
   */
  signals[SIGNAL_CLASSIFY] = g_signal_new ("classify", G_TYPE_FROM_CLASS (klass),
      G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 2, G_TYPE_UINT64, GST_TYPE_SAMPLE);
  /**
   * GstAdaCompressEnc::answer:
   * @enc: the element
   * @id: of the picture
   * @labels: (nullable): what it shows, the best first; NULL when nothing can be said
   *
   * Returns: FALSE when nobody waits for this answer (any more).
   */
  signals[SIGNAL_ANSWER] = g_signal_new_class_handler ("answer", G_TYPE_FROM_CLASS (klass),
      G_SIGNAL_RUN_LAST | G_SIGNAL_ACTION, G_CALLBACK (gst_ada_compress_enc_answer), NULL, NULL,
      NULL, G_TYPE_BOOLEAN, 2, G_TYPE_UINT64, G_TYPE_STRV);
}

static void
gst_ada_compress_enc_class_init (GstAdaCompressEncClass * klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstVideoEncoderClass *encoder_class = GST_VIDEO_ENCODER_CLASS (klass);

  GST_DEBUG_CATEGORY_INIT (ada_compress_enc_debug, "adacompressenc", 0, "learned compression");

  object_class->set_property = gst_ada_compress_enc_set_property;
  object_class->get_property = gst_ada_compress_enc_get_property;
  object_class->finalize = gst_ada_compress_enc_finalize;

  prop_stats = gst_pirl_properties_install (&ada_properties, object_class);
  /**
   * GstAdaCompressEnc:stats:
   *
   * `application/x-adacompressenc-stats`: `frames-in` (= `frames` + `dropped`), `frames`, `bytes`,
   * `reference-bytes` (predicted where the reference did not leave), `dropped` (by quality of
   * service), `estimates`, `retrains`, `saves`, `extractor-errors`, `cloud-unknown` (frames that a
   * recording does not hold) (uint64). Of the cloud: `cloud-requests` (pictures sent, retries
   * included; each one of `cloud-answers`, `cloud-no-answers`, `cloud-errors`, `cloud-timeouts`),
   * `cloud-retries`, `cloud-dropped` (estimates not asked), `cloud-sent` and `cloud-received`
   * (bytes on the wire, headers and all, as HTTP/1.1 has them and without TLS), of which
   * `estimate-bytes` and `upload-bytes`; `uploads` (frames sent for their labels),
   * `uploads-answered`, `uploads-dropped` (`uploads` + `uploads-dropped` = `frames`),
   * `cloud-dry-requests` (of a dry run) (uint64); `cloud-open` (boolean: failures have stopped the
   * asking), `cloud-retry-in` (uint64, nanoseconds until it is tried again),
   * `cloud-exhausted` (boolean: max-requests is reached). `state` (string);
   * `agreement`, `agreement-low`, `agreement-high` (double: measured, its 95 % interval), `p-est`,
   * `lambda`, `epsilon`, `evidence` (double; -1 = not known); `remembered` (uint: agents of other
   * sceneries); `last-error` (string); `qualities` (array of int) and `quality-counts` (array of
   * uint64). Without an agent its numbers are not there, and `state` is `fixed`; without an agent
   * and a cloud those of the cloud are not there either.
   */
  g_object_class_install_property (object_class, prop_stats,
      g_param_spec_boxed ("stats", "Statistics", "Frames, bytes, agreement and cloud requests",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  install_signals (klass);

  gst_element_class_set_static_metadata (element_class, "Learned JPEG encoder",
      "Codec/Encoder/Image", "Encodes JPEG with the quality that a vision service needs",
      "The gst-pirl developers");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_ada_compress_enc_change_state);

  encoder_class->stop = GST_DEBUG_FUNCPTR (gst_ada_compress_enc_stop);
  encoder_class->set_format = GST_DEBUG_FUNCPTR (gst_ada_compress_enc_set_format);
  encoder_class->propose_allocation =
      GST_DEBUG_FUNCPTR (gst_ada_compress_enc_propose_allocation);
  encoder_class->handle_frame = GST_DEBUG_FUNCPTR (gst_ada_compress_enc_handle_frame);
  encoder_class->finish = GST_DEBUG_FUNCPTR (gst_ada_compress_enc_finish);
  encoder_class->sink_event = GST_DEBUG_FUNCPTR (gst_ada_compress_enc_sink_event);
}
