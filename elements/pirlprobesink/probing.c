/* gst-pirl: one collection of features and the probes of it (see probing.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "probing.h"

#include "labels.h"
#include "report.h"

#include <gio/gio.h>
#include <string.h>

GST_DEBUG_CATEGORY_EXTERN (gst_pirl_probe_sink_debug);
#define GST_CAT_DEFAULT gst_pirl_probe_sink_debug

typedef enum {
  PHASE_COLLECTING,
  PHASE_PROBING,
  PHASE_DONE,
  PHASE_FAILED,
} Phase;

static const gchar *const phase_names[] = { "collecting", "probing", "done", "failed" };

typedef struct {
  guint64 received, train, test, unlabelled, repeated, stale;
} Counters;

struct _GstPirlProbing {
  GstElement *element;          /* not owned: it outlives the probing */
  GstPirlProbeSettings settings;
  PirlProbe probes[PIRL_N_PROBES];
  guint n_probes;
  GstPirlLabelList *list;       /* NULL: the stream's labels */

  /* The streaming thread's; from PHASE_PROBING on the probing thread's. */
  GstPirlFeatureCaps caps;
  GstPirlFeatureLayers layers;
  PirlProbeStore *store;        /* NULL before the first sample */
  gboolean reused;              /* it was there already; written with the lock */
  gint most_label;
  gchar *unlisted;              /* name of the first sample that is not in the list */
  gboolean have_dataset;
  GstPirlDataset dataset;

  GThread *thread;
  gint cancel;                  /* atomic: ends the probe */
  GMutex lock;
  GCond cond;
  /* With the lock. */
  Phase phase;
  gboolean unlocked, paused;
  Counters counters;
};

/* ---- recognising a file ---------------------------------------------------------------------- */

/* What a file of features must have come from, as text; NULL: the data set has no name. */
static gchar *
make_key (const GstPirlProbing * self)
{
  g_autoptr (GString) key = g_string_new (NULL);

  if (!self->have_dataset || self->dataset.hash == NULL || *self->dataset.hash == '\0')
    return NULL;
  g_string_append_printf (key, "data set %s\nmodel %s\nlabels %s\n", self->dataset.hash,
      self->layers.model, self->list ? gst_pirl_label_list_hash (self->list) : "of the stream");
  for (guint i = 0; i < self->layers.count; i++)
    g_string_append_printf (key, "layer %s %u %u\n", self->layers.layers[i].name,
        self->layers.layers[i].dim, self->layers.layers[i].positions);
  return g_string_free (g_steal_pointer (&key), FALSE);
}

static gboolean
has_file (const gchar * path)
{
  return path != NULL && *path != '\0';
}

/* The file's features where they are those of this stream. A file of something else will be
 * replaced, and one sentence says so. */
static PirlProbeStore *
reuse_file (GstPirlProbing * self)
{
  g_autofree gchar *key = make_key (self);
  g_autoptr (PirlProbeStore) store = NULL;
  g_autoptr (GError) error = NULL;
  GError *warning;

  if (!has_file (self->settings.cache_file)
      || !g_file_test (self->settings.cache_file, G_FILE_TEST_EXISTS))
    return NULL;
  store = pirl_probe_store_open (self->settings.cache_file, &error);
  if (store != NULL && key != NULL
      && g_strcmp0 (pirl_probe_store_info (store)->key, key) == 0)
    return g_steal_pointer (&store);
  warning = g_error_new (PIRL_ERROR, PIRL_ERROR_MISMATCH,
      "cache-file \"%s\" will be replaced: %s", self->settings.cache_file,
      error ? error->message : key ? "it is of other pictures, labels, layers or another model"
      : "the stream does not say which data set it is of (the event pirl-dataset)");
  gst_pirl_post_warning (self->element, &warning);
  return NULL;
}

