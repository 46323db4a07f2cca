/* gst-pirl: own loops of the CPU backend (see kernels.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "backends/cpu/kernels.h"
#include "backends/cpu/simd.h"

#include <math.h>
#include <string.h>

#define FLAT_CHUNK 16384        /* elements a thread takes at once in flat loops */

/* Runs @call with begin and count over @n elements in chunks, divided among the threads. */
#define FOR_CHUNKS(n, call) \
  do { \
    const gssize chunks_ = ((n) + FLAT_CHUNK - 1) / FLAT_CHUNK; \
    _Pragma ("omp parallel for schedule(static) if (chunks_ > 1)") \
    for (gssize chunk_ = 0; chunk_ < chunks_; chunk_++) { \
      const gsize begin = (gsize) chunk_ * FLAT_CHUNK; \
      const gsize count = MIN ((gsize) FLAT_CHUNK, (n) - begin); \
      call; \
    } \
  } while (0)

static inline gfloat
activate (gfloat x, PirlActivation act)
{
  if (act != PIRL_ACT_NONE && !(x > 0.f))
    return x != x ? x : 0.f;    /* NaN stays NaN: it must be seen */
  return act == PIRL_ACT_RELU6 && x > 6.f ? 6.f : x;
}

static inline gboolean
passes (gfloat out, PirlActivation act)
{
  return act == PIRL_ACT_NONE || (out > 0.f && (act == PIRL_ACT_RELU || out < 6.f));
}

PIRL_SIMD static void
activate_range (gfloat *restrict x, const gfloat *restrict residual, gsize n, PirlActivation act)
{
  const gfloat top = act == PIRL_ACT_RELU6 ? 6.f : G_MAXFLOAT;

  if (residual) {
    for (gsize i = 0; i < n; i++)
      x[i] += residual[i];
  }
  if (act == PIRL_ACT_NONE)
    return;
  for (gsize i = 0; i < n; i++) {
    const gfloat v = x[i] < 0.f ? 0.f : x[i];

    x[i] = v > top ? top : v;
  }
}

PIRL_SIMD static void
mask_range (gfloat *restrict d, const gfloat *restrict out, gsize n, PirlActivation act)
{
  const gfloat top = act == PIRL_ACT_RELU6 ? 6.f : INFINITY;

  for (gsize i = 0; i < n; i++)
    d[i] = ((out[i] > 0.f) & (out[i] < top)) ? d[i] : 0.f;
}

PIRL_SIMD static void
add_range (gfloat *restrict dst, const gfloat *restrict src, gsize n)
{
  for (gsize i = 0; i < n; i++)
    dst[i] += src[i];
}

void
pirl_activate (gfloat *x, const gfloat *residual, gsize n, PirlActivation act)
{
  FOR_CHUNKS (n, activate_range (x + begin, residual ? residual + begin : NULL, count, act));
}

static void
activate_backward_range (gfloat *d, const gfloat *out, gsize n, PirlActivation act,
    gfloat *d_residual, gboolean accumulate)
{
  if (act != PIRL_ACT_NONE)
    mask_range (d, out, n, act);
  if (d_residual && accumulate)
    add_range (d_residual, d, n);
  else if (d_residual)
    memcpy (d_residual, d, n * sizeof *d);
}

void
pirl_activate_backward (gfloat *d, const gfloat *out, gsize n, PirlActivation act,
    gfloat *d_residual, gboolean accumulate)
{
  FOR_CHUNKS (n, activate_backward_range (d + begin, out + begin, count, act,
      d_residual ? d_residual + begin : NULL, accumulate));
}

void
pirl_add (gfloat *dst, const gfloat *src, gsize n)
{
  FOR_CHUNKS (n, add_range (dst + begin, src + begin, count));
}

void
pirl_copy (gpointer dst, gconstpointer src, gsize bytes)
{
  FOR_CHUNKS (bytes, memcpy ((guint8 *) dst + begin, (const guint8 *) src + begin, count));
}

void
pirl_clear (gpointer dst, gsize bytes)
{
  FOR_CHUNKS (bytes, memset ((guint8 *) dst + begin, 0, count));
}

