/* gst-pirl: the Open Inference Protocol: its JSON as its documents show it, and a server on the
 * loopback that answers well, badly, late, or not at all.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>

#include "adacompress-cloud-server.h"
#include "certificates.h"
#include "http.h"
#include "oip.h"
#include "test-rows.h"

#define TOKEN_VARIABLE "GST_PIRL_OIP_TOKEN"
#define TOKEN "tok.EN-0123456789"
#define TIME_LIMIT 400
/* For what answers in the end; and what a busy machine may add to what takes no time. */
#define LONG_TIME_LIMIT 20000
#define SLACK 3000

/* ---- the protocol's JSON -------------------------------------------------------------------- */

static AdaAnswer *
read_answer (const gchar * json, GError ** error)
{
  return ada_oip_read_answer (json, strlen (json), "PROBS", error);
}

static const AdaLabel *
label_of (const AdaAnswer * answer, guint i)
{
  g_assert_cmpuint (answer->labels->len, >, i);
  return &g_array_index (answer->labels, AdaLabel, i);
}

/* The example of Triton's extension_classification.md, and what its text allows. */
static void
test_classification (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = read_answer ("{\"model_name\":\"m\",\"model_version\":\"1\","
      "\"outputs\":[{\"name\":\"OTHER\",\"data\":[\"1:1\"]},{\"name\":\"PROBS\",\"datatype\":"
      "\"STRING\",\"shape\":[1,4],\"data\":[[\"0.02:5:cock: fowl\",\"0.84:207:golden retriever\","
      "\"1e-2:99\",\"0.1:208:\"]]}]}", &error);
  const struct {
    const gchar *id, *text;
    gdouble score;
  } expected[] = { {"207", "golden retriever", 0.84}, {"208", NULL, 0.1}, {"5", "cock: fowl", 0.02},
    {"99", NULL, 0.01}
  };

  g_assert_no_error (error);
  g_assert_cmpuint (answer->labels->len, ==, G_N_ELEMENTS (expected));
  for (guint i = 0; i < G_N_ELEMENTS (expected); i++) {
    g_assert_cmpstr (label_of (answer, i)->id, ==, expected[i].id);
    g_assert_cmpstr (label_of (answer, i)->text, ==, expected[i].text);
    g_assert_cmpfloat_with_epsilon (label_of (answer, i)->score, expected[i].score, 1e-12);
  }
  g_assert_cmpstr (answer->model_version, ==, "1");
}

/* Logits: softmax over (1, 3, 2, 0, -1, 2.5, 0.5) in closed form. */
static void
test_numbers (void)
{
  const gchar *order[] = { "1", "5", "2", "0", "6" };
  const gdouble sum = exp (1) + exp (3) + exp (2) + exp (0) + exp (-1) + exp (2.5) + exp (.5);
  g_autoptr (GError) error = NULL;
  g_autoptr (AdaAnswer) answer = read_answer ("{\"outputs\":[{\"name\":\"PROBS\",\"datatype\":"
      "\"FP32\",\"shape\":[1,7],\"data\":[[1,3.0,2],[0,-1,2.5,5e-1]]}]}", &error);

  g_assert_no_error (error);
  g_assert_cmpuint (answer->labels->len, ==, 5);
  for (guint i = 0; i < 5; i++)
    g_assert_cmpstr (label_of (answer, i)->id, ==, order[i]);
  g_assert_cmpfloat_with_epsilon (label_of (answer, 0)->score, exp (3) / sum, 1e-12);
  g_assert_cmpfloat_with_epsilon (label_of (answer, 4)->score, exp (.5) / sum, 1e-12);
}

/* Probabilities stay as they are, also those that do not sum to one. */
static void
test_probabilities (void)
{
  g_autoptr (AdaAnswer) answer = read_answer (
      "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[0.75,0.5,1,0]}]}", NULL);
  g_autoptr (AdaAnswer) nothing = read_answer ("{\"outputs\":[{\"name\":\"PROBS\",\"data\":[]}]}",
      NULL);

  g_assert_cmpstr (label_of (answer, 0)->id, ==, "2");
  g_assert_cmpfloat (label_of (answer, 1)->score, ==, 0.75);
  g_assert_cmpuint (nothing->labels->len, ==, 0);
}

