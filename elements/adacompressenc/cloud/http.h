/* adacompressenc: HTTP for the clouds that are services; the one place that knows libcurl.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One AdaHttp is one client: connections are kept alive between requests, HTTP/2 is taken where TLS
 * offers it, proxies come from the environment as libcurl reads them, CAs from a file that was set,
 * from CURL_CA_BUNDLE or SSL_CERT_FILE, else the system's. Redirects are not followed. One thread
 * at a time.
 *
 * Nothing that was hidden, and no query or user part of a URL, appears in any error. What libcurl
 * logs goes nowhere: it is counted.
 */
#pragma once

#include "cloud.h"

#define ADA_HTTP_MAX_ANSWER (8 * 1024 * 1024)

typedef struct _AdaHttp AdaHttp;
/** One connection at a time, kept alive between requests; one thread at a time. */
AdaHttp *ada_http_new (void);
/** Closes it. */
void ada_http_free (AdaHttp * http);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaHttp, ada_http_free)

/** From now on these appear in no error, neither as they are nor percent-encoded or as JSON escapes
 * them; those of the call before are forgotten. @n texts, of which NULL and "" are ignored. */
void ada_http_hide (AdaHttp * http, const gchar * const *secrets, guint n);
/** @text with "***" for what is hidden, and for what begins like it: an excerpt may end inside. */
gchar *ada_http_without_secrets (AdaHttp * http, const gchar * text);
/** PEM files: whom to trust, who we are, and its key (NULL: it is in @certificate); NULL = the
 * environment's or the system's, nobody. A key behind a passphrase cannot be used. */
void ada_http_set_files (AdaHttp * http, const gchar * ca, const gchar * certificate,
    const gchar * key);

typedef struct {
  const gchar *url;
  const gchar *const *headers;  /* "Name: value", NULL-terminated; may be NULL */
  GBytes *const *body;          /* pieces, sent one after the other; POST when there are any, else GET */
  guint n_body;
  const gchar *sigv4;           /* "aws:amz:REGION:SERVICE"; NULL = no signature */
  const gchar *key_id, *key;    /* which sign */
} AdaHttpRequest;

/** Sends one request and reads the answer, whatever its status; adds to @traffic what went over the
 * wire, also when it fails: HTTP's bytes as HTTP/1.1 has them, without TLS, and without HTTP/2's
 * frames and compression of headers. Ends within 50 ms after @cancellable was cancelled. Errors:
 * #AdaCloudError; G_IO_ERROR_CANCELLED. */
gboolean ada_http_run (AdaHttp * http, const AdaHttpRequest * request, AdaTraffic * traffic,
    GCancellable * cancellable, GError ** error);

/** The @size bytes of the answer to the last ada_http_run() that was TRUE, followed by a 0; good
 * until the next. */
const gchar *ada_http_body (AdaHttp * http, gsize * size);
/** @name in lower case; NULL = not there. */
const gchar *ada_http_header (AdaHttp * http, const gchar * name);

/** TRUE for 2xx. */
gboolean ada_http_succeeded (AdaHttp * http);
/** What any other status means: BUSY for 408, 425, 429 and 5xx, else REFUSED. */
AdaCloudError ada_http_status_error (AdaHttp * http);
/** An error that names the status, with what the service @said (may be NULL). */
void ada_http_set_status_error (AdaHttp * http, AdaCloudError code, const gchar * said,
    GError ** error);
/** Like g_set_error(), with the address in front and secrets taken out. */
void ada_http_set_error (AdaHttp * http, AdaCloudError code, GError ** error, const gchar * format,
    ...) G_GNUC_PRINTF (4, 5);
