/* adacompressenc: the controller on a simulated cloud: states, budget, files, and that deciding
 * never waits for learning.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#include <base/rng.h>
#include <controller.h>

enum { LEVELS = 8, INPUTS = 4, FEATURES = 8 };

static const gint qualities[LEVELS] = { 5, 10, 15, 20, 30, 45, 60, 75 };

/* --- pictures: what is hard shows, in part; with @move below 0 it looks easy --- */

typedef struct {
  AdaObservation observation;
  gfloat phi[LEVELS * INPUTS], features[FEATURES];
  gdouble sizes[LEVELS];
  gdouble threshold;            /* level from which on the service agrees */
} Picture;

static void
picture_draw (PirlRng *rng, gdouble offset, gdouble move, Picture *picture)
{
  const gdouble hard = pirl_rng_normal (rng);
  const gdouble seen = (move < 0 ? -hard : hard) + 0.5 * pirl_rng_normal (rng);

  picture->threshold = offset + 1.2 * hard + 0.5 * pirl_rng_normal (rng);
  for (guint l = 0; l < LEVELS; l++) {
    const gfloat phi[INPUTS] = { 1, l, l * l, seen };

    memcpy (picture->phi + l * INPUTS, phi, sizeof phi);
    picture->sizes[l] = 0.12 + 0.88 * l / (LEVELS - 1.0);
  }
  for (guint i = 0; i < FEATURES; i++)
    picture->features[i] = (gfloat) (i + move + pirl_rng_normal (rng));
  picture->features[0] = (gfloat) seen;
  picture->observation = (AdaObservation) {.levels = LEVELS,.inputs = INPUTS,
    .n_features = FEATURES,.phi = picture->phi,.features = picture->features,
    .sizes = picture->sizes
  };
}

static gboolean
agrees (const Picture *picture, guint level)
{
  return level == LEVELS - 1 || level >= picture->threshold;
}

/* --- a stream --- */

typedef struct {
  AdaController *controller;
  AdaControllerConfig config;
  PirlRng rng;
  gdouble frames, asked, cost;  /* cost: bytes to the cloud, of a reference of 1000 bytes */
  gdouble retrain_frames, agreed, inference;
  GPtrArray *changes;           /* "inference > retrain: reason" */
} Stream;

static const gchar *const state_names[] = { "inference", "estimate", "retrain" };

static void
state_changed (AdaState from, AdaState to, const gchar *reason, gpointer data)
{
  Stream *stream = data;
  AdaControllerStats stats;

  /* No lock is held: it may ask back. */
  ada_controller_stats (stream->controller, &stats);
  g_assert_cmpint (stats.state, ==, to);
  g_ptr_array_add (stream->changes, g_strdup_printf ("%s > %s: %s", state_names[from],
          state_names[to], reason));
}

static AdaControllerConfig
make_config (AdaPolicyKind policy)
{
  AdaControllerConfig config;

  ada_controller_config_defaults (&config);
  config.policy = policy;
  config.levels = LEVELS;
  config.inputs = INPUTS;
  config.n_features = FEATURES;
  config.cloud = TRUE;
  config.seed = 7;
  memcpy (config.qualities, qualities, sizeof qualities);
  return config;
}

static void
stream_init (Stream *stream, const AdaControllerConfig *config, guint64 seed)
{
  GError *error = NULL;

  *stream = (Stream) {.config = *config,.changes = g_ptr_array_new_with_free_func (g_free) };
  stream->controller = ada_controller_new (config, &error);
  g_assert_no_error (error);
  ada_controller_set_state_func (stream->controller, state_changed, stream);
  pirl_rng_init (&stream->rng, seed, 50, 0, PIRL_PURPOSE_TEST);
}

static void
stream_clear (Stream *stream)
{
  ada_controller_free (stream->controller);
  g_ptr_array_unref (stream->changes);
}

static void
check_decision (const Stream *stream, const AdaDecision *decision)
{
  const guint level = decision->level;

  g_assert_cmpuint (level, <, LEVELS);
  g_assert_cmpint (decision->quality, ==, decision->state == ADA_STATE_RETRAIN
      && stream->config.reference_output ? 75 : qualities[level]);
  g_assert_cmpint (decision->ask, ==, decision->state != ADA_STATE_INFERENCE
      || decision->n_trials > 0);
  g_assert_cmpuint (decision->n_trials, <=, stream->config.trials);
  for (guint i = 0; i < decision->n_trials; i++) {
    g_assert_cmpuint (decision->trials[i], <, LEVELS - 1);
    for (guint j = 0; j < i; j++)
      g_assert_cmpuint (decision->trials[i], !=, decision->trials[j]);
  }
}

