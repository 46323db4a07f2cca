/* gst-pirl: what a training tells the world (see report.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "report.h"

#include <math.h>
#include <string.h>

/* A new window's weight in the running speed. */
#define SPEED_WEIGHT 0.3
/* The bank's accuracy may take this fraction of the time. */
#define KNN_SHARE 50
/* Queries: many where the bank is small, few where each costs a pass over millions of rows. */
#define KNN_MAX_QUERIES 1000
#define KNN_MIN_QUERIES 100
#define KNN_ROW_BUDGET 10000000

void
gst_pirl_report_init (GstPirlReport * report, GstElement * element,
    const GstPirlTrainSettings * settings)
{
  memset (report, 0, sizeof (*report));
  report->element = element;
  report->post = settings->post_messages;
  report->interval = settings->interval;
  report->batch = settings->batch_size;
  report->answers = settings->objective == PIRL_OBJECTIVE_SUPERVISED
      || settings->objective == PIRL_OBJECTIVE_JIGSAW
      || settings->objective == PIRL_OBJECTIVE_ROTATION;
  report->near = !report->answers && settings->near_threshold < 1;
  report->progress.element = element;
  report->progress.code = "training";
  report->knn = NAN;
  gst_pirl_scalars_init (&report->scalars, element, settings->log_dir);
}

void
gst_pirl_report_clear (GstPirlReport * report)
{
  gst_pirl_scalars_clear (&report->scalars);
}

gdouble
gst_pirl_report_eta (const GstPirlReport * report)
{
  if (report->total == 0 || report->images_per_second <= 0)
    return -1;
  if (report->last.step >= report->total)
    return 0;
  return (report->total - report->last.step) * (gdouble) report->batch / report->images_per_second;
}

/* ---- text --------------------------------------------------------------------------------- */

/* "2 min 10 s", "3 h 5 min" */
static gchar *
duration_text (gdouble seconds)
{
  guint64 s = (guint64) (seconds + 0.5);

  if (s >= 3600)
    return g_strdup_printf ("%" G_GUINT64_FORMAT " h %u min", s / 3600, (guint) (s / 60 % 60));
  if (s >= 60)
    return g_strdup_printf ("%u min %u s", (guint) (s / 60), (guint) (s % 60));
  return g_strdup_printf ("%u s", (guint) s);
}

/* "step 120/900, epoch 2, loss 6.53, 85 images/s, 2 min 10 s left" */
static gchar *
progress_text (const GstPirlReport * report)
{
  GString *text = g_string_new (NULL);
  gdouble eta = gst_pirl_report_eta (report);

  g_string_append_printf (text, "step %" G_GUINT64_FORMAT, report->last.step);
  if (report->total > 0)
    g_string_append_printf (text, "/%" G_GUINT64_FORMAT, report->total);
  g_string_append_printf (text, ", epoch %u, loss %.3g", report->epoch, report->last.loss);
  if (report->images_per_second > 0)
    g_string_append_printf (text, ", %.3g images/s", report->images_per_second);
  if (report->answers && report->epoch_steps > report->epoch_skipped)
    g_string_append_printf (text, ", accuracy %.1f %%",
        100 * report->epoch_accuracy / (report->epoch_steps - report->epoch_skipped));
  if (!isnan (report->knn))
    g_string_append_printf (text, ", bank kNN %.1f %%", 100 * report->knn);
  if (eta > 0) {
    g_autofree gchar *left = duration_text (eta);

    g_string_append_printf (text, ", %s left", left);
  }
  return g_string_free (text, FALSE);
}

/* ---- messages ----------------------------------------------------------------------------- */

static void
post_element (GstPirlReport * report, GstStructure * structure)
{
  gst_element_post_message (report->element,
      gst_message_new_element (GST_OBJECT (report->element), structure));
}

