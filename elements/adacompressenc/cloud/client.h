/* adacompressenc: asking a cloud without ever waiting for it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Inquiries (a reference and its trials) wait in a bounded queue for one worker. Each request has a
 * time limit; what is retryable is retried with jittered exponential back-off; after several failures
 * in a row the circuit breaker opens and nothing is sent until a single probe succeeds.
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

typedef struct {
  guint timeout;                /* ms a request; 5000 */
  guint queue;                  /* inquiries waiting, 4 */
  guint retries;                /* of one request, 2 */
  guint backoff, backoff_max;   /* ms: 200, doubled to 30000, each drawn from (half, whole) */
  guint breaker;                /* failures in a row that open it, 5 */
} AdaClientConfig;
/** The values beside the fields above. */
void ada_client_config_defaults (AdaClientConfig * config);

/** A request is one attempt, and ends as one of answered, no_answers, errors, timeouts; retries says
 * how many of them were repeats. Inquiries not taken are dropped. */
typedef struct {
  guint64 requests, answered, no_answers, errors, timeouts, retries, dropped;
  guint64 sent, received;       /* bytes on the wire */
  gboolean open;                /* the breaker */
  gchar last_error[256];
} AdaClientStats;

typedef struct _AdaClient AdaClient;
/** Takes a reference on @cloud. The worker runs at a lower priority than the stream. */
AdaClient *ada_client_new (AdaCloud * cloud, const AdaClientConfig * config);
/** Cancels what is under way (within 100 ms for our own clouds), calls done() for what waits. A cloud
 * that does not return within 750 ms is left behind with its thread: done() is then called from here. */
void ada_client_free (AdaClient * client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaClient, ada_client_free)
/** TRUE when an inquiry would be taken. */
gboolean ada_client_ready (AdaClient * client);
/** Transfer full in every case; FALSE (and @inquiry freed, done() not called): queue full, or breaker
 * open. Never blocks. */
gboolean ada_client_submit (AdaClient * client, AdaInquiry * inquiry);
/** Waits until nothing is queued or under way, or @timeout ms; for EOS of files and for tests. */
gboolean ada_client_drain (AdaClient * client, guint timeout);
/** A snapshot; any thread. */
void ada_client_stats (AdaClient * client, AdaClientStats * stats);

G_END_DECLS
