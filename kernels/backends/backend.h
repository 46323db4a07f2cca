/* gst-pirl: what a backend must offer.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backend is one table of functions (PirlBackend). It plans and runs *units* -- the pieces a
 * network is made of -- and the few operations of contrastive learning that are no units. It
 * chooses its own decomposition, layouts and fusions; everybody else sees dense tensors.
 *
 * Numerics follow PyTorch: BN normalises with the biased variance, keeps the unbiased one in
 * running_var, momentum 0.1, eps 1e-5.
 *
 * Threads: a device and its plans belong to one thread at a time. Two devices may work at once.
 */
#pragma once

#include "base/base.h"
#include "base/rng.h"
#include "base/surface.h"
#include "base/view.h"

#define PIRL_BACKEND_VERSION 6

/** n samples of c channels of h x w. Vectors have h = w = 1. */
typedef struct {
  gint n, c, h, w;
} PirlDims;

static inline gsize
pirl_dims_count (PirlDims d)
{
  return (gsize) d.n * d.c * d.h * d.w;
}

/**
 * PirlTensorDesc: how a backend keeps a value.
 * @format: NULL = dense, n outermost, w innermost; else the backend's own description, owned by the
 *   plan that produced the value. Vectors (h = w = 1) are always dense rows of c elements, so that
 *   9 rows of 128 can be read as one row of 1152.
 */
typedef struct {
  PirlDims dims;
  PirlDType dtype;
  gsize bytes;
  gconstpointer format;
} PirlTensorDesc;

typedef enum {
  PIRL_UNIT_INPUT,              /* uint8 RGB pictures -> (x/255 - mean) / std */
  PIRL_UNIT_CONV,               /* conv [+ bias] [+ batch norm] [+ residual] [+ activation] */
  PIRL_UNIT_MAXPOOL,
  PIRL_UNIT_AVGPOOL,            /* over the whole picture: n,c,h,w -> n,c,1,1 */
  PIRL_UNIT_LINEAR,             /* x W^T [+ bias] [+ activation], vectors */
  PIRL_UNIT_BATCHNORM,          /* batch norm [+ activation] of vectors */
  PIRL_UNIT_L2NORM,             /* x / max(|x|, 1e-12), vectors */
  PIRL_UNIT_GROUP,              /* n,c -> n/g, g*c: a view; the planner's, no backend sees it */
  PIRL_UNIT_VECTORS,            /* rows of floats from outside: the planner's too */
} PirlUnitKind;

typedef enum { PIRL_ACT_NONE, PIRL_ACT_RELU, PIRL_ACT_RELU6 } PirlActivation;
typedef enum { PIRL_MODE_TRAIN, PIRL_MODE_INFER } PirlMode;

#define PIRL_BN_EPSILON 1e-5
#define PIRL_BN_MOMENTUM 0.1

/** What a unit computes: out = act (bn (conv (in) + bias) + residual). */
typedef struct {
  PirlUnitKind kind;
  PirlMode mode;
  PirlDType dtype;              /* of activations: what supports() agrees to; the reference backend
                                 * computes in F64 whatever stands here */
  PirlDims input, output;       /* dense dims; output.n == input.n */
  gint kernel, stride, padding, groups;        /* CONV (square, zeros) and MAXPOOL (-inf padding) */
  gboolean bias, batch_norm, residual;
  PirlActivation activation;
  gboolean needs_input_gradient;        /* FALSE for what reads the INPUT unit */
  gfloat mean[3], std[3];       /* INPUT */
} PirlUnitDesc;

/** A unit's parameters, each dense, in the device's param_dtype.
 * WEIGHT: conv [out][in/groups][k][k], linear [out][in]. The others: [out]. */
typedef enum {
  PIRL_SLOT_WEIGHT,
  PIRL_SLOT_BIAS,
  PIRL_SLOT_BN_WEIGHT,
  PIRL_SLOT_BN_BIAS,
  PIRL_SLOT_BN_MEAN,
  PIRL_SLOT_BN_VAR,
  PIRL_N_SLOTS,
} PirlSlot;

