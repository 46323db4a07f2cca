/* gst-pirl: self-supervised learning and learned compression as media pipelines.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "common.h"
#include "meta.h"

static gboolean
plugin_init (GstPlugin * plugin)
{
  gboolean registered = FALSE;

  gst_pirl_meta_init ();
  registered |= GST_ELEMENT_REGISTER (pirldatasetsrc, plugin);
  registered |= GST_ELEMENT_REGISTER (pirljigsaw, plugin);
  registered |= GST_ELEMENT_REGISTER (pirltrainsink, plugin);
  registered |= GST_ELEMENT_REGISTER (pirlembed, plugin);
  registered |= GST_ELEMENT_REGISTER (pirlprobesink, plugin);
  registered |= GST_ELEMENT_REGISTER (adacompressenc, plugin);
  return registered;
}

GST_PLUGIN_DEFINE (GST_VERSION_MAJOR, GST_VERSION_MINOR, pirl,
    "Learning from pictures without labels, and sending them in fewer bytes", plugin_init, VERSION,
    "LGPL", GST_PACKAGE_NAME, GST_PACKAGE_ORIGIN)
