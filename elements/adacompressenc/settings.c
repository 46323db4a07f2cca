/* gst-pirl: the settings of adacompressenc (see settings.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every property is a row of one table: its type, where it is kept, its range, when it may change.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "settings.h"

#include <string.h>

#define REFERENCE_QUALITY 75
/* Questions that wait while one is under way: as many as there are coders for. */
#define CLOUD_QUEUE 2

/* Where the bytes are: dense between 5 and 25. */
static const gint bandit_levels[] = { 5, 7, 9, 11, 13, 15, 17, 19, 22, 25, 30, 35, 45, 55, 65 };
/* The paper's. */
static const gint dqn_levels[] = { 5, 15, 25, 35, 45, 55, 65, 75, 85, 95 };

/* ---- enumerations ----------------------------------------------------------------------- */

static const GEnumValue policy_values[] = {
  {ADA_POLICY_FIXED, "The property quality, nothing is learnt", "fixed"},
  {ADA_POLICY_DQN, "The paper's agent: a network learns the value of each quality", "dqn"},
  {ADA_POLICY_BANDIT, "Bytes are computed, only agreement is learnt", "bandit"}, {0}
};
static const GstPirlEnum policy_enum = { "GstAdaCompressPolicy", policy_values };

static const GEnumValue features_values[] = {
  {ADA_FEATURES_SHIFT, "How far compression moves the features", "shift"},
  {ADA_FEATURES_FRAME, "The features of the frame", "frame"}, {0}
};
static const GstPirlEnum features_enum = { "GstAdaCompressFeatures", features_values };

static const GEnumValue agreement_values[] = {
  {ADA_AGREEMENT_TOP1_IN_TOP5, "The reference's first label is among the first five",
      "top1-in-top5"},
  {ADA_AGREEMENT_TOP5_OVERLAP, "Share of the reference's five labels that are found again",
      "top5-overlap"},
  {ADA_AGREEMENT_TOP1, "The first label is the reference's", "top1"}, {0}
};
static const GstPirlEnum agreement_enum = { "GstAdaCompressAgreement", agreement_values };

static const GEnumValue estimator_values[] = {
  {ADA_ESTIMATOR_BUDGET, "A byte budget and a sequential test of drift", "budget"},
  {ADA_ESTIMATOR_PAPER, "The paper's own rule", "paper"}, {0}
};
static const GstPirlEnum estimator_enum = { "GstAdaCompressEstimator", estimator_values };

static const GEnumValue retrain_output_values[] = {
  {ADA_RETRAIN_REFERENCE, "The reference quality leaves while the agent learns", "reference"},
  {ADA_RETRAIN_POLICY, "The agent's choice leaves always", "policy"}, {0}
};
static const GstPirlEnum retrain_output_enum = { "GstAdaCompressRetrainOutput", retrain_output_values };

static const GEnumValue upload_values[] = {
  {ADA_UPLOAD_NONE, "Estimates only: references and trials", "none"},
  {ADA_UPLOAD_EVERY_FRAME, "Each compressed frame as well, as far as the service keeps up",
      "every-frame"}, {0}
};
static const GstPirlEnum upload_enum = { "GstAdaCompressUpload", upload_values };

static const GEnumValue huffman_values[] = {
  {ADA_HUFFMAN_AUTO, "Tuned, but standard before RTP and where nobody can tell", "auto"},
  {ADA_HUFFMAN_STANDARD, "The tables of Annex K, the only ones that RTP can carry", "standard"},
  {ADA_HUFFMAN_OPTIMIZED, "Fitted to each frame, in a second pass", "optimized"},
  {ADA_HUFFMAN_TUNED, "Fitted to a sample of each frame, in one pass", "tuned"}, {0}
};
static const GstPirlEnum huffman_enum = { "GstAdaCompressHuffman", huffman_values };

/* ---- properties --------------------------------------------------------------------------- */

#define AT(field) G_STRUCT_OFFSET (AdaSettings, field)

