/* gst-pirl: what oneDNN 2.x and 3.x spell differently, for onednn.c alone.
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A *Desc* is the description of a tensor in memory. In 2.x it is a public structure and a
 * primitive is described by another before its descriptor is created; in 3.x it is opaque, and
 * there is one function for each kind of primitive.
 */
#pragma once

#include <glib.h>
#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <string.h>

#if DNNL_VERSION_MAJOR < 2 || DNNL_VERSION_MAJOR > 3
#error "known are oneDNN 2.x and 3.x"
#endif

#define DNN_V2 (DNNL_VERSION_MAJOR == 2)

#if DNN_V2
typedef dnnl_memory_desc_t *Desc;
typedef const dnnl_memory_desc_t *ConstDesc;
#else
typedef dnnl_memory_desc_t Desc;
typedef const_dnnl_memory_desc_t ConstDesc;
#endif

/** A descriptor of plain or blocked memory, taken apart. */
typedef struct {
  gint ndims, inner_blocks;
  dnnl_data_type_t type;
  dnnl_dim_t offset;
  dnnl_dims_t dims, padded, strides, inner_sizes, inner_dims;
} DescParts;

/** A convolution or a pooling; in the backward passes its tensors are the gradients. */
typedef struct {
  dnnl_prop_kind_t kind;
  ConstDesc src, weights, bias, dst;    /* bias may be NULL; pooling has no weights */
  const dnnl_dim_t *kernel, *strides, *left, *right;    /* kernel: of pooling */
} OpShape;

/* --- descriptors ----------------------------------------------------------------------------- */

/** NULL where oneDNN refuses. Free with desc_free(). */
static inline Desc
desc_by_tag (gint ndims, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
#if DNN_V2
  Desc desc = g_new0 (dnnl_memory_desc_t, 1);

  if (dnnl_memory_desc_init_by_tag (desc, ndims, dims, type, tag) != dnnl_success)
    g_clear_pointer (&desc, g_free);
#else
  Desc desc = NULL;

  if (dnnl_memory_desc_create_with_tag (&desc, ndims, dims, type, tag) != dnnl_success)
    return NULL;
#endif
  return desc;
}

static inline Desc
desc_by_strides (gint ndims, const dnnl_dims_t dims, dnnl_data_type_t type,
    const dnnl_dims_t strides)
{
#if DNN_V2
  Desc desc = g_new0 (dnnl_memory_desc_t, 1);

  if (dnnl_memory_desc_init_by_strides (desc, ndims, dims, type, strides) != dnnl_success)
    g_clear_pointer (&desc, g_free);
#else
  Desc desc = NULL;

  if (dnnl_memory_desc_create_with_strides (&desc, ndims, dims, type, strides) != dnnl_success)
    return NULL;
#endif
  return desc;
}

static inline Desc
desc_copy (ConstDesc from)
{
#if DNN_V2
  return g_memdup2 (from, sizeof *from);
#else
  Desc desc = NULL;

  return dnnl_memory_desc_clone (&desc, from) == dnnl_success ? desc : NULL;
#endif
}

static inline void
desc_free (Desc desc)
{
#if DNN_V2
  g_free (desc);
#else
  if (desc)
    dnnl_memory_desc_destroy (desc);
#endif
}

/** FALSE for memory that is neither plain nor blocked. */
static inline gboolean
desc_parts (ConstDesc desc, DescParts *parts)
{
#if DNN_V2
  const dnnl_blocking_desc_t *blocking = &desc->format_desc.blocking;

  parts->ndims = desc->ndims;
  parts->type = desc->data_type;
  parts->offset = desc->offset0;
  parts->inner_blocks = blocking->inner_nblks;
  memcpy (parts->dims, desc->dims, sizeof parts->dims);
  memcpy (parts->padded, desc->padded_dims, sizeof parts->padded);
  memcpy (parts->strides, blocking->strides, sizeof parts->strides);
  memcpy (parts->inner_sizes, blocking->inner_blks, sizeof parts->inner_sizes);
  memcpy (parts->inner_dims, blocking->inner_idxs, sizeof parts->inner_dims);
  return desc->format_kind == dnnl_blocked;
#else
  /* 3.x gives away pointers to what it keeps. */
  const struct {
    dnnl_query_t what;
    dnnl_dim_t *to;
  } arrays[] = {
    { dnnl_query_dims, parts->dims },
    { dnnl_query_padded_dims, parts->padded },
    { dnnl_query_strides, parts->strides },
    { dnnl_query_inner_blks, parts->inner_sizes },
    { dnnl_query_inner_idxs, parts->inner_dims },
  };
  dnnl_format_kind_t kind = dnnl_format_kind_undef;

  if (dnnl_memory_desc_query (desc, dnnl_query_format_kind, &kind) != dnnl_success
      || kind != dnnl_blocked
      || dnnl_memory_desc_query (desc, dnnl_query_ndims_s32, &parts->ndims) != dnnl_success
      || dnnl_memory_desc_query (desc, dnnl_query_data_type, &parts->type) != dnnl_success
      || dnnl_memory_desc_query (desc, dnnl_query_submemory_offset_s64, &parts->offset)
      != dnnl_success || dnnl_memory_desc_query (desc, dnnl_query_inner_nblks_s32,
          &parts->inner_blocks) != dnnl_success)
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (arrays); i++) {
    const gint n = i < 3 ? parts->ndims : parts->inner_blocks;
    const dnnl_dim_t *from = NULL;

    if (n > 0 && (dnnl_memory_desc_query (desc, arrays[i].what, &from) != dnnl_success || !from))
      return FALSE;
    memcpy (arrays[i].to, from ? from : arrays[i].to, n * sizeof *from);
  }
  return TRUE;
