/* gst-pirl: networks as lists of units.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A graph is built once for fixed shapes, by functions that append units and give back the value
 * they produce. Units are in execution order: a value is produced before it is used. Parameters
 * are known by their PyTorch names; two graphs that use the same names share them.
 */
#pragma once

#include "backends/backend.h"

/** A value in a graph: the number of the unit that produces it; -1 = none. */
typedef gint PirlValue;
#define PIRL_NO_VALUE (-1)

/** How a weight or bias begins: as pirl_params_init() says, or normal with a given deviation. */
typedef enum { PIRL_INIT_DEFAULT, PIRL_INIT_NORMAL } PirlInit;

/** A named parameter or buffer. */
typedef struct {
  gchar *name;                  /* "layer1.0.conv1.weight" */
  PirlSlot slot;
  PirlShape shape;
  gint fan_in;                  /* inputs of one output, for the initialisation (own or its layer's) */
  PirlInit init;
  gdouble deviation;            /* PIRL_INIT_NORMAL */
} PirlParamSpec;

typedef struct {
  PirlUnitDesc desc;
  PirlValue input, residual;
  gint param[PIRL_N_SLOTS];     /* index into the graph's params; -1 = unused */
} PirlUnit;

typedef struct {
  GArray *units;                /* PirlUnit */
  GPtrArray *params;            /* PirlParamSpec * */
} PirlGraph;

PIRL_API PirlGraph *pirl_graph_new (void);
PIRL_API void pirl_graph_free (PirlGraph *graph);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlGraph, pirl_graph_free)

/** n RGB pictures of size x size, uint8, normalised with @mean and @std. */
PIRL_API PirlValue pirl_graph_input (PirlGraph *graph, gint n, gint size, const gfloat mean[3],
    const gfloat std[3]);
/** n vectors of @features floats, given to pirl_plan_forward_floats() as they are (no pictures). */
PIRL_API PirlValue pirl_graph_vectors (PirlGraph *graph, gint n, gint features);
/** conv (no bias) "@conv.weight" + batch norm "@bn.weight" ... [+ @residual] + activation. */
PIRL_API PirlValue pirl_graph_conv_bn (PirlGraph *graph, PirlValue input, const gchar *conv,
    const gchar *bn, gint channels, gint kernel, gint stride, gint padding, gint groups,
    PirlValue residual, PirlActivation activation);
PIRL_API PirlValue pirl_graph_maxpool (PirlGraph *graph, PirlValue input, gint kernel, gint stride,
    gint padding);
PIRL_API PirlValue pirl_graph_avgpool (PirlGraph *graph, PirlValue input);
/** "@name.weight" [out][in] and "@name.bias". */
PIRL_API PirlValue pirl_graph_linear (PirlGraph *graph, PirlValue input, const gchar *name,
    gint features, PirlActivation activation);
PIRL_API PirlValue pirl_graph_batchnorm (PirlGraph *graph, PirlValue input, const gchar *name,
    PirlActivation activation);
PIRL_API PirlValue pirl_graph_l2norm (PirlGraph *graph, PirlValue input);
/** Reads @group rows of c features as one row of group*c: n,c -> n/group, group*c. A view:
 * nothing is copied. */
PIRL_API PirlValue pirl_graph_group (PirlGraph *graph, PirlValue input, gint group);
PIRL_API PirlDims pirl_graph_dims (const PirlGraph *graph, PirlValue value);
