/* gst-pirl: what all vision services share, and three of them: Rekognition, Google, Azure: their
 * URIs, requests as a server gets them, limits, answers and errors of every kind; renewal, rotation
 * of secrets, TLS with certificates of one's own, and that no secret is ever told.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <base/base.h>
#include <glib/gstdio.h>

#include "adacompress-cloud-server.h"
#include "kinds.h"
#include "test-rows.h"

/* With what one service or another escapes. */
#define SECRET "S3CRET/key+with=signs"

typedef struct {
  const gchar *name, *value;
} Variable;

static const Variable variables[] = {
  {"AWS_ACCESS_KEY_ID", "S3CRETAKIDEXAMPLE"}, {"AWS_SECRET_ACCESS_KEY", SECRET},
  {"GOOGLE_API_KEY", SECRET}, {"VISION_KEY", SECRET}, {"GST_PIRL_OIP_TOKEN", SECRET}
};
static const gchar *const unset[] = { "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
  "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_QUOTA_PROJECT", "VISION_ENDPOINT",
  "GST_PIRL_CREDENTIALS", "CURL_CA_BUNDLE", "SSL_CERT_FILE"
};

/* One secret for each service, nothing else. */
static void
reset_environment (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (variables); i++)
    g_setenv (variables[i].name, variables[i].value, TRUE);
  for (guint i = 0; i < G_N_ELEMENTS (unset); i++)
    g_unsetenv (unset[i]);
}

static void
forget_secrets (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (variables); i++)
    g_unsetenv (variables[i].name);
}

/* @form has a %u for the port. */
static AdaCloud *
cloud_at (const gchar * form, guint port)
{
  g_auto (GStrv) pieces = g_strsplit (form, "PORT", -1);
  g_autofree gchar *number = g_strdup_printf ("%u", port);
  g_autofree gchar *uri = g_strjoinv (number, pieces);

  return test_cloud (uri);
}

/* JSON is written with single quotes here. */
static gchar *
json_of (const gchar * text)
{
  return g_strdelimit (g_strdup (text), "'", '"');
}

static void
do_json (TestServer * server, const gchar * command)
{
  g_autofree gchar *json = json_of (command);

  test_server_do (server, json);
}

/* "id=score id(text)=score". */
static gchar *
labels_of (const AdaAnswer * answer)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < answer->labels->len; i++) {
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    g_string_append_printf (text, "%s%s", i ? " " : "", label->id);
    if (label->text)
      g_string_append_printf (text, "(%s)", label->text);
    g_string_append_printf (text, "=%g", label->score);
  }
  return g_string_free (text, FALSE);
}

/* ---- answers -------------------------------------------------------------------------------- */

typedef AdaAnswer *(*ReadAnswer) (const gchar * data, gsize size, AdaAnswerHints * hints,
    GError ** error);
typedef gchar *(*ReadError) (const gchar * data, gsize size, AdaCloudError * code);

#define REKOGNITION(list) "{'Labels':[" list "],'LabelModelVersion':'3.0'," \
    "'OrientationCorrection':null}"
#define GOOGLE(list) "{'responses':[{'labelAnnotations':[" list "]}]}"
#define AZURE(list) "{'modelVersion':'2023-10-01','metadata':{'width':300,'height':200}," \
    "'tagsResult':{'values':[" list "]}}"

static const struct
{
  ReadAnswer read;
  const gchar *json, *labels, *version;
} answers[] = {
  /* The examples of the documentations. */
  {ada_rekognition_read_answer, REKOGNITION ("{'Name':'Car','Confidence':98.5,'Instances':"
          "[{'BoundingBox':{'Width':0.1},'Confidence':98.5}],'Parents':[{'Name':'Vehicle'}],"
          "'Aliases':[{'Name':'Automobile'}],'Categories':[{'Name':'Vehicles'}]}"),
      "Car=0.985", "3.0"},
  {ada_google_read_answer, GOOGLE ("{'mid':'/m/01wydv','description':'Beignet','score':0.95,"
          "'topicality':0.95}"), "/m/01wydv(Beignet)=0.95", NULL},
  {ada_azure_read_answer, AZURE ("{'name':'grass','confidence':0.996}"), "grass=0.996",
      "2023-10-01"},
  /* Nothing to be seen; Google leaves out what is empty or zero. */
  {ada_rekognition_read_answer, REKOGNITION (""), "", "3.0"},
  {ada_google_read_answer, GOOGLE (""), "", NULL},
  {ada_google_read_answer, "{'responses':[{}]}", "", NULL},
  {ada_google_read_answer, GOOGLE ("{'mid':'/m/1'},{'description':'x','score':1}"), "/m/1=0",
      NULL},
  {ada_azure_read_answer, AZURE (""), "", "2023-10-01"},
  /* In any order, twice, without a name. */
  {ada_rekognition_read_answer, REKOGNITION ("{'Name':'b','Confidence':20},{'Name':'a',"
          "'Confidence':75},{'Name':'b','Confidence':80},{'Name':'','Confidence':99}"),
      "b=0.8 a=0.75", "3.0"},
  {ada_google_read_answer, GOOGLE ("{'mid':'/m/2','description':'low','score':0.25},"
          "{'mid':'/m/1','description':'one','score':0.5},{'mid':'/m/1','description':"
          "'Eins','score':0.75},{'mid':'','description':'?','score':1}"),
      "/m/1(one)=0.75 /m/2(low)=0.25", NULL},
  {ada_azure_read_answer, AZURE ("{'name':'x','confidence':0},{'name':'y','confidence':1},"
          "{'name':'x','confidence':0.5}"), "y=1 x=0.5", "2023-10-01"},
  /* In other languages, and scores out of their range. */
  {ada_rekognition_read_answer, REKOGNITION ("{'Name':'\346\261\275\350\275\246','Confidence':"
          "250}"), "汽车=1", "3.0"},
  {ada_google_read_answer, GOOGLE ("{'mid':'/m/1','description':'\\u72d7 \\ud83d\\udc15',"
          "'score':-3}"), "/m/1(狗 🐕)=0", NULL},
  {ada_azure_read_answer, AZURE ("{'name':'Gr\\u00fcn','confidence':0.5}"), "Grün=0.5",
      "2023-10-01"},
  /* Versions of other kinds. */
  {ada_rekognition_read_answer, "{'Labels':[],'LabelModelVersion':3.1}", "", "3.1"},
  {ada_rekognition_read_answer, "{'Labels':[],'LabelModelVersion':[]}", "", NULL},
  {ada_azure_read_answer, "{'tagsResult':{'values':[]}}", "", NULL},
};

