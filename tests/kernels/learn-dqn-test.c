/* gst-pirl: the DQN against PyTorch, closed forms, and rewards that are known.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Usage: learn-dqn-test learn-dqn-golden.json (made by learn-dqn-golden.py). */
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "learn/dqn.h"

static const gchar *golden_path;

static PirlDqn *
make (const PirlDqnConfig *config)
{
  GError *error = NULL;
  PirlDqn *dqn = pirl_dqn_new (config, &error);

  g_assert_no_error (error);
  return dqn;
}

static void
learn (PirlDqn *dqn, const gfloat *state, guint action, gdouble reward, const gfloat *next)
{
  GError *error = NULL;

  g_assert_true (pirl_dqn_learn (dqn, state, action, reward, next, &error));
  g_assert_no_error (error);
}

static gchar *
make_path (void)
{
  g_autofree gchar *folder = g_dir_make_tmp ("dqn-XXXXXX", NULL);

  return g_build_filename (folder, "agent.safetensors", NULL);
}

static void
remove_path (const gchar *path)
{
  g_autofree gchar *folder = g_path_get_dirname (path);

  g_assert_cmpint (g_remove (path), ==, 0);
  g_assert_cmpint (g_rmdir (folder), ==, 0);
}

static PirlSafetensors *
save_and_open (PirlDqn *dqn, const gchar *path)
{
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) keep = g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref);
  GError *error = NULL;
  PirlSafetensors *file;

  pirl_dqn_save (dqn, writer, "agent", keep);
  pirl_safetensors_writer_write (writer, path, &error);
  g_assert_no_error (error);
  file = pirl_safetensors_open (path, &error);
  g_assert_no_error (error);
  return file;
}

/* --- against PyTorch --- */

enum { FEATURES = 6, ACTIONS = 3, LEARNINGS = 3 };

/* The recipe of learn-dqn-golden.py. */
static void
recipe (gfloat *values, gsize n, gdouble scale, gdouble phase)
{
  for (gsize i = 0; i < n; i++)
    values[i] = (gfloat) (scale * sin (0.7 * i + phase));
}

/* Gives @dqn the recipe's weights, through a file. */
static void
load_recipe (PirlDqn *dqn)
{
  static const guint widths[] = { FEATURES, 64, 32, 32, ACTIONS };
  static const PirlShape state_shape = {.rank = 1,.dim = { 5 } };
  const gdouble state[5] = { 0, 0, 0, 1, 1 };
  g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
  g_autoptr (GPtrArray) keep = g_ptr_array_new_with_free_func (g_free);
  g_autofree gchar *path = make_path ();
  g_autoptr (PirlSafetensors) file = NULL;
  GError *error = NULL;

  for (guint i = 0; i < 4; i++) {
    const PirlShape shapes[] = {
      {.rank = 2,.dim = { widths[i + 1], widths[i] }}, {.rank = 1,.dim = { widths[i + 1] }}
    };
    static const gchar *const kinds[] = { "weight", "bias" };

    for (guint k = 0; k < 2; k++) {
      g_autofree gchar *name = g_strdup_printf ("agent.q.%u.%s", i, kinds[k]);
      const gsize n = pirl_shape_count (&shapes[k]);
      gfloat *values = g_new (gfloat, n);

      recipe (values, n, k == 0 ? 0.25 : 0.1, 2 * i + k);
      g_ptr_array_add (keep, values);
      pirl_safetensors_writer_add (writer, name, PIRL_DTYPE_F32, &shapes[k], values);
    }
  }
  pirl_safetensors_writer_add (writer, "agent.state", PIRL_DTYPE_F64, &state_shape, state);
  g_assert_true (pirl_safetensors_writer_write (writer, path, &error));
  file = pirl_safetensors_open (path, &error);
  g_assert_no_error (error);
  pirl_dqn_load (dqn, file, "agent", &error);
  g_assert_no_error (error);
  remove_path (path);
}

static void
test_learning_is_that_of_pytorch (void)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (PirlDqn) dqn = NULL;
  PirlDqnConfig config;
  gfloat state[FEATURES];
  JsonArray *rows;

  g_assert_true (json_parser_load_from_file (parser, golden_path, NULL));
  rows = json_object_get_array_member (json_node_get_object (json_parser_get_root (parser)), "q");
  g_assert_cmpuint (json_array_get_length (rows), ==, LEARNINGS + 1);
  pirl_dqn_config_defaults (&config);
  config.features = FEATURES;
  config.actions = ACTIONS;
  config.start = config.learn_every = config.replay = 1;
  config.batch = 8;
  dqn = make (&config);
  load_recipe (dqn);
  recipe (state, FEATURES, 1, 20);
  for (guint i = 0; i <= LEARNINGS; i++) {
    JsonArray *row = json_array_get_array_element (rows, i);
    gfloat q[ACTIONS];

    pirl_dqn_q (dqn, state, q);
    for (guint a = 0; a < ACTIONS; a++)
      g_assert_cmpfloat_with_epsilon (q[a], json_array_get_double_element (row, a), 2e-6);
    learn (dqn, state, 1, 0.7, NULL);
  }
}