PIRL_SIMD static void
float_from_bf16_range (const guint16 *restrict src, gfloat *restrict dst, gsize n)
{
  guint32 *restrict bits = (guint32 *) dst;

  for (gsize i = 0; i < n; i++)
    bits[i] = (guint32) src[i] << 16;
}

void
pirl_float_from_bf16 (const guint16 *src, gfloat *dst, gsize n)
{
  FOR_CHUNKS (n, float_from_bf16_range (src + begin, dst + begin, count));
}

/* --- tiles ----------------------------------------------------------------------------------- */

/* A tile cut into a part of whole vectors and what remains. Contiguous tiles (stride == lanes) are
 * one run of numbers, so that planes and blocks of 8 are walked 16 at a time as well: channel
 * of lane l is l % lanes in every case. */
typedef struct {
  gsize offset;                 /* of the tile */
  gint channel;                 /* first channel */
  gint lanes;                   /* channels in this tile */
  gsize rows, stride;           /* vectors of 16 */
  gsize rest_offset, rest_rows; /* then rest_rows rows of rest_lanes numbers */
  gint rest_lanes;
} Tile;

static Tile
tile_at (const PirlTiling *t, gssize index)
{
  const gint sample = index / t->blocks, block = index % t->blocks;
  const gsize numbers = t->positions * t->lanes;
  Tile tile = {
    .offset = sample * t->sample_step + block * t->block_step,
    .channel = block * t->lanes,
    .lanes = MIN (t->lanes, t->channels - block * t->lanes),
    .stride = t->stride,
  };

  if (t->stride == (gsize) t->lanes && PIRL_LANES % t->lanes == 0) {
    tile.lanes = t->lanes;
    tile.stride = PIRL_LANES;
    tile.rows = numbers / PIRL_LANES;
    tile.rest_offset = tile.rows * PIRL_LANES;
    tile.rest_lanes = numbers % PIRL_LANES;
    tile.rest_rows = tile.rest_lanes ? 1 : 0;
  } else if (tile.lanes == PIRL_LANES) {
    tile.rows = t->positions;
  } else {
    tile.rest_rows = t->positions;
    tile.rest_lanes = tile.lanes;
  }
  return tile;
}

/* The 16 lanes' values of a per-channel array. */
static void
spread (const gfloat *values, const Tile *tile, gfloat lane[PIRL_LANES])
{
  for (gint l = 0; l < PIRL_LANES; l++)
    lane[l] = values[tile->channel + l % tile->lanes];
}

/* --- batch norm: statistics ------------------------------------------------------------------ */

#define STATISTICS_CHUNK 256    /* rows: 16 KB, so that the second pass reads the first cache */

/* Joins the statistics of @n2 values to those of @n1 (Chan, Golub and LeVeque, 1979). */
static void
join_statistics (gdouble *mean, gdouble *m2, gdouble n1, gdouble mean2, gdouble m22, gdouble n2)
{
  const gdouble delta = mean2 - *mean, n = n1 + n2;

  if (n2 == 0)
    return;
  *mean += delta * (n2 / n);
  *m2 += m22 + delta * delta * (n1 * n2 / n);
}

/* Mean and squared deviations of @rows <= STATISTICS_CHUNK vectors, lane by lane. */
PIRL_SIMD static void
chunk_statistics (const gfloat *x, gsize rows, gsize stride, gfloat *mean, gfloat *m2)
{
  PirlVec s0 = { 0 }, s1 = { 0 }, q0 = { 0 }, q1 = { 0 };
  gsize i;

  for (i = 0; i + 2 <= rows; i += 2) {
    s0 += VEC_CONST_AT (x + i * stride);
    s1 += VEC_CONST_AT (x + (i + 1) * stride);
  }
  if (i < rows)
    s0 += VEC_CONST_AT (x + i * stride);
  s0 = (s0 + s1) / (gfloat) rows;
  for (i = 0; i + 2 <= rows; i += 2) {
    const PirlVec d0 = VEC_CONST_AT (x + i * stride) - s0;
    const PirlVec d1 = VEC_CONST_AT (x + (i + 1) * stride) - s0;

    q0 += d0 * d0;
    q1 += d1 * d1;
  }
  if (i < rows) {
    const PirlVec d0 = VEC_CONST_AT (x + i * stride) - s0;

    q0 += d0 * d0;
  }
  VEC_AT (mean) = s0;
  VEC_AT (m2) = q0 + q1;
}

