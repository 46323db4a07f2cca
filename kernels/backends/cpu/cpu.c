/* gst-pirl: the CPU backend: its table, device and memory, and the units' common part.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every entry runs under the device's number of OpenMP threads and puts the caller's setting back.
 */
#include "backends/cpu/cpu.h"
#include "backends/cpu/amx.h"
#include "backends/check.h"
#include "backends/host.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((gsize) 2 << 20)

/* Sets the device's number of threads; returns the caller's, for leave(). */
static gint
enter (const PirlCpuDevice *device)
{
  const gint before = omp_get_max_threads ();

  if (before != (gint) device->base.n_threads)
    omp_set_num_threads (device->base.n_threads);
  return before;
}

static void
leave (gint before)
{
  if (before != omp_get_max_threads ())
    omp_set_num_threads (before);
}

/* --- device ---------------------------------------------------------------------------------- */

static PirlDevice *
cpu_open (guint index, guint n_threads, gboolean deterministic, GError **error)
{
  PirlCpuDevice *device;
  PirlDnn *dnn;
  g_autofree gchar *library = NULL;

  if (index != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "there is one cpu device, number 0, not %u",
        index);
    return NULL;
  }
  dnn = pirl_dnn_open (error);
  if (!dnn)
    return NULL;
  pirl_cpu_wait_patiently ();
  library = pirl_dnn_describe ();
  device = g_new0 (PirlCpuDevice, 1);
  device->dnn = dnn;
  device->base.backend = pirl_backend_cpu ();
  device->base.param_dtype = PIRL_DTYPE_F32;
  device->base.n_threads = n_threads ? n_threads : g_get_num_processors ();
  device->base.deterministic = deterministic;   /* everything here always is */
  device->base.description = g_strdup_printf ("cpu (%s), %u thread%s", library,
      device->base.n_threads, device->base.n_threads == 1 ? "" : "s");
  return &device->base;
}

static void
cpu_close (PirlDevice *base)
{
  PirlCpuDevice *device = (PirlCpuDevice *) base;

  if (!device)
    return;
  pirl_dnn_close (device->dnn);
  g_free (device->base.description);
  g_free (device);
}

static gboolean
cpu_supports (PirlDevice *base, PirlMode mode, PirlDType dtype, const gchar **reason)
{
  const gchar *why = NULL;

  if (dtype == PIRL_DTYPE_BF16 && mode == PIRL_MODE_TRAIN) {
    if (!pirl_amx_works ())
      why = "bf16 training takes AMX: without it, a CPU multiplies bf16 more slowly than floats";
  } else if (dtype == PIRL_DTYPE_BF16 && !pirl_dnn_has_bf16 ())
    why = "this processor does not multiply bf16 (AVX512_BF16 or AMX)";
  else if (dtype != PIRL_DTYPE_F32 && dtype != PIRL_DTYPE_BF16)
    why = "the cpu backend computes in F32 or BF16";
  if (reason)
    *reason = why;
  return why == NULL;
}

/* --- memory ---------------------------------------------------------------------------------- */

gpointer
pirl_cpu_alloc (gsize bytes, GError **error)
{
  const gboolean huge = bytes > HUGE_PAGE;
  gpointer memory = NULL;

  if (posix_memalign (&memory, huge ? HUGE_PAGE : PIRL_CPU_ALIGNMENT, MAX (bytes, 1)) != 0) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND,
        "no memory for %" G_GSIZE_FORMAT " bytes; a smaller batch or picture needs less", bytes);
    return NULL;
  }
  if (huge)
    madvise (memory, bytes, MADV_HUGEPAGE);
  pirl_clear (memory, bytes);
  return memory;
}

static gpointer
cpu_alloc (PirlDevice *device, gsize bytes, GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);
  gpointer memory = pirl_cpu_alloc (bytes, error);

  leave (threads);
  return memory;
}

static void
cpu_free (PirlDevice *device, gpointer memory)
{
  free (memory);
}

/* The whole pages of it. */
static void
cpu_discard (PirlDevice *device, gpointer memory, gsize bytes)
{
  const gsize page = (gsize) sysconf (_SC_PAGESIZE);
  const guintptr end = ((guintptr) memory + bytes) / page * page;
  const guintptr begin = ((guintptr) memory + page - 1) / page * page;

  if (end > begin)
    madvise ((gpointer) begin, end - begin, MADV_DONTNEED);
}