static gboolean
begin (GstPirlProbing * self, GstBuffer * buffer, GError ** error)
{
  if (self->list == NULL && self->have_dataset && self->dataset.n_classes == 0) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, "the samples have no labels; set "
        "labels=folder on pirldatasetsrc, give it a list with labels, or set labels-file");
    return FALSE;
  }
  if (!gst_pirl_feature_layers_find (&self->layers, &self->caps, buffer, error))
    return FALSE;
  self->most_label = -1;
  self->store = reuse_file (self);
  g_mutex_lock (&self->lock);
  self->reused = self->store != NULL;
  g_mutex_unlock (&self->lock);
  if (!self->reused)
    self->store = pirl_probe_store_new (has_file (self->settings.cache_file)
        ? self->settings.cache_file : NULL, self->layers.layers, self->layers.count,
        self->list ? gst_pirl_label_list_classes (self->list) : 0, error);
  return self->store != NULL;
}

/* ---- samples --------------------------------------------------------------------------------- */

static gboolean
split_of (const GstPirlSample * sample, PirlSplit * split, GError ** error)
{
  if (strcmp (sample->split, "train") == 0)
    *split = PIRL_SPLIT_TRAIN;
  else if (strcmp (sample->split, "test") == 0)
    *split = PIRL_SPLIT_TEST;
  else {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "sample \"%s\" belongs neither to training "
        "nor to the test; pirldatasetsrc tells them apart by folders called train and test (or "
        "val), or by the third field of a list", sample->name);
    return FALSE;
  }
  return TRUE;
}

/* With the lock. */
static void
count_sample (GstPirlProbing * self, const GstPirlSample * sample, PirlSplit split,
    gboolean labelled)
{
  if (!labelled) {
    self->counters.unlabelled++;
    if (self->unlisted == NULL)
      self->unlisted = g_strdup (sample->name);
  } else if (split == PIRL_SPLIT_TRAIN) {
    self->counters.train++;
  } else {
    self->counters.test++;
  }
}

static gboolean
add_sample (GstPirlProbing * self, const GstPirlSample * sample, GstBuffer * buffer,
    GError ** error)
{
  const gint8 *targets = self->list ? gst_pirl_label_list_lookup (self->list, sample->name) : NULL;
  const gboolean labelled = self->list ? targets != NULL : sample->label >= 0;
  GstPirlFeatureRows rows;
  gboolean stale, ok;
  PirlSplit split;

  if (!split_of (sample, &split, error)
      || !gst_pirl_feature_rows_map (&rows, &self->layers, &self->caps, buffer, &stale, error))
    return FALSE;
  ok = stale || !labelled || pirl_probe_store_add (self->store, split, rows.rows, sample->label,
      targets, error);
  gst_pirl_feature_rows_unmap (&rows);
  self->most_label = MAX (self->most_label, sample->label);
  g_mutex_lock (&self->lock);
  if (stale)
    self->counters.stale++;
  else
    count_sample (self, sample, split, labelled);
  g_mutex_unlock (&self->lock);
  return ok;
}

/* Whether the sample is of the first epoch: later ones bring the same features again. */
static gboolean
is_new (GstPirlProbing * self, const GstPirlSample * sample)
{
  const gboolean fresh = sample->epoch == 0;

  g_mutex_lock (&self->lock);
  self->counters.received++;
  self->counters.repeated += !fresh;
  g_mutex_unlock (&self->lock);
  return fresh;
}

GstFlowReturn
gst_pirl_probing_push (GstPirlProbing * self, GstBuffer * buffer, GError ** error)
{
  GstPirlSample sample;

  if (!gst_pirl_sample_get (buffer, &sample)) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, "a frame does not say which sample "
        "it is (the meta pirl-sample); a probe needs labelled samples from pirldatasetsrc");
    return GST_FLOW_ERROR;
  }
  if (self->store == NULL && !begin (self, buffer, error))
    return GST_FLOW_ERROR;
  if (self->reused)
    return GST_FLOW_EOS;
  if (!is_new (self, &sample))
    return GST_FLOW_OK;
  return add_sample (self, &sample, buffer, error) ? GST_FLOW_OK : GST_FLOW_ERROR;
}

