/* adacompressenc: looking at a live stream's frames beside it.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Looking at a frame (previews, the extractor, sizes) takes several milliseconds that a live stream
 * should not wait for. A thread looks at the newest frame that it has time for and asks the cloud about
 * it; what leaves meanwhile has the quality that was decided for the frame looked at last, one or two
 * before. Neighbouring frames of a camera are alike: of those within 45 ms only one is looked at, unless the
 * agent is learning.
 */
#pragma once

#include "agent.h"

G_BEGIN_DECLS

typedef struct _AdaLookout AdaLookout;
/** @agent must outlive it, and is decided with and asked through nobody else. */
AdaLookout *ada_lookout_new (AdaAgent * agent);
/** Waits for the look under way. */
void ada_lookout_free (AdaLookout * lookout);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AdaLookout, ada_lookout_free)

/** The decision of the frame looked at last; the very first frame is looked at here and now, in @coder.
 * @observation: transfer full, NULL where the extractor failed. TRUE: they are of this very frame, the
 * caller asks; FALSE: of an earlier one. */
gboolean ada_lookout_decide (AdaLookout * lookout, PirlJpegCoder * coder, AdaDecision * decision,
    AdaObservation ** observation);
/** Shows a frame, held by @coder (transfer full); returns a coder to go on with, the same one when
 * there is no time or no reason to look. Never waits. */
PirlJpegCoder *ada_lookout_show (AdaLookout * lookout, PirlJpegCoder * coder, guint64 id,
    const gchar * name);
/** Waits for the look under way, so that what it asks is asked. */
void ada_lookout_drain (AdaLookout * lookout);

G_END_DECLS
