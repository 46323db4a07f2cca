/* gst-pirl: what is written to Face++, Baidu and TorchServe, byte for byte, and what their answers
 * are taken for, good, empty, unordered, multilingual, and hostile ones.
 *
 * Without a network: the rows of functions that service.c runs are called here as it does.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <base/base.h>
#include <string.h>

#include "kinds.h"
#include "test-rows.h"

/* ---- requests ------------------------------------------------------------------------------- */

/* As service.c has one before its first picture; the secrets are awkward. */
static AdaService *
service_new (const AdaServiceKind * kind, const gchar * target, const gchar * endpoint,
    GError ** error)
{
  AdaService *service = g_new0 (AdaService, 1);

  service->kind = kind;
  service->target = g_strdup (target);
  service->endpoint = g_strdup (endpoint);
  service->parameters = g_hash_table_new (g_str_hash, g_str_equal);
  service->secret[0] = g_strdup ("key+/=&1");
  service->secret[1] = g_strdup ("secret%?\"2");
  kind->configure (service, error);
  return service;
}

static AdaService *
good_service (const AdaServiceKind * kind, const gchar * target, const gchar * endpoint)
{
  g_autoptr (GError) error = NULL;
  AdaService *service = service_new (kind, target, endpoint, &error);

  g_assert_no_error (error);
  return service;
}

static void
service_free (AdaService * service)
{
  if (service->state)
    service->free_state (service->state);
  g_free (service->target);
  g_free (service->endpoint);
  g_hash_table_unref (service->parameters);
  g_free (service->secret[0]);
  g_free (service->secret[1]);
  g_free (service->url);
  g_free (service);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaService, service_free)

static GBytes *
body_of (const AdaMessage * message)
{
  GByteArray *all = g_byte_array_new ();

  for (guint i = 0; i < message->body->len; i++) {
    gsize size;
    const guint8 *data = g_bytes_get_data (g_ptr_array_index (message->body, i), &size);

    g_byte_array_append (all, data, (guint) size);
  }
  return g_byte_array_free_to_bytes (all);
}

/* The body of the request for @jpeg; its headers, one a line, into @headers. */
static GBytes *
write_picture (AdaService * service, GBytes * jpeg, gchar ** headers, gchar ** url)
{
  const AdaRequest request = {.jpeg = jpeg,.width = 640,.height = 480 };
  g_autoptr (GError) error = NULL;
  g_auto (AdaMessage) message;

  ada_message_init (&message);
  g_assert_true (service->kind->write (service, &request, &message, &error));
  g_assert_no_error (error);
  g_ptr_array_add (message.headers, NULL);
  *headers = g_strjoinv ("\n", (gchar **) message.headers->pdata);
  g_ptr_array_set_size (message.headers, (gint) message.headers->len - 1);
  *url = g_strdup (message.url ? message.url : service->url);
  return body_of (&message);
}

static void
assert_body (GBytes * body, const gchar * before, GBytes * jpeg, const gchar * after)
{
  g_autoptr (GByteArray) expected = g_byte_array_new ();
  gsize size, n;
  const guint8 *data = g_bytes_get_data (body, &size), *picture = g_bytes_get_data (jpeg, &n);

  g_byte_array_append (expected, (const guint8 *) before, (guint) strlen (before));
  g_byte_array_append (expected, picture, (guint) n);
  g_byte_array_append (expected, (const guint8 *) after, (guint) strlen (after));
  g_assert_cmpmem (data, size, expected->data, expected->len);
}

static GBytes *
random_bytes (GRand * random, gsize size)
{
  guint8 *data = g_malloc (MAX (size, 1));

  for (gsize i = 0; i < size; i++)
    data[i] = (guint8) g_rand_int (random);
  return g_bytes_new_take (data, size);
}

/* What is no URI of the kind is refused, and not repeated. */
static void
assert_invalid (const AdaServiceKind * kind, const gchar * const *targets)
{
  for (guint i = 0; targets[i]; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaService) service = service_new (kind, targets[i], NULL, &error);

    if (!error)
      g_error ("%s took \"%s\", for %s", kind->name, targets[i], service->url);
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_assert_nonnull (strstr (error->message, kind->form));
    g_assert_null (strstr (error->message, "hunter2"));
  }
}

static const gchar torchserve_url[] = "http://h:8080/predictions/M/1.0";