typedef enum {
  PIRL_PASS_PREPARE,            /* INFER: fold and pack the parameters into the plan; again after
                                 * they changed. TRAIN: nothing to do */
  PIRL_PASS_FORWARD,
  PIRL_PASS_BACKWARD,           /* after FORWARD of the same plan in TRAIN mode */
  PIRL_PASS_STAGE,              /* INPUT on a backend with steps: starts bringing @input's pictures
                                 * to the device, for the FORWARD after the running step, whose
                                 * @input then is NULL; the pictures are copied before it returns,
                                 * and take the place of those staged before and not used */
} PirlPass;

/**
 * PirlUnitBuffers: where a pass finds and leaves things.
 *
 * All are 64-byte aligned device memory that the caller owns; what a pass does not use may be NULL.
 * FORWARD reads @input, @residual, @param; writes @output and, in TRAIN mode, @saved and (if
 * @update_statistics) the running statistics in @param.
 * BACKWARD reads @input, @output, @saved, @param, @d_output (and may destroy @d_output); writes
 * @d_input and @d_residual (adds to them when the accumulate flag is set) and ADDS to @grad.
 * The INPUT unit's @input is `const guint8 *const *`: n pointers to packed RGB pictures, h x w.
 * Where the backend renders_views, @views may take its place: n recipes of such pictures; where it
 * reads_surfaces, @surfaces: n pictures of any size in its memory, which must stay as they are
 * until FORWARD is done.
 */
typedef struct {
  gconstpointer input, residual;
  const PirlView *views;
  const PirlSurfaceView *surfaces;
  gpointer output;
  gpointer saved, scratch;
  gpointer param[PIRL_N_SLOTS];
  gpointer grad[PIRL_N_SLOTS];
  gpointer d_output, d_input, d_residual;
  gboolean accumulate_input, accumulate_residual;
  gboolean update_statistics;
} PirlUnitBuffers;

typedef enum { PIRL_LOSS_NCE, PIRL_LOSS_INFONCE } PirlLoss;

/**
 * PirlContrastDesc: one contrastive term against the memory bank.
 *
 * z_b: row b of the embedding (unit length), m_j: row j of the bank, s_bj = z_b . m_j,
 * p_b: the sample's own row, J_b: its K negatives, tau: temperature, eps = 1.19e-7.
 *
 * InfoNCE: L_b = -s_bp/tau + log (exp (s_bp/tau) + sum_J exp (s_bj/tau))
 * NCE (VISSL nce_loss.py): P_bj = exp (s_bj/tau) / Z, c = K/rows,
 *   L_b = -log (P_bp / (P_bp + c + eps)) - sum_J log (c / (P_bj + c + eps))
 * Negatives with s_bj > @near count with @near_weight: in InfoNCE exp (s_bj/tau), in NCE the
 * logarithm is multiplied by it. A weight is a constant for the gradient.
 * Result: mean of L_b over the batch; gradient of @scale * mean(L) with respect to z.
 * Nothing of size batch x K x dim is ever in memory.
 */
typedef struct {
  PirlLoss loss;
  guint batch, dim;
  guint64 rows;                 /* of the bank */
  guint64 negatives;            /* K */
  gdouble temperature;
  gdouble z;                    /* Z of the NCE loss; unused otherwise */
  gdouble scale;                /* lambda, or 1 - lambda */
  PirlDType bank_dtype;         /* of its rows: the device's param_dtype, or F16 */
  gdouble near, near_weight;    /* @near 0, or from 1 on: nothing is near; @near_weight 0 .. 1 */
} PirlContrastDesc;

typedef struct {
  gdouble loss;                 /* mean of L_b, unscaled */
  gdouble mean_exp;             /* mean of exp (s/tau) over the batch's positives and negatives:
                                 * Z estimated from this batch is rows * mean_exp. InfoNCE: near
                                 * ones count with their weight */
  gdouble positive;             /* mean cosine of a sample with its own row */
  gdouble spread;               /* 1 - |mean of the batch's embeddings|^2: 0 = all the same */
  gdouble near;                 /* share of the negatives that were near */
} PirlContrastStats;

