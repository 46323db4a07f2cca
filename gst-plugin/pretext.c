/* gst-pirl: caps of the two views, and the meta `pirl-pretext` (see pretext.h and meta.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The meta's arrays begin with the image view, where it has a part in them, and go on with the cells of the
 * grid, by cell and not by position. Floats travel as doubles and come back as they were.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "pretext.h"

#include <string.h>

/* Numbers of each box, jitter, order and photometric block. */
#define BOX_NUMBERS 4
#define JITTER_NUMBERS 6
#define ORDER_NUMBERS 4
#define PHOTOMETRIC_NUMBERS 4

/* Degrees of a quarter of a turn. */
#define QUARTER 90

static gint
cells_of (const PirlPretextConfig * config)
{
  return config->grid * config->grid;
}

/* ---- writing ------------------------------------------------------------------------------ */

static void
append_int (GValue * array, gint number)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_TYPE_INT);
  g_value_set_int (&value, number);
  gst_value_array_append_and_take_value (array, &value);
}

static void
append_double (GValue * array, gdouble number)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_TYPE_DOUBLE);
  g_value_set_double (&value, number);
  gst_value_array_append_and_take_value (array, &value);
}

static void
append_box (GValue * array, const PirlBox * box)
{
  append_int (array, box->x);
  append_int (array, box->y);
  append_int (array, box->width);
  append_int (array, box->height);
}

/* The arrays that have a part for each view. */
typedef struct {
  GValue flips, jitter, orders, photometric;
} Colours;

static void
append_colour (Colours * colours, const PirlColour * colour)
{
  const gdouble jitter[JITTER_NUMBERS] = { colour->brightness, colour->contrast,
    colour->saturation, colour->hue, colour->grayscale ? 1 : 0, colour->blur_radius
  };
  const gdouble photometric[PHOTOMETRIC_NUMBERS] = { colour->photometric ? 1 : 0,
    colour->posterize_bits, colour->solarize_threshold, colour->sharpness
  };

  append_int (&colours->flips, colour->flip);
  for (guint i = 0; i < JITTER_NUMBERS; i++)
    append_double (&colours->jitter, jitter[i]);
  for (guint i = 0; i < ORDER_NUMBERS; i++)
    append_int (&colours->orders, colour->order[i]);
  for (guint i = 0; i < PHOTOMETRIC_NUMBERS; i++)
    append_double (&colours->photometric, photometric[i]);
}

static void
set_colours (GstStructure * s, const PirlPretextConfig * config, const PirlPretext * pretext)
{
  const guint views = 1 + cells_of (config);
  Colours colours = { G_VALUE_INIT, G_VALUE_INIT, G_VALUE_INIT, G_VALUE_INIT };

  gst_value_array_init (&colours.flips, views);
  gst_value_array_init (&colours.jitter, JITTER_NUMBERS * views);
  gst_value_array_init (&colours.orders, ORDER_NUMBERS * views);
  gst_value_array_init (&colours.photometric, PHOTOMETRIC_NUMBERS * views);
  append_colour (&colours, &pretext->image_colour);
  for (gint i = 0; i < cells_of (config); i++)
    append_colour (&colours, &pretext->patch_colour[i]);
  gst_structure_take_value (s, "flips", &colours.flips);
  gst_structure_take_value (s, "jitter", &colours.jitter);
  gst_structure_take_value (s, "orders", &colours.orders);
  gst_structure_take_value (s, "photometric", &colours.photometric);
}

static void
set_geometry (GstStructure * s, const PirlPretextConfig * config, const PirlPretext * pretext)
{
  const gint cells = cells_of (config);
  GValue permutation = G_VALUE_INIT, crops = G_VALUE_INIT, offsets = G_VALUE_INIT;

  gst_value_array_init (&permutation, cells);
  gst_value_array_init (&crops, 2 * BOX_NUMBERS);
  gst_value_array_init (&offsets, 2 * cells);
  append_box (&crops, &pretext->image_crop);
  append_box (&crops, &pretext->patch_crop);
  for (gint i = 0; i < cells; i++) {
    append_int (&permutation, pretext->permutation[i]);
    append_int (&offsets, pretext->offset_x[i]);
    append_int (&offsets, pretext->offset_y[i]);
  }
  gst_structure_take_value (s, "permutation", &permutation);
  gst_structure_take_value (s, "crops", &crops);
  gst_structure_take_value (s, "offsets", &offsets);
}

