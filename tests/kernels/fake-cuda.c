/* gst-pirl: a CUDA module without CUDA, for tests of what works with one.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The CPU backend, dressed as a device with steps. Between step_begin and step_end operations are
 * only noted, host values with them; they run as late as the interface allows, in step_end (or,
 * eager, as early), and their results appear there. An operation that a step may not have is an
 * error, and so is a step that does not do what the one before did on the same memory. F16 and BF16
 * are accepted and computed as F32.
 *
 * FAKE_CUDA=version makes the module refuse the interface's version, FAKE_CUDA=none its devices.
 */
#include "fake-cuda.h"

#include "backends/backend.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define MAX_POINTERS 4

static FakeCuda fake;
static const PirlBackend fake_backend;

typedef struct _Op Op;
typedef struct _Fake Fake;

/* A noted operation. */
struct _Op {
  gboolean (*run) (Fake *device, Op *op, GError **error);
  gpointer memory[MAX_POINTERS];        /* on the device: the same step after step */
  gsize number[4];              /* likewise */
  gdouble value[8];             /* may change */
  gpointer rows, extra;         /* copies of host values, owned */
  union {
    PirlContrastStats contrast;
    PirlEntropyStats entropy;
  } result;
  gpointer stats;               /* where @result goes */
  gsize stats_bytes;
  PirlContrastDesc contrast;
  PirlDrawDesc draw;
  PirlUnitPlan *plan;
  PirlPass pass;
  PirlUnitBuffers buffers;
};

struct _Fake {
  PirlDevice base;
  PirlDevice *cpu;
  gboolean in_step, launched, finite;
  GArray *ops;                  /* Op */
  GArray *last;                 /* Op of the step before; host values are gone */
  PirlLossScale scale;
};

/* A unit of the CPU. INPUT has two slots, as a device has. */
struct _PirlUnitPlan {
  Fake *device;
  PirlUnitPlan *cpu;
  PirlUnitKind kind;
  guint n;
  gsize picture_bytes;
  guint8 *slot[2];
  guint next;
  gboolean staged;
};

static gboolean
broken (GError **error, const gchar *text)
{
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "fake cuda: %s", text);
  return FALSE;
}

static const PirlBackend *
cpu (void)
{
  return pirl_backend_cpu ();
}

/* --- steps --- */

static void
ops_clear (GArray *ops)
{
  for (guint i = 0; i < ops->len; i++) {
    g_free (g_array_index (ops, Op, i).rows);
    g_free (g_array_index (ops, Op, i).extra);
  }
  g_array_set_size (ops, 0);
}

static void
deliver (const Op *op)
{
  if (op->stats)
    memcpy (op->stats, &op->result, op->stats_bytes);
}

/* Notes @op within a step, else runs it. */
static gboolean
submit (PirlDevice *base, Op op, GError **error)
{
  Fake *device = (Fake *) base;
  gboolean done;

  if (!device->in_step) {
    done = op.run (device, &op, error);
    deliver (&op);
    g_free (op.rows);
    g_free (op.extra);
    return done;
  }
  g_array_append_val (device->ops, op);
  if (fake.cancel_at == (gint) device->ops->len)
    g_atomic_int_set (fake.cancel, 1);
  if (fake.fail_at == (gint) device->ops->len)
    return broken (error, "an operation fails");
  if (device->launched)
    return broken (error, "an operation behind step_launch");
  return !fake.eager
      || op.run (device, &g_array_index (device->ops, Op, device->ops->len - 1), error);
}

static gboolean
step_begin (PirlDevice *base, GError **error)
{
  Fake *device = (Fake *) base;

  if (device->in_step)
    return broken (error, "a step within a step");
  device->in_step = TRUE;
  device->launched = FALSE;
  device->finite = TRUE;
  return TRUE;
}

static gboolean
same_op (const Op *a, const Op *b)
{
  return a->run == b->run && a->plan == b->plan && a->pass == b->pass && a->stats == b->stats
      && memcmp (a->memory, b->memory, sizeof a->memory) == 0
      && memcmp (a->number, b->number, sizeof a->number) == 0
      && memcmp (&a->buffers, &b->buffers, offsetof (PirlUnitBuffers, accumulate_input)) == 0;
}

