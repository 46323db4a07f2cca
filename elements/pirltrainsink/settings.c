/* gst-pirl: the settings of pirltrainsink (see settings.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every property is a row of one table: its type, where it is kept, its range. Defaults are read
 * from a GstPirlTrainSettings that was made from the trainer's own, so that there is one source.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "settings.h"

#include "base/safetensors.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

/* The reference quotes its learning rate for this many samples a step. */
#define LEARNING_RATE_BATCH 256.0
/* 0.001 for batches of 32, as is usual with Adam. */
#define ADAM_LEARNING_RATE 0.008
/* The paper's cosine ends here, as a fraction of where it begins. */
#define LEARNING_RATE_END 1e-3
/* Rows of the memory bank when nobody knows how many samples there will be. */
#define CAMERA_BANK_ROWS 4096
#define CAMERA_WARMUP 100
#define MAX_NEGATIVES 32000
/* Keys in the queue of MoCo. */
#define QUEUE_ROWS 65536
#define ROTATIONS 4

/* ---- enumerations ----------------------------------------------------------------------- */

static const GEnumValue preset_values[] = {
  {GST_PIRL_PRESET_DEFAULT, "What works on small and large sets", "default"},
  {GST_PIRL_PRESET_PAPER, "PIRL as in Misra and van der Maaten 2020", "paper"},
  {GST_PIRL_PRESET_NPID, "NPID++ as in Misra and van der Maaten 2020", "npid++"},
  {GST_PIRL_PRESET_MOCO, "MoCo v2 as in Chen, Fan, Girshick and He 2020", "moco"}, {0}
};
static const GstPirlEnum preset_enum = { "GstPirlTrainPreset", preset_values };

static const GEnumValue objective_values[] = {
  {PIRL_OBJECTIVE_PIRL, "Image and transformed view against the memory bank", "pirl"},
  {PIRL_OBJECTIVE_NPID, "Image against the memory bank (instance discrimination)", "npid"},
  {PIRL_OBJECTIVE_SUPERVISED, "The samples' labels, by cross-entropy", "supervised"},
  {PIRL_OBJECTIVE_JIGSAW, "Which permutation shuffled the patches", "jigsaw"},
  {PIRL_OBJECTIVE_ROTATION, "By how much the picture is turned", "rotation"},
  {PIRL_OBJECTIVE_MOCO, "Image against a queue of another crop's keys (momentum contrast)", "moco"},
  {0}
};
static const GstPirlEnum objective_enum = { "GstPirlTrainObjective", objective_values };

static const GEnumValue optimizer_values[] = {
  {PIRL_OPTIMIZER_SGD, "Gradient descent with momentum", "sgd"},
  {PIRL_OPTIMIZER_ADAM, "Adam (Kingma and Ba 2015)", "adam"},
  {PIRL_OPTIMIZER_LARS, "A rate for each tensor by its norm (You et al. 2017)", "lars"}, {0}
};
static const GstPirlEnum optimizer_enum = { "GstPirlTrainOptimizer", optimizer_values };

static const GEnumValue head_values[] = {
  {PIRL_HEAD_LINEAR, "Linear (the paper)", "linear"},
  {PIRL_HEAD_BN, "Batch norm, then linear", "bn"},
  {PIRL_HEAD_MLP, "Linear, batch norm, ReLU, linear", "mlp"}, {0}
};
static const GstPirlEnum head_enum = { "GstPirlTrainHead", head_values };

static const GEnumValue loss_values[] = {
  {PIRL_LOSS_NCE, "Noise-contrastive estimation (the paper)", "nce"},
  {PIRL_LOSS_INFONCE, "Softmax over positive and negatives", "infonce"}, {0}
};
static const GstPirlEnum loss_enum = { "GstPirlTrainLoss", loss_values };

static const GEnumValue z_mode_values[] = {
  {PIRL_Z_EMA, "Running average", "ema"},
  {PIRL_Z_FIRST_BATCH, "Estimated once, from the first batch (the reference)", "first-batch"},
  {PIRL_Z_FIXED, "As the property z says", "fixed"}, {0}
};
static const GstPirlEnum z_mode_enum = { "GstPirlTrainZMode", z_mode_values };

static const GEnumValue bank_update_values[] = {
  {PIRL_BANK_AFTER, "After both terms (the paper)", "after"},
  {PIRL_BANK_BEFORE, "Before the patches' term, which then meets a fresh row", "before"}, {0}
};
static const GstPirlEnum bank_update_enum = { "GstPirlTrainBankUpdate", bank_update_values };

static const GEnumValue lr_schedule_values[] = {
  {PIRL_SCHEDULE_COSINE, "Half a cosine down to a thousandth (the paper)", "cosine"},
  {PIRL_SCHEDULE_STEP, "A tenth at 3/5 and at 4/5 of the run", "step"},
  {PIRL_SCHEDULE_CONSTANT, "Constant after warm-up", "constant"}, {0}
};
static const GstPirlEnum lr_schedule_enum = { "GstPirlTrainSchedule", lr_schedule_values };