static void
test_torchserve_request (void)
{
  g_autoptr (AdaService) service = good_service (&ada_torchserve_service, torchserve_url, NULL);
  g_autoptr (GBytes) jpeg = g_bytes_new_static ("\xff\xd8\0\r\n\xff\xd9", 7);
  g_autofree gchar *headers = NULL, *url = NULL, *plain = NULL, *same = NULL;
  g_autoptr (GBytes) body = write_picture (service, jpeg, &headers, &url);
  g_autoptr (GBytes) again = NULL;

  g_assert_cmpstr (url, ==, torchserve_url);
  g_assert_cmpstr (headers, ==, "Content-Type: image/jpeg\nAuthorization: Bearer key+/=&1");
  assert_body (body, "", jpeg, "");
  g_clear_pointer (&service->secret[0], g_free);
  again = write_picture (service, jpeg, &plain, &same);
  g_assert_cmpstr (plain, ==, "Content-Type: image/jpeg");
}

static void
test_torchserve_uris (void)
{
  static const gchar *const bad[] = { "", "http://h", "http://h/", "http://h/v2/models/M",
    "http://h/predictions", "http://h/predictions/", "http://h/predictions//1.0",
    "http://u:hunter2@h/predictions/M", "ftp://h/predictions/M", "http:///predictions/M", NULL
  };
  g_autoptr (AdaService) service = good_service (&ada_torchserve_service,
      "https://h/base/predictions/a%20b", "http://127.0.0.1:7");

  assert_invalid (&ada_torchserve_service, bad);
  g_assert_cmpstr (service->url, ==, "http://127.0.0.1:7/base/predictions/a%20b");
}

#define FACEPP_HEAD(boundary) \
    "--" boundary "\r\nContent-Disposition: form-data; name=\"api_key\"\r\n\r\nkey+/=&1\r\n" \
    "--" boundary "\r\nContent-Disposition: form-data; name=\"api_secret\"\r\n\r\nsecret%?\"2\r\n" \
    "--" boundary "\r\nContent-Disposition: form-data; name=\"image_file\"; " \
    "filename=\"frame.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"

static void
test_facepp_request (void)
{
  g_autoptr (AdaService) service = good_service (&ada_facepp_service, "", NULL);
  g_autoptr (GBytes) jpeg = g_bytes_new_static ("\xff\xd8\0\r\n--\xff\xd9", 9);
  g_autofree gchar *headers = NULL, *url = NULL;
  g_autoptr (GBytes) body = write_picture (service, jpeg, &headers, &url);

  g_assert_cmpstr (url, ==, "https://api-cn.faceplusplus.com/imagepp/beta/detectsceneandobject");
  g_assert_cmpstr (headers, ==, "Content-Type: multipart/form-data; boundary=gst-pirl-00000000");
  assert_body (body, FACEPP_HEAD ("gst-pirl-00000000"), jpeg, "\r\n--gst-pirl-00000000--\r\n");
}

/* A picture, or a key, that has the boundary in it. */
static void
test_facepp_boundary (void)
{
  g_autoptr (AdaService) service = good_service (&ada_facepp_service, "", NULL);
  const gchar text[] = "\xff\xd8\r\n--gst-pirl-00000000\r\n\0--gst-pirl-00000001\xff\xd9";
  g_autoptr (GBytes) jpeg = g_bytes_new_static (text, sizeof text - 1);
  g_autofree gchar *headers = NULL, *url = NULL, *other = NULL, *same = NULL;
  g_autoptr (GBytes) body = write_picture (service, jpeg, &headers, &url);
  g_autoptr (GBytes) again = NULL;

  g_assert_cmpstr (headers, ==, "Content-Type: multipart/form-data; boundary=gst-pirl-00000002");
  assert_body (body, FACEPP_HEAD ("gst-pirl-00000002"), jpeg, "\r\n--gst-pirl-00000002--\r\n");
  g_free (service->secret[1]);
  service->secret[1] = g_strdup ("gst-pirl-00000002");
  again = write_picture (service, jpeg, &other, &same);
  g_assert_cmpstr (other, ==, "Content-Type: multipart/form-data; boundary=gst-pirl-00000003");
}

static void
test_facepp_uris (void)
{
  static const gchar *const bad[] = { "h/path", "u:hunter2@h", "h?a", "https://h", "h#a", NULL };
  g_autoptr (AdaService) other = good_service (&ada_facepp_service, "api-us.faceplusplus.com",
      NULL);
  g_autoptr (AdaService) here = good_service (&ada_facepp_service, "h:1", "http://127.0.0.1:7");

  assert_invalid (&ada_facepp_service, bad);
  g_assert_cmpstr (other->url, ==,
      "https://api-us.faceplusplus.com/imagepp/beta/detectsceneandobject");
  g_assert_cmpstr (here->url, ==, "http://127.0.0.1:7/imagepp/beta/detectsceneandobject");
}

