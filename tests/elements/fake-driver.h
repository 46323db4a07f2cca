/* gst-pirl: what the made up CUDA driver (fake-driver.c) tells tests. They find these by dlsym().
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

typedef struct {
  unsigned downloads;           /* copies from a card to the host so far */
  unsigned areas;               /* allocations on cards that are there now */
} FakeDriverCounts;

FakeDriverCounts fake_driver_counts (void);
/** The primary context of a card, a CUcontext. */
void *fake_driver_primary (int card);
