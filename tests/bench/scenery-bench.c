/* gst-pirl: a change of scenery, on a simulated cloud whose threshold for every picture is known.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Usage: scenery-bench [--seeds N] [--frames N] [--memory R] [--policy bandit|dqn]
 *                      [--estimator budget|paper] [--check] [--json FILE]
 *
 * A picture has a hardness h that shows in its features, and a threshold quality
 *
 *   log q* = mean + spread (rho h + sqrt (1 - rho^2) e),  h, e ~ N (0, 1)
 *
 * from which on the service agrees. The agent sees, as the element's observer shows it, the shift
 * that quality q causes in the features, log s(q) = look + .8 h - .9 log (q / 15) + noise, the
 * sizes, and the quality. Thresholds, sizes and the gain of the best fixed quality follow the
 * calibration on 500 photographs (agreement at qualities 5, 9, 15, 25 of .58, .86, .94, .98).
 *
 * Three experiments, each over all seeds:
 *   change     three sceneries of --frames frames. When is each change noticed, what is the
 *              agreement after the retraining?
 *   unchanged  one scenery of twice --frames frames after the agent has settled: false alarms
 *   return     one scenery, another, the first again: is the remembered agent taken?
 * --memory: frames like those before, as in a film (correlation of neighbours; 0: pictures in any
 * order). Answers come two frames after the question, at most four are under way.
 *
 * --check: fails unless what must hold does, with margins for few seeds: 2, or 20 when
 * PIRL_LONG=1, unless told. */
#include <json-glib/json-glib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <base/rng.h>
#include <controller.h>

enum { LEVELS = 12, INPUTS = 7, FEATURES = 16, WAITING = 4, DELAY = 2, MOST_CHANGES = 2048 };

static const gint qualities[LEVELS] = { 5, 7, 9, 11, 13, 15, 19, 25, 35, 45, 55, 75 };
/* Mean sizes with optimised Huffman tables, of quality 75 with standard ones. */
static const gdouble mean_sizes[LEVELS] = { 0.116, 0.150, 0.182, 0.213, 0.243, 0.268, 0.320, 0.394,
  0.498, 0.588, 0.681, 0.969 };
/* base64 and a request's headers, of a reference of 40 KB. */
#define WIRE (4.0 / 3)
#define HEADERS 0.012
#define REFERENCE_BYTES 40000

typedef struct {
  gdouble mean, spread, rho, look;
} Scenery;

/* Made so that each change hurts. The first three: the same look with higher thresholds; another
 * look with still higher ones. The last two hurt in both directions: what is hard in one is easy
 * in the other. */
enum { DAY, HAZE, NIGHT, CHANGES, STREET = CHANGES, MIRROR, SCENERIES };
static const Scenery sceneries[SCENERIES] = {
  {1.45, 0.85, 0.7, 0}, {2.20, 0.80, 0.6, 0}, {2.60, 0.75, 0.6, -1.2},
  {2.10, 0.90, 0.85, 0}, {2.10, 0.90, -0.85, 0},
};

typedef struct {
  AdaObservation observation;
  gfloat phi[LEVELS * INPUTS], features[FEATURES];
  gdouble sizes[LEVELS];
  gdouble threshold;            /* log quality */
} Picture;

/* What makes a picture, each N (0, 1), each like that of the frame before by @memory. */
enum { HARD, HIDDEN, NOISE, COMPLEXITY, LOOK, SOURCES = LOOK + FEATURES };

typedef struct {
  gdouble value[SOURCES];
  gdouble memory;
} Sources;

static void
sources_next (PirlRng *rng, Sources *sources)
{
  const gdouble fresh = sqrt (1 - sources->memory * sources->memory);

  for (guint i = 0; i < SOURCES; i++)
    sources->value[i] = sources->memory * sources->value[i] + fresh * pirl_rng_normal (rng);
}

