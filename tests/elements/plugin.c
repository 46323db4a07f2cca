/* gst-pirl: tests of what all elements share: registration, properties, states, metas, events,
 * queries, caps.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gst/check/gstcheck.h>
#include <string.h>

#include "leaks.h"
#include "meta.h"
#include "pretext.h"

/* ---- every element ------------------------------------------------------------------------- */

static GList *
our_factories (void)
{
  GList *features = gst_registry_get_feature_list_by_plugin (gst_registry_get (), "pirl");
  GList *factories = NULL;

  for (GList * l = features; l; l = l->next)
    if (GST_IS_ELEMENT_FACTORY (l->data))
      factories = g_list_prepend (factories, gst_object_ref (l->data));
  gst_plugin_feature_list_free (features);
  fail_unless (factories != NULL, "the plugin is not found");
  return factories;
}

GST_START_TEST (all_elements_are_there_and_documented)
{
  static const gchar *const names[] = { "pirldatasetsrc", "pirljigsaw", "pirltrainsink",
    "pirlembed", "pirlprobesink", "adacompressenc"
  };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    GstElementFactory *factory = gst_element_factory_find (names[i]);
    static const gchar *const keys[] = { GST_ELEMENT_METADATA_LONGNAME,
      GST_ELEMENT_METADATA_KLASS, GST_ELEMENT_METADATA_DESCRIPTION, GST_ELEMENT_METADATA_AUTHOR
    };

    fail_unless (factory != NULL, "%s is missing", names[i]);
    /* Nothing of ours is plugged by itself. */
    fail_unless_equals_int (gst_plugin_feature_get_rank (GST_PLUGIN_FEATURE (factory)),
        GST_RANK_NONE);
    for (guint k = 0; k < G_N_ELEMENTS (keys); k++)
      fail_unless (gst_element_factory_get_metadata (factory, keys[k]) != NULL);
    gst_object_unref (factory);
  }
}

GST_END_TEST;

static void
check_property (GstElement * element, GParamSpec * spec)
{
  const GParamFlags mutable = GST_PARAM_MUTABLE_READY | GST_PARAM_MUTABLE_PAUSED
      | GST_PARAM_MUTABLE_PLAYING;
  const gchar *blurb = g_param_spec_get_blurb (spec), *nick = g_param_spec_get_nick (spec);
  GValue value = G_VALUE_INIT;

  fail_unless (blurb && strlen (blurb) >= 10 && !g_str_has_suffix (blurb, "."), "%s: blurb \"%s\"",
      spec->name, blurb);
  fail_unless (nick && g_ascii_isupper (nick[0]), "%s: nick \"%s\"", spec->name, nick);
  if (spec->flags & G_PARAM_WRITABLE)
    fail_unless (spec->flags & mutable, "%s: nobody can tell when it may change", spec->name);
  if ((spec->flags & G_PARAM_READWRITE) != G_PARAM_READWRITE)
    return;
  /* What is read can be written back. */
  g_value_init (&value, spec->value_type);
  g_object_get_property (G_OBJECT (element), spec->name, &value);
  g_object_set_property (G_OBJECT (element), spec->name, &value);
  g_value_unset (&value);
}

GST_START_TEST (every_property_says_what_it_is_and_when_it_may_change)
{
  GList *factories = our_factories ();

  for (GList * l = factories; l; l = l->next) {
    GstElement *element = gst_element_factory_create (l->data, NULL);
    guint n, own = 0;
    GParamSpec **specs = g_object_class_list_properties (G_OBJECT_GET_CLASS (element), &n);

    for (guint i = 0; i < n; i++) {
      if (specs[i]->owner_type != G_OBJECT_TYPE (element))
        continue;
      own++;
      check_property (element, specs[i]);
    }
    fail_unless (own > 0);
    g_free (specs);
    gst_object_unref (element);
  }
  gst_plugin_feature_list_free (factories);
}

GST_END_TEST;

