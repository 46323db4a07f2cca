/* gst-pirl: learns from a folder of pictures and shows what it learnt.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Three pipelines: a few steps to see how fast this machine is, the training itself, and the
 * pictures through pirlembed, once with the untrained and once with the trained network.
 */
#include <math.h>
#include <stdlib.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <unistd.h>
#include <gst/gst.h>

#include "learn/trainer.h"
#include "gallery.h"
#include "plot.h"

enum { PROBE_STEPS = 6, N_QUERIES_SHOWN = 8, N_NEIGHBOURS = 5, KNN_K = 20 };
#define KNN_SIGMA 0.1

static struct {
  gchar *input, *test, *out, *arch;
  gint size, base_width, batch, steps, seed, threads;
  gdouble minutes;
} opt = { .out = (gchar *) "out", .arch = (gchar *) "resnet18", .size = 64, .base_width = 16,
  .batch = 64, .seed = 1, .minutes = 2 };

static const GOptionEntry entries[] = {
  { "test", 0, 0, G_OPTION_ARG_STRING, &opt.test,
      "Labelled pictures to judge by that are not trained on", "LOCATION" },
  { "out", 0, 0, G_OPTION_ARG_FILENAME, &opt.out, "Where results go (out)", "FOLDER" },
  { "minutes", 0, 0, G_OPTION_ARG_DOUBLE, &opt.minutes, "How long to train, about (2)", "M" },
  { "steps", 0, 0, G_OPTION_ARG_INT, &opt.steps, "How many steps instead of how long", "N" },
  { "arch", 0, 0, G_OPTION_ARG_STRING, &opt.arch, "resnet18, resnet34 or resnet50 (resnet18)",
      "NAME" },
  { "base-width", 0, 0, G_OPTION_ARG_INT, &opt.base_width,
      "Channels of the first stage (16; the papers' networks have 64)", "C" },
  { "size", 0, 0, G_OPTION_ARG_INT, &opt.size, "Side of the pictures the network sees (64)",
      "PIXELS" },
  { "batch", 0, 0, G_OPTION_ARG_INT, &opt.batch, "Samples a step (64)", "B" },
  { "threads", 0, 0, G_OPTION_ARG_INT, &opt.threads, "Threads that compute (all cores)", "N" },
  { "seed", 0, 0, G_OPTION_ARG_INT, &opt.seed, "Same seed, same run (1)", "S" },
  { NULL }
};

/* What is trained on and what is judged by. */
typedef struct {
  gchar *train, *test;          /* locations; test may be NULL: the training pictures */
  gboolean labels_in_folders;
  guint64 train_start, train_stop, test_start, test_stop;
} DataSet;

/* What the training pipeline said. */
typedef struct {
  GMainLoop *loop;
  GstElement *pipeline;
  GArray *step, *loss, *loss_image, *loss_patches;      /* gdouble */
  gdouble images_per_second;
  gboolean failed, interrupted, quiet;
  gint64 last_line;
} Training;

static gchar *
out_path (const gchar *name)
{
  return g_build_filename (opt.out, name, NULL);
}

static gboolean
has_two_folders (const gchar *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const gchar *name;
  guint n = 0;

  while (dir && n < 2 && (name = g_dir_read_name (dir))) {
    g_autofree gchar *full = g_build_filename (path, name, NULL);
    n += name[0] != '.' && g_file_test (full, G_FILE_TEST_IS_DIR);
  }
  return n >= 2;
}

static DataSet
choose_data (void)
{
  DataSet data = { .test = opt.test, .train_stop = G_MAXUINT64, .test_stop = G_MAXUINT64 };

  if (opt.input) {
    data.train = opt.input;
    data.labels_in_folders = has_two_folders (opt.input);
    return data;
  }
  data.train = g_strdup_printf ("synthetic:shapes?count=2500&classes=10&size=%d", opt.size + 32);
  data.test = data.train;
  data.train_stop = 1500;
  data.test_start = 1500;
  return data;
}

/* Sets properties of an element given by name; the list is that of g_object_set(). */
#define SET(bin, name, ...) G_STMT_START { \
    GstElement *_element = gst_bin_get_by_name (GST_BIN (bin), name); \
    g_object_set (_element, __VA_ARGS__, NULL); \
    gst_object_unref (_element); \
  } G_STMT_END