static void
picture_draw (PirlRng *rng, Sources *sources, const Scenery *scenery, guint number,
    Picture *picture)
{
  const gdouble *x = sources->value, hard = x[HARD], hidden = x[HIDDEN];
  const gdouble noise = 0.3 * x[NOISE], complexity = exp (0.15 * x[COMPLEXITY]);
  gdouble shift[LEVELS];

  sources_next (rng, sources);
  picture->threshold = scenery->mean + scenery->spread * (scenery->rho * hard
      + sqrt (1 - scenery->rho * scenery->rho) * hidden);
  for (guint l = 0; l < LEVELS; l++)
    shift[l] = scenery->look + 0.8 * hard - 0.9 * log (qualities[l] / 15.0) + noise
        + 0.1 * pirl_rng_normal (rng);
  for (guint l = 0; l < LEVELS; l++) {
    const gdouble q = log (qualities[l]);
    const gfloat phi[INPUTS] = { 1, q, q * q, shift[0], shift[5], shift[l],
      pow (mean_sizes[l], complexity) };

    memcpy (picture->phi + l * INPUTS, phi, sizeof phi);
    picture->sizes[l] = phi[INPUTS - 1];
  }
  for (guint i = 0; i < FEATURES; i++)
    picture->features[i] = (gfloat) ((i % 3 == number ? 1.5 : 0) + (i < 2 ? 0.8 * hard : 0)
        + x[LOOK + i]);
  picture->observation = (AdaObservation) {.levels = LEVELS,.inputs = INPUTS,
    .n_features = FEATURES,.phi = picture->phi,.features = picture->features,
    .sizes = picture->sizes
  };
}

static gboolean
agrees (const Picture *picture, guint level)
{
  return level == LEVELS - 1 || log (qualities[level]) >= picture->threshold;
}

/* --- a stream --- */

typedef struct {
  guint seeds;
  guint64 frames;
  gdouble memory;
  AdaControllerConfig config;
} Settings;

typedef struct {
  guint64 frame;
  Picture picture;
  AdaDecision decision;
} Question;

typedef struct {
  guint64 frame;
  guint64 estimates;            /* answered so far, of the state that ended */
  AdaState to;
  gchar reason[32];
} Event;

typedef struct {
  AdaController *controller;
  PirlRng rng;
  Sources sources;
  guint64 frame;
  Question waiting[WAITING];
  guint n_waiting;
  Event event[MOST_CHANGES];
  guint n_events;
  guint64 answered;             /* estimates answered */
  gdouble asked, estimated;     /* on the wire to the cloud; of that, for estimates; unit: a reference */
} Stream;

/* Counts over a stretch of frames. */
typedef struct {
  gdouble frames, agreed, size, asked, inference, inference_agreed, inference_size;
} Counts;

static void
state_changed (AdaState from, AdaState to, const gchar *reason, gpointer data)
{
  Stream *stream = data;

  if (stream->n_events == MOST_CHANGES)
    return;
  stream->event[stream->n_events] = (Event) {.frame = stream->frame,
    .estimates = stream->answered,.to = to
  };
  g_strlcpy (stream->event[stream->n_events++].reason, reason, sizeof stream->event[0].reason);
}

static void
stream_init (Stream *stream, const Settings *settings, guint64 seed)
{
  AdaControllerConfig own = settings->config;
  GError *error = NULL;

  memset (stream, 0, sizeof *stream);
  own.seed = seed;
  stream->controller = ada_controller_new (&own, &error);
  if (stream->controller == NULL)
    g_error ("%s", error->message);
  ada_controller_set_state_func (stream->controller, state_changed, stream);
  pirl_rng_init (&stream->rng, seed, 0, 0, PIRL_PURPOSE_TEST);
  sources_next (&stream->rng, &stream->sources);
  stream->sources.memory = settings->memory;
}

/* The oldest question is answered. */
static void
answer (Stream *stream)
{
  Question *question = &stream->waiting[0];
  gfloat outcome[LEVELS];
  gdouble cost = WIRE + HEADERS;

  for (guint l = 0; l < LEVELS; l++)
    outcome[l] = -1;
  for (guint i = 0; i < question->decision.n_trials; i++) {
    const guint l = question->decision.trials[i];

    outcome[l] = agrees (&question->picture, l);
    cost += WIRE * question->picture.sizes[l] + HEADERS;
  }
  stream->answered += question->decision.state == ADA_STATE_ESTIMATE;
  stream->asked += cost;
  if (question->decision.state == ADA_STATE_ESTIMATE)
    stream->estimated += cost;
  ada_controller_answered (stream->controller, &question->picture.observation,
      &question->decision, outcome, (gsize) (cost * REFERENCE_BYTES), REFERENCE_BYTES);
  stream->n_waiting--;
  for (guint i = 0; i < stream->n_waiting; i++) {
    stream->waiting[i] = stream->waiting[i + 1];
    stream->waiting[i].picture.observation.phi = stream->waiting[i].picture.phi;
    stream->waiting[i].picture.observation.features = stream->waiting[i].picture.features;
    stream->waiting[i].picture.observation.sizes = stream->waiting[i].picture.sizes;
  }
}

