/* gst-pirl: what becomes of the JPEGs that leave a pad.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/** TRUE when every way that data take from the source pad @pad can be followed to its end, and none
 * meets an RTP payloader, so that Huffman tables may be any. */
gboolean ada_downstream_takes_any_tables (GstPad * pad);

G_END_DECLS
