/* gst-pirl: lists a location on a thread of its own.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Listing a million files on a network disk takes a minute, and neither a state change nor a
 * streaming thread that shall stop can wait that long.
 */
#pragma once

#include "listing.h"

G_BEGIN_DECLS

typedef struct _GstPirlListJob GstPirlListJob;

/** Begins. */
GstPirlListJob *gst_pirl_list_job_new (const gchar * location, GstPirlLabels labels);
/** Ends the thread wherever it is. */
void gst_pirl_list_job_free (GstPirlListJob * job);
/** Waits until the job is done (TRUE), @microseconds have passed (-1 = no limit) or it is
 * interrupted. */
gboolean gst_pirl_list_job_wait (GstPirlListJob * job, gint64 microseconds);
/** While set, wait does not wait. Any thread. */
void gst_pirl_list_job_set_interrupted (GstPirlListJob * job, gboolean interrupted);
/** The result of a job that is done; once. @warning: see gst_pirl_listing_new(). */
GstPirlListing *gst_pirl_list_job_take (GstPirlListJob * job, gchar ** warning, GError ** error);

G_END_DECLS
