/* gst-pirl: the settings of pirlprobesink (see settings.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "settings.h"

#include <string.h>

static const GEnumValue solver_values[] = {
  {PIRL_PROBE_SGD, "Epochs of gradient descent, as the protocols have it", "sgd"},
  {PIRL_PROBE_EXACT, "The optimum of the penalised loss", "exact"}, {0}
};
static const GstPirlEnum solver_enum = { "GstPirlProbeSolver", solver_values };

#define AT(field) G_STRUCT_OFFSET (GstPirlProbeSettings, field)

static const GstPirlProperty rows[] = {
  /**
   * GstPirlProbeSink:probe:
   *
   * Which probes to train, one after the other: a comma list of `linear`, `knn` and `svm`.
   */
  {"probe", "Probe", "What to train on the features: linear, knn, svm, or several with commas",
      GST_PIRL_STRING, AT (probe)},
  /**
   * GstPirlProbeSink:cache-file:
   *
   * Where to keep the features, as safetensors. When the file is there and is of the same data set,
   * model, layers and labels, the stream is ended after its first sample, and the probes train on
   * what the file has; of anything else, it is replaced, which a warning message says. What scales or
   * crops pictures on their way to `pirlembed` is not recognised: it takes another file. Without it,
   * features go to a nameless file in the folder for temporary files.
   */
  {"cache-file", "Cache file", "File that keeps the features, so that another probe needs no other "
      "pass over the pictures", GST_PIRL_STRING, AT (cache_file)},
  /**
   * GstPirlProbeSink:report-file:
   *
   * Where to write all figures as JSON, at once and whole, when the last probe is done.
   */
  {"report-file", "Report file", "File that all figures are written to, as JSON",
      GST_PIRL_STRING, AT (report_file)},
  /**
   * GstPirlProbeSink:labels-file:
   *
   * For pictures that show several things: a text list of `name[TAB]label,label,...`, names as in
   * the meta `pirl-sample`, labels all words or all numbers; `?label` is hard to say, and does not
   * count in the test of its class. Further fields, empty lines and lines that begin with # are
   * skipped, so that it can be the list that `pirldatasetsrc location=` reads, too. Labels of the
   * stream are not looked at then.
   */
  {"labels-file", "Labels file", "Text list of name[TAB]label,label,... for pictures with several "
      "labels (?label: hard to say)", GST_PIRL_STRING, AT (labels_file)},
  /**
   * GstPirlProbeSink:device:
   *
   * What trains the linear probe: cpu, cuda, cuda:N, or auto. The others use the CPU.
   */
  {"device", "Device", "What trains the linear probe: cpu, cuda or cuda:N, or auto (cuda where "
      "module, driver and card are there, else cpu)", GST_PIRL_STRING, AT (device)},
  /**
   * GstPirlProbeSink:n-threads:
   *
   * Threads that compute; 0 = as many as the machine has cores.
   */
  {"n-threads", "Threads", "Threads that compute (0 = as many as the machine has cores)",
      GST_PIRL_UINT, AT (n_threads), 0, 1024},
  /**
   * GstPirlProbeSink:seed:
   *
   * Of first weights, orders, draws and subsets. The same features and the same seed give the same
   * figures.
   */
  {"seed", "Seed", "Seed of weights, orders, draws and subsets", GST_PIRL_UINT64, AT (seed)},
  /**
   * GstPirlProbeSink:train-fraction:
   *
   * Part of each class's training samples to use, as in semi-supervised tests (0.01, 0.1); at least
   * one of each class. A larger part has all samples of a smaller one. Only with one label a
   * sample.
   */
  {"train-fraction", "Training fraction", "Part of each class's training samples to use (0.01: one "
      "in a hundred)", GST_PIRL_DOUBLE, AT (train_fraction), 1e-9, 1},
  /**
   * GstPirlProbeSink:solver:
   *
   * How the linear probe is trained: `sgd` is the published protocol; `exact` the optimum of
   * logistic regression with a quadratic penalty (scikit-learn's, behind its StandardScaler), for
   * small sets. The protocol stops early, which helps like a penalty: on some thousand samples it
   * is closer to C = 0.01 than to C = 1.
   */
  {"solver", "Solver", "How the linear probe is trained", GST_PIRL_ENUM, AT (solver),
      .values = &solver_enum},
  /**
   * GstPirlProbeSink:c:
   *
   * Inverse strength of the penalty, with solver=exact.
   */
  {"c", "C", "Inverse strength of the penalty of solver=exact", GST_PIRL_DOUBLE, AT (c),
      1e-9, 1e9},
  /**
   * GstPirlProbeSink:epochs:
   *
   * Of solver=sgd. The learning rate falls to a tenth at 2/7, 4/7 and 6/7 of them: 8, 16 and 24 of
   * the 28 for ImageNet, 4, 8 and 12 of 14 for Places205, 24, 48 and 72 of 84 for iNaturalist.
   */
  {"epochs", "Epochs", "Epochs of solver=sgd; the rate falls at 2/7, 4/7 and 6/7 of them",
      GST_PIRL_UINT, AT (epochs), 1, 100000},
  /**
   * GstPirlProbeSink:batch-size:
   *
   * Of solver=sgd, in samples.
   */
  {"batch-size", "Batch size", "Samples of a step of solver=sgd", GST_PIRL_UINT, AT (batch_size),
      1, 65536},
  /**
   * GstPirlProbeSink:learning-rate:
   *
   * Of solver=sgd, in the first epochs.
   */
  {"learning-rate", "Learning rate", "Learning rate of solver=sgd in the first epochs",
      GST_PIRL_DOUBLE, AT (learning_rate), 1e-9, 1000},
  /**
   * GstPirlProbeSink:momentum:
   *
   * Of solver=sgd.
   */
  {"momentum", "Momentum", "Momentum of solver=sgd", GST_PIRL_DOUBLE, AT (momentum), 0, .9999},
  /**
   * GstPirlProbeSink:weight-decay:
   *
   * Of solver=sgd, on the weights; not on biases and batch norm.
   */
  {"weight-decay", "Weight decay", "Weight decay of solver=sgd", GST_PIRL_DOUBLE,
      AT (weight_decay), 0, 1},
  /**
   * GstPirlProbeSink:k:
   *
   * Neighbours that vote in the knn probe.
   */
  {"k", "K", "Neighbours that vote in the knn probe", GST_PIRL_UINT, AT (k), 1, 100000},
  /**
   * GstPirlProbeSink:sigma:
   *
   * Temperature of the knn probe: a neighbour's vote weighs exp (cosine / sigma).
   */
  {"sigma", "Sigma", "Temperature of the knn probe: votes weigh exp (cosine / sigma)",
      GST_PIRL_DOUBLE, AT (sigma), 1e-6, 1e6},
  /**
   * GstPirlProbeSink:bootstrap:
   *
   * Draws of as many test samples, with replacement, that the 95 % intervals come from; 0 = no
   * intervals.
   */
  {"bootstrap", "Bootstrap", "Draws of the test samples that the 95 % intervals come from (0 = no "
      "intervals)", GST_PIRL_UINT, AT (bootstrap), 0, 1000000},
};

