/* gst-pirl: what becomes of the JPEGs that leave a pad (see downstream.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file of JPEG carries its tables; RTP (RFC 2435) does not. The walk goes on through every element
 * that may pass JPEG on, through bins and out of them, and ends well where JPEG ends: in a decoder, a
 * muxer, or a sink that keeps or hands over whole files. Sinks that lead into another pipeline or
 * onto a network are not among these, since a payloader may come later.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "downstream.h"

#include <string.h>

/* Longer chains than this are loops, or nobody's. */
#define MAX_STEPS 256

static const gchar *const ends[] = { "Decoder", "Muxer" };
static const gchar *const sinks[] = { "appsink", "filesink", "multifilesink", "fdsink", "fakesink",
  "giosink", "giostreamsink", "splitmuxsink"
};

typedef struct {
  guint steps;
  gboolean any;                 /* a way was found */
} Walk;

static gboolean follow_sink_pad (GstPad * pad, Walk * walk);

static gboolean
has_class (GstElement * element, const gchar * word)
{
  const gchar *klass = gst_element_get_metadata (element, GST_ELEMENT_METADATA_KLASS);

  return klass != NULL && strstr (klass, word) != NULL;
}

static gboolean
is_known_sink (GstElement * element)
{
  GstElementFactory *factory = gst_element_get_factory (element);

  return factory != NULL && g_strv_contains (sinks, GST_OBJECT_NAME (factory));
}

/* The pad that takes what leaves @pad; NULL = none. Out of a bin, the peer is that of its ghost pad. */
static GstPad *
receiver_of (GstPad * pad)
{
  GstPad *peer = gst_pad_get_peer (pad);

  while (peer != NULL && GST_IS_PROXY_PAD (peer) && !GST_IS_GHOST_PAD (peer)) {
    GstProxyPad *ghost = gst_proxy_pad_get_internal (GST_PROXY_PAD (peer));

    gst_object_unref (peer);
    peer = ghost != NULL ? gst_pad_get_peer (GST_PAD (ghost)) : NULL;
    gst_clear_object (&ghost);
  }
  return peer;
}

static gboolean
follow_source_pad (GstElement * element, GstPad * pad, gpointer user_data)
{
  Walk *walk = user_data;
  GstPad *receiver = receiver_of (pad);
  gboolean good;

  if (receiver == NULL)
    return TRUE;                /* linking it will ask again */
  walk->any = TRUE;
  good = follow_sink_pad (receiver, walk);
  gst_object_unref (receiver);
  return good;
}

static gboolean
follow_element (GstElement * element, Walk * walk)
{
  gboolean outer = walk->any, good;

  if (has_class (element, "Payloader"))
    return FALSE;
  if (is_known_sink (element))
    return TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (ends); i++) {
    if (has_class (element, ends[i]))
      return TRUE;
  }
  if (GST_IS_BIN (element))
    return FALSE;               /* its pad is no ghost: nobody sees what is inside */
  walk->any = FALSE;
  good = gst_element_foreach_src_pad (element, follow_source_pad, walk) && walk->any;
  walk->any = outer;
  return good;
}

static gboolean
follow_sink_pad (GstPad * pad, Walk * walk)
{
  GstObject *parent;
  gboolean good = FALSE;

  if (++walk->steps > MAX_STEPS)
    return FALSE;
  parent = gst_pad_get_parent (pad);
  if (GST_IS_GHOST_PAD (pad)) {
    GstPad *target = gst_ghost_pad_get_target (GST_GHOST_PAD (pad));

    good = target != NULL && follow_sink_pad (target, walk);
    gst_clear_object (&target);
  } else if (parent != NULL && GST_IS_ELEMENT (parent)) {
    good = follow_element (GST_ELEMENT (parent), walk);
  }
  gst_clear_object (&parent);
  return good;
}

gboolean
ada_downstream_takes_any_tables (GstPad * pad)
{
  Walk walk = { 0 };
  GstPad *receiver = receiver_of (pad);
  gboolean good = receiver != NULL && follow_sink_pad (receiver, &walk);

  gst_clear_object (&receiver);
  return good;
}