static void
test_answers (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (answers); i++) {
    AdaAnswerHints hints = { 0 };
    g_autofree gchar *json = json_of (answers[i].json);
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaAnswer) answer = answers[i].read (json, strlen (json), &hints, &error);
    g_autofree gchar *labels = NULL;

    g_assert_no_error (error);
    labels = labels_of (answer);
    g_assert_cmpstr (labels, ==, answers[i].labels);
    g_assert_cmpstr (answer->model_version, ==, answers[i].version);
    g_assert_false (hints.credentials_expired);
  }
}

static const ReadAnswer readers[] = { ada_rekognition_read_answer, ada_google_read_answer,
  ada_azure_read_answer
};

static void
assert_garbage (ReadAnswer read, const gchar * data, gsize size)
{
  AdaAnswerHints hints = { 0 };
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = read (data, size, &hints, &error);

  if (answer)
    g_error ("this was taken for an answer: %.200s", data);
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_GARBAGE);
  g_assert_true (g_utf8_validate (error->message, -1, NULL));
  g_assert_cmpuint (strlen (error->message), <, 1000);
}

static void
test_hostile_answers (void)
{
  static const gchar *const bad[] = { "", "null", "[]", "7", "'text'", "{", "{}", "<html>",
    "{'Labels':7}", "{'Labels':{}}", "{'Labels':null}", "{'Labels':[7]}", "{'Labels':[null]}",
    "{'Labels':[[]]}", "{'Labels':[{}]}", "{'Labels':[{'Name':'a'}]}",
    "{'Labels':[{'Confidence':1}]}", "{'Labels':[{'Name':7,'Confidence':1}]}",
    "{'Labels':[{'Name':null,'Confidence':1}]}", REKOGNITION ("{'Name':'a','Confidence':'1'}"),
    REKOGNITION ("{'Name':'a','Confidence':1e999}"), REKOGNITION ("") " more",
    "{'responses':[]}", "{'responses':7}", "{'responses':[7]}", "{'responses':[{},{}]}",
    "{'responses':[{'labelAnnotations':7}]}", "{'responses':[{'labelAnnotations':null}]}",
    GOOGLE ("7"), GOOGLE ("{'mid':7}"), GOOGLE ("{'mid':null}"),
    GOOGLE ("{'mid':'/m/1','score':'high'}"), GOOGLE ("{'mid':'/m/1','score':[1]}"),
    "{'tagsResult':[]}", "{'tagsResult':{}}", "{'tagsResult':{'values':{}}}", AZURE ("7"),
    AZURE ("{'name':'a'}"), AZURE ("{'name':true,'confidence':1}"),
    AZURE ("{'name':'a','confidence':null}"),
  };

  for (guint k = 0; k < G_N_ELEMENTS (readers); k++)
    for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
      g_autofree gchar *json = json_of (bad[i]);

      assert_garbage (readers[k], json, strlen (json));
    }
}

/* What would take much time or stack, or is no text. */
static void
test_vast_answers (void)
{
  static const gchar *const heads[] = { "{'Labels':[", "{'responses':[{'labelAnnotations':[",
    "{'tagsResult':{'values':["
  }, *const tails[] = { "]}", "]}]}", "]}}" };
  static const gchar binary[] = "{\"Labels\":[{\"Name\":\"\0\377\",\"Confidence\":1}]}";
  g_autofree gchar *brackets = g_strnfill (200000, '[');

  for (guint k = 0; k < G_N_ELEMENTS (readers); k++) {
    g_autoptr (GString) text = g_string_new (heads[k]);

    for (guint i = 0; i <= ADA_MAX_LABELS; i++)
      g_string_append_printf (text, "%s{'Name':'%u','mid':'%u','name':'%u','Confidence':1,"
          "'score':1,'confidence':1}", i ? "," : "", i, i, i);
    g_string_append (text, tails[k]);
    g_strdelimit (text->str, "'", '"');
    assert_garbage (readers[k], text->str, text->len);
    assert_garbage (readers[k], brackets, 200000);
    assert_garbage (readers[k], binary, sizeof binary - 1);
  }
}

#define LONG "A text that has no end, since whoever wrote it wants to see how long a message can get. "