void
gst_pirl_pretext_add (GstBuffer * buffer, const PirlPretextConfig * config,
    const PirlPretext * pretext)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_PRETEXT_META);
  GstStructure *s;

  if (meta == NULL)
    meta = gst_buffer_add_custom_meta (buffer, GST_PIRL_PRETEXT_META);
  s = gst_custom_meta_get_structure (meta);
  gst_structure_set (s,
      "transform", G_TYPE_STRING, pirl_transform_name (config->transform),
      "permutation-index", G_TYPE_INT, pretext->permutation_index,
      "rotation", G_TYPE_INT, QUARTER * pretext->turns,
      "image-size", G_TYPE_INT, config->image_size, "crop-size", G_TYPE_INT, config->crop_size,
      "patch-size", G_TYPE_INT, config->patch_size, "grid", G_TYPE_INT, config->grid, NULL);
  set_geometry (s, config, pretext);
  set_colours (s, config, pretext);
}

/* ---- reading ------------------------------------------------------------------------------ */

static const GstStructure *
structure_of (GstBuffer * buffer, GError ** error)
{
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_PRETEXT_META);

  if (meta != NULL)
    return gst_custom_meta_get_structure (meta);
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_FORMAT,
      "a frame has no meta pirl-pretext; pirljigsaw attaches it");
  return NULL;
}

static gboolean
malformed (GError ** error, const gchar * field)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT, "the meta pirl-pretext has no usable field "
      "\"%s\"; pirljigsaw attaches the whole of it", field);
  return FALSE;
}

/* The array @field when it has @n numbers of @type. */
static const GValue *
array_of (const GstStructure * s, const gchar * field, GType type, guint n, GError ** error)
{
  const GValue *array = gst_structure_get_value (s, field);
  gboolean good = array != NULL && GST_VALUE_HOLDS_ARRAY (array)
      && gst_value_array_get_size (array) == n;

  for (guint i = 0; good && i < n; i++)
    good = G_VALUE_TYPE (gst_value_array_get_value (array, i)) == type;
  if (good)
    return array;
  malformed (error, field);
  return NULL;
}

static gint
nth_int (const GValue * array, guint i)
{
  return g_value_get_int (gst_value_array_get_value (array, i));
}

static gdouble
nth_double (const GValue * array, guint i)
{
  return g_value_get_double (gst_value_array_get_value (array, i));
}

static PirlBox
nth_box (const GValue * array, guint i)
{
  return (PirlBox) { nth_int (array, BOX_NUMBERS * i), nth_int (array, BOX_NUMBERS * i + 1),
    nth_int (array, BOX_NUMBERS * i + 2), nth_int (array, BOX_NUMBERS * i + 3) };
}

static gboolean
get_config (const GstStructure * s, PirlPretextConfig * config, GError ** error)
{
  const struct {
    const gchar *field;
    gint *number;
  } sizes[] = {
    {"image-size", &config->image_size}, {"crop-size", &config->crop_size},
    {"patch-size", &config->patch_size}, {"grid", &config->grid},
  };

  pirl_pretext_config_defaults (config, 1, 1);
  if (!pirl_transform_from_name (gst_structure_get_string (s, "transform"), &config->transform))
    return malformed (error, "transform");
  for (guint i = 0; i < G_N_ELEMENTS (sizes); i++)
    if (!gst_structure_get_int (s, sizes[i].field, sizes[i].number))
      return malformed (error, sizes[i].field);
  return pirl_pretext_config_check (config, error);
}

/* A second view that is not turned has 0. */
static gboolean
get_turns (const GstStructure * s, gboolean turned, gint * turns, GError ** error)
{
  gint degrees;

  if (!gst_structure_get_int (s, "rotation", &degrees) || degrees % QUARTER != 0 || degrees < 0
      || degrees > (turned ? 3 * QUARTER : 0))
    return malformed (error, "rotation");
  *turns = degrees / QUARTER;
  return TRUE;
}

/* Every cell once. */
static gboolean
get_permutation (const GstStructure * s, const PirlPretextConfig * config, PirlPretext * pretext,
    GError ** error)
{
  const gint cells = cells_of (config);
  const GValue *array = array_of (s, "permutation", G_TYPE_INT, cells, error);
  guint32 seen = 0;

  if (array == NULL)
    return FALSE;
  gst_structure_get_int (s, "permutation-index", &pretext->permutation_index);
  for (gint i = 0; i < cells; i++) {
    const gint cell = nth_int (array, i);

    if (cell < 0 || cell >= cells || (seen >> cell & 1))
      return malformed (error, "permutation");
    seen |= 1u << cell;
    pretext->permutation[i] = (guint8) cell;
  }
  return TRUE;
}