static void
answer (Stream *stream, const Picture *picture, const AdaDecision *decision)
{
  gfloat outcome[LEVELS];
  gdouble cost = 1000;

  for (guint l = 0; l < LEVELS; l++)
    outcome[l] = -1;
  for (guint i = 0; i < decision->n_trials; i++) {
    outcome[decision->trials[i]] = agrees (picture, decision->trials[i]);
    cost += 1000 * picture->sizes[decision->trials[i]];
  }
  stream->asked++;
  if (decision->state == ADA_STATE_ESTIMATE)
    stream->cost += cost;
  ada_controller_answered (stream->controller, &picture->observation, decision, outcome,
      (gsize) cost, 1000);
}

/* @n frames; every question is answered at once. Returns the agreement of what left in
 * inference. */
static gdouble
stream_run (Stream *stream, gdouble offset, gdouble move, guint n)
{
  stream->agreed = stream->inference = 0;
  for (guint i = 0; i < n; i++) {
    Picture picture;
    AdaDecision decision;

    picture_draw (&stream->rng, offset, move, &picture);
    ada_controller_decide (stream->controller, &picture.observation, TRUE, &decision);
    stream->frames++;
    if (decision.ask || decision.state == ADA_STATE_INFERENCE)
      check_decision (stream, &decision);
    if (decision.state == ADA_STATE_RETRAIN) {
      stream->retrain_frames++;
    } else {
      stream->inference++;
      stream->agreed += agrees (&picture, decision.level);
    }
    if (decision.ask)
      answer (stream, &picture, &decision);
  }
  return stream->agreed / stream->inference;
}

static const gchar *
change (const Stream *stream, guint i)
{
  return i < stream->changes->len ? stream->changes->pdata[i] : "(none)";
}

static gchar *
make_path (void)
{
  g_autofree gchar *folder = g_dir_make_tmp ("controller-XXXXXX", NULL);

  return g_build_filename (folder, "agent.safetensors", NULL);
}

static void
remove_path (const gchar *path)
{
  g_autofree gchar *folder = g_path_get_dirname (path);

  g_assert_cmpint (g_remove (path), ==, 0);
  g_assert_cmpint (g_rmdir (folder), ==, 0);
}

/* --- states --- */

static void
test_from_nothing_to_an_agent (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  AdaControllerStats stats;
  Stream stream;
  gdouble agreement;

  stream_init (&stream, &config, 1);
  ada_controller_stats (stream.controller, &stats);
  g_assert_cmpint (stats.state, ==, ADA_STATE_RETRAIN);
  g_assert_true (isnan (stats.agreement));
  stream_run (&stream, 2, 0, 1000);
  g_assert_cmpuint (stream.changes->len, ==, 1);
  g_assert_cmpstr (change (&stream, 0), ==, "retrain > inference: agent settled");
  agreement = stream_run (&stream, 2, 0, 4000);
  ada_controller_stats (stream.controller, &stats);
  g_test_message ("%g frames of training; agreement %.3f; estimated %.3f [%.3f, %.3f]",
      stream.retrain_frames, agreement, stats.agreement, stats.agreement_low,
      stats.agreement_high);
  g_assert_cmpfloat (fabs (agreement - 0.95), <, 0.03);
  g_assert_cmpint (stats.state, ==, ADA_STATE_INFERENCE);
  g_assert_cmpuint (stats.remembered, ==, 1);
  g_assert_cmpfloat (stats.agreement_low, <=, agreement);
  g_assert_cmpfloat (stats.agreement_high, >=, agreement);
  g_assert_cmpuint (stats.estimates, ==, (guint64) stream.asked);
  g_assert_cmpuint (stats.retrains, ==, 0);
  stream_clear (&stream);
}

static void
test_estimates_keep_to_their_budget (void)
{
  static const gdouble budgets[] = { 0, 0.01, 0.05, 0.2 };

  for (guint b = 0; b < G_N_ELEMENTS (budgets); b++) {
    AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
    Stream stream;
    gdouble spent;

    config.budget = budgets[b];
    stream_init (&stream, &config, 2);
    stream_run (&stream, 2, 0, 1000);
    stream.cost = stream.frames = 0;
    /* Features that move make it ask more often, not more in all. */
    for (guint i = 0; i < 5; i++)
      stream_run (&stream, 2, i % 2, 2000);
    spent = stream.cost / (1000 * stream.frames);
    g_test_message ("budget %g: spent %.4f", budgets[b], spent);
    /* What the thousand frames before saved may be spent too: at most 50 estimates' worth. */
    g_assert_cmpfloat (spent, <=, budgets[b] + 0.002 + (budgets[b] > 0 ? 0.01 : 0));
    g_assert_cmpfloat (spent, >=, 0.75 * budgets[b]);
    stream_clear (&stream);
  }
}

