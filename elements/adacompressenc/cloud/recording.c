/* adacompressenc: what a service once said, from a file (see recording.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "recording.h"
#include "json.h"

#include <base/base.h>
#include <string.h>

#define MAX_VALUES 20000000
#define EXCERPT 60

/* One picture at one quality. */
typedef struct {
  AdaAnswer *answer;            /* NULL: the service failed */
  gchar *failure;
} Cell;

struct _AdaRecording {
  gchar *service;
  GHashTable *pictures;         /* name -> (quality -> Cell) */
  GHashTable *last_parts;       /* last component -> the picture's table; NULL where several end so */
};

static void
cell_free (gpointer data)
{
  Cell *cell = data;

  ada_answer_free (cell->answer);
  g_free (cell->failure);
  g_free (cell);
}

void
ada_recording_free (AdaRecording * recording)
{
  if (!recording)
    return;
  g_hash_table_unref (recording->last_parts);
  g_hash_table_unref (recording->pictures);
  g_free (recording->service);
  g_free (recording);
}

static const gchar *
last_part (const gchar * name)
{
  const gchar *slash = strrchr (name, '/');

  return slash ? slash + 1 : name;
}

/* ---- reading -------------------------------------------------------------------------------- */

G_GNUC_PRINTF (2, 3)
static gboolean
wrong (GError ** error, const gchar * format, ...)
{
  va_list args;

  va_start (args, format);
  if (error)
    *error = g_error_new_valist (PIRL_ERROR, PIRL_ERROR_FORMAT, format, args);
  va_end (args);
  return FALSE;
}

static gboolean
read_label (Cell * cell, JsonNode * node)
{
  JsonObject *object = ada_json_as_object (node);
  const gchar *keyword = ada_json_string (object, "keyword");
  const gchar *failure = ada_json_as_string (node);
  gdouble score;

  if (failure) {
    g_free (cell->failure);
    cell->failure = ada_excerpt (failure, strlen (failure), EXCERPT);
    return TRUE;
  }
  if (!keyword || !ada_json_number (object, "score", &score))
    return FALSE;
  if (*keyword)
    ada_answer_add (cell->answer, keyword, keyword, score);
  return TRUE;
}

/* The recorded order is the service's, which is not always that of the scores. */
static Cell *
read_cell (JsonNode * node)
{
  JsonArray *labels = ada_json_array (ada_json_as_object (node), "labels");
  Cell *cell = g_new0 (Cell, 1);
  gboolean good = labels != NULL;

  cell->answer = ada_answer_new ();
  for (guint i = 0; good && i < json_array_get_length (labels); i++)
    good = read_label (cell, json_array_get_element (labels, i));
  if (!good) {
    cell_free (cell);
    return NULL;
  }
  ada_answer_sort (cell->answer);
  if (cell->failure)
    g_clear_pointer (&cell->answer, ada_answer_free);
  return cell;
}

static gboolean
read_cells (GHashTable * cells, const gchar * name, JsonObject * object, GError ** error)
{
  JsonObjectIter iter;
  const gchar *text;
  JsonNode *node;

  json_object_iter_init (&iter, object);
  while (json_object_iter_next (&iter, &text, &node)) {
    guint64 quality;
    Cell *cell;

    if (!g_ascii_string_to_unsigned (text, 10, 0, 100, &quality, NULL))
      return wrong (error, "\"%s\" has an answer for quality \"%s\"; 0 to 100 can be", name, text);
    cell = read_cell (node);
    if (!cell)
      return wrong (error, "the answer for \"%s\" at quality %s is not {\"labels\": [{\"keyword\": "
          "..., \"score\": ...}, ...]}", name, text);
    g_hash_table_replace (cells, GINT_TO_POINTER ((gint) quality), cell);
  }
  return TRUE;
}

static gboolean
read_pictures (AdaRecording * recording, JsonObject * root, GError ** error)
{
  JsonObjectIter iter;
  const gchar *name;
  JsonNode *node;

  json_object_iter_init (&iter, root);
  while (json_object_iter_next (&iter, &name, &node)) {
    JsonObject *services = ada_json_as_object (node);
    JsonNode *answers = services ? json_object_get_member (services, recording->service) : NULL;
    GHashTable *cells;
    gchar *last;

    if (!answers)
      continue;
    if (!ada_json_as_object (answers))
      return wrong (error, "the answers for \"%s\" are not {quality: {...}, ...}", name);
    cells = g_hash_table_new_full (NULL, NULL, NULL, cell_free);
    g_hash_table_replace (recording->pictures, g_strdup (name), cells);
    last = g_strdup (last_part (name));
    if (g_hash_table_contains (recording->last_parts, last))
      cells = NULL;
    g_hash_table_replace (recording->last_parts, last, cells);
    if (!read_cells (g_hash_table_lookup (recording->pictures, name), name,
            ada_json_as_object (answers), error))
      return FALSE;
  }
  return TRUE;
}

