/* gst-pirl: a graph made ready to run.
 *
 * Time: with U units in use, unit u runs forward at step u, the loss stands at step U, unit u runs
 * backward at step 2U - u. Every block (value, gradient, saved, scratch) is alive from the first to
 * the last step that touches it; blocks whose lives do not meet share memory, and in inference a
 * sum takes the place of its residual where it can. A GROUP is a view: its value and its gradient
 * are those of its input (the *root*). VECTORS have a value, dense rows in the parameters' type, but
 * nothing to run.
 *
 * A value read by several units gets its gradient from all of them: in reverse order the first
 * writer overwrites, the others add.
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "net/plan.h"

#include <gio/gio.h>
#include <string.h>

#include "net/liveness.h"

#define NO_BLOCK (-1)

struct _PirlPool {
  PirlDevice *device;
  gpointer base;
  gsize bytes;
};

typedef struct {
  PirlUnit unit;                /* with the mode and type of this plan */
  PirlUnitPlan *backend;        /* NULL: a view, vectors, or not in use */
  PirlTensorDesc desc;          /* of the value */
  PirlUnitMemory memory;
  PirlValue root;               /* whose storage the value has */
  gint step;                    /* of forward; -1 = no output needs it */
  gboolean kept;                /* read after the pass */
  gboolean gradient;            /* its gradient is computed */
  gint value, d_value, saved, forward_scratch, backward_scratch;        /* blocks */
  gint param[PIRL_N_SLOTS];     /* index in the parameters; -1 = unused */
  gboolean accumulate_input, accumulate_residual;
} Node;

struct _PirlPlan {
  PirlDevice *device;
  PirlParams *params;
  PirlPool *pool;
  PirlMode mode;
  guint n;
  Node *nodes;
  gint n_steps;
  PirlValue loss;               /* outputs[0] */
  GArray *blocks;               /* PirlBlock */
  gsize bytes;
  const guint8 **staged;        /* pictures, where the device has no steps */
  gboolean is_staged;
};

/* --- pool --- */

PirlPool *
pirl_pool_new (PirlDevice *device)
{
  PirlPool *pool = g_new0 (PirlPool, 1);

  pool->device = device;
  return pool;
}

void
pirl_pool_free (PirlPool *pool)
{
  if (!pool)
    return;
  if (pool->base)
    pool->device->backend->free (pool->device, pool->base);
  g_free (pool);
}

gsize
pirl_pool_bytes (const PirlPool *pool)
{
  return pool->bytes;
}

/* Plans look the base up when they run, so that growing does not hurt earlier ones. The old block
 * goes first: two of them may not fit. */
static gboolean
pool_grow (PirlPool *pool, gsize bytes, GError **error)
{
  if (bytes <= pool->bytes)
    return TRUE;
  if (pool->base)
    pool->device->backend->free (pool->device, pool->base);
  pool->base = pool->device->backend->alloc (pool->device, bytes, error);
  pool->bytes = pool->base ? bytes : 0;
  return pool->base != NULL;
}

/* --- planning --- */

static Node *
plan_root (PirlPlan *plan, PirlValue value)
{
  return &plan->nodes[plan->nodes[value].root];
}

/* The step at which @node runs backward. */
static gint
backward_step (const PirlPlan *plan, const Node *node)
{
  return 2 * plan->n_steps - node->step;
}

/* Numbers the units that the outputs need; marks those the gradient of the first one flows
 * through. */
