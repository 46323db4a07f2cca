/* gst-pirl: one collection of features and the probes of it, from READY to PAUSED to READY.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The streaming thread puts features into a store; after the last one a thread of our own trains
 * the probes and reports. Waiting ends early after gst_pirl_probing_unlock(). Every function may be
 * called from any thread, but push and drain from one at a time.
 */
#pragma once

#include "features.h"
#include "settings.h"

G_BEGIN_DECLS

/** What drain returns when it was unlocked: wait for preroll, then call again. */
#define GST_PIRL_FLOW_UNLOCKED GST_FLOW_CUSTOM_SUCCESS_1

typedef struct _GstPirlProbing GstPirlProbing;

/** Checks what can be checked without data. */
GstPirlProbing *gst_pirl_probing_new (GstElement * element,
    const GstPirlProbeSettings * settings, GError ** error);
/** Ends a probe within a step, and joins its thread. */
void gst_pirl_probing_free (GstPirlProbing * probing);

/** FALSE when the stream's features cannot be used any more. */
gboolean gst_pirl_probing_set_caps (GstPirlProbing * probing, const GstPirlFeatureCaps * caps,
    GError ** error);
void gst_pirl_probing_set_dataset (GstPirlProbing * probing, const GstPirlDataset * dataset);

/** Takes one sample's features. EOS: there is a file that has them all. ERROR: with @error. */
GstFlowReturn gst_pirl_probing_push (GstPirlProbing * probing, GstBuffer * buffer,
    GError ** error);
/** No more samples: waits until all probes are done. ERROR: the message has been posted. */
GstFlowReturn gst_pirl_probing_drain (GstPirlProbing * probing);

void gst_pirl_probing_unlock (GstPirlProbing * probing);
void gst_pirl_probing_unlock_stop (GstPirlProbing * probing);
/** Forgets all features, and ends a probe. */
void gst_pirl_probing_flush (GstPirlProbing * probing);
/** Goes on, or waits after the step under way. */
void gst_pirl_probing_play (GstPirlProbing * probing, gboolean playing);

/** "application/x-pirl-probe-stats"; transfer full. */
GstStructure *gst_pirl_probing_stats (GstPirlProbing * probing);
/** The same before there is one. */
GstStructure *gst_pirl_probing_no_stats (void);

G_END_DECLS