/* Statistics of one channel's numbers that are @stride apart. */
static void
plain_statistics (const gfloat *x, gsize n, gsize stride, gdouble *mean, gdouble *m2)
{
  gdouble sum = 0, squares = 0;

  for (gsize i = 0; i < n; i++)
    sum += x[i * stride];
  *mean = n ? sum / n : 0;
  for (gsize i = 0; i < n; i++)
    squares += (x[i * stride] - *mean) * (x[i * stride] - *mean);
  *m2 = squares;
}

static void
tile_statistics (const Tile *tile, const gfloat *x, gdouble *mean, gdouble *m2)
{
  gdouble lane_mean[PIRL_LANES] = { 0 }, lane_m2[PIRL_LANES] = { 0 }, count[PIRL_LANES] = { 0 };

  x += tile->offset;
  for (gsize row = 0; row < tile->rows; row += STATISTICS_CHUNK) {
    const gsize n = MIN (STATISTICS_CHUNK, tile->rows - row);
    gfloat chunk_mean[PIRL_LANES], chunk_m2[PIRL_LANES];

    chunk_statistics (x + row * tile->stride, n, tile->stride, chunk_mean, chunk_m2);
    for (gint l = 0; l < PIRL_LANES; l++)
      join_statistics (&lane_mean[l], &lane_m2[l], row, chunk_mean[l], chunk_m2[l], n);
  }
  memset (mean, 0, tile->lanes * sizeof *mean);
  memset (m2, 0, tile->lanes * sizeof *m2);
  for (gint l = 0; tile->rows && l < PIRL_LANES; l++) {
    const gint c = l % tile->lanes;

    join_statistics (&mean[c], &m2[c], count[c], lane_mean[l], lane_m2[l], tile->rows);
    count[c] += tile->rows;
  }
  for (gint l = 0; l < tile->rest_lanes; l++) {
    const gint c = l % tile->lanes;
    gdouble rest_mean, rest_m2;

    plain_statistics (x + tile->rest_offset + l, tile->rest_rows, tile->stride, &rest_mean,
        &rest_m2);
    join_statistics (&mean[c], &m2[c], count[c], rest_mean, rest_m2, tile->rest_rows);
    count[c] += tile->rest_rows;
  }
}

gsize
pirl_bn_partial_bytes (const PirlTiling *t)
{
  return 2 * sizeof (gdouble) * t->samples * pirl_tiling_channels (t);
}

void
pirl_bn_statistics (const PirlTiling *t, const gfloat *x, gdouble *partial, gdouble *mean,
    gdouble *m2)
{
  const gssize tiles = (gssize) t->samples * t->blocks, channels = pirl_tiling_channels (t);
  gdouble *partial_m2 = partial + t->samples * channels;

#pragma omp parallel for schedule(static)
  for (gssize i = 0; i < tiles; i++) {
    const Tile tile = tile_at (t, i);
    const gsize at = i / t->blocks * channels + tile.channel;

    tile_statistics (&tile, x, partial + at, partial_m2 + at);
  }
#pragma omp parallel for schedule(static) if (tiles > 64)
  for (gssize c = 0; c < t->channels; c++) {
    mean[c] = m2[c] = 0;
    for (gint s = 0; s < t->samples; s++)
      join_statistics (&mean[c], &m2[c], (gdouble) s * t->positions, partial[s * channels + c],
          partial_m2[s * channels + c], t->positions);
  }
}

/* --- batch norm: apply ----------------------------------------------------------------------- */

PIRL_SIMD static void
apply_rows (const gfloat *x, const gfloat *residual, gsize rows, gsize stride,
    const gfloat *scale, const gfloat *shift, PirlActivation act, gfloat *out)
{
  const PirlVec a = VEC_CONST_AT (scale), b = VEC_CONST_AT (shift);

  for (gsize i = 0; i < rows; i++) {
    PirlVec v = VEC_CONST_AT (x + i * stride) * a + b;

    if (residual)
      v += VEC_CONST_AT (residual + i * stride);
    if (act == PIRL_ACT_RELU)
      v = VEC_RELU (v);
    else if (act == PIRL_ACT_RELU6)
      v = VEC_RELU6 (v);
    VEC_AT (out + i * stride) = v;
  }
}