/* Within an answer of status 200. */
static void
test_google_picture_errors (void)
{
  const struct {
    const gchar *error;
    gint code;
    const gchar *says;
  } cases[] = {
    {"{'code':3,'message':'Bad image data.'}", ADA_CLOUD_ERROR_REFUSED, "Bad image data."},
    {"{'code':8,'message':'Quota'}", ADA_CLOUD_ERROR_BUSY, "error 8"},
    {"{'code':14}", ADA_CLOUD_ERROR_BUSY, "(no text)"},
    {"{}", ADA_CLOUD_ERROR_REFUSED, "error 0"},
    {"{'code':-1e300,'message':7}", ADA_CLOUD_ERROR_REFUSED, "(no text)"},
    {"{'code':1e999,'message':'m'}", ADA_CLOUD_ERROR_REFUSED, "error 0 about the picture: m"},
    {"{'message':'two\\nlines, and very much\\n" LONG LONG LONG LONG "'}", ADA_CLOUD_ERROR_REFUSED,
        "two lines"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *text = g_strconcat ("{'responses':[{'error':", cases[i].error, "}]}", NULL);
    g_autofree gchar *json = json_of (text);
    AdaAnswerHints hints = { 0 };
    g_autoptr (GError) error = NULL;

    g_assert_null (ada_google_read_answer (json, strlen (json), &hints, &error));
    g_assert_error (error, ADA_CLOUD_ERROR, cases[i].code);
    g_assert_nonnull (strstr (error->message, cases[i].says));
    g_assert_null (strchr (error->message, '\n'));
    g_assert_cmpuint (strlen (error->message), <, 250);
  }
}

/* ---- errors --------------------------------------------------------------------------------- */

static void
test_errors (void)
{
  const AdaCloudError refused = ADA_CLOUD_ERROR_REFUSED, busy = ADA_CLOUD_ERROR_BUSY;
  const struct {
    ReadError read;
    const gchar *json;
    AdaCloudError status, code;
    const gchar *text;
  } cases[] = {
    {ada_rekognition_read_error, "{'__type':'ThrottlingException','message':'Rate exceeded'}",
        refused, busy, "ThrottlingException: Rate exceeded"},
    {ada_rekognition_read_error, "{'__type':'com.amazonaws.rekognition#"
          "ProvisionedThroughputExceededException:http://x/','Message':'m'}", refused, busy,
        "ProvisionedThroughputExceededException: m"},
    {ada_rekognition_read_error, "{'__type':'ImageTooLargeException'}", refused, refused,
        "ImageTooLargeException"},
    {ada_rekognition_read_error, "{'__type':'InternalServerError','message':'m'}", busy, busy,
        "InternalServerError: m"},
    {ada_rekognition_read_error, "{'message':'m'}", refused, refused, "m"},
    {ada_rekognition_read_error, "{'__type':7}", busy, busy, NULL},
    {ada_rekognition_read_error, "{'__type':''}", refused, refused, ""},
    {ada_rekognition_read_error, "<html>", busy, busy, NULL},
    {ada_google_read_error, "{'error':{'code':403,'message':'m','status':"
          "'PERMISSION_DENIED'}}", refused, refused, "PERMISSION_DENIED: m"},
    {ada_google_read_error, "{'error':{'code':429,'message':'m','status':"
          "'RESOURCE_EXHAUSTED'}}", refused, busy, "RESOURCE_EXHAUSTED: m"},
    {ada_google_read_error, "{'error':{'message':'m'}}", refused, refused, "m"},
    {ada_google_read_error, "{'error':'m'}", refused, refused, NULL},
    {ada_google_read_error, "[]", busy, busy, NULL},
    {ada_azure_read_error, "{'error':{'code':'InvalidRequest','message':'m','innererror':"
          "{'code':'InvalidImageSize','message':'too small'}}}", refused, refused,
        "InvalidImageSize: too small"},
    {ada_azure_read_error, "{'error':{'code':'InvalidRequest','message':'m'}}", refused,
        refused, "InvalidRequest: m"},
    {ada_azure_read_error, "{'error':{'code':'403','message':'Out of call volume quota. More in "
          "2.03:17.'}}", refused, busy, "403: Out of call volume quota. More in 2.03:17."},
    {ada_azure_read_error, "{'statusCode':429,'message':'Rate limit is exceeded. Try again.'}",
        refused, busy, "Rate limit is exceeded. Try again."},
    {ada_azure_read_error, "{'error':7}", refused, refused, NULL},
    {ada_azure_read_error, "", busy, busy, NULL},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    AdaCloudError code = cases[i].status;
    g_autofree gchar *json = json_of (cases[i].json);
    g_autofree gchar *text = cases[i].read (json, strlen (json), &code);

    g_assert_cmpstr (text, ==, cases[i].text);
    g_assert_cmpint (code, ==, cases[i].code);
  }
}

/* ---- URIs ----------------------------------------------------------------------------------- */

static void
assert_bad_uri (const gchar * uri, const gchar * says)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaCloud) cloud = ada_cloud_new (uri, NULL, 1, &error);

  g_assert_null (cloud);
  g_assert_nonnull (error);
  if (!strstr (error->message, says) || strstr (error->message, "S3CRET"))
    g_error ("%s: \"%s\" (\"%s\" was expected, and no secret)", uri, error->message, says);
}

