/* gst-pirl: frames of a GstBaseTransform that are looked at before their turn (see framequeue.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The base class's own pad functions are called by the task alone, or, for flushes, while the task
 * is paused: to the base class it is the streaming thread.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "framequeue.h"

/* Who waits until an item has been handled. */
typedef struct {
  gboolean done, answer;
} Call;

typedef struct {
  GstMiniObject *object;        /* owned, but for queries */
  guint64 ticket;               /* of a frame */
  Call *call;                   /* NULL: nobody waits */
} Item;

struct _FrameQueue {
  GstBaseTransform *trans;      /* owns this */
  const FrameQueueFuncs *funcs;
  gboolean enabled;             /* constant while data flow */

  /* The base class's. */
  GstPadChainFunction chain;
  GstPadEventFunction event;
  GstPadQueryFunction query;
  GstPadActivateModeFunction activate;

  GMutex lock;
  GCond changed;
  /* Under the lock. */
  gboolean active;              /* the task may run */
  GQueue items;
  guint frames;                 /* among them */
  GstFlowReturn result;         /* OK, or why nothing is taken any more */
  gboolean reported;            /* the element has posted the error that is in @result */
  gboolean refusing;            /* downstream is at its end: no frames before the next segment */
  gboolean dropping;            /* the same, where the task is: its own while it runs */
};

static GstPad *
sink_pad (FrameQueue * self)
{
  return GST_BASE_TRANSFORM_SINK_PAD (self->trans);
}

static GstPad *
src_pad (FrameQueue * self)
{
  return GST_BASE_TRANSFORM_SRC_PAD (self->trans);
}

/* ---- the queue ---------------------------------------------------------------------------- */

/* With the lock. */
static void
answer (FrameQueue * self, Item * item, gboolean value)
{
  if (item->call != NULL) {
    item->call->answer = value;
    item->call->done = TRUE;
    g_cond_broadcast (&self->changed);
  }
}

/* With the lock: forgets what is queued. TRUE when the end of the stream was among it. */
static gboolean
clear (FrameQueue * self)
{
  gboolean eos = FALSE;
  Item *item;

  while ((item = g_queue_pop_head (&self->items)) != NULL) {
    if (GST_IS_EVENT (item->object))
      eos |= GST_EVENT_TYPE (item->object) == GST_EVENT_EOS;
    if (!GST_IS_QUERY (item->object))
      gst_mini_object_unref (item->object);
    answer (self, item, FALSE);
    g_free (item);
  }
  self->frames = 0;
  return eos;
}

/* With the lock. */
static void
append (FrameQueue * self, gpointer object, guint64 ticket, Call * call)
{
  Item *item = g_new (Item, 1);

  *item = (Item) { object, ticket, call };
  g_queue_push_tail (&self->items, item);
  self->frames += GST_IS_BUFFER (object);
  g_cond_broadcast (&self->changed);
}

/* A frame may follow after one of these though downstream said that it is at its end. */
static gboolean
begins_anew (const Item * item)
{
  GstEventType type = GST_IS_EVENT (item->object) ? GST_EVENT_TYPE (item->object)
      : GST_EVENT_UNKNOWN;

  return type == GST_EVENT_SEGMENT || type == GST_EVENT_STREAM_START;
}

/* Waits for the next item; NULL: the task has to end. */
static Item *
pop (FrameQueue * self)
{
  Item *item = NULL;

  g_mutex_lock (&self->lock);
  while (self->result == GST_FLOW_OK && g_queue_is_empty (&self->items))
    g_cond_wait (&self->changed, &self->lock);
  if (self->result == GST_FLOW_OK)
    item = g_queue_pop_head (&self->items);
  if (item != NULL && GST_IS_BUFFER (item->object)) {
    self->frames--;
    g_cond_broadcast (&self->changed);
  }
  g_mutex_unlock (&self->lock);
  return item;
}

/* ---- the task ----------------------------------------------------------------------------- */

static GstFlowReturn
handle_frame (FrameQueue * self, Item * item)
{
  GstElement *element = GST_ELEMENT (self->trans);
  GstBuffer *frame = GST_BUFFER (item->object);
  GstFlowReturn ret = self->dropping ? GST_FLOW_OK : self->funcs->leaving (element, item->ticket);

  if (self->dropping || ret != GST_FLOW_OK) {
    self->reported = ret == GST_FLOW_ERROR;
    gst_buffer_unref (frame);
    return ret;
  }
  return self->chain (sink_pad (self), GST_OBJECT (element), frame);
}

/* Hands @item to the base class; frees it. */
static GstFlowReturn
handle (FrameQueue * self, Item * item)
{
  GstObject *parent = GST_OBJECT (self->trans);
  GstFlowReturn ret = GST_FLOW_OK;
  gboolean value = TRUE;

  self->dropping &= !begins_anew (item);
  if (GST_IS_BUFFER (item->object))
    ret = handle_frame (self, item);
  else if (GST_IS_EVENT (item->object))
    value = self->event (sink_pad (self), parent, GST_EVENT (item->object));
  else
    value = self->query (sink_pad (self), parent, GST_QUERY (item->object));
  g_mutex_lock (&self->lock);
  answer (self, item, value);
  g_mutex_unlock (&self->lock);
  g_free (item);
  return ret;
}

