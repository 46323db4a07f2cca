/* gst-pirl: checkpoints: a model file that can be trained on.
 *
 * Tensors: trunk, heads and classifier by their PyTorch names; "state.velocity.<name>" of every
 * trained one (with Adam its first moment, and "state.second.<name>" the second), with objective
 * moco "state.key.<name>", the key network's; where the objective has a bank "state.bank"
 * [rows, dim] (F16 where bank_precision is fp16) and "state.labels" [rows] (I32, -1 = no label,
 * -2 = row not yet trained). Metadata: what an embedder
 * needs (architecture, input_size, resize, mean, std), every setting that changes the arithmetic,
 * "state.*" (step, z, collapsed; of fp16 loss_scale and loss_scale_clean, the finite steps since it
 * changed) and "position.*". Whole numbers are decimal, others the shortest decimal that reads back
 * to the same bits, in the C locale: a resumed run continues bit for bit.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "learn/private.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The tensors of networks that a file has, and what their names begin with. */
typedef struct {
  const gchar *prefix;
  PirlArena arena;
  gboolean key;                 /* of the key network, where there is one */
} Part;

static const Part parts[] = {
  {"", PIRL_ARENA_VALUE},
  {"state.velocity.", PIRL_ARENA_VELOCITY},
  {"state.second.", PIRL_ARENA_SECOND},
  {"state.key.", PIRL_ARENA_VALUE, TRUE},
};

typedef enum { SETTING_INT, SETTING_UINT, SETTING_UINT64, SETTING_BOOL, SETTING_DOUBLE,
  SETTING_TRIPLE, SETTING_ENUM, SETTING_STRING } SettingType;

typedef struct {
  const gchar *key;
  SettingType type;
  gsize offset;                 /* in PirlTrainerConfig */
  const gchar *const *names;    /* SETTING_ENUM */
  const gchar *otherwise;       /* what a file without it was trained with */
  guint of;                     /* the objectives that have it: */
} Setting;

/* Those with a memory bank, those that look at the second view; 0 = all. */
enum { BANK = 1, SECOND = 2 };

static const gchar *const objective_names[] = { "pirl", "npid", "supervised", "jigsaw",
  "rotation", "moco" };
static const gchar *const optimizer_names[] = { "sgd", "adam", "lars" };
static const gchar *const head_names[] = { "linear", "bn", "mlp" };
static const gchar *const loss_names[] = { "nce", "infonce" };
static const gchar *const z_mode_names[] = { "ema", "first-batch", "fixed" };
static const gchar *const schedule_names[] = { "cosine", "step", "constant" };
static const gchar *const bank_update_names[] = { "after", "before" };
static const gchar *const bn_statistics_names[] = { "both", "images" };
static const gchar *const architecture_names[] = { "resnet18", "resnet34", "resnet50",
  "mobilenetv2" };

#define FIELD(field) offsetof (PirlTrainerConfig, field)

