/* gst-pirl: every picture at every quality (see evaluate-table.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evaluate-table.h"

#include <string.h>
#include "base/base.h"
#include "base/safetensors.h"

#define THUMBNAIL_SIDE 256
#define FORMAT "1"
/* Services fail now and then: an answer that did not come is not known, up to so many. */
#define FAILURES 3
#define FAILURES_SHARE 0.02

typedef enum { VIEW_PREVIEWS, VIEW_DECODED, VIEW_THUMBNAIL } ViewKind;

/* How a look is made. */
typedef struct {
  ViewKind kind;
  AdaObserver *observer;
  EvalLook *look;
} View;

typedef struct {
  const EvalTableConfig *config;
  AdaCloud *cloud;
  PirlJpegCoder *coder, *thumbnail_coder;
  PirlResizer *resizer;
  GPtrArray *views;
  GPtrArray *decoded;           /* PirlImage *, of the probes */
  guint asked, failures;        /* requests */
  EvalTable *table;
} Builder;

/* --- tables --- */

static void
look_free (gpointer data)
{
  EvalLook *look = data;

  g_free (look->name);
  g_free (look->phi);
  g_free (look);
}

void
eval_table_free (EvalTable *table)
{
  if (!table)
    return;
  g_ptr_array_unref (table->names);
  g_ptr_array_unref (table->looks);
  g_free (table->qualities);
  g_free (table->agreement);
  g_free (table->size);
  g_free (table->wire);
  g_free (table->predicted);
  g_free (table->reference);
  g_free (table->features);
  g_free (table);
}

/* Room for @capacity pictures. */
static EvalTable *
table_new (const EvalTableConfig *config, guint capacity)
{
  EvalTable *table = g_new0 (EvalTable, 1);
  const gsize cells = (gsize) capacity * config->n_qualities;

  table->names = g_ptr_array_new_with_free_func (g_free);
  table->looks = g_ptr_array_new_with_free_func (look_free);
  table->qualities_all = config->n_qualities;
  table->qualities = g_memdup2 (config->qualities, sizeof (gint) * config->n_qualities);
  for (guint l = 0; l < config->n_qualities; l++)
    table->levels += config->qualities[l] <= config->reference;
  table->agreement = g_new (gfloat, cells);
  table->size = g_new (gdouble, cells);
  table->wire = g_new (gdouble, cells);
  table->predicted = g_new (gdouble, (gsize) capacity * table->levels);
  table->reference = g_new (gdouble, capacity);
  return table;
}

/* --- files --- */

static gboolean
is_picture (const gchar *name)
{
  static const gchar *const endings[] = { ".jpg", ".jpeg", ".png", NULL };
  g_autofree gchar *lower = g_ascii_strdown (name, -1);

  for (guint i = 0; endings[i]; i++)
    if (g_str_has_suffix (lower, endings[i]))
      return TRUE;
  return FALSE;
}

/* Adds the pictures below @folder/@prefix, as names relative to @folder. */
static gboolean
find_pictures (const gchar *folder, const gchar *prefix, GPtrArray *names, GError **error)
{
  g_autofree gchar *path = g_build_filename (folder, prefix, NULL);
  g_autoptr (GDir) dir = g_dir_open (path, 0, error);
  const gchar *entry;

  while (dir && (entry = g_dir_read_name (dir))) {
    g_autofree gchar *name = *prefix ? g_build_filename (prefix, entry, NULL) : g_strdup (entry);
    g_autofree gchar *full = g_build_filename (folder, name, NULL);

    if (g_file_test (full, G_FILE_TEST_IS_DIR)) {
      if (!find_pictures (folder, name, names, error))
        return FALSE;
    } else if (is_picture (name)) {
      g_ptr_array_add (names, g_steal_pointer (&name));
    }
  }
  return dir != NULL;
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(gchar *const *) a, *(gchar *const *) b);
}

/* Sorted; of more than @limit, those evenly spaced. */
static GPtrArray *
list_pictures (const gchar *folder, guint limit, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  guint keep;

  if (!find_pictures (folder, "", names, error))
    return NULL;
  if (names->len < 4) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "%s holds %u pictures (.jpg, .png); at least 4 are needed", folder, names->len);
    return NULL;
  }
  g_ptr_array_sort (names, compare_names);
  keep = limit ? MIN (limit, names->len) : names->len;
  for (guint i = 0; i < keep; i++) {
    const guint from = (guint) ((guint64) i * names->len / keep);
    gpointer name = names->pdata[from];

    names->pdata[from] = names->pdata[i];
    names->pdata[i] = name;
  }
  g_ptr_array_set_size (names, keep);
  g_ptr_array_sort (names, compare_names);
  return g_steal_pointer (&names);
}