gboolean
gst_pirl_probing_set_caps (GstPirlProbing * self, const GstPirlFeatureCaps * caps, GError ** error)
{
  gboolean same = caps->count == self->caps.count;

  for (guint i = 0; same && i < caps->count; i++)
    same = caps->tensors[i].channels == self->caps.tensors[i].channels
        && caps->tensors[i].positions == self->caps.tensors[i].positions;
  if (self->store != NULL && !same) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_MISMATCH, "the features changed their sizes "
        "in mid-stream; a probe is of one model and its layers");
    return FALSE;
  }
  self->caps = *caps;
  return TRUE;
}

void
gst_pirl_probing_set_dataset (GstPirlProbing * self, const GstPirlDataset * dataset)
{
  gst_pirl_dataset_clear (&self->dataset);
  self->dataset = *dataset;
  self->dataset.hash = g_strdup (dataset->hash);
  self->dataset.class_names = g_strdupv (dataset->class_names);
  self->have_dataset = TRUE;
}

/* ---- the thread: the end of the features ----------------------------------------------------- */

/* What to say of samples that came and were of no use. */
static gboolean
check_samples (GstPirlProbing * self, GError ** error)
{
  Counters n;

  g_mutex_lock (&self->lock);
  n = self->counters;
  g_mutex_unlock (&self->lock);
  if (self->store == NULL)
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "the stream ended before its first sample: there is nothing to probe");
  else if (self->reused || (n.train > 0 && n.test > 0))
    return TRUE;
  else if (n.unlabelled > 0 && n.train == 0 && n.test == 0)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "none of the %" G_GUINT64_FORMAT " samples "
        "has a label, \"%s\" was the first; %s", n.unlabelled, self->unlisted,
        self->list ? "labels-file has names relative to pirldatasetsrc's location"
        : "set labels=folder on pirldatasetsrc, or give it a list with labels");
  else if (n.stale > 0 && n.train == 0 && n.test == 0)
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, "all frames carry the features of "
        "earlier ones; set interval=1 on pirlembed");
  else
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "%" G_GUINT64_FORMAT " training and %"
        G_GUINT64_FORMAT " test samples with labels came; a probe needs both: folders called train "
        "and test (or val), or the third field of a list", n.train, n.test);
  return FALSE;
}

static guint
count_classes (const GstPirlProbing * self)
{
  if (self->list)
    return gst_pirl_label_list_classes (self->list);
  return MAX (self->have_dataset ? self->dataset.n_classes : 0, (guint) (self->most_label + 1));
}

static gboolean
finish_store (GstPirlProbing * self, GError ** error)
{
  gchar **names = self->list ? gst_pirl_label_list_names (self->list) : self->dataset.class_names;
  g_autofree gchar *class_names = names ? g_strjoinv ("\n", names) : NULL;
  g_autofree gchar *key = make_key (self);
  const PirlProbeStoreInfo info = { count_classes (self), key, self->layers.model, class_names };

  if (self->reused)
    return TRUE;
  return pirl_probe_store_finish (self->store, &info, &self->cancel, error);
}

/* ---- the thread: probes ---------------------------------------------------------------------- */

typedef struct {
  GstPirlProbing *self;
  GstPirlProbeReport *report;
} Run;

/* After each step: waits while the element is paused. */
static gboolean
stepped (gdouble done, gpointer user_data)
{
  Run *run = user_data;
  GstPirlProbing *self = run->self;

  g_mutex_lock (&self->lock);
  while (self->paused && !g_atomic_int_get (&self->cancel))
    g_cond_wait (&self->cond, &self->lock);
  g_mutex_unlock (&self->lock);
  gst_pirl_probe_report_progress (run->report, done);
  return !g_atomic_int_get (&self->cancel);
}

