/* gst-pirl: safetensors files.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Format: u64 little-endian length of the header, a JSON object {name: {dtype, shape,
 * data_offsets}, "__metadata__": {string: string}}, then the data without holes or overlaps
 * (huggingface/safetensors, README "Format").
 */
#pragma once

#include "base/base.h"

typedef struct {
  const gchar *name;
  PirlDType dtype;
  PirlShape shape;
  gconstpointer data;           /* into the mapped file; aligned to the dtype in files that we
                                 * wrote, perhaps not in others': read it with pirl_to_float() or
                                 * memcpy() */
  gsize size;                   /* bytes */
} PirlTensor;

typedef struct _PirlSafetensors PirlSafetensors;

/**
 * Maps @path and checks every bound before anything is used. The file may be replaced (renamed
 * over) while it is open. Errors: %PIRL_ERROR_IO, %PIRL_ERROR_FORMAT; the text names the file and
 * what is wrong. Free with pirl_safetensors_free().
 */
PIRL_API PirlSafetensors *pirl_safetensors_open (const gchar *path, GError **error);
/** The same over memory (for tests and fuzzing); @name is used in messages. */
PIRL_API PirlSafetensors *pirl_safetensors_open_bytes (GBytes *bytes, const gchar *name,
    GError **error);
PIRL_API void pirl_safetensors_free (PirlSafetensors *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlSafetensors, pirl_safetensors_free)

/** The path it was opened with. */
PIRL_API const gchar *pirl_safetensors_name (const PirlSafetensors *file);
PIRL_API guint pirl_safetensors_count (const PirlSafetensors *file);
/** Tensor @i in the order of the file's data. */
PIRL_API const PirlTensor *pirl_safetensors_nth (const PirlSafetensors *file, guint i);
/** NULL when there is no tensor of that name. */
PIRL_API const PirlTensor *pirl_safetensors_lookup (const PirlSafetensors *file, const gchar *name);
/** Lets the memory that reading @tensor's data took go; they may be read again. */
PIRL_API void pirl_safetensors_release (const PirlSafetensors *file, const PirlTensor *tensor);
/** A value of __metadata__, or NULL. */
PIRL_API const gchar *pirl_safetensors_metadata (const PirlSafetensors *file, const gchar *key);

/* Writing: add tensors (the data must live until the write), then write all at once. */
typedef struct _PirlSafetensorsWriter PirlSafetensorsWriter;

PIRL_API PirlSafetensorsWriter *pirl_safetensors_writer_new (void);
PIRL_API void pirl_safetensors_writer_free (PirlSafetensorsWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (PirlSafetensorsWriter, pirl_safetensors_writer_free)
PIRL_API void pirl_safetensors_writer_metadata (PirlSafetensorsWriter *writer, const gchar *key,
    const gchar *value);
/** @data is borrowed until the write; @name and @shape are copied. */
PIRL_API void pirl_safetensors_writer_add (PirlSafetensorsWriter *writer, const gchar *name,
    PirlDType dtype, const PirlShape *shape, gconstpointer data);
/** Fills @dst with the @size bytes of a tensor from byte @offset on. */
typedef gboolean (*PirlSafetensorsRead) (gpointer closure, gsize offset, gsize size, gpointer dst,
    GError **error);
/** A tensor that is too large to be in memory twice: when it is written, it is asked for in pieces
 * of @piece bytes, the last one shorter, from the first to the last. What @read fails with is what
 * the write fails with. @closure is borrowed until then. */
PIRL_API void pirl_safetensors_writer_add_read (PirlSafetensorsWriter *writer, const gchar *name,
    PirlDType dtype, const PirlShape *shape, gsize piece, PirlSafetensorsRead read,
    gpointer closure);
/**
 * Writes to the temporary file "@path.tmp", fsyncs it, renames it over @path and fsyncs the
 * directory: a reader sees the old file or the new one, whole. On error (%PIRL_ERROR_IO; INVALID
 * for two tensors of one name) nothing at @path has changed and the temporary file is gone; one
 * that a killed writer left is reused. Two writers of one @path at the same moment: the second
 * fails.
 */
PIRL_API gboolean pirl_safetensors_writer_write (PirlSafetensorsWriter *writer, const gchar *path,
    GError **error);
