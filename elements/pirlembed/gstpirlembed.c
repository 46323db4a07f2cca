/* gst-pirl: pirlembed.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common.h"

static gboolean
register_nothing_yet (GstPlugin * plugin)
{
  return FALSE;
}

GST_ELEMENT_REGISTER_DEFINE_CUSTOM (pirlembed, register_nothing_yet);
