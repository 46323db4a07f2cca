/* gst-pirl: the settings of pirldatasetsrc (see settings.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "settings.h"

#define DEFAULT_LABELS GST_PIRL_LABELS_NONE
#define DEFAULT_EPOCHS 1
#define DEFAULT_SHUFFLE TRUE
#define DEFAULT_SEED 0
#define DEFAULT_START_INDEX 0
#define DEFAULT_STOP_INDEX G_MAXUINT64
#define DEFAULT_RANK 0
#define DEFAULT_WORLD_SIZE 1
#define DEFAULT_N_THREADS 0
#define DEFAULT_FPS_N 30
#define DEFAULT_FPS_D 1
#define DEFAULT_MAX_SIZE 0
#define DEFAULT_SIZE 0
#define DEFAULT_DECODE GST_PIRL_DECODE_REGION

#define MAX_AUTO_THREADS 16     /* more only fills memory with pictures nobody waits for */

enum
{
  PROP_0,
  PROP_LOCATION,
  PROP_LABELS,
  PROP_EPOCHS,
  PROP_SHUFFLE,
  PROP_SEED,
  PROP_START_INDEX,
  PROP_STOP_INDEX,
  PROP_RANK,
  PROP_WORLD_SIZE,
  PROP_N_THREADS,
  PROP_FRAMERATE,
  PROP_MAX_SIZE,
  PROP_SIZE,
  PROP_DECODE,
  N_PROPS,
};

#define GST_TYPE_PIRL_LABELS (gst_pirl_labels_get_type ())
static GType
gst_pirl_labels_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    {GST_PIRL_LABELS_NONE, "Pictures of folders have no labels", "none"},
    {GST_PIRL_LABELS_FOLDER, "The first folder (below train, test or val) is the class", "folder"},
    {0, NULL, NULL},
  };

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstPirlLabels", values));
  return type;
}

#define GST_TYPE_PIRL_DECODE_MODE (gst_pirl_decode_mode_get_type ())
static GType
gst_pirl_decode_mode_get_type (void)
{
  static gsize type;
  static const GEnumValue values[] = {
    {GST_PIRL_DECODE_WHOLE, "Whole pictures, always", "whole"},
    {GST_PIRL_DECODE_REGION, "What the next element will look at: the same pixels", "region"},
    {GST_PIRL_DECODE_SCALED, "The same, at half the size where it is to be scaled to less", "scaled"},
    {0, NULL, NULL},
  };

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, g_enum_register_static ("GstPirlDecodeMode", values));
  return type;
}

/* ---- properties ----------------------------------------------------------------------------- */

static void
install_location_properties (GObjectClass * klass, GParamFlags flags)
{
  /**
   * GstPirlDatasetSrc:location:
   *
   * A folder of JPEG and PNG pictures, a text list, WebDataset tars, one picture, or
   * `synthetic:shapes?count=N&classes=C&size=S&seed=K`; see above.
   */
  g_object_class_install_property (klass, PROP_LOCATION,
      g_param_spec_string ("location", "Location", "Folder of JPEG and PNG pictures, text list "
          "(path[TAB]label[TAB]split), tars as in shard-{000000..000009}.tar, or "
          "synthetic:shapes?count=N&classes=C&size=S", NULL, flags));
  /**
   * GstPirlDatasetSrc:labels:
   *
   * Where the labels of a folder's pictures come from. Lists, tars and drawn sets bring their own,
   * but `folder` is the class in tars, too.
   */
  g_object_class_install_property (klass, PROP_LABELS,
      g_param_spec_enum ("labels", "Labels", "Where the labels of a folder's pictures come from",
          GST_TYPE_PIRL_LABELS, DEFAULT_LABELS, flags));
  /**
   * GstPirlDatasetSrc:start-index:
   *
   * First sample of the listing to send, from 0; it gets the index 0.
   */
  g_object_class_install_property (klass, PROP_START_INDEX,
      g_param_spec_uint64 ("start-index", "Start index", "First sample of the listing to send, "
          "from 0", 0, G_MAXUINT64, DEFAULT_START_INDEX, flags));
  /**
   * GstPirlDatasetSrc:stop-index:
   *
   * First sample of the listing not to send; the largest number = up to the end.
   */
  g_object_class_install_property (klass, PROP_STOP_INDEX,
      g_param_spec_uint64 ("stop-index", "Stop index", "First sample of the listing not to send "
          "(18446744073709551615 = up to the end)", 0, G_MAXUINT64, DEFAULT_STOP_INDEX, flags));
  /**
   * GstPirlDatasetSrc:rank:
   *
   * Which share of each epoch's order to send: samples rank, rank + world-size, ...
   */
  g_object_class_install_property (klass, PROP_RANK,
      g_param_spec_uint ("rank", "Rank", "Which of world-size shares of each epoch to send, from 0",
          0, G_MAXINT, DEFAULT_RANK, flags));
  /**
   * GstPirlDatasetSrc:world-size:
   *
   * Into how many shares of equal length to deal each epoch's order; what is left over is not sent.
   */
  g_object_class_install_property (klass, PROP_WORLD_SIZE,
      g_param_spec_uint ("world-size", "World size", "Number of equal shares that each epoch is "
          "dealt into (1 = all to this element)", 1, G_MAXINT, DEFAULT_WORLD_SIZE, flags));
}