static const Setting settings[] = {
  {"architecture", SETTING_ENUM, FIELD (trunk.arch), architecture_names},
  {"base_width", SETTING_INT, FIELD (trunk.base_width)},
  {"width", SETTING_DOUBLE, FIELD (trunk.width), .otherwise = "0"},
  {"input_size", SETTING_INT, FIELD (image_size)},
  {"mean", SETTING_TRIPLE, FIELD (mean)},
  {"std", SETTING_TRIPLE, FIELD (std)},
  {"objective", SETTING_ENUM, FIELD (objective), objective_names},
  {"transform", SETTING_STRING, FIELD (transform), .otherwise = "jigsaw", .of = SECOND},
  {"classes", SETTING_UINT, FIELD (classes), .otherwise = "0"},
  {"hidden", SETTING_INT, FIELD (hidden), .otherwise = "0"},
  {"optimizer", SETTING_ENUM, FIELD (optimizer), optimizer_names, "sgd"},
  {"head", SETTING_ENUM, FIELD (head), head_names, .of = BANK},
  {"embedding_dim", SETTING_INT, FIELD (dim), .of = BANK},
  {"patch_size", SETTING_INT, FIELD (patch_size), .of = BANK | SECOND},
  {"patches", SETTING_INT, FIELD (patches), .of = BANK | SECOND},
  {"batch_size", SETTING_UINT, FIELD (batch)},
  {"loss", SETTING_ENUM, FIELD (loss), loss_names, .of = BANK},
  {"z_mode", SETTING_ENUM, FIELD (z_mode), z_mode_names, .of = BANK},
  {"z", SETTING_DOUBLE, FIELD (z), .of = BANK},
  {"temperature", SETTING_DOUBLE, FIELD (temperature), .of = BANK},
  {"negatives", SETTING_UINT64, FIELD (negatives), .of = BANK},
  {"exclude_positive", SETTING_BOOL, FIELD (exclude_positive), .of = BANK},
  {"near", SETTING_DOUBLE, FIELD (near), .otherwise = "1", .of = BANK},
  {"near_weight", SETTING_DOUBLE, FIELD (near_weight), .otherwise = "0", .of = BANK},
  {"lambda", SETTING_DOUBLE, FIELD (lambda), .of = BANK},
  {"bank_momentum", SETTING_DOUBLE, FIELD (bank_momentum), .of = BANK},
  {"bank_update", SETTING_ENUM, FIELD (bank_update), bank_update_names, .of = BANK},
  {"bank_size", SETTING_UINT64, FIELD (bank_rows), .of = BANK},
  {"key_momentum", SETTING_DOUBLE, FIELD (key_momentum), .otherwise = "0", .of = BANK},
  {"lr_schedule", SETTING_ENUM, FIELD (schedule.kind), schedule_names},
  {"learning_rate", SETTING_DOUBLE, FIELD (schedule.base)},
  {"learning_rate_end", SETTING_DOUBLE, FIELD (schedule.end)},
  {"warmup_steps", SETTING_UINT64, FIELD (schedule.warmup)},
  {"total_steps", SETTING_UINT64, FIELD (schedule.total)},
  {"momentum", SETTING_DOUBLE, FIELD (momentum)},
  {"weight_decay", SETTING_DOUBLE, FIELD (weight_decay)},
  {"nesterov", SETTING_BOOL, FIELD (nesterov), .otherwise = "false"},
  {"bn_statistics", SETTING_ENUM, FIELD (bn_statistics), bn_statistics_names, .of = BANK},
  {"seed", SETTING_UINT64, FIELD (seed)},
  {"precision", SETTING_STRING, FIELD (precision), .otherwise = "f32"},
  {"bank_precision", SETTING_STRING, FIELD (bank_precision), .otherwise = "f32", .of = BANK},
};

/* The whole numbers of a PirlPosition and of the trainer's state. */
typedef struct {
  const gchar *key;
  gsize offset;
} Counter;

static const Counter position_counters[] = {
  {"position.epoch", offsetof (PirlPosition, epoch)},
  {"position.index", offsetof (PirlPosition, index)},
  {"position.seed", offsetof (PirlPosition, seed)},
  {"position.samples", offsetof (PirlPosition, samples)},
};

void
pirl_position_clear (PirlPosition *position)
{
  g_clear_pointer (&position->hash, g_free);
  g_clear_pointer (&position->class_names, g_free);
}

/* --- settings as text --- */

static gchar *
format_uint64 (guint64 value)
{
  return g_strdup_printf ("%" G_GUINT64_FORMAT, value);
}

/* The shortest decimal that reads back the same, as double or, with @single, as float. */
static gchar *
format_number (gdouble value, gboolean single)
{
  gchar text[G_ASCII_DTOSTR_BUF_SIZE];

  for (gint digits = single ? 6 : 15; digits <= 17; digits++) {
    gchar format[8];
    gdouble read;

    g_snprintf (format, sizeof format, "%%.%dg", digits);
    g_ascii_formatd (text, sizeof text, format, value);
    read = g_ascii_strtod (text, NULL);
    if (single ? (gfloat) read == (gfloat) value : read == value)
      break;
  }
  return g_strdup (text);
}

static gchar *
format_triple (const gfloat triple[3])
{
  g_autofree gchar *a = format_number (triple[0], TRUE);
  g_autofree gchar *b = format_number (triple[1], TRUE);
  g_autofree gchar *c = format_number (triple[2], TRUE);

  return g_strjoin (",", a, b, c, NULL);
}

