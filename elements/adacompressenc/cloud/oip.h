/* adacompressenc: the Open Inference Protocol's JSON, apart from the network.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * kserve/open-inference-protocol (inference_rest.md) with Triton's extensions for classification
 * and binary data. Errors are %ADA_CLOUD_ERROR_GARBAGE unless said otherwise.
 */
#pragma once

#include "cloud.h"

#define ADA_OIP_CLASSES 5

/** What must be known of a model before it can be asked. */
typedef struct {
  gchar *input, *output;        /* names; what is set already is kept */
  guint rank;                   /* of the input's shape */
} AdaOipModel;
void ada_oip_model_clear (AdaOipModel * model);

/** From the model's metadata: the input of type BYTES and the first output. A model that takes no
 * BYTES, or has no input or output of the name that is set: %ADA_CLOUD_ERROR_REFUSED. */
gboolean ada_oip_read_model (const gchar * data, gsize size, AdaOipModel * model, GError ** error);

/** The JSON in front of @jpeg_size bytes of picture (four bytes of length come between). */
gchar *ada_oip_write_request (const AdaOipModel * model, guint64 id, gsize jpeg_size);

/** The answer's labels, from "value:index[:label]" strings or from numbers, one a class. */
AdaAnswer *ada_oip_read_answer (const gchar * data, gsize size, const gchar * output,
    GError ** error);

/** The text of {"error": text}; NULL when it has none. */
gchar *ada_oip_read_error (const gchar * data, gsize size);
