/* gst-pirl: errors, element types, shapes.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Half formats: F16 is IEEE 754 binary16 (1 sign, 5 exponent, 10 fraction bits), BF16 the upper
 * half of a binary32. Conversion works on bits, so that it is the same on every machine; elements
 * are read and written with memcpy, so that they may lie at any address.
 */
#include "base/base.h"

#include <math.h>
#include <string.h>

G_DEFINE_QUARK (pirl-error-quark, pirl_error)

static const struct {
  const gchar *name;
  gsize size;
} dtypes[PIRL_N_DTYPES] = {
  [PIRL_DTYPE_F64] = { "F64", 8 },
  [PIRL_DTYPE_F32] = { "F32", 4 },
  [PIRL_DTYPE_F16] = { "F16", 2 },
  [PIRL_DTYPE_BF16] = { "BF16", 2 },
  [PIRL_DTYPE_I64] = { "I64", 8 },
  [PIRL_DTYPE_I32] = { "I32", 4 },
  [PIRL_DTYPE_I16] = { "I16", 2 },
  [PIRL_DTYPE_I8] = { "I8", 1 },
  [PIRL_DTYPE_U8] = { "U8", 1 },
  [PIRL_DTYPE_U16] = { "U16", 2 },
  [PIRL_DTYPE_U32] = { "U32", 4 },
  [PIRL_DTYPE_U64] = { "U64", 8 },
  [PIRL_DTYPE_BOOL] = { "BOOL", 1 },
};

gsize
pirl_dtype_size (PirlDType type)
{
  return dtypes[type].size;
}

const gchar *
pirl_dtype_name (PirlDType type)
{
  return dtypes[type].name;
}

gboolean
pirl_dtype_from_name (const gchar *name, PirlDType *type)
{
  for (guint i = 0; i < PIRL_N_DTYPES; i++) {
    if (strcmp (name, dtypes[i].name) == 0) {
      *type = (PirlDType) i;
      return TRUE;
    }
  }
  return FALSE;
}

static guint32
float_bits (gfloat value)
{
  guint32 bits;

  memcpy (&bits, &value, sizeof bits);
  return bits;
}

/* Through memory, never through a value: a signalling NaN keeps its bits. */
static guint32
half_to_float_bits (guint16 half)
{
  const guint32 sign = (guint32) (half & 0x8000) << 16;
  const guint32 exponent = half >> 10 & 0x1f;
  const guint32 fraction = half & 0x3ff;

  if (exponent == 0x1f)         /* infinities and NaN */
    return sign | 0x7f800000 | fraction << 13;
  if (exponent == 0)            /* zero and subnormals: fraction * 2^-24, exact in float */
    return sign | float_bits ((gfloat) fraction * 0x1p-24f);
  return sign | (exponent + 127 - 15) << 23 | fraction << 13;
}

/* @value without its lowest @shift bits, rounded to nearest, ties to even. */
static guint32
shift_round_even (guint32 value, guint shift)
{
  const guint32 odd = value >> shift & 1;

  return (value + (1u << (shift - 1)) - 1 + odd) >> shift;
}

static guint16
half_from_float_bits (guint32 bits)
{
  const guint16 sign = bits >> 16 & 0x8000;
  const guint32 magnitude = bits & 0x7fffffff;
  const gint exponent = (gint) (magnitude >> 23) - 127;

  if (magnitude > 0x7f800000) { /* NaN: one payload bit must survive */
    const guint16 payload = magnitude >> 13 & 0x3ff;
    return sign | 0x7c00 | (payload ? payload : 0x200);
  }
  if (exponent >= 16)
    return sign | 0x7c00;
  if (exponent >= -14)          /* normal; rounding up may carry into the exponent, rightly */
    return sign | shift_round_even (magnitude - ((127 - 15) << 23), 13);
  if (exponent < -25)           /* below half of the smallest subnormal */
    return sign;
  return sign | shift_round_even ((magnitude & 0x7fffff) | 0x800000, (guint) (-1 - exponent));
}

