/* gst-pirl: answers and their agreement, the URIs of clouds, recordings, the application as the
 * cloud, and a classifier of this machine.
 *
 * PIRL_TEST_DATA: scenes/cloud-answers.json (its README counts the answers) and
 * weights/resnet50_imagenet_pqf.* (check values by PyTorch); skipped where they are absent.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <base/base.h>
#include <base/safetensors.h>
#include <glib/gstdio.h>
#include <math.h>

#include "adacompress-cloud-server.h"
#include "json.h"
#include "recording.h"
#include "test-rows.h"

static gchar *
data_path (const gchar * name)
{
  const gchar *root = g_getenv ("PIRL_TEST_DATA");
  gchar *path = g_build_filename (root ? root : "../shared/data", name, NULL);

  if (g_file_test (path, G_FILE_TEST_EXISTS))
    return path;
  g_free (path);
  g_test_skip ("PIRL_TEST_DATA does not have it");
  return NULL;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* "a b c": best first. */
static AdaAnswer *
answer_of (const gchar * ids)
{
  g_auto (GStrv) parts = g_strsplit (ids, " ", -1);
  AdaAnswer *answer = ada_answer_new ();

  for (guint i = 0; parts[i] && *ids; i++)
    ada_answer_add (answer, parts[i], NULL, 1 - 0.1 * i);
  return answer;
}

static void
test_agreement (void)
{
  const struct {
    const gchar *reference, *answer;
    gdouble expected[3];        /* top1-in-top5, top5-overlap, top1 */
  } cases[] = {
    {"a b c d e", "a b c d e", {1, 1, 1}},
    {"a b c d e", "e d c b a", {1, 1, 0}},
    {"a b c d e", "b a x y z", {1, .4, 0}},
    {"a b c d e", "x y z u v a", {0, 0, 0}},
    {"a b c d e", "b c d e f a", {0, .8, 0}},
    {"a b c d e f g", "f g a h i", {1, .2, 0}},
    {"a b", "a x", {1, .5, 1}},
    {"a", "b a c d e", {1, 1, 0}},
    {"a b c", "", {0, 0, 0}},
    {"", "a", {-1, -1, -1}},
    {"", "", {-1, -1, -1}},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (AdaAnswer) reference = answer_of (cases[i].reference);
    g_autoptr (AdaAnswer) answer = answer_of (cases[i].answer);

    for (guint mode = 0; mode < 3; mode++)
      g_assert_cmpfloat_with_epsilon (ada_agreement (mode, reference, answer),
          cases[i].expected[mode], 1e-12);
  }
}

static void
assert_labels (const AdaAnswer * answer, const gchar * expected)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < answer->labels->len; i++) {
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    g_string_append_printf (text, "%s%s=%g", i ? " " : "", label->id, label->score);
  }
  g_assert_cmpstr (text->str, ==, expected);
}

static void
test_labels (void)
{
  g_autoptr (AdaAnswer) answer = ada_answer_new ();

  ada_answer_add (answer, "low", NULL, 0.1);
  ada_answer_add (answer, "one", "first", 0.5);
  ada_answer_add (answer, "two", NULL, 0.5);
  ada_answer_add (answer, "low", NULL, 0.7);
  ada_answer_add (answer, "one", "again", 0.2);
  ada_answer_add (answer, "wild", NULL, 17);
  ada_answer_add (answer, "odd", NULL, NAN);
  ada_answer_add (answer, "less", NULL, -1);
  assert_labels (answer, "low=0.7 one=0.5 two=0.5 wild=1 odd=0 less=0");
  ada_answer_sort (answer);
  assert_labels (answer, "wild=1 low=0.7 one=0.5 two=0.5 odd=0 less=0");
  g_assert_cmpstr (g_array_index (answer->labels, AdaLabel, 2).text, ==, "first");
}

/* ---- URIs ----------------------------------------------------------------------------------- */

