/* gst-pirl: regions of pictures (see crop.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "crop.h"

#define CROP_QUERY "pirl-crop"
#define VIEWS_QUERY "pirl-views"
#define MAX_HOPS 32             /* elements and bins on the way to the consumer */

/* ---- the path ------------------------------------------------------------------------------- */

static gboolean
has_probes (GstPad * pad)
{
  gboolean probes;

  GST_OBJECT_LOCK (pad);
  probes = pad->num_probes > 0;
  GST_OBJECT_UNLOCK (pad);
  return probes;
}

/* Whether an element hands on all that it gets as it is, to one pad, and does not look at it. */
static gboolean
is_transparent (GstElement * element)
{
  GstElementFactory *factory = gst_element_get_factory (element);

  return factory != NULL && g_str_equal (GST_OBJECT_NAME (factory), "queue");
}

/* The source pad by which what enters at @sink leaves again; NULL when it ends there. @dead_end: it
 * cannot be told where it goes. Transfer full. */
static GstPad *
way_on (GstPad * sink, gboolean * dead_end)
{
  GstObject *parent = gst_object_get_parent (GST_OBJECT (sink));
  GstPad *next = NULL;

  *dead_end = FALSE;
  if (GST_IS_GHOST_PAD (sink)) {        /* into a bin */
    next = GST_PAD (gst_proxy_pad_get_internal (GST_PROXY_PAD (sink)));
    *dead_end = next == NULL;
  } else if (GST_IS_PAD (parent)) {     /* the inner side of a ghost pad: out of a bin */
    next = GST_PAD (gst_object_ref (parent));
  } else if (GST_IS_ELEMENT (parent) && is_transparent (GST_ELEMENT (parent))) {
    next = gst_element_get_static_pad (GST_ELEMENT (parent), "src");
    *dead_end = next == NULL;
  }
  gst_clear_object (&parent);
  return next;
}

/* The sink pad to which the frames of @src go. Transfer full; NULL where there is none. */
static GstPad *
find_consumer (GstPad * src)
{
  GstPad *from = gst_object_ref (src), *to = NULL;

  for (guint hops = 0; from != NULL && hops < MAX_HOPS; hops++) {
    gboolean dead_end;
    GstPad *next = NULL;

    to = has_probes (from) ? NULL : gst_pad_get_peer (from);
    gst_clear_object (&from);
    if (to == NULL || has_probes (to))
      break;
    next = way_on (to, &dead_end);
    if (next == NULL && !dead_end)
      return to;
    gst_clear_object (&to);
    from = next;
  }
  gst_clear_object (&from);
  gst_clear_object (&to);
  return NULL;
}

static gboolean
ask (GstPad * src, GstQuery * query)
{
  GstPad *consumer = find_consumer (src);
  gboolean answered = FALSE;

  if (consumer != NULL) {
    gst_structure_set (gst_query_writable_structure (query), "pad", GST_TYPE_PAD, consumer, NULL);
    answered = gst_pad_query (consumer, query);
  }
  gst_clear_object (&consumer);
  return answered;
}

/* Whether @query is called @name and was sent to @sink. */
static gboolean
is_query (GstQuery * query, const gchar * name, GstPad * sink)
{
  const GstStructure *s = GST_QUERY_TYPE (query) == GST_QUERY_CUSTOM
      ? gst_query_get_structure (query) : NULL;
  const GValue *pad = s != NULL && gst_structure_has_name (s, name)
      ? gst_structure_get_value (s, "pad") : NULL;

  return pad != NULL && G_VALUE_HOLDS (pad, GST_TYPE_PAD) && g_value_get_object (pad) == sink;
}

/* ---- crops ---------------------------------------------------------------------------------- */

static gboolean
get_ints (const GstStructure * s, const gchar * const *names, gint * const *numbers, guint n)
{
  for (guint i = 0; i < n; i++)
    if (!gst_structure_get_int (s, names[i], numbers[i]))
      return FALSE;
  return TRUE;
}

static gboolean
parse_answer (GstQuery * query, PirlRegion * region)
{
  static const gchar *const names[] = { "x", "y", "crop-width", "crop-height", "divisor" };
  gint *const numbers[] = { &region->box.x, &region->box.y, &region->box.width,
    &region->box.height, &region->divisor
  };

  return get_ints (gst_query_get_structure (query), names, numbers, G_N_ELEMENTS (names));
}