/* Frames that nobody looks at bring what they bring: of all frames as much is spent as when each is
 * looked at. */
static void
test_passed_frames_count (void)
{
  static const guint passed[] = { 0, 1, 3 };

  for (guint k = 0; k < G_N_ELEMENTS (passed); k++) {
    AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
    Stream stream;
    gdouble spent;

    config.budget = 0.05;
    stream_init (&stream, &config, 2);
    stream_run (&stream, 2, 0, 1000);
    stream.cost = stream.frames = 0;
    for (guint i = 0; i < 8000; i++) {
      for (guint j = 0; j < passed[k]; j++)
        ada_controller_pass (stream.controller);
      stream_run (&stream, 2, 0, 1);
    }
    spent = stream.cost / (1000 * stream.frames * (1 + passed[k]));
    g_test_message ("%u of %u frames are passed: spent %.4f", passed[k], 1 + passed[k], spent);
    g_assert_cmpfloat (spent, >=, 0.75 * config.budget);
    g_assert_cmpfloat (spent, <=, config.budget + 0.012);
    stream_clear (&stream);
  }
}

static void
test_a_change_is_noticed_and_learnt (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  AdaControllerStats stats;
  Stream stream;
  gdouble before, after;

  stream_init (&stream, &config, 3);
  stream_run (&stream, 1, 0, 4000);
  before = stream_run (&stream, 3.5, 0, 300);
  stream_run (&stream, 3.5, 0, 5000);
  after = stream_run (&stream, 3.5, 0, 4000);
  ada_controller_stats (stream.controller, &stats);
  g_test_message ("agreement %.3f after the change, %.3f in the end", before, after);
  g_assert_cmpfloat (before, <, 0.8);
  g_assert_cmpfloat (fabs (after - 0.95), <, 0.03);
  g_assert_cmpuint (stats.retrains, ==, 1);
  g_assert_cmpstr (change (&stream, 1), ==, "inference > retrain: drift of agreement");
  g_assert_cmpstr (change (&stream, 2), ==, "retrain > inference: agent settled");
  g_assert_cmpuint (stats.remembered, ==, 2);
  stream_clear (&stream);
}

/* In the second scenery the hard pictures look easy, so that each agent fails in the other's. */
static void
test_a_remembered_agent_returns (void)
{
  const guint seeds = 5;
  guint recalled = 0;

  for (guint seed = 0; seed < seeds; seed++) {
    AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
    gdouble frames;
    Stream stream;

    stream_init (&stream, &config, 40 + seed);
    stream_run (&stream, 3, 1, 4000);
    stream_run (&stream, 3, -1, 6000);
    frames = stream.retrain_frames;
    stream_run (&stream, 3, 1, 6000);
    for (guint i = 0; i < stream.changes->len; i++) {
      if (g_str_has_prefix (change (&stream, i), "retrain > inference: remembered agent")) {
        recalled++;
        /* It takes less than learning anew. */
        g_assert_cmpfloat (stream.retrain_frames - frames, <, 150);
        break;
      }
    }
    stream_clear (&stream);
  }
  g_test_message ("%u of %u returns", recalled, seeds);
  g_assert_cmpuint (recalled, >=, 3);
}

static void
test_without_a_cloud_nothing_is_asked (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  AdaControllerStats stats;
  Stream stream;

  config.cloud = FALSE;
  stream_init (&stream, &config, 5);
  g_assert_cmpfloat (stream_run (&stream, 2, 0, 500), ==, 1);
  ada_controller_stats (stream.controller, &stats);
  g_assert_cmpint (stats.state, ==, ADA_STATE_INFERENCE);
  g_assert_cmpfloat (stats.p_est, ==, 0);
  g_assert_cmpfloat (stream.asked, ==, 0);
  stream_clear (&stream);
}

static void
test_a_full_queue_is_not_asked (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  Stream stream;
  Picture picture;
  AdaDecision decision;

  stream_init (&stream, &config, 6);
  picture_draw (&stream.rng, 2, 0, &picture);
  ada_controller_decide (stream.controller, &picture.observation, FALSE, &decision);
  g_assert_cmpint (decision.state, ==, ADA_STATE_RETRAIN);
  g_assert_false (decision.ask);
  g_assert_cmpint (decision.quality, ==, 75);
  stream_clear (&stream);
}

