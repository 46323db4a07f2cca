/* gst-pirl: launchers of the CUDA backend's learning kernels (contrast.cu, optimiser.cu).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * All pointers are device memory; values that change from step to step are read from there too
 * (pirl_cuda_push()), so that a recorded step can be replayed. Launchers queue on @stream and
 * return nothing: pirl_cuda_launched() says how it went.
 */
#pragma once

#include <glib.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "backends/cuda/cuda.h"

/* --- contrast.cu --- */

#define PIRL_CUDA_NCE_EPSILON 1.19e-7   /* FLT_EPSILON to the digits of the formula */
#define PIRL_CUDA_GAIN_BITS 86          /* e = exp ((s - 1) / tau) 2^86: see contrast.cu */

/** Pushed: what a draw depends on (PirlDrawDesc). */
typedef struct {
  guint32 key[2];               /* the seed */
  guint32 epoch, purpose;
  guint32 below, surplus;       /* values below @below; words with a low half under @surplus, which
                                 * is 2^32 mod @below, are skipped */
  guint32 exclude;              /* 1 = step over the positive */
} PirlGpuDraw;

/** Pushed: the numbers of a contrast (PirlContrastDesc); c = K / rows. */
typedef struct {
  gdouble temperature, z, c;
  gdouble factor;               /* of the gradient: scale / (batch * temperature) */
  gfloat inverse_tau, inverse_tau_rest; /* their sum is 1 / temperature to twice the digits */
  gfloat k;                     /* P = k e: see contrast.cu */
  gfloat c_eps, inverse_c;      /* c + eps, 1 / c */
  gfloat near, near_weight;
} PirlGpuContrastValues;

/** A part of one sample's negatives. */
typedef struct {
  gdouble exp_sum;              /* of e; -infinity: a row beyond the bank was asked for */
  gdouble loss;                 /* NCE: sum of log ((P + c + eps) / c) */
  gdouble near;                 /* how many of them are near */
} PirlGpuContrastPart;

/** The same every step. */
typedef struct {
  PirlLoss loss;
  gboolean has_near;            /* some negatives may be near */
  guint batch, dim, parts;
  guint64 rows, negatives, part_size;
  const PirlGpuContrastValues *values;
  const gfloat *embedding;
  gconstpointer bank;
  PirlDType bank_dtype;         /* F32 or F16 */
  const guint32 *positive, *negative;   /* @negative NULL: every row but the positive */
  gfloat *d_embedding;          /* may be NULL */
  const PirlCudaScale *scale;
  /* Scratch. */
  PirlGpuContrastPart *part;    /* [batch][parts] */
  gfloat *part_gradient;        /* [batch][parts][dim], sums of weight * row */
  gdouble *sample;              /* [batch][4]: loss, sum of e with the positive, cosine, how many
                                 * were near */
  gdouble *square;              /* [pirl_gpu_contrast_squares (dim)] */
  /* Result: the sums of @sample, then |mean embedding|^2. */
  gdouble *result;              /* [5] */
} PirlGpuContrast;

void pirl_gpu_draw (guint batch, guint64 negatives, const PirlGpuDraw *draw,
    const guint32 *positive, guint32 *negative, cudaStream_t stream);
/** Chooses @part_size and @parts from the shape alone. */
void pirl_gpu_contrast_cut (PirlGpuContrast *contrast);
guint pirl_gpu_contrast_squares (guint dim);
void pirl_gpu_contrast (const PirlGpuContrast *contrast, cudaStream_t stream);
void pirl_gpu_bank_update (gpointer bank, PirlDType bank_dtype, guint dim, guint batch,
    const guint32 *positive, const gfloat *momentum, const gfloat *embedding, cudaStream_t stream);
void pirl_gpu_rows (gpointer table, gpointer aside, gsize row_bytes, guint n, const guint32 *row,
    gboolean back, cudaStream_t stream);
/** @sample [batch][2]: loss, whether it was right; @result [2]: their sums. */
void pirl_gpu_cross_entropy (guint batch, guint classes, const gfloat *logits,
    const gint32 *labels, gfloat *d_logits, const PirlCudaScale *scale, gdouble *sample,
    gdouble *result, cudaStream_t stream);

/* --- optimiser.cu --- */

/** Pushed. */
typedef struct {
  gfloat lr, momentum, weight_decay;
  gint32 nesterov;
} PirlGpuSgd;

/** Pushed. */
typedef struct {
  gdouble lr, weight_decay, trust, epsilon;
  gfloat momentum;
} PirlGpuLars;

/** Blocks that work on one tensor. */
#define PIRL_CUDA_LARS_PIECES 32

/** Pushed: dst = keep dst + take src. */
typedef struct {
  gfloat keep, take;
} PirlGpuAverage;

/** Pushed: w -= rate * m / (root * sqrt (v) + epsilon), the corrections of bias being in @rate and
 * @root. */
typedef struct {
  gfloat rate, root, epsilon, weight_decay;
  gfloat beta1, rest1, beta2, rest2;    /* rest = 1 - beta */
} PirlGpuAdam;

/** At a step's begin: no gradient was seen yet. Also once after the scale was set. */
void pirl_gpu_scale_begin (PirlCudaScale *scale, cudaStream_t stream);
/** At a step's end: doubles or halves the scale; @scale->finite stays as it is. */
void pirl_gpu_scale_end (PirlCudaScale *scale, cudaStream_t stream);
void pirl_gpu_check (gsize n, const gfloat *gradients, PirlCudaScale *scale, cudaStream_t stream);
void pirl_gpu_sgd (gsize n, gfloat *weights, const gfloat *gradients, gfloat *velocity,
    const PirlGpuSgd *values, const PirlCudaScale *scale, cudaStream_t stream);
void pirl_gpu_adam (gsize n, gfloat *weights, const gfloat *gradients, gfloat *first,
    gfloat *second, const PirlGpuAdam *values, const PirlCudaScale *scale, cudaStream_t stream);

/** @segment: pushed; @square [n_segments][PIRL_CUDA_LARS_PIECES][2]: scratch. */
void pirl_gpu_lars (guint n_segments, const PirlSegment *segment, gfloat *weights,
    const gfloat *gradients, gfloat *velocity, const PirlGpuLars *values, gdouble *square,
    const PirlCudaScale *scale, cudaStream_t stream);
void pirl_gpu_average (gsize n, gfloat *dst, const gfloat *src, const PirlGpuAverage *values,
    const PirlCudaScale *scale, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