static void
post_training (GstPirlReport * report)
{
  const PirlStepStats *last = &report->last;
  GstStructure *s = gst_structure_new ("pirl-training",
      "step", G_TYPE_UINT64, last->step, "steps", G_TYPE_UINT64, report->total,
      "epoch", G_TYPE_UINT64, (guint64) report->epoch,
      "loss", G_TYPE_DOUBLE, last->loss, "loss-image", G_TYPE_DOUBLE, last->loss_image,
      "loss-patches", G_TYPE_DOUBLE, last->loss_patches,
      "lr", G_TYPE_DOUBLE, last->learning_rate,
      "images-per-second", G_TYPE_DOUBLE, report->images_per_second,
      "eta", G_TYPE_DOUBLE, gst_pirl_report_eta (report),
      "z", G_TYPE_DOUBLE, last->z, "spread", G_TYPE_DOUBLE, last->spread,
      "positive", G_TYPE_DOUBLE, last->positive_image,
      "positive-patches", G_TYPE_DOUBLE, last->positive_patches, NULL);

  if (!isnan (report->knn))
    gst_structure_set (s, "knn-accuracy", G_TYPE_DOUBLE, report->knn, NULL);
  if (report->answers)
    gst_structure_set (s, "accuracy", G_TYPE_DOUBLE, last->accuracy, NULL);
  if (report->near)
    gst_structure_set (s, "near", G_TYPE_DOUBLE, last->near, NULL);
  if (last->loss_scale > 0)
    gst_structure_set (s, "loss-scale", G_TYPE_DOUBLE, last->loss_scale,
        "skipped", G_TYPE_UINT64, report->skipped, NULL);
  post_element (report, s);
}

void
gst_pirl_report_checkpoint (GstPirlReport * report, const gchar * file, guint64 step)
{
  if (report->post)
    post_element (report, gst_structure_new ("pirl-checkpoint", "file", G_TYPE_STRING, file,
            "step", G_TYPE_UINT64, step, NULL));
}

/* ---- scalars ------------------------------------------------------------------------------ */

/* What every step has, where the objective has it: exactly 0 says that it does not. */
static const struct
{
  const gchar *tag;
  gsize offset;
} scalars[] = {
  {"loss", G_STRUCT_OFFSET (PirlStepStats, loss)},
  {"loss/images", G_STRUCT_OFFSET (PirlStepStats, loss_image)},
  {"loss/patches", G_STRUCT_OFFSET (PirlStepStats, loss_patches)},
  {"learning-rate", G_STRUCT_OFFSET (PirlStepStats, learning_rate)},
  {"z", G_STRUCT_OFFSET (PirlStepStats, z)},
  {"spread", G_STRUCT_OFFSET (PirlStepStats, spread)},
  {"positive/images", G_STRUCT_OFFSET (PirlStepStats, positive_image)},
  {"positive/patches", G_STRUCT_OFFSET (PirlStepStats, positive_patches)},
  {"near", G_STRUCT_OFFSET (PirlStepStats, near)},
  {"loss-scale", G_STRUCT_OFFSET (PirlStepStats, loss_scale)},
};

static void
log_scalar (GstPirlReport * report, const gchar * tag, gdouble value)
{
  gst_pirl_scalars_add (&report->scalars, report->last.step, tag, value);
}

static void
log_step (GstPirlReport * report)
{
  for (guint i = 0; i < G_N_ELEMENTS (scalars); i++) {
    const gdouble value = G_STRUCT_MEMBER (gdouble, &report->last, scalars[i].offset);

    if (value != 0)
      log_scalar (report, scalars[i].tag, value);
  }
  if (report->answers)
    log_scalar (report, "accuracy", report->last.accuracy);
  if (report->images_per_second > 0)
    log_scalar (report, "images-per-second", report->images_per_second);
  report->logged_step = report->last.step;
}

/* Once an interval. */
static void
log_step_when_due (GstPirlReport * report, gint64 now)
{
  if (report->logged_at != 0 && (guint64) (now - report->logged_at) < report->interval / 1000)
    return;
  report->logged_at = now;
  log_step (report);
  gst_pirl_scalars_flush (&report->scalars, FALSE);
}

/* ---- steps -------------------------------------------------------------------------------- */

void
gst_pirl_report_restart_clock (GstPirlReport * report)
{
  report->window_start = 0;
}

/* Counts a step into the speed; the first one of a window only opens it. */
static void
meter_step (GstPirlReport * report, gint64 now)
{
  if (report->window_start == 0) {
    report->window_start = now;
    report->window_steps = 0;
    return;
  }
  report->window_steps++;
  if (now - report->window_start >= G_USEC_PER_SEC / 2 || report->images_per_second == 0) {
    gdouble seconds = MAX (now - report->window_start, 1) / (gdouble) G_USEC_PER_SEC;
    gdouble speed = report->window_steps * (gdouble) report->batch / seconds;
    gdouble weight = report->images_per_second > 0 ? SPEED_WEIGHT : 1;

    report->images_per_second += weight * (speed - report->images_per_second);
    report->window_start = now;
    report->window_steps = 0;
  }
}

