/* gst-pirl: caps queries and messages that several elements share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/** Why `device=auto` is not a GPU, in one line to be logged: no module, no driver, no card. NULL
 * when nothing is missing, or @device names what to use. After a device was opened. */
const gchar *gst_pirl_auto_reason (const gchar * device);

/** Whether frames come to @sinkpad by themselves, as from a camera, and must not be kept waiting. */
gboolean gst_pirl_is_live (GstPad * sinkpad);

/** What a CAPS query is answered: those of @caps (transfer full) that @filter lets through, in its
 * order; NULL lets all through. */
GstCaps *gst_pirl_filter_caps (GstCaps * caps, GstCaps * filter);

/** Posts @error as GST_ELEMENT_ERROR in the domain that fits its code, its text as the user's
 * sentence, and clears it. */
void gst_pirl_post_error (GstElement * element, GError ** error);
/** The same as a warning. */
void gst_pirl_post_warning (GstElement * element, GError ** error);

/* GST_MESSAGE_PROGRESS that keeps the rules: START only once the element is PLAYING (gst-launch
 * waits for ever for a progress that begins earlier), always ended exactly once. */
typedef struct {
  GstElement *element;          /* not owned */
  const gchar *code;            /* "training" */
  gboolean started;
} GstPirlProgress;
/** Posts START before the first CONTINUE; nothing before PLAYING. Any thread, one at a time. */
void gst_pirl_progress_continue (GstPirlProgress * progress, const gchar * text);
/** Ends it with COMPLETE, CANCELED or ERROR where it was started. */
void gst_pirl_progress_end (GstPirlProgress * progress, GstProgressType type, const gchar * text);

/* Registration, in plugin.c's table. */
GST_ELEMENT_REGISTER_DECLARE (pirldatasetsrc);
GST_ELEMENT_REGISTER_DECLARE (pirljigsaw);
GST_ELEMENT_REGISTER_DECLARE (pirlembed);
GST_ELEMENT_REGISTER_DECLARE (pirlprobesink);
GST_ELEMENT_REGISTER_DECLARE (pirltrainsink);
GST_ELEMENT_REGISTER_DECLARE (adacompressenc);

G_END_DECLS