static gboolean
step_launch (PirlDevice *base, GError **error)
{
  Fake *device = (Fake *) base;

  if (!device->in_step || device->launched)
    return broken (error, "step_launch outside of a step");
  if (fake.fail_launch > 0) {
    fake.fail_launch--;
    return broken (error, "step_launch fails");
  }
  for (guint i = 0; device->last->len > 0 && i < device->ops->len; i++)
    if (device->last->len != device->ops->len
        || !same_op (&g_array_index (device->last, Op, i), &g_array_index (device->ops, Op, i))) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND,
          "fake cuda: operation %u of %u is not what it was in the step before, which had %u",
          i + 1, device->ops->len, device->last->len);
      return FALSE;
    }
  device->launched = TRUE;
  return TRUE;
}

static gboolean
step_end (PirlDevice *base, PirlStepResult *result, GError **error)
{
  Fake *device = (Fake *) base;
  gboolean done = TRUE;

  if (!device->launched)
    return broken (error, "step_end without step_launch");
  device->in_step = device->launched = FALSE;
  if (fake.fail_end > 0) {
    fake.fail_end--;
    return broken (error, "step_end fails");
  }
  for (guint i = 0; done && i < device->ops->len; i++) {
    Op *op = &g_array_index (device->ops, Op, i);

    done = fake.eager || op->run (device, op, error);
    deliver (op);
  }
  g_array_set_size (device->last, 0);
  g_array_append_vals (device->last, device->ops->data, device->ops->len);
  ops_clear (device->ops);
  g_atomic_int_inc (&fake.steps);
  if (device->scale.scale > 0 && !device->finite)
    device->scale = (PirlLossScale) { device->scale.scale / 2, 0 };
  else if (device->scale.scale > 0)
    device->scale.clean++;
  *result = (PirlStepResult) { device->finite, device->scale };
  device->finite = TRUE;
  return done;
}

static void
step_abort (PirlDevice *base)
{
  Fake *device = (Fake *) base;

  ops_clear (device->ops);
  device->in_step = device->launched = FALSE;
  device->finite = TRUE;
  g_atomic_int_inc (&fake.aborted);
}

static void
set_loss_scale (PirlDevice *base, const PirlLossScale *scale)
{
  ((Fake *) base)->scale = *scale;
}

/* --- device --- */

static PirlDevice *
fake_open (guint index, guint n_threads, gboolean deterministic, GError **error)
{
  Fake *device;
  PirlDevice *inner;

  if (index > 0 || g_strcmp0 (g_getenv ("FAKE_CUDA"), "none") == 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, "there is no card %u", index);
    return NULL;
  }
  inner = cpu ()->open (0, n_threads, deterministic, error);
  if (!inner)
    return NULL;
  device = g_new0 (Fake, 1);
  device->base = *inner;
  device->base.description = g_strdup ("cuda (made up)");
  device->base.backend = &fake_backend;
  device->cpu = inner;
  device->finite = TRUE;
  device->ops = g_array_new (FALSE, FALSE, sizeof (Op));
  device->last = g_array_new (FALSE, FALSE, sizeof (Op));
  return &device->base;
}

static void
fake_close (PirlDevice *base)
{
  Fake *device = (Fake *) base;

  ops_clear (device->ops);
  g_array_unref (device->ops);
  g_array_unref (device->last);
  pirl_device_close (device->cpu);
  g_free (device->base.description);
  g_free (device);
}

static gboolean
fake_supports (PirlDevice *device, PirlMode mode, PirlDType dtype, const gchar **reason)
{
  if (dtype == PIRL_DTYPE_F32 || dtype == PIRL_DTYPE_F16 || dtype == PIRL_DTYPE_BF16)
    return TRUE;
  if (reason)
    *reason = "it is made up";
  return FALSE;
}

/* --- memory --- */

/* FALSE with an error inside a step. */
static gboolean
outside (PirlDevice *base, GError **error)
{
  const Fake *device = (const Fake *) base;

  return !device->in_step || broken (error, "something that waits, within a step");
}

static gpointer
fake_alloc (PirlDevice *base, gsize bytes, GError **error)
{
  return outside (base, error) ? cpu ()->alloc (((Fake *) base)->cpu, bytes, error) : NULL;
}

static void
fake_free (PirlDevice *base, gpointer memory)
{
  cpu ()->free (((Fake *) base)->cpu, memory);
}

static gboolean
transfer (PirlDevice *base, gpointer dst, gconstpointer src, gsize bytes, GError **error)
{
  return outside (base, error) && cpu ()->copy (((Fake *) base)->cpu, dst, src, bytes, error);
}

static gboolean
run_zero (Fake *device, Op *op, GError **error)
{
  return cpu ()->zero (device->cpu, op->memory[0], op->number[0], error);
}

