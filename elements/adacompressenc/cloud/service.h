/* adacompressenc: vision services behind HTTP: what one kind of them is, and what runs any kind.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A service is a row of functions, an AdaServiceKind: which secrets and parameters it has, how a
 * request is written, how an answer is read. service.c is the one AdaCloud that runs them:
 *
 *   prepare (tokens, metadata) -> write -> exchange -> read -> labels, best first
 *
 * URI: NAME:TARGET[?parameter=value&...] (percent-encoded). Every kind takes
 *   endpoint=URL      instead of scheme://host[:port] of the service: tests, proxies, private links
 *   credentials=FILE  where the secrets are that the environment does not have (secrets.h)
 *   ca=FILE           certificates to trust (PEM); cert=FILE and key=FILE: our own (PEM)
 */
#pragma once

#include "http.h"
#include "parsers.h"
#include "secrets.h"

G_BEGIN_DECLS

#define ADA_SERVICE_SECRETS 3

typedef struct _AdaService AdaService;

/** A request being written. */
typedef struct {
  gchar *url;                   /* NULL = the service's */
  GPtrArray *headers;           /* gchar *, "Name: value" */
  GPtrArray *body;              /* GBytes, sent one after the other; none = GET */
  gchar *sigv4;                 /* CURLOPT_AWS_SIGV4; secrets 0 and 1 sign. NULL = no signature */
} AdaMessage;

typedef struct {
  const gchar *name;            /* "azure": group of the credentials file, name in messages */
  const gchar *form;            /* of the URI, for messages */
  AdaSecretKind secrets[ADA_SERVICE_SECRETS + 1];
  const gchar *const *parameters;       /* of its own; NULL-terminated, or NULL = none */

  /* Once: reads @target and @parameters, sets @url. FALSE with %PIRL_ERROR_INVALID, whose text is
   * like those of ada_service_invalid() and repeats nothing of the URI. */
  gboolean (*configure) (AdaService * service, GError ** error);
  /* Before each picture, may be NULL: what must be known first (a token, the model's inputs). It
   * may ask with ada_service_exchange(). With @renew, what is known is not to be trusted. */
  gboolean (*prepare) (AdaService * service, AdaTraffic * traffic, GCancellable * cancellable,
      GError ** error);
  /* One picture's request into @message. FALSE with %ADA_CLOUD_ERROR_REFUSED: the picture is beyond
   * the service's limits (says limit and size). In a preview nothing was prepared: "***" stands for
   * a token that is not known yet. */
  gboolean (*write) (AdaService * service, const AdaRequest * request, AdaMessage * message,
      GError ** error);
  /* Pure: an answer whose status was 2xx; its labels sorted. Some services report errors there,
   * too: an #AdaCloudError as read_error() would give. */
  AdaAnswer *(*read) (const gchar * data, gsize size, AdaAnswerHints * hints, GError ** error);
  /* Pure: any other answer: its text for people (transfer full; NULL = none), and @code, which
   * comes as the status has it, changed where the text knows better. */
  gchar *(*read_error) (const gchar * data, gsize size, AdaCloudError * code);
} AdaServiceKind;

/** What a kind's functions see. */
struct _AdaService {
  const AdaServiceKind *kind;
  gchar *target;                /* between "azure:" and "?"; of "oip+http://H?" it is "http://H" */
  gchar *endpoint;              /* NULL = the service's own */
  GHashTable *parameters;       /* name to value, both decoded; never an empty value */
  gchar **environment;          /* as it was at the beginning */
  gchar *secret[ADA_SERVICE_SECRETS];   /* in the kind's order; NULL = not given */
  gchar *url;                   /* of a picture's request; configure() sets it */
  AdaHttp *http;
  gboolean renew;               /* see prepare(), after which it is FALSE */
  gchar *obtained;              /* ada_service_hide() */
  gpointer state;               /* the kind's own; read() finds it in its hints */
  GDestroyNotify free_state;
};

/** @uri begins with the kind's scheme. Errors: PIRL_ERROR_INVALID, _IO or _FORMAT; nothing of the
 * URI and no secret is in them, but the name of a credentials file that is one. */
AdaCloud *ada_service_new (const AdaServiceKind * kind, const gchar * uri, GError ** error);

/* ---- for configure() ------------------------------------------------------------------------ */

/** "the cloud's URI REASON; it should be FORM". Always FALSE. */
gboolean ada_service_invalid (AdaService * service, GError ** error, const gchar * reason);
/** NULL = not given. */
const gchar *ada_service_parameter (AdaService * service, const gchar * name);
/** Of the environment; NULL = not set. */
const gchar *ada_service_variable (AdaService * service, const gchar * name);
/** A parameter that is a number in @least..@most; @value stays where it is not given. */
gboolean ada_service_number (AdaService * service, const gchar * name, gdouble least, gdouble most,
    gdouble * value, GError ** error);
/** @base ("https://host[:port]", with or without a path) or, where there is one, the endpoint in
 * place of its scheme, host and port; then @path. NULL with an error: no http(s) URL with a host,
 * or one that has a user or password in it. Queries and fragments of @base are left out. */
gchar *ada_service_url (AdaService * service, const gchar * base, const gchar * path,
    GError ** error);

/* ---- for prepare() and write() -------------------------------------------------------------- */

/** For prepare()'s own messages (write() gets one): empty, to be cleared. */
void ada_message_init (AdaMessage * message);
/** Frees what it holds, not the structure itself. */
void ada_message_clear (AdaMessage * message);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AdaMessage, ada_message_clear)
/** Appends a line "Name: value", without its end. */
void ada_message_header (AdaMessage * message, const gchar * format, ...) G_GNUC_PRINTF (2, 3);
/** Appends @bytes to the body, with a reference of its own. */
void ada_message_bytes (AdaMessage * message, GBytes * bytes);
/** Appends @text (transfer full), without its final 0. */
void ada_message_text (AdaMessage * message, gchar * text);
/** Appends the base64 of @bytes, of which nothing is kept. */
void ada_message_base64 (AdaMessage * message, GBytes * bytes);

/** FALSE with %ADA_CLOUD_ERROR_REFUSED unless @size <= @most bytes and, where they are known, width
 * and height are both in @least_side..@most_side (0 = no limit). @size: what the limit is about. */
gboolean ada_service_check_picture (AdaService * service, const AdaRequest * request, gsize size,
    gsize most, gint least_side, gint most_side, GError ** error);

/** Sends @message as it is; TRUE when the status is 2xx: ada_http_body() has the answer. Otherwise
 * the error that status and read_error() say. */
gboolean ada_service_exchange (AdaService * service, const AdaMessage * message,
    AdaTraffic * traffic, GCancellable * cancellable, GError ** error);
/** A secret that was obtained on the way (a token), and replaces the one before: from now on in no
 * error and no preview. */
void ada_service_hide (AdaService * service, const gchar * secret);
/** @found, from a pure reader, with the address in front and without secrets; takes it. NULL does
 * nothing. */
void ada_service_explain (AdaService * service, GError * found, GError ** error);

G_END_DECLS
