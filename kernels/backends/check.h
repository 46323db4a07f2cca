/* gst-pirl: what must hold of a unit before a backend plans it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "backends/backend.h"

/** What makes the unit impossible, on any backend; NULL = nothing. @input: NULL only for INPUT. */
const gchar *pirl_unit_problem (const PirlUnitDesc *desc, const PirlTensorDesc *input,
    const PirlTensorDesc *residual);
/** "conv, 4 x (17,13,15) -> (24,7,8) in training: ", to begin an error with. */
void pirl_unit_explain (const PirlUnitDesc *desc, GError **error);
