/* adacompressenc: how often frames may be asked about (private to the controller).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A token bucket. Unit: the mean reference's bytes. Every frame brings `rate` tokens, an estimate
 * takes what it costs on the wire, so that the bytes of estimates never pass rate times the
 * reference bytes of all frames. A tenth is put by; when there is a suspicion the savings are
 * spent. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct {
  gdouble rate;
  gdouble tokens;
  gdouble cost;                 /* of an estimate, running mean */
  gdouble reference;            /* bytes of a reference, running mean; 0 = none seen */
  guint passed;                 /* frames since the last that could be asked about */
  gboolean suspicion;           /* until the savings are spent */
} AdaBudget;

/** @rate: bytes of estimates over the reference bytes of all frames, as estimate-budget. */
void ada_budget_init (AdaBudget * budget, gdouble rate);
/** A frame that cannot be asked about, since nobody looks at it: the next one stands for it, too. */
void ada_budget_pass (AdaBudget * budget);
/** One more frame; the probability with which it is asked about. */
gdouble ada_budget_frame (AdaBudget * budget);
/** An estimate is on its way: its mean cost is set aside. */
void ada_budget_reserve (AdaBudget * budget);
/** What it cost in the end. @reference: bytes, 0 = not known. @charge: it was an estimate (else
 * only the means are learnt: retraining is not rationed). */
void ada_budget_settle (AdaBudget * budget, gdouble bytes, gdouble reference, gboolean charge);
/** Now would be a good time to ask. */
void ada_budget_suspect (AdaBudget * budget);
gdouble ada_budget_probability (const AdaBudget * budget);

G_END_DECLS
