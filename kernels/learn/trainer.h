/* gst-pirl: training, one step at a time, with one of several objectives.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A sample has up to two views: the image view I, S x S, and the second view I^t, N pictures of
 * P x P. Everything after the trunk has its parameters under "head.*" (SUPERVISED: under the name
 * of the trunk's classifier). A step, on a batch of B samples:
 *
 * PIRL (Misra and van der Maaten 2020); I^t: N shuffled patches, or N = 1: I turned.
 *   v_g = g (trunk (I^t)),  L_g = contrast (v_g, bank),  backward of lambda L_g
 *   v_f = f (trunk (I)),    L_f = contrast (v_f, bank),  backward of (1 - lambda) L_f
 *   bank[i] <- normalise (momentum bank[i] + (1 - momentum) v_f)
 *   optimiser
 *   Both terms see the bank as it was before the step; only f of the image goes into it. With
 *   bank_update BEFORE the image comes first and the patches meet its row as it is after the
 *   update: a row then never is random or an epoch old when the patches meet it, as it is in the
 *   published order (AFTER). The two passes run one after the other and share one arena.
 *
 * NPID (Wu et al. 2018): the image's term of PIRL alone.
 *
 * MOCO (He et al. 2020); I^t: N = 1, P = S, another crop. A second network trunk_k, f_k, the key
 * network, follows the first, the query's:
 *   v_k = f_k (trunk_k (I^t)), its batch norms with their batch's statistics
 *   bank[(step * B + b) mod rows] <- v_k of sample b: the bank is a queue of the last keys
 *   v_f = f (trunk (I)),  L = InfoNCE (v_f; positive: the sample's own key, negatives: all other
 *     rows),  backward of L
 *   optimiser;  key <- key_momentum key + (1 - key_momentum) query, all but running statistics
 *   Keys of the other samples of the batch are negatives too (in the published code they are not
 *   until the next step). Rows that were never written are random unit vectors, as there. There is
 *   one device, so nothing can be shuffled between devices' batch norms. The key network is
 *   equal to the query's at the beginning and is not exported.
 *
 * JIGSAW (Noroozi and Favaro 2016, in VISSL's form); I^t: N patches, in shuffled order. A patch:
 *   trunk, Linear (features, hidden), batch norm, ReLU; the N results one after the other:
 *   Linear (N hidden, classes); softmax cross-entropy with the permutation's number.
 * ROTATION (Gidaris et al. 2018); I^t: N = 1, P = S, turned by k quarters: trunk,
 *   Linear (features, 4); softmax cross-entropy with k.
 *   These two do not look at the image view.
 *
 * SUPERVISED: trunk (I), classifier; softmax cross-entropy with the samples' labels.
 */
#pragma once

#include "backends/backend.h"
#include "net/trunk.h"
#include "learn/schedule.h"

typedef enum {
  PIRL_OBJECTIVE_PIRL,
  PIRL_OBJECTIVE_NPID,
  PIRL_OBJECTIVE_SUPERVISED,
  PIRL_OBJECTIVE_JIGSAW,
  PIRL_OBJECTIVE_ROTATION,
  PIRL_OBJECTIVE_MOCO,
} PirlObjective;
/** LARS (You et al. 2017): a rate for each weight tensor, of its norm and its gradient's; biases
 * and batch norm as with SGD. See PirlBackend.lars; the trust coefficient is .001. */
typedef enum { PIRL_OPTIMIZER_SGD, PIRL_OPTIMIZER_ADAM, PIRL_OPTIMIZER_LARS } PirlOptimizer;
/** Z of the NCE loss: running average (0.99), estimated once, or given. */
typedef enum { PIRL_Z_EMA, PIRL_Z_FIRST_BATCH, PIRL_Z_FIXED } PirlZMode;
/** When a sample's row takes up its new embedding: after both terms (the paper), or before the
 * patch term; then a row that was never trained is replaced, not averaged. */
typedef enum { PIRL_BANK_AFTER, PIRL_BANK_BEFORE } PirlBankUpdate;
/** Which views the running statistics of BN see. */
typedef enum { PIRL_BN_BOTH, PIRL_BN_IMAGES } PirlBnStatistics;