/* Neighbours of a film tell little: what stands still is asked about now and then; pictures in
 * any order are all asked about. */
static void
test_frames_that_are_alike_are_asked_about_once (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  Stream stream;
  Picture picture;
  guint asked = 0, any_order = 0;

  stream_init (&stream, &config, 15);
  for (guint i = 0; i < 100; i++) {
    AdaDecision decision;

    picture_draw (&stream.rng, 2, 0, &picture);
    ada_controller_decide (stream.controller, &picture.observation, TRUE, &decision);
    any_order += decision.ask;
  }
  for (guint i = 0; i < 160; i++) {
    AdaDecision decision;

    picture.features[0] += 0.01f;
    ada_controller_decide (stream.controller, &picture.observation, TRUE, &decision);
    asked += decision.ask;
  }
  g_test_message ("%u of 100 in any order, %u of 160 of a still", any_order, asked);
  g_assert_cmpuint (any_order, >=, 80);
  g_assert_cmpuint (asked, >=, 18);
  g_assert_cmpuint (asked, <=, 22);
  stream_clear (&stream);
}

static void
test_fixed_policy_decides_the_reference (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_FIXED);
  Stream stream;
  Picture picture;
  AdaDecision decision;

  stream_init (&stream, &config, 6);
  picture_draw (&stream.rng, 2, 0, &picture);
  ada_controller_decide (stream.controller, &picture.observation, TRUE, &decision);
  g_assert_false (decision.ask);
  g_assert_cmpint (decision.quality, ==, 75);
  stream_clear (&stream);
}

static void
test_failures_give_the_budget_back (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  guint asked[2] = { 0 };

  for (guint pass = 0; pass < 2; pass++) {
    Stream stream;

    stream_init (&stream, &config, 7);
    stream_run (&stream, 2, 0, 1000);
    for (guint i = 0; i < 4000; i++) {
      Picture picture;
      AdaDecision decision;

      picture_draw (&stream.rng, 2, 0, &picture);
      ada_controller_decide (stream.controller, &picture.observation, TRUE, &decision);
      asked[pass] += decision.ask;
      /* Never sent, or sent in vain. */
      if (decision.ask)
        ada_controller_failed (stream.controller, &decision, pass * 4000);
    }
    stream_clear (&stream);
  }
  g_test_message ("asked %u times when it costs nothing, %u times when it costs twice as much",
      asked[0], asked[1]);
  g_assert_cmpuint (asked[0], >, asked[1]);
}

/* The rule as published, worked by hand: p starts at .2 and changes by -3 times the difference of
 * the mean of the last ten; ten refusals in a row after ten agreements: the mean falls by .1
 * each, p rises by .3 each, to .95; after the third, the mean is .7 < .8: retraining. */
static void
test_the_papers_estimator (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  AdaControllerStats stats;
  Stream stream;
  Picture picture;
  AdaDecision decision = {.state = ADA_STATE_ESTIMATE,.level = 2,.quality = 15,.ask = TRUE,
    .n_trials = 1,.trials = { 2 }
  };
  gfloat outcome[LEVELS];

  config.estimator = ADA_ESTIMATOR_PAPER;
  stream_init (&stream, &config, 8);
  /* Until it has an agent. */
  do
    stream_run (&stream, 2, 0, 1);
  while (stream.changes->len == 0);
  picture_draw (&stream.rng, 2, 0, &picture);
  for (guint l = 0; l < LEVELS; l++)
    outcome[l] = -1;
  outcome[2] = 1;
  for (guint i = 0; i < 20; i++)
    ada_controller_answered (stream.controller, &picture.observation, &decision, outcome, 1, 1);
  ada_controller_stats (stream.controller, &stats);
  g_assert_cmpfloat_with_epsilon (stats.p_est, 0.2, 1e-9);
  outcome[2] = 0;
  for (guint i = 1; i <= 3; i++) {
    g_assert_cmpuint (stream.changes->len, ==, 1);
    ada_controller_answered (stream.controller, &picture.observation, &decision, outcome, 1, 1);
    ada_controller_stats (stream.controller, &stats);
    if (i < 3)
      g_assert_cmpfloat_with_epsilon (stats.p_est, 0.2 + 0.3 * i, 1e-9);
  }
  g_assert_cmpstr (change (&stream, 1), ==, "inference > retrain: drift of agreement");
  stream_clear (&stream);
}