/* By two steps of GLib's: base64, then what RFC 3986 reserves. */
static void
assert_form (GBytes * body, GBytes * jpeg)
{
  gsize size, n;
  const guint8 *data = g_bytes_get_data (body, &size), *picture = g_bytes_get_data (jpeg, &n);
  g_autofree gchar *base64 = n ? g_base64_encode (picture, n) : g_strdup ("");
  g_autofree gchar *escaped = g_uri_escape_string (base64, NULL, FALSE);
  g_autofree gchar *expected = g_strconcat ("image=", escaped, NULL);

  g_assert_cmpmem (data, size, expected, strlen (expected));
}

static void
test_baidu_request (void)
{
  g_autoptr (AdaService) service = good_service (&ada_baidu_service, "", NULL);
  g_autoptr (GBytes) known = g_bytes_new_static ("\xfb\xff\xbf\x00", 4);
  g_autofree gchar *headers = NULL, *url = NULL;
  g_autoptr (GBytes) body = write_picture (service, known, &headers, &url);
  GRand *random = g_rand_new_with_seed (1);

  g_assert_cmpstr (url, ==, "https://aip.baidubce.com/rest/2.0/image-classify/v2/advanced_general"
      "?access_token=***");
  g_assert_cmpstr (headers, ==, "Content-Type: application/x-www-form-urlencoded");
  g_assert_cmpmem (g_bytes_get_data (body, NULL), g_bytes_get_size (body),
      "image=%2B%2F%2B%2FAA%3D%3D", strlen ("image=%2B%2F%2B%2FAA%3D%3D"));
  for (gsize size = 0; size < 300; size = size < 100 ? size + 1 : size + 67) {
    g_autoptr (GBytes) jpeg = random_bytes (random, size);
    g_autofree gchar *more = NULL, *same = NULL;
    g_autoptr (GBytes) form = write_picture (service, jpeg, &more, &same);

    assert_form (form, jpeg);
  }
  g_rand_free (random);
}

/* The worst of all pictures: every character is escaped. */
static void
test_baidu_worst_picture (void)
{
  g_autoptr (AdaService) service = good_service (&ada_baidu_service, "", NULL);
  guint8 *ones = g_malloc (300001);
  g_autoptr (GBytes) jpeg = g_bytes_new_take (memset (ones, 0xff, 300001), 300001);
  g_autofree gchar *headers = NULL, *url = NULL;
  g_autoptr (GBytes) body = write_picture (service, jpeg, &headers, &url);

  assert_form (body, jpeg);
  g_assert_cmpuint (g_bytes_get_size (body), ==, 6 + 3 * 400000 + 3 + 1 + 6);
}

static void
test_baidu_uris (void)
{
  static const gchar *const bad[] = { "x", "//h", "hunter2", NULL };
  g_autoptr (AdaService) here = good_service (&ada_baidu_service, "", "http://127.0.0.1:7");

  assert_invalid (&ada_baidu_service, bad);
  g_assert_cmpstr (here->url, ==, "http://127.0.0.1:7/rest/2.0/image-classify/v2/advanced_general");
}

/* What a service would refuse is not sent; what is not known (0) is. */
static void
test_limits (void)
{
  static const struct {
    const AdaServiceKind *kind;
    gsize size;
    gint width, height;
    const gchar *said;          /* NULL: it is taken */
  } cases[] = {
    {&ada_facepp_service, 2 << 20, 48, 9000, NULL},
    {&ada_facepp_service, (2 << 20) + 1, 640, 480, "2097152"},
    {&ada_facepp_service, 1000, 47, 480, "48"},
    {&ada_facepp_service, 1000, 640, 47, "48"},
    {&ada_facepp_service, 1000, 0, 0, NULL},
    {&ada_baidu_service, 6291456, 15, 8192, NULL},
    {&ada_baidu_service, 6291457, 640, 480, "8388608"},
    {&ada_baidu_service, 1000, 14, 480, "15"},
    {&ada_baidu_service, 1000, 640, 8193, "8192"},
    {&ada_baidu_service, 1000, 0, 0, NULL},
    {&ada_torchserve_service, 7 << 20, 20000, 1, NULL},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const gchar *target = cases[i].kind == &ada_torchserve_service ? torchserve_url : "";
    g_autoptr (AdaService) service = good_service (cases[i].kind, target, NULL);
    g_autoptr (GBytes) jpeg = g_bytes_new_take (g_malloc0 (cases[i].size), cases[i].size);
    const AdaRequest request = {.jpeg = jpeg,.width = cases[i].width,.height = cases[i].height };
    g_autoptr (GError) error = NULL;
    g_auto (AdaMessage) message;

    ada_message_init (&message);
    if (cases[i].kind->write (service, &request, &message, &error) != (cases[i].said == NULL))
      g_error ("case %u: %s", i, error ? error->message : "it was taken");
    if (!cases[i].said)
      continue;
    g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
    g_assert_nonnull (strstr (error->message, cases[i].said));
    g_assert_cmpuint (message.body->len, ==, 0);
  }
}