static void
plan_select (PirlPlan *plan, const PirlValue *outputs, guint n_outputs)
{
  g_autofree gboolean *needed = g_new0 (gboolean, plan->n);

  for (guint i = 0; i < n_outputs; i++)
    needed[outputs[i]] = plan->nodes[outputs[i]].kept = TRUE;
  plan->nodes[outputs[0]].gradient = plan->mode == PIRL_MODE_TRAIN;
  for (gint i = (gint) plan->n - 1; i >= 0; i--) {
    Node *node = &plan->nodes[i];
    const PirlValue sources[] = { node->unit.input, node->unit.residual };

    if (node->unit.input == PIRL_NO_VALUE)
      node->gradient = FALSE;
    for (guint s = 0; needed[i] && s < G_N_ELEMENTS (sources); s++)
      if (sources[s] != PIRL_NO_VALUE) {
        needed[sources[s]] = TRUE;
        plan->nodes[sources[s]].gradient |= node->gradient;
      }
  }
  for (guint i = 0; i < plan->n; i++)
    plan->nodes[i].step = needed[i] ? plan->n_steps++ : -1;
}

static gboolean
node_find_params (PirlPlan *plan, Node *node, const PirlGraph *graph, GError **error)
{
  for (guint slot = 0; slot < PIRL_N_SLOTS; slot++) {
    const PirlParamSpec *spec;

    node->param[slot] = -1;
    if (node->unit.param[slot] < 0)
      continue;
    spec = g_ptr_array_index (graph->params, node->unit.param[slot]);
    node->param[slot] = pirl_params_find (plan->params, spec->name);
    if (node->param[slot] < 0) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "the parameters were made without this graph: %s is not among them", spec->name);
      return FALSE;
    }
  }
  return TRUE;
}

/* "conv layer1.0.conv1.weight, 8,16,32,32": for messages. */
static gchar *
node_describe (const PirlPlan *plan, const Node *node)
{
  static const gchar *const kinds[] = {
    "input", "conv", "maxpool", "avgpool", "linear", "batchnorm", "l2norm", "group",
    "vectors",
  };
  const PirlDims d = node->unit.desc.input;
  const gint param = MAX (node->param[PIRL_SLOT_WEIGHT], node->param[PIRL_SLOT_BN_WEIGHT]);

  return g_strdup_printf ("%s %s (%d,%d,%d,%d)", kinds[node->unit.desc.kind],
      param >= 0 ? pirl_params_spec (plan->params, (guint) param)->name : "without parameters",
      d.n, d.c, d.h, d.w);
}

/* How the vectors of @node are kept. */
static void
node_plan_vectors (const PirlPlan *plan, Node *node)
{
  const PirlDType dtype = plan->device->param_dtype;
  const PirlDims dims = node->unit.desc.output;

  node->desc = (PirlTensorDesc) { dims, dtype, pirl_dims_count (dims) * pirl_dtype_size (dtype) };
}

static gboolean
node_plan (PirlPlan *plan, Node *node, PirlDType dtype, GError **error)
{
  PirlUnitDesc *desc = &node->unit.desc;
  const PirlTensorDesc *input = NULL, *residual = NULL;

  if (node->unit.input != PIRL_NO_VALUE) {
    input = &plan->nodes[node->unit.input].desc;
    desc->needs_input_gradient = node->gradient && plan_root (plan, node->unit.input)->gradient;
  }
  if (node->unit.residual != PIRL_NO_VALUE)
    residual = &plan->nodes[node->unit.residual].desc;
  if (desc->kind == PIRL_UNIT_GROUP) {
    node->desc = *input;
    node->desc.dims = desc->output;
    return TRUE;
  }
  if (desc->kind == PIRL_UNIT_VECTORS) {
    node_plan_vectors (plan, node);
    return TRUE;
  }
  desc->mode = plan->mode;
  desc->dtype = dtype;
  node->backend = plan->device->backend->unit_plan (plan->device, desc, input, residual,
      &node->desc, &node->memory, error);
  if (!node->backend) {
    g_autofree gchar *text = node_describe (plan, node);

    g_prefix_error (error, "cannot plan unit %s: ", text);
  }
  return node->backend != NULL;
}

/* The only unit that reads the value of @node, and that as its input; NULL: there is none, or there
 * are others. */
