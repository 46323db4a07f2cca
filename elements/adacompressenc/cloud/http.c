/* adacompressenc: HTTP for the clouds that are services (see http.h).
 *
 * One easy handle inside one multi handle: waiting happens in curl_multi_poll(), which a
 * cancellation wakes. Bytes are counted where libcurl reads and writes its socket, so that headers,
 * chunk marks, and requests that broke off are in; of HTTP/2 what HTTP/1.1 would have (http.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "http.h"
#include "json.h"

#include <base/base.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define MAX_HEADERS (64 * 1024)
#define MAX_RETRY_AFTER (3600 * 1000)
/* Ends what nobody cancels: longer than any time limit of the client. */
#define LAST_RESORT_MS (2 * 3600 * 1000)
#define CONNECT_MS 30000
#define POLL_MS 1000
#define SAID_LENGTH 160
/* So many characters of a secret tell something. */
#define TELLING 6

struct _AdaHttp {
  CURL *easy;
  CURLM *multi;
  GPtrArray *hidden;            /* gchar *: secrets in all their spellings */
  gchar *ca, *certificate, *key;        /* file names */
  gchar *shown;                 /* the address of the request, without user part and query */
  GByteArray *sending, *body;
  GHashTable *headers;
  gsize header_bytes;
  const gchar *too_long;        /* the part of the answer that passed its limit */
  guint status;
  AdaTraffic *traffic;
  gchar reason[CURL_ERROR_SIZE];
};

/* ---- what libcurl calls --------------------------------------------------------------------- */

/* The rest of the answer is not taken: over HTTP/2 it would come with the next one. */
static size_t
refuse (AdaHttp * http, const gchar * part)
{
  http->too_long = part;
  curl_easy_setopt (http->easy, CURLOPT_FORBID_REUSE, 1L);
  return 0;
}

static size_t
take_body (char *data, size_t size, size_t n, void *user_data)
{
  AdaHttp *http = user_data;

  if (http->body->len + n > ADA_HTTP_MAX_ANSWER)
    return refuse (http, "body");
  g_byte_array_append (http->body, (const guint8 *) data, (guint) n);
  return n;
}

static size_t
take_header (char *data, size_t size, size_t n, void *user_data)
{
  AdaHttp *http = user_data;
  g_autofree gchar *line = g_strndup (data, n);
  gchar *colon = strchr (line, ':');

  http->header_bytes += n;
  if (http->header_bytes > MAX_HEADERS)
    return refuse (http, "header");
  if (g_str_has_prefix (line, "HTTP/")) /* of the last answer, not of "100 Continue" */
    g_hash_table_remove_all (http->headers);
  else if (colon)
    g_hash_table_replace (http->headers, g_ascii_strdown (line, colon - line),
        g_strstrip (g_strdup (colon + 1)));
  return n;
}