static void
ask (Stream *stream, const Picture *picture, const AdaDecision *decision)
{
  Question *question = &stream->waiting[stream->n_waiting++];

  question->frame = stream->frame;
  question->picture = *picture;
  question->picture.observation.phi = question->picture.phi;
  question->picture.observation.features = question->picture.features;
  question->picture.observation.sizes = question->picture.sizes;
  question->decision = *decision;
}

static void
stream_run (Stream *stream, guint scenery, guint64 frames, Counts *counts)
{
  for (guint64 i = 0; i < frames; i++, stream->frame++) {
    Picture picture;
    AdaDecision decision;
    guint level;

    while (stream->n_waiting > 0 && stream->waiting[0].frame + DELAY <= stream->frame) {
      const gdouble before = stream->asked;

      answer (stream);
      counts->asked += stream->asked - before;
    }
    picture_draw (&stream->rng, &stream->sources, &sceneries[scenery], scenery, &picture);
    ada_controller_decide (stream->controller, &picture.observation, stream->n_waiting < WAITING,
        &decision);
    level = LEVELS - 1;
    while (qualities[level] != decision.quality)
      level--;
    counts->frames++;
    counts->agreed += agrees (&picture, level);
    counts->size += picture.sizes[level];
    if (decision.state != ADA_STATE_RETRAIN) {
      counts->inference++;
      counts->inference_agreed += agrees (&picture, level);
      counts->inference_size += picture.sizes[level];
    }
    if (decision.ask)
      ask (stream, &picture, &decision);
  }
}

/* The first event after number @from that leads to @to; NULL = none. */
static const Event *
find_event (const Stream *stream, guint from, AdaState to)
{
  for (guint i = from; i < stream->n_events; i++)
    if (stream->event[i].to == to)
      return &stream->event[i];
  return NULL;
}

/* --- lists of numbers --- */

static gint
compare (gconstpointer a, gconstpointer b)
{
  const gdouble x = *(const gdouble *) a, y = *(const gdouble *) b;

  return (x > y) - (x < y);
}

static gdouble
quantile (const GArray *values, gdouble q)
{
  g_autofree gdouble *sorted = NULL;
  gdouble result;

  if (values->len == 0)
    return NAN;
  sorted = g_new (gdouble, values->len);
  memcpy (sorted, values->data, sizeof (gdouble) * values->len);
  qsort (sorted, values->len, sizeof (gdouble), compare);
  result = sorted[(guint) (q * (values->len - 1) + 0.5)];
  return result;
}

static gdouble
mean (const GArray *values)
{
  gdouble sum = 0;

  for (guint i = 0; i < values->len; i++)
    sum += g_array_index (values, gdouble, i);
  return values->len > 0 ? sum / values->len : NAN;
}

static void
push (GArray *values, gdouble value)
{
  g_array_append_val (values, value);
}

static GArray *
numbers (void)
{
  return g_array_new (FALSE, FALSE, sizeof (gdouble));
}

/* --- the experiments --- */

/* Of all seeds. Per change: @noticed, in estimates and in frames; @missed; answers and frames of
 * the retraining; agreement and size of what left afterwards. */
typedef struct {
  GArray *estimates, *delay, *retraining, *agreement, *size, *wire, *overall;
  guint changes, missed;
} ChangeResult;

static void
change_init (ChangeResult *result)
{
  *result = (ChangeResult) {.estimates = numbers (),.delay = numbers (),.retraining = numbers (),
    .agreement = numbers (),.size = numbers (),.wire = numbers (),.overall = numbers ()
  };
}

static void
change_clear (ChangeResult *result)
{
  GArray *all[] = { result->estimates, result->delay, result->retraining, result->agreement,
    result->size, result->wire, result->overall };

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    g_array_unref (all[i]);
}

/* One scenery: until the next retraining begins (or, in the first, has begun), through it, after
 * it. */
