/* gst-pirl: regions of pictures: who asks for them, and how frames say that they are no more.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   query pirl-crop   (custom, downstream) before pirldatasetsrc decodes a picture it asks the
 *                     element that gets its frames. It sets index (uint64), epoch (uint), width,
 *                     height (int, of the picture upright), max-divisor (int: 1 or 2). The answer is
 *                     x, y, crop-width, crop-height (int, in pixels of that picture: all that will
 *                     be looked at) and divisor (int, at most max-divisor: 2 where half the width
 *                     and height are enough, since the crop is at least twice as large as what is
 *                     made of it; else 1). No answer: the whole picture.
 *   query pirl-views  (custom, downstream) pirljigsaw asks who takes its tensors; answered where
 *                     only the image view will be looked at.
 *   meta pirl-region  x, y, width, height (int: what the frame shows), full-width, full-height (int:
 *                     of the picture), all in pixels of the picture, and divisor (int: by which the
 *                     frame is smaller than that, rounded outwards)
 *
 * A frame that is no whole picture must reach nobody who takes it for one, and most elements pass
 * queries on that they do not know: a tee, a scaler. The queries are therefore sent to the pad at the
 * end of a path on which nobody else sees the frames, and have in addition pad (GstPad, that one):
 * nobody else may answer.
 */
#pragma once

#include "vision/image.h"

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_PIRL_REGION_META "pirl-region"

typedef struct {
  guint64 index;
  guint epoch;
  gint width, height;
  gint max_divisor;             /* 2: a frame of half the size will do, 1: it will not */
} GstPirlCropRequest;

/** Asks the consumer of @src which region of a picture it will look at; FALSE = all of it. The
 * consumer is who gets the frames unchanged, untouched and alone: the peer, or who is behind queues;
 * nobody where a pad on the way has a probe. Any thread. */
gboolean gst_pirl_ask_crop (GstPad * src, const GstPirlCropRequest * request, PirlRegion * region);
/** FALSE when @query is another, or is not for @sink but was passed on to it. */
gboolean gst_pirl_crop_parse (GstQuery * query, GstPad * sink, GstPirlCropRequest * request);
/** Answers @query: @region, in pixels of the picture, is all that will be looked at. */
void gst_pirl_crop_answer (GstQuery * query, const PirlRegion * region);

/** Whether the consumer of @src says that it will look at image views only. */
gboolean gst_pirl_ask_image_only (GstPad * src);
/** Whether @query is that question, and for @sink; TRUE as its result answers "these only". */
gboolean gst_pirl_is_views_query (GstQuery * query, GstPad * sink);

typedef struct {
  PirlBox box;                  /* in pixels of the picture */
  gint full_width, full_height, divisor;
} GstPirlRegion;

/** Says that @buffer shows a region. */
void gst_pirl_region_add (GstBuffer * buffer, const GstPirlRegion * region);
/** FALSE when it shows a whole picture. */
gboolean gst_pirl_region_get (GstBuffer * buffer, GstPirlRegion * region);
/** Gives @image, the pixels of a frame that shows @region, its place in the (scaled) picture; FALSE
 * when the frame is of another size than the region. */
gboolean gst_pirl_region_place (const GstPirlRegion * region, PirlImage * image);

G_END_DECLS