static const gchar *const bad_answers[] = {
  "", "null", "[]", "7", "\"text\"", "{", "{}", "{\"outputs\":{}}", "{\"outputs\":[]}",
  "{\"outputs\":[7]}", "{\"outputs\":[{\"name\":7,\"data\":[1]}]}",
  "{\"outputs\":[{\"name\":\"other\",\"data\":[1]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\"}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":\"0.5:1\"}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[null]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[true]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[{}]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[\"cat\"]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[\"0.5\"]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[\"0.5:\"]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[\"0.5:-1\"]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[\"0.5:1x\"]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[\"nan:1\"]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[\"inf:1\"]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[1e999]}]}",
  "{\"outputs\":[{\"name\":\"PROBS\",\"data\":[1]}]} trailing",
  "/* \" */ {\"outputs\":[{\"name\":\"PROBS\",\"data\":[1]}]}",
};

static void
test_bad_answers (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (bad_answers); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaAnswer) answer = read_answer (bad_answers[i], &error);

    if (answer)
      g_error ("this was taken for an answer: %s", bad_answers[i]);
    g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_GARBAGE);
  }
}

/* The parser below would call itself as often. */
static void
test_deep_nesting (void)
{
  const gsize n = 150000;
  g_autofree gchar *open = g_strnfill (n, '['), *close = g_strnfill (n, ']');
  g_autofree gchar *brackets = g_strconcat (open, close, NULL);
  g_autofree gchar *hidden = g_strconcat ("/* \" */", brackets, "/* \" */", NULL);
  g_autoptr (GError) error = NULL, hidden_error = NULL;

  g_assert_null (ada_oip_read_answer (brackets, 2 * n, "PROBS", &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_GARBAGE);
  g_assert_null (ada_oip_read_answer (hidden, strlen (hidden), "PROBS", &hidden_error));
  g_assert_error (hidden_error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_GARBAGE);
}

#define INPUTS "\"inputs\":[{\"name\":\"A\",\"datatype\":\"FP32\",\"shape\":[-1,3]}," \
    "{\"name\":\"B\",\"datatype\":\"BYTES\",\"shape\":[-1,1,1]}]"
#define OUTPUTS "\"outputs\":[{\"name\":\"X\"},{\"name\":\"Y\"}]"

static void
test_metadata (void)
{
  const struct {
    const gchar *json, *input, *output;
    gint code;                  /* -1: fine */
    const gchar *found_input, *found_output;
    guint rank;
  } cases[] = {
    {"{" INPUTS "," OUTPUTS "}", NULL, NULL, -1, "B", "X", 3},
    {"{" INPUTS "," OUTPUTS "}", "B", "Y", -1, "B", "Y", 3},
    {"{" INPUTS "," OUTPUTS "}", "A", NULL, ADA_CLOUD_ERROR_REFUSED},
    {"{" INPUTS "," OUTPUTS "}", "C", NULL, ADA_CLOUD_ERROR_REFUSED},
    {"{" INPUTS "," OUTPUTS "}", NULL, "Z", ADA_CLOUD_ERROR_REFUSED},
    {"{" OUTPUTS "}", NULL, NULL, ADA_CLOUD_ERROR_GARBAGE},
    {"{" INPUTS "}", NULL, NULL, ADA_CLOUD_ERROR_GARBAGE},
    {"{\"inputs\":[1],\"outputs\":[null]}", NULL, NULL, ADA_CLOUD_ERROR_REFUSED},
    {"{\"inputs\":[{\"name\":\"B\",\"datatype\":\"BYTES\",\"shape\":[]}]," OUTPUTS "}", NULL, NULL,
        ADA_CLOUD_ERROR_GARBAGE},
    {"<html>", NULL, NULL, ADA_CLOUD_ERROR_GARBAGE},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    AdaOipModel model = { g_strdup (cases[i].input), g_strdup (cases[i].output), 2 };
    g_autoptr (GError) error = NULL;
    const gboolean good = ada_oip_read_model (cases[i].json, strlen (cases[i].json), &model,
        &error);

    g_assert_cmpint (error ? error->code : -1, ==, cases[i].code);
    g_assert_true (good == (error == NULL));
    if (good) {
      g_assert_cmpstr (model.input, ==, cases[i].found_input);
      g_assert_cmpstr (model.output, ==, cases[i].found_output);
      g_assert_cmpuint (model.rank, ==, cases[i].rank);
    }
    ada_oip_model_clear (&model);
  }
}

/* Names come from a server: they must not break out of the JSON. */
static void
test_request (void)
{
  const AdaOipModel model = { "IM\"AGE", "PROBS", 2 };
  g_autofree gchar *json = ada_oip_write_request (&model, 42, 1000);

  g_assert_cmpstr (json, ==, "{\"id\":\"42\",\"inputs\":[{\"name\":\"IM\\\"AGE\",\"shape\":[1,1],"
      "\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_size\":1004}}],\"outputs\":[{\"name\":"
      "\"PROBS\",\"parameters\":{\"classification\":5,\"binary_data\":false}}]}");
}

/* ---- the server ----------------------------------------------------------------------------- */

static AdaCloud *
cloud_of (guint port, const gchar * scheme, const gchar * query)
{
  g_autofree gchar *uri = g_strdup_printf ("oip+%s://127.0.0.1:%u/v2/models/M%s", scheme, port,
      query);

  return test_cloud (uri);
}

static AdaAnswer *
classify (AdaCloud * cloud, AdaTraffic * traffic, GError ** error)
{
  g_autoptr (GBytes) jpeg = test_jpeg (75);
  const AdaRequest request = { 42, "a", 75, TRUE, 640, 480, jpeg, traffic };

  return ada_cloud_classify (cloud, &request, NULL, error);
}

static void
assert_good (const AdaAnswer * answer)
{
  g_assert_cmpuint (answer->labels->len, ==, 5);
  g_assert_cmpstr (label_of (answer, 0)->id, ==, "2");
  g_assert_cmpstr (label_of (answer, 0)->text, ==, "golden retriever");
  g_assert_cmpstr (label_of (answer, 1)->text, ==, "tub: bath");
  g_assert_cmpstr (answer->model_version, ==, "3");
}

/* What a connection that broke off had still to deliver may reach the server later than us. */
static void
assert_bytes (TestServer * server, const gchar * mode, gsize we_sent, gsize we_received)
{
  for (guint tries = 0;; tries++) {
    const guint64 received = test_server_count (server, "received");
    const guint64 sent = test_server_count (server, "sent");

    if (received == we_sent && sent == we_received)
      return;
    if (tries == 200)
      g_error ("%s: we sent %" G_GSIZE_FORMAT " and the server received %" G_GUINT64_FORMAT
          "; it sent %" G_GUINT64_FORMAT " and we received %" G_GSIZE_FORMAT, mode, we_sent,
          received, sent, we_received);
    g_usleep (10000);
  }
}

static void
test_exchange (void)
{
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "");
  gsize sent = 0, received = 0;

  for (guint i = 0; i < 4; i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AdaAnswer) answer = classify (cloud, NULL, &error);

    g_assert_no_error (error);
    assert_good (answer);
    sent += answer->sent;
    received += answer->received;
  }
  test_server_no_complaints (server);
  /* One question about the model, one connection for all. */
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 5);
  g_assert_cmpuint (test_server_count (server, "connections"), ==, 1);
  assert_bytes (server, "ok", sent, received);
}