static Node *
plan_only_reader (PirlPlan *plan, const Node *node)
{
  const PirlValue value = (PirlValue) (node - plan->nodes);
  Node *reader = NULL;

  for (guint i = 0; i < plan->n; i++) {
    Node *other = &plan->nodes[i];

    if (other->step < 0 || (other->unit.input != value && other->unit.residual != value))
      continue;
    if (reader || other->unit.residual == value)
      return NULL;
    reader = other;
  }
  return reader;
}

/* Lets the backend leave values half done between two units. */
static void
plan_fuse (PirlPlan *plan)
{
  const PirlBackend *backend = plan->device->backend;

  for (guint i = 0; backend->unit_fuse && i < plan->n; i++) {
    Node *node = &plan->nodes[i];
    const Node *reader = node->backend && !node->kept ? plan_only_reader (plan, node) : NULL;

    if (reader && reader->backend)
      backend->unit_fuse (node->backend, reader->backend, &node->desc, &node->memory);
  }
}

static gint
plan_add_block (PirlPlan *plan, gsize bytes, gint first, gint last)
{
  const PirlBlock block = { bytes, first, last, 0 };

  if (bytes == 0)
    return NO_BLOCK;
  g_array_append_val (plan->blocks, block);
  return (gint) plan->blocks->len - 1;
}

/* Makes the block live at @step too. */
static void
plan_touch (PirlPlan *plan, gint index, gint step)
{
  PirlBlock *block;

  if (index == NO_BLOCK)
    return;
  block = &g_array_index (plan->blocks, PirlBlock, index);
  block->first = MIN (block->first, step);
  block->last = MAX (block->last, step);
}

static gboolean
node_is_vectors (const Node *node)
{
  return node->unit.desc.kind == PIRL_UNIT_VECTORS && node->step >= 0;
}

/* The last step of the forward pass at which the storage of @root is read. */
static gint
root_last_read (const PirlPlan *plan, const Node *root)
{
  gint last = -1;

  for (guint i = 0; i < plan->n; i++) {
    const Node *node = &plan->nodes[i];
    const PirlValue sources[] = { node->unit.input, node->unit.residual };

    if (node->kept && &plan->nodes[node->root] == root)
      return G_MAXINT;
    for (guint s = 0; node->step >= 0 && s < G_N_ELEMENTS (sources); s++)
      if (sources[s] != PIRL_NO_VALUE && &plan->nodes[plan->nodes[sources[s]].root] == root)
        last = MAX (last, node->step);
  }
  return last;
}

/* The block of the residual, where @node can write over it and nobody misses it. */
static gint
node_reuse_residual (PirlPlan *plan, const Node *node)
{
  const Node *root;

  if (!node->memory.in_place || plan->mode == PIRL_MODE_TRAIN)
    return NO_BLOCK;
  root = plan_root (plan, node->unit.residual);
  if (root->desc.bytes != node->desc.bytes || root_last_read (plan, root) > node->step)
    return NO_BLOCK;
  return root->value;
}

/* What @node keeps for itself, and its value as long as it itself needs it. */
static void
node_add_blocks (PirlPlan *plan, Node *node)
{
  const gboolean train = node->gradient;
  const gint back = backward_step (plan, node);

  node->value = node_reuse_residual (plan, node);
  if (node->value == NO_BLOCK)
    node->value = plan_add_block (plan, node->desc.bytes, node->step, train ? back : node->step);
  node->forward_scratch = plan_add_block (plan, node->memory.scratch, node->step, node->step);
  /* A unit that saves is written to even where no gradient comes back through it. */
  node->saved = plan_add_block (plan, node->memory.saved, node->step, train ? back : node->step);
  node->d_value = node->backward_scratch = NO_BLOCK;
  if (!train)
    return;
  node->backward_scratch = plan_add_block (plan, node->memory.scratch, back, back);
  node->d_value = plan_add_block (plan, node->desc.bytes, back, back);
}

