/* gst-pirl: own loops of the CPU backend, for what oneDNN does not do or does in more passes over
 * memory: batch norm with its residual and activation, pooling to one vector, the glue of vectors.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All run on the OpenMP threads of the caller's setting, divide statically and reduce in a fixed
 * order: the same inputs give the same bits whatever the number of threads.
 */
#pragma once

#include "backends/backend.h"

/**
 * PirlTiling: a value as @samples x @blocks tiles; a tile holds @positions places, @stride elements
 * apart, of @lanes channels side by side (the last block may have fewer). Covers planes (n,c,h,w),
 * oneDNN's blocked formats, rows (n,h,w,c) and vectors.
 */
typedef struct {
  gint samples, blocks, lanes, channels;
  gsize positions, stride, block_step, sample_step;
} PirlTiling;

/** Channels, rounded up to whole blocks: the length of per-channel arrays below. */
static inline gsize
pirl_tiling_channels (const PirlTiling *t)
{
  return (gsize) t->blocks * t->lanes;
}

/* --- batch norm ------------------------------------------------------------------------------ */

/** Bytes of @partial for the functions below. */
gsize pirl_bn_partial_bytes (const PirlTiling *t);
/** Mean and sum of squared deviations per channel. */
void pirl_bn_statistics (const PirlTiling *t, const gfloat *x, gdouble *partial, gdouble *mean,
    gdouble *m2);
/** out = act (x * scale + shift + residual); @residual may be NULL, @out may be @x. */
void pirl_bn_apply (const PirlTiling *t, const gfloat *x, const gfloat *residual,
    const gfloat *scale, const gfloat *shift, PirlActivation act, gfloat *out);

/** The backward pass of pirl_bn_apply() with the statistics of its own batch. */
typedef struct {
  const PirlTiling *tiling;
  PirlActivation act;
  const gfloat *x;              /* what was normalised */
  const gfloat *out;            /* the result, where a residual was added; else NULL, and the
                                 * activation's mask is taken from x * scale + shift */
  const gfloat *scale, *shift, *mean;
  gfloat *d;                    /* gradient of the result; becomes the gradient of x */
  gfloat *d_residual;           /* or NULL */
  gboolean accumulate_residual;
} PirlBnBackward;

/** sum_d = sum of d, sum_dx = sum of d * (x - mean) per channel, d behind the activation's mask;
 * fills d_residual. Where @out is given, d is masked in place. */
void pirl_bn_backward_sums (const PirlBnBackward *b, gdouble *partial, gdouble *sum_d,
    gdouble *sum_dx);
/** d = k[0] * d + k[1] * (x - mean) + k[2], k: three arrays of a value per channel. */
void pirl_bn_backward_apply (const PirlBnBackward *b, const gfloat *const k[3]);

/* --- pooling to vectors ---------------------------------------------------------------------- */

/** out[n][c] = mean of the positions. */
void pirl_avgpool_forward (const PirlTiling *t, const gfloat *x, gfloat *out);
/** d_x (+)= d[n][c] / positions. */
void pirl_avgpool_backward (const PirlTiling *t, const gfloat *d, gboolean accumulate, gfloat *d_x);

/* --- elementwise ----------------------------------------------------------------------------- */

/** x = act (x + residual); @residual may be NULL. */
void pirl_activate (gfloat *x, const gfloat *residual, gsize n, PirlActivation act);
/** d = d where the result @out was not clipped, else 0; copied or added to @d_residual if any. */
void pirl_activate_backward (gfloat *d, const gfloat *out, gsize n, PirlActivation act,
    gfloat *d_residual, gboolean accumulate);
/** dst += src. */
void pirl_add (gfloat *dst, const gfloat *src, gsize n);
void pirl_copy (gpointer dst, gconstpointer src, gsize bytes);
void pirl_clear (gpointer dst, gsize bytes);
void pirl_float_from_bf16 (const guint16 *src, gfloat *dst, gsize n);

/** The n pictures of h x w packed RGB -> planes of floats, or of bf16: (x/255 - mean) / std. */
void pirl_normalise (const guint8 *const *pictures, PirlDims dims, const gfloat mean[3],
    const gfloat std[3], PirlDType dtype, gpointer out);

/* --- vectors: n rows of c -------------------------------------------------------------------- */

/** x = act (x + bias); @bias may be NULL. */
void pirl_rows_bias (gfloat *x, const gfloat *bias, gsize n, gsize c, PirlActivation act);
/** sums[c] += column sums. */
void pirl_rows_add_sums (const gfloat *x, gsize n, gsize c, gfloat *sums);

#define PIRL_L2NORM_EPSILON 1e-12

void pirl_rows_l2norm (const gfloat *x, gsize n, gsize c, gfloat *out);
/** d_x (+)= (d - y (y . d)) / |x|, y = x / |x|; without the projection below the epsilon. */
void pirl_rows_l2norm_backward (const gfloat *x, const gfloat *d, gsize n, gsize c,
    gboolean accumulate, gfloat *d_x);

/* --- training -------------------------------------------------------------------------------- */

/** g = gradient + weight_decay w. SGD: v = momentum v + g; w -= lr v, with Nesterov's momentum
 * w -= lr (g + momentum v). LARS, where @lr is that of the tensor: v = momentum v + lr g; w -= v. */
typedef struct {
  gfloat lr, momentum, weight_decay;
  gboolean nesterov;
} PirlSgd;

void pirl_sgd_step (gsize n, gfloat *weights, const gfloat *gradients, gfloat *velocity,
    const PirlSgd *sgd);
void pirl_lars_step (gsize n, gfloat *weights, const gfloat *gradients, gfloat *velocity,
    const PirlSgd *sgd);
/** The same bits for any number of threads. */
gdouble pirl_norm (gsize n, const gfloat *x);
/** dst = keep dst + (1 - keep) src. */
void pirl_average_step (gsize n, gfloat *dst, const gfloat *src, gdouble keep);

/** A step of Adam: m += (g - m) * rate1; v += (g^2 - v) * rate2;
 * w -= step * m / (sqrt (v) * unbias + epsilon). */
typedef struct {
  gfloat step;                  /* lr / (1 - beta1^t) */
  gfloat rate1, rate2;          /* 1 - beta */
  gfloat unbias;                /* 1 / sqrt (1 - beta2^t) */
  gfloat epsilon, weight_decay;
} PirlAdam;

void pirl_adam_step (gsize n, gfloat *weights, const gfloat *gradients, gfloat *first,
    gfloat *second, const PirlAdam *adam);