/* --- looking --- */

static void
view_free (gpointer data)
{
  View *view = data;

  ada_observer_free (view->observer);
  g_free (view);
}

static void
image_free (gpointer data)
{
  pirl_image_clear (data);
  g_free (data);
}

static gboolean
add_view (Builder *builder, const gchar *name, ViewKind kind, const gchar *extractor,
    AdaFeatures features, GError **error)
{
  const EvalTableConfig *config = builder->config;
  const AdaObserverConfig observer = { .extractor = extractor, .features = features,
    .qualities = builder->table->qualities, .levels = builder->table->levels,
    .huffman = config->huffman, .device = config->device, .n_threads = config->n_threads };
  View *view = g_new0 (View, 1);

  g_ptr_array_add (builder->views, view);
  view->kind = kind;
  view->observer = ada_observer_new (&observer, error);
  if (!view->observer)
    return FALSE;
  view->look = g_new0 (EvalLook, 1);
  view->look->name = g_strdup (name);
  view->look->inputs = ada_observer_inputs (view->observer);
  g_ptr_array_add (builder->table->looks, view->look);
  return TRUE;
}

static gboolean
add_views (Builder *builder, GError **error)
{
  gchar **extractors = builder->config->extractors;
  const gchar *first = extractors ? extractors[0] : NULL;

  if (!add_view (builder, first ? "shift" : "sizes", VIEW_PREVIEWS, first, ADA_FEATURES_SHIFT,
          error))
    return FALSE;
  if (builder->config->views && first
      && (!add_view (builder, "shift, really decoded", VIEW_DECODED, first, ADA_FEATURES_SHIFT,
              error)
          || !add_view (builder, "shift of a thumbnail", VIEW_THUMBNAIL, first, ADA_FEATURES_SHIFT,
              error)
          || !add_view (builder, "frame", VIEW_PREVIEWS, first, ADA_FEATURES_FRAME, error)
          || !add_view (builder, "sizes", VIEW_PREVIEWS, NULL, ADA_FEATURES_SHIFT, error)))
    return FALSE;
  for (guint i = 1; first && extractors[i]; i++) {
    g_autofree gchar *file = g_path_get_basename (extractors[i]);
    g_autofree gchar *name = g_strdup_printf ("shift, %s", file);

    if (!add_view (builder, name, VIEW_PREVIEWS, extractors[i], ADA_FEATURES_SHIFT, error))
      return FALSE;
  }
  return TRUE;
}

/* Encodes and decodes at every probe. */
static AdaObservation *
observe_decoded (Builder *builder, View *view, const PirlImage *image, GError **error)
{
  const gint *probes;
  const guint n = ada_observer_probes (view->observer, &probes);
  g_autofree const PirlImage **pictures = g_new0 (const PirlImage *, n + 1);

  pictures[0] = image;
  while (builder->decoded->len < n)
    g_ptr_array_add (builder->decoded, g_new0 (PirlImage, 1));
  for (guint i = 0; i < n; i++) {
    PirlImage *decoded = builder->decoded->pdata[i];
    const guint8 *data;
    gsize size;

    pirl_image_clear (decoded);
    if (!pirl_jpeg_coder_encode (builder->coder, probes[i], PIRL_HUFFMAN_STANDARD, &data, &size,
            error) || !pirl_image_decode (data, size, 0, TRUE, decoded, NULL, error))
      return NULL;
    pictures[i + 1] = decoded;
  }
  return ada_observer_run_pictures (view->observer, builder->coder, pictures, error);
}

