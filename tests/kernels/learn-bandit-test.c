/* gst-pirl: the bandit against scikit-learn, finite differences and clouds with known thresholds.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Usage: learn-bandit-test learn-bandit-golden.json (made by learn-bandit-golden.py). */
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "learn/bandit-private.h"

static JsonObject *golden;

/* --- against scikit-learn --- */

static guint
read_floats (JsonArray *array, gfloat *values)
{
  const guint n = json_array_get_length (array);

  for (guint i = 0; i < n; i++)
    values[i] = (gfloat) json_array_get_double_element (array, i);
  return n;
}

static void
assert_near (JsonArray *expected, const gdouble *values, gdouble epsilon)
{
  for (guint i = 0; i < json_array_get_length (expected); i++)
    g_assert_cmpfloat_with_epsilon (values[i], json_array_get_double_element (expected, i),
        epsilon);
}

static PirlBandit *
golden_bandit (void)
{
  PirlBanditConfig config;
  JsonArray *phi = json_object_get_array_member (golden, "phi");
  JsonArray *outcome = json_object_get_array_member (golden, "outcome");
  GError *error = NULL;
  PirlBandit *bandit;
  gfloat inputs[256], answers[32];
  gdouble sizes[32];

  pirl_bandit_config_defaults (&config);
  config.levels = json_object_get_int_member (golden, "levels");
  config.inputs = json_object_get_int_member (golden, "inputs");
  config.credit = json_object_get_double_member (golden, "credit");
  config.prior_precision = json_object_get_double_member (golden, "precision");
  bandit = pirl_bandit_new (&config, &error);
  g_assert_no_error (error);
  for (guint l = 0; l < config.levels; l++)
    sizes[l] = (l + 1.0) / config.levels;
  for (guint i = 0; i < json_array_get_length (phi); i++) {
    g_assert_cmpuint (read_floats (json_array_get_array_element (phi, i), inputs), ==,
        config.levels * config.inputs);
    read_floats (json_array_get_array_element (outcome, i), answers);
    pirl_bandit_learn (bandit, inputs, sizes, answers);
  }
  pirl_bandit_refit (bandit);
  return bandit;
}

static void
test_weights_and_predictions_are_those_of_scikit_learn (void)
{
  g_autoptr (PirlBandit) bandit = golden_bandit ();
  JsonArray *probes = json_object_get_array_member (golden, "probes");
  JsonArray *p = json_object_get_array_member (golden, "probability");
  JsonArray *sd = json_object_get_array_member (golden, "deviation");

  g_assert_cmpuint (pirl_bandit_answered (bandit), ==,
      json_array_get_length (json_object_get_array_member (golden, "phi")));
  assert_near (json_object_get_array_member (golden, "weights"), bandit->w, 1e-5);
  assert_near (json_object_get_array_member (golden, "hessian"), bandit->precision, 1e-3);
  for (guint i = 0; i < json_array_get_length (probes); i++) {
    gfloat inputs[256];
    gdouble predicted[32], deviation[32];

    read_floats (json_array_get_array_element (probes, i), inputs);
    pirl_bandit_predict (bandit, inputs, predicted, deviation);
    assert_near (json_array_get_array_element (p, i), predicted, 1e-5);
    assert_near (json_array_get_array_element (sd, i), deviation, 1e-4);
  }
}

/* --- the posterior, by finite differences --- */

enum { ROWS = 40, DIM = 6 };

typedef struct {
  PirlRows rows;
  gdouble z[ROWS * DIM], yes[ROWS], no[ROWS], mean[DIM], precision[DIM * DIM];
} Posterior;

static void
posterior_init (Posterior *post, guint64 seed)
{
  PirlRng rng;
  gdouble root[DIM * DIM];

  pirl_rng_init (&rng, seed, 0, 0, PIRL_PURPOSE_TEST);
  post->rows = (PirlRows) {.d = DIM,.n = ROWS,.z = post->z,.yes = post->yes,.no = post->no };
  for (guint i = 0; i < ROWS * DIM; i++)
    post->z[i] = pirl_rng_normal (&rng);
  for (guint i = 0; i < ROWS; i++) {
    post->yes[i] = pirl_rng_uniform (&rng);
    post->no[i] = i % 3 == 0 ? 0 : pirl_rng_uniform (&rng);
  }
  for (guint i = 0; i < DIM * DIM; i++)
    root[i] = pirl_rng_normal (&rng);
  for (guint i = 0; i < DIM; i++) {
    post->mean[i] = pirl_rng_normal (&rng);
    for (guint j = 0; j < DIM; j++)
      post->precision[i * DIM + j] = pirl_dot (root + i * DIM, root + j * DIM, DIM)
          + (i == j ? 0.5 : 0);
  }
}

