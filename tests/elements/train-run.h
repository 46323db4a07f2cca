/* gst-pirl: what tests of pirltrainsink share: a sink in a harness, and the source in front of it,
 * which the test plays: it makes the views itself, so that the element is alone.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <string.h>

#include "checkpoints.h"
#include "meta.h"
#include "pretext.h"

#define SIZE 32
#define PATCH 16
#define PATCHES 4
#define BATCH 4
#define SOURCE_SEED 5
#define HASH "a data set of the test"

#define TINY "pirltrainsink name=sink arch=resnet18 base-width=8 batch-size=4 interval=0 n-threads=1 "

static gchar *folder;

/* ---- samples: what a source would send ---------------------------------------------------- */

/* Two views whose pixels are a hash of (index, epoch, position in the view). */
static inline GstBuffer *
make_views (guint index, guint epoch, gint size)
{
  gsize sizes[2] = { 3 * size * size, 3 * PATCH * PATCH * PATCHES };
  GstBuffer *buffer = gst_buffer_new ();

  for (guint m = 0; m < 2; m++) {
    GstMemory *memory = gst_allocator_alloc (NULL, sizes[m], NULL);
    guint32 state = 1 + 977 * index + 31 * epoch + 7 * m;
    GstMapInfo map;

    gst_memory_map (memory, &map, GST_MAP_WRITE);
    for (gsize i = 0; i < map.size; i++) {
      state = state * 1664525u + 1013904223u;
      /* A gradient that differs from sample to sample, and noise. */
      map.data[i] = (guint8) ((i * (1 + index % 5) / 24 + 16 * index) % 192 + (state >> 26));
    }
    gst_memory_unmap (memory, &map);
    gst_buffer_append_memory (buffer, memory);
  }
  return buffer;
}

/* Sample @position of @epoch; the order is the index rotated by the epoch. */
static inline GstBuffer *
make_sample (guint position, guint epoch, guint count)
{
  GstPirlSample sample = {.index = (position + 3 * epoch) % count,.count = count,.epoch = epoch,
    .position = position
  };
  GstBuffer *buffer;

  sample.label = sample.index % 2;
  sample.name = "made up";
  buffer = make_views (sample.index, epoch, SIZE);
  gst_pirl_sample_add (buffer, &sample);
  return buffer;
}

static inline GstEvent *
make_dataset (guint count, guint epochs)
{
  gchar *names[] = { (gchar *) "even", (gchar *) "odd", NULL };
  GstPirlDataset dataset = { count, 2, names, epochs, SOURCE_SEED, (gchar *) HASH };

  return gst_pirl_dataset_event_new (&dataset);
}

/* ---- a sink under test -------------------------------------------------------------------- */

typedef struct {
  GstHarness *harness;
  GstElement *sink;
  GstBus *bus;
} Rig;

static inline GstElement *
make_sink (const gchar * settings, GstBus ** bus)
{
  g_autofree gchar *line = g_strconcat (TINY, settings, NULL);
  GError *error = NULL;
  GstElement *sink = gst_parse_launch (line, &error);

  fail_unless (sink != NULL && error == NULL, "%s: %s", line, error ? error->message : "no sink");
  *bus = gst_bus_new ();
  gst_element_set_bus (sink, *bus);
  return sink;
}

static inline void
rig_caps (Rig * rig, gint size, gint fps)
{
  const GstPirlViews views = { size, PATCH, PATCHES, PIRL_TRANSFORM_JIGSAW, 0, FALSE };

  gst_harness_set_src_caps (rig->harness, gst_pirl_views_caps (&views, fps, 1));
}

/* @count 0: a camera, no data set. */
static inline Rig
rig_new (const gchar * settings, guint count, guint epochs)
{
  Rig rig;

  rig.sink = make_sink (settings, &rig.bus);
  rig.harness = gst_harness_new_with_element (rig.sink, "sink", NULL);
  rig_caps (&rig, SIZE, 30);
  if (count > 0)
    gst_harness_push_event (rig.harness, make_dataset (count, epochs));
  return rig;
}

static inline void
rig_free (Rig * rig)
{
  gst_element_set_state (rig->sink, GST_STATE_NULL);
  gst_element_set_bus (rig->sink, NULL);
  gst_bus_set_flushing (rig->bus, TRUE);
  gst_harness_teardown (rig->harness);
  ASSERT_OBJECT_REFCOUNT (rig->sink, "sink", 1);
  gst_object_unref (rig->sink);
  gst_object_unref (rig->bus);
}

