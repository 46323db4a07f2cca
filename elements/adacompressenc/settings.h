/* gst-pirl: the settings of adacompressenc: its properties, and what they mean for the agent.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cloud/client.h"
#include "controller.h"
#include "observe.h"
#include "properties.h"

G_BEGIN_DECLS

typedef enum {
  ADA_HUFFMAN_AUTO, ADA_HUFFMAN_STANDARD, ADA_HUFFMAN_OPTIMIZED, ADA_HUFFMAN_TUNED
} AdaHuffman;

typedef enum { ADA_UPLOAD_NONE, ADA_UPLOAD_EVERY_FRAME } AdaUploads;

typedef enum { ADA_RETRAIN_REFERENCE, ADA_RETRAIN_POLICY } AdaRetrainOutput;

/** The value of `cloud` that stands for the signals `classify` and `answer`. */
#define ADA_CLOUD_APPLICATION "application"

/** One field a property. Enums are kept as gint so that one table can reach them all. */
typedef struct {
  gint policy, features, agreement, estimator, retrain_output, huffman, upload;
  gint quality, min_quality, max_quality, reference_quality;
  gdouble target_agreement, alpha, beta, gamma, epsilon, estimate_budget;
  guint64 seed, max_requests;
  guint cloud_timeout, max_requests_per_minute, n_threads;
  gboolean cloud_dry_run, snapshot, post_messages;
  gchar *agent_file, *extractor, *cloud, *device;
  GArray *quality_levels;       /* of gint; empty = the policy's own */
} AdaSettings;

/** The rows of AdaSettings; the agent's defaults are those of ada_controller_config_defaults(). */
extern const GstPirlProperties ada_properties;

/** What the policy is made from, but for the lengths of the observations. The qualities are those of
 * `quality-levels` below the reference quality, then that. */
void ada_settings_controller (const AdaSettings * settings, AdaControllerConfig * config);
/** How the cloud is asked, but for the events. */
void ada_settings_client (const AdaSettings * settings, AdaClientConfig * config);

/** Whether text is there. */
static inline gboolean
ada_is_set (const gchar * text)
{
  return text != NULL && *text != '\0';
}

G_END_DECLS
