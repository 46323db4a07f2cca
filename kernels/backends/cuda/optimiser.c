/* gst-pirl: the optimisers of the CUDA backend (kernels: optimiser.cu).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/cuda/learning.h"

#include <math.h>

/* Kernels are launched on the thread's device. */
static PirlCudaDevice *
enter (PirlDevice *base)
{
  PirlCudaDevice *device = (PirlCudaDevice *) base;

  cudaSetDevice (device->ordinal);
  return device;
}

/* Ends an operation on @n numbers at @memory that may have been launched. */
static gboolean
finish (PirlCudaDevice *device, const gchar *name, gsize n, gconstpointer memory, GError **error)
{
  pirl_cuda_steps_note (device, name, (guint) n, memory);
  return pirl_cuda_launched (name, error) && pirl_cuda_settle (device, error);
}

gboolean
pirl_cuda_check (PirlDevice *base, gsize n, gconstpointer gradients, GError **error)
{
  PirlCudaDevice *device = enter (base);

  if (n > 0 && pirl_cuda_launches (device))
    pirl_gpu_check (n, gradients, device->scale, device->stream);
  return finish (device, "check", n, gradients, error);
}

gboolean
pirl_cuda_sgd (PirlDevice *base, gsize n, gpointer weights, gconstpointer gradients,
    gpointer velocity, gdouble lr, gdouble momentum, gdouble weight_decay, gboolean nesterov,
    GError **error)
{
  PirlCudaDevice *device = enter (base);
  const PirlGpuSgd values = { (gfloat) lr, (gfloat) momentum, (gfloat) weight_decay,
    nesterov != FALSE };
  const PirlGpuSgd *pushed = pirl_cuda_push (device, &values, sizeof values, error);

  if (!pushed)
    return FALSE;
  if (n > 0 && pirl_cuda_launches (device))
    pirl_gpu_sgd (n, weights, gradients, velocity, pushed, device->scale, device->stream);
  return finish (device, "sgd", n, weights, error);
}

gboolean
pirl_cuda_adam (PirlDevice *base, gsize n, gpointer weights, gconstpointer gradients,
    gpointer first, gpointer second, guint64 step, gdouble lr, gdouble beta1, gdouble beta2,
    gdouble epsilon, gdouble weight_decay, GError **error)
{
  PirlCudaDevice *device = enter (base);
  const PirlGpuAdam values = {
    .rate = (gfloat) (lr / (1 - pow (beta1, (gdouble) step))),
    .root = (gfloat) (1 / sqrt (1 - pow (beta2, (gdouble) step))),
    .epsilon = (gfloat) epsilon, .weight_decay = (gfloat) weight_decay,
    .beta1 = (gfloat) beta1, .rest1 = (gfloat) (1 - beta1),
    .beta2 = (gfloat) beta2, .rest2 = (gfloat) (1 - beta2),
  };
  const PirlGpuAdam *pushed = pirl_cuda_push (device, &values, sizeof values, error);

  if (!pushed)
    return FALSE;
  if (n > 0 && pirl_cuda_launches (device))
    pirl_gpu_adam (n, weights, gradients, first, second, pushed, device->scale, device->stream);
  return finish (device, "adam", n, weights, error);
}

gboolean
pirl_cuda_lars (PirlDevice *base, guint n_segments, const PirlSegment *segments, gpointer weights,
    gconstpointer gradients, gpointer velocity, const PirlLars *values, GError **error)
{
  PirlCudaDevice *device = enter (base);
  const gsize bytes = n_segments * (gsize) PIRL_CUDA_LARS_PIECES * 2 * sizeof (gdouble);
  const PirlGpuLars numbers = { values->lr, values->weight_decay, values->trust, values->epsilon,
    (gfloat) values->momentum };
  const PirlGpuLars *pushed;
  const PirlSegment *table;
  gdouble *square;

  if (n_segments == 0)
    return TRUE;
  if (!(square = pirl_cuda_scratch (device, bytes, error))
      || !(pushed = pirl_cuda_push (device, &numbers, sizeof numbers, error))
      || !(table = pirl_cuda_push (device, segments, n_segments * sizeof *segments, error)))
    return FALSE;
  if (pirl_cuda_launches (device))
    pirl_gpu_lars (n_segments, table, weights, gradients, velocity, pushed, square, device->scale,
        device->stream);
  return finish (device, "lars", n_segments, weights, error);
}

gboolean
pirl_cuda_average (PirlDevice *base, gsize n, gpointer dst, gconstpointer src, gdouble keep,
    GError **error)
{
  PirlCudaDevice *device = enter (base);
  const PirlGpuAverage values = { (gfloat) keep, (gfloat) (1 - keep) };
  const PirlGpuAverage *pushed = pirl_cuda_push (device, &values, sizeof values, error);

  if (!pushed)
    return FALSE;
  pirl_cuda_steps_note (device, "average of", 0, src);
  if (n > 0 && pirl_cuda_launches (device))
    pirl_gpu_average (n, dst, src, pushed, device->scale, device->stream);
  return finish (device, "average", n, dst, error);
}
