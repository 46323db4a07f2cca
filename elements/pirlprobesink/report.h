/* gst-pirl: what a probe tells the world: messages and a file.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "common.h"
#include "settings.h"
#include "learn/probe-store.h"

G_BEGIN_DECLS

typedef struct _GstPirlProbeReport GstPirlProbeReport;

/** @element is not owned. */
GstPirlProbeReport *gst_pirl_probe_report_new (GstElement * element);
void gst_pirl_probe_report_free (GstPirlProbeReport * report);

/** One of @steps probes, number @step from 0 on, begins; where it stands (posted now and then). */
void gst_pirl_probe_report_begin (GstPirlProbeReport * report, const PirlProbeLayer * layer,
    PirlProbe probe, guint step, guint steps);
void gst_pirl_probe_report_progress (GstPirlProbeReport * report, gdouble done);
/** It is done: posts `pirl-probe`, logs and remembers. */
void gst_pirl_probe_report_result (GstPirlProbeReport * report, const PirlProbeResult * result);
/** How all of it ended. */
void gst_pirl_probe_report_end (GstPirlProbeReport * report, GstProgressType type,
    const gchar * text);
/** Writes what was remembered as JSON, at once and whole. */
gboolean gst_pirl_probe_report_write (GstPirlProbeReport * report, const gchar * path,
    const PirlProbeStoreInfo * info, const gchar * hash, GError ** error);

G_END_DECLS