static void
install_order_properties (GObjectClass * klass, GParamFlags flags)
{
  /**
   * GstPirlDatasetSrc:epochs:
   *
   * How often to send the data set; 0 = without end.
   */
  g_object_class_install_property (klass, PROP_EPOCHS,
      g_param_spec_uint ("epochs", "Epochs", "How often to send the data set (0 = endless)", 0,
          G_MAXUINT, DEFAULT_EPOCHS, flags));
  /**
   * GstPirlDatasetSrc:shuffle:
   *
   * Draw a new order for each epoch, from `seed` and the epoch's number only; otherwise the
   * listing's order.
   */
  g_object_class_install_property (klass, PROP_SHUFFLE,
      g_param_spec_boolean ("shuffle", "Shuffle", "Draw a new order for each epoch",
          DEFAULT_SHUFFLE, flags));
  /**
   * GstPirlDatasetSrc:seed:
   *
   * Seed of the order. The pictures of a drawn set have a seed of their own in `location`.
   */
  g_object_class_install_property (klass, PROP_SEED,
      g_param_spec_uint64 ("seed", "Seed", "Seed of the order", 0, G_MAXUINT64, DEFAULT_SEED,
          flags));
  /**
   * GstPirlDatasetSrc:framerate:
   *
   * Timestamps are the sample's number divided by this; it slows nothing but sinks that
   * synchronise to the clock.
   */
  g_object_class_install_property (klass, PROP_FRAMERATE,
      gst_param_spec_fraction ("framerate", "Framerate", "Samples a second of stream time", 1,
          G_MAXINT, G_MAXINT, 1, DEFAULT_FPS_N, DEFAULT_FPS_D, flags));
}

static void
install_decoding_properties (GObjectClass * klass, GParamFlags flags)
{
  /**
   * GstPirlDatasetSrc:n-threads:
   *
   * Threads that read and decode; 0 = as many as the machine has cores, at most 16. Twice as many
   * frames, and two, are held ahead.
   */
  g_object_class_install_property (klass, PROP_N_THREADS,
      g_param_spec_uint ("n-threads", "Threads", "Threads that read and decode (0 = as many as the "
          "machine has cores, at most 16)", 0, 256, DEFAULT_N_THREADS, flags));
  /**
   * GstPirlDatasetSrc:max-size:
   *
   * Shrink pictures whose longer side has more pixels than this, keeping their shape; 0 = never.
   * Not looked at when `size` is set.
   */
  g_object_class_install_property (klass, PROP_MAX_SIZE,
      g_param_spec_int ("max-size", "Maximum size", "Shrink pictures whose longer side is more "
          "than this, in pixels (0 = never)", 0, 65535, DEFAULT_MAX_SIZE, flags));
  /**
   * GstPirlDatasetSrc:size:
   *
   * Scale the shorter side to this many pixels and crop the centre, so that all frames are squares
   * of one size; 0 = keep the pictures' sizes.
   */
  g_object_class_install_property (klass, PROP_SIZE,
      g_param_spec_int ("size", "Size", "Scale the shorter side to this and crop the centre, in "
          "pixels (0 = keep sizes)", 0, 32767, DEFAULT_SIZE, flags));
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
  g_object_class_install_property (klass, PROP_DECODE,
      g_param_spec_enum ("decode", "Decode", "How much of a picture is decoded where the next "
          "element says what it will look at", GST_TYPE_PIRL_DECODE_MODE, DEFAULT_DECODE, flags));
}

