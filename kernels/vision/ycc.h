/* gst-pirl: any raw video to the planes of a JPEG.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * JFIF wants full-range BT.601 YCbCr (GStreamer: colorimetry 1:4:0:0). Video is seldom that:
 * ranges are scaled, other matrices (BT.709, ...) converted through R'G'B', RGB transformed, chroma
 * averaged to 4:2:0. Arithmetic: 16-bit fixed point, correctly rounded to 8 bits, error <= 1 level of
 * the exact real-valued result before chroma averaging.
 */
#pragma once

#include "base/base.h"

/** 4:2:0 planes: chroma has (width + 1) / 2 x (height + 1) / 2 samples. @step: bytes from a sample to
 * the next (2 for the interleaved chroma of NV12). Grey: plane[1] = plane[2] = NULL. */
typedef struct {
  gint width, height;
  const guint8 *plane[3];
  gsize stride[3];
  guint step[3];
} PirlYcc;

/** How a raw picture lies in memory: component c of pixel (x, y) is at
 * data[c] + (y >> h_shift[c]) * stride[c] + (x >> w_shift[c]) * step[c]. */
typedef struct {
  gint width, height;
  guint n_components;           /* 1 = grey, 3 = YCbCr or RGB in this order, whatever the memory's */
  gboolean rgb;
  guint w_shift[3], h_shift[3];
  const guint8 *data[3];
  gsize stride[3];
  guint step[3];
  gboolean full_range;          /* FALSE: 16..235 and 16..240 */
  gdouble kr, kb;               /* of the source's matrix: .299, .114 (BT.601), .2126, .0722 (709) */
} PirlRaw;

typedef struct _PirlYccConverter PirlYccConverter;

/** Tables for pictures laid out as @raw (its data pointers are not looked at). NULL with
 * %PIRL_ERROR_INVALID for what is no layout (0 components, negative size, kr + kb >= 1). */
PIRL_API PirlYccConverter *pirl_ycc_converter_new (const PirlRaw *raw, GError **error);
PIRL_API void pirl_ycc_converter_free (PirlYccConverter *converter);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlYccConverter, pirl_ycc_converter_free)
/** TRUE when the source's own planes can be used as they are (4:2:0 or grey, full range, BT.601). */
PIRL_API gboolean pirl_ycc_converter_passthrough (const PirlYccConverter *converter);
/** Fills @ycc: with @raw's planes (passthrough) or the converter's own, good until the next call. */
PIRL_API void pirl_ycc_convert (PirlYccConverter *converter, const PirlRaw *raw, PirlYcc *ycc);
