/* adacompressenc: reading what vision services answer, apart from the network.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Pure functions of bytes that anybody may have written. Errors of read_answer: GARBAGE for what
 * cannot be understood, NO_ANSWER, BUSY (quota, throttling) and REFUSED (credentials, picture)
 * where the service says so in an answer. Errors' texts may repeat what was answered: the caller
 * takes secrets out (ada_service_explain()). The Open Inference Protocol's are in oip.h.
 */
#pragma once

#include "cloud.h"
#include "json.h"

G_BEGIN_DECLS

/* More than any service has; what is beyond is no answer to us. */
#define ADA_MAX_VALUES 200000
#define ADA_MAX_LABELS 4096

typedef struct {
  gconstpointer state;          /* in: the service's; NULL where there is none (fuzzers) */
  gboolean credentials_expired; /* out: prepare() shall renew, and the request is sent once more */
} AdaAnswerHints;

#define ADA_DECLARE_PARSERS(name) \
  AdaAnswer *ada_##name##_read_answer (const gchar * data, gsize size, AdaAnswerHints * hints, \
      GError ** error); \
  gchar *ada_##name##_read_error (const gchar * data, gsize size, AdaCloudError * code)

ADA_DECLARE_PARSERS (rekognition);
ADA_DECLARE_PARSERS (facepp);
ADA_DECLARE_PARSERS (baidu);
ADA_DECLARE_PARSERS (google);
ADA_DECLARE_PARSERS (azure);
ADA_DECLARE_PARSERS (torchserve);

/** Baidu's token and in how many seconds it expires. Errors: as of read_answer. */
gboolean ada_baidu_read_token (const gchar * data, gsize size, gchar ** token, gdouble * seconds,
    GError ** error);

/* ---- what they share ------------------------------------------------------------------------ */

/** Sets %ADA_CLOUD_ERROR_GARBAGE; always FALSE. */
gboolean ada_garbage (GError ** error, const gchar * format, ...) G_GNUC_PRINTF (2, 3);
/** The whole of @data as JSON; NULL with GARBAGE, "WHAT cannot be read: ...". */
JsonNode *ada_parse (const gchar * data, gsize size, const gchar * what, GError ** error);
/** The same, the object that it is; @root owns it. */
JsonObject *ada_parse_object (const gchar * data, gsize size, const gchar * what,
    JsonNode ** root, GError ** error);

/** Where the labels of a list are. */
typedef struct {
  const gchar *id, *text, *score;       /* members; @text may be NULL */
  gdouble full;                 /* the score that is certainty: 1 or 100 */
  const gchar *prefix;          /* of every id, or NULL */
  gboolean sparse;              /* members that are zero or empty are left out (protobuf) */
} AdaLabelFields;
/** Adds the objects of @list to @answer; what has an empty id is no label. GARBAGE: @list is NULL,
 * an element is no object, lacks a member or has one of another type, or there are more than
 * %ADA_MAX_LABELS. */
gboolean ada_read_labels (JsonArray * list, const AdaLabelFields * fields, AdaAnswer * answer,
    GError ** error);

/** The text or number called @member, as AdaAnswer's model_version; NULL = there is none. */
gchar *ada_read_version (JsonObject * object, const gchar * member);

/** A row says what a service means by a word in its errors. */
typedef struct {
  const gchar *word;            /* NULL ends the table */
  AdaCloudError code;
} AdaErrorWord;
/** The code of the row whose word @text begins with, else @otherwise; NULL-safe. */
AdaCloudError ada_error_of_word (const AdaErrorWord * words, const gchar * text,
    AdaCloudError otherwise);

G_END_DECLS
