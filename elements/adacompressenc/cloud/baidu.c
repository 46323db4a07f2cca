/* adacompressenc: Baidu's recognition of things and scenes (advanced_general) as the cloud.
 *
 * baidu:
 *
 * A token comes first: it is obtained with the two keys, which go out in the body and never in an
 * address, and used until shortly before its end, or until the service says that it is none (110,
 * 111). Its end is counted by the monotonic clock from when it was asked for: a clock that is wrong
 * or set does not matter, and a machine that slept is told by the service.
 *
 * The picture goes out as base64 in a form. Errors come with status 200. Answers are in Chinese, in
 * no order: a label is known by its "keyword", and "root" is what that belongs to.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kinds.h"

#include <string.h>

#define BASE "https://aip.baidubce.com"
#define TOKEN_PATH "/oauth/2.0/token"
#define PICTURE_PATH "/rest/2.0/image-classify/v2/advanced_general"
#define FORM_TYPE "Content-Type: application/x-www-form-urlencoded"
#define FIELD "image="

/* Of the base64. */
#define MOST_BYTES (8 * 1024 * 1024)
#define LEAST_SIDE 15
#define MOST_SIDE 8192

#define MAX_TOKEN 4096
/* Tokens live for 30 days as documented. */
#define MAX_SECONDS (365 * 24 * 3600.)
/* A token is renewed this part of its life before its end, but not more than so many seconds. */
#define MARGIN_PART 0.1
#define MARGIN_SECONDS 3600.
#define SAID_LENGTH 160

/* ---- errors --------------------------------------------------------------------------------- */

/* By number, of pictures; what is in neither table is as the status has it. What is spent for today
 * does not come back by trying. */
static const struct
{
  gint number;
  AdaCloudError code;
  gboolean expired;
} errors[] = {
  {1, ADA_CLOUD_ERROR_BUSY},    /* unknown */
  {2, ADA_CLOUD_ERROR_BUSY},    /* temporarily unavailable */
  {4, ADA_CLOUD_ERROR_BUSY},    /* too many requests, from all */
  {17, ADA_CLOUD_ERROR_REFUSED},        /* too many today */
  {18, ADA_CLOUD_ERROR_BUSY},   /* too many a second */
  {19, ADA_CLOUD_ERROR_REFUSED},        /* too many altogether */
  {110, ADA_CLOUD_ERROR_REFUSED, TRUE}, /* no such token */
  {111, ADA_CLOUD_ERROR_REFUSED, TRUE}, /* it has ended */
  {216300, ADA_CLOUD_ERROR_BUSY},       /* their database, back end, insides */
  {216400, ADA_CLOUD_ERROR_BUSY},
  {216401, ADA_CLOUD_ERROR_BUSY},
  {216500, ADA_CLOUD_ERROR_BUSY},
  {282000, ADA_CLOUD_ERROR_BUSY},
};

/* By word, of tokens. */
static const AdaErrorWord words[] = {
  {"invalid_", ADA_CLOUD_ERROR_REFUSED},
  {"unauthorized_client", ADA_CLOUD_ERROR_REFUSED},
  {"server_error", ADA_CLOUD_ERROR_BUSY},
  {"temporarily_unavailable", ADA_CLOUD_ERROR_BUSY},
  {NULL}
};

static void
find_number (gdouble number, AdaCloudError * code, gboolean * expired)
{
  for (guint i = 0; i < G_N_ELEMENTS (errors); i++)
    if (number == errors[i].number) {
      *code = errors[i].code;
      *expired = errors[i].expired;
    }
}

/* The text of {"error_code": ..., "error_msg": ...} or of OAuth's {"error": ...,
 * "error_description": ...}; NULL: it is neither, and nothing is set. */
static gchar *
describe_error (JsonObject * object, AdaCloudError * code, gboolean * expired)
{
  const gchar *text = ada_json_string (object, "error_msg");
  const gchar *word = ada_json_string (object, "error");
  const gchar *description = ada_json_string (object, "error_description");
  gdouble number;

  if (ada_json_number (object, "error_code", &number)) {
    find_number (number, code, expired);
    return g_strdup_printf ("error %.15g: %s", number, text ? text : "(no text)");
  }
  *code = ada_error_of_word (words, word, *code);
  return word && description ? g_strdup_printf ("%s: %s", word, description) : g_strdup (word);
}

