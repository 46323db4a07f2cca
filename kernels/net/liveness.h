/* gst-pirl: laying blocks of known lifetimes into one arena.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/** A block in use from step @first to step @last, both included. */
typedef struct {
  gsize bytes;
  gint first, last;
  gsize offset;                 /* result */
} PirlBlock;

/** Gives every block an offset (a multiple of 64) so that blocks that are in use at the same time
 * do not overlap; returns the bytes of the arena. Best fit, largest blocks first. */
gsize pirl_layout (PirlBlock *blocks, guint n);
