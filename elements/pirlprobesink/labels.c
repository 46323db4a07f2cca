/* gst-pirl: labels of pictures that show several things (see labels.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "labels.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

/* Labels that are numbers go up to this. */
#define MAX_NUMBER 1000000

struct _GstPirlLabelList {
  const gchar *path;            /* while it is read */
  gchar *text, *hash;
  GHashTable *words;            /* of all labels, in @text -> class + 1 */
  GHashTable *samples;          /* name, in @text -> gint8[classes] */
  guint classes;
  gchar **names;
};

/* One line, cut up in place; FALSE for those that say nothing. */
static gboolean
cut_line (gchar * line, gchar ** name, gchar ** labels)
{
  gchar *end;

  g_strchomp (line);
  if (*line == '\0' || *line == '#')
    return FALSE;
  *name = line;
  *labels = strchr (line, '\t');
  if (*labels == NULL) {
    *labels = line + strlen (line);
    return TRUE;
  }
  *(*labels)++ = '\0';
  end = strchr (*labels, '\t');
  if (end != NULL)
    *end = '\0';
  return TRUE;
}

/* The next label of a list, without the mark; NULL at its end. */
static gchar *
next_label (gchar ** labels, gboolean * hard)
{
  gchar *label;

  do {
    if (*labels == NULL || **labels == '\0')
      return NULL;
    label = *labels;
    *labels = strchr (label, ',');
    if (*labels != NULL)
      *(*labels)++ = '\0';
    label = g_strstrip (label);
    *hard = *label == '?';
    label += *hard;
  } while (*label == '\0');
  return label;
}

static gint
compare_words (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const gchar * const *) a, *(const gchar * const *) b);
}

/* All words numbers: these are the classes. */
static gboolean
number_by_value (GstPirlLabelList * list, gchar ** words, guint n)
{
  guint64 most = 0;

  for (guint i = 0; i < n; i++) {
    guint64 value;

    if (!g_ascii_string_to_unsigned (words[i], 10, 0, MAX_NUMBER, &value, NULL))
      return FALSE;
    most = MAX (most, value);
    g_hash_table_insert (list->words, g_strdup (words[i]), GUINT_TO_POINTER ((guint) value + 1));
  }
  list->classes = (guint) most + 1;
  return TRUE;
}

static gboolean
number_classes (GstPirlLabelList * list, GError ** error)
{
  guint n;
  g_autofree gchar **words = (gchar **) g_hash_table_get_keys_as_array (list->words, &n);

  if (n == 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "labels-file \"%s\" has no labels; a line "
        "is name[TAB]label,label,...", list->path);
    return FALSE;
  }
  if (number_by_value (list, words, n))
    return TRUE;
  qsort (words, n, sizeof *words, compare_words);
  list->names = g_new0 (gchar *, n + 1);
  for (guint i = 0; i < n; i++) {
    g_hash_table_insert (list->words, g_strdup (words[i]), GUINT_TO_POINTER (i + 1));
    list->names[i] = g_strdup (words[i]);
  }
  list->classes = n;
  return TRUE;
}

/* The words of all lines; @labels stays as it is. */
static void
collect_words (GstPirlLabelList * list, GPtrArray * labels)
{
  for (guint i = 0; i < labels->len; i++) {
    g_autofree gchar *copy = g_strdup (g_ptr_array_index (labels, i));
    gchar *at = copy, *label;
    gboolean hard;

    while ((label = next_label (&at, &hard)) != NULL)
      if (!g_hash_table_contains (list->words, label))
        g_hash_table_add (list->words, g_strdup (label));
  }
}

static gint8 *
read_targets (GstPirlLabelList * list, gchar * labels)
{
  gint8 *targets = g_new0 (gint8, list->classes);
  gchar *label;
  gboolean hard;

  while ((label = next_label (&labels, &hard)) != NULL) {
    const guint class = GPOINTER_TO_UINT (g_hash_table_lookup (list->words, label)) - 1;

    if (!hard)
      targets[class] = 1;
    else if (targets[class] == 0)
      targets[class] = -1;
  }
  return targets;
}

static gboolean
read_lines (GstPirlLabelList * list, GError ** error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new (), labels = g_ptr_array_new ();
  gchar *line = list->text;

  while (line != NULL) {
    gchar *next = strchr (line, '\n'), *name, *words;

    if (next != NULL)
      *next++ = '\0';
    if (cut_line (line, &name, &words)) {
      g_ptr_array_add (names, name);
      g_ptr_array_add (labels, words);
    }
    line = next;
  }
  collect_words (list, labels);
  if (!number_classes (list, error))
    return FALSE;
  for (guint i = 0; i < names->len; i++) {
    gchar *name = g_ptr_array_index (names, i);

    if (g_hash_table_contains (list->samples, name)) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "labels-file \"%s\" has \"%s\" twice; all "
          "labels of a picture are on one line", list->path, name);
      return FALSE;
    }
    g_hash_table_insert (list->samples, name,
        read_targets (list, g_ptr_array_index (labels, i)));
  }
  return TRUE;
}

GstPirlLabelList *
gst_pirl_label_list_new (const gchar * path, GError ** error)
{
  GstPirlLabelList *list = g_new0 (GstPirlLabelList, 1);
  gsize size;

  list->path = path;
  list->words = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  list->samples = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
  if (!g_file_get_contents (path, &list->text, &size, error)) {
    g_prefix_error (error, "labels-file: ");
    gst_pirl_label_list_free (list);
    return NULL;
  }
  list->hash = g_compute_checksum_for_data (G_CHECKSUM_SHA256, (guchar *) list->text, size);
  if (!read_lines (list, error)) {
    gst_pirl_label_list_free (list);
    return NULL;
  }
  return list;
}

void
gst_pirl_label_list_free (GstPirlLabelList * list)
{
  if (list == NULL)
    return;
  g_hash_table_unref (list->words);
  g_hash_table_unref (list->samples);
  g_strfreev (list->names);
  g_free (list->text);
  g_free (list->hash);
  g_free (list);
}

guint
gst_pirl_label_list_classes (const GstPirlLabelList * list)
{
  return list->classes;
}

gchar **
gst_pirl_label_list_names (const GstPirlLabelList * list)
{
  return list->names;
}

const gint8 *
gst_pirl_label_list_lookup (const GstPirlLabelList * list, const gchar * name)
{
  return g_hash_table_lookup (list->samples, name);
}

const gchar *
gst_pirl_label_list_hash (const GstPirlLabelList * list)
{
  return list->hash;
}