/* ---- which service -------------------------------------------------------------------------- */

static gint
compare_texts (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const gchar * const *) a, *(const gchar * const *) b);
}

/* The names of all services, sorted; FALSE when the file has another form. */
static gboolean
collect_services (JsonObject * root, GPtrArray * names, GError ** error)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (g_str_hash, g_str_equal);
  JsonObjectIter iter, inner;
  const gchar *name, *service;
  JsonNode *node;

  json_object_iter_init (&iter, root);
  while (json_object_iter_next (&iter, &name, &node)) {
    JsonObject *services = ada_json_as_object (node);

    if (!services)
      return wrong (error, "what is recorded for \"%s\" is not {service: {quality: {...}}}", name);
    json_object_iter_init (&inner, services);
    while (json_object_iter_next (&inner, &service, NULL))
      if (g_hash_table_add (seen, (gpointer) service))
        g_ptr_array_add (names, (gpointer) service);
  }
  if (names->len == 0)
    return wrong (error, "it has no answers");
  g_ptr_array_sort (names, compare_texts);
  return TRUE;
}

static gchar *
choose_service (JsonObject * root, const gchar * wanted, GError ** error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new ();
  g_autofree gchar *list = NULL;

  if (!collect_services (root, names, error))
    return NULL;
  if ((!wanted || !*wanted) && names->len == 1)
    return g_strdup (g_ptr_array_index (names, 0));
  for (guint i = 0; wanted && i < names->len; i++)
    if (strcmp (g_ptr_array_index (names, i), wanted) == 0)
      return g_strdup (wanted);
  g_ptr_array_add (names, NULL);
  list = g_strjoinv (", ", (gchar **) names->pdata);
  if (wanted && *wanted)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "it has no answers of a service \"%s\"; it has those of %s", wanted, list);
  else
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "it has answers of several services (%s); add one to the URI, as in #%s", list,
        (const gchar *) g_ptr_array_index (names, 0));
  return NULL;
}

AdaRecording *
ada_recording_new (const gchar * data, gsize size, const gchar * service, GError ** error)
{
  g_autoptr (JsonNode) node = ada_json_parse (data, size, MAX_VALUES, error);
  g_autoptr (AdaRecording) recording = NULL;
  JsonObject *root;

  if (!node)
    return NULL;
  root = ada_json_as_object (node);
  if (!root) {
    wrong (error, "it is no JSON object {picture: {service: {quality: {...}}}}");
    return NULL;
  }
  recording = g_new0 (AdaRecording, 1);
  recording->pictures = g_hash_table_new_full (g_str_hash, g_str_equal, g_free,
      (GDestroyNotify) g_hash_table_unref);
  recording->last_parts = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  recording->service = choose_service (root, service, error);
  if (!recording->service || !read_pictures (recording, root, error))
    return NULL;
  return g_steal_pointer (&recording);
}

/* ---- looking up ----------------------------------------------------------------------------- */

static GHashTable *
find_picture (const AdaRecording * recording, const gchar * name)
{
  const gchar *last, *second;
  GHashTable *cells = g_hash_table_lookup (recording->pictures, name);

  if (cells)
    return cells;
  second = last = last_part (name);
  if (second > name)
    for (second--; second > name && second[-1] != '/'; second--);
  cells = g_hash_table_lookup (recording->pictures, second);
  if (!cells)
    cells = g_hash_table_lookup (recording->pictures, last);
  return cells ? cells : g_hash_table_lookup (recording->last_parts, last);
}

static const Cell *
find_cell (const AdaRecording * recording, const gchar * name, gint quality)
{
  GHashTable *cells = name ? find_picture (recording, name) : NULL;

  return cells ? g_hash_table_lookup (cells, GINT_TO_POINTER (quality)) : NULL;
}

gboolean
ada_recording_has (const AdaRecording * recording, const gchar * name, gint quality)
{
  return find_cell (recording, name, quality) != NULL;
}

AdaAnswer *
ada_recording_find (const AdaRecording * recording, const gchar * name, gint quality,
    GError ** error)
{
  const Cell *cell = find_cell (recording, name, quality);
  AdaAnswer *answer;

  if (!cell) {
    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER,
        "%s has no recorded answer for \"%s\" at quality %d", recording->service,
        name ? name : "(a frame without a name)", quality);
    return NULL;
  }
  if (!cell->answer) {
    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_REFUSED,
        "%s failed when it was recorded: %s", recording->service, cell->failure);
    return NULL;
  }
  answer = ada_answer_new ();
  for (guint i = 0; i < cell->answer->labels->len; i++) {
    const AdaLabel *label = &g_array_index (cell->answer->labels, AdaLabel, i);

    ada_answer_add (answer, label->id, label->text, label->score);
  }
  return answer;
}