static void
test_uris (void)
{
  const struct {
    const gchar *uri;
    gint code;
    const gchar *says;
  } cases[] = {
    {NULL, PIRL_ERROR_INVALID, "local:MODEL.safetensors, replay:FILE.json[#SERVICE], oip+http://"},
    {"", PIRL_ERROR_INVALID, "oip+https://HOST"},
    {"http://user:S3CRET@host/v2/models/M?key=S3CRET", PIRL_ERROR_INVALID, "local:"},
    {"local:", PIRL_ERROR_INVALID, "local:MODEL.safetensors"},
    {"local:/nonexistent.safetensors", PIRL_ERROR_IO, "/nonexistent.safetensors"},
    {"replay:", PIRL_ERROR_INVALID, "replay:FILE.json[#SERVICE]"},
    {"replay:/nonexistent.json#x", PIRL_ERROR_IO, "/nonexistent.json"},
    {"oip+http:host/v2/models/M", PIRL_ERROR_INVALID, "names no host"},
    {"oip+http:///v2/models/M", PIRL_ERROR_INVALID, "names no host"},
    {"oip+http://host/", PIRL_ERROR_INVALID, "names no model"},
    {"oip+https://host/v2/models/", PIRL_ERROR_INVALID, "names no model"},
    {"oip+https://user:S3CRET@host/v2/models/M", PIRL_ERROR_INVALID, "GST_PIRL_OIP_TOKEN"},
    {"oip+https://host/v2/models/M?token=S3CRET", PIRL_ERROR_INVALID, "input=NAME"},
    {"oip+https://host/v2/models/M?S3CRET", PIRL_ERROR_INVALID, "name=value"},
    {"oip+https://host/v2/models/M?input=", PIRL_ERROR_INVALID, "input=NAME"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (ada_cloud_new (cases[i].uri, NULL, 1, &error));
    g_assert_error (error, PIRL_ERROR, cases[i].code);
    if (!strstr (error->message, cases[i].says))
      g_error ("\"%s\" does not say \"%s\"", error->message, cases[i].says);
    g_assert_null (strstr (error->message, "S3CRET"));
  }
}

static void
test_good_uris (void)
{
  const gchar *uris[] = { "oip+http://h/v2/models/M", "OIP+HTTPS://h:8000/v2/models/M/versions/2",
    "oip+http://[::1]:8000/proxied/v2/models/M/?input=a%20b&output=c"
  };

  for (guint i = 0; i < G_N_ELEMENTS (uris); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaCloud) cloud = ada_cloud_new (uris[i], NULL, 1, &error);

    g_assert_no_error (error);
    g_assert_true (ada_cloud_knows (cloud, NULL, 5));
  }
}

/* ---- recordings ----------------------------------------------------------------------------- */

#define CELL(labels) "{\"size\":9,\"labels\":[" labels "]}"
#define LABEL(keyword, score) "{\"keyword\":\"" keyword "\",\"score\":" score "}"

static const gchar recording[] = "{"
    "\"day/1.jpg\":{\"s\":{\"75\":" CELL (LABEL ("b", "0.2") "," LABEL ("a", "0.7")) ","
    "\"5\":" CELL (LABEL ("", "0.1")) ",\"15\":" CELL ("\"internal error\"") ","
    "\"25\":" CELL (LABEL ("a", "0.3") "," LABEL ("", "0.9") "," LABEL ("a", "0.4")) "},"
    "\"t\":{\"75\":" CELL ("") "}},"
    "\"night/1.jpg\":{\"s\":{\"75\":" CELL (LABEL ("n", "1")) "}},"
    "\"2.jpg\":{\"s\":{\"75\":" CELL (LABEL ("two", "1")) "}},"
    "\"night/3.jpg\":{\"s\":{\"75\":" CELL (LABEL ("three", "1")) "}}}";

static AdaRecording *
record (const gchar * service)
{
  g_autoptr (GError) error = NULL;
  AdaRecording *result = ada_recording_new (recording, strlen (recording), service, &error);

  g_assert_no_error (error);
  return result;
}

