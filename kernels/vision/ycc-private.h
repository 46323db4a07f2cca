/* gst-pirl: for the tests of the converter.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "vision/ycc.h"

/* Takes the loops in plain C from now on, whatever the processor could do. */
void pirl_ycc_converter_use_plain (PirlYccConverter *converter);
