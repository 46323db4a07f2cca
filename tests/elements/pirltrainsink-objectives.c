/* gst-pirl: pirltrainsink's objectives: which views each takes, what each learns, recipes; and whole
 * trainings of each, from source to checkpoint.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>
#include <math.h>
#include <string.h>

#include "checkpoints.h"
#include "crop.h"
#include "meta.h"
#include "pretext.h"

#define SIZE 32
/* 40 samples in batches of 8: 5 steps an epoch, of milliseconds. */
#define SOURCE "pirldatasetsrc name=src seed=3 " \
    "location=\"synthetic:shapes?count=40&classes=4&size=32\" "
#define JIGSAW "pirljigsaw image-size=32 seed=4 "
#define SINK "pirltrainsink name=sink arch=resnet18 base-width=8 batch-size=8 n-threads=1 seed=5 " \
    "precision=f32 "
/* The same picture in every epoch, so that little time is enough to learn it. */
#define PLAIN "flip=false brightness=0 contrast=0 saturation=0 hue=0 grayscale=0 " \
    "crop-scale-min=1 patch-crop-scale-min=1 "

static gchar *folder;

static gchar *
path_of (const gchar * name)
{
  return g_build_filename (folder, name, NULL);
}

static GstElement *
launch (const gchar * line)
{
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (line, &error);

  fail_unless (pipeline != NULL && error == NULL, "%s: %s", line, error ? error->message : "");
  return pipeline;
}

/* ---- which views ------------------------------------------------------------------------------ */

/* The text of the next error; NULL when there is none up to the end of the bus. */
static gchar *
next_error (GstBus * bus, GstClockTime patience)
{
  GstMessage *message = gst_bus_timed_pop_filtered (bus, patience, GST_MESSAGE_ERROR);
  GError *error = NULL;
  gchar *text;

  if (message == NULL)
    return NULL;
  gst_message_parse_error (message, &error, NULL);
  text = g_strdup (error->message);
  g_clear_error (&error);
  gst_message_unref (message);
  return text;
}

/* A sample of these views, with the meta that says how they came about unless it is @bare. */
static GstBuffer *
make_sample (const GstPirlViews * views, guint64 index, gint permutation, gboolean bare)
{
  const gsize sizes[] = { 3 * views->image * views->image,
    3 * views->patches * views->patch * views->patch
  };
  const GstPirlSample sample = {.index = index,.position = index,.count = 40,.label = index % 2 };
  GstBuffer *buffer = gst_buffer_new ();
  PirlPretextConfig config;
  PirlPretext pretext;

  for (guint m = 0; m < G_N_ELEMENTS (sizes); m++) {
    GstMemory *memory = gst_allocator_alloc (NULL, sizes[m], NULL);
    GstMapInfo map;

    gst_memory_map (memory, &map, GST_MAP_WRITE);
    for (gsize i = 0; i < map.size; i++)
      map.data[i] = (guint8) ((i * (1 + index % 5) / 24 + 16 * index) % 192);
    gst_memory_unmap (memory, &map);
    gst_buffer_append_memory (buffer, memory);
  }
  gst_pirl_sample_add (buffer, &sample);
  if (bare)
    return buffer;
  pirl_pretext_config_defaults (&config, views->image, 2);
  pirl_pretext_config_transform (&config, views->transform);
  pirl_pretext_draw (&config, NULL, -1, 50, 40, 1, 0, index, &pretext);
  pretext.permutation_index = permutation;
  gst_pirl_pretext_add (buffer, &config, &pretext);
  return buffer;
}

static GstPirlViews
views_of (PirlTransform transform, gint permutations)
{
  GstPirlViews views = { SIZE, 9, 4, transform, permutations, FALSE };

  if (pirl_transform_is_whole (transform)) {
    views.patch = SIZE;
    views.patches = 1;
  }
  return views;
}