static void
assert_last (TestServer * server, const gchar * name, const gchar * expected)
{
  g_autofree gchar *value = test_server_last (server, name);

  g_assert_cmpstr (value, ==, expected);
}

static void
test_names_in_uri (void)
{
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "?output=ELSE&input=IMAGE");
  g_autoptr (AdaAnswer) answer = classify (cloud, NULL, NULL);

  assert_good (answer);
  test_server_no_complaints (server);
  g_assert_cmpuint (test_server_count (server, "requests"), ==, 1);
  assert_last (server, "output", "\"ELSE\"");
  assert_last (server, "id", "\"42\"");
  assert_last (server, "size", "1750");
}

/* A server without the classification extension, and a model of another shape. */
static void
test_plain_server (void)
{
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "");
  g_autoptr (AdaAnswer) answer = NULL;

  test_server_do (server, "set classification false");
  test_server_do (server, "set metadata {\"inputs\": [{\"name\": \"jpeg\", \"datatype\": \"BYTES\","
      " \"shape\": [1]}], \"outputs\": [{\"name\": \"scores\"}]}");
  answer = classify (cloud, NULL, NULL);
  g_assert_cmpstr (label_of (answer, 0)->id, ==, "2");
  g_assert_cmpfloat (label_of (answer, 0)->score, ==, 0.5);
  g_assert_cmpstr (label_of (answer, 4)->id, ==, "1");
  assert_last (server, "shape", "[1]");
  test_server_no_complaints (server);
}