void
pirl_bn_apply (const PirlTiling *t, const gfloat *x, const gfloat *residual,
    const gfloat *scale, const gfloat *shift, PirlActivation act, gfloat *out)
{
  const gssize tiles = (gssize) t->samples * t->blocks;

#pragma omp parallel for schedule(static)
  for (gssize i = 0; i < tiles; i++) {
    const Tile tile = tile_at (t, i);
    const gfloat *r = residual ? residual + tile.offset : NULL;
    gfloat a[PIRL_LANES], b[PIRL_LANES];

    spread (scale, &tile, a);
    spread (shift, &tile, b);
    apply_rows (x + tile.offset, r, tile.rows, tile.stride, a, b, act, out + tile.offset);
    for (gsize row = 0; row < tile.rest_rows; row++) {
      for (gint l = 0; l < tile.rest_lanes; l++) {
        const gsize at = tile.rest_offset + row * tile.stride + l;

        out[tile.offset + at] =
            activate (x[tile.offset + at] * a[l] + b[l] + (r ? r[at] : 0.f), act);
      }
    }
  }
}

/* --- batch norm: backward -------------------------------------------------------------------- */

/* A tile's share of PirlBnBackward. */
typedef struct {
  const gfloat *x, *out;
  gfloat *d, *d_residual;
  gfloat scale[PIRL_LANES], shift[PIRL_LANES], mean[PIRL_LANES];
  gsize stride;
  PirlActivation act;
  gboolean accumulate;
} BackwardTile;

static BackwardTile
backward_tile (const PirlBnBackward *b, const Tile *tile)
{
  BackwardTile bt = {
    .x = b->x + tile->offset,
    .out = b->out ? b->out + tile->offset : NULL,
    .d = b->d + tile->offset,
    .d_residual = b->d_residual ? b->d_residual + tile->offset : NULL,
    .stride = tile->stride,
    .act = b->act,
    .accumulate = b->accumulate_residual,
  };

  spread (b->scale, tile, bt.scale);
  spread (b->shift, tile, bt.shift);
  spread (b->mean, tile, bt.mean);
  return bt;
}

/* @d behind the activation's mask, @v being the activation's value or argument. */
#define VEC_MASK(d, v, act) \
  ((act) == PIRL_ACT_NONE ? (d) \
      : (act) == PIRL_ACT_RELU ? VEC_KEEP (VEC_POSITIVE (v), d) \
      : VEC_KEEP (VEC_POSITIVE (v) & VEC_BELOW_6 (v), d))

PIRL_SIMD static void
backward_sums_rows (const BackwardTile *t, gsize begin, gsize rows, gfloat *sum_d, gfloat *sum_dx)
{
  const PirlVec a = VEC_CONST_AT (t->scale), b = VEC_CONST_AT (t->shift);
  const PirlVec mean = VEC_CONST_AT (t->mean);
  PirlVec s0 = { 0 }, s1 = { 0 };

  for (gsize i = begin; i < begin + rows; i++) {
    const gsize at = i * t->stride;
    const PirlVec x = VEC_CONST_AT (t->x + at);
    const PirlVec v = t->out ? VEC_CONST_AT (t->out + at) : x * a + b;
    const PirlVec d0 = VEC_CONST_AT (t->d + at), d = VEC_MASK (d0, v, t->act);

    if (t->out)
      VEC_AT (t->d + at) = d;
    if (t->d_residual && t->accumulate)
      VEC_AT (t->d_residual + at) += d;
    else if (t->d_residual)
      VEC_AT (t->d_residual + at) = d;
    s0 += d;
    s1 += d * (x - mean);
  }
  VEC_AT (sum_d) = s0;
  VEC_AT (sum_dx) = s1;
}

/* One number of the part that no vector covers; returns the masked gradient. */
static gfloat
backward_one (const BackwardTile *t, gsize at, gint l)
{
  const gfloat v = t->out ? t->out[at] : t->x[at] * t->scale[l] + t->shift[l];
  const gfloat d = passes (v, t->act) ? t->d[at] : 0.f;

  if (t->out)
    t->d[at] = d;
  if (t->d_residual)
    t->d_residual[at] = d + (t->accumulate ? t->d_residual[at] : 0.f);
  return d;
}

