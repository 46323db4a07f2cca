/* gst-pirl: pictures in memory, decoding and resizing.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/base.h"
#include "base/view.h"

/** 8-bit RGB; row y starts at data + y * stride. */
typedef struct {
  gint width, height;
  gsize stride;                 /* bytes, >= 3 * width */
  guint8 *data;
  /* Where these pixels lie in a larger picture of which they are all that is there; whole_width 0 =
   * they are the whole. Only what says so looks at it. */
  gint x, y, whole_width, whole_height;
} PirlImage;

/** Allocates packed rows (stride = 3 * width); release with pirl_image_clear(). */
PIRL_API void pirl_image_init (PirlImage *image, gint width, gint height);
PIRL_API void pirl_image_clear (PirlImage *image);
/** Fits @image (from pirl_image_init() or zeroed) to a size, reusing its memory where it can. */
PIRL_API void pirl_image_resize_storage (PirlImage *image, gint width, gint height);
PIRL_API void pirl_image_copy (const PirlImage *src, PirlImage *dst);

/** Gives @image memory for a picture of @width x @height: sets all its fields. FALSE = there is
 * none. */
typedef gboolean (*PirlImageStorage) (PirlImage *image, gint width, gint height, gpointer data);

/** What of a picture is wanted. */
typedef struct {
  PirlBox box;                  /* in pixels of the upright picture as it is in the file */
  gint divisor;                 /* 1, or 2: at half its width and height */
} PirlRegion;

/** Whether a region of the picture of @width x @height will do, and which; FALSE = all of it. */
typedef gboolean (*PirlChooseRegion) (gint width, gint height, PirlRegion *region, gpointer data);

typedef struct {
  gsize max_pixels;             /* guards against bombs; 0 = 256 million */
  gboolean strict;              /* damage is an error */
  PirlImageStorage storage;     /* NULL: the image's own, as pirl_image_resize_storage() has it */
  gpointer storage_data;
  PirlChooseRegion choose;      /* NULL: whole pictures */
  gpointer choose_data;
} PirlDecodeOptions;

/** What decoding met that was not an error. */
typedef struct {
  gboolean truncated;           /* the file ended early or had damaged data; the rest is grey */
  gint orientation;             /* EXIF 1..8, already applied */
  gint divisor;                 /* that of the region, where only one was decoded; else 1 */
} PirlDecodeInfo;

/**
 * Decodes a JPEG (grey, YCbCr, RGB, CMYK and YCCK, progressive) or PNG (alpha dropped, 16 bit
 * reduced) to RGB, turned upright by its EXIF orientation. Pixels are those of Pillow's
 * Image.open().convert("RGB") (libjpeg-turbo's defaults: ISLOW, fancy upsampling).
 * @max_pixels guards against bombs (0 = 256 million). A truncated JPEG with at least a header and
 * some rows decodes with info->truncated set, unless @strict. Errors: %PIRL_ERROR_FORMAT with the
 * library's reason. Never exits, whatever the data. @info may be NULL.
 */
PIRL_API gboolean pirl_image_decode (gconstpointer data, gsize size, gsize max_pixels,
    gboolean strict, PirlImage *image, PirlDecodeInfo *info, GError **error);
/** The same, into the memory that options->storage gives; @image is undefined after an error.
 * options->choose is asked where a region costs less than the picture: of JPEG files of one scan that
 * are not CMYK. Then @image has the region, at least, and says where it lies in the picture (its
 * x, y, whole_width and whole_height; those of the picture at half its size, rounded up, where the
 * divisor is 2). Without a divisor its pixels are those of the whole picture. Damage beyond the
 * region's last row is not found. */
PIRL_API gboolean pirl_image_decode_with (gconstpointer data, gsize size,
    const PirlDecodeOptions *options, PirlImage *image, PirlDecodeInfo *info, GError **error);
/** Reads and decodes a file; messages name it. */
PIRL_API gboolean pirl_image_load (const gchar *path, PirlImage *image, PirlDecodeInfo *info,
    GError **error);
/** Writes a PNG (for plots and mosaics). */
PIRL_API gboolean pirl_image_save_png (const PirlImage *image, const gchar *path, GError **error);

/** Memory of the resizer, reused from call to call. One a thread. */
typedef struct _PirlResizer PirlResizer;
PIRL_API PirlResizer *pirl_resizer_new (void);
PIRL_API void pirl_resizer_free (PirlResizer *resizer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlResizer, pirl_resizer_free)
/**
 * Antialiased bilinear, bit-identical to Pillow's Image.resize (size, BILINEAR, box) for 8-bit RGB:
 * horizontal, then vertical pass, 8-bit between them, coefficients rounded to 22 bits (Pillow up to
 * 12.3; 13.0 takes the cheaper order of passes, other by a level on tall pictures). @dst's
 * storage is given (its width and height are the target); the box is in source pixels.
 */
PIRL_API void pirl_resize (PirlResizer *resizer, const PirlImage *src, gdouble x, gdouble y,
    gdouble width, gdouble height, PirlImage *dst);
/** Where torchvision's CenterCrop (@crop) lies after Resize (short side @resize) of a picture of
 * @width x @height: the size that all of it is scaled to, and the offset of the crop in that;
 * negative where the crop is larger. */
PIRL_API void pirl_place_center_crop (gint width, gint height, gint resize, gint crop,
    gint *scaled_width, gint *scaled_height, gint *left, gint *top);
/** What pirl_resize_center_crop() sees of a picture of @width x @height. */
PIRL_API void pirl_center_crop_source (gint width, gint height, gint resize, gint crop,
    PirlBox *box);
/** Whether all of @box of the whole picture is in @image. */
PIRL_API gboolean pirl_image_holds (const PirlImage *image, const PirlBox *box);
/** torchvision's Resize (short side @resize) and CenterCrop (@crop): only the pixels that the crop
 * keeps are computed, bit-identical to doing it in two steps. @dst is fitted to crop x crop, unless
 * it has that size already: then its memory and stride stay. Of @src that is a region of a picture,
 * the crop is the picture's; the region must hold pirl_center_crop_source(). */
PIRL_API void pirl_resize_center_crop (PirlResizer *resizer, const PirlImage *src, gint resize,
    gint crop, PirlImage *dst);