static const GEnumValue bn_statistics_values[] = {
  {PIRL_BN_BOTH, "Images and patches (the reference)", "both"},
  {PIRL_BN_IMAGES, "Images only, which is what is embedded later", "images"}, {0}
};
static const GstPirlEnum bn_statistics_enum = { "GstPirlTrainBnStatistics", bn_statistics_values };

static const GEnumValue on_finish_values[] = {
  {GST_PIRL_ON_FINISH_EOS, "End the stream", "eos"},
  {GST_PIRL_ON_FINISH_DROP, "Swallow what follows (behind a tee)", "drop"}, {0}
};
static const GstPirlEnum on_finish_enum = { "GstPirlTrainOnFinish", on_finish_values };

/* ---- properties --------------------------------------------------------------------------- */

#define AT(field) G_STRUCT_OFFSET (GstPirlTrainSettings, field)

static const GstPirlProperty rows[] = {
  /**
   * GstPirlTrainSink:preset:
   *
   * Sets head, loss, z-mode, temperature, negatives, exclude-positive, lambda, bank-momentum,
   * bank-update, key-momentum, learning-rate, lr-schedule, warmup, weight-decay, momentum, nesterov
   * and bn-statistics at once; properties that are set after it stand. `paper` is for objective=pirl
   * and npid; `npid++` and `moco` set the objective, too, and go with no other. The published
   * settings are for a million pictures: they collapse on thousands.
   */
  {"preset", "Preset", "Sets the properties of the recipe at once; those set after it stand",
      GST_PIRL_ENUM, AT (preset), .values = &preset_enum},
  /**
   * GstPirlTrainSink:objective:
   *
   * What is learnt, and the `transform` of pirljigsaw that it needs:
   *
   * - `pirl` compares image and transformed view with the memory bank; `jigsaw`, `rotation`, `both`.
   * - `npid` compares the image alone, which is PIRL with lambda 0 and half of the work; any.
   * - `moco` compares the image with the key that a slower copy of the network makes of another
   *   crop, and with a queue of earlier keys (the memory bank's place; it is no sample's); `crop`.
   * - `jigsaw` predicts the number of the permutation, out of pirljigsaw's `permutations`; `jigsaw`.
   * - `rotation` predicts by how many quarters the second view is turned; `rotation`.
   * - `supervised` predicts the sample's label (folders are classes; samples without a label are
   *   left out) with a classifier, `fc` or `classifier.1`, that others have no use for; any.
   */
  {"objective", "Objective", "What is learnt", GST_PIRL_ENUM, AT (objective),
      .values = &objective_enum},
  /**
   * GstPirlTrainSink:arch:
   *
   * The trunk: resnet18, resnet34, resnet50 or mobilenetv2, as torchvision builds them.
   */
  {"arch", "Architecture", "The trunk: resnet18, resnet34, resnet50 or mobilenetv2", GST_PIRL_STRING,
      AT (arch)},
  /**
   * GstPirlTrainSink:base-width:
   *
   * Channels of a ResNet's first stage. 64 in the papers; 8 makes a network for tests.
   */
  {"base-width", "Base width", "Channels of a ResNet's first stage (64 in the papers)",
      GST_PIRL_UINT, AT (base_width), 8, 512},
  /**
   * GstPirlTrainSink:width:
   *
   * Factor of all channels of a MobileNetV2. 1 in the paper, 0.35 for a small and quick one.
   */
  {"width", "Width", "Factor of all channels of a MobileNetV2 (1 in the paper)", GST_PIRL_DOUBLE,
      AT (width), 0.05, 4},
  /**
   * GstPirlTrainSink:head:
   *
   * What turns pooled features into an embedding. `linear` is the paper's; without the batch norm
   * of `bn` and `mlp` small sets collapse.
   */
  {"head", "Head", "What turns features into the embedding", GST_PIRL_ENUM, AT (head),
      .values = &head_enum},
  /**
   * GstPirlTrainSink:embedding-dim:
   *
   * Numbers in an embedding and in a row of the memory bank.
   */
  {"embedding-dim", "Embedding size", "Numbers in an embedding", GST_PIRL_UINT, AT (embedding_dim), 2,
      4096},
  /**
   * GstPirlTrainSink:hidden:
   *
   * Numbers that objective=jigsaw describes a patch by, before it looks at all of them together.
   */
  {"hidden", "Hidden", "Numbers that describe a patch, for objective=jigsaw", GST_PIRL_UINT,
      AT (hidden), 1, 65536},
  /**
   * GstPirlTrainSink:loss:
   *
   * The contrastive loss.
   */
  {"loss", "Loss", "The contrastive loss", GST_PIRL_ENUM, AT (loss), .values = &loss_enum},
  /**
   * GstPirlTrainSink:z-mode:
   *
   * Where the partition constant Z of the NCE loss comes from. InfoNCE has none.
   */
  {"z-mode", "Z mode", "Where the partition constant of the NCE loss comes from", GST_PIRL_ENUM,
      AT (z_mode), .values = &z_mode_enum},
  /**
   * GstPirlTrainSink:z:
   *
   * Z divided by the rows of the memory bank: the mean of exp (similarity / temperature) over
   * random pairs. For z-mode=fixed.
   */
  {"z", "Z", "Partition constant of the NCE loss, divided by the bank's rows, for z-mode=fixed",
      GST_PIRL_DOUBLE, AT (z), 0, 1e12},
  /**
   * GstPirlTrainSink:temperature:
   *
   * Similarities are divided by it: small values look at the nearest negatives only.
   */
  {"temperature", "Temperature", "Similarities are divided by it before the exponential",
      GST_PIRL_DOUBLE, AT (temperature), 1e-3, 100},
  /**
   * GstPirlTrainSink:negatives:
   *
   * Rows of the memory bank that each sample is compared with. 0 takes 32,000, or all other rows
   * when there are fewer.
   */
  {"negatives", "Negatives", "Other samples that each is compared with "
        "(0 = 32000, or all others when there are fewer)", GST_PIRL_UINT64, AT (negatives), 0,
      G_MAXUINT32},
  /**
   * GstPirlTrainSink:exclude-positive:
   *
   * Whether a sample may never be drawn as its own negative. FALSE is the reference's behaviour.
   */
  {"exclude-positive", "Exclude positive", "Never draw a sample as its own negative",
      GST_PIRL_BOOLEAN, AT (exclude_positive)},
  /**
   * GstPirlTrainSink:near-threshold:
   *
   * Negatives whose cosine with the sample is above this count with #GstPirlTrainSink:near-weight
   * only: they may show the same kind of thing, and need not be pushed apart. 1: none is near.
   */
  {"near-threshold", "Near threshold",
        "Negatives with a larger cosine count with near-weight only (1 = none)", GST_PIRL_DOUBLE,
      AT (near_threshold), 0, 1},
  /**
   * GstPirlTrainSink:near-weight:
   *
   * Weight of the negatives that are near, 0 leaves them out.
   */
  {"near-weight", "Near weight", "Weight of the negatives beyond near-threshold (0 = left out)",
      GST_PIRL_DOUBLE, AT (near_weight), 0, 1},
  /**
   * GstPirlTrainSink:lambda:
   *
   * Weight of the patches' term: loss = lambda * patches + (1 - lambda) * image.
   */
  {"lambda", "Lambda", "Weight of the patches' loss; the image's has the rest", GST_PIRL_DOUBLE,
      AT (lambda), 0, 1},
  /**
   * GstPirlTrainSink:bank-momentum:
   *
   * How much of its old row the memory bank keeps when a sample comes by again.
   */
  {"bank-momentum", "Bank momentum", "Share of its old row that the memory bank keeps",
      GST_PIRL_DOUBLE, AT (bank_momentum), 0, 1},
  /**
   * GstPirlTrainSink:key-momentum:
   *
   * Share of its own weights that the network which makes the keys of objective=moco keeps in each
   * step; the rest it takes from the one that is trained.
   */
  {"key-momentum", "Key momentum", "Share of its weights that moco's key network keeps in a step",
      GST_PIRL_DOUBLE, AT (key_momentum), 0, 1},
  /**
   * GstPirlTrainSink:bank-update:
   *
   * When a sample's row of the memory bank takes up its new embedding. The paper's order (after)
   * makes the patches chase a row that is an epoch old, or random in the first epoch, which only
   * large sets have the time for.
   */
  {"bank-update", "Bank update", "When a sample's row takes up its new embedding", GST_PIRL_ENUM,
      AT (bank_update), .values = &bank_update_enum},
  /**
   * GstPirlTrainSink:bank-size:
   *
   * Rows of the memory bank, one a sample. 0 takes the data set's count; a stream without sample
   * metas (a camera) then gets 4096, used as a ring. With objective=moco it is the length of the
   * queue, a multiple of batch-size; 0 takes 65,536 or half of the data set, which holds few older
   * keys of the batch's own pictures.
   */
  {"bank-size", "Bank size",
        "Rows of the memory bank (0 = one a sample; 4096 in a ring for a camera)", GST_PIRL_UINT64,
      AT (bank_size), 0, G_MAXUINT32},
  /**
   * GstPirlTrainSink:bank-precision:
   *
   * What the numbers of the memory bank's rows are kept in: `f32`, `fp16`, or `auto`, which is
   * fp16 where a GPU trains in 16 bits. With many negatives their rows are what a step reads most
   * of, and fp16 halves that and the bank's memory; a loss changes in its fourth digit at most.
   */
  {"bank-precision", "Bank precision",
        "Numbers of the memory bank's rows: f32, fp16, or auto (fp16 where a GPU trains in 16 bits)",
      GST_PIRL_STRING, AT (bank_precision)},
  /**
   * GstPirlTrainSink:batch-size:
   *
   * Samples in a step. The queue in front of the trainer holds two batches.
   */
  {"batch-size", "Batch size", "Samples in a step", GST_PIRL_UINT, AT (batch_size), 2, 65536},
  /**
   * GstPirlTrainSink:max-steps:
   *
   * Ends the training after this many steps, those before a resume included; also the length of
   * the learning-rate schedule. 0 trains until EOS.
   */
  {"max-steps", "Maximum steps", "Ends after this many steps, those before a resume included "
        "(0 = at the end of the stream)", GST_PIRL_UINT64, AT (max_steps), 0, (gdouble) G_MAXINT64},
  /**
   * GstPirlTrainSink:on-finish:
   *
   * What happens to the stream at max-steps.
   */
  {"on-finish", "On finish", "What happens to the stream at max-steps", GST_PIRL_ENUM,
      AT (on_finish), .values = &on_finish_enum},
  /**
   * GstPirlTrainSink:learning-rate:
   *
   * For a batch of 256; scaled in proportion to batch-size. Unless it is set, optimizer=adam takes
   * 0.008, which is 0.001 for a batch of 32.
   */
  {"learning-rate", "Learning rate", "Learning rate for a batch of 256, scaled to the batch-size",
      GST_PIRL_DOUBLE, AT (learning_rate), 0, 1000},
  /**
   * GstPirlTrainSink:optimizer:
   *
   * How gradients become steps. With adam, momentum is its beta1; beta2 is 0.999. lars is for large
   * batches.
   */
  {"optimizer", "Optimizer", "How gradients become steps", GST_PIRL_ENUM, AT (optimizer),
      .values = &optimizer_enum},
  /**
   * GstPirlTrainSink:lr-schedule:
   *
   * How the learning rate falls over the run. The run's length is max-steps, else what the data
   * set and its epochs give; where neither is known the rate stays constant after warm-up.
   */
  {"lr-schedule", "Learning rate schedule", "How the learning rate falls over the run",
      GST_PIRL_ENUM, AT (lr_schedule), .values = &lr_schedule_enum},
  /**
   * GstPirlTrainSink:warmup:
   *
   * Steps of a linear rise of the learning rate. -1: a fiftieth of the run, at least 10 steps, at
   * most a quarter of the run; 100 where the run's length is not known.
   */
  {"warmup", "Warm-up",
        "Steps of a linear rise of the learning rate (-1 = a fiftieth of the run, at least 10)",
      GST_PIRL_INT, AT (warmup), -1, G_MAXINT},
  /**
   * GstPirlTrainSink:weight-decay:
   *
   * Of the weights of convolutions and linear layers; biases and batch norm have none.
   */
  {"weight-decay", "Weight decay", "L2 penalty of the weights, not of biases and batch norm",
      GST_PIRL_DOUBLE, AT (weight_decay), 0, 1},
  /**
   * GstPirlTrainSink:momentum:
   *
   * Of the gradient descent.
   */
  {"momentum", "Momentum", "Momentum of the gradient descent", GST_PIRL_DOUBLE, AT (momentum), 0, 1},
  /**
   * GstPirlTrainSink:nesterov:
   *
   * Whether optimizer=sgd looks ahead with its momentum.
   */
  {"nesterov", "Nesterov", "Nesterov's momentum, with optimizer=sgd", GST_PIRL_BOOLEAN,
      AT (nesterov)},
  /**
   * GstPirlTrainSink:bn-statistics:
   *
   * Which views the running statistics of batch norm see.
   */
  {"bn-statistics", "Batch norm statistics",
        "Which views the running statistics of batch norm see", GST_PIRL_ENUM, AT (bn_statistics),
      .values = &bn_statistics_enum},
  /**
   * GstPirlTrainSink:model-file:
   *
   * A safetensors file to start from: a checkpoint of ours or a torchvision trunk. Only the
   * weights are taken; see #GstPirlTrainSink:resume for going on with a run.
   */
  {"model-file", "Model file", "Safetensors file with the weights to start from "
        "(none = random weights)", GST_PIRL_STRING, AT (model_file)},
  /**
   * GstPirlTrainSink:checkpoint-file:
   *
   * Where weights and the state of the run are saved: at the end, at EOS, when the pipeline stops
   * and each checkpoint-interval. The file is replaced as a whole or not at all.
   */
  {"checkpoint-file", "Checkpoint file",
        "Where weights and state are saved (none = nothing is kept)", GST_PIRL_STRING,
      AT (checkpoint_file)},
  /**
   * GstPirlTrainSink:checkpoint-interval:
   *
   * Steps between two checkpoints; 0 saves every ten minutes. The end of a run is always saved.
   */
  {"checkpoint-interval", "Checkpoint interval",
        "Steps between checkpoints (0 = every ten minutes); the end is always saved", GST_PIRL_UINT,
      AT (checkpoint_interval)},
  /**
   * GstPirlTrainSink:resume:
   *
   * Goes on where checkpoint-file stands, bit for bit, and tells the source to start there. A file
   * that does not exist yet begins a new run.
   */
  {"resume", "Resume", "Go on where checkpoint-file stands, if it exists", GST_PIRL_BOOLEAN,
      AT (resume)},
  /**
   * GstPirlTrainSink:seed:
   *
   * Of the random weights, the memory bank's first rows and the negatives.
   */
  {"seed", "Seed", "Seed of initial weights, memory bank and negatives", GST_PIRL_UINT64, AT (seed), 0,
      (gdouble) G_MAXINT64},
  /**
   * GstPirlTrainSink:deterministic:
   *
   * Forbids choices made by timing, so that two machines of a kind compute the same bits.
   */
  {"deterministic", "Deterministic", "Forbid choices made by timing", GST_PIRL_BOOLEAN,
      AT (deterministic)},
  /**
   * GstPirlTrainSink:interval:
   *
   * Nanoseconds between two `pirl-training` messages, and between two rows of
   * #GstPirlTrainSink:log-dir; 0 means each step.
   */
  {"interval", "Interval", "Nanoseconds between messages (0 = each step)", GST_PIRL_UINT64,
      AT (interval), 0, (gdouble) G_MAXINT64},
  /**
   * GstPirlTrainSink:post-messages:
   *
   * Whether element and progress messages are posted. Errors and warnings always are.
   */
  {"post-messages", "Post messages", "Post element and progress messages", GST_PIRL_BOOLEAN,
      AT (post_messages)},
  /**
   * GstPirlTrainSink:log-dir:
   *
   * A folder for TensorBoard (`tensorboard --logdir DIR`): each run writes an events file with loss,
   * learning rate, images a second, cosines, spread, Z, loss scale and the accuracies, once an
   * interval. The folder is made where it is missing. What cannot be written is a warning, and
   * training goes on.
   */
  {"log-dir", "Log folder", "Folder of event files for TensorBoard (none = none are written)",
      GST_PIRL_STRING, AT (log_dir)},
  GST_PIRL_DEVICE_PROPERTIES (AT (device), AT (precision),
      "(cuda: fp16; cpu: f32); bf16 on a cpu needs AMX, is quicker, and learns less from many pictures",
      AT (n_threads)),
};