/* Up- and download and copy: host and device memory are the same. */
static gboolean
cpu_transfer (PirlDevice *device, gpointer dst, gconstpointer src, gsize bytes, GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);

  pirl_copy (dst, src, bytes);
  leave (threads);
  return TRUE;
}

static gboolean
cpu_zero (PirlDevice *device, gpointer dst, gsize bytes, GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);

  pirl_clear (dst, bytes);
  leave (threads);
  return TRUE;
}

/* One reorder between dense floats on the host and a value, in the direction of @write. */
static gboolean
cpu_tensor_move (PirlDevice *base, const PirlTensorDesc *desc, gpointer value, gfloat *host,
    gboolean write, GError **error)
{
  PirlCpuDevice *device = (PirlCpuDevice *) base;
  const gint threads = enter (device);
  g_autoptr (PirlDnnFormat) dense =
      pirl_dnn_format_dense (desc->dims, PIRL_DTYPE_F32, PIRL_DNN_PLANES);
  g_autoptr (PirlDnnFormat) plain =
      pirl_dnn_format_dense (desc->dims, desc->dtype, PIRL_DNN_PLANES);
  const PirlDnnFormat *format = desc->format ? desc->format : plain;
  PirlDnnOp *op = NULL;
  gpointer pad = NULL;
  gboolean done = FALSE;

  if (dense && format && pirl_dnn_format_same (dense, format)) {
    pirl_copy (write ? value : host, write ? host : value, desc->bytes);
    leave (threads);
    return TRUE;
  }
  if (dense && format)
    op = pirl_dnn_reorder_new (device->dnn, write ? dense : format, write ? format : dense, FALSE,
        error);
  else
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "the cpu backend keeps no values as %s",
        pirl_dtype_name (desc->dtype));
  if (op)
    pad = pirl_cpu_alloc (pirl_dnn_op_bytes (op, PIRL_DNN_SCRATCHPAD), error);
  if (pad)
    done = pirl_cpu_moved (op, write ? host : value, write ? value : host, pad, error) != NULL;
  free (pad);
  pirl_dnn_op_free (op);
  leave (threads);
  return done;
}

static gboolean
cpu_tensor_write (PirlDevice *device, const PirlTensorDesc *desc, gpointer dst, const gfloat *src,
    GError **error)
{
  return cpu_tensor_move (device, desc, dst, (gfloat *) src, TRUE, error);
}

static gboolean
cpu_tensor_read (PirlDevice *device, const PirlTensorDesc *desc, gconstpointer src, gfloat *dst,
    GError **error)
{
  return cpu_tensor_move (device, desc, (gpointer) src, dst, FALSE, error);
}

/* --- what plans share ------------------------------------------------------------------------ */

void
pirl_cpu_set_output (PirlUnitPlan *plan, PirlDnnFormat *format, PirlDType dtype,
    PirlTensorDesc *output)
{
  g_autoptr (PirlDnnFormat) dense =
      pirl_dnn_format_dense (plan->desc.output, dtype, PIRL_DNN_PLANES);

  plan->output = format;
  output->dims = plan->desc.output;
  output->dtype = dtype;
  output->bytes = pirl_dnn_format_bytes (format);
  output->format = pirl_dnn_format_same (format, dense) ? NULL : format;
}

gboolean
pirl_cpu_reorder (PirlUnitPlan *plan, const PirlDnnFormat *from, const PirlDnnFormat *to,
    PirlDnnOp **op, GError **error)
{
  *op = NULL;
  if (pirl_dnn_format_same (from, to))
    return TRUE;
  *op = pirl_dnn_reorder_new (plan->device->dnn, from, to, FALSE, error);
  return *op != NULL;
}

gpointer
pirl_cpu_moved (PirlDnnOp *op, gconstpointer src, gpointer buffer, gpointer scratchpad,
    GError **error)
{
  if (!op)
    return (gpointer) src;
  if (!pirl_dnn_op_run (op, (gpointer[PIRL_DNN_N_OPERANDS]) {
          [PIRL_DNN_SRC] = (gpointer) src, [PIRL_DNN_DST] = buffer,
          [PIRL_DNN_SCRATCHPAD] = scratchpad }, error))
    return NULL;
  return buffer;
}

gboolean
pirl_cpu_tiling (const PirlDnnFormat *format, PirlDims dims, PirlTiling *t)
{
  const gsize places = (gsize) dims.h * dims.w;
  PirlDnnLayout layout;

  if (!pirl_dnn_format_layout (format, &layout))
    return FALSE;
  t->samples = dims.n;
  t->channels = dims.c;
  t->positions = places;
  t->sample_step = layout.sample_step;
  t->stride = layout.stride;
  t->lanes = layout.lanes ? layout.lanes : 16;  /* all channels side by side: strips of 16 */
  t->block_step = layout.lanes ? layout.lanes * places : 16;
  t->blocks = (layout.channels + t->lanes - 1) / t->lanes;
  return TRUE;
}

