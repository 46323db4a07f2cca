/* gst-pirl: how good are features? A simple model is trained on those of one set and judged on
 * those of another (pirl.md, section 5).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * LINEAR: batch norm (learnable, not decayed), then linear; softmax cross-entropy, or for several
 *   labels a sample one logistic loss a class. Solver SGD is the protocol's: Nesterov's momentum,
 *   a rate that falls by ten at milestones; a new order each epoch, whose remainder that makes no
 *   batch is left out. Solver EXACT is the optimum of
 *     mean loss + |W|^2 / (2 C n)
 *   over standardised features without further affine (scikit-learn's LogisticRegression behind
 *   StandardScaler; of two classes W is the one row that tells them apart), by L-BFGS: for sets
 *   that are too small for the protocol's epochs.
 * KNN: the k most similar (cosine) training samples vote with exp (similarity / sigma).
 * SVM: for each class a linear SVM with squared hinge loss against all others (liblinear), features
 *   divided by their length + 1e-5; C is the one with the best cross-validated average precision,
 *   the first where no fold can be judged, as of a class with one sample. A class that no training
 *   sample shows, or that all do, has no model, and stands behind all that have.
 *
 * Every random draw is a function of the seed: the same sets give the same result, on the same
 * device to the last bit.
 */
#pragma once

#include "base/base.h"

/** Rows of features with what they show. Only borrowed; may be a mapped file. */
typedef struct {
  const gfloat *features;       /* [n][positions][dim / positions] */
  gsize n;
  guint dim;
  guint positions;              /* places of a map, each with dim / positions channels: batch norm
                                 * is over all places of a channel. 1 = a vector */
  const gint *labels;           /* [n]: from 0; -1 = none, the row is left out. NULL: @targets */
  const gint8 *targets;         /* [n][classes] of several labels a sample: 1 = shows the class, 0 =
                                 * does not, -1 = hard to say: not in the class's test, and in
                                 * training as 0 */
} PirlProbeSet;

typedef enum { PIRL_PROBE_LINEAR, PIRL_PROBE_KNN, PIRL_PROBE_SVM, PIRL_N_PROBES } PirlProbe;
/** "linear", "knn", "svm". */
PIRL_API const gchar *pirl_probe_name (PirlProbe probe);
/** %PIRL_ERROR_INVALID names those there are. */
PIRL_API gboolean pirl_probe_from_name (const gchar *name, PirlProbe *probe, GError **error);
/** Whether this build can do it; @reason (static, may be NULL) says what is missing. */
PIRL_API gboolean pirl_probe_available (PirlProbe probe, const gchar **reason);

typedef enum { PIRL_PROBE_SGD, PIRL_PROBE_EXACT } PirlProbeSolver;

#define PIRL_PROBE_MAX_STEPS 8

/** Called after each step (a batch, a group of queries, a fit) with the part that is done, 0 to 1,
 * from the thread that runs the probe. It may wait. FALSE ends the probe. */
typedef gboolean (*PirlProbeProgress) (gdouble done, gpointer user_data);

typedef struct {
  guint classes;
  guint64 seed;
  /* LINEAR */
  PirlProbeSolver solver;
  guint epochs, batch;
  gdouble learning_rate, momentum, weight_decay;
  guint milestones[PIRL_PROBE_MAX_STEPS];       /* epochs at which the rate falls; 0 ends them */
  gdouble rate_factor;          /* by what it is multiplied then */
  gdouble c;                    /* EXACT: inverse strength of the penalty */
  guint max_iterations;         /* EXACT */
  /* KNN */
  guint k;
  gdouble sigma;
  /* SVM */
  const gdouble *costs;         /* C to choose from */
  guint n_costs, folds;
  gdouble positive_weight;      /* of the class's own samples */
  /* How sure */
  guint bootstrap;              /* draws of as many test samples, with replacement; 0 = none */
  gdouble confidence;           /* .95: what part of the draws lies within the interval */
  /* Where */
  const gchar *device;          /* of LINEAR: "auto", ... */
  guint n_threads;              /* 0 = the machine's cores */
  const gint *cancel;           /* may be NULL; looked at all the time, set = the probe ends */
  PirlProbeProgress progress;   /* may be NULL */
  gpointer user_data;
} PirlProbeConfig;

/** The protocol's: 28 epochs of 256, .01 falling at 8, 16 and 24, momentum .9, weight decay 5e-4;
 * k 200, sigma .1; C of .01 to 1000, three folds, weight 2; 1,000 draws for 95 %. */
PIRL_API void pirl_probe_config_defaults (PirlProbeConfig *config);

/** A figure and the ends of its interval; NaN = there is none. Parts of 1. */
typedef struct {
  gdouble value, low, high;
} PirlEstimate;

/** The figures of one probe. */
typedef struct {
  PirlEstimate top1, top5;      /* of single labels */
  PirlEstimate balanced;        /* mean of the classes' top-1: large classes count no more */
  PirlEstimate map;             /* mean average precision: of several labels, and of SVM */
  guint classes;
  gdouble *accuracy;            /* [classes] top-1 of its samples, NaN without; NULL: no labels */
  gdouble *precision;           /* [classes] average precision, NaN without; NULL: not computed */
  gdouble *cost;                /* SVM: [classes] the C chosen, NaN = class without a model */
  gsize n_train, n_test;        /* samples that counted */
  gdouble loss;                 /* LINEAR: mean of the last epoch, or at the optimum */
  gdouble seconds;
} PirlProbeResult;

PIRL_API void pirl_probe_result_clear (PirlProbeResult *result);

/**
 * Trains on @train, judges on @test. G_IO_ERROR_CANCELLED when it was ended; %PIRL_ERROR_INVALID
 * says what of the sets or settings cannot work and what would; %PIRL_ERROR_UNSUPPORTED what the
 * build lacks. @result needs no clearing after an error.
 */
PIRL_API gboolean pirl_probe_run (PirlProbe probe, const PirlProbeConfig *config,
    const PirlProbeSet *train, const PirlProbeSet *test, PirlProbeResult *result, GError **error);

/**
 * Chooses @fraction of the samples of each class, at least one: the lists of semi-supervised
 * learning. @keep ([n]) becomes TRUE for those chosen; rows without a label are not. A larger
 * fraction with the same seed has all samples of a smaller one. Returns how many.
 */
PIRL_API gsize pirl_probe_subset (const gint *labels, gsize n, gdouble fraction, guint64 seed,
    gboolean *keep);