static gchar *
format_setting (const PirlTrainerConfig *config, const Setting *setting)
{
  const gpointer field = (guint8 *) config + setting->offset;

  switch (setting->type) {
    case SETTING_INT:
      return g_strdup_printf ("%d", *(const gint *) field);
    case SETTING_UINT:
      return g_strdup_printf ("%u", *(const guint *) field);
    case SETTING_UINT64:
      return format_uint64 (*(const guint64 *) field);
    case SETTING_BOOL:
      return g_strdup (*(const gboolean *) field ? "true" : "false");
    case SETTING_DOUBLE:
      return format_number (*(const gdouble *) field, FALSE);
    case SETTING_TRIPLE:
      return format_triple (field);
    case SETTING_ENUM:
      return g_strdup (setting->names[*(const gint *) field]);
    case SETTING_STRING:
      return g_strdup (*(gchar *const *) field);
  }
  return NULL;
}

/* What does not matter to the objective. */
static void
clear_for_objective (PirlTrainerConfig *config)
{
  if (!pirl_has_two_terms (config)) {
    config->lambda = 0;
    config->bn_statistics = PIRL_BN_IMAGES;
  }
  if (config->objective == PIRL_OBJECTIVE_NPID)
    config->patch_size = config->patches = 0;
  if (config->objective == PIRL_OBJECTIVE_MOCO) {
    config->bank_momentum = 0;
    config->bank_update = PIRL_BANK_AFTER;
  } else {
    config->key_momentum = 0;
  }
  if (pirl_has_bank (config))
    config->classes = 0;
  if (config->objective != PIRL_OBJECTIVE_JIGSAW)
    config->hidden = 0;
}

/* The configuration with what has no effect set to 0, so that it is neither kept nor compared. */
static PirlTrainerConfig
effective_config (const PirlTrainer *trainer)
{
  PirlTrainerConfig config = trainer->config;

  if (config.z_mode != PIRL_Z_FIXED || config.loss != PIRL_LOSS_NCE)
    config.z = 0;
  if (config.schedule.kind != PIRL_SCHEDULE_COSINE || config.schedule.total == 0)
    config.schedule.end = 0;
  if (config.schedule.kind == PIRL_SCHEDULE_CONSTANT)
    config.schedule.total = 0;
  if (config.near == 1 || config.near_weight == 1) {
    config.near = 1;
    config.near_weight = 0;
  }
  if (config.optimizer != PIRL_OPTIMIZER_SGD)
    config.nesterov = FALSE;
  clear_for_objective (&config);
  return config;
}

/* A file of a supervised training says nothing of banks and heads. */
static gboolean
setting_counts (const PirlTrainer *trainer, const Setting *setting)
{
  const PirlTrainerConfig *config = &trainer->config;

  return setting->of == 0 || (setting->of & BANK && pirl_has_bank (config))
      || (setting->of & SECOND && pirl_uses_second (config));
}

/* --- the tensors of networks --- */

/* NULL: there are none. */
static PirlParams *
part_params (const PirlTrainer *trainer, const Part *part)
{
  return part->key ? trainer->key : trainer->params;
}

/* Whether parameter @i has such a tensor, if there is memory for it: what is trained, and as values
 * the running statistics, but for the key network's, which nothing reads. */
static gboolean
part_has (const PirlTrainer *trainer, const Part *part, guint i)
{
  return (part->arena == PIRL_ARENA_VALUE && !part->key)
      || pirl_params_data (trainer->params, PIRL_ARENA_VELOCITY, i) != NULL;
}

/* --- saving --- */

static void
add_counter (PirlSafetensorsWriter *writer, const gchar *key, guint64 value)
{
  g_autofree gchar *text = format_uint64 (value);

  pirl_safetensors_writer_metadata (writer, key, text);
}