static int
count_bytes (CURL * easy, curl_infotype type, char *data, size_t n, void *user_data)
{
  AdaHttp *http = user_data;

  if (!http->traffic)
    return 0;
  if (type == CURLINFO_HEADER_OUT || type == CURLINFO_DATA_OUT)
    http->traffic->sent += n;
  else if (type == CURLINFO_HEADER_IN || type == CURLINFO_DATA_IN)
    http->traffic->received += n;
  return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

AdaHttp *
ada_http_new (void)
{
  static gsize once = 0;
  AdaHttp *http = g_new0 (AdaHttp, 1);

  if (g_once_init_enter (&once)) {
    curl_global_init (CURL_GLOBAL_DEFAULT);
    g_once_init_leave (&once, 1);
  }
  http->easy = curl_easy_init ();
  http->multi = curl_multi_init ();
  http->sending = g_byte_array_new ();
  http->body = g_byte_array_new ();
  http->headers = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  http->hidden = g_ptr_array_new_with_free_func (g_free);
  return http;
}

void
ada_http_free (AdaHttp * http)
{
  if (!http)
    return;
  curl_easy_cleanup (http->easy);
  curl_multi_cleanup (http->multi);
  g_byte_array_unref (http->sending);
  g_byte_array_unref (http->body);
  g_hash_table_unref (http->headers);
  g_ptr_array_unref (http->hidden);
  ada_http_set_files (http, NULL, NULL, NULL);
  g_free (http->shown);
  g_free (http);
}

void
ada_http_set_files (AdaHttp * http, const gchar * ca, const gchar * certificate,
    const gchar * key)
{
  g_free (http->ca);
  g_free (http->certificate);
  g_free (http->key);
  http->ca = g_strdup (ca);
  http->certificate = g_strdup (certificate);
  http->key = g_strdup (key);
}

/* ---- secrets -------------------------------------------------------------------------------- */

/* "a/b" as some write it in JSON. */
static gchar *
escape_slashes (const gchar * text)
{
  g_auto (GStrv) pieces = g_strsplit (text, "/", -1);

  return g_strjoinv ("\\/", pieces);
}

void
ada_http_hide (AdaHttp * http, const gchar * const *secrets, guint n)
{
  g_ptr_array_set_size (http->hidden, 0);
  for (guint i = 0; i < n; i++) {
    if (!secrets[i] || !*secrets[i])
      continue;
    g_ptr_array_add (http->hidden, g_strdup (secrets[i]));
    g_ptr_array_add (http->hidden, g_uri_escape_string (secrets[i], NULL, FALSE));
    g_ptr_array_add (http->hidden, escape_slashes (secrets[i]));
  }
}

/* Bytes at the beginning of @text that are those of a secret. */
static gsize
hidden_length (AdaHttp * http, const gchar * text)
{
  gsize longest = 0;

  for (guint i = 0; i < http->hidden->len; i++) {
    const gchar *secret = g_ptr_array_index (http->hidden, i);
    gsize n = 0;

    while (secret[n] && secret[n] == text[n])
      n++;
    if (!secret[n] || n >= TELLING)
      longest = MAX (longest, n);
  }
  return longest;
}

gchar *
ada_http_without_secrets (AdaHttp * http, const gchar * text)
{
  GString *clean = g_string_new (NULL);

  while (*text) {
    const gsize n = hidden_length (http, text);

    if (n)
      g_string_append (clean, "***");
    else
      g_string_append_c (clean, *text);
    text += MAX (n, 1);
  }
  return g_string_free (clean, FALSE);
}

/* ---- errors --------------------------------------------------------------------------------- */

/* "https://host:port/path". */
static gchar *
showable (const gchar * url)
{
  g_autoptr (GUri) uri = g_uri_parse (url, G_URI_FLAGS_ENCODED, NULL);

  return uri ? g_uri_to_string_partial (uri,
      G_URI_HIDE_USERINFO | G_URI_HIDE_QUERY | G_URI_HIDE_FRAGMENT) : g_strdup ("the service");
}

void
ada_http_set_error (AdaHttp * http, AdaCloudError code, GError ** error, const gchar * format, ...)
{
  g_autofree gchar *text = NULL, *clean = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  clean = ada_http_without_secrets (http, text);
  g_set_error (error, ADA_CLOUD_ERROR, code, "%s: %s", http->shown, clean);
}

gboolean
ada_http_succeeded (AdaHttp * http)
{
  return http->status >= 200 && http->status < 300;
}

AdaCloudError
ada_http_status_error (AdaHttp * http)
{
  const guint status = http->status;
  const gboolean busy = status == 408 || status == 425 || status == 429 || status >= 500;

  return busy ? ADA_CLOUD_ERROR_BUSY : ADA_CLOUD_ERROR_REFUSED;
}

void
ada_http_set_status_error (AdaHttp * http, AdaCloudError code, const gchar * said,
    GError ** error)
{
  const guint status = http->status;
  g_autofree gchar *excerpt = said ? ada_excerpt (said, strlen (said), SAID_LENGTH) : NULL;
  const gchar *hint = "";

  if (status >= 300 && status < 400)
    hint = " (it has moved; give the address where it is now)";
  else if (code == ADA_CLOUD_ERROR_REFUSED && (status == 401 || status == 403))
    hint = " (the credentials are missing, wrong, or not enough)";
  else if (status == 404)
    hint = " (there is no such model or path)";
  else if (status == 407)
    hint = " (the proxy wants another user or password)";
  ada_http_set_error (http, code, error, "HTTP status %u%s%s%s", status, hint,
      excerpt ? ": " : "", excerpt ? excerpt : "");
}

static AdaCloudError
code_of_curl (CURLcode code)
{
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return ADA_CLOUD_ERROR_TIMEOUT;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_WRITE_ERROR:
    case CURLE_BAD_CONTENT_ENCODING:
      return ADA_CLOUD_ERROR_GARBAGE;
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return ADA_CLOUD_ERROR_REFUSED;
    default:
      return ADA_CLOUD_ERROR_NETWORK;
  }
}

