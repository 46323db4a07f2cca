/* gst-pirl: what the tests of clouds share: a Python server on the loopback (test-server.h), and
 * one picture asked about, and inquiries that remember what became of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client.h"
#include "test-server.h"

/* ---- inquiries ------------------------------------------------------------------------------ */

/* What became of all inquiries of a test. */
typedef struct {
  GMutex lock;
  GCond changed;
  guint done, freed, encoded;
  GThread *thread;              /* that called the last done() */
  guint answers;                /* of the last: a bit a picture */
  gchar first[ADA_MAX_ASKED][64];       /* the first label's id of each answer, "" = none */
  gsize sent, received, total_sent, total_received;
  GQuark domain;
  gint code;                    /* of the last error, -1 = none */
  gchar message[512];
  gboolean fail_encoding;
  void (*in_done) (gpointer data);
  gpointer data;
} TestLog;

typedef struct {
  AdaInquiry base;
  TestLog *log;
  gboolean finished;
} TestInquiry;

/* Not a picture, but with the beginning and the end of one, and of a size that tells the quality. */
static inline GBytes *
test_jpeg (gint quality)
{
  const gsize size = 1000 + (gsize) quality * 10;
  guint8 *data = g_malloc0 (size);

  data[0] = 0xff, data[1] = 0xd8;
  data[size - 2] = 0xff, data[size - 1] = 0xd9;
  return g_bytes_new_take (data, size);
}

static inline AdaCloud *
test_cloud (const gchar * uri)
{
  g_autoptr (GError) error = NULL;
  AdaCloud *cloud = ada_cloud_new (uri, NULL, 1, &error);

  g_assert_no_error (error);
  return cloud;
}

static inline AdaAnswer *
test_classify (AdaCloud * cloud, GError ** error)
{
  g_autoptr (GBytes) jpeg = test_jpeg (75);

  return ada_cloud_classify (cloud, &(AdaRequest) {.jpeg = jpeg,.width = 640,.height = 480 }, NULL,
      error);
}

static inline GBytes *
test_encode (AdaInquiry * base, guint i, GError ** error)
{
  TestLog *log = ((TestInquiry *) base)->log;

  g_mutex_lock (&log->lock);
  log->encoded++;
  g_mutex_unlock (&log->lock);
  if (log->fail_encoding) {
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED, "no ink");
    return NULL;
  }
  return test_jpeg (base->quality[i]);
}

static inline void
test_done (AdaInquiry * base, AdaAnswer * const *answer, gsize sent, gsize received,
    const GError * error)
{
  TestInquiry *inquiry = (TestInquiry *) base;
  TestLog *log = inquiry->log;

  g_mutex_lock (&log->lock);
  g_assert_false (inquiry->finished);
  inquiry->finished = TRUE;
  log->answers = 0;
  for (guint i = 0; i < base->n; i++) {
    const gboolean labelled = answer[i] && answer[i]->labels->len > 0;

    log->answers |= (guint) (answer[i] != NULL) << i;
    g_strlcpy (log->first[i], labelled ? g_array_index (answer[i]->labels, AdaLabel, 0).id : "",
        sizeof log->first[i]);
  }
  log->sent = sent;
  log->received = received;
  log->total_sent += sent;
  log->total_received += received;
  log->domain = error ? error->domain : 0;
  log->code = error ? error->code : -1;
  g_strlcpy (log->message, error ? error->message : "", sizeof log->message);
  log->thread = g_thread_self ();
  g_mutex_unlock (&log->lock);
  if (log->in_done)
    log->in_done (log->data);
  g_mutex_lock (&log->lock);
  log->done++;
  g_cond_broadcast (&log->changed);
  g_mutex_unlock (&log->lock);
}

static inline void
test_free (AdaInquiry * base)
{
  TestLog *log = ((TestInquiry *) base)->log;

  g_mutex_lock (&log->lock);
  log->freed++;
  g_cond_broadcast (&log->changed);
  g_mutex_unlock (&log->lock);
  g_free (base->name);
  g_free (base);
}

/* A reference of quality 75 and trials of 5, 10, ... */
static inline AdaInquiry *
test_inquiry (TestLog * log, guint64 id, const gchar * name, guint n_trials)
{
  TestInquiry *inquiry = g_new0 (TestInquiry, 1);

  inquiry->log = log;
  inquiry->base = (AdaInquiry) { id, g_strdup (name), 640, 480, 1 + n_trials, {75}, test_encode,
    test_done, test_free
  };
  for (guint i = 1; i <= n_trials; i++)
    inquiry->base.quality[i] = (gint) (5 * i);
  return &inquiry->base;
}

static inline void
test_wait_done (TestLog * log, guint n)
{
  const gint64 until = g_get_monotonic_time () + 30 * G_USEC_PER_SEC;

  g_mutex_lock (&log->lock);
  while (log->done < n || log->freed < n)
    if (!g_cond_wait_until (&log->changed, &log->lock, until))
      g_error ("%u of %u inquiries done, %u freed", log->done, n, log->freed);
  g_mutex_unlock (&log->lock);
}

static inline gdouble
test_ms_since (gint64 begin)
{
  return (g_get_monotonic_time () - begin) / 1000.;
}
