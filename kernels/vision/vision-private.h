/* gst-pirl: what the files of kernels/vision share with each other and with their tests.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/image.h"
#include "vision/pretext.h"

/* What a decoder may do and what it found; one a call. */
typedef struct {
  PirlDecodeOptions options;
  PirlDecodeInfo info;
  PirlImage stored;             /* as the file has it, where it is not upright there */
  PirlBox cut;                  /* the pixels to decode, as stored; width 0 = all */
  PirlImage place;              /* of the region; only its place */
} PirlDecode;

gboolean pirl_jpeg_decode (const guint8 *data, gsize size, PirlDecode *decode, PirlImage *image,
    GError **error);
gboolean pirl_png_decode (const guint8 *data, gsize size, PirlDecode *decode, PirlImage *image,
    GError **error);

/* As pirl_image_resize_storage(), but FALSE where there is not enough memory: sizes that come from
 * files must not end the process. */
gboolean pirl_image_try_storage (PirlImage *image, gsize width, gsize height);
/* Asks options.choose about a picture of @width x @height as stored; then info.divisor, by which the
 * decoder has to scale it down (rounding up), cut and place are set. */
void pirl_image_choose_region (PirlDecode *decode, gint width, gint height);
/* Checks the size that a header claims against the limit, then gives @image memory for it (for cut), or, where
 * info.orientation says that it has to be turned, decode->stored. *@rows is where to decode to. NULL,
 * or why not (transfer full). */
gchar *pirl_image_start_decode (PirlDecode *decode, gsize width, gsize height, PirlImage *image,
    PirlImage **rows);
/* The orientation (1..8) in a TIFF block as EXIF has it; 1 where there is none or it is damaged. */
gint pirl_exif_orientation (const guint8 *tiff, gsize size);

/* Weights of one axis of a resize, for a run of output positions: output i is the sum of
 * weight[i * stride + t] * source[first[i] + t] over t < count[i]. */
typedef struct {
  gint n, stride;               /* stride: taps of a position, a multiple of 4, zero-padded */
  gint in_size;
  gint *first, *count;
  gint32 *weight;               /* 22 bits after the point */
  guint32 *split;               /* for 2 taps: their 16-bit high parts, then their low parts */
  gsize n_allocated, weight_allocated;
} PirlAxis;

#define PIRL_RESIZE_BITS 22     /* 32 - 8 bits of a pixel - 2 to be safe from overflow */
#define PIRL_RESIZE_SPLIT 8     /* weight = high << 8 | low, both fit a 16-bit multiplication */

/* The two inner loops of a resize. */
typedef struct {
  /* @rows rows: dst[3 i + c] for all outputs of @axis. */
  void (*horizontal) (const PirlAxis *axis, const guint8 *src, gsize src_stride, gint rows,
      guint8 *dst, gsize dst_stride);
  /* @n bytes of one output row from @count source rows, @stride bytes apart. */
  void (*vertical) (const gint32 *weight, gint count, const guint8 *src, gsize stride, gsize n,
      guint8 *dst);
} PirlResizeLoops;

extern const PirlResizeLoops pirl_resize_plain;
/* The outputs from @begin on of a row, in plain C (ends of rows of the faster loops). */
void pirl_resize_horizontal_from (const PirlAxis *axis, gint begin, const guint8 *src, guint8 *dst);
/* NULL where the processor or the compiler has none. */
const PirlResizeLoops *pirl_resize_avx2 (void);
/* A resizer that uses the loops given, so that tests can compare them. */
PirlResizer *pirl_resizer_new_with (const PirlResizeLoops *loops);
/* Weights for scaling all of @src to @width x @height; kept until the resizer's next call. */
void pirl_resizer_plan (PirlResizer *resizer, const PirlImage *src, gint width, gint height);
/* The part at (x0, y0), as large as @dst, of what @planned (may be @resizer) is planned for.
 * Threads may share @planned, which is only read, and not @resizer. */
void pirl_resizer_render (PirlResizer *resizer, const PirlResizer *planned, const PirlImage *src,
    gint x0, gint y0, PirlImage *dst);

/* What of the source @view is made of; shares its pixels. */
PirlImage pirl_view_crop (const PirlView *view);
/* What the recipe says, packed. @planned: for scaling its crop to its size. */
void pirl_view_render (const PirlView *view, PirlResizer *resizer, const PirlResizer *planned,
    guint8 *dst);
/* Turns a square picture by quarters, counter-clockwise, in place. */
void pirl_image_turn (const PirlImage *image, gint turns);

/* Hue, saturation and value as bytes and back, in Pillow's roundings. */
void pirl_rgb_to_hsv (const guint8 rgb[3], guint8 hsv[3]);
void pirl_hsv_to_rgb (const guint8 hsv[3], guint8 rgb[3]);
