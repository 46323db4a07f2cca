/* adacompressenc: the Open Inference Protocol's JSON (see oip.h).
 *
 * A server that knows the classification extension answers {"data": ["0.84:207:golden retriever",
 * ...]}, one that does not gives a number a class, of which the five greatest are taken here. Values
 * that are no probabilities become some by softmax over what came.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "oip.h"
#include "parsers.h"

#include <math.h>
#include <string.h>

#define MAX_RANK 8
#define EXCERPT 40

/* One class of an answer. */
typedef struct {
  gdouble value;
  guint64 index;
  const gchar *label;           /* may be NULL */
} Class;

void
ada_oip_model_clear (AdaOipModel * model)
{
  g_clear_pointer (&model->input, g_free);
  g_clear_pointer (&model->output, g_free);
}

/* ---- the model ------------------------------------------------------------------------------ */

/* The entry of @tensors called @name, or, without a name, the first whose datatype is @datatype
 * (NULL = any). */
static JsonObject *
find_tensor (JsonArray * tensors, const gchar * name, const gchar * datatype)
{
  for (guint i = 0; tensors && i < json_array_get_length (tensors); i++) {
    JsonObject *tensor = ada_json_as_object (json_array_get_element (tensors, i));
    const gchar *its_name = ada_json_string (tensor, "name");

    if (its_name && (name ? g_strcmp0 (its_name, name) == 0
            : !datatype || g_strcmp0 (ada_json_string (tensor, "datatype"), datatype) == 0))
      return tensor;
  }
  return NULL;
}

static gboolean
read_input (JsonObject * metadata, AdaOipModel * model, GError ** error)
{
  JsonArray *inputs = ada_json_array (metadata, "inputs");
  JsonObject *input = find_tensor (inputs, model->input, "BYTES");
  JsonArray *shape = ada_json_array (input, "shape");

  if (!inputs || json_array_get_length (inputs) == 0)
    return ada_garbage (error, "the model's metadata lists no inputs");
  if (!input || g_strcmp0 (ada_json_string (input, "datatype"), "BYTES") != 0) {
    g_autofree gchar *wanted = model->input ? ada_excerpt (model->input, strlen (model->input),
        EXCERPT) : NULL;

    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED, "the model has no input%s%s of "
        "type BYTES, so it takes no JPEG; put a decoding step in front of it (an ensemble)",
        wanted ? " " : "", wanted ? wanted : "");
    return FALSE;
  }
  model->rank = shape ? json_array_get_length (shape) : 1;
  if (model->rank < 1 || model->rank > MAX_RANK)
    return ada_garbage (error, "the model's input has %u dimensions", model->rank);
  if (!model->input)
    model->input = g_strdup (ada_json_string (input, "name"));
  return TRUE;
}

gboolean
ada_oip_read_model (const gchar * data, gsize size, AdaOipModel * model, GError ** error)
{
  g_autoptr (JsonNode) root = NULL;
  JsonObject *metadata = ada_parse_object (data, size, "the model's metadata", &root, error);
  JsonArray *outputs = ada_json_array (metadata, "outputs");
  JsonObject *output = find_tensor (outputs, model->output, NULL);

  if (!metadata || !read_input (metadata, model, error))
    return FALSE;
  if (!outputs || json_array_get_length (outputs) == 0)
    return ada_garbage (error, "the model's metadata lists no outputs");
  if (!output) {
    g_set_error_literal (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED,
        "the model has no output of the name that the URI asks for");
    return FALSE;
  }
  if (!model->output)
    model->output = g_strdup (ada_json_string (output, "name"));
  return TRUE;
}

/* ---- the request ---------------------------------------------------------------------------- */

static void
add_int (JsonBuilder * builder, const gchar * member, gint64 value)
{
  json_builder_set_member_name (builder, member);
  json_builder_add_int_value (builder, value);
}

static void
add_string (JsonBuilder * builder, const gchar * member, const gchar * value)
{
  json_builder_set_member_name (builder, member);
  json_builder_add_string_value (builder, value);
}

static void
add_input (JsonBuilder * builder, const AdaOipModel * model, gsize jpeg_size)
{
  json_builder_set_member_name (builder, "inputs");
  json_builder_begin_array (builder);
  json_builder_begin_object (builder);
  add_string (builder, "name", model->input);
  json_builder_set_member_name (builder, "shape");
  json_builder_begin_array (builder);
  for (guint i = 0; i < model->rank; i++)
    json_builder_add_int_value (builder, 1);
  json_builder_end_array (builder);
  add_string (builder, "datatype", "BYTES");
  json_builder_set_member_name (builder, "parameters");
  json_builder_begin_object (builder);
  add_int (builder, "binary_data_size", (gint64) (jpeg_size + sizeof (guint32)));
  json_builder_end_object (builder);
  json_builder_end_object (builder);
  json_builder_end_array (builder);
}

static void
add_output (JsonBuilder * builder, const AdaOipModel * model)
{
  json_builder_set_member_name (builder, "outputs");
  json_builder_begin_array (builder);
  json_builder_begin_object (builder);
  add_string (builder, "name", model->output);
  json_builder_set_member_name (builder, "parameters");
  json_builder_begin_object (builder);
  add_int (builder, "classification", ADA_OIP_CLASSES);
  json_builder_set_member_name (builder, "binary_data");
  json_builder_add_boolean_value (builder, FALSE);
  json_builder_end_object (builder);
  json_builder_end_object (builder);
  json_builder_end_array (builder);
}