static void
save_metadata (const PirlTrainer *trainer, const PirlPosition *position,
    PirlSafetensorsWriter *writer)
{
  const PirlTrainerConfig config = effective_config (trainer);
  g_autofree gchar *z = format_number (trainer->z, FALSE);
  g_autofree gchar *resize = g_strdup_printf ("%d (shorter side, bilinear, antialiased), then "
      "centre crop %d", (config.image_size * 256 + 112) / 224, config.image_size);

  pirl_safetensors_writer_metadata (writer, "format", "pt");
  pirl_safetensors_writer_metadata (writer, "resize", resize);
  for (guint i = 0; i < G_N_ELEMENTS (settings); i++) {
    g_autofree gchar *value = format_setting (&config, &settings[i]);

    if (setting_counts (trainer, &settings[i]))
      pirl_safetensors_writer_metadata (writer, settings[i].key, value);
  }
  add_counter (writer, "state.step", trainer->step);
  add_counter (writer, "state.collapsed", trainer->collapsed);
  pirl_safetensors_writer_metadata (writer, "state.z", z);
  if (trainer->loss_scale.scale > 0) {
    g_autofree gchar *scale = format_number (trainer->loss_scale.scale, FALSE);

    pirl_safetensors_writer_metadata (writer, "state.loss_scale", scale);
    add_counter (writer, "state.loss_scale_clean", trainer->loss_scale.clean);
  }
  if (!position)
    return;
  for (guint i = 0; i < G_N_ELEMENTS (position_counters); i++)
    add_counter (writer, position_counters[i].key,
        *(const guint64 *) (gconstpointer) ((const guint8 *) position
            + position_counters[i].offset));
  if (position->hash)
    pirl_safetensors_writer_metadata (writer, "position.hash", position->hash);
  if (position->class_names)
    pirl_safetensors_writer_metadata (writer, "class_names", position->class_names);
}

/* A step whose loss was still finite may have made weights that are not; they must not take a good
 * checkpoint's place. */
static gboolean
check_finite (const PirlTrainer *trainer, const gchar *name, const gfloat *values, gsize n,
    GError **error)
{
  for (gsize i = 0; i < n; i++) {
    if (!isfinite (values[i])) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE,
          "step %" G_GUINT64_FORMAT ": %s is not finite and is not saved; the checkpoint before "
          "stays. Lower learning-rate (now %g), lengthen warmup, or use head=bn", trainer->step,
          name, pirl_schedule_at (&trainer->config.schedule, trainer->step));
      return FALSE;
    }
  }
  return TRUE;
}

/* Copies one tensor to the host (kept in @hosts until the write) and adds it. */
static gboolean
save_param (PirlTrainer *trainer, const Part *part, guint i, PirlSafetensorsWriter *writer,
    GPtrArray *hosts, GError **error)
{
  PirlParams *params = part_params (trainer, part);
  const PirlParamSpec *spec = pirl_params_spec (params, i);
  gfloat *values = g_new (gfloat, pirl_shape_count (&spec->shape));
  g_autofree gchar *name = g_strconcat (part->prefix, spec->name, NULL);

  g_ptr_array_add (hosts, values);
  if (!pirl_params_read (params, part->arena, i, values, error)
      || !check_finite (trainer, name, values, pirl_shape_count (&spec->shape), error))
    return FALSE;
  pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &spec->shape, values);
  return TRUE;
}

static gboolean
save_part (PirlTrainer *trainer, const Part *part, PirlSafetensorsWriter *writer,
    GPtrArray *hosts, GError **error)
{
  PirlParams *params = part_params (trainer, part);

  for (guint i = 0; params && i < pirl_params_count (params); i++)
    if (part_has (trainer, part, i) && pirl_params_data (params, part->arena, i)
        && !save_param (trainer, part, i, writer, hosts, error))
      return FALSE;
  return TRUE;
}

/* A bank of F16 is one in the file too: its floats are the same numbers. */
static PirlDType
saved_bank_dtype (const PirlTrainer *trainer)
{
  return trainer->bank_dtype == PIRL_DTYPE_F16 ? PIRL_DTYPE_F16 : PIRL_DTYPE_F32;
}

/* PirlSafetensorsRead: whole rows of the bank. */
static gboolean
read_bank_rows (gpointer closure, gsize offset, gsize size, gpointer dst, GError **error)
{
  PirlTrainer *trainer = closure;
  const PirlDType dtype = saved_bank_dtype (trainer);
  const gsize dim = (gsize) trainer->config.dim, n = size / pirl_dtype_size (dtype);
  const gsize first = offset / pirl_dtype_size (dtype) / dim;
  g_autofree gfloat *floats = dtype == PIRL_DTYPE_F32 ? NULL : g_new (gfloat, n);
  gfloat *values = floats ? floats : dst;

  if (!pirl_bank_read (trainer, first, n / dim, values, error)
      || !check_finite (trainer, "state.bank", values, n, error))
    return FALSE;
  if (floats)
    pirl_from_float (dtype, floats, dst, n);
  return TRUE;
}