/* Unlinked and without settings an element may fail, but not hang, warn or leak. */
GST_START_TEST (states_go_up_and_down_with_default_properties)
{
  static const GstState ways[][5] = {
    {GST_STATE_READY, GST_STATE_PAUSED, GST_STATE_PLAYING, GST_STATE_PAUSED, GST_STATE_NULL},
    {GST_STATE_PAUSED, GST_STATE_READY, GST_STATE_PLAYING, GST_STATE_READY, GST_STATE_NULL},
    {GST_STATE_PLAYING, GST_STATE_NULL, GST_STATE_PAUSED, GST_STATE_NULL, GST_STATE_NULL},
  };
  GList *factories = our_factories ();

  for (GList * l = factories; l; l = l->next) {
    for (guint w = 0; w < G_N_ELEMENTS (ways); w++) {
      GstElement *element = gst_element_factory_create (l->data, NULL);

      for (guint i = 0; i < G_N_ELEMENTS (ways[w]); i++)
        gst_element_set_state (element, ways[w][i]);
      gst_object_unref (element);
    }
  }
  gst_plugin_feature_list_free (factories);
}

GST_END_TEST;

/* ---- metas --------------------------------------------------------------------------------- */

GST_START_TEST (registering_metas_again_is_harmless)
{
  /* The plugin's own registration is in this process as well. */
  GstElement *element = gst_element_factory_make ("pirldatasetsrc", NULL);

  gst_pirl_meta_init ();
  gst_pirl_meta_init ();
  fail_unless (gst_meta_get_info (GST_PIRL_SAMPLE_META) != NULL);
  fail_unless (gst_meta_get_info (GST_PIRL_PRETEXT_META) != NULL);
  fail_unless (gst_meta_get_info (GST_PIRL_EMBEDDING_META) != NULL);
  gst_object_unref (element);
}

GST_END_TEST;

GST_START_TEST (sample_meta_comes_back_as_it_went)
{
  const GstPirlSample in = {.index = G_GUINT64_CONSTANT (5000000000),.count = 7,.epoch = 3,
    .label = -1,.split = "test",.name = "a/b.png",.position = 11
  };
  GstBuffer *buffer = gst_buffer_new (), *copy;
  GstPirlSample out;

  fail_if (gst_pirl_sample_get (buffer, &out));
  gst_pirl_sample_add (buffer, &in);
  copy = gst_buffer_copy (buffer);
  gst_buffer_unref (buffer);
  fail_unless (gst_pirl_sample_get (copy, &out));
  fail_unless_equals_uint64 (out.index, in.index);
  fail_unless_equals_uint64 (out.count, in.count);
  fail_unless_equals_uint64 (out.position, in.position);
  fail_unless_equals_int (out.epoch, in.epoch);
  fail_unless_equals_int (out.label, in.label);
  fail_unless_equals_string (out.split, in.split);
  fail_unless_equals_string (out.name, in.name);
  gst_buffer_unref (copy);
}

GST_END_TEST;

static void
append_text (GValue * array, const gchar * text)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_TYPE_STRING);
  g_value_set_string (&value, text);
  gst_value_array_append_and_take_value (array, &value);
}

GST_START_TEST (labels_meta_comes_back_and_replaces_an_earlier_one)
{
  GValue names[2] = { G_VALUE_INIT, G_VALUE_INIT }, scores = G_VALUE_INIT;
  GstBuffer *buffer = gst_buffer_new (), *copy;
  gpointer state = NULL;
  GstPirlServiceLabels out;
  guint n = 0;

  gst_value_array_init (&scores, 0);
  fail_if (gst_pirl_service_labels_get (buffer, &out));
  for (guint i = 0; i < 2; i++) {
    const GstPirlServiceLabels in = {.labels = &names[i],.texts = &names[i],.scores = &scores,
      .frame = 7 + i,.age = i ? GST_CLOCK_TIME_NONE : 5
    };

    gst_value_array_init (&names[i], 0);
    append_text (&names[i], i ? "/m/0bt9lr" : "cat");
    gst_pirl_service_labels_add (buffer, &in);
  }
  copy = gst_buffer_copy (buffer);
  gst_buffer_unref (buffer);
  while (gst_buffer_iterate_meta (copy, &state))
    n++;
  fail_unless_equals_int (n, 1);
  fail_unless (gst_pirl_service_labels_get (copy, &out));
  fail_unless (gst_value_compare (out.labels, &names[1]) == GST_VALUE_EQUAL);
  fail_unless (gst_value_compare (out.texts, &names[1]) == GST_VALUE_EQUAL);
  fail_unless_equals_int (gst_value_array_get_size (out.scores), 0);
  fail_unless_equals_uint64 (out.frame, 8);
  fail_unless (out.age == GST_CLOCK_TIME_NONE);
  gst_buffer_unref (copy);
  g_value_unset (&names[0]);
  g_value_unset (&names[1]);
  g_value_unset (&scores);
}