static void
test_model_takes_no_jpeg (void)
{
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "");
  g_autoptr (GError) error = NULL;

  test_server_do (server, "set metadata {\"inputs\": [{\"name\": \"x\", \"datatype\": \"FP32\","
      " \"shape\": [1, 3, 224, 224]}], \"outputs\": [{\"name\": \"scores\"}]}");
  g_assert_null (classify (cloud, NULL, &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
  g_assert_nonnull (strstr (error->message, "BYTES"));
}

/* ---- misbehaviour --------------------------------------------------------------------------- */

typedef struct {
  const gchar *mode;
  gint code;                    /* of AdaCloudError; -1: answered all the same */
  gboolean counted;             /* all bytes of both sides have met */
} Misbehaviour;

static const Misbehaviour misbehaviours[] = {
  {"ok", -1, TRUE},
  {"chunked", -1, TRUE},
  {"until-close", -1, TRUE},
  {"slow 0.05", -1, TRUE},
  {"drip 0.0001", -1, TRUE},
  {"slow 2", ADA_CLOUD_ERROR_TIMEOUT, FALSE},
  {"hang", ADA_CLOUD_ERROR_TIMEOUT, TRUE},
  {"stall", ADA_CLOUD_ERROR_TIMEOUT, TRUE},
  {"drip 0.02", ADA_CLOUD_ERROR_TIMEOUT, FALSE},
  {"reset", ADA_CLOUD_ERROR_NETWORK, TRUE},
  {"half", ADA_CLOUD_ERROR_NETWORK, TRUE},
  {"status 429 7", ADA_CLOUD_ERROR_BUSY, TRUE},
  {"status 408", ADA_CLOUD_ERROR_BUSY, TRUE},
  {"status 500", ADA_CLOUD_ERROR_BUSY, TRUE},
  {"status 502", ADA_CLOUD_ERROR_BUSY, TRUE},
  {"status 503", ADA_CLOUD_ERROR_BUSY, TRUE},
  {"status 504", ADA_CLOUD_ERROR_BUSY, TRUE},
  {"status 302", ADA_CLOUD_ERROR_REFUSED, TRUE},
  {"status 400", ADA_CLOUD_ERROR_REFUSED, TRUE},
  {"status 401", ADA_CLOUD_ERROR_REFUSED, TRUE},
  {"status 404", ADA_CLOUD_ERROR_REFUSED, TRUE},
  {"status 413", ADA_CLOUD_ERROR_REFUSED, TRUE},
  {"html", ADA_CLOUD_ERROR_GARBAGE, TRUE},
  {"big 50", ADA_CLOUD_ERROR_GARBAGE, FALSE},
  {"headers", ADA_CLOUD_ERROR_GARBAGE, FALSE},
  {"garbage", ADA_CLOUD_ERROR_GARBAGE, FALSE},
  {"body {\"outputs\": 7}", ADA_CLOUD_ERROR_GARBAGE, TRUE},
  {"body [1, 2]", ADA_CLOUD_ERROR_GARBAGE, TRUE},
  {"body {\"error\": \"not today\"}", ADA_CLOUD_ERROR_GARBAGE, TRUE},
};

/* One inquiry, no retry; returns how many ms it took. */
static gdouble
inquire (AdaCloud * cloud, guint time_limit, TestLog * log, AdaClientStats * stats)
{
  const AdaClientConfig config = { time_limit, 4, 0, 1, 1, 0 };
  g_autoptr (AdaClient) client = ada_client_new (cloud, &config);
  const gint64 begin = g_get_monotonic_time ();

  memset (log, 0, sizeof *log);
  g_assert_true (ada_client_submit (client, test_inquiry (log, 1, "a", 0)));
  g_assert_true (ada_client_drain (client, 30000));
  ada_client_stats (client, stats);
  return test_ms_since (begin);
}

static guint
time_limit_of (const Misbehaviour * m)
{
  return m->code == ADA_CLOUD_ERROR_TIMEOUT ? TIME_LIMIT : LONG_TIME_LIMIT;
}

static void
assert_outcome (const Misbehaviour * m, const TestLog * log, gdouble ms)
{
  if (log->code != m->code || (m->code >= 0 && log->domain != ADA_CLOUD_ERROR))
    g_error ("%s: code %d, %s", m->mode, log->code, log->message);
  if (m->code == ADA_CLOUD_ERROR_TIMEOUT)
    g_assert_cmpfloat (ms, >=, TIME_LIMIT);
  if (m->code >= 0 && ms >= time_limit_of (m) + SLACK)
    g_error ("%s took %g ms", m->mode, ms);
}

static void
test_misbehaviour (gconstpointer data)
{
  const Misbehaviour *m = data;
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "?input=IMAGE&output=PROBS");
  g_autofree gchar *command = g_strconcat ("mode ", m->mode, NULL);
  AdaClientStats stats;
  TestLog log;
  gdouble ms;

  /* Once on a fresh connection, once (where it is kept) on a used one. */
  for (guint again = 0; again < 2; again++) {
    test_server_do (server, command);
    test_server_do (server, "reset");
    ms = inquire (cloud, time_limit_of (m), &log, &stats);
    assert_outcome (m, &log, ms);
    g_assert_cmpuint (stats.requests, ==, 1);
    if (m->counted)
      assert_bytes (server, m->mode, log.sent, log.received);
    /* Whatever is sent, little is read. */
    g_assert_cmpuint (log.received, <, 9 << 20);
    /* The server has healed, and nothing is left of the trouble. */
    test_server_do (server, "mode ok");
    inquire (cloud, LONG_TIME_LIMIT, &log, &stats);
    if (log.code != -1)
      g_error ("after %s: %s", m->mode, log.message);
    g_assert_cmpstr (log.first[0], ==, "2");
  }
}