static void
set_source (GstElement *pipeline, const gchar *location, gboolean labels, guint64 start,
    guint64 stop)
{
  g_autoptr (GstElement) src = gst_bin_get_by_name (GST_BIN (pipeline), "src");

  g_object_set (src, "location", location, "seed", (guint64) opt.seed, "start-index", start, NULL);
  if (stop != G_MAXUINT64)
    g_object_set (src, "stop-index", stop, NULL);
  if (labels)
    gst_util_set_object_arg (G_OBJECT (src), "labels", "folder");
}

static gdouble
number (const GstStructure *s, const gchar *field)
{
  const GValue *value = gst_structure_get_value (s, field);
  GValue number = G_VALUE_INIT;
  gdouble result = NAN;

  g_value_init (&number, G_TYPE_DOUBLE);
  if (value && g_value_transform (value, &number))
    result = g_value_get_double (&number);
  g_value_unset (&number);
  return result;
}

static void
show_progress (Training *t, const gchar *text)
{
  const gboolean terminal = isatty (STDOUT_FILENO);
  const gint64 now = g_get_monotonic_time ();

  if (t->quiet || (!terminal && now - t->last_line < 5 * G_USEC_PER_SEC))
    return;
  t->last_line = now;
  g_print (terminal ? "\r\033[K  %s" : "  %s\n", text);
}

static void
on_training_message (Training *t, const GstStructure *s)
{
  const gdouble step = number (s, "step"), loss = number (s, "loss");
  const gdouble image = number (s, "loss-image"), patches = number (s, "loss-patches");

  g_array_append_val (t->step, step);
  g_array_append_val (t->loss, loss);
  g_array_append_val (t->loss_image, image);
  g_array_append_val (t->loss_patches, patches);
  t->images_per_second = number (s, "images-per-second");
}

static gboolean
on_bus (GstBus *bus, GstMessage *message, gpointer data)
{
  Training *t = data;
  g_autoptr (GError) error = NULL;
  g_autofree gchar *text = NULL;

  (void) bus;
  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ELEMENT:
      if (gst_message_has_name (message, "pirl-training"))
        on_training_message (t, gst_message_get_structure (message));
      break;
    case GST_MESSAGE_PROGRESS:
      gst_message_parse_progress (message, NULL, NULL, &text);
      show_progress (t, text);
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, NULL);
      if (!t->quiet)
        g_printerr ("\n  warning: %s\n", error->message);
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("\n%s\n", error->message);
      t->failed = TRUE;
      g_main_loop_quit (t->loop);
      break;
    case GST_MESSAGE_EOS:
      g_main_loop_quit (t->loop);
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

/* Ctrl-C: the sink saves when its state falls to READY, so nothing learnt is lost. */
static gboolean
on_interrupt (gpointer data)
{
  Training *t = data;

  t->interrupted = TRUE;
  g_main_loop_quit (t->loop);
  return G_SOURCE_CONTINUE;
}

static void
training_init (Training *t)
{
  GArray **arrays[] = { &t->step, &t->loss, &t->loss_image, &t->loss_patches };

  *t = (Training) { .loop = g_main_loop_new (NULL, FALSE) };
  for (guint i = 0; i < G_N_ELEMENTS (arrays); i++)
    *arrays[i] = g_array_new (FALSE, FALSE, sizeof (gdouble));
}

static void
training_clear (Training *t)
{
  g_main_loop_unref (t->loop);
  g_array_unref (t->step);
  g_array_unref (t->loss);
  g_array_unref (t->loss_image);
  g_array_unref (t->loss_patches);
}

/* Trains @steps steps; FALSE when an error was printed. @checkpoint may be NULL. */
static gboolean
train (const DataSet *data, guint64 steps, const gchar *checkpoint, Training *t)
{
  g_autoptr (GError) error = NULL;
  GstBus *bus;
  guint watch, signal;

  t->pipeline = gst_parse_launch ("pirldatasetsrc name=src epochs=0 ! pirljigsaw name=jigsaw ! "
      "pirltrainsink name=sink", &error);
  if (!t->pipeline) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  set_source (t->pipeline, data->train, data->labels_in_folders, data->train_start,
      data->train_stop);
  /* Small pictures lose what they show in smaller crops. */
  SET (t->pipeline, "jigsaw", "image-size", opt.size, "crop-scale-min", 0.3f, "hue", 0.5f,
      "seed", (guint64) opt.seed);
  SET (t->pipeline, "sink", "arch", opt.arch, "base-width", opt.base_width, "batch-size",
      opt.batch, "max-steps", steps, "seed", (guint64) opt.seed, "n-threads", opt.threads,
      "checkpoint-file", checkpoint);

  bus = gst_element_get_bus (t->pipeline);
  watch = gst_bus_add_watch (bus, on_bus, t);
  signal = g_unix_signal_add (SIGINT, on_interrupt, t);
  gst_element_set_state (t->pipeline, GST_STATE_PLAYING);
  g_main_loop_run (t->loop);
  gst_element_set_state (t->pipeline, GST_STATE_NULL);
  g_source_remove (signal);
  g_source_remove (watch);
  gst_object_unref (bus);
  gst_clear_object (&t->pipeline);
  if (!t->quiet && isatty (STDOUT_FILENO))
    g_print ("\n");
  return !t->failed;
}