static AdaObservation *
observe (Builder *builder, View *view, const PirlImage *image, GError **error)
{
  PirlImage thumbnail = { 0 };
  gboolean loaded;

  if (view->kind == VIEW_PREVIEWS)
    return ada_observer_run (view->observer, builder->coder, error);
  if (view->kind == VIEW_DECODED)
    return observe_decoded (builder, view, image, error);
  pirl_resize_center_crop (builder->resizer, image, THUMBNAIL_SIDE, THUMBNAIL_SIDE, &thumbnail);
  loaded = pirl_jpeg_coder_load_rgb (builder->thumbnail_coder, &thumbnail, error);
  pirl_image_clear (&thumbnail);
  return loaded ? ada_observer_run (view->observer, builder->thumbnail_coder, error) : NULL;
}

/* Picture @i as @view has it; the first view also gives sizes and features. */
static void
keep_observation (EvalTable *table, const View *view, gboolean first,
    const AdaObservation *observation, guint i)
{
  const gsize row = (gsize) table->levels * view->look->inputs;

  if (!view->look->phi)
    view->look->phi = g_new (gfloat, row * table->n);
  memcpy (view->look->phi + row * i, observation->phi, row * sizeof (gfloat));
  if (!first)
    return;
  memcpy (table->predicted + (gsize) i * table->levels, observation->sizes,
      table->levels * sizeof (gdouble));
  table->n_features = observation->n_features;
  if (!observation->features)
    return;
  if (!table->features)
    table->features = g_new (gfloat, (gsize) table->n * table->n_features);
  memcpy (table->features + (gsize) i * table->n_features, observation->features,
      table->n_features * sizeof (gfloat));
}

static gboolean
look (Builder *builder, const PirlImage *image, guint i, GError **error)
{
  for (guint v = 0; v < builder->views->len; v++) {
    View *view = builder->views->pdata[v];
    const gint64 start = g_get_monotonic_time ();
    g_autoptr (AdaObservation) observation = observe (builder, view, image, error);

    if (!observation)
      return FALSE;
    view->look->milliseconds += (g_get_monotonic_time () - start) / 1e3;
    keep_observation (builder->table, view, v == 0, observation, i);
  }
  return TRUE;
}

/* --- asking --- */

/* NULL without @error set: the cloud has nothing to say, or failed as it may now and then. */
static AdaAnswer *
ask (Builder *builder, const PirlImage *image, const gchar *name, gint quality,
    PirlHuffman huffman, gsize *size, gsize *sent, GError **error)
{
  AdaTraffic traffic = { 0 };
  AdaRequest request = { .id = builder->table->n, .name = name, .quality = quality,
    .width = image->width, .height = image->height, .traffic = &traffic };
  g_autoptr (GBytes) jpeg = NULL;
  g_autoptr (GError) failure = NULL;
  AdaAnswer *answer = NULL;
  const guint8 *data;

  if (!pirl_jpeg_coder_encode (builder->coder, quality, huffman, &data, size, error))
    return NULL;
  request.jpeg = jpeg = g_bytes_new (data, *size);
  if (ada_cloud_knows (builder->cloud, name, quality)) {
    answer = ada_cloud_classify (builder->cloud, &request, NULL, &failure);
    builder->asked++;
  }
  *sent = MAX (traffic.sent, *size);
  if (failure && !g_error_matches (failure, ADA_CLOUD_ERROR, ADA_CLOUD_ERROR_NO_ANSWER)) {
    g_printerr ("\n%s at quality %d: %s\n", name, quality, failure->message);
    if (++builder->failures > FAILURES + FAILURES_SHARE * builder->asked)
      g_propagate_error (error, g_steal_pointer (&failure));
  }
  return answer;
}

/* Asks about @name, row table->n. @kept: it has a reference answer. */
static gboolean
ask_all (Builder *builder, const PirlImage *image, const gchar *name, gboolean *kept,
    GError **error)
{
  const EvalTableConfig *config = builder->config;
  EvalTable *table = builder->table;
  const gsize row = (gsize) table->n * table->qualities_all;
  g_autoptr (GError) failure = NULL;
  g_autoptr (AdaAnswer) reference = NULL;
  gsize whole, size, sent;

  *kept = FALSE;
  reference = ask (builder, image, name, config->reference, PIRL_HUFFMAN_STANDARD, &whole, &sent,
      error);
  if (!reference || reference->labels->len == 0)
    return reference != NULL;
  table->reference[table->n] = whole;
  for (guint l = 0; l < table->qualities_all; l++) {
    const gboolean same = table->qualities[l] == config->reference;
    g_autoptr (AdaAnswer) answer = NULL;
    const guint8 *data;

    if (same && !pirl_jpeg_coder_encode (builder->coder, config->reference, config->huffman, &data,
            &size, error))
      return FALSE;
    if (!same)
      answer = ask (builder, image, name, table->qualities[l], config->huffman, &size, &sent,
          &failure);
    if (failure) {
      g_propagate_error (error, g_steal_pointer (&failure));
      return FALSE;
    }
    table->agreement[row + l] = same ? 1 : answer
        ? ada_agreement (config->agreement, reference, answer) : -1;
    table->size[row + l] = (gdouble) size / whole;
    table->wire[row + l] = (gdouble) sent / whole;
  }
  return *kept = TRUE;
}