static void
run_scenery (Stream *stream, guint scenery, guint64 frames, ChangeResult *result)
{
  const guint first = stream->n_events;
  const guint64 start = stream->frame, answered = stream->answered;
  Counts all = { 0 }, after = { 0 };
  const Event *alarm = NULL, *settled = NULL;
  guint64 left = frames;

  while (left > 0 && settled == NULL) {
    const guint64 n = MIN (left, 10);

    stream_run (stream, scenery, n, &all);
    left -= n;
    alarm = find_event (stream, first, ADA_STATE_RETRAIN);
    settled = scenery == 0 || alarm != NULL
        ? find_event (stream, alarm != NULL ? alarm - stream->event : first, ADA_STATE_INFERENCE)
        : NULL;
  }
  stream_run (stream, scenery, left, &after);
  if (scenery > 0) {
    result->changes++;
    if (alarm != NULL) {
      push (result->estimates, alarm->estimates - answered);
      push (result->delay, alarm->frame - start);
    } else {
      result->missed++;
    }
  }
  if (settled != NULL) {
    push (result->retraining, settled->frame - (alarm != NULL ? alarm->frame : start));
    push (result->agreement, after.inference_agreed / after.inference);
    push (result->size, after.inference_size / after.inference);
  }
  push (result->overall, (all.agreed + after.agreed) / frames);
  push (result->wire, (all.size + all.asked + after.size + after.asked) / frames);
}

static void
run_change (const Settings *settings, ChangeResult *result)
{
  for (guint seed = 0; seed < settings->seeds; seed++) {
    Stream stream;

    stream_init (&stream, settings, seed);
    for (guint s = 0; s < CHANGES; s++)
      run_scenery (&stream, s, settings->frames, result);
    ada_controller_free (stream.controller);
  }
}

typedef struct {
  GArray *alarms, *agreement, *size, *wire, *asked;
} UnchangedResult;

static void
run_unchanged (const Settings *settings, UnchangedResult *result)
{
  *result = (UnchangedResult) {.alarms = numbers (),.agreement = numbers (),.size = numbers (),
    .wire = numbers (),.asked = numbers ()
  };
  for (guint seed = 0; seed < settings->seeds; seed++) {
    Counts counts = { 0 };
    Stream stream;
    guint alarms = 0;

    stream_init (&stream, settings, 1000 + seed);
    for (guint i = 0; i < 1000 && stream.n_events == 0; i++)
      stream_run (&stream, 0, 10, &counts);
    counts = (Counts) { 0 };
    stream.estimated = 0;
    stream_run (&stream, 0, 2 * settings->frames, &counts);
    for (guint i = 1; i < stream.n_events; i++)
      alarms += stream.event[i].to == ADA_STATE_RETRAIN;
    push (result->alarms, alarms);
    push (result->agreement, counts.agreed / counts.frames);
    push (result->size, counts.size / counts.frames);
    push (result->asked, stream.estimated / counts.frames);
    push (result->wire, (counts.size + counts.asked) / counts.frames);
    ada_controller_free (stream.controller);
  }
}

typedef struct {
  guint remembered, settled, unnoticed;
  GArray *retraining, *agreement;
} ReturnResult;

static void
run_return (const Settings *settings, ReturnResult *result)
{
  static const guint order[] = { STREET, MIRROR, STREET };

  *result = (ReturnResult) {.retraining = numbers (),.agreement = numbers () };
  for (guint seed = 0; seed < settings->seeds; seed++) {
    const Event *alarm, *end;
    Counts counts = { 0 };
    Stream stream;
    guint before;

    stream_init (&stream, settings, 2000 + seed);
    for (guint s = 0; s + 1 < G_N_ELEMENTS (order); s++)
      stream_run (&stream, order[s], settings->frames, &counts);
    before = stream.n_events;
    counts = (Counts) { 0 };
    stream_run (&stream, order[2], settings->frames, &counts);
    alarm = find_event (&stream, before, ADA_STATE_RETRAIN);
    end = alarm != NULL ? find_event (&stream, alarm - stream.event, ADA_STATE_INFERENCE) : NULL;
    if (end == NULL) {
      result->unnoticed++;
    } else {
      push (result->retraining, end->frame - alarm->frame);
      if (g_str_has_prefix (end->reason, "remembered"))
        result->remembered++;
      else
        result->settled++;
    }
    push (result->agreement, counts.inference_agreed / counts.inference);
    ada_controller_free (stream.controller);
  }
}

/* --- output --- */

static void
add_list (JsonBuilder *builder, const gchar *name, const GArray *values)
{
  json_builder_set_member_name (builder, name);
  json_builder_begin_array (builder);
  for (guint i = 0; i < values->len; i++)
    json_builder_add_double_value (builder,
        round (g_array_index (values, gdouble, i) * 1e4) / 1e4);
  json_builder_end_array (builder);
}

