/* gst-pirl: units in a row -- a small residual network with every kind of unit -- on the tested
 * backend, in its own layouts, against the reference.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Values with two readers get their gradient in two parts, the second one added. A ReLU or a max
 * pool that is undecided between float and double would make gradients differ by more than
 * rounding: the reference first looks for a seed with none.
 */
#include "units-checks.h"

#include <math.h>
#include <string.h>

/* By type of activations. In F32 a ReLU or a window decided differently would be at 1e-4 and more.
 * In 16 bit some are, and each leaves its mark in the gradients behind it; a wrong one is at 1. */
static const struct {
  PirlDType dtype;
  gdouble value, gradient;
} limits[] = {
  { PIRL_DTYPE_F32, 1e-10, 1e-10 },
  { PIRL_DTYPE_F16, 2e-5, 2e-2 },
  { PIRL_DTYPE_BF16, 1e-3, 1e-1 },
};
#define MARGIN 1e-5f
#define MAX_SEEDS 200

enum { BATCH = 8, HEIGHT = 23, WIDTH = 21, MAX_NODES = 16 };

/* @channels: 0 = those of the input, else an index into the widths of the run. */
static const struct {
  PirlUnitKind kind;
  gint input, residual;
  gint channels, kernel, stride;
  gboolean depthwise;
  PirlActivation activation;
} network[] = {
  { PIRL_UNIT_INPUT, -1, -1 },
  { PIRL_UNIT_CONV, 0, -1, 1, 7, 2, FALSE, PIRL_ACT_RELU },
  { PIRL_UNIT_MAXPOOL, 1, -1, 0, 3, 2 },
  { PIRL_UNIT_CONV, 2, -1, 1, 3, 1, FALSE, PIRL_ACT_RELU },
  { PIRL_UNIT_CONV, 3, 2, 1, 3, 1, FALSE, PIRL_ACT_RELU },
  { PIRL_UNIT_CONV, 4, -1, 3, 1, 2, FALSE, PIRL_ACT_NONE },
  { PIRL_UNIT_CONV, 4, -1, 2, 1, 1, FALSE, PIRL_ACT_RELU },
  { PIRL_UNIT_CONV, 6, -1, 2, 3, 2, TRUE, PIRL_ACT_RELU6 },
  { PIRL_UNIT_CONV, 7, 5, 3, 1, 1, FALSE, PIRL_ACT_RELU },
  { PIRL_UNIT_AVGPOOL, 8, -1 },
  { PIRL_UNIT_LINEAR, 9, -1, 2 },
  { PIRL_UNIT_BATCHNORM, 10, -1, 0, 0, 0, FALSE, PIRL_ACT_RELU },
  { PIRL_UNIT_LINEAR, 11, -1, 1 },
  { PIRL_UNIT_L2NORM, 12, -1 },
};

G_STATIC_ASSERT (G_N_ELEMENTS (network) <= MAX_NODES);

static const gint widths[][4] = { { 0, 16, 24, 40 }, { 0, 5, 17, 9 } };

typedef struct {
  PirlUnitPlan *plan;
  PirlTensorDesc desc;
  Block value, gradient, saved, scratch;
  Block param[PIRL_N_SLOTS], grad[PIRL_N_SLOTS];
  PirlTensorDesc param_desc[PIRL_N_SLOTS];
} Node;

typedef struct {
  PirlDevice *device;
  guint n;
  UnitCase cases[MAX_NODES];
  UnitData data[MAX_NODES];
  Node nodes[MAX_NODES];
} Chain;

static gint
window_output (gint size, gint kernel, gint stride)
{
  return (size + 2 * (kernel / 2) - kernel) / stride + 1;
}