/* Brings a picture of the folder into the coder. */
static gboolean
load_picture (Builder *builder, const gchar *name, PirlImage *image, GError **error)
{
  g_autofree gchar *path = g_build_filename (builder->config->folder, name, NULL);

  return pirl_image_load (path, image, NULL, error)
      && pirl_jpeg_coder_load_rgb (builder->coder, image, error);
}

static void
progress (const gchar *what, guint done, guint n, gint64 start)
{
  const gdouble seconds = (g_get_monotonic_time () - start) / 1e6;

  if (done % 10 == 0 || done == n)
    g_printerr ("\r%s: %u of %u pictures, %.0f s, about %.0f s to go ", what, done, n, seconds,
        seconds / done * (n - done));
  if (done == n)
    g_printerr ("\n");
}

/* The cloud's part of the table. */
static gboolean
ask_about_all (Builder *builder, const GPtrArray *names, GError **error)
{
  const gint64 start = g_get_monotonic_time ();
  EvalTable *table = builder->table;

  for (guint i = 0; i < names->len; i++) {
    g_autoptr (GError) reason = NULL;
    PirlImage image = { 0 };
    gboolean kept = FALSE;
    const gboolean good = load_picture (builder, names->pdata[i], &image, &reason)
        && (ask_all (builder, &image, names->pdata[i], &kept, &reason) || !reason);

    pirl_image_clear (&image);
    if (good && kept) {
      g_ptr_array_add (table->names, g_strdup (names->pdata[i]));
      table->n++;
    } else if (!good && g_error_matches (reason, PIRL_ERROR, PIRL_ERROR_FORMAT)) {
      /* A file that is no picture is not worth stopping for; a cloud that fails is. */
      g_printerr ("\nleft out: %s\n", reason->message);
    } else if (!good) {
      g_propagate_prefixed_error (error, g_steal_pointer (&reason), "%s: ",
          (const gchar *) names->pdata[i]);
      return FALSE;
    }
    progress ("asking", i + 1, names->len, start);
  }
  if (table->n >= 4)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "%s: the cloud has an answer for %u pictures; at least 4 are needed",
      builder->config->folder, table->n);
  return FALSE;
}

/* The agent's part. */
static gboolean
look_at_all (Builder *builder, GError **error)
{
  const gint64 start = g_get_monotonic_time ();
  EvalTable *table = builder->table;
  gboolean good = TRUE;

  for (guint i = 0; good && i < table->n; i++) {
    PirlImage image = { 0 };

    good = load_picture (builder, table->names->pdata[i], &image, error)
        && look (builder, &image, i, error);
    pirl_image_clear (&image);
    progress ("looking", i + 1, table->n, start);
  }
  for (guint v = 0; v < builder->views->len; v++)
    ((View *) builder->views->pdata[v])->look->milliseconds /= MAX (1, table->n);
  return good;
}

/* --- the cache --- */

/* What the cloud's answers depend on. */
static gchar *
answers_key (const EvalTableConfig *config)
{
  GString *text = g_string_new ("gst-pirl evaluation " FORMAT);

  g_string_append_printf (text, "; %s; %s; agreement %d; huffman %d; reference %d; limit %u; %sat",
      config->folder, config->cloud_uri, config->agreement, config->huffman, config->reference,
      config->limit, config->flat ? "flat; " : "");
  for (guint l = 0; l < config->n_qualities; l++)
    g_string_append_printf (text, " %d", config->qualities[l]);
  return g_string_free (text, FALSE);
}