void
pirl_cpu_row_tiling (gsize rows, gint channels, PirlTiling *t)
{
  *t = (PirlTiling) {.samples = 1, .lanes = 16, .channels = channels,
    .blocks = (channels + 15) / 16, .positions = rows, .stride = channels, .block_step = 16 };
}

/* --- units ----------------------------------------------------------------------------------- */

static const PirlCpuUnit *const units[] = {
  [PIRL_UNIT_INPUT] = &pirl_cpu_input,
  [PIRL_UNIT_CONV] = &pirl_cpu_conv,
  [PIRL_UNIT_MAXPOOL] = &pirl_cpu_maxpool,
  [PIRL_UNIT_AVGPOOL] = &pirl_cpu_avgpool,
  [PIRL_UNIT_LINEAR] = &pirl_cpu_linear,
  [PIRL_UNIT_BATCHNORM] = &pirl_cpu_batchnorm,
  [PIRL_UNIT_L2NORM] = &pirl_cpu_l2norm,
  [PIRL_UNIT_GROUP] = NULL,     /* these two are the planner's */
  [PIRL_UNIT_VECTORS] = NULL,
};

static gboolean
invalid (GError **error, const gchar *text)
{
  g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_INVALID, text);
  return FALSE;
}

static PirlDnnFormat *
value_format (const PirlTensorDesc *value)
{
  if (value->format)
    return pirl_dnn_format_copy (value->format);
  return pirl_dnn_format_dense (value->dims, value->dtype, PIRL_DNN_PLANES);
}

static void
cpu_unit_free (PirlUnitPlan *plan)
{
  if (!plan)
    return;
  if (units[plan->desc.kind]->clear)
    units[plan->desc.kind]->clear (plan);
  pirl_dnn_format_free (plan->input);
  pirl_dnn_format_free (plan->residual);
  pirl_dnn_format_free (plan->output);
  g_free (plan);
}

static PirlUnitPlan *
cpu_unit_plan (PirlDevice *base, const PirlUnitDesc *desc, const PirlTensorDesc *input,
    const PirlTensorDesc *residual, PirlTensorDesc *output, PirlUnitMemory *memory,
    GError **error)
{
  PirlCpuDevice *device = (PirlCpuDevice *) base;
  const PirlCpuUnit *unit = desc->kind < G_N_ELEMENTS (units) ? units[desc->kind] : NULL;
  const gchar *problem, *reason;
  PirlUnitPlan *plan;
  gboolean planned;
  gint threads;

  if (!unit) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID, "there is no unit of kind %d on a device",
        desc->kind);
    return NULL;
  }
  if (!cpu_supports (base, desc->mode, desc->dtype, &reason)) {
    g_set_error_literal (error, PIRL_ERROR, PIRL_ERROR_UNSUPPORTED, reason);
    return NULL;
  }
  problem = pirl_unit_problem (desc, input, residual);
  if (problem) {
    invalid (error, problem);
    pirl_unit_explain (desc, error);
    return NULL;
  }
  plan = g_malloc0 (unit->size);
  plan->device = device;
  plan->desc = *desc;
  if (desc->mode == PIRL_MODE_TRAIN && desc->dtype == PIRL_DTYPE_BF16) {
    plan->desc.dtype = PIRL_DTYPE_F32;
    plan->bf16_products = TRUE;
  }
  if (input && desc->kind != PIRL_UNIT_INPUT) {
    plan->input_dtype = input->dtype;
    plan->input = value_format (input);
  }
  if (residual && desc->residual)
    plan->residual = value_format (residual);
  memset (memory, 0, sizeof *memory);
  threads = enter (device);
  planned = unit->plan (plan, output, memory, error);
  leave (threads);
  if (planned)
    return plan;
  pirl_unit_explain (desc, error);
  cpu_unit_free (plan);
  return NULL;
}

static gboolean
cpu_unit_run (PirlUnitPlan *plan, PirlPass pass, const PirlUnitBuffers *buffers, GError **error)
{
  const gint threads = enter (plan->device);
  gboolean done;

  if (pass == PIRL_PASS_BACKWARD && plan->desc.mode != PIRL_MODE_TRAIN)
    done = invalid (error, "a plan for inference has no backward pass");
  else
    done = units[plan->desc.kind]->run (plan, pass, buffers, error);
  leave (threads);
  if (!done)
    pirl_unit_explain (&plan->desc, error);
  return done;
}