#endif
}

/* --- post-ops -------------------------------------------------------------------------------- */

static inline dnnl_status_t
post_sum (dnnl_post_ops_t ops)
{
#if DNN_V2
  return dnnl_post_ops_append_sum (ops, 1.f);
#else
  return dnnl_post_ops_append_sum (ops, 1.f, 0, dnnl_data_type_undef);
#endif
}

static inline dnnl_status_t
post_eltwise (dnnl_post_ops_t ops, dnnl_alg_kind_t what, gfloat alpha, gfloat beta)
{
#if DNN_V2
  return dnnl_post_ops_append_eltwise (ops, 1.f, what, alpha, beta);
#else
  return dnnl_post_ops_append_eltwise (ops, what, alpha, beta);
#endif
}

/* --- primitive descriptors ------------------------------------------------------------------- */

#if DNN_V2
static inline dnnl_status_t
describe_conv (dnnl_convolution_desc_t *desc, const OpShape *s)
{
  switch (s->kind) {
    case dnnl_backward_data:
      return dnnl_convolution_backward_data_desc_init (desc, dnnl_convolution_direct, s->src,
          s->weights, s->dst, s->strides, s->left, s->right);
    case dnnl_backward_weights:
      return dnnl_convolution_backward_weights_desc_init (desc, dnnl_convolution_direct, s->src,
          s->weights, s->bias, s->dst, s->strides, s->left, s->right);
    default:
      return dnnl_convolution_forward_desc_init (desc, s->kind, dnnl_convolution_direct, s->src,
          s->weights, s->bias, s->dst, s->strides, s->left, s->right);
  }
}
#endif

/** @hint: the forward pass', for the backward ones. */
static inline dnnl_status_t
conv_pd_create (dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const OpShape *s,
    dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr)
{
#if DNN_V2
  dnnl_convolution_desc_t desc;
  const dnnl_status_t status = describe_conv (&desc, s);

  return status == dnnl_success ? dnnl_primitive_desc_create (pd, &desc, attr, engine, hint)
      : status;
#else
  const dnnl_dims_t dense = { 0, 0 };

  switch (s->kind) {
    case dnnl_backward_data:
      return dnnl_convolution_backward_data_primitive_desc_create (pd, engine,
          dnnl_convolution_direct, s->src, s->weights, s->dst, s->strides, dense, s->left,
          s->right, hint, attr);
    case dnnl_backward_weights:
      return dnnl_convolution_backward_weights_primitive_desc_create (pd, engine,
          dnnl_convolution_direct, s->src, s->weights, s->bias, s->dst, s->strides, dense,
          s->left, s->right, hint, attr);
    default:
      return dnnl_convolution_forward_primitive_desc_create (pd, engine, s->kind,
          dnnl_convolution_direct, s->src, s->weights, s->bias, s->dst, s->strides, dense,
          s->left, s->right, attr);
  }
#endif
}

/** As conv_pd_create(), of max pooling: kind dnnl_backward or one of the forward ones. */
static inline dnnl_status_t
maxpool_pd_create (dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const OpShape *s,
    dnnl_primitive_desc_t hint, dnnl_primitive_attr_t attr)
{
#if DNN_V2
  dnnl_pooling_desc_t desc;
  dnnl_status_t status;

  if (s->kind == dnnl_backward)
    status = dnnl_pooling_backward_desc_init (&desc, dnnl_pooling_max, s->src, s->dst, s->strides,
        s->kernel, s->left, s->right);
  else
    status = dnnl_pooling_forward_desc_init (&desc, s->kind, dnnl_pooling_max, s->src, s->dst,
        s->strides, s->kernel, s->left, s->right);
  return status == dnnl_success ? dnnl_primitive_desc_create (pd, &desc, attr, engine, hint)
      : status;
#else
  const dnnl_dims_t dense = { 0, 0 };

  if (s->kind == dnnl_backward)
    return dnnl_pooling_backward_primitive_desc_create (pd, engine, dnnl_pooling_max, s->src,
        s->dst, s->strides, s->kernel, dense, s->left, s->right, hint, attr);
  return dnnl_pooling_forward_primitive_desc_create (pd, engine, s->kind, dnnl_pooling_max, s->src,
      s->dst, s->strides, s->kernel, dense, s->left, s->right, attr);
#endif
}
