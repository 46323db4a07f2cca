/* adacompressenc: reading JSON that somebody else wrote.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The parser below calls itself for every bracket and takes about 100 bytes a value, so depth and
 * number are bounded before it sees a byte. So are the sizes of objects: to replace a member it looks
 * through all of them, and 1 MB that repeats a name would take a minute. The getters answer NULL or
 * FALSE to what is missing or of another type.
 */
#pragma once

#include <json-glib/json-glib.h>

/** Strict JSON only. NULL with %PIRL_ERROR_FORMAT and the reason, as "it ..." ; transfer full. */
JsonNode *ada_json_parse (const gchar * data, gsize size, guint max_values, GError ** error);

/** @node itself when it is one; NULL-safe. */
JsonObject *ada_json_as_object (JsonNode * node);
JsonArray *ada_json_as_array (JsonNode * node);
/** UTF-8; NULL for anything else than a string. Owned by @node. */
const gchar *ada_json_as_string (JsonNode * node);
/** FALSE, and @number as it was, for what is no number. */
gboolean ada_json_as_number (JsonNode * node, gdouble * number);

/** The members of @object called @member, as above: NULL or FALSE where there is none of that kind. */
JsonObject *ada_json_object (JsonObject * object, const gchar * member);
JsonArray *ada_json_array (JsonObject * object, const gchar * member);
const gchar *ada_json_string (JsonObject * object, const gchar * member);
gboolean ada_json_number (JsonObject * object, const gchar * member, gdouble * number);

/** The beginning of any bytes as text for a message: valid, one line, at most @max characters. */
gchar *ada_excerpt (const gchar * data, gsize size, guint max);
