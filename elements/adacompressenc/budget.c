/* adacompressenc: how often frames may be asked about (see budget.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "budget.h"

/* A reference and a cheap trial, in base64. */
#define FIRST_COST 2.0
/* Weight of a new cost or size in the running means. */
#define FRESH 0.05
/* Savings: at most so many estimates' worth, a tenth of what comes in. */
#define BURST 50
#define SAVED 0.1
/* While there is a suspicion: so many times as often. */
#define URGENCY 8

void
ada_budget_init (AdaBudget * budget, gdouble rate)
{
  *budget = (AdaBudget) {.rate = MAX (rate, 0),.cost = FIRST_COST };
}

gdouble
ada_budget_probability (const AdaBudget * budget)
{
  const gdouble even = budget->rate / budget->cost;
  gdouble share = 1 - SAVED;

  if (budget->tokens < budget->cost)
    return 0;
  if (budget->suspicion)
    share = URGENCY;
  else if (budget->tokens >= BURST * budget->cost)
    share = 1;
  return MIN (share * even, 1);
}

static void
earn (AdaBudget * budget)
{
  budget->tokens = MIN (budget->tokens + budget->rate, BURST * budget->cost + budget->rate);
}

void
ada_budget_pass (AdaBudget * budget)
{
  earn (budget);
  budget->passed++;
}

gdouble
ada_budget_frame (AdaBudget * budget)
{
  const guint frames = 1 + budget->passed;

  earn (budget);
  budget->passed = 0;
  if (budget->tokens < budget->cost)
    budget->suspicion = FALSE;
  return MIN (frames * ada_budget_probability (budget), 1);
}

void
ada_budget_reserve (AdaBudget * budget)
{
  budget->tokens -= budget->cost;
}

void
ada_budget_settle (AdaBudget * budget, gdouble bytes, gdouble reference, gboolean charge)
{
  gdouble cost;

  if (reference > 0)
    budget->reference += (reference - budget->reference) * (budget->reference > 0 ? FRESH : 1);
  cost = budget->reference > 0 ? bytes / budget->reference : bytes > 0 ? budget->cost : 0;
  if (charge) {
    budget->tokens += budget->cost - cost;
    if (cost > 0)
      budget->cost += FRESH * (cost - budget->cost);
  }
}

void
ada_budget_suspect (AdaBudget * budget)
{
  budget->suspicion = TRUE;
}
