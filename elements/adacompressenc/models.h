/* gst-pirl: where the models that ship are.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define ADA_MODEL_EXTRACTOR "extractor.safetensors"
#define ADA_MODEL_AGENT "agent.safetensors"

/** The path of the shipped model @name: in the folder that the environment names in GST_PIRL_MODELS,
 * else in the source tree for a plugin that was not installed, else in the installed data. NULL when
 * it is not there; transfer full. */
gchar *ada_models_find (const gchar * name);

G_END_DECLS