/* A step that was skipped has no losses. */
static void
count_step (GstPirlReport * report, const PirlStepStats * stats)
{
  report->epoch_steps++;
  if (stats->skipped) {
    report->epoch_skipped++;
    report->skipped++;
    report->last.step = stats->step;
    report->last.learning_rate = stats->learning_rate;
    report->last.loss_scale = stats->loss_scale;
    return;
  }
  report->last = *stats;
  report->epoch_loss += stats->loss;
  report->epoch_accuracy += stats->accuracy;
}

void
gst_pirl_report_step (GstPirlReport * report, const PirlStepStats * stats)
{
  gint64 now = g_get_monotonic_time ();

  count_step (report, stats);
  meter_step (report, now);
  log_step_when_due (report, now);
  if (!report->post || (report->posted_at != 0
          && (guint64) (now - report->posted_at) < report->interval / 1000))
    return;
  report->posted_at = now;
  post_training (report);
  {
    g_autofree gchar *text = progress_text (report);

    gst_pirl_progress_continue (&report->progress, text);
  }
}

/* ---- epochs ------------------------------------------------------------------------------- */

void
gst_pirl_report_open_epoch (GstPirlReport * report, guint epoch, gboolean whole)
{
  report->epoch_open = TRUE;
  report->epoch_whole = whole;
  report->epoch = epoch;
  report->epoch_steps = report->epoch_dropped = report->epoch_skipped = 0;
  report->epoch_loss = report->epoch_accuracy = 0;
}

/* Leave-one-out accuracy costs a pass over the bank a query: not oftener than it is worth. */
static void
measure_bank (GstPirlReport * report, PirlTrainer * trainer, guint64 rows)
{
  gint64 start = g_get_monotonic_time ();
  guint limit = CLAMP (KNN_ROW_BUDGET / MAX (rows, 1), KNN_MIN_QUERIES, KNN_MAX_QUERIES);

  if (report->knn_at != 0 && start - report->knn_at < KNN_SHARE * report->knn_cost)
    return;
  report->knn = pirl_trainer_bank_knn (trainer, limit);
  report->knn_at = g_get_monotonic_time ();
  report->knn_cost = report->knn_at - start;
  gst_pirl_report_restart_clock (report);
}

void
gst_pirl_report_close_epoch (GstPirlReport * report, PirlTrainer * trainer, guint64 rows)
{
  const guint64 learnt = MAX (report->epoch_steps - report->epoch_skipped, 1);
  GstStructure *s;

  if (!report->epoch_open)
    return;
  report->epoch_open = FALSE;
  if (report->epoch_steps == 0)
    return;
  measure_bank (report, trainer, rows);
  if (!isnan (report->knn))
    log_scalar (report, "knn-accuracy", report->knn);
  gst_pirl_scalars_flush (&report->scalars, TRUE);
  if (!report->post)
    return;
  s = gst_structure_new ("pirl-epoch", "epoch", G_TYPE_UINT64, (guint64) report->epoch,
      "steps", G_TYPE_UINT64, report->epoch_steps,
      "samples", G_TYPE_UINT64, report->epoch_steps * report->batch,
      "dropped", G_TYPE_UINT64, report->epoch_dropped,
      "loss", G_TYPE_DOUBLE, report->epoch_loss / learnt, NULL);
  if (!isnan (report->knn))
    gst_structure_set (s, "knn-accuracy", G_TYPE_DOUBLE, report->knn, NULL);
  if (report->answers)
    gst_structure_set (s, "accuracy", G_TYPE_DOUBLE, report->epoch_accuracy / learnt, NULL);
  post_element (report, s);
}

void
gst_pirl_report_end (GstPirlReport * report, GstProgressType type)
{
  g_autofree gchar *text = progress_text (report);

  if (report->logged_step > 0 && report->logged_step != report->last.step)
    log_step (report);
  gst_pirl_scalars_flush (&report->scalars, TRUE);
  if (!report->post)
    return;
  if (report->last.step > 0 && type == GST_PROGRESS_TYPE_COMPLETE)
    post_training (report);
  gst_pirl_progress_end (&report->progress, type, text);
}