static void
tile_backward_sums (const BackwardTile *t, const Tile *tile, gdouble *sum_d, gdouble *sum_dx)
{
  memset (sum_d, 0, tile->lanes * sizeof *sum_d);
  memset (sum_dx, 0, tile->lanes * sizeof *sum_dx);
  for (gsize row = 0; row < tile->rows; row += STATISTICS_CHUNK) {
    gfloat d[PIRL_LANES], dx[PIRL_LANES];

    backward_sums_rows (t, row, MIN (STATISTICS_CHUNK, tile->rows - row), d, dx);
    for (gint l = 0; l < PIRL_LANES; l++) {
      sum_d[l % tile->lanes] += d[l];
      sum_dx[l % tile->lanes] += dx[l];
    }
  }
  for (gsize row = 0; row < tile->rest_rows; row++) {
    for (gint l = 0; l < tile->rest_lanes; l++) {
      const gsize at = tile->rest_offset + row * tile->stride + l;
      const gfloat d = backward_one (t, at, l);

      sum_d[l % tile->lanes] += d;
      sum_dx[l % tile->lanes] += (gdouble) d * (t->x[at] - t->mean[l]);
    }
  }
}

void
pirl_bn_backward_sums (const PirlBnBackward *b, gdouble *partial, gdouble *sum_d,
    gdouble *sum_dx)
{
  const PirlTiling *t = b->tiling;
  const gssize tiles = (gssize) t->samples * t->blocks, channels = pirl_tiling_channels (t);
  gdouble *partial_dx = partial + t->samples * channels;

#pragma omp parallel for schedule(static)
  for (gssize i = 0; i < tiles; i++) {
    const Tile tile = tile_at (t, i);
    const BackwardTile bt = backward_tile (b, &tile);
    const gsize at = i / t->blocks * channels + tile.channel;

    tile_backward_sums (&bt, &tile, partial + at, partial_dx + at);
  }
#pragma omp parallel for schedule(static) if (tiles > 64)
  for (gssize c = 0; c < t->channels; c++) {
    sum_d[c] = sum_dx[c] = 0;
    for (gint s = 0; s < t->samples; s++) {
      sum_d[c] += partial[s * channels + c];
      sum_dx[c] += partial_dx[s * channels + c];
    }
  }
}

PIRL_SIMD static void
backward_apply_rows (const BackwardTile *t, gsize rows, const gfloat *k)
{
  const PirlVec a = VEC_CONST_AT (t->scale), b = VEC_CONST_AT (t->shift);
  const PirlVec k0 = VEC_CONST_AT (k), k1 = VEC_CONST_AT (k + PIRL_LANES);
  const PirlVec k2 = VEC_CONST_AT (k + 2 * PIRL_LANES), mean = VEC_CONST_AT (t->mean);
  const PirlActivation act = t->out ? PIRL_ACT_NONE : t->act;   /* else d is masked already */

  for (gsize i = 0; i < rows; i++) {
    const gsize at = i * t->stride;
    const PirlVec x = VEC_CONST_AT (t->x + at), v = x * a + b;
    const PirlVec d0 = VEC_CONST_AT (t->d + at), d = VEC_MASK (d0, v, act);

    VEC_AT (t->d + at) = k0 * d + (k1 * (x - mean) + k2);
  }
}

void
pirl_bn_backward_apply (const PirlBnBackward *b, const gfloat *const k[3])
{
  const PirlTiling *t = b->tiling;
  const gssize tiles = (gssize) t->samples * t->blocks;

#pragma omp parallel for schedule(static)
  for (gssize i = 0; i < tiles; i++) {
    const Tile tile = tile_at (t, i);
    const BackwardTile bt = backward_tile (b, &tile);
    gfloat lane_k[3 * PIRL_LANES];

    for (gint j = 0; j < 3; j++)
      spread (k[j], &tile, lane_k + j * PIRL_LANES);
    backward_apply_rows (&bt, tile.rows, lane_k);
    for (gsize row = 0; row < tile.rest_rows; row++) {
      for (gint l = 0; l < tile.rest_lanes; l++) {
        const gsize at = tile.rest_offset + row * tile.stride + l;
        const gfloat v = bt.x[at] * bt.scale[l] + bt.shift[l];
        const gfloat d = bt.out || passes (v, bt.act) ? bt.d[at] : 0.f;

        bt.d[at] = lane_k[l] * d + (lane_k[PIRL_LANES + l] * (bt.x[at] - bt.mean[l])
            + lane_k[2 * PIRL_LANES + l]);
      }
    }
  }
}

