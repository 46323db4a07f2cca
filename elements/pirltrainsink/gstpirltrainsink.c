/* gst-pirl: pirltrainsink.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "common.h"

static gboolean
register_nothing_yet (GstPlugin * plugin)
{
  return FALSE;
}

GST_ELEMENT_REGISTER_DEFINE_CUSTOM (pirltrainsink, register_nothing_yet);
