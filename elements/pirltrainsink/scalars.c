/* gst-pirl: a training's scalars, for TensorBoard (see scalars.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "scalars.h"

#include "common.h"

#define FLUSH_INTERVAL G_USEC_PER_SEC

void
gst_pirl_scalars_init (GstPirlScalars * scalars, GstElement * element, const gchar * folder)
{
  *scalars = (GstPirlScalars) { .element = element };
  if (folder != NULL && *folder != '\0')
    scalars->folder = g_strdup (folder);
}

void
gst_pirl_scalars_clear (GstPirlScalars * scalars)
{
  g_clear_pointer (&scalars->events, pirl_tfevents_free);
  g_clear_pointer (&scalars->folder, g_free);
}

/* A folder that cannot be made now is not tried again. */
static gboolean
ensure_open (GstPirlScalars * scalars, guint64 step)
{
  GError *error = NULL;

  if (scalars->events != NULL)
    return TRUE;
  if (scalars->folder == NULL)
    return FALSE;
  scalars->events = pirl_tfevents_new (scalars->folder, &error);
  if (scalars->events != NULL) {
    pirl_tfevents_restart (scalars->events, step);
    return TRUE;
  }
  g_prefix_error (&error, "log-dir is left out: ");
  gst_pirl_post_warning (scalars->element, &error);
  g_clear_pointer (&scalars->folder, g_free);
  return FALSE;
}

void
gst_pirl_scalars_add (GstPirlScalars * scalars, guint64 step, const gchar * tag, gdouble value)
{
  if (ensure_open (scalars, step))
    pirl_tfevents_scalar (scalars->events, step, tag, value);
}

void
gst_pirl_scalars_flush (GstPirlScalars * scalars, gboolean now)
{
  const gint64 time = g_get_monotonic_time ();
  GError *error = NULL;

  if (scalars->events == NULL || (!now && time - scalars->flushed_at < FLUSH_INTERVAL))
    return;
  scalars->flushed_at = time;
  if (pirl_tfevents_flush (scalars->events, &error)) {
    scalars->failing = FALSE;
  } else if (scalars->failing) {
    g_clear_error (&error);
  } else {
    scalars->failing = TRUE;
    g_prefix_error (&error, "log-dir: ");
    gst_pirl_post_warning (scalars->element, &error);
  }
}