/* --- pooling to vectors ---------------------------------------------------------------------- */

PIRL_SIMD static void
sum_rows (const gfloat *x, gsize rows, gsize stride, gfloat *sum)
{
  PirlVec s = { 0 };

  for (gsize i = 0; i < rows; i++)
    s += VEC_CONST_AT (x + i * stride);
  VEC_AT (sum) = s;
}

static void
tile_sums (const Tile *tile, const gfloat *x, gdouble *sum)
{
  x += tile->offset;
  memset (sum, 0, tile->lanes * sizeof *sum);
  for (gsize row = 0; row < tile->rows; row += STATISTICS_CHUNK) {
    gfloat lane[PIRL_LANES];

    sum_rows (x + row * tile->stride, MIN (STATISTICS_CHUNK, tile->rows - row), tile->stride,
        lane);
    for (gint l = 0; l < PIRL_LANES; l++)
      sum[l % tile->lanes] += lane[l];
  }
  for (gsize row = 0; row < tile->rest_rows; row++) {
    for (gint l = 0; l < tile->rest_lanes; l++)
      sum[l % tile->lanes] += x[tile->rest_offset + row * tile->stride + l];
  }
}

void
pirl_avgpool_forward (const PirlTiling *t, const gfloat *x, gfloat *out)
{
  const gssize tiles = (gssize) t->samples * t->blocks;

#pragma omp parallel for schedule(static)
  for (gssize i = 0; i < tiles; i++) {
    const Tile tile = tile_at (t, i);
    gdouble sum[PIRL_LANES];

    tile_sums (&tile, x, sum);
    for (gint l = 0; l < tile.lanes && tile.channel + l < t->channels; l++)
      out[i / t->blocks * t->channels + tile.channel + l] = sum[l] / t->positions;
  }
}

PIRL_SIMD static void
fill_rows (gfloat *x, gsize rows, gsize stride, const gfloat *value, gboolean accumulate)
{
  const PirlVec v = VEC_CONST_AT (value);

  for (gsize i = 0; i < rows; i++) {
    if (accumulate)
      VEC_AT (x + i * stride) += v;
    else
      VEC_AT (x + i * stride) = v;
  }
}

void
pirl_avgpool_backward (const PirlTiling *t, const gfloat *d, gboolean accumulate, gfloat *d_x)
{
  const gssize tiles = (gssize) t->samples * t->blocks;
  const gfloat factor = 1.f / t->positions;

#pragma omp parallel for schedule(static)
  for (gssize i = 0; i < tiles; i++) {
    const Tile tile = tile_at (t, i);
    const gfloat *row = d + i / t->blocks * t->channels;
    gfloat *x = d_x + tile.offset, value[PIRL_LANES];

    for (gint l = 0; l < PIRL_LANES; l++) {
      const gint c = tile.channel + l % tile.lanes;

      value[l] = c < t->channels ? row[c] * factor : 0.f;
    }
    fill_rows (x, tile.rows, tile.stride, value, accumulate);
    for (gsize r = 0; r < tile.rest_rows; r++) {
      for (gint l = 0; l < tile.rest_lanes; l++) {
        const gsize at = tile.rest_offset + r * tile.stride + l;

        x[at] = value[l] + (accumulate ? x[at] : 0.f);
      }
    }
  }
}

/* --- input ----------------------------------------------------------------------------------- */

/* The 256 values of a channel, rounded as PyTorch rounds them: ToTensor, then Normalize. */
static void
normalise_table (gfloat mean, gfloat std, gfloat table[256])
{
  for (gint i = 0; i < 256; i++)
    table[i] = ((gfloat) i / 255.f - mean) / std;
}