static void
test_bad_uris (void)
{
  const struct {
    const gchar *uri, *says;
  } cases[] = {
    {"rekognition:", "AWS_REGION"},
    {"rekognition:S3CRET", "eu-west-1"},
    {"rekognition:eu-west-1.evil.example/", "eu-west-1"},
    {"rekognition:eu-west-1?max-labels=0", "max-labels that is no number from 1 to 1000"},
    {"rekognition:eu-west-1?max-labels=5x", "max-labels"},
    {"rekognition:eu-west-1?min-confidence=nan", "from 0 to 100"},
    {"rekognition:eu-west-1?min-confidence=101", "from 0 to 100"},
    {"rekognition:eu-west-1?key=S3CRET", "key= in the cloud's URI"},
    {"rekognition:eu-west-1?secret=S3CRET", "not known"},
    {"rekognition:eu-west-1?S3CRET", "name=value"},
    {"rekognition:eu-west-1?endpoint=", "without a value"},
    {"rekognition:eu-west-1?endpoint=ftp://host", "neither http nor https"},
    {"rekognition:eu-west-1?endpoint=http://u:S3CRET@host", "AWS_ACCESS_KEY_ID"},
    {"rekognition:eu-west-1?endpoint=S3CRET", "names no host"},
    {"google:https://vision.googleapis.com", "endpoint=URL"},
    {"azure:", "VISION_ENDPOINT"},
    {"azure:name.cognitiveservices.azure.com", "names no host"},
    {"azure:ftp://host", "neither http nor https"},
    {"azure:https://u:S3CRET@host", "VISION_KEY"},
    {"azure:https://host?credentials=S3CRET", "cannot be opened"},
    {"azure:https://host?ca=S3CRET", "ca= in the cloud's URI"},
    {"azure:https://host?cert=S3CRET", "cert= in the cloud's URI"},
    {"azure:https://host?key=/dev/null", "without cert="},
    {"azure:https://host?input=a", "not known"},
  };

  reset_environment ();
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    assert_bad_uri (cases[i].uri, cases[i].says);
  forget_secrets ();
  assert_bad_uri ("rekognition:eu-west-1", "AWS_ACCESS_KEY_ID");
  assert_bad_uri ("google:", "GOOGLE_OAUTH_ACCESS_TOKEN");
  assert_bad_uri ("azure:https://host", "VISION_KEY");
  reset_environment ();
}

/* ---- requests ------------------------------------------------------------------------------- */

/* What would be sent: the address and headers that are ours. */
static void
test_previews (void)
{
  const struct {
    const gchar *uri, *variable, *value;        /* set for this case */
    const gchar *url, *header;
    gsize body;                 /* of a picture of 1750 bytes: 2336 in base64 */
  } cases[] = {
    {"rekognition:eu-west-1", NULL, NULL, "https://rekognition.eu-west-1.amazonaws.com/",
        "Authorization: AWS4-HMAC-SHA256 ***", 2336 + 84},
    {"rekognition:", "AWS_REGION", "us-east-2", "https://rekognition.us-east-2.amazonaws.com/",
        "X-Amz-Target: RekognitionService.DetectLabels", 2336 + 84},
    {"rekognition:", "AWS_DEFAULT_REGION", "us-east-2",
          "https://rekognition.us-east-2.amazonaws.com/", "Content-Type: application/x-amz-json-1.1",
        2336 + 84},
    {"rekognition:eu-west-1?min-confidence=0.5&max-labels=10", "AWS_SESSION_TOKEN", "S3CRET==",
        "https://rekognition.eu-west-1.amazonaws.com/", "X-Amz-Security-Token: ***", 2336 + 87},
    {"google:", NULL, NULL, "https://vision.googleapis.com/v1/images:annotate",
        "X-Goog-Api-Key: ***", 2336 + 94},
    {"google:?endpoint=https://proxy:8443/g/", NULL, NULL,
          "https://proxy:8443/g/v1/images:annotate", "Content-Type: application/json", 2336 + 94},
    {"azure:https://n.cognitiveservices.azure.com/", NULL, NULL,
          "https://n.cognitiveservices.azure.com/computervision/imageanalysis:analyze"
          "?api-version=2023-10-01&features=tags", "Ocp-Apim-Subscription-Key: ***", 1750},
    {"azure:", "VISION_ENDPOINT", "https://n.cognitiveservices.azure.com/",
          "https://n.cognitiveservices.azure.com/computervision/imageanalysis:analyze"
          "?api-version=2023-10-01&features=tags", "Content-Type: application/octet-stream", 1750},
    {"azure:?endpoint=http://h", NULL, NULL, "http://h/computervision/imageanalysis:analyze"
          "?api-version=2023-10-01&features=tags", "Content-Type: application/octet-stream", 1750},
    {"oip+https://h:1/v2/models/M", NULL, NULL, "https://h:1/v2/models/M/infer",
        "Authorization: Bearer ***", 0},
  };
  g_autoptr (GBytes) jpeg = test_jpeg (75);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (AdaCloud) cloud = NULL;
    g_auto (AdaPreview) preview = { 0 };
    g_autofree gchar *headers = NULL;
    g_autoptr (GError) error = NULL;

    reset_environment ();
    if (cases[i].variable)
      g_setenv (cases[i].variable, cases[i].value, TRUE);
    cloud = test_cloud (cases[i].uri);
    ada_cloud_preview (cloud, &(AdaRequest) {.jpeg = jpeg }, &preview, &error);
    g_assert_no_error (error);
    headers = g_strjoinv ("\n", preview.headers);
    g_assert_cmpstr (preview.method, ==, "POST");
    g_assert_cmpstr (preview.url, ==, cases[i].url);
    g_assert_true (g_strv_contains ((const gchar * const *) preview.headers, cases[i].header));
    g_assert_null (strstr (headers, "S3CRET"));
    if (cases[i].body)
      g_assert_cmpuint (preview.body, ==, cases[i].body);
  }
  reset_environment ();
}

/* A cloud without a wire. */
static void
test_no_preview (void)
{
  g_autoptr (AdaCloud) cloud = ada_application_cloud_new (NULL, NULL);
  g_auto (AdaPreview) preview = { 0 };
  g_autoptr (GBytes) jpeg = test_jpeg (75);

  g_assert_true (ada_cloud_preview (cloud, &(AdaRequest) {.jpeg = jpeg }, &preview, NULL));
  g_assert_null (preview.method);
}

