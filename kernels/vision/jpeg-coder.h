/* gst-pirl: one picture, many qualities.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The forward DCT of a picture is taken once (load). From its coefficients come: the JPEG of any
 * quality (encode), what a decoder would see of it at a reduced size without any entropy coding
 * (preview), and the bytes it would take (sizes). Files are baseline JFIF, 4:2:0 or grey; DCT,
 * Huffman coding and headers are our own, faster than libjpeg's and held against it by the tests.
 *
 * Qualities 1..100 are libjpeg's scaling of the tables of Annex K (0 reads as 1), but see
 * pirl_jpeg_coder_set_flat().
 * Not thread-safe: one coder, one thread at a time; it may be handed from thread to thread.
 */
#pragma once

#include "vision/image.h"
#include "vision/ycc.h"

typedef enum {
  PIRL_HUFFMAN_STANDARD,        /* Annex K.3: what RTP (RFC 2435) can carry */
  PIRL_HUFFMAN_TUNED,           /* fitted to a sample of this picture: one pass, next to no time */
  PIRL_HUFFMAN_OPTIMIZED,       /* fitted to all of this picture: a second pass */
} PirlHuffman;

typedef struct _PirlJpegCoder PirlJpegCoder;

PIRL_API PirlJpegCoder *pirl_jpeg_coder_new (void);
PIRL_API void pirl_jpeg_coder_free (PirlJpegCoder *coder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlJpegCoder, pirl_jpeg_coder_free)

/**
 * Of all later calls: qualities below @below mean flatter quantisation tables than Annex K's; 0 (at
 * first) = none do. They take about as many bytes as Annex K's at the same quality, but keep more of what
 * networks recognise things by: where a classifier's answer is to stay the same, 9 % fewer bytes.
 */
PIRL_API void pirl_jpeg_coder_set_flat (PirlJpegCoder *coder, gint below);

/**
 * Of pictures that are loaded from now on: @wanted = previews and sizes will be asked for, and what they
 * need of every coefficient is collected while these are at hand. FALSE (at first): when first asked
 * for, which takes longer, as a large picture must be brought back from memory.
 */
PIRL_API void pirl_jpeg_coder_set_survey (PirlJpegCoder *coder, gboolean wanted);

/** Takes the DCT of all blocks (edges repeated to whole blocks). Memory is kept from picture to
 * picture. %PIRL_ERROR_INVALID for sizes outside 1..65500. @picture's planes are not kept. */
PIRL_API gboolean pirl_jpeg_coder_load (PirlJpegCoder *coder, const PirlYcc *picture,
    GError **error);
/** The same from packed or padded RGB. */
PIRL_API gboolean pirl_jpeg_coder_load_rgb (PirlJpegCoder *coder, const PirlImage *image,
    GError **error);
/** The loaded picture's size; 0 x 0 before the first. */
PIRL_API void pirl_jpeg_coder_size (const PirlJpegCoder *coder, gint *width, gint *height);

/** The loaded picture as a JPEG file of @quality. *@data is the coder's, good until its next call. */
PIRL_API gboolean pirl_jpeg_coder_encode (PirlJpegCoder *coder, gint quality, PirlHuffman huffman,
    const guint8 **data, gsize *size, GError **error);

/** The file that the last call of pirl_jpeg_coder_encode() made of the loaded picture, which is the
 * coder's as there; FALSE = there was none. */
PIRL_API gboolean pirl_jpeg_coder_last_file (const PirlJpegCoder *coder, gint *quality,
    PirlHuffman *huffman, const guint8 **data, gsize *size);

/** A part of a preview, x0 <= x < x1, y0 <= y < y1. */
typedef struct {
  gint x0, y0, x1, y1;
} PirlPart;

/** The size of a preview: 1/8, 1/4, 1/2 or 1/1 of the picture's, the smallest of these whose short side
 * is at least @short_side. */
PIRL_API void pirl_jpeg_coder_preview_size (const PirlJpegCoder *coder, gint short_side,
    gint *width, gint *height);
/** What a decoder shows of quality @quality (0 = of the unquantised coefficients), as RGB of that
 * size, at least in @part (NULL: all of it); what lies elsewhere in @rgb means nothing then.
 * Dequantised coefficients, scaled inverse DCT (the low coefficients only), chroma brought to luma's
 * size. At 1/1 within 2 levels on average of encoding and decoding for real. */
PIRL_API void pirl_jpeg_coder_preview (PirlJpegCoder *coder, gint quality, gint short_side,
    const PirlPart *part, PirlImage *rgb);

/** Bytes of the file at each of @qualities, predicted: exact bit counts of a sample of MCUs (all of
 * them for small pictures), scaled up, plus headers. Within 3 % for photographs. *@last_standard
 * (may be NULL): those of the last quality with standard tables, at little more cost. */
PIRL_API void pirl_jpeg_coder_sizes (PirlJpegCoder *coder, const gint *qualities, guint n,
    PirlHuffman huffman, gdouble *bytes, gdouble *last_standard);
