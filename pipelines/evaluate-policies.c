/* gst-pirl: policies judged on halves of a folder (see evaluate-policies.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "evaluate-policies.h"

#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "learn/bandit.h"
#include "learn/dqn.h"

/* Dearer than anything: a cell that no recording has. */
#define NEVER 1e6
#define WILSON_Z 1.96
/* Prices of agreement that a curve is drawn through. */
#define LAMBDAS 96
#define LAMBDA_MIN 1e-3
#define LAMBDA_MAX 1e2

const gdouble eval_points[EVAL_POINTS] = { .90, .95, .98 };

/* What one half adds up to. */
typedef struct {
  gdouble agreement, size, wire, labels, judged;
} Half;

/* Means and standard errors over halves are taken from these. */
typedef struct {
  const EvalTrial *trial;
  GArray *agreement, *size, *ratio;     /* gdouble, one a half */
  GArray *point_size[EVAL_POINTS], *point_ratio[EVAL_POINTS];
  EvalOutcome sum;
} Tally;

typedef guint (*EvalChoose) (gpointer policy, guint picture);

/* --- cells --- */

static gsize
cell (const EvalTable *table, guint picture, guint level)
{
  return (gsize) picture * table->qualities_all + level;
}

static gboolean
known (const EvalTable *table, guint picture, guint level)
{
  return table->agreement[cell (table, picture, level)] >= 0;
}

/* The pictures in the order of half @h; the first n / 2 are learnt from. */
static guint32 *
shuffled (const EvalTrial *trial, guint h)
{
  guint32 *order = g_new (guint32, trial->table->n);
  PirlRng rng;

  for (guint i = 0; i < trial->table->n; i++)
    order[i] = i;
  pirl_rng_init (&rng, trial->seed, h, 0, PIRL_PURPOSE_AGENT);
  for (guint i = trial->table->n; i > 1; i--) {
    const guint32 j = pirl_rng_below (&rng, i), kept = order[i - 1];

    order[i - 1] = order[j];
    order[j] = kept;
  }
  return order;
}

/* --- the fixed curve --- */

/* The level itself, or of a recording without it the next that it has. */
static guint
next_known (const EvalTable *table, guint picture, guint level)
{
  while (level + 1 < table->levels && !known (table, picture, level))
    level++;
  return level;
}

/* @n of @pictures, all at @level. */
static void
fixed_mean (const EvalTable *table, const guint32 *pictures, guint n, guint level,
    gdouble *agreement, gdouble *size)
{
  *agreement = *size = 0;
  for (guint i = 0; i < n; i++) {
    const gsize at = cell (table, pictures[i], next_known (table, pictures[i], level));

    *agreement += table->agreement[at] / n;
    *size += table->size[at] / n;
  }
}

/* A policy's agreement over its size: @size ascending. */
typedef struct {
  guint n;
  gdouble agreement[MAX (LAMBDAS, 101)], size[MAX (LAMBDAS, 101)];
} Line;

/* The size where the line, agreement made non-decreasing, passes @agreement; the last where it
 * never does. */
static gdouble
line_at (const Line *line, gdouble agreement)
{
  gdouble last_agreement = -1, last_size = 0;

  for (guint i = 0; i < line->n; i++) {
    const gdouble a = line->agreement[i], s = line->size[i];

    if (a <= last_agreement)
      continue;
    if (a >= agreement)
      return last_agreement < 0 ? s
          : last_size + (agreement - last_agreement) / (a - last_agreement) * (s - last_size);
    last_agreement = a;
    last_size = s;
  }
  return last_size;
}

static Line
fixed_line (const EvalTable *table, const guint32 *pictures, guint n)
{
  Line line = { .n = table->levels };

  for (guint l = 0; l < table->levels; l++)
    fixed_mean (table, pictures, n, l, &line.agreement[l], &line.size[l]);
  return line;
}

/* --- means over halves --- */

