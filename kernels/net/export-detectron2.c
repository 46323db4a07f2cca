/* gst-pirl: a ResNet's trunk as a file for Detectron2's MODEL.WEIGHTS.
 *
 * That is a pickle of {"model": {name: NumPy array}, "__author__": ..., "matching_heuristics":
 * True}: DetectionCheckpointer then matches names by their ends, so that "res2.0.conv1.weight" is found
 * whether the detector calls it backbone.res2... (C4), backbone.bottom_up.res2... (FPN) or
 * roi_heads.res5... . Written in protocol 3 (Python 3); an array is numpy.ndarray (shape, "<f4",
 * bytearray (data)), names that every NumPy has, and may be written to by who loads it.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/export-private.h"

#include <string.h>

#include "net/names.h"

#define PUBLISHED_BASE_WIDTH 64

/* Operations of the unpickler's stack machine (Python, pickletools.py). */
enum {
  PROTO = 0x80, TUPLE1 = 0x85, TUPLE3 = 0x87, NEWTRUE = 0x88, EMPTY_DICT = '}', MARK = '(',
  UNICODE = 'X', GLOBAL = 'c', PUT = 'q', GET = 'h', BYTES = 'B', INT = 'J', TUPLE = 't',
  REDUCE = 'R', SETITEMS = 'u', STOP = '.'
};

/* The unpickler's memo. */
enum { MEMO_NDARRAY, MEMO_BYTEARRAY };

static void
put_op (GByteArray *pickle, guint8 operation)
{
  g_byte_array_append (pickle, &operation, 1);
}

static void
put_u32 (GByteArray *pickle, guint8 operation, guint32 value)
{
  const guint32 bits = GUINT32_TO_LE (value);

  put_op (pickle, operation);
  g_byte_array_append (pickle, (const guint8 *) &bits, sizeof bits);
}

static void
put_text (GByteArray *pickle, const gchar *text)
{
  put_u32 (pickle, UNICODE, (guint32) strlen (text));
  g_byte_array_append (pickle, (const guint8 *) text, (guint) strlen (text));
}

/* A class of a module, for the first time (@lines: "module\nname\n") or again. */
static void
put_class (GByteArray *pickle, const gchar *lines, guint8 memo, gboolean first)
{
  if (first) {
    put_op (pickle, GLOBAL);
    g_byte_array_append (pickle, (const guint8 *) lines, (guint) strlen (lines));
  }
  put_op (pickle, first ? PUT : GET);
  put_op (pickle, memo);
}

static void
put_array (GByteArray *pickle, const PirlShape *shape, const gfloat *values, gboolean first)
{
  const gsize size = pirl_shape_count (shape) * sizeof *values;

  put_class (pickle, "numpy\nndarray\n", MEMO_NDARRAY, first);
  put_op (pickle, MARK);
  for (guint i = 0; i < shape->rank; i++)
    put_u32 (pickle, INT, (guint32) shape->dim[i]);
  put_op (pickle, TUPLE);
  put_text (pickle, "<f4");
  put_class (pickle, "builtins\nbytearray\n", MEMO_BYTEARRAY, first);
  put_u32 (pickle, BYTES, (guint32) size);
  g_byte_array_append (pickle, (const guint8 *) values, (guint) size);
  put_op (pickle, TUPLE1);
  put_op (pickle, REDUCE);
  put_op (pickle, TUPLE3);
  put_op (pickle, REDUCE);
}

/* The dictionary of arrays; the classifier, which no detector has, stays behind. */
static gboolean
put_trunk (GByteArray *pickle, const PirlExportSource *source, GError **error)
{
  gboolean first = TRUE;

  put_op (pickle, EMPTY_DICT);
  put_op (pickle, MARK);
  for (guint i = 0; i < source->graph->params->len; i++) {
    const PirlParamSpec *spec = g_ptr_array_index (source->graph->params, i);
    g_autofree gchar *name = pirl_resnet_detectron2_name (spec->name);
    g_autofree gfloat *values = name ? pirl_export_values (source, spec, error) : NULL;

    if (!name)
      continue;
    if (!values)
      return FALSE;
    put_text (pickle, name);
    put_array (pickle, &spec->shape, values, first);
    first = FALSE;
  }
  put_op (pickle, SETITEMS);
  return TRUE;
}

/* The settings that go with the weights; Detectron2's own are for BGR pictures and MSRA's networks,
 * whose bottlenecks have their stride in the first convolution. */
static gchar *
detectron2_text (const PirlExportSource *source)
{
  const PirlTrunk *trunk = &source->info.trunk;
  const gint width = trunk->base_width;
  const gboolean bottleneck = trunk->arch == PIRL_ARCH_RESNET50;
  g_autofree gchar *mean = pirl_export_triple (source->info.mean, 255);
  g_autofree gchar *std = pirl_export_triple (source->info.std, 255);
  g_autofree gchar *widths = width == PUBLISHED_BASE_WIDTH && bottleneck ? g_strdup ("")
      : g_strdup_printf ("    STEM_OUT_CHANNELS: %d\n    RES2_OUT_CHANNELS: %d\n"
      "    WIDTH_PER_GROUP: %d\n", width, bottleneck ? 4 * width : width, width);

  return g_strdup_printf ("settings that go with it (pictures are RGB, not Detectron2's BGR):\n"
      "MODEL:\n  WEIGHTS: FILE\n  PIXEL_MEAN: [%s]\n  PIXEL_STD: [%s]\n  RESNETS:\n"
      "    DEPTH: %s\n    STRIDE_IN_1X1: False\n%sINPUT:\n  FORMAT: \"RGB\"\n", mean, std,
      pirl_trunk_name (trunk) + strlen ("resnet"), widths);
}

gchar *
pirl_export_detectron2 (const PirlExportSource *source, const gchar *path, GError **error)
{
  g_autoptr (GByteArray) pickle = g_byte_array_new ();

  if (source->info.trunk.arch == PIRL_ARCH_MOBILENETV2) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "Detectron2 has no MobileNetV2; its file can be made of a ResNet");
    return NULL;
  }
  put_op (pickle, PROTO);
  put_op (pickle, 3);
  put_op (pickle, EMPTY_DICT);
  put_op (pickle, MARK);
  put_text (pickle, "model");
  if (!put_trunk (pickle, source, error))
    return NULL;
  put_text (pickle, "__author__");
  put_text (pickle, "gst-pirl");
  put_text (pickle, "matching_heuristics");
  put_op (pickle, NEWTRUE);
  put_op (pickle, SETITEMS);
  put_op (pickle, STOP);
  return pirl_export_write (path, pickle->data, pickle->len, error) ? detectron2_text (source)
      : NULL;
}