/* Plays the source from (epoch, position) on; stops at the first flow that is not OK. */
static inline GstFlowReturn
push_run (Rig * rig, guint count, guint epochs, guint64 epoch, guint64 position)
{
  GstFlowReturn ret = GST_FLOW_OK;

  for (; epoch < epochs; epoch++, position = 0)
    for (; position < count && ret == GST_FLOW_OK; position++)
      ret = gst_harness_push (rig->harness, make_sample (position, epoch, count));
  return ret;
}

static inline gboolean
push_eos (Rig * rig)
{
  return gst_harness_push_event (rig->harness, gst_event_new_eos ());
}

static inline GstStructure *
stats_of (Rig * rig)
{
  GstStructure *stats = NULL;

  g_object_get (rig->sink, "training-stats", &stats, NULL);
  return stats;
}

static inline guint64
counter (Rig * rig, const gchar * name)
{
  g_autoptr (GstStructure) stats = stats_of (rig);
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (stats, name, &value), "no %s in training-stats", name);
  return value;
}

static inline gchar *
state_of (Rig * rig)
{
  g_autoptr (GstStructure) stats = stats_of (rig);

  return g_strdup (gst_structure_get_string (stats, "state"));
}

/* Until training-stats say so; the test's own timeout ends a wait in vain. */
static inline void
wait_for_steps (Rig * rig, guint64 steps)
{
  while (counter (rig, "step") < steps)
    g_usleep (1000);
}

/* ---- messages ----------------------------------------------------------------------------- */

/* The next element message called @name; NULL when there is none up to the end of the bus. */
static inline GstMessage *
next_element (GstBus * bus, const gchar * name)
{
  GstMessage *message;

  while ((message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT)) != NULL) {
    if (gst_message_has_name (message, name))
      return message;
    gst_message_unref (message);
  }
  return NULL;
}

static inline guint64
field_uint64 (GstMessage * message, const gchar * name)
{
  guint64 value = 0;

  fail_unless (gst_structure_get_uint64 (gst_message_get_structure (message), name, &value),
      "no uint64 %s in %s", name, gst_structure_get_name (gst_message_get_structure (message)));
  return value;
}

static inline gdouble
field_double (GstMessage * message, const gchar * name)
{
  gdouble value = 0;

  fail_unless (gst_structure_get_double (gst_message_get_structure (message), name, &value),
      "no double %s in %s", name, gst_structure_get_name (gst_message_get_structure (message)));
  return value;
}

/* Waits for an error whose text has all of @words (NULL at the end). */
static inline void
expect_error (GstBus * bus, const gchar * const *words)
{
  GstMessage *message = gst_bus_timed_pop_filtered (bus, 30 * GST_SECOND, GST_MESSAGE_ERROR);
  GError *error = NULL;

  fail_unless (message != NULL, "no error message");
  gst_message_parse_error (message, &error, NULL);
  for (guint i = 0; words[i]; i++)
    fail_unless (strstr (error->message, words[i]) != NULL, "no \"%s\" in \"%s\"", words[i],
        error->message);
  g_clear_error (&error);
  gst_message_unref (message);
}

static inline void
expect_no_error (GstBus * bus)
{
  GstMessage *message = gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR);
  GError *error = NULL;

  if (message == NULL)
    return;
  gst_message_parse_error (message, &error, NULL);
  fail ("unexpected error: %s", error->message);
}

/* push_run(), which must go well; else the element's own words say why it did not. */
static inline void
push_ok (Rig * rig, guint count, guint epochs, guint64 epoch, guint64 position)
{
  GstFlowReturn ret = push_run (rig, count, epochs, epoch, position);

  if (ret == GST_FLOW_ERROR)
    expect_no_error (rig->bus);
  fail_unless_equals_int (ret, GST_FLOW_OK);
}

/* ---- the folder of a test ----------------------------------------------------------------- */

static inline gchar *
path_of (const gchar * name)
{
  return g_build_filename (folder, name, NULL);
}

static inline void
make_folder (void)
{
  folder = g_dir_make_tmp ("pirl-trainsink-XXXXXX", NULL);
  gst_pirl_meta_init ();
}

static inline void
remove_folder (void)
{
  GDir *dir = g_dir_open (folder, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (dir)) != NULL) {
    g_autofree gchar *path = path_of (name);

    /* Temporary files have names of their own and must be gone. */
    fail_unless (g_str_has_suffix (name, ".safetensors"), "%s was left behind", name);
    g_unlink (path);
  }
  g_dir_close (dir);
  g_rmdir (folder);
  g_clear_pointer (&folder, g_free);
}