/* ---- answers -------------------------------------------------------------------------------- */

static gchar *
labels_of (const AdaAnswer * answer)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < answer->labels->len; i++) {
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    g_string_append_printf (text, "%s%s=%g:%s", i ? ", " : "", label->id, label->score,
        label->text);
  }
  return g_string_free (text, FALSE);
}

typedef struct {
  const AdaServiceKind *kind;
  const gchar *json;
  const gchar *labels;          /* "id=score:text, ..."; of an error: a part of its text */
  gint code;                    /* of AdaCloudError; LABELS: an answer */
  gboolean expired;
} Answer;

#define LABELS -1
#define GARBAGE ADA_CLOUD_ERROR_GARBAGE
#define BUSY ADA_CLOUD_ERROR_BUSY
#define REFUSED ADA_CLOUD_ERROR_REFUSED
#define FACEPP &ada_facepp_service
#define BAIDU &ada_baidu_service
#define TORCHSERVE &ada_torchserve_service

static const Answer answers[] = {
  /* As documented. */
  {FACEPP, "{\"request_id\":\"1,2\",\"time_used\":230,\"image_id\":\"aGk=\",\"scenes\":[{"
        "\"confidence\":41.1,\"value\":\"Night\"}],\"objects\":[{\"confidence\":84.05,\"value\":"
        "\"Dog\"},{\"value\":\"Night\",\"confidence\":50}]}",
      "object/Dog=0.8405:Dog, object/Night=0.5:Night, scene/Night=0.411:Night", LABELS},
  {FACEPP, "{\"scenes\":[],\"objects\":[]}", "", LABELS},
  {FACEPP, "{\"objects\":[{\"value\":\"a\",\"confidence\":1},{\"value\":\"a\",\"confidence\":3},"
        "{\"value\":\"a\",\"confidence\":2},{\"value\":\"\",\"confidence\":9}],\"scenes\":[]}",
      "object/a=0.03:a", LABELS},
  {FACEPP, "{\"scenes\":[{\"value\":\"\\u591c\\ud83c\\udf03\",\"confidence\":100}],\"objects\":["
        "{\"value\":\"\u0643\u0644\u0628\",\"confidence\":0}]}",
      "scene/\u591c\U0001f303=1:\u591c\U0001f303, object/\u0643\u0644\u0628=0:\u0643\u0644\u0628",
      LABELS},
  {FACEPP, "{\"time_used\":3,\"error_message\":\"CONCURRENCY_LIMIT_EXCEEDED\"}",
      "CONCURRENCY_LIMIT_EXCEEDED", BUSY},
  {FACEPP, "{\"error_message\":\"AUTHENTICATION_ERROR\",\"scenes\":[],\"objects\":[]}",
      "AUTHENTICATION_ERROR", REFUSED},
  {FACEPP, "{\"error_message\":\"SOMETHING_NEW\\u0007\"}", "SOMETHING_NEW", REFUSED},
  {FACEPP, "{}", "scenes", GARBAGE},
  {FACEPP, "{\"scenes\":[]}", "objects", GARBAGE},
  {FACEPP, "{\"scenes\":[],\"objects\":null}", "objects", GARBAGE},
  {FACEPP, "{\"scenes\":{},\"objects\":[]}", "scenes", GARBAGE},
  {FACEPP, "{\"scenes\":[\"Night\"],\"objects\":[]}", "", GARBAGE},
  {FACEPP, "{\"scenes\":[{\"value\":\"a\"}],\"objects\":[]}", "", GARBAGE},
  {FACEPP, "{\"scenes\":[{\"confidence\":7}],\"objects\":[]}", "", GARBAGE},
  {FACEPP, "{\"scenes\":[{\"value\":7,\"confidence\":7}],\"objects\":[]}", "", GARBAGE},
  {FACEPP, "{\"scenes\":[{\"value\":\"a\",\"confidence\":\"7\"}],\"objects\":[]}", "", GARBAGE},
  {FACEPP, "{\"scenes\":[{\"value\":\"a\",\"confidence\":1e999}],\"objects\":[]}", "", GARBAGE},
  {FACEPP, "{\"scenes\":[[]],\"objects\":[]}", "", GARBAGE},

  /* As documented, but the best is not the first. */
  {BAIDU, "{\"log_id\":327863200205075661,\"result_num\":3,\"result\":[{\"score\":0.5,\"root\":"
        "\"\u5546\u54c1-\u5bb9\u5668\",\"keyword\":\"\u8336\u676f\"},{\"score\":0.967622,\"root\":"
        "\"\",\"keyword\":\"\u5c45\u6c11\u697c\"},{\"score\":1e-5,\"keyword\":\"a\"}]}",
      "\u5c45\u6c11\u697c=0.967622:\u5c45\u6c11\u697c, "
        "\u8336\u676f=0.5:\u8336\u676f (\u5546\u54c1-\u5bb9\u5668), a=1e-05:a", LABELS},
  /* A number that only 64 bits without a sign can hold, and one that they cannot. */
  {BAIDU, "{\"log_id\":18446744073709551615,\"result_num\":0,\"result\":[]}", "", LABELS},
  {BAIDU, "{\"log_id\":99999999999999999999999999999,\"result\":[]}", "", LABELS},
  {BAIDU, "{\"log_id\":\"1\",\"result_num\":2,\"result\":[{\"score\":0.25,\"keyword\":\"a\"},"
        "{\"score\":0.75,\"keyword\":\"a\",\"root\":\"r\"},{\"score\":1,\"keyword\":\"\"}]}",
      "a=0.75:a", LABELS},
  {BAIDU, "{\"log_id\":1,\"error_code\":18,\"error_msg\":\"Open api qps request limit reached\"}",
      "error 18: Open api qps request limit reached", BUSY},
  {BAIDU, "{\"error_code\":17,\"error_msg\":\"Open api daily request limit reached\"}",
      "error 17: Open api daily", REFUSED},
  {BAIDU, "{\"error_code\":19}", "error 19: (no text)", REFUSED},
  {BAIDU, "{\"error_code\":110,\"error_msg\":\"Access token invalid or no longer valid\"}",
      "error 110: Access token", REFUSED, TRUE},
  {BAIDU, "{\"error_code\":111,\"error_msg\":\"Access token expired\",\"result\":[]}",
      "error 111: Access token expired", REFUSED, TRUE},
  {BAIDU, "{\"error_code\":216201,\"error_msg\":\"image format error\"}", "216201", REFUSED},
  {BAIDU, "{\"error_code\":282000,\"error_msg\":\"internal error\"}", "282000", BUSY},
  {BAIDU, "{\"error_code\":-1e300,\"error_msg\":7}", "(no text)", REFUSED},
  {BAIDU, "{\"error\":\"invalid_client\",\"error_description\":\"unknown client id\"}",
      "invalid_client: unknown client id", REFUSED},
  {BAIDU, "{\"result\":{}}", "result", GARBAGE},
  {BAIDU, "{\"result_num\":0}", "result", GARBAGE},
  {BAIDU, "{\"error_code\":\"110\"}", "result", GARBAGE},
  {BAIDU, "{\"result\":[{\"score\":1}]}", "", GARBAGE},
  {BAIDU, "{\"result\":[{\"keyword\":\"a\",\"score\":null}]}", "", GARBAGE},
  {BAIDU, "{\"result\":\"internal error\"}", "result", GARBAGE},

  /* image_classifier, DJL, one class. */
  {TORCHSERVE, "{\"tabby\":0.3783,\"tiger_cat\":0.5848,\"Egyptian_cat\":0.0344,\"lynx\":0.00056,"
        "\"quilt\":0.00027}", "tiger_cat=0.5848:tiger_cat, tabby=0.3783:tabby, "
        "Egyptian_cat=0.0344:Egyptian_cat, lynx=0.00056:lynx, quilt=0.00027:quilt", LABELS},
  {TORCHSERVE, "{\"a\":0.1,\"b\":0.2,\"c\":0,\"d\":1,\"e\":0.3,\"f\":0.4,\"a\":0.6,\"\":0.9}",
      "d=1:d, a=0.6:a, f=0.4:f, e=0.3:e, b=0.2:b", LABELS},
  {TORCHSERVE, "[{\"className\":\"n02 cat\",\"probability\":0.25},{\"className\":\"\u72ac\","
        "\"probability\":0.75}]", "\u72ac=0.75:\u72ac, n02 cat=0.25:n02 cat", LABELS},
  {TORCHSERVE, "[{\"class\":\"cat\",\"probability\":1}]", "cat=1:cat", LABELS},
  {TORCHSERVE, "{\"class\":\"cat\",\"probability\":0.5}", "cat=0.5:cat", LABELS},
  {TORCHSERVE, "{\"class\":0.5}", "class=0.5:class", LABELS},
  {TORCHSERVE, "{\"z\":0.5,\"m\":0.5,\"a\":0.5,\"b\":0.5}", "z=0.5:z, m=0.5:m, a=0.5:a, b=0.5:b", LABELS},
  {TORCHSERVE, "{}", "", LABELS},
  {TORCHSERVE, "[]", "", LABELS},
  {TORCHSERVE, "{\"cat\":12.5,\"dog\":8}", "\"cat\" has no probability", GARBAGE},
  {TORCHSERVE, "{\"cat\":-0.1}", "\"cat\" has no probability", GARBAGE},
  {TORCHSERVE, "{\"cat\":\"0.5\"}", "\"cat\" has no probability", GARBAGE},
  {TORCHSERVE, "{\"code\":503,\"type\":\"X\",\"message\":\"no worker\"}", "probability", GARBAGE},
  {TORCHSERVE, "{\"class\":\"cat\"}", "", GARBAGE},
  {TORCHSERVE, "{\"class\":\"cat\",\"probability\":\"0.5\"}", "", GARBAGE},
  {TORCHSERVE, "[{\"person\":[1,2,3,4],\"score\":0.9}]", "", GARBAGE},
  {TORCHSERVE, "[0.1,0.9]", "", GARBAGE},
  {TORCHSERVE, "[[0.1,0.9]]", "", GARBAGE},
  {TORCHSERVE, "281", "neither", GARBAGE},
  {TORCHSERVE, "\"cat\"", "neither", GARBAGE},
};