void
pirl_normalise (const guint8 *const *pictures, PirlDims dims, const gfloat mean[3],
    const gfloat std[3], PirlDType dtype, gpointer out)
{
  const gsize plane = (gsize) dims.h * dims.w;
  gfloat table[3][256];
  guint16 short_table[3][256];

  for (gint c = 0; c < 3; c++) {
    normalise_table (mean[c], std[c], table[c]);
    pirl_from_float (PIRL_DTYPE_BF16, table[c], short_table[c], 256);
  }
#pragma omp parallel for schedule(static)
  for (gint i = 0; i < 3 * dims.n; i++) {
    const guint8 *src = pictures[i / 3] + i % 3;

    if (dtype == PIRL_DTYPE_BF16) {
      guint16 *dst = (guint16 *) out + i * plane;

      for (gsize p = 0; p < plane; p++)
        dst[p] = short_table[i % 3][src[3 * p]];
    } else {
      gfloat *dst = (gfloat *) out + i * plane;

      for (gsize p = 0; p < plane; p++)
        dst[p] = table[i % 3][src[3 * p]];
    }
  }
}

/* --- vectors --------------------------------------------------------------------------------- */

PIRL_SIMD static void
bias_row (gfloat *restrict x, const gfloat *restrict bias, gsize c)
{
  for (gsize i = 0; i < c; i++)
    x[i] += bias[i];
}

void
pirl_rows_bias (gfloat *x, const gfloat *bias, gsize n, gsize c, PirlActivation act)
{
#pragma omp parallel for schedule(static) if (n * c > FLAT_CHUNK)
  for (gsize r = 0; r < n; r++) {
    if (bias)
      bias_row (x + r * c, bias, c);
    activate_range (x + r * c, NULL, c, act);
  }
}

void
pirl_rows_add_sums (const gfloat *x, gsize n, gsize c, gfloat *sums)
{
#pragma omp parallel for schedule(static) if (n * c > FLAT_CHUNK)
  for (gsize begin = 0; begin < c; begin += PIRL_LANES) {
    const gsize lanes = MIN (PIRL_LANES, c - begin);
    gdouble sum[PIRL_LANES] = { 0 };

    for (gsize r = 0; r < n; r++) {
      for (gsize l = 0; l < lanes; l++)
        sum[l] += x[r * c + begin + l];
    }
    for (gsize l = 0; l < lanes; l++)
      sums[begin + l] += sum[l];
  }
}

static gdouble
row_dot (const gfloat *a, const gfloat *b, gsize n)
{
  gdouble sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += (gdouble) a[i] * b[i];
  return sum;
}

void
pirl_rows_l2norm (const gfloat *x, gsize n, gsize c, gfloat *out)
{
#pragma omp parallel for schedule(static) if (n * c > FLAT_CHUNK)
  for (gsize r = 0; r < n; r++) {
    const gfloat *row = x + r * c;
    const gfloat inverse = 1. / MAX (sqrt (row_dot (row, row, c)), PIRL_L2NORM_EPSILON);

    for (gsize i = 0; i < c; i++)
      out[r * c + i] = row[i] * inverse;
  }
}

void
pirl_rows_l2norm_backward (const gfloat *x, const gfloat *d, gsize n, gsize c,
    gboolean accumulate, gfloat *d_x)
{
#pragma omp parallel for schedule(static) if (n * c > FLAT_CHUNK)
  for (gsize r = 0; r < n; r++) {
    const gfloat *row = x + r * c, *g = d + r * c;
    const gdouble norm = sqrt (row_dot (row, row, c));
    const gdouble inverse = 1. / MAX (norm, PIRL_L2NORM_EPSILON);
    const gdouble along =
        norm > PIRL_L2NORM_EPSILON ? row_dot (row, g, c) * inverse * inverse * inverse : 0;

    for (gsize i = 0; i < c; i++) {
      const gfloat v = g[i] * inverse - row[i] * along;

      d_x[r * c + i] = v + (accumulate ? d_x[r * c + i] : 0.f);
    }
  }
}

/* --- training -------------------------------------------------------------------------------- */

