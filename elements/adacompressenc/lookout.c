/* adacompressenc: looking at a live stream's frames beside it (see lookout.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "lookout.h"

/* Frames nearer together look alike: while nothing is to be learnt one of them is looked at, which at 30
 * frames a second halves what looking costs. */
#define ALIKE (45 * G_TIME_SPAN_MILLISECOND)

struct _AdaLookout {
  AdaAgent *agent;
  GThread *thread;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  PirlJpegCoder *coder;         /* the frame to look at, or that is looked at */
  guint64 id;
  gchar *name;
  gint64 shown;                 /* when; monotonic time */
  gboolean decided, stopping;
  AdaDecision decision;         /* of the frame looked at last */
  AdaObservation *observation;
};

/* With the lock. */
static void
publish (AdaLookout * self, const AdaDecision * decision, AdaObservation * observation)
{
  g_clear_pointer (&self->observation, ada_observation_unref);
  self->decision = *decision;
  self->observation = observation != NULL ? ada_observation_ref (observation) : NULL;
  self->decided = TRUE;
}

/* Decides and asks; the coder that is left goes back to the others. */
static void
look (AdaLookout * self, PirlJpegCoder * coder, guint64 id, const gchar * name)
{
  AdaObservation *observation;
  AdaDecision decision;

  ada_agent_decide (self->agent, coder, &decision, &observation);
  g_mutex_lock (&self->lock);
  publish (self, &decision, observation);
  g_mutex_unlock (&self->lock);
  if (observation != NULL && decision.ask)
    coder = ada_agent_ask (self->agent, coder, id, name, &decision, observation);
  else if (observation != NULL)
    ada_observation_unref (observation);
  ada_agent_give_coder (self->agent, coder);
}

static gpointer
lookout_main (gpointer data)
{
  AdaLookout *self = data;

  g_mutex_lock (&self->lock);
  while (!self->stopping) {
    if (self->coder == NULL) {
      g_cond_wait (&self->changed, &self->lock);
      continue;
    }
    g_mutex_unlock (&self->lock);
    look (self, self->coder, self->id, self->name);
    g_mutex_lock (&self->lock);
    self->coder = NULL;
    g_cond_broadcast (&self->changed);
  }
  g_mutex_unlock (&self->lock);
  return NULL;
}

AdaLookout *
ada_lookout_new (AdaAgent * agent)
{
  AdaLookout *self = g_new0 (AdaLookout, 1);

  self->agent = agent;
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  self->thread = g_thread_new ("ada-look", lookout_main, self);
  return self;
}

void
ada_lookout_free (AdaLookout * self)
{
  g_mutex_lock (&self->lock);
  self->stopping = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  g_thread_join (self->thread);
  /* Shown, but the thread was stopped before it looked. */
  if (self->coder != NULL)
    ada_agent_give_coder (self->agent, self->coder);
  g_clear_pointer (&self->observation, ada_observation_unref);
  g_free (self->name);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

gboolean
ada_lookout_decide (AdaLookout * self, PirlJpegCoder * coder, AdaDecision * decision,
    AdaObservation ** observation)
{
  gboolean decided;

  g_mutex_lock (&self->lock);
  decided = self->decided;
  if (decided) {
    *decision = self->decision;
    *observation = self->observation ? ada_observation_ref (self->observation) : NULL;
  }
  g_mutex_unlock (&self->lock);
  if (decided)
    return FALSE;
  /* Nothing was shown yet, so the thread has nothing to do with the agent. */
  ada_agent_decide (self->agent, coder, decision, observation);
  g_mutex_lock (&self->lock);
  publish (self, decision, *observation);
  g_mutex_unlock (&self->lock);
  return TRUE;
}

/* With the lock: is there time, and reason, to look? */
static gboolean
is_due (AdaLookout * self)
{
  return self->coder == NULL && (self->decision.state == ADA_STATE_RETRAIN
      || g_get_monotonic_time () - self->shown >= ALIKE);
}

PirlJpegCoder *
ada_lookout_show (AdaLookout * self, PirlJpegCoder * coder, guint64 id, const gchar * name)
{
  PirlJpegCoder *next = NULL;

  g_mutex_lock (&self->lock);
  if (is_due (self))
    next = ada_agent_take_coder (self->agent);
  if (next != NULL) {
    self->coder = coder;
    self->shown = g_get_monotonic_time ();
    self->id = id;
    g_free (self->name);
    self->name = g_strdup (name);
    g_cond_broadcast (&self->changed);
  }
  g_mutex_unlock (&self->lock);
  if (next == NULL)
    ada_agent_pass (self->agent);
  return next != NULL ? next : coder;
}

void
ada_lookout_drain (AdaLookout * self)
{
  g_mutex_lock (&self->lock);
  while (self->coder != NULL && !self->stopping)
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
}
