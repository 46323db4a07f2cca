/* adacompressenc: what the readers of services' answers share (see parsers.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "parsers.h"

#include <string.h>

#define VERSION_LENGTH 40

gboolean
ada_garbage (GError ** error, const gchar * format, ...)
{
  va_list args;

  va_start (args, format);
  if (error)
    *error = g_error_new_valist (ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_GARBAGE, format, args);
  va_end (args);
  return FALSE;
}

JsonNode *
ada_parse (const gchar * data, gsize size, const gchar * what, GError ** error)
{
  g_autoptr (GError) reason = NULL;
  JsonNode *root = ada_json_parse (data, size, ADA_MAX_VALUES, &reason);

  if (!root)
    ada_garbage (error, "%s cannot be read: %s", what, reason->message);
  return root;
}

JsonObject *
ada_parse_object (const gchar * data, gsize size, const gchar * what, JsonNode ** root,
    GError ** error)
{
  JsonObject *object;

  *root = ada_parse (data, size, what, error);
  object = ada_json_as_object (*root);
  if (*root && !object)
    ada_garbage (error, "%s is no JSON object", what);
  return object;
}

/* ---- labels --------------------------------------------------------------------------------- */

/* One label; what is left out of a sparse answer is "" or 0. */
static gboolean
read_label (JsonObject * object, const AdaLabelFields * fields, AdaAnswer * answer)
{
  const gchar *id = ada_json_string (object, fields->id);
  const gchar *text = fields->text ? ada_json_string (object, fields->text) : NULL;
  g_autofree gchar *whole = NULL;
  gdouble score = 0;

  if (!id && fields->sparse && !json_object_has_member (object, fields->id))
    id = "";
  if (!id)
    return FALSE;
  if (!ada_json_number (object, fields->score, &score)
      && !(fields->sparse && !json_object_has_member (object, fields->score)))
    return FALSE;
  whole = g_strconcat (fields->prefix ? fields->prefix : "", id, NULL);
  if (*id)
    ada_answer_add (answer, whole, text, score / fields->full);
  return TRUE;
}

gboolean
ada_read_labels (JsonArray * list, const AdaLabelFields * fields, AdaAnswer * answer,
    GError ** error)
{
  const guint n = list ? json_array_get_length (list) : 0;

  if (!list)
    return ada_garbage (error, "the answer has no list of labels");
  if (n > ADA_MAX_LABELS)
    return ada_garbage (error, "the answer has %u labels; at most %d are believed", n,
        ADA_MAX_LABELS);
  for (guint i = 0; i < n; i++) {
    JsonObject *object = ada_json_as_object (json_array_get_element (list, i));

    if (!object || !read_label (object, fields, answer))
      return ada_garbage (error, "label %u of the answer is no object with \"%s\" (text) and "
          "\"%s\" (number)", i, fields->id, fields->score);
  }
  return TRUE;
}

gchar *
ada_read_version (JsonObject * object, const gchar * member)
{
  const gchar *version = ada_json_string (object, member);
  gdouble number;

  if (version)
    return ada_excerpt (version, strlen (version), VERSION_LENGTH);
  return ada_json_number (object, member, &number) ? g_strdup_printf ("%g", number) : NULL;
}

/* ---- errors --------------------------------------------------------------------------------- */

AdaCloudError
ada_error_of_word (const AdaErrorWord * words, const gchar * text, AdaCloudError otherwise)
{
  for (; text && words->word; words++)
    if (g_str_has_prefix (text, words->word))
      return words->code;
  return otherwise;
}