static void
settings_init (gpointer data)
{
  GstPirlTrainSettings *settings = data;
  PirlTrainerConfig config;

  memset (settings, 0, sizeof (*settings));
  memset (&config, 0, sizeof (config));
  pirl_trainer_config_defaults (&config);
  settings->preset = GST_PIRL_PRESET_DEFAULT;
  settings->objective = config.objective;
  settings->arch = g_strdup (pirl_trunk_name (&config.trunk));
  settings->base_width = config.trunk.base_width;
  settings->width = 1;
  settings->optimizer = config.optimizer;
  settings->head = config.head;
  settings->embedding_dim = config.dim;
  settings->hidden = (guint) config.hidden;
  settings->loss = config.loss;
  settings->z_mode = config.z_mode;
  settings->z = config.z;
  settings->temperature = config.temperature;
  settings->negatives = config.negatives;
  settings->exclude_positive = config.exclude_positive;
  settings->near_threshold = config.near;
  settings->near_weight = config.near_weight;
  settings->lambda = config.lambda;
  settings->bank_momentum = config.bank_momentum;
  settings->bank_update = config.bank_update;
  settings->key_momentum = config.key_momentum;
  settings->batch_size = config.batch;
  settings->on_finish = GST_PIRL_ON_FINISH_EOS;
  settings->learning_rate = config.schedule.base * LEARNING_RATE_BATCH / config.batch;
  settings->lr_schedule = config.schedule.kind;
  settings->warmup = -1;
  settings->weight_decay = config.weight_decay;
  settings->momentum = config.momentum;
  settings->nesterov = config.nesterov;
  settings->bn_statistics = config.bn_statistics;
  settings->seed = config.seed;
  settings->deterministic = config.deterministic;
  settings->interval = GST_SECOND;
  settings->post_messages = TRUE;
  settings->bank_precision = g_strdup (config.bank_precision);
  settings->device = g_strdup ("auto");
  settings->precision = g_strdup ("auto");
}