/**
 * PirlDrawDesc: which rows of the bank samples are contrasted with.
 *
 * The sample with row i draws its @negatives rows from the stream (seed, epoch, i, purpose), in the
 * order of the stream and with replacement: pirl_rng_below (rows), or with @exclude_positive
 * pirl_rng_below (rows - 1), plus one from i on. So they do not depend on the batch it comes in.
 */
typedef struct {
  guint batch;
  guint64 rows, negatives;
  gboolean exclude_positive;
  guint64 seed;
  guint32 epoch;
  PirlPurpose purpose;
} PirlDrawDesc;

typedef struct {
  gdouble loss;                 /* mean over the batch, unscaled */
  gdouble accuracy;             /* share of the batch whose largest logit is its label's */
} PirlEntropyStats;

/** Dynamic loss scaling: losses' gradients are multiplied by @scale and divided by it again in the
 * optimiser. After @clean finite steps in a row (2000) it doubles, after one that is not it halves.
 * 0 = off. */
typedef struct {
  gdouble scale;
  guint clean;
} PirlLossScale;

/** How a step ended. */
typedef struct {
  gboolean finite;              /* FALSE: the optimiser found a gradient that is no finite number
                                 * and changed nothing */
  PirlLossScale loss_scale;     /* for the next step */
} PirlStepResult;

/** A tensor in an arena of parameters: where it begins and how long it is, in elements. */
typedef struct {
  guint64 first, n;
} PirlSegment;

/** Numbers of PirlBackend.lars. */
typedef struct {
  gdouble lr, momentum, weight_decay;
  gdouble trust, epsilon;
} PirlLars;

typedef struct _PirlBackend PirlBackend;
typedef struct _PirlUnitPlan PirlUnitPlan;      /* each backend's own */

/** An opened device; backends embed it as their first member. */
typedef struct {
  const PirlBackend *backend;
  gchar *description;           /* "cpu (oneDNN 2.6.3, avx512_core_amx), 2 threads" */
  PirlDType param_dtype;        /* F32; the reference: F64 */
  guint n_threads;
  gboolean deterministic;
  gboolean tf32;                /* F32 units may round products to 11 bits; set before planning */
} PirlDevice;

/** What a plan needs besides its tensors. */
typedef struct {
  gsize saved;                  /* bytes kept from FORWARD to BACKWARD */
  gsize scratch;                /* bytes used inside one pass */
  gboolean packed;              /* INFER: after PREPARE no pass reads the parameters any more */
  gboolean in_place;            /* INFER: the output may be where the residual is */
} PirlUnitMemory;

struct _PirlBackend {
  guint version;                /* PIRL_BACKEND_VERSION */
  const gchar *name;

  /* Device. @index: 0 for the only one. */
  PirlDevice *(*open) (guint index, guint n_threads, gboolean deterministic, GError **error);
  void (*close) (PirlDevice *device);
  /* TRUE when plans of (mode, dtype) run well here; @reason says why not (static string). */
  gboolean (*supports) (PirlDevice *device, PirlMode mode, PirlDType dtype, const gchar **reason);

  /* Memory: zeroed, 64-byte aligned. */
  gpointer (*alloc) (PirlDevice *device, gsize bytes, GError **error);
  void (*free) (PirlDevice *device, gpointer memory);
  gboolean (*upload) (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes,
      GError **error);
  gboolean (*download) (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes,
      GError **error);
  gboolean (*zero) (PirlDevice *device, gpointer dst, gsize bytes, GError **error);
  /* Within the device. */
  gboolean (*copy) (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes,
      GError **error);
  /* Copies the rows @row [n] (on the host) of @table, of @row_bytes (a multiple of 2) each, to the
   * dense @aside, or with @back from there. */
  gboolean (*rows) (PirlDevice *device, gpointer table, gpointer aside, gsize row_bytes, guint n,
      const guint32 *row, gboolean back, GError **error);

  /* A value from and to dense floats on the host, n,c,h,w. */
  gboolean (*tensor_write) (PirlDevice *device, const PirlTensorDesc *desc, gpointer dst,
      const gfloat *src, GError **error);
  gboolean (*tensor_read) (PirlDevice *device, const PirlTensorDesc *desc, gconstpointer src,
      gfloat *dst, GError **error);