/* The published minimum: 128 + 5 x 161 = 933 frames until epsilon is below .2. */
static void
test_the_papers_agent (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_DQN);
  AdaControllerStats stats;
  Stream stream;
  gdouble agreement;

  stream_init (&stream, &config, 9);
  while (stream.changes->len == 0 && stream.frames < 4000)
    stream_run (&stream, 1, 0, 20);
  g_assert_cmpstr (change (&stream, 0), ==, "retrain > inference: agent settled");
  g_assert_cmpfloat (stream.retrain_frames, >=, 920);
  ada_controller_stats (stream.controller, &stats);
  g_assert_cmpfloat (stats.epsilon, <, 0.2);
  g_assert_cmpfloat (stats.lambda, ==, 0);
  agreement = stream_run (&stream, 1, 0, 2000);
  g_test_message ("%g frames of training, agreement %.3f", stream.retrain_frames, agreement);
  g_assert_cmpfloat (agreement, >, 0.75);
  stream_clear (&stream);
}

/* --- the service's model --- */

static void
models_answer (Stream *stream, const gchar *version, guint n)
{
  for (guint i = 0; i < n; i++)
    ada_controller_model (stream->controller, version);
}

static AdaState
state_of (const Stream *stream)
{
  AdaControllerStats stats;

  ada_controller_stats (stream->controller, &stats);
  return stats.state;
}

/* An agent that knows its scenery; then the service is another. */
static void
test_another_model_is_a_drift (gconstpointer data)
{
  AdaControllerConfig config = make_config (GPOINTER_TO_INT (data));
  AdaControllerStats stats;
  Stream stream;

  stream_init (&stream, &config, 16);
  models_answer (&stream, "2024-01", 1);
  while (stream.changes->len == 0 && stream.frames < 4000)
    stream_run (&stream, 2, 0, 20);
  g_assert_cmpstr (change (&stream, 0), ==, "retrain > inference: agent settled");
  /* That it says nothing, or the same, is no change; nor is an answer now and then of a service
   * that is being updated. */
  models_answer (&stream, NULL, 20);
  models_answer (&stream, "", 20);
  for (guint i = 0; i < 5; i++) {
    models_answer (&stream, "2024-01", 1);
    models_answer (&stream, "2024-02", 7);
  }
  models_answer (&stream, "2024-03", 1);
  g_assert_cmpuint (stream.changes->len, ==, 1);
  models_answer (&stream, "2024-02", 7);
  g_assert_cmpint (state_of (&stream), ==, ADA_STATE_INFERENCE);
  models_answer (&stream, "2024-02", 1);
  g_assert_cmpstr (change (&stream, 1), ==,
      "inference > retrain: the service's model changed from 2024-01 to 2024-02");
  ada_controller_stats (stream.controller, &stats);
  g_assert_cmpint (stats.state, ==, ADA_STATE_RETRAIN);
  g_assert_cmpuint (stats.retrains, ==, 1);
  /* What was learnt of the old one is kept. */
  g_assert_cmpuint (stats.remembered, ==, 1);
  g_assert_cmpuint (stream.changes->len, ==, 2);
  stream_clear (&stream);
}

/* Under way to an agent: it begins anew, and that is told. */
static void
test_another_model_while_learning (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  Stream stream;

  stream_init (&stream, &config, 17);
  models_answer (&stream, "A", 9);
  stream_run (&stream, 2, 0, 40);
  g_assert_cmpuint (stream.changes->len, ==, 0);
  models_answer (&stream, "B", 8);
  g_assert_cmpstr (change (&stream, 0), ==,
      "retrain > retrain: the service's model changed from A to B");
  g_assert_cmpint (state_of (&stream), ==, ADA_STATE_RETRAIN);
  stream_run (&stream, 2, 0, 1000);
  g_assert_cmpstr (change (&stream, 1), ==, "retrain > inference: agent settled");
  stream_clear (&stream);
}

/* The new model sees as the old one did: the agent of the old one returns, sooner than learnt. */
static void
test_an_agent_survives_its_model (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  gdouble before;
  Stream stream;

  stream_init (&stream, &config, 18);
  models_answer (&stream, "A", 1);
  stream_run (&stream, 2, 0, 4000);
  before = stream.retrain_frames;
  models_answer (&stream, "B", 8);
  stream_run (&stream, 2, 0, 1000);
  g_test_message ("%g frames of retraining", stream.retrain_frames - before);
  g_assert_cmpstr (change (&stream, 2), ==, "retrain > inference: remembered agent 1");
  stream_clear (&stream);
}

