/* adacompressenc: observer and controller together, on the stream's side of the cloud.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One thread calls decide() and ask(), which wait for nobody: the stream's, or a live stream's lookout. A frame that is asked about
 * gives its coder away, with its coefficients, and gets another one from a small pool; the coder comes
 * back when the cloud has spoken. What is learnt is saved by a thread of its own.
 */
#pragma once

#include "cloud/client.h"
#include "controller.h"
#include "observe.h"

G_BEGIN_DECLS

/** Any thread, no locks held. */
typedef struct {
  AdaStateFunc state;
  /* Something went wrong that the stream survives. */
  void (*warning) (const GError * error, gpointer user_data);
  gpointer user_data;
} AdaAgentEvents;

typedef struct {
  AdaObserverConfig observer;   /* its qualities are the controller's */
  AdaControllerConfig controller;       /* lengths of observations and `cloud` are filled in */
  AdaAgreement agreement;
  AdaCloud *cloud;              /* NULL = nothing is asked */
  AdaClient *client;            /* of that cloud; borrowed, to be freed before the agent */
  const gchar *agent_file;      /* NULL = nothing is kept */
  const gchar *shipped_agent;   /* where agent_file is not there yet; NULL = untrained */
} AdaAgentConfig;

typedef struct {
  AdaControllerStats controller;
  guint64 saves, failures;      /* of the agent file; of the extractor */
  guint64 unknown;              /* frames of which the cloud has no recording */
} AdaAgentStats;

typedef struct _AdaAgent AdaAgent;

/** Reads the models and the agent; takes its time. An agent file that does not fit is an error, a
 * shipped one that does not is left aside. @origin: the file that the agent was read from, NULL when
 * it is untrained; transfer full. */
AdaAgent *ada_agent_new (const AdaAgentConfig * config, const AdaAgentEvents * events,
    gchar ** origin, GError ** error);
/** Saves what was learnt. */
void ada_agent_free (AdaAgent * agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaAgent, ada_agent_free)

/** Looks at the picture that @coder holds and decides. When the extractor fails the decision is the
 * reference quality. @observation: transfer full, NULL then. */
void ada_agent_decide (AdaAgent * agent, PirlJpegCoder * coder, AdaDecision * decision,
    AdaObservation ** observation);
/** A frame that nobody looks at. */
void ada_agent_pass (AdaAgent * agent);
/** After decision->ask: takes @coder and @observation (transfer full) and returns a coder to go on
 * with, perhaps the same one. @name: the sample's, or NULL. */
PirlJpegCoder *ada_agent_ask (AdaAgent * agent, PirlJpegCoder * coder, guint64 id,
    const gchar * name, const AdaDecision * decision, AdaObservation * observation);
/** One that the pool does not know, for the stream to begin with. */
PirlJpegCoder *ada_agent_new_coder (void);
/** Another coder from the pool; NULL when all are with questions. Give it back. */
PirlJpegCoder *ada_agent_take_coder (AdaAgent * agent);
/** Back to the pool; transfer full. Any thread. */
void ada_agent_give_coder (AdaAgent * agent, PirlJpegCoder * coder);
/** Has the agent saved soon, if it has learnt since. Does not wait. */
void ada_agent_save_soon (AdaAgent * agent);
/** A snapshot; any thread. */
void ada_agent_stats (AdaAgent * agent, AdaAgentStats * stats);

/** "inference", "estimate", "retrain". */
const gchar *ada_state_name (AdaState state);

G_END_DECLS
