/* gst-pirl: the settings of pirldatasetsrc (see settings.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every property is a row of one table; defaults are those of gst_pirl_dataset_settings_init().
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "settings.h"

#include <string.h>

#define MAX_AUTO_THREADS 16     /* more only fills memory with pictures nobody waits for */

static const GEnumValue labels_values[] = {
  {GST_PIRL_LABELS_NONE, "Pictures of folders have no labels", "none"},
  {GST_PIRL_LABELS_FOLDER, "The first folder (below train, test or val) is the class", "folder"},
  {0}
};
static const GstPirlEnum labels_enum = { "GstPirlLabels", labels_values };

static const GEnumValue decode_values[] = {
  {GST_PIRL_DECODE_WHOLE, "Whole pictures, always", "whole"},
  {GST_PIRL_DECODE_REGION, "What the next element will look at: the same pixels", "region"},
  {GST_PIRL_DECODE_SCALED, "The same, at half the size where it is to be scaled to less", "scaled"},
  {0}
};
static const GstPirlEnum decode_enum = { "GstPirlDecodeMode", decode_values };

#define AT(field) G_STRUCT_OFFSET (GstPirlDatasetSettings, field)

static const GstPirlProperty rows[] = {
  /**
   * GstPirlDatasetSrc:location:
   *
   * A folder of JPEG and PNG pictures, a text list, WebDataset tars, one picture, or
   * `synthetic:shapes?count=N&classes=C&size=S&seed=K`; see above.
   */
  {"location", "Location",
        "Folder of JPEG and PNG pictures, text list (path[TAB]label[TAB]split), tars as in "
        "shard-{000000..000009}.tar, or synthetic:shapes?count=N&classes=C&size=S",
        GST_PIRL_STRING, AT (location)},
  /**
   * GstPirlDatasetSrc:labels:
   *
   * Where the labels of a folder's pictures come from. Lists, tars and drawn sets bring their own,
   * but `folder` is the class in tars, too.
   */
  {"labels", "Labels",
        "Where the labels of a folder's pictures come from",
        GST_PIRL_ENUM, AT (labels), .values = &labels_enum},
  /**
   * GstPirlDatasetSrc:epochs:
   *
   * How often to send the data set; 0 = without end.
   */
  {"epochs", "Epochs",
        "How often to send the data set (0 = endless)",
        GST_PIRL_UINT, AT (epochs)},
  /**
   * GstPirlDatasetSrc:shuffle:
   *
   * Draw a new order for each epoch, from `seed` and the epoch's number only; otherwise the
   * listing's order.
   */
  {"shuffle", "Shuffle",
        "Draw a new order for each epoch",
        GST_PIRL_BOOLEAN, AT (shuffle)},
  /**
   * GstPirlDatasetSrc:seed:
   *
   * Seed of the order and of `fraction`. The pictures of a drawn set have a seed of their own in
   * `location`.
   */
  {"seed", "Seed",
        "Seed of the order, and of the fraction",
        GST_PIRL_UINT64, AT (seed)},
  /**
   * GstPirlDatasetSrc:fraction:
   *
   * Part of each class's samples to send, at least one of each, as semi-supervised learning wants
   * (0.01, 0.1); of samples without a label as much. Which, `seed` decides, and a larger part has
   * all samples of a smaller one. `start-index` and the samples' numbers count those that are left.
   */
  {"fraction", "Fraction",
        "Part of each class's samples to send (0.01: one in a hundred, at least one)",
        GST_PIRL_DOUBLE, AT (fraction), 0, 1},
  /**
   * GstPirlDatasetSrc:start-index:
   *
   * First sample of the listing to send, from 0; it gets the index 0.
   */
  {"start-index", "Start index",
        "First sample of the listing to send, from 0",
        GST_PIRL_UINT64, AT (start)},
  /**
   * GstPirlDatasetSrc:stop-index:
   *
   * First sample of the listing not to send; the largest number = up to the end.
   */
  {"stop-index", "Stop index",
        "First sample of the listing not to send (18446744073709551615 = up to the end)",
        GST_PIRL_UINT64, AT (stop)},
  /**
   * GstPirlDatasetSrc:rank:
   *
   * Which share of each epoch's order to send: samples rank, rank + world-size, ...
   */
  {"rank", "Rank",
        "Which of world-size shares of each epoch to send, from 0",
        GST_PIRL_UINT, AT (rank), 0, G_MAXINT},
  /**
   * GstPirlDatasetSrc:world-size:
   *
   * Into how many shares of equal length to deal each epoch's order; what is left over is not sent.
   */
  {"world-size", "World size",
        "Number of equal shares that each epoch is dealt into (1 = all to this element)",
        GST_PIRL_UINT, AT (world_size), 1, G_MAXINT},
  /**
   * GstPirlDatasetSrc:n-threads:
   *
   * Threads that read and decode; 0 = as many as the machine has cores, at most 16. Twice as many
   * frames, and two, are held ahead.
   */
  {"n-threads", "Threads",
        "Threads that read and decode (0 = as many as the machine has cores, at most 16)",
        GST_PIRL_UINT, AT (n_threads), 0, 256},
  /**
   * GstPirlDatasetSrc:framerate:
   *
   * Timestamps are the sample's number divided by this; it slows nothing but sinks that
   * synchronise to the clock.
   */
  {"framerate", "Framerate",
        "Samples a second of stream time",
        GST_PIRL_FRACTION, AT (fps_n)},
  /**
   * GstPirlDatasetSrc:max-size:
   *
   * Shrink pictures whose longer side has more pixels than this, keeping their shape; 0 = never.
   * Not looked at when `size` is set.
   */
  {"max-size", "Maximum size",
        "Shrink pictures whose longer side is more than this, in pixels (0 = never)",
        GST_PIRL_INT, AT (max_size), 0, 65535},
  /**
   * GstPirlDatasetSrc:size:
   *
   * Scale the shorter side to this many pixels and crop the centre, so that all frames are squares
   * of one size; 0 = keep the pictures' sizes.
   */
  {"size", "Size",
        "Scale the shorter side to this and crop the centre, in pixels (0 = keep sizes)",
        GST_PIRL_INT, AT (size), 0, 32767},
  /**
   * GstPirlDatasetSrc:decode:
   *
   * How much of a JPEG file is decoded when its frame goes to nobody but a pirlembed that sends
   * tensors, or a pirljigsaw whose pirltrainsink takes the image view only, perhaps through queues
   * (neither `size` nor `max-size` is set). `region`: what they look at, which changes no result.
   * `scaled`: that, and at half its width and height where both are to be scaled to half or less,
   * which is faster still and changes results a little. Progressive files and those of four
   * colours are always decoded whole.
   */
  {"decode", "Decode",
        "How much of a picture is decoded where the next element says what it will look at",
        GST_PIRL_ENUM, AT (decode), .values = &decode_enum},
};