/* TRUE, and @error is set, when @object is an error. */
static gboolean
is_error (JsonObject * object, gboolean * expired, GError ** error)
{
  AdaCloudError code = ADA_CLOUD_ERROR_REFUSED;
  g_autofree gchar *text = describe_error (object, &code, expired);
  g_autofree gchar *excerpt = text ? ada_excerpt (text, strlen (text), SAID_LENGTH) : NULL;

  if (excerpt)
    g_set_error_literal (error, ADA_CLOUD_ERROR, code, excerpt);
  return excerpt != NULL;
}

gchar *
ada_baidu_read_error (const gchar * data, gsize size, AdaCloudError * code)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, ADA_MAX_VALUES, NULL);
  gboolean expired;

  return describe_error (ada_json_as_object (root), code, &expired);
}

/* ---- the answer ----------------------------------------------------------------------------- */

/* Labels came with their root as text; people want to see both. */
static void
name_labels (AdaAnswer * answer)
{
  for (guint i = 0; i < answer->labels->len; i++) {
    AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);
    g_autofree gchar *root = g_steal_pointer (&label->text);

    label->text = root && *root ? g_strdup_printf ("%s (%s)", label->id, root)
        : g_strdup (label->id);
  }
}

AdaAnswer *
ada_baidu_read_answer (const gchar * data, gsize size, AdaAnswerHints * hints, GError ** error)
{
  static const AdaLabelFields fields = {.id = "keyword",.text = "root",.score = "score",.full = 1 };
  g_autoptr (JsonNode) root = NULL;
  JsonObject *object = ada_parse_object (data, size, "the answer", &root, error);
  JsonArray *result = ada_json_array (object, "result");
  g_autoptr (AdaAnswer) answer = NULL;

  if (!object || is_error (object, &hints->credentials_expired, error))
    return NULL;
  if (!result) {
    ada_garbage (error, "the answer has no list of \"result\"");
    return NULL;
  }
  answer = ada_answer_new ();
  if (!ada_read_labels (result, &fields, answer, error))
    return NULL;
  name_labels (answer);
  ada_answer_sort (answer);
  return g_steal_pointer (&answer);
}

/* ---- the token ------------------------------------------------------------------------------ */

static gboolean
is_printable (const gchar * text)
{
  while (g_ascii_isgraph (*text))
    text++;
  return *text == '\0';
}

gboolean
ada_baidu_read_token (const gchar * data, gsize size, gchar ** token, gdouble * seconds,
    GError ** error)
{
  g_autoptr (JsonNode) root = NULL;
  JsonObject *object = ada_parse_object (data, size, "the answer with the token", &root, error);
  const gchar *text = ada_json_string (object, "access_token");
  gboolean expired;
  gdouble life;

  if (!object || is_error (object, &expired, error))
    return FALSE;
  if (!text || !*text || strlen (text) > MAX_TOKEN || !is_printable (text))
    return ada_garbage (error, "the answer has no \"access_token\" that could be one");
  if (!ada_json_number (object, "expires_in", &life) || life <= 0)
    return ada_garbage (error, "the answer does not say in how many seconds the token expires");
  *token = g_strdup (text);
  *seconds = MIN (life, MAX_SECONDS);
  return TRUE;
}

typedef struct {
  gchar *url;                   /* where tokens are */
  gchar *token;                 /* NULL = none yet */
  gint64 end;                   /* monotonic time from which it is not used any more */
} Session;

static void
session_free (gpointer data)
{
  Session *session = data;

  g_free (session->url);
  g_free (session->token);
  g_free (session);
}

static void
write_token_request (AdaService * service, AdaMessage * message)
{
  const Session *session = service->state;
  g_autofree gchar *key = g_uri_escape_string (service->secret[0], NULL, FALSE);
  g_autofree gchar *secret = g_uri_escape_string (service->secret[1], NULL, FALSE);

  message->url = g_strdup (session->url);
  ada_message_header (message, FORM_TYPE);
  ada_message_text (message, g_strdup_printf ("grant_type=client_credentials&client_id=%s&"
          "client_secret=%s", key, secret));
}

static gboolean
obtain_token (AdaService * service, AdaTraffic * traffic, GCancellable * cancellable,
    GError ** error)
{
  Session *session = service->state;
  const gint64 asked = g_get_monotonic_time ();
  g_auto (AdaMessage) message;
  GError *found = NULL;
  gdouble seconds = 0;
  const gchar *body;
  gsize size;

  ada_message_init (&message);
  write_token_request (service, &message);
  if (!ada_service_exchange (service, &message, traffic, cancellable, error))
    return FALSE;
  body = ada_http_body (service->http, &size);
  if (!ada_baidu_read_token (body, size, &session->token, &seconds, &found)) {
    ada_service_explain (service, found, error);
    return FALSE;
  }
  ada_service_hide (service, session->token);
  seconds -= MIN (MARGIN_SECONDS, MARGIN_PART * seconds);
  session->end = asked + (gint64) (seconds * G_USEC_PER_SEC);
  return TRUE;
}

