/* gst-pirl: WebDataset tars as a location of pirldatasetsrc.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A location is one .tar or a pattern of several: braces as shells expand them, `{000..009}` and
 * `{a,b}`, and wildcards. What a tar holds is found once, by libarchive, and kept as an index, so
 * that a sample is one pread() at a known place, in any order and from any thread.
 */
#pragma once

#include "listing.h"

G_BEGIN_DECLS

/** Whether @location is named like tars (compressed ones too: they are told apart later). */
gboolean gst_pirl_is_tar_location (const gchar * location);
/** Looks whether the first tar of @location is there. */
gboolean gst_pirl_tars_probe (const gchar * location, GError ** error);
/** Adds the samples of all tars of @location and sets @listing->tars. @warning (transfer full, may
 * stay NULL) counts what was left out. */
gboolean gst_pirl_listing_read_tars (GstPirlListing * listing, const gchar * location,
    GstPirlLabels labels, gint * cancel, gchar ** warning, GError ** error);
/** The bytes of sample @i's picture; transfer full. Any thread. */
guint8 *gst_pirl_tars_read (const GstPirlTars * tars, guint64 i, gsize * size, GError ** error);
/** Nobody may be reading any more. */
void gst_pirl_tars_free (GstPirlTars * tars);

G_END_DECLS