static void
test_recording (void)
{
  g_autoptr (AdaRecording) r = record ("s");
  g_autoptr (GError) missing = NULL, failed = NULL;
  g_autoptr (AdaAnswer) first = ada_recording_find (r, "day/1.jpg", 75, NULL);
  g_autoptr (AdaAnswer) nothing = ada_recording_find (r, "day/1.jpg", 5, NULL);
  g_autoptr (AdaAnswer) twice = ada_recording_find (r, "day/1.jpg", 25, NULL);

  /* By score, whatever the order; an empty keyword is no label; nothing twice. */
  assert_labels (first, "a=0.7 b=0.2");
  assert_labels (nothing, "");
  assert_labels (twice, "a=0.4");
  g_assert_null (ada_recording_find (r, "day/1.jpg", 15, &failed));
  g_assert_error (failed, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
  g_assert_nonnull (strstr (failed->message, "internal error"));
  g_assert_null (ada_recording_find (r, "day/1.jpg", 35, &missing));
  g_assert_error (missing, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER);
  g_assert_true (ada_recording_has (r, "day/1.jpg", 5));
  g_assert_false (ada_recording_has (r, "day/1.jpg", 35));
  g_assert_false (ada_recording_has (r, NULL, 75));
}

static void
test_recording_names (void)
{
  const struct {
    const gchar *name, *label;  /* NULL: not known */
  } cases[] = {
    {"day/1.jpg", "a=0.7 b=0.2"}, {"night/1.jpg", "n=1"}, {"/mnt/set/night/1.jpg", "n=1"},
    {"2.jpg", "two=1"}, {"far/away/2.jpg", "two=1"}, {"3.jpg", "three=1"},
    {"elsewhere/3.jpg", "three=1"}, {"1.jpg", NULL}, {"dusk/1.jpg", NULL}, {"/", NULL}, {"", NULL},
    {"day/", NULL}, {"//1.jpg", NULL},
  };
  g_autoptr (AdaRecording) r = record ("s");

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (AdaAnswer) answer = ada_recording_find (r, cases[i].name, 75, NULL);

    g_assert_true (ada_recording_has (r, cases[i].name, 75) == (cases[i].label != NULL));
    g_assert_true ((answer == NULL) == (cases[i].label == NULL));
    if (answer)
      assert_labels (answer, cases[i].label);
  }
}

static void
test_bad_recordings (void)
{
  const struct {
    const gchar *json, *service;
    gint code;
    const gchar *says;
  } cases[] = {
    {recording, NULL, PIRL_ERROR_INVALID, "(s, t)"},
    {recording, "u", PIRL_ERROR_INVALID, "s, t"},
    {"", NULL, PIRL_ERROR_FORMAT, "empty"},
    {"{}", NULL, PIRL_ERROR_FORMAT, "no answers"},
    {"[]", NULL, PIRL_ERROR_FORMAT, "JSON object"},
    {"{\"a\":1}", NULL, PIRL_ERROR_FORMAT, "\"a\""},
    {"{\"a\":{\"s\":[]}}", NULL, PIRL_ERROR_FORMAT, "\"a\""},
    {"{\"a\":{\"s\":{\"high\":" CELL ("") "}}}", NULL, PIRL_ERROR_FORMAT, "\"high\""},
    {"{\"a\":{\"s\":{\"101\":" CELL ("") "}}}", NULL, PIRL_ERROR_FORMAT, "\"101\""},
    {"{\"a\":{\"s\":{\"75\":{}}}}", NULL, PIRL_ERROR_FORMAT, "quality 75"},
    {"{\"a\":{\"s\":{\"75\":" CELL ("7") "}}}", NULL, PIRL_ERROR_FORMAT, "quality 75"},
    {"{\"a\":{\"s\":{\"75\":" CELL ("{\"keyword\":\"x\"}") "}}}", NULL, PIRL_ERROR_FORMAT,
        "quality 75"},
    {"{\"a\":{\"s\":{\"75\":" CELL ("{\"keyword\":3,\"score\":1}") "}}}", NULL, PIRL_ERROR_FORMAT,
        "quality 75"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;

    g_assert_null (ada_recording_new (cases[i].json, strlen (cases[i].json), cases[i].service,
            &error));
    g_assert_error (error, PIRL_ERROR, cases[i].code);
    if (!strstr (error->message, cases[i].says))
      g_error ("\"%s\" does not say \"%s\"", error->message, cases[i].says);
  }
}

static AdaAnswer *
classify_named (AdaCloud * cloud, const gchar * name, gint quality, GError ** error)
{
  g_autoptr (GBytes) jpeg = test_jpeg (quality);

  return ada_cloud_classify (cloud, &(AdaRequest) {.name = name,.quality = quality,.jpeg = jpeg },
      NULL, error);
}

/* How many cells of the pictures that @path names a cloud has. */
static guint
count_cells (const gchar * path, AdaCloud * cloud)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonObjectIter iter;
  const gchar *name;
  guint n = 0;

  g_assert_true (json_parser_load_from_file (parser, path, NULL));
  json_object_iter_init (&iter, json_node_get_object (json_parser_get_root (parser)));
  while (json_object_iter_next (&iter, &name, NULL))
    for (gint quality = 0; quality <= 100; quality++)
      n += ada_cloud_knows (cloud, name, quality);
  return n;
}