static void
show (const gchar *name, const GArray *values)
{
  g_print ("  %-34s mean %8.3f   min %8.3f  10 %% %8.3f  50 %% %8.3f  90 %% %8.3f  max %8.3f\n",
      name, mean (values), quantile (values, 0), quantile (values, 0.1), quantile (values, 0.5),
      quantile (values, 0.9), quantile (values, 1));
}

static void
add_number (JsonBuilder *builder, const gchar *name, gdouble value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_double_value (builder, value);
}

static void
add_settings (JsonBuilder *builder, const Settings *settings)
{
  json_builder_set_member_name (builder, "policy");
  json_builder_add_string_value (builder,
      settings->config.policy == ADA_POLICY_DQN ? "dqn" : "bandit");
  json_builder_set_member_name (builder, "estimator");
  json_builder_add_string_value (builder,
      settings->config.estimator == ADA_ESTIMATOR_PAPER ? "paper" : "budget");
  add_number (builder, "seeds", settings->seeds);
  add_number (builder, "frames", settings->frames);
  add_number (builder, "memory", settings->memory);
  add_number (builder, "target", settings->config.target);
}

typedef struct {
  const gchar *name;
  const GArray *values;
} Named;

static void
show_all (JsonBuilder *builder, const gchar *experiment, const Named *list, guint n)
{
  json_builder_set_member_name (builder, experiment);
  json_builder_begin_object (builder);
  for (guint i = 0; i < n; i++) {
    show (list[i].name, list[i].values);
    add_list (builder, list[i].name, list[i].values);
  }
  json_builder_end_object (builder);
}

/* How many of @values are at most @points from @target. */
static guint
count_near (const GArray *values, gdouble target, gdouble points)
{
  guint n = 0;

  for (guint i = 0; i < values->len; i++)
    n += fabs (g_array_index (values, gdouble, i) - target) <= points;
  return n;
}

static void
show_change (JsonBuilder *builder, const ChangeResult *result, gdouble target)
{
  const Named list[] = {
    {"noticed after estimates", result->estimates}, {"noticed after frames", result->delay},
    {"frames of a retraining", result->retraining}, {"agreement after it", result->agreement},
    {"size ratio after it", result->size}, {"agreement of all frames", result->overall},
    {"wire ratio of all", result->wire},
  };

  g_print ("change: %u changes, %u not noticed; after %u of %u retrainings agreement within 2 "
      "points of %g\n", result->changes, result->missed, count_near (result->agreement, target, 0.02),
      result->agreement->len, target);
  show_all (builder, "change", list, G_N_ELEMENTS (list));
  add_number (builder, "changes", result->changes);
  add_number (builder, "changes not noticed", result->missed);
}

static void
show_unchanged (JsonBuilder *builder, const UnchangedResult *result)
{
  const Named list[] = {
    {"false retrainings", result->alarms}, {"agreement", result->agreement},
    {"size ratio", result->size}, {"estimates' bytes ratio", result->asked},
    {"wire ratio", result->wire},
  };

  g_print ("unchanged\n");
  show_all (builder, "unchanged", list, G_N_ELEMENTS (list));
}

static void
show_return (JsonBuilder *builder, const ReturnResult *result)
{
  const Named list[] = {
    {"frames of the retraining", result->retraining},
    {"agreement in inference", result->agreement},
  };

  g_print ("return: remembered agent taken %u times, learnt anew %u, not noticed %u\n",
      result->remembered, result->settled, result->unnoticed);
  show_all (builder, "return", list, G_N_ELEMENTS (list));
  add_number (builder, "returns remembered", result->remembered);
  add_number (builder, "returns learnt anew", result->settled);
  add_number (builder, "returns not noticed", result->unnoticed);
}