static void
tally_init (Tally *tally, const EvalTrial *trial)
{
  memset (tally, 0, sizeof *tally);
  tally->trial = trial;
  tally->agreement = g_array_new (FALSE, FALSE, sizeof (gdouble));
  tally->size = g_array_new (FALSE, FALSE, sizeof (gdouble));
  tally->ratio = g_array_new (FALSE, FALSE, sizeof (gdouble));
  for (guint k = 0; k < EVAL_POINTS; k++) {
    tally->point_size[k] = g_array_new (FALSE, FALSE, sizeof (gdouble));
    tally->point_ratio[k] = g_array_new (FALSE, FALSE, sizeof (gdouble));
  }
}

/* Where @line, of the judged half of @order, passes the points. */
static void
tally_line (Tally *tally, const guint32 *order, const Line *line)
{
  const EvalTable *table = tally->trial->table;
  const Line fixed = fixed_line (table, order + table->n / 2, table->n - table->n / 2);

  for (guint k = 0; k < EVAL_POINTS; k++) {
    const gdouble size = line_at (line, eval_points[k]);
    const gdouble ratio = size / line_at (&fixed, eval_points[k]);

    g_array_append_val (tally->point_size[k], size);
    g_array_append_val (tally->point_ratio[k], ratio);
  }
}

/* Judges @choose on the pictures after the first half of @order. @learning: bytes on the wire and
 * answers of the learning half. */
static void
tally_half (Tally *tally, const guint32 *order, EvalChoose choose, gpointer policy, Half learning)
{
  const EvalTable *table = tally->trial->table;
  const guint first = table->n / 2;
  const Line fixed = fixed_line (table, order + first, table->n - first);
  Half half = learning;

  for (guint i = first; i < table->n; i++) {
    const guint level = choose (policy, order[i]);

    if (level == G_MAXUINT || !known (table, order[i], level))
      continue;
    half.agreement += table->agreement[cell (table, order[i], level)];
    half.size += table->size[cell (table, order[i], level)];
    half.judged++;
    tally->sum.shares[table->qualities[level]]++;
  }
  if (half.judged == 0)
    return;
  tally->sum.judged += half.judged;
  tally->sum.labels += half.labels / MAX (1, first);
  tally->sum.wire += (half.wire + half.size) / (first + half.judged);
  half.agreement /= half.judged;
  half.size /= half.judged;
  g_array_append_val (tally->agreement, half.agreement);
  g_array_append_val (tally->size, half.size);
  half.size /= line_at (&fixed, half.agreement);
  g_array_append_val (tally->ratio, half.size);
}

static void
mean_and_error (const GArray *values, gdouble *mean, gdouble *error)
{
  gdouble sum = 0, squares = 0;

  for (guint i = 0; i < values->len; i++)
    sum += g_array_index (values, gdouble, i);
  *mean = sum / MAX (1, values->len);
  for (guint i = 0; i < values->len; i++) {
    const gdouble off = g_array_index (values, gdouble, i) - *mean;

    squares += off * off;
  }
  *error = values->len > 1 ? sqrt (squares / (values->len - 1) / values->len) : 0;
}

static void
wilson (EvalOutcome *outcome)
{
  const gdouble n = MAX (1, outcome->judged), p = outcome->agreement, z2 = WILSON_Z * WILSON_Z;
  const gdouble middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const gdouble half = WILSON_Z / (1 + z2 / n) * sqrt (p * (1 - p) / n + z2 / (4 * n * n));

  outcome->low = middle - half;
  outcome->high = MIN (1, middle + half);
}

static EvalOutcome
tally_end (Tally *tally)
{
  EvalOutcome outcome = tally->sum;
  const gdouble halves = MAX (1, tally->agreement->len);

  for (guint q = 0; q <= 100; q++)
    outcome.shares[q] /= MAX (1, tally->sum.judged);
  outcome.judged /= halves;
  outcome.labels /= halves;
  outcome.wire /= halves;
  mean_and_error (tally->agreement, &outcome.agreement, &outcome.agreement_error);
  mean_and_error (tally->size, &outcome.size, &outcome.size_error);
  mean_and_error (tally->ratio, &outcome.to_fixed, &outcome.to_fixed_error);
  wilson (&outcome);
  g_array_unref (tally->agreement);
  g_array_unref (tally->size);
  g_array_unref (tally->ratio);
  for (guint k = 0; k < EVAL_POINTS; k++) {
    EvalPoint *point = &outcome.points[k];

    mean_and_error (tally->point_size[k], &point->size, &point->size_error);
    mean_and_error (tally->point_ratio[k], &point->to_fixed, &point->to_fixed_error);
    g_array_unref (tally->point_size[k]);
    g_array_unref (tally->point_ratio[k]);
  }
  return outcome;
}