/* The desc of unit @i of the network, its input's dims known. */
static UnitCase
describe_unit (const Chain *chain, guint i, const gint *width, PirlMode mode, PirlDType dtype)
{
  const PirlUnitKind kind = network[i].kind;
  PirlUnitDesc unit = { .kind = kind, .mode = mode, .dtype = dtype, .kernel = network[i].kernel,
    .stride = network[i].stride, .padding = network[i].kernel / 2, .groups = 1,
    .activation = network[i].activation, .residual = network[i].residual >= 0,
    .bias = kind == PIRL_UNIT_LINEAR, .mean = { 0.485f, 0.456f, 0.406f },
    .batch_norm = kind == PIRL_UNIT_CONV || kind == PIRL_UNIT_BATCHNORM,
    .std = { 0.229f, 0.224f, 0.225f }, .needs_input_gradient = i > 1 };

  unit.input = i == 0 ? (PirlDims) { BATCH, 3, HEIGHT, WIDTH }
      : chain->cases[network[i].input].unit.output;
  unit.output = unit.input;
  if (network[i].channels > 0)
    unit.output.c = width[network[i].channels];
  if (network[i].depthwise)
    unit.groups = unit.output.c;
  if (kind == PIRL_UNIT_AVGPOOL)
    unit.output.h = unit.output.w = 1;
  if (kind == PIRL_UNIT_CONV || kind == PIRL_UNIT_MAXPOOL) {
    unit.output.h = window_output (unit.input.h, unit.kernel, unit.stride);
    unit.output.w = window_output (unit.input.w, unit.kernel, unit.stride);
  }
  return (UnitCase) { unit };
}