/* --- the published sizes --- */

static void
test_the_published_network_has_85450_parameters (void)
{
  PirlDqnConfig config;
  g_autofree gchar *path = make_path ();
  g_autoptr (PirlDqn) dqn = NULL;
  g_autoptr (PirlSafetensors) file = NULL;
  gsize parameters = 0;

  pirl_dqn_config_defaults (&config);
  config.seed = 1;
  dqn = make (&config);
  file = save_and_open (dqn, path);
  for (guint i = 0; i < pirl_safetensors_count (file); i++) {
    const PirlTensor *tensor = pirl_safetensors_nth (file, i);
    const gfloat *values = tensor->data;
    gfloat most = 0;

    if (!g_str_has_prefix (tensor->name, "agent.q."))
      continue;
    parameters += pirl_shape_count (&tensor->shape);
    for (gsize j = 0; j < pirl_shape_count (&tensor->shape); j++)
      most = MAX (most, fabsf (values[j]));
    /* Glorot: U (+-sqrt (6 / (in + out))); biases 0. */
    if (g_str_has_suffix (tensor->name, "bias")) {
      g_assert_cmpfloat (most, ==, 0);
    } else {
      const gdouble limit = sqrt (6.0 / (tensor->shape.dim[0] + tensor->shape.dim[1]));

      g_assert_cmpfloat (most, <=, limit);
      g_assert_cmpfloat (most, >, 0.97 * limit);
    }
  }
  g_assert_cmpuint (parameters, ==, 85450);
  g_assert_false (pirl_dqn_trained (dqn));
  remove_path (path);
}

/* --- rewards that are known --- */

/* Three kinds of pictures; which action pays is another for each. */
static const gdouble payoff[3][ACTIONS] = { {1, 0.2, 0}, {0.1, 0.8, 0.3}, {0, 0.4, 0.9} };

static guint
draw_state (PirlRng *rng, gfloat *state)
{
  const guint kind = pirl_rng_below (rng, 3);

  for (guint i = 0; i < FEATURES; i++)
    state[i] = (i % 3 == kind ? 1.0f : 0) + 0.2f * pirl_rng_normal (rng);
  return kind;
}

static PirlDqnConfig
small_config (void)
{
  PirlDqnConfig config;

  pirl_dqn_config_defaults (&config);
  config.features = FEATURES;
  config.actions = ACTIONS;
  config.batch = 64;
  config.seed = 3;
  return config;
}

/* As a stream does it: what is chosen is learnt from. */
static void
live (PirlDqn *dqn, PirlRng *rng, guint n, guint turn)
{
  for (guint i = 0; i < n; i++) {
    gfloat state[FEATURES];
    const guint kind = draw_state (rng, state);
    const guint action = pirl_dqn_choose (dqn, state, TRUE);

    learn (dqn, state, action,
        payoff[(kind + turn) % 3][action] + 0.1 * pirl_rng_normal (rng), NULL);
  }
}

static gdouble
success (PirlDqn *dqn, PirlRng *rng, guint turn)
{
  guint good = 0;

  for (guint i = 0; i < 500; i++) {
    gfloat state[FEATURES];
    const guint kind = (draw_state (rng, state) + turn) % 3;
    const guint action = pirl_dqn_choose (dqn, state, FALSE);

    good += payoff[kind][action] >= MAX (payoff[kind][(action + 1) % 3],
        payoff[kind][(action + 2) % 3]);
  }
  return good / 500.0;
}

static void
test_it_finds_what_pays (void)
{
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = make (&config);
  gdouble before, after;
  PirlRng rng;

  pirl_rng_init (&rng, 3, 0, 0, PIRL_PURPOSE_TEST);
  live (dqn, &rng, 900, 0);
  g_assert_true (pirl_dqn_trained (dqn));
  g_assert_cmpfloat (success (dqn, &rng, 0), >, 0.95);
  /* Another scenery: the old answers are wrong; a retraining explores again, so that it finds the
   * new. */
  before = success (dqn, &rng, 1);
  pirl_dqn_restart (dqn);
  g_assert_cmpfloat (pirl_dqn_epsilon (dqn), ==, 1);
  g_assert_cmpuint (pirl_dqn_steps (dqn), ==, 0);
  g_assert_cmpfloat (success (dqn, &rng, 0), >, 0.95);
  live (dqn, &rng, 900, 1);
  after = success (dqn, &rng, 1);
  g_test_message ("%.3f of the choices pay after the change, %.3f after the retraining", before,
      after);
  g_assert_cmpfloat (before, <, 0.1);
  g_assert_cmpfloat (after, >, 0.95);
}