static void
assert_answer (const Answer * expected)
{
  AdaAnswerHints hints = { 0 };
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = expected->kind->read (expected->json, strlen (expected->json),
      &hints, &error);
  g_autofree gchar *labels = answer ? labels_of (answer) : NULL;

  g_test_message ("%s: %.200s", expected->kind->name, expected->json);
  g_assert_cmpint (hints.credentials_expired, ==, expected->expired);
  g_assert_true ((answer == NULL) == (error != NULL));
  if (expected->code == LABELS) {
    g_assert_no_error (error);
    g_assert_cmpstr (labels, ==, expected->labels);
    g_assert_null (answer->model_version);
    return;
  }
  if (answer)
    g_error ("this was taken for an answer: %s", expected->json);
  g_assert_error (error, ADA_CLOUD_ERROR, expected->code);
  if (!strstr (error->message, expected->labels))
    g_error ("\"%s\" is not in \"%s\"", expected->labels, error->message);
  for (const gchar * c = error->message; *c; c++)
    g_assert_false (g_ascii_iscntrl (*c));
}

static void
test_answers (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (answers); i++)
    assert_answer (&answers[i]);
}

/* What no service may say, whatever its form. */
static void
test_no_json (void)
{
  static const gchar *const texts[] = { "", "null", "7", "<!DOCTYPE html><html></html>", "{", "[[",
    "{\"a\":}", "/* \" */ {}", "{\"scenes\":[],\"objects\":[],\"result\":[]} and more",
    "{\"a\":\"\\ud800\"}", "{\"a\":\"\\777\"}"
  };

  for (guint i = 0; i < G_N_ELEMENTS (texts); i++) {
    assert_answer (&(Answer) {FACEPP, texts[i], "", GARBAGE});
    assert_answer (&(Answer) {BAIDU, texts[i], "", GARBAGE});
    assert_answer (&(Answer) {TORCHSERVE, texts[i], "", GARBAGE});
  }
}