static gdouble
posterior_at (const Posterior *post, const gdouble *w, gdouble *gradient, gdouble *hessian)
{
  return pirl_logistic_posterior (&post->rows, post->mean, post->precision, w, gradient, hessian);
}

static void
test_gradient_and_hessian_are_differences_of_the_posterior (void)
{
  const gdouble step = 1e-5;
  Posterior post;
  gdouble w[DIM], gradient[DIM], hessian[DIM * DIM];

  posterior_init (&post, 1);
  for (guint i = 0; i < DIM; i++)
    w[i] = 0.3 * i - 0.7;
  posterior_at (&post, w, gradient, hessian);
  for (guint i = 0; i < DIM; i++) {
    gdouble ahead[DIM], back[DIM], up[DIM], down[DIM], slope;

    memcpy (ahead, w, sizeof w);
    memcpy (back, w, sizeof w);
    ahead[i] += step;
    back[i] -= step;
    slope = (posterior_at (&post, ahead, up, NULL) - posterior_at (&post, back, down, NULL));
    g_assert_cmpfloat_with_epsilon (gradient[i], slope / (2 * step), 1e-6);
    for (guint j = 0; j <= i; j++)
      g_assert_cmpfloat_with_epsilon (hessian[i * DIM + j], (down[j] - up[j]) / (2 * step), 1e-6);
  }
}

static void
test_fit_ends_where_the_gradient_is_zero (void)
{
  for (guint64 seed = 1; seed <= 20; seed++) {
    Posterior post;
    gdouble w[DIM] = { 30, -30, 20, 0, 0, 5 }, gradient[DIM], hessian[DIM * DIM];

    posterior_init (&post, seed);
    g_assert_true (pirl_logistic_fit (&post.rows, post.mean, post.precision, w, hessian));
    posterior_at (&post, w, gradient, NULL);
    for (guint i = 0; i < DIM; i++)
      g_assert_cmpfloat_with_epsilon (gradient[i], 0, 1e-5);
  }
}

/* Against a fit that never saw the rows. One Newton step: the error is of second order, so that
 * it is judged against the size of what was corrected. */
static void
test_leaving_rows_out_is_fitting_without_them (void)
{
  for (guint64 seed = 1; seed <= 20; seed++) {
    Posterior post;
    gdouble all[DIM] = { 0 }, without[DIM] = { 0 }, out[DIM], hessian[DIM * DIM];
    gdouble factor[DIM * DIM], unused[DIM * DIM], error = 0, moved = 0;

    posterior_init (&post, seed);
    g_assert_true (pirl_logistic_fit (&post.rows, post.mean, post.precision, all, hessian));
    g_assert_true (pirl_logistic_leave_out (&post.rows, 10, 14, all, hessian, out, factor));
    for (guint r = 10; r < 14; r++)
      post.yes[r] = post.no[r] = 0;
    g_assert_true (pirl_logistic_fit (&post.rows, post.mean, post.precision, without, unused));
    for (guint i = 0; i < DIM; i++) {
      error += pow (out[i] - without[i], 2);
      moved += pow (all[i] - without[i], 2);
    }
    g_assert_cmpfloat (sqrt (error), <, 0.25 * sqrt (moved));
  }
}

/* --- what follows from answers --- */

