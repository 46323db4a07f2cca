/* gst-pirl: the parameters of a network.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One arena for values, one for gradients, one for SGD's velocity or Adam's
 * first moment, one for Adam's second, in the device's param_dtype.
 * Order: weights (decayed) | biases and BN affine (not decayed) | running statistics (buffers).
 */
#pragma once

#include "net/graph.h"
#include "base/safetensors.h"

typedef enum {
  PIRL_ARENA_VALUE,
  PIRL_ARENA_GRADIENT,
  PIRL_ARENA_VELOCITY,          /* SGD's velocity, Adam's first moment */
  PIRL_ARENA_SECOND,            /* Adam's second moment; made when it is first used or written */
  PIRL_N_ARENAS
} PirlArena;

typedef struct _PirlParams PirlParams;

/** The union by name of what the graphs need. @trainable: with gradients and velocity.
 * A name with two shapes is %PIRL_ERROR_MISMATCH. The device must outlive it. */
PIRL_API PirlParams *pirl_params_new (PirlDevice *device, PirlGraph *const *graphs, guint n_graphs,
    gboolean trainable, GError **error);
PIRL_API void pirl_params_free (PirlParams *params);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlParams, pirl_params_free)

PIRL_API guint pirl_params_count (const PirlParams *params);
PIRL_API const PirlParamSpec *pirl_params_spec (const PirlParams *params, guint i);
/** -1 when there is none of that name. */
PIRL_API gint pirl_params_find (const PirlParams *params, const gchar *name);
/** Device memory of parameter @i; NULL for gradients of buffers, and without the arena. */
PIRL_API gpointer pirl_params_data (PirlParams *params, PirlArena arena, guint i);
/** The value of parameter @i is lost, and its memory free where the device can do that. */
PIRL_API void pirl_params_discard (PirlParams *params, guint i);
/** Copies from and to dense floats on the host. */
PIRL_API gboolean pirl_params_read (PirlParams *params, PirlArena arena, guint i, gfloat *dst,
    GError **error);
PIRL_API gboolean pirl_params_write (PirlParams *params, PirlArena arena, guint i,
    const gfloat *src, GError **error);

/**
 * Initial values: convolutions normal with std sqrt(2 / (k k out)) (torchvision: kaiming, fan out,
 * relu); linear weights and biases U(+-1/sqrt(fan_in)) (PyTorch), unless the graph says
 * PIRL_INIT_NORMAL; BN 1 and 0; running mean 0,
 * variance 1. A parameter's stream is (seed, 0, crc32 (name), PIRL_PURPOSE_WEIGHTS).
 */
PIRL_API gboolean pirl_params_init (PirlParams *params, guint64 seed, GError **error);

/** What a file gave. */
typedef struct {
  guint loaded;
  GPtrArray *missing;           /* gchar *: names the file lacks, left as they were */
} PirlLoadReport;

/**
 * Takes every parameter that @file has (F32, F16, BF16, F64 converted). Known prefixes of other
 * projects are tried ("module.", "backbone.", "_feature_blocks.", "encoder.", "trunk.", "model.",
 * that of a whole VISSL checkpoint). Missing names that
 * start with one of @required (NULL-terminated prefixes; NULL = nothing is required) and wrong
 * shapes are %PIRL_ERROR_MISMATCH, in the manner of `model "x.safetensors": tensor
 * layer3.0.conv1.weight has shape [256,512,1,1], resnet50 needs [256,1024,1,1]`.
 */
PIRL_API gboolean pirl_params_load (PirlParams *params, const PirlSafetensors *file,
    const gchar *const *required, PirlLoadReport *report, GError **error);
PIRL_API void pirl_load_report_clear (PirlLoadReport *report);

/** Makes the arena now, where it is made when it is first used. */
PIRL_API gboolean pirl_params_reserve (PirlParams *params, PirlArena arena, GError **error);
PIRL_API gboolean pirl_params_zero_gradients (PirlParams *params, GError **error);
/** On a device that looks: where a gradient is no finite number, this step's optimiser changes
 * nothing. */
PIRL_API gboolean pirl_params_check (PirlParams *params, GError **error);
/** One SGD step over all trainable parameters; weight decay on weights only. @nesterov: with
 * Nesterov's momentum, in PyTorch's form. */
PIRL_API gboolean pirl_params_sgd (PirlParams *params, gdouble lr, gdouble momentum,
    gdouble weight_decay, gboolean nesterov, GError **error);
/** One LARS step (PirlBackend.lars), each weight a tensor of its own; biases and batch norm's
 * factors as with SGD, not decayed. */
PIRL_API gboolean pirl_params_lars (PirlParams *params, const PirlLars *values, GError **error);
/** Values of @params = keep values + (1 - keep) those of @source, all but running statistics. Both
 * are made of the same graphs, on one device. */
PIRL_API gboolean pirl_params_average (PirlParams *params, PirlParams *source, gdouble keep,
    GError **error);
/** One Adam step (Kingma & Ba 2015, PyTorch's form: bias correction, L2 weight decay added to the
 * gradient), @step counted from 1. The first moment is in PIRL_ARENA_VELOCITY. */
PIRL_API gboolean pirl_params_adam (PirlParams *params, guint64 step, gdouble lr, gdouble beta1,
    gdouble beta2, gdouble epsilon, gdouble weight_decay, GError **error);