/* ---- presets ------------------------------------------------------------------------------- */

/* What contrastive recipes of the paper have in common, at 0.03 for 256 samples. */
static void
set_published (GstPirlTrainSettings * recipe)
{
  recipe->head = PIRL_HEAD_LINEAR;
  recipe->loss = PIRL_LOSS_NCE;
  recipe->z_mode = PIRL_Z_FIRST_BATCH;
  recipe->temperature = 0.07;
  recipe->negatives = 0;        /* 32,000 of a million */
  recipe->exclude_positive = FALSE;
  recipe->lambda = 0.5;
  recipe->bank_momentum = 0.5;
  recipe->bank_update = PIRL_BANK_AFTER;
  recipe->learning_rate = 0.03; /* 0.12 at the paper's batch of 1024 */
  recipe->lr_schedule = PIRL_SCHEDULE_COSINE;
  recipe->warmup = 0;
  recipe->weight_decay = 1e-4;
  recipe->momentum = 0.9;
  recipe->bn_statistics = PIRL_BN_BOTH;
}

static void
set_moco (GstPirlTrainSettings * recipe)
{
  set_published (recipe);
  recipe->head = PIRL_HEAD_MLP;
  recipe->loss = PIRL_LOSS_INFONCE;
  recipe->temperature = 0.2;
  recipe->exclude_positive = TRUE;
  recipe->key_momentum = 0.999;
}