/* Every beginning of every good answer, in memory of exactly its size. */
static void
test_half_answers (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (answers); i++) {
    const gsize whole = strlen (answers[i].json);

    for (gsize size = 0; answers[i].code == LABELS && size < whole; size++) {
      g_autofree gchar *half = g_memdup2 (answers[i].json, MAX (size, 1));
      AdaAnswerHints hints = { 0 };
      AdaCloudError code = REFUSED;
      g_autoptr (GError) error = NULL;
      g_autofree gchar *said = NULL;

      g_assert_null (answers[i].kind->read (half, size, &hints, &error));
      g_assert_error (error, ADA_CLOUD_ERROR, GARBAGE);
      said = answers[i].kind->read_error (half, size, &code);
      g_assert_null (said);
      g_assert_cmpint (code, ==, REFUSED);
    }
  }
}

/* More labels than there can be, deeper than a stack can hold. */
static void
test_too_much (void)
{
  static const struct {
    const AdaServiceKind *kind;
    const gchar *begin, *before, *behind, *end; /* before and behind each number */
  } cases[] = {
    {FACEPP, "{\"scenes\":[],\"objects\":[", "{\"value\":\"", "\",\"confidence\":1}", "]}"},
    {BAIDU, "{\"result\":[", "{\"keyword\":\"", "\",\"score\":1}", "]}"},
    {TORCHSERVE, "{", "\"", "\":1", "}"},
    {TORCHSERVE, "[", "{\"className\":\"", "\",\"probability\":1}", "]"},
  };
  const gsize n = 150000;
  g_autofree gchar *open = g_strnfill (n, '['), *close = g_strnfill (n, ']');
  g_autofree gchar *brackets = g_strconcat (open, close, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GString) text = g_string_new (cases[i].begin);

    for (guint k = 0; k <= ADA_MAX_LABELS; k++)
      g_string_append_printf (text, "%s%s%u%s", k ? "," : "", cases[i].before, k, cases[i].behind);
    g_string_append (text, cases[i].end);
    assert_answer (&(Answer) {cases[i].kind, text->str, "4096", GARBAGE});
    assert_answer (&(Answer) {cases[i].kind, brackets, "", GARBAGE});
  }
}

