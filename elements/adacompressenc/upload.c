/* gst-pirl: frames on their way to a vision service, and their labels back (see upload.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "upload.h"
#include "meta.h"
#include "report.h"

#include <string.h>

/* Of an answer, whatever a service says: every buffer carries them. */
#define MOST_LABELS 10
#define LABEL_LENGTH 256

/* What was seen in one frame. */
typedef struct {
  AdaUploadFrame frame;
  GValue labels, texts, scores;
} Seen;

struct _AdaUpload {
  GstElement *element;          /* not owned */
  AdaClient *client;            /* borrowed */

  GMutex lock;
  /* Under the lock. */
  Seen *newest;                 /* NULL = nothing yet */

  gint flushes;                 /* atomic */
};

/* A frame on its way. */
typedef struct {
  AdaInquiry inquiry;           /* first: the client's view of it */
  AdaUpload *upload;
  AdaUploadFrame frame;
  gint flushes;                 /* before it left */
  GBytes *jpeg;
} Parcel;

/* ---- answers ------------------------------------------------------------------------------ */

static void
seen_free (Seen * seen)
{
  g_value_unset (&seen->labels);
  g_value_unset (&seen->texts);
  g_value_unset (&seen->scores);
  g_free (seen);
}

static void
append_text (GValue * array, const gchar * text)
{
  g_autofree gchar *valid = g_utf8_make_valid (text, -1);
  GValue value = G_VALUE_INIT;

  if (strlen (valid) > LABEL_LENGTH)
    *g_utf8_find_prev_char (valid, valid + LABEL_LENGTH) = '\0';
  g_value_init (&value, G_TYPE_STRING);
  g_value_take_string (&value, g_steal_pointer (&valid));
  gst_value_array_append_and_take_value (array, &value);
}

static void
append_number (GValue * array, gdouble number)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_TYPE_DOUBLE);
  g_value_set_double (&value, number);
  gst_value_array_append_and_take_value (array, &value);
}

static Seen *
seen_new (const AdaUploadFrame * frame, const AdaAnswer * answer)
{
  const guint n = MIN (answer->labels->len, MOST_LABELS);
  Seen *seen = g_new0 (Seen, 1);

  seen->frame = *frame;
  gst_value_array_init (&seen->labels, n);
  gst_value_array_init (&seen->texts, n);
  gst_value_array_init (&seen->scores, n);
  for (guint i = 0; i < n; i++) {
    const AdaLabel *label = &g_array_index (answer->labels, AdaLabel, i);

    append_text (&seen->labels, label->id);
    append_text (&seen->texts, label->text ? label->text : label->id);
    append_number (&seen->scores, label->score);
  }
  return seen;
}

/* From now on these are on all buffers; what they replace is freed. */
static void
keep_seen (AdaUpload * self, Seen * seen, gint flushes)
{
  Seen *old = seen;

  g_mutex_lock (&self->lock);
  if (flushes == g_atomic_int_get (&self->flushes)) {
    old = self->newest;
    self->newest = seen;
  }
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&old, seen_free);
}

/* The client's worker. */
static void
parcel_done (AdaInquiry * inquiry, AdaAnswer * const *answer, gsize sent, gsize received,
    const GError * error)
{
  Parcel *parcel = (Parcel *) inquiry;
  GstElement *element = parcel->upload->element;
  AdaReportLabels report = { 0 };
  GstMessage *message;
  Seen *seen;

  if (answer[0] == NULL)
    return;
  seen = seen_new (&parcel->frame, answer[0]);
  report.frame = parcel->frame.number;
  report.timestamp = parcel->frame.timestamp;
  report.quality = parcel->frame.quality;
  report.model = answer[0]->model_version;
  report.labels = &seen->labels;
  report.texts = &seen->texts;
  report.scores = &seen->scores;
  message = ada_report_labels (element, &report);
  /* Who has read the message finds the labels on what leaves. */
  keep_seen (parcel->upload, seen, parcel->flushes);
  gst_element_post_message (element, message);
}

/* ---- frames --------------------------------------------------------------------------------- */

static GBytes *
parcel_encode (AdaInquiry * inquiry, guint i, GError ** error)
{
  return g_bytes_ref (((Parcel *) inquiry)->jpeg);
}

static void
parcel_free (AdaInquiry * inquiry)
{
  g_bytes_unref (((Parcel *) inquiry)->jpeg);
  g_free (inquiry->name);
  g_free (inquiry);
}

static void
add_labels (AdaUpload * self, GstClockTime now, GstBuffer * buffer)
{
  g_mutex_lock (&self->lock);
  if (self->newest != NULL) {
    const GstClockTime then = self->newest->frame.running_time;
    const gboolean known = GST_CLOCK_TIME_IS_VALID (now) && GST_CLOCK_TIME_IS_VALID (then)
        && now >= then;
    const GstPirlServiceLabels labels = { &self->newest->labels, &self->newest->texts,
      &self->newest->scores, self->newest->frame.number, known ? now - then : GST_CLOCK_TIME_NONE
    };

    gst_pirl_service_labels_add (buffer, &labels);
  }
  g_mutex_unlock (&self->lock);
}

void
ada_upload_frame (AdaUpload * self, const AdaUploadFrame * frame, const guint8 * data,
    gsize size, GstBuffer * buffer)
{
  Parcel *parcel = g_new0 (Parcel, 1);

  add_labels (self, frame->running_time, buffer);
  parcel->upload = self;
  parcel->frame = *frame;
  parcel->frame.name = NULL;    /* the inquiry's is a copy */
  parcel->flushes = g_atomic_int_get (&self->flushes);
  parcel->jpeg = g_bytes_new (data, size);
  parcel->inquiry.id = frame->number;
  parcel->inquiry.name = g_strdup (frame->name);
  parcel->inquiry.width = frame->width;
  parcel->inquiry.height = frame->height;
  parcel->inquiry.n = 1;
  parcel->inquiry.quality[0] = frame->quality;
  parcel->inquiry.encode = parcel_encode;
  parcel->inquiry.done = parcel_done;
  parcel->inquiry.free = parcel_free;
  ada_client_upload (self->client, &parcel->inquiry);
}

void
ada_upload_flush (AdaUpload * self)
{
  Seen *old;

  g_mutex_lock (&self->lock);
  g_atomic_int_inc (&self->flushes);
  old = g_steal_pointer (&self->newest);
  g_mutex_unlock (&self->lock);
  g_clear_pointer (&old, seen_free);
}

/* ---- life ----------------------------------------------------------------------------------- */

AdaUpload *
ada_upload_new (GstElement * element, AdaClient * client)
{
  AdaUpload *self = g_new0 (AdaUpload, 1);

  self->element = element;
  self->client = client;
  g_mutex_init (&self->lock);
  return self;
}

void
ada_upload_free (AdaUpload * self)
{
  g_clear_pointer (&self->newest, seen_free);
  g_mutex_clear (&self->lock);
  g_free (self);
}