static gboolean
node_init (Chain *chain, guint i, GError **error)
{
  PirlDevice *device = chain->device;
  const PirlUnitDesc *unit = &chain->cases[i].unit;
  Node *node = &chain->nodes[i];
  PirlUnitMemory memory;

  node->plan = device->backend->unit_plan (device, unit,
      i == 0 ? NULL : &chain->nodes[network[i].input].desc,
      unit->residual ? &chain->nodes[network[i].residual].desc : NULL, &node->desc, &memory,
      error);
  if (node->plan == NULL
      || !units_block_init (&node->value, device, node->desc.bytes, error)
      || !units_block_init (&node->gradient, device, node->desc.bytes, error)
      || !units_block_init (&node->saved, device, memory.saved, error)
      || !units_block_init (&node->scratch, device, memory.scratch, error))
    return FALSE;
  for (gint slot = 0; slot < PIRL_N_SLOTS; slot++) {
    const gsize n = units_role_count (&chain->cases[i], ROLE_PARAM + slot);

    if (n == 0)
      continue;
    node->param_desc[slot] = units_dense (device, (PirlDims) { 1, (gint) n, 1, 1 },
        device->param_dtype);
    if (!units_block_init (&node->param[slot], device, node->param_desc[slot].bytes, error)
        || !units_block_init (&node->grad[slot], device, node->param_desc[slot].bytes, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
chain_init (Chain *chain, PirlDevice *device, const gint *width, PirlMode mode, PirlDType dtype,
    GError **error)
{
  memset (chain, 0, sizeof (*chain));
  chain->device = device;
  for (guint i = 0; i < G_N_ELEMENTS (network); i++) {
    chain->cases[i] = describe_unit (chain, i, width, mode, dtype);
    chain->n = i + 1;
    if (!node_init (chain, i, error))
      return FALSE;
  }
  return TRUE;
}

static void
chain_clear (Chain *chain)
{
  for (guint i = 0; i < chain->n; i++) {
    Node *node = &chain->nodes[i];

    units_block_clear (&node->value, chain->device);
    units_block_clear (&node->gradient, chain->device);
    units_block_clear (&node->saved, chain->device);
    units_block_clear (&node->scratch, chain->device);
    for (gint slot = 0; slot < PIRL_N_SLOTS; slot++) {
      units_block_clear (&node->param[slot], chain->device);
      units_block_clear (&node->grad[slot], chain->device);
    }
    if (node->plan != NULL)
      chain->device->backend->unit_free (node->plan);
    units_data_clear (&chain->data[i]);
  }
}

/* Fresh parameters, gradients and pictures; NaN everywhere else. */
static gboolean
chain_fill (Chain *chain, guint64 seed, GError **error)
{
  PirlDevice *device = chain->device;

  for (guint i = 0; i < chain->n; i++) {
    Node *node = &chain->nodes[i];
    UnitData *data = &chain->data[i];

    units_data_clear (data);
    units_data_init (data, &chain->cases[i], seed * MAX_NODES + i);
    if (!units_block_poison (&node->value, device, error)
        || !units_block_poison (&node->gradient, device, error)
        || !units_block_poison (&node->saved, device, error)
        || !units_block_poison (&node->scratch, device, error))
      return FALSE;
    for (gint slot = 0; slot < PIRL_N_SLOTS; slot++)
      if (node->param[slot].memory != NULL
          && (!device->backend->tensor_write (device, &node->param_desc[slot],
                  node->param[slot].memory, data->v[ROLE_PARAM + slot], error)
              || (data->v[ROLE_GRAD + slot] != NULL
                  && !device->backend->tensor_write (device, &node->param_desc[slot],
                      node->grad[slot].memory, data->v[ROLE_GRAD + slot], error))))
        return FALSE;
  }
  return TRUE;
}

static gboolean
node_run (Chain *chain, guint i, PirlPass pass, gboolean *has_gradient, GError **error)
{
  Node *node = &chain->nodes[i];
  const gint input = network[i].input, residual = network[i].residual;
  PirlUnitBuffers buffers = { .output = node->value.memory, .saved = node->saved.memory,
    .scratch = node->scratch.memory, .d_output = node->gradient.memory,
    .update_statistics = TRUE };

  for (gint slot = 0; slot < PIRL_N_SLOTS; slot++) {
    buffers.param[slot] = node->param[slot].memory;
    buffers.grad[slot] = node->grad[slot].memory;
  }
  buffers.input = input < 0 ? (gconstpointer) chain->data[i].pictures
      : chain->nodes[input].value.memory;
  if (residual >= 0) {
    buffers.residual = chain->nodes[residual].value.memory;
    buffers.d_residual = chain->nodes[residual].gradient.memory;
    buffers.accumulate_residual = has_gradient[residual];
    has_gradient[residual] = TRUE;
  }
  if (chain->cases[i].unit.needs_input_gradient) {
    buffers.d_input = chain->nodes[input].gradient.memory;
    buffers.accumulate_input = has_gradient[input];
    has_gradient[input] = TRUE;
  }
  return chain->device->backend->unit_run (node->plan, pass, &buffers, error);
}

static gboolean
chain_run (Chain *chain, PirlMode mode, GError **error)
{
  gboolean has_gradient[MAX_NODES];
  const Node *last = &chain->nodes[chain->n - 1];
  const guint n = chain->n;

  for (guint i = 0; mode == PIRL_MODE_INFER && i < n; i++)
    if (!node_run (chain, i, PIRL_PASS_PREPARE, has_gradient, error))
      return FALSE;
  for (guint i = 0; i < n; i++)
    if (!node_run (chain, i, PIRL_PASS_FORWARD, has_gradient, error))
      return FALSE;
  if (mode == PIRL_MODE_INFER)
    return TRUE;
  memset (has_gradient, 0, sizeof (has_gradient));
  if (!chain->device->backend->tensor_write (chain->device, &last->desc, last->gradient.memory,
          chain->data[n - 1].v[ROLE_D_OUTPUT], error))
    return FALSE;
  for (guint i = n - 1; i > 0; i--)
    if (!node_run (chain, i, PIRL_PASS_BACKWARD, has_gradient, error))
      return FALSE;
  return TRUE;
}

/* ---- decided ReLUs and max pools (on the reference, whose memory is dense double) ---- */

static gboolean
relu_decided (Chain *chain, guint i, GError **error)
{
  Node *node = &chain->nodes[i];
  const gsize n = pirl_dims_count (node->desc.dims);
  PirlUnitDesc plain = chain->cases[i].unit;
  PirlTensorDesc desc;
  PirlUnitMemory memory;
  PirlUnitPlan *plan = node->plan;
  gboolean decided = TRUE, none[MAX_NODES] = { FALSE };

  if (plain.activation == PIRL_ACT_NONE)
    return TRUE;
  plain.activation = PIRL_ACT_NONE;
  node->plan = chain->device->backend->unit_plan (chain->device, &plain,
      &chain->nodes[network[i].input].desc,
      plain.residual ? &chain->nodes[network[i].residual].desc : NULL, &desc, &memory, error);
  if (node_run (chain, i, PIRL_PASS_FORWARD, none, error)) {
    const gdouble *before = (const gdouble *) node->value.memory;

    for (gsize k = 0; k < n; k++)
      decided = decided && fabs (before[k]) > MARGIN && fabs (before[k] - 6.0) > MARGIN;
  }
  chain->device->backend->unit_free (node->plan);
  node->plan = plan;
  return decided && node_run (chain, i, PIRL_PASS_FORWARD, none, error);
}

/* No window with two large values within the margin (equal zeros behind a ReLU do no harm: the
 * first of them is the same on both sides, and its gradient ends at the ReLU). */
static gboolean
maxpool_decided (const Chain *chain, guint i)
{
  const PirlUnitDesc *unit = &chain->cases[i].unit;
  const PirlDims in = unit->input, out = unit->output;
  const gdouble *x;

  if (unit->kind != PIRL_UNIT_MAXPOOL)
    return TRUE;
  x = (const gdouble *) chain->nodes[network[i].input].value.memory;
  for (gsize o = 0; o < pirl_dims_count (out); o++) {
    const gdouble *plane = x + o / ((gsize) out.h * out.w) * in.h * in.w;
    const gint top = (gint) (o / out.w % out.h) * unit->stride - unit->padding;
    const gint left = (gint) (o % out.w) * unit->stride - unit->padding;
    gdouble first = 0.0, second = 0.0;

    for (gint k = 0; k < unit->kernel * unit->kernel; k++) {
      const gint y = top + k / unit->kernel, column = left + k % unit->kernel;

      if (y < 0 || y >= in.h || column < 0 || column >= in.w)
        continue;
      second = MAX (second, MIN (first, plane[y * in.w + column]));
      first = MAX (first, plane[y * in.w + column]);
    }
    if (first > 0.0 && first - second < MARGIN)
      return FALSE;
  }
  return TRUE;
}

/* Fills the reference's chain with the first seed that leaves nothing undecided. */
static gboolean
find_seed (Chain *reference, guint64 *seed, GError **error)
{
  gboolean none[MAX_NODES] = { FALSE };

  for (*seed = 1; *seed < MAX_SEEDS; (*seed)++) {
    gboolean decided = chain_fill (reference, *seed, error);

    for (guint i = 0; decided && i < reference->n; i++)
      decided = node_run (reference, i, PIRL_PASS_FORWARD, none, error)
          && relu_decided (reference, i, error) && maxpool_decided (reference, i);
    if (decided)
      return chain_fill (reference, *seed, error);
    if (error && *error)
      return FALSE;
  }
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "no seed leaves all ReLUs decided");
  return FALSE;
}

/* ---- comparison ---- */

static gdouble
compare_blocks (const Chain *a, const Block *block_a, const PirlTensorDesc *desc_a, const Chain *b,
    const Block *block_b, const PirlTensorDesc *desc_b)
{
  const gsize n = pirl_dims_count (desc_b->dims);
  g_autofree gfloat *values_a = g_new (gfloat, n);
  g_autofree gfloat *values_b = g_new (gfloat, n);

  if (!units_block_guarded (block_a, a->device)
      || !a->device->backend->tensor_read (a->device, desc_a, block_a->memory, values_a, NULL)
      || !b->device->backend->tensor_read (b->device, desc_b, block_b->memory, values_b, NULL))
    return INFINITY;
  return units_nmse (values_a, values_b, n);
}

static void
note (GString *details, guint node, const gchar *what, gdouble nmse, gdouble limit,
    gdouble *worst)
{
  *worst = fmax (*worst, nmse);
  if (!(nmse <= limit))
    g_string_append_printf (details, "\n    unit %u: %s: NMSE %.2g", node, what, nmse);
}

/* @worst: of values, of gradients. */
static void
compare_chains (const Chain *tested, const Chain *reference, PirlMode mode, gdouble value_limit,
    gdouble gradient_limit, GString *details, gdouble worst[2])
{
  for (guint i = 0; i < reference->n; i++) {
    const Node *a = &tested->nodes[i], *b = &reference->nodes[i];

    note (details, i, "output", compare_blocks (tested, &a->value, &a->desc, reference, &b->value,
            &b->desc), value_limit, &worst[0]);
    for (gint slot = 0; slot < PIRL_N_SLOTS; slot++) {
      if (b->param[slot].memory == NULL)
        continue;
      note (details, i, units_role_name (ROLE_PARAM + slot), compare_blocks (tested,
              &a->param[slot], &a->param_desc[slot], reference, &b->param[slot],
              &b->param_desc[slot]), value_limit, &worst[0]);
      if (mode == PIRL_MODE_TRAIN && slot < PIRL_SLOT_BN_MEAN)
        note (details, i, units_role_name (ROLE_GRAD + slot), compare_blocks (tested,
                &a->grad[slot], &a->param_desc[slot], reference, &b->grad[slot],
                &b->param_desc[slot]), gradient_limit, &worst[1]);
    }
  }
}

static guint
check_chain (const UnitsContext *context, const gint *width, PirlMode mode, guint type)
{
  const gdouble value = limits[type].value, gradient = limits[type].gradient;
  const PirlDType dtype = limits[type].dtype;
  gdouble worst[2] = { 0.0, 0.0 };
  g_autofree gchar *name = g_strdup_printf ("chain: %s %s, widths %d %d %d",
      mode == PIRL_MODE_TRAIN ? "train" : "infer", pirl_dtype_name (dtype), width[1], width[2],
      width[3]);
  g_autoptr (GString) details = g_string_new (NULL);
  g_autoptr (GError) error = NULL;
  const gchar *reason;
  Chain *chains;
  guint64 seed;

  if (!units_selected (context, name)
      || !context->tested->backend->supports (context->tested, mode, dtype, &reason))
    return 0;
  chains = g_new0 (Chain, 2);
  if (chain_init (&chains[0], context->tested, width, mode, dtype, &error)
      && chain_init (&chains[1], context->reference, width, mode, PIRL_DTYPE_F32, &error)
      && find_seed (&chains[1], &seed, &error) && chain_fill (&chains[0], seed, &error)
      && chain_run (&chains[0], mode, &error) && chain_run (&chains[1], mode, &error)) {
    compare_chains (&chains[0], &chains[1], mode, value, gradient, details, worst);
    g_print ("%s: worst NMSE of values %.2g (limit %.0e), of gradients %.2g (limit %.0e)\n", name,
        worst[0], value, worst[1], gradient);
  }
  if (error != NULL)
    g_string_append_printf (details, "\n    %s", error->message);
  for (gint i = 0; i < 2; i++)
    chain_clear (&chains[i]);
  g_free (chains);
  return units_report (context, details->len == 0, name, details->str);
}

/* ---- two devices at once ---- */

typedef struct {
  Chain chain;
  GError *error;
} Worker;

static gpointer
work (gpointer user_data)
{
  Worker *worker = user_data;

  for (gint i = 0; worker->error == NULL && i < 3; i++)
    if (chain_fill (&worker->chain, 1, &worker->error))
      chain_run (&worker->chain, PIRL_MODE_TRAIN, &worker->error);
  return NULL;
}

/* Two devices that train in two threads give the same bits. */
static guint
check_two_devices (const UnitsContext *context)
{
  const gchar *name = "chain: two devices in two threads";
  g_autoptr (GString) details = g_string_new (NULL);
  g_autoptr (PirlDevice) other = NULL;
  PirlDevice *device = context->tested;
  gdouble worst[2] = { 0.0, 0.0 };
  GThread *threads[2];
  Worker *workers;

  if (!units_selected (context, name))
    return 0;
  other = pirl_device_open (device->backend->name, device->n_threads, TRUE, NULL);
  if (other == NULL)
    return units_report (context, FALSE, name, ": no second device");
  workers = g_new0 (Worker, 2);
  for (gint i = 0; i < 2; i++)
    chain_init (&workers[i].chain, i ? other : device, widths[0], PIRL_MODE_TRAIN, PIRL_DTYPE_F32,
        &workers[i].error);
  for (gint i = 0; i < 2; i++)
    threads[i] = g_thread_new ("device", work, &workers[i]);
  for (gint i = 0; i < 2; i++)
    g_thread_join (threads[i]);
  for (gint i = 0; i < 2; i++)
    if (workers[i].error != NULL)
      g_string_append_printf (details, "\n    %s", workers[i].error->message);
  if (details->len == 0)
    compare_chains (&workers[0].chain, &workers[1].chain, PIRL_MODE_TRAIN, 0.0, 0.0, details,
        worst);
  for (gint i = 0; i < 2; i++) {
    chain_clear (&workers[i].chain);
    g_clear_error (&workers[i].error);
  }
  g_free (workers);
  return units_report (context, details->len == 0, name, details->str);
}

guint
units_check_chain (const UnitsContext *context)
{
  guint failed = 0;

  for (guint w = 0; w < G_N_ELEMENTS (widths); w++)
    for (guint type = 0; type < G_N_ELEMENTS (limits); type++) {
      failed += check_chain (context, widths[w], PIRL_MODE_TRAIN, type);
      failed += check_chain (context, widths[w], PIRL_MODE_INFER, type);
    }
  failed += check_two_devices (context);
  return failed;
}