static gboolean
fake_zero (PirlDevice *base, gpointer dst, gsize bytes, GError **error)
{
  return submit (base, (Op) { .run = run_zero, .memory = { dst }, .number = { bytes } }, error);
}

static gboolean
run_copy (Fake *device, Op *op, GError **error)
{
  return cpu ()->copy (device->cpu, op->memory[0], op->memory[1], op->number[0], error);
}

static gboolean
fake_copy (PirlDevice *base, gpointer dst, gconstpointer src, gsize bytes, GError **error)
{
  return submit (base, (Op) { .run = run_copy, .memory = { dst, (gpointer) src },
        .number = { bytes } }, error);
}

static gboolean
run_rows (Fake *device, Op *op, GError **error)
{
  return cpu ()->rows (device->cpu, op->memory[0], op->memory[1], op->number[0],
      (guint) op->number[1], op->rows, (gboolean) op->number[2], error);
}

static gboolean
fake_rows (PirlDevice *base, gpointer table, gpointer aside, gsize row_bytes, guint n,
    const guint32 *row, gboolean back, GError **error)
{
  return submit (base, (Op) { .run = run_rows, .memory = { table, aside },
        .number = { row_bytes, n, (gsize) back }, .rows = g_memdup2 (row, n * sizeof *row) },
      error);
}

static gboolean
fake_tensor_write (PirlDevice *base, const PirlTensorDesc *desc, gpointer dst, const gfloat *src,
    GError **error)
{
  return outside (base, error)
      && cpu ()->tensor_write (((Fake *) base)->cpu, desc, dst, src, error);
}

static gboolean
fake_tensor_read (PirlDevice *base, const PirlTensorDesc *desc, gconstpointer src, gfloat *dst,
    GError **error)
{
  return outside (base, error)
      && cpu ()->tensor_read (((Fake *) base)->cpu, desc, src, dst, error);
}

/* --- units --- */

static PirlUnitPlan *
fake_unit_plan (PirlDevice *base, const PirlUnitDesc *desc, const PirlTensorDesc *input,
    const PirlTensorDesc *residual, PirlTensorDesc *output, PirlUnitMemory *memory, GError **error)
{
  Fake *device = (Fake *) base;
  PirlUnitDesc unit = *desc;
  PirlUnitPlan *inner, *plan;

  unit.dtype = PIRL_DTYPE_F32;
  inner = outside (base, error) ? cpu ()->unit_plan (device->cpu, &unit, input, residual, output,
      memory, error) : NULL;
  if (!inner)
    return NULL;
  plan = g_new0 (PirlUnitPlan, 1);
  plan->device = device;
  plan->cpu = inner;
  plan->kind = desc->kind;
  if (desc->kind != PIRL_UNIT_INPUT)
    return plan;
  plan->n = (guint) desc->output.n;
  plan->picture_bytes = (gsize) desc->output.h * desc->output.w * 3;
  for (guint i = 0; i < 2; i++)
    plan->slot[i] = g_malloc (plan->n * plan->picture_bytes);
  return plan;
}

static void
fake_unit_free (PirlUnitPlan *plan)
{
  cpu ()->unit_free (plan->cpu);
  g_free (plan->slot[0]);
  g_free (plan->slot[1]);
  g_free (plan);
}

static gboolean
stage (PirlUnitPlan *plan, const guint8 *const *pictures)
{
  for (guint i = 0; i < plan->n; i++)
    memcpy (plan->slot[plan->next] + i * plan->picture_bytes, pictures[i], plan->picture_bytes);
  plan->staged = TRUE;
  g_atomic_int_inc (&fake.staged);
  if (plan->device->launched)
    g_atomic_int_inc (&fake.staged_in_steps);
  return TRUE;
}

/* INPUT reads slot value[0]: which one that is may change from step to step. */
static gboolean
run_unit (Fake *device, Op *op, GError **error)
{
  PirlUnitBuffers buffers = op->buffers;
  g_autofree const guint8 **pictures = NULL;

  if (op->plan->kind == PIRL_UNIT_INPUT && op->pass == PIRL_PASS_FORWARD) {
    pictures = g_new (const guint8 *, op->plan->n);
    for (guint i = 0; i < op->plan->n; i++)
      pictures[i] = op->plan->slot[(guint) op->value[0]] + i * op->plan->picture_bytes;
    buffers.input = pictures;
  }
  return cpu ()->unit_run (op->plan->cpu, op->pass, &buffers, error);
}