/* What the preset sets. */
static void
apply_preset (GstPirlTrainSettings * settings)
{
  GstPirlTrainSettings recipe;

  settings_init (&recipe);
  if (settings->preset == GST_PIRL_PRESET_MOCO)
    set_moco (&recipe);
  else if (settings->preset != GST_PIRL_PRESET_DEFAULT)
    set_published (&recipe);
  if (settings->preset == GST_PIRL_PRESET_MOCO)
    settings->objective = PIRL_OBJECTIVE_MOCO;
  else if (settings->preset == GST_PIRL_PRESET_NPID)
    settings->objective = PIRL_OBJECTIVE_NPID;
  settings->head = recipe.head;
  settings->loss = recipe.loss;
  settings->z_mode = recipe.z_mode;
  settings->temperature = recipe.temperature;
  settings->negatives = recipe.negatives;
  settings->exclude_positive = recipe.exclude_positive;
  settings->lambda = recipe.lambda;
  settings->bank_momentum = recipe.bank_momentum;
  settings->bank_update = recipe.bank_update;
  settings->key_momentum = recipe.key_momentum;
  settings->learning_rate = recipe.learning_rate;
  settings->have_learning_rate = settings->preset != GST_PIRL_PRESET_DEFAULT;
  settings->lr_schedule = recipe.lr_schedule;
  settings->warmup = recipe.warmup;
  settings->weight_decay = recipe.weight_decay;
  settings->momentum = recipe.momentum;
  settings->nesterov = recipe.nesterov;
  settings->bn_statistics = recipe.bn_statistics;
  gst_pirl_properties_clear (&gst_pirl_train_properties, &recipe);
}