static void
settings_init (gpointer data)
{
  GstPirlProbeSettings *settings = data;
  PirlProbeConfig config;

  pirl_probe_config_defaults (&config);
  *settings = (GstPirlProbeSettings) {
    .probe = g_strdup ("linear"), .device = g_strdup (config.device), .seed = config.seed,
    .solver = config.solver, .epochs = config.epochs, .batch_size = config.batch, .k = config.k,
    .bootstrap = config.bootstrap, .learning_rate = config.learning_rate,
    .momentum = config.momentum, .weight_decay = config.weight_decay, .c = config.c,
    .sigma = config.sigma, .train_fraction = 1,
  };
}

const GstPirlProperties gst_pirl_probe_properties = {
  .rows = rows,.n = G_N_ELEMENTS (rows),.size = sizeof (GstPirlProbeSettings),
  .init = settings_init
};

/* ---- meaning -------------------------------------------------------------------------------- */

static gboolean
check_folder (const gchar * property, const gchar * path, GError ** error)
{
  g_autofree gchar *folder = path && *path ? g_path_get_dirname (path) : NULL;

  if (folder == NULL || g_file_test (folder, G_FILE_TEST_IS_DIR))
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "%s: there is no folder \"%s\" to write \"%s\" to",
      property, folder, path);
  return FALSE;
}

guint
gst_pirl_probe_settings_check (const GstPirlProbeSettings * settings,
    PirlProbe probes[PIRL_N_PROBES], GError ** error)
{
  g_auto (GStrv) names = g_strsplit (settings->probe ? settings->probe : "", ",", -1);
  gboolean have[PIRL_N_PROBES] = { FALSE };
  guint n = 0;

  for (guint i = 0; i < MAX (g_strv_length (names), 1); i++) {
    PirlProbe probe;
    const gchar *reason;

    if (!pirl_probe_from_name (names[i] ? g_strstrip (names[i]) : "", &probe, error))
      return 0;
    if (!pirl_probe_available (probe, &reason)) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "probe=%s: %s",
          pirl_probe_name (probe), reason);
      return 0;
    }
    if (!have[probe])
      probes[n++] = probe;
    have[probe] = TRUE;
  }
  return check_folder ("cache-file", settings->cache_file, error)
      && check_folder ("report-file", settings->report_file, error) ? n : 0;
}

void
gst_pirl_probe_settings_resolve (const GstPirlProbeSettings * settings, guint classes,
    PirlProbeConfig * config)
{
  guint n = 0;

  pirl_probe_config_defaults (config);
  config->classes = classes;
  config->seed = settings->seed;
  config->solver = settings->solver;
  config->epochs = settings->epochs;
  config->batch = settings->batch_size;
  config->learning_rate = settings->learning_rate;
  config->momentum = settings->momentum;
  config->weight_decay = settings->weight_decay;
  config->c = settings->c;
  config->k = settings->k;
  config->sigma = settings->sigma;
  config->bootstrap = settings->bootstrap;
  config->device = settings->device;
  config->n_threads = settings->n_threads;
  memset (config->milestones, 0, sizeof config->milestones);
  for (guint seventh = 2; seventh <= 6; seventh += 2) {
    const guint epoch = (guint) ((guint64) settings->epochs * seventh / 7);

    if (epoch > 0)
      config->milestones[n++] = epoch;
  }
}
