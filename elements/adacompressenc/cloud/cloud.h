/* adacompressenc: a cloud: whoever says what a picture shows.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A cloud implements classify(), called on a worker thread, one picture at a time, blocking until
 * there is an answer, an error, or a cancellation. Time limits, the bounded queue, retries and the
 * circuit breaker are the client's (client.h), the same for all clouds.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

typedef struct {
  gchar *id;                    /* stable: what is compared ("/m/0bt9lr", "207"); never NULL */
  gchar *text;                  /* for people; may be NULL */
  gdouble score;                /* 0..1 */
} AdaLabel;

typedef struct {
  GArray *labels;               /* AdaLabel, best first, no id twice */
  gchar *model_version;         /* may be NULL */
  gsize sent, received;         /* bytes on the wire, headers and base64 included (local: the JPEG's) */
} AdaAnswer;
/** Without labels. */
AdaAnswer *ada_answer_new (void);
/** NULL is ignored. */
void ada_answer_free (AdaAnswer * answer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaAnswer, ada_answer_free)
/** Appends a label; an id that is there already keeps its better score. */
void ada_answer_add (AdaAnswer * answer, const gchar * id, const gchar * text, gdouble score);
/** Best first, stable. */
void ada_answer_sort (AdaAnswer * answer);

typedef enum { ADA_AGREEMENT_TOP1_IN_TOP5, ADA_AGREEMENT_TOP5_OVERLAP, ADA_AGREEMENT_TOP1 } AdaAgreement;
/** 0..1; negative = the reference has no label, nothing can be said. */
gdouble ada_agreement (AdaAgreement mode, const AdaAnswer * reference, const AdaAnswer * answer);

/** What one attempt cost, also where it failed. */
typedef struct {
  gsize sent, received;         /* bytes on the wire */
  guint retry_after;            /* ms that the service asked us to stay away; 0 = not said */
} AdaTraffic;

typedef struct {
  guint64 id;                   /* of the frame */
  const gchar *name;            /* the sample's, or NULL */
  gint quality;
  gboolean reference;
  gint width, height;
  GBytes *jpeg;
  AdaTraffic *traffic;          /* out; the caller may leave it NULL, a cloud always finds it set */
} AdaRequest;

/**
 * AdaCloudError:
 * @ADA_CLOUD_ERROR_NO_ANSWER: it says nothing of this picture (a missing recording, the application
 *   declines): no failure, no retry. "I see no object" is an answer, one without labels
 * @ADA_CLOUD_ERROR_BUSY: come back later (429, 503): retried
 * @ADA_CLOUD_ERROR_NETWORK: not reached, or cut off: retried
 * @ADA_CLOUD_ERROR_REFUSED: credentials, picture or model refused (4xx): not retried
 * @ADA_CLOUD_ERROR_GARBAGE: an answer that cannot be understood: not retried
 * @ADA_CLOUD_ERROR_TIMEOUT: no answer in time: retried
 * @ADA_CLOUD_ERROR_OPEN: the circuit breaker is open; nothing was sent
 */
typedef enum {
  ADA_CLOUD_ERROR_NO_ANSWER, ADA_CLOUD_ERROR_BUSY, ADA_CLOUD_ERROR_NETWORK, ADA_CLOUD_ERROR_REFUSED,
  ADA_CLOUD_ERROR_GARBAGE, ADA_CLOUD_ERROR_TIMEOUT, ADA_CLOUD_ERROR_OPEN,
} AdaCloudError;
#define ADA_CLOUD_ERROR (ada_cloud_error_quark ())
GQuark ada_cloud_error_quark (void);

/** What a request would be, for people: secrets are "***". */
typedef struct {
  gchar *method, *url;          /* NULL: a cloud without a wire (local, replay, the application) */
  gchar **headers;              /* "Name: value", those that libcurl adds by itself left out */
  gsize body;                   /* bytes */
} AdaPreview;
/** Frees what it holds, not the structure itself. */
void ada_preview_clear (AdaPreview * preview);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AdaPreview, ada_preview_clear)

#define ADA_TYPE_CLOUD (ada_cloud_get_type ())
G_DECLARE_INTERFACE (AdaCloud, ada_cloud, ADA, CLOUD, GObject)

struct _AdaCloudInterface {
  GTypeInterface parent;
  /* Blocks; returns soon after @cancellable is cancelled. */
  AdaAnswer *(*classify) (AdaCloud * cloud, const AdaRequest * request, GCancellable * cancellable,
      GError ** error);
  /* FALSE where it cannot say anything of (name, quality): recordings. NULL = it always can. */
  gboolean (*knows) (AdaCloud * cloud, const gchar * name, gint quality);
  /* See ada_cloud_preview(); NULL = this cloud has no wire. */
  gboolean (*preview) (AdaCloud * cloud, const AdaRequest * request, AdaPreview * preview,
      GError ** error);
};

/** @uri: "local:MODEL.safetensors", "replay:FILE.json[#SERVICE]", or a service's: "oip+http://...",
 * "rekognition:REGION", ... NULL with an error (PIRL_ERROR_INVALID, ...) that lists the known forms;
 * no credentials in any text. @n_threads, @device: for local models. */
AdaCloud *ada_cloud_new (const gchar * uri, const gchar * device, guint n_threads, GError ** error);
/** As the interface has it: blocks; transfer full, NULL with an #AdaCloudError. */
AdaAnswer *ada_cloud_classify (AdaCloud * cloud, const AdaRequest * request,
    GCancellable * cancellable, GError ** error);
/** What classify() would send for @request, without sending anything and without asking for tokens
 * first; on the thread that calls classify(). FALSE with an #AdaCloudError where it would not be
 * sent (a picture too large). */
gboolean ada_cloud_preview (AdaCloud * cloud, const AdaRequest * request, AdaPreview * preview,
    GError ** error);
/** FALSE where it is known beforehand that nothing can be said of (@name, @quality). */
gboolean ada_cloud_knows (AdaCloud * cloud, const gchar * name, gint quality);

/** The application as the cloud: @ask is called on the worker (the element emits `classify`), and the
 * answer comes by ada_application_cloud_answer() from any thread, later or at once. An @ask that does
 * not return cannot be cancelled: @user_data must live until it does. */
typedef void (*AdaAskFunc) (const AdaRequest * request, gpointer user_data);
AdaCloud *ada_application_cloud_new (AdaAskFunc ask, gpointer user_data);
/** @labels: best first, NULL-terminated; NULL = no answer. FALSE when nobody waits for (@id, @quality). */
gboolean ada_application_cloud_answer (AdaCloud * cloud, guint64 id, gint quality,
    const gchar * const *labels);

G_END_DECLS
