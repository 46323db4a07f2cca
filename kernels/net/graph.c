/* gst-pirl: networks as lists of units: the builder.
 *
 * Output of a convolution or pooling of size h: (h + 2 padding - kernel) / stride + 1, rounded down
 * (PyTorch, Conv2d and MaxPool2d with ceil_mode false).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/graph.h"

static void
param_spec_free (gpointer data)
{
  PirlParamSpec *spec = data;

  g_free (spec->name);
  g_free (spec);
}

PirlGraph *
pirl_graph_new (void)
{
  PirlGraph *graph = g_new0 (PirlGraph, 1);

  graph->units = g_array_new (FALSE, TRUE, sizeof (PirlUnit));
  graph->params = g_ptr_array_new_with_free_func (param_spec_free);
  return graph;
}

void
pirl_graph_free (PirlGraph *graph)
{
  if (!graph)
    return;
  g_array_unref (graph->units);
  g_ptr_array_unref (graph->params);
  g_free (graph);
}

static const PirlUnit *
graph_unit (const PirlGraph *graph, PirlValue value)
{
  return &g_array_index (graph->units, PirlUnit, value);
}

PirlDims
pirl_graph_dims (const PirlGraph *graph, PirlValue value)
{
  return graph_unit (graph, value)->desc.output;
}

/* A unit of @kind that reads @input, its output so far shaped as its input. */
static PirlUnit
unit_init (const PirlGraph *graph, PirlUnitKind kind, PirlValue input)
{
  PirlUnit unit = {
    .desc = {.kind = kind, .groups = 1 },
    .input = input,
    .residual = PIRL_NO_VALUE,
  };

  for (guint slot = 0; slot < PIRL_N_SLOTS; slot++)
    unit.param[slot] = -1;
  if (input != PIRL_NO_VALUE) {
    unit.desc.input = unit.desc.output = pirl_graph_dims (graph, input);
    unit.desc.needs_input_gradient = graph_unit (graph, input)->input != PIRL_NO_VALUE;
  }
  return unit;
}

static PirlValue
graph_append (PirlGraph *graph, const PirlUnit *unit)
{
  g_array_append_vals (graph->units, unit, 1);
  return (PirlValue) graph->units->len - 1;
}

/* Adds parameter "@layer.@suffix" in @slot of @unit. */
static void
graph_param (PirlGraph *graph, PirlUnit *unit, PirlSlot slot, const gchar *layer,
    const gchar *suffix, const PirlShape *shape, gint fan_in)
{
  PirlParamSpec *spec = g_new0 (PirlParamSpec, 1);

  spec->name = g_strconcat (layer, ".", suffix, NULL);
  spec->slot = slot;
  spec->shape = *shape;
  spec->fan_in = fan_in;
  unit->param[slot] = (gint) graph->params->len;
  g_ptr_array_add (graph->params, spec);
}

/* The four vectors of a batch norm over @channels. */
static void
graph_bn_params (PirlGraph *graph, PirlUnit *unit, const gchar *bn, gint channels)
{
  static const struct {
    PirlSlot slot;
    const gchar *suffix;
  } vectors[] = {
    {PIRL_SLOT_BN_WEIGHT, "weight"},
    {PIRL_SLOT_BN_BIAS, "bias"},
    {PIRL_SLOT_BN_MEAN, "running_mean"},
    {PIRL_SLOT_BN_VAR, "running_var"},
  };
  const PirlShape shape = { 1, {channels} };

  unit->desc.batch_norm = TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (vectors); i++)
    graph_param (graph, unit, vectors[i].slot, bn, vectors[i].suffix, &shape, channels);
}

/* Sets the window of @unit and the height and width that follow from it. */
static void
unit_window (PirlUnit *unit, gint kernel, gint stride, gint padding)
{
  PirlUnitDesc *desc = &unit->desc;

  desc->kernel = kernel;
  desc->stride = stride;
  desc->padding = padding;
  desc->output.h = (desc->input.h + 2 * padding - kernel) / stride + 1;
  desc->output.w = (desc->input.w + 2 * padding - kernel) / stride + 1;
}

PirlValue
pirl_graph_input (PirlGraph *graph, gint n, gint size, const gfloat mean[3], const gfloat std[3])
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_INPUT, PIRL_NO_VALUE);

  unit.desc.input = unit.desc.output = (PirlDims) { n, 3, size, size };
  for (guint c = 0; c < 3; c++) {
    unit.desc.mean[c] = mean[c];
    unit.desc.std[c] = std[c];
  }
  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_vectors (PirlGraph *graph, gint n, gint features)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_VECTORS, PIRL_NO_VALUE);

  unit.desc.input = unit.desc.output = (PirlDims) { n, features, 1, 1 };
  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_conv_bn (PirlGraph *graph, PirlValue input, const gchar *conv, const gchar *bn,
    gint channels, gint kernel, gint stride, gint padding, gint groups, PirlValue residual,
    PirlActivation activation)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_CONV, input);
  const gint inputs = unit.desc.input.c / groups;
  const PirlShape shape = { 4, {channels, inputs, kernel, kernel} };

  unit_window (&unit, kernel, stride, padding);
  unit.desc.groups = groups;
  unit.desc.output.c = channels;
  unit.desc.activation = activation;
  unit.residual = residual;
  unit.desc.residual = residual != PIRL_NO_VALUE;
  graph_param (graph, &unit, PIRL_SLOT_WEIGHT, conv, "weight", &shape, inputs * kernel * kernel);
  graph_bn_params (graph, &unit, bn, channels);
  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_maxpool (PirlGraph *graph, PirlValue input, gint kernel, gint stride, gint padding)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_MAXPOOL, input);

  unit_window (&unit, kernel, stride, padding);
  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_avgpool (PirlGraph *graph, PirlValue input)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_AVGPOOL, input);

  unit.desc.output.h = unit.desc.output.w = 1;
  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_linear (PirlGraph *graph, PirlValue input, const gchar *name, gint features,
    PirlActivation activation)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_LINEAR, input);
  const gint inputs = unit.desc.input.c;
  const PirlShape weight = { 2, {features, inputs} }, bias = { 1, {features} };

  unit.desc.output.c = features;
  unit.desc.bias = TRUE;
  unit.desc.activation = activation;
  graph_param (graph, &unit, PIRL_SLOT_WEIGHT, name, "weight", &weight, inputs);
  graph_param (graph, &unit, PIRL_SLOT_BIAS, name, "bias", &bias, inputs);
  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_batchnorm (PirlGraph *graph, PirlValue input, const gchar *name,
    PirlActivation activation)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_BATCHNORM, input);

  unit.desc.activation = activation;
  graph_bn_params (graph, &unit, name, unit.desc.output.c);
  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_l2norm (PirlGraph *graph, PirlValue input)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_L2NORM, input);

  return graph_append (graph, &unit);
}

PirlValue
pirl_graph_group (PirlGraph *graph, PirlValue input, gint group)
{
  PirlUnit unit = unit_init (graph, PIRL_UNIT_GROUP, input);

  unit.desc.output.n /= group;
  unit.desc.output.c *= group;
  return graph_append (graph, &unit);
}
