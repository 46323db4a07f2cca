/* gst-pirl: the settings of pirldatasetsrc: its properties, and what follows from them alone.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "listing.h"
#include "properties.h"

G_BEGIN_DECLS

#define GST_PIRL_NO_SAMPLE G_MAXUINT64

/** How much of a picture is decoded where the next element says what it will look at. */
typedef enum {
  GST_PIRL_DECODE_WHOLE,        /* all of it, always */
  GST_PIRL_DECODE_REGION,       /* that */
  GST_PIRL_DECODE_SCALED,       /* that, at half its size where it will be scaled to less */
} GstPirlDecodeMode;

/** One field a property; enumerations are kept as gint so that one table can reach them all. */
typedef struct {
  gchar *location;              /* owned */
  gint labels;
  guint epochs;                 /* 0 = endless */
  gboolean shuffle;
  guint64 seed, start, stop;
  gdouble fraction;
  guint rank, world_size, n_threads;
  gint fps_n, fps_d;            /* of one property */
  gint max_size, size;
  gint decode;
} GstPirlDatasetSettings;

/** The rows of GstPirlDatasetSettings. */
extern const GstPirlProperties gst_pirl_dataset_properties;

/** What can be said before the location is listed. */
gboolean gst_pirl_dataset_settings_check (const GstPirlDatasetSettings * settings,
    GError ** error);
/** Those of the property, or the machine's. */
guint gst_pirl_dataset_settings_threads (const GstPirlDatasetSettings * settings);

/** When sample @n of the stream is shown. */
GstClockTime gst_pirl_dataset_time (const GstPirlDatasetSettings * settings, guint64 n);
/** Which sample is shown at @time. */
guint64 gst_pirl_dataset_sample (const GstPirlDatasetSettings * settings, GstClockTime time);
/** Samples of a stream with epochs of @count; %GST_PIRL_NO_SAMPLE = endless. */
guint64 gst_pirl_dataset_length (const GstPirlDatasetSettings * settings, guint64 count);

G_END_DECLS
