/* gst-pirl: products of AMX tiles, and the packing of their operands (see amx-tiles.h).
 * SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backends/cpu/amx-tiles.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AMX \
  __attribute__ ((target ("amx-tile,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

/* --- is it there ----------------------------------------------------------------------------- */

#define REQUEST_PERMISSION 0x1023       /* ARCH_REQ_XCOMP_PERM of arch_prctl() */
#define TILE_DATA 18                    /* XFEATURE_XTILEDATA */
#define STATES ((1 << 5) | (1 << 6) | (1 << 7) | (1 << 17) | (1 << 18)) /* AVX-512's and AMX's */

/* The tiles are those of palette 1. Some hypervisors announce AMX but hide the leaf that describes
 * palettes; there has been no other so far. */
static gboolean
palette_fits (void)
{
  guint a, b, c, d;

  if (__get_cpuid_max (0, NULL) < 0x1d)
    return TRUE;
  __cpuid_count (0x1d, 1, a, b, c, d);
  return (b & 0xffff) == 64 && b >> 16 >= 8 && (c & 0xffff) == TILE;
}

static gboolean
processor_has_amx (void)
{
  guint a, b, c, d, low, high;

  if (!__get_cpuid (1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
    return FALSE;
  __asm__ ("xgetbv" : "=a" (low), "=d" (high) : "c" (0));
  if ((low & STATES) != STATES || !__get_cpuid_count (7, 0, &a, &b, &c, &d)
      || !(d & (1 << 22)) || !(d & (1 << 24)))
    return FALSE;
  return __builtin_cpu_supports ("avx512bw") && __builtin_cpu_supports ("avx512vl")
      && __builtin_cpu_supports ("avx512dq") && __builtin_cpu_supports ("avx512bf16")
      && palette_fits ();
}

gboolean
pirl_tiles_work (void)
{
  return processor_has_amx () && syscall (SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* --- products -------------------------------------------------------------------------------- */

typedef struct {
  guint8 palette, start_row, reserved[14];
  guint16 row_bytes[16];
  guint8 rows[16];
} TileSetup;

/* In memory from the beginning: compilers do not know how much of it the instruction reads. */
static const TileSetup all_tiles = {
  .palette = 1,
  .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
  .rows = { TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE },
};

AMX void
pirl_tiles_begin (void)
{
  _tile_loadconfig (&all_tiles);
}

AMX void
pirl_tiles_end (void)
{
  _tile_release ();
}

AMX static inline void
multiply_run (const PirlTileProduct *p, const guint16 *a, const guint16 *b)
{
  const gsize rows = p->a_rows * sizeof *a;
  const gboolean tall = p->a_second != 0, wide = p->b_second != 0;

  for (gint i = 0; i < p->steps; i++, a += p->a_step, b += p->b_step) {
    _tile_loadd (4, a, rows);
    _tile_loadd (6, b, 64);
    _tile_dpbf16ps (0, 4, 6);
    if (wide) {
      _tile_loadd (7, b + p->b_second, 64);
      _tile_dpbf16ps (1, 4, 7);
    }
    if (tall) {
      _tile_loadd (5, a + p->a_second, rows);
      _tile_dpbf16ps (2, 5, 6);
      if (wide)
        _tile_dpbf16ps (3, 5, 7);
    }
  }
}

AMX void
pirl_tiles_multiply (const PirlTileProduct *product, const PirlTileRun *runs, gint n_runs,
    gfloat *c)
{
  if (product->add) {
    _tile_loadd (0, c, 64);
    _tile_loadd (1, c + TILE_FLOATS, 64);
    _tile_loadd (2, c + 2 * TILE_FLOATS, 64);
    _tile_loadd (3, c + 3 * TILE_FLOATS, 64);
  } else {
    _tile_zero (0);
    _tile_zero (1);
    _tile_zero (2);
    _tile_zero (3);
  }
  for (gint i = 0; i < n_runs; i++)
    multiply_run (product, runs[i].a, runs[i].b);
  _tile_stored (0, c, 64);
  _tile_stored (1, c + TILE_FLOATS, 64);
  _tile_stored (2, c + 2 * TILE_FLOATS, 64);
  _tile_stored (3, c + 3 * TILE_FLOATS, 64);
}

/* --- packing --------------------------------------------------------------------------------- */

AMX static inline __m512
floats_at (const gfloat *from)
{
  return from ? _mm512_loadu_ps (from) : _mm512_setzero_ps ();
}

/* Rounded to bf16: @low, then @high. */
AMX static inline __m512i
rounded (__m512 low, __m512 high)
{
  return (__m512i) _mm512_cvtne2ps_pbh (high, low);
}

AMX void
pirl_pack_rows (const gfloat *const places[DEPTH], gsize second, guint16 *to)
{
  for (gint i = 0; i < DEPTH; i++) {
    const gfloat *from = places[i];

    _mm512_storeu_si512 (to + i * DEPTH, rounded (floats_at (from),
            floats_at (from && second ? from + second : NULL)));
  }
}

/* a0 .. a15 b0 .. b15 -> a0 b0 a1 b1 ... */
AMX static inline __m512i
interleaved (__m512i both)
{
  const __m512i even = _mm512_set_epi32 (0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b,
      0x1a000a, 0x190009, 0x180008, 0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002,
      0x110001, 0x100000);

  return _mm512_permutexvar_epi16 (even, both);
}

AMX void
pirl_pack_pairs (const gfloat *const places[DEPTH], guint16 *to)
{
  for (gint i = 0; i < DEPTH; i += 2)
    _mm512_storeu_si512 (to + i * TILE,
        interleaved (rounded (floats_at (places[i]), floats_at (places[i + 1]))));
}

/* Transposes 16 x 16 pieces of 32 bits: within quarters of a vector, then the quarters. */
AMX static inline void
transpose (__m512i r[TILE])
{
  __m512i t[TILE];

  for (gint i = 0; i < TILE; i += 2) {
    t[i] = _mm512_unpacklo_epi32 (r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32 (r[i], r[i + 1]);
  }
  for (gint i = 0; i < TILE; i += 4) {
    r[i] = _mm512_unpacklo_epi64 (t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64 (t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64 (t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64 (t[i + 1], t[i + 3]);
  }
  for (gint i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4 (r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4 (r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4 (r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4 (r[i + 8], r[i + 12], 0xdd);
  }
  for (gint i = 0; i < 8; i++) {
    r[i] = _mm512_shuffle_i32x4 (t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4 (t[i], t[i + 8], 0xdd);
  }
}

AMX void
pirl_pack_transposed (const gfloat *const places[DEPTH], guint16 *to, gsize stride)
{
  __m512i half[2][TILE];

  for (gint h = 0; h < 2; h++) {
    for (gint i = 0; i < TILE; i++)
      half[h][i] = (__m512i) floats_at (places[h * TILE + i]);
    transpose (half[h]);
  }
  for (gint i = 0; i < TILE; i++)
    _mm512_storeu_si512 (to + i * stride, rounded ((__m512) half[0][i], (__m512) half[1][i]));
}

/* 16 floats, @step apart. */
AMX static inline __m512
strided (const gfloat *from, gsize step)
{
  const __m512i lane = _mm512_set_epi32 (15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);

  if (step == 1)
    return _mm512_loadu_ps (from);
  return _mm512_i32gather_ps (_mm512_mullo_epi32 (lane, _mm512_set1_epi32 ((gint) step)), from, 4);
}

AMX void
pirl_pack_weights (const gfloat *from, gsize depth_step, gsize column_step, gint depth,
    guint16 *to)
{
  __m512i r[TILE];

  if (depth_step > column_step) {
    /* Columns are near each other: two rows of the depth at a time. */
    for (gint i = 0; i < TILE; i++) {
      const gfloat *row = from + 2 * i * depth_step;

      r[i] = 2 * i >= depth ? _mm512_setzero_si512 ()
          : interleaved (rounded (strided (row, column_step),
              strided (row + depth_step, column_step)));
    }
  } else {
    for (gint i = 0; i < TILE; i++) {
      const gfloat *column = from + i * column_step;
      const __m512 low = strided (column, depth_step);

      r[i] = rounded (low, depth > TILE ? strided (column + TILE * depth_step, depth_step)
          : _mm512_setzero_ps ());
    }
    transpose (r);
  }
  for (gint i = 0; i < TILE; i++)
    _mm512_storeu_si512 (to + i * DEPTH, r[i]);
}

/* --- results --------------------------------------------------------------------------------- */

AMX static inline void
store_row (const gfloat *from, gfloat *to, gboolean add)
{
  const __m512 row = _mm512_loadu_ps (from);

  _mm512_storeu_ps (to, add ? _mm512_add_ps (_mm512_loadu_ps (to), row) : row);
}

AMX void
pirl_store_places (const gfloat *c, gfloat *const places[DEPTH], gsize second, gboolean add)
{
  for (gint i = 0; i < DEPTH; i++) {
    const gfloat *row = c + i / TILE * 2 * TILE_FLOATS + i % TILE * TILE;

    if (!places[i])
      continue;
    store_row (row, places[i], add);
    if (second)
      store_row (row + TILE_FLOATS, places[i] + second, add);
  }
}

AMX void
pirl_add_row (const gfloat *from, gfloat *to)
{
  store_row (from, to, TRUE);
}