/* What the sink says to some samples of these views, NULL when it trains them. */
static gchar *
complaint (const gchar * settings, const GstPirlViews * views, gint permutation, gboolean bare)
{
  g_autofree gchar *line = g_strconcat (SINK "batch-size=4 bank-size=40 ", settings, NULL);
  gchar *names[] = { (gchar *) "even", (gchar *) "odd", NULL };
  const GstPirlDataset dataset = { 40, 2, names, 1, 0, (gchar *) "hash" };
  GstElement *sink = launch (line);
  GstBus *bus = gst_bus_new ();
  GstHarness *h;
  GstFlowReturn ret = GST_FLOW_OK;
  gchar *text;

  gst_element_set_bus (sink, bus);
  h = gst_harness_new_with_element (sink, "sink", NULL);
  gst_harness_set_src_caps (h, gst_pirl_views_caps (views, 30, 1));
  gst_harness_push_event (h, gst_pirl_dataset_event_new (&dataset));
  for (guint64 i = 0; i < 20 && ret == GST_FLOW_OK; i++)
    ret = gst_harness_push (h, make_sample (views, i, permutation, bare));
  if (ret == GST_FLOW_OK)
    gst_harness_push_event (h, gst_event_new_eos ());
  text = next_error (bus, 0);
  fail_unless ((text == NULL) == (ret == GST_FLOW_OK), "%s: %s, and flow %s", settings, text,
      gst_flow_get_name (ret));
  gst_element_set_state (sink, GST_STATE_NULL);
  gst_element_set_bus (sink, NULL);
  gst_object_unref (bus);
  gst_harness_teardown (h);
  gst_object_unref (sink);
  return text;
}

static void
expect_words (const gchar * text, const gchar * const *words, const gchar * what)
{
  fail_unless (text != NULL, "%s: no error", what);
  for (guint i = 0; words[i]; i++)
    fail_unless (strstr (text, words[i]) != NULL, "no \"%s\" in \"%s\"", words[i], text);
}