static void
save_bank (PirlTrainer *trainer, PirlSafetensorsWriter *writer)
{
  const gint64 rows = (gint64) trainer->config.bank_rows;
  const PirlShape bank = { 2, {rows, trainer->config.dim} }, labels = { 1, {rows} };
  const PirlDType dtype = saved_bank_dtype (trainer);

  if (!trainer->bank)
    return;
  pirl_safetensors_writer_add_read (writer, "state.bank", dtype, &bank,
      PIRL_BANK_CHUNK * (gsize) trainer->config.dim * pirl_dtype_size (dtype), read_bank_rows,
      trainer);
  pirl_safetensors_writer_add (writer, "state.labels", PIRL_DTYPE_I32, &labels, trainer->labels);
}

/* Inside a step the device is not to be asked for anything. */
static gboolean
check_idle (const PirlTrainer *trainer, GError **error)
{
  if (trainer->now.running)
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a step is under way: checkpoints are saved and resumed after pirl_trainer_end()");
  return !trainer->now.running;
}

gboolean
pirl_trainer_save (PirlTrainer *trainer, const gchar *path, const PirlPosition *position,
    GError **error)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) hosts = g_ptr_array_new_with_free_func (g_free);

  if (!check_idle (trainer, error))
    return FALSE;
  save_metadata (trainer, position, writer);
  save_bank (trainer, writer);
  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    if (!save_part (trainer, &parts[i], writer, hosts, error))
      return FALSE;
  return pirl_safetensors_writer_write (writer, path, error);
}

/* --- loading --- */

/* The prefix of what says the class. */
static gchar *
classifier_prefix (const PirlTrainerConfig *config)
{
  switch (config->objective) {
    case PIRL_OBJECTIVE_JIGSAW:
      return g_strdup ("head.jigsaw.classes.");
    case PIRL_OBJECTIVE_ROTATION:
      return g_strdup ("head.rotation.classes.");
    default:
      return g_strconcat (pirl_trunk_classifier_name (&config->trunk), ".", NULL);
  }
}

/* Whether @file classifies into as many classes: then its classifier is a start too. */
static gboolean
same_classes (const PirlTrainer *trainer, const PirlSafetensors *file, const gchar *classifier)
{
  g_autofree gchar *name = g_strconcat (classifier, "weight", NULL);
  const PirlTensor *weight = pirl_tensor_find (file, name);

  return weight && weight->shape.rank == 2 && weight->shape.dim[0] == trainer->config.classes;
}

gboolean
pirl_trainer_load_weights (PirlTrainer *trainer, const gchar *path, GError **error)
{
  const PirlTrainerConfig *config = &trainer->config;
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, error);
  g_autofree gchar *classifier = classifier_prefix (config);
  PirlTrunk found;

  if (!file || !pirl_trunk_detect (file, &found, error))
    return FALSE;
  /* Other widths may give the same shapes: those decide. */
  if (found.arch != config->trunk.arch || found.base_width != config->trunk.base_width) {
    g_autofree gchar *theirs = pirl_trunk_describe (&found);
    g_autofree gchar *ours = pirl_trunk_describe (&config->trunk);

    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "model \"%s\" is a %s, the network to train is a %s; set arch and its width to what the "
        "file has", path, theirs, ours);
    return FALSE;
  }
  return pirl_params_load_except (trainer->params, file, pirl_trunk_prefixes (&config->trunk),
      same_classes (trainer, file, classifier) ? NULL : classifier, NULL, error)
      && pirl_trainer_start_key (trainer, error);
}

static gboolean
read_counter (const PirlSafetensors *file, const gchar *key, guint64 *value, GError **error)
{
  const gchar *text = pirl_safetensors_metadata (file, key);

  if (text && g_ascii_string_to_unsigned (text, 10, 0, G_MAXUINT64, value, NULL))
    return TRUE;
  if (text)
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT,
        "checkpoint \"%s\": metadata %s is \"%s\"; it must be a whole number",
        pirl_safetensors_name (file), key, text);
  else
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "\"%s\" has no metadata %s: it is a model, not a checkpoint to resume from; use it as "
        "model-file to start from its weights", pirl_safetensors_name (file), key);
  return FALSE;
}

