/* gst-pirl: video frames of any format as full-range RGB pictures.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * GstVideoConverter unpacks, upsamples chroma and knows all formats, but its 8-bit matrix
 * truncates: with GStreamer 1.22 and BT.601, red, green and blue come out 2.0, 3.8 and 1.8 levels
 * too dark on average, and up to 6. A network that learnt on pictures decoded exactly sees other
 * pictures. So Y'CbCr is only brought to 4:4:4 by the converter, and the matrix is applied here,
 * with 16 fractional bits and rounding (base/surface.h):
 *
 *   y = Ys (Y - Yo), u = Cs (U - 128), v = Cs (V - 128)
 *   R = y + 2 (1 - Kr) v,  B = y + 2 (1 - Kb) u,  G = (y - Kr R - Kb B) / (1 - Kr - Kb)
 *
 * Ys = 255/219, Yo = 16, Cs = 255/224 for the limited range, 1, 0, 1 for the full one (ITU-R
 * BT.601, BT.709, BT.2020). */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "torgb.h"

#define ONE (1 << PIRL_YUV_BITS)
#define BT601_KR 0.299
#define BT601_KB 0.114

struct _ToRgb {
  GstVideoInfo in, out;         /* @out: RGB, or YUV for the matrix */
  GstVideoConverter *converter; /* NULL = @in is RGB already */
  gboolean yuv;
  PirlYuvMatrix matrix;
};

/* Packed Y, U, V, as large as RGB. Not AYUV: on the way there the converter takes a short cut that
 * repeats chroma samples instead of interpolating them. */
#define YUV_FORMAT GST_VIDEO_FORMAT_v308

static gint
fixed (gdouble number)
{
  return (gint) (number * ONE + (number < 0 ? -0.5 : 0.5));
}

void
to_rgb_matrix (const GstVideoColorimetry * colorimetry, PirlYuvMatrix * m)
{
  gboolean limited = colorimetry->range == GST_VIDEO_COLOR_RANGE_16_235;
  gdouble luma = limited ? 255.0 / 219 : 1, chroma = limited ? 255.0 / 224 : 1;
  gdouble kr = BT601_KR, kb = BT601_KB, kg, red, blue;

  if (colorimetry->matrix == GST_VIDEO_COLOR_MATRIX_RGB
      || !gst_video_color_matrix_get_Kr_Kb (colorimetry->matrix, &kr, &kb)) {
    kr = BT601_KR;
    kb = BT601_KB;
  }
  kg = 1 - kr - kb;
  red = 2 * (1 - kr) * chroma;
  blue = 2 * (1 - kb) * chroma;
  m->luma = fixed (luma);
  m->luma_offset = limited ? 16 : 0;
  m->red_v = fixed (red);
  m->blue_u = fixed (blue);
  m->green_v = fixed (-kr / kg * red);
  m->green_u = fixed (-kb / kg * blue);
}

static inline guint8
to_byte (gint number)
{
  return CLAMP (number >> PIRL_YUV_BITS, 0, 255);
}

/* Y, U, V to R, G, B in place. */
static void
yuv_row (const PirlYuvMatrix * m, guint8 * row, gint width)
{
  for (gint x = 0; x < width; x++, row += 3) {
    gint y = m->luma * (row[0] - m->luma_offset) + ONE / 2;
    gint u = row[1] - 128, v = row[2] - 128;

    row[0] = to_byte (y + m->red_v * v);
    row[1] = to_byte (y + m->green_u * u + m->green_v * v);
    row[2] = to_byte (y + m->blue_u * u);
  }
}

static gboolean
make_converter (ToRgb * self)
{
  const GstVideoInfo *in = &self->in;

  if (!gst_video_info_set_format (&self->out,
          self->yuv ? YUV_FORMAT : GST_VIDEO_FORMAT_RGB, in->width, in->height))
    return FALSE;
  /* What is the same on both sides is not converted. */
  self->out.fps_n = in->fps_n;
  self->out.fps_d = in->fps_d;
  self->out.interlace_mode = in->interlace_mode;
  if (self->yuv) {
    self->out.colorimetry = in->colorimetry;
    to_rgb_matrix (&in->colorimetry, &self->matrix);
  }
  self->converter = gst_video_converter_new (in, &self->out, NULL);
  return self->converter != NULL;
}

ToRgb *
to_rgb_new (const GstVideoInfo * info)
{
  ToRgb *self = g_new0 (ToRgb, 1);

  self->in = *info;
  self->yuv = GST_VIDEO_INFO_IS_YUV (info) || GST_VIDEO_INFO_IS_GRAY (info);
  if (GST_VIDEO_INFO_FORMAT (info) == GST_VIDEO_FORMAT_RGB
      && info->colorimetry.range != GST_VIDEO_COLOR_RANGE_16_235)
    return self;
  if (!make_converter (self))
    g_clear_pointer (&self, to_rgb_free);
  return self;
}

void
to_rgb_free (ToRgb * self)
{
  if (self->converter != NULL)
    gst_video_converter_free (self->converter);
  g_free (self);
}

gboolean
to_rgb_view (const ToRgb * self, GstVideoFrame * frame, PirlImage * view)
{
  *view = (PirlImage) {
    .width = GST_VIDEO_FRAME_WIDTH (frame),.height = GST_VIDEO_FRAME_HEIGHT (frame),
    .stride = GST_VIDEO_FRAME_PLANE_STRIDE (frame, 0),
    .data = GST_VIDEO_FRAME_PLANE_DATA (frame, 0)
  };
  return self->converter == NULL;
}

void
to_rgb_convert (ToRgb * self, GstVideoFrame * frame, PirlImage * picture)
{
  GstVideoFrame out = {.info = self->out,.flags = frame->flags };
  PirlImage view;

  pirl_image_resize_storage (picture, self->in.width, self->in.height);
  if (to_rgb_view (self, frame, &view)) {
    pirl_image_copy (&view, picture);
    return;
  }
  out.info.stride[0] = picture->stride;
  out.data[0] = picture->data;
  gst_video_converter_frame (self->converter, frame, &out);
  for (gint y = 0; self->yuv && y < picture->height; y++)
    yuv_row (&self->matrix, picture->data + y * picture->stride, picture->width);
}