/* The same in the question about the model: it is asked again until it is answered. */
static void
test_misbehaving_metadata (void)
{
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "");
  const Misbehaviour cases[] = { {"hang", ADA_CLOUD_ERROR_TIMEOUT},
    {"status 503", ADA_CLOUD_ERROR_BUSY}, {"html", ADA_CLOUD_ERROR_GARBAGE},
    {"half", ADA_CLOUD_ERROR_NETWORK}, {"ok", -1}
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *command = g_strconcat ("mode ", cases[i].mode, NULL);
    AdaClientStats stats;
    TestLog log;
    gdouble ms;

    test_server_do (server, command);
    ms = inquire (cloud, time_limit_of (&cases[i]), &log, &stats);
    assert_outcome (&cases[i], &log, ms);
  }
}

static void
test_nobody_there (void)
{
  TestServer *server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "");
  g_autoptr (GError) error = NULL;

  test_server_free (server);
  g_assert_null (classify (cloud, NULL, &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NETWORK);
}

static void
test_retry_after (void)
{
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "");
  g_autoptr (GDateTime) now = g_date_time_new_now_utc ();
  g_autoptr (GDateTime) later = g_date_time_add_seconds (now, 900);
  g_autofree gchar *date = g_date_time_format (later, "%a,_%d_%b_%Y_%H:%M:%S_GMT");
  const struct {
    const gchar *text;
    guint least, most;          /* ms */
  } cases[] = { {"7", 7000, 7000}, {"0", 0, 0}, {"99999999", 3600000, 3600000}, {"soon", 0, 0},
    {"-3", 0, 0}, {"Wed,_21_Oct_2015_07:28:00_GMT", 0, 0},
    {"Fri,_01_Jan_2100_00:00:00_GMT", 3600000, 3600000}, {date, 600000, 900000}
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *command = g_strconcat ("mode status 429 ", cases[i].text, NULL);
    g_autoptr (GError) error = NULL;
    AdaTraffic traffic;

    test_server_do (server, command);
    g_assert_null (classify (cloud, &traffic, &error));
    g_assert_cmpuint (traffic.retry_after, >=, cases[i].least);
    g_assert_cmpuint (traffic.retry_after, <=, cases[i].most);
  }
}