/* A version of any length and of any bytes. */
static void
test_odd_models (void)
{
  static const gchar *const odd[] = { "\xff\xfe", "\n", "" };
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  g_autoptr (GString) text = g_string_new ("v");
  Stream stream;

  stream_init (&stream, &config, 19);
  models_answer (&stream, "A", 1);
  for (guint i = 0; i < 500; i++)
    g_string_append (text, "\xc3\xbc");
  models_answer (&stream, text->str, 8);
  for (guint i = 0; i < G_N_ELEMENTS (odd); i++)
    models_answer (&stream, odd[i], 8);
  g_assert_cmpuint (stream.changes->len, ==, 3);
  for (guint i = 0; i < 3; i++)
    g_assert_true (g_utf8_validate (change (&stream, i), -1, NULL));
  stream_clear (&stream);
}

static void
test_a_file_keeps_the_model (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  g_autofree gchar *path = make_path ();
  GError *error = NULL;
  Stream stream, loaded;

  stream_init (&stream, &config, 20);
  models_answer (&stream, "model \"A\"", 1);
  stream_run (&stream, 2, 0, 1000);
  g_assert_true (ada_controller_save (stream.controller, path, NULL, &error));
  g_assert_no_error (error);
  stream_init (&loaded, &config, 20);
  g_assert_true (ada_controller_load (loaded.controller, path, NULL, &error));
  g_assert_no_error (error);
  models_answer (&loaded, "model \"A\"", 20);
  g_assert_cmpuint (loaded.changes->len, ==, 0);
  models_answer (&loaded, "B", 8);
  g_assert_cmpstr (change (&loaded, 0), ==,
      "inference > retrain: the service's model changed from model \"A\" to B");
  stream_clear (&stream);
  stream_clear (&loaded);
  remove_path (path);
}

static void
test_dqn_needs_features (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_DQN);
  GError *error = NULL;

  config.n_features = 0;
  g_assert_null (ada_controller_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
}

