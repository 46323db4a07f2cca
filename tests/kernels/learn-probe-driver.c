/* gst-pirl: runs one probe on the sets of a safetensors file and prints its figures as JSON, for
 * learn-probe-sklearn.py.
 *
 *   learn-probe-driver FILE PROBE [KEY=VALUE ...]
 *
 * FILE: train.features and test.features F32 [n, positions, channels]; train.labels and test.labels
 * I32 [n], or train.targets and test.targets I8 [n, classes].
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/safetensors.h"

static const PirlTensor *
tensor_of (const PirlSafetensors *file, const gchar *split, const gchar *what)
{
  g_autofree gchar *name = g_strdup_printf ("%s.%s", split, what);

  return pirl_safetensors_lookup (file, name);
}

static void
read_set (const PirlSafetensors *file, const gchar *split, PirlProbeSet *set, guint *classes)
{
  const PirlTensor *features = tensor_of (file, split, "features");
  const PirlTensor *labels = tensor_of (file, split, "labels");
  const PirlTensor *targets = tensor_of (file, split, "targets");

  g_assert_nonnull (features);
  g_assert_true ((gsize) features->data % sizeof (gfloat) == 0);
  set->features = features->data;
  set->n = (gsize) features->shape.dim[0];
  set->positions = (guint) features->shape.dim[1];
  set->dim = (guint) (features->shape.dim[1] * features->shape.dim[2]);
  set->labels = labels ? labels->data : NULL;
  set->targets = targets ? targets->data : NULL;
  if (targets)
    *classes = (guint) targets->shape.dim[1];
  for (gsize i = 0; labels && i < set->n; i++)
    *classes = MAX (*classes, (guint) (set->labels[i] + 1));
}

static void
set_option (PirlProbeConfig *config, const gchar *text)
{
  const gchar *equals = strchr (text, '=');
  const gdouble value = g_ascii_strtod (equals + 1, NULL);
  const struct {
    const gchar *name;
    guint *number;
    gdouble *real;
  } options[] = {
    {"epochs", &config->epochs, NULL}, {"batch", &config->batch, NULL},
    {"k", &config->k, NULL}, {"sigma", NULL, &config->sigma}, {"c", NULL, &config->c},
    {"n-threads", &config->n_threads, NULL}, {"bootstrap", &config->bootstrap, NULL},
    {"learning-rate", NULL, &config->learning_rate},
  };

  if (g_str_has_prefix (text, "solver=")) {
    config->solver = strcmp (equals + 1, "exact") == 0 ? PIRL_PROBE_EXACT : PIRL_PROBE_SGD;
    return;
  }
  if (g_str_has_prefix (text, "device=")) {
    config->device = equals + 1;
    return;
  }
  if (g_str_has_prefix (text, "seed=")) {
    config->seed = (guint64) value;
    return;
  }
  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    if (strncmp (text, options[i].name, (gsize) (equals - text)) == 0) {
      if (options[i].number)
        *options[i].number = (guint) value;
      else
        *options[i].real = value;
      return;
    }
  g_error ("no option \"%s\"", text);
}

static void
print_estimate (const gchar *name, const PirlEstimate *estimate)
{
  if (!isnan (estimate->value))
    printf ("\"%s\": %.9g, \"%s_low\": %.9g, \"%s_high\": %.9g, ", name, estimate->value, name,
        estimate->low, name, estimate->high);
}

static void
print_classes (const gchar *name, const gdouble *values, guint n)
{
  if (!values)
    return;
  printf ("\"%s\": [", name);
  for (guint i = 0; i < n; i++)
    printf (isnan (values[i]) ? "%snull" : "%s%.9g", i ? ", " : "", values[i]);
  printf ("], ");
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (PirlSafetensors) file = NULL;
  PirlProbeSet train = { 0 }, test = { 0 };
  PirlProbeConfig config;
  PirlProbeResult result;
  PirlProbe probe;

  g_assert_cmpint (argc, >=, 3);
  pirl_probe_config_defaults (&config);
  config.device = "cpu";
  file = pirl_safetensors_open (argv[1], &error);
  g_assert_no_error (error);
  read_set (file, "train", &train, &config.classes);
  read_set (file, "test", &test, &config.classes);
  for (gint i = 3; i < argc; i++)
    set_option (&config, argv[i]);
  if (!pirl_probe_from_name (argv[2], &probe, &error)
      || !pirl_probe_run (probe, &config, &train, &test, &result, &error)) {
    fprintf (stderr, "%s\n", error->message);
    return 1;
  }
  printf ("{");
  print_estimate ("top1", &result.top1);
  print_estimate ("top5", &result.top5);
  print_estimate ("balanced", &result.balanced);
  print_estimate ("map", &result.map);
  print_classes ("accuracy", result.accuracy, result.classes);
  print_classes ("precision", result.precision, result.classes);
  print_classes ("cost", result.cost, result.classes);
  if (!isnan (result.loss))
    printf ("\"loss\": %.9g, ", result.loss);
  printf ("\"n_train\": %" G_GSIZE_FORMAT ", \"n_test\": %" G_GSIZE_FORMAT ", \"seconds\": %.3f}\n",
      result.n_train, result.n_test, result.seconds);
  pirl_probe_result_clear (&result);
  return 0;
}