static const GstPirlProperty rows[] = {
  /**
   * GstAdaCompressEnc:policy:
   *
   * Who chooses the quality of a frame.
   */
  {"policy", "Policy", "Who chooses the quality of a frame", GST_PIRL_ENUM, AT (policy),
      .values = &policy_enum},
  /**
   * GstAdaCompressEnc:quality:
   *
   * Of policy=fixed, on libjpeg's scale; 0 reads as 1.
   */
  {"quality", "Quality", "Quality of policy=fixed (0 reads as 1)", GST_PIRL_INT, AT (quality), 0, 100,
      .playing = TRUE},
  /**
   * GstAdaCompressEnc:min-quality:
   *
   * Nothing of less quality leaves, whatever the policy says. The agent is not told: it learns as
   * if it were free.
   */
  {"min-quality", "Minimum quality", "No frame leaves with less, whatever the policy chooses",
      GST_PIRL_INT, AT (min_quality), 0, 100, .playing = TRUE},
  /**
   * GstAdaCompressEnc:max-quality:
   *
   * Nothing of more quality leaves, references while retraining included. Where it is less than
   * min-quality, min-quality stands.
   */
  {"max-quality", "Maximum quality", "No frame leaves with more, whatever the policy chooses",
      GST_PIRL_INT, AT (max_quality), 0, 100, .playing = TRUE},
  /**
   * GstAdaCompressEnc:huffman:
   *
   * The entropy coder's tables; they change the bytes, never the picture. RTP (RFC 2435) carries no
   * tables, so that only the standard ones survive it. `auto` looks downstream, through queues,
   * tees, bins and whatever else passes JPEG on: where it meets a payloader, a sink that it does not
   * know, or an end that it cannot follow, it takes the standard tables, else tuned ones.
   */
  {"huffman", "Huffman tables", "Tables of the entropy coder (auto = tuned; standard before RTP "
        "and where downstream cannot be followed)", GST_PIRL_ENUM, AT (huffman),
      .values = &huffman_enum},
  /**
   * GstAdaCompressEnc:snapshot:
   *
   * Ends the stream after one frame.
   */
  {"snapshot", "Snapshot", "End the stream after one frame", GST_PIRL_BOOLEAN, AT (snapshot)},
  /**
   * GstAdaCompressEnc:features:
   *
   * What the agent sees beside the predicted sizes: what compression does to the extractor's
   * features (one run of the network a probe), or the features themselves (one run).
   */
  {"features", "Features", "What the agent sees of a frame", GST_PIRL_ENUM, AT (features),
      .values = &features_enum},
  /**
   * GstAdaCompressEnc:agreement:
   *
   * When the cloud's answer on a compressed frame counts as that on the reference.
   */
  {"agreement", "Agreement", "When an answer counts as the reference's", GST_PIRL_ENUM,
      AT (agreement), .values = &agreement_enum},
  /**
   * GstAdaCompressEnc:target-agreement:
   *
   * Share of frames that shall be seen as the reference is.
   */
  {"target-agreement", "Target agreement",
        "Share of frames that shall be seen as the reference is", GST_PIRL_DOUBLE,
      AT (target_agreement), 0, 1},
  /**
   * GstAdaCompressEnc:reference-quality:
   *
   * What agreement and size ratios are measured against; the best that the agent chooses.
   */
  {"reference-quality", "Reference quality",
        "Quality that agreement and sizes are measured against", GST_PIRL_INT,
      AT (reference_quality), 1, 100},
  /**
   * GstAdaCompressEnc:quality-levels:
   *
   * The qualities to choose from, "<5,15,25>" on a command line. The reference quality is always one
   * of them, and those above it are left out, since they cost more and agree no better. Empty: a
   * grid that is dense between 5 and 25 (bandit), or the paper's steps of ten from 5 (dqn).
   */
  {"quality-levels", "Quality levels", "Qualities to choose from, as in \"<5,15,25>\" "
        "(empty = the policy's own; the reference quality is always added)", GST_PIRL_INTS,
      AT (quality_levels), 1, 100},
  /**
   * GstAdaCompressEnc:alpha:
   *
   * Of policy=dqn: weight of the agreement in the reward alpha * A - size / size_ref + beta.
   */
  {"alpha", "Alpha", "Weight of agreement in the reward of policy=dqn", GST_PIRL_DOUBLE, AT (alpha), 0,
      1000},
  /**
   * GstAdaCompressEnc:beta:
   *
   * Of policy=dqn: constant of the reward.
   */
  {"beta", "Beta", "Constant of the reward of policy=dqn", GST_PIRL_DOUBLE, AT (beta), -1000, 1000},
  /**
   * GstAdaCompressEnc:gamma:
   *
   * Of policy=dqn: discount of later rewards.
   */
  {"gamma", "Gamma", "Discount of later rewards of policy=dqn", GST_PIRL_DOUBLE, AT (gamma), 0, 1},
  /**
   * GstAdaCompressEnc:epsilon:
   *
   * Of policy=dqn: share of random choices while it learns; -1 falls from 1 as published.
   */
  {"epsilon", "Epsilon", "Share of random choices while policy=dqn learns (-1 = falls from 1)",
      GST_PIRL_DOUBLE, AT (epsilon), -1, 1},
  /**
   * GstAdaCompressEnc:seed:
   *
   * Of everything random.
   */
  {"seed", "Seed", "Seed of everything random", GST_PIRL_UINT64, AT (seed), 0, (gdouble) G_MAXINT64},
  /**
   * GstAdaCompressEnc:agent-file:
   *
   * Where the agent is kept: read on the way to PAUSED if it is there, saved on the way back, at EOS
   * and every now and then, as a whole or not at all.
   */
  {"agent-file", "Agent file", "Safetensors file that the agent is read from and saved to "
        "(none: nothing is kept; it starts untrained, without a cloud with the shipped agent)", GST_PIRL_STRING, AT (agent_file)},
  /**
   * GstAdaCompressEnc:extractor:
   *
   * The network whose features the agent sees. Unset takes the shipped one; the empty string none, so
   * that the agent sees predicted sizes only.
   */
  {"extractor", "Extractor", "Safetensors file of the network whose features the agent sees "
        "(unset = the shipped one, empty = none)", GST_PIRL_STRING, AT (extractor)},
  /**
   * GstAdaCompressEnc:cloud:
   *
   * Who says what a picture shows: `local:MODEL.safetensors`, `replay:FILE.json`, a service, or
   * `application` for the signals #GstAdaCompressEnc::classify and #GstAdaCompressEnc::answer.
   * Without one nothing is learnt, and no picture leaves the machine but downstream.
   *
   * Services, and the variables of the environment that have their credentials:
   *
   * - `rekognition:REGION`: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
   * - `google:`: GOOGLE_API_KEY, or GOOGLE_OAUTH_ACCESS_TOKEN
   * - `azure:https://NAME.cognitiveservices.azure.com`: VISION_KEY
   * - `facepp:`: FACEPP_API_KEY, FACEPP_API_SECRET
   * - `baidu:`: BAIDU_API_KEY, BAIDU_SECRET_KEY
   * - `oip+http://HOST/v2/models/NAME` (or `oip+https`): GST_PIRL_OIP_TOKEN
   * - `torchserve+http://HOST/predictions/NAME` (or `torchserve+https`): TORCHSERVE_TOKEN
   *
   * Where a variable is not set, the file that GST_PIRL_CREDENTIALS names, or `?credentials=FILE`,
   * may have it (groups as the services are called; only its owner may read it). Credentials are
   * never in here.
   *
   * Each service takes `?endpoint=URL` (another address), `ca=FILE` (whom to trust), `cert=FILE` and
   * `key=FILE` (who we are; all PEM); `rekognition` also `max-labels=5` and `min-confidence=0`, `oip`
   * also `input=NAME` and `output=NAME`. A proxy is what http_proxy, https_proxy and no_proxy say.
   */
  {"cloud", "Cloud", "Who says what a picture shows: local:MODEL.safetensors, replay:FILE.json, "
        "rekognition:REGION, google:, azure:URL, facepp:, baidu:, oip+http(s)://HOST/v2/models/NAME, "
        "torchserve+http(s)://HOST/predictions/NAME, or application (none = nothing is learnt). "
        "Credentials come from the environment or a file",
      GST_PIRL_STRING, AT (cloud)},
  /**
   * GstAdaCompressEnc:cloud-timeout:
   *
   * Of one request; also how long EOS waits for what has been asked.
   */
  {"cloud-timeout", "Cloud time-out", "Milliseconds that a request may take", GST_PIRL_UINT,
      AT (cloud_timeout), 1, 3600000},
  /**
   * GstAdaCompressEnc:max-requests-per-minute:
   *
   * No minute has more requests than this, however it is chosen. A request is one picture sent
   * once: references, trials, uploads and retries alike. What has no turn waits, or is not asked;
   * the stream never waits.
   */
  {"max-requests-per-minute", "Maximum requests a minute",
        "Pictures sent to the cloud in any minute, retries included (0 = no limit)", GST_PIRL_UINT,
      AT (max_requests_per_minute), 0, 1000000},
  /**
   * GstAdaCompressEnc:max-requests:
   *
   * From READY to READY. After the last one nothing is sent any more, and a warning message says so
   * once; an agent that has not settled by then leaves the reference quality on. An estimate that
   * could not be asked to its end is not begun.
   */
  {"max-requests", "Maximum requests",
        "Pictures sent to the cloud in all, retries included; then a warning, and no more "
        "(0 = no limit)", GST_PIRL_UINT64, AT (max_requests)},
  /**
   * GstAdaCompressEnc:cloud-dry-run:
   *
   * Nothing is sent, and so nothing is learnt: what would be sent is told by messages
   * `adacompress-dry-run`, one a second at most, and in the log at level INFO, each.
   */
  {"cloud-dry-run", "Cloud dry run",
        "Send nothing; messages and the log say what would be sent (secrets as ***)",
      GST_PIRL_BOOLEAN, AT (cloud_dry_run)},
  /**
   * GstAdaCompressEnc:upload:
   *
   * Whether each frame that leaves is sent to the cloud, too, for its own labels: messages
   * `adacompress-labels`, and metas on the frames that leave afterwards. One upload is under way
   * and the newest frame waits; others are counted as dropped. Estimates share the connection: an
   * upload and an estimate (a reference and its trials) take turns where both wait.
   */
  {"upload", "Upload", "Frames that are sent to the cloud for their own labels (they share "
        "connection and limits with estimates, in turns)", GST_PIRL_ENUM, AT (upload),
      .values = &upload_enum},
  /**
   * GstAdaCompressEnc:estimator:
   *
   * How often the cloud is asked, and when scenery counts as changed.
   */
  {"estimator", "Estimator", "How often the cloud is asked, and when scenery counts as changed",
      GST_PIRL_ENUM, AT (estimator), .values = &estimator_enum},
  /**
   * GstAdaCompressEnc:estimate-budget:
   *
   * Bytes that estimates may cost, of the bytes that all frames would have at the reference quality.
   */
  {"estimate-budget", "Estimate budget",
        "Bytes that estimates may cost, as a share of all frames' reference bytes", GST_PIRL_DOUBLE,
      AT (estimate_budget), 0, 10},
  /**
   * GstAdaCompressEnc:retrain-output:
   *
   * What leaves while the agent learns.
   */
  {"retrain-output", "Retrain output", "What leaves while the agent learns", GST_PIRL_ENUM,
      AT (retrain_output), .values = &retrain_output_enum},
  /**
   * GstAdaCompressEnc:device:
   *
   * What computes the networks. `auto` is the CPU: the extractor is small, a single frame keeps no
   * GPU busy, and the agent that ships has learnt from the CPU's features. With `cuda`, which pays
   * for a big network as a `local:` cloud, features are those of 16-bit arithmetic.
   */
  {"device", "Device", "What computes the networks: cpu, cuda or cuda:N (the GPU number N), or "
        "auto (the CPU: the networks are small)", GST_PIRL_STRING, AT (device)},
  /**
   * GstAdaCompressEnc:n-threads:
   *
   * Threads that compute each of the networks: the extractor beside the stream, a `local:` cloud behind
   * it. A small extractor is soonest done by one: several must wait for each other.
   */
  {"n-threads", "Threads", "Threads that compute a network (0 = as many as the machine has cores)",
      GST_PIRL_UINT, AT (n_threads), 0, 1024},
  /**
   * GstAdaCompressEnc:post-messages:
   *
   * Whether a message `adacompress-decision` is posted for each frame. Changes of state always are.
   */
  {"post-messages", "Post messages", "Post a message for each frame", GST_PIRL_BOOLEAN,
      AT (post_messages), .playing = TRUE},
};

