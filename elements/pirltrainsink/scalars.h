/* gst-pirl: a training's scalars, for TensorBoard.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Belongs to the training thread. Whatever goes wrong with folder or disk is a warning, once until
 * it works again; training goes on.
 */
#pragma once

#include <gst/gst.h>

#include "base/tfevents.h"

G_BEGIN_DECLS

typedef struct {
  GstElement *element;          /* not owned: it posts the warnings */
  gchar *folder;                /* NULL = nothing is kept, or no more */
  PirlTfevents *events;         /* NULL before the first scalar */
  gint64 flushed_at;            /* monotonic microseconds */
  gboolean failing;
} GstPirlScalars;

/** Nothing is made before the first scalar. @folder NULL or "": none is kept. */
void gst_pirl_scalars_init (GstPirlScalars * scalars, GstElement * element, const gchar * folder);
void gst_pirl_scalars_clear (GstPirlScalars * scalars);
/** Notes a value. The first one makes folder and file, and says that the run begins with @step. */
void gst_pirl_scalars_add (GstPirlScalars * scalars, guint64 step, const gchar * tag,
    gdouble value);
/** Writes what was noted: @now, or once a second. */
void gst_pirl_scalars_flush (GstPirlScalars * scalars, gboolean now);

G_END_DECLS
