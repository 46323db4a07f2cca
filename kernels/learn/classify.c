/* gst-pirl: objectives that predict a class of each sample by softmax cross-entropy: its label, or
 * what was done to its second view.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

/* What the classes are, for messages. */
static const struct {
  const gchar *objective, *target, *needed;
} words[] = {
  [PIRL_OBJECTIVE_SUPERVISED] = { "supervised", "label", "labels" },
  [PIRL_OBJECTIVE_JIGSAW] = { "jigsaw", "target", "the numbers of the permutations as targets," },
  [PIRL_OBJECTIVE_ROTATION] = { "rotation", "target", "the numbers of quarter turns as targets," },
};

const gint *
pirl_classify_targets (const PirlTrainer *trainer, const PirlBatch *batch)
{
  return trainer->config.objective == PIRL_OBJECTIVE_SUPERVISED ? batch->labels : batch->targets;
}

gboolean
pirl_classify_check (const PirlTrainer *trainer, const PirlBatch *batch, GError **error)
{
  const PirlObjective objective = trainer->config.objective;
  const guint classes = trainer->config.classes;
  const gint *targets = pirl_classify_targets (trainer, batch);

  for (guint b = 0; b < trainer->config.batch; b++) {
    const gint target = targets ? targets[b] : -1;

    if (target < 0 || (guint) target >= classes) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "sample %u of the batch has the %s %d; objective %s needs %s from 0 to %u", b,
          words[objective].target, target, words[objective].objective, words[objective].needed,
          classes - 1);
      return FALSE;
    }
  }
  return TRUE;
}

gboolean
pirl_classify_run (PirlTrainer *trainer, const gint *cancel, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const PirlBranch *branch = pirl_uses_images (config) ? &trainer->images : &trainer->patches;
  PirlDevice *device = trainer->device;

  return pirl_plan_forward (branch->plan, NULL, TRUE, cancel, error)
      && device->backend->cross_entropy (device, config->batch, config->classes,
      pirl_plan_data (branch->plan, branch->embedding), trainer->now.labels,
      pirl_plan_gradient (branch->plan, branch->embedding), &trainer->now.entropy, error)
      && pirl_plan_backward (branch->plan, cancel, error);
}
