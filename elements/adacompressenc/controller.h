/* adacompressenc: the controller: inference, estimate, retrain (AdaCompress, section 4).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * decide() is called for every frame on the streaming thread and waits for nothing; answered() is
 * called on the cloud's worker when a service has spoken, and learns. Knows neither GStreamer nor the
 * network, so that simulations run it as it is.
 *
 *   INFERENCE  the agent decides; with probability p_est (from the byte budget) a frame is asked about
 *   ESTIMATE   that frame: reference and trials go to the cloud, what leaves is the agent's choice
 *   RETRAIN    after an alarm (or without a trained agent): the reference leaves, frames are asked
 *              about as fast as the cloud answers (of neighbours that are alike: one in eight),
 *              until the agent is good again
 *
 * The agent of each scenery is remembered with the centre of its features; after an alarm the
 * remembered ones are tried on the first answers before anything is learnt anew.
 */
#pragma once

#include "observe.h"
#include <base/safetensors.h>

typedef enum { ADA_POLICY_FIXED, ADA_POLICY_DQN, ADA_POLICY_BANDIT } AdaPolicyKind;
typedef enum { ADA_STATE_INFERENCE, ADA_STATE_ESTIMATE, ADA_STATE_RETRAIN } AdaState;
typedef enum { ADA_ESTIMATOR_BUDGET, ADA_ESTIMATOR_PAPER } AdaEstimator;

#define ADA_MAX_LEVELS 100
#define ADA_MAX_TRIALS 8

typedef struct {
  AdaPolicyKind policy;
  AdaEstimator estimator;
  gint qualities[ADA_MAX_LEVELS];       /* ascending, the last = the reference's */
  guint levels;
  guint inputs, n_features;     /* of the observations */
  gdouble target;               /* target-agreement */
  gdouble alpha, beta, gamma, epsilon;  /* of the dqn's reward and exploration; epsilon < 0: decays */
  gdouble budget;               /* estimate-budget: bytes of estimates / reference bytes of all frames */
  gboolean reference_output;    /* retrain-output=reference */
  gboolean cloud;               /* there is one: without, never ask, never learn */
  guint trials;                 /* levels asked about beside the reference, at most */
  guint64 seed;
} AdaControllerConfig;
/** The settings that adacompressenc begins with. Qualities and lengths of observations are left empty. */
void ada_controller_config_defaults (AdaControllerConfig * config);

/** What happens to a frame. */
typedef struct {
  AdaState state;
  guint level;                  /* the agent's choice */
  gint quality;                 /* what leaves: that level's, or the reference's while retraining */
  gdouble agreement;            /* predicted for what leaves; NaN = no prediction */
  gboolean ask;
  guint n_trials;               /* levels to be asked about, the reference not counted */
  guint trials[ADA_MAX_TRIALS];
} AdaDecision;

typedef struct {
  AdaState state;               /* INFERENCE or RETRAIN; ESTIMATE is what a single frame is */
  gdouble p_est, lambda, epsilon;
  guint64 estimates, retrains;
  gdouble agreement, agreement_low, agreement_high;     /* of the choices, on the frames asked about since
                                                         * the last change of state; Wilson 95 %; NaN = none */
  gdouble evidence;             /* of the drift test, log10 */
  guint remembered;             /* agents of other sceneries */
} AdaControllerStats;

/** @reason: "drift of agreement", "agent settled", "remembered agent 2", "the service's model
 * changed from 2 to 3", ... On the thread that caused it, without locks held. @from is @to,
 * RETRAIN, when the model changes while an agent learns, which then begins anew. */
typedef void (*AdaStateFunc) (AdaState from, AdaState to, const gchar * reason, gpointer user_data);

typedef struct _AdaController AdaController;
/** Untrained, in RETRAIN where there is a cloud. NULL with %PIRL_ERROR_INVALID for settings that cannot be. */
AdaController *ada_controller_new (const AdaControllerConfig * config, GError ** error);
/** Nothing may be in any of its functions any more. NULL is ignored. */
void ada_controller_free (AdaController * controller);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaController, ada_controller_free)
/** Who is told of changes of state; once, before the first frame. */
void ada_controller_set_state_func (AdaController * controller, AdaStateFunc func,
    gpointer user_data);

/** @can_ask: there is room in the cloud's queue. What is decided to be asked and then is not sent is
 * taken back with ada_controller_failed(). */
void ada_controller_decide (AdaController * controller, const AdaObservation * observation,
    gboolean can_ask, AdaDecision * decision);
/** A frame that nobody looks at; the next that is decided stands for it in the budget. */
void ada_controller_pass (AdaController * controller);
/** @outcome (levels): agreement 0..1 of each level asked about, negative = not asked or no answer.
 * @bytes: what the estimate cost on the wire (references, base64, headers). @reference_bytes: of the
 * reference alone. */
void ada_controller_answered (AdaController * controller, const AdaObservation * observation,
    const AdaDecision * decision, const gfloat * outcome, gsize bytes, gsize reference_bytes);
/** The service answered a reference with its model @version (NULL: it does not say); before
 * ada_controller_answered(). Another one than before is a drift: learning begins anew. It counts
 * when it has answered eight references in a row, since a service that is being updated answers
 * with both for a while. */
void ada_controller_model (AdaController * controller, const gchar * version);
/** No answer came. */
void ada_controller_failed (AdaController * controller, const AdaDecision * decision, gsize bytes);
/** A snapshot; any thread. */
void ada_controller_stats (AdaController * controller, AdaControllerStats * stats);

/** The whole of it in a file: weights, pictures, remembered agents, state, drift test, the
 * service's model. @extractor:
 * ada_observer_model(). Atomic; any thread. */
gboolean ada_controller_save (AdaController * controller, const gchar * path,
    const gchar * extractor, GError ** error);
/** Continues from a file. Another extractor, policy, or list of qualities is %PIRL_ERROR_MISMATCH with
 * both values named. */
gboolean ada_controller_load (AdaController * controller, const gchar * path,
    const gchar * extractor, GError ** error);
