/* gst-pirl: what every room of libpirlkernels shares.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <glib.h>

/* Marks a function that libpirlkernels exports. */
#define PIRL_API __attribute__ ((visibility ("default")))

/**
 * PirlError:
 * @PIRL_ERROR_INVALID: an argument or a combination of settings that cannot work
 * @PIRL_ERROR_FORMAT: data that are not what they claim to be (JPEG, safetensors, ...)
 * @PIRL_ERROR_IO: a file that could not be read or written
 * @PIRL_ERROR_MISMATCH: data that are whole but belong to something else (another architecture,
 *   another data set)
 * @PIRL_ERROR_UNSUPPORTED: what this build or this machine cannot do
 * @PIRL_ERROR_NOT_FINITE: arithmetic that left the finite numbers
 * @PIRL_ERROR_COLLAPSED: embeddings that all became one
 * @PIRL_ERROR_BACKEND: a failure inside a library below us
 *
 * The message says what was wrong, where, and what would be right.
 */
typedef enum {
  PIRL_ERROR_INVALID,
  PIRL_ERROR_FORMAT,
  PIRL_ERROR_IO,
  PIRL_ERROR_MISMATCH,
  PIRL_ERROR_UNSUPPORTED,
  PIRL_ERROR_NOT_FINITE,
  PIRL_ERROR_COLLAPSED,
  PIRL_ERROR_BACKEND,
} PirlError;

#define PIRL_ERROR (pirl_error_quark ())
PIRL_API GQuark pirl_error_quark (void);

/** Types of tensor elements; the names are those of safetensors. */
typedef enum {
  PIRL_DTYPE_F64,
  PIRL_DTYPE_F32,
  PIRL_DTYPE_F16,
  PIRL_DTYPE_BF16,
  PIRL_DTYPE_I64,
  PIRL_DTYPE_I32,
  PIRL_DTYPE_I16,
  PIRL_DTYPE_I8,
  PIRL_DTYPE_U8,
  PIRL_DTYPE_U16,
  PIRL_DTYPE_U32,
  PIRL_DTYPE_U64,
  PIRL_DTYPE_BOOL,
  PIRL_N_DTYPES,
} PirlDType;

/** Bytes of one element. */
PIRL_API gsize pirl_dtype_size (PirlDType type);
/** "F32", ...; never NULL for a valid type. */
PIRL_API const gchar *pirl_dtype_name (PirlDType type);
/** Finds the type called @name ("F32"); FALSE when there is none. */
PIRL_API gboolean pirl_dtype_from_name (const gchar *name, PirlDType *type);
/** Converts @n elements of a floating-point type (F64, F32, F16, BF16; native byte order) to float. */
PIRL_API void pirl_to_float (PirlDType type, gconstpointer src, gfloat *dst, gsize n);
/** Converts @n floats to a floating-point type, rounding to nearest even. */
PIRL_API void pirl_from_float (PirlDType type, const gfloat *src, gpointer dst, gsize n);

#define PIRL_MAX_RANK 8

/** A tensor's shape, outermost dimension first. */
typedef struct {
  guint rank;
  gint64 dim[PIRL_MAX_RANK];
} PirlShape;

/** The number of elements (1 for rank 0). */
PIRL_API gsize pirl_shape_count (const PirlShape *shape);
PIRL_API gboolean pirl_shape_equal (const PirlShape *a, const PirlShape *b);
/** "[64,3,7,7]"; transfer full. */
PIRL_API gchar *pirl_shape_to_string (const PirlShape *shape);