static void
test_recorded_services (void)
{
  g_autofree gchar *path = data_path ("scenes/cloud-answers.json");
  g_autofree gchar *baidu_uri = g_strconcat ("replay:", path, "#baidu", NULL);
  g_autofree gchar *facepp_uri = g_strconcat ("replay:", path, "#facepp", NULL);
  g_autofree gchar *no_uri = g_strconcat ("replay:", path, NULL);
  g_autoptr (AdaCloud) baidu = NULL, facepp = NULL;
  g_autoptr (AdaAnswer) sorted = NULL, nothing = NULL;
  g_autoptr (GError) error = NULL, unclear = NULL;

  if (!path)
    return;
  g_assert_null (ada_cloud_new (no_uri, NULL, 1, &unclear));
  g_assert_error (unclear, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_assert_nonnull (strstr (unclear->message, "baidu, facepp"));
  baidu = ada_cloud_new (baidu_uri, NULL, 1, NULL);
  facepp = ada_cloud_new (facepp_uri, NULL, 1, NULL);
  g_assert_cmpuint (count_cells (path, baidu), ==, 557);
  g_assert_cmpuint (count_cells (path, facepp), ==, 284);
  /* Read in the file: the second label has the greatest score here. */
  sorted = classify_named (baidu, "scenes/night/20151120_201632.jpg", 35, NULL);
  g_assert_cmpstr (g_array_index (sorted->labels, AdaLabel, 0).id, ==, "居民楼");
  g_assert_cmpuint (sorted->sent, ==, 1000 + 350);
  nothing = classify_named (facepp, "night/20151120_201632.jpg", 75, NULL);
  g_assert_cmpuint (nothing->labels->len, ==, 0);
  g_assert_null (classify_named (baidu, "night/20151103_044539.jpg", 55, &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
}

/* ---- the application ------------------------------------------------------------------------ */

typedef struct {
  AdaCloud *cloud;
  gboolean at_once;
  GThread *thread;
} Application;

static gpointer
answer_later (gpointer data)
{
  const gchar *labels[] = { "cat", "dog", NULL };
  Application *app = data;

  g_usleep (20000);
  g_assert_false (ada_application_cloud_answer (app->cloud, 7, 15, labels));
  g_assert_false (ada_application_cloud_answer (app->cloud, 8, 75, labels));
  g_assert_true (ada_application_cloud_answer (app->cloud, 7, 75, labels));
  return NULL;
}

static void
asked (const AdaRequest * request, gpointer data)
{
  const gchar *labels[] = { "cat", "dog", NULL };
  Application *app = data;

  if (app->at_once) {
    g_assert_true (ada_application_cloud_answer (app->cloud, request->id, request->quality,
            labels));
    /* The first answer counts. */
    g_assert_false (ada_application_cloud_answer (app->cloud, request->id, request->quality,
            NULL));
  } else {
    app->thread = g_thread_new ("application", answer_later, app);
  }
}

static AdaAnswer *
ask_application (AdaCloud * cloud, GCancellable * cancellable, GError ** error)
{
  g_autoptr (GBytes) jpeg = test_jpeg (75);

  return ada_cloud_classify (cloud, &(AdaRequest) {.id = 7,.quality = 75,.jpeg = jpeg },
      cancellable, error);
}

static void
test_application (void)
{
  for (guint at_once = 0; at_once < 2; at_once++) {
    Application app = {.at_once = at_once };
    g_autoptr (AdaCloud) cloud = app.cloud = ada_application_cloud_new (asked, &app);
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaAnswer) answer = ask_application (cloud, NULL, &error);

    g_assert_no_error (error);
    assert_labels (answer, "cat=1 dog=0.5");
    if (app.thread)
      g_thread_join (app.thread);
    /* Nobody waits any more. */
    g_assert_false (ada_application_cloud_answer (cloud, 7, 75, NULL));
  }
}

static void
declines (const AdaRequest * request, gpointer data)
{
  AdaCloud **cloud = data;

  g_assert_true (ada_application_cloud_answer (*cloud, request->id, request->quality, NULL));
}

static void
says_nothing (const AdaRequest * request, gpointer data)
{
}

static gpointer
cancel_soon (gpointer cancellable)
{
  g_usleep (30000);
  g_cancellable_cancel (cancellable);
  return NULL;
}

static void
test_application_declines (void)
{
  g_autoptr (AdaCloud) cloud = NULL;
  g_autoptr (GError) error = NULL;

  cloud = ada_application_cloud_new (declines, &cloud);
  g_assert_null (ask_application (cloud, NULL, &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER);
}

static void
test_application_cancelled (void)
{
  g_autoptr (AdaCloud) cloud = ada_application_cloud_new (says_nothing, NULL);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL, again = NULL;
  GThread *thread = g_thread_new ("cancel", cancel_soon, cancellable);

  g_assert_null (ask_application (cloud, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_thread_join (thread);
  g_assert_null (ask_application (cloud, cancellable, &again));
  g_assert_error (again, G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

/* ---- a classifier of this machine ----------------------------------------------------------- */

#define MODEL "weights/resnet50_imagenet_pqf.safetensors"

static AdaAnswer *
classify_file (AdaCloud * cloud, const gchar * file, GCancellable * cancellable, GError ** error)
{
  g_autofree gchar *path = data_path (file);
  g_autoptr (GBytes) jpeg = NULL;
  gchar *contents;
  gsize size;

  g_assert_true (g_file_get_contents (path, &contents, &size, NULL));
  jpeg = g_bytes_new_take (contents, size);
  return ada_cloud_classify (cloud, &(AdaRequest) {.jpeg = jpeg }, cancellable, error);
}

/* Scores of the likely classes, by PyTorch; 16-bit arithmetic moves them by a percent or two. */
static void
assert_case (AdaCloud * cloud, JsonObject * expected)
{
  JsonArray *top5 = json_object_get_array_member (expected, "top5");
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = classify_file (cloud, json_object_get_string_member (expected,
          "file"), NULL, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (answer->labels->len, ==, 5);
  for (guint i = 0; i < 5; i++) {
    JsonObject *entry = json_array_get_object_element (top5, i);
    const gdouble probability = json_object_get_double_member (entry, "probability");
    g_autofree gchar *id = g_strdup_printf ("%d",
        (gint) json_object_get_int_member (entry, "index"));
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    if (probability < 0.01)
      break;
    g_assert_cmpstr (label->id, ==, id);
    g_assert_cmpfloat_with_epsilon (label->score, probability, 0.03);
  }
}

static void
test_local (void)
{
  g_autofree gchar *model = data_path (MODEL);
  g_autofree gchar *check = data_path ("weights/resnet50_imagenet_pqf.check.json");
  g_autofree gchar *uri = g_strconcat ("local:", model, NULL);
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (AdaCloud) cloud = NULL;
  g_autoptr (GError) error = NULL, cancelled = NULL, refused = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  JsonArray *cases;

  if (!model || !check)
    return;
  cloud = ada_cloud_new (uri, "cpu", 1, &error);
  g_assert_no_error (error);
  g_assert_true (json_parser_load_from_file (parser, check, NULL));
  cases = json_object_get_array_member (json_node_get_object (json_parser_get_root (parser)),
      "cases");
  /* The last case is no picture. */
  for (guint i = 0; i < 3; i++)
    assert_case (cloud, json_array_get_object_element (cases, i));
  g_cancellable_cancel (cancellable);
  g_assert_null (classify_file (cloud, "photos/0340_zebra.JPEG", cancellable, &cancelled));
  g_assert_error (cancelled, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_null (classify_named (cloud, NULL, 5, &refused));
  g_assert_error (refused, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
}

/* The same model with class names in its metadata. */
static gboolean
write_named (const gchar * model, const gchar * names, const gchar * to)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (model, NULL);
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();

  for (guint i = 0; i < pirl_safetensors_count (file); i++) {
    const PirlTensor *tensor = pirl_safetensors_nth (file, i);

    pirl_safetensors_writer_add (writer, tensor->name, tensor->dtype, &tensor->shape, tensor->data);
  }
  pirl_safetensors_writer_metadata (writer, "class_names", names);
  return pirl_safetensors_writer_write (writer, to, NULL);
}

static void
test_local_names (void)
{
  g_autofree gchar *model = data_path (MODEL), *list = data_path ("photos/imagenet_classes.txt");
  g_autofree gchar *folder = g_dir_make_tmp ("cloud-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "named.safetensors", NULL);
  g_autofree gchar *uri = g_strconcat ("local:", path, NULL), *names = NULL;

  if (model && list) {
    g_autoptr (AdaCloud) cloud = NULL;
    g_autoptr (AdaAnswer) answer = NULL;

    g_assert_true (g_file_get_contents (list, &names, NULL, NULL));
    g_assert_true (write_named (model, g_strchomp (names), path));
    cloud = ada_cloud_new (uri, "cpu", 1, NULL);
    answer = classify_file (cloud, "photos/0340_zebra.JPEG", NULL, NULL);
    g_assert_cmpstr (g_array_index (answer->labels, AdaLabel, 0).id, ==, "340");
    g_assert_cmpstr (g_array_index (answer->labels, AdaLabel, 0).text, ==, "zebra");
    g_assert_true (g_str_has_prefix (answer->model_version, "resnet50, "));
  }
  g_unlink (path);
  g_rmdir (folder);
}

static void
test_local_without_classifier (void)
{
  g_autofree gchar *model = data_path ("weights/mobilenetv2_imagenet.safetensors");
  g_autofree gchar *uri = g_strconcat ("local:", model, NULL);
  g_autoptr (GError) error = NULL;

  if (!model)
    return;
  g_assert_null (ada_cloud_new (uri, "cpu", 1, &error));
  g_assert_true (error->domain == PIRL_ERROR);
}

/* What the parser makes of these must be UTF-8, in keys as in strings; it knows more escapes than JSON
 * does. */
static void
test_escapes (void)
{
  static const struct {
    const gchar *text, *first;  /* NULL: no JSON */
  } cases[] = {
    {"{\"\\u00e9\\n\": \"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t"},
    {"{\"k\": \"\\ud83d\\ude00!\"}", "\xf0\x9f\x98\x80!"},
    {"{\"\\ud83d\\ude00\": \"\\uD7FF\\ue000\"}", "\xed\x9f\xbf\xee\x80\x80"},
    {"{\"k\": \"\\207\"}"}, {"{\"\\207\": \"v\"}"}, {"{\"k\": \"\\x41\"}"},
    {"{\"k\": \"\\u0000\"}"}, {"{\"k\": \"\\u12g4\"}"}, {"{\"k\": \"\\u12"},
    {"{\"k\": \"\\ud83d\"}"}, {"{\"\\ud83d\\wde00a\": \"v\"}"}, {"{\"\\ud83d\\u0041\": \"v\"}"},
    {"{\"k\": \"\\ude00\"}"}, {"{\"k\": \"\\ude00\\ud83d\"}"}, {"{\"k\": \"\\"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (JsonNode) node = ada_json_parse (cases[i].text, strlen (cases[i].text), 100, &error);
    g_autoptr (GList) values = NULL;

    if (cases[i].first == NULL) {
      g_assert_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT);
      continue;
    }
    g_assert_no_error (error);
    values = json_object_get_values (ada_json_as_object (node));
    g_assert_cmpstr (ada_json_as_string (values->data), ==, cases[i].first);
  }
}

int
main (int argc, char **argv)
{
  static const TestRow tests[] = {
    {"agreement", test_agreement},
    {"labels", test_labels},
    {"uris-that-are-wrong", test_uris},
    {"uris-that-are-right", test_good_uris},
    {"escapes", test_escapes},
    {"recording", test_recording},
    {"recording-names", test_recording_names},
    {"recordings-that-are-none", test_bad_recordings},
    {"recorded-services", test_recorded_services},
    {"application-now-and-later", test_application},
    {"application-declines", test_application_declines},
    {"application-cancelled", test_application_cancelled},
    {"local-against-pytorch", test_local},
    {"local-class-names", test_local_names},
    {"local-without-classifier", test_local_without_classifier},
  };

  g_test_init (&argc, &argv, NULL);
  test_add_rows ("/cloud/", tests, G_N_ELEMENTS (tests));
  return g_test_run ();
}
