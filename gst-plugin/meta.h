/* gst-pirl: metas, events, queries and caps that several elements share.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The metas are GstCustomMeta without tags, so that decoders, converters and scalers keep them.
 *
 *   pirl-sample     index (uint64), count (uint64, 0 = unknown), epoch (uint), label (int, -1 =
 *                   none), split (string: "train", "test" or ""), name (string), position (uint64: of
 *                   the sample in its epoch's order, unreadable ones counted)
 *   pirl-pretext    transform (string: "jigsaw", "rotation", "both", "crop"), permutation
 *                   (GstValueArray of int: position i shows that cell), permutation-index (int, -1 =
 *                   from all), rotation (int, degrees counter-clockwise: 0, 90, 180, 270), crops
 *                   (GstValueArray of int: x, y, w, h of the image view and of the second view),
 *                   image-size, crop-size, patch-size, grid (int), offsets
 *                   (GstValueArray of int: x, y of the patch in each cell), flips (GstValueArray
 *                   of int: image, then the cells), jitter (GstValueArray of double: brightness,
 *                   contrast, saturation, hue, grayscale, blur radius for the image, then for each
 *                   cell), orders (GstValueArray of int, four for each of these: 0 brightness,
 *                   1 contrast, 2 saturation, 3 hue, in the order they are applied), photometric
 *                   (GstValueArray of double, four each: whether, posterize bits, solarize
 *                   threshold, sharpness); pretext.h reads and writes it
 *   pirl-embedding  data (GBytes of little-endian float32), size (uint), layer (string), model
 *                   (string), age (uint64, nanoseconds of running time since the frame it was
 *                   computed from; 0 = this frame), dimensions (string, as in other/tensors caps: of
 *                   each layer, whose vectors lie one behind the other; @layer then lists them, too)
 *   adacompress     quality (int), agreement (double, predicted, -1 = not known), state (string:
 *                   "inference", "estimate", "retrain", or "fixed" without an agent)
 *   adacompress-labels  labels (GstValueArray of string: what a service saw, by its stable
 *                   identifiers, the best first), texts (GstValueArray of string: the same for
 *                   people), scores (GstValueArray of double, 0..1), frame (uint64: the number,
 *                   from 0, of the frame that was looked at: the newest that was answered when this
 *                   one left), age (uint64, nanoseconds of running time since that frame;
 *                   GST_CLOCK_TIME_NONE = not known)
 *   pirl-region     of a frame that shows less than its picture; crop.h has it
 *   event pirl-dataset (sticky): count (uint64, samples an epoch of this stream has), total (uint64,
 *                   more than every index: that of all shards), n-classes (uint), class-names
 *                   (GstValueArray of string), epochs (uint, 0 = endless), seed (uint64), hash (string)
 *   query pirl-resume (custom, downstream): the sink answers epoch (uint64), index (uint64), seed
 *                   (uint64), hash (string)
 */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_PIRL_SAMPLE_META "pirl-sample"
#define GST_PIRL_PRETEXT_META "pirl-pretext"
#define GST_PIRL_EMBEDDING_META "pirl-embedding"
#define GST_PIRL_COMPRESS_META "adacompress"
#define GST_PIRL_LABELS_META "adacompress-labels"
#define GST_PIRL_DATASET_EVENT "pirl-dataset"
#define GST_PIRL_RESUME_QUERY "pirl-resume"

/** Registers the metas (once a process). */
void gst_pirl_meta_init (void);

typedef struct {
  guint64 index, count;
  guint epoch;
  gint label;
  const gchar *split, *name;    /* owned by the meta on reading */
  guint64 position;             /* in its epoch's order, unreadable ones counted: what `pirl-resume`
                                 * counts in */
} GstPirlSample;

/** Attaches a copy of @sample, strings too; replaces an earlier one. */
void gst_pirl_sample_add (GstBuffer * buffer, const GstPirlSample * sample);
/** FALSE when the buffer has none. */
gboolean gst_pirl_sample_get (GstBuffer * buffer, GstPirlSample * sample);

/** Attaches an embedding; takes a reference on @data. Replaces an earlier one. Of several layers,
 * @layers and @dimensions are lists: "res4,res5", "256:1:1:1,512:1:1:1". */
void gst_pirl_embedding_add (GstBuffer * buffer, GBytes * data, const gchar * layers,
    const gchar * dimensions, const gchar * model, GstClockTime age);