/* The lives of what @node reads and of the gradients it writes. */
static void
node_touch (PirlPlan *plan, const Node *node)
{
  const gint back = backward_step (plan, node);
  const PirlValue sources[] = { node->unit.input, node->unit.residual };

  for (guint s = 0; s < G_N_ELEMENTS (sources); s++) {
    const Node *root;

    if (sources[s] == PIRL_NO_VALUE)
      continue;
    root = plan_root (plan, sources[s]);
    plan_touch (plan, root->value, node->step);
    if (!node->gradient)
      continue;
    if (s == 0)
      plan_touch (plan, root->value, back);
    if (root->gradient)
      plan_touch (plan, root->d_value, back);
  }
}

/* Who overwrites and who adds, in the order of the backward pass. */
static void
plan_accumulation (PirlPlan *plan)
{
  g_autofree gboolean *written = g_new0 (gboolean, plan->n);

  written[plan->nodes[plan->loss].root] = TRUE;
  for (gint i = (gint) plan->n - 1; i >= 0; i--) {
    Node *node = &plan->nodes[i];
    const PirlValue sources[] = { node->unit.input, node->unit.residual };
    gboolean *const flags[] = { &node->accumulate_input, &node->accumulate_residual };

    if (node->step < 0 || !node->gradient || !node->backend)
      continue;
    for (guint s = 0; s < G_N_ELEMENTS (sources); s++)
      if (sources[s] != PIRL_NO_VALUE) {
        const PirlValue root = plan->nodes[sources[s]].root;

        *flags[s] = written[root];
        written[root] = TRUE;
      }
  }
}

static void
plan_layout (PirlPlan *plan)
{
  const gint end = 2 * plan->n_steps + 1;

  for (guint i = 0; i < plan->n; i++)
    if (plan->nodes[i].backend || node_is_vectors (&plan->nodes[i]))
      node_add_blocks (plan, &plan->nodes[i]);
  for (guint i = 0; i < plan->n; i++) {
    Node *node = &plan->nodes[i];

    if (node->step < 0)
      continue;
    if (node->backend)
      node_touch (plan, node);
    if (node_is_vectors (node))
      plan_touch (plan, node->value, 0);        /* written before the first unit runs */
    if (node->kept)
      plan_touch (plan, plan_root (plan, (PirlValue) i)->value, end);
  }
  if (plan->mode == PIRL_MODE_TRAIN)
    plan_touch (plan, plan_root (plan, plan->loss)->d_value, plan->n_steps);
  plan_accumulation (plan);
  plan->bytes = pirl_layout ((PirlBlock *) (gpointer) plan->blocks->data, plan->blocks->len);
}

/* Copies the graph's units and finds the root of every value. */
static gboolean
plan_copy_units (PirlPlan *plan, const PirlGraph *graph, GError **error)
{
  for (guint i = 0; i < plan->n; i++) {
    Node *node = &plan->nodes[i];

    node->unit = g_array_index (graph->units, PirlUnit, i);
    node->root = (PirlValue) i;
    if (node->unit.desc.kind == PIRL_UNIT_GROUP)
      node->root = plan->nodes[node->unit.input].root;
    if (node->unit.residual != PIRL_NO_VALUE
        && plan->nodes[node->unit.residual].root == plan->nodes[node->unit.input].root) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "unit %u reads value %d both as its input and as its residual", i, node->unit.input);
      return FALSE;
    }
  }
  return TRUE;
}

PirlPlan *
pirl_plan_new (PirlGraph *graph, PirlParams *params, PirlPool *pool, PirlMode mode,
    PirlDType dtype, const PirlValue *outputs, guint n_outputs, GError **error)
{
  g_autoptr (PirlPlan) plan = g_new0 (PirlPlan, 1);

  plan->device = pool->device;
  plan->params = params;
  plan->pool = pool;
  plan->mode = mode;
  plan->n = graph->units->len;
  plan->nodes = g_new0 (Node, plan->n);
  plan->blocks = g_array_new (FALSE, FALSE, sizeof (PirlBlock));
  plan->loss = outputs[0];
  if (!plan_copy_units (plan, graph, error))
    return NULL;
  plan_select (plan, outputs, n_outputs);
  for (guint i = 0; i < plan->n; i++) {
    Node *node = &plan->nodes[i];

    if (node->step >= 0 && (!node_find_params (plan, node, graph, error)
            || !node_plan (plan, node, dtype, error)))
      return NULL;
  }
  plan_fuse (plan);
  plan_layout (plan);
  if (!pool_grow (pool, plan->bytes, error))
    return NULL;
  return g_steal_pointer (&plan);
}