static void
settings_changed (gpointer data, const GstPirlProperty * row)
{
  GstPirlTrainSettings *settings = data;

  if (row->offset == AT (preset))
    apply_preset (settings);
  if (row->offset == AT (learning_rate))
    settings->have_learning_rate = TRUE;
}

const GstPirlProperties gst_pirl_train_properties = {
  .rows = rows,.n = G_N_ELEMENTS (rows),.size = sizeof (GstPirlTrainSettings),
  .init = settings_init,.changed = settings_changed
};

/* ---- what they mean ----------------------------------------------------------------------- */

/* An hour's work must not end at a folder that cannot be written: try it now. */
static gboolean
check_writable (const gchar * path, GError ** error)
{
  g_autofree gchar *folder = g_path_get_dirname (path);
  g_autofree gchar *probe = g_strdup_printf ("%s/.pirl-XXXXXX", folder);
  const gchar *reason = NULL;
  gint fd;

  if (g_file_test (path, G_FILE_TEST_IS_DIR)) {
    reason = "it is a folder; name a file in it";
  } else if (!g_file_test (folder, G_FILE_TEST_IS_DIR)) {
    reason = "its folder does not exist; create it first";
  } else if ((fd = g_mkstemp (probe)) < 0) {
    reason = g_strerror (errno);
  } else {
    g_close (fd, NULL);
    g_unlink (probe);
  }
  if (reason == NULL)
    return TRUE;
  g_set_error (error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_OPEN_WRITE,
      "checkpoint-file \"%s\" cannot be written: %s", path, reason);
  return FALSE;
}

static gboolean
is_set (const gchar * text)
{
  return text != NULL && *text != '\0';
}

/* A recipe is one of an objective. */
static gboolean
check_preset (const GstPirlTrainSettings * settings, GError ** error)
{
  static const struct
  {
    guint objectives;           /* a bit each */
    const gchar *text;
  } fits[] = {
    [GST_PIRL_PRESET_DEFAULT] = {~0u, NULL},
    [GST_PIRL_PRESET_PAPER] = {1u << PIRL_OBJECTIVE_PIRL | 1u << PIRL_OBJECTIVE_NPID,
        "objective=pirl and npid"},
    [GST_PIRL_PRESET_NPID] = {1u << PIRL_OBJECTIVE_NPID, "objective=npid"},
    [GST_PIRL_PRESET_MOCO] = {1u << PIRL_OBJECTIVE_MOCO, "objective=moco"},
  };

  if (fits[settings->preset].objectives >> settings->objective & 1)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "preset=%s is a recipe for %s, and the objective is %s; use preset=default with it",
      preset_values[settings->preset].value_nick, fits[settings->preset].text,
      objective_values[settings->objective].value_nick);
  return FALSE;
}

gboolean
gst_pirl_train_settings_check (const GstPirlTrainSettings * settings, gboolean * resumed,
    PirlPosition * position, GError ** error)
{
  PirlTrunk trunk;

  *resumed = FALSE;
  if (!pirl_trunk_from_name (settings->arch ? settings->arch : "", settings->base_width,
          settings->width, &trunk, error) || !check_preset (settings, error))
    return FALSE;
  if (is_set (settings->model_file)) {
    g_autoptr (PirlSafetensors) file = pirl_safetensors_open (settings->model_file, error);

    if (file == NULL)
      return FALSE;
  }
  if (!is_set (settings->checkpoint_file)) {
    if (!settings->resume)
      return TRUE;
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "resume needs checkpoint-file, the file to go on from");
    return FALSE;
  }
  if (!check_writable (settings->checkpoint_file, error))
    return FALSE;
  if (settings->resume && g_file_test (settings->checkpoint_file, G_FILE_TEST_EXISTS)) {
    if (!pirl_trainer_peek (settings->checkpoint_file, position, error))
      return FALSE;
    *resumed = TRUE;
  }
  return TRUE;
}