/* Steps that fit into the time asked for, from a few steps on this machine. */
static guint64
steps_for_minutes (const DataSet *data)
{
  Training probe;
  guint64 steps = 0;

  training_init (&probe);
  probe.quiet = TRUE;
  if (train (data, PROBE_STEPS, NULL, &probe) && !probe.interrupted) {
    gdouble rate = probe.images_per_second;
    steps = isfinite (rate) && rate > 0 ? (guint64) (opt.minutes * 60 * rate / opt.batch) : 200;
    steps = MAX (steps, 50);
  }
  training_clear (&probe);
  return steps;
}

/* The same network with the same seed before its first step. */
static gboolean
save_untrained (const gchar *path, GError **error)
{
  PirlTrainerConfig config;
  g_autoptr (PirlTrainer) trainer = NULL;

  pirl_trainer_config_defaults (&config);
  if (!pirl_trunk_from_name (opt.arch, opt.base_width, 1, &config.trunk, error))
    return FALSE;
  config.image_size = opt.size;
  config.patch_size = MAX (opt.size * 2 / 7, 8);
  config.patches = 9;
  config.batch = 2;
  config.bank_rows = 16;
  config.negatives = 0;
  config.seed = opt.seed;
  trainer = pirl_trainer_new (&config, error);
  return trainer && pirl_trainer_save (trainer, path, NULL, error);
}

static gboolean
plot_loss (const Training *t, GError **error)
{
  g_autofree gchar *path = out_path ("loss.png");
  const gdouble *x = (const gdouble *) (void *) t->step->data;
  const PirlCurve curves[] = {
    { "loss", x, (const gdouble *) (void *) t->loss->data, t->step->len },
    { "image term", x, (const gdouble *) (void *) t->loss_image->data, t->step->len },
    { "patch term", x, (const gdouble *) (void *) t->loss_patches->data, t->step->len },
  };

  return pirl_plot_curves (path, "Training loss", "step", "loss", curves, G_N_ELEMENTS (curves),
      error);
}

/* Gathers both galleries under a network; the reference gallery is a random part of the training
 * pictures, the queries are held out where there is something held out. */
static gboolean
gather (const DataSet *data, const gchar *model, PirlGallery *references, PirlGallery *queries,
    GError **error)
{
  PirlGallerySource source = { data->train, data->labels_in_folders, data->train_start,
    data->train_stop, opt.seed, 2000, opt.threads };

  if (!pirl_gallery_load (references, &source, model, "res5", error))
    return FALSE;
  if (!data->test)
    return TRUE;
  source.location = data->test;
  source.start = data->test_start;
  source.stop = data->test_stop;
  source.limit = 1000;
  if (!pirl_gallery_load (queries, &source, model, "res5", error))
    return FALSE;
  pirl_gallery_number_like (queries, references);
  return TRUE;
}

static gboolean
evaluate (const DataSet *data, const gchar *const models[2], gdouble knn[2], GError **error)
{
  PirlGallery references[2] = { { 0 } }, queries[2] = { { 0 } };
  g_autofree gchar *mosaic = out_path ("neighbours.png");
  gboolean ok = TRUE;

  for (guint m = 0; ok && m < 2; m++) {
    ok = gather (data, models[m], &references[m], &queries[m], error);
    if (ok)
      knn[m] = pirl_gallery_knn (&references[m], data->test ? &queries[m] : NULL, KNN_K,
          KNN_SIGMA);
  }
  if (ok)
    ok = pirl_gallery_mosaic (mosaic, references, data->test ? queries : NULL,
        N_QUERIES_SHOWN, N_NEIGHBOURS, error);
  for (guint m = 0; m < 2; m++) {
    pirl_gallery_clear (&references[m]);
    pirl_gallery_clear (&queries[m]);
  }
  return ok;
}

