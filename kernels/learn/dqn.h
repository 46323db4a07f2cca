/* gst-pirl: the agent of AdaCompress (He et al., MM'19), repaired.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Q(s, .): features -> 64 relu -> 32 relu -> 32 relu -> actions. Loss: squared error of the chosen
 * action's Q to r + gamma max Q'(s'). Adam. Replay, epsilon-greedy.
 * Published values are the defaults. Repaired, each with its reason in dqn.c: gamma 0 (the action
 * does not influence the next picture; published .95), targets computed when they are used
 * (published: once, when stored), a target network, epsilon restarts with every retraining.
 */
#pragma once

#include "base/base.h"
#include "base/safetensors.h"

typedef struct {
  guint features, actions;      /* 1280, 10 */
  gdouble learning_rate;        /* .002 (Adam: .9, .999, 1e-7) */
  gdouble gamma;                /* 0 */
  gdouble epsilon_decay, epsilon_min;   /* .99 a learning, .02; decay 0: the minimum after @start */
  guint start;                  /* T_start: transitions before learning, 128 */
  guint learn_every;            /* 5 */
  guint batch, epochs;          /* 256, 5 */
  guint replay;                 /* 2000 */
  guint target_every;           /* learnings between copies to the target network; gamma 0: unused */
  guint64 seed;
} PirlDqnConfig;
PIRL_API void pirl_dqn_config_defaults (PirlDqnConfig *config);

typedef struct _PirlDqn PirlDqn;
PIRL_API PirlDqn *pirl_dqn_new (const PirlDqnConfig *config, GError **error);
PIRL_API void pirl_dqn_free (PirlDqn *dqn);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlDqn, pirl_dqn_free)

/** Q values of a state, @actions floats. One thread may learn while another asks. */
PIRL_API void pirl_dqn_q (PirlDqn *dqn, const gfloat *state, gfloat *q);
/** argmax Q, or with probability epsilon (only where @explore) any action. */
PIRL_API guint pirl_dqn_choose (PirlDqn *dqn, const gfloat *state, gboolean explore);
/** Stores (s, a, r, s'); @next may be NULL (gamma 0). Learns when it is time to. What is not
 * finite is %PIRL_ERROR_NOT_FINITE and not stored. */
PIRL_API gboolean pirl_dqn_learn (PirlDqn *dqn, const gfloat *state, guint action, gdouble reward,
    const gfloat *next, GError **error);
/** Starts a retraining: replay emptied, epsilon 1 again, weights kept. */
PIRL_API void pirl_dqn_restart (PirlDqn *dqn);
/** TRUE when it has learnt, or was loaded; else its choices mean nothing. */
PIRL_API gboolean pirl_dqn_trained (PirlDqn *dqn);
/** Takes over the weights of @other, of the same shape, as a retraining's start. */
PIRL_API gboolean pirl_dqn_adopt (PirlDqn *dqn, PirlDqn *other, GError **error);
PIRL_API gdouble pirl_dqn_epsilon (PirlDqn *dqn);
PIRL_API guint64 pirl_dqn_steps (PirlDqn *dqn);
/** As pirl_bandit_save() and _load(). */
PIRL_API void pirl_dqn_save (PirlDqn *dqn, PirlSafetensorsWriter *writer, const gchar *prefix,
    GPtrArray *keep);
PIRL_API gboolean pirl_dqn_load (PirlDqn *dqn, const PirlSafetensors *file, const gchar *prefix,
    GError **error);