/* What the looks depend on beside. */
static gchar *
looks_key (const Builder *builder)
{
  GString *text = g_string_new ("looks " FORMAT);

  for (guint v = 0; v < builder->views->len; v++) {
    const View *view = builder->views->pdata[v];

    g_string_append_printf (text, "; %s: %s, %u", view->look->name,
        ada_observer_model (view->observer), view->look->inputs);
  }
  return g_string_free (text, FALSE);
}

/* Where the table's numbers are. */
typedef struct {
  gchar *name;
  PirlDType dtype;
  gpointer *data;
  gsize width;                  /* elements a picture */
} Column;

static void
column_clear (gpointer column)
{
  g_free (((Column *) column)->name);
}

static void
add_column (GArray *columns, const gchar *name, PirlDType dtype, gpointer data, gsize width)
{
  const Column column = { g_strdup (name), dtype, data, width };

  g_array_append_val (columns, column);
}

static GArray *
columns_new (void)
{
  GArray *columns = g_array_new (FALSE, TRUE, sizeof (Column));

  g_array_set_clear_func (columns, column_clear);
  return columns;
}

static GArray *
answer_columns (EvalTable *table)
{
  GArray *columns = columns_new ();

  add_column (columns, "agreement", PIRL_DTYPE_F32, &table->agreement, table->qualities_all);
  add_column (columns, "size", PIRL_DTYPE_F64, &table->size, table->qualities_all);
  add_column (columns, "wire", PIRL_DTYPE_F64, &table->wire, table->qualities_all);
  add_column (columns, "reference", PIRL_DTYPE_F64, &table->reference, 1);
  return columns;
}

static GArray *
look_columns (EvalTable *table)
{
  GArray *columns = columns_new ();

  add_column (columns, "predicted", PIRL_DTYPE_F64, &table->predicted, table->levels);
  if (table->n_features)
    add_column (columns, "features", PIRL_DTYPE_F32, &table->features, table->n_features);
  for (guint i = 0; i < table->looks->len; i++) {
    EvalLook *look = table->looks->pdata[i];
    g_autofree gchar *name = g_strdup_printf ("look.%u", i);

    add_column (columns, name, PIRL_DTYPE_F32, &look->phi, (gsize) table->levels * look->inputs);
  }
  return columns;
}

static void
write_columns (PirlSafetensorsWriter *writer, const EvalTable *table, const GArray *columns)
{
  for (guint i = 0; i < columns->len; i++) {
    const Column *column = &g_array_index (columns, Column, i);
    const PirlShape shape = { .rank = 2, .dim = { table->n, column->width } };

    pirl_safetensors_writer_add (writer, column->name, column->dtype, &shape, *column->data);
  }
}

/* @looks NULL: the answers only. */
static gboolean
write_cache (EvalTable *table, const gchar *path, const gchar *answers, const gchar *looks,
    GError **error)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GArray) asked = answer_columns (table), seen = look_columns (table);
  g_autoptr (GString) names = g_string_new (NULL), times = g_string_new (NULL);

  for (guint i = 0; i < table->n; i++)
    g_string_append_printf (names, "%s%s", i ? "\n" : "", (const gchar *) table->names->pdata[i]);
  for (guint i = 0; i < table->looks->len; i++) {
    gchar number[G_ASCII_DTOSTR_BUF_SIZE];

    g_ascii_dtostr (number, sizeof number, ((EvalLook *) table->looks->pdata[i])->milliseconds);
    g_string_append_printf (times, "%s%s", i ? " " : "", number);
  }
  pirl_safetensors_writer_metadata (writer, "answers", answers);
  pirl_safetensors_writer_metadata (writer, "names", names->str);
  write_columns (writer, table, asked);
  if (looks) {
    pirl_safetensors_writer_metadata (writer, "looks", looks);
    pirl_safetensors_writer_metadata (writer, "milliseconds", times->str);
    write_columns (writer, table, seen);
  }
  return pirl_safetensors_writer_write (writer, path, error);
}

static gboolean
read_columns (const PirlSafetensors *file, const EvalTable *table, const GArray *columns)
{
  for (guint i = 0; i < columns->len; i++) {
    const Column *column = &g_array_index (columns, Column, i);
    const PirlTensor *tensor = pirl_safetensors_lookup (file, column->name);
    const gsize bytes = table->n * column->width * (column->dtype == PIRL_DTYPE_F64 ? 8 : 4);

    if (!tensor || tensor->dtype != column->dtype || tensor->size != bytes)
      return FALSE;
    g_free (*column->data);
    *column->data = g_memdup2 (tensor->data, bytes);
  }
  return TRUE;
}

