/* gst-pirl: writing Protocol Buffers messages (see protobuf.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/protobuf.h"

#include <string.h>

typedef enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LENGTH = 2, WIRE_FIXED32 = 5 } Wire;

static void
append_varint (GByteArray *message, guint64 value)
{
  guint8 bytes[10];
  guint n = 0;

  for (; value > 0x7f; value >>= 7)
    bytes[n++] = (guint8) (value | 0x80);
  bytes[n++] = (guint8) value;
  g_byte_array_append (message, bytes, n);
}

static void
append_tag (GByteArray *message, guint field, Wire wire)
{
  append_varint (message, (guint64) field << 3 | wire);
}

void
pirl_protobuf_int (GByteArray *message, guint field, gint64 value)
{
  append_tag (message, field, WIRE_VARINT);
  append_varint (message, (guint64) value);
}

void
pirl_protobuf_float (GByteArray *message, guint field, gfloat value)
{
  guint32 bits;

  memcpy (&bits, &value, sizeof bits);
  bits = GUINT32_TO_LE (bits);
  append_tag (message, field, WIRE_FIXED32);
  g_byte_array_append (message, (const guint8 *) &bits, sizeof bits);
}

void
pirl_protobuf_double (GByteArray *message, guint field, gdouble value)
{
  guint64 bits;

  memcpy (&bits, &value, sizeof bits);
  bits = GUINT64_TO_LE (bits);
  append_tag (message, field, WIRE_FIXED64);
  g_byte_array_append (message, (const guint8 *) &bits, sizeof bits);
}

void
pirl_protobuf_bytes (GByteArray *message, guint field, gconstpointer data, gsize size)
{
  append_tag (message, field, WIRE_LENGTH);
  append_varint (message, size);
  if (size > 0)
    g_byte_array_append (message, data, (guint) size);
}

void
pirl_protobuf_string (GByteArray *message, guint field, const gchar *text)
{
  pirl_protobuf_bytes (message, field, text, strlen (text));
}

void
pirl_protobuf_message (GByteArray *message, guint field, GByteArray *inner)
{
  pirl_protobuf_bytes (message, field, inner->data, inner->len);
  g_byte_array_unref (inner);
}