gchar *
ada_oip_write_request (const AdaOipModel * model, guint64 id, gsize jpeg_size)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autofree gchar *name = g_strdup_printf ("%" G_GUINT64_FORMAT, id);
  g_autoptr (JsonNode) root = NULL;

  json_builder_begin_object (builder);
  add_string (builder, "id", name);
  add_input (builder, model, jpeg_size);
  add_output (builder, model);
  json_builder_end_object (builder);
  root = json_builder_get_root (builder);
  return json_to_string (root, FALSE);
}

/* ---- the answer ----------------------------------------------------------------------------- */

/* "0.84:207:golden retriever"; the label may be missing, and may have colons. @text must live as
 * long as @entry. */
static gboolean
read_class (const gchar * text, Class * entry)
{
  gchar *end, *index_end;

  entry->value = g_ascii_strtod (text, &end);
  if (end == text || *end != ':' || !isfinite (entry->value) || !g_ascii_isdigit (end[1]))
    return FALSE;
  entry->index = g_ascii_strtoull (end + 1, &index_end, 10);
  if (*index_end != '\0' && *index_end != ':')
    return FALSE;
  entry->label = *index_end == ':' && index_end[1] ? index_end + 1 : NULL;
  return TRUE;
}

/* All elements of @data, in order, whatever its nesting (which is bounded). A number is the class of
 * its place. */
static gboolean
read_classes (JsonArray * data, GArray * classes, GError ** error)
{
  for (guint i = 0; i < json_array_get_length (data); i++) {
    JsonNode *node = json_array_get_element (data, i);
    JsonArray *inner = ada_json_as_array (node);
    const gchar *text = ada_json_as_string (node);
    Class entry = { 0, classes->len, NULL };

    if (inner) {
      if (!read_classes (inner, classes, error))
        return FALSE;
      continue;
    }
    if (text && !read_class (text, &entry)) {
      g_autofree gchar *excerpt = ada_excerpt (text, strlen (text), EXCERPT);

      return ada_garbage (error, "\"%s\" is no class; value:index or value:index:label is",
          excerpt);
    }
    if (!text && !ada_json_as_number (node, &entry.value))
      return ada_garbage (error, "element %u of the output is neither a class nor a finite number",
          classes->len);
    g_array_append_val (classes, entry);
  }
  return TRUE;
}

/* Softmax, unless they are probabilities already. */
static void
make_probabilities (GArray * classes)
{
  gdouble least = 0, greatest = -G_MAXDOUBLE, sum = 0;

  for (guint i = 0; i < classes->len; i++) {
    const gdouble value = g_array_index (classes, Class, i).value;

    least = MIN (least, value);
    greatest = MAX (greatest, value);
  }
  if (least >= 0 && greatest <= 1)
    return;
  for (guint i = 0; i < classes->len; i++)
    sum += exp (g_array_index (classes, Class, i).value - greatest);
  for (guint i = 0; i < classes->len; i++) {
    Class *entry = &g_array_index (classes, Class, i);

    entry->value = exp (entry->value - greatest) / sum;
  }
}

static gint
compare_classes (gconstpointer a, gconstpointer b)
{
  const gdouble x = ((const Class *) a)->value, y = ((const Class *) b)->value;

  return (x < y) - (x > y);
}

static AdaAnswer *
answer_of (GArray * classes)
{
  AdaAnswer *answer = ada_answer_new ();

  /* Sorted before softmax, which may round two values to one. */
  g_array_sort (classes, compare_classes);
  make_probabilities (classes);
  for (guint i = 0; i < MIN (ADA_OIP_CLASSES, classes->len); i++) {
    const Class *entry = &g_array_index (classes, Class, i);
    g_autofree gchar *id = g_strdup_printf ("%" G_GUINT64_FORMAT, entry->index);

    ada_answer_add (answer, id, entry->label, entry->value);
  }
  return answer;
}

AdaAnswer *
ada_oip_read_answer (const gchar * data, gsize size, const gchar * output, GError ** error)
{
  g_autoptr (JsonNode) root = NULL;
  g_autoptr (GArray) classes = g_array_new (FALSE, FALSE, sizeof (Class));
  JsonObject *object = ada_parse_object (data, size, "the answer", &root, error);
  JsonArray *outputs = ada_json_array (object, "outputs");
  JsonObject *tensor = find_tensor (outputs, output, NULL);
  JsonArray *values = ada_json_array (tensor, "data");
  AdaAnswer *answer;

  if (!object)
    return NULL;
  if (!values) {
    ada_garbage (error, "the answer has no \"%s\" with data", tensor ? "output" : "outputs");
    return NULL;
  }
  if (!read_classes (values, classes, error))
    return NULL;
  answer = answer_of (classes);
  /* Text by the protocol; some servers write a number. */
  answer->model_version = ada_read_version (object, "model_version");
  return answer;
}

gchar *
ada_oip_read_error (const gchar * data, gsize size)
{
  g_autoptr (JsonNode) root = ada_json_parse (data, size, ADA_MAX_VALUES, NULL);

  return g_strdup (ada_json_string (ada_json_as_object (root), "error"));
}