static JsonObject *
last_request (TestServer * server, JsonNode ** root)
{
  g_autofree gchar *text = test_server_command (server, "stats");

  *root = json_from_string (text, NULL);
  return json_object_get_object_member (json_node_get_object (*root), "last");
}

static void
assert_header (JsonObject * last, const gchar * name, const gchar * expected)
{
  g_assert_cmpstr (ada_json_string (ada_json_object (last, "headers"), name), ==, expected);
}

/* The body that the server got, "BASE64" for the picture's base64. */
static void
assert_body (JsonObject * last, const gchar * expected)
{
  g_autoptr (GBytes) jpeg = test_jpeg (75);
  gsize size, jpeg_size;
  const guchar *picture = g_bytes_get_data (jpeg, &jpeg_size);
  g_autofree gchar *base64 = g_base64_encode (picture, jpeg_size);
  g_auto (GStrv) pieces = g_strsplit (expected, "BASE64", -1);
  g_autofree gchar *joined = g_strjoinv (base64, pieces);
  g_autofree gchar *text = json_of (joined);
  g_autofree guchar *body = g_base64_decode (ada_json_string (last, "body"), &size);

  if (g_str_equal (expected, "JPEG"))
    g_assert_cmpmem (body, size, picture, jpeg_size);
  else
    g_assert_cmpmem (body, size, text, strlen (text));
}

static void
test_requests (void)
{
  const struct {
    const gchar *uri, *answer, *path, *header, *value, *body, *labels;
  } cases[] = {
    {"rekognition:eu-west-1?endpoint=http://127.0.0.1:PORT", REKOGNITION ("{'Name':'Car',"
            "'Confidence':50}"), "/", "x-amz-target", "RekognitionService.DetectLabels",
        "{'Image':{'Bytes':'BASE64'},'MaxLabels':5,'MinConfidence':0,"
            "'Features':['GENERAL_LABELS']}", "Car=0.5"},
    {"google:?endpoint=http://127.0.0.1:PORT/", GOOGLE ("{'mid':'/m/1','score':0.5}"),
        "/v1/images:annotate", "x-goog-api-key", SECRET, "{'requests':[{'image':{'content':"
            "'BASE64'},'features':[{'type':'LABEL_DETECTION','maxResults':5}]}]}", "/m/1=0.5"},
    {"azure:http://127.0.0.1:PORT", AZURE ("{'name':'grass','confidence':0.5}"),
        "/computervision/imageanalysis:analyze?api-version=2023-10-01&features=tags",
        "ocp-apim-subscription-key", SECRET, "JPEG", "grass=0.5"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);
    g_autofree gchar *command = g_strconcat ("set answer ", cases[i].answer, NULL);
    g_autoptr (AdaCloud) cloud = cloud_at (cases[i].uri, server->port);
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaAnswer) answer = NULL;
    g_autofree gchar *labels = NULL;
    g_autoptr (JsonNode) root = NULL;
    JsonObject *last;

    do_json (server, command);
    answer = test_classify (cloud, &error);
    g_assert_no_error (error);
    labels = labels_of (answer);
    g_assert_cmpstr (labels, ==, cases[i].labels);
    last = last_request (server, &root);
    g_assert_cmpstr (ada_json_string (last, "method"), ==, "POST");
    g_assert_cmpstr (ada_json_string (last, "path"), ==, cases[i].path);
    assert_header (last, cases[i].header, cases[i].value);
    assert_body (last, cases[i].body);
    g_assert_cmpuint (test_server_count (server, "received"), ==, answer->sent);
    g_assert_cmpuint (test_server_count (server, "sent"), ==, answer->received);
  }
}

/* What a service must not do, and what is made of it; afterwards it is asked as before. */
static void
test_misbehaviour (void)
{
  const struct {
    const gchar *mode;
    gint code;
  } cases[] = {
    {"html", ADA_CLOUD_ERROR_GARBAGE}, {"big 50", ADA_CLOUD_ERROR_GARBAGE},
    {"body 7", ADA_CLOUD_ERROR_GARBAGE}, {"body {'Labels': {}}", ADA_CLOUD_ERROR_GARBAGE},
    {"half", ADA_CLOUD_ERROR_NETWORK}, {"reset", ADA_CLOUD_ERROR_NETWORK},
    {"status 307", ADA_CLOUD_ERROR_REFUSED}, {"status 403", ADA_CLOUD_ERROR_REFUSED},
    {"status 429 7", ADA_CLOUD_ERROR_BUSY}, {"status 503", ADA_CLOUD_ERROR_BUSY},
  };
  const struct {
    const gchar *uri, *answer;
  } services[] = {
    {"rekognition:eu-west-1?endpoint=http://127.0.0.1:PORT", "set answer " REKOGNITION ("")},
    {"google:?endpoint=http://127.0.0.1:PORT", "set answer " GOOGLE ("")},
    {"azure:http://127.0.0.1:PORT", "set answer " AZURE ("")},
  };

  for (guint s = 0; s < G_N_ELEMENTS (services); s++) {
    g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);
    g_autoptr (AdaCloud) cloud = cloud_at (services[s].uri, server->port);

    do_json (server, services[s].answer);
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
      g_autofree gchar *command = g_strconcat ("mode ", cases[i].mode, NULL);
      g_autoptr (GError) error = NULL;
      g_autoptr (AdaAnswer) answer = NULL;

      do_json (server, command);
      g_assert_null (test_classify (cloud, &error));
      g_assert_error (error, ADA_CLOUD_ERROR, cases[i].code);
      test_server_do (server, "mode ok");
      answer = test_classify (cloud, NULL);
      g_assert_nonnull (answer);
    }
  }
}