static void
settings_init (gpointer data)
{
  GstPirlDatasetSettings *settings = data;

  memset (settings, 0, sizeof (*settings));
  settings->labels = GST_PIRL_LABELS_NONE;
  settings->epochs = 1;
  settings->shuffle = TRUE;
  settings->stop = G_MAXUINT64;
  settings->fraction = 1;
  settings->world_size = 1;
  settings->fps_n = 30;
  settings->fps_d = 1;
  settings->decode = GST_PIRL_DECODE_REGION;
}

const GstPirlProperties gst_pirl_dataset_properties = {
  .rows = rows,.n = G_N_ELEMENTS (rows),.size = sizeof (GstPirlDatasetSettings),
  .init = settings_init
};

gboolean
gst_pirl_dataset_settings_check (const GstPirlDatasetSettings * settings, GError ** error)
{
  if (!gst_pirl_listing_probe (settings->location, error))
    return FALSE;
  if (settings->rank >= settings->world_size) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "rank is %u, but with world-size=%u there are ranks 0 to %u", settings->rank,
        settings->world_size, settings->world_size - 1);
    return FALSE;
  }
  if (settings->start >= settings->stop) {
    g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
        "start-index (%" G_GUINT64_FORMAT ") must be less than stop-index (%" G_GUINT64_FORMAT
        "), which is the first sample not sent", settings->start, settings->stop);
    return FALSE;
  }
  return TRUE;
}

guint
gst_pirl_dataset_settings_threads (const GstPirlDatasetSettings * settings)
{
  return settings->n_threads > 0 ? settings->n_threads
      : MIN (g_get_num_processors (), MAX_AUTO_THREADS);
}

/* ---- samples and time ---------------------------------------------------------------------- */

GstClockTime
gst_pirl_dataset_time (const GstPirlDatasetSettings * settings, guint64 n)
{
  return gst_util_uint64_scale (n, settings->fps_d * (guint64) GST_SECOND, settings->fps_n);
}

/* The sample that is shown at @time. */
guint64
gst_pirl_dataset_sample (const GstPirlDatasetSettings * settings, GstClockTime time)
{
  guint64 n = gst_util_uint64_scale (time, settings->fps_n, settings->fps_d * (guint64) GST_SECOND);

  /* Timestamps are rounded down, so a sample's own may fall just short of it. */
  while (gst_pirl_dataset_time (settings, n + 1) <= time)
    n++;
  return n;
}

/* Samples of the whole stream; GST_PIRL_NO_SAMPLE = endless. */
guint64
gst_pirl_dataset_length (const GstPirlDatasetSettings * settings, guint64 count)
{
  guint64 length = settings->epochs;

  return settings->epochs > 0 && g_uint64_checked_mul (&length, length, count)
      ? length : GST_PIRL_NO_SAMPLE;
}