  /* Units. @input and @residual say how those values are kept (INPUT: NULL); @output is filled.
   * Gradients of a value are kept like the value. */
  PirlUnitPlan *(*unit_plan) (PirlDevice *device, const PirlUnitDesc *desc,
      const PirlTensorDesc *input, const PirlTensorDesc *residual, PirlTensorDesc *output,
      PirlUnitMemory *memory, GError **error);
  void (*unit_free) (PirlUnitPlan *plan);
  /* May return before the device is done; what brings something to the host waits. */
  gboolean (*unit_run) (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *buffers,
      GError **error);

  /* Fills @negative [batch][negatives], on the device; @positive [batch] on the host. */
  gboolean (*draw) (PirlDevice *device, const PirlDrawDesc *desc, const guint32 *positive,
      guint32 *negative, GError **error);
  /* Contrast: see PirlContrastDesc. @embedding: dense rows in param_dtype, @bank: in bank_dtype
   * (F16 halves what is read, sums are as precise as without), both on the device; @positive
   * [batch] on the host, @negative [batch][negatives] on the device; @negative NULL = every row but
   * the positive one (then negatives == rows - 1). @d_embedding NULL = statistics only. */
  gboolean (*contrast) (PirlDevice *device, const PirlContrastDesc *desc, gconstpointer embedding,
      gconstpointer bank, const guint32 *positive, const guint32 *negative,
      gpointer d_embedding, PirlContrastStats *stats, GError **error);
  /* m_p <- normalise (momentum_b * m_p + (1 - momentum_b) * z_b), in the order of the batch;
   * @positive, @momentum [batch] on the host. Momentum 0 = z_b takes the row's place. A row of F16
   * is rounded to nearest even, once, when it is of unit length. */
  gboolean (*bank_update) (PirlDevice *device, gpointer bank, PirlDType bank_dtype, guint dim,
      guint batch, const guint32 *positive, const gfloat *momentum, gconstpointer embedding,
      GError **error);
  /* Softmax cross-entropy: L_b = log (sum_j exp z_bj) - z_by, d_logits = (softmax (z_b)_j - [j = y])
   * / batch. @logits, @d_logits [batch][classes] in param_dtype on the device, @labels [batch]
   * (0 .. classes - 1) on the host. */
  gboolean (*cross_entropy) (PirlDevice *device, guint batch, guint classes, gconstpointer logits,
      const gint *labels, gpointer d_logits, PirlEntropyStats *stats, GError **error);

  /* Looks for gradients that are no finite numbers; if there are, sgd, adam, lars and average
   * change nothing until the step's end. NULL = not offered. */
  gboolean (*check) (PirlDevice *device, gsize n, gconstpointer gradients, GError **error);
  /* SGD as PyTorch's: g += weight_decay * w; v = momentum * v + g; w -= lr * v; with @nesterov
   * w -= lr * (g + momentum * v). */
  gboolean (*sgd) (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
      gpointer velocity, gdouble lr, gdouble momentum, gdouble weight_decay, gboolean nesterov,
      GError **error);
  /* Adam as PyTorch's, step @step >= 1: g += weight_decay * w; m = b1 m + (1 - b1) g;
   * v = b2 v + (1 - b2) g^2; w -= lr * (m / (1 - b1^t)) / (sqrt (v / (1 - b2^t)) + epsilon). */
  gboolean (*adam) (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
      gpointer first, gpointer second, guint64 step, gdouble lr, gdouble beta1, gdouble beta2,
      gdouble epsilon, gdouble weight_decay, GError **error);

  /* LARS (You et al. 2017) of @n_segments tensors in the arenas, of their own norms each:
   *   local = trust * |w| / (|g| + weight_decay * |w| + epsilon), 1 where |w| is 0
   *   v = momentum * v + local * lr * (g + weight_decay * w); w -= v
   * @segments on the host. The sums are the same bits every time. */
  gboolean (*lars) (PirlDevice *device, guint n_segments, const PirlSegment *segments,
      gpointer weights, gconstpointer gradients, gpointer velocity, const PirlLars *values,
      GError **error);
  /* dst = keep * dst + (1 - keep) * src, @n numbers of param_dtype; @keep 0 copies. */
  gboolean (*average) (PirlDevice *device, gsize n, gpointer dst, gconstpointer src, gdouble keep,
      GError **error);

