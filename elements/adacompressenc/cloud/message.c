/* adacompressenc: writing a request to a service, piece by piece (see service.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "service.h"

#include <string.h>

void
ada_message_init (AdaMessage * message)
{
  *message = (AdaMessage) {
    .headers = g_ptr_array_new_with_free_func (g_free),
    .body = g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref),
  };
}

void
ada_message_clear (AdaMessage * message)
{
  g_clear_pointer (&message->url, g_free);
  g_clear_pointer (&message->headers, g_ptr_array_unref);
  g_clear_pointer (&message->body, g_ptr_array_unref);
  g_clear_pointer (&message->sigv4, g_free);
}

void
ada_message_header (AdaMessage * message, const gchar * format, ...)
{
  va_list args;

  va_start (args, format);
  g_ptr_array_add (message->headers, g_strdup_vprintf (format, args));
  va_end (args);
}

void
ada_message_bytes (AdaMessage * message, GBytes * bytes)
{
  g_ptr_array_add (message->body, g_bytes_ref (bytes));
}

void
ada_message_text (AdaMessage * message, gchar * text)
{
  g_ptr_array_add (message->body, g_bytes_new_take (text, strlen (text)));
}

void
ada_message_base64 (AdaMessage * message, GBytes * bytes)
{
  gsize size;
  const guchar *data = g_bytes_get_data (bytes, &size);

  ada_message_text (message, g_base64_encode (data, size));
}
