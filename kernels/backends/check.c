/* gst-pirl: what must hold of a unit before a backend plans it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/check.h"

#include <string.h>

static gboolean
window_fits (gint input, gint output, const PirlUnitDesc *desc)
{
  const gint reach = input + 2 * desc->padding - desc->kernel;

  return reach >= 0 && output == reach / desc->stride + 1;
}

const gchar *
pirl_unit_problem (const PirlUnitDesc *desc, const PirlTensorDesc *input,
    const PirlTensorDesc *residual)
{
  const PirlDims in = desc->input, out = desc->output;
  const gboolean window = desc->kind == PIRL_UNIT_CONV || desc->kind == PIRL_UNIT_MAXPOOL;
  const gboolean norm = desc->kind == PIRL_UNIT_BATCHNORM
      || (desc->kind == PIRL_UNIT_CONV && desc->batch_norm);
  const gboolean vectors = desc->kind == PIRL_UNIT_LINEAR || desc->kind == PIRL_UNIT_BATCHNORM
      || desc->kind == PIRL_UNIT_L2NORM;

  if (MIN (MIN (in.n, in.c), MIN (in.h, in.w)) < 1
      || MIN (MIN (out.n, out.c), MIN (out.h, out.w)) < 1 || in.n != out.n)
    return "every dimension must be at least 1, and the batch stay the same";
  if (window && (desc->kernel < 1 || desc->stride < 1 || desc->padding < 0
          || !window_fits (in.h, out.h, desc) || !window_fits (in.w, out.w, desc)))
    return "the output's size does not follow from kernel, stride and padding";
  if (vectors && (in.h != 1 || in.w != 1))
    return "it takes vectors: the height and width of its input must be 1";
  if (desc->kind == PIRL_UNIT_CONV
      && (desc->groups < 1 || in.c % desc->groups || out.c % desc->groups))
    return "groups must divide the channels of input and output";
  if (desc->kind != PIRL_UNIT_INPUT && !input)
    return "the unit has no input";
  if (desc->residual && (!residual || memcmp (&residual->dims, &out, sizeof out) != 0))
    return "the residual must have the shape of the output";
  if (norm && desc->mode == PIRL_MODE_TRAIN && (gsize) out.n * out.h * out.w < 2)
    return "batch norm needs more than one value per channel to train";
  return NULL;
}

void
pirl_unit_explain (const PirlUnitDesc *desc, GError **error)
{
  static const gchar *const names[] = { "input", "conv", "maxpool", "avgpool", "linear",
    "batchnorm", "l2norm", "group", "vectors"
  };

  g_prefix_error (error, "%s, %d x (%d,%d,%d) -> (%d,%d,%d)%s: ", names[desc->kind],
      desc->input.n, desc->input.c, desc->input.h, desc->input.w, desc->output.c, desc->output.h,
      desc->output.w, desc->mode == PIRL_MODE_TRAIN ? " in training" : "");
}
