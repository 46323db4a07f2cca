/* gst-pirl: properties as rows of a table (see properties.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "properties.h"

#include <string.h>

#define FIELD(type, settings, row) ((type *) ((gchar *) (settings) + (row)->offset))

/* ---- installing ----------------------------------------------------------------------------- */

static GType
enum_type (const GstPirlEnum * values)
{
  GType type = g_type_from_name (values->name);

  if (type == 0) {
    type = g_enum_register_static (values->name, values->values);
    gst_type_mark_as_plugin_api (type, 0);
  }
  return type;
}

static guint64
limit_of (const GstPirlProperty * row, guint64 type_limit)
{
  return row->max > 0 && row->max < (gdouble) type_limit ? (guint64) row->max : type_limit;
}

static GParamSpec *
param_spec_of (const GstPirlProperty * row, gconstpointer defaults)
{
  const GParamFlags access = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;
  const GParamFlags flags = access | (row->playing ? GST_PARAM_MUTABLE_PLAYING
      : GST_PARAM_MUTABLE_READY);

  switch (row->type) {
    case GST_PIRL_ENUM:
      return g_param_spec_enum (row->name, row->nick, row->blurb, enum_type (row->values),
          *FIELD (gint, defaults, row), flags);
    case GST_PIRL_INT:
      return g_param_spec_int (row->name, row->nick, row->blurb, (gint) row->min,
          (gint) limit_of (row, G_MAXINT), *FIELD (gint, defaults, row), flags);
    case GST_PIRL_UINT:
      return g_param_spec_uint (row->name, row->nick, row->blurb, (guint) row->min,
          (guint) limit_of (row, G_MAXUINT), *FIELD (guint, defaults, row), flags);
    case GST_PIRL_UINT64:
      return g_param_spec_uint64 (row->name, row->nick, row->blurb, (guint64) row->min,
          limit_of (row, G_MAXUINT64), *FIELD (guint64, defaults, row), flags);
    case GST_PIRL_FLOAT:
      return g_param_spec_float (row->name, row->nick, row->blurb, (gfloat) row->min,
          row->max > 0 ? (gfloat) row->max : G_MAXFLOAT, *FIELD (gfloat, defaults, row), flags);
    case GST_PIRL_DOUBLE:
      return g_param_spec_double (row->name, row->nick, row->blurb, row->min,
          row->max > 0 ? row->max : G_MAXDOUBLE, *FIELD (gdouble, defaults, row), flags);
    case GST_PIRL_BOOLEAN:
      return g_param_spec_boolean (row->name, row->nick, row->blurb,
          *FIELD (gboolean, defaults, row), flags);
    case GST_PIRL_STRING:
      return g_param_spec_string (row->name, row->nick, row->blurb,
          *FIELD (gchar *, defaults, row), flags);
    case GST_PIRL_FRACTION:
      return gst_param_spec_fraction (row->name, row->nick, row->blurb, 1, G_MAXINT, G_MAXINT, 1,
          FIELD (gint, defaults, row)[0], FIELD (gint, defaults, row)[1], flags);
    case GST_PIRL_INTS:
      return gst_param_spec_array (row->name, row->nick, row->blurb,
          g_param_spec_int ("number", "Number", "One of them", (gint) row->min,
              (gint) limit_of (row, G_MAXINT), (gint) row->min, access), flags);
  }
  g_return_val_if_reached (NULL);
}

guint
gst_pirl_properties_install (const GstPirlProperties * self, GObjectClass * klass)
{
  gpointer defaults = g_malloc0 (self->size);

  gst_pirl_properties_init (self, defaults);
  for (guint i = 0; i < self->n; i++)
    g_object_class_install_property (klass, i + 1, param_spec_of (&self->rows[i], defaults));
  gst_pirl_properties_clear (self, defaults);
  g_free (defaults);
  return self->n + 1;
}

/* ---- setting and getting -------------------------------------------------------------------- */

static void
ints_from_value (GArray * ints, const GValue * value)
{
  g_array_set_size (ints, 0);
  for (guint i = 0; i < gst_value_array_get_size (value); i++) {
    gint number = g_value_get_int (gst_value_array_get_value (value, i));

    g_array_append_val (ints, number);
  }
}

static void
ints_to_value (const GArray * ints, GValue * value)
{
  g_value_reset (value);
  for (guint i = 0; i < ints->len; i++) {
    GValue number = G_VALUE_INIT;

    g_value_init (&number, G_TYPE_INT);
    g_value_set_int (&number, g_array_index (ints, gint, i));
    gst_value_array_append_and_take_value (value, &number);
  }
}