/* @name becomes what the checkpoint has, unless it asks for something. */
static void
keep_precision (gchar ** name, gchar * kept)
{
  if (is_set (*name) && strcmp (*name, "auto") != 0) {
    g_free (kept);
    return;
  }
  g_free (*name);
  *name = kept;
}

gboolean
gst_pirl_train_settings_keep_precisions (GstPirlTrainSettings * settings, GError ** error)
{
  gchar *precision, *bank_precision;

  if (!pirl_trainer_peek_precision (settings->checkpoint_file, &precision, &bank_precision, error))
    return FALSE;
  keep_precision (&settings->precision, precision);
  keep_precision (&settings->bank_precision, bank_precision);
  return TRUE;
}

/* ---- views -------------------------------------------------------------------------------- */

#define BIT(transform) (1u << PIRL_TRANSFORM_##transform)

/* What an objective can learn from. */
static const struct
{
  guint transforms;
  const gchar *text;
} needs[] = {
  [PIRL_OBJECTIVE_PIRL] = {BIT (JIGSAW) | BIT (ROTATION) | BIT (BOTH), "jigsaw, rotation or both"},
  [PIRL_OBJECTIVE_NPID] = {~0u, NULL},
  [PIRL_OBJECTIVE_SUPERVISED] = {~0u, NULL},
  [PIRL_OBJECTIVE_JIGSAW] = {BIT (JIGSAW), "jigsaw"},
  [PIRL_OBJECTIVE_ROTATION] = {BIT (ROTATION), "rotation"},
  [PIRL_OBJECTIVE_MOCO] = {BIT (CROP), "crop"},
};

gboolean
gst_pirl_train_settings_check_views (const GstPirlTrainSettings * settings,
    const GstPirlViews * views, GError ** error)
{
  if (!(needs[settings->objective].transforms >> views->transform & 1)) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "objective=%s needs pirljigsaw transform=%s, and these views are of transform=%s",
        objective_values[settings->objective].value_nick, needs[settings->objective].text,
        pirl_transform_name (views->transform));
    return FALSE;
  }
  if (settings->objective == PIRL_OBJECTIVE_JIGSAW && views->permutations < 2) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "objective=jigsaw tells the permutations of a set apart, and the views %s; set pirljigsaw "
        "permutations, to 100 for example", views->permutations < 0 ? "do not say how many there are"
        : views->permutations == 0 ? "are shuffled by any that there is" : "know one only");
    return FALSE;
  }
  return TRUE;
}

#undef BIT

/* ---- what they mean for a data set -------------------------------------------------------- */

/* Steps of the whole run, 0 when nobody knows. An epoch's remainder is not trained. */
static guint64
run_length (const GstPirlTrainSettings * settings, const GstPirlDataset * dataset)
{
  if (settings->max_steps > 0)
    return settings->max_steps;
  if (dataset == NULL)
    return 0;
  return dataset->count / settings->batch_size * dataset->epochs;
}

static void
resolve_schedule (const GstPirlTrainSettings * settings, guint64 total, PirlSchedule * schedule)
{
  const gboolean adam = settings->optimizer == PIRL_OPTIMIZER_ADAM;
  const gdouble rate = adam && !settings->have_learning_rate ? ADAM_LEARNING_RATE
      : settings->learning_rate;

  schedule->kind = settings->lr_schedule;
  schedule->base = rate * settings->batch_size / LEARNING_RATE_BATCH;
  schedule->end = schedule->base * LEARNING_RATE_END;
  schedule->total = total;
  if (settings->warmup >= 0)
    schedule->warmup = settings->warmup;
  else if (total == 0)
    schedule->warmup = CAMERA_WARMUP;
  else
    schedule->warmup = MIN (MAX (total / 50, 10), total / 4);
}

/* An epoch makes at least one batch. */
static gboolean
check_count (const GstPirlTrainSettings * settings, const GstPirlDataset * dataset,
    GError ** error)
{
  guint64 count = dataset ? dataset->count : 0;

  if (count == 0 || count >= settings->batch_size)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "the data set has %" G_GUINT64_FORMAT " samples, a batch needs %u; set batch-size to "
      "%" G_GUINT64_FORMAT " or less, or bring more pictures", count, settings->batch_size,
      count);
  return FALSE;
}

/* The classes that labels number. */
static gboolean
resolve_classes (const GstPirlDataset * dataset, PirlTrainerConfig * config, GError ** error)
{
  if (dataset == NULL || dataset->n_classes < 2) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "objective=supervised needs labels of at least two classes, and %s; put pictures into one "
        "folder a class and read them with pirldatasetsrc, or use another objective",
        dataset == NULL ? "this stream brings none (a camera?)"
        : dataset->n_classes == 0 ? "this data set has none" : "this data set has one class only");
    return FALSE;
  }
  config->classes = dataset->n_classes;
  return TRUE;
}