gboolean
gst_pirl_ask_crop (GstPad * src, const GstPirlCropRequest * request, PirlRegion * region)
{
  GstQuery *query = gst_query_new_custom (GST_QUERY_CUSTOM, gst_structure_new (CROP_QUERY,
          "index", G_TYPE_UINT64, request->index, "epoch", G_TYPE_UINT, request->epoch,
          "width", G_TYPE_INT, request->width, "height", G_TYPE_INT, request->height,
          "max-divisor", G_TYPE_INT, request->max_divisor, NULL));
  gboolean answered = ask (src, query) && parse_answer (query, region);

  gst_query_unref (query);
  return answered;
}

gboolean
gst_pirl_crop_parse (GstQuery * query, GstPad * sink, GstPirlCropRequest * request)
{
  const GstStructure *s;

  if (!is_query (query, CROP_QUERY, sink))
    return FALSE;
  s = gst_query_get_structure (query);
  return gst_structure_get (s, "index", G_TYPE_UINT64, &request->index, "epoch", G_TYPE_UINT,
      &request->epoch, "width", G_TYPE_INT, &request->width, "height", G_TYPE_INT,
      &request->height, "max-divisor", G_TYPE_INT, &request->max_divisor, NULL)
      && request->width > 0 && request->height > 0;
}

void
gst_pirl_crop_answer (GstQuery * query, const PirlRegion * region)
{
  gst_structure_set (gst_query_writable_structure (query), "x", G_TYPE_INT, region->box.x,
      "y", G_TYPE_INT, region->box.y, "crop-width", G_TYPE_INT, region->box.width,
      "crop-height", G_TYPE_INT, region->box.height, "divisor", G_TYPE_INT, region->divisor, NULL);
}

/* ---- views ---------------------------------------------------------------------------------- */

gboolean
gst_pirl_ask_image_only (GstPad * src)
{
  GstQuery *query = gst_query_new_custom (GST_QUERY_CUSTOM,
      gst_structure_new_empty (VIEWS_QUERY));
  gboolean only = ask (src, query);

  gst_query_unref (query);
  return only;
}

gboolean
gst_pirl_is_views_query (GstQuery * query, GstPad * sink)
{
  return is_query (query, VIEWS_QUERY, sink);
}

/* ---- the meta ------------------------------------------------------------------------------- */

void
gst_pirl_region_add (GstBuffer * buffer, const GstPirlRegion * region)
{
  GstCustomMeta *meta = gst_buffer_add_custom_meta (buffer, GST_PIRL_REGION_META);

  gst_structure_set (gst_custom_meta_get_structure (meta), "x", G_TYPE_INT, region->box.x,
      "y", G_TYPE_INT, region->box.y, "width", G_TYPE_INT, region->box.width,
      "height", G_TYPE_INT, region->box.height, "full-width", G_TYPE_INT, region->full_width,
      "full-height", G_TYPE_INT, region->full_height, "divisor", G_TYPE_INT, region->divisor, NULL);
}

gboolean
gst_pirl_region_get (GstBuffer * buffer, GstPirlRegion * region)
{
  static const gchar *const names[] = { "x", "y", "width", "height", "full-width", "full-height",
    "divisor"
  };
  gint *const numbers[] = { &region->box.x, &region->box.y, &region->box.width,
    &region->box.height, &region->full_width, &region->full_height, &region->divisor
  };
  GstCustomMeta *meta = gst_buffer_get_custom_meta (buffer, GST_PIRL_REGION_META);

  return meta != NULL && get_ints (gst_custom_meta_get_structure (meta), names, numbers,
      G_N_ELEMENTS (names)) && region->divisor > 0;
}

gboolean
gst_pirl_region_place (const GstPirlRegion * region, PirlImage * image)
{
  const gint divisor = region->divisor;
  const PirlBox *box = &region->box;

  image->x = box->x / divisor;
  image->y = box->y / divisor;
  image->whole_width = (region->full_width + divisor - 1) / divisor;
  image->whole_height = (region->full_height + divisor - 1) / divisor;
  return image->width == (box->x + box->width + divisor - 1) / divisor - image->x
      && image->height == (box->y + box->height + divisor - 1) / divisor - image->y;
}