static void
test_answers_between_two_are_shared_out_by_probability (void)
{
  const gfloat outcome[6] = { -1, 0, -1, -1, 1, -1 }, clash[6] = { -1, 1, -1, 0, -1, -1 };
  const gfloat nothing[6] = { -1, -1, -1, -1, -1, -1 };
  const gdouble p[6] = { 0.1, 0.2, 0.4, 0.6, 0.8, 1 };
  /* Refused at 1, so at 0; agreed at 4, so at 5; between: (p - .2) / (.8 - .2). */
  const gdouble expected[6] = { 0, 0, 1.0 / 3, 2.0 / 3, 1, 1 };

  for (guint l = 0; l < 6; l++) {
    gboolean known;

    g_assert_cmpfloat_with_epsilon (pirl_bandit_expected (outcome, p, 6, l, &known), expected[l],
        1e-12);
    g_assert_cmpint (known, ==, l != 2 && l != 3);
    g_assert_cmpfloat_with_epsilon (pirl_bandit_expected (nothing, p, 6, l, NULL), p[l], 1e-12);
  }
  g_assert_cmpfloat_with_epsilon (pirl_bandit_expected (clash, p, 6, 2, NULL), 0.5, 1e-12);
}

/* --- a cloud with known thresholds --- */

enum { LEVELS = 10, INPUTS = 4 };

/* One picture: what is seen of it says part of how hard it is. Agreed at l when l >= threshold. */
typedef struct {
  gfloat phi[LEVELS * INPUTS];
  gdouble sizes[LEVELS];
  gdouble threshold;
} Picture;

static void
picture_draw (PirlRng *rng, gdouble offset, Picture *picture)
{
  const gdouble hard = pirl_rng_normal (rng), seen = hard + 0.6 * pirl_rng_normal (rng);

  picture->threshold = offset + 2 * hard + 0.7 * pirl_rng_normal (rng);
  for (guint l = 0; l < LEVELS; l++) {
    const gfloat phi[INPUTS] = { 1, 20 * l, 20 * l * l, 7 - 3 * seen };

    memcpy (picture->phi + l * INPUTS, phi, sizeof phi);
    picture->sizes[l] = 0.1 + 0.9 * l / (LEVELS - 1.0);
  }
}

static gboolean
agrees (const Picture *picture, guint l)
{
  return l == LEVELS - 1 || l >= picture->threshold;
}

static PirlBandit *
bandit_make (gdouble target)
{
  PirlBanditConfig config;
  PirlBandit *bandit;

  pirl_bandit_config_defaults (&config);
  config.levels = LEVELS;
  config.inputs = INPUTS;
  config.target = target;
  bandit = pirl_bandit_new (&config, NULL);
  g_assert_nonnull (bandit);
  return bandit;
}

/* The chosen level and two explored ones are asked about, as a stream does. */
static void
teach (PirlBandit *bandit, PirlRng *rng, gdouble offset, guint n)
{
  for (guint i = 0; i < n; i++) {
    Picture picture;
    gfloat outcome[LEVELS];
    guint trials[3], count = 0;

    picture_draw (rng, offset, &picture);
    for (guint l = 0; l < LEVELS; l++)
      outcome[l] = -1;
    trials[0] = pirl_bandit_choose (bandit, picture.phi, picture.sizes, NULL);
    count = 1 + pirl_bandit_explore (bandit, picture.phi, picture.sizes, 2, trials + 1);
    for (guint t = 0; t < count; t++)
      outcome[trials[t]] = agrees (&picture, trials[t]);
    pirl_bandit_learn (bandit, picture.phi, picture.sizes, outcome);
  }
}

/* On pictures that were never learnt from. */
static gdouble
held_out (PirlBandit *bandit, guint64 seed, gdouble offset, gdouble *size)
{
  const guint n = 4000;
  PirlRng rng;
  gdouble agreed = 0, bytes = 0;

  pirl_rng_init (&rng, seed, 1, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < n; i++) {
    Picture picture;
    guint l;

    picture_draw (&rng, offset, &picture);
    l = pirl_bandit_choose (bandit, picture.phi, picture.sizes, NULL);
    agreed += agrees (&picture, l);
    bytes += picture.sizes[l];
  }
  if (size != NULL)
    *size = bytes / n;
  return agreed / n;
}

/* The cheapest fixed level that keeps @target. */
static gdouble
best_fixed (gdouble offset, gdouble target)
{
  guint agreed[LEVELS] = { 0 };
  PirlRng rng;
  Picture picture;

  pirl_rng_init (&rng, 99, 2, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < 4000; i++) {
    picture_draw (&rng, offset, &picture);
    for (guint l = 0; l < LEVELS; l++)
      agreed[l] += agrees (&picture, l);
  }
  for (guint l = 0; l < LEVELS; l++)
    if (agreed[l] >= target * 4000)
      return picture.sizes[l];
  g_assert_not_reached ();
}