static gboolean
get_places (const GstStructure * s, const PirlPretextConfig * config, PirlPretext * pretext,
    GError ** error)
{
  const gint cells = cells_of (config), room = config->crop_size / config->grid
      - config->patch_size;
  const GValue *crops = array_of (s, "crops", G_TYPE_INT, 2 * BOX_NUMBERS, error);
  const GValue *offsets = crops ? array_of (s, "offsets", G_TYPE_INT, 2 * cells, error) : NULL;

  if (offsets == NULL)
    return FALSE;
  pretext->image_crop = nth_box (crops, 0);
  pretext->patch_crop = nth_box (crops, 1);
  for (gint i = 0; i < cells; i++) {
    pretext->offset_x[i] = nth_int (offsets, 2 * i);
    pretext->offset_y[i] = nth_int (offsets, 2 * i + 1);
    if (pretext->offset_x[i] < 0 || pretext->offset_x[i] > room || pretext->offset_y[i] < 0
        || pretext->offset_y[i] > room)
      return malformed (error, "offsets");
  }
  return TRUE;
}

typedef struct {
  const GValue *flips, *jitter, *orders, *photometric;
} ReadColours;

static gboolean
nth_colour (const ReadColours * from, guint i, PirlColour * colour)
{
  const guint j = JITTER_NUMBERS * i, p = PHOTOMETRIC_NUMBERS * i;

  for (guint k = 0; k < ORDER_NUMBERS; k++) {
    const gint operation = nth_int (from->orders, ORDER_NUMBERS * i + k);

    if (operation < 0 || operation >= ORDER_NUMBERS)
      return FALSE;
    colour->order[k] = (guint8) operation;
  }
  colour->flip = nth_int (from->flips, i) != 0;
  colour->brightness = (gfloat) nth_double (from->jitter, j);
  colour->contrast = (gfloat) nth_double (from->jitter, j + 1);
  colour->saturation = (gfloat) nth_double (from->jitter, j + 2);
  colour->hue = (gfloat) nth_double (from->jitter, j + 3);
  colour->grayscale = nth_double (from->jitter, j + 4) != 0;
  colour->blur_radius = (gfloat) nth_double (from->jitter, j + 5);
  colour->photometric = nth_double (from->photometric, p) != 0;
  colour->posterize_bits = (gint) nth_double (from->photometric, p + 1);
  colour->solarize_threshold = (gint) nth_double (from->photometric, p + 2);
  colour->sharpness = (gfloat) nth_double (from->photometric, p + 3);
  return TRUE;
}

static gboolean
get_colours (const GstStructure * s, const PirlPretextConfig * config, PirlPretext * pretext,
    GError ** error)
{
  const guint views = 1 + cells_of (config);
  ReadColours from;

  if ((from.flips = array_of (s, "flips", G_TYPE_INT, views, error)) == NULL
      || (from.jitter = array_of (s, "jitter", G_TYPE_DOUBLE, JITTER_NUMBERS * views,
              error)) == NULL
      || (from.orders = array_of (s, "orders", G_TYPE_INT, ORDER_NUMBERS * views, error)) == NULL
      || (from.photometric = array_of (s, "photometric", G_TYPE_DOUBLE,
              PHOTOMETRIC_NUMBERS * views, error)) == NULL)
    return FALSE;
  for (guint i = 0; i < views; i++)
    if (!nth_colour (&from, i, i == 0 ? &pretext->image_colour : &pretext->patch_colour[i - 1]))
      return malformed (error, "orders");
  return TRUE;
}

gboolean
gst_pirl_pretext_get (GstBuffer * buffer, PirlPretextConfig * config, PirlPretext * pretext,
    GError ** error)
{
  const GstStructure *s = structure_of (buffer, error);

  if (s == NULL)
    return FALSE;
  memset (pretext, 0, sizeof (*pretext));
  return get_config (s, config, error)
      && get_turns (s, pirl_transform_turns (config->transform), &pretext->turns, error)
      && get_permutation (s, config, pretext, error)
      && get_places (s, config, pretext, error) && get_colours (s, config, pretext, error);
}

gboolean
gst_pirl_pretext_get_sizes (GstBuffer * buffer, GstPirlViews * views, GError ** error)
{
  const GstStructure *s = structure_of (buffer, error);
  PirlPretextConfig config;

  if (s == NULL || !get_config (s, &config, error))
    return FALSE;
  views->image = config.image_size;
  views->patch = config.patch_size;
  views->patches = cells_of (&config);
  return TRUE;
}