void
pirl_plan_free (PirlPlan *plan)
{
  if (!plan)
    return;
  for (guint i = 0; i < plan->n; i++)
    if (plan->nodes[i].backend)
      plan->device->backend->unit_free (plan->nodes[i].backend);
  g_array_unref (plan->blocks);
  g_free (plan->staged);
  g_free (plan->nodes);
  g_free (plan);
}

gsize
pirl_plan_bytes (const PirlPlan *plan)
{
  return plan->bytes;
}

/* --- running --- */

static gpointer
block_data (PirlPlan *plan, gint index)
{
  if (index == NO_BLOCK)
    return NULL;
  return (guint8 *) plan->pool->base + g_array_index (plan->blocks, PirlBlock, index).offset;
}

/* What all passes of @node need. */
static void
node_bind (PirlPlan *plan, const Node *node, PirlUnitBuffers *buffers)
{
  *buffers = (PirlUnitBuffers) { 0 };
  if (node->unit.input != PIRL_NO_VALUE)
    buffers->input = block_data (plan, plan_root (plan, node->unit.input)->value);
  if (node->unit.residual != PIRL_NO_VALUE)
    buffers->residual = block_data (plan, plan_root (plan, node->unit.residual)->value);
  buffers->output = block_data (plan, node->value);
  buffers->saved = block_data (plan, node->saved);
  for (guint slot = 0; slot < PIRL_N_SLOTS; slot++)
    if (node->param[slot] >= 0)
      buffers->param[slot] = pirl_params_data (plan->params, PIRL_ARENA_VALUE,
          (guint) node->param[slot]);
}

static void
node_bind_backward (PirlPlan *plan, const Node *node, PirlUnitBuffers *buffers)
{
  node_bind (plan, node, buffers);
  buffers->scratch = block_data (plan, node->backward_scratch);
  buffers->d_output = block_data (plan, node->d_value);
  if (node->unit.desc.needs_input_gradient)
    buffers->d_input = block_data (plan, plan_root (plan, node->unit.input)->d_value);
  if (node->unit.residual != PIRL_NO_VALUE)
    buffers->d_residual = block_data (plan, plan_root (plan, node->unit.residual)->d_value);
  buffers->accumulate_input = node->accumulate_input;
  buffers->accumulate_residual = node->accumulate_residual;
  for (guint slot = 0; slot < PIRL_N_SLOTS; slot++)
    if (node->param[slot] >= 0)
      buffers->grad[slot] = pirl_params_data (plan->params, PIRL_ARENA_GRADIENT,
          (guint) node->param[slot]);
}

static gboolean
node_run (PirlPlan *plan, const Node *node, PirlPass pass, const PirlUnitBuffers *buffers,
    GError **error)
{
  static const gchar *const passes[] = {
    "prepare", "run", "run backward", "stage the pictures of",
  };
  g_autofree gchar *text = NULL;

  if (plan->device->backend->unit_run (node->backend, pass, buffers, error))
    return TRUE;
  text = node_describe (plan, node);
  g_prefix_error (error, "cannot %s unit %s: ", passes[pass], text);
  return FALSE;
}

static gboolean
plan_ready (PirlPlan *plan, const gint *cancel, GError **error)
{
  if (cancel && g_atomic_int_get (cancel)) {
    g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "the pass was cancelled");
    return FALSE;
  }
  if (plan->pool->bytes < plan->bytes) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "the memory of this plan was lost when a larger plan did not fit");
    return FALSE;
  }
  return TRUE;
}