/* TRUE when the other side does not take our certificate, or wants one. TLS 1.3 says so only after
 * the handshake, as OpenSSL's text of a failure to read. */
static gboolean
wants_certificate (AdaHttp * http)
{
  static const gchar *const alerts[] = { "alert certificate", "alert bad certificate",
    "alert unknown ca", "alert handshake failure"
  };

  for (guint i = 0; i < G_N_ELEMENTS (alerts); i++)
    if (strstr (http->reason, alerts[i]))
      return TRUE;
  return FALSE;
}

/* libcurl repeats the whole address of a proxy that it cannot use, its password included. */
static gboolean
is_proxy_wrong (AdaHttp * http)
{
  return g_str_has_prefix (http->reason, "Unsupported proxy");
}

static gboolean
fail (AdaHttp * http, CURLcode code, GError ** error)
{
  if (http->too_long)
    ada_http_set_error (http, ADA_CLOUD_ERROR_GARBAGE, error, "the answer's %s is longer than %d "
        "bytes", http->too_long, http->too_long[0] == 'b' ? ADA_HTTP_MAX_ANSWER : MAX_HEADERS);
  else if (wants_certificate (http))
    ada_http_set_error (http, ADA_CLOUD_ERROR_REFUSED, error, "the service wants another "
        "certificate of ours (cert=, key=): %s", http->reason);
  else if (is_proxy_wrong (http))
    ada_http_set_error (http, ADA_CLOUD_ERROR_REFUSED, error, "the proxy that the environment names "
        "(http_proxy, https_proxy, all_proxy) should be like http://[USER:PASSWORD@]HOST[:PORT]");
  else
    ada_http_set_error (http, code_of_curl (code), error, "%s",
        http->reason[0] ? http->reason : curl_easy_strerror (code));
  return FALSE;
}

/* ---- a request ------------------------------------------------------------------------------ */

static void
set_trust (AdaHttp * http)
{
  const gchar *const paths[] = { http->ca, g_getenv ("CURL_CA_BUNDLE"),
    g_getenv ("SSL_CERT_FILE")
  };

  for (guint i = 0; i < G_N_ELEMENTS (paths); i++)
    if (paths[i] && *paths[i]) {
      curl_easy_setopt (http->easy, CURLOPT_CAINFO, paths[i]);
      break;
    }
  if (!http->certificate)
    return;
  curl_easy_setopt (http->easy, CURLOPT_SSLCERT, http->certificate);
  curl_easy_setopt (http->easy, CURLOPT_SSLKEY, http->key ? http->key : http->certificate);
  /* Else OpenSSL would ask at the terminal for a passphrase, and wait. */
  curl_easy_setopt (http->easy, CURLOPT_KEYPASSWD, "");
}

