/* gst-pirl: what the files of the DQN share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "learn/dqn.h"
#include "net/plan.h"

#define PIRL_DQN_LAYERS 4

/* The network as choosing needs it: plain rows of floats, never changed once published. */
typedef struct {
  gatomicrefcount references;
  guint width[PIRL_DQN_LAYERS + 1];     /* features, 64, 32, 32, actions */
  gfloat *weight[PIRL_DQN_LAYERS];      /* out x in */
  gfloat *bias[PIRL_DQN_LAYERS];
  gfloat data[];
} DqnWeights;

struct _PirlDqn {
  PirlDqnConfig config;

  GMutex publishing;            /* held for a few instructions */
  DqnWeights *weights;
  gdouble epsilon;
  gboolean trained;
  guint64 choices;

  GMutex learning;              /* everything below */
  PirlDevice *device;
  PirlGraph *graph;
  PirlParams *params;
  PirlPool *pool;
  PirlPlan *plan;
  PirlValue output;
  DqnWeights *target;           /* for max Q (s'); gamma 0: NULL */
  gfloat *states, *nexts;       /* replay x features; nexts NULL at gamma 0 */
  guint32 *actions;
  gfloat *rewards;
  guint stored, cursor;         /* transitions in the replay; where the next goes */
  guint64 steps;                /* transitions since the last restart */
  guint64 learnings, adam_steps;        /* ever */
};

/* With @learning held. */
gboolean pirl_dqn_publish (PirlDqn *dqn, gboolean trained, GError **error);