  /* Steps: NULL where every operation is done when it returns. Else, between step_begin and
   * step_end, operations are queued: what they leave on the host (stats) is there after step_end,
   * and must stay valid until then; they must be the same operations on the same memory step
   * after step (their host values may change), for they are recorded once and replayed. upload,
   * download, tensor_write, tensor_read and planning are not allowed inside. */
  gboolean (*step_begin) (PirlDevice *device, GError **error);
  /* Starts what was queued; the host may STAGE the next step's pictures meanwhile. */
  gboolean (*step_launch) (PirlDevice *device, GError **error);
  /* Waits until it is done. */
  gboolean (*step_end) (PirlDevice *device, PirlStepResult *result, GError **error);
  /* Forgets what was queued since step_begin, waits for what runs already. */
  void (*step_abort) (PirlDevice *device);
  /* Of the next steps. Off when a device is opened; needed for F16. */
  void (*set_loss_scale) (PirlDevice *device, const PirlLossScale *scale);
  /* Whether INPUT units take views as well as pictures; they render what kernels/vision renders. */
  gboolean renders_views;
  /* Whether they take pictures that lie in the device's memory. */
  gboolean reads_surfaces;

  /* NULL = not offered. Asked once both are planned, about a value of @producer that only @consumer
   * reads, as its input, and nobody else after the pass: may it stay as it is inside of @producer
   * (before batch norm and activation, say), and @consumer do the rest when it reads it? TRUE: it
   * is done so from then on; @value's bytes and @memory, both of @producer, are what they are now.
   * FALSE: it does not pay, or there is no such thing; nothing has changed. Other values are never
   * kept so: who looks at one sees what its unit computes. */
  gboolean (*unit_fuse) (PirlUnitPlan *producer, PirlUnitPlan *consumer, PirlTensorDesc *value,
      PirlUnitMemory *memory);

  /* NULL = not offered. What stands in this part of an alloc() will not be read again: it may be
   * lost, and need not be in memory, until something is written there. */
  void (*discard) (PirlDevice *device, gpointer memory, gsize bytes);
};

/** Naive, double precision: the truth the others are compared with. */
PIRL_API const PirlBackend *pirl_backend_reference (void);
/** oneDNN. */
PIRL_API const PirlBackend *pirl_backend_cpu (void);

/**
 * The CUDA backend, from the module libpirl-cuda.so, opened at the first call: the file that
 * PIRL_CUDA_MODULE names ("off" = none at all), else the one beside this library, in its folder
 * gst-pirl, or where the build left it. NULL with %PIRL_ERROR_UNSUPPORTED says what is missing (the
 * module, cuDNN) or which version does not fit; a driver or a card that is missing is what its
 * open() says.
 */
PIRL_API const PirlBackend *pirl_backend_cuda (GError **error);
/** In one line why there is no CUDA device: what pirl_backend_cuda() says, or else the device that
 * was opened last; NULL = nothing is known to be missing. Stays valid. */
PIRL_API const gchar *pirl_cuda_reason (void);
/** What the module exports under this name; @version is the caller's PIRL_BACKEND_VERSION. */
#define PIRL_CUDA_ENTRY "pirl_cuda_backend_entry"
typedef const PirlBackend *(*PirlCudaEntry) (guint version);

/**
 * Opens "auto" (the CUDA device that is there, else the CPU), "cuda", "cuda:N", "cpu", "reference".
 * @n_threads 0 = the machine's cores. Errors: %PIRL_ERROR_INVALID for an unknown name (the text
 * lists the known ones), %PIRL_ERROR_UNSUPPORTED. Free with pirl_device_close().
 */
PIRL_API PirlDevice *pirl_device_open (const gchar *name, guint n_threads, gboolean deterministic,
    GError **error);
PIRL_API void pirl_device_close (PirlDevice *device);
/** Whether the device of that name renders views. One of the CUDA module is opened and closed to
 * see; FALSE when it cannot be opened. */
PIRL_API gboolean pirl_device_renders_views (const gchar *name);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlDevice, pirl_device_close)