static void
test_what_cannot_be_is_refused (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  GError *error = NULL;

  config.qualities[3] = config.qualities[2];
  g_assert_null (ada_controller_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  config = make_config (ADA_POLICY_BANDIT);
  config.target = 1;
  g_assert_null (ada_controller_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  config = make_config (ADA_POLICY_BANDIT);
  config.levels = 1;
  g_assert_null (ada_controller_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
}

/* --- files --- */

/* Saved in the middle of a retraining, and in inference: the loaded one goes on as the saved one
 * does. */
static void
test_a_file_continues (gconstpointer data)
{
  const AdaPolicyKind policy = GPOINTER_TO_INT (data);
  const guint saved_at[] = { 150, 6000 };

  for (guint s = 0; s < G_N_ELEMENTS (saved_at); s++) {
    AdaControllerConfig config = make_config (policy);
    g_autofree gchar *path = make_path ();
    AdaControllerStats a, b;
    GError *error = NULL;
    Stream stream, loaded;

    stream_init (&stream, &config, 10);
    stream_run (&stream, 1, 0, saved_at[s] / 2);
    stream_run (&stream, 3, 0, saved_at[s] / 2);
    g_assert_true (ada_controller_save (stream.controller, path, "extractor-1", &error));
    g_assert_no_error (error);
    stream_init (&loaded, &config, 10);
    g_assert_true (ada_controller_load (loaded.controller, path, "extractor-1", &error));
    g_assert_no_error (error);
    ada_controller_stats (stream.controller, &a);
    ada_controller_stats (loaded.controller, &b);
    g_assert_cmpint (a.state, ==, b.state);
    g_assert_cmpfloat (a.lambda, ==, b.lambda);
    g_assert_cmpfloat (a.epsilon, ==, b.epsilon);
    g_assert_cmpfloat (a.p_est, ==, b.p_est);
    g_assert_cmpuint (a.estimates, ==, b.estimates);
    g_assert_cmpuint (a.retrains, ==, b.retrains);
    g_assert_cmpuint (a.remembered, ==, b.remembered);
    g_assert_cmpfloat_with_epsilon (a.evidence, b.evidence, 1e-12);
    loaded.rng = stream.rng;
    for (guint i = 0; i < 40; i++) {
      Picture picture;
      AdaDecision c, d;

      picture_draw (&stream.rng, 3, 0, &picture);
      ada_controller_decide (stream.controller, &picture.observation, TRUE, &c);
      ada_controller_decide (loaded.controller, &picture.observation, TRUE, &d);
      g_assert_cmpint (c.state, ==, d.state);
      if (policy == ADA_POLICY_BANDIT || c.state != ADA_STATE_RETRAIN)
        g_assert_cmpuint (c.level, ==, d.level);
      if (c.ask && d.ask) {
        answer (&stream, &picture, &c);
        answer (&loaded, &picture, &d);
      }
    }
    stream_clear (&stream);
    stream_clear (&loaded);
    remove_path (path);
  }
}

static void
assert_mismatch (const AdaControllerConfig *config, const gchar *path, const gchar *extractor,
    const gchar *has, const gchar *needs)
{
  GError *error = NULL;
  AdaController *controller = ada_controller_new (config, &error);
  AdaControllerStats stats;

  g_assert_no_error (error);
  g_assert_false (ada_controller_load (controller, path, extractor, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, has));
  g_assert_nonnull (strstr (error->message, needs));
  g_clear_error (&error);
  /* It is as it was. */
  ada_controller_stats (controller, &stats);
  g_assert_cmpint (stats.state, ==, ADA_STATE_RETRAIN);
  ada_controller_free (controller);
}

static void
test_another_extractor_policy_or_list_is_refused (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT), other;
  g_autofree gchar *path = make_path ();
  GError *error = NULL;
  Stream stream;

  stream_init (&stream, &config, 11);
  stream_run (&stream, 2, 0, 600);
  g_assert_true (ada_controller_save (stream.controller, path, "extractor-1", &error));
  assert_mismatch (&config, path, "extractor-2", "extractor-1", "extractor-2");
  other = make_config (ADA_POLICY_DQN);
  assert_mismatch (&other, path, "extractor-1", "bandit", "dqn");
  other = config;
  other.qualities[1] = 11;
  assert_mismatch (&other, path, "extractor-1", "5 10 15", "5 11 15");
  other = config;
  other.inputs = INPUTS + 1;
  assert_mismatch (&other, path, "extractor-1", "[4]", "[5]");
  stream_clear (&stream);
  remove_path (path);
}

/* Every byte in turn is damaged: an error or an agent, never a crash or a number that is none. */
static void
test_damaged_files_are_refused (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  g_autofree gchar *path = make_path (), *bytes = NULL;
  GError *error = NULL;
  Stream stream;
  PirlRng rng;
  gsize length;

  stream_init (&stream, &config, 12);
  stream_run (&stream, 2, 0, 260);
  g_assert_true (ada_controller_save (stream.controller, path, NULL, &error));
  g_assert_true (g_file_get_contents (path, &bytes, &length, NULL));
  pirl_rng_init (&rng, 12, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < 400; i++) {
    const gsize at = pirl_rng_below (&rng, length), cut = i % 10 == 0 ? at : length;
    const gchar was = bytes[at];
    AdaController *controller = ada_controller_new (&config, NULL);
    AdaDecision decision;
    Picture picture;

    bytes[at] = (gchar) pirl_rng_below (&rng, 256);
    g_assert_true (g_file_set_contents (path, bytes, cut, NULL));
    if (!ada_controller_load (controller, path, NULL, &error)) {
      g_assert_nonnull (error);
      g_clear_error (&error);
    }
    picture_draw (&rng, 2, 0, &picture);
    ada_controller_decide (controller, &picture.observation, TRUE, &decision);
    g_assert_cmpuint (decision.level, <, LEVELS);
    bytes[at] = was;
    ada_controller_free (controller);
  }
  stream_clear (&stream);
  remove_path (path);
}

/* --- threads --- */

typedef struct {
  AdaController *controller;
  gint stop;
} Deciding;

static gpointer
decide_on (gpointer data)
{
  Deciding *deciding = data;
  guint64 frames = 0;
  PirlRng rng;

  pirl_rng_init (&rng, 13, 1, 0, PIRL_PURPOSE_TEST);
  while (!g_atomic_int_get (&deciding->stop) || frames < 1000) {
    Picture picture;
    AdaDecision decision;

    picture_draw (&rng, 2, 0, &picture);
    ada_controller_decide (deciding->controller, &picture.observation, FALSE, &decision);
    g_assert_cmpuint (decision.level, <, LEVELS);
    frames++;
  }
  return GSIZE_TO_POINTER (frames);
}

/* One thread decides while another learns, saves, and changes state. */
static void
test_deciding_beside_learning (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  g_autofree gchar *path = make_path ();
  Deciding deciding = { 0 };
  GThread *thread;
  Stream stream;
  guint64 frames;

  stream_init (&stream, &config, 13);
  deciding.controller = stream.controller;
  thread = g_thread_new ("decide", decide_on, &deciding);
  for (guint i = 0; i < 6; i++) {
    stream_run (&stream, i % 2 == 0 ? 1 : 4, 0, 700);
    g_assert_true (ada_controller_save (stream.controller, path, NULL, NULL));
  }
  g_atomic_int_set (&deciding.stop, 1);
  frames = GPOINTER_TO_SIZE (g_thread_join (thread));
  g_test_message ("%" G_GUINT64_FORMAT " frames were decided beside %g answers", frames,
      stream.asked);
  g_assert_cmpuint (frames, >=, 1000);
  stream_clear (&stream);
  remove_path (path);
}

/* The callback runs inside answered(): others must be able to decide, and it to save, meanwhile. */
typedef struct {
  Stream *stream;
  gboolean decided;
} Inside;

static gpointer
decide_once (gpointer data)
{
  Inside *inside = data;
  Picture picture;
  AdaDecision decision;
  PirlRng rng;

  pirl_rng_init (&rng, 14, 1, 0, PIRL_PURPOSE_TEST);
  picture_draw (&rng, 2, 0, &picture);
  ada_controller_decide (inside->stream->controller, &picture.observation, TRUE, &decision);
  inside->decided = TRUE;
  return NULL;
}

static void
decide_inside (AdaState from, AdaState to, const gchar *reason, gpointer data)
{
  Inside *inside = data;
  GThread *thread = g_thread_new ("decide", decide_once, inside);
  g_autofree gchar *path = make_path ();

  g_thread_join (thread);
  /* Nor is anything held that saving needs. */
  g_assert_true (ada_controller_save (inside->stream->controller, path, NULL, NULL));
  remove_path (path);
}

static void
test_a_change_of_state_is_told_without_locks (void)
{
  AdaControllerConfig config = make_config (ADA_POLICY_BANDIT);
  Stream stream;
  Inside inside = {.stream = &stream };

  stream_init (&stream, &config, 14);
  ada_controller_set_state_func (stream.controller, decide_inside, &inside);
  stream_run (&stream, 2, 0, 600);
  g_assert_true (inside.decided);
  stream_clear (&stream);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/controller/cold-start", test_from_nothing_to_an_agent);
  g_test_add_func ("/controller/budget", test_estimates_keep_to_their_budget);
  g_test_add_func ("/controller/passed-frames", test_passed_frames_count);
  g_test_add_func ("/controller/change", test_a_change_is_noticed_and_learnt);
  g_test_add_func ("/controller/return", test_a_remembered_agent_returns);
  g_test_add_func ("/controller/no-cloud", test_without_a_cloud_nothing_is_asked);
  g_test_add_func ("/controller/full-queue", test_a_full_queue_is_not_asked);
  g_test_add_func ("/controller/alike", test_frames_that_are_alike_are_asked_about_once);
  g_test_add_func ("/controller/fixed", test_fixed_policy_decides_the_reference);
  g_test_add_func ("/controller/failures", test_failures_give_the_budget_back);
  g_test_add_func ("/controller/paper-estimator", test_the_papers_estimator);
  g_test_add_func ("/controller/paper-agent", test_the_papers_agent);
  g_test_add_data_func ("/controller/model/bandit", GINT_TO_POINTER (ADA_POLICY_BANDIT),
      test_another_model_is_a_drift);
  g_test_add_data_func ("/controller/model/dqn", GINT_TO_POINTER (ADA_POLICY_DQN),
      test_another_model_is_a_drift);
  g_test_add_func ("/controller/model/learning", test_another_model_while_learning);
  g_test_add_func ("/controller/model/remembered", test_an_agent_survives_its_model);
  g_test_add_func ("/controller/model/odd", test_odd_models);
  g_test_add_func ("/controller/model/file", test_a_file_keeps_the_model);
  g_test_add_func ("/controller/dqn-features", test_dqn_needs_features);
  g_test_add_func ("/controller/refusals", test_what_cannot_be_is_refused);
  g_test_add_data_func ("/controller/file/bandit", GINT_TO_POINTER (ADA_POLICY_BANDIT),
      test_a_file_continues);
  g_test_add_data_func ("/controller/file/dqn", GINT_TO_POINTER (ADA_POLICY_DQN),
      test_a_file_continues);
  g_test_add_func ("/controller/mismatch", test_another_extractor_policy_or_list_is_refused);
  g_test_add_func ("/controller/damaged", test_damaged_files_are_refused);
  g_test_add_func ("/controller/threads", test_deciding_beside_learning);
  g_test_add_func ("/controller/callback", test_a_change_of_state_is_told_without_locks);
  return g_test_run ();
}
