/* gst-pirl: what the files of the CUDA backend share.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The C files plan, keep books and choose; the .cu files hold kernels and their launchers;
 * convolution.h (cuDNN) and matmul.h (cuBLASLt) are the only doors to NVIDIA's libraries.
 *
 * Values. Pictures are NHWC with the channels rounded up to a multiple of 8 (*stored* channels),
 * so that every access can be 16 bytes wide: a PirlTensorDesc whose format is a PirlCudaFormat.
 * Stored channels beyond dims.c are zero in every value and every gradient; who writes a value
 * keeps it so. Vectors (h = w = 1 behind AVGPOOL) are dense rows of floats: format NULL, F32.
 * Parameters and their gradients are dense floats as everywhere (conv [out][in/groups][k][k]);
 * a unit packs what a pass needs of them (16 bit, [out][k][k][in], stored channels) itself.
 *
 * Steps. Between step_begin and step_end everything is queued on one stream. The first two steps
 * run as they are queued; the third is recorded into a CUDA graph, and from then on operations only
 * *push* their host values and the graph is launched. So no operation of a step may use a host
 * value but through pirl_cuda_push(), allocate, or wait.
 */
#pragma once

#include <cuda_runtime_api.h>

#include "backends/backend.h"
#include "backends/cuda/convolution.h"
#include "backends/cuda/matmul.h"

/** What libraries may use beside the tensors. */
#define PIRL_CUDA_WORKSPACE ((gsize) 64 << 20)
/** Rounds channels up to what is stored. */
#define PIRL_CUDA_LANES 8

static inline gint
pirl_cuda_stored (gint channels)
{
  return (channels + PIRL_CUDA_LANES - 1) / PIRL_CUDA_LANES * PIRL_CUDA_LANES;
}

/** How pictures are kept; owned by the plan that produced the value. */
typedef struct {
  gint stored;                  /* channels, a multiple of PIRL_CUDA_LANES */
} PirlCudaFormat;

/** The state of the device's loss scaling, in device memory (optimiser.cu). */
typedef struct {
  gfloat scale, inverse;        /* 1, 1 when scaling is off */
  gint32 finite;                /* of this step's gradients so far */
  gint32 clean;                 /* finite steps since the scale last changed */
  gint32 scaling;               /* whether the scale adapts */
} PirlCudaScale;

typedef struct _PirlCudaSteps PirlCudaSteps;    /* steps.c */

typedef struct {
  PirlDevice base;
  gint ordinal;
  gint compute;                 /* 90 = sm_90 */
  gint multiprocessors;
  cudaStream_t stream;          /* everything but STAGE */
  cudaStream_t copies;          /* STAGE */
  gpointer workspace;           /* PIRL_CUDA_WORKSPACE bytes, for convolutions and products */
  gpointer scratch;             /* see pirl_cuda_scratch() */
  gsize scratch_bytes;
  PirlCudaScale *scale;         /* device memory */
  PirlConvEngine *conv;
  PirlMatmulEngine *matmul;
  PirlCudaSteps *steps;
} PirlCudaDevice;

/* --- errors --- */

/** TRUE for cudaSuccess; else %PIRL_ERROR_BACKEND with what was tried and CUDA's own words. */
gboolean pirl_cuda_ok (cudaError_t status, const gchar *what, GError **error);
/** The same for the launches so far (cudaGetLastError). */
gboolean pirl_cuda_launched (const gchar *what, GError **error);

/* --- host values, results, queueing (steps.c) --- */

/** Brings @bytes of host values to the device; the address is good until the step's end (outside
 * of a step: until pirl_cuda_settle()) and the same step after step. 16-byte aligned. */
gpointer pirl_cuda_push (PirlCudaDevice *device, gconstpointer values, gsize bytes,
    GError **error);
/** Device memory for @bytes of results. At the step's end (outside of a step: in
 * pirl_cuda_settle()) they are on the host and @done (values, a copy of @closure) is called. */
typedef void (*PirlCudaDone) (gconstpointer values, gconstpointer closure);
gpointer pirl_cuda_result (PirlCudaDevice *device, gsize bytes, PirlCudaDone done,
    gconstpointer closure, gsize closure_bytes, GError **error);
/** FALSE while a recorded step is replayed: push and ask for results as always, but launch
 * nothing. */
gboolean pirl_cuda_launches (PirlCudaDevice *device);
/** Ends an operation: outside of a step waits for it and delivers its results. */
gboolean pirl_cuda_settle (PirlCudaDevice *device, GError **error);
/** Device memory for the time of one operation, at least @bytes, 256-byte aligned. Grows outside
 * of recorded steps only, with everything queued done first. */
gpointer pirl_cuda_scratch (PirlCudaDevice *device, gsize bytes, GError **error);

/** Makes the step's work (outside of a step: what is queued from now on) wait for @event, which is
 * recorded on another stream. Also while a recorded step is replayed. */
