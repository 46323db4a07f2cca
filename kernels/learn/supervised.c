/* gst-pirl: learning from labels: softmax cross-entropy of a batch's logits.
 *
 * L = mean over the batch of log (sum_j exp z_bj) - z_by, y the label; dL/dz_bj =
 * (softmax (z_b)_j - [j = y]) / batch. Logits are small beside a picture: they come to the host,
 * and their gradient goes back.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

#include <math.h>

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

/* Loss of one row; its logits become the gradient's. */
static gdouble
row_cross_entropy (gdouble *z, guint classes, guint label, gdouble scale, gboolean *correct)
{
  guint best = 0;
  gdouble sum = 0, max, loss;

  for (guint j = 1; j < classes; j++)
    if (z[j] > z[best])
      best = j;
  max = z[best];
  for (guint j = 0; j < classes; j++)
    sum += exp (z[j] - max);
  loss = log (sum) + max - z[label];
  for (guint j = 0; j < classes; j++)
    z[j] = scale * (exp (z[j] - max) / sum - (j == label));
  *correct = best == label;
  return loss;
}

/* @n numbers of the parameters' type on the device, from and to doubles. */
static gboolean
read_doubles (PirlDevice *device, gconstpointer src, gdouble *dst, gsize n, GError **error)
{
  g_autofree gfloat *single = NULL;

  if (device->param_dtype == PIRL_DTYPE_F64)
    return device->backend->download (device, dst, src, n * sizeof (gdouble), error);
  single = g_new (gfloat, n);
  if (!device->backend->download (device, single, src, n * sizeof (gfloat), error))
    return FALSE;
  for (gsize i = 0; i < n; i++)
    dst[i] = single[i];
  return TRUE;
}

static gboolean
write_doubles (PirlDevice *device, gpointer dst, const gdouble *src, gsize n, GError **error)
{
  g_autofree gfloat *single = NULL;

  if (device->param_dtype == PIRL_DTYPE_F64)
    return device->backend->upload (device, dst, src, n * sizeof (gdouble), error);
  single = g_new (gfloat, n);
  for (gsize i = 0; i < n; i++)
    single[i] = (gfloat) src[i];
  return device->backend->upload (device, dst, single, n * sizeof (gfloat), error);
}

gboolean
pirl_supervised_step (PirlTrainer *trainer, const PirlBatch *batch, const gint *cancel,
    PirlStepStats *stats, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  const PirlBranch *branch = &trainer->images;
  const gsize n = (gsize) config->batch * config->classes;
  g_autofree gdouble *logits = g_new (gdouble, n);
  guint right = 0;

  if (!pirl_plan_forward (branch->plan, batch->images, TRUE, cancel, error)
      || !read_doubles (trainer->device, pirl_plan_data (branch->plan, branch->embedding), logits,
          n, error))
    return FALSE;
  for (guint b = 0; b < config->batch; b++) {
    gboolean correct;

    stats->loss_image += row_cross_entropy (logits + (gsize) b * config->classes, config->classes,
        (guint) batch->labels[b], 1.0 / config->batch, &correct) / config->batch;
    right += correct;
  }
  stats->loss = stats->loss_image;
  stats->accuracy = (gdouble) right / config->batch;
  return write_doubles (trainer->device, pirl_plan_gradient (branch->plan, branch->embedding),
      logits, n, error) && pirl_plan_backward (branch->plan, cancel, error);
}