/* An object of many members that repeats its last as often, which the parser would look for among
 * all of them each time; what there are names for in reality is taken. */
static void
test_repeated_names (void)
{
  g_autoptr (GString) text = g_string_new ("{\"a\":0.5");
  const guint n = 50000;

  for (guint i = 0; i < n; i++)
    g_string_append_printf (text, ",\"%u\":1", i);
  for (guint i = 0; i < n; i++)
    g_string_append (text, ",\"a\":1");
  g_string_append (text, "}");
  assert_answer (&(Answer) {FACEPP, text->str, "too many members", GARBAGE});
  assert_answer (&(Answer) {BAIDU, text->str, "too many members", GARBAGE});
  assert_answer (&(Answer) {TORCHSERVE, text->str, "too many members", GARBAGE});

  g_string_assign (text, "{\"best\":1");
  for (guint i = 1; i < ADA_MAX_LABELS; i++)
    g_string_append_printf (text, ",\"%u\":0", i);
  g_string_append (text, "}");
  assert_answer (&(Answer) {TORCHSERVE, text->str, "best=1:best, 1=0:1, 2=0:2, 3=0:3, 4=0:4",
      LABELS});
}

/* ---- errors --------------------------------------------------------------------------------- */

static void
test_errors (void)
{
  static const struct {
    const AdaServiceKind *kind;
    const gchar *json;
    AdaCloudError status;       /* what the status says */
    const gchar *said;
    AdaCloudError code;
  } cases[] = {
    {FACEPP, "{\"time_used\":3,\"error_message\":\"CONCURRENCY_LIMIT_EXCEEDED\"}", REFUSED,
        "CONCURRENCY_LIMIT_EXCEEDED", BUSY},
    {FACEPP, "{\"error_message\":\"INTERNAL_ERROR\"}", REFUSED, "INTERNAL_ERROR", BUSY},
    {FACEPP, "{\"error_message\":\"AUTHORIZATION_ERROR:no money\"}", BUSY,
        "AUTHORIZATION_ERROR:no money", REFUSED},
    {FACEPP, "{\"error_message\":\"INVALID_IMAGE_SIZE: image_file\"}", REFUSED,
        "INVALID_IMAGE_SIZE: image_file", REFUSED},
    {FACEPP, "{\"error_message\":\"ELSE\"}", BUSY, "ELSE", BUSY},
    {FACEPP, "{\"error_message\":7}", BUSY, NULL, BUSY},
    {BAIDU, "{\"error\":\"invalid_client\",\"error_description\":\"Client authentication failed\"}",
        REFUSED, "invalid_client: Client authentication failed", REFUSED},
    {BAIDU, "{\"error\":\"temporarily_unavailable\"}", REFUSED, "temporarily_unavailable", BUSY},
    {BAIDU, "{\"error\":\"ELSE\"}", BUSY, "ELSE", BUSY},
    {BAIDU, "{\"error_code\":18,\"error_msg\":\"qps\"}", REFUSED, "error 18: qps", BUSY},
    {BAIDU, "{\"error_code\":17,\"error_msg\":\"day\"}", BUSY, "error 17: day", REFUSED},
    {BAIDU, "{\"error_code\":5,\"error_msg\":\"else\"}", BUSY, "error 5: else", BUSY},
    {TORCHSERVE, "{\"code\":503,\"type\":\"ServiceUnavailableException\",\"message\":\"none\"}",
        BUSY, "ServiceUnavailableException: none", BUSY},
    {TORCHSERVE, "{\"message\":\"no worker\"}", REFUSED, "no worker", REFUSED},
    {TORCHSERVE, "{\"type\":\"T\",\"message\":7}", REFUSED, "T", REFUSED},
    {TORCHSERVE, "[]", BUSY, NULL, BUSY},
    {TORCHSERVE, "<html>", BUSY, NULL, BUSY},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    AdaCloudError code = cases[i].status;
    g_autofree gchar *said = cases[i].kind->read_error (cases[i].json, strlen (cases[i].json),
        &code);

    g_assert_cmpstr (said, ==, cases[i].said);
    g_assert_cmpint (code, ==, cases[i].code);
  }
}