static guint16
bfloat_from_float_bits (guint32 bits)
{
  if ((bits & 0x7fffffff) > 0x7f800000) {       /* NaN, as above */
    const guint16 upper = bits >> 16;
    return upper & 0x7f ? upper : upper | 0x40;
  }
  return shift_round_even (bits, 16);
}

/* Reads 16-bit element @i of @src, which may be unaligned. */
static inline guint16
load16 (gconstpointer src, gsize i)
{
  guint16 value;

  memcpy (&value, (const guint8 *) src + 2 * i, sizeof value);
  return value;
}

static inline void
store16 (gpointer dst, gsize i, guint16 value)
{
  memcpy ((guint8 *) dst + 2 * i, &value, sizeof value);
}

static inline guint32
load32 (gconstpointer src, gsize i)
{
  guint32 value;

  memcpy (&value, (const guint8 *) src + 4 * i, sizeof value);
  return value;
}

static inline void
store32 (gpointer dst, gsize i, guint32 value)
{
  memcpy ((guint8 *) dst + 4 * i, &value, sizeof value);
}

void
pirl_to_float (PirlDType type, gconstpointer src, gfloat *dst, gsize n)
{
  if (n == 0)
    return;
  switch (type) {
    case PIRL_DTYPE_F32:
      memcpy (dst, src, n * sizeof *dst);
      break;
    case PIRL_DTYPE_F64:
      for (gsize i = 0; i < n; i++) {
        gdouble value;

        memcpy (&value, (const guint8 *) src + i * sizeof value, sizeof value);
        dst[i] = (gfloat) value;
      }
      break;
    case PIRL_DTYPE_F16:
      for (gsize i = 0; i < n; i++)
        store32 (dst, i, half_to_float_bits (load16 (src, i)));
      break;
    case PIRL_DTYPE_BF16:
      for (gsize i = 0; i < n; i++)
        store32 (dst, i, (guint32) load16 (src, i) << 16);
      break;
    default:                   /* not a floating-point type: nothing that could pass for a value */
      for (gsize i = 0; i < n; i++)
        dst[i] = NAN;
  }
}

void
pirl_from_float (PirlDType type, const gfloat *src, gpointer dst, gsize n)
{
  if (n == 0)
    return;
  switch (type) {
    case PIRL_DTYPE_F64:
      for (gsize i = 0; i < n; i++) {
        const gdouble value = src[i];

        memcpy ((guint8 *) dst + i * sizeof value, &value, sizeof value);
      }
      break;
    case PIRL_DTYPE_F32:
      memcpy (dst, src, n * sizeof *src);
      break;
    case PIRL_DTYPE_F16:
      for (gsize i = 0; i < n; i++)
        store16 (dst, i, half_from_float_bits (load32 (src, i)));
      break;
    case PIRL_DTYPE_BF16:
      for (gsize i = 0; i < n; i++)
        store16 (dst, i, bfloat_from_float_bits (load32 (src, i)));
      break;
    default:
      memset (dst, 0, n * pirl_dtype_size (type));
  }
}

gsize
pirl_shape_count (const PirlShape *shape)
{
  gsize count = 1;

  for (guint i = 0; i < shape->rank; i++)
    count *= (gsize) shape->dim[i];
  return count;
}

gboolean
pirl_shape_equal (const PirlShape *a, const PirlShape *b)
{
  return a->rank == b->rank && memcmp (a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

gchar *
pirl_shape_to_string (const PirlShape *shape)
{
  GString *text = g_string_new ("[");

  for (guint i = 0; i < shape->rank; i++)
    g_string_append_printf (text, "%s%" G_GINT64_FORMAT, i ? "," : "", shape->dim[i]);
  g_string_append_c (text, ']');
  return g_string_free (text, FALSE);
}