/* Free while the server hangs: nothing waits for it. */
static void
test_free_while_hanging (void)
{
  const gchar *modes[] = { "mode hang", "mode stall", "mode headers", "mode big 2000" };
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  AdaClientConfig config;

  ada_client_config_defaults (&config);
  for (guint i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "?input=IMAGE&output=PROBS");
    AdaClient *client = ada_client_new (cloud, &config);
    TestLog log = { 0 };
    gint64 begin;

    test_server_do (server, "reset");
    test_server_do (server, modes[i]);
    g_assert_true (ada_client_submit (client, test_inquiry (&log, 1, "a", 3)));
    while (test_server_count (server, "requests") == 0)
      g_usleep (1000);
    begin = g_get_monotonic_time ();
    ada_client_free (client);
    g_assert_cmpfloat (test_ms_since (begin), <, SLACK);
    g_assert_cmpuint (log.done, ==, 1);
    g_assert_cmpuint (log.freed, ==, 1);
  }
}

/* A service that begins to disagree below quality 40, as an agent sees it through the client. */
static void
test_agreement_by_quality (void)
{
  static const guint8 annex_k[64] = {
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37,
    29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
    95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99
  };
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = cloud_of (server->port, "http", "");
  const gdouble scales[] = { 0.5, 1, 2.5 };     /* of qualities 75, 50, 20 */
  AdaAnswer *answers[3];

  test_server_do (server, "set threshold 40");
  for (guint i = 0; i < 3; i++) {
    g_autoptr (GByteArray) picture = g_byte_array_new ();
    g_autoptr (GBytes) jpeg = NULL;
    guint8 table[64];

    for (guint k = 0; k < 64; k++)
      table[k] = (guint8) MIN (255, annex_k[k] * scales[i] + 0.5);
    g_byte_array_append (picture, (const guint8 *) "\xff\xd8\xff\xdb\0\x43\0", 7);
    g_byte_array_append (picture, table, sizeof table);
    g_byte_array_append (picture, (const guint8 *) "\xff\xd9", 2);
    jpeg = g_bytes_new (picture->data, picture->len);
    answers[i] = ada_cloud_classify (cloud, &(AdaRequest) {.jpeg = jpeg }, NULL, NULL);
    g_assert_nonnull (answers[i]);
  }
  g_assert_cmpfloat (ada_agreement (ADA_AGREEMENT_TOP1_IN_TOP5, answers[0], answers[1]), ==, 1);
  g_assert_cmpfloat (ada_agreement (ADA_AGREEMENT_TOP1_IN_TOP5, answers[0], answers[2]), ==, 0);
  for (guint i = 0; i < 3; i++)
    ada_answer_free (answers[i]);
}

/* ---- secrets and trust ---------------------------------------------------------------------- */