/* What is the same for every request; the handle was reset before. */
static void
set_up (AdaHttp * http)
{
  CURL *easy = http->easy;

  curl_easy_setopt (easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt (easy, CURLOPT_USERAGENT, "gst-pirl/" VERSION);
  curl_easy_setopt (easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
  curl_easy_setopt (easy, CURLOPT_PROTOCOLS_STR, "http,https");
  /* A name server that does not answer must not hold up a cancellation. */
  curl_easy_setopt (easy, CURLOPT_QUICK_EXIT, 1L);
  curl_easy_setopt (easy, CURLOPT_TIMEOUT_MS, (long) LAST_RESORT_MS);
  curl_easy_setopt (easy, CURLOPT_CONNECTTIMEOUT_MS, (long) CONNECT_MS);
  curl_easy_setopt (easy, CURLOPT_ERRORBUFFER, http->reason);
  curl_easy_setopt (easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt (easy, CURLOPT_WRITEDATA, http);
  curl_easy_setopt (easy, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt (easy, CURLOPT_HEADERDATA, http);
  curl_easy_setopt (easy, CURLOPT_DEBUGFUNCTION, count_bytes);
  curl_easy_setopt (easy, CURLOPT_DEBUGDATA, http);
  curl_easy_setopt (easy, CURLOPT_VERBOSE, 1L);
  set_trust (http);
}

static void
set_body (AdaHttp * http, const AdaHttpRequest * request)
{
  g_byte_array_set_size (http->sending, 0);
  for (guint i = 0; i < request->n_body; i++) {
    gsize size;
    const guint8 *data = g_bytes_get_data (request->body[i], &size);

    g_byte_array_append (http->sending, data, (guint) size);
  }
  if (request->n_body == 0)
    return;
  curl_easy_setopt (http->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) http->sending->len);
  /* Without data libcurl would ask for some. */
  curl_easy_setopt (http->easy, CURLOPT_POSTFIELDS,
      http->sending->len ? (const gchar *) http->sending->data : "");
}

/* libcurl signs what set_body() gave it, and the headers that set_headers() did: with 7.88.1 also
 * one that is there to be left out, so that "Expect:" must not be, and the wait is made short. */
static void
set_signature (AdaHttp * http, const AdaHttpRequest * request)
{
  if (!request->sigv4)
    return;
  curl_easy_setopt (http->easy, CURLOPT_AWS_SIGV4, request->sigv4);
  curl_easy_setopt (http->easy, CURLOPT_USERNAME, request->key_id);
  curl_easy_setopt (http->easy, CURLOPT_PASSWORD, request->key);
  curl_easy_setopt (http->easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
}

static struct curl_slist *
set_headers (AdaHttp * http, const AdaHttpRequest * request)
{
  /* libcurl waits a second for "100 Continue" before a long body, which few servers send. */
  struct curl_slist *list = request->sigv4 ? NULL : curl_slist_append (NULL, "Expect:");

  for (guint i = 0; request->headers && request->headers[i]; i++)
    list = curl_slist_append (list, request->headers[i]);
  curl_easy_setopt (http->easy, CURLOPT_HTTPHEADER, list);
  return list;
}

static void
forget_answer (AdaHttp * http)
{
  g_byte_array_set_size (http->body, 0);
  g_hash_table_remove_all (http->headers);
  http->header_bytes = 0;
  http->too_long = NULL;
  http->status = 0;
  http->reason[0] = '\0';
}

static void
wake (GCancellable * cancellable, gpointer multi)
{
  curl_multi_wakeup (multi);
}

/* CURLE_ABORTED_BY_CALLBACK when it was cancelled. */
static CURLcode
transfer (AdaHttp * http, GCancellable * cancellable)
{
  const gulong handler = cancellable
      ? g_cancellable_connect (cancellable, G_CALLBACK (wake), http->multi, NULL) : 0;
  CURLcode code = CURLE_ABORTED_BY_CALLBACK;
  CURLMcode trouble = curl_multi_add_handle (http->multi, http->easy);
  int running = 1, left;
  CURLMsg *message;

  while (!trouble && running && !g_cancellable_is_cancelled (cancellable)) {
    trouble = curl_multi_perform (http->multi, &running);
    if (!trouble && running)
      trouble = curl_multi_poll (http->multi, NULL, 0, POLL_MS, NULL);
  }
  while ((message = curl_multi_info_read (http->multi, &left)))
    if (message->msg == CURLMSG_DONE)
      code = message->data.result;
  if (trouble)
    code = CURLE_FAILED_INIT;
  /* Who did not answer may be gone, which HTTP/2 would not notice: the next request calls anew. */
  if (code != CURLE_OK)
    curl_easy_setopt (http->easy, CURLOPT_FORBID_REUSE, 1L);
  curl_multi_remove_handle (http->multi, http->easy);
  g_cancellable_disconnect (cancellable, handler);
  return code;
}

/* Writing to a connection that the other side has closed raises SIGPIPE inside TLS libraries. */
static CURLcode
transfer_without_sigpipe (AdaHttp * http, GCancellable * cancellable)
{
  const struct timespec now = { 0, 0 };
  sigset_t pipe, before, pending;
  CURLcode code;

  sigemptyset (&pipe);
  sigaddset (&pipe, SIGPIPE);
  sigpending (&pending);
  pthread_sigmask (SIG_BLOCK, &pipe, &before);
  code = transfer (http, cancellable);
  if (!sigismember (&pending, SIGPIPE))
    while (sigtimedwait (&pipe, NULL, &now) == SIGPIPE);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  return code;
}

/* "120" or an HTTP date, in ms. */
static guint
read_retry_after (AdaHttp * http)
{
  const gchar *text = ada_http_header (http, "retry-after");
  guint64 seconds;
  time_t date;

  if (!text)
    return 0;
  if (g_ascii_string_to_unsigned (text, 10, 0, G_MAXUINT, &seconds, NULL))
    return (guint) MIN (seconds * 1000, MAX_RETRY_AFTER);
  date = curl_getdate (text, NULL);
  return date < 0 ? 0 : (guint) CLAMP ((gint64) (date - time (NULL)) * 1000, 0, MAX_RETRY_AFTER);
}

gboolean
ada_http_run (AdaHttp * http, const AdaHttpRequest * request, AdaTraffic * traffic,
    GCancellable * cancellable, GError ** error)
{
  struct curl_slist *headers;
  CURLcode code;
  long status = 0;

  g_free (http->shown);
  http->shown = showable (request->url);
  forget_answer (http);
  curl_easy_reset (http->easy);
  set_up (http);
  curl_easy_setopt (http->easy, CURLOPT_URL, request->url);
  set_body (http, request);
  headers = set_headers (http, request);
  set_signature (http, request);
  http->traffic = traffic;
  code = transfer_without_sigpipe (http, cancellable);
  http->traffic = NULL;
  curl_easy_setopt (http->easy, CURLOPT_HTTPHEADER, NULL);
  curl_slist_free_all (headers);

  if (code == CURLE_ABORTED_BY_CALLBACK && g_cancellable_set_error_if_cancelled (cancellable, error))
    return FALSE;
  if (code != CURLE_OK)
    return fail (http, code, error);
  curl_easy_getinfo (http->easy, CURLINFO_RESPONSE_CODE, &status);
  http->status = (guint) status;
  traffic->retry_after = read_retry_after (http);
  return TRUE;
}

const gchar *
ada_http_body (AdaHttp * http, gsize * size)
{
  *size = http->body->len;
  return (const gchar *) http->body->data;
}

const gchar *
ada_http_header (AdaHttp * http, const gchar * name)
{
  return g_hash_table_lookup (http->headers, name);
}