/* Margins: a few seeds' worth. */
static gboolean
check (const Settings *settings, const ChangeResult *change, const UnchangedResult *unchanged,
    const ReturnResult *back)
{
  const struct {
    const gchar *what;
    gboolean holds;
  } checks[] = {
    {"every change is noticed", change->missed == 0},
    {"within 200 estimates", quantile (change->estimates, 1) <= 200},
    {"agreement is back within 2 points (mean)",
        fabs (mean (change->agreement) - settings->config.target) <= 0.02},
    {"within 2 points after five of six retrainings",
        6 * count_near (change->agreement, settings->config.target, 0.02)
        >= 5 * change->agreement->len},
    {"and nowhere 4 points below", quantile (change->agreement, 0) >=
        settings->config.target - 0.04},
    {"at most one false retraining", quantile (unchanged->alarms, 1) <= 1},
    {"estimates keep to the budget", quantile (unchanged->asked, 1) <=
        settings->config.budget * 1.05},
    {"a remembered agent is taken", back->remembered >= back->settled},
  };
  gboolean good = TRUE;

  for (guint i = 0; i < G_N_ELEMENTS (checks); i++) {
    if (!checks[i].holds)
      g_printerr ("does not hold: %s\n", checks[i].what);
    good &= checks[i].holds;
  }
  return good;
}

static gboolean
write_json (JsonBuilder *builder, const gchar *path)
{
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonNode) root = json_builder_get_root (builder);
  g_autoptr (GError) error = NULL;

  json_generator_set_root (generator, root);
  json_generator_set_pretty (generator, TRUE);
  json_generator_set_indent (generator, 1);
  if (json_generator_to_file (generator, path, &error))
    return TRUE;
  g_printerr ("%s\n", error->message);
  return FALSE;
}

static gboolean
parse (gint *argc, gchar ***argv, Settings *settings, gboolean *check_it, gchar **json)
{
  g_autofree gchar *policy = NULL, *estimator = NULL;
  gint seeds = 0;
  gint64 frames = 10000;
  const GOptionEntry entries[] = {
    {"seeds", 0, 0, G_OPTION_ARG_INT, &seeds, "how many", "N"},
    {"frames", 0, 0, G_OPTION_ARG_INT64, &frames, "of a scenery", "N"},
    {"memory", 0, 0, G_OPTION_ARG_DOUBLE, &settings->memory,
        "of a frame for the one before, 0 to below 1", "R"},
    {"policy", 0, 0, G_OPTION_ARG_STRING, &policy, "bandit or dqn", "NAME"},
    {"estimator", 0, 0, G_OPTION_ARG_STRING, &estimator, "budget or paper", "NAME"},
    {"check", 0, 0, G_OPTION_ARG_NONE, check_it, "fail unless what must hold does", NULL},
    {"json", 0, 0, G_OPTION_ARG_FILENAME, json, "where results go", "FILE"},
    {NULL}
  };
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  g_autoptr (GError) error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  if (!g_option_context_parse (context, argc, argv, &error)) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  settings->seeds = seeds > 0 ? seeds : *check_it && g_getenv ("PIRL_LONG") == NULL ? 2 : 20;
  settings->frames = MAX (frames, 100);
  ada_controller_config_defaults (&settings->config);
  settings->config.policy = g_strcmp0 (policy, "dqn") == 0 ? ADA_POLICY_DQN : ADA_POLICY_BANDIT;
  settings->config.estimator = g_strcmp0 (estimator, "paper") == 0 ? ADA_ESTIMATOR_PAPER
      : ADA_ESTIMATOR_BUDGET;
  settings->config.levels = LEVELS;
  settings->config.inputs = INPUTS;
  settings->config.n_features = FEATURES;
  settings->config.cloud = TRUE;
  memcpy (settings->config.qualities, qualities, sizeof qualities);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autofree gchar *json = NULL;
  gboolean check_it = FALSE, good = TRUE;
  UnchangedResult unchanged;
  ChangeResult change;
  ReturnResult back;
  Settings settings = { 0 };

  if (!parse (&argc, &argv, &settings, &check_it, &json))
    return 2;
  g_print ("policy %s, estimator %s, memory %g, %u seeds, target %g\n",
      settings.config.policy == ADA_POLICY_DQN ? "dqn" : "bandit",
      settings.config.estimator == ADA_ESTIMATOR_PAPER ? "paper" : "budget", settings.memory,
      settings.seeds, settings.config.target);
  json_builder_begin_object (builder);
  add_settings (builder, &settings);
  change_init (&change);
  run_change (&settings, &change);
  show_change (builder, &change, settings.config.target);
  run_unchanged (&settings, &unchanged);
  show_unchanged (builder, &unchanged);
  run_return (&settings, &back);
  show_return (builder, &back);
  json_builder_end_object (builder);
  if (check_it)
    good = check (&settings, &change, &unchanged, &back);
  if (json != NULL)
    good &= write_json (builder, json);
  change_clear (&change);
  return good ? 0 : 1;
}