static void
report (FrameQueue * self, GstFlowReturn ret)
{
  if (!self->reported)
    GST_ELEMENT_FLOW_ERROR (self->trans, ret);
  self->reported = TRUE;
}

/* Downstream takes no more: says so to upstream. Where upstream has said its last word, nobody else
 * would report an error. */
static void
end (FrameQueue * self, GstFlowReturn ret)
{
  gboolean eos = FALSE;

  g_mutex_lock (&self->lock);
  if (ret == GST_FLOW_EOS) {
    self->dropping = self->refusing = TRUE;
    for (GList * l = self->items.head; l != NULL; l = l->next)
      self->refusing &= !begins_anew (l->data);
  } else if (self->result == GST_FLOW_OK) {
    self->result = ret;
    eos = clear (self);
  }
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  if (eos && ret != GST_FLOW_FLUSHING) {
    report (self, ret);
    gst_pad_push_event (src_pad (self), gst_event_new_eos ());
  }
}

static void
task (gpointer user_data)
{
  FrameQueue *self = user_data;
  Item *item = pop (self);
  GstFlowReturn ret;

  if (item == NULL) {
    gst_pad_pause_task (src_pad (self));
    return;
  }
  ret = handle (self, item);
  if (ret != GST_FLOW_OK)
    end (self, ret);
}

/* ---- the sink pad ------------------------------------------------------------------------- */

/* With the lock. */
static gboolean
takes_frames (FrameQueue * self)
{
  return self->result == GST_FLOW_OK && !self->refusing;
}

/* With the lock. */
static GstFlowReturn
flow (FrameQueue * self)
{
  return self->result == GST_FLOW_OK && self->refusing ? GST_FLOW_EOS : self->result;
}

static GstFlowReturn
wait_for_room (FrameQueue * self)
{
  GstElement *element = GST_ELEMENT (self->trans);
  guint capacity = self->funcs->capacity (element);
  GstFlowReturn ret;

  g_mutex_lock (&self->lock);
  if (self->frames >= capacity) {
    g_mutex_unlock (&self->lock);
    self->funcs->full (element);
    g_mutex_lock (&self->lock);
  }
  while (takes_frames (self) && self->frames >= capacity)
    g_cond_wait (&self->changed, &self->lock);
  ret = flow (self);
  g_mutex_unlock (&self->lock);
  return ret;
}

static GstFlowReturn
push_frame (FrameQueue * self, GstBuffer * frame)
{
  guint64 ticket = 0;
  GstFlowReturn ret = wait_for_room (self);

  if (ret == GST_FLOW_OK)
    ret = self->funcs->arrived (GST_ELEMENT (self->trans), frame, &ticket);
  if (ret == GST_FLOW_OK) {
    g_mutex_lock (&self->lock);
    ret = flow (self);
    if (ret == GST_FLOW_OK)
      append (self, frame, ticket, NULL);
    g_mutex_unlock (&self->lock);
  }
  if (ret != GST_FLOW_OK)
    gst_buffer_unref (frame);
  return ret;
}

/* Waits until the task has handled @object and all that is before it. */
static gboolean
push_and_wait (FrameQueue * self, gpointer object)
{
  Call call = { FALSE, FALSE };

  self->funcs->pausing (GST_ELEMENT (self->trans));
  g_mutex_lock (&self->lock);
  if (self->result == GST_FLOW_OK) {
    append (self, object, 0, &call);
    /* Who ends the queue clears it; only what is being handled has to be waited for. */
    while (!call.done)
      g_cond_wait (&self->changed, &self->lock);
  } else if (GST_IS_EVENT (object)) {
    gst_event_unref (object);
  }
  g_mutex_unlock (&self->lock);
  return call.answer;
}

/* TRUE for events after which a stream may fall silent. */
static gboolean
is_last_for_now (GstEvent * event)
{
  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_EOS:
    case GST_EVENT_SEGMENT_DONE:
    case GST_EVENT_STREAM_GROUP_DONE:
      return TRUE;
    default:
      return FALSE;
  }
}

static gboolean
push_event (FrameQueue * self, GstEvent * event)
{
  gboolean eos = GST_EVENT_TYPE (event) == GST_EVENT_EOS;
  GstFlowReturn result;

  if (is_last_for_now (event))
    self->funcs->pausing (GST_ELEMENT (self->trans));
  g_mutex_lock (&self->lock);
  result = self->result;
  if (result == GST_FLOW_OK) {
    append (self, event, 0, NULL);
    if (begins_anew (g_queue_peek_tail (&self->items)))
      self->refusing = FALSE;
  }
  g_mutex_unlock (&self->lock);
  if (result == GST_FLOW_OK)
    return TRUE;
  gst_event_unref (event);
  /* No frame follows whose flow would tell. */
  if (eos && result != GST_FLOW_FLUSHING)
    report (self, result);
  return FALSE;
}

