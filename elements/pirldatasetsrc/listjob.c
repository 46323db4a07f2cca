/* gst-pirl: lists a location on a thread of its own (see listjob.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "listjob.h"

struct _GstPirlListJob {
  gchar *location;
  GstPirlLabels labels;
  gint cancel;                  /* atomic */
  GThread *thread;
  GMutex lock;
  GCond cond;
  gboolean done, interrupted;
  GstPirlListing *listing;
  gchar *warning;
  GError *error;
};

static gpointer
list_main (gpointer data)
{
  GstPirlListJob *job = data;

  job->listing = gst_pirl_listing_new (job->location, job->labels, &job->cancel, &job->warning,
      &job->error);
  g_mutex_lock (&job->lock);
  job->done = TRUE;
  g_cond_broadcast (&job->cond);
  g_mutex_unlock (&job->lock);
  return NULL;
}

GstPirlListJob *
gst_pirl_list_job_new (const gchar * location, GstPirlLabels labels)
{
  GstPirlListJob *job = g_new0 (GstPirlListJob, 1);

  job->location = g_strdup (location);
  job->labels = labels;
  g_mutex_init (&job->lock);
  g_cond_init (&job->cond);
  job->thread = g_thread_new ("pirl-list", list_main, job);
  return job;
}

void
gst_pirl_list_job_free (GstPirlListJob * job)
{
  g_atomic_int_set (&job->cancel, TRUE);
  g_thread_join (job->thread);
  g_clear_pointer (&job->listing, gst_pirl_listing_unref);
  g_clear_error (&job->error);
  g_free (job->warning);
  g_free (job->location);
  g_mutex_clear (&job->lock);
  g_cond_clear (&job->cond);
  g_free (job);
}

gboolean
gst_pirl_list_job_wait (GstPirlListJob * job, gint64 microseconds)
{
  gint64 end = microseconds < 0 ? G_MAXINT64 : g_get_monotonic_time () + microseconds;
  gboolean in_time = TRUE, done;

  g_mutex_lock (&job->lock);
  while (!job->done && !job->interrupted && in_time) {
    if (microseconds < 0)
      g_cond_wait (&job->cond, &job->lock);
    else
      in_time = g_cond_wait_until (&job->cond, &job->lock, end);
  }
  done = job->done;
  g_mutex_unlock (&job->lock);
  return done;
}

void
gst_pirl_list_job_set_interrupted (GstPirlListJob * job, gboolean interrupted)
{
  g_mutex_lock (&job->lock);
  job->interrupted = interrupted;
  g_cond_broadcast (&job->cond);
  g_mutex_unlock (&job->lock);
}

GstPirlListing *
gst_pirl_list_job_take (GstPirlListJob * job, gchar ** warning, GError ** error)
{
  *warning = g_steal_pointer (&job->warning);
  if (job->error)
    g_propagate_error (error, g_steal_pointer (&job->error));
  return g_steal_pointer (&job->listing);
}
