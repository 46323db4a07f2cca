/* gst-pirl: takes a trained network elsewhere.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *   pirl-export MODEL.safetensors --format FORMAT [--layer NAME] [--preprocess] -o FILE
 */
#include <glib.h>

#include "net/export.h"

static gchar *format, *layer, *output, **models;
static gboolean preprocess;

static const GOptionEntry entries[] = {
  { "format", 'f', 0, G_OPTION_ARG_STRING, &format, "torchvision, onnx (default) or detectron2",
      "FORMAT" },
  { "layer", 'l', 0, G_OPTION_ARG_STRING, &layer, "Of onnx: embedding, features, logits, res1 .. "
      "res5 (default: embedding, else features)", "NAME" },
  { "preprocess", 'p', 0, G_OPTION_ARG_NONE, &preprocess,
      "Of onnx: the input is pixels, 0..255, and the model normalises them", NULL },
  { "output", 'o', 0, G_OPTION_ARG_FILENAME, &output, "Where it goes", "FILE" },
  { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &models, NULL, "MODEL.safetensors" },
  { NULL }
};

static const gchar summary[] =
    "Writes a trained network down for other tools, and says how they read it.\n\n"
    "  torchvision  safetensors under torchvision's names: trunk and classifier, for\n"
    "               load_state_dict() of torchvision's networks (strict=False\n"
    "               without a classifier)\n"
    "  onnx         one layer of it, any number of pictures at once: ONNX Runtime, OpenCV's\n"
    "               DNN module. Input: float32 [batch,3,S,S], RGB, normalised, or with\n"
    "               --preprocess 0..255 as cv2.dnn.blobFromImage (picture, swapRB=True) gives\n"
    "  detectron2   a ResNet's trunk for MODEL.WEIGHTS of Detectron2 (R-50-C4, FPN), with the\n"
    "               settings that go with it: RGB, PIXEL_MEAN, PIXEL_STD, STRIDE_IN_1X1";

int
main (int argc, char **argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GError) error = NULL;
  g_autofree gchar *text = NULL;
  PirlExport options;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_set_summary (context, summary);
  if (!g_option_context_parse (context, &argc, &argv, &error) || !models || models[1]
      || !output) {
    g_printerr ("%s\n", error ? error->message
        : "usage: export MODEL.safetensors [--format FORMAT] [--layer NAME] [--preprocess] "
        "-o FILE");
    return 2;
  }
  options = (PirlExport) { format ? format : "onnx", layer, preprocess };
  text = pirl_export (models[0], &options, output, &error);
  if (!text) {
    g_printerr ("export: %s\n", error->message);
    return 1;
  }
  g_print ("%s: %s", output, text);
  return 0;
}
