/* adacompressenc: the application as the cloud.
 *
 * classify() enters what it waits for, asks, and sleeps until somebody answers, here or from another
 * thread. An answer that comes while the question is still being asked is as good as a later one.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cloud.h"

#define ADA_TYPE_APPLICATION_CLOUD (ada_application_cloud_get_type ())
G_DECLARE_FINAL_TYPE (AdaApplicationCloud, ada_application_cloud, ADA, APPLICATION_CLOUD, GObject)

/* One question that is open; on the stack of who asked. */
typedef struct {
  guint64 id;
  gint quality;
  gboolean answered;
  AdaAnswer *answer;            /* NULL = none */
} Question;

struct _AdaApplicationCloud {
  GObject parent;
  AdaAskFunc ask;
  gpointer user_data;
  GMutex lock;
  GCond changed;
  GSList *open;                 /* of Question */
};

static void ada_application_cloud_interface_init (AdaCloudInterface * iface);
G_DEFINE_TYPE_WITH_CODE (AdaApplicationCloud, ada_application_cloud, G_TYPE_OBJECT,
    G_IMPLEMENT_INTERFACE (ADA_TYPE_CLOUD, ada_application_cloud_interface_init))

static void
ada_application_cloud_finalize (GObject * object)
{
  AdaApplicationCloud *self = ADA_APPLICATION_CLOUD (object);

  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  G_OBJECT_CLASS (ada_application_cloud_parent_class)->finalize (object);
}

static void
ada_application_cloud_class_init (AdaApplicationCloudClass * klass)
{
  G_OBJECT_CLASS (klass)->finalize = ada_application_cloud_finalize;
}

static void
ada_application_cloud_init (AdaApplicationCloud * self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
}

static void
cancelled (GCancellable * cancellable, gpointer data)
{
  AdaApplicationCloud *self = data;

  g_mutex_lock (&self->lock);
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}

static void
wait_for_answer (AdaApplicationCloud * self, const Question * question, GCancellable * cancellable)
{
  const gulong handler = cancellable
      ? g_cancellable_connect (cancellable, G_CALLBACK (cancelled), self, NULL) : 0;

  g_mutex_lock (&self->lock);
  while (!question->answered && !g_cancellable_is_cancelled (cancellable))
    g_cond_wait (&self->changed, &self->lock);
  g_mutex_unlock (&self->lock);
  g_cancellable_disconnect (cancellable, handler);
}

static AdaAnswer *
ada_application_cloud_classify (AdaCloud * cloud, const AdaRequest * request,
    GCancellable * cancellable, GError ** error)
{
  AdaApplicationCloud *self = ADA_APPLICATION_CLOUD (cloud);
  Question question = { request->id, request->quality, FALSE, NULL };

  g_mutex_lock (&self->lock);
  self->open = g_slist_prepend (self->open, &question);
  g_mutex_unlock (&self->lock);
  self->ask (request, self->user_data);
  wait_for_answer (self, &question, cancellable);
  g_mutex_lock (&self->lock);
  self->open = g_slist_remove (self->open, &question);
  g_mutex_unlock (&self->lock);

  if (!question.answered)
    g_cancellable_set_error_if_cancelled (cancellable, error);
  else if (!question.answer)
    g_set_error (error, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER,
        "the application has no answer for frame %" G_GUINT64_FORMAT " at quality %d",
        request->id, request->quality);
  return question.answer;
}

static void
ada_application_cloud_interface_init (AdaCloudInterface * iface)
{
  iface->classify = ada_application_cloud_classify;
}

AdaCloud *
ada_application_cloud_new (AdaAskFunc ask, gpointer user_data)
{
  AdaApplicationCloud *self = g_object_new (ADA_TYPE_APPLICATION_CLOUD, NULL);

  self->ask = ask;
  self->user_data = user_data;
  return ADA_CLOUD (self);
}

/* Order is all that the application gives: scores fall with the rank. */
static AdaAnswer *
answer_of_labels (const gchar * const *labels)
{
  AdaAnswer *answer = ada_answer_new ();

  for (guint i = 0; labels[i]; i++)
    ada_answer_add (answer, labels[i], NULL, 1. / (i + 1));
  return answer;
}

gboolean
ada_application_cloud_answer (AdaCloud * cloud, guint64 id, gint quality,
    const gchar * const *labels)
{
  AdaApplicationCloud *self = ADA_APPLICATION_CLOUD (cloud);
  gboolean wanted = FALSE;

  g_mutex_lock (&self->lock);
  for (GSList * l = self->open; l && !wanted; l = l->next) {
    Question *question = l->data;

    if (question->answered || question->id != id || question->quality != quality)
      continue;
    question->answer = labels ? answer_of_labels (labels) : NULL;
    question->answered = wanted = TRUE;
    g_cond_broadcast (&self->changed);
  }
  g_mutex_unlock (&self->lock);
  return wanted;
}
