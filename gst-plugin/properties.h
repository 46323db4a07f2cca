/* gst-pirl: an element's properties as rows of one table over a struct of settings.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A row says what a property is called, of which type it is and where in the struct it is kept.
 * Its number in the table, from 1 on, is the property's id; its default is what the struct is made
 * with. Enumerations are kept as gint, whatever their C type, so that a row can reach them.
 */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef enum {
  GST_PIRL_ENUM,                /* gint */
  GST_PIRL_INT,
  GST_PIRL_UINT,
  GST_PIRL_UINT64,
  GST_PIRL_FLOAT,
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
  const gchar *name, *nick, *blurb;
  GstPirlPropertyType type;
  gsize offset;                 /* in the struct */
  gdouble min, max;             /* of numbers; max 0 = the type's own */
  const GstPirlEnum *values;
  gboolean playing;             /* may be set while playing; else it counts from READY on */
} GstPirlProperty;

/** Rows `device` (string), `precision` (string) and `n-threads` (uint), which those elements have
 * that compute with a network; each is given its place in the struct. @about_auto (a literal) says
 * which precision auto is. */
#define GST_PIRL_DEVICE_PROPERTIES(device, precision, about_auto, n_threads) \
  {"device", "Device", "What computes: cpu, cuda or cuda:N (the GPU number N, through the module " \
      "libpirl-cuda.so), or auto (cuda where module, driver and card are there, else cpu; the " \
      "log says at level INFO what is missing)", GST_PIRL_STRING, device}, \
  {"precision", "Precision", "Arithmetic: f32, tf32, bf16, fp16 (what the device has), or auto " \
      about_auto, GST_PIRL_STRING, precision}, \
  {"n-threads", "Threads", "Threads that compute (0 = as many as the machine has cores)", \
      GST_PIRL_UINT, n_threads, 0, 1024}

/** The properties of an element, and the struct that keeps them. */
typedef struct {
  const GstPirlProperty *rows;
  guint n;
  gsize size;                   /* of the struct */
  void (*init) (gpointer settings);     /* fills it, with every property at its default */
  /* NULL, or what else follows when the property of @row has been set; with the object lock. */
  void (*changed) (gpointer settings, const GstPirlProperty * row);
} GstPirlProperties;

/** Installs all rows; returns the first id that is free. */
guint gst_pirl_properties_install (const GstPirlProperties * self, GObjectClass * klass);
/** An element's set_property and get_property: sets or gets property @id of @object in its
 * @settings, holding the object lock; warns where there is no such row. */
void gst_pirl_properties_set (const GstPirlProperties * self, GObject * object,
    gpointer settings, guint id, const GValue * value, GParamSpec * pspec);
void gst_pirl_properties_get (const GstPirlProperties * self, GObject * object,
    gconstpointer settings, guint id, GValue * value, GParamSpec * pspec);

/* These lock nothing. */

/** Every property at its default; clear it in the end. */
void gst_pirl_properties_init (const GstPirlProperties * self, gpointer settings);
/** Fills @to, which needs no init; clear it in the end. */
void gst_pirl_properties_copy (const GstPirlProperties * self, gpointer to, gconstpointer from);
/** Lets go of what @settings owns. */
void gst_pirl_properties_clear (const GstPirlProperties * self, gpointer settings);

G_END_DECLS
