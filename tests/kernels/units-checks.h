/* gst-pirl: the parts of the unit tests; each returns how many of its cases failed.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "units-harness.h"

typedef struct {
  PirlDevice *tested, *reference;
  const gchar *only;            /* run what has this in its name; NULL = all */
  gboolean verbose;             /* a line for every case, not only for what fails */
  gboolean quick;               /* small cases only, for a backend that is slow */
  gint bench_batch;
} UnitsContext;

/** Whether --only wants the case called @name. */
gboolean units_selected (const UnitsContext *context, const gchar *name);
/** Prints a case's result as asked for; returns 1 if it failed. */
guint units_report (const UnitsContext *context, gboolean ok, const gchar *name,
    const gchar *details);

/** Each unit, each mode, precision and layout: tested backend against the reference. */
guint units_check_table (const UnitsContext *context);
/** Units in a row, in the tested backend's own layouts, with gradients that meet. */
guint units_check_chain (const UnitsContext *context);
/** What does not depend on the number of threads. */
guint units_check_threads (const UnitsContext *context);
/** Contrastive terms, bank update, SGD: tested backend against the reference. */
guint units_check_contrast (const UnitsContext *context);
/** The reference against values from PyTorch. */
guint units_check_golden (const UnitsContext *context);
/** The reference's gradients against finite differences. */
guint units_check_gradients (const UnitsContext *context);
/** What pirl_device_open() says to names it knows and does not know. */
guint units_check_names (const UnitsContext *context);
/** Units and contrastive terms that cannot work are errors, on both backends. */
guint units_check_refusals (const UnitsContext *context);

/** Prints ms and GFLOP/s of the units of ResNet-50 on the tested backend. */
void units_bench (const UnitsContext *context);