guint
gst_pirl_dataset_settings_install (GObjectClass * klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  install_location_properties (klass, flags);
  install_order_properties (klass, flags);
  install_decoding_properties (klass, flags);
  gst_type_mark_as_plugin_api (GST_TYPE_PIRL_LABELS, 0);
  gst_type_mark_as_plugin_api (GST_TYPE_PIRL_DECODE_MODE, 0);
  return N_PROPS - 1;
}

void
gst_pirl_dataset_settings_init (GstPirlDatasetSettings * settings)
{
  settings->location = NULL;
  settings->labels = DEFAULT_LABELS;
  settings->epochs = DEFAULT_EPOCHS;
  settings->shuffle = DEFAULT_SHUFFLE;
  settings->seed = DEFAULT_SEED;
  settings->start = DEFAULT_START_INDEX;
  settings->stop = DEFAULT_STOP_INDEX;
  settings->rank = DEFAULT_RANK;
  settings->world_size = DEFAULT_WORLD_SIZE;
  settings->n_threads = DEFAULT_N_THREADS;
  settings->fps_n = DEFAULT_FPS_N;
  settings->fps_d = DEFAULT_FPS_D;
  settings->max_size = DEFAULT_MAX_SIZE;
  settings->size = DEFAULT_SIZE;
  settings->decode = DEFAULT_DECODE;
}

gboolean
gst_pirl_dataset_settings_set (GstPirlDatasetSettings * settings, guint id, const GValue * value)
{
  switch (id) {
    case PROP_LOCATION:
      g_free (settings->location);
      settings->location = g_value_dup_string (value);
      break;
    case PROP_LABELS:
      settings->labels = g_value_get_enum (value);
      break;
    case PROP_EPOCHS:
      settings->epochs = g_value_get_uint (value);
      break;
    case PROP_SHUFFLE:
      settings->shuffle = g_value_get_boolean (value);
      break;
    case PROP_SEED:
      settings->seed = g_value_get_uint64 (value);
      break;
    case PROP_START_INDEX:
      settings->start = g_value_get_uint64 (value);
      break;
    case PROP_STOP_INDEX:
      settings->stop = g_value_get_uint64 (value);
      break;
    case PROP_RANK:
      settings->rank = g_value_get_uint (value);
      break;
    case PROP_WORLD_SIZE:
      settings->world_size = g_value_get_uint (value);
      break;
    case PROP_N_THREADS:
      settings->n_threads = g_value_get_uint (value);
      break;
    case PROP_FRAMERATE:
      settings->fps_n = gst_value_get_fraction_numerator (value);
      settings->fps_d = gst_value_get_fraction_denominator (value);
      break;
    case PROP_MAX_SIZE:
      settings->max_size = g_value_get_int (value);
      break;
    case PROP_SIZE:
      settings->size = g_value_get_int (value);
      break;
    case PROP_DECODE:
      settings->decode = g_value_get_enum (value);
      break;
    default:
      return FALSE;
  }
  return TRUE;
}

gboolean
gst_pirl_dataset_settings_get (const GstPirlDatasetSettings * settings, guint id, GValue * value)
{
  switch (id) {
    case PROP_LOCATION:
      g_value_set_string (value, settings->location);
      break;
    case PROP_LABELS:
      g_value_set_enum (value, settings->labels);
      break;
    case PROP_EPOCHS:
      g_value_set_uint (value, settings->epochs);
      break;
    case PROP_SHUFFLE:
      g_value_set_boolean (value, settings->shuffle);
      break;
    case PROP_SEED:
      g_value_set_uint64 (value, settings->seed);
      break;
    case PROP_START_INDEX:
      g_value_set_uint64 (value, settings->start);
      break;
    case PROP_STOP_INDEX:
      g_value_set_uint64 (value, settings->stop);
      break;
    case PROP_RANK:
      g_value_set_uint (value, settings->rank);
      break;
    case PROP_WORLD_SIZE:
      g_value_set_uint (value, settings->world_size);
      break;
    case PROP_N_THREADS:
      g_value_set_uint (value, settings->n_threads);
      break;
    case PROP_FRAMERATE:
      gst_value_set_fraction (value, settings->fps_n, settings->fps_d);
      break;
    case PROP_MAX_SIZE:
      g_value_set_int (value, settings->max_size);
      break;
    case PROP_SIZE:
      g_value_set_int (value, settings->size);
      break;
    case PROP_DECODE:
      g_value_set_enum (value, settings->decode);
      break;
    default:
      return FALSE;
  }
  return TRUE;
}

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
