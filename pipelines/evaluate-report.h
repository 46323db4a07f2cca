/* gst-pirl: what the evaluation leaves: a table, JSON, a plot.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "evaluate-policies.h"

/** The bandit over a look at the pictures, for a row of targets (ascending). */
typedef struct {
  const EvalLook *look;
  guint labels;                 /* asked a learning picture; 0 = all */
  guint n;
  gdouble *targets;
  EvalOutcome *outcomes;
} EvalCurve;

typedef struct {
  const EvalTable *table;
  const gchar *folder, *cloud;
  guint halves;
  gdouble target;
  EvalOutcome *fixed;           /* a level */
  EvalOutcome fixed_learnt;
  EvalOutcome oracle, oracle_at_target;
  gboolean has_dqn;
  EvalOutcome dqn;
  EvalOutcome bandit;           /* at the target */
  GArray *curves;               /* EvalCurve; the first is the bandit's own */
  gdouble seconds;              /* the evaluation took, the table not counted */
} EvalReport;

void eval_report_print (const EvalReport *report);
gboolean eval_report_json (const EvalReport *report, const gchar *path, GError **error);
gboolean eval_report_plot (const EvalReport *report, const gchar *path, GError **error);