gboolean pirl_cuda_before_launch (PirlCudaDevice *device, cudaEvent_t event, GError **error);
/** FALSE with an error inside a step: @what waits for the device, or plans. */
gboolean pirl_cuda_outside (PirlCudaDevice *device, const gchar *what, GError **error);

PirlCudaSteps *pirl_cuda_steps_new (PirlCudaDevice *device, GError **error);
void pirl_cuda_steps_free (PirlCudaSteps *steps);
/** Plans or memory changed: the recorded graph is void. */
void pirl_cuda_steps_forget (PirlCudaDevice *device);
/** Notes that an operation with this identity was queued; a replayed step that differs from the
 * recorded one is an error at its end. */
void pirl_cuda_steps_note (PirlCudaDevice *device, gconstpointer plan, guint pass,
    gconstpointer memory);
/* Members of PirlBackend. */
gboolean pirl_cuda_step_begin (PirlDevice *device, GError **error);
gboolean pirl_cuda_step_launch (PirlDevice *device, GError **error);
gboolean pirl_cuda_step_end (PirlDevice *device, PirlStepResult *result, GError **error);
void pirl_cuda_step_abort (PirlDevice *device);
void pirl_cuda_set_loss_scale (PirlDevice *device, const PirlLossScale *scale);

/* --- units --- */

/** What every plan begins with. */
struct _PirlUnitPlan {
  PirlCudaDevice *device;
  PirlUnitDesc desc;
  gint input_stored, output_stored;     /* channels; 0 for vectors */
  PirlCudaFormat output_format;         /* what the output's desc points to */
};

/** One kind of unit. */
typedef struct {
  gsize size;                   /* of its plan; zeroed before plan() */
  gboolean vectors;             /* takes rows, not pictures */
  /* Fills the rest of the plan and @memory; the output's desc is made by the caller. */
  gboolean (*plan) (PirlUnitPlan *plan, PirlUnitMemory *memory, GError **error);
  gboolean (*run) (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *b, GError **error);
  void (*clear) (PirlUnitPlan *plan);   /* may be NULL; also after a failed plan() */
} PirlCudaUnit;

extern const PirlCudaUnit pirl_cuda_conv;       /* conv.c */
/** Of two CONV units; see PirlBackend's unit_fuse. */
gboolean pirl_cuda_conv_fuse (PirlUnitPlan *producer, PirlUnitPlan *consumer,
    PirlTensorDesc *value, PirlUnitMemory *memory);
extern const PirlCudaUnit pirl_cuda_input;      /* input.c */
extern const PirlCudaUnit pirl_cuda_maxpool, pirl_cuda_avgpool;  /* pictures.c */
extern const PirlCudaUnit pirl_cuda_linear, pirl_cuda_batchnorm, pirl_cuda_l2norm; /* vectors.c */

/** Sets @bytes aside behind @cursor, 256-byte aligned; returns their offset. */
static inline gsize
pirl_cuda_region (gsize *cursor, gsize bytes)
{
  const gsize at = *cursor;

  *cursor += (bytes + 255) & ~(gsize) 255;
  return at;
}

/* --- learning (contrast.c, optimiser.c): members of PirlBackend --- */

gboolean pirl_cuda_rows (PirlDevice *device, gpointer table, gpointer aside, gsize row_bytes,
    guint n, const guint32 *row, gboolean back, GError **error);
gboolean pirl_cuda_draw (PirlDevice *device, const PirlDrawDesc *desc, const guint32 *positive,
    guint32 *negative, GError **error);
gboolean pirl_cuda_contrast (PirlDevice *device, const PirlContrastDesc *desc,
    gconstpointer embedding, gconstpointer bank, const guint32 *positive, const guint32 *negative,
    gpointer d_embedding, PirlContrastStats *stats, GError **error);
gboolean pirl_cuda_bank_update (PirlDevice *device, gpointer bank, PirlDType bank_dtype, guint dim,
    guint batch, const guint32 *positive, const gfloat *momentum, gconstpointer embedding,
    GError **error);
gboolean pirl_cuda_cross_entropy (PirlDevice *device, guint batch, guint classes,
    gconstpointer logits, const gint *labels, gpointer d_logits, PirlEntropyStats *stats,
    GError **error);
gboolean pirl_cuda_check (PirlDevice *device, gsize n, gconstpointer gradients, GError **error);
gboolean pirl_cuda_sgd (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
    gpointer velocity, gdouble lr, gdouble momentum, gdouble weight_decay, gboolean nesterov,
    GError **error);
gboolean pirl_cuda_adam (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
    gpointer first, gpointer second, guint64 step, gdouble lr, gdouble beta1, gdouble beta2,
    gdouble epsilon, gdouble weight_decay, GError **error);
gboolean pirl_cuda_lars (PirlDevice *device, guint n_segments, const PirlSegment *segments,
    gpointer weights, gconstpointer gradients, gpointer velocity, const PirlLars *values,
    GError **error);
gboolean pirl_cuda_average (PirlDevice *device, gsize n, gpointer dst, gconstpointer src,
    gdouble keep, GError **error);