static gboolean
flush_start (FrameQueue * self, GstEvent * event)
{
  gboolean ret = self->event (sink_pad (self), GST_OBJECT (self->trans), event);

  frame_queue_set_flushing (self);
  gst_pad_pause_task (src_pad (self));
  return ret;
}

static gboolean
flush_stop (FrameQueue * self, GstEvent * event)
{
  gboolean ret;

  frame_queue_set_flushing (self);
  gst_pad_pause_task (src_pad (self));
  ret = self->event (sink_pad (self), GST_OBJECT (self->trans), event);
  g_mutex_lock (&self->lock);
  if (self->active) {
    self->result = GST_FLOW_OK;
    self->refusing = self->dropping = self->reported = FALSE;
    gst_pad_start_task (src_pad (self), task, self, NULL);
  }
  g_mutex_unlock (&self->lock);
  return ret;
}

static GstFlowReturn
on_chain (GstPad * pad, GstObject * parent, GstBuffer * buffer)
{
  FrameQueue *self = gst_pad_get_element_private (pad);

  return self->enabled ? push_frame (self, buffer) : self->chain (pad, parent, buffer);
}

static gboolean
on_event (GstPad * pad, GstObject * parent, GstEvent * event)
{
  FrameQueue *self = gst_pad_get_element_private (pad);

  if (!self->enabled)
    return self->event (pad, parent, event);
  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      return flush_start (self, event);
    case GST_EVENT_FLUSH_STOP:
      return flush_stop (self, event);
    case GST_EVENT_CAPS:
      return push_and_wait (self, event);
    default:
      return GST_EVENT_IS_SERIALIZED (event) ? push_event (self, event)
          : self->event (pad, parent, event);
  }
}

static gboolean
on_query (GstPad * pad, GstObject * parent, GstQuery * query)
{
  FrameQueue *self = gst_pad_get_element_private (pad);

  if (self->enabled && GST_QUERY_IS_SERIALIZED (query))
    return push_and_wait (self, query);
  return self->query (pad, parent, query);
}

/* ---- the source pad, life ----------------------------------------------------------------- */

static void
stop (FrameQueue * self)
{
  g_mutex_lock (&self->lock);
  self->active = FALSE;
  g_mutex_unlock (&self->lock);
  frame_queue_set_flushing (self);
  gst_pad_stop_task (src_pad (self));
}

static gboolean
on_activate (GstPad * pad, GstObject * parent, GstPadMode mode, gboolean active)
{
  FrameQueue *self = gst_pad_get_element_private (pad);

  if (!active)
    stop (self);
  return self->activate (pad, parent, mode, active);
}

FrameQueue *
frame_queue_new (GstBaseTransform * trans, const FrameQueueFuncs * funcs)
{
  FrameQueue *self = g_new0 (FrameQueue, 1);
  GstPad *sink = GST_BASE_TRANSFORM_SINK_PAD (trans), *src = GST_BASE_TRANSFORM_SRC_PAD (trans);

  self->trans = trans;
  self->funcs = funcs;
  self->result = GST_FLOW_FLUSHING;
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  self->chain = GST_PAD_CHAINFUNC (sink);
  self->event = GST_PAD_EVENTFUNC (sink);
  self->query = GST_PAD_QUERYFUNC (sink);
  self->activate = GST_PAD_ACTIVATEMODEFUNC (src);
  gst_pad_set_element_private (sink, self);
  gst_pad_set_element_private (src, self);
  gst_pad_set_chain_function (sink, GST_DEBUG_FUNCPTR (on_chain));
  gst_pad_set_event_function (sink, GST_DEBUG_FUNCPTR (on_event));
  gst_pad_set_query_function (sink, GST_DEBUG_FUNCPTR (on_query));
  gst_pad_set_activatemode_function (src, GST_DEBUG_FUNCPTR (on_activate));
  return self;
}

void
frame_queue_free (FrameQueue * self)
{
  clear (self);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  g_free (self);
}

void
frame_queue_start (FrameQueue * self, gboolean enabled)
{
  self->enabled = enabled;
  if (!enabled)
    return;
  g_mutex_lock (&self->lock);
  self->active = TRUE;
  self->result = GST_FLOW_OK;
  self->refusing = self->dropping = self->reported = FALSE;
  gst_pad_start_task (src_pad (self), task, self, NULL);
  g_mutex_unlock (&self->lock);
}

void
frame_queue_set_flushing (FrameQueue * self)
{
  g_mutex_lock (&self->lock);
  self->result = GST_FLOW_FLUSHING;
  clear (self);
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
}
