/* gst-pirl: oneDNN behind the dozen functions of onednn.h; with onednn-api.h, which hides what 2.x
 * and 3.x spell differently, the only file that includes its headers.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "backends/cpu/onednn.h"
#include "backends/cpu/onednn-api.h"

#if defined __x86_64__
#include <cpuid.h>
#endif

struct _PirlDnn {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
};

struct _PirlDnnFormat {
  Desc md;
};

struct _PirlDnnOp {
  dnnl_engine_t engine;         /* borrowed */
  dnnl_stream_t stream;         /* borrowed */
  dnnl_primitive_desc_t pd;
  dnnl_primitive_t primitive;
  PirlDnnFormat format[PIRL_DNN_N_OPERANDS];    /* descriptors are copies */
  dnnl_memory_t memory[PIRL_DNN_N_OPERANDS];    /* NULL: no such operand */
};

/* oneDNN's numbers for our operands. */
static const gint argument[PIRL_DNN_N_OPERANDS] = {
  [PIRL_DNN_SRC] = DNNL_ARG_SRC,
  [PIRL_DNN_WEIGHTS] = DNNL_ARG_WEIGHTS,
  [PIRL_DNN_BIAS] = DNNL_ARG_BIAS,
  [PIRL_DNN_DST] = DNNL_ARG_DST,
  [PIRL_DNN_D_SRC] = DNNL_ARG_DIFF_SRC,
  [PIRL_DNN_D_WEIGHTS] = DNNL_ARG_DIFF_WEIGHTS,
  [PIRL_DNN_D_BIAS] = DNNL_ARG_DIFF_BIAS,
  [PIRL_DNN_D_DST] = DNNL_ARG_DIFF_DST,
  [PIRL_DNN_WORKSPACE] = DNNL_ARG_WORKSPACE,
  [PIRL_DNN_SCRATCHPAD] = DNNL_ARG_SCRATCHPAD,
};

static gboolean
check (dnnl_status_t status, const gchar *what, GError **error)
{
  if (status == dnnl_success)
    return TRUE;
  g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "oneDNN %d.%d.%d: %s: %s",
      dnnl_version ()->major, dnnl_version ()->minor, dnnl_version ()->patch, what,
      dnnl_status2str (status));
  return FALSE;
}

/* --- engine ---------------------------------------------------------------------------------- */

/* oneDNN takes the tiles' geometry from CPUID leaf 0x1d and does not look whether it is there:
 * under hypervisors that announce AMX but hide the leaf its kernels die of SIGILL. */
static gboolean
amx_is_whole (void)
{
#if defined __x86_64__
  guint palettes = 0, b, c, d;

  return __get_cpuid_count (0x1d, 0, &palettes, &b, &c, &d) && palettes >= 1;
#else
  return FALSE;
#endif
}

static gboolean
uses_isa (guint isa)
{
  return (dnnl_get_effective_cpu_isa () & isa) == isa;
}

static dnnl_engine_t
shared_engine (void)
{
  static gsize once = 0;
  static dnnl_engine_t engine = NULL;

  if (g_once_init_enter (&once)) {
    /* Without effect when others in the process were here first. */
    if (!amx_is_whole () && !g_getenv ("DNNL_MAX_CPU_ISA") && !g_getenv ("ONEDNN_MAX_CPU_ISA"))
      dnnl_set_max_cpu_isa (dnnl_cpu_isa_avx512_core_bf16);
    if (dnnl_engine_create (&engine, dnnl_cpu, 0) != dnnl_success)
      engine = NULL;
    g_once_init_leave (&once, 1);
  }
  return engine;
}

PirlDnn *
pirl_dnn_open (GError **error)
{
  PirlDnn *dnn = g_new0 (PirlDnn, 1);

  dnn->engine = shared_engine ();
  if (!dnn->engine) {
    g_set_error (error, PIRL_ERROR, PIRL_ERROR_BACKEND, "oneDNN finds no CPU engine");
  } else if (check (dnnl_stream_create (&dnn->stream, dnn->engine, dnnl_stream_default_flags),
          "creating a stream", error)) {
    return dnn;
  }
  g_free (dnn);
  return NULL;
}

void
pirl_dnn_close (PirlDnn *dnn)
{
  if (!dnn)
    return;
  dnnl_stream_destroy (dnn->stream);
  g_free (dnn);
}

