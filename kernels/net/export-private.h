/* gst-pirl: what the writers of export.c share.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "net/export.h"
#include "net/model.h"

/** A network to be written: its graph up to @output, for one picture, and its weights' file. */
typedef struct {
  PirlSafetensors *file;
  PirlModelInfo info;
  const gchar *layer;           /* what @output is called */
  gboolean preprocess;
  PirlGraph *graph;
  PirlValue output;
} PirlExportSource;

/** The values of a parameter; transfer full. %PIRL_ERROR_NOT_FINITE where one is no number. */
gfloat *pirl_export_values (const PirlExportSource *source, const PirlParamSpec *spec,
    GError **error);
/** Writes @size bytes to @path, whole or not at all. */
gboolean pirl_export_write (const gchar *path, gconstpointer data, gsize size, GError **error);
/** "0.485,0.456,0.406", each times @scale; transfer full. */
gchar *pirl_export_triple (const gfloat triple[3], gdouble scale);

/* The formats. Each gives the text for the user. */
gchar *pirl_export_onnx (const PirlExportSource *source, const gchar *path, GError **error);
gchar *pirl_export_detectron2 (const PirlExportSource *source, const gchar *path, GError **error);
