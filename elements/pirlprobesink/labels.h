/* gst-pirl: labels of pictures that show several things.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A line of the file is `name[TAB]label,label,...`; see #GstPirlProbeSink:labels-file.
 */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct _GstPirlLabelList GstPirlLabelList;

/** Reads @path; the error names the line. */
GstPirlLabelList *gst_pirl_label_list_new (const gchar * path, GError ** error);
void gst_pirl_label_list_free (GstPirlLabelList * list);
guint gst_pirl_label_list_classes (const GstPirlLabelList * list);
/** NULL-terminated; NULL where labels are numbers. */
gchar **gst_pirl_label_list_names (const GstPirlLabelList * list);
/** For each class 1 (shown), 0 or -1 (hard to say); NULL when @name is not in the list. */
const gint8 *gst_pirl_label_list_lookup (const GstPirlLabelList * list, const gchar * name);
/** Of the file: whether it is the same. */
const gchar *gst_pirl_label_list_hash (const GstPirlLabelList * list);

G_END_DECLS
