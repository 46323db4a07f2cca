/* adacompressenc: what the controller's files share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "budget.h"
#include "novelty.h"
#include "sceneries.h"

#include <learn/drift.h>

G_BEGIN_DECLS

/* The paper's estimator (RunningAgent of the authors' code): window n, p_0, omega, threshold. */
#define ADA_PAPER_WINDOW 10
#define ADA_PAPER_RATE 0.2
#define ADA_PAPER_RATE_MAX 0.95
#define ADA_PAPER_OMEGA 3
#define ADA_PAPER_THRESHOLD 0.8

typedef struct {
  gdouble outcome[ADA_PAPER_WINDOW];
  guint n;                      /* estimates since the last retraining */
  gdouble mean, p;
} AdaPaperEstimator;

/* The version of the service's model; longer ones are cut. */
#define ADA_MODEL_LENGTH 64

struct _AdaController {
  AdaControllerConfig config;
  AdaPolicy *policy;            /* NULL: fixed */
  AdaStateFunc func;
  gpointer user_data;

  GMutex worker;                /* one answer, save or load at a time; and the next three */
  gchar model[ADA_MODEL_LENGTH];        /* that answered what was learnt; "" = it never said */
  gchar next_model[ADA_MODEL_LENGTH];   /* that has answered since, */
  guint next_answers;           /* so many references in a row */

  GMutex lock;                  /* everything below; held for microseconds */
  AdaState state;               /* INFERENCE or RETRAIN */
  AdaBudget budget;
  AdaPaperEstimator paper;
  AdaNovelty novelty;
  PirlDrift *drift;
  AdaSceneries sceneries;
  guint scenery;                /* number of the present one; 0 = not yet remembered */
  guint learnt;                 /* answers since it was remembered last */
  guint64 frames, estimates, retrains;
  gdouble agreed, judged;       /* choices since the last change of state */
  gdouble baseline;             /* the agreement that the drift test defends */
};

/** With the worker's lock held: as much of a version as fits, whole characters. */
void ada_controller_copy_model (gchar model[ADA_MODEL_LENGTH], const gchar * version);
/** With the lock held: the drift test defends @baseline from now on. */
void ada_controller_defend (AdaController * controller, gdouble baseline);

G_END_DECLS