static gboolean
node_prepare (PirlPlan *plan, const Node *node, GError **error)
{
  PirlUnitBuffers buffers;

  if (!node->backend || plan->mode == PIRL_MODE_TRAIN)
    return TRUE;
  node_bind (plan, node, &buffers);
  buffers.scratch = block_data (plan, node->forward_scratch);
  return node_run (plan, node, PIRL_PASS_PREPARE, &buffers, error);
}

gboolean
pirl_plan_prepare (PirlPlan *plan, GError **error)
{
  for (guint i = 0; i < plan->n; i++)
    if (!node_prepare (plan, &plan->nodes[i], error))
      return FALSE;
  return TRUE;
}

/* Whether another unit than the @first ones that are prepared, or one that reads its parameters
 * where they are, needs parameter @param. */
static gboolean
plan_needs_param (const PirlPlan *plan, gint param, guint first)
{
  for (guint i = 0; i < plan->n; i++)
    for (guint slot = 0; plan->nodes[i].backend && slot < PIRL_N_SLOTS; slot++)
      if (plan->nodes[i].param[slot] == param && (i >= first || !plan->nodes[i].memory.packed))
        return TRUE;
  return FALSE;
}

gboolean
pirl_plan_prepare_for_good (PirlPlan *plan, GError **error)
{
  for (guint i = 0; i < plan->n; i++) {
    const Node *node = &plan->nodes[i];

    if (!node_prepare (plan, node, error))
      return FALSE;
    for (guint slot = 0; node->backend && slot < PIRL_N_SLOTS; slot++)
      if (node->param[slot] >= 0 && !plan_needs_param (plan, node->param[slot], i + 1))
        pirl_params_discard (plan->params, (guint) node->param[slot]);
  }
  return TRUE;
}

/* @written: the input's value is there already. @pictures NULL: the backend has them. */
static gboolean
plan_run_forward (PirlPlan *plan, gboolean written, const guint8 *const *pictures,
    gboolean update_statistics, const gint *cancel, GError **error)
{
  for (guint i = 0; i < plan->n; i++) {
    const Node *node = &plan->nodes[i];
    const gboolean is_input = node->unit.desc.kind == PIRL_UNIT_INPUT;
    PirlUnitBuffers buffers;

    if (!node->backend || (is_input && written))
      continue;
    if (!plan_ready (plan, cancel, error))
      return FALSE;
    node_bind (plan, node, &buffers);
    if (is_input)
      buffers.input = pictures;
    buffers.scratch = block_data (plan, node->forward_scratch);
    buffers.update_statistics = update_statistics && plan->mode == PIRL_MODE_TRAIN;
    if (!node_run (plan, node, PIRL_PASS_FORWARD, &buffers, error))
      return FALSE;
  }
  return TRUE;
}

/* Whether INPUT units keep pictures that are staged. */
static gboolean
device_stages (const PirlDevice *device)
{
  return device->backend->step_begin != NULL;
}

static void
plan_remember (PirlPlan *plan, const Node *node, const guint8 *const *pictures)
{
  const gsize bytes = (gsize) node->unit.desc.output.n * sizeof *pictures;

  if (!plan->staged)
    plan->staged = g_malloc (bytes);
  memcpy (plan->staged, pictures, bytes);
}

/* By the INPUT units, from what @buffers has; elsewhere than on devices that keep it, the addresses
 * of the pictures are remembered. */
static gboolean
plan_stage (PirlPlan *plan, const PirlUnitBuffers *buffers, GError **error)
{
  plan->is_staged = FALSE;
  for (guint i = 0; i < plan->n; i++) {
    const Node *node = &plan->nodes[i];

    if (!node->backend || node->unit.desc.kind != PIRL_UNIT_INPUT)
      continue;
    if (!device_stages (plan->device))
      plan_remember (plan, node, buffers->input);
    else if (!node_run (plan, node, PIRL_PASS_STAGE, buffers, error))
      return FALSE;
    plan->is_staged = TRUE;
  }
  return TRUE;
}