/* Every objective with every transform: trained, or said what it needs. */
GST_START_TEST (objectives_take_their_views)
{
  static const struct
  {
    const gchar *objective, *transforms;
  } cases[] = {
    {"pirl", "jigsaw, rotation or both"}, {"npid", "jigsaw, rotation, both, crop"},
    {"supervised", "jigsaw, rotation, both, crop"}, {"jigsaw", "jigsaw"},
    {"rotation", "rotation"}, {"moco", "crop"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    for (PirlTransform t = 0; t < PIRL_N_TRANSFORMS; t++) {
      g_autofree gchar *settings = g_strdup_printf ("objective=%s hidden=8", cases[i].objective);
      const GstPirlViews views = views_of (t, 20);
      g_autofree gchar *text = complaint (settings, &views, 7, FALSE);
      const gchar *name = pirl_transform_name (t);
      g_autofree gchar *needs = g_strdup_printf ("objective=%s needs pirljigsaw transform=%s",
          cases[i].objective, cases[i].transforms);
      g_autofree gchar *got = g_strdup_printf ("of transform=%s", name);
      const gchar *const words[] = { needs, got, NULL };

      if (strstr (cases[i].transforms, name) != NULL)
        fail_unless (text == NULL, "%s with %s: %s", settings, name, text);
      else
        expect_words (text, words, settings);
    }
}
GST_END_TEST

/* pirljigsaw leaves second views out where nobody looks at them, and nowhere else. */
GST_START_TEST (second_views_are_asked_for)
{
  static const struct
  {
    const gchar *objective;
    gboolean image_only;
  } cases[] = {
    {"pirl", FALSE}, {"npid", TRUE}, {"supervised", TRUE}, {"jigsaw", FALSE}, {"rotation", FALSE},
    {"moco", FALSE},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *line = g_strdup_printf (SINK "device=cpu objective=%s", cases[i].objective);
    GstElement *sink = launch (line);
    GstHarness *h = gst_harness_new_with_element (sink, "sink", NULL);

    fail_unless (gst_pirl_ask_image_only (h->srcpad) == cases[i].image_only, "%s",
        cases[i].objective);
    gst_harness_teardown (h);
    gst_object_unref (sink);
  }
}
GST_END_TEST

GST_START_TEST (jigsaw_needs_a_set_of_permutations)
{
  static const struct
  {
    gint permutations, permutation;
    gboolean bare;
    const gchar *words[3];
  } cases[] = {
    {0, 0, FALSE, {"objective=jigsaw", "permutations, to 100"}},
    {1, 0, FALSE, {"objective=jigsaw", "one only"}},
    {-1, 0, FALSE, {"objective=jigsaw", "do not say how many"}},
    /* Caps and metas that do not fit each other. */
    {20, -1, FALSE, {"-1"}}, {20, 20, FALSE, {"20"}}, {20, 0, TRUE, {"no meta pirl-pretext"}},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const GstPirlViews views = views_of (PIRL_TRANSFORM_JIGSAW, cases[i].permutations);
    g_autofree gchar *text = complaint ("objective=jigsaw hidden=8", &views, cases[i].permutation,
        cases[i].bare);

    expect_words (text, cases[i].words, "objective=jigsaw");
  }
}
GST_END_TEST

/* What another producer sends, without the fields and metas of ours, is a jigsaw. */
GST_START_TEST (other_producers_send_jigsaws)
{
  static const gchar *const words[] = { "objective=rotation needs", "of transform=jigsaw", NULL };
  GstPirlViews views = views_of (PIRL_TRANSFORM_JIGSAW, -1), turned;
  g_autofree gchar *pirl = complaint ("", &views, 0, TRUE);
  g_autofree gchar *rotation = complaint ("objective=rotation", &views, 0, TRUE);
  static const gchar *const no_meta[] = { "no meta pirl-pretext", NULL };
  g_autofree gchar *bare = NULL;

  fail_unless (pirl == NULL, "%s", pirl);
  expect_words (rotation, words, "rotation");
  turned = views_of (PIRL_TRANSFORM_ROTATION, 0);
  bare = complaint ("objective=rotation", &turned, 0, TRUE);
  expect_words (bare, no_meta, "rotation without metas");
}
GST_END_TEST

GST_START_TEST (moco_has_a_queue_of_whole_batches)
{
  static const struct
  {
    const gchar *settings, *words[4];
  } cases[] = {
    {"objective=moco bank-size=18", {"18", "batch-size 4", "16 or 20"}},
    {"objective=moco negatives=5", {"negatives", "queue"}},
    {"objective=moco loss=nce", {"infonce"}},
  };
  const GstPirlViews views = views_of (PIRL_TRANSFORM_CROP, 0);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *text = complaint (cases[i].settings, &views, -1, FALSE);

    expect_words (text, cases[i].words, cases[i].settings);
  }
}
GST_END_TEST

/* ---- recipes ------------------------------------------------------------------------------------ */

static void
expect_property (GstElement * sink, const gchar * name, const gchar * expected)
{
  GValue value = G_VALUE_INIT;
  g_autofree gchar *text = NULL;

  g_object_get_property (G_OBJECT (sink), name, &value);
  text = gst_value_serialize (&value);
  fail_unless (G_VALUE_HOLDS_DOUBLE (&value)
      ? g_value_get_double (&value) == g_ascii_strtod (expected, NULL)
      : g_ascii_strcasecmp (text, expected) == 0, "%s is %s, not %s", name, text, expected);
  g_value_unset (&value);
}

GST_START_TEST (presets_are_their_recipes)
{
  static const struct
  {
    const gchar *preset, *name, *value;
  } cases[] = {
    {"npid++", "objective", "npid"}, {"npid++", "head", "linear"}, {"npid++", "loss", "nce"},
    {"npid++", "negatives", "0"}, {"npid++", "lr-schedule", "cosine"}, {"npid++", "warmup", "0"},
    {"npid++", "learning-rate", "0.03"}, {"npid++", "temperature", "0.07"},
    {"npid++", "bank-momentum", "0.5"},
    {"moco", "objective", "moco"}, {"moco", "head", "mlp"}, {"moco", "loss", "infonce"},
    {"moco", "temperature", "0.2"}, {"moco", "key-momentum", "0.999"},
    {"moco", "learning-rate", "0.03"}, {"moco", "bank-size", "0"},
    /* Those that are of several objectives leave it alone. */
    {"paper", "objective", "pirl"}, {"default", "objective", "pirl"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstElement *sink = gst_element_factory_make ("pirltrainsink", NULL);

    gst_util_set_object_arg (G_OBJECT (sink), "preset", cases[i].preset);
    expect_property (sink, cases[i].name, cases[i].value);
    gst_object_unref (sink);
  }
}
GST_END_TEST

GST_START_TEST (presets_fit_the_objective)
{
  static const struct
  {
    const gchar *settings, *words[4];
  } cases[] = {
    {"preset=moco objective=pirl", {"preset=moco", "objective=moco", "is pirl"}},
    {"preset=npid++ objective=pirl", {"preset=npid++", "objective=npid"}},
    {"preset=paper objective=rotation", {"preset=paper", "pirl and npid", "is rotation"}},
    {"preset=paper objective=npid", {NULL}}, {"objective=jigsaw preset=moco", {NULL}},
    {"preset=default objective=rotation", {NULL}},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *line = g_strconcat (SINK, cases[i].settings, NULL);
    g_autofree gchar *text = NULL;
    GstElement *sink = launch (line);
    GstBus *bus = gst_bus_new ();
    const gboolean good = cases[i].words[0] == NULL;

    gst_element_set_bus (sink, bus);
    fail_unless_equals_int (gst_element_set_state (sink, GST_STATE_PAUSED),
        good ? GST_STATE_CHANGE_ASYNC : GST_STATE_CHANGE_FAILURE);
    text = next_error (bus, 0);
    if (good)
      fail_unless (text == NULL, "%s: %s", cases[i].settings, text);
    else
      expect_words (text, cases[i].words, cases[i].settings);
    gst_element_set_state (sink, GST_STATE_NULL);
    gst_element_set_bus (sink, NULL);
    gst_object_unref (sink);
    gst_object_unref (bus);
  }
}
GST_END_TEST

/* ---- whole trainings ------------------------------------------------------------------------------ */

static const struct
{
  const gchar *jigsaw, *sink, *objective, *transform;
} runs[] = {
  {"permutations=10", "objective=jigsaw hidden=16", "jigsaw", "jigsaw"},
  {"transform=rotation", "objective=rotation", "rotation", "rotation"},
  {"transform=crop", "preset=moco", "moco", "crop"},
  {"transform=crop", "preset=npid++", "npid", NULL},
  {"transform=rotation", "near-threshold=0.9 near-weight=0.5", "pirl", "rotation"},
  {"transform=both", "optimizer=lars", "pirl", "both"},
};

/* Trains until EOS; at each pirl-epoch its loss and accuracy are noted. */
static guint
train (const gchar * line, gdouble * losses, gdouble * accuracies, guint most)
{
  GstElement *pipeline = launch (line);
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  gboolean done = FALSE;
  guint n = 0;

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (!done) {
    GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_ELEMENT);
    const GstStructure *s = gst_message_get_structure (message);

    done = GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS;
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      GError *error = NULL;

      gst_message_parse_error (message, &error, NULL);
      fail ("%s: %s", line, error->message);
    }
    /* The source has a message of this name, too, and no loss. */
    if (!done && n < most && gst_structure_has_name (s, "pirl-epoch")
        && gst_structure_get_double (s, "loss", &losses[n])) {
      fail_unless (gst_structure_get_double (s, "accuracy", &accuracies[n]));
      n++;
    }
    gst_message_unref (message);
  }
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  return n;
}

