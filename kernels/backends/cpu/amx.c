/* gst-pirl: convolutions with AMX (see amx.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A value is packed into a *grid*: its places row by row, with as many zeros between rows, and as
 * many rows of zeros between samples, as the kernel reaches beyond the picture; neighbours share
 * them. What a tap of the kernel sees of it is then the same grid from an offset on, and a
 * convolution is a sum of matrix products of 32 places at a time, whatever the sizes; the places
 * between the rows are computed, too, and thrown away. A stride s gives s x s grids (*phases*):
 * row y s - p + tap = (y + a) s + r is row y + a of phase r, and so are columns.
 *   forward   Y[place][out]      = sum over taps of X_phase[place + offset][in] W_tap[in][out]
 *   data      dX_phase[place][in] = sum over its taps of dY[place - offset][out] W_tap[out][in]
 *   weights   dW_tap[out][in]    = sum over places of dY^T[out][place - offset] X_phase[place][in]
 * Work is cut so that what is read again and again stays in the second cache.
 */
#include "backends/cpu/amx.h"

#include <string.h>

#include "backends/cpu/amx-tiles.h"
#include "backends/cpu/cpu.h"

#define BLOCK 32                /* places, or channels, of a product: 2 x 2 tiles */
#define CACHED ((gsize) 1 << 20)        /* bytes of operands used in turn */

#define MAX_TAPS 64

typedef struct {
  gint size, pitch;             /* positions of a sample and of a row */
  gint value_places;            /* of a sample of the value */
  gint channels, samples;
  gint n_phases;
  gint before;                  /* positions in front of the first sample, behind the last one */
  gsize positions;              /* of a phase, with those */
  gint **place;                 /* [phase][size]: where it lies in the value, or -1; NULL for a
                                 * phase that no tap sees */
} Grid;

/* What a tap sees. */
typedef struct {
  gint phase;                   /* of the strided value */
  gint offset;                  /* from a position to what is seen, in the grid of X, of dY */
} Tap;

struct _PirlAmx {
  PirlDims in, out;
  gint kernel, taps;
  Grid x, y, dy, dx;            /* X and Y in the grid of the forward pass, gradients in that of
                                 * the data's */
  Tap *forward, *data;          /* of each tap */
};

/* --- geometry -------------------------------------------------------------------------------- */

