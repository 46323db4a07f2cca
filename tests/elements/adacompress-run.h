/* gst-pirl: what the tests of adacompressenc with a cloud share: frames, a stream in a harness, the
 * application as a cloud, and a server on the loopback (test-server.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gio/gio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <stdio.h>
#include <string.h>

#include "jpegs.h"
#include "meta.h"
#include "test-server.h"

/* Unless a test has said it. */
#ifndef WIDTH
#define WIDTH 96
#define HEIGHT 64
#endif
#define CAPS "video/x-raw,format=I420,width=" G_STRINGIFY (WIDTH) ",height=" G_STRINGIFY (HEIGHT) \
    ",framerate=30/1,colorimetry=1:4:0:0"
/* No network: the agent sees predicted sizes only. */
#define PLAIN "adacompressenc name=e extractor=\"\" quality-levels=\"<5,15,25,45>\" seed=3 "

/* ---- frames ------------------------------------------------------------------------------- */

static inline GstBuffer *
make_frame (guint number)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, WIDTH * HEIGHT * 3 / 2, NULL);
  GRand *rand = g_rand_new_with_seed (number % 50);
  guint coarse = g_rand_int_range (rand, 1, 9);
  GstMapInfo map;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  memset (map.data, 128, map.size);
  for (gint y = 0; y < HEIGHT; y++) {
    for (gint x = 0; x < WIDTH; x++)
      map.data[y * WIDTH + x] = 40 + x + (x / coarse * 37 + y / coarse * 91) % 97;
  }
  gst_buffer_unmap (buffer, &map);
  g_rand_free (rand);
  GST_BUFFER_PTS (buffer) = number * GST_SECOND / 30;
  GST_BUFFER_DURATION (buffer) = GST_SECOND / 30;
  return buffer;
}

static inline GstStructure *
stats_of (GstElement * enc)
{
  GstStructure *stats;

  g_object_get (enc, "stats", &stats, NULL);
  return stats;
}

static inline guint64
statistic (GstElement * enc, const gchar * name)
{
  g_autoptr (GstStructure) stats = stats_of (enc);
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (stats, name, &value), "no %s", name);
  return value;
}

static inline gchar *
state_of (GstElement * enc)
{
  g_autoptr (GstStructure) stats = stats_of (enc);

  return g_strdup (gst_structure_get_string (stats, "state"));
}

/* Waits until @name is at least @least, ten seconds at most. */
static inline void
wait_for (GstElement * enc, const gchar * name, guint64 least)
{
  for (guint i = 0; i < 10000 && statistic (enc, name) < least; i++)
    g_usleep (1000);
  fail_unless (statistic (enc, name) >= least, "%s stays at %" G_GUINT64_FORMAT, name,
      statistic (enc, name));
}

/* ---- the application as a cloud ------------------------------------------------------------- */

/* Sees "cat" from some quality on, "blur" below. */
typedef struct {
  gint threshold;               /* atomic */
  gint asked, refused;          /* atomic; refused: answers that came too late */
  gulong delay;                 /* microseconds */
  gboolean silent;
} Simulated;

static inline void
classify (GstElement * enc, guint64 id, GstSample * sample, Simulated * cloud)
{
  const gchar *sees[] = { "cat", "dog", NULL }, *blur[] = { "blur", NULL };
  const GstStructure *info = gst_sample_get_info (sample);
  gboolean reference, taken = FALSE;
  JpegInfo jpeg = jpeg_parse_buffer (gst_sample_get_buffer (sample));
  gint quality;

  g_atomic_int_inc (&cloud->asked);
  fail_unless (gst_structure_get_int (info, "quality", &quality));
  fail_unless (gst_structure_get_boolean (info, "reference", &reference));
  fail_unless_equals_int (jpeg.luma_dc, jpeg_luma_dc (quality));
  fail_unless (!reference || quality == 75);
  fail_unless_equals_int (jpeg.width, WIDTH);
  fail_unless_equals_int (jpeg.height, HEIGHT);
  if (cloud->silent)
    return;
  g_usleep (cloud->delay);
  g_signal_emit_by_name (enc, "answer", id,
      quality >= g_atomic_int_get (&cloud->threshold) ? sees : blur, &taken);
  if (!taken)
    g_atomic_int_inc (&cloud->refused);
  /* Nobody waits for it twice. */
  g_signal_emit_by_name (enc, "answer", id, sees, &taken);
  fail_if (taken);
}

/* ---- a stream ------------------------------------------------------------------------------- */

typedef struct {
  GstHarness *h;
  GstElement *enc;
  GstBus *bus;
  guint pushed;
  gint64 slowest;               /* microseconds that a push took */
} Stream;

/* @live: frames are looked at beside the stream; otherwise each waits for its own decision. */
static inline void
stream_open_as (Stream * stream, const gchar * line, Simulated * cloud, gboolean live)
{
  memset (stream, 0, sizeof (*stream));
  stream->h = gst_harness_new_parse (line);
  gst_harness_set_live (stream->h, live);
  stream->enc = gst_harness_find_element (stream->h, "adacompressenc");
  stream->bus = gst_bus_new ();
  gst_element_set_bus (stream->enc, stream->bus);
  if (cloud != NULL)
    g_signal_connect (stream->enc, "classify", G_CALLBACK (classify), cloud);
  gst_harness_set_src_caps_str (stream->h, CAPS);
}

static inline void
stream_open (Stream * stream, const gchar * line, Simulated * cloud)
{
  stream_open_as (stream, line, cloud, FALSE);
}

static inline void
stream_close (Stream * stream)
{
  gst_element_set_bus (stream->enc, NULL);
  gst_object_unref (stream->bus);
  gst_object_unref (stream->enc);
  gst_harness_teardown (stream->h);
}

/* One frame in, one out; the quality of what left. */
static inline gint
stream_push (Stream * stream)
{
  GstBuffer *frame = make_frame (stream->pushed++), *out;
  gint64 begin = g_get_monotonic_time ();
  gint quality = 0;
  gdouble agreement;
  const gchar *state;

  fail_unless_equals_int (gst_harness_push (stream->h, frame), GST_FLOW_OK);
  stream->slowest = MAX (stream->slowest, g_get_monotonic_time () - begin);
  out = gst_harness_try_pull (stream->h);
  fail_unless (out != NULL, "frame %u did not come out", stream->pushed);
  fail_unless (gst_pirl_compress_get (out, &quality, &agreement, &state));
  fail_unless_equals_int (jpeg_parse_buffer (out).luma_dc, jpeg_luma_dc (quality));
  fail_unless (agreement == -1 || (agreement >= 0 && agreement <= 1));
  gst_buffer_unref (out);
  return quality;
}

/* Frames until the state is @want; the mean quality of the last ones. @most frames should do, but
 * where the machine is slow or busy fewer of them are looked at and answered: then half a minute.
 */
static inline gdouble
stream_until (Stream * stream, const gchar * want, guint most)
{
  const gint64 patience = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;
  gdouble mean = 75;

  for (guint i = 0; i < most || g_get_monotonic_time () < patience; i++) {
    g_autofree gchar *state = state_of (stream->enc);

    if (g_str_equal (state, want))
      return mean;
    mean += 0.1 * (stream_push (stream) - mean);
    g_usleep (300);
  }
  fail ("%u frames, and the state is still not %s", most, want);
  return 0;
}
