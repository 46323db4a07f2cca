/* gst-pirl: what a probe tells the world (see report.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "report.h"

#include <json-glib/json-glib.h>
#include <math.h>

GST_DEBUG_CATEGORY_EXTERN (gst_pirl_probe_sink_debug);
#define GST_CAT_DEFAULT gst_pirl_probe_sink_debug

#define INTERVAL (G_USEC_PER_SEC / 2)

struct _GstPirlProbeReport {
  GstElement *element;
  GstPirlProgress progress;
  const gchar *layer;
  PirlProbe probe;
  guint step, steps;
  gint64 posted_at;
  JsonArray *results;
};

GstPirlProbeReport *
gst_pirl_probe_report_new (GstElement * element)
{
  GstPirlProbeReport *report = g_new0 (GstPirlProbeReport, 1);

  report->element = element;
  report->progress.element = element;
  report->progress.code = "probe";
  report->results = json_array_new ();
  return report;
}

void
gst_pirl_probe_report_free (GstPirlProbeReport * report)
{
  if (report == NULL)
    return;
  json_array_unref (report->results);
  g_free (report);
}

/* ---- progress ------------------------------------------------------------------------------- */

void
gst_pirl_probe_report_begin (GstPirlProbeReport * report, const PirlProbeLayer * layer,
    PirlProbe probe, guint step, guint steps)
{
  report->layer = layer->name;
  report->probe = probe;
  report->step = step;
  report->steps = steps;
  report->posted_at = 0;
  gst_pirl_probe_report_progress (report, 0);
}

void
gst_pirl_probe_report_progress (GstPirlProbeReport * report, gdouble done)
{
  const gint64 now = g_get_monotonic_time ();
  g_autofree gchar *text = NULL;

  if (report->posted_at != 0 && now - report->posted_at < INTERVAL)
    return;
  report->posted_at = now;
  text = g_strdup_printf ("probe %u/%u: %s of %s, %.0f %%", report->step + 1, report->steps,
      pirl_probe_name (report->probe), report->layer, 100 * CLAMP (done, 0, 1));
  gst_pirl_progress_continue (&report->progress, text);
}

void
gst_pirl_probe_report_end (GstPirlProbeReport * report, GstProgressType type, const gchar * text)
{
  gst_pirl_progress_end (&report->progress, type, text);
}

/* ---- figures -------------------------------------------------------------------------------- */

typedef struct {
  const gchar *name;
  gsize offset;                 /* of a PirlEstimate */
} Figure;

static const Figure figures[] = {
  {"top1", G_STRUCT_OFFSET (PirlProbeResult, top1)},
  {"top5", G_STRUCT_OFFSET (PirlProbeResult, top5)},
  {"balanced", G_STRUCT_OFFSET (PirlProbeResult, balanced)},
  {"map", G_STRUCT_OFFSET (PirlProbeResult, map)},
};

static void
set_number (GstStructure * s, const gchar * name, const gchar * end, gdouble value)
{
  g_autofree gchar *field = g_strconcat (name, end, NULL);

  if (!isnan (value))
    gst_structure_set (s, field, G_TYPE_DOUBLE, value, NULL);
}

static void
post_result (GstPirlProbeReport * report, const PirlProbeResult * result)
{
  GstStructure *s = gst_structure_new ("pirl-probe", "layer", G_TYPE_STRING, report->layer,
      "probe", G_TYPE_STRING, pirl_probe_name (report->probe),
      "n-train", G_TYPE_UINT64, (guint64) result->n_train,
      "n-test", G_TYPE_UINT64, (guint64) result->n_test,
      "seconds", G_TYPE_DOUBLE, result->seconds, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (figures); i++) {
    const PirlEstimate *e = &G_STRUCT_MEMBER (PirlEstimate, result, figures[i].offset);

    set_number (s, figures[i].name, "", e->value);
    set_number (s, figures[i].name, "-low", e->low);
    set_number (s, figures[i].name, "-high", e->high);
  }
  GST_INFO_OBJECT (report->element, "%" GST_PTR_FORMAT, s);
  gst_element_post_message (report->element,
      gst_message_new_element (GST_OBJECT (report->element), s));
}

static void
set_json_number (JsonObject * object, const gchar * name, gdouble value)
{
  if (isnan (value))
    json_object_set_null_member (object, name);
  else
    json_object_set_double_member (object, name, value);
}

static void
set_json_classes (JsonObject * object, const gchar * name, const gdouble * values, guint n)
{
  JsonArray *array;

  if (values == NULL)
    return;
  array = json_array_sized_new (n);
  for (guint i = 0; i < n; i++) {
    if (isnan (values[i]))
      json_array_add_null_element (array);
    else
      json_array_add_double_element (array, values[i]);
  }
  json_object_set_array_member (object, name, array);
}

static JsonObject *
result_to_json (const GstPirlProbeReport * report, const PirlProbeResult * result)
{
  JsonObject *object = json_object_new ();

  json_object_set_string_member (object, "layer", report->layer);
  json_object_set_string_member (object, "probe", pirl_probe_name (report->probe));
  json_object_set_int_member (object, "n_train", (gint64) result->n_train);
  json_object_set_int_member (object, "n_test", (gint64) result->n_test);
  for (guint i = 0; i < G_N_ELEMENTS (figures); i++) {
    const PirlEstimate *e = &G_STRUCT_MEMBER (PirlEstimate, result, figures[i].offset);
    JsonObject *estimate;

    if (isnan (e->value))
      continue;
    estimate = json_object_new ();
    set_json_number (estimate, "value", e->value);
    set_json_number (estimate, "low", e->low);
    set_json_number (estimate, "high", e->high);
    json_object_set_object_member (object, figures[i].name, estimate);
  }
  set_json_classes (object, "class_accuracy", result->accuracy, result->classes);
  set_json_classes (object, "class_precision", result->precision, result->classes);
  set_json_classes (object, "class_cost", result->cost, result->classes);
  if (!isnan (result->loss))
    json_object_set_double_member (object, "loss", result->loss);
  json_object_set_double_member (object, "seconds", result->seconds);
  return object;
}

void
gst_pirl_probe_report_result (GstPirlProbeReport * report, const PirlProbeResult * result)
{
  post_result (report, result);
  json_array_add_object_element (report->results, result_to_json (report, result));
}

/* ---- the file ------------------------------------------------------------------------------- */

gboolean
gst_pirl_probe_report_write (GstPirlProbeReport * report, const gchar * path,
    const PirlProbeStoreInfo * info, const gchar * hash, GError ** error)
{
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonNode) root = json_node_new (JSON_NODE_OBJECT);
  g_auto (GStrv) names = g_strsplit (info->class_names ? info->class_names : "", "\n", -1);
  g_autofree gchar *text = NULL;
  JsonObject *object = json_object_new ();
  JsonArray *classes = json_array_new ();
  gsize size;

  for (guint i = 0; names[i]; i++)
    json_array_add_string_element (classes, names[i]);
  json_object_set_string_member (object, "dataset", hash ? hash : "");
  json_object_set_string_member (object, "model", info->model ? info->model : "");
  json_object_set_int_member (object, "classes", info->classes);
  json_object_set_array_member (object, "class_names", classes);
  json_object_set_array_member (object, "probes", json_array_ref (report->results));
  json_node_take_object (root, object);
  json_generator_set_root (generator, root);
  json_generator_set_pretty (generator, TRUE);
  text = json_generator_to_data (generator, &size);
  if (g_file_set_contents (path, text, (gssize) size, error))
    return TRUE;
  g_prefix_error (error, "report-file: ");
  return FALSE;
}