gboolean
pirl_plan_stage (PirlPlan *plan, const guint8 *const *pictures, GError **error)
{
  return plan_stage (plan, &(PirlUnitBuffers) { .input = pictures }, error);
}

gboolean
pirl_plan_stage_views (PirlPlan *plan, const PirlView *views, GError **error)
{
  if (plan->device->backend->renders_views)
    return plan_stage (plan, &(PirlUnitBuffers) { .views = views }, error);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
      "the %s backend does not render views; give it pictures", plan->device->backend->name);
  return FALSE;
}

gboolean
pirl_plan_stage_surfaces (PirlPlan *plan, const PirlSurfaceView *surfaces, GError **error)
{
  if (plan->device->backend->reads_surfaces)
    return plan_stage (plan, &(PirlUnitBuffers) { .surfaces = surfaces }, error);
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED,
      "the %s backend has no pictures in its own memory; give it pictures of the host",
      plan->device->backend->name);
  return FALSE;
}

gboolean
pirl_plan_forward (PirlPlan *plan, const guint8 *const *pictures, gboolean update_statistics,
    const gint *cancel, GError **error)
{
  const gboolean was_staged = plan->is_staged;

  plan->is_staged = FALSE;
  for (guint i = 0; i < plan->n; i++)
    if (node_is_vectors (&plan->nodes[i])) {
      g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "this network takes vectors, not pictures: pirl_plan_forward_floats() gives them");
      return FALSE;
    }
  if (!pictures && !was_staged) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "there are no pictures: none were given and none staged");
    return FALSE;
  }
  if (!pictures && !device_stages (plan->device))
    pictures = plan->staged;
  return plan_run_forward (plan, FALSE, pictures, update_statistics, cancel, error);
}

gboolean
pirl_plan_forward_floats (PirlPlan *plan, const gfloat *input, gboolean update_statistics,
    const gint *cancel, GError **error)
{
  if (!plan_ready (plan, cancel, error))
    return FALSE;
  for (guint i = 0; i < plan->n; i++) {
    const Node *node = &plan->nodes[i];

    if (((node->backend && node->unit.desc.kind == PIRL_UNIT_INPUT) || node_is_vectors (node))
        && !plan->device->backend->tensor_write (plan->device, &node->desc,
            block_data (plan, node->value), input, error))
      return FALSE;
  }
  return plan_run_forward (plan, TRUE, NULL, update_statistics, cancel, error);
}

gboolean
pirl_plan_backward (PirlPlan *plan, const gint *cancel, GError **error)
{
  if (plan->mode != PIRL_MODE_TRAIN) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "this plan is for inference and has no backward pass");
    return FALSE;
  }
  for (gint i = (gint) plan->n - 1; i >= 0; i--) {
    const Node *node = &plan->nodes[i];
    PirlUnitBuffers buffers;

    if (!node->backend || !node->gradient)
      continue;
    if (!plan_ready (plan, cancel, error))
      return FALSE;
    node_bind_backward (plan, node, &buffers);
    if (!node_run (plan, node, PIRL_PASS_BACKWARD, &buffers, error))
      return FALSE;
  }
  return TRUE;
}

gpointer
pirl_plan_data (PirlPlan *plan, PirlValue value)
{
  return plan->nodes[value].kept ? block_data (plan, plan_root (plan, value)->value) : NULL;
}

gpointer
pirl_plan_gradient (PirlPlan *plan, PirlValue value)
{
  if (plan->mode != PIRL_MODE_TRAIN || value != plan->loss)
    return NULL;
  return block_data (plan, plan_root (plan, value)->d_value);
}

gboolean
pirl_plan_read (PirlPlan *plan, PirlValue value, gfloat *dst, GError **error)
{
  gconstpointer src = pirl_plan_data (plan, value);

  if (!src) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
        "value %d is not an output of this plan and was not kept", value);
    return FALSE;
  }
  return plan->device->backend->tensor_read (plan->device, &plan->nodes[value].desc, src, dst,
      error);
}