typedef struct {
  PirlObjective objective;
  PirlTrunk trunk;
  guint classes;                /* SUPERVISED; JIGSAW: permutations; ROTATION: 4 */
  gint hidden;                  /* JIGSAW: numbers a patch is described by: 1000 */
  PirlHead head;                /* PIRL, NPID, MOCO */
  gint dim;                     /* of the embedding: 128 */
  gint image_size;              /* S */
  gint patch_size, patches;     /* P and N of the second view; NPID, SUPERVISED: not looked at */
  gchar *transform;             /* what the second view is ("jigsaw", ...): a checkpoint keeps it */
  guint batch;
  PirlLoss loss;
  PirlZMode z_mode;
  gdouble z;                    /* Z / rows, for PIRL_Z_FIXED */
  gdouble temperature;
  guint64 negatives;            /* 0 = min (32000, rows - 1); rows - 1 = all, not drawn; MOCO: all
                                 * in any case, 0 or rows - 1 */
  gboolean exclude_positive;    /* FALSE: a draw may hit the sample itself (the reference) */
  gdouble near, near_weight;    /* negatives with a cosine above @near count with @near_weight: 0
                                 * drops them, as they may be of the same kind; 1 = all are far */
  gdouble lambda;
  gdouble bank_momentum;
  PirlBankUpdate bank_update;
  guint64 bank_rows;            /* MOCO: of the queue, a multiple of batch */
  gdouble key_momentum;         /* MOCO: .999 */
  PirlSchedule schedule;
  PirlOptimizer optimizer;
  gdouble momentum, weight_decay;       /* ADAM: momentum is beta1; beta2 is .999, epsilon 1e-8 */
  gboolean nesterov;            /* SGD: Nesterov's momentum, as PyTorch's */
  PirlBnStatistics bn_statistics;
  guint64 seed;
  gfloat mean[3], std[3];
  gchar *device;                /* "auto", ... */
  gchar *precision;             /* "auto", "f32", "tf32", "bf16", "fp16" (PirlPrecision) */
  gchar *bank_precision;        /* of its rows: "f32", "fp16", or "auto" (NULL too): fp16 where it
                                 * is what costs time, on CUDA devices that train in 16 bits */
  guint n_threads;
  gboolean deterministic;
} PirlTrainerConfig;

/** The defaults of the elements (those that work on small and large sets). Strings are static; the
 * rate is 0.03 per 256 samples of batch, warm-up and total are to be set. */
PIRL_API void pirl_trainer_config_defaults (PirlTrainerConfig *config);

typedef struct _PirlTrainer PirlTrainer;

/** Plans everything. %PIRL_ERROR_INVALID says which setting cannot work and why. The config is
 * copied. Random weights from the seed until something is loaded. */
PIRL_API PirlTrainer *pirl_trainer_new (const PirlTrainerConfig *config, GError **error);
PIRL_API void pirl_trainer_free (PirlTrainer *trainer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlTrainer, pirl_trainer_free)

/** One batch; arrays of @batch elements. None of the views that the objective looks at
 * (pirl_objective_views()): what was staged. */
typedef struct {
  const guint8 *const *images;  /* the image view: S*S*3 bytes each */
  const guint8 *const *patches; /* the second view: N*P*P*3 bytes each, one after the other */
  const guint32 *rows;          /* bank row of each sample: PIRL and NPID, else not looked at */
  const gint *labels;           /* -1 = none; may be NULL, but for SUPERVISED */
  guint32 epoch;
  const PirlView *image_views;  /* recipes, in place of @images and @patches, where */
  const PirlView *patch_views;  /* pirl_trainer_renders(); N for each sample */
  const gint *targets;          /* JIGSAW: number of the permutation; ROTATION: quarter turns; -1
                                 * is an error. Else not looked at */
} PirlBatch;

/** Which views of its samples an objective looks at; of the others a batch need not have any. */
PIRL_API void pirl_objective_views (PirlObjective objective, gboolean *images,
    gboolean *second);

typedef struct {
  guint64 step;                 /* steps done, this one included */
  gdouble loss;                 /* PIRL: lambda L_g + (1 - lambda) L_f */
  gdouble loss_image, loss_patches;     /* of the view that the objective looks at; MOCO: image */
  gdouble learning_rate;
  gdouble z;                    /* Z / rows in use (NCE), else 0 */
  gdouble positive_image, positive_patches;     /* mean cosine with the own bank row; MOCO: key */
  gdouble spread;               /* 1 - |mean of the batch's image embeddings|^2: 0 = collapsed */
  gdouble near;                 /* mean share of the negatives that were near (config) */
  gdouble accuracy;             /* SUPERVISED, JIGSAW, ROTATION: share of the batch that was
                                 * classified rightly */
  gdouble loss_scale;           /* of fp16, in this step; 0 = none */
  gboolean skipped;             /* gradients beyond fp16: the step counts, but changed nothing; its
                                 * losses may be no numbers. The next has half the loss scale */
} PirlStepStats;

/**
 * Trains one batch. @cancel (may be NULL) is looked at between units: when set, FALSE with
 * G_IO_ERROR_CANCELLED; all but the gradients is as it was before, so that the step can be run
 * again later and gives the same result.
 * %PIRL_ERROR_NOT_FINITE and %PIRL_ERROR_COLLAPSED name the step and the remedy; after them the
 * weights of a device with steps may have moved.
 */