GST_END_TEST;

GST_START_TEST (embedding_meta_replaces_an_earlier_one)
{
  GstBuffer *buffer = gst_buffer_new ();
  GBytes *first = g_bytes_new_static ("0123456789ab", 12), *second = g_bytes_new_static ("0123", 4);
  const GstStructure *s;
  gpointer state = NULL;
  guint size, n = 0;
  guint64 age;

  gst_pirl_embedding_add (buffer, first, "embedding", "3:1:1:1", "one", 0);
  gst_pirl_embedding_add (buffer, second, "logits", "1:1:1:1", "two", 5);
  while (gst_buffer_iterate_meta (buffer, &state))
    n++;
  fail_unless_equals_int (n, 1);
  s = gst_custom_meta_get_structure (gst_buffer_get_custom_meta (buffer,
          GST_PIRL_EMBEDDING_META));
  fail_unless (gst_structure_get_uint (s, "size", &size) && size == 1);
  fail_unless (gst_structure_get_uint64 (s, "age", &age) && age == 5);
  fail_unless_equals_string (gst_structure_get_string (s, "layer"), "logits");
  fail_unless_equals_string (gst_structure_get_string (s, "model"), "two");
  gst_buffer_unref (buffer);
  g_bytes_unref (first);
  g_bytes_unref (second);
}

GST_END_TEST;

/* ---- event and query ------------------------------------------------------------------------- */

GST_START_TEST (dataset_event_comes_back_as_it_went)
{
  gchar *names[] = { (gchar *) "cat", (gchar *) "dog; \"x\"", NULL };
  GstPirlDataset in = { 10, 2, names, 3, G_MAXUINT64, (gchar *) "abc", 20 }, out;
  GstEvent *event = gst_pirl_dataset_event_new (&in), *other;

  fail_unless (GST_EVENT_IS_STICKY (event) && GST_EVENT_IS_SERIALIZED (event));
  fail_unless (gst_pirl_dataset_parse (event, &out));
  fail_unless (out.count == 10 && out.total == 20 && out.n_classes == 2 && out.epochs == 3
      && out.seed == G_MAXUINT64);
  fail_unless_equals_string (out.hash, "abc");
  fail_unless_equals_string (out.class_names[1], names[1]);
  fail_unless (out.class_names[2] == NULL);
  gst_pirl_dataset_clear (&out);
  gst_event_unref (event);

  /* Without class names, and with count for total. */
  in = (GstPirlDataset) { 10, 4, NULL, 0, 1, NULL, 0 };
  event = gst_pirl_dataset_event_new (&in);
  fail_unless (gst_pirl_dataset_parse (event, &out));
  fail_unless (out.total == 10 && out.class_names == NULL && out.n_classes == 4);
  gst_pirl_dataset_clear (&out);
  gst_event_unref (event);

  other = gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_STICKY,
      gst_structure_new_empty ("something-else"));
  fail_if (gst_pirl_dataset_parse (other, &out));
  gst_event_unref (other);
}

GST_END_TEST;

GST_START_TEST (resume_query_is_recognised_and_answered)
{
  GstQuery *query = gst_pirl_resume_query_new (), *other;
  guint64 epoch, index, seed;
  const gchar *hash;

  fail_unless (gst_pirl_is_resume_query (query));
  fail_if (gst_pirl_resume_parse (query, &epoch, &index, &seed, &hash));
  gst_pirl_resume_answer (query, 2, 3, 4, "abc");
  fail_unless (gst_pirl_resume_parse (query, &epoch, &index, &seed, &hash));
  fail_unless (epoch == 2 && index == 3 && seed == 4);
  fail_unless_equals_string (hash, "abc");
  gst_query_unref (query);

  other = gst_query_new_latency ();
  fail_if (gst_pirl_is_resume_query (other));
  gst_query_unref (other);
}

GST_END_TEST;