gchar *
pirl_dnn_describe (void)
{
  const dnnl_version_t *version = dnnl_version ();
  const gchar *isa = dnnl_cpu_isa2str (dnnl_get_effective_cpu_isa ());

  if (g_str_has_prefix (isa, "cpu_isa_"))
    isa += strlen ("cpu_isa_");
  return g_strdup_printf ("oneDNN %d.%d.%d, %s", version->major, version->minor, version->patch,
      isa);
}

gboolean
pirl_dnn_has_bf16 (void)
{
  return uses_isa (dnnl_cpu_isa_avx512_core_bf16)
      && (amx_is_whole () || !uses_isa (dnnl_cpu_isa_avx512_core_amx));
}

/* --- formats --------------------------------------------------------------------------------- */

static dnnl_data_type_t
data_type (PirlDType dtype)
{
  switch (dtype) {
    case PIRL_DTYPE_F32:
      return dnnl_f32;
    case PIRL_DTYPE_BF16:
      return dnnl_bf16;
    default:
      return dnnl_data_type_undef;
  }
}

static Desc
activation_desc (PirlDims d, PirlDType dtype, dnnl_format_tag_t tag)
{
  const dnnl_dims_t dims = { d.n, d.c, d.h, d.w };

  return desc_by_tag (4, dims, data_type (dtype), tag);
}

static Desc
weights_desc (const PirlUnitDesc *unit, PirlDType dtype, gboolean any)
{
  const gint g = unit->groups, o = unit->output.c, i = unit->input.c, k = unit->kernel;
  const dnnl_dims_t plain = { o, i, k, k }, grouped = { g, o / g, i / g, k, k };

  if (g > 1)
    return desc_by_tag (5, grouped, data_type (dtype), any ? dnnl_format_tag_any : dnnl_goihw);
  return desc_by_tag (4, plain, data_type (dtype), any ? dnnl_format_tag_any : dnnl_oihw);
}

/* Takes @md. */
static PirlDnnFormat *
format_new (Desc md)
{
  PirlDnnFormat *format;

  if (!md)
    return NULL;
  format = g_new (PirlDnnFormat, 1);
  format->md = md;
  return format;
}

PirlDnnFormat *
pirl_dnn_format_dense (PirlDims d, PirlDType dtype, PirlDnnOrder order)
{
  const dnnl_dims_t dims = { d.n, d.c, d.h, d.w };
  const dnnl_dims_t places = { d.c, 1, (dnnl_dim_t) d.w * d.n * d.c, (dnnl_dim_t) d.n * d.c };

  if (order == PIRL_DNN_PLACES)
    return format_new (desc_by_strides (4, dims, data_type (dtype), places));
  return format_new (activation_desc (d, dtype, order == PIRL_DNN_BLOCKS ? dnnl_nChw16c
      : order == PIRL_DNN_ROWS ? dnnl_nhwc : dnnl_nchw));
}

PirlDnnFormat *
pirl_dnn_format_tap_weights (const PirlUnitDesc *unit)
{
  const dnnl_dim_t o = unit->output.c, i = unit->input.c, k = unit->kernel;
  const dnnl_dims_t dims = { o, i, k, k }, strides = { i, 1, k * o * i, o * i };

  return format_new (desc_by_strides (4, dims, dnnl_f32, strides));
}

PirlDnnFormat *
pirl_dnn_format_weights (const PirlUnitDesc *unit)
{
  return format_new (weights_desc (unit, PIRL_DTYPE_F32, FALSE));
}

PirlDnnFormat *
pirl_dnn_format_copy (const PirlDnnFormat *format)
{
  return format_new (desc_copy (format->md));
}

void
pirl_dnn_format_free (PirlDnnFormat *format)
{
  if (!format)
    return;
  desc_free (format->md);
  g_free (format);
}

gsize
pirl_dnn_format_bytes (const PirlDnnFormat *format)
{
  return dnnl_memory_desc_get_size (format->md);
}

/* Vectors without padding: n rows of c elements, whatever the name of the format. */
static gboolean
is_plain_vector (const DescParts *p)
{
  return p->ndims == 4 && p->dims[2] == 1 && p->dims[3] == 1 && p->padded[1] == p->dims[1]
      && p->offset == 0 && p->strides[0] == p->dims[1];
}

