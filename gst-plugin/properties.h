/* gst-pirl: an element's properties as rows of one table over a struct of settings.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A row says what a property is called, of which type it is and where in the struct it is kept.
 * Its number in the table, from 1 on, is the property's id; its default is what the struct holds
 * when it is installed. Enumerations are kept as gint, whatever their C type, so that a row can
 * reach them. No function here locks anything.
 */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef enum {
  GST_PIRL_ENUM,                /* gint */
  GST_PIRL_INT,
  GST_PIRL_UINT,
  GST_PIRL_UINT64,
  GST_PIRL_DOUBLE,
  GST_PIRL_BOOLEAN,
  GST_PIRL_STRING,              /* gchar *, owned */
  GST_PIRL_FRACTION,            /* two gint, numerator and denominator; above 0 */
  GST_PIRL_INTS,                /* GArray * of gint, owned; a GstValueArray outside */
} GstPirlPropertyType;

/** An enumeration and the name of its GType. */
typedef struct {
  const gchar *name;
  const GEnumValue *values;
} GstPirlEnum;

typedef struct {
  const gchar *name, *nick, *blurb;     /* nick NULL: kept here, installed by somebody else */
  GstPirlPropertyType type;
  gsize offset;                 /* in the struct */
  gdouble min, max;             /* of numbers; max 0 = the type's own */
  const GstPirlEnum *values;
  gboolean playing;             /* may be set while playing; else it counts from READY on */
} GstPirlProperty;

/** Installs those of @n rows that have a nick, with @defaults. */
void gst_pirl_properties_install (const GstPirlProperty * rows, guint n, GObjectClass * klass,
    gconstpointer defaults);
/** Sets or gets property @id; the row, or NULL when @id is none of them. */
const GstPirlProperty *gst_pirl_properties_set (const GstPirlProperty * rows, guint n,
    gpointer settings, guint id, const GValue * value);
const GstPirlProperty *gst_pirl_properties_get (const GstPirlProperty * rows, guint n,
    gconstpointer settings, guint id, GValue * value);
/** What @to owns becomes its own, after the struct was copied; and is let go of. */
void gst_pirl_properties_copy (const GstPirlProperty * rows, guint n, gpointer to);
void gst_pirl_properties_clear (const GstPirlProperty * rows, guint n, gpointer settings);

G_END_DECLS