static gboolean
holds (const PirlSafetensors *file, const gchar *name, const gchar *key)
{
  const gchar *held = pirl_safetensors_metadata (file, name);

  return held && g_str_equal (held, key);
}

/* FALSE when @file is about other pictures, or another cloud. */
static gboolean
read_answers (EvalTable *table, const PirlSafetensors *file, const gchar *key)
{
  g_auto (GStrv) names = NULL;
  g_autoptr (GArray) columns = answer_columns (table);

  if (!holds (file, "answers", key) || !pirl_safetensors_metadata (file, "names"))
    return FALSE;
  names = g_strsplit (pirl_safetensors_metadata (file, "names"), "\n", -1);
  table->n = g_strv_length (names);
  if (!read_columns (file, table, columns)) {
    table->n = 0;
    return FALSE;
  }
  for (guint i = 0; i < table->n; i++)
    g_ptr_array_add (table->names, g_strdup (names[i]));
  return TRUE;
}

static gboolean
read_looks (EvalTable *table, const PirlSafetensors *file, const gchar *key)
{
  const PirlTensor *features = pirl_safetensors_lookup (file, "features");
  const gchar *milliseconds = pirl_safetensors_metadata (file, "milliseconds");
  g_auto (GStrv) times = milliseconds ? g_strsplit (milliseconds, " ", -1) : NULL;
  g_autoptr (GArray) columns = NULL;

  if (!holds (file, "looks", key) || !times)
    return FALSE;
  table->n_features = features && features->shape.rank == 2 ? features->shape.dim[1] : 0;
  columns = look_columns (table);
  if (!read_columns (file, table, columns))
    return FALSE;
  for (guint i = 0; i < table->looks->len && times[i]; i++)
    ((EvalLook *) table->looks->pdata[i])->milliseconds = g_ascii_strtod (times[i], NULL);
  return TRUE;
}

/* --- all of it --- */

static void
builder_clear (Builder *builder)
{
  pirl_jpeg_coder_free (builder->coder);
  pirl_jpeg_coder_free (builder->thumbnail_coder);
  pirl_resizer_free (builder->resizer);
  g_ptr_array_unref (builder->views);
  g_ptr_array_unref (builder->decoded);
}

/* What the cache lacks is asked for and looked at; another extractor is no reason to ask again. */
static gboolean
build (Builder *builder, const GPtrArray *names, GError **error)
{
  const gchar *cache = builder->config->cache;
  g_autoptr (PirlSafetensors) file = cache ? pirl_safetensors_open (cache, NULL) : NULL;
  g_autofree gchar *answers = answers_key (builder->config), *looks = looks_key (builder);

  if (!file || !read_answers (builder->table, file, answers)) {
    if (!ask_about_all (builder, names, error)
        || (cache && !write_cache (builder->table, cache, answers, NULL, error)))
      return FALSE;
  } else if (read_looks (builder->table, file, looks)) {
    return TRUE;
  }
  return look_at_all (builder, error)
      && (!cache || write_cache (builder->table, cache, answers, looks, error));
}

EvalTable *
eval_table_new (const EvalTableConfig *config, AdaCloud *cloud, GError **error)
{
  g_autoptr (GPtrArray) names = list_pictures (config->folder, config->limit, error);
  g_autoptr (EvalTable) table = names ? table_new (config, names->len) : NULL;
  Builder builder = { .config = config, .cloud = cloud, .table = table };
  gboolean good;

  if (!names)
    return NULL;
  builder.coder = pirl_jpeg_coder_new ();
  builder.thumbnail_coder = pirl_jpeg_coder_new ();
  builder.resizer = pirl_resizer_new ();
  pirl_jpeg_coder_set_flat (builder.coder, config->flat ? config->reference : 0);
  pirl_jpeg_coder_set_flat (builder.thumbnail_coder, config->flat ? config->reference : 0);
  builder.views = g_ptr_array_new_with_free_func (view_free);
  builder.decoded = g_ptr_array_new_with_free_func (image_free);
  good = add_views (&builder, error) && build (&builder, names, error);
  builder_clear (&builder);
  return good ? g_steal_pointer (&table) : NULL;
}