/* --- fixed and oracle --- */

/* Of a policy that learns nothing: no estimates, the whole folder goes out as chosen. */
static EvalOutcome
judge_unlearned (const EvalTrial *trial, EvalChoose choose, gpointer policy)
{
  Tally tally;
  EvalOutcome outcome;

  tally_init (&tally, trial);
  for (guint h = 0; h < trial->halves; h++) {
    g_autofree guint32 *order = shuffled (trial, h);

    tally_half (&tally, order, choose, policy, (Half) { 0 });
  }
  outcome = tally_end (&tally);
  outcome.wire = outcome.size;
  return outcome;
}

typedef struct {
  const EvalTable *table;
  guint level;
} FixedPolicy;

static guint
choose_next (gpointer data, guint picture)
{
  const FixedPolicy *policy = data;

  return next_known (policy->table, picture, policy->level);
}

static guint
choose_fixed (gpointer policy, guint picture)
{
  (void) picture;
  return *(const guint *) policy;
}

EvalOutcome
eval_fixed (const EvalTrial *trial, guint level)
{
  return judge_unlearned (trial, choose_fixed, &level);
}

EvalOutcome
eval_fixed_learnt (const EvalTrial *trial)
{
  const EvalTable *table = trial->table;
  Tally tally;

  tally_init (&tally, trial);
  for (guint h = 0; h < trial->halves; h++) {
    g_autofree guint32 *order = shuffled (trial, h);
    guint level = table->levels - 1;
    Half learning = { 0 };

    for (guint i = 0; i < table->n / 2; i++)
      for (guint l = 0; l < table->levels; l++)
        if (known (table, order[i], l))
          learning.wire += table->wire[cell (table, order[i], l)];
    for (guint l = table->levels; l-- > 0;) {
      gdouble agreement, size;

      fixed_mean (table, order, table->n / 2, l, &agreement, &size);
      if (agreement >= trial->target)
        level = l;
    }
    tally_half (&tally, order, choose_next, &(FixedPolicy) { table, level }, learning);
  }
  return tally_end (&tally);
}

static guint
choose_listed (gpointer policy, guint picture)
{
  return ((const guint *) policy)[picture];
}

static guint
cheapest_agreeing (const EvalTable *table, guint picture)
{
  for (guint l = 0; l < table->levels; l++)
    if (known (table, picture, l) && table->agreement[cell (table, picture, l)] >= 1)
      return l;
  return table->levels - 1;
}

EvalOutcome
eval_oracle (const EvalTrial *trial, gdouble share)
{
  const EvalTable *table = trial->table;
  g_autofree guint *choice = g_new (guint, table->n);
  guint given_up = (guint) floor ((1 - share) * table->n + 1e-9);

  for (guint i = 0; i < table->n; i++)
    choice[i] = cheapest_agreeing (table, i);
  while (given_up-- > 0) {
    guint dearest = G_MAXUINT;
    gdouble most = 0;

    for (guint i = 0; i < table->n; i++) {
      const gdouble saved = table->size[cell (table, i, choice[i])]
          - table->size[cell (table, i, next_known (table, i, 0))];

      if (saved > most) {
        most = saved;
        dearest = i;
      }
    }
    if (dearest != G_MAXUINT)
      choice[dearest] = next_known (table, dearest, 0);
  }
  return judge_unlearned (trial, choose_listed, choice);
}

/* --- the bandit --- */

typedef struct {
  const EvalTable *table;
  const EvalLook *look;
  const guint *grid;
  guint n;
  PirlBandit *bandit;
  gfloat *phi, *outcome;
  gdouble *sizes;
} BanditPolicy;

