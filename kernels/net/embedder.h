/* gst-pirl: a trained network as a function from a picture to a vector.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads our checkpoints and plain torchvision files. Preprocessing follows the file's metadata,
 * else ImageNet's: short side to 256 (antialiased bilinear, Pillow's 8-bit arithmetic), centre crop
 * 224, mean and std. Not thread-safe: one embedder, one thread at a time.
 */
#pragma once

#include "backends/backend.h"
#include "vision/image.h"

typedef struct _PirlEmbedder PirlEmbedder;

/**
 * @layer: "embedding" (head f, unit length), "logits" (the classifier), "features" (global average
 * of the last map), of a ResNet also "res5" (the same) .. "res1". NULL = "embedding" where the file
 * has a head, else the features. @precision: "auto", "f32", "tf32", "bf16", "fp16".
 * "res4-9k" and the like: that map pooled to about 9,000 values (net/pooling.h), place by place, the
 * channels innermost. Several with commas: their vectors lie one behind the other, and cost one pass.
 * A layer that the file does not have is %PIRL_ERROR_MISMATCH and lists those it has.
 */
PIRL_API PirlEmbedder *pirl_embedder_new (const gchar *model_file, const gchar *layer,
    const gchar *device, const gchar *precision, guint n_threads, guint batch, GError **error);
/** The same for pictures of another size than the file says: the short side becomes @side pixels, and
 * the centre square is embedded; of a square picture of @side all of it as it is (patches, in the
 * size that they were trained in). */
PIRL_API PirlEmbedder *pirl_embedder_new_at (const gchar *model_file, gint side,
    const gchar *layer, const gchar *device, const gchar *precision, guint n_threads, guint batch,
    GError **error);
/** An untrained network (for comparison): random weights from @seed, no file.
 * @base_width and @width as of pirl_trunk_from_name(). */
PIRL_API PirlEmbedder *pirl_embedder_new_random (const gchar *arch, gint base_width,
    gdouble width, gint image_size, guint64 seed, const gchar *layer, const gchar *device,
    const gchar *precision, guint n_threads, guint batch, GError **error);
PIRL_API void pirl_embedder_free (PirlEmbedder *embedder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlEmbedder, pirl_embedder_free)

/** As many as may be asked for at once. */
#define PIRL_EMBEDDER_MAX_LAYERS 16
/** Length of the vector, of all layers together. */
PIRL_API guint pirl_embedder_size (const PirlEmbedder *embedder);
/** What a picture's short side is brought to before the crop: a picture that is already that small
 * loses nothing. */
PIRL_API gint pirl_embedder_short_side (const PirlEmbedder *embedder);
/** The side of the centre crop that is embedded then. */
PIRL_API gint pirl_embedder_crop (const PirlEmbedder *embedder);
/** As asked for: with commas where there are several. */
PIRL_API const gchar *pirl_embedder_layer (const PirlEmbedder *embedder);
/** Of each layer channels:columns:rows:1, with commas: "256:6:6:1,2048:1:1:1". */
PIRL_API const gchar *pirl_embedder_dimensions (const PirlEmbedder *embedder);
/** "resnet50, <sha-like hash of the weights>": what the `model` field of the meta says. */
PIRL_API const gchar *pirl_embedder_model (const PirlEmbedder *embedder);
PIRL_API const gchar *pirl_embedder_device (const PirlEmbedder *embedder);
/** "f32", "bf16", ...: after `auto` was decided. */
PIRL_API const gchar *pirl_embedder_precision (const PirlEmbedder *embedder);

/** Resizes, crops and embeds n <= batch RGB pictures of any size into n rows of floats. */
PIRL_API gboolean pirl_embedder_run (PirlEmbedder *embedder, const PirlImage *const *pictures,
    guint n, gfloat *out, GError **error);
/** Whether pictures may lie in the device's memory. */
PIRL_API gboolean pirl_embedder_reads_surfaces (const PirlEmbedder *embedder);
/** The same as pirl_embedder_run() of pictures in the device's memory. */
PIRL_API gboolean pirl_embedder_run_surfaces (PirlEmbedder *embedder,
    const PirlSurface *const *surfaces, guint n, gfloat *out, GError **error);
/** The same from one dense normalised input 3,h,w (batch must be 1): for parity tests. */
PIRL_API gboolean pirl_embedder_run_floats (PirlEmbedder *embedder, const gfloat *input,
    gfloat *out, GError **error);
