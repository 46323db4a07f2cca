/* gst-pirl: the settings of pirlembed (see settings.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "settings.h"

#define MAX_BATCH_SIZE 1024
#define DEFAULT_BATCH_TIMEOUT (10 * GST_MSECOND)

#define AT(field) G_STRUCT_OFFSET (GstPirlEmbedSettings, field)

static const GstPirlProperty rows[] = {
  /**
   * GstPirlEmbed:model-file:
   *
   * A checkpoint of pirltrainsink, or a ResNet or MobileNetV2 in safetensors. May be set while
   * playing; see the section on models.
   */
  {"model-file", "Model file",
        "Checkpoint of pirltrainsink, or a ResNet or MobileNetV2 in safetensors", GST_PIRL_STRING,
      AT (network.model_file), .playing = TRUE},
  /**
   * GstPirlEmbed:layer:
   *
   * What to take from the network: `embedding` (the projection head's output, unit length),
   * `logits` (the classifier's), `features` (the last map, averaged over the picture), or of a
   * ResNet `res5` (the same), `res4`, `res3`, `res2`, `res1`. `res4-9k` and the like: that map, not
   * averaged over the picture but pooled to about 9,000 values, as layers are probed (dimensions
   * channels:columns:rows:1). Several with commas: one tensor each. Unset: `embedding` where the
   * file has a head, else `res5` or `features`.
   */
  {"layer", "Layer",
        "Output to take: embedding, logits, features, res5 ... res1, res5-9k ... res1-9k (maps "
        "pooled to about 9,000 values), or several with commas "
        "(unset = embedding where the file has a head, else features)", GST_PIRL_STRING,
      AT (network.layer)},
  /**
   * GstPirlEmbed:interval:
   *
   * 1 = every frame, N = every Nth, 0 = as the machine manages, without ever holding a frame back
   * (with batches: without ever holding upstream back for the network), -1 = 0 behind a live
   * source, else 1.
   */
  {"interval", "Interval", "Embed every Nth frame (0 = as the machine manages, holding no frame "
        "back; -1 = 0 behind a live source, else 1)", GST_PIRL_INT, AT (interval),
      GST_PIRL_INTERVAL_AUTO, .playing = TRUE},
  /**
   * GstPirlEmbed:batch-size:
   *
   * Frames that go through the network together; 1 = each by itself, on its way. Elements with the
   * same network and batch-size fill batches together. See the sections on batches and on several
   * streams.
   */
  {"batch-size", "Batch size",
        "Frames that go through the network together (1 = each by itself; more are collected, "
        "and frames wait for their batch; elements with the same network fill them together)",
      GST_PIRL_UINT, AT (network.batch), 1, MAX_BATCH_SIZE},
  /**
   * GstPirlEmbed:batch-timeout:
   *
   * How long the first of this stream's frames in a batch waits for others before it goes with
   * those that are there, in nanoseconds; 0 = until the batch is full or the stream ends. A source
   * that is slower than this makes batches of one, each of which costs as much as a full one: for a
   * camera choose the time of `batch-size` frames.
   */
  {"batch-timeout", "Batch timeout",
        "Nanoseconds that the first frame of a batch waits for it to fill (0 = until it is full)",
      GST_PIRL_UINT64, AT (batch_timeout)},
  GST_PIRL_DEVICE_PROPERTIES (AT (network.device), AT (network.precision),
      "(cuda: fp16; cpu: bf16 for a ResNet where the processor has AMX, else f32)",
      AT (network.n_threads)),
};

static void
settings_init (gpointer data)
{
  *(GstPirlEmbedSettings *) data = (GstPirlEmbedSettings) {
    .network = {.device = g_strdup ("auto"),.precision = g_strdup ("auto"),.batch = 1},
    .batch_timeout = DEFAULT_BATCH_TIMEOUT,.interval = GST_PIRL_INTERVAL_AUTO
  };
}

const GstPirlProperties gst_pirl_embed_properties = {
  .rows = rows,.n = G_N_ELEMENTS (rows),.size = sizeof (GstPirlEmbedSettings),
  .init = settings_init
};

/* Rounded up: 0 means something else. */
static gint64
in_microseconds (GstClockTime time)
{
  const guint64 most = G_GUINT64_CONSTANT (1000000) * G_MAXINT32;

  return MIN (time / GST_USECOND + (time % GST_USECOND > 0), most);
}

gboolean
gst_pirl_embed_settings_resolve (GstPirlEmbedSettings * settings, GError ** error)
{
  const gchar *path = settings->network.model_file;

  settings->network.timeout = in_microseconds (settings->batch_timeout);
  if (path != NULL && *path != '\0')
    return TRUE;
  g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "No model to embed with: "
      "set model-file to a checkpoint that pirltrainsink wrote, or to a torchvision ResNet or "
      "MobileNetV2 in safetensors");
  return FALSE;
}
