/* gst-pirl: the settings of pirltrainsink: its properties, and what they mean for a data set.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "common.h"
#include "meta.h"
#include "pretext.h"
#include "properties.h"
#include "learn/trainer.h"

G_BEGIN_DECLS

typedef enum { GST_PIRL_ON_FINISH_EOS, GST_PIRL_ON_FINISH_DROP } GstPirlOnFinish;
typedef enum { GST_PIRL_PRESET_DEFAULT, GST_PIRL_PRESET_PAPER, GST_PIRL_PRESET_NPID,
  GST_PIRL_PRESET_MOCO } GstPirlPreset;

/** One field a property. Enums are kept as gint so that one table can reach them all. */
typedef struct {
  gint preset;
  gint objective, optimizer, head, loss, z_mode, bank_update, lr_schedule, bn_statistics, on_finish;
  gchar *arch;
  guint base_width, embedding_dim, hidden;
  gboolean have_learning_rate;  /* set, not the default */
  gdouble width;
  gdouble z, temperature, lambda, bank_momentum, learning_rate, momentum, weight_decay;
  gdouble near_threshold, near_weight, key_momentum;
  guint64 negatives, bank_size, max_steps, seed, interval;
  guint batch_size, checkpoint_interval, n_threads;
  gint warmup;
  gboolean exclude_positive, nesterov, resume, deterministic, post_messages;
  gchar *model_file, *checkpoint_file, *log_dir, *device, *precision, *bank_precision;
} GstPirlTrainSettings;

/** The rows of GstPirlTrainSettings; defaults of the arithmetic are those of
 * pirl_trainer_config_defaults(). */
extern const GstPirlProperties gst_pirl_train_properties;

/** What can be said before any data: names, files, folders. @position is filled when there is a
 * checkpoint to resume from (@resumed). */
gboolean gst_pirl_train_settings_check (const GstPirlTrainSettings * settings, gboolean * resumed,
    PirlPosition * position, GError ** error);

/** For a run that is resumed: `auto` is what checkpoint-file was trained in, which may be another
 * choice than this machine's. */
gboolean gst_pirl_train_settings_keep_precisions (GstPirlTrainSettings * settings, GError ** error);

/** Whether the objective can learn from these views: %PIRL_ERROR_INVALID says what to set. */
gboolean gst_pirl_train_settings_check_views (const GstPirlTrainSettings * settings,
    const GstPirlViews * views, GError ** error);

/** The trainer's configuration for these views and this data set (NULL: a camera). Its strings
 * belong to @settings. */
gboolean gst_pirl_train_settings_resolve (const GstPirlTrainSettings * settings,
    const GstPirlViews * views, const GstPirlDataset * dataset, PirlTrainerConfig * config,
    GError ** error);

G_END_DECLS
