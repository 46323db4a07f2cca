/* gst-pirl: what the files of the CPU backend share.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#pragma once

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/onednn.h"

#define PIRL_CPU_ALIGNMENT 64

typedef struct {
  PirlDevice base;
  PirlDnn *dnn;
} PirlCpuDevice;

/** What every plan begins with. */
struct _PirlUnitPlan {
  PirlCpuDevice *device;
  PirlUnitDesc desc;
  gboolean bf16_products;       /* of convolutions, with AMX; values are floats then */
  PirlDType input_dtype;
  PirlDnnFormat *input, *residual, *output;     /* own; NULL for INPUT's input, or no residual */
};

/** One kind of unit. */
typedef struct {
  gsize size;                   /* of its plan; zeroed before plan() */
  /* Fills the rest of the plan; must end with pirl_cpu_set_output(). */
  gboolean (*plan) (PirlUnitPlan *plan, PirlTensorDesc *output, PirlUnitMemory *memory,
      GError **error);
  gboolean (*run) (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error);
  void (*clear) (PirlUnitPlan *plan);   /* may be NULL; also after a failed plan() */
} PirlCpuUnit;

extern const PirlCpuUnit pirl_cpu_input, pirl_cpu_conv, pirl_cpu_maxpool, pirl_cpu_avgpool,
    pirl_cpu_linear, pirl_cpu_batchnorm, pirl_cpu_l2norm;

/** Takes @format as that of the unit's result and describes it in @output. */
void pirl_cpu_set_output (PirlUnitPlan *plan, PirlDnnFormat *format, PirlDType dtype,
    PirlTensorDesc *output);
/** Reorder @from -> @to; NULL in @op (and TRUE) where nothing needs to move. */
gboolean pirl_cpu_reorder (PirlUnitPlan *plan, const PirlDnnFormat *from, const PirlDnnFormat *to,
    PirlDnnOp **op, GError **error);
/** @src as @op makes it of it, in @buffer; @src itself without @op. NULL on error. */
gpointer pirl_cpu_moved (PirlDnnOp *op, gconstpointer src, gpointer buffer, gpointer scratchpad,
    GError **error);
/** How own loops walk a value in @format; FALSE when they cannot. */
gboolean pirl_cpu_tiling (const PirlDnnFormat *format, PirlDims dims, PirlTiling *tiling);
/** Rows of numbers, one a channel. */
void pirl_cpu_row_tiling (gsize rows, gint channels, PirlTiling *tiling);
/** Aligned and zeroed memory; NULL with @error when there is none. Free with free(). */
gpointer pirl_cpu_alloc (gsize bytes, GError **error);

/** Once a process: keeps OpenMP's threads from spinning for long (team.c). */
void pirl_cpu_wait_patiently (void);

static inline gsize
pirl_cpu_align (gsize bytes)
{
  return (bytes + PIRL_CPU_ALIGNMENT - 1) & ~(gsize) (PIRL_CPU_ALIGNMENT - 1);
}

/** Sets @bytes aside behind @cursor; returns their offset. */
static inline gsize
pirl_cpu_region (gsize *cursor, gsize bytes)
{
  const gsize at = *cursor;

  *cursor += pirl_cpu_align (bytes);
  return at;
}

/* --- batch norm of a unit (norm.c) ----------------------------------------------------------- */

/** Batch norm + residual + activation over a tiling. */
typedef struct {
  PirlTiling tiling;
  PirlActivation act;
} PirlNorm;

/** What FORWARD leaves for BACKWARD, and what a pass needs besides. */
gsize pirl_norm_saved_bytes (const PirlNorm *norm);
gsize pirl_norm_scratch_bytes (const PirlNorm *norm);

typedef struct {
  const PirlNorm *norm;
  const PirlUnitBuffers *buffers;       /* param, grad, update_statistics */
  gpointer saved, scratch;
} PirlNormRun;

void pirl_norm_forward (const PirlNormRun *run, const gfloat *x, const gfloat *residual,
    gfloat *out);
/** @d: gradient of the result, becomes that of @x. @out: the result where there was a residual,
 * else NULL. @d_residual may be NULL. */
void pirl_norm_backward (const PirlNormRun *run, const gfloat *x, const gfloat *out, gfloat *d,
    gfloat *d_residual, gboolean accumulate_residual);
/** Inference: x * scale[c] + shift[c] from the running statistics. */
void pirl_norm_fold (gpointer const *param, gsize channels, gfloat *scale, gfloat *shift);

/* --- convolutions as matrix products (taps.c) ------------------------------------------------- */

typedef struct _PirlTaps PirlTaps;

/** NULL where oneDNN's convolution is the better one. */
PirlTaps *pirl_taps_new (const PirlUnitDesc *unit);
void pirl_taps_free (PirlTaps *taps);
/** Values are PIRL_DNN_PLACES, weights pirl_dnn_format_tap_weights(). @bias, @d_bias may be NULL;
 * @d_weights is written, @d_bias added to. */
gboolean pirl_taps_forward (const PirlTaps *taps, const gfloat *src, const gfloat *weights,
    const gfloat *bias, gfloat *dst, GError **error);
gboolean pirl_taps_backward_data (const PirlTaps *taps, const gfloat *d_dst,
    const gfloat *weights, gfloat *d_src, GError **error);
gboolean pirl_taps_backward_weights (const PirlTaps *taps, const gfloat *src,
    const gfloat *d_dst, gfloat *d_weights, gfloat *d_bias, GError **error);

/* --- contrast (contrast.c) ------------------------------------------------------------------- */

gboolean pirl_cpu_contrast (const PirlContrastDesc *desc, const gfloat *embedding,
    gconstpointer bank, const guint32 *positive, const guint32 *negative, gfloat *d_embedding,
    PirlContrastStats *stats, GError **error);
gboolean pirl_cpu_bank_update (gpointer bank, PirlDType bank_dtype, gsize dim, gsize batch,
    const guint32 *positive, const gfloat *momentum, const gfloat *embedding, GError **error);
