/* adacompressenc: asking a cloud without ever waiting for it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inquiries (a reference and its trials) wait in a bounded queue for one worker. Each request has a
 * time limit; what is retryable is retried with jittered exponential back-off; after several failures
 * in a row the circuit breaker opens and nothing is sent until a single probe succeeds.
 *
 * Uploads (one picture, for its own labels) share the worker: where both wait, they take turns, an
 * upload, then an inquiry, so that neither starves. Of uploads only the newest waits.
 *
 * A request is one picture sent once: a retry is another one, what a service sends beside pictures
 * (tokens, the model's metadata) is none. Limits hold for inquiries, retries and uploads together.
 */
#pragma once

#include "cloud.h"

G_BEGIN_DECLS

#define ADA_MAX_ASKED 9

/** One frame's questions. Made by the caller, freed by the client with @free after @done. */
typedef struct _AdaInquiry AdaInquiry;
struct _AdaInquiry {
  guint64 id;
  gchar *name;                  /* may be NULL */
  gint width, height;
  guint n;
  gint quality[ADA_MAX_ASKED];  /* [0] is the reference; without its answer, or when that has no label,
                                 * the others are not sent */
  /* On the worker: the JPEG of quality[i]; transfer full. */
  GBytes *(*encode) (AdaInquiry * inquiry, guint i, GError ** error);
  /* On the worker, once, always: answer[i] NULL = none. @sent, @received: of all attempts. @error: of the
   * reference, or of the last trial that failed; NULL = all answered. */
  void (*done) (AdaInquiry * inquiry, AdaAnswer * const *answer, gsize sent, gsize received,
      const GError * error);
  void (*free) (AdaInquiry * inquiry);
};

/** Something that who watches the stream should know. */
typedef enum {
  ADA_CLIENT_OPEN,              /* the breaker opened, or a probe failed: a pause */
  ADA_CLIENT_CLOSED,            /* the service answers again */
  ADA_CLIENT_EXHAUSTED,         /* the last of so many requests was sent; told once */
} AdaClientState;

/** On the worker, without locks; each may be NULL. */
typedef struct {
  /* @retry_in: ms until the next probe; @reason: the last error, "" = none. */
  void (*state) (AdaClientState state, guint retry_in, const gchar * reason, gpointer user_data);
  /* Of a dry run: @preview of what @request would be, or NULL with the @error that forbids it. */
  void (*would_send) (const AdaRequest * request, const AdaPreview * preview, const GError * error,
      gpointer user_data);
  gpointer user_data;
} AdaClientEvents;

typedef struct {
  guint timeout;                /* ms a request; 5000 */
  guint queue;                  /* inquiries waiting, 4 */
  guint retries;                /* of one request, 2 */
  guint backoff, backoff_max;   /* ms: 200, doubled to 30000, each drawn from (half, whole) */
  guint breaker;                /* failures in a row that open it, 5 */
  guint per_minute;             /* requests, at most, in any minute; 0 = no limit */
  guint64 most;                 /* requests in all; 0 = no limit */
  gboolean dry_run;             /* nothing is sent: would_send() is told, and there is no answer */
  AdaClientEvents events;
} AdaClientConfig;
/** The values beside the fields above. */
void ada_client_config_defaults (AdaClientConfig * config);

/** A request is one attempt, and ends as one of answered, no_answers, errors, timeouts, or is cut
 * off by the end; retries says how many of them were repeats. Inquiries not taken are dropped. An
 * upload that was submitted is one of uploads (sent, under way, or waiting), or dropped. */
typedef struct {
  guint64 requests, answered, no_answers, errors, timeouts, retries, dropped;
  guint64 sent, received;       /* bytes on the wire */
  guint64 uploads, uploads_answered, uploads_dropped;
  guint64 upload_bytes;         /* of sent and received together */
  guint64 dry;                  /* requests of a dry run; none of them is one of requests */
  gboolean open;                /* the breaker */
  guint retry_in;               /* ms until it lets a probe through */
  gboolean exhausted;           /* config.most was reached */
  gchar last_error[256];
} AdaClientStats;

typedef struct _AdaClient AdaClient;
/** Takes a reference on @cloud. The worker runs at a lower priority than the stream. */
AdaClient *ada_client_new (AdaCloud * cloud, const AdaClientConfig * config);
/** Cancels what is under way (within 100 ms for our own clouds), calls done() for what waits. A
 * cloud that does not return within 750 ms is left behind with its thread: done() is then called
 * from here. Nothing is taken any more; the statistics can still be read. */
void ada_client_stop (AdaClient * client);
/** Stops it, if nobody did. */
void ada_client_free (AdaClient * client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaClient, ada_client_free)
/** TRUE when an inquiry of two pictures would be taken. */
gboolean ada_client_ready (AdaClient * client);
/** How many pictures an inquiry may have, for all that was promised before it; at most
 * %ADA_MAX_ASKED. */
guint ada_client_left (AdaClient * client);
/** Transfer full in every case; FALSE (and @inquiry freed, done() not called): queue full, breaker
 * open, or more pictures than requests are left: what cannot be sent whole is not begun. Never
 * blocks. */
gboolean ada_client_submit (AdaClient * client, AdaInquiry * inquiry);
/** The same for one picture that is no estimate. It takes the place of an upload that still waits,
 * which is freed, done() not called. */
gboolean ada_client_upload (AdaClient * client, AdaInquiry * inquiry);
/** Waits until nothing is queued or under way, or @timeout ms; for EOS of files and for tests. Does not wait
 * for requests that max_requests_per_minute keeps back for longer. */
gboolean ada_client_drain (AdaClient * client, guint timeout);
/** A snapshot; any thread. */
void ada_client_stats (AdaClient * client, AdaClientStats * stats);

G_END_DECLS