static gboolean
read_position (const PirlSafetensors *file, PirlPosition *position, GError **error)
{
  guint64 step;

  *position = (PirlPosition) { 0 };
  if (!read_counter (file, "state.step", &step, error))
    return FALSE;
  /* A checkpoint saved without a position stands at the beginning. */
  for (guint i = 0; i < G_N_ELEMENTS (position_counters); i++)
    if (pirl_safetensors_metadata (file, position_counters[i].key)
        && !read_counter (file, position_counters[i].key,
            (guint64 *) (gpointer) ((guint8 *) position + position_counters[i].offset), error))
      return FALSE;
  position->hash = g_strdup (pirl_safetensors_metadata (file, "position.hash"));
  position->class_names = g_strdup (pirl_safetensors_metadata (file, "class_names"));
  return TRUE;
}

gboolean
pirl_trainer_peek (const gchar *path, PirlPosition *position, GError **error)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, error);

  *position = (PirlPosition) { 0 };
  return file && read_position (file, position, error);
}

/* Checkpoints that do not say it are from when there were floats only. */
static gchar *
read_precision (const PirlSafetensors *file, const gchar *key)
{
  const gchar *name = pirl_safetensors_metadata (file, key);

  return g_strdup (name ? name : "f32");
}

gboolean
pirl_trainer_peek_precision (const gchar *path, gchar **precision, gchar **bank_precision,
    GError **error)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, error);

  if (!file)
    return FALSE;
  *precision = read_precision (file, "precision");
  *bank_precision = read_precision (file, "bank_precision");
  return TRUE;
}

static gboolean
check_settings (const PirlTrainer *trainer, const PirlSafetensors *file, GError **error)
{
  const PirlTrainerConfig config = effective_config (trainer);

  for (guint i = 0; i < G_N_ELEMENTS (settings); i++) {
    const gchar *theirs = pirl_safetensors_metadata (file, settings[i].key);
    g_autofree gchar *ours = format_setting (&config, &settings[i]);

    if (!theirs)
      theirs = settings[i].otherwise;
    if (setting_counts (trainer, &settings[i]) && g_strcmp0 (theirs, ours) != 0) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
          "checkpoint \"%s\" was trained with %s = %s, now it is %s; resume with the same "
          "settings, or start from its weights with model-file", pirl_safetensors_name (file),
          settings[i].key, theirs ? theirs : "(nothing)", ours);
      return FALSE;
    }
  }
  return TRUE;
}

static const PirlTensor *
find_state (const PirlSafetensors *file, const gchar *name, const PirlShape *shape, GError **error)
{
  const PirlTensor *tensor = pirl_safetensors_lookup (file, name);

  if (!tensor) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "checkpoint \"%s\" has no tensor %s; it cannot be resumed from",
        pirl_safetensors_name (file), name);
    return NULL;
  }
  return pirl_tensor_check (file, tensor, name, shape, error) ? tensor : NULL;
}

/* Checks (@write FALSE) or takes every tensor of one part. */
static gboolean
resume_part (PirlTrainer *trainer, const PirlSafetensors *file, const Part *part, gboolean write,
    GError **error)
{
  PirlParams *params = part_params (trainer, part);

  for (guint i = 0; params && i < pirl_params_count (params); i++) {
    const PirlParamSpec *spec = pirl_params_spec (params, i);
    const gsize n = pirl_shape_count (&spec->shape);
    g_autofree gchar *name = g_strconcat (part->prefix, spec->name, NULL);
    g_autofree gfloat *values = NULL;
    const PirlTensor *tensor;

    if (!part_has (trainer, part, i))
      continue;
    tensor = find_state (file, name, &spec->shape, error);
    if (!tensor)
      return FALSE;
    if (!write)
      continue;
    values = g_new (gfloat, n);
    pirl_to_float (tensor->dtype, tensor->data, values, n);
    if (!pirl_params_write (params, part->arena, i, values, error))
      return FALSE;
  }
  return TRUE;
}

/* All parts; Adam has no second moment before its first step (@step). */
static gboolean
resume_parts (PirlTrainer *trainer, const PirlSafetensors *file, guint64 step, gboolean write,
    GError **error)
{
  const gboolean second = trainer->config.optimizer == PIRL_OPTIMIZER_ADAM && step > 0;

  for (guint i = 0; i < G_N_ELEMENTS (parts); i++)
    if ((parts[i].arena != PIRL_ARENA_SECOND || second)
        && !resume_part (trainer, file, &parts[i], write, error))
      return FALSE;
  return TRUE;
}