static void
set_field (const GstPirlProperty * row, gpointer settings, const GValue * value)
{
  switch (row->type) {
    case GST_PIRL_ENUM:
      *FIELD (gint, settings, row) = g_value_get_enum (value);
      break;
    case GST_PIRL_INT:
      *FIELD (gint, settings, row) = g_value_get_int (value);
      break;
    case GST_PIRL_UINT:
      *FIELD (guint, settings, row) = g_value_get_uint (value);
      break;
    case GST_PIRL_UINT64:
      *FIELD (guint64, settings, row) = g_value_get_uint64 (value);
      break;
    case GST_PIRL_FLOAT:
      *FIELD (gfloat, settings, row) = g_value_get_float (value);
      break;
    case GST_PIRL_DOUBLE:
      *FIELD (gdouble, settings, row) = g_value_get_double (value);
      break;
    case GST_PIRL_BOOLEAN:
      *FIELD (gboolean, settings, row) = g_value_get_boolean (value);
      break;
    case GST_PIRL_STRING:
      g_free (*FIELD (gchar *, settings, row));
      *FIELD (gchar *, settings, row) = g_value_dup_string (value);
      break;
    case GST_PIRL_FRACTION:
      FIELD (gint, settings, row)[0] = gst_value_get_fraction_numerator (value);
      FIELD (gint, settings, row)[1] = gst_value_get_fraction_denominator (value);
      break;
    case GST_PIRL_INTS:
      ints_from_value (*FIELD (GArray *, settings, row), value);
      break;
  }
}

static void
get_field (const GstPirlProperty * row, gconstpointer settings, GValue * value)
{
  switch (row->type) {
    case GST_PIRL_ENUM:
      g_value_set_enum (value, *FIELD (gint, settings, row));
      break;
    case GST_PIRL_INT:
      g_value_set_int (value, *FIELD (gint, settings, row));
      break;
    case GST_PIRL_UINT:
      g_value_set_uint (value, *FIELD (guint, settings, row));
      break;
    case GST_PIRL_UINT64:
      g_value_set_uint64 (value, *FIELD (guint64, settings, row));
      break;
    case GST_PIRL_FLOAT:
      g_value_set_float (value, *FIELD (gfloat, settings, row));
      break;
    case GST_PIRL_DOUBLE:
      g_value_set_double (value, *FIELD (gdouble, settings, row));
      break;
    case GST_PIRL_BOOLEAN:
      g_value_set_boolean (value, *FIELD (gboolean, settings, row));
      break;
    case GST_PIRL_STRING:
      g_value_set_string (value, *FIELD (gchar *, settings, row));
      break;
    case GST_PIRL_FRACTION:
      gst_value_set_fraction (value, FIELD (gint, settings, row)[0],
          FIELD (gint, settings, row)[1]);
      break;
    case GST_PIRL_INTS:
      ints_to_value (*FIELD (GArray *, settings, row), value);
      break;
  }
}

/* Warns, and is NULL, where there is none. */
static const GstPirlProperty *
find_row (const GstPirlProperties * self, GObject * object, guint id, GParamSpec * pspec)
{
  if (id >= 1 && id <= self->n)
    return &self->rows[id - 1];
  G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
  return NULL;
}

void
gst_pirl_properties_set (const GstPirlProperties * self, GObject * object, gpointer settings,
    guint id, const GValue * value, GParamSpec * pspec)
{
  const GstPirlProperty *row = find_row (self, object, id, pspec);

  if (row == NULL)
    return;
  GST_OBJECT_LOCK (object);
  set_field (row, settings, value);
  if (self->changed != NULL)
    self->changed (settings, row);
  GST_OBJECT_UNLOCK (object);
}

void
gst_pirl_properties_get (const GstPirlProperties * self, GObject * object, gconstpointer settings,
    guint id, GValue * value, GParamSpec * pspec)
{
  const GstPirlProperty *row = find_row (self, object, id, pspec);

  if (row == NULL)
    return;
  GST_OBJECT_LOCK (object);
  get_field (row, settings, value);
  GST_OBJECT_UNLOCK (object);
}

/* ---- owning --------------------------------------------------------------------------------- */

void
gst_pirl_properties_init (const GstPirlProperties * self, gpointer settings)
{
  self->init (settings);
}

void
gst_pirl_properties_copy (const GstPirlProperties * self, gpointer to, gconstpointer from)
{
  memcpy (to, from, self->size);
  for (guint i = 0; i < self->n; i++) {
    const GstPirlProperty *row = &self->rows[i];

    if (row->type == GST_PIRL_STRING)
      *FIELD (gchar *, to, row) = g_strdup (*FIELD (gchar *, to, row));
    else if (row->type == GST_PIRL_INTS)
      *FIELD (GArray *, to, row) = g_array_copy (*FIELD (GArray *, to, row));
  }
}

void
gst_pirl_properties_clear (const GstPirlProperties * self, gpointer settings)
{
  for (guint i = 0; i < self->n; i++) {
    const GstPirlProperty *row = &self->rows[i];

    if (row->type == GST_PIRL_STRING)
      g_clear_pointer (FIELD (gchar *, settings, row), g_free);
    else if (row->type == GST_PIRL_INTS)
      g_clear_pointer (FIELD (GArray *, settings, row), g_array_unref);
  }
}