/* ---- the struct --------------------------------------------------------------------------- */

static void
settings_init (gpointer data)
{
  AdaSettings *settings = data;
  AdaControllerConfig agent = { 0 };
  AdaClientConfig client = { 0 };

  ada_controller_config_defaults (&agent);
  ada_client_config_defaults (&client);
  memset (settings, 0, sizeof (*settings));
  settings->policy = ADA_POLICY_BANDIT;
  settings->features = ADA_FEATURES_SHIFT;
  settings->agreement = ADA_AGREEMENT_TOP1_IN_TOP5;
  settings->estimator = ADA_ESTIMATOR_BUDGET;
  settings->retrain_output = ADA_RETRAIN_REFERENCE;
  settings->huffman = ADA_HUFFMAN_AUTO;
  settings->upload = ADA_UPLOAD_NONE;
  settings->quality = settings->reference_quality = REFERENCE_QUALITY;
  settings->max_quality = 100;
  settings->target_agreement = agent.target;
  settings->alpha = agent.alpha;
  settings->beta = agent.beta;
  settings->gamma = agent.gamma;
  settings->epsilon = agent.epsilon;
  settings->estimate_budget = agent.budget;
  settings->seed = agent.seed;
  settings->cloud_timeout = client.timeout;
  settings->device = g_strdup ("auto");
  settings->n_threads = 1;
  settings->quality_levels = g_array_new (FALSE, FALSE, sizeof (gint));
}

