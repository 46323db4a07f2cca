/* gst-pirl: what the files of learn/ know of each other beyond the public headers.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/rng.h"
#include "learn/trainer.h"
#include "net/names.h"
#include "net/plan.h"
#include "net/precision.h"

/** pirl_knn_accuracy() where the queries are the rows @query of the references, each left out. */
gdouble pirl_knn_leave_one_out (const gfloat *references, const gint *labels, gsize n_references,
    const gsize *query, gsize n_queries, guint dim, guint k, gdouble sigma);

/** What an objective works with. */
typedef struct {
  gboolean images, second;      /* the views it looks at */
  gboolean bank;                /* embeddings, contrasted with a bank of them; else classes */
} PirlObjectiveKind;

extern const PirlObjectiveKind pirl_objective_kinds[];

/* One view's network: input, trunk, head. */
typedef struct {
  PirlGraph *graph;
  PirlPlan *plan;
  PirlValue embedding;          /* logits, of an objective with classes */
} PirlBranch;

/** Objectives with classes: what each sample is to be predicted as (NULL: there is none), forward,
 * cross-entropy and backward of the step's batch. */
const gint *pirl_classify_targets (const PirlTrainer *trainer, const PirlBatch *batch);
gboolean pirl_classify_check (const PirlTrainer *trainer, const PirlBatch *batch, GError **error);
gboolean pirl_classify_run (PirlTrainer *trainer, const gint *cancel, GError **error);

/** In PirlTrainer.labels: the row still holds what it was drawn with. */
#define PIRL_LABEL_UNTRAINED (-2)

/* The step under way. A device may read and write these until its end. */
typedef struct {
  gboolean running;             /* begun, not ended */
  guint32 epoch;
  guint32 *rows;                /* of the batch, in the bank; MOCO: those its keys go to */
  gint *labels;                 /* of an objective with classes: what is to be predicted */
  gfloat *momentum;             /* of the rows in the bank update */
  gdouble z;                    /* Z / rows in use */
  PirlContrastStats images, patches;
  PirlEntropyStats entropy;
  PirlStepStats stats;
  guint collapsed;              /* PirlTrainer.collapsed after it */
} PirlStep;

struct _PirlTrainer {
  PirlTrainerConfig config;     /* @negatives, both precisions resolved; strings owned */
  PirlDevice *device;
  const PirlPrecision *precision;
  PirlParams *params;
  PirlParams *key;              /* MOCO: values of the key network; its statistics are not used */
  PirlPool *pool;
  PirlBranch images, patches;   /* of the views the objective looks at; else plan is NULL */
  gpointer bank;                /* rows x dim */
  PirlDType bank_dtype;         /* of its elements */
  gint32 *labels;               /* of the bank's rows; PIRL_LABEL_UNTRAINED, -1 = has none */
  const guint8 **patch_pictures;        /* batch x patches pointers */
  gboolean staged;              /* the next step's pictures */
  PirlStep now;

  /* On the device. */
  guint32 *negative;            /* batch x K; NULL = all rows but the own */
  gpointer statistics;          /* running statistics as they were before the step */
  gpointer rows_aside;          /* the batch's rows of the bank, likewise (bank_update BEFORE) */

  /* What a checkpoint keeps besides tensors. */
  guint64 step;
  gdouble z;                    /* Z / rows; 0 = not yet estimated */
  guint collapsed;              /* steps in a row with hardly any spread */
  PirlLossScale loss_scale;     /* for the next step */
};

static inline gboolean
pirl_has_bank (const PirlTrainerConfig *config)
{
  return pirl_objective_kinds[config->objective].bank;
}

static inline gboolean
pirl_uses_images (const PirlTrainerConfig *config)
{
  return pirl_objective_kinds[config->objective].images;
}

static inline gboolean
pirl_uses_second (const PirlTrainerConfig *config)
{
  return pirl_objective_kinds[config->objective].second;
}

/** Whether both views are contrasted with the bank. */
static inline gboolean
pirl_has_two_terms (const PirlTrainerConfig *config)
{
  return config->objective == PIRL_OBJECTIVE_PIRL;
}

/** Bytes of a row of the bank. */
static inline gsize
pirl_row_bytes (const PirlTrainer *trainer)
{
  return (gsize) trainer->config.dim * pirl_dtype_size (trainer->bank_dtype);
}

/** Rows of the bank that are on the host at once: it need not fit there as a whole. */
#define PIRL_BANK_CHUNK 4096
/** Rows [first, first + n) of the bank to and from dense floats. */
gboolean pirl_bank_read (PirlTrainer *trainer, gsize first, gsize n, gfloat *dst, GError **error);
gboolean pirl_bank_write (PirlTrainer *trainer, gsize first, gsize n, const gfloat *src,
    GError **error);

/** MOCO: makes the key network equal to the query's. */
gboolean pirl_trainer_start_key (PirlTrainer *trainer, GError **error);
/** Takes over a loss scale; a device without steps has none. */
void pirl_trainer_set_loss_scale (PirlTrainer *trainer, const PirlLossScale *scale);