typedef struct {
  GBytes *data;                 /* all owned by the meta */
  const gchar *layer, *model, *dimensions;
  GstClockTime age;
} GstPirlEmbedding;
/** FALSE when the buffer has none. */
gboolean gst_pirl_embedding_get (GstBuffer * buffer, GstPirlEmbedding * embedding);

/** Says how a JPEG was made. @agreement: -1 = not known. */
void gst_pirl_compress_add (GstBuffer * buffer, gint quality, gdouble agreement,
    const gchar * state);
/** FALSE when the buffer does not say; @state is owned by the meta. */
gboolean gst_pirl_compress_get (GstBuffer * buffer, gint * quality, gdouble * agreement,
    const gchar ** state);

/** What a service saw, the best first; the arrays are of one length. */
typedef struct {
  const GValue *labels, *texts; /* GstValueArrays of string: identifiers; for people */
  const GValue *scores;         /* GstValueArray of double */
  guint64 frame;
  GstClockTime age;
} GstPirlServiceLabels;
/** Copies the arrays; replaces earlier labels. */
void gst_pirl_service_labels_add (GstBuffer * buffer, const GstPirlServiceLabels * labels);
/** FALSE when the buffer has none; the arrays are owned by the meta. */
gboolean gst_pirl_service_labels_get (GstBuffer * buffer, GstPirlServiceLabels * labels);

typedef struct {
  guint64 count;
  guint n_classes;
  gchar **class_names;          /* NULL-terminated, may be NULL */
  guint epochs;
  guint64 seed;
  gchar *hash;
  guint64 total;                /* of all shards, indices are less; 0 = count */
} GstPirlDataset;

/** The sticky event `pirl-dataset`, with a copy of @dataset. */
GstEvent *gst_pirl_dataset_event_new (const GstPirlDataset * dataset);
/** FALSE when @event is another; clear with gst_pirl_dataset_clear(). */
gboolean gst_pirl_dataset_parse (GstEvent * event, GstPirlDataset * dataset);
/** Frees what gst_pirl_dataset_parse() has filled. */
void gst_pirl_dataset_clear (GstPirlDataset * dataset);

/** `pirl-resume`: a source asks downstream where in the data set to begin. */
GstQuery *gst_pirl_resume_query_new (void);
/** Whether @query is that one. */
gboolean gst_pirl_is_resume_query (GstQuery * query);
/** Begin at position @index of @epoch, of the data set @hash (NULL: any) drawn with @seed. */
void gst_pirl_resume_answer (GstQuery * query, guint64 epoch, guint64 index, guint64 seed,
    const gchar * hash);
/** FALSE when nobody answered; @hash is owned by the query. */
gboolean gst_pirl_resume_parse (GstQuery * query, guint64 * epoch, guint64 * index,
    guint64 * seed, const gchar ** hash);

/** other/tensors,format=static caps as NNStreamer writes them. */
#define GST_PIRL_TENSORS_CAPS "other/tensors,format=(string)static"
/** @n tensors; lists as NNStreamer has them ("uint8,uint8", "3:64:64:1,3:18:18:9"). A framerate of
 * @fps_d 0 is not known. */
GstCaps *gst_pirl_tensors_caps (gint n, const gchar * types, const gchar * dimensions, gint fps_n,
    gint fps_d);
/** One of them, "3:64:64:1", as four numbers; missing outer ones are 1. */
gboolean gst_pirl_dimension_parse (const gchar * text, gint dim[4]);
/** Whether @list is @want, whichever of NNStreamer's two separators it uses. */
gboolean gst_pirl_same_list (const gchar * list, const gchar * want);
/** As many float32 tensors as @dimensions lists: "256:3:3:1,512:1:1:1". */
GstCaps *gst_pirl_features_caps (const gchar * dimensions, gint fps_n, gint fps_d);

/** NNStreamer's limit. */
#define GST_PIRL_MAX_TENSORS 16
/** A tensor of features: the innermost dimension, and the product of the others. */
typedef struct {
  guint channels, positions;
} GstPirlFeatures;
/** Reads a list of dimensions; 0 when it is none. */
guint gst_pirl_dimensions_parse (const gchar * dimensions,
    GstPirlFeatures features[GST_PIRL_MAX_TENSORS]);
/** Reads tensors caps of features; 0 with a reason (transfer full) when they are something else. */
guint gst_pirl_features_caps_parse (const GstCaps * caps,
    GstPirlFeatures features[GST_PIRL_MAX_TENSORS], gchar ** reason);

G_END_DECLS