static gboolean
fake_unit_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *buffers, GError **error)
{
  Op op = { .run = run_unit, .plan = plan, .pass = pass, .buffers = *buffers };

  if (pass == PIRL_PASS_STAGE)
    return stage (plan, buffers->input);
  if (plan->kind == PIRL_UNIT_INPUT && pass == PIRL_PASS_FORWARD) {
    if (buffers->input)
      stage (plan, buffers->input);
    if (!plan->staged)
      return broken (error, "FORWARD of pictures that are not there");
    op.buffers.input = NULL;
    op.value[0] = plan->next;
    plan->next = !plan->next;
    plan->staged = FALSE;
  }
  return submit (&plan->device->base, op, error);
}

/* --- learning --- */

static gboolean
run_draw (Fake *device, Op *op, GError **error)
{
  return cpu ()->draw (device->cpu, &op->draw, op->rows, op->memory[0], error);
}

static gboolean
fake_draw (PirlDevice *base, const PirlDrawDesc *desc, const guint32 *positive, guint32 *negative,
    GError **error)
{
  return submit (base, (Op) { .run = run_draw, .draw = *desc, .memory = { negative },
        .rows = g_memdup2 (positive, desc->batch * sizeof *positive) }, error);
}

static gboolean
run_contrast (Fake *device, Op *op, GError **error)
{
  return cpu ()->contrast (device->cpu, &op->contrast, op->memory[0], op->memory[1], op->rows,
      op->memory[2], op->memory[3], &op->result.contrast, error);
}

static gboolean
fake_contrast (PirlDevice *base, const PirlContrastDesc *desc, gconstpointer embedding,
    gconstpointer bank, const guint32 *positive, const guint32 *negative, gpointer d_embedding,
    PirlContrastStats *stats, GError **error)
{
  return submit (base, (Op) { .run = run_contrast, .contrast = *desc,
        .memory = { (gpointer) embedding, (gpointer) bank, (gpointer) negative, d_embedding },
        .rows = g_memdup2 (positive, desc->batch * sizeof *positive), .stats = stats,
        .stats_bytes = sizeof *stats }, error);
}

static gboolean
run_bank_update (Fake *device, Op *op, GError **error)
{
  return cpu ()->bank_update (device->cpu, op->memory[0], (PirlDType) op->number[2],
      (guint) op->number[0], (guint) op->number[1], op->rows, op->extra, op->memory[1], error);
}

static gboolean
fake_bank_update (PirlDevice *base, gpointer bank, PirlDType bank_dtype, guint dim, guint batch,
    const guint32 *positive, const gfloat *momentum, gconstpointer embedding, GError **error)
{
  return submit (base, (Op) { .run = run_bank_update, .memory = { bank, (gpointer) embedding },
        .number = { dim, batch, bank_dtype },
        .rows = g_memdup2 (positive, batch * sizeof *positive),
        .extra = g_memdup2 (momentum, batch * sizeof *momentum) }, error);
}

static gboolean
run_cross_entropy (Fake *device, Op *op, GError **error)
{
  return cpu ()->cross_entropy (device->cpu, (guint) op->number[0], (guint) op->number[1],
      op->memory[0], op->rows, op->memory[1], &op->result.entropy, error);
}

static gboolean
fake_cross_entropy (PirlDevice *base, guint batch, guint classes, gconstpointer logits,
    const gint *labels, gpointer d_logits, PirlEntropyStats *stats, GError **error)
{
  return submit (base, (Op) { .run = run_cross_entropy, .number = { batch, classes },
        .memory = { (gpointer) logits, d_logits },
        .rows = g_memdup2 (labels, batch * sizeof *labels), .stats = stats,
        .stats_bytes = sizeof *stats }, error);
}

static gboolean
run_check (Fake *device, Op *op, GError **error)
{
  const gfloat *gradients = op->memory[0];

  for (gsize i = 0; i < op->number[0]; i++)
    device->finite &= isfinite (gradients[i]) != 0;
  if (fake.overflows > 0) {
    fake.overflows--;
    device->finite = FALSE;
  }
  return TRUE;
}

static gboolean
fake_check (PirlDevice *base, gsize n, gconstpointer gradients, GError **error)
{
  return submit (base, (Op) { .run = run_check, .number = { n },
        .memory = { (gpointer) gradients } }, error);
}

static gboolean
run_sgd (Fake *device, Op *op, GError **error)
{
  return !device->finite || cpu ()->sgd (device->cpu, op->number[0], op->memory[0], op->memory[1],
      op->memory[2], op->value[0], op->value[1], op->value[2], op->value[3] != 0, error);
}

