/* adacompressenc: is a frame another than the one asked about last? (private to the controller)
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Neighbouring frames of a film are alike: two hundred answers about two hundred neighbours are a
 * few answers. A frame is new when its features are as far from those asked about last as half of
 * what lies between frames that have nothing to do with each other; that is measured against a
 * frame of a few seconds ago. Pictures in any order are all new. What stands still is asked about
 * now and then. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct {
  guint n;                      /* features; 0 = nothing seen */
  gfloat *asked, *anchor;
  guint since_asked, age;       /* frames */
  gdouble unrelated;            /* squared distance, running mean; 0 = not yet known */
} AdaNovelty;

void ada_novelty_clear (AdaNovelty * novelty);
/** One more frame; TRUE = it is new, or @longest frames have passed. Without features every frame
 * is. */
gboolean ada_novelty_frame (AdaNovelty * novelty, const gfloat * features, guint n,
    guint longest);
/** The frame that was passed last, with @features, is asked about. */
void ada_novelty_asked (AdaNovelty * novelty, const gfloat * features, guint n);

G_END_DECLS
