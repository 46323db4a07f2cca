/* gst-pirl: writes a trained network down for other tools: the table of formats, and torchvision's.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/export-private.h"

#include <gio/gio.h>
#include <math.h>
#include <string.h>

#include "net/names.h"

#define PUBLISHED_BASE_WIDTH 64

/* --- what the writers share --- */

gfloat *
pirl_export_values (const PirlExportSource *source, const PirlParamSpec *spec, GError **error)
{
  const PirlTensor *tensor = pirl_tensor_find (source->file, spec->name);
  const gsize n = pirl_shape_count (&spec->shape);
  g_autofree gfloat *values = g_new (gfloat, n);

  pirl_to_float (tensor->dtype, tensor->data, values, n);
  for (gsize i = 0; i < n; i++)
    if (!isfinite (values[i])) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
          "model \"%s\": value %" G_GSIZE_FORMAT " of tensor %s is not finite; the weights are "
          "damaged", pirl_safetensors_name (source->file), i, tensor->name);
      return NULL;
    }
  return g_steal_pointer (&values);
}

gboolean
pirl_export_write (const gchar *path, gconstpointer data, gsize size, GError **error)
{
  g_autoptr (GError) failure = NULL;

  if (g_file_set_contents_full (path, data, (gssize) size,
          G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0666, &failure))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "cannot write \"%s\": %s", path,
      failure->message);
  return FALSE;
}

gchar *
pirl_export_triple (const gfloat triple[3], gdouble scale)
{
  gchar text[3][G_ASCII_DTOSTR_BUF_SIZE];

  for (guint c = 0; c < 3; c++)
    g_ascii_formatd (text[c], sizeof text[c], "%.6g", triple[c] * scale);
  return g_strdup_printf ("%s,%s,%s", text[0], text[1], text[2]);
}

/* --- torchvision --- */

static const gchar *const kept_metadata[] = {
  "architecture", "width", "input_size", "resize", "mean", "std", "class_names", NULL
};

static gboolean
add_tensors (const PirlExportSource *source, PirlSafetensorsWriter *writer, GPtrArray *hosts,
    GError **error)
{
  for (guint i = 0; i < source->graph->params->len; i++) {
    const PirlParamSpec *spec = g_ptr_array_index (source->graph->params, i);
    gfloat *values = pirl_export_values (source, spec, error);

    if (!values)
      return FALSE;
    g_ptr_array_add (hosts, values);
    pirl_safetensors_writer_add (writer, spec->name, PIRL_DTYPE_F32, &spec->shape, values);
  }
  return TRUE;
}

static gchar *
torchvision_text (const PirlExportSource *source)
{
  const PirlTrunk *trunk = &source->info.trunk;
  const gboolean mobilenet = trunk->arch == PIRL_ARCH_MOBILENETV2;
  g_autofree gchar *mean = pirl_export_triple (source->info.mean, 1);
  g_autofree gchar *std = pirl_export_triple (source->info.std, 1);
  g_autoptr (GString) arguments = g_string_new (NULL);

  if (mobilenet && trunk->width != 1)
    g_string_append_printf (arguments, "width_mult=%g, ", trunk->width);
  if (source->info.classes)
    g_string_append_printf (arguments, "num_classes=%d", source->info.classes);
  else if (arguments->len)
    g_string_truncate (arguments, arguments->len - 2);
  return g_strdup_printf ("%s%u tensors, float32\n"
      "net = torchvision.models.%s(%s)\n"
      "net.load_state_dict(safetensors.torch.load_file(FILE)%s)%s\n"
      "input: RGB in 0..1, mean %s, std %s, %d px\n",
      !mobilenet && trunk->base_width != PUBLISHED_BASE_WIDTH
      ? "note: torchvision's own ResNets have base width 64; this one is another\n" : "",
      source->graph->params->len, mobilenet ? "mobilenet_v2" : pirl_trunk_name (trunk),
      arguments->str, source->info.classes ? "" : ", strict=False",
      source->info.classes ? "" : "  # no classifier", mean, std,
      source->info.input_size);
}

static gchar *
export_torchvision (const PirlExportSource *source, const gchar *path, GError **error)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) hosts = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; kept_metadata[i]; i++) {
    const gchar *value = pirl_safetensors_metadata (source->file, kept_metadata[i]);

    if (value)
      pirl_safetensors_writer_metadata (writer, kept_metadata[i], value);
  }
  if (!add_tensors (source, writer, hosts, error)
      || !pirl_safetensors_writer_write (writer, path, error))
    return NULL;
  return torchvision_text (source);
}

/* --- the table --- */

typedef struct {
  gboolean layers;              /* takes a layer and preprocessing; else trunk and classifier */
  gchar *(*write) (const PirlExportSource *source, const gchar *path, GError **error);
} Format;

static const gchar *const format_names[] = { "torchvision", "onnx", "detectron2", NULL };
static const Format formats[] = {
  { FALSE, export_torchvision },
  { TRUE, pirl_export_onnx },
  { FALSE, pirl_export_detectron2 },
};

G_STATIC_ASSERT (G_N_ELEMENTS (formats) + 1 == G_N_ELEMENTS (format_names));

const gchar *const *
pirl_export_formats (void)
{
  return format_names;
}

static const Format *
find_format (const PirlExport *options, GError **error)
{
  g_autofree gchar *known = g_strjoinv (", ", (gchar **) format_names);

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    if (g_strcmp0 (options->format, format_names[i]) != 0)
      continue;
    if (formats[i].layers || (!options->layer && !options->preprocess))
      return &formats[i];
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "format %s holds the whole network: a layer and preprocessing are for onnx",
        options->format);
    return NULL;
  }
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "there is no format \"%s\"; there are %s",
      options->format ? options->format : "(none)", known);
  return NULL;
}

/* Builds what is written, and checks that the file has all of it. */
static gboolean
source_build (PirlExportSource *source, const PirlExport *options, gboolean layers,
    GError **error)
{
  static const gchar *const required[] = { "", NULL };
  const PirlModelInfo *info = &source->info;
  const PirlValue input = pirl_graph_input (source->graph, 1, info->input_size, info->mean,
      info->std);

  source->preprocess = options->preprocess;
  source->layer = !layers ? info->classes ? "logits" : "features"
      : options->layer ? options->layer : pirl_model_default_layer (info);
  source->output = pirl_model_build (source->graph, info, input, source->layer, error);
  return source->output != PIRL_NO_VALUE
      && pirl_specs_check (source->graph->params, source->file, required, NULL, error);
}

gchar *
pirl_export (const gchar *model_file, const PirlExport *options, const gchar *path,
    GError **error)
{
  const Format *format = find_format (options, error);
  g_autoptr (PirlSafetensors) file = format ? pirl_safetensors_open (model_file, error) : NULL;
  g_autoptr (PirlGraph) graph = pirl_graph_new ();
  PirlExportSource source = { .file = file, .graph = graph };

  if (!file || !pirl_model_info_read (&source.info, file, error)
      || !source_build (&source, options, format->layers, error))
    return NULL;
  return format->write (&source, path, error);
}