/* The rows of @picture at the grid's levels; what does not exist is too dear to be chosen. */
static void
bandit_load (BanditPolicy *policy, guint picture)
{
  const EvalTable *table = policy->table;
  const guint inputs = policy->look->inputs;

  for (guint l = 0; l < policy->n; l++) {
    const guint level = policy->grid[l];

    memcpy (policy->phi + (gsize) l * inputs,
        policy->look->phi + ((gsize) picture * table->levels + level) * inputs,
        inputs * sizeof (gfloat));
    policy->sizes[l] = known (table, picture, level)
        ? table->predicted[(gsize) picture * table->levels + level] : NEVER;
  }
}

static guint
choose_bandit (gpointer data, guint picture)
{
  BanditPolicy *policy = data;

  bandit_load (policy, picture);
  return policy->grid[pirl_bandit_choose (policy->bandit, policy->phi, policy->sizes, NULL)];
}

/* Fills @outcome with what is asked about; returns how many. */
static guint
bandit_ask (BanditPolicy *policy, guint picture, guint labels)
{
  const guint below = policy->n - 1;
  g_autofree guint *levels = g_new (guint, policy->n);
  guint n = 0, asked = 0;

  if (labels == 0) {
    for (n = 0; n < below; n++)
      levels[n] = n;
  } else {
    if (pirl_bandit_trained (policy->bandit))
      levels[n++] = pirl_bandit_choose (policy->bandit, policy->phi, policy->sizes, NULL);
    if (n == 1 && levels[0] == below)
      n = 0;
    n += pirl_bandit_explore (policy->bandit, policy->phi, policy->sizes, labels - n, levels + n);
  }
  for (guint l = 0; l < policy->n; l++)
    policy->outcome[l] = -1;
  for (guint i = 0; i < n; i++) {
    const guint level = policy->grid[levels[i]];

    policy->outcome[levels[i]] = policy->table->agreement[cell (policy->table, picture, level)];
    asked += policy->outcome[levels[i]] >= 0;
  }
  return asked;
}

static void
bandit_learn (BanditPolicy *policy, const guint32 *order, guint labels, Half *learning)
{
  const EvalTable *table = policy->table;

  for (guint i = 0; i < table->n / 2; i++) {
    bandit_load (policy, order[i]);
    learning->labels += bandit_ask (policy, order[i], labels);
    learning->wire += table->wire[cell (table, order[i], table->levels - 1)];
    for (guint l = 0; l + 1 < policy->n; l++)
      if (policy->outcome[l] >= 0)
        learning->wire += table->wire[cell (table, order[i], policy->grid[l])];
    pirl_bandit_learn (policy->bandit, policy->phi, policy->sizes, policy->outcome);
  }
  pirl_bandit_refit (policy->bandit);
}

/* The judged half at every price: what the bandit believes, whatever its own lambda. */
static void
bandit_line (BanditPolicy *policy, const guint32 *order, Line *line)
{
  const EvalTable *table = policy->table;
  const guint first = table->n / 2, n = table->n - first;
  g_autofree gdouble *p = g_new (gdouble, (gsize) n * policy->n);

  for (guint i = 0; i < n; i++) {
    bandit_load (policy, order[first + i]);
    pirl_bandit_predict (policy->bandit, policy->phi, p + (gsize) i * policy->n, NULL);
  }
  line->n = LAMBDAS;
  for (guint j = 0; j < LAMBDAS; j++) {
    const gdouble lambda = LAMBDA_MIN * pow (LAMBDA_MAX / LAMBDA_MIN, j / (LAMBDAS - 1.));
    gdouble agreement = 0, size = 0;

    for (guint i = 0; i < n; i++) {
      gdouble least = G_MAXDOUBLE;
      gsize at = 0;

      for (guint l = 0; l < policy->n; l++) {
        const gsize level = policy->grid[l], picture = order[first + i];
        const gdouble cost = table->predicted[picture * table->levels + level]
            - lambda * p[(gsize) i * policy->n + l];

        if (known (table, picture, level) && cost < least) {
          least = cost;
          at = cell (table, picture, level);
        }
      }
      agreement += table->agreement[at];
      size += table->size[at];
    }
    line->agreement[j] = agreement / n;
    line->size[j] = size / n;
  }
}

