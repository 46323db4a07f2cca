/* gst-pirl: what the bandit's files share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "learn/bandit.h"
#include "learn/bandit-logistic.h"

#define PIRL_BANDIT_MAX_LEVELS 100
#define PIRL_BANDIT_MAX_INPUTS 512

/* What choosing needs; never changes once published. */
typedef struct {
  gatomicrefcount references;
  gdouble lambda;
  gboolean trained;
  gdouble *mean, *scale, *w;    /* d */
  gdouble *covariance;          /* d x d */
  gdouble data[];
} BanditModel;

/* An answered picture; one block of memory. */
typedef struct {
  gdouble *sizes;               /* L */
  gfloat *phi;                  /* L x d */
  gfloat *outcome;              /* L, negative = not asked */
} BanditPicture;

struct _PirlBandit {
  PirlBanditConfig config;

  GMutex publishing;            /* the pointer, never held for longer than a swap */
  BanditModel *model;

  GMutex learning;              /* everything below */
  GPtrArray *pictures;          /* BanditPicture *, oldest first */
  guint pending;                /* pictures since the last fit */
  gboolean informed;            /* the prior comes from another scenery; keeps mean and scale */
  gboolean trained;
  gdouble *mean, *scale;        /* d: of the inputs */
  gdouble *prior_mean, *w;      /* d */
  gdouble *prior_precision, *precision; /* d x d */
  gdouble lambda;
  gdouble agreement, known;     /* of the choices on the pictures; of how many it is known */
};

BanditModel *pirl_bandit_model_new (guint inputs);
void pirl_bandit_publish (PirlBandit *bandit, BanditModel *model);
BanditPicture *pirl_bandit_picture_new (const PirlBanditConfig *config, const gfloat *phi,
    const gdouble *sizes, const gfloat *outcome);
/* @bandit becomes what @other is, whose pictures are taken; @judge: then fits anew. */
void pirl_bandit_replace (PirlBandit *bandit, PirlBandit *other, gboolean judge);