static void
write_summary (guint64 steps, const gdouble knn[2])
{
  g_autofree gchar *path = out_path ("summary.json");
  gchar before[G_ASCII_DTOSTR_BUF_SIZE], after[G_ASCII_DTOSTR_BUF_SIZE];
  g_autofree gchar *json = NULL;
  const gboolean known = isfinite (knn[0]) && isfinite (knn[1]);

  g_ascii_formatd (before, sizeof before, "%.4f", knn[0]);
  g_ascii_formatd (after, sizeof after, "%.4f", knn[1]);
  json = g_strdup_printf ("{\"arch\": \"%s\", \"base_width\": %d, \"size\": %d, \"batch\": %d, "
      "\"steps\": %" G_GUINT64_FORMAT ", \"seed\": %d, \"knn_untrained\": %s, "
      "\"knn_trained\": %s}\n", opt.arch, opt.base_width, opt.size, opt.batch, steps, opt.seed,
      known ? before : "null", known ? after : "null");
  g_file_set_contents (path, json, -1, NULL);
}

static void
report (const DataSet *data, const Training *t, const gdouble knn[2])
{
  if (isfinite (knn[0]) && isfinite (knn[1]))
    g_print ("\nOf %s, so many have the class of their nearest pictures (kNN, k = %d):\n"
        "  untrained network  %5.1f %%\n  trained network    %5.1f %%\n",
        data->test ? "pictures never trained on" : "the pictures (each judged by the others)",
        KNN_K, 100 * knn[0], 100 * knn[1]);
  else
    g_print ("\nNo labels, so no accuracy; look at neighbours.png.\n");
  g_print ("\nIn %s/:\n"
      "  model.safetensors   the network; load it in PyTorch or with pirlembed\n"
      "  loss.png            the training curve\n"
      "  neighbours.png      pictures and their nearest ones, before and after\n"
      "\nNext:\n"
      "  more training:   pipelines/quickstart%s%s --minutes 60\n"
      "  a live stream:   gst-launch-1.0 v4l2src ! videoconvert ! pirlembed "
      "model-file=%s/model.safetensors ! videoconvert ! autovideosink\n",
      opt.out, opt.input ? " " : "", opt.input ? opt.input : "", opt.out);
  if (t->interrupted)
    g_print ("(The training was interrupted; what is above is what it had learnt by then.)\n");
}

static gboolean
parse_options (int *argc, char ***argv)
{
  g_autoptr (GOptionContext) context = g_option_context_new ("[INPUT]");
  g_autoptr (GError) error = NULL;

  g_option_context_set_summary (context, "Learns from the pictures in the folder (or list, or "
      "synthetic:...) INPUT, without labels,\nand shows what it learnt. Without INPUT: from drawn "
      "textured shapes.");
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, argc, argv, &error) || *argc > 2) {
    g_printerr ("%s (--help lists the options)\n", error ? error->message : "too many arguments");
    return FALSE;
  }
  opt.input = *argc == 2 ? (*argv)[1] : NULL;
  return TRUE;
}

static gboolean
run (const DataSet *data, Training *t, GError **error)
{
  g_autofree gchar *trained = out_path ("model.safetensors");
  g_autofree gchar *untrained = out_path ("untrained.safetensors");
  const gchar *const models[2] = { untrained, trained };
  gdouble knn[2] = { NAN, NAN };
  guint64 steps = opt.steps > 0 ? (guint64) opt.steps : steps_for_minutes (data);

  if (steps == 0)
    return FALSE;
  g_print ("Training %s (width %d) on %s: %" G_GUINT64_FORMAT " steps of %d pictures%s\n",
      opt.arch, opt.base_width, data->train, steps, opt.batch,
      opt.steps ? "" : ", a guess at the time asked for");
  g_unlink (trained);
  if (!train (data, steps, trained, t))
    return FALSE;
  if (!g_file_test (trained, G_FILE_TEST_EXISTS)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_IO, "the training left no %s", trained);
    return FALSE;
  }
  g_print ("Embedding the pictures with the untrained and the trained network ...\n");
  if (!plot_loss (t, error) || !save_untrained (untrained, error)
      || !evaluate (data, models, knn, error))
    return FALSE;
  write_summary (steps, knn);
  report (data, t, knn);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  DataSet data;
  Training training;
  gboolean ok;

  if (!parse_options (&argc, &argv))
    return 2;
  if (g_mkdir_with_parents (opt.out, 0777) != 0) {
    g_printerr ("cannot make the folder %s\n", opt.out);
    return 1;
  }
  data = choose_data ();
  training_init (&training);
  ok = run (&data, &training, &error);
  if (error)
    g_printerr ("%s\n", error->message);
  training_clear (&training);
  return ok ? 0 : 1;
}