/* One state that leads to itself and always pays 1: Q = 1 / (1 - gamma). With targets computed
 * once, when stored, and never again, it would end far below. */
static void
test_a_discount_sums_what_is_to_come (void)
{
  const gfloat state[FEATURES] = { 1, 0.5f, 0, -0.5f, 0.2f, 1 };
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = NULL;
  gfloat q[ACTIONS];

  config.gamma = 0.5;
  config.start = config.learn_every = config.target_every = 1;
  dqn = make (&config);
  for (guint i = 0; i < 150; i++)
    learn (dqn, state, i % ACTIONS, 1, state);
  pirl_dqn_q (dqn, state, q);
  for (guint a = 0; a < ACTIONS; a++)
    g_assert_cmpfloat_with_epsilon (q[a], 2, 0.1);
}

/* 1 until T_start, then .99 a learning, every fifth step, down to the floor. */
static void
test_epsilon_falls_as_published (void)
{
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = NULL;
  guint learnings = 0;
  PirlRng rng;

  config.batch = 4;
  config.epochs = 1;
  dqn = make (&config);
  pirl_rng_init (&rng, 4, 0, 0, PIRL_PURPOSE_TEST);
  for (guint step = 1; step <= 2200; step++) {
    live (dqn, &rng, 1, 0);
    learnings += step >= 128 && step % 5 == 0;
    g_assert_cmpfloat_with_epsilon (pirl_dqn_epsilon (dqn), MAX (pow (0.99, learnings), 0.02),
        1e-9);
    /* Below .2 after 161 learnings. */
    if (learnings == 161)
      g_assert_cmpfloat (pirl_dqn_epsilon (dqn), <, 0.2);
    else if (learnings == 160)
      g_assert_cmpfloat (pirl_dqn_epsilon (dqn), >, 0.2);
  }
  g_assert_cmpfloat (pirl_dqn_epsilon (dqn), ==, 0.02);
}

static void
test_a_fixed_epsilon_explores_that_often (void)
{
  const gfloat state[FEATURES] = { 1, 0, 0, 1, 0, 0 };
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = NULL;
  guint best, other = 0;
  PirlRng rng;

  config.epsilon_decay = 0;
  config.epsilon_min = 0.3;
  dqn = make (&config);
  pirl_rng_init (&rng, 5, 0, 0, PIRL_PURPOSE_TEST);
  live (dqn, &rng, 300, 0);
  g_assert_cmpfloat (pirl_dqn_epsilon (dqn), ==, 0.3);
  best = pirl_dqn_choose (dqn, state, FALSE);
  for (guint i = 0; i < 6000; i++)
    other += pirl_dqn_choose (dqn, state, TRUE) != best;
  /* Two of three random actions are others: 1200 +- 31. */
  g_assert_cmpfloat (fabs (other - 1200.0), <, 160);
}

/* --- files --- */