/* --- learning -------------------------------------------------------------------------------- */

static gboolean
cpu_contrast (PirlDevice *device, const PirlContrastDesc *desc, gconstpointer embedding,
    gconstpointer bank, const guint32 *positive, const guint32 *negative, gpointer d_embedding,
    PirlContrastStats *stats, GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);
  const gboolean done = pirl_cpu_contrast (desc, embedding, bank, positive, negative, d_embedding,
      stats, error);

  leave (threads);
  return done;
}

static gboolean
cpu_bank_update (PirlDevice *device, gpointer bank, PirlDType bank_dtype, guint dim, guint batch,
    const guint32 *positive, const gfloat *momentum, gconstpointer embedding, GError **error)
{
  return pirl_bank_dtype_check (device, bank_dtype, error)
      && pirl_cpu_bank_update (bank, bank_dtype, dim, batch, positive, momentum, embedding, error);
}

static gboolean
cpu_sgd (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients,
    gpointer velocity, gdouble lr, gdouble momentum, gdouble weight_decay, gboolean nesterov,
    GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);
  const PirlSgd sgd = { (gfloat) lr, (gfloat) momentum, (gfloat) weight_decay, nesterov };

  pirl_sgd_step (n, weights, gradients, velocity, &sgd);
  leave (threads);
  return TRUE;
}

static gboolean
cpu_lars (PirlDevice *device, guint n_segments, const PirlSegment *segments, gpointer weights,
    gconstpointer gradients, gpointer velocity, const PirlLars *values, GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);

  for (guint i = 0; i < n_segments; i++) {
    const gsize first = segments[i].first, n = segments[i].n;
    gfloat *w = (gfloat *) weights + first, *v = (gfloat *) velocity + first;
    const gfloat *g = (const gfloat *) gradients + first;
    const gdouble rate = values->lr * pirl_lars_local (values, pirl_norm (n, w), pirl_norm (n, g));
    const PirlSgd sgd = { (gfloat) rate, (gfloat) values->momentum,
      (gfloat) values->weight_decay };

    pirl_lars_step (n, w, g, v, &sgd);
  }
  leave (threads);
  return TRUE;
}

static gboolean
cpu_average (PirlDevice *device, gsize n, gpointer dst, gconstpointer src, gdouble keep,
    GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);

  if (keep == 0)
    memcpy (dst, src, n * sizeof (gfloat));
  else
    pirl_average_step (n, dst, src, keep);
  leave (threads);
  return TRUE;
}

static gboolean
cpu_adam (PirlDevice *device, gsize n, gpointer weights, gconstpointer gradients, gpointer first,
    gpointer second, guint64 step, gdouble lr, gdouble beta1, gdouble beta2, gdouble epsilon,
    gdouble weight_decay, GError **error)
{
  const gint threads = enter ((PirlCpuDevice *) device);
  const PirlAdam adam = {
    .step = (gfloat) (lr / (1 - pow (beta1, step))),
    .rate1 = (gfloat) (1 - beta1),
    .rate2 = (gfloat) (1 - beta2),
    .unbias = (gfloat) (1 / sqrt (1 - pow (beta2, step))),
    .epsilon = (gfloat) epsilon,
    .weight_decay = (gfloat) weight_decay,
  };

  pirl_adam_step (n, weights, gradients, first, second, &adam);
  leave (threads);
  return TRUE;
}

const PirlBackend *
pirl_backend_cpu (void)
{
  static const PirlBackend backend = {
    .version = PIRL_BACKEND_VERSION,
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .supports = cpu_supports,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_transfer,
    .download = cpu_transfer,
    .zero = cpu_zero,
    .copy = cpu_transfer,
    .rows = pirl_host_rows,
    .tensor_write = cpu_tensor_write,
    .tensor_read = cpu_tensor_read,
    .unit_plan = cpu_unit_plan,
    .unit_free = cpu_unit_free,
    .unit_run = cpu_unit_run,
    .draw = pirl_host_draw,
    .contrast = cpu_contrast,
    .bank_update = cpu_bank_update,
    .cross_entropy = pirl_host_cross_entropy,
    .sgd = cpu_sgd,
    .adam = cpu_adam,
    .lars = cpu_lars,
    .average = cpu_average,
    .discard = cpu_discard,
  };

  return &backend;
}