PIRL_SIMD static void
sgd_range (gsize n, gfloat *restrict w, const gfloat *restrict g, gfloat *restrict v,
    const PirlSgd s)
{
  for (gsize i = 0; i < n; i++) {
    const gfloat step = s.momentum * v[i] + (g[i] + s.weight_decay * w[i]);

    v[i] = step;
    w[i] -= s.lr * step;
  }
}

PIRL_SIMD static void
nesterov_range (gsize n, gfloat *restrict w, const gfloat *restrict gradient, gfloat *restrict v,
    const PirlSgd s)
{
  for (gsize i = 0; i < n; i++) {
    const gfloat g = gradient[i] + s.weight_decay * w[i];
    const gfloat step = s.momentum * v[i] + g;

    v[i] = step;
    w[i] -= s.lr * (g + s.momentum * step);
  }
}

void
pirl_sgd_step (gsize n, gfloat *weights, const gfloat *gradients, gfloat *velocity,
    const PirlSgd *sgd)
{
  FOR_CHUNKS (n, (sgd->nesterov ? nesterov_range : sgd_range) (count, weights + begin,
      gradients + begin, velocity + begin, *sgd));
}

PIRL_SIMD static void
adam_range (gsize n, gfloat *restrict w, const gfloat *restrict gradient, gfloat *restrict m,
    gfloat *restrict v, const PirlAdam a)
{
  for (gsize i = 0; i < n; i++) {
    const gfloat g = gradient[i] + a.weight_decay * w[i];
    const gfloat first = m[i] + a.rate1 * (g - m[i]);
    const gfloat second = v[i] + a.rate2 * (g * g - v[i]);

    m[i] = first;
    v[i] = second;
    w[i] -= a.step * first / (sqrtf (second) * a.unbias + a.epsilon);
  }
}

void
pirl_adam_step (gsize n, gfloat *weights, const gfloat *gradients, gfloat *first, gfloat *second,
    const PirlAdam *adam)
{
  FOR_CHUNKS (n, adam_range (count, weights + begin, gradients + begin, first + begin,
      second + begin, *adam));
}

PIRL_SIMD static void
lars_range (gsize n, gfloat *restrict w, const gfloat *restrict g, gfloat *restrict v,
    const PirlSgd s)
{
  for (gsize i = 0; i < n; i++) {
    const gfloat step = s.momentum * v[i] + s.lr * (g[i] + s.weight_decay * w[i]);

    v[i] = step;
    w[i] -= step;
  }
}

void
pirl_lars_step (gsize n, gfloat *weights, const gfloat *gradients, gfloat *velocity,
    const PirlSgd *sgd)
{
  FOR_CHUNKS (n, lars_range (count, weights + begin, gradients + begin, velocity + begin, *sgd));
}

PIRL_SIMD static gdouble
square_range (gsize n, const gfloat *x)
{
  gdouble sum[8] = { 0 };
  gsize i;

  for (i = 0; i + G_N_ELEMENTS (sum) <= n; i += G_N_ELEMENTS (sum))
    for (guint lane = 0; lane < G_N_ELEMENTS (sum); lane++)
      sum[lane] += (gdouble) x[i + lane] * x[i + lane];
  for (; i < n; i++)
    sum[0] += (gdouble) x[i] * x[i];
  for (guint lane = 1; lane < G_N_ELEMENTS (sum); lane++)
    sum[0] += sum[lane];
  return sum[0];
}

gdouble
pirl_norm (gsize n, const gfloat *x)
{
  g_autofree gdouble *squares = g_new (gdouble, n / FLAT_CHUNK + 1);
  gdouble sum = 0;

  FOR_CHUNKS (n, squares[chunk_] = square_range (count, x + begin));
  for (gsize i = 0; i < (n + FLAT_CHUNK - 1) / FLAT_CHUNK; i++)
    sum += squares[i];
  return sqrt (sum);
}

PIRL_SIMD static void
average_range (gsize n, gfloat *restrict dst, const gfloat *restrict src, gfloat keep, gfloat take)
{
  for (gsize i = 0; i < n; i++)
    dst[i] = keep * dst[i] + take * src[i];
}

void
pirl_average_step (gsize n, gfloat *dst, const gfloat *src, gdouble keep)
{
  FOR_CHUNKS (n, average_range (count, dst + begin, src + begin, (gfloat) keep,
      (gfloat) (1 - keep)));
}