static gboolean
prepare (AdaService * service, AdaTraffic * traffic, GCancellable * cancellable, GError ** error)
{
  Session *session = service->state;

  if (session->token && !service->renew && g_get_monotonic_time () < session->end)
    return TRUE;
  g_clear_pointer (&session->token, g_free);
  return obtain_token (service, traffic, cancellable, error);
}

/* ---- the request ---------------------------------------------------------------------------- */

static gboolean
configure (AdaService * service, GError ** error)
{
  Session *session = g_new0 (Session, 1);

  service->state = session;
  service->free_state = session_free;
  if (*service->target)
    return ada_service_invalid (service, error, "has something behind the name");
  session->url = ada_service_url (service, BASE, TOKEN_PATH, error);
  service->url = ada_service_url (service, BASE, PICTURE_PATH, session->url ? error : NULL);
  return session->url && service->url;
}

/* A character of base64 as a form has it: three of them are escaped. */
typedef struct {
  gchar text[3];
  guint8 length;
} Digit;

static void
make_digits (Digit digits[64])
{
  static const gchar plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

  for (guint i = 0; i < 62; i++)
    digits[i] = (Digit) { {plain[i]}, 1 };
  digits[62] = (Digit) { {'%', '2', 'B'}, 3 };
  digits[63] = (Digit) { {'%', '2', 'F'}, 3 };
}

/* The first @n digits of 24 bits. */
static gchar *
put_digits (gchar * at, const Digit digits[64], guint bits, guint n)
{
  for (guint i = 0; i < n; i++) {
    const Digit *digit = &digits[bits >> (18 - 6 * i) & 63];

    memcpy (at, digit->text, sizeof digit->text);
    at += digit->length;
  }
  return at;
}

/* "image=" and the picture, in one pass. There is room for every digit's three characters. */
static GBytes *
write_form (GBytes * jpeg)
{
  const gsize prefix = strlen (FIELD);
  gsize size, i;
  const guint8 *in = g_bytes_get_data (jpeg, &size);
  gchar *form = g_malloc (prefix + 12 * ((size + 2) / 3));
  gchar *at = form + prefix;
  Digit digits[64];

  make_digits (digits);
  memcpy (form, FIELD, prefix);
  for (i = 0; size - i >= 3; i += 3)
    at = put_digits (at, digits, (guint) in[i] << 16 | (guint) in[i + 1] << 8 | in[i + 2], 4);
  if (size - i == 2) {
    at = put_digits (at, digits, (guint) in[i] << 16 | (guint) in[i + 1] << 8, 3);
    at = mempcpy (at, "%3D", 3);
  } else if (size - i == 1) {
    at = put_digits (at, digits, (guint) in[i] << 16, 2);
    at = mempcpy (at, "%3D%3D", 6);
  }
  size = (gsize) (at - form);
  return g_bytes_new_take (g_realloc (form, size), size);
}

static gboolean
write_request (AdaService * service, const AdaRequest * request, AdaMessage * message,
    GError ** error)
{
  const Session *session = service->state;
  const gsize base64 = (g_bytes_get_size (request->jpeg) + 2) / 3 * 4;
  g_autofree gchar *token = session->token
      ? g_uri_escape_string (session->token, NULL, FALSE) : g_strdup ("***");
  g_autoptr (GBytes) form = NULL;

  if (!ada_service_check_picture (service, request, base64, MOST_BYTES, LEAST_SIDE, MOST_SIDE,
          error))
    return FALSE;
  form = write_form (request->jpeg);
  message->url = g_strdup_printf ("%s?access_token=%s", service->url, token);
  ada_message_header (message, FORM_TYPE);
  ada_message_bytes (message, form);
  return TRUE;
}

const AdaServiceKind ada_baidu_service = {
  .name = "baidu",
  .form = "baidu:",
  .secrets = {
    {"api-key", (const gchar * const[]) { "BAIDU_API_KEY", NULL }, TRUE},
    {"secret-key", (const gchar * const[]) { "BAIDU_SECRET_KEY", NULL }, TRUE},
  },
  .configure = configure,
  .prepare = prepare,
  .write = write_request,
  .read = ada_baidu_read_answer,
  .read_error = ada_baidu_read_error,
};
