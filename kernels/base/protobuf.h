/* gst-pirl: writing Protocol Buffers messages.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A message is bytes; each function appends one field to it. What the fields mean, a table of
 * numbers in the caller's file says. Encoding (protobuf.dev, "Encoding"): a field begins with the
 * varint (number << 3 | wire type); varints carry 7 bits a byte, lowest first; fixed numbers are
 * little-endian; strings, bytes and messages go behind their length.
 */
#pragma once

#include "base/base.h"

/** An integer, an enumeration or a bool; negative numbers as int64 do. */
void pirl_protobuf_int (GByteArray *message, guint field, gint64 value);
void pirl_protobuf_float (GByteArray *message, guint field, gfloat value);
void pirl_protobuf_double (GByteArray *message, guint field, gdouble value);
void pirl_protobuf_bytes (GByteArray *message, guint field, gconstpointer data,
    gsize size);
void pirl_protobuf_string (GByteArray *message, guint field, const gchar *text);
/** Appends @inner as a field of @message, and frees it. */
void pirl_protobuf_message (GByteArray *message, guint field, GByteArray *inner);
