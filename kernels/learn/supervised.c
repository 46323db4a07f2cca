/* gst-pirl: learning from labels: softmax cross-entropy of a batch's logits.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

gboolean
pirl_supervised_check_labels (const PirlTrainer *trainer, const PirlBatch *batch, GError **error)
{
  const guint classes = trainer->config.classes;

  for (guint b = 0; b < trainer->config.batch; b++)
    if (!batch->labels || batch->labels[b] < 0 || (guint) batch->labels[b] >= classes) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "sample %u of the batch has the label %d; objective supervised needs labels from 0 to %u",
          b, batch->labels ? batch->labels[b] : -1, classes - 1);
      return FALSE;
    }
  return TRUE;
}

gboolean
pirl_supervised_run (PirlTrainer *trainer, const gint *cancel, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const PirlBranch *branch = &trainer->images;
  PirlDevice *device = trainer->device;

  return pirl_plan_forward (branch->plan, NULL, TRUE, cancel, error)
      && device->backend->cross_entropy (device, config->batch, config->classes,
      pirl_plan_data (branch->plan, branch->embedding), trainer->now.labels,
      pirl_plan_gradient (branch->plan, branch->embedding), &trainer->now.entropy, error)
      && pirl_plan_backward (branch->plan, cancel, error);
}