static gchar *
line_of (guint run, const gchar * path, const gchar * more)
{
  return g_strdup_printf (SOURCE "epochs=3 ! " JIGSAW "%s ! " SINK "%s checkpoint-file=%s %s",
      runs[run].jigsaw, runs[run].sink, path, more);
}

/* Starts a run of 15 steps, stops it after some, and goes on, again and again. */
static void
train_with_stops (guint run, const gchar * path)
{
  g_autofree gchar *line = line_of (run, path, "resume=true");

  for (guint64 steps = 0; steps < 15;) {
    GstElement *pipeline = launch (line);
    g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
    g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
    guint64 now = 0;

    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    while (now < MIN (steps + 4, 15)) {
      g_autoptr (GstStructure) stats = NULL;
      g_autofree gchar *text = next_error (bus, GST_MSECOND);

      fail_unless (text == NULL, "%s: %s", line, text);
      g_object_get (sink, "training-stats", &stats, NULL);
      gst_structure_get_uint64 (stats, "step", &now);
    }
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
    fail_unless (checkpoint_step (path) > steps);
    steps = checkpoint_step (path);
  }
}

/* Stopped and resumed, each ends with the very bits of a run that nothing disturbed. */
GST_START_TEST (objectives_train_and_resume)
{
  g_autofree gchar *plain = path_of ("plain.safetensors");
  g_autofree gchar *path = path_of ("stops.safetensors");
  g_autofree gchar *line = line_of (__i__, plain, "");
  g_autoptr (PirlSafetensors) file = NULL;

  train (line, NULL, NULL, 0);
  file = checkpoint_open (plain);
  fail_unless_equals_uint64 (checkpoint_step (plain), 15);
  fail_unless_equals_string (pirl_safetensors_metadata (file, "objective"),
      runs[__i__].objective);
  fail_unless_equals_string (pirl_safetensors_metadata (file, "transform"),
      runs[__i__].transform);
  train_with_stops (__i__, path);
  expect_same_checkpoint (plain, path);
}
GST_END_TEST

