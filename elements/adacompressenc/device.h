/* adacompressenc: what computes its networks.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/** The device that a user's name means. "auto" (or NULL) is the CPU here: the networks are small,
 * one frame at a time keeps no GPU busy, and the shipped agent has learnt from the CPU's
 * features. */
static inline const gchar *
ada_device (const gchar * device)
{
  return device == NULL || g_str_equal (device, "auto") ? "cpu" : device;
}

G_END_DECLS