static gboolean
take_bank (PirlTrainer *trainer, const PirlTensor *bank, GError **error)
{
  const gsize rows = trainer->config.bank_rows, dim = (gsize) trainer->config.dim;
  const gsize row_bytes = dim * pirl_dtype_size (bank->dtype);
  g_autofree gfloat *values = g_new (gfloat, PIRL_BANK_CHUNK * dim);

  for (gsize first = 0; first < rows; first += PIRL_BANK_CHUNK) {
    const gsize n = MIN (PIRL_BANK_CHUNK, rows - first);

    pirl_to_float (bank->dtype, (const guint8 *) bank->data + first * row_bytes, values, n * dim);
    if (!pirl_bank_write (trainer, first, n, values, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
resume_bank (PirlTrainer *trainer, const PirlSafetensors *file, gboolean write, GError **error)
{
  const gint64 rows = (gint64) trainer->config.bank_rows;
  const PirlShape shape = { 2, {rows, trainer->config.dim} };
  const PirlTensor *labels = pirl_safetensors_lookup (file, "state.labels");
  const PirlTensor *bank;

  if (!trainer->bank)
    return TRUE;
  bank = find_state (file, "state.bank", &shape, error);
  if (!bank)
    return FALSE;
  if (!labels || labels->dtype != PIRL_DTYPE_I32
      || labels->size != (gsize) rows * sizeof (gint32)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH,
        "checkpoint \"%s\": tensor state.labels must be I32 with %" G_GINT64_FORMAT " elements",
        pirl_safetensors_name (file), rows);
    return FALSE;
  }
  if (!write)
    return TRUE;
  memcpy (trainer->labels, labels->data, labels->size);
  return take_bank (trainer, bank, error);
}

static gboolean
read_number (const PirlSafetensors *file, const gchar *key, gdouble *value, GError **error)
{
  const gchar *text = pirl_safetensors_metadata (file, key);
  gchar *end = NULL;

  *value = text ? g_ascii_strtod (text, &end) : NAN;
  if (isfinite (*value) && *value >= 0 && end != text && *end == '\0')
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_FORMAT,
      "checkpoint \"%s\": metadata %s is \"%s\"; it must be a number",
      pirl_safetensors_name (file), key, text ? text : "");
  return FALSE;
}

/* Leaves @scale alone where losses are not scaled. */
static gboolean
read_loss_scale (const PirlTrainer *trainer, const PirlSafetensors *file, PirlLossScale *scale,
    GError **error)
{
  guint64 clean;

  if (trainer->loss_scale.scale == 0)
    return TRUE;
  if (!read_number (file, "state.loss_scale", &scale->scale, error)
      || !read_counter (file, "state.loss_scale_clean", &clean, error))
    return FALSE;
  scale->clean = (guint) clean;
  return TRUE;
}

gboolean
pirl_trainer_resume (PirlTrainer *trainer, const gchar *path, PirlPosition *position,
    GError **error)
{
  g_autoptr (PirlSafetensors) file = pirl_safetensors_open (path, error);
  PirlLossScale loss_scale = trainer->loss_scale;
  guint64 step, collapsed;
  gdouble z;

  *position = (PirlPosition) { 0 };
  if (!file || !check_idle (trainer, error) || !read_counter (file, "state.step", &step, error)
      || !check_settings (trainer, file, error)
      || !read_counter (file, "state.collapsed", &collapsed, error)
      || !read_number (file, "state.z", &z, error)
      || !read_loss_scale (trainer, file, &loss_scale, error)
      || !read_position (file, position, error))
    return FALSE;
  /* First everything is checked, then everything is taken. */
  for (gint write = FALSE; write <= TRUE; write++)
    if (!resume_parts (trainer, file, step, write, error)
        || !resume_bank (trainer, file, write, error)) {
      pirl_position_clear (position);
      return FALSE;
    }
  trainer->step = step;
  trainer->collapsed = (guint) collapsed;
  trainer->z = z;
  pirl_trainer_set_loss_scale (trainer, &loss_scale);
  return TRUE;
}