static void
test_a_file_keeps_everything (void)
{
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = NULL, loaded = NULL;
  g_autoptr (PirlSafetensors) file = NULL;
  g_autofree gchar *path = make_path ();
  GError *error = NULL;
  PirlRng rng;

  /* The ring has wrapped around. */
  config.replay = 150;
  dqn = make (&config);
  loaded = make (&config);
  pirl_rng_init (&rng, 6, 0, 0, PIRL_PURPOSE_TEST);
  live (dqn, &rng, 402, 0);
  file = save_and_open (dqn, path);
  g_assert_true (pirl_dqn_load (loaded, file, "agent", &error));
  g_assert_no_error (error);
  g_assert_cmpfloat (pirl_dqn_epsilon (loaded), ==, pirl_dqn_epsilon (dqn));
  g_assert_cmpuint (pirl_dqn_steps (loaded), ==, 402);
  g_assert_true (pirl_dqn_trained (loaded));
  /* The same lessons from here on give the same Q, but for which transitions are drawn: the ring
   * starts elsewhere. */
  for (guint i = 0; i < 300; i++) {
    gfloat state[FEATURES];
    const guint kind = draw_state (&rng, state), action = i % ACTIONS;

    learn (dqn, state, action, payoff[kind][action], NULL);
    learn (loaded, state, action, payoff[kind][action], NULL);
  }
  for (guint i = 0; i < 50; i++) {
    gfloat state[FEATURES], a[ACTIONS], b[ACTIONS];

    draw_state (&rng, state);
    pirl_dqn_q (dqn, state, a);
    pirl_dqn_q (loaded, state, b);
    for (guint j = 0; j < ACTIONS; j++)
      g_assert_cmpfloat_with_epsilon (a[j], b[j], 0.15);
  }
  config.actions++;
  {
    g_autoptr (PirlDqn) wider = make (&config);

    g_assert_false (pirl_dqn_load (wider, file, "agent", &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
    g_assert_nonnull (strstr (error->message, "[3,32]"));
    g_assert_nonnull (strstr (error->message, "[4,32]"));
    g_clear_error (&error);
    g_assert_false (pirl_dqn_trained (wider));
  }
  remove_path (path);
}

static void
test_what_cannot_be_is_refused (void)
{
  const gfloat state[FEATURES] = { 1, NAN, 0, 0, 0, 0 }, fine[FEATURES] = { 1 };
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = make (&config);
  GError *error = NULL;

  g_assert_false (pirl_dqn_learn (dqn, state, 0, 0, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE);
  g_clear_error (&error);
  g_assert_false (pirl_dqn_learn (dqn, fine, 0, INFINITY, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_NOT_FINITE);
  g_clear_error (&error);
  g_assert_false (pirl_dqn_learn (dqn, fine, ACTIONS, 0, NULL, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  g_assert_cmpuint (pirl_dqn_steps (dqn), ==, 0);
  config.gamma = 1;
  g_assert_null (pirl_dqn_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
}

/* --- one learns, another asks --- */

typedef struct {
  PirlDqn *dqn;
  gint stop;
} Asking;

static gpointer
ask_on (gpointer data)
{
  Asking *asking = data;
  const gfloat state[FEATURES] = { 1, 0, 0, 1, 0, 0 };
  gsize n = 0;

  for (; !g_atomic_int_get (&asking->stop) || n < 100; n++) {
    gfloat q[ACTIONS];

    pirl_dqn_q (asking->dqn, state, q);
    for (guint a = 0; a < ACTIONS; a++)
      g_assert_true (isfinite (q[a]));
    g_assert_cmpuint (pirl_dqn_choose (asking->dqn, state, TRUE), <, ACTIONS);
  }
  return GSIZE_TO_POINTER (n);
}

static void
test_asking_goes_on_beside_learning (void)
{
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = make (&config), other = make (&config);
  Asking asking = {.dqn = dqn };
  GThread *thread = g_thread_new ("ask", ask_on, &asking);
  GError *error = NULL;
  PirlRng rng;

  pirl_rng_init (&rng, 7, 0, 0, PIRL_PURPOSE_TEST);
  live (other, &rng, 300, 0);
  live (dqn, &rng, 400, 0);
  g_assert_true (pirl_dqn_adopt (dqn, other, &error));
  g_assert_no_error (error);
  pirl_dqn_restart (dqn);
  live (dqn, &rng, 200, 0);
  g_atomic_int_set (&asking.stop, 1);
  g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (thread)), >=, 100);
}

static void
test_an_adopted_agent_has_the_others_q (void)
{
  PirlDqnConfig config = small_config ();
  g_autoptr (PirlDqn) dqn = make (&config), small = NULL;
  const gfloat state[FEATURES] = { 1, 0.1f, 0, 1, -1, 0 };
  gfloat a[ACTIONS], b[ACTIONS];
  GError *error = NULL;
  PirlRng rng;

  pirl_rng_init (&rng, 8, 0, 0, PIRL_PURPOSE_TEST);
  live (dqn, &rng, 300, 0);
  config.replay = config.batch = 1;
  config.seed = 99;
  small = make (&config);
  g_assert_true (pirl_dqn_adopt (small, dqn, &error));
  pirl_dqn_q (dqn, state, a);
  pirl_dqn_q (small, state, b);
  g_assert_cmpmem (a, sizeof a, b, sizeof b);
  g_assert_true (pirl_dqn_trained (small));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_assert_cmpint (argc, ==, 2);
  golden_path = argv[1];
  g_test_add_func ("/dqn/pytorch", test_learning_is_that_of_pytorch);
  g_test_add_func ("/dqn/published-size", test_the_published_network_has_85450_parameters);
  g_test_add_func ("/dqn/pays", test_it_finds_what_pays);
  g_test_add_func ("/dqn/discount", test_a_discount_sums_what_is_to_come);
  g_test_add_func ("/dqn/epsilon", test_epsilon_falls_as_published);
  g_test_add_func ("/dqn/fixed-epsilon", test_a_fixed_epsilon_explores_that_often);
  g_test_add_func ("/dqn/file", test_a_file_keeps_everything);
  g_test_add_func ("/dqn/refusals", test_what_cannot_be_is_refused);
  g_test_add_func ("/dqn/threads", test_asking_goes_on_beside_learning);
  g_test_add_func ("/dqn/adopt", test_an_adopted_agent_has_the_others_q);
  return g_test_run ();
}
