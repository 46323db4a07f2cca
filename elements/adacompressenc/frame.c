/* gst-pirl: video frames as the kernels see them (see frame.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "frame.h"

#include <string.h>

#define BT601_KR 0.299
#define BT601_KB 0.114

static gboolean
is_full_range (const GstVideoInfo * info)
{
  GstVideoColorRange range = GST_VIDEO_INFO_COLORIMETRY (info).range;

  if (range == GST_VIDEO_COLOR_RANGE_UNKNOWN)
    return !GST_VIDEO_INFO_IS_YUV (info);
  return range == GST_VIDEO_COLOR_RANGE_0_255;
}

void
ada_frame_layout (const GstVideoInfo * info, PirlRaw * raw)
{
  const GstVideoFormatInfo *format = info->finfo;

  memset (raw, 0, sizeof (*raw));
  raw->width = GST_VIDEO_INFO_WIDTH (info);
  raw->height = GST_VIDEO_INFO_HEIGHT (info);
  raw->n_components = GST_VIDEO_FORMAT_INFO_N_COMPONENTS (format);
  raw->rgb = GST_VIDEO_FORMAT_INFO_IS_RGB (format);
  raw->full_range = is_full_range (info);
  for (guint c = 0; c < raw->n_components; c++) {
    raw->w_shift[c] = GST_VIDEO_FORMAT_INFO_W_SUB (format, c);
    raw->h_shift[c] = GST_VIDEO_FORMAT_INFO_H_SUB (format, c);
    raw->step[c] = GST_VIDEO_FORMAT_INFO_PSTRIDE (format, c);
  }
  if (!gst_video_color_matrix_get_Kr_Kb (GST_VIDEO_INFO_COLORIMETRY (info).matrix, &raw->kr,
          &raw->kb)) {
    raw->kr = BT601_KR;
    raw->kb = BT601_KB;
  }
}

void
ada_frame_planes (const GstVideoFrame * frame, PirlRaw * raw)
{
  for (guint c = 0; c < raw->n_components; c++) {
    raw->data[c] = GST_VIDEO_FRAME_COMP_DATA (frame, c);
    raw->stride[c] = GST_VIDEO_FRAME_COMP_STRIDE (frame, c);
  }
}