const GstPirlProperties ada_properties = {
  .rows = rows,.n = G_N_ELEMENTS (rows),.size = sizeof (AdaSettings),
  .init = settings_init
};

/* ---- the agent's and the client's --------------------------------------------------------- */

/* Those of @from below @reference, in order and each once, then @reference. */
static guint
ordered_levels (const gint * from, guint n, gint reference, gint * to)
{
  guint levels = 0;

  for (gint quality = 1; quality < reference && levels < ADA_MAX_LEVELS - 1; quality++) {
    for (guint i = 0; i < n; i++) {
      if (from[i] == quality) {
        to[levels++] = quality;
        break;
      }
    }
  }
  to[levels++] = reference;
  return levels;
}

static guint
resolve_levels (const AdaSettings * settings, gint * to)
{
  const GArray *own = settings->quality_levels;

  if (own->len > 0)
    return ordered_levels ((const gint *) own->data, own->len, settings->reference_quality, to);
  if (settings->policy == ADA_POLICY_DQN)
    return ordered_levels (dqn_levels, G_N_ELEMENTS (dqn_levels), settings->reference_quality, to);
  return ordered_levels (bandit_levels, G_N_ELEMENTS (bandit_levels),
      settings->reference_quality, to);
}

void
ada_settings_controller (const AdaSettings * settings, AdaControllerConfig * config)
{
  memset (config, 0, sizeof (*config));
  ada_controller_config_defaults (config);
  config->policy = settings->policy;
  config->estimator = settings->estimator;
  config->levels = resolve_levels (settings, config->qualities);
  config->target = settings->target_agreement;
  config->alpha = settings->alpha;
  config->beta = settings->beta;
  config->gamma = settings->gamma;
  config->epsilon = settings->epsilon;
  config->budget = settings->estimate_budget;
  config->reference_output = settings->retrain_output == ADA_RETRAIN_REFERENCE;
  config->cloud = ada_is_set (settings->cloud);
  config->seed = settings->seed;
}

void
ada_settings_client (const AdaSettings * settings, AdaClientConfig * config)
{
  ada_client_config_defaults (config);
  config->timeout = settings->cloud_timeout;
  config->queue = CLOUD_QUEUE;
  config->per_minute = settings->max_requests_per_minute;
  config->most = settings->max_requests;
  config->dry_run = settings->cloud_dry_run;
}