static void
test_it_meets_its_target_on_pictures_it_has_not_seen (void)
{
  static const gdouble targets[] = { 0.9, 0.95 };
  const guint seeds = g_getenv ("PIRL_LONG") != NULL ? 60 : 15;

  for (guint t = 0; t < G_N_ELEMENTS (targets); t++) {
    const gdouble fixed = best_fixed (3, targets[t]);
    gdouble sum = 0, squares = 0, bytes = 0;

    for (guint seed = 0; seed < seeds; seed++) {
      g_autoptr (PirlBandit) bandit = bandit_make (targets[t]);
      PirlRng rng;
      gdouble size, agreement;

      pirl_rng_init (&rng, seed, 0, 0, PIRL_PURPOSE_TEST);
      teach (bandit, &rng, 3, 200);
      agreement = held_out (bandit, seed, 3, &size);
      sum += agreement / seeds;
      squares += agreement * agreement / seeds;
      bytes += size / seeds;
    }
    g_test_message ("target %g: held-out agreement %.4f (deviation %.4f), size %.3f, best fixed %.3f",
        targets[t], sum, sqrt (squares - sum * sum), bytes, fixed);
    g_assert_cmpfloat (sum, >, targets[t] - 0.01);
    g_assert_cmpfloat (sum, <, targets[t] + 0.02);
    g_assert_cmpfloat (sqrt (squares - sum * sum), <, 0.03);
    g_assert_cmpfloat (bytes, <, 0.93 * fixed);
  }
}

static void
test_without_answers_it_chooses_the_reference (void)
{
  g_autoptr (PirlBandit) bandit = bandit_make (0.95);
  PirlRng rng;
  Picture picture;
  gdouble p;
  guint levels[LEVELS];

  pirl_rng_init (&rng, 5, 0, 0, PIRL_PURPOSE_TEST);
  picture_draw (&rng, 3, &picture);
  g_assert_cmpuint (pirl_bandit_choose (bandit, picture.phi, picture.sizes, &p), ==, LEVELS - 1);
  g_assert_cmpfloat (p, ==, 1);
  g_assert_false (pirl_bandit_trained (bandit));
  g_assert_false (pirl_bandit_settled (bandit, 0.2));
  g_assert_cmpuint (pirl_bandit_explore (bandit, picture.phi, picture.sizes, LEVELS, levels), ==,
      LEVELS - 1);
}

static void
test_predictions_are_monotone_and_inputs_need_no_units (void)
{
  g_autoptr (PirlBandit) bandit = bandit_make (0.95), scaled = bandit_make (0.95);
  const gfloat unit[INPUTS] = { 1, 1e-4f, 1e4f, -50 }, shift[INPUTS] = { 0, 3, -1e4f, 7 };
  PirlRng rng;

  pirl_rng_init (&rng, 6, 0, 0, PIRL_PURPOSE_TEST);
  for (guint i = 0; i < 60; i++) {
    Picture picture;
    gfloat outcome[LEVELS], phi[LEVELS * INPUTS];
    gdouble p[LEVELS], q[LEVELS];

    picture_draw (&rng, 3, &picture);
    for (guint l = 0; l < LEVELS; l++) {
      outcome[l] = l % 3 == 1 ? agrees (&picture, l) : -1;
      for (guint d = 0; d < INPUTS; d++)
        phi[l * INPUTS + d] = picture.phi[l * INPUTS + d] * unit[d] + shift[d];
    }
    pirl_bandit_predict (bandit, picture.phi, p, NULL);
    pirl_bandit_predict (scaled, phi, q, NULL);
    for (guint l = 0; l < LEVELS; l++) {
      /* One picture does not yet say what a usual difference is. */
      if (i > 2)
        g_assert_cmpfloat_with_epsilon (p[l], q[l], 2e-3);
      if (l > 0)
        g_assert_cmpfloat (p[l], >=, p[l - 1]);
    }
    g_assert_cmpfloat (p[LEVELS - 1], ==, 1);
    pirl_bandit_learn (bandit, picture.phi, picture.sizes, outcome);
    pirl_bandit_learn (scaled, phi, picture.sizes, outcome);
  }
}