/* ---- tensor caps ----------------------------------------------------------------------------- */

GST_START_TEST (tensor_caps_are_those_of_nnstreamer)
{
  static const GstPirlViews shuffled = { 64, 18, 9, PIRL_TRANSFORM_JIGSAW, 100, FALSE };
  static const GstPirlViews turned = { 64, 64, 1, PIRL_TRANSFORM_ROTATION, 0, FALSE };
  static const GstPirlViews frames = { 0, 0, 0, PIRL_TRANSFORM_BOTH, 7, TRUE };
  static const GstPirlViews unknown = { 8, 4, 4, PIRL_TRANSFORM_JIGSAW, -1, FALSE };
  const struct
  {
    GstCaps *caps;
    const gchar *want;
  } cases[] = {
    {gst_pirl_views_caps (&shuffled, 30, 1), "other/tensors, format=(string)static, "
          "num_tensors=(int)2, types=(string)\"uint8,uint8\", "
          "dimensions=(string)\"3:64:64:1,3:18:18:9\", framerate=(fraction)30/1, "
          "transform=(string)jigsaw, permutations=(int)100"},
    {gst_pirl_views_caps (&turned, 0, 0), "other/tensors, format=(string)static, "
          "num_tensors=(int)2, types=(string)\"uint8,uint8\", "
          "dimensions=(string)\"3:64:64:1,3:64:64:1\", framerate=(fraction)0/1, "
          "transform=(string)rotation, permutations=(int)0"},
    {gst_pirl_views_caps (&frames, 25, 1), "video/x-raw(meta:PirlPretext), format=(string)RGB, "
          "framerate=(fraction)25/1, transform=(string)both, permutations=(int)7"},
    {gst_pirl_views_caps (&unknown, 0, 0), "other/tensors, format=(string)static, "
          "num_tensors=(int)2, types=(string)\"uint8,uint8\", "
          "dimensions=(string)\"3:8:8:1,3:4:4:4\", framerate=(fraction)0/1, "
          "transform=(string)jigsaw"},
    {gst_pirl_features_caps ("128:1:1:1", 25, 2), "other/tensors, format=(string)static, "
          "num_tensors=(int)1, types=(string)float32, dimensions=(string)128:1:1:1, "
          "framerate=(fraction)25/2"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstCaps *want = gst_caps_from_string (cases[i].want);

    fail_unless (gst_caps_is_equal (cases[i].caps, want), "%" GST_PTR_FORMAT, cases[i].caps);
    fail_unless (gst_caps_is_fixed (cases[i].caps));
    gst_caps_unref (want);
    gst_caps_unref (cases[i].caps);
  }
}

GST_END_TEST;

GST_START_TEST (view_caps_are_read_back_and_others_refused)
{
#define VIEWS "other/tensors,format=static,num_tensors=2,framerate=0/1,types=(string)\"uint8,uint8\","
  static const struct
  {
    const gchar *caps;
    gboolean good;
  } cases[] = {
    {VIEWS "dimensions=(string)\"3:64:64:1,3:18:18:9\"", TRUE},
    {"other/tensors,format=static,num_tensors=2,types=(string)\"uint8.uint8\","
          "dimensions=(string)\"3:64:64:1.3:18:18:9\"", TRUE},
    {VIEWS "dimensions=(string)\"3:64:64,3:18:18:9\"", TRUE},
    {VIEWS "dimensions=(string)\"3:64:60:1,3:18:18:9\"", FALSE},
    {VIEWS "dimensions=(string)\"4:64:64:1,3:18:18:9\"", FALSE},
    {VIEWS "dimensions=(string)\"3:64:64:2,3:18:18:9\"", FALSE},
    {VIEWS "dimensions=(string)\"3:64:64:1,3:18:19:9\"", FALSE},
    {VIEWS "dimensions=(string)\"3:64:64:1,3:0:0:9\"", FALSE},
    {VIEWS "dimensions=(string)\"3:64:64:1,3:-8:-8:9\"", FALSE},
    {VIEWS "dimensions=(string)\"3:64:64:1\"", FALSE},
    {VIEWS "dimensions=(string)\"3:64:64:1,a:b:c:d\"", FALSE},
    {VIEWS "dimensions=(string)\"3:99999999999:99999999999:1,3:18:18:9\"", FALSE},
    {VIEWS "width=5", FALSE},
    {"other/tensors,format=flexible,num_tensors=2,types=(string)\"uint8,uint8\","
          "dimensions=(string)\"3:64:64:1,3:18:18:9\"", FALSE},
    {"other/tensors,format=static,num_tensors=2,types=(string)\"uint8,float32\","
          "dimensions=(string)\"3:64:64:1,3:18:18:9\"", FALSE},
    {"video/x-raw,format=RGB", FALSE},
    {"EMPTY", FALSE},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstCaps *caps = gst_caps_from_string (cases[i].caps);
    gchar *reason = NULL;
    GstPirlViews views;

    fail_unless (gst_pirl_views_caps_parse (caps, &views, &reason) == cases[i].good, "%s",
        cases[i].caps);
    if (cases[i].good)
      fail_unless (views.image == 64 && views.patch == 18 && views.patches == 9 && reason == NULL
          && views.transform == PIRL_TRANSFORM_JIGSAW && views.permutations == -1
          && !views.frames);
    else
      fail_unless (reason != NULL && strstr (reason, "pirljigsaw") != NULL);
    g_free (reason);
    gst_caps_unref (caps);
  }
}

GST_END_TEST;

/* What is sent is what is read; a consumer that knows nothing of transforms takes it as well. */
GST_START_TEST (view_caps_say_the_transform)
{
  for (guint i = 0; i < 2 * PIRL_N_TRANSFORMS; i++) {
    const gboolean frames = i % 2;
    const GstPirlViews sent = { frames ? 0 : 32, frames ? 0 : 9, frames ? 0 : 4, i / 2,
      (gint) i - 1, frames
    };
    GstCaps *caps = gst_pirl_views_caps (&sent, 30, 1);
    GstCaps *old = gst_caps_from_string (frames ? "video/x-raw(meta:PirlPretext),format=RGB"
        : "other/tensors,format=static,num_tensors=2,types=\"uint8,uint8\","
        "dimensions=\"3:32:32:1,3:9:9:4\"");
    GstCaps *nonsense = gst_caps_copy (caps);
    GstPirlViews views;
    gchar *reason = NULL;

    fail_unless (gst_pirl_views_caps_parse (caps, &views, NULL));
    fail_unless (memcmp (&views, &sent, sizeof (views)) == 0);
    fail_unless (gst_caps_can_intersect (caps, old));
    gst_caps_set_simple (nonsense, "transform", G_TYPE_STRING, "upside-down", NULL);
    fail_if (gst_pirl_views_caps_parse (nonsense, &views, &reason));
    fail_unless (strstr (reason, "upside-down") != NULL);
    g_free (reason);
    gst_caps_unref (caps);
    gst_caps_unref (old);
    gst_caps_unref (nonsense);
  }
}

GST_END_TEST;

static Suite *
plugin_suite (void)
{
  Suite *s = suite_create ("plugin");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (s, tc);
  tcase_add_checked_fixture (tc, NULL, leaks_none);
  tcase_add_test (tc, all_elements_are_there_and_documented);
  tcase_add_test (tc, every_property_says_what_it_is_and_when_it_may_change);
  tcase_add_test (tc, states_go_up_and_down_with_default_properties);
  tcase_add_test (tc, registering_metas_again_is_harmless);
  tcase_add_test (tc, sample_meta_comes_back_as_it_went);
  tcase_add_test (tc, embedding_meta_replaces_an_earlier_one);
  tcase_add_test (tc, labels_meta_comes_back_and_replaces_an_earlier_one);
  tcase_add_test (tc, dataset_event_comes_back_as_it_went);
  tcase_add_test (tc, resume_query_is_recognised_and_answered);
  tcase_add_test (tc, tensor_caps_are_those_of_nnstreamer);
  tcase_add_test (tc, view_caps_are_read_back_and_others_refused);
  tcase_add_test (tc, view_caps_say_the_transform);
  return s;
}

int
main (int argc, char **argv)
{
  leaks_watch ();
  gst_check_init (&argc, &argv);
  gst_pirl_meta_init ();
  return gst_check_run_suite (plugin_suite (), "plugin", __FILE__);
}