EvalOutcome
eval_bandit (const EvalTrial *trial, const EvalLook *look, const guint *grid, guint n_grid,
    guint labels)
{
  g_autofree gfloat *phi = g_new (gfloat, (gsize) n_grid * look->inputs);
  g_autofree gfloat *outcome = g_new (gfloat, n_grid);
  g_autofree gdouble *sizes = g_new (gdouble, n_grid);
  BanditPolicy policy = { trial->table, look, grid, n_grid, NULL, phi, outcome, sizes };
  PirlBanditConfig config;
  Tally tally;
  Line line;

  pirl_bandit_config_defaults (&config);
  config.levels = n_grid;
  config.inputs = look->inputs;
  config.target = trial->target;
  config.capacity = MAX (config.capacity, trial->table->n);
  tally_init (&tally, trial);
  for (guint h = 0; h < trial->halves; h++) {
    g_autofree guint32 *order = shuffled (trial, h);
    Half learning = { 0 };

    policy.bandit = pirl_bandit_new (&config, NULL);
    if (!policy.bandit)
      break;
    bandit_learn (&policy, order, labels, &learning);
    bandit_line (&policy, order, &line);
    tally_line (&tally, order, &line);
    tally_half (&tally, order, choose_bandit, &policy, learning);
    pirl_bandit_free (policy.bandit);
  }
  return tally_end (&tally);
}

/* --- the paper's agent --- */

typedef struct {
  const EvalTable *table;
  const guint *grid;
  guint n;
  PirlDqn *dqn;
  gfloat *q;
} DqnPolicy;

static const gfloat *
state_of (const EvalTable *table, guint picture)
{
  return table->features + (gsize) picture * table->n_features;
}

/* argmax Q over the cells that exist. */
static guint
choose_dqn (gpointer data, guint picture)
{
  DqnPolicy *policy = data;
  guint best = G_MAXUINT;

  pirl_dqn_q (policy->dqn, state_of (policy->table, picture), policy->q);
  for (guint a = 0; a < policy->n; a++)
    if (known (policy->table, picture, policy->grid[a])
        && (best == G_MAXUINT || policy->q[a] > policy->q[best]))
      best = a;
  return best == G_MAXUINT ? best : policy->grid[best];
}

/* The learning half over and over, in its order, until there were enough transitions. */
static gboolean
dqn_learn (DqnPolicy *policy, const EvalTrial *trial, const guint32 *order, Half *learning,
    GError **error)
{
  const EvalTable *table = policy->table;
  const guint first = table->n / 2;

  for (guint step = 0; step < trial->dqn_steps; step++) {
    const guint picture = order[step % first];
    const gfloat *state = state_of (table, picture);
    const guint action = pirl_dqn_choose (policy->dqn, state, TRUE);
    const gsize at = cell (table, picture, policy->grid[action]);

    if (table->agreement[at] < 0)
      continue;
    learning->labels++;
    learning->wire += table->wire[cell (table, picture, table->levels - 1)] + table->wire[at];
    if (!pirl_dqn_learn (policy->dqn, state, action,
            trial->alpha * table->agreement[at] - table->size[at] + trial->beta, NULL, error))
      return FALSE;
  }
  return TRUE;
}

gboolean
eval_dqn (const EvalTrial *trial, const guint *grid, guint n_grid, EvalOutcome *outcome,
    GError **error)
{
  const EvalTable *table = trial->table;
  g_autofree gfloat *q = g_new (gfloat, n_grid);
  DqnPolicy policy = { table, grid, n_grid, NULL, q };
  PirlDqnConfig config;
  gboolean good = TRUE;
  Tally tally;

  pirl_dqn_config_defaults (&config);
  config.features = table->n_features;
  config.actions = n_grid;
  tally_init (&tally, trial);
  for (guint h = 0; good && h < trial->halves; h++) {
    g_autofree guint32 *order = shuffled (trial, h);
    Half learning = { 0 };

    config.seed = trial->seed + h;
    policy.dqn = pirl_dqn_new (&config, error);
    good = policy.dqn && dqn_learn (&policy, trial, order, &learning, error);
    if (good)
      tally_half (&tally, order, choose_dqn, &policy, learning);
    pirl_dqn_free (policy.dqn);
  }
  *outcome = tally_end (&tally);
  return good;
}