static void
test_token (void)
{
  g_autoptr (TestServer) server = test_server_new ("oip.py", NULL, NULL);
  g_autoptr (AdaCloud) cloud = NULL;
  g_autoptr (AdaAnswer) answer = NULL;
  g_autoptr (GError) error = NULL;

  g_setenv (TOKEN_VARIABLE, TOKEN, TRUE);
  cloud = cloud_of (server->port, "http", "");
  g_unsetenv (TOKEN_VARIABLE);
  test_server_do (server, "set token \"" TOKEN "\"");
  answer = classify (cloud, NULL, NULL);
  assert_good (answer);
  /* A server that repeats it in its errors. */
  test_server_do (server, "set token \"another\"");
  g_assert_null (classify (cloud, NULL, &error));
  g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
  g_assert_nonnull (strstr (error->message, "not allowed with Bearer ***"));
  g_assert_null (strstr (error->message, TOKEN));
}

static void
test_bad_token (void)
{
  g_autoptr (AdaCloud) cloud = NULL;
  g_autoptr (GError) error = NULL;

  g_setenv (TOKEN_VARIABLE, "half\r\nX-Injected: 1", TRUE);
  cloud = ada_cloud_new ("oip+http://127.0.0.1:9/v2/models/M", NULL, 1, &error);
  g_unsetenv (TOKEN_VARIABLE);
  g_assert_null (cloud);
  g_assert_nonnull (strstr (error->message, TOKEN_VARIABLE));
  g_assert_null (strstr (error->message, "Injected"));
}

/* A certificate that nobody vouches for is refused until CURL_CA_BUNDLE names it. */
static void
test_tls (void)
{
  Certificate c;

  if (certificate_make (&c)) {
    g_autoptr (TestServer) server = test_server_new ("oip.py", c.certificate, c.key);
    g_autoptr (AdaCloud) cloud = cloud_of (server->port, "https", "");
    g_autoptr (AdaAnswer) answer = NULL;
    g_autoptr (GError) error = NULL;

    g_assert_null (classify (cloud, NULL, &error));
    g_assert_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED);
    g_setenv ("CURL_CA_BUNDLE", c.certificate, TRUE);
    answer = classify (cloud, NULL, NULL);
    g_unsetenv ("CURL_CA_BUNDLE");
    g_assert_nonnull (answer);
    assert_good (answer);
  }
  certificate_remove (&c);
}

int
main (int argc, char **argv)
{
  static const TestRow tests[] = {
    {"classification-strings", test_classification},
    {"numbers-become-the-best-five", test_numbers},
    {"probabilities-stay", test_probabilities},
    {"what-is-no-answer", test_bad_answers},
    {"nesting-is-bounded", test_deep_nesting},
    {"metadata", test_metadata},
    {"request", test_request},
    {"exchange-and-bytes", test_exchange},
    {"names-in-the-uri", test_names_in_uri},
    {"server-without-classification", test_plain_server},
    {"model-that-takes-no-jpeg", test_model_takes_no_jpeg},
    {"misbehaving-metadata", test_misbehaving_metadata},
    {"nobody-there", test_nobody_there},
    {"retry-after", test_retry_after},
    {"free-while-hanging", test_free_while_hanging},
    {"agreement-by-quality", test_agreement_by_quality},
    {"token", test_token},
    {"token-that-cannot-be", test_bad_token},
    {"tls", test_tls},
  };

  /* Nothing of the user's surroundings between us and the loopback. */
  g_setenv ("no_proxy", "*", TRUE);
  g_unsetenv ("CURL_CA_BUNDLE");
  g_unsetenv ("SSL_CERT_FILE");
  g_unsetenv (TOKEN_VARIABLE);
  g_test_init (&argc, &argv, NULL);
  test_add_rows ("/cloud-oip/", tests, G_N_ELEMENTS (tests));
  for (guint i = 0; i < G_N_ELEMENTS (misbehaviours); i++) {
    g_autofree gchar *path = g_strconcat ("/cloud-oip/misbehaves/", misbehaviours[i].mode, NULL);

    g_test_add_data_func (path, &misbehaviours[i], test_misbehaviour);
  }
  return g_test_run ();
}