PIRL_API gboolean pirl_trainer_step (PirlTrainer *trainer, const PirlBatch *batch,
    const gint *cancel, PirlStepStats *stats, GError **error);

/**
 * The two halves of pirl_trainer_step(). Where pirl_trainer_overlaps(), begin only starts the
 * device, which then works by itself until end waits for it; elsewhere begin does all the work.
 * In between only pirl_trainer_stage() may be called. @batch is not needed any more when begin
 * returns.
 */
PIRL_API gboolean pirl_trainer_begin (PirlTrainer *trainer, const PirlBatch *batch,
    const gint *cancel, GError **error);
PIRL_API gboolean pirl_trainer_end (PirlTrainer *trainer, PirlStepStats *stats, GError **error);
PIRL_API gboolean pirl_trainer_overlaps (const PirlTrainer *trainer);
/** Whether the device renders views, so that batches may have recipes of them. */
PIRL_API gboolean pirl_trainer_renders (const PirlTrainer *trainer);
/**
 * Brings the next batch's pictures to the device (of @batch only they are read), before
 * pirl_trainer_begin() or while a step is under way. The next begin uses them when its batch has
 * none; whatever it does, they are used up. Where pirl_trainer_overlaps() they are copied,
 * elsewhere they must stay until then. The first step of a run that estimates Z must be given its
 * pictures.
 */
PIRL_API gboolean pirl_trainer_stage (PirlTrainer *trainer, const PirlBatch *batch,
    GError **error);

/** Where in the data set a checkpoint stands, and what it is called with; strings may be NULL. */
typedef struct {
  guint64 epoch, index;         /* of the first sample not yet trained, in that epoch's order */
  guint64 seed;                 /* the source's */
  gchar *hash;                  /* the data set's */
  gchar *class_names;           /* newline separated */
  guint64 samples;              /* trained so far */
} PirlPosition;
PIRL_API void pirl_position_clear (PirlPosition *position);

/** Starts from the weights in @path (trunk; heads where present, a classifier where it is for as
 * many classes; MOCO: the key network begins with the same): not a resume. */
PIRL_API gboolean pirl_trainer_load_weights (PirlTrainer *trainer, const gchar *path,
    GError **error);
/** Writes weights, metadata and `state.*` (velocity or moments, key network, bank, labels, Z, step,
 * settings) atomically. %PIRL_ERROR_NOT_FINITE, and nothing written, when they hold what is no
 * number. */
PIRL_API gboolean pirl_trainer_save (PirlTrainer *trainer, const gchar *path,
    const PirlPosition *position, GError **error);
/** Continues exactly where pirl_trainer_save() stood. Settings that change the arithmetic and
 * differ are %PIRL_ERROR_MISMATCH, named with both values. */
PIRL_API gboolean pirl_trainer_resume (PirlTrainer *trainer, const gchar *path,
    PirlPosition *position, GError **error);
/** Reads only the position of a checkpoint (to answer `pirl-resume` before there is a trainer). */
PIRL_API gboolean pirl_trainer_peek (const gchar *path, PirlPosition *position, GError **error);
/** The precisions it was trained in, transfer full: a run of `auto` goes on in them, whatever would be
 * chosen here. */
PIRL_API gboolean pirl_trainer_peek_precision (const gchar *path, gchar **precision,
    gchar **bank_precision, GError **error);

PIRL_API guint64 pirl_trainer_steps (const PirlTrainer *trainer);
PIRL_API const gchar *pirl_trainer_device (const PirlTrainer *trainer);
/** "f32", "fp16", ...: after `auto` was decided. */
PIRL_API const gchar *pirl_trainer_precision (const PirlTrainer *trainer);
/** "f32" or "fp16": of the memory bank; NULL = there is none. Static. */
PIRL_API const gchar *pirl_trainer_bank_precision (const PirlTrainer *trainer);
/** Bytes of activations, parameters with their state and the key network's, bank. */
PIRL_API gsize pirl_trainer_bytes (const PirlTrainer *trainer);
/** Leave-one-out kNN accuracy of the bank's rows against the labels seen (at most @limit queries,
 * evenly spaced); NaN without labels. */
PIRL_API gdouble pirl_trainer_bank_knn (PirlTrainer *trainer, guint limit);
/** For tests: the parameters, those of the key network (NULL but for MOCO), and the bank as dense
 * floats. */
PIRL_API PirlParams *pirl_trainer_params (PirlTrainer *trainer);
PIRL_API PirlParams *pirl_trainer_key_params (PirlTrainer *trainer);
PIRL_API gboolean pirl_trainer_read_bank (PirlTrainer *trainer, gfloat *dst, GError **error);
PIRL_API gboolean pirl_trainer_write_bank (PirlTrainer *trainer, const gfloat *src,
    GError **error);
