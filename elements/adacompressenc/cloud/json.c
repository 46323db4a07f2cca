/* adacompressenc: reading JSON that somebody else wrote (see json.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "json.h"

#include <base/base.h>
#include <math.h>
#include <string.h>

#define MAX_DEPTH 32
/* The sum of 1 + 2 + ... + n over objects of n members. What may be long (200,000 values: an object
 * of 4,400) may be wide. */
#define MAX_WORK(max_values) MAX (10000000, (guint64) (max_values) * (max_values) / 4000)
#define EXCERPT 40

/* Outside of strings JSON has these characters and no others. The parser knows comments, single
 * quotes and assignments as well, behind which brackets could hide from the count. */
static const gchar outside[] = " \t\r\n{}[]:,-+.0123456789eEtrufalsn";

/* The number that \uXXXX at @data + @i stands for; -1 where there is no such escape. */
static gint
unicode_escape (const gchar * data, gsize size, gsize i)
{
  gint number = 0;

  if (size < 6 || i > size - 6 || data[i] != '\\' || data[i + 1] != 'u')
    return -1;
  for (gsize k = i + 2; k < i + 6; k++) {
    const gint digit = g_ascii_xdigit_value (data[k]);

    if (digit < 0)
      return -1;
    number = 16 * number + digit;
  }
  return number;
}

/* Bytes of the escape at @data + @i; 0 where JSON has no such: the parser takes octal numbers and
 * halves of pairs too, and what it makes of them is no UTF-8, in keys as in strings. */
static gsize
escape_length (const gchar * data, gsize size, gsize i)
{
  const gint code = unicode_escape (data, size, i);

  if (i + 1 < size && data[i + 1] && strchr ("\"\\/bfnrt", data[i + 1]))
    return 2;
  if (code <= 0 || (code & 0xfc00) == 0xdc00)
    return 0;
  if ((code & 0xfc00) != 0xd800)
    return 6;
  /* The lower half of a pair has to follow: -1 has other bits, too. */
  return (unicode_escape (data, size, i + 6) & ~0x3ff) == 0xdc00 ? 12 : 0;
}

/* NULL, or what is wrong. */
static const gchar *
check (const gchar * data, gsize size, guint max_values)
{
  guint depth = 0, values = 1, members[MAX_DEPTH + 2] = { 0 };
  guint64 work = 0;
  gboolean string = FALSE;

  for (gsize i = 0; i < size; i++) {
    const gchar c = data[i];
    const gsize escape = string && c == '\\' ? escape_length (data, size, i) : 1;

    if (c == '\0')
      return "has a byte 0";
    if (escape == 0)
      return "has an escape in a string that JSON does not know";
    if (escape > 1)
      i += escape - 1;
    else if (c == '"')
      string = !string;
    else if (string)
      continue;
    else if (!strchr (outside, c))
      return "is not JSON";
    else if (c == '[' || c == '{')
      members[++depth] = 0, values++;
    else if ((c == ']' || c == '}') && depth > 0)
      depth--;
    else if (c == ':')
      work += ++members[depth];
    else if (c == ',')
      values++;
    if (depth > MAX_DEPTH)
      return "is nested too deeply";
    if (values > max_values)
      return "has too many values";
    if (work > MAX_WORK (max_values))
      return "has too many members in an object";
  }
  return depth || string ? "ends in the middle" : NULL;
}

JsonNode *
ada_json_parse (const gchar * data, gsize size, guint max_values, GError ** error)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  const gchar *wrong = size ? check (data, size, max_values) : "is empty";
  JsonNode *root = NULL;

  if (!wrong && (size > G_MAXSSIZE
          || !json_parser_load_from_data (parser, data, (gssize) size, NULL)
          || !(root = json_parser_steal_root (parser))))
    wrong = "is not JSON";
  if (wrong) {
    g_autofree gchar *excerpt = ada_excerpt (data, size, EXCERPT);

    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "it %s (%" G_GSIZE_FORMAT
        " bytes that begin with \"%s\")", wrong, size, excerpt);
    return NULL;
  }
  return root;
}

JsonObject *
ada_json_as_object (JsonNode * node)
{
  return node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

JsonArray *
ada_json_as_array (JsonNode * node)
{
  return node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

const gchar *
ada_json_as_string (JsonNode * node)
{
  if (!node || !JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_STRING)
    return NULL;
  return json_node_get_string (node);
}

gboolean
ada_json_as_number (JsonNode * node, gdouble * number)
{
  gdouble value;

  if (!node || !JSON_NODE_HOLDS_VALUE (node))
    return FALSE;
  if (json_node_get_value_type (node) == G_TYPE_INT64)
    value = (gdouble) json_node_get_int (node);
  else if (json_node_get_value_type (node) == G_TYPE_DOUBLE)
    value = json_node_get_double (node);
  else
    return FALSE;
  if (!isfinite (value))        /* 1e999 */
    return FALSE;
  *number = value;
  return TRUE;
}

static JsonNode *
member_of (JsonObject * object, const gchar * member)
{
  return object ? json_object_get_member (object, member) : NULL;
}

JsonObject *
ada_json_object (JsonObject * object, const gchar * member)
{
  return ada_json_as_object (member_of (object, member));
}

JsonArray *
ada_json_array (JsonObject * object, const gchar * member)
{
  return ada_json_as_array (member_of (object, member));
}

const gchar *
ada_json_string (JsonObject * object, const gchar * member)
{
  return ada_json_as_string (member_of (object, member));
}

gboolean
ada_json_number (JsonObject * object, const gchar * member, gdouble * number)
{
  return ada_json_as_number (member_of (object, member), number);
}

gchar *
ada_excerpt (const gchar * data, gsize size, guint max)
{
  g_autofree gchar *bytes = g_strndup (size ? data : "", MIN (size, 4 * (gsize) max));
  g_autofree gchar *valid = g_utf8_make_valid (bytes, -1);
  gchar *text = g_utf8_substring (valid, 0, MIN (max, g_utf8_strlen (valid, -1)));

  for (gchar * c = text; *c; c++)
    if (g_ascii_iscntrl (*c))
      *c = ' ';
  return g_strstrip (text);
}