/* The labels of the part that is trained on; NULL: all. */
static gint *
labels_of_part (const GstPirlProbing * self, const PirlProbeSet * train)
{
  g_autofree gboolean *keep = NULL;
  gint *labels;

  if (self->settings.train_fraction >= 1 || train->labels == NULL)
    return NULL;
  keep = g_new (gboolean, MAX (train->n, 1));
  labels = g_memdup2 (train->labels, train->n * sizeof *labels);
  pirl_probe_subset (train->labels, train->n, self->settings.train_fraction, self->settings.seed,
      keep);
  for (gsize i = 0; i < train->n; i++)
    if (!keep[i])
      labels[i] = -1;
  return labels;
}

static gboolean
probe_layer (Run * run, guint layer, PirlProbe probe, GError ** error)
{
  GstPirlProbing *self = run->self;
  g_autofree gint *labels = NULL;
  PirlProbeSet train, test;
  PirlProbeConfig config;
  PirlProbeResult result;

  pirl_probe_store_set (self->store, layer, PIRL_SPLIT_TRAIN, &train);
  pirl_probe_store_set (self->store, layer, PIRL_SPLIT_TEST, &test);
  labels = labels_of_part (self, &train);
  if (labels)
    train.labels = labels;
  gst_pirl_probe_settings_resolve (&self->settings,
      pirl_probe_store_info (self->store)->classes, &config);
  config.cancel = &self->cancel;
  config.progress = stepped;
  config.user_data = run;
  if (!pirl_probe_run (probe, &config, &train, &test, &result, error)) {
    g_prefix_error (error, "%s of layer %s: ", pirl_probe_name (probe),
        pirl_probe_store_layer (self->store, layer)->name);
    return FALSE;
  }
  gst_pirl_probe_report_result (run->report, &result);
  pirl_probe_result_clear (&result);
  return TRUE;
}

static gboolean
probe_all (Run * run, GError ** error)
{
  GstPirlProbing *self = run->self;
  const guint layers = pirl_probe_store_layers (self->store);
  guint step = 0;

  for (guint layer = 0; layer < layers; layer++)
    for (guint i = 0; i < self->n_probes; i++) {
      gst_pirl_probe_report_begin (run->report, pirl_probe_store_layer (self->store, layer),
          self->probes[i], step++, layers * self->n_probes);
      if (!probe_layer (run, layer, self->probes[i], error))
        return FALSE;
    }
  return !has_file (self->settings.report_file)
      || gst_pirl_probe_report_write (run->report, self->settings.report_file,
      pirl_probe_store_info (self->store), self->dataset.hash, error);
}

static void
enter_phase (GstPirlProbing * self, Phase phase)
{
  g_mutex_lock (&self->lock);
  self->phase = phase;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

static gpointer
probing_main (gpointer data)
{
  GstPirlProbing *self = data;
  Run run = { self, gst_pirl_probe_report_new (self->element) };
  GError *error = NULL;

  if (check_samples (self, &error) && finish_store (self, &error) && probe_all (&run, &error)) {
    gst_pirl_probe_report_end (run.report, GST_PROGRESS_TYPE_COMPLETE, "all probes are done");
    enter_phase (self, PHASE_DONE);
  } else if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
    g_clear_error (&error);
    gst_pirl_probe_report_end (run.report, GST_PROGRESS_TYPE_CANCELED, "stopped");
  } else {
    gst_pirl_post_error (self->element, &error);
    gst_pirl_probe_report_end (run.report, GST_PROGRESS_TYPE_ERROR, "a probe failed");
    enter_phase (self, PHASE_FAILED);
  }
  gst_pirl_probe_report_free (run.report);
  return NULL;
}

/* ---- from outside ---------------------------------------------------------------------------- */

GstFlowReturn
gst_pirl_probing_drain (GstPirlProbing * self)
{
  GstFlowReturn ret = GST_FLOW_OK;

  g_mutex_lock (&self->lock);
  if (self->phase == PHASE_COLLECTING) {
    self->phase = PHASE_PROBING;
    self->thread = g_thread_new ("pirl-probe", probing_main, self);
  }
  while (!self->unlocked && self->phase == PHASE_PROBING)
    g_cond_wait (&self->cond, &self->lock);
  if (self->phase == PHASE_FAILED)
    ret = GST_FLOW_ERROR;
  else if (self->phase == PHASE_PROBING)
    ret = GST_PIRL_FLOW_UNLOCKED;
  g_mutex_unlock (&self->lock);
  return ret;
}