/* With a token instead of a key. */
static void
test_google_token (void)
{
  g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = NULL;
  g_autoptr (AdaAnswer) answer = NULL;
  g_autoptr (JsonNode) root = NULL;
  JsonObject *last;

  g_unsetenv ("GOOGLE_API_KEY");
  g_setenv ("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.S3CRET", TRUE);
  g_setenv ("GOOGLE_CLOUD_QUOTA_PROJECT", "project-7", TRUE);
  cloud = cloud_at ("google:?endpoint=http://127.0.0.1:PORT", server->port);
  reset_environment ();
  do_json (server, "set answer " GOOGLE (""));
  answer = test_classify (cloud, NULL);
  g_assert_nonnull (answer);
  last = last_request (server, &root);
  assert_header (last, "authorization", "Bearer ya29.S3CRET");
  assert_header (last, "x-goog-user-project", "project-7");
  assert_header (last, "x-goog-api-key", NULL);
}

static void
test_limits (void)
{
  const struct {
    const gchar *uri;
    gsize size;
    gint width, height;
    const gchar *says;          /* NULL: it would be sent */
  } cases[] = {
    {"rekognition:eu-west-1", 5242880, 640, 480, NULL},
    {"rekognition:eu-west-1", 5242881, 640, 480,
        "at most 5242880 bytes a picture; this one would be 5242881"},
    {"rekognition:eu-west-1", 1000, 80, 80, NULL},
    {"rekognition:eu-west-1", 1000, 640, 79, "at least 80x80 pixels; this one is 640x79"},
    {"rekognition:eu-west-1", 1000, 0, 0, NULL},
    {"google:", 7864248, 640, 480, NULL},
    {"google:", 7864300, 640, 480, "at most 10485760 bytes"},
    {"azure:https://h", 20971520, 640, 480, NULL},
    {"azure:https://h", 20971521, 640, 480, "at most 20971520 bytes"},
    {"azure:https://h", 1000, 50, 480, "at least 51x51 pixels; this one is 50x480"},
    {"azure:https://h", 1000, 640, 16000, "at most 15999x15999 pixels; this one is 640x16000"},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (AdaCloud) cloud = test_cloud (cases[i].uri);
    g_autoptr (GBytes) jpeg = g_bytes_new_take (g_malloc0 (cases[i].size), cases[i].size);
    const AdaRequest request = {.jpeg = jpeg,.width = cases[i].width,.height = cases[i].height };
    g_auto (AdaPreview) preview = { 0 };
    g_autoptr (GError) error = NULL, again = NULL;

    ada_cloud_preview (cloud, &request, &preview, &error);
    if (!cases[i].says) {
      g_assert_no_error (error);
      continue;
    }
    g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
    if (!strstr (error->message, cases[i].says))
      g_error ("\"%s\" does not say \"%s\"", error->message, cases[i].says);
    /* Nothing is sent, either: nobody listens there. */
    g_assert_null (ada_cloud_classify (cloud, &request, NULL, &again));
    g_assert_cmpstr (again->message, ==, error->message);
  }
}

/* ---- secrets -------------------------------------------------------------------------------- */

/* A service that repeats what it was sent: as it is, escaped in each way, and cut off. */
static void
test_repeated_secrets (void)
{
  const gchar *texts[] = { SECRET, "S3CRET%2Fkey%2Bwith%3Dsigns", "S3CRET\\/key+with=signs",
    "S3CRET/key+wi", "x" SECRET SECRET "x", "S3CRETAKIDEXAMPLE"
  };
  const gchar *uris[] = { "rekognition:eu-west-1?endpoint=http://127.0.0.1:PORT",
    "google:?endpoint=http://127.0.0.1:PORT", "azure:http://127.0.0.1:PORT",
    "oip+http://127.0.0.1:PORT/v2/models/M?input=a&output=b"
  };
  const gchar *modes[] = { "mode status 403 0 {'message':'%s','error':{'message':'%s'}}",
    "mode status 403 0 {'error':'%s','Message':'%s'}", "mode body %s is no JSON %s",
    "mode body {'%s': '%s'}", "mode body ['%s', '%s']"
  };
  g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);

  for (guint u = 0; u < G_N_ELEMENTS (uris); u++) {
    g_autoptr (AdaCloud) cloud = cloud_at (uris[u], server->port);

    for (guint t = 0; t < G_N_ELEMENTS (texts); t++)
      for (guint m = 0; m < G_N_ELEMENTS (modes); m++) {
        g_auto (GStrv) pieces = g_strsplit (modes[m], "%s", -1);
        g_autofree gchar *command = g_strjoinv (texts[t], pieces);
        g_autoptr (GError) error = NULL;

        do_json (server, command);
        g_assert_null (test_classify (cloud, &error));
        if ((strstr (error->message, "S3CRET") && t != G_N_ELEMENTS (texts) - 1)
            || strstr (error->message, "signs"))
          g_error ("%s: %s", command, error->message);
        if (u == 0)
          g_assert_null (strstr (error->message, "S3CRETA"));
      }
  }
}

