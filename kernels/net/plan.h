/* gst-pirl: a graph made ready to run.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Planning asks the backend for a plan of every unit, computes the liveness of every value,
 * gradient, saved and scratch block, and lays them into one arena. Afterwards nothing allocates.
 */
#pragma once

#include "net/params.h"

typedef struct _PirlPlan PirlPlan;

/** Memory that plans which never run at the same time share; it grows while plans are made. */
typedef struct _PirlPool PirlPool;
PIRL_API PirlPool *pirl_pool_new (PirlDevice *device);
PIRL_API void pirl_pool_free (PirlPool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlPool, pirl_pool_free)
PIRL_API gsize pirl_pool_bytes (const PirlPool *pool);

/**
 * @outputs: the values that are read afterwards (kept to the end of forward; in TRAIN mode the
 * gradient is given for outputs[0]). @graph, @params and @pool must outlive the plan.
 * @dtype: of activations.
 */
PIRL_API PirlPlan *pirl_plan_new (PirlGraph *graph, PirlParams *params, PirlPool *pool,
    PirlMode mode, PirlDType dtype, const PirlValue *outputs, guint n_outputs, GError **error);
PIRL_API void pirl_plan_free (PirlPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlPlan, pirl_plan_free)

/** INFER: takes over the parameters' present values. Call after they changed. */
PIRL_API gboolean pirl_plan_prepare (PirlPlan *plan, GError **error);
/** The same for parameters that no other plan uses and nobody reads or changes afterwards: of those
 * that units keep packed, there is no other copy in memory. */
PIRL_API gboolean pirl_plan_prepare_for_good (PirlPlan *plan, GError **error);

/** Takes the pictures for the next pirl_plan_forward() without any; what was staged before and not
 * used is forgotten. On a device with steps they are copied before it returns, and a step may run
 * meanwhile; elsewhere they must stay until they are used. The array may go in any case. */
PIRL_API gboolean pirl_plan_stage (PirlPlan *plan, const guint8 *const *pictures, GError **error);
/** The same with one recipe a sample, which the device renders; their pixels are copied before it
 * returns. Only where the backend renders_views. */
PIRL_API gboolean pirl_plan_stage_views (PirlPlan *plan, const PirlView *views, GError **error);
/** The same with one picture a sample that lies in the device's memory; they must stay as they are
 * until the forward pass is done. Only where the backend reads_surfaces. */
PIRL_API gboolean pirl_plan_stage_surfaces (PirlPlan *plan, const PirlSurfaceView *surfaces,
    GError **error);
/** @pictures: one packed RGB picture a sample; NULL = those of pirl_plan_stage().
 * @update_statistics: of BN, in TRAIN mode.
 * @cancel (may be NULL) is looked at between units: when set, FALSE with G_IO_ERROR_CANCELLED. */
PIRL_API gboolean pirl_plan_forward (PirlPlan *plan, const guint8 *const *pictures,
    gboolean update_statistics, const gint *cancel, GError **error);
/** The same from dense floats: n,3,h,w, already normalised, in place of pictures, or the rows of
 * pirl_graph_vectors(). */
PIRL_API gboolean pirl_plan_forward_floats (PirlPlan *plan, const gfloat *input,
    gboolean update_statistics, const gint *cancel, GError **error);
/** From the gradient at pirl_plan_gradient (plan, outputs[0]); adds to the parameters' gradients. */
PIRL_API gboolean pirl_plan_backward (PirlPlan *plan, const gint *cancel, GError **error);

/** Copies a kept value to dense floats on the host. */
PIRL_API gboolean pirl_plan_read (PirlPlan *plan, PirlValue value, gfloat *dst, GError **error);
/** Device memory of a kept vector value (dense rows), and of the gradient of outputs[0]. */
PIRL_API gpointer pirl_plan_data (PirlPlan *plan, PirlValue value);
PIRL_API gpointer pirl_plan_gradient (PirlPlan *plan, PirlValue value);
/** Bytes of the pool this plan needs. */
PIRL_API gsize pirl_plan_bytes (const PirlPlan *plan);
