/* gst-pirl: what an embedding costs through pirlembed, and without the pipeline around it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   embed-bench element|bare MODEL PRECISION BATCH THREADS FRAMES     one of tests/bench/run's programs
 *
 * A turn embeds FRAMES RGB pictures of SIDE x SIDE pixels, a multiple of BATCH. element: a
 * harness pushes the frames into pirlembed and pulls them with their embeddings. bare:
 * pirl_embedder_run() on the same picture. The check is the length of the features.
 */
#include <gst/check/gstharness.h>
#include <gst/gst.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "net/embedder.h"
#include "turns.h"

#define SIDE 256

typedef struct {
  guint batch, frames;
  GstBuffer *frame;
  GstHarness *harness;          /* NULL: bare */
  PirlEmbedder *embedder;
  PirlImage image;
} Embed;

/* What peers/embed.py draws, too. */
static void
draw (guint8 * rgb)
{
  for (guint y = 0; y < SIDE; y++)
    for (guint x = 0; x < SIDE; x++)
      for (guint c = 0; c < 3; c++)
        *rgb++ = (guint8) (7 * x + 13 * y + 31 * c + x * y / 16);
}

static gdouble
length_of (const gfloat * v, gsize n)
{
  gdouble sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += (gdouble) v[i] * v[i];
  return sqrt (sum);
}

/* Of the embedding that @buffer carries. */
static gdouble
length_of_meta (GstBuffer * buffer)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, "pirl-embedding");
  GBytes *bytes = NULL;
  gdouble length;
  gsize size;

  if (meta == NULL || !gst_structure_get (gst_custom_meta_get_structure (meta), "data",
          G_TYPE_BYTES, &bytes, NULL))
    return NAN;
  length = length_of (g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes) / sizeof (gfloat));
  size = g_bytes_get_size (bytes);
  g_bytes_unref (bytes);
  return size > 0 ? length : NAN;
}

static gboolean
element_turn (Embed * embed, Turn * turn, GError ** error)
{
  for (guint i = 0; i < embed->frames; i += embed->batch) {
    for (guint k = 0; k < embed->batch; k++) {
      /* A frame of its own each, sharing the pixels. */
      if (gst_harness_push (embed->harness, gst_buffer_copy (embed->frame)) != GST_FLOW_OK) {
        g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "pirlembed refuses a frame");
        return FALSE;
      }
    }
    /* One batch stays at work while the next one is collected. */
    for (guint k = 0; i > 0 && k < embed->batch; k++, turn->items++)
      gst_buffer_unref (gst_harness_pull (embed->harness));
  }
  for (guint k = 0; k < embed->batch; k++, turn->items++) {
    GstBuffer *buffer = gst_harness_pull (embed->harness);

    turn->check = length_of_meta (buffer);
    gst_buffer_unref (buffer);
  }
  return TRUE;
}

static gboolean
bare_turn (Embed * embed, Turn * turn, GError ** error)
{
  g_autofree const PirlImage **pictures = g_new (const PirlImage *, embed->batch);
  const guint size = pirl_embedder_size (embed->embedder);
  g_autofree gfloat *out = g_new (gfloat, (gsize) size * embed->batch);

  for (guint k = 0; k < embed->batch; k++)
    pictures[k] = &embed->image;
  for (; turn->items < embed->frames; turn->items += embed->batch)
    if (!pirl_embedder_run (embed->embedder, pictures, embed->batch, out, error))
      return FALSE;
  turn->check = length_of (out, size);
  return TRUE;
}

static gboolean
turn_of (gpointer data, Turn * turn, GError ** error)
{
  Embed *embed = data;

  return (embed->harness ? element_turn : bare_turn) (embed, turn, error);
}

static gboolean
open_element (Embed * embed, gchar ** argv, GError ** error)
{
  g_autofree gchar *line = g_strdup_printf ("pirlembed name=e interval=1 layer=features "
      "precision=%s batch-size=%s batch-timeout=0 n-threads=%s device=cpu", argv[3], argv[4],
      argv[5]);
  GstElement *element = gst_parse_launch (line, error);

  if (element == NULL)
    return FALSE;
  g_object_set (element, "model-file", argv[2], NULL);
  embed->harness = gst_harness_new_with_element (element, "sink", "src");
  gst_object_unref (element);
  gst_harness_set_src_caps_str (embed->harness,
      "video/x-raw,format=RGB,width=256,height=256,framerate=30/1");
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Embed embed = { 0 };
  GstMapInfo map;
  int status;

  gst_init (&argc, &argv);
  if (argc != 7 || !(g_str_equal (argv[1], "element") || g_str_equal (argv[1], "bare"))) {
    g_printerr ("usage: embed-bench element|bare MODEL PRECISION BATCH THREADS FRAMES\n");
    return 2;
  }
  embed.batch = (guint) MAX (atoi (argv[4]), 1);
  embed.frames = MAX ((guint) atoi (argv[6]) / embed.batch, 1) * embed.batch;
  pirl_image_init (&embed.image, SIDE, SIDE);
  draw (embed.image.data);
  embed.frame = gst_buffer_new_allocate (NULL, 3 * SIDE * SIDE, NULL);
  gst_buffer_map (embed.frame, &map, GST_MAP_WRITE);
  memcpy (map.data, embed.image.data, map.size);
  gst_buffer_unmap (embed.frame, &map);
  if (g_str_equal (argv[1], "bare"))
    embed.embedder = pirl_embedder_new (argv[2], "features", "cpu", argv[3],
        (guint) atoi (argv[5]), embed.batch, &error);
  if (error || (!embed.embedder && !open_element (&embed, argv, &error))) {
    g_printerr ("embed-bench: %s\n", error->message);
    return 1;
  }
  status = turns_serve ("embed-bench", turn_of, &embed);
  g_clear_pointer (&embed.harness, gst_harness_teardown);
  g_clear_pointer (&embed.embedder, pirl_embedder_free);
  pirl_image_clear (&embed.image);
  gst_buffer_unref (embed.frame);
  return status;
}