gboolean
gst_pirl_pretext_get_numbers (GstBuffer * buffer, gint * permutation, gint * turns,
    GError ** error)
{
  const GstStructure *s = structure_of (buffer, error);

  if (s == NULL)
    return FALSE;
  if (!gst_structure_get_int (s, "permutation-index", permutation))
    return malformed (error, "permutation-index");
  return get_turns (s, TRUE, turns, error);
}

/* ---- caps --------------------------------------------------------------------------------- */

static GstCaps *
views_tensors_caps (const GstPirlViews * views, gint fps_n, gint fps_d)
{
  g_autofree gchar *dimensions = g_strdup_printf ("3:%d:%d:1,3:%d:%d:%d", views->image,
      views->image, views->patch, views->patch, views->patches);

  return gst_pirl_tensors_caps (2, "uint8,uint8", dimensions, fps_n, fps_d);
}

static GstCaps *
views_frames_caps (gint fps_n, gint fps_d)
{
  GstCaps *caps = gst_caps_from_string (GST_PIRL_FRAMES_CAPS);

  gst_caps_set_simple (caps, "framerate", GST_TYPE_FRACTION, fps_d > 0 ? fps_n : 0,
      fps_d > 0 ? fps_d : 1, NULL);
  return caps;
}

GstCaps *
gst_pirl_views_caps (const GstPirlViews * views, gint fps_n, gint fps_d)
{
  GstCaps *caps = views->frames ? views_frames_caps (fps_n, fps_d)
      : views_tensors_caps (views, fps_n, fps_d);

  gst_caps_set_simple (caps, "transform", G_TYPE_STRING, pirl_transform_name (views->transform),
      NULL);
  if (views->permutations >= 0)
    gst_caps_set_simple (caps, "permutations", G_TYPE_INT, views->permutations, NULL);
  return caps;
}

static gboolean
parse_tensors (const GstStructure * s, GstPirlViews * views)
{
  const gchar *dimensions = gst_structure_get_string (s, "dimensions");
  g_auto (GStrv) lists = NULL;
  gint n = 0, image[4], second[4];

  if (!gst_structure_get_int (s, "num_tensors", &n) || n != 2 || dimensions == NULL
      || g_strcmp0 (gst_structure_get_string (s, "format"), "static") != 0
      || !gst_pirl_same_list (gst_structure_get_string (s, "types"), "uint8,uint8"))
    return FALSE;
  lists = g_strsplit_set (dimensions, ",.", -1);
  if (g_strv_length (lists) != 2 || !gst_pirl_dimension_parse (lists[0], image)
      || !gst_pirl_dimension_parse (lists[1], second))
    return FALSE;
  views->image = image[1];
  views->patch = second[1];
  views->patches = second[3];
  return image[0] == 3 && second[0] == 3 && image[1] == image[2] && image[3] == 1
      && second[1] == second[2];
}

/* What both forms have. */
static gboolean
parse_transform (const GstStructure * s, GstPirlViews * views)
{
  const gchar *name = gst_structure_get_string (s, "transform");

  views->transform = PIRL_TRANSFORM_JIGSAW;
  views->permutations = -1;
  gst_structure_get_int (s, "permutations", &views->permutations);
  return views->permutations >= -1 && (!gst_structure_has_field (s, "transform")
      || pirl_transform_from_name (name, &views->transform));
}

gboolean
gst_pirl_views_caps_parse (const GstCaps * caps, GstPirlViews * views, gchar ** reason)
{
  const GstStructure *s = gst_caps_get_size (caps) > 0 ? gst_caps_get_structure (caps, 0) : NULL;

  memset (views, 0, sizeof (*views));
  if (s != NULL && parse_transform (s, views)) {
    views->frames = gst_structure_has_name (s, "video/x-raw")
        && gst_caps_features_contains (gst_caps_get_features (caps, 0), GST_PIRL_PRETEXT_FEATURE);
    if (views->frames || (gst_structure_has_name (s, "other/tensors")
            && parse_tensors (s, views)))
      return TRUE;
  }
  if (reason) {
    g_autofree gchar *got = gst_caps_to_string (caps);

    *reason = g_strdup_printf ("caps %s are not two views of a sample; pirljigsaw sends "
        "other/tensors,format=static,num_tensors=2,types=\"uint8,uint8\","
        "dimensions=\"3:S:S:1,3:P:P:N\",transform=jigsaw", got);
  }
  return FALSE;
}
