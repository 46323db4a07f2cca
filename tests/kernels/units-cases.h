/* gst-pirl: the table of units and shapes that the unit tests run.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "units-harness.h"

/** The cases in training mode; array of UnitCase, the same for every run. @network: also shapes as
 * networks have them, ten times the work. Transfer full. */
GArray *units_cases (gboolean network);
/** The same case in another mode and type of activations. */
UnitCase units_case_as (const UnitCase *train, PirlMode mode, PirlDType dtype);
/** Multiplications of a convolution, numbers that other units move. */
gdouble units_case_work (const UnitCase *unit_case);