gboolean
pirl_dnn_format_same (const PirlDnnFormat *a, const PirlDnnFormat *b)
{
  DescParts pa, pb;

  if (dnnl_memory_desc_equal (a->md, b->md))
    return TRUE;
  return desc_parts (a->md, &pa) && desc_parts (b->md, &pb) && pa.type == pb.type
      && is_plain_vector (&pa) && is_plain_vector (&pb) && pa.dims[0] == pb.dims[0]
      && pa.dims[1] == pb.dims[1];
}

gboolean
pirl_dnn_format_layout (const PirlDnnFormat *format, PirlDnnLayout *layout)
{
  DescParts p;
  dnnl_dim_t h, w;
  const dnnl_dim_t *s = p.strides;

  if (!desc_parts (format->md, &p) || p.ndims != 4 || p.offset != 0)
    return FALSE;
  h = p.dims[2];
  w = p.dims[3];
  layout->channels = p.padded[1];
  layout->sample_step = s[0];
  layout->stride = s[3];
  if (h * w > 1 && s[2] != w * s[3])
    return FALSE;
  if (p.inner_blocks == 1 && p.inner_dims[0] == 1) {
    layout->lanes = p.inner_sizes[0];
    return (layout->lanes == 8 || layout->lanes == 16) && s[3] == layout->lanes
        && s[1] == h * s[2];
  }
  if (p.inner_blocks != 0 || layout->channels != p.dims[1])
    return FALSE;
  layout->lanes = s[1] == 1 ? 0 : 1;
  return s[1] == 1 || (s[3] == 1 && s[1] == h * w);
}

/* --- operations ------------------------------------------------------------------------------ */

/* Asks the primitive descriptor for the format of each operand and makes memory objects. */
static gboolean
collect_operands (PirlDnnOp *op, GError **error)
{
  for (gint i = 0; i < PIRL_DNN_N_OPERANDS; i++) {
    const ConstDesc md =
        dnnl_primitive_desc_query_md (op->pd, dnnl_query_exec_arg_md, argument[i]);

    if (!md || dnnl_memory_desc_get_size (md) == 0)
      continue;
    op->format[i].md = desc_copy (md);
    if (!check (dnnl_memory_create (&op->memory[i], md, op->engine, DNNL_MEMORY_NONE),
            "creating a memory object", error))
      return FALSE;
  }
  return TRUE;
}

/* Takes @pd. */
static PirlDnnOp *
op_new (PirlDnn *dnn, dnnl_primitive_desc_t pd, const gchar *what, GError **error)
{
  PirlDnnOp *op = g_new0 (PirlDnnOp, 1);

  op->engine = dnn->engine;
  op->stream = dnn->stream;
  op->pd = pd;
  if (check (dnnl_primitive_create (&op->primitive, pd), what, error)
      && collect_operands (op, error))
    return op;
  pirl_dnn_op_free (op);
  return NULL;
}

void
pirl_dnn_op_free (PirlDnnOp *op)
{
  if (!op)
    return;
  for (gint i = 0; i < PIRL_DNN_N_OPERANDS; i++) {
    if (op->memory[i])
      dnnl_memory_destroy (op->memory[i]);
    desc_free (op->format[i].md);
  }
  if (op->primitive)
    dnnl_primitive_destroy (op->primitive);
  if (op->pd)
    dnnl_primitive_desc_destroy (op->pd);
  g_free (op);
}

const PirlDnnFormat *
pirl_dnn_op_format (const PirlDnnOp *op, PirlDnnOperand operand)
{
  return op->memory[operand] ? &op->format[operand] : NULL;
}

gsize
pirl_dnn_op_bytes (const PirlDnnOp *op, PirlDnnOperand operand)
{
  return op && op->memory[operand] ? pirl_dnn_format_bytes (&op->format[operand]) : 0;
}