/* Unless bank-size says it: a row for each sample, or a queue. */
static guint64
default_rows (const GstPirlTrainSettings * settings, const GstPirlDataset * dataset)
{
  guint64 count = dataset ? dataset->count : 0;

  if (settings->objective == PIRL_OBJECTIVE_MOCO) {
    count = count > 0 ? MIN (QUEUE_ROWS, count / 2) : CAMERA_BANK_ROWS;
    return MAX (count / settings->batch_size, 1) * settings->batch_size;
  }
  /* Shards share one numbering: indices go up to the total. */
  return count > 0 ? MAX (count, dataset->total) : CAMERA_BANK_ROWS;
}

/* A step's keys take the place of as many old ones. */
static gboolean
check_queue (const GstPirlTrainSettings * settings, guint64 rows_n, GError ** error)
{
  const guint64 less = rows_n / settings->batch_size * settings->batch_size;

  if (rows_n == less)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
      "a queue of %" G_GUINT64_FORMAT " keys is no multiple of the batch-size %u; set bank-size to "
      "%" G_GUINT64_FORMAT " or %" G_GUINT64_FORMAT, rows_n, settings->batch_size, less,
      less + settings->batch_size);
  return FALSE;
}

/* Rows of the bank, and how many of them a sample is compared with. */
static gboolean
resolve_bank (const GstPirlTrainSettings * settings, const GstPirlDataset * dataset,
    PirlTrainerConfig * config, GError ** error)
{
  const guint64 rows_n = settings->bank_size > 0 ? settings->bank_size
      : default_rows (settings, dataset);

  if (rows_n > G_MAXUINT32 || rows_n < settings->batch_size || rows_n < 2) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "a memory bank of %" G_GUINT64_FORMAT " rows does not go with batches of %u; set bank-size "
        "between the batch-size and %u", rows_n, settings->batch_size, G_MAXUINT32);
    return FALSE;
  }
  if (settings->objective == PIRL_OBJECTIVE_MOCO && !check_queue (settings, rows_n, error))
    return FALSE;
  if (settings->negatives > rows_n - 1) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "negatives is %" G_GUINT64_FORMAT ", but a memory bank of %" G_GUINT64_FORMAT " rows has "
        "%" G_GUINT64_FORMAT " others; set negatives to 0 to take them all", settings->negatives,
        rows_n, rows_n - 1);
    return FALSE;
  }
  config->bank_rows = rows_n;
  config->negatives = settings->negatives > 0 ? settings->negatives
      : settings->objective == PIRL_OBJECTIVE_MOCO ? rows_n - 1 : MIN (MAX_NEGATIVES, rows_n - 1);
  return TRUE;
}

/* The classes or the bank that the objective has. */
static gboolean
resolve_objective (const GstPirlTrainSettings * settings, const GstPirlViews * views,
    const GstPirlDataset * dataset, PirlTrainerConfig * config, GError ** error)
{
  config->objective = settings->objective;
  config->bank_rows = 0;
  switch (config->objective) {
    case PIRL_OBJECTIVE_SUPERVISED:
      return resolve_classes (dataset, config, error);
    case PIRL_OBJECTIVE_JIGSAW:
      config->classes = (guint) views->permutations;
      return TRUE;
    case PIRL_OBJECTIVE_ROTATION:
      config->classes = ROTATIONS;
      return TRUE;
    default:
      return resolve_bank (settings, dataset, config, error);
  }
}

gboolean
gst_pirl_train_settings_resolve (const GstPirlTrainSettings * settings,
    const GstPirlViews * views, const GstPirlDataset * dataset, PirlTrainerConfig * config,
    GError ** error)
{
  memset (config, 0, sizeof (*config));
  pirl_trainer_config_defaults (config);
  if (!pirl_trunk_from_name (settings->arch, settings->base_width, settings->width,
          &config->trunk, error)
      || !check_count (settings, dataset, error)
      || !resolve_objective (settings, views, dataset, config, error))
    return FALSE;
  resolve_schedule (settings, run_length (settings, dataset), &config->schedule);
  config->optimizer = settings->optimizer;
  config->head = settings->head;
  config->dim = settings->embedding_dim;
  config->hidden = (gint) settings->hidden;
  config->image_size = views->image;
  config->patch_size = views->patch;
  config->patches = views->patches;
  config->transform = (gchar *) pirl_transform_name (views->transform);
  config->batch = settings->batch_size;
  config->loss = settings->loss;
  config->z_mode = settings->z_mode;
  config->z = settings->z;
  config->temperature = settings->temperature;
  config->exclude_positive = settings->exclude_positive;
  config->near = settings->near_threshold;
  config->near_weight = settings->near_weight;
  config->lambda = settings->lambda;
  config->bank_momentum = settings->bank_momentum;
  config->bank_update = settings->bank_update;
  config->key_momentum = settings->key_momentum;
  config->momentum = settings->momentum;
  config->nesterov = settings->nesterov;
  config->weight_decay = settings->weight_decay;
  config->bn_statistics = settings->bn_statistics;
  config->seed = settings->seed;
  config->device = settings->device;
  config->precision = settings->precision;
  config->bank_precision = settings->bank_precision;
  config->n_threads = settings->n_threads;
  config->deterministic = settings->deterministic;
  return TRUE;
}