static void
set_flag (GstPirlProbing * self, gboolean * flag, gboolean value)
{
  g_mutex_lock (&self->lock);
  *flag = value;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_pirl_probing_unlock (GstPirlProbing * self)
{
  set_flag (self, &self->unlocked, TRUE);
}

void
gst_pirl_probing_unlock_stop (GstPirlProbing * self)
{
  set_flag (self, &self->unlocked, FALSE);
}

void
gst_pirl_probing_play (GstPirlProbing * self, gboolean playing)
{
  set_flag (self, &self->paused, !playing);
}

static void
stop (GstPirlProbing * self)
{
  if (self->thread == NULL)
    return;
  g_mutex_lock (&self->lock);
  g_atomic_int_set (&self->cancel, 1);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  g_thread_join (self->thread);
  self->thread = NULL;
  g_atomic_int_set (&self->cancel, 0);
}

static void
forget (GstPirlProbing * self)
{
  g_clear_pointer (&self->store, pirl_probe_store_free);
  gst_pirl_feature_layers_clear (&self->layers);
  g_clear_pointer (&self->unlisted, g_free);
  g_mutex_lock (&self->lock);
  self->reused = FALSE;
  g_mutex_unlock (&self->lock);
}

void
gst_pirl_probing_flush (GstPirlProbing * self)
{
  stop (self);
  forget (self);
  g_mutex_lock (&self->lock);
  memset (&self->counters, 0, sizeof self->counters);
  self->phase = PHASE_COLLECTING;
  g_mutex_unlock (&self->lock);
}

GstPirlProbing *
gst_pirl_probing_new (GstElement * element, const GstPirlProbeSettings * settings,
    GError ** error)
{
  GstPirlProbing *self = g_new0 (GstPirlProbing, 1);

  self->element = element;
  gst_pirl_properties_copy (&gst_pirl_probe_properties, &self->settings, settings);
  g_mutex_init (&self->lock);
  g_cond_init (&self->cond);
  self->n_probes = gst_pirl_probe_settings_check (settings, self->probes, error);
  if (self->n_probes > 0 && has_file (settings->labels_file))
    self->list = gst_pirl_label_list_new (settings->labels_file, error);
  if (self->n_probes > 0 && (self->list != NULL || !has_file (settings->labels_file)))
    return self;
  gst_pirl_probing_free (self);
  return NULL;
}

void
gst_pirl_probing_free (GstPirlProbing * self)
{
  stop (self);
  forget (self);
  gst_pirl_label_list_free (self->list);
  gst_pirl_dataset_clear (&self->dataset);
  gst_pirl_properties_clear (&gst_pirl_probe_properties, &self->settings);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->cond);
  g_free (self);
}

/* ---- statistics ------------------------------------------------------------------------------ */

GstStructure *
gst_pirl_probing_no_stats (void)
{
  return gst_structure_new ("application/x-pirl-probe-stats", "state", G_TYPE_STRING, "stopped",
      NULL);
}

GstStructure *
gst_pirl_probing_stats (GstPirlProbing * self)
{
  const Counters *n = &self->counters;
  GstStructure *s;

  g_mutex_lock (&self->lock);
  s = gst_structure_new ("application/x-pirl-probe-stats",
      "state", G_TYPE_STRING, phase_names[self->phase],
      "received", G_TYPE_UINT64, n->received, "train", G_TYPE_UINT64, n->train,
      "test", G_TYPE_UINT64, n->test, "unlabelled", G_TYPE_UINT64, n->unlabelled,
      "repeated", G_TYPE_UINT64, n->repeated, "stale", G_TYPE_UINT64, n->stale,
      "reused", G_TYPE_BOOLEAN, self->reused, NULL);
  g_mutex_unlock (&self->lock);
  return s;
}