static gint
floor_div (gint a, gint b)
{
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static gint
round_up (gint n, gint to)
{
  return (n + to - 1) / to * to;
}

/* Positions of a row that holds @real numbers and of which @out are looked at from -low to high
 * positions away. */
static gint
grid_extent (gint real, gint out, gint low, gint high)
{
  real = MIN (real, out + high);
  return MAX (real + MAX (-low, 0), out + MAX (high, 0));
}

/* Where row or column @j of phase @r is in a value of this @extent; -1: nowhere. */
static gint
strided_place (gint j, gint r, gint stride, gint extent, gint limit)
{
  return j < limit && j * stride + r < extent ? j * stride + r : -1;
}

/* Fills in the places of phase @number, of those rows and columns below @limit. */
static void
grid_add_phase (Grid *grid, gint number, PirlDims value, gint stride, gint limit_h, gint limit_w)
{
  const gint ry = number / stride, rx = number % stride;
  gint *place = g_new (gint, grid->size);

  for (gint i = 0; i < grid->size; i++) {
    const gint y = strided_place (i / grid->pitch, ry, stride, value.h, limit_h);
    const gint x = strided_place (i % grid->pitch, rx, stride, value.w, limit_w);

    place[i] = y < 0 || x < 0 ? -1 : y * value.w + x;
  }
  grid->place[number] = place;
}

/* @reach: positions that taps look back or ahead at most. */
static void
grid_init (Grid *grid, PirlDims value, gint rows, gint pitch, gint phases, gint reach)
{
  *grid = (Grid) {.size = rows * pitch, .pitch = pitch, .value_places = value.h * value.w,
    .channels = value.c, .samples = value.n, .before = round_up (reach, BLOCK) + BLOCK,
    .n_phases = phases, .place = g_new0 (gint *, phases) };
  grid->positions = round_up (grid->samples * grid->size, BLOCK) + 2 * (gsize) grid->before;
}

static void
grid_clear (Grid *grid)
{
  for (gint i = 0; i < grid->n_phases; i++)
    g_free (grid->place[i]);
  g_free (grid->place);
}

/* Blocks of 16 channels. */
static gint
blocks_of (const Grid *grid)
{
  return grid->channels / TILE;
}

/* Rows and columns from a position to what @tap sees of it, in units of the stride. */
static void
tap_distance (const PirlUnitDesc *unit, gint tap, gint *y, gint *x)
{
  *y = floor_div (tap / unit->kernel - unit->padding, unit->stride);
  *x = floor_div (tap % unit->kernel - unit->padding, unit->stride);
}

static gint
tap_phase (const PirlUnitDesc *unit, gint tap)
{
  const gint s = unit->stride;
  gint y, x;

  tap_distance (unit, tap, &y, &x);
  return (tap / unit->kernel - unit->padding - y * s) * s + tap % unit->kernel - unit->padding
      - x * s;
}

/* The grids of one direction: @spread is seen with the stride, @single in one piece, by taps that
 * are from @low to @high rows and columns away. */
static void
grids_init (Grid *spread, Grid *single, const PirlUnitDesc *unit, gint low, gint high,
    gboolean forward)
{
  const gint s = unit->stride;
  const PirlDims in = unit->input, out = unit->output;
  const gint rows_in = (in.h + s - 1) / s, columns_in = (in.w + s - 1) / s;
  /* Of what is read, and of what is written. */
  const gint real_h = forward ? rows_in : out.h, real_w = forward ? columns_in : out.w;
  const gint out_h = forward ? out.h : rows_in, out_w = forward ? out.w : columns_in;
  const gint rows = grid_extent (real_h, out_h, low, high);
  const gint pitch = grid_extent (real_w, out_w, low, high);
  const gint reach = MAX (ABS (low), ABS (high)) * (pitch + 1);
  const gint limit_h = MIN (real_h, out_h + high), limit_w = MIN (real_w, out_w + high);

  grid_init (spread, in, rows, pitch, s * s, reach);
  grid_init (single, out, rows, pitch, 1, reach);
  for (gint r = 0; !forward && r < s * s; r++)
    grid_add_phase (spread, r, in, s, rows_in, columns_in);
  for (gint tap = 0; forward && tap < unit->kernel * unit->kernel; tap++) {
    const gint r = tap_phase (unit, tap);

    if (!spread->place[r])
      grid_add_phase (spread, r, in, s, limit_h, limit_w);
  }
  grid_add_phase (single, 0, out, 1, forward ? out.h : limit_h, forward ? out.w : limit_w);
}

PirlAmx *
pirl_amx_new (const PirlUnitDesc *unit)
{
  const gint s = unit->stride, k = unit->kernel, p = unit->padding;
  const gint low = floor_div (-p, s), high = floor_div (k - 1 - p, s);
  PirlAmx *amx;

  if (unit->groups != 1 || unit->bias || k * k > MAX_TAPS || unit->input.c % TILE
      || unit->output.c % TILE)
    return NULL;
  amx = g_new0 (PirlAmx, 1);
  amx->in = unit->input;
  amx->out = unit->output;
  amx->kernel = k;
  amx->taps = k * k;
  grids_init (&amx->x, &amx->y, unit, low, high, TRUE);
  grids_init (&amx->dx, &amx->dy, unit, -high, -low, FALSE);
  amx->forward = g_new (Tap, amx->taps);
  amx->data = g_new (Tap, amx->taps);
  for (gint tap = 0; tap < amx->taps; tap++) {
    const gint phase = tap_phase (unit, tap);
    gint y, x;

    tap_distance (unit, tap, &y, &x);
    amx->forward[tap] = (Tap) { phase, y * amx->x.pitch + x };
    amx->data[tap] = (Tap) { phase, -(y * amx->dy.pitch + x) };
  }
  return amx;
}

void
pirl_amx_free (PirlAmx *amx)
{
  if (!amx)
    return;
  grid_clear (&amx->x);
  grid_clear (&amx->y);
  grid_clear (&amx->dx);
  grid_clear (&amx->dy);
  g_free (amx->forward);
  g_free (amx->data);
  g_free (amx);
}

gboolean
pirl_amx_works (void)
{
  static gsize once = 0;
  static gboolean works = FALSE;

  if (g_once_init_enter (&once)) {
    const gchar *limit = g_getenv ("ONEDNN_MAX_CPU_ISA");

    limit = limit ? limit : g_getenv ("DNNL_MAX_CPU_ISA");
    works = (!limit || strstr (limit, "AMX") || strcmp (limit, "ALL") == 0
        || strcmp (limit, "DEFAULT") == 0) && pirl_tiles_work ();
    g_once_init_leave (&once, 1);
  }
  return works;
}

/* --- packing --------------------------------------------------------------------------------- */

/* A position of a grid, sample by sample. */
typedef struct {
  gint sample, position;
} Cursor;

static Cursor
cursor_at (const Grid *grid, gssize position)
{
  return (Cursor) { (gint) (position / grid->size), (gint) (position % grid->size) };
}

/* Where channel block @block of the next 32 positions is in @value, NULL for nowhere. */
static void
next_places (const Grid *grid, gint phase, Cursor *cursor, const gfloat *value, gint block,
    const gfloat *places[DEPTH])
{
  const gint *place = grid->place[phase];
  const gsize step = (gsize) blocks_of (grid) * grid->value_places * TILE;
  const gfloat *sample = value + cursor->sample * step
      + (gsize) block * grid->value_places * TILE;

  for (gint i = 0; i < DEPTH; i++) {
    const gint at = cursor->sample < grid->samples ? place[cursor->position] : -1;

    places[i] = at < 0 ? NULL : sample + at * TILE;
    if (++cursor->position == grid->size) {
      cursor->position = 0;
      cursor->sample++;
      sample += step;
    }
  }
}

/* Positions with samples in them, whole blocks. */
static gint
inner_positions (const Grid *grid)
{
  return (gint) grid->positions - 2 * grid->before;
}

/* Blocks of 32 channels. */
static gint
deep_blocks (const Grid *grid)
{
  return (grid->channels + DEPTH - 1) / DEPTH;
}

static gsize
rows_halves (const Grid *grid)
{
  return grid->n_phases * (gsize) deep_blocks (grid) * grid->positions * DEPTH;
}

/* [phase][channels / 32][position][32] */
static void
pack_rows (const Grid *grid, const gfloat *value, guint16 *to)
{
  const gint deep = deep_blocks (grid), inner = inner_positions (grid);
  const gsize margin = (gsize) grid->before * DEPTH;

#pragma omp parallel for schedule(static)
  for (gint i = 0; i < grid->n_phases * deep; i++) {
    const gint phase = i / deep, block = i % deep * 2;
    const gsize second = (gsize) grid->value_places * TILE;
    guint16 *plane = to + i * grid->positions * DEPTH;
    const gfloat *places[DEPTH];
    Cursor cursor = { 0, 0 };

    if (!grid->place[phase])
      continue;
    memset (plane, 0, margin * sizeof *plane);
    plane += margin;
    for (gint q = 0; q < inner; q += DEPTH, plane += DEPTH * DEPTH) {
      next_places (grid, phase, &cursor, value, block, places);
      pirl_pack_rows (places, block + 1 < blocks_of (grid) ? second : 0, plane);
    }
    memset (plane, 0, margin * sizeof *plane);
  }
}

static gsize
pairs_halves (const Grid *grid)
{
  return grid->n_phases * (gsize) grid->channels * grid->positions;
}

/* [phase][channels / 16][position / 2][16][2] */
static void
pack_pairs (const Grid *grid, const gfloat *value, guint16 *to)
{
  const gint blocks = blocks_of (grid), inner = inner_positions (grid);
  const gsize margin = (gsize) grid->before * TILE;

#pragma omp parallel for schedule(static)
  for (gint i = 0; i < grid->n_phases * blocks; i++) {
    guint16 *plane = to + i * grid->positions * TILE;
    const gfloat *places[DEPTH];
    Cursor cursor = { 0, 0 };

    if (!grid->place[i / blocks])
      continue;
    memset (plane, 0, margin * sizeof *plane);
    plane += margin;
    for (gint q = 0; q < inner; q += DEPTH, plane += DEPTH * TILE) {
      next_places (grid, i / blocks, &cursor, value, i % blocks, places);
      pirl_pack_pairs (places, plane);
    }
    memset (plane, 0, margin * sizeof *plane);
  }
}

/* Not a multiple of the cache's 4 kB, so that the rows of a tile do not fall on each other. */
static gsize
transposed_stride (const Grid *grid)
{
  return (grid->positions / 64 * 2 + 3) * BLOCK;
}

static gsize
transposed_halves (const Grid *grid)
{
  return grid->channels * transposed_stride (grid);
}

/* [channel][position] of a grid with one phase. */
static void
pack_transposed (const Grid *grid, const gfloat *value, guint16 *to)
{
  const gsize stride = transposed_stride (grid);
  const gint inner = inner_positions (grid);

#pragma omp parallel for schedule(static)
  for (gint block = 0; block < blocks_of (grid); block++) {
    guint16 *rows = to + block * TILE * stride;
    Cursor cursor = { 0, 0 };

    for (gint c = 0; c < TILE; c++)
      memset (rows + c * stride, 0, grid->before * sizeof *rows);
    for (gint q = 0; q < inner; q += DEPTH) {
      const gfloat *places[DEPTH];

      next_places (grid, 0, &cursor, value, block, places);
      pirl_pack_transposed (places, rows + grid->before + q, stride);
    }
    for (gint c = 0; c < TILE; c++)
      memset (rows + c * stride + grid->before + inner, 0,
          (stride - grid->before - inner) * sizeof *rows);
  }
}

/* --- forward and data ------------------------------------------------------------------------ */

/* From @from to @to with the products of some taps. */
typedef struct {
  const PirlAmx *amx;
  const Grid *from, *to;
  const Tap *tap;
  gboolean data;                /* taps select phases of @to, else of @from */
  gboolean add;
  const guint16 *rows;          /* pack_rows() of from */
  guint16 *weights;             /* [columns / 32][tap][depth / 32][2][tile] */
  gfloat *dst;
} Pass;

/* Tiles of weights for 32 columns. */
static gsize
column_halves (const Pass *pass)
{
  return (gsize) pass->amx->taps * deep_blocks (pass->from) * 2 * TILE_HALVES;
}

static void
pack_weights (const Pass *pass, const gfloat *weights)
{
  const gsize in = pass->amx->in.c, taps = pass->amx->taps;
  const gint deep = deep_blocks (pass->from), columns = blocks_of (pass->to);
  /* In the forward pass input channels are the depth, else output channels. */
  const gsize depth_step = pass->data ? in * taps : taps;
  const gsize column_step = pass->data ? taps : in * taps;

#pragma omp parallel for schedule(static)
  for (gint column = 0; column < columns; column++) {
    guint16 *to = pass->weights + column / 2 * column_halves (pass) + column % 2 * TILE_HALVES;

    /* The taps of the same channels are neighbours. */
    for (gint block = 0; block < deep; block++) {
      const gfloat *from = weights + column * TILE * column_step + block * DEPTH * depth_step;

      for (gsize tap = 0; tap < taps; tap++)
        pirl_pack_weights (from + tap, depth_step, column_step,
            MIN (DEPTH, pass->from->channels - block * DEPTH),
            to + (tap * deep + block) * 2 * TILE_HALVES);
    }
  }
}

/* Puts 32 x 32 results where they belong. */
static void
store_block (const Pass *pass, gint phase, gint position, gint column, const gfloat *c)
{
  const gsize second = (gsize) pass->to->value_places * TILE;
  Cursor cursor = cursor_at (pass->to, position);
  gfloat *places[DEPTH];

  next_places (pass->to, phase, &cursor, pass->dst, column, (const gfloat **) places);
  pirl_store_places (c, places, column + 1 < blocks_of (pass->to) ? second : 0, pass->add);
}

/* 32 positions x 32 columns of a phase. */
static void
pass_block (const Pass *pass, gint phase, gint position, gint column)
{
  const Grid *from = pass->from;
  const gint deep = deep_blocks (from);
  const gboolean wide = column + 1 < blocks_of (pass->to);
  const PirlTileProduct product = {.a_rows = DEPTH, .a_second = TILE * DEPTH,
    .b_second = wide ? TILE_HALVES : 0, .a_step = from->positions * DEPTH,
    .b_step = 2 * TILE_HALVES, .steps = deep };
  const guint16 *weights = pass->weights + column / 2 * column_halves (pass);
  gfloat c[4 * TILE_FLOATS] __attribute__ ((aligned (64)));
  PirlTileRun runs[MAX_TAPS];
  gint n = 0;

  for (gint t = 0; t < pass->amx->taps; t++) {
    const Tap tap = pass->tap[t];
    const gint plane = pass->data ? 0 : tap.phase;

    if (!pass->data || tap.phase == phase)
      runs[n++] = (PirlTileRun) { pass->rows + (plane * deep * from->positions + from->before
            + position + tap.offset) * DEPTH, weights + t * deep * product.b_step };
  }
  pirl_tiles_multiply (&product, runs, n, c);
  store_block (pass, phase, position, column, c);
}

static void
run_pass (const Pass *pass)
{
  const Grid *to = pass->to;
  const gint positions = inner_positions (to), columns = (blocks_of (to) + 1) / 2;
  const gint panel = CLAMP ((gint) (CACHED / 4 / pass->from->channels) / BLOCK, 1, 64) * BLOCK;
  const gint panels = (positions + panel - 1) / panel;

#pragma omp parallel
  {
    pirl_tiles_begin ();
#pragma omp for schedule(static)
    for (gint i = 0; i < to->n_phases * panels * columns; i++) {
      const gint column = i % columns * 2, first = i / columns % panels * panel;

      for (gint q = first; q < MIN (first + panel, positions); q += BLOCK)
        pass_block (pass, i / columns / panels, q, column);
    }
    pirl_tiles_end ();
  }
}

/* Halves that the rows and the weights of a pass take. */
static gsize
pass_halves (const PirlAmx *amx, const Grid *from, const Grid *to)
{
  const Pass pass = {.amx = amx, .from = from, .to = to };

  return rows_halves (from) + (blocks_of (to) + 1) / 2 * column_halves (&pass);
}

static void
pack_and_run (Pass pass, const gfloat *src, const gfloat *weights, guint16 *scratch)
{
  pass.rows = scratch;
  pass.weights = scratch + rows_halves (pass.from);
  pack_rows (pass.from, src, scratch);
  pack_weights (&pass, weights);
  run_pass (&pass);
}

void
pirl_amx_forward (const PirlAmx *amx, const gfloat *src, const gfloat *weights, gfloat *dst,
    gpointer scratch)
{
  const Pass pass = {.amx = amx, .from = &amx->x, .to = &amx->y, .tap = amx->forward,
    .dst = dst };

  pack_and_run (pass, src, weights, scratch);
}

void
pirl_amx_backward_data (const PirlAmx *amx, const gfloat *d_dst, const gfloat *weights,
    gfloat *d_src, gboolean accumulate, gpointer scratch)
{
  const Pass pass = {.amx = amx, .from = &amx->dy, .to = &amx->dx, .tap = amx->data,
    .data = TRUE, .add = accumulate, .dst = d_src };

  pack_and_run (pass, d_dst, weights, scratch);
}

/* --- weights --------------------------------------------------------------------------------- */

typedef struct {
  const PirlAmx *amx;
  const guint16 *dy, *x;        /* pack_transposed(), pack_pairs() */
  gfloat *sums;                 /* [out / 32][in / 32][tap][2][2][16][16] */
} WeightsPass;

static gint
half_up (gint n)
{
  return (n + 1) / 2;
}

static gsize
sums_floats (const PirlAmx *amx)
{
  return (gsize) half_up (blocks_of (&amx->y)) * half_up (blocks_of (&amx->x)) * amx->taps * 4
      * TILE_FLOATS;
}

/* Adds what 32 x 32 weights get from the steps [first, first + count) of each tap. */
static void
weights_block (const WeightsPass *pass, gint o, gint i, gint first, gint count)
{
  const PirlAmx *amx = pass->amx;
  const Grid *x = &amx->x, *y = &amx->y;
  const gsize stride = transposed_stride (y);
  gfloat *sums = pass->sums + ((gsize) o * half_up (blocks_of (x)) + i) * amx->taps * 4
      * TILE_FLOATS;
  PirlTileProduct product = {.a_rows = stride, .add = first > 0, .a_step = DEPTH,
    .b_step = DEPTH * TILE, .a_second = 2 * o + 1 < blocks_of (y) ? TILE * stride : 0,
    .b_second = 2 * i + 1 < blocks_of (x) ? x->positions * TILE : 0 };

  for (gint t = 0; t < amx->taps; t++, sums += 4 * TILE_FLOATS) {
    const Tap tap = amx->forward[t];
    /* Positions of x from a whole step on that contain all from the offset on. */
    const gint begin = floor_div (tap.offset, DEPTH) * DEPTH;
    const gint steps = (inner_positions (y) + tap.offset - begin + DEPTH - 1) / DEPTH;
    const gint from = begin + first * DEPTH;
    const gsize plane = ((gsize) tap.phase * blocks_of (x) + 2 * i) * x->positions;

    product.steps = MIN (count, steps - first);
    if (product.steps > 0)
      pirl_tiles_multiply (&product, &(PirlTileRun) {
          pass->dy + 2 * o * TILE * stride + y->before + from - tap.offset,
          pass->x + (plane + x->before + from) * TILE }, 1, sums);
  }
}

/* Adds 16 channels of each tap to where the taps of a channel are neighbours; @step: from one tap
 * to the next in @sums. */
static void
add_taps (const gfloat *sums, gint taps, gsize step, gfloat *to)
{
  if (taps == 1) {
    pirl_add_row (sums, to);
    return;
  }
  for (gint c = 0; c < TILE; c++)
    for (gint t = 0; t < taps; t++)
      to[c * taps + t] += sums[t * step + c];
}

/* Adds the sums of 32 output channels to the weights' gradient. */
static void
add_weights (const WeightsPass *pass, gint o, gfloat *d_weights)
{
  const PirlAmx *amx = pass->amx;
  const gint taps = amx->taps, blocks = blocks_of (&amx->x);
  const gsize row_floats = (gsize) amx->in.c * taps, step = 4 * TILE_FLOATS;

  for (gint block = 0; block < blocks; block++) {
    const gfloat *sums = pass->sums + ((gsize) o * half_up (blocks) + block / 2) * taps * step
        + block % 2 * TILE_FLOATS;

    for (gint row = 0; row < MIN (BLOCK, amx->out.c - o * BLOCK); row++)
      add_taps (sums + row / TILE * 2 * TILE_FLOATS + row % TILE * TILE, taps, step,
          d_weights + (o * BLOCK + row) * row_floats + block * TILE * taps);
  }
}

static void
run_weights (const WeightsPass *pass, gfloat *d_weights)
{
  const PirlAmx *amx = pass->amx;
  const gint in = half_up (blocks_of (&amx->x)), out = half_up (blocks_of (&amx->y));
  const gint steps = inner_positions (&amx->y) / DEPTH + 1;
  const gint panel = MAX ((gint) (CACHED / ((gsize) 2 * DEPTH * (amx->in.c + amx->out.c))), 8);

#pragma omp parallel
  {
    pirl_tiles_begin ();
    for (gint first = 0; first < steps; first += panel) {
#pragma omp for schedule(static)
      for (gint i = 0; i < out * in; i++)
        weights_block (pass, i / in, i % in, first, panel);
    }
    pirl_tiles_end ();
#pragma omp for schedule(static)
    for (gint o = 0; o < out; o++)
      add_weights (pass, o, d_weights);
  }
}

void
pirl_amx_backward_weights (const PirlAmx *amx, const gfloat *src, const gfloat *d_dst,
    gfloat *d_weights, gpointer scratch)
{
  guint16 *dy = (guint16 *) ((gfloat *) scratch + sums_floats (amx));
  guint16 *x = dy + transposed_halves (&amx->y);
  const WeightsPass pass = {.amx = amx, .dy = dy, .x = x, .sums = scratch };

  pack_transposed (&amx->y, d_dst, dy);
  pack_pairs (&amx->x, src, x);
  run_weights (&pass, d_weights);
}

gsize
pirl_amx_scratch_bytes (const PirlAmx *amx)
{
  const gsize forward = pass_halves (amx, &amx->x, &amx->y) * sizeof (guint16);
  const gsize data = pass_halves (amx, &amx->dy, &amx->dx) * sizeof (guint16);
  const gsize weights = sums_floats (amx) * sizeof (gfloat)
      + (transposed_halves (&amx->y) + pairs_halves (&amx->x)) * sizeof (guint16);

  return MAX (weights, MAX (forward, data));
}