/* The file is rewritten while a stream runs: the next refusal finds the new key. */
static void
test_rotation (void)
{
  g_autofree gchar *folder = g_dir_make_tmp ("rotation-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "credentials", NULL);
  g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);
  g_autofree gchar *uri = g_strdup_printf ("azure:http://127.0.0.1:%u?credentials=%s", server->port,
      path);
  g_autoptr (AdaCloud) cloud = NULL;
  g_autoptr (AdaAnswer) answer = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) root = NULL;

  g_unsetenv ("VISION_KEY");
  g_assert_true (g_file_set_contents (path, "[azure]\nkey=old\n", -1, NULL));
  g_assert_cmpint (g_chmod (path, 0600), ==, 0);
  cloud = test_cloud (uri);
  do_json (server, "set answer " AZURE (""));
  /* The same key: once refused, that is all. */
  test_server_do (server, "once 2 status 401");
  g_assert_null (test_classify (cloud, &error));
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 1);
  /* Another one: the second request of this call has it. */
  g_assert_true (g_file_set_contents (path, "[azure]\nkey=new\n", -1, NULL));
  g_assert_cmpint (g_chmod (path, 0600), ==, 0);
  answer = test_classify (cloud, NULL);
  g_assert_nonnull (answer);
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 3);
  assert_header (last_request (server, &root), "ocp-apim-subscription-key", "new");
  reset_environment ();
  g_unlink (path);
  g_rmdir (folder);
}

/* ---- a service with a token ----------------------------------------------------------------- */

static guint obtained;

static gboolean
token_configure (AdaService * service, GError ** error)
{
  service->url = ada_service_url (service, service->target, "/picture", error);
  service->free_state = g_free;
  return service->url != NULL;
}

static gboolean
token_prepare (AdaService * service, AdaTraffic * traffic, GCancellable * cancellable,
    GError ** error)
{
  g_auto (AdaMessage) message = { 0 };

  if (service->state && !service->renew)
    return TRUE;
  ada_message_init (&message);
  message.url = ada_service_url (service, service->target, "/token", error);
  ada_message_text (&message, g_strdup (""));
  if (!ada_service_exchange (service, &message, traffic, cancellable, error))
    return FALSE;
  g_free (service->state);
  service->state = g_strdup_printf ("S3CRETTOKEN%u", ++obtained);
  ada_service_hide (service, service->state);
  return TRUE;
}

static gboolean
token_write (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  message->url = g_strdup_printf ("%s?token=%s", service->url, service->state ? (gchar *)
      service->state : "***");
  ada_message_bytes (message, request->jpeg);
  return TRUE;
}

/* {"expired": true}, or an answer with no labels. */
static AdaAnswer *
token_read (const gchar * data, gsize size, AdaAnswerHints * hints, GError ** error)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, 100, NULL);

  hints->credentials_expired = json_object_has_member (ada_json_as_object (root), "expired");
  if (!hints->credentials_expired)
    return ada_answer_new ();
  g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED, "%s has expired",
      (const gchar *) hints->state);
  return NULL;
}

static gchar *
token_read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  return NULL;
}

static const AdaServiceKind token_kind = {
  .name = "token",
  .form = "token:http://HOST",
  .configure = token_configure,
  .prepare = token_prepare,
  .write = token_write,
  .read = token_read,
  .read_error = token_read_error,
};

/* Obtained once, renewed when an answer says so, and only once a picture. */
static void
test_renewal (void)
{
  g_autoptr (TestServer) server = test_server_new ("capture.py", NULL, NULL);
  g_autofree gchar *uri = g_strdup_printf ("token:http://127.0.0.1:%u/", server->port);
  g_autoptr (AdaCloud) cloud = ada_service_new (&token_kind, uri, NULL);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonNode) root = NULL;

  for (guint i = 0; i < 3; i++) {
    g_autoptr (AdaAnswer) answer = test_classify (cloud, NULL);

    g_assert_nonnull (answer);
  }
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 4);
  do_json (server, "once 1 body {'expired': true}");
  ada_answer_free (test_classify (cloud, NULL));
  /* Picture, token, picture. */
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 7);
  g_assert_cmpstr (ada_json_string (last_request (server, &root), "path"), ==,
      "/picture?token=S3CRETTOKEN2");
  do_json (server, "mode body {'expired': true}");
  g_assert_null (test_classify (cloud, &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
  g_assert_nonnull (strstr (error->message, "*** has expired"));
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 10);
  g_clear_error (&error);
  /* A token that cannot be had: nothing is sent without it, and it is asked for again. */
  test_server_do (server, "mode status 503");
  do_json (server, "once 1 body {'expired': true}");
  g_assert_null (test_classify (cloud, &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_BUSY);
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 12);
  test_server_do (server, "mode ok");
  ada_answer_free (test_classify (cloud, NULL));
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 14);
  g_assert_cmpuint (obtained, ==, 4);
}

static void
test_token_preview (void)
{
  g_autoptr (AdaCloud) cloud = ada_service_new (&token_kind, "token:http://h", NULL);
  g_autoptr (GBytes) jpeg = test_jpeg (75);
  g_auto (AdaPreview) preview = { 0 };

  g_assert_true (ada_cloud_preview (cloud, &(AdaRequest) {.jpeg = jpeg }, &preview, NULL));
  g_assert_cmpstr (preview.url, ==, "http://h/picture?token=***");
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static gboolean
run_openssl (const gchar * folder, const gchar * arguments)
{
  g_auto (GStrv) words = g_strsplit (arguments, " ", -1);
  g_autoptr (GSubprocessLauncher) launcher = g_subprocess_launcher_new
      (G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
  g_autoptr (GSubprocess) openssl = NULL;

  g_subprocess_launcher_set_cwd (launcher, folder);
  openssl = g_subprocess_launcher_spawnv (launcher, (const gchar * const *) words, NULL);
  return openssl && g_subprocess_wait_check (openssl, NULL, NULL);
}

#define NEW_KEY "openssl req -x509 -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "

/* An authority, a server and a client that it vouches for, a client that vouches for itself, and a
 * key behind a passphrase. */
static gboolean
make_certificates (const gchar * folder)
{
  return run_openssl (folder, NEW_KEY "-subj /CN=authority -keyout authority.key -out clients.pem")
      && run_openssl (folder, NEW_KEY "-CA clients.pem -CAkey authority.key -subj /CN=server "
      "-addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.pem")
      && run_openssl (folder, NEW_KEY "-CA clients.pem -CAkey authority.key -subj /CN=camera "
      "-keyout camera.key -out camera.pem")
      && run_openssl (folder, NEW_KEY "-subj /CN=stranger -keyout stranger.key -out stranger.pem")
      && run_openssl (folder, "openssl pkcs8 -topk8 -in camera.key -passout pass:x "
      "-out locked.key");
}

static void
remove_folder (const gchar * folder)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const gchar *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree gchar *path = g_build_filename (folder, name, NULL);

    g_unlink (path);
  }
  g_rmdir (folder);
}