/* A checkpoint of one objective or transform is not gone on with by another. */
GST_START_TEST (objectives_do_not_mix)
{
  static const struct
  {
    guint from, to;
    const gchar *words[4];
  } cases[] = {
    {1, 0, {"objective = rotation", "jigsaw"}}, {4, 5, {"transform = rotation", "both"}},
  };
  g_autofree gchar *path = path_of ("mixed.safetensors");

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *first = line_of (cases[i].from, path, "max-steps=3");
    g_autofree gchar *second = line_of (cases[i].to, path, "resume=true max-steps=3");
    g_autofree gchar *text = NULL;
    GstElement *pipeline;

    g_unlink (path);
    train (first, NULL, NULL, 0);
    pipeline = launch (second);
    gst_element_set_state (pipeline, GST_STATE_PLAYING);
    {
      g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);

      text = next_error (bus, 30 * GST_SECOND);
    }
    expect_words (text, cases[i].words, second);
    gst_element_set_state (pipeline, GST_STATE_NULL);
    gst_object_unref (pipeline);
  }
}
GST_END_TEST

static gdouble
mean (const gdouble * values, guint n)
{
  gdouble sum = 0;

  for (guint i = 0; i < n; i++)
    sum += values[i];
  return sum / n;
}

/* From log 4 down, on few pictures that are the same in every epoch but for what is to be told. */
GST_START_TEST (rotations_and_permutations_are_learnt)
{
  enum { EPOCHS = 100, END = 10 };
  static const gchar *const cases[][2] = {
    {"transform=rotation", "objective=rotation"},
    {"grid=2 crop-size=32 patch-size=16 permutations=4", "objective=jigsaw hidden=32"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *line = g_strdup_printf ("pirldatasetsrc seed=3 epochs=%d "
        "location=\"synthetic:shapes?count=24&classes=4&size=32\" ! " JIGSAW PLAIN "%s ! " SINK
        "learning-rate=0.1 %s", EPOCHS, cases[i][0], cases[i][1]);
    gdouble losses[EPOCHS], accuracies[EPOCHS], end, right;

    fail_unless_equals_int (train (line, losses, accuracies, EPOCHS), EPOCHS);
    end = mean (losses + EPOCHS - END, END);
    right = mean (accuracies + EPOCHS - END, END);
    fail_unless (fabs (losses[0] - log (4)) < 0.5, "%s: the first loss is %g", line, losses[0]);
    fail_unless (end < 0.7 && right > 0.75, "%s ends with loss %g, accuracy %g", line, end, right);
  }
}
GST_END_TEST

/* ---- main -------------------------------------------------------------------------------------- */

static void
make_folder (void)
{
  folder = g_dir_make_tmp ("pirl-objectives-XXXXXX", NULL);
  gst_pirl_meta_init ();
}

static void
remove_folder (void)
{
  static const gchar *const names[] = { "plain", "stops", "mixed" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree gchar *name = g_strconcat (names[i], ".safetensors", NULL);
    g_autofree gchar *path = path_of (name);

    g_unlink (path);
  }
  fail_unless_equals_int (g_rmdir (folder), 0);
  g_clear_pointer (&folder, g_free);
}

static Suite *
objectives_suite (void)
{
  Suite *suite = suite_create ("pirltrainsink-objectives");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_set_timeout (tc, 240);
  tcase_add_checked_fixture (tc, make_folder, remove_folder);
  tcase_add_test (tc, objectives_take_their_views);
  tcase_add_test (tc, second_views_are_asked_for);
  tcase_add_test (tc, jigsaw_needs_a_set_of_permutations);
  tcase_add_test (tc, other_producers_send_jigsaws);
  tcase_add_test (tc, moco_has_a_queue_of_whole_batches);
  tcase_add_test (tc, presets_are_their_recipes);
  tcase_add_test (tc, presets_fit_the_objective);
  tcase_add_loop_test (tc, objectives_train_and_resume, 0, G_N_ELEMENTS (runs));
  tcase_add_test (tc, objectives_do_not_mix);
  tcase_add_test (tc, rotations_and_permutations_are_learnt);
  return suite;
}

GST_CHECK_MAIN (objectives);