static gboolean
fake_sgd (PirlDevice *base, gsize n, gpointer weights, gconstpointer gradients, gpointer velocity,
    gdouble lr, gdouble momentum, gdouble weight_decay, gboolean nesterov, GError **error)
{
  return submit (base, (Op) { .run = run_sgd, .number = { n },
        .memory = { weights, (gpointer) gradients, velocity },
        .value = { lr, momentum, weight_decay, nesterov } }, error);
}

static gboolean
run_adam (Fake *device, Op *op, GError **error)
{
  const gdouble *v = op->value;

  return !device->finite || cpu ()->adam (device->cpu, op->number[0], op->memory[0],
      op->memory[1], op->memory[2], op->memory[3], (guint64) v[0], v[1], v[2], v[3], v[4], v[5],
      error);
}

static gboolean
fake_adam (PirlDevice *base, gsize n, gpointer weights, gconstpointer gradients, gpointer first,
    gpointer second, guint64 step, gdouble lr, gdouble beta1, gdouble beta2, gdouble epsilon,
    gdouble weight_decay, GError **error)
{
  return submit (base, (Op) { .run = run_adam, .number = { n },
        .memory = { weights, (gpointer) gradients, first, second },
        .value = { (gdouble) step, lr, beta1, beta2, epsilon, weight_decay } }, error);
}

static gboolean
run_lars (Fake *device, Op *op, GError **error)
{
  const gdouble *v = op->value;
  const PirlLars values = { v[0], v[1], v[2], v[3], v[4] };

  return !device->finite || cpu ()->lars (device->cpu, (guint) op->number[0], op->extra,
      op->memory[0], op->memory[1], op->memory[2], &values, error);
}

static gboolean
fake_lars (PirlDevice *base, guint n_segments, const PirlSegment *segments, gpointer weights,
    gconstpointer gradients, gpointer velocity, const PirlLars *values, GError **error)
{
  return submit (base, (Op) { .run = run_lars, .number = { n_segments },
        .memory = { weights, (gpointer) gradients, velocity },
        .extra = g_memdup2 (segments, n_segments * sizeof *segments),
        .value = { values->lr, values->momentum, values->weight_decay, values->trust,
          values->epsilon } }, error);
}

static gboolean
run_average (Fake *device, Op *op, GError **error)
{
  return !device->finite || cpu ()->average (device->cpu, op->number[0], op->memory[0],
      op->memory[1], op->value[0], error);
}

static gboolean
fake_average (PirlDevice *base, gsize n, gpointer dst, gconstpointer src, gdouble keep,
    GError **error)
{
  return submit (base, (Op) { .run = run_average, .number = { n },
        .memory = { dst, (gpointer) src }, .value = { keep } }, error);
}

/* --- the module --- */

static const PirlBackend fake_backend = {
  .version = PIRL_BACKEND_VERSION,
  .name = "cuda",
  .open = fake_open,
  .close = fake_close,
  .supports = fake_supports,
  .alloc = fake_alloc,
  .free = fake_free,
  .upload = transfer,
  .download = transfer,
  .zero = fake_zero,
  .copy = fake_copy,
  .rows = fake_rows,
  .tensor_write = fake_tensor_write,
  .tensor_read = fake_tensor_read,
  .unit_plan = fake_unit_plan,
  .unit_free = fake_unit_free,
  .unit_run = fake_unit_run,
  .draw = fake_draw,
  .contrast = fake_contrast,
  .bank_update = fake_bank_update,
  .cross_entropy = fake_cross_entropy,
  .check = fake_check,
  .sgd = fake_sgd,
  .adam = fake_adam,
  .lars = fake_lars,
  .average = fake_average,
  .step_begin = step_begin,
  .step_launch = step_launch,
  .step_end = step_end,
  .step_abort = step_abort,
  .set_loss_scale = set_loss_scale,
};

PIRL_API const PirlBackend *pirl_cuda_backend_entry (guint version);
PIRL_API FakeCuda *fake_cuda_state (void);

const PirlBackend *
pirl_cuda_backend_entry (guint version)
{
  const gboolean refuses = g_strcmp0 (g_getenv ("FAKE_CUDA"), "version") == 0;

  return version == PIRL_BACKEND_VERSION && !refuses ? &fake_backend : NULL;
}

FakeCuda *
fake_cuda_state (void)
{
  return &fake;
}