static void
test_exploring_asks_about_the_uncertain_and_cheap (void)
{
  g_autoptr (PirlBandit) bandit = bandit_make (0.95);
  PirlRng rng;
  guint asked[LEVELS] = { 0 };

  pirl_rng_init (&rng, 7, 0, 0, PIRL_PURPOSE_TEST);
  teach (bandit, &rng, 3, 150);
  for (guint i = 0; i < 200; i++) {
    Picture picture;
    guint levels[2], n, chosen;

    picture_draw (&rng, 3, &picture);
    chosen = pirl_bandit_choose (bandit, picture.phi, picture.sizes, NULL);
    n = pirl_bandit_explore (bandit, picture.phi, picture.sizes, 2, levels);
    g_assert_cmpuint (n, ==, 2);
    g_assert_cmpuint (levels[0], !=, levels[1]);
    for (guint j = 0; j < n; j++) {
      g_assert_cmpuint (levels[j], <, LEVELS - 1);
      g_assert_cmpuint (levels[j], !=, chosen);
      asked[levels[j]]++;
    }
  }
  /* The dearest level below the reference is nearly sure and costs most. */
  g_assert_cmpuint (asked[LEVELS - 2], <, 20);
}

/* The harder the scenery became, the more pictures it takes; what is kept must not hinder. */
static void
test_forgetting_lets_it_follow_a_change (void)
{
  static const gdouble trusts[] = { 0, 0.1, 0.5 };

  for (guint t = 0; t < G_N_ELEMENTS (trusts); t++) {
    gdouble before = 0, after = 0;

    for (guint64 seed = 0; seed < 8; seed++) {
      g_autoptr (PirlBandit) bandit = bandit_make (0.95);
      PirlRng rng;

      pirl_rng_init (&rng, seed, 3, 0, PIRL_PURPOSE_TEST);
      teach (bandit, &rng, 1, 200);
      before += held_out (bandit, seed, 4.5, NULL) / 8;
      pirl_bandit_forget (bandit, trusts[t]);
      g_assert_cmpuint (pirl_bandit_answered (bandit), ==, 0);
      g_assert_false (pirl_bandit_settled (bandit, 0.2));
      g_assert_cmpint (pirl_bandit_trained (bandit), ==, trusts[t] > 0);
      teach (bandit, &rng, 4.5, 200);
      after += held_out (bandit, seed, 4.5, NULL) / 8;
    }
    g_test_message ("trust %g: agreement %.3f before, %.3f after", trusts[t], before, after);
    g_assert_cmpfloat (before, <, 0.85);
    g_assert_cmpfloat (after, >, 0.935);
    g_assert_cmpfloat (after, <, 0.98);
  }
}

static void
test_it_settles_only_with_enough_evidence (void)
{
  g_autoptr (PirlBandit) bandit = bandit_make (0.95);
  PirlRng rng;
  guint n;

  pirl_rng_init (&rng, 8, 0, 0, PIRL_PURPOSE_TEST);
  /* Wilson at one-sided 90 %: 18 of 18 have a lower bound of 18 / (18 + 1.64) = .916 < .93. */
  for (n = 0; n < 2000 && !pirl_bandit_settled (bandit, 0.02); n++)
    teach (bandit, &rng, 3, 1);
  g_test_message ("settled after %u pictures", n);
  g_assert_cmpuint (n, >, 18);
  g_assert_cmpuint (n, <, 600);
}

static void
test_copies_and_adopted_agents_choose_alike (void)
{
  g_autoptr (PirlBandit) bandit = bandit_make (0.95), other = bandit_make (0.95), copy = NULL;
  PirlRng rng;

  pirl_rng_init (&rng, 9, 0, 0, PIRL_PURPOSE_TEST);
  teach (bandit, &rng, 3, 100);
  copy = pirl_bandit_copy (bandit, 30);
  g_assert_cmpuint (pirl_bandit_answered (copy), ==, 30);
  for (guint i = 0; i < 100; i++) {
    Picture picture;

    picture_draw (&rng, 3, &picture);
    g_assert_cmpuint (pirl_bandit_choose (copy, picture.phi, picture.sizes, NULL), ==,
        pirl_bandit_choose (bandit, picture.phi, picture.sizes, NULL));
  }
  teach (other, &rng, 3, 5);
  pirl_bandit_adopt (other, bandit);
  g_assert_cmpuint (pirl_bandit_answered (other), ==, 105);
  g_assert_cmpfloat (held_out (other, 9, 3, NULL), >, 0.91);
}