gboolean
pirl_dnn_op_is_slow (const PirlDnnOp *op)
{
  const gchar *name = NULL;

  if (dnnl_primitive_desc_query (op->pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success)
    return FALSE;
  return g_str_has_prefix (name, "ref") || g_str_has_prefix (name, "simple:any");
}

gboolean
pirl_dnn_op_run (PirlDnnOp *op, gpointer const *memory, GError **error)
{
  dnnl_exec_arg_t args[PIRL_DNN_N_OPERANDS];
  gint n = 0;

  for (gint i = 0; i < PIRL_DNN_N_OPERANDS; i++) {
    if (!op->memory[i])
      continue;
    if (!memory[i]) {
      g_set_error (error, PIRL_ERROR, PIRL_ERROR_INVALID,
          "operand %d of a oneDNN operation has no memory", i);
      return FALSE;
    }
    if (!check (dnnl_memory_set_data_handle (op->memory[i], memory[i]), "setting memory", error))
      return FALSE;
    args[n++] = (dnnl_exec_arg_t) { argument[i], op->memory[i] };
  }
  return check (dnnl_primitive_execute (op->primitive, op->stream, n, args), "running", error)
      && check (dnnl_stream_wait (op->stream), "waiting", error);
}

/* Attributes: the scratchpad is ours; a convolution's sum and activation. The binary post-op, which
 * would spare the copy into DST, keeps 2.6 from using AMX. */
static dnnl_status_t
attributes_new (dnnl_primitive_attr_t *attr, const PirlDnnConv *conv)
{
  dnnl_post_ops_t ops = NULL;
  dnnl_status_t status = dnnl_primitive_attr_create (attr);

  if (status == dnnl_success)
    status = dnnl_primitive_attr_set_scratchpad_mode (*attr, dnnl_scratchpad_mode_user);
  if (status != dnnl_success || !conv || conv->pass != PIRL_DNN_FORWARD)
    return status;
  status = dnnl_post_ops_create (&ops);
  if (status == dnnl_success && conv->add)
    status = post_sum (ops);
  if (status == dnnl_success && conv->activation == PIRL_ACT_RELU)
    status = post_eltwise (ops, dnnl_eltwise_relu, 0.f, 0.f);
  else if (status == dnnl_success && conv->activation == PIRL_ACT_RELU6)
    status = post_eltwise (ops, dnnl_eltwise_clip, 0.f, 6.f);
  if (status == dnnl_success)
    status = dnnl_primitive_attr_set_post_ops (*attr, ops);
  if (ops)
    dnnl_post_ops_destroy (ops);
  return status;
}

/* What the kernel must reach beyond the ends, which may be less than the padding. */
static void
right_padding (const PirlUnitDesc *u, dnnl_dims_t right)
{
  right[0] = (u->output.h - 1) * u->stride + u->kernel - u->input.h - u->padding;
  right[1] = (u->output.w - 1) * u->stride + u->kernel - u->input.w - u->padding;
}

static dnnl_prop_kind_t
forward_kind (const PirlUnitDesc *u)
{
  return u->mode == PIRL_MODE_TRAIN ? dnnl_forward_training : dnnl_forward_inference;
}

/* The primitive descriptor of @conv; @hint: of the forward convolution, for the backward ones. */
static dnnl_status_t
create_conv (const PirlDnn *dnn, const PirlDnnConv *conv, dnnl_primitive_desc_t hint,
    dnnl_primitive_desc_t *pd)
{
  const PirlUnitDesc *u = conv->unit;
  const dnnl_dims_t strides = { u->stride, u->stride }, left = { u->padding, u->padding };
  const dnnl_dims_t channels = { u->output.c };
  Desc any_src = activation_desc (u->input, u->dtype, dnnl_format_tag_any);
  Desc any_dst = activation_desc (u->output, u->dtype, dnnl_format_tag_any);
  Desc weights = weights_desc (u, u->dtype, TRUE);
  Desc bias = desc_by_tag (1, channels, dnnl_f32, dnnl_x);
  dnnl_dims_t right;
  const OpShape shape = {.kind = conv->pass == PIRL_DNN_FORWARD ? forward_kind (u)
        : conv->pass == PIRL_DNN_BACKWARD_DATA ? dnnl_backward_data : dnnl_backward_weights,
    .src = conv->src ? conv->src->md : any_src, .weights = weights,
    .bias = conv->bias ? bias : NULL, .dst = conv->dst ? conv->dst->md : any_dst,
    .strides = strides, .left = left, .right = right };
  dnnl_primitive_attr_t attr = NULL;
  dnnl_status_t status = dnnl_invalid_arguments;

  right_padding (u, right);
  if (shape.src && shape.dst && weights && bias)
    status = attributes_new (&attr, conv);
  if (status == dnnl_success)
    status = conv_pd_create (pd, dnn->engine, &shape, hint, attr);
  if (attr)
    dnnl_primitive_attr_destroy (attr);
  desc_free (any_src);
  desc_free (any_dst);
  desc_free (weights);
  desc_free (bias);
  return status;
}

PirlDnnOp *
pirl_dnn_conv_new (PirlDnn *dnn, const PirlDnnConv *conv, GError **error)
{
  static const gchar *const what[] = { "convolution", "convolution, backward data",
    "convolution, backward weights" };
  PirlDnnConv forward = *conv;
  dnnl_primitive_desc_t hint = NULL, pd = NULL;
  dnnl_status_t status = dnnl_success;

  if (conv->pass != PIRL_DNN_FORWARD) {
    forward.pass = PIRL_DNN_FORWARD;
    forward.activation = PIRL_ACT_NONE;
    forward.add = FALSE;
    status = create_conv (dnn, &forward, NULL, &hint);
  }
  if (status == dnnl_success)
    status = create_conv (dnn, conv, hint, &pd);
  if (hint)
    dnnl_primitive_desc_destroy (hint);
  if (!check (status, what[conv->pass], error))
    return NULL;
  return op_new (dnn, pd, what[conv->pass], error);
}

PirlDnnOp *
pirl_dnn_maxpool_new (PirlDnn *dnn, const PirlUnitDesc *unit, const PirlDnnFormat *src,
    const PirlDnnOp *forward, GError **error)
{
  const dnnl_dims_t strides = { unit->stride, unit->stride };
  const dnnl_dims_t kernel = { unit->kernel, unit->kernel };
  const dnnl_dims_t left = { unit->padding, unit->padding };
  Desc any = activation_desc (unit->output, unit->dtype, dnnl_format_tag_any);
  dnnl_dims_t right;
  const OpShape shape = {.kind = forward ? dnnl_backward : forward_kind (unit), .src = src->md,
    .dst = forward ? forward->format[PIRL_DNN_DST].md : any, .kernel = kernel,
    .strides = strides, .left = left, .right = right };
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_status_t status = any ? attributes_new (&attr, NULL) : dnnl_invalid_arguments;

  right_padding (unit, right);
  if (status == dnnl_success)
    status = maxpool_pd_create (&pd, dnn->engine, &shape, forward ? forward->pd : NULL, attr);
  if (attr)
    dnnl_primitive_attr_destroy (attr);
  desc_free (any);
  if (!check (status, forward ? "max pooling, backward" : "max pooling", error))
    return NULL;
  return op_new (dnn, pd, "max pooling", error);
}

PirlDnnOp *
pirl_dnn_reorder_new (PirlDnn *dnn, const PirlDnnFormat *from, const PirlDnnFormat *to,
    gboolean add, GError **error)
{
  dnnl_primitive_desc_t pd = NULL;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  dnnl_status_t status = attributes_new (&attr, NULL);

  if (status == dnnl_success && add)
    status = dnnl_post_ops_create (&ops);
  if (status == dnnl_success && add)
    status = post_sum (ops);
  if (status == dnnl_success && add)
    status = dnnl_primitive_attr_set_post_ops (attr, ops);
  if (status == dnnl_success)
    status = dnnl_reorder_primitive_desc_create (&pd, from->md, dnn->engine, to->md, dnn->engine,
        attr);
  if (ops)
    dnnl_post_ops_destroy (ops);
  if (attr)
    dnnl_primitive_attr_destroy (attr);
  if (!check (status, "reorder", error))
    return NULL;
  return op_new (dnn, pd, "reorder", error);
}

gboolean
pirl_dnn_gemm (const PirlDnnGemm *g, GError **error)
{
  if (g->m == 0 || g->n == 0)
    return TRUE;
  return check (dnnl_sgemm (g->transpose_a ? 'T' : 'N', g->transpose_b ? 'T' : 'N', g->m, g->n,
          g->k, 1.f, g->a, g->transpose_a ? g->m : g->k, g->b, g->transpose_b ? g->k : g->n,
          g->beta, g->c, g->n), "matrix product", error);
}