static void
test_baidu_token (void)
{
  static const struct {
    const gchar *json, *token;
    gdouble seconds;
    gint code;
  } cases[] = {
    {"{\"access_token\":\"24.6c5e.2592000\",\"expires_in\":2592000,\"refresh_token\":\"25.a\","
          "\"scope\":\"public\",\"session_key\":\"k\",\"session_secret\":\"s\"}",
        "24.6c5e.2592000", 2592000, LABELS},
    {"{\"expires_in\":0.5,\"access_token\":\"a+/=\"}", "a+/=", 0.5, LABELS},
    {"{\"expires_in\":1e300,\"access_token\":\"a\"}", "a", 365 * 24 * 3600, LABELS},
    {"{\"error\":\"invalid_client\",\"error_description\":\"unknown id\"}", NULL, 0, REFUSED},
    {"{\"error\":\"server_error\",\"access_token\":\"a\",\"expires_in\":1}", NULL, 0, BUSY},
    {"{\"error_code\":4,\"error_msg\":\"\"}", NULL, 0, BUSY},
    {"{\"access_token\":\"a\"}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"a\",\"expires_in\":0}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"a\",\"expires_in\":-1}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"a\",\"expires_in\":\"2592000\"}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"a\",\"expires_in\":1e999}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"\",\"expires_in\":1}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"a b\",\"expires_in\":1}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":1}", NULL, 0, GARBAGE},
    {"{\"access_token\":\"\u591c\",\"expires_in\":1}", NULL, 0, GARBAGE},
    {"{\"access_token\":7,\"expires_in\":1}", NULL, 0, GARBAGE},
    {"[]", NULL, 0, GARBAGE},
    {"", NULL, 0, GARBAGE},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *token = NULL;
    g_autoptr (GError) error = NULL;
    gdouble seconds = 0;
    const gboolean good = ada_baidu_read_token (cases[i].json, strlen (cases[i].json), &token,
        &seconds, &error);

    g_test_message ("%s", cases[i].json);
    g_assert_cmpint (error ? error->code : LABELS, ==, cases[i].code);
    g_assert_true (good == (error == NULL));
    g_assert_cmpstr (token, ==, cases[i].token);
    g_assert_cmpfloat (seconds, ==, cases[i].seconds);
  }
}

int
main (int argc, char **argv)
{
  static const TestRow tests[] = {
    {"torchserve/request", test_torchserve_request},
    {"torchserve/uris", test_torchserve_uris},
    {"facepp/request", test_facepp_request},
    {"facepp/boundary-that-occurs-nowhere", test_facepp_boundary},
    {"facepp/uris", test_facepp_uris},
    {"baidu/request", test_baidu_request},
    {"baidu/worst-picture", test_baidu_worst_picture},
    {"baidu/uris", test_baidu_uris},
    {"baidu/token", test_baidu_token},
    {"limits", test_limits},
    {"answers", test_answers},
    {"what-is-no-json", test_no_json},
    {"half-answers", test_half_answers},
    {"too-much", test_too_much},
    {"repeated-names", test_repeated_names},
    {"errors", test_errors},
  };

  g_test_init (&argc, &argv, NULL);
  test_add_rows ("/cloud-wire/", tests, G_N_ELEMENTS (tests));
  return g_test_run ();
}