/* The server says that it wants a certificate and hangs up; what of it is noticed is chance. */
#define NOT_ANSWERED -2

/* What becomes of a request with these files: -1 or the error's code. */
static gint
ask_over_tls (TestServer * server, const gchar * folder, const gchar * query)
{
  g_auto (GStrv) pieces = g_strsplit (query, "=", -1);
  g_autofree gchar *between = g_strconcat ("=", folder, "/", NULL);
  g_autofree gchar *whole = g_strjoinv (between, pieces);
  g_autofree gchar *uri = g_strdup_printf ("azure:https://127.0.0.1:%u%s", server->port, whole);
  g_autoptr (AdaCloud) cloud = test_cloud (uri);
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = test_classify (cloud, &error);

  if (answer)
    return -1;
  g_assert_true (error->domain == ADA_CLOUD_ERROR);
  g_test_message ("%s: %s", query, error->message);
  return error->code;
}

static void
test_tls (void)
{
  const struct {
    const gchar *query;
    gint code;
  } cases[] = {
    {"?ca=clients.pem&cert=camera.pem&key=camera.key", -1},
    {"?ca=clients.pem&cert=both.pem", -1},
    {"", ADA_CLOUD_ERROR_REFUSED},
    {"?cert=camera.pem&key=camera.key", ADA_CLOUD_ERROR_REFUSED},
    {"?ca=stranger.pem&cert=camera.pem&key=camera.key", ADA_CLOUD_ERROR_REFUSED},
    {"?ca=camera.key&cert=camera.pem&key=camera.key", ADA_CLOUD_ERROR_REFUSED},
    {"?ca=clients.pem&cert=camera.pem&key=stranger.key", ADA_CLOUD_ERROR_REFUSED},
    {"?ca=clients.pem&cert=camera.pem&key=locked.key", ADA_CLOUD_ERROR_REFUSED},
    {"?ca=clients.pem&cert=camera.pem", ADA_CLOUD_ERROR_REFUSED},
    {"?ca=clients.pem", NOT_ANSWERED},
    {"?ca=clients.pem&cert=stranger.pem&key=stranger.key", NOT_ANSWERED},
    {"?ca=clients.pem&cert=camera.pem&key=camera.key", -1},
  };
  g_autofree gchar *folder = g_dir_make_tmp ("tls-XXXXXX", NULL);

  if (make_certificates (folder)) {
    g_autofree gchar *certificate = g_build_filename (folder, "server.pem", NULL);
    g_autofree gchar *key = g_build_filename (folder, "server.key", NULL);
    g_autofree gchar *camera = g_build_filename (folder, "camera.pem", NULL);
    g_autofree gchar *camera_key = g_build_filename (folder, "camera.key", NULL);
    g_autofree gchar *both = g_build_filename (folder, "both.pem", NULL);
    g_autofree gchar *one = NULL, *other = NULL, *text = NULL;
    g_autoptr (TestServer) server = test_server_new ("capture.py", certificate, key);

    g_assert_true (g_file_get_contents (camera, &one, NULL, NULL));
    g_assert_true (g_file_get_contents (camera_key, &other, NULL, NULL));
    text = g_strconcat (one, other, NULL);
    g_assert_true (g_file_set_contents (both, text, -1, NULL));
    do_json (server, "set answer " AZURE (""));
    for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
      const gint code = ask_over_tls (server, folder, cases[i].query);

      if (cases[i].code == NOT_ANSWERED ? code != ADA_CLOUD_ERROR_REFUSED
          && code != ADA_CLOUD_ERROR_NETWORK : code != cases[i].code)
        g_error ("with \"%s\": %d", cases[i].query, code);
    }
  } else {
    g_test_skip ("there is no openssl program (3.0 or later) to make certificates with");
  }
  remove_folder (folder);
}

int
main (int argc, char **argv)
{
  static const TestRow tests[] = {
    {"answers", test_answers},
    {"hostile-answers", test_hostile_answers},
    {"vast-answers", test_vast_answers},
    {"google-picture-errors", test_google_picture_errors},
    {"errors", test_errors},
    {"bad-uris", test_bad_uris},
    {"previews", test_previews},
    {"no-preview", test_no_preview},
    {"requests", test_requests},
    {"misbehaviour", test_misbehaviour},
    {"google-token", test_google_token},
    {"limits", test_limits},
    {"repeated-secrets", test_repeated_secrets},
    {"rotation", test_rotation},
    {"renewal", test_renewal},
    {"token-preview", test_token_preview},
    {"tls", test_tls},
  };

  g_setenv ("no_proxy", "*", TRUE);
  reset_environment ();
  g_test_init (&argc, &argv, NULL);
  test_add_rows ("/cloud-service/", tests, G_N_ELEMENTS (tests));
  return g_test_run ();
}
