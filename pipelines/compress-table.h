/* gst-pirl: was the agent worth it? The same frames at every quality, and what the cloud says of them.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "cloud/cloud.h"
#include "vision/jpeg-coder.h"

/** One way to choose qualities, on the frames kept. */
typedef struct {
  gdouble agreement, low, high; /* Wilson 95 % */
  gdouble size;                 /* bytes / the reference's, mean over frames */
  gdouble quality;              /* mean */
  guint frames;
} PirlOutcome;

typedef struct _PirlComparison PirlComparison;
/** @cloud is asked about every kept frame at every quality: meant for local ones. @qualities
 * ascending, the last is the reference's. */
PirlComparison *pirl_comparison_new (AdaCloud *cloud, AdaAgreement agreement, PirlHuffman huffman,
    const gint *qualities, guint n);
void pirl_comparison_free (PirlComparison *comparison);
/** Asks about one frame. @chosen: the quality that left (any). A frame that the cloud has nothing to
 * say of is left out. FALSE on an error of coder or cloud. */
gboolean pirl_comparison_add (PirlComparison *comparison, const PirlImage *frame,
    const gchar *name, gint chosen, GError **error);

PirlOutcome pirl_comparison_chosen (const PirlComparison *comparison);
PirlOutcome pirl_comparison_fixed (const PirlComparison *comparison, guint level);
/** The cheapest fixed level that agrees at least as often as @agreement. */
guint pirl_comparison_best_fixed (const PirlComparison *comparison, gdouble agreement);
/** The cheapest agreeing level of each frame. */
PirlOutcome pirl_comparison_oracle (const PirlComparison *comparison);