static void
test_a_file_keeps_everything (void)
{
  g_autoptr (PirlBandit) bandit = bandit_make (0.95), loaded = bandit_make (0.95);
  g_autoptr (PirlSafetensors) file = NULL;
  g_autofree gchar *folder = g_dir_make_tmp ("bandit-XXXXXX", NULL);
  g_autofree gchar *path = g_build_filename (folder, "agent.safetensors", NULL);
  GError *error = NULL;
  PirlRng rng, twin;

  pirl_rng_init (&rng, 10, 0, 0, PIRL_PURPOSE_TEST);
  teach (bandit, &rng, 3, 40);
  pirl_bandit_forget (bandit, 0.3);
  teach (bandit, &rng, 3, 50);
  {
    g_autoptr (PirlSafetensorsWriter) writer = pirl_safetensors_writer_new ();
    g_autoptr (GPtrArray) keep = g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref);

    pirl_bandit_save (bandit, writer, "agent", keep);
    g_assert_true (pirl_safetensors_writer_write (writer, path, &error));
  }
  file = pirl_safetensors_open (path, &error);
  g_assert_no_error (error);
  g_assert_true (pirl_bandit_load (loaded, file, "agent", &error));
  g_assert_no_error (error);
  g_assert_cmpfloat (pirl_bandit_lambda (loaded), ==, pirl_bandit_lambda (bandit));
  g_assert_cmpuint (pirl_bandit_answered (loaded), ==, 50);
  /* Both go on alike. */
  twin = rng;
  teach (bandit, &rng, 3, 60);
  teach (loaded, &twin, 3, 60);
  g_assert_cmpmem (bandit->w, sizeof (gdouble) * INPUTS, loaded->w, sizeof (gdouble) * INPUTS);
  g_assert_cmpfloat (pirl_bandit_lambda (loaded), ==, pirl_bandit_lambda (bandit));

  /* Another target: the pictures say what it takes. */
  {
    g_autoptr (PirlBandit) relaxed = bandit_make (0.8);

    g_assert_true (pirl_bandit_load (relaxed, file, "agent", &error));
    g_assert_cmpfloat (held_out (relaxed, 10, 3, NULL), <, 0.9);
    g_assert_cmpfloat (held_out (relaxed, 10, 3, NULL), >, 0.72);
  }

  g_assert_false (pirl_bandit_load (loaded, file, "elsewhere", &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
  g_clear_error (&error);
  {
    PirlBanditConfig config = bandit->config;
    g_autoptr (PirlBandit) wider = NULL;

    config.inputs++;
    wider = pirl_bandit_new (&config, NULL);
    g_assert_false (pirl_bandit_load (wider, file, "agent", &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_MISMATCH);
    g_assert_nonnull (strstr (error->message, "[4]"));
    g_assert_nonnull (strstr (error->message, "[5]"));
    g_assert_false (pirl_bandit_trained (wider));
    g_clear_error (&error);
  }
  g_remove (path);
  g_rmdir (folder);
}

/* --- one thread learns, others choose --- */

typedef struct {
  PirlBandit *bandit;
  gint stop;
} Choosing;

static gpointer
choose_on (gpointer data)
{
  Choosing *choosing = data;
  PirlRng rng;
  gsize n = 0;

  pirl_rng_init (&rng, 11, 7, 0, PIRL_PURPOSE_TEST);
  for (; !g_atomic_int_get (&choosing->stop) || n < 100; n++) {
    Picture picture;
    gdouble p;
    guint levels[2];

    picture_draw (&rng, 3, &picture);
    g_assert_cmpuint (pirl_bandit_choose (choosing->bandit, picture.phi, picture.sizes, &p), <,
        LEVELS);
    g_assert_cmpfloat (p, >=, 0);
    g_assert_cmpfloat (p, <=, 1);
    pirl_bandit_explore (choosing->bandit, picture.phi, picture.sizes, 2, levels);
  }
  return GSIZE_TO_POINTER (n);
}

static void
test_choosing_goes_on_beside_learning (void)
{
  g_autoptr (PirlBandit) bandit = bandit_make (0.95);
  Choosing choosing = {.bandit = bandit };
  GThread *threads[2];
  PirlRng rng;

  for (guint i = 0; i < 2; i++)
    threads[i] = g_thread_new ("choose", choose_on, &choosing);
  pirl_rng_init (&rng, 11, 0, 0, PIRL_PURPOSE_TEST);
  teach (bandit, &rng, 3, 150);
  pirl_bandit_forget (bandit, 0.2);
  teach (bandit, &rng, 3, 50);
  g_atomic_int_set (&choosing.stop, 1);
  for (guint i = 0; i < 2; i++)
    g_assert_cmpuint (GPOINTER_TO_SIZE (g_thread_join (threads[i])), >=, 100);
}

static void
test_what_cannot_be_is_refused (void)
{
  PirlBanditConfig config;
  GError *error = NULL;
  PirlRng rng;
  Picture picture;
  gfloat outcome[LEVELS] = { 1, -1, -1, -1, -1, -1, -1, -1, -1, -1 };
  gdouble p[LEVELS];
  g_autoptr (PirlBandit) bandit = bandit_make (0.95);

  pirl_bandit_config_defaults (&config);
  config.inputs = 3;
  for (guint levels = 0; levels < 2; levels++) {
    config.levels = levels;
    g_assert_null (pirl_bandit_new (&config, &error));
    g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
    g_clear_error (&error);
  }
  config.levels = 4;
  config.target = 1;
  g_assert_null (pirl_bandit_new (&config, &error));
  g_assert_error (error, PIRL_ERROR, PIRL_ERROR_INVALID);
  g_clear_error (&error);
  /* Inputs that are no numbers teach nothing and get the reference. */
  pirl_rng_init (&rng, 12, 0, 0, PIRL_PURPOSE_TEST);
  teach (bandit, &rng, 3, 60);
  picture_draw (&rng, 3, &picture);
  for (guint i = 3; i < LEVELS * INPUTS; i += INPUTS)
    picture.phi[i] = NAN;
  pirl_bandit_learn (bandit, picture.phi, picture.sizes, outcome);
  g_assert_cmpuint (pirl_bandit_answered (bandit), ==, 60);
  g_assert_cmpuint (pirl_bandit_choose (bandit, picture.phi, picture.sizes, NULL), ==, LEVELS - 1);
  pirl_bandit_predict (bandit, picture.phi, p, NULL);
  g_assert_cmpfloat (p[0], ==, 0);
}

int
main (int argc, char **argv)
{
  g_autoptr (JsonParser) parser = json_parser_new ();

  g_test_init (&argc, &argv, NULL);
  g_assert_cmpint (argc, ==, 2);
  g_assert_true (json_parser_load_from_file (parser, argv[1], NULL));
  golden = json_node_get_object (json_parser_get_root (parser));
  g_test_add_func ("/bandit/scikit-learn", test_weights_and_predictions_are_those_of_scikit_learn);
  g_test_add_func ("/bandit/differences",
      test_gradient_and_hessian_are_differences_of_the_posterior);
  g_test_add_func ("/bandit/mode", test_fit_ends_where_the_gradient_is_zero);
  g_test_add_func ("/bandit/leave-out", test_leaving_rows_out_is_fitting_without_them);
  g_test_add_func ("/bandit/expected", test_answers_between_two_are_shared_out_by_probability);
  g_test_add_func ("/bandit/untrained", test_without_answers_it_chooses_the_reference);
  g_test_add_func ("/bandit/target", test_it_meets_its_target_on_pictures_it_has_not_seen);
  g_test_add_func ("/bandit/monotone", test_predictions_are_monotone_and_inputs_need_no_units);
  g_test_add_func ("/bandit/explore", test_exploring_asks_about_the_uncertain_and_cheap);
  g_test_add_func ("/bandit/forget", test_forgetting_lets_it_follow_a_change);
  g_test_add_func ("/bandit/settled", test_it_settles_only_with_enough_evidence);
  g_test_add_func ("/bandit/copy", test_copies_and_adopted_agents_choose_alike);
  g_test_add_func ("/bandit/file", test_a_file_keeps_everything);
  g_test_add_func ("/bandit/threads", test_choosing_goes_on_beside_learning);
  g_test_add_func ("/bandit/refusals", test_what_cannot_be_is_refused);
  return g_test_run ();
}
